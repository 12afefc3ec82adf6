//! The two machines of `proto::gsi` between real programs: a client ends its session at the acceptor, the initiator logs in at a real
//! server with what the client has delegated, and commands pass from one protected channel to the other.
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use gridfront::proto::gsi::adat;
use gridfront::proto::gsi::{
    AcceptError, AcceptStep, Accepted, Acceptor, AcceptorConfig, DistinguishedName, ExpectedPeer, HostNames,
    InitiatorConfig, PrivateKey, TrustStore, ciphers,
};
use rustls::ProtocolVersion;
use rustls::pki_types::UnixTime;

use crate::support::certificates::{Authority, HostCertificates, USER, set_mode};
use crate::support::client::{self, Finished};
use crate::support::grid::{PORT, PROGRAMS, Security, Servers, Site, VIRTUAL_NAME, name_of, path_text};
use crate::support::gsi_client::{Line, ask, credential, hear, initiate, trust};
use crate::support::process::Process;
use crate::support::{server, skip};

/// A get takes half a second here.
const LIMIT: Duration = Duration::from_secs(60);

/// Where the server listens that has no TLS 1.3.
const OLD_PORT: u16 = 2831;

/// The server's side up to 235, as a door does it.
fn accept(
    client: &mut Line,
    config: &AcceptorConfig,
    trust: Arc<TrustStore>,
) -> Result<Accepted, AcceptError> {
    client.send(b"220 test door\r\n");
    assert_eq!(client.next().to_ascii_uppercase(), b"AUTH GSSAPI\r\n");
    client.send(adat::AUTH_ACCEPTED);
    let mut acceptor = Acceptor::new(config, trust, UnixTime::now()).unwrap();
    loop {
        let token = adat::parse_command(&client.next()).unwrap();
        let mut step = match acceptor.step(&token, UnixTime::now()) {
            Ok(step) => step,
            Err(error) => {
                client.send(&adat::refusal(&error.to_string()));
                return Err(error);
            }
        };
        if matches!(step, AcceptStep::KeyWanted) {
            step = acceptor.provide_key(PrivateKey::generate().unwrap()).unwrap();
        }
        match step {
            AcceptStep::Reply(token) => client.send(&adat::reply(&token)),
            AcceptStep::KeyWanted => unreachable!("a key was given"),
            AcceptStep::Complete(accepted) => {
                client.send(adat::AUTHENTICATED);
                return Ok(*accepted);
            }
        }
    }
}

/// What a session has come to.
struct Carried {
    identity: DistinguishedName,
    /// Of the client's leg and the server's.
    versions: [ProtocolVersion; 2],
    remaining_proxies: Option<u32>,
}

/// A door for one session: everything passes, in order, until the client says QUIT.
fn carry(client: TcpStream, server: TcpStream, site: &Site) -> Result<Carried, AcceptError> {
    let provider = ciphers();
    let trust = trust(site);
    let host = credential(&site.directory().join("ca/host.pem"), &site.directory().join("ca/host.key"));
    let config = AcceptorConfig::new(Arc::clone(&provider), &host);
    let (mut client, mut server) = (Line::new(client), Line::new(server));
    let accepted = accept(&mut client, &config, Arc::clone(&trust))?;
    let mut inner = accepted.channel;
    let delegated = accepted.delegated.unwrap();
    let remaining_proxies = delegated.remaining_proxies;
    let config = InitiatorConfig {
        provider,
        credential: delegated.credential,
        trust,
        expected: ExpectedPeer::Host(HostNames { names: vec![VIRTUAL_NAME.to_owned()], address: None }),
        delegates: true,
    };
    let mut outer = initiate(&mut server, config);
    loop {
        let line = client.next();
        if line.is_empty() {
            let versions = [&inner, &outer].map(|channel| channel.protection().0.unwrap());
            return Ok(Carried { identity: accepted.peer.identity(), versions, remaining_proxies });
        }
        let mut command = Vec::new();
        inner.unwrap_command(&line, &mut command).unwrap();
        let mut lines = ask(&mut server, &mut outer, &command);
        loop {
            let mut wrapped = Vec::new();
            for (at, line) in lines.iter().enumerate() {
                inner.wrap_reply_line(line, at + 1 == lines.len(), &mut wrapped).unwrap();
            }
            client.send(&wrapped);
            if lines[0][0] != b'1' {
                break;
            }
            lines = hear(&mut server, &mut outer);
        }
    }
}

/// A real server that speaks no TLS newer than 1.2, on `s2`.
fn old_server(site: &Site) -> Process {
    let root = path_text(site.directory());
    let configuration = site.scratch("old-server");
    let text = format!("port {OLD_PORT}\nhome_dir \"{root}/data\"\nallow_disabled_login 1\n");
    std::fs::write(&configuration, text).unwrap();
    let machine = site.machine("s2");
    let mut command = machine.command(Some(&site.hosts_file()), "globus-gridftp-server");
    command
        .args(["-c", &path_text(&configuration)])
        .env_remove("X509_USER_PROXY")
        .env("GSI_AUTHZ_CONF", "/dev/null")
        .env("GRIDMAP", site.directory().join("etc/grid-mapfile"))
        .env("GLOBUS_HOSTNAME", name_of("s2"))
        .env("GLOBUS_GSSAPI_MAX_TLS_PROTOCOL", "TLS1_2_VERSION")
        .env("X509_CERT_DIR", site.authority().unwrap().anchors())
        .env("X509_USER_CERT", site.directory().join("ca/host.pem"))
        .env("X509_USER_KEY", site.directory().join("ca/host.key"));
    let process = Process::spawn(command, &site.scratch("output"));
    server::greets(machine, OLD_PORT).unwrap();
    process
}

/// Runs globus-url-copy as a client of the two machines, before the server at `server`.
fn run(
    site: &Site,
    server: SocketAddr,
    words: &[&str],
    environment: &[(&str, &str)],
) -> (Finished, Result<Carried, AcceptError>) {
    let door = site.machine("door");
    let listener = door.enter(|| TcpListener::bind(SocketAddr::from((door.v4(), PORT))).unwrap());
    std::thread::scope(|scope| {
        let session = scope.spawn(|| {
            let (client, _) = listener.accept().unwrap();
            let server = door.enter(|| TcpStream::connect(server).unwrap());
            carry(client, server, site)
        });
        let words: Vec<String> =
            ["globus-url-copy"].iter().chain(words).map(|&word| word.to_owned()).collect();
        let finished = client::run(site, site.machine("client"), &words, environment, LIMIT);
        (finished, session.join().unwrap())
    })
}

fn url(site: &Site, file: &str) -> String {
    format!("gsiftp://{VIRTUAL_NAME}:{PORT}{}/{file}", path_text(&site.data_directory()))
}

fn is_possible(what: &str) -> bool {
    let programs: Vec<&str> = PROGRAMS.iter().copied().chain(["globus-url-copy"]).collect();
    skip::unless_present(what, &programs)
}

#[test]
fn globus_url_copy_is_authenticated_here_and_logged_in_at_a_real_server_as_itself() {
    if !is_possible("GSI machines") {
        return;
    }
    let site = Site::start(Security::Gsi(HostCertificates::Shared), Servers::Three);
    let _old_server = old_server(&site);
    let payload: Vec<u8> = (0..300_000_u32).map(|number| number.to_be_bytes()[3]).collect();
    std::fs::write(site.data_directory().join("file"), &payload).unwrap();
    #[rustfmt::skip]
    let table = [
        ("TLS1_3_VERSION", "s1", PORT,     [ProtocolVersion::TLSv1_3; 2]),
        ("TLS1_2_VERSION", "s2", OLD_PORT, [ProtocolVersion::TLSv1_2; 2]),
    ];
    for (version, server, port, expected) in table {
        let target = site.client_directory().join(version);
        let server = SocketAddr::from((site.machine(server).v4(), port));
        let to = format!("file://{}", path_text(&target));
        // Data connections are authenticated, which takes the delegated credential at the server.
        let words = ["-dcpriv", &url(&site, "file"), &to];
        let (finished, carried) = run(&site, server, &words, &[("GLOBUS_GSSAPI_MAX_TLS_PROTOCOL", version)]);
        assert!(finished.success(), "{}\n{}", finished.output, site.logs());
        let carried = carried.unwrap();
        assert_eq!(carried.identity.as_str(), USER);
        assert_eq!(carried.versions, expected, "of the client's leg and the server's");
        assert_eq!(carried.remaining_proxies, None);
        assert!(std::fs::read(&target).unwrap() == payload, "{version}: the file is another one");
    }
}

/// What `grid-proxy-init` makes of a certificate and key.
fn proxy(site: &Site, options: &[&str], of: [&str; 2]) -> String {
    let file = path_text(&site.scratch("proxy"));
    let output = Command::new("grid-proxy-init")
        .args(["-q", "-valid", "10:00", "-cert", of[0], "-key", of[1], "-out", &file])
        .args(options)
        .env("X509_CERT_DIR", site.authority().unwrap().anchors())
        .output()
        .unwrap();
    assert!(output.status.success(), "{options:?}: {}", String::from_utf8_lossy(&output.stderr));
    file
}

#[test]
fn what_users_bring_comes_to_the_same_as_at_a_real_server() {
    if !is_possible("GSI machines with all kinds of users") {
        return;
    }
    let site = Site::start(Security::Gsi(HostCertificates::Shared), Servers::Three);
    let server = SocketAddr::from((site.machine("s1").v4(), PORT));
    let [certificate, key] =
        ["ca/user.pem", "ca/user.key"].map(|file| path_text(&site.directory().join(file)));
    let of_user = |options: &[&str]| proxy(&site, options, [&certificate, &key]);
    let first = of_user(&[]);
    let itself = path_text(&site.scratch("proxy"));
    std::fs::write(&itself, [std::fs::read(&certificate).unwrap(), std::fs::read(&key).unwrap()].concat())
        .unwrap();
    set_mode(Path::new(&itself), 0o600);
    let stranger = site.scratch("stranger");
    std::fs::create_dir(&stranger).unwrap();
    let stranger = path_text(&Authority::new(&stranger, "Unknown CA").issue_user("user", USER));

    // Whether the listing comes, the identity, how many proxies may follow, or why it is refused.
    type Row = (
        &'static str,
        String,
        &'static [&'static str],
        Result<(bool, &'static str, Option<u32>), &'static str>,
    );
    #[rustfmt::skip]
    let table: Vec<Row> = vec![
        ("the certificate itself", itself,                         &[],          Ok((true, USER, None))),
        ("limited",                of_user(&["-limited"]),         &[],          Ok((true, USER, None))),
        ("draft",                  of_user(&["-draft"]),           &[],          Ok((true, USER, None))),
        ("second level",           proxy(&site, &[], [&first, &first]), &[],     Ok((true, USER, None))),
        ("4096 bits",              of_user(&["-bits", "4096"]),    &[],          Ok((true, USER, None))),
        // The grid-mapfile does not know it.
        ("independent",            of_user(&["-independent"]),     &[],          Ok((false, "/O=Grid/OU=test/CN=Grid User/CN=", None))),
        // One step too many for the server's data connections, and none for the session itself.
        ("path length 1",          of_user(&["-path-length", "1"]), &[],         Ok((false, USER, Some(0)))),
        ("path length 1, no DCAU", of_user(&["-path-length", "1"]), &["-nodcau"], Ok((true, USER, Some(0)))),
        ("path length 3",          of_user(&["-path-length", "3"]), &[],         Ok((true, USER, Some(2)))),
        ("legacy",                 of_user(&["-old"]),             &[],          Err("it is a legacy (GSI-2) proxy")),
        ("an unknown authority",   stranger,                       &[],          Err("its authority is not trusted here")),
    ];
    for (what, file, options, expected) in table {
        let url = url(&site, "");
        let words: Vec<&str> = options.iter().copied().chain(["-list", &url]).collect();
        let (finished, carried) = run(&site, server, &words, &[("X509_USER_PROXY", &file)]);
        match (carried, expected) {
            (Ok(carried), Ok((is_listed, identity, remaining))) => {
                assert_eq!(finished.success(), is_listed, "{what}: {}", finished.output);
                assert!(carried.identity.as_str().starts_with(identity), "{what}: {}", carried.identity);
                assert_eq!(carried.remaining_proxies, remaining, "{what}");
            }
            (Err(error), Err(reason)) => {
                assert!(error.to_string().contains(reason), "{what}: {error}");
                assert!(
                    !finished.success() && finished.output.contains(reason),
                    "{what}: {}",
                    finished.output
                );
            }
            (Ok(_), Err(_)) => panic!("{what}: got in"),
            (Err(error), Ok(_)) => panic!("{what}: {error}"),
        }
    }
}

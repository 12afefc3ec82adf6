//! The two machines of `proto::gsi` between real programs: a client ends its session at the acceptor, the initiator logs in at a real
//! server with what the client has delegated, and commands pass from one protected channel to the other.
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use gridfront::proto::gsi::adat;
use gridfront::proto::gsi::{
    AcceptStep, Accepted, Acceptor, AcceptorConfig, DistinguishedName, ExpectedPeer, HostNames,
    InitiatorConfig, PrivateKey, RsaBits, TrustStore,
};
use rustls::ProtocolVersion;
use rustls::pki_types::UnixTime;

use crate::support::certificates::{HostCertificates, USER};
use crate::support::client;
use crate::support::grid::{PORT, PROGRAMS, Security, Servers, Site, VIRTUAL_NAME, name_of, path_text};
use crate::support::gsi_client::{Line, ask, credential, hear, initiate, trust};
use crate::support::process::Process;
use crate::support::{server, skip};

/// A get takes half a second here.
const LIMIT: Duration = Duration::from_secs(60);

/// Where the server listens that has no TLS 1.3.
const OLD_PORT: u16 = 2831;

/// The server's side up to 235, as a door does it.
fn accept(client: &mut Line, config: &AcceptorConfig, trust: Arc<TrustStore>) -> Accepted {
    client.send(b"220 test door\r\n");
    assert_eq!(client.next().to_ascii_uppercase(), b"AUTH GSSAPI\r\n");
    client.send(adat::AUTH_ACCEPTED);
    let mut acceptor = Acceptor::new(config, trust, UnixTime::now()).unwrap();
    loop {
        let token = adat::parse_command(&client.next()).unwrap();
        let mut step = acceptor.step(&token, UnixTime::now()).unwrap();
        if matches!(step, AcceptStep::KeyWanted) {
            step = acceptor.provide_key(PrivateKey::generate(RsaBits::Rsa2048).unwrap()).unwrap();
        }
        match step {
            AcceptStep::Reply(token) => client.send(&adat::reply(&token)),
            AcceptStep::KeyWanted => unreachable!("a key was given"),
            AcceptStep::Complete(accepted) => {
                client.send(adat::AUTHENTICATED);
                return *accepted;
            }
        }
    }
}

/// A door for one session: everything passes, in order, until the client says QUIT.
fn carry(client: TcpStream, server: TcpStream, site: &Site) -> (DistinguishedName, [ProtocolVersion; 2]) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let trust = trust(site);
    let host = credential(&site.directory().join("ca/host.pem"), &site.directory().join("ca/host.key"));
    let config = AcceptorConfig::new(Arc::clone(&provider), &host);
    let (mut client, mut server) = (Line::new(client), Line::new(server));
    let accepted = accept(&mut client, &config, Arc::clone(&trust));
    let mut inner = accepted.channel;
    let config = InitiatorConfig {
        provider,
        credential: accepted.delegated.unwrap().credential,
        trust,
        expected: ExpectedPeer::Host(HostNames { names: vec![VIRTUAL_NAME.to_owned()], address: None }),
        delegates: true,
    };
    let mut outer = initiate(&mut server, config);
    loop {
        let line = client.next();
        if line.is_empty() {
            let versions = [&inner, &outer].map(|channel| channel.protection().0.unwrap());
            return (accepted.peer.identity(), versions);
        }
        let mut command = Vec::new();
        inner.unwrap_command(&line, &mut command).unwrap();
        println!("C {}", String::from_utf8_lossy(&command).trim_end());
        let mut lines = ask(&mut server, &mut outer, &command);
        loop {
            let mut wrapped = Vec::new();
            for (at, line) in lines.iter().enumerate() {
                println!("S {}", String::from_utf8_lossy(line).trim_end());
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

#[test]
fn globus_url_copy_is_authenticated_here_and_logged_in_at_a_real_server_as_itself() {
    let programs: Vec<&str> = PROGRAMS.iter().copied().chain(["globus-url-copy"]).collect();
    if !skip::unless_present("GSI machines", &programs) {
        return;
    }
    let site = Site::start(Security::Gsi(HostCertificates::Shared), Servers::Three);
    let _old_server = old_server(&site);
    let payload: Vec<u8> = (0..300_000_u32).map(|number| number.to_be_bytes()[3]).collect();
    std::fs::write(site.data_directory().join("file"), &payload).unwrap();
    let door = site.machine("door");
    let address = SocketAddr::from((door.v4(), PORT));
    #[rustfmt::skip]
    let table = [
        ("TLS1_3_VERSION", "s1", PORT,     [ProtocolVersion::TLSv1_3; 2]),
        ("TLS1_2_VERSION", "s2", OLD_PORT, [ProtocolVersion::TLSv1_2; 2]),
    ];
    for (version, server, port, expected) in table {
        let target = site.client_directory().join(version);
        let listener = door.enter(|| TcpListener::bind(address).unwrap());
        let server = SocketAddr::from((site.machine(server).v4(), port));
        let (identity, versions) = std::thread::scope(|scope| {
            let session = scope.spawn(|| {
                let (client, _) = listener.accept().unwrap();
                let server = door.enter(|| TcpStream::connect(server).unwrap());
                carry(client, server, &site)
            });
            let url = format!("gsiftp://{VIRTUAL_NAME}:{PORT}{}/file", path_text(&site.data_directory()));
            let target = format!("file://{}", path_text(&target));
            // Data connections are authenticated, which takes the delegated credential at the server.
            let words = ["globus-url-copy".to_owned(), "-dcpriv".to_owned(), url, target];
            let environment = [("GLOBUS_GSSAPI_MAX_TLS_PROTOCOL", version)];
            let finished = client::run(&site, site.machine("client"), &words, &environment, LIMIT);
            assert!(finished.success(), "{}\n{}", finished.output, site.logs());
            session.join().unwrap()
        });
        assert_eq!(identity.as_str(), USER);
        assert_eq!(versions, expected, "of the client's leg and the server's");
        assert!(std::fs::read(&target).unwrap() == payload, "{version}: the file is another one");
    }
}

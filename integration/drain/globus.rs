//! A real Globus server drained under sessions of each kind.

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use super::orders::texts;
use crate::support::certificates::HostCertificates;
use crate::support::control_connection::ControlConnection;
use crate::support::data_client::{DataClient, announced};
use crate::support::deadline;
use crate::support::door::{Configuration, Door, program};
use crate::support::grid::{PORT, PROGRAMS, Security, Servers, Site, VIRTUAL_NAME, path_text};
use crate::support::process::Process;
use crate::support::seeded::content;
use crate::support::skip;

/// For whatever is awaited; many times what it takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than a client that is in the midst of something pauses.
const PAUSE: Duration = Duration::from_millis(2300);
/// More than the buffers between a server and a client that does not read.
const LARGE: usize = 48 << 20;

/// Runs `gridfront WORDS` against this door.
pub(super) fn order(door: &Door, words: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.arg(words[0]).arg("-c").arg(door.configuration()).args(&words[1..]);
    command.stdin(Stdio::null()).output().expect("gridfront runs")
}

/// As [`order`], and it must succeed: what it prints.
pub(super) fn done(door: &Door, words: &[&str]) -> String {
    let output = order(door, words);
    let (out, error) = texts(&output);
    assert!(output.status.success(), "{words:?}: {}: {out}{error}\n{}", output.status, door.log_tail());
    out
}

/// A door before s1 alone.
fn door_before_s1(site: &Site) -> Door {
    let s1 = site.machine("s1").v4().to_string();
    let configuration =
        Configuration::new(site).virtual_server("gridftp", PORT, "").real_server("s1", &s1, PORT, "");
    Door::start(site, &configuration).unwrap_or_else(|why| panic!("{why}"))
}

fn client(site: &Site) -> DataClient {
    let address = SocketAddr::new(IpAddr::from(site.machine("door").v4()), PORT);
    let stream = site.machine("client").enter(|| TcpStream::connect(address)).expect("the door listens");
    let mut control = ControlConnection::over(stream);
    assert!(control.line().starts_with("220"));
    let mut client = DataClient::over(control);
    // A client that follows the address it is told: its data does not cross the door.
    client.control.expect("SITE CLIENTINFO appname=test", "250");
    client
}

fn passive(site: &Site, client: &mut DataClient) -> TcpStream {
    let address = announced(&client.control.command("PASV")).expect("an address");
    assert_eq!(address.ip(), IpAddr::from(site.machine("s1").v4()));
    site.machine("client").enter(|| TcpStream::connect(address)).expect("the server listens")
}

#[test]
fn clear_sessions_end_as_they_can_and_transfers_arrive_whole() {
    if !skip::unless_present("a Globus server that is drained", PROGRAMS) {
        return;
    }
    let site = Site::start(Security::Anonymous, Servers::Three);
    let file = content(7, LARGE);
    std::fs::write(site.data_directory().join("large"), &file).unwrap();
    let name = path_text(&site.data_directory().join("large"));
    let door = door_before_s1(&site);
    let (mut idle, mut open, mut transferring) = (client(&site), client(&site), client(&site));
    let mut of_open = passive(&site, &mut open);
    let mut of_transferring = passive(&site, &mut transferring);
    transferring.control.expect(&format!("RETR {name}"), "150");

    let said = done(&door, &["drain", "s1", "--deadline", "10m"]);
    assert!(said.contains("3 sessions: 1 idle, 2 with a command, a transfer"), "{said}");
    assert_eq!(idle.control.line_within(PAUSE), None);
    idle.control.send(b"NOOP\r\n");
    assert!(idle.control.rest().starts_with("421 Service closing for maintenance"));
    let waited = order(&door, &["drain", "s1", "--wait", "--timeout", "1s"]);
    assert_eq!(waited.status.code(), Some(1), "{waited:?}");

    open.control.expect(&format!("RETR {name}"), "150");
    for (client, data) in [(&mut open, &mut of_open), (&mut transferring, &mut of_transferring)] {
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes).unwrap();
        assert!(bytes == file, "{} of {} bytes", bytes.len(), file.len());
        assert_eq!(client.last_reply().unwrap(), 226);
        client.control.expect("QUIT", "221");
    }
    drop((open, transferring));
    done(&door, &["drain", "s1", "--wait", "--timeout", "20s"]);
}

#[test]
fn a_gsi_session_is_waited_for_and_ended_at_the_deadline_alone() {
    let programs: Vec<&str> = PROGRAMS.iter().copied().chain(["globus-url-copy"]).collect();
    if !skip::unless_present("GSI sessions at a server that is drained", &programs) {
        return;
    }
    let site = Site::start(Security::Gsi(HostCertificates::Own), Servers::Three);
    let large = std::fs::File::create(site.data_directory().join("large")).unwrap();
    large.set_len(1 << 30).unwrap();
    let door = door_before_s1(&site);
    // It stands still as soon as it is inside.
    let frozen = |number: u64| {
        let url =
            format!("gsiftp://{VIRTUAL_NAME}:{PORT}{}", path_text(&site.data_directory().join("large")));
        let mut command = site.machine("client").command(Some(&site.hosts_file()), "globus-url-copy");
        command.args([url.as_str(), "file:///dev/null"]).envs(site.client_environment());
        let process = Process::spawn(command, &site.scratch("output"));
        deadline::until("a login", PATIENCE, || {
            let servers = door.real_servers()?;
            let logins = servers[0].2["gsi_logins"].as_u64();
            if logins == Some(number) { Ok(()) } else { Err(format!("{logins:?}: {}", process.output())) }
        })
        .unwrap();
        process.signal(Signal::STOP);
        process
    };

    let mut kept = frozen(1);
    let said = done(&door, &["drain", "s1"]);
    assert!(said.contains("1 that cannot be read (GSI) and may be transferring"), "{said}");
    let waited = order(&door, &["drain", "s1", "--wait", "--timeout", "2s"]);
    assert_eq!(waited.status.code(), Some(1), "{waited:?}");
    kept.signal(Signal::CONT);
    let ended = kept.wait(PATIENCE);
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}: {}", kept.output());
    done(&door, &["drain", "s1", "--wait", "--timeout", "20s"]);
    done(&door, &["undrain", "s1", "--wait", "--timeout", "20s"]);

    let mut cut = frozen(2);
    let waited = order(&door, &["drain", "s1", "--wait", "--deadline", "1s"]);
    let (_, error) = texts(&waited);
    assert!(waited.status.code() == Some(1) && error.contains("the deadline has ended 1"), "{waited:?}");
    cut.signal(Signal::CONT);
    let ended = cut.wait(PATIENCE);
    assert!(ended.is_some_and(|status| !status.success()), "it was cut off: {}", cut.output());
}

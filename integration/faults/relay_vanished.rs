//! A client's machine that vanishes in a transfer: nobody sends FIN or RST, and nobody acknowledges.

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::support::control_connection::ControlConnection;
use crate::support::data_client::{DataClient, data_connection_from};
use crate::support::deadline;
use crate::support::door::{Configuration, Door};
use crate::support::grid::{PORT, PROGRAMS, Security, Servers, Site};
use crate::support::leftovers::Leftovers;
use crate::support::skip;

/// More than sockets and pipes on the way hold.
const LARGE: u64 = 512 << 20;
/// Probes of a closed window come at ever longer intervals, and three have to stay unanswered.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_client_that_vanishes_in_a_download_holds_its_session_no_longer_than_idle_timeout_allows() {
    if !skip::unless_present("a client that vanishes", PROGRAMS) {
        return;
    }
    let site = Site::start(Security::Anonymous, Servers::Three);
    let s1 = site.machine("s1").v4().to_string();
    let keys = "data_path = \"relay\"\nidle_timeout = \"2s\"";
    let configuration =
        Configuration::new(&site).virtual_server("gridftp", PORT, keys).real_server("s1", &s1, PORT, "");
    let door = Door::start(&site, &configuration).unwrap_or_else(|why| panic!("{why}"));
    let before = Leftovers::of_process(door.id());
    let file = site.data_directory().join("large");
    std::fs::File::create(&file).and_then(|hole| hole.set_len(LARGE)).unwrap();

    let client = site.machine("client");
    let ghost = Ipv4Addr::new(10, 77, 0, 200);
    let connect = |address| client.enter(|| data_connection_from(IpAddr::from(ghost), address).unwrap());
    client.set_address(ghost, true);
    let mut control =
        ControlConnection::over(connect(SocketAddr::new(site.machine("door").v4().into(), PORT)));
    assert!(control.line().starts_with("220"));
    let mut session = DataClient::over(control);
    let mut data = connect(session.passive());
    session.control.expect("RETR large", "150");
    data.read_exact(&mut [0; 1024]).unwrap();

    // A client that lives and does not read stays as long as it likes.
    let paused = deadline::until("the end of a paused download", Duration::from_secs(3), || {
        if door.status()?["sessions"] == 0 { Ok(()) } else { Err("it goes on".to_owned()) }
    });
    assert!(paused.is_err(), "a client that pauses was cut off\n{}", door.log_tail());

    client.set_address(ghost, false);
    deadline::until("the session's end", PATIENCE, || {
        let status = door.status()?;
        let ports = &status["virtual_servers"][0]["relay"]["ports_in_use"];
        if status["sessions"] == 0 && *ports == 0 { Ok(()) } else { Err(status.to_string()) }
    })
    .unwrap_or_else(|why| panic!("{why}\n{}", door.log_tail()));
    before.until_again_in(door.id());
    assert!(door.log().contains("it acknowledges nothing any more"), "{}", door.log_tail());
}

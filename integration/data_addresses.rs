//! Whose data addresses a session announces: those of the real server that it was placed on.

use crate::support::control_connection::ControlConnection;
use crate::support::local_door::Setup;
use crate::support::stub_server::{Connection, StubServer};

#[test]
fn each_real_server_is_announced_by_its_own_data_addresses() {
    let servers = [StubServer::start(Connection::serve), StubServer::start(Connection::serve)];
    let mut setup =
        Setup::of(&[servers[0].address(), servers[1].address()]).virtual_server("lb_algo = \"rr\"");
    for ((_, _, keys), public) in setup.real_servers.iter_mut().zip(["198.51.100.1", "198.51.100.2"]) {
        *keys = format!("data_addresses = [\"{public}\"]");
    }
    let door = setup.start();
    for expected in ["198,51,100,1", "198,51,100,2", "198,51,100,1"] {
        let mut session = ControlConnection::logged_in(door.address());
        session.expect("TYPE I", "200");
        assert_eq!(session.command("PASV"), format!("227 Entering Passive Mode ({expected},200,1)"));
    }
    door.until_empty();
}

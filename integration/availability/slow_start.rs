//! A server that comes back, and a crowd at the door.

use crate::support::control_connection::ControlConnection;
use crate::support::local_door::{Setup, unused_address};
use crate::support::stub_server::{Connection, StubServer};

const CHECKS: &str = "delay_loop = \"100ms\"\nretry = 0";

#[test]
fn a_server_that_comes_back_is_not_overrun() {
    // Plain least connections gives all of them to the one that is back.
    for (slow_start, most, least) in [("0s", 30, 30), ("1h", 1, 0)] {
        let (one, two) = (StubServer::start(Connection::serve), StubServer::start(Connection::serve));
        let third = unused_address();
        let door = Setup::of(&[one.address(), two.address(), third])
            .virtual_server(&format!("slow_start = \"{slow_start}\""))
            .check(CHECKS)
            .start();
        door.until("s3 down", |status| status["virtual_servers"][0]["real_servers"][2]["state"] == "down");
        let hold = |count| -> Vec<ControlConnection> {
            (0..count).map(|_| ControlConnection::greeted(door.address())).collect()
        };
        let held = hold(60);
        let _back = StubServer::start_at(third, Connection::serve);
        door.until("s3 up", |status| status["virtual_servers"][0]["real_servers"][2]["state"] == "up");
        let crowd = hold(30);
        let got = door.count("s3", "sessions");
        assert!((least..=most).contains(&got), "slow_start {slow_start}: {got} of 30");
        let percent = &door.real_server("s3")["slow_start_percent"];
        assert_eq!(percent.is_null(), slow_start == "0s", "{percent}");
        drop((held, crowd));
        door.until_empty();
    }
}

//! Clients that keep coming while the configuration changes under them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use super::reloaded;
use crate::support::control_connection::ControlConnection;
use crate::support::local_door::Setup;
use crate::support::stub_server::{Connection, StubServer};

const RELOADS: usize = 20;
const CLIENTS: usize = 6;
/// Of each client between two reloads, at least.
const SESSIONS: usize = 5;

#[test]
fn nobody_is_refused_while_clients_storm_the_door_over_twenty_reloads() {
    let servers = [(); 3].map(|()| StubServer::start(Connection::serve));
    let addresses = servers.each_ref().map(StubServer::address);
    let setup = Setup::of(&addresses).virtual_server("lb_algo = \"rr\"");
    let door = setup.start();
    let (over, done) = (AtomicBool::new(false), [(); CLIENTS].map(|()| AtomicUsize::new(0)));
    let mut held = ControlConnection::logged_in(door.address());
    std::thread::scope(|scope| {
        for count in &done {
            let (address, over) = (door.address(), &over);
            scope.spawn(move || {
                while !over.load(SeqCst) {
                    let mut client = ControlConnection::logged_in(address);
                    client.expect("NOOP", "200");
                    client.expect("QUIT", "221");
                    count.fetch_add(1, SeqCst);
                }
            });
        }
        let all_reload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 0..RELOADS {
                let before = done.each_ref().map(|count| count.load(SeqCst));
                // Another server is missing each time, none of them the first, which holds a session all the while;
                // time-outs, limits and the way of choosing change too.
                let mut next = setup.clone().virtual_server(&format!(
                    "lb_algo = \"{}\"\nidle_timeout = \"{}s\"\nmax_sessions = {}",
                    ["rr", "wlc", "sh", "wrr"][round % 4],
                    30 + round,
                    100 + round
                ));
                next.real_servers.remove(1 + round % 2);
                assert!(!reloaded(&door, &next).is_empty());
                door.until("every client comes round", |_| {
                    done.iter().zip(before).all(|(count, before)| count.load(SeqCst) >= before + SESSIONS)
                });
            }
        }));
        over.store(true, SeqCst);
        all_reload.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    held.expect("NOOP", "200");
    drop(held);
    door.until_empty();
    let log = door.log();
    assert_eq!(log.matches("configuration reloaded").count(), RELOADS, "{log}");
    assert!(!log.contains("session refused") && !log.contains("panic"), "{log}");
}

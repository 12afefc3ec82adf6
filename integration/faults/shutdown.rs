//! SIGTERM: transfers that run may finish, the others are told, and the daemon ends in time.

use std::os::unix::net::UnixDatagram;
use std::process::ExitStatus;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::control_connection::ControlConnection;
use crate::support::deadline::{self, Stopwatch};
use crate::support::local_door::{LocalDoor, Setup, run_command, unused_address};
use crate::support::process::Process;
use crate::support::stub_server::{Connection, StubServer};

const MAINTENANCE: &str = "421 Service closing for maintenance: please connect again.\r\n";

/// A server whose RETR ends when the test says so.
fn held_transfers() -> (StubServer, mpsc::Sender<()>) {
    let (finish, finished) = mpsc::channel();
    let finished = Arc::new(Mutex::new(finished));
    let server = StubServer::start(move |connection| {
        connection.greet()?;
        loop {
            let line = connection.line()?;
            if line.starts_with(b"RETR") {
                connection.say("150 opening\r\n")?;
                let waited = finished.lock().expect("one at a time").recv_timeout(Duration::from_secs(20));
                if waited.is_err() {
                    return Ok(());
                }
                connection.say("226 done\r\n")?;
            } else if !connection.answer(&line)? {
                return Ok(());
            }
        }
    });
    (server, finish)
}

fn transferring(door: &LocalDoor) -> ControlConnection {
    let mut session = ControlConnection::logged_in(door.address());
    session.expect("PASV", "227");
    session.expect("RETR /file", "150");
    session
}

fn until_draining(door: &LocalDoor) {
    door.until_logged(&["draining"]);
}

fn assert_success(ended: Option<ExitStatus>, door: &LocalDoor) {
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}\n{}", door.log());
}

#[test]
fn a_running_transfer_finishes_an_idle_session_is_told_and_the_daemon_ends_with_0() {
    let (server, finish) = held_transfers();
    let mut door = Setup::of(&[server.address()]).global("drain_timeout = \"9s\"").start();
    let mut transfer = transferring(&door);
    let mut quiet = ControlConnection::logged_in(door.address());
    let mut talking = ControlConnection::logged_in(door.address());
    let mut early = ControlConnection::greeted(door.address());
    let watch = Stopwatch::start();
    door.signal(Signal::TERM);
    until_draining(&door);
    // At its next command, without waiting.
    talking.send(b"NOOP\r\n");
    assert_eq!(talking.rest(), MAINTENANCE);
    assert!(watch.elapsed() < Duration::from_secs(3), "after {:?}", watch.elapsed());
    // By itself, and so is one that has not logged in.
    assert_eq!(quiet.rest(), MAINTENANCE);
    assert_eq!(early.rest(), MAINTENANCE);
    assert_eq!(transfer.line_within(Duration::from_millis(50)), None, "the transfer runs on");
    drop((quiet, talking, early));
    finish.send(()).unwrap();
    assert_eq!(transfer.line(), "226 done");
    transfer.send(b"NOOP\r\n");
    assert_eq!(transfer.rest(), MAINTENANCE);
    drop(transfer);
    assert_success(door.wait(Duration::from_secs(9)), &door);
    assert!(
        door.log().contains("stopped") && !door.log().contains("drain_timeout is over"),
        "{}",
        door.log()
    );
}

#[test]
fn at_the_deadline_what_still_runs_is_ended_and_the_daemon_ends_with_0() {
    let (server, _finish) = held_transfers();
    let mut door = Setup::of(&[server.address()]).global("drain_timeout = \"1s\"").start();
    let mut transfer = transferring(&door);
    door.signal(Signal::TERM);
    let watch = Stopwatch::start();
    let heard = transfer.rest();
    assert!(heard.starts_with("421 ") && heard.lines().count() == 1, "{heard:?}");
    drop(transfer);
    assert_success(door.wait(Duration::from_secs(5)), &door);
    let elapsed = watch.elapsed();
    assert!((0.9..4.0).contains(&elapsed.as_secs_f32()), "after {elapsed:?}");
    assert!(door.log().contains("drain_timeout is over"), "{}", door.log());
}

#[test]
fn a_second_sigterm_ends_the_daemon_at_once() {
    let (server, _finish) = held_transfers();
    let mut door = Setup::of(&[server.address()]).global("drain_timeout = \"1h\"").start();
    let mut transfer = transferring(&door);
    door.signal(Signal::TERM);
    until_draining(&door);
    let watch = Stopwatch::start();
    door.signal(Signal::TERM);
    assert_success(door.wait(Duration::from_secs(5)), &door);
    assert!(watch.elapsed() < Duration::from_secs(2), "after {:?}", watch.elapsed());
    assert!(transfer.rest().starts_with("421 "));
}

#[test]
fn a_check_that_is_under_way_does_not_hold_up_the_last_replies() {
    let (server, _finish) = held_transfers();
    let silent = StubServer::start(Connection::until_closed);
    let mut door = Setup::of(&[server.address(), silent.address()])
        .global("drain_timeout = \"1h\"")
        .virtual_server("greeting_timeout = \"1h\"\nlb_algo = \"rr\"")
        .start();
    deadline::until("the silent server's check", Duration::from_secs(10), || {
        if silent.open() == 1 { Ok(()) } else { Err(format!("{} connections", silent.open())) }
    })
    .unwrap();
    let mut transfer = transferring(&door);
    door.signal(Signal::TERM);
    until_draining(&door);
    let watch = Stopwatch::start();
    door.signal(Signal::TERM);
    assert!(transfer.rest().starts_with("421 "));
    // The check would have been waited for one second.
    assert!(watch.elapsed() < Duration::from_millis(900), "after {:?}", watch.elapsed());
    drop(transfer);
    assert_success(door.wait(Duration::from_secs(5)), &door);
}

#[test]
fn systemd_is_asked_for_the_time_that_a_drain_may_take() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let heard = || {
        loop {
            let mut bytes = [0; 4096];
            let length = manager.recv(&mut bytes)?;
            let said = String::from_utf8_lossy(&bytes[..length]).into_owned();
            // What `systemctl status` shows changes at any time.
            if !said.starts_with("STATUS=") {
                return Ok::<String, std::io::Error>(said);
            }
        }
    };
    let (server, _finish) = held_transfers();
    let address = unused_address();
    let file = directory.path().join("gridfront.toml");
    let setup = Setup::of(&[server.address()]).global("drain_timeout = \"2h\"");
    std::fs::write(&file, setup.text(directory.path(), address)).unwrap();
    let mut command = run_command(&file);
    command.env("NOTIFY_SOCKET", &path);
    let mut process = Process::spawn(command, &directory.path().join("log"));
    assert_eq!(heard().unwrap().trim(), "READY=1");
    let mut session = ControlConnection::logged_in(address);
    session.expect("PASV", "227");
    session.expect("RETR /file", "150");
    process.signal(Signal::TERM);
    let stopping = heard().unwrap();
    let extended = stopping.trim().strip_prefix("STOPPING=1\nEXTEND_TIMEOUT_USEC=").map(str::parse);
    // Two hours, and the seconds that ending takes after that.
    let (drain, extended) = (7_200_000_000, extended.unwrap().unwrap());
    assert!((drain + 5_000_000_u64..drain + 30_000_000).contains(&extended), "{stopping}");
    process.signal(Signal::TERM);
    let ended = process.wait(Duration::from_secs(5));
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}\n{}", process.output());
    manager.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    assert!(heard().is_err(), "it is told once");
}

#[test]
fn clients_that_never_close_do_not_keep_the_daemon() {
    let server = StubServer::start(Connection::serve);
    let mut door = Setup::of(&[server.address()]).global("drain_timeout = \"2s\"").start();
    let held: Vec<ControlConnection> =
        (0..20).map(|_| ControlConnection::logged_in(door.address())).collect();
    door.signal(Signal::TERM);
    assert_success(door.wait(Duration::from_secs(8)), &door);
    drop(held);
}

#[test]
fn clients_in_the_queue_when_the_daemon_stops_are_told_and_not_reset() {
    let server = StubServer::start(Connection::serve);
    // A thread may accept some before it hears of the end; those are idle for 5 s before they are told the same.
    let mut door = Setup::of(&[server.address()]).global("threads = 2\ndrain_timeout = \"15s\"").start();
    // A stopped door accepts nobody: these stand in the kernel's queues when it learns that it is to end.
    door.signal(Signal::STOP);
    let mut waiting: Vec<ControlConnection> =
        (0..50).map(|_| ControlConnection::open(door.address())).collect();
    // Some do not wait for the greeting.
    waiting[7].send(b"USER anonymous\r\n");
    door.signal(Signal::TERM);
    door.signal(Signal::CONT);
    for session in &mut waiting {
        // Those that were taken before the signal have been greeted.
        let heard = session.rest();
        let last = heard.lines().last().unwrap_or_default();
        assert!(last.starts_with("421 Service "), "{heard:?}");
    }
    drop(waiting);
    assert_success(door.wait(Duration::from_secs(10)), &door);
    assert!(std::net::TcpStream::connect(door.address()).is_err(), "nobody listens any more");
}

#[test]
fn a_session_that_is_still_looking_for_a_server_is_told_too() {
    let silent = StubServer::start(Connection::until_closed);
    let mut door = Setup::of(&[silent.address()])
        .global("drain_timeout = \"1s\"")
        .virtual_server("greeting_timeout = \"1h\"")
        .start();
    let mut session = ControlConnection::open(door.address());
    door.until("a session that looks", |status| status["sessions"] == 1);
    door.signal(Signal::TERM);
    let heard = session.rest();
    assert!(heard.starts_with("421 "), "{heard:?}");
    assert_success(door.wait(Duration::from_secs(5)), &door);
}

//! Data connections that cross the door, with the client and the server played by the test, down to FIN and RST.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::control_connection::ControlConnection;
use crate::support::data_client;
use crate::support::local_door::{LocalDoor, Setup};
use crate::support::local_server::LocalServer;
use crate::support::other_servers::PYTHON;
use crate::support::skip;
use crate::support::stub_server::{Connection, StubServer};

/// For whatever is awaited; many times what it takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// More than the socket buffers on both sides of the door hold together.
const LARGE: usize = 64 << 20;

/// What a server saw of an upload.
#[derive(Debug, Eq, PartialEq)]
enum Seen {
    /// Bytes, with FIN behind them.
    Whole(Vec<u8>),
    Reset,
}

/// A server that sends `file` to RETR and tells the test what came with STOR.
fn data_server(file: Vec<u8>) -> (StubServer, mpsc::Receiver<Seen>) {
    let (tell, told) = mpsc::channel();
    let (tell, file) = (Mutex::new(tell), Arc::new(file));
    let server = StubServer::start(move |connection| {
        connection.greet()?;
        let mut passive = None;
        loop {
            let line = connection.line()?;
            match line.get(..4) {
                Some(b"PASV") => passive = Some(listen(connection)?),
                Some(b"PORT") => {
                    passive = None;
                    connection.say("200 port\r\n")?;
                }
                Some(b"RETR") => {
                    connection.say("150 opening\r\n")?;
                    let mut data = accept(&passive)?;
                    data.write_all(&file)?;
                    drop(data);
                    connection.say("226 done\r\n")?;
                }
                Some(b"STOR") => {
                    connection.say("150 opening\r\n")?;
                    let mut data = accept(&passive)?;
                    let mut bytes = Vec::new();
                    let seen = match data.read_to_end(&mut bytes) {
                        Ok(_) => Seen::Whole(bytes),
                        Err(_) => Seen::Reset,
                    };
                    let reply = if seen == Seen::Reset { "500 broken\r\n" } else { "226 done\r\n" };
                    let _ = tell.lock().expect("one at a time").send(seen);
                    connection.say(reply)?;
                }
                _ if !connection.answer(&line)? => return Ok(()),
                _ => {}
            }
        }
    });
    (server, told)
}

fn listen(connection: &mut Connection) -> io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    connection.say(&format!("227 Entering Passive Mode (127,0,0,1,{},{})\r\n", port >> 8, port & 255))?;
    Ok(listener)
}

fn accept(passive: &Option<TcpListener>) -> io::Result<TcpStream> {
    let (data, _) = passive.as_ref().ok_or(io::ErrorKind::NotConnected)?.accept()?;
    data.set_read_timeout(Some(PATIENCE))?;
    data.set_write_timeout(Some(PATIENCE))?;
    Ok(data)
}

fn door(server: &StubServer, keys: &str) -> LocalDoor {
    // Every door of the tests has an address of its own, and so all of these ports.
    let keys = format!("data_path = \"relay\"\n{keys}");
    let keys =
        if keys.contains("relay_ports") { keys } else { format!("{keys}\nrelay_ports = \"18000-18999\"") };
    Setup::of(&[server.address()]).virtual_server(&keys).start()
}

fn passive(session: &mut ControlConnection) -> TcpStream {
    connect(announced(&session.command("PASV")))
}

fn announced(reply: &str) -> SocketAddr {
    data_client::announced(reply).unwrap_or_else(|| panic!("{reply}"))
}

fn connect(address: SocketAddr) -> TcpStream {
    let data = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
    data.set_read_timeout(Some(PATIENCE)).unwrap();
    data.set_write_timeout(Some(PATIENCE)).unwrap();
    data
}

fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

fn content(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(size).collect()
}

fn relay_status(door: &LocalDoor) -> Value {
    door.status()["virtual_servers"][0]["relay"].clone()
}

#[test]
fn a_file_crosses_the_door_whole_both_ways_and_log_and_status_tell_of_it() {
    let file = content(3_000_001);
    let (server, uploads) = data_server(file.clone());
    let door = door(&server, "");
    let mut session = ControlConnection::logged_in(door.address());

    let mut data = passive(&mut session);
    assert_eq!(data.peer_addr().unwrap().ip(), door.address().ip());
    session.expect("RETR /down", "150");
    let mut bytes = Vec::new();
    data.read_to_end(&mut bytes).expect("a clean end");
    assert!(bytes == file, "{} bytes", bytes.len());
    assert!(session.line().starts_with("226"));
    drop(data);

    let mut data = passive(&mut session);
    session.expect("STOR /up", "150");
    data.write_all(&file).unwrap();
    drop(data);
    assert_eq!(uploads.recv_timeout(PATIENCE).unwrap(), Seen::Whole(file));
    assert!(session.line().starts_with("226"));

    let end = ["data_path=relay", "reply=226", "data_end=\"complete\""];
    door.until_logged(&[&["path=\"/down\"", "bytes_in=0 bytes_out=3000001"][..], &end].concat());
    door.until_logged(&[&["path=\"/up\"", "bytes_in=3000001 bytes_out=0"][..], &end].concat());
    let counts = ["transfers", "relayed_transfers", "relayed_bytes_in", "relayed_bytes_out"];
    assert_eq!(counts.map(|field| door.count("s1", field)), [2, 2, 3_000_001, 3_000_001]);
    assert_eq!(
        door.status()["virtual_servers"][0]["data_paths"],
        serde_json::json!([{ "data_path": "relay", "reason": "configured", "transfers": 2 }])
    );
    assert_eq!(relay_status(&door)["ports_in_use"], 0);
    session.expect("QUIT", "221");
    door.until_empty();
}

#[test]
fn an_upload_that_the_client_breaks_off_is_broken_for_the_server() {
    let (server, uploads) = data_server(Vec::new());
    let door = door(&server, "");
    let mut session = ControlConnection::logged_in(door.address());
    for size in [0, 1, 100_000, 7_000_000] {
        let mut data = passive(&mut session);
        session.expect("STOR /up", "150");
        data.write_all(&content(size)).unwrap();
        reset(data);
        assert_eq!(uploads.recv_timeout(PATIENCE).unwrap(), Seen::Reset, "{size}");
        assert!(session.line().starts_with("500"));
    }
    door.until_logged(&["path=\"/up\"", "reply=500", "the client's connection broke"]);
}

/// pyftpdlib answers 226 to a reset.
#[test]
fn an_upload_that_is_broken_off_is_told_as_such_whatever_the_server_makes_of_it() {
    if !skip::unless_present(
        "uploads to pyftpdlib",
        &[PYTHON, "/usr/lib/python3/dist-packages/pyftpdlib/__init__.py"],
    ) {
        return;
    }
    let server = LocalServer::pyftpdlib();
    let door = Setup::of(&[server.address()])
        .virtual_server("data_path = \"relay\"\nrelay_ports = \"18000-18999\"")
        .start();
    let mut session = ControlConnection::logged_in(door.address());
    session.expect("TYPE I", "200");
    let mut sent = 0;
    for size in [1, 100_000, 3_000_000] {
        let mut data = passive(&mut session);
        let begun = session.command("STOR up");
        assert!(begun.starts_with("150") || begun.starts_with("125"), "{begun}");
        data.write_all(&content(size)).unwrap();
        sent += size as u64;
        door.until("the bytes", |status| {
            status["virtual_servers"][0]["real_servers"][0]["relayed_bytes_in"] == sent
        });
        // Where the reset comes before it has accepted and looked who that is, pyftpdlib never answers.
        server.until_data_is_read();
        reset(data);
        let reply = session.line();
        assert!(reply.starts_with('4') || reply.starts_with('5'), "{size}: {reply}");
    }
    let mut data = passive(&mut session);
    session.command("STOR up");
    data.write_all(&content(100_000)).unwrap();
    drop(data);
    let reply = session.line();
    assert!(reply.starts_with("226"), "{reply}");
    door.until_logged(&["path=\"up\"", "reply=426", "the client's connection broke"]);
}

#[test]
fn a_door_that_is_killed_leaves_no_upload_that_looks_whole() {
    let (server, uploads) = data_server(Vec::new());
    let mut door = door(&server, "");
    let mut session = ControlConnection::logged_in(door.address());
    let mut data = passive(&mut session);
    session.expect("STOR /up", "150");
    data.write_all(&content(1 << 20)).unwrap();
    door.until("the bytes", |status| {
        status["virtual_servers"][0]["real_servers"][0]["relayed_bytes_in"] == 1 << 20
    });
    door.signal(Signal::KILL);
    assert!(door.wait(PATIENCE).is_some());
    assert_eq!(uploads.recv_timeout(PATIENCE).unwrap(), Seen::Reset);
}

#[test]
fn a_lost_control_connection_breaks_its_upload() {
    let (server, uploads) = data_server(Vec::new());
    let door = door(&server, "");
    let mut session = ControlConnection::logged_in(door.address());
    let mut data = passive(&mut session);
    session.expect("STOR /up", "150");
    data.write_all(b"part").unwrap();
    session.reset();
    assert_eq!(uploads.recv_timeout(PATIENCE).unwrap(), Seen::Reset);
    door.until_empty();
    assert!(data.read(&mut [0]).is_err(), "the client's side is reset, too");
}

#[test]
fn a_draining_door_waits_for_the_client_that_reads_slowly_after_226() {
    let file = content(LARGE);
    let (server, _) = data_server(file.clone());
    let mut door = Setup::of(&[server.address()])
        .global("threads = 1\ndrain_timeout = \"20s\"")
        .virtual_server("data_path = \"relay\"\nrelay_ports = \"18000-18999\"")
        .start();
    let mut session = ControlConnection::logged_in(door.address());
    let mut data = passive(&mut session);
    session.expect("RETR /down", "150");
    let mut bytes = vec![0; LARGE - (1 << 20)];
    data.read_exact(&mut bytes).unwrap();
    // The server has sent everything; the last of it waits for this client.
    assert!(session.line().starts_with("226"));
    session.expect("QUIT", "221");
    drop(session);
    door.signal(Signal::TERM);
    door.until_logged(&["draining"]);
    data.read_to_end(&mut bytes).expect("a clean end");
    assert!(bytes == file);
    drop(data);
    assert!(door.wait(PATIENCE).is_some_and(|status| status.success()), "{}", door.log());
    assert!(door.log().contains("bytes_out=67108864"), "{}", door.log());
}

#[test]
fn no_free_port_is_told_to_the_client_and_counted_and_passes() {
    let (server, _) = data_server(b"x".to_vec());
    let door = door(&server, "relay_ports = \"18000-18001\"");
    let mut sessions: Vec<_> = (0..3).map(|_| ControlConnection::logged_in(door.address())).collect();
    let held: Vec<_> = sessions[..2].iter_mut().map(|session| session.command("PASV")).collect();
    assert!(held.iter().all(|reply| reply.starts_with("227")), "{held:?}");
    let refused = sessions[2].command("PASV");
    assert!(refused.starts_with("425 ") && refused.contains("relay_ports 18000-18001"), "{refused}");
    assert_eq!(relay_status(&door)["ports_in_use"], 2);
    assert_eq!(relay_status(&door)["ports_exhausted"], 1);
    drop(sessions.remove(0));
    door.until("a port given back", |status| status["virtual_servers"][0]["relay"]["ports_in_use"] == 1);
    let mut data = passive(&mut sessions[1]);
    sessions[1].expect("RETR /down", "150");
    let mut bytes = Vec::new();
    data.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"x");
}

#[test]
fn a_server_without_its_data_connection_is_a_425_and_nothing_hangs() {
    let server = StubServer::start(|connection| {
        connection.greet()?;
        loop {
            let line = connection.line()?;
            if line == b"PASV" {
                // Nobody listens any more by the time that the door hears of it.
                let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
                connection.say(&format!("227 x (127,0,0,1,{},{})\r\n", port >> 8, port & 255))?;
            } else if !connection.answer(&line)? {
                return Ok(());
            }
        }
    });
    let door = door(&server, "");
    let mut session = ControlConnection::logged_in(door.address());
    let mut data = passive(&mut session);
    let refused = session.command("RETR /down");
    assert!(refused.starts_with("425 ") && refused.contains("cannot connect"), "{refused}");
    assert!(data.read(&mut [0]).is_err(), "and the client's connection is reset");
    assert_eq!(door.count("s1", "data_failures"), 1);
    door.until_logged(&["path=\"/down\"", "cannot connect to"]);
    session.expect("NOOP 1", "200");
}

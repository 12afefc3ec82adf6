//! Real servers that do not go along: no passive address, a wrong one, none in time, no transfer.

use std::io::{self, Read as _};
use std::time::Duration;

use crate::support::data_client::DataClient;
use crate::support::deadline::Stopwatch;
use crate::support::file_server::{FileServer, Passive};
use crate::support::leftovers::Leftovers;
use crate::support::local_door::{LocalDoor, Setup};
use crate::support::seeded::content;

fn relaying(server: &FileServer, ports: &str) -> LocalDoor {
    let keys = format!("data_path = \"relay\"\nrelay_ports = \"{ports}\"");
    Setup::of(&[server.address()]).virtual_server(&keys).start()
}

#[test]
fn a_transfer_that_the_server_refuses_is_refused_with_its_words_and_no_end_of_data() {
    let server = FileServer::start();
    let door = relaying(&server, "40100-40119");
    let before = Leftovers::of(&door);
    let mut client = DataClient::logged_in(door.address());
    for (command, code) in [
        ("RETR /1000.1?refuse=0", "450"),
        ("STOR /up?refuse=0", "450"),
        ("RETR /1000.2?late=0", "550"),
        ("STOR /up?late=0", "550"),
    ] {
        let mut data = client.connect();
        let reply = client.control.command(command);
        assert!(reply.starts_with(code), "{command}: {reply}");
        let end = data.read(&mut [0; 16]).map_err(|error| error.kind());
        // A server that has closed its own end in order has sent an empty file itself.
        if command.contains("refuse") {
            assert_eq!(end, Err(io::ErrorKind::ConnectionReset), "{command}: no empty file");
        }
    }
    client.put("/after", b"after");
    assert_eq!(client.get("/5000.3"), content(3, 5000));
    client.control.expect("QUIT", "221");
    drop(client);
    door.until_empty();
    before.until_again(&door);
    let server = door.real_server("s1");
    assert_eq!((&server["transfers"], &server["transfer_failures"]), (&2.into(), &4.into()), "{server}");
}

#[test]
fn a_server_without_a_passive_address_is_a_425_that_says_so() {
    let server = FileServer::start();
    let door = relaying(&server, "40120-40139");
    let before = Leftovers::of(&door);
    let mut client = DataClient::logged_in(door.address());
    for (passive, word) in [(Passive::Refused, "no passive mode today"), (Passive::Unreachable, "refused")] {
        server.set_passive(passive);
        for command in ["RETR /1000.1", "STOR /up", "NLST"] {
            let mut data = client.connect();
            let watch = Stopwatch::start();
            let reply = client.control.command(command);
            assert!(reply.starts_with("425 "), "{passive:?}, {command}: {reply}");
            assert!(reply.to_lowercase().contains(word), "{passive:?}: {reply}");
            assert!(watch.elapsed() < Duration::from_secs(3), "{passive:?}: after {:?}", watch.elapsed());
            let end = data.read(&mut [0; 16]).map_err(|error| error.kind());
            assert_eq!(end, Err(io::ErrorKind::ConnectionReset), "{passive:?}, {command}");
        }
    }
    // The transfer never got as far as the server, and the client may try again.
    assert!(!server.commands().iter().any(|line| line.starts_with("RETR") || line.starts_with("STOR")));
    server.set_passive(Passive::Served);
    client.put("/after", b"after");
    client.control.expect("QUIT", "221");
    drop(client);
    door.until_empty();
    before.until_again(&door);
    let server = door.real_server("s1");
    assert_eq!((&server["transfers"], &server["transfer_failures"]), (&1.into(), &6.into()), "{server}");
}

#[test]
fn a_server_that_never_answers_pasv_costs_its_client_nothing_but_patience() {
    let server = FileServer::start();
    let door = relaying(&server, "40140-40159");
    let before = Leftovers::of(&door);
    server.set_passive(Passive::Silent);
    let mut client = DataClient::logged_in(door.address());
    let data = client.connect();
    client.control.send(b"RETR /1000.1\r\n");
    assert_eq!(client.control.line_within(Duration::from_millis(300)), None);
    // Others are served meanwhile.
    server.set_passive(Passive::Served);
    let mut other = DataClient::logged_in(door.address());
    assert_eq!(other.get("/2000.2"), content(2, 2000));
    other.control.expect("QUIT", "221");
    drop((other, client));
    door.until_empty();
    let end = (&data).read(&mut [0; 16]).map_err(|error| error.kind());
    assert_eq!(end, Err(io::ErrorKind::ConnectionReset));
    before.until_again(&door);
}

//! Data connections that stand still for a while, and go on: back-pressure, no growth, and the whole file in the end.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use crate::support::data_client::DataClient;
use crate::support::deadline;
use crate::support::file_server::FileServer;
use crate::support::local_door::{LocalDoor, Setup};
use crate::support::seeded::{content, long};

const MIB: usize = 1 << 20;
/// More than all buffers of the kernels and pipes on the way hold.
const FILE: usize = 48 * MIB;
/// What standing still may cost the door.
const GROWTH: u64 = 2 << 20;
const STREAMS: usize = 4;

fn relaying(server: &FileServer, ports: &str) -> LocalDoor {
    let keys = format!(
        "data_path = \"relay\"\nrelay_ports = \"{ports}\"\nidle_timeout = \"1s\"\nlogin_timeout = \"1s\""
    );
    Setup::of(&[server.address()]).virtual_server(&keys).start()
}

/// Longer than the idle time-out; a minute where time does not matter.
fn stand_still() {
    std::thread::park_timeout(Duration::from_secs(if long() { 60 } else { 2 }));
}

/// Waits until nothing moves any more, and looks at what the door holds then.
fn until_still(door: &LocalDoor, before: u64) {
    let carried = || {
        let server = door.real_server("s1");
        server["relayed_bytes_in"].as_u64().zip(server["relayed_bytes_out"].as_u64()).expect("counters")
    };
    let mut last = (u64::MAX, 0);
    deadline::until("bytes that stand still", Duration::from_secs(20), || {
        std::thread::park_timeout(Duration::from_millis(200));
        let now = carried();
        let still = now == last && now != (0, 0);
        last = now;
        if still { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .unwrap();
    let (up, down) = last;
    assert!(up + down < (STREAMS * FILE) as u64 / 2, "{up} and {down} bytes went on");
    stand_still();
    let grown = door.resident().saturating_sub(before);
    assert!(grown < GROWTH, "{grown} bytes more with {STREAMS} transfers that stand still");
    assert_eq!(carried(), last, "nothing moves");
}

#[test]
fn a_server_that_stops_reading_holds_its_clients_back_and_gets_whole_files() {
    let server = FileServer::start();
    let door = relaying(&server, "40200-40219");
    DataClient::logged_in(door.address()).put("/first", b"first");
    let before = door.resident();
    let (server, door) = (&server, &door);
    std::thread::scope(|scope| {
        let uploads: Vec<_> = (0..STREAMS as u64)
            .map(|number| {
                scope.spawn(move || {
                    let mut client = DataClient::logged_in(door.address());
                    let mut data = client.begin(&format!("STOR /{number}?stop={MIB}"));
                    data.set_write_timeout(Some(Duration::from_secs(120))).unwrap();
                    data.write_all(&content(number, FILE)).unwrap();
                    drop(data);
                    assert_eq!(client.last_reply().ok(), Some(226));
                })
            })
            .collect();
        server.until_stopped(STREAMS);
        until_still(door, before);
        assert!(uploads.iter().all(|upload| !upload.is_finished()));
        server.resume();
        for upload in uploads {
            upload.join().unwrap();
        }
    });
    for number in 0..STREAMS as u64 {
        let there = server.transferred(&format!("/{number}?stop={MIB}"));
        assert!(there.bytes == content(number, FILE), "{} bytes", there.bytes.len());
    }
    door.until_empty();
}

#[test]
fn a_client_that_stops_reading_holds_its_server_back_and_gets_the_whole_file() {
    let server = FileServer::start();
    let door = relaying(&server, "40220-40239");
    DataClient::logged_in(door.address()).put("/first", b"first");
    let before = door.resident();
    let mut clients: Vec<_> = (0..STREAMS)
        .map(|number| {
            let mut client = DataClient::logged_in(door.address());
            let mut data = client.begin(&format!("RETR /{FILE}.{number}"));
            let mut bytes = vec![0; MIB];
            data.read_exact(&mut bytes).unwrap();
            (client, data, bytes)
        })
        .collect();
    until_still(&door, before);
    for (number, (client, data, bytes)) in clients.iter_mut().enumerate() {
        data.read_to_end(bytes).unwrap();
        assert!(*bytes == content(number as u64, FILE), "{} bytes", bytes.len());
        assert_eq!(client.last_reply().ok(), Some(226));
    }
    drop(clients);
    door.until_empty();
}

#[test]
fn a_client_that_pauses_in_an_upload_is_waited_for() {
    let server = FileServer::start();
    let door = relaying(&server, "40240-40259");
    let mut client = DataClient::logged_in(door.address());
    let mut data = client.begin("STOR /slow");
    let file = content(7, 3 * MIB);
    let (now, later) = file.split_at(MIB);
    data.write_all(now).unwrap();
    stand_still();
    data.write_all(later).unwrap();
    drop(data);
    assert_eq!(client.last_reply().ok(), Some(226));
    assert!(server.transferred("/slow").bytes == file);
    client.control.expect("QUIT", "221");
    drop(client);
    door.until_empty();
}

//! Transfers that are broken off at any byte, by either side, in either direction: what is cut is never taken for whole.
//!
//! `GRIDFRONT_SEED` repeats a run, `GRIDFRONT_LONG=1` makes it ten times as long.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use rustix::process::Signal;

use crate::support::data_client::DataClient;
use crate::support::file_server::{FileServer, Transferred, reset};
use crate::support::leftovers::Leftovers;
use crate::support::local_door::{LocalDoor, Setup};
use crate::support::process::tail;
use crate::support::seeded::{Seeded, content, long, seed};

const ROUNDS: usize = 200;
/// Rounds under way at once.
const HANDS: usize = 4;
/// Beyond what sockets and pipes on the way hold, so that an offset may be anywhere.
const LARGEST: usize = 12 << 20;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    Up,
    Down,
}

/// Who breaks off, and how.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Breach {
    /// Nobody: the file has to be whole.
    None,
    /// The client resets the data connection.
    ClientResetsData,
    /// The client closes the data connection: of a download it has not read all.
    ClientClosesData,
    /// The client resets the control connection, and closes the data connection in order.
    ClientResetsControl,
    /// The client's process ends: its kernel closes the control connection, then the data connection, in order.
    ClientVanishes,
    /// The server resets the data connection and says 426.
    ServerResets,
    /// The server closes the data connection in order and says 426.
    ServerCloses,
    /// The server resets the data connection and closes the control connection.
    ServerDies,
}

const BREACHES: [Breach; 8] = [
    Breach::None,
    Breach::ClientResetsData,
    Breach::ClientClosesData,
    Breach::ClientResetsControl,
    Breach::ClientVanishes,
    Breach::ServerResets,
    Breach::ServerCloses,
    Breach::ServerDies,
];

#[derive(Clone, Debug)]
struct Round {
    number: usize,
    way: Way,
    breach: Breach,
    size: usize,
    /// Where the breach is.
    at: usize,
    /// Downloads without a breach begin here.
    restart: usize,
}

impl Round {
    fn draw(number: usize, numbers: &mut Seeded) -> Self {
        let size = numbers.size(LARGEST);
        Self {
            number,
            way: if numbers.within(0..2) == 0 { Way::Up } else { Way::Down },
            breach: BREACHES[numbers.within(0..BREACHES.len())],
            size,
            at: numbers.within(0..size),
            restart: numbers.within(0..size),
        }
    }

    /// What is asked for; the server's own faults are in the path.
    fn path(&self) -> String {
        let Self { number, size, at, .. } = self;
        match self.breach {
            Breach::ServerResets => format!("/{size}.{number}?reset={at}"),
            Breach::ServerCloses => format!("/{size}.{number}?cut={at}"),
            Breach::ServerDies => format!("/{size}.{number}?die={at}"),
            _ => format!("/{size}.{number}"),
        }
    }

    fn file(&self) -> Vec<u8> {
        content(self.number as u64, self.size)
    }

    fn run(&self, door: &LocalDoor, server: &FileServer) {
        let client = DataClient::logged_in(door.address());
        let client = match self.way {
            Way::Up => self.upload(client),
            Way::Down => self.download(client),
        };
        if let Some(mut client) = client {
            // The session has outlived the breach.
            client.put(&format!("/after.{}", self.number), b"whole");
            client.control.expect("QUIT", "221");
        }
        self.judge(&server.transferred(&self.path()));
    }

    fn judge(&self, there: &Transferred) {
        let whole =
            self.breach == Breach::None || (self.way == Way::Up && self.breach == Breach::ClientClosesData);
        assert_eq!(
            there.code == 226,
            whole || self.in_time(there.code),
            "the server said {}: {self:?}",
            there.code
        );
        if self.way == Way::Up {
            let sent = match self.breach {
                Breach::None => self.size,
                _ => self.at,
            };
            let file = self.file();
            assert!(file.starts_with(&there.bytes), "other bytes at the server: {self:?}");
            if there.code == 226 {
                assert_eq!(there.bytes.len(), sent, "226 for another length: {self:?}");
            }
        }
    }

    /// A download that the client breaks off may be through as far as the server is concerned: it is in the buffers.
    fn in_time(&self, code: u16) -> bool {
        let of_client = matches!(
            self.breach,
            Breach::ClientResetsData
                | Breach::ClientClosesData
                | Breach::ClientResetsControl
                | Breach::ClientVanishes
        );
        self.way == Way::Down && of_client && code == 226
    }

    /// Gives the session back if it goes on.
    fn upload(&self, mut client: DataClient) -> Option<DataClient> {
        let file = self.file();
        let mut data = client.begin(&format!("STOR {}", self.path()));
        let by_server =
            matches!(self.breach, Breach::ServerResets | Breach::ServerCloses | Breach::ServerDies);
        let part = if self.breach == Breach::None || by_server { &file[..] } else { &file[..self.at] };
        let sent = data.write_all(part);
        match self.breach {
            Breach::None | Breach::ClientClosesData => {
                sent.unwrap_or_else(|error| panic!("{error}: {self:?}"));
                drop(data);
                self.expect(&mut client, |code| code == 226);
                Some(client)
            }
            Breach::ClientResetsData => {
                reset(&data);
                drop(data);
                self.expect(&mut client, |code| code >= 400);
                Some(client)
            }
            Breach::ServerResets | Breach::ServerCloses => {
                drop(data);
                self.expect(&mut client, |code| code >= 400);
                Some(client)
            }
            Breach::ServerDies => {
                drop(data);
                self.expect(&mut client, |code| code == 421);
                None
            }
            Breach::ClientResetsControl | Breach::ClientVanishes => self.leave(client, data),
        }
    }

    /// Gives the session back if it goes on.
    fn download(&self, mut client: DataClient) -> Option<DataClient> {
        let file = self.file();
        let mut data = client.connect();
        let restart = if self.breach == Breach::None { self.restart } else { 0 };
        if restart > 0 {
            client.control.expect(&format!("REST {restart}"), "350");
        }
        client.control.send(format!("RETR {}\r\n", self.path()).as_bytes());
        let by_client = matches!(
            self.breach,
            Breach::ClientResetsData
                | Breach::ClientClosesData
                | Breach::ClientResetsControl
                | Breach::ClientVanishes
        );
        if by_client {
            let mut bytes = vec![0; self.at];
            data.read_exact(&mut bytes).unwrap_or_else(|error| panic!("{error}: {self:?}"));
            assert!(file.starts_with(&bytes), "other bytes: {self:?}");
            if matches!(self.breach, Breach::ClientResetsControl | Breach::ClientVanishes) {
                return self.leave(client, data);
            }
            if self.breach == Breach::ClientResetsData {
                reset(&data);
            }
            drop(data);
            // The server may have handed over all of a small file.
            self.expect(&mut client, |code| code >= 200);
            return Some(client);
        }
        let mut bytes = Vec::new();
        let end = data.read_to_end(&mut bytes).map_err(|error| error.kind());
        assert!(file[restart..].starts_with(&bytes), "other bytes: {self:?}");
        match self.breach {
            Breach::ServerResets | Breach::ServerDies => {
                assert_eq!(end, Err(io::ErrorKind::ConnectionReset), "{} bytes: {self:?}", bytes.len());
            }
            Breach::ServerCloses => assert_eq!(end, Ok(self.at), "{self:?}"),
            _ => assert_eq!(end, Ok(self.size - restart), "{self:?}"),
        }
        match self.breach {
            Breach::ServerDies => {
                self.expect(&mut client, |code| code == 421);
                return None;
            }
            Breach::None => self.expect(&mut client, |code| code == 226),
            _ => self.expect(&mut client, |code| code == 426),
        }
        Some(client)
    }

    /// The control connection goes first, by RST or as the kernel closes it for a process that ends, lower descriptors
    /// first; then the data connection, in order, which must count for nothing.
    fn leave(&self, client: DataClient, data: TcpStream) -> Option<DataClient> {
        if self.breach == Breach::ClientResetsControl {
            client.control.reset();
        } else {
            drop(client);
        }
        drop(data);
        None
    }

    fn expect(&self, client: &mut DataClient, is_right: impl Fn(u16) -> bool) {
        match client.last_reply() {
            Ok(code) => assert!(is_right(code), "the client heard {code}: {self:?}"),
            Err(error) => panic!("the client heard nothing, {error}: {self:?}"),
        }
    }
}

#[test]
fn what_is_broken_off_anywhere_is_never_whole_and_leaves_nothing() {
    let seed = seed();
    println!("GRIDFRONT_SEED={seed}");
    let rounds = if long() { 10 * ROUNDS } else { ROUNDS };
    let server = FileServer::start();
    let door = Setup::of(&[server.address()])
        .virtual_server("data_path = \"relay\"\nrelay_ports = \"40000-40099\"")
        .start();
    // One of each beforehand, so that what the process keeps is there.
    let mut client = DataClient::logged_in(door.address());
    client.put("/first", b"first");
    client.control.expect("QUIT", "221");
    drop(client);
    door.until_empty();
    let before = Leftovers::of(&door);
    let mut numbers = Seeded::new(seed);
    let plan: Vec<Round> = (0..rounds).map(|number| Round::draw(number, &mut numbers)).collect();
    let next = AtomicUsize::new(0);
    // All of them, so that a failure shows what its kind is.
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..HANDS {
            scope.spawn(|| {
                while let Some(round) = plan.get(next.fetch_add(1, Relaxed)) {
                    if catch_unwind(AssertUnwindSafe(|| round.run(&door, &server))).is_err() {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push(round.clone());
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(failed.is_empty(), "GRIDFRONT_SEED={seed}\n{failed:#?}\n{}", tail(&door.log(), 20));
    door.until_empty();
    before.until_again(&door);
    let acknowledged = server.all_transferred().into_iter().filter(|transferred| transferred.code == 226);
    println!("{rounds} rounds, {} transfers were whole", acknowledged.count());
}

#[test]
fn a_door_that_is_killed_resets_its_uploads() {
    let server = FileServer::start();
    let door = Setup::of(&[server.address()])
        .virtual_server("data_path = \"relay\"\nrelay_ports = \"40300-40399\"")
        .start();
    let mut numbers = Seeded::new(seed());
    let mut uploads = Vec::new();
    for number in 0..16 {
        let size = numbers.size(LARGEST);
        let mut client = DataClient::logged_in(door.address());
        let mut data = client.begin(&format!("STOR /killed.{number}"));
        data.write_all(&content(number, size)[..size - 1]).unwrap();
        uploads.push((client, data));
    }
    door.signal(Signal::KILL);
    for (number, (mut client, mut data)) in uploads.into_iter().enumerate() {
        let end = data.read(&mut [0; 16]).map_err(|error| error.kind());
        assert_eq!(end, Err(io::ErrorKind::ConnectionReset), "upload {number}");
        assert!(client.last_reply().is_err(), "upload {number}: no word on a cut file");
        assert_eq!(server.transferred(&format!("/killed.{number}")).code, 426, "upload {number}");
    }
}

//! Broken transfers through the door, as a real Globus server sees them: its own log says what it takes for complete.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::control_connection::ControlConnection;
use crate::support::data_client::{DataClient, data_connection};
use crate::support::deadline;
use crate::support::door::{Configuration, Door};
use crate::support::file_server::reset;
use crate::support::grid::{PORT, PROGRAMS, Security, Servers, Site, path_text};
use crate::support::leftovers::Leftovers;
use crate::support::seeded::{Seeded, content, long, seed};
use crate::support::skip;

const ROUNDS: usize = 24;
const LARGEST: usize = 4 << 20;
/// For what a server comes to; many times what it takes.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Breach {
    None,
    ResetsData,
    ResetsControl,
    /// The control connection closes, then the data connection: a client that was killed.
    Vanishes,
}

const BREACHES: [Breach; 4] = [Breach::None, Breach::ResetsData, Breach::ResetsControl, Breach::Vanishes];

struct Stage {
    site: Site,
    door: Door,
}

impl Stage {
    /// `None` where real servers cannot run.
    fn set(what: &str) -> Option<Self> {
        if !skip::unless_present(what, PROGRAMS) {
            return None;
        }
        let site = Site::start(Security::Anonymous, Servers::Three);
        let door = Self::open_door(&site);
        Some(Self { site, door })
    }

    fn open_door(site: &Site) -> Door {
        let keys = "data_path = \"relay\"\nrelay_ports = \"40000-40099\"";
        let s1 = site.machine("s1").v4().to_string();
        let configuration =
            Configuration::new(site).virtual_server("gridftp", PORT, keys).real_server("s1", &s1, PORT, "");
        Door::start(site, &configuration).unwrap_or_else(|why| panic!("{why}"))
    }

    fn path(&self, name: &str) -> String {
        path_text(&self.site.data_directory().join(name))
    }

    fn client(&self) -> DataClient {
        let address = SocketAddr::new(IpAddr::from(self.site.machine("door").v4()), PORT);
        let stream = self.connect(address);
        let mut control = ControlConnection::over(stream);
        let greeting = control.line();
        assert!(greeting.starts_with("220"), "{greeting}");
        DataClient::over(control)
    }

    /// From the client's machine.
    fn connect(&self, address: SocketAddr) -> TcpStream {
        self.site.machine("client").enter(|| data_connection(address)).unwrap_or_else(|error| {
            panic!("{address}: {error}\n{}", self.door.log_tail());
        })
    }

    fn begin(&self, client: &mut DataClient, command: &str) -> TcpStream {
        let address = client.passive();
        let data = self.connect(address);
        client.control.expect(command, "150");
        data
    }

    /// A whole file, which the server has in its log afterwards: so everything before it is there, too.
    fn put_whole(&self, name: &str, bytes: &[u8]) {
        let mut client = self.client();
        let mut data = self.begin(&mut client, &format!("STOR {}", self.path(name)));
        data.write_all(bytes).unwrap();
        drop(data);
        assert_eq!(client.last_reply().ok(), Some(226), "{name}");
        client.control.expect("QUIT", "221");
        deadline::until(name, PATIENCE, || {
            let completed = self.site.completed("s1");
            let found = completed.iter().any(|line| line.contains(&format!("/{name} ")));
            if found { Ok(()) } else { Err(format!("{completed:#?}")) }
        })
        .unwrap();
        assert!(std::fs::read(self.path(name)).unwrap() == bytes, "{name} differs");
    }

    fn until_empty(&self) {
        deadline::until("every session given back", PATIENCE, || {
            let status = self.door.status()?;
            if status["sessions"] == 0 { Ok(()) } else { Err(status.to_string()) }
        })
        .unwrap();
    }

    /// Names of the files that the server has called complete.
    fn completed(&self) -> Vec<String> {
        let lines = self.site.completed("s1");
        let names = lines.iter().filter_map(|line| line.split("FILE=").nth(1)?.split(' ').next());
        names.filter_map(|path| path.rsplit('/').next().map(str::to_owned)).collect()
    }
}

#[test]
fn a_globus_server_calls_no_upload_complete_that_was_cut() {
    let Some(stage) = Stage::set("cut uploads to a Globus server") else { return };
    let seed = seed();
    println!("GRIDFRONT_SEED={seed}");
    let mut numbers = Seeded::new(seed);
    stage.put_whole("first", b"first");
    stage.until_empty();
    let before = Leftovers::of_process(stage.door.id());
    let mut whole = vec!["first".to_owned()];
    for number in 0..if long() { 10 * ROUNDS } else { ROUNDS } {
        let size = numbers.size(LARGEST);
        let at = numbers.within(0..size);
        let breach = BREACHES[numbers.within(0..BREACHES.len())];
        let name = format!("{number}-{breach:?}-{at}-of-{size}");
        let file = content(number as u64, size);
        let mut client = stage.client();
        let mut data = stage.begin(&mut client, &format!("STOR {}", stage.path(&name)));
        let part = if breach == Breach::None { &file[..] } else { &file[..at] };
        data.write_all(part).unwrap_or_else(|error| panic!("{name}: {error}"));
        match breach {
            Breach::None => {
                drop(data);
                assert_eq!(client.last_reply().ok(), Some(226), "{name}");
                assert!(std::fs::read(stage.path(&name)).unwrap() == file, "{name} differs");
                whole.push(name);
            }
            Breach::ResetsData => {
                reset(&data);
                drop(data);
                assert!(client.last_reply().is_ok_and(|code| code >= 400), "{name}");
                client.control.expect("QUIT", "221");
            }
            Breach::ResetsControl => {
                client.control.reset();
                drop(data);
            }
            Breach::Vanishes => {
                drop(client);
                drop(data);
            }
        }
    }
    stage.put_whole("last", b"last");
    whole.push("last".to_owned());
    stage.until_empty();
    before.until_again_in(stage.door.id());
    let mut completed = stage.completed();
    completed.sort();
    whole.sort();
    assert_eq!(
        completed,
        whole,
        "GRIDFRONT_SEED={seed}: what the server calls complete, and what is\n{}",
        stage.door.log_tail()
    );
}

#[test]
fn a_door_that_is_killed_in_an_upload_leaves_no_complete_file() {
    let Some(mut stage) = Stage::set("kill -9 of the door in an upload") else { return };
    stage.put_whole("first", b"first");
    let file = content(1, LARGEST);
    let mut uploads: Vec<(DataClient, TcpStream)> = (0..4)
        .map(|number| {
            let mut client = stage.client();
            let command = format!("STOR {}", stage.path(&format!("killed-{number}")));
            let data = stage.begin(&mut client, &command);
            (client, data)
        })
        .collect();
    for (number, (_, data)) in uploads.iter_mut().enumerate() {
        data.write_all(&file[..(LARGEST / 5) * (number + 1)]).unwrap();
    }
    // Bytes have arrived, and the end has not.
    deadline::until("uploads at the server", PATIENCE, || {
        let begun = (0..4).all(|number| Path::new(&stage.path(&format!("killed-{number}"))).exists());
        if begun { Ok(()) } else { Err(stage.site.logs()) }
    })
    .unwrap();
    stage.door.signal(Signal::KILL);
    for (mut client, mut data) in uploads {
        let mut rest = Vec::new();
        assert!(data.read_to_end(&mut rest).is_err(), "the client hears of it, too");
        assert!(client.last_reply().is_err(), "no reply to a cut upload");
    }
    let Stage { site, door } = stage;
    drop(door);
    stage = Stage { door: Stage::open_door(&site), site };
    stage.put_whole("last", b"last");
    // The kernel closes the control connection with the data connection. A Globus server that meets the one before the
    // other logs the part that it has with code 226, whoever its client was; a whole file it never is.
    for line in stage.site.completed("s1").iter().filter(|line| line.contains("/killed-")) {
        println!("logged as complete for want of a control connection: {line}");
        let bytes =
            line.split("NBYTES=").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<usize>().ok());
        assert!(bytes.is_some_and(|bytes| bytes < LARGEST), "{line}");
    }
    for number in 0..4 {
        let length = std::fs::metadata(stage.path(&format!("killed-{number}"))).map_or(0, |file| file.len());
        assert!(length < LARGEST as u64, "killed-{number} has {length} bytes");
    }
    stage.until_empty();
}

//! A client's machine that vanishes with its connections: no FIN, no RST, nobody answers any more.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::certificates::set_mode;
use crate::support::data_client::announced;
use crate::support::deadline::Stopwatch;
use crate::support::netns::Machine;

/// Every machine has an address of its own, so that none is met by the resets of the one before.
const FIRST: u8 = 200;
const ADDRESSES: u8 = 50;
/// Connections of each kind: silent, logged in, in a download.
const OF_EACH_KIND: usize = 2;
/// For what else may be wrong meanwhile.
const PATIENCE: Duration = Duration::from_millis(500);
/// Then it is gone with what it has.
const APPEARS_FOR: Duration = Duration::from_secs(2);
/// More than sockets and pipes on the way hold, which is tens of MiB: the transfer is under way for ever. A file that the door
/// has whole it keeps for its client, for longer than a run wants to wait.
const ENDLESS: u64 = 512 << 20;
/// The file that they ask for.
pub(super) const FILE: &str = "endless";

/// One such machine.
#[derive(Debug)]
pub(super) struct Vanishing(JoinHandle<Vec<Vec<TcpStream>>>);

/// Writes what they download.
pub(super) fn prepare(data: &Path) {
    let file = data.join(FILE);
    // A hole takes no space.
    File::create(&file).and_then(|hole| hole.set_len(ENDLESS)).expect("a file of ours");
    set_mode(&file, 0o644);
}

impl Vanishing {
    /// The `number`th: appears beside `client`, connects to the doors, and is gone.
    pub(super) fn begin(client: &Machine, number: usize, doors: [SocketAddr; 2]) -> Self {
        let client = client.clone();
        let last = FIRST + u8::try_from(number % usize::from(ADDRESSES)).expect("below 50");
        Self(std::thread::spawn(move || {
            let address = Ipv4Addr::new(10, 77, 0, last);
            client.set_address(address, true);
            let streams = client.enter(|| {
                let watch = Stopwatch::start();
                let kinds = (0..3 * OF_EACH_KIND).take_while(|_| watch.elapsed() < APPEARS_FOR);
                kinds
                    .filter_map(|kind| open(address.into(), doors[kind % 2], kind / OF_EACH_KIND).ok())
                    .collect()
            });
            client.set_address(address, false);
            streams
        }))
    }

    /// Frees the sockets. Their end goes nowhere: the address is nobody's.
    pub(super) fn end(self) {
        drop(self.0.join());
    }
}

/// The sockets of a session, which are not to be closed while the address is there.
fn open(source: IpAddr, door: SocketAddr, kind: usize) -> io::Result<Vec<TcpStream>> {
    let connect = |to: SocketAddr| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
        socket.connect_timeout(&to.into(), PATIENCE)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        io::Result::Ok(stream)
    };
    let mut control = connect(door)?;
    let mut say = |command: &str| {
        control.write_all(command.as_bytes())?;
        let mut reply = [0; 512];
        let read = control.read(&mut reply)?;
        io::Result::Ok(String::from_utf8_lossy(&reply[..read]).into_owned())
    };
    say("")?;
    if kind == 0 {
        return Ok(vec![control]);
    }
    for command in ["USER anonymous\r\n", "PASS x@y\r\n", "TYPE I\r\n"] {
        say(command)?;
    }
    if kind == 2
        && let Some(address) = announced(say("PASV\r\n")?.trim_end())
    {
        let data = connect(address)?;
        control.write_all(format!("RETR {FILE}\r\n").as_bytes())?;
        // The first bytes have come, and no more are read.
        let _ = data.peek(&mut [0]);
        return Ok(vec![control, data]);
    }
    Ok(vec![control])
}

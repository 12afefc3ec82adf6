//! A real server at the end of a bad line: every byte of its control connections passes here, and may be troubled.
//!
//! It listens on the server's own machine, so that addresses of data connections are right, and while the line is in order
//! it is as good as the server itself.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::time::Duration;

use crate::support::netns::Machine;
use crate::support::stub_server::{Connection, StubServer};

/// Between two looks at whether the trouble is over, and between two bytes of a slow line.
const BEAT: Duration = Duration::from_millis(20);
/// A line that would be mute for ever is a bug of the plan.
const LONGEST: u32 = 3000;

/// What happens to the server's bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Trouble {
    None,
    /// They stay away: new connections get no greeting, old ones no reply.
    Mute,
    /// They come one by one.
    Slow,
    /// Half a reply comes, and then RST.
    Reset,
    /// New connections are told 421.
    Busy,
    /// Before each reply comes what is none.
    Garbage,
}

impl Trouble {
    pub(super) const ALL: [Self; 5] = [Self::Mute, Self::Slow, Self::Reset, Self::Busy, Self::Garbage];
}

/// See the module's text. Dropping it ends its connections.
#[derive(Debug)]
pub(super) struct BadLine {
    trouble: Arc<AtomicU8>,
    _server: StubServer,
}

impl BadLine {
    /// A line to `server` that begins at `port` of the same machine.
    pub(super) fn start(machine: &Machine, port: u16, server: SocketAddr) -> Self {
        let trouble = Arc::new(AtomicU8::new(0));
        let of_script = Arc::clone(&trouble);
        let here = SocketAddr::new(server.ip(), port);
        // Threads stay on the machine where they were started.
        let stub = machine
            .enter(|| StubServer::start_at(here, move |connection| carry(connection, server, &of_script)));
        Self { trouble, _server: stub }
    }

    pub(super) fn set(&self, trouble: Trouble) {
        self.trouble.store(number(trouble), SeqCst);
    }
}

/// 0 is a line in order.
fn number(trouble: Trouble) -> u8 {
    let place = Trouble::ALL.iter().position(|other| *other == trouble);
    place.map_or(0, |place| u8::try_from(place + 1).expect("there are five"))
}

fn now(trouble: &AtomicU8) -> Trouble {
    match trouble.load(SeqCst) {
        0 => Trouble::None,
        number => Trouble::ALL[usize::from(number) - 1],
    }
}

/// One control connection.
fn carry(connection: &mut Connection, server: SocketAddr, trouble: &Arc<AtomicU8>) -> io::Result<()> {
    if now(trouble) == Trouble::Busy {
        return connection.say("421 too many sessions on this line\r\n");
    }
    let mut upstream = TcpStream::connect(server)?;
    upstream.set_nodelay(true)?;
    let (from, mut to) = (upstream.try_clone()?, connection.stream().try_clone()?);
    let trouble = Arc::clone(trouble);
    let replies = std::thread::spawn(move || {
        let end = carry_replies(from, &mut to, &trouble);
        // Wakes whoever reads the door's commands. A socket that is to be reset sends no FIN first.
        let _ = to.shutdown(if end.is_ok() { Shutdown::Both } else { Shutdown::Read });
    });
    while let Ok(line) = connection.raw_line() {
        if upstream.write_all(&line).is_err() {
            break;
        }
    }
    let _ = upstream.shutdown(Shutdown::Write);
    // The server closes what its client has closed; if it cannot, being stopped, this waits for it to be woken.
    let _ = replies.join();
    Ok(())
}

fn carry_replies(mut from: TcpStream, to: &mut TcpStream, trouble: &AtomicU8) -> io::Result<()> {
    let mut chunk = [0; 4096];
    loop {
        let read = match from.read(&mut chunk) {
            Ok(0) | Err(_) => return Ok(()),
            Ok(read) => read,
        };
        let bytes = &chunk[..read];
        for _ in 0..LONGEST {
            if now(trouble) != Trouble::Mute {
                break;
            }
            std::thread::park_timeout(BEAT);
        }
        match now(trouble) {
            Trouble::None | Trouble::Mute | Trouble::Busy => to.write_all(bytes)?,
            Trouble::Slow => {
                for byte in bytes {
                    to.write_all(&[*byte])?;
                    if now(trouble) == Trouble::Slow {
                        std::thread::park_timeout(BEAT);
                    }
                }
            }
            Trouble::Reset => {
                to.write_all(&bytes[..read / 2])?;
                socket2::SockRef::from(&*to).set_linger(Some(Duration::ZERO))?;
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            Trouble::Garbage => {
                to.write_all(b"\x00\xff\x80no reply at all\r\n999 nor this\r\n-\r\n")?;
                to.write_all(bytes)?;
            }
        }
    }
}

//! The load: FTP sessions that move a file of zero cost through whatever stands in front of the server.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::flow::{Source, drain};

/// How long any single step may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the bytes go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Get,
    Put,
}

/// One session, logged in.
pub(crate) struct Session {
    control: BufReader<TcpStream>,
    peer: SocketAddr,
}

impl Session {
    pub(crate) fn open(address: SocketAddr) -> Outcome<Self> {
        let control = TcpStream::connect_timeout(&address, PATIENCE)?;
        control.set_nodelay(true)?;
        control.set_read_timeout(Some(PATIENCE))?;
        let mut session = Self { control: BufReader::new(control), peer: address };
        session.expect("220")?;
        for (say, code) in [("USER anonymous", "331"), ("PASS bench@example.org", "230"), ("TYPE I", "200")] {
            session.say(say)?;
            session.expect(code)?;
        }
        Ok(session)
    }

    /// Asks for a port and connects to it.
    pub(crate) fn connect_data(&mut self) -> Outcome<TcpStream> {
        let port = self.passive_port()?;
        let stream = TcpStream::connect_timeout(&SocketAddr::new(self.peer.ip(), port), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// The port alone is looked at, as curl does: the address is that of the control connection's other end.
    pub(crate) fn passive_port(&mut self) -> Outcome<u16> {
        self.say("PASV")?;
        let reply = self.expect("227")?;
        let inside = reply.split(['(', ')']).nth(1).unwrap_or_default();
        let bytes: Vec<u16> = inside.split(',').filter_map(|part| part.trim().parse().ok()).collect();
        match bytes[..] {
            [_, _, _, _, high @ 0..256, low @ 0..256] => Ok(high << 8 | low),
            _ => Err(format!("no address in {reply:?}").into()),
        }
    }

    /// Moves `bytes`; an error if as many do not arrive.
    pub(crate) fn transfer(&mut self, kind: Kind, bytes: u64, source: &Source) -> Outcome<()> {
        let data = self.connect_data()?;
        let moved = match kind {
            Kind::Get => {
                self.say(&format!("RETR /{bytes}"))?;
                let taken = drain(data.as_fd())?;
                self.expect("150")?;
                self.expect("226")?;
                taken
            }
            Kind::Put => {
                self.begin_put(bytes)?;
                source.send(data.as_fd(), bytes)?;
                data.shutdown(Shutdown::Write)?;
                let reply = self.expect("226")?;
                reply.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
            }
        };
        if moved == bytes { Ok(()) } else { Err(format!("{moved} of {bytes} bytes arrived").into()) }
    }

    /// Up to the server's 150.
    pub(crate) fn begin_put(&mut self, bytes: u64) -> Outcome<()> {
        self.say(&format!("STOR /{bytes}"))?;
        self.expect("150").map(drop)
    }

    fn say(&mut self, line: &str) -> io::Result<()> {
        self.control.get_mut().write_all(format!("{line}\r\n").as_bytes())
    }

    /// The last line of the next reply, which must begin so.
    fn expect(&mut self, code: &str) -> Outcome<String> {
        crate::support::interrupt::check()?;
        let mut line = String::new();
        loop {
            line.clear();
            if self.control.read_line(&mut line)? == 0 {
                return Err(format!("the session ended instead of {code}").into());
            }
            // A proxy of FTP may greet in several lines.
            if line.as_bytes().get(3) != Some(&b'-') {
                break;
            }
        }
        let line = line.trim_end();
        if line.starts_with(code) {
            Ok(line.to_owned())
        } else {
            Err(format!("{line:?} instead of {code}").into())
        }
    }
}

/// As many sessions at once as there are in `sessions`, `bytes` each; the time from the first command to the last byte.
pub(crate) fn run(sessions: &mut [Session], kind: Kind, bytes: u64, source: &Source) -> Outcome<Duration> {
    let barrier = Barrier::new(sessions.len() + 1);
    std::thread::scope(|scope| {
        let threads: Vec<_> = sessions
            .iter_mut()
            .map(|session| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    session.transfer(kind, bytes, source).map_err(|error| error.to_string())
                })
            })
            .collect();
        barrier.wait();
        let start = Instant::now();
        for thread in threads {
            thread.join().map_err(|_| "a stream panicked")??;
        }
        Ok(start.elapsed())
    })
}

/// Whether somebody greets there.
pub(crate) fn is_served(address: SocketAddr) -> bool {
    Session::open(address).is_ok()
}

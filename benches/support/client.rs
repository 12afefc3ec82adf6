//! The load: FTP clients that run a fixed script, many at once from one thread.
//!
//! Sockets stay blocking and are read only when epoll says so; a control channel's lines never fill a send buffer.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use super::{Outcome, interrupt};

/// How long one step of one session may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_OF_EPOLL: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// What the client says at each step, and the reply that must come after it. The first reply is the greeting.
pub(crate) type Script = &'static [(&'static [u8], &'static [u8; 3])];

const LOGIN: Script =
    &[(b"", b"220"), (b"USER anonymous\r\n", b"331"), (b"PASS bench@example.org\r\n", b"230")];
/// No TYPE before PASV: the door sends one of its own, or the file would be damaged (GRIDFTP servers fix the type then).
pub(crate) const UNTYPED: Script =
    &[LOGIN[0], LOGIN[1], LOGIN[2], (b"PASV\r\n", b"227"), (b"QUIT\r\n", b"221")];
/// As globus-url-copy and gfal2 begin.
pub(crate) const TYPED: Script =
    &[LOGIN[0], LOGIN[1], LOGIN[2], (b"TYPE I\r\n", b"200"), (b"PASV\r\n", b"227"), (b"QUIT\r\n", b"221")];
const NOOP: &[u8] = b"NOOP\r\n";

/// One control connection as the client sees it.
pub(crate) struct Session {
    stream: TcpStream,
    script: Script,
    step: usize,
    reply: Vec<u8>,
}

/// How far a session is.
enum Progress {
    Going,
    /// It has gone through its script, and after QUIT also through the server's close.
    Done,
    /// It was closed before the first reply.
    Ungreeted,
}

enum Received {
    Part,
    Reply([u8; 3]),
    End,
}

/// Runs `count` whole sessions, from connect to the server's close, `at_once` of them open at any time.
pub(crate) fn run_sessions(address: SocketAddr, at_once: usize, count: usize, script: Script) -> Outcome<()> {
    match try_sessions(address, at_once, count, script)? {
        0 => Ok(()),
        ungreeted => Err(format!("{ungreeted} sessions were not greeted").into()),
    }
}

/// As [`run_sessions`]; tries again where a connection is closed before the greeting, and tells how often it was.
pub(crate) fn try_sessions(
    address: SocketAddr,
    at_once: usize,
    count: usize,
    script: Script,
) -> Outcome<usize> {
    drive(address, at_once, count, script).map(|driven| driven.ungreeted)
}

/// Opens `count` sessions and leaves them logged in.
pub(crate) fn open_sessions(address: SocketAddr, count: usize) -> Outcome<Vec<Session>> {
    let driven = drive(address, 16, count, LOGIN)?;
    if driven.ungreeted > 0 { Err("a session was not greeted".into()) } else { Ok(driven.held) }
}

/// As [`open_sessions`], one login after the other.
pub(crate) fn open_sessions_singly(address: SocketAddr, count: usize) -> Outcome<Vec<Session>> {
    Ok(drive(address, 1, count, LOGIN)?.held)
}

/// Sends `count` NOOP commands in all, each session always waiting for one reply.
pub(crate) fn run_commands(sessions: &mut [Session], count: usize) -> Outcome<()> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (index, session) in sessions.iter().enumerate() {
        watch(&epoll, session, index)?;
    }
    let mut sent = 0;
    for session in sessions.iter_mut().take(count) {
        session.stream.write_all(NOOP)?;
        sent += 1;
    }
    let mut answered = 0;
    let mut events = Vec::with_capacity(64);
    while answered < count {
        wait(&epoll, &mut events)?;
        for event in events.drain(..) {
            let session = &mut sessions[token(event)];
            match session.receive()? {
                Received::Part => continue,
                Received::Reply(code) if code == *b"200" => answered += 1,
                Received::Reply(code) => return Err(unexpected(code, "NOOP")),
                Received::End => return Err("a session ended at NOOP".into()),
            }
            if sent < count {
                session.stream.write_all(NOOP)?;
                sent += 1;
            }
        }
    }
    Ok(())
}

/// Times `count` NOOP round trips, one after the other; shortest first.
pub(crate) fn time_commands(session: &mut Session, count: usize) -> Outcome<Vec<Duration>> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        session.stream.write_all(NOOP)?;
        while let Received::Part = session.receive()? {}
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

/// Whether a server greets at `address` now.
pub(crate) fn is_greeted(address: SocketAddr) -> bool {
    Session::connect(address, LOGIN).is_ok_and(|mut session| {
        loop {
            match session.receive() {
                Ok(Received::Part) => {}
                Ok(Received::Reply(code)) => return code == *b"220",
                Ok(Received::End) | Err(_) => return false,
            }
        }
    })
}

/// What has become of sessions.
struct Driven {
    /// Those that did not say QUIT, open.
    held: Vec<Session>,
    /// How often a connection was closed before its greeting, and another one took its place.
    ungreeted: usize,
}

/// Takes each of `count` sessions through a script.
fn drive(address: SocketAddr, at_once: usize, count: usize, script: Script) -> Outcome<Driven> {
    let whole = quits(script);
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut running = Vec::with_capacity(at_once);
    let mut held = Vec::with_capacity(if whole { 0 } else { count });
    let mut events = Vec::with_capacity(64);
    for slot in 0..at_once.min(count) {
        let session = Session::connect(address, script)?;
        watch(&epoll, &session, slot)?;
        running.push(Some(session));
    }
    let mut started = running.len();
    let mut ended = 0;
    let mut ungreeted = 0;
    while ended < count {
        wait(&epoll, &mut events)?;
        for event in events.drain(..) {
            let slot = token(event);
            let Some(session) = running[slot].as_mut() else { continue };
            match session.advance()? {
                Progress::Going => continue,
                Progress::Ungreeted if ungreeted == count => return Err("nobody greets".into()),
                Progress::Ungreeted => {
                    ungreeted += 1;
                    started -= 1;
                    running[slot] = None;
                }
                Progress::Done => {
                    ended += 1;
                    epoll::delete(&epoll, &session.stream)?;
                    held.extend(running[slot].take().filter(|_| !whole));
                }
            }
            if started < count {
                let session = Session::connect(address, script)?;
                watch(&epoll, &session, slot)?;
                running[slot] = Some(session);
                started += 1;
            }
        }
    }
    Ok(Driven { held, ungreeted })
}

impl Session {
    fn connect(address: SocketAddr, script: Script) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, script, step: 0, reply: Vec::new() })
    }

    /// Takes what has arrived one step further.
    fn advance(&mut self) -> Outcome<Progress> {
        match self.receive()? {
            Received::Part => Ok(Progress::Going),
            Received::End if self.step == self.script.len() => Ok(Progress::Done),
            Received::End if self.step == 0 => Ok(Progress::Ungreeted),
            Received::End => Err(format!("a session ended at step {}", self.step).into()),
            Received::Reply(code) => {
                let Some((said, expected)) = self.script.get(self.step) else {
                    return Err(unexpected(code, "nothing"));
                };
                if code != **expected {
                    return Err(unexpected(code, &String::from_utf8_lossy(said)));
                }
                self.step += 1;
                match self.script.get(self.step) {
                    Some((say, _)) => self.stream.write_all(say)?,
                    // After QUIT the server closes.
                    None if quits(self.script) => {}
                    None => return Ok(Progress::Done),
                }
                Ok(Progress::Going)
            }
        }
    }

    fn receive(&mut self) -> io::Result<Received> {
        let mut buffer = [0; 1024];
        let read = self.stream.read(&mut buffer)?;
        if read == 0 {
            return Ok(Received::End);
        }
        // Every reply of the stub servers is one line; a longer one would be the door's own.
        self.reply.extend_from_slice(&buffer[..read]);
        if !self.reply.ends_with(b"\r\n") {
            return Ok(Received::Part);
        }
        let code = self.reply.first_chunk::<3>().copied().unwrap_or(*b"???");
        self.reply.clear();
        Ok(Received::Reply(code))
    }
}

fn quits(script: Script) -> bool {
    script.last().is_some_and(|(_, reply)| *reply == b"221")
}

fn watch(epoll: &rustix::fd::OwnedFd, session: &Session, token: usize) -> io::Result<()> {
    epoll::add(epoll, &session.stream, epoll::EventData::new_u64(token as u64), epoll::EventFlags::IN)?;
    Ok(())
}

fn token(event: epoll::Event) -> usize {
    usize::try_from(event.data.u64()).unwrap_or(usize::MAX)
}

fn wait(epoll: &rustix::fd::OwnedFd, events: &mut Vec<epoll::Event>) -> Outcome<()> {
    interrupt::check()?;
    match epoll::wait(epoll, spare_capacity(events), Some(&PATIENCE_OF_EPOLL)) {
        Ok(0) => Err(format!("no reply in {} s", PATIENCE.as_secs()).into()),
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(io::Error::from(error).into()),
    }
}

fn unexpected(code: [u8; 3], said: &str) -> Box<dyn std::error::Error> {
    format!("reply {} to {}", String::from_utf8_lossy(&code), said.trim()).into()
}

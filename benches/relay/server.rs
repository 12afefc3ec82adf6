//! The real server behind everything that is measured: minimal FTP, and data that costs next to nothing a byte.
//!
//! A get is sendfile(2) of a file in memory, a put is read with MSG_TRUNC, which takes bytes off a TCP connection
//! without copying them. A real server would do disk and buffer work on the same core as the load generator, hold the
//! proxy up, and add nothing to what is compared: the CPU time of the process in the middle. For the same reason the
//! load generator uses the same two calls (`flow.rs`).
//!
//! Its passive ports are few and fixed, so that a proxy that does not understand FTP can forward each to itself. One
//! session holds one of them; a thread serves each session.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::Shutdown;

use crate::flow::{Source, drain};

/// A session that hears nothing for so long ends; measurements take less.
const PATIENCE: Duration = Duration::from_secs(60);
const PATIENCE_OF_POLL: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };

/// A running server; it stops accepting when this is dropped.
pub(crate) struct RealServer {
    address: SocketAddr,
    listener: TcpListener,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Listeners that no session has.
type Free = Mutex<VecDeque<TcpListener>>;

struct Session {
    control: BufReader<TcpStream>,
    data: Option<TcpListener>,
    free: Arc<Free>,
    source: Arc<Source>,
}

impl RealServer {
    /// Serves on `address` and its `ports` for data.
    pub(crate) fn start(
        address: SocketAddr,
        ports: RangeInclusive<u16>,
        source: Arc<Source>,
    ) -> io::Result<Self> {
        let mut listeners = VecDeque::new();
        for port in ports {
            let listener = TcpListener::bind((address.ip(), port))?;
            listener.set_nonblocking(true)?;
            listeners.push_back(listener);
        }
        let free = Arc::new(Mutex::new(listeners));
        let listener = TcpListener::bind(address)?;
        let (accepting, stopped) = (listener.try_clone()?, Arc::new(AtomicBool::new(false)));
        let told = Arc::clone(&stopped);
        let thread = std::thread::Builder::new().name("real server".into()).spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                if told.load(Ordering::Relaxed) {
                    return;
                }
                let (free, source) = (Arc::clone(&free), Arc::clone(&source));
                let _ = std::thread::Builder::new().name("session".into()).spawn(move || {
                    // Whoever left early is told nothing more.
                    let _ = Session::serve(stream, free, source);
                });
            }
        })?;
        Ok(Self { address, listener, stopped, thread: Some(thread) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for RealServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes the thread in accept(2).
        let _ = rustix::net::shutdown(&self.listener, Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Session {
    fn serve(stream: TcpStream, free: Arc<Free>, source: Arc<Source>) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut session = Self { control: BufReader::new(stream), data: None, free, source };
        session.say("220 source and sink ready")?;
        let mut line = String::new();
        loop {
            line.clear();
            if session.control.read_line(&mut line)? == 0 || !session.answer(line.trim_end())? {
                return Ok(());
            }
        }
    }

    /// False after QUIT.
    fn answer(&mut self, line: &str) -> io::Result<bool> {
        let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "USER" => self.say("331 Password required.")?,
            "PASS" => self.say("230 User logged in.")?,
            "TYPE" | "NOOP" | "MODE" | "STRU" => self.say("200 Done.")?,
            "PASV" => match self.passive_port()? {
                Some(SocketAddr::V4(at)) => {
                    let [a, b, c, d] = at.ip().octets();
                    let [high, low] = at.port().to_be_bytes();
                    self.say(&format!("227 Entering Passive Mode ({a},{b},{c},{d},{high},{low})"))?;
                }
                _ => self.say("425 No port is free.")?,
            },
            "RETR" | "STOR" => match self.transfer(verb == "RETR", argument) {
                Ok(bytes) => self.say(&format!("226 {bytes}"))?,
                Err(error) => self.say(&format!("426 {error}"))?,
            },
            "QUIT" => {
                self.say("221 Goodbye.")?;
                return Ok(false);
            }
            _ => self.say("500 Command not understood.")?,
        }
        Ok(true)
    }

    /// Where this session's next data connection is awaited.
    fn passive_port(&mut self) -> io::Result<Option<SocketAddr>> {
        if self.data.is_none() {
            self.data = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        }
        let Some(listener) = &self.data else { return Ok(None) };
        // What is left of a session that broke off is nobody's.
        while listener.accept().is_ok() {}
        listener.local_addr().map(Some)
    }

    /// Sends as many bytes as the path says, or takes whatever comes; tells how many.
    fn transfer(&mut self, get: bool, path: &str) -> io::Result<u64> {
        let listener = self.data.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let stream = accept(listener)?;
        self.say("150 Go on.")?;
        if get {
            let bytes = path.trim_start_matches('/').parse().map_err(io::Error::other)?;
            self.source.send(stream.as_fd(), bytes)?;
            Ok(bytes)
        } else {
            drain(stream.as_fd())
        }
    }

    fn say(&mut self, line: &str) -> io::Result<()> {
        self.control.get_mut().write_all(format!("{line}\r\n").as_bytes())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(listener) = self.data.take() {
            self.free.lock().unwrap_or_else(PoisonError::into_inner).push_back(listener);
        }
    }
}

fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    if poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&PATIENCE_OF_POLL))? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let (stream, _) = listener.accept()?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Addresses of this run alone: 127.128.0.0/10 by process id, so that ports can be fixed.
pub(crate) fn address(last: u8) -> IpAddr {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 128 | (high & 0x3f), low, last).into()
}

//! Stub FTP servers: the real servers behind everything that is measured.
//!
//! One thread serves all of them, so that their cost does not depend on which one a session gets. They answer at
//! once and from constants: what is measured is what stands in front of them.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use socket2::{Domain, Socket, Type};

/// Connections waiting to be accepted; above the largest burst of this bench, below the kernel's `somaxconn`.
const BACKLOG: i32 = 4096;
/// How long the thread may sleep before it looks whether it should end.
const STOP_INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Running stub servers; they end when this is dropped.
pub(crate) struct RealServers {
    addresses: Vec<SocketAddr>,
    held: Arc<Vec<AtomicUsize>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl RealServers {
    /// Starts `count` servers on 127.0.0.11 and following addresses, each on a free port.
    pub(crate) fn start(count: u8) -> io::Result<Self> {
        let listeners = (0..count)
            .map(|index| listen(Ipv4Addr::new(127, 0, 0, 11 + index)))
            .collect::<io::Result<Vec<_>>>()?;
        let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
        let held = Arc::new(listeners.iter().map(|_| AtomicUsize::new(0)).collect::<Vec<_>>());
        let stop = Arc::new(AtomicBool::new(false));
        let mut server = Server::new(listeners, Arc::clone(&held))?;
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("real servers".into()).spawn(move || {
            let mut events = Vec::with_capacity(256);
            while !stopped.load(Ordering::Relaxed) {
                if server.turn(&mut events).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { addresses, held, stop, thread: Some(thread) })
    }

    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Sessions that are logged in now, per server. Health checks do not log in and are not counted.
    pub(crate) fn held(&self) -> Vec<usize> {
        self.held.iter().map(|held| held.load(Ordering::Relaxed)).collect()
    }
}

impl Drop for RealServers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(address: Ipv4Addr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((address, 0)).into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

struct Server {
    epoll: rustix::fd::OwnedFd,
    listeners: Vec<TcpListener>,
    held: Arc<Vec<AtomicUsize>>,
    sessions: Vec<Option<Session>>,
    free: Vec<usize>,
}

struct Session {
    stream: TcpStream,
    server: usize,
    logged_in: bool,
    line: Vec<u8>,
}

impl Server {
    fn new(listeners: Vec<TcpListener>, held: Arc<Vec<AtomicUsize>>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (index, listener) in listeners.iter().enumerate() {
            epoll::add(&epoll, listener, epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN)?;
        }
        Ok(Self { epoll, listeners, held, sessions: Vec::new(), free: Vec::new() })
    }

    fn turn(&mut self, events: &mut Vec<epoll::Event>) -> io::Result<()> {
        match epoll::wait(&self.epoll, spare_capacity(events), Some(&STOP_INTERVAL)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events.drain(..) {
            let token = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
            if token < self.listeners.len() {
                self.accept(token)?;
            } else {
                self.serve(token - self.listeners.len());
            }
        }
        Ok(())
    }

    fn accept(&mut self, server: usize) -> io::Result<()> {
        while let Ok((mut stream, _)) = self.listeners[server].accept() {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            // A health check may have left again: no session then.
            if stream.write_all(b"220 stub FTP server ready\r\n").is_err() {
                continue;
            }
            let slot = self.free.pop().unwrap_or_else(|| {
                self.sessions.push(None);
                self.sessions.len() - 1
            });
            let token = epoll::EventData::new_u64((slot + self.listeners.len()) as u64);
            epoll::add(&self.epoll, &stream, token, epoll::EventFlags::IN | epoll::EventFlags::RDHUP)?;
            self.sessions[slot] = Some(Session { stream, server, logged_in: false, line: Vec::new() });
        }
        Ok(())
    }

    fn serve(&mut self, slot: usize) {
        let Some(session) = self.sessions.get_mut(slot).and_then(Option::as_mut) else { return };
        let was_logged_in = session.logged_in;
        let alive = session.serve().unwrap_or(false);
        let (server, logged_in) = (session.server, session.logged_in);
        if logged_in && !was_logged_in {
            self.held[server].fetch_add(1, Ordering::Relaxed);
        }
        if !alive {
            if logged_in {
                self.held[server].fetch_sub(1, Ordering::Relaxed);
            }
            self.sessions[slot] = None;
            self.free.push(slot);
        }
    }
}

impl Session {
    /// Answers what has arrived; false when the session is over.
    fn serve(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        let read = match self.stream.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        };
        self.line.extend_from_slice(&buffer[..read]);
        while let Some(end) = memchr::memchr(b'\n', &self.line) {
            let (reply, alive): (&[u8], bool) = match self.line.get(..4) {
                Some(b"NOOP") => (b"200 NOOP command successful.\r\n", true),
                Some(b"TYPE") => (b"200 Type set to I.\r\n", true),
                Some(b"USER") => (b"331 Password required.\r\n", true),
                Some(b"PASS") => (b"230 User logged in.\r\n", true),
                // Nobody connects there: the sessions measured end before they transfer.
                Some(b"PASV") => (b"227 Entering Passive Mode (127,0,0,11,195,80)\r\n", true),
                Some(b"QUIT") => (b"221 Goodbye.\r\n", false),
                _ => (b"500 Command not understood.\r\n", true),
            };
            self.logged_in |= reply.starts_with(b"230");
            self.stream.write_all(reply)?;
            if !alive {
                return Ok(false);
            }
            self.line.drain(..=end);
        }
        if self.line.is_empty() {
            self.line = Vec::new();
        }
        Ok(true)
    }
}

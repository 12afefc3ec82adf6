//! Stub FTP servers: the real servers behind everything that is measured. They can be made to fail.
//!
//! One thread serves all of them, so that their cost does not depend on which one a session gets. They answer at
//! once and from constants: what is measured is what stands in front of them.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::fd::OwnedFd;
use socket2::{Domain, SockRef, Socket, Type};

use super::Outcome;

/// Connections waiting to be accepted; above the largest burst of this bench, below the kernel's `somaxconn`.
const BACKLOG: i32 = 4096;
/// How long the thread may sleep before it looks whether it should end.
const STOP_INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Of the first server, in 127.0.0.0/24.
const FIRST_ADDRESS: u8 = 11;
/// What wakes the thread for an order; no server and no session has this number.
const ORDER: u64 = u64::MAX;

/// The reply to a login; the server's number in the order of their addresses follows, from 0.
pub(crate) const WELCOME: &str = "230 User logged in at server ";

/// How a server is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Condition {
    Well,
    /// Connections are refused; sessions go on.
    Refusing,
    /// Connections are accepted and never greeted; sessions go on.
    Mute,
    /// Connections are greeted with 421 and closed; sessions go on.
    Full,
    /// As when its host has gone or its process is stopped: SYNs are not answered, and sessions neither.
    Frozen,
    /// Connections are refused, and sessions have been reset.
    Dead,
}

/// Running stub servers; they end when this is dropped.
pub(crate) struct RealServers {
    addresses: Vec<SocketAddr>,
    held: Arc<Vec<AtomicUsize>>,
    orders: mpsc::Sender<(usize, Condition)>,
    bell: Arc<OwnedFd>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl RealServers {
    /// Starts `count` servers on 127.0.0.11 and following addresses, each on a free port.
    pub(crate) fn start(count: u8) -> io::Result<Self> {
        let listeners = (0..count)
            .map(|index| listen(SocketAddr::from((Ipv4Addr::new(127, 0, 0, FIRST_ADDRESS + index), 0))))
            .collect::<io::Result<Vec<_>>>()?;
        let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
        let held = Arc::new(listeners.iter().map(|_| AtomicUsize::new(0)).collect::<Vec<_>>());
        let stop = Arc::new(AtomicBool::new(false));
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (orders, given) = mpsc::channel();
        let mut server = Server::new(listeners, &addresses, Arc::clone(&held), given, Arc::clone(&bell))?;
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("real servers".into()).spawn(move || {
            let mut events = Vec::with_capacity(256);
            while !stopped.load(Ordering::Relaxed) {
                if let Err(error) = server.turn(&mut events) {
                    eprintln!("the stub servers ended: {error}");
                    break;
                }
            }
        })?;
        Ok(Self { addresses, held, orders, bell, stop, thread: Some(thread) })
    }

    /// Puts a server into a condition, from now on.
    pub(crate) fn put(&self, server: usize, condition: Condition) -> Outcome<()> {
        self.orders.send((server, condition))?;
        rustix::io::write(&self.bell, &1_u64.to_ne_bytes())?;
        Ok(())
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

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // One that comes back still has connections of its former life.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

struct Server {
    epoll: OwnedFd,
    /// None where connections are refused.
    listeners: Vec<Option<TcpListener>>,
    addresses: Vec<SocketAddr>,
    conditions: Vec<Condition>,
    held: Arc<Vec<AtomicUsize>>,
    sessions: Vec<Option<Session>>,
    free: Vec<usize>,
    orders: mpsc::Receiver<(usize, Condition)>,
    bell: Arc<OwnedFd>,
    /// Connections that fill the accept queues of frozen servers.
    fillers: Vec<Option<Socket>>,
}

struct Session {
    stream: TcpStream,
    server: usize,
    logged_in: bool,
    line: Vec<u8>,
}

impl Server {
    fn new(
        listeners: Vec<TcpListener>,
        addresses: &[SocketAddr],
        held: Arc<Vec<AtomicUsize>>,
        orders: mpsc::Receiver<(usize, Condition)>,
        bell: Arc<OwnedFd>,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &bell, epoll::EventData::new_u64(ORDER), epoll::EventFlags::IN)?;
        for (index, listener) in listeners.iter().enumerate() {
            watch_listener(&epoll, listener, index)?;
        }
        Ok(Self {
            epoll,
            conditions: vec![Condition::Well; listeners.len()],
            fillers: listeners.iter().map(|_| None).collect(),
            listeners: listeners.into_iter().map(Some).collect(),
            addresses: addresses.to_vec(),
            held,
            sessions: Vec::new(),
            free: Vec::new(),
            orders,
            bell,
        })
    }

    fn turn(&mut self, events: &mut Vec<epoll::Event>) -> io::Result<()> {
        match epoll::wait(&self.epoll, spare_capacity(events), Some(&STOP_INTERVAL)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events.drain(..) {
            if event.data.u64() == ORDER {
                rustix::io::read(&self.bell, &mut [0; 8])?;
                while let Ok((server, condition)) = self.orders.try_recv() {
                    self.obey(server, condition)?;
                }
                continue;
            }
            let token = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
            if token < self.listeners.len() {
                self.accept(token)?;
            } else {
                self.serve(token - self.listeners.len());
            }
        }
        Ok(())
    }

    fn obey(&mut self, server: usize, condition: Condition) -> io::Result<()> {
        let before = std::mem::replace(&mut self.conditions[server], condition);
        match condition {
            Condition::Well if before == Condition::Frozen => self.thaw(server)?,
            Condition::Well => {
                if self.listeners[server].is_none() {
                    let listener = listen(self.addresses[server])?;
                    watch_listener(&self.epoll, &listener, server)?;
                    self.listeners[server] = Some(listener);
                }
            }
            Condition::Mute | Condition::Full => {}
            Condition::Refusing => self.listeners[server] = None,
            Condition::Frozen => self.freeze(server)?,
            Condition::Dead => {
                self.listeners[server] = None;
                for slot in self.slots_of(server) {
                    if let Some(session) = &self.sessions[slot] {
                        SockRef::from(&session.stream).set_linger(Some(Duration::ZERO))?;
                    }
                    self.close(slot);
                }
            }
        }
        Ok(())
    }

    /// With its accept queue full the kernel drops SYNs.
    fn freeze(&mut self, server: usize) -> io::Result<()> {
        if let Some(listener) = &self.listeners[server] {
            epoll::delete(&self.epoll, listener)?;
            SockRef::from(listener).listen(0)?;
            // A queue of none holds one. Where another was faster, this one is not answered either.
            let filler = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            filler.set_nonblocking(true)?;
            match filler.connect(&self.addresses[server].into()) {
                Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
                _ => self.fillers[server] = Some(filler),
            }
        }
        for slot in self.slots_of(server) {
            if let Some(session) = &self.sessions[slot] {
                epoll::delete(&self.epoll, &session.stream)?;
            }
        }
        Ok(())
    }

    fn thaw(&mut self, server: usize) -> io::Result<()> {
        self.fillers[server] = None;
        for slot in self.slots_of(server) {
            self.watch_session(slot)?;
        }
        if let Some(listener) = &self.listeners[server] {
            SockRef::from(listener).listen(BACKLOG)?;
            watch_listener(&self.epoll, listener, server)?;
        }
        Ok(())
    }

    fn slots_of(&self, server: usize) -> Vec<usize> {
        let is_here = |slot: &usize| self.sessions[*slot].as_ref().is_some_and(|it| it.server == server);
        (0..self.sessions.len()).filter(is_here).collect()
    }

    fn watch_session(&self, slot: usize) -> io::Result<()> {
        let Some(session) = &self.sessions[slot] else { return Ok(()) };
        let token = epoll::EventData::new_u64((slot + self.listeners.len()) as u64);
        epoll::add(&self.epoll, &session.stream, token, epoll::EventFlags::IN | epoll::EventFlags::RDHUP)?;
        Ok(())
    }

    fn accept(&mut self, server: usize) -> io::Result<()> {
        let greeting: &[u8] = match self.conditions[server] {
            Condition::Mute => b"",
            Condition::Full => b"421 Too many connections, try again later.\r\n",
            _ => b"220 stub FTP server ready\r\n",
        };
        while let Some(Ok((mut stream, _))) = self.listeners[server].as_ref().map(TcpListener::accept) {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            // A health check may have left again: no session then.
            if stream.write_all(greeting).is_err() || greeting.starts_with(b"421") {
                continue;
            }
            let slot = self.free.pop().unwrap_or_else(|| {
                self.sessions.push(None);
                self.sessions.len() - 1
            });
            self.sessions[slot] = Some(Session { stream, server, logged_in: false, line: Vec::new() });
            self.watch_session(slot)?;
        }
        Ok(())
    }

    fn serve(&mut self, slot: usize) {
        let Some(session) = self.sessions.get_mut(slot).and_then(Option::as_mut) else { return };
        let was_logged_in = session.logged_in;
        let alive = session.serve().unwrap_or(false);
        if session.logged_in && !was_logged_in {
            self.held[session.server].fetch_add(1, Ordering::Relaxed);
        }
        if !alive {
            self.close(slot);
        }
    }

    fn close(&mut self, slot: usize) {
        let Some(session) = self.sessions[slot].take() else { return };
        if session.logged_in {
            self.held[session.server].fetch_sub(1, Ordering::Relaxed);
        }
        self.free.push(slot);
    }
}

fn watch_listener(epoll: &OwnedFd, listener: &TcpListener, server: usize) -> io::Result<()> {
    epoll::add(epoll, listener, epoll::EventData::new_u64(server as u64), epoll::EventFlags::IN)?;
    Ok(())
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
            let own;
            let (reply, alive): (&[u8], bool) = match self.line.get(..4) {
                Some(b"NOOP") => (b"200 NOOP command successful.\r\n", true),
                Some(b"TYPE") => (b"200 Type set to I.\r\n", true),
                Some(b"USER") => (b"331 Password required.\r\n", true),
                Some(b"PASS") => {
                    own = format!("{WELCOME}{}\r\n", self.server);
                    (own.as_bytes(), true)
                }
                // Nobody connects there: the sessions measured end before they transfer.
                Some(b"PASV") => {
                    let last = usize::from(FIRST_ADDRESS) + self.server;
                    own = format!("227 Entering Passive Mode (127,0,0,{last},195,80)\r\n");
                    (own.as_bytes(), true)
                }
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

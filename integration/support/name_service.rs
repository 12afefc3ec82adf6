//! A TCP service that says who it is: the smallest real server there can be.

use std::io::{BufRead as _, BufReader, Error, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::netns::Machine;

/// For a connection, and for an answer.
const ANSWER: Duration = Duration::from_secs(10);

/// One that listens on all addresses of a machine. It says the role of the machine to whoever connects; then it answers each
/// line: with so many bytes where that is a number, otherwise with the line.
///
/// Dropping it ends it and all of its connections.
#[derive(Debug)]
pub struct NameService {
    listeners: Vec<TcpListener>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
    threads: Vec<JoinHandle<()>>,
}

/// A client's connection with a [`NameService`].
#[derive(Debug)]
pub struct Conversation {
    reader: BufReader<TcpStream>,
    server: String,
}

impl NameService {
    /// # Panics
    /// When one of the ports is taken.
    pub fn start(machine: &Machine, ports: &[u16]) -> Self {
        let connections = Arc::<Mutex<Vec<TcpStream>>>::default();
        let (mut listeners, mut threads) = (Vec::new(), Vec::new());
        for port in ports {
            // Of both families: `bindv6only` is off in a new namespace.
            let listener = machine.enter(|| TcpListener::bind(("::", *port)).expect("a free port"));
            let (ours, kept) = (listener.try_clone().expect("a second handle"), Arc::clone(&connections));
            let name = machine.role().to_owned();
            listeners.push(listener);
            threads.push(std::thread::spawn(move || {
                while let Ok((stream, _)) = ours.accept() {
                    let Ok(second) = stream.try_clone() else { continue };
                    kept.lock().unwrap_or_else(PoisonError::into_inner).push(second);
                    let name = name.clone();
                    // It ends with its connection.
                    std::thread::spawn(move || converse(stream, &name));
                }
            }));
        }
        Self { listeners, connections, threads }
    }
}

impl Drop for NameService {
    fn drop(&mut self) {
        for listener in &self.listeners {
            let _ = rustix::net::shutdown(listener, rustix::net::Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        for connection in self.connections.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = connection.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Conversation {
    /// Connects from this machine, and hears who answers.
    ///
    /// # Errors
    /// Nobody does.
    pub fn begin(from: &Machine, address: IpAddr, port: u16) -> std::io::Result<Self> {
        Self::over(from.enter(|| TcpStream::connect_timeout(&SocketAddr::new(address, port), ANSWER))?)
    }

    /// The same from one of several addresses that the machine has.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn begin_from(from: &Machine, source: IpAddr, address: IpAddr, port: u16) -> std::io::Result<Self> {
        let target = SocketAddr::new(address, port);
        let stream = from.enter(|| {
            let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
            socket.bind(&SocketAddr::new(source, 0).into())?;
            socket.connect_timeout(&target.into(), ANSWER)?;
            Ok::<_, Error>(socket)
        })?;
        Self::over(stream.into())
    }

    fn over(stream: TcpStream) -> std::io::Result<Self> {
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        let mut conversation = Self { reader: BufReader::new(stream), server: String::new() };
        conversation.server = conversation.line()?;
        Ok(conversation)
    }

    /// Who it is with.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Says a line and hears it again.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn echo(&mut self, line: &str) -> std::io::Result<()> {
        self.say(line)?;
        let heard = self.line()?;
        if heard == line { Ok(()) } else { Err(Error::other(format!("{heard:?}, and not {line:?}"))) }
    }

    /// Has so many bytes sent.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn fetch(&mut self, bytes: u64) -> std::io::Result<()> {
        self.say(&bytes.to_string())?;
        let got = std::io::copy(&mut (&mut self.reader).take(bytes), &mut std::io::sink())?;
        if got == bytes { Ok(()) } else { Err(Error::other(format!("{got} bytes of {bytes}"))) }
    }

    fn say(&mut self, line: &str) -> std::io::Result<()> {
        self.reader.get_mut().write_all(format!("{line}\n").as_bytes())
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        line.strip_suffix('\n').map(str::to_owned).ok_or_else(|| Error::other(format!("ended by {line:?}")))
    }
}

/// Until the client ends it, or anything else does.
fn converse(mut stream: TcpStream, name: &str) {
    let Ok(reader) = stream.try_clone() else { return };
    let mut answer = format!("{name}\n").into_bytes();
    let mut lines = BufReader::new(reader).lines();
    while stream.write_all(&answer).is_ok() {
        let Some(Ok(line)) = lines.next() else { return };
        answer = line.parse().map_or_else(|_| format!("{line}\n").into_bytes(), |bytes| vec![b'.'; bytes]);
    }
}

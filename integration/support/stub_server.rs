//! A real server by script, for faults that real ones cannot be made to show.
//!
//! A script is a closure that talks to one connection; it runs on a thread of its own. The door's checks come through
//! the same script: they read the greeting and say QUIT.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A script that waits longer than this for the door ends; tests take less.
const PATIENCE: Duration = Duration::from_secs(30);

/// A listening stub. Dropping it ends its connections and frees its port.
#[derive(Debug)]
pub struct StubServer {
    address: SocketAddr,
    listener: TcpListener,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    accepted: AtomicUsize,
    open: Mutex<Vec<(usize, TcpStream)>>,
}

/// One connection of the door to the stub.
#[derive(Debug)]
pub struct Connection {
    reader: BufReader<TcpStream>,
    /// Counted from 0 in the order of acceptance, checks included.
    pub number: usize,
}

impl StubServer {
    /// Serves every connection by `script`. An error ends the connection; that is how scripts notice that the door
    /// has gone.
    ///
    /// # Panics
    /// When there is no port for it.
    pub fn start(script: impl Fn(&mut Connection) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), script)
    }

    /// As [`StubServer::start`], at an address of the caller's.
    ///
    /// # Panics
    /// When the address cannot be had.
    pub fn start_at(
        address: SocketAddr,
        script: impl Fn(&mut Connection) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        let address = listener.local_addr().expect("a bound address");
        let shared = Arc::new(Shared::default());
        let (accepting, script) = (listener.try_clone().expect("a second handle"), Arc::new(script));
        let of_threads = Arc::clone(&shared);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                if of_threads.stopped.load(SeqCst) {
                    return;
                }
                let Some(mut connection) = of_threads.admit(stream) else { continue };
                let (script, shared) = (Arc::clone(&script), Arc::clone(&of_threads));
                std::thread::spawn(move || {
                    let number = connection.number;
                    let _ = script(&mut connection);
                    drop(connection);
                    shared.forget(number);
                });
            }
        });
        Self { address, listener, shared }
    }

    /// A server in good health, and every line that it is told.
    ///
    /// # Panics
    /// As [`StubServer::start`].
    pub fn that_keeps_what_it_hears() -> (Self, Arc<Mutex<Vec<String>>>) {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heard);
        let server = Self::start(move |connection: &mut Connection| {
            connection.greet()?;
            loop {
                let line = connection.line()?;
                kept.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(String::from_utf8_lossy(&line).into_owned());
                if !connection.answer(&line)? {
                    return Ok(());
                }
            }
        });
        (server, heard)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections taken so far, checks included.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(SeqCst)
    }

    /// Connections whose script still runs.
    pub fn open(&self) -> usize {
        self.shared.lock().len()
    }
}

impl Drop for StubServer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, SeqCst);
        // Wakes the thread in accept(2).
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        for (_, stream) in self.shared.lock().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn admit(&self, stream: TcpStream) -> Option<Connection> {
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        let number = self.accepted.fetch_add(1, SeqCst);
        self.lock().push((number, stream.try_clone().ok()?));
        Some(Connection { reader: BufReader::new(stream), number })
    }

    fn forget(&self, number: usize) {
        self.lock().retain(|(other, _)| *other != number);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(usize, TcpStream)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// The socket, for a script that reads and writes at once.
    pub fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    /// Sends `text` as it is.
    ///
    /// # Errors
    /// The door has gone, or takes nothing.
    pub fn say(&mut self, text: &str) -> io::Result<()> {
        self.send(text.as_bytes())
    }

    /// As [`Connection::say`], any bytes.
    ///
    /// # Errors
    /// As [`Connection::say`].
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// The bytes up to the next LF, with it.
    ///
    /// # Errors
    /// `UnexpectedEof` when the door has closed, and whatever reading may fail with.
    pub fn raw_line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        if self.reader.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line)
    }

    /// The next line without its line end.
    ///
    /// # Errors
    /// As [`Connection::raw_line`].
    pub fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = self.raw_line()?;
        while matches!(line.last(), Some(b'\n' | b'\r')) {
            line.pop();
        }
        Ok(line)
    }

    /// Reads and forgets until the door closes: for a server that says nothing.
    ///
    /// # Errors
    /// The connection broke.
    pub fn until_closed(&mut self) -> io::Result<()> {
        let mut bytes = [0; 4096];
        while self.reader.read(&mut bytes)? > 0 {}
        Ok(())
    }

    /// Ends the connection with RST in place of FIN, as a crashed machine's kernel does later.
    pub fn reset(&mut self) {
        let socket = socket2::SockRef::from(self.reader.get_ref());
        let _ = socket.set_linger(Some(Duration::ZERO));
    }

    /// A server in good health: greets, then answers commands until QUIT.
    ///
    /// # Errors
    /// The door has gone.
    pub fn serve(&mut self) -> io::Result<()> {
        self.greet()?;
        loop {
            let line = self.line()?;
            if !self.answer(&line)? {
                return Ok(());
            }
        }
    }

    /// # Errors
    /// The door has gone.
    pub fn greet(&mut self) -> io::Result<()> {
        self.say("220 stub ready\r\n")
    }

    /// The answer of a server in good health; false after QUIT.
    ///
    /// # Errors
    /// The door has gone.
    pub fn answer(&mut self, line: &[u8]) -> io::Result<bool> {
        let text = String::from_utf8_lossy(line).into_owned();
        let (verb, argument) = text.split_once(' ').unwrap_or((&text, ""));
        let reply = match verb.to_ascii_uppercase().as_str() {
            "USER" => "331 password please",
            "PASS" => "230 logged in",
            "REIN" => "220 again",
            "TYPE" => "200 type set",
            "PASV" => "227 Entering Passive Mode (127,0,0,1,200,1)",
            "NOOP" => return self.say(&format!("200 noop {argument}\r\n")).map(|()| true),
            "RETR" | "STOR" | "NLST" => "150 opening\r\n226 done",
            "AUTH" => "334 go on",
            "ADAT" => "235 secured",
            "QUIT" => "221 bye",
            _ => "500 not known",
        };
        self.say(&format!("{reply}\r\n"))?;
        Ok(verb != "QUIT")
    }
}

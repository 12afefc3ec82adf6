//! A client's control connection, byte by byte, with a deadline on everything.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// For whatever is awaited; many times what it takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// See the module's text.
#[derive(Debug)]
pub struct ControlConnection {
    reader: BufReader<TcpStream>,
}

impl ControlConnection {
    /// Connects and says nothing.
    ///
    /// # Panics
    /// When nobody listens.
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .unwrap_or_else(|error| panic!("{address}: {error}"));
        Self::over(stream)
    }

    /// As [`ControlConnection::open`], from an address of the caller's.
    ///
    /// # Panics
    /// When nobody listens, or the address is not of this host.
    pub fn open_from(ip: IpAddr, address: SocketAddr) -> Self {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::new(ip, 0).into()).expect("an address of this host");
        socket
            .connect_timeout(&address.into(), PATIENCE)
            .unwrap_or_else(|error| panic!("{address}: {error}"));
        Self::over(socket.into())
    }

    /// On a connection that was made elsewhere, in another network namespace for one.
    ///
    /// # Panics
    /// When it is broken.
    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream.set_write_timeout(Some(PATIENCE)).expect("a time-out");
        Self { reader: BufReader::new(stream) }
    }

    /// Connects and reads a greeting, which must be good.
    ///
    /// # Panics
    /// When it is not.
    pub fn greeted(address: SocketAddr) -> Self {
        let mut connection = Self::open(address);
        let greeting = connection.line();
        assert!(greeting.starts_with("220 "), "greeted with {greeting:?}");
        connection
    }

    /// Connects and logs in.
    ///
    /// # Panics
    /// When that fails.
    pub fn logged_in(address: SocketAddr) -> Self {
        let mut connection = Self::greeted(address);
        connection.expect("USER anonymous", "331");
        connection.expect("PASS x@y", "230");
        connection
    }

    /// # Panics
    /// When the door takes nothing.
    pub fn send(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).expect("the door takes what the client says");
    }

    /// The next line without CR LF; empty at the end of the stream.
    ///
    /// # Panics
    /// When none comes in time, or the connection breaks.
    pub fn line(&mut self) -> String {
        self.try_line().unwrap_or_else(|error| panic!("no line from the door: {error}"))
    }

    /// # Errors
    /// When none comes in time, or the connection breaks.
    pub fn try_line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line)?;
        Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Sends a command and returns the first line of the reply.
    ///
    /// # Panics
    /// As [`ControlConnection::line`].
    pub fn command(&mut self, text: &str) -> String {
        self.send(format!("{text}\r\n").as_bytes());
        self.line()
    }

    /// Sends a command whose reply must begin with `code`.
    ///
    /// # Panics
    /// When it does not.
    pub fn expect(&mut self, command: &str, code: &str) {
        let reply = self.command(command);
        assert!(reply.starts_with(code), "{command:?} was answered {reply:?}");
    }

    /// Everything up to the end of the stream, which must come, and not by RST.
    ///
    /// # Panics
    /// When the stream does not end in time.
    pub fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        if let Err(error) = self.reader.read_to_end(&mut bytes) {
            let end = &bytes[bytes.len().saturating_sub(200)..];
            panic!(
                "the stream does not end: {error}; {} bytes so far, the last {:?}",
                bytes.len(),
                String::from_utf8_lossy(end)
            );
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What comes within `limit`: `None` when nothing does.
    ///
    /// # Panics
    /// When the connection breaks.
    pub fn line_within(&mut self, limit: Duration) -> Option<String> {
        self.stream().set_read_timeout(Some(limit)).expect("a time-out");
        let line = match self.try_line() {
            Ok(line) => Some(line),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => None,
            Err(error) => panic!("the connection broke: {error}"),
        };
        self.stream().set_read_timeout(Some(PATIENCE)).expect("a time-out");
        line
    }

    /// Says that nothing more will come.
    pub fn finish(&self) {
        let _ = self.stream().shutdown(Shutdown::Write);
    }

    /// Vanishes with RST, as a client that was killed with unread data does.
    pub fn reset(self) {
        let _ = socket2::SockRef::from(self.stream()).set_linger(Some(Duration::ZERO));
    }

    /// The connection itself, of which nothing more than lines that were taken has been read.
    pub fn into_stream(self) -> TcpStream {
        self.reader.into_inner()
    }

    pub fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    /// Takes at most `size` bytes, however few come.
    ///
    /// # Panics
    /// When nothing comes in time.
    pub fn take(&mut self, size: usize) -> usize {
        let mut bytes = vec![0; size];
        self.reader.read(&mut bytes).expect("bytes from the door")
    }
}

//! A client that transfers files in the clear, step by step, so that a test can break off anywhere.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use super::control_connection::ControlConnection;

/// For whatever is awaited; many times what it takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A session that is logged in, in TYPE I.
#[derive(Debug)]
pub struct DataClient {
    pub control: ControlConnection,
}

impl DataClient {
    /// # Panics
    /// When the login fails.
    pub fn logged_in(address: SocketAddr) -> Self {
        Self::over(ControlConnection::greeted(address))
    }

    /// On a control connection that has been greeted.
    ///
    /// # Panics
    /// When the login fails.
    pub fn over(mut control: ControlConnection) -> Self {
        control.expect("USER anonymous", "331");
        control.expect("PASS x@y", "230");
        control.expect("TYPE I", "200");
        Self { control }
    }

    /// Asks for a port.
    ///
    /// # Panics
    /// When there is none.
    pub fn passive(&mut self) -> SocketAddr {
        let reply = self.control.command("PASV");
        announced(&reply).unwrap_or_else(|| panic!("no address in {reply:?}"))
    }

    /// Asks for a port and connects there.
    ///
    /// # Panics
    /// When that fails.
    pub fn connect(&mut self) -> TcpStream {
        let address = self.passive();
        data_connection(address).unwrap_or_else(|error| panic!("{address}: {error}"))
    }

    /// Begins a transfer whose data connection is there.
    ///
    /// # Panics
    /// When the server does not begin it.
    pub fn begin(&mut self, command: &str) -> TcpStream {
        let stream = self.connect();
        self.control.expect(command, "150");
        stream
    }

    /// The final reply, after marks and 1yz.
    ///
    /// # Errors
    /// The connection broke, or has ended.
    pub fn last_reply(&mut self) -> io::Result<u16> {
        loop {
            let line = self.control.try_line()?;
            let code = line.get(..3).and_then(|code| code.parse::<u16>().ok());
            match code {
                None if line.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(code @ 200..) if line.as_bytes().get(3) == Some(&b' ') => return Ok(code),
                _ => {}
            }
        }
    }

    /// A whole upload.
    ///
    /// # Panics
    /// When it does not succeed.
    pub fn put(&mut self, path: &str, bytes: &[u8]) {
        let mut stream = self.begin(&format!("STOR {path}"));
        stream.write_all(bytes).expect("the door takes the file");
        drop(stream);
        assert_eq!(self.last_reply().ok(), Some(226), "{path}");
    }

    /// A whole download.
    ///
    /// # Panics
    /// When it does not succeed.
    pub fn get(&mut self, path: &str) -> Vec<u8> {
        let mut stream = self.begin(&format!("RETR {path}"));
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("the whole file");
        assert_eq!(self.last_reply().ok(), Some(226), "{path}");
        bytes
    }
}

/// Connects with patience and time-outs.
///
/// # Errors
/// As `connect(2)`.
pub fn data_connection(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// As [`data_connection`], from an address of this machine that the peer is to see.
///
/// # Errors
/// As `bind(2)` and `connect(2)`.
pub fn data_connection_from(source: IpAddr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    socket.connect_timeout(&address.into(), PATIENCE)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The address in a 227.
pub fn announced(reply: &str) -> Option<SocketAddr> {
    let inside = reply.strip_prefix("227 ")?.split(['(', ')']).nth(1)?;
    let bytes: Vec<u8> = inside.split(',').filter_map(|part| part.parse().ok()).collect();
    let [a, b, c, d, high, low] = bytes[..] else { return None };
    Some(SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low]))))
}

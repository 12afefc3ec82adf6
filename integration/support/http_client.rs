//! A client of the door's `http`, and what it reads there.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::local_door::{LocalDoor, Setup, unused_address};

/// For an answer; many times what it takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// All before the empty line.
    pub head: String,
    pub body: String,
}

/// Starts a door with `http`, and says where that is.
///
/// # Panics
/// When it does not come up.
pub fn start_with_http(mut setup: Setup) -> (LocalDoor, SocketAddr) {
    let http = unused_address();
    setup.global.push_str(&format!("\nhttp = \"{http}\""));
    (setup.start(), http)
}

/// Asks for a page.
///
/// # Errors
/// What went wrong with the connection, or that the answer is none.
pub fn try_get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    let status =
        head.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Answer { status, head: head.into(), body: body.into() })
}

/// # Panics
/// When there is no answer.
pub fn get(address: SocketAddr, path: &str) -> Answer {
    try_get(address, path).unwrap_or_else(|error| panic!("http://{address}{path}: {error}"))
}

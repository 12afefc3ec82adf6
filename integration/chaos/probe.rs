//! Whether the machine itself is well: the real servers are asked without the door, all the time.
//!
//! A site that cannot log anybody in within a second is not calm, whatever the plan says: other work on this machine has taken
//! the processors, and what clients are told then says nothing of the door.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::phase::Phase;
use crate::support::deadline::Stopwatch;

/// For a whole login; some 20 ms. The door gives a server three times as long for the greeting alone.
const WITHIN: Duration = Duration::from_secs(1);
/// From one look at all servers to the next.
const BETWEEN: Duration = Duration::from_millis(300);

/// Looks until the end. To be called on the clients' machine.
pub(super) fn watch(servers: &[SocketAddr], phase: &Phase) {
    while !phase.is_over() {
        if servers.iter().any(|server| !log_in(*server).is_ok_and(|took| took <= WITHIN)) {
            phase.disturb();
        }
        std::thread::park_timeout(BETWEEN);
    }
}

fn log_in(server: SocketAddr) -> io::Result<Duration> {
    let watch = Stopwatch::start();
    let stream = TcpStream::connect_timeout(&server, WITHIN)?;
    stream.set_read_timeout(Some(WITHIN))?;
    let mut reader = BufReader::new(stream);
    for command in ["", "USER anonymous\r\n", "PASS x@y\r\n", "QUIT\r\n"] {
        reader.get_mut().write_all(command.as_bytes())?;
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(watch.elapsed())
}

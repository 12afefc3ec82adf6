//! One real server of a site.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::certificates::Credential;
use super::deadline;
use super::netns::Machine;
use super::process::Process;

/// A server starts in 0.1 s here; a loaded machine may take much longer.
const START: Duration = Duration::from_secs(20);

/// One globus-gridftp-server.
#[derive(Debug)]
pub struct Server {
    /// `s1`, or `s1-extended`.
    pub name: String,
    pub machine: Machine,
    pub port: u16,
    pub extended: bool,
    pub role: Role,
    pub credential: Option<Credential>,
    /// What it is told besides.
    pub environment: Vec<(&'static str, String)>,
    pub process: Option<Process>,
}

#[derive(Debug, Eq, PartialEq)]
pub enum Role {
    Plain,
    DataNode,
    Front,
}

impl Server {
    /// Waits for the greeting; a data node has none, so there the connection is enough.
    pub fn ready(&self) -> Result<(), String> {
        answers(&self.machine, self.port, self.role != Role::DataNode)
    }
}

/// Waits for the greeting of a server on `machine`.
pub fn greets(machine: &Machine, port: u16) -> Result<(), String> {
    answers(machine, port, true)
}

/// The same of one that was killed and started again. What is left of its sessions may hold its port a little longer, and then it
/// ends at once: `start_again` starts it where it has ended.
pub fn greets_again(machine: &Machine, port: u16, mut start_again: impl FnMut()) -> Result<(), String> {
    let address = SocketAddr::new(IpAddr::from(machine.v4()), port);
    deadline::until("the greeting of a real server that was killed", START, || {
        start_again();
        machine.enter(|| greeting(address, true).map_err(|error| error.to_string()))
    })
}

fn answers(machine: &Machine, port: u16, greeted: bool) -> Result<(), String> {
    let address = SocketAddr::new(IpAddr::from(machine.v4()), port);
    deadline::until("a real server's greeting", START, || {
        machine.enter(|| greeting(address, greeted).map_err(|error| error.to_string()))
    })
}

/// Connects, reads one line if it is to be read, and says good-bye.
fn greeting(address: SocketAddr, greeted: bool) -> std::io::Result<()> {
    use std::io::{BufRead as _, BufReader, Error, Write as _};
    let mut stream = std::net::TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    if greeted {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut line = String::new();
        let mut reader = BufReader::new(stream.try_clone()?);
        reader.read_line(&mut line)?;
        if !line.starts_with("220") {
            return Err(Error::other(format!("greeted with {line:?}")));
        }
        stream.write_all(b"QUIT\r\n")?;
        reader.read_line(&mut line)?;
    }
    Ok(())
}

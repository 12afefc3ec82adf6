//! What the demo stands on: a temporary directory, three real servers, and the door with its configuration.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Door;
use super::journal::Journal;
use super::server::Server;
use super::temporary_directory::TemporaryDirectory;

/// Addresses of the real servers: each its own, so that an address tells who carried the data.
const HOSTS: [Ipv4Addr; 3] =
    [Ipv4Addr::new(127, 0, 0, 11), Ipv4Addr::new(127, 0, 0, 12), Ipv4Addr::new(127, 0, 0, 13)];

/// Fields end in this order: the door before its servers, the directory last.
pub(super) struct Stage {
    door: Option<Box<dyn Door>>,
    door_address: SocketAddr,
    servers: Vec<Server>,
    journal: Arc<Journal>,
    files: PathBuf,
    directory: TemporaryDirectory,
}

impl Stage {
    /// Makes the directory, starts the servers, writes the configuration and has the door started from it.
    ///
    /// # Errors
    ///
    /// What could not be had, and what to do about it, as one line.
    pub(super) fn set_up(
        listen: SocketAddrV4,
        start_door: impl FnOnce(&Path, &str) -> Result<Box<dyn Door>, String>,
    ) -> Result<Self, String> {
        let door_address = free_address(listen)
            .map_err(|error| format!("{listen}: {error}; name another address with --listen"))?;
        let temporary = std::env::temp_dir();
        let unwritable = |error: io::Error| {
            format!("{}: {error}; set TMPDIR to a directory with some space", temporary.display())
        };
        let directory = TemporaryDirectory::create().map_err(unwritable)?;
        let files = directory.path().join("files");
        std::fs::create_dir(&files).map_err(unwritable)?;

        let journal = Arc::new(Journal::default());
        let mut servers = Vec::new();
        for (number, host) in (1..).zip(HOSTS) {
            let name = format!("demo-s{number}");
            let server = Server::start(&name, host, &files, Arc::clone(&journal)).map_err(|error| {
                format!("{host}: {error}; the demo needs this loopback address, check `ip address show lo`")
            })?;
            servers.push(server);
        }

        let text = configuration(door_address, directory.path(), &servers);
        let file = directory.path().join("gridfront.toml");
        std::fs::write(&file, &text).map_err(unwritable)?;
        let door = Some(start_door(&file, &text)?);
        Ok(Self {
            door,
            door_address: SocketAddr::V4(reachable(door_address)),
            servers,
            journal,
            files,
            directory,
        })
    }

    /// Where clients on this machine reach the door.
    pub(super) fn door(&self) -> SocketAddr {
        self.door_address
    }

    /// Sessions that the door holds now.
    pub(super) fn sessions(&self) -> u32 {
        self.door.as_ref().map_or(0, |door| door.sessions())
    }

    pub(super) fn servers(&self) -> &[Server] {
        &self.servers
    }

    pub(super) fn journal(&self) -> Arc<Journal> {
        Arc::clone(&self.journal)
    }

    /// What all servers serve.
    pub(super) fn files(&self) -> &Path {
        &self.files
    }

    /// Holds the files, the configuration and the admin socket.
    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(door) = self.door.take() {
            door.stop();
        }
    }
}

/// `listen` with its port chosen, if it can be bound now.
fn free_address(listen: SocketAddrV4) -> io::Result<SocketAddrV4> {
    let port = TcpListener::bind(listen)?.local_addr()?.port();
    Ok(SocketAddrV4::new(*listen.ip(), port))
}

/// A door on all addresses is reached on loopback.
fn reachable(address: SocketAddrV4) -> SocketAddrV4 {
    let ip = if address.ip().is_unspecified() { Ipv4Addr::LOCALHOST } else { *address.ip() };
    SocketAddrV4::new(ip, address.port())
}

/// The door's configuration, as an admin would write it.
fn configuration(door: SocketAddrV4, directory: &Path, servers: &[Server]) -> String {
    // a JSON string is a TOML basic string
    let admin_socket = serde_json::Value::from(directory.join("admin.sock").to_string_lossy()).to_string();
    let mut text = format!(
        "# The configuration of `gridfront demo`: a start for your own.\n\
         [global]\n\
         admin_socket = {admin_socket}\n\
         \n\
         [[virtual_server]]\n\
         name = \"demo\"\n\
         addresses = [\"{}\"]\n\
         port = {}\n\
         lb_algo = \"wlc\"\n\
         \n\
         [virtual_server.check]\n\
         type = \"ftp\"\n\
         delay_loop = \"2s\"\n",
        door.ip(),
        door.port(),
    );
    for server in servers {
        let (name, address) = (server.name(), server.address());
        text += &format!(
            "\n[[virtual_server.real_server]]\nname = \"{name}\"\naddress = \"{}\"\nport = {}\n",
            address.ip(),
            address.port(),
        );
    }
    text
}

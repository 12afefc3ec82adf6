//! A real FTP server on loopback, for tests that need no site: pyftpdlib in clear, or ProFTPD with TLS.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::certificates::{Credential, set_mode};
use super::control_connection::ControlConnection;
use super::deadline;
use super::local_door::unused_address;
use super::other_servers::{PYTHON, script};
use super::process::{Process, tail};

/// A server starts in some 0.3 s here.
const START: Duration = Duration::from_secs(20);

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub struct LocalServer {
    process: Process,
    address: SocketAddr,
    directory: TempDir,
}

/// A TCP connection over IPv4, as the kernel lists it.
#[derive(Debug)]
struct Socket {
    local: (u32, u16),
    remote: (u32, u16),
    /// Bytes that the peer has not acknowledged.
    unsent: u32,
    /// Bytes that the program has not read.
    unread: u32,
    inode: u64,
}

/// All that are established.
fn established() -> Vec<Socket> {
    let text = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let hexadecimal = |text: &str| u32::from_str_radix(text, 16).unwrap();
    let address = |text: &str| {
        let (ip, port) = text.split_once(':').unwrap();
        (hexadecimal(ip), u16::from_str_radix(port, 16).unwrap())
    };
    let lines = text.lines().skip(1).map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let open = lines.filter(|fields| fields[3] == "01");
    open.map(|fields| {
        let (unsent, unread) = fields[4].split_once(':').unwrap();
        Socket {
            local: address(fields[1]),
            remote: address(fields[2]),
            unsent: hexadecimal(unsent),
            unread: hexadecimal(unread),
            inode: fields[9].parse().unwrap(),
        }
    })
    .collect()
}

/// The inodes of a process's sockets.
fn sockets_of(process: u32) -> HashSet<u64> {
    let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().flatten();
    let targets = descriptors.filter_map(|descriptor| std::fs::read_link(descriptor.path()).ok());
    targets
        .filter_map(|target| target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
        .collect()
}

impl LocalServer {
    /// Anonymous, with every right, in clear.
    ///
    /// # Panics
    /// When it does not come up, as all of these.
    pub fn pyftpdlib() -> Self {
        Self::start(|root, address, _| {
            let mut command = Command::new(PYTHON);
            command.arg(script("pyftpdlib_server.py")).arg(root);
            command.args([address.port().to_string(), address.ip().to_string()]);
            command
        })
    }

    /// ProFTPD that speaks nothing but TLS, with what else its `mod_tls` is to be told. A data connection has to resume the
    /// control connection's session, which is its default.
    pub fn proftpd_with_tls(credential: &Credential, options: &str) -> Self {
        Self::proftpd(&format!(
            "LoadModule mod_tls.c\nTLSEngine on\nTLSRequired on\nTLSRSACertificateFile {}\n\
             TLSRSACertificateKeyFile {}\n{options}",
            credential.certificate.display(),
            credential.key.display(),
        ))
    }

    /// ProFTPD in clear, unless `options` say otherwise.
    pub fn proftpd(options: &str) -> Self {
        Self::start(|root, address, directory| {
            let file = directory.join("proftpd.conf");
            let (ip, port, own) = (address.ip(), address.port(), directory.display());
            let text = format!(
                "ServerName test\nServerType standalone\nDefaultServer on\nDefaultAddress {ip}\n\
                 SocketBindTight on\nPort {port}\nUser nobody\nGroup nogroup\nUmask 022\nUseReverseDNS off\nWtmpLog off\nTransferLog none\n\
                 PidFile {own}/pid\nScoreboardFile {own}/scoreboard\nSystemLog {own}/proftpd.log\nDelayEngine off\nUseFtpUsers off\n\
                 RequireValidShell off\nAllowOverwrite on\nAllowStoreRestart on\n\
                 {options}\n\
                 <Anonymous {}>\n  User nobody\n  Group nogroup\n  UserAlias anonymous nobody\n  RequireValidShell off\n\
                 \x20 <Limit WRITE>\n    AllowAll\n  </Limit>\n</Anonymous>\n",
                root.display(),
            );
            std::fs::write(&file, text).expect("our own file");
            let mut command = Command::new("/usr/sbin/proftpd");
            command.args(["--nodaemon", "--quiet", "--config"]).arg(file);
            command
        })
    }

    fn start(command: impl FnOnce(&Path, SocketAddr, &Path) -> Command) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let root = directory.path().join("data");
        std::fs::create_dir(&root).expect("a directory for its files");
        // The server is not root.
        set_mode(directory.path(), 0o755);
        set_mode(&root, 0o777);
        let address = unused_address();
        let process =
            Process::spawn(command(&root, address, directory.path()), &directory.path().join("log"));
        let server = Self { process, address, directory };
        deadline::until("a real server", START, || {
            std::net::TcpStream::connect(server.address)
                .map(|stream| drop(ControlConnection::over(stream)))
                .map_err(|error| format!("{error}\n{}", server.log()))
        })
        .unwrap_or_else(|why| panic!("{why}"));
        server
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it has accepted a data connection and read all that its peer has sent there so far.
    ///
    /// # Panics
    /// When that takes too long.
    pub fn until_data_is_read(&self) {
        deadline::until("the server's data connection to be read", START, || {
            let own = sockets_of(self.process.id());
            let is_data =
                |socket: &&Socket| own.contains(&socket.inode) && socket.local.1 != self.address.port();
            let sent = established();
            let found: Vec<&Socket> = sent.iter().filter(is_data).collect();
            // What has not been acknowledged has not come. One that nobody has accepted has no inode.
            let [data] = found[..] else { return Err(format!("{found:?}")) };
            if !sent
                .iter()
                .any(|peer| (peer.local, peer.remote) == (data.remote, data.local) && peer.unsent == 0)
            {
                return Err("the bytes are under way".into());
            }
            // Looked at again, because only now all of them are there.
            match established().iter().find(|socket| socket.inode == data.inode) {
                Some(socket) if socket.unread == 0 => Ok(()),
                socket => Err(format!("{socket:?}")),
            }
        })
        .unwrap();
    }

    /// A file that it serves.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join("data").join(name)
    }

    /// The last lines of what it said.
    pub fn log(&self) -> String {
        let more = ["proftpd.log", "tls.log"]
            .map(|name| std::fs::read_to_string(self.directory.path().join(name)).unwrap_or_default());
        format!("{}\n{}", tail(&self.process.output(), 10), more.map(|text| tail(&text, 12)).join("\n"))
    }
}

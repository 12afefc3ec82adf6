//! A real FTP server on loopback, for tests that need no site: pyftpdlib in clear, or ProFTPD with TLS.

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

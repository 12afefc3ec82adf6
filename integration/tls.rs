//! TLS that ends at the door, in front of real servers in clear; and TLS between door and real servers.

mod clients;
mod faults;
mod real_servers;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::certificates::{Authority, Credential, set_mode};
use crate::support::local_door::{LocalDoor, Setup, unused_address};
use crate::support::local_server::LocalServer;
use crate::support::other_servers::{PYTHON, script};
use crate::support::process::Process;
use crate::support::skip;

/// What clients call the door.
const NAME: &str = "gridftp.test";
/// For one run of a client; they take a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// A door with a certificate in front of one server.
struct Secured {
    door: LocalDoor,
    implicit_port: u16,
    authority: Authority,
    credential: Credential,
    directory: TempDir,
}

impl Secured {
    /// `keys` are further ones of the virtual server, `tls` of its TLS.
    fn start(server: std::net::SocketAddr, keys: &str, tls: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let authority = Authority::new(directory.path(), "FTPS");
        let credential = authority.issue_host("door", &[NAME.to_owned()]);
        Self::with(directory, authority, credential, server, keys, tls)
    }

    fn with(
        directory: TempDir,
        authority: Authority,
        credential: Credential,
        server: std::net::SocketAddr,
        keys: &str,
        tls: &str,
    ) -> Self {
        let implicit_port = unused_address().port();
        let keys = format!(
            "{keys}\n[virtual_server.tls]\ncertificate = \"{}\"\nkey = \"{}\"\nimplicit_port = {implicit_port}\n{tls}",
            credential.certificate.display(),
            credential.key.display(),
        );
        let door = Setup::of(&[server]).virtual_server(&keys).start();
        Self { door, implicit_port, authority, credential, directory }
    }

    /// Replaces certificate and key.
    fn install(&self, new: &Credential) {
        for (from, to) in [(&new.certificate, &self.credential.certificate), (&new.key, &self.credential.key)]
        {
            let beside = to.with_extension("new");
            std::fs::copy(from, &beside).expect("a copy");
            set_mode(&beside, 0o600);
            std::fs::rename(beside, to).expect("our own file");
        }
    }

    fn local(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `scheme` is that of an URL.
    fn url(&self, scheme: &str, path: &str) -> String {
        let port = if scheme == "ftps" { self.implicit_port } else { self.door.address().port() };
        format!("{scheme}://{NAME}:{port}/{path}")
    }

    /// curl that believes the authority and finds the door by its name.
    fn curl(&self, words: &[&str]) -> (bool, String) {
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "50", "--cacert"]).arg(self.authority.certificate());
        for port in [self.door.address().port(), self.implicit_port] {
            command.arg("--resolve").arg(format!("{NAME}:{port}:{}", self.door.address().ip()));
        }
        self.run(command, words)
    }

    fn python(&self, words: &[&str]) -> (bool, String) {
        let port = if words.contains(&"implicit") { self.implicit_port } else { self.door.address().port() };
        let mut command = Command::new(PYTHON);
        command.arg(script("ftps_client.py")).arg(self.door.address().ip().to_string());
        command.arg(port.to_string()).arg(self.authority.certificate());
        self.run(command, words)
    }

    fn run(&self, mut command: Command, words: &[&str]) -> (bool, String) {
        command.args(words).env("HOME", self.directory.path());
        for name in ["http_proxy", "ftp_proxy", "all_proxy", "HTTP_PROXY", "FTP_PROXY", "ALL_PROXY"] {
            command.env_remove(name);
        }
        let output = tempfile::NamedTempFile::new_in(self.directory.path()).expect("a file for its output");
        let mut process = Process::spawn(command, output.path());
        let status = process.wait(PATIENCE);
        (status.is_some_and(|status| status.success()), process.output())
    }

    #[track_caller]
    fn works(&self, (success, output): (bool, String)) -> String {
        assert!(success, "{output}\n--- door\n{}", self.door.log());
        output
    }
}

/// Some records of TLS, with no two bytes in a row alike.
fn payload() -> Vec<u8> {
    (0..700_001_u32)
        .flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[..1].to_vec())
        .collect()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary directories have plain names")
}

/// Whether what is needed is there.
fn ready(what: &str, programs: &[&str]) -> bool {
    let mut all = vec!["openssl", PYTHON, "/usr/lib/python3/dist-packages/pyftpdlib/__init__.py"];
    all.extend(programs);
    skip::unless_present(what, &all)
}

/// A server in clear with one file.
fn clear_server() -> LocalServer {
    let server = LocalServer::pyftpdlib();
    std::fs::write(server.file("file"), payload()).expect("the server's directory");
    server
}

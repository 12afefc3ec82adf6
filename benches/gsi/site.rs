//! A grid of one host: an authority, a real server that takes GSI and anonymous logins, and the door in front of it.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gridfront::proto::gsi::{
    Credential, ExpectedPeer, HostNames, InitiatorConfig, PrivateKey, TrustFile, TrustStore,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

use crate::Outcome;
use crate::certificates::{Authority, USER, set_mode};
use crate::support::balancer::free_address;
use crate::support::child::{Program, dying_with_the_bench};
use crate::support::interrupt;

/// What clients call the service.
const NAME: &str = "gridftp.bench.test";
/// Whom the user is to the server: everybody has it.
const ACCOUNT: &str = "nobody";
/// For 64 keys: many times what a core takes that has nothing else to do.
const KEYS_WITHIN: Duration = Duration::from_secs(120);
/// From one look at them to the next.
const LOOK_AT_KEYS: Duration = Duration::from_millis(200);

pub(crate) struct Site {
    directory: TempDir,
    authority: Authority,
    user: PathBuf,
    pub(crate) server: SocketAddr,
    _server: Program,
}

/// A door, and where it takes GSI and clear sessions.
pub(crate) struct Door {
    pub(crate) program: Program,
    pub(crate) gsi: SocketAddr,
    pub(crate) clear: SocketAddr,
    binary: PathBuf,
    configuration: PathBuf,
}

impl Site {
    pub(crate) fn start(core: usize) -> Outcome<Self> {
        let directory = tempfile::Builder::new().prefix("gridfront-bench-").tempdir()?;
        let root = directory.path();
        set_mode(root, 0o755);
        let authority = Authority::new(&root.join("ca"), "Bench CA");
        let host = authority.issue_host("host", &[NAME.to_owned()]);
        let user = authority.issue_user("user", USER);
        std::fs::write(root.join("grid-mapfile"), format!("\"{USER}\" {ACCOUNT}\n"))?;
        let server = free_address()?;
        let configuration = root.join("server.conf");
        let text = format!(
            "port {}\ncontrol_interface 127.0.0.1\nlog_level ERROR\nlog_single \"{}\"\nhome_dir \"/\"\nconnections_max 1000\n\
             allow_disabled_login 1\nallow_anonymous 1\nanonymous_user {ACCOUNT}\nanonymous_group nogroup\n",
            server.port(),
            root.join("server.log").display(),
        );
        std::fs::write(&configuration, text)?;
        let mut command = dying_with_the_bench(Path::new("/usr/sbin/globus-gridftp-server"));
        command
            .arg("-c")
            .arg(&configuration)
            .env_remove("X509_USER_PROXY")
            .env("GSI_AUTHZ_CONF", "/dev/null")
            .env("GRIDMAP", root.join("grid-mapfile"))
            .env("X509_CERT_DIR", authority.anchors())
            .env("X509_USER_CERT", &host.certificate)
            .env("X509_USER_KEY", &host.key);
        let log = root.join("server.out");
        let program = Program::start(&mut command, core, &log, || TcpStream::connect(server).is_ok())?;
        Ok(Self { directory, authority, user, server, _server: program })
    }

    pub(crate) fn start_door(&self, binary: &Path, core: usize) -> Outcome<Door> {
        let root = self.directory.path();
        let [gsi, clear] = [free_address()?, free_address()?];
        let host = self.authority.issue_host(&format!("door-{}", gsi.port()), &[NAME.to_owned()]);
        let service = |name: &str, address: SocketAddr| {
            format!(
                "\n[[virtual_server]]\nname = \"{name}\"\naddresses = [\"127.0.0.1\"]\nport = {}\n\
                 [virtual_server.check]\ndelay_loop = \"1h\"\n\
                 [[virtual_server.real_server]]\nname = \"s1\"\naddress = \"127.0.0.1\"\nport = {}\n",
                address.port(),
                self.server.port()
            )
        };
        let text = format!(
            "[global]\nthreads = 1\nadmin_socket = \"{}\"\n{}[virtual_server.gsi]\nmode = \"terminate\"\ncertificate = \"{}\"\n\
             key = \"{}\"\ntrust_anchors = \"{}\"\n{}",
            root.join(format!("admin-{}.sock", gsi.port())).display(),
            service("gsi", gsi),
            host.certificate.display(),
            host.key.display(),
            self.authority.anchors().display(),
            service("clear", clear),
        );
        let file = root.join(format!("door-{}.toml", gsi.port()));
        std::fs::write(&file, text)?;
        let mut command = dying_with_the_bench(binary);
        command
            .arg("run")
            .arg("-c")
            .arg(&file)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let log = root.join("door.out");
        let program = Program::start(&mut command, core, &log, || TcpStream::connect(clear).is_ok())?;
        Ok(Door { program, gsi, clear, binary: binary.into(), configuration: file })
    }

    /// How a user's client logs in, with a proxy that grid-proxy-init has made.
    pub(crate) fn client(&self) -> Outcome<InitiatorConfig> {
        let pem = std::fs::read(&self.user)?;
        let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKey::from_der(&PrivateKeyDer::from_pem_slice(&pem)?)?;
        let mut contents = Vec::new();
        for entry in std::fs::read_dir(self.authority.anchors())? {
            let entry = entry?;
            contents.push((entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path())?));
        }
        let files = contents.iter().map(|(name, content)| TrustFile { name, content: Ok(content) });
        let (trust, problems) = TrustStore::from_files(files);
        if let Some(problem) = problems.first() {
            return Err(problem.to_string().into());
        }
        Ok(InitiatorConfig {
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            credential: Credential::new(chain, key)?,
            trust: Arc::new(trust),
            expected: ExpectedPeer::Host(HostNames { names: vec![NAME.to_owned()], address: None }),
            delegates: true,
        })
    }
}

impl Door {
    /// Waits until as many keys lie ready as shall.
    pub(crate) fn until_keys_are_ready(&self) -> Outcome<()> {
        let begun = Instant::now();
        loop {
            interrupt::check()?;
            let keys = self.keys()?;
            if keys.0 >= keys.1 {
                return Ok(());
            }
            if begun.elapsed() > KEYS_WITHIN {
                return Err(format!("{} of {} keys lie ready after {KEYS_WITHIN:?}", keys.0, keys.1).into());
            }
            std::thread::sleep(LOOK_AT_KEYS);
        }
    }

    /// How many lie ready, and how many shall.
    fn keys(&self) -> Outcome<(u64, u64)> {
        let mut command = Command::new(&self.binary);
        let output = command.args(["status", "--json", "-c"]).arg(&self.configuration).output()?;
        if !output.status.success() {
            return Err(format!("gridfront status: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let status: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let number = |key: &str| status["gsi_keys"][key].as_u64().ok_or("gridfront status has no keys");
        Ok((number("ready")?, number("wanted")?))
    }
}

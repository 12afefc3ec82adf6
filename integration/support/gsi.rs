//! Certificates and trust directories as the product's pure parts take them, and both ends of a GSI session made of those.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gridfront::proto::gsi::adat::{self, AdatReply};
use gridfront::proto::gsi::{
    AcceptStep, Acceptor, AcceptorConfig, Channel, Credential, ExpectedPeer, HostNames, Initiator,
    InitiatorConfig, PrivateKey, TrustFile, TrustStore,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use super::stub_server::Connection;

/// Longer than any login takes, with many at once on a machine that does other things besides.
const PATIENCE: Duration = Duration::from_secs(120);

/// The certificates of a PEM file, in order.
///
/// # Panics
/// When the file cannot be read, as all of these.
pub fn read_chain(file: &Path) -> Vec<CertificateDer<'static>> {
    let certificates =
        CertificateDer::pem_file_iter(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    certificates.map(|certificate| certificate.expect("PEM")).collect()
}

/// A directory, and what is wrong in it.
pub fn read_trust(directory: &Path) -> (TrustStore, Vec<String>) {
    let contents: Vec<(String, Vec<u8>)> = std::fs::read_dir(directory)
        .expect("a trust directory")
        .map(|entry| entry.expect("an entry"))
        .map(|entry| {
            (
                entry.file_name().into_string().expect("plain names"),
                std::fs::read(entry.path()).expect("a file"),
            )
        })
        .collect();
    let files = contents.iter().map(|(name, content)| TrustFile { name, content: Ok(content) });
    let (store, problems) = TrustStore::from_files(files);
    (store, problems.iter().map(ToString::to_string).collect())
}

/// The real time.
pub fn now() -> UnixTime {
    UnixTime::now()
}

/// A chain and its key.
pub fn read_credential(certificates: &Path, key: &Path) -> Credential {
    let key = PrivateKeyDer::from_pem_file(key).expect("a private key");
    let key = PrivateKey::from_der(&key).expect("a private key that is understood");
    Credential::new(read_chain(certificates), key).expect("a chain and its key")
}

/// A user's control connection under protection.
pub struct GsiClient {
    reader: BufReader<TcpStream>,
    channel: Option<Channel>,
}

impl GsiClient {
    /// Connects and authenticates; the last reply where that fails.
    ///
    /// # Errors
    /// The reply in clear that ended it, or what happened to the connection.
    pub fn connect(
        address: SocketAddr,
        user: &Credential,
        trust: &Arc<TrustStore>,
        host: &str,
    ) -> Result<Self, String> {
        let stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
        Self::over(stream, user, trust, host)
    }

    /// The same on a connection that was made elsewhere.
    ///
    /// # Errors
    /// As [`GsiClient::connect`].
    pub fn over(
        stream: TcpStream,
        user: &Credential,
        trust: &Arc<TrustStore>,
        host: &str,
    ) -> Result<Self, String> {
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let mut client = Self { reader: BufReader::new(stream), channel: None };
        client.expect("220")?;
        client.authenticate(user, trust, host)
    }

    /// The same on a connection whose greeting was read.
    ///
    /// # Errors
    /// As [`GsiClient::connect`].
    pub fn greeted(
        stream: TcpStream,
        user: &Credential,
        trust: &Arc<TrustStore>,
        host: &str,
    ) -> Result<Self, String> {
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        Self { reader: BufReader::new(stream), channel: None }.authenticate(user, trust, host)
    }

    fn authenticate(self, user: &Credential, trust: &Arc<TrustStore>, host: &str) -> Result<Self, String> {
        let mut client = self;
        client.send(b"AUTH GSSAPI\r\n")?;
        client.expect("334")?;
        let config = InitiatorConfig {
            provider: Arc::new(aws_lc_rs::default_provider()),
            credential: user.clone(),
            trust: Arc::clone(trust),
            expected: ExpectedPeer::Host(HostNames { names: vec![host.to_owned()], address: None }),
            delegates: true,
        };
        let (mut initiator, mut token) = Initiator::new(config, now()).map_err(|error| error.to_string())?;
        loop {
            client.send(&adat::command(&token))?;
            let reply = client.reply()?;
            match adat::parse_reply(reply.as_bytes()).map_err(|error| format!("{error}: {reply}"))? {
                AdatReply::Continue(answer) => {
                    token = initiator.step(&answer, now()).map_err(|error| error.to_string())?;
                }
                AdatReply::Complete(last) => {
                    let established =
                        initiator.finish(last.as_deref(), now()).map_err(|error| error.to_string())?;
                    client.channel = Some(established.channel);
                    return Ok(client);
                }
                AdatReply::Refused => return Err(reply),
            }
        }
    }

    /// Says a command, and waits for nothing.
    ///
    /// # Errors
    /// As [`GsiClient::ask`].
    pub fn say(&mut self, command: &str) -> Result<(), String> {
        let mut wrapped = Vec::new();
        let channel = self.channel.as_mut().expect("an established session");
        let line = format!("{command}\r\n");
        channel.wrap_command(line.as_bytes(), &mut wrapped).map_err(|error| error.to_string())?;
        self.send(&wrapped)
    }

    /// Says a command; all of its reply.
    ///
    /// # Errors
    /// What happened to the connection or its protection.
    pub fn ask(&mut self, command: &str) -> Result<String, String> {
        self.say(command)?;
        let mut text = Vec::new();
        loop {
            let line = self.line()?;
            let channel = self.channel.as_mut().expect("an established session");
            channel.unwrap_reply(line.as_bytes(), &mut text).map_err(|error| format!("{error}: {line}"))?;
            if line.starts_with("632 ") {
                return Ok(String::from_utf8_lossy(&text).into_owned());
            }
        }
    }

    /// Under which address the door knows it.
    pub fn address(&self) -> SocketAddr {
        self.reader.get_ref().local_addr().expect("a connected socket")
    }

    fn expect(&mut self, code: &str) -> Result<(), String> {
        let reply = self.reply()?;
        if reply.starts_with(code) { Ok(()) } else { Err(reply) }
    }

    /// The last line of the next reply in clear.
    fn reply(&mut self) -> Result<String, String> {
        loop {
            let line = self.line()?;
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line);
            }
        }
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(1..) => Ok(line),
            Ok(0) => Err("the door has closed".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.reader.get_mut().write_all(bytes).map_err(|error| error.to_string())
    }
}

/// A real server that lets everybody in by GSI whom `trust` vouches for, and answers each command with 200.
pub struct GsiServer {
    config: AcceptorConfig,
    trust: Arc<TrustStore>,
}

impl GsiServer {
    pub fn new(host: &Credential, trust: &Arc<TrustStore>) -> Self {
        let config = AcceptorConfig::new(Arc::new(aws_lc_rs::default_provider()), host);
        Self { config, trust: Arc::clone(trust) }
    }

    /// One session; also a check, which reads the greeting and says QUIT.
    ///
    /// # Errors
    /// What happened to the connection.
    pub fn serve(&self, connection: &mut Connection) -> io::Result<()> {
        let invalid =
            |error: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
        connection.say("220 stub GridFTP server\r\n")?;
        if !connection.line()?.eq_ignore_ascii_case(b"AUTH GSSAPI") {
            return connection.say("221 bye\r\n");
        }
        connection.send(adat::AUTH_ACCEPTED)?;
        let acceptor = Acceptor::new(&self.config, Arc::clone(&self.trust), now());
        let mut acceptor = acceptor.map_err(|error| invalid(&error))?;
        let mut channel = loop {
            let token = adat::parse_command(&connection.raw_line()?).map_err(|error| invalid(&error))?;
            let mut step = acceptor.step(&token, now()).map_err(|error| invalid(&error))?;
            if matches!(step, AcceptStep::KeyWanted) {
                let key = PrivateKey::generate().map_err(|error| invalid(&error))?;
                step = acceptor.provide_key(key).map_err(|error| invalid(&error))?;
            }
            match step {
                AcceptStep::Reply(token) => connection.send(&adat::reply(&token))?,
                AcceptStep::KeyWanted => unreachable!("a key was given"),
                AcceptStep::Complete(accepted) => {
                    connection.send(adat::AUTHENTICATED)?;
                    break accepted.channel;
                }
            }
        };
        loop {
            let line = connection.raw_line()?;
            let (mut command, mut wrapped) = (Vec::new(), Vec::new());
            channel.unwrap_command(&line, &mut command).map_err(|error| invalid(&error))?;
            let reply: &[u8] = match command.get(..4) {
                Some(b"USER") => b"230 User logged in.\r\n",
                Some(b"QUIT") => b"221 Goodbye.\r\n",
                _ => b"200 OK.\r\n",
            };
            channel.wrap_reply_line(reply, true, &mut wrapped).map_err(|error| invalid(&error))?;
            connection.send(&wrapped)?;
            if reply.starts_with(b"221") {
                return Ok(());
            }
        }
    }
}

//! A client with GSI, step by step, so that it can go wrong at every one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gridfront::proto::gsi::adat::{self, AdatReply};
use gridfront::proto::gsi::{
    Channel, Credential, ExpectedPeer, HostNames, Initiator, InitiatorConfig, PrivateKey, TrustStore, ciphers,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivateKeyDer, UnixTime};

use super::grid::{Site, VIRTUAL_NAME};
use super::gsi::{read_chain, read_trust};

/// An answer takes some milliseconds here.
const LIMIT: Duration = Duration::from_secs(60);

/// One end of a control connection, line by line.
#[derive(Debug)]
pub struct Line {
    reader: BufReader<TcpStream>,
}

impl Line {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Self { reader: BufReader::new(stream) }
    }

    /// The next line with its CR LF; empty at the end.
    pub fn next(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line).unwrap();
        line
    }

    /// The last line of the next reply in clear.
    pub fn reply(&mut self) -> String {
        loop {
            let line = String::from_utf8(self.next()).unwrap();
            if line.as_bytes().get(3) != Some(&b'-') {
                return line;
            }
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).unwrap();
    }
}

/// The client's side up to 235.
pub fn initiate(server: &mut Line, config: InitiatorConfig) -> Channel {
    assert!(server.reply().starts_with("220 "));
    try_initiate(server, config).unwrap_or_else(|reply| panic!("the server refuses: {reply}"))
}

/// The same behind the greeting; the whole reply of a server that refuses.
pub fn try_initiate(server: &mut Line, config: InitiatorConfig) -> Result<Channel, String> {
    server.send(b"AUTH GSSAPI\r\n");
    assert!(server.reply().starts_with("334 "));
    let (mut initiator, mut token) = Initiator::new(config, UnixTime::now()).unwrap();
    loop {
        server.send(&adat::command(&token));
        let reply = server.whole_reply();
        match adat::parse_reply(reply.lines().last().unwrap_or_default().as_bytes()).unwrap() {
            AdatReply::Continue(answer) => token = initiator.step(&answer, UnixTime::now()).unwrap(),
            AdatReply::Complete(last) => {
                return Ok(initiator.finish(last.as_deref(), UnixTime::now()).unwrap().channel);
            }
            AdatReply::Refused => return Err(reply),
        }
    }
}

/// Sends a command under protection; all lines of its next reply.
pub fn ask(server: &mut Line, channel: &mut Channel, command: &[u8]) -> Vec<Vec<u8>> {
    let mut wrapped = Vec::new();
    channel.wrap_command(command, &mut wrapped).unwrap();
    server.send(&wrapped);
    hear(server, channel)
}

pub fn hear(server: &mut Line, channel: &mut Channel) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    loop {
        let line = server.next();
        let mut plain = Vec::new();
        channel.unwrap_reply(&line, &mut plain).unwrap();
        lines.push(plain);
        if line.starts_with(b"632 ") {
            return lines;
        }
    }
}

pub fn credential(certificates: &Path, key: &Path) -> Credential {
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    Credential::new(read_chain(certificates), PrivateKey::from_der(&key).unwrap()).unwrap()
}

/// The trust anchors of the site.
pub fn trust(site: &Site) -> Arc<TrustStore> {
    let (store, problems) = read_trust(&site.authority().unwrap().anchors());
    assert_eq!(problems, Vec::<String>::new());
    Arc::new(store)
}

/// As a user at the virtual name, with this credential.
pub fn configuration(site: &Site, credential: Credential, delegates: bool) -> InitiatorConfig {
    InitiatorConfig {
        provider: ciphers(),
        credential,
        trust: trust(site),
        expected: ExpectedPeer::Host(HostNames { names: vec![VIRTUAL_NAME.to_owned()], address: None }),
        delegates,
    }
}

impl Line {
    /// All lines of the next reply in clear; what there is of them where the connection ends before.
    pub fn whole_reply(&mut self) -> String {
        let mut text = String::new();
        loop {
            let line = String::from_utf8(self.next()).expect("replies are text");
            let is_last = line.get(..3).is_some_and(|code| code.bytes().all(|byte| byte.is_ascii_digit()))
                && line.as_bytes().get(3) == Some(&b' ');
            text.push_str(&line);
            if line.is_empty() || is_last {
                return text;
            }
        }
    }
}

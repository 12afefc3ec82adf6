//! A client's control connection, in clear or under GSI.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gridfront::proto::gsi::adat::{self, AdatReply};
use gridfront::proto::gsi::{Channel, Established, Initiator, InitiatorConfig};
use rustls::pki_types::UnixTime;

use crate::Outcome;

/// A login that waits behind 64 others for a key takes some seconds.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Session {
    reader: BufReader<TcpStream>,
    channel: Option<Channel>,
}

impl Session {
    fn connect(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        let mut session = Self { reader: BufReader::new(stream), channel: None };
        session.expect_reply("220")?;
        Ok(session)
    }

    /// As everybody.
    pub(crate) fn anonymous(address: SocketAddr) -> Outcome<Self> {
        let mut session = Self::connect(address)?;
        session.command("USER anonymous", "331")?;
        session.command("PASS x@y", "230")?;
        Ok(session)
    }

    /// As the user, up to 230.
    pub(crate) fn log_in(address: SocketAddr, config: &InitiatorConfig) -> Outcome<Self> {
        let mut session = Self::connect(address)?;
        session.command("AUTH GSSAPI", "334")?;
        let (mut initiator, mut token) = Initiator::new(config.clone(), now())?;
        loop {
            session.reader.get_mut().write_all(&adat::command(&token))?;
            match adat::parse_reply(session.line()?.as_bytes())? {
                AdatReply::Continue(received) => token = initiator.step(&received, now())?,
                AdatReply::Complete(received) => {
                    let Established { channel, .. } = initiator.finish(received.as_deref(), now())?;
                    session.channel = Some(channel);
                    break;
                }
                AdatReply::Refused => return Err(format!("refused: {}", session.line()?).into()),
            }
        }
        session.command("USER :globus-mapping:", "331")?;
        session.command("PASS dummy", "230")?;
        Ok(session)
    }

    pub(crate) fn command(&mut self, text: &str, wanted: &str) -> Outcome<()> {
        let mut line = Vec::new();
        match &mut self.channel {
            Some(channel) => channel.wrap_command(text.as_bytes(), &mut line)?,
            None => line.extend_from_slice(format!("{text}\r\n").as_bytes()),
        }
        self.reader.get_mut().write_all(&line)?;
        self.expect_reply(wanted)
    }

    fn expect_reply(&mut self, wanted: &str) -> Outcome<()> {
        loop {
            let line = self.line()?;
            let text = match &mut self.channel {
                None => line.clone(),
                Some(channel) => {
                    let mut plain = Vec::new();
                    channel.unwrap_reply(line.as_bytes(), &mut plain)?;
                    String::from_utf8_lossy(&plain).into_owned()
                }
            };
            if line.as_bytes().get(3) == Some(&b' ') {
                return if text.starts_with(wanted) { Ok(()) } else { Err(text.into()) };
            }
        }
    }

    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err("the connection was closed".into());
        }
        Ok(line)
    }
}

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

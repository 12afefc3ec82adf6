//! The client's end of a control connection through the door; counts every byte on it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Failure;

/// How long a reply may take; on one machine it takes milliseconds.
const REPLY_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest reply taken, in bytes; FEAT and HELP are below 2 KiB.
const MAX_REPLY: usize = 64 * 1024;

/// A whole reply.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) code: u16,
    /// all its lines, without their ends
    pub(super) lines: Vec<String>,
}

impl Reply {
    /// What stands between the first `(` and the last `)` of the first line, as in 227 and 229.
    pub(super) fn in_parentheses(&self) -> Option<&str> {
        let (_, rest) = self.lines.first()?.split_once('(')?;
        Some(rest.rsplit_once(')')?.0)
    }
}

pub(super) struct Control {
    stream: TcpStream,
    input: Vec<u8>,
    server: String,
    bytes: u64,
}

impl Control {
    /// Connects and logs in anonymously.
    pub(super) async fn login(door: SocketAddr) -> Result<Self, Failure> {
        let stream = timeout(REPLY_TIMEOUT, TcpStream::connect(door))
            .await
            .map_err(|_| Failure::new(format!("{door}: no connection in {REPLY_TIMEOUT:?}")))?
            .map_err(|error| Failure::new(format!("{door}: {error}")))?;
        let _ = stream.set_nodelay(true);
        let mut control = Self { stream, input: Vec::new(), server: String::new(), bytes: 0 };
        let greeting = control.reply("the connection").await?;
        control.expected(&greeting, "the connection", &[220])?;
        let first = greeting.lines.first().map_or("", String::as_str);
        control.server = first.split_whitespace().nth(1).unwrap_or("?").to_owned();
        control.command("USER anonymous", &[331]).await?;
        control.command("PASS demo@", &[230]).await?;
        Ok(control)
    }

    /// The real server, by the name in its greeting.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// The door's address as the client sees it.
    pub(super) fn peer_ip(&self) -> Result<IpAddr, Failure> {
        Ok(self.stream.peer_addr().map_err(|error| Failure::new(error.to_string()))?.ip())
    }

    /// The client's own address towards the door.
    pub(super) fn local_ip(&self) -> Result<IpAddr, Failure> {
        Ok(self.stream.local_addr().map_err(|error| Failure::new(error.to_string()))?.ip())
    }

    /// Sends a command and takes its first reply, which must have one of `codes`.
    pub(super) async fn command(&mut self, command: &str, codes: &[u16]) -> Result<Reply, Failure> {
        self.send(command).await?;
        self.expect(command, codes).await
    }

    /// Sends a command whose replies are taken by [`Control::expect`].
    pub(super) async fn send(&mut self, command: &str) -> Result<(), Failure> {
        let line = format!("{command}\r\n");
        self.bytes += line.len() as u64;
        let written = timeout(REPLY_TIMEOUT, self.stream.write_all(line.as_bytes())).await;
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Failure::new(format!("{command}: {error}"))),
            Err(_) => Err(Failure::new(format!("{command}: not taken in {REPLY_TIMEOUT:?}"))),
        }
    }

    /// The next reply to `command`, which must have one of `codes`.
    pub(super) async fn expect(&mut self, command: &str, codes: &[u16]) -> Result<Reply, Failure> {
        let reply = self.reply(command).await?;
        self.expected(&reply, command, codes)?;
        Ok(reply)
    }

    /// Says QUIT and waits until the door has closed; gives all bytes of this control connection, both ways.
    pub(super) async fn quit(mut self) -> Result<u64, Failure> {
        self.command("QUIT", &[221]).await?;
        let mut rest = [0; 64];
        match timeout(REPLY_TIMEOUT, self.stream.read(&mut rest)).await {
            Ok(Ok(0)) => Ok(self.bytes),
            Ok(Ok(_)) => Err(Failure::new("QUIT: something came after 221")),
            Ok(Err(error)) => Err(Failure::new(format!("QUIT: {error}"))),
            Err(_) => Err(Failure::new("QUIT: still open after 221")),
        }
    }

    fn expected(&self, reply: &Reply, command: &str, codes: &[u16]) -> Result<(), Failure> {
        if codes.contains(&reply.code) {
            return Ok(());
        }
        let server = if self.server.is_empty() { "the door" } else { &self.server };
        Err(Failure::new(format!("{server} answered `{}` to {command}", reply.lines.join(" / "))))
    }

    async fn reply(&mut self, command: &str) -> Result<Reply, Failure> {
        timeout(REPLY_TIMEOUT, self.read_reply(command))
            .await
            .unwrap_or_else(|_| Err(Failure::new(format!("{command}: no reply in {REPLY_TIMEOUT:?}"))))
    }

    async fn read_reply(&mut self, command: &str) -> Result<Reply, Failure> {
        let mut lines: Vec<String> = Vec::new();
        let mut length = 0;
        loop {
            let line = self.read_line(command).await?;
            length += line.len();
            if length > MAX_REPLY {
                return Err(Failure::new(format!("{command}: the reply is longer than {MAX_REPLY} bytes")));
            }
            // as Globus reads: any line of three digits and a blank ends the reply
            let last = line.as_bytes().get(3).is_none_or(|&byte| byte == b' ');
            let code = line.get(..3).and_then(|code| code.parse().ok());
            if lines.is_empty() && code.is_none() {
                return Err(Failure::new(format!("{command}: `{line}` is no reply")));
            }
            lines.push(line);
            if let (true, Some(code)) = (last, code) {
                return Ok(Reply { code, lines });
            }
        }
    }

    async fn read_line(&mut self, command: &str) -> Result<String, Failure> {
        loop {
            if let Some(end) = self.input.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.input.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if self.input.len() > MAX_REPLY {
                return Err(Failure::new(format!("{command}: a line is longer than {MAX_REPLY} bytes")));
            }
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) => return Err(Failure::new(format!("{command}: the control connection was closed"))),
                Ok(count) => self.bytes += count as u64,
                Err(error) => return Err(Failure::new(format!("{command}: {error}"))),
            }
        }
    }
}

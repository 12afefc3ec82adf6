//! The server's end of a control connection: command lines in, replies out, both bounded.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest command line, in bytes: any path of PATH_MAX (4 KiB) with its verb fits.
const MAX_LINE: usize = 8 * 1024;
/// How long a client may refuse to take a reply.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

const IAC: u8 = 255;

/// Why there is no further line.
#[derive(Debug)]
pub(super) enum End {
    /// closed or broken
    Closed,
    /// longer than [`MAX_LINE`]
    TooLong,
    /// nothing came in time
    Idle,
}

/// What breaks into a running transfer.
pub(super) enum Interruption {
    /// the control connection is gone
    Closed,
    /// ABOR
    Abort,
}

pub(super) struct ControlConnection {
    stream: TcpStream,
    input: Vec<u8>,
}

impl ControlConnection {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, input: Vec::new() }
    }

    /// The next command line, without its end and without telnet commands.
    pub(super) async fn next_line(&mut self, within: Duration) -> Result<Vec<u8>, End> {
        timeout(within, async {
            loop {
                if let Some(end) = find_line_end(&self.input) {
                    let line = without_telnet(&self.input[..end]);
                    self.input.drain(..end + 2);
                    return Ok(line);
                }
                if self.input.len() >= MAX_LINE {
                    return Err(End::TooLong);
                }
                self.read().await.map_err(|_| End::Closed)?;
            }
        })
        .await
        .unwrap_or(Err(End::Idle))
    }

    /// Sends a reply: its lines joined by CR LF, without the last line end.
    pub(super) async fn reply(&mut self, text: &str) -> io::Result<()> {
        self.reply_bytes(text.as_bytes()).await
    }

    pub(super) async fn reply_bytes(&mut self, text: &[u8]) -> io::Result<()> {
        let message = [text, b"\r\n"].concat();
        timeout(WRITE_TIMEOUT, self.stream.write_all(&message)).await?
    }

    /// Waits, while a transfer runs, for what ends it early. Other commands stay queued up to [`MAX_LINE`] bytes,
    /// then reading stops. Cancel safe.
    pub(super) async fn interruption(&mut self) -> Interruption {
        loop {
            let mut start = 0;
            while let Some(end) = find_line_end(&self.input[start..]).map(|end| start + end) {
                if without_telnet(&self.input[start..end]).eq_ignore_ascii_case(b"ABOR") {
                    self.input.drain(start..end + 2);
                    return Interruption::Abort;
                }
                start = end + 2;
            }
            if self.input.len() >= MAX_LINE {
                return std::future::pending().await;
            }
            if self.read().await.is_err() {
                return Interruption::Closed;
            }
        }
    }

    async fn read(&mut self) -> io::Result<()> {
        let room = MAX_LINE - self.input.len();
        match (&mut self.stream).take(room as u64).read_buf(&mut self.input).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

fn find_line_end(input: &[u8]) -> Option<usize> {
    input.windows(2).position(|pair| pair == b"\r\n")
}

/// Takes out telnet commands (RFC 854): IAC IAC is a byte 255, WILL WONT DO DONT have an option.
fn without_telnet(line: &[u8]) -> Vec<u8> {
    let mut clean = Vec::with_capacity(line.len());
    let mut bytes = line.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != IAC {
            clean.push(byte);
            continue;
        }
        match bytes.next() {
            Some(IAC) => clean.push(IAC),
            Some(251..=254) => drop(bytes.next()),
            Some(_) | None => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telnet_commands_are_taken_out() {
        assert_eq!(without_telnet(b"\xff\xf4\xff\xf2ABOR"), b"ABOR");
        assert_eq!(without_telnet(b"a\xff\xffb\xff\xfd\x01c\xff"), b"a\xffbc");
    }
}

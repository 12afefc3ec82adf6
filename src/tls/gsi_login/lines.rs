//! Lines of a control connection on which no session is yet.
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::proto::gsi::adat;

/// Longest line before a session that is a command alone.
pub const LONGEST_COMMAND: usize = 512;
/// Longest first token: a ClientHello. From the second on a client has shown that it speaks TLS.
pub const LONGEST_FIRST_TOKEN: usize = 16 * 1024;
/// Longest line that carries a token.
pub const LONGEST_TOKEN: usize = adat::MAX_TOKEN.div_ceil(3) * 4 + 64;
/// What is read at once, in bytes.
const READ_SIZE: usize = 4096;

/// What has arrived and was not used.
#[derive(Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
    /// Up to here no line ends.
    searched: usize,
}

impl Lines {
    /// The next line with its end, which is not much longer than `longest`; `None` where the peer has closed.
    ///
    /// # Errors
    ///
    /// When the connection breaks, or a line is longer ([`io::ErrorKind::InvalidData`]).
    pub async fn next(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        longest: usize,
    ) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.bytes[self.searched..]) {
                let rest = self.bytes.split_off(self.searched + end + 1);
                self.searched = 0;
                return Ok(Some(std::mem::replace(&mut self.bytes, rest)));
            }
            self.searched = self.bytes.len();
            if self.bytes.len() > longest {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line has no end"));
            }
            self.bytes.reserve(READ_SIZE);
            if stream.read_buf(&mut self.bytes).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// What has arrived behind the last line.
    #[must_use]
    pub fn into_rest(self) -> Vec<u8> {
        self.bytes
    }
}

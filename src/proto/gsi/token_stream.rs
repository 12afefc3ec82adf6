//! A TLS connection whose records travel as tokens: everything that TLS wants to send is the next token, and nothing else frames it.
use std::io::Read as _;

use rustls::Connection;

/// As much as is given to rustls at once: its buffer for sending has 64 KiB, and is emptied in between.
const PIECE: usize = 16 * 1024;

/// Header of a record: its kind, its version, and the length of what follows.
const HEADER: usize = 5;

/// Whether a token is made of whole records, as those of all implementations are. rustls would wait for the rest of one that is cut.
pub(super) fn is_whole(token: &[u8]) -> bool {
    let mut rest = token;
    while !rest.is_empty() {
        let Some(length) = rest.get(3..HEADER) else { return false };
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        let Some(behind) = rest.get(HEADER + length..) else { return false };
        rest = behind;
    }
    true
}

/// One end of it.
#[derive(Debug)]
pub(super) struct TokenStream {
    connection: Connection,
}

impl TokenStream {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection }
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Takes a token in and appends what it said to `plain`, which gets at most as many bytes as the token has.
    pub(super) fn read(&mut self, token: &[u8], plain: &mut Vec<u8>) -> Result<(), rustls::Error> {
        let mut rest = token;
        while !rest.is_empty() {
            let taken = self.connection.read_tls(&mut rest);
            self.connection.process_new_packets()?;
            // It ends in WouldBlock where nothing more has come; a close_notify is the end of nothing here.
            let _ = self.connection.reader().read_to_end(plain);
            // Nothing is taken behind a close_notify, or when a message is longer than rustls takes.
            if taken.unwrap_or(0) == 0 {
                return Err(rustls::Error::General("the token goes on where TLS has ended".to_owned()));
            }
        }
        Ok(())
    }

    /// Appends to `out` the token that says `plain`, behind what TLS itself has to send.
    pub(super) fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), rustls::Error> {
        use std::io::Write as _;
        let refused = |_| rustls::Error::General("TLS does not take what is to be sent".to_owned());
        for piece in plain.chunks(PIECE) {
            self.connection.writer().write_all(piece).map_err(refused)?;
            self.send(out);
        }
        Ok(())
    }

    /// Appends to `out` all that TLS has to send.
    pub(super) fn send(&mut self, out: &mut Vec<u8>) {
        while self.connection.wants_write() {
            // A Vec takes everything.
            if self.connection.write_tls(out).is_err() {
                return;
            }
        }
    }
}

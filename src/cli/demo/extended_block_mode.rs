//! MODE E: blocks with offsets over any number of connections (GFD.20 §"extended block mode").
//!
//! A block is a header of 17 bytes (descriptor, count, offset; big endian) and `count` bytes. A connection ends its
//! part with an EOD; one of them says with EOF, in the offset field, how many EODs make the file.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::content::{Sink, Source};

/// Data connections of one transfer: more than any client's usual `-p`, and a bound.
pub(super) const MAX_CONNECTIONS: usize = 64;
/// Sent per block, in bytes; what globus-url-copy uses by default.
const BLOCK: usize = 256 * 1024;
const HEADER: usize = 17;

const EOF: u8 = 64;
const EOD: u8 = 8;
const CLOSE: u8 = 4;

/// What a transfer leaves: connections for the next one, and who carried how much.
#[derive(Default)]
pub(super) struct Finished {
    /// connections that stay open for the next transfer (reply 125)
    pub(super) kept: Vec<TcpStream>,
    /// per connection: local address, peer, bytes of the file
    pub(super) carried: Vec<(SocketAddr, SocketAddr, u64)>,
}

impl Finished {
    fn add(&mut self, (stream, bytes, keep): (TcpStream, u64, bool)) {
        if let (Ok(local), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) {
            self.carried.push((local, peer, bytes));
        }
        if keep {
            self.kept.push(stream);
        }
    }
}

/// Sends `source` from `start` on, its blocks dealt out over `connections` in turn.
pub(super) async fn send(connections: Vec<TcpStream>, source: Source, start: u64) -> io::Result<Finished> {
    let source = Arc::new(source);
    let count = connections.len();
    let mut tasks = JoinSet::new();
    for (index, stream) in connections.into_iter().enumerate() {
        tasks.spawn(send_share(stream, Arc::clone(&source), start, index, count));
    }
    let mut finished = Finished::default();
    while let Some(share) = tasks.join_next().await {
        finished.add(share??);
    }
    Ok(finished)
}

async fn send_share(
    mut stream: TcpStream,
    source: Arc<Source>,
    start: u64,
    index: usize,
    count: usize,
) -> io::Result<(TcpStream, u64, bool)> {
    let mut block = vec![0; HEADER + BLOCK];
    let mut offset = start + (index * BLOCK) as u64;
    let mut sent = 0;
    loop {
        let mut filled = 0;
        while filled < BLOCK {
            match source.read_at(&mut block[HEADER + filled..], offset + filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        if filled == 0 {
            break;
        }
        block[..HEADER].copy_from_slice(&header(0, filled as u64, offset));
        stream.write_all(&block[..HEADER + filled]).await?;
        sent += filled as u64;
        offset += (count * BLOCK) as u64;
    }
    let end = if index == 0 { header(EOF | EOD, 0, count as u64) } else { header(EOD, 0, 0) };
    stream.write_all(&end).await?;
    Ok((stream, sent, true))
}

/// Receives until every announced EOD has come: from `kept` connections and from those that `listener` accepts.
pub(super) async fn receive(
    listener: Option<&TcpListener>,
    kept: Vec<TcpStream>,
    sink: Arc<Sink>,
) -> io::Result<Finished> {
    let mut tasks = JoinSet::new();
    for stream in kept {
        tasks.spawn(receive_share(stream, Arc::clone(&sink)));
    }
    let mut finished = Finished::default();
    let (mut ended, mut expected) = (0, None);
    while expected != Some(ended) {
        if tasks.is_empty() && listener.is_none() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "no data connection brought the EOF block",
            ));
        }
        let room = tasks.len() + finished.carried.len() < MAX_CONNECTIONS;
        tokio::select! {
            accepted = accept(listener), if room => {
                tasks.spawn(receive_share(accepted?, Arc::clone(&sink)));
            }
            Some(share) = tasks.join_next() => {
                let share = share??;
                ended += 1;
                expected = share.expected.or(expected);
                finished.add((share.stream, share.bytes, share.keep));
            }
        }
    }
    Ok(finished)
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => Ok(listener.accept().await?.0),
        None => std::future::pending().await,
    }
}

struct Share {
    stream: TcpStream,
    bytes: u64,
    /// EODs that make the file, where this connection said it
    expected: Option<u64>,
    keep: bool,
}

async fn receive_share(mut stream: TcpStream, sink: Arc<Sink>) -> io::Result<Share> {
    let mut buffer = vec![0; BLOCK];
    let (mut bytes, mut expected) = (0, None);
    loop {
        let mut raw = [0; HEADER];
        stream.read_exact(&mut raw).await?;
        let (descriptor, count, offset) = parse_header(&raw);
        if descriptor & EOF != 0 {
            if !(1..=MAX_CONNECTIONS as u64).contains(&offset) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "EOF block announces too many connections",
                ));
            }
            expected = Some(offset);
        } else {
            let mut done = 0;
            while done < count {
                let want = usize::try_from(count - done).unwrap_or(BLOCK).min(BLOCK);
                let read = stream.read(&mut buffer[..want]).await?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let at = offset.checked_add(done).ok_or(io::ErrorKind::FileTooLarge)?;
                sink.write_at(&buffer[..read], at)?;
                done += read as u64;
            }
            bytes += count;
        }
        if descriptor & EOD != 0 {
            return Ok(Share { stream, bytes, expected, keep: descriptor & CLOSE == 0 });
        }
    }
}

fn header(descriptor: u8, count: u64, offset: u64) -> [u8; HEADER] {
    let mut raw = [0; HEADER];
    raw[0] = descriptor;
    raw[1..9].copy_from_slice(&count.to_be_bytes());
    raw[9..].copy_from_slice(&offset.to_be_bytes());
    raw
}

fn parse_header(raw: &[u8; HEADER]) -> (u8, u64, u64) {
    let number = |bytes: &[u8]| bytes.iter().fold(0, |sum: u64, &byte| sum << 8 | u64::from(byte));
    (raw[0], number(&raw[1..9]), number(&raw[9..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_is_read_as_it_is_written() {
        assert_eq!(parse_header(&header(EOF | EOD, 3, u64::MAX)), (72, 3, u64::MAX));
    }
}

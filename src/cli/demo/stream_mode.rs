//! MODE S: one connection, the bytes in order, the end of the connection is the end of the file (RFC 959 §3.4.1).

use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::content::{Sink, Source};

/// Read and written at once, in bytes; larger gains nothing on loopback.
const CHUNK: usize = 256 * 1024;

/// Makes closing this connection a reset until [`finish`]: a FIN would tell the receiver that the file is complete.
pub(super) fn reset_unless_finished(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

/// Ends a sent file: FIN, and lets queued bytes go out.
async fn finish(stream: &mut TcpStream) -> io::Result<()> {
    SockRef::from(&*stream).set_linger(None)?;
    stream.shutdown().await
}

/// Sends `source` from `start` on and ends the connection; in ASCII type each line end becomes CR LF.
/// Gives the bytes sent.
pub(super) async fn send(
    stream: &mut TcpStream,
    source: &Source,
    start: u64,
    ascii: bool,
) -> io::Result<u64> {
    reset_unless_finished(stream)?;
    let mut buffer = vec![0; CHUNK];
    let (mut offset, mut sent, mut last) = (start, 0, 0);
    loop {
        let count = source.read_at(&mut buffer, offset)?;
        if count == 0 {
            break;
        }
        offset += count as u64;
        let chunk = &buffer[..count];
        if ascii {
            let lines = to_network_lines(chunk, &mut last);
            stream.write_all(&lines).await?;
            sent += lines.len() as u64;
        } else {
            stream.write_all(chunk).await?;
            sent += count as u64;
        }
    }
    finish(stream).await?;
    Ok(sent)
}

/// Receives until the sender ends the connection, writing from `start` on. Gives the bytes received.
pub(super) async fn receive(stream: &mut TcpStream, sink: &Sink, start: u64, ascii: bool) -> io::Result<u64> {
    let mut buffer = vec![0; CHUNK];
    let (mut offset, mut received, mut held_cr) = (start, 0, false);
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            break;
        }
        received += count as u64;
        let chunk = &buffer[..count];
        if ascii {
            let lines = to_local_lines(chunk, &mut held_cr);
            sink.write_at(&lines, offset)?;
            offset += lines.len() as u64;
        } else {
            sink.write_at(chunk, offset)?;
            offset += count as u64;
        }
    }
    if held_cr {
        sink.write_at(b"\r", offset)?;
    }
    Ok(received)
}

/// LF to CR LF; `last` is the byte before the chunk.
fn to_network_lines(chunk: &[u8], last: &mut u8) -> Vec<u8> {
    let mut lines = Vec::with_capacity(chunk.len() + chunk.len() / 16);
    for &byte in chunk {
        if byte == b'\n' && *last != b'\r' {
            lines.push(b'\r');
        }
        lines.push(byte);
        *last = byte;
    }
    lines
}

/// CR LF to LF; a CR at the end of a chunk waits for what follows.
fn to_local_lines(chunk: &[u8], held_cr: &mut bool) -> Vec<u8> {
    let mut lines = Vec::with_capacity(chunk.len() + 1);
    for &byte in chunk {
        if *held_cr && byte != b'\n' {
            lines.push(b'\r');
        }
        *held_cr = byte == b'\r';
        if !*held_cr {
            lines.push(byte);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_survive_a_round_trip_however_they_are_cut() {
        let text = b"one\ntwo\n\nlast";
        for size in 1..text.len() {
            let (mut last, mut held_cr) = (0, false);
            let network: Vec<u8> =
                text.chunks(size).flat_map(|chunk| to_network_lines(chunk, &mut last)).collect();
            assert_eq!(network, b"one\r\ntwo\r\n\r\nlast", "chunks of {size}");
            let local: Vec<u8> =
                network.chunks(size).flat_map(|chunk| to_local_lines(chunk, &mut held_cr)).collect();
            assert_eq!(local, text, "chunks of {size}");
        }
    }

    #[test]
    fn a_lone_carriage_return_stays() {
        let mut held_cr = false;
        assert_eq!(to_local_lines(b"a\rb\r", &mut held_cr), b"a\rb");
        assert_eq!(to_local_lines(b"\r\n", &mut held_cr), b"\r\n");
    }
}

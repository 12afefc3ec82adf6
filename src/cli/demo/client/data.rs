//! The client's data connections: dials what a reply announced, or listens for the real server.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::Failure;
use super::control::Reply;
use crate::cli::demo::address::{BarForm, parse_bar_form, parse_comma_form};
use crate::cli::demo::content::{Sink, Source};
use crate::cli::demo::extended_block_mode;
use crate::cli::demo::stream_mode;

/// How long one transfer may take: a few MiB on one machine, however busy.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(60);

/// One data connection as the client saw it.
pub(super) struct Seen {
    /// the client's end
    pub(super) local: SocketAddr,
    /// whom the client really spoke to
    pub(super) peer: SocketAddr,
}

/// What came over the data connections, and from whom.
pub(super) struct Moved {
    pub(super) seen: Vec<Seen>,
    /// received bytes; empty on a put
    pub(super) bytes: Vec<u8>,
}

/// The address that a 227, 127, 229 or 129 announces. `|||port|` names no address, so it is the door's.
pub(super) fn announced(reply: &Reply, door: IpAddr) -> Result<SocketAddr, Failure> {
    let not_read = || Failure::new(format!("no address in `{}`", reply.lines.join(" / ")));
    let text = reply.in_parentheses().ok_or_else(not_read)?;
    if let Some(address) = parse_comma_form(text) {
        return Ok(SocketAddr::V4(address));
    }
    match parse_bar_form(text) {
        Some(BarForm::Full(address)) => Ok(SocketAddr::V4(address)),
        Some(BarForm::PortOnly(port)) => Ok(SocketAddr::new(door, port)),
        Some(BarForm::OtherProtocol) | None => Err(not_read()),
    }
}

/// Connects where a reply said.
pub(super) async fn dial(address: SocketAddr) -> Result<TcpStream, Failure> {
    in_time(TcpStream::connect(address))
        .await
        .map_err(|error| Failure::new(format!("data to {address}: {error}")))
}

/// A port of the client for active mode; only IPv4, for the demo's servers have no other.
pub(super) async fn listen(ip: IpAddr) -> Result<(TcpListener, SocketAddrV4), Failure> {
    let failure = |error: io::Error| Failure::new(format!("data port on {ip}: {error}"));
    let listener = TcpListener::bind((ip, 0)).await.map_err(failure)?;
    match listener.local_addr().map_err(failure)? {
        SocketAddr::V4(address) => Ok((listener, address)),
        SocketAddr::V6(address) => Err(Failure::new(format!("{address}: the demo's data ports are IPv4"))),
    }
}

/// Accepts the real server's connection.
pub(super) async fn accept(listener: &TcpListener) -> Result<TcpStream, Failure> {
    Ok(in_time(listener.accept())
        .await
        .map_err(|error| Failure::new(format!("data from server: {error}")))?
        .0)
}

/// MODE S, incoming.
pub(super) async fn get_stream(mut stream: TcpStream, limit: usize) -> Result<Moved, Failure> {
    let seen = vec![seen(&stream)?];
    let sink = Sink::memory(limit);
    in_time(stream_mode::receive(&mut stream, &sink, 0, false))
        .await
        .map_err(|error| broken(&seen, &error))?;
    Ok(Moved { seen, bytes: sink.into_bytes() })
}

/// MODE S, outgoing.
pub(super) async fn put_stream(mut stream: TcpStream, bytes: Vec<u8>) -> Result<Moved, Failure> {
    let seen = vec![seen(&stream)?];
    let source = Source::Memory(bytes);
    in_time(stream_mode::send(&mut stream, &source, 0, false))
        .await
        .map_err(|error| broken(&seen, &error))?;
    Ok(Moved { seen, bytes: Vec::new() })
}

/// MODE E, incoming: the server connects as often as it likes.
pub(super) async fn get_blocks(listener: &TcpListener, limit: usize) -> Result<Moved, Failure> {
    let sink = Arc::new(Sink::memory(limit));
    let finished = in_time(extended_block_mode::receive(Some(listener), Vec::new(), Arc::clone(&sink)))
        .await
        .map_err(|error| broken(&[], &error))?;
    let bytes =
        Arc::try_unwrap(sink).map_err(|_| Failure::new("data still arriving after its end"))?.into_bytes();
    Ok(Moved { seen: ends(&finished), bytes })
}

/// MODE E, outgoing over several connections.
pub(super) async fn put_blocks(connections: Vec<TcpStream>, bytes: Vec<u8>) -> Result<Moved, Failure> {
    let finished = in_time(extended_block_mode::send(connections, Source::Memory(bytes), 0))
        .await
        .map_err(|error| broken(&[], &error))?;
    Ok(Moved { seen: ends(&finished), bytes: Vec::new() })
}

fn ends(finished: &extended_block_mode::Finished) -> Vec<Seen> {
    finished.carried.iter().map(|&(local, peer, _)| Seen { local, peer }).collect()
}

fn seen(stream: &TcpStream) -> Result<Seen, Failure> {
    let failure = |error: io::Error| Failure::new(format!("data connection: {error}"));
    Ok(Seen { local: stream.local_addr().map_err(failure)?, peer: stream.peer_addr().map_err(failure)? })
}

fn broken(seen: &[Seen], error: &io::Error) -> Failure {
    let peer = seen.first().map_or_else(String::new, |seen| format!(" with {}", seen.peer));
    Failure::new(format!("data connection{peer}: {error}"))
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(TRANSFER_TIMEOUT, work).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announced_address_table() {
        let door = IpAddr::from([127, 0, 0, 1]);
        let table = [
            ("227 Entering Passive Mode (127,0,0,11,1,0)", Some("127.0.0.11:256")),
            ("229 Entering Extended Passive Mode (|1|127.0.0.12|256|)", Some("127.0.0.12:256")),
            ("129 Entering Extended Passive Mode (|||256|)", Some("127.0.0.1:256")),
            ("229 Entering Extended Passive Mode (|2|::1|256|)", None),
            ("227 Entering Passive Mode", None),
        ];
        for (line, expected) in table {
            let reply = Reply { code: 227, lines: vec![line.to_owned()] };
            let expected = expected.map(|address| address.parse().unwrap());
            assert_eq!(announced(&reply, door).ok(), expected, "{line}");
        }
    }
}

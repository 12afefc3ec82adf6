//! Who has come: the peer of a connection or, from a load balancer that is trusted with that, whom its header names.
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::net::TcpStream;

use super::admittance::RefusalReason;
use super::approach::within;
use super::session_table::Registration;
use super::tally::Refusal;
use crate::proto::proxy_protocol::{Header, HeaderError, MAX_V2};

/// How long a load balancer may take over its header. It sends it with the first segment; where that is lost, once more
/// after 1 and 3 s.
pub(super) const HEADER_FOR: Duration = Duration::from_secs(5);

/// A client and how it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// Whose session it is.
    pub(super) client: SocketAddr,
    /// Where the client has connected to, as far as that is known.
    pub(super) reached: Option<SocketAddr>,
    /// The load balancer in between.
    pub(super) proxy: Option<SocketAddr>,
}

/// Why nobody has come.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArrivalError {
    /// Its bytes.
    #[error("{0}; let the load balancer send one, or take its address out of `proxy_protocol_from`")]
    Header(#[from] HeaderError),
    #[error(
        "no PROXY protocol header within {HEADER_FOR:?}; let the load balancer send one, or take its address out of `proxy_protocol_from`"
    )]
    Late,
    #[error("the connection was lost inside its PROXY protocol header")]
    Lost,
    /// A health check that only connects: no session was meant.
    #[error("the connection was closed without a byte")]
    Nothing,
}

impl RefusalReason for ArrivalError {
    fn kind(&self) -> Refusal {
        Refusal::ProxyHeader
    }

    fn detail(&self) -> u8 {
        match self {
            Self::Header(HeaderError::Missing) => 0,
            Self::Header(HeaderError::Broken(_)) => 1,
            Self::Header(HeaderError::TooLong(most)) => 5 + u8::from(*most == MAX_V2),
            Self::Late => 2,
            Self::Lost => 3,
            Self::Nothing => 4,
        }
    }
}

impl Arrival {
    /// One without anybody in between.
    pub(super) fn direct(peer: SocketAddr) -> Self {
        Self { client: peer, reached: None, proxy: None }
    }

    /// What a real server is told of it.
    pub(super) fn header(&self) -> Header {
        match self.reached {
            Some(destination) => Header::Proxied { source: self.client, destination },
            None => Header::Local,
        }
    }
}

/// Hears who it is from a peer whose connections begin with a header, and takes no byte beyond that.
pub(super) async fn heed_header(
    stream: &TcpStream,
    peer: SocketAddr,
    registration: &Registration,
) -> Result<Arrival, ArrivalError> {
    let header = within(registration, HEADER_FOR, read_header(stream)).await.ok_or(ArrivalError::Late)??;
    Ok(match header {
        Header::Proxied { source, destination } => {
            Arrival { client: source, reached: Some(destination), proxy: Some(peer) }
        }
        Header::Local => Arrival::direct(peer),
    })
}

async fn read_header(stream: &TcpStream) -> Result<Header, ArrivalError> {
    let mut known = Vec::new();
    poll_fn(|cx| {
        loop {
            let mut bytes = [MaybeUninit::uninit(); MAX_V2];
            let mut buffer = ReadBuf::uninit(&mut bytes);
            // Where the header ends is known only when it is read; what follows may be for a TLS stack.
            match ready!(stream.poll_peek(cx, &mut buffer)) {
                Ok(0) if known.is_empty() => return Poll::Ready(Err(ArrivalError::Nothing)),
                Ok(0) | Err(_) => return Poll::Ready(Err(ArrivalError::Lost)),
                Ok(_) => {}
            }
            let before = known.len();
            known.extend_from_slice(buffer.filled());
            let header = Header::read(&known)?;
            let used = header.map_or(known.len(), |(_, length)| length);
            if take(stream, used - before).is_err() {
                return Poll::Ready(Err(ArrivalError::Lost));
            }
            if let Some((header, _)) = header {
                return Poll::Ready(Ok(header));
            }
        }
    })
    .await
}

/// Takes bytes that are known to be there.
fn take(stream: &TcpStream, mut count: usize) -> io::Result<()> {
    let mut bytes = [0; MAX_V2];
    while count > 0 {
        match stream.try_read(&mut bytes[..count.min(MAX_V2)])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            taken => count -= taken,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::super::now;
    use super::super::session_table::SessionTable;
    use super::*;

    /// Two ends of a connection, the peer's first.
    async fn connection() -> (TcpStream, TcpStream, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (peer, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (accepted, address) = accepted.unwrap();
        (peer.unwrap(), accepted, address)
    }

    #[tokio::test]
    async fn a_header_in_any_pieces_is_taken_and_not_a_byte_more() {
        let source: SocketAddr = "192.0.2.7:40000".parse().unwrap();
        let destination: SocketAddr = "198.51.100.10:2811".parse().unwrap();
        let table = Arc::new(SessionTable::new(now()));
        let written = [
            b"PROXY TCP4 192.0.2.7 198.51.100.10 40000 2811\r\n".to_vec(),
            Header::Proxied { source, destination }.write(crate::proto::proxy_protocol::Version::V2),
        ];
        for header in written {
            for cut in [0, 1, 12, 16, header.len() - 1] {
                let (mut peer, mut accepted, address) = connection().await;
                peer.set_nodelay(true).unwrap();
                let registration = table.register();
                let (first, second) = header.split_at(cut);
                let (arrival, ()) = tokio::join!(heed_header(&accepted, address, &registration), async {
                    peer.write_all(first).await.unwrap();
                    tokio::task::yield_now().await;
                    peer.write_all(&[second, b"\x16USER x\r\n"].concat()).await.unwrap();
                });
                let arrival = arrival.unwrap();
                assert_eq!(arrival.client, source);
                assert_eq!((arrival.reached, arrival.proxy), (Some(destination), Some(address)));
                let mut rest = [0; 9];
                accepted.read_exact(&mut rest).await.unwrap();
                assert_eq!(&rest, b"\x16USER x\r\n");
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_told_apart() {
        let table = Arc::new(SessionTable::new(now()));
        for (bytes, expected) in [
            (&b"USER anonymous\r\n"[..], "there is no PROXY protocol header; let"),
            (b"PROXY TCP4 x\r\n", "the PROXY protocol header is broken: it is not a family, two"),
            (b"PROXY TCP4 192.0.2.7", "the connection was lost inside"),
            (b"", "the connection was closed without a byte"),
        ] {
            let (mut peer, accepted, address) = connection().await;
            peer.write_all(bytes).await.unwrap();
            drop(peer);
            let error = heed_header(&accepted, address, &table.register()).await.unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[tokio::test]
    async fn the_proxys_own_connection_is_its_own() {
        let table = Arc::new(SessionTable::new(now()));
        let (mut peer, accepted, address) = connection().await;
        peer.write_all(b"PROXY UNKNOWN\r\n").await.unwrap();
        let arrival = heed_header(&accepted, address, &table.register()).await.unwrap();
        assert_eq!((arrival.client, arrival.proxy), (address, None));
        assert_eq!(arrival.header(), Header::Local);
    }
}

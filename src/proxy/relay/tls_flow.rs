//! A data connection that is TLS on the client's side (PROT P), the server's, or both. Towards the client the door is the
//! TLS server, whoever has connected (RFC 4217 section 7).
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::data_stream::{Buffered, DataStream};
use super::flow::Flow;
use super::state::{Fate, FlowEnd, Ticket};
use crate::proto::ftp::Direction;
use crate::tls::{Acceptor, SessionConnector};

/// How long a handshake on a data connection may take: the peer has connected, and wants its file.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(30);

/// Carries bytes between the two until the end. `private` is the client's side. Dropping either connection resets it.
pub(super) async fn run(
    client: TcpStream,
    private: bool,
    server: TcpStream,
    payload: Option<Direction>,
    ticket: &mut Ticket,
) -> FlowEnd {
    let acceptor = ticket.state.service.acceptor.clone();
    let connector = ticket.state.connector.clone();
    // At once, for a server may say 150 only when its own has ended, and a client may begin only then.
    let both = async {
        tokio::try_join!(accept(client, private, acceptor.as_deref()), connect(server, connector.as_deref()))
    };
    let over = |fate| matches!(fate, Fate::Failed | Fate::Lost | Fate::Cut);
    let (client, server) = match ticket.unless(over, timeout(HANDSHAKE_WITHIN, both)).await {
        None => return FlowEnd::Cut,
        Some(Ok(Ok(both))) => both,
        Some(Ok(Err(why))) => return FlowEnd::Unreached(why),
        Some(Err(_)) => return FlowEnd::Unreached(format!("no TLS within {HANDSHAKE_WITHIN:?}")),
    };
    // Nobody can cut a file that goes the other way by ending a direction in which there is none.
    let up = Buffered::new(payload != Some(Direction::Download));
    let down = Buffered::new(payload != Some(Direction::Upload));
    Flow::new(client, server, up, down, payload).run(ticket).await
}

async fn accept(client: TcpStream, private: bool, acceptor: Option<&Acceptor>) -> Result<DataStream, String> {
    if !private {
        return Ok(DataStream::Clear(client));
    }
    let failed = |error: &dyn std::fmt::Display| format!("no TLS with the client: {error}");
    let acceptor = acceptor.ok_or_else(|| failed(&"there is no certificate"))?;
    let stream = acceptor.accept_data(client).await.map_err(|error| failed(&error))?;
    Ok(DataStream::Tls(Box::new(stream.into())))
}

async fn connect(server: TcpStream, connector: Option<&SessionConnector>) -> Result<DataStream, String> {
    let Some(connector) = connector else { return Ok(DataStream::Clear(server)) };
    let stream =
        connector.connect(server).await.map_err(|error| format!("no TLS with the server: {error}"))?;
    Ok(DataStream::Tls(Box::new(stream.into())))
}

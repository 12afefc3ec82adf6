//! A data connection that is TLS on the client's side (PROT P), the server's, or both. Towards the client the door is the
//! TLS server, whoever has connected (RFC 4217 section 7).
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::data_stream::{Buffered, DataStream};
use super::flow::Flow;
use super::state::{Fate, FlowEnd, Ticket};
use crate::proto::ftp::Direction;
use crate::tls::Acceptor;

/// How long a handshake on a data connection may take: the peer has connected, and wants its file.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(30);

/// Carries bytes between a client that is about to begin a handshake and the server, until the end. Dropping either
/// connection resets it.
pub(super) async fn run(
    client: TcpStream,
    server: TcpStream,
    payload: Option<Direction>,
    ticket: &mut Ticket,
) -> FlowEnd {
    let acceptor = ticket.state.service.acceptor.clone();
    let over = |fate| matches!(fate, Fate::Failed | Fate::Lost | Fate::Cut);
    let client =
        match ticket.unless(over, timeout(HANDSHAKE_WITHIN, accept(client, acceptor.as_deref()))).await {
            None => return FlowEnd::Cut,
            Some(Ok(Ok(stream))) => stream,
            Some(Ok(Err(why))) => return FlowEnd::Unreached(format!("no TLS with the client: {why}")),
            Some(Err(_)) => {
                return FlowEnd::Unreached(format!("no TLS with the client within {HANDSHAKE_WITHIN:?}"));
            }
        };
    // Nobody can cut a file that goes the other way by ending a direction in which there is none.
    let up = Buffered::new(payload != Some(Direction::Download));
    let down = Buffered::new(payload != Some(Direction::Upload));
    Flow::new(client, DataStream::Clear(server), up, down, payload).run(ticket).await
}

async fn accept(client: TcpStream, acceptor: Option<&Acceptor>) -> Result<DataStream, String> {
    let Some(acceptor) = acceptor else { return Err("there is no certificate".into()) };
    let stream = acceptor.accept_data(client).await.map_err(|error| error.to_string())?;
    Ok(DataStream::Tls(Box::new(stream.into())))
}

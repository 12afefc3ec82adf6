//! Accepting clients.
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::approach::ApproachError;
use super::served_session::ServedSession;
use super::service::Service;
use super::session_table::SessionTable;
use super::{journal, now};
use crate::sys::socket::{BACKLOG, turn_away};

/// How long to leave clients in the kernel's queue when a connection cannot be accepted: descriptors or memory are
/// short, and trying again at once would only burn the processor that the running sessions need.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How a session begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Entrance {
    /// With the greeting.
    Clear,
    /// With a TLS handshake.
    ImplicitTls,
    /// As the client and the server like: nothing is read.
    Plain,
}

/// Who has opened a listener.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Origin {
    Own,
    /// The service manager, which holds it open: the next daemon has the clients that wait in its queue.
    Passed,
}

/// Whom clients come to, and how.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) service: Arc<Service>,
    pub(super) entrance: Entrance,
}

/// Accepts until it is not open any more; then takes what is left in the queue, for closing the listener would reset it.
/// Each client comes to the target that there is at its turn.
pub(super) async fn accept(
    listener: TcpListener,
    origin: Origin,
    target: Arc<ArcSwap<Target>>,
    table: Arc<SessionTable>,
    mut open: watch::Receiver<bool>,
) {
    let mut closing = pin!(open.wait_for(|open| !open));
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = &mut closing => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, client)) => {
                failing = false;
                admit(stream, client, &target.load(), &table);
            }
            // The client has given up in the queue.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if !failing {
                    journal::cannot_accept(&target.load().service, &error);
                }
                failing = true;
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    if origin == Origin::Passed {
        return;
    }
    let Target { service, entrance } = (*target.load_full()).clone();
    // Asked directly: tokio knows only what the kernel had told it when it looked last.
    let Ok(listener) = listener.into_std() else { return };
    // No more than the queue held: clients that go on coming must not keep the door. The sessions of this thread have
    // their turn in between.
    for _ in 0..BACKLOG {
        match listener.accept() {
            Ok((stream, client)) => {
                turn_away(&stream, said_in(entrance, &ApproachError::Draining.reply(&service)).as_bytes());
                journal::refused(&service, client, &ApproachError::Draining);
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
            Err(_) => break,
        }
        tokio::task::yield_now().await;
    }
}

/// Nothing is said in clear to a client that waits for a handshake.
fn said_in(entrance: Entrance, reply: &str) -> &str {
    if entrance == Entrance::Clear { reply } else { "" }
}

fn admit(stream: TcpStream, peer: SocketAddr, target: &Target, table: &Arc<SessionTable>) {
    let Target { service, entrance } = target;
    let admittance = &service.admittance;
    // Whom a load balancer brings is not known yet.
    let counted = if service.expects_header(peer.ip()) {
        admittance.admit_proxy(peer.ip()).map(|()| None)
    } else {
        admittance.admit_client(peer.ip(), now())
    };
    let admitted =
        counted.and_then(|counted| Ok((counted, admittance.take_places(&service.virtual_server)?)));
    match admitted {
        Ok((counted, places)) => {
            let session =
                ServedSession::new(Arc::clone(service), *entrance, table, places, counted, stream, peer);
            tokio::spawn(session);
        }
        Err(refusal) => {
            turn_away(&stream, said_in(*entrance, refusal.reply()).as_bytes());
            journal::refused(service, peer, &refusal);
        }
    }
}

//! The tasks of a relay: who connects is looked at, the other side is dialled, and the two become a flow.
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::dial::dial;
use super::flow::Flow;
use super::listeners::Listeners;
use super::state::{Fate, FlowEnd, State, Ticket, UploadEnd};
use super::tls_flow;
use crate::proto::ftp::{Connections, Direction, Peers, RelayAnswer, Side};
use crate::proxy::session_table::SessionTable;

/// How long a client may take to connect once the server waits for it. A client connects before it sends its command or
/// with the reply; the server's own time-out does not run any more, for the door has connected to it.
const CLIENT_CONNECTS_WITHIN: Duration = Duration::from_secs(60);

/// How long a connection is looked for whose server has said already that all is sent: it is in the queue, or nowhere.
const SERVER_HAS_CONNECTED: Duration = Duration::from_secs(1);

/// How long a whole file waits for a client whose control connection has gone: its data connection was on the way.
const ORPHAN_IS_FETCHED_WITHIN: Duration = Duration::from_secs(10);

/// Connections of one session at once, whatever number of transfers they are of. `-p` beyond some dozens is no faster
/// anywhere, and each takes two descriptors.
const MAX_CONNECTIONS: usize = 512;

/// What the tasks of a relay need to know.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) side: Side,
    pub(super) connections: Connections,
    pub(super) direction: Direction,
    pub(super) peers: Peers,
    /// One a port.
    pub(super) targets: Vec<SocketAddr>,
    /// From where the other side is dialled.
    pub(super) source: SocketAddr,
    /// Where connections to addresses that may move are noted.
    pub(super) table: Option<Arc<SessionTable>>,
}

/// Serves a relay until its connection has ended, or nothing more is to be accepted.
pub(super) async fn serve(listeners: Listeners, plan: Plan, mut ticket: Ticket) {
    match plan.connections {
        Connections::One => {
            let end = serve_one(listeners, &plan, &mut ticket).await;
            tell_if_broken(plan.direction, &end, &ticket.state);
            ticket.close(end);
        }
        Connections::Many => serve_many(listeners, plan, &mut ticket).await,
    }
}

/// Tells the session of an upload that was not passed on to its end: not every server takes a reset for a failure.
fn tell_if_broken(direction: Direction, end: &FlowEnd, state: &State) {
    let whole = matches!(end, FlowEnd::Complete | FlowEnd::Unreached(_))
        || state.end_of_upload() == UploadEnd::Granted;
    if direction == Direction::Upload && !whole {
        state.answer(RelayAnswer::Broken(end.to_string()));
    }
}

async fn serve_one(mut listeners: Listeners, plan: &Plan, ticket: &mut Ticket) -> FlowEnd {
    let joined = match plan.side {
        Side::Client => one_from_client(&mut listeners, plan, ticket).await,
        Side::Server => one_from_server(&mut listeners, plan, ticket).await,
    };
    drop(listeners);
    match joined {
        Ok((accepted, dialled)) => join(accepted, dialled, plan, ticket).await,
        Err(end) => end,
    }
}

type Pair = (TcpStream, TcpStream);

async fn one_from_client(
    listeners: &mut Listeners,
    plan: &Plan,
    ticket: &mut Ticket,
) -> Result<Pair, FlowEnd> {
    let state = Arc::clone(&ticket.state);
    let dialled =
        ticket.unless(|fate| fate != Fate::Free, reach(&state, plan, 0)).await.ok_or(FlowEnd::Cut)?;
    let dialled = match dialled {
        Ok(stream) => stream,
        Err(text) => {
            state.answer(RelayAnswer::Failed(text.clone()));
            return Err(FlowEnd::Unreached(text));
        }
    };
    state.answer(RelayAnswer::Connected);
    // What waits in the server's connection when the server is done is a whole file; a client that has got its 226 before
    // it has connected comes for it.
    let over = |fate| match fate {
        Fate::Free => false,
        Fate::Complete => plan.direction == Direction::Upload,
        Fate::Orphaned | Fate::Failed | Fate::Lost | Fate::Cut => true,
    };
    let waiting = timeout(CLIENT_CONNECTS_WITHIN, listeners.accept(&state, &plan.peers));
    let mut came = ticket.unless(over, waiting).await;
    if came.is_none() && plan.direction == Direction::Download && state.fate() == Fate::Orphaned {
        let waiting = timeout(ORPHAN_IS_FETCHED_WITHIN, listeners.accept(&state, &plan.peers));
        came = ticket.unless(|fate| fate == Fate::Cut, waiting).await;
    }
    match came {
        None => Err(FlowEnd::Cut),
        Some(Ok((accepted, _))) => Ok((accepted, dialled)),
        Some(Err(_)) => Err(FlowEnd::NobodyCame),
    }
}

async fn one_from_server(
    listeners: &mut Listeners,
    plan: &Plan,
    ticket: &mut Ticket,
) -> Result<Pair, FlowEnd> {
    let state = Arc::clone(&ticket.state);
    let waiting = listeners.accept(&state, &plan.peers);
    let accepted = match ticket.unless(|fate| fate != Fate::Free, waiting).await {
        Some(accepted) => Some(accepted),
        // Whoever has sent a file has connected before, and its last word was quicker.
        None if matches!(state.fate(), Fate::Complete | Fate::Orphaned) => {
            timeout(SERVER_HAS_CONNECTED, listeners.accept(&state, &plan.peers)).await.ok()
        }
        None => None,
    };
    let (accepted, _) = accepted.ok_or(FlowEnd::Cut)?;
    let over = |fate| matches!(fate, Fate::Failed | Fate::Lost | Fate::Cut);
    match ticket.unless(over, reach(&state, plan, 0)).await {
        None => Err(FlowEnd::Cut),
        Some(Ok(dialled)) => Ok((accepted, dialled)),
        Some(Err(text)) => Err(FlowEnd::Unreached(text)),
    }
}

/// Returns when no connection is to be accepted any more; those that were live on.
async fn serve_many(mut listeners: Listeners, plan: Plan, ticket: &mut Ticket) {
    let state = Arc::clone(&ticket.state);
    let plan = Arc::new(plan);
    while let Some((accepted, port)) =
        ticket.unless(|fate| fate != Fate::Free, listeners.accept(&state, &plan.peers)).await
    {
        // The acceptors count, too.
        if state.of_session() > MAX_CONNECTIONS {
            state.service.lasting.relaying.refused.fetch_add(1, Relaxed);
            let end = FlowEnd::Unreached(format!("the session has more than {MAX_CONNECTIONS} connections"));
            break_if_upload(plan.direction, &end, &state);
            continue;
        }
        let (plan, state, mut ticket) = (Arc::clone(&plan), Arc::clone(&state), state.ticket());
        tokio::spawn(async move {
            let over = |fate| fate != Fate::Free;
            let end = match ticket.unless(over, reach(&state, &plan, port)).await {
                None => FlowEnd::Cut,
                Some(Ok(dialled)) => join(accepted, dialled, &plan, &mut ticket).await,
                Some(Err(text)) => FlowEnd::Unreached(text),
            };
            break_if_upload(plan.direction, &end, &state);
            ticket.close(end);
        });
    }
}

/// Breaks an upload of which one connection has not reached the server: that would wait for the end of a connection of which it
/// has never heard, and the client for the server's word. Both hear when the others break; if there are none, the session has to
/// know.
fn break_if_upload(direction: Direction, end: &FlowEnd, state: &State) {
    if direction == Direction::Upload && matches!(end, FlowEnd::Unreached(_)) {
        state.answer(RelayAnswer::Broken(end.to_string()));
        state.decree(Fate::Lost);
    }
}

async fn join(accepted: TcpStream, dialled: TcpStream, plan: &Plan, ticket: &mut Ticket) -> FlowEnd {
    let (client, server) = match plan.side {
        Side::Client => (accepted, dialled),
        Side::Server => (dialled, accepted),
    };
    let _noted = plan.table.as_ref().and_then(|table| table.note_data_connection(&client));
    let payload = (plan.connections == Connections::One).then_some(plan.direction);
    if plan.peers.private || ticket.state.connector.is_some() {
        tls_flow::run(client, plan.peers.private, server, payload, ticket).await
    } else {
        Flow::splice(client, server, payload).run(ticket).await
    }
}

async fn reach(state: &State, plan: &Plan, port: usize) -> Result<TcpStream, String> {
    let Some(&target) = plan.targets.get(port) else { return Err("no address to connect to".into()) };
    let live = state.service.lasting.relaying.ports.live();
    let reached = dial(plan.peers.client, plan.source, target, live, state.service.timeouts.connect).await;
    reached.map_err(|why| match plan.side {
        Side::Client => {
            state.server.stats.data_failures.fetch_add(1, Relaxed);
            format!("the server's data connection: {why}")
        }
        Side::Server => format!("the client's data connection: {why}"),
    })
}

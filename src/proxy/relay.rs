//! Data connections that cross the door, as their session sees them.
//!
//! ```text
//!   Listen ─▶ listeners        ports, watched by the session's own task until a transfer begins
//!   Start  ─▶ acceptor ─▶ dial ─▶ flow ─▶ flow ─▶ …     one task each, on the session's thread
//!   Finish, Close, the session's end ─▶ Fate ─▶ all of them
//!
//!   Expect ─▶ carried ─▶ KernelPath      connections that pass the door by
//! ```
//!
//! Orders come from the session machine (`proto::ftp::relay`), answers go back to it. A transfer is in the log when its
//! connection has ended, which may be after its last reply, and after the session.
mod acceptor;
mod carried;
mod data_stream;
mod dial;
mod flow;
mod last_word;
mod lingering;
mod listeners;
mod pipe_pool;
mod ports;
mod splice;
mod state;
#[cfg(test)]
mod tests;
mod tls_flow;

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Waker};

use super::control_stream::ControlStream;
use super::service::Service;
use super::session_table::SessionTable;
use crate::balance::{Expectation, Placement, RealServer};
use crate::proto::ftp::{
    Connections, Direction, Peers, RelayAnswer, RelayId, RelayRequest, Side, TransferRecord,
};
use crate::tls::SessionConnector;
use acceptor::Plan;
use carried::{Call, Carried};
use last_word::LastWord;
pub(super) use lingering::Lingering;
use listeners::Listeners;
pub(crate) use ports::LivePorts;
use ports::PortPool;
use state::{Fate, State, UploadEnd};

/// Relays of one session: one that is used, and those whose last bytes are still under way to a slow client.
const MAX_RELAYS: usize = 64;

/// What the relays of a virtual server share.
#[derive(Debug)]
pub(crate) struct Relaying {
    pub(crate) ports: Arc<PortPool>,
    /// Connections of those who may not.
    pub(crate) strangers: AtomicU64,
    /// Connections beyond what one session may have.
    pub(crate) refused: AtomicU64,
    /// It has been said that none can be accepted, and none was since.
    short: AtomicBool,
}

/// The relays of one session. Dropped, everything that has not ended is reset.
#[derive(Debug)]
pub(super) struct Relays {
    service: Arc<Service>,
    server: Arc<RealServer>,
    client: IpAddr,
    /// The door's end of the client's control connection, unless that is gone.
    to_client: Option<SocketAddr>,
    /// The door's end of the server's.
    to_server: SocketAddr,
    /// Where the server's side is TLS.
    connector: Option<Arc<SessionConnector>>,
    /// Where connections of clients are noted.
    table: Option<Arc<SessionTable>>,
    relays: Vec<Relay>,
    answers: Vec<(RelayId, RelayAnswer)>,
    /// The control connection is over.
    ended: bool,
    /// Of the server on an upload that its client has left.
    last_word: Option<LastWord>,
    /// Connections and acceptors of all relays.
    tasks: Arc<AtomicUsize>,
    /// Connections that the kernel carries.
    carried: Carried,
    /// A task has something to say.
    news: Arc<AtomicBool>,
    waker: Waker,
}

#[derive(Debug)]
struct Relay {
    id: RelayId,
    side: Side,
    /// Until the acceptor has them.
    listeners: Option<Listeners>,
    /// Once it is started.
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    state: Arc<State>,
    connections: Connections,
    direction: Direction,
    /// What the server has said of its last transfer.
    complete: Option<bool>,
    /// No further transfer will use it.
    closed: bool,
    /// Transfers whose lines wait for the end of the connection.
    records: Vec<TransferRecord>,
}

/// What a log line says of a relayed transfer's data.
#[derive(Debug)]
pub(super) struct Moved {
    pub(super) to_server: u64,
    pub(super) to_client: u64,
    /// How the connections ended, if they have.
    pub(super) end: Option<String>,
}

impl Relaying {
    pub(super) fn new(ports: RangeInclusive<u16>, live: Arc<LivePorts>) -> Self {
        Self {
            ports: PortPool::new(ports, live),
            strangers: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            short: AtomicBool::new(false),
        }
    }
}

impl Relays {
    /// `waker` is the session's.
    pub(super) fn new(
        service: Arc<Service>,
        server: Arc<RealServer>,
        client: IpAddr,
        to_client: Option<SocketAddr>,
        to_server: SocketAddr,
        waker: Waker,
    ) -> Self {
        let news = Arc::new(AtomicBool::new(false));
        let (relays, answers) = (Vec::new(), Vec::new());
        Self {
            service,
            server,
            client,
            to_client,
            to_server,
            connector: None,
            table: None,
            relays,
            answers,
            ended: false,
            last_word: None,
            tasks: Arc::default(),
            carried: Carried::default(),
            news,
            waker,
        }
    }

    /// The same where data connections to the server are TLS.
    pub(super) fn over(mut self, connector: Option<Arc<SessionConnector>>) -> Self {
        self.connector = connector;
        self
    }

    /// The same where connections of clients are to be noted.
    pub(super) fn noted_in(mut self, table: Arc<SessionTable>) -> Self {
        self.table = Some(table);
        self
    }

    /// Does what the machine asks for; what has an answer gets it now or later in [`Relays::take_answer`].
    pub(super) fn handle(&mut self, request: RelayRequest) {
        match request {
            RelayRequest::Listen { id, side, ports } => {
                let answer = match self.listen(id, side, ports) {
                    Ok(addresses) => RelayAnswer::Listening(addresses),
                    Err(why) => RelayAnswer::Failed(why),
                };
                self.answers.push((id, answer));
            }
            RelayRequest::Start { id, targets, connections, direction, peers } => {
                self.start(id, targets, connections, direction, peers);
            }
            RelayRequest::Finish { id, complete } => {
                if let Some(running) = self.find(id).and_then(|relay| relay.running.as_mut()) {
                    running.complete = Some(complete);
                    running.closed |= running.connections == Connections::One;
                    running.settle();
                }
            }
            RelayRequest::Expect { id, port, from_anywhere } => {
                let call = Call { news: Arc::clone(&self.news), waker: self.waker.clone() };
                let client = (!from_anywhere).then_some(self.client);
                let at = self.to_client.map(|address| SocketAddr::new(address.ip().to_canonical(), port));
                let path = self.service.kernel_path.as_ref().zip(at);
                let expected = path.map(|(path, at)| {
                    (Arc::clone(path), Expectation { server: self.server.address(), client, at })
                });
                self.carried.expect(id, expected, call);
            }
            RelayRequest::Close { id } => {
                self.carried.close(id);
                if let Some(relay) = self.find(id) {
                    relay.listeners = None;
                    if let Some(running) = &mut relay.running {
                        running.closed = true;
                        running.settle();
                    }
                }
            }
        }
        self.forget();
    }

    /// What the machine is to be told.
    pub(super) fn take_answer(&mut self) -> Option<(RelayId, RelayAnswer)> {
        if self.answers.is_empty() && self.news.load(Relaxed) {
            self.answers.extend(self.carried.take_answer());
            for relay in &self.relays {
                if let Some(answer) = relay.running.as_ref().and_then(|running| running.state.take_answer()) {
                    self.answers.push((relay.id, answer));
                }
            }
        }
        if self.answers.is_empty() { None } else { Some(self.answers.remove(0)) }
    }

    /// Takes in who connects before a transfer has begun.
    pub(super) fn receive(&mut self) {
        let mut cx = Context::from_waker(&self.waker);
        for relay in self.relays.iter_mut().filter(|relay| relay.side == Side::Client) {
            if let Some(listeners) = &mut relay.listeners {
                listeners.receive(&self.service, self.client, &mut cx);
            }
        }
    }

    /// Takes a transfer that has ended on the control connection, and gives it back with what was carried when its data
    /// connection has ended, too: at once, or from [`Relays::take_ended`].
    pub(super) fn end_transfer(&mut self, record: TransferRecord) -> Option<(TransferRecord, Moved)> {
        let relay = record.relay.and_then(|id| self.find(id));
        let Some(running) = relay.and_then(|relay| relay.running.as_mut()) else {
            return Some((record, Moved { to_server: 0, to_client: 0, end: None }));
        };
        if record.reply.is_none() {
            // What the server has said was of the transfer before it, on the same connections.
            running.complete = None;
        }
        if running.is_delivered() {
            return Some((record, running.moved()));
        }
        running.records.push(record);
        None
    }

    /// A transfer whose data connection has ended after it.
    pub(super) fn take_ended(&mut self) -> Option<(TransferRecord, Moved)> {
        if !self.news.load(Relaxed) {
            return None;
        }
        let ended = self.relays.iter_mut().find_map(|relay| {
            let running = relay.running.as_mut()?;
            if running.records.is_empty() || !running.is_delivered() {
                return None;
            }
            Some((running.records.remove(0), running.moved()))
        });
        if ended.is_none() {
            self.news.store(false, Relaxed);
            self.forget();
        }
        ended
    }

    /// Whether bytes of a transfer may be under way whose end would be noticed.
    pub(super) fn is_flowing(&self) -> bool {
        self.relays.iter().any(|relay| {
            let running = relay.running.as_ref();
            running
                .is_some_and(|running| running.connections == Connections::One && running.state.living() > 0)
        })
    }

    /// Whether an upload is under way whose end has not been passed on.
    pub(super) fn is_uploading(&self) -> bool {
        self.relays.iter().filter_map(|relay| relay.running.as_ref()).any(Running::is_unfinished_upload)
    }

    /// Whether the end of an upload is there, and waits for [`Relays::grant_end_of_upload`].
    pub(super) fn asks_to_end_upload(&self) -> bool {
        self.states().any(|state| state.end_of_upload() == UploadEnd::Asked)
    }

    /// The client is there, so the end of its data is the end of its file.
    pub(super) fn grant_end_of_upload(&self) {
        for state in self.states().filter(|state| state.end_of_upload() == UploadEnd::Asked) {
            state.grant_end_of_upload();
        }
    }

    /// Keeps the server's control connection until it has said what it makes of an upload that is cut. A Globus server
    /// whose control connection goes before it has met the RST logs what it has of the file as complete.
    pub(super) fn keep_server(&mut self, server: ControlStream, placement: Option<Placement>) {
        self.last_word = Some(LastWord::new(server, placement));
    }

    /// Waits for that word.
    fn poll_last_word(&mut self, cx: &mut Context<'_>) {
        if self.last_word.as_mut().is_some_and(|word| word.poll(cx).is_ready()) {
            self.last_word = None;
        }
    }

    fn states(&self) -> impl Iterator<Item = &State> {
        self.relays.iter().filter_map(|relay| Some(&*relay.running.as_ref()?.state))
    }

    /// The control connection is over: nothing more is accepted, and only what is whole goes on.
    pub(super) fn handle_session_end(&mut self) {
        self.ended = true;
        self.carried = Carried::default();
        for relay in &mut self.relays {
            relay.listeners = None;
            if let Some(running) = &mut relay.running {
                running.closed = true;
                let whole = running.complete == Some(true);
                running.state.decree(if whole { Fate::Orphaned } else { Fate::Lost });
            }
        }
        self.forget();
    }

    /// Resets whatever still flows.
    pub(super) fn cut(&mut self) {
        for relay in &mut self.relays {
            relay.listeners = None;
            if let Some(running) = &relay.running {
                running.state.decree(Fate::Cut);
            }
        }
    }

    /// Whether there is nothing left to wait for.
    pub(super) fn is_over(&self) -> bool {
        self.relays.is_empty() && self.last_word.is_none()
    }

    fn listen(&mut self, id: RelayId, side: Side, count: usize) -> Result<Vec<SocketAddr>, String> {
        if self.relays.len() >= MAX_RELAYS {
            return Err(format!("{MAX_RELAYS} data connections of this session have not ended"));
        }
        let to_client = self.to_client.ok_or("the client's control connection is gone")?;
        let local = match side {
            Side::Client => to_client,
            Side::Server => self.to_server,
        };
        let pool = &self.service.lasting.relaying.ports;
        let ports = (0..count).map(|_| pool.listen(local)).collect::<Result<Vec<_>, _>>()?;
        let listeners = Listeners::watch(ports).map_err(|error| format!("cannot listen: {error}"))?;
        let addresses = listeners.addresses();
        self.relays.push(Relay { id, side, listeners: Some(listeners), running: None });
        // From now on the session's task is woken when somebody comes.
        self.receive();
        Ok(addresses)
    }

    fn start(
        &mut self,
        id: RelayId,
        targets: Vec<SocketAddr>,
        connections: Connections,
        direction: Direction,
        peers: Peers,
    ) {
        let (service, server) = (Arc::clone(&self.service), Arc::clone(&self.server));
        let (to_client, to_server) = (self.to_client, self.to_server);
        let connector = self.connector.clone();
        let (tasks, news, table) = (Arc::clone(&self.tasks), Arc::clone(&self.news), self.table.clone());
        let state = State::new(service, server, connector, tasks, news, self.waker.clone());
        let relay = self.find(id).and_then(|relay| Some((relay.listeners.take()?, relay)));
        let (Some((listeners, relay)), Some(to_client)) = (relay, to_client) else {
            debug_assert!(false, "what starts has listened, and has not started before");
            self.answers.push((id, RelayAnswer::Failed("its port is closed".into())));
            return;
        };
        if relay.side == Side::Client && connections == Connections::One {
            state.owe_answer();
        }
        let source = match relay.side {
            Side::Client => to_server,
            Side::Server => to_client,
        };
        let plan = Plan { side: relay.side, connections, direction, peers, targets, source, table };
        tokio::spawn(acceptor::serve(listeners, plan, state.ticket()));
        relay.running = Some(Running {
            state,
            connections,
            direction,
            complete: None,
            closed: false,
            records: Vec::new(),
        });
    }

    fn find(&mut self, id: RelayId) -> Option<&mut Relay> {
        self.relays.iter_mut().find(|relay| relay.id == id)
    }

    /// Lets go of relays of which nothing is left but, of the last one, the counts for a transfer that the machine is about
    /// to tell of.
    fn forget(&mut self) {
        let last = if self.ended { None } else { self.relays.last().map(|relay| relay.id) };
        self.relays.retain(|relay| match &relay.running {
            None => relay.listeners.is_some(),
            Some(running) => running.lives() || last == Some(relay.id),
        });
    }
}

impl Drop for Relays {
    fn drop(&mut self) {
        self.cut();
    }
}

impl Running {
    /// Whether what was sent has gone out to its receiver, as far as can be known: connections of MODE E stay open.
    fn is_delivered(&self) -> bool {
        match self.connections {
            Connections::One => self.state.living() == 0,
            Connections::Many => !self.state.is_loaded(),
        }
    }

    fn is_unfinished_upload(&self) -> bool {
        (self.connections, self.direction) == (Connections::One, Direction::Upload)
            && self.complete.is_none()
            && self.state.living() > 0
            && self.state.end_of_upload() != UploadEnd::Granted
    }

    fn lives(&self) -> bool {
        !self.closed || !self.records.is_empty() || self.state.living() > 0
    }

    /// Tells the tasks, once no further transfer will come.
    fn settle(&self) {
        if self.closed {
            let failed = self.complete != Some(true);
            self.state.decree(if failed { Fate::Failed } else { Fate::Complete });
        }
    }

    fn moved(&self) -> Moved {
        let (to_server, to_client) = self.state.take_counts();
        Moved { to_server, to_client, end: self.state.take_end() }
    }
}

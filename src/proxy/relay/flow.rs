//! One data connection across the door: bytes both ways at once, and each side's end passed on as what it was.
//!
//! ```text
//!   client ──splice──▶ pipe ──splice──▶ server        FIN behind the last byte as FIN,
//!   client ◀──splice── pipe ◀──splice── server        anything else as RST on both sides
//! ```
//!
//! A socket that is dropped sends RST (`sys::data_socket`), so whatever ends a flow early cuts it visibly. A pipe belongs
//! to a flow only while bytes are inside.
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep};

use super::splice::Splice;
use super::state::{Fate, FlowEnd, Ticket, UploadEnd};
use crate::proto::ftp::{Direction, Side};
use crate::sys::data_socket;
use crate::sys::pipe::CAPACITY;

/// Bytes that a flow moves before others on its thread have their turn.
const TURN: usize = 2 * CAPACITY;

/// How long the receiver of a whole file may take to close its side once it has acknowledged all of it. As long as it has
/// not, the connection stays the door's: of one that is left to it the kernel soon gives up a receiver that pauses.
const FAREWELL: Duration = Duration::from_secs(10);

/// How long after the server's word that a transfer failed its own end of the data is waited for; the two come on
/// different connections.
const FAILED_GRACE: Duration = Duration::from_secs(2);

/// How long bytes may stay where they are once the session is over: longer than the pause of a minute that a busy disk
/// makes.
const STALLED_FOR: Duration = Duration::from_secs(120);

/// How long the kernel of a peer may acknowledge nothing while bytes wait for it, unless `idle_timeout` is shorter: as long
/// as the keepalive takes where none do. One that takes no bytes but lives answers the probes of its window.
const UNHEARD_FOR: Duration = Duration::from_secs(240);

/// A flow between two connections, through conduits of their kind.
#[derive(Debug)]
pub(super) struct Flow<S, C> {
    client: S,
    server: S,
    up: Half<C>,
    down: Half<C>,
    /// Where the end of the data is the end of the transfer: MODE S.
    payload: Option<Direction>,
    wait: Option<Wait>,
}

/// What bytes go through from one connection to the other.
pub(super) trait Conduit<S> {
    /// Takes what the source has sent; 0 is the end. To be called only when nothing is held.
    fn fill(&mut self, source: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<usize>>;

    /// Gives the sink some of the bytes that are held, as many as these, and returns how many it took.
    fn drain(&mut self, sink: &mut S, held: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>>;

    /// Passes the end on.
    fn finish(&mut self, sink: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// A connection, with TLS or without.
pub(super) trait DataConnection {
    fn tcp(&self) -> &TcpStream;
}

impl DataConnection for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

/// Bytes in one direction.
#[derive(Debug, Default)]
struct Half<C> {
    conduit: C,
    /// Bytes inside the conduit.
    held: usize,
    moved: u64,
    /// Those of them that are counted.
    counted: u64,
    stage: Stage,
    /// The source's end is not to be passed on yet.
    keeps_end: bool,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Stage {
    #[default]
    Flowing,
    /// The source has sent FIN; what came before it may be under way.
    Ended,
    /// The sink has got the FIN.
    Done,
}

/// What a flow that may not go on for ever waits for.
#[derive(Debug)]
struct Wait {
    kind: WaitKind,
    /// Bytes that had arrived when it began.
    delivered: u64,
    since: Instant,
    timer: Pin<Box<Sleep>>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum WaitKind {
    /// Until the receiver has acknowledged all, for which it may take so long without a step forward, and closes.
    Farewell(Duration),
    /// Until the bytes under way have arrived.
    Tail(Duration),
    /// Until the source ends by itself.
    Grace,
    /// Until a peer that bytes wait for takes them, or its kernel is found to be gone.
    Unheard(Duration),
}

/// A connection broke.
enum Broken {
    Source(io::Error),
    Sink(io::Error),
}

impl Flow<TcpStream, Splice> {
    pub(super) fn splice(client: TcpStream, server: TcpStream, payload: Option<Direction>) -> Self {
        Self::new(client, server, Splice::default(), Splice::default(), payload)
    }
}

impl<S: DataConnection, C: Conduit<S>> Flow<S, C> {
    /// `up` is the conduit from the client to the server.
    pub(super) fn new(client: S, server: S, up: C, down: C, payload: Option<Direction>) -> Self {
        Self { client, server, up: Half::new(up), down: Half::new(down), payload, wait: None }
    }

    /// Carries bytes until both ends have come, or one connection breaks.
    pub(super) async fn run(mut self, ticket: &mut Ticket) -> FlowEnd {
        std::future::poll_fn(|cx| self.poll(cx, ticket)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>, ticket: &mut Ticket) -> Poll<FlowEnd> {
        let fate = ticket.fate(cx);
        let is_upload = self.payload == Some(Direction::Upload);
        if fate == Fate::Cut || (fate == Fate::Lost && is_upload && self.up.stage != Stage::Done) {
            return Poll::Ready(FlowEnd::Cut);
        }
        let mut turn = TURN;
        self.up.keeps_end =
            is_upload && fate == Fate::Free && ticket.state.end_of_upload() != UploadEnd::Granted;
        let up = self.up.advance(&mut self.client, &mut self.server, cx, &mut turn);
        let up = up.map_err(|broken| broken.at(Side::Client, Side::Server));
        let down = self.down.advance(&mut self.server, &mut self.client, cx, &mut turn);
        let down = down.map_err(|broken| broken.at(Side::Server, Side::Client));
        ticket.state.count(self.up.take_count(), self.down.take_count());
        if self.up.has_kept_end() {
            ticket.state.ask_to_end_upload();
        }
        ticket.set_loaded(self.up.held + self.down.held > 0);
        match (up, down) {
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(FlowEnd::Complete),
            (Poll::Ready(Err(end)), _) | (_, Poll::Ready(Err(end))) => return Poll::Ready(self.after(end)),
            _ => {}
        }
        self.heed(fate, ticket.state.service.timeouts.idle, cx)
    }

    /// A source that breaks when its file has been passed on whole has broken nothing.
    fn after(&self, end: FlowEnd) -> FlowEnd {
        match (&end, self.payload) {
            (FlowEnd::Broken(Side::Client, _), Some(Direction::Upload)) if self.up.stage == Stage::Done => {
                FlowEnd::Complete
            }
            (FlowEnd::Broken(Side::Server, _), Some(Direction::Download))
                if self.down.stage == Stage::Done =>
            {
                FlowEnd::Complete
            }
            _ => end,
        }
    }

    /// What waits, and for how long it may.
    fn heed(&mut self, fate: Fate, idle: Duration, cx: &mut Context<'_>) -> Poll<FlowEnd> {
        let arrived = match self.payload {
            Some(Direction::Upload) => self.up.stage == Stage::Done,
            Some(Direction::Download) => self.down.stage == Stage::Done,
            None => false,
        };
        let kind = match fate {
            Fate::Cut => return Poll::Ready(FlowEnd::Cut),
            // A server may take hours over a file that it has; its client's connection costs nothing meanwhile.
            Fate::Free if arrived && self.payload == Some(Direction::Download) => {
                Some(WaitKind::Farewell(idle))
            }
            Fate::Free if self.up.held + self.down.held > 0 => Some(WaitKind::Unheard(idle.min(UNHEARD_FOR))),
            Fate::Free => None,
            Fate::Complete if arrived => Some(WaitKind::Farewell(idle)),
            _ if arrived => Some(WaitKind::Farewell(STALLED_FOR)),
            // Of MODE E, kept for a transfer that will not come.
            Fate::Complete if self.payload.is_none() => Some(WaitKind::Farewell(idle)),
            Fate::Orphaned if self.payload.is_none() => Some(WaitKind::Farewell(STALLED_FOR)),
            Fate::Complete => Some(WaitKind::Tail(idle)),
            Fate::Orphaned => Some(WaitKind::Tail(STALLED_FOR)),
            Fate::Failed | Fate::Lost if self.end_is_known() => Some(WaitKind::Tail(STALLED_FOR)),
            Fate::Failed => Some(WaitKind::Grace),
            Fate::Lost => return Poll::Ready(FlowEnd::Cut),
        };
        match kind {
            None => Poll::Pending,
            Some(kind) => self.wait(kind, cx),
        }
    }

    fn wait(&mut self, kind: WaitKind, cx: &mut Context<'_>) -> Poll<FlowEnd> {
        loop {
            let before = match &mut self.wait {
                Some(wait) if wait.kind == kind => {
                    ready!(wait.timer.as_mut().poll(cx));
                    Some((wait.delivered, wait.since))
                }
                _ => None,
            };
            let delivered = self.delivered();
            let mut wait = Wait::new(kind, delivered);
            match (before, kind) {
                (Some(_), WaitKind::Grace) => return Poll::Ready(FlowEnd::Cut),
                (Some((before, since)), WaitKind::Farewell(limit)) if delivered <= before => {
                    if self.is_acknowledged() {
                        self.leave();
                        return Poll::Ready(FlowEnd::Complete);
                    }
                    if since.elapsed() >= limit {
                        return Poll::Ready(FlowEnd::Stalled);
                    }
                    wait.since = since;
                }
                (Some((before, _)), WaitKind::Tail(_)) if delivered <= before => {
                    return Poll::Ready(FlowEnd::Stalled);
                }
                // What waits has waited since the last look.
                (Some((before, _)), WaitKind::Unheard(limit)) if delivered <= before => {
                    if let Some(side) = self.vanished(limit) {
                        let error =
                            io::Error::new(io::ErrorKind::TimedOut, "it acknowledges nothing any more");
                        return Poll::Ready(FlowEnd::Broken(side, error));
                    }
                }
                _ => {}
            }
            self.wait = Some(wait);
        }
    }

    /// Whether the end of the data has come, be it still unread.
    fn end_is_known(&self) -> bool {
        let up = self.up.stage != Stage::Flowing || data_socket::end_has_arrived(self.client.tcp());
        let down = self.down.stage != Stage::Flowing || data_socket::end_has_arrived(self.server.tcp());
        match self.payload {
            Some(Direction::Upload) => up,
            Some(Direction::Download) => down,
            None => up || down,
        }
    }

    /// The side that bytes wait for and whose kernel has not been heard of.
    fn vanished(&self, limit: Duration) -> Option<Side> {
        let unheard = |stream| matches!(data_socket::unheard_for(stream), Ok(Some(time)) if time >= limit);
        if self.down.held > 0 && unheard(self.client.tcp()) {
            Some(Side::Client)
        } else if self.up.held > 0 && unheard(self.server.tcp()) {
            Some(Side::Server)
        } else {
            None
        }
    }

    /// Whether nothing is under way to either side.
    fn is_acknowledged(&self) -> bool {
        let has_all = |stream| data_socket::unacknowledged(stream).is_ok_and(|bytes| bytes == 0);
        self.up.held + self.down.held == 0 && has_all(self.client.tcp()) && has_all(self.server.tcp())
    }

    /// Bytes that the peers' kernels have acknowledged.
    fn delivered(&self) -> u64 {
        // Of a connection that is broken it does not matter any more.
        let waiting = |stream| data_socket::unacknowledged(stream).map_or(0, |bytes| bytes as u64);
        (self.up.moved + self.down.moved)
            .saturating_sub(waiting(self.client.tcp()))
            .saturating_sub(waiting(self.server.tcp()))
    }

    /// Ends both connections in order, for the file has been passed on whole.
    fn leave(&self) {
        for (half, sink) in [(&self.up, self.server.tcp()), (&self.down, self.client.tcp())] {
            if half.stage != Stage::Done {
                // A connection that is gone already needs no FIN.
                let _ = data_socket::finish(sink);
            }
        }
    }
}

impl<C> Half<C> {
    fn new(conduit: C) -> Self {
        Self { conduit, held: 0, moved: 0, counted: 0, stage: Stage::Flowing, keeps_end: false }
    }

    /// Moves what there is, as far as the sink takes it, and no more than the turn allows. Done when the end has been
    /// passed on.
    fn advance<S>(
        &mut self,
        source: &mut S,
        sink: &mut S,
        cx: &mut Context<'_>,
        turn: &mut usize,
    ) -> Poll<Result<(), Broken>>
    where
        C: Conduit<S>,
    {
        loop {
            if self.held > 0 {
                let drained = ready!(self.conduit.drain(sink, self.held, cx)).map_err(Broken::Sink)?;
                self.held -= drained.min(self.held);
                self.moved += drained as u64;
                continue;
            }
            match self.stage {
                Stage::Done => return Poll::Ready(Ok(())),
                Stage::Ended if self.keeps_end => return Poll::Pending,
                Stage::Ended => {
                    ready!(self.conduit.finish(sink, cx)).map_err(Broken::Sink)?;
                    self.stage = Stage::Done;
                }
                Stage::Flowing if *turn == 0 => {
                    // Woken when the runtime has looked at every other connection.
                    let _ = pin!(yield_now()).poll(cx);
                    return Poll::Pending;
                }
                Stage::Flowing => {
                    self.held = ready!(self.conduit.fill(source, cx)).map_err(Broken::Source)?;
                    if self.held == 0 {
                        self.stage = Stage::Ended;
                    }
                    *turn = turn.saturating_sub(self.held);
                }
            }
        }
    }

    /// Nothing is left to pass on but the end, which may not be yet.
    fn has_kept_end(&self) -> bool {
        self.keeps_end && self.stage == Stage::Ended && self.held == 0
    }

    fn take_count(&mut self) -> u64 {
        self.moved - std::mem::replace(&mut self.counted, self.moved)
    }
}

impl Wait {
    fn new(kind: WaitKind, delivered: u64) -> Self {
        let limit = match kind {
            WaitKind::Farewell(_) => FAREWELL,
            WaitKind::Tail(limit) => limit,
            WaitKind::Grace => FAILED_GRACE,
            // The last acknowledgement may have come just after the last look.
            WaitKind::Unheard(limit) => limit / 2,
        };
        Self { kind, delivered, since: Instant::now(), timer: Box::pin(sleep(limit)) }
    }
}

impl Broken {
    fn at(self, source: Side, sink: Side) -> FlowEnd {
        match self {
            Self::Source(error) => FlowEnd::Broken(source, error),
            Self::Sink(error) => FlowEnd::Broken(sink, error),
        }
    }
}

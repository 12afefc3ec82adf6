//! What a session and the tasks of one of its relays tell each other.
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::balance::RealServer;
use crate::proto::ftp::{RelayAnswer, Side};

use super::super::service::Service;
use crate::tls::SessionConnector;

/// What is to become of connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Fate {
    /// The transfer goes on.
    Free = 0,
    /// The server has said that it is complete: what is under way arrives.
    Complete = 1,
    /// The same, and nobody is left to hear of it.
    Orphaned = 2,
    /// The server has said that it failed: whole is only what has an end.
    Failed = 3,
    /// The control connection is gone: the same, at once.
    Lost = 4,
    /// The door closes.
    Cut = 5,
}

/// Whether the end of an upload may be passed on. A client that is killed closes its connections in order, the control
/// connection first: only while that is open does the end of the data mean the end of the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum UploadEnd {
    Unseen = 0,
    /// The session is to look whether its client is there.
    Asked = 1,
    /// It is.
    Granted = 2,
}

/// How a connection ended.
#[derive(Debug)]
pub(super) enum FlowEnd {
    /// With the end of the data.
    Complete,
    /// The connection on this side broke.
    Broken(Side, io::Error),
    /// Nothing went forward any more.
    Stalled,
    /// Nobody connected.
    NobodyCame,
    /// The peer that the door was to connect to could not be reached.
    Unreached(String),
    /// The transfer had failed, or the session was over.
    Cut,
    /// A bug of ours.
    Panicked,
}

/// One relay, as its tasks see it.
#[derive(Debug)]
pub(super) struct State {
    pub(super) service: Arc<Service>,
    pub(super) server: Arc<RealServer>,
    /// Where the server's side is TLS.
    pub(super) connector: Option<Arc<SessionConnector>>,
    fate: AtomicU8,
    /// Bytes for the server that no log line has told of.
    to_server: AtomicU64,
    /// The same for the client.
    to_client: AtomicU64,
    /// Flows with bytes that the receiver has not taken.
    loaded: AtomicUsize,
    /// A step of [`UploadEnd`].
    end_of_upload: AtomicU8,
    /// The session waits for an answer.
    owes_answer: AtomicBool,
    /// Connections and acceptors of the session, those of its other relays included.
    of_session: Arc<AtomicUsize>,
    tasks: Mutex<Tasks>,
    /// Tells the session that there is something to hear.
    news: Arc<AtomicBool>,
    session: Waker,
}

#[derive(Debug, Default)]
struct Tasks {
    /// One place a task; empty before it has said how it is woken.
    wakers: Vec<Option<Waker>>,
    vacant: Vec<usize>,
    answer: Option<RelayAnswer>,
    /// The first end that was no good one, or else any.
    end: Option<FlowEnd>,
}

/// A task's place; dropped, the task is over.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) state: Arc<State>,
    place: usize,
    is_known: bool,
    is_loaded: bool,
    end: Option<FlowEnd>,
}

impl State {
    pub(super) fn new(
        service: Arc<Service>,
        server: Arc<RealServer>,
        connector: Option<Arc<SessionConnector>>,
        of_session: Arc<AtomicUsize>,
        news: Arc<AtomicBool>,
        session: Waker,
    ) -> Arc<Self> {
        Arc::new(Self {
            service,
            server,
            connector,
            fate: AtomicU8::new(Fate::Free as u8),
            end_of_upload: AtomicU8::new(UploadEnd::Unseen as u8),
            to_server: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
            loaded: AtomicUsize::new(0),
            owes_answer: AtomicBool::new(false),
            of_session,
            tasks: Mutex::default(),
            news,
            session,
        })
    }

    pub(super) fn fate(&self) -> Fate {
        match self.fate.load(Relaxed) {
            0 => Fate::Free,
            1 => Fate::Complete,
            2 => Fate::Orphaned,
            3 => Fate::Failed,
            4 => Fate::Lost,
            _ => Fate::Cut,
        }
    }

    /// Tells every task what is to become of its connections.
    pub(super) fn decree(&self, fate: Fate) {
        self.fate.store(fate as u8, Relaxed);
        self.wake_tasks();
    }

    /// Asks the session whether the end of an upload may be passed on; the task is woken when it may.
    pub(super) fn ask_to_end_upload(&self) {
        if self.end_of_upload() == UploadEnd::Unseen {
            self.end_of_upload.store(UploadEnd::Asked as u8, Relaxed);
            self.tell();
        }
    }

    pub(super) fn grant_end_of_upload(&self) {
        self.end_of_upload.store(UploadEnd::Granted as u8, Relaxed);
        self.wake_tasks();
    }

    pub(super) fn end_of_upload(&self) -> UploadEnd {
        match self.end_of_upload.load(Relaxed) {
            0 => UploadEnd::Unseen,
            1 => UploadEnd::Asked,
            _ => UploadEnd::Granted,
        }
    }

    fn wake_tasks(&self) {
        // Tasks of this thread, woken by themselves too; nothing is missed, for the lock orders both.
        for waker in self.lock().wakers.iter().flatten() {
            waker.wake_by_ref();
        }
    }

    /// Connections and acceptors that have not ended.
    pub(super) fn living(&self) -> usize {
        let tasks = self.lock();
        tasks.wakers.len() - tasks.vacant.len()
    }

    /// The same, of all relays of the session.
    pub(super) fn of_session(&self) -> usize {
        self.of_session.load(Relaxed)
    }

    /// Whether bytes wait inside the door.
    pub(super) fn is_loaded(&self) -> bool {
        self.loaded.load(Relaxed) > 0
    }

    pub(super) fn ticket(self: &Arc<Self>) -> Ticket {
        let mut tasks = self.lock();
        let place = tasks.vacant.pop().unwrap_or_else(|| {
            tasks.wakers.push(None);
            tasks.wakers.len() - 1
        });
        drop(tasks);
        self.of_session.fetch_add(1, Relaxed);
        Ticket { state: Arc::clone(self), place, is_known: false, is_loaded: false, end: None }
    }

    /// The session takes nothing from its client until it has been answered.
    pub(super) fn owe_answer(&self) {
        self.owes_answer.store(true, Relaxed);
    }

    pub(super) fn answer(&self, answer: RelayAnswer) {
        self.owes_answer.store(false, Relaxed);
        self.lock().answer = Some(answer);
        self.tell();
    }

    pub(super) fn take_answer(&self) -> Option<RelayAnswer> {
        self.lock().answer.take()
    }

    /// How its connections have ended, if one has since the last log line.
    pub(super) fn take_end(&self) -> Option<String> {
        self.lock().end.take().map(|end| end.to_string())
    }

    /// Counts bytes that have been taken over by the kernel of the other side's connection.
    pub(super) fn count(&self, to_server: u64, to_client: u64) {
        let stats = &self.server.stats;
        if to_server > 0 {
            self.to_server.fetch_add(to_server, Relaxed);
            stats.relayed_to_server.fetch_add(to_server, Relaxed);
        }
        if to_client > 0 {
            self.to_client.fetch_add(to_client, Relaxed);
            stats.relayed_to_client.fetch_add(to_client, Relaxed);
        }
    }

    /// Bytes for the server and for the client since the last log line.
    pub(super) fn take_counts(&self) -> (u64, u64) {
        (self.to_server.swap(0, Relaxed), self.to_client.swap(0, Relaxed))
    }

    fn tell(&self) {
        self.news.store(true, Relaxed);
        self.session.wake_by_ref();
    }

    /// A thread that died with the lock left whole values.
    fn lock(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// What is to become of the connection; the task is woken when that changes.
    pub(super) fn fate(&mut self, cx: &Context<'_>) -> Fate {
        if !self.is_known {
            // A task keeps its waker.
            self.is_known = true;
            let mut tasks = self.state.lock();
            if let Some(place) = tasks.wakers.get_mut(self.place) {
                *place = Some(cx.waker().clone());
            }
        }
        self.state.fate()
    }

    /// Whether bytes of the connection wait inside the door.
    pub(super) fn set_loaded(&mut self, is_loaded: bool) {
        if is_loaded && !self.is_loaded {
            self.state.loaded.fetch_add(1, Relaxed);
        } else if self.is_loaded && !is_loaded && self.state.loaded.fetch_sub(1, Relaxed) == 1 {
            self.state.tell();
        }
        self.is_loaded = is_loaded;
    }

    /// `future`, unless the fate becomes one that `ends` it.
    pub(super) async fn unless<F: Future>(
        &mut self,
        ends: impl Fn(Fate) -> bool,
        future: F,
    ) -> Option<F::Output> {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| {
            if ends(self.fate(cx)) {
                return Poll::Ready(None);
            }
            future.as_mut().poll(cx).map(Some)
        })
        .await
    }

    /// The task is over, and this is how.
    pub(super) fn close(mut self, end: FlowEnd) {
        self.end = Some(end);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let panicked = std::thread::panicking();
        self.set_loaded(false);
        let mut tasks = self.state.lock();
        if let Some(place) = tasks.wakers.get_mut(self.place) {
            *place = None;
        }
        tasks.vacant.push(self.place);
        let end = if panicked { Some(FlowEnd::Panicked) } else { self.end.take() };
        // Of what the session has ended itself it expects nothing more.
        if self.state.owes_answer.swap(false, Relaxed) && self.state.fate() == Fate::Free {
            let why = end.as_ref().map_or_else(|| "the door gave up".into(), ToString::to_string);
            tasks.answer = Some(RelayAnswer::Failed(why));
        }
        if let Some(end) = end
            && matches!(tasks.end, None | Some(FlowEnd::Complete))
        {
            tasks.end = Some(end);
        }
        drop(tasks);
        self.state.of_session.fetch_sub(1, Relaxed);
        if panicked {
            self.state.service.lasting.panics.fetch_add(1, Relaxed);
        }
        self.state.tell();
    }
}

impl fmt::Display for FlowEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Complete => f.write_str("complete"),
            Self::Broken(Side::Client, error) => write!(f, "the client's connection broke: {error}"),
            Self::Broken(Side::Server, error) => write!(f, "the server's connection broke: {error}"),
            Self::Stalled => f.write_str("stalled"),
            Self::NobodyCame => f.write_str("the client did not connect"),
            Self::Unreached(text) => f.write_str(text),
            Self::Cut => f.write_str("cut, as the transfer or the session had ended"),
            Self::Panicked => f.write_str("ended by a bug in gridfront; please report it"),
        }
    }
}

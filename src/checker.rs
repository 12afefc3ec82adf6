//! Health probes: each real server is asked, every `delay_loop`, whether it is fit for sessions.
//!
//! ```text
//!   run ──▶ one task a probe:
//!
//!            ┌────────────────────────────────────────────────────────────┐
//!            ▼                                                            │ delay_loop, or delay_before_retry
//!        attempt: connect ─▶ greeting ─▶ login ─▶ transfer ─▶ verdict ─▶ QUIT ─▶ end of stream
//!            │       │          └────▶ gsi ────────────────────▲          │
//!            │       └───────── as far as `type` says ──┘                 │ after a failure while still up
//!            │    or: a script, in a process group of its own             │
//!            │                                                            │
//!            └──▶ RealServer::handle_report ──▶ log what has changed ─────┘
//! ```
//!
//! A probe always reads the greeting and says QUIT: real GridFTP servers were seen to hang from checks that
//! connect and drop. To add a kind of check: a variant of `config::CheckKind`, a module below that judges, an arm in
//! `conversation`.

mod adler32;
mod capabilities;
mod conversation;
mod dialogue;
mod ftp;
mod gsi;
mod login;
mod script;
mod tcp;
mod tls;
mod transfer;

use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use crate::balance::{CheckOutcome, CheckReport, HealthChange, RealServer};
use crate::config::Check;
use crate::proto::gsi::ExpectedPeer;
use crate::proto::proxy_protocol;
use crate::tls::{Connector, CredentialProblem, GsiAcceptor};

/// The first probes are spread over this time: soon enough to know the site, and no burst at the servers' shared
/// name service and file system.
const FIRST_ROUND: Duration = Duration::from_secs(1);

/// Shortest pause between two probes of a server, whatever the configuration says: a session of its own each, it
/// must not become the load that it looks for.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// How long a probe that is under way may take to say goodbye after `stop`.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// One real server to be watched.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The virtual server it belongs to, for the log.
    pub virtual_server: String,
    /// The server, which is told what was found.
    pub server: Arc<RealServer>,
    /// What to ask, and how often.
    pub check: Check,
    /// From the connection until the greeting is complete, as long as a session would wait for it: a server
    /// that is slow enough for sessions is not down.
    pub greeting_timeout: Duration,
    /// The header that the server expects of every connection; a probe's says that it is the door's own.
    pub proxy_protocol: Option<proxy_protocol::Version>,
    /// TLS to the server; a check is as strict as a session.
    pub tls: Option<Arc<Connector>>,
    /// Where GSI ends at the door: how it logs in at this server.
    pub gsi: Option<GsiProbe>,
}

/// What a virtual server that ends GSI has for checks.
#[derive(Clone, Debug)]
pub struct GsiProbe {
    /// The door's own credential, and the authorities that it trusts.
    pub acceptor: Arc<GsiAcceptor>,
    /// Who the server has to be, as for a session.
    pub expected: ExpectedPeer,
}

impl GsiProbe {
    fn is_like(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.acceptor, &other.acceptor) && self.expected == other.expected
    }
}

impl Probe {
    /// Whether the other one asks the same of the same server.
    fn is_like(&self, other: &Self) -> bool {
        let same_tls = match (&self.tls, &other.tls) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        let same_gsi = match (&self.gsi, &other.gsi) {
            (None, None) => true,
            (Some(one), Some(other)) => one.is_like(other),
            _ => false,
        };
        same_tls
            && same_gsi
            && Arc::ptr_eq(&self.server, &other.server)
            && (&self.virtual_server, &self.check) == (&other.virtual_server, &other.check)
            && (self.greeting_timeout, self.proxy_protocol) == (other.greeting_timeout, other.proxy_protocol)
    }
}

/// The door's own trouble, which says nothing about the server.
#[derive(Debug, thiserror::Error)]
enum LocalTrouble {
    #[error(
        "no socket for the check: {0}; raise the limit named (LimitNOFILE, net.ipv4.ip_local_port_range) or lower max_sessions"
    )]
    Socket(io::Error),
    #[error(transparent)]
    Script(#[from] crate::script::CannotRun),
    #[error(transparent)]
    Credential(#[from] CredentialProblem),
    #[error("{0}")]
    Gsi(String),
}

/// What came of one attempt.
type Finding = Result<CheckReport, LocalTrouble>;

/// What came of a conversation: what was seen of a server that passes, or why it does not.
type Verdict = Result<String, Setback>;

/// Why a server has not passed.
#[derive(Debug)]
enum Setback {
    Server(CheckOutcome),
    Local(LocalTrouble),
}

impl From<CheckOutcome> for Setback {
    fn from(outcome: CheckOutcome) -> Self {
        Self::Server(outcome)
    }
}

/// A server's fault: what is wrong, and how to mend it.
fn failed(what: &str, mend: &str) -> Setback {
    Setback::Server(CheckOutcome::Failed(format!("{what}; {mend}")))
}

/// The finding of a verdict that was there after `took`.
fn finding(verdict: Verdict, took: Duration) -> Finding {
    match verdict {
        Ok(found) => Ok(CheckReport { found, took, ..CheckOutcome::Passed.into() }),
        Err(Setback::Server(outcome)) => Ok(CheckReport { took, ..outcome.into() }),
        Err(Setback::Local(trouble)) => Err(trouble),
    }
}

/// Runs every probe until `stop` is set or its sender is gone. The first probes are spread over one second, later
/// ones by up to a tenth of `delay_loop`; a failed one is repeated after `delay_before_retry` until the server
/// counts as down. When the probes change, those that stay keep their rhythm, and those that go end as at `stop`.
/// Returns at most a second after `stop`, when the probes under way have said goodbye.
///
/// # Panics
///
/// With the panic of a probe's task, as soon as it happens: a server that nobody watches any more would stay up
/// or down for ever. The caller awaits this and ends the process.
pub async fn run(probes: watch::Receiver<Vec<Probe>>, stop: watch::Receiver<bool>) {
    run_with(probes, stop, conversation::attempt).await;
}

async fn run_with<A, F>(mut probes: watch::Receiver<Vec<Probe>>, stop: watch::Receiver<bool>, attempt: A)
where
    A: Fn(Arc<Probe>) -> F + Clone + Send + 'static,
    F: Future<Output = Finding> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    // A probe ends when its sender is gone.
    let mut watched: Vec<(Probe, watch::Sender<bool>)> = Vec::new();
    let mut changed = true;
    loop {
        if changed {
            let wanted = probes.borrow_and_update().clone();
            let (stay, go): (Vec<_>, Vec<_>) =
                watched.into_iter().partition(|(probe, _)| wanted.iter().any(|wanted| wanted.is_like(probe)));
            drop(go);
            watched = stay;
            let new: Vec<Probe> = wanted
                .into_iter()
                .filter(|wanted| !watched.iter().any(|(probe, _)| wanted.is_like(probe)))
                .collect();
            let spread = Spread { probes: new.len() };
            for (number, probe) in new.into_iter().enumerate() {
                let (sender, stopped) = watch::channel(false);
                tasks.spawn(watch_server(Arc::new(probe.clone()), number, spread, stopped, attempt.clone()));
                watched.push((probe, sender));
            }
        }
        changed = false;
        tokio::select! {
            () = stopped(stop.clone()) => break,
            // Where nobody can change them any more, they stay.
            Ok(()) = probes.changed() => changed = true,
            Some(ended) = tasks.join_next() => pass_on_panic(ended),
        }
    }
    drop(watched);
    let goodbye = async {
        while let Some(ended) = tasks.join_next().await {
            pass_on_panic(ended);
        }
    };
    let _ = timeout(STOP_GRACE, goodbye).await;
}

fn pass_on_panic(ended: Result<(), JoinError>) {
    match ended {
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        Ok(()) | Err(_) => {}
    }
}

async fn watch_server<A, F>(
    probe: Arc<Probe>,
    number: usize,
    spread: Spread,
    stop: watch::Receiver<bool>,
    attempt: A,
) where
    A: Fn(Arc<Probe>) -> F,
    F: Future<Output = Finding>,
{
    let mut pause = spread.first(number);
    let mut told_of_trouble = false;
    for round in 0.. {
        tokio::select! {
            biased;
            () = stopped(stop.clone()) => return,
            () = sleep(pause) => {}
        }
        pause = spread.later(number, round, probe.check.delay_loop);
        match attempt(Arc::clone(&probe)).await {
            Ok(found) => {
                told_of_trouble = false;
                let failed = matches!(found.outcome, CheckOutcome::Failed(_));
                report(&probe, found);
                if failed && probe.server.is_up() {
                    pause = probe.check.delay_before_retry;
                }
            }
            Err(trouble) => {
                if !told_of_trouble {
                    tracing::warn!(
                        virtual_server = probe.virtual_server,
                        real_server = probe.server.name(),
                        reason = %trouble,
                        "check could not run"
                    );
                }
                told_of_trouble = true;
                probe.server.handle_unchecked(Instant::now().into_std(), trouble.to_string());
            }
        }
        pause = pause.max(SHORTEST_PAUSE);
    }
}

/// Tells the server, and the log if that changed anything.
fn report(probe: &Probe, found: CheckReport) {
    let now = Instant::now().into_std();
    let (virtual_server, real_server) = (&probe.virtual_server, probe.server.name());
    let weight = probe.server.effective_weight();
    let certificate = probe.server.certificate();
    let change = probe.server.handle_report(now, found);
    if let Some(seen) = probe.server.certificate().filter(|seen| certificate.as_ref() != Some(seen)) {
        gsi::warn_of(probe, &seen);
    }
    if probe.server.effective_weight() != weight {
        let (before, weight) = (weight, probe.server.effective_weight());
        tracing::info!(virtual_server, real_server, before, weight, "weight set by its check");
    }
    match change {
        Some(HealthChange::Down(reason)) => {
            tracing::warn!(virtual_server, real_server, reason, "real server down");
        }
        Some(HealthChange::Up) => {
            let reason = "check passed";
            tracing::info!(virtual_server, real_server, reason, "real server up");
        }
        None => {}
    }
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that whoever could say stop is gone.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// When probes start, so that they never start together; without chance, so that a test and a bug report
/// see the same.
#[derive(Clone, Copy, Debug)]
struct Spread {
    probes: usize,
}

impl Spread {
    /// The first ones one after the other, at equal distances.
    fn first(self, number: usize) -> Duration {
        FIRST_ROUND.mul_f64(share(number, self.probes))
    }

    /// From 90 to 100 % of `delay_loop`: never later than the operator asked. 11 is prime, so each probe meets each
    /// step, and neighbours stand at different ones.
    fn later(self, number: usize, round: usize, delay_loop: Duration) -> Duration {
        const STEPS: usize = 11;
        let step = (number % STEPS * 5 + round % STEPS * 7) % STEPS;
        delay_loop - (delay_loop / 10).mul_f64(share(step, STEPS - 1))
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of servers")]
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests;

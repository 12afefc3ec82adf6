//! A probe's connection, from SYN to the server's goodbye.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::capabilities::Seen;
use super::dialogue::Dialogue;
use super::{
    Finding, LocalTrouble, Probe, Setback, Verdict, capabilities, failed, finding, ftp, gsi, login, script,
    tcp, tls, transfer,
};
use crate::balance::{CheckOutcome, CheckReport};
use crate::config::{Check, CheckKind};
use crate::proto::proxy_protocol::Header;
use crate::sys::socket::is_local_shortage;
use crate::tls::SessionConnector;

/// How long a server may take to close after QUIT. The verdict is made by then; this is courtesy.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(2);

/// The same of one that has failed: it answers at once or not at all, and sessions are to hear of it soon.
const SHORT_FAREWELL: Duration = Duration::from_millis(200);

/// Most that is read after QUIT, in bytes: a 221 with a site's statistics is below 4 KiB.
const MAX_FAREWELL: usize = 64 * 1024;

/// One read's buffer, in bytes: a Globus greeting is below 200.
pub(super) const READ_SIZE: usize = 1024;

/// What is asked in one conversation, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Course<'p> {
    pub(super) check: &'p Check,
    pub(super) server: SocketAddr,
    pub(super) greeting_timeout: Duration,
    pub(super) start: Instant,
    /// Where what the server says that it can do is kept; `None` if nobody asks for it.
    pub(super) capabilities: Option<&'p Seen>,
}

impl<'p> Course<'p> {
    pub(super) fn of(probe: &'p Probe, seen: &'p Seen) -> Self {
        Self {
            check: &probe.check,
            server: probe.server.address(),
            greeting_timeout: probe.greeting_timeout,
            start: Instant::now(),
            capabilities: probe.gsi.as_ref().map(|_| seen),
        }
    }

    /// How long the server may take to greet, or for a handshake.
    pub(super) fn patience(&self) -> Duration {
        self.greeting_timeout.min(self.deadline().saturating_duration_since(Instant::now()))
    }

    /// What of the configuration that is, for reasons.
    pub(super) fn limit(&self) -> Duration {
        self.greeting_timeout.min(self.check.max_time)
    }

    pub(super) fn deadline(&self) -> Instant {
        self.start + self.check.max_time
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

/// Asks as the probe's `type` says.
pub(super) async fn attempt(probe: Arc<Probe>) -> Finding {
    if let CheckKind::Script(script) = &probe.check.kind {
        return script::attempt(&probe, script).await;
    }
    if let CheckKind::Gsi(check) = &probe.check.kind {
        return gsi::attempt(&probe, check).await;
    }
    let seen = Seen::default();
    let course = Course::of(&probe, &seen);
    let (verdict, took) =
        match connect(course.server, course.check.connect_timeout.min(course.check.max_time)).await {
            Err(setback) => (Err(setback), course.elapsed()),
            Ok(mut stream) => {
                introduce(&mut stream, &probe).await;
                match &probe.tls {
                    None => converse(stream, &course, None).await,
                    Some(connector) => tls::converse(stream, connector, &course).await,
                }
            }
        };
    finding(verdict, took).map(|report| CheckReport { capabilities: seen.into_observation(), ..report })
}

/// The header that the server expects.
pub(super) async fn introduce(stream: &mut TcpStream, probe: &Probe) {
    if let Some(version) = probe.proxy_protocol {
        // A fresh connection takes it at once; one that is broken shows when the greeting is read.
        let _ = stream.write_all(&Header::Local.write(version)).await;
    }
}

pub(super) async fn connect(address: SocketAddr, limit: Duration) -> Result<TcpStream, Setback> {
    match timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if is_local_shortage(&error) => Err(Setback::Local(LocalTrouble::Socket(error))),
        Ok(Err(error)) => Err(failed(
            &format!("no connection: {error}"),
            "start the server there, or correct address and port",
        )),
        Err(_) => Err(failed(
            &format!("no connection within {limit:?}"),
            "see whether the host is alive and no firewall is between",
        )),
    }
}

/// Listens, asks and judges, then says QUIT, whatever was heard. The time is that of the verdict. `tls` is what data
/// connections are to be encrypted with.
pub(super) async fn converse<S>(
    mut stream: S,
    course: &Course<'_>,
    tls: Option<&SessionConnector>,
) -> (Verdict, Duration)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let verdict = match greeting(&mut stream, course).await {
        Ok(words) => examine(&mut stream, course, tls, words).await,
        Err(setback) => Err(setback),
    };
    let took = course.elapsed();
    // A server may leave it unanswered, which is no part of what it was checked for.
    if verdict.is_ok() && course.check.kind != CheckKind::Tcp {
        capabilities::look(&mut Dialogue::new(&mut stream), course).await;
    }
    leave(&mut stream, &verdict).await;
    (verdict, took)
}

/// The server's first words.
pub(super) async fn greeting<S>(stream: &mut S, course: &Course<'_>) -> Verdict
where
    S: AsyncRead + Unpin,
{
    let patience = course.patience();
    if course.check.kind == CheckKind::Tcp {
        timeout(patience, tcp::judge(stream)).await.unwrap_or_else(|_| tcp::silence())
    } else {
        timeout(patience, ftp::judge(stream)).await.unwrap_or_else(|_| Err(ftp::silence(course.limit())))
    }
}

/// What is asked once the server has greeted with `words`.
pub(super) async fn examine<S>(
    stream: &mut S,
    course: &Course<'_>,
    tls: Option<&SessionConnector>,
    words: String,
) -> Verdict
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (account, file) = match &course.check.kind {
        CheckKind::Login(account) => (account, None),
        CheckKind::Transfer(account, file) => (account, Some(file)),
        CheckKind::Tcp | CheckKind::Ftp | CheckKind::Script(_) | CheckKind::Gsi(_) => return Ok(words),
    };
    let mut dialogue = Dialogue::new(stream);
    let asked = async {
        let welcome = login::log_in(&mut dialogue, account).await?;
        match file {
            None => Ok(welcome),
            Some(file) => transfer::fetch(&mut dialogue, file, course, tls).await,
        }
    };
    match timeout_at(course.deadline(), asked).await {
        Ok(verdict) => verdict,
        Err(_) => Err(dialogue.silence(course.check.max_time)),
    }
}

/// Says QUIT after this verdict and waits for the end.
pub(super) async fn leave<S>(stream: &mut S, verdict: &Verdict)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let has_failed = matches!(verdict, Err(Setback::Server(CheckOutcome::Failed(_))));
    let patience = if has_failed { SHORT_FAREWELL } else { FAREWELL_PATIENCE };
    // Whether the server answers is its own affair, and so is a connection that it has closed already.
    let _ = timeout(patience, take_leave(stream)).await;
}

async fn take_leave<S>(stream: &mut S) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(b"QUIT\r\n").await?;
    stream.flush().await?;
    let mut buffer = [0; READ_SIZE];
    let mut heard = 0;
    while heard < MAX_FAREWELL {
        match stream.read(&mut buffer).await? {
            0 => break,
            count => heard += count,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

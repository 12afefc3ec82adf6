//! One client session while servers fail: what came of it, and how long it waited.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::support::real_server::WELCOME;

/// How long the client waits for a greeting, from connect on, and then for each reply.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// How long a session is held open after its login, so that sessions are spread and some are open at every moment.
pub(crate) const HELD_FOR: Duration = Duration::from_secs(2);

/// What came of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// Greeted, logged in, held and closed in order.
    Whole,
    /// An error, or no greeting in time.
    NotLoggedIn,
    /// Logged in; then the client was told by 421 that it is over.
    Told,
    /// Logged in; then the connection ended without a word.
    Cut,
    /// Logged in; then no reply in time.
    Silent,
}

/// A session, in times since the run began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visit {
    pub(crate) due: Duration,
    pub(crate) begun: Duration,
    pub(crate) ended: Duration,
    /// From connect until the login is answered.
    pub(crate) waited: Duration,
    /// Who answered it.
    pub(crate) server: Option<usize>,
    pub(crate) end: End,
}

/// Runs a session that should have begun when it was due, which is now.
pub(crate) async fn visit(address: SocketAddr, origin: Instant, due: Instant) -> Visit {
    let begun = Instant::now();
    let mut visit = Visit {
        due: due - origin,
        begun: begun - origin,
        ended: Duration::ZERO,
        waited: Duration::ZERO,
        server: None,
        end: End::NotLoggedIn,
    };
    if let Some((mut stream, server)) = log_in(address, begun).await {
        visit.waited = begun.elapsed();
        visit.server = Some(server);
        visit.end = stay(&mut stream).await;
    }
    visit.ended = origin.elapsed();
    visit
}

async fn log_in(address: SocketAddr, begun: Instant) -> Option<(BufStream<TcpStream>, usize)> {
    let greeted_by = begun + PATIENCE;
    let stream = timeout_at(greeted_by, TcpStream::connect(address)).await.ok()?.ok()?;
    stream.set_nodelay(true).ok()?;
    let mut stream = BufStream::new(stream);
    let greeting = timeout_at(greeted_by, reply(&mut stream)).await.ok()??;
    greeting.starts_with("220").then_some(())?;
    ask(&mut stream, "USER anonymous\r\n").await.ok()??.starts_with("331").then_some(())?;
    let welcome = ask(&mut stream, "PASS bench@example.org\r\n").await.ok()??;
    let server = welcome.strip_prefix(WELCOME)?.trim_end().parse().ok()?;
    Some((stream, server))
}

/// A reply of one line; `None` at the end of the connection, however it came.
async fn reply(stream: &mut BufStream<TcpStream>) -> Option<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|read| *read > 0).map(|_| line)
}

async fn ask(
    stream: &mut BufStream<TcpStream>,
    command: &str,
) -> Result<Option<String>, tokio::time::error::Elapsed> {
    timeout(PATIENCE, async {
        stream.write_all(command.as_bytes()).await.ok()?;
        stream.flush().await.ok()?;
        reply(stream).await
    })
    .await
}

/// Holds a session for its time and ends it in order, if it can.
async fn stay(stream: &mut BufStream<TcpStream>) -> End {
    tokio::select! {
        () = sleep_until(Instant::now() + HELD_FOR) => {}
        unasked = reply(stream) => return ending(Ok(unasked)),
    }
    for (command, code) in [("NOOP\r\n", "200"), ("QUIT\r\n", "221")] {
        match ask(stream, command).await {
            Ok(Some(reply)) if reply.starts_with(code) => {}
            other => return ending(other),
        }
    }
    End::Whole
}

fn ending(answer: Result<Option<String>, tokio::time::error::Elapsed>) -> End {
    match answer {
        Ok(Some(reply)) if reply.starts_with("421") => End::Told,
        Ok(_) => End::Cut,
        Err(_) => End::Silent,
    }
}

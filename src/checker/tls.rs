//! A probe of a server to which the door speaks TLS: what would keep sessions away is found by the probe, too.
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::conversation::{READ_SIZE, converse as in_clear, judge, leave};
use crate::balance::CheckOutcome;
use crate::config::{CheckKind, ServerTlsMode};
use crate::proto::ftp::Greeting;
use crate::tls::Connector;

/// As the conversation in clear, with a handshake before the greeting or behind it. Each has `patience`.
pub(super) async fn converse(
    mut stream: TcpStream,
    connector: &Connector,
    kind: CheckKind,
    patience: Duration,
) -> CheckOutcome {
    if connector.mode() == ServerTlsMode::Explicit {
        if kind == CheckKind::Tcp {
            return in_clear(stream, kind, patience).await;
        }
        let outcome = judge(&mut stream, kind, patience).await;
        if !matches!(outcome, CheckOutcome::Passed) {
            leave(&mut stream).await;
            return outcome;
        }
        match timeout(patience, ask_for_tls(&mut stream)).await {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => {
                leave(&mut stream).await;
                return failed(&reason);
            }
            Err(_) => return failed(&format!("no answer to AUTH TLS within {patience:?}")),
        }
    }
    match timeout(patience, connector.session().connect(stream)).await {
        Err(_) => failed(&format!("no handshake within {patience:?}")),
        Ok(Err(error)) => failed(&error.to_string()),
        Ok(Ok(mut stream)) if connector.mode() == ServerTlsMode::Explicit => {
            leave(&mut stream).await;
            CheckOutcome::Passed
        }
        Ok(Ok(stream)) => in_clear(stream, kind, patience).await,
    }
}

async fn ask_for_tls(stream: &mut TcpStream) -> Result<(), String> {
    let lost = |error: std::io::Error| format!("the connection broke at AUTH TLS: {error}");
    stream.write_all(b"AUTH TLS\r\n").await.map_err(lost)?;
    let mut reply = Greeting::default();
    let mut buffer = [0; READ_SIZE];
    loop {
        let count = stream.read(&mut buffer).await.map_err(lost)?;
        if count == 0 {
            return Err("it closed the connection at AUTH TLS".into());
        }
        match reply.handle(&buffer[..count]) {
            Ok(None) => {}
            Ok(Some((code, used))) if code.number() == 234 && used == count => return Ok(()),
            Ok(Some(_)) => return Err(format!("it answers AUTH TLS with `{}`", reply.last_line())),
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn failed(reason: &str) -> CheckOutcome {
    CheckOutcome::Failed(format!("no TLS with it: {reason}; see its certificate, and its `tls` table here"))
}

//! A probe's connection, from SYN to the server's goodbye.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Finding, LocalTrouble, Probe, ftp, tcp, tls};
use crate::balance::CheckOutcome;
use crate::config::CheckKind;
use crate::proto::proxy_protocol::Header;
use crate::sys::socket::is_local_shortage;

/// How long a server may take to close after QUIT. The verdict is made by then; this is courtesy.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(2);

/// Most that is read after QUIT, in bytes: a 221 with a site's statistics is below 4 KiB.
const MAX_FAREWELL: usize = 64 * 1024;

/// One read's buffer, in bytes: a Globus greeting is below 200.
pub(super) const READ_SIZE: usize = 1024;

/// Connects, listens, judges and leaves politely.
pub(super) async fn attempt(probe: Arc<Probe>) -> Finding {
    let limit = probe.check.connect_timeout;
    match timeout(limit, TcpStream::connect(probe.server.address())).await {
        Ok(Ok(mut stream)) => {
            if let Some(version) = probe.proxy_protocol {
                // A fresh connection takes it at once; one that is broken shows when the greeting is read.
                let _ = stream.write_all(&Header::Local.write(version)).await;
            }
            let (kind, patience) = (probe.check.kind, probe.greeting_timeout);
            Ok(match &probe.tls {
                None => converse(stream, kind, patience).await,
                Some(connector) => tls::converse(stream, connector, kind, patience).await,
            })
        }
        Ok(Err(error)) if is_local_shortage(&error) => Err(LocalTrouble(error)),
        Ok(Err(error)) => Ok(CheckOutcome::Failed(format!(
            "no connection: {error}; start the server there, or correct address and port"
        ))),
        Err(_) => Ok(CheckOutcome::Failed(format!(
            "no connection within {limit:?}; see whether the host is alive and no firewall is between"
        ))),
    }
}

/// Listens and judges for `patience` at most, then says QUIT, whatever was heard.
pub(super) async fn converse<S>(mut stream: S, kind: CheckKind, patience: Duration) -> CheckOutcome
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let outcome = judge(&mut stream, kind, patience).await;
    leave(&mut stream).await;
    outcome
}

/// Listens and judges for `patience` at most.
pub(super) async fn judge<S>(stream: &mut S, kind: CheckKind, patience: Duration) -> CheckOutcome
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match kind {
        CheckKind::Tcp => timeout(patience, tcp::judge(stream)).await.unwrap_or_else(|_| tcp::silence()),
        CheckKind::Ftp => {
            timeout(patience, ftp::judge(stream)).await.unwrap_or_else(|_| ftp::silence(patience))
        }
    }
}

/// Says QUIT and waits for the end.
pub(super) async fn leave<S>(stream: &mut S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // Whether the server answers is its own affair, and so is a connection that it has closed already.
    let _ = timeout(FAREWELL_PATIENCE, take_leave(stream)).await;
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

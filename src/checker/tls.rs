//! A probe of a server to which the door speaks TLS: what would keep sessions away is found by the probe, too.
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::conversation::{Course, READ_SIZE, converse as in_clear, examine, greeting, leave};
use super::{Setback, Verdict, failed};
use crate::config::{CheckKind, ServerTlsMode};
use crate::proto::ftp::Greeting;
use crate::tls::{Connector, SessionConnector};

/// As the conversation in clear, with a handshake before the greeting or behind it. Each has as long as a greeting.
pub(super) async fn converse(
    mut stream: TcpStream,
    connector: &Connector,
    course: &Course<'_>,
) -> (Verdict, Duration) {
    let session = connector.session();
    if connector.mode() == ServerTlsMode::Implicit {
        return match handshake(stream, &session, course).await {
            Ok(stream) => in_clear(stream, course, Some(&session)).await,
            Err(setback) => (Err(setback), course.elapsed()),
        };
    }
    if course.check.kind == CheckKind::Tcp {
        return in_clear(stream, course, None).await;
    }
    let asked = async {
        let words = greeting(&mut stream, course).await?;
        match timeout(course.patience(), ask_for_tls(&mut stream)).await {
            Ok(answer) => answer.map_err(|reason| no_tls(&reason))?,
            Err(_) => return Err(no_tls(&format!("no answer to AUTH TLS within {:?}", course.limit()))),
        }
        Ok(words)
    };
    let words = match asked.await {
        Ok(words) => words,
        Err(setback) => {
            let (verdict, took) = (Err(setback), course.elapsed());
            leave(&mut stream, &verdict).await;
            return (verdict, took);
        }
    };
    match handshake(stream, &session, course).await {
        Ok(mut stream) => {
            let verdict = examine(&mut stream, course, Some(&session), words).await;
            let took = course.elapsed();
            leave(&mut stream, &verdict).await;
            (verdict, took)
        }
        Err(setback) => (Err(setback), course.elapsed()),
    }
}

async fn handshake(
    stream: TcpStream,
    session: &SessionConnector,
    course: &Course<'_>,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Setback> {
    match timeout(course.patience(), session.connect(stream)).await {
        Err(_) => Err(no_tls(&format!("no handshake within {:?}", course.limit()))),
        Ok(Err(error)) => Err(no_tls(&error.to_string())),
        Ok(Ok(stream)) => Ok(stream),
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

fn no_tls(reason: &str) -> Setback {
    failed(&format!("no TLS with it: {reason}"), "see its certificate, and its `tls` table here")
}

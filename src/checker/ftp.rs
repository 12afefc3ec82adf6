//! `type = "ftp"`: the server greets with 220, as it would greet a session.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::conversation::READ_SIZE;
use super::{Setback, Verdict, failed};
use crate::balance::CheckOutcome;
use crate::proto::ftp::Greeting;

/// Hears the greeting, 120 and lines of welcome included; how long it may be is `proto`'s affair.
pub(super) async fn judge(stream: &mut (impl AsyncRead + Unpin)) -> Verdict {
    let mut greeting = Greeting::default();
    let mut buffer = [0; READ_SIZE];
    loop {
        let count = match stream.read(&mut buffer).await {
            Ok(0) => return Err(failed("it closed the connection before its greeting", ADMISSION)),
            Err(error) => {
                return Err(failed(&format!("the connection broke before its greeting: {error}"), ADMISSION));
            }
            Ok(count) => count,
        };
        match greeting.handle(&buffer[..count]) {
            Ok(None) => {}
            Ok(Some((code, _))) => return verdict(code.number(), greeting.last_line()),
            Err(error) => return Err(failed(&error.to_string(), "is `port` that of a GridFTP server?")),
        }
    }
}

/// No whole greeting in time.
pub(super) fn silence(patience: Duration) -> Setback {
    failed(
        &format!("no greeting within {patience:?}"),
        "see the server's load and its name service, or raise greeting_timeout (or max_time)",
    )
}

pub(super) const ADMISSION: &str = "see the server's log, and whether it admits this host";

/// 421 and 422 are a Globus server's "connections_max" and "connections_disabled": alive, not now.
fn verdict(code: u16, words: String) -> Verdict {
    match code {
        220 => Ok(words),
        421 | 422 => Err(CheckOutcome::Busy(words).into()),
        _ => Err(failed(&format!("it greets with `{words}` in place of 220"), "see the server's log")),
    }
}

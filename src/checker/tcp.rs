//! `type = "tcp"`: somebody accepts connections and keeps them.

use tokio::io::{AsyncRead, AsyncReadExt};

use super::conversation::READ_SIZE;
use super::ftp::ADMISSION;
use super::{Setback, Verdict, failed};

/// Most that is read of a first line, in bytes; more of it changes nothing.
const MAX_FIRST_LINE: usize = 64 * 1024;

/// Hears the first line, so that the server is not left in the middle of it. What it says does not matter; a
/// server that closes before a word does nobody any good (inetd does so when it cannot start its server).
pub(super) async fn judge(stream: &mut (impl AsyncRead + Unpin)) -> Verdict {
    let mut buffer = [0; READ_SIZE];
    let mut heard = 0;
    while heard < MAX_FIRST_LINE {
        match stream.read(&mut buffer).await {
            Ok(0) if heard == 0 => return Err(closed("it closed the connection before a word")),
            Err(error) if heard == 0 => {
                return Err(closed(&format!("the connection broke before a word: {error}")));
            }
            Ok(0) | Err(_) => break,
            Ok(count) if buffer[..count].contains(&b'\n') => break,
            Ok(count) => heard += count,
        }
    }
    Ok(ACCEPTS.into())
}

/// Said nothing in time: many services wait for the client to begin.
pub(super) fn silence() -> Verdict {
    Ok(ACCEPTS.into())
}

const ACCEPTS: &str = "it accepts connections";

fn closed(what: &str) -> Setback {
    failed(what, ADMISSION)
}

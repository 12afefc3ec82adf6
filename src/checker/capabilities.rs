//! What a server says that it can do (FEAT, HELP), for the clients of a door that answers in its place before a login.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use super::Setback;
use super::conversation::Course;
use super::dialogue::Dialogue;
use crate::balance::{Capabilities, Observation};

/// How long a server that is well may take to say it. Nothing but these two answers hangs on it.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a server has said in this check.
#[derive(Debug, Default)]
pub(super) struct Seen(OnceLock<Option<Capabilities>>);

impl Seen {
    /// A server that has not been asked this time is as it was.
    pub(super) fn into_observation(self) -> Observation<Capabilities> {
        match self.0.into_inner() {
            None => Observation::AsBefore,
            Some(None) => Observation::NotLookedAt,
            Some(Some(capabilities)) => Observation::Seen(capabilities),
        }
    }
}

/// Asks, if somebody wants to know. Whatever comes of it says nothing of the server's health.
pub(super) async fn look<S>(dialogue: &mut Dialogue<'_, S>, course: &Course<'_>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Some(seen) = course.capabilities else { return };
    let deadline = course.deadline().min(Instant::now() + PATIENCE);
    if let Ok(Ok(answer)) = timeout_at(deadline, ask(dialogue)).await {
        let _ = seen.0.set(answer);
    }
}

/// `None` from a server that does not say it before a login.
async fn ask<S>(dialogue: &mut Dialogue<'_, S>) -> Result<Option<Capabilities>, Setback>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Some(features) = dialogue.ask_for_lines("FEAT").await? else { return Ok(None) };
    let help = dialogue.ask_for_lines("HELP").await?;
    Ok(Some(Capabilities::of(&features, &help.unwrap_or_default())))
}

//! What is answered on `http`: `/metrics`, `/healthz` and `/readyz`.
use std::fmt::Write as _;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::http::{Answer, Site, Status};
use super::metrics;
use super::observed::Observed;
use crate::balance::RealServer;
use crate::sys;

/// How long a part of the daemon may take to answer: many times its longest turn.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

impl Site for Observed {
    async fn page(&self, path: &str) -> Option<Answer> {
        match path {
            "/metrics" => {
                let observed = self.clone();
                // A thousand real servers make some megabytes, and this thread keeps the time of all sessions.
                let text = spawn_blocking(move || {
                    let in_force = observed.reloader.in_force();
                    metrics::text(&observed.measured(&in_force, sys::process::usage()))
                });
                Some(match text.await {
                    Ok(body) => Answer { status: Status::Fine, content_type: metrics::CONTENT_TYPE, body },
                    Err(_) => Answer::text(Status::Unavailable, "this page could not be made; see the log\n"),
                })
            }
            "/healthz" => {
                self.liveness.ask();
                let answered = timeout(ANSWER_WITHIN, self.liveness.until_answered()).await;
                let silent = if answered.is_ok() { Vec::new() } else { self.liveness.silent() };
                Some(verdict(silent.into_iter().map(|part| format!("{part} does not answer"))))
            }
            "/readyz" => Some(verdict(self.obstacles())),
            _ => None,
        }
    }
}

impl Observed {
    /// What keeps clients from a session: one line each.
    fn obstacles(&self) -> Vec<String> {
        if self.is_draining() {
            return vec!["draining: no more sessions are accepted".into()];
        }
        let mut obstacles = Vec::new();
        for service in self.reloader.in_force().services() {
            let servers = service.virtual_server.real_servers();
            let takes =
                |server: &RealServer| server.is_up() && !server.is_drained() && server.effective_weight() > 0;
            if !servers.iter().any(|server| takes(server)) {
                let mut text = format!("{}: no real server is up:", service.virtual_server.name());
                for server in servers {
                    let why = if server.is_up() { "drained" } else { "down" };
                    let _ = write!(text, " {} {why},", server.name());
                }
                text.pop();
                obstacles.push(text);
            } else if !service.virtual_server.state().quorum.is_there() {
                obstacles.push(format!("{}: the quorum is lost", service.virtual_server.name()));
            }
        }
        obstacles
    }
}

fn verdict(complaints: impl IntoIterator<Item = String>) -> Answer {
    let lines: Vec<String> = complaints.into_iter().collect();
    if lines.is_empty() {
        Answer::text(Status::Fine, "ok\n")
    } else {
        Answer::text(Status::Unavailable, lines.join("\n") + "\n")
    }
}

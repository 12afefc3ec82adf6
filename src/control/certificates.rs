//! Looking after certificates: new ones are taken while the door is open.
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::in_force::InForce;
use crate::proxy::Service;
use crate::tls::Notice;

/// How often to look whether there is another certificate: soon enough for whoever has just put one there and watches
/// the log, and two calls of stat(2) for each.
const LOOK_AFTER: Duration = Duration::from_secs(2);

/// The date, by which certificates hold.
#[must_use]
pub fn today() -> SystemTime {
    #[expect(clippy::disallowed_methods, reason = "the edge: below it the date is an argument")]
    SystemTime::now()
}

/// Looks for ever, while there is a virtual server that has a certificate.
pub(super) async fn look_after(mut in_force: watch::Receiver<Arc<InForce>>) {
    loop {
        let services = in_force.borrow_and_update().services().to_vec();
        let services: Vec<_> = services.into_iter().filter(|service| service.acceptor.is_some()).collect();
        if services.is_empty() {
            if in_force.changed().await.is_err() {
                return std::future::pending().await;
            }
            continue;
        }
        sleep(LOOK_AFTER).await;
        // A file system that hangs must not stop the clock of all sessions.
        let looked = spawn_blocking(move || services.iter().for_each(|service| look(service))).await;
        if looked.is_err() {
            return;
        }
    }
}

fn look(service: &Service) {
    let Some(acceptor) = &service.acceptor else { return };
    let virtual_server = service.virtual_server.name();
    match acceptor.look(today()) {
        None => {}
        Some(Notice::Replaced(warnings)) => {
            tracing::info!(virtual_server, "certificate replaced");
            for warning in warnings {
                tracing::warn!(virtual_server, "{warning}");
            }
        }
        Some(Notice::Refused(problem)) => {
            let reason = problem.to_string();
            tracing::warn!(
                virtual_server,
                reason,
                "new certificate refused; the one before it stays in force"
            );
        }
        Some(Notice::Lapsing(problem)) => tracing::warn!(virtual_server, "{problem}"),
    }
}

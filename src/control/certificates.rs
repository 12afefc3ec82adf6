//! Looking after certificates: new ones are taken while the door is open.
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::in_force::InForce;
use crate::proxy::Service;
use crate::tls::{Acceptor, CredentialProblem, GsiAcceptor, GsiNotice, Notice, TrustNotice};

/// How often to look whether there is another certificate: soon enough for whoever has just put one there and watches
/// the log, and two calls of stat(2) for each. A trust directory looks less often by itself.
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
        let has_files = |service: &Arc<Service>| service.acceptor.is_some() || service.gsi.is_some();
        let services: Vec<_> = services.into_iter().filter(has_files).collect();
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
    let virtual_server = service.virtual_server.name();
    if let Some(acceptor) = &service.acceptor {
        look_at_tls(virtual_server, acceptor);
    }
    if let Some(termination) = &service.gsi {
        look_at_gsi(virtual_server, &termination.acceptor);
    }
}

fn look_at_tls(virtual_server: &str, acceptor: &Acceptor) {
    match acceptor.look(today()) {
        None => {}
        Some(Notice::Replaced(warnings)) => {
            tracing::info!(virtual_server, "certificate replaced");
            for warning in warnings {
                tracing::warn!(virtual_server, "{warning}");
            }
        }
        Some(Notice::Refused(problem)) => refused(virtual_server, &problem),
        Some(Notice::Lapsing(problem)) => tracing::warn!(virtual_server, "{problem}"),
    }
}

fn look_at_gsi(virtual_server: &str, acceptor: &GsiAcceptor) {
    for notice in acceptor.look(today()) {
        match notice {
            GsiNotice::Replaced => tracing::info!(virtual_server, "host certificate replaced"),
            GsiNotice::Refused(problem) => refused(virtual_server, &problem),
            GsiNotice::Trust(TrustNotice::Reread { authorities, problems }) => {
                tracing::info!(virtual_server, authorities, "trust directory read again");
                for problem in problems {
                    let reason = problem.to_string();
                    tracing::warn!(virtual_server, reason, "a file of the trust directory is not used");
                }
            }
            GsiNotice::Trust(TrustNotice::Refused(problem)) => {
                let reason = problem.to_string();
                tracing::warn!(
                    virtual_server,
                    reason,
                    "trust directory refused; what was read stays in force"
                );
            }
        }
    }
}

fn refused(virtual_server: &str, problem: &CredentialProblem) {
    let reason = problem.to_string();
    tracing::warn!(virtual_server, reason, "new certificate refused; the one before it stays in force");
}

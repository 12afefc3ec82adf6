//! Looking after certificates: new ones are taken while the door is open.
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::in_force::InForce;
use crate::proxy::Service;
use crate::tls::{Notice, TrustDirectory, TrustNotice};

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
        let looked = spawn_blocking(move || {
            services.iter().for_each(|service| look(service));
            directories(&services).iter().for_each(|directory| look_at_directory(directory));
        });
        let looked = looked.await;
        if looked.is_err() {
            return;
        }
    }
}

fn look(service: &Service) {
    let virtual_server = service.virtual_server.name();
    if let Some(acceptor) = &service.acceptor {
        let notice = acceptor.look(today());
        notice.into_iter().for_each(|notice| tell(virtual_server, "certificate", notice));
    }
    if let Some(termination) = &service.gsi {
        let notice = termination.acceptor.look(today());
        notice.into_iter().for_each(|notice| tell(virtual_server, "host certificate", notice));
    }
}

/// Each once, however many virtual servers have it.
fn directories(services: &[Arc<Service>]) -> Vec<&Arc<TrustDirectory>> {
    let mut directories: Vec<&Arc<TrustDirectory>> = Vec::new();
    for directory in services.iter().filter_map(|service| Some(service.gsi.as_ref()?.acceptor.trust())) {
        if !directories.iter().any(|known| Arc::ptr_eq(known, directory)) {
            directories.push(directory);
        }
    }
    directories
}

fn look_at_directory(directory: &TrustDirectory) {
    let trust_anchors = directory.path().display();
    match directory.look(today()) {
        None => {}
        Some(TrustNotice::Reread { authorities, problems }) => {
            tracing::info!(%trust_anchors, authorities, "trust directory read again");
            for problem in problems {
                let reason = problem.to_string();
                tracing::warn!(%trust_anchors, reason, "a file of the trust directory is not used");
            }
        }
        Some(TrustNotice::Refused(problem)) => {
            let reason = problem.to_string();
            tracing::warn!(%trust_anchors, reason, "trust directory refused; what was read stays in force");
        }
    }
}

/// What was found of the certificate that clients are shown, which is called `certificate`.
fn tell(virtual_server: &str, certificate: &str, notice: Notice) {
    match notice {
        Notice::Replaced(warnings) => {
            tracing::info!(virtual_server, "{certificate} replaced");
            for warning in warnings {
                tracing::warn!(virtual_server, "{warning}");
            }
        }
        Notice::Refused(problem) => {
            let reason = problem.to_string();
            tracing::warn!(
                virtual_server,
                reason,
                "new certificate refused; the one before it stays in force"
            );
        }
        Notice::Lapsing(problem) => tracing::warn!(virtual_server, "{problem}"),
    }
}

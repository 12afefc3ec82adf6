//! What no configuration names any more, and has not been forgotten.
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::balance::RealServer;
use crate::proxy::service::Service;

/// How long is remembered what operators and checks have said of a real server that has gone without a session: the longest
/// deadline of a drain. A name service that falters for an hour, or a file that was wrong over a weekend, undoes no drain.
const REMEMBERED_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// Real servers without a session that are remembered, some 2 KiB each; beyond it the ones that have gone first are forgotten.
/// Where names stand for ever other addresses there is no end to servers that were there once.
const MAX_REMEMBERED: usize = 1024;

/// What no configuration names any more, but sessions still use, or somebody has said something of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Removed {
    pub(crate) services: Vec<Arc<Service>>,
    /// With the names of their virtual servers, which may be there still; those that have gone last are behind.
    pub(crate) real_servers: Vec<(String, Arc<RealServer>)>,
}

impl Removed {
    /// What must not be forgotten by `now`.
    pub(super) fn forget_unused(&mut self, now: Instant) {
        self.services.retain(|service| service.virtual_server.active() > 0);
        self.real_servers.retain(|(_, server)| server.active() > 0 || is_remembered(server, now));
        let idle = self.real_servers.iter().filter(|(_, server)| server.active() == 0).count();
        let mut too_many = idle.saturating_sub(MAX_REMEMBERED);
        self.real_servers.retain(|(_, server)| {
            let goes = too_many > 0 && server.active() == 0;
            too_many -= usize::from(goes);
            !goes
        });
    }

    /// Leaves out what is none of an operator's business: servers without sessions of which nobody has said anything.
    pub(super) fn forget_unsteered(&mut self) {
        self.real_servers.retain(|(_, server)| server.active() > 0 || server.is_steered());
    }
}

/// Whether it would be treated differently, were it back, if nothing were known of it.
fn is_remembered(server: &RealServer, now: Instant) -> bool {
    let matters = server.is_steered() || !server.is_up() || server.ejection().is_some();
    let is_recent = |since| now.saturating_duration_since(since) < REMEMBERED_FOR;
    matters && server.removed_since().is_none_or(is_recent)
}

//! What no configuration names any more, and has not been forgotten.
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Generation;
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
    /// The same of sorry servers.
    pub(crate) sorry_servers: Vec<(String, Arc<RealServer>)>,
}

impl Removed {
    /// Real servers and sorry servers.
    pub(crate) fn all_servers(&self) -> impl Iterator<Item = &(String, Arc<RealServer>)> {
        self.real_servers.iter().chain(&self.sorry_servers)
    }

    /// Remembers what of the generation before is not among those that follow.
    pub(super) fn see_off(&mut self, before: &Generation, services: &[Arc<Service>]) {
        let successor_of = |name: &str| services.iter().find(|service| service.virtual_server.name() == name);
        for service in before.services.iter().chain(&before.removed.services) {
            let name = service.virtual_server.name();
            for server in service.virtual_server.real_servers() {
                add(&mut self.real_servers, name, server);
            }
            if let Some(sorry) = &service.virtual_server.availability().sorry_server {
                add(&mut self.sorry_servers, name, sorry);
            }
        }
        self.real_servers.retain(|(of, server)| {
            !successor_of(of).is_some_and(|service| {
                service.virtual_server.real_servers().iter().any(|known| Arc::ptr_eq(known, server))
            })
        });
        self.sorry_servers.retain(|(of, server)| {
            let sorry = successor_of(of)
                .and_then(|service| service.virtual_server.availability().sorry_server.as_ref());
            !sorry.is_some_and(|known| Arc::ptr_eq(known, server))
        });
        self.services.extend(before.services.iter().map(Arc::clone));
        self.services.retain(|service| successor_of(service.virtual_server.name()).is_none());
    }

    /// Forgets what need not be remembered at `now`.
    pub(super) fn forget_unused(&mut self, now: Instant) {
        self.services.retain(|service| service.virtual_server.active() > 0);
        self.sorry_servers.retain(|(_, server)| server.active() > 0);
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

fn add(servers: &mut Vec<(String, Arc<RealServer>)>, virtual_server: &str, server: &Arc<RealServer>) {
    if !servers.iter().any(|(_, known)| Arc::ptr_eq(known, server)) {
        servers.push((virtual_server.to_owned(), Arc::clone(server)));
    }
}

/// Whether it would be treated differently, were it back, if nothing were known of it.
fn is_remembered(server: &RealServer, now: Instant) -> bool {
    let matters = server.is_steered() || !server.is_up() || server.ejection().is_some();
    let is_recent = |since| now.saturating_duration_since(since) < REMEMBERED_FOR;
    matters && server.removed_since().is_none_or(is_recent)
}

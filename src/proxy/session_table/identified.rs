//! Sessions of users that the door knows by name, for `status`.
//!
//! Apart from the table of all sessions: the others cost nothing here.
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::{Occupation, Registration, SessionTable};
use crate::balance::{RealServer, VirtualServer};

/// One of them.
#[derive(Clone, Debug)]
pub(crate) struct IdentifiedSession {
    /// Whose it is.
    pub(crate) dn: Arc<str>,
    /// Where the user is.
    pub(crate) client: SocketAddr,
    /// Under which address the real server knows the session.
    pub(crate) door: SocketAddr,
    /// See there.
    pub(crate) virtual_server: Arc<VirtualServer>,
    /// See there.
    pub(crate) real_server: Arc<RealServer>,
    /// When the client came.
    pub(crate) since: Instant,
}

/// A session's place in the list; dropped, it is removed.
#[derive(Debug)]
pub(in crate::proxy) struct Listed {
    table: Arc<SessionTable>,
    id: u64,
}

impl SessionTable {
    /// The oldest of them, `most` at most, each with whether it is in the midst of something; and how many there are.
    pub(crate) fn identified(&self, most: usize) -> (Vec<(IdentifiedSession, bool)>, usize) {
        let mut all: Vec<(u64, IdentifiedSession)> =
            self.identified.iter().map(|listed| (*listed.key(), listed.value().clone())).collect();
        let count = all.len();
        all.sort_by_key(|(id, session)| (session.since, *id));
        all.truncate(most);
        let with_state = |(id, session)| {
            let entry = self.sessions.get(&id);
            let is_busy = entry.is_some_and(|entry| entry.occupation.load(Relaxed) != Occupation::Idle as u8);
            (session, is_busy)
        };
        (all.into_iter().map(with_state).collect(), count)
    }
}

impl Registration {
    /// Shows whose session it is.
    pub(in crate::proxy) fn list(&self, session: IdentifiedSession) -> Listed {
        self.table.identified.insert(self.id, session);
        Listed { table: Arc::clone(&self.table), id: self.id }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.table.identified.remove(&self.id);
    }
}

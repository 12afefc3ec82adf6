//! Who a user is by the name in the certificate: who may come in, how many sessions each may hold, and whose server is which.
//!
//! ```text
//!   IdentityRules   allow, deny, sessions of one name, persistence: as one configuration has them
//!   Identities      sessions of each name, and the server that was its last: lives on
//!      admit ──▶ IdentitySession     dropped, the name holds one less
//!      home, settle                  persistence
//! ```
mod pattern;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

pub use pattern::NamePattern;

use super::real_server::RealServer;

/// Names whose server is kept in mind for sure, by virtual server; up to twice as many are. Each takes some 32 bytes, for a hash stands
/// for it: two names that share one share a server.
const MAX_HOMES: usize = 65_536;

/// What holds for users, as one configuration has it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct IdentityRules {
    /// Who may come in; everybody when empty (`allow_dn`).
    pub allow: Vec<NamePattern>,
    /// Who may not, whatever `allow` says (`deny_dn`).
    pub deny: Vec<NamePattern>,
    /// Sessions of one name at once (`max_sessions_per_dn`).
    pub max_sessions: Option<u32>,
    /// Whether all sessions of a name go to one server (`persistence`).
    pub persistent: bool,
}

/// Why a user may not come in.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IdentityRefusal {
    /// By a pattern.
    #[error("{name} is denied by `deny_dn`, by its pattern {pattern}")]
    Denied {
        /// The user.
        name: Box<str>,
        /// The first that it is in.
        pattern: NamePattern,
    },
    /// By no pattern.
    #[error("{name} is in no pattern of `allow_dn`")]
    NotAllowed {
        /// The user.
        name: Box<str>,
    },
    /// It holds as many sessions as it may.
    #[error("{name} holds max_sessions_per_dn = {max} sessions; raise it for users that need more")]
    TooManySessions {
        /// The user.
        name: Box<str>,
        /// The limit.
        max: u32,
    },
}

/// What is known of users. Its lock is taken twice a login and once at a session's end.
#[derive(Debug, Default)]
pub struct Identities(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// As many as there are sessions at most.
    sessions: HashMap<Arc<str>, u32>,
    hasher: RandomState,
    homes: HashMap<u64, Weak<RealServer>>,
    /// Those that were in mind when the others became too many; whoever comes again moves over.
    older: HashMap<u64, Weak<RealServer>>,
}

/// A session that is counted on its user; dropped, the user holds one less.
#[derive(Debug)]
#[must_use = "dropped, it gives the count back"]
pub struct IdentitySession {
    identities: Arc<Identities>,
    name: Arc<str>,
}

impl IdentityRules {
    fn judge(&self, name: &str) -> Result<(), IdentityRefusal> {
        if let Some(pattern) = self.deny.iter().find(|pattern| pattern.matches(name)) {
            return Err(IdentityRefusal::Denied { name: name.into(), pattern: pattern.clone() });
        }
        if self.allow.is_empty() || self.allow.iter().any(|pattern| pattern.matches(name)) {
            Ok(())
        } else {
            Err(IdentityRefusal::NotAllowed { name: name.into() })
        }
    }
}

impl Identities {
    /// Judges a user and counts a session more; without a limit, too, for a configuration to come may have one.
    ///
    /// # Errors
    ///
    /// The rules keep the user out.
    pub fn admit(
        self: &Arc<Self>,
        rules: &IdentityRules,
        name: &str,
    ) -> Result<IdentitySession, IdentityRefusal> {
        rules.judge(name)?;
        let mut table = self.lock();
        let known = table.sessions.get_key_value(name);
        let (name, held) = known.map_or_else(|| (name.into(), 0), |(name, held)| (Arc::clone(name), *held));
        match rules.max_sessions {
            Some(max) if held >= max => Err(IdentityRefusal::TooManySessions { name: (*name).into(), max }),
            _ => {
                table.sessions.insert(Arc::clone(&name), held + 1);
                drop(table);
                Ok(IdentitySession { identities: Arc::clone(self), name })
            }
        }
    }

    /// The server that was this user's last, if it is in mind.
    pub fn home(&self, name: &str) -> Option<Arc<RealServer>> {
        let table = self.lock();
        let key = table.hasher.hash_one(name);
        table.homes.get(&key).or_else(|| table.older.get(&key))?.upgrade()
    }

    /// From now on this is the user's server.
    pub fn settle(&self, name: &str, server: &Arc<RealServer>) {
        let mut table = self.lock();
        let key = table.hasher.hash_one(name);
        if table.homes.len() >= MAX_HOMES && !table.homes.contains_key(&key) {
            table.older = std::mem::take(&mut table.homes);
        }
        table.homes.insert(key, Arc::downgrade(server));
    }

    /// Users that hold sessions now.
    #[must_use]
    pub fn users(&self) -> usize {
        self.lock().sessions.len()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IdentitySession {
    /// Whose it is.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }
}

impl Drop for IdentitySession {
    fn drop(&mut self) {
        let mut table = self.identities.lock();
        match table.sessions.get_mut(&self.name) {
            Some(held @ 2..) => *held -= 1,
            _ => {
                table.sessions.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::RealServerSpec;

    fn rules(allow: &[&str], deny: &[&str]) -> IdentityRules {
        let patterns = |texts: &[&str]| texts.iter().map(|text| NamePattern::new(text)).collect();
        IdentityRules { allow: patterns(allow), deny: patterns(deny), ..IdentityRules::default() }
    }

    fn server(port: u16) -> Arc<RealServer> {
        Arc::new(RealServer::new(RealServerSpec {
            name: format!("s{port}"),
            address: ([10, 0, 0, 1], port).into(),
            weight: 1,
            max_connections: None,
            fall: 1,
            rise: 1,
        }))
    }

    #[test]
    fn who_may_come_in_row_by_row() {
        let identities = Arc::new(Identities::default());
        let joe = "/DC=org/DC=grid/OU=People/CN=Joe";
        for (allow, deny, comes) in [
            (&[][..], &[][..], true),
            (&["/DC=org/*"], &[], true),
            (&["/DC=net/*"], &[], false),
            (&["/DC=net/*", "/DC=org/DC=grid/*"], &[], true),
            (&[], &["*/CN=Joe"], false),
            (&["/DC=org/*"], &["*/OU=People/*"], false),
            (&[joe], &["/DC=org"], true),
            (&["*"], &["*"], false),
        ] {
            assert_eq!(identities.admit(&rules(allow, deny), joe).is_ok(), comes, "{allow:?} {deny:?}");
        }
        assert_eq!(identities.users(), 0);
    }

    #[test]
    fn a_user_holds_as_many_sessions_as_it_may_and_others_are_not_concerned() {
        let identities = Arc::new(Identities::default());
        let rules = IdentityRules { max_sessions: Some(2), ..IdentityRules::default() };
        let [first, _second] = [0; 2].map(|_| identities.admit(&rules, "/CN=a").unwrap());
        let refusal = identities.admit(&rules, "/CN=a").unwrap_err();
        assert_eq!(refusal, IdentityRefusal::TooManySessions { name: "/CN=a".into(), max: 2 });
        let other = identities.admit(&rules, "/CN=b").unwrap();
        assert_eq!(identities.users(), 2);
        drop((first, other));
        assert_eq!(identities.users(), 1);
        let _third = identities.admit(&rules, "/CN=a").unwrap();
        assert!(identities.admit(&rules, "/CN=a").is_err(), "of another configuration or not");
        let _fourth = identities.admit(&IdentityRules::default(), "/CN=a").unwrap();
    }

    #[test]
    fn a_users_server_is_kept_in_mind_while_there_is_room_and_the_server() {
        let identities = Identities::default();
        let (ours, other) = (server(1), server(2));
        identities.settle("/CN=a", &ours);
        identities.settle("/CN=b", &other);
        assert!(identities.home("/CN=a").is_some_and(|home| Arc::ptr_eq(&home, &ours)));
        assert!(identities.home("/CN=c").is_none());
        drop(other);
        assert!(identities.home("/CN=b").is_none(), "it is in no configuration any more");
        for number in 0..MAX_HOMES {
            identities.settle(&number.to_string(), &ours);
        }
        assert!(identities.home("/CN=a").is_some(), "among the older ones");
        for number in 0..MAX_HOMES {
            identities.settle(&format!("-{number}"), &ours);
        }
        assert!(identities.home("/CN=a").is_none());
        let table = identities.lock();
        assert!(table.homes.len() <= MAX_HOMES && table.older.len() <= MAX_HOMES);
    }
}

//! GSI that ends at the door: what came of logins, the keys for them, and whose sessions there are.
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::Status;
use crate::proxy::{IdentifiedSession, KeyPool, Service, SessionTable};

/// Most sessions that are listed; some 300 bytes each, and the oldest first: a longer answer is none that anybody reads.
const MAX_LISTED_SESSIONS: usize = 10_000;

/// Longest name that is listed, in bytes: real ones are some hundred, and an answer has its limit.
const MAX_LISTED_NAME: usize = 1024;

/// Of one virtual server that ends GSI.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct GsiStatus {
    /// As configured: `delegated`, `passthrough`.
    pub backend_login: String,
    /// Sessions so far whose clients log in at the real servers themselves, unread: all of them, or those of
    /// `passthrough_networks`.
    pub passed_through: u64,
    /// Users that hold sessions now.
    pub users: usize,
    /// Logins by what came of them; none of what has not occurred.
    pub logins: BTreeMap<String, u64>,
    /// Mean time from AUTH to 235 in milliseconds; `None` before the first.
    pub handshake_ms_mean: Option<f64>,
    /// Seconds until the host certificate expires, or one of its chain; below 0 when it has.
    pub certificate_ends_in_s: i64,
    /// Authorities that are believed.
    pub authorities: usize,
    /// Files of the trust directory that are not used, or 1 where the directory itself cannot be read; the log says why.
    pub trust_problems: usize,
}

/// Keys for delegated credentials.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct GsiKeysStatus {
    /// They lie ready.
    pub ready: usize,
    /// So many lie ready when none was taken for a while.
    pub wanted: usize,
    /// They were given out.
    pub taken: u64,
    /// Logins that have found none and had to wait.
    pub waits: u64,
}

/// Sessions of users that the door knows by name.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct GsiSessionsStatus {
    /// How many there are.
    pub count: usize,
    /// The oldest of them, 10,000 at most.
    pub oldest: Vec<GsiSessionStatus>,
}

/// One of them.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct GsiSessionStatus {
    /// Whose it is.
    pub dn: String,
    /// Address and port of the user.
    pub client: String,
    /// See there.
    pub virtual_server: String,
    /// See there.
    pub real_server: String,
    /// The address and port under which the real server knows the session.
    pub door: String,
    /// Seconds since the client came.
    pub since_s: u64,
    /// In the midst of a command or a transfer.
    pub busy: bool,
}

impl GsiStatus {
    pub(super) fn of(service: &Service, today: SystemTime) -> Option<Self> {
        let acceptor = &service.gsi.as_ref()?.acceptor;
        let record = &service.lasting.gsi;
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        Some(Self {
            backend_login: service.gsi.as_ref()?.backend_login.word().into(),
            passed_through: record.passed_through.load(Relaxed),
            users: record.identities.users(),
            logins: record
                .outcomes()
                .filter(|(_, count)| *count > 0)
                .map(|(outcome, count)| (outcome.word().to_owned(), count))
                .collect(),
            handshake_ms_mean: record.handshakes.mean().map(|mean| mean.as_secs_f64() * 1000.0),
            certificate_ends_in_s: match acceptor.expires().duration_since(today) {
                Ok(left) => seconds(left),
                Err(over) => -seconds(over.duration()),
            },
            authorities: acceptor.authorities(),
            trust_problems: acceptor.trust().problem_count(),
        })
    }
}

impl GsiKeysStatus {
    pub(in crate::control) fn of(keys: &KeyPool) -> Self {
        Self {
            ready: keys.ready(),
            wanted: keys.wanted(),
            taken: keys.taken.load(Relaxed),
            waits: keys.waits.load(Relaxed),
        }
    }
}

impl GsiSessionsStatus {
    pub(in crate::control) fn of(sessions: &SessionTable, now: Instant) -> Self {
        let (oldest, count) = sessions.identified(MAX_LISTED_SESSIONS);
        Self { count, oldest: oldest.iter().map(|(it, busy)| GsiSessionStatus::of(it, *busy, now)).collect() }
    }
}

impl GsiSessionStatus {
    fn of(session: &IdentifiedSession, busy: bool, now: Instant) -> Self {
        let end = session.dn.floor_char_boundary(MAX_LISTED_NAME);
        let dn = session.dn[..end].chars().map(|c| if c.is_control() { '_' } else { c }).collect();
        Self {
            dn,
            client: session.client.to_string(),
            virtual_server: session.virtual_server.name().into(),
            real_server: session.real_server.name().into(),
            door: session.door.to_string(),
            since_s: now.saturating_duration_since(session.since).as_secs(),
            busy,
        }
    }
}

/// A line below the real servers.
impl fmt::Display for GsiStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.backend_login == "passthrough" {
            write!(f, "  GSI passes through: {} sessions", self.passed_through)?;
        } else {
            write!(f, "  GSI ends here: {} users inside", self.users)?;
            if self.passed_through > 0 {
                write!(f, ", {} sessions passed through", self.passed_through)?;
            }
        }
        for (outcome, count) in &self.logins {
            write!(f, ", {count} {outcome}")?;
        }
        if let Some(mean) = self.handshake_ms_mean {
            write!(f, ", handshake {mean:.0} ms")?;
        }
        let days = self.certificate_ends_in_s.div_euclid(86_400);
        writeln!(f, "; {} authorities; host certificate ends in {days} days", self.authorities)?;
        if self.trust_problems > 0 {
            writeln!(f, "  {} problems with the trust directory: see the log", self.trust_problems)?;
        }
        Ok(())
    }
}

impl fmt::Display for GsiKeysStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ready, wanted, taken, waits } = self;
        write!(f, "keys for GSI logins: {ready} of {wanted} ready, {taken} taken, {waits} logins had to wait")
    }
}

/// A table, a line for each session, which grep and sort can read.
impl fmt::Display for GsiSessionsStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |of: fn(&GsiSessionStatus) -> &str, least: usize| {
            self.oldest.iter().map(|it| of(it).len()).max().unwrap_or(0).max(least)
        };
        let clients = width(|it| &it.client, 6);
        let virtuals = width(|it| &it.virtual_server, 14);
        let reals = width(|it| &it.real_server, 11);
        writeln!(
            f,
            "{:>8}  {:5}  {:clients$}  {:virtuals$}  {:reals$}  user",
            "age", "state", "client", "virtual server", "real server"
        )?;
        for it in &self.oldest {
            let state = if it.busy { "busy" } else { "idle" };
            writeln!(
                f,
                "{:>6} s  {state:5}  {:clients$}  {:virtuals$}  {:reals$}  {}",
                it.since_s, it.client, it.virtual_server, it.real_server, it.dn
            )?;
        }
        match self.count.saturating_sub(self.oldest.len()) {
            0 => Ok(()),
            more => writeln!(f, "and {more} that came later"),
        }
    }
}

impl Status {
    /// The table of sessions alone, where they were asked for.
    #[must_use]
    pub fn sessions_table(&self) -> String {
        self.gsi_sessions.as_ref().map(ToString::to_string).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_whose_gsi_ends_here() {
        let of = |backend_login: &str, passed_through| GsiStatus {
            backend_login: backend_login.into(),
            passed_through,
            users: 2,
            ..GsiStatus::default()
        };
        for (status, begin) in [
            (of("delegated", 0), "  GSI ends here: 2 users inside; 0 authorities"),
            (of("delegated", 7), "  GSI ends here: 2 users inside, 7 sessions passed through; 0"),
            (of("passthrough", 7), "  GSI passes through: 7 sessions; 0 authorities"),
        ] {
            let line = status.to_string();
            assert!(line.starts_with(begin), "{line}");
        }
    }

    #[test]
    fn sessions_are_a_line_each_and_those_that_are_left_out_are_counted() {
        let session = |dn: &str, since_s, busy| GsiSessionStatus {
            dn: dn.into(),
            client: "192.0.2.7:40000".into(),
            virtual_server: "gridftp".into(),
            real_server: "s1".into(),
            door: "10.0.0.1:50000".into(),
            since_s,
            busy,
        };
        let shown = GsiSessionsStatus {
            count: 3,
            oldest: vec![session("/O=Grid/CN=Jane Doe", 4000, true), session("/CN=b", 2, false)],
        };
        assert_eq!(
            shown.to_string(),
            "     age  state  client           virtual server  real server  user\n\
             \x20 4000 s  busy   192.0.2.7:40000  gridftp         s1           /O=Grid/CN=Jane Doe\n\
             \x20    2 s  idle   192.0.2.7:40000  gridftp         s1           /CN=b\n\
             and 1 that came later\n"
        );
    }
}

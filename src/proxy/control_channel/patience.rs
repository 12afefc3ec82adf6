//! How long a session that waits may go on waiting, and what follows.
use std::time::{Duration, Instant};

use crate::proto::ftp::Ending;

/// How long a session without a transfer may stay while the whole door is being drained: SIGTERM is to be quick.
const DRAINED_IDLE: Duration = Duration::from_secs(5);

/// The same while its real server is being drained. The client may be between two files; many keep a connection for
/// the next.
const SERVER_DRAINED_IDLE: Duration = Duration::from_secs(60);

/// A client that speaks again within this time is in the midst of something that 421 would break, such as a login
/// that leads to a transfer.
const PAUSE: Duration = Duration::from_secs(2);

/// How long such a client may go on at a server that is being drained: enough for what has begun, and an end for those
/// that fetch file after file.
const FULL_SWING_FOR: Duration = Duration::from_secs(60);

/// How often to look whether a client is still there that is not read until the server answers. A silent transfer
/// would hold the session of one that has long gone, for hours.
const LOOK_AFTER: Duration = Duration::from_secs(5);

/// How long a real server may take over what the door asks it before a transfer (PASV, PORT, REST). It has nothing to look
/// up for that; a client would have given it about as long.
pub(super) const ANSWER_FOR: Duration = Duration::from_secs(60);

/// How long a real server may take over the answer to an upload whose data connection has been reset. Some never give one
/// (pyftpdlib, where the reset comes before it has accepted), and a session that is busy has no other end.
pub(super) const BROKEN_FOR: Duration = Duration::from_secs(60);

/// What a waiting session waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation {
    /// Neither side has closed. Afterwards a timer of its own counts, for seconds matter then.
    pub(super) open: bool,
    /// The client has not taken all that is meant for it.
    pub(super) client_is_behind: bool,
    /// The same of the server.
    pub(super) server_is_behind: bool,
    /// The client is not read until the server answers.
    pub(super) held_back: bool,
    /// The server owes a reply, or may, inside a tunnel.
    pub(super) busy: bool,
    /// No command, no open data address: nothing would be lost.
    pub(super) quiet: bool,
    pub(super) drained: Drained,
    /// Until when to log in, if that is still to come.
    pub(super) login_due: Option<Instant>,
    /// Until when the server has to answer what the door has asked, or an upload that broke, if it owes that.
    pub(super) answer_due: Option<Instant>,
}

/// What is being drained around a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Drained {
    No,
    /// Its real server.
    Server,
    /// The whole door.
    Door,
}

/// Whether a client that speaks now is in the midst of something, so that its next command passes though its server
/// has been drained since `since`. `active` is when a byte last went anywhere.
pub(super) fn is_in_full_swing(active: Instant, since: Instant, now: Instant) -> bool {
    now < active + PAUSE && now < since + FULL_SWING_FOR
}

/// The end of patience.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Patience {
    /// `None` for never.
    pub(super) until: Option<Instant>,
    then: Verdict,
}

/// What to do then.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    End(Ending),
    LookForClient,
}

impl Patience {
    /// The same, but for an ending that is due until then, if there is one.
    fn within(self, due: Option<Instant>, ending: Ending) -> Self {
        match due {
            Some(due) if self.until.is_none_or(|until| due <= until) => {
                Self { until: Some(due), then: Verdict::End(ending) }
            }
            _ => self,
        }
    }

    /// What is to be done, if the time has come.
    pub(super) fn expired(self, now: Instant) -> Option<Verdict> {
        self.until.filter(|&until| until <= now).map(|_| self.then)
    }
}

impl Drained {
    fn idle_limit(self) -> Option<Duration> {
        match self {
            Self::No => None,
            Self::Server => Some(SERVER_DRAINED_IDLE),
            Self::Door => Some(DRAINED_IDLE),
        }
    }
}

impl Situation {
    /// `active` is when a byte last went anywhere, or the client was last looked for; `idle` the time-out for that.
    pub(super) fn patience(self, active: Instant, idle: Duration) -> Patience {
        let never = Patience { until: None, then: Verdict::End(Ending::IdleTimeout) };
        if !self.open {
            return never;
        }
        let end = |until, ending| Patience { until: Some(until), then: Verdict::End(ending) };
        let patience = if self.client_is_behind {
            end(active + idle, Ending::ClientStalled)
        } else if self.server_is_behind {
            end(active + idle, Ending::ServerStalled)
        } else if let (Some(limit), true) = (self.drained.idle_limit(), self.quiet) {
            end(active + limit.min(idle), Ending::Draining)
        } else if self.held_back {
            Patience { until: Some(active + LOOK_AFTER), then: Verdict::LookForClient }
        } else if self.busy {
            never
        } else {
            end(active + idle, Ending::IdleTimeout)
        };
        let patience = patience.within(self.login_due, Ending::LoginTimeout);
        patience.within(self.answer_due, Ending::ServerSilent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods)] // a starting point
    fn every_wait_has_its_end() {
        use Ending::{ClientStalled, Draining, IdleTimeout, LoginTimeout, ServerSilent, ServerStalled};
        use Verdict::{End, LookForClient};
        const IDLE: Duration = Duration::from_secs(900);
        let active = Instant::now();
        let at = |seconds| Some(active + Duration::from_secs(seconds));
        let idle = Situation {
            open: true,
            client_is_behind: false,
            server_is_behind: false,
            held_back: false,
            busy: false,
            quiet: true,
            drained: Drained::No,
            login_due: None,
            answer_due: None,
        };
        let busy = Situation { busy: true, quiet: false, ..idle };
        let address_open = Situation { quiet: false, ..idle };
        #[rustfmt::skip]
        let table: &[(&str, Situation, Option<Instant>, Verdict)] = &[
            ("idle",                   idle,                                              at(900), End(IdleTimeout)),
            ("a silent transfer",      busy,                                              None,    End(IdleTimeout)),
            ("an unused address",      address_open,                                      at(900), End(IdleTimeout)),
            ("drained",                Situation { drained: Drained::Door, ..idle },      at(5),   End(Draining)),
            ("its server is",          Situation { drained: Drained::Server, ..idle },    at(60),  End(Draining)),
            ("in a transfer",          Situation { drained: Drained::Door, ..busy },      None,    End(IdleTimeout)),
            ("the same, its server",   Situation { drained: Drained::Server, ..busy },    None,    End(IdleTimeout)),
            ("drained, address open",  Situation { drained: Drained::Server, ..address_open }, at(900), End(IdleTimeout)),
            ("client does not read",   Situation { client_is_behind: true, ..busy },      at(900), End(ClientStalled)),
            ("server does not read",   Situation { server_is_behind: true, ..busy },      at(900), End(ServerStalled)),
            ("held back",              Situation { held_back: true, ..busy },             at(5),   LookForClient),
            ("before login",           Situation { login_due: at(120), ..idle },          at(120), End(LoginTimeout)),
            ("before login, busy",     Situation { login_due: at(120), ..busy },          at(120), End(LoginTimeout)),
            ("before login, drained",  Situation { login_due: at(120), drained: Drained::Door, ..idle }, at(5), End(Draining)),
            ("before login, deaf",     Situation { login_due: at(120), client_is_behind: true, ..busy }, at(120), End(LoginTimeout)),
            ("asked, no answer",       Situation { answer_due: at(3), held_back: true, ..busy }, at(3),    End(ServerSilent)),
            ("asked, answer not due",  Situation { answer_due: at(60), held_back: true, ..busy }, at(5),   LookForClient),
            ("asked before login",     Situation { answer_due: at(60), login_due: at(120), ..busy }, at(60), End(ServerSilent)),
            ("broken, no answer",      Situation { answer_due: at(60), ..busy },          at(60),  End(ServerSilent)),
            ("closing",                Situation { open: false, ..idle },                 None,    End(IdleTimeout)),
        ];
        for &(name, situation, until, then) in table {
            let patience = situation.patience(active, IDLE);
            assert_eq!(patience.until, until, "{name}");
            if let Some(until) = until {
                assert_eq!(patience.expired(until - Duration::from_millis(1)), None, "{name}");
                assert_eq!(patience.expired(until), Some(then), "{name}");
            }
        }
    }

    #[test]
    #[allow(clippy::disallowed_methods)] // a starting point
    fn a_client_that_does_not_pause_goes_on_for_a_minute() {
        let since = Instant::now();
        let at = |millis| since + Duration::from_millis(millis);
        #[rustfmt::skip]
        let table: &[(u64, u64, bool)] = &[
            // The last byte and the next command, in milliseconds after the drain.
            (0,      20,     true),
            (0,      1_999,  true),
            (0,      2_000,  false),
            (50_000, 50_020, true),
            (50_000, 53_000, false),
            (59_990, 59_999, true),
            (59_990, 60_000, false),
        ];
        for &(active, now, expected) in table {
            assert_eq!(is_in_full_swing(at(active), since, at(now)), expected, "{active} {now}");
        }
    }
}

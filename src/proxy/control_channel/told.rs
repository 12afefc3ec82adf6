//! What comes from outside the two connections: time, a drain of the server or of the door, the door's end.
use std::time::Instant;

use super::super::session_table::{Occupation, Signal};
use super::patience::{ANSWER_FOR, BROKEN_FOR, Drained, Patience, Situation, Verdict, is_in_full_swing};
use super::{ControlChannel, Scratch, State, Step};
use crate::proto::ftp::{Ending, Login};
use crate::sys;

impl ControlChannel {
    pub(super) fn heed_signals(&mut self, now: Instant, scratch: &mut Scratch) -> Step {
        if self.registration.take_place_change()
            && let Some(stream) = self.client.tcp()
            && let Ok(client) = stream.peer_addr()
        {
            self.registration.set_place(client, || stream.local_addr().ok());
        }
        let signal = self.registration.signal();
        if signal >= Signal::Drain && !self.draining {
            self.draining = true;
            self.session.handle_drain();
        }
        let cut = self.heed_server(now) && !matches!(self.state, State::Closing { .. });
        if cut {
            // Before the server is given back: whoever waits for the last session asks how it ended.
            self.real_server.count_ended_by_drain();
        }
        let ending = match self.state {
            State::HalfClosed { .. } if signal == Signal::Shutdown || cut => {
                return Step::Over(Ending::ClientClosed);
            }
            State::Closing { ending, .. } if signal == Signal::Shutdown => return Step::Over(ending),
            State::HalfClosed { .. } | State::Closing { .. } => return Step::Forward,
            State::Open if signal == Signal::Shutdown => Ending::Shutdown,
            State::Open if cut => Ending::DrainDeadline,
            State::Open if self.registration.is_overdue(now) => match self.patience(now).expired(now) {
                Some(Verdict::End(ending)) => ending,
                Some(Verdict::LookForClient)
                    if self.client.tcp().is_none_or(sys::socket::is_closed_by_peer) =>
                {
                    Ending::ClientClosed
                }
                Some(Verdict::LookForClient) => {
                    self.active = now;
                    return Step::Forward;
                }
                None => return Step::Forward,
            },
            State::Open => return Step::Forward,
        };
        self.session.handle_ending(ending, now, &mut scratch.out);
        if ending == Ending::ClientStalled {
            // What it has not taken for so long it will not take now.
            return Step::Over(ending);
        }
        self.close(ending, scratch);
        Step::Forward
    }

    /// The server is drained, or no more; whether the deadline of that has come.
    fn heed_server(&mut self, now: Instant) -> bool {
        if self.registration.take_server_change() {
            self.server_is_drained = true;
        }
        if !self.server_is_drained {
            return false;
        }
        let drain = self.real_server.drain();
        self.server_is_drained = drain.is_some();
        let refuses =
            self.draining || drain.is_some_and(|drain| !is_in_full_swing(self.active, drain.since, now));
        if refuses {
            self.session.handle_drain();
        } else {
            self.session.handle_undrain();
        }
        drain.is_some_and(|drain| drain.is_over(now))
    }

    pub(super) fn patience(&mut self, now: Instant) -> Patience {
        let tunnel = self.session.tunnel().is_some();
        let before_login = self.session.login() == Login::No && !tunnel;
        if !before_login {
            self.login_due_from = now;
        }
        let limits = &self.service.timeouts;
        let flowing = self.relays.as_ref().is_some_and(|relays| relays.is_flowing());
        let held_back = !tunnel && !self.session.accepts_client();
        let situation = Situation {
            open: matches!(self.state, State::Open),
            client_is_behind: !self.to_client.is_empty(),
            server_is_behind: !self.to_server.is_empty(),
            held_back,
            busy: tunnel || flowing || self.session.is_busy(),
            quiet: self.session.is_quiet() && !flowing,
            drained: match (self.draining, self.server_is_drained) {
                (true, _) => Drained::Door,
                (false, true) => Drained::Server,
                (false, false) => Drained::No,
            },
            login_due: before_login.then(|| self.login_due_from + limits.login),
            answer_due: [
                held_back.then(|| self.session.asked_since()).flatten().map(|since| since + ANSWER_FOR),
                self.session.broken_since().map(|since| since + BROKEN_FOR),
            ]
            .into_iter()
            .flatten()
            .min(),
        };
        self.registration.set_occupation(match situation {
            _ if tunnel => Occupation::Unread,
            Situation { quiet: true, .. } => Occupation::Idle,
            _ => Occupation::Busy,
        });
        situation.patience(self.active, limits.idle)
    }
}

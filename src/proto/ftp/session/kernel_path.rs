//! Data connections that the kernel carries from the virtual address to the real server, past the door.
//!
//! The server is asked for its address at once, because the client is told the same port. What it fixes then is the type
//! in force, which the door has chosen before, as on the direct path; a client that changes it afterwards is told so when its
//! transfer begins. Where the kernel does not carry a connection after all, the door does.
use std::time::Instant;

use super::super::bounce::Login;
use super::super::own_ports::Enlisted;
use super::super::policy::{DataPath, ForeignDataAddresses, PathReason};
use super::super::relay::{RelayId, RelayRequest, Unexpected};
use super::commands::Taken;
use super::data_commands::NOT_LOGGED_IN;
use super::data_connection::{Asked, PassiveForm, Step};
use super::pending::{Gate, Kind};
use super::{Action, Outbox, Session};

/// Whether the kernel carries data connections of this session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum KernelPath {
    /// There is none for its server.
    None,
    Open,
    /// Not the one that is asked for now.
    RefusedOnce,
    /// None any more.
    Refused,
}

/// What it carries.
#[derive(Debug)]
pub(super) struct Carried {
    id: RelayId,
    _enlisted: Option<Enlisted>,
}

impl KernelPath {
    pub(super) fn refuse(&mut self, why: Unexpected) {
        *self = match why {
            Unexpected::PortTaken => Self::RefusedOnce,
            Unexpected::Closed => Self::Refused,
        };
    }

    /// The set-up that it would not carry is done without it.
    pub(super) fn forgive(&mut self) {
        if *self == Self::RefusedOnce {
            *self = Self::Open;
        }
    }
}

impl Session {
    /// The same where the kernel may carry data connections, which the driver is asked for each time.
    #[must_use]
    pub fn with_kernel_path(mut self) -> Self {
        self.kernel_path = KernelPath::Open;
        self
    }

    /// Whether a PASV or EPSV that is to be carried is half way to its answer.
    pub(super) fn asks_kernel(&self) -> bool {
        self.data.as_ref().is_some_and(|data| matches!(data.asked, Asked::Carried))
    }

    /// PASV or EPSV where the kernel carries the data.
    pub(super) fn carried_passive(
        &mut self,
        now: Instant,
        form: PassiveForm,
        reason: PathReason,
        out: &mut Outbox,
    ) -> Taken {
        if self.login == Login::No {
            return self.answer(NOT_LOGGED_IN, out);
        }
        self.wait_until(Gate::Empty)?;
        if !self.asks_kernel() {
            self.set_up(Asked::Carried, reason, now, out);
            return Err(self.ask_for_port(out));
        }
        let Some(data) = self.data.take() else { return Ok(()) };
        match (&data.step, data.ports.first()) {
            (Step::Bound, Some(&port)) => {
                self.announce(form, port, false, out);
                self.address_open = true;
                (self.path, self.reason) = (DataPath::Kernel, data.reason);
                self.carried = Some(Box::new(Carried { id: data.id, _enlisted: data.enlisted }));
                Ok(())
            }
            // The server has said itself what it says to this command.
            (Step::Answered(_), _) => {
                self.type_at_address = None;
                Ok(())
            }
            _ => {
                self.type_at_address = None;
                if self.kernel_path == KernelPath::Open {
                    self.kernel_path = KernelPath::RefusedOnce;
                }
                self.relayed_passive(now, form, PathReason::NoKernelPath, out)
            }
        }
    }

    /// Has the server listen, in the family of the client.
    fn ask_for_port(&mut self, out: &mut Outbox) -> Gate {
        self.choose_type(out);
        if std::mem::take(&mut self.server_delays) {
            self.ask(Kind::Other, b"OPTS PASV AllowDelayed=0;\r\n", out);
        }
        if let Some(data) = &mut self.data {
            data.step = Step::Asking;
        }
        let line: &[u8] = match (self.server.addresses.dialled_is_ipv6(), self.client.is_ipv6()) {
            (false, false) => b"PASV\r\n",
            (true, true) => b"EPSV\r\n",
            (true, false) => b"EPSV 1\r\n",
            (false, true) => b"EPSV 2\r\n",
        };
        self.ask(Kind::LatePassive, line, out);
        Gate::Data
    }

    /// The server listens.
    pub(super) fn expect(&mut self, out: &mut Outbox) {
        let from_anywhere = match self.policy.bounce.foreign {
            ForeignDataAddresses::Deny => false,
            // As for ports of the door: third parties are to be expected of the Globus family alone.
            ForeignDataAddresses::ThirdParty => self.is_globus && self.login == Login::User,
            ForeignDataAddresses::Allow => true,
        };
        let Some(data) = &mut self.data else { return };
        match data.targets.first() {
            Some(target) if self.server.addresses.contains(target.ip()) => {
                data.step = Step::Expecting;
                let request = RelayRequest::Expect { id: data.id, port: target.port(), from_anywhere };
                out.actions.push(Action::Relay(request));
            }
            _ => data.fail("its data is at another host"),
        }
    }

    /// A transfer is over. Those of MODE E keep their connections for the next one.
    pub(super) fn withdraw_used(&mut self, out: &mut Outbox) {
        if !self.mode_is_e {
            self.withdraw(out);
        }
    }

    /// Nobody is to connect there any more.
    pub(super) fn withdraw(&mut self, out: &mut Outbox) {
        if let Some(carried) = self.carried.take() {
            out.actions.push(Action::Relay(RelayRequest::Close { id: carried.id }));
        }
    }
}

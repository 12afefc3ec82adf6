//! What goes wrong when: drawn from a seed, so that the seed is all that has to be told.

use std::fmt;
use std::time::Duration;

use super::bad_line::Trouble;
use crate::support::seeded::Seeded;

/// Faults of a window begin and end within this time of its begin; then all is repaired.
pub(super) const FAULTY: Duration = Duration::from_secs(14);
/// From one fault to the next.
const BETWEEN: (usize, usize) = (100, 500);
/// How long one lasts, in milliseconds. Below the patience of clients that wait for one reply.
const LASTS: (usize, usize) = (300, 4000);
/// So much longer where names are concerned: records without a TTL are asked for every 5 s.
const ASKED_AGAIN: Duration = Duration::from_secs(5);
/// A door that is stopped longer than this stops everybody.
const DOOR_FROZEN: Duration = Duration::from_millis(800);
/// All Globus servers may be away at once for so long: a site that has none is no test of a balancer.
const NO_SERVER: Duration = Duration::from_secs(1);
/// Draws of a fault that can begin now, before there is none.
const DRAWS: usize = 20;

/// A program that serves files.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum RealServer {
    /// The Globus server of this machine.
    Globus(&'static str),
    Proftpd,
    Pyftpdlib,
}

/// See the names in [`Fault::kind`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    Kill(RealServer),
    Pause(RealServer),
    /// The machine's cable is pulled.
    Unplug(&'static str),
    /// Little arrives at the machine.
    Throttle(&'static str),
    /// Every connection between the door and the machine is reset.
    Reset(&'static str),
    Line(usize, Trouble),
    NewCertificate,
    /// A file that is no certificate.
    BadCertificate,
    StuckLogReader,
    FewDescriptors(usize),
    FreezeDoor,
    /// A machine with clients is gone, and nothing tells the door.
    Vanish,
    /// Clients of the admin socket that ask nothing.
    DawdlingAdmins,
    Reload,
    BadReload,
    /// The door asks for real servers, and learns nothing or something else.
    Names(Names),
    Drain(&'static str),
    Weight(&'static str, usize),
}

/// What becomes of questions for names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Names {
    /// SERVFAIL.
    Fail,
    Silent,
    /// All the addresses but this machine's.
    Without(&'static str),
}

/// One fault and its time, from the begin of the window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) at: Duration,
    pub(super) lasts: Duration,
    pub(super) fault: Fault,
}

/// What the door in front of us can be told by command.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Commands {
    pub(super) reload: bool,
    pub(super) drain: bool,
    pub(super) weight: bool,
}

const GLOBUS: [&str; 3] = ["s1", "s2", "s3"];

impl Fault {
    /// For the table.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Kill(_) => "server killed, restarted",
            Self::Pause(_) => "server paused (SIGSTOP)",
            Self::Unplug("client") => "client's cable pulled",
            Self::Unplug(_) => "server's cable pulled",
            Self::Throttle(_) => "slow network",
            Self::Reset(_) => "connections reset",
            Self::Line(_, Trouble::Mute) => "silent replies",
            Self::Line(_, Trouble::Slow) => "slow replies",
            Self::Line(_, Trouble::Reset) => "reset in a reply",
            Self::Line(_, Trouble::Garbage) => "garbage before replies",
            Self::Line(_, Trouble::Busy | Trouble::None) => "421 busy",
            Self::NewCertificate => "certificate replaced",
            Self::BadCertificate => "certificate spoiled",
            Self::StuckLogReader => "log reader stuck",
            Self::FewDescriptors(_) => "descriptors short",
            Self::FreezeDoor => "door paused (SIGSTOP)",
            Self::Vanish => "clients vanished",
            Self::DawdlingAdmins => "admin clients silent",
            Self::Reload => "reload",
            Self::BadReload => "reload, file wrong",
            Self::Names(Names::Fail) => "names fail",
            Self::Names(Names::Silent) => "names not answered",
            Self::Names(Names::Without(_)) => "name lost an address",
            Self::Drain(_) => "drain, undrain",
            Self::Weight(..) => "weight changed",
        }
    }

    fn draw(numbers: &mut Seeded, commands: Commands) -> Self {
        let server = GLOBUS[numbers.within(0..GLOBUS.len())];
        let (any, machine) = match numbers.within(0..8) {
            0 => (RealServer::Proftpd, "client"),
            1 => (RealServer::Pyftpdlib, "client"),
            _ => (RealServer::Globus(server), server),
        };
        let trouble = Trouble::ALL[numbers.within(0..Trouble::ALL.len())];
        let (line, few, weight) = (numbers.within(0..2), numbers.within(0..12), numbers.within(0..4));
        let names = [Names::Fail, Names::Silent, Names::Without(server)][numbers.within(0..3)];
        #[rustfmt::skip]
        let choices = [
            (12, Self::Kill(any)),
            (8, Self::Pause(any)),
            (4, Self::Unplug(machine)),
            (4, Self::Throttle(machine)),
            (10, Self::Reset(machine)),
            (20, Self::Line(line, trouble)),
            (3, Self::NewCertificate),
            (2, Self::BadCertificate),
            (3, Self::StuckLogReader),
            (4, Self::FewDescriptors(few)),
            (2, Self::FreezeDoor),
            (3, Self::Vanish),
            (2, Self::DawdlingAdmins),
            (4, Self::Names(names)),
            (if commands.reload { 6 } else { 0 }, Self::Reload),
            (if commands.reload { 3 } else { 0 }, Self::BadReload),
            (if commands.drain { 6 } else { 0 }, Self::Drain(server)),
            (if commands.weight { 6 } else { 0 }, Self::Weight(server, weight)),
        ];
        let mut left = numbers.within(0..choices.iter().map(|(weight, _)| weight).sum());
        for (weight, fault) in choices {
            match left.checked_sub(weight) {
                Some(rest) => left = rest,
                None => return fault,
            }
        }
        unreachable!("a number below the sum of all weights")
    }

    /// Two that meddle with the same thing do not overlap.
    fn meddles_with(self, other: Self) -> bool {
        use Fault::*;
        match (self, other) {
            (Kill(a) | Pause(a), Kill(b) | Pause(b)) => a == b,
            // Nor would a reset arrive: it is sent once.
            (Unplug(a) | Throttle(a) | Reset(a), Unplug(b) | Throttle(b) | Reset(b)) => a == b,
            (Line(a, _), Line(b, _)) => a == b,
            (NewCertificate | BadCertificate, NewCertificate | BadCertificate)
            // What is asked of the door by command needs a door that answers.
            | (
                Reload | BadReload | Drain(_) | Weight(..) | FewDescriptors(_) | FreezeDoor | DawdlingAdmins,
                Reload | BadReload | Drain(_) | Weight(..) | FewDescriptors(_) | FreezeDoor | DawdlingAdmins,
            )
            | (StuckLogReader, StuckLogReader)
            | (Vanish, Vanish)
            | (Names(_), Names(_))
            // A reload reads the certificate, too, and is refused with one that is none.
            | (Reload, BadCertificate)
            | (BadCertificate, Reload) => true,
            _ => false,
        }
    }

    /// Whose Globus server takes no session while this lasts.
    fn disables(self) -> Option<&'static str> {
        match self {
            Self::Kill(RealServer::Globus(role)) | Self::Pause(RealServer::Globus(role)) => Some(role),
            Self::Unplug(role) | Self::Drain(role) | Self::Weight(role, 0) if role != "client" => Some(role),
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self:?}")
    }
}

impl Step {
    pub(super) fn end(&self) -> Duration {
        self.at + self.lasts
    }

    fn overlap(&self, other: &Self) -> Duration {
        self.end().min(other.end()).saturating_sub(self.at.max(other.at))
    }

    /// Whether it can join the others.
    fn fits(&self, others: &[Self]) -> bool {
        let meddles = |other: &Self| self.fault.meddles_with(other.fault) && !self.overlap(other).is_zero();
        if others.iter().any(meddles) {
            return false;
        }
        let Some(role) = self.fault.disables() else { return true };
        // With every pair of faults at the two other servers: the three overlap only shortly.
        let away =
            |wanted: &'static str| others.iter().filter(move |other| other.fault.disables() == Some(wanted));
        let [second, third] = match role {
            "s1" => ["s2", "s3"],
            "s2" => ["s1", "s3"],
            _ => ["s1", "s2"],
        };
        away(second).all(|second| {
            away(third).all(|third| {
                let end = self.end().min(second.end()).min(third.end());
                end.saturating_sub(self.at.max(second.at).max(third.at)) <= NO_SERVER
            })
        })
    }
}

/// The faults of one window, in the order of their begin.
pub(super) fn window(numbers: &mut Seeded, commands: Commands) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut at = Duration::ZERO;
    loop {
        at += millis(numbers.within(BETWEEN.0..BETWEEN.1));
        if at + millis(LASTS.0) >= FAULTY {
            return steps;
        }
        let drawn = (0..DRAWS).find_map(|_| {
            let fault = Fault::draw(numbers, commands);
            let mut lasts = millis(numbers.within(LASTS.0..LASTS.1)).min(FAULTY - at);
            match fault {
                Fault::FreezeDoor => lasts = lasts.min(DOOR_FROZEN),
                Fault::Names(_) => lasts = (lasts + ASKED_AGAIN).min(FAULTY - at),
                _ => {}
            }
            let step = Step { at, lasts, fault };
            step.fits(&steps).then_some(step)
        });
        steps.extend(drawn);
    }
}

fn millis(count: usize) -> Duration {
    Duration::from_millis(count as u64)
}

#[test]
fn a_plan_is_that_of_its_seed_and_leaves_the_site_a_server() {
    let all = Commands { reload: true, drain: true, weight: true };
    for seed in 0..200 {
        let steps = window(&mut Seeded::new(seed), all);
        let again = window(&mut Seeded::new(seed), all);
        assert_eq!(format!("{steps:?}"), format!("{again:?}"));
        assert!(steps.len() > 20, "seed {seed}: {} faults", steps.len());
        let mut without = Duration::ZERO;
        let beat = Duration::from_millis(10);
        let mut now = Duration::ZERO;
        while now < FAULTY {
            let away = |role| {
                let mut under_way = steps.iter().filter(|step| step.at <= now && now < step.end());
                under_way.any(|step| step.fault.disables() == Some(role))
            };
            without = if GLOBUS.into_iter().all(away) { without + beat } else { Duration::ZERO };
            assert!(without <= NO_SERVER * 3, "seed {seed}: no server for {without:?} at {now:?}");
            now += beat;
        }
        assert!(steps.iter().all(|step| step.end() <= FAULTY));
    }
}

//! One virtual router on one link: the state machine of RFC 9568 section 6 and RFC 3768 section 6, with what keepalived has
//! beside them: faults, a delay before it preempts, sync groups.
//!
//! Three things are decided here:
//!
//! - `preempt_delay` is added to the time that preempting takes anyway, and starts when a master of lower priority is first
//!   heard. Meanwhile that master counts as any other: should it die, the delay is over with it.
//! - A router that has stepped down, or was told to by its sync group, does not preempt until the master after it is gone.
//! - The priority of an owner is not lowered by what is tracked, as keepalived has it.

mod cause;
mod config;
mod state;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

pub use cause::Cause;
pub use config::InstanceConfig;
pub use state::{Action, Role, State};

use super::{Advertisement, Discard, Priority, Version};

/// The last advertisement of whoever is master.
#[derive(Clone, Copy, Debug)]
struct Heard {
    source: IpAddr,
    priority: Priority,
    at: Instant,
    has_our_addresses: bool,
}

/// What is behind the silence that a backup waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Vacancy {
    /// Nobody has given up.
    Unknown,
    /// A master has, with priority 0.
    Released(IpAddr),
    /// We have.
    SteppedDown,
}

/// The machine. See [the module](super) for who calls what.
#[derive(Debug)]
pub struct Instance {
    config: InstanceConfig,
    /// In effect: that of the configuration, as changed by what is tracked.
    priority: Priority,
    state: State,
    heard: Option<Heard>,
    vacancy: Vacancy,
    /// Leaves even a master of lower priority in office.
    yields: bool,
    actions: VecDeque<Action>,
}

impl Instance {
    /// An instance that does nothing before [`Self::start`].
    #[must_use]
    pub fn new(config: InstanceConfig) -> Self {
        let priority = config.priority;
        Self {
            config,
            priority,
            state: State::Initialize,
            heard: None,
            vacancy: Vacancy::Unknown,
            yields: false,
            actions: VecDeque::new(),
        }
    }

    /// The Startup event. Whatever keepalived's `state` says, only an owner is master at once; an instance that is in
    /// fault stays there.
    pub fn start(&mut self, now: Instant) {
        if self.state == State::Initialize {
            self.set_out(now, Cause::Started);
        }
    }

    /// Takes what was received and has passed [`super::Reception`] and [`Advertisement::parse`].
    ///
    /// # Errors
    ///
    /// Why it was not taken.
    pub fn handle_advertisement(
        &mut self,
        now: Instant,
        source: IpAddr,
        advertisement: &Advertisement,
    ) -> Result<(), Discard> {
        if matches!(self.state, State::Initialize | State::Fault) {
            return Err(Discard::NotRunning);
        }
        let has_our_addresses = self.config.has_addresses(&advertisement.addresses);
        self.config.judge(source, advertisement, has_our_addresses)?;
        let priority = advertisement.priority;
        let heard = Heard { source, priority, at: now, has_our_addresses };
        match self.state {
            State::Initialize | State::Fault => {}
            State::Backup { master_interval, .. } if priority == Priority::RELEASE => {
                self.heard = None;
                self.vacancy = Vacancy::Released(source);
                self.yields = false;
                let master_down_at = now + self.skew(master_interval);
                self.state = State::Backup { master_interval, master_down_at, preempt_at: None };
            }
            State::Backup { .. } if !self.preempts(priority) => {
                self.heard = Some(heard);
                self.watch(now, advertisement.interval);
            }
            // A master of lower priority: our timer goes on and ends its term, or the delay does.
            State::Backup { master_down_at, preempt_at, .. } => {
                self.heard = Some(heard);
                if !self.config.preempt_delay.is_zero() {
                    let preempt_at = preempt_at.unwrap_or(master_down_at + self.config.preempt_delay);
                    self.watch_until(now, advertisement.interval, Some(preempt_at));
                }
            }
            State::Master { .. } if priority == Priority::RELEASE => self.advertise(now),
            State::Master { .. } if self.loses_to(source, priority) => {
                let cause = if priority == self.priority {
                    Cause::HigherAddress { master: source }
                } else {
                    Cause::HigherPriority { master: source, priority }
                };
                self.actions.push_back(Action::ReleaseAddresses);
                self.heard = Some(heard);
                self.watch(now, advertisement.interval);
                self.note(Role::Master, cause);
            }
            // RFC 9568 section 6.4.3: at once, so that the other gives up and bridges learn the way to us again; the timer
            // is left alone. RFC 3768 section 6.4.3: nothing.
            State::Master { .. } => {
                if self.config.version == Version::V3 {
                    self.actions.push_back(Action::Advertise { priority: self.priority });
                }
                self.actions.push_back(Action::ReannounceAddresses);
            }
        }
        Ok(())
    }

    /// Does what is due. Before this is called, all that was received has to be taken: a router that comes late to its own
    /// timer would otherwise believe that the master is.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Master { advertise_at } if advertise_at <= now => {
                self.actions.push_back(Action::Advertise { priority: self.priority });
                // The beat is kept; what is missed is not made up for.
                let next = advertise_at + self.config.interval;
                let next = if next <= now { now + self.config.interval } else { next };
                self.state = State::Master { advertise_at: next };
            }
            State::Backup { master_interval, master_down_at, preempt_at } => {
                let is_preempting = preempt_at.is_some_and(|at| at <= now);
                if master_down_at <= now || is_preempting {
                    let cause = self.cause_of_silence(now, master_interval);
                    self.become_master(now, cause);
                }
            }
            State::Initialize | State::Fault | State::Master { .. } => {}
        }
    }

    /// The priority with all that is tracked. An owner's is not changed, and nobody becomes one or is released by this.
    pub fn set_priority(&mut self, now: Instant, priority: Priority) {
        let cannot_be = [self.priority, priority].contains(&Priority::OWNER) || priority == Priority::RELEASE;
        if cannot_be || priority == self.priority {
            return;
        }
        self.priority = priority;
        self.reconsider(now);
    }

    /// Where our advertisements come from now: it decides between equal priorities, and tells our own from others'.
    pub fn set_primary_address(&mut self, address: IpAddr) {
        self.config.primary_address = address;
    }

    /// Something that the instance needs is not there: `cause` is [`Cause::Fault`] or [`Cause::SyncGroup`]. A master gives up;
    /// whether its last advertisement still gets out depends on what is missing.
    pub fn fault(&mut self, cause: Cause) {
        if self.state != State::Fault {
            self.leave(State::Fault, cause);
        }
    }

    /// All that it needs is there again. It watches first, as after a start.
    pub fn recover(&mut self, now: Instant) {
        if self.state == State::Fault {
            self.set_out(now, Cause::Recovered);
        }
    }

    /// A planned failover: a master gives up and lets whoever takes over be master until that one is gone. If nobody does,
    /// it is master again after less than five intervals. False if it is not master.
    pub fn step_down(&mut self, now: Instant) -> bool {
        if self.state.role() != Role::Master {
            return false;
        }
        self.yield_office(now, Cause::Operator);
        true
    }

    /// Leaves whoever is master in office until that one is gone, as after having stepped down: it has been in office, and
    /// could not do what that takes.
    pub fn defer(&mut self) {
        self.yields = true;
    }

    /// For sync groups: another instance of the group has become master.
    pub fn force_master(&mut self, now: Instant) {
        if self.state.role() == Role::Backup {
            self.become_master(now, Cause::SyncGroup);
        }
    }

    /// For sync groups: another instance of the group is no longer master. What follows is as in [`Self::step_down`].
    pub fn force_backup(&mut self, now: Instant) {
        if self.state.role() == Role::Master {
            self.yield_office(now, Cause::SyncGroup);
        }
    }

    /// Another configuration comes into force in place: a master stays master and says what is new at once. Its priority is
    /// the one to be in effect now, with what is tracked. Another virtual router id or version is another instance.
    pub fn reconfigure(&mut self, now: Instant, config: InstanceConfig) {
        debug_assert_eq!(config.virtual_router_id, self.config.virtual_router_id);
        debug_assert_eq!(config.version, self.config.version);
        let changes_addresses = !self.config.has_addresses(&config.addresses);
        self.priority = config.priority;
        self.config = config;
        if changes_addresses && self.state.role() == Role::Master {
            self.actions.push_back(Action::ChangeAddresses);
            self.actions.push_back(Action::AnnounceAddresses);
        }
        self.reconsider(now);
    }

    /// The Shutdown event: a master gives up, and the others take over at once.
    pub fn shutdown(&mut self) {
        if self.state != State::Initialize {
            self.leave(State::Initialize, Cause::ShutDown);
        }
    }

    /// What to do next. Everything is to be fetched after each call.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Self::handle_timeout`] is to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Initialize | State::Fault => None,
            State::Backup { master_down_at, preempt_at, .. } => {
                Some(preempt_at.map_or(master_down_at, |at| at.min(master_down_at)))
            }
            State::Master { advertise_at } => Some(advertise_at),
        }
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// The priority in effect.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// What is configured.
    #[must_use]
    pub fn config(&self) -> &InstanceConfig {
        &self.config
    }

    /// What to send for [`Action::Advertise`].
    #[must_use]
    pub fn advertisement(&self, priority: Priority) -> Advertisement {
        Advertisement {
            version: self.config.version,
            virtual_router_id: self.config.virtual_router_id,
            priority,
            interval: self.config.interval,
            addresses: self.config.addresses.clone(),
            password: self.config.password.filter(|_| self.config.version == Version::V2),
        }
    }

    /// Who is master, as far as is known here.
    #[must_use]
    pub fn master(&self) -> Option<(IpAddr, Priority)> {
        match self.state {
            State::Master { .. } => Some((self.config.primary_address, self.priority)),
            _ => self.heard.map(|heard| (heard.source, heard.priority)),
        }
    }

    /// Whether the master has other virtual addresses than we: somebody has made a mistake, or is about to change both.
    #[must_use]
    pub fn differs_from_master(&self) -> bool {
        self.heard.is_some_and(|heard| !heard.has_our_addresses)
    }

    /// RFC 9568 section 6.4.1: an owner is master at once, all others watch.
    fn set_out(&mut self, now: Instant, cause: Cause) {
        let from = self.state.role();
        self.forget();
        if self.priority == Priority::OWNER {
            self.become_master(now, Cause::AddressOwner);
        } else {
            self.watch(now, self.config.interval);
            self.note(from, cause);
        }
    }

    /// The advertisement goes first: it silences the other backups, and claiming takes longer.
    fn become_master(&mut self, now: Instant, cause: Cause) {
        let from = self.state.role();
        self.forget();
        self.advertise(now);
        self.actions.extend([Action::ClaimAddresses, Action::AnnounceAddresses]);
        self.note(from, cause);
    }

    /// Nobody need have heard it give up: the wait is as long as that of a backup with the lowest priority, whose skew is all
    /// but an interval, and then some.
    fn yield_office(&mut self, now: Instant, cause: Cause) {
        self.give_up();
        self.forget();
        (self.yields, self.vacancy) = (true, Vacancy::SteppedDown);
        let longest_skew = match self.config.version {
            Version::V2 => Duration::from_secs(1),
            Version::V3 => self.config.interval,
        };
        self.watch(now + longest_skew, self.config.interval);
        self.note(Role::Master, cause);
    }

    fn leave(&mut self, to: State, cause: Cause) {
        let from = self.state.role();
        if from == Role::Master {
            self.give_up();
        }
        self.forget();
        self.state = to;
        self.note(from, cause);
    }

    fn give_up(&mut self) {
        self.actions.push_back(Action::Advertise { priority: Priority::RELEASE });
        self.actions.push_back(Action::ReleaseAddresses);
    }

    fn forget(&mut self) {
        self.heard = None;
        self.vacancy = Vacancy::Unknown;
        self.yields = false;
    }

    fn note(&mut self, from: Role, cause: Cause) {
        let to = self.state.role();
        self.actions.push_back(Action::Transition { from, to, cause });
    }

    fn advertise(&mut self, now: Instant) {
        self.actions.push_back(Action::Advertise { priority: self.priority });
        self.state = State::Master { advertise_at: now + self.config.interval };
    }

    /// Waits for silence from `now` on.
    fn watch(&mut self, now: Instant, announced: Duration) {
        self.watch_until(now, announced, None);
    }

    fn watch_until(&mut self, now: Instant, announced: Duration, preempt_at: Option<Instant>) {
        // Version 2 has no other interval than the configured one, to which only `judge` holds the sender's.
        let master_interval = match self.config.version {
            Version::V2 => self.config.interval,
            Version::V3 => announced,
        };
        if self.heard.is_some() {
            self.vacancy = Vacancy::Unknown;
        }
        let master_down_at = now + self.master_down_interval(master_interval);
        self.state = State::Backup { master_interval, master_down_at, preempt_at };
    }

    /// Another priority, interval or list is in force.
    fn reconsider(&mut self, now: Instant) {
        match self.state {
            State::Initialize | State::Fault => {}
            State::Master { .. } => self.advertise(now),
            State::Backup { master_interval, master_down_at, preempt_at } => match self.heard {
                // As if its last advertisement had come under the new rules.
                Some(heard) if !self.preempts(heard.priority) => self.watch(heard.at, master_interval),
                heard => {
                    let is_learnt = heard.is_some() && self.config.version == Version::V3;
                    let master_interval = if is_learnt { master_interval } else { self.config.interval };
                    let master_down_at = master_down_at.min(now + self.master_down_interval(master_interval));
                    let preempt_at = preempt_at.filter(|_| !self.config.preempt_delay.is_zero());
                    self.state = State::Backup { master_interval, master_down_at, preempt_at };
                }
            },
        }
    }

    /// Whether a master of that priority is not to stay. RFC 9568 section 6.1: an owner always preempts.
    fn preempts(&self, priority: Priority) -> bool {
        let may = !self.yields && (self.config.preempt || self.priority == Priority::OWNER);
        may && priority < self.priority
    }

    /// Whether another master is the one to stay. RFC 9568 section 6.4.3: addresses are compared as numbers.
    fn loses_to(&self, source: IpAddr, priority: Priority) -> bool {
        (priority, source) > (self.priority, self.config.primary_address)
    }

    /// RFC 9568 section 6.1: by the master's interval. RFC 3768 section 6.1: within a second.
    fn skew(&self, master_interval: Duration) -> Duration {
        let whole = match self.config.version {
            Version::V2 => Duration::from_secs(1),
            Version::V3 => master_interval,
        };
        whole * (256 - u32::from(self.priority.get())) / 256
    }

    fn master_down_interval(&self, master_interval: Duration) -> Duration {
        3 * master_interval + self.skew(master_interval)
    }

    fn cause_of_silence(&self, now: Instant, master_interval: Duration) -> Cause {
        match (self.heard, self.vacancy) {
            (_, Vacancy::Released(master)) => Cause::MasterReleased { master },
            (None, Vacancy::SteppedDown) => Cause::NobodyTookOver,
            (None, Vacancy::Unknown) => Cause::NoMaster,
            (Some(Heard { source: master, priority, at, .. }), _) => {
                let lives = now.saturating_duration_since(at) < self.master_down_interval(master_interval);
                if lives && self.preempts(priority) {
                    Cause::Preempting { master, priority }
                } else {
                    Cause::MasterDown { master }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

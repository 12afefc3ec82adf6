//! VRRP's thread: waits for packets, for the clock and for orders, and lets all virtual routers do what follows.
//!
//! It never waits for anything else, but for a moment when an interface comes and sockets are opened. Whatever has come is taken before a timer is believed: who comes late to its own clock
//! would otherwise think that the master is.
mod configuring;
mod groups;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::sync::oneshot;

use self::groups::Group;
use super::holdings::{Holdings, Order, Report, RouterId};
use super::links::{Change, Links};
use super::record::Shared;
use super::router::{Means, Router};
use super::wire::Wire;
use super::{Event, Plan, now};
use crate::proto::vrrp::{Condition, Discard, MalformedAdvertisement, Role};
use crate::sys::netlink::RouteEvents;
use crate::sys::wake::Wake;

/// After interfaces and addresses could not be read.
const SURVEY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// After changes came while they were read.
const SURVEY_SETTLES: Duration = Duration::from_millis(100);

/// Turns that a backup's timer waits while adverts go on to come in: what was queued when it expired is read by then, and who
/// floods the link is not to keep it from taking over.
const TURNS_TO_READ: u32 = 3;

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Input {
    /// By the thread that holds the addresses.
    Report(Report),
    /// What is to be from now on.
    Configure(Plan),
    /// Something that is tracked.
    Condition { item: String, condition: Condition },
    /// The master gives up, for once. Whether there was one of this name.
    StepDown { instance: String, done: oneshot::Sender<bool> },
    /// No virtual router is to be master until this is taken back, but for some, of which it is said later.
    Maintenance { on: bool, except: Vec<String> },
    /// A new guardian's pipe.
    Guard(std::os::fd::OwnedFd),
    /// To be dropped at once: whoever waits sees that the thread turns.
    Ping { _dropped: oneshot::Sender<()> },
    /// Give up everything, and end.
    Stop,
}

/// See the module's text.
pub(super) struct Engine {
    routers: Vec<Router>,
    groups: Vec<Group>,
    /// What is known of whatever is tracked, also by instances to come.
    conditions: BTreeMap<String, Condition>,
    virtual_addresses: BTreeSet<IpAddr>,
    owned_addresses: BTreeSet<IpAddr>,
    maintenance: bool,
    last_id: RouterId,
    /// Whether the interfaces are known.
    is_surveyed: bool,
    /// When to look for them again.
    survey_at: Option<Instant>,
    /// They are being read; whether something has changed meanwhile.
    survey: Option<bool>,
    /// Whether something has changed on which the routers depend: interfaces, what is tracked, the configuration.
    is_changed: bool,
    links: Links,
    wire: Wire,
    events: RouteEvents,
    holdings: Holdings,
    inbox: Receiver<Input>,
    wake: Arc<Wake>,
    shared: Arc<Shared>,
    tell: Box<dyn Fn(Event) + Send>,
}

/// What the engine is made of besides what it makes itself.
pub(super) struct Parts {
    pub(super) events: RouteEvents,
    pub(super) holdings: Holdings,
    pub(super) inbox: Receiver<Input>,
    pub(super) wake: Arc<Wake>,
    pub(super) shared: Arc<Shared>,
    pub(super) tell: Box<dyn Fn(Event) + Send>,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Turn {
    On,
    Over,
}

impl Engine {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { events, holdings, inbox, wake, shared, tell } = parts;
        holdings.order(Order::Survey);
        Self {
            routers: Vec::new(),
            groups: Vec::new(),
            conditions: BTreeMap::new(),
            virtual_addresses: BTreeSet::new(),
            owned_addresses: BTreeSet::new(),
            maintenance: false,
            last_id: 0,
            is_surveyed: false,
            survey_at: None,
            survey: Some(false),
            is_changed: false,
            links: Links::default(),
            wire: Wire::new(),
            events,
            holdings,
            inbox,
            wake,
            shared,
            tell,
        }
    }

    /// Returns once it was told to stop, and has given up everything.
    pub(super) fn run(mut self) {
        let (mut more, mut turns) = (false, 0);
        loop {
            let deadline = self.routers.iter().filter_map(Router::poll_timeout).chain(self.survey_at).min();
            if let Err(error) = self.wait(if more { Some(now()) } else { deadline }) {
                // There is no such error but of memory; without waiting this would turn for nothing.
                (self.tell)(Event::Trouble(format!("cannot wait for packets: {error}")));
                pause();
            }
            let woke = now();
            if let Some(late) = deadline.and_then(|deadline| woke.checked_duration_since(deadline)) {
                self.shared.lateness.count(late);
            }
            if self.hear_orders() == Turn::Over || !self.holdings.is_sound() {
                break;
            }
            self.hear_kernel();
            more = self.hear_routers();
            turns = if more { turns + 1 } else { 0 };
            self.heed_time(!more || turns > TURNS_TO_READ);
            self.settle();
        }
        for router in &mut self.routers {
            router.machine.shutdown();
        }
        // What was told beside the end would let them begin again.
        self.is_changed = false;
        self.settle();
        self.say_farewells();
        // By which that was said.
        for vmac in self.routers.iter().filter_map(Router::made_vmac) {
            self.holdings.order(Order::DropVmac { vmac });
        }
        self.holdings.stop();
    }

    /// Each once its addresses are gone, or when that takes too long.
    fn say_farewells(&mut self) {
        while let Some(deadline) = self.routers.iter().filter_map(Router::farewell_at).min() {
            match self.inbox.recv_timeout(deadline.saturating_duration_since(now())) {
                Ok(Input::Report(report)) => self.handle_report(now(), report),
                Ok(_) => {}
                Err(_) => self.routers.iter_mut().for_each(Router::say_farewell),
            }
        }
    }

    fn wait(&self, deadline: Option<Instant>) -> io::Result<()> {
        let mut watched: Vec<PollFd<'_>> = [self.wake.as_fd(), self.events.as_fd()]
            .into_iter()
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        watched.extend(self.wire.descriptors().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let left = deadline.map(|deadline| deadline.saturating_duration_since(now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut watched, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn hear_orders(&mut self) -> Turn {
        self.wake.clear();
        loop {
            match self.inbox.try_recv() {
                Ok(Input::Stop) | Err(TryRecvError::Disconnected) => return Turn::Over,
                Ok(input) => self.obey(input),
                Err(TryRecvError::Empty) => return Turn::On,
            }
        }
    }

    fn obey(&mut self, input: Input) {
        let now = now();
        self.is_changed |= !matches!(input, Input::Report(_) | Input::Guard(_) | Input::Ping { .. });
        match input {
            Input::Report(report) => self.handle_report(now, report),
            Input::Configure(plan) => self.configure(now, plan),
            Input::Condition { item, condition } => {
                for router in &mut self.routers {
                    router.set_condition(&item, condition);
                }
                self.conditions.insert(item, condition);
            }
            Input::StepDown { instance, done } => {
                let found = self.routers.iter_mut().find(|router| router.config.name == instance);
                let _ = done.send(found.is_some_and(|router| router.machine.step_down(now)));
            }
            Input::Maintenance { on, except } => {
                self.maintenance = on;
                let keeps = |router: &Router| on && !except.contains(&router.config.name);
                self.routers.iter_mut().for_each(|router| router.maintenance = keeps(router));
            }
            Input::Guard(pipe) => self.holdings.order(Order::Guard(pipe)),
            Input::Ping { .. } | Input::Stop => {}
        }
    }

    fn handle_report(&mut self, now: Instant, report: Report) {
        match report {
            Report::Claimed { router, number, outcome } => {
                let at = self.position(router);
                let refused =
                    self.with(at, |router, means| router.handle_claimed(now, number, outcome, means));
                self.is_changed |= refused.unwrap_or(false);
            }
            Report::Released { router } => {
                self.with(self.position(router), |router, _| router.say_farewell());
            }
            Report::Vmac { router, outcome } => {
                self.is_changed = true;
                self.with(self.position(router), |router, _| router.handle_vmac(now, outcome));
            }
            Report::Surveyed { links, addresses } => {
                self.is_changed = true;
                self.links.survey(links, addresses);
                if self.survey.take() == Some(true) {
                    // What was read may be older than what was heard.
                    self.survey_at = Some(now + SURVEY_SETTLES);
                }
                if !std::mem::replace(&mut self.is_surveyed, true) {
                    self.remove_stale(|_| true);
                }
            }
            Report::NotSurveyed(error) => {
                (self.tell)(Event::Trouble(format!("interfaces and addresses cannot be read: {error}")));
                self.survey = None;
                self.survey_at = Some(now + SURVEY_AGAIN_AFTER);
            }
            Report::Trouble(what) => (self.tell)(Event::Trouble(what)),
        }
    }

    fn hear_kernel(&mut self) {
        let events = match self.events.read() {
            Ok(events) => events,
            Err(error) => {
                return (self.tell)(Event::Trouble(format!("changes of interfaces cannot be read: {error}")));
            }
        };
        let mut lost = Vec::new();
        for event in events {
            let change = self.links.hear(event);
            if change != Change::Nothing
                && let Some(has_changed) = &mut self.survey
            {
                *has_changed = true;
            }
            match change {
                Change::Lost(index, address) => {
                    self.is_changed = true;
                    lost.push((index, address));
                }
                Change::Unknown => self.look_again(),
                Change::Something => self.is_changed = true,
                Change::Nothing => {}
            }
        }
        // One that has got another prefix is there.
        lost.retain(|(index, address)| !self.links.has(*index, *address));
        for (index, address) in lost {
            self.each(|router, means| router.handle_lost_address(index, address, means));
        }
    }

    /// Has interfaces and addresses read, once at a time.
    fn look_again(&mut self) {
        if self.survey.is_none() {
            self.survey = Some(false);
            self.holdings.order(Order::Survey);
        }
    }

    /// Whether there may be more.
    fn hear_routers(&mut self) -> bool {
        let now = now();
        let (routers, shared, tell, links) = (&mut self.routers, &self.shared, &self.tell, &self.links);
        let is_held = |address| links.holders(address).next().is_some();
        self.wire.receive(is_held, |place, received, payload| {
            let id = payload.get(1).copied();
            let router = routers.iter_mut().find(|router| {
                router.place() == Some(place) && Some(router.config.virtual_router_id.get()) == id
            });
            match router {
                Some(router) => router.handle_packet(now, received, payload, tell),
                None => shared.count_stray(id.map_or(
                    Discard::Malformed(MalformedAdvertisement::Truncated(payload.len())),
                    Discard::VirtualRouterId,
                )),
            }
        })
    }

    /// A master's beat is always due; whether somebody else is silent is known once everything is read.
    fn heed_time(&mut self, everything_is_read: bool) {
        let now = now();
        if self.survey_at.take_if(|at| *at <= now).is_some() {
            self.look_again();
        }
        for router in &mut self.routers {
            self.is_changed |= router.heed_time(now);
            if everything_is_read || router.machine.state().role() == Role::Master {
                router.machine.handle_timeout(now);
            }
        }
    }

    /// Lets everything that has happened have its consequences, until nothing follows from it any more.
    fn settle(&mut self) {
        let now = now();
        if std::mem::take(&mut self.is_changed) && self.is_surveyed {
            self.each(|router, means| router.attach(now, means));
            self.judge(now);
            let (wire, routers) = (&mut self.wire, &self.routers);
            wire.keep(|place| routers.iter().any(|router| router.place() == Some(place)));
        }
        while self.perform(now) {}
        self.each(|router, means| {
            router.announce(now, means);
            router.publish();
        });
    }

    /// One round of what the machines want done. Whether there was anything.
    fn perform(&mut self, now: Instant) -> bool {
        let mut some = false;
        for at in 0..self.routers.len() {
            while let Some(action) = self.routers.get_mut(at).and_then(|router| router.machine.poll_action())
            {
                some = true;
                self.with(at, |router, means| router.perform(now, &action, means));
                self.tell_group(now, at, &action);
            }
        }
        some
    }

    fn each<T>(&mut self, mut work: impl FnMut(&mut Router, &mut Means<'_>) -> T) {
        for at in 0..self.routers.len() {
            self.with(at, &mut work);
        }
    }

    fn with<T>(&mut self, at: usize, work: impl FnOnce(&mut Router, &mut Means<'_>) -> T) -> Option<T> {
        let Self { routers, links, wire, holdings, tell, virtual_addresses, owned_addresses, .. } = self;
        let router = routers.get_mut(at)?;
        let order = |order| holdings.order(order);
        Some(work(
            router,
            &mut Means { links, wire, order: &order, tell, virtual_addresses, owned_addresses },
        ))
    }

    fn position(&self, id: RouterId) -> usize {
        self.routers.iter().position(|router| router.id == id).unwrap_or(usize::MAX)
    }
}

#[allow(clippy::disallowed_methods, reason = "a thread of its own")]
fn pause() {
    std::thread::sleep(Duration::from_millis(1));
}

#[cfg(test)]
mod tests;

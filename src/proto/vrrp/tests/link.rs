//! Routers, the links between them, and what goes wrong.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::proto::vrrp::{
    Action, Advertisement, Cause, Instance, InstanceConfig, Order, Priority, Role, State, SyncGroup, Version,
    VirtualRouterId,
};

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(super) struct Seeded(pub(super) u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    fn up_to(&mut self, longest: Duration) -> Duration {
        longest * u32::try_from(self.below(1001)).unwrap() / 1000
    }

    fn of<T: Copy>(&mut self, some: &[T]) -> T {
        some[self.below(some.len())]
    }
}

struct Router {
    members: Vec<Instance>,
    group: SyncGroup,
    addresses: Vec<IpAddr>,
    has_fault: bool,
    is_dead: bool,
}

impl Router {
    fn is_well(&self) -> bool {
        !self.is_dead && !self.has_fault
    }
}

struct Packet {
    arrives: Instant,
    from: usize,
    to: usize,
    member: usize,
    advertisement: Advertisement,
}

/// Routers with as many members each, of which the first ones share a link, the second ones another.
pub(super) struct Network {
    seed: u64,
    random: Seeded,
    now: Instant,
    interval: Duration,
    routers: Vec<Router>,
    configs: Vec<InstanceConfig>,
    packets: Vec<Packet>,
    /// Of a hundred packets.
    lost: usize,
    /// From, to, member.
    cut: Vec<(usize, usize, usize)>,
    /// By when there has to be a master, if there is none.
    master_by: Instant,
    two_since: Option<Instant>,
    is_whole_since: Option<Instant>,
    last_transition: Instant,
    /// Who is first on one link is last on the other.
    is_opposed: bool,
}

impl Network {
    #[allow(clippy::disallowed_methods)] // a starting point in time; nothing waits
    pub(super) fn new(seed: u64, routers: usize, members: usize, is_opposed: bool) -> Self {
        let mut random = Seeded(seed ^ 0x7672_7270);
        let interval = Duration::from_millis(random.of(&[10, 100, 1000]));
        let whole_seconds = interval.as_secs() > 0;
        let version = if whole_seconds { random.of(&[Version::V2, Version::V3]) } else { Version::V3 };
        let delay = random.of(&[0, 0, 5]);
        let mut network = Self {
            seed,
            now: Instant::now(),
            interval,
            routers: Vec::new(),
            configs: Vec::new(),
            packets: Vec::new(),
            lost: 0,
            cut: Vec::new(),
            master_by: Instant::now(),
            two_since: None,
            is_whole_since: None,
            last_transition: Instant::now(),
            is_opposed,
            random,
        };
        for number in 0..routers {
            let priority = network.random.of(&[90, 100, 100, 150, 254]);
            network.configs.push(InstanceConfig {
                version,
                virtual_router_id: VirtualRouterId::new(51).unwrap(),
                priority: Priority::new(priority).unwrap(),
                interval,
                addresses: vec![[192, 0, 2, 10].into()],
                primary_address: [192, 0, 2, 11].into(),
                preempt: network.random.below(4) > 0,
                preempt_delay: delay * interval,
                password: None,
                checks_addresses: true,
            });
            let addresses = (0..members)
                // Which of two routers has the higher address depends on the link.
                .map(|member| [192, 0, 2, if member == 0 { 11 + number } else { 99 - number }])
                .map(|octets| IpAddr::from(octets.map(|octet| u8::try_from(octet).unwrap())))
                .collect();
            let group = SyncGroup::new(members);
            network.routers.push(Router {
                members: Vec::new(),
                group,
                addresses,
                has_fault: false,
                is_dead: true,
            });
        }
        for router in 0..routers {
            network.boot(router);
        }
        network
    }

    /// A router is switched on, and knows nothing.
    fn boot(&mut self, router: usize) {
        let config = &self.configs[router];
        let priority = |member| self.priority_of(member, config.priority);
        let configured = |(member, address): (usize, &IpAddr)| InstanceConfig {
            primary_address: *address,
            priority: priority(member),
            ..config.clone()
        };
        let addresses = self.routers[router].addresses.iter().enumerate();
        let members = addresses.map(configured).map(Instance::new).collect();
        let known = &mut self.routers[router];
        (known.is_dead, known.has_fault) = (false, false);
        known.group = SyncGroup::new(known.addresses.len());
        known.members = members;
        for member in 0..known.members.len() {
            self.routers[router].members[member].start(self.now);
            self.carry_out(router, member);
        }
        self.fault_happened(4);
    }

    fn priority_of(&self, member: usize, priority: Priority) -> Priority {
        let is_turned = self.is_opposed && member > 0;
        if is_turned { Priority::new(255 - priority.get()).unwrap() } else { priority }
    }

    /// Nobody can be expected to be master before so many intervals are over; a skew of version 2 is up to a second, which
    /// is its shortest interval.
    fn fault_happened(&mut self, intervals: u32) {
        let by = self.now + intervals * self.interval + 2 * self.slowest();
        self.master_by = self.master_by.max(by);
    }

    /// The longest that a packet is under way, and that a router comes late to its timer.
    fn slowest(&self) -> Duration {
        self.interval / 20
    }

    /// What an instance wants done, and what its group makes of it.
    fn carry_out(&mut self, router: usize, member: usize) {
        while let Some(action) = self.routers[router].members[member].poll_action() {
            match action {
                Action::Advertise { priority } => self.send(router, member, priority),
                Action::Transition { to, .. } => {
                    self.last_transition = self.now;
                    let orders = self.routers[router].group.handle_transition(member, to);
                    self.order(router, &orders, &Cause::SyncGroup);
                }
                _ => {}
            }
        }
    }

    fn order(&mut self, router: usize, orders: &[(usize, Order)], cause: &Cause) {
        for &(member, order) in orders {
            let instance = &mut self.routers[router].members[member];
            match order {
                Order::Master => instance.force_master(self.now),
                Order::Backup => instance.force_backup(self.now),
                Order::Fault => instance.fault(cause.clone()),
                Order::Recover => instance.recover(self.now),
            }
            self.carry_out(router, member);
        }
    }

    fn send(&mut self, from: usize, member: usize, priority: Priority) {
        let advertisement = self.routers[from].members[member].advertisement(priority);
        for to in (0..self.routers.len()).filter(|to| *to != from) {
            let is_lost = self.random.below(100) < self.lost || self.cut.contains(&(from, to, member));
            if !is_lost {
                let arrives = self.now + self.random.up_to(self.slowest());
                let advertisement = advertisement.clone();
                self.packets.push(Packet { arrives, from, to, member, advertisement });
            }
        }
    }

    /// Goes through all that happens up to a moment.
    fn run_until(&mut self, end: Instant) {
        loop {
            let packet = self.packets.iter().enumerate().min_by_key(|(_, packet)| packet.arrives);
            let packet = packet.map(|(place, packet)| (packet.arrives, place));
            let timers = self.routers.iter().enumerate().filter(|(_, router)| !router.is_dead).flat_map(
                |(router, known)| {
                    let of_members = known.members.iter().enumerate();
                    of_members.filter_map(move |(member, instance)| {
                        instance.poll_timeout().map(|at| (at, router, member))
                    })
                },
            );
            let timer = timers.min();
            let next = [packet.map(|(at, _)| at), timer.map(|(at, ..)| at)].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.check_at(next);
            // What has come is read before a timer is believed.
            if let Some((at, place)) = packet.filter(|(at, _)| *at <= next) {
                self.now = self.now.max(at);
                let Packet { from, to, member, advertisement, .. } = self.packets.swap_remove(place);
                let source = self.routers[from].addresses[member];
                if !self.routers[to].is_dead {
                    let instance = &mut self.routers[to].members[member];
                    let heard = instance.handle_advertisement(self.now, source, &advertisement);
                    assert!(heard.is_ok() || instance.state() == State::Fault, "{heard:?}");
                    self.carry_out(to, member);
                }
            } else if let Some((at, router, member)) = timer {
                self.now = self.now.max(at);
                let late = if self.random.below(4) == 0 { self.slowest() / 10 } else { Duration::ZERO };
                self.routers[router].members[member].handle_timeout(self.now + self.random.up_to(late));
                self.carry_out(router, member);
            }
        }
        self.check_at(end);
        self.now = end;
    }

    /// For so many intervals.
    pub(super) fn run_for(&mut self, intervals: u32) {
        self.run_until(self.now + intervals * self.interval);
    }

    /// What has to hold until `next`, for nothing happens before.
    fn check_at(&mut self, next: Instant) {
        let (masters, seed) = (self.masters(0), self.seed);
        if self.routers[0].members.len() > 1 {
            return;
        }
        let well = self.routers.iter().any(Router::is_well);
        if !masters.is_empty() || !well {
            self.master_by = self.master_by.max(next + 4 * self.interval + 2 * self.slowest());
        }
        let late = next.saturating_duration_since(self.master_by);
        assert!(late.is_zero(), "GRIDFRONT_SEED={seed}: nobody is master, {late:?} too long");
        let whole_for = self.is_whole_since.map(|since| next.saturating_duration_since(since));
        if masters.len() > 1 {
            let since = *self.two_since.get_or_insert(self.now);
            // The one that preempts is master before the other has heard of it.
            let together = next - since;
            if whole_for.is_some_and(|whole| whole > 4 * self.interval + 2 * self.slowest()) {
                assert!(together <= 2 * self.slowest(), "GRIDFRONT_SEED={seed}: {masters:?} {together:?}");
            }
        } else {
            self.two_since = None;
        }
    }

    /// So many faults, one after the other.
    pub(super) fn go_wrong(&mut self, faults: u32) {
        for _ in 0..faults {
            let pause = self.random.up_to(6 * self.interval);
            self.run_until(self.now + pause);
            let router = self.random.below(self.routers.len());
            let member = self.random.below(self.routers[router].members.len());
            self.fault_happened(4);
            match self.random.below(10) {
                0 | 1 => self.lost = self.random.of(&[0, 5, 30, 90]),
                2 => {
                    let to = self.random.below(self.routers.len());
                    self.cut.push((router, to, member));
                }
                3 => self.part(),
                4 => self.cut.clear(),
                5 => self.routers[router].is_dead = true,
                6 if self.routers[router].is_dead => self.boot(router),
                6 => {
                    for member in 0..self.routers[router].members.len() {
                        self.routers[router].members[member].shutdown();
                        self.carry_out(router, member);
                    }
                    self.routers[router].is_dead = true;
                }
                7 => self.set_fault(router, member, !self.routers[router].has_fault),
                8 => {
                    let priority = Priority::new(self.random.of(&[1, 80, 100, 120, 200])).unwrap();
                    for member in 0..self.routers[router].members.len() {
                        let priority = self.priority_of(member, priority);
                        self.routers[router].members[member].set_priority(self.now, priority);
                        self.carry_out(router, member);
                    }
                }
                _ if self.routers[router].is_dead => {}
                _ => {
                    for member in 0..self.routers[router].members.len() {
                        self.routers[router].members[member].step_down(self.now);
                        self.carry_out(router, member);
                    }
                    self.fault_happened(5);
                }
            }
        }
    }

    fn set_fault(&mut self, router: usize, member: usize, has_fault: bool) {
        if self.routers[router].is_dead {
            return;
        }
        self.routers[router].has_fault = has_fault;
        // Only one of them has it, and which one is forgotten.
        let members = self.routers[router].members.len();
        for member in if has_fault { member..member + 1 } else { 0..members } {
            let group = &mut self.routers[router].group;
            let orders = if has_fault { group.handle_fault(member) } else { group.handle_recovery(member) };
            self.order(router, &orders, &Cause::Fault("it is so".into()));
        }
    }

    /// Nobody hears anybody.
    pub(super) fn part(&mut self) {
        let (routers, members) = (self.routers.len(), self.routers[0].addresses.len());
        let pairs = (0..routers).flat_map(|from| (0..routers).map(move |to| (from, to)));
        self.cut = pairs.flat_map(|(from, to)| (0..members).map(move |member| (from, to, member))).collect();
    }

    /// All is well from here on.
    pub(super) fn mend(&mut self) {
        (self.lost, self.cut) = (0, Vec::new());
        for router in 0..self.routers.len() {
            if self.routers[router].is_dead {
                self.boot(router);
            }
            self.set_fault(router, 0, false);
        }
        self.fault_happened(5);
        self.is_whole_since = Some(self.now);
    }

    /// Until all that may follow has followed, preempt delays included; then nothing happens any more.
    pub(super) fn settle(&mut self) {
        self.run_for(60);
        let (seed, last) = (self.seed, self.last_transition);
        let rest = self.now.saturating_duration_since(last);
        assert!(rest >= 20 * self.interval, "GRIDFRONT_SEED={seed}: still in motion, {rest:?} ago");
    }

    /// The routers that are master on this link.
    pub(super) fn masters(&self, member: usize) -> Vec<usize> {
        let is_master =
            |router: &Router| !router.is_dead && router.members[member].state().role() == Role::Master;
        (0..self.routers.len()).filter(|router| is_master(&self.routers[*router])).collect()
    }

    /// On each link the same one, and all others know that.
    pub(super) fn check_one_master(&self) {
        let seed = self.seed;
        let masters: Vec<_> = (0..self.routers[0].members.len()).map(|member| self.masters(member)).collect();
        let [master] = masters[0][..] else { panic!("GRIDFRONT_SEED={seed}: masters {masters:?}") };
        for (member, of_link) in masters.iter().enumerate() {
            assert_eq!(*of_link, [master], "GRIDFRONT_SEED={seed}");
            let address = self.routers[master].addresses[member];
            for router in &self.routers {
                let known = router.members[member].master().map(|(address, _)| address);
                assert_eq!(known, Some(address), "GRIDFRONT_SEED={seed}");
            }
        }
    }

    /// Who wins between masters.
    pub(super) fn best(&self) -> usize {
        let rank = |router: &usize| {
            (self.routers[*router].members[0].priority(), self.routers[*router].addresses[0])
        };
        (0..self.routers.len()).max_by_key(rank).unwrap()
    }
}

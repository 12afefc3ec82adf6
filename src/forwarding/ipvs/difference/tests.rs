//! Plans against tables of the kernel: what is done, in words.
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use super::*;
use crate::balance::{
    Carrier, Entry, ForwardError, ForwardedService, ForwardingPlan, LbAlgo, Member, Persistence,
};
use crate::forwarding::ipvs::register::{FIRST_MARK, Register, Subject};
use crate::forwarding::ipvs::wanted::Wanted;
use crate::proto::netlink::ipvs::{AddressFamily, Statistics};

const VIP: &str = "192.0.2.10:2811";
const ONE: &str = "10.0.0.1";
const TWO: &str = "10.0.0.2";

fn member(address: &str) -> Member {
    let name = format!("rs{}", address.rsplit('.').next().unwrap());
    Member {
        real_server: name,
        address: address.parse().unwrap(),
        weight: 1,
        max_connections: None,
        down: false,
    }
}

fn service(members: &[Member]) -> ForwardedService {
    ForwardedService {
        virtual_server: "gridftp".into(),
        entry: Entry::Single(VIP.parse().unwrap()),
        lb_algo: LbAlgo::Wlc,
        persistence: None,
        members: members.to_vec(),
    }
}

fn plan(service: ForwardedService) -> ForwardingPlan {
    ForwardingPlan { services: vec![service], ..ForwardingPlan::default() }
}

fn both() -> ForwardingPlan {
    plan(service(&[member(ONE), member(TWO)]))
}

fn carriers(addresses: &[&str]) -> ForwardingPlan {
    let carrier = |address: &&str| Carrier {
        address: address.parse().unwrap(),
        slices: vec![("192.0.2.10".parse().unwrap(), 50_000..=50_001)],
    };
    ForwardingPlan { carriers: addresses.iter().map(carrier).collect(), ..ForwardingPlan::default() }
}

fn mark(number: u32) -> ServiceKey {
    ServiceKey::Mark { mark: NonZeroU32::new(FIRST_MARK + number).unwrap(), family: AddressFamily::V4 }
}

fn vip() -> ServiceKey {
    ServiceKey::Tcp(VIP.parse().unwrap())
}

/// A kernel that does what it is told, and what is ours in it.
#[derive(Default)]
struct Kernel {
    table: Table,
    register: Register,
    wanted: Wanted,
}

impl Kernel {
    /// With a plan applied.
    fn with(plan: &ForwardingPlan) -> Self {
        let mut kernel = Self::default();
        let (_, errors) = kernel.apply(plan);
        assert!(errors.is_empty(), "{errors:?}");
        kernel
    }

    fn apply(&mut self, plan: &ForwardingPlan) -> (Vec<String>, Vec<ForwardError>) {
        let taken: BTreeSet<ServiceKey> = self.table.keys().copied().collect();
        let (wanted, errors) = Wanted::of(plan, &mut self.register, &taken, None);
        self.wanted = wanted;
        let operations = difference(&self.table, &self.wanted.services, self.register.keys());
        let words = operations.iter().map(ToString::to_string).collect();
        operations.into_iter().for_each(|operation| self.perform(operation));
        (words, errors)
    }

    fn perform(&mut self, operation: Operation) {
        let key = operation.key();
        match operation {
            Operation::AddService(service) => {
                let standing = Standing { service, destinations: BTreeMap::new() };
                assert!(self.table.insert(key, standing).is_none());
            }
            Operation::EditService(service) => self.table.get_mut(&key).unwrap().service = service,
            Operation::RemoveService(_) => {
                self.table.remove(&key).unwrap();
                self.register.strike(&key);
            }
            Operation::AddDestination(_, destination) => {
                let listed = ListedDestination {
                    destination,
                    active: 0,
                    inactive: 0,
                    persistent: 0,
                    statistics: Statistics::default(),
                };
                let destinations = &mut self.table.get_mut(&key).unwrap().destinations;
                assert!(destinations.insert(destination.address, listed).is_none());
            }
            Operation::EditDestination(_, destination) => {
                self.listed(key, destination.address).destination = destination;
            }
            Operation::RemoveDestination(_, address) => {
                self.table.get_mut(&key).unwrap().destinations.remove(&address).unwrap();
            }
        }
    }

    fn listed(&mut self, key: ServiceKey, address: SocketAddr) -> &mut ListedDestination {
        self.table.get_mut(&key).unwrap().destinations.get_mut(&address).unwrap()
    }

    fn count(&mut self, address: &str, active: u32, inactive: u32) {
        let listed = self.listed(vip(), SocketAddr::new(address.parse().unwrap(), 2811));
        (listed.active, listed.inactive) = (active, inactive);
    }

    fn leaving(&self) -> usize {
        leaving(&self.table, &self.wanted.services, self.register.keys())
    }
}

#[test]
fn what_a_plan_changes_is_done_and_nothing_else() {
    let change = |change: fn(&mut ForwardedService)| {
        let mut service = service(&[member(ONE), member(TWO)]);
        change(&mut service);
        plan(service)
    };
    #[rustfmt::skip]
    let table: [(&str, ForwardingPlan, &[&str]); 12] = [
        ("the same",           both(),                                              &[]),
        ("another order",      change(|of| of.members.reverse()),                   &[]),
        ("another name",       change(|of| of.virtual_server = "ftp".into()),       &[]),
        ("a weight",           change(|of| of.members[0].weight = 3),               &["10.0.0.1 changed to weight 3"]),
        ("a drain",            change(|of| of.members[1].weight = 0),               &["10.0.0.2 changed to weight 0"]),
        ("a weight too large", change(|of| of.members[1].weight = u32::MAX),        &["10.0.0.2 changed to weight 2147483647"]),
        ("a limit",            change(|of| of.members[0].max_connections = Some(9)), &["10.0.0.1 changed to weight 1"]),
        ("one more",           change(|of| of.members.push(member("10.0.0.3"))),    &["10.0.0.3 added with weight 1"]),
        ("one down",           change(|of| of.members[0].down = true),              &["10.0.0.1 removed"]),
        ("a scheduler",        change(|of| of.lb_algo = LbAlgo::Rr),                &["service changed, rr"]),
        ("persistence",        change(|of| of.persistence = Some(Persistence { timeout: Duration::from_secs(60), prefix: 24 })),
                                                                                    &["service changed, wlc, persistent for 60 s"]),
        ("one less",           change(|of| drop(of.members.pop())),                 &["10.0.0.2 changed to weight 0"]),
    ];
    for (name, plan, expected) in table {
        let mut kernel = Kernel::with(&both());
        kernel.count(ONE, 1, 0);
        kernel.count(TWO, 1, 0);
        assert_eq!(kernel.apply(&plan).0, expected, "{name}");
        assert!(kernel.apply(&plan).0.is_empty(), "{name}: a second time");
        // Back again, whatever it was: in two turns where somebody has to leave.
        kernel.apply(&both());
        kernel.apply(&both());
        assert!(kernel.apply(&both()).0.is_empty(), "{name}: back");
        assert_eq!(kernel.leaving(), 0, "{name}");
    }
}

#[test]
fn an_empty_kernel_gets_services_before_their_members() {
    let mut plan = both();
    plan.services[0].members[1].down = true;
    plan.services.push(service(&[]));
    plan.services[1].entry = Entry::Single("[2001:db8::10]:2811".parse().unwrap());
    plan.carriers = carriers(&[ONE]).carriers;
    let (words, errors) = Kernel::default().apply(&plan);
    let expected = [
        "service added, wlc",
        "10.0.0.1 added with weight 1",
        "service added, wlc",
        "service added, rr",
        "10.0.0.1 added with weight 1",
    ];
    assert_eq!((words, errors), (expected.map(str::to_owned).to_vec(), Vec::new()));
}

#[test]
fn what_is_not_wanted_goes_when_it_has_shown_no_connection_at_weight_0() {
    let (less, nothing) = (plan(service(&[member(ONE)])), ForwardingPlan::default());
    let quiet = "10.0.0.2 changed to weight 0";
    for (plan, first, last) in [
        (&less, &[quiet][..], "10.0.0.2 removed"),
        (&nothing, &["10.0.0.1 changed to weight 0", quiet], "service removed"),
    ] {
        for (active, inactive) in [(1, 0), (0, 1)] {
            let mut kernel = Kernel::with(&both());
            kernel.count(TWO, active, inactive);
            assert_eq!(kernel.apply(plan).0, first);
            // With one, the other member of a service that leaves goes first.
            let between = kernel.apply(plan).0;
            assert!(between.is_empty() || between == ["10.0.0.1 removed"], "{between:?}");
            assert_eq!((kernel.apply(plan).0.len(), kernel.leaving()), (0, 1));
            kernel.count(TWO, 0, 0);
            assert_eq!(kernel.apply(plan).0, [last]);
            assert_eq!((kernel.apply(plan).0.len(), kernel.leaving()), (0, 0));
        }
        // Connections may have come between the look and the change.
        let mut kernel = Kernel::with(&both());
        assert_eq!(kernel.apply(plan).0, first);
        kernel.count(TWO, 1, 0);
        assert!(!kernel.apply(plan).0.iter().any(|words| words == last));
    }
}

#[test]
fn who_comes_back_before_it_has_gone_is_as_before() {
    let mut kernel = Kernel::with(&both());
    kernel.count(ONE, 1, 0);
    kernel.count(TWO, 1, 0);
    kernel.apply(&ForwardingPlan::default());
    let back = ["10.0.0.1 changed to weight 1", "10.0.0.2 changed to weight 1"];
    assert_eq!(kernel.apply(&both()).0, back);
}

#[test]
fn what_others_have_made_stays_and_what_they_do_to_ours_does_not() {
    // A service of others, which a plan wants or not.
    let mut others = Kernel::with(&both());
    others.register = Register::default();
    assert!(others.apply(&ForwardingPlan::default()).0.is_empty());
    let (words, errors) = others.apply(&both());
    assert!(words.is_empty() && !others.register.has(&vip()), "{words:?}");
    let [ForwardError::Foreign { removal, entry, .. }] = &errors[..] else { panic!("{errors:?}") };
    assert_eq!((removal.as_str(), entry.as_str()), ("ipvsadm -D -t 192.0.2.10:2811", VIP));
    // A destination of others in ours, with connections and without.
    let mut ours = Kernel::with(&both());
    let theirs = Destination {
        address: "10.0.0.9:80".parse().unwrap(),
        method: ForwardingMethod::Masquerade,
        weight: 5,
        upper_threshold: 0,
        lower_threshold: 0,
    };
    ours.perform(Operation::AddDestination(vip(), theirs));
    assert_eq!(ours.apply(&both()).0, ["10.0.0.9 changed to weight 0"]);
    assert_eq!(ours.apply(&both()).0, ["10.0.0.9 removed"]);
    // Ours, otherwise than we have made it.
    let listed = ours.listed(vip(), SocketAddr::new(ONE.parse().unwrap(), 2811));
    listed.destination.method = ForwardingMethod::Tunnel;
    assert_eq!(ours.apply(&both()).0, ["10.0.0.1 changed to weight 1"]);
    // An address of this host is one for the kernel, whatever it is told.
    ours.listed(vip(), SocketAddr::new(ONE.parse().unwrap(), 2811)).destination.method =
        ForwardingMethod::Local;
    assert!(ours.apply(&both()).0.is_empty());
    // Ours that they have removed.
    ours.table.clear();
    assert_eq!(ours.apply(&both()).0.len(), 3);
}

#[test]
fn a_carrier_keeps_its_mark_and_leaves_it_when_it_has_gone() {
    let mut kernel = Kernel::with(&carriers(&[ONE, TWO]));
    let at = ("192.0.2.10".parse().unwrap(), 50_001);
    let marked =
        |kernel: &Kernel, address: &str| kernel.wanted.carriers[&address.parse().unwrap()].get() - FIRST_MARK;
    assert_eq!((marked(&kernel, ONE), marked(&kernel, TWO)), (0, 1));
    // A daemon that starts again has the register and the table.
    assert!(kernel.apply(&carriers(&[TWO])).0.contains(&"10.0.0.1 changed to weight 0".into()));
    assert_eq!(marked(&kernel, TWO), 1);
    assert_eq!(kernel.wanted.marks[&at].get() - FIRST_MARK, 1);
    // As long as the first one has connections its mark is not another one's.
    kernel.listed(mark(0), SocketAddr::new(ONE.parse().unwrap(), 0)).active = 1;
    kernel.apply(&carriers(&[TWO, "10.0.0.3"]));
    assert_eq!(marked(&kernel, "10.0.0.3"), 2);
    kernel.listed(mark(0), SocketAddr::new(ONE.parse().unwrap(), 0)).active = 0;
    assert_eq!(kernel.apply(&carriers(&[TWO, "10.0.0.3"])).0, ["service removed"]);
    kernel.apply(&carriers(&[TWO, "10.0.0.3", "10.0.0.4"]));
    assert_eq!(marked(&kernel, "10.0.0.4"), 0);
}

#[test]
fn a_group_is_one_service_of_a_mark_with_all_its_ports() {
    let mut group = service(&[member(ONE)]);
    group.entry = Entry::Group {
        addresses: vec!["192.0.2.10".parse().unwrap(), "192.0.2.11".parse().unwrap()],
        ports: vec![2811..=2811, 50_000..=50_009],
    };
    let kernel = Kernel::with(&plan(group.clone()));
    assert_eq!(kernel.table.keys().collect::<Vec<_>>(), [&mark(0)]);
    assert_eq!(
        kernel.table[&mark(0)].destinations.keys().collect::<Vec<_>>(),
        [&"10.0.0.1:0".parse().unwrap()]
    );
    assert_eq!(kernel.wanted.marks.len(), 22);
    assert!(kernel.wanted.marks.values().all(|mark| mark.get() == FIRST_MARK));
    assert_eq!(kernel.register.key_of(&Subject::of(&group.entry)), Some(mark(0)));
    // Without marks it is refused, and the rest is not.
    let mut register = Register::default();
    let all = ForwardingPlan { services: vec![group, service(&[member(ONE)])], ..carriers(&[ONE]) };
    let (wanted, errors) = Wanted::of(&all, &mut register, &BTreeSet::new(), Some("no BPF"));
    assert_eq!(wanted.services.keys().collect::<Vec<_>>(), [&vip()]);
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert!(errors.len() == 2 && errors.iter().all(|error| error.ends_with("no BPF")), "{errors:?}");
}

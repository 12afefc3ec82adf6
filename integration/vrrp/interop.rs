//! With keepalived on the other side, as the preferred one and as the other: who is master, how long changes take, and whether
//! what we send is right.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::balancer::{Balancer, Gridfront, Program, VirtualRouter, Way};
use super::judge::{self, Adverts};
use super::pair::{FIRST, Pair, SECOND};
use crate::support::capture::{self, Capture};
use crate::support::ownership::now;
use crate::support::{keepalived, skip};

/// Cases at once. Nearly all the time they wait.
const AT_ONCE: usize = 9;
/// Between two looks at who has the address.
const LOOK_EVERY: Duration = Duration::from_millis(4);
/// What a change may take beyond the formula on a machine that has much else to do.
const SLACK: Duration = Duration::from_secs(2);

const SECOND_LONG: Duration = Duration::from_secs(1);
const TENTH: Duration = Duration::from_millis(100);

/// One row, but for who is preferred.
#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    router: VirtualRouter,
    /// Of the preferred one and of the other.
    priorities: [u8; 2],
}

fn cases() -> Vec<Case> {
    let fast = VirtualRouter::new(0, TENTH);
    let v2 = VirtualRouter { version: 2, ..VirtualRouter::new(0, SECOND_LONG) };
    let v6 = VirtualRouter { is_ipv6: true, ..fast };
    let case = |name, router| Case { name, router, priorities: [150, 100] };
    vec![
        case("v2 multicast", v2),
        case("v2 unicast", VirtualRouter { way: Way::Unicast, ..v2 }),
        case("v2 use_vmac", VirtualRouter { way: Way::VirtualMac, ..v2 }),
        case("v2 PASS", VirtualRouter { has_password: true, ..v2 }),
        case("v2 preempt off", VirtualRouter { preempt: false, ..v2 }),
        case("v3 multicast", fast),
        case("v3 unicast", VirtualRouter { way: Way::Unicast, ..fast }),
        case("v3 use_vmac", VirtualRouter { way: Way::VirtualMac, ..fast }),
        case("v3 preempt off", VirtualRouter { preempt: false, ..fast }),
        Case { name: "v3 tie", router: fast, priorities: [120, 120] },
        case("v3 IPv6 multicast", v6),
        case("v3 IPv6 unicast", VirtualRouter { way: Way::Unicast, ..v6 }),
        case("v3 IPv6 use_vmac", VirtualRouter { way: Way::VirtualMac, ..v6 }),
        case("v3 use_vmac, ours", VirtualRouter { way: Way::OurVirtualMac, ..fast }),
        case("v3 use_vmac, its", VirtualRouter { way: Way::TheirVirtualMac, ..fast }),
        case("v3 IPv6 vmac, ours", VirtualRouter { way: Way::OurVirtualMac, ..v6 }),
        case("v3 IPv6 vmac, its", VirtualRouter { way: Way::TheirVirtualMac, ..v6 }),
    ]
}

/// What was seen of one case in one of both roles.
#[derive(Debug)]
struct Row {
    case: Case,
    preferred: Program,
    /// Until the preferred one, alone, is master.
    start: Duration,
    /// From its request to stop until the other one is.
    stop: Duration,
    /// From its start until it is again; none where it must not be.
    back: Option<Duration>,
    /// From the end of a partition until one of two masters has given up.
    meeting: Duration,
    overlap: Duration,
    ours: Vec<u8>,
    theirs: Vec<u8>,
}

fn run(case: Case, preferred: Program) -> Row {
    let Case { router, priorities, .. } = case;
    let mut pair = Pair::new(router, [preferred, preferred.other()], priorities, LOOK_EVERY);
    let captures = [FIRST, SECOND].map(|role| Capture::start(&pair.lab, role));
    let start = pair.start();
    pair.until_settled_at(FIRST);
    let log = pair.balancers.iter().flatten().find_map(Balancer::ours).map(Gridfront::log).unwrap();
    assert!(!log.contains("FAULT"), "a start is no fault: {log}");

    let event = now();
    pair.balancers[0].as_ref().unwrap().request_end();
    let stop = pair.taken(SECOND, event, router.skew(priorities[1]));
    pair.until_alone(SECOND);
    let overlap = pair.watch.overlap(event);
    pair.balancers[0].take().unwrap().wait();

    let event = now();
    pair.start_one(0);
    let preempts = router.preempt && priorities[0] > priorities[1];
    let back = if preempts {
        let back = pair.taken(FIRST, event, router.down(priorities[0]));
        pair.until_settled_at(FIRST);
        Some(back)
    } else {
        pair.until_settled_at(SECOND);
        None
    };

    // Each thinks that the other one has died. When they meet, the higher priority stays, or the higher address.
    let waiting = if back.is_some() { 1 } else { 0 };
    let roles = [FIRST, SECOND];
    let event = now();
    pair.lab.isolate(FIRST, true);
    pair.taken(roles[waiting], event, router.down(priorities[waiting]));
    pair.lab.isolate(FIRST, false);
    let event = now();
    pair.until_settled_at(FIRST);
    let ended = pair.watch.tenures().into_iter().filter_map(|tenure| tenure.to).max();
    let meeting = ended.map(|ended| ended.saturating_duration_since(event)).unwrap_or_default();

    // Whoever is left is master until the end.
    for balancer in pair.balancers.iter().flatten() {
        balancer.request_end();
    }
    pair.balancers.iter_mut().flatten().for_each(Balancer::wait);
    let [first, second] = captures.map(Capture::finish);
    let (ours, theirs) = if preferred == Program::Ours { (first, second) } else { (second, first) };
    Row { case, preferred, start, stop, back, meeting, overlap, ours, theirs }
}

#[test]
fn keepalived_and_gridfront_take_each_other_for_one_of_their_own() {
    if !skip::unless_present("VRRP with keepalived", &[keepalived::PROGRAMS, capture::PROGRAMS].concat()) {
        return;
    }
    let mut queue = VecDeque::new();
    for mut case in cases() {
        for preferred in [Program::Ours, Program::Keepalived] {
            // A number for each, so that all captures can be read as one.
            case.router.id = 10 + u8::try_from(queue.len()).unwrap();
            queue.push_back((case, preferred));
        }
    }
    let queue = Mutex::new(queue);
    let rows = Mutex::new(Vec::new());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((case, preferred)) = next() {
                    let row = run(case, preferred);
                    rows.lock().unwrap_or_else(PoisonError::into_inner).push(row);
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap();
    rows.sort_by_key(|row| row.case.router.id);
    let all_ours = capture::joined(&rows.iter().map(|row| row.ours.clone()).collect::<Vec<_>>());
    let all_theirs = capture::joined(&rows.iter().map(|row| row.theirs.clone()).collect::<Vec<_>>());
    let adverts = judge::adverts(&all_ours);
    let table = table(&rows, &adverts);
    println!("{table}");
    std::fs::write(skip::results().join("vrrp-interop.txt"), &table)
        .expect("target/integration takes a file");

    for row in &rows {
        let (case, router) = (row.case, row.case.router);
        let name = format!("{}, {} preferred", case.name, row.preferred.word());
        assert!(row.stop < router.skew(case.priorities[1]) + SLACK, "{name}: {row:?}", row = row.stop);
        let of = &adverts[&router.id];
        assert_eq!(of.invalid, Vec::<String>::new(), "{name}");
        let has_released = of.released > 0 || row.preferred == Program::Keepalived;
        assert!(of.valid > 0 && has_released, "{name}: {of:?}");
    }
    let (ours, theirs) = (judge::announcements(&all_ours), judge::announcements(&all_theirs));
    for row in &rows {
        let (name, address) = (row.case.name, row.case.router.address());
        assert!(ours.contains_key(&address), "{name}: nobody was told of {address}");
        assert_eq!(ours[&address], theirs[&address], "{name}: ours and keepalived's");
    }
}

fn table(rows: &[Row], adverts: &BTreeMap<u8, Adverts>) -> String {
    let mut text = format!(
        "{:<19} {:<10} {:>6} {:>6} {:>8} {:>6} {:>8} {:>6}  our adverts, as tshark judges them\n",
        "case", "preferred", "start", "stop", "formula", "back", "meeting", "both"
    );
    for row in rows {
        let seconds = |time: Duration| format!("{:.2}", time.as_secs_f32());
        let Adverts { valid, released, invalid } =
            adverts.get(&row.case.router.id).cloned().unwrap_or_default();
        writeln!(
            text,
            "{:<19} {:<10} {:>6} {:>6} {:>8} {:>6} {:>8} {:>6}  {valid} valid, {released} of them priority 0; {} invalid",
            row.case.name,
            row.preferred.word(),
            seconds(row.start),
            seconds(row.stop),
            seconds(row.case.router.skew(row.case.priorities[1])),
            row.back.map_or("stays".into(), seconds),
            seconds(row.meeting),
            seconds(row.overlap),
            invalid.len(),
        )
        .expect("a string takes lines");
    }
    text.push_str(
        "Seconds. start: until the preferred one, started alone, is master, with its own start. stop: from its SIGTERM until the other one\n\
         is (formula: the skew time). back: from its start until it is again; `stays`: the other one stays. meeting: from the end of a\n\
         partition until one of two masters has given up; it is never the preferred one. both: how long both had the address when it stopped.\n",
    );
    text
}

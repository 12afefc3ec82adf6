//! A daemon that is killed leaves no address behind.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{balancer, virtual_address};
use crate::support::balancer::{Balancer, PATIENCE, signal};
use crate::support::deadline;
use crate::support::netns::Lab;
use crate::support::ownership::Watch;
use crate::support::skip;

const PROGRAMS: &[&str] = &["ip", "nsenter"];
/// Between two looks of the watch.
const EVERY: Duration = Duration::from_millis(1);
/// Two owners, with the guardian, after the other has taken over.
const OVERLAP: Duration = Duration::from_millis(100);
/// The lifetime of an address with adverts of a second, and a second.
const LIFETIME: Duration = Duration::from_secs(3 + 1);

#[allow(clippy::disallowed_methods, reason = "tests measure the real clock")]
fn now() -> Instant {
    Instant::now()
}

struct Pair {
    lab: Lab,
    balancers: [Balancer; 2],
    watch: Watch,
}

fn pair(interval: Duration) -> Pair {
    let lab = Lab::new(&[("lb1", 11), ("lb2", 12)]);
    let mut balancers = [("lb1", 110), ("lb2", 100)]
        .map(|(role, priority)| balancer(lab.machine(role), priority, interval, "", ""));
    balancers.iter_mut().for_each(Balancer::start);
    let watch = Watch::start(&[lab.machine("lb1"), lab.machine("lb2")], virtual_address(), EVERY);
    watch.until_alone("lb1", PATIENCE).unwrap_or_else(|why| panic!("{why}\n{}", balancers[0].log()));
    Pair { lab, balancers, watch }
}

#[test]
fn a_killed_daemon_leaves_its_addresses_to_the_next_at_once() {
    if !skip::unless_present("a daemon that is killed", PROGRAMS) {
        return;
    }
    for interval in [Duration::from_millis(100), Duration::from_secs(1)] {
        let Pair { lab: _lab, mut balancers, watch } = pair(interval);
        deadline::until("a guardian", PATIENCE, || balancers[0].guardian().ok_or_else(|| "none".to_owned()))
            .unwrap();
        let killed = now();
        signal(balancers[0].id(), Signal::KILL);
        let taken = watch.taken_after("lb2", killed, PATIENCE).unwrap_or_else(|why| panic!("{why}"));
        watch.until_alone("lb2", PATIENCE).unwrap();
        let (overlap, exactness) = (watch.overlap(killed), watch.longest_pause());
        println!(
            "adverts every {interval:?}: taken over after {taken:?}, two owners for {overlap:?} (looked every {exactness:?})"
        );
        assert!(overlap <= OVERLAP.max(2 * exactness), "{overlap:?}");
        // The guardian has said priority 0: it takes the skew time, and not three intervals more.
        let skew = interval * (256 - 100) / 256;
        assert!(taken < skew + Duration::from_secs(1), "{taken:?}");
        // It comes back, and there is no address of before to be in its way.
        balancers[0].process = None;
        balancers[0].start();
        watch.until_alone("lb1", PATIENCE).unwrap_or_else(|why| panic!("{why}\n{}", balancers[0].log()));
    }
}

#[test]
fn an_address_without_daemon_and_guardian_lasts_no_longer_than_its_lifetime() {
    if !skip::unless_present("daemon and guardian killed", PROGRAMS) {
        return;
    }
    let Pair { lab: _lab, balancers, watch } = pair(Duration::from_secs(1));
    let guardian =
        deadline::until("a guardian", PATIENCE, || balancers[0].guardian().ok_or_else(|| "none".to_owned()));
    let guardian = guardian.unwrap();
    // Another one takes the place of one that is killed.
    signal(guardian, Signal::KILL);
    let second = deadline::until("another guardian", PATIENCE, || {
        balancers[0].guardian().filter(|id| *id != guardian).ok_or_else(|| "none".to_owned())
    });
    let killed = now();
    signal(second.unwrap(), Signal::KILL);
    signal(balancers[0].id(), Signal::KILL);
    watch.until_alone("lb2", PATIENCE).unwrap_or_else(|why| panic!("{why}\n{}", balancers[1].log()));
    let first = watch.tenures().into_iter().find(|tenure| tenure.role == "lb1").and_then(|tenure| tenure.to);
    let lasted = first.expect("it has ended") - killed;
    println!("the address of a host without daemon and guardian lasted {lasted:?}");
    assert!(lasted <= LIFETIME, "{lasted:?}");
}

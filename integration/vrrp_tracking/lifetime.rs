//! A daemon that stands still renews no address.

use std::time::Duration;

use rustix::process::Signal;

use super::{Known, MACHINES, PROGRAMS, Pair, instance, let_pass};
use crate::support::balancer::PATIENCE;
use crate::support::deadline;
use crate::support::netns::Lab;
use crate::support::ownership::now;
use crate::support::skip;

/// Of an address with adverts of 100 ms, and what a kernel takes to look and a busy machine to run.
const LIFETIME: Duration = Duration::from_millis(3000 + 1500);
/// How long the daemon stands still.
const STANDSTILL: Duration = Duration::from_secs(10);
/// An advert, and what a busy machine adds.
const ADVERT: Duration = Duration::from_millis(100 + 400);

#[test]
fn a_daemon_that_stands_still_loses_its_addresses_and_wakes_into_one_owner() {
    if !skip::unless_present("a daemon that stands still", PROGRAMS) {
        return;
    }
    let all: [Known; 2] = [("above", 101), ("below", 102)];
    let [above, below] = all;
    // Awake it takes the one back, and finds that the other is another's.
    let first = [instance(above, 110, ""), instance(below, 90, "")].concat();
    let second = [instance(above, 100, ""), instance(below, 100, "preempt = false")].concat();
    let pair = Pair::start(Lab::new(MACHINES), [&first, &second], &all, &[]);
    let [lb1, lb2] = &pair.balancers;
    lb2.until_instance("below", "BACKUP", 100);
    let stood = now();
    lb1.signal(Signal::STOP);
    for known in all {
        let taken = pair.watch(known).taken_after("lb2", stood, PATIENCE).unwrap();
        let lost = deadline::until("the kernel ends the address", PATIENCE, || {
            let tenures = pair.watch(known).tenures();
            tenures
                .iter()
                .find(|of| of.role == "lb1")
                .and_then(|of| of.to)
                .ok_or_else(|| "not yet".to_owned())
        });
        let lost = lost.unwrap() - stood;
        println!("{}: taken over after {taken:?}, the address was gone after {lost:?}", known.0);
        assert!(lost < LIFETIME, "{lost:?}");
    }
    let_pass(STANDSTILL.saturating_sub(stood.elapsed()));
    let woke = now();
    lb1.signal(Signal::CONT);
    pair.until_all("lb1", &[above]);
    lb1.until_instance("below", "BACKUP", 90);
    pair.until_all("lb2", &[below]);
    for known in all {
        let (overlap, pause) = (pair.watch(known).overlap(woke), pair.watch(known).longest_pause());
        println!("{}: two owners for {overlap:?} (looked every {pause:?})", known.0);
        assert!(overlap <= ADVERT.max(2 * pause), "{}: {overlap:?}", known.0);
    }
}

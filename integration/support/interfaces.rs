//! How many bytes and packets crossed a machine's interfaces.

use std::ops::Sub;

use super::netns::{Lab, Machine};

/// What one interface has passed since it was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Passed {
    pub received: Count,
    pub sent: Count,
}

/// Headers included. What the kernel moves in one piece is one packet, though a cable would carry several.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Count {
    pub bytes: u64,
    pub packets: u64,
}

/// Bytes received and sent by every interface of the machine but `lo`, headers included, since it was made.
///
/// A byte that is passed on counts twice, as it does in an operator's traffic graph.
///
/// # Panics
/// When the kernel's table cannot be read.
pub fn bytes(machine: &Machine) -> u64 {
    let others = machine.enter(table).into_iter().filter(|(name, _)| name != "lo");
    others.map(|(_, passed)| passed.received.bytes + passed.sent.bytes).sum()
}

/// What the interface of this name on a machine has passed.
///
/// # Panics
/// As [`bytes`], and when there is none.
pub fn passed(machine: &Machine, name: &str) -> Passed {
    find(machine.enter(table), name)
}

/// What the interface of the guest kernel with this number has passed, as its end of the cable has seen it.
///
/// # Panics
/// As [`passed`].
pub fn passed_by_guest(lab: &Lab, number: u8) -> Passed {
    let Passed { received, sent } = find(lab.in_hub(table), &format!("t{number}"));
    Passed { received: sent, sent: received }
}

impl Sub for Passed {
    type Output = Self;

    /// What was passed since `before`.
    fn sub(self, before: Self) -> Self {
        Self { received: self.received - before.received, sent: self.sent - before.sent }
    }
}

impl Sub for Count {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { bytes: self.bytes - before.bytes, packets: self.packets - before.packets }
    }
}

fn find(table: Vec<(String, Passed)>, name: &str) -> Passed {
    let found = table.into_iter().find(|(known, _)| known == name);
    found.unwrap_or_else(|| panic!("no interface {name}")).1
}

/// All interfaces where this thread is.
fn table() -> Vec<(String, Passed)> {
    // The same counters as /sys/class/net/*/statistics, without a mount of sysfs for the namespace.
    let text = std::fs::read_to_string("/proc/thread-self/net/dev").expect("proc(5) has the interfaces");
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines
        .map(|(name, counters)| {
            let fields: Vec<u64> =
                counters.split_whitespace().map(|field| field.parse().expect("a counter")).collect();
            // proc_net_dev: eight fields of receive, then eight of transmit; bytes come first, then packets.
            let count = |at: usize| Count { bytes: fields[at], packets: fields[at + 1] };
            (name.trim().to_owned(), Passed { received: count(0), sent: count(8) })
        })
        .collect()
}

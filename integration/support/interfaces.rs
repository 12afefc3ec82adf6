//! How many bytes crossed a machine's interfaces.

use super::netns::Machine;

/// Bytes received and sent by every interface of the machine but `lo`, headers included, since it was made.
///
/// A byte that is passed on counts twice, as it does in an operator's traffic graph.
///
/// # Panics
/// When the kernel's table cannot be read.
pub fn bytes(machine: &Machine) -> u64 {
    // The same counters as /sys/class/net/*/statistics, without a mount of sysfs for the namespace.
    let table = machine
        .enter(|| std::fs::read_to_string("/proc/thread-self/net/dev").expect("proc(5) has the interfaces"));
    let lines = table.lines().filter_map(|line| line.split_once(':'));
    lines
        .filter(|(name, _)| name.trim() != "lo")
        .map(|(_, counters)| {
            let fields: Vec<u64> =
                counters.split_whitespace().map(|field| field.parse().expect("a counter")).collect();
            // proc_net_dev: eight fields of receive, then eight of transmit; bytes come first.
            fields[0] + fields[8]
        })
        .sum()
}

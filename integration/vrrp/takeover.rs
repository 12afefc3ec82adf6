//! Takeovers of ours beside those of keepalived, all at once: none takes longer than the protocol wants. `cargo bench --bench vrrp`
//! has the same in peace and often enough to compare them.

use std::fmt::Write as _;
use std::time::Duration;

use super::cell::Cell;
use crate::support::{keepalived, skip};

/// What it may take beyond the formula on a machine that has much else to do.
const SLACK: Duration = Duration::from_secs(2);

#[test]
fn another_balancer_takes_over_in_the_time_of_the_protocol_whatever_ends_the_master() {
    if !skip::unless_present("takeovers beside keepalived", keepalived::PROGRAMS) {
        return;
    }
    let cells = Cell::all();
    let results: Vec<Vec<(Duration, Duration)>> = std::thread::scope(|scope| {
        let running: Vec<_> = cells
            .iter()
            .map(|cell| {
                scope.spawn(move || cell.measure(if cell.interval < Duration::from_secs(1) { 3 } else { 2 }))
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut text = format!(
        "{:<10} {:<10} {:<11} {:>8}  seconds, and how long both had it\n",
        "adverts", "master", "program", "formula"
    );
    for (cell, took) in cells.iter().zip(&results) {
        let list: Vec<String> = took
            .iter()
            .map(|(took, both)| match cell.is_left_behind() {
                false => format!("{:.3} ({:.3})", took.as_secs_f32(), both.as_secs_f32()),
                true => format!("{:.3} (stays)", took.as_secs_f32()),
            })
            .collect();
        writeln!(
            text,
            "{:<10} {:<10} {:<11} {:>8.3}  {}",
            format!("{} ms", cell.interval.as_millis()),
            cell.event.word(),
            cell.program.word(),
            cell.formula().as_secs_f32(),
            list.join(", ")
        )
        .expect("a string takes lines");
    }
    println!("{text}");
    std::fs::write(skip::results().join("vrrp-takeover.txt"), &text)
        .expect("target/integration takes a file");
    for (cell, took) in cells.iter().zip(&results) {
        for (took, _) in took {
            assert!(*took < cell.formula() + SLACK, "{cell:?}: {took:?}");
        }
    }
}

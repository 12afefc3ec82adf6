//! The table of the rows that ran.

use std::fmt::Write as _;
use std::time::Duration;

use super::Line;
use super::row::Path;

pub(super) fn table(lines: &[Line], listed: usize, elapsed: Duration, without_door: bool) -> String {
    let mut text = format!(
        "{:<23} {:<46} {:<3} {:<17} {:<10} {:<15} {:<6} {:<12} {:>4} {:>8} {:>7} {:>5}  result\n",
        "row",
        "client",
        "IP",
        "operation",
        "mode",
        "servers",
        "path",
        "served by",
        "MiB",
        "door kB",
        "door %",
        "s"
    );
    for line in lines {
        let row = &line.row;
        let client = [vec![row.client.to_string()], row.options.clone()].concat().join(" ");
        let moved = if row.operation.moves_data() { line.bytes.moved } else { 0 };
        // Hundredths of a per cent, in integers.
        let percent = (line.bytes.through_door * 10_000)
            .checked_div(moved)
            .map_or_else(|| "-".to_owned(), |parts| format!("{}.{:02}", parts / 100, parts % 100));
        writeln!(
            text,
            "{:<23} {:<46} {:<3} {:<17} {:<10} {:<15} {:<6} {:<12} {:>4} {:>8} {:>7} {:>5.1}  {}{}",
            row.id,
            client,
            row.family,
            row.operation,
            row.mode,
            row.servers,
            row.path,
            line.served_by,
            moved >> 20,
            line.bytes.through_door / 1000,
            percent,
            line.elapsed.as_secs_f32(),
            match &line.result {
                Ok(remark) => remark,
                Err(_) => "FAILED",
            },
            if line.retries > 0 { format!(", retries: {}", line.retries) } else { String::new() }
        )
        .expect("a string takes lines");
    }
    let good: Vec<&Line> = lines.iter().filter(|line| line.result.is_ok()).collect();
    let of = |path| good.iter().filter(|line| line.row.path == path).count();
    writeln!(
        text,
        "{} rows listed, {} run, {} ok ({} direct, {} relay), {} retries after a crash of gfal, {:.0} s{}",
        listed,
        lines.len(),
        good.len(),
        of(Path::Direct),
        of(Path::Relay),
        lines.iter().map(|line| line.retries).sum::<u32>(),
        elapsed.as_secs_f32(),
        if without_door { ", WITHOUT the door" } else { "" }
    )
    .expect("a string takes lines");
    text
}

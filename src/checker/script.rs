//! `type = "script"`: a program of the site's judges the server, as keepalived's MISC_CHECK does.

use std::os::unix::process::ExitStatusExt as _;
use std::sync::Arc;
use std::time::Duration;

use super::{Finding, Probe};
use crate::balance::{CheckOutcome, CheckReport, ScriptWeight};
use crate::config::Script;
use crate::script::{self, End, Invocation, Purpose};

/// Runs it once and judges by its exit code.
pub(super) async fn attempt(probe: &Arc<Probe>, script: &Script) -> Finding {
    let server = &probe.server;
    let run = script::run(Invocation {
        purpose: Purpose::Check,
        program: script.program.clone(),
        arguments: script.arguments.clone(),
        environment: vec![
            ("GRIDFRONT_VIRTUAL_SERVER", probe.virtual_server.clone()),
            ("GRIDFRONT_REAL_SERVER", server.name().into()),
            ("GRIDFRONT_ADDRESS", server.address().ip().to_string()),
            ("GRIDFRONT_PORT", server.address().port().to_string()),
        ],
        limit: probe.check.max_time,
    })
    .await?;
    let report = judge(script, run.end, &run.last_line, probe.check.max_time);
    Ok(CheckReport { took: run.took, ..report })
}

/// 0 is good, 1 is bad, any other code a weight plus 2.
fn judge(script: &Script, end: End, last_line: &str, limit: Duration) -> CheckReport {
    let name = script.program.file_name().unwrap_or_default().to_string_lossy();
    let said = if last_line.is_empty() { String::new() } else { format!(": {last_line}") };
    let by_hand = "run it by hand to see more";
    let failed =
        |what: String, mend: &str| CheckReport::from(CheckOutcome::Failed(format!("{what}; {mend}")));
    let passed = |weight, code: i32| CheckReport {
        found: format!("{name} ended with {code}{said}"),
        weight,
        ..CheckOutcome::Passed.into()
    };
    let status = match end {
        End::Late => {
            return failed(
                format!("{name} was killed after max_time = {limit:?}{said}"),
                "raise max_time, or let it give up sooner",
            );
        }
        End::Status(status) => status,
    };
    match (status.code(), script.misc_dynamic) {
        (Some(0), true) => passed(ScriptWeight::AsBefore, 0),
        (Some(0), false) => passed(ScriptWeight::NotAsked, 0),
        (Some(code @ 2..=255), true) => {
            passed(ScriptWeight::Now(u16::try_from(code - 2).unwrap_or_default()), code)
        }
        (Some(code), _) => failed(format!("{name} ended with {code}{said}"), by_hand),
        (None, _) => {
            let signal = status.signal().unwrap_or_default();
            failed(format!("{name} was ended by signal {signal}{said}"), by_hand)
        }
    }
}

#[cfg(test)]
mod tests;

//! `gridfront failover` and `maintenance`.
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::daemon::{fail, question, say};
use super::{FailoverArgs, HandoverArgs, MaintenanceArgs, Switch};
use crate::control::VrrpStatus;
use crate::control::admin::{Answer, Question};
use crate::proto::vrrp::Role;

/// How often to look whether it has come to what is waited for.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(200);

pub(super) fn failover(args: &FailoverArgs) -> ExitCode {
    let instance = args.instance.clone();
    if args.cancel {
        return order(&args.handover, &Question::CancelFailover { instance });
    }
    let deadline_ms = deadline_ms(&args.handover);
    order(&args.handover, &Question::Failover { instance, deadline_ms })
}

pub(super) fn maintenance(args: &MaintenanceArgs) -> ExitCode {
    let on = args.switch == Switch::On;
    let deadline_ms = deadline_ms(&args.handover);
    order(&args.handover, &Question::Maintenance { on, deadline_ms })
}

fn deadline_ms(handover: &HandoverArgs) -> Option<u64> {
    handover.deadline.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn order(handover: &HandoverArgs, order: &Question) -> ExitCode {
    let concerned = match instances(handover, order) {
        Ok(instances) => instances,
        Err(error) => return fail(&error),
    };
    show(&concerned);
    if !handover.wait.wait || matches!(order, Question::Maintenance { on: false, .. }) {
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    match runtime.map(|runtime| runtime.block_on(wait_for(handover, &concerned))) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => fail(&error),
        Err(error) => fail(&format!("cannot wait: {error}")),
    }
}

/// Until none of them is master here, or that is not to be any more.
async fn wait_for(handover: &HandoverArgs, concerned: &[VrrpStatus]) -> Result<(), String> {
    let start = Instant::now();
    let mut before = None;
    loop {
        let mut now = instances(handover, &Question::Vrrp {})?;
        now.retain(|instance| concerned.iter().any(|of| of.name == instance.name));
        let course = course(concerned, &now);
        match course {
            Course::Over => {
                show(&now);
                return Ok(());
            }
            Course::Waits => {}
            // A wish is fulfilled a moment before the state shows it.
            Course::TakenBack if before != Some(course) => {}
            Course::TakenBack => {
                show(&now);
                return Err("it was taken back; the addresses stay here".into());
            }
        }
        before = Some(course);
        if handover.wait.timeout.is_some_and(|limit| start.elapsed() >= limit) {
            show(&now);
            return Err("it has not come to that within --timeout; nothing was taken back".into());
        }
        sleep(LOOK_AGAIN_AFTER).await;
    }
}

/// What has become of an order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Course {
    Over,
    Waits,
    TakenBack,
}

fn course(asked: &[VrrpStatus], now: &[VrrpStatus]) -> Course {
    let masters = || now.iter().filter(|instance| instance.state == Role::Master.word());
    let has_stayed = |instance: &VrrpStatus| {
        let mut before = asked.iter().filter(|of| of.name == instance.name);
        before.any(|of| of.became_master == instance.became_master)
    };
    if masters().next().is_none() {
        Course::Over
    } else if masters().all(|instance| instance.failover.is_none() && has_stayed(instance)) {
        Course::TakenBack
    } else {
        Course::Waits
    }
}

fn instances(handover: &HandoverArgs, asked: &Question) -> Result<Vec<VrrpStatus>, String> {
    match question(&handover.daemon, asked)? {
        Answer::Vrrp(instances) => Ok(instances),
        _ => Err("the daemon answers another question; is it of the same version?".into()),
    }
}

fn show(instances: &[VrrpStatus]) {
    for instance in instances {
        say(&instance.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(name: &str, state: &str, waits: bool, became_master: u64) -> VrrpStatus {
        let failover = if waits { r#""failover": {"since_s": 1, "deadline_s": 9},"# } else { "" };
        let text = format!(
            r#"{{"name": "{name}", "interface": "eth0", "virtual_router_id": 7, "state": "{state}", "since_s": 1,
            "cause": "", "priority": 100, "master": null, "addresses": [], "complaints": [], {failover}
            "became_master": {became_master}, "sent": 0, "received": 0, "discarded": []}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn what_has_become_of_an_order_is_told_row_by_row() {
        let asked = [instance("a", "MASTER", true, 1), instance("b", "MASTER", true, 1)];
        let with_a = |a| vec![a, instance("b", "BACKUP", false, 1)];
        for (case, now, expected) in [
            ("both wait", asked.to_vec(), Course::Waits),
            ("one has gone", with_a(instance("a", "MASTER", true, 1)), Course::Waits),
            ("one is kept", with_a(instance("a", "MASTER", false, 1)), Course::TakenBack),
            ("one is back for want of another", with_a(instance("a", "MASTER", false, 2)), Course::Waits),
            ("all have gone", with_a(instance("a", "FAULT", false, 1)), Course::Over),
            ("a reload has removed all", Vec::new(), Course::Over),
        ] {
            assert_eq!(course(&asked, &now), expected, "{case}");
        }
    }
}

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

/// Until none of them is master here.
async fn wait_for(handover: &HandoverArgs, concerned: &[VrrpStatus]) -> Result<(), String> {
    let start = Instant::now();
    loop {
        let mut now = instances(handover, &Question::Vrrp {})?;
        now.retain(|instance| concerned.iter().any(|of| of.name == instance.name));
        if now.iter().all(|instance| instance.state != Role::Master.word()) {
            show(&now);
            return Ok(());
        }
        if handover.wait.timeout.is_some_and(|limit| start.elapsed() >= limit) {
            show(&now);
            return Err("it has not come to that within --timeout; nothing was taken back".into());
        }
        sleep(LOOK_AGAIN_AFTER).await;
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

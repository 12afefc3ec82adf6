//! What the service manager is told while the daemon runs: that every part turns, and how the site is.
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::status::{ServerState, Status};
use super::vrrp::VrrpStatus;
use crate::proto::vrrp::Role;
use crate::sys::liveness::Liveness;
use crate::sys::service_manager;

/// How often the line for `systemctl status` is made anew.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shortest time between two words of life, whatever the service manager wants.
const SHORTEST_PERIOD: Duration = Duration::from_millis(10);

/// Tells it, for ever, or returns at once where there is none.
pub(super) async fn inform(liveness: Arc<Liveness>, status: impl Fn() -> Status) {
    if !service_manager::listens() {
        return;
    }
    let watchdog = async {
        match service_manager::watchdog() {
            Some(limit) => watch(&liveness, limit, service_manager::alive).await,
            None => std::future::pending().await,
        }
    };
    let lines = async {
        let mut last = String::new();
        loop {
            let line = line(&status());
            if line != last {
                service_manager::status(&line);
                last = line;
            }
            sleep(LINE_EVERY).await;
        }
    };
    tokio::join!(watchdog, lines);
}

/// Gives a sign of life twice within `limit`, as long as every part answers: the threads of the door, each of which may
/// hang without the others, the clock of the sessions, the checks, and VRRP. Where one does not, there is no sign, and the
/// service manager ends the process and starts it anew.
async fn watch(liveness: &Liveness, limit: Duration, alive: impl Fn()) {
    let period = (limit / 2).max(SHORTEST_PERIOD);
    loop {
        liveness.ask();
        if timeout(period, liveness.until_answered()).await.is_err() {
            let silent = liveness.silent().join(", ");
            tracing::error!(silent, "a part does not answer; without it the watchdog will end the process");
            liveness.until_answered().await;
            tracing::warn!("every part answers again");
        }
        alive();
        sleep(period).await;
    }
}

/// VRRP instances that are named; the line of `systemctl status` is one of a terminal.
const MAX_NAMED: usize = 8;

/// `2 of 3 real servers up, 1 drained; 12 sessions; VI_1 MASTER`.
fn line(status: &Status) -> String {
    let servers = || {
        let servers = status.virtual_servers.iter().flat_map(|server| &server.real_servers);
        servers.filter(|server| server.state != ServerState::Removed)
    };
    let count = |state| servers().filter(|server| server.state == state).count();
    let up = count(ServerState::Up) + count(ServerState::Busy);
    let mut line = format!("{up} of {} real servers up", servers().count());
    let drained = count(ServerState::Drained);
    if drained > 0 {
        line += &format!(", {drained} drained");
    }
    line += &format!("; {} sessions", status.sessions);
    line += &states(&status.vrrp);
    if status.configuration.refused.is_some() {
        line += "; the last reload was refused";
    }
    line
}

/// `; VI_1 MASTER; VI_2 BACKUP`.
fn states(instances: &[VrrpStatus]) -> String {
    let named = instances.iter().take(MAX_NAMED);
    let mut states: String =
        named.map(|instance| format!("; {} {}", instance.name, instance.state)).collect();
    if instances.len() > MAX_NAMED {
        let masters = instances.iter().filter(|instance| instance.state == Role::Master.word()).count();
        states += &format!("; MASTER in {masters} of {} VRRP instances", instances.len());
    }
    states
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    #[tokio::test(start_paused = true)]
    async fn there_is_no_sign_of_life_while_a_part_stands_still() {
        let liveness = Liveness::default();
        let _turns = tokio::spawn(liveness.pulse("turns".into()).beside(std::future::pending::<()>()));
        let signs = AtomicUsize::new(0);
        let watching = watch(&liveness, Duration::from_secs(30), || {
            signs.fetch_add(1, SeqCst);
        });
        let course = async {
            let seconds = |seconds| sleep(Duration::from_secs(seconds));
            seconds(61).await;
            assert_eq!(signs.load(SeqCst), 5, "every 15 s");
            // A part that is there, and never gets its turn.
            let stuck = liveness.pulse("stuck".into());
            seconds(300).await;
            assert_eq!(signs.load(SeqCst), 5);
            assert_eq!(liveness.silent(), ["stuck"]);
            let _stuck = tokio::spawn(stuck.beside(std::future::pending::<()>()));
            seconds(16).await;
            assert_eq!(signs.load(SeqCst), 7, "it turns again");
        };
        tokio::select! {
            () = watching => {}
            () = course => {}
        }
    }

    #[test]
    fn the_line_names_some_instances_and_counts_the_others() {
        let instance = |number: usize| -> VrrpStatus {
            let state = if number % 2 == 1 { "MASTER" } else { "BACKUP" };
            serde_json::from_value(json!({
                "name": format!("VI_{number}"), "interface": "eth0", "virtual_router_id": number, "state": state,
                "since_s": 0, "cause": "", "priority": 100, "master": null, "addresses": [], "complaints": [],
                "became_master": 0, "sent": 0, "received": 0, "discarded": [],
            }))
            .unwrap()
        };
        let instances: Vec<VrrpStatus> = (1..=11).map(instance).collect();
        assert_eq!(states(&[]), "");
        assert_eq!(states(&instances[..2]), "; VI_1 MASTER; VI_2 BACKUP");
        let many = states(&instances);
        assert!(many.ends_with("; VI_8 BACKUP; MASTER in 6 of 11 VRRP instances"), "{many}");
    }
}

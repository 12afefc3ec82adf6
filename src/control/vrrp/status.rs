//! What `gridfront status` shows of virtual routers.
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::failover::PendingStatus;
use crate::proto::vrrp::{Discard, Role};
use crate::vrrp::record::{Record, Shared};

/// One VRRP instance.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct VrrpStatus {
    /// As configured.
    pub name: String,
    /// As configured.
    pub interface: String,
    /// As configured.
    pub virtual_router_id: u8,
    /// `MASTER`, `BACKUP`, `FAULT` or `STOP`.
    pub state: String,
    /// Seconds since.
    pub since_s: u64,
    /// Why.
    pub cause: String,
    /// With what is tracked.
    pub priority: u8,
    /// Who is master, if anybody is heard.
    pub master: Option<MasterStatus>,
    /// All of them.
    pub addresses: Vec<IpAddr>,
    /// What lowers its priority or keeps it from office.
    pub complaints: Vec<String>,
    /// A failover that waits for what is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover: Option<PendingStatus>,
    /// Times that it has become master.
    pub became_master: u64,
    /// Adverts.
    pub sent: u64,
    /// Adverts that were taken.
    pub received: u64,
    /// Adverts that were not, by reason; those without any are left out.
    pub discarded: Vec<DiscardedStatus>,
    /// The last of these: `192.0.2.3, 12 s ago: its password is not ours`.
    #[serde(default)]
    pub last_discarded: Option<String>,
}

/// What all instances have in common.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct OwnershipStatus {
    /// Whether an operator keeps this host from being master.
    pub maintenance: bool,
    /// Whether addresses would vanish at once if the daemon were killed.
    pub guardian: bool,
    /// Capabilities that are missing, a line each.
    pub missing: Vec<String>,
    /// What was refused to the thread that keeps the time, a line each; without it that may be late.
    pub not_real_time: Vec<String>,
    /// The longest that it was, in milliseconds.
    pub late_ms_max: f64,
    /// Changes that were neither logged nor told to scripts.
    pub events_lost: u64,
}

/// Whoever advertises.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct MasterStatus {
    /// Its own address.
    pub address: IpAddr,
    /// As it says.
    pub priority: u8,
}

/// Adverts that were not taken.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct DiscardedStatus {
    /// As in the metrics.
    pub reason: String,
    /// How many.
    pub adverts: u64,
}

impl VrrpStatus {
    pub(super) fn of(record: &Record, failover: Option<PendingStatus>, now: Instant) -> Self {
        let (situation, counts) = (record.situation(), &record.counts);
        let discarded = Discard::WORDS.iter().zip(&counts.discarded);
        let discarded =
            discarded.map(|(reason, count)| (reason, count.load(Relaxed))).filter(|(_, count)| *count > 0);
        Self {
            name: record.name.clone(),
            interface: record.interface.clone(),
            virtual_router_id: record.virtual_router_id,
            state: situation.role.word().into(),
            since_s: now.saturating_duration_since(situation.since).as_secs(),
            cause: situation.cause.clone(),
            priority: situation.priority.get(),
            master: situation
                .master
                .map(|(address, priority)| MasterStatus { address, priority: priority.get() }),
            addresses: record.addresses.clone(),
            complaints: situation.complaints.clone(),
            failover,
            became_master: counts.transitions_to(Role::Master),
            sent: counts.sent.load(Relaxed),
            received: counts.received.load(Relaxed),
            discarded: discarded
                .map(|(reason, adverts)| DiscardedStatus { reason: (*reason).to_owned(), adverts })
                .collect(),
            last_discarded: counts.last_discard.load().as_ref().map(|last| {
                let ago = now.saturating_duration_since(last.at).as_secs();
                format!("{}, {ago} s ago: {}", last.source, last.why)
            }),
        }
    }
}

/// Two lines, and one for each thing that is not as it should be.
impl fmt::Display for VrrpStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, interface, virtual_router_id, state, since_s, cause, priority, .. } = self;
        let addresses: Vec<String> = self.addresses.iter().map(IpAddr::to_string).collect();
        writeln!(f, "{name} {state} for {since_s} s: {cause}; priority {priority}")?;
        write!(f, "  {} on {interface}, virtual router {virtual_router_id}", addresses.join(" "))?;
        match &self.master {
            _ if *state == Role::Master.word() => writeln!(f)?,
            Some(master) => writeln!(f, "; master is {} with priority {}", master.address, master.priority)?,
            None if *state == Role::Backup.word() => writeln!(f, "; no master is heard")?,
            None => writeln!(f)?,
        }
        // As cause of the state it was said above.
        let is_new = |complaint: &&String| !cause.contains(complaint.as_str());
        self.complaints.iter().filter(is_new).try_for_each(|complaint| writeln!(f, "  {complaint}"))?;
        if let Some(PendingStatus { since_s, deadline_s }) = &self.failover {
            writeln!(
                f,
                "  asked {since_s} s ago to hand over: when nothing has been under way for 2 s, in {deadline_s} s at the latest"
            )?;
        }
        if !self.discarded.is_empty() {
            let discarded: Vec<String> =
                self.discarded.iter().map(|of| format!("{} {}", of.adverts, of.reason)).collect();
            writeln!(f, "  adverts discarded: {}", discarded.join(", "))?;
        }
        if let Some(last) = &self.last_discarded {
            writeln!(f, "  the last from {last}")?;
        }
        Ok(())
    }
}

impl OwnershipStatus {
    pub(super) fn of(shared: &Shared, maintenance: bool) -> Self {
        let worst = Duration::from_micros(shared.lateness.worst_micros.load(Relaxed));
        Self {
            maintenance,
            guardian: shared.has_guardian.load(Relaxed),
            missing: shared.missing.iter().map(ToString::to_string).collect(),
            not_real_time: shared.refused().unwrap_or_default().to_vec(),
            late_ms_max: worst.as_secs_f64() * 1000.0,
            events_lost: shared.events_lost.load(Relaxed),
        }
    }
}

/// One line, and one for each thing that is not as it should be.
impl fmt::Display for OwnershipStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let guardian = if self.guardian { "guardian runs" } else { "no guardian" };
        let real_time = if self.not_real_time.is_empty() { "real-time" } else { "not real-time" };
        writeln!(f, "VRRP: {guardian}, {real_time}, its timer {:.1} ms late at most", self.late_ms_max)?;
        if self.maintenance {
            writeln!(f, "  maintenance: this host does not become master until `gridfront maintenance off`")?;
        }
        self.missing.iter().try_for_each(|what| writeln!(f, "  this process lacks {what}"))?;
        if !self.guardian {
            writeln!(
                f,
                "  after a kill -9 addresses would stay here for seconds; the log says why no guardian runs"
            )?;
        }
        self.not_real_time.iter().try_for_each(|refused| writeln!(f, "  it may be late: {refused}"))?;
        if self.events_lost > 0 {
            writeln!(
                f,
                "  {} changes were neither logged nor told to scripts: too many waited",
                self.events_lost
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup() -> VrrpStatus {
        VrrpStatus {
            name: "VI_1".into(),
            interface: "eth0".into(),
            virtual_router_id: 51,
            state: "BACKUP".into(),
            since_s: 40,
            cause: "higher priority 200 advertised by 192.0.2.2".into(),
            priority: 100,
            master: Some(MasterStatus { address: [192, 0, 2, 2].into(), priority: 200 }),
            addresses: vec![[192, 0, 2, 10].into(), [192, 0, 2, 11].into()],
            complaints: Vec::new(),
            failover: None,
            became_master: 1,
            sent: 7,
            received: 40,
            discarded: Vec::new(),
            last_discarded: None,
        }
    }

    #[test]
    fn an_instance_says_what_it_is_and_who_is_master() {
        let head = "VI_1 BACKUP for 40 s: higher priority 200 advertised by 192.0.2.2; priority 100\n";
        let place = "  192.0.2.10 192.0.2.11 on eth0, virtual router 51";
        assert_eq!(backup().to_string(), format!("{head}{place}; master is 192.0.2.2 with priority 200\n"));
        let alone = VrrpStatus { master: None, ..backup() };
        assert_eq!(alone.to_string(), format!("{head}{place}; no master is heard\n"));
        let own = Some(MasterStatus { address: [192, 0, 2, 1].into(), priority: 100 });
        let master = VrrpStatus {
            state: "MASTER".into(),
            cause: "master 192.0.2.2 down".into(),
            master: own,
            ..backup()
        };
        assert_eq!(
            master.to_string(),
            format!("VI_1 MASTER for 40 s: master 192.0.2.2 down; priority 100\n{place}\n")
        );
    }

    #[test]
    fn what_is_not_as_it_should_be_has_a_line_and_is_said_once() {
        let faulty = VrrpStatus {
            state: "FAULT".into(),
            cause: "fault: script router is down".into(),
            master: None,
            complaints: vec!["script router is down".into(), "file weight says -20".into()],
            failover: Some(PendingStatus { since_s: 3, deadline_s: 57 }),
            discarded: vec![
                DiscardedStatus { reason: "checksum".into(), adverts: 3 },
                DiscardedStatus { reason: "interval".into(), adverts: 1 },
            ],
            last_discarded: Some("192.0.2.3, 5 s ago: its checksum is wrong".into()),
            ..backup()
        };
        assert_eq!(
            faulty.to_string(),
            "VI_1 FAULT for 40 s: fault: script router is down; priority 100\n  \
             192.0.2.10 192.0.2.11 on eth0, virtual router 51\n  file weight says -20\n  \
             asked 3 s ago to hand over: when nothing has been under way for 2 s, in 57 s at the latest\n  \
             adverts discarded: 3 checksum, 1 interval\n  \
             the last from 192.0.2.3, 5 s ago: its checksum is wrong\n"
        );
    }

    #[test]
    fn all_instances_together_say_whether_a_kill_or_a_busy_machine_would_show() {
        let fine = OwnershipStatus {
            maintenance: false,
            guardian: true,
            missing: Vec::new(),
            not_real_time: Vec::new(),
            late_ms_max: 0.32,
            events_lost: 0,
        };
        assert_eq!(fine.to_string(), "VRRP: guardian runs, real-time, its timer 0.3 ms late at most\n");
        let poor = OwnershipStatus {
            maintenance: true,
            guardian: false,
            missing: vec!["CAP_NET_RAW".into()],
            not_real_time: vec!["real-time priority 20 is refused".into()],
            late_ms_max: 12.0,
            events_lost: 2,
        };
        assert_eq!(
            poor.to_string(),
            "VRRP: no guardian, not real-time, its timer 12.0 ms late at most\n  \
             maintenance: this host does not become master until `gridfront maintenance off`\n  \
             this process lacks CAP_NET_RAW\n  \
             after a kill -9 addresses would stay here for seconds; the log says why no guardian runs\n  \
             it may be late: real-time priority 20 is refused\n  \
             2 changes were neither logged nor told to scripts: too many waited\n"
        );
    }
}

//! The same of the virtual routers.
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use metrics::Label;

use super::Of;
use crate::proto::vrrp::Discard;
use crate::vrrp::record::{ROLES, Record, STRAYS, Shared};

/// What there is to be told of.
#[derive(Debug)]
pub(in crate::control) struct Observed {
    pub(in crate::control) shared: Arc<Shared>,
    pub(in crate::control) maintenance: bool,
}

pub(super) fn collect(observed: &Observed) {
    let shared = &observed.shared;
    for record in shared.records().iter() {
        instance(&Of(vec![Label::new("vrrp_instance", record.name.clone())]), record);
    }
    let of = Of(Vec::new());
    of.histogram("gridfront_vrrp_timer_lateness_seconds", &shared.lateness.wakes);
    let worst = Duration::from_micros(shared.lateness.worst_micros.load(Relaxed));
    of.gauge("gridfront_vrrp_timer_lateness_max_seconds", worst.as_secs_f64());
    for (reason, count) in STRAYS.iter().zip(&shared.strays) {
        of.with(&[("reason", reason)]).load("gridfront_vrrp_stray_adverts_total", count);
    }
    of.load("gridfront_vrrp_events_lost_total", &shared.events_lost);
    of.flag("gridfront_vrrp_real_time", shared.refused().is_some_and(<[String]>::is_empty));
    of.flag("gridfront_vrrp_guardian", shared.has_guardian.load(Relaxed));
    of.flag("gridfront_vrrp_maintenance", observed.maintenance);
}

fn instance(of: &Of, record: &Record) {
    let (situation, counts) = (record.situation(), &record.counts);
    for role in ROLES {
        let of = of.with(&[("state", role.word())]);
        of.flag("gridfront_vrrp_state", situation.role == role);
        of.counter("gridfront_vrrp_transitions_total", counts.transitions_to(role));
    }
    of.gauge("gridfront_vrrp_priority", situation.priority.get().into());
    of.flag("gridfront_vrrp_master_known", situation.master.is_some());
    of.gauge("gridfront_vrrp_advert_interval_seconds", record.advert_interval.as_secs_f64());
    of.time("gridfront_vrrp_last_transition_timestamp_seconds", situation.date);
    of.load("gridfront_vrrp_adverts_sent_total", &counts.sent);
    of.load("gridfront_vrrp_releases_total", &counts.released);
    of.load("gridfront_vrrp_send_failures_total", &counts.not_sent);
    of.load("gridfront_vrrp_adverts_received_total", &counts.received);
    for (reason, count) in Discard::WORDS.iter().zip(&counts.discarded) {
        of.with(&[("reason", reason)]).load("gridfront_vrrp_adverts_discarded_total", count);
    }
    of.load("gridfront_vrrp_other_addresses_total", &counts.other_addresses);
    of.load("gridfront_vrrp_other_masters_total", &counts.other_masters);
    of.load("gridfront_vrrp_announcements_total", &counts.announcements);
    of.load("gridfront_vrrp_addresses_put_back_total", &counts.put_back);
}

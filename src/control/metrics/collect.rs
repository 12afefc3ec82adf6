//! From the door's own numbers to samples.
pub(in crate::control) mod forwarding;
pub(in crate::control) mod vrrp;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{Label, counter, gauge, histogram};

use super::super::reload::ReloadRecord;
use super::super::status::{AdmittanceStatus, GsiKeysStatus};
use crate::balance::{Durations, RealServer};
use crate::proxy::Service;
use crate::sys::process::Usage;

/// What there is to be told of.
#[derive(Debug)]
pub(in super::super) struct Observed<'a> {
    pub(in super::super) services: &'a [Arc<Service>],
    pub(in super::super) usage: Usage,
    /// When the daemon started.
    pub(in super::super) started: SystemTime,
    pub(in super::super) draining: bool,
    pub(in super::super) reloads: ReloadRecord,
    pub(in super::super) control_connections: usize,
    pub(in super::super) log_lines_lost: u64,
    pub(in super::super) transfer_log_lines_lost: u64,
    /// Nothing but zeros where no virtual server ends GSI.
    pub(in super::super) gsi_keys: GsiKeysStatus,
    /// Where it runs.
    pub(in super::super) vrrp: Option<vrrp::Observed>,
    /// Where something needs it.
    pub(in super::super) forwarding: Option<forwarding::Observed>,
}

/// Whose samples are being told: the labels that all of them have.
struct Of(Vec<Label>);

pub(super) fn collect(observed: &Observed<'_>) {
    daemon(observed);
    for service in observed.services {
        let name = service.virtual_server.name().to_owned();
        virtual_server(&Of(vec![Label::new("virtual_server", name.clone())]), service);
        for server in service.virtual_server.real_servers() {
            let real = Label::new("real_server", server.name().to_owned());
            real_server(&Of(vec![Label::new("virtual_server", name.clone()), real]), server);
        }
    }
    if let Some(observed) = &observed.vrrp {
        vrrp::collect(observed);
    }
    if let Some(observed) = &observed.forwarding {
        forwarding::collect(observed);
    }
}

fn daemon(observed: &Observed<'_>) {
    let of = Of(Vec::new());
    let usage = &observed.usage;
    // Counters of the facade are whole numbers, and these seconds are not.
    of.gauge("process_cpu_seconds_total", usage.processor.as_secs_f64());
    of.gauge("process_open_fds", float(usage.descriptors));
    of.gauge("process_max_fds", float(usage.max_descriptors));
    of.gauge("process_resident_memory_bytes", float(usage.resident));
    of.gauge("process_virtual_memory_bytes", float(usage.address_space));
    of.time("process_start_time_seconds", observed.started);
    gauge!("gridfront_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    of.flag("gridfront_draining", observed.draining);
    let reloads = &observed.reloads;
    of.flag("gridfront_config_last_reload_successful", reloads.last_succeeded);
    of.time("gridfront_config_last_reload_success_timestamp_seconds", reloads.last_success);
    for (outcome, count) in [("success", reloads.successes), ("failure", reloads.failures)] {
        of.with(&[("outcome", outcome)]).counter("gridfront_config_reloads_total", count);
    }
    of.gauge("gridfront_control_connections", float(observed.control_connections as u64));
    of.counter("gridfront_log_lines_lost_total", observed.log_lines_lost);
    of.counter("gridfront_transfer_log_lines_lost_total", observed.transfer_log_lines_lost);
    let keys = &observed.gsi_keys;
    of.gauge("gridfront_gsi_keys_ready", float(keys.ready as u64));
    of.gauge("gridfront_gsi_keys_wanted", float(keys.wanted as u64));
    of.counter("gridfront_gsi_keys_taken_total", keys.taken);
    of.counter("gridfront_gsi_key_waits_total", keys.waits);
}

fn virtual_server(of: &Of, service: &Service) {
    let server = &service.virtual_server;
    of.load("gridfront_panics_total", &service.lasting.panics);
    of.gauge("gridfront_sessions", server.active().into());
    of.gauge("gridfront_max_sessions", server.max_sessions().into());
    of.flag("gridfront_quorum", server.state().quorum.is_there());
    let sorry_server = server.availability().sorry_server.as_ref();
    let sorry_sessions = sorry_server.map_or(0, |sorry| sorry.stats.sessions.load(Relaxed));
    of.counter("gridfront_sorry_server_sessions_total", sorry_sessions);
    for (why, count) in service.lasting.tally.refusals() {
        of.with(&[("reason", why.word())]).counter("gridfront_sessions_refused_total", count);
    }
    for (how, count) in service.lasting.tally.endings() {
        of.with(&[("reason", how.word())]).counter("gridfront_sessions_ended_total", count);
    }
    let tls = service.acceptor.as_ref().map(|tls| (tls.certificate_file(), tls.expires()));
    let gsi = service.gsi.as_ref().map(|gsi| &gsi.acceptor);
    for (file, expires) in tls.into_iter().chain(gsi.map(|gsi| (gsi.certificate_file(), gsi.expires()))) {
        let file = Label::new("file", file.display().to_string());
        let of = Of(of.0.iter().cloned().chain([file]).collect());
        of.time("gridfront_certificate_not_after_timestamp_seconds", expires);
    }
    let record = &service.lasting.gsi;
    for (outcome, count) in record.outcomes() {
        of.with(&[("outcome", outcome.word())]).counter("gridfront_gsi_logins_total", count);
    }
    for (end, count) in record.path_length_ends() {
        of.with(&[("consequence", end.word())]).counter("gridfront_gsi_path_length_ends_total", count);
    }
    of.load("gridfront_gsi_passed_through_total", &record.passed_through);
    of.histogram("gridfront_gsi_handshake_duration_seconds", &record.handshakes);
    let problems = gsi.map_or(0, |gsi| gsi.trust().problem_count());
    of.gauge("gridfront_trust_directory_problems", float(problems as u64));
    let admittance = AdmittanceStatus::of(service, crate::proxy::now());
    of.gauge("gridfront_queue_waiting", admittance.queue.map_or(0, |queue| queue.waiting).into());
    of.gauge("gridfront_clients_banned", float(admittance.banned as u64));
    of.counter("gridfront_commands_denied_total", admittance.denied_commands);
    for (class, count) in service.lasting.tally.commands() {
        of.with(&[("class", class.word())]).counter("gridfront_commands_total", count);
    }
    for (path, reason, count) in service.lasting.path_counts.all() {
        let labels = [("data_path", path.word()), ("reason", reason.words())];
        of.with(&labels).counter("gridfront_data_path_choices_total", count);
    }
    of.load("gridfront_proxy_header_failures_total", &service.lasting.proxy_header_failures);
    let relaying = &service.lasting.relaying;
    of.gauge("gridfront_relay_ports_in_use", float(relaying.ports.in_use() as u64));
    of.gauge("gridfront_relay_ports_available", float(relaying.ports.available() as u64));
    of.counter("gridfront_relay_ports_exhausted_total", relaying.ports.exhausted());
    for (reason, count) in [("stranger", &relaying.strangers), ("too many", &relaying.refused)] {
        of.with(&[("reason", reason)]).load("gridfront_relay_connections_refused_total", count);
    }
}

fn real_server(of: &Of, server: &RealServer) {
    let (stats, health) = (&server.stats, server.health());
    of.flag("gridfront_real_server_up", health.up);
    of.flag("gridfront_real_server_busy", health.up && health.busy);
    of.flag("gridfront_real_server_drained", server.is_drained());
    of.flag("gridfront_real_server_ejected", server.ejection().is_some());
    of.load("gridfront_real_server_ejections_total", &stats.ejections);
    of.gauge("gridfront_real_server_weight", server.effective_weight().into());
    of.gauge("gridfront_real_server_active_sessions", server.active().into());
    of.load("gridfront_real_server_sessions_total", &stats.sessions);
    of.load("gridfront_real_server_connect_failures_total", &stats.connect_failures);
    of.load("gridfront_real_server_busy_total", &stats.busy);
    for (method, outcome, count) in [
        ("password", "success", &stats.logins),
        ("password", "failure", &stats.login_failures),
        ("gsi", "success", &stats.gsi_logins),
        ("gsi", "failure", &stats.gsi_failures),
    ] {
        of.with(&[("method", method), ("outcome", outcome)]).load("gridfront_logins_total", count);
    }
    for (method, times) in [("password", &stats.login_times), ("gsi", &stats.handshakes)] {
        of.with(&[("method", method)]).histogram("gridfront_login_duration_seconds", times);
    }
    for (flow, path, outcome, count) in stats.by_kind.iter() {
        let labels = [("direction", flow.word()), ("data_path", path.word()), ("outcome", outcome.word())];
        of.with(&labels).counter("gridfront_transfers_total", count);
    }
    for (direction, count) in [("in", &stats.relayed_to_server), ("out", &stats.relayed_to_client)] {
        of.with(&[("direction", direction)]).load("gridfront_relayed_bytes_total", count);
    }
    of.load("gridfront_data_connection_failures_total", &stats.data_failures);
    for (outcome, count) in
        [("passed", &stats.checks_passed), ("busy", &stats.checks_busy), ("failed", &stats.checks_failed)]
    {
        of.with(&[("outcome", outcome)]).load("gridfront_checks_total", count);
    }
    of.histogram("gridfront_check_duration_seconds", &stats.check_times);
    let certificate = server.certificate();
    let not_after = certificate.as_ref().map_or(Duration::ZERO, |seen| seen.not_after);
    of.time("gridfront_real_server_certificate_not_after_timestamp_seconds", UNIX_EPOCH + not_after);
    let lacks_name = certificate.is_some_and(|seen| seen.missing_name.is_some());
    of.flag("gridfront_real_server_certificate_name_mismatch", lacks_name);
}

impl Of {
    /// The same with labels of some samples alone.
    fn with(&self, labels: &[(&'static str, &'static str)]) -> Self {
        let more = labels.iter().map(|&(name, value)| Label::from_static_parts(name, value));
        Self(self.0.iter().cloned().chain(more).collect())
    }

    fn counter(&self, name: &'static str, value: u64) {
        counter!(name, self.0.iter()).absolute(value);
    }

    fn load(&self, name: &'static str, value: &AtomicU64) {
        self.counter(name, value.load(Relaxed));
    }

    fn gauge(&self, name: &'static str, value: f64) {
        gauge!(name, self.0.iter()).set(value);
    }

    fn time(&self, name: &'static str, time: SystemTime) {
        self.gauge(name, time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64());
    }

    fn flag(&self, name: &'static str, value: bool) {
        self.gauge(name, f64::from(u8::from(value)));
    }

    fn histogram(&self, name: &'static str, durations: &Durations) {
        let histogram = histogram!(name, self.0.iter());
        for class in durations.classes() {
            histogram.record_many(class.mean, usize::try_from(class.count).unwrap_or(usize::MAX));
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus has no other numbers, and 2^53 is enough for these"
)]
fn float(number: u64) -> f64 {
    number as f64
}

//! Every metric that there is.
use crate::balance::{Bounds, Durations};

/// What a metric is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Only ever rises, until the process starts anew.
    Counter,
    /// Rises and falls.
    Gauge,
    /// A distribution.
    Histogram,
}

/// A metric with all of its label values.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Family {
    /// As Prometheus has it.
    pub name: &'static str,
    /// See there.
    pub kind: Kind,
    /// Names of its labels, in order; that of a histogram's bounds is not among them.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
    /// Of a histogram.
    pub bounds: Bounds,
}

const NO: &[&str] = &[];
const OF_SERVICE: &[&str] = &["virtual_server"];
const OF_SERVER: &[&str] = &["virtual_server", "real_server"];
const OF_FLOWS: &[&str] = &["virtual_server", "real_server", "kind"];
const OF_INSTANCE: &[&str] = &["vrrp_instance"];

/// In the order of the page: the process, virtual servers, real servers, VRRP, the kernel path.
pub const CATALOGUE: &[Family] = &[
    // The process, by the names that Prometheus' client libraries have for it.
    counter("process_cpu_seconds_total", NO, "Processor time used, user and system."),
    gauge("process_open_fds", NO, "File descriptors that are open."),
    gauge("process_max_fds", NO, "File descriptors that may be open."),
    gauge("process_resident_memory_bytes", NO, "Memory in use."),
    gauge("process_virtual_memory_bytes", NO, "Address space in use."),
    gauge("process_start_time_seconds", NO, "Start of the daemon, in seconds since 1970."),
    // The daemon.
    gauge("gridfront_build_info", &["version"], "Always 1; the version is in the label."),
    gauge("gridfront_draining", NO, "1 once the door accepts no more sessions."),
    gauge(
        "gridfront_config_last_reload_successful",
        NO,
        "1 unless the last reload was refused; the configuration before it is in force then.",
    ),
    gauge(
        "gridfront_config_last_reload_success_timestamp_seconds",
        NO,
        "When a configuration last came into force, by a reload or the start, in seconds since 1970.",
    ),
    counter(
        "gridfront_config_reloads_total",
        &["outcome"],
        "Reloads of the configuration, by what came of them.",
    ),
    gauge(
        "gridfront_control_connections",
        NO,
        "Control connections that are open, with those that have no server yet.",
    ),
    counter("gridfront_log_lines_lost_total", NO, "Log lines that were lost because nobody read them."),
    counter(
        "gridfront_transfer_log_lines_lost_total",
        NO,
        "Lines that the transfer log has lost, because its file could not be written or too slowly.",
    ),
    gauge("gridfront_gsi_keys_ready", NO, "Keys for delegated credentials that lie ready."),
    gauge(
        "gridfront_gsi_keys_wanted",
        NO,
        "Keys that lie ready when none was taken for a while; 0 where no virtual server ends GSI.",
    ),
    counter("gridfront_gsi_keys_taken_total", NO, "Keys that GSI logins have taken."),
    counter("gridfront_gsi_key_waits_total", NO, "GSI logins that found no key ready and had to wait."),
    counter("gridfront_panics_total", OF_SERVICE, "Sessions that ended by a bug of gridfront."),
    // Virtual servers.
    gauge("gridfront_sessions", OF_SERVICE, "Sessions that are inside."),
    gauge("gridfront_max_sessions", OF_SERVICE, "Sessions that may be inside."),
    gauge("gridfront_quorum", OF_SERVICE, "1 while the weight that is up makes the quorum."),
    counter(
        "gridfront_sorry_server_sessions_total",
        OF_SERVICE,
        "Sessions that got the greeting of the sorry server.",
    ),
    counter(
        "gridfront_sessions_refused_total",
        &["virtual_server", "reason"],
        "Clients that came and got no real server.",
    ),
    counter(
        "gridfront_sessions_ended_total",
        &["virtual_server", "reason"],
        "Sessions that have ended, by how.",
    ),
    gauge(
        "gridfront_certificate_not_after_timestamp_seconds",
        &["virtual_server", "file"],
        "When the certificate that clients are shown expires, or one of its chain, in seconds since 1970.",
    ),
    counter(
        "gridfront_gsi_logins_total",
        &["virtual_server", "outcome"],
        "Logins by GSI that ends at the door, by what came of them.",
    ),
    counter(
        "gridfront_gsi_path_length_ends_total",
        &["virtual_server", "consequence"],
        "Users whose proxies' path length ends at the door, by what they cannot have.",
    ),
    counter(
        "gridfront_gsi_passed_through_total",
        OF_SERVICE,
        "Sessions of clients that log in by GSI at the real servers themselves.",
    ),
    histogram(
        "gridfront_gsi_handshake_duration_seconds",
        OF_SERVICE,
        "How long GSI handshakes that end at the door took, from AUTH to 235.",
    ),
    gauge(
        "gridfront_trust_directory_problems",
        OF_SERVICE,
        "Files of the trust directory that are not used, or 1 where it cannot be read.",
    ),
    gauge("gridfront_queue_waiting", OF_SERVICE, "Sessions that wait while all real servers are full."),
    gauge("gridfront_clients_banned", OF_SERVICE, "Clients that are kept out for failed logins."),
    counter(
        "gridfront_commands_denied_total",
        OF_SERVICE,
        "Commands that were refused because they are disabled.",
    ),
    counter(
        "gridfront_commands_total",
        &["virtual_server", "class"],
        "Commands taken from clients; those inside GSI sessions that pass through cannot be seen.",
    ),
    counter(
        "gridfront_data_path_choices_total",
        &["virtual_server", "data_path", "reason"],
        "Transfers by who carried the data, and why that was.",
    ),
    counter(
        "gridfront_proxy_header_failures_total",
        OF_SERVICE,
        "Connections closed because of their PROXY protocol header, or because there was one.",
    ),
    gauge("gridfront_relay_ports_in_use", OF_SERVICE, "Ports of relay_ports on which the door listens."),
    gauge(
        "gridfront_relay_ports_available",
        OF_SERVICE,
        "Ports of relay_ports in all, on every address that has been used for relayed data.",
    ),
    counter(
        "gridfront_relay_ports_exhausted_total",
        OF_SERVICE,
        "How often no port of relay_ports was free.",
    ),
    counter(
        "gridfront_relay_connections_refused_total",
        &["virtual_server", "reason"],
        "Connections to relay ports that were refused.",
    ),
    // Real servers.
    gauge("gridfront_real_server_up", OF_SERVER, "1 while checks and sessions find it working."),
    gauge("gridfront_real_server_busy", OF_SERVER, "1 while it answers with 421 or 422."),
    gauge("gridfront_real_server_drained", OF_SERVER, "1 while it is taken out of service."),
    gauge("gridfront_real_server_ejected", OF_SERVER, "1 while its checks pass and its sessions fail."),
    counter("gridfront_real_server_ejections_total", OF_SERVER, "How often it was ejected."),
    gauge("gridfront_real_server_weight", OF_SERVER, "Its share of new sessions; with 0 it gets none."),
    gauge("gridfront_real_server_active_sessions", OF_SERVER, "Sessions that it holds."),
    counter("gridfront_real_server_sessions_total", OF_SERVER, "Sessions that got its greeting."),
    counter(
        "gridfront_real_server_connect_failures_total",
        OF_SERVER,
        "Sessions that it did not greet, which went on to the next server.",
    ),
    counter("gridfront_real_server_busy_total", OF_SERVER, "Sessions that it answered with 421 or 422."),
    counter(
        "gridfront_logins_total",
        &["virtual_server", "real_server", "method", "outcome"],
        "Logins in clear text (password), and GSI handshakes (gsi).",
    ),
    histogram(
        "gridfront_login_duration_seconds",
        &["virtual_server", "real_server", "method"],
        "How long successful logins took: from USER to the reply, and from AUTH to 235.",
    ),
    counter(
        "gridfront_transfers_total",
        &["virtual_server", "real_server", "direction", "data_path", "outcome"],
        "Transfers that have ended; those inside GSI sessions that pass through cannot be seen.",
    ),
    counter(
        "gridfront_relayed_bytes_total",
        &["virtual_server", "real_server", "direction"],
        "Bytes of data connections that the door has carried.",
    ),
    counter(
        "gridfront_data_connection_failures_total",
        OF_SERVER,
        "Data connections to the server that the door could not make.",
    ),
    counter(
        "gridfront_checks_total",
        &["virtual_server", "real_server", "outcome"],
        "Health checks that were made.",
    ),
    histogram("gridfront_check_duration_seconds", OF_SERVER, "How long health checks took."),
    gauge(
        "gridfront_real_server_certificate_not_after_timestamp_seconds",
        OF_SERVER,
        "When its certificate for GSI expires, as a gsi check has seen it, in seconds since 1970; 0 where none has.",
    ),
    gauge(
        "gridfront_real_server_certificate_name_mismatch",
        OF_SERVER,
        "1 while its certificate for GSI does not carry the name that clients use.",
    ),
    // VRRP, where it runs: each instance, then all of them together.
    gauge(
        "gridfront_vrrp_state",
        &["vrrp_instance", "state"],
        "1 for the state that the instance is in, 0 for the others.",
    ),
    gauge("gridfront_vrrp_priority", OF_INSTANCE, "Its priority, with what is tracked."),
    gauge("gridfront_vrrp_master_known", OF_INSTANCE, "1 while it is master, or hears one."),
    gauge(
        "gridfront_vrrp_advert_interval_seconds",
        OF_INSTANCE,
        "From one advert to the next, as configured.",
    ),
    gauge(
        "gridfront_vrrp_last_transition_timestamp_seconds",
        OF_INSTANCE,
        "When it came to its state, in seconds since 1970.",
    ),
    counter(
        "gridfront_vrrp_transitions_total",
        &["vrrp_instance", "state"],
        "How often it came to each state.",
    ),
    counter("gridfront_vrrp_adverts_sent_total", OF_INSTANCE, "Adverts sent, to each unicast peer one."),
    counter("gridfront_vrrp_releases_total", OF_INSTANCE, "Adverts sent with priority 0, which give up."),
    counter(
        "gridfront_vrrp_send_failures_total",
        OF_INSTANCE,
        "Adverts and announcements that could not be sent.",
    ),
    counter("gridfront_vrrp_adverts_received_total", OF_INSTANCE, "Adverts that were taken."),
    counter(
        "gridfront_vrrp_adverts_discarded_total",
        &["vrrp_instance", "reason"],
        "Adverts that were not taken, by what is wrong with them.",
    ),
    counter(
        "gridfront_vrrp_other_addresses_total",
        OF_INSTANCE,
        "Adverts that were taken though their addresses are not those of the instance.",
    ),
    counter(
        "gridfront_vrrp_other_masters_total",
        OF_INSTANCE,
        "Adverts of another master that were heard while this host was master.",
    ),
    counter(
        "gridfront_vrrp_announcements_total",
        OF_INSTANCE,
        "Gratuitous ARP and neighbour advertisements sent.",
    ),
    counter(
        "gridfront_vrrp_addresses_put_back_total",
        OF_INSTANCE,
        "Virtual addresses that somebody else took off the interface, and that were put back.",
    ),
    Family {
        bounds: Durations::OF_WAKES,
        ..histogram(
            "gridfront_vrrp_timer_lateness_seconds",
            NO,
            "How late the thread that keeps the time of VRRP woke, each time that something was due.",
        )
    },
    gauge("gridfront_vrrp_timer_lateness_max_seconds", NO, "The longest of these since the start."),
    counter(
        "gridfront_vrrp_stray_adverts_total",
        &["reason"],
        "Adverts on interfaces of instances that are for none of them.",
    ),
    counter(
        "gridfront_vrrp_events_lost_total",
        NO,
        "Changes that were neither logged nor told to scripts, because too many waited.",
    ),
    gauge(
        "gridfront_vrrp_real_time",
        NO,
        "1 if the thread has the real-time priority and its memory is locked.",
    ),
    gauge("gridfront_vrrp_guardian", NO, "1 while the guardian runs."),
    gauge("gridfront_vrrp_maintenance", NO, "1 while an operator keeps this host from being master."),
    // The kernel that forwards, where something needs it: the engine, then each real server.
    gauge("gridfront_forwarding_up", NO, "1 while an engine runs."),
    gauge("gridfront_forwarding_problems", NO, "What the engine could not do when it tried last."),
    counter("gridfront_forwarding_changes_total", NO, "What was changed in the kernel."),
    counter("gridfront_forwarding_failures_total", NO, "What could not be changed there."),
    gauge(
        "gridfront_forwarding_leaving",
        NO,
        "Services and servers that were removed and wait for their last connection.",
    ),
    gauge(
        "gridfront_expected_ports",
        NO,
        "Ports of virtual addresses that sessions expect to be carried now.",
    ),
    counter("gridfront_expectations_total", &["outcome"], "Such expectations, by what came of them."),
    gauge(
        "gridfront_real_server_silent_at_virtual_address",
        OF_SERVER,
        "1 while it does not answer at a virtual address where it should.",
    ),
    gauge(
        "gridfront_forwarded_connections",
        &["virtual_server", "real_server", "kind", "state"],
        "Connections that the kernel has for it.",
    ),
    counter(
        "gridfront_forwarded_connections_total",
        OF_FLOWS,
        "Connections that the kernel has had for it since its service was made.",
    ),
    counter("gridfront_forwarded_packets_total", OF_FLOWS, "Packets of clients that went to it."),
    counter("gridfront_forwarded_bytes_total", OF_FLOWS, "The bytes of these."),
];

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { name, kind: Kind::Counter, labels, help, bounds: &[] }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { name, kind: Kind::Gauge, labels, help, bounds: &[] }
}

const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { name, kind: Kind::Histogram, labels, help, bounds: Durations::OF_SESSIONS }
}

impl Kind {
    /// As Prometheus writes it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

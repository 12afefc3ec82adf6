//! The same of what the kernel carries.
use metrics::Label;

use super::super::super::forwarding::{FlowStatus, ForwardingStatus, ServerFlows};
use super::{Of, float};

/// What there is to be told of.
#[derive(Debug)]
pub(in crate::control) struct Observed {
    pub(in crate::control) status: ForwardingStatus,
    /// Every real server.
    pub(in crate::control) servers: Vec<ServerFlows>,
}

pub(super) fn collect(observed: &Observed) {
    let Observed { status, servers } = observed;
    let of = Of(Vec::new());
    of.flag("gridfront_forwarding_up", status.engine.is_some());
    of.gauge("gridfront_forwarding_problems", float(status.problems.len() as u64));
    of.counter("gridfront_forwarding_changes_total", status.changes);
    of.counter("gridfront_forwarding_failures_total", status.failures);
    of.gauge("gridfront_forwarding_leaving", float(status.leaving as u64));
    let expectations = &status.expectations;
    of.gauge("gridfront_expected_ports", float(expectations.live as u64));
    for (outcome, count) in [
        ("carried", expectations.carried),
        ("port taken", expectations.port_taken),
        ("closed", expectations.closed),
    ] {
        of.with(&[("outcome", outcome)]).counter("gridfront_expectations_total", count);
    }
    for server in servers {
        let of = Of(vec![
            Label::new("virtual_server", server.virtual_server.clone()),
            Label::new("real_server", server.real_server.clone()),
        ]);
        of.flag("gridfront_real_server_silent_at_virtual_address", server.is_silent);
        flows(&of.with(&[("kind", "service")]), &server.service);
        flows(&of.with(&[("kind", "data")]), &server.data);
    }
}

fn flows(of: &Of, flows: &FlowStatus) {
    for (state, count) in [("active", flows.active), ("inactive", flows.inactive)] {
        of.with(&[("state", state)]).gauge("gridfront_forwarded_connections", count.into());
    }
    of.counter("gridfront_forwarded_connections_total", flows.connections);
    of.counter("gridfront_forwarded_packets_total", flows.packets);
    of.counter("gridfront_forwarded_bytes_total", flows.bytes);
}

//! What the log says of sessions, transfers and servers: one line each, at the end.
//!
//! A session is reported once, so that its context costs nothing while it lives. The real servers see the door as
//! their client; `door` is the address under which they know the session, and joins their logs with this one.
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tracing::{error, info, warn};

use super::admittance::RefusalReason;
use super::availability::Conduct;
use super::control_stream::TlsVersion;
use super::gsi::{Identified, ReceptionError, User};
use super::now;
use super::plain::PlainEnd;
use super::relay::Moved;
use super::service::{ServedBy, Service};
use super::tally::Refusal;
use crate::balance::{AvailabilityChange, BanRule, ClientSession, Ejected, HealthChange, RealServer};
use crate::proto::ftp::{Ending, Fault, ReplyCode, TransferRecord};

/// What is told of a session besides how it ended.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) client: SocketAddr,
    /// The load balancer that named the client. Boxed, for most sessions have none.
    pub(super) proxy: Option<Box<SocketAddr>>,
    pub(super) door: SocketAddr,
    pub(super) user: Option<Box<str>>,
    pub(super) gsi: Option<Duration>,
    /// Whose GSI session the door has ended.
    pub(super) identity: Option<Box<Identified>>,
    /// The version, where it ends at the door.
    pub(super) tls: Option<TlsVersion>,
    pub(super) transfers: u32,
    /// Commands that were answered in the server's place because they are disabled.
    pub(super) denied: u32,
    /// How long the session has waited for a server.
    pub(super) queued: Option<Duration>,
    /// The count on its client, for as long as anything of the session lasts.
    pub(super) _counted: Option<ClientSession>,
    pub(super) conduct: Conduct,
}

impl Facts {
    /// A word for a GSI session of which nothing is read behind its login.
    fn gsi_word(&self) -> Option<&'static str> {
        (self.gsi.is_some() && self.identity.is_none()).then_some("passthrough")
    }

    /// The name of whose session it is, where the door knows it.
    pub(super) fn dn(&self) -> Option<&str> {
        self.identity.as_deref().map(|identified| &**identified.counted.name())
    }
}

pub(super) fn session_ended(
    service: &Service,
    server: &RealServer,
    facts: &Facts,
    commands: u32,
    duration: Duration,
    ending: Ending,
) {
    macro_rules! line {
        ($level:ident) => {
            $level!(
                client = %Shown(facts.client),
                proxy = facts.proxy.as_ref().map(tracing::field::display),
                virtual_server = service.virtual_server.name(),
                real_server = server.name(),
                door = %Shown(facts.door),
                user = facts.user.as_deref(),
                dn = facts.dn(),
                gsi = facts.gsi_word(),
                gsi_ms = facts.gsi.map(millis),
                tls = facts.tls.map(TlsVersion::word),
                commands,
                transfers = facts.transfers,
                denied = (facts.denied > 0).then_some(facts.denied),
                queued_ms = facts.queued.map(millis),
                duration_ms = millis(duration),
                reason = ending.word(),
                "session ended"
            )
        };
    }
    match ending.fault() {
        Fault::RealServer | Fault::Administrator => line!(warn),
        Fault::Client | Fault::Nobody => line!(info),
    }
}

pub(super) fn transfer(
    service: &Service,
    server: &RealServer,
    facts: &Facts,
    record: &TransferRecord,
    carried: Option<&Moved>,
) {
    service.lasting.transfer_log.record(facts, record, carried);
    let reply = record.reply.map(ReplyCode::number);
    info!(
        client = %Shown(facts.client),
        proxy = facts.proxy.as_ref().map(tracing::field::display),
        virtual_server = service.virtual_server.name(),
        real_server = server.name(),
        door = %Shown(facts.door),
        user = facts.user.as_deref(),
        dn = facts.dn(),
        command = record.verb.name(),
        path = &*record.path,
        data_path = %record.data_path,
        reason = record.reason.words(),
        reply,
        bytes_in = carried.map(|carried| carried.to_server),
        bytes_out = carried.map(|carried| carried.to_client),
        failure = record.failure.as_deref(),
        data_end = carried.and_then(|carried| carried.end.as_deref()),
        duration_ms = millis(record.duration),
        "transfer"
    );
}

/// A client that got no session; `refusal` says why, and what mends it. Counted each time, and logged not so often where
/// there are many.
pub(super) fn refused(service: &Service, client: SocketAddr, refusal: &dyn RefusalReason) {
    service.lasting.tally.refused(refusal.kind());
    let Some(unsaid) = service.admittance.handle_refusal(refusal, client.ip(), now()) else { return };
    let reason = refusal.to_string();
    let unsaid = (unsaid > 0).then_some(unsaid);
    warn!(%client, virtual_server = service.virtual_server.name(), reason, unsaid, "session refused");
}

/// A connection of which nothing was read.
pub(super) fn plain_ended(
    service: &Service,
    server: &RealServer,
    client: SocketAddr,
    door: SocketAddr,
    end: &PlainEnd,
    duration: Duration,
) {
    let (bytes_in, bytes_out) = match end {
        PlainEnd::Whole(to_server, to_client) => (Some(*to_server), Some(*to_client)),
        PlainEnd::Broken(_) | PlainEnd::DrainDeadline | PlainEnd::Shutdown => (None, None),
    };
    info!(
        client = %Shown(client),
        virtual_server = service.virtual_server.name(),
        real_server = server.name(),
        door = %Shown(door),
        bytes_in,
        bytes_out,
        duration_ms = millis(duration),
        reason = %end,
        "connection ended"
    );
}

/// A client that did not wait for a server any longer.
pub(super) fn left_queue(service: &Service, client: SocketAddr, waited: Duration) {
    service.lasting.tally.refused(Refusal::LeftQueue);
    let queued_ms = millis(waited);
    info!(%client, virtual_server = service.virtual_server.name(), queued_ms, "client left the queue");
}

/// A client that did not wait until the door was logged in for it.
pub(super) fn left_login(service: &Service, client: SocketAddr, refusal: &dyn RefusalReason) {
    service.lasting.tally.refused(refusal.kind());
    let reason = refusal.to_string();
    info!(client = %Shown(client), virtual_server = service.virtual_server.name(), reason, "GSI login given up");
}

/// A client whose logins have failed too often.
pub(super) fn banned(service: &Service, client: IpNet, rule: &BanRule) {
    warn!(
        %client,
        virtual_server = service.virtual_server.name(),
        failed_logins = rule.failed_logins,
        within_s = rule.within.as_secs(),
        time_s = rule.time.as_secs(),
        "client banned; `gridfront unban` lets it in again"
    );
}

/// A client that wanted in by GSI.
pub(super) fn not_received(service: &Service, client: SocketAddr, error: &ReceptionError) {
    let reason = error.to_string();
    if matches!(error, ReceptionError::NoCredential { .. }) {
        // A real server would have let it in.
        warn!(client = %Shown(client), virtual_server = service.virtual_server.name(), reason, "GSI login refused");
        return;
    }
    info!(client = %Shown(client), virtual_server = service.virtual_server.name(), reason, "GSI login refused");
}

/// A user whose data connections will fail where they have to be authenticated.
pub(super) fn no_data_authentication(service: &Service, client: SocketAddr, user: &User) {
    if let Some(reason) = user.why_no_data_authentication() {
        warn!(
            client = %Shown(client),
            virtual_server = service.virtual_server.name(),
            dn = &**user.counted.name(),
            reason,
            "data connections of this user cannot be authenticated"
        );
    }
}

/// A client with which no TLS came about.
pub(super) fn not_secured(service: &Service, client: SocketAddr, reason: &dyn fmt::Display) {
    let reason = reason.to_string();
    info!(%client, virtual_server = service.virtual_server.name(), reason, "TLS handshake failed");
}

/// A server that did not take a session which another may still take.
pub(super) fn passed_over(service: &Service, server: &RealServer, client: SocketAddr, reason: &str) {
    warn!(
        %client,
        virtual_server = service.virtual_server.name(),
        real_server = server.name(),
        reason,
        "real server passed over"
    );
}

pub(super) fn drain_deadline(server: &RealServer, sessions: usize) {
    warn!(real_server = server.name(), sessions, "deadline of the drain; ending what still runs");
}

/// In the words of a check that finds the same (`checker`), so that one search finds both.
pub(super) fn health(service: &Service, server: &RealServer, change: Option<HealthChange>) {
    let virtual_server = service.virtual_server.name();
    match change {
        None => {}
        Some(HealthChange::Up) => {
            let reason = "greeted";
            info!(virtual_server, real_server = server.name(), reason, "real server up");
        }
        Some(HealthChange::Down(reason)) => {
            warn!(virtual_server, real_server = server.name(), reason, "real server down");
        }
    }
}

/// A change that concerns the virtual server as a whole, or that only time has brought about.
pub(super) fn availability(service: &Service, change: AvailabilityChange) {
    let virtual_server = service.virtual_server.name();
    let quorum = service.virtual_server.availability().quorum;
    match change {
        AvailabilityChange::QuorumGained { weight } => {
            info!(virtual_server, weight, quorum = quorum.quorum, "quorum gained");
        }
        AvailabilityChange::QuorumLost { weight } => {
            let sorry_server = service.virtual_server.availability().sorry_server.as_ref();
            let sorry_server = sorry_server.map(|server| tracing::field::display(server.address()));
            warn!(virtual_server, weight, quorum = quorum.quorum, sorry_server, "quorum lost");
        }
        AvailabilityChange::Returned(server) => {
            info!(virtual_server, real_server = server.name(), "real server back from its ejection");
        }
    }
}

/// A server whose sessions fail gets none for a while.
pub(super) fn ejected(service: &Service, server: &RealServer, ejected: &Ejected) {
    warn!(
        virtual_server = service.virtual_server.name(),
        real_server = server.name(),
        reason = ejected.reason,
        duration_ms = millis(ejected.time),
        "real server ejected"
    );
}

/// The kernel should serve these clients, and does not; of other virtual servers nothing is said.
pub(super) fn misses_kernel(service: &Service) {
    let virtual_server = service.virtual_server.name();
    let reason = service.why_not_kernel.as_deref();
    match service.served_by {
        ServedBy::Door | ServedBy::Kernel => {}
        ServedBy::DoorInstead => {
            warn!(virtual_server, reason, "served at layer 7 in the kernel's place");
        }
        ServedBy::Nobody => error!(
            virtual_server,
            reason, "served by nobody. Set `fallback = \"proxy\"`, or make an engine run"
        ),
    }
}

/// `accept` failed; said once until it works again.
pub(super) fn cannot_accept(service: &Arc<Service>, error: &std::io::Error) {
    error!(
        virtual_server = service.virtual_server.name(),
        %error,
        "cannot accept connections; they wait. Raise LimitNOFILE if descriptors are short"
    );
}

/// There is no pipe for a data connection, which crosses the door more slowly.
pub(super) fn no_pipe(error: &std::io::Error) {
    warn!(%error, "no pipe for relayed data, which are copied. Raise LimitNOFILE if descriptors are short");
}

/// A bug of ours: the session is gone, the others are not.
pub(super) fn panicked(service: &Service, client: Option<SocketAddr>) {
    error!(
        client = client.map(tracing::field::display),
        virtual_server = service.virtual_server.name(),
        "session ended by a bug in gridfront; please report it"
    );
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// An address as it is written everywhere, in one piece: what the standard library puts together of ten costs more than the
/// rest of a line, and each line has two.
struct Shown(SocketAddr);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SocketAddr::V4(address) = self.0 else { return self.0.fmt(f) };
        // From the end: `255.255.255.255:65535` at most.
        let mut text = [0; 21];
        let mut from = text.len();
        let mut put = |mut number: u16, before: &[u8]| {
            loop {
                from -= 1;
                text[from] = b"0123456789"[usize::from(number % 10)];
                number /= 10;
                if number == 0 {
                    break;
                }
            }
            from -= before.len();
            text[from..from + before.len()].copy_from_slice(before);
        };
        let [a, b, c, d] = address.ip().octets().map(u16::from);
        for (number, before) in [(address.port(), &b":"[..]), (d, b"."), (c, b"."), (b, b"."), (a, b"")] {
            put(number, before);
        }
        f.write_str(str::from_utf8(&text[from..]).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_as_everywhere() {
        for text in
            ["0.0.0.0:0", "255.255.255.255:65535", "192.0.2.7:2811", "10.0.100.9:10", "[2001:db8::1]:80"]
        {
            assert_eq!(Shown(text.parse().unwrap()).to_string(), text);
        }
    }
}

//! What sessions tell the balancer of their servers, and what it tells the log.
use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::journal;
use super::service::Service;
use crate::balance::{Availability, Deed, RealServer, RealServerSpec};
use crate::config;
use crate::proto::ftp::{Ending, Fault, ReplyCode, TransferRecord};

/// How the sorry server is called in logs and status.
pub(super) const SORRY_SERVER: &str = "sorry_server";

/// What the balancer needs of a configuration.
pub(super) fn availability(config: &config::VirtualServer) -> Availability {
    let sorry_server = |address| Arc::new(RealServer::new(sorry_server_spec(address)));
    let configured = &config.availability;
    Availability {
        quorum: configured.quorum,
        sorry_server: configured.sorry_server.map(sorry_server),
        slow_start: configured.slow_start,
        ejection: configured.ejection.clone(),
        inhibit_on_failure: config.real_servers.iter().map(|server| server.inhibit_on_failure).collect(),
    }
}

/// A sorry server as a real server.
pub(super) fn sorry_server_spec(address: SocketAddr) -> RealServerSpec {
    RealServerSpec {
        name: SORRY_SERVER.into(),
        address,
        weight: 1,
        max_connections: None,
        // No check would bring it up again, and there is nobody behind it.
        fall: u32::MAX,
        rise: 1,
    }
}

/// What clients are told where nobody takes them, if the configuration says it.
pub(super) fn offline_reply(config: &config::VirtualServer) -> Option<Box<str>> {
    config.availability.offline_message.as_ref().map(|text| format!("421 {text}\r\n").into())
}

impl Service {
    /// Sees what has changed by `now`, and logs it.
    pub(crate) fn observe(&self, now: Instant) {
        for change in self.virtual_server.observe(now) {
            journal::availability(self, change);
        }
    }

    /// Something has failed on a server that may be its fault, for the first time in this session.
    pub(super) fn handle_failure(
        &self,
        now: Instant,
        server: &RealServer,
        client: SocketAddr,
        deed: Deed,
        how: &str,
    ) {
        if let Some(ejected) = self.virtual_server.handle_failure(now, server, client.ip(), deed, how) {
            journal::ejected(self, server, &ejected);
        }
    }
}

/// What a session has seen of its server. A client that tries again and again in one session is one failure: its next
/// tries say nothing new.
#[derive(Debug, Default)]
pub(super) struct Conduct {
    login_failed: bool,
    transfer_failed: bool,
}

impl Conduct {
    pub(super) fn worked(&mut self, service: &Service, server: &RealServer, deed: Deed) {
        *self.has_failed(deed) = false;
        service.virtual_server.handle_success(server, deed);
    }

    pub(super) fn failed(
        &mut self,
        now: Instant,
        service: &Service,
        server: &RealServer,
        client: SocketAddr,
        deed: Deed,
        how: &str,
    ) {
        if !std::mem::replace(self.has_failed(deed), true) {
            service.handle_failure(now, server, client, deed, how);
        }
    }

    fn has_failed(&mut self, deed: Deed) -> &mut bool {
        match deed {
            Deed::Login => &mut self.login_failed,
            Deed::Transfer => &mut self.transfer_failed,
        }
    }
}

/// How a transfer ended, as far as its server is concerned.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum TransferVerdict {
    Worked,
    /// It may be the server's fault, and this is how it failed.
    Failed(Cow<'static, str>),
    /// It says nothing about the server.
    Nothing,
}

impl TransferVerdict {
    /// `ending` is how the session has ended, if it has.
    pub(super) fn of(record: &TransferRecord, ending: Option<Ending>) -> Self {
        match (record.reply, ending) {
            (Some(code), _) if code.is_success() => Self::Worked,
            (Some(code), _) if may_be_the_servers_fault(code) => Self::Failed(format!("reply {code}").into()),
            (None, Some(ending)) if ending.fault() == Fault::RealServer => Self::Failed(ending.word().into()),
            _ => Self::Nothing,
        }
    }
}

/// 4yz is the server's own trouble, but for 421 and 422, which say that it is full; of 5yz only those that servers give
/// to anything (500 is all that a Globus server has for a file that is not there and for a disk that is gone) or to
/// their own errors. All others are about what the client has asked for.
fn may_be_the_servers_fault(code: ReplyCode) -> bool {
    match code.number() {
        421 | 422 => false,
        400..=499 => true,
        500 | 551 | 554 => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ftp::{DataPath, PathReason, Verb};

    #[test]
    fn what_a_reply_says_about_its_server_follows_the_table() {
        const NOTHING: &str = "nothing";
        const WORKED: &str = "worked";
        #[rustfmt::skip]
        let table: &[(Option<&str>, Option<Ending>, &str)] = &[
            (Some("226"), None,                          WORKED),
            (Some("250"), Some(Ending::ClientClosed),    WORKED),
            (Some("421"), Some(Ending::Goodbye),         NOTHING),
            (Some("422"), None,                          NOTHING),
            (Some("425"), None,                          "reply 425"),
            (Some("426"), None,                          "reply 426"),
            (Some("450"), None,                          "reply 450"),
            (Some("451"), None,                          "reply 451"),
            (Some("452"), None,                          "reply 452"),
            (Some("500"), None,                          "reply 500"),
            (Some("501"), None,                          NOTHING),
            (Some("504"), None,                          NOTHING),
            (Some("530"), None,                          NOTHING),
            (Some("550"), None,                          NOTHING),
            (Some("551"), None,                          "reply 551"),
            (Some("552"), None,                          NOTHING),
            (Some("553"), None,                          NOTHING),
            (None,        Some(Ending::ServerLost),      "real server closed"),
            (None,        Some(Ending::ServerSilent),    "real server stopped answering"),
            (None,        Some(Ending::ClientClosed),    NOTHING),
            (None,        Some(Ending::ClientLost),      NOTHING),
            (None,        Some(Ending::Draining),        NOTHING),
            (None,        None,                          NOTHING),
        ];
        for &(reply, ending, expected) in table {
            let record = TransferRecord {
                verb: Verb::Retr,
                path: "file".into(),
                reply: reply.and_then(|code| ReplyCode::parse(code.as_bytes())),
                duration: std::time::Duration::ZERO,
                data_path: DataPath::Direct,
                relay: None,
                reason: PathReason::Configured,
                failure: None,
            };
            let told = match TransferVerdict::of(&record, ending) {
                TransferVerdict::Worked => WORKED.into(),
                TransferVerdict::Failed(how) => how,
                TransferVerdict::Nothing => NOTHING.into(),
            };
            assert_eq!(told, expected, "{reply:?} {ending:?}");
        }
    }
}

//! Clients that are kept out for failed logins, for `gridfront ban list` and `unban`.
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::proxy::Service;

/// One client of one virtual server.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct BanStatus {
    /// Which.
    pub virtual_server: String,
    /// Its address or network.
    pub client: String,
    /// Seconds until it may come again.
    pub left_s: u64,
}

/// Everybody who is kept out now.
pub(super) fn list(services: &[Arc<Service>], now: Instant) -> Vec<BanStatus> {
    let of_service = |service: &Arc<Service>| {
        let bans = service.admittance.known.clients.bans(now);
        let name = service.virtual_server.name().to_owned();
        bans.into_iter().map(move |ban| BanStatus {
            virtual_server: name.clone(),
            client: ban.client.to_string(),
            left_s: ban.left.as_secs(),
        })
    };
    services.iter().flat_map(of_service).collect()
}

/// Lets a client in again everywhere. The virtual servers that had banned it.
pub(super) fn unban(services: &[Arc<Service>], client: IpAddr, now: Instant) -> Vec<String> {
    let unbanned = services.iter().filter(|service| service.admittance.known.clients.unban(client, now));
    let names: Vec<String> = unbanned.map(|service| service.virtual_server.name().to_owned()).collect();
    if !names.is_empty() {
        tracing::info!(%client, virtual_servers = names.join(" "), "client unbanned");
    }
    names
}

//! What of a virtual server outlives its configuration.
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwapWeak;

use super::super::admittance::Known;
use super::super::gsi::GsiRecord;
use super::super::now;
use super::super::relay::{LivePorts, Relaying};
use super::super::tally::Tally;
use super::super::transfer_log::TransferLog;
use super::Service;
use crate::proto::ftp::{DataPath, PathReason};

/// It belongs to the virtual server's name: every generation of the service counts here.
#[derive(Debug)]
pub(crate) struct Lasting {
    /// The last generation that was in force.
    in_force: ArcSwapWeak<Service>,
    /// Connections that were closed because of their PROXY protocol header: it was missing or broken, or there was one
    /// from where none is believed.
    pub(crate) proxy_header_failures: AtomicU64,
    pub(crate) relaying: Relaying,
    pub(crate) path_counts: PathCounts,
    /// What metrics tell besides.
    pub(crate) tally: Tally,
    /// One for all virtual servers.
    pub(crate) transfer_log: Arc<TransferLog>,
    /// Clients and whoever waits.
    pub(in super::super) known: Arc<Known>,
    /// Logins by GSI that ends here.
    pub(crate) gsi: GsiRecord,
    /// Sessions that ended by a panic of ours.
    pub(crate) panics: AtomicU64,
}

impl Lasting {
    pub(in super::super) fn new(
        relay_ports: RangeInclusive<u16>,
        live: Arc<LivePorts>,
        transfer_log: Arc<TransferLog>,
    ) -> Self {
        Self {
            in_force: ArcSwapWeak::new(Weak::new()),
            proxy_header_failures: AtomicU64::new(0),
            relaying: Relaying::new(relay_ports, live),
            path_counts: PathCounts::default(),
            tally: Tally::default(),
            transfer_log,
            known: Arc::new(Known::new(now())),
            gsi: GsiRecord::default(),
            panics: AtomicU64::new(0),
        }
    }

    pub(in super::super) fn put_in_force(&self, service: &Arc<Service>) {
        self.in_force.store(Arc::downgrade(service));
    }

    pub(super) fn in_force(&self) -> Option<Arc<Service>> {
        self.in_force.load().upgrade()
    }
}

/// How many transfers took which data path, and why.
#[derive(Debug, Default)]
pub(crate) struct PathCounts([AtomicU64; PATHS.len()]);

/// What a transfer can have.
const PATHS: [(DataPath, PathReason); 13] = [
    (DataPath::Direct, PathReason::Configured),
    (DataPath::Direct, PathReason::GlobusClient),
    (DataPath::Kernel, PathReason::Configured),
    (DataPath::Kernel, PathReason::OtherClient),
    (DataPath::Relay, PathReason::Configured),
    (DataPath::Relay, PathReason::GlobusClient),
    (DataPath::Relay, PathReason::OtherClient),
    (DataPath::Relay, PathReason::PeerChecked),
    (DataPath::Relay, PathReason::TlsToClient),
    (DataPath::Relay, PathReason::TlsToServer),
    (DataPath::Relay, PathReason::OwnRelayNamed),
    (DataPath::Relay, PathReason::NoKernelPath),
    (DataPath::Relay, PathReason::Text),
];

impl PathCounts {
    pub(in super::super) fn count(&self, path: DataPath, reason: PathReason) {
        if let Some(index) = PATHS.iter().position(|&known| known == (path, reason)) {
            self.0[index].fetch_add(1, Relaxed);
        }
    }

    /// Every path and reason.
    pub(crate) fn all(&self) -> impl Iterator<Item = (DataPath, PathReason, u64)> {
        let counts = PATHS.iter().zip(&self.0);
        counts.map(|(&(path, reason), count)| (path, reason, count.load(Relaxed)))
    }

    /// Those that are not 0.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (DataPath, PathReason, u64)> {
        self.all().filter(|&(.., count)| count > 0)
    }
}

//! Steering: one daemon from start to stop, and what it tells about itself.
pub mod admin;
mod bans;
mod certificates;
mod configuration_file;
mod forwarding;
mod http;
mod in_force;
mod logging;
mod metrics;
mod monitor;
mod names;
mod observed;
mod reload;
mod service_manager;
mod status;
mod steering;
mod supervisor;
mod transfer_log;
mod vrrp;

pub use certificates::today;
pub use configuration_file::{admin_socket_of, examine_files, load};
pub use logging::{LogFormat, LogLoss, Logging};
pub use metrics::{CATALOGUE, Family, Kind};
pub use names::NameStatus;
pub use reload::{NotReloaded, ReloadCause, Reloaded, Reloader};
pub use status::{
    ConfigurationStatus, DrainStatus, EjectionStatus, QuorumStatus, RealServerStatus, RefusedStatus,
    ServerCertificateStatus, ServerState, Status, VirtualServerStatus,
};
pub use steering::SteeredServer;
pub(crate) use supervisor::AFTER_DRAIN;
pub use supervisor::{Daemon, StartError, Stop};
pub use transfer_log::TransferLogError;
pub use vrrp::{OwnershipStatus, PendingStatus, VrrpStatus};

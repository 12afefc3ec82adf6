//! Steering: one daemon from start to stop, and what it tells about itself.
pub mod admin;
mod bans;
mod certificates;
mod http;
mod logging;
mod metrics;
mod monitor;
mod names;
mod observed;
mod service_manager;
mod status;
mod steering;
mod supervisor;
mod transfer_log;

pub use certificates::today;
pub use logging::{LogFormat, LogLoss, Logging};
pub use metrics::{CATALOGUE, Family, Kind};
pub use names::NameStatus;
pub use status::{
    DrainStatus, EjectionStatus, QuorumStatus, RealServerStatus, ServerState, Status, VirtualServerStatus,
};
pub use steering::SteeredServer;
pub use supervisor::{Daemon, StartError, Stop};
pub use transfer_log::TransferLogError;

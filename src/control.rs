//! Steering: one daemon from start to stop, and what it tells about itself.
pub mod admin;
mod certificates;
mod logging;
mod names;
mod service_manager;
mod status;
mod steering;
mod supervisor;

pub use certificates::today;
pub use logging::{LogFormat, LogLoss, Logging};
pub use names::NameStatus;
pub use status::{DrainStatus, RealServerStatus, ServerState, Status, VirtualServerStatus};
pub use steering::SteeredServer;
pub use supervisor::{Daemon, StartError, Stop};

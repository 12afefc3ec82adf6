//! One real server taken out of service and back while the door runs, and what the service manager is told and gives.

mod activation;
mod globus;
mod orders;
mod restart;
mod sessions;
mod watchdog;

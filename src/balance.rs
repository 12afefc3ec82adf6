//! Which real server gets a session, and which may get none.
//!
//! ```text
//!   VirtualServer::admit ──▶ Admission      one of max_sessions
//!   VirtualServer::place ──▶ Placement      one session counted on a RealServer
//!         │ one short lock: choose and count
//!         ▼
//!   Scheduler (wlc lc wrr rr sh)  sees only servers that are fit: up, not drained, weight > 0, not full
//!
//!   checker, sessions ──▶ RealServer::handle_report, handle_greeting ──▶ HealthChange
//! ```
//!
//! Both guards give their count back when they are dropped, also while a panic unwinds.
//! Nothing here reads a clock or opens a socket: time is an argument.

mod check_report;
mod durations;
mod health;
mod real_server;
mod scheduler;
mod stats;
mod steering;
mod transfers;
mod virtual_server;

pub use check_report::{CheckReport, CheckResult, LastCheck, ScriptWeight};
pub use durations::{Class, Durations};
pub use health::{CheckOutcome, HealthChange, HealthSnapshot};
pub use real_server::{RealServer, RealServerSpec};
pub use scheduler::LbAlgo;
pub use stats::Stats;
pub use steering::Drain;
pub use transfers::{Flow, Outcome, TransferCounts};
pub use virtual_server::{Admission, NoServer, Placement, Refused, Tried, VirtualServer};

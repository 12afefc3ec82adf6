//! Which real server gets a session, and which may get none.
//!
//! ```text
//!   VirtualServer::admit ──▶ Admission      one of max_sessions
//!   VirtualServer::place ──▶ Placement      one session counted on a RealServer
//!         │ one short lock: choose and count
//!         ▼
//!   Scheduler (wlc lc wrr rr sh)  sees only servers that are fit: up, not drained, weight > 0, not full, not ejected;
//!                                 those in slow start it holds to their share
//!
//!   Clients, NetworkRules   what one client may take      Queue   who waits while all servers are full
//!
//!   IdentityRules, Identities   what one user may take, and whose server is which
//!
//!   checker, sessions ──▶ RealServer::handle_report, handle_greeting ──▶ HealthChange
//!   sessions ──▶ VirtualServer::handle_success, handle_failure ──▶ Ejected
//!   whoever places, and a clock ──▶ VirtualServer::observe ──▶ AvailabilityChange: quorum, ends of ejections
//! ```
//!
//!   ForwardingPlan, Forwarder    what a kernel carries      KernelPath, Expectations    and what of it a session asks for
//!
//! The guards give their count back when they are dropped, also while a panic unwinds.
//! Nothing here reads a clock or opens a socket: time is an argument.

mod admission;
mod availability;
mod check_report;
mod durations;
mod ejection;
mod forwarder;
mod health;
mod identities;
mod kernel_path;
mod observation;
mod queue;
mod quorum;
mod real_server;
mod scheduler;
mod site;
mod slow_start;
mod standing;
mod stats;
mod steering;
mod transfers;
mod virtual_server;

pub use admission::{
    Ban, BanRule, ClientLimits, ClientRefusal, ClientSession, Clients, LoginVerdict, NetworkRules,
    SessionRate,
};
pub use availability::{Availability, AvailabilityChange, AvailabilityState};
pub use check_report::{CheckReport, CheckResult, LastCheck, ScriptWeight};
pub use durations::{Bounds, Class, Durations};
pub use ejection::{Deed, Ejected, EjectionPolicy, MAX_FAILURES};
pub use forwarder::{
    Carrier, Entry, FlowCounts, FlowSync, ForwardError, ForwardedService, Forwarder, ForwarderCapabilities,
    ForwardingChange, ForwardingCounts, ForwardingPlan, Member, Persistence, PortSteering, ServiceCounts,
    SyncRole,
};
pub use health::{CheckOutcome, HealthChange, HealthSnapshot};
pub use identities::{Identities, IdentityRefusal, IdentityRules, IdentitySession, NamePattern};
pub use kernel_path::{
    Effect, Expectation, ExpectationAnswer, Expectations, KernelPath, NoPassage, Passage, PortTaken,
};
pub use observation::{Capabilities, CertificateStanding, MAX_CAPABILITIES, Observation, ServerCertificate};
pub use queue::{Queue, QueueFull, QueueStats, Turn, Waiting};
pub use quorum::{Quorum, QuorumState};
pub use real_server::{RealServer, RealServerSpec};
pub use scheduler::LbAlgo;
pub use site::{SiteAdmission, SiteFull, SiteSessions};
pub use stats::Stats;
pub use steering::Drain;
pub use transfers::{Flow, Outcome, TransferCounts};
pub use virtual_server::{Admission, NoServer, Placement, Refused, Tried, VirtualServer};

//! What the administrator asked for.
//!
//! Text in, a [`Model`] or every [`Problem`] of the text out. Nothing here reads a file, resolves a name or
//! asks the kernel anything.
//!
//! ```text
//!   text ──▶ toml (syntax, spans) ──▶ reader (types, ranges, unknown keys) ──▶ consistency (what only the
//!   whole file shows: duplicates, loops, overlaps) ──▶ Model, or problems in file order
//! ```
mod address;
mod consistency;
mod diff;
mod duration;
mod error;
mod model;
mod naming;
mod reader;
mod syntax;
pub mod toml;

pub use diff::{Change, Effect, diff};
pub(crate) use duration::parse as parse_duration;
pub(crate) use error::did_you_mean;
pub use error::{Problem, Severity, TooFewDescriptors, report};
pub use model::{
    Account, Admittance, Availability, BackendLogin, Check, CheckKind, DirectRouting, Engine, Forwarding,
    Global, Gsi, GsiCheck, LvsSync, MAX_FALLBACK_PORTS, Model, Persistence, QueueLimits, RealServer,
    SampleFile, Script, ServerTls, ServerTlsMode, Tls, VirtualServer, check_descriptors, descriptors_needed,
    vrrp,
};
pub use naming::{Answer, Endpoint, NamedServer, Question, Records, Resolution, ServiceRecord};

//! Gridfront, the front door for GridFTP sites.
//!
//! ```text
//!   cli ─▶ control ─▶ proxy, checker, vrrp, forwarding, resolver ─▶ tls, script, sys  what runs: sockets, clocks, threads, files
//!                         │
//!            config ─▶ balance ─▶ proto          what decides: pure
//! ```
//!
//! A layer uses only what stands below it or to its right; `integration/architecture.rs` holds it to that.
//! `ARCHITECTURE.md` follows a control connection through the layers.
pub mod balance;
pub mod checker;
pub mod cli;
pub mod config;
pub mod control;
pub mod forwarding;
pub mod proto;
pub mod proxy;
pub mod realserver;
pub mod resolver;
pub mod script;
pub mod sys;
pub mod tls;
pub mod vrrp;

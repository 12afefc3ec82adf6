//! The pairs of the tests of VRRP.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::missing_panics_doc,
    clippy::missing_errors_doc,
    clippy::unwrap_used,
    reason = "the tests' own, of which this uses a part"
)]

#[path = "../../integration/vrrp/balancer.rs"]
pub mod balancer;
#[path = "../../integration/vrrp/cell.rs"]
pub mod cell;
#[path = "../../integration/vrrp/pair.rs"]
pub mod pair;

//! Virtual routers of this program and of keepalived, on one link: who is master, for how long nobody is, and what is on the wire.
//!
//! What they come to is written to `target/integration/vrrp-interop.txt` and `vrrp-takeover.txt`.

mod balancer;
mod cell;
mod forged;
mod forged_ipv6;
mod interop;
mod judge;
mod mishaps;
mod owner;
mod pair;
mod takeover;

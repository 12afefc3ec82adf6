//! Wire formats and protocol machines: bytes in, decisions out.
//!
//! Nothing here opens a socket, reads a clock or touches a file.
pub mod arp;
pub mod ftp;
pub mod gsi;
pub mod ndp;
pub mod netlink;
pub mod proxy_protocol;
pub mod secret;
pub mod session_sync;
pub mod tcp;
pub mod vrrp;

//! Wire formats and protocol machines: bytes in, decisions out.
//!
//! Nothing here opens a socket, reads a clock or touches a file.
pub mod ftp;
pub mod gsi;
pub mod proxy_protocol;
pub mod secret;

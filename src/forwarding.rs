//! The kernel path: connections to a virtual address that reach their real server without crossing the door.
//!
//! ```text
//!   layer 7: client, VIP:port ▶ server           (a reply to PASV, or a range of ports that is a server's)
//!        │ Marks::set
//!        ▼
//!   map ◀── the marker, at the entrance of a link ──▶ packet with a mark ──▶ IPVS: a service for each mark, one server
//! ```
pub mod data_ports;
pub mod fake;
pub mod ipvs;
pub mod marker;
pub mod probe;

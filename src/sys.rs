//! The kernel: what the program asks of it, behind safe functions.
//!
//! The only layer where `unsafe` may stand; `rustix` and `socket2` spare us nearly all of it.
pub mod bpf;
pub mod calendar;
pub mod capabilities;
pub mod data_socket;
pub mod descriptors;
pub mod line_buffer;
pub mod liveness;
pub mod lock;
pub mod memory;
pub mod netlink;
pub mod packet_conversation;
pub mod packet_socket;
pub mod passed_sockets;
pub mod pipe;
pub mod process;
pub mod process_group;
pub mod processors;
pub mod raw_ip;
pub mod real_time;
pub mod service_manager;
pub mod signals;
pub mod socket;
mod socket_option;
pub mod sync_socket;
pub mod sysctl;
pub mod thread;
pub mod vrrp_socket;
pub mod wake;
pub mod whole_file;

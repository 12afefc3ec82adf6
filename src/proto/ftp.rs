//! The FTP control channel as GridFTP speaks it (RFC 959, 2228, 2389, 2428, 3659; GFD.20, GFD.47).
//!
//! ```text
//!   client bytes ─▶ line ─▶ command ─▶ session ─▶ bytes for the real server
//!   server bytes ─▶ line ─▶ reply   ─▶ session ─▶ bytes for the client, facts for the log
//!                                      passive, bounce: the addresses inside
//!                                      relay: what the driver does for data that crosses the door
//! ```
mod bounce;
mod command;
mod command_class;
mod command_filter;
mod greeting;
mod line;
mod offer;
mod own_ports;
mod passive;
mod policy;
mod relay;
mod reply;
mod session;

pub use bounce::{BouncePolicy, BounceRefusal, Login};
pub use command::{Command, Verb};
pub use command_class::{CommandClass, CommandTally};
pub use command_filter::{CommandFilter, FilterError, FilterVerdict, KNOWN_SITE_COMMANDS, KNOWN_VERBS};
pub use greeting::{Greeting, GreetingError};
pub use line::{HELD_LINE, LineSplitter, LineTooLong, MAX_LINE, Piece};
pub use offer::{features_before_login, help_before_login};
pub use own_ports::OwnPorts;
pub use passive::{
    AddressList, DataAddresses, Extended, find_extended, find_host_port, parse_eprt, parse_port, parse_spor,
    rewrite_address_line,
};
pub use policy::{DataPath, ForeignDataAddresses, PathReason, UnknownWord};
pub use relay::{
    Connections, DataConstraint, Direction, Peers, RelayAnswer, RelayId, RelayRequest, ServerData, Side,
    Unexpected,
};
pub use reply::{ReplyCode, ReplyFramer, ReplyLine};
pub use session::{
    Action, Ending, Fault, MAX_PENDING, Outbox, Session, SessionPolicy, TlsPolicy, TransferRecord, Tunnel,
};

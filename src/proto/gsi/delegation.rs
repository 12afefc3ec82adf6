//! Handing a user's rights on: a key is made where they go to, a request for it travels one way, and a proxy certificate the other.
//!
//! ```text
//! initiator                     acceptor
//!     │  D (or 0: no delegation)   │
//!     ├───────────────────────────▶│  a key that nobody else has
//!     │          PKCS #10          │
//!     │◀───────────────────────────┤
//!     │  one proxy certificate     │
//!     ├───────────────────────────▶│  its chain: that of the handshake
//! ```
mod issue;
mod receive;
mod request;

pub use issue::IssueError;
pub(super) use issue::issue;
#[cfg(test)]
pub(super) use issue::sign_proxy;
pub use receive::ReceiveError;
pub(super) use receive::receive;
pub use request::RequestError;
pub(super) use request::{PublicKeyRequest, write as write_request};

/// What the initiator says after the handshake: it delegates.
pub(super) const DELEGATES: u8 = b'D';
/// It does not.
pub(super) const DELEGATES_NOT: u8 = b'0';

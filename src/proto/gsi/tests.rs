//! The two machines against each other, in memory.
mod channel;
mod delegation;
mod exchange;
mod faults;
mod grid;

use super::Channel;

/// Both ends of a channel, the client's first.
pub(super) fn channels() -> (Channel, Channel) {
    channel::channels(grid::Version::Tls13)
}

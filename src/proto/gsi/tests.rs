//! The two machines against each other, in memory.
pub(super) mod channel;
mod delegation;
mod exchange;
mod faults;
pub(super) mod grid;

//! The two machines against each other, in memory.
mod channel;
mod delegation;
mod exchange;
mod faults;
mod grid;

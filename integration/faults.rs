//! Bad input and faults: what clients, real servers and the machine may do wrong, one test a case.
//!
//! The door is the real program on loopback; the real servers are stubs, because real ones cannot be made to show most
//! of this; where a Globus server can, it is one. Every test ends with all counts back at zero.

mod admin;
mod admission;
mod bytes;
mod death;
mod descriptors;
mod farewell;
mod greeting;
mod instances;
mod log_reader;
mod long_lines;
mod pace;
mod relay_globus;
mod relay_pace;
mod relay_ports;
mod relay_refusals;
mod relay_rounds;
mod relay_vanished;
mod shutdown;

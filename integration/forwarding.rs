//! The kernel path, on this machine's kernel.

mod marks;
mod probe;

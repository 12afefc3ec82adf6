//! Who carried what, as the servers saw it: the proof that data went straight.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

/// Data connections remembered; the scripted client looks at the latest few only.
const CAPACITY: usize = 256;

/// One data connection, seen from the real server.
#[derive(Clone, Debug)]
pub(super) struct Carried {
    /// the server's name
    pub(super) server: String,
    /// the file below the server's root
    pub(super) path: String,
    /// the server's end
    pub(super) local: SocketAddr,
    /// the other end
    pub(super) peer: SocketAddr,
    /// bytes of the file
    pub(super) bytes: u64,
}

/// The latest data connections of all servers.
#[derive(Default)]
pub(super) struct Journal(Mutex<VecDeque<Carried>>);

impl Journal {
    /// Remembers one, and forgets the oldest beyond the capacity.
    pub(super) fn add(&self, carried: Carried) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() == CAPACITY {
            entries.pop_front();
        }
        entries.push_back(carried);
    }

    /// Takes out what is known, oldest first.
    pub(super) fn take(&self) -> Vec<Carried> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }
}

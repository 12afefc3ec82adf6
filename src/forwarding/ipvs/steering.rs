//! The table of marks: those of the plan, and single ports that sessions set from any thread.
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::wanted::Wanted;
use crate::balance::{ForwardError, PortSteering};
use crate::forwarding::marker::{MarkKey, Marks};

/// What the kernel reads. Setting is a system call of some microseconds.
pub(super) trait MarkTable: fmt::Debug + Send + Sync {
    /// As [`Marks::set`].
    ///
    /// # Errors
    ///
    /// There is no room.
    fn set(&self, key: MarkKey, mark: NonZeroU32) -> io::Result<()>;
    /// As [`Marks::clear`].
    fn clear(&self, key: MarkKey);
}

/// A table, and what is in it.
#[derive(Debug)]
pub(super) struct Steering {
    table: Box<dyn MarkTable>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Where single ports may go.
    carriers: HashMap<IpAddr, NonZeroU32>,
    /// Of the plan.
    fixed: HashMap<(IpAddr, u16), NonZeroU32>,
    /// Of sessions.
    single: HashMap<MarkKey, IpAddr>,
}

impl Steering {
    /// Of an empty table.
    pub(super) fn new(table: Box<dyn MarkTable>) -> Self {
        Self { table, state: Mutex::default() }
    }

    /// Clears what is not wanted any more: marks of the plan, carriers, and the single ports of these.
    pub(super) fn retire(&self, wanted: &Wanted) {
        let mut state = self.state();
        let State { carriers, fixed, single } = &mut *state;
        carriers.retain(|address, _| wanted.carriers.contains_key(address));
        single.retain(|key, carrier| {
            let stays = carriers.contains_key(carrier);
            if !stays {
                self.table.clear(*key);
            }
            stays
        });
        fixed.retain(|at, _| {
            let stays = wanted.marks.contains_key(at);
            if !stays {
                self.table.clear(for_all(*at));
            }
            stays
        });
    }

    /// Sets the marks that are wanted, but those for which there is no service: they are cleared.
    ///
    /// # Errors
    ///
    /// There is no room: how many are set nevertheless.
    pub(super) fn install(
        &self,
        wanted: &Wanted,
        stands: impl Fn(NonZeroU32) -> bool,
    ) -> Result<(), (usize, io::Error)> {
        let mut state = self.state();
        let mut result = Ok(());
        for (at, mark) in &wanted.marks {
            let before = state.fixed.get(at).copied();
            if !stands(*mark) {
                if before.is_some() {
                    state.fixed.remove(at);
                    self.table.clear(for_all(*at));
                }
            } else if before != Some(*mark) {
                match self.table.set(for_all(*at), *mark) {
                    Ok(()) => {
                        state.single.remove(&for_all(*at));
                        state.fixed.insert(*at, *mark);
                    }
                    Err(error) => result = Err((0, error)),
                }
            }
        }
        result.map_err(|(_, error)| (state.fixed.len(), error))
    }

    /// Lets single ports go to the carriers that are wanted, but those for which there is no service. Who is told that one does
    /// connects at once, so the marker is to be where clients come in.
    pub(super) fn open(&self, wanted: &Wanted, stands: impl Fn(NonZeroU32) -> bool) {
        let mut state = self.state();
        state.carriers = wanted
            .carriers
            .iter()
            .filter(|(_, mark)| stands(**mark))
            .map(|(address, mark)| (*address, *mark))
            .collect();
    }

    /// Clears all.
    pub(super) fn clear_all(&self) {
        let mut state = self.state();
        state.fixed.keys().for_each(|at| self.table.clear(for_all(*at)));
        state.single.keys().for_each(|key| self.table.clear(*key));
        *state = State::default();
    }

    /// Whoever panicked has left at most one entry that says something else than the table.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PortSteering for Steering {
    fn set(&self, client: Option<IpAddr>, at: SocketAddr, carrier: IpAddr) -> Result<(), ForwardError> {
        let mut state = self.state();
        let refused =
            |why: String| ForwardError::Kernel { doing: format!("forwarding {at} to {carrier}"), why };
        let Some(mark) = state.carriers.get(&carrier).copied() else {
            return Err(refused("no data connections are forwarded to it".into()));
        };
        match state.fixed.get(&(at.ip(), at.port())) {
            Some(fixed) if *fixed == mark => return Ok(()),
            Some(_) => return Err(refused("this port is always another server's".into())),
            None => {}
        }
        let key = MarkKey { client, address: at.ip(), port: at.port() };
        self.table.set(key, mark).map_err(|error| refused(error.to_string()))?;
        state.single.insert(key, carrier);
        Ok(())
    }

    fn clear(&self, client: Option<IpAddr>, at: SocketAddr) {
        let key = MarkKey { client, address: at.ip(), port: at.port() };
        // What is not there may be the plan's.
        if self.state().single.remove(&key).is_some() {
            self.table.clear(key);
        }
    }
}

impl MarkTable for Marks {
    fn set(&self, key: MarkKey, mark: NonZeroU32) -> io::Result<()> {
        Self::set(self, key, mark.get())
    }

    fn clear(&self, key: MarkKey) {
        // What is not there is cleared.
        let _ = Self::clear(self, key);
    }
}

fn for_all((address, port): (IpAddr, u16)) -> MarkKey {
    MarkKey { client: None, address, port }
}
#[cfg(test)]
mod tests;

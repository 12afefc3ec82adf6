//! Which addresses are whose, and what the guardian was told of that.
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;

use ipnet::IpNet;

use super::RouterId;
use crate::proto::netlink::address::Assignment;
use crate::vrrp::guardian::{LastWords, Word};

/// Most that waits for a guardian that does not read, in bytes. One that has so much to read is of no use any more.
const MAX_UNREAD: usize = 1 << 20;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    routers: BTreeMap<RouterId, Holding>,
    guardian: Option<Guarded>,
}

#[derive(Debug)]
struct Holding {
    assignments: Vec<Assignment>,
    last_words: Option<LastWords>,
}

/// The end of the pipe, and what it could not take yet.
#[derive(Debug)]
struct Guarded {
    pipe: File,
    unread: Vec<u8>,
}

/// Addresses as the kernel is asked for them or to give them up.
pub(super) fn assignments(addresses: &[(u32, IpNet)]) -> Vec<Assignment> {
    addresses.iter().map(|&(index, address)| assignment(index, address, None)).collect()
}

fn assignment(index: u32, address: IpNet, lifetime: Option<NonZeroU32>) -> Assignment {
    Assignment { index, address: address.addr(), prefix: address.prefix_len(), lifetime, label: None }
}

impl Ledger {
    /// What the kernel is to be asked for.
    pub(super) fn claim(
        &mut self,
        router: RouterId,
        index: u32,
        addresses: &[IpNet],
        lifetime: NonZeroU32,
        last_words: Option<LastWords>,
    ) -> Vec<Assignment> {
        let assignments: Vec<Assignment> =
            addresses.iter().map(|&address| assignment(index, address, Some(lifetime))).collect();
        let holding = Holding { assignments: assignments.clone(), last_words };
        self.tell_of(router, &holding);
        self.routers.insert(router, holding);
        assignments
    }

    /// What the kernel is to take away.
    pub(super) fn release(&mut self, router: RouterId) -> Vec<Assignment> {
        let Some(Holding { assignments, .. }) = self.routers.remove(&router) else { return Vec::new() };
        // Whoever says priority 0 for us after this would say it for a router that is backup.
        self.tell(&Word::Hush(router));
        assignments
    }

    /// The kernel has taken them away.
    pub(super) fn forget(&mut self, released: &[Assignment]) {
        for of in released {
            self.tell(&Word::Disown(of.index, of.address));
        }
    }

    pub(super) fn set_last_words(&mut self, router: RouterId, words: LastWords) {
        if let Some(holding) = self.routers.get_mut(&router) {
            holding.last_words = Some(words.clone());
            self.tell(&Word::Say(router, words));
        }
    }

    /// Everything that is ours.
    pub(super) fn all(&self) -> Vec<Assignment> {
        self.routers.values().flat_map(|holding| &holding.assignments).cloned().collect()
    }

    /// The same, and then nothing is.
    pub(super) fn take_all(&mut self) -> Vec<Assignment> {
        let all = self.all();
        for router in std::mem::take(&mut self.routers).into_keys() {
            self.tell(&Word::Hush(router));
        }
        all
    }

    /// There is a new guardian, which knows nothing.
    pub(super) fn guard(&mut self, pipe: OwnedFd) {
        self.guardian = Some(Guarded { pipe: pipe.into(), unread: Vec::new() });
        let routers = std::mem::take(&mut self.routers);
        for (&router, holding) in &routers {
            self.tell_of(router, holding);
        }
        self.routers = routers;
    }

    /// Tries again what the pipe could not take.
    pub(super) fn flush(&mut self) {
        if let Some(guardian) = &mut self.guardian
            && !guardian.flush()
        {
            self.guardian = None;
        }
    }

    fn tell_of(&mut self, router: RouterId, holding: &Holding) {
        for of in &holding.assignments {
            if let Ok(address) = IpNet::new(of.address, of.prefix) {
                self.tell(&Word::Own(of.index, address));
            }
        }
        if let Some(words) = &holding.last_words {
            self.tell(&Word::Say(router, words.clone()));
        }
    }

    fn tell(&mut self, word: &Word) {
        if let Some(guardian) = &mut self.guardian {
            guardian.unread.extend_from_slice(word.to_string().as_bytes());
            self.flush();
        }
    }
}

impl Guarded {
    /// Whether it is of use still. Whoever started it sees when it has ended, and starts another.
    fn flush(&mut self) -> bool {
        while !self.unread.is_empty() {
            match self.pipe.write(&self.unread) {
                Ok(written) => drop(self.unread.drain(..written)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return self.unread.len() <= MAX_UNREAD;
                }
                Err(_) => return false,
            }
        }
        true
    }
}

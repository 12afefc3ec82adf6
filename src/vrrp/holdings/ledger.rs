//! Which addresses are whose, which settings were changed, and what the guardian was told of that.
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;

use ipnet::IpNet;

use super::RouterId;
use crate::proto::netlink::address::Assignment;
use crate::vrrp::guardian::{LastWords, Word};
use crate::vrrp::parent_setting::ParentSetting;

/// Most that waits for a guardian that does not read, in bytes. To close its pipe would make it say priority 0.
const MAX_UNREAD: usize = 1 << 20;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    routers: BTreeMap<RouterId, Holding>,
    settings: Vec<ParentSetting>,
    guardian: Option<Guarded>,
}

#[derive(Debug)]
struct Holding {
    assignments: Vec<Assignment>,
    last_words: Option<LastWords>,
}

/// What follows for the kernel.
#[derive(Debug)]
pub(super) struct Claimed {
    /// It is to be asked for these.
    pub(super) assignments: Vec<Assignment>,
    /// These were the router's before with another prefix, and go first: the kernel knows an address of IPv6 without its prefix,
    /// would leave it as it is, and then take it away.
    pub(super) replaced: Vec<Assignment>,
    /// These were the router's before.
    pub(super) given_up: Vec<Assignment>,
}

/// The end of the pipe, and what it could not take yet.
#[derive(Debug)]
struct Guarded {
    pipe: File,
    unread: Vec<u8>,
    /// Some words were not said to it.
    is_behind: bool,
}

/// Addresses as the kernel is asked for them or to give them up.
pub(super) fn assignments(addresses: &[(u32, IpNet)]) -> Vec<Assignment> {
    addresses.iter().map(|&(index, address)| assignment(index, address, None)).collect()
}

fn assignment(index: u32, address: IpNet, lifetime: Option<NonZeroU32>) -> Assignment {
    Assignment { index, address: address.addr(), prefix: address.prefix_len(), lifetime, label: None }
}

impl Ledger {
    /// A router's addresses are these from now on.
    pub(super) fn claim(
        &mut self,
        router: RouterId,
        index: u32,
        addresses: &[IpNet],
        lifetime: NonZeroU32,
        last_words: Option<LastWords>,
    ) -> Claimed {
        let assignments: Vec<Assignment> =
            addresses.iter().map(|&address| assignment(index, address, Some(lifetime))).collect();
        let holding = Holding { assignments: assignments.clone(), last_words };
        self.tell_of(router, &holding);
        let before = self.routers.insert(router, holding);
        let before = before.map(|before| before.assignments).unwrap_or_default();
        let stays = |of: &Assignment| {
            of.address.is_ipv6() && index == of.index && addresses.iter().any(|new| new.addr() == of.address)
        };
        let (replaced, given_up) = self.without_held(before).into_iter().partition(stays);
        Claimed { assignments, replaced, given_up }
    }

    /// What the kernel is to take away.
    pub(super) fn release(&mut self, router: RouterId) -> Vec<Assignment> {
        let Some(Holding { assignments, .. }) = self.routers.remove(&router) else { return Vec::new() };
        // Whoever says priority 0 for us after this would say it for a router that is backup.
        self.tell(&Word::Hush(router));
        self.without_held(assignments)
    }

    /// A reload may have given an address to another router of ours.
    fn without_held(&self, mut assignments: Vec<Assignment>) -> Vec<Assignment> {
        let place = |of: &Assignment| (of.index, of.address, of.prefix);
        let held: BTreeSet<_> =
            self.routers.values().flat_map(|holding| &holding.assignments).map(place).collect();
        assignments.retain(|of| !held.contains(&place(of)));
        assignments
    }

    /// The kernel has taken them away.
    pub(super) fn forget(&mut self, released: &[Assignment]) {
        for of in released {
            if let Ok(address) = IpNet::new(of.address, of.prefix) {
                self.tell(&Word::Disown(of.index, address));
            }
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

    /// A setting is about to be made.
    pub(super) fn set(&mut self, setting: ParentSetting) {
        let place = |of: &ParentSetting| (of.parent, of.setting);
        // Somebody has changed it since it was made: that is what it is to be again.
        self.settings.retain(|known| place(known) != place(&setting));
        self.tell(&Word::Set(setting.clone()));
        self.settings.push(setting);
    }

    /// What is to be put back at an interface.
    pub(super) fn settings_of(&self, parent: u32) -> Vec<ParentSetting> {
        self.settings.iter().filter(|of| of.parent == parent).cloned().collect()
    }

    /// It was.
    pub(super) fn unset(&mut self, parent: u32) {
        self.settings.retain(|of| of.parent != parent);
        self.tell(&Word::Unset(parent));
    }

    /// There is a new guardian, which knows nothing.
    pub(super) fn guard(&mut self, pipe: OwnedFd) {
        self.guardian = Some(Guarded { pipe: pipe.into(), unread: Vec::new(), is_behind: false });
        self.tell_all();
    }

    /// Tries again what the pipe could not take.
    pub(super) fn flush(&mut self) {
        let Some(guardian) = &mut self.guardian else { return };
        if !guardian.flush() {
            self.guardian = None;
        } else if guardian.unread.is_empty() && std::mem::take(&mut guardian.is_behind) {
            self.tell(&Word::Forget);
            self.tell_all();
        }
    }

    /// Everything anew.
    fn tell_all(&mut self) {
        let routers = std::mem::take(&mut self.routers);
        for (&router, holding) in &routers {
            self.tell_of(router, holding);
        }
        self.routers = routers;
        for setting in self.settings.clone() {
            self.tell(&Word::Set(setting));
        }
    }

    fn tell_of(&mut self, router: RouterId, holding: &Holding) {
        for of in &holding.assignments {
            if let Ok(address) = IpNet::new(of.address, of.prefix) {
                self.tell(&Word::Own(of.index, address));
            }
        }
        self.tell(&Word::Hush(router));
        for words in holding.last_words.iter().flat_map(LastWords::each) {
            self.tell(&Word::Say(router, words));
        }
    }

    fn tell(&mut self, word: &Word) {
        let Some(guardian) = &mut self.guardian else { return };
        if guardian.unread.len() > MAX_UNREAD {
            // It is told everything anew once it reads again.
            guardian.is_behind = true;
            return;
        }
        guardian.unread.extend_from_slice(word.to_string().as_bytes());
        if !guardian.flush() {
            self.guardian = None;
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
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn said(ledger: &mut Ledger, work: impl FnOnce(&mut Ledger)) -> String {
        let (mut reader, writer) = std::io::pipe().unwrap();
        ledger.guard(writer.into());
        work(ledger);
        ledger.guardian = None;
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        said
    }

    fn words(payload: u8) -> Option<LastWords> {
        let packets = vec![("224.0.0.18".parse().unwrap(), vec![payload])];
        Some(LastWords { interface: 2, source: "192.0.2.1".parse().unwrap(), packets })
    }

    #[test]
    fn the_guardian_knows_what_is_ours_whenever_it_begins() {
        let (a, b): (IpNet, IpNet) = ("192.0.2.10/24".parse().unwrap(), "192.0.2.11/24".parse().unwrap());
        let lifetime = NonZeroU32::new(3).unwrap();
        let mut ledger = Ledger::default();
        let first = said(&mut ledger, |ledger| {
            let claimed = ledger.claim(1, 2, &[a], lifetime, words(0x31));
            assert_eq!(claimed.assignments.len(), 1);
            assert_eq!(claimed.assignments[0].lifetime, Some(lifetime));
        });
        assert_eq!(first, "own 2 192.0.2.10/24\nhush 1\nsay 1 2 192.0.2.1 224.0.0.18 31\n");
        let again = said(&mut ledger, |ledger| {
            let claimed = ledger.claim(1, 2, &[b], lifetime, words(0x32));
            assert_eq!(claimed.given_up.len(), 1);
            assert_eq!(claimed.given_up[0].address, a.addr());
            ledger.forget(&claimed.given_up);
        });
        let changed =
            "own 2 192.0.2.11/24\nhush 1\nsay 1 2 192.0.2.1 224.0.0.18 32\ndisown 2 192.0.2.10/24\n";
        assert_eq!(again, format!("{first}{changed}"), "a new one is told everything first");
        let last = said(&mut ledger, |ledger| {
            let released = ledger.release(1);
            ledger.forget(&released);
            assert!(ledger.all().is_empty() && ledger.release(1).is_empty());
        });
        assert!(last.ends_with("hush 1\ndisown 2 192.0.2.11/24\n"), "{last}");
    }

    #[test]
    fn an_address_that_another_router_has_now_stays() {
        let (a, b): (IpNet, IpNet) = ("192.0.2.10/24".parse().unwrap(), "192.0.2.11/24".parse().unwrap());
        let mut ledger = Ledger::default();
        let mut claim =
            |router, addresses: &[IpNet]| ledger.claim(router, 2, addresses, NonZeroU32::MIN, None);
        claim(1, &[a, b]);
        claim(2, &[a]);
        let given_up: Vec<_> = claim(1, &["192.0.2.11/32".parse().unwrap()]).given_up;
        assert_eq!(given_up.iter().map(|of| (of.address, of.prefix)).collect::<Vec<_>>(), [(b.addr(), 24)]);
        assert_eq!(ledger.release(1).len(), 1);
        assert_eq!(ledger.release(2).len(), 1);
    }

    #[test]
    fn an_address_of_ipv6_with_another_prefix_goes_before_it_comes() {
        let mut ledger = Ledger::default();
        let mut claim = |prefixes: [u8; 2]| {
            let addresses = [("192.0.2.10", prefixes[0]), ("2001:db8::10", prefixes[1])];
            let addresses =
                addresses.map(|(address, prefix)| IpNet::new(address.parse().unwrap(), prefix).unwrap());
            let Claimed { replaced, given_up, .. } =
                ledger.claim(1, 2, &addresses, NonZeroU32::MIN, words(0x31));
            let shown = |of: &Assignment| format!("{}/{}", of.address, of.prefix);
            [replaced, given_up].map(|list| list.iter().map(shown).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(claim([24, 64]), ["", ""]);
        assert_eq!(claim([24, 64]), ["", ""]);
        assert_eq!(claim([32, 128]), ["2001:db8::10/64", "192.0.2.10/24"]);
    }

    #[test]
    fn a_guardian_that_does_not_read_is_told_everything_anew() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::NONBLOCK).unwrap();
        let mut ledger = Ledger::default();
        ledger.guard(writer.into());
        let address: IpNet = "192.0.2.10/24".parse().unwrap();
        while !ledger.guardian.as_ref().unwrap().is_behind {
            ledger.claim(1, 2, &[address], NonZeroU32::MIN, words(0x31));
        }
        let last: IpNet = "192.0.2.99/24".parse().unwrap();
        ledger.claim(1, 2, &[last], NonZeroU32::MIN, words(0x32));
        let reading = std::thread::spawn(move || {
            let mut said = String::new();
            reader.read_to_string(&mut said).unwrap();
            said
        });
        while ledger.guardian.as_ref().unwrap().is_behind {
            ledger.flush();
        }
        while !ledger.guardian.as_ref().unwrap().unread.is_empty() {
            ledger.flush();
        }
        ledger.guardian = None;
        let said = reading.join().unwrap();
        let anew = "forget 0\nown 2 192.0.2.99/24\nhush 1\nsay 1 2 192.0.2.1 224.0.0.18 32\n";
        assert!(said.ends_with(anew), "{}", &said[said.len() - 200..]);
    }

    #[test]
    fn a_guardian_that_is_no_more_is_no_obstacle() {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut ledger = Ledger::default();
        ledger.guard(writer.into());
        drop(reader);
        let address = "192.0.2.10/24".parse().unwrap();
        assert_eq!(ledger.claim(1, 2, &[address], NonZeroU32::MIN, None).assignments.len(), 1);
        assert!(ledger.guardian.is_none());
    }
}

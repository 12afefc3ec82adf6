//! The marker: a program at the entrance of links that marks what goes to an address and port by a table.
//!
//! What a mark means is for others to say: IPVS has a service for each, policy routing a table. To set an entry is one system
//! call, and one that is taken out touches no connection: IPVS knows those that it has by their addresses.
//!
//! The kernel holds the program by its filter, and the table by the program. So both outlive a daemon that is killed, and mark as they
//! last were told to; the next daemon's filter takes the place of that one in one step, with a table of its own, empty at
//! first. Who has to know everything before that fills it between [`Marker::load`] and [`Marker::attach`].
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::AsFd as _;
use std::sync::Arc;

use rustix::io::Errno;

use crate::proto::netlink::traffic_control::{Filter, Hook, NAME};
use crate::sys::bpf::{BpfError, HashMap, Program};
use crate::sys::netlink::{NetlinkError, Route};

mod program;

/// Client, address, port, and up to a multiple of four bytes nothing.
const KEY: usize = 36;

type Map = HashMap<KEY, 4>;

/// The program, its table, and where it is attached. Dropping it leaves everything as it is.
#[derive(Debug)]
pub struct Marker {
    program: Program,
    marks: Marks,
    /// The links where it is, and whether room for it was made there.
    attached: BTreeMap<u32, Room>,
}

/// Whose the clsact of a link is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Room {
    Ours,
    Theirs,
}

/// What is marked, for any thread.
#[derive(Clone, Debug)]
pub struct Marks {
    map: Arc<Map>,
}

/// What an entry is for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct MarkKey {
    /// Who connects; whoever it is, if there is none. An entry that names the client is looked for first.
    pub client: Option<IpAddr>,
    /// To which address, the client's family if it has one.
    pub address: IpAddr,
    /// To which port of TCP.
    pub port: u16,
}

/// Why packets cannot be marked.
#[derive(Debug, thiserror::Error)]
pub enum MarkerError {
    /// The kernel does not take the table or the program.
    #[error("marking packets: {0}")]
    Bpf(#[from] BpfError),
    /// It does not take the program at this link.
    #[error("marking packets that come in by link {index}: {error}")]
    Link {
        /// Of the link.
        index: u32,
        /// Why.
        error: NetlinkError,
    },
    /// Links cannot be listed.
    #[error("looking for links whose packets are marked: {0}")]
    Listing(NetlinkError),
    /// Somebody else is in our place.
    #[error(
        "marking packets that come in by link {index}: a filter that is not gridfront's ({name}) has its place, priority {priority}, \
         handle {handle}; see `tc filter show ingress`, and give it another place",
        index = .0.index, priority = .0.priority, handle = .0.handle, name = .0.name.as_deref().unwrap_or("without a name")
    )]
    Taken(Filter),
}

impl Marker {
    /// Has the kernel take the program and a table of so many entries, each some 100 bytes. Nothing is marked yet.
    ///
    /// # Errors
    ///
    /// The kernel has no BPF, or this process may not use it.
    pub fn load(capacity: u32) -> Result<Self, MarkerError> {
        let map = Map::create("gridfront_marks", capacity)?;
        let instructions = program::assemble(map.as_fd());
        let program = Program::load(NAME, program::LICENCE, &instructions)?;
        Ok(Self { program, marks: Marks { map: Arc::new(map) }, attached: BTreeMap::new() })
    }

    /// Marks what comes in by a link from now on, in place of a daemon that was killed and without a gap. Once more does no harm.
    ///
    /// # Errors
    ///
    /// There is no such link, somebody else's filter has our place, or CAP_NET_ADMIN is missing.
    pub fn attach(&mut self, route: &mut Route, index: u32) -> Result<(), MarkerError> {
        let at = |error| MarkerError::Link { index, error };
        let is_made = route.add_clsact(index).map_err(at)?;
        // What was made is remembered in any case, so that it does not stay if the rest fails.
        let room = match self.attached.get(&index) {
            Some(Room::Ours) => Room::Ours,
            _ if is_made => Room::Ours,
            _ => Room::Theirs,
        };
        self.attached.insert(index, room);
        let before = route.filters(index, Hook::Ingress).map_err(at)?;
        if let Some(other) = before.iter().find(|filter| filter.is_in_our_place() && !filter.is_ours()) {
            return Err(MarkerError::Taken(other.clone()));
        }
        route.attach_filter(index, self.program.as_fd()).map_err(at)?;
        // Versions of another day may have stood elsewhere.
        for stray in before.iter().filter(|filter| filter.is_ours() && !filter.is_in_our_place()) {
            route.detach_filter(stray).map_err(at)?;
        }
        Ok(())
    }

    /// Marks nothing any more that comes in by a link. The room for filters goes if we have made it and nobody else is in it.
    ///
    /// # Errors
    ///
    /// CAP_NET_ADMIN is missing.
    pub fn detach(&mut self, route: &mut Route, index: u32) -> Result<(), MarkerError> {
        let at = |error| MarkerError::Link { index, error };
        remove_ours(route, index).map_err(at)?;
        let room = self.attached.remove(&index);
        if room == Some(Room::Ours) && is_empty(route, index).map_err(at)? {
            route.remove_clsact(index).map_err(at)?;
        }
        Ok(())
    }

    /// Takes filters of ours away that stand at other links than those where this one is attached or is going to be: a daemon that is no
    /// more has left them. Returns at which links.
    ///
    /// # Errors
    ///
    /// CAP_NET_ADMIN is missing.
    pub fn detach_stale(&self, route: &mut Route, keep: &[u32]) -> Result<Vec<u32>, MarkerError> {
        let mut links: Vec<u32> = route
            .qdiscs()
            .map_err(MarkerError::Listing)?
            .iter()
            .filter(|qdisc| qdisc.is_at_ingress())
            .map(|qdisc| qdisc.index)
            .filter(|index| !keep.contains(index) && !self.attached.contains_key(index))
            .collect();
        let mut result = Ok(());
        links.retain(|&index| match remove_ours(route, index) {
            Ok(removed) => removed,
            Err(error) => {
                result = Err(MarkerError::Link { index, error });
                false
            }
        });
        result.map(|()| links)
    }

    /// The links where it is.
    pub fn attached(&self) -> impl Iterator<Item = u32> {
        self.attached.keys().copied()
    }

    /// What is marked.
    #[must_use]
    pub fn marks(&self) -> Marks {
        self.marks.clone()
    }
}

fn remove_ours(route: &mut Route, index: u32) -> Result<bool, NetlinkError> {
    let mut filters = route.filters(index, Hook::Ingress)?;
    filters.retain(Filter::is_ours);
    for filter in &filters {
        route.detach_filter(filter)?;
    }
    Ok(!filters.is_empty())
}

/// Whether nobody has a filter at either end of a link.
fn is_empty(route: &mut Route, index: u32) -> Result<bool, NetlinkError> {
    Ok(route.filters(index, Hook::Ingress)?.is_empty() && route.filters(index, Hook::Egress)?.is_empty())
}

impl Marks {
    /// Has packets marked from now on.
    ///
    /// # Errors
    ///
    /// There is no room for another entry (`StorageFull`).
    pub fn set(&self, key: MarkKey, mark: u32) -> io::Result<()> {
        self.map.set(&key.bytes(), &mark.to_ne_bytes()).map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::TOOBIG) => io::Error::new(io::ErrorKind::StorageFull, "the table of marks is full"),
            _ => error,
        })
    }

    /// Has them not marked any more. It does no harm if they are not.
    ///
    /// # Errors
    ///
    /// None that is to be expected.
    pub fn clear(&self, key: MarkKey) -> io::Result<()> {
        self.map.remove(&key.bytes())
    }

    /// The mark that is set for exactly this key.
    ///
    /// # Errors
    ///
    /// None that is to be expected.
    pub fn get(&self, key: MarkKey) -> io::Result<Option<u32>> {
        Ok(self.map.get(&key.bytes())?.map(u32::from_ne_bytes))
    }
}

impl MarkKey {
    /// As the program makes it of a packet.
    fn bytes(self) -> [u8; KEY] {
        let mut bytes = [0; KEY];
        // Nobody comes from the unspecified address, so it stands for whoever comes.
        let client = self.client.map_or(Ipv6Addr::UNSPECIFIED, mapped);
        bytes[..16].copy_from_slice(&client.octets());
        bytes[16..32].copy_from_slice(&mapped(self.address).octets());
        bytes[32..34].copy_from_slice(&self.port.to_be_bytes());
        bytes
    }
}

/// As an address of IPv6, RFC 4291 section 2.5.5.2.
fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_both_families_in_one_form_and_zeros_for_whoever_comes() {
        let key = |client: Option<&str>, address: &str| {
            MarkKey {
                client: client.map(|client| client.parse().unwrap()),
                address: address.parse().unwrap(),
                port: 50000,
            }
            .bytes()
        };
        let bound = key(Some("198.51.100.7"), "192.0.2.10");
        assert_eq!(bound[..16], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 198, 51, 100, 7]);
        assert_eq!(bound[16..32], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 10]);
        assert_eq!(bound[32..], [0xc3, 0x50, 0, 0]);
        assert_eq!(key(None, "192.0.2.10")[..16], [0; 16]);
        assert_eq!(key(None, "192.0.2.10"), key(None, "::ffff:192.0.2.10"));
        assert_eq!(key(Some("2001:db8::7"), "2001:db8::10")[..4], [0x20, 0x01, 0x0d, 0xb8]);
    }

    #[test]
    fn marks_are_for_any_thread() {
        fn is_for_any_thread<T: Clone + Send + Sync>() {}
        is_for_any_thread::<Marks>();
    }

    #[test]
    fn who_is_in_our_place_is_told() {
        let filter = Filter { index: 3, priority: 28, handle: 2811, kind: "u32".into(), name: None };
        let told = MarkerError::Taken(filter).to_string();
        assert!(told.contains("link 3: a filter that is not gridfront's (without a name)"), "{told}");
    }
}

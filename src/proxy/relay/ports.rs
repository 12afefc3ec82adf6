//! Ports that the door opens for data connections, and who besides the peers of a transfer may use one.
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;

use crate::sys;

/// Ports that are tried for one that no other program has: where half of the range is somebody else's, this many are in
/// vain once in four thousand million times.
const MAX_TRIES: usize = 32;

/// Connections of the door itself that are announced to one of its ports and have not come yet.
const MAX_GUESTS: usize = 512;

/// `relay_ports` of a virtual server, as far as this process knows who has them.
#[derive(Debug)]
pub(crate) struct PortPool {
    state: Mutex<PoolState>,
    live: Arc<LivePorts>,
    in_use: AtomicUsize,
    /// How often there was none.
    exhausted: AtomicU64,
}

#[derive(Debug)]
struct PoolState {
    range: RangeInclusive<u16>,
    addresses: HashMap<IpAddr, Ports>,
}

/// The ports of one address.
#[derive(Debug, Default)]
struct Ports {
    /// One bit a port: in use, or resting.
    busy: Vec<u64>,
    /// Given back, or found to be another program's, not long ago; the oldest first. A late connection to the last user
    /// of a port must not meet the next one.
    resting: VecDeque<u16>,
}

/// Every port on which a relay listens, with those whom the door itself sends there: a transfer between two servers, both
/// behind the door, where each is told a port of the door's.
#[derive(Debug, Default)]
pub(crate) struct LivePorts(DashMap<(IpAddr, u16), Arc<Guests>>);

/// The door's own ends of connections to one of its ports, with the client of the session that sends each.
#[derive(Debug, Default)]
pub(super) struct Guests(Mutex<Vec<(SocketAddr, IpAddr)>>);

/// A port as long as somebody listens there; dropped, it is closed and given back.
#[derive(Debug)]
pub(super) struct RelayPort {
    pub(super) address: SocketAddr,
    pub(super) guests: Arc<Guests>,
    pool: Arc<PortPool>,
    /// Closed first.
    listener: Option<TcpListener>,
}

impl PortPool {
    pub(crate) fn new(range: RangeInclusive<u16>, live: Arc<LivePorts>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(PoolState { range, addresses: HashMap::new() }),
            live,
            in_use: AtomicUsize::new(0),
            exhausted: AtomicU64::new(0),
        })
    }

    /// Opens ports of another range from now on; those in use stay until they are given back.
    pub(crate) fn set_range(&self, range: RangeInclusive<u16>) {
        let mut state = self.lock();
        if state.range == range {
            return;
        }
        let former = std::mem::replace(&mut state.range, range.clone());
        state.addresses.values_mut().for_each(|ports| ports.move_to(&former, &range));
    }

    /// Ports on which a relay listens now, all addresses together.
    pub(crate) fn in_use(&self) -> usize {
        self.in_use.load(Relaxed)
    }

    /// Ports that there are, on all addresses that have been used, or on one.
    pub(crate) fn available(&self) -> usize {
        let state = self.lock();
        state.range.len() * state.addresses.len().max(1)
    }

    /// How often a session got no port.
    pub(crate) fn exhausted(&self) -> u64 {
        self.exhausted.load(Relaxed)
    }

    pub(super) fn live(&self) -> &Arc<LivePorts> {
        &self.live
    }

    /// Listens on a port of `local`, whatever port that has.
    pub(super) fn listen(self: &Arc<Self>, local: SocketAddr) -> Result<RelayPort, String> {
        let mut other_program = None;
        // Anywhere in the range, so that nobody can tell which is next.
        let mut from = u16::try_from(RandomState::new().hash_one(()) >> 48).unwrap_or(0);
        for _ in 0..MAX_TRIES {
            let Some(port) = self.claim(local.ip(), from) else { break };
            from = port.wrapping_add(1);
            let mut address = local;
            address.set_port(port);
            match sys::data_socket::listen(address) {
                Ok(listener) => {
                    let guests = Arc::<Guests>::default();
                    self.live.0.insert(key(address), Arc::clone(&guests));
                    self.in_use.fetch_add(1, Relaxed);
                    return Ok(RelayPort {
                        address,
                        guests,
                        pool: Arc::clone(self),
                        listener: Some(listener),
                    });
                }
                Err(error) => {
                    self.lock().rest(address);
                    if error.kind() != io::ErrorKind::AddrInUse {
                        return Err(format!("cannot listen on {address}: {error}"));
                    }
                    other_program = Some(port);
                }
            }
        }
        self.exhausted.fetch_add(1, Relaxed);
        let (first, last) = self.lock().range.clone().into_inner();
        let taken = match other_program {
            Some(port) => format!("other programs listen there, on {port} for one"),
            None => format!("{} are in use", self.in_use()),
        };
        Err(format!("no free port in relay_ports {first}-{last}; {taken}"))
    }

    /// Takes a port out of the pool, the first from some place on that was not used lately, or else the one that rests
    /// longest. The place is `start`, or any where that is not in the range.
    fn claim(&self, address: IpAddr, start: u16) -> Option<u16> {
        let mut state = self.lock();
        let PoolState { range, addresses } = &mut *state;
        let size = range.len();
        let ports = addresses.entry(address).or_default();
        if ports.busy.is_empty() {
            ports.busy = vec![0; size.div_ceil(64)];
        }
        let start = usize::from(start.wrapping_sub(*range.start())) % size;
        let index = ports.first_free(start, size);
        if let Some(index) = index {
            ports.set(index, true);
            return u16::try_from(index).ok().map(|offset| range.start() + offset);
        }
        ports.resting.pop_front()
    }

    fn give_back(&self, address: SocketAddr) {
        self.live.0.remove(&key(address));
        self.in_use.fetch_sub(1, Relaxed);
        self.lock().rest(address);
    }

    /// A thread that died with the lock left plain numbers, good at any moment.
    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PoolState {
    fn rest(&mut self, address: SocketAddr) {
        self.addresses.entry(address.ip()).or_default().rest(address.port(), &self.range);
    }
}

impl Ports {
    /// Another range has some ports of the former one, or none.
    fn move_to(&mut self, former: &RangeInclusive<u16>, range: &RangeInclusive<u16>) {
        let busy = std::mem::replace(&mut self.busy, vec![0; range.len().div_ceil(64)]);
        for (index, port) in former.clone().enumerate() {
            if range.contains(&port) && busy.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
            {
                self.set(usize::from(port - range.start()), true);
            }
        }
        self.resting.retain(|port| range.contains(port));
    }

    /// The first that is free, from `start` on and round; a word of 64 at a time.
    fn first_free(&self, start: usize, size: usize) -> Option<usize> {
        let words = self.busy.len();
        let (first, bit) = (start / 64, start % 64);
        // The first word comes again at the end, for its ports before `start`.
        (0..=words).find_map(|step| {
            let index = (first + step) % words;
            let skipped = if step == 0 { (1 << bit) - 1 } else { 0 };
            let free = !(self.busy[index] | skipped);
            let port = index * 64 + free.trailing_zeros() as usize;
            (free != 0 && port < size).then_some(port)
        })
    }

    fn set(&mut self, index: usize, busy: bool) {
        if let Some(word) = self.busy.get_mut(index / 64) {
            *word = *word & !(1 << (index % 64)) | u64::from(busy) << (index % 64);
        }
    }

    /// Half of the range rests at most; what is of a former range is forgotten.
    fn rest(&mut self, port: u16, range: &RangeInclusive<u16>) {
        if !range.contains(&port) {
            return;
        }
        self.resting.push_back(port);
        if self.resting.len() > usize::from(range.end() - range.start()) / 2
            && let Some(port) = self.resting.pop_front()
        {
            self.set(usize::from(port - range.start()), false);
        }
    }
}

impl LivePorts {
    pub(super) fn guests(&self, address: SocketAddr) -> Option<Arc<Guests>> {
        self.0.get(&key(address)).map(|guests| Arc::clone(&guests))
    }
}

impl Guests {
    /// A connection is about to come from `address` on behalf of `client`.
    pub(super) fn expect(&self, address: SocketAddr, client: IpAddr) {
        let mut expected = self.lock();
        if expected.len() == MAX_GUESTS {
            // Whoever has not come by now has failed.
            expected.remove(0);
        }
        expected.push((address, client));
    }

    /// On whose behalf a connection comes: its own, but for what the door itself has sent, once.
    pub(super) fn visitor(&self, address: SocketAddr) -> IpAddr {
        let mut expected = self.lock();
        let found = expected.iter().position(|&(guest, _)| key(guest) == key(address));
        found.map_or(address.ip(), |index| expected.swap_remove(index).1)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(SocketAddr, IpAddr)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RelayPort {
    /// Registers the listener with the runtime that is running.
    pub(super) fn watch(&mut self) -> io::Result<tokio::net::TcpListener> {
        let listener = self.listener.take().ok_or(io::ErrorKind::NotConnected)?;
        tokio::net::TcpListener::from_std(listener)
    }
}

impl Drop for RelayPort {
    fn drop(&mut self) {
        self.listener = None;
        self.pool.give_back(self.address);
    }
}

fn key(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// A pool over ports that nobody listened on a moment ago, on an address of this test's own.
    fn pool(ports: u16) -> (Arc<PortPool>, SocketAddr) {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let [_, high, middle, low] = std::process::id().to_be_bytes();
        let number = u8::try_from(NEXT.fetch_add(1, Relaxed)).unwrap();
        let address = SocketAddr::from(([127, 128 | high, middle ^ number, low], 0));
        (PortPool::new(21_000..=21_000 + ports - 1, Arc::default()), address)
    }

    #[test]
    fn every_port_is_given_once_and_then_none() {
        let (pool, address) = pool(70);
        let held: Vec<RelayPort> = (0..70).map(|_| pool.listen(address).unwrap()).collect();
        let numbers: HashSet<u16> = held.iter().map(|port| port.address.port()).collect();
        assert_eq!((numbers.len(), pool.in_use(), pool.exhausted()), (70, 70, 0));
        let refused = pool.listen(address).unwrap_err();
        assert_eq!(refused, "no free port in relay_ports 21000-21069; 70 are in use");
        assert_eq!(pool.exhausted(), 1);
        assert!(held.iter().all(|port| pool.live().guests(port.address).is_some()));
        drop(held);
        assert_eq!((pool.in_use(), pool.live().0.len()), (0, 0));
        assert!(pool.listen(address).is_ok());
    }

    #[test]
    fn a_port_rests_while_another_will_do() {
        let (pool, address) = pool(10);
        let used: Vec<u16> = (0..5).map(|_| pool.listen(address).unwrap().address.port()).collect();
        let next: Vec<RelayPort> = (0..5).map(|_| pool.listen(address).unwrap()).collect();
        assert!(next.iter().all(|port| !used[1..].contains(&port.address.port())), "{used:?} {next:?}");
        // Now only the resting ones are left: the one that rests longest is the first.
        let again: Vec<RelayPort> = (0..5).map(|_| pool.listen(address).unwrap()).collect();
        assert_eq!(again.len(), 5);
        assert!(pool.listen(address).is_err());
    }

    #[test]
    fn ports_of_other_programs_are_passed_over() {
        let (pool, address) = pool(8);
        let taken: Vec<TcpListener> = (21_000..21_007)
            .map(|port| TcpListener::bind(SocketAddr::new(address.ip(), port)).unwrap())
            .collect();
        for _ in 0..20 {
            assert_eq!(pool.listen(address).unwrap().address.port(), 21_007);
        }
        let held = pool.listen(address).unwrap();
        let refused = pool.listen(address).unwrap_err();
        assert!(refused.contains("other programs listen there"), "{refused}");
        drop((taken, held));
        assert!(pool.listen(address).is_ok());
    }

    #[test]
    fn a_range_that_moves_keeps_the_ports_that_are_in_use() {
        let (pool, address) = pool(8);
        let held: Vec<RelayPort> = (0..8).map(|_| pool.listen(address).unwrap()).collect();
        pool.set_range(21_004..=21_011);
        let new: HashSet<u16> =
            (0..4).map(|_| pool.listen(address).unwrap()).map(|port| port.address.port()).collect();
        assert!(new.iter().all(|port| (21_008..=21_011).contains(port)), "{new:?}");
        assert_eq!(pool.in_use(), 8);
        drop(held);
        let all: Vec<RelayPort> = (0..8).map(|_| pool.listen(address).unwrap()).collect();
        let numbers: HashSet<u16> = all.iter().map(|port| port.address.port()).collect();
        assert_eq!(numbers, (21_004..=21_011).collect());
        assert_eq!(
            pool.listen(address).unwrap_err(),
            "no free port in relay_ports 21004-21011; 8 are in use"
        );
        pool.set_range(21_000..=21_000);
        assert_eq!(pool.listen(address).unwrap().address.port(), 21_000);
        drop(all);
        assert_eq!((pool.in_use(), pool.live().0.len()), (0, 0));
    }

    #[test]
    fn addresses_have_ports_of_their_own_and_a_wrong_one_says_so() {
        let ((pool, address), (_, other)) = (pool(1), pool(1));
        let held = [pool.listen(address).unwrap(), pool.listen(other).unwrap()];
        assert_ne!(held[0].address.ip(), held[1].address.ip());
        let refused = pool.listen("192.0.2.1:0".parse().unwrap()).unwrap_err();
        assert!(refused.starts_with("cannot listen on 192.0.2.1:21000: "), "{refused}");
        assert_eq!(pool.exhausted(), 0);
    }

    #[test]
    fn a_guest_comes_once_on_behalf_of_its_sessions_client() {
        let guests = Guests::default();
        let (client, door): (IpAddr, IpAddr) = ("192.0.2.7".parse().unwrap(), "127.0.0.1".parse().unwrap());
        guests.expect("127.0.0.1:4000".parse().unwrap(), client);
        assert_eq!(guests.visitor("127.0.0.1:4001".parse().unwrap()), door);
        assert_eq!(guests.visitor("[::ffff:127.0.0.1]:4000".parse().unwrap()), client);
        assert_eq!(guests.visitor("127.0.0.1:4000".parse().unwrap()), door);
        for _ in 0..2 * MAX_GUESTS {
            guests.expect("127.0.0.1:4000".parse().unwrap(), client);
        }
        assert_eq!(guests.lock().len(), MAX_GUESTS);
    }
}

//! Sessions that other balancers know of: whoever takes over an address from a host that died without a word ends its clients'
//! connections, which would wait for ever otherwise.
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::config::vrrp as config;
use crate::proto::session_sync::{self, Connection, MAX_DATAGRAM};
use crate::proto::tcp;
use crate::proto::vrrp::Family;
use crate::proxy::{SessionTable, now};
use crate::sys::raw_ip::RawIp;
use crate::sys::sync_socket;

/// Where datagrams go, beside those of LVS' sync daemon (8848).
pub(super) const PORT: u16 = 8849;

/// How soon others hear of a new session.
const NEW_EVERY: Duration = Duration::from_millis(200);

/// How often they hear of all.
const ALL_EVERY: Duration = Duration::from_secs(5);

/// How long a session counts that nobody tells of any more: three times all.
const KNOWN_FOR: Duration = Duration::from_secs(15);

/// Sessions that are kept in mind: many times what one balancer holds, some 5 MB.
const MAX_KNOWN: usize = 65_536;

/// When clients are told after an address has come: once it is there, and again in case that was lost.
const TELL_AFTER: [Duration; 3] =
    [Duration::from_millis(5), Duration::from_millis(200), Duration::from_secs(1)];

/// Clients that are told at once; then others have their turn.
const MAX_TOLD_AT_ONCE: usize = 500;

/// And so long.
const TELL_NEXT_AFTER: Duration = Duration::from_millis(10);

/// Beats that a link may miss while it sends.
const MAX_BATCHES: usize = 8;

/// After a socket could not be opened, for its interface may come.
const OPEN_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// What others have told. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Elsewhere(Arc<Mutex<HashMap<Connection, Instant>>>);

impl Elsewhere {
    fn hear(&self, connections: Vec<Connection>, is_ours: impl Fn(IpAddr) -> bool, now: Instant) {
        let mut known = self.lock();
        let is_wanted = |of: &Connection| of.is_plausible() && is_ours(of.reached.ip());
        for connection in connections.into_iter().filter(is_wanted) {
            let is_full = known.len() >= MAX_KNOWN;
            match known.entry(connection) {
                Entry::Occupied(mut entry) => drop(entry.insert(now)),
                Entry::Vacant(entry) if !is_full => drop(entry.insert(now)),
                Entry::Vacant(_) => {}
            }
        }
    }

    fn forget_old(&self, now: Instant) {
        self.lock().retain(|_, heard| *heard + KNOWN_FOR > now);
    }

    /// Those at these addresses, which are nobody else's any more.
    pub(super) fn take(&self, addresses: &[IpAddr]) -> Vec<Connection> {
        let mut known = self.lock();
        known
            .extract_if(|connection, _| addresses.contains(&connection.reached.ip()))
            .map(|(connection, _)| connection)
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Connection, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes clients of a host that is no more notice it. Returns how many were told.
pub(super) async fn end(connections: Vec<Connection>) -> io::Result<usize> {
    let mut sockets: HashMap<bool, RawIp> = HashMap::new();
    let mut told = 0;
    for (round, delay) in TELL_AFTER.into_iter().enumerate() {
        sleep(delay).await;
        for (number, Connection { client, reached }) in connections.iter().enumerate() {
            if number % MAX_TOLD_AT_ONCE == MAX_TOLD_AT_ONCE - 1 {
                sleep(TELL_NEXT_AFTER).await;
            }
            let Some(packet) = tcp::tickle(*reached, *client) else { continue };
            let socket = match sockets.entry(client.is_ipv4()) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(RawIp::like(*client)?),
            };
            // One that cannot be told now is told in the next round.
            let sent = socket.send(&packet, *client);
            told += usize::from(round == 0 && sent.is_ok());
        }
    }
    Ok(told)
}

/// Tells the other balancers what there is here, and hears what is there, for ever.
pub(super) async fn exchange(config: config::Vrrp, sessions: Arc<SessionTable>, elsewhere: Elsewhere) {
    let mut links: BTreeMap<(String, Family), Link> = BTreeMap::new();
    for instance in &config.instances {
        let link = links.entry((instance.interface.clone(), instance.family())).or_default();
        link.addresses.extend(instance.addresses().map(ipnet::IpNet::addr));
        link.peers.extend(&instance.unicast_peers);
        link.destinations.extend(destinations(instance));
        link.hears_all |= !instance.is_unicast();
    }
    let new = broadcast::Sender::new(MAX_BATCHES);
    let mut talks = JoinSet::new();
    for ((interface, family), link) in links {
        let (sessions, elsewhere, new) = (Arc::clone(&sessions), elsewhere.clone(), new.subscribe());
        talks.spawn(async move { link.keep_talking(&interface, family, &sessions, &elsewhere, new).await });
    }
    let mut ticks = interval(NEW_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        elsewhere.forget_old(now());
        // Also without any: it is the beat of all links.
        let _ = new.send(sessions.take_new_connections());
    }
}

/// Those that share an interface.
#[derive(Debug, Default)]
struct Link {
    addresses: Vec<IpAddr>,
    peers: Vec<IpAddr>,
    destinations: BTreeSet<SocketAddr>,
    /// Some of them have no peers by name.
    hears_all: bool,
}

impl Link {
    async fn keep_talking(
        &self,
        interface: &str,
        family: Family,
        sessions: &SessionTable,
        elsewhere: &Elsewhere,
        mut new: broadcast::Receiver<Vec<Connection>>,
    ) {
        loop {
            match open(interface, family) {
                Ok(socket) => self.talk(&socket, sessions, elsewhere, &mut new).await,
                Err(error) => tracing::debug!(interface, %error, "no socket for session sync"),
            }
            sleep(OPEN_AGAIN_AFTER).await;
        }
    }

    /// Returns when the socket is of no use any more.
    async fn talk(
        &self,
        socket: &UdpSocket,
        sessions: &SessionTable,
        elsewhere: &Elsewhere,
        new: &mut broadcast::Receiver<Vec<Connection>>,
    ) {
        let mut all_at = now();
        let mut buffer = vec![0; MAX_DATAGRAM + 1];
        loop {
            tokio::select! {
                received = socket.recv_from(&mut buffer) => {
                    let Ok((length, source)) = received else { return };
                    let told = session_sync::parse(buffer.get(..length).unwrap_or_default());
                    if let Some(told) = told.filter(|_| self.hears_all || self.peers.contains(&source.ip())) {
                        elsewhere.hear(told, |address| self.addresses.contains(&address), now());
                    }
                }
                beat = new.recv() => {
                    let mut ours = match beat {
                        Ok(new) => new,
                        Err(RecvError::Lagged(_)) => continue,
                        Err(RecvError::Closed) => return,
                    };
                    let now = now();
                    if now >= all_at {
                        all_at = now + ALL_EVERY;
                        ours = sessions.connections();
                    }
                    ours.retain(|connection| self.addresses.contains(&connection.reached.ip()));
                    for datagram in session_sync::encode(&ours) {
                        for destination in &self.destinations {
                            // Whoever did not hear this hears the next.
                            let _ = socket.send_to(&datagram, destination).await;
                        }
                    }
                }
            }
        }
    }
}

fn open(interface: &str, family: Family) -> io::Result<UdpSocket> {
    let any = SocketAddr::new(family.unspecified(), PORT);
    UdpSocket::from_std(sync_socket::open(interface, any, family.group())?)
}

fn destinations(instance: &config::VrrpInstance) -> Vec<SocketAddr> {
    if instance.is_unicast() {
        return instance.unicast_peers.iter().map(|peer| SocketAddr::new(*peer, PORT)).collect();
    }
    vec![SocketAddr::new(instance.family().group(), PORT)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods)] // a starting point
    fn only_sessions_at_our_addresses_are_kept_and_not_for_ever() {
        let start = Instant::now();
        let elsewhere = Elsewhere::default();
        let connection = |port: u16, reached: &str| Connection {
            client: ("198.51.100.7".parse::<IpAddr>().unwrap(), port).into(),
            reached: reached.parse().unwrap(),
        };
        let (ours, other): (IpAddr, IpAddr) = ("192.0.2.10".parse().unwrap(), "192.0.2.11".parse().unwrap());
        let told = vec![
            connection(1, "192.0.2.10:2811"),
            connection(2, "192.0.2.99:2811"),
            connection(3, "192.0.2.11:2811"),
        ];
        elsewhere.hear(told, |address| [ours, other].contains(&address), start);
        elsewhere.forget_old(start + KNOWN_FOR / 2);
        assert_eq!(elsewhere.take(&[ours]), [connection(1, "192.0.2.10:2811")]);
        assert!(elsewhere.take(&[ours]).is_empty(), "told once");
        elsewhere.forget_old(start + KNOWN_FOR);
        assert!(elsewhere.take(&[other]).is_empty());
        let many = (0..=u16::MAX).map(|port| connection(port, "192.0.2.10:2811")).collect();
        elsewhere.hear(many, |_| true, start);
        elsewhere.hear(vec![connection(7, "192.0.2.11:2811")], |_| true, start);
        assert_eq!(elsewhere.lock().len(), MAX_KNOWN);
    }
}

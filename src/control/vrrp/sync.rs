//! Sessions that other balancers know of: whoever takes over an address from a host that died without a word ends its clients'
//! connections, which would wait for ever otherwise.
mod elsewhere;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep};

pub(super) use self::elsewhere::Elsewhere;
use crate::config::vrrp as config;
use crate::proto::session_sync::{self, Connection, MAX_DATAGRAM};
use crate::proto::tcp;
use crate::proto::vrrp::{Family, Role};
use crate::proxy::{SessionTable, now};
use crate::sys::raw_ip::RawIp;
use crate::sys::sync_socket;
use crate::vrrp::Vrrp;
use crate::vrrp::record::{Origin, Record};

/// Where datagrams go, beside those of LVS' sync daemon (8848).
pub(super) const PORT: u16 = 8849;

/// How soon others hear of a new session.
const NEW_EVERY: Duration = Duration::from_millis(200);

/// How often they hear of all.
const ALL_EVERY: Duration = Duration::from_secs(5);

/// When clients are told after an address has come: once it is there, and again in case that was lost.
const TELL_AFTER: [Duration; 3] =
    [Duration::from_millis(5), Duration::from_millis(200), Duration::from_secs(1)];

/// Clients that are told at once; then others have their turn.
const MAX_TOLD_AT_ONCE: usize = 500;

/// And so long.
const TELL_NEXT_AFTER: Duration = Duration::from_millis(10);

/// Beats that a link may miss while it sends.
const MAX_BATCHES: usize = 8;

/// After a socket could not be opened.
const OPEN_AGAIN_AFTER: Duration = Duration::from_secs(2);

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
pub(super) async fn exchange(
    config: config::Vrrp,
    vrrp: Arc<Vrrp>,
    sessions: Arc<SessionTable>,
    elsewhere: Elsewhere,
) {
    let new = broadcast::Sender::new(MAX_BATCHES);
    let mut talks = JoinSet::new();
    let mut talking: BTreeMap<Link, AbortHandle> = BTreeMap::new();
    let mut ticks = interval(NEW_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        elsewhere.forget_old(now());
        // Each time: an interface that is made anew, or has got another address, takes other sockets.
        let links = links(&config, &vrrp.shared().records());
        talking.retain(|link, talk| {
            let stays = links.contains(link);
            if !stays {
                talk.abort();
            }
            stays
        });
        while talks.try_join_next().is_some() {}
        for link in links {
            talking.entry(link).or_insert_with_key(|link| {
                let (link, new) = (link.clone(), new.subscribe());
                let (vrrp, sessions, elsewhere) =
                    (Arc::clone(&vrrp), Arc::clone(&sessions), elsewhere.clone());
                talks.spawn(async move { link.keep_talking(&vrrp, &sessions, &elsewhere, new).await })
            });
        }
        // Also without any: it is the beat of all links.
        let _ = new.send(sessions.take_new_connections());
    }
}

/// Virtual routers that send from the same address of the same interface.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Link {
    origin: Origin,
    /// By their names, with their unicast peers; those without any multicast.
    members: BTreeMap<String, Vec<IpAddr>>,
}

/// Where a datagram has come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    Group,
    Address,
}

/// Of those that can send now.
fn links(config: &config::Vrrp, records: &[Arc<Record>]) -> BTreeSet<Link> {
    let mut links: BTreeMap<Origin, BTreeMap<String, Vec<IpAddr>>> = BTreeMap::new();
    for instance in &config.instances {
        let record = records.iter().find(|record| record.name == instance.name);
        if let Some(origin) = record.and_then(|record| record.situation().origin) {
            let members = links.entry(origin).or_default();
            members.insert(instance.name.clone(), instance.unicast_peers.clone());
        }
    }
    links.into_iter().map(|(origin, members)| Link { origin, members }).collect()
}

impl Link {
    async fn keep_talking(
        &self,
        vrrp: &Vrrp,
        sessions: &SessionTable,
        elsewhere: &Elsewhere,
        mut new: broadcast::Receiver<Vec<Connection>>,
    ) {
        loop {
            match self.open() {
                Ok((own, group)) => {
                    self.talk(&own, group.as_ref(), vrrp, sessions, elsewhere, &mut new).await;
                }
                Err(error) => tracing::debug!(origin = ?self.origin, %error, "no socket for session sync"),
            }
            sleep(OPEN_AGAIN_AFTER).await;
        }
    }

    /// By which it sends, and hears peers; and for those without any the one that hears the group, and no stranger who has only
    /// an address of this host.
    fn open(&self) -> io::Result<(UdpSocket, Option<UdpSocket>)> {
        let Origin { index, address } = self.origin;
        let own = sync_socket::at_address(index, SocketAddr::new(address, PORT))?;
        let group = SocketAddr::new(self.family().group(), PORT);
        let group = self.multicasts().then(|| sync_socket::of_group(index, group)).transpose()?;
        Ok((UdpSocket::from_std(own)?, group.map(UdpSocket::from_std).transpose()?))
    }

    /// Returns when a socket is of no use any more.
    async fn talk(
        &self,
        own: &UdpSocket,
        group: Option<&UdpSocket>,
        vrrp: &Vrrp,
        sessions: &SessionTable,
        elsewhere: &Elsewhere,
        new: &mut broadcast::Receiver<Vec<Connection>>,
    ) {
        let destinations = self.destinations();
        let mut all_at = now();
        let (mut to_address, mut to_group) = (vec![0; MAX_DATAGRAM + 1], vec![0; MAX_DATAGRAM + 1]);
        let hear = |way, source: SocketAddr, datagram: &[u8]| {
            let served = self.served_by(source.ip(), way, &vrrp.shared().records());
            if !served.is_empty()
                && let Some(told) = session_sync::parse(datagram)
            {
                elsewhere.hear(source.ip(), &served, told, now());
            }
        };
        loop {
            tokio::select! {
                received = own.recv_from(&mut to_address) => {
                    let Ok((length, source)) = received else { return };
                    hear(Way::Address, source, to_address.get(..length).unwrap_or_default());
                }
                received = receive(group, &mut to_group) => {
                    let Ok((length, source)) = received else { return };
                    hear(Way::Group, source, to_group.get(..length).unwrap_or_default());
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
                    let addresses = self.addresses(&vrrp.shared().records());
                    ours.retain(|connection| addresses.contains(&connection.reached.ip()));
                    for datagram in session_sync::encode(&ours) {
                        for destination in &destinations {
                            // Whoever did not hear this hears the next.
                            let _ = own.send_to(&datagram, destination).await;
                        }
                    }
                }
            }
        }
    }

    fn family(&self) -> Family {
        Family::of(self.origin.address)
    }

    fn multicasts(&self) -> bool {
        self.members.values().any(Vec::is_empty)
    }

    fn destinations(&self) -> BTreeSet<SocketAddr> {
        let group = self.multicasts().then(|| self.family().group());
        let all = self.members.values().flatten().copied().chain(group);
        all.map(|address| SocketAddr::new(address, PORT)).collect()
    }

    fn addresses(&self, records: &[Arc<Record>]) -> Vec<IpAddr> {
        let ours = records.iter().filter(|record| self.members.contains_key(&record.name));
        ours.flat_map(|record| record.addresses.clone()).collect()
    }

    /// The addresses whose master this is, and of which it tells the way that their virtual router uses: nobody else knows who
    /// is served there.
    fn served_by(&self, source: IpAddr, way: Way, records: &[Arc<Record>]) -> Vec<IpAddr> {
        let is_its = |record: &&Arc<Record>| {
            let is_way = self.members.get(&record.name).is_some_and(|peers| match way {
                Way::Group => peers.is_empty(),
                Way::Address => peers.contains(&source),
            });
            let situation = record.situation();
            let master = situation.master.map(|(address, _)| address);
            is_way && situation.role != Role::Master && master == Some(source)
        };
        records.iter().filter(is_its).flat_map(|record| record.addresses.clone()).collect()
    }
}

async fn receive(socket: Option<&UdpSocket>, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    match socket {
        Some(socket) => socket.recv_from(buffer).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;

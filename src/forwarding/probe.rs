//! The probe: whether a real server answers for an address that is not its own alone.
//!
//! The balancer holds the virtual address itself, so an ordinary connect would reach itself. A SYN in a frame to the server's
//! MAC address takes the way that IPVS has for a client's, and what comes back is read before the kernel's IP has it,
//! which would drop a packet from an address of its own.
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::time::{Instant, sleep, timeout_at};

use crate::proto::netlink::address::{Scope, host_prefix};
use crate::proto::netlink::route::Way;
use crate::proto::tcp::{self, Answer};
use crate::sys::netlink::{NetlinkError, Route};
use crate::sys::packet_conversation::PacketConversation;

/// SYNs, evenly within the time: one may be lost.
const TRIES: u32 = 3;

/// The kernel asks for a MAC address by itself, and does not tell when it has it.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Packets that are read for one try: all come from the address that is asked, and one is enough.
const MAX_PACKETS: usize = 64;

/// Both headers with all their options.
const PACKET: usize = 256;

/// What a datagram that nobody reads is sent to (RFC 863), so that the kernel asks for the MAC address.
const DISCARD: u16 = 9;

/// What a probe has found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The server accepts connections there.
    Answered,
    /// It has the address, and nobody listens.
    Refused,
    /// Nothing comes back.
    Silent,
    /// The server is behind a router, or this host itself.
    NotOnLink,
    /// Nobody on the link has the server's own address.
    NoNeighbour,
    /// Nothing could be found out.
    Failed(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Answered => "the server answers at the virtual address",
            Self::Refused => {
                "the server has the virtual address, but nothing listens there at this port; its listener may be bound to another \
                 address: bind it to all"
            }
            Self::Silent => {
                "the server does not answer at the virtual address: it does not have it, or a firewall of its own is in the \
                 way; there, `gridfront realserver check --vip ADDRESS` tells"
            }
            Self::NotOnLink => {
                "the server is not on a link of this host, which Direct Routing needs; use the address that it has on a common link, or \
                 leave its data to the relay"
            }
            Self::NoNeighbour => {
                "no host on the link has the server's own address; it is down, or the address is wrong"
            }
            Self::Failed(what) => return write!(to, "the server could not be asked: {what}"),
        })
    }
}

/// How the server is reached.
#[derive(Clone, Copy, Debug)]
struct Path {
    index: u32,
    /// Our own address on that link.
    source: IpAddr,
    mac: [u8; 6],
}

/// What is known of it so far.
#[derive(Debug)]
enum Found {
    Path(Path),
    /// The kernel does not know the MAC address, of a link where we have this address; and whether it has given it up.
    Unknown(IpAddr, bool),
    Not(Verdict),
}

/// Asks whether the server with this address answers at `target`, of the same family. What is begun there is ended, too. It takes
/// CAP_NET_RAW.
pub async fn probe(server: IpAddr, target: SocketAddr, within: Duration) -> Verdict {
    if server.is_ipv4() != target.is_ipv4() {
        return Verdict::Failed(format!("{server} and {} are of two families", target.ip()));
    }
    let until = Instant::now() + within;
    let path = match find(server, target.ip(), until).await {
        Ok(path) => path,
        Err(verdict) => return verdict,
    };
    match ask(path, target, until).await {
        Ok(verdict) => verdict,
        Err(error) => Verdict::Failed(error.to_string()),
    }
}

async fn find(server: IpAddr, vip: IpAddr, until: Instant) -> Result<Path, Verdict> {
    let mut is_provoked = false;
    loop {
        // The kernel may have a lock to wait for.
        let found = tokio::task::spawn_blocking(move || look(server, vip)).await;
        match found.unwrap_or_else(|error| Found::Not(Verdict::Failed(error.to_string()))) {
            Found::Path(path) => return Ok(path),
            Found::Not(verdict) => return Err(verdict),
            Found::Unknown(_, true) if is_provoked => return Err(Verdict::NoNeighbour),
            Found::Unknown(source, _) if !is_provoked => {
                // What it says does not matter: the kernel asks first, and the next look shows what it heard.
                let _ =
                    UdpSocket::bind((source, 0)).and_then(|socket| socket.send_to(&[], (server, DISCARD)));
                is_provoked = true;
            }
            Found::Unknown(..) => {}
        }
        if Instant::now() + LOOK_AGAIN_AFTER >= until {
            return Err(Verdict::NoNeighbour);
        }
        sleep(LOOK_AGAIN_AFTER).await;
    }
}

fn look(server: IpAddr, vip: IpAddr) -> Found {
    let failed = |what: String| Found::Not(Verdict::Failed(what));
    let mut route = match Route::open() {
        Ok(route) => route,
        Err(error) => return failed(error.to_string()),
    };
    let way = match route.way_to(server) {
        Ok(Some(way)) => way,
        Ok(None) => return Found::Not(Verdict::NotOnLink),
        Err(error) => return failed(error.to_string()),
    };
    if way.is_routed || !way.is_to_another_host {
        return Found::Not(Verdict::NotOnLink);
    }
    let source = match own_address(&mut route, &way, server, vip) {
        Ok(Some(source)) => source,
        Ok(None) => return failed(format!("this host has no address of its own on the link of {server}")),
        Err(error) => return failed(error.to_string()),
    };
    match route.neighbour(way.index, server) {
        Ok(Some(known)) => match known.mac {
            Some(mac) => Found::Path(Path { index: way.index, source, mac }),
            None => Found::Unknown(source, known.is_given_up),
        },
        Ok(None) => Found::Unknown(source, false),
        Err(error) => failed(error.to_string()),
    }
}

/// The kernel's choice, but for an address of a single host, as virtual ones are: the server may have it, too, and drops
/// what comes from there. IPv6 takes those first that share the longest prefix with the server.
fn own_address(
    route: &mut Route,
    way: &Way,
    server: IpAddr,
    vip: IpAddr,
) -> Result<Option<IpAddr>, NetlinkError> {
    let candidates: Vec<IpAddr> = route
        .addresses()?
        .iter()
        .filter(|one| one.index == way.index && one.address.is_ipv4() == server.is_ipv4())
        .filter(|one| one.address != vip && one.prefix < host_prefix(one.address))
        .filter(|one| !one.is_tentative && !one.is_duplicate && !one.is_deprecated)
        .filter(|one| (one.scope == Scope::Link) == is_of_the_link(server))
        .map(|one| one.address)
        .collect();
    let chosen =
        way.source.filter(|source| candidates.contains(source)).or_else(|| candidates.first().copied());
    Ok(chosen.or_else(|| way.source.filter(|source| *source != vip)))
}

fn is_of_the_link(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

async fn ask(path: Path, target: SocketAddr, until: Instant) -> io::Result<Verdict> {
    // A port that is ours as long as the socket lives, so that no connection of this host gets what is not for it.
    let port = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    port.bind(&SocketAddr::new(path.source, 0).into())?;
    let from = port.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let from = SocketAddr::new(path.source, from.port());
    let sequence = random();

    let conversation = PacketConversation::open(path.index, path.mac, target.ip())?;
    let send = |packet: Option<Vec<u8>>| match packet {
        Some(packet) => conversation.send(&packet),
        None => Ok(()),
    };
    let pause = until.saturating_duration_since(Instant::now()) / TRIES;
    for _ in 0..TRIES {
        send(tcp::syn(from, target, sequence))?;
        let answered = timeout_at(Instant::now() + pause, hear(&conversation, from, target, sequence)).await;
        match answered {
            Ok(Ok(Answer::Accepted)) => {
                send(tcp::reset(from, target, sequence))?;
                return Ok(Verdict::Answered);
            }
            Ok(Ok(Answer::Refused)) => return Ok(Verdict::Refused),
            Ok(Err(error)) => return Err(error),
            Err(_) => {}
        }
    }
    // It may have heard us although we do not hear it.
    send(tcp::reset(from, target, sequence))?;
    Ok(Verdict::Silent)
}

async fn hear(
    conversation: &PacketConversation,
    from: SocketAddr,
    target: SocketAddr,
    sequence: u32,
) -> io::Result<Answer> {
    let mut buffer = [0; PACKET];
    for _ in 0..MAX_PACKETS {
        let packet = conversation.receive(&mut buffer).await?;
        if let Some(answer) = tcp::answer(packet, from, target, sequence) {
            return Ok(answer);
        }
    }
    // Somebody floods us in the server's name; the next try has another go.
    std::future::pending().await
}

/// A number that nobody can know who has not seen it: what keys of hash tables are made of.
fn random() -> u32 {
    let [a, b, c, d, ..] = RandomState::new().hash_one(()).to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_says_what_is_wrong_and_how_to_mend_it() {
        #[rustfmt::skip]
        let table = [
            (Verdict::Answered,            "answers"),
            (Verdict::Refused,             "bind it to all"),
            (Verdict::Silent,              "gridfront realserver check --vip"),
            (Verdict::NotOnLink,           "on a common link"),
            (Verdict::NoNeighbour,         "it is down, or the address is wrong"),
            (Verdict::Failed("so".into()), "could not be asked: so"),
        ];
        for (verdict, words) in table {
            assert!(verdict.to_string().contains(words), "{verdict}");
        }
    }

    #[tokio::test]
    async fn two_families_are_no_question() {
        let (server, target) = ("192.0.2.1".parse().unwrap(), "[2001:db8::10]:50000".parse().unwrap());
        let verdict = probe(server, target, Duration::from_secs(1)).await;
        assert!(matches!(verdict, Verdict::Failed(what) if what.contains("two families")));
    }
}

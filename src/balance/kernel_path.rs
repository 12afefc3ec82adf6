//! Data connections that a session expects the kernel to carry.
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// The kernel as sessions see it.
pub trait KernelPath: fmt::Debug + Send + Sync {
    /// Whether connections to this virtual address may get to this real server, as far as it is known before anybody has
    /// asked for a port.
    fn is_open(&self, server: SocketAddr, virtual_address: IpAddr) -> bool;

    /// Has the kernel carry what is expected. The answer comes once, at once or later, on any thread.
    fn expect(self: Arc<Self>, expectation: Expectation, answer: ExpectationAnswer);

    /// What goes to this carrier is expected no more.
    fn withdraw(&self, expectation: &Expectation, carrier: IpAddr);
}

/// How the answer comes.
pub type ExpectationAnswer = Box<dyn FnOnce(Result<Passage, NoPassage>) + Send>;

/// What a session expects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Expectation {
    /// The control address of the real server.
    pub server: SocketAddr,
    /// Who will connect; anybody when not set.
    pub client: Option<IpAddr>,
    /// Where.
    pub at: SocketAddr,
}

/// Connections are carried as long as this lives; those that are there then are not touched.
#[derive(Debug)]
#[must_use = "dropped, nobody is expected any more"]
pub struct Passage {
    path: Arc<dyn KernelPath>,
    expectation: Expectation,
    carrier: IpAddr,
}

/// Why not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoPassage {
    /// Another server has that port.
    PortTaken,
    /// Not to this server, or not at all.
    Closed,
}

impl Passage {
    /// Of a path that carries it from now on, and is told when this is dropped.
    pub fn new(path: Arc<dyn KernelPath>, expectation: Expectation, carrier: IpAddr) -> Self {
        Self { path, expectation, carrier }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.path.withdraw(&self.expectation, self.carrier);
    }
}

/// Which carrier has which port of which virtual address, and for whom. No two may have one for the same client.
#[derive(Debug, Default)]
pub struct Expectations {
    slices: Vec<Slice>,
    ports: HashMap<SocketAddr, Vec<Expected>>,
    live: usize,
}

#[derive(Clone, Debug)]
struct Slice {
    address: IpAddr,
    ports: RangeInclusive<u16>,
    carrier: IpAddr,
}

#[derive(Debug)]
struct Expected {
    client: Option<IpAddr>,
    carrier: IpAddr,
    holders: u32,
}

/// What has to be done in the kernel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// This port, for this client, goes to the carrier from now on, or not any more.
    Changed,
    /// It was so before, or goes on to be.
    Nothing,
}

/// Another carrier has that port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PortTaken;

impl Expectations {
    /// Ports that are always one carrier's. Returns what is expected otherwise at one of them and has to go: whoever expects it
    /// is not to be served by another carrier.
    pub fn set_slices(
        &mut self,
        slices: impl IntoIterator<Item = (IpAddr, IpAddr, RangeInclusive<u16>)>,
    ) -> Vec<(Option<IpAddr>, SocketAddr)> {
        let slice = |(carrier, address, ports)| Slice { address, ports, carrier };
        self.slices = slices.into_iter().map(slice).collect();
        let slices = &self.slices;
        let mut gone = Vec::new();
        for (at, expected) in &mut self.ports {
            let owner = owner(slices, *at);
            expected.retain(|expected| {
                let stays = owner.is_none_or(|owner| owner == expected.carrier);
                if !stays {
                    gone.push((expected.client, *at));
                }
                stays
            });
        }
        self.ports.retain(|_, expected| !expected.is_empty());
        self.live = self.ports.values().map(Vec::len).sum();
        gone
    }

    /// Expects connections, once more if they are expected already.
    ///
    /// # Errors
    ///
    /// Another carrier has that port, always or for somebody who may be the same client.
    pub fn add(
        &mut self,
        client: Option<IpAddr>,
        at: SocketAddr,
        carrier: IpAddr,
    ) -> Result<Effect, PortTaken> {
        match owner(&self.slices, at) {
            Some(owner) if owner == carrier => return Ok(Effect::Nothing),
            Some(_) => return Err(PortTaken),
            None => {}
        }
        let known = self.ports.entry(at).or_default();
        let is_same = |one: Option<IpAddr>| one.is_none() || client.is_none() || one == client;
        if known.iter().any(|expected| expected.carrier != carrier && is_same(expected.client)) {
            return Err(PortTaken);
        }
        if let Some(expected) = known.iter_mut().find(|expected| expected.client == client) {
            expected.holders += 1;
            return Ok(Effect::Nothing);
        }
        known.push(Expected { client, carrier, holders: 1 });
        self.live += 1;
        Ok(Effect::Changed)
    }

    /// Takes back what [`add`](Self::add) has done, once. What went meanwhile is not there any more.
    pub fn remove(&mut self, client: Option<IpAddr>, at: SocketAddr, carrier: IpAddr) -> Effect {
        let Some(known) = self.ports.get_mut(&at) else { return Effect::Nothing };
        let position =
            known.iter().position(|expected| expected.client == client && expected.carrier == carrier);
        let Some(position) = position else { return Effect::Nothing };
        known[position].holders -= 1;
        if known[position].holders > 0 {
            return Effect::Nothing;
        }
        known.swap_remove(position);
        if known.is_empty() {
            self.ports.remove(&at);
        }
        self.live -= 1;
        Effect::Changed
    }

    /// Everything that is expected besides the slices.
    pub fn iter(&self) -> impl Iterator<Item = (Option<IpAddr>, SocketAddr, IpAddr)> {
        let one = |(at, expected): (&SocketAddr, &Expected)| (expected.client, *at, expected.carrier);
        self.ports.iter().flat_map(move |(at, known)| known.iter().map(move |expected| one((at, expected))))
    }

    /// How many those are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether nothing is expected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }
}

fn owner(slices: &[Slice], at: SocketAddr) -> Option<IpAddr> {
    let has = |slice: &&Slice| slice.address == at.ip() && slice.ports.contains(&at.port());
    slices.iter().find(has).map(|slice| slice.carrier)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "10.0.0.1";
    const OTHER: &str = "10.0.0.2";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn at(port: u16) -> SocketAddr {
        SocketAddr::new(ip("192.0.2.10"), port)
    }

    #[test]
    fn no_client_can_get_to_another_server_than_expects_it() {
        // What is there, and what is asked for at the same port: for whom, by which server.
        #[rustfmt::skip]
        let table = [
            ("same server, same client",  (Some("198.51.100.1"), ONE), (Some("198.51.100.1"), ONE),   Ok(Effect::Nothing)),
            ("same server, other client", (Some("198.51.100.1"), ONE), (Some("198.51.100.2"), ONE),   Ok(Effect::Changed)),
            ("same server, anybody",      (Some("198.51.100.1"), ONE), (None, ONE),                   Ok(Effect::Changed)),
            ("other server, other client", (Some("198.51.100.1"), ONE), (Some("198.51.100.2"), OTHER), Ok(Effect::Changed)),
            ("other server, same client", (Some("198.51.100.1"), ONE), (Some("198.51.100.1"), OTHER), Err(PortTaken)),
            ("other server, anybody",     (Some("198.51.100.1"), ONE), (None, OTHER),                 Err(PortTaken)),
            ("anybody there",             (None, ONE),                 (Some("198.51.100.1"), OTHER), Err(PortTaken)),
            ("anybody, twice",            (None, ONE),                 (None, ONE),                   Ok(Effect::Nothing)),
        ];
        for (name, (client, server), (asked_by, asked_of), expected) in table {
            let mut expectations = Expectations::default();
            assert_eq!(expectations.add(client.map(ip), at(50_000), ip(server)), Ok(Effect::Changed));
            let found = expectations.add(asked_by.map(ip), at(50_000), ip(asked_of));
            assert_eq!(found, expected, "{name}");
            // At another port nothing is in its way.
            assert_eq!(expectations.add(asked_by.map(ip), at(50_001), ip(asked_of)), Ok(Effect::Changed));
        }
    }

    #[test]
    fn what_is_expected_twice_is_there_until_both_have_gone() {
        let mut expectations = Expectations::default();
        let client = Some(ip("198.51.100.1"));
        for _ in 0..2 {
            expectations.add(client, at(50_000), ip(ONE)).unwrap();
        }
        assert_eq!(expectations.len(), 1);
        assert_eq!(expectations.remove(client, at(50_000), ip(OTHER)), Effect::Nothing);
        assert_eq!(expectations.remove(client, at(50_000), ip(ONE)), Effect::Nothing);
        assert_eq!(expectations.remove(client, at(50_000), ip(ONE)), Effect::Changed);
        assert_eq!(expectations.remove(client, at(50_000), ip(ONE)), Effect::Nothing);
        assert!(expectations.is_empty() && expectations.iter().next().is_none());
    }

    #[test]
    fn a_slice_is_its_owners_alone() {
        let mut expectations = Expectations::default();
        let client = Some(ip("198.51.100.1"));
        expectations.add(client, at(50_000), ip(ONE)).unwrap();
        expectations.add(client, at(50_010), ip(OTHER)).unwrap();
        let slices = |carrier| [(ip(carrier), ip("192.0.2.10"), 50_000..=50_009)];
        assert_eq!(expectations.set_slices(slices(OTHER)), [(client, at(50_000))]);
        assert_eq!(expectations.len(), 1);
        assert_eq!(expectations.remove(client, at(50_000), ip(ONE)), Effect::Nothing);
        assert_eq!(expectations.add(client, at(50_009), ip(OTHER)), Ok(Effect::Nothing));
        assert_eq!(expectations.add(client, at(50_009), ip(ONE)), Err(PortTaken));
        assert_eq!(expectations.add(client, at(50_011), ip(ONE)), Ok(Effect::Changed));
        // At another address nobody has one.
        let elsewhere = SocketAddr::new(ip("192.0.2.11"), 50_009);
        assert_eq!(expectations.add(client, elsewhere, ip(ONE)), Ok(Effect::Changed));
        assert!(expectations.set_slices([]).is_empty());
        assert_eq!(expectations.add(client, at(50_009), ip(ONE)), Ok(Effect::Changed));
    }
}

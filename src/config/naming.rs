//! Real servers by name: what the file says, and which servers that means now.
//!
//! ```text
//!   [[real_server]] address = "name" ─▶ NamedServer ─┐
//!   DNS ─▶ Answer ─▶ Resolution (one a question) ────┴─▶ Model::resolved ─▶ real servers with addresses
//! ```
//!
//! An answer that is none changes nothing: servers that have gone are found by their checks, and a name service that has
//! must not take a site with it. Time is an argument.

use super::model::{Model, RealServer, VirtualServer};
use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Soonest that a name is asked for again, whatever its record says: enough for any change that people make.
const SHORTEST_TTL: Duration = Duration::from_secs(5);

/// Latest that a name is asked for again: a slip in a record's TTL can be undone within the hour.
const LONGEST_TTL: Duration = Duration::from_secs(60 * 60);

/// From an answer that was none to the next question.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Most servers of one name; the largest sites have some dozens.
const MAX_ENDPOINTS: usize = 64;

/// What is asked of the name service.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Question {
    /// The addresses of a host.
    Host(String),
    /// Hosts, ports and weights of a service (SRV, RFC 2782).
    Service(String),
}

/// A real server that the file names.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedServer {
    /// Where its addresses come from.
    pub question: Question,
    /// All else that the file says; its address means nothing.
    pub template: RealServer,
    /// Its place among the real servers of the file.
    pub position: usize,
}

/// One server that a name stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// Where it is.
    pub address: IpAddr,
    /// What an SRV record says besides.
    pub service: Option<ServiceRecord>,
    /// Whether it was the only one of its host when it came: it needs no address behind its name then.
    alone: bool,
}

/// What an SRV record says of one host.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ServiceRecord {
    /// The host's name.
    pub target: String,
    /// Its control port.
    pub port: u16,
    /// Its share of sessions, at least 1: 0 in a record means few and not none.
    pub weight: u16,
}

/// What was heard of a question.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// These servers, for so long.
    Found {
        /// In any order.
        servers: Vec<(IpAddr, Option<ServiceRecord>)>,
        /// Until it is to be asked again; within limits.
        ttl: Duration,
    },
    /// The name service says that there are none.
    Nothing,
    /// It says nothing, for this reason.
    Failed(String),
}

/// The records of one kind that a name has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Records<T> {
    /// These, for so long.
    Found(Vec<T>, Duration),
    /// None.
    Missing,
    /// Nobody says.
    Failed(String),
}

/// What is known of one question, over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolution {
    endpoints: Vec<Endpoint>,
    due: Instant,
    trouble: Option<String>,
}

impl Question {
    /// The name that is asked for.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Host(name) | Self::Service(name) => name,
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Answer {
    /// The servers of a host: those of IPv4 where it has any, or else those of IPv6. A host of both families is one
    /// server, and it does not change its family because one of two questions found no answer.
    #[must_use]
    pub fn of_host(v4: Records<IpAddr>, v6: Records<IpAddr>) -> Self {
        match (v4, v6) {
            (Records::Found(addresses, ttl), _) | (Records::Missing, Records::Found(addresses, ttl)) => {
                Self::Found { servers: addresses.into_iter().map(|address| (address, None)).collect(), ttl }
            }
            (Records::Missing, Records::Missing) => Self::Nothing,
            (Records::Failed(why), _) | (Records::Missing, Records::Failed(why)) => Self::Failed(why),
        }
    }

    /// The servers of a service: the hosts of its lowest priority with what `of_host` has found for each, in the same
    /// order. The others are for when these are down, which their checks would know and DNS does not.
    #[must_use]
    pub fn of_service(records: Vec<ServiceRecord>, ttl: Duration, hosts: Vec<Self>) -> Self {
        let (mut servers, mut shortest) = (Vec::new(), ttl);
        for (record, host) in records.into_iter().zip(hosts) {
            match host {
                Self::Found { servers: addresses, ttl } => {
                    shortest = shortest.min(ttl);
                    servers.extend(addresses.into_iter().map(|(address, _)| (address, Some(record.clone()))));
                }
                Self::Nothing => {}
                // Half of an answer would drain the other half.
                Self::Failed(why) => return Self::Failed(format!("{}: {why}", record.target)),
            }
        }
        if servers.is_empty() { Self::Nothing } else { Self::Found { servers, ttl: shortest } }
    }
}

impl ServiceRecord {
    /// Those of the lowest priority among `records` (priority, weight, port, target), each host and port once. A target
    /// of `.` says that there is no such service.
    #[must_use]
    pub fn preferred(records: &[(u16, u16, u16, String)]) -> Vec<Self> {
        let offered = || {
            records.iter().filter(|(.., port, target)| *port != 0 && !["", "."].contains(&target.as_str()))
        };
        let Some(lowest) = offered().map(|(priority, ..)| *priority).min() else { return Vec::new() };
        let mut preferred: Vec<Self> = offered()
            .filter(|(priority, ..)| *priority == lowest)
            .map(|(_, weight, port, target)| Self {
                target: target.trim_end_matches('.').to_owned(),
                port: *port,
                weight: (*weight).max(1),
            })
            .collect();
        preferred.sort();
        preferred.dedup_by(|one, other| (&one.target, one.port) == (&other.target, other.port));
        preferred
    }
}

impl Resolution {
    /// Nothing is known, and it is to be asked at once.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { endpoints: Vec::new(), due: now, trouble: None }
    }

    /// The servers of the last answer that had any, in the order of their addresses.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// When to ask.
    #[must_use]
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Why the last answer was not taken, or not whole; `None` where it was.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Takes an answer that came at `now`. True when there are other servers than before.
    pub fn handle_answer(&mut self, now: Instant, answer: Answer) -> bool {
        let kept = if self.endpoints.is_empty() { "no server is known" } else { "the last answer is kept" };
        match answer {
            Answer::Failed(why) => {
                self.due = now + ASK_AGAIN_AFTER;
                self.trouble = Some(format!("the name service does not answer: {why}; {kept}"));
                false
            }
            Answer::Nothing => {
                self.due = now + ASK_AGAIN_AFTER;
                self.trouble = Some(format!("the name service knows no address; {kept}"));
                false
            }
            Answer::Found { servers, ttl } => {
                self.due = now + ttl.clamp(SHORTEST_TTL, LONGEST_TTL);
                let endpoints = self.successors(servers);
                let changed = endpoints != self.endpoints;
                self.endpoints = endpoints;
                changed
            }
        }
    }

    fn successors(&mut self, mut servers: Vec<(IpAddr, Option<ServiceRecord>)>) -> Vec<Endpoint> {
        servers.sort();
        servers.dedup_by(|one, other| key(one.0, one.1.as_ref()) == key(other.0, other.1.as_ref()));
        let count = servers.len();
        self.trouble = (count > MAX_ENDPOINTS)
            .then(|| format!("it has {count} addresses; the first {MAX_ENDPOINTS} are used"));
        servers.truncate(MAX_ENDPOINTS);
        let host = |service: Option<&ServiceRecord>| service.map(|service| service.target.clone());
        let of_host = |service: Option<&ServiceRecord>| {
            servers.iter().filter(|(_, other)| host(other.as_ref()) == host(service)).count()
        };
        let endpoint = |(address, service): &(IpAddr, Option<ServiceRecord>)| {
            let service = service.as_ref();
            let before = self
                .endpoints
                .iter()
                .find(|before| key(before.address, before.service.as_ref()) == key(*address, service));
            Endpoint {
                address: *address,
                service: service.cloned(),
                alone: before.map_or_else(|| of_host(service) == 1, |before| before.alone),
            }
        };
        servers.iter().map(endpoint).collect()
    }
}

/// What makes a server another one.
fn key(address: IpAddr, service: Option<&ServiceRecord>) -> (IpAddr, Option<u16>) {
    (address, service.map(|service| service.port))
}

impl NamedServer {
    /// The real server that an endpoint of its name is.
    fn real_server(&self, endpoint: &Endpoint) -> RealServer {
        let mut server = self.template.clone();
        server.address = endpoint.address;
        let host = match (&self.question, &endpoint.service) {
            (Question::Host(host), _) => host,
            (Question::Service(_), Some(service)) => {
                server.port = service.port;
                server.weight = service.weight.into();
                server.name.clone_from(&service.target);
                &service.target
            }
            (Question::Service(name), None) => name,
        };
        if let Some(tls) = &mut server.tls {
            tls.name.get_or_insert_with(|| host.trim_end_matches('.').to_owned());
        }
        server.gsi_name.get_or_insert_with(|| host.trim_end_matches('.').to_owned());
        if !endpoint.alone {
            server.name = with_address(&server);
        }
        server
    }
}

/// A name that no other server has.
fn with_address(server: &RealServer) -> String {
    format!("{}:{}:{}", server.name, server.address, server.port)
}

impl Model {
    /// Every name that it has, once.
    #[must_use]
    pub fn questions(&self) -> Vec<Question> {
        let named = self.virtual_servers.iter().flat_map(|server| &server.named_servers);
        let mut questions: Vec<_> = named.map(|server| server.question.clone()).collect();
        questions.sort();
        questions.dedup();
        questions
    }

    /// The configuration with addresses in place of names, which it has no more; and, a line each, what was left out and
    /// why. Without names it is the same.
    #[must_use]
    pub fn resolved<'e>(&self, endpoints: impl Fn(&Question) -> &'e [Endpoint]) -> (Self, Vec<String>) {
        let mut left_out = Vec::new();
        let doors: HashSet<SocketAddr> = self.virtual_servers.iter().flat_map(listening).collect();
        let virtual_servers = self.virtual_servers.iter().map(|server| {
            let real_servers = expanded(server, &doors, &endpoints, &mut left_out);
            VirtualServer { real_servers, named_servers: Vec::new(), ..server.clone() }
        });
        let virtual_servers = virtual_servers.collect();
        (Self { virtual_servers, ..self.clone() }, left_out)
    }
}

fn listening(server: &VirtualServer) -> impl Iterator<Item = SocketAddr> {
    let ports = [Some(server.port), server.tls.as_ref().and_then(|tls| tls.implicit_port)];
    ports
        .into_iter()
        .flatten()
        .flat_map(|port| server.addresses.iter().map(move |&ip| SocketAddr::new(ip, port)))
}

/// Its real servers in the order of the file, each name with all that it stands for.
fn expanded<'e>(
    server: &VirtualServer,
    doors: &HashSet<SocketAddr>,
    endpoints: &impl Fn(&Question) -> &'e [Endpoint],
    left_out: &mut Vec<String>,
) -> Vec<RealServer> {
    let mut names: HashSet<String> = server.real_servers.iter().map(|real| real.name.clone()).collect();
    let at = |real: &RealServer| SocketAddr::new(real.address, real.port);
    let mut addresses: HashSet<SocketAddr> = server.real_servers.iter().map(at).collect();
    let mut written = server.real_servers.iter().cloned();
    let mut named = server.named_servers.iter().peekable();
    let mut all = Vec::new();
    for place in 0..server.real_servers.len() + server.named_servers.len() {
        let Some(next) = named.next_if(|next| next.position == place) else {
            all.extend(written.next());
            continue;
        };
        for endpoint in endpoints(&next.question) {
            let mut real = next.real_server(endpoint);
            let address = at(&real);
            let why = if doors.contains(&address) {
                "which is an address of the door itself"
            } else if address.ip().is_unspecified() || address.ip().is_multicast() {
                "which no server can have"
            } else if !addresses.insert(address) {
                "where there is a real server already"
            } else {
                if !names.insert(real.name.clone()) {
                    real.name = with_address(&real);
                    names.insert(real.name.clone());
                }
                all.push(real);
                continue;
            };
            let (name, question) = (&server.name, &next.question);
            left_out.push(format!("{name}: `{question}` is {address}, {why}: left out; correct the record"));
        }
    }
    all
}

#[cfg(test)]
mod tests;

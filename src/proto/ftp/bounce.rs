//! Which addresses a session may make a server connect to (PORT, EPRT, SPOR).
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::policy::ForeignDataAddresses;

/// Ports below this are refused (RFC 2577 section 3): they belong to services, never to a data connection.
const FIRST_DATA_PORT: u16 = 1024;

/// As whom the session is logged in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Login {
    /// Not at all, so far.
    #[default]
    No,
    /// Anybody could.
    Anonymous,
    /// With an account.
    User,
}

/// The rules of a virtual server.
#[derive(Clone, Debug, Default)]
pub struct BouncePolicy {
    /// `foreign_data_addresses`.
    pub foreign: ForeignDataAddresses,
    /// `trusted_networks`.
    pub trusted: Vec<IpNet>,
    /// Data addresses of every configured real server, for third-party transfers between them.
    pub servers: Vec<IpAddr>,
    /// Where services of our own hosts listen: no data connection has any business there.
    pub services: Vec<SocketAddr>,
}

/// Why an address is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BounceRefusal {
    /// Below 1024.
    #[error("port {} is below {FIRST_DATA_PORT}", .0.port())]
    ReservedPort(SocketAddr),
    /// Loopback, link-local, multicast or no host at all.
    #[error("{} is no host's address on a network", .0.ip())]
    NoHost(SocketAddr),
    /// The door's, and no port that a session has been told.
    #[error("{0} is this balancer's own, and no data connection of a session")]
    Door(SocketAddr),
    /// A control port of the site.
    #[error("{0} is a service of this site")]
    Service(SocketAddr),
    /// Somebody else's.
    #[error("{} is neither your address nor a server of this site; an administrator can add it to trusted_networks", .0.ip())]
    Foreign(SocketAddr),
}

impl BouncePolicy {
    /// Whether a session from `client` may name `target`.
    ///
    /// # Errors
    ///
    /// The rule that forbids it.
    pub fn check(&self, client: IpAddr, login: Login, target: SocketAddr) -> Result<(), BounceRefusal> {
        let client = client.to_canonical();
        let address = target.ip().to_canonical();
        let target = SocketAddr::new(address, target.port());
        if target.port() < FIRST_DATA_PORT {
            return Err(BounceRefusal::ReservedPort(target));
        }
        if is_no_host(address)
            || (address.is_loopback() && !client.is_loopback())
            || (is_link_local(address) && address != client)
        {
            return Err(BounceRefusal::NoHost(target));
        }
        if self.services.contains(&target) {
            return Err(BounceRefusal::Service(target));
        }
        let allowed = address == client || self.is_allowed(login, address);
        if allowed { Ok(()) } else { Err(BounceRefusal::Foreign(target)) }
    }

    /// Whether `peer` may connect to a port that the door has opened for a session from `client`: to whom that port may
    /// be told is the same question as whom the session may name. Its own port is nobody's service, so there is no rule
    /// about ports.
    #[must_use]
    pub fn check_peer(&self, client: IpAddr, login: Login, peer: IpAddr) -> bool {
        let (client, peer) = (client.to_canonical(), peer.to_canonical());
        peer == client || self.is_allowed(login, peer)
    }

    /// Addresses besides the client's own.
    fn is_allowed(&self, login: Login, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&address))
            || match self.foreign {
                ForeignDataAddresses::Deny => false,
                ForeignDataAddresses::ThirdParty => self.servers.contains(&address) || login == Login::User,
                ForeignDataAddresses::Allow => true,
            }
    }
}

fn is_no_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.octets()[0] == 0 || v4.is_multicast() || v4.octets()[0] >= 240,
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_multicast(),
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounce_rules_hold_row_by_row() {
        use ForeignDataAddresses::{Allow, Deny, ThirdParty};
        let ok = "";
        #[rustfmt::skip]
        let table: &[(&str, ForeignDataAddresses, &str, Login, &str, &str)] = &[
            ("own address",             ThirdParty, "192.0.2.7",   Login::Anonymous, "192.0.2.7:5000",       ok),
            ("own, mapped form",        Deny,       "::ffff:192.0.2.7", Login::No,   "192.0.2.7:5000",       ok),
            ("own, low port",           Allow,      "192.0.2.7",   Login::User,      "192.0.2.7:25",         "below"),
            ("real server",             ThirdParty, "192.0.2.7",   Login::Anonymous, "10.0.0.11:50000",      ok),
            ("real server, deny",       Deny,       "192.0.2.7",   Login::User,      "10.0.0.11:50000",      "neither"),
            ("its control port",        Allow,      "192.0.2.7",   Login::User,      "10.0.0.11:2811",       "service"),
            ("its control port, mapped", Allow,     "192.0.2.7",   Login::User,      "[::ffff:10.0.0.11]:2811", "service"),
            ("stranger, anonymous",     ThirdParty, "192.0.2.7",   Login::Anonymous, "198.51.100.1:5000",    "neither"),
            ("stranger, not logged in", ThirdParty, "192.0.2.7",   Login::No,        "198.51.100.1:5000",    "neither"),
            ("stranger, user",          ThirdParty, "192.0.2.7",   Login::User,      "198.51.100.1:5000",    ok),
            ("stranger, user, deny",    Deny,       "192.0.2.7",   Login::User,      "198.51.100.1:5000",    "neither"),
            ("stranger, allow",         Allow,      "192.0.2.7",   Login::Anonymous, "198.51.100.1:5000",    ok),
            ("trusted",                 Deny,       "192.0.2.7",   Login::Anonymous, "203.0.113.9:5000",     ok),
            ("loopback",                Allow,      "192.0.2.7",   Login::User,      "127.0.0.1:5000",       "no host"),
            ("loopback, mapped",        Allow,      "192.0.2.7",   Login::User,      "[::ffff:127.0.0.1]:5000", "no host"),
            ("loopback from loopback",  Allow,      "127.0.0.1",   Login::Anonymous, "127.0.0.2:5000",       ok),
            ("loopback v6",             Allow,      "2001:db8::7", Login::User,      "[::1]:5000",           "no host"),
            ("link-local",              Allow,      "192.0.2.7",   Login::User,      "169.254.1.1:5000",     "no host"),
            ("own link-local",          Deny,       "fe80::7",     Login::Anonymous, "[fe80::7]:5000",       ok),
            ("unspecified",             Allow,      "192.0.2.7",   Login::User,      "0.0.0.0:5000",         "no host"),
            ("this network",            Allow,      "192.0.2.7",   Login::User,      "0.1.2.3:5000",         "no host"),
            ("broadcast",               Allow,      "192.0.2.7",   Login::User,      "255.255.255.255:5000", "no host"),
            ("multicast v6",            Allow,      "2001:db8::7", Login::User,      "[ff02::1]:5000",       "no host"),
        ];
        for &(name, foreign, client, login, target, expected) in table {
            let policy = BouncePolicy {
                foreign,
                trusted: vec!["203.0.113.0/24".parse().unwrap()],
                servers: vec!["10.0.0.11".parse().unwrap()],
                services: vec!["10.0.0.11:2811".parse().unwrap()],
            };
            let verdict = policy.check(client.parse().unwrap(), login, target.parse().unwrap());
            let text = verdict.err().map(|refusal| refusal.to_string()).unwrap_or_default();
            assert!(
                if expected.is_empty() { text.is_empty() } else { text.contains(expected) },
                "{name}: {text:?}"
            );
        }
    }

    #[test]
    fn a_port_of_the_door_lets_in_whom_the_session_may_name() {
        use ForeignDataAddresses::{Allow, Deny, ThirdParty};
        #[rustfmt::skip]
        let table = [
            ("own address",         Deny,       Login::No,        "192.0.2.7",        true),
            ("own, mapped form",    Deny,       Login::No,        "::ffff:192.0.2.7", true),
            ("trusted",             Deny,       Login::Anonymous, "203.0.113.9",      true),
            ("real server, deny",   Deny,       Login::User,      "10.0.0.11",        false),
            ("real server",         ThirdParty, Login::Anonymous, "10.0.0.11",        true),
            ("stranger, anonymous", ThirdParty, Login::Anonymous, "198.51.100.1",     false),
            ("stranger, user",      ThirdParty, Login::User,      "198.51.100.1",     true),
            ("stranger, deny",      Deny,       Login::User,      "198.51.100.1",     false),
            ("stranger, allow",     Allow,      Login::Anonymous, "198.51.100.1",     true),
        ];
        for (name, foreign, login, peer, expected) in table {
            let policy = BouncePolicy {
                foreign,
                trusted: vec!["203.0.113.0/24".parse().unwrap()],
                servers: vec!["10.0.0.11".parse().unwrap()],
                services: vec![],
            };
            let client = "::ffff:192.0.2.7".parse().unwrap();
            assert_eq!(policy.check_peer(client, login, peer.parse().unwrap()), expected, "{name}");
        }
    }
}

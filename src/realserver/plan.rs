//! What is to be done, from what is there. Pure.
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::sys::sysctl::Setting;

/// The interface that has the virtual address: its packets are taken there, and no neighbour ever asks it.
pub const LOOPBACK: &str = "lo";
/// What holds for every interface.
pub const ALL: &str = "all";

/// What the operator wants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wanted {
    /// The virtual addresses.
    pub vips: Vec<IpAddr>,
    /// At which packets for them arrive; otherwise any.
    pub interface: Option<String>,
}

/// What is there.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// What holds for every interface.
    pub all: Values,
    /// Each interface, the loopback included.
    pub interfaces: Vec<Interface>,
    /// Each address: interface, address, length of the prefix.
    pub addresses: Vec<(String, IpAddr, u8)>,
    /// Interfaces by which the default route of IPv4 leads.
    pub default_routes: Vec<String>,
    /// The kernel has IPv6.
    pub has_ipv6: bool,
}

/// One interface.
#[derive(Clone, Debug, Default)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// An administrator has set it up.
    pub is_up: bool,
    /// Its settings.
    pub values: Values,
    /// It has no IPv6.
    pub is_ipv6_disabled: bool,
}

/// Settings of an interface.
#[derive(Clone, Copy, Debug, Default)]
pub struct Values {
    /// See [`Setting`].
    pub arp_ignore: u8,
    /// See [`Setting`].
    pub arp_announce: u8,
    /// See [`Setting`].
    pub rp_filter: u8,
}

/// A setting that is changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "as the kernel calls them")]
pub enum Parameter {
    ArpIgnore,
    ArpAnnounce,
    RpFilter,
}

/// One thing to do.
#[derive(Clone, Debug, Eq, PartialEq)]
#[allow(missing_docs, reason = "words")]
pub enum Step {
    /// Change a setting.
    Set { interface: String, parameter: Parameter, from: u8, to: u8 },
    /// Give the loopback a virtual address.
    AddAddress(IpAddr),
}

/// One thing that was looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// What is the case.
    pub text: String,
    /// What is to be done about it.
    pub cure: Cure,
}

/// What is to be done about a [`Finding`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Cure {
    /// Nothing: it is fit.
    Fit,
    /// Nothing: it is said for whoever wants to know.
    Note,
    /// `setup` does it.
    Steps(Vec<Step>),
    /// The operator does it, like this.
    ByHand(String),
}

/// Looks at everything that `setup` may change or trips over. Settings come before addresses, so that no neighbour hears of one.
#[must_use]
pub fn examine(wanted: &Wanted, host: &Host) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(missing) = missing_interface(wanted, host) {
        findings.push(missing);
        return findings;
    }
    if wanted.vips.iter().any(IpAddr::is_ipv4) {
        findings.push(arp(Parameter::ArpIgnore, wanted, host));
        findings.push(arp(Parameter::ArpAnnounce, wanted, host));
        findings.extend(reverse_path(wanted, host));
    }
    if wanted.vips.iter().any(IpAddr::is_ipv6) {
        findings.push(ipv6(wanted, host));
    }
    if !host.interfaces.iter().any(|one| one.name == LOOPBACK && one.is_up) {
        findings.push(Finding::by_hand("lo is down", "ip link set lo up"));
    }
    findings.extend(wanted.vips.iter().map(|vip| address(*vip, host)));
    findings
}

fn missing_interface(wanted: &Wanted, host: &Host) -> Option<Finding> {
    let name = wanted.interface.as_ref()?;
    let is_there = name != LOOPBACK && host.interfaces.iter().any(|one| one.name == *name);
    let names: Vec<&str> = host.outer().map(|one| one.name.as_str()).collect();
    (!is_there).then(|| {
        Finding::by_hand(
            format!("no packet arrives at an interface {name}"),
            format!("--interface takes one of: {}", names.join(", ")),
        )
    })
}

/// Whether no neighbour hears of the address. The interface that is asked (`arp_ignore`), or asks (`arp_announce`), decides, and for it
/// the higher one of its own value and that of `all`: so `all` does for interfaces of today and tomorrow, `lo` never matters, and
/// what is too high has to be lowered at either place.
fn arp(parameter: Parameter, wanted: &Wanted, host: &Host) -> Finding {
    let concerned: Vec<&Interface> = host
        .outer()
        .filter(|one| wanted.interface.as_ref().is_none_or(|interface| one.name == *interface))
        .collect();
    let all = parameter.of(host.all);
    let at_fault: Vec<&str> = concerned
        .iter()
        .filter(|one| !parameter.is_silent(all.max(parameter.of(one.values))))
        .map(|one| one.name.as_str())
        .collect();
    if at_fault.is_empty() && (!concerned.is_empty() || parameter.is_silent(all)) {
        return Finding::fit(parameter.when_fit());
    }
    let to = parameter.silent();
    let mut steps = Vec::new();
    let is_too_high = all > to && !parameter.is_silent(all);
    if wanted.interface.is_none() && !parameter.is_silent(all) || is_too_high {
        steps.push(Step::set(ALL, parameter, all, to));
    }
    let all = if parameter.is_silent(all) { all } else { to };
    for one in concerned {
        let own = parameter.of(one.values);
        let is_enough = wanted.interface.is_none() && parameter.is_silent(all.max(own));
        if !is_enough && !parameter.is_silent(own) {
            steps.push(Step::set(&one.name, parameter, own, to));
        }
    }
    let names = if at_fault.is_empty() { "an interface".to_owned() } else { at_fault.join(", ") };
    Finding { text: format!("{names} {}", parameter.when_unfit()), cure: Cure::Steps(steps) }
}

/// Strict filtering drops a packet that would not be answered through the interface at which it came. Through the balancer's network
/// come packets of all clients, whose answers take the default route: where that is another interface, they are dropped.
/// Loose filtering (2) is the answer, not none (0), for the higher one of this and that of `all` is in force.
fn reverse_path(wanted: &Wanted, host: &Host) -> Vec<Finding> {
    let arrivals: Vec<&Interface> = host
        .outer()
        .filter(|one| match &wanted.interface {
            Some(interface) => one.name == *interface,
            None => wanted.vips.iter().any(|vip| host.has_network_of(&one.name, *vip)),
        })
        .collect();
    if arrivals.is_empty() {
        let text = "no interface is in the network of the VIP: rp_filter is judged with --interface only";
        return vec![Finding { text: text.into(), cure: Cure::Note }];
    }
    let judge = |one: &&Interface| {
        let name = &one.name;
        let in_force = host.all.rp_filter.max(one.values.rp_filter);
        if in_force != 1 {
            return Finding::fit(format!("{name}: rp_filter {in_force} drops no packet of a client"));
        }
        if host.default_routes.is_empty() || host.default_routes.contains(name) {
            return Finding::fit(format!("{name}: rp_filter is strict, and answers leave there, too"));
        }
        let text = format!(
            "{name}: rp_filter is strict, and drops packets of clients, whose answers leave by {}",
            host.default_routes.join(", ")
        );
        let step = Step::set(name, Parameter::RpFilter, one.values.rp_filter, 2);
        Finding { text, cure: Cure::Steps(vec![step]) }
    };
    arrivals.iter().map(judge).collect()
}

/// Nothing has to be silenced: a neighbour solicitation is answered only for addresses of the interface that it reaches.
fn ipv6(wanted: &Wanted, host: &Host) -> Finding {
    if !host.has_ipv6 {
        return Finding::by_hand("the kernel has no IPv6", "start it without ipv6.disable=1");
    }
    // Where any interface may be the one, one with IPv6 is enough.
    let is_needed = |one: &Interface| match &wanted.interface {
        _ if one.name == LOOPBACK => true,
        Some(interface) => one.name == *interface,
        None => host.outer().all(|outer| outer.is_ipv6_disabled),
    };
    let disabled = host.interfaces.iter().find(|one| one.is_ipv6_disabled && is_needed(one));
    match disabled {
        Some(one) => Finding::by_hand(
            format!("{} has no IPv6", one.name),
            format!("sysctl -w {}=0", Setting::DisableIpv6(false).name(&one.name)),
        ),
        None => Finding::fit("IPv6 is enabled, and needs no silence: lo is never asked"),
    }
}

fn address(vip: IpAddr, host: &Host) -> Finding {
    let host_prefix = prefix(vip);
    let elsewhere = host
        .addresses
        .iter()
        .find(|(at, address, length)| *address == vip && (at != LOOPBACK || *length != host_prefix));
    match elsewhere {
        Some((at, _, length)) if at == LOOPBACK => Finding::by_hand(
            format!("lo has {vip}/{length}, and with it the whole network"),
            format!("ip address del {vip}/{length} dev lo"),
        ),
        Some((at, _, length)) => Finding::by_hand(
            format!("{at} has {vip}, so this host answers for it in the balancer's place"),
            format!("ip address del {vip}/{length} dev {at}, and take it out of the network's configuration"),
        ),
        None if host.addresses.iter().any(|(_, address, _)| *address == vip) => {
            Finding::fit(format!("lo has {vip}/{host_prefix}, and no other interface"))
        }
        None => Finding {
            text: format!("lo does not have {vip}, so its packets are not taken"),
            cure: Cure::Steps(vec![Step::AddAddress(vip)]),
        },
    }
}

/// Of a single host.
#[must_use]
pub const fn prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl Host {
    /// At which packets arrive from elsewhere.
    fn outer(&self) -> impl Iterator<Item = &Interface> {
        self.interfaces.iter().filter(|one| one.name != LOOPBACK)
    }

    fn has_network_of(&self, interface: &str, vip: IpAddr) -> bool {
        let IpAddr::V4(vip) = vip else { return false };
        self.addresses.iter().any(|(at, address, length)| match address {
            IpAddr::V4(address) if at == interface => network(*address, *length) == network(vip, *length),
            _ => false,
        })
    }
}

fn network(address: Ipv4Addr, length: u8) -> u32 {
    address.to_bits().checked_shr(32 - u32::from(length.min(32))).unwrap_or(0)
}

impl Parameter {
    /// With a value.
    #[must_use]
    pub const fn setting(self, value: u8) -> Setting {
        match self {
            Self::ArpIgnore => Setting::ArpIgnore(value),
            Self::ArpAnnounce => Setting::ArpAnnounce(value),
            Self::RpFilter => Setting::ReversePathFilter(value),
        }
    }

    const fn of(self, values: Values) -> u8 {
        match self {
            Self::ArpIgnore => values.arp_ignore,
            Self::ArpAnnounce => values.arp_announce,
            Self::RpFilter => values.rp_filter,
        }
    }

    /// What keeps an address of lo to the host. An `arp_ignore` of 3 answers for addresses of other interfaces, 4 to 7 mean
    /// nothing and 8 answers nobody; an `arp_announce` of 1 names the VIP where it is in the neighbour's network, and more than 2
    /// mean nothing.
    const fn is_silent(self, value: u8) -> bool {
        match self {
            Self::ArpIgnore => matches!(value, 1 | 2 | 8),
            Self::ArpAnnounce => value == 2,
            Self::RpFilter => value != 1,
        }
    }

    const fn silent(self) -> u8 {
        match self {
            Self::ArpIgnore => 1,
            Self::ArpAnnounce | Self::RpFilter => 2,
        }
    }

    const fn when_fit(self) -> &'static str {
        match self {
            Self::ArpIgnore => "arp_ignore: who asks for an address of lo gets no answer",
            Self::ArpAnnounce | Self::RpFilter => "arp_announce: no question names an address of lo",
        }
    }

    const fn when_unfit(self) -> &'static str {
        match self {
            Self::ArpIgnore => "answers ARP for addresses of lo (arp_ignore)",
            Self::ArpAnnounce | Self::RpFilter => {
                "may ask by ARP in the name of an address of lo (arp_announce)"
            }
        }
    }
}

impl Step {
    fn set(interface: &str, parameter: Parameter, from: u8, to: u8) -> Self {
        Self::Set { interface: interface.to_owned(), parameter, from, to }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set { interface, parameter, from, to: value } => {
                write!(to, "set {}: {from} → {value}", parameter.setting(*value).name(interface))
            }
            Self::AddAddress(vip) => write!(to, "add {vip}/{} to lo", prefix(*vip)),
        }
    }
}

impl Finding {
    pub(super) fn fit(text: impl Into<String>) -> Self {
        Self { text: text.into(), cure: Cure::Fit }
    }

    pub(super) fn by_hand(text: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { text: text.into(), cure: Cure::ByHand(mend.into()) }
    }

    /// Whether the host is not fit because of it.
    #[must_use]
    pub const fn is_wrong(&self) -> bool {
        matches!(self.cure, Cure::Steps(_) | Cure::ByHand(_))
    }

    pub(super) fn into_steps(self) -> Vec<Step> {
        match self.cure {
            Cure::Steps(steps) => steps,
            Cure::Fit | Cure::Note | Cure::ByHand(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;

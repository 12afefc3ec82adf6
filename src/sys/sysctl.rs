//! Kernel settings of one interface (`net.ipv4.conf.*` and `net.ipv6.conf.*` of ip-sysctl) and of IPVS (`net.ipv4.vs.*` of
//! ipvs-sysctl), in the network namespace of the thread.
use std::io;
use std::path::Path;

/// Where they are.
const ROOT: &str = "/proc/sys/net";

/// One of them and its value, in the kernel's words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Setting {
    /// `ipv4/arp_ignore`: which questions are answered; 1: those for an address of the interface that is asked.
    ArpIgnore(u8),
    /// `ipv4/arp_announce`: which of its addresses a question names; 2: the best for whom it is.
    ArpAnnounce(u8),
    /// `ipv4/arp_filter`: whether only the interface answers by which packets to the asker would leave.
    ArpFilter(bool),
    /// `ipv4/rp_filter`: which packets are dropped; 1: those that would not be answered by the same interface, 2: those that
    /// could not be answered at all. The higher one of this and that of `all` is in force.
    ReversePathFilter(u8),
    /// `ipv6/accept_dad`: whether an address is asked for before it is used.
    AcceptDad(u8),
    /// `ipv6/addr_gen_mode`: 1: the interface makes itself no link-local address.
    AddressGeneration(u8),
    /// `ipv6/accept_ra`: whether routers are believed.
    AcceptRouterAdvertisements(u8),
    /// `ipv6/autoconf`: whether routers' prefixes become addresses.
    Autoconfiguration(bool),
    /// `ipv6/disable_ipv6`: whether the interface has no IPv6.
    DisableIpv6(bool),
}

/// What the interface of a virtual MAC address needs before it is set up: it answers for its own addresses and no others,
/// although the route to who asks leads through its parent; takes packets for which the same is true, even where `all` is
/// strict; and has no addresses but those that it is given, at once.
pub const OF_A_VIRTUAL_MAC: [Setting; 7] = [
    Setting::ArpIgnore(1),
    Setting::ArpFilter(false),
    Setting::ReversePathFilter(2),
    Setting::AcceptDad(0),
    Setting::AddressGeneration(1),
    Setting::AcceptRouterAdvertisements(0),
    Setting::Autoconfiguration(false),
];

/// What its parent needs, which would otherwise answer for the same addresses with its own MAC address; and where the route of
/// an answer leads through it, would ask in their name, and whom it asks would learn its MAC address.
pub const OF_ITS_PARENT: [Setting; 2] = [Setting::ArpIgnore(1), Setting::ArpAnnounce(2)];

/// A setting that was not made.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {error}; kernel settings are written with CAP_NET_ADMIN, where /proc/sys is not read-only")]
pub struct SysctlError {
    /// The file.
    pub path: String,
    /// Why.
    pub error: io::Error,
}

/// Makes a setting of an interface. Those of IPv6 are left out where the kernel has none.
///
/// # Errors
///
/// The interface has gone, or nobody may write there.
pub fn set(interface: &str, setting: Setting) -> Result<(), SysctlError> {
    let (_, _, value) = setting.words();
    let Some(path) = file(interface, setting)? else { return Ok(()) };
    std::fs::write(&path, value.to_string()).map_err(|error| SysctlError { path, error })
}

/// Has IPVS end connections whose real server was taken out, in place of dropping their packets: their clients are told, by a
/// reset, and need not wait for minutes. Returns whether it was not so. It is of both families.
///
/// # Errors
///
/// There is no IPVS, or nobody may write there.
pub fn end_connections_without_server() -> Result<bool, SysctlError> {
    let path = format!("{ROOT}/ipv4/vs/expire_nodest_conn");
    let set = std::fs::read_to_string(&path).and_then(|value| match value.trim() {
        "0" => std::fs::write(&path, "1").map(|()| true),
        _ => Ok(false),
    });
    set.map_err(|error| SysctlError { path, error })
}

/// The value that this setting of an interface has now, whatever `setting` says; nothing if it is one of IPv6 and the kernel
/// has none.
///
/// # Errors
///
/// The interface has gone (`NotFound`), or has a value that no setting of ours has.
pub fn get(interface: &str, setting: Setting) -> Result<Option<u8>, SysctlError> {
    let Some(path) = file(interface, setting)? else { return Ok(None) };
    let read = std::fs::read_to_string(&path)
        .and_then(|text| text.trim().parse().map_err(|_| io::ErrorKind::InvalidData.into()));
    read.map(Some).map_err(|error| SysctlError { path, error })
}

/// Writes the value that there was before `setting` was made, unless somebody has made another since.
///
/// # Errors
///
/// As [`set`] and [`get`].
pub fn put_back(interface: &str, setting: Setting, before: u8) -> Result<(), SysctlError> {
    let Some(path) = file(interface, setting)? else { return Ok(()) };
    if get(interface, setting)? != Some(setting.value()) {
        return Ok(());
    }
    std::fs::write(&path, before.to_string()).map_err(|error| SysctlError { path, error })
}

fn file(interface: &str, setting: Setting) -> Result<Option<String>, SysctlError> {
    let (family, key, _) = setting.words();
    let path = format!("{ROOT}/{family}/conf/{interface}/{key}");
    // No interface is called like this, and no other file is meant.
    let is_name = !["", ".", ".."].contains(&interface) && !interface.contains('/');
    if !is_name {
        return Err(SysctlError { path, error: io::ErrorKind::InvalidInput.into() });
    }
    if family == "ipv6" && !Path::new(ROOT).join(family).exists() {
        return Ok(None);
    }
    Ok(Some(path))
}

impl Setting {
    /// As sysctl(8) calls it: a dot in the name of an interface, such as that of a VLAN, is a slash there.
    #[must_use]
    pub fn name(self, interface: &str) -> String {
        let (family, key, _) = self.words();
        format!("net.{family}.conf.{}.{key}", interface.replace('.', "/"))
    }

    /// Its file's name.
    #[must_use]
    pub fn key(self) -> &'static str {
        self.words().1
    }

    /// In the kernel's words.
    #[must_use]
    pub fn value(self) -> u8 {
        self.words().2
    }

    fn words(self) -> (&'static str, &'static str, u8) {
        match self {
            Self::ArpIgnore(value) => ("ipv4", "arp_ignore", value),
            Self::ArpAnnounce(value) => ("ipv4", "arp_announce", value),
            Self::ArpFilter(value) => ("ipv4", "arp_filter", value.into()),
            Self::ReversePathFilter(value) => ("ipv4", "rp_filter", value),
            Self::AcceptDad(value) => ("ipv6", "accept_dad", value),
            Self::AddressGeneration(value) => ("ipv6", "addr_gen_mode", value),
            Self::AcceptRouterAdvertisements(value) => ("ipv6", "accept_ra", value),
            Self::Autoconfiguration(value) => ("ipv6", "autoconf", value.into()),
            Self::DisableIpv6(value) => ("ipv6", "disable_ipv6", value.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_of_a_vlan_is_named_as_sysctl_takes_it() {
        assert_eq!(Setting::ArpIgnore(1).name("eth0.100"), "net.ipv4.conf.eth0/100.arp_ignore");
    }

    #[test]
    fn no_name_leads_to_another_file() {
        for name in ["", ".", "..", "../all", "eth0/../all", "/etc"] {
            let error = set(name, Setting::ArpIgnore(1)).unwrap_err();
            assert_eq!(error.error.kind(), io::ErrorKind::InvalidInput, "{name:?}");
        }
        let error = set("no-such-link", Setting::ArpIgnore(1)).unwrap_err().to_string();
        assert!(error.starts_with("/proc/sys/net/ipv4/conf/no-such-link/arp_ignore: "), "{error}");
    }
}

//! IP addresses and networks as people write them, and the slips they make.
use super::error::shown;
use super::model::GSIFTP_PORT;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// What is wrong with what was written, and the mend.
pub(super) type Refusal = (String, String);

/// Reads the address of a host that a socket can connect to.
///
/// # Errors
///
/// When it is none, or one no host can have.
pub(super) fn parse_host(text: &str) -> Result<IpAddr, Refusal> {
    let address = parse(text)?;
    if address.is_unspecified() {
        return Err((
            format!("`{text}` is no host's address"),
            "write the address that the host is reached at".into(),
        ));
    }
    Ok(address)
}

/// Reads the address of a service on a host, with a port or with GridFTP's own: `192.0.2.99`, `[2001:db8::9]:2811`.
///
/// # Errors
///
/// When it is neither, or an address no host can have.
pub(super) fn parse_service(text: &str) -> Result<SocketAddr, Refusal> {
    let with_port = text.parse::<SocketAddr>().ok();
    if with_port.is_some_and(|address| address.port() == 0) {
        return Err((
            format!("`{text}` has port 0"),
            format!("write a port, or leave it out for {GSIFTP_PORT}"),
        ));
    }
    let host = match with_port {
        Some(address) => address.ip().to_string(),
        None => text.to_owned(),
    };
    Ok(SocketAddr::new(parse_host(&host)?, with_port.map_or(GSIFTP_PORT, |address| address.port())))
}

/// Reads an address to listen on; `0.0.0.0` and `::` mean every address of the family.
///
/// # Errors
///
/// When it is none, or one that cannot be listened on.
pub(super) fn parse(text: &str) -> Result<IpAddr, Refusal> {
    let address: IpAddr = text.parse().map_err(|_| slip(text))?;
    let other = |what: &str, mend: &str| Err((format!("`{text}` {what}"), mend.to_owned()));
    match address {
        IpAddr::V6(v6) if let Some(v4) = v6.to_ipv4_mapped() => {
            other("is an IPv4 address in IPv6 form", &format!("write \"{v4}\""))
        }
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            other("is link-local, which needs an interface besides", "write a global or unique local address")
        }
        _ if address.is_multicast() => other("is a multicast address", "write the address of one host"),
        IpAddr::V4(v4) if v4.is_broadcast() => {
            other("is the broadcast address", "write the address of one host")
        }
        _ => Ok(address),
    }
}

/// Reads the address of a host on a network that is known, which may be link-local.
///
/// # Errors
///
/// When it is none, or one no host can have.
pub(super) fn parse_on_link(text: &str) -> Result<IpAddr, Refusal> {
    match text.parse() {
        Ok(address @ IpAddr::V6(v6)) if v6.is_unicast_link_local() => Ok(address),
        _ => parse_host(text),
    }
}

/// Reads a virtual address with the network that it is in, `192.0.2.10/24`; alone without a prefix length.
///
/// # Errors
///
/// When it is none, or one no host can have.
pub(super) fn parse_virtual(text: &str) -> Result<IpNet, Refusal> {
    let (host, prefix) = match text.split_once('/') {
        Some((host, prefix)) => (host, Some(prefix)),
        None => (text, None),
    };
    if let Some((address, rest)) = text.split_once(char::is_whitespace)
        && !rest.trim().is_empty()
    {
        let what = format!("`{}` has more than an address", shown(text));
        return Err((what, format!("write \"{}\" alone", shown(address))));
    }
    let address = parse_on_link(host)?;
    let Some(prefix) = prefix else { return Ok(IpNet::from(address)) };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let length = prefix.parse().ok().filter(|length| (1..=longest).contains(length));
    let network = length.and_then(|length| IpNet::new(address, length).ok()).ok_or_else(|| {
        let what = format!("`{}` has no prefix length behind the `/`", shown(text));
        (what, format!("write a number from 1 to {longest} there"))
    })?;
    if let IpNet::V4(v4) = network
        && v4.prefix_len() < 31
        && [v4.network(), v4.broadcast()].contains(&v4.addr())
    {
        let what = format!("`{text}` is the first or last address of its network, which no host can have");
        return Err((what, "write an address between them, or the right prefix length".into()));
    }
    Ok(network)
}

/// Reads an address to listen on with its port, `127.0.0.1:9281` or `[::1]:9281`.
///
/// # Errors
///
/// When it is none, or one that cannot be listened on.
pub(super) fn parse_socket(text: &str) -> Result<SocketAddr, Refusal> {
    let mend = || "write an address and a port, such as \"127.0.0.1:9281\" or \"[::1]:9281\"".to_owned();
    let Ok(socket) = text.parse::<SocketAddr>() else {
        return Err((format!("`{}` is not an IP address with a port", shown(text)), mend()));
    };
    if socket.port() == 0 {
        return Err((format!("`{text}` has no port"), mend()));
    }
    // What an address may not be it may not be with a port, either; a zone is not in its text any more.
    match socket {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => parse(&format!("{}%{}", v6.ip(), v6.scope_id()))?,
        _ => parse(&socket.ip().to_string())?,
    };
    Ok(socket)
}

/// Reads `192.0.2.0/24`, or a single address as the network of itself alone.
///
/// # Errors
///
/// When it is neither, or when the address has bits beyond the prefix.
pub(super) fn parse_network(text: &str) -> Result<IpNet, Refusal> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    let network: IpNet = text.parse().map_err(|_| {
        (
            format!("`{}` is not a network", shown(text)),
            "write an address and a prefix length, such as \"192.0.2.0/24\"".into(),
        )
    })?;
    let trunc = network.trunc();
    if trunc == network {
        Ok(network)
    } else {
        Err((format!("`{text}` has bits beyond its prefix"), format!("write \"{trunc}\"")))
    }
}

fn slip(text: &str) -> Refusal {
    let what = format!("`{}` is not an IP address", shown(text));
    let inner = text.trim().trim_start_matches('[').trim_end_matches(']');
    let host = |text: &str| text.parse::<IpAddr>().ok();
    let mend = if let Ok(socket) = text.trim().parse::<SocketAddr>() {
        format!("write \"{}\", and the port as `port = {}`", socket.ip(), socket.port())
    } else if let Ok(network) = text.trim().parse::<IpNet>() {
        format!("write \"{}\", without the prefix length", network.addr())
    } else if let Some(address) = host(inner) {
        format!("write \"{address}\"")
    } else if let Some((address, _)) = inner.split_once('%')
        && host(address).is_some()
    {
        "addresses with a zone are not in this version, write a global or unique local address".into()
    } else if is_host_name(inner) {
        return (format!("`{}` is a name", shown(text)), "write the IP address".into());
    } else {
        "write one such as \"192.0.2.10\" or \"2001:db8::10\"".into()
    };
    (what, mend)
}

/// Reads the name of a host or a service, as the name service knows it.
///
/// # Errors
///
/// When it can be none.
pub(super) fn parse_name(text: &str) -> Result<String, Refusal> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=MAX_LABEL_LEN).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    // Digits and dots alone are an address that was mistyped.
    if name.len() <= MAX_NAME_LEN
        && name.split('.').all(is_label)
        && name.bytes().any(|byte| byte.is_ascii_alphabetic())
    {
        return Ok(text.to_ascii_lowercase());
    }
    let what = format!("`{}` is not a name", shown(text));
    let mend = match text.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => {
            format!("write \"{}\", and the port as `port = {port}`", shown(name))
        }
        _ => "write one such as \"s1.example.org\"".into(),
    };
    Err((what, mend))
}

/// Reads a name server: an address, with a port where that is not 53.
///
/// # Errors
///
/// When it is none.
pub(super) fn parse_nameserver(text: &str) -> Result<SocketAddr, Refusal> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 && !address.ip().is_unspecified() => Ok(address),
        _ => parse_host(text).map(|ip| SocketAddr::new(ip, DNS_PORT)),
    }
}

const DNS_PORT: u16 = 53;

/// Longest part of a name between two dots, and longest name, in bytes (RFC 1035 section 2.3.4).
pub(super) const MAX_LABEL_LEN: usize = 63;
const MAX_NAME_LEN: usize = 253;

/// Whether this looks like a name and not like an address.
pub(super) fn is_host_name(text: &str) -> bool {
    let port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let name = text.rsplit_once(':').filter(|(_, after)| port(after)).map_or(text, |(name, _)| name);
    name.bytes().any(|byte| byte.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

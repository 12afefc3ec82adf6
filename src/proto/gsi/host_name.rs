//! Whether a host's certificate is for the host that was meant: RFC 2818 section 3.1 as Globus reads it (`STRICT_RFC2818`, its default).
use std::net::IpAddr;

use x509_cert::der::Tag;

use super::certificate::{Certificate, oid};
use super::der::{Element, context_primitive};
use super::name::trailing_common_name;

/// Kinds of GeneralName, RFC 5280 section 4.2.1.6.
const DNS_NAME: u32 = 2;
const IP_ADDRESS: u32 = 7;

/// How much of a certificate's names an error repeats, in bytes.
const MAX_NAMES_SHOWN: usize = 200;

/// The certificate is somebody else's.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the certificate is not for {expected}, but for {found}")]
pub struct NameMismatch {
    /// Who was meant.
    pub expected: String,
    /// Whom the certificate names.
    pub found: String,
}

/// The names and the address of a host that is meant; one of them in the certificate is enough.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HostNames {
    /// Names as somebody wrote them; they are not looked up.
    pub names: Vec<String>,
    /// The address that was connected to.
    pub address: Option<IpAddr>,
}

impl HostNames {
    /// Checks the alternative names; where they name no host, the common name, with or without a service such as `host/` before it.
    pub(super) fn check(&self, certificate: &Certificate) -> Result<(), NameMismatch> {
        let Some(hosts) = self.hosts(certificate)? else { return Ok(()) };
        let is_meant = |host: &String| self.names.iter().any(|name| matches(host, name));
        if hosts.iter().any(is_meant) { Ok(()) } else { Err(self.mismatch(&hosts)) }
    }

    /// Whether a certificate is for the holder of one of the names, or of the address.
    pub fn cover(&self, certificate: &Certificate) -> bool {
        self.check(certificate).is_ok()
    }

    /// The hosts that a certificate names, as it names them; nothing where its names cannot be read.
    pub fn of(certificate: &Certificate) -> Vec<String> {
        Self::default().hosts(certificate).unwrap_or_default().unwrap_or_default()
    }

    /// The names of hosts; `None` where the address is among the alternative names, which settles it.
    fn hosts(&self, certificate: &Certificate) -> Result<Option<Vec<String>>, NameMismatch> {
        let mut hosts = Vec::new();
        if let Some(extension) = certificate.extension(&oid::SUBJECT_ALTERNATIVE_NAME) {
            let mut rest = match Element::only(extension.value, Tag::Sequence, "it is no SEQUENCE") {
                Ok(list) => list.inside(),
                Err(_) => return Err(self.mismatch(&["a name that cannot be read".to_owned()])),
            };
            while let Ok(name) = rest.next() {
                if name.tag == context_primitive(DNS_NAME) {
                    hosts.push(String::from_utf8_lossy(name.content).into_owned());
                } else if name.tag == context_primitive(IP_ADDRESS)
                    && self.address.is_some_and(|address| is_address(address, name.content))
                {
                    return Ok(None);
                }
            }
        }
        if hosts.is_empty()
            && let Some(common_name) = trailing_common_name(certificate.subject())
        {
            let text = String::from_utf8_lossy(common_name);
            hosts.push(text.rsplit('/').next().unwrap_or(&text).to_owned());
        }
        Ok(Some(hosts))
    }

    fn mismatch(&self, hosts: &[String]) -> NameMismatch {
        let mut found = if hosts.is_empty() { "no host".to_owned() } else { hosts.join(", ") };
        if found.len() > MAX_NAMES_SHOWN {
            let end = (0..=MAX_NAMES_SHOWN).rev().find(|&end| found.is_char_boundary(end)).unwrap_or(0);
            found.truncate(end);
            found.push('…');
        }
        NameMismatch { expected: self.names.join(" or "), found }
    }
}

fn is_address(address: IpAddr, bytes: &[u8]) -> bool {
    match address {
        IpAddr::V4(address) => address.octets() == bytes,
        IpAddr::V6(address) => address.octets() == bytes,
    }
}

/// Whether the name of a certificate covers a host; `*` stands for one label, or its end, in the leftmost place only.
fn matches(pattern: &str, host: &str) -> bool {
    let (pattern, host) = (pattern.trim_end_matches('.'), host.trim_end_matches('.'));
    if host.is_empty() {
        return false;
    }
    let Some((wild, rest)) = pattern.split_once('.').filter(|(label, _)| label.ends_with('*')) else {
        return pattern.eq_ignore_ascii_case(host);
    };
    let Some((label, above)) = host.split_once('.') else { return false };
    let start = wild.trim_end_matches('*');
    // `*.org` covers too much.
    rest.contains('.')
        && above.eq_ignore_ascii_case(rest)
        && label.len() > start.len()
        && label.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_by_label() {
        #[rustfmt::skip]
        let table: &[(&str, &str, bool)] = &[
            ("s1.grid.org",    "s1.grid.org",     true),
            ("S1.Grid.org",    "s1.gRID.org",     true),
            ("s1.grid.org",    "s1.grid.org.",    true),
            ("s1.grid.org",    "s2.grid.org",     false),
            ("s1.grid.org",    "x.s1.grid.org",   false),
            ("*.grid.org",     "s1.grid.org",     true),
            ("s*.grid.org",    "s1.grid.org",     true),
            ("s*.grid.org",    "t1.grid.org",     false),
            ("*.grid.org",     "a.b.grid.org",    false),
            ("*.grid.org",     "grid.org",        false),
            ("*.grid.org",     ".grid.org",       false),
            ("*.org",          "grid.org",        false),
            ("*",              "localhost",       false),
            ("s1.*.org",       "s1.grid.org",     false),
            ("",               "",                false),
        ];
        for &(pattern, host, expected) in table {
            assert_eq!(matches(pattern, host), expected, "{pattern} {host}");
        }
    }
}

//! `[virtual_server.tls]`, and `tls` of a real server.
use std::net::IpAddr;
use std::path::PathBuf;

use crate::config::address::{MAX_LABEL_LEN, Refusal};
use crate::config::consistency::DoorTlsPlaces;
use crate::config::error::{Findings, shown};
use crate::config::model::{ServerTls, ServerTlsMode, Tls};
use crate::config::reader::{Kind, Section};

pub(super) const DOOR_TLS: Kind =
    Kind { header: "[virtual_server.tls]", keys: &["certificate", "key", "implicit_port", "required"] };

pub(super) const SERVER_TLS: Kind =
    Kind { header: "[virtual_server.real_server.tls]", keys: &["mode", "trust_anchors", "name", "verify"] };

/// The door's own. Without a file name that could be read it is as if it were not there.
pub(super) fn read_door_tls(section: &Section<'_>) -> (Option<Tls>, DoorTlsPlaces) {
    let file = |key, mend| section.required(key, mend).and_then(|field| field.parsed(absolute_path));
    let certificate =
        file("certificate", "add `certificate = \"…\"`, a PEM file with the host's certificate");
    let key = file("key", "add `key = \"…\"`, the PEM file of the certificate's private key");
    let implicit_port = section.field("implicit_port");
    let port = implicit_port.and_then(|field| field.number(&(1..=u16::MAX)));
    let required = section.field("required").and_then(|field| field.boolean()).unwrap_or_default();
    let places = DoorTlsPlaces { header: section.at, implicit_port: implicit_port.map(|field| field.at) };
    let tls = certificate.zip(key).map(|(certificate, key)| Tls {
        certificate,
        key,
        implicit_port: port,
        required,
    });
    (tls, places)
}

/// That between door and real server.
pub(super) fn read_server_tls(section: &Section<'_>, findings: &Findings) -> ServerTls {
    let mode = section
        .field("mode")
        .and_then(|field| field.word::<String>(&["explicit", "implicit"], &[]))
        .map_or(ServerTlsMode::Explicit, |mode| match mode.as_str() {
            "implicit" => ServerTlsMode::Implicit,
            _ => ServerTlsMode::Explicit,
        });
    let anchors = section.field("trust_anchors");
    let name = section.field("name");
    let verify = section.field("verify");
    let verified = verify.and_then(|field| field.boolean()).unwrap_or(true);
    if verified && anchors.is_none() {
        findings.error(
            verify.map_or(section.at, |field| field.at),
            "the server's certificate is to be verified, and there are no `trust_anchors`",
            "add `trust_anchors = \"…\"`, a PEM file of the certificates that signed it (or `verify = false`, and \
             anybody between door and server can read along)",
        );
    }
    if !verified && let Some(unused) = anchors.or(name) {
        findings.warning(
            unused.at,
            "`trust_anchors` and `name` are not used with `verify = false`",
            "remove them, or remove `verify`",
        );
    }
    ServerTls {
        mode,
        trust_anchors: anchors.and_then(|field| field.parsed(absolute_path)),
        name: name.and_then(|field| field.parsed(certificate_name)),
        verify: verified,
    }
}

/// A file. A relative name would mean another one in a shell than in a service.
pub(super) fn absolute_path(text: &str) -> Result<PathBuf, Refusal> {
    if text.starts_with('/') && !text.contains('\0') {
        return Ok(PathBuf::from(text));
    }
    Err((format!("`{}` is not an absolute path", shown(text)), "write one that begins with `/`".into()))
}

/// What a certificate can be issued to: a DNS name or an IP address.
pub(super) fn certificate_name(text: &str) -> Result<String, Refusal> {
    let is_label = |label: &str| {
        (1..=MAX_LABEL_LEN).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    if text.parse::<IpAddr>().is_ok() || text.split('.').all(is_label) {
        return Ok(text.to_owned());
    }
    Err((
        format!("`{}` is neither a host name nor an IP address", shown(text)),
        "write the name that is in the server's certificate".into(),
    ))
}

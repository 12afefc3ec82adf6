//! `[virtual_server.gsi]`.
use std::path::PathBuf;

use super::tls::absolute_path;
use super::{MAX_SESSIONS, located};
use crate::balance::{IdentityRules, NamePattern};
use crate::config::address::{self, Refusal};
use crate::config::error::{Findings, enumeration, shown};
use crate::config::model::{BackendLogin, Gsi};
use crate::config::reader::{Kind, Section};

pub(super) const GSI: Kind = Kind {
    header: "[virtual_server.gsi]",
    keys: &[
        "mode",
        "certificate",
        "key",
        "trust_anchors",
        "backend_login",
        "passthrough_networks",
        "allow_dn",
        "deny_dn",
        "max_sessions_per_dn",
        "persistence",
    ],
};

/// Where sites have them (GSI C, "sysconfig").
const HOST_CERTIFICATE: &str = "/etc/grid-security/hostcert.pem";
const HOST_KEY: &str = "/etc/grid-security/hostkey.pem";
const TRUST_ANCHORS: &str = "/etc/grid-security/certificates";

/// Nothing where GSI does not end at the door.
pub(super) fn read_gsi(section: &Section<'_>, findings: &Findings) -> Option<Gsi> {
    let mode =
        section.field("mode").and_then(|field| field.word::<String>(&["passthrough", "terminate"], &[]));
    // Of one that cannot be read the error is told; for what is said of the rest of the file GSI ends here all the same.
    let path = |key, default: &str| {
        let written = section.field(key).and_then(|field| field.parsed(absolute_path));
        written.unwrap_or_else(|| PathBuf::from(default))
    };
    let (certificate, key) = (path("certificate", HOST_CERTIFICATE), path("key", HOST_KEY));
    let trust_anchors = path("trust_anchors", TRUST_ANCHORS);
    let identities = read_identities(section, findings);
    if mode.as_deref() == Some("terminate") {
        let backend_login = read_backend_login(section, &identities, findings);
        return Some(Gsi { certificate, key, trust_anchors, identities, backend_login });
    }
    let unused = GSI.keys.iter().filter(|key| **key != "mode").filter_map(|key| section.field(key));
    if let Some(first) = unused.map(|field| field.at).min() {
        findings.warning(
            first,
            "of `[virtual_server.gsi]` no other key is used with `mode = \"passthrough\"`",
            "remove it, or write `mode = \"terminate\"` to end GSI at the door",
        );
    }
    None
}

/// Where the door reads no names, nothing that goes by names can hold.
fn read_backend_login(
    section: &Section<'_>,
    identities: &IdentityRules,
    findings: &Findings,
) -> BackendLogin {
    let word = section.field("backend_login");
    let word = word.and_then(|field| field.word::<String>(&["delegated", "passthrough"], &[]));
    let passes_all = word.as_deref() == Some("passthrough");
    let field = section.field("passthrough_networks");
    let networks = field.map(|field| located(&field, |item| item.parsed(address::parse_network)).0);
    if let (true, Some(field)) = (passes_all, field) {
        field.error(
            "`passthrough_networks` says nothing beside `backend_login = \"passthrough\"`, which holds for every client",
            "remove one of the two",
        );
    }
    let by_name = [
        ("allow_dn", !identities.allow.is_empty()),
        ("deny_dn", !identities.deny.is_empty()),
        ("max_sessions_per_dn", identities.max_sessions.is_some()),
        ("persistence", identities.persistent),
    ];
    let by_name: Vec<&str> =
        by_name.into_iter().filter_map(|(key, is_used)| is_used.then_some(key)).collect();
    if passes_all {
        for key in by_name {
            findings.error(
                section.field(key).map_or(section.at, |field| field.at),
                format!("`{key}` goes by names, and with `backend_login = \"passthrough\"` the door reads none"),
                "remove it and let the real servers judge (grid-mapfile), or write `backend_login = \"delegated\"`",
            );
        }
        return BackendLogin::Passthrough;
    }
    let networks = networks.unwrap_or_default();
    if let (Some(field), false, false) = (field, networks.is_empty(), by_name.is_empty()) {
        let whose: Vec<String> = networks.iter().map(ToString::to_string).collect();
        findings.warning(
            field.at,
            format!(
                "the names of clients in {} are not read: {} {} not hold for them",
                shown(&whose.join(", ")),
                enumeration(&by_name),
                if by_name.len() == 1 { "does" } else { "do" },
            ),
            "let the real servers judge them (grid-mapfile), or list no more than the networks that need it",
        );
    }
    BackendLogin::Delegated(networks)
}

fn read_identities(section: &Section<'_>, findings: &Findings) -> IdentityRules {
    let patterns = |key| {
        let items = section.field(key).map(|field| field.list()).unwrap_or_default();
        items.into_iter().filter_map(|item| Some((item.parsed(name_pattern)?, item.at))).collect::<Vec<_>>()
    };
    let (allow, deny) = (patterns("allow_dn"), patterns("deny_dn"));
    for (pattern, at) in &deny {
        if allow.iter().any(|(allowed, _)| allowed == pattern) {
            findings.warning(
                *at,
                format!("`{pattern}` is in `allow_dn` as well: its users are denied"),
                "remove it from one of the two",
            );
        }
    }
    if let Some(field) = section.field("allow_dn")
        && field.list_is_empty()
    {
        field.error("`allow_dn` is empty", "write who may come in, or remove it: then everybody may");
    }
    let without_place =
        |patterns: Vec<(NamePattern, usize)>| patterns.into_iter().map(|(it, _)| it).collect();
    IdentityRules {
        allow: without_place(allow),
        deny: without_place(deny),
        max_sessions: section
            .field("max_sessions_per_dn")
            .and_then(|field| field.number(&(1..=MAX_SESSIONS))),
        persistent: section
            .field("persistence")
            .and_then(|field| field.word::<String>(&["none", "dn"], &[]))
            .is_some_and(|word| word == "dn"),
    }
}

/// In the form in which `openssl` writes names by default nowadays they would match nobody.
fn name_pattern(text: &str) -> Result<NamePattern, Refusal> {
    if text.starts_with(['/', '*']) {
        return Ok(NamePattern::new(text));
    }
    Err((
        format!("`{}` is no name of a user, nor a pattern", shown(text)),
        "write it as `grid-proxy-info -identity` does, such as \"/DC=org/DC=example/CN=Jane Doe\" or \
         \"/DC=org/DC=example/*\""
            .into(),
    ))
}

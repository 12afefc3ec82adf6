//! FEAT (RFC 2389): the server's list, made true for who talks to it through the door.
use super::super::command::{Command, Verb};
use super::super::policy::DataPath;
use super::super::reply::ReplyCode;
use super::security::tls_mechanism;
use super::{Session, TlsPolicy};

/// What the door offers when it is the TLS server, as RFC 4217 section 6 wants it written.
const OFFERED: &[u8] = b" AUTH TLS\r\n PBSZ\r\n PROT\r\n";

impl Session {
    /// What the client sees in place of a line of the reply to FEAT; `None` for the line as it is.
    pub(super) fn edit_features(
        &self,
        code: ReplyCode,
        line: &[u8],
        begins: bool,
        ends: bool,
    ) -> Option<Vec<u8>> {
        if code.number() != 211 || begins {
            return None;
        }
        if !ends {
            return self.edit_feature(line);
        }
        let offers_tls = self.owns_tls()
            && self.policy.tls != TlsPolicy::Off
            && !self.policy.denied_commands.denies("AUTH");
        offers_tls.then(|| [OFFERED, line].concat())
    }

    fn edit_feature(&self, line: &[u8]) -> Option<Vec<u8>> {
        // Some servers begin each line with the code.
        let feature = line.strip_prefix(b"211-").unwrap_or(line);
        let command = Command::parse(feature);
        let gone = Some(Vec::new());
        if self.policy.denied_commands.hides_feature(feature) {
            return gone;
        }
        match command.verb {
            Verb::Epsv if !self.offers_epsv() => gone,
            _ if !self.owns_tls() => None,
            Verb::Auth => edit_auth(command.arguments()),
            Verb::Pbsz | Verb::Prot | Verb::Ccc | Verb::Cpsv => gone,
            // ProFTPD's way to private third-party transfers: the servers would have to speak TLS with each other.
            Verb::Other if feature.trim_ascii().eq_ignore_ascii_case(b"SSCN") => gone,
            _ => None,
        }
    }

    /// Where data is direct the door refuses EPSV to all but Globus clients.
    fn offers_epsv(&self) -> bool {
        self.is_globus || self.policy.data_path != DataPath::Direct || self.server.constraint.is_some()
    }
}

/// `AUTH TLS`, `AUTH TLS;SSL;GSSAPI;`: without the mechanisms that are TLS.
fn edit_auth(mechanisms: &[u8]) -> Option<Vec<u8>> {
    let is_tls = |word: &[u8]| tls_mechanism(word).is_some();
    let words =
        || mechanisms.split(|byte| matches!(byte, b';' | b' ' | b',')).filter(|word| !word.is_empty());
    if !words().any(is_tls) {
        return None;
    }
    let others: Vec<&[u8]> = words().filter(|word| !is_tls(word)).collect();
    if others.is_empty() {
        return Some(Vec::new());
    }
    Some([b" AUTH ", &others.join(&b';')[..], b"\r\n"].concat())
}

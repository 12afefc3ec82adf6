//! Each way to break a chain that was good, and the reason that has to be given.
use super::*;
use crate::proto::gsi::issuing::{
    BASIC_CONSTRAINTS, DRAFT_PROXY_CERT_INFO, ISSUER_ALTERNATIVE_NAME, PROXY_CERT_INFO,
    SUBJECT_ALTERNATIVE_NAME, rsa_spki_of,
};
use crate::proto::gsi::with_common_name;

/// Breaks the chain at a place (a part of 2^32) and says what is wrong then; `None` where it has nothing of the kind.
pub(super) type Break = fn(&mut Chain, u32) -> Option<Reason>;

fn pick(place: u32, count: usize) -> Option<usize> {
    (count > 0).then(|| usize::try_from((u64::from(place) * count as u64) >> 32).unwrap())
}

impl Chain {
    /// Some proxy.
    fn proxy(&mut self, place: u32) -> Option<&mut Link> {
        let first = self.end_entity + 1;
        let count = self.links.len() - first;
        Some(&mut self.links[first + pick(place, count)?])
    }

    /// Some proxy that has another one, or the user's certificate, above it: the one above.
    fn signer(&mut self, place: u32) -> Option<&mut Link> {
        let count = self.links.len() - 1 - self.end_entity;
        let end_entity = self.end_entity;
        Some(&mut self.links[end_entity + pick(place, count)?])
    }

    fn any(&mut self, place: u32) -> &mut Link {
        let count = self.links.len();
        &mut self.links[pick(place, count).unwrap()]
    }

    fn user(&mut self) -> &mut Link {
        let place = self.end_entity;
        &mut self.links[place]
    }

    fn intermediate(&mut self) -> Option<&mut Link> {
        (self.end_entity == 2).then(|| &mut self.links[1])
    }

    /// Gives a proxy other content in its proxyCertInfo.
    fn rewrite(&mut self, place: usize, change: impl Fn(&mut ProxyCertInfo)) {
        let request = &mut self.links[place].request;
        let extension = request
            .extensions
            .iter_mut()
            .find(|(kind, ..)| [PROXY_CERT_INFO, DRAFT_PROXY_CERT_INFO].contains(kind))
            .unwrap();
        let form = if extension.0 == PROXY_CERT_INFO { ProxyForm::Rfc3820 } else { ProxyForm::Draft };
        let mut info = ProxyCertInfo::from_der(&extension.2, form).unwrap();
        change(&mut info);
        extension.2 = info.to_der(form);
    }

    fn proxies(&self) -> std::ops::Range<usize> {
        self.end_entity + 1..self.links.len()
    }

    fn proxy_place(&self, place: u32) -> Option<usize> {
        pick(place, self.proxies().len()).map(|offset| self.end_entity + 1 + offset)
    }
}

fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

fn oid_of(text: &str) -> x509_cert::der::asn1::ObjectIdentifier {
    x509_cert::der::asn1::ObjectIdentifier::new_unwrap(text)
}

pub(super) const BREAKS: &[(&str, Break)] = &[
    ("a proxy signed by a stranger's key", |chain, place| {
        chain.proxy(place)?.signer = STRANGER;
        Some(Reason::WrongSignature)
    }),
    ("a proxy that has signed itself", |chain, place| {
        let proxy = chain.proxy(place)?;
        proxy.signer = proxy.key;
        Some(Reason::WrongSignature)
    }),
    ("a user certificate signed by a stranger who calls himself the authority", |chain, _| {
        chain.user().signer = STRANGER;
        Some(Reason::WrongSignature)
    }),
    (
        "a user certificate of the right name with another key than the one that signed the proxy",
        |chain, _| {
            chain.proxy(0)?;
            let spki = key(STRANGER).spki();
            chain.user().request.spki = spki;
            Some(Reason::WrongSignature)
        },
    ),
    ("an intermediate authority signed by a stranger", |chain, _| {
        chain.intermediate()?.signer = STRANGER;
        Some(Reason::WrongSignature)
    }),
    ("an authority that is not trusted", |chain, _| {
        chain.root_is_trusted = false;
        Some(Reason::UnknownAuthority)
    }),
    ("something expired a second ago", |chain, place| {
        chain.any(place).request.not_after = NOW - 1;
        let intermediate = chain.intermediate().is_some_and(|link| link.request.not_after < NOW);
        Some(match intermediate {
            true => Reason::AuthorityPath("an intermediate authority's certificate has expired"),
            false => Reason::Expired { not_after: at(NOW - 1) },
        })
    }),
    ("something not valid for another second", |chain, place| {
        chain.any(place).request.not_before = NOW + 1;
        let intermediate = chain.intermediate().is_some_and(|link| link.request.not_before > NOW);
        Some(match intermediate {
            true => Reason::AuthorityPath("an intermediate authority's certificate is not valid yet"),
            false => Reason::NotYetValid { not_before: at(NOW + 1) },
        })
    }),
    ("a proxy whose name is not below its issuer's", |chain, place| {
        let place = chain.proxy_place(place)?;
        // Those below it keep theirs right.
        let mut subject = with_common_name(&name("Somebody else"), "1").unwrap();
        for (below, link) in chain.links[place..].iter_mut().enumerate() {
            if below > 0 {
                link.request.issuer.clone_from(&subject);
                subject = with_common_name(&subject, "2").unwrap();
            }
            link.request.subject.clone_from(&subject);
        }
        Some(Reason::NameNotBelowIssuer)
    }),
    ("a proxy with two more names than its issuer", |chain, _| {
        chain.proxy(0)?;
        let leaf = chain.leaf();
        leaf.request.subject = with_common_name(&leaf.request.subject, "1").unwrap();
        Some(Reason::NameNotBelowIssuer)
    }),
    ("a proxy with its issuer's name", |chain, _| {
        chain.proxy(0)?;
        let leaf = chain.leaf();
        leaf.request.subject.clone_from(&leaf.request.issuer);
        Some(Reason::NameNotBelowIssuer)
    }),
    ("a proxy that names another issuer, and its name below that", |chain, _| {
        chain.proxy(0)?;
        let leaf = chain.leaf();
        leaf.request.issuer = name("Somebody else");
        leaf.request.subject = with_common_name(&leaf.request.issuer, "1").unwrap();
        Some(Reason::IssuerMissing)
    }),
    ("a full proxy below a limited one", |chain, place| {
        let places = chain.proxies();
        let upper = places.start + pick(place, places.len().checked_sub(1)?)?;
        chain.rewrite(upper, |info| info.language = PolicyLanguage::Limited);
        chain.rewrite(upper + 1, |info| info.language = PolicyLanguage::InheritAll);
        // What it breaks above is seen later: judged from the leaf up.
        for below in upper + 2..chain.links.len() {
            chain.rewrite(below, |info| info.language = PolicyLanguage::Independent);
        }
        Some(Reason::FullBelowLimited)
    }),
    ("a proxy of the other form than its issuer", |chain, place| {
        let place = chain.proxies().start + 1 + pick(place, chain.proxies().len().checked_sub(1)?)?;
        let request = &mut chain.links[place].request;
        for (kind, _, value) in &mut request.extensions {
            let (from, to, other) = match *kind {
                PROXY_CERT_INFO => (ProxyForm::Rfc3820, ProxyForm::Draft, DRAFT_PROXY_CERT_INFO),
                DRAFT_PROXY_CERT_INFO => (ProxyForm::Draft, ProxyForm::Rfc3820, PROXY_CERT_INFO),
                _ => continue,
            };
            *kind = other;
            *value = ProxyCertInfo::from_der(value, from).unwrap().to_der(to);
        }
        Some(Reason::MixedForms)
    }),
    ("one proxy more than one above allows", |chain, place| {
        let places = chain.proxies();
        let upper = places.start + pick(place, places.len().checked_sub(1)?)?;
        let below = u32::try_from(places.end - 1 - upper).unwrap();
        chain.rewrite(upper, |info| info.path_length = Some(below - 1));
        Some(Reason::PathLengthExceeded)
    }),
    ("a proxy with a policy in it", |chain, place| {
        let place = chain.proxy_place(place)?;
        chain.rewrite(place, |info| info.policy = Some(b"read only".to_vec()));
        Some(Reason::RestrictedPolicy)
    }),
    ("a proxy with an empty policy in it", |chain, place| {
        let place = chain.proxy_place(place)?;
        chain.rewrite(place, |info| info.policy = Some(Vec::new()));
        Some(Reason::RestrictedPolicy)
    }),
    ("a proxy with a policy of an unknown language", |chain, place| {
        let place = chain.proxy_place(place)?;
        chain.rewrite(place, |info| info.language = PolicyLanguage::Other(oid_of("1.3.6.1.4.1.9999.7")));
        Some(Reason::RestrictedPolicy)
    }),
    ("a proxy whose proxyCertInfo may be ignored", |chain, place| {
        let proxy = chain.proxy(place)?;
        proxy.request.extensions[0].1 = false;
        Some(Reason::ProxyCertInfoNotCritical)
    }),
    ("a proxy that says it is an authority", |chain, place| {
        let proxy = chain.proxy(place)?;
        proxy.request = proxy.request.clone().with(BASIC_CONSTRAINTS, true, &[0x30, 3, 1, 1, 0xff]);
        Some(Reason::ProxyIsAuthority)
    }),
    ("a proxy with a host's name", |chain, place| {
        let proxy = chain.proxy(place)?;
        proxy.request = proxy.request.clone().with(SUBJECT_ALTERNATIVE_NAME, false, b"\x30\x03\x82\x01a");
        Some(Reason::ProxyHasAlternativeName)
    }),
    ("a proxy with an issuerAltName", |chain, place| {
        let proxy = chain.proxy(place)?;
        proxy.request = proxy.request.clone().with(ISSUER_ALTERNATIVE_NAME, false, b"\x30\x03\x82\x01a");
        Some(Reason::ProxyHasAlternativeName)
    }),
    ("a critical extension that nobody knows", |chain, place| {
        let count = chain.links.len();
        let place = pick(place, count).unwrap();
        let request = &mut chain.links[place].request;
        *request = request.clone().with("1.3.6.1.4.1.9999.1", true, &[5, 0]);
        let webpki_is_first = place == chain.end_entity - 1 && place == 1;
        Some(match webpki_is_first {
            true => {
                Reason::AuthorityPath("a certificate has a critical extension that is not understood here")
            }
            false => Reason::CriticalExtension(oid_of("1.3.6.1.4.1.9999.1")),
        })
    }),
    ("a subjectAltName that is critical, which Globus does not take", |chain, _| {
        let user = chain.user();
        user.request = user.request.clone().with(SUBJECT_ALTERNATIVE_NAME, true, b"\x30\x03\x82\x01a");
        Some(Reason::CriticalExtension(oid_of(SUBJECT_ALTERNATIVE_NAME)))
    }),
    ("a leaf with a weak key", |chain, _| {
        chain.leaf().request.spki = rsa_spki_of(1024);
        Some(Reason::KeySize { bits: 1024 })
    }),
    ("a leaf with an enormous key", |chain, _| {
        chain.leaf().request.spki = rsa_spki_of(16384);
        Some(Reason::KeySize { bits: 16384 })
    }),
    ("a signer of proxies without digitalSignature", |chain, place| {
        let signer = chain.signer(place)?;
        signer.request = signer.request.clone().with(KEY_USAGE, true, &[3, 2, 5, 0b0010_0000]);
        Some(Reason::IssuerMayNotSign)
    }),
    ("a proxy that an authority has signed", |chain, place| {
        let authority = pick(place, chain.end_entity).unwrap();
        let (subject, number) = (chain.links[authority].request.subject.clone(), chain.links[authority].key);
        let request = Request::proxy(&subject, 5, key(8), ProxyForm::Rfc3820, &issuing::inherit_all());
        chain.links.push(Link { request, key: 8, signer: number });
        Some(Reason::ProxyOfAuthority)
    }),
    ("a user certificate that says it is an authority", |chain, _| {
        let user = chain.user();
        user.request = user.request.clone().with(BASIC_CONSTRAINTS, true, &[0x30, 3, 1, 1, 0xff]);
        Some(if chain.proxies().is_empty() { Reason::EndEntityIsAuthority } else { Reason::ProxyOfAuthority })
    }),
    ("a user certificate in the place of an authority", |chain, _| {
        let middle = chain.intermediate()?;
        middle.request = middle.request.clone().with(BASIC_CONSTRAINTS, true, &[0x30, 0]);
        Some(Reason::UnknownAuthority)
    }),
    ("an authority that may not sign certificates", |chain, _| {
        let middle = chain.intermediate()?;
        middle.request = middle.request.clone().with(KEY_USAGE, true, &[3, 2, 1, 0b0000_0010]);
        Some(Reason::NotAnAuthority)
    }),
    ("a root that may sign no authority", |chain, _| {
        chain.intermediate()?;
        let root = &mut chain.links[0];
        root.request = root.request.clone().with(BASIC_CONSTRAINTS, true, &[0x30, 6, 1, 1, 0xff, 2, 1, 0]);
        Some(Reason::AuthorityPathLength)
    }),
    ("a legacy proxy", |chain, _| {
        let above = &chain.links[chain.links.len() - 1];
        let (issuer, signer) = (above.request.subject.clone(), above.key);
        let mut request = Request::end_entity(&issuer, &with_common_name(&issuer, "proxy").unwrap(), key(8));
        request.extensions.clear();
        chain.links.push(Link { request, key: 8, signer });
        Some(Reason::LegacyProxy)
    }),
    ("a limited legacy proxy", |chain, _| {
        let above = &chain.links[chain.links.len() - 1];
        let (issuer, signer) = (above.request.subject.clone(), above.key);
        let request =
            Request::end_entity(&issuer, &with_common_name(&issuer, "limited proxy").unwrap(), key(8));
        chain.links.push(Link { request, key: 8, signer });
        Some(Reason::LegacyProxy)
    }),
    ("a certificate that a user has signed for another name", |chain, _| {
        let above = &chain.links[chain.links.len() - 1];
        let (issuer, signer) = (above.request.subject.clone(), above.key);
        let request = Request::end_entity(&issuer, &name("Administrator"), key(8));
        chain.links.push(Link { request, key: 8, signer });
        Some(Reason::UnknownAuthority)
    }),
    ("a signing policy that forbids the user's name", |chain, _| {
        let (name, policy) = match chain.end_entity {
            1 => ("Root", &mut chain.root_policy),
            _ => ("Middle", &mut chain.intermediate_policy),
        };
        *policy = super::policy(&format!("/O=Grid/CN={name}"), "\"/O=Grid/CN=Other*\"");
        Some(Reason::SigningPolicyForbids)
    }),
    ("a signing policy that forbids the intermediate authority", |chain, _| {
        chain.intermediate()?;
        chain.root_policy = policy("/O=Grid/CN=Root", "\"/O=Grid/CN=User\"");
        Some(Reason::SigningPolicyForbids)
    }),
    ("a signing policy about another authority", |chain, _| {
        chain.root_policy = policy("/O=Grid/CN=Other", "\"/O=Grid/*\"");
        Some(Reason::SigningPolicyForbids)
    }),
    ("an intermediate authority without a signing policy", |chain, _| {
        chain.intermediate()?;
        chain.intermediate_policy = policy("/O=Grid/CN=Other", "\"/O=Grid/*\"");
        Some(Reason::NoSigningPolicy)
    }),
    ("a signing policy that cannot be read", |chain, _| {
        chain.root_policy = b"access_id_CA X509 '/O=Grid/CN=Root'\nanything\n".to_vec();
        Some(Reason::SigningPolicyUnreadable)
    }),
    ("a user certificate that was taken back", |chain, _| {
        let serial = chain.user().request.serial.clone();
        let (name, signer) = (chain.user().request.issuer.clone(), chain.user().signer);
        let list = Revocations::new(&name, &[&[1], &serial, &[200, 1]]).sign(key(signer));
        let place = if chain.end_entity == 1 { &mut chain.root_list } else { &mut chain.intermediate_list };
        *place = Some(list);
        Some(Reason::Revoked)
    }),
    ("an intermediate authority that was taken back", |chain, _| {
        let middle = chain.intermediate()?;
        middle.request.serial = vec![0x55];
        chain.root_list = Some(Revocations::new(&name("Root"), &[&[0x55]]).sign(key(0)));
        Some(Reason::Revoked)
    }),
    ("a revocation list of version 1 with the user in it", |chain, _| {
        let (issuer, signer) = (chain.user().request.issuer.clone(), chain.user().signer);
        let list = Revocations { version: 1, ..Revocations::new(&issuer, &[&[77]]) };
        let place = if chain.end_entity == 1 { &mut chain.root_list } else { &mut chain.intermediate_list };
        *place = Some(list.sign(key(signer)));
        Some(Reason::Revoked)
    }),
    ("a revocation list that is past its time", |chain, _| {
        let list = Revocations { next_update: Some(NOW - 1), ..Revocations::new(&name("Root"), &[]) };
        chain.root_list = Some(list.sign(key(0)));
        Some(Reason::RevocationListExpired { next_update: at(NOW - 1) })
    }),
    ("a revocation list from the future", |chain, _| {
        let list = Revocations { this_update: NOW + 1, ..Revocations::new(&name("Root"), &[]) };
        chain.root_list = Some(list.sign(key(0)));
        Some(Reason::RevocationListNotYetValid)
    }),
    ("a revocation list that a stranger has signed", |chain, _| {
        chain.root_list = Some(Revocations::new(&name("Root"), &[]).sign(key(STRANGER)));
        Some(Reason::RevocationListForged)
    }),
    ("a revocation list that is broken", |chain, _| {
        chain.root_list = Some(b"0".to_vec());
        Some(Reason::RevocationListUnreadable)
    }),
];

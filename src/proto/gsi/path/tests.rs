//! Chains that are believed, and each way to break one.
//!
//! A chain is made of an authority, perhaps one below it, a user and up to four proxies; every break changes one thing of it, signs
//! everything again, and names the reason that has to be given.
mod breaks;
mod rows;

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::proto::gsi::issuing::{self, HOUR, KEY_USAGE, NOW, Request, Revocations, key, name, pem};
use crate::proto::gsi::{ProxyCertInfo, TrustFile};

/// Places of keys: what is made with the others belongs to strangers.
const STRANGER: usize = 9;

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(NOW))
}

/// A certificate to be made: with `key` in it, signed by `signer`.
#[derive(Clone)]
struct Link {
    request: Request,
    key: usize,
    signer: usize,
}

/// A chain to be made, from the root to the leaf, and the files of the trust directory.
#[derive(Clone)]
struct Chain {
    links: Vec<Link>,
    /// Place of the user.
    end_entity: usize,
    root_policy: Vec<u8>,
    intermediate_policy: Vec<u8>,
    root_list: Option<Vec<u8>>,
    intermediate_list: Option<Vec<u8>>,
    /// Places that are not presented.
    withheld: Vec<usize>,
    root_is_trusted: bool,
}

#[derive(Clone, Debug)]
struct Plan {
    intermediate: bool,
    form: ProxyForm,
    proxies: Vec<(PolicyLanguage, Option<u32>)>,
}

fn policy(authority: &str, subjects: &str) -> Vec<u8> {
    format!("access_id_CA X509 '{authority}'\npos_rights globus CA:sign\ncond_subjects globus '{subjects}'\n")
        .into_bytes()
}

impl Chain {
    fn new(plan: &Plan) -> Self {
        let mut links = vec![Link {
            request: Request::authority(&name("Root"), &name("Root"), key(0)),
            key: 0,
            signer: 0,
        }];
        if plan.intermediate {
            let request = Request::authority(&name("Root"), &name("Middle"), key(1));
            links.push(Link { request, key: 1, signer: 0 });
        }
        let end_entity = links.len();
        let above = &links[end_entity - 1];
        let request = Request::end_entity(&above.request.subject, &name("User"), key(2));
        links.push(Link { request, key: 2, signer: above.key });
        for (place, (language, path_length)) in plan.proxies.iter().enumerate() {
            let above = &links[links.len() - 1];
            let own = 3 + place;
            let info = ProxyCertInfo::new(*language, *path_length);
            let number = 1000 + u32::try_from(place).unwrap();
            let request = Request::proxy(&above.request.subject, number, key(own), plan.form, &info);
            links.push(Link { request, key: own, signer: above.key });
        }
        Self {
            links,
            end_entity,
            root_policy: policy("/O=Grid/CN=Root", "\"/O=Grid/*\""),
            intermediate_policy: policy("/O=Grid/CN=Middle", "\"/O=Grid/*\""),
            root_list: None,
            intermediate_list: None,
            withheld: Vec::new(),
            root_is_trusted: true,
        }
    }

    fn leaf(&mut self) -> &mut Link {
        self.links.last_mut().unwrap()
    }

    /// What is presented, the leaf first.
    fn presented(&self) -> Vec<CertificateDer<'static>> {
        let shown = self.links.iter().enumerate().rev().filter(|(place, _)| !self.withheld.contains(place));
        shown.map(|(_, link)| CertificateDer::from(link.request.sign(key(link.signer)))).collect()
    }

    fn trust(&self) -> TrustStore {
        let root = pem("CERTIFICATE", &self.links[0].request.sign(key(self.links[0].signer)));
        let lists = [&self.root_list, &self.intermediate_list]
            .map(|list| list.as_ref().map(|list| pem("X509 CRL", list)));
        let mut files: Vec<(&str, &[u8])> = vec![("0000000b.signing_policy", &self.intermediate_policy)];
        if self.root_is_trusted {
            files.extend([("0000000a.0", &root[..]), ("0000000a.signing_policy", &self.root_policy)]);
        }
        files.extend(lists[0].as_ref().map(|list| ("0000000a.r0", &list[..])));
        files.extend(lists[1].as_ref().map(|list| ("0000000b.r0", &list[..])));
        store(&files)
    }

    fn verify(&self) -> Result<VerifiedPath, PathError> {
        verify(&self.presented(), &self.trust(), now())
    }
}

fn store(files: &[(&str, &[u8])]) -> TrustStore {
    TrustStore::from_files(files.iter().map(|(name, content)| TrustFile { name, content: Ok(content) })).0
}

/// Any chain that obeys every rule.
fn plans() -> impl Strategy<Value = Plan> {
    let language = prop_oneof![
        Just(PolicyLanguage::InheritAll),
        Just(PolicyLanguage::Limited),
        Just(PolicyLanguage::Independent)
    ];
    let proxies = proptest::collection::vec((language, proptest::option::of(0..3_u32)), 0..=4);
    let form = prop_oneof![Just(ProxyForm::Rfc3820), Just(ProxyForm::Draft)];
    (any::<bool>(), form, proxies).prop_map(|(intermediate, form, mut proxies)| {
        let count = u32::try_from(proxies.len()).unwrap();
        for place in 0..proxies.len() {
            // Below limited only limited and independent; and each allows those that follow.
            if place > 0
                && proxies[place - 1].0 == PolicyLanguage::Limited
                && proxies[place].0 == PolicyLanguage::InheritAll
            {
                proxies[place].0 = PolicyLanguage::Limited;
            }
            let below = count - 1 - u32::try_from(place).unwrap();
            proxies[place].1 = proxies[place].1.map(|more| more + below);
        }
        Plan { intermediate, form, proxies }
    })
}

proptest! {
    #[test]
    fn a_chain_that_obeys_the_rules_is_believed_in_any_order(plan in plans(), order in any::<prop::sample::Index>()) {
        let chain = Chain::new(&plan);
        let mut presented = chain.presented();
        // The leaf is first; the others may stand anyhow, twice, and a stranger among them.
        if presented.len() > 2 {
            let turn = order.index(presented.len() - 1);
            presented[1..].rotate_left(turn);
            presented.push(presented[1].clone());
        }
        presented.push(CertificateDer::from(Request::end_entity(&name("Root"), &name("Other"), key(8)).sign(key(0))));
        let path = verify(&presented, &chain.trust(), now()).unwrap();

        let expected: Vec<Vec<u8>> = chain.links[1..].iter().rev().map(|link| link.request.subject.clone()).collect();
        let subjects: Vec<&[u8]> = path.certificates().iter().map(Certificate::subject).collect();
        prop_assert_eq!(subjects, expected);
        prop_assert_eq!(path.end_entity().subject_name().to_string(), "/O=Grid/CN=User");
        prop_assert_eq!(path.leaf().spki(), key(chain.links.last().unwrap().key).spki());
        let kind = plan.proxies.last().map_or(LeafKind::EndEntity, |(language, _)| LeafKind::Proxy(plan.form, *language));
        prop_assert_eq!(path.leaf_kind(), kind);

        // Said once more, in other words than the product's.
        let independent = plan.proxies.iter().rposition(|(language, _)| *language == PolicyLanguage::Independent);
        let mut identity = "/O=Grid/CN=User".to_owned();
        for place in 0..independent.map_or(0, |place| place + 1) {
            identity.push_str(&format!("/CN={}", 1000 + place));
        }
        prop_assert_eq!(path.identity().to_string(), identity);
        let below_identity = &plan.proxies[independent.map_or(0, |place| place + 1)..];
        prop_assert_eq!(path.is_limited(), below_identity.iter().any(|(language, _)| *language == PolicyLanguage::Limited));
        let count = plan.proxies.len();
        let left = plan.proxies.iter().enumerate().filter_map(|(place, (_, own))| {
            own.map(|own| own - u32::try_from(count - 1 - place).unwrap())
        });
        prop_assert_eq!(path.remaining_proxies(), left.min());
    }

    /// Every bit of every certificate is covered: by a signature, or by being the signature.
    #[test]
    fn a_chain_with_one_bit_changed_is_refused(
        plan in plans(),
        certificate in any::<prop::sample::Index>(),
        byte in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let chain = Chain::new(&plan);
        let mut presented = chain.presented();
        presented.pop();
        let changed = certificate.index(presented.len());
        let mut der = presented[changed].to_vec();
        let byte = byte.index(der.len());
        der[byte] ^= 1 << bit;
        presented[changed] = CertificateDer::from(der);
        prop_assert!(verify(&presented, &chain.trust(), now()).is_err(), "byte {byte}, bit {bit} of {changed}");
    }

    #[test]
    fn a_chain_without_one_of_its_certificates_is_refused(plan in plans(), which in any::<prop::sample::Index>()) {
        let mut chain = Chain::new(&plan);
        // Neither the root nor the leaf.
        let between = chain.links.len() - 2;
        if between == 0 {
            return Ok(());
        }
        let which = 1 + which.index(between);
        chain.withheld.push(which);
        let reason = chain.verify().unwrap_err().reason;
        let expected = if which < chain.end_entity { Reason::UnknownAuthority } else { Reason::IssuerMissing };
        prop_assert_eq!(reason, expected);
    }

    #[test]
    fn a_chain_with_one_rule_broken_is_refused_with_that_reason(
        plan in plans(),
        broken in 0..breaks::BREAKS.len(),
        place in any::<u32>(),
    ) {
        let (words, break_it) = &breaks::BREAKS[broken];
        let mut chain = Chain::new(&plan);
        chain.verify().unwrap();
        // Not every chain has something of the kind; the longest have.
        let Some(expected) = break_it(&mut chain, place) else { return Ok(()) };
        match chain.verify() {
            Ok(_) => prop_assert!(false, "BELIEVED: {words}"),
            Err(error) => prop_assert_eq!(error.reason, expected, "{}", words),
        }
    }
}

/// So that no break is left out by chance.
#[test]
fn every_break_is_refused_in_the_longest_chains() {
    for form in [ProxyForm::Rfc3820, ProxyForm::Draft] {
        for language in [PolicyLanguage::InheritAll, PolicyLanguage::Limited] {
            let plan = Plan { intermediate: true, form, proxies: vec![(language, None); 4] };
            for (words, break_it) in breaks::BREAKS {
                for place in [0, u32::MAX / 2, u32::MAX] {
                    let mut chain = Chain::new(&plan);
                    let Some(expected) = break_it(&mut chain, place) else {
                        assert_eq!(language, PolicyLanguage::Limited, "`{words}` breaks nothing");
                        continue;
                    };
                    let error = chain.verify().map(|_| ()).expect_err(words);
                    assert_eq!(error.reason, expected, "{words}");
                    assert!(!error.to_string().is_empty());
                }
            }
        }
    }
}

//! Tokens that are cut off, changed, repeated, out of order, or were never tokens.
use proptest::prelude::*;

use super::super::issuing::{HOUR, NOW};
use super::super::*;
use super::grid::*;

/// Tokens of the client in a good exchange up to the flag, and an acceptor that has taken those before `count`.
fn acceptor_after(version: Version, count: usize) -> (Acceptor, Vec<u8>) {
    let (acceptor, _, token) = both_after(version, count);
    (acceptor, token)
}

/// The same, with the client.
fn both_after(version: Version, count: usize) -> (Acceptor, Initiator, Vec<u8>) {
    let mut acceptor = acceptor(version);
    let (mut initiator, mut token) = Initiator::new(initiator_config(version, user_proxy()), now()).unwrap();
    for _ in 0..count {
        let mut step = acceptor.step(&token, now()).unwrap();
        if matches!(step, AcceptStep::KeyWanted) {
            step = acceptor.provide_key(rsa_key()).unwrap();
        }
        let AcceptStep::Reply(reply) = step else { panic!("the end") };
        token = initiator.step(&reply, now()).unwrap();
    }
    (acceptor, initiator, token)
}

/// Hello, end of the handshake, flag, certificate.
const TOKENS: usize = 4;

#[test]
fn a_token_that_is_cut_off_or_has_more_behind_it_ends_the_exchange() {
    for version in BOTH {
        for count in 0..TOKENS {
            let length = acceptor_after(version, count).1.len();
            for end in [0, 1, 4, 5, 6, length / 2, length - 1] {
                let (mut acceptor, token) = acceptor_after(version, count);
                let length = token.len();
                let error = acceptor.step(&token[..end.min(length - 1)], now());
                assert!(error.is_err(), "token {count} of {version:?}, {end} of {length}: {error:?}");
                let after = acceptor.step(&token, now()).unwrap_err();
                assert_eq!(after, AcceptError::OutOfOrder, "it is over");
            }
            let (mut acceptor, token) = acceptor_after(version, count);
            let more = [&token[..], b"\x17\x03\x03\x00\x01x"].concat();
            let error = acceptor.step(&more, now());
            assert!(error.is_err(), "token {count} of {version:?} and more: {error:?}");
        }
    }
}

#[test]
fn a_token_of_another_place_or_another_exchange_ends_it() {
    for version in BOTH {
        for place in 0..TOKENS {
            for other in 0..TOKENS {
                // The same token again where it was just taken, or one of an exchange of somebody else's.
                let (mut acceptor, _) = acceptor_after(version, place);
                let (_, token) = acceptor_after(version, other);
                let result = acceptor.step(&token, now());
                let is_beginning = place == 0 && other == 0;
                assert_eq!(result.is_ok(), is_beginning, "{other} at {place} of {version:?}: {result:?}");
            }
        }
    }
}

#[test]
fn a_byte_of_protected_tokens_cannot_be_changed() {
    for version in BOTH {
        for count in 2..TOKENS {
            let length = acceptor_after(version, count).1.len();
            for at in [3, 5, 6, length / 2, length - 1] {
                let (mut acceptor, mut token) = acceptor_after(version, count);
                let at = at.min(token.len() - 1);
                token[at] ^= 0x40;
                let result = acceptor.step(&token, now());
                assert!(result.is_err(), "byte {at} of token {count}, {version:?}: {result:?}");
            }
        }
    }
}

#[test]
fn the_door_and_the_client_keep_to_their_turns() {
    let (mut acceptor, mut client) = before_flag(Version::Tls13, user());
    assert_eq!(acceptor.provide_key(rsa_key()).unwrap_err(), AcceptError::OutOfOrder);
    let flag = client.write(b"D").unwrap();
    // A key at the wrong time is the end of it, too.
    assert_eq!(acceptor.step(&flag, now()).unwrap_err(), AcceptError::OutOfOrder);

    let (mut acceptor, mut client) = before_flag(Version::Tls12, user());
    let step = acceptor.step(&client.write(b"D").unwrap(), now()).unwrap();
    assert!(matches!(step, AcceptStep::KeyWanted));
    assert_eq!(acceptor.step(&client.write(b"x").unwrap(), now()).unwrap_err(), AcceptError::OutOfOrder);

    let flags: &[&[u8]] = &[b"L", b"d", b"DD", b"\0", b"D0"];
    for flag in flags {
        let (mut acceptor, mut client) = before_flag(Version::Tls13, user());
        let error = acceptor.step(&client.write(flag).unwrap(), now()).unwrap_err();
        assert_eq!(error, AcceptError::Flag, "{}", flag.escape_ascii());
    }
}

#[test]
fn the_initiator_ends_when_the_server_does_what_it_should_not() {
    for version in BOTH {
        let begin = || Initiator::new(initiator_config(version, user_proxy()), now()).unwrap();
        let (mut initiator, _) = begin();
        assert_eq!(initiator.finish(None, now()).unwrap_err(), InitiateError::TooEarly);
        assert_eq!(initiator.step(b"x", now()).unwrap_err(), InitiateError::OutOfOrder);

        let (mut initiator, hello) = begin();
        let AcceptStep::Reply(reply) = acceptor(version).step(&hello, now()).unwrap() else { panic!() };
        for end in [0, 1, 5, reply.len() / 2] {
            let (mut other, _) = begin();
            let error = other.step(&reply[..end], now());
            assert!(error.is_err(), "{end} bytes: {error:?}");
        }
        initiator.step(&reply, now()).unwrap();
        assert!(initiator.step(&reply, now()).is_err(), "the same again");

        // Done, and still more.
        let config = InitiatorConfig { delegates: false, ..initiator_config(version, user_proxy()) };
        let (mut initiator, mut token) = Initiator::new(config, now()).unwrap();
        let mut acceptor = acceptor(version);
        while let AcceptStep::Reply(reply) = acceptor.step(&token, now()).unwrap() {
            token = initiator.step(&reply, now()).unwrap();
        }
        assert_eq!(initiator.step(b"more", now()).unwrap_err(), InitiateError::OutOfOrder);
    }
}

#[test]
fn time_is_what_the_step_says() {
    let later = UnixTime::since_unix_epoch(std::time::Duration::from_secs(NOW + 48 * HOUR));
    for version in BOTH {
        let (mut acceptor, token) = acceptor_after(version, 1);
        let error = acceptor.step(&token, later).unwrap_err().to_string();
        assert!(error.contains("it has expired on 2026-01-02"), "{error}");
    }
}

#[test]
fn an_alert_is_told_with_its_meaning() {
    // Fatal, unknown_ca, before there are keys: as a client that does not like our certificate sends it with TLS 1.2.
    let (mut acceptor, _) = acceptor_after(Version::Tls12, 1);
    let error = acceptor.step(b"\x15\x03\x03\x00\x02\x02\x30", now()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the other end has refused the handshake: it does not know the authority of the certificate it was shown (TLS alert UnknownCA)"
    );
}

/// Whether a byte is of the version in a record's header, which is part of nothing.
fn is_version_of_a_record(token: &[u8], at: usize) -> bool {
    let mut start = 0;
    while let Some(&[_, _, _, high, low]) = token.get(start..).and_then(|rest| rest.first_chunk::<5>()) {
        if (start + 1..start + 3).contains(&at) {
            return true;
        }
        start += 5 + usize::from(u16::from_be_bytes([high, low]));
    }
    false
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn rubbish_is_an_error_and_no_more(
        count in 0..TOKENS,
        is_tls13 in any::<bool>(),
        rubbish in proptest::collection::vec(any::<u8>(), 0..2000),
        kind in 20_u8..25,
    ) {
        let version = if is_tls13 { Version::Tls13 } else { Version::Tls12 };
        let (mut acceptor, _) = acceptor_after(version, count);
        // As it is, or as a record of TLS.
        let length = u16::try_from(rubbish.len()).unwrap().to_be_bytes();
        let record = [&[kind, 3, 3], &length[..], &rubbish].concat();
        let token = if rubbish.len() % 2 == 0 { record } else { rubbish };
        prop_assert!(acceptor.step(&token, now()).is_err());
        prop_assert_eq!(acceptor.step(&token, now()).unwrap_err(), AcceptError::OutOfOrder);
    }

    #[test]
    fn a_handshake_that_was_changed_on_the_way_does_not_come_to_a_login(
        count in 0..2_usize,
        is_tls13 in any::<bool>(),
        place in any::<prop::sample::Index>(),
        bit in 0..8,
    ) {
        let version = if is_tls13 { Version::Tls13 } else { Version::Tls12 };
        let (mut acceptor, mut initiator, mut token) = both_after(version, count);
        let at = place.index(token.len());
        prop_assume!(!is_version_of_a_record(&token, at));
        token[at] ^= 1_u8 << bit;
        match acceptor.step(&token, now()) {
            Err(_) => {}
            // A hello that says something else is answered; whoever sent it has another transcript, and either end sees that.
            Ok(AcceptStep::Reply(reply)) => {
                prop_assert_eq!(count, 0, "byte {} of the end of the handshake", at);
                if let Ok(token) = initiator.step(&reply, now()) {
                    prop_assert!(acceptor.step(&token, now()).is_err(), "byte {at}");
                }
            }
            Ok(other) => prop_assert!(false, "{other:?}"),
        }
    }
}

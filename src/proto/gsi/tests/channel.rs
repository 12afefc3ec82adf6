//! Commands and replies after the exchange.
use proptest::prelude::*;

use super::super::*;
use super::grid::*;

pub(in super::super) fn channels(version: Version) -> (Channel, Channel) {
    let config = InitiatorConfig { delegates: false, ..initiator_config(version, user()) };
    let outcome = exchange(acceptor(version), config).unwrap();
    (outcome.established.channel, outcome.accepted.channel)
}

fn wrapped(client: &mut Channel, command: &[u8]) -> Vec<u8> {
    let mut line = Vec::new();
    client.wrap_command(command, &mut line).unwrap();
    line
}

#[test]
fn lines_of_all_lengths_pass_both_ways_each_as_one_line() {
    const RECORD: usize = 16 * 1024;
    for version in BOTH {
        let (mut client, mut server) = channels(version);
        for length in
            [0, 1, 2, 3, 100, RECORD - 3, RECORD - 2, RECORD - 1, RECORD, 4 * RECORD, MAX_WRAPPED_TEXT - 2]
        {
            let text = [vec![b'x'; length], b"\r\n".to_vec()].concat();
            let line = wrapped(&mut client, &text);
            assert!(line.starts_with(b"ENC ") && line.ends_with(b"\r\n"));
            assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
            assert!(line.len() <= crate::proto::ftp::MAX_LINE, "{length} becomes {}", line.len());
            let mut plain = Vec::new();
            server.unwrap_command(&line, &mut plain).unwrap();
            assert!(plain == text, "{length} bytes, to the server");

            let mut line = Vec::new();
            server.wrap_reply_line(&text, length % 2 == 0, &mut line).unwrap();
            assert!(line.starts_with(if length % 2 == 0 { b"632 " } else { b"632-" }));
            plain.clear();
            client.unwrap_reply(&line, &mut plain).unwrap();
            assert!(plain == text, "{length} bytes, to the client");
        }
        let long = vec![b'x'; MAX_WRAPPED_TEXT - 1]; // and its CR LF
        assert_eq!(client.wrap_command(&long, &mut Vec::new()), Err(ChannelError::TooLong));
        // What is too long was not sent, and did no harm.
        let line = wrapped(&mut client, b"NOOP");
        server.unwrap_command(&line, &mut Vec::new()).unwrap();
    }
}

#[test]
fn what_peers_put_around_a_line_is_taken_off() {
    type Row = (&'static [u8], Result<&'static [u8], ChannelError>);
    #[rustfmt::skip]
    let table: &[Row] = &[
        (b"NOOP\r\n",          Ok(b"NOOP\r\n")),
        (b"NOOP\r\n\0",        Ok(b"NOOP\r\n")),
        (b"NOOP",              Ok(b"NOOP\r\n")),
        (b"NOOP\0",            Ok(b"NOOP\r\n")),
        (b"a\nb\r\n",          Ok(b"a\nb\r\n")),
        (b"\0",                Ok(b"\r\n")),
        (b"NOOP\r\nDELE x\r\n", Err(ChannelError::SeveralLines)),
        (b"NOOP\r\n\0\r\n",    Err(ChannelError::SeveralLines)),
    ];
    for (text, expected) in table {
        let (mut client, mut server) = channels(Version::Tls13);
        let mut plain = b"before".to_vec();
        // As it is, without what wrap_command adds.
        let line = client.wrap_as_it_is(text);
        let result = server.unwrap_command(&line, &mut plain).map(|()| &plain[6..]);
        assert_eq!(result, *expected, "{}", text.escape_ascii());
    }
    // A reply may come whole.
    let (mut client, mut server) = channels(Version::Tls13);
    let line = client.wrap_as_it_is(b"211-a\r\n b\r\n211 c\r\n");
    let reply = [b"632 ", &line[4..]].concat();
    let mut plain = Vec::new();
    server.unwrap_reply(&reply, &mut plain).unwrap();
    assert_eq!(plain, b"211-a\r\n b\r\n211 c\r\n");
}

#[test]
fn every_name_for_a_protected_line_is_taken_and_nothing_in_clear() {
    let (mut client, mut server) = channels(Version::Tls13);
    for verb in ["ENC", "MIC", "CONF", "enc", "Mic"] {
        let line = [verb.as_bytes(), &wrapped(&mut client, b"PWD")[3..]].concat();
        let mut plain = Vec::new();
        server.unwrap_command(&line, &mut plain).unwrap();
        assert_eq!(plain, b"PWD\r\n");
    }
    for code in ["631", "632", "633"] {
        for separator in [" ", "-"] {
            let mut line = Vec::new();
            server.wrap_reply_line(b"200 ok", true, &mut line).unwrap();
            let line = [code.as_bytes(), separator.as_bytes(), &line[4..]].concat();
            let mut plain = Vec::new();
            client.unwrap_reply(&line, &mut plain).unwrap();
            assert_eq!(plain, b"200 ok\r\n");
        }
    }
    let clear: &[&[u8]] = &[b"PWD\r\n", b"\r\n", b"", b"ENC", b"ENCX AAAA\r\n", b"ENC\r\n", b" AAAA"];
    for line in clear {
        assert_eq!(server.unwrap_command(line, &mut Vec::new()), Err(ChannelError::ClearCommand));
    }
    let clear: &[&[u8]] =
        &[b"200 ok\r\n", b"", b"632", b"634 AAAA\r\n", b"630 AAAA", b"632_AAAA", b"421 bye"];
    for line in clear {
        assert_eq!(client.unwrap_reply(line, &mut Vec::new()), Err(ChannelError::ClearReply));
    }
    // It is refused and no more: the stream of tokens has not moved.
    server.unwrap_command(&wrapped(&mut client, b"PWD"), &mut Vec::new()).unwrap();
}

#[test]
fn a_line_that_is_changed_repeated_lost_or_cut_is_never_read() {
    for version in BOTH {
        let spoilt: &[fn(&mut Channel) -> Vec<u8>] = &[
            |client| {
                let mut line = wrapped(client, b"DELE a");
                line[4 + 12] ^= 1;
                line
            },
            |client| {
                let _ = wrapped(client, b"CWD lost");
                wrapped(client, b"DELE a")
            },
            |client| {
                let line = wrapped(client, b"DELE a");
                // Half the token, still base64.
                line[..4 + (line.len() - 6) / 8 * 4].to_vec()
            },
            |_| b"ENC AAAA\r\n".to_vec(),
            |_| b"ENC \r\n".to_vec(),
            |_| b"ENC !!!!\r\n".to_vec(),
            |_| [b"ENC ", &vec![b'A'; 900_000][..]].concat(),
        ];
        for (at, spoil) in spoilt.iter().enumerate() {
            let (mut client, mut server) = channels(version);
            let mut plain = Vec::new();
            let line = spoil(&mut client);
            assert!(server.unwrap_command(&line, &mut plain).is_err(), "{at} {version:?}");
            assert!(plain.is_empty(), "{at} {version:?}: {}", plain.escape_ascii());
        }
        let (mut client, mut server) = channels(version);
        let line = wrapped(&mut client, b"DELE a");
        server.unwrap_command(&line, &mut Vec::new()).unwrap();
        assert!(server.unwrap_command(&line, &mut Vec::new()).is_err(), "twice, {version:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(16) })]

    #[test]
    fn lines_arrive_in_order_whichever_way_they_go(
        lines in proptest::collection::vec((any::<bool>(), "[^\r\n\0]{0,300}"), 1..40),
    ) {
        let (mut client, mut server) = channels(Version::Tls13);
        // All are sent before the first is read, as pipelined commands are.
        let mut sent = Vec::new();
        for (to_server, text) in &lines {
            let mut line = Vec::new();
            if *to_server {
                client.wrap_command(text.as_bytes(), &mut line).unwrap();
            } else {
                server.wrap_reply_line(text.as_bytes(), false, &mut line).unwrap();
            }
            sent.push(line);
        }
        for ((to_server, text), line) in lines.iter().zip(&sent) {
            let mut plain = Vec::new();
            if *to_server {
                server.unwrap_command(line, &mut plain).unwrap();
            } else {
                client.unwrap_reply(line, &mut plain).unwrap();
            }
            prop_assert_eq!(plain, [text.as_bytes(), b"\r\n"].concat());
        }
    }
}

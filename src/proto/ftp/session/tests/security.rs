//! AUTH, ADAT, and where the door stops reading.
use super::*;

fn unfinished(rig: &mut Rig, bytes: &[u8]) -> usize {
    rig.session.handle_server(rig.now, bytes, &mut rig.out)
}

#[test]
fn gssapi_is_followed_until_235_and_then_bytes_pass() {
    let mut rig = rig();
    rig.exchange("FEAT", "211-Extensions\r\n AUTH GSSAPI\r\n211 End.")
        .exchange("AUTH GSSAPI", "334 Using GSSAPI");
    rig.exchange("ADAT YWJj", "335 ADAT=ZGVm").exchange("ADAT eHl6", "335 ADAT=ZGVm");
    rig.now += Duration::from_millis(70);
    rig.client("ADAT bGFzdA==\r\n").server_sees("ADAT bGFzdA==\r\n");
    let reply = b"235 GSSAPI Authentication successful.\r\n632 c2VjcmV0\r\nhalf";
    let used = unfinished(&mut rig, reply);
    assert_eq!(&reply[..used], b"235 GSSAPI Authentication successful.\r\n");
    rig.client_sees(&reply[..used]);
    assert_eq!(rig.actions(), [Action::Secured(Duration::from_millis(70)), Action::Tunnel(Tunnel::Gssapi)]);
    assert_eq!(rig.session.tunnel(), Some(Tunnel::Gssapi));
    assert!(!rig.session.accepts_client() && !rig.session.is_quiet());
}

#[test]
fn what_either_side_said_too_early_is_not_lost_in_a_tunnel() {
    let mut rig = rig();
    rig.exchange("AUTH GSSAPI", "334 go")
        .client("ADAT eA==\r\nENC b25l\r\nEN")
        .server_sees("ADAT eA==\r\nENC b25l\r\n");
    assert_eq!(unfinished(&mut rig, b"235 ok\r\n631 more\r\n"), 8);
    rig.client_sees("235 ok\r\n").server_sees("EN");
    // The rest comes from the driver.
    assert_eq!(rig.session.handle_client(rig.now, b"C dHdv\r\n", &mut rig.out), 0);
}

#[test]
fn a_line_that_waited_goes_into_the_tunnel_first() {
    let mut rig = rig();
    rig.client("AUTH TLS\r\nPBSZ 0\r\nUSER").server_sees("AUTH TLS\r\n");
    assert!(rig.session.is_waiting());
    assert_eq!(rig.stash, b"USER");
    assert_eq!(unfinished(&mut rig, b"234 go\r\n\x16\x03\x03"), 8);
    rig.server_sees("PBSZ 0\r\n").client_sees("234 go\r\n");
    assert_eq!(rig.actions(), [Action::Tunnel(Tunnel::Other)]);
}

#[test]
fn a_long_last_token_opens_the_tunnel_without_losing_a_byte() {
    let mut rig = rig();
    rig.exchange("AUTH GSSAPI", "334 go").client("ADAT eA==\r\n");
    let reply = format!("235 ADAT={}\r\n631 x\r\n", "A".repeat(30_000));
    let used = unfinished(&mut rig, reply.as_bytes());
    let mut passed = std::mem::take(&mut rig.out.to_client);
    passed.extend_from_slice(&reply.as_bytes()[used..]);
    assert_eq!(shown(&passed), shown(reply.as_bytes()));
}

#[test]
fn a_long_adat_passes_in_pieces() {
    let mut rig = rig();
    rig.exchange("AUTH GSSAPI", "334 go");
    let token = format!("ADAT {}\r\n", "A".repeat(30_000));
    for chunk in token.as_bytes().chunks(777) {
        rig.client(chunk);
    }
    rig.server_sees(&token).server("335 ADAT=eA==\r\n").client_sees("335 ADAT=eA==\r\n");
}

#[test]
fn auth_waits_until_nothing_is_under_way_and_holds_back_what_follows() {
    let mut rig = rig();
    rig.client("FEAT\r\nAUTH GSSAPI\r\nADAT eA==\r\n").server_sees("FEAT\r\n");
    rig.server("211 End.\r\n").client_sees("211 End.\r\n").server_sees("AUTH GSSAPI\r\n");
    rig.server("120 thinking\r\n").client_sees("120 thinking\r\n").server_sees("");
    rig.server("334 go\r\n").client_sees("334 go\r\n").server_sees("ADAT eA==\r\n");
}

#[test]
fn a_refused_auth_leaves_the_session_readable() {
    for reply in ["504 Unknown authentication type.", "500 no", "534 no", "431 no"] {
        let mut rig = rig();
        rig.exchange("AUTH TLS", reply).exchange("AUTH GSSAPI", reply).user().exchange("NOOP", "200 ok");
        assert_eq!(rig.session.tunnel(), None);
        assert!(
            !rig.actions().iter().any(|action| matches!(action, Action::SecurityFailed { .. })),
            "no handshake was begun"
        );
    }
}

#[test]
fn a_failed_handshake_is_counted_once() {
    let mut rig = rig();
    rig.exchange("AUTH GSSAPI", "334 go").exchange("ADAT eA==", "535 no").exchange("ADAT eA==", "503 no");
    assert_eq!(rig.actions(), [Action::SecurityFailed { refused: true }]);
    rig.exchange("AUTH GSSAPI", "334 go").exchange("ADAT eA==", "431 later");
    assert_eq!(rig.actions(), [Action::SecurityFailed { refused: false }], "not the client's fault");
    rig.exchange("AUTH GSSAPI", "334 go").exchange("QUIT", "211 Goodbye.").server_closes();
    rig.client_sees("").ended(Ending::Goodbye);
    assert_eq!(rig.actions(), [Action::SecurityFailed { refused: false }]);
}

#[test]
fn a_server_that_dies_in_a_handshake_is_told_and_counted() {
    let mut rig = rig();
    rig.exchange("AUTH GSSAPI", "334 go").client("ADAT eA==\r\n").server("335 AD").server_closes();
    rig.client_sees(Ending::ServerLost.reply()).ended(Ending::ServerLost);
    assert_eq!(rig.actions(), [Action::SecurityFailed { refused: false }]);
}

#[test]
fn without_a_context_protected_commands_pass() {
    rig()
        .exchange("ENC eA==", "503 no")
        .exchange("MIC eA==", "503 no")
        .exchange("CCC", "500 no")
        .exchange("PROT P", "530 no");
}

#[test]
fn an_ended_tunnel_says_nothing_in_clear() {
    let mut rig = rig();
    rig.exchange("AUTH TLS", "234 go");
    rig.session.handle_ending(Ending::Shutdown, rig.now, &mut rig.out);
    rig.client_sees("");
}

#[test]
fn an_empty_line_before_auth_tls_has_no_answer_under_tls() {
    let mut rig = Site { tls: TlsPolicy::Offered, ..Site::default() }.rig();
    rig.client("\r\nAUTH TLS\r\n")
        .client_sees("503 AUTH TLS may not follow an empty line; connect again.\r\n");
    rig.server("500 what\r\n").client_sees("500 what\r\n");
    rig.client("AUTH TLS\r\n").client_sees("234 Begin TLS now.\r\n");
}

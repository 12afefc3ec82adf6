//! AUTH TLS that ends at the door, PBSZ, PROT, and logins that need them.
use super::*;

fn offered() -> Rig {
    Site { tls: TlsPolicy::Offered, ..Site::default() }.rig()
}

fn required() -> Rig {
    Site { tls: TlsPolicy::Required, ..Site::default() }.rig()
}

impl Rig {
    #[track_caller]
    fn secured(&mut self) -> &mut Self {
        self.client("AUTH TLS\r\n").server_sees("").client_sees("234 Begin TLS now.\r\n");
        assert_eq!(self.actions(), [Action::StartTls]);
        self.session.handle_secured(self.now);
        self.resume()
    }

    #[track_caller]
    fn answered(&mut self, command: &str, code: &str) -> &mut Self {
        self.refused(format!("{command}\r\n"), code)
    }
}

#[test]
fn a_session_under_tls_goes_on_as_any_other() {
    let mut rig = offered();
    rig.secured().answered("PBSZ 0", "200 PBSZ=0").answered("PROT P", "200").user().binary();
    assert!(rig.session.is_private);
    rig.answered("PROT C", "200");
    assert!(!rig.session.is_private);
}

#[test]
fn every_name_of_tls_is_taken_and_other_mechanisms_pass() {
    for (mechanism, is_private) in
        [("TLS", false), ("tls", false), ("TLS-C", false), ("TLS-P", true), ("SSL", true)]
    {
        let mut rig = offered();
        rig.answered(&format!("AUTH {mechanism}"), "234");
        rig.session.handle_secured(rig.now);
        assert_eq!(rig.session.is_private, is_private, "{mechanism}");
    }
    offered().exchange("AUTH KERBEROS_V5", "504 no").exchange("AUTH GSSAPI", "334 go");
}

/// CVE-2011-0411 and its kind: whoever sits between puts commands behind AUTH.
#[test]
fn what_follows_auth_is_never_a_command() {
    let mut rig = offered();
    rig.client("AUTH TLS\r\nUSER joe\r\nPASS secret\r\n")
        .server_sees("")
        .client_sees("234 Begin TLS now.\r\n");
    assert_eq!(rig.stash, b"USER joe\r\nPASS secret\r\n", "the driver gives it to TLS");
    assert!(!rig.session.accepts_client());
    // The same when AUTH has to wait for earlier replies.
    let mut rig = offered();
    rig.client("NOOP\r\nAUTH TLS\r\nUSER joe\r\n").server_sees("NOOP\r\n").client_sees("");
    rig.server("200 ok\r\n").client_sees("200 ok\r\n234 Begin TLS now.\r\n").server_sees("");
    assert_eq!(rig.stash, b"USER joe\r\n");
    let mut rig = offered();
    rig.client("AUTH TLS\r\n\x16\x03\x01").client_sees("234 Begin TLS now.\r\n");
    assert_eq!(rig.stash, b"\x16\x03\x01");
    assert_eq!(rig.session.ended(), None);
}

#[test]
fn nothing_is_said_in_clear_in_the_middle_of_a_handshake() {
    for ending in [Ending::LoginTimeout, Ending::Shutdown, Ending::HandshakeFailed] {
        let mut rig = offered();
        rig.client("AUTH TLS\r\n").client_sees("234 Begin TLS now.\r\n");
        rig.session.handle_ending(ending, rig.now, &mut rig.out);
        rig.client_sees("").ended(ending);
    }
    assert_eq!(Ending::HandshakeFailed.fault(), Fault::Client);
    let mut rig = offered();
    rig.secured();
    rig.session.handle_ending(Ending::Shutdown, rig.now, &mut rig.out);
    rig.client_sees(Ending::Shutdown.reply());
}

#[test]
fn commands_of_rfc_4217_out_of_turn_are_refused_by_the_door() {
    #[rustfmt::skip]
    let in_clear: &[(&str, &str)] = &[("PBSZ 0", "503"), ("PROT P", "503"), ("CCC", "533"), ("CPSV", "502")];
    for (command, code) in in_clear {
        offered().answered(command, code);
    }
    #[rustfmt::skip]
    let under_tls: &[(&str, &str)] = &[
        ("AUTH TLS", "503"), ("AUTH GSSAPI", "503"), ("PROT P", "503"), ("CCC", "533"), ("REIN", "502"),
        ("PBSZ", "501"), ("PBSZ x", "501"),
    ];
    for (command, code) in under_tls {
        offered().secured().answered(command, code);
    }
    for (level, code) in [("S", "536"), ("E", "536"), ("X", "504"), ("", "504"), ("p", "200"), ("c", "200")] {
        offered().secured().answered("PBSZ 0", "200").answered(&format!("PROT {level}"), code);
    }
    let mut rig = offered();
    rig.user().answered("AUTH TLS", "503");
    offered().exchange("AUTH GSSAPI", "334 go").answered("AUTH TLS", "503");
    offered().exchange("USER joe", "331 password").answered("AUTH TLS", "503");
    offered().exchange("USER joe", "530 no").answered("AUTH TLS", "503");
    let mut again = offered();
    again.client("USER joe\r\nPASS x\r\nREIN\r\nUSER ann\r\n");
    again.server("331 p\r\n230 in\r\n220 new\r\n331 p\r\n").out = Outbox::default();
    again.answered("AUTH TLS", "503");
}

#[test]
fn a_login_without_protection_is_refused_where_it_is_required() {
    for command in ["USER joe", "PASS secret", "ACCT x"] {
        required().answered(command, "530");
    }
    required().exchange("NOOP", "200 ok").exchange("AUTH GSSAPI", "334 go");
    required().secured().user();
}

#[test]
fn implicit_tls_is_private_from_the_start() {
    let Rig { session, out, now, stash } = required();
    let mut rig = Rig { session: session.with_implicit_tls(), out, now, stash };
    assert!(rig.session.is_private);
    rig.answered("AUTH TLS", "503").user().answered("PROT C", "200").answered("PBSZ 0", "200");
}

#[test]
fn without_a_certificate_the_server_is_asked() {
    rig().exchange("PBSZ 0", "503 no").exchange("PROT P", "503 no").exchange("CCC", "500 no");
}

#[test]
fn the_door_keeps_clients_out_of_its_own_tls_with_the_server() {
    let mut rig = Site { constraint: Some(DataConstraint::Tls), ..Site::default() }.rig();
    rig.answered("AUTH TLS", "504").answered("PROT C", "503").answered("CCC", "533");
    rig.exchange("AUTH GSSAPI", "504 no").user();
}

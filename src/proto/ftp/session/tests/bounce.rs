//! Addresses that a session may not make a server connect to, however they are spelt.
use super::*;

#[test]
fn foreign_addresses_are_refused_in_every_command_that_names_one() {
    for line in [
        "PORT 203,0,113,9,200,1",
        "port 203,0,113,9,200,1",
        "  PORT 203,0,113,9,200,1",
        "EPRT |1|203.0.113.9|51201|",
        "EPRT |2|2001:db8:ffff::9|51201|",
        "EPRT |2|::ffff:203.0.113.9|51201|",
        "SPOR 192,0,2,7,200,1 203,0,113,9,200,1",
        "SPOR |1|203.0.113.9|51201|",
        "GET path=/a;port=203,0,113,9,200,1;",
        "PUT port = 203,0,113,9,200,1 ;path=/a;",
        "get path=/a; PORT=203,0,113,9,200,1",
        "PORT 192,0,2,7,0,25",
        "PORT 127,0,0,1,200,1",
        "PORT 10,0,0,11,10,251",
        "PO\x01RT 203,0,113,9,200,1",
        "P\u{80}ORT 203,0,113,9,200,1",
    ] {
        rig().anonymous().binary().refused(format!("{line}\r\n"), "504 ").exchange("NOOP", "200 ok");
    }
}

#[test]
fn what_cannot_be_read_strictly_is_refused() {
    for line in [
        "PORT",
        "PORT 192,0,2,7,200",
        "PORT 192,0,2,7,200,1,",
        "PORT 192,0,2,7,200,1xyz",
        "PORT 192,0,2,7,200,1 192,0,2,7,200,2",
        "PORT 192, 0,2,7,200,1",
        "PORT 192,0,2,7,0,51201",
        "PORT 192,0,2,263,200,1",
        "PORT 192,0,2,007,200,1",
        "PORT |1|192.0.2.7|51201|",
        "EPRT 192,0,2,7,200,1",
        "EPRT |1|192.0.2.7|51201|x",
        "EPRT |1|host.example|51201|",
        "EPRT |2|192.0.2.7|51201|",
        "EPRT |2|fe80::1%eth0|51201|",
        "EPRT a1a192.0.2.7a51201a",
        "EPRT |1|192.0.2.7|0|",
        "SPOR",
        "SPOR 192,0,2,7,200,1,192,0,2,7,200,2",
        "SPOR 192,0,2,7,200,1\t203,0,113,9,200,1",
        "GET path=/a;port=203.0.113.9:51201;",
        "PUT path=/a;port=;",
        "GET port;path=/a",
    ] {
        rig().anonymous().binary().refused(format!("{line}\r\n"), "501 ");
    }
}

#[test]
fn lines_that_servers_read_in_different_ways_are_refused_and_the_session_goes_on() {
    for line in [
        &b"NOOP\nPORT 203,0,113,9,200,1\r\n"[..],
        b"NOOP\r\x80\nPORT 203,0,113,9,200,1\r\n",
        b"NOOP\rPORT 203,0,113,9,200,1\r\n",
        b"PORTx203,0,113,9,200,1\r\n",
        b"PO\xfbXRT 203,0,113,9,200,1\r\n",
        b"XPORT 203,0,113,9,200,1 \xff\r\n",
        b"\xff\xfdXPORT 203,0,113,9,200,1\r\n",
        b"USERxanonymous\r\n",
        b"\xff\xfd\x01NOOP\r\n",
    ] {
        rig().anonymous().refused(line, "501 ").exchange("NOOP", "200 ok");
    }
}

#[test]
fn a_line_that_was_cleaned_goes_out_as_it_was_checked() {
    #[rustfmt::skip]
    let table: &[(&[u8], &str)] = &[
        (b"PO\x80RT 192,0,2,7,200,1\r\n",            "PORT 192,0,2,7,200,1\r\n"),
        (b"PORT 192,0,2,7,\x80200,1\r\n",            "PORT 192,0,2,7,200,1\r\n"),
        (b"\xff\xf1PORT 192,0,2,7,200,1\r\n",        "PORT 192,0,2,7,200,1\r\n"),
        (b"E\x01PRT |1|192.0.2.7|51201|\r\n",        "EPRT |1|192.0.2.7|51201|\r\n"),
        (b"\x1bSPOR 192,0,2,7,200,1\r\n",            "SPOR 192,0,2,7,200,1\r\n"),
    ];
    for (line, sent) in table {
        rig().anonymous().binary().client(line).server_sees(sent);
    }
}

#[test]
fn who_may_name_whom() {
    use ForeignDataAddresses::{Allow, Deny, ThirdParty};
    let (foreign, node, own) = ("PORT 203,0,113,9,200,1", "PORT 198,51,100,11,200,1", "PORT 192,0,2,7,200,1");
    #[rustfmt::skip]
    let table: &[(ForeignDataAddresses, &[&str], bool, &str, bool)] = &[
        (ThirdParty, &[],                 false, foreign, false),
        (ThirdParty, &[],                 true,  foreign, true),
        (ThirdParty, &[],                 false, node,    true),
        (ThirdParty, &[],                 false, own,     true),
        (ThirdParty, &["203.0.113.0/24"], false, foreign, true),
        (Deny,       &[],                 true,  foreign, false),
        (Deny,       &[],                 true,  node,    false),
        (Deny,       &[],                 true,  own,     true),
        (Allow,      &[],                 false, foreign, true),
    ];
    for &(foreign, trusted, user, line, goes) in table {
        let mut rig = Site { foreign, trusted, ..Site::default() }.rig();
        if user {
            rig.user()
        } else {
            rig.anonymous()
        };
        rig.binary().client(format!("{line}\r\n"));
        assert_eq!(!rig.out.to_server.is_empty(), goes, "{foreign} {trusted:?} user={user} {line}");
    }
}

#[test]
fn the_check_waits_until_the_login_is_known() {
    let mut rig = rig();
    rig.client("USER joe\r\nPASS x\r\nTYPE I\r\nPORT 203,0,113,9,200,1\r\n");
    rig.server_sees("USER joe\r\nPASS x\r\nTYPE I\r\n").server("331 p\r\n530 no\r\n530 no\r\n");
    let said = String::from_utf8(std::mem::take(&mut rig.out.to_client)).unwrap();
    assert!(said.starts_with("331 p\r\n530 no\r\n530 no\r\n504 "), "{said}");
    rig.server_sees("");
}

#[test]
fn an_anonymous_session_stays_one_whatever_is_answered_later() {
    let mut rig = rig();
    // A server that leaves two lines unanswered shifts its replies to the commands after them.
    rig.anonymous().client("LOST1\r\nLOST2\r\nUSER joe\r\nPASS x\r\n");
    rig.server("331 p\r\n530 no\r\n331 p\r\n230 in\r\n500 a\r\n500 b\r\n500 c\r\n500 d\r\n");
    assert_eq!(rig.session.login(), Login::Anonymous);
}

#[test]
fn udt_addresses_are_refused() {
    for line in [
        "SITE UPAS",
        "site uprt 1,2,3,4,5,6",
        "SITE  UPRT |1|1.2.3.4|5000|",
        "SITE UP\x01RT x",
        "SITE\tUPAS x",
    ] {
        rig().user().refused(format!("{line}\r\n"), "500 ");
    }
    rig().user().exchange("SITE UPTIME", "500 what").exchange("SITE CHMOD 644 UPAS", "250 ok");
}

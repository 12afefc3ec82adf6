//! Bytes that are passed on as they are, and the few that are not.
use super::*;

#[test]
fn what_the_door_does_not_act_on_passes_byte_for_byte() {
    for line in [
        &b"CWD \xc3\xa9\xe4\xb8\xad\r\n"[..],
        b"MKD caf\xe9\r\n",
        b"NO\0OP\r\n",
        b"noop  \r\n",
        b"  NOOP\r\n",
        b"GETPUT x\r\n",
        b"POST / HTTP/1.1\r\n",
        b"\x80\x01\x7f\r\n",
        b" \r\n",
        b"MKD \x01\x1b[31m\x07\r\n",
    ] {
        let mut rig = rig();
        rig.user().client(line).server_sees(line);
    }
    for reply in [
        &b"257 \"caf\xe9\0\xff\xfd\"\r\n"[..],
        b"213-\r\n\xff\n\r\r\n213 \x80\r\n",
        b"200\r\n",
        b"200 a\nb\rc\r\n",
    ] {
        let mut rig = rig();
        rig.user().exchange("NOOP", "200 ok").client("X\r\n").server(reply).client_sees(reply);
        assert!(!rig.session.is_busy());
    }
}

#[test]
fn telnet_signals_stay_at_the_door() {
    let mut rig = rig();
    rig.user()
        .client(b"\xff\xf1\xff\xf6NOOP\r\n")
        .server_sees("NOOP\r\n")
        .client(b"\xff\xf4\r\n")
        .server_sees("\r\n");
}

#[test]
fn an_empty_line_passes_whatever_the_server_makes_of_it() {
    // Globus closes.
    let mut closes = rig();
    closes.user().client("\r\n").server_sees("\r\n").server_closes();
    closes.client_sees(Ending::ClosedByCommand.reply()).ended(Ending::ClosedByCommand);
    // Most answer.
    let mut answers = rig();
    answers.user().binary().client("\r\nPASV\r\n").server("500 what\r\n227 x (10,0,0,11,1,2)\r\n");
    answers.client_sees("500 what\r\n227 x (198,51,100,11,1,2)\r\n");
    // ProFTPD does not.
    let mut silent = rig();
    silent.user().binary().client("\r\n\r\n");
    assert!(!silent.session.is_busy(), "nothing is owed for certain");
    silent.out = Outbox::default();
    silent.refused("EPSV\r\n", "502 ").client("PASV\r\n");
    silent.server("227 x (10,0,0,11,1,2)\r\n").client_sees("227 x (198,51,100,11,1,2)\r\n");
    silent.client("AUTH TLS\r\nNOOP\r\n");
    assert!(silent.session.is_waiting());
}

#[test]
fn one_byte_at_a_time_is_the_same_as_all_at_once() {
    let mut rig = rig();
    for byte in b"USER joe\r\nPASS x\r\n" {
        rig.client([*byte]);
    }
    rig.server_sees("USER joe\r\nPASS x\r\n");
    for byte in b"331 p\r\n230-a\r\n230 b\r\n" {
        rig.server([*byte]);
    }
    rig.client_sees("331 p\r\n230-a\r\n230 b\r\n");
    assert_eq!(rig.session.login(), Login::User);
}

#[test]
fn a_long_command_passes_in_pieces() {
    let line = format!("CWD {}\r\n", "x".repeat(300_000));
    for chunk in [1000, 8192, 65_536, 400_000] {
        let mut rig = rig();
        rig.user();
        for part in line.as_bytes().chunks(chunk) {
            rig.client(part);
        }
        rig.server_sees(&line).client("NOOP\r\n").server_sees("NOOP\r\n");
        rig.server(format!("550 {}\r\n200 ok\r\n", &line[4..line.len() - 2]));
        assert!(!rig.session.is_busy());
    }
}

#[test]
fn a_long_command_may_have_to_wait() {
    let line = format!("RETR /{}\r\n", "x".repeat(20_000));
    for chunk in [999, 8192, 40_000] {
        let mut rig = rig();
        rig.user().binary().client("PASV\r\n").server_sees("PASV\r\n");
        for part in line.as_bytes().chunks(chunk) {
            rig.client(part).server_sees("");
        }
        rig.server("227 x (10,0,0,62,1,2)\r\n").server_sees(&line).server("550 no\r\n");
        assert!(!rig.session.is_busy());
    }
    let mut tunnelled = rig();
    tunnelled.client("AUTH TLS\r\n").client(&line[..9000]).server_sees("AUTH TLS\r\n").server("234 go\r\n");
    tunnelled.server_sees(&line[..9000]);
}

#[test]
fn a_long_command_may_end_between_cr_and_lf() {
    let mut rig = rig();
    let start = format!("CWD {}", "x".repeat(9000));
    rig.user()
        .client(format!("{start}\r"))
        .client("\n")
        .client("NOOP\r\n")
        .server_sees(format!("{start}\r\nNOOP\r\n"));
    assert_eq!(rig.session.ended(), None);
    let start = format!("CWD {}", "x".repeat(8000));
    rig.client(&start).client("x".repeat(200)).client("x\r").client("\n");
    rig.server_sees(format!("{start}{}\r\n", "x".repeat(201)));
    assert_eq!(rig.session.ended(), None);
}

#[test]
fn a_long_command_that_servers_read_in_different_ways_ends_the_session() {
    let start = format!("XPORT 203,0,113,9,200,1 {}", "x".repeat(9000));
    for rest in [
        &[&b"\xff"[..]][..],
        &[b"x\xfbx"],
        &[b"\nPORT 203,0,113,9,200,1\r\n"],
        &[b"x\nx"],
        &[b"x\rx"],
        &[b"x\r", b"x"],
        &[b"x\r", b"\r\n"],
        &[b"x\r", b"\x80", b"\nPORT 203,0,113,9,200,1\r\n"],
        &[b"x\xff\r\n"],
    ] {
        let mut rig = rig();
        rig.user().client(&start).server_sees(&start);
        for piece in rest {
            rig.client(piece);
        }
        assert_eq!(rig.session.ended(), Some(Ending::UnclearCommand), "{}", shown(&rest.concat()));
        assert!(!rig.out.to_server.contains(&b'\n') && !rig.out.to_server.iter().any(|byte| *byte > 250));
    }
    let mut rig = rig();
    rig.user().client(format!("X\n{}", "x".repeat(9000))).server_sees("").ended(Ending::UnclearCommand);
}

#[test]
fn a_long_command_that_the_door_must_understand_ends_the_session() {
    for verb in ["USER", "PORT", "SITE", "OPTS", "GET", "TYPE", "EPSV"] {
        for end in ["", "\r\n"] {
            let mut rig = rig();
            rig.client(format!("{verb} {}{end}", "x".repeat(9000))).server_sees("");
            rig.client_sees(Ending::CommandTooLong.reply()).ended(Ending::CommandTooLong);
        }
    }
}

#[test]
fn a_long_reply_passes_in_pieces_and_ends_its_command() {
    for reply in [
        format!("550 {}\r\n", "x".repeat(300_000)),
        format!("250-{0}\r\n {0}\r\n250 {0}\r\n", "x".repeat(20_000)),
        format!("111 Range Marker {}\r\n226 done\r\n", "0-5,".repeat(5000)),
    ] {
        for chunk in [999, 8192, 1_000_000] {
            let mut rig = rig();
            rig.user().client("X\r\n");
            for part in reply.as_bytes().chunks(chunk) {
                rig.server(part);
            }
            rig.client_sees(&reply);
            assert!(!rig.session.is_busy());
        }
    }
}

#[test]
fn the_doors_own_answer_does_not_go_into_a_reply_that_passes_in_pieces() {
    let mut rig = rig();
    let start = format!("213 {}", "x".repeat(9000));
    rig.user().client("STAT\r\nEPSV\r\n").server(&start).client_sees(&start);
    rig.server("y").client_sees("y").server("\r\n");
    rig.client_sees("\r\n502 EPSV is not available on this path; use PASV, or EPRT over IPv6.\r\n");
}

#[test]
fn lines_without_end_are_cut_off_at_the_limit() {
    let block = vec![b'x'; 64 * 1024];
    let mut command = rig();
    command.user().client("CWD ");
    for _ in 0..16 {
        command.client(&block);
    }
    command.ended(Ending::CommandTooLong);
    let mut reply = rig();
    reply.user().client("X\r\n").server("200 ");
    for _ in 0..16 {
        reply.session.handle_server(reply.now, &block, &mut reply.out);
    }
    reply.ended(Ending::ReplyTooLong);
    let said = std::mem::take(&mut reply.out.to_client);
    assert!(said.ends_with(format!("x\r\n{}", Ending::ReplyTooLong.reply()).as_bytes()));
}

#[test]
fn a_tls_hello_is_told_what_this_port_speaks() {
    let mut hello = rig();
    hello
        .client(b"\x16\x03\x01\x02\x00\x01\x00")
        .server_sees("")
        .client_sees(Ending::TlsHello.reply())
        .ended(Ending::TlsHello);
    // Later it is a byte like others.
    let mut later = rig();
    later.exchange("NOOP", "200 ok").client(b"\x16x\r\n").server_sees(b"\x16x\r\n");
}

#[test]
fn a_header_that_the_client_may_not_send_ends_the_session_and_goes_nowhere() {
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x0a\x9c\x40\x0a\xfb";
    for header in [&b"PROXY TCP4 192.0.2.9 192.0.2.10 40000 2811\r\nUSER anonymous\r\n"[..], v2] {
        let mut whole = rig();
        whole.client(header).client_sees(Ending::ProxyHeader.reply()).ended(Ending::ProxyHeader);
        whole.server_sees("");
        let mut in_bytes = rig();
        for byte in header {
            in_bytes.client([*byte]);
        }
        in_bytes.ended(Ending::ProxyHeader);
        // Empty lines pass as ever.
        assert!(in_bytes.out.to_server.iter().all(|byte| b"\r\n".contains(byte)));
    }
    assert_eq!(Ending::ProxyHeader.fault(), Fault::Administrator);
    rig().user().exchange("SITE PROXY x", "500 no");
}

#[test]
fn a_bare_lf_between_the_pieces_of_a_long_line_begins_no_command() {
    let mut rig = rig();
    let (now, mut out) = (rig.now, Outbox::default());
    for piece in [&[b'x'; 9000][..], b"\n", b"EPRT |1|203.0.113.9|51201|\r\n"] {
        rig.session.handle_client(now, piece, &mut out);
    }
    assert_eq!(rig.session.ended(), Some(Ending::UnclearCommand));
    assert!(!out.to_server.contains(&b'\n'));
}

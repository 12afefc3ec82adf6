//! Replies and the commands they answer.
use super::*;

#[test]
fn stray_lines_pass_and_shift_nothing() {
    let mut rig = rig();
    rig.user().client("TYPE E\r\nPASV\r\n").server_sees("TYPE E\r\n");
    rig.server("501 'TYPE E\r\n' unrecognized type.\r\n")
        .client_sees("501 'TYPE E\r\n' unrecognized type.\r\n");
    rig.server_sees("TYPE I\r\nPASV\r\n").server("200 ok\r\n").client_sees("");
    rig.server("227 x (10,0,0,11,1,2)\r\n").client_sees("227 x (198,51,100,11,1,2)\r\n");
}

#[test]
fn a_preliminary_reply_that_comes_late_answers_nothing() {
    let mut rig = rig();
    rig.user().binary().exchange("PASV", "227 x (10,0,0,62,1,2)");
    rig.exchange("RETR small", "425 Rejected data connection from foreign address 192.0.2.7:44659.");
    rig.client("PASV\r\n").server_sees("PASV\r\n");
    rig.server("150 File status okay. About to open data connection.\r\n227 x (10,0,0,11,1,2)\r\n");
    rig.client_sees("150 File status okay. About to open data connection.\r\n227 x (198,51,100,11,1,2)\r\n");
    assert!(!rig.session.is_busy());
}

#[test]
fn replies_nobody_asked_for_pass_and_shift_nothing() {
    let mut rig = rig();
    rig.user().server("220 hello again\r\n").client_sees("220 hello again\r\n");
    rig.server("250-news\r\n");
    // What the door answers does not go into the middle of it.
    rig.client("EPSV\r\n").client_sees("250-news\r\n").server("250 end\r\n");
    rig.client_sees("250 end\r\n502 EPSV is not available on this path; use PASV, or EPRT over IPv6.\r\n");
    rig.binary().exchange("PASV", "227 x (10,0,0,62,1,2)");
}

#[test]
fn markers_and_other_preliminary_replies_do_not_end_a_command() {
    let mut rig = rig();
    rig.user().binary().exchange("PASV", "227 x (10,0,0,62,1,2)").client("STOR /a\r\nCKSM MD5 0 -1 /a\r\n");
    let replies = "150 go\r\n112-Perf Marker\r\n Timestamp: 1\r\n112 End.\r\n111 Range Marker 0-5\r\n226 done\r\n\
                   113-Status Marker\r\n Bytes Processed: 5\r\n113 End.\r\n213 d41d8cd9\r\n";
    rig.server(replies).client_sees(replies);
    assert!(!rig.session.is_busy());
}

#[test]
fn abor_in_a_transfer_may_be_answered_twice_or_once_with_a_close() {
    let mut twice = rig();
    twice
        .user()
        .binary()
        .exchange("PASV", "227 x (10,0,0,62,1,2)")
        .client("RETR /a\r\n")
        .server("150 go\r\n");
    twice.out = Outbox::default();
    twice.client("ABOR\r\n").server("426 aborted\r\n226 done\r\n").client_sees("426 aborted\r\n226 done\r\n");
    twice.out = Outbox { actions: twice.actions(), ..Outbox::default() };
    twice.exchange("PASV", "227 x (10,0,0,62,1,2)");
    assert_eq!(twice.transfers()[0].reply.map(ReplyCode::number), Some(426));

    for signals in [&b""[..], b"\xff\xf4\xff\xf2", b"\xff\xf4\xff", b"\xff\xf2"] {
        let mut once = rig();
        once.user()
            .binary()
            .exchange("PASV", "227 x (10,0,0,62,1,2)")
            .client("RETR /a\r\n")
            .server_sees("RETR /a\r\n");
        once.client([signals, b"ABOR\r\n"].concat()).server_sees("ABOR\r\n");
        once.server("150 go\r\n226 Transfer Complete.\r\n")
            .client_sees("150 go\r\n226 Transfer Complete.\r\n");
        once.server_closes().client_sees(Ending::ClosedByCommand.reply()).ended(Ending::ClosedByCommand);
        assert_eq!(Ending::ClosedByCommand.fault(), Fault::Client);
        assert_eq!(once.transfers().len(), 1);
    }
}

#[test]
fn abor_with_nothing_to_abort_is_a_command_like_others() {
    rig().exchange("ABOR", "226 Abort successful").user().exchange("ABOR", "226 Abort successful");
}

#[test]
fn codes_nobody_knows_and_protected_ones_pass() {
    let mut rig = rig();
    rig.user()
        .exchange("XYZZY", "299 what")
        .exchange("XYZZY", "631 eA==")
        .exchange("XYZZY", "399 more")
        .exchange("PWD", "257 a");
    assert!(!rig.session.is_busy());
}

#[test]
fn a_line_of_other_code_inside_a_reply_does_not_end_it() {
    let reply = "211-Status\r\n226 not the end\r\n230 not a login\r\n227 (10,0,0,11,1,2)\r\n211 End";
    let mut rig = rig();
    rig.client("USER joe\r\nPASS x\r\n").server("331 p\r\n530 no\r\n").out = Outbox::default();
    rig.exchange("STAT", reply);
    assert_eq!(rig.session.login(), Login::No);
}

#[test]
fn an_answer_to_a_telnet_negotiation_before_a_reply_shifts_nothing() {
    let mut rig = rig();
    rig.user().binary().client("NOOP\r\nPASV\r\n").server(b"\xff\xfc\x01200 ok\r\n227 x (10,0,0,11,1,2)\r\n");
    rig.client_sees(b"\xff\xfc\x01200 ok\r\n227 x (198,51,100,11,1,2)\r\n");
}

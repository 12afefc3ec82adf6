//! What does not come about is answered with 425, once, and nothing hangs in the server.
use super::*;

/// The transfer of this test was refused by the door for this reason.
#[track_caller]
fn refused(rig: &mut Rig, words: &str) {
    rig.server_sees("").client_hears("425 ", words);
    let transfers = rig.transfers();
    assert_eq!(transfers.len(), 1, "{transfers:?}");
    assert_eq!(transfers[0].reply.map(ReplyCode::number), Some(425));
    assert!(transfers[0].failure.as_ref().is_some_and(|text| text.contains(words)), "{transfers:?}");
    assert_eq!(transfers[0].data_path, DataPath::Relay);
    rig.refused("RETR /a\r\n", "425 ").exchange("NOOP", "200 ok").driver_sees(&[]);
}

#[test]
fn no_port_is_told_at_the_command_that_wanted_one() {
    let mut rig = relay();
    for id in 1..3 {
        rig.user().client("PASV\r\nNOOP\r\n").driver_sees(&[listen(id, Side::Client, 1)]);
        rig.driver(id, failed("no relay port is free")).client_hears("425 ", "no relay port is free");
        rig.server_sees("NOOP\r\n").server("200 ok\r\n").client_sees("200 ok\r\n").driver_sees(&[]);
        assert!(rig.session.is_quiet());
    }
    rig.binary().pasv(3).retr(3);
}

#[test]
fn a_server_that_gives_no_address_fails_the_transfer() {
    #[rustfmt::skip]
    let table = [
        ("500 no\r\n",                                           "500 no"),
        ("500-Command failed.\r\n500-: reason\r\n500 End.\r\n",  "500-Command failed."),
        ("530 Please login\r\n",                                 "530 Please login"),
        ("425 none left\r\n",                                    "425 none left"),
        ("227 nothing here\r\n",                                 "no address"),
        ("227 x (10,0,0,11,0,0)\r\n",                            "no address"),
        ("200 Passive delayed.\r\n",                             "no address"),
        ("331 what\r\n",                                         "no address"),
        ("229 x (|||5|)\r\n",                                    ""),
    ];
    for (reply, words) in table {
        let mut rig = relay();
        rig.user().binary().pasv(1).client("RETR /a\r\n").server_sees("PASV\r\n").server(reply);
        if words.is_empty() {
            rig.starts(one(1, "10.0.0.11:5"));
            continue;
        }
        rig.driver_sees(&[close(1)]);
        refused(&mut rig, words);
    }
}

#[test]
fn a_server_that_cannot_be_reached_fails_the_transfer() {
    let mut rig = relay();
    rig.user().binary().pasv(1).client("RETR /a\r\n").server(THEIR_227).out.to_server.clear();
    rig.starts(one(1, THEIRS));
    rig.driver(1, failed("10.0.0.11:258: connection refused\r\n")).driver_sees(&[close(1)]);
    refused(&mut rig, "10.0.0.11:258: connection refused");
}

#[test]
fn a_reason_is_one_line_of_bounded_length() {
    let mut rig = relay();
    rig.user().client("PASV\r\n").driver(1, failed(&"ä\r\n".repeat(10_000)));
    assert!(rig.out.to_client.len() < 300);
    rig.client_hears("425 ", "ä  ä");
}

#[test]
fn the_clients_next_set_up_works_after_a_failure() {
    let mut rig = relay();
    rig.user().binary().pasv(1).client("RETR /a\r\n").server("500 no\r\n").out = Outbox::default();
    rig.pasv(2).retr(2).done(2);
}

#[test]
fn a_farewell_to_the_doors_own_command_is_the_answer() {
    for farewell in
        ["421 Idle Timeout: closing control connection.\r\n", "421-bye\r\n421 bye\r\n", "422 offline\r\n"]
    {
        let mut rig = relay();
        rig.user().binary().pasv(1).client("RETR /a\r\n").server(farewell).client_sees(farewell);
        let code = ReplyCode::parse(farewell.as_bytes());
        assert_eq!(rig.transfers()[0].reply, code);
        rig.server_closes().client_sees("").ended(Ending::Goodbye);
    }
}

#[test]
fn a_farewell_that_was_not_meant_is_told_once() {
    let mut rig = relay();
    rig.user().pasv(1).client("REST 5\r\n").server("350 ok\r\n").out = Outbox::default();
    rig.client("RETR /a\r\nNOOP\r\n").server_sees("TYPE I\r\nPASV\r\nREST 5\r\n");
    rig.server("421 later\r\n").client_sees("421 later\r\n").server_sees("");
    rig.server("421 later\r\n421 later\r\n").client_sees("").driver_sees(&[close(1)]);
    // The server might still have the offset.
    rig.server_sees("REST 0\r\nNOOP\r\n").server("350 ok\r\n200 ok\r\n").client_sees("200 ok\r\n");
}

#[test]
fn a_server_that_dies_while_it_is_asked_is_told_in_ftp() {
    for said in ["", "227 Ent", "227-x\r\n", "500-x\r\n"] {
        let mut rig = relay();
        rig.user().binary().pasv(1).client("RETR /a\r\n").server(said).client_sees("").server_closes();
        rig.client_sees(Ending::ServerLost.reply()).ended(Ending::ServerLost).driver_sees(&[]);
    }
}

#[test]
fn a_long_hidden_reply_stays_hidden() {
    let mut rig = relay();
    let long = "x".repeat(20_000);
    rig.user().binary().pasv(1).client("RETR /a\r\n");
    rig.server(format!("227-{long}\r\n")).server(format!("227 {long}")).client_sees("");
    rig.server(" (10,0,0,11,1,2)\r\n").server_sees("PASV\r\n").client_hears("425 ", "no address");
}

#[test]
fn what_the_driver_says_after_the_end_is_not_heard() {
    let mut rig = relay();
    rig.user().client("PASV\r\n").server_closes().out = Outbox::default();
    rig.driver(1, listening(&[PORT])).client_sees("").server_sees("").driver_sees(&[]);
}

#[test]
fn an_answer_to_another_request_is_not_heard() {
    let mut rig = relay();
    rig.user().pasv(1).client("PASV\r\n").driver(1, listening(&[LEG])).client_sees("");
    assert!(rig.session.is_waiting());
    rig.driver(2, listening(&[PORT])).client_sees(OUR_227);
}

#[test]
fn a_broken_upload_is_never_called_complete() {
    let broken = || RelayAnswer::Broken("the client's connection broke".into());
    for said in ["226 done\r\n", "226-all\r\n 226 is\r\n226 well\r\n", "250 done\r\n"] {
        let mut rig = relay();
        rig.user().binary().pasv(1).begins(1, "STOR /a", Direction::Upload);
        rig.server("150 go\r\n").client_sees("150 go\r\n").driver(1, broken()).client_sees("");
        rig.server(said).client_hears("426 ", "broke").driver_sees(&[finish(1, false)]);
        rig.exchange("NOOP", "200 ok");
    }
    // A server that says so itself is believed, and the next file has its own fate.
    let mut rig = relay();
    rig.user().binary().pasv(1).begins(1, "STOR /a", Direction::Upload).driver(1, broken());
    rig.server("150 go\r\n500 broken\r\n")
        .client_sees("150 go\r\n500 broken\r\n")
        .driver_sees(&[finish(1, false)]);
    rig.driver(1, broken()).pasv(2).begins(2, "STOR /b", Direction::Upload).done(2);
}

#[test]
fn after_a_refused_set_up_no_transfer_goes_by_an_older_address() {
    let used = |mut rig: Rig| {
        rig.user().binary().refused("PORT 192,0,2,7,200,1\r\n", "200 ").client("RETR /a\r\n");
        rig.driver(1, listening(&[LEG])).server("200 ok\r\n").server("150 go\r\n226 done\r\n");
        rig.out = Outbox::default();
        rig
    };
    // The server may still have the door's port, which is another session's by now.
    let mut striped = used(relay());
    striped.client("SPAS\r\n").server("500 what\r\n").out = Outbox::default();
    striped.refused("RETR /b\r\n", "425 ").pasv(3).begins(3, "RETR /b", Direction::Download);

    for refused in ["PASV", "PORT 192,0,2,7,200,2"] {
        let mut direct = used(Site { path: DataPath::Auto, ..Site::default() }.rig());
        direct.exchange("SITE CLIENTINFO x", "250 ok").exchange(refused, "500 no");
        direct.refused("LIST\r\n", "425 ");
        // Once the server has taken one, the next transfer is its own.
        direct.exchange("PASV", "227 x (198,51,100,11,1,2)").exchange("LIST", "226 done");
    }
}

#[test]
fn an_empty_line_and_a_server_that_refuses_leave_no_session_hanging() {
    let mut rig = relay();
    rig.user().binary().pasv(1).client("\r\n").server_sees("\r\n");
    rig.refused("RETR /a\r\n", "425 ");
    // ProFTPD says nothing to an empty line; what it says to the next command shows that.
    rig.exchange("NOOP", "200 ok").begins(1, "RETR /a", Direction::Download).done(1);
}

#[test]
fn the_driver_can_tell_how_long_the_server_owes_what_the_door_has_asked() {
    let mut rig = relay();
    rig.user().binary().pasv(1);
    assert_eq!(rig.session.asked_since(), None);
    rig.client("RETR /a\r\n").server_sees("PASV\r\n");
    assert_eq!(rig.session.asked_since(), Some(rig.now));
    rig.server(THEIR_227).out.to_server.clear();
    assert_eq!(rig.session.asked_since(), None);
}

#[test]
fn the_driver_can_tell_how_long_the_server_owes_the_answer_to_a_broken_upload() {
    let broken = || RelayAnswer::Broken("the client's connection broke".into());
    let mut rig = relay();
    rig.user().binary().pasv(1).begins(1, "STOR /a", Direction::Upload).server("150 go\r\n");
    rig.now += Duration::from_secs(7);
    assert_eq!(rig.session.broken_since(), None, "a silent upload may take hours");
    rig.driver(1, broken());
    let since = Some(rig.now);
    rig.now += Duration::from_secs(7);
    assert_eq!(rig.session.broken_since(), since);
    rig.server("226 done\r\n").out = Outbox::default();
    assert_eq!(rig.session.broken_since(), None);
    // What the driver does when that is over, with a record that says how it broke.
    rig.pasv(2).begins(2, "STOR /b", Direction::Upload).driver(2, broken()).out = Outbox::default();
    rig.session.handle_ending(Ending::ServerSilent, rig.now, &mut rig.out);
    rig.client_hears("421 ", "the server does not answer");
    let failure = rig.actions().into_iter().find_map(|action| match action {
        Action::Transfer(record) => record.failure,
        _ => None,
    });
    assert_eq!(failure.as_deref(), Some("the client's connection broke"));
}

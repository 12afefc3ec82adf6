//! PASV and EPSV: the server is asked when the transfer begins.
use super::*;

#[test]
fn a_get_asks_the_server_for_its_address_when_the_transfer_begins() {
    let mut rig = relay();
    rig.user().pasv(1).exchange("TYPE I", "200 ok").exchange("SIZE /a", "213 5");
    rig.retr(1).server("150 go\r\n").client_sees("150 go\r\n").driver_sees(&[]);
    rig.server("226 done\r\n").client_sees("226 done\r\n").driver_sees(&[finish(1, true)]);
    let transfers = rig.transfers();
    assert_eq!((transfers[0].data_path, transfers[0].reason), (DataPath::Relay, PathReason::Configured));
    assert_eq!((transfers[0].relay, &transfers[0].failure), (Some(RelayId(1)), &None));
    // The next one has a number of its own, and the port of this one is closed by the driver.
    rig.pasv(2).retr(2);
}

#[test]
fn every_transfer_command_crosses_the_door_in_its_direction() {
    use Direction::{Download, Upload};
    #[rustfmt::skip]
    let table = [
        ("RETR /a", Download), ("LIST", Download), ("NLST /", Download), ("MLSD", Download), ("ERET P 0 1 /a", Download),
        ("STOR /a", Upload), ("APPE /a", Upload), ("STOU", Upload), ("ESTO A 0 /a", Upload),
        ("GET path=/a;", Download), ("PUT path=/a;", Upload),
    ];
    for (transfer, direction) in table {
        relay().user().binary().pasv(1).begins(1, transfer, direction).done(1);
    }
}

#[test]
fn a_client_that_sends_all_at_once_gets_the_same() {
    let mut rig = relay();
    rig.user().binary().client("PASV\r\nRETR x\r\nNOOP\r\n").server_sees("");
    rig.driver_sees(&[listen(1, Side::Client, 1)]);
    assert!(!rig.session.accepts_client() && rig.session.is_waiting() && rig.session.is_busy());
    rig.driver(1, listening(&[PORT])).client_sees(OUR_227).server_sees("PASV\r\n");
    rig.server(THEIR_227).server_sees("").client_sees("");
    rig.driver(1, RelayAnswer::Connected).server_sees("RETR x\r\nNOOP\r\n");
    rig.server("150 go\r\n226 done\r\n200 ok\r\n").client_sees("150 go\r\n226 done\r\n200 ok\r\n");
    assert!(!rig.session.is_busy() && rig.session.is_quiet());
}

#[test]
fn several_in_a_row_close_the_one_before() {
    let mut rig = relay();
    rig.user().binary().pasv(1);
    for id in 2..5 {
        rig.client("PASV\r\n").driver_sees(&[close(id - 1), listen(id, Side::Client, 1)]);
        rig.driver(id, listening(&[PORT])).client_sees(OUR_227);
    }
    rig.retr(4);
}

#[test]
fn a_passive_command_waits_until_nothing_is_under_way() {
    let mut rig = relay();
    rig.user().binary().client("PWD\r\nPASV\r\n").server_sees("PWD\r\n").driver_sees(&[]);
    rig.server("257 a\r\n").client_sees("257 a\r\n").driver_sees(&[listen(1, Side::Client, 1)]);
    // What the server says of its own accord comes first and is not torn apart.
    rig.server("250-news\r\n").client_sees("250-news\r\n");
    rig.driver(1, listening(&[PORT])).client_sees("");
    rig.server("250 end\r\n").client_sees(format!("250 end\r\n{OUR_227}"));
}

#[test]
fn the_reply_has_the_form_and_the_address_that_the_client_can_use() {
    const V6: &str = "[2001:db8::1]:52001";
    #[rustfmt::skip]
    type Row = (&'static str, &'static str, &'static [&'static str], &'static str, &'static str, &'static str);
    #[rustfmt::skip]
    let table: &[Row] = &[
        ("PASV",             "192.0.2.7",        &[],                              "PASV",   PORT,                        OUR_227),
        ("in small letters", "192.0.2.7",        &[],                              "pasv",   PORT,                        OUR_227),
        ("mapped client",    "::ffff:192.0.2.7", &[],                              "PASV",   "[::ffff:203.0.113.1]:52001", OUR_227),
        ("behind 1:1 NAT",   "192.0.2.7",        &["2001:db8::9", "198.51.100.9"], "PASV",   PORT, "227 Entering Passive Mode (198,51,100,9,203,33)\r\n"),
        ("other family NAT", "192.0.2.7",        &["2001:db8::9"],                 "PASV",   PORT,                        OUR_227),
        ("EPSV",             "192.0.2.7",        &["198.51.100.9"],                "EPSV",   PORT,                        OUR_229),
        ("EPSV 1",           "192.0.2.7",        &[],                              "EPSV 1", PORT,                        OUR_229),
        ("EPSV, IPv6",       "2001:db8::7",      &[],                              "EPSV",   V6,                          OUR_229),
        ("EPSV 2",           "2001:db8::7",      &[],                              "EPSV 2", V6,                          OUR_229),
    ];
    for &(name, client, announce, command, port, reply) in table {
        let mut rig = Site { path: DataPath::Relay, client, announce, ..Site::default() }.rig();
        rig.user().client(format!("{command}\r\n")).driver(1, listening(&[port]));
        assert_eq!(shown(&std::mem::take(&mut rig.out.to_client)), shown(reply.as_bytes()), "{name}");
    }
}

#[test]
fn what_cannot_be_given_is_refused_with_what_can() {
    #[rustfmt::skip]
    let table = [
        ("192.0.2.7",   "EPSV 2", "522 ", "use (1)"),
        ("2001:db8::7", "EPSV 1", "522 ", "use (2)"),
        ("192.0.2.7",   "EPSV 3", "522 ", "use (1)"),
        ("192.0.2.7",   "EPSV x", "501 ", "EPSV"),
        ("2001:db8::7", "PASV",   "522 ", "use EPSV"),
        ("192.0.2.7",   "SPAS 2", "522 ", "SPAS 1"),
        ("2001:db8::7", "SPAS",   "522 ", "SPAS 2"),
        ("2001:db8::7", "SPAS 1", "522 ", "SPAS 2"),
        ("192.0.2.7",   "LPSV",   "502 ", "EPSV"),
    ];
    for (client, command, code, words) in table {
        let mut rig = Site { path: DataPath::Relay, client, ..Site::default() }.rig();
        rig.user()
            .client(format!("{command}\r\n"))
            .server_sees("")
            .driver_sees(&[])
            .client_hears(code, words);
        rig.exchange("NOOP", "200 ok");
    }
}

#[test]
fn after_epsv_all_nothing_else_is_taken() {
    let mut rig = relay();
    rig.user().refused("EPSV ALL\r\n", "200 ");
    for command in
        ["PASV", "PORT 192,0,2,7,200,1", "EPRT |1|192.0.2.7|51201|", "SPAS", "SPOR 192,0,2,7,200,1"]
    {
        rig.refused(format!("{command}\r\n"), "501 ").driver_sees(&[]);
    }
    rig.client("EPSV\r\n").driver(1, listening(&[PORT])).client_sees(OUR_229);
    rig.exchange("REIN", "220 again").user().relay_requests();
    rig.pasv(2);
}

#[test]
fn nobody_gets_a_port_before_login() {
    let mut rig = relay();
    for command in ["PASV", "EPSV", "SPAS", "PORT 192,0,2,7,200,1"] {
        rig.refused(format!("{command}\r\n"), "530 ").driver_sees(&[]);
    }
    // Pipelined behind the login it is asked for once that is known.
    rig.client("USER joe\r\nPASS x\r\nPASV\r\n").server_sees("USER joe\r\nPASS x\r\n").driver_sees(&[]);
    rig.server("331 p\r\n230 in\r\n").driver_sees(&[listen(1, Side::Client, 1)]);
}

#[test]
fn the_server_is_asked_in_the_family_of_its_own_connection() {
    #[rustfmt::skip]
    let table = [
        ("10.0.0.11", "PASV", THEIR_227,                                             "10.0.0.11:258"),
        ("10.0.0.11", "PASV", "227 Passive mode 10,0,0,11,1,2.\r\n",                 "10.0.0.11:258"),
        ("10.0.0.11", "PASV", "227-Nota\r\n227 bene (10,0,0,11,1,2)\r\n",            "10.0.0.11:258"),
        ("10.0.0.11", "PASV", "227-Was (10,0,0,9,9,9)\r\n227 is (10,0,0,11,1,2)\r\n", "10.0.0.11:258"),
        ("10.0.0.11", "PASV", "150 a moment\r\n227 x (10,0,0,11,1,2)\r\n",           "10.0.0.11:258"),
        ("10.0.0.11", "PASV", "227 x (0,0,0,0,1,2)\r\n",                             "10.0.0.11:258"),
        ("10.0.0.11", "PASV", "227 x (127,0,1,1,1,2)\r\n",                           "10.0.0.11:258"),
        ("10.0.0.11", "PASV", "227 a data node (10,0,0,62,1,2)\r\n",                 "10.0.0.62:258"),
        // The public address would lead the door out and in again.
        ("10.0.0.11", "PASV", "227 x (198,51,100,11,1,2)\r\n",                       "198.51.100.11:258"),
        ("fd77::11",  "EPSV", "229 x (|||258|)\r\n",                                 "[fd77::11]:258"),
        ("fd77::11",  "EPSV", "229 x (|2|fd77::62|258|)\r\n",                        "[fd77::62]:258"),
        ("fd77::11",  "EPSV", "229 x (|1|10.0.0.62|258|)\r\n",                       "10.0.0.62:258"),
        ("fd77::11",  "EPSV", "229 x (|2|::|258|)\r\n",                              "[fd77::11]:258"),
    ];
    for (server, asked, reply, target) in table {
        let mut rig = Site { path: DataPath::Relay, server, ..Site::default() }.rig();
        rig.user().binary().pasv(1).client("RETR /a\r\n").server_sees(format!("{asked}\r\n"));
        for byte in reply.as_bytes() {
            rig.server([*byte]).client_sees("");
        }
        rig.starts(one(1, target));
    }
}

#[test]
fn a_type_that_the_client_has_not_chosen_is_chosen_when_the_server_is_asked() {
    let mut rig = relay();
    rig.user().pasv(1).client("RETR /a\r\n").server_sees("TYPE I\r\nPASV\r\n");
    rig.server("200 ok\r\n").client_sees("").server(THEIR_227).client_sees("").starts(one(1, THEIRS));

    // A server that does not know TYPE I still gives its address.
    let mut other = relay();
    other.user().pasv(1).client("RETR /a\r\n").server("504 no\r\n").server(THEIR_227).client_sees("");
    other.starts(one(1, THEIRS));
}

#[test]
fn curls_order_is_right_whatever_the_server_does_at_pasv() {
    let mut rig = relay();
    rig.user().client("EPSV\r\n").driver(1, listening(&[PORT])).client_sees(OUR_229).driver_sees(&[listen(
        1,
        Side::Client,
        1,
    )]);
    // The server hears of the type first.
    rig.binary().exchange("SIZE /a", "213 5").retr(1).done(1);
}

#[test]
fn a_transfer_without_a_set_up_passes() {
    relay().user().binary().exchange("RETR /a", "425 Use PASV first").driver_sees(&[]);
}

#[test]
fn a_used_one_serves_no_second_transfer() {
    let mut rig = relay();
    rig.user().binary().pasv(1).retr(1).done(1);
    rig.refused("RETR /b\r\n", "425 ").driver_sees(&[]);

    let mut pipelined = relay();
    pipelined
        .user()
        .binary()
        .pasv(1)
        .client("RETR /a\r\nRETR /b\r\n")
        .server_sees("PASV\r\n")
        .server(THEIR_227);
    pipelined.starts(one(1, THEIRS)).driver(1, RelayAnswer::Connected).server_sees("RETR /a\r\n");
    pipelined.server("150 go\r\n226 done\r\n").client_sees(
        "150 go\r\n226 done\r\n425 There is no data connection for it; send PASV, EPSV, PORT or EPRT first.\r\n",
    );
    assert_eq!(pipelined.transfers().len(), 1);
}

#[test]
fn an_open_port_is_not_quiet_until_it_is_used() {
    let mut rig = relay();
    rig.user().binary();
    assert!(rig.session.is_quiet());
    rig.client("PASV\r\n");
    assert!(!rig.session.is_quiet() && rig.session.is_busy());
    rig.driver(1, listening(&[PORT]));
    assert!(!rig.session.is_quiet() && !rig.session.is_busy());
    rig.out = Outbox::default();
    rig.session.handle_drain();
    rig.retr(1);
    assert!(!rig.session.is_quiet() && rig.session.is_busy());
    rig.done(1);
    assert!(rig.session.is_quiet());
    rig.client("PASV\r\n").client_sees(Ending::Draining.reply()).ended(Ending::Draining).driver_sees(&[]);
}

#[test]
fn a_transfer_lasts_from_its_command() {
    let mut rig = relay();
    rig.user().binary().pasv(1);
    rig.now += Duration::from_secs(60);
    rig.client("RETR /a\r\n").server(THEIR_227).out = Outbox::default();
    rig.now += Duration::from_secs(2);
    rig.driver(1, RelayAnswer::Connected);
    rig.now += Duration::from_secs(3);
    rig.server("226 done\r\n");
    assert_eq!(rig.transfers()[0].duration, Duration::from_secs(5));
}

#[test]
fn a_listing_in_type_a_is_asked_for_in_type_i_and_given_in_type_a() {
    for listing in ["LIST", "NLST /", "MLSD"] {
        let mut rig = relay();
        rig.user().binary().pasv(1).exchange("TYPE A", "200 ok").client(format!("{listing}\r\n"));
        rig.server_sees("TYPE I\r\nPASV\r\nTYPE A\r\n").server("200 ok\r\n").client_sees("").driver_sees(&[]);
        rig.server(THEIR_227).client_sees("").starts(one(1, THEIRS)).driver(1, RelayAnswer::Connected);
        rig.server("200 ok\r\n").client_sees("").server_sees(format!("{listing}\r\n")).done(1);
        // A file is not the door's to translate.
        rig.pasv(2).retr(2);
    }
}

#[test]
fn a_listing_that_the_door_connects_to_the_client_for_is_given_likewise() {
    let mut rig = relay();
    rig.user().binary().exchange("TYPE A", "200 ok").refused("PORT 192,0,2,7,200,1\r\n", "200 ");
    rig.client("LIST\r\n").driver_sees(&[listen(1, Side::Server, 1)]).driver(1, listening(&[LEG]));
    rig.server_sees("TYPE I\r\nPORT 10,0,0,1,207,9\r\nTYPE A\r\n");
}

#[test]
fn a_port_is_nobodys_but_the_clients_where_no_third_party_is_to_be_expected() {
    // The client itself, a data address of the site, anybody.
    const ASKING: [&str; 3] = ["192.0.2.7", "198.51.100.11", "203.0.113.9"];
    for (account, globus, private, accepted) in [
        (true, false, false, [true, true, false]),
        (true, true, false, [true, true, true]),
        (false, true, false, [true, true, false]),
        (true, true, true, [true, false, false]),
        (true, false, true, [true, false, false]),
    ] {
        let mut rig = relay();
        if account { rig.user() } else { rig.anonymous() }.binary();
        rig.session.is_globus = globus;
        rig.session.is_private = private;
        rig.pasv(1).client("RETR /a\r\n").server(THEIR_227);
        let requests = rig.relay_requests();
        let [RelayRequest::Start { peers, .. }] = &requests[..] else { panic!("{requests:?}") };
        let answers = ASKING.map(|peer| peers.accepts(peer.parse().unwrap()));
        assert_eq!(answers, accepted, "account {account}, Globus {globus}, private {private}");
    }
}

#[test]
fn a_listing_of_a_tree_and_a_mode_in_full_are_known() {
    let mut rig = relay();
    rig.user().binary().pasv(1).begins(1, "MLSR /a", Direction::Download).done(1);
    rig.exchange("MODE Extended", "200 ok").pasv(2).client("STOR /a\r\n").server(THEIR_227);
    let requests = rig.relay_requests();
    assert!(
        matches!(requests[..], [RelayRequest::Start { connections: Connections::Many, .. }]),
        "{requests:?}"
    );
}

#[test]
fn pasv_is_never_answered_with_a_port_alone() {
    // A load balancer on IPv6 has named an IPv4 client.
    let mut rig = relay();
    rig.user().binary().client("PASV\r\n").driver_sees(&[listen(1, Side::Client, 1)]);
    rig.driver(1, listening(&["[fd77::1]:52001"])).client_hears("425 ", "EPSV").driver_sees(&[close(1)]);
    rig.client("EPSV\r\n").driver(2, listening(&["[fd77::1]:52002"])).client_hears("229 ", "(|||52002|)");

    let mut known = Site { path: DataPath::Relay, announce: &["198.51.100.9"], ..Site::default() }.rig();
    known.user().client("PASV\r\n").driver(1, listening(&["[fd77::1]:52001"]));
    known.client_hears("425 ", "EPSV");
}

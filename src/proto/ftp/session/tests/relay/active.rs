//! PORT, EPRT and SPOR: the server connects to the door, the door to the client.
use super::*;

#[test]
fn the_server_is_told_of_the_door_when_the_transfer_begins() {
    #[rustfmt::skip]
    type Row = (&'static str, &'static [&'static str], &'static [&'static str], &'static str);
    #[rustfmt::skip]
    let table: &[Row] = &[
        ("PORT 192,0,2,7,200,1",             &["192.0.2.7:51201"], &[LEG],              "PORT 10,0,0,1,207,9"),
        ("port 192,0,2,7,200,1",             &["192.0.2.7:51201"], &[LEG],              "PORT 10,0,0,1,207,9"),
        ("EPRT |1|192.0.2.7|51201|",         &["192.0.2.7:51201"], &[LEG],              "PORT 10,0,0,1,207,9"),
        ("PORT 192,0,2,7,200,1",             &["192.0.2.7:51201"], &["[fd77::1]:53001"], "EPRT |2|fd77::1|53001|"),
        ("SPOR 192,0,2,7,200,1",             &["192.0.2.7:51201"], &[LEG],              "SPOR 10,0,0,1,207,9"),
        ("SPOR |1|192.0.2.7|51201| 192,0,2,7,200,2", &["192.0.2.7:51201", "192.0.2.7:51202"], &[LEG, "10.0.0.1:53002"],
                                                                                     "SPOR 10,0,0,1,207,9 10,0,0,1,207,10"),
        ("SPOR 192,0,2,7,200,1 192,0,2,7,200,2", &["192.0.2.7:51201", "192.0.2.7:51202"], &["[fd77::1]:1024", "[fd77::1]:1025"],
                                                                                     "SPOR |2|fd77::1|1024| |2|fd77::1|1025|"),
    ];
    for (command, targets, ports, told) in table {
        let mut rig = relay();
        rig.user().binary().refused(format!("{command}\r\n"), "200 ").driver_sees(&[]);
        rig.client("RETR /a\r\n").server_sees("").driver_sees(&[listen(1, Side::Server, targets.len())]);
        assert!(rig.session.is_busy() && !rig.session.accepts_client());
        rig.driver(1, listening(ports)).server_sees(format!("{told}\r\n")).client_sees("");
        rig.server("200 ok\r\n").client_sees("").server_sees("RETR /a\r\n");
        let connections = if targets.len() > 1 { Connections::Many } else { Connections::One };
        rig.starts(Started { targets: addresses(targets), connections, from_server: true, ..one(1, LEG) });
        rig.done(1);
    }
}

#[test]
fn an_upload_goes_the_other_way() {
    let mut rig = relay();
    rig.user().binary().refused("PORT 192,0,2,7,200,1\r\n", "200 ").client("STOR /a\r\n");
    rig.driver(1, listening(&[LEG])).server("200 ok\r\n").server_sees("PORT 10,0,0,1,207,9\r\nSTOR /a\r\n");
    let mut requests = rig.relay_requests();
    let Some(RelayRequest::Start { direction, .. }) = requests.pop() else { panic!("{requests:?}") };
    assert_eq!(direction, Direction::Upload);
}

#[test]
fn a_server_that_checks_its_peer_is_told_of_the_door_even_where_data_is_direct() {
    let constraint = Some(DataConstraint::ChecksPeer);
    let mut rig = Site { path: DataPath::Direct, constraint, ..Site::default() }.rig();
    rig.user().binary().exchange("MODE E", "200 ok").exchange("MODE S", "200 ok");
    rig.refused("PORT 192,0,2,7,200,1\r\n", "200 ").client("RETR /a\r\n");
    rig.driver_sees(&[listen(1, Side::Server, 1)])
        .driver(1, listening(&[LEG]))
        .server("200 ok\r\n")
        .done_without_a_look();
    assert_eq!(rig.transfers()[0].reason, PathReason::PeerChecked);
}

impl Rig {
    fn done_without_a_look(&mut self) -> &mut Self {
        self.server("150 go\r\n226 done\r\n")
    }
}

#[test]
fn what_may_not_be_named_is_refused_as_ever() {
    for (line, code) in [
        ("PORT 203,0,113,9,200,1", "504 "),
        ("EPRT |1|203.0.113.9|51201|", "504 "),
        ("SPOR 192,0,2,7,200,1 203,0,113,9,200,1", "504 "),
        ("PORT 192,0,2,7,0,25", "504 "),
        ("PORT 127,0,0,1,200,1", "504 "),
        ("PORT what", "501 "),
    ] {
        let mut rig = relay();
        rig.anonymous()
            .binary()
            .refused(format!("{line}\r\n"), code)
            .exchange("NOOP", "200 ok")
            .driver_sees(&[]);
    }
}

#[test]
fn the_last_one_counts() {
    let mut rig = relay();
    rig.user().binary().pasv(1).refused("PORT 192,0,2,7,200,1\r\n", "200 ").driver_sees(&[close(1)]);
    rig.refused("PORT 192,0,2,7,200,2\r\n", "200 ").driver_sees(&[]);
    rig.client("RETR /a\r\n").driver_sees(&[listen(3, Side::Server, 1)]).driver(3, listening(&[LEG]));
    rig.server("200 ok\r\n").starts(Started { from_server: true, ..one(3, "192.0.2.7:51202") });
    rig.done_without_a_look().out = Outbox::default();
    rig.pasv(4);
}

#[test]
fn failures_are_told_at_the_transfer() {
    let named = || {
        let mut rig = relay();
        rig.user().binary().refused("PORT 192,0,2,7,200,1\r\n", "200 ").client("RETR /a\r\n");
        rig.driver_sees(&[listen(1, Side::Server, 1)]);
        rig
    };
    let mut no_port = named();
    no_port.driver(1, failed("no port")).client_hears("425 ", "no port").server_sees("").driver_sees(&[]);
    assert_eq!(no_port.transfers().len(), 1);

    let mut refused = named();
    refused.driver(1, listening(&[LEG])).server("500 Illegal PORT command\r\n").driver_sees(&[close(1)]);
    refused.client_hears("425 ", "Illegal PORT").server_sees("PORT 10,0,0,1,207,9\r\n");
    assert_eq!(refused.transfers().len(), 1);
    // The server may remember an older address of the door's, which is another session's by now.
    refused.refused("RETR /a\r\n", "425 ");
}

#[test]
fn who_may_connect_to_the_doors_port_is_the_server_or_one_of_its_nodes() {
    let mut rig = Site { path: DataPath::Relay, trusted: &["10.1.0.0/24"], ..Site::default() }.rig();
    rig.user().binary().refused("PORT 192,0,2,7,200,1\r\n", "200 ").client("RETR /a\r\n");
    rig.driver(1, listening(&[LEG])).server("200 ok\r\n");
    let requests = rig.relay_requests();
    let Some(RelayRequest::Start { peers, .. }) = requests.last() else { panic!("{requests:?}") };
    #[rustfmt::skip]
    let table = [
        ("10.0.0.11", true), ("::ffff:10.0.0.11", true), ("198.51.100.11", true),
        ("10.1.0.5", true), ("::ffff:10.1.0.5", true),
        ("192.0.2.7", false), ("10.0.0.12", false), ("203.0.113.9", false), ("127.0.0.1", false),
    ];
    for (peer, accepted) in table {
        assert_eq!(peers.accepts(peer.parse().unwrap()), accepted, "{peer}");
    }
}

#[test]
fn one_line_does_not_take_the_ports_of_all() {
    let spor = |count| format!("SPOR{}\r\n", " 192,0,2,7,200,1".repeat(count));
    relay().user().binary().refused(spor(65), "504 ").driver_sees(&[]);
    let mut rig = relay();
    rig.user().binary().refused(spor(64), "200 ").client("RETR /a\r\n").driver_sees(&[listen(
        1,
        Side::Server,
        64,
    )]);
}

#[test]
fn a_named_address_is_not_quiet_until_it_is_used() {
    let mut rig = relay();
    rig.user().binary().refused("PORT 192,0,2,7,200,1\r\n", "200 ");
    assert!(!rig.session.is_quiet() && !rig.session.is_busy());
    rig.session.handle_drain();
    rig.client("RETR /a\r\n").driver_sees(&[listen(1, Side::Server, 1)]);
}

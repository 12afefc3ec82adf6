//! REST is said again to a server that is asked for its address only after it.
use super::*;

#[test]
fn the_server_hears_rest_after_the_doors_own_command() {
    for (set_up, asked, reply) in
        [("PASV", "PASV\r\n", THEIR_227), ("PORT 192,0,2,7,200,1", "PORT 10,0,0,1,207,9\r\n", "200 ok\r\n")]
    {
        for rest_first in [false, true] {
            let mut rig = relay();
            rig.user().binary();
            if rest_first {
                rig.exchange("REST 100", "350 ok");
            }
            rig.client(format!("{set_up}\r\n"));
            if set_up == "PASV" {
                rig.driver(1, listening(&[PORT]));
            }
            rig.out = Outbox::default();
            if !rest_first {
                rig.exchange("REST 100", "350 ok");
            }
            rig.exchange("SIZE /a", "213 500").client("RETR /a\r\n");
            if set_up != "PASV" {
                rig.driver(1, listening(&[LEG]));
            }
            rig.server_sees(format!("{asked}REST 100\r\n")).relay_requests();
            rig.server(reply).client_sees("").server_sees("").driver_sees(&[]);
            rig.server("350 ok\r\n").client_sees("").driver_sees_a_start();
            if set_up == "PASV" {
                rig.driver(1, RelayAnswer::Connected);
            }
            rig.server_sees("RETR /a\r\n").server("150 go\r\n226 done\r\n").out = Outbox::default();
            // Once is enough.
            let id = rig.session.relays + 1;
            rig.pasv(id).retr(id);
        }
    }
}

impl Rig {
    #[track_caller]
    fn driver_sees_a_start(&mut self) -> &mut Self {
        let requests = self.relay_requests();
        assert!(matches!(requests[..], [RelayRequest::Start { .. }]), "{requests:?}");
        self
    }
}

#[test]
fn what_the_server_did_not_take_is_not_repeated() {
    let mut rig = relay();
    rig.user().binary().exchange("REST 100", "501 no").pasv(1).retr(1);

    let mut twice = relay();
    twice.user().binary().client("REST 5\r\nREST x\r\n").server_sees("REST 5\r\n").server("350 ok\r\n");
    twice.server_sees("REST x\r\n").server("501 no\r\n").out = Outbox::default();
    twice.pasv(1).retr(1);
}

#[test]
fn ranges_and_marks_are_repeated_as_they_were() {
    let mut rig = relay();
    rig.user().binary().exchange("MODE E", "200 ok").exchange("REST 0-100,200-40000", "350 ok").pasv(1);
    rig.client("STOR /a\r\n").server_sees("PASV\r\nREST 0-100,200-40000\r\n");
}

#[test]
fn what_is_too_long_to_keep_is_left_to_the_server() {
    let mut rig = relay();
    let ranges: String = (0..2000).map(|at| format!("{at}0-{at}5,")).collect();
    rig.user().binary().client(format!("REST {ranges}\r\n")).server("350 ok\r\n").out = Outbox::default();
    rig.pasv(1).retr(1);
}

#[test]
fn a_server_that_takes_it_no_more_fails_the_transfer() {
    let mut rig = relay();
    rig.user().binary().pasv(1).exchange("REST 100", "350 ok").client("RETR /a\r\n").out.to_server.clear();
    rig.server(THEIR_227).server("501 REST not allowed now\r\n").driver_sees(&[close(1)]);
    rig.client_hears("425 ", "REST not allowed");
}

#[test]
fn a_transfer_that_never_began_leaves_no_offset_behind() {
    let mut rig = relay();
    rig.user()
        .binary()
        .pasv(1)
        .exchange("REST 100", "350 ok")
        .client("RETR /a\r\nNOOP\r\n")
        .out
        .to_server
        .clear();
    rig.server("500 no\r\n").client_sees("").server_sees("");
    rig.server("350 ok\r\n").client_hears("425 ", "500 no").server_sees("REST 0\r\nNOOP\r\n");
    rig.server("350 ok\r\n200 ok\r\n").client_sees("200 ok\r\n").relay_requests();
    rig.pasv(2).retr(2);
}

#[test]
fn a_direct_session_keeps_nothing_of_it() {
    let mut rig = rig();
    rig.user().binary().exchange("REST 100", "350 ok").exchange("PASV", "227 x (10,0,0,62,1,2)");
    assert_eq!(rig.session.rest, None);
    rig.client("REST 1\r\nREST 2\r\nRETR /a\r\n").server_sees("REST 1\r\nREST 2\r\nRETR /a\r\n");
}

#[test]
fn a_transfer_that_the_door_refuses_leaves_no_offset_behind_on_any_path() {
    let typed = |path| {
        let mut rig = Site { path, ..Site::default() }.rig();
        rig.user().exchange("MODE E", "200 ok").exchange("MODE S", "200 ok");
        rig
    };
    let direct = || {
        let mut rig = typed(DataPath::Direct);
        rig.exchange("TYPE A", "200 ok")
            .exchange("PASV", "227 x (10,0,0,62,1,2)")
            .exchange("TYPE I", "200 ok");
        rig
    };
    let long = format!("REST {}", "1-2,".repeat(3000));
    let table = [
        ("RETR /a", "425 ", direct(), "REST 100"),
        ("RETR /a", "425 ", direct(), &long),
        ("GET path=/a;port=1;", "501 ", direct(), "REST 100"),
        ("GET path=/a;port=127,0,0,1,200,1;", "504 ", direct(), "REST 100"),
        ("GET path=/a;pasv;", "504 ", typed(DataPath::Relay), "REST 100"),
        ("GET path=/a;pasv;", "504 ", typed(DataPath::Relay), &long),
    ];
    for (command, code, mut rig, rest) in table {
        rig.exchange(rest, "350 ok").client(format!("{command}\r\n"));
        rig.client_hears(code, "").server_sees("REST 0\r\n").server("350 ok\r\n").client_sees("");
        rig.client(format!("{command}\r\n")).client_hears(code, "").server_sees("");
    }
}

#[test]
fn a_rest_of_which_only_the_beginning_is_kept_is_not_repeated() {
    let mut rig = relay();
    let line = format!("REST {}1-2\r\n", "1-2,".repeat(3000));
    let (head, tail) = line.split_at(HELD_LINE);
    rig.user().binary().client(head).client(tail).server_sees(&line).server("350 ok\r\n").out =
        Outbox::default();
    rig.pasv(1).retr(1);
}

#[test]
fn rein_forgets_the_offset() {
    let mut rig = relay();
    rig.user().binary().exchange("REST 100", "350 ok").exchange("REIN", "220 ok");
    rig.user().binary().pasv(1).client("RETR /a\r\n").server_sees("PASV\r\n");
}

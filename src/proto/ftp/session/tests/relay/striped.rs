//! SPAS: the server's count of addresses, the door's ports.
use super::*;

const TWO: [&str; 2] = [PORT, "203.0.113.1:52002"];

#[test]
fn every_line_keeps_its_form_and_names_a_port_of_the_door() {
    #[rustfmt::skip]
    type Row = (&'static str, &'static str, &'static str, &'static [&'static str], &'static str);
    #[rustfmt::skip]
    let table: &[Row] = &[
        ("SPAS",   "192.0.2.7", "229-Entering Striped Passive Mode.\r\n 10,0,0,62,1,2\r\n 10,0,0,61,3,4\r\n229 End\r\n",
            &["10.0.0.62:258", "10.0.0.61:772"],
            "229-Entering Striped Passive Mode.\r\n 203,0,113,1,203,33\r\n 203,0,113,1,203,34\r\n229 End\r\n"),
        ("SPAS 1", "192.0.2.7", "229-x\r\n |1|10.0.0.62|258|\r\n |1|10.0.0.62|772|\r\n229 End\r\n",
            &["10.0.0.62:258", "10.0.0.62:772"],
            "229-x\r\n |1|203.0.113.1|52001|\r\n |1|203.0.113.1|52002|\r\n229 End\r\n"),
        ("SPAS 2", "2001:db8::7", "229-x\r\n |2|::ffff:10.0.0.62|258|\r\n |2|fd77::62|772|\r\n229 End\r\n",
            &["10.0.0.62:258", "[fd77::62]:772"],
            "229-x\r\n |2|2001:db8::1|52001|\r\n |2|2001:db8::1|52002|\r\n229 End\r\n"),
        ("SPAS",   "192.0.2.7", "229-\r\n10,0,0,62,1,2\r\n0,0,0,0,3,4\r\n229 \r\n",
            &["10.0.0.62:258", "10.0.0.11:772"], "229-\r\n203,0,113,1,203,33\r\n203,0,113,1,203,34\r\n229 \r\n"),
    ];
    for (command, client, reply, targets, told) in table {
        let mut rig = Site { path: DataPath::Relay, client, ..Site::default() }.rig();
        rig.user().binary().client(format!("{command}\r\nNOOP\r\n")).server_sees(format!("{command}\r\n"));
        for byte in reply.as_bytes() {
            assert!(!rig.session.accepts_client() && rig.session.is_busy());
            rig.server([*byte]).client_sees("").server_sees("");
        }
        rig.driver_sees(&[listen(1, Side::Client, 2)]);
        let v6 = ["[2001:db8::1]:52001", "[2001:db8::1]:52002"];
        rig.driver(1, listening(if client.contains(':') { &v6 } else { &TWO })).client_sees(told);
        rig.server_sees("NOOP\r\n").server("200 ok\r\n").client_sees("200 ok\r\n");
        assert!(!rig.session.is_quiet(), "the ports are open");
        rig.exchange("MODE E", "200 ok").client("STOR /a\r\n").server_sees("STOR /a\r\n");
        rig.starts(Started { direction: Direction::Upload, ..many(1, targets) });
        rig.done(1);
    }
}

#[test]
fn a_single_line_is_an_answer_too() {
    #[rustfmt::skip]
    let table = [
        ("229 x (10,0,0,62,1,2)\r\n",  "229 x (203,0,113,1,203,33)\r\n"),
        ("229 x (|1|10.0.0.62|258|)\r\n", "229 x (|1|203.0.113.1|52001|)\r\n"),
    ];
    for (reply, told) in table {
        let mut rig = relay();
        rig.user().binary().client("SPAS\r\n").server(reply).driver(1, listening(&[PORT])).client_sees(told);
        rig.relay_requests();
        // One connection of MODE S: made before the command passes.
        rig.out.to_server.clear();
        rig.client("RETR /a\r\n").server_sees("").starts(one(1, "10.0.0.62:258"));
        rig.driver(1, RelayAnswer::Connected).server_sees("RETR /a\r\n");
    }
}

#[test]
fn the_type_is_chosen_before_the_address_is_asked_for() {
    let mut rig = relay();
    rig.user().client("SPAS\r\n").server_sees("TYPE I\r\nSPAS\r\n").server("200 ok\r\n").client_sees("");
    rig.server("229-x\r\n 10,0,0,62,1,2\r\n229 End\r\n").driver_sees(&[listen(1, Side::Client, 1)]);
    rig.driver(1, listening(&[PORT])).exchange_after(&["229-x\r\n 203,0,113,1,203,33\r\n229 End\r\n"]);
    rig.exchange("TYPE A", "200 ok").refused("STOR /a\r\n", "425 ");
}

impl Rig {
    #[track_caller]
    fn exchange_after(&mut self, shown: &[&str]) -> &mut Self {
        self.client_sees(shown.concat())
    }
}

#[test]
fn what_the_server_refuses_is_told_in_its_words() {
    for refusal in
        ["500 Command not supported.\r\n", "500-Command failed.\r\n500-: no\r\n500 End.\r\n", "421 bye\r\n"]
    {
        let mut rig = relay();
        rig.user().binary().client("SPAS\r\nNOOP\r\n").server(refusal).client_sees(refusal).driver_sees(&[]);
        rig.server_sees("SPAS\r\nNOOP\r\n").server("200 ok\r\n").client_sees("200 ok\r\n");
        rig.pasv(2);
    }
}

#[test]
fn addresses_that_cannot_be_read_are_a_failure() {
    let long = format!("229-x\r\n {}\r\n229 End\r\n", "1".repeat(10_000));
    let lines = |count: usize| format!("229-x\r\n{}229 End\r\n", " 10,0,0,62,1,2\r\n".repeat(count));
    let wide = format!("229-x\r\n{}229 End\r\n", format!(" {}\r\n", "x".repeat(1000)).repeat(70));
    for reply in [
        "229 EPSV ALL Successful.\r\n",
        "200 delayed\r\n",
        "229-x\r\n229 End\r\n",
        &long,
        &lines(1025),
        &wide,
    ] {
        let mut rig = relay();
        rig.user().binary().client("SPAS\r\n").server_sees("SPAS\r\n");
        for chunk in reply.as_bytes().chunks(700) {
            rig.server(chunk);
        }
        rig.client_hears("425 ", "server").driver_sees(&[]);
        rig.exchange("NOOP", "200 ok");
    }
    let mut most = relay();
    most.user().binary().client("SPAS\r\n").server(lines(1024)).driver_sees(&[listen(1, Side::Client, 1024)]);
}

#[test]
fn no_ports_for_all_of_them_is_told() {
    let mut rig = relay();
    rig.user().binary().client("SPAS\r\n").server("229-x\r\n 10,0,0,62,1,2\r\n229 End\r\n").relay_requests();
    rig.driver(1, failed("no relay port is free")).client_hears("425 ", "no relay port is free");
}

//! Addresses that a client expects with the transfer (AllowDelayed): Globus clients read no other then.
use super::*;

const OUR_127: &str = "127 Entering Passive Mode (203,0,113,1,203,33)\r\n";

fn delayed() -> Rig {
    let mut rig = relay();
    rig.user().binary().refused("OPTS PASV AllowDelayed=1;\r\n", "200 ");
    rig
}

#[test]
fn the_address_comes_with_the_transfer() {
    #[rustfmt::skip]
    let table = [
        ("PASV", OUR_127),
        // Several addresses in a 129 are more than clients can read.
        ("SPAS", OUR_127),
        ("EPSV", "129 Entering Extended Passive Mode (|||52001|)\r\n"),
    ];
    for (command, told) in table {
        let mut rig = delayed();
        rig.refused(format!("{command}\r\n"), "200 ").driver_sees(&[]);
        assert!(rig.session.is_quiet(), "no port is open yet");
        rig.client("RETR /a\r\n").client_sees("").server_sees("").driver_sees(&[listen(1, Side::Client, 1)]);
        rig.driver(1, listening(&[PORT])).client_sees("").server_sees("PASV\r\n");
        rig.server(THEIR_227).client_sees("").server_sees("").starts(one(1, THEIRS));
        rig.driver(1, RelayAnswer::Connected).client_sees(told).server_sees("RETR /a\r\n");
        rig.done(1);
    }
}

#[test]
fn in_mode_e_it_comes_before_any_connection() {
    let mut rig = delayed();
    rig.exchange("MODE E", "200 ok")
        .refused("PASV\r\n", "200 ")
        .client("STOR /a\r\n")
        .driver(1, listening(&[PORT]));
    rig.client_sees("").server(THEIR_227).client_sees(OUR_127).server_sees("PASV\r\nSTOR /a\r\n");
    rig.server("150 go\r\n226 done\r\n").client_sees("150 go\r\n226 done\r\n");
    // The next one uses the same connections.
    rig.exchange("STOR /b", "226 done");
}

#[test]
fn a_failure_is_the_answer_to_the_transfer() {
    let mut rig = delayed();
    rig.refused("PASV\r\n", "200 ")
        .client("RETR /a\r\n")
        .driver(1, failed("no port"))
        .client_hears("425 ", "no port");
    rig.server_sees("");
}

#[test]
fn it_ends_with_another_option_or_with_port() {
    for command in ["OPTS PASV AllowDelayed=0;", "opts spas allowdelayed=0", "PORT 192,0,2,7,200,1"] {
        let mut rig = delayed();
        rig.refused(format!("{command}\r\n"), "200 ").client("PASV\r\n");
        let id = rig.session.relays;
        rig.driver(id, listening(&[PORT])).client_sees(OUR_227);
    }
    delayed().exchange("REIN", "220 ok").user().pasv(1);
}

#[test]
fn a_server_that_was_told_to_delay_is_told_otherwise_before_it_is_asked() {
    let mut rig = Site { path: DataPath::Auto, ..Site::default() }.rig();
    rig.user().binary().exchange("OPTS PASV AllowDelayed=1;", "200 ok").exchange("PASV", "200 delayed");
    rig.session.is_private = true;
    rig.refused("PASV\r\n", "200 ").client("RETR /a\r\n").driver(1, listening(&[PORT]));
    rig.server_sees("OPTS PASV AllowDelayed=0;\r\nPASV\r\n").server("200 ok\r\n").client_sees("");
    rig.server(THEIR_227).client_sees("").driver(1, RelayAnswer::Connected).client_sees(OUR_127);
}

#[test]
fn a_server_that_does_not_delay_makes_no_client_wait() {
    let mut rig = Site { path: DataPath::Auto, ..Site::default() }.rig();
    rig.user().binary().exchange("OPTS PASV AllowDelayed=1;", "500 OPTS failed.");
    rig.session.is_private = true;
    rig.pasv(1);
}

#[test]
fn a_port_that_the_server_has_taken_ends_the_delay() {
    let mut rig = Site { path: DataPath::Auto, ..Site::default() }.rig();
    rig.user()
        .binary()
        .exchange("OPTS PASV AllowDelayed=1;", "200 ok")
        .exchange("PORT 192,0,2,7,200,1", "200 ok");
    rig.session.is_private = true;
    rig.pasv(1).client("RETR /a\r\n").server_sees("PASV\r\n");
}

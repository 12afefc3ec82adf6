//! What becomes of a data set-up when the session changes or ends.
use super::*;

#[test]
fn rein_closes_it() {
    let mut rig = relay();
    rig.user().binary().pasv(1).exchange("REIN", "500 no").driver_sees(&[]);
    rig.exchange("REIN", "220 again").driver_sees(&[close(1)]);
    rig.refused("PASV\r\n", "530 ");
}

#[test]
fn a_tunnel_closes_it() {
    let mut rig = relay();
    rig.user().binary().pasv(1).exchange("AUTH TLS", "234 go").driver_sees(&[close(1)]);
}

#[test]
fn the_driver_drops_what_a_session_leaves() {
    let mut rig = relay();
    rig.user().binary().pasv(1).retr(1).server("150 go\r\n").server_closes().driver_sees(&[]);
    let transfers = rig.transfers();
    assert_eq!((transfers[0].data_path, transfers[0].reply), (DataPath::Relay, None));

    let mut quit = relay();
    quit.user().binary().pasv(1).exchange("QUIT", "221 bye").server_closes().driver_sees(&[]);
    quit.ended(Ending::Goodbye);
}

#[test]
fn abor_waits_for_what_the_transfer_waits_for() {
    let mut rig = relay();
    rig.user().binary().pasv(1).client(b"RETR /a\r\n\xff\xf4\xff\xf2ABOR\r\n").server_sees("PASV\r\n");
    rig.server(THEIR_227).server_sees("").driver(1, RelayAnswer::Connected);
    rig.server_sees("RETR /a\r\nABOR\r\n").relay_requests();
    rig.server("426 aborted\r\n").driver_sees(&[finish(1, false)]).server("226 done\r\n").driver_sees(&[]);
    rig.client_sees("426 aborted\r\n226 done\r\n");

    let mut failed_first = relay();
    failed_first.user().binary().pasv(1).client("RETR /a\r\nABOR\r\n").server("500 no\r\n");
    failed_first.client_hears("425 ", "500 no").server_sees("PASV\r\nABOR\r\n").relay_requests();
    failed_first.server("226 Abort successful\r\n").client_sees("226 Abort successful\r\n").driver_sees(&[]);
}

#[test]
fn abor_in_a_transfer_that_a_globus_server_answers_once_and_closes() {
    let mut rig = relay();
    rig.user().binary().pasv(1).retr(1).client("ABOR\r\n").server("150 go\r\n226 Transfer Complete.\r\n");
    rig.driver_sees(&[finish(1, true)]).server_closes().ended(Ending::ClosedByCommand);
}

#[test]
fn a_transfer_that_fails_is_finished_as_such() {
    for reply in ["550 no such file\r\n", "150 go\r\n426 cut\r\n", "150 go\r\n500-x\r\n500 End.\r\n"] {
        let mut rig = relay();
        rig.user().binary().pasv(1).retr(1).server(reply).client_sees(reply).driver_sees(&[finish(1, false)]);
        rig.pasv(2);
    }
}

#[test]
fn replies_pass_while_an_answer_is_awaited() {
    let mut rig = relay();
    rig.user()
        .binary()
        .client("PASV\r\n")
        .server("421 Service closing\r\n")
        .client_sees("421 Service closing\r\n");
    rig.server_closes().client_sees("").ended(Ending::Goodbye);
}

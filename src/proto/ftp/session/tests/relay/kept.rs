//! MODE E: connections that are kept across transfers.
use super::*;

fn kept() -> Rig {
    let mut rig = relay();
    rig.user().binary().exchange("MODE E", "200 ok").pasv(1).client("STOR /1\r\n").server_sees("PASV\r\n");
    // No connection to the server before the client's.
    rig.server(THEIR_227).server_sees("STOR /1\r\n").client_sees("");
    rig.starts(Started { direction: Direction::Upload, ..many(1, &[THEIRS]) });
    rig
}

#[test]
fn the_command_passes_without_a_connection() {
    let mut rig = kept();
    rig.done(1);
    assert!(rig.session.is_quiet());
}

#[test]
fn later_transfers_go_straight_through() {
    let mut rig = kept();
    rig.done(1).client("STOR /2\r\nSTOR /3\r\n").server_sees("STOR /2\r\nSTOR /3\r\n").driver_sees(&[]);
    rig.server("125 reusing\r\n226 done\r\n").driver_sees(&[finish(1, true)]);
    rig.server("125 reusing\r\n226 done\r\n").driver_sees(&[finish(1, true)]);
    assert_eq!(rig.transfers().iter().filter(|record| record.relay == Some(RelayId(1))).count(), 3);
    rig.client("PASV\r\n").driver_sees(&[close(1), listen(2, Side::Client, 1)]);
}

#[test]
fn pipelined_transfers_follow_the_first_at_once() {
    let mut rig = relay();
    rig.user().binary().exchange("MODE E", "200 ok").pasv(1).client("STOR /1\r\nSTOR /2\r\nPASV\r\n");
    rig.server_sees("PASV\r\n").server(THEIR_227).server_sees("STOR /1\r\nSTOR /2\r\n").driver_sees_start();
    rig.server("150 go\r\n226 done\r\n").driver_sees(&[finish(1, true)]);
    rig.server("125 go\r\n226 done\r\n").driver_sees(&[
        finish(1, true),
        close(1),
        listen(2, Side::Client, 1),
    ]);
}

impl Rig {
    #[track_caller]
    fn driver_sees_start(&mut self) -> &mut Self {
        let requests = self.relay_requests();
        assert!(matches!(requests[..], [RelayRequest::Start { .. }]), "{requests:?}");
        self
    }
}

#[test]
fn a_file_that_is_missing_leaves_the_connections_alone() {
    let mut rig = kept();
    rig.done(1).client("STOR /no\r\n").server("550 no such file\r\n").driver_sees(&[]);
    rig.client("STOR /cut\r\n").server("125 go\r\n426 broken\r\n").driver_sees(&[finish(1, false)]);
}

#[test]
fn mode_counts_when_the_transfer_begins() {
    let mut rig = relay();
    rig.user().binary().pasv(1).exchange("MODE E", "200 ok").client("RETR /a\r\n").server(THEIR_227);
    rig.starts(many(1, &[THEIRS]));

    let mut refused = relay();
    refused.user().binary().exchange("MODE E", "504 no").pasv(1).retr(1);

    let mut back = relay();
    back.user().binary().exchange("MODE E", "200 ok").pasv(1).exchange("MODE S", "200 ok").retr(1);

    let mut pipelined = relay();
    pipelined.user().binary().pasv(1).client("MODE E\r\nRETR /a\r\n").server_sees("MODE E\r\n");
    pipelined.server("200 ok\r\n").server_sees("PASV\r\n").server(THEIR_227).starts(many(1, &[THEIRS]));

    let mut rein = relay();
    rein.user().exchange("MODE E", "200 ok").exchange("REIN", "220 ok").user().binary().pasv(1).retr(1);
}

#[test]
fn active_ones_are_kept_as_well() {
    let mut rig = relay();
    rig.user().binary().exchange("MODE E", "200 ok").refused("PORT 192,0,2,7,200,1\r\n", "200 ");
    rig.client("RETR /1\r\nRETR /2\r\n").driver(1, listening(&[LEG])).server("200 ok\r\n");
    rig.server_sees("PORT 10,0,0,1,207,9\r\nRETR /1\r\nRETR /2\r\n").relay_requests();
    rig.server("150 go\r\n226 done\r\n125 go\r\n226 done\r\n")
        .driver_sees(&[finish(1, true), finish(1, true)]);
}

#[test]
fn another_type_than_at_the_address_refuses_files_on_kept_connections() {
    let mut rig = kept();
    rig.done(1).exchange("TYPE A", "200 ok").refused("STOR /2\r\n", "425 ");
    rig.exchange("TYPE I", "200 ok").client("STOR /2\r\n").server_sees("STOR /2\r\n");
}

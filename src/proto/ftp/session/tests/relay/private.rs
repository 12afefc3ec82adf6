//! PROT P: the door is the client's TLS server on data connections, so they cross it.
use super::*;

#[test]
fn protection_counts_when_the_transfer_begins() {
    for private in [false, true] {
        let mut rig = relay();
        rig.user().binary().pasv(1);
        rig.session.is_private = private;
        rig.client("RETR /a\r\n").server(THEIR_227).starts(Started { private, ..one(1, THEIRS) });
    }
}

#[test]
fn a_set_up_that_passes_the_door_by_serves_no_private_transfer() {
    let mut rig = rig();
    rig.user().binary().exchange("PASV", "227 x (10,0,0,62,1,2)");
    rig.session.is_private = true;
    rig.refused("RETR /a\r\n", "425 ").driver_sees(&[]);
    rig.pasv(1).client("RETR /a\r\n").server_sees("PASV\r\n");
}

#[test]
fn kept_connections_are_not_used_with_another_protection() {
    let mut rig = relay();
    rig.user().binary().exchange("MODE E", "200 ok").pasv(1).client("STOR /1\r\n").server(THEIR_227);
    rig.server("226 done\r\n").out = Outbox::default();
    rig.session.is_private = true;
    rig.refused("STOR /2\r\n", "425 ");
    rig.session.is_private = false;
    rig.exchange("STOR /3", "226 done");
}

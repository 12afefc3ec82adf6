//! `auto`: Globus' family goes straight, all others cross the door.
use super::*;

fn auto() -> Rig {
    Site { path: DataPath::Auto, ..Site::default() }.rig()
}

#[test]
fn who_shows_that_it_speaks_gridftp_goes_straight() {
    for command in ["SITE CLIENTINFO appname=\"x\";", "OPTS PASV AllowDelayed=1;", "MODE E"] {
        for (set_up, reply) in [
            ("PASV", "227 x (10,0,0,62,1,2)"),
            ("PORT 192,0,2,7,200,1", "200 ok"),
            ("SPOR 192,0,2,7,200,1", "200 ok"),
            ("SPAS", "229-x\r\n 10,0,0,62,1,2\r\n229 End"),
        ] {
            let mut rig = auto();
            rig.user().binary().exchange(command, "200 ok").exchange(set_up, reply);
            rig.exchange("RETR /a", "226 done").driver_sees(&[]);
            let transfers = rig.transfers();
            assert_eq!(
                (transfers[0].data_path, transfers[0].reason),
                (DataPath::Direct, PathReason::GlobusClient)
            );
        }
    }
    auto().user().binary().exchange("SPAS", "229-x\r\n 10,0,0,62,1,2\r\n229 End").driver_sees(&[]);
}

#[test]
fn all_others_cross_the_door() {
    for command in ["NOOP", "MODE S", "FEAT", "SITE HELP", "OPTS UTF8 ON", "OPTS RETR Parallelism=4,4,4;"] {
        let mut rig = auto();
        rig.user().binary().exchange(command, "200 ok").pasv(1).retr(1).done(1);
        assert_eq!(rig.transfers()[0].reason, PathReason::OtherClient);
    }
    auto().user().binary().client("EPSV\r\n").driver(1, listening(&[PORT])).client_sees(OUR_229);
}

#[test]
fn it_is_decided_anew_at_each_set_up() {
    let mut rig = auto();
    rig.user().binary().pasv(1);
    // The address that was given stays the door's.
    rig.exchange("MODE E", "200 ok").client("STOR /a\r\n").server_sees("PASV\r\n").server(THEIR_227);
    rig.server_sees("STOR /a\r\n").relay_requests();
    // The next set-up waits for the end of the transfer: its connections are still in use.
    rig.client("PASV\r\n").server_sees("").server("226 done\r\n").driver_sees(&[finish(1, true), close(1)]);
    rig.client_sees("226 done\r\n").server_sees("PASV\r\n").server(THEIR_227);
    rig.client_sees("227 Entering Passive Mode (198,51,100,11,1,2)\r\n").exchange("STOR /b", "226 done");
    let reasons: Vec<_> = rig.transfers().iter().map(|record| record.reason).collect();
    assert_eq!(reasons, [PathReason::OtherClient, PathReason::GlobusClient]);
}

#[test]
fn what_forces_the_relay_is_stronger_than_what_is_configured() {
    #[rustfmt::skip]
    let table = [
        (DataPath::Auto,   Some(DataConstraint::ChecksPeer), false, PathReason::PeerChecked),
        (DataPath::Direct, Some(DataConstraint::ChecksPeer), false, PathReason::PeerChecked),
        (DataPath::Relay,  Some(DataConstraint::ChecksPeer), false, PathReason::PeerChecked),
        (DataPath::Direct, Some(DataConstraint::Tls),        false, PathReason::TlsToServer),
        (DataPath::Auto,   None,                             true,  PathReason::TlsToClient),
        (DataPath::Direct, None,                             true,  PathReason::TlsToClient),
        (DataPath::Relay,  None,                             false, PathReason::Configured),
    ];
    for (path, constraint, private, reason) in table {
        let mut rig = Site { path, constraint, ..Site::default() }.rig();
        rig.session.is_private = private;
        rig.user().binary().exchange("SITE CLIENTINFO x", "200 ok").pasv(1);
        rig.client("RETR /a\r\n").server(THEIR_227).driver(1, RelayAnswer::Connected).server("226 done\r\n");
        assert_eq!(rig.transfers()[0].reason, reason, "{path} {constraint:?} {private}");
    }
}

#[test]
fn get_and_put_with_an_address_of_their_own_never_pass_the_door_by() {
    for line in
        ["GET path=/a;pasv;", "PUT path=/a;pasv", "GET path=/a; PASV ;", "GET path=/a;port=192,0,2,7,200,1;"]
    {
        let mut rig = relay();
        rig.user().binary().refused(format!("{line}\r\n"), "504 ").driver_sees(&[]);
        rig.session.is_private = true;
        rig.refused(format!("{line}\r\n"), "504 ");
        // Whoever speaks GFD.47 follows an address.
        let mut straight = auto();
        straight.user().binary().exchange(line, "226 done").driver_sees(&[]);
        assert_eq!(straight.transfers()[0].reason, PathReason::GlobusClient);
    }
}

#[test]
fn get_with_an_address_of_its_own_needs_no_other() {
    let mut rig = Site { path: DataPath::Auto, ..Site::default() }.rig();
    rig.anonymous().binary().pasv(1).client("GET path=/a;pasv;\r\n").server_sees("GET path=/a;pasv;\r\n");
    rig.driver_sees(&[close(1)]);
}

#[test]
fn the_type_at_an_address_of_the_servers_does_not_count_for_one_of_the_doors() {
    let mut rig = Site { path: DataPath::Auto, ..Site::default() }.rig();
    rig.user().exchange("TYPE A", "200 ok").exchange("SITE CLIENTINFO x", "250 ok");
    rig.exchange("PASV", "227 x (198,51,100,11,1,2)").exchange("TYPE I", "200 ok");
    rig.session.is_private = true;
    rig.pasv(1).client("RETR /a\r\n").client_sees("").server_sees("PASV\r\n");
}

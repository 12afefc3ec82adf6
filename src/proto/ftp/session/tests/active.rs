//! PORT, EPRT and SPOR pass unchanged where the data is direct.
use super::*;

#[test]
fn allowed_addresses_pass_as_they_were_written() {
    for line in [
        "PORT 192,0,2,7,200,1",
        "port  192,0,2,7,200,1 ",
        "EPRT |1|192.0.2.7|51201|",
        "EPRT !1!192.0.2.7!51201!",
        "SPOR 192,0,2,7,200,1 192,0,2,7,200,2",
        "SPOR |1|192.0.2.7|51201| |1|192.0.2.7|51202|",
    ] {
        rig().anonymous().binary().exchange(line, "200 ok").exchange("RETR /a", "226 done");
    }
    let mut v6 = Site { client: "2001:db8::7", ..Site::default() }.rig();
    v6.anonymous().binary().exchange("EPRT |2|2001:DB8::7|46895|", "200 ok");
}

#[test]
fn an_open_address_is_not_quiet_until_it_is_used() {
    let mut rig = rig();
    rig.anonymous().binary();
    assert!(rig.session.is_quiet());
    rig.exchange("PORT 192,0,2,7,200,1", "200 ok");
    assert!(!rig.session.is_quiet() && !rig.session.is_busy());
    rig.exchange("RETR /a", "226 done");
    assert!(rig.session.is_quiet());
}

#[test]
fn active_mode_after_a_delayed_passive_forgets_it() {
    let mut rig = rig();
    rig.user().binary().exchange("OPTS PASV AllowDelayed=1;", "200 ok").exchange("PASV", "200 delayed");
    rig.exchange("PORT 192,0,2,7,200,1", "200 ok")
        .exchange("TYPE A", "200 ok")
        .refused("RETR /a\r\n", "425 ");
}

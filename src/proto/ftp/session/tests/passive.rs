//! PASV, EPSV and SPAS: addresses that the server gives.
use super::*;

const OUR_PASV: &str = "227 Entering Passive Mode (198,51,100,11,1,2)\r\n";

#[test]
fn every_form_of_address_reply_is_rewritten_where_it_answers_its_command() {
    #[rustfmt::skip]
    let table: &[(&str, &str, &str, &str)] = &[
        ("227",            "PASV", "227 Entering Passive Mode (10,0,0,11,1,2)\r\n", OUR_PASV),
        ("multi-line 227", "PASV", "227-Nota bene\r\n227 Entering Passive Mode (10,0,0,11,1,2)\r\n", "227-Nota bene\r\n227 Entering Passive Mode (198,51,100,11,1,2)\r\n"),
        ("a data node",    "PASV", "227 x (10,0,0,62,1,2)\r\n", "227 x (10,0,0,62,1,2)\r\n"),
        ("EPSV",           "EPSV", "229 x (|||513|)\r\n", "229 x (|1|198.51.100.11|513|)\r\n"),
        ("EPSV 1",         "EPSV 1", "229 x (|||513|)\r\n", "229 x (|1|198.51.100.11|513|)\r\n"),
        ("EPSV, -epsv-ip", "EPSV", "229 x (|1|10.0.0.11|513|)\r\n", "229 x (|1|198.51.100.11|513|)\r\n"),
        ("EPSV ALL",       "EPSV ALL", "229 EPSV ALL Successful.\r\n", "229 EPSV ALL Successful.\r\n"),
        ("EPSV 3",         "EPSV 3", "501 Invalid protocol.\r\n", "501 Invalid protocol.\r\n"),
        ("SPAS",           "SPAS", "229-Entering Striped Passive Mode.\r\n 10,0,0,11,1,2\r\n 10,0,0,62,3,4\r\n229 End\r\n",
                                   "229-Entering Striped Passive Mode.\r\n 198,51,100,11,1,2\r\n 10,0,0,62,3,4\r\n229 End\r\n"),
        ("SPAS 1",         "SPAS 1", "229-x\r\n |1|10.0.0.11|513|\r\n229 End\r\n", "229-x\r\n |1|198.51.100.11|513|\r\n229 End\r\n"),
        ("SPAS 2",         "SPAS 2", "229-x\r\n |2|::ffff:10.0.0.11|513|\r\n |2|fd77::62|1|\r\n229 End\r\n", "229-x\r\n |1|198.51.100.11|513|\r\n |2|fd77::62|1|\r\n229 End\r\n"),
        ("SPAS, one line", "SPAS", "229 x (10,0,0,11,1,2)\r\n", "229 x (198,51,100,11,1,2)\r\n"),
        ("refused",        "PASV", "500-Command failed.\r\n500-: no\r\n500 End.\r\n", "500-Command failed.\r\n500-: no\r\n500 End.\r\n"),
        ("no command of its own", "STAT", "227 x (10,0,0,11,1,2)\r\n", "227 x (10,0,0,11,1,2)\r\n"),
        ("a directory named so", "PWD", "257 \"227 (10,0,0,11,1,2)\"\r\n", "257 \"227 (10,0,0,11,1,2)\"\r\n"),
    ];
    for &(name, command, reply, expected) in table {
        let mut rig = rig();
        rig.user().binary().exchange("MODE E", "200 ok");
        rig.client(format!("{command}\r\n")).server_sees(format!("{command}\r\n"));
        for byte in reply.as_bytes() {
            rig.server([*byte]);
        }
        assert_eq!(shown(&std::mem::take(&mut rig.out.to_client)), shown(expected.as_bytes()), "{name}");
    }
}

#[test]
fn a_delayed_address_comes_with_the_transfer() {
    #[rustfmt::skip]
    let table: &[(&str, &str, &str)] = &[
        ("PASV", "127 Entering Passive Mode (10,0,0,11,1,2)\r\n", "127 Entering Passive Mode (198,51,100,11,1,2)\r\n"),
        ("PASV", "127 PORT (10,0,0,11,1,2)\r\n", "127 PORT (198,51,100,11,1,2)\r\n"),
        ("EPSV", "129 Entering Extended Passive Mode (|||513|)\r\n", "129 Entering Extended Passive Mode (|1|198.51.100.11|513|)\r\n"),
        ("EPSV", "129 x (|1|10.0.0.11|513|)\r\n", "129 x (|1|198.51.100.11|513|)\r\n"),
        ("SPAS", "129-x\r\n 10,0,0,11,1,2\r\n129 End\r\n", "129-x\r\n 198,51,100,11,1,2\r\n129 End\r\n"),
        ("SPAS", "129 x (10,0,0,11,1,2)\r\n", "129 x (198,51,100,11,1,2)\r\n"),
    ];
    for &(command, reply, expected) in table {
        for transfer in ["RETR /a", "STOR /a", "MLSD /", "LIST"] {
            let mut rig = rig();
            rig.user().binary().exchange("OPTS PASV AllowDelayed=1;", "200 ok");
            rig.exchange(command, "200 Passive delayed.");
            assert!(rig.session.is_quiet(), "no port is open yet");
            rig.client(format!("{transfer}\r\n")).server_sees(format!("{transfer}\r\n"));
            rig.server(reply).client_sees(expected);
            rig.server("500-no such file\r\n500 End.\r\n").client_sees("500-no such file\r\n500 End.\r\n");
            assert_eq!(rig.transfers().len(), 1);
        }
    }
}

#[test]
fn a_delayed_address_has_the_family_of_its_own_epsv() {
    let mut rig = Site { public: &["198.51.100.11", "2001:db8::11"], ..Site::default() }.rig();
    rig.user().binary().exchange("OPTS EPSV AllowDelayed=1;", "200 ok").exchange("EPSV 1", "200 delayed");
    // The second EPSV is sent while the first one's transfer has not told its address.
    rig.client("RETR /a\r\nEPSV 2\r\n").server_sees("RETR /a\r\nEPSV 2\r\n");
    rig.server("129 x (|||513|)\r\n").client_sees("129 x (|1|198.51.100.11|513|)\r\n");
    rig.server("226 done\r\n200 delayed\r\n").client_sees("226 done\r\n200 delayed\r\n");
    rig.client("RETR /b\r\n").server_sees("RETR /b\r\n");
    rig.server("129 x (|||513|)\r\n").client_sees("129 x (|2|2001:db8::11|513|)\r\n");
}

#[test]
fn epsv_is_for_clients_that_follow_an_address() {
    let shows = [
        "SITE CLIENTINFO appname=\"x\";",
        "OPTS PASV AllowDelayed=1;",
        "opts spas allowdelayed=0;",
        "MODE E",
        "mode e",
    ];
    for command in shows {
        let mut rig = rig();
        rig.user().binary().exchange(command, "200 ok").exchange("EPSV", "200 delayed");
    }
    let mut spas = rig();
    spas.user().binary().exchange("SPAS", "500 no").exchange("EPSV", "200 delayed");
    for command in ["MODE S", "OPTS UTF8 ON", "OPTS RETR Parallelism=4,4,4;", "SITE HELP", "NOOP"] {
        let mut rig = rig();
        rig.user().exchange(command, "200 ok");
        rig.refused("EPSV\r\n", "502 ").refused("EPSV 1\r\n", "502 ").refused("EPSV ALL\r\n", "502 ");
        rig.binary().exchange("PASV", "227 x (10,0,0,62,1,2)");
    }
}

#[test]
fn a_refused_epsv_waits_for_its_turn() {
    let mut rig = rig();
    rig.user().client("PWD\r\nEPSV\r\nNOOP\r\n").server_sees("PWD\r\n").client_sees("");
    assert!(rig.session.is_waiting());
    rig.server("257-a\r\n").client_sees("257-a\r\n").server_sees("");
    rig.server("257 b\r\n")
        .client_sees("257 b\r\n502 EPSV is not available on this path; use PASV, or EPRT over IPv6.\r\n");
    rig.server_sees("NOOP\r\n").server("200 ok\r\n").client_sees("200 ok\r\n");
}

#[test]
fn the_family_asked_for_is_the_one_that_the_client_reaches() {
    const BOTH: &[&str] = &["198.51.100.11", "2001:db8::11"];
    #[rustfmt::skip]
    type Row = (&'static str, &'static str, &'static str, &'static [&'static str], &'static str, &'static str, &'static str);
    #[rustfmt::skip]
    let table: &[Row] = &[
        ("v4 on v4",          "192.0.2.7",   "10.0.0.11", BOTH, "EPSV",   "EPSV",   "|1|198.51.100.11|513|"),
        ("v6 on v4",          "2001:db8::7", "10.0.0.11", BOTH, "EPSV",   "EPSV 2", "|2|2001:db8::11|513|"),
        ("v6 on v4, asks 2",  "2001:db8::7", "10.0.0.11", BOTH, "EPSV 2", "EPSV 2", "|2|2001:db8::11|513|"),
        ("v6 on v4, asks 1",  "2001:db8::7", "10.0.0.11", BOTH, "EPSV 1", "EPSV 1", "|1|198.51.100.11|513|"),
        ("v6 on v4, no v6",   "2001:db8::7", "10.0.0.11", &["198.51.100.11"], "EPSV", "EPSV", "|1|198.51.100.11|513|"),
        ("mapped v4 on v4",   "::ffff:192.0.2.7", "10.0.0.11", BOTH, "EPSV", "EPSV", "|1|198.51.100.11|513|"),
        ("v4 on v6",          "192.0.2.7",   "fd77::11",  BOTH, "EPSV",   "EPSV 1", "|1|198.51.100.11|513|"),
        ("v6 on v6",          "2001:db8::7", "fd77::11",  &[],  "EPSV",   "EPSV",   "|2|fd77::11|513|"),
        ("v4 on v6, no v4",   "192.0.2.7",   "fd77::11",  &[],  "EPSV",   "EPSV",   "|2|fd77::11|513|"),
        ("in small letters",  "2001:db8::7", "10.0.0.11", BOTH, "epsv",   "EPSV 2", "|2|2001:db8::11|513|"),
    ];
    for &(name, client, server, public, command, sent, told) in table {
        let mut rig = Site { client, server, public, ..Site::default() }.rig();
        rig.user().binary().exchange("MODE E", "200 ok").client(format!("{command}\r\n"));
        assert_eq!(shown(&std::mem::take(&mut rig.out.to_server)), format!("{sent}\\r\\n"), "{name}");
        rig.server("229 x (|||513|)\r\n");
        assert_eq!(shown(&std::mem::take(&mut rig.out.to_client)), format!("229 x ({told})\\r\\n"), "{name}");
    }
}

#[test]
fn lpsv_and_lprt_are_refused() {
    rig().user().refused("LPSV\r\n", "502 ").refused("LPRT 6,16,1,2\r\n", "502 ");
}

#[test]
fn pipelined_passive_gets_keep_their_order() {
    let mut rig = rig();
    rig.user().binary().client("PASV\r\nRETR a\r\nPASV\r\nRETR b\r\nNOOP\r\n").server_sees("PASV\r\n");
    rig.server("227 Entering Passive Mode (10,0,0,11,1,2)\r\n").client_sees(OUR_PASV);
    rig.server_sees("RETR a\r\nPASV\r\n");
    rig.server("150 go\r\n226 done\r\n227 Entering Passive Mode (10,0,0,11,1,2)\r\n");
    rig.client_sees(format!("150 go\r\n226 done\r\n{OUR_PASV}")).server_sees("RETR b\r\nNOOP\r\n");
    rig.server("150 go\r\n226 done\r\n200 ok\r\n").client_sees("150 go\r\n226 done\r\n200 ok\r\n");
    assert_eq!(rig.transfers().iter().map(|t| &*t.path).collect::<Vec<_>>(), ["a", "b"]);
    assert!(!rig.session.is_busy() && rig.session.is_quiet());
}

#[test]
fn pipelined_gets_on_one_address_reuse_it() {
    let mut rig = rig();
    rig.user().binary().exchange("MODE E", "200 ok").exchange("PASV", "227 x (10,0,0,62,1,2)");
    rig.client("RETR 1\r\nRETR 2\r\nRETR 3\r\n").server_sees("RETR 1\r\nRETR 2\r\nRETR 3\r\n");
    let replies =
        "150 go\r\n226 done\r\n125 go\r\n112-Perf Marker\r\n x\r\n112 End.\r\n226 done\r\n125 go\r\n";
    rig.server(replies).client_sees(replies);
    assert_eq!(rig.transfers().len(), 2);
    assert!(rig.session.is_busy());
    rig.server("226 done\r\n");
    assert_eq!(rig.transfers().len(), 1);
    assert!(!rig.session.is_busy());
}

#[test]
fn a_transfer_lasts_from_the_end_of_the_one_before() {
    let mut rig = rig();
    rig.user().binary().exchange("MODE E", "200 ok").exchange("PASV", "227 x (10,0,0,62,1,2)");
    rig.client("RETR 1\r\nRETR 2\r\n");
    for seconds in [3, 4] {
        rig.now += Duration::from_secs(seconds);
        rig.server("226 done\r\n");
        assert_eq!(rig.transfers()[0].duration, Duration::from_secs(seconds));
    }
}

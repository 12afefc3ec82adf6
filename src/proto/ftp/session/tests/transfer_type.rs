//! The TYPE that counts is the one in force when the data address was given or taken.
use super::*;

const ADDRESSES: &[(&str, &str)] = &[
    ("PASV", "227 x (10,0,0,62,1,2)"),
    ("SPAS", "229-x\r\n 10,0,0,62,1,2\r\n229 End"),
    ("EPSV", "229 x (|1|10.0.0.62|513|)"),
    ("PORT 192,0,2,7,200,1", "200 PORT Command successful."),
    ("EPRT |1|192.0.2.7|51201|", "200 EPRT"),
    ("SPOR 192,0,2,7,200,1", "200 SPOR"),
];

fn globus() -> Rig {
    let mut rig = rig();
    rig.user().exchange("SITE CLIENTINFO appname=\"x\";", "200 ok");
    rig
}

#[test]
fn the_door_chooses_binary_for_a_client_that_has_not_chosen() {
    for (command, reply) in ADDRESSES {
        let mut rig = globus();
        rig.client(format!("{command}\r\n")).server_sees(format!("TYPE I\r\n{command}\r\n"));
        rig.server("200 Type set to I.\r\n").client_sees("");
        rig.server(format!("{reply}\r\n")).client_sees(format!("{reply}\r\n"));
        // Only once.
        rig.exchange(command, reply);
        // curl's default order: the address first, then TYPE I.
        rig.binary().exchange("RETR /a", "226 done");
    }
}

#[test]
fn a_client_that_has_chosen_is_left_alone() {
    for (command, reply) in ADDRESSES {
        globus().binary().exchange(command, reply);
        globus().exchange("TYPE A", "200 ok").exchange(command, reply).exchange("RETR /a", "226 ok");
    }
}

#[test]
fn a_type_that_the_server_did_not_take_is_no_choice() {
    let mut rig = rig();
    rig.exchange("TYPE I", "530 Please login with USER and PASS.").user();
    rig.client("PASV\r\n").server_sees("TYPE I\r\nPASV\r\n");
}

#[test]
fn before_login_the_door_says_nothing_of_its_own() {
    let mut rig = rig();
    rig.exchange("PASV", "530 no").user().client("PASV\r\n").server_sees("TYPE I\r\nPASV\r\n");
}

#[test]
fn the_swallowed_reply_may_be_an_error_or_of_several_lines_or_come_in_pieces() {
    let long = format!("200 {}\r\n", "x".repeat(20_000));
    for reply in ["500 no\r\n", "200-a\r\n200-b\r\n200 c\r\n", "200-a\r\n x\r\n200 c\r\n", &long] {
        let mut rig = globus();
        rig.client("PASV\r\n").server_sees("TYPE I\r\nPASV\r\n");
        for chunk in reply.as_bytes().chunks(1000) {
            rig.server(chunk).client_sees("");
        }
        rig.server("227 x (10,0,0,62,1,2)\r\n").client_sees("227 x (10,0,0,62,1,2)\r\n");
    }
}

#[test]
fn a_refused_binary_leaves_the_type_as_it_was() {
    let mut rig = globus();
    rig.client("PASV\r\n").server("500 no\r\n227 x (10,0,0,62,1,2)\r\n").out = Outbox::default();
    rig.binary().refused("RETR /a\r\n", "425 ");
}

#[test]
fn a_farewell_in_its_place_reaches_the_client() {
    for farewell in ["421 Idle Timeout: closing control connection.\r\n", "421-bye\r\n421 bye\r\n"] {
        let mut rig = globus();
        rig.client("PASV\r\n").server(farewell).client_sees(farewell);
        rig.server_closes().client_sees("").ended(Ending::Goodbye);
    }
}

#[test]
fn a_server_that_dies_before_the_swallowed_reply_leaves_a_whole_421() {
    let mut rig = globus();
    rig.client("PASV\r\n").server(format!("200 {}", "x".repeat(10_000))).client_sees("");
    rig.server_closes().client_sees(Ending::ServerLost.reply()).ended(Ending::ServerLost);
}

#[test]
fn another_type_than_at_the_address_refuses_files_and_lets_listings_through() {
    for (command, reply) in ADDRESSES {
        for transfer in
            ["RETR /a", "STOR /a", "APPE /a", "STOU", "ERET P 0 1 /a", "ESTO A 0 /a", "GET path=/a;pasv;"]
        {
            let mut rig = globus();
            rig.exchange("TYPE A", "200 ok").exchange(command, reply).binary();
            rig.refused(format!("{transfer}\r\n"), "425 ");
            for listing in ["LIST", "NLST", "MLSD"] {
                rig.exchange(listing, "226 done");
            }
            rig.exchange(command, reply).exchange(transfer, "226 done");
            rig.exchange("TYPE A", "200 ok").refused(format!("{transfer}\r\n"), "425 ");
        }
    }
}

#[test]
fn what_the_type_is_comes_from_the_servers_answers() {
    const PASV: (&str, &str) = ("PASV", "227 x (10,0,0,62,1,2)");
    #[rustfmt::skip]
    type Row = (&'static str, &'static [(&'static str, &'static str)], bool);
    #[rustfmt::skip]
    let table: &[Row] = &[
        ("refused TYPE",          &[("TYPE I", "200"), PASV, ("TYPE A", "501 no")], true),
        ("there and back",        &[("TYPE I", "200"), PASV, ("TYPE A", "200"), ("type i", "200")], true),
        ("L 8 is I",              &[("TYPE L 8", "200"), PASV, ("TYPE I", "200")], true),
        ("A N is A",              &[("TYPE A N", "200"), PASV, ("TYPE A", "200")], true),
        ("E is not I",            &[("TYPE E", "200"), PASV, ("TYPE I", "200")], false),
        ("refused PASV",          &[("TYPE A", "200"), PASV, ("TYPE I", "200"), ("PASV", "500 no")], false),
        ("refused PORT",          &[("TYPE A", "200"), PASV, ("TYPE I", "200"), ("PORT 192,0,2,7,9,9", "501 no")], false),
        ("delayed",               &[("TYPE A", "200"), ("OPTS PASV AllowDelayed=1;", "200"), ("PASV", "200 delayed"), ("TYPE I", "200")], true),
        ("no address at all",     &[("TYPE A", "200"), ("TYPE I", "200")], true),
    ];
    for (name, exchanges, goes) in table {
        let mut rig = globus();
        for (command, reply) in *exchanges {
            rig.exchange(command, reply);
        }
        rig.client("RETR /a\r\n");
        assert_eq!(!rig.out.to_server.is_empty(), *goes, "{name}");
    }
}

#[test]
fn pipelined_the_rule_waits_for_the_answers_it_needs() {
    let mut rig = globus();
    rig.exchange("TYPE A", "200 ok")
        .client("PASV\r\nTYPE I\r\nRETR /a\r\nNOOP\r\n")
        .server_sees("PASV\r\nTYPE I\r\n");
    rig.server("227 x (10,0,0,62,1,2)\r\n200 ok\r\n");
    let said = String::from_utf8(std::mem::take(&mut rig.out.to_client)).unwrap();
    assert!(said.starts_with("227 x (10,0,0,62,1,2)\r\n200 ok\r\n425 TYPE was A"), "{said}");
    rig.server_sees("NOOP\r\n");
}

#[test]
fn rein_forgets_type_and_address() {
    let mut rig = globus();
    rig.binary().exchange("PASV", "227 x (10,0,0,62,1,2)").exchange("REIN", "220 ready").user();
    rig.client("PASV\r\n").server_sees("TYPE I\r\nPASV\r\n");
}

//! Between two servers behind the door: one session's port is named in another one.
use super::*;

/// Two sessions of one door.
struct Pair {
    destination: Rig,
    source: Rig,
}

fn pair(site: Site, source: &'static str) -> Pair {
    let own_ports = Arc::new(OwnPorts::new(vec![52_000..=53_000]));
    for address in ["203.0.113.1", "10.0.0.1"] {
        own_ports.add_address(address.parse().unwrap());
    }
    let session = |client| {
        let mut rig = Site { client, ..site }.rig();
        let policy = SessionPolicy { own_ports: Arc::clone(&own_ports), ..(*rig.session.policy).clone() };
        rig.session.policy = Arc::new(policy);
        rig
    };
    Pair { destination: session("192.0.2.7"), source: session(source) }
}

const AUTO: Site = Site {
    client: "192.0.2.7",
    server: "10.0.0.11",
    public: &["198.51.100.11"],
    foreign: ForeignDataAddresses::ThirdParty,
    trusted: &[],
    path: DataPath::Auto,
    constraint: None,
    tls: TlsPolicy::Off,
    announce: &[],
};

#[test]
fn a_port_of_the_door_is_reached_by_the_door() {
    for (path, announce, named) in [
        (DataPath::Auto, &[][..], "PORT 203,0,113,1,203,33"),
        (DataPath::Auto, &[], "EPRT |1|203.0.113.1|52001|"),
        // Behind 1:1 NAT the client knows another address, and the door may not reach itself there.
        (DataPath::Auto, &["198.51.100.9"], "PORT 198,51,100,9,203,33"),
        (DataPath::Direct, &[], "PORT 203,0,113,1,203,33"),
        (DataPath::Relay, &[], "PORT 203,0,113,1,203,33"),
    ] {
        let Pair { mut destination, mut source } = pair(Site { path, announce, ..AUTO }, "192.0.2.7");
        destination.session.is_private = path == DataPath::Direct;
        destination.anonymous().binary().client("PASV\r\n").driver(1, listening(&[PORT]));
        source.anonymous().binary().exchange("MODE E", "200 ok").exchange("MODE S", "200 ok");
        source.refused(format!("{named}\r\n"), "200 ").client("RETR /a\r\n").driver_sees(&[listen(
            1,
            Side::Server,
            1,
        )]);
        source.driver(1, listening(&[LEG])).server_sees("PORT 10,0,0,1,207,9\r\n").server("200 ok\r\n");
        source.starts(Started { from_server: true, ..one(1, PORT) }).server_sees("RETR /a\r\n");
        source.server("226 done\r\n");
        assert_eq!(source.transfers()[0].reason, PathReason::OwnRelayNamed);
    }
}

#[test]
fn the_door_goes_only_for_those_whom_the_other_session_would_let_in() {
    use ForeignDataAddresses::{Allow, Deny, ThirdParty};
    const OTHER: &str = "198.51.100.77";
    #[rustfmt::skip]
    let table = [
        ("same client",             Deny,       "192.0.2.7", false, true,  true),
        ("other, owner a user",     ThirdParty, OTHER,       true,  true,  true),
        ("other, owner anonymous",  ThirdParty, OTHER,       false, true,  false),
        ("other, deny",             Deny,       OTHER,       true,  true,  false),
        ("other, allow",            Allow,      OTHER,       false, false, true),
        ("a server of ours",        ThirdParty, "198.51.100.11", false, false, true),
    ];
    for (name, foreign, client, owner_is_user, user, goes) in table {
        let Pair { mut destination, mut source } = pair(Site { foreign, ..AUTO }, client);
        if owner_is_user {
            destination.user()
        } else {
            destination.anonymous()
        };
        if user {
            source.user()
        } else {
            source.anonymous()
        };
        destination.client("PASV\r\n").driver(1, listening(&[PORT]));
        source.binary().client("PORT 203,0,113,1,203,33\r\n").server_sees("");
        let said = String::from_utf8(std::mem::take(&mut source.out.to_client)).unwrap();
        assert!(said.starts_with(if goes { "200 " } else { "504 " }), "{name}: {said}");
    }
}

#[test]
fn a_port_is_known_as_long_as_it_is_open() {
    let named = "PORT 203,0,113,1,203,33\r\n";
    let live = |end: fn(&mut Rig)| {
        let Pair { mut destination, mut source } = pair(AUTO, "192.0.2.7");
        destination.anonymous().binary().pasv(1);
        source.anonymous().binary().refused(named, "200 ");
        end(&mut destination);
        // Not the client's own address, nor a server's.
        source.refused(named, "504 ");
    };
    live(|rig| {
        rig.client("PASV\r\n");
    });
    live(|rig| {
        rig.refused("PORT 192,0,2,7,200,1\r\n", "200 ");
    });
    live(|rig| {
        rig.retr(1).done(1);
    });
    live(|rig| {
        rig.client("RETR /a\r\n").server("500 no\r\n");
    });
    live(|rig| {
        rig.exchange("REIN", "220 ok");
    });
    live(|rig| {
        rig.server_closes();
    });
    live(|rig| {
        rig.exchange("AUTH TLS", "234 go");
    });
    live(|rig| {
        let other = rig.session.policy.clone();
        rig.session = Session::new(other, rig.session.server.clone(), rig.session.client);
    });
}

#[test]
fn get_with_a_port_of_the_door_is_refused() {
    let Pair { mut destination, mut source } = pair(AUTO, "192.0.2.7");
    destination.anonymous().binary().pasv(1);
    source.anonymous().binary().exchange("MODE E", "200 ok");
    source.refused("GET path=/a;port=203,0,113,1,203,33;\r\n", "504 ");
}

#[test]
fn a_port_told_to_the_server_is_no_business_of_clients() {
    let Pair { mut destination, mut source } = pair(AUTO, "192.0.2.7");
    destination.anonymous().binary().refused("PORT 192,0,2,7,200,1\r\n", "200 ");
    destination.client("RETR /a\r\n").driver(1, listening(&[LEG]));
    source.user().binary().exchange("SITE CLIENTINFO x", "250 ok");
    source.refused("PORT 10,0,0,1,207,9\r\n", "504 ");
}

#[test]
fn a_port_that_another_session_has_got_meanwhile_stays_known() {
    let Pair { destination: mut first, source: mut second } = pair(AUTO, "192.0.2.7");
    first.anonymous().binary().pasv(1).retr(1);
    // The driver gives a port back once its connection is there, long before the last reply.
    second.anonymous().binary().pasv(1);
    first.done(1).refused("PORT 203,0,113,1,203,33\r\n", "200 ");
}

#[test]
fn a_port_of_the_door_that_nobody_has_been_told_is_refused() {
    // A relay port that may be opened next, on either side; another port of the door's host.
    for named in ["203.0.113.1|52100|", "10.0.0.1|52100|", "203.0.113.1|8080|", "::ffff:203.0.113.1|52100|"] {
        let family = if named.starts_with("::") { 2 } else { 1 };
        let Pair { mut source, .. } = pair(AUTO, "192.0.2.7");
        source.user().binary().exchange("SITE CLIENTINFO x", "250 ok");
        source.refused(format!("EPRT |{family}|{named}\r\n"), "504 ");
        source.refused(format!("SPOR |1|192.0.2.7|51201| |{family}|{named}\r\n"), "504 ");
    }
    // A client on the door's host, and a real server there, have ports of their own.
    let Pair { mut source, .. } = pair(AUTO, "203.0.113.1");
    source
        .user()
        .binary()
        .exchange("SITE CLIENTINFO x", "250 ok")
        .exchange("PORT 203,0,113,1,203,132", "200 ok");
    let Pair { mut source, .. } = pair(Site { public: &["203.0.113.1"], ..AUTO }, "192.0.2.7");
    source
        .user()
        .binary()
        .exchange("SITE CLIENTINFO x", "250 ok")
        .exchange("PORT 203,0,113,1,195,80", "200 ok");
    source.refused("PORT 203,0,113,1,203,132\r\n", "504 ");
}

#[test]
fn a_server_that_announces_the_door_is_reached_where_it_is() {
    let Pair { destination: mut rig, .. } = pair(AUTO, "192.0.2.7");
    rig.anonymous().binary().pasv(1).client("RETR /a\r\n");
    rig.server("227 Entering Passive Mode (203,0,113,1,1,2)\r\n").starts(one(1, "10.0.0.11:258"));
}

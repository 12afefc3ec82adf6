mod availability;
mod checks;
mod forwarding;
mod limits;
mod names;
mod properties;
mod values;
mod vrrp;
mod whole_file;

use super::*;
use crate::balance::{EjectionPolicy, LbAlgo, Quorum};
use crate::config::{
    Availability, CheckKind, RealServer, ServerTls, ServerTlsMode, Tls, VirtualServer, check_descriptors,
    descriptors_needed, report,
};
use crate::proto::ftp::{DataPath, ForeignDataAddresses};
use crate::proto::proxy_protocol::Version;

const MINIMAL: &str = include_str!("../../../docs/examples/minimal.toml");
const EVERY_KEY: &str = include_str!("../../../docs/examples/gridfront.toml");

/// A virtual server with two real ones: nothing to say about it. Ends inside the last real server's table.
const SOUND: &str = "[[virtual_server]]\n\
                     addresses = ['192.0.2.10']\n\
                     [[virtual_server.real_server]]\n\
                     address = '192.0.2.11'\n\
                     [[virtual_server.real_server]]\n\
                     address = '192.0.2.12'\n";

fn accepted(text: &str) -> Accepted {
    parse(Path::new("f"), text).unwrap_or_else(|problems| panic!("{}", report(&problems)))
}

/// What `check` prints for a text: errors and warnings alike.
fn told(text: &str) -> String {
    let problems = match parse(Path::new("f"), text) {
        Ok(accepted) => accepted.warnings,
        Err(problems) => problems,
    };
    report(&problems)
}

/// A sound file whose only virtual server has more lines. They begin at line 3.
fn in_virtual_server(lines: &str) -> String {
    SOUND.replacen(".10']\n", &format!(".10']\n{lines}\n"), 1)
}

/// A sound file whose last real server has more lines. They begin at line 7.
fn in_real_server(lines: &str) -> String {
    format!("{SOUND}{lines}\n")
}

fn assert_told(text: &str, expected: &[&str]) {
    let expected: String = expected.iter().map(|line| format!("{line}\n")).collect();
    let told = told(text);
    assert!(told == expected, "--- text\n{text}\n--- told\n{told}--- expected\n{expected}");
}

#[test]
fn a_minimal_file_gets_the_documented_defaults() {
    let Accepted { model, warnings } = accepted(MINIMAL);
    assert_eq!(warnings, []);
    let seconds = Duration::from_secs;
    let ip = |text: &str| -> std::net::IpAddr { text.parse().unwrap() };
    let global = Global {
        router_id: None,
        nameservers: vec![],
        admin_socket: "/run/gridfront/admin.sock".into(),
        threads: None,
        drain_timeout: seconds(60),
        http: None,
        transfer_log: None,
        max_sessions: None,
        gsi_ready_keys: 64,
    };
    let check = crate::config::Check {
        kind: CheckKind::Ftp,
        delay_loop: seconds(10),
        connect_timeout: seconds(3),
        max_time: seconds(20),
        retry: 3,
        delay_before_retry: seconds(1),
        rise: 1,
    };
    assert_eq!(check.fall(), 4);
    let real_server = |address: &str| RealServer {
        name: address.to_owned(),
        address: ip(address),
        port: 2811,
        weight: 1,
        max_connections: None,
        data_addresses: vec![],
        data_address_map: vec![],
        data_ports: None,
        checks_data_peer: false,
        send_proxy_protocol: None,
        tls: None,
        gsi_name: None,
        gsi_subject: None,
        check: None,
        inhibit_on_failure: false,
    };
    let virtual_server = VirtualServer {
        name: "gridftp".into(),
        addresses: vec![ip("192.0.2.10")],
        port: 2811,
        direct_routing: None,
        lb_algo: LbAlgo::Wlc,
        data_path: DataPath::Auto,
        relay_ports: 52000..=53000,
        announce_address: vec![],
        proxy_protocol_from: vec![],
        tls: None,
        gsi: None,
        foreign_data_addresses: ForeignDataAddresses::ThirdParty,
        trusted_networks: vec![],
        max_sessions: 10_000,
        admittance: crate::config::Admittance::default(),
        login_timeout: seconds(120),
        idle_timeout: seconds(900),
        greeting_timeout: seconds(10),
        connect_timeout: seconds(3),
        check,
        availability: Availability {
            alpha: false,
            quorum: Quorum { quorum: 1, hysteresis: 0 },
            sorry_server: None,
            offline_message: None,
            slow_start: Duration::ZERO,
            ejection: None,
        },
        real_servers: ["192.0.2.11", "192.0.2.12", "192.0.2.13"].map(real_server).into(),
        named_servers: vec![],
    };
    assert_eq!(
        model,
        Model {
            global,
            virtual_servers: vec![virtual_server],
            vrrp: crate::config::vrrp::Vrrp::default(),
            forwarding: None,
        }
    );
}

#[test]
fn every_key_that_is_set_arrives() {
    let text = r#"
        [global]
        router_id = "lb1"
        admin_socket = "/tmp/a.sock"
        threads = 3
        drain_timeout = "0s"
        http = "[::1]:9281"
        transfer_log = "/var/log/transfer.log"
        [[virtual_server]]
        name = "grid:1"
        addresses = ["192.0.2.10", "2001:db8::10"]
        port = 2812
        forwarding = "proxy"
        lb_algo = "sh"
        data_path = "relay"
        relay_ports = "52000-53000"
        announce_address = ["203.0.113.10", "2001:db8:2::10"]
        proxy_protocol_from = ["198.51.100.2", "2001:db8:3::/64"]
        foreign_data_addresses = "deny"
        trusted_networks = ["198.51.100.0/24", "2001:db8:1::/48", "203.0.113.7"]
        max_sessions = 7
        login_timeout = "1s"
        idle_timeout = "2h"
        greeting_timeout = "3ms"
        connect_timeout = "4m"
        alpha = true
        quorum = 3
        hysteresis = 2
        sorry_server = "[2001:db8::99]:21"
        offline_message = " Closed until noon. "
        slow_start = "90s"
        ejection = { failed_logins = 0, failed_transfers = 7, time = "10s", max_time = "1m", max_ejected = "34 %" }
        gsi = { mode = "passthrough" }
        tls = { certificate = "/c.pem", key = "/k.pem", implicit_port = 990, required = true }
        check = { type = "tcp", delay_loop = "5s", connect_timeout = "6s", max_time = "7s", retry = 0, delay_before_retry = "0s", rise = 2 }
        [[virtual_server.real_server]]
        name = "s1"
        address = "2001:db8::11"
        port = 0xB00
        weight = 0
        max_connections = 500
        data_addresses = ["198.51.100.11", "2001:db8:1::11"]
        data_address_map = { "10.1.1.6" = "198.51.100.6", "10.1.1.5" = "198.51.100.5" }
        data_ports = "50000-50999"
        checks_data_peer = false
        send_proxy_protocol = "v1"
        inhibit_on_failure = true
        tls = { mode = "implicit", trust_anchors = "/a.pem", name = "s1.example.org", verify = true }
        [[virtual_server.real_server]]
        address = "2001:db8::12"
        checks_data_peer = true
        [[virtual_server.real_server]]
        address = "2001:db8::13"
        send_proxy_protocol = "v2"
        tls = { verify = false }
    "#;
    let Model { global, virtual_servers, vrrp: _, forwarding: _ } = accepted(text).model;
    let [server] = &virtual_servers[..] else { panic!("{virtual_servers:?}") };
    let millis = Duration::from_millis;
    assert_eq!(global.router_id.as_deref(), Some("lb1"));
    assert_eq!(global.admin_socket, Path::new("/tmp/a.sock"));
    assert_eq!(global.threads, NonZeroUsize::new(3));
    assert_eq!(global.drain_timeout, millis(0));
    assert_eq!(global.http, Some("[::1]:9281".parse().unwrap()));
    assert_eq!(global.transfer_log.as_deref(), Some(Path::new("/var/log/transfer.log")));
    assert_eq!(server.name, "grid:1");
    assert_eq!(format!("{:?}", server.addresses), "[192.0.2.10, 2001:db8::10]");
    assert_eq!(server.port, 2812);
    assert_eq!(server.lb_algo, LbAlgo::Sh);
    assert_eq!(server.data_path, DataPath::Relay);
    assert_eq!(server.relay_ports, 52000..=53000);
    assert_eq!(server.foreign_data_addresses, ForeignDataAddresses::Deny);
    assert_eq!(
        format!("{:?}", server.trusted_networks),
        "[198.51.100.0/24, 2001:db8:1::/48, 203.0.113.7/32]"
    );
    assert_eq!(format!("{:?}", server.announce_address), "[203.0.113.10, 2001:db8:2::10]");
    assert_eq!(format!("{:?}", server.proxy_protocol_from), "[198.51.100.2/32, 2001:db8:3::/64]");
    assert_eq!(
        server.tls,
        Some(Tls {
            certificate: "/c.pem".into(),
            key: "/k.pem".into(),
            implicit_port: Some(990),
            required: true,
        })
    );
    assert_eq!(server.max_sessions, 7);
    assert_eq!(server.login_timeout, millis(1000));
    assert_eq!(server.idle_timeout, millis(7_200_000));
    assert_eq!(server.greeting_timeout, millis(3));
    assert_eq!(server.connect_timeout, millis(240_000));
    assert_eq!(
        server.check,
        crate::config::Check {
            kind: CheckKind::Tcp,
            delay_loop: millis(5000),
            connect_timeout: millis(6000),
            max_time: millis(7000),
            retry: 0,
            delay_before_retry: millis(0),
            rise: 2,
        }
    );
    assert_eq!(
        server.availability,
        Availability {
            alpha: true,
            quorum: Quorum { quorum: 3, hysteresis: 2 },
            sorry_server: Some("[2001:db8::99]:21".parse().unwrap()),
            offline_message: Some("Closed until noon.".into()),
            slow_start: millis(90_000),
            ejection: Some(EjectionPolicy {
                failed_logins: 0,
                failed_transfers: 7,
                time: millis(10_000),
                max_time: millis(60_000),
                max_ejected: 34,
            }),
        }
    );
    let real_server = &server.real_servers[0];
    assert!(real_server.inhibit_on_failure);
    assert_eq!(real_server.name, "s1");
    assert_eq!(real_server.address.to_string(), "2001:db8::11");
    assert_eq!(real_server.port, 2816);
    assert_eq!(real_server.weight, 0);
    assert_eq!(real_server.max_connections, Some(500));
    assert_eq!(format!("{:?}", real_server.data_addresses), "[198.51.100.11, 2001:db8:1::11]");
    assert_eq!(
        format!("{:?}", real_server.data_address_map),
        "[(10.1.1.6, 198.51.100.6), (10.1.1.5, 198.51.100.5)]"
    );
    assert_eq!(real_server.data_ports, Some(50000..=50999));
    assert!(!real_server.checks_data_peer);
    assert_eq!(real_server.send_proxy_protocol, Some(Version::V1));
    assert_eq!(
        real_server.tls,
        Some(ServerTls {
            mode: ServerTlsMode::Implicit,
            trust_anchors: Some("/a.pem".into()),
            name: Some("s1.example.org".into()),
            verify: true,
        })
    );
    assert_eq!(server.real_servers[1].name, "2001:db8::12");
    assert!(server.real_servers[1].checks_data_peer);
    assert_eq!(server.real_servers[2].send_proxy_protocol, Some(Version::V2));
    assert_eq!(
        server.real_servers[2].tls,
        Some(ServerTls { mode: ServerTlsMode::Explicit, trust_anchors: None, name: None, verify: false })
    );
}

#[test]
fn the_full_example_is_accepted_as_it_is() {
    assert_told(EVERY_KEY, &[]);
}

/// The lines `#key = value` are meant to be used: none may be a mistake.
#[test]
fn the_full_example_is_accepted_with_every_line_in_force() {
    let text: String = EVERY_KEY
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => {
                format!("{rest}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    let warnings = accepted(&text).warnings;
    let whats: Vec<&str> = warnings.iter().map(|warning| warning.what.as_str()).collect();
    assert_eq!(
        whats,
        [
            "`ports` is not used with `forwarding = \"proxy\"`",
            "`deny_commands` holds for clear text and for TLS that ends here: after a GSI login, or TLS that the real \
             server ends, the door reads no command",
            "after a GSI login the door sees no replies: IPv6 clients (EPSV) get the address that the real server \
             itself announces",
            "of `[virtual_server.gsi]` no other key is used with `mode = \"passthrough\"`",
            "`user` is not used with `type = \"ftp\"`",
            "`gsi_name` and `gsi_subject` are not used: who a real server is matters to its clients alone",
        ]
    );
}

#[test]
fn the_full_example_shows_every_key() {
    for kind in KINDS {
        assert!(EVERY_KEY.contains(kind.header), "{}", kind.header);
        for key in kind.keys {
            let shown = EVERY_KEY.lines().any(|line| {
                let line = line.trim_start_matches('#');
                line.starts_with(&format!("{key} = "))
                    || ["virtual_server", "vrrp_instance"]
                        .iter()
                        .any(|table| line.trim_matches(['[', ']']) == format!("{table}.{key}"))
            });
            assert!(shown, "{} {key}", kind.header);
        }
    }
}

#[test]
fn mistakes_in_toml_have_a_place_and_a_mend() {
    let list = "a list here or above goes wrong; put commas between its values and close it with `]`";
    let pair = "this is not `key = value`; write a key, `=` and a value; a comment begins with `#`";
    let string = "a quoted text is not closed; end it on the same line with the quote it began with";
    let keepalived = "this looks like keepalived.conf, which this version does not read; write TOML, as in docs/examples/minimal.toml";
    #[rustfmt::skip]
    let table: &[(&str, &[&str])] = &[
        ("name = gridftp\n", &["f:1:8: `gridftp` is not a value; put text in double quotes: \"gridftp\""]),
        ("idle_timeout = 15m\n", &["f:1:16: `15m` is not a value; put text in double quotes: \"15m\""]),
        ("a = 192.0.2.1/24 # x\n", &["f:1:5: `192.0.2.1/24` is not a value; put text in double quotes: \"192.0.2.1/24\""]),
        ("a = [192.0.2.1]\n", &["f:1:6: `192.0.2.1` is not a value; put text in double quotes: \"192.0.2.1\""]),
        ("a = “x”\n", &["f:1:5: `“x”` is not a value; put text in plain double quotes"]),
        ("a = True\n", &["f:1:5: `True` is not a value; write `true`"]),
        ("a = no\n", &["f:1:5: `no` is not a value; write `false`"]),
        ("name =\n", &["f:1:7: a value is missing here; write one after the `=`, text in double quotes"]),
        ("a = \"x\nb = 'y\n", &[&format!("f:1:7: {string}"), &format!("f:2:7: {string}")]),
        ("a = \"\\d\"\n", &["f:1:7: an unknown escape after `\\`; write `\\\\` for a backslash"]),
        ("port 2811\n\nport: 2811\n", &[&format!("f:1:1: {pair}"), &format!("f:3:1: {pair}")]),
        ("[global\nx = 1\n", &["f:1:8: a table's header is not closed; end it with as many `]` as it begins with `[`"]),
        ("[[virtual_server]\n", &["f:1:18: a table's header is not closed; end it with as many `]` as it begins with `[`"]),
        ("a = ['x' 'y']\nb = c\n", &[&format!("f:1:10: {list}")]),
        ("a = [\n 'x',\n 'y'\n\n[[virtual_server]]\nport = 1\n", &[&format!("f:5:1: {list}")]),
        ("a = { b = 1\nc = d\n", &["f:2:1: a table in braces here or above goes wrong; put commas between its pairs and close it with `}`"]),
        ("[global] a = 1\n", &["f:1:10: something follows the end of the value or header; write it on a line of its own"]),
        ("name = my server\n", &["f:1:8: `my server` is not a value; put text in double quotes: \"my server\""]),
        ("a = 1 b = 2\n", &["f:1:5: something follows the end of the value or header; write it on a line of its own"]),
        ("[global]\nthreads = 1\nthreads = 2\n[global]\n", &["f:3:1: `threads` is written twice; keep one of them", "f:4:2: `global` is written twice; keep one of them"]),
        ("a = 1\na.b = 2\n", &["f:2:1: a key that has a value already is used as a table; keep one of the two"]),
        ("# c\nglobal_defs {\n  router_id LB\n}\n", &[&format!("f:2:1: {keepalived}")]),
        ("  virtual_server 192.0.2.10 2811 {\n", &[&format!("f:1:1: {keepalived}")]),
    ];
    for (text, expected) in table {
        assert_told(text, expected);
    }
}

#[test]
fn bytes_that_are_no_text_have_a_place() {
    let problem = decode(Path::new("f"), b"a = 1\nb = '\xc3\xa9\xff'").unwrap_err();
    assert_eq!(problem.to_string(), "f:2:7: this is not UTF-8; save the file as UTF-8");
    assert_eq!(decode(Path::new("f"), "é".as_bytes()), Ok("é"));
}

#[test]
fn a_file_that_is_too_long_is_not_read() {
    assert_told(
        &"#".repeat(MAX_FILE_LEN + 1),
        &["f:1:1: the file has 1048577 bytes; it may have 1048576: name the right file"],
    );
}

#[test]
fn descriptors_are_counted_over_all_virtual_servers() {
    let mut model = accepted(MINIMAL).model;
    assert_eq!(descriptors_needed(&model), 20_064 + 4 * 1001, "as many transfers as relay_ports");
    model.virtual_servers.push(VirtualServer { max_sessions: 8, ..VirtualServer::new("b".into()) });
    assert_eq!(descriptors_needed(&model), 24_116);
    assert_eq!(check_descriptors(&model, 24_116), Ok(()));
    assert_eq!(
        check_descriptors(&model, 1024).unwrap_err().to_string(),
        "the limit of 1024 file descriptors is enough for 160 sessions, and the `max_sessions` of all virtual servers \
         together need 24116; raise the limit (`LimitNOFILE=` in the unit, `ulimit -n` in a shell) or lower \
         `max_sessions`"
    );
    assert!(check_descriptors(&model, 20_000).unwrap_err().to_string().contains("enough for 5964 sessions"));
    model.virtual_servers[0].data_path = DataPath::Direct;
    assert_eq!(descriptors_needed(&model), 20_112);
    model.virtual_servers[0].real_servers[0].checks_data_peer = true;
    assert_eq!(descriptors_needed(&model), 24_116);
    assert!(check_descriptors(&model, 3).unwrap_err().to_string().contains("enough for 0 sessions"));
}

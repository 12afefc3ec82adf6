//! What is said of several tables together.
use std::path::Path;

use crate::balance::NamePattern;
use crate::config::BackendLogin;

use super::{SOUND, accepted, assert_told, in_real_server, in_virtual_server};

#[test]
fn what_only_the_whole_file_shows_is_checked() {
    let second = "[[virtual_server]]\nname = 'second'\naddresses = ['192.0.2.10']\n";
    let servers = "[[virtual_server.real_server]]\naddress = '192.0.2.21'\n\
                   [[virtual_server.real_server]]\naddress = '192.0.2.22'\n";
    let server = |lines: &str| format!("{SOUND}[[virtual_server.real_server]]\n{lines}\n");
    #[rustfmt::skip]
    let table: Vec<(String, &str)> = vec![
        (String::new(), "f:1:1: there is no virtual server; add a `[[virtual_server]]` with `addresses` and a `[[virtual_server.real_server]]`"),
        (
            "[[virtual_server]]\naddresses = ['192.0.2.10']\n".into(),
            "f:1:1: `[[virtual_server]]` has no real server; add a `[[virtual_server.real_server]]` with an `address`",
        ),
        (
            "[[virtual_server]]\naddresses = ['192.0.2.10']\nreal_server = []\n".into(),
            "f:3:15: `real_server` is empty; add a `[[virtual_server.real_server]]` with an `address`",
        ),
        (
            SOUND.replace("addresses = ['192.0.2.10']", "port = 1"),
            "f:1:1: `[[virtual_server]]` has no `addresses`; add `addresses = [\"…\"]`, the addresses that clients connect to",
        ),
        (
            SOUND.replace("'192.0.2.10'", ""),
            "f:2:13: `addresses` is empty; write the addresses that clients connect to",
        ),
        (
            server("weight = 2"),
            "f:7:1: `[[virtual_server.real_server]]` has no `address`; add `address = \"…\"`, its IP address or its name",
        ),
        (
            SOUND.replacen("[[virtual_server]]", "[virtual_server]", 1),
            "f:1:1: `virtual_server` may be there many times; write `[[virtual_server]]`, with two pairs of brackets",
        ),
        (
            format!("{SOUND}[[virtual_server.check]]\ntype = 'ftp'\n"),
            "f:7:1: `check` is not a list; write `[virtual_server.check]` once, with one pair of brackets",
        ),
        (
            SOUND.replace("['192.0.2.10']", "['192.0.2.10', '192.0.2.10']"),
            "f:2:28: 192.0.2.10:2811 is already an address of virtual server `gridftp`; keep it in one place, or use another port",
        ),
        (
            format!("{SOUND}{second}{servers}"),
            "f:9:14: 192.0.2.10:2811 is already an address of virtual server `gridftp`; keep it in one place, or use another port",
        ),
        (format!("{SOUND}{second}port = 2812\n{servers}"), ""),
        (
            format!("{SOUND}{second}port = 2812\n{servers}").replace("second", "gridftp"),
            "f:8:8: there is already a virtual server `gridftp`; give each a name of its own",
        ),
        (
            format!("{SOUND}{second}port = 2812\n{servers}").replace("name = 'second'", ""),
            "f:7:1: this virtual server has no name, and `gridftp` is taken; add a `name`",
        ),
        (
            server("name = '192.0.2.11'\naddress = '192.0.2.13'"),
            "f:8:8: `gridftp` already has a real server `192.0.2.11`; give each a `name` of its own",
        ),
        (
            server("address = '192.0.2.12'\nport = 2812"),
            "f:7:1: `gridftp` already has a real server `192.0.2.12`; give each a `name` of its own",
        ),
        (
            server("name = 'x'\naddress = '192.0.2.12'"),
            "f:9:11: 192.0.2.12:2811 is already real server `192.0.2.12` of `gridftp`; keep one of them, its `weight` gives it more sessions",
        ),
        (
            server("address = '192.0.2.10'"),
            "f:8:11: 192.0.2.10:2811 is virtual server `gridftp` itself: its sessions would come back to the door; write the server's own address, or another `port`",
        ),
        (server("address = '192.0.2.10'\nport = 2812"), ""),
        (format!("[global]\nhttp = '127.0.0.1:9281'\n{SOUND}"), ""),
        (format!("[global]\nhttp = '192.0.2.10:2811'\n{SOUND}"), "f:2:8: `http` is 192.0.2.10:2811, where virtual server `gridftp` listens; choose another port"),
        (format!("[global]\nhttp = '0.0.0.0:52001'\n{SOUND}"), "f:2:8: `http` is 0.0.0.0:52001, a port of virtual server `gridftp`'s `relay_ports`; choose another port"),
        (format!("[global]\nhttp = '[::]:2811'\n{SOUND}"), ""),
        (format!("[global]\nhttp = '9281'\n{SOUND}"), "f:2:8: `9281` is not an IP address with a port; write an address and a port, such as \"127.0.0.1:9281\" or \"[::1]:9281\""),
        (format!("[global]\nhttp = '127.0.0.1:0'\n{SOUND}"), "f:2:8: `127.0.0.1:0` has no port; write an address and a port, such as \"127.0.0.1:9281\" or \"[::1]:9281\""),
        (format!("[global]\nhttp = '224.0.0.1:80'\n{SOUND}"), "f:2:8: `224.0.0.1` is a multicast address; write the address of one host"),
        (format!("[global]\ntransfer_log = 'a.log'\n{SOUND}"), "f:2:16: `transfer_log` is not the absolute path of a file; write one such as \"/var/log/gridfront/transfer.log\""),
        (format!("[global]\nadmin_socket = 'a.sock'\n{SOUND}"), "f:2:16: `admin_socket` is not an absolute path; write one such as \"/run/gridfront/admin.sock\""),
        (format!("[global]\nadmin_socket = '/{}'\n{SOUND}", "a".repeat(107)), "f:2:16: `admin_socket` has 108 bytes; a Unix socket's path may have 107: choose a shorter one"),
    ];
    for (text, expected) in table {
        let expected: &[&str] = if expected.is_empty() { &[] } else { &[expected] };
        assert_told(&text, expected);
    }
}

#[test]
fn a_port_has_one_owner() {
    let other = |addresses: &str, port: u16, lines: &str| {
        format!(
            "{SOUND}[[virtual_server]]\nname = 'other'\naddresses = [{addresses}]\nport = {port}\n{lines}\
             [[virtual_server.real_server]]\naddress = '192.0.2.21'\n\
             [[virtual_server.real_server]]\naddress = '192.0.2.22'\n"
        )
    };
    let tls = |port: u16| format!("tls = {{ certificate = '/c', key = '/k', implicit_port = {port} }}\n");
    let data_ports =
        |relay: &str| in_virtual_server(&format!("relay_ports = '{relay}'")) + "data_ports = '50000-50500'\n";
    #[rustfmt::skip]
    let table: Vec<(String, Vec<&str>)> = vec![
        (data_ports("50500-53000"), vec![
            "f:8:14: `data_ports` 50000-50500 overlap `relay_ports` 50500-53000; a port of the virtual address is the \
             door's or a server's: choose ranges apart",
        ]),
        (data_ports("50501-53000"), vec![]),
        (in_virtual_server("relay_ports = '2000-3000'"), vec![
            "f:3:1: `relay_ports` 2000-3000 contain the control port 2811; choose a range without it",
        ]),
        (in_virtual_server(&tls(52990)), vec![
            "f:1:1: `relay_ports` 52000-53000 contain the `implicit_port` 52990; choose a range without it",
        ]),
        (in_virtual_server(&tls(990)), vec![]),
        (in_virtual_server(&tls(2811)), vec![
            "f:3:57: `implicit_port` is 2811, as `port` is: a port speaks TLS from the start or it does not; write another \
             one, 990 by custom",
        ]),
        (other("'192.0.2.10'", 52021, ""), vec![
            "f:1:1: `relay_ports` 52000-53000 contain the port of 192.0.2.10:52021, an address of virtual server `other`; \
             choose a range without it",
            "f:7:1: `relay_ports` 52000-53000 contain the control port 52021; choose a range without it",
        ]),
        (other("'0.0.0.0'", 52021, "relay_ports = '40000-41000'\n"), vec![
            "f:1:1: `relay_ports` 52000-53000 contain the port of 0.0.0.0:52021, an address of virtual server `other`; \
             choose a range without it",
        ]),
        (other("'192.0.2.110'", 52021, "relay_ports = '40000-41000'\n"), vec![]),
        // The ports of a range are taken one by one: two may share it.
        (other("'192.0.2.10'", 2121, ""), vec![]),
        (other("'192.0.2.10'", 990, &tls(2811)), vec![
            "f:11:57: 192.0.2.10:2811 is already an address of virtual server `gridftp`; keep it in one place, or use \
             another port",
        ]),
    ];
    for (text, expected) in table {
        assert_told(&text, &expected);
    }
}

#[test]
fn a_range_that_is_soon_used_up_is_a_warning() {
    let few = "f:3:1: warning: `relay_ports` 52000-52098 are 99: when all are taken, transfers are refused with 425; give \
               at least 100";
    let with = |lines: &str| in_virtual_server(lines);
    assert_told(&with("relay_ports = '52000-52098'"), &[few]);
    assert_told(&with("relay_ports = '52000-52099'"), &[]);
    assert_told(&with("relay_ports = '52000-52098'\nmax_sessions = 99"), &[]);
    assert_told(&with("relay_ports = '52000-52098'\ndata_path = 'direct'"), &[]);
}

#[test]
fn what_a_real_server_demands_of_its_data_is_compared_with_data_path() {
    let direct = |lines: &str| format!("{}{lines}\n", in_virtual_server("data_path = 'direct'"));
    let warned = |column: usize, key: &str| {
        format!(
            "f:8:{column}: warning: real server `192.0.2.12` has `{key}`: its data crosses the door, in spite of \
             `data_path = \"direct\"`; write `data_path = \"auto\"`, and let the firewall pass `relay_ports`; or remove the key"
        )
    };
    assert_told(&direct("checks_data_peer = true"), &[&warned(20, "checks_data_peer")]);
    assert_told(&direct("checks_data_peer = false"), &[]);
    assert_told(&direct("tls.verify = false"), &[&warned(1, "tls")]);
    assert_told(&in_real_server("checks_data_peer = true\ntls.verify = false"), &[]);
    assert_told(
        &in_real_server("checks_data_peer = true\nsend_proxy_protocol = 'v1'"),
        &[
            "f:8:23: with `send_proxy_protocol` the server knows the client's address and not the door's: with \
           `checks_data_peer` it would refuse every data connection of the door; remove one of them, and with this one \
           let the server take data from any address (proftpd `AllowForeignAddress on`)",
        ],
    );
    assert_told(
        &in_virtual_server("data_path = 'direct'\ntls = { certificate = '/c', key = '/k' }"),
        &[
            "f:3:13: warning: encrypted data (PROT P) crosses the door, in spite of `data_path = \"direct\"`: its TLS ends \
           there; write `data_path = \"auto\"`, and let the firewall pass `relay_ports`",
        ],
    );
}

#[test]
fn what_is_likely_not_meant_is_a_warning() {
    let with_v6 = SOUND.replace("['192.0.2.10']", "['192.0.2.10', '2001:db8::10']");
    let no_v6 = |line: usize, server: &str| {
        format!(
            "f:{line}:1: warning: `gridftp` has an IPv6 address and real server `{server}` has none: IPv6 clients \
             with direct data are told an IPv4 data address; add the server's IPv6 address to its `data_addresses`"
        )
    };
    let table: Vec<(String, Vec<String>)> = vec![
        (
            SOUND.replace(".11'\n", ".11'\nweight = 0\n").replace(".12'\n", ".12'\nweight = 0\n"),
            vec![
                "f:1:1: warning: every real server of `gridftp` has weight 0: no session is accepted; give one a \
                 weight of 1 or more"
                    .into(),
            ],
        ),
        (
            SOUND.split_inclusive('\n').take(4).collect(),
            vec![
                "f:1:1: warning: `gridftp` has one real server: nothing takes over when it is down; add a second \
                 `[[virtual_server.real_server]]`"
                    .into(),
            ],
        ),
        (
            in_real_server("data_addresses = ['198.51.100.12', '2001:db8::12']"),
            vec![
                "f:7:36: warning: no client is told the data address `2001:db8::12`: `gridftp` has no IPv6 address; \
                 remove it, or add an IPv6 address to `addresses`"
                    .into(),
            ],
        ),
        (with_v6.clone(), vec![no_v6(3, "192.0.2.11"), no_v6(5, "192.0.2.12")]),
        (format!("{with_v6}data_addresses = ['2001:db8::12']\n"), vec![no_v6(3, "192.0.2.11")]),
        (format!("{with_v6}checks_data_peer = true\n"), vec![no_v6(3, "192.0.2.11")]),
        (with_v6.replace("[[virtual_server]]\n", "[[virtual_server]]\ndata_path = 'relay'\n"), vec![]),
        (
            in_virtual_server("announce_address = '2001:db8:2::10'"),
            vec![
                "f:3:20: warning: no client is told `2001:db8:2::10`: `gridftp` has no IPv6 address; remove it, or add an \
                 IPv6 address to `addresses`"
                    .into(),
            ],
        ),
        (
            in_virtual_server("proxy_protocol_from = ['10.0.0.0/8', '::/0']"),
            vec![
                "f:3:38: warning: `::/0` lets every client say that it is another one; write the addresses of the load \
                 balancers in front of this one"
                    .into(),
            ],
        ),
        (
            with_v6.replace("192.0.2.1", "2001:db8::1").replace("'2001:db8::10', ", ""),
            vec![],
        ),
        (
            format!("{}[virtual_server.gsi]\nmode = 'passthrough'\n", SOUND.replace("192.0.2.", "2001:db8::")),
            vec![
                "f:7:1: warning: after a GSI login the door sees no replies: IPv6 clients (EPSV) get the address that \
                 the real server itself announces; start the real servers with -epsv-ip"
                    .into(),
            ],
        ),
        (
            in_virtual_server("gsi.key = '/k'"),
            vec![
                "f:3:11: warning: of `[virtual_server.gsi]` no other key is used with `mode = \"passthrough\"`; remove \
                 it, or write `mode = \"terminate\"` to end GSI at the door"
                    .into(),
            ],
        ),
        (
            format!(
                "{}[virtual_server.gsi]\nmode = 'terminate'\n",
                in_virtual_server("deny_commands = ['DELE', 'SITE RDEL']").replace("192.0.2.", "2001:db8::")
            ),
            vec![],
        ),
        (
            format!("{SOUND}gsi_name = 's2.example.org'\n"),
            vec![
                "f:7:1: warning: `gsi_name` and `gsi_subject` are not used: who a real server is matters to its \
                 clients alone; remove them, or end GSI at the door: `mode = \"terminate\"` in `[virtual_server.gsi]`"
                    .into(),
            ],
        ),
    ];
    for (text, expected) in table {
        assert_eq!(accepted(&text).warnings.len(), expected.len());
        assert_told(&text, &expected.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

#[test]
fn all_problems_are_told_at_once_in_file_order() {
    let text = "[[virtual_server]]\n\
                lb_algoo = 'wlc'\n\
                addresses = ['192.0.2.10', 'nope']\n\
                [[virtual_server.real_server]]\n\
                address = '192.0.2.300'\n\
                weight = 'heavy'\n\
                [[virtual_server.real_server]]\n\
                address = '192.0.2.10'\n\
                [virtual_server.check]\n\
                delay_loop = 10\n\
                [global]\n\
                threads = 0\n";
    assert_told(
        text,
        &[
            "f:2:1: unknown key `lb_algoo`; did you mean `lb_algo`?",
            "f:3:28: `nope` is a name; write the IP address",
            "f:5:11: `192.0.2.300` is not an IP address; write one such as \"192.0.2.10\" or \"2001:db8::10\"",
            "f:6:10: `weight` takes a number, not a string; write a number from 0 to 65535, without quotes",
            "f:8:11: 192.0.2.10:2811 is virtual server `gridftp` itself: its sessions would come back to the door; \
             write the server's own address, or another `port`",
            "f:10:14: `delay_loop` is 10, without a unit; write for example `delay_loop = \"10s\"` (units: ms, s, m, h)",
            "f:12:11: `threads` is 0; write a number from 1 to 1024",
        ],
    );
}

#[test]
fn gsi_that_ends_at_the_door_leaves_no_room_for_tls() {
    let terminate = "[virtual_server.gsi]\nmode = 'terminate'\n";
    let tls = "[virtual_server.tls]\ncertificate = '/c.pem'\nkey = '/k.pem'\n";
    assert_told(
        &format!("{SOUND}{terminate}{tls}"),
        &[
            "f:9:1: `gridftp` ends GSI (`mode = \"terminate\"`), and lets nobody in by TLS; give TLS a virtual server of \
           its own, with another address or port",
        ],
    );
    assert_told(
        &format!("{SOUND}tls = {{ trust_anchors = '/a.pem' }}\n{terminate}"),
        &[
            "f:7:7: `gridftp` ends GSI (`mode = \"terminate\"`), and logs in at real servers by GSI, never by TLS; remove \
           `tls` of the real server, or write `mode = \"passthrough\"`",
        ],
    );
    // A path that is wrong besides takes nothing of that away, and calls nothing else wrong.
    assert_told(
        &format!("{SOUND}gsi_name = 's1.test'\n{terminate}certificate = 'c.pem'\n{tls}"),
        &[
            "f:10:15: `c.pem` is not an absolute path; write one that begins with `/`",
            "f:11:1: `gridftp` ends GSI (`mode = \"terminate\"`), and lets nobody in by TLS; give TLS a virtual server of \
           its own, with another address or port",
        ],
    );
}

#[test]
fn what_holds_for_users_arrives_and_is_judged() {
    let with = |keys: &str| format!("{SOUND}[virtual_server.gsi]\nmode = 'terminate'\n{keys}\n");
    let text = with(
        "allow_dn = ['/DC=org/*']\ndeny_dn = ['*/CN=Joe', '/CN=x']\nmax_sessions_per_dn = 5\npersistence = 'dn'",
    );
    let model = accepted(&text).model;
    let gsi = model.virtual_servers[0].gsi.clone().unwrap();
    let patterns = |texts: &[&str]| texts.iter().map(|text| NamePattern::new(text)).collect::<Vec<_>>();
    assert_eq!(gsi.certificate, Path::new("/etc/grid-security/hostcert.pem"));
    assert_eq!(gsi.identities.allow, patterns(&["/DC=org/*"]));
    assert_eq!(gsi.identities.deny, patterns(&["*/CN=Joe", "/CN=x"]));
    assert_eq!((gsi.identities.max_sessions, gsi.identities.persistent), (Some(5), true));
    for (keys, expected) in [
        ("persistence = 'ip'", "f:9:15: `persistence = \"ip\"` is unknown; write \"none\" or \"dn\""),
        ("max_sessions_per_dn = 0", "f:9:23: `max_sessions_per_dn` is 0; write a number from 1 to 1000000"),
        (
            "allow_dn = []",
            "f:9:12: `allow_dn` is empty; write who may come in, or remove it: then everybody may",
        ),
        (
            "deny_dn = ['CN=Joe,DC=org']",
            "f:9:12: `CN=Joe,DC=org` is no name of a user, nor a pattern; write it as `grid-proxy-info -identity` \
             does, such as \"/DC=org/DC=example/CN=Jane Doe\" or \"/DC=org/DC=example/*\"",
        ),
        (
            "allow_dn = ['*']\ndeny_dn = ['*']",
            "f:10:12: warning: `*` is in `allow_dn` as well: its users are denied; remove it from one of the two",
        ),
    ] {
        assert_told(&with(keys), &[expected]);
    }
}

#[test]
fn who_logs_in_at_the_real_servers_arrives_and_is_judged() {
    let with = |keys: &str| format!("{SOUND}[virtual_server.gsi]\nmode = 'terminate'\n{keys}\n");
    let login = |keys: &str| {
        let server = &accepted(&with(keys)).model.virtual_servers[0];
        server.gsi.clone().unwrap().backend_login
    };
    assert_eq!(login(""), BackendLogin::Delegated(vec![]));
    assert_eq!(login("backend_login = 'delegated'"), BackendLogin::Delegated(vec![]));
    assert_eq!(login("backend_login = 'passthrough'"), BackendLogin::Passthrough);
    assert_eq!(login("backend_login = 'passthrough'\npersistence = 'none'"), BackendLogin::Passthrough);
    let some = login("passthrough_networks = ['192.0.2.0/24', '2001:db8::7']");
    for (client, passes) in [
        ("192.0.2.200", true),
        ("192.0.3.1", false),
        ("::ffff:192.0.2.200", true),
        ("2001:db8::7", true),
        ("2001:db8::8", false),
    ] {
        let client = client.parse().unwrap();
        assert_eq!(some.passes(client), passes, "{client}");
        assert!(BackendLogin::Passthrough.passes(client) && !BackendLogin::default().passes(client));
    }
    let no_names = |line: &str, key: &str| {
        format!(
            "f:{line}: `{key}` goes by names, and with `backend_login = \"passthrough\"` the door reads none; remove it and \
             let the real servers judge (grid-mapfile), or write `backend_login = \"delegated\"`"
        )
    };
    for (keys, expected) in [
        (
            "backend_login = 'both'",
            vec!["f:9:17: `backend_login = \"both\"` is unknown; write \"delegated\" or \"passthrough\"".to_owned()],
        ),
        (
            "passthrough_networks = ['192.0.2.1/24']",
            vec!["f:9:25: `192.0.2.1/24` has bits beyond its prefix; write \"192.0.2.0/24\"".into()],
        ),
        (
            "backend_login = 'passthrough'\npassthrough_networks = ['192.0.2.0/24']",
            vec![
                "f:10:24: `passthrough_networks` says nothing beside `backend_login = \"passthrough\"`, which holds for \
                 every client; remove one of the two"
                    .into(),
            ],
        ),
        (
            "backend_login = 'passthrough'\nallow_dn = ['*']\ndeny_dn = ['/CN=x']\nmax_sessions_per_dn = 5\npersistence = 'dn'",
            vec![
                no_names("10:12", "allow_dn"),
                no_names("11:11", "deny_dn"),
                no_names("12:23", "max_sessions_per_dn"),
                no_names("13:15", "persistence"),
            ],
        ),
        (
            "passthrough_networks = ['192.0.2.0/24', '10.0.0.0/8']\ndeny_dn = ['/CN=x']",
            vec![
                "f:9:24: warning: the names of clients in 192.0.2.0/24, 10.0.0.0/8 are not read: `deny_dn` does not hold \
                 for them; let the real servers judge them (grid-mapfile), or list no more than the networks that need it"
                    .into(),
            ],
        ),
        (
            "passthrough_networks = ['192.0.2.0/24']\npersistence = 'dn'\nallow_dn = ['*']\nmax_sessions_per_dn = 2",
            vec![
                "f:9:24: warning: the names of clients in 192.0.2.0/24 are not read: `allow_dn`, `max_sessions_per_dn` and \
                 `persistence` do not hold for them; let the real servers judge them (grid-mapfile), or list no more than \
                 the networks that need it"
                    .into(),
            ],
        ),
        ("passthrough_networks = []\npersistence = 'dn'", vec![]),
    ] {
        assert_told(&with(keys), &expected.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

/// As where all GSI passes through: `check` has to say what the real servers must do themselves.
#[test]
fn what_passes_through_makes_demands_on_the_real_servers() {
    let with = |keys: &str| {
        let server =
            in_virtual_server("deny_commands = ['DELE', 'SITE RDEL']").replace("192.0.2.1", "2001:db8::1");
        format!("{server}[virtual_server.gsi]\nmode = 'terminate'\n{keys}\n")
    };
    let unread = "f:3:18: warning: `deny_commands` does not hold for GSI sessions that pass through: of those the door reads \
                  no command; deny the same in the real servers (gridftp.conf: `disable_command_list`)";
    let unmended = "f:8:1: warning: after a GSI login that passes through the door sees no replies: IPv6 clients (EPSV) get \
                    the address that the real server itself announces; start the real servers with -epsv-ip";
    for (keys, expected) in [
        ("passthrough_networks = ['192.0.2.0/24']", &[unread][..]),
        ("passthrough_networks = ['192.0.2.0/24', '2001:db8:7::/48']", &[unread, unmended]),
        ("backend_login = 'passthrough'", &[unread, unmended]),
        ("passthrough_networks = []", &[]),
    ] {
        assert_told(&with(keys), expected);
    }
}

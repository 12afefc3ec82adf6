//! What is said of one key alone.
use super::{SOUND, assert_told, in_real_server, in_virtual_server};

#[test]
fn unknown_keys_are_errors_with_a_suggestion() {
    let table = [
        (in_virtual_server("lb_algoo = 'wlc'"), "f:3:1: unknown key `lb_algoo`; did you mean `lb_algo`?"),
        (in_virtual_server("lb-algo = 'wlc'"), "f:3:1: unknown key `lb-algo`; did you mean `lb_algo`?"),
        (in_virtual_server("Port = 1"), "f:3:1: unknown key `Port`; did you mean `port`?"),
        (in_real_server("  max_conn = 5"), "f:7:3: unknown key `max_conn`; did you mean `max_connections`?"),
        (
            in_real_server("idle_timeout = '1m'"),
            "f:7:1: unknown key `idle_timeout` in `[[virtual_server.real_server]]`; it belongs to \
             `[[virtual_server]]`: move it below that header",
        ),
        (
            in_virtual_server("weight = 1"),
            "f:3:1: unknown key `weight` in `[[virtual_server]]`; it belongs to \
             `[[virtual_server.real_server]]`: move it below that header",
        ),
        (
            format!("connect_timeout = '1s'\n{SOUND}"),
            "f:1:1: unknown key `connect_timeout` at the top; it belongs to `[[virtual_server]]`, \
             `[virtual_server.check]` or `[virtual_server.real_server.check]`: move it below that header",
        ),
        (
            format!("{SOUND}[check]\ntype = 'tcp'\n"),
            "f:7:2: unknown key `check` at the top; write its header as `[virtual_server.check]`",
        ),
        (
            format!("[global]\nfavourite = 'blue'\n{SOUND}"),
            "f:2:1: unknown key `favourite`; remove it, or use one of: router_id, nameservers, admin_socket, http, \
             threads, drain_timeout, transfer_log, max_sessions, gsi_ready_keys",
        ),
        (
            in_virtual_server(r#""\u001b[31mréd" = 1"#),
            "f:3:1: unknown key `\\u{1b}[31mréd`; remove it, or use one of: name, addresses, port, forwarding, \
             ports, persistence_timeout, persistence_granularity, persistence_granularity_ipv6, fallback, \
             lb_algo, data_path, relay_ports, announce_address, proxy_protocol_from, foreign_data_addresses, \
             trusted_networks, allow, deny, max_sessions, max_sessions_per_client, session_rate_per_client, \
             session_burst_per_client, ipv6_prefix, queue_length, queue_timeout, deny_commands, login_timeout, \
             idle_timeout, greeting_timeout, connect_timeout, alpha, quorum, hysteresis, sorry_server, \
             offline_message, slow_start, gsi, tls, ban, check, ejection, real_server",
        ),
    ];
    for (text, expected) in table {
        assert_told(&text, &[expected]);
    }
}

#[test]
fn columns_count_characters() {
    assert_told(
        &in_virtual_server("trusted_networks = [ 'é🌍', '10.0.0.0/8', 'x' ]"),
        &[
            "f:3:22: `é🌍` is not a network; write an address and a prefix length, such as \"192.0.2.0/24\"",
            "f:3:42: `x` is not a network; write an address and a prefix length, such as \"192.0.2.0/24\"",
        ],
    );
    let crlf = in_virtual_server("prt = 1").replace('\n', "\r\n");
    assert_told(&format!("\u{feff}{crlf}"), &["f:3:1: unknown key `prt`; did you mean `port`?"]);
}

#[test]
fn values_of_the_virtual_server_are_checked() {
    let table = [
        (
            "port = '2811'",
            "f:3:8: `port` takes a number, not a string; write a number from 1 to 65535, without quotes",
        ),
        ("port = 0", "f:3:8: `port` is 0; write a number from 1 to 65535"),
        ("port = 65536", "f:3:8: `port` is 65536; write a number from 1 to 65535"),
        (
            "max_sessions = 99999999999999999999999999999999999999999",
            "f:3:16: `max_sessions` is 99999999999999999999999999999999999999999; write a number from 1 to 1000000",
        ),
        ("max_sessions = -1", "f:3:16: `max_sessions` is -1; write a number from 1 to 1000000"),
        (
            "max_sessions = 1.5",
            "f:3:16: `max_sessions` takes a number, not a number with a fraction; write a number from 1 to 1000000, \
             without quotes",
        ),
        ("name = 5", "f:3:8: `name` takes a string, not a number; write `name = \"5\"`"),
        ("name = true", "f:3:8: `name` takes a string, not true or false; write text in double quotes"),
        ("name = ''", "f:3:8: `name` is empty; write 1 to 253 characters"),
        ("name = 'a b'", "f:3:8: `name = \"a b\"` contains ` `; use letters, digits and . _ : -"),
        ("name = \"a\\nb\"", "f:3:8: `name = \"a\\nb\"` contains `\\n`; use letters, digits and . _ : -"),
        (
            "idle_timeout = 15",
            "f:3:16: `idle_timeout` is 15, without a unit; write for example `idle_timeout = \"15s\"` (units: ms, s, m, h)",
        ),
        (
            "idle_timeout = '15'",
            "f:3:16: `idle_timeout = \"15\"` has no unit; write for example \"15s\" (units: ms, s, m, h)",
        ),
        (
            "idle_timeout = '15min'",
            "f:3:16: `idle_timeout = \"15min\"` has a unit of another kind; write \"15m\"",
        ),
        (
            "idle_timeout = 'soon'",
            "f:3:16: `idle_timeout = \"soon\"` is not a duration; write a whole number and a unit (ms, s, m or h), such as \"10s\"",
        ),
        (
            "idle_timeout = '0s'",
            "f:3:16: `idle_timeout` is \"0s\", which is too short; write at least \"1ms\"",
        ),
        ("idle_timeout = '200h'", "f:3:16: `idle_timeout = \"200h\"` is too long; write at most \"168h\""),
        (
            "check.delay_loop = '5ms'",
            "f:3:20: `delay_loop` is \"5ms\", which is too short; write at least \"100ms\"",
        ),
        ("check.rise = 0", "f:3:14: `rise` is 0; write a number from 1 to 1000"),
        ("lb_algo = 'wlcc'", "f:3:11: `lb_algo = \"wlcc\"` is unknown; did you mean \"wlc\"?"),
        (
            "lb_algo = 'random'",
            "f:3:11: `lb_algo = \"random\"` is unknown; write \"wlc\", \"lc\", \"wrr\", \"rr\" or \"sh\"",
        ),
        (
            "foreign_data_addresses = 'third_party'",
            "f:3:26: `foreign_data_addresses = \"third_party\"` is unknown; did you mean \"third-party\"?",
        ),
        ("forwarding = 'nat'", "f:3:14: `forwarding = \"nat\"` is unknown; write \"proxy\" or \"dr\""),
        ("gsi.mode = 'end'", "f:3:12: `mode = \"end\"` is unknown; write \"passthrough\" or \"terminate\""),
        (
            "gsi = { mode = 'terminate', key = 'k.pem' }",
            "f:3:35: `k.pem` is not an absolute path; write one that begins with `/`",
        ),
        (
            "check.type = 'gsi'",
            "f:3:14: `type = \"gsi\"` has no authorities to trust and no credential; add `[virtual_server.gsi]` with `mode = \"terminate\"`, or use `type = \"ftp\"`",
        ),
        (
            "relay_ports = '52000'",
            "f:3:15: `relay_ports = \"52000\"` is not a range of ports; write the lowest and the highest, such as \"52000-53000\" (at most 65535)",
        ),
        (
            "relay_ports = 52000",
            "f:3:15: `relay_ports` takes a range of ports, not a number; write `relay_ports = \"52000-52000\"` for one port alone",
        ),
        (
            "relay_ports = '52000-70000'",
            "f:3:15: `relay_ports = \"52000-70000\"` is not a range of ports; write the lowest and the highest, such as \"52000-53000\" (at most 65535)",
        ),
        (
            "relay_ports = '53000-52000'",
            "f:3:15: `relay_ports = \"53000-52000\"` ends before it begins; write \"52000-53000\"",
        ),
        (
            "relay_ports = '1000-2000'",
            "f:3:15: `relay_ports = \"1000-2000\"` has ports below 1024, which are those of services; begin at 1024 or above",
        ),
        (
            "trusted_networks = '10.0.0.0/8'",
            "f:3:20: `trusted_networks` takes a list, not a string; write `trusted_networks = [\"10.0.0.0/8\"]`",
        ),
        (
            "trusted_networks = ['10.1.0.0/8']",
            "f:3:21: `10.1.0.0/8` has bits beyond its prefix; write \"10.0.0.0/8\"",
        ),
        (
            "trusted_networks = [8]",
            "f:3:21: `trusted_networks` takes a string, not a number; write `trusted_networks = \"8\"`",
        ),
        (
            "announce_address = 10",
            "f:3:20: `announce_address` takes an address or a list of them, not a number; write `announce_address = \"…\"`",
        ),
        (
            "announce_address = '0.0.0.0'",
            "f:3:20: `0.0.0.0` is no host's address; write the address that the host is reached at",
        ),
        (
            "announce_address = ['203.0.113.10', '203.0.113.11']",
            "f:3:37: `announce_address` has a second IPv4 address, `203.0.113.11`; keep one of each family",
        ),
        (
            "proxy_protocol_from = '198.51.100.2'",
            "f:3:23: `proxy_protocol_from` takes a list, not a string; write `proxy_protocol_from = [\"198.51.100.2\"]`",
        ),
        (
            "proxy_protocol_from = ['198.51.100.2/24']",
            "f:3:24: `198.51.100.2/24` has bits beyond its prefix; write \"198.51.100.0/24\"",
        ),
        (
            "tls = { certificate = '/c.pem' }",
            "f:3:7: `[virtual_server.tls]` has no `key`; add `key = \"…\"`, the PEM file of the certificate's private key",
        ),
        (
            "tls = { key = '/k.pem' }",
            "f:3:7: `[virtual_server.tls]` has no `certificate`; add `certificate = \"…\"`, a PEM file with the host's certificate",
        ),
        (
            "tls = { certificate = 'c.pem', key = '/k.pem' }",
            "f:3:23: `c.pem` is not an absolute path; write one that begins with `/`",
        ),
        (
            "tls = { certificate = '/c.pem', key = '/k.pem', implicit_port = '990' }",
            "f:3:65: `implicit_port` takes a number, not a string; write a number from 1 to 65535, without quotes",
        ),
        (
            "tls = { certificate = '/c.pem', key = '/k.pem', require = true }",
            "f:3:49: unknown key `require`; did you mean `required`?",
        ),
        (
            "tls = true",
            "f:3:7: `tls` takes a table, not true or false; write a line `[virtual_server.tls]` and its keys below",
        ),
        (
            "check = 'ftp'",
            "f:3:9: `check` takes a table, not a string; write a line `[virtual_server.check]` and its keys below",
        ),
    ];
    for (lines, expected) in table {
        assert_told(&in_virtual_server(lines), &[expected]);
    }
}

#[test]
fn values_of_the_real_server_are_checked() {
    let table = [
        ("weight = 65536", "f:7:10: `weight` is 65536; write a number from 0 to 65535"),
        ("weight = -1", "f:7:10: `weight` is -1; write a number from 0 to 65535"),
        ("max_connections = 0", "f:7:19: `max_connections` is 0; write a number from 1 to 1000000"),
        (
            "checks_data_peer = 'no'",
            "f:7:20: `checks_data_peer` takes true or false, not a string; write `true` or `false`, without quotes",
        ),
        (
            "send_proxy_protocol = 'v3'",
            "f:7:23: `send_proxy_protocol = \"v3\"` is unknown; did you mean \"v1\"?",
        ),
        (
            "send_proxy_protocol = 2",
            "f:7:23: `send_proxy_protocol` takes a string, not a number; write `send_proxy_protocol = \"2\"`",
        ),
        (
            "tls = { mode = 'start', verify = false }",
            "f:7:16: `mode = \"start\"` is unknown; write \"explicit\" or \"implicit\"",
        ),
        (
            "tls = {}",
            "f:7:7: the server's certificate is to be verified, and there are no `trust_anchors`; add `trust_anchors = \"…\"`, \
             a PEM file of the certificates that signed it (or `verify = false`, and anybody between door and server can \
             read along)",
        ),
        (
            "tls = { verify = true }",
            "f:7:18: the server's certificate is to be verified, and there are no `trust_anchors`; add `trust_anchors = \"…\"`, \
             a PEM file of the certificates that signed it (or `verify = false`, and anybody between door and server can \
             read along)",
        ),
        (
            "tls = { verify = false, trust_anchors = '/a.pem' }",
            "f:7:41: warning: `trust_anchors` and `name` are not used with `verify = false`; remove them, or remove `verify`",
        ),
        (
            "tls = { trust_anchors = '/a.pem', name = 's1..example.org' }",
            "f:7:42: `s1..example.org` is neither a host name nor an IP address; write the name that is in the \
             server's certificate",
        ),
        (
            "data_addresses = '198.51.100.11'",
            "f:7:18: `data_addresses` takes a list, not a string; write `data_addresses = [\"198.51.100.11\"]`",
        ),
        (
            "data_addresses = ['198.51.100.11', '198.51.100.12']",
            "f:7:36: `data_addresses` has a second IPv4 address, `198.51.100.12`; keep one of each family",
        ),
        (
            "data_address_map = '10.1.1.5'",
            "f:7:20: `data_address_map` takes a table, not a string; write `data_address_map = { \"10.1.1.5\" = \"198.51.100.5\" }`",
        ),
        (
            "data_address_map = { '10.1.1.5' = '2001:db8::5' }",
            "f:7:35: `10.1.1.5` and `2001:db8::5` are of different families; map IPv4 to IPv4 and IPv6 to IPv6",
        ),
        (
            "data_address_map = { '2001:db8::5' = '2001:db8::6', '2001:db8:0::5' = '2001:db8::7' }",
            "f:7:53: `2001:db8::5` is mapped twice; keep one of them",
        ),
        ("data_address_map = { 'n1' = '192.0.2.1' }", "f:7:22: `n1` is a name; write the IP address"),
    ];
    for (lines, expected) in table {
        assert_told(&in_real_server(lines), &[expected]);
    }
}

#[test]
fn addresses_are_checked_and_slips_are_named() {
    let table = [
        (
            "s1.example.org.s2..org",
            "`s1.example.org.s2..org` is not a name; write one such as \"s1.example.org\"",
        ),
        (
            "localhost:2811",
            "`localhost:2811` is not a name; write \"localhost\", and the port as `port = 2811`",
        ),
        (
            "192.0.2.300",
            "`192.0.2.300` is not an IP address; write one such as \"192.0.2.10\" or \"2001:db8::10\"",
        ),
        ("", "`` is not an IP address; write one such as \"192.0.2.10\" or \"2001:db8::10\""),
        (
            "192.0.2.1:2812",
            "`192.0.2.1:2812` is not an IP address; write \"192.0.2.1\", and the port as `port = 2812`",
        ),
        (
            "[2001:db8::1]:2812",
            "`[2001:db8::1]:2812` is not an IP address; write \"2001:db8::1\", and the port as `port = 2812`",
        ),
        ("[2001:db8::1]", "`[2001:db8::1]` is not an IP address; write \"2001:db8::1\""),
        (" 192.0.2.1", "` 192.0.2.1` is not an IP address; write \"192.0.2.1\""),
        (
            "192.0.2.1/24",
            "`192.0.2.1/24` is not an IP address; write \"192.0.2.1\", without the prefix length",
        ),
        (
            "fe80::1%eth0",
            "`fe80::1%eth0` is not an IP address; addresses with a zone are not in this version, write a global or unique local address",
        ),
        (
            "fe80::1",
            "`fe80::1` is link-local, which needs an interface besides; write a global or unique local address",
        ),
        ("::ffff:192.0.2.1", "`::ffff:192.0.2.1` is an IPv4 address in IPv6 form; write \"192.0.2.1\""),
        ("224.0.0.18", "`224.0.0.18` is a multicast address; write the address of one host"),
        ("255.255.255.255", "`255.255.255.255` is the broadcast address; write the address of one host"),
        ("0.0.0.0", "`0.0.0.0` is no host's address; write the address that the host is reached at"),
    ];
    for (address, expected) in table {
        let text = SOUND.replace("'192.0.2.12'", &format!("'{address}'"));
        assert_told(&text, &[&format!("f:6:11: {expected}")]);
    }
    assert_told(&SOUND.replace("192.0.2.10", "0.0.0.0"), &[]);
}

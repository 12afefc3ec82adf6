//! Real servers by name, and who is asked.
use super::*;
use crate::config::Question;

#[test]
fn names_and_services_are_told_from_addresses() {
    let text = r#"
        global.nameservers = ["192.0.2.53", "192.0.2.54:5353", "2001:db8::53", "[2001:db8::53]:5353"]
        [[virtual_server]]
        addresses = ["192.0.2.10"]
        [[virtual_server.real_server]]
        address = "S1.example.org"
        port = 2812
        [[virtual_server.real_server]]
        address = "192.0.2.12"
        [[virtual_server.real_server]]
        name = "pool"
        srv = "_gsiftp._tcp.example.org."
    "#;
    let Accepted { model, warnings } = accepted(text);
    assert_eq!(warnings, []);
    let servers: Vec<String> = model.global.nameservers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["192.0.2.53:53", "192.0.2.54:5353", "[2001:db8::53]:53", "[2001:db8::53]:5353"]);
    let server = &model.virtual_servers[0];
    assert_eq!(server.real_servers.len(), 1);
    let named: Vec<_> = server
        .named_servers
        .iter()
        .map(|named| (named.position, named.question.clone(), &named.template.name[..], named.template.port))
        .collect();
    let service = Question::Service("_gsiftp._tcp.example.org.".into());
    let host = Question::Host("s1.example.org".into());
    assert_eq!(named, [(0, host, "s1.example.org", 2812), (2, service, "pool", 2811)]);
}

#[test]
fn one_name_may_stand_for_all_servers() {
    let text = "[[virtual_server]]\naddresses = ['192.0.2.10']\n[[virtual_server.real_server]]\naddress = 'pool.test'\n";
    assert_told(text, &[]);
}

#[test]
fn slips_with_names_have_a_place_and_a_mend() {
    let head = "[[virtual_server]]\naddresses = ['192.0.2.10']\n[[virtual_server.real_server]]\naddress = '192.0.2.11'\n\
                [[virtual_server.real_server]]\n";
    #[rustfmt::skip]
    let table = [
        ("port = 2811", "f:5:1: `[[virtual_server.real_server]]` has no `address`; add `address = \"…\"`, its IP address or its name"),
        ("srv = '_gsiftp._tcp.a.org'\naddress = 'a.org'", "f:7:1: there are `address` and `srv`; keep the one that is meant"),
        ("srv = '_gsiftp._tcp.a.org'\nport = 2811", "f:7:1: warning: `port` is not used with `srv`; remove it: the record has one"),
        ("srv = '192.0.2.1'", "f:6:7: `192.0.2.1` is not a name; write one such as \"s1.example.org\""),
        ("address = 'a_b.org'\ndata_addresses = ['a.org']", "f:7:19: `a.org` is a name; write the IP address"),
        ("address = 'a.org'\n[[virtual_server.real_server]]\naddress = 'a.org'", "f:7:1: there is already a real server `a.org`; give each a `name` of its own"),
        ("address = 'a.org'\nchecks_data_peer = true\nsend_proxy_protocol = 'v2'",
            "f:8:23: with `send_proxy_protocol` the server knows the client's address and not the door's: with `checks_data_peer` it would refuse every data connection of the door; remove one of them, and with this one let the server take data from any address (proftpd `AllowForeignAddress on`)"),
    ];
    for (keys, expected) in table {
        assert_told(&format!("{head}{keys}\n"), &[expected]);
    }
    assert_told(
        &format!("[global]\nnameservers = ['192.0.2.53:0', 'dns.test']\n{SOUND}"),
        &[
            "f:2:16: `192.0.2.53:0` is not an IP address; write \"192.0.2.53\", and the port as `port = 0`",
            "f:2:32: `dns.test` is a name; write the IP address",
        ],
    );
}

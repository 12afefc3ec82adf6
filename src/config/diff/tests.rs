use std::path::Path;

use super::*;
use crate::config::toml::parse;

const BEFORE: &str = r#"
[global]
router_id = "lb1"
[[virtual_server]]
name = "gridftp"
addresses = ["192.0.2.10"]
max_sessions = 100
[virtual_server.check]
retry = 2
[[virtual_server.real_server]]
name = "s1"
address = "192.0.2.11"
[[virtual_server.real_server]]
name = "s2"
address = "192.0.2.12"
max_connections = 50
data_addresses = ["198.51.100.12"]
[[virtual_server]]
name = "archive"
addresses = ["192.0.2.10"]
port = 2812
[[virtual_server.real_server]]
name = "a1"
address = "192.0.2.21"
tls = { mode = "explicit", verify = false }
"#;

fn model(text: &str) -> Model {
    parse(Path::new("test.toml"), text).expect("a configuration").model
}

fn lines(before: &str, after: &str) -> Vec<String> {
    diff(&model(before), &model(after)).iter().map(ToString::to_string).collect()
}

/// The text with one piece of it replaced, and what that is called.
#[test]
fn what_changes_is_named_with_its_place_row_by_row() {
    #[rustfmt::skip]
    let table: &[(&str, &str, &[&str])] = &[
        ("lb1", "lb1", &[]),
        ("lb1", "lb2", &["global: router_id lb1 → lb2; takes effect at the next start"]),
        ("[global]", "[global]\ndrain_timeout = \"90s\"", &["global: drain_timeout 1m → 90s"]),
        ("[global]", "[global]\nthreads = 2", &["global: threads none → 2; takes effect at the next start"]),
        ("[global]", "[global]\nadmin_socket = \"/run/a.sock\"",
            &["global: admin_socket /run/gridfront/admin.sock → /run/a.sock; \
               cannot change while the daemon runs: restart it, or take this back"]),
        ("max_sessions = 100", "max_sessions = 200", &["virtual_server gridftp: max_sessions 100 → 200"]),
        ("max_sessions = 100", "", &["virtual_server gridftp: max_sessions 100 → 10000"]),
        ("addresses = [\"192.0.2.10\"]\nmax", "addresses = [\"192.0.2.10\", \"2001:db8::10\"]\nmax",
            &["virtual_server gridftp: addresses 192.0.2.10 → 192.0.2.10 2001:db8::10"]),
        ("max_sessions = 100", "max_sessions = 100\nquorum = 2\nhysteresis = 1\nslow_start = \"1m\"\noffline_message = \"x\"",
            &["virtual_server gridftp: quorum 1 → 2", "virtual_server gridftp: hysteresis 0 → 1",
              "virtual_server gridftp: offline_message none → x", "virtual_server gridftp: slow_start 0s → 1m"]),
        ("max_sessions = 100", "max_sessions = 100\nalpha = true\nsorry_server = \"192.0.2.99\"\nejection = {}",
            &["virtual_server gridftp: alpha false → true", "virtual_server gridftp: sorry_server none → 192.0.2.99:2811",
              "virtual_server gridftp: ejection added"]),
        ("max_connections = 50", "max_connections = 50\ninhibit_on_failure = true",
            &["virtual_server gridftp: real_server s2: inhibit_on_failure false → true"]),
        ("retry = 2", "retry = 5\ntype = \"tcp\"",
            &["virtual_server gridftp: check: type ftp → tcp", "virtual_server gridftp: check: retry 2 → 5"]),
        ("address = \"192.0.2.11\"", "address = \"192.0.2.11\"\nweight = 4",
            &["virtual_server gridftp: real_server s1: weight 1 → 4"]),
        ("address = \"192.0.2.11\"", "address = \"192.0.2.13\"",
            &["virtual_server gridftp: real_server s1 (192.0.2.13:2811) added",
              "virtual_server gridftp: real_server s1 (192.0.2.11:2811) removed"]),
        ("[[virtual_server.real_server]]\nname = \"s1\"\naddress = \"192.0.2.11\"\n", "",
            &["virtual_server gridftp: real_server s1 (192.0.2.11:2811) removed"]),
        ("max_connections = 50\ndata_addresses = [\"198.51.100.12\"]", "data_ports = \"50000-50999\"",
            &["virtual_server gridftp: real_server s2: max_connections 50 → none",
              "virtual_server gridftp: real_server s2: data_addresses 198.51.100.12 → none",
              "virtual_server gridftp: real_server s2: data_ports none → 50000-50999"]),
        ("name = \"archive\"", "name = \"tape\"",
            &["virtual_server tape added", "virtual_server archive removed"]),
        ("mode = \"explicit\", verify = false", "mode = \"implicit\", verify = false",
            &["virtual_server archive: real_server a1: tls: mode explicit → implicit"]),
        ("tls = { mode = \"explicit\", verify = false }", "send_proxy_protocol = \"v2\"",
            &["virtual_server archive: real_server a1: send_proxy_protocol none → v2",
              "virtual_server archive: real_server a1: tls removed"]),
        ("port = 2812",
            "port = 2812\ntls = { certificate = \"/a.pem\", key = \"/a.key\", implicit_port = 990 }",
            &["virtual_server archive: tls added"]),
        ("max_sessions = 100", "max_sessions = 100\ngsi = { mode = \"terminate\" }",
            &["virtual_server gridftp: gsi added"]),
        ("[global]", "[global]\ngsi_ready_keys = 8",
            &["global: gsi_ready_keys 64 → 8; takes effect at the next start"]),
        ("max_connections = 50", "max_connections = 50\ngsi_name = \"s2.example.org\"\ngsi_subject = \"/CN=s2\"",
            &["virtual_server gridftp: real_server s2: gsi_name none → s2.example.org",
              "virtual_server gridftp: real_server s2: gsi_subject none → /CN=s2"]),
    ];
    for (old, new, expected) in table {
        assert!(BEFORE.contains(old), "{old}");
        assert_eq!(lines(BEFORE, &BEFORE.replacen(old, new, 1)), *expected, "{old} → {new}");
    }
}

#[test]
fn another_order_alone_is_a_change() {
    let (head, tail) = BEFORE.split_once("[[virtual_server.real_server]]\nname = \"s2\"").unwrap();
    let (two, rest) = tail.split_once("[[virtual_server]]").unwrap();
    let (head, one) = head.split_once("[[virtual_server.real_server]]\nname = \"s1\"").unwrap();
    let turned = format!(
        "{head}[[virtual_server.real_server]]\nname = \"s2\"{two}[[virtual_server.real_server]]\n\
         name = \"s1\"{one}[[virtual_server]]{rest}"
    );
    assert_eq!(lines(BEFORE, &turned), ["virtual_server gridftp: the real_server tables have another order"]);
}

#[test]
fn only_what_a_running_daemon_cannot_take_is_marked() {
    let after = BEFORE.replacen("[global]", "[global]\nadmin_socket = \"/run/a.sock\"\nthreads = 3", 1);
    let effects: Vec<Effect> =
        diff(&model(BEFORE), &model(&after)).iter().map(|change| change.effect).collect();
    assert_eq!(effects, [Effect::Refused, Effect::NextStart]);
}

#[test]
fn what_holds_for_users_is_compared_key_by_key() {
    let with = |keys: &str| {
        BEFORE.replacen("max_sessions = 100", &format!("gsi = {{ mode = \"terminate\"{keys} }}"), 1)
    };
    for (keys, expected) in [
        (", key = \"/k\"", "key /etc/grid-security/hostkey.pem → /k"),
        (", allow_dn = [\"/DC=org/*\"]", "another allow_dn"),
        (", deny_dn = [\"*/CN=Joe\"]", "another deny_dn"),
        (", max_sessions_per_dn = 5", "max_sessions_per_dn none → 5"),
        (", persistence = \"dn\"", "persistence none → dn"),
        (", backend_login = \"passthrough\"", "backend_login delegated → passthrough"),
        (
            ", passthrough_networks = [\"192.0.2.0/24\", \"::1\"]",
            "passthrough_networks none → 192.0.2.0/24 ::1/128",
        ),
    ] {
        assert_eq!(
            lines(&with(""), &with(keys)),
            [format!("virtual_server gridftp: gsi: {expected}")],
            "{keys}"
        );
    }
}

#[test]
fn what_changes_of_vrrp_is_named_with_what_it_costs() {
    let vrrp = r#"
[[vrrp_instance]]
name = "VI_1"
interface = "eth0"
virtual_router_id = 51
priority = 100
version = 2
virtual_addresses = ["192.0.2.10/24"]
use_vmac = true
track_scripts = ["chk"]
notify = ["/bin/n", "secret"]
authentication = { type = "PASS", password = "gridftp1" }
[[vrrp_instance]]
name = "VI_2"
interface = "eth0"
virtual_router_id = 52
virtual_addresses = ["192.0.2.20/24"]
[[vrrp_sync_group]]
name = "VG"
instances = ["VI_1", "VI_2"]
[[vrrp_script]]
name = "chk"
script = ["/bin/c"]
"#;
    let before = format!("{BEFORE}{vrrp}");
    #[rustfmt::skip]
    let table: &[(&str, &str, &[&str])] = &[
        ("VI_1", "VI_1", &[]),
        ("priority = 100", "priority = 150", &["vrrp_instance VI_1: priority 100 → 150"]),
        ("priority = 100", "state = \"MASTER\"\nadvert_interval = \"2s\"\nsource_address = \"192.0.2.1\"",
            &["vrrp_instance VI_1: state BACKUP → MASTER; takes effect at the next start",
              "vrrp_instance VI_1: advert_interval 1s → 2s", "vrrp_instance VI_1: source_address none → 192.0.2.1"]),
        ("router_id = 51", "router_id = 53",
            &["vrrp_instance VI_1: virtual_router_id 51 → 53; the instance begins anew",
              "vrrp_instance VI_1: vmac_interface vrrp.51 → vrrp.53; the instance begins anew"]),
        ("interface = \"eth0\"", "interface = \"eth1\"",
            &["vrrp_instance VI_1: interface eth0 → eth1; the instance begins anew"]),
        ("use_vmac = true", "preempt = false\nunicast_peers = [\"192.0.2.2\"]",
            &["vrrp_instance VI_1: unicast_peers none → 192.0.2.2",
              "vrrp_instance VI_1: use_vmac true → false; the instance begins anew",
              "vrrp_instance VI_1: preempt true → false"]),
        ("version = 2\nvirtual_addresses = [\"192.0.2.10/24\"]", "version = 2\nvirtual_addresses = [\"192.0.2.11/24\", \"2001:db8::10/64\"]",
            &["vrrp_instance VI_1: virtual_addresses 192.0.2.10/24 → 192.0.2.11/24 2001:db8::10/64"]),
        ("[\"192.0.2.20/24\"]", "[\"fe80::52/64\", \"192.0.2.20/24\"]\nchecksum = \"pseudo-header\"",
            &["vrrp_instance VI_2: virtual_addresses 192.0.2.20/24 → fe80::52/64 192.0.2.20/24; the instance begins anew"]),
        ("[\"192.0.2.20/24\"]", "[\"192.0.2.20/24\"]\nchecksum = \"rfc9568\"\ngarp_master_delay = \"1s\"",
            &["vrrp_instance VI_2: checksum pseudo-header → rfc9568", "vrrp_instance VI_2: garp_master_delay 5s → 1s",
              "vrrp_instance VI_2: garp_lower_prio_delay 5s → 1s"]),
        ("[\"192.0.2.20/24\"]", "[\"192.0.2.20/24\"]\nversion = 2",
            &["vrrp_instance VI_2: version 3 → 2; the instance begins anew"]),
        ("gridftp1", "gridftp2", &["vrrp_instance VI_1: another authentication"]),
        ("track_scripts = [\"chk\"]", "track_scripts = [{ name = \"chk\", weight = 5 }]\ntrack_interfaces = [\"eth1\"]",
            &["vrrp_instance VI_1: track_interfaces none → eth1", "vrrp_instance VI_1: track_scripts chk → chk(+5)"]),
        ("secret", "other", &["vrrp_instance VI_1: notify has other arguments"]),
        ("notify = [\"/bin/n\", \"secret\"]", "notify_stop = [\"/bin/s\"]",
            &["vrrp_instance VI_1: notify_stop none → /bin/s", "vrrp_instance VI_1: notify /bin/n → none"]),
        ("instances = [\"VI_1\", \"VI_2\"]", "instances = [\"VI_2\"]",
            &["vrrp_sync_group VG: instances VI_1 VI_2 → VI_2"]),
        ("script = [\"/bin/c\"]", "script = [\"/bin/c\"]\ninterval = \"3s\"\ninit_fail = true",
            &["vrrp_script chk: interval 1s → 3s", "vrrp_script chk: timeout 1s → 3s",
              "vrrp_script chk: init_fail false → true; takes effect at the next start"]),
        ("[[vrrp_script]]", "[[track_file]]\nname = \"f\"\nfile = \"/f\"\n[[vrrp_script]]", &["track_file f added"]),
        ("VG", "VG2", &["vrrp_sync_group VG2 added", "vrrp_sync_group VG removed"]),
    ];
    for (old, new, expected) in table {
        assert!(before.contains(old), "{old}");
        assert_eq!(lines(&before, &before.replacen(old, new, 1)), *expected, "{old} → {new}");
    }
    assert_eq!(
        lines(&before, BEFORE),
        [
            "vrrp_instance VI_1 removed",
            "vrrp_instance VI_2 removed",
            "vrrp_sync_group VG removed",
            "vrrp_script chk removed"
        ]
    );
}

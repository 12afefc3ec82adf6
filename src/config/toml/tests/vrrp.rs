//! `[[vrrp_instance]]` and the tables that it names.
use super::*;
use crate::config::vrrp::{
    Command, Garp, InitialState, Notify, Track, TrackFile, Tracks, Vmac, Vrrp, VrrpInstance, VrrpScript,
    VrrpSyncGroup,
};
use crate::proto::vrrp::{ChecksumForm, Family, Password, Version};
use std::num::NonZeroU8;

/// A virtual router that there is nothing to say about, and that has more lines. They begin at line 6.
fn instance(lines: &str) -> String {
    format!(
        "[[vrrp_instance]]\nname = 'VI_1'\ninterface = 'eth0'\nvirtual_router_id = 51\n\
         virtual_addresses = ['192.0.2.10/24']\n{lines}\n"
    )
}

/// Another one.
fn second(lines: &str) -> String {
    "[[vrrp_instance]]\nname = 'VI_2'\ninterface = 'eth1'\nvirtual_router_id = 52\n".to_owned()
        + "virtual_addresses = ['192.0.2.20/24']\n"
        + lines
        + "\n"
}

/// One of version 3 with IPv6.
fn ipv6(lines: &str) -> String {
    let addresses = "['fe80::51/64', '2001:db8::10/64']";
    instance(lines).replace("['192.0.2.10/24']", addresses)
}

/// Errors and warnings, a line each, empty for none.
fn assert_rows(table: &[(String, &str)]) {
    for (text, expected) in table {
        assert_told(text, &expected.lines().collect::<Vec<_>>());
    }
}

fn track(name: &str, weight: i16) -> Track {
    Track { name: name.into(), weight }
}

fn command(program: &str, arguments: &[&str]) -> Command {
    Command { program: program.into(), arguments: arguments.iter().map(|&word| word.to_owned()).collect() }
}

#[test]
fn a_file_of_vrrp_alone_gets_the_documented_defaults() {
    let Accepted { model, warnings } = accepted(&instance(""));
    assert_eq!(warnings, []);
    assert_eq!(model.virtual_servers, []);
    let expected = VrrpInstance {
        name: "VI_1".into(),
        interface: "eth0".into(),
        state: InitialState::Backup,
        virtual_router_id: NonZeroU8::new(51).unwrap(),
        priority: NonZeroU8::new(100).unwrap(),
        advert_interval: Duration::from_secs(1),
        version: Version::V3,
        virtual_addresses: vec!["192.0.2.10/24".parse().unwrap()],
        virtual_addresses_excluded: vec![],
        source_address: None,
        unicast_peers: vec![],
        unicast_ttl_check: false,
        checksum: ChecksumForm::PseudoHeader,
        authentication: None,
        vmac: None,
        preempt: true,
        preempt_delay: Duration::ZERO,
        garp: Garp {
            master_delay: Duration::from_secs(5),
            master_repeat: 5,
            master_refresh: Duration::ZERO,
            master_refresh_repeat: 1,
            lower_prio_delay: Duration::from_secs(5),
            lower_prio_repeat: 5,
        },
        tracks: Tracks::default(),
        notify: Notify::default(),
    };
    assert_eq!(model.vrrp, Vrrp { instances: vec![expected], ..Vrrp::default() });
}

#[test]
fn every_key_of_vrrp_that_is_set_arrives() {
    let text = format!(
        r#"
        {SOUND}
        [[vrrp_script]]
        name = "router"
        script = ["/bin/ping", "-c1", "192.0.2.1"]
        interval = "2s"
        timeout = "500ms"
        rise = 2
        fall = 3
        weight = -20
        init_fail = true
        [[vrrp_script]]
        name = "disk"
        script = ["/bin/disk"]
        interval = "4s"
        [[track_file]]
        name = "load"
        file = "/run/load"
        weight = -2
        init_file = -7
        [[track_file]]
        name = "away"
        file = "/run/away"
        [[vrrp_instance]]
        name = "VI_1"
        interface = "eth0.100"
        state = "MASTER"
        virtual_router_id = 255
        priority = 254
        advert_interval = "40950ms"
        version = 3
        virtual_addresses = ["192.0.2.10/24", "2001:db8::10/64", "192.0.2.11"]
        virtual_addresses_excluded = ["2001:db8::11", "fe80::11/64"]
        source_address = "192.0.2.1"
        unicast_peers = ["192.0.2.2", "192.0.2.3"]
        unicast_ttl_check = true
        checksum = "rfc9568"
        use_vmac = true
        vmac_interface = "vip0"
        vmac_xmit_base = true
        preempt_delay = "1000s"
        garp_master_delay = "1s"
        garp_master_repeat = 2
        garp_master_refresh = "1m"
        garp_master_refresh_repeat = 3
        track_interfaces = ["eth1", {{ name = "eth2", weight = 253 }}]
        track_scripts = ["router", {{ name = "disk", weight = -253 }}]
        track_files = ["load", {{ name = "away" }}]
        track_virtual_servers = [{{ name = "gridftp", weight = 10 }}]
        notify_master = ["/bin/m", "a b"]
        notify_backup = ["/bin/b"]
        notify_fault = ["/bin/f"]
        notify_stop = ["/bin/s"]
        notify = ["/bin/n"]
        [[vrrp_instance]]
        name = "VI_2"
        interface = "eth0"
        virtual_router_id = 1
        priority = 1
        advert_interval = "255s"
        version = 2
        virtual_addresses = ["192.0.2.20/31"]
        preempt = false
        garp_lower_prio_delay = "0s"
        garp_lower_prio_repeat = 0
        track_interfaces = [{{ name = "eth2", weight = 253 }}]
        track_scripts = ["router", {{ name = "disk", weight = -253 }}]
        track_files = ["load", "away"]
        track_virtual_servers = [{{ name = "gridftp", weight = 10 }}]
        authentication = {{ type = "PASS", password = "gridftp1" }}
        [[vrrp_sync_group]]
        name = "VG"
        instances = ["VI_1", "VI_2"]
        notify = ["/bin/g"]
        "#
    );
    let Accepted { model, warnings } = accepted(&text);
    assert_eq!(warnings, []);
    let Vrrp { instances, sync_groups, scripts, track_files } = &model.vrrp;
    let seconds = Duration::from_secs;
    let [one, two] = &instances[..] else { panic!("{instances:?}") };
    assert_eq!((&one.interface[..], one.state), ("eth0.100", InitialState::Master));
    assert_eq!((one.virtual_router_id.get(), one.priority.get()), (255, 254));
    assert_eq!((one.advert_interval, one.version), (Duration::from_millis(40_950), Version::V3));
    assert_eq!(one.family(), Family::Ipv4);
    let shown = |networks: Vec<&ipnet::IpNet>| format!("{networks:?}");
    assert_eq!(shown(one.advertised().collect()), "[192.0.2.10/24, 192.0.2.11/32]");
    assert_eq!(shown(one.excluded().collect()), "[2001:db8::10/64, 2001:db8::11/128, fe80::11/64]");
    assert_eq!(one.source_address, Some("192.0.2.1".parse().unwrap()));
    assert_eq!(format!("{:?}", one.unicast_peers), "[192.0.2.2, 192.0.2.3]");
    assert_eq!((one.unicast_ttl_check, one.checksum), (true, ChecksumForm::Rfc9568));
    assert_eq!(one.vmac, Some(Vmac { interface: "vip0".into(), xmit_base: true }));
    assert_eq!((one.preempt, one.preempt_delay), (true, seconds(1000)));
    assert_eq!(
        one.garp,
        Garp {
            master_delay: seconds(1),
            master_repeat: 2,
            master_refresh: seconds(60),
            master_refresh_repeat: 3,
            lower_prio_delay: seconds(1),
            lower_prio_repeat: 2,
        }
    );
    assert_eq!(
        one.tracks,
        Tracks {
            interfaces: vec![track("eth1", 0), track("eth2", 253)],
            scripts: vec![track("router", -20), track("disk", -253)],
            files: vec![track("load", -2), track("away", 1)],
            virtual_servers: vec![track("gridftp", 10)],
        }
    );
    assert_eq!(
        one.notify,
        Notify {
            master: Some(command("/bin/m", &["a b"])),
            backup: Some(command("/bin/b", &[])),
            fault: Some(command("/bin/f", &[])),
            stop: Some(command("/bin/s", &[])),
            any: Some(command("/bin/n", &[])),
        }
    );
    assert_eq!((two.advert_interval, two.version, two.preempt), (seconds(255), Version::V2, false));
    assert_eq!((two.garp.lower_prio_delay, two.garp.lower_prio_repeat), (Duration::ZERO, 0));
    assert_eq!(two.authentication, Password::new(b"gridftp1"));
    let group = VrrpSyncGroup {
        name: "VG".into(),
        instances: vec!["VI_1".into(), "VI_2".into()],
        notify: Notify { any: Some(command("/bin/g", &[])), ..Notify::default() },
    };
    assert_eq!(*sync_groups, [group]);
    let [router, disk] = &scripts[..] else { panic!("{scripts:?}") };
    assert_eq!(router.command, command("/bin/ping", &["-c1", "192.0.2.1"]));
    assert_eq!((router.interval, router.timeout), (seconds(2), Duration::from_millis(500)));
    assert_eq!((router.rise, router.fall, router.weight, router.init_fail), (2, 3, -20, true));
    let expected = VrrpScript {
        name: "disk".into(),
        command: command("/bin/disk", &[]),
        interval: seconds(4),
        timeout: seconds(4),
        rise: 1,
        fall: 1,
        weight: 0,
        init_fail: false,
    };
    assert_eq!(*disk, expected);
    let file = |name: &str, path: &str, weight, init_file| TrackFile {
        name: name.into(),
        file: path.into(),
        weight,
        init_file,
    };
    assert_eq!(*track_files, [file("load", "/run/load", -2, Some(-7)), file("away", "/run/away", 1, None)]);
    let programs: Vec<_> = model.vrrp.commands().map(|command| command.program.to_str().unwrap()).collect();
    assert_eq!(programs.join(" "), "/bin/ping /bin/disk /bin/m /bin/b /bin/f /bin/s /bin/n /bin/g");
    assert_eq!(model.owned_addresses().len(), 6);
}

#[test]
fn a_vmac_is_called_as_keepalived_calls_it() {
    let name = |text: &str| accepted(text).model.vrrp.instances[0].vmac.clone().unwrap().interface;
    assert_eq!(name(&instance("use_vmac = true")), "vrrp.51");
    assert_eq!(name(&ipv6("use_vmac = true")), "vrrp6.51");
}

#[test]
fn an_instance_takes_two_descriptors_and_they_are_none_of_the_sessions() {
    let model = accepted(&(instance("") + &second(""))).model;
    assert_eq!(descriptors_needed(&model), 64 + 2 * 2);
    let door = accepted(MINIMAL).model;
    let both = accepted(&format!("{MINIMAL}\n{}", instance(""))).model;
    assert_eq!(descriptors_needed(&both), descriptors_needed(&door) + 2);
    let sessions = |model| check_descriptors(model, 1025).unwrap_err().to_string();
    assert!(sessions(&door).contains("enough for 160 sessions"), "{}", sessions(&door));
    assert!(sessions(&both).contains("enough for 159 sessions"), "{}", sessions(&both));
}

#[test]
fn a_file_of_vrrp_alone_needs_an_instance() {
    let nothing = "f:1:1: there is no virtual server; add a `[[virtual_server]]` with `addresses` and a \
                   `[[virtual_server.real_server]]`";
    let unused = "f:1:1: warning: no vrrp_instance tracks `a`: it does nothing; name it in `track_scripts` or `track_files`, or remove it";
    assert_told("[[vrrp_script]]\nname = 'a'\nscript = ['/a']\n", &[nothing, unused]);
}

#[test]
fn values_that_cannot_be_have_a_place_and_a_mend() {
    let address = |text: &str| instance("").replace("'192.0.2.10/24'", text);
    #[rustfmt::skip]
    let table: Vec<(String, &str)> = vec![
        (instance("").replace("name = 'VI_1'", ""), "f:1:1: `[[vrrp_instance]]` has no `name`; add `name = \"…\"`, what logs and commands call it"),
        (instance("").replace("interface = 'eth0'", ""), "f:1:1: `[[vrrp_instance]]` has no `interface`; add `interface = \"…\"`, where the adverts go"),
        (instance("").replace("virtual_router_id = 51", ""), "f:1:1: `[[vrrp_instance]]` has no `virtual_router_id`; add `virtual_router_id = 51`, a number that no other virtual router of the network has"),
        (instance("").replace("virtual_addresses = ['192.0.2.10/24']", ""), "f:1:1: `[[vrrp_instance]]` has no `virtual_addresses`; add `virtual_addresses = [\"…\"]`, addresses with their prefix lengths, such as \"192.0.2.10/24\""),
        (address(""), "f:5:21: `virtual_addresses` is empty; write the addresses that go with the master"),
        (address("'192.0.2.10/33'"), "f:5:22: `192.0.2.10/33` has no prefix length behind the `/`; write a number from 1 to 32 there"),
        (address("'fe80::1/0'"), "f:5:22: `fe80::1/0` has no prefix length behind the `/`; write a number from 1 to 128 there"),
        (address("'192.0.2.10/255.255.255.0'"), "f:5:22: `192.0.2.10/255.255.255.0` has no prefix length behind the `/`; write a number from 1 to 32 there"),
        (address("'192.0.2.0/24'"), "f:5:22: `192.0.2.0/24` is the first or last address of its network, which no host can have; write an address between them, or the right prefix length"),
        (address("'192.0.2.255/24'"), "f:5:22: `192.0.2.255/24` is the first or last address of its network, which no host can have; write an address between them, or the right prefix length"),
        (address("'192.0.2.10/24 dev eth0'"), "f:5:22: `192.0.2.10/24 dev eth0` has more than an address; write \"192.0.2.10/24\" alone"),
        (address("'224.0.0.18'"), "f:5:22: `224.0.0.18` is a multicast address; write the address of one host"),
        (address("'vip.test'"), "f:5:22: `vip.test` is a name; write the IP address"),
        (instance("").replace("'eth0'", "'eth0:1'"), "f:3:13: `eth0:1` is not the name of an interface; write one as `ip link` shows it, of 15 characters at most"),
        (instance("").replace("'eth0'", "'sixteen-letters-'"), "f:3:13: `sixteen-letters-` is not the name of an interface; write one as `ip link` shows it, of 15 characters at most"),
        (instance("").replace("51", "0"), "f:4:21: `virtual_router_id` is 0; write a number from 1 to 255"),
        (instance("priority = 256"), "f:6:12: `priority` is 256; write a number from 1 to 255"),
        (instance("version = 4"), "f:6:11: `version` is 4; write a number from 2 to 3"),
        (instance("state = 'FAULT'"), "f:6:9: `state = \"FAULT\"` is unknown; write \"MASTER\" or \"BACKUP\""),
        (instance("checksum = 'rfc5798'"), "f:6:12: `checksum = \"rfc5798\"` is unknown; write \"pseudo-header\" or \"rfc9568\""),
        (instance("advert_int = 1"), "f:6:1: unknown key `advert_int`; did you mean `advert_interval`?"),
        (instance("advert_interval = 1"), "f:6:19: `advert_interval` is 1, without a unit; write for example `advert_interval = \"1s\"` (units: ms, s, m, h)"),
        (instance("advert_interval = '9ms'"), "f:6:19: `advert_interval` is \"9ms\", which is too short; write at least \"10ms\""),
        (instance("preempt_delay = '1001s'"), "f:6:17: `preempt_delay` is too long; write at most \"1000s\", or `preempt = false`"),
        (instance("garp_master_repeat = 101"), "f:6:22: `garp_master_repeat` is 101; write a number from 1 to 100"),
        (instance("unicast_peers = []"), "f:6:17: `unicast_peers` is empty; write the addresses of the other routers, or remove it: adverts go to the multicast group then"),
        (instance("notify = '/bin/n'"), "f:6:10: `notify` takes a list, not a string; write `notify = [\"/bin/n\"]`"),
        (instance("notify_stop = []"), "f:6:15: `notify_stop` is empty; write the program and its arguments, such as [\"/usr/libexec/tell\", \"lb1\"], or remove it"),
        (instance("notify = ['tell']"), "f:6:11: `tell` is not an absolute path; write one that begins with `/`; arguments are list items of their own"),
        (instance("version = 2\nauthentication = { password = 'a' }"), "f:7:18: `[vrrp_instance.authentication]` has no `type`; add `type = \"PASS\"`"),
        (instance("version = 2\nauthentication = { type = 'PASS' }"), "f:7:18: `[vrrp_instance.authentication]` has no `password`; add `password = \"…\"`, 1 to 8 bytes that all routers share"),
        (instance("version = 2\nauthentication = { type = 'AH', password = 'a' }"), "f:7:27: `type = \"AH\"` is not here: RFC 3768 took it out, and its packets pass few networks; write \"PASS\", or remove the table and filter protocol 112 on the network"),
        (instance("version = 2\nauthentication = { type = 'PASS', password = '' }"), "f:7:46: `password` is empty; write 1 to 8 bytes that all routers share"),
        (instance("version = 2\nauthentication = { type = 'PASS', password = 'ninebytes' }"), "f:7:46: `password` has 9 bytes, and the message has room for 8; write the first 8: keepalived cuts a longer one there without a word"),
        (instance("version = 2\nauthentication = { type = 'PASS', password = \"a\\u0000\" }"), "f:7:46: `password` ends with a zero byte, which the message has where it is over; take that off"),
        (instance("track_interfaces = [5]"), "f:6:21: `track_interfaces` takes a string, not a number; write `track_interfaces = \"5\"`"),
        (instance("track_interfaces = [{ weight = 5 }]"), "f:6:21: `{ name, weight }` has no `name`; add `name = \"…\"`"),
        (instance("track_interfaces = [{ name = 'eth1', weight = 254 }]"), "f:6:47: `weight` is 254; write a number from -253 to 253"),
        (instance("[[vrrp_script]]\nname = 's'\nscript = ['/s']\ninterval = '50ms'\n[[vrrp_instance]]\nname = 'VI_2'\ninterface = 'eth1'\nvirtual_router_id = 52\nvirtual_addresses = ['192.0.2.20']\ntrack_scripts = ['s']"), "f:9:12: `interval` is \"50ms\", which is too short; write at least \"100ms\""),
        (instance("[[track_file]]\nname = 'a'\nfile = 'a'").replace("[[track", "track_files = ['a']\n[[track"), "f:9:8: `a` is not an absolute path; write one that begins with `/`"),
        (instance("[[vrrp_sync_group]]\nname = 'VG'\ninstances = []"), "f:8:13: `instances` is empty; write the names of the instances that move together"),
        (instance("[[vrrp_sync_group]]\nname = 'VG'"), "f:6:1: `[[vrrp_sync_group]]` has no `instances`; add `instances = [\"…\"]`, the names of the instances that move together"),
    ];
    assert_rows(&table);
}

#[test]
fn what_keys_of_an_instance_make_of_each_other_is_checked() {
    let many = |count: usize, of: &dyn Fn(usize) -> String| {
        let addresses: Vec<String> = (0..count).map(|index| format!("'{}'", of(index))).collect();
        instance("").replace("'192.0.2.10/24'", &addresses.join(", "))
    };
    let ipv4 = |index: usize| format!("10.0.{}.{}", index / 200, index % 200 + 1);
    let of_ipv6 = |index: usize| format!("fe80::{:x}", index + 1);
    let excluded = |count: usize| {
        let addresses: Vec<String> = (0..count).map(|index| format!("'{}'", ipv4(index))).collect();
        instance(&format!("virtual_addresses_excluded = [{}]", addresses.join(", ")))
    };
    let peers = |count: usize| {
        let addresses: Vec<String> = (0..count).map(|index| format!("'{}'", ipv4(index))).collect();
        instance(&format!("unicast_peers = [{}]", addresses.join(", ")))
    };
    #[rustfmt::skip]
    let table: Vec<(String, &str)> = vec![
        (ipv6("version = 2"), "f:6:11: version 2 has no IPv6, and the first of `virtual_addresses` is of it; write `version = 3`, or an IPv4 address first"),
        (instance("authentication = { type = 'PASS', password = 'a' }"), "f:6:1: version 3 has no authentication; remove the table, or write `version = 2`"),
        (ipv6("authentication = { type = 'PASS', password = 'a' }"), "f:6:1: version 3 has no authentication; remove the table; version 2, which has it, has no IPv6"),
        (instance("version = 2\nchecksum = 'rfc9568'"), "f:7:1: warning: `checksum` is not used with version 2: it has one form of it; remove it"),
        (ipv6("checksum = 'rfc9568'"), "f:6:1: warning: `checksum` is not used with IPv6: its checksum has the pseudo-header always; remove it"),
        (ipv6("checksum = 'pseudo-header'"), ""),
        (instance("version = 2\nadvert_interval = '1500ms'"), "f:7:19: `advert_interval` is \"1500ms\", and adverts of version 2 have whole seconds; write a multiple of \"1s\", \"255s\" at most"),
        (instance("version = 2\nadvert_interval = '256s'"), "f:7:19: `advert_interval` is \"256s\", and adverts of version 2 have whole seconds; write a multiple of \"1s\", \"255s\" at most"),
        (instance("advert_interval = '105ms'"), "f:6:19: `advert_interval` is \"105ms\", and adverts of version 3 have hundredths of a second; write a multiple of \"10ms\", \"40950ms\" at most"),
        (instance("advert_interval = '41s'"), "f:6:19: `advert_interval` is \"41s\", and adverts of version 3 have hundredths of a second; write a multiple of \"10ms\", \"40950ms\" at most"),
        (instance("advert_interval = '100ms'"), ""),
        (instance("advert_interval = '90ms'"), "f:6:19: warning: adverts every 90ms must never be late, or another router takes over; let the daemon have a real-time priority (CAP_SYS_NICE, `LimitRTPRIO=` in the unit)"),
        (many(255, &ipv4), ""),
        (many(256, &ipv4), "f:5:22: an advert has room for 255 IPv4 addresses, and these are 256; move the others to `virtual_addresses_excluded`, on every router"),
        (many(90, &of_ipv6), ""),
        (many(91, &of_ipv6), "f:5:22: an advert has room for 90 IPv6 addresses, and these are 91; move the others to `virtual_addresses_excluded`, on every router"),
        (excluded(1023), ""),
        (excluded(1024), "f:5:21: there are 1025 addresses; write 1024 at most"),
        (peers(254), ""),
        (peers(255), "f:6:17: there are 255 peers; write 254 at most"),
        (ipv6("").replace("'fe80::51/64', ", ""), "f:5:22: warning: the first address of IPv6 is to be link-local (RFC 9568 section 5.2.9); some routers take no other advert; write one first, such as \"fe80::51/64\", on every router"),
        (instance("source_address = '2001:db8::1'"), "f:6:18: `source_address` is 2001:db8::1, and the adverts are of IPv4; write an IPv4 address of the interface, or remove it"),
        (ipv6("source_address = 'fe80::1'"), ""),
        (instance("source_address = '192.0.2.10'"), "f:6:18: 192.0.2.10 is a virtual address, which only the master has; write an address of the interface's own, or remove it"),
        (instance("source_address = '192.0.2.10'\npriority = 255"), ""),
        (instance("unicast_peers = ['2001:db8::2']"), "f:6:18: the peer 2001:db8::2 is not of IPv4, as the adverts are; write its IPv4 address"),
        (instance("source_address = '192.0.2.1'\nunicast_peers = ['192.0.2.2', '192.0.2.1']"), "f:7:31: 192.0.2.1 is `source_address`, which is this router itself; write the other routers alone"),
        (instance("unicast_peers = ['192.0.2.10']"), "f:6:18: 192.0.2.10 is a virtual address, which is whoever is master; write the address that the other router has of its own"),
        (instance("unicast_peers = ['192.0.2.2', '192.0.2.2']"), "f:6:31: the peer 192.0.2.2 is written twice; keep one of them"),
        (instance("unicast_ttl_check = true"), "f:6:1: warning: `unicast_ttl_check` is not used without `unicast_peers`: adverts of the group are always checked; remove it"),
        (instance("unicast_peers = ['192.0.2.2']\nuse_vmac = true"), "f:7:12: unicast adverts cannot go by the VMAC's interface, which has no address of its own; add `vmac_xmit_base = true`"),
        (instance("vmac_xmit_base = true"), "f:6:1: warning: `vmac_interface` and `vmac_xmit_base` are not used without a VMAC; add `use_vmac = true`, or remove them"),
        (instance("use_vmac = true\nvmac_interface = 'eth0'"), "f:7:18: the VMAC's interface would be `eth0`, which is already an `interface` of this file; write another one as `vmac_interface`"),
        (instance("priority = 255\npreempt = false"), "f:7:11: priority 255 owns its addresses and always takes them (RFC 9568 section 6.1): `preempt = false` cannot hold; remove it, or write a lower priority"),
        (instance("preempt = false\npreempt_delay = '5s'"), "f:7:1: warning: `preempt_delay` is not used with `preempt = false`; remove one of them"),
        (instance("priority = 255\ntrack_interfaces = ['eth1', { name = 'eth2', weight = 5 }]"), "f:7:55: `eth2` has weight 5, and priority 255 owns its addresses: nothing changes it; write weight 0, with which it is a fault while this is down, or a lower priority"),
        (instance("priority = 255\ntrack_files = ['a']\n[[track_file]]\nname = 'a'\nfile = '/a'"), "f:7:16: `a` has weight 1, and priority 255 owns its addresses: nothing changes it; write `{ name = \"a\", weight = 0 }`, or a lower priority"),
    ];
    assert_rows(&table);
}

#[test]
fn what_instances_share_and_name_is_checked() {
    let two = |lines: &str| instance("") + &second(lines);
    let group = |instances: &str| format!("[[vrrp_sync_group]]\nname = 'VG'\ninstances = [{instances}]\n");
    #[rustfmt::skip]
    let table: Vec<(String, &str)> = vec![
        (two(""), ""),
        (two("").replace("VI_2", "VI_1"), "f:8:8: there is already a vrrp_instance `VI_1`; give each a name of its own"),
        (two("").replace("eth1", "eth0").replace("52", "51"), "f:10:21: virtual router 51 of IPv4 on eth0 is already `VI_1`; give each a `virtual_router_id` of its own"),
        (two("").replace("52", "51"), ""),
        (two("").replace("eth1", "eth0").replace("52", "51").replace("'192.0.2.20/24'", "'fe80::1'"), ""),
        (two("").replace("20/24", "10/32"), "f:11:22: 192.0.2.10 is already an address of vrrp_instance `VI_1`; keep it in one place"),
        (two("virtual_addresses_excluded = ['2001:db8::1', '192.0.2.20']"), "f:12:46: 192.0.2.20 is written twice; keep one of them"),
        (ipv6("") + &ipv6("").replace("VI_1", "VI_2").replace("eth0", "eth1").replace("::10", "::20"), ""),
        (instance("use_vmac = true") + &second("use_vmac = true").replace("52", "51"), "f:12:12: the VMAC's interface would be `vrrp.51`, which is already that of `VI_1`; write another one as `vmac_interface`"),
        (two("track_scripts = ['chk']"), "f:12:18: there is no `[[vrrp_script]]` named `chk`; add a `[[vrrp_script]]` of that name"),
        (two("track_scripts = ['chk_disk', 'chk_dsk']\n[[vrrp_script]]\nname = 'chk_disk'\nscript = ['/c']"), "f:12:30: there is no `[[vrrp_script]]` named `chk_dsk`; did you mean `chk_disk`?"),
        (two("track_files = ['load', 'x']\n[[track_file]]\nname = 'load'\nfile = '/l'"), "f:12:24: there is no `[[track_file]]` named `x`; write `load`, or add a `[[track_file]]` of that name"),
        (two("track_virtual_servers = ['grid']"), "f:12:26: there is no `[[virtual_server]]` named `grid`; add a `[[virtual_server]]` of that name"),
        (two("track_interfaces = ['eth2', { name = 'eth2', weight = 5 }]"), "f:12:38: `eth2` is tracked twice; keep one of them"),
        (two("[[track_file]]\nname = 'load'\nfile = '/l'"), "f:12:1: warning: no vrrp_instance tracks `load`: it does nothing; name it in `track_scripts` or `track_files`, or remove it"),
        (two("track_files = ['a']\n[[track_file]]\nname = 'a'\nfile = '/a'\n[[track_file]]\nname = 'a'\nfile = '/b'"), "f:17:8: there is already a track_file `a`; give each a name of its own"),
        (two("track_scripts = ['a']\n[[vrrp_script]]\nname = 'a'\nscript = ['/a']\n[[vrrp_script]]\nname = 'a'\nscript = ['/b']"), "f:17:8: there is already a vrrp_script `a`; give each a name of its own"),
        (two(&group("'VI_1', 'VI_2'")), ""),
        (two(&group("'VI_1', 'VI_3', 'VI_2'")), "f:14:22: there is no `[[vrrp_instance]]` named `VI_3`; did you mean `VI_1`?"),
        (two(&group("'VI_1', 'VI_2', 'VI_1'")), "f:14:30: `VI_1` is written twice; keep one of them"),
        (two(&group("'VI_1'")), "f:14:14: warning: vrrp_sync_group `VG` has one instance, which moves alone; add the others, or remove the group"),
        (two(&(group("'VI_1', 'VI_2'") + &group("'VI_2', 'VI_1'").replace("VG", "V2"))), "f:17:14: `VI_2` is already in vrrp_sync_group `VG`, and can move with one alone; make one group of the two, or remove it here\nf:17:22: `VI_1` is already in vrrp_sync_group `VG`, and can move with one alone; make one group of the two, or remove it here"),
        (two(&format!("track_interfaces = [{{ name = 'eth2', weight = 5 }}]\n{}", group("'VI_1', 'VI_2'"))), "f:8:8: warning: `VI_1` and `VI_2` move together in vrrp_sync_group `VG`, and weights shift their priorities apart; track the same with the same weights in every instance of the group, or with weight 0"),
        (two(&format!("track_interfaces = ['eth2']\n{}", group("'VI_1', 'VI_2'"))), ""),
    ];
    assert_rows(&table);
}

#[test]
fn one_slip_hides_no_other_and_makes_none_of_what_follows() {
    let text = instance("priority = 0\nversion = 'v2'\nauthentication = { type = 'PASS', password = 'a' }")
        + &second("track_scripts = ['a']\nprioritty = 5\n[[vrrp_script]]\nname = 'a'")
        + "[[vrrp_sync_group]]\nname = 'VG'\ninstances = ['VI_1', 'VI_2']\n";
    assert_told(
        &text,
        &[
            "f:6:12: `priority` is 0; write a number from 1 to 255",
            "f:7:11: `version` takes a number, not a string; write a number from 2 to 3, without quotes",
            "f:15:1: unknown key `prioritty`; did you mean `priority`?",
            "f:16:1: `[[vrrp_script]]` has no `script`; write the program and its arguments, such as \
             `script = [\"/usr/libexec/check_router\", \"-4\"]`",
        ],
    );
}

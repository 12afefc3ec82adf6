//! The same configuration on a kernel that does not forward: the door serves in its place (`fallback = "proxy"`).

use std::collections::BTreeMap;
use std::time::Duration;

use super::direct_routing::configuration;
use crate::support::deadline;
use crate::support::dr_lab::{BALANCER, DrLab, REAL_SERVERS};
use crate::support::guest_door::GuestDoor;
use crate::support::name_service::Conversation;
use crate::support::uml::{self, Plan};

const FTP: u16 = 2811;
const PLAIN: u16 = 80;
const SOON: Duration = Duration::from_secs(20);
const MUCH: u64 = 8 << 20;

#[test]
fn without_ipvs_the_same_clients_are_served_at_layer_7_and_everybody_is_told_why() {
    if !uml::possible("a virtual server of the kernel without IPVS", &["globus-gridftp-server", "curl"]) {
        return;
    }
    let lab = DrLab::new();
    let _globus = REAL_SERVERS.map(|role| lab.serve_globus(role, FTP, ""));
    let mut names = lab.serve_names(&[PLAIN]);
    let balancer = Plan::default()
        .on(lab.lab(), BALANCER)
        .setup(
            "ip route add 10.78.0.0/24 via 10.77.0.1; ip route add fd78::/64 via fd77::1; \
             echo /bin/false > /proc/sys/kernel/modprobe",
        )
        .setup(&DrLab::take_vips())
        .start();
    let door = GuestDoor::start(&balancer, "", &configuration(&lab, &[FTP, PLAIN], "fallback = \"proxy\""));
    for vip in DrLab::vips() {
        // FTP, with a greeting of a real server.
        let session = lab.converse(vip, FTP).unwrap_or_else(|why| panic!("{vip}: {why}\n{}", door.log()));
        assert!(session.server().starts_with("220 rs"), "{session:?}");
        // Anything else, by weighted least connections, both ways.
        let mut all: Vec<Conversation> = (0..9)
            .map(|_| lab.converse(vip, PLAIN).unwrap_or_else(|why| panic!("{vip}: {why}\n{}", door.log())))
            .collect();
        let mut by_server: BTreeMap<&str, u32> = BTreeMap::new();
        all.iter().for_each(|one| *by_server.entry(one.server()).or_default() += 1);
        assert_eq!(by_server, REAL_SERVERS.map(|role| (role, 3)).into(), "{vip}\n{}", door.log());
        for one in &mut all {
            one.echo("word").unwrap();
            one.fetch(MUCH).unwrap();
        }
    }
    let status = door.status().unwrap();
    for of in status["virtual_servers"].as_array().unwrap() {
        assert_eq!(
            (&of["forwarding"], &of["served_by"]),
            (&"dr".into(), &"door_instead".into()),
            "{status:#}"
        );
        assert!(of["why_not_kernel"].as_str().unwrap().contains("modprobe ip_vs"), "{status:#}");
    }
    assert!(status["forwarding"]["reason"].as_str().unwrap().contains("modprobe ip_vs"), "{status:#}");
    assert!(door.log().contains("served at layer 7 in the kernel's place"), "{}", door.log());
    // A server that is lost is passed over, at once.
    drop(names.pop());
    let servers: Vec<String> =
        (0..4).map(|_| lab.converse(DrLab::vips()[0], PLAIN).unwrap().server().to_owned()).collect();
    assert!(servers.iter().all(|server| server != REAL_SERVERS[2]), "{servers:?}");
    // The deadline of a drain ends what is there.
    let mut held: Vec<_> = (0..2).map(|_| lab.converse(DrLab::vips()[0], PLAIN).unwrap()).collect();
    for role in &REAL_SERVERS[..2] {
        door.order(&["drain", role, "--deadline", "1s"]).unwrap();
    }
    let ended = deadline::until("the end of drained connections", SOON, || {
        if held.iter_mut().all(|one| one.echo("word").is_err()) {
            Ok(())
        } else {
            Err("some live".to_owned())
        }
    });
    ended.unwrap_or_else(|why| panic!("{why}\n{}", door.log()));
    println!("{}", door.order(&["status"]).unwrap());
}

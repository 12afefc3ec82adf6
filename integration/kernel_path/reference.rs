//! What IPVS does when others tell it what to do: whatever we tell it has to come to the same.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::support::dr_lab::{BALANCER, DrLab, REAL_SERVERS};
use crate::support::ipvs::{self, Balanced, Connections};
use crate::support::name_service::NameService;
use crate::support::uml;

const PORT: u16 = 2811;
const IPERF: u16 = 5201;
/// More than all requests and acknowledgements of a test together.
const REPLY: u64 = 1_000_000;

/// What the guide balances, of both families.
fn services(lab: &DrLab, ports: &[u16]) -> Vec<Balanced> {
    let each = DrLab::vips().into_iter().flat_map(|vip| ports.iter().map(move |port| (vip, *port)));
    each.map(|(vip, port)| Balanced { vip, port, real_servers: lab.real_servers(vip) }).collect()
}

fn possible(what: &str, further: &[&str]) -> bool {
    uml::possible(what, &[ipvs::PROGRAMS, further].concat())
}

#[test]
fn nine_connections_are_three_for_each_server_and_replies_go_past_the_balancer() {
    if !possible("Direct Routing by ipvsadm", &[]) {
        return;
    }
    let lab = DrLab::new();
    let _names = lab.serve_names(&[PORT]);
    let balancer = lab.balancer();
    balancer.ok(&services(&lab, &[PORT]).iter().map(Balanced::by_ipvsadm).collect::<String>());
    for vip in DrLab::vips() {
        let before = lab.passed_by_balancer(BALANCER);
        let before_client = lab.passed("client");
        let mut all: Vec<_> = (0..9).map(|_| lab.converse(vip, PORT).unwrap()).collect();
        let mut by_server: BTreeMap<&str, u32> = BTreeMap::new();
        all.iter().for_each(|one| *by_server.entry(one.server()).or_default() += 1);
        assert_eq!(by_server, REAL_SERVERS.map(|role| (role, 3)).into(), "{vip}");
        let counted = ipvs::connections(&balancer, SocketAddr::new(vip, PORT));
        let three = Connections { active: 3, inactive: 0 };
        let server = |address: IpAddr| (SocketAddr::new(address, PORT), three);
        assert_eq!(counted, lab.real_servers(vip).into_iter().map(server).collect());

        all.iter_mut().for_each(|one| one.fetch(REPLY).unwrap());
        let (balancer, client) =
            (lab.passed_by_balancer(BALANCER) - before, lab.passed("client") - before_client);
        assert!(client.received.bytes > 9 * REPLY, "{client:?}");
        assert!(balancer.received.packets > 0 && balancer.sent.packets > 0, "{balancer:?}");
        assert!(balancer.received.bytes < REPLY && balancer.sent.bytes < REPLY, "{vip}: {balancer:?}");
    }
}

#[test]
fn the_table_of_keepalived_is_that_of_ipvsadm() {
    if !possible("Direct Routing by keepalived", &["keepalived"]) {
        return;
    }
    let lab = DrLab::new();
    let _names = lab.serve_names(&[PORT, 80]);
    let balancer = lab.balancer();
    let services = services(&lab, &[PORT, 80]);
    let by_keepalived = ipvs::table_of_keepalived(&balancer, &services);
    balancer.ok(&services.iter().map(Balanced::by_ipvsadm).collect::<String>());
    assert_eq!(by_keepalived, ipvs::table(&balancer));
    // As a person reads it, once.
    let (vip, servers) = (DrLab::vips()[0], lab.real_servers(DrLab::vips()[0]));
    let mut expected = format!("-A -t {vip}:80 -s wlc\n");
    servers.iter().for_each(|server| expected += &format!("-a -t {vip}:80 -r {server}:80 -g -w 1\n"));
    assert!(by_keepalived.contains(&expected), "{by_keepalived}");
}

#[test]
fn keepalived_takes_out_a_server_that_does_not_answer_and_puts_it_back() {
    if !possible("checks of keepalived for Direct Routing", &["keepalived"]) {
        return;
    }
    let lab = DrLab::new();
    let mut names = lab.serve_names(&[PORT]);
    let balancer = lab.balancer();
    let services = services(&lab, &[PORT]);
    let keepalived = ipvs::start_keepalived(&balancer, &services);
    let until = |servers: usize| {
        let table = ipvs::until_table(&balancer, |table| table.lines().count() == 2 * (1 + servers));
        table.unwrap_or_else(|why| panic!("{why}\n{}", balancer.log(&keepalived)))
    };
    let whole = until(3);
    drop(names.pop());
    let without = until(2);
    let [vip, _] = DrLab::vips();
    let lost = lab.real_servers(vip)[2];
    assert!(
        whole.contains(&format!("-r {lost}:{PORT} ")) && !without.contains(&format!("-r {lost}:{PORT} "))
    );
    names.push(NameService::start(lab.machine(REAL_SERVERS[2]), &[PORT]));
    assert_eq!(until(3), whole);
}

#[test]
fn real_programs_are_served_by_direct_routing() {
    if !possible("Direct Routing of real programs", &["globus-gridftp-server", "iperf3"]) {
        return;
    }
    let lab = DrLab::new();
    let _globus = REAL_SERVERS.map(|role| lab.serve_globus(role, PORT, ""));
    // A test of iperf3 is several connections with one server.
    let _iperf = lab.serve_iperf("rs2", IPERF);
    let balancer = lab.balancer();
    let mut all = services(&lab, &[PORT]);
    for vip in DrLab::vips() {
        all.push(Balanced { vip, port: IPERF, real_servers: vec![lab.real_servers(vip)[1]] });
    }
    balancer.ok(&all.iter().map(Balanced::by_ipvsadm).collect::<String>());
    for vip in DrLab::vips() {
        let greetings: BTreeSet<String> =
            (0..3).map(|_| lab.converse(vip, PORT).unwrap().server().trim_end().to_owned()).collect();
        assert_eq!(greetings, REAL_SERVERS.map(|role| format!("220 {role}")).into(), "{vip}");
        let before = lab.passed_by_balancer(BALANCER);
        let bytes = 20_000_000.to_string();
        let mut command = lab.machine("client").command(None, "iperf3");
        command.args(["--client", &vip.to_string(), "--port", &IPERF.to_string(), "--bytes", &bytes]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{vip}: {output:?}");
        // This way everything comes by the balancer, and is sent on. Not all that iperf3 has written arrives before it ends.
        let passed = lab.passed_by_balancer(BALANCER) - before;
        assert!(passed.received.bytes > 10_000_000 && passed.sent.bytes > 10_000_000, "{vip}: {passed:?}");
    }
}

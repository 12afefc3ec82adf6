//! The engine itself, without a daemon: this test program runs in a guest, too, and has the engine there do what it is told. Each
//! run is a daemon that is killed at its end.

mod words;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::support::deadline;
use crate::support::dr_lab::{DrLab, REAL_SERVERS};
use crate::support::ipvs::{self, Balanced};
use crate::support::name_service::Conversation;
use crate::support::uml::{self, Plan, Uml};
use words::{STEPS, perform};

const PORT: u16 = 2811;
/// The plan has it for one server always.
const SLICE: u16 = 50_000;
/// Sessions set it.
const SINGLE: u16 = 50_100;
/// Nobody has it.
const NOBODYS: u16 = 50_200;
/// All that a daemon says that finds everything as it is to be: its program takes the place of the one before.
const TAKES_OVER: &str = "vec0: packets that come in are marked now";
/// For connections of which the kernel has seen the end: two seconds, as the guest is told.
const FAREWELL: Duration = Duration::from_secs(30);

/// Steps of one daemon: what it says of each.
fn engine(guest: &Uml, steps: &str) -> String {
    engine_with(guest, "env", steps)
}

/// The same below a program that takes something from it.
fn engine_with(guest: &Uml, below: &str, steps: &str) -> String {
    let (_, module) = module_path!().split_once("::").unwrap();
    let program = std::env::current_exe().unwrap();
    let output = guest.run(&format!(
        "{STEPS}='{steps}' {below} '{}' --exact {module}::an_engine_does_in_a_guest_what_it_is_told --nocapture",
        program.display()
    ));
    let said: Vec<&str> = output.stdout.lines().filter_map(|line| line.strip_prefix("> ")).collect();
    assert!(output.status == 0 || steps.ends_with("kill"), "{steps}: {output}");
    said.join("\n")
}

#[test]
fn an_engine_does_in_a_guest_what_it_is_told() {
    if let Ok(steps) = std::env::var(STEPS) {
        perform(&steps);
    }
}

fn possible(what: &str) -> bool {
    uml::possible(what, ipvs::PROGRAMS)
}

fn table_of_both(lab: &DrLab) -> Vec<Balanced> {
    DrLab::vips().map(|vip| Balanced { vip, port: PORT, real_servers: lab.real_servers(vip) }).into()
}

/// As `apply=A+B`: of both families, `rs1*3` with a weight, `rs1!` down.
fn apply(members: &str) -> String {
    format!("apply={members}")
}

#[test]
fn the_table_of_an_engine_is_that_of_ipvsadm_and_stays_so() {
    if !possible("the table of an engine") {
        return;
    }
    let lab = DrLab::new();
    let balancer = lab.balancer();
    balancer.ok(&table_of_both(&lab).iter().map(Balanced::by_ipvsadm).collect::<String>());
    let by_ipvsadm = ipvs::table(&balancer);
    balancer.ok("ipvsadm --clear");
    // Of others: one that no plan wants, with a server that is in the plan.
    let vip = DrLab::vips()[0];
    balancer.ok(&format!("ipvsadm -A -t {vip}:80 -s rr; ipvsadm -a -t {vip}:80 -r 10.77.0.21:80 -g -w 1"));
    let foreign = ipvs::table(&balancer);
    let all = apply("rs1+rs2+rs3");
    let said = engine(&balancer, &all);
    assert!(said.contains("service added, wlc") && !said.contains("error"), "{said}");
    let whole = ipvs::table(&balancer);
    assert_eq!(whole, sorted(&[&foreign, &by_ipvsadm]));
    // Another daemon finds it as it is to be, also after one that was killed.
    for steps in [format!("{all} {all}"), format!("{all} kill"), all.clone()] {
        assert_eq!(engine(&balancer, &steps), TAKES_OVER, "{steps}");
        assert_eq!(ipvs::table(&balancer), whole);
    }
    // A weight, a server that is down, one that others have added.
    balancer.ok(&format!("ipvsadm -a -t {vip}:{PORT} -r 10.77.0.99:80 -m -w 7"));
    let said = engine(&balancer, &apply("rs1*3+rs2!+rs3"));
    for words in ["10.77.0.21 changed to weight 3", "10.77.0.22 removed", "10.77.0.99 changed to weight 0"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let said = engine(&balancer, &all);
    assert!(said.contains("10.77.0.99 removed") && ipvs::table(&balancer) == whole, "{said}");
    // All of ours goes, and nothing else.
    engine(&balancer, &format!("{all} withdraw"));
    assert_eq!(ipvs::table(&balancer), foreign);
    // What is at our address is of others, and stays.
    balancer.ok(&format!("ipvsadm -A -t {vip}:{PORT} -s sh"));
    let said = engine(&balancer, &all);
    assert!(said.contains(&format!("error: gridftp: {vip}:{PORT}: ")), "{said}");
    assert!(said.contains(&format!("ipvsadm -D -t {vip}:{PORT}")), "{said}");
    assert!(ipvs::table(&balancer).contains(&format!("-A -t {vip}:{PORT} -s sh\n")));
    engine(&balancer, "withdraw");
    assert!(ipvs::table(&balancer).contains(&format!("-A -t {vip}:{PORT} -s sh\n")));
}

fn sorted(tables: &[&str]) -> String {
    // The services of a table are in the order of their lines, and so are both together.
    let mut services: Vec<String> = Vec::new();
    for line in tables.iter().flat_map(|table| table.lines()) {
        match services.last_mut() {
            Some(service) if line.starts_with("-a ") => *service += &format!("{line}\n"),
            _ => services.push(format!("{line}\n")),
        }
    }
    services.sort();
    services.concat()
}

#[test]
fn connections_outlive_the_daemon_and_the_plan() {
    if !possible("connections of an engine") {
        return;
    }
    let lab = DrLab::new();
    let _names = lab.serve_names(&[PORT]);
    let balancer = lab.balancer();
    balancer.ok("ipvsadm --set 900 2 300");
    engine(&balancer, &apply("rs1+rs2+rs3"));
    for vip in DrLab::vips() {
        let mut held: Vec<_> = (0..3).map(|_| lab.converse(vip, PORT).unwrap()).collect();
        let servers: Vec<&str> = held.iter().map(Conversation::server).collect();
        assert!(REAL_SERVERS.iter().all(|role| servers.contains(role)), "{servers:?}");
        let counted = engine(&balancer, &format!("{} counts kill", apply("rs1+rs2+rs3")));
        assert_eq!(counted.matches("active 1, inactive 0").count(), 3, "{counted}");
        // One server leaves, then the whole service.
        for plan in ["rs1+rs2", ""] {
            engine(&balancer, &apply(plan));
            held.iter_mut().for_each(|one| one.echo("still here").unwrap());
        }
        assert!(lab.converse(vip, PORT).is_err(), "new ones are not served");
        let said = engine(&balancer, &format!("{} counts", apply("")));
        assert!(said.contains("leaving 1"), "{said}");
        drop(held);
        let gone = || {
            let said = engine(&balancer, &format!("{} counts", apply("")));
            if said.contains("leaving 0") { Ok(()) } else { Err(said) }
        };
        deadline::until("the end of a service that leaves", FAREWELL, gone).unwrap();
        assert_eq!(ipvs::table(&balancer), "");
        engine(&balancer, &apply("rs1+rs2+rs3"));
    }
}

#[test]
fn marks_lead_connections_to_the_server_that_expects_them() {
    if !possible("marks of an engine") {
        return;
    }
    let lab = DrLab::new();
    let _names = lab.serve_names(&[PORT, SLICE, SINGLE, NOBODYS]);
    let balancer = lab.balancer();
    let carried = "carry=rs1:50000-50009+rs2+rs3";
    let who = |vip: IpAddr, port: u16| lab.converse(vip, port).map(|one| one.server().to_owned()).ok();
    engine(&balancer, carried);
    for vip in DrLab::vips() {
        let others = if vip.is_ipv4() { "10.78.0.9" } else { "fd78::9" };
        let client = if vip.is_ipv4() { "10.78.0.2" } else { "fd78::2" };
        let at = SocketAddr::new(vip, SINGLE);
        assert_eq!(who(vip, SLICE).as_deref(), Some("rs1"), "{vip}");
        assert_eq!((who(vip, SINGLE), who(vip, NOBODYS)), (None, None));
        // The daemon ends, and the kernel goes on with what it was told last.
        engine(&balancer, &format!("{carried} set={others},{at},rs2 kill"));
        assert_eq!(who(vip, SINGLE), None, "it is another client's");
        engine(&balancer, &format!("{carried} set={client},{at},rs2 kill"));
        assert_eq!(who(vip, SINGLE).as_deref(), Some("rs2"));
        let mut held = lab.converse(vip, SINGLE).unwrap();
        engine(&balancer, &format!("{carried} set=any,{at},rs3 clear=any,{at} set=any,{at},rs3"));
        assert_eq!(who(vip, SINGLE).as_deref(), Some("rs3"));
        held.echo("of before").unwrap();
        let said = engine(&balancer, &format!("{carried} set=any,{at},rs3 clear=any,{at} counts"));
        assert!(said.contains("carrier"), "{said}");
        assert_eq!((who(vip, SINGLE), who(vip, NOBODYS)), (None, None));
        held.echo("of before").unwrap();
        assert_eq!(who(vip, SLICE).as_deref(), Some("rs1"), "{vip}");
    }
    // Two at once would undo each other's work.
    let said = engine(&balancer, "second");
    assert!(said.contains("another gridfront"), "{said}");
    engine(&balancer, &format!("{carried} withdraw"));
    assert_eq!(ipvs::table(&balancer), "");
    assert!(!balancer.ok("tc filter show dev vec0 ingress").contains("gridfront"));
    assert_eq!(balancer.run("ls /run/gridfront/forwarding.json").status, 2);
}

#[test]
fn several_ports_are_one_service_and_a_client_stays_on_its_server() {
    if !possible("groups of an engine") {
        return;
    }
    let lab = DrLab::new();
    let _names = lab.serve_names(&[PORT, SLICE]);
    let balancer = lab.balancer();
    engine(&balancer, "group=rs1+rs2+rs3");
    for vip in DrLab::vips() {
        let held: Vec<_> = (0..4)
            .map(|number| lab.converse(vip, if number % 2 == 0 { PORT } else { SLICE }).unwrap())
            .collect();
        assert!(held.iter().all(|one| one.server() == held[0].server()), "{held:?}");
    }
    let whole = ipvs::table(&balancer);
    assert!(whole.contains("-p 60"), "{whole}");
    assert_eq!(engine(&balancer, "group=rs1+rs2+rs3"), TAKES_OVER);
    assert_eq!(ipvs::table(&balancer), whole);
}

#[test]
fn what_an_engine_lacks_is_named_and_the_rest_works() {
    if !possible("an engine without rights") {
        return;
    }
    let lab = DrLab::new();
    let balancer = lab.balancer();
    let without =
        |what: &str, steps: &str| engine_with(&balancer, &format!("setpriv --bounding-set={what}"), steps);
    let said = without("-net_admin", &apply("rs1"));
    assert!(said.starts_with("error: IPVS") && said.contains("CAP_NET_ADMIN"), "{said}");
    assert_eq!(ipvs::table(&balancer), "");
    // Marks take a program in the kernel; services of one address and port do not.
    let said = without("-sys_admin,-bpf", &format!("{} ports", apply("rs1")));
    assert!(
        said.contains("service added") && !said.contains("error") && said.ends_with("no ports"),
        "{said}"
    );
    let said = without("-sys_admin,-bpf", "group=rs1");
    assert!(said.contains("several addresses or ports take marks of packets: "), "{said}");
    engine(&balancer, "withdraw");
    // A service that cannot be made keeps nobody from being served, and is made when it can be.
    let hidden = balancer.ok("echo /run/uml/lib/modules/*/kernel/net/netfilter/ipvs").trim().to_owned();
    balancer.ok(&format!("mount -t tmpfs none {hidden}"));
    let said = engine(&balancer, "mixed=rs1+rs2");
    assert!(said.contains("the kernel has no scheduler lc: load it by `modprobe ip_vs_lc`"), "{said}");
    let table = ipvs::table(&balancer);
    assert!(table.contains("-s wlc") && !table.contains("-s lc"), "{table}");
    balancer.ok(&format!("umount {hidden}"));
    engine(&balancer, "mixed=rs1+rs2");
    let table = ipvs::table(&balancer);
    assert!(table.contains("-s wlc") && table.contains("-s lc"), "{table}");
}

#[test]
fn a_host_without_ipvs_is_told_what_it_lacks() {
    if !possible("a kernel without IPVS") {
        return;
    }
    let guest = Plan::default().setup("echo /bin/false > /proc/sys/kernel/modprobe").start();
    let said = engine(&guest, &apply("rs1"));
    assert!(said.contains("no IPVS") && said.contains("modprobe ip_vs"), "{said}");
}

#[test]
fn a_sync_daemon_of_others_stays() {
    if !possible("sync daemons of an engine") {
        return;
    }
    let lab = DrLab::new();
    let balancer = lab.balancer();
    let daemons = || balancer.ok("ipvsadm --list --daemon");
    assert_eq!(engine(&balancer, "sync=master,vec0,7 kill"), "");
    assert!(daemons().contains("master sync daemon (mcast=vec0, syncid=7"), "{}", daemons());
    assert_eq!(engine(&balancer, "sync=backup,vec0,7"), "");
    let now = daemons();
    assert!(now.contains("backup sync daemon") && !now.contains("master"), "{now}");
    let said = engine(&balancer, "sync=backup,nothing,7");
    assert!(said.contains("there is no interface nothing"), "{said}");
    balancer.ok("ipvsadm --start-daemon master --mcast-interface vec0 --syncid 9");
    let said = engine(&balancer, "sync=master,vec0,7");
    assert!(said.contains("ipvsadm --stop-daemon master"), "{said}");
    engine(&balancer, "sync=none withdraw");
    assert!(daemons().contains("syncid=9"), "{}", daemons());
}

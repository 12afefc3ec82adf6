//! Real servers that the kernel balances to: drained, weighed, added and removed.

use std::io::ErrorKind;
use std::time::Duration;

use serde_json::Value;

use super::direct_routing::configuration;
use super::restart::{all_echo, begin, by_server};
use crate::support::deadline::{self, Stopwatch};
use crate::support::dr_lab::{DrLab, REAL_SERVERS};
use crate::support::guest_door::GuestDoor;
use crate::support::ipvs;
use crate::support::uml::{self, Uml};

const PORT: u16 = 2811;
const SOON: Duration = Duration::from_secs(10);

#[track_caller]
fn until_weight(balancer: &Uml, door: &GuestDoor<'_>, server: &str, weight: u32) {
    let end = format!(" -w {weight}");
    let all = |table: &str| {
        let mut lines = table.lines().filter(|line| line.contains(server)).peekable();
        lines.peek().is_some() && lines.all(|line| line.ends_with(&end))
    };
    let set = ipvs::until_table(balancer, all);
    set.unwrap_or_else(|why| panic!("{server} {weight}: {why}\n{}", door.log()));
}

#[test]
fn a_drained_server_keeps_its_connections_and_gets_no_more_until_the_deadline() {
    if !uml::possible("drains of servers that the kernel balances", ipvs::PROGRAMS) {
        return;
    }
    let lab = DrLab::new();
    let _names = lab.serve_names(&[PORT]);
    let balancer = lab.balancer();
    let door = GuestDoor::start(&balancer, "", &configuration(&lab, &[PORT], ""));
    ipvs::until_table(&balancer, |table| table.lines().count() == 8).unwrap();
    let mut old = begin(&lab, 3);
    assert_eq!(by_server(&old), REAL_SERVERS.map(|role| (role, 2)).into());
    door.order(&["drain", "rs1"]).unwrap();
    until_weight(&balancer, &door, ".21:", 0);
    let new = begin(&lab, 4);
    assert_eq!(by_server(&new), [("rs2", 4), ("rs3", 4)].into());
    all_echo(&mut old, "while it is drained");
    door.order(&["undrain", "rs1"]).unwrap();
    until_weight(&balancer, &door, ".21:", 1);
    old.extend(begin(&lab, 1));
    assert_eq!(by_server(&old)["rs1"], 4, "{}", door.log());
    door.order(&["weight", "rs1", "3"]).unwrap();
    until_weight(&balancer, &door, ".21:", 3);
    all_echo(&mut old, "with another weight");

    door.order(&["drain", "rs1", "--deadline", "2s"]).unwrap();
    let watch = Stopwatch::start();
    until_weight(&balancer, &door, ".21:", 0);
    all_echo(&mut old, "before the deadline");
    let mut of_it: Vec<_> = old.extract_if(.., |one| one.server() == "rs1").collect();
    for one in &mut of_it {
        let ended = deadline::until("the end of a connection", SOON, || match one.echo("still here") {
            Ok(()) => Err("it goes on".into()),
            Err(error) => Ok(error),
        });
        let ended = ended.unwrap_or_else(|why| panic!("{why}\n{}", door.log()));
        // A client that hears nothing would wait for minutes.
        assert!(matches!(ended.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{ended}");
    }
    assert!(watch.elapsed() >= Duration::from_secs(1), "{:?}", watch.elapsed());
    all_echo(&mut old, "of the others");
    assert_eq!(by_server(&begin(&lab, 2)).get("rs1"), None);
}

fn members(status: &Value) -> Vec<&str> {
    let members = status["forwarding"]["services"][0]["members"].as_array().into_iter().flatten();
    members.map(|member| member["real_server"].as_str().unwrap()).collect()
}

#[test]
fn a_reload_leaves_connections_to_a_removed_server_until_the_last_has_ended() {
    if !uml::possible("reloads while the kernel forwards", ipvs::PROGRAMS) {
        return;
    }
    let lab = DrLab::new();
    let _names = lab.serve_names(&[PORT]);
    let balancer = lab.balancer();
    // How long a connection that has ended is remembered: two minutes without this.
    balancer.ok("ipvsadm --set 900 1 300");
    let text = configuration(&lab, &[PORT], "");
    let door = GuestDoor::start(&balancer, "", &text);
    let whole = ipvs::until_table(&balancer, |table| table.lines().count() == 8).unwrap();
    let mut old = begin(&lab, 3);
    let ever = ipvs::ever(&balancer);
    let (without, rest) = text.split_at(text.find("[[virtual_server.real_server]]\nname = \"rs3\"").unwrap());
    door.write("", without);
    door.order(&["reload"]).unwrap();
    until_weight(&balancer, &door, ".23:", 0);
    all_echo(&mut old, "of a server that is not named any more");
    let status = door.until_status("what leaves", SOON, |status| status["forwarding"]["leaving"] == 2);
    assert_eq!(members(&status), REAL_SERVERS, "{status:#}");
    assert_eq!(by_server(&begin(&lab, 2)), [("rs1", 2), ("rs2", 2)].into());
    // It is there again while it leaves: nothing is lost.
    door.write("", &text);
    door.order(&["reload"]).unwrap();
    until_weight(&balancer, &door, ".23:", 1);
    door.until_status("nothing that leaves", SOON, |status| status["forwarding"]["leaving"] == 0);
    all_echo(&mut old, "of a server that is named again");

    let other = without.replace("port = 2811\n", "port = 2811\nlb_algo = \"wrr\"\n");
    assert_ne!(other, without);
    door.write("", &other);
    door.order(&["reload"]).unwrap();
    door.until_status("what leaves", SOON, |status| status["forwarding"]["leaving"] == 2);
    all_echo(&mut old, "with another scheduler");
    assert!(ipvs::table(&balancer).contains("-s wrr"), "{}", ipvs::table(&balancer));
    drop(old.extract_if(.., |one| one.server() == "rs3").collect::<Vec<_>>());
    let status =
        door.until_status("the end of the last", SOON, |status| status["forwarding"]["leaving"] == 0);
    assert_eq!(members(&status), ["rs1", "rs2"], "{status:#}");
    assert!(!ipvs::table(&balancer).contains(".23:"), "{}", ipvs::table(&balancer));
    door.write("", &format!("{other}{rest}"));
    door.order(&["reload"]).unwrap();
    let again = ipvs::until_table(&balancer, |table| table.replace("-s wrr", "-s wlc") == whole);
    again.unwrap_or_else(|why| panic!("{why}\n{}", door.log()));
    all_echo(&mut old, "all the time");
    let now = ipvs::ever(&balancer);
    assert!(ever.iter().all(|(service, count)| now[service] >= *count), "{ever:?}\n{now:?}");

    // A virtual server that is not named any more leaves likewise.
    let [vip, _] = DrLab::vips();
    let other = format!(
        "[forwarding]\n[[virtual_server]]\nname = \"other\"\naddresses = [\"{vip}\"]\nport = 2899\ndata_path = \"relay\"\n\
         [[virtual_server.real_server]]\naddress = \"10.77.0.21\"\n"
    );
    door.write("", &other);
    door.order(&["reload"]).unwrap();
    let status = door.until_status("what leaves", SOON, |status| status["forwarding"]["leaving"] == 2);
    assert_eq!(members(&status), [""; 0]);
    all_echo(&mut old, "of a virtual server that is not named any more");
    assert_eq!(lab.converse(vip, PORT).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    drop(old);
    let gone = ipvs::until_table(&balancer, str::is_empty);
    gone.unwrap_or_else(|why| panic!("{why}\n{}", door.log()));
}

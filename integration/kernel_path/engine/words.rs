//! What an engine in a guest is told, in words.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use gridfront::balance::{
    Carrier, Entry, FlowSync, ForwardError, ForwardedService, Forwarder, ForwardingChange, ForwardingPlan,
    LbAlgo, Member, Persistence, SyncRole,
};
use gridfront::forwarding::ipvs::{IpvsEngine, IpvsSettings};
use rustix::process::{Signal, getpid, kill_process};

use super::{PORT, SLICE};
use crate::support::dr_lab::{DrLab, REAL_SERVERS};
use crate::support::netns::{v4, v6};

/// A test process with this in its environment does these steps, with a blank between two:
///
/// ```text
///   apply=rs1+rs2*3+rs3!     services of both families with these members: of weight 1, of weight 3, down
///   group=rs1                the same of several ports, persistent
///   mixed=rs1                the same of one port, one of them by another scheduler
///   carry=rs1:50000-50009+rs2   carriers of both families, with a slice and without
///   set=CLIENT|any,AT,rs1    clear=CLIENT|any,AT    counts    ports    sync=ROLE,INTERFACE,ID|none    second    withdraw    kill
/// ```
pub(super) const STEPS: &str = "GRIDFRONT_STEPS_OF_AN_ENGINE";

pub(super) fn perform(steps: &str) {
    // Behind the words with which a test begins, which are no line yet.
    println!();
    let mut engine = match IpvsEngine::open(settings()) {
        Ok(engine) => engine,
        Err(error) => return say(&format!("error: {error}")),
    };
    for step in steps.split(' ') {
        let (verb, words) = step.split_once('=').unwrap_or((step, ""));
        match verb {
            "apply" => tell(engine.apply(&services(words, |vip| Entry::Single((vip, PORT).into()), None))),
            "group" => {
                let persistence = |vip: IpAddr| Persistence {
                    timeout: Duration::from_secs(60),
                    prefix: if vip.is_ipv4() { 32 } else { 128 },
                };
                let ports = vec![PORT..=PORT, SLICE..=SLICE];
                let entry = |vip| Entry::Group { addresses: vec![vip], ports: ports.clone() };
                tell(engine.apply(&services(words, entry, Some(&persistence))));
            }
            // The first one by another scheduler.
            "mixed" => {
                let mut plan = services(words, |vip| Entry::Single((vip, PORT).into()), None);
                plan.services[0].lb_algo = LbAlgo::Lc;
                tell(engine.apply(&plan));
            }
            "ports" => say(if engine.ports().is_some() { "ports" } else { "no ports" }),
            "carry" => tell(engine.apply(&carriers(words))),
            "set" => {
                let [client, at, role] = parts(words);
                let at: std::net::SocketAddr = at.parse().unwrap();
                engine.ports().unwrap().set(client.parse().ok(), at, address(role, at.ip())).unwrap();
            }
            "clear" => {
                let [client, at] = parts(words);
                engine.ports().unwrap().clear(client.parse().ok(), at.parse().unwrap());
            }
            "counts" => count(&mut engine),
            "sync" => {
                let sync = (words != "none").then(|| {
                    let [role, interface, id] = parts(words);
                    let role = if role == "master" { SyncRole::Master } else { SyncRole::Backup };
                    FlowSync { role, interface: interface.to_owned(), id: id.parse().unwrap() }
                });
                if let Err(error) = engine.sync(sync.as_ref()) {
                    say(&format!("error: {error}"));
                }
            }
            "second" => say(&IpvsEngine::open(settings()).unwrap_err().to_string()),
            "withdraw" => engine.withdraw(),
            "kill" => kill_process(getpid(), Signal::KILL).unwrap(),
            _ => panic!("{step}"),
        }
    }
}

fn settings() -> IpvsSettings {
    IpvsSettings { state_file: "/run/gridfront/forwarding.json".into() }
}

/// Nothing but where clients come in.
fn nothing() -> ForwardingPlan {
    ForwardingPlan {
        interfaces: vec!["vec0".to_owned(), "not-there".to_owned()],
        ..ForwardingPlan::default()
    }
}

fn parts<const N: usize>(words: &str) -> [&str; N] {
    words.split(',').collect::<Vec<_>>().try_into().unwrap()
}

fn say(line: &str) {
    println!("> {line}");
}

fn tell((changes, errors): (Vec<ForwardingChange>, Vec<ForwardError>)) {
    changes.iter().for_each(|change| say(&change.0));
    errors.iter().for_each(|error| say(&format!("error: {error}")));
}

fn count(engine: &mut IpvsEngine) {
    let counts = engine.counts().unwrap();
    let members = counts.services.iter().flat_map(|service| service.members.iter());
    for (name, address, counts) in members {
        say(&format!("{name} {address}: active {}, inactive {}", counts.active, counts.inactive));
    }
    for (address, counts) in &counts.carriers {
        say(&format!("carrier {address}: active {}, inactive {}", counts.active, counts.inactive));
    }
    say(&format!("leaving {}", counts.leaving));
}

/// Where a real server is, in the family of a virtual address.
fn address(role: &str, vip: IpAddr) -> IpAddr {
    let number = 21 + u8::try_from(REAL_SERVERS.iter().position(|known| *known == role).unwrap()).unwrap();
    if vip.is_ipv4() { v4(number).into() } else { v6(number).into() }
}

fn services(
    words: &str,
    entry: impl Fn(IpAddr) -> Entry,
    persistence: Option<&dyn Fn(IpAddr) -> Persistence>,
) -> ForwardingPlan {
    if words.is_empty() {
        return nothing();
    }
    let service = |vip: IpAddr| ForwardedService {
        virtual_server: "gridftp".into(),
        entry: entry(vip),
        lb_algo: LbAlgo::Wlc,
        persistence: persistence.map(|of| of(vip)),
        members: words.split('+').map(|word| member(word, vip)).collect(),
    };
    ForwardingPlan { services: DrLab::vips().map(service).into(), ..nothing() }
}

fn member(word: &str, vip: IpAddr) -> Member {
    let down = word.ends_with('!');
    let (role, weight) =
        word.trim_end_matches('!').split_once('*').unwrap_or((word.trim_end_matches('!'), "1"));
    Member {
        real_server: role.to_owned(),
        address: address(role, vip),
        weight: weight.parse().unwrap(),
        max_connections: None,
        down,
    }
}

fn carriers(words: &str) -> ForwardingPlan {
    let mut carriers: BTreeMap<IpAddr, Carrier> = BTreeMap::new();
    for (word, vip) in words.split('+').flat_map(|word| DrLab::vips().map(|vip| (word, vip))) {
        let (role, slice) = word.split_once(':').unwrap_or((word, ""));
        let slice: Option<RangeInclusive<u16>> =
            slice.split_once('-').map(|(first, last)| first.parse().unwrap()..=last.parse().unwrap());
        let address = address(role, vip);
        carriers.insert(
            address,
            Carrier { address, slices: slice.map(|slice| (vip, slice)).into_iter().collect() },
        );
    }
    ForwardingPlan { carriers: carriers.into_values().collect(), ..nothing() }
}

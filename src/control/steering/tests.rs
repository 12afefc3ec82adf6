use std::path::Path;

use super::*;
use crate::proxy::now;

const TWO_VIRTUAL_SERVERS: &str = "
[[virtual_server]]
name = 'gridftp'
addresses = ['127.0.0.1']
[[virtual_server.real_server]]
name = 'storage-1'
address = '127.0.0.2'
[[virtual_server.real_server]]
name = 'storage-2'
address = '127.0.0.3'
weight = 3

[[virtual_server]]
name = 'direct'
addresses = ['127.0.0.1']
port = 2861
[[virtual_server.real_server]]
name = 'storage-1'
address = '127.0.0.2'
";

struct Site {
    services: Vec<Arc<Service>>,
    removed: Removed,
    sessions: SessionTable,
    start: Instant,
}

fn site() -> Site {
    let model = crate::config::toml::parse(Path::new("test.toml"), TWO_VIRTUAL_SERVERS).unwrap().model;
    let (services, _) = Service::from_model(&model, std::time::SystemTime::UNIX_EPOCH).unwrap();
    let start = now();
    Site { services, removed: Removed::default(), sessions: SessionTable::new(start), start }
}

impl Site {
    fn obey(&self, name: &str, order: Order, seconds: u64) -> Result<Vec<SteeredServer>, String> {
        let now = self.start + Duration::from_secs(seconds);
        obey(name, order, &self.services, &self.removed, &self.sessions, now)
            .map_err(|error| error.to_string())
    }

    /// Which servers are drained.
    fn drained(&self) -> Vec<String> {
        let servers = self.services.iter().flat_map(|service| {
            let drained = service.virtual_server.real_servers().iter().filter(|server| server.is_drained());
            drained.map(|server| format!("{}/{}", name_of(service), server.name()))
        });
        servers.collect()
    }
}

#[test]
fn a_name_means_every_server_of_that_name_and_one_with_its_virtual_server_only_that() {
    let site = site();
    site.obey("storage-1", Order::Drain(None), 0).unwrap();
    assert_eq!(site.drained(), ["gridftp/storage-1", "direct/storage-1"]);
    site.obey("direct/storage-1", Order::Undrain, 1).unwrap();
    assert_eq!(site.drained(), ["gridftp/storage-1"]);
    site.obey("storage-1", Order::Undrain, 2).unwrap();
    assert_eq!(site.drained(), [""; 0]);
}

#[test]
fn what_cannot_be_done_is_told_with_what_mends_it_and_changes_nothing() {
    let site = site();
    #[rustfmt::skip]
    let table: &[(&str, Order, &str)] = &[
        ("storage1",           Order::Drain(None), "no real server is called \"storage1\"; did you mean \"storage-1\"?; `gridfront status` lists them"),
        ("direct/storage-3",   Order::Drain(None), "no real server is called \"direct/storage-3\"; did you mean \"direct/storage-1\"?; `gridfront status` lists them"),
        ("x",                  Order::Undrain,     "no real server is called \"x\"; `gridfront status` lists them"),
        ("storage-1",          Order::Weight(2),   "\"storage-1\" stands in several virtual servers, each with a weight of its own; say which: gridftp/storage-1, direct/storage-1"),
        ("storage-2",          Order::Weight(65_536), "weight 65536 is too large; write 0 to 65535"),
        ("storage-2",          Order::Drain(Some(Duration::from_secs(700_000))), "the deadline is too long; write at most 168h"),
    ];
    for (name, order, expected) in table {
        assert_eq!(site.obey(name, *order, 0), Err((*expected).to_owned()), "{name}");
    }
    assert_eq!(site.drained(), [""; 0]);
}

#[test]
fn what_is_said_is_shown_with_what_the_file_says() {
    let site = site();
    let shown = |order, seconds| site.obey("storage-2", order, seconds).unwrap()[0].to_string();
    assert_eq!(shown(Order::Look, 0), "gridftp/storage-2: weight 3, in service, up; 0 sessions");
    let drained = shown(Order::Drain(Some(Duration::from_secs(60))), 1);
    assert_eq!(drained, "gridftp/storage-2: weight 3, drained 0 s ago, deadline in 60 s; 0 sessions");
    assert_eq!(
        shown(Order::Weight(0), 3),
        "gridftp/storage-2: weight 0 (3), drained 2 s ago, deadline in 58 s; 0 sessions"
    );
    let over = shown(Order::Look, 61);
    assert!(over.contains("the deadline is over and has ended 0 sessions"), "{over}");
    assert_eq!(
        shown(Order::Undrain, 62),
        "gridftp/storage-2: weight 0 (3), in service, weight 0; 0 sessions"
    );
    site.obey("gridftp/storage-1", Order::Drain(None), 63).unwrap();
    let last = shown(Order::Look, 64);
    assert!(
        last.ends_with("0 sessions\n  no real server of gridftp is in service: new clients get 421"),
        "{last}"
    );
}

#[test]
fn servers_that_a_reload_has_removed_are_reached_while_they_have_sessions_and_get_a_deadline() {
    let mut site = site();
    let gone = Arc::clone(&site.services[0].virtual_server.real_servers()[1]);
    gone.handle_removal(site.start);
    site.services.remove(0);
    site.removed.real_servers.push(("gridftp".into(), Arc::clone(&gone)));
    let told = site.obey("storage-2", Order::Drain(Some(Duration::from_secs(60))), 5).unwrap();
    assert_eq!(
        told[0].to_string(),
        "gridftp/storage-2: removed from the configuration, weight 3, drained 5 s ago, deadline in 60 s; 0 sessions"
    );
    assert_eq!(gone.drain().unwrap().deadline, Some(site.start + Duration::from_secs(65)));
    site.obey("gridftp/storage-2", Order::Undrain, 6).unwrap();
    assert_eq!(gone.drain().unwrap().deadline, None, "and is drained as before");

    // A weight is a share: of two with one name the server that is in the configuration is meant.
    let namesake = Arc::clone(&site.services[0].virtual_server.real_servers()[0]);
    let before = removed_namesake(&mut site, "storage-1");
    site.obey("storage-1", Order::Weight(2), 8).unwrap();
    assert_eq!((namesake.weight(), before.weight()), (2, 1));
    site.obey("storage-1", Order::Drain(None), 9).unwrap();
    assert!(namesake.is_drained() && before.has_ordered_drain(), "a drain reaches both");
}

/// One more of this name, in `direct`, that is removed.
fn removed_namesake(site: &mut Site, name: &str) -> Arc<RealServer> {
    let server = Arc::new(RealServer::new(crate::balance::RealServerSpec {
        name: name.into(),
        address: ([127, 0, 0, 9], 2811).into(),
        weight: 1,
        max_connections: None,
        fall: 1,
        rise: 1,
    }));
    server.handle_removal(site.start);
    site.removed.real_servers.push(("direct".into(), Arc::clone(&server)));
    server
}

//! What is in the table, whoever has set it.
use std::sync::Arc;

use super::*;

/// A table with room for some.
#[derive(Clone, Debug)]
struct Fake(Arc<Mutex<HashMap<MarkKey, u32>>>, usize);

impl MarkTable for Fake {
    fn set(&self, key: MarkKey, mark: NonZeroU32) -> io::Result<()> {
        let mut entries = self.0.lock().unwrap();
        if entries.len() >= self.1 && !entries.contains_key(&key) {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "full"));
        }
        entries.insert(key, mark.get());
        Ok(())
    }

    fn clear(&self, key: MarkKey) {
        self.0.lock().unwrap().remove(&key);
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::new(ip("192.0.2.10"), port)
}

/// Carriers with their marks, and ports with theirs.
fn wanted(carriers: &[(&str, u32)], marks: &[(u16, u32)]) -> Wanted {
    let number = |mark| NonZeroU32::new(mark).unwrap();
    Wanted {
        carriers: carriers.iter().map(|(address, mark)| (ip(address), number(*mark))).collect(),
        marks: marks.iter().map(|(port, mark)| ((at(*port).ip(), *port), number(*mark))).collect(),
        ..Wanted::default()
    }
}

struct World {
    table: Fake,
    steering: Steering,
}

impl World {
    fn new(room: usize) -> Self {
        let table = Fake(Arc::default(), room);
        Self { steering: Steering::new(Box::new(table.clone())), table }
    }

    fn apply(&self, wanted: &Wanted) -> Result<(), (usize, io::Error)> {
        self.steering.retire(wanted);
        let installed = self.steering.install(wanted, |_| true);
        self.steering.open(wanted, |_| true);
        installed
    }

    /// Ports with their marks, those that are for one client behind the others.
    fn entries(&self) -> Vec<(bool, u16, u32)> {
        let entries = self.table.0.lock().unwrap();
        let mut all: Vec<_> =
            entries.iter().map(|(key, mark)| (key.client.is_some(), key.port, *mark)).collect();
        all.sort_unstable();
        all
    }
}

#[test]
fn ports_of_sessions_go_with_their_carrier_and_those_of_the_plan_with_it() {
    let (world, client) = (World::new(9), Some(ip("198.51.100.1")));
    assert!(world.steering.set(client, at(50_100), ip("10.0.0.1")).is_err(), "nobody carries yet");
    let first = wanted(&[("10.0.0.1", 1)], &[]);
    world.steering.install(&first, |_| true).unwrap();
    assert!(world.steering.set(client, at(50_100), ip("10.0.0.1")).is_err(), "packets are not marked yet");
    world.apply(&wanted(&[("10.0.0.1", 1), ("10.0.0.2", 2)], &[(50_000, 1), (50_001, 2)])).unwrap();
    world.steering.set(client, at(50_100), ip("10.0.0.1")).unwrap();
    world.steering.set(None, at(50_101), ip("10.0.0.2")).unwrap();
    assert_eq!(
        world.entries(),
        [(false, 50_000, 1), (false, 50_001, 2), (false, 50_101, 2), (true, 50_100, 1)]
    );
    world.apply(&wanted(&[("10.0.0.2", 2)], &[(50_000, 2)])).unwrap();
    assert_eq!(world.entries(), [(false, 50_000, 2), (false, 50_101, 2)]);
    world.steering.clear(None, at(50_101));
    world.steering.clear_all();
    assert!(world.entries().is_empty());
}

#[test]
fn no_session_changes_what_the_plan_says() {
    let world = World::new(9);
    world.apply(&wanted(&[("10.0.0.1", 1), ("10.0.0.2", 2)], &[(50_000, 1)])).unwrap();
    world.steering.set(None, at(50_000), ip("10.0.0.1")).unwrap();
    world.steering.set(Some(ip("198.51.100.1")), at(50_000), ip("10.0.0.2")).unwrap_err();
    world.steering.clear(None, at(50_000));
    assert_eq!(world.entries(), [(false, 50_000, 1)]);
    // A port of a session that becomes the plan's is the plan's from then on.
    world.steering.set(None, at(50_001), ip("10.0.0.1")).unwrap();
    world.apply(&wanted(&[("10.0.0.1", 1), ("10.0.0.2", 2)], &[(50_000, 1), (50_001, 2)])).unwrap();
    world.steering.clear(None, at(50_001));
    assert_eq!(world.entries(), [(false, 50_000, 1), (false, 50_001, 2)]);
}

#[test]
fn a_mark_without_a_service_is_not_set_and_what_has_no_room_is_tried_again() {
    let world = World::new(1);
    let one = wanted(&[("10.0.0.1", 1)], &[(50_000, 1)]);
    world.apply(&one).unwrap();
    world.steering.install(&one, |_| false).unwrap();
    world.steering.open(&one, |_| false);
    assert!(world.entries().is_empty());
    assert!(world.steering.set(None, at(50_100), ip("10.0.0.1")).is_err());
    let (installed, error) =
        world.apply(&wanted(&[("10.0.0.1", 1)], &[(50_000, 1), (50_001, 1)])).unwrap_err();
    assert_eq!((installed, error.kind()), (1, io::ErrorKind::StorageFull));
    assert!(world.steering.set(None, at(50_100), ip("10.0.0.1")).is_err());
    world.apply(&wanted(&[("10.0.0.1", 1)], &[(50_001, 1)])).unwrap();
    assert_eq!(world.entries(), [(false, 50_001, 1)]);
}

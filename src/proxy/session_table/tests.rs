//! What reaches which session.
use super::*;
use std::sync::atomic::AtomicUsize;
use std::task::Wake;

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
#[allow(clippy::disallowed_methods)] // a starting point
fn the_sweep_wakes_only_sessions_whose_time_is_over() {
    let start = Instant::now();
    let table = Arc::new(SessionTable::new(start));
    let (early, late, never) = (table.register(), table.register(), table.register());
    let wakes = [&early, &late, &never].map(|registration| {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        registration.entry.set_waker(&Arc::clone(&count).into());
        count
    });
    early.set_deadline(Some(start + Duration::from_secs(1)));
    late.set_deadline(Some(start + Duration::from_secs(9)));
    table.sweep(start + Duration::from_secs(2));
    assert_eq!([1, 0, 0], [&wakes[0], &wakes[1], &wakes[2]].map(|count| count.0.load(Relaxed)));
    assert!(
        early.is_overdue(start + Duration::from_secs(2)) && !late.is_overdue(start + Duration::from_secs(2))
    );

    table.signal_all(Signal::Shutdown);
    table.signal_all(Signal::Drain);
    assert_eq!(never.signal(), Signal::Shutdown, "a weaker signal does not replace a stronger one");
    table.sweep_beginning(start + Duration::from_secs(2));
    let woken = wakes[0].0.load(Relaxed);
    assert_eq!(woken, 4, "found among those that begin, too");
    let mut early = early;
    early.has_begun();
    table.sweep_beginning(start + Duration::from_secs(2));
    assert_eq!(wakes[0].0.load(Relaxed), woken, "and no more once it has begun");
    drop((early, late, never));
    assert!(table.beginning.is_empty());
    assert!(table.is_empty());
}

fn server(name: &str) -> Arc<RealServer> {
    Arc::new(RealServer::new(crate::balance::RealServerSpec {
        name: name.into(),
        address: SocketAddr::from(([10, 0, 0, 1], 2811)),
        weight: 1,
        max_connections: None,
        fall: 1,
        rise: 1,
    }))
}

#[tokio::test]
async fn a_change_of_a_servers_drain_reaches_its_sessions_and_no_others() {
    let start = super::super::now();
    let table = Arc::new(SessionTable::new(start));
    let (ours, other) = (server("s1"), server("s2"));
    let sessions = [(&ours, Occupation::Idle), (&ours, Occupation::Busy), (&ours, Occupation::Unread)].map(
        |(server, occupation)| {
            let session = table.register();
            session.set_server(server);
            session.set_occupation(occupation);
            session
        },
    );
    let (beginning, elsewhere, moved) = (table.register(), table.register(), table.register());
    elsewhere.set_server(&other);
    moved.set_server(&ours);
    moved.set_server(&other);
    let reached = || {
        let mut reached = sessions.each_ref().map(Registration::take_server_change).to_vec();
        reached.extend([&beginning, &elsewhere, &moved].map(Registration::take_server_change));
        reached
    };
    let held = Held { idle: 1, busy: 1, unread: 1 };

    let deadline = start + Duration::from_millis(50);
    ours.handle_drain(start, Some(deadline));
    assert_eq!(table.handle_drain_change(&ours), held);
    assert_eq!(reached(), [true, true, true, false, false, false]);
    assert_eq!(reached(), [false; 6], "told once");
    assert_eq!(sessions[0].signal(), Signal::None, "the door is not drained");

    table.heed_drain_deadlines(deadline - Duration::from_millis(1));
    assert_eq!(reached(), [false; 6], "the deadline has not come");
    table.next_drain_deadline().await;
    table.heed_drain_deadlines(super::super::now());
    assert_eq!(reached(), [true, true, true, false, false, false]);

    ours.handle_drain(start, Some(super::super::now()));
    table.handle_drain_change(&ours);
    assert!(ours.handle_undrain());
    table.handle_drain_change(&ours);
    assert!(reached().contains(&true));
    table.heed_drain_deadlines(start + Duration::from_secs(1));
    assert_eq!(reached(), [false; 6], "undrained, it has no deadline");
    table.signal_all(Signal::Drain);
    ours.handle_drain(start, None);
    table.handle_drain_change(&ours);
    assert!(sessions[0].take_server_change());
    assert_eq!(sessions[0].signal(), Signal::Drain, "one does not take the other away");
}

#[test]
fn an_address_that_may_move_from_now_on_finds_those_that_came_to_it_before() {
    let table = Arc::new(SessionTable::new(super::super::now()));
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    let [moves, other]: [IpAddr; 2] = ["192.0.2.10", "192.0.2.11"].map(|text| text.parse().unwrap());
    let say = |session: &Registration, reached: &str| {
        session.set_place(at("198.51.100.7:40000"), || Some(at(reached)));
    };
    let sessions = ["192.0.2.10:2811", "192.0.2.1:2811"].map(|reached| {
        let session = table.register();
        say(&session, reached);
        (session, reached)
    });
    table.note_places([moves]);
    for (session, reached) in &sessions {
        assert!(session.take_place_change() && !session.take_place_change(), "{reached}");
        say(session, reached);
    }
    assert_eq!(table.held_at(&[moves]).idle, 1);
    assert_eq!(table.take_new_connections().len(), 1, "others hear of it");
    table.note_places([moves]);
    assert!(sessions.iter().all(|(session, _)| !session.take_place_change()), "nothing is new");
    table.note_places([moves, other]);
    let told = sessions.each_ref().map(|(session, _)| session.take_place_change());
    assert_eq!(told, [false, true], "whose place is known has no other");
    assert_eq!(table.end_at(&[moves], super::super::now()), 1);
    assert_eq!(sessions[0].0.signal(), Signal::Shutdown);
}

#[test]
fn an_address_that_goes_ends_those_that_came_before_and_a_drain_spares_those_that_may_move() {
    let start = super::super::now();
    let table = Arc::new(SessionTable::new(start));
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    let moves: IpAddr = "192.0.2.10".parse().unwrap();
    table.note_places([moves]);
    let come = |reached: &str| {
        let session = table.register();
        session.set_place(at("198.51.100.7:40000"), || Some(at(reached)));
        session
    };
    let (old, mapped, fixed) =
        (come("192.0.2.10:2811"), come("[::ffff:192.0.2.10]:2811"), come("192.0.2.1:2811"));
    assert_eq!(table.end_at(&[moves], start - Duration::from_secs(1)), 0, "nobody had come");
    table.drain_what_stays();
    let (new, late) = (come("192.0.2.10:2811"), come("192.0.2.1:2811"));
    let signals = || [&old, &mapped, &fixed, &new, &late].map(Registration::signal);
    assert_eq!(signals(), [Signal::None, Signal::None, Signal::Drain, Signal::None, Signal::Drain]);
    let gone = super::super::now();
    let newest = loop {
        let session = come("192.0.2.10:2811");
        if table.places.sessions_until(&[moves], gone).len() == 3 {
            break session;
        }
    };
    assert_eq!(table.end_at(&[moves], gone), 3);
    assert_eq!(table.end_at(&[moves], gone), 0, "told once");
    assert_eq!(signals()[0], Signal::Shutdown);
    assert_eq!(newest.signal(), Signal::None, "it came to the address when that was back");
}

#![allow(clippy::disallowed_methods)] // a starting point
use super::*;
use crate::balance::{
    Availability, CheckOutcome, LbAlgo, NoServer, Placement, RealServer, RealServerSpec, Tried, VirtualServer,
};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Barrier};
use std::task::Wake;
use std::thread;

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// Wakes a thread that sleeps.
struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn spec(name: &str, max: u32) -> RealServerSpec {
    RealServerSpec {
        name: name.into(),
        address: "192.0.2.1:2811".parse().unwrap(),
        weight: 1,
        max_connections: Some(max),
        fall: 1,
        rise: 1,
    }
}

fn server(name: &str, max: u32) -> Arc<RealServer> {
    Arc::new(RealServer::new(spec(name, max)))
}

fn virtual_server(servers: Vec<Arc<RealServer>>, queue: &Arc<Queue>) -> Arc<VirtualServer> {
    for server in &servers {
        server.serve_queue(queue);
    }
    VirtualServer::new("v".into(), LbAlgo::Wlc, 1_000_000, servers, Availability::default())
}

fn place(virtual_server: &Arc<VirtualServer>) -> Result<Placement, NoServer> {
    virtual_server.place(Instant::now(), [192, 0, 2, 7].into(), &Tried::default())
}

fn woken(number: usize) -> Vec<(Arc<Woken>, Waker)> {
    let waker = |woken: Arc<Woken>| (Arc::clone(&woken), Waker::from(woken));
    (0..number).map(|_| waker(Arc::default())).collect()
}

fn counts(wakers: &[(Arc<Woken>, Waker)]) -> Vec<usize> {
    wakers.iter().map(|(woken, _)| woken.0.swap(0, Relaxed)).collect()
}

#[test]
fn a_place_wakes_the_first_in_the_line_and_nobody_else() {
    let queue = Arc::new(Queue::default());
    let virtual_server = virtual_server(vec![server("s1", 1)], &queue);
    let now = Instant::now();
    let held = place(&virtual_server).unwrap();
    assert!(!queue.must_wait(None));
    let wakers = woken(3);
    let mut line: Vec<_> =
        wakers.iter().map(|(_, waker)| queue.join(10, None, false, now, waker).unwrap()).collect();
    assert!(queue.must_wait(None) && queue.waiting() == 3);
    let next: Vec<bool> =
        line.iter().zip(&wakers).map(|(waiting, (_, waker))| waiting.is_next(false, waker)).collect();
    assert_eq!(next, [true, false, false]);
    drop(held);
    assert_eq!(counts(&wakers), [1, 0, 0]);
    let first = place(&virtual_server).unwrap();
    drop(line.remove(0));
    assert_eq!(counts(&wakers), [0, 1, 0], "there may be a place for the next");
    assert!(line[0].is_next(false, &wakers[1].1) && place(&virtual_server).is_err());
    // Whoever leaves unserved hands on the wake-up that it may have had.
    drop(first);
    assert_eq!(counts(&wakers), [0, 1, 0]);
    drop(line.remove(0));
    assert_eq!(counts(&wakers), [0, 0, 1]);
    drop(line);
    assert!(!queue.must_wait(None) && queue.waiting() == 0);
    assert_eq!(queue.longest_wait(now + Duration::from_secs(1)), Duration::ZERO);
}

#[test]
fn whatever_may_make_room_wakes_the_first() {
    let queue = Arc::new(Queue::default());
    let real = server("s1", 1);
    let _virtual_server = virtual_server(vec![Arc::clone(&real)], &queue);
    let wakers = woken(1);
    let _waiting = queue.join(1, None, false, Instant::now(), &wakers[0].1).unwrap();
    let changes: [(&str, &dyn Fn()); 8] = [
        ("a weight", &|| real.set_weight(5)),
        ("drained", &|| real.handle_drain(Instant::now(), None)),
        ("back in service", &|| assert!(real.handle_undrain())),
        ("another configuration", &|| real.reconfigure(&spec("s1", 7))),
        ("gone from it", &|| real.handle_removal(Instant::now())),
        ("down", &|| drop(real.handle_check(Instant::now(), CheckOutcome::Failed("refused".into())))),
        ("up", &|| drop(real.handle_check(Instant::now(), CheckOutcome::Passed))),
        ("told", &|| real.offer_places()),
    ];
    for (what, change) in changes {
        change();
        assert_ne!(counts(&wakers), [0], "{what}");
    }
    let other = Arc::new(Queue::default());
    real.serve_queue(&other);
    real.serve_queue(&queue);
    real.offer_places();
    assert_eq!(counts(&wakers), [1], "once, however often it was told of the queue");
}

#[test]
fn a_line_is_as_long_as_it_may_be_and_keeps_the_turn_of_who_was_in_it() {
    let queue = Queue::default();
    let now = Instant::now();
    let wakers = woken(3);
    let first = queue.join(2, None, false, now, &wakers[0].1).unwrap();
    let second = queue.join(2, None, false, now + Duration::from_secs(1), &wakers[1].1).unwrap();
    assert_eq!(queue.join(2, None, false, now, &wakers[2].1).unwrap_err(), QueueFull { length: 2 });
    assert_eq!(queue.longest_wait(now + Duration::from_secs(5)), Duration::from_secs(5));
    // The server that it got does not take it: it tries the next, before all others.
    let turn = first.turn();
    drop(first);
    let third = queue.join(2, None, false, now, &wakers[2].1).unwrap();
    assert!(!queue.must_wait(Some(turn)) && queue.must_wait(None));
    let again = queue.join(2, Some(turn), true, now, &wakers[0].1).unwrap();
    assert_eq!(queue.waiting(), 3);
    // One that may not have every place does not keep the others from it.
    assert!(
        again.is_next(true, &wakers[0].1)
            && second.is_next(false, &wakers[1].1)
            && !third.is_next(false, &wakers[2].1)
    );
    counts(&wakers);
    queue.wake_first();
    assert_eq!(counts(&wakers), [1, 1, 0]);
    assert_eq!(queue.stats.refused.load(Relaxed), 1);
    assert_eq!(queue.stats.queued.load(Relaxed), 3);
}

/// Many threads come, wait, hold a place for a moment and go; some give up. If one wake-up were lost, whoever waits for it
/// would sleep for ever: nobody else comes.
#[test]
fn no_wake_up_is_lost_between_threads() {
    const THREADS: usize = 12;
    const ROUNDS: usize = 400;
    let queue = Arc::new(Queue::default());
    let servers = vec![server("s1", 1), server("s2", 2)];
    let virtual_server = virtual_server(servers.clone(), &queue);
    let (served, gave_up) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (queue, virtual_server, barrier) = (&queue, &virtual_server, &barrier);
            let (served, gave_up) = (&served, &gave_up);
            scope.spawn(move || {
                let waker = Waker::from(Arc::new(Unpark(thread::current())));
                barrier.wait();
                for round in 0..ROUNDS {
                    let patience = if (number + round) % 7 == 0 { round % 3 } else { usize::MAX };
                    match session(queue, virtual_server, &waker, patience) {
                        Some(placement) => {
                            served.fetch_add(1, Relaxed);
                            if round % 3 == 0 {
                                thread::yield_now();
                            }
                            drop(placement);
                        }
                        None => drop(gave_up.fetch_add(1, Relaxed)),
                    }
                }
            });
        }
    });
    assert_eq!(served.load(Relaxed) + gave_up.load(Relaxed), THREADS * ROUNDS);
    assert!(served.load(Relaxed) > THREADS * ROUNDS / 2);
    assert_eq!(queue.waiting(), 0);
    assert!(servers.iter().all(|server| server.active() == 0));
}

/// One session as the proxy does it; gives up after having slept so often.
fn session(
    queue: &Queue,
    virtual_server: &Arc<VirtualServer>,
    waker: &Waker,
    mut patience: usize,
) -> Option<Placement> {
    if !queue.must_wait(None)
        && let Ok(placement) = place(virtual_server)
    {
        return Some(placement);
    }
    let waiting = queue.join(u32::MAX, None, false, Instant::now(), waker).unwrap();
    loop {
        if waiting.is_next(false, waker)
            && let Ok(placement) = place(virtual_server)
        {
            return Some(placement);
        }
        if patience == 0 {
            return None;
        }
        patience -= 1;
        // Far longer than all of it takes: whoever sleeps so long has missed its wake-up.
        let asleep = Instant::now();
        thread::park_timeout(Duration::from_secs(20));
        assert!(asleep.elapsed() < Duration::from_secs(20), "a wake-up was lost");
    }
}

/// Those that wait are served in the order in which they came.
#[test]
fn first_come_first_served_across_threads() {
    const CLIENTS: usize = 40;
    let queue = Arc::new(Queue::default());
    let virtual_server = virtual_server(vec![server("s1", 1)], &queue);
    let held = place(&virtual_server).unwrap();
    let order = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let waker = woken(1).remove(0).1;
            // In the line before the next thread begins.
            let waiting = queue.join(u32::MAX, None, false, Instant::now(), &waker).unwrap();
            let (virtual_server, order) = (&virtual_server, &order);
            scope.spawn(move || {
                let waker = Waker::from(Arc::new(Unpark(thread::current())));
                let asleep = Instant::now();
                let placement = loop {
                    if waiting.is_next(false, &waker)
                        && let Ok(placement) = place(virtual_server)
                    {
                        break placement;
                    }
                    thread::park_timeout(Duration::from_secs(20));
                    assert!(asleep.elapsed() < Duration::from_secs(20), "a wake-up was lost");
                };
                order.lock().unwrap().push(number);
                drop(waiting);
                drop(placement);
            });
        }
        drop(held);
    });
    assert_eq!(*order.lock().unwrap(), (0..CLIENTS).collect::<Vec<_>>());
}

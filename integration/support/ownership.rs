//! Which machine has an address, as their kernels say: looked at all the time, so that nothing in between is missed but what is
//! shorter than a look.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gridfront::sys::netlink::Route;

use super::deadline;
use super::netns::Machine;

/// One machine had the address from one moment to another; not known to have ended if there is none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tenure {
    pub role: String,
    pub from: Instant,
    pub to: Option<Instant>,
}

/// What was seen.
#[derive(Debug, Default)]
struct Seen {
    /// In the order in which they began.
    tenures: Vec<Tenure>,
    /// The longest time between two looks: nothing here is more exact.
    longest_pause: Duration,
}

/// A thread that looks. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Looks at every one of the machines, and again after this time.
    ///
    /// # Panics
    /// When their kernels cannot be asked.
    pub fn start(machines: &[&Machine], address: IpAddr, every: Duration) -> Self {
        let mut routes: Vec<(String, Route)> = machines
            .iter()
            .map(|machine| {
                let route = machine.enter(|| Route::open().expect("a socket of rtnetlink"));
                (machine.role().to_owned(), route)
            })
            .collect();
        let (seen, over) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let (told, ended) = (Arc::clone(&seen), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            let mut before = now();
            while !ended.load(Ordering::Relaxed) {
                for (role, route) in &mut routes {
                    // A list that changes while it is read is read again by the next look.
                    if let Ok(list) = route.addresses() {
                        let has = list.iter().any(|known| known.address == address && !known.is_duplicate);
                        lock(&told).note(role, has, now());
                    }
                }
                let pause = now() - before;
                before += pause;
                let mut told = lock(&told);
                told.longest_pause = told.longest_pause.max(pause);
                drop(told);
                std::thread::park_timeout(every);
            }
        });
        Self { seen, over, thread: Some(thread) }
    }

    /// Everything up to now.
    pub fn tenures(&self) -> Vec<Tenure> {
        lock(&self.seen).tenures.clone()
    }

    /// Nothing here is more exact.
    pub fn longest_pause(&self) -> Duration {
        lock(&self.seen).longest_pause
    }

    /// Who has it now.
    pub fn holders(&self) -> Vec<String> {
        let tenures = self.tenures();
        tenures.into_iter().filter(|tenure| tenure.to.is_none()).map(|tenure| tenure.role).collect()
    }

    /// Waits until one machine has it and no other.
    ///
    /// # Errors
    /// Who has it, when the limit has passed.
    pub fn until_alone(&self, role: &str, limit: Duration) -> Result<(), String> {
        deadline::until(&format!("{role} alone has the address"), limit, || {
            let holders = self.holders();
            if holders == [role] { Ok(()) } else { Err(format!("{holders:?} have it")) }
        })
    }

    /// How long after `event` the machine had it, waiting for that.
    ///
    /// # Errors
    /// Who has it, when the limit has passed.
    pub fn taken_after(&self, role: &str, event: Instant, limit: Duration) -> Result<Duration, String> {
        deadline::until(&format!("{role} takes the address"), limit, || {
            let tenures = self.tenures();
            let taken = tenures.iter().find(|tenure| tenure.role == role && tenure.from >= event);
            taken.map(|tenure| tenure.from - event).ok_or_else(|| format!("{:?} have it", self.holders()))
        })
    }

    /// How long more than one machine had it, since `from`.
    pub fn overlap(&self, from: Instant) -> Duration {
        let (tenures, now) = (self.tenures(), now());
        let clipped: Vec<_> = tenures
            .iter()
            .map(|tenure| (tenure.from.max(from), tenure.to.unwrap_or(now)))
            .filter(|(begin, end)| begin < end)
            .collect();
        let pairs = clipped.iter().enumerate().flat_map(|(number, one)| {
            clipped.iter().skip(number + 1).map(move |other| (one.0.max(other.0), one.1.min(other.1)))
        });
        pairs.map(|(begin, end)| end.saturating_duration_since(begin)).sum()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Seen {
    fn note(&mut self, role: &str, has: bool, at: Instant) {
        let open = self.tenures.iter_mut().find(|tenure| tenure.role == role && tenure.to.is_none());
        match (open, has) {
            (None, true) => self.tenures.push(Tenure { role: role.to_owned(), from: at, to: None }),
            (Some(tenure), false) => tenure.to = Some(at),
            _ => {}
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

#[allow(clippy::disallowed_methods, reason = "tests measure the real clock")]
pub fn now() -> Instant {
    Instant::now()
}

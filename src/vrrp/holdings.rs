//! What is ours in the kernel's network settings: virtual addresses and VMAC interfaces.
//!
//! Whoever changes these settings waits for a lock of the whole network namespace, which others may hold for long. So a
//! thread of its own does it, and tells the thread that keeps VRRP's time when it is done. It gives addresses a lifetime and
//! renews it: without it they vanish. And it tells the [guardian](super::guardian) what is to vanish at once.
mod ledger;
mod parents;
mod vmac;

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ipnet::IpNet;

pub(super) use self::vmac::Vmac;

use self::ledger::{Claimed, Ledger};
use super::guardian::LastWords;
use super::now;
use crate::proto::netlink::address::{Address, Assignment};
use crate::proto::netlink::link::Link;
use crate::sys;
use crate::sys::netlink::{NetlinkError, Route};

/// How often the lifetime of an address begins anew; a third of the shortest.
const REFRESH_EVERY: Duration = Duration::from_secs(1);

/// A virtual router, by a number that no other gets.
pub(super) type RouterId = u32;

/// What is to be done.
#[derive(Debug)]
pub(super) enum Order {
    /// The router's addresses are these from now on, on the interface with this index.
    Claim {
        router: RouterId,
        /// Of the claim, to be told with what comes of it.
        number: u32,
        index: u32,
        addresses: Vec<IpNet>,
        lifetime: NonZeroU32,
        last_words: Option<LastWords>,
    },
    /// They are not any more.
    Release { router: RouterId },
    /// Nobody holds these yet; who left them behind is no more. Those that stay, such as an owner's, are not among them.
    RemoveStale { addresses: Vec<(u32, IpNet)> },
    /// Make sure that the interface is there.
    MakeVmac { router: RouterId, vmac: Vmac },
    /// It is not needed any more.
    DropVmac { vmac: Vmac },
    /// A guardian is to be told everything.
    Guard(OwnedFd),
    /// Report what there is.
    Survey,
    /// Release everything, and end.
    Stop,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Report {
    /// Every address is there, or why one is not.
    Claimed { router: RouterId, number: u32, outcome: Result<(), String> },
    /// Every address is gone.
    Released { router: RouterId },
    /// The interface has this index, or why it is not there.
    Vmac { router: RouterId, outcome: Result<u32, String> },
    /// Everything there is.
    Surveyed { links: Vec<Link>, addresses: Vec<Address> },
    /// It could not be read.
    NotSurveyed(NetlinkError),
    /// An address that is ours could not be renewed or taken back.
    Trouble(String),
}

/// The thread.
#[derive(Debug)]
pub(super) struct Holdings {
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

impl Holdings {
    /// Starts it; `report` is called on it.
    pub(super) fn start(report: impl FnMut(Report) + Send + 'static) -> io::Result<Self> {
        let route = Route::open()?;
        let (orders, receiver) = channel();
        let thread = thread::Builder::new().name("vrrp-addresses".into()).spawn(move || {
            // Refused, it is what it is; the thread that keeps the time says so.
            let _ = sys::real_time::set_priority(super::REAL_TIME_PRIORITY);
            Keeper { route, ledger: Ledger::default(), parents: BTreeMap::new(), report }.run(&receiver);
        })?;
        Ok(Self { orders, thread: Some(thread) })
    }

    /// Returns at once.
    pub(super) fn order(&self, order: Order) {
        // Whether it runs is asked by whoever depends on it.
        let _ = self.orders.send(order);
    }

    /// Whether it does what it is told.
    pub(super) fn is_sound(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Releases everything.
    pub(super) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.order(Order::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Holdings {
    fn drop(&mut self) {
        self.end();
    }
}

struct Keeper<R> {
    route: Route,
    ledger: Ledger,
    /// By the name of each VMAC, the index of the interface below it.
    parents: BTreeMap<String, u32>,
    report: R,
}

impl<R: FnMut(Report)> Keeper<R> {
    fn run(mut self, orders: &Receiver<Order>) {
        let mut refresh_at = now() + REFRESH_EVERY;
        loop {
            match orders.recv_timeout(refresh_at.saturating_duration_since(now())) {
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(order) => self.obey(order),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if now() >= refresh_at {
                self.refresh();
                refresh_at = now() + REFRESH_EVERY;
            }
        }
        let all = self.ledger.take_all();
        self.remove(&all);
        self.leave_parents();
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Claim { router, number, index, addresses, lifetime, last_words } => {
                // Told first: what is claimed by halves is removed, too.
                let Claimed { assignments, replaced, given_up } =
                    self.ledger.claim(router, index, &addresses, lifetime, last_words);
                self.remove(&replaced);
                let outcome = self.assign(&assignments);
                self.remove(&given_up);
                self.ledger.forget(&[replaced, given_up].concat());
                (self.report)(Report::Claimed { router, number, outcome });
            }
            Order::Release { router } => {
                let released = self.ledger.release(router);
                self.remove(&released);
                self.ledger.forget(&released);
                (self.report)(Report::Released { router });
            }
            Order::RemoveStale { addresses } => {
                let stale = ledger::assignments(&addresses);
                self.remove(&stale);
            }
            Order::MakeVmac { router, vmac } => {
                let outcome = self.make_vmac(&vmac).map_err(|error| error.to_string());
                (self.report)(Report::Vmac { router, outcome });
            }
            Order::DropVmac { vmac } => self.drop_vmac(&vmac),
            Order::Guard(pipe) => self.ledger.guard(pipe),
            Order::Survey => {
                let report = match self.survey() {
                    Ok((links, addresses)) => Report::Surveyed { links, addresses },
                    Err(error) => Report::NotSurveyed(error),
                };
                (self.report)(report);
            }
            Order::Stop => {}
        }
    }
}

impl<R: FnMut(Report)> Keeper<R> {
    fn survey(&mut self) -> Result<(Vec<Link>, Vec<Address>), NetlinkError> {
        Ok((self.route.links()?, self.route.addresses()?))
    }

    fn assign(&mut self, assignments: &[Assignment]) -> Result<(), String> {
        let address = |position: usize| assignments.get(position).map(|of| of.address);
        match self.route.add_addresses(assignments) {
            Ok(refused) => match refused.first() {
                Some(first) => Err(match address(first.position) {
                    Some(address) => format!("{address} cannot be added: {}", first.error),
                    None => first.error.to_string(),
                }),
                None => Ok(()),
            },
            Err(error) => Err(error.to_string()),
        }
    }

    fn refresh(&mut self) {
        let all = self.ledger.all();
        if let Err(problem) = self.assign(&all) {
            (self.report)(Report::Trouble(problem));
        }
        self.ledger.flush();
    }

    fn remove(&mut self, assignments: &[Assignment]) {
        let problem = match self.route.remove_addresses(assignments) {
            Ok(refused) => refused.into_iter().next().map(|refused| refused.error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(problem) = problem {
            (self.report)(Report::Trouble(format!("an address cannot be removed: {problem}")));
        }
    }
}

//! An address and port where the door listens, on every one of its threads. It outlives configurations: who is served
//! there can change between one client and the next.
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::front_door::BindError;
use super::listener::{self, Origin, Target};
use super::session_table::SessionTable;
use crate::sys;
use crate::sys::passed_sockets::PassedSocket;
use crate::sys::socket::Presence;

/// One that is open.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// Where it was to listen; the port may be 0.
    configured: SocketAddr,
    address: SocketAddr,
    target: Arc<ArcSwap<Target>>,
    open: watch::Sender<bool>,
    /// What the service manager calls it, if that has opened it.
    passed_as: Option<String>,
    /// One a listener.
    tasks: Vec<JoinHandle<()>>,
}

/// One that listens and of which nobody is accepted yet; dropped, it is as if it had never been.
#[derive(Debug)]
pub(super) struct Bound {
    configured: SocketAddr,
    address: SocketAddr,
    passed_as: Option<String>,
    /// One a thread or more, registered with the event queue of the thread with this index.
    listeners: Vec<(usize, tokio::net::TcpListener)>,
}

impl Bound {
    /// Listens, once for each thread. `ours` are addresses where this process listens already.
    ///
    /// # Errors
    ///
    /// See [`BindError`].
    pub(super) fn listen(
        configured: SocketAddr,
        presence: Presence,
        threads: &[Handle],
        ours: &[SocketAddr],
    ) -> Result<Self, BindError> {
        examine(configured, presence, ours)?;
        let fail = |error| BindError::of(configured, error);
        // A port 0 becomes a number with the first listener; the others share that number.
        let mut address = configured;
        let mut listeners = Vec::with_capacity(threads.len());
        for (number, thread) in threads.iter().enumerate() {
            let listener = sys::socket::listen(address, presence).map_err(fail)?;
            address = listener.local_addr().map_err(fail)?;
            listeners.push((number, watch(listener, thread).map_err(BindError::Thread)?));
        }
        Ok(Self { configured, address, passed_as: None, listeners })
    }

    /// Takes what the service manager has opened for one address. Each thread gets its part of the sockets, or one together
    /// with other threads: then one queue is there for several, each is woken, and whoever comes first takes the client.
    /// Listeners of our own beside them would need `ReusePort=yes` and the user that the service manager has, and whoever
    /// waited in their queues would be lost when this process ends, which is what passed sockets spare the clients.
    ///
    /// # Errors
    ///
    /// See [`BindError`].
    pub(super) fn adopt(
        address: SocketAddr,
        passed: Vec<PassedSocket>,
        threads: &[Handle],
    ) -> Result<Self, BindError> {
        let fail = |error| BindError::of(address, error);
        let mut listeners = Vec::new();
        for (number, thread) in threads.iter().enumerate() {
            let part: Vec<&PassedSocket> = if passed.len() < threads.len() {
                vec![&passed[number % passed.len()]]
            } else {
                passed.iter().skip(number).step_by(threads.len()).collect()
            };
            for socket in part {
                let listener = socket.listener.try_clone().map_err(fail)?;
                listeners.push((number, watch(listener, thread).map_err(BindError::Thread)?));
            }
        }
        let passed_as = passed.into_iter().next().map(|socket| socket.name);
        Ok(Self { configured: address, address, passed_as, listeners })
    }

    /// Lets clients in.
    pub(super) fn open(self, target: Target, threads: &[Handle], table: &Arc<SessionTable>) -> Endpoint {
        let target = Arc::new(ArcSwap::from_pointee(target));
        let (open, _) = watch::channel(true);
        let origin = if self.passed_as.is_some() { Origin::Passed } else { Origin::Own };
        let start = |(number, listener): (usize, _)| {
            let (target, table) = (Arc::clone(&target), Arc::clone(table));
            threads[number].spawn(listener::accept(listener, origin, target, table, open.subscribe()))
        };
        let tasks = self.listeners.into_iter().map(start).collect();
        let Self { configured, address, passed_as, .. } = self;
        Endpoint { configured, address, target, open, passed_as, tasks }
    }
}

/// Whether the door could listen there, without doing it.
///
/// # Errors
///
/// See [`BindError`].
pub(super) fn examine(
    configured: SocketAddr,
    presence: Presence,
    ours: &[SocketAddr],
) -> Result<(), BindError> {
    // Where we listen on all addresses of the host, nobody else can do so on one of them.
    if configured.port() == 0 || ours.iter().any(|ours| overlap(*ours, configured)) {
        return Ok(());
    }
    sys::socket::probe_unused(configured, presence).map_err(|error| BindError::of(configured, error))
}

fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let any = one.ip().is_unspecified() || other.ip().is_unspecified() || one.ip() == other.ip();
    one.port() == other.port() && one.is_ipv4() == other.is_ipv4() && any
}

fn watch(listener: TcpListener, thread: &Handle) -> io::Result<tokio::net::TcpListener> {
    let _inside = thread.enter();
    tokio::net::TcpListener::from_std(listener)
}

impl Endpoint {
    /// Where it was to listen.
    pub(super) fn configured(&self) -> SocketAddr {
        self.configured
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the service manager calls it, if that has opened it.
    pub(super) fn passed_as(&self) -> Option<&str> {
        self.passed_as.as_deref()
    }

    /// Whether clients come to that virtual server.
    pub(super) fn is_of(&self, name: &str) -> bool {
        self.target.load().service.virtual_server.name() == name
    }

    /// Clients come there from the next one on.
    pub(super) fn turn_to(&self, target: Target) {
        self.target.store(Arc::new(target));
    }

    /// Lets nobody in any more.
    pub(super) fn close(&self) {
        self.open.send_replace(false);
    }

    /// Whether every thread still accepts, or was told not to.
    pub(super) fn is_sound(&self) -> bool {
        !*self.open.borrow() || !self.tasks.iter().any(JoinHandle::is_finished)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_ours_are_told_from_those_of_others() {
        for (one, other, expected) in [
            ("192.0.2.1:21", "192.0.2.1:21", true),
            ("0.0.0.0:21", "192.0.2.1:21", true),
            ("192.0.2.1:21", "0.0.0.0:21", true),
            ("0.0.0.0:21", "192.0.2.1:22", false),
            ("192.0.2.1:21", "192.0.2.2:21", false),
            // Sockets of IPv6 are for IPv6 alone here.
            ("[::]:21", "192.0.2.1:21", false),
            ("[::]:21", "[2001:db8::1]:21", true),
        ] {
            assert_eq!(overlap(one.parse().unwrap(), other.parse().unwrap()), expected, "{one} {other}");
        }
    }
}

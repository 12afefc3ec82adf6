//! The ports of a relay from the moment they are told, and who comes in.
//!
//! Clients connect before they send their command, so that connections are taken from the beginning: a queue that nobody
//! empties is soon full of strangers, and the client has no place in it. Until the transfer begins one connection of the
//! client's own address waits at each port, and nothing more is taken there once it has come. Of others, who may be let in
//! when it is known what the transfer is, the latest few wait.
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::super::journal;
use super::super::service::Service;
use super::ports::RelayPort;
use super::state::State;
use crate::proto::ftp::{Login, Peers};

/// Connections of other addresses than the client's that wait at a port until the transfer begins; the oldest is reset for
/// the next. Servers of a third-party transfer come after the command, and rarely before.
const MAX_EARLY_OTHERS: usize = 16;

/// How long to leave connections in the queue when one cannot be accepted: descriptors or memory are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// See the module's text.
#[derive(Debug)]
pub(super) struct Listeners(Vec<Entrance>);

#[derive(Debug)]
struct Entrance {
    /// Closed before its port is given back.
    listener: TcpListener,
    port: RelayPort,
    /// Of the client.
    own: Option<Early>,
    others: VecDeque<Early>,
}

/// A connection that has come before the transfer.
#[derive(Debug)]
struct Early {
    stream: TcpStream,
    /// On whose behalf it comes.
    visitor: IpAddr,
}

impl Listeners {
    /// Registers the ports with the runtime that is running.
    pub(super) fn watch(ports: Vec<RelayPort>) -> io::Result<Self> {
        let watched = ports.into_iter().map(|mut port| {
            Ok(Entrance { listener: port.watch()?, port, own: None, others: VecDeque::new() })
        });
        Ok(Self(watched.collect::<io::Result<_>>()?))
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|entrance| entrance.port.address).collect()
    }

    /// Takes what has come before the transfer, and resets who will not be let in whatever that is.
    pub(super) fn receive(&mut self, service: &Service, client: IpAddr, cx: &mut Context<'_>) {
        let bounce = &service.policy.bounce;
        for entrance in &mut self.0 {
            while entrance.own.is_none() {
                let (stream, peer) = match entrance.listener.poll_accept(cx) {
                    Poll::Ready(Ok(accepted)) => accepted,
                    // The peer has given up in the queue.
                    Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                    // Tried again, and said, when the transfer begins.
                    Poll::Ready(Err(_)) | Poll::Pending => break,
                };
                let visitor = entrance.port.guests.visitor(peer);
                let early = Early { stream, visitor };
                if visitor.to_canonical() == client.to_canonical() {
                    entrance.own = Some(early);
                    continue;
                }
                // The most that the session can become.
                let mut strangers = 0;
                if bounce.check_peer(client, Login::User, visitor) {
                    entrance.others.push_back(early);
                    if entrance.others.len() > MAX_EARLY_OTHERS {
                        entrance.others.pop_front();
                        strangers = 1;
                    }
                } else {
                    strangers = 1;
                }
                service.lasting.relaying.strangers.fetch_add(strangers, Relaxed);
            }
        }
    }

    /// The next connection of somebody who may, with the number of the port; the client's own address comes first. Others
    /// are reset.
    pub(super) async fn accept(&mut self, state: &State, peers: &Peers) -> (TcpStream, usize) {
        let relaying = &state.service.lasting.relaying;
        while let Some((early, port)) = self.take_early() {
            if peers.accepts(early.visitor) {
                return (early.stream, port);
            }
            relaying.strangers.fetch_add(1, Relaxed);
        }
        loop {
            match poll_fn(|cx| self.poll_accept(cx)).await {
                Ok((stream, peer, port)) => {
                    relaying.short.store(false, Relaxed);
                    if peers.accepts(self.0[port].port.guests.visitor(peer)) {
                        return (stream, port);
                    }
                    relaying.strangers.fetch_add(1, Relaxed);
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if !relaying.short.swap(true, Relaxed) {
                        journal::cannot_accept(&state.service, &error);
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn take_early(&mut self) -> Option<(Early, usize)> {
        let own =
            self.0.iter_mut().enumerate().find_map(|(port, entrance)| Some((entrance.own.take()?, port)));
        own.or_else(|| {
            let mut entrances = self.0.iter_mut().enumerate();
            entrances.find_map(|(port, entrance)| Some((entrance.others.pop_front()?, port)))
        })
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr, usize)>> {
        for (port, entrance) in self.0.iter().enumerate() {
            if let Poll::Ready(accepted) = entrance.listener.poll_accept(cx) {
                return Poll::Ready(accepted.map(|(stream, peer)| (stream, peer, port)));
            }
        }
        Poll::Pending
    }
}

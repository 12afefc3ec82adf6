//! Connections of which nothing is read: what the door serves in the kernel's place at ports that speak no FTP.
use std::fmt;
use std::future::{Future as _, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Instant;

use tokio::io::{AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;

use super::approach::{ApproachError, within};
use super::arrival::{Arrival, heed_header};
use super::control_stream::ControlStream;
use super::listener::Entrance;
use super::queueing::PlaceSeeker;
use super::served_session::{Refusal, unless_draining};
use super::service::Service;
use super::session_table::{Occupation, Registration, Signal};
use super::{journal, now};
use crate::balance::{ClientSession, Placement, RealServer, Tried};
use crate::sys;

/// How such a connection ended.
#[derive(Debug)]
pub(super) enum PlainEnd {
    /// Both sides have said their last; bytes to the server and to the client.
    Whole(u64, u64),
    /// One side was lost, and the other one is told by a reset.
    Broken(io::Error),
    /// The deadline of the server's drain.
    DrainDeadline,
    /// The door's end.
    Shutdown,
}

impl fmt::Display for PlainEnd {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(..) => to.write_str("both sides closed"),
            Self::Broken(error) => write!(to, "connection lost: {error}"),
            Self::DrainDeadline => to.write_str("deadline of the drain"),
            Self::Shutdown => to.write_str("shutdown"),
        }
    }
}

/// A server that has taken the connection.
struct Taken {
    server: TcpStream,
    placement: Placement,
    leg: SocketAddr,
}

/// Serves a connection to its end.
pub(super) async fn serve(
    mut service: Arc<Service>,
    mut registration: Registration,
    mut counted: Option<ClientSession>,
    client: TcpStream,
    address: SocketAddr,
) {
    let started = now();
    let mut arrival = Arrival::direct(address);
    let mut client = ControlStream::Plain(client);
    let approached = unless_draining(&registration, async {
        if let Some(stream) = client.tcp().filter(|_| service.expects_header(address.ip())) {
            arrival = heed_header(stream, address, &registration).await?;
            if arrival.proxy.is_some() {
                counted = service.admittance.admit_client(arrival.client.ip(), now())?;
            }
        }
        if let Some(stream) = client.tcp().filter(|_| arrival.reached.is_none()) {
            arrival.reached = stream.local_addr().ok();
        }
        Ok::<_, Refusal>(approach(&mut service, &arrival, &client, &registration).await?)
    })
    .await
    .unwrap_or(Err(Refusal::Approach(ApproachError::Draining)));
    registration.has_begun();
    registration.set_deadline(None);
    let taken = match approached {
        Ok(taken) => taken,
        // Nothing can be said where nobody knows what is spoken: the connection closes.
        Err(Refusal::Entry(refusal)) => return journal::refused(&service, arrival.client, &refusal),
        Err(Refusal::Approach(refusal)) => return journal::refused(&service, arrival.client, &refusal),
        Err(Refusal::Arrival(refusal)) => {
            service.lasting.proxy_header_failures.fetch_add(1, Relaxed);
            return journal::refused(&service, address, &refusal);
        }
        Err(Refusal::Handshake(_) | Refusal::Gsi(_)) => return,
    };
    let Some(mut client) = client.take_plain() else { return };
    let Taken { mut server, placement, leg } = taken;
    let real = Arc::clone(placement.real_server());
    registration.set_occupation(Occupation::Unread);
    // What is cut must not look whole, even if the door is killed.
    for stream in [&client, &server] {
        let _ = sys::data_socket::reset_on_close(stream);
    }
    let end = copy(&mut client, &mut server, &registration, &real).await;
    match &end {
        PlainEnd::Whole(to_server, to_client) => {
            real.stats.relayed_to_server.fetch_add(*to_server, Relaxed);
            real.stats.relayed_to_client.fetch_add(*to_client, Relaxed);
        }
        PlainEnd::DrainDeadline => real.count_ended_by_drain(),
        PlainEnd::Broken(_) | PlainEnd::Shutdown => {}
    }
    if matches!(end, PlainEnd::Whole(..)) {
        for stream in [&client, &server] {
            // Both have had their FIN already.
            let _ = sys::data_socket::finish(stream);
        }
    }
    journal::plain_ended(
        &service,
        &real,
        arrival.client,
        leg,
        &end,
        now().saturating_duration_since(started),
    );
    drop(counted);
}

/// Chooses a server and connects to the port of it that the client has come to; the next one if that was in vain.
async fn approach(
    service: &mut Arc<Service>,
    arrival: &Arrival,
    stream: &ControlStream,
    registration: &Registration,
) -> Result<Taken, ApproachError> {
    let client = arrival.client;
    let address = client.ip().to_canonical();
    let mut seeker = PlaceSeeker::new(Arc::clone(service), Entrance::Plain, stream, address, registration);
    let port = stream.tcp().and_then(|stream| stream.local_addr().ok()).map_or(0, |at| at.port());
    let mut tried = Tried::default();
    loop {
        let placement = seeker.place(&mut tried).await?;
        service.clone_from(&seeker.service);
        let server = placement.real_server();
        match connect(service, &placement, port, arrival, registration).await {
            Ok((stream, leg)) => {
                registration.set_server(server);
                server.stats.sessions.fetch_add(1, Relaxed);
                return Ok(Taken { server: stream, placement, leg });
            }
            Err(error) if sys::socket::is_local_shortage(&error) => return Err(ApproachError::Local(error)),
            Err(error) => {
                let reason = format!("cannot connect to port {port}: {error}");
                server.stats.connect_failures.fetch_add(1, Relaxed);
                journal::passed_over(service, server, client, &reason);
                // Of another port its checks know nothing.
                if server.address().port() == port {
                    journal::health(service, server, server.handle_greeting(now(), Err(reason)));
                }
            }
        }
        tried.insert(placement.index());
    }
}

async fn connect(
    service: &Service,
    placement: &Placement,
    port: u16,
    arrival: &Arrival,
    registration: &Registration,
) -> io::Result<(TcpStream, SocketAddr)> {
    let (at, limit) = (placement.real_server().address(), service.timeouts.connect);
    // The sorry server has a port of its own.
    let is_real = placement.index() < service.virtual_server.real_servers().len();
    let at = if is_real { SocketAddr::new(at.ip(), port) } else { at };
    let connected = within(registration, limit, TcpStream::connect(at)).await;
    let mut stream = connected.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))?;
    let leg = stream.local_addr()?;
    sys::socket::tune_control_connection(&stream)?;
    if let Some(version) = service.proxy_protocol.get(placement.index()).copied().flatten() {
        let header = arrival.header().write(version);
        let sent = within(registration, limit, stream.write_all(&header)).await;
        sent.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))?;
    }
    Ok((stream, leg))
}

/// Moves bytes until both sides have said their last, one is lost, or somebody ends it.
async fn copy(
    client: &mut TcpStream,
    server: &mut TcpStream,
    registration: &Registration,
    real: &RealServer,
) -> PlainEnd {
    let mut copying = pin!(copy_bidirectional(client, server));
    let mut is_drained = false;
    poll_fn(|cx| {
        registration.entry.set_waker(cx.waker());
        if let Poll::Ready(copied) = copying.as_mut().poll(cx) {
            return Poll::Ready(match copied {
                Ok((to_server, to_client)) => PlainEnd::Whole(to_server, to_client),
                Err(error) => PlainEnd::Broken(error),
            });
        }
        if registration.signal() == Signal::Shutdown {
            return Poll::Ready(PlainEnd::Shutdown);
        }
        is_drained |= registration.take_server_change();
        if is_drained && is_over(real, now()) {
            return Poll::Ready(PlainEnd::DrainDeadline);
        }
        Poll::Pending
    })
    .await
}

fn is_over(real: &RealServer, now: Instant) -> bool {
    real.drain().is_some_and(|drain| drain.is_over(now))
}

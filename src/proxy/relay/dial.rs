//! Connecting to whoever waits for a data connection of the door's.
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::ports::LivePorts;
use crate::sys::data_socket;

/// Connects from `source`, under which the peer knows the session, whatever port that has. `client` is whose session it
/// is.
pub(super) async fn dial(
    client: IpAddr,
    source: SocketAddr,
    target: SocketAddr,
    live: &LivePorts,
    limit: Duration,
) -> Result<TcpStream, String> {
    let target = SocketAddr::new(target.ip().to_canonical(), target.port());
    let failed = |error: &dyn std::fmt::Display| format!("cannot connect to {target}: {error}");
    let socket = open(client, source, target, live).map_err(|error| failed(&error))?;
    match timeout(limit, socket.connect(target)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(failed(&format_args!("no answer within {limit:?}"))),
    }
}

fn open(
    client: IpAddr,
    mut source: SocketAddr,
    target: SocketAddr,
    live: &LivePorts,
) -> io::Result<TcpSocket> {
    source.set_port(0);
    let socket = if source.is_ipv4() == target.is_ipv4() {
        let guests = live.guests(target);
        let socket = data_socket::from_source(source, guests.is_some())?;
        if let Some(guests) = guests
            && let Some(own) = socket.local_addr()?.as_socket()
        {
            guests.expect(own, client);
        }
        socket
    } else {
        data_socket::towards(target)?
    };
    Ok(TcpSocket::from_std_stream(socket.into()))
}

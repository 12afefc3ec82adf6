//! Where a session's data connections come from: a passive port, a delayed one, or an address of the client's.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::cli::demo::address::comma_form;

/// How long a data connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Any port serves to ask the routing table; this one is nobody's (RFC 863).
const DISCARD: u16 = 9;
/// Data connections that the client may open before the server looks.
const BACKLOG: u32 = 64;

/// Which command asked for the passive port, and so the form of the answer.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// PASV
    Passive,
    /// EPSV
    Extended,
    /// SPAS
    Striped,
    /// SPAS 1: as SPAS, with the address form of RFC 2428
    StripedExtended,
}

impl Form {
    /// The reply: 22z at once, 12z when it was delayed until the transfer.
    pub(super) fn reply(self, address: SocketAddrV4, delayed: bool) -> String {
        let class = if delayed { '1' } else { '2' };
        let (ip, port) = (address.ip(), address.port());
        match self {
            Self::Passive => format!("{class}27 Entering Passive Mode ({})", comma_form(address)),
            Self::Extended => format!("{class}29 Entering Extended Passive Mode (|||{port}|)"),
            Self::Striped => striped(class, &comma_form(address)),
            Self::StripedExtended => striped(class, &format!("|1|{ip}|{port}|")),
        }
    }
}

fn striped(class: char, line: &str) -> String {
    format!("{class}29-Entering Striped Passive Mode.\r\n {line}\r\n{class}29 End")
}

enum Endpoint {
    None,
    Passive(TcpListener),
    Delayed(Form),
    Active(SocketAddrV4),
}

/// Data connections of one session; always from and to the server's own address.
pub(super) struct DataChannel {
    host: Ipv4Addr,
    endpoint: Endpoint,
    /// connections of MODE E left open by the last transfer
    kept: Vec<TcpStream>,
}

impl DataChannel {
    pub(super) fn new(host: Ipv4Addr) -> Self {
        Self { host, endpoint: Endpoint::None, kept: Vec::new() }
    }

    /// Opens a passive port in place of what was agreed before.
    pub(super) fn listen(&mut self) -> io::Result<SocketAddrV4> {
        self.forget();
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((self.host, 0)))?;
        let listener = socket.listen(BACKLOG)?;
        let port = listener.local_addr()?.port();
        self.endpoint = Endpoint::Passive(listener);
        Ok(SocketAddrV4::new(self.host, port))
    }

    /// Will listen when the transfer comes.
    pub(super) fn listen_later(&mut self, form: Form) {
        self.forget();
        self.endpoint = Endpoint::Delayed(form);
    }

    /// Opens a delayed passive port, if there is one; gives the 12z reply that must go out first.
    pub(super) fn open_delayed(&mut self) -> io::Result<Option<String>> {
        let Endpoint::Delayed(form) = self.endpoint else { return Ok(None) };
        Ok(Some(form.reply(self.listen()?, true)))
    }

    /// Will connect to the client's address.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` for a well-known port or an address of another machine: the demo is no tool for bounce
    /// attacks (RFC 2577 §3).
    pub(super) fn dial(&mut self, address: SocketAddrV4) -> io::Result<()> {
        if address.port() < 1024 || !is_of_this_machine(*address.ip()) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.forget();
        self.endpoint = Endpoint::Active(address);
        Ok(())
    }

    /// Forgets what was agreed.
    pub(super) fn forget(&mut self) {
        self.endpoint = Endpoint::None;
        self.kept.clear();
    }

    /// Keeps connections for the next transfer (MODE E).
    pub(super) fn keep(&mut self, connections: Vec<TcpStream>) {
        self.kept = connections;
    }

    /// Connections of the last transfer.
    pub(super) fn take_kept(&mut self) -> Vec<TcpStream> {
        std::mem::take(&mut self.kept)
    }

    pub(super) fn has_kept(&self) -> bool {
        !self.kept.is_empty()
    }

    /// The passive port, where that is what was agreed.
    pub(super) fn listener(&self) -> Option<&TcpListener> {
        match &self.endpoint {
            Endpoint::Passive(listener) => Some(listener),
            Endpoint::None | Endpoint::Delayed(_) | Endpoint::Active(_) => None,
        }
    }

    /// `count` new connections; one where the client dials.
    pub(super) async fn connect(&self, count: usize) -> io::Result<Vec<TcpStream>> {
        let connections = async {
            let mut connections = Vec::new();
            match &self.endpoint {
                Endpoint::Passive(listener) => connections.push(listener.accept().await?.0),
                Endpoint::Active(address) => {
                    for _ in 0..count.max(1) {
                        connections.push(self.connect_from_own_address(*address).await?);
                    }
                }
                Endpoint::None | Endpoint::Delayed(_) => return Err(io::ErrorKind::NotConnected.into()),
            }
            Ok(connections)
        };
        timeout(CONNECT_TIMEOUT, connections).await?
    }

    async fn connect_from_own_address(&self, address: SocketAddrV4) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((self.host, 0)))?;
        socket.connect(SocketAddr::V4(address)).await
    }
}

/// Towards an address of its own the kernel chooses that address as the source. Nothing is sent: it is UDP. (Binding
/// would prove nothing where `net.ipv4.ip_nonlocal_bind` is set, as it is on many balancers.)
fn is_of_this_machine(ip: Ipv4Addr) -> bool {
    let towards = || -> io::Result<SocketAddr> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((ip, DISCARD))?;
        socket.local_addr()
    };
    ip.is_loopback() || (!ip.is_unspecified() && towards().is_ok_and(|source| source.ip() == IpAddr::V4(ip)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_have_the_form_of_globus() {
        let address = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 11), 256);
        let table = [
            (Form::Passive, false, "227 Entering Passive Mode (127,0,0,11,1,0)"),
            (Form::Passive, true, "127 Entering Passive Mode (127,0,0,11,1,0)"),
            (Form::Extended, true, "129 Entering Extended Passive Mode (|||256|)"),
            (Form::Striped, false, "229-Entering Striped Passive Mode.\r\n 127,0,0,11,1,0\r\n229 End"),
            (
                Form::StripedExtended,
                false,
                "229-Entering Striped Passive Mode.\r\n |1|127.0.0.11|256|\r\n229 End",
            ),
        ];
        for (form, delayed, expected) in table {
            assert_eq!(form.reply(address, delayed), expected);
        }
    }

    #[test]
    fn other_machines_and_well_known_ports_are_not_dialled() {
        let mut channel = DataChannel::new(Ipv4Addr::LOCALHOST);
        for refused in
            ["127.0.0.1:25", "192.0.2.1:5000", "0.0.0.0:5000", "255.255.255.255:5000", "224.0.0.1:5000"]
        {
            assert!(channel.dial(refused.parse().unwrap()).is_err(), "{refused}");
        }
        assert!(channel.dial("127.0.0.12:5000".parse().unwrap()).is_ok());
    }
}

//! IP packets with one host by one link, past the kernel's own IP (packet(7)): what comes from an address that may be this host's own.
#![allow(unsafe_code, reason = "no crate of ours knows packet addresses and socket filters")]
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::io::retry_on_intr;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socket_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const TCP: u32 = 6;

/// Loads of a word and of a byte from a place in the packet, a jump on a number, and the end (`linux/filter.h`).
const LOAD_WORD: u16 = 0x20;
const LOAD_BYTE: u16 = 0x30;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// A socket that hears TCP from one address that comes in by one link.
#[derive(Debug)]
pub struct PacketConversation {
    socket: AsyncFd<OwnedFd>,
    to: libc::sockaddr_ll,
}

impl PacketConversation {
    /// By the link of this index, to this MAC address, with whoever calls himself `peer`.
    ///
    /// # Errors
    ///
    /// CAP_NET_RAW is missing, or there is no such link.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn open(index: u32, mac: [u8; 6], peer: IpAddr) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Without a protocol nothing is received before the filter is there.
        let socket = socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, None)?;
        filter(&socket, peer)?;
        let mut address = [0; 8];
        address[..6].copy_from_slice(&mac);
        let to = libc::sockaddr_ll {
            sll_family: AddressFamily::PACKET.as_raw(),
            sll_protocol: if peer.is_ipv4() { IPV4 } else { IPV6 }.to_be(),
            sll_ifindex: index.cast_signed(),
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 6,
            sll_addr: address,
        };
        let length = libc::socklen_t::try_from(size_of_val(&to)).unwrap_or_default();
        // SAFETY: the descriptor is open; the kernel reads the address, which lives, by its size.
        let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const to).cast(), length) };
        if bound < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it is open, and the AsyncFd owns it alone: nobody closes it or puts another in its place before that is gone.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        Ok(Self { socket: socket.map_err(io::Error::from)?, to })
    }

    /// Sends an IP packet, with the link's MAC address as its source.
    ///
    /// # Errors
    ///
    /// The link is down, or its queue is full.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        let length = libc::socklen_t::try_from(size_of_val(&self.to)).unwrap_or_default();
        // SAFETY: the descriptor is open; the kernel reads the packet and the address, which live, by their sizes.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                (&raw const self.to).cast(),
                length,
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The next IP packet, as far as it fits.
    ///
    /// # Errors
    ///
    /// The link is down.
    pub async fn receive<'b>(&self, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
        let length = self
            .socket
            .async_io(Interest::READABLE, |socket| {
                let (_, length) = retry_on_intr(|| recv(socket, &mut *buffer, RecvFlags::DONTWAIT))?;
                Ok(length)
            })
            .await?;
        Ok(&buffer[..length.min(buffer.len())])
    }
}

/// So that a busy link wakes nobody: TCP that comes from the address, whose place in the packet is always the same.
fn filter(socket: &OwnedFd, peer: IpAddr) -> io::Result<()> {
    let (protocol, source, octets) = match peer {
        IpAddr::V4(peer) => (9, 12, peer.octets().to_vec()),
        IpAddr::V6(peer) => (6, 8, peer.octets().to_vec()),
    };
    let words = octets.as_chunks::<4>().0.iter().map(|word| u32::from_be_bytes(*word));
    let checks = std::iter::once((LOAD_BYTE, protocol, TCP))
        .chain((source..).step_by(4).zip(words).map(|(at, word)| (LOAD_WORD, at, word)));
    let mut program = Vec::new();
    for (load, at, expected) in checks {
        program.push(libc::sock_filter { code: load, jt: 0, jf: 0, k: at });
        // Over the refusal that follows.
        program.push(libc::sock_filter { code: JUMP_IF_EQUAL, jt: 1, jf: 0, k: expected });
        program.push(libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: 0 });
    }
    program.push(libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: u32::MAX });
    let whole = libc::sock_fprog {
        len: u16::try_from(program.len()).unwrap_or_default(),
        filter: program.as_mut_ptr(),
    };
    let length = libc::socklen_t::try_from(size_of_val(&whole)).unwrap_or_default();
    // SAFETY: the descriptor is open; the kernel copies as many instructions as are there.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const whole).cast(),
            length,
        )
    };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

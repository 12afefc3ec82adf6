//! What raw sockets of IPv6 tell beside the payload: their header is not handed over, but asked for by control messages
//! (RFC 3542 section 4).
#![allow(unsafe_code, reason = "no crate of ours reads these control messages")]
use std::io;
use std::mem::MaybeUninit;
use std::net::Ipv6Addr;
use std::os::fd::{AsFd, AsRawFd as _};

/// Bytes for the two messages that were asked for, in words, as which they are aligned.
const CONTROL: usize = 16;

/// Size, level, type.
const CONTROL_HEADER: usize = size_of::<usize>() + 8;

/// What has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Datagram {
    pub(super) source: Ipv6Addr,
    /// As the packet says; nothing if the kernel did not tell.
    pub(super) destination: Option<Ipv6Addr>,
    pub(super) hop_limit: Option<u8>,
    /// Bytes in the buffer; nothing if it was too small.
    pub(super) length: Option<usize>,
}

/// One datagram; `WouldBlock` if there is none.
pub(super) fn receive(socket: &impl AsFd, buffer: &mut [u8]) -> io::Result<Datagram> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut source = MaybeUninit::<libc::sockaddr_in6>::zeroed();
    let mut control = [0_u64; CONTROL];
    let message = MaybeUninit::<libc::msghdr>::zeroed();
    // SAFETY: its fields are numbers and pointers, for which zero is a value.
    let mut message = unsafe { message.assume_init() };
    message.msg_name = source.as_mut_ptr().cast();
    message.msg_namelen = libc::socklen_t::try_from(size_of::<libc::sockaddr_in6>()).unwrap_or_default();
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: the descriptor is open as long as it is borrowed. The kernel writes into the buffer, the address and the control
    // messages no more than the sizes beside their pointers, which are those of what lives here until after the call.
    let length = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let Ok(length) = usize::try_from(length) else { return Err(io::Error::last_os_error()) };
    // SAFETY: every field is a number or an array of them, for which zero is a value; the kernel has written over them.
    let source = unsafe { source.assume_init() };
    let bytes: Vec<u8> = control.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let told = bytes.get(..message.msg_controllen as _).unwrap_or_default();
    let (destination, hop_limit) = read_control(told);
    Ok(Datagram {
        source: source.sin6_addr.s6_addr.into(),
        destination,
        hop_limit,
        length: (message.msg_flags & libc::MSG_TRUNC == 0).then_some(length),
    })
}

/// Destination and hop limit of control messages as cmsg(3) lays them out: each begins at a multiple of the size of a word.
fn read_control(mut bytes: &[u8]) -> (Option<Ipv6Addr>, Option<u8>) {
    let (mut destination, mut hop_limit) = (None, None);
    while let Some((length, level, kind)) = control_header(bytes) {
        let Some(data) = bytes.get(CONTROL_HEADER..length) else { break };
        match (level, kind) {
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                destination = data.first_chunk::<16>().map(|address| Ipv6Addr::from(*address));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                hop_limit = data.first_chunk().and_then(|number| i32::from_ne_bytes(*number).try_into().ok());
            }
            _ => {}
        }
        bytes = bytes.get(length.next_multiple_of(size_of::<usize>())..).unwrap_or_default();
    }
    (destination, hop_limit)
}

fn control_header(bytes: &[u8]) -> Option<(usize, i32, i32)> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (level, rest) = rest.split_first_chunk()?;
    let kind = rest.first_chunk()?;
    Some((usize::from_ne_bytes(*length), i32::from_ne_bytes(*level), i32::from_ne_bytes(*kind)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn control(length: usize, kind: i32, data: &[u8]) -> Vec<u8> {
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&libc::IPPROTO_IPV6.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(size_of::<usize>()), 0);
        bytes
    }

    #[test]
    fn destination_and_hop_limit_are_found_among_others_in_any_order() {
        let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
        let mut information = group.octets().to_vec();
        information.extend_from_slice(&7_u32.to_ne_bytes());
        let information = control(CONTROL_HEADER + 20, libc::IPV6_PKTINFO, &information);
        let limit = control(CONTROL_HEADER + 4, libc::IPV6_HOPLIMIT, &255_i32.to_ne_bytes());
        let class = control(CONTROL_HEADER + 4, libc::IPV6_TCLASS, &192_i32.to_ne_bytes());
        let all = [class.clone(), information.clone(), limit.clone()].concat();
        assert_eq!(read_control(&all), (Some(group), Some(255)));
        assert_eq!(read_control(&[limit.clone(), information].concat()), (Some(group), Some(255)));
        assert_eq!(read_control(&class), (None, None));
        assert_eq!(read_control(&limit[..limit.len() - 8]), (None, None), "cut short");
        assert_eq!(read_control(&control(0, libc::IPV6_HOPLIMIT, &[])), (None, None), "shorter than itself");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(bytes: Vec<u8>, length: u16) {
            read_control(&bytes);
            read_control(&control(length.into(), libc::IPV6_PKTINFO, &bytes));
        }
    }
}

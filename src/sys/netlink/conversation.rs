//! Requests and their answers, whatever the family.
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{Protocol, RecvFlags, SendFlags, SocketFlags, sendto};

use super::NetlinkError;
use crate::proto::netlink::FormatError;
use crate::proto::netlink::message::{Answer, Confirm, Messages, Request};
use crate::sys::socket_option;

/// The kernel has answered before the request is sent; what is waited for is memory.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Requests of a batch that go at once: if all are refused, their answers still fit in the socket's buffer.
const MAX_BATCH: usize = 64;

/// The largest part of a list that the kernel makes.
const BUFFER: usize = 32 * 1024;

/// How often a list is read that has changed meanwhile.
const TRIES: usize = 3;

/// The kernel itself, as an address.
const KERNEL: SocketAddrNetlink = SocketAddrNetlink::new(0, 0);

/// A socket on which each request has its answer before the next one.
#[derive(Debug)]
pub(super) struct Conversation {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

/// One of a batch that was refused.
#[derive(Debug)]
pub struct Refused {
    /// Its place in the batch.
    pub position: usize,
    /// Why.
    pub error: NetlinkError,
}

/// What a list is worth that has changed each time it was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unsettled {
    /// It is taken as it was the last time.
    Taken,
    /// Nothing.
    Refused,
}

impl Conversation {
    /// Opens one in the network namespace of the thread.
    pub(super) fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let socket = super::open(protocol, 0, SocketFlags::empty())?;
        // Kernels before 4.12 have no sentences, and repeat the request.
        let _ = socket_option::set(&socket, libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, 1);
        let _ = socket_option::set(&socket, libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1);
        set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_WITHIN))?;
        Ok(Self { socket, sequence: 0, buffer: vec![0; BUFFER] })
    }

    /// Has something done.
    pub(super) fn request(&mut self, request: &Request) -> Result<(), NetlinkError> {
        self.ask(request, Confirm::Yes, |_| Ok(()))
    }

    /// Has one thing done after the other, whether or not those before were refused, and returns which were. That costs far
    /// less than as many requests: only the last one of some dozens is confirmed.
    pub(super) fn batch(&mut self, requests: &[Request]) -> Result<Vec<Refused>, NetlinkError> {
        let mut refused = Vec::new();
        for (number, part) in requests.chunks(MAX_BATCH).enumerate() {
            self.send_batch(part, number * MAX_BATCH, &mut refused)?;
        }
        Ok(refused)
    }

    fn send_batch(
        &mut self,
        requests: &[Request],
        before: usize,
        refused: &mut Vec<Refused>,
    ) -> Result<(), NetlinkError> {
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        for (number, request) in requests.iter().enumerate() {
            self.sequence = self.sequence.wrapping_add(1);
            let confirm = if number + 1 == requests.len() { Confirm::Yes } else { Confirm::No };
            request.write(&mut bytes, self.sequence, confirm);
        }
        self.send(&bytes)?;
        loop {
            let received = self.receive()?;
            for message in Messages::new(received) {
                let message = message?;
                let position = usize::try_from(message.sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
                if position >= requests.len() {
                    continue;
                }
                if let Answer::Refused(refusal) = message.answer()? {
                    refused.push(Refused { position: before + position, error: refusal.into() });
                }
                if position + 1 == requests.len() {
                    return Ok(());
                }
            }
        }
    }

    /// All that a question has for an answer, which `read` makes something of, or nothing.
    pub(super) fn list<T>(
        &mut self,
        question: &Request,
        unsettled: Unsettled,
        read: impl Fn(&[u8]) -> Result<Option<T>, FormatError>,
    ) -> Result<Vec<T>, NetlinkError> {
        let mut list = Vec::new();
        for _ in 0..TRIES {
            list.clear();
            let asked = self.ask(question, Confirm::No, |data| {
                list.extend(read(data)?);
                Ok(())
            });
            match asked {
                Err(NetlinkError::Inconsistent) => {}
                asked => return asked.map(|()| list),
            }
        }
        match unsettled {
            Unsettled::Taken => Ok(list),
            Unsettled::Refused => Err(NetlinkError::Inconsistent),
        }
    }

    /// What a question has for an answer, if it is what `read` reads.
    pub(super) fn one<T>(
        &mut self,
        question: &Request,
        read: impl Fn(&[u8]) -> Result<Option<T>, FormatError>,
    ) -> Result<Option<T>, NetlinkError> {
        let mut found = None;
        self.ask(question, Confirm::Yes, |data| {
            found = read(data)?;
            Ok(())
        })?;
        Ok(found)
    }

    /// Sends a request and takes the data of its answer up to the end, which comes even if something of it is lost or cannot be
    /// read: while a list goes on the kernel begins no other.
    fn ask(
        &mut self,
        request: &Request,
        confirm: Confirm,
        mut take: impl FnMut(&[u8]) -> Result<(), NetlinkError>,
    ) -> Result<(), NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let mut bytes = Vec::new();
        request.write(&mut bytes, sequence, confirm);
        self.send(&bytes)?;
        let mut reading = Reading { sequence, fault: None, is_inconsistent: false };
        loop {
            let received = match self.receive() {
                Ok(received) => received,
                Err(error @ (NetlinkError::Overflow | NetlinkError::CutShort)) => {
                    reading.fault.get_or_insert(error);
                    continue;
                }
                Err(error) => return Err(reading.fault.unwrap_or(error)),
            };
            if let Some(end) = reading.read(received, &mut take) {
                return end;
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<(), NetlinkError> {
        retry_on_intr(|| sendto(&self.socket, bytes, SendFlags::empty(), &KERNEL))?;
        Ok(())
    }

    /// One datagram of the kernel.
    fn receive(&mut self) -> Result<&[u8], NetlinkError> {
        let length = loop {
            match super::receive(&self.socket, &mut self.buffer, RecvFlags::empty()) {
                Ok(Some(length)) => break length,
                Ok(None) => {}
                Err(Errno::AGAIN) => return Err(NetlinkError::Silent),
                Err(Errno::NOBUFS) => return Err(NetlinkError::Overflow),
                Err(errno) => return Err(errno.into()),
            }
        };
        self.buffer.get(..length).ok_or(NetlinkError::CutShort)
    }
}

/// How far an answer is.
struct Reading {
    /// Of the request. What else comes answers one that was given up.
    sequence: u32,
    /// The first thing that was wrong.
    fault: Option<NetlinkError>,
    is_inconsistent: bool,
}

impl Reading {
    /// Reads a datagram, and says how it ended if that was the last.
    fn read(
        &mut self,
        received: &[u8],
        take: &mut impl FnMut(&[u8]) -> Result<(), NetlinkError>,
    ) -> Option<Result<(), NetlinkError>> {
        for message in Messages::new(received) {
            let answer = message.and_then(|message| {
                if message.sequence != self.sequence {
                    return Ok(Answer::Nothing);
                }
                self.is_inconsistent |= message.is_inconsistent();
                message.answer()
            });
            let taken = match answer {
                Ok(Answer::Data(data)) => take(data),
                Ok(Answer::Done) => return Some(self.end()),
                Ok(Answer::Refused(refusal)) => return Some(Err(refusal.into())),
                Ok(Answer::Overrun) => Err(NetlinkError::Overflow),
                Ok(Answer::Nothing) => Ok(()),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = taken {
                self.fault.get_or_insert(error);
            }
        }
        None
    }

    fn end(&mut self) -> Result<(), NetlinkError> {
        match self.fault.take() {
            Some(fault) => Err(fault),
            None if self.is_inconsistent => Err(NetlinkError::Inconsistent),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::netlink::link::{self, Link};

    /// A message: length, type, flags, sequence number, port, and what follows.
    fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(16 + payload.len()).unwrap();
        let head = [length.to_ne_bytes(), [0; 4], 7_u32.to_ne_bytes(), [0; 4]].concat();
        let mut bytes = [&head[..], payload].concat();
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes
    }

    #[test]
    fn an_answer_is_read_to_its_end_and_the_first_fault_is_what_counts() {
        const FAULT: FormatError = FormatError::Missing("something");
        let (data, strange, overrun) = (message(28, 2, &[1]), message(28, 2, &[9]), message(4, 0, &[]));
        let (changed, done) = (message(28, 0x12, &[1]), message(3, 2, &[0; 4]));
        let refused = message(2, 0x100, &[(-3_i32).to_ne_bytes(), [0; 4]].concat());
        type Row<'r> = (&'r [&'r [u8]], Option<Result<(), NetlinkError>>);
        let table: [Row<'_>; 8] = [
            (&[&data], None),
            (&[&data, &done], Some(Ok(()))),
            (&[&changed, &done], Some(Err(NetlinkError::Inconsistent))),
            (&[&data, &overrun, &done], Some(Err(NetlinkError::Overflow))),
            (&[&strange, &overrun, &changed, &done], Some(Err(FAULT.into()))),
            (&[&data[..10], &done], None),
            (&[&data, &strange[..10]], None),
            (&[&data, &refused], Some(Err(NetlinkError::of(Errno::SRCH)))),
        ];
        for (number, (parts, expected)) in table.into_iter().enumerate() {
            let mut reading = Reading { sequence: 7, fault: None, is_inconsistent: false };
            // Parts of a datagram begin at multiples of four bytes.
            let datagram: Vec<u8> =
                parts.iter().flat_map(|part| [part, &[0; 4][..(4 - part.len() % 4) % 4]].concat()).collect();
            let end =
                reading.read(&datagram, &mut |data| if data == [9] { Err(FAULT.into()) } else { Ok(()) });
            assert_eq!(end, expected, "{number}");
            let mut other = Reading { sequence: 8, fault: None, is_inconsistent: false };
            assert_eq!(other.read(&datagram, &mut |_| panic!("of another request")), None, "{number}");
        }
    }

    #[test]
    fn a_list_that_does_not_fit_is_an_error_and_not_a_short_list() {
        let mut conversation = Conversation::open(None).unwrap();
        let mut links = |buffer| {
            conversation.buffer.resize(buffer, 0);
            conversation.list(&link::dump(), Unsettled::Refused, Link::read)
        };
        assert_eq!(links(100), Err(NetlinkError::CutShort));
        // The kernel has come to the end of the one before.
        assert!(!links(BUFFER).unwrap().is_empty());
    }
}

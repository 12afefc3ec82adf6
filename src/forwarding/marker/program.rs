//! The program of the marker, and the assembler that writes it: some fifty instructions are less than a compiler and an object file.
//!
//! It reads by offsets from the IP header, so that links with and without Ethernet, and VLANs, look the same to it.
use std::ffi::CStr;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use self::assembler::{Assembler, Helper, Label, Register, Size};
use crate::sys::bpf::Instruction;

mod assembler;
#[cfg(test)]
mod tests;

/// As Cargo.toml has it. None of the helpers is for the GPL only.
pub(super) const LICENCE: &CStr = c"Apache-2.0 OR MIT";

/// The fields of `struct __sk_buff` that are used.
const MARK: i16 = 8;
const PROTOCOL: i16 = 16;

/// Types of Ethernet as the kernel has them there, in the order of the network.
const IPV4: u16 = 0x0800_u16.to_be();
const IPV6: u16 = 0x86dd_u16.to_be();
/// In the third word of IPv4's header: the place of a fragment, which is 0 of the first one and of what is none.
const FRAGMENT_OFFSET: u16 = 0x1fff_u16.to_be();
const TCP: i32 = 6;
const HEADER_V4: i32 = 20;
const HEADER_V6: i32 = 40;
/// What an address of IPv4 has before it as one of IPv6, behind ten zeros.
const MAPPED: i32 = 0xffff;

/// `BPF_HDR_START_NET`.
const FROM_NETWORK_HEADER: i32 = 1;

/// The packet goes on to the next filter, as if there was none here (`TC_ACT_UNSPEC`).
const GO_ON: i32 = -1;

/// The key, at the end of the stack, in the order of [`super::MarkKey::bytes`].
const CLIENT: i16 = -40;
const ADDRESS: i16 = -24;
const PORT: i16 = -8;
/// An IP header.
const HEADER: i16 = -80;

/// What marks packets by this table.
pub(super) fn assemble(map: BorrowedFd<'_>) -> Vec<Instruction> {
    use Register::{Argument1, Argument2, Frame, Kept1, Kept2, Result};

    let mut to = Assembler::default();
    let (v4, port, found, end) = (to.label(), to.label(), to.label(), to.label());
    let packet = Kept1;
    to.copy(packet, Argument1);
    for at in [CLIENT, CLIENT + 8, ADDRESS, ADDRESS + 8, PORT] {
        to.store_number(Size::Double, Frame, at, 0);
    }
    to.load(Size::Word, Kept2, packet, PROTOCOL);
    to.jump_if_equal(Kept2, i32::from(IPV4), v4);
    to.jump_unless_equal(Kept2, i32::from(IPV6), end);

    // Whose header is followed by others is left alone: TCP that has any is not seen in practice.
    load_packet(&mut to, packet, HEADER, HEADER_V6, end);
    to.load(Size::Byte, Kept2, Frame, HEADER + 6);
    to.jump_unless_equal(Kept2, TCP, end);
    for (from, at) in [(8, CLIENT), (16, CLIENT + 8), (24, ADDRESS), (32, ADDRESS + 8)] {
        to.load(Size::Double, Kept2, Frame, HEADER + from);
        to.store(Size::Double, Frame, at, Kept2);
    }
    to.set(Kept2, HEADER_V6);
    to.jump(port);

    to.place(v4);
    load_packet(&mut to, packet, HEADER, HEADER_V4, end);
    to.load(Size::Byte, Kept2, Frame, HEADER + 9);
    to.jump_unless_equal(Kept2, TCP, end);
    to.load(Size::Half, Kept2, Frame, HEADER + 6);
    to.and(Kept2, i32::from(FRAGMENT_OFFSET));
    to.jump_unless_equal(Kept2, 0, end);
    for (from, at) in [(12, CLIENT), (16, ADDRESS)] {
        to.load(Size::Word, Kept2, Frame, HEADER + from);
        to.store(Size::Word, Frame, at + 12, Kept2);
        to.store_number(Size::Half, Frame, at + 10, MAPPED);
    }
    // The length of the header, in words of four bytes.
    to.load(Size::Byte, Kept2, Frame, HEADER);
    to.and(Kept2, 0xf);
    to.shift_left(Kept2, 2);

    to.place(port);
    to.add(Kept2, 2);
    to.copy(Argument2, Kept2);
    load_packet_at(&mut to, packet, PORT, 2, end);

    look_up(&mut to, map);
    to.jump_unless_equal(Result, 0, found);
    for at in [CLIENT, CLIENT + 8] {
        to.store_number(Size::Double, Frame, at, 0);
    }
    look_up(&mut to, map);
    to.jump_if_equal(Result, 0, end);
    to.place(found);
    to.load(Size::Word, Kept2, Result, 0);
    to.store(Size::Word, packet, MARK, Kept2);
    to.place(end);
    to.set(Result, GO_ON);
    to.exit();
    to.finish()
}

/// So many bytes from the beginning of the IP header on.
fn load_packet(to: &mut Assembler, packet: Register, at: i16, length: i32, otherwise: Label) {
    to.set(Register::Argument2, 0);
    load_packet_at(to, packet, at, length, otherwise);
}

/// From as far behind it on as the second argument says.
fn load_packet_at(to: &mut Assembler, packet: Register, at: i16, length: i32, otherwise: Label) {
    to.copy(Register::Argument1, packet);
    to.copy(Register::Argument3, Register::Frame);
    to.add(Register::Argument3, i32::from(at));
    to.set(Register::Argument4, length);
    to.set(Register::Argument5, FROM_NETWORK_HEADER);
    to.call(Helper::LoadPacket);
    to.jump_unless_equal(Register::Result, 0, otherwise);
}

fn look_up(to: &mut Assembler, map: BorrowedFd<'_>) {
    to.set_map(Register::Argument1, map.as_raw_fd());
    to.copy(Register::Argument2, Register::Frame);
    to.add(Register::Argument2, i32::from(CLIENT));
    to.call(Helper::LookUp);
}

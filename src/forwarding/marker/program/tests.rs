//! The program by a machine of its own: what it does to packets that no kernel would send.
use std::collections::HashMap;
use std::os::fd::AsFd as _;

use super::*;
use crate::forwarding::marker::MarkKey;

/// Where the machine has the stack's end, the packet's description and values of the table.
const STACK: u64 = 0x1_0000;
const DESCRIPTION: u64 = 0x2_0000;
const VALUE: u64 = 0x3_0000;

/// What the program may see and change.
struct Machine<'p> {
    packet: &'p [u8],
    table: HashMap<Vec<u8>, u32>,
    registers: [u64; 11],
    memory: HashMap<u64, u8>,
}

impl Machine<'_> {
    fn read(&self, at: u64, length: usize) -> Vec<u8> {
        let bytes = (at..).take(length);
        bytes.map(|at| *self.memory.get(&at).unwrap_or_else(|| panic!("nothing at {at:#x}"))).collect()
    }

    fn write(&mut self, at: u64, bytes: &[u8]) {
        self.memory.extend((at..).zip(bytes.iter().copied()));
    }

    fn call(&mut self, helper: i32) {
        let [_, first, second, third, fourth, ..] = self.registers;
        self.registers[0] = match helper {
            1 => {
                assert_eq!(first, 77, "the table");
                let key = self.read(second, super::super::KEY);
                let mark = self.table.get(&key).copied();
                mark.map_or(0, |mark| {
                    self.write(VALUE, &mark.to_ne_bytes());
                    VALUE
                })
            }
            68 => {
                assert_eq!((first, self.registers[5]), (DESCRIPTION, 1));
                let (from, length) = (usize::try_from(second).unwrap(), usize::try_from(fourth).unwrap());
                match self.packet.get(from..from + length).map(<[u8]>::to_vec) {
                    Some(bytes) => {
                        self.write(third, &bytes);
                        0
                    }
                    None => u64::MAX,
                }
            }
            other => panic!("helper {other}"),
        };
        // As the kernel's verifier has it: nobody may rely on these.
        self.registers[1..6].fill(0xdead_dead);
    }

    fn run(&mut self, program: &[Instruction]) {
        let mut next = 0;
        loop {
            let Instruction { code, registers, offset, immediate } = program[next];
            next += 1;
            let (destination, source) = (usize::from(registers & 0xf), usize::from(registers >> 4));
            let number = i64::from(immediate).cast_unsigned();
            let at = |base: u64| base.wrapping_add_signed(i64::from(offset));
            let length = [4, 2, 1, 8][usize::from(code >> 3 & 3)];
            let mut is_jump = false;
            match code {
                0xb7 => self.registers[destination] = number,
                0xbf => self.registers[destination] = self.registers[source],
                0x07 => self.registers[destination] = self.registers[destination].wrapping_add(number),
                0x57 => self.registers[destination] &= number,
                0x67 => self.registers[destination] <<= number,
                0x61 | 0x69 | 0x71 | 0x79 => {
                    let mut bytes = [0; 8];
                    bytes[..length].copy_from_slice(&self.read(at(self.registers[source]), length));
                    self.registers[destination] = u64::from_le_bytes(bytes);
                }
                0x63 | 0x6b | 0x73 | 0x7b => {
                    let bytes = self.registers[source].to_le_bytes();
                    self.write(at(self.registers[destination]), &bytes[..length]);
                }
                0x62 | 0x6a | 0x72 | 0x7a => {
                    self.write(at(self.registers[destination]), &number.to_le_bytes()[..length]);
                }
                0x05 => is_jump = true,
                0x15 => is_jump = self.registers[destination] == number,
                0x55 => is_jump = self.registers[destination] != number,
                0x18 => {
                    assert_eq!(source, 1);
                    self.registers[destination] = 77;
                    next += 1;
                }
                0x85 => self.call(immediate),
                0x95 => return,
                other => panic!("instruction {other:#x}"),
            }
            if is_jump {
                next += usize::try_from(offset).unwrap();
            }
        }
    }
}

/// The mark that a packet gets, which had 7.
fn mark(protocol: u16, packet: &[u8], table: &[(MarkKey, u32)]) -> u32 {
    // Any descriptor will do: the machine has its own table.
    let file = std::fs::File::open("/dev/null").unwrap();
    let program = assemble(file.as_fd());
    let mut machine = Machine {
        packet,
        table: table.iter().map(|(key, mark)| (key.bytes().to_vec(), *mark)).collect(),
        registers: [0; 11],
        memory: HashMap::new(),
    };
    machine.write(DESCRIPTION + 8, &7_u32.to_ne_bytes());
    machine.write(DESCRIPTION + 16, &u32::from(protocol.to_be()).to_ne_bytes());
    (machine.registers[1], machine.registers[10]) = (DESCRIPTION, STACK);
    machine.run(&program);
    assert_eq!(machine.registers[0], u64::MAX, "it goes on");
    u32::from_ne_bytes(machine.read(DESCRIPTION + 8, 4).try_into().unwrap())
}

fn key(client: Option<&str>, address: &str) -> MarkKey {
    let client = client.map(|client| client.parse().unwrap());
    MarkKey { client, address: address.parse().unwrap(), port: 50000 }
}

/// From 198.51.100.7 to 192.0.2.10:50000, with so many words of options.
fn v4(options: u8) -> Vec<u8> {
    let mut packet = vec![0; 20 + usize::from(options) * 4 + 20];
    packet[0] = 0x45 + options;
    packet[9] = 6;
    packet[12..20].copy_from_slice(&[198, 51, 100, 7, 192, 0, 2, 10]);
    let port = packet.len() - 18;
    packet[port..port + 2].copy_from_slice(&50000_u16.to_be_bytes());
    packet
}

/// From 2001:db8::7 to [2001:db8::10]:50000.
fn v6() -> Vec<u8> {
    let mut packet = vec![0; 60];
    (packet[0], packet[6]) = (0x60, 6);
    for (at, last) in [(8, 7), (24, 0x10)] {
        packet[at..at + 4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        packet[at + 15] = last;
    }
    packet[42..44].copy_from_slice(&50000_u16.to_be_bytes());
    packet
}

fn with(mut packet: Vec<u8>, at: usize, byte: u8) -> Vec<u8> {
    packet[at] = byte;
    packet
}

#[test]
#[cfg(target_endian = "little")]
fn packets_are_marked_row_by_row() {
    let table = [
        (key(None, "192.0.2.10"), 1),
        (key(Some("198.51.100.8"), "192.0.2.10"), 2),
        (key(None, "2001:db8::10"), 3),
        (key(Some("2001:db8::8"), "2001:db8::10"), 4),
        (key(Some("198.51.100.9"), "192.0.2.11"), 5),
    ];
    #[rustfmt::skip]
    let rows = [
        ("v4",                         0x0800, v4(0),                           1),
        ("with options",               0x0800, v4(1),                           1),
        ("with all options",           0x0800, v4(10),                          1),
        ("a client with its own",      0x0800, with(v4(0), 15, 8),              2),
        ("a client-bound address",     0x0800, with(v4(0), 19, 11),             7),
        ("another address",            0x0800, with(v4(0), 19, 12),             7),
        ("another port",               0x0800, with(v4(0), 23, 0x51),           7),
        ("UDP",                        0x0800, with(v4(0), 9, 17),              7),
        ("a first fragment",           0x0800, with(v4(0), 6, 0x20),            1),
        ("may not be fragmented",      0x0800, with(v4(0), 6, 0x40),            1),
        ("a later fragment",           0x0800, with(v4(0), 7, 1),               7),
        ("a far later fragment",       0x0800, with(v4(0), 6, 0x10),            7),
        ("no port",                    0x0800, v4(0)[..23].to_vec(),            7),
        ("no header",                  0x0800, v4(0)[..19].to_vec(),            7),
        ("nothing",                    0x0800, vec![],                          7),
        ("v6",                         0x86dd, v6(),                            3),
        ("a v6 client with its own",   0x86dd, with(v6(), 23, 8),               4),
        ("another v6 address",         0x86dd, with(v6(), 39, 0x11),            7),
        ("v6 with a header more",      0x86dd, with(v6(), 6, 0),                7),
        ("v6 cut short",               0x86dd, v6()[..43].to_vec(),             7),
        ("v6 without a header",        0x86dd, v6()[..39].to_vec(),             7),
        ("ARP",                        0x0806, v4(0),                           7),
    ];
    for (what, protocol, packet, expected) in rows {
        assert_eq!(mark(protocol, &packet, &table), expected, "{what}");
    }
}

#[test]
fn jumps_count_from_the_instruction_behind_them() {
    let mut to = Assembler::default();
    let (near, far) = (to.label(), to.label());
    to.jump(far);
    to.jump_if_equal(Register::Kept1, 5, near);
    to.place(near);
    to.exit();
    to.place(far);
    to.exit();
    let offsets: Vec<i16> = to.finish().iter().map(|instruction| instruction.offset).collect();
    assert_eq!(offsets, [2, 0, 0, 0]);
}

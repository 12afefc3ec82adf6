//! Instructions by their names, and jumps by labels (RFC 9669).
use crate::sys::bpf::Instruction;

/// What stands for what, by convention of all calls.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Register {
    Result = 0,
    Argument1 = 1,
    Argument2 = 2,
    Argument3 = 3,
    Argument4 = 4,
    Argument5 = 5,
    /// Calls leave it as it is.
    Kept1 = 6,
    Kept2 = 7,
    /// The end of the stack, which lies below.
    Frame = 10,
}

/// Of memory: 4, 2, 1 and 8 bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Size {
    Word = 0x00,
    Half = 0x08,
    Byte = 0x10,
    Double = 0x18,
}

/// Functions of the kernel, by their numbers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(i32)]
pub(super) enum Helper {
    LookUp = 1,
    /// `bpf_skb_load_bytes_relative`.
    LoadPacket = 68,
}

/// A place to jump to, before it is known where that is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Label(usize);

/// A program that is being written.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    instructions: Vec<Instruction>,
    places: Vec<Option<usize>>,
    /// Where a jump stands, and where it leads.
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    pub(super) fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    /// The next instruction is where this label leads.
    pub(super) fn place(&mut self, label: Label) {
        self.places[label.0] = Some(self.instructions.len());
    }

    pub(super) fn set(&mut self, to: Register, number: i32) {
        self.push(0xb7, to, Register::Result, 0, number);
    }

    pub(super) fn copy(&mut self, to: Register, from: Register) {
        self.push(0xbf, to, from, 0, 0);
    }

    pub(super) fn add(&mut self, to: Register, number: i32) {
        self.push(0x07, to, Register::Result, 0, number);
    }

    pub(super) fn and(&mut self, to: Register, number: i32) {
        self.push(0x57, to, Register::Result, 0, number);
    }

    pub(super) fn shift_left(&mut self, to: Register, bits: i32) {
        self.push(0x67, to, Register::Result, 0, bits);
    }

    pub(super) fn load(&mut self, size: Size, to: Register, base: Register, offset: i16) {
        self.push(0x61 | size as u8, to, base, offset, 0);
    }

    pub(super) fn store(&mut self, size: Size, base: Register, offset: i16, from: Register) {
        self.push(0x63 | size as u8, base, from, offset, 0);
    }

    pub(super) fn store_number(&mut self, size: Size, base: Register, offset: i16, number: i32) {
        self.push(0x62 | size as u8, base, Register::Result, offset, number);
    }

    pub(super) fn jump(&mut self, label: Label) {
        self.push_jump(0x05, Register::Result, 0, label);
    }

    pub(super) fn jump_if_equal(&mut self, register: Register, number: i32, label: Label) {
        self.push_jump(0x15, register, number, label);
    }

    pub(super) fn jump_unless_equal(&mut self, register: Register, number: i32, label: Label) {
        self.push_jump(0x55, register, number, label);
    }

    /// Two instructions, of which the first one says that the number is a descriptor of a map.
    pub(super) fn set_map(&mut self, to: Register, descriptor: i32) {
        self.push(0x18, to, Register::Argument1, 0, descriptor);
        self.push(0, Register::Result, Register::Result, 0, 0);
    }

    pub(super) fn call(&mut self, helper: Helper) {
        self.push(0x85, Register::Result, Register::Result, 0, helper as i32);
    }

    pub(super) fn exit(&mut self) {
        self.push(0x95, Register::Result, Register::Result, 0, 0);
    }

    /// The program, in which jumps count from the instruction behind them.
    pub(super) fn finish(mut self) -> Vec<Instruction> {
        for (from, label) in self.jumps {
            let to = self.places[label.0].unwrap_or_default();
            debug_assert!(to > from, "a jump that leads nowhere, or back");
            self.instructions[from].offset = i16::try_from(to.saturating_sub(from + 1)).unwrap_or(i16::MAX);
        }
        self.instructions
    }

    fn push_jump(&mut self, code: u8, register: Register, number: i32, label: Label) {
        self.jumps.push((self.instructions.len(), label));
        self.push(code, register, Register::Result, 0, number);
    }

    fn push(&mut self, code: u8, destination: Register, source: Register, offset: i16, immediate: i32) {
        let (destination, source) = (destination as u8, source as u8);
        let registers = if cfg!(target_endian = "little") {
            source << 4 | destination
        } else {
            destination << 4 | source
        };
        self.instructions.push(Instruction { code, registers, offset, immediate });
    }
}

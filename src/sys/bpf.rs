//! Tables and programs that run in the kernel, bpf(2): a hash table that both sides use, and a program for traffic control.
#![allow(unsafe_code, reason = "no crate of ours knows bpf(2)")]
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Commands of bpf(2).
const MAP_CREATE: libc::c_long = 0;
const MAP_LOOK_UP: libc::c_long = 1;
const MAP_UPDATE: libc::c_long = 2;
const MAP_DELETE: libc::c_long = 3;
const PROGRAM_LOAD: libc::c_long = 5;

/// `BPF_MAP_TYPE_HASH`.
const HASH: u32 = 1;
/// `BPF_PROG_TYPE_SCHED_CLS`.
const CLASSIFIER: u32 = 3;

/// `BPF_OBJ_NAME_LEN`, with the NUL at the end.
const NAME: usize = 16;

/// What the verifier says of a short program, some times over.
const LOG: usize = 64 * 1024;

/// Lines of it that an error repeats: the last ones have the reason.
const MAX_LOG_LINES: usize = 4;

/// One instruction, as the kernel reads it (`struct bpf_insn`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C)]
pub struct Instruction {
    /// What is done, to what and how wide.
    pub code: u8,
    /// Destination and source, four bits each, in the order that this machine has bit fields.
    pub registers: u8,
    /// Of memory in bytes, of jumps in instructions.
    pub offset: i16,
    /// A number.
    pub immediate: i32,
}

/// A hash table in the kernel, of keys of `K` and values of `V` bytes. It lives as long as somebody holds it: this, or a program.
#[derive(Debug)]
pub struct HashMap<const K: usize, const V: usize> {
    map: OwnedFd,
}

/// A program that the kernel has believed.
#[derive(Debug)]
pub struct Program {
    program: OwnedFd,
}

/// Why the kernel did not take a table or a program.
#[derive(Debug)]
pub enum BpfError {
    /// The process may not.
    Denied,
    /// The kernel has none of it.
    Unsupported(io::Error),
    /// The program is not believed, and what the verifier said last.
    Rejected(io::Error, String),
    /// Anything else: memory or descriptors are short.
    Failed(io::Error),
}

impl<const K: usize, const V: usize> HashMap<K, V> {
    /// Makes one for so many entries. The name is for bpftool(8), of at most 15 letters, digits, `_` and `.`.
    ///
    /// # Errors
    ///
    /// See [`BpfError`].
    pub fn create(name: &str, entries: u32) -> Result<Self, BpfError> {
        let mut question = MapCreate {
            kind: HASH,
            key_size: u32::try_from(K).unwrap_or(u32::MAX),
            value_size: u32::try_from(V).unwrap_or(u32::MAX),
            max_entries: entries,
            // All memory at once, some 100 bytes an entry. With BPF_F_NO_PREALLOC entries come of a small pool, which may be
            // empty when many are set one after the other: Linux 6.1 was seen to refuse them with ENOMEM.
            flags: 0,
            inner: 0,
            numa_node: 0,
            name: name_of(name),
        };
        let map = with_memory(|| descriptor(MAP_CREATE, &mut question)).map_err(BpfError::of)?;
        Ok(Self { map })
    }

    /// Gives a key a value, whether or not it has one.
    ///
    /// # Errors
    ///
    /// `E2BIG`: the table is full.
    pub fn set(&self, key: &[u8; K], value: &[u8; V]) -> io::Result<()> {
        self.element(MAP_UPDATE, key, value.as_ptr() as u64).map(drop)
    }

    /// The value of a key, if it has one.
    ///
    /// # Errors
    ///
    /// None that is to be expected.
    pub fn get(&self, key: &[u8; K]) -> io::Result<Option<[u8; V]>> {
        let mut value = [0; V];
        absent(self.element(MAP_LOOK_UP, key, value.as_mut_ptr() as u64).map(|_| value))
    }

    /// Takes a key out, if it is there.
    ///
    /// # Errors
    ///
    /// None that is to be expected.
    pub fn remove(&self, key: &[u8; K]) -> io::Result<()> {
        absent(self.element(MAP_DELETE, key, 0)).map(drop)
    }

    /// `value` is the address of `V` bytes, or 0 for a command that has none.
    fn element(&self, command: libc::c_long, key: &[u8; K], value: u64) -> io::Result<libc::c_long> {
        let map = self.map.as_raw_fd().cast_unsigned();
        call(command, &mut Element { map, padding: 0, key: key.as_ptr() as u64, value, flags: 0 })
    }
}

impl<const K: usize, const V: usize> AsFd for HashMap<K, V> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

impl Program {
    /// Has the kernel take a program for traffic control. `licence` decides which helpers it may call.
    ///
    /// # Errors
    ///
    /// See [`BpfError`].
    pub fn load(
        name: &str,
        licence: &std::ffi::CStr,
        instructions: &[Instruction],
    ) -> Result<Self, BpfError> {
        let mut question = ProgramLoad {
            kind: CLASSIFIER,
            instruction_count: u32::try_from(instructions.len()).unwrap_or(u32::MAX),
            instructions: instructions.as_ptr() as u64,
            licence: licence.as_ptr() as u64,
            log_level: 0,
            log_size: 0,
            log: 0,
            kernel_version: 0,
            flags: 0,
            name: name_of(name),
        };
        let error = match with_memory(|| descriptor(PROGRAM_LOAD, &mut question)) {
            Ok(program) => return Ok(Self { program }),
            Err(error) => error,
        };
        if !matches!(Errno::from_io_error(&error), Some(Errno::INVAL | Errno::ACCESS)) {
            return Err(BpfError::of(error));
        }
        // Once more for the reasons, which cost memory that a program without faults does not need.
        let mut log = vec![0_u8; LOG];
        question.log_level = 1;
        question.log_size = u32::try_from(log.len()).unwrap_or_default();
        question.log = log.as_mut_ptr() as u64;
        match descriptor(PROGRAM_LOAD, &mut question) {
            Ok(program) => Ok(Self { program }),
            Err(error) => Err(BpfError::Rejected(error, last_lines(&log))),
        }
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.program.as_fd()
    }
}

impl BpfError {
    fn of(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(Errno::PERM) => Self::Denied,
            Some(Errno::NOSYS | Errno::INVAL) => Self::Unsupported(error),
            _ => Self::Failed(error),
        }
    }
}

impl fmt::Display for BpfError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied => to.write_str(
                "the kernel does not let this process use BPF; it takes CAP_BPF and CAP_NET_ADMIN (before Linux 5.8 \
                 CAP_SYS_ADMIN), in a container the system call bpf, and no lockdown that forbids it",
            ),
            Self::Unsupported(error) => {
                write!(to, "the kernel has no BPF: {error}; it takes CONFIG_BPF_SYSCALL and Linux 4.18")
            }
            Self::Rejected(error, log) => {
                write!(to, "the kernel does not take the program: {error}: {log}; this is a fault of gridfront")
            }
            Self::Failed(error) => write!(to, "BPF failed: {error}"),
        }
    }
}

impl std::error::Error for BpfError {}

/// Beginnings of `union bpf_attr`, which may end where nothing more is said.
#[repr(C)]
struct MapCreate {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner: u32,
    numa_node: u32,
    name: [u8; NAME],
}

#[repr(C)]
struct Element {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ProgramLoad {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    licence: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; NAME],
}

/// What does not fit is cut off.
fn name_of(text: &str) -> [u8; NAME] {
    let mut name = [0; NAME];
    for (to, from) in name[..NAME - 1].iter_mut().zip(text.bytes()) {
        *to = from;
    }
    name
}

/// Before Linux 5.11 tables and programs count as locked memory, of which a service has 64 KiB; EPERM says so as well.
fn with_memory<T>(mut make: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let made = make();
    let denied = matches!(&made, Err(error) if Errno::from_io_error(error) == Some(Errno::PERM));
    if !denied || getrlimit(Resource::Memlock).current.is_none() {
        return made;
    }
    match setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None }) {
        Ok(()) => make(),
        Err(_) => made,
    }
}

fn absent<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOENT) => Ok(None),
        result => result.map(Some),
    }
}

fn last_lines(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(log.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(MAX_LOG_LINES)..].join("; ")
}

fn descriptor<Q>(command: libc::c_long, question: &mut Q) -> io::Result<OwnedFd> {
    let descriptor = libc::c_int::try_from(call(command, question)?).unwrap_or(-1);
    // SAFETY: the kernel has just given it to us, and it is in no other hands.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// `question` is one of the structures above, whose addresses are those of what lives in the caller.
fn call<Q>(command: libc::c_long, question: &mut Q) -> io::Result<libc::c_long> {
    // SAFETY: the kernel reads and writes within the size of the question, and what its addresses name: keys, values,
    // instructions, texts and the log, of the sizes that it was told or that the map was made with.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(question), size_of::<Q>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_it_takes() {
        let of = |errno: Errno| BpfError::of(errno.into()).to_string();
        assert!(of(Errno::PERM).contains("CAP_BPF and CAP_NET_ADMIN"));
        assert!(of(Errno::NOSYS).starts_with("the kernel has no BPF: Function not implemented"));
        assert!(of(Errno::NOMEM).starts_with("BPF failed: "));
    }

    #[test]
    fn the_verifiers_last_words_are_repeated_and_names_are_cut() {
        assert_eq!(last_lines(b"1\n2\n\n3\n4\n5\n\0\0junk"), "2; 3; 4; 5");
        assert_eq!(last_lines(b"\0"), "");
        assert_eq!(name_of("gridfront_marks_and_more"), *b"gridfront_marks\0");
    }
}

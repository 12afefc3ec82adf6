//! A thread that must not be late: scheduled before all others, and in memory.
#![allow(
    unsafe_code,
    reason = "no crate of ours asks for a real-time policy, and locking memory takes addresses"
)]
use std::io;
use std::ops::Range;

/// Of the stack, below and above where the thread stands when it asks: many times what an event loop without recursion
/// needs.
const STACK_BELOW: usize = 256 * 1024;
const STACK_ABOVE: usize = 64 * 1024;

/// What was not permitted. The thread runs on without it, and may be late when others occupy the processors or the memory.
#[derive(Debug, thiserror::Error)]
pub enum RealTimeError {
    /// SCHED_FIFO.
    #[error(
        "real-time priority {priority} is refused: {error}; it takes CAP_SYS_NICE, or LimitRTPRIO={priority} in the unit"
    )]
    Priority {
        /// What was asked for.
        priority: u8,
        /// The kernel's reason.
        error: io::Error,
    },
    /// mlock(2).
    #[error(
        "memory is not locked: {error}; {bytes} bytes take CAP_IPC_LOCK, or as much LimitMEMLOCK= in the unit"
    )]
    Memory {
        /// What was to be locked.
        bytes: usize,
        /// The kernel's reason.
        error: io::Error,
    },
}

/// The calling thread runs before all that are not real-time (SCHED_FIFO, sched(7)). Threads and processes that it starts do
/// not: a script that it runs must not hold a processor.
///
/// # Errors
///
/// It is not permitted.
pub fn set_priority(priority: u8) -> Result<(), RealTimeError> {
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // All that the kernel's struct sched_param has.
    let parameter = libc::c_int::from(priority);
    // SAFETY: 0 is the calling thread; the kernel reads one int from the address, which is that of a living one. The call
    // itself, since musl's function of this name does nothing.
    let result = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const parameter) };
    if result < 0 {
        return Err(RealTimeError::Priority { priority, error: io::Error::last_os_error() });
    }
    Ok(())
}

/// Keeps in memory what the calling thread needs when it is called after a long silence: its stack, and of the program and
/// its libraries every page that has been used once. Returns how many bytes of address space that concerns.
///
/// Not mlockall(2): it would lock the buffers of thousands of sessions, too, and with MCL_FUTURE and without CAP_IPC_LOCK
/// every later mapping counts against RLIMIT_MEMLOCK by its whole size, so that some day a thread or a buffer of a session
/// gets none. What the thread has on the heap it touches many times a minute, which keeps it in memory as well as can be.
///
/// # Errors
///
/// It is not permitted, or not so much. What could be locked stays locked.
pub fn lock_memory() -> Result<usize, RealTimeError> {
    let maps = std::fs::read_to_string("/proc/self/maps")
        .map_err(|error| RealTimeError::Memory { bytes: STACK_BELOW + STACK_ABOVE, error })?;
    let here = 0_u8;
    let here = (&raw const here).addr();
    let mut bytes = 0;
    let mut refused = None;
    for (range, when) in needed(&maps, here) {
        bytes += range.len();
        if let Err(error) = lock(&range, when) {
            refused = Some(error);
        }
    }
    refused.map_or(Ok(bytes), |error| Err(RealTimeError::Memory { bytes, error }))
}

/// When pages come into memory, from where they do not leave it any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum When {
    Now,
    /// With their first use.
    OnFault,
}

/// What of the address space is needed, in the words of /proc/self/maps (proc(5)), by a thread whose stack is here.
fn needed(maps: &str, here: usize) -> Vec<(Range<usize>, When)> {
    let mappings: Vec<Mapping<'_>> = maps.lines().filter_map(Mapping::read).collect();
    let is_program = |file: &str| {
        file.starts_with('/') && mappings.iter().any(|mapping| mapping.is_executable && mapping.file == file)
    };
    let mut needed = Vec::new();
    for mapping in &mappings {
        if mapping.is_readable && is_program(mapping.file) {
            needed.push((mapping.range.clone(), When::OnFault));
        } else if mapping.range.contains(&here) {
            let start = mapping.range.start.max(here.saturating_sub(STACK_BELOW));
            let end = mapping.range.end.min(here.saturating_add(STACK_ABOVE));
            needed.push((start..end, When::Now));
        }
    }
    needed
}

/// A line of /proc/self/maps.
struct Mapping<'m> {
    range: Range<usize>,
    is_readable: bool,
    is_executable: bool,
    file: &'m str,
}

impl<'m> Mapping<'m> {
    fn read(line: &'m str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let [start, end] = [start, end].map(|number| usize::from_str_radix(number, 16).ok());
        let permissions = words.next()?;
        Some(Self {
            range: start?..end?,
            is_readable: permissions.starts_with('r'),
            is_executable: permissions.contains('x'),
            // Behind offset, device and inode. Only whether it is the same matters.
            file: words.nth(3).unwrap_or_default(),
        })
    }
}

fn lock(range: &Range<usize>, when: When) -> io::Result<()> {
    let flags = match when {
        When::Now => 0,
        When::OnFault => libc::MLOCK_ONFAULT,
    };
    let start = std::ptr::without_provenance::<libc::c_void>(range.start);
    // SAFETY: mlock2(2) reads and changes no byte of the range, only whether its pages may leave the memory; what is not
    // mapped it refuses.
    let result = unsafe { libc::mlock2(start, range.len(), flags) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
00400000-00500000 r--p 00000000 08:01 42 /usr/bin/gridfront
00500000-00900000 r-xp 00100000 08:01 42 /usr/bin/gridfront
00900000-00910000 rw-p 00500000 08:01 42 /usr/bin/gridfront
01000000-01100000 rw-p 00000000 00:00 0 [heap]
7f0000000000-7f0000200000 rw-p 00000000 00:00 0 
7f0000200000-7f0000201000 ---p 00000000 00:00 0 
7f0000300000-7f0000400000 r--s 00000000 08:01 43 /var/lib/table
7f0000400000-7f0000500000 r-xp 00000000 08:01 44 /usr/lib/libc.so.6
7f0000500000-7f0000600000 ---p 00100000 08:01 44 /usr/lib/libc.so.6
7ffe00000000-7ffe00021000 rw-p 00000000 00:00 0 [stack]
";

    #[test]
    fn the_program_and_a_part_of_the_stack_are_needed_and_nothing_else() {
        let needed = needed(MAPS, 0x7f00_001f_f000);
        assert_eq!(
            needed,
            [
                (0x40_0000..0x50_0000, When::OnFault),
                (0x50_0000..0x90_0000, When::OnFault),
                (0x90_0000..0x91_0000, When::OnFault),
                (0x7f00_001b_f000..0x7f00_0020_0000, When::Now),
                (0x7f00_0040_0000..0x7f00_0050_0000, When::OnFault),
            ]
        );
    }

    #[test]
    fn memory_is_locked_or_the_refusal_says_what_it_takes() {
        let locked = std::thread::spawn(lock_memory).join().unwrap();
        match locked {
            Ok(bytes) => assert!(bytes > STACK_BELOW, "{bytes}"),
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("CAP_IPC_LOCK") && text.contains("LimitMEMLOCK="), "{text}");
            }
        }
    }

    #[test]
    fn a_priority_is_set_and_not_inherited_or_the_refusal_says_what_it_takes() {
        std::thread::spawn(|| {
            match set_priority(1) {
                Ok(()) => assert_eq!(policy(), (libc::SCHED_FIFO, libc::SCHED_OTHER)),
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.contains("CAP_SYS_NICE") && text.contains("LimitRTPRIO=1 "), "{text}");
                }
            }
            let error = set_priority(100).unwrap_err();
            assert!(matches!(error, RealTimeError::Priority { priority: 100, .. }), "beyond the highest");
        })
        .join()
        .unwrap();
    }

    /// Of the calling thread, and of one that it starts.
    fn policy() -> (i32, i32) {
        let own = || {
            // SAFETY: 0 is the calling thread, and no address is taken.
            let policy = unsafe { libc::sched_getscheduler(0) };
            policy & !libc::SCHED_RESET_ON_FORK
        };
        (own(), std::thread::spawn(own).join().unwrap())
    }
}

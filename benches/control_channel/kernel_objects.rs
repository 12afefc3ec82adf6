//! Kernel memory of a process's connections, by the objects they are made of.
//!
//! A memory cgroup would tell more simply, but the bench may not be allowed to make one; and the machine's own counts
//! in /proc/slabinfo lag behind what is freed. So the objects are counted where they are exact, in the process's table
//! of descriptors, and /proc/slabinfo says how large they are.

use std::fs;

use crate::Outcome;

/// What each TCP socket consists of.
const OF_A_SOCKET: [&str; 5] = ["TCP", "sock_inode_cache", "filp", "dentry", "lsm_inode_cache"];
/// What each descriptor watched by epoll consists of, and `struct eppoll_entry` and the head of the file's list of
/// watches (64-bit machines), whose caches are merged with others and have no line of their own.
const OF_A_WATCH: &str = "eventpoll_epi";
const UNNAMED_OF_A_WATCH: u64 = 64 + 16;

/// How many of what there are.
#[derive(Clone, Copy)]
pub(crate) struct KernelObjects {
    pub(crate) sockets: u64,
    pub(crate) watches: u64,
}

/// How large they are, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    /// The TCP control block alone, which is part of `socket`.
    pub(crate) tcp: u64,
    pub(crate) socket: u64,
    pub(crate) watch: u64,
}

impl KernelObjects {
    /// Those of a process now.
    pub(crate) fn of(pid: u32) -> Outcome<Self> {
        let mut objects = Self { sockets: 0, watches: 0 };
        let mut instances: Vec<Vec<String>> = Vec::new();
        for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
            let entry = entry?;
            let target = fs::read_link(entry.path())?;
            let target = target.to_string_lossy();
            if target.starts_with("socket:") {
                objects.sockets += 1;
            } else if target == "anon_inode:[eventpoll]" {
                // One line for each watched descriptor (proc_pid_fdinfo(5)).
                let number = entry.file_name();
                let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", number.display()))?;
                let watches: Vec<String> =
                    text.lines().filter(|line| line.starts_with("tfd:")).map(str::to_owned).collect();
                // tokio has several descriptors of one instance; watches belong to the instance.
                if !instances.contains(&watches) {
                    objects.watches += watches.len() as u64;
                    instances.push(watches);
                }
            }
        }
        Ok(objects)
    }

    pub(crate) fn bytes(self, sizes: Sizes) -> f64 {
        (self.sockets * sizes.socket + self.watches * sizes.watch) as f64
    }
}

impl Sizes {
    /// `None` where /proc/slabinfo is not for us to read, or the names are others.
    pub(crate) fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/slabinfo").ok()?;
        let size = |name: &str| {
            let line = text.lines().find(|line| line.split_ascii_whitespace().next() == Some(name))?;
            line.split_ascii_whitespace().nth(3)?.parse::<u64>().ok()
        };
        let socket = OF_A_SOCKET.iter().filter_map(|name| size(name)).sum();
        Some(Self { tcp: size("TCP")?, socket, watch: size(OF_A_WATCH)? + UNNAMED_OF_A_WATCH })
    }
}

//! Random files and trees, and whether they arrived unchanged.

use std::fs::File;
use std::io::{BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::row;
use crate::support::certificates::set_mode;

/// Bytes of one file, where they go round the door: 1 % of them is far more than the control traffic of any row, GSI handshakes
/// included.
const ROUND_THE_DOOR: usize = 24 << 20;
/// Bytes of one file, where they cross the door: more than all socket buffers and pipes on the way hold.
const ACROSS_THE_DOOR: usize = 8 << 20;
/// The account that has no files of its own, on Debian.
const NOBODY: u32 = 65_534;
/// Files of a tree, in three directories; together as much as one file.
const TREE: usize = 24;

/// Random bytes of a test. Text would hide what ASCII type does to a file.
#[derive(Debug)]
pub(super) struct Payload {
    bytes: Vec<u8>,
}

impl Payload {
    pub(super) fn new(path: row::Path) -> Self {
        let mut bytes = vec![
            0;
            match path {
                row::Path::Direct => ROUND_THE_DOOR,
                row::Path::Relay => ACROSS_THE_DOOR,
            }
        ];
        File::open("/dev/urandom")
            .and_then(|mut source| source.read_exact(&mut bytes))
            .expect("random bytes");
        Self { bytes }
    }

    /// Bytes of a file or a tree.
    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Writes one file; `salt` makes it differ from all others.
    pub(super) fn write_file(&self, path: &Path, salt: &str) {
        let mut file = File::create(path).expect("a file of ours");
        let head = format!("{salt}\r\n\n\r");
        file.write_all(head.as_bytes()).expect("space");
        file.write_all(&self.bytes[head.len()..]).expect("space");
        set_mode(path, 0o644);
    }

    /// Writes the first half of the file that `write_file` has written, for a client to go on from. Returns what is left to copy.
    pub(super) fn write_half(source: &Path, copy: &Path) -> u64 {
        let bytes = std::fs::read(source).expect("a file of ours");
        let (first, rest) = bytes.split_at(bytes.len() / 2);
        std::fs::write(copy, first).expect("space");
        give_to_servers(copy);
        rest.len() as u64
    }

    /// Writes a tree of files of unlike sizes.
    pub(super) fn write_tree(&self, root: &Path, salt: &str) {
        for directory in ["", "a", "a/b"] {
            std::fs::create_dir(root.join(directory)).expect("a directory of ours");
            set_mode(&root.join(directory), 0o755);
        }
        let mut rest = self.bytes.as_slice();
        for number in 0..TREE {
            let take = if number + 1 == TREE {
                rest.len()
            } else {
                rest.len() / (TREE - number) * (1 + number % 2) / 2
            };
            let (mine, others) = rest.split_at(take);
            rest = others;
            let directory = ["", "a", "a/b"][number % 3];
            let path = root.join(directory).join(format!("{salt}-{number}"));
            std::fs::write(&path, mine).expect("space");
            set_mode(&path, 0o644);
        }
    }

    /// The checksum that grid clients ask for most, of a file.
    pub(super) fn adler32(path: &Path) -> u32 {
        let (mut low, mut high) = (1_u32, 0_u32);
        for byte in BufReader::new(File::open(path).expect("a file of ours")).bytes() {
            low = (low + u32::from(byte.expect("readable"))) % 65_521;
            high = (high + low) % 65_521;
        }
        high << 16 | low
    }
}

/// Servers run as nobody; in a directory with the sticky bit only the owner may open for writing, or remove.
pub(super) fn give_to_servers(file: &Path) {
    std::os::unix::fs::chown(file, Some(NOBODY), None).expect("root may");
}

/// Byte by byte, files and trees.
///
/// # Errors
/// The first difference.
pub(super) fn compare(source: &Path, copy: &Path) -> Result<(), String> {
    if source.is_dir() {
        let (left, right) = (names(source)?, names(copy)?);
        if left != right {
            return Err(format!("{} has {right:?}, not {left:?}", copy.display()));
        }
        return left.iter().try_for_each(|name| compare(&source.join(name), &copy.join(name)));
    }
    let read = |path: &Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let (left, right) = (read(source)?, read(copy)?);
    if left == right {
        return Ok(());
    }
    let first = left.iter().zip(&right).position(|(a, b)| a != b).unwrap_or(left.len().min(right.len()));
    Err(format!(
        "{} differs: {} bytes of {}, the first wrong one at {first}",
        copy.display(),
        right.len(),
        left.len()
    ))
}

/// Names in a directory, in order.
pub(super) fn names(directory: &Path) -> Result<Vec<String>, String> {
    let entries =
        std::fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

/// Removes a file or a tree, if it is there.
pub(super) fn remove(path: PathBuf) {
    let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
}

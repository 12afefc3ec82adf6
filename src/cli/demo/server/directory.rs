//! One directory tree and no way out of it: `..` stops at the root, symbolic links are not followed at all.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, mkdirat, openat, statat, unlinkat};

/// Entries of one directory that a listing shows; the rest is left out.
const MAX_ENTRIES: usize = 10_000;

/// A place below the root, as names from the root down; never holds `.`, `..` or an empty name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct VirtualPath(Vec<Vec<u8>>);

impl VirtualPath {
    /// Where `argument` leads from here; an absolute one starts at the root, and `..` at the root stays there.
    pub(super) fn join(&self, argument: &[u8]) -> Self {
        let mut names = if argument.starts_with(b"/") { Vec::new() } else { self.0.clone() };
        for name in argument.split(|&byte| byte == b'/') {
            match name {
                b"" | b"." => {}
                b".." => drop(names.pop()),
                name => names.push(name.to_vec()),
            }
        }
        Self(names)
    }
}

impl fmt::Display for VirtualPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("/");
        }
        self.0.iter().try_for_each(|name| write!(f, "/{}", String::from_utf8_lossy(name)))
    }
}

/// An entry of a listing.
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) stat: Stat,
}

/// The served tree.
pub(super) struct Directory {
    root: OwnedFd,
}

impl Directory {
    /// Serves what is below `root`.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let root = rustix::fs::open(root, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { root })
    }

    /// A regular file for reading. O_NONBLOCK: opening a FIFO must not hang the server.
    pub(super) fn read(&self, path: &VirtualPath) -> io::Result<File> {
        self.open_file(path, OFlags::RDONLY | OFlags::NONBLOCK)
    }

    /// A regular file for writing, made where there is none; emptied if `truncate`.
    pub(super) fn write(&self, path: &VirtualPath, truncate: bool) -> io::Result<File> {
        let mut flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NONBLOCK;
        flags.set(OFlags::TRUNC, truncate);
        self.open_file(path, flags)
    }

    pub(super) fn stat(&self, path: &VirtualPath) -> io::Result<Stat> {
        let Some((parent, name)) = self.parent(path)? else { return Ok(fstat(&self.root)?) };
        let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            return Err(rustix::io::Errno::LOOP.into());
        }
        Ok(stat)
    }

    /// The entries by name, without symbolic links, `.` and `..`.
    pub(super) fn entries(&self, path: &VirtualPath) -> io::Result<Vec<Entry>> {
        let directory = self.open_directory(&path.0)?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&directory)?.take(MAX_ENTRIES) {
            let name = entry?.file_name().to_bytes().to_vec();
            // an entry may vanish between the two calls
            let Ok(stat) = statat(&directory, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
            if !link && name != b"." && name != b".." {
                entries.push(Entry { name, stat });
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    pub(super) fn make_directory(&self, path: &VirtualPath) -> io::Result<()> {
        let (parent, name) = self.parent(path)?.ok_or(io::ErrorKind::AlreadyExists)?;
        Ok(mkdirat(parent, name, Mode::from_raw_mode(0o755))?)
    }

    pub(super) fn remove(&self, path: &VirtualPath, kind: AtFlags) -> io::Result<()> {
        let (parent, name) = self.parent(path)?.ok_or(io::ErrorKind::ResourceBusy)?;
        Ok(unlinkat(parent, name, kind)?)
    }

    fn open_file(&self, path: &VirtualPath, flags: OFlags) -> io::Result<File> {
        let (parent, name) = self.parent(path)?.ok_or(io::ErrorKind::IsADirectory)?;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(openat(parent, name, flags, Mode::from_raw_mode(0o644))?);
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::IsADirectory.into()) }
    }

    /// The directory that holds `path`, and its name there; `None` for the root.
    fn parent<'p>(&self, path: &'p VirtualPath) -> io::Result<Option<(OwnedFd, &'p OsStr)>> {
        let Some((name, above)) = path.0.split_last() else { return Ok(None) };
        Ok(Some((self.open_directory(above)?, OsStr::from_bytes(name))))
    }

    /// Walks name by name, so that a link put in the way at any moment is met by O_NOFOLLOW.
    fn open_directory(&self, names: &[Vec<u8>]) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut directory = openat(&self.root, ".", flags, Mode::empty())?;
        for name in names {
            directory = openat(&directory, name.as_slice(), flags, Mode::empty())?;
        }
        Ok(directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> VirtualPath {
        VirtualPath::default().join(text.as_bytes())
    }

    #[test]
    fn dots_never_lead_above_the_root() {
        let table = [
            ("/", "/"),
            ("a//b/./c", "/a/b/c"),
            ("../../etc/passwd", "/etc/passwd"),
            ("/a/../../..", "/"),
            ("a/..b/...", "/a/..b/..."),
        ];
        for (argument, expected) in table {
            assert_eq!(path(argument).to_string(), expected, "{argument}");
        }
        assert_eq!(path("/a/b").join(b"../c").to_string(), "/a/c");
    }

    #[test]
    fn symbolic_links_lead_nowhere() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        let inside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), inside.path().join("door")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret"), inside.path().join("file")).unwrap();
        let directory = Directory::open(inside.path()).unwrap();

        assert!(directory.read(&path("/door/secret")).is_err());
        assert!(directory.read(&path("/file")).is_err());
        assert!(directory.write(&path("/file"), true).is_err());
        assert!(directory.write(&path("/door/new"), true).is_err());
        assert!(directory.stat(&path("/file")).is_err());
        assert!(directory.entries(&path("/door")).is_err());
        assert!(directory.make_directory(&path("/door/new")).is_err());
        assert!(directory.remove(&path("/door/secret"), AtFlags::empty()).is_err());
        assert!(directory.entries(&path("/")).unwrap().is_empty());
        assert_eq!(std::fs::read(outside.path().join("secret")).unwrap(), b"x");
    }

    #[test]
    fn files_and_directories_are_made_listed_and_removed() {
        let inside = tempfile::tempdir().unwrap();
        let directory = Directory::open(inside.path()).unwrap();
        directory.make_directory(&path("/a")).unwrap();
        drop(directory.write(&path("/a/f"), true).unwrap());
        assert_eq!(directory.entries(&path("/a")).unwrap()[0].name, b"f");
        assert!(directory.read(&path("/a")).is_err(), "a directory is no file");
        directory.remove(&path("/a/f"), AtFlags::empty()).unwrap();
        directory.remove(&path("/a"), AtFlags::REMOVEDIR).unwrap();
        assert!(directory.remove(&path("/"), AtFlags::REMOVEDIR).is_err());
    }
}

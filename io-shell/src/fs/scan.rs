//! Walking the tree: what is there, without opening or reading a file.

use super::door::{self, Step};
use super::errors::{at_path, is_gone, trouble};
use super::root::{Root, RootDir};
use super::stat::look_at;
use rustix::fd::OwnedFd;
use rustix::fs::{OFlags, RawDir};
use rustix::io::Errno;
use std::ffi::CString;
use std::mem::MaybeUninit;
use sync_core::ItemError;
use sync_core::index::{Stat, StatKind};
use sync_core::path::{DirPath, Name, RelPath, is_private};

/// Bytes of directory entries asked of the kernel at once.
const ENTRIES: usize = 64 << 10;

/// One piece of news of a walk: see `Input::Listed` and `Input::Unlisted`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Part of a directory: every entry within the span.
    Listed {
        /// The directory.
        dir: DirPath,
        /// The span starts after this name, or at the first.
        after: Option<Name>,
        /// Entries in ascending order of name.
        entries: Vec<(Name, Stat)>,
        /// Whether the span reaches the end of the directory.
        last: bool,
    },
    /// A directory could not be read to its end.
    Unlisted {
        /// The directory.
        dir: DirPath,
        /// Why.
        error: ItemError,
    },
}

/// Walks the folder, or the part below `within`, and gives `sink` at most `span` entries at a time, each directory
/// before what it holds. Ends early, and well, once `sink` returns false. A directory that vanishes meanwhile is passed
/// over. Memory is that of the names in the directories from the root to where the walk is.
///
/// # Errors
/// When the root was not the folder's at the start and at the end: then nothing that was found counts.
pub fn scan(
    root: &Root,
    within: Option<&RelPath>,
    span: usize,
    sink: &mut dyn FnMut(Found) -> bool,
) -> Result<(), ItemError> {
    let dir = root.enter()?;
    let mut walk = Walk { root: &dir, span: span.max(1), sink, buffer: vec![MaybeUninit::uninit(); ENTRIES] };
    let start = within.map_or(DirPath::ROOT, |path| DirPath::from(path.clone()));
    walk.run(start);
    root.verify()
}

/// Directories still to be listed at one level, last first.
struct Level {
    dir: DirPath,
    names: Vec<Name>,
}

/// Why a directory was not listed to its end.
enum Stop {
    /// The caller wants no more.
    Enough,
    /// A call failed.
    Failed(&'static str, Errno),
}

struct Walk<'a> {
    root: &'a RootDir,
    span: usize,
    sink: &'a mut dyn FnMut(Found) -> bool,
    buffer: Vec<MaybeUninit<u8>>,
}

impl Walk<'_> {
    /// Depth first, with the path from the root on a stack of its own.
    fn run(&mut self, start: DirPath) {
        let mut levels: Vec<Level> = Vec::new();
        let mut next = Some(start);
        while let Some(dir) = next {
            match self.visit(&dir) {
                Ok(names) => levels.push(Level { dir, names }),
                Err(()) => return,
            }
            next = next_dir(&mut levels);
        }
    }

    /// Lists one directory and returns the directories in it, last first; `Err` to end the walk.
    fn visit(&mut self, dir: &DirPath) -> Result<Vec<Name>, ()> {
        let error = match self.list(dir) {
            Ok(dirs) => return Ok(dirs),
            Err(Stop::Enough) => return Err(()),
            Err(Stop::Failed(_, errno)) if is_gone(errno) => return Ok(Vec::new()),
            Err(Stop::Failed(call, errno)) => match dir.as_path() {
                Some(path) => at_path(call, path, errno),
                None => trouble(call, "the folder's root", errno),
            },
        };
        if (self.sink)(Found::Unlisted { dir: dir.clone(), error }) { Ok(Vec::new()) } else { Err(()) }
    }

    fn list(&mut self, dir: &DirPath) -> Result<Vec<Name>, Stop> {
        let path = if dir.as_path().is_some() { dir.as_bytes() } else { b"." };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let fd = self.root.open_beneath(path, flags).map_err(|errno| Stop::Failed("open", errno))?;
        door::pass(Step::List).map_err(|errno| Stop::Failed("getdents", errno))?;
        let names = self.names(&fd, dir.as_path().is_none()).map_err(|errno| Stop::Failed("getdents", errno))?;
        let (mut entries, mut dirs) = (Vec::new(), Vec::new());
        let mut after = None;
        for name in names {
            // An entry that could not be looked at must not pass for one that is gone.
            let stat = look_at(&fd, &*name, self.root.device());
            let Some(stat) = stat.map_err(|errno| Stop::Failed("statx", errno))? else {
                continue;
            };
            let Ok(name) = Name::new(name.as_bytes()) else {
                tracing::warn!(dir = ?dir, name = ?name, "a name that cannot be synced is passed over");
                continue;
            };
            if entries.len() == self.span {
                let end = entries.last().map(|(name, _): &(Name, Stat)| name.clone());
                self.tell(Found::Listed { dir: dir.clone(), after, entries, last: false })?;
                (after, entries) = (end, Vec::new());
            }
            if stat.kind == StatKind::Dir {
                dirs.push(name.clone());
            }
            entries.push((name, stat));
        }
        dirs.reverse();
        self.tell(Found::Listed { dir: dir.clone(), after, entries, last: true })?;
        Ok(dirs)
    }

    fn tell(&mut self, found: Found) -> Result<(), Stop> {
        if (self.sink)(found) { Ok(()) } else { Err(Stop::Enough) }
    }

    /// The names in a directory, ascending.
    fn names(&mut self, fd: &OwnedFd, is_root: bool) -> Result<Vec<CString>, Errno> {
        let mut names = Vec::new();
        let mut entries = RawDir::new(fd, &mut self.buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            let bytes = name.to_bytes();
            let is_own = is_root && is_private(bytes);
            if !matches!(bytes, b"." | b"..") && !is_own {
                names.push(CString::from(name));
            }
        }
        names.sort_unstable();
        // A directory that changes while it is read may show a name twice.
        names.dedup();
        Ok(names)
    }
}

/// The next directory of the walk. A path too long to exist as a value is passed over: its parent's listing names it.
fn next_dir(levels: &mut Vec<Level>) -> Option<DirPath> {
    while let Some(level) = levels.last_mut() {
        match level.names.pop() {
            Some(name) => {
                if let Ok(path) = level.dir.join(&name) {
                    return Some(path.into());
                }
            }
            None => {
                levels.pop();
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;
    use sync_core::path::PRIVATE_DIR;
    use sync_core::{FolderId, ItemErrorKind};

    fn folder() -> (tempfile::TempDir, Root) {
        let home = tempfile::tempdir().unwrap();
        let root = Root::create(home.path(), FolderId([7; 16])).unwrap();
        (home, root)
    }

    fn all(root: &Root, within: Option<&RelPath>, span: usize) -> Vec<Found> {
        let mut out = Vec::new();
        scan(root, within, span, &mut |found| {
            out.push(found);
            true
        })
        .unwrap();
        out
    }

    /// Every entry a walk lists, as a path with its kind.
    fn listed(found: &[Found]) -> Vec<(Vec<u8>, StatKind)> {
        let mut out = Vec::new();
        for one in found {
            let Found::Listed { dir, entries, .. } = one else { panic!("{one:?}") };
            out.extend(entries.iter().map(|(name, stat)| (dir.join(name).unwrap().as_bytes().to_vec(), stat.kind)));
        }
        out
    }

    fn touch(path: &Path) {
        std::fs::write(path, b"x").unwrap();
    }

    #[test]
    fn directories_come_before_what_they_hold_and_the_private_one_not_at_all() {
        let (home, root) = folder();
        std::fs::create_dir_all(home.path().join("b/inner")).unwrap();
        std::fs::create_dir_all(home.path().join("empty")).unwrap();
        touch(&home.path().join("a"));
        touch(&home.path().join("b/inner/f"));
        std::os::unix::fs::symlink("/etc", home.path().join("z")).unwrap();
        let found = all(&root, None, 1000);
        let want = [
            (&b"a"[..], StatKind::File),
            (b"b", StatKind::Dir),
            (b"empty", StatKind::Dir),
            (b"z", StatKind::Symlink),
            (b"b/inner", StatKind::Dir),
            (b"b/inner/f", StatKind::File),
        ];
        assert_eq!(listed(&found), want.map(|(path, kind)| (path.to_vec(), kind)));
        assert_eq!(found.len(), 4, "an empty directory is listed too");
    }

    #[test]
    fn spans_join_without_gap_and_only_the_final_one_is_last() {
        let (home, root) = folder();
        for i in 0..7 {
            touch(&home.path().join(format!("f{i}")));
        }
        let mut previous = None;
        let found = all(&root, None, 3);
        for (i, one) in found.iter().enumerate() {
            let Found::Listed { after, entries, last, .. } = one else { panic!("{one:?}") };
            assert_eq!(*after, previous);
            assert_eq!(*last, i + 1 == found.len());
            previous = entries.last().map(|(name, _)| name.clone());
        }
        assert_eq!(found.len(), 3);
        assert_eq!(listed(&found).len(), 7);
    }

    #[test]
    fn names_are_opaque_bytes_up_to_their_limit_in_byte_order() {
        let (home, root) = folder();
        let long = vec![b'n'; 255];
        let names: [&[u8]; 4] = [b"\n", b"a b\nc", &long, b"\xff\xfe"];
        for name in names {
            touch(&home.path().join(OsStr::from_bytes(name)));
        }
        assert_eq!(listed(&all(&root, None, 10)), names.map(|name| (name.to_vec(), StatKind::File)));
    }

    #[test]
    fn a_socket_is_listed_as_other_and_a_link_to_a_directory_is_not_entered() {
        let (home, root) = folder();
        let _socket = std::os::unix::net::UnixListener::bind(home.path().join("s")).unwrap();
        std::os::unix::fs::symlink(".", home.path().join("self")).unwrap();
        let want = [(b"s".to_vec(), StatKind::Other), (b"self".to_vec(), StatKind::Symlink)];
        assert_eq!(listed(&all(&root, None, 10)), want);
    }

    #[test]
    fn a_part_is_walked_alone_and_what_is_no_directory_lists_nothing() {
        let (home, root) = folder();
        std::fs::create_dir_all(home.path().join("d/e")).unwrap();
        touch(&home.path().join("d/e/f"));
        touch(&home.path().join("g"));
        std::os::unix::fs::symlink("d", home.path().join("link")).unwrap();
        let part = |path: &[u8]| listed(&all(&root, Some(&RelPath::new(path).unwrap()), 10));
        assert_eq!(part(b"d/e"), [(b"d/e/f".to_vec(), StatKind::File)]);
        for none in [&b"gone"[..], b"g", b"link", b"link/e", b"g/x"] {
            assert!(all(&root, Some(&RelPath::new(none).unwrap()), 10).is_empty(), "{none:?}");
        }
    }

    #[test]
    fn a_tree_as_deep_as_a_path_can_be_is_walked_to_its_end() {
        let (home, root) = folder();
        let mut dir = root.enter().unwrap().top().unwrap();
        let mut depth = 0;
        // The last path has 4,095 bytes: as long as one system call takes.
        while 2 * depth < 4095 {
            rustix::fs::mkdirat(&dir, c"d", rustix::fs::Mode::RWXU).unwrap();
            dir = rustix::fs::openat(&dir, c"d", OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
            depth += 1;
        }
        assert_eq!(listed(&all(&root, None, 10)).len(), depth);
        drop(home);
    }

    #[test]
    fn a_walk_ends_when_the_sink_has_enough() {
        let (home, root) = folder();
        std::fs::create_dir_all(home.path().join("d/e")).unwrap();
        let mut count = 0;
        scan(&root, None, 10, &mut |_| {
            count += 1;
            count < 2
        })
        .unwrap();
        assert_eq!(count, 2);
    }

    #[test]
    fn a_root_replaced_during_the_walk_voids_it() {
        let (home, _) = folder();
        let path = home.path().join("r");
        std::fs::remove_dir_all(home.path().join(PRIVATE_DIR)).unwrap();
        let root = Root::create(&path, FolderId([7; 16])).unwrap();
        let outcome = scan(&root, None, 10, &mut |_| {
            std::fs::rename(&path, home.path().join("aside")).unwrap();
            true
        });
        assert_eq!(outcome.unwrap_err().kind, ItemErrorKind::RootLost);
    }
}

//! Looking at single paths, reading what is new.

use super::chunk::chunk_list;
use super::dirs::Dirs;
use super::door::{self, Step};
use super::errors::{at_path, errno_of, is_gone, trouble};
use super::lists::Lists;
use super::root::{Root, open_below};
use super::stat::{Device, look_at, stat_fd};
use rustix::fd::OwnedFd;
use rustix::fs::{OFlags, readlinkat};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;
use sync_core::index::{Stat, StatKind};
use sync_core::input::Seen;
use sync_core::path::RelPath;
use sync_core::transfer::ChunkList;
use sync_core::{ContentId, ItemError, ItemErrorKind};

/// Largest buffer for reading a file.
const BUFFER: u64 = 256 << 10;
/// Bytes above which the chunk list of a file is made while it is hashed: smaller ones are made quickly when asked for.
const LISTED_ABOVE: u64 = 1 << 20;
/// Longest wait, in milliseconds, for the kernel's clock to pass a file's change time.
const TICK_MS: usize = 12;

/// What each path holds: see `Output::Probe`. A file whose fingerprint is the one given is not read. The chunk lists of
/// large files are made with that, for those who will ask.
///
/// # Errors
/// When the root was not the folder's at the start and at the end. Trouble with one path is that path's answer: `Busy`
/// when the file changed while it was read.
pub fn probe(
    root: &Root,
    paths: &[(RelPath, Option<Stat>)],
    lists: &Lists,
) -> Result<Vec<Result<Seen, ItemError>>, ItemError> {
    let dir = root.enter()?;
    let dirs = Dirs::new(&dir).map_err(|errno| trouble("open", "the folder's root", errno))?;
    let mut probe = Probe { dirs, home: dir.device(), buffer: Vec::new(), lists };
    let seen = paths.iter().map(|(path, known)| probe.look(path, known.as_ref())).collect();
    root.verify()?;
    Ok(seen)
}

struct Probe<'r> {
    dirs: Dirs<'r>,
    home: Device,
    buffer: Vec<u8>,
    lists: &'r Lists,
}

impl Probe<'_> {
    fn look(&mut self, path: &RelPath, known: Option<&Stat>) -> Result<Seen, ItemError> {
        let parent = match self.dirs.parent(path) {
            Ok(parent) => parent,
            Err(errno) if is_gone(errno) => return Ok(Seen::Absent),
            Err(errno) => return Err(at_path("open the directory of", path, errno)),
        };
        let name = path.name();
        let stat = look_at(&*parent, name.as_bytes(), self.home);
        let Some(stat) = stat.map_err(|errno| at_path("statx", path, errno))? else {
            return Ok(Seen::Absent);
        };
        match stat.kind {
            StatKind::Dir => Ok(Seen::Dir(stat)),
            StatKind::File if known == Some(&stat) => Ok(Seen::File(stat, None)),
            StatKind::File => self.read(path, &parent, stat),
            StatKind::Symlink => self.follow_not(path, &parent, stat),
            StatKind::Other => {
                let reason = format!("'{}' is a socket, device, fifo or mount point", path.display());
                Err(ItemError { kind: ItemErrorKind::Unsupported, reason })
            }
        }
    }

    fn follow_not(&self, path: &RelPath, parent: &OwnedFd, stat: Stat) -> Result<Seen, ItemError> {
        let name = path.name();
        let target = match readlinkat(parent, name.as_bytes(), Vec::new()) {
            Ok(target) => target.into_bytes(),
            // No link is there any more.
            Err(Errno::INVAL | Errno::NOENT) => return Err(busy(path)),
            Err(errno) => return Err(at_path("readlink", path, errno)),
        };
        self.still(path, parent, &stat)?;
        Ok(Seen::Symlink(stat, target.into()))
    }

    fn read(&mut self, path: &RelPath, parent: &OwnedFd, stat: Stat) -> Result<Seen, ItemError> {
        let fail = |call, errno| if is_gone(errno) { busy(path) } else { at_path(call, path, errno) };
        let name = path.name();
        let fd = open_below(parent, name.as_bytes(), OFlags::RDONLY | OFlags::NONBLOCK);
        let mut file = File::from(fd.map_err(|errno| fail("open", errno))?);
        let home = self.home;
        let same = |file: &File| stat_fd(file, home).map(|now| now == stat).map_err(|errno| fail("fstat", errno));
        if !same(&file)? {
            return Err(busy(path));
        }
        door::pass(Step::Read).map_err(|errno| fail("read", errno))?;
        let (hash, list) = self.digest(&mut file, stat.size).map_err(|e| fail("read", errno_of(&e)))?;
        pass_tick(stat.ctime_ns);
        if !same(&file)? {
            return Err(busy(path));
        }
        self.still(path, parent, &stat)?;
        if let Some(list) = list {
            self.lists.keep(hash, stat.size, list);
        }
        Ok(Seen::File(stat, Some(hash)))
    }

    /// The hash of a file, and the chunk list of a large one: that is made on a thread of its own, since either takes long.
    fn digest(&mut self, file: &mut File, size: u64) -> io::Result<(ContentId, Option<Arc<ChunkList>>)> {
        if size <= LISTED_ABOVE {
            return Ok((hash_reader(file, size, &mut self.buffer)?, None));
        }
        let again = Positioned { file, at: 0 };
        let (hash, list) = std::thread::scope(|scope| {
            let list = scope.spawn(move || chunk_list(again, size, size));
            let mut whole = Positioned { file, at: 0 };
            (hash_reader(&mut whole, size, &mut self.buffer), list.join())
        });
        // A file that changes is found out by whoever asked for its hash.
        Ok((hash?, list.ok().and_then(Result::ok).map(Arc::new)))
    }

    /// Whether the path still leads to what was read.
    fn still(&self, path: &RelPath, parent: &OwnedFd, stat: &Stat) -> Result<(), ItemError> {
        match look_at(parent, path.name().as_bytes(), self.home) {
            Ok(Some(now)) if now == *stat => Ok(()),
            Ok(_) => Err(busy(path)),
            Err(errno) => Err(at_path("statx", path, errno)),
        }
    }
}

/// A file read from a place of its own, so that two can read it.
struct Positioned<'f> {
    file: &'f File,
    at: u64,
}

impl Read for Positioned<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(out, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// The BLAKE3 of what is left in `reader`, about `size` bytes of it, through a buffer kept between calls.
pub(super) fn hash_reader(reader: &mut impl Read, size: u64, buffer: &mut Vec<u8>) -> io::Result<ContentId> {
    // One byte more than the file spares small ones a second buffer's worth of reading.
    let wanted = usize::try_from(size.saturating_add(1).min(BUFFER)).map_err(io::Error::other)?;
    if buffer.len() < wanted {
        buffer.resize(wanted, 0);
    }
    let mut hasher = blake3::Hasher::new();
    loop {
        match reader.read(buffer) {
            Ok(0) => return Ok(ContentId(*hasher.finalize().as_bytes())),
            Ok(read) => {
                hasher.update(&buffer[..read]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Waits until the kernel's coarse clock, from which change times are taken, is past `ctime_ns`: a write after that
/// cannot leave the fingerprint as it was. Bounded, because a file may come from the future.
fn pass_tick(ctime_ns: i64) {
    for _ in 0..if door::is_still() { 0 } else { TICK_MS } {
        let now = clock_gettime(ClockId::RealtimeCoarse);
        if now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec) > ctime_ns {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn busy(path: &RelPath) -> ItemError {
    ItemError { kind: ItemErrorKind::Busy, reason: format!("'{}' changed while it was read", path.display()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fs::stat::stat_at;
    use std::io::Write;
    use std::os::unix::fs::symlink;
    use sync_core::FolderId;

    fn folder() -> (tempfile::TempDir, Root) {
        let home = tempfile::tempdir().unwrap();
        let root = Root::create(home.path(), FolderId([7; 16])).unwrap();
        (home, root)
    }

    fn path(bytes: &[u8]) -> RelPath {
        RelPath::new(bytes).unwrap()
    }

    fn one(root: &Root, at: &[u8], known: Option<Stat>) -> Result<Seen, ItemError> {
        probe(root, &[(path(at), known)], &Lists::default()).unwrap().remove(0)
    }

    #[test]
    fn each_kind_is_seen_for_what_it_is() {
        let (home, root) = folder();
        std::fs::create_dir(home.path().join("d")).unwrap();
        std::fs::write(home.path().join("d/f"), b"abc").unwrap();
        symlink("/etc/passwd", home.path().join("l")).unwrap();
        assert!(matches!(one(&root, b"d", None), Ok(Seen::Dir(stat)) if stat.kind == StatKind::Dir && stat.size == 0));
        let Ok(Seen::File(stat, Some(content))) = one(&root, b"d/f", None) else { panic!() };
        assert_eq!((stat.size, content), (3, ContentId::of(b"abc")));
        let Ok(Seen::Symlink(_, target)) = one(&root, b"l", None) else { panic!() };
        assert_eq!(&*target, b"/etc/passwd");
        assert_eq!(one(&root, b"d/f", Some(stat)), Ok(Seen::File(stat, None)), "known, so not read");
        let other = Stat { mtime_ns: stat.mtime_ns + 1, ..stat };
        assert_eq!(one(&root, b"d/f", Some(other)), Ok(Seen::File(stat, Some(content))));
    }

    #[test]
    fn behind_a_missing_parent_a_file_or_a_link_there_is_nothing() {
        let (home, root) = folder();
        std::fs::write(home.path().join("f"), b"").unwrap();
        symlink("/etc", home.path().join("l")).unwrap();
        for at in [&b"gone"[..], b"gone/x", b"f/x", b"l/passwd"] {
            assert_eq!(one(&root, at, None), Ok(Seen::Absent), "{at:?}");
        }
    }

    #[test]
    fn a_fifo_is_unsupported_and_does_not_block() {
        let (home, root) = folder();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            home.path().join("p"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        assert_eq!(one(&root, b"p", None).unwrap_err().kind, ItemErrorKind::Unsupported);
    }

    #[test]
    fn a_file_larger_than_the_buffer_has_the_hash_of_the_whole() {
        let (home, root) = folder();
        let bytes: Vec<u8> = (0..700_001_u32).map(|i| (i % 251) as u8).collect();
        std::fs::write(home.path().join("f"), &bytes).unwrap();
        assert!(matches!(one(&root, b"f", None), Ok(Seen::File(_, Some(c))) if c == ContentId::of(&bytes)));
    }

    #[test]
    fn a_file_written_after_it_was_looked_at_is_busy() {
        let (home, root) = folder();
        std::fs::write(home.path().join("f"), b"abc").unwrap();
        let dir = root.enter().unwrap();
        let lists = Lists::default();
        let mut probe = Probe { dirs: Dirs::new(&dir).unwrap(), home: dir.device(), buffer: Vec::new(), lists: &lists };
        let at = path(b"f");
        let parent = probe.dirs.parent(&at).unwrap();
        let before = stat_at(&*parent, c"f", dir.device()).unwrap();
        std::fs::OpenOptions::new().append(true).open(home.path().join("f")).unwrap().write_all(b"d").unwrap();
        assert_eq!(probe.read(&at, &parent, before).unwrap_err().kind, ItemErrorKind::Busy);
        let after = stat_at(&*parent, c"f", dir.device()).unwrap();
        std::fs::rename(home.path().join("f"), home.path().join("g")).unwrap();
        assert_eq!(probe.read(&at, &parent, after).unwrap_err().kind, ItemErrorKind::Busy, "gone");
    }

    #[test]
    fn a_file_that_grows_without_rest_is_busy_or_whole_but_never_torn() {
        let (home, root) = folder();
        let at = home.path().join("f");
        std::fs::write(&at, vec![0; 4 << 20]).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut file = std::fs::OpenOptions::new().append(true).open(&at).unwrap();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    file.write_all(&[0; 64]).unwrap();
                }
            });
            let outcome = one(&root, b"f", None);
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            match outcome {
                Err(error) => assert_eq!(error.kind, ItemErrorKind::Busy),
                Ok(Seen::File(stat, Some(content))) => {
                    let size = usize::try_from(stat.size).unwrap();
                    assert_eq!(content, ContentId::of(&vec![0; size]));
                }
                Ok(other) => panic!("{other:?}"),
            }
        });
    }
}

//! The staging area: contents on their way into the tree, each in a file named by its hash.

use super::buffer::{ALIGN, Buffer};
use super::door::{self, Step};
use super::errors::{errno_of, is_gone, trouble};
use super::probe::hash_reader;
use super::root::{Root, open_below};
use super::stat::stat_fd;
use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, Dir, FallocateFlags, OFlags, fallocate, fdatasync, fstat, fstatvfs, ftruncate, ioctl_ficlone, renameat,
    unlinkat,
};
use rustix::io::{Errno, pwrite};
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};
use sync_core::index::{Stat, StatKind};
use sync_core::input::CopyError;
use sync_core::path::RelPath;
use sync_core::proving::{Mutant, Point, is_mutant, sometimes};
use sync_core::{ContentId, ItemError, ItemErrorKind};

/// The staging area, inside the private directory.
const STAGE: &str = "stage";
/// Bytes copied at once where the file system cannot share them.
const COPY_BUFFER: usize = 1 << 20;
/// Bytes from which on a file is written past the page cache.
const DIRECT_ABOVE: u64 = 16 << 20;
/// Bytes that may be kept in memory because something before them has not come: more than is ever asked for at once.
const AHEAD: usize = 32 << 20;
/// Bytes of a block as `stat` counts them (POSIX leaves the unit open; Linux and the BSDs have this one).
const STAT_BLOCK: u64 = 512;

/// Why bytes were not staged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StageError {
    /// They do not have the hash of the content.
    BadHash,
    /// They could not be written.
    Disk(ItemError),
}

impl From<ItemError> for StageError {
    fn from(error: ItemError) -> Self {
        Self::Disk(error)
    }
}

/// Opens the staging area of a folder whose root is there.
pub(super) fn open_stage(dir: &super::root::RootDir) -> Result<OwnedFd, ItemError> {
    dir.private(STAGE).map_err(|errno| trouble("open", "the staging area", errno))
}

/// Stages a whole content. It is not durable yet: applying it makes it so.
///
/// # Errors
/// `BadHash` before anything is written; the disk's refusal, after which nothing is left of it.
pub fn stage_small(root: &Root, content: ContentId, bytes: &[u8]) -> Result<(), StageError> {
    if ContentId::of(bytes) != content && !is_mutant(Mutant::SmallUnverified) {
        return Err(StageError::BadHash);
    }
    let stage = open_stage(&root.enter()?)?;
    let name = content.to_string();
    let mut file = create_fresh(&stage, &name).map_err(|errno| staged("create", content, errno))?;
    let written = door::pass(Step::Write).and_then(|()| file.write_all(bytes).map_err(|e| errno_of(&e)));
    if let Err(errno) = written {
        discard(&stage, &name);
        return Err(staged("write", content, errno).into());
    }
    Ok(())
}

/// A large content on its way, open for writing ranges of it in any order.
#[derive(Debug)]
pub struct StageFile {
    content: ContentId,
    size: u64,
    file: File,
    /// The same file, written past the page cache: for a file of any size that is faster, and it leaves the cache to
    /// others. None for small ones, and where the file system cannot.
    direct: Option<OwnedFd>,
    progress: Mutex<Progress>,
}

/// How far the hash of the whole has come while parts arrive: those need not be read back later.
#[derive(Debug, Default)]
struct Progress {
    hasher: blake3::Hasher,
    /// Bytes hashed.
    hashed: u64,
    /// What is written beyond that, by where it begins, as long as it is not much.
    ahead: BTreeMap<u64, Buffer>,
    ahead_bytes: usize,
}

impl Progress {
    /// Something is about to be written at `range`. Where other bytes were hashed or wait to be, all is hashed again in the
    /// end.
    fn will_write(&mut self, range: &Range<u64>) {
        let is_ahead = |(at, bytes): (&u64, &Buffer)| at + bytes.len() as u64 > range.start;
        if range.start < self.hashed || self.ahead.range(..range.end).next_back().is_some_and(is_ahead) {
            *self = Self::default();
        }
    }

    /// `bytes` are written at `offset`. Hashes what can be hashed now.
    fn wrote(&mut self, offset: u64, bytes: Buffer) {
        if self.ahead_bytes + bytes.len() > AHEAD && offset > self.hashed {
            return;
        }
        self.ahead_bytes += bytes.len();
        self.ahead.insert(offset, bytes);
        while let Some(bytes) = self.ahead.remove(&self.hashed) {
            self.ahead_bytes -= bytes.len();
            self.hasher.update(&bytes);
            self.hashed += bytes.len() as u64;
        }
    }

    /// Hashes what `file` holds up to `end`.
    fn read_up_to(&mut self, file: &File, end: u64) -> io::Result<()> {
        let mut buffer = vec![0; COPY_BUFFER];
        while self.hashed < end {
            let len = usize::try_from(end - self.hashed).unwrap_or(usize::MAX).min(buffer.len());
            file.read_exact_at(&mut buffer[..len], self.hashed)?;
            self.hasher.update(&buffer[..len]);
            self.hashed += len as u64;
        }
        Ok(())
    }
}

impl StageFile {
    /// Opens the staged file of `content`, or makes it with all its `size` bytes allocated, so that a full disk shows
    /// before anything is fetched.
    ///
    /// # Errors
    /// The disk's; a file made in vain is removed.
    pub fn open(root: &Root, content: ContentId, size: u64) -> Result<Self, ItemError> {
        let stage = open_stage(&root.enter()?)?;
        let name = content.to_string();
        let file = match open_below(&stage, name.as_bytes(), OFlags::RDWR) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => create_fresh(&stage, &name).map_err(|errno| staged("create", content, errno))?,
            Err(errno) => return Err(staged("open", content, errno)),
        };
        let held = file.metadata().map_err(|e| staged("fstat", content, errno_of(&e)))?.len();
        if held != size
            && let Err(errno) = door::pass(Step::Allocate).and_then(|()| allocate(&file, size))
        {
            discard(&stage, &name);
            return Err(staged("allocate", content, errno));
        }
        let direct = if size >= DIRECT_ABOVE {
            open_below(&stage, name.as_bytes(), OFlags::WRONLY | OFlags::DIRECT).ok()
        } else {
            None
        };
        Ok(Self { direct, ..Self::new(content, size, file) })
    }

    fn new(content: ContentId, size: u64, file: File) -> Self {
        Self { content, size, file, direct: None, progress: Mutex::default() }
    }

    /// Whether it is still in the staging area, or wherever it was moved.
    pub fn is_linked(&self) -> bool {
        self.file.metadata().is_ok_and(|meta| std::os::unix::fs::MetadataExt::nlink(&meta) > 0)
    }

    /// Writes `bytes` at `offset`.
    ///
    /// # Errors
    /// The disk's, and a range beyond the end of the content.
    pub fn write(&self, offset: u64, bytes: Buffer) -> Result<(), ItemError> {
        let end = u64::try_from(bytes.len()).ok().and_then(|len| offset.checked_add(len));
        if end.is_none_or(|end| end > self.size) {
            return Err(staged("write beyond the end of", self.content, Errno::FBIG));
        }
        let fail = |errno| staged("write", self.content, errno);
        // Held while it is written, so that what is hashed is what was written last.
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.will_write(&(offset..offset + bytes.len() as u64));
        door::pass(Step::Write).map_err(fail)?;
        let direct = self.write_direct(offset, &bytes).map_err(fail)?;
        for part in [0..direct.start, direct.end..bytes.len()] {
            let at = offset + part.start as u64;
            self.file.write_all_at(&bytes[part], at).map_err(|error| fail(errno_of(&error)))?;
        }
        progress.wrote(offset, bytes);
        Ok(())
    }

    /// Writes as much as can be past the page cache. Returns which part of `bytes` that is.
    fn write_direct(&self, offset: u64, bytes: &Buffer) -> Result<Range<usize>, Errno> {
        let (Some(fd), part) = (&self.direct, bytes.direct(offset)) else { return Ok(0..0) };
        let mut done = part.start;
        while done < part.end {
            match pwrite(fd, &bytes[done..part.end], offset + done as u64) {
                Ok(written) if written % ALIGN == 0 && written > 0 => done += written,
                // An odd end, as a disk that fills up makes it, and file systems that want more than we know of: the rest
                // goes the other way, which says what is wrong.
                Ok(_) | Err(Errno::INVAL) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(part.start..done)
    }
}

/// Makes durable what has been written of a staged file.
///
/// # Errors
/// The disk's, and `Io` when there is no such file.
pub fn seal(root: &Root, content: ContentId) -> Result<(), ItemError> {
    let stage = open_stage(&root.enter()?)?;
    let fd = open_below(&stage, content.to_string().as_bytes(), OFlags::RDONLY);
    door::pass(Step::Sync).and(fd).and_then(fdatasync).map_err(|errno| staged("fdatasync", content, errno))
}

/// Makes a staged file durable; whether it has the size and hash of its content. What was not hashed as it arrived is read
/// back. A missing file has not.
///
/// # Errors
/// The disk's.
pub fn finish(root: &Root, content: ContentId, size: u64, open: Option<Arc<StageFile>>) -> Result<bool, ItemError> {
    let fail = |call, errno| staged(call, content, errno);
    let stage = open_stage(&root.enter()?)?;
    let open = match open.filter(|open| open.is_linked()) {
        Some(open) => open,
        None => match open_below(&stage, content.to_string().as_bytes(), OFlags::RDONLY) {
            Ok(fd) => Arc::new(StageFile::new(content, size, fd.into())),
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) => return Err(fail("open", errno)),
        },
    };
    let file = &open.file;
    if file.metadata().map_err(|e| fail("fstat", errno_of(&e)))?.len() != size {
        return Ok(false);
    }
    let mut progress = open.progress.lock().unwrap_or_else(PoisonError::into_inner);
    progress.read_up_to(file, size).map_err(|e| fail("read", errno_of(&e)))?;
    door::pass(Step::Sync).and_then(|()| fdatasync(file)).map_err(|errno| fail("fdatasync", errno))?;
    Ok(progress.hasher.finalize().as_bytes() == &content.0)
}

/// Stages a content from the file at `from` in `from_root`, sharing its blocks where the file system can.
///
/// # Errors
/// `Source` when the file is not what was expected or does not hold the content; `Disk` when the copy cannot be written.
pub fn copy(
    to_root: &Root,
    content: ContentId,
    from_root: &Root,
    from: &RelPath,
    expect: Stat,
) -> Result<(), CopyError> {
    let stage = to_root.enter().and_then(|dir| open_stage(&dir)).map_err(CopyError::Disk)?;
    let source_dir = from_root.enter().map_err(|_| CopyError::Source)?;
    let source = source_dir.open_beneath(from.as_bytes(), OFlags::RDONLY | OFlags::NONBLOCK);
    let source = File::from(source.map_err(|_| CopyError::Source)?);
    let is_same = stat_fd(&source, source_dir.device()).is_ok_and(|now| now == expect);
    if expect.kind != StatKind::File || !is_same {
        return Err(CopyError::Source);
    }
    stage_copy(&stage, content, &source)
}

/// Stages a content from an open file. The hash of what was copied decides: a file written to meanwhile is not it.
pub(super) fn stage_copy(stage: &OwnedFd, content: ContentId, source: &File) -> Result<(), CopyError> {
    // Under a name of its own until it is whole, so that what was staged before stays good.
    let (name, partial) = (content.to_string(), format!("{content}.copy"));
    let outcome = fill_copy(stage, &partial, source, content).and_then(|hash| {
        if hash != content && !is_mutant(Mutant::CopyUnverified) {
            return Err(CopyError::Source);
        }
        let renamed = renameat(stage, &partial, stage, &name);
        renamed.map_err(|errno| CopyError::Disk(staged("rename", content, errno)))
    });
    if outcome.is_err() {
        discard(stage, &partial);
    }
    outcome
}

/// Copies `source` to the new file `partial` and returns the hash of what is there.
fn fill_copy(stage: &OwnedFd, partial: &str, source: &File, content: ContentId) -> Result<ContentId, CopyError> {
    let disk = |call, errno| CopyError::Disk(staged(call, content, errno));
    let mut file = create_fresh(stage, partial).map_err(|errno| disk("create", errno))?;
    if ioctl_ficlone(&file, source).is_ok() {
        let size = file.metadata().map_err(|e| disk("fstat", errno_of(&e)))?.len();
        return hash_reader(&mut file, size, &mut Vec::new()).map_err(|e| disk("read", errno_of(&e)));
    }
    let (mut hasher, mut buffer, mut source) = (blake3::Hasher::new(), vec![0; COPY_BUFFER], source);
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(ContentId(*hasher.finalize().as_bytes())),
            Ok(read) => {
                hasher.update(&buffer[..read]);
                file.write_all(&buffer[..read]).map_err(|e| disk("write", errno_of(&e)))?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(CopyError::Source),
        }
    }
}

/// Forgets a staged content. Forgetting what is not staged is no error.
///
/// # Errors
/// The disk's.
pub fn unstage(root: &Root, content: ContentId) -> Result<(), ItemError> {
    let stage = open_stage(&root.enter()?)?;
    match unlinkat(&stage, content.to_string(), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(staged("unlink", content, errno)),
    }
}

/// Removes every staged file that is not among `keep`, at the start of a run: what an earlier one left behind. Returns
/// how many went.
///
/// # Errors
/// The disk's.
pub fn sweep(root: &Root, keep: &HashSet<ContentId>) -> Result<u64, ItemError> {
    let fail = |call, errno| trouble(call, "the staging area", errno);
    let stage = open_stage(&root.enter()?)?;
    let mut removed = 0;
    for entry in Dir::read_from(&stage).map_err(|errno| fail("open", errno))? {
        let entry = entry.map_err(|errno| fail("getdents", errno))?;
        let name = entry.file_name();
        let kept = name.to_str().ok().and_then(ContentId::parse).is_some_and(|content| keep.contains(&content));
        let kept = kept && !is_mutant(Mutant::SweptAll);
        if kept || matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match unlinkat(&stage, name, AtFlags::empty()) {
            Ok(()) => {
                sometimes(Point::ShellSwept);
                removed += 1;
            }
            Err(errno) if is_gone(errno) => {}
            Err(errno) => return Err(fail("unlink in", errno)),
        }
    }
    Ok(removed)
}

/// Makes a new file in the staging area. One that is there by the same name is unlinked, never truncated: whoever has
/// it open, or has renamed it into the tree meanwhile, keeps it whole.
pub(super) fn create_fresh(stage: &OwnedFd, name: &str) -> Result<File, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
    let fd = match open_below(stage, name.as_bytes(), flags) {
        Err(Errno::EXIST) => {
            unlinkat(stage, name, AtFlags::empty())?;
            open_below(stage, name.as_bytes(), flags)?
        }
        other => other?,
    };
    Ok(File::from(fd))
}

/// Removes what could not be finished. Failing that, the next sweep does.
pub(super) fn discard(stage: &OwnedFd, name: &str) {
    if let Err(errno) = unlinkat(stage, name, AtFlags::empty())
        && errno != Errno::NOENT
    {
        tracing::warn!(name, %errno, "a staged file could not be removed");
    }
}

/// Reserves the space of a whole file before the first byte is fetched. What cannot fit is refused without trying:
/// an attempt would hold all the space that is left until it fails, and other programs' writes would fail with it.
fn allocate(file: &File, size: u64) -> Result<(), Errno> {
    ftruncate(file, size)?;
    if size == 0 {
        return Ok(());
    }
    let disk = fstatvfs(file)?;
    let held = u64::try_from(fstat(file)?.st_blocks).unwrap_or_default().saturating_mul(STAT_BLOCK);
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    // Some file systems do not say how large they are.
    if disk.f_blocks > 0 && size.saturating_sub(held) > free {
        return Err(Errno::NOSPC);
    }
    match fallocate(file, FallocateFlags::empty(), 0, size) {
        // The file system cannot reserve: a full disk shows when it is written.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        other => other,
    }
}

fn staged(call: &str, content: ContentId, errno: Errno) -> ItemError {
    let mut error = trouble(call, &format!("the staged file {}", content.short()), errno);
    // Nothing about a staged file's name is a person's to change.
    if error.kind == ItemErrorKind::Name {
        error.kind = ItemErrorKind::Io;
    }
    error
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fs::{Buffers, Lists, probe};
    use std::path::PathBuf;
    use sync_core::FolderId;
    use sync_core::input::Seen;

    fn folder() -> (tempfile::TempDir, Root) {
        let home = tempfile::tempdir().unwrap();
        let root = Root::create(home.path(), FolderId([7; 16])).unwrap();
        (home, root)
    }

    fn part(offset: u64, bytes: &[u8]) -> Buffer {
        let mut buffer = Buffers::default().take(offset, bytes.len());
        buffer.copy_from_slice(bytes);
        buffer
    }

    #[test]
    fn what_goes_past_the_page_cache_is_all_there() {
        let (_home, root) = folder();
        let size = DIRECT_ABOVE + 4_999;
        let mut bytes = vec![0; size as usize];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        let content = ContentId::of(&bytes);
        let file = Arc::new(StageFile::open(&root, content, size).unwrap());
        // Of odd lengths, out of order, and one of them twice.
        let bounds = [0, 1, 5_000_001, 5_000_002, 9_000_000, 16_000_000, size as usize];
        for i in [2, 0, 1, 5, 4, 4, 3] {
            let (from, to) = (bounds[i], bounds[i + 1]);
            file.write(from as u64, part(from as u64, &bytes[from..to])).unwrap();
        }
        assert_eq!(std::fs::read(place(&root, content)).unwrap(), bytes);
        assert_eq!(finish(&root, content, size, Some(file)), Ok(true));
        assert_eq!(finish(&root, content, size, None), Ok(true));
    }

    fn place(root: &Root, content: ContentId) -> PathBuf {
        root.path().join(".landropic/stage").join(content.to_string())
    }

    fn stat(root: &Root, path: &[u8]) -> (RelPath, Stat) {
        let path = RelPath::new(path).unwrap();
        let Ok(Seen::File(stat, _)) = probe(root, &[(path.clone(), None)], &Lists::default()).unwrap().remove(0) else {
            panic!()
        };
        (path, stat)
    }

    #[test]
    fn bytes_of_another_content_are_not_staged() {
        let (_home, root) = folder();
        let content = ContentId::of(b"abc");
        assert_eq!(stage_small(&root, content, b"abd"), Err(StageError::BadHash));
        assert!(!place(&root, content).exists());
        stage_small(&root, content, b"abc").unwrap();
        stage_small(&root, content, b"abc").unwrap();
        assert_eq!(finish(&root, content, 3, None), Ok(true));
    }

    #[test]
    fn staging_again_leaves_whoever_holds_the_first_file_unharmed() {
        let (home, root) = folder();
        let content = ContentId::of(b"abc");
        stage_small(&root, content, b"abc").unwrap();
        let held = home.path().join("held");
        std::fs::hard_link(place(&root, content), &held).unwrap();
        std::fs::write(&held, b"edited").unwrap();
        stage_small(&root, content, b"abc").unwrap();
        assert_eq!(std::fs::read(&held).unwrap(), b"edited");
        assert_eq!(finish(&root, content, 3, None), Ok(true));
    }

    #[test]
    fn ranges_in_any_order_make_up_the_content_and_survive_reopening() {
        let (_home, root) = folder();
        let bytes: Vec<u8> = (0..100_000_u32).map(|i| (i % 253) as u8).collect();
        let content = ContentId::of(&bytes);
        let size = 100_000;
        let file = StageFile::open(&root, content, size).unwrap();
        assert_eq!(place(&root, content).metadata().unwrap().len(), size);
        file.write(60_000, part(60_000, &bytes[60_000..])).unwrap();
        seal(&root, content).unwrap();
        assert_eq!(finish(&root, content, size, None), Ok(false));
        drop(file);
        let file = StageFile::open(&root, content, size).unwrap();
        file.write(0, part(0, &bytes[..60_000])).unwrap();
        assert_eq!(finish(&root, content, size, None), Ok(true));
        assert!(file.write(size - 1, part(size - 1, b"xy")).is_err(), "beyond the end");
        assert!(file.write(u64::MAX, part(0, b"x")).is_err());
    }

    #[test]
    fn what_is_hashed_on_the_way_is_what_is_there_in_the_end() {
        let (_home, root) = folder();
        let bytes: Vec<u8> = (0..100_000_u32).map(|i| (i % 253) as u8).collect();
        let (content, size) = (ContentId::of(&bytes), 100_000);
        let file = Arc::new(StageFile::open(&root, content, size).unwrap());
        let end = |file: &Arc<StageFile>| finish(&root, content, size, Some(file.clone()));
        for range in [30_000..60_000, 60_000..80_000, 0..30_000, 80_000..100_000] {
            file.write(range.start as u64, part(range.start as u64, &bytes[range])).unwrap();
        }
        assert_eq!(file.progress.lock().unwrap().hashed, size, "nothing is left to be read back");
        assert_eq!(end(&file), Ok(true));
        file.write(10, part(10, b"other")).unwrap();
        assert_eq!(end(&file), Ok(false), "written over after it was hashed");
        file.write(10, part(10, &bytes[10..15])).unwrap();
        assert_eq!(end(&file), Ok(true));
        unstage(&root, content).unwrap();
        assert_eq!(end(&file), Ok(false), "what is open is not there any more");
    }

    #[test]
    fn a_staged_file_that_is_missing_or_short_is_not_finished() {
        let (_home, root) = folder();
        let content = ContentId::of(b"abc");
        assert_eq!(finish(&root, content, 3, None), Ok(false));
        assert!(seal(&root, content).is_err());
        std::fs::write(place(&root, content), b"ab").unwrap();
        assert_eq!(finish(&root, content, 3, None), Ok(false));
        unstage(&root, content).unwrap();
        unstage(&root, content).unwrap();
        assert!(!place(&root, content).exists());
    }

    #[test]
    fn a_copy_is_staged_only_from_the_expected_file_with_the_expected_bytes() {
        let (home, root) = folder();
        std::fs::write(home.path().join("f"), b"abc").unwrap();
        let (path, expect) = stat(&root, b"f");
        let content = ContentId::of(b"abc");
        let other = ContentId::of(b"other");
        assert_eq!(copy(&root, other, &root, &path, expect), Err(CopyError::Source));
        assert_eq!(copy(&root, content, &root, &path, expect), Ok(()));
        assert_eq!(finish(&root, content, 3, None), Ok(true));
        std::fs::write(home.path().join("f"), b"abcd").unwrap();
        assert_eq!(copy(&root, content, &root, &path, expect), Err(CopyError::Source));
        assert_eq!(finish(&root, content, 3, None), Ok(true), "what was staged stays");
        std::fs::remove_file(home.path().join("f")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", home.path().join("f")).unwrap();
        assert_eq!(copy(&root, content, &root, &path, expect), Err(CopyError::Source));
        assert_eq!(std::fs::read_dir(root.path().join(".landropic/stage")).unwrap().count(), 1);
    }

    #[test]
    fn a_sweep_leaves_what_is_kept() {
        let (_home, root) = folder();
        let (kept, gone) = (ContentId::of(b"kept"), ContentId::of(b"gone"));
        stage_small(&root, kept, b"kept").unwrap();
        stage_small(&root, gone, b"gone").unwrap();
        std::fs::write(place(&root, kept).with_extension("copy"), b"half").unwrap();
        assert_eq!(sweep(&root, &HashSet::from([kept])), Ok(2));
        assert!(place(&root, kept).exists() && !place(&root, gone).exists());
    }
}

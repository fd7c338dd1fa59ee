//! What the tree no longer shows, kept for a while.
//!
//! ```text
//! .landropic/trash/<wall ns>-<n>/    what one batch displaced; n tells batches of one instant apart
//!     index                          one record an entry: `<i> <size> <mtime ns> <path>` NUL
//!     <i>                            the displaced file or link itself
//! ```
//!
//! The index is written before anything is displaced, from what the batch expects to find. So the original path is
//! known, and so is whether somebody has written to a file since, through a descriptor that was open: such a file is
//! not purged. Nor is anything the index does not account for.

use super::errors::{errno_of, trouble};
use super::probe::hash_reader;
use super::root::{Root, RootDir, open_below};
use super::stage::{open_stage, stage_copy};
use super::stat::{Device, if_any, stat_at};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, fsync, mkdirat, unlinkat};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::time::Duration;
use sync_core::index::{Stat, StatKind};
use sync_core::input::CopyError;
use sync_core::path::RelPath;
use sync_core::proving::{Mutant, Point, is_mutant, sometimes};
use sync_core::{ContentId, ItemError, WallTime};

/// The trash, inside the private directory.
const TRASH: &str = "trash";
/// The record of a batch's entries.
const INDEX: &str = "index";
/// Most bytes of an index that are read: that of the largest batch is far below.
const INDEX_LIMIT: u64 = 64 << 20;
/// Most batches of one instant.
const SAME_INSTANT: u32 = 10_000;

/// Something in the trash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trashed {
    /// Where it is, relative to the trash.
    pub place: String,
    /// Where it was in the tree.
    pub path: RelPath,
    /// When it was displaced.
    pub at: WallTime,
    /// Bytes.
    pub size: u64,
    /// Whether it was written to after it was displaced: such a file is not purged.
    pub changed: bool,
}

/// The directory that one batch moves into.
pub(super) struct Slot {
    trash: OwnedFd,
    name: String,
    fd: OwnedFd,
}

impl Slot {
    /// Makes the directory of a batch and its index: for each entry its number, path and what it should be.
    pub(super) fn create(root: &RootDir, now: WallTime, entries: &[(usize, &RelPath, &Stat)]) -> Result<Self, Errno> {
        let trash = root.private(TRASH)?;
        let name = fresh_name(&trash, now)?;
        let fd = open_below(&trash, name.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY)?;
        let slot = Self { trash, name, fd };
        match slot.write_index(entries) {
            Ok(()) => Ok(slot),
            Err(errno) => {
                slot.remove_if_empty();
                Err(errno)
            }
        }
    }

    fn write_index(&self, entries: &[(usize, &RelPath, &Stat)]) -> Result<(), Errno> {
        let mut text = Vec::new();
        for (i, path, stat) in entries {
            text.extend_from_slice(format!("{i} {} {} ", stat.size, stat.mtime_ns).as_bytes());
            text.extend_from_slice(path.as_bytes());
            text.push(0);
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let mut file = File::from(open_below(&self.fd, INDEX.as_bytes(), flags)?);
        file.write_all(&text).map_err(|e| errno_of(&e))
    }

    /// The directory.
    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// The directory's name: no two batches of a folder have the same.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Makes the index durable, so that it outlives what it describes.
    pub(super) fn sync_index(&self) -> Result<(), Errno> {
        fsync(open_below(&self.fd, INDEX.as_bytes(), OFlags::RDONLY)?)
    }

    /// Makes what was moved here durable.
    pub(super) fn sync(&self) -> Result<(), Errno> {
        fsync(&self.fd).and_then(|()| fsync(&self.trash))
    }

    /// Removes the directory unless something was moved into it.
    pub(super) fn remove_if_empty(&self) {
        let outcome = names(&self.fd).and_then(|left| {
            if left.iter().any(|name| name != INDEX) {
                return Ok(());
            }
            remove_slot(&self.trash, &self.fd, &self.name)
        });
        if let Err(errno) = outcome {
            tracing::warn!(slot = self.name, %errno, "an empty directory of the trash could not be removed");
        }
    }
}

/// What is in the trash, oldest first.
///
/// # Errors
/// When the root is not the folder's or the trash cannot be read.
pub fn list_trash(root: &Root) -> Result<Vec<Trashed>, ItemError> {
    let dir = root.enter()?;
    let batches = batches(&dir).map_err(|errno| trouble("read", "the trash", errno))?;
    Ok(batches.into_iter().flat_map(|batch| batch.entries).collect())
}

/// Stages whatever of `contents`, each with its size in bytes, the trash holds. Returns which those are. They stay in the
/// trash as well: nothing else holds them until they are in the tree.
///
/// # Errors
/// When the root is not the folder's, the trash cannot be read, or the staging area not written.
pub fn salvage(root: &Root, contents: &[(ContentId, u64)]) -> Result<Vec<ContentId>, ItemError> {
    let dir = root.enter()?;
    let stage = open_stage(&dir)?;
    let trash = dir.private(TRASH).map_err(|errno| trouble("open", "the trash", errno))?;
    let mut wanted: BTreeSet<(u64, ContentId)> = contents.iter().map(|(content, size)| (*size, *content)).collect();
    let mut found = Vec::new();
    let batches = batches(&dir).map_err(|errno| trouble("read", "the trash", errno))?;
    // The newest first: it is the likeliest.
    for entry in batches.iter().rev().flat_map(|batch| &batch.entries) {
        let sizes = (entry.size, ContentId([0; 32]))..=(entry.size, ContentId([u8::MAX; 32]));
        if wanted.range(sizes).next().is_none() {
            continue;
        }
        let Ok(fd) = open_below(&trash, entry.place.as_bytes(), OFlags::RDONLY | OFlags::NONBLOCK) else { continue };
        let mut file = File::from(fd);
        let Ok(content) = hash_reader(&mut file, entry.size, &mut Vec::new()) else { continue };
        if !wanted.contains(&(entry.size, content)) || file.rewind().is_err() {
            continue;
        }
        match stage_copy(&stage, content, &file) {
            Ok(()) => {
                wanted.remove(&(entry.size, content));
                found.push(content);
            }
            Err(CopyError::Source) => {}
            Err(CopyError::Disk(error)) => return Err(error),
        }
    }
    Ok(found)
}

/// Deletes what is older than `max_age`, and then, oldest first, what exceeds `max_bytes` in all. A batch goes as a
/// whole, but for what was written to since it was displaced. Returns the bytes freed.
///
/// # Errors
/// When the root is not the folder's or the trash cannot be read or written.
pub fn purge_trash(root: &Root, max_age: Duration, max_bytes: u64, now: WallTime) -> Result<u64, ItemError> {
    let dir = root.enter()?;
    let fail = |errno| trouble("purge", "the trash", errno);
    let batches = batches(&dir).map_err(fail)?;
    let mut held: u64 = batches.iter().map(Batch::bytes).sum();
    let mut freed = 0;
    for batch in batches {
        let age = u64::try_from(now.0.saturating_sub(batch.at.0)).unwrap_or(0);
        if Duration::from_nanos(age) <= max_age && held <= max_bytes {
            continue;
        }
        held = held.saturating_sub(batch.bytes());
        match batch.remove(&dir) {
            Ok(bytes) => {
                sometimes(Point::ShellTrashPurged);
                freed += bytes;
            }
            Err(errno) => tracing::warn!(slot = batch.name, %errno, "this trash could not be removed"),
        }
    }
    Ok(freed)
}

/// One directory of the trash.
struct Batch {
    name: String,
    at: WallTime,
    entries: Vec<Trashed>,
}

impl Batch {
    fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.size).sum()
    }

    /// Deletes the entries that are still what they were, and the directory once nothing else is left in it.
    fn remove(&self, root: &RootDir) -> Result<u64, Errno> {
        let trash = root.private(TRASH)?;
        let fd = open_below(&trash, self.name.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut freed = 0;
        for entry in self.entries.iter().filter(|entry| !entry.changed || is_mutant(Mutant::ChangedTrashPurged)) {
            let name = entry.place.rsplit('/').next().unwrap_or_default();
            unlinkat(&fd, name, AtFlags::empty())?;
            freed += entry.size;
        }
        let left = names(&fd)?;
        if left.iter().all(|name| name == INDEX) {
            remove_slot(&trash, &fd, &self.name)?;
        } else {
            tracing::warn!(slot = self.name, left = left.len() - 1, "trash that has changed is kept");
        }
        Ok(freed)
    }
}

/// Every directory of the trash, oldest first.
fn batches(root: &RootDir) -> Result<Vec<Batch>, Errno> {
    let trash = root.private(TRASH)?;
    let mut out = Vec::new();
    for name in names(&trash)? {
        let Some(at) = name.split_once('-').and_then(|(ns, _)| ns.parse().ok()) else {
            continue;
        };
        let opened = open_below(&trash, name.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY);
        let entries = opened.and_then(|fd| read_batch(&fd, &name, WallTime(at), root.device()));
        let Ok(entries) = entries.inspect_err(|errno| tracing::warn!(name, %errno, "this trash cannot be read")) else {
            continue;
        };
        out.push(Batch { name, at: WallTime(at), entries });
    }
    out.sort_by(|a, b| (a.at, &a.name).cmp(&(b.at, &b.name)));
    Ok(out)
}

fn read_batch(fd: &OwnedFd, name: &str, at: WallTime, home: Device) -> Result<Vec<Trashed>, Errno> {
    let file = match open_below(fd, INDEX.as_bytes(), OFlags::RDONLY) {
        Ok(fd) => File::from(fd),
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(errno) => return Err(errno),
    };
    let mut text = Vec::new();
    file.take(INDEX_LIMIT).read_to_end(&mut text).map_err(|e| errno_of(&e))?;
    let mut out = Vec::new();
    for record in text.split(|b| *b == 0).filter_map(parse_record) {
        let Some(stat) = if_any(stat_at(fd, record.name, home))? else {
            continue;
        };
        let is_same = (stat.size, stat.mtime_ns) == (record.size, record.mtime_ns);
        out.push(Trashed {
            place: format!("{name}/{}", record.name),
            path: record.path,
            at,
            size: stat.size,
            changed: stat.kind == StatKind::Dir || stat.kind == StatKind::File && !is_same,
        });
    }
    Ok(out)
}

/// One record of an index.
struct Record<'a> {
    name: &'a str,
    size: u64,
    mtime_ns: i64,
    path: RelPath,
}

fn parse_record(bytes: &[u8]) -> Option<Record<'_>> {
    let mut fields = bytes.splitn(4, |b| *b == b' ');
    let mut text = || std::str::from_utf8(fields.next()?).ok();
    let (name, size, mtime_ns) = (text()?, text()?.parse().ok()?, text()?.parse().ok()?);
    name.parse::<usize>().ok()?;
    Some(Record { name, size, mtime_ns, path: RelPath::new(fields.next()?).ok()? })
}

fn fresh_name(trash: &OwnedFd, now: WallTime) -> Result<String, Errno> {
    // A clock before 1970 would put a sign where the names are split.
    let at = now.0.max(0);
    for n in 0..SAME_INSTANT {
        let name = format!("{at:020}-{n}");
        match mkdirat(trash, &name, Mode::RWXU) {
            Ok(()) => return Ok(name),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::EXIST)
}

fn remove_slot(trash: &OwnedFd, fd: &OwnedFd, name: &str) -> Result<(), Errno> {
    match unlinkat(fd, INDEX, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => unlinkat(trash, name, AtFlags::REMOVEDIR),
        Err(errno) => Err(errno),
    }
}

fn names(fd: &OwnedFd) -> Result<Vec<String>, Errno> {
    let mut out = Vec::new();
    for entry in Dir::read_from(fd)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        if !matches!(&*name, "." | "..") {
            out.push(name.into_owned());
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fs::{Lists, apply, finish, probe};
    use std::path::{Path, PathBuf};
    use sync_core::FolderId;
    use sync_core::input::{Done, Seen};
    use sync_core::output::{Make, Op};

    /// Writes a file and moves it to the trash at `at`.
    fn trash(root: &Root, path: &[u8], bytes: &[u8], at: i64) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        std::fs::write(root.path().join(std::ffi::OsStr::from_bytes(path)), bytes).unwrap();
        let path = RelPath::new(path).unwrap();
        let Ok(Seen::File(stat, _)) = probe(root, &[(path.clone(), None)], &Lists::default()).unwrap().remove(0) else {
            panic!()
        };
        let op = Op { path, expect: Some(stat), make: Make::Absent };
        assert_eq!(apply(root, &[op], WallTime(at)), Ok(vec![Done::Made(None)]));
        let place = list_trash(root).unwrap().into_iter().rfind(|t| t.at == WallTime(at)).unwrap().place;
        root.path().join(".landropic/trash").join(Path::new(&place))
    }

    fn folder() -> (tempfile::TempDir, Root) {
        let home = tempfile::tempdir().unwrap();
        let root = Root::create(home.path(), FolderId([7; 16])).unwrap();
        (home, root)
    }

    #[test]
    fn what_is_trashed_can_be_told_by_its_path_and_time() {
        let (_home, root) = folder();
        let place = trash(&root, b"a \n\xff", b"abc", 5);
        assert_eq!(std::fs::read(place).unwrap(), b"abc");
        let list = list_trash(&root).unwrap();
        assert_eq!((list[0].path.as_bytes(), list[0].at, list[0].size), (&b"a \n\xff"[..], WallTime(5), 3));
        assert!(!list[0].changed);
    }

    #[test]
    fn old_trash_goes_first_and_only_as_much_as_exceeds_the_limits() {
        let (_home, root) = folder();
        for at in 1..=4 {
            trash(&root, format!("f{at}").as_bytes(), &[0; 10], at * 1_000_000_000);
        }
        let now = WallTime(5_000_000_000);
        let left = || list_trash(&root).unwrap().iter().map(|t| t.at.0 / 1_000_000_000).collect::<Vec<_>>();
        assert_eq!(purge_trash(&root, Duration::from_secs(3), u64::MAX, now), Ok(10));
        assert_eq!(left(), [2, 3, 4]);
        assert_eq!(purge_trash(&root, Duration::MAX, 25, now), Ok(10));
        assert_eq!(left(), [3, 4]);
        assert_eq!(purge_trash(&root, Duration::MAX, 0, now), Ok(20));
        assert_eq!(std::fs::read_dir(root.path().join(".landropic/trash")).unwrap().count(), 0);
    }

    #[test]
    fn what_is_looked_for_is_staged_from_the_trash_and_stays_there() {
        let (_home, root) = folder();
        trash(&root, b"a", b"one", 1);
        trash(&root, b"b", b"two", 2);
        let wanted = [b"two", b"tri"].map(|bytes| (ContentId::of(bytes), 3));
        assert_eq!(salvage(&root, &wanted), Ok(vec![ContentId::of(b"two")]));
        assert_eq!(finish(&root, ContentId::of(b"two"), 3, None), Ok(true));
        assert_eq!(salvage(&root, &wanted), Ok(vec![ContentId::of(b"two")]), "and again");
        assert_eq!(list_trash(&root).unwrap().len(), 2);
        assert_eq!(finish(&root, ContentId::of(b"one"), 3, None), Ok(false), "nobody asked for it");
    }

    #[test]
    fn a_trashed_file_that_somebody_wrote_to_is_kept() {
        let (_home, root) = folder();
        let place = trash(&root, b"f", b"abc", 1);
        std::fs::write(&place, b"more than that").unwrap();
        assert_eq!(purge_trash(&root, Duration::ZERO, 0, WallTime(9)), Ok(0));
        assert_eq!(std::fs::read(&place).unwrap(), b"more than that");
        assert!(list_trash(&root).unwrap()[0].changed);
    }
}

//! Changing the tree: durable before visible, and nothing lost that was not expected.
//!
//! A batch goes through three stages. Its staged files get their mode and time and are made durable together. Then each
//! operation looks at its target once more and moves into place with one rename that either replaces nothing or
//! exchanges; what an exchange displaced is looked at again, and goes back if it is not what was expected. Displaced
//! entries land in the trash at once, so that no crash leaves them where a sweep would take them for leftovers. Last,
//! the directories are made durable.

mod ops;
mod ready;
mod rename;

#[cfg(test)]
mod tests;

use super::dirs::Dirs;
use super::door::{self, Step};
use super::errors::{at_path, trouble};
use super::root::{Root, RootDir};
use super::stage::open_stage;
use super::stat::Device;
use super::trash::Slot;
use ready::Ready;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, fsync, openat, syncfs};
use rustix::io::Errno;
use std::collections::HashMap;
use std::rc::Rc;
use sync_core::index::{Stat, StatKind};
use sync_core::input::Done;
use sync_core::output::{Make, Op};
use sync_core::path::{DirPath, RelPath};
use sync_core::{ItemError, ItemErrorKind, WallTime};

/// Up to so many files or directories are made durable one by one; more of them by one `syncfs`.
const FEW: usize = 4;

/// Carries out `ops` in order: see `Output::Apply`, `Op` and `Done`. `now` names what is displaced in the trash.
///
/// A content that several operations of the batch ask for is copied for all but the last.
///
/// # Errors
/// When the root is not the folder's; then nothing has been done.
pub fn apply(root: &Root, ops: &[Op], now: WallTime) -> Result<Vec<Done>, ItemError> {
    let dir = root.enter()?;
    let mut batch = match Batch::prepare(root, &dir, ops, now) {
        Ok(batch) => batch,
        Err(error) => return Ok(ops.iter().map(|_| Done::Failed(error.clone())).collect()),
    };
    let mut done: Vec<Done> = ops
        .iter()
        .enumerate()
        .map(|(i, op)| match batch.carry_out(i, op) {
            Ok(stat) => Done::Made(stat),
            Err(stop) => stop,
        })
        .collect();
    if let Err(errno) = batch.settle() {
        let error = trouble("fsync", "the changed directories", errno);
        for done in &mut done {
            if let Done::Made(stat) = *done {
                *done = Done::Volatile(stat, error.clone());
            }
        }
    }
    Ok(done)
}

/// What one call of [`apply`] works with.
struct Batch<'r> {
    root: &'r Root,
    dir: &'r RootDir,
    dirs: Dirs<'r>,
    home: Device,
    stage: OwnedFd,
    /// Where displaced entries go: `None` if no operation expects one.
    slot: Option<Slot>,
    /// The staged file of each operation that asks for one.
    ready: HashMap<usize, Result<Ready, Done>>,
    /// Directories to be made durable.
    touched: HashMap<DirPath, Rc<OwnedFd>>,
    /// Whether something was changed that only `syncfs` makes durable.
    sync_all: bool,
}

impl<'r> Batch<'r> {
    /// Everything up to the point where files may become visible.
    fn prepare(root: &'r Root, dir: &'r RootDir, ops: &[Op], now: WallTime) -> Result<Self, ItemError> {
        let fail = |call, errno| trouble(call, "the folder's private directory", errno);
        let stage = open_stage(dir)?;
        let dirs = Dirs::new(dir).map_err(|errno| fail("open", errno))?;
        let displaced: Vec<_> =
            ops.iter().enumerate().filter_map(|(i, op)| displaces(op).map(|s| (i, &op.path, s))).collect();
        let slot = match &displaced[..] {
            [] => None,
            some => Some(Slot::create(dir, now, some).map_err(|errno| fail("make an entry of the trash in", errno))?),
        };
        let home = dir.device();
        let (ready, touched) = (HashMap::new(), HashMap::new());
        let mut batch = Self { root, dir, dirs, home, stage, slot, ready, touched, sync_all: false };
        let files = batch.make_ready(ops);
        if let Err(errno) = batch.make_durable(files) {
            batch.abandon();
            return Err(fail("sync files in", errno));
        }
        Ok(batch)
    }

    /// Makes the staged files, and the index of what is about to be displaced, durable.
    fn make_durable(&self, files: Option<Vec<OwnedFd>>) -> Result<(), Errno> {
        door::pass(Step::Sync)?;
        match files {
            Some(few) => {
                few.iter().try_for_each(fsync)?;
                self.slot.as_ref().map_or(Ok(()), Slot::sync_index)
            }
            None => syncfs(self.dir.fd()),
        }
    }

    /// Makes the changed directories durable, and leaves nothing needless behind.
    fn settle(mut self) -> Result<(), Errno> {
        let outcome = self.sync_touched();
        self.abandon();
        outcome
    }

    fn sync_touched(&self) -> Result<(), Errno> {
        if self.touched.is_empty() && !self.sync_all {
            return Ok(());
        }
        door::pass(Step::Sync)?;
        if self.sync_all || self.touched.len() > FEW {
            return syncfs(self.dir.fd());
        }
        for fd in self.touched.values() {
            match openat(&**fd, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
                Ok(fd) => fsync(fd)?,
                // Gone since, or not ours to read.
                Err(Errno::NOENT) => {}
                Err(_) => return syncfs(self.dir.fd()),
            }
        }
        self.slot.as_ref().map_or(Ok(()), Slot::sync)
    }

    /// Gives unused copies back to the staging area, and drops a trash directory that holds nothing.
    fn abandon(&mut self) {
        for (_, ready) in self.ready.drain() {
            if let Ok(ready) = ready {
                ready.give_back(&self.stage);
            }
        }
        if let Some(slot) = &self.slot {
            slot.remove_if_empty();
        }
    }

    /// The directory that holds an operation's target.
    fn parent(&mut self, op: &Op) -> Result<Rc<OwnedFd>, Done> {
        match self.dirs.parent(&op.path) {
            Ok(fd) => Ok(fd),
            Err(Errno::NOTDIR | Errno::LOOP) => Err(Done::Unexpected),
            Err(Errno::NOENT) if op.expect.is_some() => Err(Done::Unexpected),
            Err(Errno::NOENT) => {
                let reason = format!("the parent directory of '{}' is missing", op.path.display());
                Err(Done::Failed(ItemError { kind: ItemErrorKind::Io, reason }))
            }
            Err(errno) => Err(failed("open the directory of", &op.path, errno)),
        }
    }

    /// Notes that the directory `at` has changed.
    fn touch(&mut self, at: DirPath, fd: &Rc<OwnedFd>) {
        // Beyond a few, one call for the whole file system replaces them all: no need to keep more descriptors.
        if self.touched.len() <= FEW {
            self.touched.entry(at).or_insert_with(|| Rc::clone(fd));
        }
    }
}

/// What an operation moves to the trash, if all is as expected.
fn displaces(op: &Op) -> Option<&Stat> {
    let expect = op.expect.as_ref()?;
    let is_moved = matches!(expect.kind, StatKind::File | StatKind::Symlink) && !matches!(op.make, Make::Meta { .. });
    is_moved.then_some(expect)
}

fn failed(call: &str, path: &RelPath, errno: Errno) -> Done {
    Done::Failed(at_path(call, path, errno))
}

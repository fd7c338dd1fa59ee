//! Getting staged files into the state in which they become visible.

use super::super::errors::{errno_of, trouble};
use super::super::root::open_below;
use super::super::stage::{create_fresh, discard};
use super::super::stat::stat_fd;
use super::{Batch, FEW};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, Timespec, Timestamps, UTIME_OMIT, chmodat, fchmod, futimens, ioctl_ficlone,
    renameat_with,
};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::File;
use sync_core::ContentId;
use sync_core::index::{Stat, StatKind};
use sync_core::input::Done;
use sync_core::output::{Make, Op};

/// A staged file with its final mode and time.
pub(super) struct Ready {
    /// Its name in the staging area.
    pub(super) name: String,
    /// The name it would be looked for under.
    content: String,
    /// What it looks like.
    pub(super) stat: Stat,
}

impl Ready {
    /// Leaves an unused file under the name of its content; a surplus copy goes.
    pub(super) fn give_back(&self, stage: &OwnedFd) {
        if self.name == self.content {
            return;
        }
        if renameat_with(stage, &self.name, stage, &self.content, RenameFlags::NOREPLACE).is_err() {
            discard(stage, &self.name);
        }
    }
}

impl Batch<'_> {
    /// Readies every file the batch asks for. Returns their descriptors if they are few, to be synced one by one.
    pub(super) fn make_ready(&mut self, ops: &[Op]) -> Option<Vec<OwnedFd>> {
        let mut uses: HashMap<ContentId, usize> = HashMap::new();
        for content in ops.iter().filter_map(content_of) {
            *uses.entry(content).or_default() += 1;
        }
        let (mut files, mut count) = (Vec::new(), 0);
        for (i, op) in ops.iter().enumerate() {
            let Make::File { content, size, mtime_ns, mode } = op.make else { continue };
            let left = uses.entry(content).or_default();
            *left = left.saturating_sub(1);
            let outcome = self.ready_one(content, size, (*left > 0).then_some(i)).and_then(|(name, fd)| {
                let stat = dress(&fd, mtime_ns, mode).and_then(|()| stat_fd(&fd, self.home));
                let stat = stat.map_err(|errno| staged("set mode and time of", content, errno))?;
                count += 1;
                if count <= FEW {
                    files.push(fd);
                }
                Ok(Ready { name, content: content.to_string(), stat })
            });
            self.ready.insert(i, outcome);
        }
        (count <= FEW).then_some(files)
    }

    /// Opens the staged file of `content`, or a copy of it for operation `copy_for`.
    fn ready_one(&self, content: ContentId, size: u64, copy_for: Option<usize>) -> Result<(String, OwnedFd), Done> {
        let name = content.to_string();
        let fd = match open_own(&self.stage, &name) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Err(Done::NotStaged),
            Err(errno) => return Err(staged("open", content, errno)),
        };
        let stat = stat_fd(&fd, self.home).map_err(|errno| staged("fstat", content, errno))?;
        if stat.kind != StatKind::File || stat.size != size {
            return Err(Done::NotStaged);
        }
        let Some(i) = copy_for else { return Ok((name, fd)) };
        let copy = format!("{name}.{i}");
        match duplicate(&self.stage, fd, &copy) {
            Ok(fd) => Ok((copy, fd)),
            Err(errno) => {
                discard(&self.stage, &copy);
                Err(staged("copy", content, errno))
            }
        }
    }
}

fn content_of(op: &Op) -> Option<ContentId> {
    match op.make {
        Make::File { content, .. } => Some(content),
        Make::Absent | Make::Dir { .. } | Make::Meta { .. } | Make::Symlink { .. } => None,
    }
}

/// Opens a staged file, whatever mode an earlier attempt has given it.
fn open_own(stage: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    match open_below(stage, name.as_bytes(), OFlags::RDONLY) {
        Err(Errno::ACCESS) => {
            chmodat(stage, name, Mode::RUSR | Mode::WUSR, AtFlags::empty())?;
            open_below(stage, name.as_bytes(), OFlags::RDONLY)
        }
        other => other,
    }
}

fn duplicate(stage: &OwnedFd, from: OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    let mut to = create_fresh(stage, name)?;
    if ioctl_ficlone(&to, &from).is_err() {
        std::io::copy(&mut File::from(from), &mut to).map_err(|e| errno_of(&e))?;
    }
    Ok(to.into())
}

/// Sets time and mode, the umask notwithstanding. The mode comes last: it may take away the right to anything else.
fn dress(fd: &OwnedFd, mtime_ns: i64, mode: u32) -> Result<(), Errno> {
    set_mtime(fd, mtime_ns)?;
    fchmod(fd, Mode::from_raw_mode(mode & 0o777))
}

/// Sets the modification time and leaves the access time.
pub(super) fn set_mtime(fd: impl AsFd, mtime_ns: i64) -> Result<(), Errno> {
    futimens(fd, &times(mtime_ns))
}

/// The argument of the calls that set times.
pub(super) fn times(mtime_ns: i64) -> Timestamps {
    let second = 1_000_000_000;
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime_ns.div_euclid(second), tv_nsec: mtime_ns.rem_euclid(second) },
    }
}

fn staged(call: &str, content: ContentId, errno: Errno) -> Done {
    Done::Failed(trouble(call, &format!("the staged file {}", content.short()), errno))
}

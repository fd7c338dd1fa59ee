//! One operation at a time.

use super::super::root::open_below;
use super::super::stat::{if_any, same_but_ctime, stat_at, stat_fd, statx_fd};
use super::super::trash::Slot;
use super::ready::{set_mtime, times};
use super::rename::{At, exchange, move_to_free};
use super::{Batch, failed};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, chmodat, fchmod, linkat, mkdirat, renameat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use std::rc::Rc;
use sync_core::index::{Stat, StatKind};
use sync_core::input::Done;
use sync_core::output::{Make, Op};
use sync_core::path::{DirPath, Name};
use sync_core::proving::{Mutant, Point, is_mutant, sometimes};
use sync_core::{ItemError, ItemErrorKind};

/// Permission bits above those that are synced: kept as they are.
const SPECIAL: u32 = 0o7000;

/// What an operation works on.
struct Target<'o> {
    op: &'o Op,
    /// The operation's number: its name in the trash.
    number: String,
    parent: Rc<OwnedFd>,
    name: Name,
}

impl Target<'_> {
    fn at(&self) -> At<'_> {
        At { dir: &self.parent, name: self.name.as_bytes() }
    }

    /// What a failed call means: what is not there, or there against expectation, is to be looked at again.
    fn stop(&self, call: &str, errno: Errno) -> Done {
        match errno {
            Errno::NOENT | Errno::EXIST | Errno::NOTDIR | Errno::ISDIR | Errno::LOOP => Done::Unexpected,
            errno => failed(call, &self.op.path, errno),
        }
    }
}

impl Batch<'_> {
    /// Carries out operation `i`. `Err` is how it ended short of being made.
    pub(super) fn carry_out(&mut self, i: usize, op: &Op) -> Result<Option<Stat>, Done> {
        let parent = match self.parent(op) {
            Err(Done::Failed(_)) if op.make == Make::Absent && op.expect.is_none() && self.is_missing(op) => {
                return Ok(None);
            }
            other => other?,
        };
        let target = Target { op, number: i.to_string(), parent, name: op.path.name() };
        self.check(&target)?;
        self.make(i, &target)
    }

    /// Changes a target that was as expected when it was last looked at.
    fn make(&mut self, i: usize, target: &Target<'_>) -> Result<Option<Stat>, Done> {
        let stat = match &target.op.make {
            Make::Absent => self.remove(target).map(|()| None),
            Make::Dir { mode } => self.make_dir(target, *mode).map(Some),
            Make::File { .. } => self.make_file(target, i).map(Some),
            Make::Meta { mtime_ns, mode } => self.make_meta(target, *mtime_ns, *mode).map(Some),
            Make::Symlink { target: to } => self.make_link(target, to).map(Some),
        }?;
        self.touch(target.op.path.parent(), &target.parent);
        Ok(stat)
    }

    /// Operation 0 as it goes when its target changes right after the last look.
    #[cfg(test)]
    pub(super) fn carry_out_unchecked(&mut self, op: &Op) -> Result<Option<Stat>, Done> {
        let parent = self.parent(op)?;
        self.make(0, &Target { op, number: "0".into(), parent, name: op.path.name() })
    }

    fn is_missing(&mut self, op: &Op) -> bool {
        matches!(self.dirs.parent(&op.path), Err(Errno::NOENT))
    }

    fn stat(&self, at: At<'_>) -> Result<Option<Stat>, Errno> {
        if_any(stat_at(at.dir, at.name, self.home))
    }

    /// Whether the target is as expected at this moment.
    fn check(&self, target: &Target<'_>) -> Result<(), Done> {
        let now = self.stat(target.at()).map_err(|errno| target.stop("statx", errno))?;
        match (&target.op.expect, &now) {
            (None, None) => Ok(()),
            (Some(expect), Some(now)) if !expect.differs(now) => Ok(()),
            _ if is_mutant(Mutant::PreImageUnchecked) => Ok(()),
            _ => Err(Done::Unexpected),
        }
    }

    fn remove(&mut self, target: &Target<'_>) -> Result<(), Done> {
        match target.op.expect.map(|stat| stat.kind) {
            None => Ok(()),
            Some(StatKind::Dir) => self.remove_dir(target),
            Some(StatKind::File | StatKind::Symlink) => self.displace(target),
            Some(StatKind::Other) => Err(unsupported(target)),
        }
    }

    fn remove_dir(&mut self, target: &Target<'_>) -> Result<(), Done> {
        self.dirs.forget(&target.op.path);
        match unlinkat(&*target.parent, target.name.as_bytes(), AtFlags::REMOVEDIR) {
            Ok(()) => Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                let reason = format!("rmdir '{}': it still holds something", target.op.path.display());
                Err(Done::Failed(ItemError { kind: ItemErrorKind::NotEmpty, reason }))
            }
            Err(errno) => Err(target.stop("rmdir", errno)),
        }
    }

    /// Moves the expected file or link to the trash; anything else that is moved goes back.
    fn displace(&mut self, target: &Target<'_>) -> Result<(), Done> {
        let slot = self.slot(target)?;
        move_to_free(self.root, target.at(), slot).map_err(|errno| target.stop("rename to the trash", errno))?;
        if self.is_expected(target, slot) {
            return Ok(());
        }
        self.put_back(target, slot);
        Err(Done::Unexpected)
    }

    /// The target's place in the trash.
    fn slot<'t>(&'t self, target: &'t Target<'_>) -> Result<At<'t>, Done> {
        match &self.slot {
            Some(slot) => Ok(At { dir: slot.fd(), name: target.number.as_bytes() }),
            None => Err(Done::Unexpected),
        }
    }

    fn is_expected(&self, target: &Target<'_>, at: At<'_>) -> bool {
        match (self.stat(at), &target.op.expect) {
            (Ok(Some(now)), Some(expect)) => same_but_ctime(expect, &now),
            _ => false,
        }
    }

    /// Returns what was moved by surprise. If its name is taken meanwhile it stays in the trash, where purging spares
    /// what its index does not describe.
    fn put_back(&self, target: &Target<'_>, slot: At<'_>) {
        sometimes(Point::ShellPutBack);
        if let Err(errno) = move_to_free(self.root, slot, target.at()) {
            let path = target.op.path.display();
            tracing::warn!(path, %errno, "an entry changed by someone else in this instant is kept in the trash");
        }
    }

    fn make_dir(&mut self, target: &Target<'_>, mode: u32) -> Result<Stat, Done> {
        match target.op.expect.map(|stat| stat.kind) {
            None => self.mkdir(target, mode),
            Some(StatKind::Dir) => self.set_dir_mode(target, mode),
            Some(StatKind::File | StatKind::Symlink) => {
                self.displace(target)?;
                let made = self.mkdir(target, mode);
                if made.is_err() {
                    self.put_back(target, self.slot(target)?);
                }
                made
            }
            Some(StatKind::Other) => Err(unsupported(target)),
        }
    }

    fn mkdir(&mut self, target: &Target<'_>, mode: u32) -> Result<Stat, Done> {
        let stop = |errno| target.stop("mkdir", errno);
        mkdirat(&*target.parent, target.name.as_bytes(), Mode::RWXU).map_err(|errno| match errno {
            // The parent was there a moment ago.
            Errno::NOENT => Done::Unexpected,
            errno => stop(errno),
        })?;
        self.dirs.forget(&target.op.path);
        let fd = open_below(&*target.parent, target.name.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY);
        let fd = fd.map_err(stop)?;
        let inherited = u32::from(statx_fd(&fd).map_err(stop)?.stx_mode) & SPECIAL;
        fchmod(&fd, Mode::from_raw_mode(inherited | mode & 0o777)).map_err(stop)?;
        let stat = stat_fd(&fd, self.home).map_err(stop)?;
        self.touch(DirPath::from(target.op.path.clone()), &Rc::new(fd));
        Ok(stat)
    }

    fn set_dir_mode(&mut self, target: &Target<'_>, mode: u32) -> Result<Stat, Done> {
        let stop = |errno| target.stop("chmod", errno);
        let name = target.name.as_bytes();
        let fd = open_below(&*target.parent, name, OFlags::PATH | OFlags::DIRECTORY).map_err(stop)?;
        let now = stat_fd(&fd, self.home).map_err(stop)?;
        if target.op.expect.is_none_or(|expect| expect.differs(&now)) {
            return Err(Done::Unexpected);
        }
        set_mode(&target.parent, name, &fd, mode).map_err(stop)?;
        self.sync_all = true;
        stat_fd(&fd, self.home).map_err(stop)
    }

    fn make_meta(&mut self, target: &Target<'_>, mtime_ns: i64, mode: u32) -> Result<Stat, Done> {
        let stop = |errno| target.stop("set mode and time of", errno);
        let Some(expect) = target.op.expect.filter(|expect| expect.kind == StatKind::File) else {
            return Err(Done::Unexpected);
        };
        let name = target.name.as_bytes();
        let fd = open_below(&*target.parent, name, OFlags::PATH).map_err(stop)?;
        let as_expected = |now: Stat| if expect.differs(&now) { Err(Done::Unexpected) } else { Ok(()) };
        as_expected(stat_fd(&fd, self.home).map_err(stop)?)?;
        self.sync_all = true;
        if expect.mtime_ns != mtime_ns {
            // The instant between this look and the call is the only one in which a write by someone else would get
            // the wrong time; where the time stays there is none.
            set_time(&target.parent, name, &fd, mtime_ns).map_err(stop)?;
        }
        if expect.mode != mode {
            set_mode(&target.parent, name, &fd, mode).map_err(stop)?;
        }
        let now = stat_fd(&fd, self.home).map_err(stop)?;
        if now.size == expect.size { Ok(now) } else { Err(Done::Unexpected) }
    }

    fn make_file(&mut self, target: &Target<'_>, i: usize) -> Result<Stat, Done> {
        let ready = match self.ready.remove(&i) {
            Some(ready) => ready?,
            None => return Err(Done::NotStaged),
        };
        let from = At { dir: &self.stage, name: ready.name.as_bytes() };
        let placed = match target.op.expect.map(|stat| stat.kind) {
            None => self.place(target, from),
            Some(StatKind::Dir) => {
                let at = ready.name.clone();
                match self.remove_dir(target) {
                    Ok(()) => self.place_for_dir(target, At { dir: &self.stage, name: at.as_bytes() }),
                    Err(stop) => Err(stop),
                }
            }
            Some(StatKind::File | StatKind::Symlink) => self.replace(target, from, &ready.stat),
            Some(StatKind::Other) => Err(unsupported(target)),
        };
        match placed {
            Ok(()) => Ok(self.stat_of_made(target, &ready.stat)),
            Err(stop) => {
                ready.give_back(&self.stage);
                Err(stop)
            }
        }
    }

    /// The fingerprint of the file put in place; if someone has changed or replaced it already, the one it had before,
    /// so that the next look finds the difference.
    fn stat_of_made(&self, target: &Target<'_>, ready: &Stat) -> Stat {
        match self.stat(target.at()) {
            Ok(Some(now)) if same_but_ctime(ready, &now) => now,
            _ => *ready,
        }
    }

    fn place(&self, target: &Target<'_>, from: At<'_>) -> Result<(), Done> {
        move_to_free(self.root, from, target.at()).map_err(|errno| match errno {
            Errno::NOENT if self.stat(from) == Ok(None) => Done::NotStaged,
            errno => target.stop("rename into place", errno),
        })
    }

    /// Puts a file where a directory was removed for it, or the directory back.
    fn place_for_dir(&self, target: &Target<'_>, from: At<'_>) -> Result<(), Done> {
        let placed = self.place(target, from);
        if placed.is_err() {
            self.restore_dir(target);
        }
        placed
    }

    fn restore_dir(&self, target: &Target<'_>) {
        let mode = target.op.expect.map_or(0o755, |stat| stat.mode);
        let name = target.name.as_bytes();
        let outcome = mkdirat(&*target.parent, name, Mode::RWXU)
            .and_then(|()| open_below(&*target.parent, name, OFlags::RDONLY | OFlags::DIRECTORY))
            .and_then(|fd| fchmod(fd, Mode::from_raw_mode(mode)));
        if let Err(errno) = outcome {
            tracing::warn!(path = target.op.path.display(), %errno, "an empty directory could not be put back");
        }
    }

    /// Puts `from` where the expected file or link is, which goes to the trash.
    fn replace(&self, target: &Target<'_>, from: At<'_>, new: &Stat) -> Result<(), Done> {
        let slot = self.slot(target)?;
        // By way of its place in the trash: so what the exchange displaces is in the trash at once.
        renameat(from.dir, from.name, slot.dir, slot.name).map_err(|errno| match errno {
            Errno::NOENT => Done::NotStaged,
            errno => failed("rename for", &target.op.path, errno),
        })?;
        let outcome = match exchange(self.root, slot, target.at()) {
            Some(Ok(())) => self.check_displaced(target, slot, new),
            Some(Err(errno)) => Err(target.stop("exchange", errno)),
            None => self.replace_weakly(target, slot),
        };
        let is_ours = |at| matches!(self.stat(at), Ok(Some(stat)) if stat.inode == new.inode);
        if outcome.is_err() && is_ours(slot) {
            move_to_free(self.root, slot, from).map_err(|errno| failed("rename back for", &target.op.path, errno))?;
        }
        outcome
    }

    /// Undoes an exchange that displaced something unexpected.
    fn check_displaced(&self, target: &Target<'_>, slot: At<'_>, new: &Stat) -> Result<(), Done> {
        if self.is_expected(target, slot) {
            return Ok(());
        }
        sometimes(Point::ShellExchangedBack);
        let is_ours = matches!(self.stat(target.at()), Ok(Some(now)) if now.inode == new.inode);
        let back = if is_ours { exchange(self.root, slot, target.at()) } else { None };
        if !matches!(back, Some(Ok(()))) {
            self.put_back(target, slot);
        }
        Err(Done::Unexpected)
    }

    /// Without exchange: links the old one into the trash, looks again, and renames over it.
    fn replace_weakly(&self, target: &Target<'_>, slot: At<'_>) -> Result<(), Done> {
        let stop = |errno| target.stop("replace", errno);
        let waiting = format!("{}.new", target.number);
        let new = At { dir: slot.dir, name: waiting.as_bytes() };
        renameat(slot.dir, slot.name, new.dir, new.name).map_err(stop)?;
        let outcome = self.trash_weakly(target, slot).and_then(|()| {
            renameat(new.dir, new.name, &*target.parent, target.name.as_bytes()).map_err(|errno| {
                self.put_back(target, slot);
                stop(errno)
            })
        });
        if outcome.is_err() {
            renameat(new.dir, new.name, slot.dir, slot.name).map_err(stop)?;
        }
        outcome
    }

    /// Leaves the expected entry in the trash, and at its place too where the file system has hard links.
    fn trash_weakly(&self, target: &Target<'_>, slot: At<'_>) -> Result<(), Done> {
        let at = target.at();
        match linkat(at.dir, at.name, slot.dir, slot.name, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {
                renameat(at.dir, at.name, slot.dir, slot.name).map_err(|errno| target.stop("rename", errno))?;
                if !self.is_expected(target, slot) {
                    self.put_back(target, slot);
                    return Err(Done::Unexpected);
                }
                return Ok(());
            }
            Err(errno) => return Err(target.stop("link", errno)),
        }
        if self.is_expected(target, slot) && self.is_expected(target, at) {
            return Ok(());
        }
        unlinkat(slot.dir, slot.name, AtFlags::empty()).map_err(|errno| target.stop("unlink", errno))?;
        Err(Done::Unexpected)
    }

    fn make_link(&mut self, target: &Target<'_>, to: &[u8]) -> Result<Stat, Done> {
        match target.op.expect.map(|stat| stat.kind) {
            None => self.symlink(target, to)?,
            Some(StatKind::Dir) => {
                self.remove_dir(target)?;
                if let Err(stop) = self.symlink(target, to) {
                    self.restore_dir(target);
                    return Err(stop);
                }
            }
            Some(StatKind::File | StatKind::Symlink) => self.replace_by_link(target, to)?,
            Some(StatKind::Other) => return Err(unsupported(target)),
        }
        match self.stat(target.at()) {
            Ok(Some(stat)) if stat.kind == StatKind::Symlink => Ok(stat),
            Ok(_) => Err(Done::Unexpected),
            Err(errno) => Err(target.stop("statx", errno)),
        }
    }

    fn symlink(&self, target: &Target<'_>, to: &[u8]) -> Result<(), Done> {
        symlinkat(to, &*target.parent, target.name.as_bytes()).map_err(|errno| target.stop("symlink", errno))
    }

    fn replace_by_link(&self, target: &Target<'_>, to: &[u8]) -> Result<(), Done> {
        // Two applies may be under way: each has a place in the trash of its own.
        let slot = self.slot.as_ref().map_or("", Slot::name);
        let name = format!("link.{slot}.{}", target.number);
        let from = At { dir: &self.stage, name: name.as_bytes() };
        let stop = |errno| failed("symlink for", &target.op.path, errno);
        match unlinkat(from.dir, from.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(stop(errno)),
        }
        symlinkat(to, from.dir, from.name).map_err(stop)?;
        let made = stat_at(from.dir, from.name, self.home).map_err(stop)?;
        let outcome = self.replace(target, from, &made);
        if outcome.is_err() {
            super::super::stage::discard(&self.stage, &name);
        }
        outcome
    }
}

/// Sets the permission bits of what the `O_PATH` descriptor `pinned` stands for, and leaves the special ones.
fn set_mode(parent: &OwnedFd, name: &[u8], pinned: &OwnedFd, mode: u32) -> Result<(), Errno> {
    let special = u32::from(statx_fd(pinned)?.stx_mode) & SPECIAL;
    let mode = Mode::from_raw_mode(special | mode & 0o777);
    match open_same(parent, name, pinned) {
        Ok(fd) => fchmod(fd, mode),
        Err(Errno::ACCESS | Errno::PERM) => chmodat(CWD, proc_path(pinned), mode, AtFlags::empty()),
        Err(errno) => Err(errno),
    }
}

/// Sets the modification time of what the `O_PATH` descriptor `pinned` stands for.
fn set_time(parent: &OwnedFd, name: &[u8], pinned: &OwnedFd, mtime_ns: i64) -> Result<(), Errno> {
    match open_same(parent, name, pinned) {
        Ok(fd) => set_mtime(fd, mtime_ns),
        Err(Errno::ACCESS | Errno::PERM) => utimensat(CWD, proc_path(pinned), &times(mtime_ns), AtFlags::empty()),
        Err(errno) => Err(errno),
    }
}

/// A full descriptor of what `pinned` stands for: `NOENT` if the name has come to mean something else.
fn open_same(parent: &OwnedFd, name: &[u8], pinned: &OwnedFd) -> Result<OwnedFd, Errno> {
    let fd = open_below(parent, name, OFlags::RDONLY | OFlags::NONBLOCK)?;
    let (a, b) = (statx_fd(&fd)?, statx_fd(pinned)?);
    if a.stx_ino == b.stx_ino { Ok(fd) } else { Err(Errno::NOENT) }
}

/// The way to a file whose mode lets its owner neither read nor write it.
fn proc_path(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn unsupported(target: &Target<'_>) -> Done {
    let reason = format!("'{}' is a socket, device, fifo or mount point", target.op.path.display());
    Done::Failed(ItemError { kind: ItemErrorKind::Unsupported, reason })
}

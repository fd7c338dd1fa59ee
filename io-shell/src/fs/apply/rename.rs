//! Renames that replace nothing or exchange, and what stands in for them where the file system has neither.

use super::super::door::{self, Step};
use super::super::root::Root;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, RenameFlags, linkat, renameat, renameat_with, statat, unlinkat};
use rustix::io::Errno;
use sync_core::proving::{Mutant, Point, is_mutant, sometimes};

/// An entry: a name in an open directory.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    /// The directory.
    pub(super) dir: &'a OwnedFd,
    /// The name.
    pub(super) name: &'a [u8],
}

/// Moves an entry to a name that nothing has: `EXIST` if something has it.
pub(super) fn move_to_free(root: &Root, from: At<'_>, to: At<'_>) -> Result<(), Errno> {
    door::pass(Step::Move)?;
    if is_mutant(Mutant::ReplacesUnlooked) {
        return renameat(from.dir, from.name, to.dir, to.name);
    }
    if !root.is_weak() {
        match renameat_with(from.dir, from.name, to.dir, to.name, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS) => root.set_weak(),
            done => return done,
        }
    }
    sometimes(Point::ShellRenamedWeakly);
    match linkat(from.dir, from.name, to.dir, to.name, AtFlags::empty()) {
        Ok(()) => unlinkat(from.dir, from.name, AtFlags::empty()),
        // No hard links either, or a directory: look, then move.
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {
            match statat(to.dir, to.name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => Err(Errno::EXIST),
                Err(Errno::NOENT) => renameat(from.dir, from.name, to.dir, to.name),
                Err(errno) => Err(errno),
            }
        }
        Err(errno) => Err(errno),
    }
}

/// Exchanges two entries. `None` if the file system cannot.
pub(super) fn exchange(root: &Root, a: At<'_>, b: At<'_>) -> Option<Result<(), Errno>> {
    if root.is_weak() {
        return None;
    }
    if let Err(errno) = door::pass(Step::Move) {
        return Some(Err(errno));
    }
    match renameat_with(a.dir, a.name, b.dir, b.name, RenameFlags::EXCHANGE) {
        Err(Errno::INVAL | Errno::NOSYS) => {
            root.set_weak();
            None
        }
        done => Some(done),
    }
}

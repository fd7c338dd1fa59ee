//! Fingerprints of directory entries.

use super::door::{self, Step};
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, FileType, Statx, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use sync_core::index::{Stat, StatKind};
use sync_core::proving::{Mutant, is_mutant};

/// A device number.
pub(super) type Device = (u32, u32);

/// Device and inode: which directory a root is.
pub(super) fn identity(of: &Statx) -> (Device, u64) {
    ((of.stx_dev_major, of.stx_dev_minor), of.stx_ino)
}

/// `statx` of `name` in `dir`, links not followed.
pub(super) fn statx_at(dir: impl AsFd, name: impl rustix::path::Arg) -> Result<Statx, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    rustix::fs::statx(dir, name, flags, StatxFlags::BASIC_STATS)
}

/// `statx` of an open file.
pub(super) fn statx_fd(fd: impl AsFd) -> Result<Statx, Errno> {
    rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
}

/// The fingerprint of `name` in `dir`; `home` is the device of the folder's root.
pub(super) fn stat_at(dir: impl AsFd, name: impl rustix::path::Arg, home: Device) -> Result<Stat, Errno> {
    Ok(to_stat(&statx_at(dir, name)?, home))
}

/// The fingerprint of an open file.
pub(super) fn stat_fd(fd: impl AsFd, home: Device) -> Result<Stat, Errno> {
    Ok(to_stat(&statx_fd(fd)?, home))
}

/// The fingerprint, if there is an entry.
pub(super) fn if_any(stat: Result<Stat, Errno>) -> Result<Option<Stat>, Errno> {
    match stat {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// What a look at `name`, in a directory of the tree, finds there. One that fails must not pass for nothing there.
pub(super) fn look_at(dir: impl AsFd, name: impl rustix::path::Arg, home: Device) -> Result<Option<Stat>, Errno> {
    let looked = door::pass(Step::Look).and_then(|()| if_any(stat_at(dir, name, home)));
    looked.or_else(|errno| if is_mutant(Mutant::VanishedUnread) { Ok(None) } else { Err(errno) })
}

/// Whether two fingerprints are of the same entry in the same state, where a rename has touched the change time.
pub(super) fn same_but_ctime(a: &Stat, b: &Stat) -> bool {
    !Stat { ctime_ns: 0, ..*a }.differs(&Stat { ctime_ns: 0, ..*b })
}

fn to_stat(of: &Statx, home: Device) -> Stat {
    let kind = kind(of, home);
    Stat {
        kind,
        inode: of.stx_ino,
        size: if kind == StatKind::Dir { 0 } else { of.stx_size },
        mtime_ns: nanoseconds(of.stx_mtime.tv_sec, of.stx_mtime.tv_nsec),
        ctime_ns: nanoseconds(of.stx_ctime.tv_sec, of.stx_ctime.tv_nsec),
        mode: u32::from(of.stx_mode) & 0o777,
    }
}

fn kind(of: &Statx, home: Device) -> StatKind {
    if of.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        return StatKind::Other;
    }
    match FileType::from_raw_mode(u32::from(of.stx_mode)) {
        // A subvolume is no mount, but nothing can be renamed into it. Files are exempt: overlay file systems show
        // them with the device of the layer they come from.
        FileType::Directory if (of.stx_dev_major, of.stx_dev_minor) != home => StatKind::Other,
        FileType::Directory => StatKind::Dir,
        FileType::RegularFile => StatKind::File,
        FileType::Symlink => StatKind::Symlink,
        FileType::Fifo | FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => {
            StatKind::Other
        }
    }
}

fn nanoseconds(seconds: i64, nanos: u32) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(nanos))
}

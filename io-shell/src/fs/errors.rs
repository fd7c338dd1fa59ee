//! From the kernel's error numbers to what people are told.

use rustix::io::Errno;
use sync_core::path::RelPath;
use sync_core::{ItemError, ItemErrorKind};

/// The kind of trouble an error number means for an item.
pub(super) fn kind_of(errno: Errno) -> ItemErrorKind {
    match errno {
        Errno::NOSPC | Errno::DQUOT => ItemErrorKind::DiskFull,
        Errno::ACCESS | Errno::PERM => ItemErrorKind::PermissionDenied,
        Errno::ROFS => ItemErrorKind::ReadOnly,
        Errno::NAMETOOLONG | Errno::ILSEQ => ItemErrorKind::Name,
        // The kernel answers so for a mount point itself, and for a path that crosses one.
        Errno::XDEV | Errno::BUSY => ItemErrorKind::Unsupported,
        Errno::TXTBSY => ItemErrorKind::Busy,
        Errno::NOTEMPTY => ItemErrorKind::NotEmpty,
        _ => ItemErrorKind::Io,
    }
}

/// Trouble with the entry at `path`, from the system call `call`.
pub(super) fn at_path(call: &str, path: &RelPath, errno: Errno) -> ItemError {
    trouble(call, &format!("'{}'", path.display()), errno)
}

/// Trouble with something that has no path in the tree.
pub(super) fn trouble(call: &str, what: &str, errno: Errno) -> ItemError {
    let kind = kind_of(errno);
    let system = std::io::Error::from(errno);
    let reason = match errno {
        Errno::XDEV | Errno::BUSY => format!("{call} {what}: it is a mount point or crosses one ({system})"),
        Errno::NOSYS => format!("{call} {what}: this system lacks the call; Linux 5.6 or later is needed ({system})"),
        _ => format!("{call} {what}: {system}"),
    };
    ItemError { kind, reason }
}

/// The error number of a library call, `EIO` where it has none.
pub(super) fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Whether a path's parent is not there as a directory, whatever stands in its place.
pub(super) fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_numbers_become_kinds_with_a_remedy() {
        let check = |errno, kind| assert_eq!(kind_of(errno), kind, "{errno:?}");
        check(Errno::NOSPC, ItemErrorKind::DiskFull);
        check(Errno::DQUOT, ItemErrorKind::DiskFull);
        check(Errno::ACCESS, ItemErrorKind::PermissionDenied);
        check(Errno::PERM, ItemErrorKind::PermissionDenied);
        check(Errno::ROFS, ItemErrorKind::ReadOnly);
        check(Errno::NAMETOOLONG, ItemErrorKind::Name);
        check(Errno::XDEV, ItemErrorKind::Unsupported);
        check(Errno::IO, ItemErrorKind::Io);
    }
}

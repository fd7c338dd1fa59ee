//! The door to the file system: every kind of step passes it, so that the simulator can let one fail as a disk would.
//! Without the feature `proving`, as in the product, it is no more than an open door.

use rustix::io::Errno;

/// Something that is asked of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Read a directory.
    List,
    /// Look at what has a name in the tree.
    Look,
    /// Read a file of the tree.
    Read,
    /// Make room in the staging area.
    Allocate,
    /// Write to the staging area.
    Write,
    /// Make something durable.
    Sync,
    /// Move something into the tree, or out of it.
    Move,
}

#[cfg(feature = "proving")]
mod on {
    use super::{Errno, Step};
    use std::cell::RefCell;
    use std::rc::Rc;

    /// Says which error number a step fails with, if it fails.
    pub type Disk = Rc<dyn Fn(Step) -> Option<i32>>;

    thread_local! {
        static DISK: RefCell<Option<Disk>> = const { RefCell::new(None) };
    }

    /// Runs `job` on this thread with a disk that may fail.
    pub fn on_disk(disk: Disk, job: impl FnOnce()) {
        let before = DISK.replace(Some(disk));
        job();
        DISK.set(before);
    }

    pub(in crate::fs) fn pass(step: Step) -> Result<(), Errno> {
        let disk = DISK.with_borrow(Clone::clone);
        disk.and_then(|disk| disk(step)).map_or(Ok(()), |errno| Err(Errno::from_raw_os_error(errno)))
    }

    /// Whether this thread's disk is the simulator's, where nobody writes while a step is under way.
    pub(in crate::fs) fn is_still() -> bool {
        DISK.with_borrow(Option::is_some)
    }
}

#[cfg(feature = "proving")]
pub use on::{Disk, on_disk};
#[cfg(feature = "proving")]
pub(super) use on::{is_still, pass};

/// Passes: a real disk fails by itself.
#[cfg(not(feature = "proving"))]
#[inline(always)]
pub(super) const fn pass(_: Step) -> Result<(), Errno> {
    Ok(())
}

/// Anybody may write at any time.
#[cfg(not(feature = "proving"))]
#[inline(always)]
pub(super) const fn is_still() -> bool {
    false
}

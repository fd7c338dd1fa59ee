//! Directories of a folder, opened beneath its root and kept for the length of a batch.

use super::root::RootDir;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::collections::HashMap;
use std::rc::Rc;
use sync_core::path::RelPath;

/// Most directories kept open at once by one batch.
const OPEN: usize = 64;

/// Parents of the paths a batch works on, each resolved once. The descriptors are `O_PATH`: they need no permission to
/// read the directory.
pub(super) struct Dirs<'r> {
    root: &'r RootDir,
    top: Rc<OwnedFd>,
    open: HashMap<RelPath, Rc<OwnedFd>>,
}

impl<'r> Dirs<'r> {
    /// None open yet but the root.
    pub(super) fn new(root: &'r RootDir) -> Result<Self, Errno> {
        Ok(Self { root, top: Rc::new(root.top()?), open: HashMap::new() })
    }

    /// The directory that holds `path`.
    pub(super) fn parent(&mut self, path: &RelPath) -> Result<Rc<OwnedFd>, Errno> {
        let Some(parent) = path.parent_path() else {
            return Ok(Rc::clone(&self.top));
        };
        if let Some(open) = self.open.get(&parent) {
            return Ok(Rc::clone(open));
        }
        if self.open.len() >= OPEN {
            self.open.clear();
        }
        let fd = Rc::new(self.root.open_path(parent.as_bytes())?);
        self.open.insert(parent, Rc::clone(&fd));
        Ok(fd)
    }

    /// Forgets `path` and everything below: it is no longer the directory it was.
    pub(super) fn forget(&mut self, path: &RelPath) {
        self.open.retain(|open, _| open != path && !open.is_below(path));
    }
}

//! The folders in use on this device: where each is, and its root while that is there.

use crate::fs::{Root, sweep};
use crate::world::Watch;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use sync_core::{ContentId, FolderId, ItemError, ItemErrorKind};

/// The folders in use. Clones are the same folders.
#[derive(Clone)]
pub struct Folders {
    watch: Arc<dyn Watch>,
    open: Arc<Mutex<BTreeMap<FolderId, Arc<Entry>>>>,
}

struct Entry {
    path: PathBuf,
    /// Locked while the root is looked for: a file system that hangs holds up its own folder only.
    state: Mutex<State>,
}

struct State {
    /// What stays in the staging area when the root is found first.
    staged: Option<HashSet<ContentId>>,
    root: Option<Arc<Root>>,
}

impl Entry {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Folders {
    /// No folders yet; `watch` will watch those to come.
    pub fn new(watch: Arc<dyn Watch>) -> Self {
        Self { watch, open: Arc::default() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<FolderId, Arc<Entry>>> {
        // The map is whole between any two statements, so a panic elsewhere leaves nothing half done.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a folder into use. Whatever is staged there beyond `staged` is left over, and goes when the root is found.
    pub fn open(&self, folder: FolderId, path: PathBuf, staged: HashSet<ContentId>) {
        let state = Mutex::new(State { staged: Some(staged), root: None });
        self.lock().insert(folder, Arc::new(Entry { path, state }));
    }

    /// Takes a folder out of use.
    pub fn close(&self, folder: FolderId) {
        self.watch.unwatch(folder);
        self.lock().remove(&folder);
    }

    /// The root of a folder, found anew if it was lost.
    ///
    /// # Errors
    /// `RootLost` while it is not there.
    pub fn root(&self, folder: FolderId) -> Result<Arc<Root>, ItemError> {
        let Some(entry) = self.lock().get(&folder).cloned() else {
            let reason = "the folder is not in use".to_owned();
            return Err(ItemError { kind: ItemErrorKind::RootLost, reason });
        };
        let mut state = entry.state();
        if let Some(root) = &state.root {
            return Ok(root.clone());
        }
        let root = Arc::new(Root::open(&entry.path, folder)?);
        if let Some(staged) = state.staged.take() {
            match sweep(&root, &staged) {
                Ok(0) => {}
                Ok(count) => tracing::info!(%folder, count, "left-over staged files removed"),
                Err(error) => tracing::warn!(%folder, reason = error.reason, "the staging area cannot be swept"),
            }
        }
        state.root = Some(root.clone());
        if let Err(reason) = self.watch.watch(folder, &entry.path) {
            tracing::warn!(%folder, path = %entry.path.display(), reason, "the folder is scanned only now and then");
        }
        Ok(root)
    }

    /// Forgets a root that turned out not to be the folder's any more, so that it is looked for again.
    pub fn lost(&self, folder: FolderId) {
        let entry = self.lock().get(&folder).cloned();
        if entry.is_some_and(|entry| entry.state().root.take().is_some()) {
            self.watch.unwatch(folder);
        }
    }

    /// The folder at `path`, and whether any folder in use lies inside it or around it.
    pub fn at(&self, path: &Path) -> Option<(FolderId, PathBuf)> {
        let open = self.lock();
        let overlaps = |entry: &Entry| path.starts_with(&entry.path) || entry.path.starts_with(path);
        open.iter().find(|(_, e)| overlaps(e)).map(|(id, e)| (*id, e.path.clone()))
    }

    /// Whether `folder` is in use.
    pub fn contains(&self, folder: FolderId) -> bool {
        self.lock().contains_key(&folder)
    }

    /// Every folder whose root is there.
    pub fn roots(&self) -> Vec<Arc<Root>> {
        let entries: Vec<Arc<Entry>> = self.lock().values().cloned().collect();
        entries.iter().filter_map(|entry| entry.state.try_lock().ok()?.root.clone()).collect()
    }
}

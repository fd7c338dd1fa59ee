//! Looks at all folders all the time: nothing but what a person once saved may ever show in them, whole.

use crate::ledger::Ledger;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use sync_core::{ContentId, RelPath};
use tests::tree::PRIVATE;

/// The pause between two looks: the daemons want the processors too.
const PAUSE: Duration = Duration::from_millis(2);

/// What tells one state of a file from another.
type Stamp = (u64, u64, i64, i64, i64, i64);

/// A thread that looks, until this value is gone.
pub(crate) struct Watch {
    is_over: Arc<AtomicBool>,
    read: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Looks at these folders, and notes in the ledger what must not be.
    pub(crate) fn over(roots: Vec<PathBuf>, ledger: Arc<Mutex<Ledger>>) -> Self {
        let (is_over, read) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ends, counts) = (Arc::clone(&is_over), Arc::clone(&read));
        let thread = std::thread::spawn(move || {
            let mut known = BTreeMap::new();
            while !ends.load(Ordering::Relaxed) {
                for (host, root) in roots.iter().enumerate() {
                    look(host, root, root, &mut known, &ledger, &counts);
                }
                std::thread::sleep(PAUSE);
            }
        });
        Self { is_over, read, thread: Some(thread) }
    }

    /// Whether it still looks.
    pub(crate) fn is_awake(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// How many files it has read.
    pub(crate) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

/// Looks at what is in `dir`; a file is read if it is not as it was.
fn look(
    host: usize,
    root: &Path,
    dir: &Path,
    known: &mut BTreeMap<PathBuf, Stamp>,
    ledger: &Mutex<Ledger>,
    read: &AtomicU64,
) {
    // Whatever is gone meanwhile shows nothing.
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
        if kind.is_dir() && entry.file_name() != PRIVATE {
            look(host, root, &path, known, ledger, read);
        } else if kind.is_file() {
            // No person is amid a save as long as this holds the ledger. Devices put files in place whole.
            let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
            let Ok(mut file) = fs::File::open(&path) else { continue };
            let meta = file.metadata().unwrap();
            if !meta.is_file() {
                continue;
            }
            let stamp = (meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
            if known.get(&path) == Some(&stamp) {
                continue;
            }
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            read.fetch_add(1, Ordering::Relaxed);
            let name = path.strip_prefix(root).unwrap();
            let name = RelPath::new(name.as_os_str().as_bytes()).unwrap();
            ledger.oracle.placed(host, &name, ContentId::of(&bytes));
            known.insert(path, stamp);
        }
    }
}

//! Hints from inotify.
//!
//! Hints are never relied upon, but a fresh tree should not wait for the next full scan. The library begins to watch a
//! new directory only some time after it was made, and misses what is put there in between; so the hint for a new
//! directory is repeated a little later, and the directory is then watched once more.

use crate::world::{HintSink, Watch};
use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind, RenameMode};
use notify::{Config, ErrorKind, Event, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use sync_core::FolderId;
use sync_core::input::Hint;
use sync_core::path::{PRIVATE_DIR, RelPath};

/// When the hint for a new directory is given again.
const AGAIN: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];
/// A hint for the same path as the last within this time is no news.
const SAME: Duration = Duration::from_millis(1);
/// Most repeats kept at once; beyond, everything is hinted.
const REPEATS: usize = 10_000;
/// How often a walk is tried again that a vanishing directory has ended.
const TRIES: u32 = 5;
/// The kernel's settings.
const WATCHES: &str = "fs.inotify.max_user_watches";
const INSTANCES: &str = "fs.inotify.max_user_instances";

/// The production [`Watch`]: one recursive inotify watcher a folder, and one thread for repeats.
pub struct FsWatch {
    sink: HintSink,
    folders: Folders,
    repeats: Sender<Repeat>,
}

type Folders = Arc<Mutex<BTreeMap<FolderId, Watched>>>;

/// A folder that is watched.
struct Watched {
    root: PathBuf,
    watcher: RecommendedWatcher,
    /// Cleared on its removal, because the library's thread ends only some time later.
    live: Arc<AtomicBool>,
}

impl Watched {
    fn silence(&self) {
        self.live.store(false, Ordering::Release);
    }
}

/// A new directory whose hint is due again.
struct Repeat {
    folder: FolderId,
    path: RelPath,
    seen: Instant,
}

impl FsWatch {
    /// A watcher of nothing yet, whose hints go to `sink`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn new(sink: HintSink) -> std::io::Result<Self> {
        let (repeats, due) = channel();
        let folders = Folders::default();
        let echo = Echo { sink: Arc::clone(&sink), folders: Arc::clone(&folders), queue: BTreeMap::new() };
        std::thread::Builder::new().name("watch-repeats".into()).spawn(move || echo.run(&due))?;
        Ok(Self { sink, folders, repeats })
    }
}

impl std::fmt::Debug for FsWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FsWatch").finish_non_exhaustive()
    }
}

impl Watch for FsWatch {
    fn watch(&self, folder: FolderId, root: &Path) -> Result<(), String> {
        let fail = |error: &notify::Error| explain(root, error);
        // The watcher names entries by the path it was given: one without links, so that prefixes can be compared.
        let real = std::fs::canonicalize(root)
            .map_err(|e| format!("cannot watch '{}': {e}; periodic scans go on", root.display()))?;
        let live = Arc::new(AtomicBool::new(true));
        let mut ear = Ear {
            folder,
            live: Arc::clone(&live),
            root: real.clone(),
            sink: Arc::clone(&self.sink),
            repeats: self.repeats.clone(),
            last: None,
        };
        let config = Config::default().with_follow_symlinks(false);
        let mut watcher = RecommendedWatcher::new(move |event| ear.hear(event), config).map_err(|e| fail(&e))?;
        watch_tree(&mut watcher, &real).map_err(|e| fail(&e))?;
        // Our own staging would otherwise be the busiest part of the tree.
        match watcher.unwatch(&real.join(PRIVATE_DIR)) {
            Ok(()) => {}
            Err(error) => tracing::debug!(%folder, %error, "the private directory was not watched"),
        }
        let replaced = lock(&self.folders).insert(folder, Watched { root: real, watcher, live });
        replaced.iter().for_each(Watched::silence);
        Ok(())
    }

    fn unwatch(&self, folder: FolderId) {
        let watched = lock(&self.folders).remove(&folder);
        watched.iter().for_each(Watched::silence);
    }
}

/// What hears the events of one folder, on the library's thread.
struct Ear {
    folder: FolderId,
    live: Arc<AtomicBool>,
    root: PathBuf,
    sink: HintSink,
    repeats: Sender<Repeat>,
    last: Option<(RelPath, Instant)>,
}

impl Ear {
    fn hear(&mut self, event: notify::Result<Event>) {
        if !self.live.load(Ordering::Acquire) {
            return;
        }
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!(folder = %self.folder, reason = explain(&self.root, &error), "watcher trouble");
                return self.everything();
            }
        };
        if event.need_rescan() {
            return self.everything();
        }
        if !may_change(&event.kind) {
            return;
        }
        for path in &event.paths {
            match self.relative(path) {
                Some(relative) => self.tell(relative, &event.kind, path),
                None if *path == self.root && !is_metadata(&event.kind) => self.everything(),
                None => {}
            }
        }
    }

    /// The path in the folder; `None` for the root, the private directory and names that cannot be synced.
    fn relative(&self, path: &Path) -> Option<RelPath> {
        RelPath::new(path.strip_prefix(&self.root).ok()?.as_os_str().as_bytes()).ok()
    }

    fn tell(&mut self, path: RelPath, kind: &EventKind, full: &Path) {
        let now = Instant::now();
        if may_be_new_dir(kind) && full.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            // Only a shutdown takes the other end away.
            let _ = self.repeats.send(Repeat { folder: self.folder, path: path.clone(), seen: now });
        } else if self.last.as_ref().is_some_and(|(last, at)| *last == path && now.duration_since(*at) < SAME) {
            return;
        }
        self.last = Some((path.clone(), now));
        (self.sink)(self.folder, Hint::Path(path));
    }

    fn everything(&self) {
        (self.sink)(self.folder, Hint::Everything);
    }
}

/// Whether an event may mean that an entry has changed. Opening, reading and closing unwritten do not.
fn may_change(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => true,
    }
}

/// Whether an event on the root itself says nothing about what it holds.
fn is_metadata(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Modify(ModifyKind::Metadata(_)) | EventKind::Access(_))
}

fn may_be_new_dir(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::Create(CreateKind::Folder | CreateKind::Any)
            | EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Any))
    )
}

/// What gives hints again, on a thread of its own that ends with the watcher.
struct Echo {
    sink: HintSink,
    folders: Folders,
    queue: BTreeMap<Instant, BTreeSet<(FolderId, RelPath, bool)>>,
}

impl Echo {
    fn run(mut self, due: &Receiver<Repeat>) {
        loop {
            let wait = self.queue.keys().next().map(|at| at.saturating_duration_since(Instant::now()));
            let news = match wait {
                Some(wait) => due.recv_timeout(wait),
                None => due.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match news {
                Ok(repeat) => self.note(repeat),
                Err(RecvTimeoutError::Timeout) => self.speak(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn note(&mut self, repeat: Repeat) {
        if self.queue.values().map(BTreeSet::len).sum::<usize>() >= REPEATS {
            self.queue.clear();
            let folders: Vec<FolderId> = lock(&self.folders).keys().copied().collect();
            folders.into_iter().for_each(|folder| (self.sink)(folder, Hint::Everything));
            return;
        }
        for (i, pause) in AGAIN.into_iter().enumerate() {
            let is_last = i + 1 == AGAIN.len();
            let due = self.queue.entry(repeat.seen + pause).or_default();
            due.insert((repeat.folder, repeat.path.clone(), is_last));
        }
    }

    /// Gives the hints that are due. A directory below another one that is due says nothing more.
    fn speak(&mut self) {
        let later = self.queue.split_off(&(Instant::now() + Duration::from_nanos(1)));
        let due: BTreeSet<_> = std::mem::replace(&mut self.queue, later).into_values().flatten().collect();
        let mut said: Option<(FolderId, RelPath)> = None;
        for (folder, path, rewatch) in due {
            if said.as_ref().is_some_and(|(f, above)| *f == folder && path.is_below(above)) {
                continue;
            }
            if !lock(&self.folders).contains_key(&folder) {
                continue;
            }
            if rewatch {
                self.watch_again(folder, &path);
            }
            (self.sink)(folder, Hint::Path(path.clone()));
            said = Some((folder, path));
        }
    }

    /// Watches what was made below a new directory before the library watched it.
    fn watch_again(&self, folder: FolderId, path: &RelPath) {
        let mut folders = lock(&self.folders);
        let Some(watched) = folders.get_mut(&folder) else { return };
        let full = watched.root.join(std::ffi::OsStr::from_bytes(path.as_bytes()));
        if !full.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            return;
        }
        if let Err(error) = watched.watcher.watch(&full, RecursiveMode::Recursive) {
            tracing::debug!(%folder, reason = explain(&full, &error), "a new directory is watched in part");
        }
    }
}

/// Watches a tree. A directory that vanishes during the walk ends it, so it begins again.
fn watch_tree(watcher: &mut RecommendedWatcher, root: &Path) -> notify::Result<()> {
    let mut outcome = watcher.watch(root, RecursiveMode::Recursive);
    for _ in 1..TRIES {
        let vanished = outcome.as_ref().is_err_and(|e| matches!(e.kind, ErrorKind::PathNotFound)) && root.exists();
        if !vanished {
            break;
        }
        outcome = watcher.watch(root, RecursiveMode::Recursive);
    }
    outcome
}

/// What is wrong and what to do, for people.
fn explain(root: &Path, error: &notify::Error) -> String {
    let at = root.display();
    match &error.kind {
        ErrorKind::MaxFilesWatch => {
            let limit = setting(WATCHES).map_or_else(String::new, |limit| format!(" (it is {limit})"));
            let needed = directories(root);
            format!(
                "cannot watch '{at}': the limit of inotify watches is reached; raise {WATCHES}{limit}: this folder alone \
                 needs {needed}; periodic scans go on"
            )
        }
        ErrorKind::Io(io) if io.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
            format!("cannot watch '{at}': no inotify instance is left; raise {INSTANCES}; periodic scans go on")
        }
        ErrorKind::Io(_)
        | ErrorKind::Generic(_)
        | ErrorKind::PathNotFound
        | ErrorKind::WatchNotFound
        | ErrorKind::InvalidConfig(_) => format!("cannot watch '{at}': {error}; periodic scans go on"),
    }
}

fn setting(name: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok()?;
    Some(text.trim().into())
}

/// How many directories a tree has; what cannot be read counts as one.
fn directories(root: &Path) -> usize {
    let (mut count, mut left) = (0, vec![root.to_path_buf()]);
    while let Some(dir) = left.pop() {
        count += 1;
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        left.extend(entries.filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()));
    }
    count
}

fn lock(folders: &Folders) -> MutexGuard<'_, BTreeMap<FolderId, Watched>> {
    // No step leaves the map half changed.
    folders.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fs::Root;

    const FOLDER: FolderId = FolderId([7; 16]);
    const PATIENCE: Duration = Duration::from_secs(10);

    fn watched() -> (tempfile::TempDir, FsWatch, Receiver<Hint>) {
        let home = tempfile::tempdir().unwrap();
        Root::create(home.path(), FOLDER).unwrap();
        let (send, hints) = channel();
        let send = Mutex::new(send);
        let watch = FsWatch::new(Arc::new(move |folder, hint| {
            assert_eq!(folder, FOLDER);
            let _ = send.lock().unwrap().send(hint);
        }))
        .unwrap();
        watch.watch(FOLDER, home.path()).unwrap();
        (home, watch, hints)
    }

    /// Waits for the hint, and returns those before it.
    fn until(hints: &Receiver<Hint>, path: &[u8]) -> Vec<Hint> {
        let want = Hint::Path(RelPath::new(path).unwrap());
        let mut before = Vec::new();
        loop {
            let hint = hints.recv_timeout(PATIENCE).unwrap();
            if hint == want {
                return before;
            }
            before.push(hint);
        }
    }

    #[test]
    fn each_kind_of_change_is_hinted_by_its_path() {
        let (home, _watch, hints) = watched();
        let at = |name: &str| home.path().join(name);
        std::fs::write(at("a"), b"1").unwrap();
        until(&hints, b"a");
        std::fs::rename(at("a"), at("b")).unwrap();
        until(&hints, b"b");
        std::fs::remove_file(at("b")).unwrap();
        until(&hints, b"b");
        let odd = std::ffi::OsStr::from_bytes(b"x\xff\n");
        std::os::unix::fs::symlink("/nowhere", home.path().join(odd)).unwrap();
        until(&hints, b"x\xff\n");
    }

    #[test]
    fn our_own_directory_and_mere_reading_give_no_hint() {
        let (home, _watch, hints) = watched();
        std::fs::write(home.path().join("f"), b"1").unwrap();
        until(&hints, b"f");
        std::fs::write(home.path().join(".landropic/stage/x"), b"1").unwrap();
        std::fs::read(home.path().join("f")).unwrap();
        std::fs::write(home.path().join("end"), b"1").unwrap();
        let before = until(&hints, b"end");
        let written = Hint::Path(RelPath::new(b"f").unwrap());
        assert!(before.iter().all(|hint| *hint == written), "{before:?}");
    }

    #[test]
    fn a_new_directory_is_hinted_again_and_watched_below() {
        let (home, _watch, hints) = watched();
        let deep = home.path().join("n/e/s/t");
        std::fs::create_dir_all(&deep).unwrap();
        until(&hints, b"n");
        until(&hints, b"n");
        until(&hints, b"n");
        std::fs::write(deep.join("late"), b"1").unwrap();
        until(&hints, b"n/e/s/t/late");
    }

    #[test]
    fn a_folder_no_longer_watched_is_silent() {
        let (home, watch, hints) = watched();
        watch.unwatch(FOLDER);
        std::fs::write(home.path().join("f"), b"1").unwrap();
        // The last watcher took the library's thread along; ours ends here, and with it every sender of hints.
        drop(watch);
        assert!(hints.recv_timeout(PATIENCE).is_err());
    }

    #[test]
    fn a_lost_count_and_an_error_hint_everything() {
        let (send, hints) = channel();
        let send = Mutex::new(send);
        let sink: HintSink = Arc::new(move |_, hint| send.lock().unwrap().send(hint).unwrap());
        let (repeats, _due) = channel();
        let live = Arc::new(AtomicBool::new(true));
        let mut ear = Ear { folder: FOLDER, live, root: "/r".into(), sink, repeats, last: None };
        ear.hear(Ok(Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan)));
        assert_eq!(hints.try_recv(), Ok(Hint::Everything));
        ear.hear(Err(notify::Error::new(ErrorKind::MaxFilesWatch)));
        assert_eq!(hints.try_recv(), Ok(Hint::Everything));
        ear.hear(Ok(Event::new(EventKind::Remove(notify::event::RemoveKind::Folder)).add_path("/r".into())));
        assert_eq!(hints.try_recv(), Ok(Hint::Everything), "the root itself is gone");
    }

    #[test]
    fn the_limit_of_watches_is_explained_with_what_is_needed() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join("a/b")).unwrap();
        let text = explain(home.path(), &notify::Error::new(ErrorKind::MaxFilesWatch));
        assert!(text.contains("fs.inotify.max_user_watches") && text.contains("needs 3"), "{text}");
    }
}

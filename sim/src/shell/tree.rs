//! What a folder shows, read from its real files.

use crate::oracle::{Face, Shows};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use sync_core::path::PRIVATE_DIR;
use sync_core::{ContentId, RelPath};

/// What tells one state of a file from another.
type Stamp = (u64, u64, i64, i64, i64, i64, u32);

/// A path that has come to show something else.
#[derive(Clone, Debug)]
pub struct Change {
    /// Which.
    pub path: RelPath,
    /// What it showed.
    pub was: Option<Face>,
    /// What it shows now.
    pub is: Option<Face>,
}

/// A folder as it was looked at last.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    seen: BTreeMap<RelPath, (Stamp, Face)>,
    /// What is neither directory nor file nor link.
    strange: BTreeSet<RelPath>,
    /// The contents that each path showed since somebody asked.
    shown: BTreeMap<RelPath, BTreeSet<ContentId>>,
    /// What the trash held when it was looked into last.
    trash: BTreeSet<ContentId>,
}

impl Tree {
    /// The folder at `root`, not looked at yet.
    pub fn new(root: &Path) -> Self {
        let (seen, shown) = (BTreeMap::new(), BTreeMap::new());
        Self { root: root.into(), seen, strange: BTreeSet::new(), shown, trash: BTreeSet::new() }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Looks at all of it; a file is read only if it has changed since. Returns what has changed, by path.
    ///
    /// # Errors
    /// The operating system's.
    pub fn look(&mut self) -> io::Result<Vec<Change>> {
        let before = std::mem::take(&mut self.seen);
        self.strange.clear();
        let (mut open, private) = (vec![self.root.clone()], self.root.join(PRIVATE_DIR));
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(&dir)? {
                let path = entry?.path();
                if path == private {
                    continue;
                }
                let name = rel(&self.root, &path)?;
                let meta = fs::symlink_metadata(&path)?;
                let stamp = stamp(&meta);
                let known = before.get(&name).filter(|(then, _)| *then == stamp);
                let face = match known {
                    Some((_, face)) => Some(face.clone()),
                    None => face(&path, &meta)?,
                };
                if meta.is_dir() {
                    open.push(path);
                }
                match face {
                    Some(face) => drop(self.seen.insert(name, (stamp, face))),
                    None => drop(self.strange.insert(name)),
                }
            }
        }
        let paths: BTreeSet<&RelPath> = before.keys().chain(self.seen.keys()).collect();
        let change = |path: &RelPath| {
            let (was, is) = (before.get(path).map(|(_, face)| face), self.seen.get(path).map(|(_, face)| face));
            (was != is).then(|| Change { path: path.clone(), was: was.cloned(), is: is.cloned() })
        };
        let changes: Vec<Change> = paths.into_iter().filter_map(change).collect();
        changes.iter().for_each(|change| self.note_shown(&change.path, change.is.as_ref()));
        Ok(changes)
    }

    /// Takes over what somebody who did it says that `path` shows.
    pub fn told(&mut self, path: &RelPath, face: Option<Face>) {
        self.note_shown(path, face.as_ref());
        match face {
            // No file has this stamp: the next look reads it.
            Some(face) => drop(self.seen.insert(path.clone(), (Stamp::default(), face))),
            None => drop(self.seen.remove(path)),
        }
    }

    fn note_shown(&mut self, path: &RelPath, face: Option<&Face>) {
        if let Some(content) = face.and_then(Face::content) {
            self.shown.entry(path.clone()).or_default().insert(content);
        }
    }

    /// The contents that `path` showed since this was asked last.
    pub fn take_shown(&mut self, path: &RelPath) -> BTreeSet<ContentId> {
        let now = self.face(path).and_then(|face| face.content());
        let shown = self.shown.remove(path).unwrap_or_default();
        self.shown.insert(path.clone(), now.into_iter().collect());
        shown
    }

    /// Every path with what it showed.
    pub fn faces(&self) -> impl Iterator<Item = (&RelPath, &Face)> {
        self.seen.iter().map(|(path, (_, face))| (path, face))
    }

    /// What is there and should not be: neither directory nor file nor link.
    pub fn strange(&self) -> impl Iterator<Item = &RelPath> {
        self.strange.iter()
    }

    /// Adds what it showed to a digest.
    pub fn digest(&self, into: &mut blake3::Hasher) {
        for (path, face) in self.faces() {
            into.update(format!("{}\0{face:?}\0", path.display()).as_bytes());
        }
    }

    /// Looks into the trash.
    ///
    /// # Errors
    /// The operating system's.
    pub fn look_into_trash(&mut self) -> io::Result<()> {
        self.trash.clear();
        for (path, meta) in self.trashed()? {
            self.trash.extend(face(&path, &meta)?.and_then(|face| face.content()));
        }
        Ok(())
    }

    /// Everything in the trash but directories.
    ///
    /// # Errors
    /// The operating system's.
    pub fn trashed(&self) -> io::Result<Vec<(PathBuf, fs::Metadata)>> {
        let (mut open, mut found) = (vec![self.root.join(PRIVATE_DIR).join("trash")], Vec::new());
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(&dir)? {
                let path = entry?.path();
                let meta = fs::symlink_metadata(&path)?;
                if meta.is_dir() { open.push(path) } else { found.push((path, meta)) }
            }
        }
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(found)
    }
}

impl Shows for Tree {
    fn paths(&self) -> impl Iterator<Item = &RelPath> {
        self.seen.keys()
    }

    fn face(&self, path: &RelPath) -> Option<Face> {
        self.seen.get(path).map(|(_, face)| face.clone())
    }

    fn holds(&self) -> BTreeSet<ContentId> {
        self.faces().filter_map(|(_, face)| face.content()).chain(self.trash.iter().copied()).collect()
    }
}

/// The path of something inside `root`.
///
/// # Errors
/// It has a name that no path in a folder has.
pub fn rel(root: &Path, path: &Path) -> io::Result<RelPath> {
    let inside = path.strip_prefix(root).map_err(io::Error::other)?;
    RelPath::new(inside.as_os_str().as_bytes()).map_err(|error| io::Error::other(error.to_string()))
}

/// What is at `path`, if it is something that has a face.
///
/// # Errors
/// The operating system's.
pub fn face(path: &Path, meta: &fs::Metadata) -> io::Result<Option<Face>> {
    let mode = meta.mode() & 0o777;
    Ok(if meta.is_dir() {
        Some(Face::Dir(mode))
    } else if meta.is_file() {
        let mtime = meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec());
        Some(Face::File(ContentId::of(&fs::read(path)?), mode, mtime))
    } else if meta.is_symlink() {
        Some(Face::Symlink(fs::read_link(path)?.into_os_string().as_bytes().to_vec()))
    } else {
        None
    })
}

fn stamp(meta: &fs::Metadata) -> Stamp {
    (meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec(), meta.mode())
}

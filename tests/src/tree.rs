//! Trees, read whole and compared in every respect that is synced.

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// landropic's own directory at the root of a folder, which is not synced.
pub const PRIVATE: &str = ".landropic";
/// Differences that are named one by one.
const SHOWN: usize = 20;

/// What is at a path.
#[derive(Clone, PartialEq, Eq)]
pub enum Entry {
    /// A directory.
    Dir {
        /// Permission bits.
        mode: u32,
    },
    /// A regular file.
    File {
        /// Permission bits.
        mode: u32,
        /// Modification time, nanoseconds since 1970.
        mtime_ns: i128,
        /// Bytes.
        size: u64,
        /// BLAKE3 of the bytes.
        hash: blake3::Hash,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points, as it says.
        target: Vec<u8>,
    },
    /// Anything else.
    Other,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dir { mode } => write!(f, "directory {mode:o}"),
            Self::File { mode, mtime_ns, size, hash } => {
                write!(f, "file {mode:o} mtime {mtime_ns} size {size} hash {}", &hash.to_hex()[..8])
            }
            Self::Symlink { target } => write!(f, "link to {:?}", String::from_utf8_lossy(target)),
            Self::Other => write!(f, "something else"),
        }
    }
}

/// Everything below a directory, by path relative to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree(pub BTreeMap<Vec<u8>, Entry>);

impl Tree {
    /// Reads the tree at `root`. What vanishes while it is read is not in it.
    pub fn read(root: &Path) -> Self {
        let mut tree = Self::default();
        tree.walk(root, Vec::new());
        tree
    }

    fn walk(&mut self, dir: &Path, prefix: Vec<u8>) {
        let Some(entries) = present(fs::read_dir(dir)) else { return };
        for entry in entries {
            let entry = entry.unwrap();
            if prefix.is_empty() && entry.file_name() == PRIVATE {
                continue;
            }
            let path = [prefix.as_slice(), entry.file_name().as_bytes()].concat();
            let Some(found) = look(&entry.path()) else { continue };
            if matches!(found, Entry::Dir { .. }) {
                self.walk(&entry.path(), [path.as_slice(), b"/"].concat());
            }
            self.0.insert(path, found);
        }
    }

    /// What is at `path`.
    pub fn at(&self, path: &str) -> Option<&Entry> {
        self.0.get(path.as_bytes())
    }

    /// Paths of which `keep` holds, as text.
    pub fn paths(&self, keep: impl Fn(&str) -> bool) -> Vec<String> {
        self.0.keys().map(|p| String::from_utf8_lossy(p).into_owned()).filter(|p| keep(p)).collect()
    }

    /// Paths that look like conflict copies.
    pub fn copies(&self) -> Vec<String> {
        self.paths(|path| path.contains(".conflict-"))
    }

    /// The part below `top`, without the rest.
    pub fn below(&self, top: &str) -> Self {
        let prefix = format!("{top}/").into_bytes();
        Self(self.0.iter().filter(|(p, _)| p.starts_with(&prefix)).map(|(p, e)| (p.clone(), e.clone())).collect())
    }

    /// Number of regular files.
    pub fn files(&self) -> usize {
        self.0.values().filter(|e| matches!(e, Entry::File { .. })).count()
    }

    /// Nothing, if `other` is the same; else what differs, in both directions.
    ///
    /// # Errors
    /// The differences, for people.
    pub fn same(&self, other: &Self) -> Result<(), String> {
        let mut lines = Vec::new();
        for (path, mine) in &self.0 {
            let name = String::from_utf8_lossy(path);
            match other.0.get(path) {
                None => lines.push(format!("{name:?}: {mine:?} here, nothing there")),
                Some(theirs) if theirs != mine => lines.push(format!("{name:?}: {mine:?} here, {theirs:?} there")),
                Some(_) => {}
            }
        }
        let more = other.0.iter().filter(|(path, _)| !self.0.contains_key(*path));
        lines.extend(more.map(|(p, e)| format!("{:?}: nothing here, {e:?} there", String::from_utf8_lossy(p))));
        if lines.is_empty() {
            return Ok(());
        }
        let count = lines.len();
        lines.truncate(SHOWN);
        Err(format!("{count} differences:\n  {}", lines.join("\n  ")))
    }
}

/// What is at `path`; `None` where it is gone before it has been read.
pub fn look(path: &Path) -> Option<Entry> {
    let meta = present(fs::symlink_metadata(path))?;
    let mode = meta.mode() & 0o777;
    if meta.is_dir() {
        return Some(Entry::Dir { mode });
    }
    if meta.is_symlink() {
        let target = present(fs::read_link(path))?;
        return Some(Entry::Symlink { target: target.as_os_str().as_bytes().to_vec() });
    }
    if !meta.is_file() {
        return Some(Entry::Other);
    }
    let hash = present(hash_file(path))?;
    let mtime_ns = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
    Some(Entry::File { mode, mtime_ns, size: meta.len(), hash })
}

/// BLAKE3 of a file.
///
/// # Errors
/// The operating system's.
pub fn hash_file(path: &Path) -> std::io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(fs::File::open(path)?)?;
    Ok(hasher.finalize())
}

/// The answer, or `None` where the entry has vanished or become something else.
fn present<T>(outcome: std::io::Result<T>) -> Option<T> {
    match outcome {
        Ok(found) => Some(found),
        Err(e) if [ErrorKind::NotFound, ErrorKind::NotADirectory, ErrorKind::InvalidInput].contains(&e.kind()) => None,
        Err(e) => panic!("a tree cannot be read: {e}"),
    }
}

/// Compares two folders with `diff -r --no-dereference`, which knows nothing of this harness.
pub fn assert_diff_finds_nothing(one: &Path, other: &Path) {
    let mut command = Command::new("diff");
    command.args(["-r", "--no-dereference", "--exclude", PRIVATE]).arg(one).arg(other);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "diff finds: {text}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Sets the modification time of a file, nanoseconds since 1970.
pub fn set_mtime(path: &Path, mtime_ns: i64) {
    let time = Timespec { tv_sec: mtime_ns.div_euclid(1_000_000_000), tv_nsec: mtime_ns.rem_euclid(1_000_000_000) };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Nanoseconds since 1970, `secs` seconds ago.
pub fn ago(secs: u64) -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_nanos()).unwrap() - i64::try_from(secs).unwrap() * 1_000_000_000
}

/// Writes a file, with the directories above it.
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Every path below `root`, its own directory included, with the size of each file.
pub fn listing(root: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        let Some(entries) = present(fs::read_dir(&dir)) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            let Some(meta) = present(fs::symlink_metadata(&path)) else { continue };
            if meta.is_dir() {
                open.push(path.clone());
            }
            found.insert(path, if meta.is_file() { meta.len() } else { 0 });
        }
    }
    found
}

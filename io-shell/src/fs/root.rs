//! A folder's root: made once, found again, and told from whatever else may stand at its path.

use super::errors::{errno_of, trouble};
use super::stat::{Device, identity, statx_fd};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fchmod, fsync, mkdirat, openat, openat2, renameat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use sync_core::path::PRIVATE_DIR;
use sync_core::{FolderId, ItemError, ItemErrorKind};

/// The directories inside the private one.
const PRIVATE: [&str; 2] = ["stage", "trash"];
/// The marker, and the name it is written under first.
const MARKER: &str = ".landropic/folder";
const NEW_MARKER: &str = ".landropic/folder.new";
/// More than a marker holds: a longer file is none.
const MARKER_LIMIT: u64 = 256;

/// Why a directory cannot be a folder's root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// The directory belongs to another folder.
    #[error(
        "'{}' already belongs to folder {other}: choose another directory; if that folder is used no more, move '{}' away",
        path.display(),
        path.join(PRIVATE_DIR).display()
    )]
    OtherFolder {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        other: FolderId,
    },
    /// The directory lies inside another folder.
    #[error("'{}' is inside the folder at '{}': folders cannot overlap, choose a directory outside it", path.display(), outer.display())]
    Inside {
        /// The directory.
        path: PathBuf,
        /// The root around it.
        outer: PathBuf,
    },
    /// The directory is not there, or bears no marker of the folder.
    #[error("'{}' is not the root of folder {id}: {reason}", path.display())]
    Lost {
        /// The directory.
        path: PathBuf,
        /// The folder that was to be found.
        id: FolderId,
        /// What is there instead.
        reason: String,
    },
    /// The operating system refuses.
    #[error("{}", .0.reason)]
    Disk(ItemError),
}

impl From<RootError> for ItemError {
    fn from(error: RootError) -> Self {
        match error {
            RootError::Disk(item) => item,
            lost @ (RootError::OtherFolder { .. } | RootError::Inside { .. } | RootError::Lost { .. }) => {
                Self { kind: ItemErrorKind::RootLost, reason: lost.to_string() }
            }
        }
    }
}

/// The root of one folder on this device. It holds no descriptor: see [`crate::fs`].
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    id: FolderId,
    /// Device and inode of the directory when it was opened.
    identity: (Device, u64),
    weak: AtomicBool,
}

impl Root {
    /// Makes `path` the root of folder `id`: the directory, its private directory and its marker, as far as they are
    /// missing.
    ///
    /// # Errors
    /// When it belongs to another folder, lies inside one, or cannot be written.
    pub fn create(path: &Path, id: FolderId) -> Result<Self, RootError> {
        let path = absolute(path)?;
        if let Some(outer) = outer_root(&path) {
            return Err(RootError::Inside { path, outer });
        }
        std::fs::create_dir_all(&path).map_err(|e| disk("create", &path, errno_of(&e)))?;
        let dir = RootDir::open(&path).map_err(|errno| disk("open", &path, errno))?;
        match dir.marker().map_err(|errno| disk("read the marker of", &path, errno))? {
            Some(other) if other != id => return Err(RootError::OtherFolder { path, other }),
            _ => {}
        }
        dir.furnish(id).map_err(|errno| disk("set up", &path, errno))?;
        Self::open(&path, id)
    }

    /// Finds the root of folder `id` at `path`.
    ///
    /// # Errors
    /// `Lost` when the directory is missing or bears no marker of this folder: call again once it is back.
    pub fn open(path: &Path, id: FolderId) -> Result<Self, RootError> {
        let path = absolute(path)?;
        let dir = open_marked(&path, id)?;
        Ok(Self { identity: dir.identity, path, id, weak: AtomicBool::new(false) })
    }

    /// Where it is: an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder.
    pub fn id(&self) -> FolderId {
        self.id
    }

    /// Whether the path still leads to the same directory with the same marker.
    ///
    /// # Errors
    /// `RootLost` when it was unmounted, replaced or removed.
    pub fn verify(&self) -> Result<(), ItemError> {
        self.enter().map(drop)
    }

    /// Whether the file system has been found to lack atomic exchange, so that an edit made in the instant of an apply
    /// is protected less well.
    pub fn is_weak(&self) -> bool {
        self.weak.load(Ordering::Relaxed)
    }

    /// Notes that the file system lacks the flags of `renameat2`.
    pub(super) fn set_weak(&self) {
        if !self.weak.swap(true, Ordering::Relaxed) {
            tracing::warn!(folder = %self.id, path = %self.path.display(), "file system without atomic exchange");
        }
    }

    /// Opens the root, checked to be the folder's.
    pub(super) fn enter(&self) -> Result<RootDir, ItemError> {
        let dir = open_marked(&self.path, self.id)?;
        if dir.identity != self.identity {
            let reason = "another directory stands at its path".into();
            return Err(RootError::Lost { path: self.path.clone(), id: self.id, reason }.into());
        }
        Ok(dir)
    }
}

/// The root's descriptor, for the length of one call.
#[derive(Debug)]
pub(super) struct RootDir {
    fd: OwnedFd,
    identity: (Device, u64),
}

impl RootDir {
    fn open(path: &Path) -> Result<Self, Errno> {
        let fd = openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let identity = identity(&statx_fd(&fd)?);
        Ok(Self { fd, identity })
    }

    /// The device the root is on.
    pub(super) fn device(&self) -> Device {
        self.identity.0
    }

    /// The descriptor.
    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Another descriptor of the root.
    pub(super) fn top(&self) -> Result<OwnedFd, Errno> {
        openat(&self.fd, c".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    }

    /// Opens what is at `path` beneath the root, with no link followed and no mount crossed.
    pub(super) fn open_beneath(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        open_below(&self.fd, path, flags)
    }

    /// A directory beneath the root, to be named in other calls but not read.
    pub(super) fn open_path(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.open_beneath(path, OFlags::PATH | OFlags::DIRECTORY)
    }

    /// One of the private directories.
    pub(super) fn private(&self, name: &str) -> Result<OwnedFd, Errno> {
        self.open_beneath(format!("{PRIVATE_DIR}/{name}").as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// Whose marker it bears, if any.
    fn marker(&self) -> Result<Option<FolderId>, Errno> {
        let file = match self.open_beneath(MARKER.as_bytes(), OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let mut text = Vec::new();
        file.take(MARKER_LIMIT).read_to_end(&mut text).map_err(|e| errno_of(&e))?;
        Ok(std::str::from_utf8(&text).ok().and_then(|text| FolderId::parse(text.trim_end())))
    }

    /// Makes the private directories and the marker, durably.
    fn furnish(&self, id: FolderId) -> Result<(), Errno> {
        make_private(&self.fd, PRIVATE_DIR)?;
        let private = self.open_beneath(PRIVATE_DIR.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY)?;
        PRIVATE.iter().try_for_each(|name| make_private(&private, name))?;
        if self.marker()? != Some(id) {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
            let mut file = File::from(self.open_beneath(NEW_MARKER.as_bytes(), flags)?);
            writeln!(file, "{id}").and_then(|()| file.sync_all()).map_err(|e| errno_of(&e))?;
            renameat(&self.fd, NEW_MARKER, &self.fd, MARKER)?;
        }
        fsync(&private)?;
        fsync(&self.fd)
    }
}

/// Opens `path` below `dir` as every path inside a folder is opened.
pub(super) fn open_below(dir: impl AsFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let mode = if flags.contains(OFlags::CREATE) { Mode::RUSR | Mode::WUSR } else { Mode::empty() };
    loop {
        match openat2(&dir, path, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, mode, resolve) {
            // A rename elsewhere in the system raced with the resolution, or a signal came: nothing is wrong.
            Err(Errno::AGAIN | Errno::INTR) => {}
            done => return done,
        }
    }
}

fn make_private(dir: &OwnedFd, name: &str) -> Result<(), Errno> {
    match mkdirat(dir, name, Mode::RWXU) {
        Ok(()) => fchmod(open_below(dir, name.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY)?, Mode::RWXU),
        Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn open_marked(path: &Path, id: FolderId) -> Result<RootDir, RootError> {
    let lost = |reason: &str| RootError::Lost { path: path.into(), id, reason: reason.into() };
    let fail = |call, errno: Errno| match errno {
        // What this process lacks, be it rights, descriptors or memory, says nothing about the disk.
        Errno::ACCESS | Errno::PERM | Errno::MFILE | Errno::NFILE | Errno::NOMEM => disk(call, path, errno),
        errno => lost(&std::io::Error::from(errno).to_string()),
    };
    let dir = RootDir::open(path).map_err(|errno| fail("open", errno))?;
    match dir.marker().map_err(|errno| fail("read the marker of", errno))? {
        Some(found) if found == id => Ok(dir),
        Some(other) => Err(lost(&format!("it bears the marker of folder {other}"))),
        None => Err(lost(&format!("the marker {MARKER} is missing or unreadable"))),
    }
}

/// The root of the folder that `path` lies in, if any. What does not exist yet is judged by what would hold it.
fn outer_root(path: &Path) -> Option<PathBuf> {
    let real = path.ancestors().find_map(|dir| std::fs::canonicalize(dir).ok().map(|real| (dir == path, real)));
    let (exists, real) = real?;
    real.ancestors().skip(usize::from(exists)).find(|dir| dir.join(MARKER).is_file()).map(Path::to_path_buf)
}

fn absolute(path: &Path) -> Result<PathBuf, RootError> {
    std::path::absolute(path).map_err(|e| disk("resolve", path, errno_of(&e)))
}

fn disk(call: &str, path: &Path, errno: Errno) -> RootError {
    RootError::Disk(trouble(call, &format!("'{}'", path.display()), errno))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const ONE: FolderId = FolderId([1; 16]);
    const TWO: FolderId = FolderId([2; 16]);

    #[test]
    fn a_created_root_is_found_again_and_its_private_part_is_ours_alone() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a/b");
        Root::create(&path, ONE).unwrap();
        Root::create(&path, ONE).unwrap();
        assert_eq!(Root::open(&path, ONE).unwrap().verify(), Ok(()));
        for dir in ["", "stage", "trash"] {
            let mode = std::fs::metadata(path.join(PRIVATE_DIR).join(dir)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{dir}");
        }
        assert_eq!(std::fs::read_to_string(path.join(MARKER)).unwrap(), format!("{ONE}\n"));
    }

    #[test]
    fn a_directory_of_another_folder_is_refused() {
        let home = tempfile::tempdir().unwrap();
        Root::create(home.path(), ONE).unwrap();
        let refused = Root::create(home.path(), TWO).unwrap_err();
        assert!(matches!(&refused, RootError::OtherFolder { other, .. } if *other == ONE), "{refused}");
        assert!(matches!(Root::open(home.path(), TWO), Err(RootError::Lost { .. })));
    }

    #[test]
    fn a_directory_inside_another_folder_is_refused_and_not_made() {
        let home = tempfile::tempdir().unwrap();
        Root::create(home.path(), ONE).unwrap();
        let inner = home.path().join("deep/er");
        assert!(matches!(Root::create(&inner, TWO), Err(RootError::Inside { .. })));
        assert!(!inner.exists());
        std::fs::create_dir_all(&inner).unwrap();
        assert!(matches!(Root::create(&inner, TWO), Err(RootError::Inside { .. })));
        std::os::unix::fs::symlink(&inner, home.path().join("way")).unwrap();
        assert!(matches!(Root::create(&home.path().join("way"), TWO), Err(RootError::Inside { .. })));
    }

    #[test]
    fn a_root_that_was_replaced_or_removed_is_lost_until_it_is_back() {
        let home = tempfile::tempdir().unwrap();
        let (path, aside) = (home.path().join("root"), home.path().join("aside"));
        let root = Root::create(&path, ONE).unwrap();
        std::fs::rename(&path, &aside).unwrap();
        let kind = |root: &Root| root.verify().unwrap_err().kind;
        assert_eq!(kind(&root), ItemErrorKind::RootLost, "missing");
        Root::create(&path, ONE).unwrap();
        assert_eq!(kind(&root), ItemErrorKind::RootLost, "another directory, even with the same marker");
        std::fs::remove_dir_all(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(kind(&root), ItemErrorKind::RootLost, "an empty mount point");
        std::fs::remove_dir(&path).unwrap();
        std::fs::rename(&aside, &path).unwrap();
        assert_eq!(root.verify(), Ok(()));
        std::fs::remove_file(path.join(MARKER)).unwrap();
        assert_eq!(kind(&root), ItemErrorKind::RootLost, "no marker");
    }

    #[test]
    fn a_private_directory_that_is_a_link_is_not_followed() {
        let home = tempfile::tempdir().unwrap();
        let (path, outside) = (home.path().join("root"), home.path().join("outside"));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::create_dir_all(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, path.join(PRIVATE_DIR)).unwrap();
        assert!(Root::create(&path, ONE).is_err());
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    }
}

//! One daemon a home: the lock that goes away with its process, however that ends.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The lock's file in the home.
pub const LOCK_FILE: &str = "lock";

/// The home belongs to this process until this is dropped.
#[derive(Debug)]
pub struct HomeLock {
    // The file system's lock lives as long as the open file does.
    _file: File,
}

/// Why a home could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("home {} is in use by the daemon with process id {pid}: talk to it, or stop it, or choose another --home", .home.display())]
    Taken {
        /// The home.
        home: PathBuf,
        /// The process, as it wrote itself down; `unknown` if it has not yet.
        pid: String,
    },
    /// The home or its lock could not be made.
    #[error("home {} cannot be used: {source}: check its permissions and disk, or choose another --home", .home.display())]
    Io {
        /// The home.
        home: PathBuf,
        /// The operating system's word.
        source: io::Error,
    },
}

impl HomeLock {
    /// Makes the home if it is missing, for its user alone, and takes it.
    ///
    /// # Errors
    /// When another process has it, naming that, or the operating system refuses.
    pub fn acquire(home: &Path) -> Result<Self, LockError> {
        let io = |source| LockError::Io { home: home.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(home).map_err(io)?;
        let path = home.join(LOCK_FILE);
        // Not truncated: until the lock is held, what stands in the file is another process's id.
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Taken { home: home.to_owned(), pid: holder(&mut file) });
            }
            Err(TryLockError::Error(e)) => return Err(io(e)),
        }
        write_pid(&mut file).map_err(io)?;
        Ok(Self { _file: file })
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        Ok(_) | Err(_) => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_second_daemon_is_told_the_first_ones_process() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("deep/home");
        let lock = HomeLock::acquire(&home).unwrap();
        assert_eq!(std::fs::metadata(&home).unwrap().permissions().mode() & 0o777, 0o700);
        let refused = HomeLock::acquire(&home).unwrap_err().to_string();
        assert!(refused.contains(&format!("process id {}", std::process::id())), "{refused}");
        drop(lock);
        HomeLock::acquire(&home).unwrap();
    }

    #[test]
    fn a_home_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("file");
        std::fs::write(&home, "").unwrap();
        assert!(HomeLock::acquire(&home).unwrap_err().to_string().contains("file cannot be used"));
    }
}

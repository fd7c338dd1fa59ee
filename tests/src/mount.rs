//! Mounts for tests of what disks do; they need root.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A mount that goes away with this value.
#[derive(Debug)]
pub struct Mount {
    at: PathBuf,
}

impl Mount {
    /// A file system in memory of `size` (as `mount` takes it) at `at`; `None` where mounting is not permitted.
    pub fn tmpfs(at: &Path, size: &str) -> Option<Self> {
        let option = format!("size={size}");
        Self::make(&["-t", "tmpfs", "-o", &option, "landropic-test"], at)
    }

    /// The directory `from`, also seen at `at`; `None` where mounting is not permitted.
    pub fn bind(from: &Path, at: &Path) -> Option<Self> {
        Self::make(&["--bind", from.to_str()?], at)
    }

    fn make(args: &[&str], at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let status = Command::new("mount").args(args).arg(at).stderr(Stdio::null()).status();
        let done = status.is_ok_and(|status| status.success());
        if !done {
            eprintln!("SKIPPED: mounting at {} is not permitted here", at.display());
        }
        done.then(|| Self { at: at.to_owned() })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a daemon may still hold files in it, and must not keep the mount in the tree.
        let done = Command::new("umount").arg("-l").arg(&self.at).status();
        if !done.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.at.display());
        }
    }
}

//! Where one trial happens, and the trees that are lent to it.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The directory below `left` and `right` in which the tree is.
const TREE: &str = "tree";

/// The directories of one trial.
#[derive(Clone, Debug)]
pub struct Site {
    /// For homes, logs and settings.
    pub dir: PathBuf,
    /// What is changed.
    pub left: PathBuf,
    /// What follows.
    pub right: PathBuf,
}

impl Site {
    /// New ones below `dir`.
    ///
    /// # Errors
    /// The disk's.
    pub fn make(dir: &Path) -> Result<Self> {
        let site = Self { dir: dir.into(), left: dir.join("left"), right: dir.join("right") };
        for part in [&site.left, &site.right] {
            fs::create_dir_all(part).with_context(|| format!("cannot make {}", part.display()))?;
        }
        Ok(site)
    }

    /// Where the tree is that is changed.
    pub fn source(&self) -> PathBuf {
        self.left.join(TREE)
    }

    /// Where it is to appear.
    pub fn copy(&self) -> PathBuf {
        self.right.join(TREE)
    }
}

/// A tree that is made once, and put into one trial after the other.
#[derive(Clone, Debug)]
pub struct Tree {
    path: PathBuf,
    /// Its files, count.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Tree {
    /// The tree at `path`.
    pub fn new(path: &Path, files: u64, bytes: u64) -> Self {
        Self { path: path.into(), files, bytes }
    }

    /// Renames it into the left side, which takes no time.
    ///
    /// # Errors
    /// The disk's.
    pub fn lend(&self, site: &Site) -> Result<()> {
        fs::rename(&self.path, site.source()).context("cannot put the tree in place")
    }

    /// Takes it back, if it is away. Nobody may be looking at the left side any more.
    ///
    /// # Errors
    /// The disk's.
    pub fn reclaim(&self, site: &Site) -> Result<()> {
        if !self.path.exists() && site.source().exists() {
            fs::rename(site.source(), &self.path).context("cannot take the tree back")?;
        }
        Ok(())
    }
}

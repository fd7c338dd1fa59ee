//! W1, W2, W3 and memory: a tree appears on one end, and the other has nothing.

use crate::trees;
use crate::versus::measure::{Metric, Sample};
use crate::versus::peers::Peer;
use crate::versus::processes::peak_bytes;
use crate::versus::site::{Site, Tree};
use crate::versus::work::{Work, at_rest, bring, inputs, size};
use anyhow::Result;
use std::path::Path;

/// A tree for an end that has nothing.
pub struct Cold {
    row: &'static str,
    what: String,
    tree: Tree,
    is_few_files: bool,
    /// Whether the peaks of both ends are asked for one by one.
    by_end: bool,
}

impl Cold {
    /// One file.
    ///
    /// # Errors
    /// The disk's.
    pub fn large(dir: &Path, bytes: u64) -> Result<Self> {
        trees::large(dir, bytes)?;
        let (what, tree) = (format!("one file of {}, cold", size(bytes)), Tree::new(dir, 1, bytes));
        Ok(Self { row: "W1", what, tree, is_few_files: true, by_end: false })
    }

    /// One file, for the memory that it takes to send it.
    ///
    /// # Errors
    /// The disk's.
    pub fn huge(dir: &Path, bytes: u64) -> Result<Self> {
        let large = Self::large(dir, bytes)?;
        Ok(Self {
            row: "memory",
            what: format!("memory while a file of {} is sent", size(bytes)),
            by_end: true,
            ..large
        })
    }

    /// Many small files.
    ///
    /// # Errors
    /// The disk's.
    pub fn small(dir: &Path, files: u64) -> Result<Self> {
        let bytes = trees::small(dir, files)?;
        let what = format!("{files} files of 1 to 16 KiB, {}, cold", size(bytes));
        Ok(Self { row: "W2", what, tree: Tree::new(dir, files, bytes), is_few_files: false, by_end: false })
    }

    /// A source tree.
    ///
    /// # Errors
    /// There is none, or the disk's.
    pub fn real(dir: &Path, most: u64) -> Result<Self> {
        let (from, files, bytes) = inputs::real(dir, most)?;
        let what = format!("{files} files of {}, {}, cold", from.display(), size(bytes));
        Ok(Self { row: "W3", what, tree: Tree::new(dir, files, bytes), is_few_files: false, by_end: false })
    }
}

impl Work for Cold {
    fn rows(&self) -> Vec<(&'static str, String)> {
        vec![(self.row, self.what.clone())]
    }

    fn fits(&self, peer: &dyn Peer) -> bool {
        !peer.is_for_latency()
    }

    fn tree(&self) -> Option<&Tree> {
        Some(&self.tree)
    }

    fn is_few_files(&self) -> bool {
        self.is_few_files
    }

    fn trial(&self, peer: &dyn Peer, site: &Site) -> Result<Vec<Sample>> {
        let mut pair = at_rest(peer, site)?;
        let mut sample = bring(&mut *pair, &self.tree, site, self.row)?;
        if self.by_end {
            let [left, right] = pair.ends().map(|pid| pid.and_then(peak_bytes).map(|bytes| bytes as f64));
            sample = sample.with(Metric::PeakLeft, left).with(Metric::PeakRight, right);
        }
        drop(pair);
        trees::check_equal(&site.source(), &site.copy())?;
        Ok(vec![sample])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::versus::peers::oneshot::Cp;
    use std::fs;

    #[test]
    fn a_tree_is_lent_brought_over_and_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let cold = Cold::small(&dir.path().join("made"), 60).unwrap();
        for trial in ["0-cp", "1-cp"] {
            let site = Site::make(&dir.path().join(trial)).unwrap();
            let samples = cold.trial(&Cp, &site).unwrap();
            assert_eq!((samples.len(), samples[0].row), (1, "W2"));
            assert!(samples[0].figures.iter().any(|(metric, figure)| *metric == Metric::Seconds && *figure > 0.0));
            cold.tree.reclaim(&site).unwrap();
            fs::remove_dir_all(site.copy()).unwrap();
        }
        assert!(dir.path().join("made/dir-001/file-00059").exists());
    }
}

//! W5: nothing has changed, and both ends look at all of it again.

use crate::trees;
use crate::versus::measure::{Meter, Sample};
use crate::versus::peers::Peer;
use crate::versus::site::{Site, Tree};
use crate::versus::work::{CALM, Work, at_rest, bring};
use anyhow::Result;
use std::path::Path;

/// A tree that stays as it is.
pub struct Restart {
    tree: Tree,
}

impl Restart {
    /// One of `files` small files.
    ///
    /// # Errors
    /// The disk's.
    pub fn prepare(dir: &Path, files: u64) -> Result<Self> {
        let bytes = trees::small(dir, files)?;
        Ok(Self { tree: Tree::new(dir, files, bytes) })
    }
}

impl Work for Restart {
    fn rows(&self) -> Vec<(&'static str, String)> {
        vec![("W5", format!("{} files, nothing changed, from the start of both ends", self.tree.files))]
    }

    fn tree(&self) -> Option<&Tree> {
        Some(&self.tree)
    }

    fn is_few_files(&self) -> bool {
        false
    }

    fn trial(&self, peer: &dyn Peer, site: &Site) -> Result<Vec<Sample>> {
        let mut pair = at_rest(peer, site)?;
        bring(&mut *pair, &self.tree, site, "")?;
        pair.rest()?;
        std::thread::sleep(CALM);
        let meter = Meter::start();
        pair.rouse()?;
        let sample = meter.stop("W5")?;
        drop(pair);
        trees::check_equal(&site.source(), &site.copy())?;
        Ok(vec![sample])
    }
}

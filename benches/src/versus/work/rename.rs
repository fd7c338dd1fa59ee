//! W8: a directory gets another name.

use crate::trees;
use crate::versus::measure::{Meter, Sample};
use crate::versus::peers::programs::files_below;
use crate::versus::peers::{Done, Peer};
use crate::versus::site::{Site, Tree};
use crate::versus::work::inputs::{FILE, medium};
use crate::versus::work::{CALM, Work, at_rest, bring, size};
use anyhow::Result;
use std::fs;

/// A directory of files.
pub struct Rename {
    /// Their count.
    pub files: u64,
}

impl Work for Rename {
    fn rows(&self) -> Vec<(&'static str, String)> {
        let files = self.files;
        vec![("W8", format!("rename of a directory of {files} files, {}", size(files * FILE)))]
    }

    fn is_few_files(&self) -> bool {
        true
    }

    fn trial(&self, peer: &dyn Peer, site: &Site) -> Result<Vec<Sample>> {
        let made = site.dir.join("made");
        medium(&made.join("before"), self.files)?;
        let mut pair = at_rest(peer, site)?;
        bring(&mut *pair, &Tree::new(&made, self.files, self.files * FILE), site, "")?;
        std::thread::sleep(CALM);
        let (before, after) = (site.copy().join("before"), site.copy().join("after"));
        // Counting is what costs, so that it comes last.
        let shows = || after.join("file-00000").exists() && !before.exists() && files_below(&after) == self.files;
        let meter = Meter::start();
        fs::rename(site.source().join("before"), site.source().join("after"))?;
        pair.begin()?;
        pair.finish(&Done::Shows(&shows))?;
        let sample = meter.stop("W8")?;
        drop(pair);
        trees::check_equal(&site.source(), &site.copy())?;
        Ok(vec![sample])
    }
}

//! W7: very many tiny files.

use crate::trees;
use crate::versus::measure::{Meter, Metric, Sample};
use crate::versus::peers::{Done, Peer};
use crate::versus::processes::resident_bytes;
use crate::versus::site::{Site, Tree};
use crate::versus::work::{CALM, Work, inputs};
use anyhow::Result;
use std::path::Path;
use std::time::Duration;

/// How long an end rests before its memory is looked at.
const REST: Duration = Duration::from_secs(5);

/// Tiny files.
pub struct Many {
    tree: Tree,
}

impl Many {
    /// `files` of them.
    ///
    /// # Errors
    /// The disk's.
    pub fn prepare(dir: &Path, files: u64) -> Result<Self> {
        let bytes = inputs::tiny(dir, files)?;
        Ok(Self { tree: Tree::new(dir, files, bytes) })
    }
}

impl Work for Many {
    fn rows(&self) -> Vec<(&'static str, String)> {
        let files = self.tree.files;
        vec![
            (
                "W7 index",
                format!("{files} files of 100 to 300 bytes appear to a device on its own; at rest after that"),
            ),
            ("W7 fresh", format!("those {files} files, indexed already, to a fresh device, from its start")),
        ]
    }

    fn fits(&self, peer: &dyn Peer) -> bool {
        !peer.is_for_latency()
    }

    fn tree(&self) -> Option<&Tree> {
        Some(&self.tree)
    }

    fn is_few_files(&self) -> bool {
        false
    }

    fn trial(&self, peer: &dyn Peer, site: &Site) -> Result<Vec<Sample>> {
        let mut pair = peer.open(site)?;
        std::thread::sleep(CALM);
        let meter = Meter::start();
        self.tree.lend(site)?;
        pair.index(self.tree.files)?;
        let index = meter.stop("W7 index")?;
        let mut samples = Vec::new();
        if peer.is_daemon() {
            std::thread::sleep(REST);
            let idle = pair.ends()[0].and_then(resident_bytes).map(|bytes| bytes as f64);
            samples.push(index.with(Metric::Idle, idle));
        }
        let meter = Meter::start();
        pair.join()?;
        if !peer.is_daemon() {
            pair.begin()?;
        }
        pair.finish(&Done::Files(&site.copy(), self.tree.files))?;
        samples.push(meter.stop("W7 fresh")?);
        drop(pair);
        trees::check_equal(&site.source(), &site.copy())?;
        Ok(samples)
    }
}

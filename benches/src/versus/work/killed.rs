//! W9: the receiver is killed in the middle.

use crate::trees;
use crate::versus::measure::{Meter, Metric, Sample, wire_bytes};
use crate::versus::namespace;
use crate::versus::peers::{Done, Peer, TIMEOUT};
use crate::versus::site::{Site, Tree};
use crate::versus::work::{Work, at_rest, bring, size};
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::time::{Duration, Instant};

/// How often the bytes are looked at.
const LOOK: Duration = Duration::from_micros(500);

/// One large file that does not come through at once.
pub struct Killed {
    tree: Tree,
}

impl Killed {
    /// A file of so many bytes.
    ///
    /// # Errors
    /// The disk's.
    pub fn prepare(dir: &Path, bytes: u64) -> Result<Self> {
        trees::large(dir, bytes)?;
        Ok(Self { tree: Tree::new(dir, 1, bytes) })
    }
}

impl Work for Killed {
    fn rows(&self) -> Vec<(&'static str, String)> {
        let why = if namespace::is_own() { "" } else { " (left out: bytes can only be counted by root)" };
        let what = format!("the receiver killed half way through {}; from its restart{why}", size(self.tree.bytes));
        vec![("W9", what)]
    }

    fn fits(&self, peer: &dyn Peer) -> bool {
        namespace::is_own() && peer.has_wire() && !peer.is_for_latency()
    }

    fn tree(&self) -> Option<&Tree> {
        Some(&self.tree)
    }

    fn is_few_files(&self) -> bool {
        true
    }

    fn trial(&self, peer: &dyn Peer, site: &Site) -> Result<Vec<Sample>> {
        let whole = self.whole(peer, &Site::make(&site.dir.join("w"))?)?;
        let mut pair = at_rest(peer, site)?;
        let first = wire_bytes().context("bytes are not counted")?;
        self.tree.lend(site)?;
        pair.begin()?;
        self.until_half(first)?;
        pair.kill_receiver()?;
        let before = wire_bytes().context("bytes are not counted")? - first;
        let meter = Meter::start();
        pair.revive()?;
        if !peer.is_daemon() {
            pair.begin()?;
        }
        pair.finish(&Done::Files(&site.copy(), 1))?;
        let sample = meter.stop("W9")?;
        drop(pair);
        let equal = trees::same_bytes(&site.source().join("large"), &site.copy().join("large"))?;
        ensure!(equal, "the file has other bytes");
        let again = sample.wire_bytes().map(|after| (before as f64 + after - whole).max(0.0));
        Ok(vec![sample.with(Metric::Again, again)])
    }
}

impl Killed {
    /// Bytes on the wire where nothing comes in between.
    fn whole(&self, peer: &dyn Peer, site: &Site) -> Result<f64> {
        let mut pair = at_rest(peer, site)?;
        let sample = bring(&mut *pair, &self.tree, site, "")?;
        drop(pair);
        self.tree.reclaim(site)?;
        sample.wire_bytes().context("bytes are not counted")
    }

    fn until_half(&self, first: u64) -> Result<()> {
        let started = Instant::now();
        while wire_bytes().is_some_and(|bytes| bytes - first < self.tree.bytes / 2) {
            ensure!(started.elapsed() < TIMEOUT, "half of it never goes over");
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}

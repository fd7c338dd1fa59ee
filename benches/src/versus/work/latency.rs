//! W6: how soon one small new file is on the other end.

use crate::Numbers;
use crate::versus::measure::{Metric, Sample};
use crate::versus::peers::{Done, GLANCE, Pair, Peer, TIMEOUT};
use crate::versus::site::Site;
use crate::versus::work::{Work, at_rest};
use anyhow::{Result, ensure};
use std::fs;
use std::time::{Duration, Instant};

/// Bytes of a new file.
const FILE: usize = 4 << 10;
/// How long both ends rest between two files, at least, milliseconds.
const REST_MS: u64 = 150;
/// How much longer, at most: no timer of theirs shall always be in the same state.
const JITTER_MS: u64 = 150;

/// New files, one at a time.
pub struct Latency {
    files: u64,
    all: u64,
}

impl Latency {
    /// `files` of them, spread over all rounds.
    pub fn new(files: u64, rounds: u32) -> Self {
        let each = files.div_ceil(u64::from(rounds));
        Self { files: each, all: each * u64::from(rounds) }
    }
}

impl Work for Latency {
    fn rows(&self) -> Vec<(&'static str, String)> {
        vec![("W6", format!("one new file of {} KiB between ends at rest, {} times", FILE >> 10, self.all))]
    }

    fn fits(&self, peer: &dyn Peer) -> bool {
        peer.has_wire()
    }

    fn is_few_files(&self) -> bool {
        true
    }

    fn trial(&self, peer: &dyn Peer, site: &Site) -> Result<Vec<Sample>> {
        let mut pair = at_rest(peer, site)?;
        let mut numbers = Numbers(6);
        let mut figures = Vec::new();
        for n in 0..self.files {
            std::thread::sleep(Duration::from_millis(REST_MS + numbers.draw() % JITTER_MS));
            let mut bytes = vec![0; FILE];
            numbers.fill(&mut bytes);
            let took = one(peer, &mut *pair, site, &format!("new-{n:04}"), &bytes)?;
            figures.push((Metric::Seconds, took.as_secs_f64()));
        }
        Ok(vec![Sample { row: "W6", figures }])
    }
}

/// From the beginning of the write to the appearance. Daemons have to notice by themselves; a program is run at once.
fn one(peer: &dyn Peer, pair: &mut dyn Pair, site: &Site, name: &str, bytes: &[u8]) -> Result<Duration> {
    let expected = site.right.join(name);
    let started = Instant::now();
    fs::write(site.left.join(name), bytes)?;
    if !peer.is_daemon() {
        pair.begin()?;
    }
    while fs::symlink_metadata(&expected).is_err() {
        ensure!(started.elapsed() < TIMEOUT, "{name} does not appear");
        std::thread::sleep(GLANCE);
    }
    let took = started.elapsed();
    if !peer.is_daemon() {
        pair.finish(&Done::Shows(&|| expected.exists()))?;
    }
    ensure!(fs::read(&expected)? == bytes, "{name} appeared with other bytes");
    Ok(took)
}

//! What measurements are made on: the same on every machine and in every run.

pub mod daemons;
pub mod trees;
pub mod versus;

use std::collections::BTreeMap;
use sync_core::index::{Body, Dot, Key, Row, Value, Vector};
use sync_core::path::RelPath;
use sync_core::time::WallTime;
use sync_core::wire::WireRow;
use sync_core::{Actor, ContentId, FolderId};

/// The folder of the rows below.
pub const FOLDER: FolderId = FolderId([7; 16]);

/// SplitMix64 (Steele, Lea and Flood, 2014): numbers that do not compress and are the same in every run.
#[derive(Clone, Debug)]
pub struct Numbers(pub u64);

impl Numbers {
    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Fills `out`.
    pub fn fill(&mut self, out: &mut [u8]) {
        for part in out.chunks_mut(8) {
            let bytes = self.draw().to_le_bytes();
            part.copy_from_slice(&bytes[..part.len()]);
        }
    }

    /// A size in bytes between two powers of two, such that every doubling is equally likely.
    pub fn log_uniform(&mut self, log2_from: f64, log2_to: f64) -> usize {
        let unit = (self.draw() >> 11) as f64 / (1_u64 << 53) as f64;
        (log2_from + unit * (log2_to - log2_from)).exp2() as usize
    }
}

/// A version of a file.
pub fn file(n: u64) -> Value {
    let body = Body::File { content: content(n), size: n, mtime_ns: 1_795_219_449_000_000_000, mode: 0o644 };
    Value { body, prev: [0; 8], stamp: WallTime(n as i64) }
}

/// A content id.
pub fn content(n: u64) -> ContentId {
    let mut bytes = [0; 32];
    Numbers(n).fill(&mut bytes);
    ContentId(bytes)
}

/// A path of three components, as source trees have them.
pub fn path(n: u64) -> RelPath {
    let text = format!("packages/module-{}/file-{n}.rs", n / 50);
    RelPath::new(text.as_bytes()).unwrap_or_else(|error| unreachable!("{text} is a path: {error}"))
}

/// A row of as many concurrent versions as there are actors.
pub fn row(n: u64, actors: &[u64]) -> Row {
    let versions = actors.iter().map(|actor| (Dot { actor: Actor(*actor), seq: n + 1 }, file(n ^ actor)));
    let siblings: BTreeMap<Dot, Value> = versions.collect();
    Row { ctx: siblings.keys().copied().collect(), siblings, noskip: false }
}

/// As many rows as one batch on the index lane has, most of one version.
pub fn batch(count: u64) -> Vec<WireRow> {
    let actors: [&[u64]; 4] = [&[1], &[1], &[2], &[1, 2]];
    (0..count).map(|n| WireRow { key: Key::Path(path(n)), row: row(n, actors[n as usize % 4]) }).collect()
}

/// Knowledge of every dot up to `seq` of each actor.
pub fn knowledge(actors: &[u64], seq: u64) -> Vector {
    actors.iter().map(|actor| Dot { actor: Actor(*actor), seq }).collect()
}

/// The `p`th percentile (0 to 100) by the nearest rank; zero of nothing.
pub fn percentile(values: &[f64], p: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (p / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=20).rev().map(f64::from).collect();
        assert_eq!([0.0, 50.0, 95.0, 100.0].map(|p| percentile(&values, p)), [1.0, 10.0, 19.0, 20.0]);
        assert_eq!(percentile(&[], 50.0), 0.0);
    }

    #[test]
    fn numbers_are_the_same_in_every_run_and_sizes_keep_their_bounds() {
        assert_eq!(Numbers(0).draw(), 0xe220_a839_7b1d_cdaf);
        let mut numbers = Numbers(1);
        let sizes: Vec<usize> = (0..10_000).map(|_| numbers.log_uniform(10.0, 14.0)).collect();
        assert!(sizes.iter().all(|size| (1_024..=16_384).contains(size)));
        let small = sizes.iter().filter(|size| **size < 4_096).count();
        assert!((4_500..5_500).contains(&small), "{small} of 10,000 are in the lower half");
    }
}

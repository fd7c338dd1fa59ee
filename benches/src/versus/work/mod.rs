//! The workloads.

pub mod cold;
pub mod edits;
pub mod inputs;
pub mod killed;
pub mod latency;
pub mod many;
pub mod rename;
pub mod restart;

use crate::versus::args::Args;
use crate::versus::measure::{Meter, Sample};
use crate::versus::peers::{Done, Pair, Peer};
use crate::versus::site::{Site, Tree};
use anyhow::Result;
use clap::ValueEnum;
use std::path::Path;
use std::time::Duration;

/// How long two ends rest before something is asked of them.
const CALM: Duration = Duration::from_millis(1_200);

/// A workload, as the command line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// One large file, to a device that has nothing
    W1,
    /// Many small files, likewise
    W2,
    /// A real source tree, likewise
    W3,
    /// Edits of one large file: a byte inserted at the front, 4 KiB overwritten
    W4,
    /// Nothing has changed: restart, look at all files, compare
    W5,
    /// One small new file between two ends at rest
    W6,
    /// Very many tiny files: indexing, memory at rest, to a fresh device
    W7,
    /// Rename of a directory
    W8,
    /// The receiver is killed when half of a large file has gone over
    W9,
    /// Memory of both ends while a very large file is sent
    Memory,
}

impl Workload {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::W1 => "w1",
            Self::W2 => "w2",
            Self::W3 => "w3",
            Self::W4 => "w4",
            Self::W5 => "w5",
            Self::W6 => "w6",
            Self::W7 => "w7",
            Self::W8 => "w8",
            Self::W9 => "w9",
            Self::Memory => "memory",
        }
    }

    /// Whether it is done unless others are asked for.
    pub fn is_usual(self) -> bool {
        self != Self::Memory
    }

    /// Makes what it needs in `dir`.
    ///
    /// # Errors
    /// The disk's.
    pub fn prepare(self, dir: &Path, args: &Args) -> Result<Box<dyn Work>> {
        let scaled = |count: u64| ((count as f64 * args.scale) as u64).max(1);
        Ok(match self {
            Self::W1 => Box::new(cold::Cold::large(dir, scaled(1 << 30))?),
            Self::W2 => Box::new(cold::Cold::small(dir, scaled(20_000))?),
            Self::W3 => Box::new(cold::Cold::real(dir, scaled(21_000))?),
            Self::W4 => Box::new(edits::Edits { bytes: scaled(1 << 30).max(edits::LEAST) }),
            Self::W5 => Box::new(restart::Restart::prepare(dir, scaled(41_000))?),
            Self::W6 => Box::new(latency::Latency::new(scaled(20), args.rounds)),
            Self::W7 => Box::new(many::Many::prepare(dir, scaled(100_000))?),
            Self::W8 => Box::new(rename::Rename { files: scaled(1_000) }),
            Self::W9 => Box::new(killed::Killed::prepare(dir, scaled(1 << 30))?),
            Self::Memory => Box::new(cold::Cold::huge(dir, scaled(4 << 30))?),
        })
    }
}

/// A workload, prepared.
pub trait Work {
    /// Its rows in the results, each with what it is.
    fn rows(&self) -> Vec<(&'static str, String)>;
    /// Whether a peer can do it.
    fn fits(&self, peer: &dyn Peer) -> bool {
        !peer.is_for_latency() && peer.has_wire()
    }
    /// The tree that trials borrow.
    fn tree(&self) -> Option<&Tree> {
        None
    }
    /// Whether what a trial leaves is quickly deleted.
    fn is_few_files(&self) -> bool;
    /// Does it once. Nothing may run any more when it returns.
    ///
    /// # Errors
    /// The peer's, or what it has brought over is not the same.
    fn trial(&self, peer: &dyn Peer, site: &Site) -> Result<Vec<Sample>>;
}

/// Both ends, connected and at rest.
fn at_rest(peer: &dyn Peer, site: &Site) -> Result<Box<dyn Pair>> {
    let mut pair = peer.open(site)?;
    pair.join()?;
    std::thread::sleep(CALM);
    Ok(pair)
}

/// Puts a tree into the left side, and measures until the right has it.
fn bring(pair: &mut dyn Pair, tree: &Tree, site: &Site, row: &'static str) -> Result<Sample> {
    let copy = site.copy();
    let meter = Meter::start();
    tree.lend(site)?;
    pair.begin()?;
    pair.finish(&Done::Files(&copy, tree.files))?;
    meter.stop(row)
}

/// Bytes for people, in binary units.
fn size(bytes: u64) -> String {
    match bytes {
        0..0x40_0000 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        0x40_0000..0x1_0000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

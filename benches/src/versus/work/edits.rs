//! W4: a large file that both have is edited.

use crate::trees;
use crate::versus::measure::{Meter, Sample};
use crate::versus::peers::{Done, Pair, Peer};
use crate::versus::site::{Site, Tree};
use crate::versus::work::{CALM, Work, at_rest, bring, size};
use anyhow::Result;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes that are overwritten.
const OVERWRITE: [u8; 4 << 10] = [0x5a; 4 << 10];
/// The smallest file that can be edited so, bytes.
pub const LEAST: u64 = 4 * OVERWRITE.len() as u64;

/// Edits of a file.
pub struct Edits {
    /// Its bytes.
    pub bytes: u64,
}

impl Work for Edits {
    fn rows(&self) -> Vec<(&'static str, String)> {
        let of = size(self.bytes);
        vec![
            ("W4 insert", format!("one byte inserted at the front of {of}, by a new file renamed into place")),
            ("W4 overwrite", format!("4 KiB overwritten in the middle of {of}")),
        ]
    }

    fn is_few_files(&self) -> bool {
        true
    }

    fn trial(&self, peer: &dyn Peer, site: &Site) -> Result<Vec<Sample>> {
        let made = site.dir.join("made");
        trees::large(&made, self.bytes)?;
        let mut pair = at_rest(peer, site)?;
        bring(&mut *pair, &Tree::new(&made, 1, self.bytes), site, "")?;
        let samples = vec![self.insert(&mut *pair, site)?, self.overwrite(&mut *pair, site)?];
        drop(pair);
        trees::check_equal(&site.source(), &site.copy())?;
        Ok(samples)
    }
}

impl Edits {
    fn insert(&self, pair: &mut dyn Pair, site: &Site) -> Result<Sample> {
        let (from, to, edited) = (site.source().join("large"), site.copy().join("large"), site.dir.join("edited"));
        let mut file = File::create(&edited)?;
        file.write_all(b"!")?;
        io::copy(&mut File::open(&from)?, &mut file)?;
        drop(file);
        std::thread::sleep(CALM);
        let shows = || fs::metadata(&to).is_ok_and(|meta| meta.len() == self.bytes + 1);
        let meter = Meter::start();
        fs::rename(&edited, &from)?;
        pair.begin()?;
        pair.finish(&Done::Shows(&shows))?;
        meter.stop("W4 insert")
    }

    fn overwrite(&self, pair: &mut dyn Pair, site: &Site) -> Result<Sample> {
        let (from, to, at) = (site.source().join("large"), site.copy().join("large"), self.bytes / 2);
        std::thread::sleep(CALM);
        let meter = Meter::start();
        OpenOptions::new().write(true).open(&from)?.write_all_at(&OVERWRITE, at)?;
        pair.begin()?;
        pair.finish(&Done::Shows(&|| is_overwritten(&to, at)))?;
        meter.stop("W4 overwrite")
    }
}

fn is_overwritten(file: &Path, at: u64) -> bool {
    let mut bytes = [0; OVERWRITE.len()];
    let read = File::open(file).and_then(|file| file.read_exact_at(&mut bytes, at));
    read.is_ok() && bytes == OVERWRITE
}

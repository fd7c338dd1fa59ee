//! How often one operation fails: whoever does not wait between attempts is busy with nothing.

use std::collections::{BTreeMap, VecDeque};
use sync_core::RelPath;

/// Failures of one operation in a second that are too many.
const TOO_MANY: usize = 20;
const SECOND_US: u64 = 1_000_000;

/// The last failures at each path.
#[derive(Debug, Default)]
pub struct Tries(BTreeMap<(usize, RelPath), VecDeque<u64>>);

impl Tries {
    /// An operation on `path` at `host` came to nothing.
    ///
    /// # Errors
    /// That has happened too often within a second.
    pub fn failed(&mut self, host: usize, path: &RelPath, now: u64) -> Result<(), String> {
        let times = self.0.entry((host, path.clone())).or_default();
        times.push_back(now);
        if times.len() < TOO_MANY {
            return Ok(());
        }
        let first = times.pop_front().unwrap_or(now);
        if now - first >= SECOND_US {
            return Ok(());
        }
        Err(format!("host {host}: {TOO_MANY} failures at {} within a second", path.display()))
    }
}

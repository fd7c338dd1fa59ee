//! How often one operation fails, or one path is looked at: whoever does not wait between attempts is busy with nothing.

use std::collections::{BTreeMap, VecDeque};
use sync_core::RelPath;

/// Failures of one operation in a second that are too many.
const TOO_MANY: usize = 20;
/// Looks at one path in a second that are too many.
const TOO_MANY_LOOKS: usize = 60;
const SECOND_US: u64 = 1_000_000;

/// When something last happened at each path.
type Times = BTreeMap<(usize, RelPath), VecDeque<u64>>;

/// The last failures and looks at each path.
#[derive(Debug, Default)]
pub struct Tries {
    failures: Times,
    looks: Times,
}

impl Tries {
    /// An operation on `path` at `host` came to nothing.
    ///
    /// # Errors
    /// That has happened too often within a second.
    pub fn failed(&mut self, host: usize, path: &RelPath, now: u64) -> Result<(), String> {
        note(&mut self.failures, TOO_MANY, "failures", host, path, now)
    }

    /// `host` is to look at `path`.
    ///
    /// # Errors
    /// That has happened too often within a second.
    pub fn looked(&mut self, host: usize, path: &RelPath, now: u64) -> Result<(), String> {
        note(&mut self.looks, TOO_MANY_LOOKS, "looks", host, path, now)
    }
}

fn note(times: &mut Times, most: usize, what: &str, host: usize, path: &RelPath, now: u64) -> Result<(), String> {
    let times = times.entry((host, path.clone())).or_default();
    times.push_back(now);
    if times.len() < most {
        return Ok(());
    }
    let first = times.pop_front().unwrap_or(now);
    if now - first >= SECOND_US {
        return Ok(());
    }
    Err(format!("host {host}: {most} {what} at {} within a second", path.display()))
}

//! Somebody who does something to a folder in the very instant between a look at a file and its move.

use super::clock::{self, HostClock};
use super::people::{CANARY, NAMES};
use super::tree::{Change, face, rel};
use crate::dice::{Dice, Domain};
use crate::oracle::Face;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use sync_core::path::PRIVATE_DIR;

/// The one at one host.
pub struct Meddler {
    host: u64,
    root: PathBuf,
    clock: HostClock,
    dice: Dice,
    percent: u64,
    deeds: u64,
    done: Vec<Change>,
}

impl Meddler {
    /// The one at host number `host`, who does nothing yet.
    pub fn new(seed: u64, host: u64, root: &Path, clock: HostClock) -> Self {
        let dice = Dice::new(seed, Domain::ShellPeople, 1 << 32 | host);
        Self { host, root: root.into(), clock, dice, percent: 0, deeds: 0, done: Vec::new() }
    }

    /// In so many of a hundred instants something is done from here on.
    pub fn set_percent(&mut self, percent: u64) {
        self.percent = percent;
    }

    /// What was done since this was asked last.
    pub fn take_done(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.done)
    }

    /// This is such an instant. Returns whether something was done.
    pub fn meddle(&mut self) -> bool {
        if self.percent == 0 || !self.dice.percent(self.percent) {
            return false;
        }
        // A folder that has gone meanwhile is nobody's to work in.
        let done = self.act().ok().flatten();
        done.map(|change| self.done.push(change)).is_some()
    }

    fn act(&mut self) -> io::Result<Option<Change>> {
        let mut there = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path();
            let meta = fs::symlink_metadata(&path)?;
            if path != self.root.join(PRIVATE_DIR) && !meta.is_dir() {
                there.push(path);
            }
        }
        there.sort();
        let known = if self.dice.percent(75) { self.dice.pick(&there).cloned() } else { None };
        let fresh = self.root.join(format!("{CANARY}-{}.txt", self.dice.range(0, NAMES)));
        let path = known.unwrap_or(fresh);
        let was = look(&path)?;
        if matches!(was, Some(Face::Dir(_))) {
            return Ok(None);
        }
        self.deeds += 1;
        if was.is_some() {
            fs::remove_file(&path)?;
        }
        if was.is_none() || self.dice.percent(70) {
            fs::write(&path, format!("{CANARY} meddled with at {} the {}th time", self.host, self.deeds))?;
            // A time that no save has.
            let wall = self.clock.wall_at(clock::elapsed() + Duration::from_nanos(500_000 + self.deeds)).0;
            let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(wall).unwrap_or(0));
            fs::File::options().write(true).open(&path)?.set_modified(time)?;
        }
        tracing::debug!(host = self.host, path = %path.display(), "meddled with");
        Ok(Some(Change { path: rel(&self.root, &path)?, was, is: look(&path)? }))
    }
}

fn look(path: &Path) -> io::Result<Option<Face>> {
    match fs::symlink_metadata(path) {
        Ok(meta) => face(path, &meta),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

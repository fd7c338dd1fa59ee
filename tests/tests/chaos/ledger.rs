//! The ledger of one run: the oracle's, and what people did, for people who read of a failure.

use crate::directory::Directory;
use sim::oracle::{Face, Oracle, Shows};
use sim::outcome::Invariant;
use std::collections::BTreeSet;
use std::time::Instant;
use sync_core::{ContentId, RelPath};

/// Whoever changes a path at the same instant as a person: what shows there then was left by no one in particular.
const NOBODY: usize = usize::MAX;
/// Deeds that are told of when a run fails.
const TOLD: usize = 400;

/// What people and devices did so far.
pub(crate) struct Ledger {
    /// Judges it.
    pub(crate) oracle: Oracle,
    started: Instant,
    history: Vec<String>,
    saved: BTreeSet<ContentId>,
    /// Whether a person removed something without having seen what it was, since all was last at rest.
    is_unseen: bool,
    /// What may count as deleted at which host: since all was last at rest, and in the round before.
    gone: [BTreeSet<(usize, RelPath)>; 2],
    /// Whether a process was killed since all was last at rest, and in the round before.
    killed: [bool; 2],
}

impl Ledger {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self {
            oracle: Oracle::default(),
            started: Instant::now(),
            history: Vec::new(),
            saved: BTreeSet::new(),
            is_unseen: false,
            gone: Default::default(),
            killed: [false; 2],
        }
    }

    /// Something happens.
    pub(crate) fn note(&mut self, what: String) {
        let now = self.started.elapsed();
        self.history.push(format!("{:9.3} s  {what}", now.as_secs_f64()));
        self.oracle.now = (u64::try_from(now.as_micros()).unwrap(), self.history.len() as u64);
    }

    /// What happened last, for people.
    pub(crate) fn history(&self) -> String {
        self.history[self.history.len().saturating_sub(TOLD)..].join("\n")
    }

    /// How many things happened.
    pub(crate) fn events(&self) -> usize {
        self.history.len()
    }

    /// A person is about to save `content`.
    pub(crate) fn writes(&mut self, content: ContentId) {
        self.saved.insert(content);
        self.oracle.wrote(content);
    }

    /// What a person saved shows at `path`: from now on it must not get lost, whether a device has seen it or not.
    pub(crate) fn left(&mut self, host: usize, path: &RelPath, face: Face) {
        if let Some(content) = face.content() {
            self.oracle.indexed(content);
        }
        self.oracle.touched(host, path, Some(face));
    }

    /// A person removed `path`, or moved it elsewhere.
    pub(crate) fn took(&mut self, host: usize, path: &RelPath) {
        self.gone[0].insert((host, path.clone()));
        self.oracle.touched(host, path, None);
    }

    /// A device put something else at `path` while a person at `host` changed what was there.
    pub(crate) fn raced(&mut self, host: usize, path: &RelPath) {
        self.note(format!("host {host}: a device was faster at {}", path.display()));
        self.took(host, path);
        self.oracle.touched(NOBODY, path, None);
    }

    /// A person removed what a device had just put in the place of what the person saw.
    pub(crate) fn removed_unseen(&mut self, host: usize, path: &RelPath) {
        self.raced(host, path);
        self.is_unseen = true;
    }

    /// A process was killed: what its disk was just doing is done or not.
    pub(crate) fn killed(&mut self) {
        self.killed[0] = true;
        self.oracle.forgot();
    }

    /// A device says that `path` was deleted at its disk.
    pub(crate) fn counts_as_deleted(&mut self, host: usize, path: &RelPath) {
        // Whoever moves a directory may not have seen all that was in it.
        let mut reasons = path.ancestors().chain([path.clone()]);
        let by_hand = reasons.any(|p| self.gone.iter().any(|gone| gone.contains(&(host, p.clone()))));
        if !by_hand && !self.killed.contains(&true) && !self.oracle.was_gone(host, path) {
            let what = format!("host {host}: {} counts as deleted, and never was", path.display());
            self.oracle.fail(Invariant::NoPhantomDelete, what);
        }
    }

    /// All is at rest, and the folders show and hold this.
    pub(crate) fn at_rest(&mut self, folders: &[(usize, &Directory)]) {
        for (host, folder) in folders {
            for (place, content) in folder.trash().iter().filter(|(_, content)| !self.saved.contains(content)) {
                let what = format!(
                    "host {host}: the trash holds {} at {}, which nobody ever saved",
                    content.short(),
                    place.display()
                );
                self.oracle.fail(Invariant::AtomicVisibility, what);
            }
        }
        if std::mem::take(&mut self.is_unseen) {
            let held: BTreeSet<ContentId> = folders.iter().flat_map(|(_, folder)| folder.holds()).collect();
            self.saved.iter().filter(|c| !held.contains(c)).for_each(|content| self.oracle.superseded(*content));
        }
        self.oracle.at_rest(folders, folders, |_| false);
        self.gone = [BTreeSet::new(), std::mem::take(&mut self.gone[0])];
        self.killed = [false, self.killed[0]];
    }
}

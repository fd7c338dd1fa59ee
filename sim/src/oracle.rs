//! What must hold, judged from what people did and what the disks show. It knows nothing of rows or dots.

use crate::disk::{Disk, Face, content_of};
use std::collections::{BTreeMap, BTreeSet};
use sync_core::{ContentId, RelPath};

/// What became of one content.
#[derive(Clone, Copy, Debug, Default)]
struct Fate {
    /// A device has taken it into its index.
    indexed: bool,
    /// A person has deleted or overwritten it where it showed.
    superseded: bool,
}

/// The ledger of one run. Entries are only ever added.
#[derive(Debug, Default)]
pub struct Oracle {
    contents: BTreeMap<ContentId, Fate>,
    /// What every disk showed when all was last at rest.
    baseline: Option<BTreeMap<RelPath, Face>>,
    /// Who has touched which path since, and what it showed after each touch.
    touched: BTreeMap<RelPath, BTreeMap<usize, Vec<Option<Face>>>>,
    /// Whether an index has forgotten since what its disk or other devices hold: an apply at a crash, or anything at a power
    /// loss. What a person had taken away may come back then, and what goes may be in a trash only.
    forgetful: bool,
    /// What went wrong.
    pub violations: Vec<String>,
}

/// A conflict copy's name depends on the version, which may be issued anew: such paths may change by themselves.
fn is_copy(path: &RelPath) -> bool {
    mark(path).is_some()
}

fn mark(path: &RelPath) -> Option<usize> {
    path.as_bytes().windows(10).position(|w| w == b".conflict-")
}

/// Whether `path` has the name of a copy of `source`.
fn is_copy_of(path: &RelPath, source: &RelPath) -> bool {
    let Some(mark) = mark(path) else { return false };
    let (stem, rest) = path.as_bytes().split_at(mark);
    let extension = rest[1..].iter().position(|b| *b == b'.').map_or(&[][..], |dot| &rest[dot + 1..]);
    [stem, extension].concat() == source.as_bytes()
}

impl Oracle {
    /// A person has made or saved `content` somewhere.
    pub fn wrote(&mut self, content: ContentId) {
        self.contents.entry(content).or_default();
    }

    /// A person has removed or replaced an entry that showed `content`.
    pub fn superseded(&mut self, content: ContentId) {
        self.contents.entry(content).or_default().superseded = true;
    }

    /// A device has taken `content` into its index.
    pub fn indexed(&mut self, content: ContentId) {
        self.contents.entry(content).or_default().indexed = true;
    }

    /// A person on `host` has changed `path`, which shows `face` now.
    pub fn touched(&mut self, host: usize, path: &RelPath, face: Option<Face>) {
        self.touched.entry(path.clone()).or_default().entry(host).or_default().push(face);
    }

    /// An index has forgotten something.
    pub fn forgot(&mut self) {
        self.forgetful = true;
    }

    /// A device has put a file in place: nothing but what a person once saved may ever show.
    pub fn placed(&mut self, host: usize, path: &RelPath, content: ContentId) {
        if !self.contents.contains_key(&content) {
            self.fail(format!("host {host}: {} shows bytes that nobody ever saved", path.display()));
        }
    }

    /// Notes a violation.
    pub fn fail(&mut self, what: String) {
        self.violations.push(what);
    }

    /// How two disks differ, or nothing.
    pub fn difference(disks: &[&Disk]) -> Option<String> {
        let (first, rest) = disks.split_first()?;
        for (i, other) in rest.iter().enumerate() {
            let (a, b) = (first.entries(), other.entries());
            for path in a.keys().chain(b.keys()) {
                let faces = (a.get(path).map(|e| e.face()), b.get(path).map(|e| e.face()));
                if faces.0 != faces.1 {
                    return Some(format!(
                        "{}: host 0 shows {:?}, host {} shows {:?}",
                        path.display(),
                        faces.0,
                        i + 1,
                        faces.1
                    ));
                }
            }
        }
        None
    }

    /// All is at rest and every disk shows the same.
    pub fn at_rest(&mut self, disks: &[&Disk]) {
        let Some(disk) = disks.first() else { return };
        let now: BTreeMap<RelPath, Face> = disk.entries().iter().map(|(p, e)| (p.clone(), e.face())).collect();
        self.check_losses(disks);
        if let Some(before) = self.baseline.take() {
            self.check_paths(&before, &now);
        }
        self.touched.clear();
        self.forgetful = false;
        self.baseline = Some(now);
    }

    /// Every content that was indexed can be had back, unless a person who saw it did away with it.
    fn check_losses(&mut self, disks: &[&Disk]) {
        let held: BTreeSet<ContentId> = disks.iter().flat_map(|d| d.holds()).collect();
        let lost: Vec<ContentId> = self
            .contents
            .iter()
            .filter(|(content, fate)| fate.indexed && !fate.superseded && !held.contains(content))
            .map(|(content, _)| *content)
            .collect();
        for content in lost {
            self.fail(format!("content {} was indexed, is nowhere, and nobody did away with it", content.short()));
        }
        let visible: BTreeSet<ContentId> =
            disks.iter().flat_map(|d| d.entries().values().filter_map(content_of)).collect();
        let hidden: Vec<ContentId> = self
            .contents
            .iter()
            .filter(|(content, fate)| fate.indexed && !fate.superseded && !visible.contains(content))
            .map(|(content, _)| *content)
            .collect();
        for content in hidden {
            if self.forgetful {
                // Whoever looks for it finds it there.
                self.superseded(content);
                continue;
            }
            self.fail(format!("content {} is in the trash only, and nobody did away with it", content.short()));
        }
    }

    /// A path nobody touched is as it was; one that a single device's people touched is as they left it.
    fn check_paths(&mut self, before: &BTreeMap<RelPath, Face>, now: &BTreeMap<RelPath, Face>) {
        let mut found = Vec::new();
        let paths: BTreeSet<&RelPath> = before.keys().chain(now.keys()).chain(self.touched.keys()).collect();
        for path in paths.into_iter().filter(|p| !is_copy(p)) {
            let shown = now.get(path);
            match self.touched.get(path) {
                None if self.below_is_touched(path, None) && shown.is_some_and(|f| matches!(f, Face::Dir(_))) => {}
                None if shown != before.get(path) => {
                    let was = before.get(path);
                    found.push(format!("{}: nobody touched it: was {was:?}, is {shown:?}", path.display()));
                }
                None => {}
                Some(by) => {
                    let [(host, left)] = &by.iter().collect::<Vec<_>>()[..] else { continue };
                    let others = self.below_is_touched(path, Some(**host))
                        || self.above_is_touched(path, **host)
                        || self.copy_is_touched(path, **host);
                    let earlier = left.iter().map(Option::as_ref).chain([before.get(path)]);
                    // A directory that comes back for what is in it may have lost its mode.
                    let is_dir = |face: Option<&Face>| matches!(face, Some(Face::Dir(_)));
                    let is_implied = is_dir(shown) && now.keys().any(|p| p.is_below(path));
                    let same = |face: Option<&Face>| face == shown || is_dir(face) && is_dir(shown);
                    let came_back = self.forgetful && shown.is_some() && (is_implied || earlier.into_iter().any(same));
                    // What had lost the name gets it when what had it is gone.
                    let mut copies = before.iter().filter(|(p, _)| is_copy_of(p, path));
                    let came_back = came_back || shown.is_some() && copies.any(|(_, face)| Some(face) == shown);
                    let left = left.last().and_then(Option::as_ref);
                    // A directory made anew looks like the forgotten one. What is in it is judged for itself.
                    let came_back = came_back || self.forgetful && is_dir(left);
                    if !others && !came_back && shown != left {
                        found.push(format!(
                            "{}: only host {host} touched it and left {left:?}, but it is {shown:?}",
                            path.display()
                        ));
                    }
                }
            }
        }
        self.violations.extend(found);
    }

    /// Whether anybody but `host` touched something below `path`.
    fn below_is_touched(&self, path: &RelPath, host: Option<usize>) -> bool {
        self.touched.iter().filter(|(p, _)| p.is_below(path)).any(|(_, by)| by.keys().any(|h| Some(*h) != host))
    }

    /// Whether anybody but `host` touched a conflict copy of `path`: another version of the same.
    fn copy_is_touched(&self, path: &RelPath, host: usize) -> bool {
        self.touched.iter().filter(|(p, _)| is_copy_of(p, path)).any(|(_, by)| by.keys().any(|h| *h != host))
    }

    fn above_is_touched(&self, path: &RelPath, host: usize) -> bool {
        path.ancestors().any(|p| self.touched.get(&p).is_some_and(|by| by.keys().any(|h| *h != host)))
    }
}

//! What people did, kept apart from dots and rows: which contents a completed scan saw, and which of them somebody
//! replaced or deleted while he saw them.

use std::collections::{BTreeMap, BTreeSet};
use sync_core::RelPath;
use sync_core::index::Body;

/// A content as people know it: the hash of a file or of a link's target.
pub type Content = [u8; 8];

/// What has happened to one content.
#[derive(Clone, Debug, Default)]
struct Fate {
    /// A completed scan saw it.
    scanned: bool,
    /// Devices where somebody who saw it replaced or deleted it.
    superseded: BTreeSet<usize>,
    /// It came to be again in a way that is no claim against its end: touched, copied, moved, written out.
    revived: bool,
    /// It has been written as a version once.
    written: bool,
    /// It has been touched: what that makes of its end is no claim either way, but it is no new content.
    touched: bool,
    /// Devices where it was moved: a move ends it at one place and begins it at another.
    moved: BTreeSet<usize>,
    /// Devices where it was put back after its end.
    put_back: BTreeSet<usize>,
    /// Devices that have scanned it.
    at: BTreeSet<usize>,
}

/// Every content that ever was.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    fates: BTreeMap<Content, Fate>,
    /// What was replaced or deleted on a disk, and not scanned since.
    untold: Vec<(usize, Content)>,
    /// What was deleted last at a path, and on which device.
    deleted: BTreeMap<RelPath, (usize, Content)>,
    /// Contents that a device is about to find on its disk and must not take for new.
    remembered: BTreeSet<Content>,
    /// Which content somebody replaced by which.
    edits: BTreeSet<(Content, Content)>,
}

/// The content of an entry, if it has one.
pub fn content_of(body: &Body) -> Option<Content> {
    match body {
        Body::File { .. } | Body::Symlink { .. } => Some(body.content_prefix()),
        Body::Dir { .. } | Body::Tomb | Body::Member(_) | Body::Policy(_) => None,
    }
}

impl Ledger {
    pub fn saw(&mut self, device: usize, body: &Body) {
        if let Some(content) = content_of(body) {
            let fate = self.fates.entry(content).or_default();
            fate.scanned = true;
            fate.at.insert(device);
        }
    }

    /// Somebody replaced or deleted `body`, which was on the disk of `device`.
    pub fn superseded(&mut self, device: usize, body: &Body) {
        if let Some(content) = content_of(body) {
            self.fates.entry(content).or_default().superseded.insert(device);
            self.untold.push((device, content));
        }
    }

    /// Somebody who saw `old` wrote `new` in its place.
    pub fn replaced(&mut self, old: &Body, new: &Body) {
        self.edits.extend(content_of(old).zip(content_of(new)));
    }

    /// Whether one of two contents shown for one path was made by replacing the other: no conflict.
    pub fn is_edit(&self, old: Content, new: Content) -> bool {
        let revived = |c| self.fates.get(&c).is_some_and(|f| f.revived);
        self.edits.contains(&(old, new)) && !revived(old) && !revived(new)
    }

    /// A scan of `device` found `body`, which its base knew, gone from `path`.
    pub fn deleted(&mut self, device: usize, path: &RelPath, body: &Body) {
        self.deleted.insert(path.clone(), (device, body.content_prefix()));
    }

    /// A device that has lost its memory asks `others` before it scans `disk`: what one of them deleted last at a
    /// path is no news there, unless `is_live` says that somebody has something there.
    pub fn remind<'a>(
        &mut self,
        disk: impl Iterator<Item = (&'a RelPath, &'a Body)>,
        is_live: impl Fn(&RelPath) -> bool,
        others: &[usize],
    ) {
        let untold: BTreeSet<Content> = self.untold.iter().map(|(_, c)| *c).collect();
        let known = disk.filter(|(p, _)| !is_live(p)).filter_map(|(p, b)| Some((p, content_of(b)?)));
        let known = known.filter(|(p, c)| {
            let by = self.deleted.get(*p).filter(|(_, deleted)| deleted == c);
            by.is_some_and(|(device, _)| others.contains(device)) && !untold.contains(c)
        });
        self.remembered = known.map(|(_, c)| c).collect();
    }

    /// That scan is over.
    pub fn unmind(&mut self) {
        self.remembered.clear();
    }

    /// `body` was moved on `device`.
    pub fn moved(&mut self, device: usize, body: &Body) {
        if let Some(content) = content_of(body) {
            let fate = self.fates.entry(content).or_default();
            fate.revived = true;
            fate.moved.insert(device);
        }
    }

    /// Somebody on `device` puts `body` back where the last scan had seen it gone: it must be kept again. False where
    /// the device has yet to see that it was gone.
    pub fn put_back(&mut self, device: usize, body: &Body) -> bool {
        let Some(content) = content_of(body).filter(|c| !self.untold.contains(&(device, *c))) else {
            return false;
        };
        let fate = self.fates.entry(content).or_default();
        // Who else has replaced it has done so for this one too: `prev` speaks of contents, not of versions.
        fate.superseded.remove(&device);
        fate.put_back.insert(device);
        fate.revived = true;
        true
    }

    /// `body` was touched.
    pub fn touched(&mut self, body: &Body) {
        if let Some(content) = content_of(body) {
            self.fates.entry(content).or_default().touched = true;
        }
    }

    /// A scan of `device` is complete.
    pub fn told(&mut self, device: usize) {
        self.untold.retain(|(d, _)| *d != device);
    }

    /// `device` has lost part of its memory. What it alone knew of ends is gone with it: of what changed since its last
    /// scan, and of what others still hold as `live`.
    pub fn forgot(&mut self, device: usize, live: &BTreeSet<Content>) {
        for (_, content) in self.untold.iter().filter(|(d, _)| *d == device) {
            self.fates.entry(*content).or_default().revived = true;
        }
        self.told(device);
        self.deleted.retain(|_, (by, _)| *by != device);
        for fate in self.fates.values_mut().filter(|f| f.put_back.contains(&device)) {
            fate.superseded.insert(device);
        }
        for (_, fate) in self.fates.iter_mut().filter(|(c, f)| f.superseded.contains(&device) && live.contains(*c)) {
            fate.revived = true;
        }
    }

    /// `body` may rightly be seen although somebody has superseded it.
    pub fn revived(&mut self, body: &Body) {
        if let Some(content) = content_of(body) {
            self.fates.entry(content).or_default().revived = true;
        }
    }

    /// `body` becomes a version; where it was one before, somebody has it anew.
    pub fn written(&mut self, body: &Body) {
        if let Some(content) = content_of(body) {
            let fate = self.fates.entry(content).or_default();
            fate.revived |= fate.written && !self.remembered.contains(&content);
            fate.written = true;
        }
    }

    /// Contents that were seen by a device that counts, were superseded by nobody, and are not in `visible`.
    pub fn lost(&self, visible: &BTreeSet<Content>, counts: impl Fn(usize) -> bool) -> Option<Content> {
        let is_kept = |f: &Fate| {
            // Half of a move, or of a deletion that was taken back, may be all that is ever heard.
            f.scanned
                && f.superseded.is_empty()
                && f.moved.union(&f.put_back).all(|d| counts(*d))
                && f.at.iter().any(|d| counts(*d))
        };
        self.fates.iter().find(|(c, f)| is_kept(f) && !visible.contains(*c)).map(|(c, _)| *c)
    }

    /// Contents in `visible` that somebody on a device that counts has superseded and nothing has revived.
    pub fn risen(&self, visible: &BTreeSet<Content>, counts: impl Fn(usize) -> bool) -> Option<Content> {
        self.fates
            .iter()
            .find(|(c, f)| f.superseded.iter().any(|d| counts(*d)) && !f.revived && !f.touched && visible.contains(*c))
            .map(|(c, _)| *c)
    }
}

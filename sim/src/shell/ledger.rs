//! What the oracle is told of: what people do, what devices say of it, and what they do to their folders themselves.

use super::tree::Change;
use super::world::World;
use crate::oracle::{Face, Shows};
use crate::outcome::Invariant;
use sync_core::RelPath;
use sync_core::output::Event;
use sync_core::path::PRIVATE_DIR;

/// Whether `path` is in the directory that no path of a folder leads to.
fn is_own(path: &RelPath) -> bool {
    path.components().next() == Some(PRIVATE_DIR.as_bytes())
}

impl World {
    /// Somebody has done something to a folder: what shows now is as a person wants it.
    pub(super) fn acted(&mut self, host: usize) {
        match self.trees[host].look() {
            Ok(changes) => changes.into_iter().for_each(|c| self.oracle.touched(host, &c.path, c.is)),
            Err(error) => self.fail(Invariant::Containment, format!("h{host} cannot be looked at: {error}")),
        }
    }

    /// Looks at what has come about at a host.
    pub(super) fn notice(&mut self, host: usize) {
        for change in self.hosts[host].disk.take_meddled() {
            self.meddled(host, change);
        }
        // What was taken into an index showed before: a device may have replaced it at once.
        let deleted = self.hear(host);
        if self.hosts[host].disk.take_stirred() && !self.is_away(host) {
            match self.trees[host].look() {
                Ok(changes) => changes.into_iter().for_each(|change| self.changed(host, &change)),
                Err(error) => self.fail(Invariant::Containment, format!("h{host} cannot be looked at: {error}")),
            }
        }
        for path in deleted {
            if self.trees[host].face(&path).is_some() && !self.oracle.was_gone(host, &path) {
                let what = format!("host {host}: {} counts as deleted, and never was", path.display());
                self.oracle.fail(Invariant::NoPhantomDelete, what);
            }
        }
    }

    fn meddled(&mut self, host: usize, change: Change) {
        let content = |face: &Option<Face>| face.as_ref().and_then(Face::content);
        content(&change.is).into_iter().for_each(|content| self.oracle.wrote(content));
        content(&change.was).into_iter().for_each(|content| self.oracle.superseded(content));
        self.oracle.touched(host, &change.path, change.is.clone());
        self.trees[host].told(&change.path, change.is);
        self.hint(host, &change.path.display());
    }

    /// Takes note of what a device has told. Returns what it takes for deleted though it shows.
    fn hear(&mut self, host: usize) -> Vec<RelPath> {
        let mut deleted = Vec::new();
        for event in self.hosts[host].take_events() {
            match event {
                Event::LocalChange { path, .. } if is_own(&path) => {
                    let what = format!("host {host}: {} is landropic's own, and counts as somebody's", path.display());
                    self.fail(Invariant::Containment, what);
                }
                Event::LocalChange { path, change: "deleted", .. } if self.trees[host].face(&path).is_some() => {
                    deleted.push(path);
                }
                // It was one of these: which one only the device knows. All of them were people's.
                Event::LocalChange { path, .. } => {
                    let shown = self.trees[host].take_shown(&path);
                    shown.into_iter().for_each(|content| self.oracle.indexed(content));
                }
                Event::ItemFailed { path, .. } => {
                    RelPath::new(path.as_bytes()).into_iter().for_each(|path| self.oracle.failed(host, &path));
                }
                Event::PeerConnected { .. }
                | Event::PeerDisconnected { .. }
                | Event::Refused { .. }
                | Event::DialFailed { .. }
                | Event::FolderState { .. }
                | Event::RemoteChange { .. }
                | Event::ConflictFound { .. }
                | Event::TransferCompleted { .. }
                | Event::Audit { .. } => {}
            }
        }
        deleted
    }

    /// A device has changed its folder.
    fn changed(&mut self, host: usize, change: &Change) {
        self.changed_at[host] = self.now_ms;
        let content = |face: &Option<Face>| face.as_ref().and_then(Face::content);
        let (was, is) = (content(&change.was), content(&change.is));
        if was == is {
            return;
        }
        if let Some(content) = is {
            self.oracle.placed(host, &change.path, content);
        }
        if let Some(content) = was {
            self.oracle.displaced(host, &change.path, content);
        }
    }
}

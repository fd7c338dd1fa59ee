//! Versions that show at two places of a device while they lose their name: what a person does about one of them is not done
//! to the version.

use super::{Face, Oracle, is_copy_of};
use std::collections::BTreeMap;
use sync_core::{ContentId, RelPath};

/// What a person took away at one of two places of a device that both showed it: the name that its version is about to
/// lose, and its conflict copy.
#[derive(Debug)]
pub(super) struct Half {
    content: ContentId,
    host: usize,
    path: RelPath,
    twin: RelPath,
    /// Whether the device has to keep what is left.
    is_spared: bool,
}

impl Oracle {
    /// A person on `host` has removed or replaced `content` at `path`, while `twin` shows it too: of the two one is the
    /// conflict copy of the other, and the version is to show as a copy only. It is not done away with, unless the copy
    /// is what went, and the device has heard of that when it had given the name away.
    pub fn halved(&mut self, content: ContentId, host: usize, path: &RelPath, twin: &RelPath) {
        let is_spared = is_copy_of(twin, path);
        self.halves.push(Half { content, host, path: path.clone(), twin: twin.clone(), is_spared });
    }

    /// `host` has taken in what its person did at `path`. `is_held` is whether disk and index have a content at a path.
    pub fn took_in(&mut self, host: usize, path: &RelPath, mut is_held: impl FnMut(&RelPath, ContentId) -> bool) {
        for half in self.halves.iter_mut().filter(|half| half.host == host && half.path == *path) {
            half.is_spared |= is_held(&half.twin, half.content);
        }
    }

    /// Whether a person has taken `content` away at one of two places since all was last at rest.
    pub(super) fn is_halved(&self, content: ContentId) -> bool {
        self.halves.iter().any(|half| half.content == content)
    }

    /// Counts as done away with what may be, though another place of the person's showed it.
    pub(super) fn judge_halves(&mut self) {
        for half in std::mem::take(&mut self.halves) {
            if self.is_unsure() || self.has_policy || !half.is_spared || self.is_half_doubtful(&half) {
                self.superseded(half.content);
            }
        }
    }

    /// Whether somebody else may have given the name back to the version, or done something about its copy.
    fn is_half_doubtful(&self, half: &Half) -> bool {
        let name = if is_copy_of(&half.twin, &half.path) { &half.path } else { &half.twin };
        let is_file = |face: &Option<Face>| matches!(face, Some(Face::File(..) | Face::Symlink(_)));
        let lets_go = |by: &BTreeMap<usize, Vec<Option<Face>>>| {
            by.iter().any(|(host, faces)| *host != half.host && !faces.iter().all(is_file))
        };
        self.touched.get(name).is_some_and(lets_go)
            || self.above_is_touched(name, half.host)
            || self.below_is_touched(name, Some(half.host))
            || self.copy_is_touched(name, half.host)
    }
}

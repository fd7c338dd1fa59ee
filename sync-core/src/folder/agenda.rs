//! Paths with a time each: what is due next is found without looking at all of them.

use crate::path::RelPath;
use crate::time::Instant;
use alloc::{collections::BTreeMap, collections::BTreeSet};
use core::ops::Bound;

/// A set of paths, each due at its time.
#[derive(Default)]
pub(super) struct Agenda {
    times: BTreeMap<RelPath, Instant>,
    queue: BTreeSet<(Instant, RelPath)>,
}

impl Agenda {
    /// Sets or moves the time of `path`.
    pub(super) fn set(&mut self, path: RelPath, at: Instant) {
        if let Some(before) = self.times.insert(path.clone(), at) {
            self.queue.remove(&(before, path.clone()));
        }
        self.queue.insert((at, path));
    }

    /// Sets the time of `path`, unless it has one.
    pub(super) fn set_once(&mut self, path: RelPath, at: Instant) {
        if !self.times.contains_key(&path) {
            self.set(path, at);
        }
    }

    /// Takes `path` off.
    pub(super) fn remove(&mut self, path: &RelPath) {
        if let Some(at) = self.times.remove(path) {
            self.queue.remove(&(at, path.clone()));
        }
    }

    /// The time of `path`.
    pub(super) fn get(&self, path: &RelPath) -> Option<Instant> {
        self.times.get(path).copied()
    }

    /// Takes off the first path that is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<RelPath> {
        let (at, path) = self.queue.first().filter(|(at, _)| *at <= now).cloned()?;
        self.queue.remove(&(at, path.clone()));
        self.times.remove(&path);
        Some(path)
    }

    /// The first time of all.
    pub(super) fn earliest(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// The first time after `now`.
    pub(super) fn next_after(&self, now: Instant) -> Option<Instant> {
        // What is overdue may be many: it is passed over at once. No path sorts before this one.
        let least = RelPath::new(&[1]).ok()?;
        self.queue.range((Instant(now.0.saturating_add(1)), least)..).next().map(|(at, _)| *at)
    }

    /// Every path, by path.
    pub(super) fn paths(&self) -> impl DoubleEndedIterator<Item = &RelPath> {
        self.times.keys()
    }

    /// Whether something below `path` has a time.
    pub(super) fn has_below(&self, path: &RelPath) -> bool {
        // Names such as `a-b` come between `a` and what is below it.
        let after = self.times.range::<RelPath, _>((Bound::Excluded(path), Bound::Unbounded)).map(|(p, _)| p);
        let mut alike = after.take_while(|p| p.as_bytes().starts_with(path.as_bytes()));
        alike.any(|p| p.is_below(path))
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.times.is_empty()
    }
}

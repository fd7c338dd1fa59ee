//! Where conflict copies show: one map per folder, from the rows with several live versions.

use crate::index::{Body, Dot, Loser, copy_name};
use crate::path::RelPath;
use alloc::{collections::BTreeMap, vec::Vec};

/// Conflict copies of a folder, by the path they show at and by the path they come from.
#[derive(Clone, Debug, Default)]
pub struct Copies {
    by_copy: BTreeMap<RelPath, (RelPath, Loser)>,
    by_source: BTreeMap<RelPath, Vec<RelPath>>,
}

impl Copies {
    /// The version that shows at `path` as a copy, and the path it comes from.
    pub fn at(&self, path: &RelPath) -> Option<(&RelPath, &Loser)> {
        self.by_copy.get(path).map(|(source, loser)| (source, loser))
    }

    /// The copy that shows the version `dot`, by the path it comes from.
    pub fn with_dot(&self, dot: Dot) -> Option<(&RelPath, &Loser)> {
        self.by_copy.values().find(|(_, loser)| loser.dot == dot).map(|(source, loser)| (source, loser))
    }

    /// The copies that come from `source`.
    pub fn of(&self, source: &RelPath) -> &[RelPath] {
        self.by_source.get(source).map_or(&[], Vec::as_slice)
    }

    /// Where the version `dot` of `source` shows.
    pub fn place(&self, source: &RelPath, dot: Dot) -> Option<&RelPath> {
        self.of(source).iter().find(|copy| self.by_copy.get(*copy).is_some_and(|(_, loser)| loser.dot == dot))
    }

    /// Paths with copies.
    pub fn sources(&self) -> impl Iterator<Item = &RelPath> {
        self.by_source.keys()
    }

    /// Number of paths with copies.
    pub fn len(&self) -> usize {
        self.by_source.len()
    }

    /// Whether there is no copy.
    pub fn is_empty(&self) -> bool {
        self.by_source.is_empty()
    }

    /// Gives `source` these losers, at names that `is_taken` leaves free. Returns every path where another copy
    /// shows from now on, or none any more.
    ///
    /// Names depend on the loser alone, so that every device finds the same; a counter is added only where a real
    /// entry has the name.
    pub fn set(
        &mut self,
        source: &RelPath,
        losers: Vec<Loser>,
        mut is_taken: impl FnMut(&RelPath) -> bool,
    ) -> Vec<RelPath> {
        let before: Vec<RelPath> = self.by_source.remove(source).unwrap_or_default();
        let old: BTreeMap<RelPath, Loser> =
            before.into_iter().filter_map(|c| self.by_copy.remove(&c).map(|(_, loser)| (c, loser))).collect();
        let mut new: BTreeMap<RelPath, Loser> = BTreeMap::new();
        for loser in losers {
            let names = (1..).map(|again| source.parent().join(&copy_name(&source.name(), &loser, again)));
            let free = |c: &RelPath| !new.contains_key(c) && !self.by_copy.contains_key(c);
            // A copy whose whole path would be too long shows nowhere; its content stays where it is.
            let place = names.map_while(Result::ok).find(|c| free(c) && !is_taken(c));
            if let Some(copy) = place {
                new.insert(copy, loser);
            }
        }
        let mut changed: Vec<RelPath> =
            old.iter().filter(|(c, l)| new.get(*c) != Some(*l)).map(|(c, _)| c.clone()).collect();
        changed.extend(new.keys().filter(|c| !old.contains_key(*c)).cloned());
        if !new.is_empty() {
            self.by_source.insert(source.clone(), new.keys().cloned().collect());
        }
        self.by_copy.extend(new.into_iter().map(|(c, loser)| (c, (source.clone(), loser))));
        changed
    }

    /// What shows at `path` as a copy.
    pub fn body_at(&self, path: &RelPath) -> Option<(Dot, &Body)> {
        self.by_copy.get(path).map(|(_, loser)| (loser.dot, &loser.value.body))
    }
}

//! Where conflict copies show: a pure function of which versions lose and which names real entries have.
//!
//! Copies that would like the same name are one group. The first by source and version gets that name unless an entry of
//! the tree has it, the next the same name with a number, and so on. Groups do not meet: the names of two differ in more
//! than the number.

use crate::index::{Body, Dot, Loser, MAX_AGAIN, copy_name};
use crate::path::RelPath;
use crate::proving::{Mutant, Point, is_mutant, sometimes};
use alloc::{collections::BTreeMap, collections::BTreeSet, vec::Vec};

/// A version that lost: where it comes from, and which.
type Lost = (RelPath, Dot);

/// Conflict copies of a folder, by the path they show at and by the path they come from.
#[derive(Clone, Debug, Default)]
pub struct Copies {
    losers: BTreeMap<RelPath, BTreeMap<Dot, Loser>>,
    by_dot: BTreeMap<Dot, RelPath>,
    by_copy: BTreeMap<RelPath, Lost>,
    /// By the name that its members would like to have.
    groups: BTreeMap<RelPath, Group>,
}

/// Copies that would like the same name.
#[derive(Clone, Debug, Default)]
struct Group {
    members: BTreeSet<Lost>,
    shown: BTreeMap<Lost, RelPath>,
}

/// A name for the copy of `source` that shows `loser`. None if the whole path would be too long.
fn name(source: &RelPath, loser: &Loser, again: u32) -> Option<RelPath> {
    source.parent().join(&copy_name(&source.name(), loser, again)).ok()
}

impl Copies {
    /// The version that shows at `path` as a copy, and the path it comes from.
    pub fn at(&self, path: &RelPath) -> Option<(&RelPath, &Loser)> {
        let (source, dot) = self.by_copy.get(path)?;
        Some((source, self.losers.get(source)?.get(dot)?))
    }

    /// What shows at `path` as a copy.
    pub fn body_at(&self, path: &RelPath) -> Option<(Dot, &Body)> {
        self.at(path).map(|(_, loser)| (loser.dot, &loser.value.body))
    }

    /// The path that the losing version `dot` comes from.
    pub fn source_of(&self, dot: Dot) -> Option<&RelPath> {
        self.by_dot.get(&dot)
    }

    /// The losers of `source`, in order of dot.
    pub fn of(&self, source: &RelPath) -> impl Iterator<Item = &Loser> {
        self.losers.get(source).into_iter().flat_map(BTreeMap::values)
    }

    /// Whether `source` has losers.
    pub fn has(&self, source: &RelPath) -> bool {
        self.losers.contains_key(source)
    }

    /// Where the version `dot` of `source` shows. A copy whose whole path would be too long shows nowhere.
    pub fn place(&self, source: &RelPath, dot: Dot) -> Option<&RelPath> {
        let loser = self.losers.get(source)?.get(&dot)?;
        self.groups.get(&name(source, loser, 1)?)?.shown.get(&(source.clone(), dot))
    }

    /// Where copies show, by path.
    pub fn paths(&self) -> impl Iterator<Item = &RelPath> {
        self.by_copy.keys()
    }

    /// Paths with losers.
    pub fn sources(&self) -> impl Iterator<Item = &RelPath> {
        self.losers.keys()
    }

    /// Number of paths with losers.
    pub fn len(&self) -> usize {
        self.losers.len()
    }

    /// Whether there is no copy.
    pub fn is_empty(&self) -> bool {
        self.losers.is_empty()
    }

    /// Gives `source` these losers. Returns the groups to [arrange](Self::arrange).
    pub fn set(&mut self, source: &RelPath, losers: Vec<Loser>) -> BTreeSet<RelPath> {
        let losers: BTreeMap<Dot, Loser> = losers.into_iter().map(|loser| (loser.dot, loser)).collect();
        let before = self.losers.remove(source).unwrap_or_default();
        let mut touched = BTreeSet::new();
        for loser in before.values().filter(|loser| !losers.contains_key(&loser.dot)) {
            self.by_dot.remove(&loser.dot);
            let group = name(source, loser, 1);
            if let Some(group) = group.as_ref().and_then(|name| self.groups.get_mut(name)) {
                group.members.remove(&(source.clone(), loser.dot));
            }
            touched.extend(group);
        }
        for loser in losers.values().filter(|loser| !before.contains_key(&loser.dot)) {
            self.by_dot.insert(loser.dot, source.clone());
            let group = name(source, loser, 1);
            if let Some(group) = &group {
                self.groups.entry(group.clone()).or_default().members.insert((source.clone(), loser.dot));
            }
            touched.extend(group);
        }
        if !losers.is_empty() {
            self.losers.insert(source.clone(), losers);
        }
        touched
    }

    /// Whether there are copies that would like to have this name.
    pub fn is_group(&self, name: &RelPath) -> bool {
        self.groups.contains_key(name)
    }

    /// Finds names that `is_taken` leaves free for the copies of a group. Returns every path where another copy shows
    /// from now on, or none any more.
    ///
    /// # Errors
    /// What `is_taken` says; nothing has changed then.
    pub fn arrange<E>(
        &mut self,
        group: &RelPath,
        mut is_taken: impl FnMut(&RelPath) -> Result<bool, E>,
    ) -> Result<BTreeSet<RelPath>, E> {
        let Some(Group { members, .. }) = self.groups.get(group) else { return Ok(BTreeSet::new()) };
        let mut shown: BTreeMap<Lost, RelPath> = BTreeMap::new();
        let mut again = 1..=MAX_AGAIN;
        for lost in members {
            let Some(loser) = self.losers.get(&lost.0).and_then(|losers| losers.get(&lost.1)) else { continue };
            // Names are handed out in order, so those before the last one are gone.
            for copy in again.by_ref().map_while(|n| name(&lost.0, loser, n)) {
                if is_mutant(Mutant::CopyTakesName) || !is_taken(&copy)? {
                    sometimes(Point::CopyShown);
                    shown.insert(lost.clone(), copy);
                    break;
                }
                sometimes(Point::CopyNumbered);
            }
        }
        let by_copy = |shown: BTreeMap<Lost, RelPath>| shown.into_iter().map(|(lost, copy)| (copy, lost)).collect();
        let new: BTreeMap<RelPath, Lost> = by_copy(shown.clone());
        let old: BTreeMap<RelPath, Lost> = match self.groups.get_mut(group) {
            Some(group) => by_copy(core::mem::replace(&mut group.shown, shown)),
            None => BTreeMap::new(),
        };
        if self.groups.get(group).is_some_and(|group| group.members.is_empty()) {
            self.groups.remove(group);
        }
        old.keys().for_each(|copy| drop(self.by_copy.remove(copy)));
        self.by_copy.extend(new.clone());
        let changed = old.keys().chain(new.keys()).filter(|copy| old.get(*copy) != new.get(*copy));
        Ok(changed.cloned().collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::id::{Actor, ContentId};
    use crate::index::Value;
    use crate::time::WallTime;
    use alloc::{string::String, string::ToString, vec};

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).unwrap()
    }

    /// A loser by the actor of that number: all of one content, so that those of one actor are of one name.
    fn loser(actor: u64, seq: u64) -> Loser {
        let body = Body::File { content: ContentId::of(b"x"), size: 1, mtime_ns: 0, mode: 0o644 };
        Loser { dot: Dot { actor: Actor(actor << 60), seq }, value: Value { body, prev: [0; 8], stamp: WallTime(0) } }
    }

    /// Gives `source` these losers, with these names taken. Returns what has changed.
    fn set(copies: &mut Copies, source: &str, losers: Vec<Loser>, taken: &[&RelPath]) -> Vec<String> {
        let groups = copies.set(&path(source), losers);
        arrange(copies, &groups, taken)
    }

    fn arrange(copies: &mut Copies, groups: &BTreeSet<RelPath>, taken: &[&RelPath]) -> Vec<String> {
        let mut changed = Vec::new();
        for group in groups {
            let is_taken = |p: &RelPath| Ok::<_, core::convert::Infallible>(taken.contains(&p));
            changed.extend(copies.arrange(group, is_taken).unwrap().iter().map(RelPath::display));
        }
        changed
    }

    fn places(copies: &Copies, source: &str) -> Vec<Option<String>> {
        copies.of(&path(source)).map(|l| copies.place(&path(source), l.dot).map(RelPath::display)).collect()
    }

    #[test]
    fn names_do_not_depend_on_the_order_in_which_losers_come_and_go() {
        let (one, two) = (loser(1, 1), loser(1, 2));
        let mut copies = Copies::default();
        set(&mut copies, "d/a", vec![two.clone()], &[]);
        let changed = set(&mut copies, "d/a", vec![one.clone(), two.clone()], &[]);
        let mut other = Copies::default();
        set(&mut other, "d/a", vec![one, two.clone()], &[]);
        assert_eq!(places(&copies, "d/a"), places(&other, "d/a"));
        assert_eq!(changed.len(), 2, "the first one takes the name of the second: {changed:?}");
        let changed = set(&mut copies, "d/a", vec![two.clone()], &[]);
        assert_eq!(changed.len(), 2, "{changed:?}");
        assert_eq!(copies.at(copies.place(&path("d/a"), two.dot).unwrap()), Some((&path("d/a"), &two)));
        set(&mut copies, "d/a", vec![], &[]);
        assert!(copies.is_empty() && copies.by_copy.is_empty() && copies.groups.is_empty() && copies.by_dot.is_empty());
    }

    #[test]
    fn a_taken_name_is_left_and_taken_up_again() {
        let mut copies = Copies::default();
        let groups = copies.set(&path("a.txt"), vec![loser(1, 1)]);
        arrange(&mut copies, &groups, &[]);
        let first = copies.place(&path("a.txt"), loser(1, 1).dot).unwrap().clone();
        let second = path(&first.display().replace(".txt", "~2.txt"));
        let both = [first.display(), second.display()];
        assert_eq!(arrange(&mut copies, &groups, &[&first]), both);
        assert_eq!(copies.at(&first), None);
        assert_eq!(copies.at(&second).map(|(source, _)| source.display()), Some("a.txt".to_string()));
        assert_eq!(arrange(&mut copies, &groups, &[]), both);
        assert_eq!(arrange(&mut copies, &groups, &[]), [""; 0]);
    }

    #[test]
    fn copies_of_a_file_and_of_its_copy_share_a_group() {
        let source = path("a");
        let mut copies = Copies::default();
        set(&mut copies, "a", vec![loser(1, 1)], &[]);
        let copy = copies.place(&source, loser(1, 1).dot).unwrap().display();
        set(&mut copies, &copy, vec![loser(1, 2)], &[]);
        let names = [places(&copies, "a"), places(&copies, &copy)].concat();
        assert_eq!(names, [Some(copy.clone()), Some(copy + "~2")]);
    }
}

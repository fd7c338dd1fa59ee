//! What must hold, judged from what people did and what the disks show. It knows nothing of rows or dots.

pub mod dials;
mod halves;
pub mod resume;
pub mod tries;
pub mod wire;

use crate::outcome::{Invariant, Violation};
use dials::Dials;
use std::collections::{BTreeMap, BTreeSet};
use sync_core::{ContentId, RelPath};
use tries::Tries;
use wire::Sayings;

/// What two devices must agree on at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Face {
    /// A directory and its mode.
    Dir(u32),
    /// A file's content, mode and modification time, nanoseconds since 1970.
    File(ContentId, u32, i64),
    /// A link's target.
    Symlink(Vec<u8>),
}

impl Face {
    /// Whether the two are the same but for mode and time.
    fn is_akin(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Dir(_), Self::Dir(_)) => true,
            (Self::File(..), Self::File(..)) | (Self::Symlink(_), Self::Symlink(_)) => {
                self.content() == other.content()
            }
            (Self::Dir(_) | Self::File(..) | Self::Symlink(_), _) => false,
        }
    }

    /// What identifies the content that shows.
    pub fn content(&self) -> Option<ContentId> {
        match self {
            Self::Dir(_) => None,
            Self::File(content, ..) => Some(*content),
            Self::Symlink(target) => Some(ContentId::of(target)),
        }
    }
}

/// A disk as the oracle sees it: a model, or a directory.
pub trait Shows {
    /// Every path.
    fn paths(&self) -> impl Iterator<Item = &RelPath>;
    /// What shows at a path.
    fn face(&self, path: &RelPath) -> Option<Face>;
    /// Contents that can be had back: files, links, trash.
    fn holds(&self) -> BTreeSet<ContentId>;
}

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
    /// What people took away while another place of theirs showed it, since all was last at rest.
    halves: Vec<halves::Half>,
    /// What every disk showed when all was last at rest.
    baseline: Option<BTreeMap<RelPath, Face>>,
    /// Who has touched which path since, and what it showed after each touch.
    touched: BTreeMap<RelPath, BTreeMap<usize, Vec<Option<Face>>>>,
    /// What people wrote to files after these were displaced: no device knows it, so only the trash has it.
    late: BTreeSet<ContentId>,
    /// Touches of what the device knew to be replaced, which count for nothing unless it forgets that.
    in_vain: Vec<(usize, RelPath, Option<Face>)>,
    /// Whose last touch of which path may count for nothing or not.
    doubtful: BTreeSet<(usize, RelPath)>,
    /// Directories that a device has made for what is to be in them, and has forgotten to have made.
    strays: BTreeSet<(usize, RelPath)>,
    /// Whether an index has forgotten since what its disk or other devices hold: an apply at a crash, or anything at a power
    /// loss. What a person had taken away may come back then, and what goes may be in a trash only.
    forgetful: bool,
    /// Whose index was lost or set back since then: a deletion that nobody is left to remember is none.
    set_back: BTreeSet<usize>,
    /// What showed otherwise since when a disk was set back, and as what.
    gone_back: BTreeMap<RelPath, Option<Face>>,
    /// Who was there when all was last at rest.
    rested: BTreeSet<usize>,
    /// Whether another policy ranks versions since: what shows and what is a copy may have changed places.
    reranked: bool,
    /// Whether another policy than that of the newest ranks versions, or may have.
    has_policy: bool,
    /// Whether a member has said what it should not: it may do away with everything that shows, but not with its bytes.
    hostility: bool,
    /// What devices told each other.
    pub sayings: Sayings,
    /// How often they dialled.
    pub dials: Dials,
    /// How often operations fail, and paths are looked at.
    tries: Tries,
    /// What went wrong.
    pub violations: Vec<Violation>,
    /// When that is which happens now, microseconds, and how many events came before it.
    pub now: (u64, u64),
}

/// A conflict copy's name depends on the version, which may be issued anew: such paths may change by themselves.
pub fn is_copy(path: &RelPath) -> bool {
    path.as_bytes().windows(10).any(|w| w == b".conflict-")
}

/// Where a copy's mark is in the name, whatever the directories above are called.
fn mark(path: &RelPath) -> Option<usize> {
    let name = path.as_bytes().iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
    Some(name + path.as_bytes()[name..].windows(10).position(|w| w == b".conflict-")?)
}

/// The path whose copy has the name `path`, copies of copies told from those of the first no more than their names do; the
/// path itself if it is no copy's.
fn unmarked(path: &RelPath) -> Vec<u8> {
    let Some(mark) = mark(path) else { return path.as_bytes().to_vec() };
    let (stem, rest) = path.as_bytes().split_at(mark);
    let extension = rest[1..].iter().position(|b| *b == b'.').map_or(&[][..], |dot| &rest[dot + 1..]);
    [stem, extension].concat()
}

/// Whether `path` has the name of a copy of `source`, which may be a copy by its name too.
pub fn is_copy_of(path: &RelPath, source: &RelPath) -> bool {
    path != source && mark(path).is_some() && unmarked(path) == unmarked(source)
}

/// Whether a file was edited, and was a file all the while: `left` is what it showed after each touch.
fn is_edited(was: Option<&Face>, left: &[Option<Face>]) -> bool {
    let is_file = |face: &Face| matches!(face, Face::File(..) | Face::Symlink(_));
    let (Some(was), Some(Some(last))) = (was, left.last()) else { return false };
    is_file(was) && !was.is_akin(last) && left.iter().all(|face| face.as_ref().is_some_and(is_file))
}

/// Which promise is broken where a path should show `left` and shows `shown`.
fn blame(left: Option<&Face>, shown: Option<&Face>) -> Invariant {
    match (left, shown) {
        (None, Some(_)) => Invariant::NoResurrection,
        (Some(_), None) => Invariant::NoPhantomDelete,
        _ => Invariant::NoSilentLoss,
    }
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

    /// A person has written to a file that showed `was` before it was displaced, and holds `is` now: that stays in the trash.
    pub fn wrote_late(&mut self, was: ContentId, is: ContentId) {
        self.late.remove(&was);
        self.late.insert(is);
        self.superseded(was);
        self.wrote(is);
    }

    /// A device has taken `content` into its index.
    pub fn indexed(&mut self, content: ContentId) {
        self.contents.entry(content).or_default().indexed = true;
    }

    /// A person on `host` has changed `path`, which shows `face` now.
    pub fn touched(&mut self, host: usize, path: &RelPath, face: Option<Face>) {
        self.doubtful.remove(&(host, path.clone()));
        self.touched.entry(path.clone()).or_default().entry(host).or_default().push(face);
    }

    /// What a person on `host` has just touched at `path`, or saved once more, had been replaced by somebody, as the device
    /// knew or may hear before it looks: a touch of that is nobody's edit. Where an index has forgotten something, or where
    /// it `is_touch` not, it may count.
    pub fn touched_in_vain(&mut self, host: usize, path: &RelPath, is_touch: bool) {
        if is_copy(path) {
            return;
        }
        if self.forgetful || !is_touch {
            self.doubtful.insert((host, path.clone()));
            return;
        }
        let Some(by) = self.touched.get_mut(path) else { return };
        let Some(faces) = by.get_mut(&host) else { return };
        let face = faces.pop().flatten();
        if faces.is_empty() {
            by.remove(&host);
        }
        if by.is_empty() {
            self.touched.remove(path);
        }
        self.in_vain.push((host, path.clone(), face));
    }

    /// Whether `path` may have been missing on `host` for a moment since all was last at rest.
    pub fn was_gone(&self, host: usize, path: &RelPath) -> bool {
        let faces = self.touched.get(path).and_then(|by| by.get(&host));
        self.forgetful || is_copy(path) || faces.is_some_and(|faces| faces.contains(&None))
    }

    /// Whether an index has forgotten something, or a member has lied, since all was last at rest.
    pub fn is_unsure(&self) -> bool {
        self.forgetful || self.hostility
    }

    /// Whether `host` may still have to hear what became of `was`, which a person found there at `path`, before all was last
    /// at rest: it was not there then, or some index has forgotten things.
    pub fn is_behind(&self, host: usize, path: &RelPath, was: Option<&Face>) -> bool {
        let is_other = self.baseline.as_ref().is_some_and(|baseline| baseline.get(path) != was);
        self.is_unsure() || is_other && !self.rested.contains(&host)
    }

    /// An operation on `path` at `host` came to nothing.
    pub fn failed(&mut self, host: usize, path: &RelPath) {
        if let Err(what) = self.tries.failed(host, path, self.now.0) {
            self.fail(Invariant::BoundedRetry, what);
        }
    }

    /// `host` is to look at `path`.
    pub fn looked(&mut self, host: usize, path: &RelPath) {
        if let Err(what) = self.tries.looked(host, path, self.now.0) {
            self.fail(Invariant::BoundedRetry, what);
        }
    }

    /// An index has forgotten something.
    pub fn forgot(&mut self) {
        self.forgetful = true;
        for (host, path, face) in std::mem::take(&mut self.in_vain) {
            self.touched(host, &path, face);
        }
    }

    /// `host` is about to look at directories which its index implies, but does not know to be there. Where it has forgotten
    /// that it made them, they look as if a person had: each may stay when what implied it goes.
    pub fn strayed(&mut self, host: usize, dirs: impl IntoIterator<Item = RelPath>) {
        if self.forgetful {
            self.strays.extend(dirs.into_iter().map(|dir| (host, dir)));
        }
    }

    /// An index was lost, or set back to what it once was.
    pub fn set_back(&mut self, host: usize) {
        self.set_back.insert(host);
    }

    /// The disk of `host` is what it once was, which is `otherwise` than before. What its people did since all was last at
    /// rest may have come to others or not: as if somebody at the `other` one, if there is one, had done something there as
    /// well. Without others it is as if its own people had put back what was there.
    pub fn went_back(&mut self, host: usize, other: Option<usize>, otherwise: BTreeMap<RelPath, Option<Face>>) {
        for (path, by) in self.touched.iter_mut().filter(|(_, by)| by.contains_key(&host)) {
            match (other, otherwise.get(path)) {
                (Some(other), _) => by.entry(other).or_default().push(None),
                (None, Some(face)) => by.entry(host).or_default().push(face.clone()),
                (None, None) => {}
            }
        }
        self.gone_back.extend(otherwise);
    }

    /// Whether somebody of those `here` was there when all was last at rest, and has forgotten nothing since.
    fn is_remembered(&self, here: &BTreeSet<usize>) -> bool {
        self.rested.intersection(here).any(|host| !self.set_back.contains(host))
    }

    /// What showed when all was last at rest comes back to a disk that was set back from whoever remembers it. If nobody
    /// does, what the disk shows may be all there is: as if `everybody` had done that.
    fn judge_gone_back(&mut self, here: &BTreeSet<usize>, everybody: impl Iterator<Item = usize> + Clone) {
        let gone_back = std::mem::take(&mut self.gone_back);
        if self.is_remembered(here) {
            return;
        }
        for (path, face) in gone_back {
            let by = self.touched.entry(path).or_default();
            for host in everybody.clone() {
                by.entry(host).or_insert_with(|| vec![face.clone()]);
            }
        }
    }

    /// Another policy ranks versions from now on.
    pub fn ranked_anew(&mut self) {
        (self.reranked, self.has_policy) = (true, true);
    }

    /// A member says what it should not from now on.
    pub fn endured_hostility(&mut self) {
        self.hostility = true;
    }

    /// Whether one did.
    pub fn has_endured_hostility(&self) -> bool {
        self.hostility
    }

    /// A device has taken the place of a content: it must have been somebody's version, so that it can be had back.
    pub fn displaced(&mut self, host: usize, path: &RelPath, content: ContentId) {
        if !self.contents.get(&content).is_some_and(|fate| fate.indexed) {
            let what = format!("host {host}: {} is displaced, and no device knows {}", path.display(), content.short());
            self.fail(Invariant::PreImage, what);
        }
    }

    /// A device has taken `content` away from `path`, and `disks` are what all devices show now. A version that loses its name
    /// keeps it until it shows as a copy, unless somebody has done away with it.
    pub fn took_away<D: Shows>(&mut self, host: usize, path: &RelPath, content: ContentId, disks: &[&D]) {
        let is_due = self.contents.get(&content).is_some_and(|fate| fate.indexed && !fate.superseded);
        // Of a half it is not known yet whether it was done away with.
        if !is_due || is_copy(path) || self.is_halved(content) || self.is_unsure() {
            return;
        }
        let shows = |disk: &&D| disk.paths().any(|p| disk.face(p).and_then(|face| face.content()) == Some(content));
        if !disks.iter().any(shows) {
            let what = format!("host {host}: {} is taken away, and {} shows nowhere", path.display(), content.short());
            self.fail(Invariant::NoSilentLoss, what);
        }
    }

    /// A device has put a file in place: nothing but what a person once saved may ever show.
    pub fn placed(&mut self, host: usize, path: &RelPath, content: ContentId) {
        if !self.hostility && !self.contents.contains_key(&content) {
            self.fail(
                Invariant::AtomicVisibility,
                format!("host {host}: {} shows bytes that nobody ever saved", path.display()),
            );
        }
    }

    /// Notes a violation.
    pub fn fail(&mut self, invariant: Invariant, what: String) {
        let (at_us, event) = self.now;
        self.violations.push(Violation { invariant, at_us, event, what });
    }

    /// How two disks differ, but for paths that are excused, or nothing.
    pub fn difference<D: Shows>(disks: &[(usize, &D)], is_excused: impl Fn(&RelPath) -> bool) -> Option<String> {
        let ((first, a), rest) = disks.split_first()?;
        for (other, b) in rest {
            for path in a.paths().chain(b.paths()) {
                let (left, right) = (a.face(path), b.face(path));
                if left != right && !is_excused(path) {
                    let path = path.display();
                    return Some(format!("{path}: host {first} shows {left:?}, host {other} shows {right:?}"));
                }
            }
        }
        None
    }

    /// All is at rest, and the disks of the `group` show the same, but for paths that are excused.
    pub fn at_rest<D: Shows>(
        &mut self,
        group: &[(usize, &D)],
        all: &[(usize, &D)],
        is_excused: impl Fn(&RelPath) -> bool,
    ) {
        let Some((_, disk)) = group.first() else { return };
        let now: BTreeMap<RelPath, Face> = disk.paths().filter_map(|p| Some((p.clone(), disk.face(p)?))).collect();
        let hosts: BTreeSet<usize> = group.iter().map(|(host, _)| *host).collect();
        self.judge_halves();
        self.judge_gone_back(&hosts, all.iter().map(|(host, _)| *host));
        self.check_losses(all);
        if let Some(before) = self.baseline.take()
            && !self.hostility
        {
            let is_remembered = self.is_remembered(&hosts);
            let is_back = |path: &RelPath| !is_remembered && !before.contains_key(path);
            let found = self.check_paths(&before, &now, |path| {
                is_excused(path) || self.is_touched_beyond(path, &hosts) || is_back(path)
            });
            found.into_iter().for_each(|(invariant, what)| self.fail(invariant, what));
        }
        // What only a broken device knows of may come out later.
        let still_to_come = |path: &RelPath| is_excused(path) || self.is_touched_beyond(path, &hosts);
        let later: Vec<RelPath> = self.touched.keys().filter(|path| still_to_come(path)).cloned().collect();
        self.set_back.clear();
        self.touched.retain(|path, _| later.contains(path));
        self.in_vain.retain(|(host, ..)| !hosts.contains(host));
        self.doubtful.retain(|(host, _)| !hosts.contains(host));
        self.strays.retain(|(host, _)| !hosts.contains(host));
        (self.forgetful, self.reranked) = (false, false);
        (self.baseline, self.rested) = (Some(now), hosts);
    }

    /// Contents that were indexed, that nobody who saw them did away with, and that are not among `these`.
    fn unaccounted(&self, these: &BTreeSet<ContentId>) -> Vec<ContentId> {
        let is_due =
            |(content, fate): &(&ContentId, &Fate)| fate.indexed && !fate.superseded && !these.contains(content);
        self.contents.iter().filter(is_due).map(|(content, _)| *content).collect()
    }

    /// Every content that was indexed can be had back, unless a person who saw it did away with it.
    fn check_losses<D: Shows>(&mut self, disks: &[(usize, &D)]) {
        let held: BTreeSet<ContentId> = disks.iter().flat_map(|(_, d)| d.holds()).collect();
        for content in self.late.difference(&held).copied().collect::<Vec<_>>() {
            let what = format!("content {} was written to a displaced file, and is nowhere", content.short());
            self.fail(Invariant::NoSilentLoss, what);
        }
        for content in self.unaccounted(&held) {
            let what = format!("content {} was indexed, is nowhere, and nobody did away with it", content.short());
            self.fail(Invariant::NoSilentLoss, what);
        }
        let visible = disks.iter().flat_map(|(_, d)| d.paths().filter_map(|p| d.face(p)?.content())).collect();
        for content in self.unaccounted(&visible).into_iter().filter(|content| held.contains(content)) {
            if self.forgetful || self.hostility {
                // Whoever looks for it finds it there.
                self.superseded(content);
                continue;
            }
            let what = format!("content {} is in the trash only, and nobody did away with it", content.short());
            self.fail(Invariant::NoSilentLoss, what);
        }
    }

    /// A path nobody touched is as it was; one that a single device's people touched is as they left it.
    fn check_paths(
        &self,
        before: &BTreeMap<RelPath, Face>,
        now: &BTreeMap<RelPath, Face>,
        is_excused: impl Fn(&RelPath) -> bool,
    ) -> Vec<(Invariant, String)> {
        let mut found = Vec::new();
        let has_copy = |of: &RelPath| before.keys().chain(now.keys()).any(|p| is_copy_of(p, of));
        // Versions that differ in mode and time alone have no copies, but they are ranked as well.
        let is_akin = |of: &RelPath| matches!((before.get(of), now.get(of)), (Some(was), Some(is)) if was.is_akin(is));
        let has_moved = |of: &RelPath| self.reranked && (has_copy(of) || is_akin(of));
        let paths: BTreeSet<&RelPath> = before.keys().chain(now.keys()).chain(self.touched.keys()).collect();
        for path in paths.into_iter().filter(|p| !is_copy(p) && !is_excused(p) && !has_moved(p)) {
            let shown = now.get(path);
            match self.touched.get(path) {
                None if self.below_is_touched(path, None) && shown.is_some_and(|f| matches!(f, Face::Dir(_))) => {}
                None if matches!(shown, Some(Face::Dir(_))) && self.strays.iter().any(|(_, dir)| dir == path) => {}
                None if self.forgetful && shown.is_none() && self.is_settled(path, before.get(path)) => {}
                None if shown != before.get(path) => {
                    let was = before.get(path);
                    found.push((
                        blame(was, shown),
                        format!("{}: nobody touched it: was {was:?}, is {shown:?}", path.display()),
                    ));
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
                    // What had come back in it may have been deleted there, which leaves it.
                    let is_held = now.keys().any(|p| p.is_below(path)) || self.below_is_touched(path, None);
                    let is_implied = is_dir(shown) && is_held;
                    let same = |face: Option<&Face>| face == shown || is_dir(face) && is_dir(shown);
                    // What shows below it is there for another reason than its own.
                    let holds_moved = is_dir(shown) && now.keys().any(|p| p.is_below(path) && has_moved(p));
                    let came_back = self.forgetful && shown.is_some() && (is_implied || earlier.into_iter().any(same));
                    // What had lost the name gets it when what had it is gone, but not when that is edited: an edit ranks
                    // above what it replaces under every clock.
                    let mut copies = before.iter().filter(|(p, _)| is_copy_of(p, path));
                    let is_edited = !self.forgetful && !self.has_policy && is_edited(before.get(path), left);
                    let may_lose = shown.is_some() && !is_edited;
                    let came_back = came_back || may_lose && copies.any(|(_, face)| Some(face) == shown);
                    let left = left.last().and_then(Option::as_ref);
                    // A directory made anew looks like the forgotten one. What is in it is judged for itself.
                    let came_back = came_back || self.forgetful && is_dir(left);
                    // What an index has forgotten may have come back and taken the name. Then the person has done away with the
                    // copy of what had been left there.
                    let is_settled =
                        |(p, by): (&RelPath, &BTreeMap<usize, _>)| is_copy_of(p, path) && by.contains_key(host);
                    let was_settled = self.forgetful && self.touched.iter().any(is_settled);
                    let was_in_vain = self.doubtful.contains(&(**host, path.clone())) && shown == before.get(path);
                    if !others && !came_back && !was_settled && !holds_moved && !was_in_vain && shown != left {
                        let what = format!(
                            "{}: only host {host} touched it and left {left:?}, but it is {shown:?}",
                            path.display()
                        );
                        found.push((blame(left, shown), what));
                    }
                }
            }
        }
        found
    }

    /// Whether somebody who is not one of `hosts` touched what is at, above or below `path`: the others may have heard of
    /// some of it.
    fn is_touched_beyond(&self, path: &RelPath, hosts: &BTreeSet<usize>) -> bool {
        let is_near = |p: &RelPath| p == path || p.is_below(path) || path.is_below(p) || is_copy_of(p, path);
        let beyond = self.touched.iter().filter(|(_, by)| by.keys().any(|host| !hosts.contains(host)));
        beyond.into_iter().any(|(p, _)| is_near(p))
    }

    /// Whether somebody did something about what has the name of the conflict copy of `was`. On a device where the version had
    /// lost the name `path` to what an index remembered, its copy was all that showed of it: so it is gone from `path` too.
    fn is_settled(&self, path: &RelPath, was: Option<&Face>) -> bool {
        let Some(content) = was.and_then(Face::content) else { return false };
        let is_its_copy = |p: &RelPath| is_copy_of(p, path) && p.display().contains(&content.short());
        self.touched.keys().any(is_its_copy)
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

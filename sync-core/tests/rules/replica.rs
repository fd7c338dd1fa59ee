//! One device of the model: its database, its disk, and what a scan and an apply do.

use crate::ledger::{Ledger, content_of};
use crate::rules::Rules;
use std::collections::{BTreeMap, BTreeSet};
use sync_core::index::{Body, Dot, Loser, Policy, Row, Value, Vector, copy_name, winner};
use sync_core::rng::Rng;
use sync_core::{Actor, RelPath, WallTime};

/// Permission bits of directories nobody has touched.
pub const DIR_MODE: u32 = 0o755;

/// What the disk was last seen or made to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Based {
    /// The path whose version this is; another one than its own for a conflict copy.
    pub source: RelPath,
    pub dot: Option<Dot>,
    pub body: Body,
}

/// What is known of another device.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    pub epoch: u64,
    pub cursor: u64,
    pub knowledge: Vector,
    pub applied: Vector,
}

/// All that a backup holds.
#[derive(Clone, Debug, Default)]
pub struct Db {
    pub actor: u64,
    pub seq: u64,
    pub rev: u64,
    pub epoch: u64,
    pub knowledge: Vector,
    pub applied: Vector,
    pub purge_rev: u64,
    pub acked: u64,
    pub rows: BTreeMap<RelPath, (Row, u64)>,
    pub bases: BTreeMap<RelPath, Based>,
    pub peers: Vec<Peer>,
}

/// The tree that rows stand for.
pub type Tree = BTreeMap<RelPath, Based>;

pub struct Device {
    pub id: usize,
    pub db: Db,
    pub disk: BTreeMap<RelPath, Body>,
    pub backup: Option<Db>,
    /// What a person has deleted here, to put it back.
    pub deleted: BTreeMap<RelPath, Body>,
    pub skew: i64,
    pub retired: bool,
    /// The disk may be ahead of its bases: stopped before they were committed, or restored; and not scanned since.
    pub crashed: bool,
}

/// What all devices of a history share.
pub struct Shared {
    pub rules: Rules,
    pub policy: Policy,
    pub rng: Rng,
    pub ledger: Ledger,
    /// Every dot ever issued, and the dots that replaced it.
    pub issued: BTreeMap<(RelPath, Dot), Vec<Dot>>,
    /// Dots that were deletions: only these may go without being replaced.
    pub tombs: BTreeSet<Dot>,
    /// Actors whose dots may stand for two writes.
    pub doubtful: BTreeSet<Actor>,
    pub clock: i64,
    pub fresh: u64,
}

impl Shared {
    pub fn below(&mut self, bound: usize) -> usize {
        self.rng.below(bound as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn fresh(&mut self) -> u64 {
        self.fresh += 1;
        self.fresh
    }
}

pub fn tree(rules: &Rules, rows: &BTreeMap<RelPath, (Row, u64)>, policy: &Policy) -> Tree {
    let implied: BTreeSet<RelPath> =
        rows.iter().filter(|(_, (row, _))| row.is_live()).flat_map(|(path, _)| path.ancestors()).collect();
    let mut out = Tree::new();
    let mut losers: Vec<(RelPath, Loser)> = Vec::new();
    let none = Row::default();
    for path in rows.keys().chain(implied.iter().filter(|p| !rows.contains_key(*p))) {
        let row = rows.get(path).map_or(&none, |(row, _)| row);
        let shown = (rules.project)(row, implied.contains(path), policy);
        if let Some((dot, body)) = shown.main {
            out.insert(path.clone(), Based { source: path.clone(), dot, body });
        }
        losers.extend(shown.losers.into_iter().map(|l| (path.clone(), l)));
    }
    losers.sort_by(|(a, x), (b, y)| (a, x.dot).cmp(&(b, y.dot)));
    for (source, loser) in losers {
        let name = (1..)
            .map(|again| {
                let name = copy_name(&source.name(), &loser, again);
                let dir = source.parent_path().map_or(Vec::new(), |d| [d.as_bytes(), b"/"].concat());
                RelPath::new(&[&dir[..], name.as_bytes()].concat()).expect("a copy's name is a path")
            })
            .find(|name| !out.contains_key(name))
            .expect("some name is free");
        assert!(name.name().as_bytes().len() <= 255);
        out.insert(name, Based { source, dot: Some(loser.dot), body: loser.value.body });
    }
    out
}

impl Device {
    pub fn new(id: usize, devices: usize, skew: i64, shared: &mut Shared) -> Self {
        let mut out = Self {
            id,
            db: Db::default(),
            disk: BTreeMap::new(),
            backup: None,
            deleted: BTreeMap::new(),
            skew,
            retired: false,
            crashed: false,
        };
        out.wipe(devices, shared);
        out
    }

    pub fn actor(&self) -> Actor {
        Actor(self.db.actor)
    }

    fn now(&self, shared: &Shared) -> WallTime {
        WallTime(shared.clock + self.skew)
    }

    pub fn tree(&self, shared: &Shared) -> Tree {
        tree(&shared.rules, &self.db.rows, &shared.policy)
    }

    /// The database is lost; the files stay.
    pub fn wipe(&mut self, devices: usize, shared: &mut Shared) {
        self.crashed = true;
        let actor = shared.rng.next_u64();
        self.db = Db { actor, epoch: shared.fresh(), peers: vec![Peer::default(); devices], ..Db::default() };
    }

    /// A new actor and epoch; own dots that nobody has confirmed are issued again if they may stand for two writes.
    pub fn renew(&mut self, doubtful: bool, shared: &mut Shared) {
        self.db.epoch = shared.fresh();
        self.crashed = true;
        if !shared.rules.renews_actor {
            return;
        }
        let (old, acked) = (self.actor(), self.db.acked);
        self.db.actor = shared.rng.next_u64();
        (self.db.seq, self.db.acked) = (0, 0);
        if !doubtful {
            return;
        }
        shared.doubtful.insert(old);
        self.db.knowledge.truncate(old, acked);
        self.db.applied.truncate(old, acked);
        for path in self.db.rows.keys().cloned().collect::<Vec<_>>() {
            let mut row = self.db.rows[&path].0.clone();
            let before = row.siblings.clone();
            let db = &mut self.db;
            let mut fresh = || {
                db.seq += 1;
                let dot = Dot { actor: Actor(db.actor), seq: db.seq };
                db.knowledge.insert(dot);
                dot
            };
            if (shared.rules.reissue)(&mut row, old, acked, &mut fresh) {
                for (dot, value) in &row.siblings {
                    if !before.contains_key(dot) {
                        shared.ledger.revived(&value.body);
                        shared.issued.insert((path.clone(), *dot), Vec::new());
                        if !value.body.is_live() {
                            shared.tombs.insert(*dot);
                        }
                    }
                }
                self.put(&path, row);
            }
        }
    }

    pub fn put(&mut self, path: &RelPath, row: Row) {
        self.db.rev += 1;
        self.db.rows.insert(path.clone(), (row, self.db.rev));
    }

    /// Changes the row at `path` by one dot of this device, and keeps account of what the dot replaced.
    fn author(&mut self, path: &RelPath, shared: &mut Shared, change: impl FnOnce(&mut Row, Dot)) -> Dot {
        self.db.seq += 1;
        let dot = Dot { actor: self.actor(), seq: self.db.seq };
        self.db.knowledge.insert(dot);
        let mut row = self.db.rows.get(path).map_or_else(Row::default, |(row, _)| row.clone());
        let before: Vec<Dot> = row.siblings.keys().copied().collect();
        if row.ctx.contains(dot) {
            // Only where an actor is used again after a restore: the assertion of `write` is not the point here.
            row.ctx.truncate(dot.actor, dot.seq - 1);
            row.siblings.remove(&dot);
        }
        change(&mut row, dot);
        for old in before.into_iter().filter(|d| !row.siblings.contains_key(d)) {
            shared.issued.entry((path.clone(), old)).or_default().push(dot);
        }
        if row.siblings.get(&dot).is_some_and(|v| !v.body.is_live()) {
            shared.tombs.insert(dot);
        }
        if shared.issued.insert((path.clone(), dot), Vec::new()).is_some() {
            shared.doubtful.insert(dot.actor);
        }
        self.put(path, row);
        dot
    }

    fn write(&mut self, path: &RelPath, body: &Body, saw: Option<Dot>, shared: &mut Shared) -> Dot {
        let now = self.now(shared);
        let mtime = match body {
            Body::File { mtime_ns, .. } => WallTime(*mtime_ns),
            Body::Dir { .. } | Body::Symlink { .. } | Body::Tomb | Body::Member(_) | Body::Policy(_) => now,
        };
        let write = shared.rules.write;
        let before = self.shown(path, shared);
        let replaced = saw.and_then(|d| self.db.rows.get(path)?.0.siblings.get(&d)).map(|v| v.body.clone());
        let dot = self.author(path, shared, |row, dot| write(row, dot, body.clone(), saw, mtime, now));
        for shown in self.shown(path, shared) {
            let is_new = body.same_content(&shown);
            let again = replaced.as_ref().is_some_and(|r| r.same_content(&shown));
            let was = before.iter().any(|b| b.same_content(&shown));
            assert!(is_new || was && !again, "a write at {path:?} brings up {shown:?}, which was hidden or replaced");
        }
        if body.is_live() {
            self.raise_parents(path, shared);
        }
        dot
    }

    /// What the row at `path` shows: files and links, at the path and as copies.
    fn shown(&self, path: &RelPath, shared: &Shared) -> Vec<Body> {
        let Some((row, _)) = self.db.rows.get(path) else { return Vec::new() };
        let shown = (shared.rules.project)(row, false, &shared.policy);
        let all = shown.main.into_iter().map(|(_, body)| body).chain(shown.losers.into_iter().map(|l| l.value.body));
        all.filter(|b| content_of(b).is_some()).collect()
    }

    /// A write beneath a directory that has no live row of its own writes that row.
    fn raise_parents(&mut self, path: &RelPath, shared: &mut Shared) {
        for dir in path.ancestors() {
            let top = self.db.rows.get(&dir).and_then(|(row, _)| winner(row, &shared.policy));
            if !matches!(top, Some((_, Value { body: Body::Dir { .. }, .. }))) {
                self.write(&dir, &Body::Dir { mode: DIR_MODE }, None, shared);
            }
        }
    }

    /// Ends the loser `dot` of `path` by issuing the winner again.
    fn settle(&mut self, path: &RelPath, dot: Dot, shared: &mut Shared) {
        let Some((row, _)) = self.db.rows.get(path) else { return };
        let Some(loser) = row.siblings.get(&dot).cloned() else { return };
        let Some((top, mut value)) = winner(row, &shared.policy).map(|(d, v)| (d, v.clone())) else { return };
        if top == dot {
            // The directory that has the name exists by its descendants alone.
            value.body = Body::Dir { mode: DIR_MODE };
        }
        shared.ledger.revived(&value.body);
        let equal = row.siblings.iter().filter(|(_, v)| v.body.same_content(&loser.body)).map(|(d, _)| *d);
        let replaced: Vec<Dot> = equal.chain([top]).collect();
        let fresh = self.author(path, shared, |row, dot| row.settle(dot, value, &replaced));
        if let Some(base) = self.db.bases.get_mut(path).filter(|b| b.dot == Some(top) && b.source == *path) {
            base.dot = Some(fresh);
        }
    }

    /// Compares the whole disk with the bases and writes what differs. First what is there, from above, so that a file
    /// that became a directory is replaced by it before something in it calls for the directory; then what is gone,
    /// from below. A move so tells of the new place before the old one, wherever the telling stops.
    pub fn scan(&mut self, shared: &mut Shared) {
        for (path, seen) in self.disk.clone() {
            shared.ledger.saw(self.id, &seen);
            let base = self.db.bases.get(&path).cloned();
            if base.as_ref().is_none_or(|b| b.body != seen) {
                self.changed(&path, &seen, base, shared);
            }
        }
        let gone: Vec<RelPath> = self.db.bases.keys().filter(|p| !self.disk.contains_key(*p)).cloned().collect();
        for path in gone.into_iter().rev() {
            if let Some(base) = self.db.bases.get(&path).cloned() {
                self.deleted(&path, &base, shared);
            }
        }
        self.crashed = false;
        shared.ledger.told(self.id);
    }

    fn deleted(&mut self, path: &RelPath, base: &Based, shared: &mut Shared) {
        self.db.bases.remove(path);
        let wanted = self.tree(shared);
        let Some(dot) = base.dot else { return };
        let holds = self.db.rows.get(&base.source).is_some_and(|(row, _)| row.siblings.contains_key(&dot));
        let is_wanted = wanted.get(path).is_some_and(|w| w.body.same_content(&base.body) && w.source == base.source);
        if !is_wanted && self.crashed {
            // An apply that was cut short looks the same as a deletion.
            shared.ledger.revived(&base.body);
            return;
        }
        if !holds {
            return;
        }
        if base.source != *path {
            // While this disk has the version at the name it lost, as after moving the copy there, it is not settled.
            if self.db.bases.get(&base.source).is_some_and(|held| held.dot == Some(dot)) {
                shared.ledger.revived(&base.body);
            } else {
                self.settle(&base.source, dot, shared);
            }
            return;
        }
        shared.ledger.deleted(self.id, path, &base.body);
        if !is_wanted {
            self.write(path, &Body::Tomb, Some(dot), shared);
            return;
        }
        for (copy, entry) in wanted.iter().filter(|(name, entry)| entry.source == *path && *name != path) {
            shared.ledger.revived(&entry.body);
            let fresh = self.write(copy, &entry.body, None, shared);
            if let Some(held) = self.db.bases.get_mut(copy) {
                *held = Based { source: copy.clone(), dot: Some(fresh), body: held.body.clone() };
            }
        }
        let row = &self.db.rows[path].0;
        let all: Vec<Dot> = row.siblings.keys().copied().collect();
        if all.len() == 1 || !row.is_conflicted() {
            self.write(path, &Body::Tomb, Some(dot), shared);
            return;
        }
        let newest = row.siblings.values().map(|v| v.stamp.0).max().unwrap_or_default();
        let stamp = WallTime(newest.saturating_add(1));
        let tomb = Value { body: Body::Tomb, prev: base.body.content_prefix(), stamp };
        self.author(path, shared, |row, dot| row.settle(dot, tomb, &all));
    }

    fn changed(&mut self, path: &RelPath, seen: &Body, base: Option<Based>, shared: &mut Shared) {
        let row = self.db.rows.get(path).map_or_else(Row::default, |(row, _)| row.clone());
        let own = base.as_ref().filter(|b| b.source == *path);
        let saw = own.and_then(|b| b.dot).filter(|d| row.siblings.contains_key(d));
        let keep = |dot: Option<Dot>, source: &RelPath| Based { source: source.clone(), dot, body: seen.clone() };
        if let Some(base) = base.as_ref().filter(|b| b.body.same_content(seen)) {
            let live = saw.and_then(|d| row.siblings.get(&d));
            let revert = base.source == *path && (live.is_some() || shared.rules.touches_superseded);
            let dot = match live {
                Some(value) if value.body == *seen => base.dot,
                // A touch of what is superseded, or of a copy, is nobody's edit: the apply puts it right.
                _ if !revert => base.dot,
                Some(_) | None => {
                    shared.ledger.touched(seen);
                    Some(self.write(path, seen, saw, shared))
                }
            };
            self.db.bases.insert(path.clone(), keep(dot, &base.source));
            return;
        }
        let wanted = self.tree(shared).remove(path);
        // Where the disk may be ahead of its bases, only a base that is still wanted here tells what was seen.
        let trusted = !self.crashed || wanted.as_ref().is_some_and(|w| saw == w.dot);
        if let Some(base) = base.as_ref().filter(|_| !trusted) {
            shared.ledger.revived(&base.body);
        }
        let saw = saw.filter(|_| trusted);
        if let Some(wanted) = wanted.filter(|w| w.body.same_content(seen)) {
            // Somebody who made just what is wanted has replaced what he saw, but so has an apply whose base was lost:
            // nothing is written, and what was there stays beside it.
            if let Some(base) = base.filter(|_| saw.is_some()) {
                shared.ledger.revived(&base.body);
            }
            self.db.bases.insert(path.clone(), keep(wanted.dot, &wanted.source));
            return;
        }
        let content = content_of(seen);
        // A file somebody put back is his, old content or not: only a device that has forgotten cannot tell.
        let doubts = self.crashed || shared.rules.distrusts_files_put_back;
        let is_old = doubts && content.is_some_and(|c| row.siblings.values().any(|v| v.prev == c));
        if saw.is_none() {
            let equal = row.siblings.iter().find(|(_, v)| v.body.same_content(seen)).map(|(d, _)| *d);
            if equal.is_some() || is_old && shared.rules.heeds_tombs {
                self.db.bases.insert(path.clone(), keep(equal, path));
                return;
            }
        }
        if saw.is_some() || !is_old {
            shared.ledger.written(seen);
        }
        if let Some(old) = saw.and_then(|d| row.siblings.get(&d)) {
            shared.ledger.replaced(&old.body, seen);
        }
        let replaces = shared.rules.baseless_replaces && base.is_none();
        let saw = saw.or_else(|| winner(&row, &shared.policy).map(|(d, _)| d).filter(|_| replaces));
        let dot = self.write(path, seen, saw, shared);
        self.db.bases.insert(path.clone(), keep(Some(dot), path));
        if let Some(Based { source, dot: Some(dot), .. }) = base.filter(|b| b.source != *path) {
            self.settle(&source, dot, shared);
        }
    }

    /// Makes the disk what the rows want, each path with the given chance. A crash leaves the disk ahead of its bases.
    pub fn apply(&mut self, percent: usize, crash: bool, shared: &mut Shared) {
        let wanted = self.tree(shared);
        let paths: BTreeSet<RelPath> = self.disk.keys().chain(self.db.bases.keys()).cloned().collect();
        let is_dir = |b: &Body| matches!(b, Body::Dir { .. });
        for path in paths.iter().rev() {
            let (Some(body), Some(base)) = (self.disk.get(path), self.db.bases.get(path)) else { continue };
            let stays = wanted.get(path).is_some_and(|w| is_dir(&w.body) == is_dir(body));
            let full = is_dir(body) && self.disk.keys().any(|p| p.is_below(path));
            if stays
                || full
                || base.body != *body
                || !shared.chance(percent)
                || !self.keep_displaced(path, &wanted, crash)
            {
                continue;
            }
            self.disk.remove(path);
            if !crash {
                self.db.bases.remove(path);
            }
        }
        for (path, entry) in &wanted {
            let parent = path.parent_path().is_none_or(|d| self.disk.get(&d).is_some_and(is_dir));
            let (body, base) = (self.disk.get(path), self.db.bases.get(path));
            let clean = body == base.map(|b| &b.body) && body.is_none_or(|b| is_dir(b) == is_dir(&entry.body));
            if base == Some(entry) || !parent || !clean || !shared.chance(percent) {
                continue;
            }
            if !body.is_none_or(|b| b.same_content(&entry.body)) && !self.keep_displaced(path, &wanted, crash) {
                continue;
            }
            self.disk.insert(path.clone(), entry.body.clone());
            if crash {
                shared.ledger.revived(&entry.body);
            } else {
                self.db.bases.insert(path.clone(), entry.clone());
            }
        }
        self.crashed |= crash;
        if self.db.bases == wanted && self.is_clean() {
            self.db.applied = self.db.knowledge.clone();
        }
    }

    /// Custody: what is about to leave `path` and is wanted under a copy's name goes there first. False if it cannot.
    fn keep_displaced(&mut self, path: &RelPath, wanted: &Tree, crash: bool) -> bool {
        let Some(base) = self.db.bases.get(path) else { return true };
        let held = |w: &Based| w.source == base.source && w.dot == base.dot;
        let Some((copy, entry)) = wanted.iter().find(|(p, w)| *p != path && held(w)) else { return true };
        match self.disk.get(copy) {
            Some(body) => body.same_content(&entry.body),
            None if self.db.bases.contains_key(copy) => false,
            None => {
                self.disk.insert(copy.clone(), entry.body.clone());
                if !crash {
                    self.db.bases.insert(copy.clone(), entry.clone());
                }
                true
            }
        }
    }

    /// Whether the disk is what its bases say.
    pub fn is_clean(&self) -> bool {
        self.disk.len() == self.db.bases.len()
            && self.disk.iter().zip(&self.db.bases).all(|((p, body), (q, base))| p == q && *body == base.body)
    }

    /// Forgets what every member has applied. Whether there was something to forget.
    pub fn purge(&mut self, members: &[usize], shared: &Shared) -> bool {
        let vectors: Vec<(Vector, Vector)> = members
            .iter()
            .map(|m| match *m == self.id {
                true => (self.db.knowledge.clone(), self.db.applied.clone()),
                false => (self.db.peers[*m].knowledge.clone(), self.db.peers[*m].applied.clone()),
            })
            .collect();
        let gone: Vec<(RelPath, u64)> = self
            .db
            .rows
            .iter()
            .filter(|(p, (row, _))| !self.db.bases.contains_key(*p) && (shared.rules.may_purge)(row, &vectors))
            .map(|(p, (_, rev))| (p.clone(), *rev))
            .collect();
        for (path, rev) in &gone {
            self.db.rows.remove(path);
            self.db.purge_rev = self.db.purge_rev.max(*rev);
        }
        !gone.is_empty()
    }
}

//! The core's [`Index`] as ordered maps, with a disk that forgets.
//!
//! It is the reference for the SQLite store: the same calls get the same answers. Commits behave as under
//! `synchronous=NORMAL`: the death of the process keeps them, a power loss keeps those before the last
//! [`ModelIndex::sync`] and up to the last that was to be durable. Every change leaves its inverse in a log, so a batch costs what it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included, Unbounded};
use sync_core::id::DeviceId;
use sync_core::index::{Base, Body, FolderState, Index, Key, PeerRecord, Row, Staged, Versioned};
use sync_core::proving::{Mutant, is_mutant};
use sync_core::{ContentId, DirPath, FolderId, Name, RelPath, WallTime};

/// Why the model did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// A test asked for a failure at this call.
    #[error("an injected failure of the index")]
    Injected,
}

/// A record of the audit: when, kind, detail.
pub type Audit = (WallTime, String, String);

/// State in memory.
#[derive(Clone, Debug, Default)]
pub struct ModelIndex {
    state: State,
    /// Inverses of every change since the last durable commit.
    log: Vec<Undo>,
    /// Length of the log at the start of the open batch.
    batch: Option<usize>,
    /// Calls until one fails.
    fail_in: Option<u64>,
    /// Whether a call of the open batch has failed.
    failed: bool,
    /// Whether the open batch is to survive a power loss.
    durable: bool,
}

/// The maps, and those that follow from them: `revs`, `holders` and `totals`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    folders: BTreeMap<FolderId, FolderState>,
    peers: BTreeMap<DeviceId, PeerRecord>,
    rows: BTreeMap<(FolderId, Key), (Row, u64)>,
    bases: BTreeMap<(FolderId, RelPath), Base>,
    pending: BTreeSet<(FolderId, RelPath)>,
    copied: BTreeSet<(FolderId, RelPath)>,
    staged: BTreeMap<(FolderId, ContentId), Staged>,
    audits: Vec<Audit>,
    revs: BTreeMap<(FolderId, u64), Key>,
    holders: BTreeMap<ContentId, BTreeSet<(u64, FolderId, RelPath)>>,
    totals: BTreeMap<FolderId, (u64, u64)>,
}

/// What takes one change back: the value before it.
#[derive(Clone, Debug)]
enum Undo {
    Folder(FolderId, Option<FolderState>),
    Peer(DeviceId, Option<PeerRecord>),
    Row((FolderId, Key), Option<(Row, u64)>),
    Base((FolderId, RelPath), Option<Base>),
    Pending((FolderId, RelPath), bool),
    Copied((FolderId, RelPath), bool),
    Staged((FolderId, ContentId), Option<Staged>),
    Audit,
}

impl ModelIndex {
    /// Begins a batch.
    ///
    /// # Errors
    /// An injected one.
    pub fn begin(&mut self) -> Result<(), ModelError> {
        assert!(self.batch.is_none(), "batches do not nest");
        self.trip()?;
        self.batch = Some(self.log.len());
        (self.failed, self.durable) = (false, false);
        Ok(())
    }

    /// Ends the batch and keeps it. After an error there is no batch, and nothing of it is kept.
    ///
    /// # Errors
    /// An injected one.
    pub fn commit(&mut self) -> Result<(), ModelError> {
        let start = self.batch.take();
        assert!(start.is_some(), "a commit ends a batch");
        assert!(!self.failed, "a batch in which a call has failed is not committed");
        self.trip().inspect_err(|_| self.undo_to(start.unwrap_or(0)))?;
        if self.durable && !is_mutant(Mutant::CommitNotDurable) {
            self.log.clear();
        }
        Ok(())
    }

    /// Ends the batch and forgets it.
    pub fn rollback(&mut self) {
        let start = self.batch.take();
        assert!(start.is_some(), "a rollback ends a batch");
        self.undo_to(start.unwrap_or(0));
    }

    /// The process dies: an open batch is lost, what was committed is kept.
    pub fn crash(&mut self) {
        let start = self.batch.take().unwrap_or(self.log.len());
        self.undo_to(start);
    }

    /// Makes every commit so far durable.
    pub fn sync(&mut self) {
        assert!(self.batch.is_none(), "commits become durable, batches do not");
        self.log.clear();
    }

    /// The power fails: what is left is what was committed before the last `sync`.
    pub fn power_loss(&mut self) {
        self.batch = None;
        self.undo_to(0);
    }

    /// A backup of what is committed.
    pub fn snapshot(&self) -> Self {
        Self { state: self.state.clone(), ..Self::default() }
    }

    /// Whether everything committed survives a power loss.
    pub fn is_durable(&self) -> bool {
        self.log.is_empty()
    }

    /// Makes the next call fail.
    pub fn fail_next(&mut self) {
        self.fail_after(0);
    }

    /// Lets `calls` calls succeed and makes the one after them fail.
    pub fn fail_after(&mut self, calls: u64) {
        self.fail_in = Some(calls);
    }

    /// Takes back what was to fail.
    pub fn fail_no_more(&mut self) {
        self.fail_in = None;
    }

    /// What the state says, for somebody who is not part of the world: nothing fails, nothing changes.
    pub fn look<T>(&mut self, at: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let fail_in = self.fail_in.take();
        self.begin().ok()?;
        let seen = at(self);
        self.rollback();
        self.fail_in = fail_in;
        seen
    }

    /// The last `limit` records of the audit, newest first.
    pub fn audits(&self, limit: usize) -> Vec<Audit> {
        self.state.audits.iter().rev().take(limit).cloned().collect()
    }

    /// Fails if this call is the one to.
    fn trip(&mut self) -> Result<(), ModelError> {
        match self.fail_in {
            Some(0) => {
                self.fail_in = None;
                self.failed = true;
                Err(ModelError::Injected)
            }
            left => {
                self.fail_in = left.map(|calls| calls - 1);
                Ok(())
            }
        }
    }

    /// The state, for one call that reads.
    fn read(&mut self) -> Result<&State, ModelError> {
        assert!(self.batch.is_some(), "state is used inside a batch");
        self.trip()?;
        Ok(&self.state)
    }

    /// Notes a path as pending or takes the note back; the answer is whether that changed anything.
    fn note(&mut self, at: (FolderId, RelPath), noted: bool) -> Result<bool, ModelError> {
        let mut fresh = false;
        self.change(|state| {
            fresh = state.pending.contains(&at) != noted;
            vec![Undo::Pending(at, noted)]
        })?;
        Ok(fresh)
    }

    /// Makes the changes of one call.
    fn change(&mut self, changes: impl FnOnce(&State) -> Vec<Undo>) -> Result<(), ModelError> {
        self.read()?;
        for change in changes(&self.state) {
            let inverse = self.state.set(change);
            self.log.push(inverse);
        }
        Ok(())
    }

    fn undo_to(&mut self, start: usize) {
        while self.log.len() > start {
            if let Some(undo) = self.log.pop() {
                self.state.set(undo);
            }
        }
    }
}

impl State {
    /// Sets one value, and returns what sets it back. `Undo::Audit` removes the last record: it has no inverse, and
    /// gives itself.
    fn set(&mut self, change: Undo) -> Undo {
        match change {
            Undo::Folder(id, value) => Undo::Folder(id, replace(&mut self.folders, id, value)),
            Undo::Peer(id, value) => Undo::Peer(id, replace(&mut self.peers, id, value)),
            Undo::Staged(at, value) => Undo::Staged(at, replace(&mut self.staged, at, value)),
            Undo::Row(at, value) => self.set_row(at, value),
            Undo::Base(at, value) => self.set_base(at, value),
            Undo::Pending(at, true) => Undo::Pending(at.clone(), !self.pending.insert(at)),
            Undo::Pending(at, false) => Undo::Pending(at.clone(), self.pending.remove(&at)),
            Undo::Copied(at, true) => Undo::Copied(at.clone(), !self.copied.insert(at)),
            Undo::Copied(at, false) => Undo::Copied(at.clone(), self.copied.remove(&at)),
            Undo::Audit => {
                self.audits.pop();
                Undo::Audit
            }
        }
    }

    fn set_row(&mut self, at: (FolderId, Key), value: Option<(Row, u64)>) -> Undo {
        let new = value.as_ref().map(|(_, rev)| *rev);
        let old = replace(&mut self.rows, at.clone(), value);
        if let Some((_, rev)) = &old {
            self.revs.remove(&(at.0, *rev));
        }
        if let Some(rev) = new {
            let taken = self.revs.insert((at.0, rev), at.1.clone());
            assert!(taken.is_none(), "a change number is used once");
        }
        Undo::Row(at, old)
    }

    fn set_base(&mut self, at: (FolderId, RelPath), value: Option<Base>) -> Undo {
        let place = |base: &Base| base.content().map(|c| (c, (base.stat.inode, at.0, at.1.clone())));
        let (to, to_size) = (value.as_ref().and_then(place), value.as_ref().and_then(file_size));
        let old = replace(&mut self.bases, at.clone(), value);
        if let Some((content, from)) = old.as_ref().and_then(place) {
            let places = self.holders.entry(content).or_default();
            places.remove(&from);
            if places.is_empty() {
                self.holders.remove(&content);
            }
        }
        if let Some((content, to)) = to {
            self.holders.entry(content).or_default().insert(to);
        }
        let (files, bytes) = self.totals.entry(at.0).or_default();
        if let Some(size) = old.as_ref().and_then(file_size) {
            (*files, *bytes) = (*files - 1, bytes.wrapping_sub(size));
        }
        if let Some(size) = to_size {
            (*files, *bytes) = (*files + 1, bytes.wrapping_add(size));
        }
        if *files == 0 {
            self.totals.remove(&at.0);
        }
        Undo::Base(at, old)
    }

    /// What takes everything of a folder away.
    fn without(&self, folder: FolderId) -> Vec<Undo> {
        let rows = self.rows.keys().filter(|(f, _)| *f == folder).map(|at| Undo::Row(at.clone(), None));
        let bases = self.bases.keys().filter(|(f, _)| *f == folder).map(|at| Undo::Base(at.clone(), None));
        let pending = self.pending.iter().filter(|(f, _)| *f == folder).map(|at| Undo::Pending(at.clone(), false));
        let copied = self.copied.iter().filter(|(f, _)| *f == folder).map(|at| Undo::Copied(at.clone(), false));
        let staged = self.staged.keys().filter(|(f, _)| *f == folder).map(|at| Undo::Staged(*at, None));
        rows.chain(bases).chain(pending).chain(copied).chain(staged).chain([Undo::Folder(folder, None)]).collect()
    }

    /// A folder's rows by stored key, from the first after `after`.
    fn rows_from(&self, folder: FolderId, after: Option<&Key>) -> impl Iterator<Item = (&Key, &(Row, u64))> {
        // Members come before paths in the order of `Key` as in that of stored bytes.
        let least = Key::Member(DeviceId([0; 32]));
        let from = after.map_or(Included((folder, least)), |key| Excluded((folder, key.clone())));
        let rows = self.rows.range((from, Unbounded)).take_while(move |((f, _), _)| *f == folder);
        rows.map(|((_, key), row)| (key, row))
    }

    /// A folder's rows of paths.
    fn paths(&self, folder: FolderId) -> impl Iterator<Item = (&RelPath, &Row)> {
        self.rows_from(folder, None).filter_map(|(key, (row, _))| Some((key.as_path()?, row)))
    }
}

impl Index for ModelIndex {
    type Error = ModelError;

    fn make_durable(&mut self) -> Result<(), ModelError> {
        self.read()?;
        self.durable = true;
        Ok(())
    }

    fn folders(&mut self) -> Result<Vec<FolderState>, ModelError> {
        Ok(self.read()?.folders.values().cloned().collect())
    }

    fn put_folder(&mut self, state: &FolderState) -> Result<(), ModelError> {
        self.change(|_| vec![Undo::Folder(state.id, Some(state.clone()))])
    }

    fn remove_folder(&mut self, folder: FolderId) -> Result<(), ModelError> {
        self.change(|state| state.without(folder))
    }

    fn peers(&mut self) -> Result<Vec<PeerRecord>, ModelError> {
        Ok(self.read()?.peers.values().cloned().collect())
    }

    fn put_peer(&mut self, peer: &PeerRecord) -> Result<(), ModelError> {
        self.change(|_| vec![Undo::Peer(peer.id, Some(peer.clone()))])
    }

    fn remove_peer(&mut self, device: DeviceId) -> Result<(), ModelError> {
        self.change(|_| vec![Undo::Peer(device, None)])
    }

    fn row(&mut self, folder: FolderId, key: &Key) -> Result<Option<Row>, ModelError> {
        Ok(self.read()?.rows.get(&(folder, key.clone())).map(|(row, _)| row.clone()))
    }

    fn put_row(&mut self, folder: FolderId, key: &Key, row: &Row, rev: u64) -> Result<(), ModelError> {
        self.change(|_| vec![Undo::Row((folder, key.clone()), Some((row.clone(), rev)))])
    }

    fn remove_row(&mut self, folder: FolderId, key: &Key) -> Result<(), ModelError> {
        self.change(|_| vec![Undo::Row((folder, key.clone()), None)])
    }

    fn rows_since(&mut self, folder: FolderId, rev: u64, limit: usize) -> Result<Vec<Versioned>, ModelError> {
        let state = self.read()?;
        let revs = state.revs.range((Excluded((folder, rev)), Included((folder, u64::MAX)))).take(limit);
        let row = |key: &Key| state.rows.get(&(folder, key.clone()));
        Ok(revs.filter_map(|(_, key)| Some(versioned(key, row(key)?))).collect())
    }

    fn rows_after(
        &mut self,
        folder: FolderId,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Versioned>, ModelError> {
        let rows = self.read()?.rows_from(folder, after).take(limit);
        Ok(rows.map(|(key, row)| versioned(key, row)).collect())
    }

    fn live_below(&mut self, folder: FolderId, path: &RelPath) -> Result<bool, ModelError> {
        let (from, to) = path.below_bounds();
        // Names such as `a-b` come between `a` and what is below it.
        let above = Key::Path(path.clone());
        let rows = self.read()?.rows_from(folder, Some(&above));
        let paths = rows.filter_map(|(key, (row, _))| Some((key.as_path()?.as_bytes(), row)));
        let mut below = paths.take_while(|(path, _)| *path < &to[..]).filter(|(path, _)| *path >= &from[..]);
        Ok(below.any(|(_, row)| row.is_live()))
    }

    fn conflicted(&mut self, folder: FolderId) -> Result<Vec<RelPath>, ModelError> {
        let paths = self.read()?.paths(folder);
        Ok(paths.filter(|(_, row)| row.is_conflicted()).map(|(path, _)| path.clone()).collect())
    }

    fn note_copied(&mut self, folder: FolderId, path: &RelPath, copied: bool) -> Result<(), ModelError> {
        self.change(|_| vec![Undo::Copied((folder, path.clone()), copied)])
    }

    fn copied(&mut self, folder: FolderId) -> Result<Vec<RelPath>, ModelError> {
        Ok(self.read()?.copied.iter().filter(|(f, _)| *f == folder).map(|(_, path)| path.clone()).collect())
    }

    fn tombs_after(&mut self, folder: FolderId, after: Option<&Key>, limit: usize) -> Result<Vec<Key>, ModelError> {
        let rows = self.read()?.rows_from(folder, after);
        let tombs = rows.filter(|(key, (row, _))| key.as_path().is_some() && !row.is_live());
        Ok(tombs.take(limit).map(|(key, _)| key.clone()).collect())
    }

    fn base(&mut self, folder: FolderId, path: &RelPath) -> Result<Option<Base>, ModelError> {
        Ok(self.read()?.bases.get(&(folder, path.clone())).cloned())
    }

    fn put_base(&mut self, folder: FolderId, path: &RelPath, base: &Base) -> Result<(), ModelError> {
        self.change(|_| vec![Undo::Base((folder, path.clone()), Some(base.clone()))])
    }

    fn remove_base(&mut self, folder: FolderId, path: &RelPath) -> Result<(), ModelError> {
        self.change(|_| vec![Undo::Base((folder, path.clone()), None)])
    }

    fn base_children(
        &mut self,
        folder: FolderId,
        dir: &DirPath,
        after: Option<&Name>,
        limit: usize,
    ) -> Result<Vec<(Name, Base)>, ModelError> {
        let from = dir.as_path().map_or(Unbounded, |dir| Excluded((folder, dir.clone())));
        let bounds = (from, Unbounded);
        let bases = self.read()?.bases.range(bounds);
        let inside = bases
            .filter(|((f, _), _)| *f == folder)
            .take_while(|((_, path), _)| dir.as_path().is_none_or(|dir| path.as_bytes() < &dir.below_bounds().1[..]));
        let children = inside
            .filter(|((_, path), _)| path.parent() == *dir)
            .map(|((_, path), base)| (path.name(), base.clone()))
            .filter(|(name, _)| after.is_none_or(|after| name > after));
        Ok(children.take(limit).collect())
    }

    fn holders(&mut self, content: ContentId, limit: usize) -> Result<Vec<(FolderId, RelPath, Base)>, ModelError> {
        let state = self.read()?;
        let places = state.holders.get(&content).into_iter().flatten().take(limit);
        let at = places.map(|(_, folder, path)| (*folder, path.clone()));
        Ok(at.filter_map(|at| Some((at.0, at.1.clone(), state.bases.get(&at)?.clone()))).collect())
    }

    fn base_totals(&mut self, folder: FolderId) -> Result<(u64, u64), ModelError> {
        Ok(self.read()?.totals.get(&folder).copied().unwrap_or_default())
    }

    fn mark_pending(&mut self, folder: FolderId, path: &RelPath) -> Result<bool, ModelError> {
        self.note((folder, path.clone()), true)
    }

    fn clear_pending(&mut self, folder: FolderId, path: &RelPath) -> Result<bool, ModelError> {
        self.note((folder, path.clone()), false)
    }

    fn is_pending(&mut self, folder: FolderId, path: &RelPath) -> Result<bool, ModelError> {
        Ok(self.read()?.pending.contains(&(folder, path.clone())))
    }

    fn pending_count(&mut self, folder: FolderId) -> Result<u64, ModelError> {
        Ok(self.read()?.pending.iter().filter(|(f, _)| *f == folder).count() as u64)
    }

    fn pending(&mut self, folder: FolderId, after: Option<&RelPath>, limit: usize) -> Result<Vec<RelPath>, ModelError> {
        let from = after.map_or(Unbounded, |after| Excluded((folder, after.clone())));
        let pending = self.read()?.pending.range((from, Unbounded)).filter(|(f, _)| *f == folder);
        Ok(pending.take(limit).map(|(_, path)| path.clone()).collect())
    }

    fn staged(&mut self, folder: FolderId) -> Result<Vec<Staged>, ModelError> {
        let bounds = (folder, ContentId([0; 32]))..=(folder, ContentId([0xff; 32]));
        Ok(self.read()?.staged.range(bounds).map(|(_, staged)| staged.clone()).collect())
    }

    fn put_staged(&mut self, folder: FolderId, staged: &Staged) -> Result<(), ModelError> {
        self.change(|_| vec![Undo::Staged((folder, staged.content), Some(staged.clone()))])
    }

    fn remove_staged(&mut self, folder: FolderId, content: ContentId) -> Result<(), ModelError> {
        self.change(|_| vec![Undo::Staged((folder, content), None)])
    }

    fn audit(&mut self, at: WallTime, kind: &str, detail: &str) -> Result<(), ModelError> {
        self.read()?;
        self.state.audits.push((at, kind.into(), detail.into()));
        self.log.push(Undo::Audit);
        Ok(())
    }

    fn audits(&mut self, limit: usize) -> Result<Vec<Audit>, ModelError> {
        self.read()?;
        Ok(Self::audits(self, limit))
    }
}

/// Puts a value, or takes it away, and returns the one before.
fn replace<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) -> Option<V> {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    }
}

fn file_size(base: &Base) -> Option<u64> {
    match &base.body {
        Body::File { size, .. } => Some(*size),
        Body::Dir { .. } | Body::Symlink { .. } | Body::Tomb | Body::Member(_) | Body::Policy(_) => None,
    }
}

fn versioned(key: &Key, (row, rev): &(Row, u64)) -> Versioned {
    Versioned { key: key.clone(), row: row.clone(), rev: *rev }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const FOLDER: FolderId = FolderId([1; 16]);

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).unwrap()
    }

    fn commit(index: &mut ModelIndex, text: &str) {
        index.begin().unwrap();
        index.mark_pending(FOLDER, &path(text)).unwrap();
        index.commit().unwrap();
    }

    fn pending(index: &mut ModelIndex) -> Vec<String> {
        index.begin().unwrap();
        let found = index.pending(FOLDER, None, 99).unwrap();
        index.rollback();
        found.iter().map(RelPath::display).collect()
    }

    #[test]
    fn a_crash_keeps_commits_and_a_power_loss_keeps_what_was_synced() {
        let mut index = ModelIndex::default();
        commit(&mut index, "a");
        index.sync();
        commit(&mut index, "b");
        index.begin().unwrap();
        index.mark_pending(FOLDER, &path("c")).unwrap();
        index.crash();
        assert_eq!(pending(&mut index), ["a", "b"]);
        index.power_loss();
        assert_eq!(pending(&mut index), ["a"]);
    }

    #[test]
    fn an_injected_failure_changes_nothing_and_comes_once() {
        let mut index = ModelIndex::default();
        index.begin().unwrap();
        index.fail_after(1);
        index.mark_pending(FOLDER, &path("a")).unwrap();
        assert_eq!(index.mark_pending(FOLDER, &path("b")), Err(ModelError::Injected));
        index.rollback();
        assert_eq!(pending(&mut index), Vec::<String>::new());
        index.begin().unwrap();
        index.mark_pending(FOLDER, &path("a")).unwrap();
        index.fail_next();
        assert_eq!(index.commit(), Err(ModelError::Injected));
        assert_eq!(pending(&mut index), Vec::<String>::new());
    }

    #[test]
    #[should_panic(expected = "not committed")]
    fn committing_a_batch_with_a_failed_call_is_a_bug() {
        let mut index = ModelIndex::default();
        index.begin().unwrap();
        index.fail_next();
        assert!(index.folders().is_err());
        let _ = index.commit();
    }
}

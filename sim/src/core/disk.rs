//! A disk: one folder's tree, its trash, and its staging area.
//!
//! It carries out what the core asks for as `Output` describes it: every operation looks at its target first, and
//! whatever is displaced stays in the trash.

use crate::oracle::{Face, Shows};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;
use sync_core::index::{Stat, StatKind};
use sync_core::input::{Done, Seen};
use sync_core::output::{Make, Op, Source};
use sync_core::proving::{Mutant, is_mutant};
use sync_core::transfer::{Bits, ChunkList};
use sync_core::{ContentId, DirPath, ItemError, ItemErrorKind, Name, RelPath};

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Dir,
    /// A regular file and its bytes.
    File(Rc<Vec<u8>>),
    /// A symbolic link and its target.
    Symlink(Rc<Vec<u8>>),
}

/// An entry of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub node: Node,
    /// Inode number.
    pub inode: u64,
    /// Modification time, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Change time, nanoseconds since 1970.
    pub ctime_ns: i64,
    /// Permission bits.
    pub mode: u32,
    /// The hash of a file's bytes.
    pub content: Option<ContentId>,
}

impl Entry {
    /// Its fingerprint.
    pub fn stat(&self) -> Stat {
        let (kind, size) = match &self.node {
            Node::Dir => (StatKind::Dir, 0),
            Node::File(bytes) => (StatKind::File, bytes.len() as u64),
            Node::Symlink(target) => (StatKind::Symlink, target.len() as u64),
        };
        Stat { kind, inode: self.inode, size, mtime_ns: self.mtime_ns, ctime_ns: self.ctime_ns, mode: self.mode }
    }

    /// What a person sees of it: bytes of files by hash, targets of links, mode and, for files, time.
    pub fn face(&self) -> Face {
        match &self.node {
            Node::Dir => Face::Dir(self.mode),
            Node::File(_) => Face::File(self.content.unwrap_or(ContentId([0; 32])), self.mode, self.mtime_ns),
            Node::Symlink(target) => Face::Symlink(target.to_vec()),
        }
    }
}

/// A file in the staging area.
#[derive(Clone, Debug, Default)]
struct Staged {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// Whether its hash was found to be its content's: what rots after that is a person's file that rots.
    is_verified: bool,
}

/// Faults of a disk that are on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskFaults {
    /// Changing the tree fails with this.
    pub apply: Option<ItemErrorKind>,
    /// Writing to the staging area fails with this.
    pub stage: Option<ItemErrorKind>,
    /// Reading fails.
    pub read: bool,
}

/// What a disk shows.
pub type Tree = BTreeMap<RelPath, Entry>;

/// One device's disk.
#[derive(Debug, Default)]
pub struct Disk {
    entries: BTreeMap<RelPath, Entry>,
    /// What was displaced, for good.
    pub trash: BTreeMap<ContentId, Rc<Vec<u8>>>,
    staged: BTreeMap<ContentId, Staged>,
    next_inode: u64,
    last_change: i64,
    /// Whether the root is not there at present.
    pub lost: bool,
    /// Faults that are on.
    pub faults: DiskFaults,
    /// Wall-clock time, set by the world before each use.
    pub wall: i64,
}

fn trouble(kind: ItemErrorKind) -> ItemError {
    ItemError { kind, reason: format!("{kind:?}, says the model disk") }
}

impl Disk {
    /// The trouble of a root that is not there.
    pub fn root_error(&self) -> Option<ItemError> {
        self.lost.then(|| trouble(ItemErrorKind::RootLost))
    }

    /// Every entry.
    pub fn entries(&self) -> &Tree {
        &self.entries
    }

    /// The entry at `path`.
    pub fn get(&self, path: &RelPath) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// Whether `dir` is a directory here.
    pub fn is_dir(&self, dir: &DirPath) -> bool {
        dir.as_path().is_none_or(|p| self.entries.get(p).is_some_and(|e| e.node == Node::Dir))
    }

    /// Entries directly in `dir`.
    pub fn children(&self, dir: &DirPath) -> Vec<(Name, Stat)> {
        let inside = self.entries.iter().filter(|(p, _)| p.parent() == *dir);
        let mut out: Vec<(Name, Stat)> = inside.map(|(p, e)| (p.name(), e.stat())).collect();
        out.sort_by(|a, b| a.0.cmp(&b.0));
        out
    }

    /// Whether anything is below `path`.
    pub fn has_below(&self, path: &RelPath) -> bool {
        self.entries.keys().any(|p| p.is_below(path))
    }

    /// Paths at and below `path`, deepest last.
    pub fn tree(&self, path: &RelPath) -> Vec<RelPath> {
        self.entries.keys().filter(|p| *p == path || p.is_below(path)).cloned().collect()
    }

    /// A change time that no entry had before.
    fn tick(&mut self) -> i64 {
        self.last_change = self.wall.max(self.last_change + 1);
        self.last_change
    }

    fn inode(&mut self) -> u64 {
        self.next_inode += 1;
        self.next_inode
    }

    /// Puts an entry at `path`, in place of what is there. `inode` keeps the one that is there.
    pub fn put(&mut self, path: &RelPath, node: Node, mode: u32, mtime_ns: Option<i64>, keep_inode: bool) -> Stat {
        let old = self.entries.get(path).filter(|_| keep_inode).map(|e| e.inode);
        let inode = old.unwrap_or_else(|| self.inode());
        let ctime_ns = self.tick();
        let content = if let Node::File(bytes) = &node { Some(ContentId::of(bytes)) } else { None };
        let entry = Entry { node, inode, mtime_ns: mtime_ns.unwrap_or(ctime_ns), ctime_ns, mode, content };
        let stat = entry.stat();
        self.entries.insert(path.clone(), entry);
        stat
    }

    /// Takes an entry away.
    pub fn take(&mut self, path: &RelPath) -> Option<Entry> {
        self.entries.remove(path)
    }

    /// Moves an entry and what is below it.
    pub fn rename(&mut self, from: &RelPath, to: &RelPath) {
        for path in self.tree(from) {
            let tail = &path.as_bytes()[from.as_bytes().len()..];
            let place = RelPath::new(&[to.as_bytes(), tail].concat());
            let (Some(mut entry), Ok(place)) = (self.entries.remove(&path), place) else { continue };
            if path == *from {
                entry.ctime_ns = self.tick();
            }
            self.entries.insert(place, entry);
        }
    }

    /// Changes mode or time.
    pub fn touch(&mut self, path: &RelPath, mode: Option<u32>, mtime_ns: Option<i64>) {
        let now = self.tick();
        if let Some(entry) = self.entries.get_mut(path) {
            entry.ctime_ns = now;
            entry.mode = mode.unwrap_or(entry.mode);
            entry.mtime_ns = mtime_ns.unwrap_or(entry.mtime_ns);
        }
    }

    /// One path of a probe.
    pub fn probe(&self, path: &RelPath, known: Option<&Stat>) -> Result<Seen, ItemError> {
        let Some(entry) = self.entries.get(path) else { return Ok(Seen::Absent) };
        let stat = entry.stat();
        match &entry.node {
            Node::Dir => Ok(Seen::Dir(stat)),
            Node::File(_) if known == Some(&stat) => Ok(Seen::File(stat, None)),
            Node::File(_) if self.faults.read => Err(trouble(ItemErrorKind::Io)),
            Node::File(_) => Ok(Seen::File(stat, entry.content)),
            Node::Symlink(target) => Ok(Seen::Symlink(stat, target.as_slice().into())),
        }
    }

    /// One operation of an apply.
    pub fn carry_out(&mut self, op: &Op) -> Done {
        if let Some(kind) = self.faults.apply {
            return Done::Failed(trouble(kind));
        }
        if !self.is_dir(&op.path.parent()) {
            let in_the_way = op.path.ancestors().any(|p| self.entries.get(&p).is_some_and(|e| e.node != Node::Dir));
            return match (&op.make, op.expect) {
                _ if in_the_way => Done::Unexpected,
                (_, Some(_)) => Done::Unexpected,
                (Make::Absent, None) => Done::Made(None),
                (_, None) => Done::Failed(trouble(ItemErrorKind::Io)),
            };
        }
        let now = self.entries.get(&op.path).map(Entry::stat);
        let as_expected = match (&op.expect, &now) {
            (None, None) => true,
            (Some(expect), Some(now)) => !expect.differs(now),
            (None, Some(_)) | (Some(_), None) => false,
        };
        if !as_expected && !is_mutant(Mutant::PreImageUnchecked) {
            return Done::Unexpected;
        }
        let was = now.map(|s| s.kind);
        let replaces_dir = was == Some(StatKind::Dir) && !matches!(op.make, Make::Dir { .. } | Make::Meta { .. });
        if replaces_dir && self.has_below(&op.path) {
            return Done::Failed(trouble(ItemErrorKind::NotEmpty));
        }
        self.make(op, was)
    }

    /// How an operation has ended once its directory is to be made durable: what was done stays done.
    pub fn settle(&self, done: Done) -> Done {
        match (self.faults.apply, done) {
            (Some(kind), Done::Made(stat)) => Done::Volatile(stat, trouble(kind)),
            (_, done) => done,
        }
    }

    fn make(&mut self, op: &Op, was: Option<StatKind>) -> Done {
        match &op.make {
            Make::Absent => {
                self.displace(&op.path);
                Done::Made(None)
            }
            Make::Dir { mode } if was == Some(StatKind::Dir) => {
                self.touch(&op.path, Some(*mode), None);
                Done::Made(self.entries.get(&op.path).map(Entry::stat))
            }
            Make::Dir { mode } => {
                self.displace(&op.path);
                Done::Made(Some(self.put(&op.path, Node::Dir, *mode, None, false)))
            }
            Make::File { content, size, mtime_ns, mode } => {
                let bytes = match self.staged.get(content) {
                    Some(staged) => staged.bytes.clone(),
                    // The empty content is staged where it is needed. Of any other, no bytes are not the bytes.
                    None if *size == 0 && *content == ContentId::of(b"") => Vec::new(),
                    None => return Done::NotStaged,
                };
                self.displace(&op.path);
                Done::Made(Some(self.put(&op.path, Node::File(Rc::new(bytes)), *mode, Some(*mtime_ns), false)))
            }
            Make::Meta { mtime_ns, mode } => {
                if was != Some(StatKind::File) {
                    return Done::Unexpected;
                }
                self.touch(&op.path, Some(*mode), Some(*mtime_ns));
                Done::Made(self.entries.get(&op.path).map(Entry::stat))
            }
            Make::Symlink { target } => {
                self.displace(&op.path);
                Done::Made(Some(self.put(&op.path, Node::Symlink(Rc::new(target.to_vec())), 0o777, None, false)))
            }
        }
    }

    /// The staged file of an apply that has used it is gone with the apply.
    pub fn use_up(&mut self, content: ContentId) {
        self.staged.remove(&content);
    }

    /// The tree is what it once was, and what has come since is gone. Returns what shows otherwise than before.
    pub fn go_back(&mut self, tree: Tree) -> BTreeMap<RelPath, Option<Face>> {
        let paths: BTreeSet<RelPath> = self.entries.keys().chain(tree.keys()).cloned().collect();
        let mut otherwise = BTreeMap::new();
        for path in paths {
            let face = tree.get(&path).map(Entry::face);
            if face != self.entries.get(&path).map(Entry::face) {
                otherwise.insert(path.clone(), face);
            }
        }
        self.entries = tree;
        otherwise
    }

    fn displace(&mut self, path: &RelPath) {
        let Some(entry) = self.entries.remove(path) else { return };
        let content = content_of(&entry);
        if let (Some(content), Node::File(bytes) | Node::Symlink(bytes)) = (content, entry.node) {
            self.trash.insert(content, bytes);
        }
    }

    /// Stages a content from a file that is here. `None` if the source is not what it was.
    pub fn copy(&mut self, from: &RelPath, expect: &Stat, content: ContentId) -> Option<Result<(), ItemError>> {
        let entry = self
            .entries
            .get(from)
            .filter(|e| is_mutant(Mutant::CopyUnverified) || e.stat() == *expect && e.content == Some(content))?;
        let Node::File(bytes) = &entry.node else { return None };
        let bytes = bytes.to_vec();
        Some(self.stage_whole(content, bytes))
    }

    /// Stages the chunks of a content that another file holds, but for those that are `kept`. None if that file is not what
    /// it was.
    pub fn reuse(
        &mut self,
        content: ContentId,
        chunks: &ChunkList,
        kept: &Bits,
        basis: &Source,
    ) -> Option<Result<Bits, ItemError>> {
        let held = self.read(&basis.path, &basis.expect)?;
        let mut places = BTreeMap::new();
        let mut at = 0;
        for (len, hash) in chunk_for(&held, chunks.bytes()).iter() {
            places.insert(hash, at..at + len as usize);
            at += len as usize;
        }
        let (mut found, mut at) = (Bits::new(chunks.len()), 0);
        for (i, (len, hash)) in chunks.iter().enumerate() {
            let place = places.get(&hash).filter(|place| !kept.get(i) && place.len() == len as usize);
            if let Some(place) = place {
                if let Err(error) = self.stage_part(content, chunks.bytes(), at, &held[place.clone()]) {
                    return Some(Err(error));
                }
                found.set(i);
            }
            at += u64::from(len);
        }
        Some(Ok(found))
    }

    /// Stages what the trash holds of `contents`. Returns which those are.
    pub fn salvage(&mut self, contents: &[(ContentId, u64)]) -> Result<Vec<ContentId>, ItemError> {
        self.may_stage()?;
        let held = |content: &ContentId| self.trash.get(content).map(|bytes| (*content, bytes.to_vec()));
        let found: Vec<_> = contents.iter().filter_map(|(content, _)| held(content)).collect();
        let ids = found.iter().map(|(content, _)| *content).collect();
        for (content, bytes) in found {
            self.stage_whole(content, bytes)?;
        }
        Ok(ids)
    }

    /// The bytes of a file that is as expected.
    pub fn read(&self, path: &RelPath, expect: &Stat) -> Option<Rc<Vec<u8>>> {
        let entry = self.entries.get(path).filter(|e| e.stat() == *expect)?;
        match &entry.node {
            Node::File(bytes) if !self.faults.read && !self.lost => Some(Rc::clone(bytes)),
            Node::Dir | Node::Symlink(_) | Node::File(_) => None,
        }
    }

    /// Stages a whole file.
    pub fn stage_whole(&mut self, content: ContentId, bytes: Vec<u8>) -> Result<(), ItemError> {
        self.may_stage()?;
        self.staged.insert(content, Staged { bytes, durable: Vec::new(), is_verified: true });
        Ok(())
    }

    /// Writes a part of a staged file.
    pub fn stage_part(&mut self, content: ContentId, size: u64, at: u64, part: &[u8]) -> Result<(), ItemError> {
        self.may_stage()?;
        let staged = self.staged.entry(content).or_default();
        staged.bytes.resize(usize::try_from(size).unwrap_or(usize::MAX), 0);
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        staged.bytes[at..at + part.len()].copy_from_slice(part);
        Ok(())
    }

    fn may_stage(&self) -> Result<(), ItemError> {
        let kind = if self.lost { Some(ItemErrorKind::RootLost) } else { self.faults.stage };
        kind.map_or(Ok(()), |kind| Err(trouble(kind)))
    }

    /// Makes a staged file durable.
    pub fn seal(&mut self, content: ContentId) -> Result<(), ItemError> {
        self.may_stage()?;
        match self.staged.get_mut(&content) {
            Some(staged) => {
                staged.durable.clone_from(&staged.bytes);
                Ok(())
            }
            None => Err(trouble(ItemErrorKind::Io)),
        }
    }

    /// Reads a staged file back and makes it durable.
    pub fn finish(&mut self, content: ContentId, size: u64) -> Result<bool, ItemError> {
        if self.lost || self.faults.read {
            return Err(trouble(ItemErrorKind::Io));
        }
        let Some(staged) = self.staged.get_mut(&content) else { return Ok(false) };
        staged.durable.clone_from(&staged.bytes);
        staged.is_verified = staged.bytes.len() as u64 == size && ContentId::of(&staged.bytes) == content;
        Ok(staged.is_verified)
    }

    /// Forgets a staged file.
    pub fn unstage(&mut self, content: ContentId) {
        self.staged.remove(&content);
    }

    /// Forgets every staged file but these.
    pub fn sweep(&mut self, keep: &[ContentId]) {
        self.staged.retain(|content, _| keep.contains(content) && !is_mutant(Mutant::SweptAll));
    }

    /// The power fails: of staged files, what was made durable is left, and of what was not, block by block, what
    /// `survives`.
    pub fn power_loss(&mut self, mut survives: impl FnMut() -> bool) {
        const BLOCK: usize = 64;
        for staged in self.staged.values_mut() {
            let old = &mut staged.durable;
            old.resize(staged.bytes.len(), 0);
            for (new, old) in staged.bytes.chunks_mut(BLOCK).zip(old.chunks(BLOCK)) {
                if !survives() {
                    new.copy_from_slice(old);
                }
            }
        }
    }

    /// Takes an operation back: it had not become durable. What a person did since stays.
    pub fn undo(&mut self, path: &RelPath, before: Option<Entry>, made: Option<&Stat>) {
        if self.entries.get(path).map(Entry::stat).as_ref() != made || !self.is_dir(&path.parent()) {
            return;
        }
        let is_dir = before.as_ref().is_some_and(|e| e.node == Node::Dir);
        if self.has_below(path) && !is_dir {
            return;
        }
        match before {
            Some(entry) => drop(self.entries.insert(path.clone(), entry)),
            None => drop(self.entries.remove(path)),
        }
    }

    /// One bit of one staged file flips that is still to be verified.
    pub fn rot(&mut self, draw: u64) -> Option<ContentId> {
        let draw = usize::try_from(draw).unwrap_or(0);
        let mut partial: Vec<_> = self.staged.iter_mut().filter(|(_, staged)| !staged.is_verified).collect();
        let picked = draw % partial.len().max(1);
        let (content, staged) = partial.get_mut(picked)?;
        let len = staged.bytes.len();
        let byte = staged.bytes.get_mut(draw / 7 % len.max(1))?;
        *byte ^= 1 << (draw % 8);
        staged.durable.clone_from(&staged.bytes);
        Some(**content)
    }

    /// Whether a power loss would leave this part of a staged file as it is.
    pub fn is_durable(&self, content: ContentId, part: &Range<usize>) -> bool {
        let Some(staged) = self.staged.get(&content) else { return false };
        let durable = staged.durable.get(part.clone());
        durable.is_some() && durable == staged.bytes.get(part.clone())
    }

    /// Whether anything of a content is staged.
    pub fn is_staged(&self, content: ContentId) -> bool {
        self.staged.contains_key(&content)
    }
}

impl Shows for Disk {
    fn paths(&self) -> impl Iterator<Item = &RelPath> {
        self.entries.keys()
    }

    fn face(&self, path: &RelPath) -> Option<Face> {
        self.entries.get(path).map(Entry::face)
    }

    fn holds(&self) -> BTreeSet<ContentId> {
        self.entries.values().filter_map(content_of).chain(self.trash.keys().copied()).collect()
    }
}

/// What identifies the content of a file or link.
pub fn content_of(entry: &Entry) -> Option<ContentId> {
    match &entry.node {
        Node::Dir => None,
        Node::File(_) => entry.content,
        Node::Symlink(target) => Some(ContentId::of(target)),
    }
}

/// The chunks of a file: lengths follow from the bytes, so that equal bytes have equal lists.
pub fn chunk(bytes: &[u8]) -> ChunkList {
    chunk_for(bytes, bytes.len() as u64)
}

/// The chunks of a file, of the sizes that one of `size` bytes has.
fn chunk_for(bytes: &[u8], size: u64) -> ChunkList {
    let mut list = ChunkList::default();
    let step = (usize::try_from(size).unwrap_or(usize::MAX) / 12).max(3);
    let mut at = 0;
    while at < bytes.len() {
        let len = (step / 2 + 1 + usize::from(bytes[at]) % step).min(bytes.len() - at);
        list.push(u32::try_from(len).unwrap_or(u32::MAX), *blake3::hash(&bytes[at..at + len]).as_bytes());
        at += len;
    }
    list
}

//! People: what they do to their disks, and what they may be held to have seen.

use crate::case::Act;
use crate::core::disk::{Disk, Entry, Node, content_of};
use crate::dice::{Dice, Domain};
use crate::oracle::Oracle;
use crate::scenario::{self, Scenario};
use std::collections::BTreeMap;
use std::rc::Rc;
use sync_core::{ContentId, DirPath, RelPath};

/// Names people like: few, so that they meet.
const NAMES: [&str; scenario::NAMES] = ["a", "b", "c.txt", "a-b", "d", "e.conflict-x"];
/// Permission bits people set.
const MODES: [u32; 3] = [0o644, 0o600, 0o755];

/// One person at one device.
#[derive(Debug)]
pub(super) struct User {
    host: usize,
    /// The choices of the act under way, and its number.
    dice: Dice,
    step: u32,
    largest: u64,
    names: usize,
    bulky: u64,
    /// Contents saved so far, to be saved again now and then.
    saved: Vec<Rc<Vec<u8>>>,
}

/// The disk and the ledger a person acts on.
pub(super) struct Desk<'a> {
    /// The disk.
    pub(super) disk: &'a mut Disk,
    /// The ledger.
    pub(super) oracle: &'a mut Oracle,
    /// Paths whose version shows at two places, with the other one.
    pub(super) twins: BTreeMap<RelPath, RelPath>,
}

/// An act, and where: at a path of the person's choice, unless it has a target.
#[derive(Clone, Debug)]
pub(super) struct Doing {
    /// Its number: what is written bears it.
    pub(super) step: u32,
    /// What.
    pub(super) act: Act,
    /// Decides what depends on what is there.
    pub(super) draw: u64,
    /// Where.
    pub(super) target: Option<RelPath>,
}

impl User {
    /// The person at `host`.
    pub(super) fn new(host: usize, scenario: &Scenario) -> Self {
        let Scenario { largest, names, bulky, .. } = *scenario;
        Self { host, dice: Dice::new(0, Domain::Person, 0), step: 0, largest, names, bulky, saved: Vec::new() }
    }

    /// Does something. Returns the paths that the watcher will name.
    pub(super) fn act(&mut self, doing: Doing, desk: &mut Desk<'_>) -> Vec<RelPath> {
        self.dice = Dice::new(doing.draw, Domain::Person, self.host as u64);
        self.step = doing.step;
        let target = doing.target;
        match doing.act {
            Act::Save => self.save(target, desk),
            Act::AtomicSave => self.save_atomically(target, desk),
            Act::QuietSave => self.save_quietly(target, desk),
            Act::SaveAgain => self.save_again(target, desk),
            Act::Delete => self.delete(target, desk),
            Act::DeleteAll => self.delete_all(desk),
            Act::Touch => self.touch(target, desk),
            Act::Rename => self.rename(target, desk),
            Act::Swap => self.swap(desk),
            Act::MakeDir => self.make_dir(target, desk),
            Act::Link => self.link(target, desk),
            Act::ChangeType => self.change_type(target, desk),
            Act::SettleCopy => self.settle_copy(desk),
        }
    }

    /// A path in a directory that is there.
    fn free_path(&mut self, disk: &Disk) -> RelPath {
        let mut dir = DirPath::ROOT;
        for _ in 0..self.dice.range(0, 3) {
            let inside: Vec<RelPath> = disk
                .entries()
                .iter()
                .filter(|(p, e)| e.node == Node::Dir && p.parent() == dir)
                .map(|(p, _)| p.clone())
                .collect();
            let Some(next) = self.dice.pick(&inside) else { break };
            dir = DirPath::from(next.clone());
        }
        let name = NAMES[self.dice.index(self.names.clamp(1, NAMES.len()))];
        let text = if dir.as_path().is_none() { name.into() } else { [dir.as_bytes(), b"/", name.as_bytes()].concat() };
        // The names are names, and depth is bounded by the loop above.
        RelPath::new(&text).unwrap_or_else(|_| unreachable!("a path of known names"))
    }

    fn existing(&mut self, target: Option<RelPath>, disk: &Disk) -> Option<RelPath> {
        let there = target.filter(|t| disk.get(t).is_some());
        let all: Vec<&RelPath> = disk.entries().keys().collect();
        there.or_else(|| self.dice.pick(&all).map(|p| (*p).clone()))
    }

    fn existing_file(&mut self, target: Option<RelPath>, disk: &Disk) -> Option<RelPath> {
        let is_file = |e: &Entry| matches!(e.node, Node::File(_));
        let there = target.filter(|t| disk.get(t).is_some_and(is_file));
        let all: Vec<&RelPath> = disk.entries().iter().filter(|(_, e)| is_file(e)).map(|(p, _)| p).collect();
        there.or_else(|| self.dice.pick(&all).map(|p| (*p).clone()))
    }

    /// Where a file may be saved: in a directory, and not over one.
    fn place(&mut self, target: Option<RelPath>, disk: &Disk) -> Option<RelPath> {
        let path = match target {
            Some(target) if disk.is_dir(&target.parent()) => target,
            _ if self.dice.percent(40) => self.existing_file(None, disk)?,
            _ => self.free_path(disk),
        };
        disk.get(&path).is_none_or(|e| e.node != Node::Dir).then_some(path)
    }

    fn fresh_bytes(&mut self) -> Rc<Vec<u8>> {
        let largest = self.largest;
        let len = match self.dice.range(0, 100) {
            n if n < self.bulky => self.dice.range(10, largest),
            n if n < 50 => self.dice.range(10, 60),
            n if n < 90 => self.dice.range(10, largest.min(2_000)),
            _ => 0,
        };
        let mut bytes = format!("host {} step {} ", self.host, self.step).into_bytes();
        let len = usize::try_from(len).unwrap_or(0);
        if len == 0 && self.dice.percent(50) {
            return Rc::new(Vec::new());
        }
        let mut filler = self.dice.clone();
        while bytes.len() < len {
            bytes.extend_from_slice(&filler.draw().to_le_bytes());
        }
        bytes.truncate(len.max(20));
        Rc::new(bytes)
    }

    fn save(&mut self, target: Option<RelPath>, desk: &mut Desk<'_>) -> Vec<RelPath> {
        let fresh = self.fresh_bytes();
        let Some(path) = self.place(target, desk.disk) else { return Vec::new() };
        let bytes = self.edited(&path, fresh, desk);
        self.saved.push(Rc::clone(&bytes));
        self.save_at(path, bytes, desk)
    }

    /// What is saved over a large file is often that file with a part overwritten or inserted.
    fn edited(&self, path: &RelPath, fresh: Rc<Vec<u8>>, desk: &Desk<'_>) -> Rc<Vec<u8>> {
        // Of dice of its own: all else is as it would be.
        let mut dice = self.dice.clone();
        let Some(Node::File(held)) = desk.disk.get(path).map(|entry| &entry.node) else { return fresh };
        if held.len() < 2_000 || fresh.is_empty() || dice.percent(40) {
            return fresh;
        }
        let part = &fresh[..fresh.len().min(40)];
        let at = dice.index(held.len() - part.len());
        let after = if dice.percent(50) { at } else { at + part.len() };
        Rc::new([&held[..at], part, &held[after..]].concat())
    }

    fn save_again(&mut self, target: Option<RelPath>, desk: &mut Desk<'_>) -> Vec<RelPath> {
        match self.dice.pick(&self.saved).cloned() {
            Some(bytes) => self.save_bytes(target, bytes, desk),
            None => self.save(target, desk),
        }
    }

    fn save_bytes(&mut self, target: Option<RelPath>, bytes: Rc<Vec<u8>>, desk: &mut Desk<'_>) -> Vec<RelPath> {
        match self.place(target, desk.disk) {
            Some(path) => self.save_at(path, bytes, desk),
            None => Vec::new(),
        }
    }

    fn save_at(&mut self, path: RelPath, bytes: Rc<Vec<u8>>, desk: &mut Desk<'_>) -> Vec<RelPath> {
        desk.oracle.wrote(ContentId::of(&bytes));
        self.gone(&path, desk);
        let fresh = MODES[self.dice.index(2)];
        let mode = desk.disk.get(&path).map_or(fresh, |e| e.mode);
        let in_place = self.dice.percent(50);
        desk.disk.put(&path, Node::File(bytes), mode, None, in_place);
        self.note(&path, desk);
        vec![path]
    }

    /// What shows at `path` is about to go by this person's hand.
    fn gone(&self, path: &RelPath, desk: &mut Desk<'_>) {
        let Some(content) = desk.disk.get(path).and_then(content_of) else { return };
        let shows = |twin: &&RelPath| desk.disk.get(twin).and_then(content_of) == Some(content);
        match desk.twins.get(path).filter(shows) {
            Some(twin) => desk.oracle.halved(content, self.host, path, twin),
            None => desk.oracle.superseded(content),
        }
    }

    fn note(&self, path: &RelPath, desk: &mut Desk<'_>) {
        desk.oracle.touched(self.host, path, desk.disk.get(path).map(Entry::face));
    }

    fn remove_tree(&self, path: &RelPath, desk: &mut Desk<'_>) {
        for path in desk.disk.tree(path).into_iter().rev() {
            self.gone(&path, desk);
            desk.disk.take(&path);
            self.note(&path, desk);
        }
    }

    fn delete(&mut self, target: Option<RelPath>, desk: &mut Desk<'_>) -> Vec<RelPath> {
        let Some(path) = self.existing(target, desk.disk) else { return Vec::new() };
        self.remove_tree(&path, desk);
        vec![path]
    }

    fn touch(&mut self, target: Option<RelPath>, desk: &mut Desk<'_>) -> Vec<RelPath> {
        let Some(path) = self.existing(target, desk.disk) else { return Vec::new() };
        let Some(entry) = desk.disk.get(&path) else { return Vec::new() };
        let (mode, mtime) = match entry.node {
            Node::Dir => (Some(0o700 | MODES[self.dice.index(3)]), None),
            Node::File(_) if self.dice.percent(50) => (Some(MODES[self.dice.index(3)]), None),
            Node::File(_) => (None, Some(desk.disk.wall)),
            Node::Symlink(_) => return Vec::new(),
        };
        desk.disk.touch(&path, mode, mtime);
        self.note(&path, desk);
        vec![path]
    }

    fn rename(&mut self, target: Option<RelPath>, desk: &mut Desk<'_>) -> Vec<RelPath> {
        let Some(from) = self.existing(target, desk.disk) else { return Vec::new() };
        let to = if self.dice.percent(20) { self.existing_file(None, desk.disk) } else { None };
        let to = to.unwrap_or_else(|| self.free_path(desk.disk));
        let is_dir = desk.disk.get(&from).is_some_and(|e| e.node == Node::Dir);
        let over = desk.disk.get(&to).map(|e| e.node == Node::Dir);
        if to == from || to.is_below(&from) || over == Some(true) || (is_dir && over.is_some()) {
            return Vec::new();
        }
        self.gone(&to, desk);
        desk.disk.take(&to);
        let tree = desk.disk.tree(&from);
        desk.disk.rename(&from, &to);
        for path in tree.into_iter().chain(desk.disk.tree(&to)) {
            self.note(&path, desk);
        }
        vec![from, to]
    }

    fn make_dir(&mut self, target: Option<RelPath>, desk: &mut Desk<'_>) -> Vec<RelPath> {
        let path = target.unwrap_or_else(|| self.free_path(desk.disk));
        if desk.disk.get(&path).is_some() || !desk.disk.is_dir(&path.parent()) {
            return Vec::new();
        }
        desk.disk.put(&path, Node::Dir, 0o755, None, false);
        self.note(&path, desk);
        vec![path]
    }

    fn link(&mut self, target: Option<RelPath>, desk: &mut Desk<'_>) -> Vec<RelPath> {
        let Some(path) = self.place(target, desk.disk) else { return Vec::new() };
        let to = format!("to-{}-{}", self.host, self.step).into_bytes();
        desk.oracle.wrote(ContentId::of(&to));
        self.gone(&path, desk);
        desk.disk.put(&path, Node::Symlink(Rc::new(to)), 0o777, None, false);
        self.note(&path, desk);
        vec![path]
    }

    fn change_type(&mut self, target: Option<RelPath>, desk: &mut Desk<'_>) -> Vec<RelPath> {
        let Some(path) = self.existing(target, desk.disk) else { return Vec::new() };
        let was_dir = desk.disk.get(&path).is_some_and(|e| e.node == Node::Dir);
        self.remove_tree(&path, desk);
        if was_dir {
            let bytes = self.fresh_bytes();
            desk.oracle.wrote(ContentId::of(&bytes));
            desk.disk.put(&path, Node::File(bytes), 0o644, None, false);
        } else {
            desk.disk.put(&path, Node::Dir, 0o755, None, false);
        }
        self.note(&path, desk);
        vec![path]
    }

    /// Writes beside the file and renames over it, as editors do.
    fn save_atomically(&mut self, target: Option<RelPath>, desk: &mut Desk<'_>) -> Vec<RelPath> {
        let Some(path) = self.place(target, desk.disk) else { return Vec::new() };
        let beside = RelPath::new(&[path.as_bytes(), b".tmp"].concat());
        let Ok(beside) = beside else { return Vec::new() };
        let named = self.save(Some(beside.clone()), desk);
        if named.is_empty() || desk.disk.get(&beside).is_none_or(|e| e.node == Node::Dir) {
            return named;
        }
        self.gone(&path, desk);
        desk.disk.take(&path);
        desk.disk.rename(&beside, &path);
        self.note(&beside, desk);
        self.note(&path, desk);
        vec![beside, path]
    }

    /// Changes a file in place, to as many bytes, and sets its time back.
    fn save_quietly(&mut self, target: Option<RelPath>, desk: &mut Desk<'_>) -> Vec<RelPath> {
        let Some(path) = self.existing_file(target, desk.disk) else { return Vec::new() };
        let Some(Entry { node: Node::File(old), mode, mtime_ns, .. }) = desk.disk.get(&path).cloned() else {
            return Vec::new();
        };
        let mut bytes = (*old).clone();
        let mark = format!("{}/{} ", self.host, self.step).into_bytes();
        let len = mark.len().min(bytes.len());
        bytes[..len].copy_from_slice(&mark[..len]);
        desk.oracle.wrote(ContentId::of(&bytes));
        self.gone(&path, desk);
        desk.disk.put(&path, Node::File(Rc::new(bytes)), mode, Some(mtime_ns), true);
        self.note(&path, desk);
        vec![path]
    }

    fn delete_all(&self, desk: &mut Desk<'_>) -> Vec<RelPath> {
        let top: Vec<RelPath> = desk.disk.entries().keys().filter(|p| p.parent() == DirPath::ROOT).cloned().collect();
        top.iter().for_each(|path| self.remove_tree(path, desk));
        top
    }

    /// Two files change places.
    fn swap(&mut self, desk: &mut Desk<'_>) -> Vec<RelPath> {
        let (a, b) = (self.existing_file(None, desk.disk), self.existing_file(None, desk.disk));
        let (Some(a), Some(b)) = (a, b) else { return Vec::new() };
        let Ok(aside) = RelPath::new(b"aside") else { return Vec::new() };
        if a == b || desk.disk.get(&aside).is_some() {
            return Vec::new();
        }
        for (from, to) in [(&a, &aside), (&b, &a), (&aside, &b)] {
            desk.disk.rename(from, to);
        }
        for path in [&a, &b, &aside] {
            self.note(path, desk);
        }
        vec![a, b, aside]
    }

    /// Does something about a conflict copy, if there is one.
    fn settle_copy(&mut self, desk: &mut Desk<'_>) -> Vec<RelPath> {
        let is_copy = |p: &RelPath| p.as_bytes().windows(10).any(|w| w == b".conflict-");
        let copies: Vec<RelPath> = desk.disk.entries().keys().filter(|p| is_copy(p)).cloned().collect();
        let copy = self.dice.pick(&copies).cloned();
        match (copy, self.dice.range(0, 3)) {
            (None, _) => Vec::new(),
            (copy, 0) => self.delete(copy, desk),
            (copy, 1) => self.rename(copy, desk),
            (copy, _) => self.save(copy, desk),
        }
    }
}

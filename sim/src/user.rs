//! People: what they do to their disks, and what they may be held to have seen.

use crate::dice::Dice;
use crate::disk::{Disk, Entry, Node, content_of};
use crate::oracle::Oracle;
use std::rc::Rc;
use sync_core::{ContentId, DirPath, RelPath};

/// Names people like: few, so that they meet.
const NAMES: [&str; 6] = ["a", "b", "c.txt", "a-b", "d", "e.conflict-x"];
/// Permission bits people set.
const MODES: [u32; 3] = [0o644, 0o600, 0o755];

/// One person at one device.
#[derive(Debug)]
pub struct User {
    host: usize,
    dice: Dice,
    largest: u64,
    /// Contents saved so far, to be saved again now and then.
    saved: Vec<Rc<Vec<u8>>>,
    written: u64,
}

/// The disk and the ledger a person acts on.
pub struct Desk<'a> {
    /// The disk.
    pub disk: &'a mut Disk,
    /// The ledger.
    pub oracle: &'a mut Oracle,
}

impl User {
    /// The person at `host`.
    pub fn new(seed: u64, host: usize, largest: u64) -> Self {
        Self { host, dice: Dice::new(seed, 2, host as u64), largest, saved: Vec::new(), written: 0 }
    }

    /// Does something, to `target` if it is given. Returns the paths that the watcher will name.
    pub fn act(&mut self, target: Option<RelPath>, desk: &mut Desk<'_>) -> Vec<RelPath> {
        match self.dice.range(0, 100) {
            0..30 => self.save(target, desk),
            30..45 => self.delete(target, desk),
            45..53 => self.touch(target, desk),
            53..66 => self.rename(target, desk),
            66..76 => self.make_dir(target, desk),
            76..82 => self.link(target, desk),
            82..90 => self.change_type(target, desk),
            _ => self.save_again(target, desk),
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
        let name = NAMES[self.dice.index(NAMES.len())];
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
        self.written += 1;
        let largest = self.largest;
        let len = match self.dice.range(0, 10) {
            0 => 0,
            1..5 => self.dice.range(10, 60),
            5..9 => self.dice.range(10, largest.min(2_000)),
            _ => self.dice.range(10, largest),
        };
        let mut bytes = format!("host {} text {} ", self.host, self.written).into_bytes();
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
        let bytes = self.fresh_bytes();
        self.saved.push(Rc::clone(&bytes));
        self.save_bytes(target, bytes, desk)
    }

    fn save_again(&mut self, target: Option<RelPath>, desk: &mut Desk<'_>) -> Vec<RelPath> {
        match self.dice.pick(&self.saved).cloned() {
            Some(bytes) => self.save_bytes(target, bytes, desk),
            None => self.save(target, desk),
        }
    }

    fn save_bytes(&mut self, target: Option<RelPath>, bytes: Rc<Vec<u8>>, desk: &mut Desk<'_>) -> Vec<RelPath> {
        let Some(path) = self.place(target, desk.disk) else { return Vec::new() };
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
        if let Some(content) = desk.disk.get(path).and_then(content_of) {
            desk.oracle.superseded(content);
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
        self.written += 1;
        let to = format!("to-{}-{}", self.host, self.written).into_bytes();
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
}

//! People at real folders, who do not know what the devices are doing just now. Whatever a person does away with is
//! looked at in such a way that it is certain what it was, though a device may put something else there meanwhile.

use crate::directory::Directory;
use crate::ledger::Ledger;
use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use sim::dice::{Dice, Domain};
use sim::oracle::{Face, Shows};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use sync_core::{ContentId, DirPath, RelPath};

/// Names people like: few, so that they meet.
const NAMES: [&str; 6] = ["a", "b", "c.txt", "d", "e.rs", "two words"];
/// Permission bits people set.
const MODES: [u32; 3] = [0o644, 0o600, 0o755];
/// The largest file: several chunks.
const LARGEST: u64 = 300_000;

/// The person at one device.
pub(crate) struct Person {
    host: usize,
    root: PathBuf,
    /// A directory on the same disk, outside of the folder.
    aside: PathBuf,
    dice: Dice,
    step: u32,
}

impl Person {
    /// The person at `host`, whose folder is at `root`.
    pub(crate) fn new(seed: u64, host: usize, root: &Path) -> Self {
        let aside = root.with_extension("aside");
        fs::create_dir(&aside).unwrap();
        Self { host, root: root.to_owned(), aside, dice: Dice::new(seed, Domain::ShellPeople, host as u64), step: 0 }
    }

    /// Does one thing; nothing that needs room, if there is none.
    pub(crate) fn act(&mut self, ledger: &mut Ledger, is_full: bool) {
        self.step += 1;
        let seen = Directory::shown(&self.root);
        let (kind, place) = (self.dice.range(0, 100), self.place(&seen));
        let (any, file, free) = (self.existing(&seen, false), self.existing(&seen, true), self.free(&seen));
        let size = self.size();
        match (kind, any, file) {
            (0..24, ..) if !is_full => self.save(&place, size, ledger),
            (24..40, ..) if !is_full => self.save_aside(&place, size, &seen, ledger),
            (40..54, _, Some(file)) if !is_full => self.edit(&file, ledger),
            (54..66, _, Some(file)) => self.delete(&file, ledger),
            (66..69, Some(any), _) => self.take_out(&any, ledger),
            (69..78, Some(from), _) => self.rename(&from, &free, &seen, ledger),
            (78..82, _, Some(from)) => self.rename(&from, &place, &seen, ledger),
            (82..88, ..) => self.make_dir(&free, ledger),
            (88..92, ..) => self.link(&free, ledger),
            (92..96, Some(any), _) => self.set_mode(&any, ledger),
            (96..100, Some(any), _) if !is_full => self.change_type(&any, &seen, ledger),
            _ if !is_full => self.save(&free, size, ledger),
            _ => {}
        }
    }

    fn at(&self, path: &RelPath) -> PathBuf {
        self.root.join(OsStr::from_bytes(path.as_bytes()))
    }

    fn note(&self, ledger: &mut Ledger, what: &str, path: &RelPath) {
        ledger.note(format!("host {}: {what} {:?}", self.host, path.display()));
    }

    /// A path in a directory that is there.
    fn free(&mut self, seen: &Directory) -> RelPath {
        let mut dir = DirPath::ROOT;
        for _ in 0..self.dice.range(0, 3) {
            let inside = seen.faces().iter().filter(|(p, f)| matches!(f, Face::Dir(_)) && p.parent() == dir);
            let inside: Vec<&RelPath> = inside.map(|(p, _)| p).collect();
            let Some(next) = self.dice.pick(&inside) else { break };
            dir = DirPath::from((*next).clone());
        }
        let name = NAMES[self.dice.index(NAMES.len())].as_bytes();
        let path = if dir.as_path().is_none() { name.into() } else { [dir.as_bytes(), b"/", name].concat() };
        RelPath::new(&path).unwrap()
    }

    fn existing(&mut self, seen: &Directory, is_file: bool) -> Option<RelPath> {
        let fits = |face: &Face| !is_file || matches!(face, Face::File(..));
        let all: Vec<&RelPath> = seen.faces().iter().filter(|(_, face)| fits(face)).map(|(path, _)| path).collect();
        self.dice.pick(&all).map(|path| (*path).clone())
    }

    /// Where to save: over a file as often as not.
    fn place(&mut self, seen: &Directory) -> RelPath {
        let there = if self.dice.percent(50) { self.existing(seen, true) } else { None };
        there.unwrap_or_else(|| self.free(seen))
    }

    fn size(&mut self) -> u64 {
        match self.dice.range(0, 20) {
            0 => 0,
            1..17 => self.dice.range(20, 4_000),
            _ => self.dice.range(20, LARGEST),
        }
    }

    /// Bytes that no other file has, but for the empty one.
    fn bytes(&self, size: u64) -> Vec<u8> {
        let mut bytes = format!("host {} step {} ", self.host, self.step).into_bytes();
        let mut filler = self.dice.clone();
        while (bytes.len() as u64) < size {
            bytes.extend(filler.draw().to_le_bytes());
        }
        if size == 0 { Vec::new() } else { bytes }
    }

    /// Opens a file, if one is there; never through a link.
    fn open(&self, path: &RelPath) -> Option<File> {
        let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap();
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(self.at(path)).ok()?;
        file.metadata().unwrap().is_file().then_some(file)
    }

    /// A person leaves `content` in a file that was opened at `path`, unless a device has put another there.
    fn leave(&self, file: &File, path: &RelPath, content: ContentId, ledger: &mut Ledger) {
        let mine = file.metadata().unwrap();
        match fs::symlink_metadata(self.at(path)) {
            Ok(there) if there.ino() == mine.ino() => {
                let mtime = mine.mtime() * 1_000_000_000 + mine.mtime_nsec();
                ledger.left(self.host, path, Face::File(content, mine.mode() & 0o777, mtime));
            }
            _ => ledger.raced(self.host, path),
        }
    }

    /// A person leaves whatever shows at `path` and below.
    fn leave_all(&self, path: &RelPath, ledger: &mut Ledger) {
        for (path, face) in Directory::shown(&self.root).faces().iter().filter(|(p, _)| *p == path || p.is_below(path))
        {
            ledger.left(self.host, path, face.clone());
        }
    }

    /// Cuts the file short and writes it anew, or makes it.
    fn save(&self, path: &RelPath, size: u64, ledger: &mut Ledger) {
        let bytes = self.bytes(size);
        let content = ContentId::of(&bytes);
        let file = if let Some(mut file) = self.open(path) {
            ledger.writes(ContentId::of(b""));
            ledger.oracle.superseded(content_of(&mut file));
            file.set_len(0).unwrap();
            Some(file)
        } else {
            let mode = MODES[usize::try_from(size % 2).unwrap()];
            OpenOptions::new().write(true).create_new(true).mode(mode).open(self.at(path)).ok()
        };
        let Some(file) = file else { return };
        ledger.writes(content);
        self.note(ledger, &format!("saves {} ({size} bytes) as", content.short()), path);
        file.write_all_at(&bytes, 0).unwrap();
        self.leave(&file, path, content, ledger);
    }

    /// Writes a new file beside the old one and renames it over that, as editors do.
    fn save_aside(&self, path: &RelPath, size: u64, seen: &Directory, ledger: &mut Ledger) {
        let beside = RelPath::new(&[path.as_bytes(), b".tmp"].concat()).unwrap();
        if !matches!(seen.face(path), None | Some(Face::File(..))) {
            return;
        }
        let new = OpenOptions::new().write(true).create_new(true).mode(0o644).open(self.at(&beside));
        let Ok(mut new) = new else { return };
        let bytes = self.bytes(size);
        let content = ContentId::of(&bytes);
        ledger.writes(ContentId::of(b""));
        ledger.writes(content);
        self.note(ledger, &format!("saves {} ({size} bytes) beside", content.short()), path);
        new.write_all(&bytes).unwrap();
        self.leave(&new, &beside, content, ledger);
        if self.replace(&beside, path, ledger) {
            ledger.took(self.host, &beside);
            self.leave(&new, path, content, ledger);
        } else {
            self.take_out(&beside, ledger);
        }
    }

    /// Renames over the file at `to`, or to where nothing is. Returns whether it could be.
    fn replace(&self, from: &RelPath, to: &RelPath, ledger: &mut Ledger) -> bool {
        let Some(mut old) = self.open(to) else {
            return renameat_with(CWD, self.at(from), CWD, self.at(to), RenameFlags::NOREPLACE).is_ok();
        };
        let content = content_of(&mut old);
        if fs::rename(self.at(from), self.at(to)).is_err() {
            return false;
        }
        self.did_away(&old, content, to, ledger);
        true
    }

    /// What was at `path` is gone by this person's hand: `old`, unless a device put something else there before.
    fn did_away(&self, old: &File, content: ContentId, path: &RelPath, ledger: &mut Ledger) {
        if old.metadata().unwrap().nlink() == 0 {
            ledger.oracle.superseded(content);
        } else {
            ledger.removed_unseen(self.host, path);
        }
    }

    /// Writes over the beginning of a file, and at times sets its time back.
    fn edit(&mut self, path: &RelPath, ledger: &mut Ledger) {
        let Some(mut file) = self.open(path) else { return };
        let before = file.metadata().unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        let mark = format!("{}/{} ", self.host, self.step).into_bytes();
        let old = ContentId::of(&bytes);
        bytes.resize(bytes.len().max(mark.len()), 0);
        bytes[..mark.len()].copy_from_slice(&mark);
        let content = ContentId::of(&bytes);
        ledger.oracle.superseded(old);
        ledger.writes(content);
        self.note(ledger, &format!("edits in place to {}", content.short()), path);
        file.write_all_at(&bytes[..mark.len()], 0).unwrap();
        if self.dice.percent(30) {
            file.set_modified(before.modified().unwrap()).unwrap();
        }
        self.leave(&file, path, content, ledger);
    }

    fn delete(&self, path: &RelPath, ledger: &mut Ledger) {
        let Some(mut old) = self.open(path) else { return };
        let content = content_of(&mut old);
        if fs::remove_file(self.at(path)).is_err() {
            return;
        }
        self.note(ledger, &format!("deletes {} at", content.short()), path);
        ledger.took(self.host, path);
        self.did_away(&old, content, path, ledger);
    }

    /// Moves `path` and all below out of the folder, and drops it there.
    fn take_out(&self, path: &RelPath, ledger: &mut Ledger) {
        let out = self.aside.join("out");
        if fs::rename(self.at(path), &out).is_err() {
            return;
        }
        self.note(ledger, "moves out", path);
        for (place, face) in Directory::shown(&self.aside).faces() {
            let below = place.as_bytes().strip_prefix(b"out").unwrap();
            ledger.took(self.host, &RelPath::new(&[path.as_bytes(), below].concat()).unwrap());
            face.content().into_iter().for_each(|content| ledger.oracle.superseded(content));
        }
        if fs::symlink_metadata(&out).unwrap().is_dir() {
            fs::remove_dir_all(&out).unwrap();
        } else {
            fs::remove_file(&out).unwrap();
        }
    }

    fn rename(&self, from: &RelPath, to: &RelPath, seen: &Directory, ledger: &mut Ledger) {
        let is_dir = matches!(seen.face(from), Some(Face::Dir(_)));
        let over = seen.face(to);
        if from == to || to.is_below(from) || from.is_below(to) || is_dir && over.is_some() {
            return;
        }
        if !self.replace(from, to, ledger) {
            return;
        }
        self.note(ledger, &format!("renames {:?} to", from.display()), to);
        for path in seen.faces().keys().filter(|p| *p == from || p.is_below(from)) {
            ledger.took(self.host, path);
        }
        self.leave_all(to, ledger);
    }

    fn make_dir(&self, path: &RelPath, ledger: &mut Ledger) {
        if fs::create_dir(self.at(path)).is_ok() {
            self.note(ledger, "makes the directory", path);
            self.leave_all(path, ledger);
        }
    }

    fn link(&self, path: &RelPath, ledger: &mut Ledger) {
        let target = format!("to {} {}", self.host, self.step);
        ledger.writes(ContentId::of(target.as_bytes()));
        if symlink(&target, self.at(path)).is_ok() {
            self.note(ledger, "makes the link", path);
            self.leave_all(path, ledger);
        }
    }

    fn set_mode(&mut self, path: &RelPath, ledger: &mut Ledger) {
        let at = self.at(path);
        let Ok(meta) = fs::symlink_metadata(&at) else { return };
        let mode = MODES[self.dice.index(3)] | if meta.is_dir() { 0o700 } else { 0 };
        if meta.is_symlink() || fs::set_permissions(&at, Permissions::from_mode(mode)).is_err() {
            return;
        }
        self.note(ledger, &format!("sets mode {mode:o} of"), path);
        if let Some(face) = Directory::shown(&self.root).face(path) {
            ledger.left(self.host, path, face);
        }
    }

    fn change_type(&self, path: &RelPath, seen: &Directory, ledger: &mut Ledger) {
        self.take_out(path, ledger);
        if matches!(seen.face(path), Some(Face::Dir(_))) {
            self.save(path, 100, ledger);
        } else {
            self.make_dir(path, ledger);
        }
    }
}

/// What a file holds, read from its beginning.
fn content_of(file: &mut File) -> ContentId {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    ContentId::of(&bytes)
}

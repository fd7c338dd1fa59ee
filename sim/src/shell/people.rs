//! People at their hosts: they save, change, move and delete real files, at any moment, and like the same few names.

use super::host::Host;
use super::tree::Tree;
use crate::dice::{Dice, Domain};
use crate::oracle::{Face, Oracle, Shows};
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use sync_core::{ContentId, RelPath};

/// What every file and every name that people make holds, and no datagram may.
pub const CANARY: &str = "kanarienvogel";
/// Names they use.
pub const NAMES: u64 = 7;
/// Directories they use.
const DIRS: u64 = 3;

/// The person at one host.
pub struct Person {
    dice: Dice,
    largest: u64,
    edits: u64,
    /// What it has open.
    open: Vec<File>,
}

/// The person's hands: one host's folder at one moment.
struct Hands<'w> {
    host: &'w Host,
    tree: &'w Tree,
    oracle: &'w mut Oracle,
    now: Duration,
    /// Paths whose change a watcher would notice.
    changed: Vec<String>,
}

impl Person {
    /// The person at host number `host`, whose files have up to `largest` bytes.
    pub fn new(seed: u64, host: u64, largest: u64) -> Self {
        Self { dice: Dice::new(seed, Domain::ShellPeople, host), largest, edits: 0, open: Vec::new() }
    }

    /// Does one thing to the folder, which shows `tree`. Returns the paths that have changed.
    ///
    /// # Errors
    /// The operating system's.
    pub fn act(&mut self, host: &Host, tree: &Tree, oracle: &mut Oracle, now: Duration) -> io::Result<Vec<String>> {
        self.edits += 1;
        let mut hands = Hands { host, tree, oracle, now, changed: Vec::new() };
        let things = hands.names(|face| !matches!(face, Face::Dir(_)));
        let files = hands.names(|face| matches!(face, Face::File(..)));
        let dirs = hands.names(|face| matches!(face, Face::Dir(_)));
        match self.dice.range(0, 100) {
            0..40 => {
                let name = self.name(&dirs);
                self.save(&mut hands, &name)?;
            }
            40..60 => {
                if let Some(name) = self.dice.pick(&files).cloned() {
                    self.save(&mut hands, &name)?;
                }
            }
            60..75 => {
                if let Some(name) = self.dice.pick(&things) {
                    hands.delete(name)?;
                }
            }
            75..87 => {
                if let Some(from) = self.dice.pick(&things).cloned() {
                    hands.rename(&from, &self.name(&dirs))?;
                }
            }
            87..91 => {
                if let Some(from) = self.dice.pick(&dirs).cloned() {
                    let to = format!("{CANARY}-d{}", self.dice.range(0, DIRS));
                    hands.rename(&from, &to)?;
                }
            }
            91..93 => {
                if let Some(name) = self.dice.pick(&dirs) {
                    hands.delete(name)?;
                }
            }
            93..95 => {
                if let Some(name) = self.dice.pick(&files) {
                    hands.toggle(name)?;
                }
            }
            95..98 => {
                let name = self.name(&dirs);
                hands.link(&name, &format!("{CANARY}-to-{}-{}", hands.host.name, self.edits))?;
            }
            _ => hands.make_dir(&format!("{CANARY}-d{}", self.dice.range(0, DIRS)))?,
        }
        Ok(hands.changed)
    }

    /// Writes to each file it has open that is in the trash by now, and lets go of it; then opens whatever the folder shows.
    /// Returns to how many it wrote.
    ///
    /// # Errors
    /// The operating system's.
    pub fn write_late(&mut self, host: &Host, tree: &Tree, oracle: &mut Oracle) -> io::Result<u64> {
        let trashed = tree.trashed()?;
        let mut count = 0;
        for mut file in std::mem::take(&mut self.open) {
            let inode = file.metadata()?.ino();
            let Some((path, _)) = trashed.iter().find(|(_, meta)| meta.ino() == inode) else { continue };
            let was = ContentId::of(&fs::read(path)?);
            self.edits += 1;
            writeln!(file, "{CANARY} {} late, {}", host.name, self.edits)?;
            let is = ContentId::of(&fs::read(path)?);
            oracle.wrote_late(was, is);
            tracing::debug!(host = host.name, path = %path.display(), was = was.short(), is = is.short(), "wrote late");
            count += 1;
        }
        for (path, face) in tree.faces() {
            if matches!(face, Face::File(..)) {
                self.open.push(File::options().append(true).open(host.root.join(path.display()))?);
            }
        }
        Ok(count)
    }

    /// A name, in a directory as often as not.
    fn name(&mut self, dirs: &[String]) -> String {
        let name = format!("{CANARY}-{}.txt", self.dice.range(0, NAMES));
        match self.dice.range(0, 10) {
            0..6 => name,
            6 => format!("{CANARY}-d{}/{name}", self.dice.range(0, DIRS)),
            7 => format!("{CANARY}-d{}/{CANARY}-d0/{name}", self.dice.range(0, DIRS)),
            _ => self.dice.pick(dirs).map_or_else(|| name.clone(), |dir| format!("{dir}/{name}")),
        }
    }

    /// Bytes that no other file has, but for the empty one.
    fn bytes(&mut self, host: &str) -> Vec<u8> {
        let size = match self.dice.range(0, 10) {
            0 => return Vec::new(),
            1..8 => self.dice.range(1, self.largest.min(4_000)),
            _ => self.dice.range(1, self.largest),
        };
        let mut bytes = format!("{CANARY} {host} {}\n", self.edits).into_bytes();
        while (bytes.len() as u64) < size {
            bytes.extend(self.dice.draw().to_le_bytes());
        }
        bytes
    }

    fn save(&mut self, hands: &mut Hands<'_>, name: &str) -> io::Result<()> {
        let bytes = self.bytes(&hands.host.name);
        let executable = self.dice.percent(10);
        // As some programs do it: a new file beside the old one, and then a rename.
        let aside = self.dice.percent(40).then(|| format!("{CANARY}-tmp"));
        hands.save(name, &bytes, executable, aside)
    }
}

impl Hands<'_> {
    fn names(&self, wanted: impl Fn(&Face) -> bool) -> Vec<String> {
        self.tree.faces().filter(|(_, face)| wanted(face)).map(|(path, _)| path.display()).collect()
    }

    /// What `name` shows.
    fn face(&self, name: &str) -> Option<Face> {
        self.tree.face(&RelPath::new(name.as_bytes()).ok()?)
    }

    fn is_dir(&self, name: &str) -> bool {
        matches!(self.face(name), Some(Face::Dir(_)))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.host.root.join(name)
    }

    /// The instant that files get, which no two saves share.
    fn time(&self) -> SystemTime {
        let wall = self.host.clock.wall_at(self.now).0;
        SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(wall).unwrap_or(0))
    }

    /// Makes the directories around `name`; whether that can be.
    fn make_room(&mut self, name: &str) -> io::Result<bool> {
        let Some(parent) = Path::new(name).parent().filter(|parent| !parent.as_os_str().is_empty()) else {
            return Ok(true);
        };
        for dir in parent.ancestors().filter(|dir| !dir.as_os_str().is_empty()) {
            if self.face(&dir.to_string_lossy()).is_some_and(|face| !matches!(face, Face::Dir(_))) {
                return Ok(false);
            }
        }
        let shown = parent.to_string_lossy().into_owned();
        if self.face(&shown).is_none() {
            fs::create_dir_all(self.at(&shown))?;
            let first = shown.split('/').next().unwrap_or_default().to_owned();
            self.changed.push(first);
        }
        Ok(true)
    }

    fn save(&mut self, name: &str, bytes: &[u8], executable: bool, aside: Option<String>) -> io::Result<()> {
        if self.is_dir(name) || !self.make_room(name)? {
            return Ok(());
        }
        self.gone(name);
        let path = self.at(name);
        if matches!(self.face(name), Some(Face::Symlink(_))) {
            // Nobody wants to write through a link that leads nowhere.
            fs::remove_file(&path)?;
        }
        let to = aside.map_or_else(|| path.clone(), |aside| path.with_file_name(aside));
        fs::write(&to, bytes)?;
        fs::set_permissions(&to, Permissions::from_mode(if executable { 0o755 } else { 0o644 }))?;
        File::options().write(true).open(&to)?.set_modified(self.time())?;
        if to != path {
            fs::rename(&to, &path)?;
        }
        let content = ContentId::of(bytes);
        self.oracle.wrote(content);
        tracing::debug!(host = self.host.name, name, size = bytes.len(), content = content.short(), "saved");
        self.changed.push(name.to_owned());
        Ok(())
    }

    fn delete(&mut self, name: &str) -> io::Result<()> {
        self.gone(name);
        let path = self.at(name);
        if self.is_dir(name) {
            fs::remove_dir_all(path)?
        } else {
            fs::remove_file(path)?
        }
        tracing::debug!(host = self.host.name, name, "deleted");
        self.changed.push(name.to_owned());
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let below = |outer: &str, inner: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
        let (is_dir, there) = (self.is_dir(from), self.face(to));
        if from == to || below(from, to) || self.is_dir(to) || is_dir && there.is_some() {
            return Ok(());
        }
        if !self.make_room(to)? {
            return Ok(());
        }
        self.gone(to);
        fs::rename(self.at(from), self.at(to))?;
        tracing::debug!(host = self.host.name, from, to, "renamed");
        self.changed.extend([from.to_owned(), to.to_owned()]);
        Ok(())
    }

    fn toggle(&mut self, name: &str) -> io::Result<()> {
        let Some(Face::File(_, mode, _)) = self.face(name) else { return Ok(()) };
        let mode = if mode & 0o100 != 0 { 0o644 } else { 0o755 };
        fs::set_permissions(self.at(name), Permissions::from_mode(mode))?;
        self.changed.push(name.to_owned());
        Ok(())
    }

    fn make_dir(&mut self, name: &str) -> io::Result<()> {
        if self.face(name).is_none() {
            fs::create_dir(self.at(name))?;
            self.changed.push(name.to_owned());
        }
        Ok(())
    }

    /// Makes a link, which leads nowhere.
    fn link(&mut self, name: &str, to: &str) -> io::Result<()> {
        if self.is_dir(name) || !self.make_room(name)? {
            return Ok(());
        }
        self.gone(name);
        if self.face(name).is_some() {
            fs::remove_file(self.at(name))?;
        }
        symlink(to, self.at(name))?;
        self.oracle.wrote(ContentId::of(to.as_bytes()));
        tracing::debug!(host = self.host.name, name, to, "linked");
        self.changed.push(name.to_owned());
        Ok(())
    }

    /// Whoever deletes or overwrites `name` has seen what it showed, and what was below.
    fn gone(&mut self, name: &str) {
        let below = format!("{name}/");
        let is_gone =
            |path: &RelPath| path.as_bytes() == name.as_bytes() || path.as_bytes().starts_with(below.as_bytes());
        let contents = self.tree.faces().filter(|(path, _)| is_gone(path)).filter_map(|(_, face)| face.content());
        contents.for_each(|content| self.oracle.superseded(content));
    }
}

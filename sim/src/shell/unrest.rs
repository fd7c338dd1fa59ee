//! Everything that happens to hosts while nothing is at rest.

use super::plan::Trouble;
use super::world::World;
use crate::dice::{Dice, Domain};
use crate::outcome::Invariant;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};
use sync_core::ContentId;

/// How far a wall clock is wrong at most, nanoseconds.
const MAX_SKEW_NS: u64 = 3_600_000_000_000;

/// Something that happens to hosts.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Edit(usize),
    Crash(usize),
    Start(usize),
    Cut(usize, usize, bool),
    BadDisk(usize, bool),
    Skew(usize, i64),
    Root(usize, bool),
    Late(usize),
}

impl World {
    /// What happens in a round, by millisecond.
    fn agenda(&mut self) -> BTreeMap<(u64, u64), Happening> {
        let (from, until) = (self.now_ms, self.now_ms + self.plan.unrest_ms);
        let mut agenda = BTreeMap::new();
        let mut add = |at: u64, happening| {
            let number = agenda.len() as u64;
            agenda.insert((at, number), happening);
        };
        let (hosts, plan) = (self.hosts.len(), &self.plan);
        let dice = |domain: u64| Dice::new(self.seed, Domain::ShellWorld, domain << 32 | self.now_ms);
        let mut edits = dice(2);
        for host in 0..hosts {
            (0..plan.edits).for_each(|_| add(edits.range(from, until), Happening::Edit(host)));
        }
        let mut ends = dice(3);
        let mut span = |dice: &mut Dice, longest: u64| {
            let begin = dice.range(from, until);
            (begin, begin + ends.range(10, longest))
        };
        if plan.has(Trouble::Crash) {
            let mut dice = dice(4);
            for _ in 0..dice.range(1, 4) {
                let (host, (begin, end)) = (dice.index(hosts), span(&mut dice, 4_000));
                add(begin, Happening::Crash(host));
                add(end, Happening::Start(host));
            }
        }
        for (trouble, both) in [(Trouble::Partition, true), (Trouble::OneWay, false)] {
            if !plan.has(trouble) {
                continue;
            }
            let mut dice = dice(5 + u64::from(both));
            for _ in 0..dice.range(1, 5) {
                let a = dice.index(hosts);
                let b = (a + 1 + dice.index(hosts - 1)) % hosts;
                // Long enough, at times, for connections to be given up.
                let (begin, end) = span(&mut dice, 18_000);
                add(begin, Happening::Cut(a, b, true));
                add(end, Happening::Cut(a, b, false));
                if both {
                    add(begin, Happening::Cut(b, a, true));
                    add(end, Happening::Cut(b, a, false));
                }
            }
        }
        if plan.has(Trouble::Disk) {
            let mut dice = dice(7);
            for _ in 0..dice.range(1, 4) {
                let (host, (begin, end)) = (dice.index(hosts), span(&mut dice, 3_000));
                add(begin, Happening::BadDisk(host, true));
                add(end, Happening::BadDisk(host, false));
            }
        }
        if plan.has(Trouble::Root) {
            let mut dice = dice(9);
            for _ in 0..dice.range(1, 3) {
                let (host, (begin, end)) = (dice.index(hosts), span(&mut dice, 6_000));
                add(begin, Happening::Root(host, true));
                add(end, Happening::Root(host, false));
            }
        }
        if plan.has(Trouble::Skew) {
            let mut dice = dice(8);
            for _ in 0..dice.range(1, 4) {
                let far = i64::try_from(dice.range(0, 2 * MAX_SKEW_NS)).unwrap_or(0) - MAX_SKEW_NS.cast_signed();
                add(dice.range(from, until), Happening::Skew(dice.index(hosts), far));
            }
        }
        if plan.has(Trouble::Late) {
            let mut dice = dice(10);
            for _ in 0..dice.range(4, 16) {
                add(dice.range(from, until), Happening::Late(dice.index(hosts)));
            }
        }
        agenda
    }

    /// People work and everything goes wrong that the plan has.
    pub(super) fn unrest(&mut self) {
        self.set_ways(self.plan.way);
        let meddled = if self.plan.has(Trouble::Meddling) { self.plan.meddled_percent } else { 0 };
        self.hosts.iter().for_each(|host| host.disk.set_meddled(meddled));
        let agenda = self.agenda();
        for ((at, _), happening) in agenda {
            while self.now_ms < at && !self.is_over() {
                self.step();
            }
            if self.is_over() {
                return;
            }
            self.happen(happening);
        }
    }

    fn happen(&mut self, happening: Happening) {
        tracing::debug!(at_ms = self.now_ms, ?happening, "happens");
        match happening {
            Happening::Edit(host) => self.edit(host),
            Happening::Crash(host) => self.crash(host),
            Happening::Start(host) => self.start(host),
            Happening::Cut(a, b, cut) => {
                if cut {
                    self.count("partition");
                }
                self.cut(a, b, cut);
            }
            Happening::BadDisk(host, bad) => {
                self.hosts[host].disk.set_bad(if bad { self.plan.disk_percent } else { 0 });
            }
            Happening::Root(host, away) => self.move_root(host, away),
            Happening::Late(host) => self.write_late(host),
            Happening::Skew(host, far) => {
                self.count("skew");
                self.hosts[host].clock.skew_ns.store(far, Relaxed);
            }
        }
    }

    /// Moves a folder away, or back. What its host does meanwhile must not make one anew.
    pub(super) fn move_root(&mut self, host: usize, away: bool) {
        let root = self.hosts[host].root.clone();
        let aside = root.with_extension("away");
        if away == self.is_away(host) {
            return;
        }
        if away {
            self.count("root");
        } else if root.exists() {
            let what = format!("h{host} has made something where its folder was");
            return self.fail(Invariant::Containment, what);
        }
        let moved = if away { std::fs::rename(root, aside) } else { std::fs::rename(aside, root) };
        if let Err(error) = moved {
            self.fail(Invariant::Containment, format!("the folder of h{host} cannot be moved: {error}"));
        }
    }

    /// Whether a folder has been moved away.
    pub(super) fn is_away(&self, host: usize) -> bool {
        self.hosts[host].root.with_extension("away").exists()
    }

    fn edit(&mut self, host: usize) {
        if self.is_away(host) {
            return;
        }
        self.edits += 1;
        self.oracle.now = (self.now_ms * 1_000, 0);
        // Two saves at one moment have different times.
        let now = self.now() + Duration::from_nanos(self.edits);
        let acted = self.people[host].act(&self.hosts[host], &self.trees[host], &mut self.oracle, now);
        match acted {
            Ok(changed) => changed.iter().for_each(|path| self.hint(host, path)),
            Err(error) => self.fail(Invariant::Containment, format!("a person at h{host} was hindered: {error}")),
        }
        self.acted(host);
    }

    /// The person at a host writes to what it has open and was displaced, and opens whatever else it sees.
    fn write_late(&mut self, host: usize) {
        if self.is_away(host) {
            return;
        }
        self.oracle.now = (self.now_ms * 1_000, 0);
        match self.people[host].write_late(&self.hosts[host], &self.trees[host], &mut self.oracle) {
            Ok(count) => (0..count).for_each(|_| self.count("late")),
            Err(error) => self.fail(Invariant::Containment, format!("a late writer at h{host} was hindered: {error}")),
        }
    }

    /// The watcher at a host notices that `path` has changed, if it is not inattentive.
    pub(super) fn hint(&mut self, host: usize, path: &str) {
        if self.plan.has(Trouble::Hints) && self.dice.percent(40) {
            self.count("hint");
        } else {
            self.hosts[host].hint(path);
        }
    }

    /// The person at a host saves `bytes` under `name`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn save(&mut self, host: usize, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        self.edits += 1;
        let now = self.now() + Duration::from_nanos(self.edits);
        let path = self.hosts[host].root.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, bytes)?;
        let wall = u64::try_from(self.hosts[host].clock.wall_at(now).0).unwrap_or_default();
        let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(wall);
        std::fs::File::options().write(true).open(&path)?.set_modified(time)?;
        self.oracle.wrote(ContentId::of(bytes));
        self.acted(host);
        let first = name.split('/').next().unwrap_or(name);
        self.hosts[host].hint(first);
        Ok(())
    }
}

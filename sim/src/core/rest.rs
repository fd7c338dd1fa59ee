//! Healing, and what must hold when everybody has come to rest.

use crate::case::Breakage;
use crate::core::disk::{Disk, DiskFaults};
use crate::core::host::{Standing, body_content};
use crate::core::net::FOLDER;
use crate::core::world::World;
use crate::oracle::{Oracle, Shows};
use crate::outcome::Invariant;
use std::collections::{BTreeMap, BTreeSet};
use sync_core::index::{Dot, FolderState, Index, Key, Value};
use sync_core::status::Status;
use sync_core::{Command, ContentId, ItemErrorKind, RelPath};

/// How long healing may take, microseconds: longer than the longest pause between dials, retries and those rescans together
/// that are to bring something to light.
const REST_BOUND: u64 = 900_000_000;
/// The longest pause between such rescans, seconds.
const RESCAN_SECS: u64 = 60;
/// How often it is looked whether all is at rest, microseconds.
const LOOK_US: u64 = 1_000_000;
/// One run in so many is told everything a second time when it is at rest.
const TOLD_TWICE: u64 = 8;
/// How long everybody is left alone with what was told, or until all notice that connections broke, microseconds.
const TELL_US: u64 = 50_000_000;

/// How long devices are watched after a member was hostile, microseconds.
const COME_THROUGH_US: u64 = 120_000_000;

/// The live versions at every key.
type Versions = BTreeMap<Key, BTreeMap<Dot, Value>>;

impl World {
    /// Ends all trouble, but that of a device which stays broken.
    pub(super) fn heal(&mut self, nudge: bool, broken: Option<(usize, Breakage)>) {
        self.calm = true;
        self.broken = broken;
        self.net.cut.clear();
        self.tell_all(|_| format!("calm; broken: {broken:?}"));
        for host in 0..self.hosts.len() {
            let h = &mut self.hosts[host];
            h.index.fail_no_more();
            (h.paused_until, h.stalled_until, h.hostile_until, h.dies_amid) = (0, 0, 0, None);
            self.repair(host);
            // Where trouble came in between, people share and pair once more.
            if self.hosts[host].is_bare && self.hosts[host].is_up() {
                self.share(host);
                self.pair_all_with(host);
            }
            self.start(host);
            self.hosts[host].is_bare = false;
            self.wake(host);
            self.resume_folder(host);
        }
        match broken {
            Some((host, Breakage::Down)) if self.hosts[host].is_up() => self.die(host),
            Some((host, Breakage::Disk)) => {
                let error = Some(ItemErrorKind::Io);
                self.hosts[host].disk.faults = DiskFaults { apply: error, stage: error, read: false };
            }
            Some((host, Breakage::Root)) => self.hosts[host].disk.lost = true,
            Some((host, Breakage::Cut)) => (0..self.hosts.len()).for_each(|other| self.break_between(host, other)),
            Some((_, Breakage::Down)) | None => {}
        }
        if nudge {
            self.everybody_dials();
        }
    }

    fn everybody_dials(&mut self) {
        for host in 0..self.hosts.len() {
            for other in (0..self.hosts.len()).filter(|other| *other != host) {
                self.request(host, Command::DialNow(self.hosts[other].id));
            }
        }
    }

    /// The hosts that must come to agree.
    fn group(&self) -> Vec<usize> {
        let is_broken = |host: usize| self.broken.is_some_and(|(broken, _)| broken == host);
        let takes_part = |host: &usize| self.hosts[*host].standing == Standing::Member && !is_broken(*host);
        (0..self.hosts.len()).filter(takes_part).collect()
    }

    /// Waits until all agree, then some time more. Returns whether they did and stayed so.
    pub(super) fn come_to_rest(&mut self) -> bool {
        if self.oracle.has_endured_hostility() {
            return self.come_through();
        }
        let invariant = if self.broken.is_some() { Invariant::Liveness } else { Invariant::Convergence };
        if !self.settle(invariant, "no rest") {
            return false;
        }
        let longest = self.case.scenario.knobs.rescan_secs.min(RESCAN_SECS) * 1_000_000 + 8_000_000;
        let before = self.steps;
        self.run_until(self.now + longest);
        // What a lost hint hid comes to light at a rescan, and has to be carried over.
        if !self.settle(invariant, "at rest, and then no more") {
            return false;
        }
        let steps = self.steps - before;
        let bound = 400 * self.hosts.len() as u64 + 20 * longest / 1_000_000 + 10_000;
        if steps > bound {
            self.oracle.fail(Invariant::BoundedRetry, format!("{steps} steps while nothing happened"));
        }
        self.judge();
        if self.case.seed.is_multiple_of(TOLD_TWICE) {
            self.tell_twice();
        }
        self.oracle.violations.is_empty()
    }

    /// A member that tells different things to different devices has its way with what shows, and they may never agree
    /// again. But they live, do not run hot, and have every version.
    fn come_through(&mut self) -> bool {
        self.run_until(self.now + COME_THROUGH_US);
        if let Some(host) = self.group().into_iter().find(|host| !self.hosts[*host].is_up()) {
            self.oracle.fail(Invariant::Containment, format!("host {host} did not come through"));
        }
        self.judge_losses();
        self.oracle.violations.is_empty()
    }

    /// Runs until all agree, for as long as that may take.
    fn settle(&mut self, invariant: Invariant, otherwise: &str) -> bool {
        let until = self.now + REST_BOUND;
        while self.now < until && self.oracle.violations.is_empty() && self.unrest().is_some() {
            self.run_until(self.now + LOOK_US);
        }
        if !self.oracle.violations.is_empty() {
            return false;
        }
        let Some((why, is_denied)) = self.unrest() else { return true };
        let invariant = if is_denied { Invariant::HealthTruth } else { invariant };
        self.oracle.fail(invariant, format!("{otherwise} within {} s: {why}", REST_BOUND / 1_000_000));
        false
    }

    /// Why all is not at rest, if so, and whether every device says that it is.
    fn unrest(&mut self) -> Option<(String, bool)> {
        let group = self.group();
        let is_alone = group.len() == 1;
        let lost = self.beyond_reach(&group);
        let others: Vec<String> =
            (0..self.hosts.len()).filter(|h| !group.contains(h)).map(|h| format!("host {h}")).collect();
        let is_excused = |line: &str| {
            // What nobody has cannot come, but can be looked for, and who stays broken does not follow.
            (!lost.is_empty() && !line.ends_with(": still looking at the disk"))
                || (is_alone && line == "no device is connected")
                || others.iter().any(|other| line.contains(other.as_str()))
        };
        let (mut missing, mut excused) = (Vec::new(), 0);
        for i in group.clone() {
            if !self.hosts[i].is_up() {
                missing.push(format!("host {i} is down"));
            }
            let Some(status) = self.hosts[i].status() else { continue };
            if status.synced != status.missing.is_empty() {
                self.oracle.fail(Invariant::HealthTruth, format!("host {i}: the status contradicts itself"));
            }
            if status.synced {
                self.doubt_synced(i, &group, &status);
            }
            let errors = status.folders.iter().flat_map(|f| &f.errors);
            let errors = errors.map(|e| format!("{}: {}", e.path, e.error.reason));
            let (beside, lines): (Vec<_>, Vec<_>) =
                status.missing.iter().cloned().chain(errors).partition(|line| is_excused(line));
            excused += beside.len();
            missing.extend(lines.into_iter().map(|line| format!("host {i}: {line}")));
        }
        // Rows need neither bytes nor whoever stays broken: what is excused may not be news that is still to come.
        if excused > 0 && !self.know_the_same(&group) {
            missing.push("not everybody has heard of everything".into());
        }
        let difference = Oracle::difference(&self.disks(&group), |path| touches(&lost, path));
        match (difference, missing.is_empty()) {
            (None, true) => None,
            (Some(difference), is_denied) => Some((format!("{difference} [{}]", missing.join("; ")), is_denied)),
            (None, false) => Some((format!("disks are equal [{}]", missing.join("; ")), false)),
        }
    }

    /// Who says that all is in sync says that whoever is connected has applied everything that is known here.
    fn doubt_synced(&mut self, host: usize, group: &[usize], status: &Status) {
        if self.oracle.is_unsure() {
            return;
        }
        let Some(mine) = self.folder(host) else { return };
        for other in group.iter().copied().filter(|other| *other != host) {
            let is_connected = status.peers.iter().any(|p| p.id == self.hosts[other].id && p.state == "connected");
            let theirs = self.folder(other).filter(|_| is_connected);
            if theirs.is_some_and(|theirs| !theirs.applied.covers(&mine.knowledge)) {
                let what = format!("host {host} says that all is in sync, and host {other} has not applied it");
                self.oracle.fail(Invariant::HealthTruth, what);
            }
        }
    }

    /// Whether all of the group have heard of the same writes.
    fn know_the_same(&mut self, group: &[usize]) -> bool {
        let known: Vec<_> = group.iter().map(|host| self.folder(*host).map(|folder| folder.knowledge)).collect();
        known.windows(2).all(|pair| pair[0] == pair[1])
    }

    /// The folder as a host's index has it.
    pub(super) fn folder(&mut self, host: usize) -> Option<FolderState> {
        self.hosts[host].index.look(|index| index.folders().ok()?.pop())
    }

    fn disks(&self, group: &[usize]) -> Vec<(usize, &Disk)> {
        group.iter().map(|host| (*host, &self.hosts[*host].disk)).collect()
    }

    /// Paths with a version whose bytes no device of the group has: some have left with theirs, or never had them.
    fn beyond_reach(&mut self, group: &[usize]) -> BTreeSet<RelPath> {
        if group.len() == self.hosts.len() {
            return BTreeSet::new();
        }
        let held: BTreeSet<ContentId> = self.disks(group).iter().flat_map(|(_, disk)| disk.holds()).collect();
        let empty = ContentId::of(b"");
        let mut lost = BTreeSet::new();
        for host in group {
            let versions = self.versions(*host);
            let is_lost = |value: &Value| {
                let content = if matches!(value.body, sync_core::index::Body::File { .. }) {
                    body_content(&value.body)
                } else {
                    None
                };
                content.is_some_and(|content| content != empty && !held.contains(&content))
            };
            let rows = versions.iter().filter(|(_, siblings)| siblings.values().any(is_lost));
            lost.extend(rows.filter_map(|(key, _)| key.as_path().cloned()));
        }
        lost
    }

    /// The live versions that a host knows.
    fn versions(&mut self, host: usize) -> Versions {
        let rows =
            self.hosts[host].index.look(|index| index.rows_after(FOLDER, None, usize::MAX).ok()).unwrap_or_default();
        let live = |siblings: BTreeMap<Dot, Value>| siblings.into_iter().filter(|(_, v)| v.body.is_live()).collect();
        let rows = rows.into_iter().map(|row| (row.key, live(row.row.siblings)));
        rows.filter(|(_, siblings): &(Key, BTreeMap<Dot, Value>)| !siblings.is_empty()).collect()
    }

    /// Whatever shows, every version can be had back.
    fn judge_losses(&mut self) {
        let group = self.group();
        let lost = self.beyond_reach(&group);
        let all: Vec<usize> = (0..self.hosts.len()).collect();
        let mut oracle = std::mem::take(&mut self.oracle);
        oracle.at_rest(&self.disks(&group), &self.disks(&all), |path| touches(&lost, path));
        self.oracle = oracle;
    }

    /// All is at rest: what must hold then.
    fn judge(&mut self) {
        self.judge_losses();
        let group = self.group();
        let Some((first, rest)) = group.split_first() else { return };
        let theirs = self.versions(*first);
        for other in rest {
            let ours = self.versions(*other);
            let differing = theirs.keys().chain(ours.keys()).find(|key| theirs.get(*key) != ours.get(*key));
            if let Some(key) = differing {
                let (a, b) = (theirs.get(key), ours.get(key));
                let what = format!("{key:?}: host {first} knows {a:?}, host {other} knows {b:?}");
                self.oracle.fail(Invariant::Convergence, what);
            }
        }
    }

    /// Whether some device that nobody has waited for, as it stays broken, knows other things than those that rest.
    fn has_news(&mut self, group: &[usize]) -> bool {
        let known: Vec<_> = (0..self.hosts.len()).map(|host| self.folder(host).map(|f| f.knowledge)).collect();
        let theirs = group.first().and_then(|first| known.get(*first));
        (0..known.len()).any(|host| !group.contains(&host) && known.get(host) != theirs)
    }

    /// Everybody connects anew and reads everything again: nothing must come of it.
    fn tell_twice(&mut self) {
        let group = self.group();
        // What has not been told once is not told twice: a broken device may have been left alone since it had news.
        if self.has_news(&group) {
            self.everybody_dials();
            self.run_until(self.now + TELL_US);
            if !self.settle(Invariant::Liveness, "told once: no rest") {
                return;
            }
        }
        let lost = self.beyond_reach(&group);
        // What is beyond reach is searched for again and again whatever is told: members go on saying that they miss it.
        let is_talk = |key: &Key| matches!(key, Key::Member(_)) && !lost.is_empty();
        let known = |world: &mut Self| {
            let rows = group.iter().map(|host| world.versions(*host).into_iter());
            rows.map(|rows| rows.filter(|(key, _)| !is_talk(key)).collect()).collect::<Vec<Versions>>()
        };
        let before = known(self);
        for a in 0..self.hosts.len() {
            self.request(a, Command::VerifyFolder(FOLDER));
            (0..a).for_each(|b| self.break_between(a, b));
        }
        self.run_until(self.now + TELL_US);
        self.everybody_dials();
        if !self.settle(Invariant::Idempotence, "told twice: no rest") {
            return;
        }
        if known(self) != before {
            self.oracle.fail(Invariant::Idempotence, "what was known already has changed the index".into());
        }
        self.judge();
    }

    /// For the trace of a run that failed: what every node knows.
    pub(super) fn dump(&mut self) {
        if !self.trace || self.oracle.violations.is_empty() {
            return;
        }
        for i in 0..self.hosts.len() {
            let host = &mut self.hosts[i];
            let mut lines: Vec<String> =
                host.disk.entries().iter().map(|(p, e)| format!("disk {p:?} {:?}", e.face())).collect();
            let rows = host.index.look(|index| index.rows_after(FOLDER, None, usize::MAX).ok()).unwrap_or_default();
            for v in rows {
                let base = v.key.as_path().and_then(|p| host.index.look(|index| index.base(FOLDER, p).ok().flatten()));
                lines.push(format!("row {:?} rev {} {:?}\n      base {base:?}", v.key, v.rev, v.row));
            }
            lines.push(format!("pending {:?}", host.index.look(|index| index.pending(FOLDER, None, usize::MAX).ok())));
            lines.push(format!("folders {:?}", host.index.look(|index| index.folders().ok())));
            lines.push(format!("status {:?}", host.status()));
            lines.into_iter().for_each(|line| self.tell_all(|_| format!("host {i}: {line}")));
        }
    }
}

/// Whether a path is one of these, above or below one, or has the name of a copy of one.
fn touches(paths: &BTreeSet<RelPath>, path: &RelPath) -> bool {
    paths.iter().any(|p| p == path || p.is_below(path) || path.is_below(p) || crate::oracle::is_copy_of(path, p))
}

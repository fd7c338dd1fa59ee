//! One random history and what must be true during and after it.

use crate::exchange::Session;
use crate::ledger::{Content, Ledger, content_of};
use crate::replica::{DIR_MODE, Db, Device, Shared};
use crate::rules::Rules;
use std::collections::{BTreeMap, BTreeSet};
use sync_core::index::{Body, Dot, Policy, Row, Vector, winner};
use sync_core::rng::Rng;
use sync_core::{Actor, ContentId, RelPath};

const YEAR: i64 = 365 * 86_400 * 1_000_000_000;

pub struct History {
    devices: Vec<Device>,
    sessions: Vec<Session>,
    shared: Shared,
    paths: Vec<RelPath>,
    /// Few paths, many deletions, and rounds in which all but one catch up and purge.
    forgetful: bool,
    trace: bool,
}

type Check = Result<(), String>;

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).expect("a path")
}

/// Runs the history of `seed`.
pub fn run(rules: Rules, seed: u64, trace: bool) -> Check {
    let mut history = History::new(rules, seed, trace);
    let steps = 10 + history.shared.below(40);
    for step in 0..steps {
        history.shared.clock += 1 + history.shared.below(5) as i64 * 1_000_000_000;
        history.act();
        if step % 8 == 7 {
            history.check_truth()?;
            history.check_algebra()?;
        }
    }
    history.settle()
}

impl History {
    fn new(rules: Rules, seed: u64, trace: bool) -> Self {
        let mut shared = Shared {
            rules,
            policy: Policy::Newest,
            rng: Rng::new(seed),
            ledger: Ledger::default(),
            issued: BTreeMap::new(),
            tombs: BTreeSet::new(),
            doubtful: BTreeSet::new(),
            clock: 50 * YEAR,
            fresh: 0,
        };
        let count = 3 + shared.below(3);
        let skewed = shared.chance(50);
        let mut devices = Vec::new();
        for id in 0..count {
            let skew = if skewed { (shared.below(21) as i64 - 10) * YEAR } else { 0 };
            devices.push(Device::new(id, count, skew, &mut shared));
        }
        shared.policy = match shared.below(4) {
            0 => Policy::Largest,
            1 => Policy::Prefer { rank: devices.iter().map(|d| d.actor()).zip(0..2).collect() },
            _ => Policy::Newest,
        };
        let mut paths = vec![path("a.txt"), path("d"), path("d/x")];
        if shared.chance(50) {
            paths.extend([path("d/x/y"), path("b")]);
        }
        if shared.chance(15) {
            paths.push(path(&format!("{}.{}", "l".repeat(200), "e".repeat(54))));
        }
        let forgetful = shared.chance(50);
        if forgetful {
            paths.truncate(1 + shared.below(2));
        }
        Self { devices, sessions: Vec::new(), shared, paths, forgetful, trace }
    }

    fn say(&self, text: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{}", text());
        }
    }

    fn members(&self) -> Vec<usize> {
        self.devices.iter().filter(|d| !d.retired).map(|d| d.id).collect()
    }

    fn act(&mut self) {
        let count = self.devices.len();
        let i = self.shared.below(count);
        let roll = self.shared.below(100);
        if self.forgetful && !self.devices[i].retired && self.shared.chance(4) {
            self.rejoin(i);
            return;
        }
        if self.forgetful && self.shared.chance(20) {
            self.round(i);
            return;
        }
        let shared = &mut self.shared;
        match roll {
            0..30 => {
                self.edit(i);
                if self.shared.chance(60) {
                    self.devices[i].scan(&mut self.shared);
                }
            }
            30..36 => self.devices[i].scan(shared),
            36..50 => {
                let percent = if shared.chance(60) { 100 } else { 50 };
                let crash = shared.chance(8);
                if crash {
                    self.drop_sessions(i);
                }
                self.devices[i].apply(percent, crash, &mut self.shared);
                if crash {
                    // The next start looks at the disk before it listens to anybody.
                    if self.shared.chance(30) {
                        self.edit(i);
                    }
                    self.devices[i].scan(&mut self.shared);
                }
                self.say(|| format!("{i}: apply {percent}% crash={crash}"));
            }
            50..85 => self.talk(i),
            85..91 => {
                self.purge(i);
                self.say(|| format!("{i}: purge"));
            }
            91..93 => {
                if self.devices[i].retired || self.members().len() == 2 {
                    return;
                }
                self.devices[i].retired = true;
                self.say(|| format!("{i}: retired"));
            }
            93 => {
                self.drop_sessions(i);
                self.forget(i);
                self.devices[i].wipe(count, &mut self.shared);
                self.say(|| format!("{i}: wiped"));
            }
            94..97 => {
                self.devices[i].backup = Some(self.devices[i].db.clone());
                self.say(|| format!("{i}: backup"));
            }
            97..99 => {
                if let Some(db) = self.devices[i].backup.clone() {
                    self.restore(i, db);
                }
            }
            _ => self.drop_sessions(i),
        }
    }

    /// All but `absent` scan, talk, apply and purge.
    fn round(&mut self, absent: usize) {
        if self.members().len() > 2 && self.shared.chance(15) {
            self.devices[absent].retired = true;
        }
        let ids: Vec<usize> = (0..self.devices.len()).filter(|i| *i != absent).collect();
        self.say(|| format!("a round without {absent}"));
        for _ in 0..1 + self.shared.below(3) {
            self.step_all(&ids);
            for i in &ids {
                for j in ids.iter().filter(|j| *j > i) {
                    self.sessions.retain(|s| !s.ends.contains(i) || !s.ends.contains(j));
                    let mut session = Session::open(&mut self.devices, *i, *j, &mut self.shared);
                    assert!((0..5_000).any(|_| !session.step(&mut self.devices, &mut self.shared)), "a session ends");
                }
            }
            self.step_all(&ids);
        }
        for i in ids {
            if self.shared.chance(70) {
                self.purge(i);
            }
        }
    }

    /// Purges. A session that has yet to come to a purged row would never speak of it: it ends, and starts in full.
    fn purge(&mut self, i: usize) {
        let members = self.members();
        if self.devices[i].purge(&members, &self.shared) && !self.shared.rules.purges_under_sessions {
            self.sessions.retain(|s| !s.is_behind_purge(&self.devices[i]));
        }
    }

    fn drop_sessions(&mut self, i: usize) {
        self.sessions.retain(|s| !s.ends.contains(&i));
    }

    /// A device loses its database, and hears all members before it looks at its disk.
    fn rejoin(&mut self, i: usize) {
        self.drop_sessions(i);
        self.forget(i);
        let count = self.devices.len();
        self.devices[i].wipe(count, &mut self.shared);
        self.say(|| format!("{i}: wiped, hears all members and scans"));
        let members = self.members();
        for j in members.iter().filter(|j| **j != i) {
            let mut session = Session::open(&mut self.devices, i, *j, &mut self.shared);
            assert!((0..5_000).any(|_| !session.step(&mut self.devices, &mut self.shared)), "a session ends");
        }
        let is_live = |p: &RelPath| self.devices.iter().any(|d| d.db.rows.get(p).is_some_and(|(r, _)| r.is_live()));
        self.shared.ledger.remind(self.devices[i].disk.iter(), is_live, &members);
        self.devices[i].scan(&mut self.shared);
        self.shared.ledger.unmind();
    }

    fn forget(&mut self, i: usize) {
        let rows = self.devices.iter().filter(|d| d.id != i).flat_map(|d| d.db.rows.values());
        let live = rows.flat_map(|(row, _)| row.siblings.values()).filter_map(|v| content_of(&v.body)).collect();
        self.shared.ledger.forgot(i, &live);
    }

    /// Some steps of a session with somebody; a session may rest, go on later, or end at any row.
    fn talk(&mut self, i: usize) {
        let count = self.devices.len();
        let j = (i + 1 + self.shared.below(count - 1)) % count;
        let at = self.sessions.iter().position(|s| s.ends.contains(&i) && s.ends.contains(&j));
        let mut session = match at {
            Some(at) => self.sessions.swap_remove(at),
            None => Session::open(&mut self.devices, i, j, &mut self.shared),
        };
        let steps = if self.shared.chance(60) { 500 } else { self.shared.below(20) };
        let mut open = true;
        for _ in 0..steps {
            open = session.step(&mut self.devices, &mut self.shared);
            if !open {
                break;
            }
        }
        self.say(|| format!("{i}: talks to {j}, {}", if open { "interrupted" } else { "to the end" }));
        if open && self.shared.chance(60) {
            self.sessions.push(session);
        }
    }

    /// An older copy of the database. Either the start notices, or the person goes on writing until a peer tells.
    fn restore(&mut self, i: usize, db: Db) {
        self.drop_sessions(i);
        let actor = Actor(db.actor);
        self.forget(i);
        let device = &mut self.devices[i];
        device.db = db;
        for body in device.disk.values() {
            self.shared.ledger.revived(body);
        }
        let teller = (0..self.devices.len())
            .filter(|j| *j != i)
            .max_by_key(|j| self.devices[*j].db.knowledge.seq(actor))
            .filter(|j| self.devices[*j].db.knowledge.seq(actor) > self.devices[i].db.seq);
        let Some(teller) = teller.filter(|_| self.shared.chance(70)) else {
            self.devices[i].renew(false, &mut self.shared);
            self.say(|| format!("{i}: restored, noticed"));
            return;
        };
        self.say(|| format!("{i}: restored, unnoticed until {teller} tells"));
        if self.shared.chance(70) {
            self.edit(i);
            self.devices[i].scan(&mut self.shared);
        }
        if self.devices[teller].db.knowledge.seq(actor) <= self.devices[i].db.seq {
            // Nobody could tell any more: the file system's own marks have to.
            self.devices[i].renew(true, &mut self.shared);
            return;
        }
        self.sessions.retain(|s| !s.ends.contains(&teller));
        let mut session = Session::open(&mut self.devices, i, teller, &mut self.shared);
        for _ in 0..self.shared.below(30) {
            session.step(&mut self.devices, &mut self.shared);
        }
    }

    /// Something a person does to a disk.
    fn edit(&mut self, i: usize) {
        let shared = &mut self.shared;
        let device = &mut self.devices[i];
        let copies: Vec<RelPath> = device.disk.keys().filter(|p| !self.paths.contains(p)).cloned().collect();
        let at = match copies.is_empty() || shared.chance(75) {
            true => self.paths[shared.below(self.paths.len())].clone(),
            false => copies[shared.below(copies.len())].clone(),
        };
        let fits = at.parent_path().is_none_or(|d| matches!(device.disk.get(&d), Some(Body::Dir { .. })));
        let before = device.disk.get(&at).cloned();
        let now = shared.clock + device.skew;
        let roll = if self.forgetful && shared.chance(30) { 7 } else { shared.below(12) };
        let new = match (roll, before.clone()) {
            (0..5, _) => Some(file(shared, now)),
            (5, Some(old)) => Some(touched(old, now)),
            (6, _) => Some(Body::Symlink { target: shared.fresh().to_be_bytes().into() }),
            (7 | 8, Some(_)) => None,
            (9, None) if !device.crashed && fits => {
                let Some(body) = device.deleted.get(&at).cloned() else { return };
                // Where a version is live, the file would be taken for that one.
                let is_live = device.db.rows.get(&at).is_some_and(|(row, _)| row.is_live());
                if !is_live && !device.db.bases.contains_key(&at) && shared.ledger.put_back(i, &body) {
                    if self.trace {
                        eprintln!("{i}: {at:?} put back {body:?}");
                    }
                    device.disk.insert(at, body);
                    device.scan(shared);
                }
                return;
            }
            (9, Some(old)) => {
                let to = self.paths[shared.below(self.paths.len())].clone();
                let free = !device.disk.contains_key(&to)
                    && to.parent_path().is_none_or(|d| matches!(device.disk.get(&d), Some(Body::Dir { .. })));
                if free && content_of(&old).is_some() {
                    shared.ledger.moved(i, &old);
                    if self.trace {
                        eprintln!("{i}: {at:?} moved to {to:?}");
                    }
                    device.disk.remove(&at);
                    device.disk.insert(to, old);
                }
                return;
            }
            (_, _) => Some(Body::Dir { mode: DIR_MODE }),
        };
        if new.is_some() && !fits {
            return;
        }
        let below: Vec<RelPath> = device.disk.keys().filter(|p| p.is_below(&at)).cloned().collect();
        let stays_dir = matches!((&before, &new), (Some(Body::Dir { .. }), Some(Body::Dir { .. })));
        let doomed = below.into_iter().filter(|_| !stays_dir).chain([at.clone()]);
        for p in doomed {
            let Some(old) = device.disk.remove(&p) else { continue };
            if p == at && new.as_ref().is_some_and(|n| n.same_content(&old)) {
                continue;
            }
            shared.ledger.superseded(i, &old);
            device.deleted.insert(p.clone(), old.clone());
            if device.db.bases.get(&p).is_none_or(|b| b.dot.is_none() || !b.body.same_content(&old)) {
                // The device cannot know which version that was.
                shared.ledger.revived(&old);
            }
        }
        if self.trace {
            eprintln!(
                "{i}: {} {before:?} -> {new:?}",
                String::from_utf8_lossy(&at.as_bytes()[..at.as_bytes().len().min(60)])
            );
        }
        if let Some(new) = new {
            device.disk.insert(at, new);
        }
    }

    fn step_all(&mut self, ids: &[usize]) {
        for i in ids {
            self.devices[*i].scan(&mut self.shared);
            self.devices[*i].apply(100, false, &mut self.shared);
        }
    }

    /// Everything heals; devices talk until nothing changes any more.
    fn settle(&mut self) -> Check {
        let returns = self.shared.chance(50);
        let ids: Vec<usize> = self.devices.iter().filter(|d| returns || !d.retired).map(|d| d.id).collect();
        self.sessions.clear();
        self.say(|| format!("settling {ids:?}"));
        self.quiesce(&ids)?;
        self.check_final(&ids)?;
        for i in &ids {
            self.purge(*i);
        }
        self.quiesce(&ids)?;
        self.check_final(&ids)
    }

    fn quiesce(&mut self, ids: &[usize]) -> Check {
        for _round in 0..14 {
            let before: Vec<(u64, u64)> =
                ids.iter().map(|i| (self.devices[*i].db.rev, self.devices[*i].db.seq)).collect();
            self.step_all(ids);
            for i in ids {
                for j in ids.iter().filter(|j| *j > i) {
                    let mut session = Session::open(&mut self.devices, *i, *j, &mut self.shared);
                    let ended = (0..5_000).any(|_| !session.step(&mut self.devices, &mut self.shared));
                    if !ended {
                        return Err("a session does not end".into());
                    }
                }
            }
            self.step_all(ids);
            self.check_truth()?;
            let after: Vec<(u64, u64)> =
                ids.iter().map(|i| (self.devices[*i].db.rev, self.devices[*i].db.seq)).collect();
            if before == after && ids.iter().all(|i| self.devices[*i].is_clean()) {
                return Ok(());
            }
        }
        Err("devices do not come to rest".into())
    }

    fn check_final(&mut self, ids: &[usize]) -> Check {
        let live = |d: &Device| -> BTreeMap<RelPath, BTreeMap<Dot, _>> {
            let rows = d.db.rows.iter().filter(|(_, (row, _))| row.is_live());
            rows.map(|(p, (row, _))| (p.clone(), row.siblings.clone())).collect()
        };
        let first = &self.devices[ids[0]];
        let wanted = first.tree(&self.shared);
        for i in ids {
            let device = &self.devices[*i];
            if live(device) != live(first) {
                return Err(format!("rows differ:\n{:#?}\n{:#?}", first.db.rows, device.db.rows));
            }
            if device.tree(&self.shared) != wanted {
                return Err(format!("{i}: the tree differs"));
            }
            if !device.disk.iter().eq(wanted.iter().map(|(p, e)| (p, &e.body))) {
                return Err(format!("{i}: the disk is not the tree:\n{:#?}\n{wanted:#?}", device.disk));
            }
            if device.db.applied != device.db.knowledge {
                return Err(format!("{i}: what is applied is not what is known"));
            }
        }
        let visible: BTreeSet<Content> = wanted.values().filter_map(|e| content_of(&e.body)).collect();
        if let Some(content) = self.shared.ledger.lost(&visible, |d| ids.contains(&d)) {
            return Err(format!("content {content:02x?} is lost: {wanted:?}"));
        }
        if let Some(content) = self.shared.ledger.risen(&visible, |d| ids.contains(&d)) {
            return Err(format!("content {content:02x?} has risen: {wanted:?}\n{:?}", first.db.rows));
        }
        for (name, entry) in wanted.iter().filter(|(p, e)| **p != e.source) {
            let Some(copy) = content_of(&entry.body) else { continue };
            let beside = wanted.iter().filter(|(p, e)| e.source == entry.source && *p != name);
            for (beside, content) in beside.filter_map(|(p, e)| Some((p, content_of(&e.body)?))) {
                if self.shared.ledger.is_edit(copy, content) {
                    return Err(format!("{name:?} shows what {beside:?} replaced: {:?}", first.db.rows));
                }
            }
        }
        let shown: Vec<Content> =
            wanted.iter().filter(|(p, e)| **p != e.source).filter_map(|(_, e)| content_of(&e.body)).collect();
        let mains = |p: &RelPath| wanted.get(p).and_then(|e| content_of(&e.body));
        for (name, entry) in wanted.iter().filter(|(p, e)| **p != e.source) {
            let content = content_of(&entry.body);
            let twice = shown.iter().filter(|c| Some(**c) == content).count() > 1
                && wanted
                    .iter()
                    .filter(|(p, e)| **p != e.source && e.source == entry.source && content_of(&e.body) == content)
                    .count()
                    > 1;
            if twice || mains(&entry.source) == content {
                return Err(format!("{name:?} is a conflict of equal contents"));
            }
        }
        Ok(())
    }

    /// What a device claims to know has been integrated, and what it shows has been replaced by nothing it knows.
    fn check_truth(&self) -> Check {
        let none = Row::default();
        for device in &self.devices {
            for ((path, dot), replacers) in &self.shared.issued {
                let row = device.db.rows.get(path).map_or(&none, |(row, _)| row);
                let knows = |d: &Dot| row.ctx.contains(*d) || device.db.knowledge.contains(*d);
                let vague = |d: &Dot| self.shared.doubtful.contains(&d.actor);
                if vague(dot) || replacers.iter().any(vague) {
                    continue;
                }
                if row.siblings.contains_key(dot) {
                    if let Some(by) = replacers.iter().find(|d| knows(d)) {
                        return Err(format!("{}: {path:?} holds {dot:?}, which {by:?} has replaced", device.id));
                    }
                } else if knows(dot) && replacers.is_empty() && !self.shared.tombs.contains(dot) {
                    return Err(format!(
                        "{}: claims {dot:?} of {path:?}, lacks it, and nothing has replaced it",
                        device.id
                    ));
                }
            }
        }
        Ok(())
    }

    /// Merging is commutative, associative and idempotent on states that occur.
    fn check_algebra(&mut self) -> Check {
        if !self.shared.doubtful.is_empty() {
            return Ok(());
        }
        let merge = self.shared.rules.merge;
        let policy = self.shared.policy.clone();
        let state = |d: &Device, p: &RelPath| {
            (d.db.rows.get(p).map_or_else(Row::default, |(r, _)| r.clone()), d.db.knowledge.clone())
        };
        let join = |a: &(Row, Vector), b: &(Row, Vector)| {
            let mut known = a.1.clone();
            known.join(&b.1);
            (merge(&a.0, &a.1, &b.0, &b.1), known)
        };
        let at = self.paths[self.shared.below(self.paths.len())].clone();
        let [a, b, c] = [0, 1, 2].map(|i| state(&self.devices[i], &at));
        let same = |x: &(Row, Vector), y: &(Row, Vector)| {
            x.0.siblings == y.0.siblings
                && x.0.ctx == y.0.ctx
                && winner(&x.0, &policy).map(|w| w.0) == winner(&y.0, &policy).map(|w| w.0)
        };
        let laws = [
            ("commutative", same(&join(&a, &b), &join(&b, &a))),
            ("associative", same(&join(&join(&a, &b), &c), &join(&a, &join(&b, &c)))),
            ("idempotent", join(&a, &a).0 == a.0),
            ("absorbing", same(&join(&join(&a, &b), &b), &join(&a, &b))),
        ];
        match laws.iter().find(|(_, holds)| !holds) {
            Some((law, _)) => Err(format!("merge is not {law}: {a:?} {b:?} {c:?}")),
            None => Ok(()),
        }
    }
}

fn file(shared: &mut Shared, now: i64) -> Body {
    // Now and then two people write the same.
    let number = if shared.chance(10) { shared.rng.below(3) } else { 1_000 + shared.fresh() };
    let mut content = [0xc0; 32];
    content[..8].copy_from_slice(&((number + 1) << 32).to_be_bytes());
    // Sizes go with contents.
    let size = number.wrapping_mul(0x9e37_79b9) % 50;
    Body::File { content: ContentId(content), size, mtime_ns: now, mode: 0o644 }
}

fn touched(body: Body, now: i64) -> Body {
    match body {
        Body::File { content, size, mode, .. } => Body::File { content, size, mode: mode ^ 0o111, mtime_ns: now },
        Body::Dir { mode } => Body::Dir { mode: mode ^ 0o022 },
        body @ (Body::Symlink { .. } | Body::Tomb | Body::Member(_) | Body::Policy(_)) => body,
    }
}

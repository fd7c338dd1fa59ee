//! The world: nodes, disks, people and a network on one queue of events. The same case gives the same run.

use crate::case::{Act, Breakage, Case, Step};
use crate::core::disk::{Entry, Tree, content_of};
use crate::core::host::{Host, Standing, body_content};
use crate::core::jobs::Job;
use crate::core::net::{FOLDER, Net, Payload};
use crate::core::user::{Desk, Doing};
use crate::oracle::Oracle;
use crate::outcome::Outcome;
use crate::scenario::Chances;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use sync_core::id::{AskId, EffectId};
use sync_core::index::{Index, Key};
use sync_core::input::{Hint, Lane};
use sync_core::output::Op;
use sync_core::{CloseCode, Input, RelPath};

/// The year 2026.
pub(super) const EPOCH: i64 = 1_790_000_000_000_000_000;
/// Numbers of what people do on top of the tape begin here.
const MEDDLING_STEP: u32 = 1_000_000;
/// How often they do something on top of it in one run, at most.
const MOST_MEDDLING: u32 = 100;

/// Something that happens at its time.
#[derive(Debug)]
pub(super) enum Event {
    /// A host takes a batch of inputs.
    Turn { host: usize, life: u32 },
    /// An input reaches a host.
    Tell { host: usize, life: u32, input: Input },
    /// A job on a disk goes one step further.
    Job { host: usize, life: u32, job: u64 },
    /// A dial arrives, or not.
    Dialled { host: usize, life: u32, dial: EffectId, target: Option<usize> },
    /// A frame arrives.
    Frame { conn: u64, to: usize, lane: Lane, frame: Vec<u8> },
    /// A request arrives.
    Ask { conn: u64, to: usize, ask: AskId, frame: Vec<u8> },
    /// An answer arrives.
    Answer { ask: AskId, payload: Payload },
    /// A transport has measured.
    Measure { conn: u64 },
    /// A connection breaks.
    Drop { conn: u64 },
    /// One end of a connection is gone.
    Closed { conn: u64, side: usize, code: CloseCode, reason: String },
    /// The tape goes on.
    Step(Box<Step>),
    /// A person comes in between.
    Meddle { host: usize, doing: Doing },
    /// A host comes back.
    Restart { host: usize },
    /// A person lets a paused folder go on.
    Resume { host: usize },
    /// Trouble of a host's disk ends.
    Repaired { host: usize },
    /// Nothing hinders the way from one host to another any more.
    Mended { from: usize, to: usize },
    /// Two hosts are paired.
    Pair { a: usize, b: usize },
}

/// An event in the queue: ordered by time, then by when it was thought of.
struct Due(u64, u64, Event);

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// Everything there is.
pub struct World {
    pub(super) case: Case,
    pub(super) now: u64,
    pub(super) hosts: Vec<Host>,
    pub(super) net: Net,
    pub(super) oracle: Oracle,
    /// Whether trouble has ended.
    pub(super) calm: bool,
    /// The host that stays broken, and how.
    pub(super) broken: Option<(usize, Breakage)>,
    /// Two hosts that do not reach each other in this round, nor in the rest after it.
    pub(super) apart: Option<(usize, usize)>,
    /// Inputs handled by all nodes together.
    pub(super) steps: u64,
    pub(super) trace: bool,
    queue: BinaryHeap<Reverse<Due>>,
    next_event: u64,
    next_job: u64,
    meddled: u32,
    digest: u64,
    events: u64,
    marks: Vec<u64>,
    struck: BTreeMap<&'static str, u64>,
}

impl World {
    /// The world of a case. With `trace` it tells what happens.
    pub fn new(case: Case, trace: bool) -> Self {
        let hosts = (0..case.scenario.hosts).map(|i| Host::new(case.seed, i, &case.scenario)).collect();
        Self {
            case,
            now: 1_000_000,
            hosts,
            net: Net::default(),
            oracle: Oracle::default(),
            calm: false,
            broken: None,
            apart: None,
            steps: 0,
            trace,
            queue: BinaryHeap::new(),
            next_event: 0,
            next_job: 0,
            meddled: MEDDLING_STEP,
            digest: 0xcbf2_9ce4_8422_2325,
            events: 0,
            marks: Vec::new(),
            struck: BTreeMap::new(),
        }
    }

    /// Lives through the whole case.
    pub fn run(mut self) -> Outcome {
        self.tell_all(|w| format!("{:?}", w.case.scenario));
        self.begin();
        for round in std::mem::take(&mut self.case.rounds) {
            self.calm = false;
            self.call_back();
            self.part(round.apart);
            let until = self.now + round.unrest_us;
            for step in round.steps {
                self.push(self.now + step.at_us, Event::Step(Box::new(step)));
            }
            self.run_until(until);
            self.heal(round.nudge, round.broken);
            if !self.come_to_rest() {
                break;
            }
        }
        self.dump();
        Outcome {
            violations: self.oracle.violations,
            digest: self.digest,
            events: self.events,
            virtual_us: self.now,
            faults: self.struck,
            marks: self.marks,
        }
    }

    /// From now on these two do not reach each other; others may again. All must be there: one of them carries things over.
    fn part(&mut self, apart: Option<(usize, usize)>) {
        let is_whole = self.hosts.iter().all(|host| host.standing == Standing::Member);
        let apart = apart.filter(|_| is_whole);
        self.apart = apart;
        if let Some((a, b)) = apart {
            self.tell_all(|_| format!("apart: {a} and {b}"));
            self.strike("apart");
            self.break_between(a, b);
        }
    }

    fn begin(&mut self) {
        for step in std::mem::take(&mut self.case.before) {
            self.happen(Event::Step(Box::new(step)));
        }
        for host in 0..self.hosts.len() {
            self.start(host);
        }
        self.share(0);
        (1..self.hosts.len()).for_each(|host| self.pair_all_with(host));
        // Pairing is a conversation of people: it is over before trouble begins.
        self.run_until(self.now + 4_000_000);
    }

    /// People pair a host with those before it, or with the first; the first with all.
    pub(super) fn pair_all_with(&mut self, host: usize) {
        let others = if self.case.scenario.mesh || host == 0 { 0..self.hosts.len() } else { 0..1 };
        for other in others.filter(|other| *other != host) {
            // The first device has the folder before the others speak of it among themselves.
            let after = if other == 0 || host == 0 { 0 } else { 1_600_000 } + 200_000 * host as u64;
            self.push(self.now + after, Event::Pair { a: other, b: host });
        }
    }

    pub(super) fn push(&mut self, at: u64, event: Event) {
        self.next_event += 1;
        self.queue.push(Reverse(Due(at.max(self.now), self.next_event, event)));
    }

    pub(super) fn run_until(&mut self, until: u64) {
        // A node that is busy with nothing would go on until the end of time.
        while self.oracle.violations.is_empty()
            && let Some(Reverse(Due(at, ..))) = self.queue.peek()
            && *at <= until
            && let Some(Reverse(Due(at, _, event))) = self.queue.pop()
        {
            self.now = at;
            self.happen(event);
        }
        self.now = until;
    }

    fn lives(&self, host: usize, life: u32) -> bool {
        self.hosts[host].is_up() && self.hosts[host].life == life
    }

    fn happen(&mut self, event: Event) {
        self.events += 1;
        self.oracle.now = (self.now, self.events);
        if self.events.is_multiple_of(1_000) {
            self.marks.push(self.digest);
        }
        match event {
            Event::Turn { host, life } => {
                if self.lives(host, life) && self.hosts[host].turn_at == Some(self.now) {
                    self.take_turn(host, life);
                }
            }
            Event::Tell { host, life, input } => {
                if self.lives(host, life) {
                    self.tell(host, input);
                }
            }
            Event::Job { host, life, job } => {
                if self.lives(host, life) {
                    self.go_on(host, job);
                }
            }
            Event::Dialled { host, life, dial, target } => {
                if self.lives(host, life) {
                    self.dialled(host, dial, target);
                }
            }
            Event::Frame { conn, to, lane, frame } => self.frame(conn, to, lane, frame),
            Event::Ask { conn, to, ask, frame } => self.asked(conn, to, ask, frame),
            Event::Answer { ask, payload } => self.answer(ask, payload),
            Event::Measure { conn } => self.measure(conn),
            Event::Drop { conn } => self.drop_conn(conn),
            Event::Closed { conn, side, code, reason } => self.closed(conn, side, code, reason),
            Event::Step(step) => self.step(*step),
            Event::Meddle { host, doing } => {
                if !self.calm {
                    self.act(host, doing);
                }
            }
            Event::Restart { host } => self.start(host),
            Event::Resume { host } => self.resume_folder(host),
            Event::Repaired { host } => self.repair(host),
            Event::Mended { from, to } => self.net.cut.retain(|pair| *pair != (from, to)),
            Event::Pair { a, b } => self.pair(a, b),
        }
    }

    fn take_turn(&mut self, host: usize, life: u32) {
        let until = self.hosts[host].paused_until;
        if until > self.now {
            self.hosts[host].turn_at = Some(until);
            return self.push(until, Event::Turn { host, life });
        }
        self.turn(host);
    }

    /// How often something strikes, in percent: never when all is calm.
    pub(super) fn chance(&self, of: impl Fn(&Chances) -> u8) -> u64 {
        if self.calm { 0 } else { of(&self.case.scenario.chances).into() }
    }

    /// A fault has struck.
    pub(super) fn strike(&mut self, fault: &'static str) {
        *self.struck.entry(fault).or_default() += 1;
    }

    pub(super) fn act(&mut self, host: usize, doing: Doing) {
        if self.hosts[host].disk.lost {
            return;
        }
        self.set_clock(host);
        let h = &mut self.hosts[host];
        let (step, act, twins, before) = (doing.step, doing.act, h.twins(), h.disk.entries().clone());
        let paths = h.user.act(doing, &mut Desk { disk: &mut h.disk, oracle: &mut self.oracle, twins });
        self.tell_trace(host, |_| format!("step {step}: a person does {act:?} at {paths:?}"));
        for path in &paths {
            // Such as an empty file that is emptied: nothing about it is news.
            let face = |tree: &Tree| tree.get(path).map(Entry::face);
            let was = face(&before);
            let is_as_it_was = was == face(self.hosts[host].disk.entries());
            let is_replaced = self.is_replaced(host, path);
            let is_old = self.oracle.is_behind(host, path, was.as_ref()) && self.is_known(host, path);
            if is_replaced || is_old || is_as_it_was {
                self.oracle.touched_in_vain(host, path, act == Act::Touch && is_replaced && !is_as_it_was);
            }
        }
        paths.into_iter().for_each(|path| self.hint(host, path));
    }

    /// Whether what shows at `path` has the bytes of a version that the device knows. Where it is behind, that may be long
    /// gone elsewhere, and the same bytes go with it if it hears of that before it can look.
    fn is_known(&mut self, host: usize, path: &RelPath) -> bool {
        let h = &mut self.hosts[host];
        let shown = h.disk.get(path).and_then(content_of);
        let row = h.index.look(|index| index.row(FOLDER, &Key::Path(path.clone())).ok().flatten());
        let (Some(shown), Some(row)) = (shown, row) else { return false };
        row.siblings.values().any(|v| body_content(&v.body) == Some(shown))
    }

    /// Whether a device knows that somebody has replaced the file which its disk still shows at `path`.
    fn is_replaced(&mut self, host: usize, path: &RelPath) -> bool {
        let h = &mut self.hosts[host];
        let shown = h.disk.get(path).and_then(content_of);
        let base = h.index.look(|index| index.base(FOLDER, path).ok().flatten());
        let row = h.index.look(|index| index.row(FOLDER, &Key::Path(path.clone())).ok().flatten());
        let (Some(shown), Some(base), Some(row)) = (shown, base, row) else { return false };
        let is_history = base.dot.is_some_and(|dot| !row.siblings.contains_key(&dot));
        let is_live = row.siblings.values().any(|v| body_content(&v.body) == Some(shown));
        is_history && !is_live && body_content(&base.body) == Some(shown)
    }

    /// Now and then a person acts where operations are under way.
    pub(super) fn meddle(&mut self, host: usize, ops: &[Op]) {
        let often = self.chance(|c| c.meddling);
        let h = &mut self.hosts[host];
        // Whoever answers every change with one of his own never rests.
        if self.meddled > MEDDLING_STEP + MOST_MEDDLING || !h.meddler.percent(often) {
            return;
        }
        let acts = [Act::Save, Act::AtomicSave, Act::QuietSave, Act::Delete, Act::Touch, Act::Rename, Act::ChangeType];
        let target = h.meddler.pick(ops).map(|op| op.path.clone());
        let (act, draw) = (acts[h.meddler.index(acts.len())], h.meddler.range(0, 10_000));
        let at = self.now + h.meddler.range(0, 2_000);
        self.meddled += 1;
        let doing = Doing { step: self.meddled, act, draw, target };
        self.strike("meddling");
        self.push(at, Event::Meddle { host, doing });
    }

    /// The watcher names a path, if it is awake.
    pub(super) fn hint(&mut self, host: usize, path: RelPath) {
        let (misses, doubles) = (self.chance(|c| c.hints), self.chance(|c| c.doubles));
        let watcher = &mut self.hosts[host].watcher;
        if watcher.percent(misses) {
            return self.strike("missed-hint");
        }
        let hint = if watcher.percent(2) { Hint::Everything } else { Hint::Path(path) };
        let times = 1 + usize::from(watcher.percent(doubles));
        for _ in 0..times {
            let after = self.hosts[host].watcher.range(0, 50_000);
            self.tell_later(host, after, Input::Hint { folder: FOLDER, hint: hint.clone() });
        }
    }

    pub(super) fn begin_job(&mut self, host: usize, job: Job) {
        self.next_job += 1;
        let (id, life) = (self.next_job, self.hosts[host].life);
        self.hosts[host].jobs.insert(id, job);
        let at = self.now + self.job_pause(host);
        self.push(at, Event::Job { host, life, job: id });
    }

    fn job_pause(&mut self, host: usize) -> u64 {
        let slow = self.chance(|c| c.slow);
        let dice = &mut self.hosts[host].disk_dice;
        if dice.percent(slow) { dice.range(1_000, 400_000) } else { dice.range(10, 1_500) }
    }

    fn go_on(&mut self, host: usize, job: u64) {
        let life = self.hosts[host].life;
        let still = self.hosts[host].stalled_until.max(self.hosts[host].paused_until);
        if still > self.now {
            return self.push(still, Event::Job { host, life, job });
        }
        if self.step_job(host, job) {
            let at = self.now + self.job_pause(host);
            self.push(at, Event::Job { host, life, job });
        } else {
            self.hosts[host].jobs.remove(&job);
        }
    }

    /// Goes one step further with a job; the answer is whether there is more to do.
    pub(super) fn step_job(&mut self, host: usize, job: u64) -> bool {
        self.set_clock(host);
        let Some(taken) = self.hosts[host].jobs.remove(&job) else { return false };
        match self.work_on(host, taken) {
            Some(rest) => {
                self.hosts[host].jobs.insert(job, rest);
                true
            }
            None => false,
        }
    }

    pub(super) fn mix(&mut self, a: u64, b: u64) {
        for n in [self.now, a, b] {
            self.digest = (self.digest ^ n).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(17);
        }
    }
}

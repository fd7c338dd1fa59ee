//! The world: nodes, disks, people and a network on one queue of events. The same seed gives the same run.
//!
//! Each host is driven as production drives a node: a batch of inputs in one transaction of the index, and the outputs
//! only after the commit.

use crate::dice::Dice;
use crate::disk::Disk;
use crate::index::ModelIndex;
use crate::jobs::Job;
use crate::net::{FOLDER, Net, Payload, address};
use crate::oracle::Oracle;
use crate::scenario::{Faults, Scenario};
use crate::user::{Desk, User};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use sync_core::id::{AskId, EffectId, PublicKey, RequestId};
use sync_core::index::{Index, PolicyChoice};
use sync_core::input::{Hint, Lane};
use sync_core::output::Answer;
use sync_core::{
    CloseCode, Command, Config, DeviceId, Event as Told, Input, Instant, ItemErrorKind, Moment, Node, Output, RelPath,
    WallTime,
};

/// The year 2026.
const EPOCH: i64 = 1_790_000_000_000_000_000;
/// How long healing may take, microseconds: longer than the longest pause between dials, retries and rescans together.
const REST_BOUND: u64 = 900_000_000;
/// Steps of one node in a second above which it is busy with nothing.
const MAX_STEPS: u32 = 5_000;
/// Inputs in one batch.
const BATCH: usize = 64;

/// Something that happens at its time.
#[derive(Debug)]
pub(crate) enum Event {
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
    /// A connection breaks.
    Drop { conn: u64 },
    /// One end of a connection is gone.
    Closed { conn: u64, side: usize, code: CloseCode, reason: String },
    /// A person acts.
    Act { host: usize, target: Option<RelPath> },
    /// Trouble begins.
    Trouble(Trouble),
    /// A host comes back.
    Restart { host: usize },
    /// Trouble of a host's disk ends.
    Repaired { host: usize },
    /// Two hosts reach each other again.
    Mended { a: usize, b: usize },
    /// Two hosts are paired.
    Pair { a: usize, b: usize },
}

/// Trouble of one host.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    Crash(usize),
    Power(usize),
    Goodbye(usize),
    Disk(usize),
    Root(usize),
    Clock(usize),
    Cut(usize, usize),
    Index(usize),
}

/// One device.
pub(crate) struct Host {
    pub(crate) id: DeviceId,
    pub(crate) key: PublicKey,
    pub(crate) index: ModelIndex,
    pub(crate) disk: Disk,
    pub(crate) life: u32,
    pub(crate) jobs: BTreeMap<u64, Job>,
    /// Applies begun and not committed yet.
    applying: usize,
    pub(crate) fetches: BTreeSet<AskId>,
    node: Option<Node>,
    inbox: VecDeque<Input>,
    /// When the next turn is.
    turn_at: Option<u64>,
    /// Whether the database may have forgotten dots, and the node has not been told yet.
    fresh: bool,
    /// By how much the wall clock is wrong.
    skew: i64,
    user: User,
    /// Steps in this second, and which second it is.
    steps: (u64, u32),
}

impl Host {
    pub(crate) fn is_up(&self) -> bool {
        self.node.is_some()
    }
}

/// How a run ended.
#[derive(Debug, Default)]
pub struct Report {
    /// What was violated.
    pub violations: Vec<String>,
    /// A digest of everything that happened.
    pub digest: u64,
    /// Steps of all nodes together.
    pub steps: u64,
    /// Virtual time, microseconds.
    pub virtual_us: u64,
}

/// Everything there is.
pub struct World {
    pub(crate) scenario: Scenario,
    pub(crate) now: u64,
    pub(crate) dice: Dice,
    pub(crate) hosts: Vec<Host>,
    pub(crate) net: Net,
    pub(crate) oracle: Oracle,
    /// Whether trouble has ended.
    pub(crate) calm: bool,
    seed: u64,
    queue: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    next_job: u64,
    digest: u64,
    steps: u64,
    trace: bool,
    plan: Dice,
}

impl World {
    /// The world of `seed`. With `trace` it tells what happens.
    pub fn new(seed: u64, trace: bool) -> Self {
        let scenario = Scenario::of(seed);
        let mut plan = Dice::new(seed, 3, 0);
        let hosts = (0..scenario.hosts).map(|i| host(seed, i, &scenario, &mut plan)).collect();
        Self {
            now: 1_000_000,
            dice: Dice::new(seed, 4, 0),
            hosts,
            net: Net::default(),
            oracle: Oracle::default(),
            calm: false,
            seed,
            queue: BTreeMap::new(),
            next_event: 0,
            next_job: 0,
            digest: 0xcbf2_9ce4_8422_2325,
            steps: 0,
            trace,
            plan,
            scenario,
        }
    }

    /// Lives through the whole scenario.
    pub fn run(mut self) -> Report {
        self.tell_trace(|w| format!("{:?}", w.scenario));
        self.begin();
        for round in 0..self.scenario.rounds {
            self.disturb(round);
            let until = self.now + self.scenario.unrest;
            self.run_until(until);
            self.heal();
            if !self.come_to_rest() || !self.oracle.violations.is_empty() {
                break;
            }
        }
        self.dump();
        Report { violations: self.oracle.violations, digest: self.digest, steps: self.steps, virtual_us: self.now }
    }

    /// For the trace of a run that failed: what every node knows.
    fn dump(&mut self) {
        if !self.trace || self.oracle.violations.is_empty() {
            return;
        }
        for i in 0..self.hosts.len() {
            let host = &mut self.hosts[i];
            let mut lines: Vec<String> =
                host.disk.entries().iter().map(|(p, e)| format!("disk {p:?} {:?}", e.face())).collect();
            if host.index.begin().is_ok() {
                let rows = host.index.rows_after(FOLDER, None, usize::MAX).unwrap_or_default();
                for v in rows {
                    let base = v.key.as_path().and_then(|p| host.index.base(FOLDER, p).ok().flatten());
                    lines.push(format!("row {:?} rev {} {:?}\n      base {base:?}", v.key, v.rev, v.row));
                }
                lines.push(format!("pending {:?}", host.index.pending(FOLDER, None, usize::MAX)));
                lines.push(format!("folders {:?}", host.index.folders()));
                host.index.rollback();
            }
            for line in lines {
                self.tell_trace(|_| format!("host {i}: {line}"));
            }
        }
    }

    fn begin(&mut self) {
        for host in 0..self.hosts.len() {
            for _ in 0..self.plan.range(0, 6) {
                self.act(host, None);
            }
            self.start(host);
        }
        let root = || Box::from(&b"/root"[..]);
        let share = Command::ShareFolder { folder: FOLDER, name: "folder".into(), root: root() };
        self.request(0, share);
        for a in 0..self.hosts.len() {
            for b in a + 1..self.hosts.len() {
                if a == 0 || self.scenario.mesh {
                    let at = self.now + self.plan.range(0, 1_500_000) + if a > 0 { 1_600_000 } else { 0 };
                    self.push(at, Event::Pair { a, b });
                }
            }
        }
        // Pairing is a conversation of people: it is over before trouble begins.
        self.run_until(self.now + 4_000_000);
        if self.scenario.by_size {
            self.request(0, Command::SetPolicy(FOLDER, PolicyChoice::Largest));
        }
    }

    fn pair(&mut self, a: usize, b: usize) {
        for (me, other) in [(a, b), (b, a)] {
            let knows_address = me == b || self.plan.percent(50);
            let command = Command::Pair {
                device: self.hosts[other].id,
                key: self.hosts[other].key,
                name: format!("host {other}"),
                addr: knows_address.then(|| address(other)),
                folder: FOLDER,
                folder_name: "folder".into(),
                root: Some(Box::from(&b"/root"[..])),
            };
            self.request(me, command);
        }
    }

    fn request(&mut self, host: usize, command: Command) {
        self.tell(host, Input::Request { request: RequestId(1), command });
    }

    /// Plans what happens in a round.
    fn disturb(&mut self, round: u32) {
        self.calm = false;
        let (hosts, unrest) = (self.hosts.len(), self.scenario.unrest);
        for host in 0..hosts {
            // Now and then only one person works.
            let edits = if round > 0 && self.plan.percent(30) { 0 } else { self.scenario.edits };
            for _ in 0..edits {
                let at = self.now + self.plan.range(0, unrest);
                self.push(at, Event::Act { host, target: None });
            }
        }
        let faults = self.scenario.faults.clone();
        for host in 0..hosts {
            let kinds = [
                (faults.crashes, Trouble::Crash(host)),
                (faults.crashes, Trouble::Goodbye(host)),
                (faults.power, Trouble::Power(host)),
                (faults.disk, Trouble::Disk(host)),
                (faults.root, Trouble::Root(host)),
                (faults.skew, Trouble::Clock(host)),
                (faults.index, Trouble::Index(host)),
                (faults.partitions, Trouble::Cut(host, (host + 1) % hosts)),
            ];
            for (_, trouble) in kinds.into_iter().filter(|(on, _)| *on) {
                for _ in 0..self.plan.range(0, 4) {
                    let at = self.now + self.plan.range(0, unrest);
                    self.push(at, Event::Trouble(trouble));
                }
            }
        }
    }

    /// Ends all trouble.
    fn heal(&mut self) {
        self.calm = true;
        self.net.cut.clear();
        self.tell_trace(|_| "---- calm".into());
        for host in 0..self.hosts.len() {
            self.hosts[host].index.fail_no_more();
            self.hosts[host].disk.lost = false;
            self.hosts[host].disk.faults = crate::disk::DiskFaults::default();
            if !self.hosts[host].is_up() {
                self.start(host);
            }
        }
        if self.plan.percent(50) {
            for host in 0..self.hosts.len() {
                for other in 0..self.hosts.len() {
                    let device = self.hosts[other].id;
                    if host != other {
                        self.request(host, Command::DialNow(device));
                    }
                }
            }
        }
    }

    /// Waits until all agree, then some time more. Returns whether they did and stayed so.
    fn come_to_rest(&mut self) -> bool {
        let until = self.now + REST_BOUND;
        while self.now < until && self.oracle.violations.is_empty() && self.unrest().is_some() {
            self.run_until(self.now + 1_000_000);
        }
        if !self.oracle.violations.is_empty() {
            return false;
        }
        if let Some(why) = self.unrest() {
            self.oracle.fail(format!("no rest within {} s: {why}", REST_BOUND / 1_000_000));
            return false;
        }
        let longest = self.scenario.limits.rescan.as_micros() as u64 + 8_000_000;
        let before = self.steps;
        self.run_until(self.now + longest);
        // What a lost hint hid comes to light at a rescan, and has to be carried over.
        let until = self.now + REST_BOUND;
        while self.now < until && self.oracle.violations.is_empty() && self.unrest().is_some() {
            self.run_until(self.now + 1_000_000);
        }
        if !self.oracle.violations.is_empty() {
            return false;
        }
        if let Some(why) = self.unrest() {
            self.oracle.fail(format!("at rest, and then no more: {why}"));
            return false;
        }
        let steps = self.steps - before;
        let bound = 400 * self.hosts.len() as u64 + 20 * longest / 1_000_000 + 10_000;
        if steps > bound {
            self.oracle.fail(format!("{steps} steps while nothing happened"));
        }
        let disks: Vec<&Disk> = self.hosts.iter().map(|h| &h.disk).collect();
        self.oracle.at_rest(&disks);
        true
    }

    /// Why all is not at rest, if so.
    fn unrest(&mut self) -> Option<String> {
        let disks: Vec<&Disk> = self.hosts.iter().map(|h| &h.disk).collect();
        let difference = Oracle::difference(&disks);
        let mut missing = Vec::new();
        for (i, host) in self.hosts.iter_mut().enumerate() {
            let Some(node) = &host.node else {
                missing.push(format!("host {i} is down"));
                continue;
            };
            if host.index.begin().is_err() {
                continue;
            }
            if let Ok(status) = node.status(&mut host.index) {
                missing.extend(status.missing.iter().map(|m| format!("host {i}: {m}")));
                missing.extend(
                    status
                        .folders
                        .iter()
                        .flat_map(|f| &f.errors)
                        .map(|e| format!("host {i}: {}: {}", e.path, e.error.reason)),
                );
                if status.synced != status.missing.is_empty() {
                    missing.push(format!("host {i}: the status contradicts itself"));
                }
            }
            host.index.rollback();
        }
        match (difference, missing.is_empty()) {
            (None, true) => None,
            (difference, _) => {
                Some(format!("{} [{}]", difference.unwrap_or_else(|| "disks are equal".into()), missing.join("; ")))
            }
        }
    }

    pub(crate) fn push(&mut self, at: u64, event: Event) {
        self.next_event += 1;
        self.queue.insert((at.max(self.now), self.next_event), event);
    }

    fn run_until(&mut self, until: u64) {
        while let Some((&(at, n), _)) = self.queue.first_key_value() {
            // A node that is busy with nothing would go on until the end of time.
            if at > until || !self.oracle.violations.is_empty() {
                break;
            }
            self.now = at;
            if let Some(event) = self.queue.remove(&(at, n)) {
                self.happen(event);
            }
        }
        self.now = until;
    }

    fn lives(&self, host: usize, life: u32) -> bool {
        self.hosts[host].is_up() && self.hosts[host].life == life
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Turn { host, life } => {
                if self.lives(host, life) && self.hosts[host].turn_at == Some(self.now) {
                    self.turn(host);
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
            Event::Drop { conn } => self.drop_conn(conn),
            Event::Closed { conn, side, code, reason } => self.closed(conn, side, code, reason),
            Event::Act { host, target } => {
                if !self.calm {
                    self.act(host, target);
                }
            }
            Event::Trouble(trouble) => {
                if !self.calm {
                    self.trouble(trouble);
                }
            }
            Event::Restart { host } => {
                if !self.hosts[host].is_up() {
                    self.start(host);
                }
            }
            Event::Repaired { host } => {
                self.hosts[host].disk.lost = false;
                self.hosts[host].disk.faults = crate::disk::DiskFaults::default();
            }
            Event::Mended { a, b } => self.net.cut.retain(|pair| *pair != (a, b)),
            Event::Pair { a, b } => self.pair(a, b),
        }
    }

    /// Whether trouble of a kind is on at this time.
    pub(crate) fn is_unquiet(&self, kind: impl Fn(&Faults) -> bool) -> bool {
        !self.calm && kind(&self.scenario.faults)
    }

    fn act(&mut self, host: usize, target: Option<RelPath>) {
        if self.hosts[host].disk.lost {
            return;
        }
        self.set_clock(host);
        let h = &mut self.hosts[host];
        let paths = h.user.act(target, &mut Desk { disk: &mut h.disk, oracle: &mut self.oracle });
        self.tell_trace(|_| format!("host {host}: a person touches {paths:?}"));
        for path in paths {
            self.hint(host, path);
        }
    }

    /// The watcher names a path, if it is awake.
    pub(crate) fn hint(&mut self, host: usize, path: RelPath) {
        if self.is_unquiet(|f| f.hints) && self.dice.percent(40) {
            return;
        }
        let hint = if self.dice.percent(2) { Hint::Everything } else { Hint::Path(path) };
        let times = 1 + usize::from(self.dice.percent(10));
        for _ in 0..times {
            let after = self.dice.range(0, 50_000);
            self.tell_later(host, after, Input::Hint { folder: FOLDER, hint: hint.clone() });
        }
    }

    fn trouble(&mut self, trouble: Trouble) {
        self.tell_trace(|_| format!("trouble: {trouble:?}"));
        match trouble {
            Trouble::Crash(host) => {
                if self.hosts[host].is_up() {
                    self.die(host);
                    self.come_back(host);
                }
            }
            Trouble::Power(host) => {
                if self.hosts[host].is_up() {
                    self.die(host);
                    self.hosts[host].index.power_loss();
                    self.oracle.forgot();
                    let dice = &mut self.dice;
                    self.hosts[host].disk.power_loss(|| dice.percent(30));
                    self.hosts[host].fresh = true;
                    self.come_back(host);
                }
            }
            Trouble::Goodbye(host) => self.request(host, Command::Shutdown),
            Trouble::Disk(host) => {
                let kinds = [ItemErrorKind::Io, ItemErrorKind::DiskFull, ItemErrorKind::PermissionDenied];
                let kind = kinds[self.dice.index(3)];
                let faults = &mut self.hosts[host].disk.faults;
                match self.dice.range(0, 3) {
                    0 => faults.apply = Some(kind),
                    1 => faults.stage = Some(kind),
                    _ => faults.read = true,
                }
                let at = self.now + self.dice.range(10_000, 8_000_000);
                self.push(at, Event::Repaired { host });
            }
            Trouble::Root(host) => {
                self.hosts[host].disk.lost = true;
                let at = self.now + self.dice.range(10_000, 8_000_000);
                self.push(at, Event::Repaired { host });
            }
            Trouble::Clock(host) => {
                let spans = [1_000_000_000, 3_600_000_000_000, 100_000_000_000_000_000];
                let span = spans[self.dice.index(3)];
                self.hosts[host].skew = self.dice.range(0, 2 * span) as i64 - span as i64;
            }
            Trouble::Cut(a, b) => {
                self.cut(a, b);
                let at = self.now + self.dice.range(10_000, 20_000_000);
                self.push(at, Event::Mended { a, b });
            }
            Trouble::Index(host) => {
                let calls = self.dice.range(0, 50);
                self.hosts[host].index.fail_after(calls);
            }
        }
    }

    fn come_back(&mut self, host: usize) {
        let at = self.now + self.dice.range(1_000, 10_000_000);
        self.push(at, Event::Restart { host });
    }

    /// A process ends at once. What the disk was just doing is done or not; nobody hears of it.
    fn die(&mut self, host: usize) {
        let jobs: Vec<u64> = self.hosts[host].jobs.keys().copied().collect();
        for job in jobs {
            for _ in 0..self.dice.range(0, 4) {
                self.step_job(host, job);
            }
        }
        if std::mem::take(&mut self.hosts[host].applying) > 0 {
            self.oracle.forgot();
        }
        let h = &mut self.hosts[host];
        h.jobs.clear();
        h.fetches.clear();
        h.inbox.clear();
        h.node = None;
        h.turn_at = None;
        h.life += 1;
        h.index.crash();
        self.vanish(host);
    }

    fn start(&mut self, host: usize) {
        let h = &mut self.hosts[host];
        let config = Config {
            listen: String::new(),
            device: h.id,
            key: h.key,
            name: format!("host {host}"),
            listen_port: 22_000,
            limits: self.scenario.limits.clone(),
        };
        let fresh_actor = h.fresh;
        h.life += 1;
        h.node = Some(Node::new(config, self.plan.draw()));
        self.tell_trace(|_| format!("host {host}: starts, fresh: {fresh_actor}"));
        self.tell(host, Input::Start { fresh_actor });
    }

    pub(crate) fn tell_later(&mut self, host: usize, after: u64, input: Input) {
        let life = self.hosts[host].life;
        self.push(self.now + after, Event::Tell { host, life, input });
    }

    pub(crate) fn tell(&mut self, host: usize, input: Input) {
        if self.hosts[host].node.is_none() {
            return;
        }
        self.hosts[host].inbox.push_back(input);
        let at = self.now + self.dice.range(20, 300);
        self.turn_by(host, at);
    }

    fn turn_by(&mut self, host: usize, at: u64) {
        let h = &mut self.hosts[host];
        if h.turn_at.is_none_or(|t| t > at) {
            h.turn_at = Some(at);
            let life = h.life;
            self.push(at, Event::Turn { host, life });
        }
    }

    fn set_clock(&mut self, host: usize) -> Moment {
        let h = &mut self.hosts[host];
        let wall = EPOCH + self.now as i64 * 1_000 + h.skew;
        h.disk.wall = wall;
        Moment { now: Instant(self.now), wall: WallTime(wall) }
    }

    /// One batch, as production does it: begin, handle, commit, and only then perform.
    fn turn(&mut self, host: usize) {
        let at = self.set_clock(host);
        let trace = self.trace;
        let h = &mut self.hosts[host];
        h.turn_at = None;
        let count = h.inbox.len().min(BATCH);
        let mut batch: Vec<Input> = h.inbox.drain(..count).collect();
        if batch.is_empty() {
            batch.push(Input::Wake);
        }
        let Some(node) = &mut h.node else { return };
        let applied = batch.iter().filter(|input| matches!(input, Input::Applied { .. })).count();
        let mut outputs = Vec::new();
        let mut lines = Vec::new();
        let mut outcome = h.index.begin();
        let begun = outcome.is_ok();
        for input in batch {
            if outcome.is_err() {
                break;
            }
            if trace {
                lines.push(format!("host {host} <- {}", shown(&input)));
            }
            outcome = node.handle(input, at, &mut h.index);
            self.steps += 1;
            h.steps =
                if h.steps.0 == self.now / 1_000_000 { (h.steps.0, h.steps.1 + 1) } else { (self.now / 1_000_000, 1) };
            while let Some(output) = node.poll_output() {
                outputs.push(output);
            }
        }
        match outcome {
            Ok(()) => outcome = h.index.commit(),
            Err(_) if begun => h.index.rollback(),
            Err(_) => {}
        }
        if outcome.is_ok() {
            h.applying -= applied;
        }
        let wake = node.poll_timeout();
        if h.steps.1 > MAX_STEPS {
            self.oracle.fail(format!("host {host}: {MAX_STEPS} steps within a second: {wake:?}"));
            h.steps.1 = 0;
        }
        self.mix(host as u64, outputs.len() as u64);
        for line in lines {
            self.tell_trace(|_| line.clone());
        }
        if outcome.is_err() {
            self.tell_trace(|_| format!("host {host}: the index failed"));
            self.die(host);
            return self.come_back(host);
        }
        self.hosts[host].fresh = false;
        if self.dice.percent(15) {
            self.hosts[host].index.sync();
        }
        for output in outputs {
            self.perform(host, output);
        }
        if self.hosts[host].is_up() {
            let soon = self.now + self.dice.range(20, 300);
            if let Some((at, _)) = wake {
                self.turn_by(host, at.0.max(soon));
            }
            if !self.hosts[host].inbox.is_empty() {
                self.turn_by(host, soon);
            }
        }
    }

    fn perform(&mut self, host: usize, output: Output) {
        if !self.hosts[host].is_up() {
            return;
        }
        self.tell_trace(|_| format!("host {host} -> {}", shown_output(&output)));
        match output {
            Output::Reply { answer, .. } => {
                match answer {
                    // Not every device has heard of every other when it is told to dial.
                    Err(refusal) if refusal.reason == "no such device" => {}
                    Err(refusal) => self.oracle.fail(format!("host {host}: refused: {}", refusal.reason)),
                    Ok(answer) => debug_assert!(answer == Answer::Ok),
                }
            }
            Output::Event(event) => self.told(host, event),
            Output::Dial { dial, peer, addrs, .. } => self.dial(host, dial, peer, &addrs),
            Output::Admit { link } => self.admit(host, link),
            Output::Send { link, lane, frame } => {
                self.mix(frame.len() as u64, frame.iter().fold(0, |n, b| n.wrapping_mul(31) + u64::from(*b)));
                self.send(host, link, lane, frame);
            }
            Output::HangUp { link, code, reason } => self.hang_up(host, link, code, reason),
            Output::OpenFolder { staged, .. } => self.hosts[host].disk.sweep(&staged),
            Output::CloseFolder { .. } => {}
            Output::Unstage { content, .. } => self.hosts[host].disk.unstage(content),
            Output::FetchList { .. } | Output::FetchBatch { .. } | Output::FetchRange { .. } => {
                self.fetch(host, output)
            }
            Output::Scan { scan, within, .. } => self.begin_job(host, Job::scan(scan, within)),
            Output::Probe { probe, paths, .. } => self.begin_job(host, Job::probe(probe, paths)),
            Output::Apply { apply, ops, .. } => {
                if self.scenario.meddling && !self.calm && self.dice.percent(30) {
                    let target = self.dice.pick(&ops).map(|op| op.path.clone());
                    let at = self.now + self.dice.range(0, 2_000);
                    self.push(at, Event::Act { host, target });
                }
                self.hosts[host].applying += 1;
                self.begin_job(host, Job::apply(apply, ops));
            }
            Output::Copy { copy, content, from, expect, .. } => {
                self.begin_job(host, Job::Copy { copy, content, from, expect });
            }
            Output::Salvage { salvage, contents, .. } => self.begin_job(host, Job::Salvage { salvage, contents }),
            Output::Seal { seal, content, .. } => self.begin_job(host, Job::Seal { seal, content }),
            Output::Finish { finish, content, size, .. } => {
                self.begin_job(host, Job::Finish { finish, content, size });
            }
            Output::Serve { ask, answer } => self.begin_job(host, Job::Serve { ask, answer }),
            Output::Stop => {
                self.die(host);
                self.come_back(host);
            }
        }
    }

    fn told(&mut self, host: usize, event: Told) {
        let Told::LocalChange { path, .. } = event else { return };
        let h = &mut self.hosts[host];
        if h.index.begin().is_err() {
            return;
        }
        let base = h.index.base(FOLDER, &path).ok().flatten();
        h.index.rollback();
        let content = base.and_then(|b| match b.body {
            sync_core::index::Body::File { content, .. } => Some(content),
            sync_core::index::Body::Symlink { target } => Some(sync_core::ContentId::of(&target)),
            sync_core::index::Body::Dir { .. }
            | sync_core::index::Body::Tomb
            | sync_core::index::Body::Member(_)
            | sync_core::index::Body::Policy(_) => None,
        });
        if let Some(content) = content {
            self.oracle.indexed(content);
        }
    }

    pub(crate) fn begin_job(&mut self, host: usize, job: Job) {
        self.next_job += 1;
        let (id, life) = (self.next_job, self.hosts[host].life);
        self.hosts[host].jobs.insert(id, job);
        let at = self.now + self.job_pause();
        self.push(at, Event::Job { host, life, job: id });
    }

    fn job_pause(&mut self) -> u64 {
        if !self.calm && self.dice.percent(5) { self.dice.range(1_000, 400_000) } else { self.dice.range(10, 1_500) }
    }

    fn go_on(&mut self, host: usize, job: u64) {
        if self.step_job(host, job) {
            let at = self.now + self.job_pause();
            let life = self.hosts[host].life;
            self.push(at, Event::Job { host, life, job });
        } else {
            self.hosts[host].jobs.remove(&job);
        }
    }

    /// Goes one step further with a job; the answer is whether there is more to do.
    fn step_job(&mut self, host: usize, job: u64) -> bool {
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

    fn mix(&mut self, a: u64, b: u64) {
        for n in [self.now, a, b] {
            self.digest = (self.digest ^ n).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(17);
        }
    }

    #[allow(clippy::print_stdout)]
    pub(crate) fn tell_trace(&self, line: impl FnOnce(&Self) -> String) {
        if self.trace {
            println!("{:>12.6} {}", self.now as f64 / 1e6, line(self));
        }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }
}

fn host(seed: u64, i: usize, scenario: &Scenario, plan: &mut Dice) -> Host {
    let mut key = [0; 32];
    key.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&plan.draw().to_le_bytes()));
    let key = PublicKey(key);
    let skew = if scenario.faults.skew { plan.range(0, 4_000_000_000_000) as i64 - 2_000_000_000_000 } else { 0 };
    Host {
        id: DeviceId::of_key(&key),
        key,
        index: ModelIndex::default(),
        disk: Disk::default(),
        life: 0,
        jobs: BTreeMap::new(),
        applying: 0,
        fetches: BTreeSet::new(),
        node: None,
        inbox: VecDeque::new(),
        turn_at: None,
        fresh: false,
        skew,
        user: User::new(seed, i, scenario.largest),
        steps: (0, 0),
    }
}

/// An input as the trace has it: frames decoded.
#[allow(clippy::wildcard_enum_match_arm)] // The rest is shown as it is.
fn shown(input: &Input) -> String {
    match input {
        Input::Received { link, lane, frame } => match sync_core::wire::decode(frame) {
            Ok(message) => format!("{link:?} {lane:?} {message:?}"),
            Err(error) => format!("{link:?} {lane:?} {error}"),
        },
        other => format!("{other:?}"),
    }
}

#[allow(clippy::wildcard_enum_match_arm)] // The rest is shown as it is.
fn shown_output(output: &Output) -> String {
    match output {
        Output::Send { link, lane, frame } => match sync_core::wire::decode(frame) {
            Ok(message) => format!("Send {link:?} {lane:?} {}", message.name()),
            Err(error) => format!("{error}"),
        },
        other => format!("{other:?}"),
    }
}

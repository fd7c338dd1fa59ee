//! One device: driven as production drives it, a batch of inputs in one transaction of the index, and the outputs only
//! after the commit.

use crate::case::{Breakage, Deed};
use crate::core::account::Heard;
use crate::core::disk::{Disk, Entry, Node as Kind, Tree, content_of};
use crate::core::index::ModelIndex;
use crate::core::jobs::Job;
use crate::core::net::{FOLDER, address};
use crate::core::trace::{shown, shown_output};
use crate::core::user::User;
use crate::core::world::{EPOCH, Event, World};
use crate::dice::{Dice, Domain};
use crate::oracle::resume::Kept;
use crate::oracle::{is_copy, is_copy_of};
use crate::outcome::Invariant;
use crate::scenario::Scenario;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use sync_core::id::{AskId, LinkId, PublicKey, RequestId};
use sync_core::index::{Body, Dot, FolderState, Index, Key, Policy, project, winner};
use sync_core::input::Lane;
use sync_core::output::Answer;
use sync_core::wire::{Caught, Message};
use sync_core::{
    CloseCode, Command, Config, ContentId, DeviceId, Event as Told, Input, Instant, Moment, Node, Output, RelPath,
    WallTime,
};

/// Steps of one node in a second above which it is busy with nothing.
const MAX_STEPS: u32 = 5_000;
/// A request whose answer is a promise.
const PROMISE: RequestId = RequestId(1);
/// The wish to stop, of which nothing is to last.
const FAREWELL: RequestId = RequestId(2);
/// Inputs in one batch.
const BATCH: usize = 64;

/// Whether a device takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It does.
    Member,
    /// It was removed: the others do without it, and refuse it.
    Removed,
    /// It is off, and nobody waits for it.
    Retired,
}

/// A device as it was once.
#[derive(Clone)]
pub(super) struct Backup {
    pub(super) index: ModelIndex,
    /// The tree, where the index had seen all of it.
    pub(super) tree: Option<Tree>,
    /// What it remembered then: whoever is set back to numbers that were given twice has them again.
    pub(super) remembers: Option<FolderState>,
}

/// One device.
pub(super) struct Host {
    pub(super) id: DeviceId,
    pub(super) key: PublicKey,
    pub(super) index: ModelIndex,
    /// What it can be set back to.
    pub(super) backup: Option<Backup>,
    pub(super) disk: Disk,
    pub(super) standing: Standing,
    /// Whether it may have forgotten something since all was last at rest: what it comes back with may be anything.
    pub(super) unsure: bool,
    pub(super) life: u32,
    pub(super) jobs: BTreeMap<u64, Job>,
    /// Applies begun and not committed yet.
    pub(super) applying: usize,
    /// What those have changed.
    pub(super) unheard: BTreeSet<RelPath>,
    pub(super) fetches: BTreeSet<AskId>,
    /// Connections of nobody it knows.
    pub(super) strangers: BTreeSet<LinkId>,
    /// What it has staged for good.
    pub(super) kept: Kept,
    node: Option<Node>,
    inbox: VecDeque<Input>,
    /// When the next turn is.
    pub(super) turn_at: Option<u64>,
    /// Until when process and disk stand still.
    pub(super) paused_until: u64,
    pub(super) stalled_until: u64,
    /// After how many more parts of staged files it dies, and what then happens.
    pub(super) dies_amid: Option<(u64, Deed)>,
    /// Until when it is hostile.
    pub(super) hostile_until: u64,
    /// Whether the database may have forgotten dots, and the node has not been told yet.
    pub(super) fresh: bool,
    /// What the database had when it was set back, and nothing told the node.
    pub(super) remembers: Option<FolderState>,
    /// Whether the database is a new one, in which the folder is to be shared and the device to be paired anew.
    pub(super) is_bare: bool,
    /// By how much the wall clock is wrong, nanoseconds, and how fast it goes astray.
    pub(super) skew_ns: i64,
    pub(super) drift_ppm: i64,
    pub(super) user: User,
    /// Streams of choices.
    pub(super) pace: Dice,
    pub(super) watcher: Dice,
    pub(super) disk_dice: Dice,
    pub(super) meddler: Dice,
    pub(super) hostility: Dice,
    /// Which second it is, and steps in it.
    steps: (u64, u32),
}

impl Host {
    pub(super) fn new(seed: u64, number: usize, scenario: &Scenario) -> Self {
        let stream = |domain| Dice::new(seed, domain, number as u64);
        let (mut key, mut keys) = ([0; 32], stream(Domain::Keys));
        key.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&keys.draw().to_le_bytes()));
        let key = PublicKey(key);
        Self {
            id: DeviceId::of_key(&key),
            key,
            index: ModelIndex::default(),
            backup: None,
            disk: Disk::default(),
            standing: Standing::Member,
            unsure: false,
            life: 0,
            jobs: BTreeMap::new(),
            applying: 0,
            unheard: BTreeSet::new(),
            fetches: BTreeSet::new(),
            strangers: BTreeSet::new(),
            kept: Kept::default(),
            node: None,
            inbox: VecDeque::new(),
            turn_at: None,
            paused_until: 0,
            stalled_until: 0,
            dies_amid: None,
            hostile_until: 0,
            fresh: false,
            remembers: None,
            is_bare: false,
            skew_ns: 0,
            drift_ppm: 0,
            user: User::new(number, scenario),
            pace: stream(Domain::Pace),
            watcher: stream(Domain::Watcher),
            disk_dice: stream(Domain::Disk),
            meddler: stream(Domain::Meddling),
            hostility: stream(Domain::Hostile),
            steps: (0, 0),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.node.is_some()
    }

    /// What it says of its state.
    pub(super) fn status(&mut self) -> Option<sync_core::status::Status> {
        let node = self.node.as_ref()?;
        self.index.look(|index| node.status(index).ok())
    }

    /// Counts a step. Whether there are too many of them.
    fn step(&mut self, now: u64) -> bool {
        let second = now / 1_000_000;
        self.steps = if self.steps.0 == second { (second, self.steps.1 + 1) } else { (second, 1) };
        self.steps.1 > MAX_STEPS
    }

    /// Paths whose version shows at two places of this disk, with the other one: at the name that another version is about
    /// to take, and as a copy. It is to stay as a copy, whatever happens at the name.
    pub(super) fn twins(&mut self) -> BTreeMap<RelPath, RelPath> {
        let (disk, index) = (&self.disk, &mut self.index);
        let mut twins = BTreeMap::new();
        for (copy, entry) in disk.entries().iter().filter(|(path, _)| is_copy(path)) {
            let Some(content) = content_of(entry) else { continue };
            let is_twin = |(path, entry): &(&RelPath, &Entry)| {
                content_of(entry) == Some(content) && !is_copy(path) && is_copy_of(copy, path)
            };
            for (path, _) in disk.entries().iter().filter(is_twin) {
                let is_known = index.look(|index| {
                    let mut held =
                        |path: &RelPath| Some(body_content(&index.base(FOLDER, path).ok()??.body)? == content);
                    let is_held = held(path)? && held(copy)?;
                    let row = index.row(FOLDER, &Key::Path(path.clone())).ok()??;
                    let loses = body_content(&winner(&row, &Policy::Newest)?.1.body) != Some(content);
                    let is_there = row.siblings.values().any(|v| body_content(&v.body) == Some(content));
                    Some(is_held && loses && is_there)
                });
                if is_known == Some(true) {
                    twins.insert(path.clone(), copy.clone());
                    twins.insert(copy.clone(), path.clone());
                }
            }
        }
        twins
    }

    /// Whether a look at the disk tells what was done and not heard of for what it is: the only version that the rows have
    /// there shows, and what base speaks of is history. Then nothing is forgotten by a process that dies now.
    fn knows_what_it_did(&mut self) -> bool {
        let (disk, index) = (&self.disk, &mut self.index);
        self.unheard.iter().all(|path| {
            let base = index.look(|index| index.base(FOLDER, path).ok()?);
            let row = index.look(|index| index.row(FOLDER, &Key::Path(path.clone())).ok()?).unwrap_or_default();
            let entry = disk.get(path);
            if base.as_ref().map(|b| b.stat) == entry.map(Entry::stat) {
                return true;
            }
            let is_replaced = |dot: Dot| !row.siblings.contains_key(&dot);
            let is_history = base.as_ref().is_none_or(|b| b.dot.is_some_and(is_replaced));
            let live: Vec<&Body> = row.siblings.values().map(|v| &v.body).filter(|body| body.is_live()).collect();
            // What it put there was deleted or replaced meanwhile, as the row says.
            let is_past = |content: ContentId| row.siblings.values().any(|v| v.prev == content.prefix());
            let is_shown = match (entry, &live[..]) {
                (None, []) => true,
                (Some(Entry { node: Kind::Dir, .. }), [Body::Dir { .. }]) => true,
                (Some(entry), [body]) if content_of(entry) == body_content(body) => content_of(entry).is_some(),
                (Some(entry), [] | [_]) => content_of(entry).is_some_and(is_past),
                _ => false,
            };
            is_history && is_shown && !is_copy(path)
        })
    }

    /// Directories on the disk of which the index knows nothing but that something is to be in them.
    fn strays(&mut self) -> Vec<RelPath> {
        let (disk, index) = (&self.disk, &mut self.index);
        let dirs = disk.entries().iter().filter(|(_, entry)| entry.node == Kind::Dir).map(|(path, _)| path);
        let is_stray = |path: &&RelPath| {
            let is_implied = index.look(|index| {
                let row = index.row(FOLDER, &Key::Path((*path).clone())).ok()?.unwrap_or_default();
                let has_base = index.base(FOLDER, path).ok()?.is_some();
                let main = project(&row, index.live_below(FOLDER, path).ok()?, &Policy::Newest).main;
                Some(!has_base && matches!(main, Some((None, _))))
            });
            is_implied == Some(true)
        };
        dirs.filter(is_stray).cloned().collect()
    }

    /// Everything that is only in memory is gone.
    fn forget(&mut self) {
        self.jobs.clear();
        self.fetches.clear();
        self.strangers.clear();
        self.inbox.clear();
        self.kept.died();
        self.node = None;
        self.turn_at = None;
        self.applying = 0;
        self.unheard.clear();
        self.life += 1;
        self.index.crash();
    }
}

impl World {
    /// The process ends at once. What the disk was just doing is done or not; nobody hears of it.
    pub(super) fn die(&mut self, host: usize) {
        let jobs: Vec<u64> = self.hosts[host].jobs.keys().copied().collect();
        for job in jobs {
            for _ in 0..self.hosts[host].disk_dice.range(0, 4) {
                self.step_job(host, job);
            }
        }
        if self.hosts[host].applying > 0 && !self.hosts[host].knows_what_it_did() {
            self.oracle.forgot();
            self.hosts[host].unsure = true;
        }
        self.hosts[host].forget();
        self.vanish(host);
    }

    pub(super) fn start(&mut self, host: usize) {
        let is_off = self.broken == Some((host, Breakage::Down));
        let h = &self.hosts[host];
        if h.standing == Standing::Retired || is_off || h.is_up() {
            return;
        }
        if h.fresh {
            // Where it had written before it met anybody, numbers that were given twice are not its own any more.
            if self.goes_on(host).is_some_and(|(then, now)| now.seq > then.seq) {
                self.oracle.endured_hostility();
            }
            self.hosts[host].remembers = None;
        }
        let h = &mut self.hosts[host];
        let config = Config {
            listen: String::new(),
            device: h.id,
            key: h.key,
            name: format!("host {host}"),
            listen_port: 22_000,
            limits: self.case.scenario.knobs.limits(),
        };
        let fresh_actor = h.fresh;
        h.life += 1;
        let entity = host as u64 * 1_000 + u64::from(h.life);
        h.node = Some(Node::new(config, Dice::new(self.case.seed, Domain::Nodes, entity).draw()));
        let strays = h.strays();
        self.oracle.strayed(host, strays);
        self.oracle.dials.started(host);
        self.tell_trace(host, |_| format!("starts, fresh: {fresh_actor}"));
        self.tell(host, Input::Start { fresh_actor });
        if self.hosts[host].is_bare {
            self.share(host);
            self.pair_all_with(host);
        }
    }

    /// A person shares the folder on `host`.
    pub(super) fn share(&mut self, host: usize) {
        let root = Box::from(&b"/root"[..]);
        self.request(host, Command::ShareFolder { folder: FOLDER, name: "folder".into(), root });
    }

    /// People at two devices pair them.
    pub(super) fn pair(&mut self, a: usize, b: usize) {
        for (me, other) in [(a, b), (b, a)] {
            let mut dice = Dice::new(self.case.seed, Domain::Pairing, (me * 64 + other) as u64);
            let knows_address = me == b || dice.percent(50);
            let (device, key) = (self.hosts[other].id, self.hosts[other].key);
            let command = Command::Pair {
                device,
                key,
                name: format!("host {other}"),
                addr: knows_address.then(|| address(other)),
                folder: FOLDER,
                folder_name: "folder".into(),
                root: Some(Box::from(&b"/root"[..])),
            };
            self.request(me, command);
        }
    }

    pub(super) fn request(&mut self, host: usize, command: Command) {
        let request = if matches!(command, Command::Shutdown) { FAREWELL } else { PROMISE };
        self.tell(host, Input::Request { request, command });
    }

    pub(super) fn tell_later(&mut self, host: usize, after: u64, input: Input) {
        let life = self.hosts[host].life;
        self.push(self.now + after, Event::Tell { host, life, input });
    }

    pub(super) fn tell(&mut self, host: usize, input: Input) {
        let h = &mut self.hosts[host];
        if h.node.is_none() {
            return;
        }
        h.inbox.push_back(input);
        let at = self.now + h.pace.range(20, 300);
        self.turn_by(host, at);
    }

    /// A host that stood still goes on.
    pub(super) fn wake(&mut self, host: usize) {
        if self.hosts[host].turn_at.is_some() {
            self.turn_by(host, self.now + 1);
        }
    }

    fn turn_by(&mut self, host: usize, at: u64) {
        let h = &mut self.hosts[host];
        let at = at.max(h.paused_until);
        if h.turn_at.is_none_or(|t| t > at) {
            h.turn_at = Some(at);
            let life = h.life;
            self.push(at, Event::Turn { host, life });
        }
    }

    pub(super) fn set_clock(&mut self, host: usize) -> Moment {
        let now = self.now;
        let h = &mut self.hosts[host];
        let elapsed = i64::try_from(now).unwrap_or(i64::MAX / 1_000_000);
        let wall = EPOCH + elapsed * 1_000 + elapsed / 1_000 * h.drift_ppm + h.skew_ns;
        h.disk.wall = wall;
        Moment { now: Instant(now), wall: WallTime(wall) }
    }

    /// One batch, as production does it: begin, handle, commit, and only then perform.
    pub(super) fn turn(&mut self, host: usize) {
        let at = self.set_clock(host);
        let (now, trace) = (self.now, self.trace);
        let h = &mut self.hosts[host];
        h.turn_at = None;
        let Some(node) = &mut h.node else { return };
        let count = h.inbox.len().min(BATCH);
        let mut batch: Vec<Input> = h.inbox.drain(..count).collect();
        if batch.is_empty() {
            batch.push(Input::Wake);
        }
        for input in &batch {
            if let Input::Request { command: Command::DialNow(peer) | Command::Pair { device: peer, .. }, .. } = input {
                self.oracle.dials.wished(host, *peer, now);
            }
        }
        let mut outputs = Vec::new();
        let mut heard = Vec::new();
        let mut lines = Vec::new();
        let mut outcome = h.index.begin();
        let begun = outcome.is_ok();
        let steps = batch.len();
        for input in batch {
            if outcome.is_err() {
                break;
            }
            if trace {
                lines.push(format!("<- {}", shown(&input)));
            }
            heard.extend(Heard::of(&input).map(|heard| (outputs.len(), heard)));
            outcome = node.handle(input, at, &mut h.index);
            while let Some(output) = node.poll_output() {
                outputs.push(output);
            }
        }
        match outcome {
            Ok(()) => outcome = h.index.commit(),
            Err(_) if begun => h.index.rollback(),
            Err(_) => {}
        }
        let wake = node.poll_timeout();
        let is_busy = (0..steps).fold(false, |busy, _| h.step(now) || busy);
        self.steps += steps as u64;
        if is_busy {
            let what = format!("host {host}: {MAX_STEPS} steps within a second: {wake:?}");
            self.oracle.fail(Invariant::BoundedRetry, what);
        }
        self.mix(host as u64, outputs.len() as u64);
        lines.into_iter().for_each(|line| self.tell_trace(host, |_| line));
        if outcome.is_err() {
            self.tell_trace(host, |_| "the index failed".into());
            self.strike("index-failure");
            self.die(host);
            return self.come_back(host);
        }
        self.committed(host, &heard);
        self.may_be_told(host, &outputs);
        self.took_in(host, &outputs);
        self.keeps_account(host, &heard, &outputs);
        outputs.into_iter().for_each(|output| self.perform(host, output));
        if self.hosts[host].is_up() {
            let soon = self.now + self.hosts[host].pace.range(20, 300);
            if let Some((at, _)) = wake {
                self.turn_by(host, at.0.max(soon));
            }
            if !self.hosts[host].inbox.is_empty() {
                self.turn_by(host, soon);
            }
        }
    }

    /// A batch is in the index.
    fn committed(&mut self, host: usize, heard: &[(usize, Heard)]) {
        let h = &mut self.hosts[host];
        h.fresh = false;
        h.applying -= heard.iter().filter(|(_, heard)| matches!(heard, Heard::Applied)).count();
        if h.applying == 0 {
            h.unheard.clear();
        }
        if h.disk_dice.percent(15) {
            h.index.sync();
        }
    }

    /// What is in the index is known, whether or not the device is still there to tell of it: one that stops says nothing
    /// of what came behind the wish to stop in the same batch.
    fn took_in(&mut self, host: usize, outputs: &[Output]) {
        for output in outputs {
            let Output::Event(Told::LocalChange { path, .. }) = output else { continue };
            let base = self.hosts[host].index.look(|index| index.base(FOLDER, path).ok().flatten());
            let content = base.and_then(|b| body_content(&b.body));
            content.into_iter().for_each(|content| self.oracle.indexed(content));
            let h = &mut self.hosts[host];
            let (disk, index) = (&h.disk, &mut h.index);
            self.oracle.took_in(host, path, |twin, content| {
                let base = index.look(|index| index.base(FOLDER, twin).ok()?);
                let is_held = base.and_then(|b| body_content(&b.body)) == Some(content);
                is_held && disk.get(twin).and_then(content_of) == Some(content)
            });
        }
    }

    fn perform(&mut self, host: usize, output: Output) {
        if !self.hosts[host].is_up() {
            return;
        }
        self.tell_trace(host, |_| format!("-> {}", shown_output(&output)));
        match output {
            Output::Reply { request, answer } => {
                if request == PROMISE && answer.is_ok() && !self.hosts[host].index.is_durable() {
                    let what = format!("host {host} has told its person what a power loss takes back");
                    self.oracle.fail(Invariant::Durability, what);
                }
                self.answered(host, answer.map_err(|refusal| refusal.reason));
            }
            Output::Event(event) => self.told(host, event),
            Output::Dial { dial, peer, addrs, .. } => {
                if let Err(what) = self.oracle.dials.dialled(host, peer, self.now) {
                    self.oracle.fail(Invariant::BoundedRetry, what);
                }
                self.dial(host, dial, peer, &addrs);
            }
            Output::Admit { link } => {
                if self.hosts[host].strangers.contains(&link) {
                    let what = format!("host {host} lets a stranger in");
                    self.oracle.fail(Invariant::NoUnauthenticatedEffect, what);
                }
                self.admit(host, link);
            }
            Output::Send { link, lane, frame } => self.say(host, link, lane, frame),
            Output::HangUp { link, code, reason } => self.hangs_up(host, link, code, reason),
            Output::OpenFolder { staged, .. } => {
                self.hosts[host].disk.sweep(&staged);
                staged.into_iter().for_each(|content| self.holds_what_it_keeps(host, content));
            }
            Output::CloseFolder { .. } => {}
            Output::Unstage { content, .. } => {
                self.hosts[host].disk.unstage(content);
            }
            Output::FetchList { .. } | Output::FetchBatch { .. } | Output::FetchRange { .. } => {
                self.fetch(host, output);
            }
            Output::Scan { scan, within, .. } => self.begin_job(host, Job::scan(scan, within)),
            Output::Probe { probe, paths, .. } => {
                paths.iter().for_each(|(path, _)| self.oracle.looked(host, path));
                self.begin_job(host, Job::probe(probe, paths));
            }
            Output::Apply { apply, ops, .. } => {
                self.meddle(host, &ops);
                self.hosts[host].applying += 1;
                self.begin_job(host, Job::apply(apply, ops));
            }
            Output::Copy { copy, content, from, expect, .. } => {
                self.begin_job(host, Job::Copy { copy, content, from, expect });
            }
            Output::Reuse { reuse, content, chunks, kept, basis, .. } => {
                self.begin_job(host, Job::Reuse { reuse, content, chunks, kept, basis });
            }
            Output::Salvage { salvage, contents, .. } => self.begin_job(host, Job::Salvage { salvage, contents }),
            Output::Seal { seal, content, .. } => {
                self.begin_job(host, Job::Seal { seal, content });
            }
            Output::Finish { finish, content, size, .. } => {
                self.begin_job(host, Job::Finish { finish, content, size });
            }
            Output::Serve { ask, answer } => {
                self.takes_on(host, ask, &answer);
                self.begin_job(host, Job::Serve { ask, answer });
            }
            Output::Stop => {
                self.die(host);
                self.come_back(host);
            }
        }
    }

    fn answered(&mut self, host: usize, answer: Result<Answer, String>) {
        // Not every device has heard of every other, or has the folder, when its person wants something.
        let is_early =
            |reason: &str| ["no such device", "no such folder", "this folder is shared already"].contains(&reason);
        match answer {
            Err(reason) if is_early(&reason) => {}
            Err(reason) => self.oracle.fail(Invariant::HealthTruth, format!("host {host}: refused: {reason}")),
            Ok(_) => {}
        }
    }

    /// Something is sent, and noted if the sender is honest.
    fn say(&mut self, host: usize, link: LinkId, lane: Lane, frame: Vec<u8>) {
        self.mix(frame.len() as u64, frame.iter().fold(0, |n: u64, b| n.wrapping_mul(31) + u64::from(*b)));
        match sync_core::wire::decode(&frame) {
            // What a hostile member has made up is passed on in good faith.
            Ok(_) if self.oracle.has_endured_hostility() => {}
            // From here on it tells different devices different things, and nobody is to blame.
            Ok(message) if self.cannot_know(host, &message) => self.oracle.endured_hostility(),
            Ok(message) => {
                if let Err(what) = self.oracle.sayings.said(host, &message) {
                    self.oracle.fail(Invariant::Durability, what);
                }
                if let Message::Caught(caught) = &message
                    && let Some(path) = self.still_to_come(host, caught)
                {
                    let what = format!("host {host} says that it has applied {}, which it has not yet", path.display());
                    self.oracle.fail(Invariant::HealthTruth, what);
                }
            }
            Err(error) => {
                self.oracle.fail(Invariant::Versions, format!("host {host} sends what is no message: {error}"))
            }
        }
        self.send(host, link, lane, frame);
    }

    /// A path whose only version a device has just said for the first time that it has applied, while it has its bytes
    /// nowhere in its tree.
    fn still_to_come(&mut self, host: usize, caught: &Caught) -> Option<RelPath> {
        let before = self.oracle.sayings.applied(host, caught);
        if before == caught.applied || self.oracle.is_unsure() {
            return None;
        }
        self.hosts[host].index.look(|index| {
            let pending = index.pending(FOLDER, None, usize::MAX).ok()?;
            pending.into_iter().find(|path| {
                let row = index.row(FOLDER, &Key::Path(path.clone())).ok().flatten().unwrap_or_default();
                let [(dot, value)] = &row.siblings.iter().collect::<Vec<_>>()[..] else { return false };
                let Body::File { content, .. } = &value.body else { return false };
                let is_new = caught.applied.contains(**dot) && !before.contains(**dot) && !row.noskip;
                is_new && index.holders(*content, 1).is_ok_and(|held| held.is_empty())
            })
        })
    }

    fn hangs_up(&mut self, host: usize, link: LinkId, code: CloseCode, reason: String) {
        if self.hosts[host].strangers.remove(&link) {
            if code != CloseCode::NotAuthorised {
                let what = format!("host {host} turns a stranger away with {code:?}: {reason}");
                self.oracle.fail(Invariant::NoUnauthenticatedEffect, what);
            }
            return self.tell_later(host, 500, Input::LinkDown { link, code: CloseCode::None, reason });
        }
        self.hang_up(host, link, code, reason);
    }

    fn told(&mut self, host: usize, event: Told) {
        match event {
            Told::LocalChange { path, change, .. } => {
                let is_there = self.hosts[host].disk.get(&path).is_some();
                if change == "deleted" && is_there && !self.oracle.was_gone(host, &path) {
                    let what = format!("host {host}: {} counts as deleted, and never was", path.display());
                    self.oracle.fail(Invariant::NoPhantomDelete, what);
                }
            }
            Told::DialFailed { peer, .. } => self.oracle.dials.failed(host, peer, self.now),
            Told::PeerConnected { peer, .. } => self.oracle.dials.connected(host, peer, self.now),
            Told::PeerDisconnected { peer, .. } => self.oracle.dials.disconnected(host, peer, self.now),
            Told::Refused { .. }
            | Told::FolderState { .. }
            | Told::RemoteChange { .. }
            | Told::ConflictFound { .. }
            | Told::ItemFailed { .. }
            | Told::TransferCompleted { .. }
            | Told::Audit { .. } => {}
        }
    }
}

/// What identifies the content of a version.
pub(super) fn body_content(body: &Body) -> Option<ContentId> {
    match body {
        Body::File { content, .. } => Some(*content),
        Body::Symlink { target } => Some(ContentId::of(target)),
        Body::Dir { .. } | Body::Tomb | Body::Member(_) | Body::Policy(_) => None,
    }
}

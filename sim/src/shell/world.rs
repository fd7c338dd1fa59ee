//! The world: hosts on turmoil's network, moved on millisecond by millisecond, with people, faults and the oracle around
//! them.

use super::clock::{self, EPOCH_NS};
use super::host::{Host, seed_thread};
use super::links::{Links, Way};
use super::people::{CANARY, Person};
use super::plan::{Plan, Trouble};
use super::stranger::Knocks;
use super::tree::Tree;
use crate::dice::{Dice, Domain};
use crate::oracle::Oracle;
use crate::outcome::{Invariant, Outcome};
use io_shell::api::handle::{DaemonRequest, Reply};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// How far the simulation moves at once.
const TICK: Duration = Duration::from_millis(1);
/// How long an answer may take, milliseconds.
pub(super) const ANSWER_MS: u64 = 40_000;
/// Datagrams that may wait at a socket of turmoil's.
const UDP_CAPACITY: usize = 1 << 16;

/// One run.
pub struct World {
    /// Hosts and network.
    pub sim: turmoil::Sim<'static>,
    /// The hosts.
    pub hosts: Vec<Host>,
    /// The ways between them.
    pub links: Arc<Links>,
    /// The ledger.
    pub oracle: Oracle,
    pub(super) plan: Plan,
    pub(super) seed: u64,
    pub(super) dice: Dice,
    pub(super) people: Vec<Person>,
    pub(super) trees: Vec<Tree>,
    /// When a host itself has changed its folder last, milliseconds.
    pub(super) changed_at: Vec<u64>,
    pub(super) knocks: Rc<RefCell<Knocks>>,
    pub(super) faults: BTreeMap<&'static str, u64>,
    pub(super) edits: u64,
    pub(super) now_ms: u64,
    pub(super) broken: bool,
    _base: TempDir,
}

impl World {
    /// The hosts of `plan`, started, but strangers to each other.
    pub fn new(seed: u64, plan: Plan) -> Self {
        seed_thread(seed);
        let links = Arc::new(Links::new(seed, vec![CANARY.as_bytes().to_vec()]));
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .epoch(SystemTime::UNIX_EPOCH + Duration::from_nanos(EPOCH_NS.unsigned_abs()))
            .tick_duration(TICK)
            .min_message_latency(Duration::ZERO)
            .max_message_latency(Duration::ZERO)
            .udp_capacity(UDP_CAPACITY)
            .build();
        let base = TempDir::with_prefix_in("landropic-sim-", scratch());
        #[allow(clippy::expect_used)]
        let base = base.expect("the simulator needs a place for temporary files");
        let mut hosts = Vec::new();
        for number in 0..plan.hosts {
            let ip = sim.lookup(format!("h{number}"));
            let made = Host::new((seed, number as u64), ip, base.path(), plan.limits(), plan.trash(), links.clone());
            #[allow(clippy::expect_used)]
            let host = made.expect("the simulator's temporary files can be written");
            sim.host(host.name.clone(), host.software());
            hosts.push(host);
        }
        let people = (0..plan.hosts).map(|host| Person::new(seed, host as u64, plan.largest)).collect();
        let trees: Vec<Tree> = hosts.iter().map(|host| Tree::new(&host.root)).collect();
        Self {
            sim,
            hosts,
            links,
            oracle: Oracle::default(),
            dice: Dice::new(seed, Domain::ShellWorld, 0),
            plan,
            seed,
            people,
            changed_at: vec![0; trees.len()],
            trees,
            knocks: Rc::default(),
            faults: BTreeMap::new(),
            edits: 0,
            now_ms: 0,
            broken: false,
            _base: base,
        }
    }

    /// Lives through the plan.
    pub fn run(mut self) -> Outcome {
        if let Err(what) = self.meet() {
            self.fail(Invariant::Convergence, format!("the hosts could not be paired: {what}"));
        }
        if self.plan.has(Trouble::Stranger) && !self.broken {
            self.let_stranger_in();
        }
        for _ in 0..self.plan.rounds {
            if self.is_over() {
                break;
            }
            self.unrest();
            self.heal();
            self.rest();
        }
        self.outcome()
    }

    /// Whether there is nothing more to be learnt.
    pub fn is_over(&self) -> bool {
        self.broken || !self.oracle.violations.is_empty()
    }

    /// Milliseconds of virtual time so far.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    pub(super) fn now(&self) -> Duration {
        Duration::from_millis(self.now_ms)
    }

    pub(super) fn events(&self) -> u64 {
        self.links.total().datagrams + self.edits + self.hosts.iter().map(|host| host.disk.jobs()).sum::<u64>()
    }

    /// Notes a violation.
    pub fn fail(&mut self, invariant: Invariant, what: String) {
        self.oracle.now = (self.now_ms * 1_000, self.events());
        self.oracle.fail(invariant, what);
    }

    pub(super) fn count(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// Moves on by one tick, and looks at what hosts have done.
    pub fn step(&mut self) {
        if self.broken {
            return;
        }
        clock::set_outside(self.now());
        if let Err(error) = self.sim.step() {
            self.broken = true;
            self.fail(Invariant::Containment, format!("a host ended: {error}"));
        }
        self.now_ms += 1;
        for i in 0..self.hosts.len() {
            self.oracle.now = (self.now_ms * 1_000, 0);
            self.notice(i);
        }
        for leak in self.links.take_leaks() {
            self.fail(Invariant::WireSecrecy, leak);
        }
        self.watch_stranger();
    }

    /// Asks a host and moves on until it answers.
    ///
    /// # Errors
    /// Its refusal, or that no answer came.
    pub fn ask<T>(&mut self, host: usize, make: impl FnOnce(Reply<T>) -> DaemonRequest) -> Result<T, String> {
        let Some(mut answer) = self.hosts[host].ask(make) else { return Err(format!("h{host} is not up")) };
        for _ in 0..ANSWER_MS {
            self.step();
            match answer.try_recv() {
                Ok(answer) => return answer.map_err(|refusal| refusal.reason),
                Err(tokio::sync::oneshot::error::TryRecvError::Empty) => {}
                Err(tokio::sync::oneshot::error::TryRecvError::Closed) => break,
            }
        }
        Err(format!("h{host} does not answer"))
    }

    /// Sets every way between two hosts.
    pub fn set_ways(&self, way: Way) {
        for (a, b) in self.pairs() {
            let (a, b) = (self.hosts[a].ip, self.hosts[b].ip);
            self.links.set(a, b, way);
            self.links.set(b, a, way);
        }
    }

    /// Cuts or mends the direction from one host to another.
    pub fn cut(&mut self, a: usize, b: usize, cut: bool) {
        self.links.cut(self.hosts[a].ip, self.hosts[b].ip, cut);
    }

    /// The paths that a host showed when it was looked at last.
    pub fn shown(&self, host: usize) -> impl Iterator<Item = String> {
        self.trees[host].faces().map(|(path, _)| path.display())
    }

    /// Ends what runs on a host, in the middle of whatever it does.
    pub fn crash(&mut self, host: usize) {
        if !self.hosts[host].is_up() {
            return;
        }
        self.count("crash");
        if self.changed_at[host] + 1 >= self.now_ms {
            // It has changed its folder in this moment, and may not have noted it.
            self.oracle.forgot();
        }
        self.hosts[host].dead();
        self.sim.crash(self.hosts[host].name.clone());
    }

    /// Starts what runs on a host again.
    pub fn start(&mut self, host: usize) {
        if !self.hosts[host].is_up() && !self.sim.is_host_running(self.hosts[host].name.clone()) {
            self.sim.bounce(self.hosts[host].name.clone());
        }
    }

    fn heal(&mut self) {
        self.set_ways(Way::CALM);
        for (a, b) in self.pairs() {
            self.cut(a, b, false);
            self.cut(b, a, false);
        }
        for host in 0..self.hosts.len() {
            self.hosts[host].disk.set_bad(0);
            self.hosts[host].disk.set_meddled(0);
            self.move_root(host, false);
            self.start(host);
        }
    }

    /// What the run has come to.
    pub fn outcome(mut self) -> Outcome {
        let mut digest = self.links.digest();
        for tree in &mut self.trees {
            drop(tree.look());
            tree.digest(&mut digest);
        }
        let mut faults = self.links.faults();
        for (fault, count) in self.hosts.iter().flat_map(|host| host.disk.faults()).chain(self.faults.clone()) {
            *faults.entry(fault).or_default() += count;
        }
        faults.insert("stranger", self.knocks.borrow().refused);
        let events = self.events();
        let mut first = [0; 8];
        digest.finalize_xof().fill(&mut first);
        Outcome {
            marks: Vec::new(),
            violations: std::mem::take(&mut self.oracle.violations),
            digest: u64::from_le_bytes(first),
            events,
            virtual_us: self.now_ms * 1_000,
            faults,
        }
    }
}

/// Where temporary files are: in memory if there is such a place, because what is made durable there costs nothing.
fn scratch() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let is_usable = TempDir::with_prefix_in("landropic-sim-", memory).is_ok();
    if is_usable { memory.into() } else { std::env::temp_dir() }
}

//! One run: daemons, people, wires, a small disk, and what becomes of them.

use crate::directory::Directory;
use crate::events::Events;
use crate::ledger::Ledger;
use crate::person::Person;
use crate::plan::{Deed, Plan};
use crate::relay::Relay;
use crate::watch::Watch;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sim::oracle::Oracle;
use sim::outcome::Invariant;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tests::mount::Mount;
use tests::{Daemon, Lab};

/// How long healing may take: a dial at a moment when nobody answers, and its repetition, are in it.
const REST: Duration = Duration::from_secs(60);
/// How long all may say that they are in sync when they are not: what was just changed has to be noticed first.
const NOTICE: Duration = Duration::from_secs(5);
/// The pause between two looks while that is waited for.
const LOOK: Duration = Duration::from_millis(20);
/// How large the small disk is.
const SMALL: &str = "24m";

/// A run under way.
pub(crate) struct World<'l> {
    watch: Watch,
    events: Vec<Events>,
    daemons: Vec<Daemon<'l>>,
    people: Vec<Person>,
    wires: Vec<Relay>,
    ledger: Arc<Mutex<Ledger>>,
    stopped: BTreeSet<usize>,
    /// What fills the small disk, and whether it does.
    filler: PathBuf,
    is_full: bool,
    small: Option<Mount>,
    faults: BTreeMap<&'static str, u64>,
}

impl<'l> World<'l> {
    /// Starts the devices of `plan`; the first holds the others together.
    pub(crate) fn new(lab: &'l Lab, seed: u64, plan: &Plan) -> Self {
        let ledger = Arc::new(Mutex::new(Ledger::new()));
        let mut daemons: Vec<Daemon<'_>> = (0..plan.hosts).map(|host| Daemon::new(lab, &format!("h{host}"))).collect();
        let has_fill = plan.rounds.iter().flatten().any(|(_, deed)| *deed == Deed::Fill);
        let small = if has_fill { Mount::tmpfs(&lab.path("small"), SMALL) } else { None };
        if small.is_some()
            && let Some(last) = daemons.last_mut()
        {
            last.root = lab.path("small/folder");
            fs::create_dir(&last.root).unwrap();
        }
        let people = daemons.iter().enumerate().map(|(host, daemon)| Person::new(seed, host, &daemon.root)).collect();
        let roots = daemons.iter().map(|daemon| daemon.root.clone()).collect();
        let (first, others) = daemons.split_first_mut().unwrap();
        first.up();
        let mut wires = Vec::new();
        for (number, other) in others.iter_mut().enumerate() {
            let wire = Relay::between(u8::try_from(number).unwrap(), first.listen, other.listen);
            let (root, code, at) = (other.root.clone(), first.invite(), wire.first.to_string());
            other.start(&[root.as_os_str(), OsStr::new("--join"), code.as_ref(), OsStr::new("--at"), at.as_ref()]);
            wires.push(wire);
        }
        let events = (0..plan.hosts).map(Events::new).collect();
        let watch = Watch::over(roots, Arc::clone(&ledger));
        let (filler, stopped, faults) = (lab.path("small/filler"), BTreeSet::new(), BTreeMap::new());
        Self { watch, events, daemons, people, wires, ledger, stopped, filler, is_full: false, small, faults }
    }

    /// A time of unrest, then healing and rest. Returns whether everything held.
    pub(crate) fn round(&mut self, steps: &[(u64, Deed)]) -> bool {
        let began = Instant::now();
        for (at, deed) in steps {
            // The plan's pace, not somebody's: nothing is waited for here.
            std::thread::sleep(Duration::from_millis(*at).saturating_sub(began.elapsed()));
            self.carry_out(*deed);
        }
        self.heal();
        self.come_to_rest();
        assert!(self.watch.is_awake(), "the watch over the folders has come to an end");
        self.ledger().oracle.violations.is_empty()
    }

    /// The ledger, which nobody else touches meanwhile.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn carry_out(&mut self, deed: Deed) {
        match deed {
            Deed::Act(host) => {
                let is_full = self.is_full && host + 1 == self.daemons.len();
                let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
                self.people[host].act(&mut ledger, is_full);
            }
            Deed::Kill(host) if self.daemons[host].is_up() => {
                self.daemons[host].kill9();
                self.stopped.remove(&host);
                self.ledger().killed();
                self.struck("kill -9", host);
            }
            Deed::Up(host) if !self.daemons[host].is_up() => {
                self.daemons[host].spawn(&[]);
                self.ledger().note(format!("host {host} starts"));
            }
            Deed::Stop(host) if self.daemons[host].is_up() && self.stopped.insert(host) => {
                self.signal(host, Signal::STOP);
                self.struck("SIGSTOP", host);
            }
            Deed::Go(host) if self.stopped.remove(&host) => {
                self.signal(host, Signal::CONT);
                self.ledger().note(format!("host {host} goes on"));
            }
            Deed::Cut(wire) => {
                self.wires[wire].cut(true);
                self.struck("cut link", wire);
            }
            Deed::Mend(wire) => {
                self.wires[wire].cut(false);
                self.ledger().note(format!("wire {wire} is mended"));
            }
            Deed::Fill if self.small.is_some() && !self.is_full => {
                self.is_full = true;
                let mut filler = File::create(&self.filler).unwrap();
                let block = vec![1; 1 << 16];
                while filler.write_all(&block).is_ok() {}
                self.struck("full disk", self.daemons.len() - 1);
            }
            Deed::Empty if self.is_full => {
                self.is_full = false;
                fs::remove_file(&self.filler).unwrap();
                self.ledger().note("there is room again".to_owned());
            }
            Deed::Kill(_) | Deed::Up(_) | Deed::Stop(_) | Deed::Go(_) | Deed::Fill | Deed::Empty => {}
        }
    }

    fn struck(&mut self, what: &'static str, whom: usize) {
        *self.faults.entry(what).or_default() += 1;
        self.ledger().note(format!("{what}: {whom}"));
    }

    fn signal(&self, host: usize, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.daemons[host].pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Ends all trouble.
    fn heal(&mut self) {
        (0..self.wires.len()).for_each(|wire| self.carry_out(Deed::Mend(wire)));
        self.carry_out(Deed::Empty);
        for host in 0..self.daemons.len() {
            self.carry_out(Deed::Go(host));
            self.carry_out(Deed::Up(host));
        }
        for (host, daemon) in self.daemons.iter_mut().enumerate() {
            let lab = daemon.lab;
            lab.wait_within(REST, "a healed daemon answers", || {
                if let Some(status) = daemon.exited() {
                    panic!("invariant 16 (Containment): host {host} ended by itself with {status}");
                }
                let outcome = daemon.cli(&["status"]);
                if outcome.code == 0 { Ok(()) } else { Err(outcome.stderr) }
            });
            self.events[host].listen(daemon, &mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Waits until all show the same and say so, and judges it.
    fn come_to_rest(&mut self) {
        let until = Instant::now() + REST;
        let mut lied_since = None;
        let (invariant, what) = loop {
            let patience = until.saturating_duration_since(Instant::now()).min(Duration::from_secs(1));
            self.daemons.iter().for_each(|daemon| drop(daemon.wait(patience)));
            let unrest = self.unrest();
            let folders: Vec<Directory> = self.daemons.iter().map(|daemon| Directory::read(&daemon.root)).collect();
            let folders: Vec<(usize, &Directory)> = folders.iter().enumerate().collect();
            let difference = Oracle::difference(&folders, |_| false);
            match (unrest, difference) {
                // Nobody has begun anything while the folders were looked at.
                (None, None) if self.unrest().is_none() => {
                    let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
                    self.events.iter_mut().for_each(|events| events.hear(&mut ledger));
                    ledger.note("all is at rest".to_owned());
                    return ledger.at_rest(&folders);
                }
                (None, None) => {}
                (None, Some(difference)) => {
                    if lied_since.get_or_insert_with(Instant::now).elapsed() > NOTICE {
                        break (Invariant::HealthTruth, format!("all say that they are in sync: {difference}"));
                    }
                    std::thread::sleep(LOOK);
                }
                (Some(unrest), difference) => {
                    lied_since = None;
                    if Instant::now() > until {
                        let difference = difference.unwrap_or_else(|| "folders are the same".to_owned());
                        break (Invariant::Convergence, format!("no rest within {REST:?}: {difference} [{unrest}]"));
                    }
                }
            }
        };
        self.ledger().oracle.fail(invariant, what);
    }

    /// What the daemons say is missing, if anything, or who is not connected.
    fn unrest(&self) -> Option<String> {
        let missing = self.daemons.iter().enumerate().filter_map(|(host, daemon)| {
            let status = daemon.status();
            let connected = |peers: &Vec<Value>| peers.iter().filter(|peer| peer["state"] == "connected").count();
            let connected = status["peers"].as_array().map_or(0, connected);
            let wanted = if host == 0 { self.daemons.len() - 1 } else { 1 };
            let is_denied = status["missing"].as_array().is_none_or(|missing| !missing.is_empty());
            if (status["synced"] == true) == is_denied {
                let what = format!("host {host}: the status contradicts itself: {status}");
                self.ledger().oracle.fail(Invariant::HealthTruth, what);
            }
            let said = || format!("host {host}: {} {}", status["missing"], status["folders"][0]["errors"]);
            if connected < wanted {
                return Some(format!("host {host} has {connected} of {wanted} links; {}", said()));
            }
            (status["synced"] != true).then(said)
        });
        missing.reduce(|all, one| format!("{all}; {one}"))
    }

    /// How often what struck, and what the daemons told of.
    pub(crate) fn figures(&self) -> BTreeMap<String, u64> {
        let mut figures: BTreeMap<String, u64> =
            self.faults.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect();
        for (what, count) in self.events.iter().flat_map(|events| &events.counts) {
            *figures.entry(what.clone()).or_default() += count;
        }
        figures.insert("datagrams lost in cut links".into(), self.wires.iter().map(Relay::swallowed).sum());
        figures.insert("files looked into".into(), self.watch.read());
        figures.insert("deeds".into(), self.ledger().events() as u64);
        figures
    }
}

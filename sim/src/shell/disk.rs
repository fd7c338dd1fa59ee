//! Work on the disk of a host: real files, virtual delays, and errors at the door when the disk is told to be bad.

use super::clock::HostClock;
use super::meddler::Meddler;
use super::tree::Change;
use crate::dice::{Dice, Domain};
use io_shell::fs::door::{Disk, Step, on_disk};
use io_shell::world::{Job, Work};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// `EIO` and `ENOSPC` of Linux.
const ERRORS: [(i32, &str); 2] = [(5, "disk-io"), (28, "disk-full")];
/// Longest a job waits for its turn, milliseconds.
const SLOWEST_MS: u64 = 4;

/// The disk of one host, across its starts.
#[derive(Clone)]
pub struct HostDisk {
    state: Arc<Mutex<State>>,
    stirred: Arc<AtomicBool>,
    jobs: Arc<AtomicU64>,
}

struct State {
    dice: Dice,
    /// Steps that fail, in a hundred.
    bad_percent: u64,
    meddler: Meddler,
    faults: BTreeMap<&'static str, u64>,
}

impl HostDisk {
    /// The disk of host number `host`, whose folder is at `root`.
    pub fn new(seed: u64, host: u64, root: &Path, clock: HostClock) -> Self {
        let (dice, faults) = (Dice::new(seed, Domain::ShellDisks, host), BTreeMap::new());
        let state = State { dice, bad_percent: 0, meddler: Meddler::new(seed, host, root, clock), faults };
        Self { state: Arc::new(Mutex::new(state)), stirred: Arc::default(), jobs: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on so many of a hundred steps fail.
    pub fn set_bad(&self, percent: u64) {
        self.lock().bad_percent = percent;
    }

    /// From here on somebody meddles in so many of a hundred moves.
    pub fn set_meddled(&self, percent: u64) {
        self.lock().meddler.set_percent(percent);
    }

    /// What was meddled with since this was asked last.
    pub fn take_meddled(&self) -> Vec<Change> {
        self.lock().meddler.take_done()
    }

    /// How often it failed, by error.
    pub fn faults(&self) -> BTreeMap<&'static str, u64> {
        self.lock().faults.clone()
    }

    /// Whether a job has run since this was asked last.
    pub fn take_stirred(&self) -> bool {
        self.stirred.swap(false, Relaxed)
    }

    /// How many jobs have run.
    pub fn jobs(&self) -> u64 {
        self.jobs.load(Relaxed)
    }

    /// Lets somebody meddle right before a move. Returns whether somebody did.
    fn meddle(&self) -> bool {
        let mut state = self.lock();
        let did = state.meddler.meddle();
        if did {
            *state.faults.entry("meddling").or_default() += 1;
        }
        did
    }

    fn fails(&self, step: Step) -> Option<i32> {
        let mut state = self.lock();
        let percent = state.bad_percent;
        if percent == 0 || !state.dice.percent(percent) {
            return None;
        }
        // Only what takes room finds none.
        let takes_room = matches!(step, Step::Allocate | Step::Write);
        let (errno, name) = ERRORS[if takes_room { state.dice.index(ERRORS.len()) } else { 0 }];
        *state.faults.entry(name).or_default() += 1;
        Some(errno)
    }
}

impl Work for HostDisk {
    /// Jobs wait for a random time, so that they overtake each other as those of a pool of threads do. One that waits when
    /// its host dies never runs.
    fn run(&self, job: Job) {
        let this = self.clone();
        let delay = Duration::from_millis(self.lock().dice.range(0, SLOWEST_MS));
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            this.jobs.fetch_add(1, Relaxed);
            this.stirred.store(true, Relaxed);
            // Once in a job: what is put back after a surprise is not surprised again, and the way back is open. Where it is
            // not, the trash keeps the bytes, and only the log says so.
            let is_meddled = Cell::new(false);
            let disk: Disk = Rc::new(move |step| {
                let goes_back = step == Step::Move && is_meddled.get();
                if step == Step::Move && !goes_back {
                    is_meddled.set(this.meddle());
                }
                if goes_back { None } else { this.fails(step) }
            });
            on_disk(disk, job);
        });
    }
}

//! What the command line does: runs of many seeds, replays, and the search for small cases.
#![allow(clippy::print_stdout)]

use crate::outcome::Outcome;
use crate::run::{self, AnyCase, guarded, replay_command};
use crate::{coverage, shell, shrink};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use sync_core::proving::Point;

/// One seed in so many is run twice: the same seed is the same run.
const RERUN: u64 = 20;
/// How often the progress line changes.
const PROGRESS_PAUSE: Duration = Duration::from_millis(250);

/// Which world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorldKind {
    /// Nodes of the shipping core on one queue of events.
    Core,
    /// Devices of the shipping shell, with real QUIC and TLS, on a simulated network and real files.
    Turmoil,
}

impl WorldKind {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Turmoil => "turmoil",
        }
    }

    /// Lives through one seed.
    pub fn live(self, seed: u64, trace: bool) -> Outcome {
        match self {
            Self::Core => run::run(seed, trace),
            Self::Turmoil => shell::run(seed, trace),
        }
    }
}

/// Seeds from one on, up to another or for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seeds {
    /// The first.
    pub from: u64,
    /// The first beyond.
    pub until: u64,
}

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' are no seeds: give A..B, or A.. to go on until told to stop");
        let (from, until) = text.split_once("..").ok_or_else(wrong)?;
        let from = from.parse().map_err(|_| wrong())?;
        let until = if until.is_empty() { u64::MAX } else { until.parse().map_err(|_| wrong())? };
        if from < until { Ok(Self { from, until }) } else { Err(wrong()) }
    }
}

/// What `run` is asked for.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// The world.
    pub world: WorldKind,
    /// The seeds.
    pub seeds: Seeds,
    /// When to stop, whatever is left.
    pub budget: Option<Duration>,
    /// Whether to end with one JSON document.
    pub json: bool,
    /// Whether a point that such runs must reach and do not is a failure.
    pub complete: bool,
    /// Seeds at the same time.
    pub threads: Option<usize>,
}

/// A seed that broke something.
#[derive(Clone, Debug, Serialize)]
struct Broken {
    seed: u64,
    replay: String,
    violations: Vec<String>,
}

/// What many runs came to: the document of `run --json`.
#[derive(Debug, Default, Serialize)]
struct Summary {
    seeds: u64,
    violations: Vec<Broken>,
    events: u64,
    simulated_secs: f64,
    wall_secs: f64,
    events_per_sec: f64,
    /// Seconds of simulated time in one of real time.
    ratio: f64,
    reruns: u64,
    digest: String,
    sometimes: Sometimes,
    faults: BTreeMap<&'static str, u64>,
}

/// Points of the code that a run must reach some time.
#[derive(Debug, Default, Serialize)]
struct Sometimes {
    hit: BTreeMap<&'static str, u64>,
    missed: Vec<&'static str>,
}

/// The runs under way.
struct Campaign {
    options: RunOptions,
    begun: Instant,
    next: AtomicU64,
    stop: AtomicBool,
    done: AtomicU64,
    total: Mutex<Total>,
}

#[derive(Default)]
struct Total {
    summary: Summary,
    digest: u64,
    simulated_us: u64,
    busy: Duration,
}

fn code(is_good: bool) -> ExitCode {
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs seeds and reports. The code is a failure if any of them broke an invariant, or was not the same run a second time.
pub fn run(options: &RunOptions) -> ExitCode {
    let campaign = Campaign {
        options: *options,
        begun: Instant::now(),
        next: AtomicU64::new(options.seeds.from),
        stop: AtomicBool::new(false),
        done: AtomicU64::new(0),
        total: Mutex::default(),
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = options.threads.unwrap_or(cores).max(1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| campaign.work())).collect();
        scope.spawn(|| campaign.watch());
        workers.into_iter().for_each(|worker| drop(worker.join()));
        campaign.stop.store(true, Relaxed);
    });
    let summary = campaign.summary();
    report(&summary, options.json);
    let is_complete = !options.complete || summary.sometimes.missed.is_empty();
    code(summary.violations.is_empty() && is_complete)
}

impl Campaign {
    fn is_over(&self) -> bool {
        self.stop.load(Relaxed) || self.options.budget.is_some_and(|budget| self.begun.elapsed() >= budget)
    }

    fn work(&self) {
        while !self.is_over() {
            let seed = self.next.fetch_add(1, Relaxed);
            if seed >= self.options.seeds.until {
                return;
            }
            self.live(seed);
            self.done.fetch_add(1, Relaxed);
        }
    }

    fn live(&self, seed: u64) {
        let begun = cpu_time();
        let world = self.options.world;
        let outcome = guarded(|| world.live(seed, false));
        let busy = cpu_time().saturating_sub(begun);
        let mut violations: Vec<String> = outcome.violations.iter().map(ToString::to_string).collect();
        let is_rerun = seed.is_multiple_of(RERUN);
        if is_rerun {
            violations.extend(divergence(&outcome, &guarded(|| world.live(seed, false))));
        }
        let mut total = self.total.lock().unwrap_or_else(PoisonError::into_inner);
        let summary = &mut total.summary;
        summary.seeds += 1;
        summary.reruns += u64::from(is_rerun);
        summary.events += outcome.events;
        outcome.faults.iter().for_each(|(fault, n)| *summary.faults.entry(fault).or_default() += n);
        if !violations.is_empty() {
            let broken = Broken { seed, replay: replay_command(world.name(), seed), violations };
            if !self.options.json {
                clear_progress();
                show(&broken);
            }
            summary.violations.push(broken);
        }
        // Whatever order they come in.
        total.digest = total.digest.wrapping_add(outcome.digest.rotate_left((seed % 63) as u32));
        total.simulated_us += outcome.virtual_us;
        total.busy += busy;
    }

    /// Shows how far it is, and listens for somebody who wants it to stop.
    fn watch(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            let mut told = std::pin::pin!(tokio::signal::ctrl_c());
            while !self.stop.load(Relaxed) {
                tokio::select! {
                    biased;
                    _ = &mut told => self.stop.store(true, Relaxed),
                    () = tokio::time::sleep(PROGRESS_PAUSE) => self.show_progress(),
                }
            }
        });
        clear_progress();
    }

    fn show_progress(&self) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        let (done, seconds) = (self.done.load(Relaxed), self.begun.elapsed().as_secs_f64());
        let failed = self.total.lock().unwrap_or_else(PoisonError::into_inner).summary.violations.len();
        eprint!("\r{done} seeds, {failed} broken, {:.0} seeds/s \u{1b}[K", done as f64 / seconds);
    }

    fn summary(self) -> Summary {
        let total = self.total.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut summary = total.summary;
        let busy = total.busy.as_secs_f64().max(1e-9);
        summary.wall_secs = self.begun.elapsed().as_secs_f64();
        summary.simulated_secs = total.simulated_us as f64 / 1e6;
        summary.events_per_sec = (summary.events as f64 / busy).round();
        summary.ratio = (summary.simulated_secs / busy).round();
        summary.digest = format!("{:016x}", total.digest);
        summary.violations.sort_by_key(|broken| broken.seed);
        summary.sometimes = Sometimes {
            hit: coverage::hit().map(|(point, times)| (point.name(), times)).collect(),
            missed: coverage::missed(self.options.world).into_iter().map(Point::name).collect(),
        };
        summary
    }
}

/// What this thread has used of its core: others may use it as well.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn clear_progress() {
    if std::io::stderr().is_terminal() {
        eprint!("\r\u{1b}[K");
    }
}

/// How two runs of the same seed differ.
fn divergence(first: &Outcome, second: &Outcome) -> Option<String> {
    if (first.digest, first.events) == (second.digest, second.events) {
        return None;
    }
    let same = first.marks.iter().zip(&second.marks).take_while(|(a, b)| a == b).count() * 1_000;
    Some(format!("the same seed was not the same run: the first difference is within 1,000 events after event {same}"))
}

fn show(broken: &Broken) {
    println!("seed {}: {}", broken.seed, broken.replay);
    broken.violations.iter().for_each(|violation| println!("  {violation}"));
}

fn report(summary: &Summary, json: bool) {
    if json {
        println!("{}", serde_json::to_string(summary).unwrap_or_default());
        return;
    }
    println!(
        "{} seeds, {} broken, {} of them run twice, digest {}\n{} events, {:.0} a second on one core; {:.0} s simulated \
         in {:.1} s, {:.0} s in one second of one core",
        summary.seeds,
        summary.violations.len(),
        summary.reruns,
        summary.digest,
        summary.events,
        summary.events_per_sec,
        summary.simulated_secs,
        summary.wall_secs,
        summary.ratio,
    );
    if !summary.sometimes.missed.is_empty() {
        println!("never reached: {}", summary.sometimes.missed.join(", "));
    }
}

/// Runs a case again.
pub fn replay(case: &AnyCase, trace: bool) -> ExitCode {
    judged(&case.live(trace))
}

fn judged(outcome: &Outcome) -> ExitCode {
    println!(
        "digest {:016x}, {} events, {:.1} s simulated",
        outcome.digest,
        outcome.events,
        outcome.virtual_us as f64 / 1e6
    );
    outcome.violations.iter().for_each(|violation| println!("  {violation}"));
    code(outcome.violations.is_empty())
}

/// Makes a case smaller and writes it down.
///
/// # Errors
/// There is nothing to shrink, or it cannot be written.
pub fn shrink(case: AnyCase, out: &Path, budget: Duration) -> Result<ExitCode, String> {
    match case {
        AnyCase::Core(case) => shrink_one(case, |case| (case.to_text(), case.steps(), "steps"), out, budget),
        AnyCase::Turmoil(case) => {
            shrink_one(case, |case| (case.to_text(), case.plan.troubles.len(), "kinds of trouble"), out, budget)
        }
    }
}

/// The text of a case, how much of what it holds, for people.
type Shown<T> = fn(&T) -> (String, usize, &'static str);

fn shrink_one<T: shrink::Tape>(case: T, shown: Shown<T>, out: &Path, budget: Duration) -> Result<ExitCode, String> {
    let ((_, before, unit), begun) = (shown(&case), Instant::now());
    // What panics is tried many times.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let shrunk = shrink::shrink(case, budget);
    std::panic::set_hook(hook);
    let Some((case, outcome, runs)) = shrunk else {
        return Err("it breaks no invariant: there is nothing to shrink".into());
    };
    let (text, after, _) = shown(&case);
    std::fs::write(out, text).map_err(|e| format!("cannot write {}: {e}", out.display()))?;
    println!("{before} {unit} came down to {after} in {runs} runs, {:.1} s", begun.elapsed().as_secs_f64());
    outcome.violations.iter().for_each(|violation| println!("  {violation}"));
    println!("cargo run --release -p sim -- replay {} --trace", out.display());
    Ok(ExitCode::SUCCESS)
}

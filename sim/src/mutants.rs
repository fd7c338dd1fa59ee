//! How we know that the simulator finds bugs: each seeded fault of our own code is hunted until some seed shows it.
//!
//! Which fault the code has is one choice for the whole process, so faults are hunted one after the other, each on all
//! cores. A hunt begins at several fixed seeds, so that what is printed is a median and not luck.

mod expected;

use crate::cli::WorldKind;
use crate::outcome::Invariant;
use crate::run::{AnyCase, guarded};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use sync_core::proving::{Mutant, mutate};

pub use expected::{Expected, expected};

/// Distance of the seeds at which hunts for one fault begin.
const BASE: u64 = 1 << 32;
/// One seed in so many is lived through twice, to see whether it comes to the same.
const TWICE: u64 = 16;

/// What to hunt, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only faults whose names hold this.
    pub only: Option<String>,
    /// The committed cases, some of which are there for a fault.
    pub cases: Vec<(String, AnyCase)>,
    /// How many hunts for each.
    pub hunts: u64,
    /// Seeds in one hunt at most.
    pub seeds: u64,
    /// Time for one hunt at most.
    pub time: Duration,
    /// Runs at once.
    pub threads: usize,
    /// How many of a hundred must be found.
    pub least: usize,
}

/// Threads that run at the same time here.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The fault of this name.
///
/// # Errors
/// There is none.
pub fn named(name: &str) -> Result<Mutant, String> {
    let found = Mutant::ALL.iter().copied().find(|mutant| mutant.name() == name);
    found.ok_or_else(|| format!("there is no seeded fault '{name}': 'sim mutants' lists them"))
}

/// What gave a fault away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sign {
    /// Something that must hold did not.
    Broken(Invariant),
    /// The same seed came to something else the second time.
    Unrepeatable,
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(invariant) => write!(f, "{invariant:?}"),
            Self::Unrepeatable => f.write_str("Unrepeatable"),
        }
    }
}

/// The first seed of a hunt that showed the fault.
#[derive(Clone, Debug)]
pub struct Catch {
    /// The seed.
    pub seed: u64,
    /// How many seeds it took, this one included.
    pub seeds: u64,
    /// What gave it away.
    pub sign: Sign,
    /// What was seen.
    pub what: String,
}

/// What came of all hunts for one fault.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The fault.
    pub mutant: Mutant,
    /// The committed cases that find it.
    pub cases: Vec<String>,
    /// Each hunt that ended well.
    pub catches: Vec<Catch>,
    /// How many hunts there were.
    pub hunts: u64,
    /// How many seeds showed something else than what is expected: the fault, in part, or another bug.
    pub strays: Strays,
    /// How long they took.
    pub time: Duration,
}

/// Signs that were not expected, and how often they were seen.
pub type Strays = BTreeMap<Sign, u64>;

impl Verdict {
    /// Whether a committed case finds it, or every hunt ended well.
    pub fn is_dead(&self) -> bool {
        !self.cases.is_empty() || self.is_hunted_down()
    }

    /// Whether every hunt ended well.
    pub fn is_hunted_down(&self) -> bool {
        self.catches.len() as u64 == self.hunts
    }

    /// Seeds that half of the hunts took at most; none if fewer ended well.
    pub fn median_seeds(&self) -> Option<u64> {
        let mut seeds: Vec<u64> = self.catches.iter().map(|c| c.seeds).collect();
        seeds.sort_unstable();
        seeds.get(usize::try_from(self.hunts / 2).ok()?).copied()
    }

    /// What gave it away, each sign once.
    pub fn signs(&self) -> Vec<Sign> {
        let mut signs: Vec<Sign> = self.catches.iter().map(|c| c.sign).collect();
        signs.sort_unstable();
        signs.dedup();
        signs
    }
}

/// What came of everything.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Each fault.
    pub verdicts: Vec<Verdict>,
    /// Seeds that fail without any fault of ours seeded: bugs.
    pub bugs: BTreeSet<u64>,
}

impl Report {
    /// Faults that some hunt did not find.
    pub fn survivors(&self) -> impl Iterator<Item = &Verdict> {
        self.verdicts.iter().filter(|v| !v.is_dead())
    }
}

/// Hunts every fault in the world that is to show it. `tell` hears each verdict as it falls.
pub fn run(options: &Options, mut tell: impl FnMut(&Verdict)) -> Report {
    let mut report = Report::default();
    let is_wanted = |m: Mutant| options.only.as_ref().is_none_or(|part| m.name().contains(part.as_str()));
    for mutant in Mutant::ALL.iter().copied().filter(|m| is_wanted(*m)) {
        let verdict = hunt_all(mutant, options, &mut report.bugs);
        tell(&verdict);
        report.verdicts.push(verdict);
    }
    report
}

/// The committed cases that are there for a fault, and find it.
fn found_by(mutant: Mutant, cases: &[(String, AnyCase)]) -> Vec<String> {
    mutate(Some(mutant));
    let shows = |case: &AnyCase| {
        let violations = case.live(false).violations;
        violations.iter().any(|v| is_sign_of(mutant, Sign::Broken(v.invariant)))
    };
    let found = cases.iter().filter(|(_, case)| case.mutant() == Some(mutant.name()) && shows(case));
    let names = found.map(|(name, _)| name.clone()).collect();
    mutate(None);
    names
}

fn is_sign_of(mutant: Mutant, sign: Sign) -> bool {
    expected(mutant).signs.contains(&sign)
}

/// Hunts one fault from each of its bases.
fn hunt_all(mutant: Mutant, options: &Options, bugs: &mut BTreeSet<u64>) -> Verdict {
    let (begun, mut strays) = (Instant::now(), Strays::new());
    let cases = found_by(mutant, &options.cases);
    let catches = (1..=options.hunts).filter_map(|n| {
        let mut from = n * BASE;
        loop {
            let found = hunt(mutant, from..n * BASE + options.seeds, options, &mut strays)?;
            // A seed that fails all the same shows another bug than the one that is hunted.
            if expected(mutant).world.live(found.seed, false).violations.is_empty() {
                return Some(Catch { seeds: found.seed + 1 - n * BASE, ..found });
            }
            bugs.insert(found.seed);
            from = found.seed + 1;
        }
    });
    let catches = catches.collect();
    Verdict { mutant, cases, catches, hunts: options.hunts, strays, time: begun.elapsed() }
}

/// The first of `seeds` that shows the fault, whatever the number of threads.
pub fn hunt(mutant: Mutant, seeds: Range<u64>, options: &Options, strays: &mut Strays) -> Option<Catch> {
    let Range { start: from, end: to } = seeds;
    let (next, until) = (AtomicU64::new(from), Instant::now() + options.time);
    let others = Mutex::new(strays);
    let first: Mutex<Option<Catch>> = Mutex::new(None);
    let best = AtomicU64::new(to);
    // Many a fault ends in a panic, which is a finding and no news.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    mutate(Some(mutant));
    std::thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= best.load(Relaxed) || Instant::now() > until {
                        return;
                    }
                    let Some(catch) = judge(expected(mutant).world, seed, seed + 1 - from) else { continue };
                    // What breaks something else may be another bug that this seed shows all the same.
                    if !is_sign_of(mutant, catch.sign) {
                        *lock(&others).entry(catch.sign).or_default() += 1;
                        continue;
                    }
                    best.fetch_min(seed, Relaxed);
                    let mut first = lock(&first);
                    if first.as_ref().is_none_or(|f| f.seed > seed) {
                        *first = Some(catch);
                    }
                    return;
                }
            });
        }
    });
    mutate(None);
    std::panic::set_hook(hook);
    first.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// What a lock guards, whoever has panicked meanwhile: runs catch their own panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn judge(world: WorldKind, seed: u64, seeds: u64) -> Option<Catch> {
    let live = |seed| guarded(|| world.live(seed, false));
    let outcome = live(seed);
    if let Some(v) = outcome.violations.first() {
        return Some(Catch { seed, seeds, sign: Sign::Broken(v.invariant), what: v.what.clone() });
    }
    if !seed.is_multiple_of(TWICE) || live(seed).digest == outcome.digest {
        return None;
    }
    Some(Catch { seed, seeds, sign: Sign::Unrepeatable, what: "another digest the second time".into() })
}

/// The heading of the table.
pub fn heading() -> String {
    format!(
        "{:<22} {:>4} {:>5} {:>7} {:>7}  {:<44} what it is",
        "fault", "case", "found", "median", "seconds", "by (expected)"
    )
}

/// One line of the table.
pub fn line(verdict: &Verdict) -> String {
    let names = |signs: &[Sign]| signs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut by = names(&verdict.signs());
    if by.is_empty() {
        by = format!("({})", names(expected(verdict.mutant).signs));
    }
    by.extend(verdict.strays.iter().map(|(sign, times)| format!(" [{times} {sign}]")));
    format!(
        "{:<22} {:>4} {:>3}/{} {:>7} {:>7.1}  {:<44} {}",
        verdict.mutant.name(),
        verdict.cases.len(),
        verdict.catches.len(),
        verdict.hunts,
        verdict.median_seeds().map_or_else(|| "-".into(), |n| n.to_string()),
        verdict.time.as_secs_f64(),
        by,
        verdict.mutant.about()
    )
}

/// The table for programs.
pub fn json(report: &Report) -> serde_json::Value {
    let name = |sign: &Sign| sign.to_string();
    let verdict = |v: &Verdict| {
        serde_json::json!({
            "name": v.mutant.name(),
            "what": v.mutant.about(),
            "world": expected(v.mutant).world.name(),
            "why": expected(v.mutant).why,
            "expected": expected(v.mutant).signs.iter().map(name).collect::<Vec<_>>(),
            "caught_by": v.signs().iter().map(name).collect::<Vec<_>>(),
            "strays": v.strays.iter().map(|(sign, times)| (name(sign), *times)).collect::<BTreeMap<_, _>>(),
            "cases": v.cases,
            "found": v.catches.len(),
            "hunts": v.hunts,
            "median_seeds": v.median_seeds(),
            "seconds": v.time.as_secs_f64(),
            "seeds": v.catches.iter().map(|c| c.seed).collect::<Vec<_>>(),
        })
    };
    serde_json::json!({
        "mutants": report.verdicts.iter().map(verdict).collect::<Vec<_>>(),
        "killed": report.verdicts.iter().filter(|v| v.is_dead()).count(),
        "hunted_down": report.verdicts.iter().filter(|v| v.is_hunted_down()).count(),
        "survivors": report.survivors().map(|v| v.mutant.name()).collect::<Vec<_>>(),
        "bugs": report.bugs,
    })
}

/// Hunts, and prints the table. Fails if too many faults are left.
#[allow(clippy::print_stdout)]
pub fn show(options: &Options, as_json: bool) -> ExitCode {
    if !as_json {
        println!("{}", heading());
    }
    let report = run(options, |verdict| {
        if !as_json {
            println!("{}", line(verdict));
        }
    });
    let survivors: Vec<&str> = report.survivors().map(|v| v.mutant.name()).collect();
    if as_json {
        println!("{}", json(&report));
    } else {
        let (all, dead) = (report.verdicts.len(), report.verdicts.len() - survivors.len());
        let hunted = report.verdicts.iter().filter(|v| v.is_hunted_down()).count();
        println!(
            "{dead} of {all} found, {hunted} of them by seeds alone; alive: {survivors:?}; seeds that fail by themselves: {:?}",
            report.bugs
        );
    }
    let dead = report.verdicts.len() - survivors.len();
    let is_enough = dead * 100 >= report.verdicts.len() * options.least;
    if is_enough && report.bugs.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

//! Real daemons under people who never stop and faults that strike all at once: killed, stopped, cut off, without
//! room. The simulator's oracle judges what becomes of the folders.
//!
//! A few seeds run always; `LANDROPIC_CHAOS_SEEDS=A..B` runs as many as one likes. A seed stands for what is done, not for
//! how fast: the same seed need not fail twice.

#![allow(clippy::unwrap_used)]

mod directory;
mod events;
mod ledger;
mod person;
mod plan;
mod relay;
mod watch;
mod world;

use plan::{Deed, Plan};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tests::Lab;
use world::World;

/// The seeds that always run: two devices and three, and every fault.
const ALWAYS: [u64; 3] = [3, 4, 20];
/// Runs side by side.
const ABREAST: usize = 3;
/// The longest that one run may take.
const LIMIT: Duration = Duration::from_secs(300);

/// The seeds to run.
fn seeds() -> Vec<u64> {
    let Ok(text) = std::env::var("LANDROPIC_CHAOS_SEEDS") else { return ALWAYS.into() };
    let range: Option<Range<u64>> =
        text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    range.unwrap_or_else(|| panic!("LANDROPIC_CHAOS_SEEDS={text} is not as in 1..100")).collect()
}

/// Runs one seed. Returns how often what happened.
fn run(seed: u64) -> BTreeMap<String, u64> {
    let began = Instant::now();
    let plan = Plan::of(seed);
    let lab = Lab::new(LIMIT);
    let mut world = World::new(&lab, seed, &plan);
    for (number, round) in plan.rounds.iter().enumerate() {
        world.ledger().note(format!("round {number}"));
        if !world.round(round) {
            let ledger = world.ledger();
            let violations: Vec<String> = ledger.oracle.violations.iter().map(ToString::to_string).collect();
            let history = ledger.history();
            // The daemons print their logs when they are dropped, and the watch wants the ledger once more.
            drop(ledger);
            panic!(
                "seed {seed}, round {number}: what must hold does not\n  {}\nwhat happened:\n{history}\n\
                 again: LANDROPIC_CHAOS_SEEDS={seed}..{}",
                violations.join("\n  "),
                seed + 1
            );
        }
    }
    let figures = world.figures();
    eprintln!("seed {seed}: {} devices, {:.1} s, {figures:?}", plan.hosts, began.elapsed().as_secs_f64());
    figures
}

#[test]
fn real_processes_lose_nothing_whatever_strikes_them() {
    let left = Mutex::new(seeds().into_iter());
    let total = Mutex::new(BTreeMap::<String, u64>::new());
    std::thread::scope(|scope| {
        for _ in 0..ABREAST {
            scope.spawn(|| {
                while let Some(seed) = { left.lock().unwrap().next() } {
                    let figures = run(seed);
                    let mut total = total.lock().unwrap();
                    figures.into_iter().for_each(|(what, count)| *total.entry(what).or_default() += count);
                }
            });
        }
    });
    eprintln!("altogether: {:?}", total.lock().unwrap());
}

#[test]
fn the_seeds_that_always_run_strike_with_everything() {
    let deeds: Vec<Deed> =
        ALWAYS.into_iter().flat_map(|seed| Plan::of(seed).rounds).flatten().map(|(_, deed)| deed).collect();
    let strikes: [fn(&Deed) -> bool; 4] = [
        |deed| matches!(deed, Deed::Kill(_)),
        |deed| matches!(deed, Deed::Stop(_)),
        |deed| matches!(deed, Deed::Cut(_)),
        |deed| matches!(deed, Deed::Fill),
    ];
    for strike in strikes {
        assert!(deeds.iter().any(strike), "{deeds:?}");
    }
}

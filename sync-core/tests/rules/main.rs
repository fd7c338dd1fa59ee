//! The rules of rows under random histories: three to five devices, people who edit, touch, delete, rename and settle,
//! exchanges that stop anywhere, purges, retired devices, lost databases, restored backups and wrong clocks.
//!
//! `LANDROPIC_HISTORIES=N` runs N histories; `LANDROPIC_SEED=S` runs the one of that seed and says what happens.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, unreachable_pub)]

mod exchange;
mod history;
mod ledger;
mod replica;
mod rules;

use rules::{MUTANTS, REAL, Rules};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Histories of the ordinary test command.
const HISTORIES: u64 = 100_000;
/// Histories within which every broken rule shows.
const MUTANT_HISTORIES: u64 = 60_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// What is wrong with the history of `seed`, a panic included.
fn verdict(rules: Rules, seed: u64, trace: bool) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| history::run(rules, seed, trace))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).into())).unwrap_or_default())
    })
}

fn run_range(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        if let Err(wrong) = verdict(REAL, seed, false) {
            panic!(
                "{wrong}\nreplay: LANDROPIC_SEED={seed} cargo test --release -p sync-core --test rules -- histories --nocapture"
            );
        }
    }
}

#[test]
fn histories_converge_and_lose_nothing() {
    if let Some(seed) = number("LANDROPIC_SEED") {
        verdict(REAL, seed, true).unwrap_or_else(|wrong| panic!("{wrong}"));
        return;
    }
    let count =
        number("LANDROPIC_HISTORIES").unwrap_or(if cfg!(debug_assertions) { HISTORIES / 50 } else { HISTORIES });
    let half = count / 2;
    std::thread::scope(|scope| {
        let first = scope.spawn(|| run_range(0..half));
        run_range(half..count);
        first.join().unwrap();
    });
}

#[test]
#[cfg_attr(debug_assertions, ignore = "needs the histories of an optimised build")]
fn every_broken_rule_is_caught() {
    let mut escaped = Vec::new();
    std::panic::set_hook(Box::new(|_| {}));
    let caught: Vec<(&str, Option<u64>)> = MUTANTS
        .iter()
        .map(|rules| (rules.name, (0..MUTANT_HISTORIES).find(|seed| verdict(*rules, *seed, false).is_err())))
        .collect();
    drop(std::panic::take_hook());
    for (name, after) in caught {
        match after {
            Some(seed) => {
                println!("{:>6} histories: {name}", seed + 1);
                // What the real rules fail as well says nothing about the broken one.
                assert_eq!(verdict(REAL, seed, false), Ok(()), "{name}: seed {seed}");
            }
            None => escaped.push(name),
        }
    }
    assert!(escaped.is_empty(), "not caught within {MUTANT_HISTORIES} histories: {escaped:?}");
}

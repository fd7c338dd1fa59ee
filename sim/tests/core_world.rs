//! Seeds of the core world hold every invariant of the oracle, and the same seed is the same run.
#![allow(clippy::unwrap_used, missing_docs)]

use sim::run::{replay_command, run};

/// Seeds that every test runs. The ones that once failed are among them.
const SEEDS: u64 = 10_000;

#[test]
fn every_seed_holds() {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let holds = |first: u64| {
        for seed in (first..SEEDS).step_by(usize::try_from(threads).unwrap()) {
            let report = run(seed, false);
            assert!(
                report.violations.is_empty(),
                "{}\n{}",
                replay_command("core", seed),
                report.violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
            );
        }
    };
    std::thread::scope(|scope| (0..threads).for_each(|first| drop(scope.spawn(move || holds(first)))));
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..20 {
        let (once, again) = (run(seed, false), run(seed, false));
        assert_eq!((once.digest, once.events), (again.digest, again.events), "{}", replay_command("core", seed));
    }
}

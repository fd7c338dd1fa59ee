//! Runs of cases, with panics as violations.

use crate::case::Case;
use crate::core::world::World;
use crate::outcome::{Invariant, Outcome, Violation};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Lives through the case of one seed.
pub fn run(seed: u64, trace: bool) -> Outcome {
    run_case(Case::of(seed), trace)
}

/// Lives through a case.
pub fn run_case(case: Case, trace: bool) -> Outcome {
    guarded(|| World::new(case, trace).run())
}

/// Lives through something that may panic, which nothing of ours may do whatever happens to it.
pub fn guarded(live: impl FnOnce() -> Outcome) -> Outcome {
    catch_unwind(AssertUnwindSafe(live)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).into())).unwrap_or_default();
        let what = format!("panic: {text}");
        let violation = Violation { invariant: Invariant::Containment, at_us: 0, event: 0, what };
        Outcome { violations: vec![violation], ..Outcome::default() }
    })
}

/// How to see a run again.
pub fn replay_command(world: &str, seed: u64) -> String {
    format!("cargo run --release -p sim -- replay --world {world} --seed {seed} --trace")
}

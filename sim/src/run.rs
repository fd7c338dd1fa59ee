//! Runs of seeds, with panics as violations.

use crate::world::{Report, World};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Lives through one seed.
pub fn run(seed: u64, trace: bool) -> Report {
    let outcome = catch_unwind(AssertUnwindSafe(|| World::new(seed, trace).run()));
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).into())).unwrap_or_default();
        Report { violations: vec![format!("panic: {text}")], ..Report::default() }
    })
}

/// How to see a run again.
pub fn replay_command(seed: u64) -> String {
    format!("cargo run --release -p sim -- replay --seed {seed} --trace")
}

//! The turmoil world finds a fault that only real files show. The choice of a fault is one for the whole process, so this
//! test has one to itself.
#![allow(missing_docs)]

use sim::outcome::Invariant;
use sync_core::proving::{Mutant, mutate};

/// Seeds within which it is to be found; it was the 62nd.
const SEEDS: u64 = 200;

#[test]
fn whoever_replaces_what_came_in_the_last_instant_is_found_out() {
    mutate(Some(Mutant::ReplacesUnlooked));
    let is_found = |seed| sim::shell::run(seed, false).violations.iter().any(|v| v.invariant == Invariant::PreImage);
    let found = (0..SEEDS).find(|seed| is_found(*seed));
    mutate(None);
    assert!(found.is_some());
}

//! From a case that breaks an invariant to a small one that breaks the same.

mod plan;
mod tape;

use crate::outcome::{Invariant, Outcome};
use std::time::{Duration, Instant};

/// What can be lived through, and made smaller.
pub trait Tape: Clone + PartialEq {
    /// Lives through it.
    fn live(&self) -> Outcome;

    /// One pass over everything that could go. Whether anything went.
    fn pass(search: &mut Search<Self>) -> bool;
}

/// The search for a smaller case.
#[derive(Debug)]
pub struct Search<T> {
    best: T,
    invariant: Invariant,
    until: Instant,
    runs: u64,
}

/// Makes a case smaller that breaks an invariant, for at most so long. Returns the smallest found, the invariant it
/// breaks, and how many runs it took; `None` if it breaks none.
pub fn shrink<T: Tape>(case: T, budget: Duration) -> Option<(T, Outcome, u64)> {
    let invariant = case.live().violations.first()?.invariant;
    let mut search = Search { best: case, invariant, until: Instant::now() + budget, runs: 1 };
    while T::pass(&mut search) && Instant::now() < search.until {}
    let outcome = search.best.live();
    Some((search.best, outcome, search.runs))
}

impl<T: Tape> Search<T> {
    /// Takes a smaller case over if it still breaks the invariant.
    fn attempt(&mut self, case: T) -> bool {
        if case == self.best || Instant::now() >= self.until {
            return false;
        }
        self.runs += 1;
        let fails = case.live().violations.iter().any(|v| v.invariant == self.invariant);
        if fails {
            self.best = case;
        }
        fails
    }

    fn with(&mut self, change: impl FnOnce(&mut T)) -> bool {
        let mut case = self.best.clone();
        change(&mut case);
        self.attempt(case)
    }
}

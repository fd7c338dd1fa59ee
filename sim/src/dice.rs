//! Seeded choices. Each part of the world draws from a stream of its own, so that one more draw in one part does not
//! reshuffle the others.

use sync_core::rng::Rng;

/// What a stream of choices is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // They say it.
pub enum Domain {
    Scenario = 1,
    Tape,
    Acts,
    Person,
    Keys,
    Nodes,
    Pace,
    Watcher,
    Disk,
    Ways,
    Pairing,
    Meddling,
    Hostile,
    Trouble,
    ShellLinks = 20,
    ShellDisks,
    ShellPlan,
    ShellHosts,
    ShellPeople,
    ShellWorld,
}

/// A stream of choices.
#[derive(Clone, Debug)]
pub struct Dice(Rng);

impl Dice {
    /// The stream of one part of the world: a function of the seed, the domain and the entity within it.
    pub fn new(seed: u64, domain: Domain, entity: u64) -> Self {
        let mut rng = Rng::new(seed ^ (domain as u64).wrapping_mul(0xa076_1d64_78bd_642f));
        let mixed = rng.next_u64() ^ entity.wrapping_mul(0xe703_7ed1_a0b4_28db);
        Self(Rng::new(mixed))
    }

    /// Any number.
    pub fn draw(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in `[from, to)`; `from` if there is none.
    pub fn range(&mut self, from: u64, to: u64) -> u64 {
        if to <= from { from } else { from + self.0.below(to - from) }
    }

    /// Whether something of this many percent comes about.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.0.below(100) < percent
    }

    /// An index below `len`, which is not zero.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.0.below(len as u64)).unwrap_or(0)
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() { None } else { Some(&from[self.index(from.len())]) }
    }
}

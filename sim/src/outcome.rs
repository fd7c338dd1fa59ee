//! What a run came to: the same for every world.

use std::collections::BTreeMap;
use std::fmt;

/// What must hold, numbered as `sim/README.md` explains it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// Every version that was indexed can be had back, unless a person who saw it did away with it.
    NoSilentLoss = 1,
    /// Nothing is replaced or removed but what the plan had looked at.
    PreImage = 2,
    /// Healed and left alone, connected devices come to show the same and to know the same.
    Convergence = 3,
    /// What versions disagree decides which wins and which copies show, whatever order they came in.
    ConflictDeterminism = 4,
    /// What was deleted does not come back.
    NoResurrection = 5,
    /// Nothing is deleted on the word of a look that failed.
    NoPhantomDelete = 6,
    /// What is said twice is heard once.
    Idempotence = 7,
    /// What is unrelated may come in any order.
    Commutativity = 8,
    /// What was acknowledged survives a crash; no dot is used twice.
    Durability = 9,
    /// What shows is old or new, never half or unverified.
    AtomicVisibility = 10,
    /// What was verified and made durable is not fetched again.
    Resume = 11,
    /// Attempts stay within the policy, and nobody is busy with nothing.
    BoundedRetry = 12,
    /// Whoever is healed finishes, though others stay broken.
    Liveness = 13,
    /// What a device says about its state is true.
    HealthTruth = 14,
    /// Who was not paired changes nothing.
    NoUnauthenticatedEffect = 15,
    /// Whatever a member sends stays inside the folder, within limits, and stops nothing.
    Containment = 16,
    /// No content crosses the network in the clear.
    WireSecrecy = 17,
    /// Memory, queues and tasks are bounded.
    ResourceBounds = 18,
    /// An older version of the protocol syncs, or is refused without any change.
    Versions = 19,
    /// The first five hold under any wall clock.
    AnyClock = 20,
}

impl Invariant {
    /// Its number.
    pub fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({self:?})", self.number())
    }
}

/// One invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// When, microseconds of virtual time.
    pub at_us: u64,
    /// How many events had happened before it.
    pub event: u64,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.at_us as f64 / 1e6;
        write!(f, "invariant {} at {secs:.6} s, event {}: {}", self.invariant, self.event, self.what)
    }
}

/// How a run ended.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What did not hold.
    pub violations: Vec<Violation>,
    /// A digest of everything that happened.
    pub digest: u64,
    /// Events that happened.
    pub events: u64,
    /// Virtual time, microseconds.
    pub virtual_us: u64,
    /// How often each fault struck.
    pub faults: BTreeMap<&'static str, u64>,
    /// The digest after each thousand events: where two runs of the same part is before the first that differs.
    pub marks: Vec<u64>,
}

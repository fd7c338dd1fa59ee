//! Dots and vectors of dots.

use crate::id::Actor;
use alloc::collections::BTreeMap;
use minicbor::{Decode, Encode};

/// One event: the `seq`th write of `actor` in one folder. Sequences start at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Dot {
    /// Who wrote.
    #[n(0)]
    pub actor: Actor,
    /// Which of its writes.
    #[n(1)]
    pub seq: u64,
}

/// For each actor, every dot up to a sequence: knowledge, what is applied, or a row's context.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Vector(#[n(0)] BTreeMap<Actor, u64>);

impl Vector {
    /// Whether `dot` is among the dots this stands for.
    pub fn contains(&self, dot: Dot) -> bool {
        self.seq(dot.actor) >= dot.seq
    }

    /// The highest sequence of `actor`, 0 if none.
    pub fn seq(&self, actor: Actor) -> u64 {
        self.0.get(&actor).copied().unwrap_or(0)
    }

    /// Adds `dot` and every earlier one of its actor.
    pub fn insert(&mut self, dot: Dot) {
        let seq = self.0.entry(dot.actor).or_insert(0);
        *seq = dot.seq.max(*seq);
    }

    /// Forgets what lies above `seq` for `actor`: only for dots of this device that nobody else has seen.
    pub fn truncate(&mut self, actor: Actor, seq: u64) {
        if seq == 0 {
            self.0.remove(&actor);
        } else if let Some(held) = self.0.get_mut(&actor) {
            *held = seq.min(*held);
        }
    }

    /// The union with `other`.
    pub fn join(&mut self, other: &Self) {
        other.iter().for_each(|dot| self.insert(dot));
    }

    /// Whether every dot of `other` is among these.
    pub fn covers(&self, other: &Self) -> bool {
        other.iter().all(|dot| self.contains(dot))
    }

    /// The highest dot of each actor, by actor.
    pub fn iter(&self) -> impl Iterator<Item = Dot> {
        self.0.iter().map(|(actor, seq)| Dot { actor: *actor, seq: *seq })
    }

    /// How many actors it names.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it stands for no dot at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Dot> for Vector {
    fn from_iter<T: IntoIterator<Item = Dot>>(dots: T) -> Self {
        let mut out = Self::default();
        dots.into_iter().for_each(|dot| out.insert(dot));
        out
    }
}

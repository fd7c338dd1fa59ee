//! What every part of the node writes to: the outbox, the register of effects under way, counters and time.

use crate::config::Config;
use crate::id::{ContentId, DeviceId, EffectId, FolderId, LinkId};
use crate::index::Index;
use crate::output::{Event, Output};
use crate::path::RelPath;
use crate::plan::Wanted;
use crate::proving::{Mutant, is_mutant, unseeded};
use crate::rng::Rng;
use crate::status::Counters;
use crate::time::{Instant, Moment};
use crate::transfer::Attempt;
use alloc::{collections::BTreeMap, collections::VecDeque, format, string::String, vec::Vec};
use core::ops::Range;

/// An effect that has been asked for and not yet answered.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    Dial(DeviceId),
    Scan(FolderId),
    Probe(FolderId, Vec<RelPath>),
    Apply(FolderId, Vec<Planned>),
    /// A local copy, and the source where it is in the same folder.
    Copy(FolderId, Attempt, Option<RelPath>),
    /// Chunks of another file, which is this one.
    Reuse(FolderId, Attempt, RelPath),
    Fetch(Fetch),
    Seal(FolderId, Attempt),
    Finish(FolderId, Attempt),
    Salvage(FolderId, Vec<Attempt>),
}

/// An operation under way and what it is to bring about.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) path: RelPath,
    pub(crate) wanted: Wanted,
    /// The staged content that it puts in place, which is its own until it is done.
    pub(crate) places: Option<ContentId>,
    /// Whether something was there before.
    pub(crate) replaces: bool,
    /// The content that goes to the trash.
    pub(crate) trashes: Option<ContentId>,
}

/// A request to a peer under way.
#[derive(Clone, Debug)]
pub(crate) struct Fetch {
    pub(crate) folder: FolderId,
    pub(crate) link: LinkId,
    pub(crate) device: DeviceId,
    /// Bytes asked for.
    pub(crate) bytes: u64,
    pub(crate) what: Fetching,
}

/// What a request asks for.
#[derive(Clone, Debug)]
pub(crate) enum Fetching {
    List(Attempt),
    Batch(Vec<(Attempt, u64)>),
    Range(Attempt, Range<usize>),
}

/// The shared ends of the node.
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    pub(crate) at: Moment,
    pub(crate) counters: Counters,
    /// Whether work is left that needs no further input.
    pub(crate) more: bool,
    outbox: VecDeque<Output>,
    effects: BTreeMap<EffectId, Effect>,
    next_effect: u64,
}

impl Context {
    pub(crate) fn new(config: Config, seed: u64) -> Self {
        Self {
            config,
            rng: Rng::new(seed),
            at: Moment::default(),
            counters: Counters::default(),
            more: false,
            outbox: VecDeque::new(),
            effects: BTreeMap::new(),
            // What an earlier node asked for is not taken for an answer to this one.
            next_effect: (seed << 32) + 1,
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.at.now
    }

    pub(crate) fn emit(&mut self, output: Output) {
        self.outbox.push_back(output);
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.emit(Output::Event(event));
    }

    pub(crate) fn take_output(&mut self) -> Option<Output> {
        self.outbox.pop_front()
    }

    /// Registers an effect and gives it its id.
    pub(crate) fn start(&mut self, effect: Effect) -> EffectId {
        let id = EffectId(self.next_effect);
        self.next_effect += 1;
        self.effects.insert(id, effect);
        id
    }

    /// Takes a completed effect from the register. Completions of forgotten effects find nothing.
    pub(crate) fn finish(&mut self, id: EffectId) -> Option<Effect> {
        self.effects.remove(&id)
    }

    /// What a folder has under way says nothing any more.
    pub(crate) fn forget_effects(&mut self, folder: FolderId) {
        self.effects.retain(|_, effect| match effect {
            Effect::Scan(of)
            | Effect::Probe(of, _)
            | Effect::Apply(of, _)
            | Effect::Copy(of, ..)
            | Effect::Reuse(of, ..)
            | Effect::Seal(of, _)
            | Effect::Finish(of, _)
            | Effect::Salvage(of, _) => *of != folder,
            // What was asked of a peer counts until it is answered.
            Effect::Dial(_) | Effect::Fetch(_) => true,
        });
    }

    /// The effect `id`, while it goes on.
    pub(crate) fn under_way(&self, id: EffectId) -> Option<&Effect> {
        self.effects.get(&id)
    }

    /// Tells people and the audit.
    pub(crate) fn audit<I: Index>(&mut self, index: &mut I, kind: &str, detail: String) -> Result<(), I::Error> {
        index.audit(self.at.wall, kind, &detail)?;
        self.event(Event::Audit { kind: kind.into(), detail });
        Ok(())
    }

    /// An actor number for a database that begins.
    pub(crate) fn draw_actor(&mut self) -> crate::id::Actor {
        // Zero is left out so that no actor prints as nothing.
        let chance = if is_mutant(Mutant::ChanceUnseeded) { unseeded() } else { 0 };
        crate::id::Actor((self.rng.next_u64() ^ chance).max(1))
    }
}

/// A sentence about several items.
pub(crate) fn count(n: u64, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}

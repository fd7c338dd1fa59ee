//! The rows one device streams to another for one folder.
//!
//! A stream begins with every row by key where history is not shared, and goes on for as long as the link stands with
//! rows by change number. Range-based reconciliation replaces the first part behind the same interface.

use crate::index::{FolderState, Key, Row, Vector};
use crate::proving::{Mutant, is_mutant};
use crate::wire::{Flow, FolderOffer};
use alloc::collections::BTreeSet;

/// Where a stream stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// Every row by key, after this one; then by number from `from`.
    ByKey {
        /// The last key sent.
        after: Option<Key>,
        /// The change number at which the walk began: what changed during it is sent again after it.
        from: u64,
    },
    /// Rows after this change number.
    ByRev(u64),
}

/// One direction of an exchange.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Where it stands.
    pub position: Position,
    /// Frames handed to the lane and not yet to the transport.
    pub in_flight: u32,
    /// What the receiver knows, as far as it has said.
    pub receiver_knows: Vector,
    /// What the sender knew when the stream began: the receiver reads every `Gone` under it.
    pub claimed: Vector,
    /// Where all is told, what comes up to this change is told too, though the receiver knows it: until what it knows is
    /// known here, that may be a version which it has forgotten, brought by a third device.
    told_up_to: u64,
    /// Change numbers that only repeat what the receiver sent.
    echoes: BTreeSet<u64>,
    /// What the last `Caught` said.
    said: Option<(u64, Vector, Vector)>,
}

impl Outgoing {
    /// The stream that two offers ask for: from the receiver's cursor if history is shared in both directions. Where
    /// it is not in one, both tell each other everything, so that each answers for what it has forgotten.
    pub fn new(state: &FolderState, mine: &FolderOffer, theirs: &FolderOffer) -> Self {
        let shares_history =
            mine.honours(theirs.cursor_epoch, theirs.cursor) && theirs.honours(mine.cursor_epoch, mine.cursor);
        let position = if shares_history {
            Position::ByRev(theirs.cursor)
        } else {
            Position::ByKey { after: None, from: state.rev }
        };
        Self {
            told_up_to: if shares_history { 0 } else { u64::MAX },
            position,
            in_flight: 0,
            receiver_knows: theirs.knowledge.clone(),
            claimed: state.knowledge.clone(),
            echoes: BTreeSet::new(),
            said: None,
        }
    }

    /// How the stream is announced.
    pub fn flow(&self) -> Flow {
        match self.position {
            Position::ByKey { .. } => Flow::All,
            Position::ByRev(rev) => Flow::Since(rev),
        }
    }

    /// The row of change `rev` came from the receiver as it stands here.
    pub fn note_echo(&mut self, rev: u64) {
        self.echoes.insert(rev);
    }

    /// What the receiver knows is known here as of change `rev`: what it has forgotten comes up here no more.
    pub fn heard(&mut self, rev: u64) {
        self.told_up_to = self.told_up_to.min(rev);
    }

    /// Whether the receiver gains nothing by a row. In a walk by key nothing is left out: the receiver answers for
    /// what it has forgotten.
    pub fn may_skip(&mut self, row: &Row, rev: u64) -> bool {
        match self.position {
            Position::ByKey { .. } => is_mutant(Mutant::WalkSkipsKnown) && self.receiver_knows.covers(&row.ctx),
            Position::ByRev(_) => {
                let is_known = rev > self.told_up_to && !row.noskip && self.receiver_knows.covers(&row.ctx);
                self.echoes.remove(&rev) || is_known
            }
        }
    }

    /// Whether the stream has said everything up to where the folder stands, and the `Caught` that says so is due.
    pub fn caught_due(&mut self, state: &FolderState) -> bool {
        if self.position != Position::ByRev(state.rev) {
            return false;
        }
        let now = (state.rev, state.knowledge.clone(), state.applied.clone());
        if self.said.as_ref() == Some(&now) {
            return false;
        }
        self.said = Some(now);
        true
    }
}

//! Merging what two replicas hold at one key.

use super::row::Row;
use super::vector::{Dot, Vector};
use crate::proving::{Mutant, Point, is_mutant, sometimes};

/// The outcome of a merge, from the side that calls it "mine".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// What both sides hold once they have merged.
    pub row: Row,
    /// Whether it differs from mine.
    pub mine_changed: bool,
    /// Whether it differs from theirs, so that they gain by hearing of it.
    pub theirs_differs: bool,
}

/// Merges two rows under what each side knows. A dot stays if both hold it, or if one holds it and the other has
/// never seen it. An absent row is an empty one: its knowledge speaks for it.
///
/// Commutative, associative and idempotent.
pub fn merge(mine: &Row, my_knowledge: &Vector, theirs: &Row, their_knowledge: &Vector) -> Merged {
    let knows = |d: &Dot| my_knowledge.contains(*d) && !is_mutant(Mutant::MergeByContextAlone);
    let seen_by_me = |d: &Dot| mine.ctx.contains(*d) || knows(d);
    let seen_by_them = |d: &Dot| theirs.ctx.contains(*d) || their_knowledge.contains(*d);
    let kept = mine.siblings.iter().filter(|(d, _)| theirs.siblings.contains_key(d) || !seen_by_them(d));
    let gained = theirs.siblings.iter().filter(|(d, _)| !mine.siblings.contains_key(d) && !seen_by_me(d));
    let mut row = Row { ctx: mine.ctx.clone(), ..Row::default() };
    row.ctx.join(&theirs.ctx);
    row.siblings = kept.chain(gained).map(|(d, v)| (*d, v.clone())).collect();
    // A sibling that went by knowledge alone left no trace in any context: third parties must still be shown the row.
    let unspoken = |side: &Row, other: &Row| {
        side.siblings.keys().any(|d| !row.siblings.contains_key(d) && !other.ctx.contains(*d))
    };
    row.noskip = mine.noskip || theirs.noskip || unspoken(mine, theirs) || unspoken(theirs, mine);
    if row.noskip {
        sometimes(Point::SpokenForByKnowledge);
    }
    row.noskip &= !is_mutant(Mutant::UnspokenSkipped);
    Merged { mine_changed: row != *mine, theirs_differs: row.ctx != theirs.ctx || row.siblings != theirs.siblings, row }
}

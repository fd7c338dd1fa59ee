//! Forgetting: tombstones everybody has applied, and dots of a database that was restored from a backup.

use super::row::Row;
use super::vector::{Dot, Vector};
use crate::id::Actor;
use crate::proving::{Mutant, is_mutant};
use alloc::vec::Vec;

/// Whether a row may be dropped: it holds tombstones only, and every member has applied all that it ever heard of.
/// Covering only its dots brings deleted files back. The caller sees to it that no base is left at the path.
pub fn may_purge<'a>(row: &Row, mut applied_by_members: impl Iterator<Item = &'a Vector>) -> bool {
    let has_applied = |applied: &Vector| {
        let only_dots = is_mutant(Mutant::PurgeOnDots) && row.siblings.keys().all(|dot| applied.contains(*dot));
        only_dots || is_mutant(Mutant::PurgeOnOwnApplied) || applied.covers(&row.ctx)
    };
    !row.is_live() && applied_by_members.all(has_applied)
}

/// Moves the siblings that `old` wrote after `acked` to a fresh actor: the folder's other devices may know other
/// writes by the same dots. Returns whether the row changed. `next` draws the next dot of the fresh actor.
pub fn reissue(row: &mut Row, old: Actor, acked: u64, mut next: impl FnMut() -> Dot) -> bool {
    if row.ctx.seq(old) <= acked || is_mutant(Mutant::DotsKeptAfterRollback) {
        return false;
    }
    row.ctx.truncate(old, acked);
    let doubtful: Vec<Dot> = row.siblings.keys().filter(|d| d.actor == old && d.seq > acked).copied().collect();
    for dot in doubtful {
        let Some(value) = row.siblings.remove(&dot) else {
            continue;
        };
        let fresh = next();
        row.ctx.insert(fresh);
        row.siblings.insert(fresh, value);
    }
    true
}

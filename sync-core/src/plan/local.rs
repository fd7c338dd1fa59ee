//! Local change: the disk against base. Rows may be ahead of the disk, so they never enter into what counts as a
//! change, only into what it means.

use super::step::Wanted;
use crate::index::{Base, Body, Dot, Row, Stat};
use crate::input::Seen;
use crate::path::RelPath;
use crate::proving::{Mutant, Point, is_mutant, sometimes};

/// What a look at the disk means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalChange {
    /// What base says is there.
    None,
    /// The same version, or another live one that was already here: base follows the disk.
    Adopt(Base),
    /// Absent, as is wanted, or as another device will have to bring it back.
    Forget,
    /// A version of the user's, replacing `saw`.
    Write {
        /// What it holds.
        body: Body,
        /// Its fingerprint.
        stat: Stat,
        /// The version the user had before.
        saw: Option<Dot>,
    },
    /// The user deleted the conflict copy of a version.
    Settle {
        /// The path it comes from.
        source: RelPath,
        /// The version.
        loser: Dot,
    },
    /// The user deleted this version.
    Delete {
        /// The version the user had before.
        saw: Dot,
    },
}

/// What a look at the disk found, as a version's body. `known` is the body whose fingerprint still holds where the
/// file was not read.
pub fn body_of(seen: &Seen, known: Option<&Body>) -> Option<(Body, Stat)> {
    match seen {
        Seen::Absent => None,
        Seen::Dir(stat) => Some((Body::Dir { mode: stat.mode }, *stat)),
        Seen::File(stat, Some(content)) => {
            let (content, size) = (*content, stat.size);
            Some((Body::File { content, size, mtime_ns: stat.mtime_ns, mode: stat.mode }, *stat))
        }
        Seen::File(stat, None) => known.map(|body| (body.clone(), *stat)),
        Seen::Symlink(stat, target) => Some((Body::Symlink { target: target.clone() }, *stat)),
    }
}

/// Reads a look at the disk. `may_be_ours` is whether an operation was to be done here when the process ended, and nobody
/// has looked since: what it put there may have been deleted or replaced by others before it was committed.
pub fn local_change(row: &Row, base: Option<&Base>, seen: &Seen, wanted: &Wanted, may_be_ours: bool) -> LocalChange {
    let Some((body, stat)) = body_of(seen, base.map(|b| &b.body)) else {
        return gone(row, base);
    };
    match base {
        Some(base) if base.body == body && base.stat == stat => LocalChange::None,
        Some(base) if base.body == body => LocalChange::Adopt(Base { stat, ..base.clone() }),
        // A touch of what somebody has replaced is nobody's edit: the replacement comes.
        Some(base) if base.body.same_content(&body) && is_superseded(row, base) && !is_mutant(Mutant::TouchRevives) => {
            sometimes(Point::TouchOfOldAdopted);
            LocalChange::Adopt(Base { dot: base.dot, body, stat })
        }
        // Bytes that a live version has replaced already, where base's own version is history too: they are what an apply
        // put there before a crash, not somebody's edit.
        Some(base) if is_superseded(row, base) && (is_replaced(row, &body) || may_be_ours && is_past(row, &body)) => {
            sometimes(Point::OwnApplyRecognised);
            LocalChange::Adopt(Base { dot: base.dot, body, stat })
        }
        Some(base) => match already_here(row, wanted, &body) {
            // A change of metadata alone is the user's, even where it makes the file equal to another version.
            // Bytes of one live version in place of another are a person's choice, unless they are what is wanted.
            // A directory that is merely implied has no row to say what it replaced: the user's own gets one.
            Some(dot @ Some(_)) if !base.body.same_content(&body) && (dot == dot_of(wanted) || !is_live(row, base)) => {
                LocalChange::Adopt(Base { dot, body, stat })
            }
            _ if is_mutant(Mutant::SawTheWinner) => LocalChange::Write { body, stat, saw: dot_of(wanted) },
            _ => LocalChange::Write { body, stat, saw: base.dot },
        },
        None => match already_here(row, wanted, &body) {
            // A directory of the user's has a row of its own, even where what is in it was looked at first.
            Some(dot @ Some(_)) => LocalChange::Adopt(Base { dot, body, stat }),
            Some(None) => LocalChange::Write { body, stat, saw: None },
            None if may_be_ours && is_past(row, &body) => {
                sometimes(Point::LeftoverAdopted);
                LocalChange::Adopt(Base { dot: None, body, stat })
            }
            None => LocalChange::Write { body, stat, saw: None },
        },
    }
}

/// Nothing is at the path.
fn gone(row: &Row, base: Option<&Base>) -> LocalChange {
    match base.map(|b| b.dot) {
        None => LocalChange::None,
        // A version that somebody has replaced meanwhile: the replacement comes, and wins over the deletion.
        Some(Some(saw)) if row.siblings.contains_key(&saw) => LocalChange::Delete { saw },
        Some(_) => LocalChange::Forget,
    }
}

/// The version that a disk equal to it already shows: the wanted one, else any live sibling. The inner `None` is a
/// directory that only its descendants imply.
fn already_here(row: &Row, wanted: &Wanted, body: &Body) -> Option<Option<Dot>> {
    if let Wanted::Present { dot, body: wanted } = wanted
        && wanted.same_content(body)
    {
        return Some(*dot);
    }
    row.siblings.iter().find(|(_, v)| v.body.is_live() && v.body.same_content(body)).map(|(dot, _)| Some(*dot))
}

/// The wanted version's dot.
fn dot_of(wanted: &Wanted) -> Option<Dot> {
    match wanted {
        Wanted::Present { dot, .. } => *dot,
        Wanted::Absent => None,
    }
}

/// Whether nobody has replaced the version that base says is there.
fn is_live(row: &Row, base: &Base) -> bool {
    base.dot.is_some_and(|dot| row.siblings.contains_key(&dot))
}

/// Whether somebody has.
fn is_superseded(row: &Row, base: &Base) -> bool {
    base.dot.is_some() && !is_live(row, base)
}

/// Whether a live version replaced exactly these bytes.
fn is_replaced(row: &Row, body: &Body) -> bool {
    let prefix = body.content_prefix();
    prefix != [0; 8] && row.siblings.values().any(|v| v.body.is_live() && v.prev == prefix)
}

/// Whether the row says that exactly this was deleted or replaced.
fn is_past(row: &Row, body: &Body) -> bool {
    let prefix = body.content_prefix();
    prefix != [0; 8] && row.siblings.values().any(|v| v.prev == prefix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Actor, ContentId};
    use crate::index::StatKind;
    use crate::time::WallTime;

    const STAT: Stat = Stat { kind: StatKind::File, inode: 1, size: 3, mtime_ns: 5, ctime_ns: 5, mode: 0o644 };

    fn file(text: &str) -> Body {
        Body::File { content: ContentId::of(text.as_bytes()), size: 3, mtime_ns: 5, mode: 0o644 }
    }

    fn dot(actor: u64, seq: u64) -> Dot {
        Dot { actor: Actor(actor), seq }
    }

    fn row_of(writes: &[(Dot, Body, Option<Dot>)]) -> Row {
        let mut row = Row::default();
        for (dot, body, saw) in writes {
            row.write(*dot, body.clone(), *saw, WallTime(1), WallTime(9));
        }
        row
    }

    fn seen(text: &str) -> Seen {
        Seen::File(STAT, Some(ContentId::of(text.as_bytes())))
    }

    #[test]
    fn old_bytes_on_disk_are_no_edit() {
        let row = row_of(&[(dot(1, 1), file("old"), None), (dot(2, 1), file("new"), Some(dot(1, 1)))]);
        let base = Base { dot: Some(dot(1, 1)), body: file("old"), stat: STAT };
        let wanted = Wanted::Present { dot: Some(dot(2, 1)), body: file("new") };
        assert_eq!(local_change(&row, Some(&base), &seen("old"), &wanted, false), LocalChange::None);
        assert_eq!(local_change(&row, Some(&base), &Seen::Absent, &wanted, false), LocalChange::Forget);
    }

    #[test]
    fn a_recreated_file_is_new_unless_an_apply_was_under_way() {
        let row = row_of(&[(dot(1, 1), file("x"), None), (dot(1, 2), Body::Tomb, Some(dot(1, 1)))]);
        let write = local_change(&row, None, &seen("x"), &Wanted::Absent, false);
        assert_eq!(write, LocalChange::Write { body: file("x"), stat: STAT, saw: None });
        let leftover = local_change(&row, None, &seen("x"), &Wanted::Absent, true);
        assert_eq!(leftover, LocalChange::Adopt(Base { dot: None, body: file("x"), stat: STAT }));
        let other = local_change(&row, None, &seen("y"), &Wanted::Absent, true);
        assert!(matches!(other, LocalChange::Write { .. }), "what was never deleted is never dropped");
        let old = Base { dot: Some(dot(3, 1)), body: file("z"), stat: STAT };
        let moved = Stat { inode: 2, ..STAT };
        let over =
            |ours| local_change(&row, Some(&old), &Seen::File(moved, Some(ContentId::of(b"x"))), &Wanted::Absent, ours);
        assert_eq!(over(true), LocalChange::Adopt(Base { dot: old.dot, body: file("x"), stat: moved }));
        assert!(matches!(over(false), LocalChange::Write { .. }), "somebody's choice");
    }

    #[test]
    fn a_copy_moved_over_the_winner_settles_the_conflict() {
        let row = row_of(&[(dot(1, 1), file("x"), None), (dot(2, 1), file("y"), None)]);
        let base = Base { dot: Some(dot(2, 1)), body: file("y"), stat: STAT };
        let wanted = Wanted::Present { dot: Some(dot(2, 1)), body: file("y") };
        let moved = Stat { inode: 2, ..STAT };
        let change = local_change(&row, Some(&base), &Seen::File(moved, Some(ContentId::of(b"x"))), &wanted, false);
        assert_eq!(change, LocalChange::Write { body: file("x"), stat: moved, saw: Some(dot(2, 1)) });
    }

    #[test]
    fn what_a_crash_left_of_an_older_apply_is_no_edit() {
        let mut row = row_of(&[(dot(1, 1), file("one"), None), (dot(1, 2), file("two"), Some(dot(1, 1)))]);
        row.write(dot(1, 3), file("three"), Some(dot(1, 2)), WallTime(3), WallTime(9));
        let base = Base { dot: Some(dot(1, 1)), body: file("one"), stat: STAT };
        let wanted = Wanted::Present { dot: Some(dot(1, 3)), body: file("three") };
        let left = local_change(&row, Some(&base), &seen("two"), &wanted, false);
        assert_eq!(left, LocalChange::Adopt(Base { dot: base.dot, body: file("two"), stat: STAT }));
        let edit = local_change(&row, Some(&base), &seen("mine"), &wanted, false);
        assert!(matches!(edit, LocalChange::Write { .. }), "{edit:?}");
    }

    #[test]
    fn equal_bytes_adopt_and_touches_write() {
        let row = row_of(&[(dot(2, 1), file("x"), None)]);
        let wanted = Wanted::Present { dot: Some(dot(2, 1)), body: file("x") };
        let adopt = LocalChange::Adopt(Base { dot: Some(dot(2, 1)), body: file("x"), stat: STAT });
        assert_eq!(local_change(&row, None, &seen("x"), &wanted, false), adopt);
        let base = Base { dot: Some(dot(2, 1)), body: file("x"), stat: STAT };
        let touched = Stat { mtime_ns: 6, ..STAT };
        let look = Seen::File(touched, Some(ContentId::of(b"x")));
        let change = local_change(&row, Some(&base), &look, &wanted, false);
        assert!(matches!(change, LocalChange::Write { saw: Some(_), .. }), "{change:?}");
    }
}

//! From rows to the tree everybody sees: the winner, the copies of the losers, and their names.

use super::policy::Policy;
use super::row::{Body, Row, Value};
use super::vector::Dot;

use crate::path::{MAX_NAME, Name};
use crate::proving::{Mutant, is_mutant};
use alloc::{format, string::String, vec::Vec};

use serde::Serialize;

/// What marks the name of a conflict copy.
const MARK: &[u8] = b".conflict-";

/// How high a version ranks; the highest wins. Total, because the dot is part of it.
fn rank(policy: &Policy, dot: Dot, value: &Value) -> impl Ord + use<> {
    let kind = match value.body {
        Body::Dir { .. } => 2,
        Body::File { .. } | Body::Symlink { .. } | Body::Member(_) | Body::Policy(_) => 1,
        Body::Tomb => 0,
    };
    let chosen = match (policy, &value.body) {
        (Policy::Largest, Body::File { size, .. }) => *size,
        (Policy::Prefer { rank }, _) => rank.get(&dot.actor).map_or(0, |r| u64::from(u32::MAX - r) + 1),
        (Policy::Newest | Policy::Largest, _) => 0,
    };
    (kind, chosen, value.stamp, dot)
}

/// The version that keeps the name: the policy's choice, or what somebody has made of that one since. A pure function of
/// the set of versions.
pub fn winner<'a>(row: &'a Row, policy: &Policy) -> Option<(Dot, &'a Value)> {
    let versions = || row.siblings.iter().map(|(d, v)| (*d, v));
    let mut top = versions().max_by_key(|(d, v)| rank(policy, *d, v))?;
    // Each came after the one before, so this ends.
    loop {
        let chosen = top.1;
        let edits = versions().filter(|(_, v)| v.body.is_live() && v.succeeds(chosen));
        match edits.max_by_key(|(d, v)| rank(policy, *d, v)) {
            Some(edit) => top = edit,
            None => return Some(top),
        }
    }
}

/// How two concurrent versions disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictKind {
    /// Equal content: only mode or time differ. The winner's hold; nothing is copied.
    Metadata,
    /// Two files differ.
    Content,
    /// File against directory, or delete against edit.
    Structural,
}

/// The kind of disagreement between two versions.
pub fn conflict_kind(a: &Body, b: &Body) -> ConflictKind {
    let is_file = |body: &Body| matches!(body, Body::File { .. } | Body::Symlink { .. });
    match (a, b) {
        (a, b) if a.same_content(b) => ConflictKind::Metadata,
        (a, b) if is_file(a) && is_file(b) => ConflictKind::Content,
        _ => ConflictKind::Structural,
    }
}

/// A live version that lost its name and shows as a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loser {
    /// Which version.
    pub dot: Dot,
    /// What it holds.
    pub value: Value,
}

/// What one row shows in the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Projection {
    /// What is at the path itself: nothing if it is deleted. The dot is missing for a directory that only its
    /// descendants imply.
    pub main: Option<(Option<Dot>, Body)>,
    /// What shows beside it under copy names, in order of dot.
    pub losers: Vec<Loser>,
}

/// Permission bits of a directory that exists only because something in it does.
const IMPLIED_MODE: u32 = 0o755;

/// The projection of `row`, given whether a live entry below it implies a directory.
pub fn project(row: &Row, has_live_below: bool, policy: &Policy) -> Projection {
    let top = winner(row, policy).filter(|(_, v)| v.body.is_live());
    let top_is_dir = matches!(top, Some((_, Value { body: Body::Dir { .. }, .. })));
    let main = match top {
        _ if has_live_below && !top_is_dir => Some((None, Body::Dir { mode: IMPLIED_MODE })),
        Some((dot, value)) => Some((Some(dot), value.body.clone())),
        None => None,
    };
    let main_dot = main.as_ref().and_then(|(dot, _)| *dot);
    let main_value = main_dot.and_then(|d| row.siblings.get(&d));
    let mut ranked: Vec<(Dot, &Value)> = row.siblings.iter().map(|(d, v)| (*d, v)).collect();
    // What is history is a matter of stamps under every policy. What was hidden is nowhere but in trashes, so that no
    // other policy may bring it up, and none may hide what was put back later.
    ranked.sort_by_cached_key(|(d, v)| core::cmp::Reverse(rank(&Policy::Newest, *d, v)));
    let mut shown: Vec<&Value> = Vec::new();
    let mut losers: Vec<Loser> = Vec::new();
    for (dot, value) in ranked {
        let is_file = matches!(value.body, Body::File { .. } | Body::Symlink { .. });
        // What a newer version replaced is history even where its dot is concurrent. The reverse, or a
        // version that is not itself shown, would drop an edit.
        let replaced = Some(value.prev).filter(|prev| *prev != [0; 8] && is_mutant(Mutant::SymmetricPrev));
        let is_successor = |by: &Value| replaced == Some(by.body.content_prefix());
        let is_history = |by: &&Value| {
            by.body.same_content(&value.body) || by.prev == value.body.content_prefix() || is_successor(by)
        };
        if Some(dot) == main_dot {
            shown.push(value);
            continue;
        }
        let is_main = main_value.is_some_and(|main| main.body.same_content(&value.body));
        if is_file && !is_main && !shown.iter().any(is_history) {
            shown.push(value);
            losers.push(Loser { dot, value: value.clone() });
        }
    }
    losers.sort_by_key(|l| l.dot);
    Projection { main, losers }
}

/// Most names that are tried for one copy.
pub(crate) const MAX_AGAIN: u32 = 99;
/// Bytes that the number of a copy takes at most.
const NUMBER: usize = "~99".len();

/// The name under which a losing version shows beside `name`: the same on every device. `again` counts up from 1 for
/// names that are taken, to 99.
pub fn copy_name(name: &Name, loser: &Loser, again: u32) -> Name {
    let (stem, extension) = split_extension(name.as_bytes());
    let stem = strip_mark(stem);
    let actor = format!("{}", loser.dot.actor);
    let hash: String = loser.value.body.content_prefix()[..4].iter().map(|b| format!("{b:02x}")).collect();
    let tail = if again > 1 { format!("~{again}") } else { String::new() };
    let mark = format!(".conflict-{}-{}-{hash}{tail}", loser.value.stamp.utc_compact(), &actor[..7]);
    // As much as the longest number leaves, so that all names of a copy differ in the number alone.
    let room = MAX_NAME + tail.len() - mark.len() - NUMBER;
    let extension = &extension[..extension.len().min(room / 2)];
    let stem = cut(stem, room - extension.len());
    let bytes = [stem, mark.as_bytes(), extension].concat();
    // A stem and an extension of a valid name joined by a mark cannot be empty, dots, or hold a slash.
    Name::new(&bytes).unwrap_or_else(|_| name.clone())
}

/// At most `room` bytes of `stem`, whole characters where it is UTF-8.
fn cut(stem: &[u8], room: usize) -> &[u8] {
    match core::str::from_utf8(stem) {
        Ok(text) => &stem[..text.floor_char_boundary(room)],
        Err(_) => &stem[..stem.len().min(room)],
    }
}

/// The name by which a copy would show if it were free, given one of the names it may show by.
pub(crate) fn unnumbered(name: &Name) -> Option<Name> {
    let bytes = name.as_bytes();
    let mark = bytes.windows(MARK.len()).rposition(|w| w == MARK)? + MARK.len();
    let end = bytes[mark..].iter().position(|b| *b == b'.').map_or(bytes.len(), |dot| mark + dot);
    let number = bytes[mark..end].iter().position(|b| *b == b'~').map_or(end, |tilde| mark + tilde);
    Name::new(&[&bytes[..number], &bytes[end..]].concat()).ok()
}

/// Splits before the last dot, unless that is the first byte.
fn split_extension(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().rposition(|b| *b == b'.') {
        Some(dot) if dot > 0 && !name[dot..].starts_with(MARK) => name.split_at(dot),
        _ => (name, b""),
    }
}

/// The stem without the mark of an earlier conflict, so that copies of copies do not grow. What a name begins with is
/// no mark: something has to be left.
fn strip_mark(stem: &[u8]) -> &[u8] {
    match stem.windows(MARK.len()).skip(1).position(|w| w == MARK) {
        Some(before) => &stem[..=before],
        None => stem,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::id::{Actor, ContentId};
    use crate::time::WallTime;
    use alloc::vec;

    fn file(content: &[u8], size: u64, prev: &[u8], stamp: i64) -> Value {
        let hash = |bytes: &[u8]| if bytes.is_empty() { [0; 8] } else { ContentId::of(bytes).prefix() };
        let body = Body::File { content: ContentId::of(content), size, mtime_ns: 0, mode: 0o644 };
        Value { body, prev: hash(prev), stamp: WallTime(stamp) }
    }

    fn other(body: Body, stamp: i64) -> Value {
        Value { body, prev: [0; 8], stamp: WallTime(stamp) }
    }

    /// A row with one version of each actor, numbered from 1.
    fn row(values: &[Value]) -> Row {
        let mut row = Row::default();
        for (actor, value) in (1..).map(Actor).zip(values) {
            let dot = Dot { actor, seq: 1 };
            row.ctx.insert(dot);
            row.siblings.insert(dot, value.clone());
        }
        row
    }

    /// The actor of what has the name, and those of the copies.
    fn shown(row: &Row, below: bool, policy: &Policy) -> (Option<u64>, Vec<u64>) {
        let out = project(row, below, policy);
        (out.main.and_then(|(d, _)| d).map(|d| d.actor.0), out.losers.iter().map(|l| l.dot.actor.0).collect())
    }

    #[test]
    fn kinds_rank_before_policy_and_the_policy_before_stamps() {
        let dir = other(Body::Dir { mode: 0o755 }, 0);
        let link = other(Body::Symlink { target: b"t"[..].into() }, 1);
        let tomb = other(Body::Tomb, 99);
        let (old, new) = (file(b"old", 9, b"", 1), file(b"new", 1, b"", 2));
        let newest = Policy::Newest;
        let prefer = Policy::Prefer { rank: [(Actor(1), 0)].into() };
        for (values, policy, main, copies) in [
            (vec![old.clone(), new.clone()], &newest, Some(2), vec![1]),
            (vec![old.clone(), new.clone()], &Policy::Largest, Some(1), vec![2]),
            (vec![old.clone(), new.clone()], &prefer, Some(1), vec![2]),
            (vec![tomb.clone(), old.clone()], &newest, Some(2), vec![]),
            (vec![new.clone(), dir.clone(), link.clone()], &newest, Some(2), vec![1, 3]),
            (vec![tomb.clone(), tomb], &newest, None, vec![]),
            (vec![old.clone(), old], &newest, Some(2), vec![]),
        ] {
            assert_eq!(shown(&row(&values), false, policy), (main, copies), "{values:?} {policy:?}");
        }
    }

    #[test]
    fn a_live_entry_below_makes_a_directory_and_a_copy_of_the_file() {
        let row = row(&[file(b"x", 1, b"", 1)]);
        assert_eq!(shown(&row, true, &Policy::Newest), (None, vec![1]));
        let main = project(&row, true, &Policy::Newest).main;
        assert_eq!(main, Some((None, Body::Dir { mode: IMPLIED_MODE })));
    }

    #[test]
    fn what_a_shown_version_of_higher_rank_replaced_is_no_copy() {
        let (x, z, y) = (file(b"x", 1, b"", 1), file(b"z", 1, b"x", 2), file(b"y", 1, b"", 3));
        assert_eq!(shown(&row(&[x.clone(), z.clone()]), false, &Policy::Newest), (Some(2), vec![]));
        assert_eq!(shown(&row(&[x, z, y]), false, &Policy::Newest), (Some(3), vec![2]));
    }

    #[test]
    fn an_edit_of_lower_rank_than_what_it_replaced_is_a_copy() {
        let (x, z) = (file(b"x", 1, b"", 5), file(b"z", 1, b"x", 2));
        assert_eq!(shown(&row(&[x, z]), false, &Policy::Newest), (Some(1), vec![2]));
    }

    #[test]
    fn no_policy_brings_up_what_an_edit_replaced() {
        let (x, y, z) = (file(b"x", 9, b"", 1), file(b"y", 1, b"x", 2), file(b"z", 99, b"", 1));
        let prefer = Policy::Prefer { rank: [(Actor(1), 0)].into() };
        for policy in [Policy::Newest, Policy::Largest, prefer] {
            assert_eq!(shown(&row(&[x.clone(), y.clone()]), false, &policy), (Some(2), vec![]), "{policy:?}");
        }
        assert_eq!(shown(&row(&[x, y, z]), false, &Policy::Largest), (Some(3), vec![2]));
    }

    #[test]
    fn no_policy_hides_what_was_put_back() {
        let (x, y) = (file(b"x", 1, b"", 6), file(b"y", 9, b"x", 5));
        assert_eq!(shown(&row(&[x.clone(), y.clone()]), false, &Policy::Newest), (Some(1), vec![2]));
        assert_eq!(shown(&row(&[x, y]), false, &Policy::Largest), (Some(2), vec![1]));
    }

    #[test]
    fn copy_names_keep_extension_and_length_and_do_not_grow() {
        let loser = Loser { dot: Dot { actor: Actor(0xab), seq: 1 }, value: file(b"x", 1, b"", 0) };
        let hash = &ContentId::of(b"x").short();
        let mark = format!(".conflict-19700101-000000-0000000-{hash}");
        let name = |text: &str, again| {
            let out = copy_name(&Name::new(text.as_bytes()).unwrap(), &loser, again);
            String::from_utf8(out.as_bytes().to_vec()).unwrap()
        };
        assert_eq!(name("a.txt", 1), format!("a{mark}.txt"));
        assert_eq!(name("a.txt", 2), format!("a{mark}~2.txt"));
        assert_eq!(name("a.tar.gz", 1), format!("a.tar{mark}.gz"));
        assert_eq!(name("Makefile", 1), format!("Makefile{mark}"));
        assert_eq!(name(".profile", 1), format!(".profile{mark}"));
        assert_eq!(name(&name("a.txt", 2), 1), name("a.txt", 1));
        assert_eq!(name(&name("Makefile", 1), 1), name("Makefile", 1));
        assert_eq!(name(&name(".conflict-x", 1), 1), name(".conflict-x", 1));
        let long = name(&format!("{}.txt", "l".repeat(251)), 99);
        assert!(long.len() == MAX_NAME && long.ends_with(&format!("{mark}~99.txt")));
        assert!(name(&format!("a.{}", "e".repeat(253)), 1).len() <= MAX_NAME);
        let wide = name(&format!("{}.txt", "\u{e9}".repeat(125)), 1);
        assert!(wide.len() <= MAX_NAME && wide.contains(&mark));
    }

    #[test]
    fn every_name_of_a_copy_leads_back_to_the_first() {
        let loser = Loser { dot: Dot { actor: Actor(0xab), seq: 1 }, value: file(b"x", 1, b"", 0) };
        let long = "l".repeat(251) + ".txt";
        for source in ["a", "a.txt", "a.txt~", "a.t~1", ".conflict-x", ".profile", "a~2.b", &long] {
            let source = Name::new(source.as_bytes()).unwrap();
            let first = copy_name(&source, &loser, 1);
            for again in [1, 2, 10, MAX_AGAIN] {
                assert_eq!(unnumbered(&copy_name(&source, &loser, again)), Some(first.clone()), "{source:?} {again}");
            }
        }
        assert_eq!(unnumbered(&Name::new(b"a~2.txt").unwrap()), None);
    }
}

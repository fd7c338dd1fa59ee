//! From rows to the tree everybody sees: the winner, the copies of the losers, and their names.

use super::row::{Body, Row, Value};
use super::vector::Dot;
use crate::id::{Actor, DeviceId};
use crate::path::{MAX_NAME, Name};
use alloc::{collections::BTreeMap, format, string::String, vec::Vec};
use minicbor::{Decode, Encode};
use serde::Serialize;

/// What marks the name of a conflict copy.
const MARK: &[u8] = b".conflict-";

/// Which of several concurrent files keeps the name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Policy {
    /// The one with the newest stamp.
    #[default]
    #[n(0)]
    Newest,
    /// The largest, then the newest.
    #[n(1)]
    Largest,
    /// That of the first device listed, then the newest.
    #[n(2)]
    Prefer {
        /// Actors of the preferred devices with their rank, lower first.
        #[n(0)]
        rank: BTreeMap<Actor, u32>,
    },
}

impl Policy {
    /// The policy that prefers devices in the order given, from each one's actors.
    pub fn prefer(order: &[DeviceId], actors: impl Fn(DeviceId) -> Vec<Actor>) -> Self {
        let ranked = order.iter().zip(0..).flat_map(|(d, rank)| actors(*d).into_iter().map(move |a| (a, rank)));
        Self::Prefer { rank: ranked.collect() }
    }

    /// How high a version ranks; the highest wins. Total, because the dot is part of it.
    fn rank(&self, dot: Dot, value: &Value) -> impl Ord + use<> {
        let kind = match value.body {
            Body::Dir { .. } => 2,
            Body::File { .. } | Body::Symlink { .. } | Body::Member(_) => 1,
            Body::Tomb => 0,
        };
        let chosen = match (self, &value.body) {
            (Self::Largest, Body::File { size, .. }) => *size,
            (Self::Prefer { rank }, _) => rank.get(&dot.actor).map_or(0, |r| u64::from(u32::MAX - r) + 1),
            (Self::Newest | Self::Largest, _) => 0,
        };
        (kind, chosen, value.stamp, dot)
    }
}

/// The version that keeps the name: a pure function of the set of versions.
pub fn winner<'a>(row: &'a Row, policy: &Policy) -> Option<(Dot, &'a Value)> {
    row.siblings.iter().map(|(d, v)| (*d, v)).max_by_key(|(d, v)| policy.rank(*d, v))
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
    // What the winner replaced is history even where its dot is concurrent; the reverse would drop an edit.
    let replaced = main_dot.and_then(|d| row.siblings.get(&d)).map_or([0; 8], |v| v.prev);
    let mut losers: Vec<Loser> = Vec::new();
    for (dot, value) in &row.siblings {
        let body = &value.body;
        let shown = main.iter().map(|(_, main)| main).chain(losers.iter().map(|l| &l.value.body));
        let is_copy = matches!(body, Body::File { .. } | Body::Symlink { .. })
            && Some(*dot) != main_dot
            && body.content_prefix() != replaced
            && !shown.into_iter().any(|other| other.same_content(body));
        if is_copy {
            losers.push(Loser { dot: *dot, value: value.clone() });
        }
    }
    Projection { main, losers }
}

/// The name under which a losing version shows beside `name`: the same on every device. `again` counts up from 1 for
/// names that are taken.
pub fn copy_name(name: &Name, loser: &Loser, again: u32) -> Name {
    let (stem, extension) = split_extension(name.as_bytes());
    let stem = strip_mark(stem);
    let actor = format!("{}", loser.dot.actor);
    let hash: String = loser.value.body.content_prefix()[..4].iter().map(|b| format!("{b:02x}")).collect();
    let tail = if again > 1 { format!("~{again}") } else { String::new() };
    let mark = format!(".conflict-{}-{}-{hash}{tail}", loser.value.stamp.utc_compact(), &actor[..7]);
    let room = MAX_NAME - mark.len();
    let extension = &extension[..extension.len().min(room / 2)];
    let stem = &stem[..stem.len().min(room - extension.len())];
    let bytes = [stem, mark.as_bytes(), extension].concat();
    // A stem and an extension of a valid name joined by a mark cannot be empty, dots, or hold a slash.
    Name::new(&bytes).unwrap_or_else(|_| name.clone())
}

/// Whether `name` looks like a conflict copy's.
pub(crate) fn looks_like_copy(name: &Name) -> bool {
    name.as_bytes().windows(MARK.len()).any(|w| w == MARK)
}

/// Splits before the last dot, unless that is the first byte.
fn split_extension(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().rposition(|b| *b == b'.') {
        Some(dot) if dot > 0 && !name[dot..].starts_with(MARK) => name.split_at(dot),
        _ => (name, b""),
    }
}

/// The stem without the mark of an earlier conflict, so that copies of copies do not grow.
fn strip_mark(stem: &[u8]) -> &[u8] {
    match stem.windows(MARK.len()).position(|w| w == MARK) {
        Some(at) if at > 0 => &stem[..at],
        _ => stem,
    }
}

//! One row per path or record: the live versions nobody has replaced, and what they replaced.

use super::policy::PolicyChoice;
use super::vector::{Dot, Vector};
use crate::id::{Actor, ContentId, DeviceId, PublicKey};
use crate::path::RelPath;
use crate::proving::{Mutant, is_mutant};
use crate::time::WallTime;
use alloc::{boxed::Box, collections::BTreeMap, collections::BTreeSet, string::String, vec::Vec};
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

/// Most siblings a row may arrive with.
pub const MAX_SIBLINGS: usize = 1_024;
/// Largest file that a row may tell of, bytes: more than file systems hold, and far from where sums overflow.
const MAX_FILE_SIZE: u64 = 1 << 53;
/// Longest target of a symbolic link, bytes: that of Linux.
const MAX_TARGET: usize = 4_096;
/// Longest name of a member, bytes.
const MAX_MEMBER_NAME: usize = 1_024;
/// Most contents that a member's record names as missed.
pub(crate) const MAX_MISSES: usize = 256;
/// First byte of a stored key that is no path: paths cannot hold NUL.
const RESERVED: u8 = 0;
/// Second byte of a member's key.
const MEMBER: u8 = b'm';
/// Second byte of the policy's key.
const POLICY: u8 = b'p';

/// What a row is about: an entry of the tree, or a reserved record that travels with the folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A member's record.
    Member(DeviceId),
    /// Who wins conflicts.
    Policy,
    /// An entry of the tree.
    Path(RelPath),
}

impl Key {
    /// The stored and transmitted form: paths as they are, reserved keys behind a NUL.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Path(path) => path.as_bytes().into(),
            Self::Member(device) => [&[RESERVED, MEMBER], &device.0[..]].concat(),
            Self::Policy => [RESERVED, POLICY].into(),
        }
    }

    /// Parses the stored form; `None` for what is neither a path nor a reserved key known here.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [RESERVED, MEMBER, id @ ..] => Some(Self::Member(DeviceId(id.try_into().ok()?))),
            [RESERVED, POLICY] => Some(Self::Policy),
            path => RelPath::new(path).ok().map(Self::Path),
        }
    }

    /// The path, if it is one.
    pub fn as_path(&self) -> Option<&RelPath> {
        match self {
            Self::Path(path) => Some(path),
            Self::Member(_) | Self::Policy => None,
        }
    }
}

impl<C> Encode<C> for Key {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.bytes(&self.to_bytes())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Key {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        Self::from_bytes(d.bytes()?).ok_or_else(|| decode::Error::message("not a key"))
    }
}

/// What a version holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Body {
    /// A directory.
    #[n(0)]
    Dir {
        /// Permission bits.
        #[n(0)]
        mode: u32,
    },
    /// A regular file.
    #[n(1)]
    File {
        /// BLAKE3 of the whole file.
        #[n(0)]
        content: ContentId,
        /// Bytes.
        #[n(1)]
        size: u64,
        /// Modification time in nanoseconds since 1970.
        #[n(2)]
        mtime_ns: i64,
        /// Permission bits.
        #[n(3)]
        mode: u32,
    },
    /// A symbolic link, stored and never followed.
    #[n(2)]
    Symlink {
        /// Where it points, as the file system has it.
        #[cbor(n(0), with = "minicbor::bytes")]
        target: Box<[u8]>,
    },
    /// Deleted.
    #[n(3)]
    Tomb,
    /// A member of the folder.
    #[n(4)]
    Member(#[n(0)] Member),
    /// Who wins conflicts.
    #[n(5)]
    Policy(#[n(0)] PolicyChoice),
}

impl Body {
    /// Whether two versions hold the same, their metadata apart.
    pub fn same_content(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Dir { .. }, Self::Dir { .. }) => true,
            (Self::File { content: a, .. }, Self::File { content: b, .. }) => a == b,
            (a, b) => a == b,
        }
    }

    /// The hash by which a successor remembers this version; zeros where there is no content.
    pub fn content_prefix(&self) -> [u8; 8] {
        match self {
            Self::File { content, .. } => content.prefix(),
            Self::Symlink { target } => ContentId::of(target).prefix(),
            Self::Dir { .. } | Self::Tomb | Self::Member(_) | Self::Policy(_) => [0; 8],
        }
    }

    /// Whether what is of free length in it is within bounds, so that rows fit into frames, and sizes are possible ones.
    fn is_bounded(&self) -> bool {
        match self {
            Self::Symlink { target } => target.len() <= MAX_TARGET,
            Self::Member(m) => m.name.len() <= MAX_MEMBER_NAME && m.misses.len() <= MAX_MISSES,
            Self::File { size, .. } => *size <= MAX_FILE_SIZE,
            Self::Dir { .. } | Self::Tomb | Self::Policy(_) => true,
        }
    }

    /// Whether the entry exists.
    pub fn is_live(&self) -> bool {
        !matches!(self, Self::Tomb)
    }
}

/// One version.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Value {
    /// What it holds.
    #[n(0)]
    pub body: Body,
    /// Prefix of the content it replaced, zeros for none.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub prev: [u8; 8],
    /// The time it ranks by: never decreasing along a history.
    #[n(2)]
    pub stamp: WallTime,
}

impl Value {
    /// Whether this version replaced the content of `older` and came after it. A directory always outranks a file.
    pub fn succeeds(&self, older: &Self) -> bool {
        let rank = |v: &Self| (matches!(v.body, Body::Dir { .. }), v.stamp);
        self.prev != [0; 8] && older.body.content_prefix() == self.prev && rank(older) < rank(self)
    }
}

/// A member of a folder, as a reserved record.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Member {
    /// The key it authenticates with.
    #[n(0)]
    pub key: PublicKey,
    /// The name its person gave it.
    #[n(1)]
    pub name: String,
    /// Whether it takes part.
    #[n(2)]
    pub state: MemberState,
    /// The actors it writes as.
    #[n(3)]
    pub actors: BTreeSet<Actor>,
    /// Contents that it wants and finds nowhere, where the device that made them misses them as well.
    #[n(4)]
    #[cbor(default)]
    pub misses: BTreeSet<ContentId>,
}

impl Member {
    /// A member that takes part and has written nothing yet.
    pub fn new(key: PublicKey, name: String) -> Self {
        Self { key, name, state: MemberState::Active, actors: BTreeSet::new(), misses: BTreeSet::new() }
    }
}

/// Whether a member takes part. Later states win where two devices disagree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum MemberState {
    /// Syncs, and holds back the purge of tombstones until it has caught up.
    #[n(0)]
    Active,
    /// Syncs if it comes, but nobody waits for it.
    #[n(1)]
    Retired,
    /// Refused.
    #[n(2)]
    Removed {
        /// The dots of its actors that were known when it was removed: what came later came by way of other members.
        #[n(0)]
        limit: BTreeMap<Actor, u64>,
    },
}

/// The live versions at one key and everything they are known to have replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Row {
    /// Every dot that was ever a sibling here, as far as this row knows.
    pub ctx: Vector,
    /// The versions nobody has replaced.
    pub siblings: BTreeMap<Dot, Value>,
    /// Set where a version went without a dot of its own to say so: such a row is never skipped when streamed.
    pub noskip: bool,
}

impl Row {
    /// Writes a version at `dot`. It replaces the sibling the writer saw and what that one hid from him (versions of
    /// equal content, and older ones of the content it had replaced itself), tombstones, and versions equal to the new
    /// one; other live siblings stay. Keeping the content keeps stamp and `prev`: touching a file is no claim to be
    /// newer. Bytes that a sibling which stays had replaced have been put back: they came after it and are no history of
    /// it, so they rank above it.
    pub fn write(&mut self, dot: Dot, body: Body, saw: Option<Dot>, mtime: WallTime, now: WallTime) {
        assert!(!self.ctx.contains(dot), "a dot is used once");
        let seen = saw.and_then(|saw| self.siblings.get(&saw)).cloned();
        let is_seen = |v: &Value| seen.as_ref().is_some_and(|s| v.body.same_content(&s.body));
        let shown: Vec<Value> = self.siblings.values().filter(|v| is_seen(v)).cloned().collect();
        let is_replaced = |v: &Value| {
            let was_hidden = is_seen(v) || shown.iter().any(|s| s.succeeds(v));
            let is_older = is_mutant(Mutant::ClockDecides) && v.stamp < now;
            was_hidden || !v.body.is_live() || v.body.same_content(&body) || is_older
        };
        let replaced: Vec<Dot> = self.siblings.iter().filter(|(_, v)| is_replaced(v)).map(|(d, _)| *d).collect();
        let replaced: Vec<Value> = replaced.iter().filter_map(|d| self.siblings.remove(d)).collect();
        let prefix = body.content_prefix();
        let undone = self.siblings.values().filter(|v| prefix != [0; 8] && v.prev == prefix).map(|v| v.stamp).max();
        let at = mtime.min(now);
        let newest = |of: &dyn Fn(&Value) -> bool| replaced.iter().filter(|v| of(v)).map(|v| v.stamp).max();
        let value = match seen {
            Some(seen) if seen.body.same_content(&body) => {
                let stamp = newest(&|v| v.body.same_content(&body)).unwrap_or(seen.stamp);
                Value { body, stamp, ..seen }
            }
            seen => Value {
                prev: seen.map_or([0; 8], |v| v.body.content_prefix()),
                stamp: match newest(&|_| true).max(undone) {
                    Some(n) if !is_mutant(Mutant::StampNotAbove) => at.max(WallTime(n.0.saturating_add(1))),
                    _ => at,
                },
                body,
            },
        };
        self.ctx.insert(dot);
        self.siblings.insert(dot, value);
    }

    /// Whether every version here is of the kind that `key` is about.
    pub fn fits(&self, key: &Key) -> bool {
        self.siblings.values().all(|v| match v.body {
            Body::Dir { .. } | Body::File { .. } | Body::Symlink { .. } => key.as_path().is_some(),
            Body::Member(_) => matches!(key, Key::Member(_)),
            Body::Policy(_) => *key == Key::Policy,
            Body::Tomb => true,
        })
    }

    /// Writes at `dot` a version that replaces all of `replaced`: how a person settles a conflict.
    pub fn settle(&mut self, dot: Dot, value: Value, replaced: &[Dot]) {
        assert!(!self.ctx.contains(dot), "a dot is used once");
        replaced.iter().for_each(|d| drop(self.siblings.remove(d)));
        self.ctx.insert(dot);
        self.siblings.insert(dot, value);
    }

    /// Whether any version here exists.
    pub fn is_live(&self) -> bool {
        self.siblings.values().any(|v| v.body.is_live())
    }

    /// Whether there is more than one live version.
    pub fn is_conflicted(&self) -> bool {
        self.siblings.values().filter(|v| v.body.is_live()).count() > 1
    }

    /// A member row read as one record: the last state wins, names by rank, actors together, and it misses what all say.
    pub fn member(&self) -> Option<Member> {
        let mut versions = self.siblings.values().filter_map(|v| match &v.body {
            Body::Member(m) => Some((v.stamp, m)),
            Body::Dir { .. } | Body::File { .. } | Body::Symlink { .. } | Body::Tomb | Body::Policy(_) => None,
        });
        let (mut stamp, first) = versions.next()?;
        let mut out = first.clone();
        for (other, m) in versions {
            out.actors.extend(&m.actors);
            out.misses.retain(|content| m.misses.contains(content));
            out.state = out.state.clone().max(m.state.clone());
            if (other, &m.name) > (stamp, &out.name) {
                (stamp, out.name) = (other, m.name.clone());
            }
        }
        Some(out)
    }
}

/// On the wire and in the store a row is its context, then its siblings.
impl<C> Encode<C> for Row {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, c: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.array(3)?;
        self.ctx.encode(e, c)?;
        self.siblings.encode(e, c)?;
        e.bool(self.noskip)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Row {
    fn decode(d: &mut Decoder<'b>, c: &mut C) -> Result<Self, decode::Error> {
        let fields = d.array()?.ok_or_else(|| decode::Error::message("a row has a length"))?;
        if fields < 3 {
            return Err(decode::Error::message("a row has three fields"));
        }
        let row = Self { ctx: Vector::decode(d, c)?, siblings: BTreeMap::decode(d, c)?, noskip: d.bool()? };
        (3..fields).try_for_each(|_| d.skip())?;
        if row.siblings.values().any(|v| !v.body.is_bounded()) {
            return Err(decode::Error::message("a version's text is too long"));
        }
        if row.siblings.len() > MAX_SIBLINGS || row.siblings.keys().any(|dot| !row.ctx.contains(*dot)) {
            return Err(decode::Error::message("a row's context holds its siblings, 1024 at most"));
        }
        Ok(row)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn file(content: &[u8], mtime_ns: i64) -> Body {
        Body::File { content: ContentId::of(content), size: 1, mtime_ns, mode: 0o644 }
    }

    fn dot(actor: u64, seq: u64) -> Dot {
        Dot { actor: Actor(actor), seq }
    }

    fn write(row: &mut Row, dot: Dot, body: Body, saw: Option<Dot>, at: i64) {
        row.write(dot, body, saw, WallTime(at), WallTime(100));
    }

    fn dots(row: &Row) -> Vec<Dot> {
        row.siblings.keys().copied().collect()
    }

    /// Two devices have written the same content apart.
    fn twins() -> Row {
        let mut row = Row::default();
        write(&mut row, dot(1, 1), file(b"x", 1), None, 1);
        let twin = Value { body: file(b"x", 9), prev: [0; 8], stamp: WallTime(9) };
        row.settle(dot(2, 1), twin, &[]);
        row
    }

    #[test]
    fn deleting_one_of_equal_versions_deletes_them_all() {
        let mut row = twins();
        write(&mut row, dot(1, 2), Body::Tomb, Some(dot(1, 1)), 10);
        assert_eq!(dots(&row), [dot(1, 2)]);
    }

    #[test]
    fn an_edit_replaces_what_the_version_it_saw_had_hidden() {
        let mut row = Row::default();
        write(&mut row, dot(1, 1), file(b"x", 1), None, 1);
        let edit = Value { body: file(b"z", 5), prev: file(b"x", 1).content_prefix(), stamp: WallTime(5) };
        row.settle(dot(2, 1), edit, &[]);
        write(&mut row, dot(3, 1), file(b"w", 10), Some(dot(2, 1)), 10);
        assert_eq!(dots(&row), [dot(3, 1)]);
    }

    #[test]
    fn an_edit_leaves_a_concurrent_one() {
        let mut row = Row::default();
        write(&mut row, dot(1, 1), file(b"x", 1), None, 1);
        write(&mut row, dot(2, 1), file(b"y", 1), None, 1);
        write(&mut row, dot(1, 2), file(b"z", 1), Some(dot(1, 1)), 1);
        assert_eq!(dots(&row), [dot(1, 2), dot(2, 1)]);
        assert_eq!(row.siblings[&dot(1, 2)].stamp, WallTime(2));
    }

    #[test]
    fn what_is_put_back_ranks_above_what_had_replaced_it() {
        let mut row = Row::default();
        write(&mut row, dot(1, 1), file(b"x", 1), None, 1);
        write(&mut row, dot(1, 2), file(b"y", 5), Some(dot(1, 1)), 5);
        write(&mut row, dot(1, 3), file(b"x", 1), None, 1);
        assert_eq!(dots(&row), [dot(1, 2), dot(1, 3)]);
        assert_eq!(row.siblings[&dot(1, 3)].stamp, WallTime(6));
        write(&mut row, dot(1, 4), file(b"z", 1), None, 1);
        assert_eq!(row.siblings[&dot(1, 4)].stamp, WallTime(1), "nothing claims to have replaced it");
    }

    #[test]
    fn what_is_put_back_over_another_version_ranks_above_a_concurrent_edit_of_it_and_a_touch_does_not() {
        let mut row = Row::default();
        write(&mut row, dot(1, 1), file(b"x", 1), None, 1);
        let edit = Value { body: file(b"y", 5), prev: file(b"x", 1).content_prefix(), stamp: WallTime(5) };
        row.settle(dot(2, 1), edit, &[]);
        write(&mut row, dot(1, 2), file(b"x", 50), Some(dot(1, 1)), 50);
        assert_eq!(row.siblings[&dot(1, 2)].stamp, WallTime(1));
        write(&mut row, dot(1, 3), file(b"z", 1), Some(dot(1, 2)), 1);
        write(&mut row, dot(1, 4), file(b"x", 1), Some(dot(1, 3)), 1);
        assert_eq!(dots(&row), [dot(1, 4), dot(2, 1)]);
        assert_eq!(row.siblings[&dot(1, 4)].stamp, WallTime(6));
    }

    #[test]
    fn a_touch_ranks_as_the_newest_of_the_equal_versions_it_replaces() {
        let mut row = twins();
        write(&mut row, dot(1, 2), file(b"x", 50), Some(dot(1, 1)), 50);
        assert_eq!(dots(&row), [dot(1, 2)]);
        assert_eq!(row.siblings[&dot(1, 2)].stamp, WallTime(9));
    }
}

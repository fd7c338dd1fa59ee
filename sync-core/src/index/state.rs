//! What is remembered beside the rows.

use super::policy::Policy;
use super::row::Body;
use super::vector::{Dot, Vector};
use crate::id::{Actor, ContentId, DeviceId, FolderId, PublicKey};
use crate::proving::{Mutant, is_mutant};
use alloc::{boxed::Box, collections::BTreeMap, collections::BTreeSet, string::String, vec::Vec};
use minicbor::{Decode, Encode};

/// What kind of directory entry a disk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum StatKind {
    /// A directory.
    #[n(0)]
    Dir,
    /// A regular file.
    #[n(1)]
    File,
    /// A symbolic link.
    #[n(2)]
    Symlink,
    /// Anything else: socket, device, fifo, or a directory that is a mount point.
    #[n(3)]
    Other,
}

/// What `lstat` says of an entry: the fingerprint by which a change is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Stat {
    /// Kind of entry.
    #[n(0)]
    pub kind: StatKind,
    /// Inode number.
    #[n(1)]
    pub inode: u64,
    /// Bytes; 0 for directories.
    #[n(2)]
    pub size: u64,
    /// Modification time, nanoseconds since 1970.
    #[n(3)]
    pub mtime_ns: i64,
    /// Change time, nanoseconds since 1970.
    #[n(4)]
    pub ctime_ns: i64,
    /// Permission bits (the low nine).
    #[n(5)]
    pub mode: u32,
}

impl Stat {
    /// Whether an entry that had this fingerprint when it was last read must be read again. A directory's size and
    /// times say nothing about itself.
    pub fn differs(&self, now: &Self) -> bool {
        match (self.kind, now.kind) {
            (StatKind::Dir, StatKind::Dir) => self.mode != now.mode,
            (kind, other) if is_mutant(Mutant::SizeAloneTells) => (kind, self.size) != (other, now.size),
            _ => self != now,
        }
    }
}

/// What this disk was last seen or made to hold at a path: committed after a scan or an apply, so that old bytes on
/// disk are never taken for an edit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Base {
    /// The version; `None` for a directory that only its descendants imply.
    #[n(0)]
    pub dot: Option<Dot>,
    /// What it holds.
    #[n(1)]
    pub body: Body,
    /// Its fingerprint on this disk.
    #[n(2)]
    pub stat: Stat,
}

impl Base {
    /// The content, for files.
    pub fn content(&self) -> Option<ContentId> {
        match self.body {
            Body::File { content, .. } => Some(content),
            Body::Dir { .. } | Body::Symlink { .. } | Body::Tomb | Body::Member(_) | Body::Policy(_) => None,
        }
    }
}

/// A folder's small state, stored whole.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FolderState {
    /// Which folder.
    #[n(0)]
    pub id: FolderId,
    /// The name people use.
    #[n(1)]
    pub name: String,
    /// Where it is on this device: the shell's business, kept here so that one record holds it all.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub root: Box<[u8]>,
    /// Which concurrent version keeps the name.
    #[n(3)]
    pub policy: Policy,
    /// Whether a person has paused it.
    #[n(4)]
    pub paused: bool,
    /// Who this device writes as.
    #[n(5)]
    pub actor: Actor,
    /// The last dot issued as `actor`.
    #[n(6)]
    pub seq: u64,
    /// Number of the last change to any row here: what cursors count.
    #[n(7)]
    pub rev: u64,
    /// Which run of change numbers this is; cursors of another one are void.
    #[n(8)]
    pub epoch: u64,
    /// Every dot up to these is integrated in the rows here.
    #[n(9)]
    pub knowledge: Vector,
    /// `knowledge` as of the last moment nothing was left to apply.
    #[n(10)]
    pub applied: Vector,
    /// The change number at the last purge: a cursor below it has missed deletions.
    #[n(11)]
    pub purge_rev: u64,
    /// The highest own dot that some peer has confirmed to know.
    #[n(12)]
    pub acked: u64,
    /// What is known of each other device in this folder.
    #[n(13)]
    pub peers: BTreeMap<DeviceId, PeerFolder>,
    // 14 was whether a full scan had completed.
    /// Contents that nobody is asked for, because a person wants it so.
    #[n(15)]
    #[cbor(default)]
    pub paused_contents: BTreeSet<ContentId>,
}

/// What is known of one other device in one folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct PeerFolder {
    /// The epoch the cursor counts in.
    #[n(0)]
    pub epoch: u64,
    /// Every row of the peer up to this change number is integrated here.
    #[n(1)]
    pub cursor: u64,
    /// What the peer last said it knows.
    #[n(2)]
    pub knowledge: Vector,
    /// What the peer last said it has applied.
    #[n(3)]
    pub applied: Vector,
}

/// A device this one is paired with.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PeerRecord {
    /// Which device.
    #[n(0)]
    pub id: DeviceId,
    /// The key it authenticates with.
    #[n(1)]
    pub key: PublicKey,
    /// The name people use.
    #[n(2)]
    pub name: String,
    /// Where it was last reached, `host:port`, most recent first.
    #[n(3)]
    pub addrs: Vec<String>,
    /// Removed devices stay known, so that they are refused by name.
    #[n(4)]
    pub removed: bool,
}

/// A large file on its way: what a restart resumes from.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Staged {
    /// What it will be.
    #[n(0)]
    pub content: ContentId,
    /// Bytes.
    #[n(1)]
    pub size: u64,
    /// Its chunks: length and hash of each, in order.
    #[n(2)]
    pub list: crate::transfer::ChunkList,
    /// One bit a chunk, least significant first: verified and durable.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub sealed: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_with_the_field_that_is_no_more_is_read() {
        let state = FolderState {
            id: FolderId([7; 16]),
            name: "folder".into(),
            root: Box::from(&b"/root"[..]),
            policy: Policy::default(),
            paused: true,
            actor: Actor(5),
            seq: 1,
            rev: 2,
            epoch: 3,
            knowledge: Vector::default(),
            applied: Vector::default(),
            purge_rev: 4,
            acked: 1,
            peers: BTreeMap::new(),
            paused_contents: BTreeSet::new(),
        };
        let mut old = Vec::new();
        assert!(minicbor::encode(&state, &mut old).is_ok());
        assert_eq!((old[0], &old[old.len() - 2..]), (0x90, &[0xf6, 0x80][..]), "sixteen, of which one is no more");
        // Fifteen, the last of them `true`.
        old[0] -= 1;
        old.truncate(old.len() - 2);
        old.push(0xf5);
        assert_eq!(minicbor::decode::<FolderState>(&old).ok(), Some(state));
    }
}

//! What to do. Every effect has an id; its completion is an [`Input`](crate::Input) of the same id: success, a typed
//! error, or never.

use crate::error::{CloseCode, FetchError, ItemError};
use crate::id::{AskId, ContentId, DeviceId, EffectId, FolderId, LinkId, PageId, PublicKey, RequestId};
use crate::index::{ConflictKind, Stat};
use crate::input::Lane;
use crate::path::RelPath;
use crate::transfer::{Bits, ChunkList};
use alloc::{boxed::Box, string::String, vec::Vec};
use serde::Serialize;

/// Everything a node can ask of its driver.
#[derive(Clone, Debug)]
pub enum Output {
    /// The answer to a request.
    Reply {
        /// The request.
        request: RequestId,
        /// The answer, or why it is refused.
        answer: Result<Answer, Refusal>,
    },
    /// Something worth telling people and logs.
    Event(Event),

    /// Connect to a peer: `LinkUp` or `DialFailed`.
    Dial {
        /// The dial.
        dial: EffectId,
        /// Who must answer.
        peer: DeviceId,
        /// The key that must answer.
        key: PublicKey,
        /// Where, `host:port`, most promising first.
        addrs: Vec<String>,
    },
    /// Start reading the link's streams.
    Admit {
        /// The connection.
        link: LinkId,
    },
    /// Send a frame on a long-lived lane, in order.
    Send {
        /// The connection.
        link: LinkId,
        /// The lane.
        lane: Lane,
        /// The encoded message.
        frame: Vec<u8>,
    },
    /// Close a connection, what was sent before first: `LinkDown`.
    HangUp {
        /// The connection.
        link: LinkId,
        /// The code the peer is given.
        code: CloseCode,
        /// The reason the peer is given.
        reason: String,
    },

    /// Walk a folder, or the part of it below `within`: any number of `Listed` and `Unlisted`, then `Scanned`. A
    /// directory is listed before what it holds. Entries are not followed, opened or read.
    Scan {
        /// The scan.
        scan: EffectId,
        /// The folder.
        folder: FolderId,
        /// The directory to walk: the root, if `None`. If it is gone or no directory, nothing is listed.
        within: Option<RelPath>,
    },
    /// Look at single paths, reading files whose fingerprint is not the one given: `Probed`.
    Probe {
        /// The probe.
        probe: EffectId,
        /// The folder.
        folder: FolderId,
        /// Paths, each with the fingerprint that would make reading needless.
        paths: Vec<(RelPath, Option<Stat>)>,
    },
    /// Change the tree: `Applied`. Operations are carried out in order; files are durable before they are visible.
    Apply {
        /// The apply.
        apply: EffectId,
        /// The folder.
        folder: FolderId,
        /// What to do.
        ops: Vec<Op>,
    },
    /// The folder is in use from now on: open its root and watch it.
    OpenFolder {
        /// The folder.
        folder: FolderId,
        /// Its root.
        root: Box<[u8]>,
        /// Staged contents to keep; whatever else is in the staging area is left over.
        staged: Vec<ContentId>,
    },
    /// The folder is no longer in use.
    CloseFolder {
        /// The folder.
        folder: FolderId,
    },

    /// Stage a content from a file of this device: `Copied`.
    Copy {
        /// The copy.
        copy: EffectId,
        /// Where it is staged.
        folder: FolderId,
        /// The content.
        content: ContentId,
        /// The folder of the source.
        from_folder: FolderId,
        /// The source.
        from: RelPath,
        /// What the source must look like.
        expect: Stat,
    },
    /// Stage whatever of these contents the folder's trash holds; it stays in the trash too: `Salvaged`.
    Salvage {
        /// The search.
        salvage: EffectId,
        /// Whose trash, and where it is staged.
        folder: FolderId,
        /// The contents and their sizes in bytes.
        contents: Vec<(ContentId, u64)>,
    },
    /// Write into a staged file whatever of its chunks a file of this device holds: `Reused`.
    Reuse {
        /// The reuse.
        reuse: EffectId,
        /// Where it is staged.
        folder: FolderId,
        /// The content.
        content: ContentId,
        /// Its chunks.
        chunks: ChunkList,
        /// Those that are there already.
        kept: Bits,
        /// The file that may hold others, as an earlier version does.
        basis: Source,
    },
    /// Ask a peer for the chunk list of a content: `ListFetched`.
    FetchList {
        /// The fetch.
        fetch: EffectId,
        /// Whom to ask.
        link: LinkId,
        /// For which folder.
        folder: FolderId,
        /// The content.
        content: ContentId,
        /// Its size in bytes.
        size: u64,
        /// A file that is likely to have most of its chunks: of a long list only the rest need be sent.
        basis: Option<Source>,
    },
    /// Ask a peer for whole small contents and stage them: `BatchFetched`.
    FetchBatch {
        /// The fetch.
        fetch: EffectId,
        /// Whom to ask.
        link: LinkId,
        /// For which folder.
        folder: FolderId,
        /// The contents and their sizes in bytes.
        items: Vec<(ContentId, u64)>,
    },
    /// Ask a peer for a range of a large content and write it at its place in the staged file: `RangeFetched`.
    FetchRange {
        /// The fetch.
        fetch: EffectId,
        /// Whom to ask.
        link: LinkId,
        /// For which folder.
        folder: FolderId,
        /// The content.
        content: ContentId,
        /// Its size in bytes.
        size: u64,
        /// Where the range starts, in bytes.
        offset: u64,
        /// Its chunks: the bytes of each must have its hash.
        chunks: ChunkList,
    },
    /// Make what is written of a staged file durable: `Sealed`.
    Seal {
        /// The seal.
        seal: EffectId,
        /// The folder.
        folder: FolderId,
        /// The staged content.
        content: ContentId,
    },
    /// Read a staged file back, compare its hash, and make it durable: `Finished`.
    Finish {
        /// The finish.
        finish: EffectId,
        /// The folder.
        folder: FolderId,
        /// The staged content.
        content: ContentId,
        /// Its size in bytes.
        size: u64,
    },
    /// Forget a staged content.
    Unstage {
        /// The folder.
        folder: FolderId,
        /// The content.
        content: ContentId,
    },
    /// Answer a request on the data lane: `Answered`.
    Serve {
        /// The request.
        ask: AskId,
        /// What to send.
        answer: Serve,
    },
    /// Everything has been said: the process may end.
    Stop,
}

/// One change to the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// Where.
    pub path: RelPath,
    /// What must be there, or nothing. Anything else is `Done::Unexpected`.
    pub expect: Option<Stat>,
    /// What shall be there.
    pub make: Make,
}

/// What shall be at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Make {
    /// Nothing: a file or link goes to the trash, an empty directory is removed.
    Absent,
    /// A directory. Where one is, its mode is set; a file there goes to the trash.
    Dir {
        /// Permission bits.
        mode: u32,
    },
    /// A file from the staging area; what was there goes to the trash.
    File {
        /// The staged content.
        content: ContentId,
        /// Bytes.
        size: u64,
        /// Modification time, nanoseconds since 1970.
        mtime_ns: i64,
        /// Permission bits.
        mode: u32,
    },
    /// The file that is there, with other metadata.
    Meta {
        /// Modification time, nanoseconds since 1970.
        mtime_ns: i64,
        /// Permission bits.
        mode: u32,
    },
    /// A symbolic link; what was there goes to the trash.
    Symlink {
        /// Its target.
        target: Box<[u8]>,
    },
}

impl Make {
    /// The staged content it uses up.
    pub fn content(&self) -> Option<ContentId> {
        match self {
            Self::File { content, .. } => Some(*content),
            Self::Absent | Self::Dir { .. } | Self::Meta { .. } | Self::Symlink { .. } => None,
        }
    }
}

/// What to send on the data lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Serve {
    /// No bytes, for this reason.
    Refuse(FetchError),
    /// The chunk list of a file, without the pages that the peer has.
    List(Source, Vec<PageId>),
    /// Ranges of files, in order: a file that has changed is answered by its code, and the rest goes on.
    Ranges(Vec<(Result<Source, FetchError>, core::ops::Range<u64>)>),
}

/// A file of this device that held a content when it was last looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its folder.
    pub folder: FolderId,
    /// Where it is.
    pub path: RelPath,
    /// What it must look like to be served.
    pub expect: Stat,
    /// The content it held.
    pub content: ContentId,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Done.
    Ok,
    /// Why an item is as it is.
    Why(Why),
    /// Conflicts, by path.
    Conflicts(Vec<Conflict>),
    /// Entries of the audit, newest first: time in nanoseconds since 1970, kind, detail.
    Audits(Vec<(crate::time::WallTime, String, String)>),
}

/// Why an item is not in sync, or that it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Why {
    /// The item.
    pub path: RelPath,
    /// Whether this device shows what is wanted, as far as it knows.
    pub in_sync: bool,
    /// What is the matter.
    pub reason: String,
    /// What to do.
    pub remedy: String,
}

/// One path with several live versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// Where.
    pub path: RelPath,
    /// How they disagree.
    pub kind: ConflictKind,
    /// The device whose version has the name.
    pub winner: String,
    /// Copies of the others.
    pub copies: Vec<RelPath>,
}

/// Why a request is refused, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// What is wrong.
    pub reason: String,
}

/// Something worth telling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A device connected and said hello.
    PeerConnected {
        /// Which.
        peer: DeviceId,
        /// From or at which address.
        addr: String,
    },
    /// A device is gone.
    PeerDisconnected {
        /// Which.
        peer: DeviceId,
        /// Why.
        reason: String,
    },
    /// A connection was refused or closed for cause.
    Refused {
        /// The device, if its key is known.
        peer: Option<DeviceId>,
        /// The code it was given.
        code: CloseCode,
        /// Why.
        reason: String,
    },
    /// A dial failed; the next attempt comes at its time.
    DialFailed {
        /// Whom.
        peer: DeviceId,
        /// Which attempt.
        attempt: u32,
        /// Why.
        reason: String,
    },
    /// A folder's state changed.
    FolderState {
        /// Which.
        folder: FolderId,
        /// The state's name.
        state: &'static str,
    },
    /// A version was taken from this disk.
    LocalChange {
        /// Where.
        folder: FolderId,
        /// What.
        path: RelPath,
        /// `created`, `changed` or `deleted`.
        change: &'static str,
    },
    /// A version of another device was put on this disk.
    RemoteChange {
        /// Where.
        folder: FolderId,
        /// What.
        path: RelPath,
        /// `created`, `changed` or `deleted`.
        change: &'static str,
    },
    /// Versions disagree at a path.
    ConflictFound {
        /// Where.
        folder: FolderId,
        /// What.
        path: RelPath,
        /// How.
        kind: ConflictKind,
    },
    /// An item has trouble.
    ItemFailed {
        /// Where.
        folder: FolderId,
        /// What.
        path: String,
        /// The trouble.
        error: ItemError,
    },
    /// A large file came to be staged whole.
    TransferCompleted {
        /// Where.
        folder: FolderId,
        /// The content.
        content: ContentId,
        /// Bytes.
        bytes: u64,
    },
    /// Something for the audit: pairing, membership, refusals.
    Audit {
        /// A word for filtering.
        kind: String,
        /// What happened.
        detail: String,
    },
}

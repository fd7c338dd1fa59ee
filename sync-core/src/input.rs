//! What happened.

use crate::error::{CloseCode, FetchError, ItemError};
use crate::id::{AskId, ContentId, DeviceId, EffectId, FolderId, LinkId, PublicKey, RequestId};
use crate::index::{PolicyChoice, Stat};
use crate::path::{DirPath, Name, RelPath};
use crate::transfer::{Bits, ChunkList};
use alloc::{boxed::Box, string::String, vec::Vec};

/// Everything that can happen to a node.
#[derive(Clone, Debug)]
pub enum Input {
    /// The first input: take up what the index holds.
    Start {
        /// Whether this database may have issued dots that it has forgotten: a power loss, a restored backup, a
        /// cloned machine. It then writes as a new actor.
        fresh_actor: bool,
    },
    /// The deadline has come, or nothing in particular: always harmless.
    Wake,
    /// A person or program asks for something.
    Request {
        /// Names the answer.
        request: RequestId,
        /// What is asked.
        command: Command,
    },

    /// A transport connection stands and its peer has proved possession of `key`. Nothing is read from it before
    /// `Output::Admit`.
    LinkUp {
        /// The connection.
        link: LinkId,
        /// The peer's key.
        key: PublicKey,
        /// The peer's address as seen from here, `host:port`.
        addr: String,
        /// Whether this device dialled, and the dial's id.
        dial: Option<EffectId>,
    },
    /// A dial came to nothing.
    DialFailed {
        /// The dial.
        dial: EffectId,
        /// What the transport said.
        reason: String,
    },
    /// A connection is gone. Comes exactly once per `LinkUp`, after a hang-up too.
    LinkDown {
        /// The connection.
        link: LinkId,
        /// The close code, if the peer gave one.
        code: CloseCode,
        /// What the peer or the transport said.
        reason: String,
    },
    /// A frame arrived on the control or index lane, decompressed.
    Received {
        /// The connection.
        link: LinkId,
        /// The lane.
        lane: Lane,
        /// The frame, not yet decoded.
        frame: Vec<u8>,
    },
    /// A frame of the index lane has been handed to the transport: there is room for another.
    Sent {
        /// The connection.
        link: LinkId,
    },
    /// The peer broke the framing rules of the transport (a frame too long, a stream too many).
    Misbehaved {
        /// The connection.
        link: LinkId,
        /// What it did.
        reason: String,
    },
    /// Measurements of a connection, about once a second.
    LinkStats {
        /// The connection.
        link: LinkId,
        /// The measurements.
        stats: LinkStats,
    },
    /// A request arrived on the data lane.
    Asked {
        /// The connection.
        link: LinkId,
        /// Names the answer.
        ask: AskId,
        /// The request, not yet decoded.
        frame: Vec<u8>,
    },
    /// A request of the peer has been answered, or its stream is gone.
    Answered {
        /// The request.
        ask: AskId,
        /// Content bytes sent.
        bytes: u64,
    },

    /// Something may have changed on disk. Never relied upon: scans find what hints miss.
    Hint {
        /// The folder.
        folder: FolderId,
        /// Where.
        hint: Hint,
    },
    /// Part of a directory, as a scan found it: every entry within the span, by name.
    Listed {
        /// The scan.
        scan: EffectId,
        /// The directory.
        dir: DirPath,
        /// The span starts after this name, or at the first.
        after: Option<Name>,
        /// Entries in ascending order of name.
        entries: Vec<(Name, Stat)>,
        /// Whether the span reaches the end of the directory; otherwise it ends with the last entry.
        last: bool,
    },
    /// A directory could not be read: nothing is known of what it holds.
    Unlisted {
        /// The scan.
        scan: EffectId,
        /// The directory.
        dir: DirPath,
        /// Why.
        error: ItemError,
    },
    /// A scan has ended. `Err` if the root was not the folder's at the start and the end.
    Scanned {
        /// The scan.
        scan: EffectId,
        /// Whether the root was there throughout.
        outcome: Result<(), ItemError>,
    },
    /// What probed paths hold.
    Probed {
        /// The probe.
        probe: EffectId,
        /// One answer for each path asked, in the same order; `Err` if the root was not the folder's throughout.
        outcome: Result<Vec<Result<Seen, ItemError>>, ItemError>,
    },
    /// Operations were carried out, or not.
    Applied {
        /// The apply.
        apply: EffectId,
        /// One answer for each operation, in the same order; `Err` if the root is not the folder's.
        outcome: Result<Vec<Done>, ItemError>,
    },

    /// A content was copied into the staging area from a file of this device.
    Copied {
        /// The copy.
        copy: EffectId,
        /// Whether the staged bytes have the content's hash.
        outcome: Result<(), CopyError>,
    },
    /// A staged file was given what another file holds of it.
    Reused {
        /// The reuse.
        reuse: EffectId,
        /// Which chunks are verified and written now, beside those that were there.
        outcome: Result<Bits, CopyError>,
    },
    /// The trash was searched.
    Salvaged {
        /// The search.
        salvage: EffectId,
        /// Which contents are staged now; `Err` if the trash could not be searched.
        outcome: Result<Vec<ContentId>, ItemError>,
    },
    /// A chunk list arrived.
    ListFetched {
        /// The fetch.
        fetch: EffectId,
        /// The list: its lengths add up to the size asked for.
        outcome: Result<ChunkList, FetchFailure>,
    },
    /// Whole small files arrived in the staging area, verified.
    BatchFetched {
        /// The fetch.
        fetch: EffectId,
        /// One answer for each content asked, in the same order.
        outcomes: Vec<Result<(), FetchFailure>>,
    },
    /// A range of chunks arrived.
    RangeFetched {
        /// The fetch.
        fetch: EffectId,
        /// How many chunks, from the range's first, are verified and written.
        chunks: u32,
        /// Why no more came, if fewer than asked.
        error: Option<FetchFailure>,
    },
    /// What was written of a staged file before the seal was asked for is durable, or not.
    Sealed {
        /// The seal.
        seal: EffectId,
        /// The disk's answer.
        outcome: Result<(), ItemError>,
    },
    /// A staged file was read back whole: `Ok(true)` if it has the content's hash, and is durable.
    Finished {
        /// The finish.
        finish: EffectId,
        /// The verdict.
        outcome: Result<bool, ItemError>,
    },
}

/// The long-lived streams of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Handshake, announcements, heartbeat: highest priority.
    Control,
    /// Batches of rows.
    Index,
}

/// Measurements of a connection, cumulative where they count.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LinkStats {
    /// Smoothed round-trip time in microseconds.
    pub rtt_us: u64,
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets lost.
    pub packets_lost: u64,
    /// UDP payload bytes sent.
    pub bytes_sent: u64,
    /// UDP payload bytes received.
    pub bytes_received: u64,
}

/// A hint of the watcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// This entry, and all below if it is a directory.
    Path(RelPath),
    /// Anything: the watcher lost count.
    Everything,
}

/// What a probed path holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    Absent,
    /// A directory.
    Dir(Stat),
    /// A regular file whose bytes have this hash, unchanged while it was read. A file whose fingerprint was still the
    /// one asked about is not read: its content is `None`.
    File(Stat, Option<ContentId>),
    /// A symbolic link and its target.
    Symlink(Stat, Box<[u8]>),
}

/// How one operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// As asked; the entry's fingerprint, or none where it was removed.
    Made(Option<Stat>),
    /// As asked too, but the disk would not make it durable: a power loss may undo it.
    Volatile(Option<Stat>, ItemError),
    /// The entry on disk was not the expected one, and is untouched or back in place: look again.
    Unexpected,
    /// A staged content was missing: fetch it again.
    NotStaged,
    /// Not done; nothing has changed.
    Failed(ItemError),
}

/// Why a fetch brought nothing, or less than was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchFailure {
    /// The peer or the way to it.
    Peer(FetchError),
    /// The staging area could not be written.
    Disk(ItemError),
}

/// Why a local copy failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyError {
    /// The source has changed: it no longer holds the content.
    Source,
    /// The staging area could not be written.
    Disk(ItemError),
}

/// What people and programs ask for.
#[derive(Clone, Debug)]
pub enum Command {
    /// Share a folder that is new to the world. The shell has made its root and marker.
    ShareFolder {
        /// Its id, drawn by the shell.
        folder: FolderId,
        /// Its name.
        name: String,
        /// Where it is.
        root: Box<[u8]>,
    },
    /// A pairing has succeeded: know the device, and have it in the folder. Where the folder is new to this device it
    /// is added with `root`.
    Pair {
        /// The other device.
        device: DeviceId,
        /// Its key.
        key: PublicKey,
        /// Its name.
        name: String,
        /// Where it can be dialled, if known.
        addr: Option<String>,
        /// The folder.
        folder: FolderId,
        /// The folder's name.
        folder_name: String,
        /// Where the folder is here, if it is new here.
        root: Option<Box<[u8]>>,
    },
    /// Something for the audit that only the shell saw, such as a failed pairing.
    Audit {
        /// A word for filtering.
        kind: String,
        /// What happened.
        detail: String,
    },
    /// Stop syncing a folder; its files stay.
    RemoveFolder(FolderId),
    /// Pause or go on.
    PauseFolder(FolderId, bool),
    /// Ask nobody for a content, or go on with it.
    PauseTransfer(FolderId, ContentId, bool),
    /// Drop what has come of a content, and ask nobody for it until a person wants to go on.
    CancelTransfer(FolderId, ContentId),
    /// Change who wins conflicts.
    SetPolicy(FolderId, PolicyChoice),
    /// Read every file of a folder again and compare.
    VerifyFolder(FolderId),
    /// Remove a device from every folder: at once and for good.
    RemoveDevice(DeviceId),
    /// Stop waiting for a device that will not come back.
    RetireDevice(DeviceId),
    /// Call a device by another name.
    RenameDevice(DeviceId, String),
    /// Dial a peer now, whatever the backoff says.
    DialNow(DeviceId),
    /// Why an item is not in sync.
    Why(FolderId, RelPath),
    /// The conflicts of a folder.
    Conflicts(FolderId),
    /// The newest entries of the audit, at most so many.
    Audits(usize),
    /// Say goodbye on every link and stop.
    Shutdown,
}

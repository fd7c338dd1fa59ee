//! Errors, sorted by whose fault they are: the peer's, the disk's, the link's. Our own faults are assertions.

use alloc::string::String;
use minicbor::{Decode, Encode};
use serde::Serialize;

/// Why a link was closed, as the peer sees it. The numbers are the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseCode {
    /// No code of ours: the transport ended it.
    None = 0,
    /// Versions or features do not fit.
    HandshakeFailed = 1,
    /// No `Hello` within ten seconds.
    HandshakeTimeout = 2,
    /// A message that its state, lane, limits or format forbid.
    ProtocolError = 3,
    /// The key is not paired, or was removed.
    NotAuthorised = 4,
    /// The daemon is stopping.
    ShuttingDown = 5,
    /// Another link to the same device took over.
    Superseded = 6,
}

impl CloseCode {
    /// The code of a wire number; numbers of later versions are `None`.
    pub fn from_wire(code: u64) -> Self {
        match code {
            1 => Self::HandshakeFailed,
            2 => Self::HandshakeTimeout,
            3 => Self::ProtocolError,
            4 => Self::NotAuthorised,
            5 => Self::ShuttingDown,
            6 => Self::Superseded,
            _ => Self::None,
        }
    }
}

/// What kind of trouble an item has. The remedy follows from the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemErrorKind {
    /// No space, or quota exceeded.
    DiskFull,
    /// The daemon's user may not.
    PermissionDenied,
    /// The file system is mounted read-only.
    ReadOnly,
    /// The file changes faster than it can be read.
    Busy,
    /// A socket, device, fifo or mount point: not something that is synced.
    Unsupported,
    /// The name cannot exist here, or a copy's name would be too long.
    Name,
    /// A directory still holds entries that are not synced.
    NotEmpty,
    /// No connected device has the content.
    NoSource,
    /// The folder's root is missing, was replaced or is not ours.
    RootLost,
    /// Anything else the operating system reports.
    Io,
}

impl ItemErrorKind {
    /// What a person can do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::DiskFull => "free space on the disk of this folder; it goes on by itself",
            Self::PermissionDenied => "give the user that runs landropic access to it; it goes on by itself",
            Self::ReadOnly => "mount the file system writable; it goes on by itself",
            Self::Busy => "the file is still being written; it is taken when it rests",
            Self::Unsupported => "remove it from the folder: sockets, devices, fifos and mounts are not synced",
            Self::Name => "rename it to something shorter",
            Self::NotEmpty => "move or delete what is left in the directory; it goes on by itself",
            Self::NoSource => "connect a device that has this version",
            Self::RootLost => {
                "mount or restore the folder at its path; it goes on by itself, and nothing is deleted meanwhile"
            }
            Self::Io => "look at the system log for the disk; it is tried again by itself",
        }
    }
}

/// Trouble with one item, as the operating system or the plan reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ItemError {
    /// The kind, from which the remedy follows.
    pub kind: ItemErrorKind,
    /// What happened, naming the call.
    pub reason: String,
}

/// Why a request on the data lane brought no bytes. The numbers are the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum FetchError {
    /// No file of the peer's holds the content, as far as it knows.
    #[n(1)]
    NotFound = 1,
    /// The file that held it has changed, or cannot be read.
    #[n(2)]
    Changed = 2,
    /// Too many requests at once; ask again.
    #[n(3)]
    Busy = 3,
    /// The peer will not serve this.
    #[n(4)]
    Refused = 4,
    /// The bytes do not have the hash they were asked for by.
    #[n(5)]
    BadHash = 5,
    /// The stream or link ended early.
    #[n(6)]
    Broken = 6,
}

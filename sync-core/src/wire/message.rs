//! The messages themselves.

use crate::id::{ContentId, DeviceId, FolderId, PageId};
use crate::index::{Key, Row, Vector};
use crate::proving::{Mutant, is_mutant};
use alloc::{string::String, vec::Vec};
use minicbor::{Decode, Encode};

/// The version this code speaks. It is also in the ALPN, `landropic/1`: the number breaks, features extend.
pub const PROTOCOL_VERSION: u32 = 1;
/// Longest frame on the control lane and longest request on the data lane, bytes.
pub const MAX_CONTROL_FRAME: usize = 64 << 10;
/// Longest frame on the index lane once decompressed, bytes.
pub const MAX_INDEX_FRAME: usize = 4 << 20;
/// Most rows in one `Rows`, and keys in one `Gone`.
pub const MAX_ROWS: usize = 1_000;
/// Most items in one `Want`.
pub const MAX_WANT_ITEMS: usize = 1_024;
/// Most pages of other lists named in one `ListWant`.
pub const MAX_KNOWN_PAGES: usize = 2_048;

/// Everything devices say to each other outside of content bytes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Message {
    /// First on the control lane, both ways.
    #[n(0)]
    Hello(#[n(0)] Hello),
    /// Where this device stands in a shared folder.
    #[n(1)]
    FolderOffer(#[n(0)] FolderOffer),
    /// The folder is not shared here any more.
    #[n(2)]
    FolderGone(#[n(0)] FolderId),
    /// Rows follow on the index lane.
    #[n(3)]
    SyncStart(#[n(0)] SyncStart),
    /// A batch of rows.
    #[n(4)]
    Rows(#[n(0)] Rows),
    /// Every row is said up to here.
    #[n(5)]
    Caught(#[n(0)] Caught),
    /// Rows that were deleted and forgotten here.
    #[n(6)]
    Gone {
        /// The folder.
        #[n(0)]
        folder: FolderId,
        /// The keys, at most [`MAX_ROWS`].
        #[cbor(n(1), decode_with = "super::codec::at_most::<MAX_ROWS, _, _>")]
        keys: Vec<Key>,
    },
    /// Contents that can be asked for here from now on.
    #[n(7)]
    Have(#[n(0)] Have),
    /// Are you there?
    #[n(8)]
    Ping(#[n(0)] u64),
    /// I am.
    #[n(9)]
    Pong(#[n(0)] u64),
    /// Something went wrong that does not end the link.
    #[n(10)]
    Notice {
        /// A number for programs.
        #[n(0)]
        code: u32,
        /// A sentence for people.
        #[n(1)]
        text: String,
    },
    /// Last on the control lane.
    #[n(11)]
    Goodbye,
    /// On the data lane: ranges of contents.
    #[n(12)]
    Want(#[n(0)] Want),
    /// On the data lane: the chunk list of a content.
    #[n(13)]
    ListWant(#[n(0)] ListWant),
}

impl Message {
    /// The message's name, as `PROTOCOL.md` has it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "Hello",
            Self::FolderOffer(_) => "FolderOffer",
            Self::FolderGone(_) => "FolderGone",
            Self::SyncStart(_) => "SyncStart",
            Self::Rows(_) => "Rows",
            Self::Caught(_) => "Caught",
            Self::Gone { .. } => "Gone",
            Self::Have(_) => "Have",
            Self::Ping(_) => "Ping",
            Self::Pong(_) => "Pong",
            Self::Notice { .. } => "Notice",
            Self::Goodbye => "Goodbye",
            Self::Want(_) => "Want",
            Self::ListWant(_) => "ListWant",
        }
    }
}

/// Who speaks, and what it can do.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// The protocol's version.
    #[n(0)]
    pub version: u32,
    /// The sender: must be the device whose key authenticated the link.
    #[n(1)]
    pub device: DeviceId,
    /// Its name.
    #[n(2)]
    pub name: String,
    /// Where it listens: the port of the address it is seen at.
    #[n(3)]
    pub listen_port: u16,
    /// Features beyond the version's; what both name is in use.
    #[n(4)]
    pub features: Vec<String>,
}

/// Where the sender stands in a folder.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FolderOffer {
    /// The folder.
    #[n(0)]
    pub folder: FolderId,
    /// The run of change numbers it counts in.
    #[n(1)]
    pub epoch: u64,
    /// Its last change number.
    #[n(2)]
    pub max_rev: u64,
    /// The receiver's epoch that `cursor` counts in.
    #[n(3)]
    pub cursor_epoch: u64,
    /// Every row of the receiver up to this change number is integrated at the sender.
    #[n(4)]
    pub cursor: u64,
    /// Every dot up to these is integrated at the sender.
    #[n(5)]
    pub knowledge: Vector,
    /// `knowledge` as of the last moment nothing was left to apply.
    #[n(6)]
    pub applied: Vector,
    /// The sender's change number at its last purge.
    #[n(7)]
    pub purge_rev: u64,
}

impl FolderOffer {
    /// Whether the receiver of this offer shares the history that `cursor`, in the offer it made itself, counts in.
    /// Where it does not, it has missed deletions, or numbers that were given anew.
    pub fn honours(&self, cursor_epoch: u64, cursor: u64) -> bool {
        let is_epoch = cursor_epoch == self.epoch || is_mutant(Mutant::EpochIgnored);
        let is_complete = cursor >= self.purge_rev || is_mutant(Mutant::PurgeIgnored);
        is_epoch && is_complete && cursor <= self.max_rev
    }
}

/// The beginning of a stream of rows, and what they mean: the answer to an offer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SyncStart {
    /// The folder.
    #[n(0)]
    pub folder: FolderId,
    /// What the rows start from.
    #[n(1)]
    pub flow: Flow,
    /// The run of change numbers they count in.
    #[n(2)]
    pub epoch: u64,
    /// Every dot up to these is integrated at the sender.
    #[n(3)]
    pub knowledge: Vector,
}

/// How rows are streamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Flow {
    /// History is shared: rows changed after the receiver's cursor, by change number.
    #[n(0)]
    Since(#[n(0)] u64),
    /// History is not shared: every row, by key. The receiver answers with `Gone` and with what it holds beyond.
    #[n(1)]
    All,
}

/// A batch of rows on the index lane.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Rows {
    /// The folder.
    #[n(0)]
    pub folder: FolderId,
    /// The rows, at most [`MAX_ROWS`].
    #[cbor(n(1), decode_with = "super::codec::at_most::<MAX_ROWS, _, _>")]
    pub rows: Vec<WireRow>,
    /// In a `Since` flow, every row up to this change number has now been sent or is known to the receiver.
    #[n(2)]
    pub upto: Option<u64>,
}

/// A row on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct WireRow {
    /// What it is about.
    #[n(0)]
    pub key: Key,
    /// The versions.
    #[n(1)]
    pub row: Row,
}

/// The sender has said every row up to here.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Caught {
    /// The folder.
    #[n(0)]
    pub folder: FolderId,
    /// Its last change number.
    #[n(1)]
    pub rev: u64,
    /// Its knowledge.
    #[n(2)]
    pub knowledge: Vector,
    /// Its knowledge as of the last moment nothing was left to apply.
    #[n(3)]
    pub applied: Vector,
}

/// Contents that can be asked for at the sender.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Have {
    /// The folder.
    #[n(0)]
    pub folder: FolderId,
    /// The contents.
    #[n(1)]
    pub contents: Vec<ContentId>,
}

/// A request for ranges of contents. The answer is, for each item in order, one byte of code (0: bytes follow,
/// otherwise a [`FetchError`](crate::FetchError)) and then exactly the bytes asked for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Want {
    /// For which folder.
    #[n(0)]
    pub folder: FolderId,
    /// What, at most [`MAX_WANT_ITEMS`].
    #[cbor(n(1), decode_with = "super::codec::at_most::<MAX_WANT_ITEMS, _, _>")]
    pub items: Vec<WantItem>,
}

/// One range of one content.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct WantItem {
    /// The content.
    #[n(0)]
    pub content: ContentId,
    /// Where the range starts, bytes.
    #[n(1)]
    pub offset: u64,
    /// How long it is, bytes.
    #[n(2)]
    pub len: u64,
}

/// Pages of chunk lists.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct KnownPages(#[cbor(n(0), decode_with = "super::codec::at_most::<MAX_KNOWN_PAGES, _, _>")] pub Vec<PageId>);

/// A request for a chunk list. The answer is one byte of code, then a `u32` (little-endian) of pages, then for each the
/// number of its chunks as `u32` and for each chunk a `u32` of bytes and its BLAKE3; or, for a page that the asker has, a
/// zero and its place among `known` as `u32`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ListWant {
    /// For which folder.
    #[n(0)]
    pub folder: FolderId,
    /// The content.
    #[n(1)]
    pub content: ContentId,
    /// The chunking scheme.
    #[n(2)]
    pub scheme: u8,
    /// Pages that the asker has of another list, at most [`MAX_KNOWN_PAGES`]: those need not be sent.
    #[n(3)]
    pub known: Option<KnownPages>,
}

//! The port behind which state is stored.
//!
//! The driver wraps a batch of inputs in one transaction and releases the batch's outputs after the commit, so no
//! promise leaves before what it rests on is written. Every list is in ascending order of the stored key bytes, and
//! the same calls give the same answers on every implementation.

use super::row::{Key, Row};
use super::state::{Base, FolderState, PeerRecord, Staged};
use crate::id::{ContentId, DeviceId, FolderId};
use crate::path::{DirPath, Name, RelPath};
use alloc::vec::Vec;

/// A row with the number of its last change here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// What it is about.
    pub key: Key,
    /// The versions.
    pub row: Row,
    /// The local change number.
    pub rev: u64,
}

/// Ordered, transactional access to state. An error means that nothing of the current batch will be committed: the
/// driver drops the node and rebuilds it from what is.
pub trait Index {
    /// What the storage reports.
    type Error: core::fmt::Debug;

    /// The current batch is to survive a power loss once it is committed: it holds what somebody is told is done.
    fn make_durable(&mut self) -> Result<(), Self::Error>;

    /// Every folder's small state.
    fn folders(&mut self) -> Result<Vec<FolderState>, Self::Error>;
    /// Stores a folder's small state.
    fn put_folder(&mut self, state: &FolderState) -> Result<(), Self::Error>;
    /// Forgets a folder with all that belongs to it.
    fn remove_folder(&mut self, folder: FolderId) -> Result<(), Self::Error>;

    /// Every paired device, removed ones too.
    fn peers(&mut self) -> Result<Vec<PeerRecord>, Self::Error>;
    /// Stores a paired device.
    fn put_peer(&mut self, peer: &PeerRecord) -> Result<(), Self::Error>;
    /// Forgets a paired device.
    fn remove_peer(&mut self, device: DeviceId) -> Result<(), Self::Error>;

    /// The row at `key`.
    fn row(&mut self, folder: FolderId, key: &Key) -> Result<Option<Row>, Self::Error>;
    /// Stores the row at `key` as change number `rev`, which is greater than every one before.
    fn put_row(&mut self, folder: FolderId, key: &Key, row: &Row, rev: u64) -> Result<(), Self::Error>;
    /// Forgets the row at `key`.
    fn remove_row(&mut self, folder: FolderId, key: &Key) -> Result<(), Self::Error>;
    /// Rows changed after `rev`, by change number.
    fn rows_since(&mut self, folder: FolderId, rev: u64, limit: usize) -> Result<Vec<Versioned>, Self::Error>;
    /// Rows whose key comes after `after` (from the first, if `None`), by key.
    fn rows_after(
        &mut self,
        folder: FolderId,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Versioned>, Self::Error>;
    /// Whether any row strictly below `path` is live ([`Row::is_live`]).
    fn live_below(&mut self, folder: FolderId, path: &RelPath) -> Result<bool, Self::Error>;
    /// Paths of rows with more than one live sibling ([`Row::is_conflicted`]), by path.
    fn conflicted(&mut self, folder: FolderId) -> Result<Vec<RelPath>, Self::Error>;
    /// Notes that versions of `path` show as conflict copies, or that none does any more.
    fn note_copied(&mut self, folder: FolderId, path: &RelPath, copied: bool) -> Result<(), Self::Error>;
    /// Paths noted so, by path: what they show follows from all rows around them, and is too dear to be looked for.
    fn copied(&mut self, folder: FolderId) -> Result<Vec<RelPath>, Self::Error>;
    /// Paths after `after` of rows with no live sibling, by path; a reserved key as `after` is before every path.
    fn tombs_after(&mut self, folder: FolderId, after: Option<&Key>, limit: usize) -> Result<Vec<Key>, Self::Error>;

    /// What the disk was last seen or made to hold at `path`.
    fn base(&mut self, folder: FolderId, path: &RelPath) -> Result<Option<Base>, Self::Error>;
    /// Stores it.
    fn put_base(&mut self, folder: FolderId, path: &RelPath, base: &Base) -> Result<(), Self::Error>;
    /// Forgets it.
    fn remove_base(&mut self, folder: FolderId, path: &RelPath) -> Result<(), Self::Error>;
    /// Bases directly in `dir` with names after `after` (from the first, if `None`), by name.
    fn base_children(
        &mut self,
        folder: FolderId,
        dir: &DirPath,
        after: Option<&Name>,
        limit: usize,
    ) -> Result<Vec<(Name, Base)>, Self::Error>;
    /// Up to `limit` places in any folder whose base holds `content`, by inode number, then folder and path: an order
    /// that an index on the content keeps without a copy of every path.
    fn holders(&mut self, content: ContentId, limit: usize) -> Result<Vec<(FolderId, RelPath, Base)>, Self::Error>;
    /// Number and total size of the files in a folder's bases.
    fn base_totals(&mut self, folder: FolderId) -> Result<(u64, u64), Self::Error>;

    /// Notes that `path` may differ from what is wanted. Noting it twice is noting it once: the answer is whether
    /// it was not noted yet.
    fn mark_pending(&mut self, folder: FolderId, path: &RelPath) -> Result<bool, Self::Error>;
    /// Takes the note back; the answer is whether there was one.
    fn clear_pending(&mut self, folder: FolderId, path: &RelPath) -> Result<bool, Self::Error>;
    /// Whether `path` is noted.
    fn is_pending(&mut self, folder: FolderId, path: &RelPath) -> Result<bool, Self::Error>;
    /// How many paths are noted.
    fn pending_count(&mut self, folder: FolderId) -> Result<u64, Self::Error>;
    /// Noted paths after `after` (from the first, if `None`), by path.
    fn pending(&mut self, folder: FolderId, after: Option<&RelPath>, limit: usize)
    -> Result<Vec<RelPath>, Self::Error>;

    /// Every large file on its way in a folder, by content.
    fn staged(&mut self, folder: FolderId) -> Result<Vec<Staged>, Self::Error>;
    /// Stores one.
    fn put_staged(&mut self, folder: FolderId, staged: &Staged) -> Result<(), Self::Error>;
    /// Forgets one.
    fn remove_staged(&mut self, folder: FolderId, content: ContentId) -> Result<(), Self::Error>;

    /// Appends to the audit: one record of an attempt, a resolution or a change of membership.
    fn audit(&mut self, at: crate::time::WallTime, kind: &str, detail: &str) -> Result<(), Self::Error>;

    /// The newest `limit` records of the audit, newest first.
    fn audits(
        &mut self,
        limit: usize,
    ) -> Result<Vec<(crate::time::WallTime, alloc::string::String, alloc::string::String)>, Self::Error>;
}

//! The chunks of a content: what makes every range of it verifiable on its own.

use crate::error::FetchError;
use crate::id::PageId;
use alloc::vec::Vec;
use minicbor::{Decode, Encode};

/// The chunking scheme: FastCDC 2020 (Xia et al.) with the table of the `fastcdc` crate and the sizes of
/// [`scheme_sizes`].
pub const SCHEME: u8 = 1;

/// A page ends with a chunk the lowest ten bits of whose hash are zero, so that lists which share a run of chunks share pages.
const PAGE_MASK: u32 = 0x3ff;
/// Fewest and most chunks of a page but the last.
const PAGE_CHUNKS: (usize, usize) = (256, 4_096);

/// Smallest, average and largest chunk in bytes for a file of `size` bytes, so that lists stay short.
pub fn scheme_sizes(size: u64) -> (u32, u32, u32) {
    let average: u32 = match size {
        0..=0x1_0000_0000 => 64 << 10,
        0x1_0000_0001..=0x10_0000_0000 => 1 << 20,
        _ => 4 << 20,
    };
    (average / 4, average, average * 4)
}

/// Why bytes are not the chunk list of a content of the size asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// Not a whole number of entries.
    #[error("a chunk list is cut short")]
    Short,
    /// A chunk is empty or larger than its scheme allows.
    #[error("a chunk has a length that its scheme forbids")]
    Length,
    /// The lengths do not add up.
    #[error("a chunk list is not of the size asked for")]
    Total,
}

impl From<ListError> for FetchError {
    fn from(_: ListError) -> Self {
        Self::BadHash
    }
}

/// Lengths and BLAKE3 hashes of consecutive chunks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct ChunkList {
    /// Encoded entries, so that a list of a large file is one allocation.
    #[cbor(n(0), with = "minicbor::bytes")]
    entries: Vec<u8>,
}

impl ChunkList {
    /// Bytes of one entry of the transmitted form: a length and a hash.
    pub const ENTRY: usize = 4 + 32;

    /// Adds a chunk at the end.
    pub fn push(&mut self, len: u32, hash: [u8; 32]) {
        self.entries.extend_from_slice(&len.to_le_bytes());
        self.entries.extend_from_slice(&hash);
    }

    /// Parses the transmitted entries of a content of `size` bytes.
    ///
    /// # Errors
    /// When the peer's list cannot be that of such a content.
    pub fn parse(entries: Vec<u8>, size: u64) -> Result<Self, ListError> {
        if !entries.len().is_multiple_of(Self::ENTRY) {
            return Err(ListError::Short);
        }
        let list = Self { entries };
        let (_, _, largest) = scheme_sizes(size);
        if list.iter().any(|(len, _)| len == 0 || len > largest) {
            return Err(ListError::Length);
        }
        if list.bytes() != size { Err(ListError::Total) } else { Ok(list) }
    }

    /// The transmitted form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.entries
    }

    /// Most entries that a content of `size` bytes can have.
    pub fn max_len(size: u64) -> u64 {
        size.div_ceil(u64::from(scheme_sizes(size).0)).max(1)
    }

    /// Number of chunks.
    pub fn len(&self) -> usize {
        self.entries.len() / Self::ENTRY
    }

    /// Whether there is no chunk.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Length in bytes of chunk `index`.
    pub fn chunk_len(&self, index: usize) -> u64 {
        let at = index * Self::ENTRY;
        self.entries[at..at + 4].iter().rev().fold(0, |len, b| len << 8 | u64::from(*b))
    }

    /// Length and hash of each chunk, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, [u8; 32])> {
        self.entries.chunks_exact(Self::ENTRY).map(|entry| {
            let (mut len, mut hash) = ([0; 4], [0; 32]);
            len.copy_from_slice(&entry[..4]);
            hash.copy_from_slice(&entry[4..]);
            (u32::from_le_bytes(len), hash)
        })
    }

    /// The chunks of `range`.
    pub fn slice(&self, range: core::ops::Range<usize>) -> Self {
        Self { entries: self.entries[range.start * Self::ENTRY..range.end * Self::ENTRY].into() }
    }

    /// The pages of the list, as ranges of chunks: about a thousand each, cut by content, so that an edit changes one or two.
    pub fn pages(&self) -> Vec<core::ops::Range<usize>> {
        let (mut pages, mut start) = (Vec::new(), 0);
        for (i, (_, hash)) in self.iter().enumerate() {
            let ends = u32::from_le_bytes([hash[0], hash[1], hash[2], hash[3]]) & PAGE_MASK == 0;
            let len = i + 1 - start;
            if len >= PAGE_CHUNKS.1 || ends && len >= PAGE_CHUNKS.0 || i + 1 == self.len() {
                pages.push(start..i + 1);
                start = i + 1;
            }
        }
        pages
    }

    /// What identifies the page that consists of the chunks of `range`.
    pub fn page_id(&self, range: core::ops::Range<usize>) -> PageId {
        let hash = blake3::hash(&self.entries[range.start * Self::ENTRY..range.end * Self::ENTRY]);
        let mut id = [0; 16];
        id.copy_from_slice(&hash.as_bytes()[..16]);
        PageId(id)
    }

    /// Bytes of all chunks together.
    pub fn bytes(&self) -> u64 {
        self.iter().map(|(len, _)| u64::from(len)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list of chunks whose hashes are those of numbers.
    fn list(numbers: impl Iterator<Item = u32>) -> ChunkList {
        let mut list = ChunkList::default();
        numbers.for_each(|n| list.push(1, *blake3::hash(&n.to_le_bytes()).as_bytes()));
        list
    }

    #[test]
    fn an_edit_changes_one_or_two_pages_of_a_list() {
        let before = list(0..100_000);
        let pages = before.pages();
        assert_eq!((pages[0].start, pages.last().map(|page| page.end)), (0, Some(100_000)));
        assert!(pages.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert!((60..200).contains(&pages.len()), "{}", pages.len());
        let ids = |list: &ChunkList| -> alloc::collections::BTreeSet<PageId> {
            list.pages().into_iter().map(|page| list.page_id(page)).collect()
        };
        let known = ids(&before);
        for edited in
            [list((0..50_000).chain([200_000]).chain(50_000..100_000)), list((0..70_000).chain(70_009..100_000))]
        {
            assert!((1..=2).contains(&ids(&edited).difference(&known).count()));
        }
    }

    #[test]
    fn pages_keep_their_bounds_whatever_the_hashes() {
        let same = |hash| {
            let mut list = ChunkList::default();
            (0..10_000).for_each(|_| list.push(1, hash));
            list.pages().iter().map(|page| page.len()).collect::<Vec<_>>()
        };
        assert_eq!(same([1; 32]), [4_096, 4_096, 1_808]);
        assert!(same([0; 32]).iter().rev().skip(1).all(|len| *len == 256));
        assert!(ChunkList::default().pages().is_empty());
    }
}

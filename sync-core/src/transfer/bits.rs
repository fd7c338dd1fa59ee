//! A bitmap of chunks.

use alloc::{vec, vec::Vec};

/// One bit a chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bits {
    bytes: Vec<u8>,
    len: usize,
}

impl Bits {
    /// `len` chunks, none set.
    pub fn new(len: usize) -> Self {
        Self { bytes: vec![0; len.div_ceil(8)], len }
    }

    /// The stored form of `len` chunks: least significant bit first; what is missing or beyond counts as not set.
    pub fn from_bytes(stored: &[u8], len: usize) -> Self {
        let mut out = Self::new(len);
        (0..len).filter(|i| stored.get(i / 8).is_some_and(|b| b >> (i % 8) & 1 == 1)).for_each(|i| out.set(i));
        out
    }

    /// The stored form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Sets chunk `index`.
    pub fn set(&mut self, index: usize) {
        assert!(index < self.len, "a chunk beyond the list");
        self.bytes[index / 8] |= 1 << (index % 8);
    }

    /// Clears chunk `index`.
    pub fn clear(&mut self, index: usize) {
        assert!(index < self.len, "a chunk beyond the list");
        self.bytes[index / 8] &= !(1 << (index % 8));
    }

    /// Whether chunk `index` is set.
    pub fn get(&self, index: usize) -> bool {
        index < self.len && self.bytes[index / 8] >> (index % 8) & 1 == 1
    }

    /// The first chunk at or after `from` that is not set.
    pub fn first_clear(&self, from: usize) -> Option<usize> {
        (from..self.len).find(|i| !self.get(*i))
    }

    /// The chunks that are set.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        (0..self.len).filter(|i| self.get(*i))
    }
}

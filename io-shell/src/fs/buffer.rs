//! Buffers for parts of large files: aligned for direct I/O, and used again.
//!
//! Fresh memory of this size comes from the kernel page by page, which costs more than to fill it from the network.

use std::ops::{Deref, DerefMut, Range};
use std::sync::{Arc, Mutex, PoisonError};

/// What direct I/O wants offsets, lengths and addresses to be multiples of, bytes: no disk asks for more than a page.
pub(super) const ALIGN: usize = 4_096;
/// Bytes of a buffer that is kept for use again: a request, and room to align it.
const KEPT_BYTES: usize = (4 << 20) + 2 * ALIGN;
/// Buffers that are kept.
const KEPT: usize = 8;

/// Buffers that wait to be used again. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    /// A buffer for `len` bytes that belong at `offset` of a file. What is in it is left over from before.
    pub fn take(&self, offset: u64, len: usize) -> Buffer {
        let kept = if len + 2 * ALIGN <= KEPT_BYTES {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
        } else {
            None
        };
        let bytes = kept.unwrap_or_else(|| vec![0; KEPT_BYTES.max(len + 2 * ALIGN)]);
        let within = usize::try_from(offset % ALIGN as u64).unwrap_or(0);
        let start = bytes.as_ptr().align_offset(ALIGN) + within;
        Buffer { home: self.clone(), bytes, start, len }
    }
}

/// Bytes on their way to a place in a file. Where a multiple of a page begins in the file, one begins in memory.
#[derive(Debug)]
pub struct Buffer {
    home: Buffers,
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// Leaves out everything after the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// The part that direct I/O can write, if it belongs at `offset`.
    pub(super) fn direct(&self, offset: u64) -> Range<usize> {
        let before = usize::try_from(offset.next_multiple_of(ALIGN as u64) - offset).unwrap_or(usize::MAX);
        let end = usize::try_from((offset + self.len as u64) % ALIGN as u64).unwrap_or(0);
        let end = self.len.saturating_sub(end);
        if before < end { before..end } else { 0..0 }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut kept = self.home.0.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes.len() == KEPT_BYTES && kept.len() < KEPT {
            kept.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_the_file_are_pages_in_memory() {
        let buffers = Buffers::default();
        for (offset, len, direct) in [
            (0, 8_192, 0..8_192),
            (100, 8_192, 3_996..8_092),
            (4_095, 1, 0..0),
            (4_095, 2, 0..0),
            (1, 4_096, 0..0),
            (8_192, 4_096 + 9, 0..4_096),
            (7, 5 << 20, 4_089..(5 << 20) - 7),
        ] {
            let mut buffer = buffers.take(offset, len);
            assert_eq!((buffer.len(), buffer.direct(offset)), (len, direct.clone()), "{len} at {offset}");
            assert!(direct.is_empty() || buffer[direct].as_ptr().align_offset(ALIGN) == 0);
            buffer[len - 1] = 1;
            buffer.truncate(len + 5);
            assert_eq!(buffer.len(), len);
        }
        assert_eq!(buffers.0.lock().map(|kept| kept.len()).ok(), Some(1), "used again");
    }
}

//! A large file on its way, chunk by chunk: what is asked for, what is written, what is durable.

use super::bits::Bits;
use super::list::ChunkList;
use crate::id::{ContentId, DeviceId};
use crate::index::Staged;
use crate::proving::{Mutant, Point, is_mutant, sometimes};
use crate::time::Instant;
use alloc::vec::Vec;
use core::ops::Range;

/// Progress of one large file. Chunks go from missing over asked and written to sealed; only sealed ones survive a
/// crash.
#[derive(Clone, Debug)]
pub struct Ranges {
    /// The chunks.
    pub list: ChunkList,
    /// Who gave the list: blamed if the whole file turns out wrong.
    pub supplier: Option<DeviceId>,
    asked: Bits,
    written: Bits,
    sealed: Bits,
    /// What was written when the seal now under way was asked for.
    sealing: Option<Bits>,
    written_bytes: u64,
    total_bytes: u64,
    /// Bytes asked for, and of those the durable ones: the difference is what a crash costs.
    asked_bytes: u64,
    sealed_bytes: u64,
    /// Bytes found on this device that are not durable yet: a crash costs nobody anything for them.
    reused_bytes: u64,
    unsealed_bytes: u64,
    unsealed_since: Option<Instant>,
    /// No chunk before this one is missing.
    frontier: usize,
    /// Bytes that were sealed before this start.
    pub resumed_bytes: u64,
}

impl Ranges {
    /// Progress of a file of which `sealed` is durable.
    pub fn new(list: ChunkList, sealed: &[u8], supplier: Option<DeviceId>) -> Self {
        let sealed = Bits::from_bytes(sealed, list.len());
        let resumed_bytes: u64 = sealed.iter().map(|i| list.chunk_len(i)).sum();
        if (1..list.bytes()).contains(&resumed_bytes) {
            sometimes(Point::Resumed);
        }
        Self {
            supplier,
            asked: sealed.clone(),
            written: sealed.clone(),
            sealed,
            sealing: None,
            written_bytes: resumed_bytes,
            asked_bytes: resumed_bytes,
            sealed_bytes: resumed_bytes,
            total_bytes: list.bytes(),
            reused_bytes: 0,
            unsealed_bytes: 0,
            unsealed_since: None,
            frontier: 0,
            resumed_bytes,
            list,
        }
    }

    /// The next run of missing chunks, of at most `max_bytes` or one chunk, and its offset in bytes. They count as
    /// asked for from now on. None while a crash would cost `max_exposed` bytes.
    pub fn ask(&mut self, max_bytes: u64, max_exposed: u64) -> Option<(Range<usize>, u64)> {
        if self.asked_bytes - self.sealed_bytes - self.reused_bytes >= max_exposed {
            sometimes(Point::ExposureReached);
            return None;
        }
        let start = self.asked.first_clear(self.frontier)?;
        self.frontier = start;
        let mut end = start;
        let mut bytes = 0;
        while end < self.list.len() && !self.asked.get(end) {
            let len = self.list.chunk_len(end);
            if end > start && bytes + len > max_bytes {
                break;
            }
            self.asked.set(end);
            bytes += len;
            end += 1;
        }
        if end - start > 1 {
            sometimes(Point::ChunksAskedTogether);
        }
        self.asked_bytes += bytes;
        let offset = (0..start).map(|i| self.list.chunk_len(i)).sum();
        Some((start..end, offset))
    }

    /// Forgets what is asked for and not here, and a seal under way.
    pub fn ask_again(&mut self) {
        self.asked = self.written.clone();
        self.asked_bytes = self.written_bytes;
        self.frontier = 0;
        self.sealing = None;
    }

    /// Of a range asked for, the first `verified` chunks are written; the rest is missing again. Returns the bytes
    /// written.
    pub fn arrived(&mut self, range: Range<usize>, verified: usize, now: Instant) -> u64 {
        let split = range.start + verified.min(range.len());
        let mut bytes = 0;
        for i in (range.start..split).filter(|i| !self.written.get(*i)).collect::<Vec<_>>() {
            self.written.set(i);
            bytes += self.list.chunk_len(i);
            if !self.asked.get(i) {
                self.asked.set(i);
                self.asked_bytes += self.list.chunk_len(i);
            }
        }
        for i in (split..range.end).filter(|i| self.asked.get(*i) && !self.written.get(*i)).collect::<Vec<_>>() {
            self.asked.clear(i);
            self.asked_bytes -= self.list.chunk_len(i);
        }
        if split < range.end {
            sometimes(Point::RangeCutShort);
            self.frontier = self.frontier.min(split);
        }
        self.wrote(bytes, now);
        bytes
    }

    /// Chunks that another file of this device holds are written. Returns their bytes.
    pub fn reused(&mut self, found: &Bits, now: Instant) -> u64 {
        let mut bytes = 0;
        for i in found.iter().filter(|i| *i < self.list.len() && !self.asked.get(*i)).collect::<Vec<_>>() {
            self.asked.set(i);
            self.written.set(i);
            if is_mutant(Mutant::ReusedIsSealed) {
                self.sealed.set(i);
            }
            bytes += self.list.chunk_len(i);
        }
        self.asked_bytes += bytes;
        self.reused_bytes += bytes;
        self.wrote(bytes, now);
        bytes
    }

    fn wrote(&mut self, bytes: u64, now: Instant) {
        self.written_bytes += bytes;
        self.unsealed_bytes += bytes;
        if bytes > 0 && self.unsealed_since.is_none() {
            self.unsealed_since = Some(now);
        }
    }

    /// The chunks that are written.
    pub fn written(&self) -> &Bits {
        &self.written
    }

    /// Bytes written.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Whether every chunk is written.
    pub fn is_complete(&self) -> bool {
        self.written_bytes == self.total_bytes
    }

    /// Whether nothing is asked for and not here, and nothing is being made durable.
    pub fn is_at_rest(&self) -> bool {
        self.asked_bytes == self.written_bytes && self.sealing.is_none()
    }

    /// When what is written must be made durable: at once if `max_bytes` wait.
    pub fn seal_due(&self, max_bytes: u64, max_age: core::time::Duration) -> Option<Instant> {
        let since = self.unsealed_since.filter(|_| self.sealing.is_none())?;
        Some(if self.unsealed_bytes >= max_bytes { since } else { since + max_age })
    }

    /// A seal begins.
    pub fn begin_seal(&mut self) {
        self.sealing = Some(self.written.clone());
        self.unsealed_bytes = 0;
        self.unsealed_since = None;
    }

    /// A seal ended. Returns the record that a restart resumes from, if it succeeded.
    pub fn end_seal(&mut self, content: ContentId, size: u64, ok: bool) -> Option<Staged> {
        let written = self.sealing.take()?;
        // A seal takes in all that was reused: nothing is while one is under way. And if it fails, that is asked for.
        self.reused_bytes = 0;
        let written = if is_mutant(Mutant::UnsealedCounts) { self.written.clone() } else { written };
        if !ok && !is_mutant(Mutant::SealFailureIgnored) {
            sometimes(Point::SealTakenBack);
            // What could not be made durable may be gone, even where it can still be read.
            self.written = self.sealed.clone();
            self.written_bytes = self.sealed_bytes;
            self.ask_again();
            return None;
        }
        sometimes(Point::Sealed);
        self.sealed_bytes = written.iter().map(|i| self.list.chunk_len(i)).sum();
        self.sealed = written;
        Some(self.record(content, size))
    }

    /// The file was read back whole, and made durable with that. Returns the record that a restart resumes from.
    pub fn finished(&mut self, content: ContentId, size: u64) -> Staged {
        self.sealed = self.written.clone();
        (self.sealed_bytes, self.reused_bytes) = (self.written_bytes, 0);
        self.record(content, size)
    }

    /// The record that a restart resumes from.
    pub fn record(&self, content: ContentId, size: u64) -> Staged {
        Staged { content, size, list: self.list.clone(), sealed: self.sealed.as_bytes().into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    fn list(lens: &[u32]) -> ChunkList {
        let mut list = ChunkList::default();
        lens.iter().for_each(|len| list.push(*len, [0; 32]));
        list
    }

    #[test]
    fn a_range_cut_short_is_asked_for_again_from_where_it_ended() {
        let mut ranges = Ranges::new(list(&[10, 10, 10, 10, 10]), &[], None);
        assert_eq!(ranges.ask(30, 1_000), Some((0..3, 0)));
        assert_eq!(ranges.ask(30, 1_000), Some((3..5, 30)));
        assert_eq!(ranges.ask(30, 1_000), None);
        assert_eq!(ranges.arrived(0..3, 1, Instant(0)), 10);
        assert_eq!(ranges.ask(30, 1_000), Some((1..3, 10)));
        assert_eq!(ranges.arrived(1..3, 2, Instant(0)) + ranges.arrived(3..5, 2, Instant(0)), 40);
        assert!(ranges.is_complete());
    }

    #[test]
    fn no_more_is_asked_for_than_a_crash_may_cost() {
        let mut ranges = Ranges::new(list(&[10; 6]), &[], None);
        assert_eq!(ranges.ask(20, 30), Some((0..2, 0)));
        assert_eq!(ranges.ask(20, 30), Some((2..4, 20)));
        assert_eq!(ranges.ask(20, 30), None);
        ranges.arrived(0..2, 2, Instant(0));
        assert_eq!(ranges.ask(20, 30), None, "written is not durable");
        ranges.begin_seal();
        ranges.end_seal(ContentId([0; 32]), 60, true);
        assert_eq!(ranges.ask(20, 30), Some((4..6, 40)));
    }

    #[test]
    fn what_is_taken_from_this_device_costs_a_crash_nothing_and_is_made_durable_all_the_same() {
        let mut ranges = Ranges::new(list(&[10; 6]), &[0b1], None);
        let mut found = Bits::new(6);
        (0..5).for_each(|i| found.set(i));
        assert_eq!(ranges.reused(&found, Instant(3)), 40, "one chunk was there");
        assert_eq!(ranges.seal_due(40, Duration::from_micros(7)), Some(Instant(3)));
        assert_eq!(ranges.ask(100, 10), Some((5..6, 50)));
        ranges.begin_seal();
        ranges.arrived(5..6, 1, Instant(4));
        let staged = ranges.end_seal(ContentId([0; 32]), 60, true).unwrap();
        assert_eq!(staged.sealed, [0b1_1111]);
        ranges.begin_seal();
        assert_eq!(ranges.end_seal(ContentId([0; 32]), 60, false), None);
        assert_eq!((ranges.written_bytes(), ranges.ask(100, 11)), (50, Some((5..6, 50))));
    }

    #[test]
    fn what_could_not_be_made_durable_is_asked_for_again() {
        let mut ranges = Ranges::new(list(&[10; 3]), &[0b1], None);
        assert_eq!(ranges.ask(100, 1_000), Some((1..3, 10)));
        ranges.arrived(1..3, 2, Instant(0));
        assert!(ranges.is_complete());
        ranges.begin_seal();
        assert_eq!(ranges.end_seal(ContentId([0; 32]), 30, false), None);
        assert_eq!((ranges.is_complete(), ranges.written_bytes()), (false, 10));
        assert_eq!(ranges.ask(100, 1_000), Some((1..3, 10)));
    }

    #[test]
    fn only_what_was_written_before_a_seal_survives() {
        let mut ranges = Ranges::new(list(&[10, 10, 10]), &[], None);
        ranges.ask(10, 1_000);
        ranges.arrived(0..1, 1, Instant(5));
        assert_eq!(ranges.seal_due(100, Duration::from_micros(7)), Some(Instant(12)));
        ranges.begin_seal();
        ranges.ask(10, 1_000);
        ranges.arrived(1..2, 1, Instant(6));
        let staged = ranges.end_seal(ContentId([0; 32]), 30, true).unwrap();
        assert_eq!(staged.sealed, [0b1]);
        let resumed = Ranges::new(staged.list, &staged.sealed, None);
        assert_eq!((resumed.resumed_bytes, resumed.written_bytes()), (10, 10));
    }
}

//! Which bytes of large files every device has verified and made durable: none of them may be fetched again.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use sync_core::ContentId;
use sync_core::id::{EffectId, LinkId};
use sync_core::transfer::{Bits, ChunkList};

type Ranges = Vec<Range<u64>>;

/// Chunks that were asked for.
#[derive(Debug)]
struct Asked {
    link: LinkId,
    content: ContentId,
    offset: u64,
    lens: Vec<u64>,
    /// Given up: what comes of it counts for nothing, but that it is wrong.
    is_void: bool,
}

impl Asked {
    fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.lens.iter().sum::<u64>()
    }
}

/// The bytes of one device's staged files.
#[derive(Debug, Default)]
pub struct Kept {
    /// Asked for.
    asked: BTreeMap<EffectId, Asked>,
    /// Written, by content.
    written: BTreeMap<ContentId, Ranges>,
    /// Being made durable.
    sealing: BTreeMap<EffectId, (ContentId, Ranges)>,
    /// Sought in other files of the device.
    reusing: BTreeMap<EffectId, (ContentId, ChunkList)>,
    /// Small files asked for whole, by request; none where what comes of it counts for nothing.
    batches: BTreeMap<EffectId, (LinkId, Vec<Option<ContentId>>)>,
    /// Small files that came whole and wait to be put in place.
    whole: BTreeSet<ContentId>,
    /// Made durable, and known to be.
    sealed: BTreeMap<ContentId, Ranges>,
    /// Whether the index has forgotten something.
    forgot: bool,
    /// The chunk lists that they were verified by.
    lists: BTreeMap<ContentId, ChunkList>,
    /// Contents of which something was staged and dropped: an index that forgets may take that for kept.
    once_dropped: BTreeSet<ContentId>,
}

impl Kept {
    /// A chunk list came. What was verified by another one counts for nothing: one of them is wrong.
    pub fn listed(&mut self, content: ContentId, list: &ChunkList) {
        if self.lists.insert(content, list.clone()).is_some_and(|before| before != *list) {
            self.dropped(content);
        }
    }

    /// The node has heard how a fetch ended: the first `count` chunks are written, or one did not match its hash.
    pub fn fetched(&mut self, fetch: EffectId, count: u32, is_wrong: bool) {
        let Some(asked) = self.asked.remove(&fetch) else { return };
        let bytes: u64 = asked.lens.iter().take(count as usize).sum();
        if bytes > 0 && !asked.is_void {
            self.written.entry(asked.content).or_default().push(asked.offset..asked.offset + bytes);
        }
        if is_wrong {
            self.doubted(asked.content);
        }
    }

    /// Chunks of a content are sought in another file.
    pub fn reuses(&mut self, reuse: EffectId, content: ContentId, chunks: &ChunkList) {
        self.reusing.insert(reuse, (content, chunks.clone()));
    }

    /// The node has heard which of them that file held: they are written, unless that counts for nothing.
    pub fn reused(&mut self, reuse: EffectId, found: Option<&Bits>) {
        let (Some((content, chunks)), Some(found)) = (self.reusing.remove(&reuse), found) else { return };
        let mut at = 0;
        for (i, (len, _)) in chunks.iter().enumerate() {
            if found.get(i) {
                self.written.entry(content).or_default().push(at..at + u64::from(len));
            }
            at += u64::from(len);
        }
    }

    /// The node has heard that a connection is gone, and waits for nothing that was asked on it.
    pub fn link_down(&mut self, link: LinkId) {
        self.asked.retain(|_, asked| asked.link != link);
        self.batches.retain(|_, (on, _)| *on != link);
    }

    /// Small files are asked for whole. What was asked for before and is not here is given up with that.
    ///
    /// # Errors
    /// One of them is here.
    pub fn asks_whole(&mut self, (fetch, link): (EffectId, LinkId), items: &[(ContentId, u64)]) -> Result<(), String> {
        let again = items.iter().map(|(content, _)| *content).find(|content| self.whole.contains(content));
        items.iter().for_each(|(content, _)| self.begun_anew(*content));
        self.batches.insert(fetch, (link, items.iter().map(|(content, _)| Some(*content)).collect()));
        again.map_or(Ok(()), |content| Err(format!("{} is fetched, and has come whole before", content.short())))
    }

    /// The node has heard which of the small files of a request came.
    pub fn fetched_whole(&mut self, fetch: EffectId, came: &[bool]) {
        let Some((_, items)) = self.batches.remove(&fetch) else { return };
        self.whole.extend(items.iter().zip(came).filter(|(_, came)| **came).filter_map(|(content, _)| *content));
    }

    /// A content is sought in another way, or shows where it was wanted: requests for it may count for nothing.
    pub fn begun_anew(&mut self, content: ContentId) {
        let items = self.batches.values_mut().flat_map(|(_, items)| items);
        items.filter(|item| **item == Some(content)).for_each(|item| *item = None);
    }

    /// The node wants what was written made durable.
    pub fn seals(&mut self, seal: EffectId, content: ContentId) {
        self.sealing.insert(seal, (content, self.written.get(&content).cloned().unwrap_or_default()));
    }

    /// The node has heard that a seal went well, or not: then what it was about may be gone. The answer is what it was
    /// about, if that still counts.
    pub fn sealed(&mut self, seal: EffectId, is_good: bool) -> Option<ContentId> {
        let (content, ranges) = self.sealing.remove(&seal)?;
        if is_good {
            self.sealed.entry(content).or_default().extend(ranges);
        } else {
            self.written.remove(&content);
            self.give_up(content, |_| true);
        }
        Some(content)
    }

    /// What was asked for of a content counts for nothing any more.
    fn give_up(&mut self, content: ContentId, is_meant: impl Fn(&Asked) -> bool) {
        let of_it = self.asked.values_mut().filter(|asked| asked.content == content);
        of_it.for_each(|asked| asked.is_void |= is_meant(asked));
    }

    /// Every chunk of a content was there, and the whole is something else.
    ///
    /// # Errors
    /// No disk is to blame for that.
    pub fn came_to_nothing(&self, content: ContentId) -> Result<(), String> {
        if self.may_be_wrong(content) {
            return Ok(());
        }
        Err(format!("{} was verified chunk by chunk and is not whole", content.short()))
    }

    /// Whether the index may say of what is staged of a content what is not so.
    pub fn may_be_wrong(&self, content: ContentId) -> bool {
        self.forgot || self.once_dropped.contains(&content)
    }

    /// What is staged of a content is gone, or worth nothing.
    pub fn dropped(&mut self, content: ContentId) {
        self.whole.remove(&content);
        self.begun_anew(content);
        self.replaced(content);
    }

    /// A content was staged whole, in place of whatever was staged of it.
    pub fn replaced(&mut self, content: ContentId) {
        self.once_dropped.insert(content);
        self.give_up(content, |_| true);
        self.written.remove(&content);
        self.sealed.remove(&content);
        self.sealing.retain(|_, (c, _)| *c != content);
        self.reusing.retain(|_, (c, _)| *c != content);
    }

    /// A chunk did not match: the list may be wrong, and then what is under way is of no account. What counts as kept by it
    /// is the node's to say from now on.
    fn doubted(&mut self, content: ContentId) {
        self.written.remove(&content);
        self.sealed.remove(&content);
        self.give_up(content, |_| true);
        self.sealing.retain(|_, (c, _)| *c != content);
    }

    /// Everything but these is gone.
    pub fn swept(&mut self, keep: &[ContentId]) {
        self.written.retain(|content, _| keep.contains(content));
        self.sealed.retain(|content, _| keep.contains(content));
        self.whole.retain(|content| keep.contains(content));
    }

    /// The index has forgotten something: what it says of the staging area may be wrong.
    pub fn forgot(&mut self) {
        self.swept(&[]);
        self.lists.clear();
        self.forgot = true;
    }

    /// The process died: what the index did not hear of, nobody knows.
    pub fn died(&mut self) {
        self.asked.clear();
        self.reusing.clear();
        self.batches.clear();
        self.whole.clear();
        self.written.clear();
        self.sealing.clear();
    }

    /// Chunks of a content are asked for. What was asked for before and is not here is given up with that.
    ///
    /// # Errors
    /// They are here.
    pub fn asks(
        &mut self,
        (fetch, link): (EffectId, LinkId),
        content: ContentId,
        offset: u64,
        chunks: &ChunkList,
    ) -> Result<(), String> {
        let range = offset..offset + chunks.bytes();
        let overlaps = |kept: &Range<u64>| kept.start < range.end && range.start < kept.end;
        self.give_up(content, |asked| overlaps(&asked.range()));
        let lens = chunks.iter().map(|(len, _)| u64::from(len)).collect();
        self.asked.insert(fetch, Asked { link, content, offset, lens, is_void: false });
        match self.sealed.get(&content).and_then(|ranges| ranges.iter().find(|kept| overlaps(kept))) {
            Some(kept) => Err(format!("{range:?} of {} is fetched, and {kept:?} is here for good", content.short())),
            None => Ok(()),
        }
    }
}

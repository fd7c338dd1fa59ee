//! Which content is asked of whom, and when.

use super::list::ChunkList;
use super::ranges::Ranges;
use crate::config::Limits;
use crate::id::{ContentId, DeviceId, LinkId};
use crate::index::Staged;
use crate::path::RelPath;
use crate::proving::{Mutant, Point, is_mutant, sometimes};
use crate::time::Instant;
use alloc::{boxed::Box, collections::BTreeMap, collections::BTreeSet, vec::Vec};
use core::ops::{Bound, Range};

/// Bad hashes from one device after which it is left alone for that content.
const MAX_BAD: u8 = 2;
/// Large files fetched at the same time, so that each is finished soon.
const MAX_LARGE: usize = 8;
/// Bad hashes of one content, of whomever, after which its chunk list is asked for again: it may be the list that is wrong.
const MAX_WRONG: u32 = 2;

/// A device that can be asked.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// Which device.
    pub device: DeviceId,
    /// Over which link.
    pub link: LinkId,
    /// Bytes asked of it and not yet here.
    pub outstanding: u64,
}

/// Where one content stands.
#[derive(Clone, Debug)]
pub enum State {
    /// Not begun, or to be begun anew.
    Idle,
    /// A local copy, a batch, a list or the final check is under way.
    Busy(&'static str),
    /// Chunks come in.
    Active(Box<Ranges>),
    /// Every chunk is written: read it back.
    Written(Box<Ranges>),
    /// Staged whole.
    Ready,
}

/// One attempt at a content. What was asked for in an earlier one says nothing about what is staged in this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Which content.
    pub content: ContentId,
    number: u64,
}

/// One content on its way into a folder.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// Bytes.
    pub size: u64,
    /// The number of the attempt.
    attempt: u64,
    /// Where it is wanted.
    pub paths: BTreeSet<RelPath>,
    /// Where it stands.
    pub state: State,
    /// Devices that did not have it, and until when they are not asked again.
    lacking: BTreeMap<DeviceId, Instant>,
    /// Bad hashes by device, and until when it is left alone if there are too many.
    bad: BTreeMap<DeviceId, (u8, Instant)>,
    /// Bad hashes since the chunk list came.
    wrong: u32,
    /// What is here under a chunk list that is doubted: it goes on if another device gives the same.
    doubted: Option<Box<Ranges>>,
    /// What had come in before a local copy was begun: it is as good as before if that comes to nothing.
    aside: Option<Box<Ranges>>,
    /// Not to be asked for before this time.
    not_before: Instant,
    /// Whether the trash is being searched for it, and nobody is asked meanwhile.
    salvaging: bool,
    /// Whether it was found nowhere on this device.
    missing: bool,
    order: u64,
}

impl Transfer {
    /// Whether `device` may be asked.
    fn may_ask(&self, device: DeviceId, now: Instant) -> bool {
        !self.salvaging
            && self.lacking.get(&device).is_none_or(|until| *until <= now && !is_mutant(Mutant::LacksForGood))
            && self.bad.get(&device).is_none_or(|(n, until)| *n < MAX_BAD || *until <= now)
    }

    /// It is not to be asked for before `at`. Requests under way end for reasons of their own, in any order: the
    /// longest pause holds, so that a peer which is busy cuts none short that is due to the disk.
    fn delay(&mut self, at: Instant) {
        self.not_before = self.not_before.max(at);
    }

    /// Asks for the chunk list again: chunks that match it are never wrong, but a list may be.
    fn doubt_list(&mut self) {
        self.wrong = 0;
        if let State::Active(ranges) = &mut self.state {
            ranges.ask_again();
            let State::Active(ranges) = core::mem::replace(&mut self.state, State::Idle) else { return };
            sometimes(Point::ListDoubted);
            self.doubted = Some(ranges);
        }
    }

    /// Whether nothing is under way for it, and something of it is missing.
    fn rests(&self) -> bool {
        match &self.state {
            State::Idle => true,
            State::Active(ranges) => ranges.is_at_rest() && !ranges.is_complete(),
            State::Busy(_) | State::Written(_) | State::Ready => false,
        }
    }

    /// When it, or a device for it, need not be left alone any more.
    fn pauses(&self) -> impl Iterator<Item = Instant> {
        let set_aside = self.bad.values().filter(|(n, _)| *n >= MAX_BAD).map(|(_, until)| *until);
        set_aside.chain(self.lacking.values().copied()).chain([self.not_before])
    }

    /// Bytes here, and of those the ones that were here before this start.
    pub fn progress(&self) -> (u64, u64) {
        match &self.state {
            State::Active(ranges) | State::Written(ranges) => (ranges.written_bytes(), ranges.resumed_bytes),
            State::Ready => (self.size, 0),
            State::Idle | State::Busy(_) => (0, 0),
        }
    }

    /// The state's name in `status`.
    pub fn state_name(&self) -> &'static str {
        match &self.state {
            State::Idle => "waiting",
            State::Busy(name) => name,
            State::Active(_) => "active",
            State::Written(_) => "verifying",
            State::Ready => "ready",
        }
    }
}

/// What to ask for next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Whole small contents.
    Batch {
        /// Of whom.
        slot: usize,
        /// Contents and sizes in bytes.
        items: Vec<(ContentId, u64)>,
    },
    /// A chunk list.
    List {
        /// Of whom.
        slot: usize,
        /// The content.
        content: ContentId,
        /// Bytes.
        size: u64,
    },
    /// A range of chunks.
    Range {
        /// Of whom.
        slot: usize,
        /// The content.
        content: ContentId,
        /// Bytes of the whole.
        size: u64,
        /// Which chunks.
        range: Range<usize>,
        /// Offset of the first, bytes.
        offset: u64,
        /// Their lengths and hashes.
        chunks: ChunkList,
    },
    /// Read a staged file back.
    Finish {
        /// The content.
        content: ContentId,
        /// Bytes.
        size: u64,
    },
    /// Make written chunks durable.
    Seal {
        /// The content.
        content: ContentId,
    },
}

/// What a failed request says of the device that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does not have the content, as of now; it may have by this time.
    Lacks(Instant),
    /// It sent something else; after some times it is not asked again before this time.
    Bad(Instant),
    /// It may be asked again, not before this time.
    Later(Instant),
}

/// Every content on its way into one folder.
#[derive(Clone, Debug, Default)]
pub struct Transfers {
    all: BTreeMap<ContentId, Transfer>,
    /// Contents that some device lacks, or sent wrong bytes for.
    doubtful: BTreeSet<ContentId>,
    /// Contents that nobody is to be asked for.
    paused: BTreeSet<ContentId>,
    /// The last content that the trash was searched for: the next search goes on after it.
    salvaged: Option<ContentId>,
    /// Small contents that wait to be asked for, oldest first.
    small: BTreeSet<(u64, ContentId)>,
    /// Large contents that are not staged whole, oldest first.
    large: BTreeSet<(u64, ContentId)>,
    next_order: u64,
}

impl Transfers {
    /// Number of contents on their way.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Number of contents on their way that some device may still have: the others may wait for ever, and are no
    /// reason to keep anything else waiting.
    pub fn hopeful(&self) -> usize {
        let paused = self.paused.iter().filter(|content| !self.doubtful.contains(*content)).count();
        self.all.len() - self.doubtful.len() - paused
    }

    /// Nobody is to be asked for `content`, or they are again. What is under way for it comes all the same.
    pub fn pause(&mut self, content: ContentId, paused: bool) {
        if paused && self.all.contains_key(&content) {
            self.paused.insert(content);
        } else {
            self.paused.remove(&content);
        }
    }

    /// Whether a person has paused `content`.
    pub fn is_paused(&self, content: ContentId) -> bool {
        self.paused.contains(&content)
    }

    /// Whether nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Every content on its way.
    pub fn iter(&self) -> impl Iterator<Item = (&ContentId, &Transfer)> {
        self.all.iter()
    }

    /// One content.
    pub fn get(&self, content: ContentId) -> Option<&Transfer> {
        self.all.get(&content)
    }

    /// Whether a file holding `content` should stay, because it is wanted elsewhere and not staged yet.
    pub fn needs(&self, content: ContentId) -> bool {
        self.all.get(&content).is_some_and(|t| !matches!(t.state, State::Ready))
    }

    /// Whether something of `content` may be staged and is counted on.
    pub fn is_staged(&self, content: ContentId) -> bool {
        let is_staged = |t: &Transfer| matches!(t.state, State::Active(_) | State::Written(_) | State::Ready);
        self.all.get(&content).is_some_and(|t| is_staged(t) || t.doubted.is_some() || t.aside.is_some())
    }

    /// `content` is wanted at `path`. Returns whether it was not on its way already; it then waits to be copied from
    /// this device or asked for.
    pub fn want(&mut self, content: ContentId, size: u64, path: &RelPath, staged: Option<Staged>) -> bool {
        if let Some(transfer) = self.all.get_mut(&content) {
            transfer.paths.insert(path.clone());
            return false;
        }
        self.next_order += 1;
        let state = match staged {
            Some(staged) => State::Active(Box::new(Ranges::new(staged.list, &staged.sealed, None))),
            None => State::Idle,
        };
        let transfer = Transfer {
            size,
            attempt: self.next_order,
            paths: BTreeSet::from([path.clone()]),
            state,
            lacking: BTreeMap::new(),
            bad: BTreeMap::new(),
            wrong: 0,
            doubted: None,
            aside: None,
            not_before: Instant(0),
            salvaging: false,
            missing: false,
            order: self.next_order,
        };
        self.all.insert(content, transfer);
        true
    }

    /// The attempt at `content` that is under way.
    pub fn attempt(&self, content: ContentId) -> Attempt {
        Attempt { content, number: self.all.get(&content).map_or(0, |t| t.attempt) }
    }

    /// Whether `attempt` is still under way.
    pub fn is_current(&self, attempt: Attempt) -> bool {
        let is_latest = |t: &Transfer| t.attempt == attempt.number || is_mutant(Mutant::StaleAttempt);
        self.all.get(&attempt.content).is_some_and(is_latest)
    }

    /// Begins `content` anew: what was asked for before does not count.
    pub fn begin_again(&mut self, content: ContentId) {
        self.next_order += 1;
        if let Some(t) = self.all.get_mut(&content) {
            t.attempt = self.next_order;
        }
    }

    /// Begins `content` anew with nothing of it staged.
    pub fn start_over(&mut self, content: ContentId, small_bytes: u64) {
        self.dequeue(content);
        if let Some(t) = self.all.get_mut(&content) {
            (t.state, t.aside, t.doubted) = (State::Idle, None, None);
        }
        self.begin_again(content);
        self.enqueue(content, small_bytes);
    }

    /// A content may be asked of peers from now on.
    pub fn enqueue(&mut self, content: ContentId, small_bytes: u64) {
        if let Some(t) = self.all.get_mut(&content) {
            let entry = (t.order, content);
            if t.size <= small_bytes {
                t.state = State::Idle;
                self.small.insert(entry);
            } else {
                if matches!(t.state, State::Busy(_) | State::Ready) {
                    t.state = t.aside.take().map_or(State::Idle, State::Active);
                }
                self.large.insert(entry);
            }
        }
    }

    /// A content is busy with something that the caller has begun.
    pub fn set_busy(&mut self, content: ContentId, what: &'static str) {
        self.dequeue(content);
        if let Some(t) = self.all.get_mut(&content) {
            t.aside = match core::mem::replace(&mut t.state, State::Busy(what)) {
                State::Active(ranges) => Some(ranges),
                State::Idle | State::Busy(_) | State::Written(_) | State::Ready => None,
            };
        }
    }

    /// A content is staged whole. Returns where it is wanted.
    pub fn set_ready(&mut self, content: ContentId) -> Vec<RelPath> {
        self.dequeue(content);
        let Some(t) = self.all.get_mut(&content) else { return Vec::new() };
        (t.state, t.aside) = (State::Ready, None);
        t.paths.iter().cloned().collect()
    }

    /// A content is wanted no more, or has been put in place: forget it. Returns where else it was wanted.
    pub fn remove(&mut self, content: ContentId) -> Vec<RelPath> {
        self.dequeue(content);
        self.doubtful.remove(&content);
        self.paused.remove(&content);
        self.all.remove(&content).map(|t| t.paths.into_iter().collect()).unwrap_or_default()
    }

    /// `path` does not want `content` any more. Returns whether nobody does.
    pub fn unwant(&mut self, content: ContentId, path: &RelPath) -> bool {
        self.all.get_mut(&content).is_some_and(|t| t.paths.remove(path) && t.paths.is_empty())
    }

    fn dequeue(&mut self, content: ContentId) {
        if let Some(t) = self.all.get(&content) {
            self.small.remove(&(t.order, content));
            self.large.remove(&(t.order, content));
        }
    }

    /// A chunk list came for `content` from `device`. Returns the record that a restart resumes from.
    pub fn listed(&mut self, content: ContentId, list: ChunkList, device: DeviceId) -> Option<Staged> {
        let t = self.all.get_mut(&content)?;
        let mut ranges = match t.doubted.take() {
            Some(ranges) if ranges.list == list => {
                sometimes(Point::ListConfirmed);
                *ranges
            }
            Some(_) | None => Ranges::new(list, &[], None),
        };
        ranges.supplier = Some(device);
        let record = ranges.record(content, t.size);
        t.state = State::Active(Box::new(ranges));
        self.large.insert((t.order, content));
        Some(record)
    }

    /// The progress of a large content.
    pub fn ranges_mut(&mut self, content: ContentId) -> Option<&mut Ranges> {
        match &mut self.all.get_mut(&content)?.state {
            State::Active(ranges) | State::Written(ranges) => Some(ranges),
            State::Idle | State::Busy(_) | State::Ready => None,
        }
    }

    /// A request to `device` failed.
    pub fn blame(&mut self, content: ContentId, device: DeviceId, verdict: Verdict) {
        let Some(t) = self.all.get_mut(&content) else { return };
        match verdict {
            Verdict::Lacks(until) => {
                sometimes(Point::PeerLacks);
                t.lacking.insert(device, until);
                self.doubtful.insert(content);
            }
            Verdict::Bad(until) => {
                sometimes(Point::BytesWrong);
                let count = t.bad.get(&device).map_or(0, |(n, _)| *n);
                t.bad.insert(device, (count.saturating_add(1), until));
                t.wrong += 1;
                self.doubtful.insert(content);
                if t.wrong >= MAX_WRONG {
                    t.doubt_list();
                    self.begin_again(content);
                }
            }
            Verdict::Later(at) => t.delay(at),
        }
    }

    /// A content is not to be asked for before `at`.
    pub fn delay(&mut self, content: ContentId, at: Instant) {
        if let Some(t) = self.all.get_mut(&content) {
            t.delay(at);
        }
    }

    /// `device` may have `content` after all.
    pub fn offered(&mut self, content: ContentId, device: DeviceId) {
        if let Some(t) = self.all.get_mut(&content) {
            t.lacking.remove(&device);
            if t.lacking.is_empty() && t.bad.is_empty() {
                self.doubtful.remove(&content);
            }
        }
    }

    /// A new session with `device`: whatever it lacked it may have by now.
    pub fn reconnected(&mut self, device: DeviceId) {
        let doubtful: Vec<ContentId> = self.doubtful.iter().copied().collect();
        doubtful.into_iter().for_each(|content| self.offered(content, device));
    }

    /// Contents that nothing is under way for and that some device turned out to lack, or any if there is `nobody` to ask,
    /// with their sizes: whoever put them in the trash, perhaps nobody has them elsewhere. Until
    /// [`salvaged`](Self::salvaged) nobody is asked for them.
    pub fn salvage(&mut self, limit: usize, nobody: bool) -> Vec<(ContentId, u64)> {
        let after = self.salvaged.take().map_or(Bound::Unbounded, Bound::Excluded);
        let within = (after, Bound::Unbounded);
        let candidates: Vec<ContentId> = if nobody {
            self.all.range(within).map(|(content, _)| *content).collect()
        } else {
            self.doubtful.range(within).copied().collect()
        };
        let mut out = Vec::new();
        for content in candidates {
            let t = self.all.get_mut(&content).filter(|t| (nobody || !t.lacking.is_empty()) && t.rests());
            if let Some(t) = t.filter(|_| out.len() < limit) {
                t.salvaging = true;
                out.push((content, t.size));
            }
        }
        self.salvaged = out.last().map(|(content, _)| *content).filter(|_| out.len() == limit);
        out
    }

    /// Whether nothing is under way for `content`, and something of it is missing.
    pub fn rests(&self, content: ContentId) -> bool {
        self.all.get(&content).is_some_and(Transfer::rests)
    }

    /// The trash has been searched for `content`; whether it is nowhere on this device.
    pub fn salvaged(&mut self, content: ContentId, missing: bool) {
        if let Some(t) = self.all.get_mut(&content) {
            (t.salvaging, t.missing) = (false, missing);
        }
    }

    /// `content` is on this device after all.
    pub fn found(&mut self, content: ContentId) {
        if let Some(t) = self.all.get_mut(&content) {
            t.missing = false;
        }
    }

    /// Whether some device turned out to lack `content`, or had when it was found to be nowhere on this one.
    pub fn is_lacked(&self, content: ContentId) -> bool {
        self.all.get(&content).is_some_and(|t| t.missing || !t.lacking.is_empty())
    }

    /// Whether `content` is wanted and was found nowhere on this device, the trash included.
    pub fn is_missing(&self, content: ContentId) -> bool {
        self.all.get(&content).is_some_and(|t| t.missing)
    }

    /// Contents that are, at most `limit`, and where they are wanted.
    pub fn missing(&self, limit: usize) -> impl Iterator<Item = (ContentId, &BTreeSet<RelPath>)> {
        self.all.iter().filter(|(_, t)| t.missing).map(|(content, t)| (*content, &t.paths)).take(limit)
    }

    /// Whether some device turned out to lack a content that is wanted.
    pub fn is_any_lacking(&self) -> bool {
        self.doubtful.iter().filter_map(|content| self.all.get(content)).any(|t| !t.lacking.is_empty())
    }

    /// When a delayed content may be asked for again.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let waiting = self.small.iter().chain(&self.large).filter(|(_, c)| !self.is_paused(*c));
        let waiting = waiting.filter_map(|(_, c)| self.all.get(c));
        waiting.flat_map(Transfer::pauses).filter(|at| *at > now).min()
    }

    /// When written chunks must be made durable.
    pub fn seal_deadline(&self, limits: &Limits) -> Option<Instant> {
        self.large
            .iter()
            .filter_map(|(_, c)| match &self.all.get(c)?.state {
                State::Active(r) => r.seal_due(limits.unsealed_bytes, limits.unsealed_for),
                State::Idle | State::Busy(_) | State::Written(_) | State::Ready => None,
            })
            .min()
    }

    /// The next thing to do, given whom may be asked. `None` when every device is busy enough or nothing is left.
    pub fn next(&mut self, slots: &[Slot], limits: &Limits, now: Instant) -> Option<Action> {
        if let Some(action) = self.next_seal(limits, now) {
            return Some(action);
        }
        if slots.iter().all(|s| s.outstanding >= limits.peer_window_bytes) {
            if !slots.is_empty() {
                sometimes(Point::WindowFull);
            }
            return self.next_finish();
        }
        self.next_finish()
            .or_else(|| self.next_batch(slots, limits, now))
            .or_else(|| self.next_large(slots, limits, now))
    }

    fn next_seal(&mut self, limits: &Limits, now: Instant) -> Option<Action> {
        for (_, content) in &self.large {
            let Some(State::Active(ranges)) = self.all.get_mut(content).map(|t| &mut t.state) else { continue };
            if ranges.seal_due(limits.unsealed_bytes, limits.unsealed_for).is_some_and(|at| at <= now) {
                ranges.begin_seal();
                return Some(Action::Seal { content: *content });
            }
        }
        None
    }

    fn next_finish(&mut self) -> Option<Action> {
        let is_whole = |t: &Transfer| matches!(&t.state, State::Active(r) if r.is_complete());
        let content = self.large.iter().map(|(_, c)| *c).find(|c| self.all.get(c).is_some_and(is_whole))?;
        self.dequeue(content);
        let t = self.all.get_mut(&content)?;
        if let State::Active(ranges) = core::mem::replace(&mut t.state, State::Idle) {
            t.state = State::Written(ranges);
        }
        Some(Action::Finish { content, size: t.size })
    }

    /// The device with the least to do that may be asked for a content.
    fn pick(t: &Transfer, slots: &[Slot], limits: &Limits, now: Instant) -> Option<usize> {
        let has_room = |s: &Slot| s.outstanding < limits.peer_window_bytes || is_mutant(Mutant::WindowIgnored);
        let may_ask = |s: &Slot| has_room(s) && t.may_ask(s.device, now);
        let able = slots.iter().enumerate().filter(|(_, s)| may_ask(s));
        able.min_by_key(|(_, s)| s.outstanding).map(|(i, _)| i)
    }

    fn next_batch(&mut self, slots: &[Slot], limits: &Limits, now: Instant) -> Option<Action> {
        let mut chosen: Option<usize> = None;
        let mut items: Vec<(ContentId, u64)> = Vec::new();
        let mut bytes = 0;
        for (_, content) in &self.small {
            let may_come = |t: &&Transfer| t.not_before <= now && !self.is_paused(*content);
            let Some(t) = self.all.get(content).filter(may_come) else { continue };
            let fits = items.is_empty() || items.len() < limits.request_items && bytes + t.size <= limits.request_bytes;
            if !fits {
                break;
            }
            let slot = match chosen {
                Some(slot) => Some(slot).filter(|s| t.may_ask(slots[*s].device, now)),
                None => Self::pick(t, slots, limits, now),
            };
            if let Some(slot) = slot {
                chosen = Some(slot);
                bytes += t.size;
                items.push((*content, t.size));
            }
        }
        if items.len() > 1 {
            sometimes(Point::SmallAskedTogether);
        }
        items.iter().for_each(|(content, _)| self.set_busy(*content, "active"));
        chosen.map(|slot| Action::Batch { slot, items })
    }

    fn next_large(&mut self, slots: &[Slot], limits: &Limits, now: Instant) -> Option<Action> {
        // Those that nobody can be asked for do not keep the others waiting.
        let able = |t: &Transfer| Self::pick(t, slots, limits, now).filter(|_| t.not_before <= now);
        let wanted = self.large.iter().map(|(_, c)| *c).filter(|c| !self.is_paused(*c));
        let waiting = wanted.filter_map(|c| Some((c, self.all.get(&c).and_then(able)?)));
        let candidates: Vec<(ContentId, usize)> = waiting.take(MAX_LARGE).collect();
        for (content, slot) in candidates {
            let Some(t) = self.all.get_mut(&content) else { continue };
            let size = t.size;
            match &mut t.state {
                State::Idle => {
                    self.set_busy(content, "listing");
                    return Some(Action::List { slot, content, size });
                }
                State::Active(ranges) => {
                    if let Some((range, offset)) = ranges.ask(limits.request_bytes, limits.exposed_bytes) {
                        let chunks = ranges.list.slice(range.clone());
                        return Some(Action::Range { slot, content, size, range, offset, chunks });
                    }
                }
                State::Busy(_) | State::Written(_) | State::Ready => {}
            }
        }
        None
    }
}

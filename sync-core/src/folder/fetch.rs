//! Contents on their way into this folder: begun, asked for, verified, staged.

use super::Folder;
use crate::context::{Context, Effect, Fetch, Fetching};
use crate::error::{FetchError, ItemError};
use crate::id::{ContentId, DeviceId};
use crate::index::{Body, Index, MAX_MISSES, MemberState};
use crate::input::{CopyError, FetchFailure};
use crate::output::{Event, Output, Refusal, Source};
use crate::path::RelPath;
use crate::plan::Wanted;
use crate::proving::{Mutant, Point, is_mutant, sometimes};
use crate::status::TransferStatus;
use crate::time::Instant;
use crate::transfer::{Action, Attempt, Bits, ChunkList, Slot, Verdict};
use alloc::{collections::BTreeSet, vec::Vec};
use core::ops::Range;
use core::time::Duration;

/// Places looked at for a local copy of a content.
const HOLDERS: usize = 8;
/// How long a device that was busy, or broke off, is left alone.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a device that did not have a content is left alone for it: it may come to have it without saying so.
const LACKING_PAUSE: Duration = Duration::from_secs(15);
/// How long a device that sent wrong bytes several times is left alone for that content.
const BAD_PAUSE: Duration = Duration::from_secs(60);
/// How often the trash is searched for what devices lack.
const SALVAGE_PAUSE: Duration = Duration::from_secs(15);
/// How long there has been nobody to ask before the trash is searched for what is wanted: links come and go.
const LONELY_PAUSE: Duration = Duration::from_secs(15);
/// Contents that one search of the trash is for.
const SALVAGE_LIMIT: usize = 1_000;
/// Transfers that may be paused one by one.
const MAX_PAUSED: usize = 1_000;
/// Completed transfers that are remembered.
const MAX_COMPLETED: usize = 20;
/// Missing contents looked at in one step.
const MISSING_LIMIT: usize = 4_096;

impl Folder {
    /// Whether `content` is staged; if not, it is on its way from now on.
    pub(super) fn staged_or_begun<I: Index>(
        &mut self,
        content: ContentId,
        size: u64,
        path: &RelPath,
        cx: &mut Context,
        index: &mut I,
    ) -> Result<bool, I::Error> {
        let staged =
            self.staged.get(&content).filter(|s| s.size == size && !is_mutant(Mutant::ResumeForgotten)).cloned();
        let resumes = staged.is_some();
        if !self.transfers.want(content, size, path, staged) {
            return Ok(self.transfers.get(content).is_some_and(|t| matches!(t.state, crate::transfer::State::Ready)));
        }
        self.transfers.pause(content, self.state.paused_contents.contains(&content));
        if self.spare.remove(&content) {
            drop(self.transfers.set_ready(content));
            return Ok(true);
        }
        if resumes || !self.copy_locally(content, cx, index)? {
            self.transfers.enqueue(content, cx.config.limits.small_bytes);
        }
        if resumes {
            self.reuse_locally(content, cx, index)?;
        }
        Ok(false)
    }

    /// The file of this device that is most likely to hold chunks of `content`: the version that it is to take the place
    /// of.
    fn basis<I: Index>(&self, content: ContentId, index: &mut I) -> Result<Option<Source>, I::Error> {
        let paths = self.transfers.get(content).into_iter().flat_map(|t| &t.paths);
        for path in paths.filter(|path| !self.locks.contains(*path)) {
            if let Some(base) = index.base(self.id(), path)?
                && let Body::File { content, .. } = base.body
            {
                return Ok(Some(Source { folder: self.id(), path: path.clone(), expect: base.stat, content }));
            }
        }
        Ok(None)
    }

    /// Takes from this device what it has of a content whose chunks are known. Until that has ended nobody is asked.
    fn reuse_locally<I: Index>(&mut self, content: ContentId, cx: &mut Context, index: &mut I) -> Result<(), I::Error> {
        let Some(basis) = self.basis(content, index)? else { return Ok(()) };
        let Some(ranges) = self.transfers.ranges_mut(content).filter(|ranges| !ranges.is_complete()) else {
            return Ok(());
        };
        let (chunks, kept) = (ranges.list.clone(), ranges.written().clone());
        self.transfers.set_busy(content, "reusing");
        let folder = self.id();
        let reuse = cx.start(Effect::Reuse(folder, self.transfers.attempt(content), basis.path.clone()));
        cx.emit(Output::Reuse { reuse, folder, content, chunks, kept, basis });
        Ok(())
    }

    /// A file of this device was searched for chunks.
    pub(crate) fn reused(
        &mut self,
        attempt: Attempt,
        basis: RelPath,
        outcome: Result<Bits, CopyError>,
        cx: &mut Context,
    ) {
        let Some(content) = self.current(attempt) else { return };
        self.transfers.enqueue(content, cx.config.limits.small_bytes);
        match outcome {
            Ok(found) => {
                let bytes = self.transfers.ranges_mut(content).map_or(0, |ranges| ranges.reused(&found, cx.now()));
                if bytes > 0 {
                    sometimes(Point::ChunksReused);
                }
                cx.counters.copied_bytes = cx.counters.copied_bytes.saturating_add(bytes);
            }
            Err(CopyError::Source) => {
                sometimes(Point::BasisChanged);
                self.suspects.entry(basis).or_insert(false);
            }
            Err(CopyError::Disk(error)) => self.disk_failed(content, &error, cx),
        }
    }

    /// Starts a copy from a file of this device, if one holds the content.
    fn copy_locally<I: Index>(
        &mut self,
        content: ContentId,
        cx: &mut Context,
        index: &mut I,
    ) -> Result<bool, I::Error> {
        let holders = index.holders(content, HOLDERS)?;
        let free = |(folder, path): (_, &RelPath)| folder != self.id() || !self.locks.contains(path);
        let Some((from_folder, from, base)) = holders.into_iter().find(|(f, p, _)| free((*f, p))) else {
            return Ok(false);
        };
        self.transfers.set_busy(content, "copying");
        let copy = cx.start(Effect::Copy(
            self.id(),
            self.transfers.attempt(content),
            (from_folder == self.id()).then(|| from.clone()),
        ));
        cx.emit(Output::Copy { copy, folder: self.id(), content, from_folder, from, expect: base.stat });
        Ok(true)
    }

    /// Asks for what can be asked for. Every slot is charged with what it is asked.
    pub(super) fn fetch_step<I: Index>(
        &mut self,
        slots: &mut [Slot],
        cx: &mut Context,
        index: &mut I,
    ) -> Result<(), I::Error> {
        let lonely_since = self.lonely_since.unwrap_or_else(|| cx.now());
        self.lonely_since = slots.is_empty().then_some(lonely_since);
        if self.state.paused || self.root_error.is_some() {
            return Ok(());
        }
        self.salvage_step(cx);
        let limits = cx.config.limits.clone();
        while let Some(action) = self.transfers.next(slots, &limits, cx.now()) {
            let folder = self.id();
            match action {
                Action::Seal { content } => {
                    let seal = cx.start(Effect::Seal(folder, self.transfers.attempt(content)));
                    cx.emit(Output::Seal { seal, folder, content });
                }
                Action::Finish { content, size } => {
                    let finish = cx.start(Effect::Finish(folder, self.transfers.attempt(content)));
                    cx.emit(Output::Finish { finish, folder, content, size });
                }
                Action::List { slot, content, size } => {
                    let what = Fetching::List(self.transfers.attempt(content));
                    let basis = self.basis(content, index)?;
                    let (link, fetch) = self.ask(&mut slots[slot], ChunkList::max_len(size), what, cx);
                    cx.emit(Output::FetchList { fetch, link, folder, content, size, basis });
                }
                Action::Batch { slot, items } => {
                    let bytes = items.iter().map(|(_, size)| size).sum();
                    let asked = items.iter().map(|(content, size)| (self.transfers.attempt(*content), *size)).collect();
                    let (link, fetch) = self.ask(&mut slots[slot], bytes, Fetching::Batch(asked), cx);
                    cx.emit(Output::FetchBatch { fetch, link, folder, items });
                }
                Action::Range { slot, content, size, range, offset, chunks } => {
                    let what = Fetching::Range(self.transfers.attempt(content), range);
                    let (link, fetch) = self.ask(&mut slots[slot], chunks.bytes(), what, cx);
                    cx.emit(Output::FetchRange { fetch, link, folder, content, size, offset, chunks });
                }
            }
        }
        Ok(())
    }

    /// Looks into the trash for what some device turned out to lack: where people take versions away on several devices
    /// at once, the last bytes of one that is still wanted may be there. So may those that a restored index has forgotten,
    /// and where no other device comes nobody ever says that it lacks them.
    fn salvage_step(&mut self, cx: &mut Context) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= cx.now());
        if !is_due(self.salvage_due()) || is_mutant(Mutant::TrashUnsearched) {
            return;
        }
        let contents = self.transfers.salvage(SALVAGE_LIMIT, self.is_alone() || is_due(self.lonely_until()));
        if contents.is_empty() {
            return;
        }
        sometimes(Point::TrashSearched);
        self.next_salvage = None;
        let attempts = contents.iter().map(|(content, _)| self.transfers.attempt(*content)).collect();
        let salvage = cx.start(Effect::Salvage(self.id(), attempts));
        cx.emit(Output::Salvage { salvage, folder: self.id(), contents });
    }

    /// When the trash is to be searched: at once for what some device lacks, or where no other one is expected to come, and
    /// else when there has been nobody to ask for long enough.
    pub(super) fn salvage_due(&self) -> Option<Instant> {
        let next = self.next_salvage.filter(|_| !self.transfers.is_empty())?;
        if self.is_alone() || self.transfers.is_any_lacking() {
            return Some(next);
        }
        // Once: as long as nobody comes nothing else comes into the trash.
        self.lonely_until().filter(|at| next < *at + SALVAGE_PAUSE).map(|at| next.max(at))
    }

    /// When there will have been nobody to ask for long enough, unless somebody comes.
    fn lonely_until(&self) -> Option<Instant> {
        self.lonely_since.map(|since| since + LONELY_PAUSE)
    }

    /// The trash was searched.
    pub(crate) fn salvaged<I: Index>(
        &mut self,
        attempts: Vec<Attempt>,
        outcome: Result<Vec<ContentId>, ItemError>,
        cx: &mut Context,
        index: &mut I,
    ) -> Result<(), I::Error> {
        self.next_salvage = Some(cx.now() + SALVAGE_PAUSE);
        let contents: Vec<ContentId> = attempts.into_iter().filter_map(|attempt| self.current(attempt)).collect();
        match outcome {
            Ok(found) => {
                for content in contents.iter().copied() {
                    // A first copy from the tree may have failed, or it has come there by another way.
                    let is_needed = self.transfers.needs(content) && !found.contains(&content);
                    // A seal under way would not be noted any more; the next search is not far.
                    if is_needed && self.transfers.rests(content) {
                        self.copy_locally(content, cx, index)?;
                    }
                    // Those who are merely away may have it.
                    let is_lacked = self.is_alone() || self.transfers.is_lacked(content);
                    let is_missing = is_needed && is_lacked && index.holders(content, 1)?.is_empty();
                    self.transfers.salvaged(content, is_missing);
                }
                self.face_loss(cx, index)?;
                for content in found.into_iter().filter(|content| contents.contains(content)) {
                    sometimes(Point::TrashHolds);
                    if self.staged.remove(&content).is_some() {
                        index.remove_staged(self.id(), content)?;
                    }
                    self.arrivals.push(content);
                    self.ready(content);
                }
            }
            Err(error) => {
                for content in contents {
                    self.transfers.salvaged(content, false);
                    self.disk_failed(content, &error, cx);
                }
            }
        }
        Ok(())
    }

    /// The content of an attempt that is still under way. What another one has staged is dropped.
    fn current(&mut self, attempt: Attempt) -> Option<ContentId> {
        let content = Some(attempt.content).filter(|_| self.transfers.is_current(attempt));
        if content.is_none() {
            sometimes(Point::AttemptOutdated);
        }
        let is_kept = self.transfers.get(attempt.content).is_some() || self.spare.contains(&attempt.content);
        if content.is_none() && !is_kept {
            self.dropped.push(attempt.content);
        }
        content
    }

    /// Tells the other devices which contents are missed here, and writes off versions of this device's own making that
    /// everybody misses. That happens where a person has overwritten one here, and a power loss undid what was written of
    /// it in the index, but not what others had heard.
    ///
    /// Nobody speaks of a content before the device that made it does, so that one which is merely away causes no talk.
    pub(super) fn face_loss<I: Index>(&mut self, cx: &mut Context, index: &mut I) -> Result<(), I::Error> {
        let me = cx.config.device;
        let Some(mut member) = self.members.get(&me).cloned() else { return Ok(()) };
        let missing: Vec<_> = self.transfers.missing(MISSING_LIMIT).map(|(c, paths)| (c, paths.clone())).collect();
        let mut misses = BTreeSet::new();
        let mut own = Vec::new();
        for (content, paths) in missing {
            for path in paths {
                // What is missed need not be wanted there any more: what has come to the rows since is yet to be planned.
                let Wanted::Present { dot: Some(dot), body } = self.wanted(&path, index)? else { continue };
                if !matches!(body, Body::File { content: wanted, .. } if wanted == content) {
                    continue;
                }
                let maker = self.members.iter().find(|(_, m)| m.actors.contains(&dot.actor));
                let is_own = maker.is_some_and(|(device, _)| *device == me);
                let is_spoken_of = is_own || maker.is_some_and(|(_, m)| m.misses.contains(&content));
                if is_spoken_of && misses.len() < MAX_MISSES {
                    misses.insert(content);
                }
                own.extend(is_own.then_some((content, path, dot)));
            }
        }
        if member.misses != misses {
            sometimes(Point::LossSpokenOf);
            member.misses = misses;
            self.write_member(me, member, cx, index)?;
        }
        for (content, path, dot) in own {
            let mut waited_for = self.members.values().filter(|m| m.state == MemberState::Active);
            let all_miss = waited_for.all(|m| m.misses.contains(&content)) || is_mutant(Mutant::LossFacedAlone);
            if self.is_looked_at() && all_miss {
                let source = self.copies.at(&path).map_or_else(|| path.clone(), |(source, _)| source.clone());
                sometimes(Point::WrittenOff);
                self.write_off(&source, dot, cx, index)?;
            }
        }
        Ok(())
    }

    /// Whether this device says that it misses what it misses no more.
    pub(super) fn misses_no_more(&self, cx: &Context) -> bool {
        let own = self.members.get(&cx.config.device);
        own.is_some_and(|m| m.misses.iter().any(|content| !self.transfers.is_missing(*content)))
    }

    fn ask(
        &self,
        slot: &mut Slot,
        bytes: u64,
        what: Fetching,
        cx: &mut Context,
    ) -> (crate::id::LinkId, crate::id::EffectId) {
        slot.outstanding += bytes;
        let fetch = Fetch { folder: self.id(), link: slot.link, device: slot.device, bytes, what };
        (slot.link, cx.start(Effect::Fetch(fetch)))
    }

    /// A local copy ended.
    pub(crate) fn copied<I: Index>(
        &mut self,
        attempt: Attempt,
        from: Option<RelPath>,
        outcome: Result<(), CopyError>,
        cx: &mut Context,
        index: &mut I,
    ) -> Result<(), I::Error> {
        let Some(content) = self.current(attempt) else { return Ok(()) };
        match outcome {
            Ok(()) => {
                let size = self.transfers.get(content).map_or(0, |t| t.size);
                sometimes(Point::CopiedLocally);
                cx.counters.copied_bytes = cx.counters.copied_bytes.saturating_add(size);
                // It has taken the place of what was durable of it, and is not yet.
                if self.staged.remove(&content).is_some() {
                    index.remove_staged(self.id(), content)?;
                }
                self.ready(content);
            }
            Err(CopyError::Source) => {
                sometimes(Point::CopySourceChanged);
                // It is not what base says.
                if let Some(path) = from {
                    self.suspects.entry(path).or_insert(false);
                }
                self.transfers.enqueue(content, cx.config.limits.small_bytes);
            }
            Err(CopyError::Disk(error)) => self.disk_failed(content, &error, cx),
        }
        Ok(())
    }

    /// Small files arrived, or not.
    pub(crate) fn batch_fetched(
        &mut self,
        items: Vec<(Attempt, u64)>,
        outcomes: Vec<Result<(), FetchFailure>>,
        device: DeviceId,
        cx: &mut Context,
    ) {
        let broken = || Err(FetchFailure::Peer(FetchError::Broken));
        let outcomes = outcomes.into_iter().chain(core::iter::repeat_with(broken));
        let is_kept =
            |(attempt, _): &(Attempt, u64)| !is_mutant(Mutant::OutcomesShifted) || self.transfers.is_current(*attempt);
        let items: Vec<_> = items.into_iter().filter(is_kept).collect();
        for ((attempt, size), outcome) in items.into_iter().zip(outcomes) {
            let Some(content) = self.current(attempt) else { continue };
            match outcome {
                Ok(()) => {
                    cx.counters.fetched_bytes += size;
                    self.arrivals.push(content);
                    self.ready(content);
                }
                Err(FetchFailure::Peer(error)) => {
                    self.peer_failed(content, device, error, cx);
                    self.transfers.enqueue(content, cx.config.limits.small_bytes);
                }
                Err(FetchFailure::Disk(error)) => self.disk_failed(content, &error, cx),
            }
        }
    }

    /// A chunk list arrived, or not.
    pub(crate) fn list_fetched<I: Index>(
        &mut self,
        attempt: Attempt,
        outcome: Result<ChunkList, FetchFailure>,
        device: DeviceId,
        cx: &mut Context,
        index: &mut I,
    ) -> Result<(), I::Error> {
        let Some(content) = self.current(attempt) else { return Ok(()) };
        match outcome {
            Ok(list) => {
                if let Some(record) = self.transfers.listed(content, list, device) {
                    index.put_staged(self.id(), &record)?;
                    self.staged.insert(content, record);
                    self.reuse_locally(content, cx, index)?;
                }
            }
            Err(FetchFailure::Peer(error)) => {
                self.peer_failed(content, device, error, cx);
                self.transfers.enqueue(content, cx.config.limits.small_bytes);
            }
            Err(FetchFailure::Disk(error)) => self.disk_failed(content, &error, cx),
        }
        Ok(())
    }

    /// Part of a large file arrived.
    pub(crate) fn range_fetched(
        &mut self,
        attempt: Attempt,
        range: Range<usize>,
        chunks: u32,
        error: Option<FetchFailure>,
        device: DeviceId,
        cx: &mut Context,
    ) {
        let now = cx.now();
        let Some(content) = self.current(attempt) else { return };
        let Some(ranges) = self.transfers.ranges_mut(content) else { return };
        cx.counters.fetched_bytes += ranges.arrived(range, chunks as usize, now);
        match error {
            None => {}
            Some(FetchFailure::Peer(error)) => self.peer_failed(content, device, error, cx),
            Some(FetchFailure::Disk(error)) => self.disk_failed(content, &error, cx),
        }
    }

    /// Written chunks are durable, or not.
    pub(crate) fn sealed<I: Index>(
        &mut self,
        attempt: Attempt,
        outcome: Result<(), ItemError>,
        cx: &mut Context,
        index: &mut I,
    ) -> Result<(), I::Error> {
        let Some(content) = self.current(attempt) else { return Ok(()) };
        let size = self.transfers.get(content).map_or(0, |t| t.size);
        let Some(ranges) = self.transfers.ranges_mut(content) else { return Ok(()) };
        if let Some(record) = ranges.end_seal(content, size, outcome.is_ok()) {
            index.put_staged(self.id(), &record)?;
            self.staged.insert(content, record);
        }
        if let Err(error) = outcome {
            self.disk_failed(content, &error, cx);
        }
        Ok(())
    }

    /// A large file was read back whole.
    pub(crate) fn finished<I: Index>(
        &mut self,
        attempt: Attempt,
        outcome: Result<bool, ItemError>,
        cx: &mut Context,
        index: &mut I,
    ) -> Result<(), I::Error> {
        let Some(content) = self.current(attempt) else { return Ok(()) };
        let Some(transfer) = self.transfers.get(content) else { return Ok(()) };
        let bytes = transfer.size;
        match outcome {
            Ok(is_whole) if is_whole || is_mutant(Mutant::WholeUnchecked) => {
                // It may be long until it is put in place, and a seal that is still under way would be of no account.
                if let Some(record) = self.transfers.ranges_mut(content).map(|r| r.finished(content, bytes)) {
                    index.put_staged(self.id(), &record)?;
                    self.staged.insert(content, record);
                }
                cx.event(Event::TransferCompleted { folder: self.id(), content, bytes });
                if self.completed.len() == MAX_COMPLETED {
                    self.completed.pop_front();
                }
                self.completed.extend(self.transfer_of(content).map(|t| TransferStatus { state: "completed", ..t }));
                self.arrivals.push(content);
                self.ready(content);
            }
            // Every chunk matched its list, so the list is not this content's: whoever gave it is to blame.
            Ok(_) => {
                sometimes(Point::WholeWrong);
                let supplier = self.transfers.ranges_mut(content).and_then(|r| r.supplier);
                if let Some(device) = supplier {
                    let until = cx.now() + BAD_PAUSE;
                    self.transfers.blame(content, device, Verdict::Bad(until));
                    self.transfers.blame(content, device, Verdict::Bad(until));
                }
                self.restart(content, cx, index)?;
            }
            Err(error) => {
                self.disk_failed(content, &error, cx);
                self.restart(content, cx, index)?;
            }
        }
        Ok(())
    }

    /// Drops what is staged of a content and begins again.
    fn restart<I: Index>(&mut self, content: ContentId, cx: &mut Context, index: &mut I) -> Result<(), I::Error> {
        self.staged.remove(&content);
        index.remove_staged(self.id(), content)?;
        cx.emit(Output::Unstage { folder: self.id(), content });
        self.transfers.start_over(content, cx.config.limits.small_bytes);
        Ok(())
    }

    /// Nobody is asked for `content` any more, or they are again.
    pub(crate) fn pause_transfer(&mut self, content: ContentId, paused: bool) -> Result<(), Refusal> {
        if self.transfers.get(content).is_none() {
            return Err(Refusal { reason: "nothing of that content is on its way".into() });
        }
        if paused && self.state.paused_contents.len() >= MAX_PAUSED {
            return Err(Refusal {
                reason: alloc::format!("{MAX_PAUSED} transfers are paused: resume some, or pause the folder"),
            });
        }
        let Self { state, transfers, .. } = self;
        transfers.pause(content, paused);
        if paused {
            state.paused_contents.insert(content)
        } else {
            state.paused_contents.remove(&content)
        };
        self.touch();
        Ok(())
    }

    /// What has come of `content` is dropped, and nobody is asked for it until a person goes on.
    pub(crate) fn cancel_transfer<I: Index>(
        &mut self,
        content: ContentId,
        cx: &mut Context,
        index: &mut I,
    ) -> Result<Result<(), Refusal>, I::Error> {
        if self.transfers.get(content).is_some_and(|t| matches!(t.state, crate::transfer::State::Ready)) {
            return Ok(Err(Refusal { reason: "it is here already, and about to be put in place".into() }));
        }
        let outcome = self.pause_transfer(content, true);
        if outcome.is_ok() {
            self.restart(content, cx, index)?;
        }
        Ok(outcome)
    }

    /// Forgets a content that is wanted no more, or in place. Returns where else it was wanted.
    pub(super) fn end_transfer(&mut self, content: ContentId) -> Vec<RelPath> {
        if self.state.paused_contents.remove(&content) {
            self.touch();
        }
        self.transfers.remove(content)
    }

    fn ready(&mut self, content: ContentId) {
        for path in self.transfers.set_ready(content) {
            // Whoever waited for the path waited for its bytes to be safe.
            self.wake(&path);
            self.plan.insert(path);
        }
    }

    fn peer_failed(&mut self, content: ContentId, device: DeviceId, error: FetchError, cx: &mut Context) {
        cx.counters.fetch_errors += 1;
        let verdict = match error {
            FetchError::NotFound | FetchError::Changed | FetchError::Refused => {
                Verdict::Lacks(cx.now() + LACKING_PAUSE)
            }
            FetchError::BadHash => Verdict::Bad(cx.now() + BAD_PAUSE),
            FetchError::Busy | FetchError::Broken => Verdict::Later(cx.now() + PAUSE),
        };
        self.transfers.blame(content, device, verdict);
    }

    /// The staging area could not be written: the items that want the content say so, and it is tried again.
    fn disk_failed(&mut self, content: ContentId, error: &ItemError, cx: &mut Context) {
        let Some(transfer) = self.transfers.get(content) else { return };
        sometimes(Point::StageFailed);
        let paths: Vec<RelPath> = transfer.paths.iter().cloned().collect();
        paths.iter().for_each(|path| self.fail(path, error.clone(), cx));
        let retry = paths.iter().filter_map(|p| self.retries.get(p)).min();
        self.transfers.enqueue(content, cx.config.limits.small_bytes);
        self.transfers.delay(content, retry.unwrap_or_else(|| cx.now() + PAUSE));
    }
}

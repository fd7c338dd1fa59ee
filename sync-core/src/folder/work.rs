//! What a folder does of itself after each input: look, plan, fetch, settle.

use super::Folder;
use crate::context::Context;
use crate::index::Index;
use crate::proving::{Mutant, is_mutant};
use crate::time::{Instant, Timer};
use crate::transfer::Slot;

impl Folder {
    /// Goes one bounded step further. `slots` are the devices that can be asked for contents; `all_heard` is whether
    /// every connected device has been told every row.
    pub(crate) fn work<I: Index>(
        &mut self,
        slots: &mut [Slot],
        all_heard: bool,
        cx: &mut Context,
        index: &mut I,
    ) -> Result<(), I::Error> {
        self.look(cx, index)?;
        self.end_first_scan();
        self.plan_step(cx, index)?;
        self.fetch_step(slots, cx, index)?;
        if self.misses_no_more(cx) {
            self.face_loss(cx, index)?;
        }
        self.drop_spare();
        for content in core::mem::take(&mut self.dropped) {
            cx.emit(crate::output::Output::Unstage { folder: self.id(), content });
        }
        let is_applied = self.is_applied() || is_mutant(Mutant::AppliedEarly);
        if is_applied && self.root_error.is_none() && self.state.applied != self.state.knowledge {
            self.state.applied = self.state.knowledge.clone();
            self.touch();
            self.purge_again();
        }
        // Waiting to be applied is no reason to hurry: deletions are forgotten when all is quiet.
        let all_heard = all_heard || is_mutant(Mutant::PurgeUnheard);
        if all_heard && self.is_applied() && self.is_looked_at() {
            cx.more |= self.purge_step(cx, index)?;
        }
        self.show_state(cx);
        self.store(index)
    }

    /// Drops what was staged for nothing. Like all bytes they go last: what is locked or about to be looked at
    /// has not been planned, and an apply may be taking away the very file they were copied from.
    fn drop_spare(&mut self) {
        let is_planned = self.plan.is_empty() && self.displacing.is_empty() && self.pending_after.is_none();
        let is_sure = self.locks.is_empty() && self.suspects.is_empty() && self.missing.is_empty();
        if is_planned && is_sure {
            self.dropped.extend(core::mem::take(&mut self.spare));
        }
    }

    /// When this folder wants to be woken.
    pub(crate) fn deadline(&self, cx: &Context) -> Option<(Instant, Timer)> {
        if self.state.paused {
            return None;
        }
        let disk = self.disk_deadline(cx.now());
        let delayed = self.transfers.deadline(cx.now()).map(|at| (at, Timer::Fetch));
        let seal =
            self.transfers.seal_deadline(&cx.config.limits).filter(|at| *at > cx.now()).map(|at| (at, Timer::Seal));
        let salvage = self.salvage_due().filter(|at| *at > cx.now() || is_mutant(Mutant::DeadlinePast));
        let salvage = salvage.map(|at| (at, Timer::Fetch));
        [disk, delayed, seal, salvage].into_iter().flatten().min()
    }
}

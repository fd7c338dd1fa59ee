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
        self.fetch_step(slots, cx);
        if self.misses_no_more(cx) {
            self.face_loss(cx, index)?;
        }
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

    /// When this folder wants to be woken.
    pub(crate) fn deadline(&self, cx: &Context) -> Option<(Instant, Timer)> {
        if self.state.paused {
            return None;
        }
        let disk = self.disk_deadline(cx.now());
        let delayed = self.transfers.deadline(cx.now()).map(|at| (at, Timer::Fetch));
        let seal =
            self.transfers.seal_deadline(&cx.config.limits).filter(|at| *at > cx.now()).map(|at| (at, Timer::Seal));
        let salvage = self.next_salvage.filter(|at| *at > cx.now() || is_mutant(Mutant::DeadlinePast));
        let salvage = salvage.filter(|_| self.is_salvage_wanted());
        let salvage = salvage.map(|at| (at, Timer::Fetch));
        [disk, delayed, seal, salvage].into_iter().flatten().min()
    }
}

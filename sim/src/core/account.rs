//! The ledger of kept bytes, told of what a node hears and asks for.

use crate::core::net::FOLDER;
use crate::core::world::World;
use crate::outcome::Invariant;
use std::collections::BTreeSet;
use sync_core::id::{EffectId, LinkId};
use sync_core::index::Index;
use sync_core::input::FetchFailure;
use sync_core::transfer::Bits;
use sync_core::{ContentId, FetchError, Input, Output};

/// What the ledger wants to know of an input once it is committed.
pub(super) enum Heard {
    Applied,
    Sealed(EffectId, bool),
    Fetched(EffectId, u32, bool),
    /// Which chunks another file held.
    Reused(EffectId, Option<Bits>),
    /// Which small files of a request came.
    Whole(EffectId, Vec<bool>),
    LinkDown(LinkId),
}

impl Heard {
    #[allow(clippy::wildcard_enum_match_arm)] // The ledger is about these.
    pub(super) fn of(input: &Input) -> Option<Self> {
        match input {
            Input::Applied { .. } => Some(Self::Applied),
            Input::Sealed { seal, outcome } => Some(Self::Sealed(*seal, outcome.is_ok())),
            Input::RangeFetched { fetch, chunks, error } => {
                let is_wrong = *error == Some(FetchFailure::Peer(FetchError::BadHash));
                Some(Self::Fetched(*fetch, *chunks, is_wrong))
            }
            Input::Reused { reuse, outcome } => Some(Self::Reused(*reuse, outcome.clone().ok())),
            Input::BatchFetched { fetch, outcomes } => {
                Some(Self::Whole(*fetch, outcomes.iter().map(Result::is_ok).collect()))
            }
            Input::LinkDown { link, .. } => Some(Self::LinkDown(*link)),
            _ => None,
        }
    }
}

impl World {
    /// The ledger of kept bytes goes through a batch in the order in which the node did: what it asked for before it
    /// heard of something was not asked for in spite of that.
    pub(super) fn keeps_account(&mut self, host: usize, heard: &[(usize, Heard)], outputs: &[Output]) {
        let mut unread = heard.iter().peekable();
        let mut sealed = BTreeSet::new();
        for (number, output) in outputs.iter().map(Some).chain([None]).enumerate() {
            while let Some((_, heard)) = unread.next_if(|(outputs_before, _)| *outputs_before <= number) {
                let kept = &mut self.hosts[host].kept;
                match heard {
                    Heard::Applied => {}
                    Heard::Sealed(seal, is_good) => sealed.extend(kept.sealed(*seal, *is_good)),
                    Heard::Fetched(fetch, count, is_wrong) => kept.fetched(*fetch, *count, *is_wrong),
                    Heard::Reused(reuse, found) => kept.reused(*reuse, found.as_ref()),
                    Heard::Whole(fetch, came) => kept.fetched_whole(*fetch, came),
                    Heard::LinkDown(link) => kept.link_down(*link),
                }
            }
            output.into_iter().for_each(|output| self.keeps_account_of(host, output));
        }
        sealed.into_iter().for_each(|content| self.holds_what_it_keeps(host, content));
    }

    #[allow(clippy::wildcard_enum_match_arm)] // The ledger is about these.
    fn keeps_account_of(&mut self, host: usize, output: &Output) {
        match output {
            Output::OpenFolder { staged, .. } => self.hosts[host].kept.swept(staged),
            Output::Unstage { content, .. } => self.hosts[host].kept.dropped(*content),
            Output::Seal { seal, content, .. } => self.hosts[host].kept.seals(*seal, *content),
            Output::Reuse { reuse, content, chunks, .. } => self.hosts[host].kept.reuses(*reuse, *content, chunks),
            Output::Copy { content, .. } => self.hosts[host].kept.begun_anew(*content),
            Output::Salvage { contents, .. } => {
                let kept = &mut self.hosts[host].kept;
                contents.iter().for_each(|(content, _)| kept.begun_anew(*content));
            }
            // It waits for nothing that was asked there, from now on and not only when it hears that the link is down.
            Output::HangUp { link, .. } => self.hosts[host].kept.link_down(*link),
            Output::FetchBatch { fetch, link, items, .. } => {
                if let Err(what) = self.hosts[host].kept.asks_whole((*fetch, *link), items)
                    && !self.oracle.has_endured_hostility()
                {
                    self.oracle.fail(Invariant::Resume, format!("host {host}: {what}"));
                }
            }
            Output::FetchRange { fetch, link, content, offset, chunks, .. } => {
                // What the index does not know of may have been given up for a reason that only the node knows.
                let is_kept = self.is_recorded(host, *content);
                if let Err(what) = self.hosts[host].kept.asks((*fetch, *link), *content, *offset, chunks)
                    && is_kept
                {
                    self.oracle.fail(Invariant::Resume, format!("host {host}: {what}"));
                }
            }
            _ => {}
        }
    }

    /// What the index counts as kept of a staged file is what a power loss would leave of it.
    pub(super) fn holds_what_it_keeps(&mut self, host: usize, content: ContentId) {
        if self.hosts[host].kept.may_be_wrong(content) || self.oracle.has_endured_hostility() {
            return;
        }
        let staged = self.hosts[host].index.look(|index| index.staged(FOLDER).ok()).unwrap_or_default();
        let Some(record) = staged.into_iter().find(|staged| staged.content == content) else { return };
        let sealed = Bits::from_bytes(&record.sealed, record.list.len());
        let mut at = 0;
        for (i, (len, _)) in record.list.iter().enumerate() {
            let part = at..at + len as usize;
            at = part.end;
            if sealed.get(i) && !self.hosts[host].disk.is_durable(content, &part) {
                let what = format!("host {host}: {part:?} of {} counts as kept, and is not", content.short());
                return self.oracle.fail(Invariant::Resume, what);
            }
        }
    }

    /// Whether the index knows of a staged file of this content.
    fn is_recorded(&mut self, host: usize, content: ContentId) -> bool {
        let staged = self.hosts[host].index.look(|index| index.staged(FOLDER).ok()).unwrap_or_default();
        staged.iter().any(|staged| staged.content == content)
    }
}

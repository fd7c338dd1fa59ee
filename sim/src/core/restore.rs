//! Devices that come back as they once were: set back to a backup, noticed or not, or retired for a while.

use crate::core::disk::Node;
use crate::core::host::{Backup, Host, Standing};
use crate::core::net::FOLDER;
use crate::core::world::World;
use crate::oracle::Shows;
use std::collections::BTreeSet;
use sync_core::index::{FolderState, Index};
use sync_core::wire::{Flow, Message, SyncStart, decode};
use sync_core::{ContentId, DirPath, Output};

impl World {
    /// Whether the index of a host knows all that is on its disk, and nothing else.
    pub(super) fn has_seen_all(&mut self, host: usize) -> bool {
        let Host { index, disk, .. } = &mut self.hosts[host];
        let inner = disk.entries().iter().filter(|(_, e)| e.node == Node::Dir).map(|(p, _)| DirPath::from(p.clone()));
        let dirs: Vec<DirPath> = inner.chain([DirPath::ROOT]).collect();
        let is_seen = |dir: &DirPath| {
            let bases = index.look(|index| index.base_children(FOLDER, dir, None, usize::MAX).ok()).unwrap_or_default();
            let mut bases: Vec<_> = bases.into_iter().map(|(name, base)| (name, base.stat)).collect();
            bases.sort_by(|a, b| a.0.cmp(&b.0));
            bases == disk.children(dir)
        };
        dirs.iter().all(is_seen)
    }

    pub(super) fn restore(&mut self, host: usize, down_us: u64, disk: bool, unnoticed: bool) {
        let Some(Backup { index, tree, remembers }) = self.hosts[host].backup.clone() else { return };
        let other = Some((host + 1) % self.hosts.len()).filter(|other| *other != host);
        self.bring_down(host, down_us, |world| {
            world.hosts[host].index = index;
            // An index that comes without its disk writes at once, of what is there, as much as it has forgotten. And what is
            // still to be told of an earlier loss will be told.
            let may_go_on = unnoticed && disk && tree.is_some() && !world.hosts[host].fresh;
            let remembered = if may_go_on { world.remembered(host) } else { None };
            world.index_forgot(host);
            world.oracle.set_back(host);
            if remembered.is_some() {
                world.strike("unnoticed-restore");
            }
            world.hosts[host].fresh = remembered.is_none();
            world.hosts[host].remembers = remembers.or(remembered);
            if let Some(tree) = tree.filter(|_| disk) {
                let held = world.hosts[host].disk.holds();
                let otherwise = world.hosts[host].disk.go_back(tree);
                // Whoever sets a machine back does away with what is nowhere else.
                let left: BTreeSet<ContentId> = world.hosts.iter().flat_map(|h| h.disk.holds()).collect();
                held.difference(&left).for_each(|content| world.oracle.superseded(*content));
                world.oracle.went_back(host, other, otherwise);
            }
        });
    }

    /// What a host that was just set back has, if it can be left to others to tell it so: whoever it meets knows later writes
    /// of its own. All that it has was confirmed, or would be issued anew then and come back where it was long replaced.
    fn remembered(&mut self, host: usize) -> Option<FolderState> {
        let mine = self.folder(host).filter(|mine| mine.acked == mine.seq)?;
        let others: Vec<usize> = (0..self.hosts.len()).filter(|other| *other != host).collect();
        let knows_more = |theirs: FolderState| theirs.knowledge.seq(mine.actor) > mine.seq;
        let all_do = others.iter().all(|other| self.folder(*other).is_some_and(knows_more));
        Some(mine).filter(|_| all_do && !others.is_empty())
    }

    /// What a host that was set back unnoticed had then and has now, if it goes on with the numbers of then, and nobody
    /// whom it has met since knows of later ones.
    pub(super) fn goes_on(&mut self, host: usize) -> Option<(FolderState, FolderState)> {
        let then = self.hosts[host].remembers.clone()?;
        let now = self.folder(host).filter(|now| now.actor == then.actor && now.acked <= now.seq)?;
        Some((then, now))
    }

    /// Whether a host speaks of numbers that it has given twice, and cannot know: it had written as much as it had forgotten
    /// before it met somebody, or whom it met had forgotten as well. The promise is that who knows more tells.
    pub(super) fn cannot_know(&mut self, host: usize, message: &Message) -> bool {
        let Some((then, now)) = self.goes_on(host) else { return false };
        let leaves_out = |start: &SyncStart| matches!(start.flow, Flow::Since(rev) if rev > then.rev);
        let is_short = matches!(message, Message::SyncStart(start) if now.epoch == then.epoch && leaves_out(start));
        let is_of_rows = matches!(message, Message::SyncStart(_) | Message::Rows(_) | Message::Caught(_));
        is_short || is_of_rows && now.seq > then.seq
    }

    /// A host that was set back unnoticed has been through a batch. If it was told in that, what it had said of rows before
    /// it hung up on everybody was said of numbers given twice.
    #[allow(clippy::wildcard_enum_match_arm)] // Rows are said in one way only.
    pub(super) fn may_be_told(&mut self, host: usize, outputs: &[Output]) {
        let Some(then) = self.hosts[host].remembers.as_ref().map(|then| then.actor) else { return };
        if self.folder(host).is_some_and(|now| now.actor == then) {
            return;
        }
        self.hosts[host].remembers = None;
        let is_of_rows = |message| matches!(message, Message::SyncStart(_) | Message::Rows(_) | Message::Caught(_));
        let mut before = outputs.iter().take_while(|output| !matches!(output, Output::HangUp { .. }));
        let says_rows = before.any(|output| match output {
            Output::Send { frame, .. } => decode(frame).is_ok_and(is_of_rows),
            _ => false,
        });
        if says_rows {
            self.oracle.endured_hostility();
        }
    }

    /// Whoever was retired comes back in the next round: nobody has waited for it, and yet it takes part.
    pub(super) fn call_back(&mut self) {
        for host in 0..self.hosts.len() {
            if self.hosts[host].standing == Standing::Retired && !self.hosts[host].unsure {
                self.tell_all(|_| format!("host {host} comes back"));
                self.hosts[host].standing = Standing::Member;
                // What it alone had may have been written off meanwhile, and its policy may be news.
                self.oracle.forgot();
                self.oracle.ranked_anew();
                self.come_back(host);
            }
            if self.hosts[host].standing != Standing::Retired {
                self.hosts[host].unsure = false;
            }
        }
    }
}

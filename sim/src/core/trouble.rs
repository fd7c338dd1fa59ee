//! What the tape makes happen.

use crate::case::{Deed, Part, Step};
use crate::core::disk::{DiskFaults, Node};
use crate::core::host::{Host, Standing};
use crate::core::index::ModelIndex;
use crate::core::jobs::Job;
use crate::core::net::FOLDER;
use crate::core::user::Doing;
use crate::core::world::{Event, World};
use crate::dice::{Dice, Domain};
use sync_core::id::{LinkId, PublicKey};
use sync_core::index::{FolderState, Index};
use sync_core::input::{Done, Lane};
use sync_core::wire::{Flow, Message, SyncStart, decode, encode};
use sync_core::{CloseCode, Command, DirPath, Input, Output};

impl World {
    /// The tape goes on.
    pub(super) fn step(&mut self, step: Step) {
        let Step { id, deed, .. } = step;
        if let Deed::Act { host, act, draw } = deed {
            return self.act(host, Doing { step: id, act, draw, target: None });
        }
        self.tell_all(|_| format!("step {id}: {deed:?}"));
        self.strike(deed.name());
        self.bring_about(deed);
    }

    fn bring_about(&mut self, deed: Deed) {
        let now = self.now;
        match deed {
            Deed::Act { .. } => {}
            Deed::Crash { host, down_us } => self.bring_down(host, down_us, |_| {}),
            Deed::DieAmid { host, parts, loses_power, down_us } => {
                let death = match loses_power {
                    true => Deed::PowerLoss { host, down_us, draw: parts },
                    false => Deed::Crash { host, down_us },
                };
                self.hosts[host].dies_amid = Some((parts, death));
            }
            Deed::PowerLoss { host, down_us, draw } => self.lose_power(host, down_us, draw),
            Deed::Stop { host, .. } => self.request(host, Command::Shutdown),
            Deed::Pause { host, for_us } => self.hosts[host].paused_until = now + for_us,
            Deed::Stall { host, for_us } => self.hosts[host].stalled_until = now + for_us,
            Deed::DiskError { host, part, error, for_us } => {
                let faults = &mut self.hosts[host].disk.faults;
                match part {
                    Part::Tree => faults.apply = Some(error.kind()),
                    Part::Staging => faults.stage = Some(error.kind()),
                    Part::Reading => faults.read = true,
                }
                self.push(now + for_us, Event::Repaired { host });
            }
            Deed::LoseRoot { host, for_us } => {
                self.hosts[host].disk.lost = true;
                self.push(now + for_us, Event::Repaired { host });
            }
            Deed::Rot { host, draw } => {
                let rotten = self.hosts[host].disk.rot(draw);
                rotten.into_iter().for_each(|content| self.hosts[host].kept.dropped(content));
            }
            Deed::SetClock { host, skew_ns, drift_ppm } => {
                (self.hosts[host].skew_ns, self.hosts[host].drift_ppm) = (skew_ns, drift_ppm);
            }
            Deed::Cut { a, b, for_us } => {
                for (from, to) in [(a, b), (b, a)] {
                    self.net.cut.push((from, to));
                    self.push(now + for_us, Event::Mended { from, to });
                }
                self.break_between(a, b);
            }
            Deed::OneWay { from, to, for_us } => {
                self.net.cut.push((from, to));
                self.mute(from, to);
                self.push(now + for_us, Event::Mended { from, to });
            }
            Deed::Break { a, b } => self.break_between(a, b),
            Deed::IndexError { host, calls } => self.hosts[host].index.fail_after(calls),
            // What knows of no folder and no device is nothing to keep.
            Deed::BackUp { host } if self.hosts[host].is_bare => {}
            Deed::BackUp { host } => {
                let tree = self.has_seen_all(host).then(|| self.hosts[host].disk.entries().clone());
                self.hosts[host].backup = Some((self.hosts[host].index.snapshot(), tree));
            }
            Deed::Restore { host, down_us, disk, unnoticed } => self.restore(host, down_us, disk, unnoticed),
            Deed::LoseIndex { host, down_us } => self.bring_down(host, down_us, |world| {
                let h = &mut world.hosts[host];
                (h.index, h.backup, h.is_bare) = (ModelIndex::default(), None, true);
                world.index_forgot(host);
                world.oracle.set_back(host);
            }),
            Deed::Policy { host, policy } => {
                self.oracle.ranked_anew();
                let choice = policy.choice(self.hosts[0].id);
                self.request(host, Command::SetPolicy(FOLDER, choice));
            }
            Deed::Verify { host } => self.request(host, Command::VerifyFolder(FOLDER)),
            Deed::PauseFolder { host, for_us } => {
                self.request(host, Command::PauseFolder(FOLDER, true));
                self.push(now + for_us, Event::Resume { host });
            }
            Deed::Stranger { host, draw } => self.knock(host, draw),
            Deed::Hostile { host, for_us } => {
                self.hosts[host].hostile_until = now + for_us;
                self.oracle.endured_hostility();
            }
            Deed::Remove { by, host } => self.part_with(by, host, Standing::Removed),
            Deed::Retire { by, host } => self.part_with(by, host, Standing::Retired),
        }
    }

    /// A host goes down at once, something happens to it, and it comes back.
    fn bring_down(&mut self, host: usize, down_us: u64, meanwhile: impl FnOnce(&mut Self)) {
        if self.hosts[host].is_up() {
            self.die(host);
            meanwhile(self);
            self.push(self.now + down_us, Event::Restart { host });
        }
    }

    /// A part of a staged file was written, or the tree changed, in the middle of which a host may die.
    pub(super) fn one_more_part(&mut self, host: usize) {
        match self.hosts[host].dies_amid.take() {
            Some((0, death)) => self.push(self.now, Event::Step(Box::new(Step { id: 0, at_us: 0, deed: death }))),
            Some((parts, death)) => self.hosts[host].dies_amid = Some((parts - 1, death)),
            None => {}
        }
    }

    /// A host comes back some time.
    pub(super) fn come_back(&mut self, host: usize) {
        let at = self.now + self.hosts[host].pace.range(1_000, 10_000_000);
        self.push(at, Event::Restart { host });
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

    fn index_forgot(&mut self, host: usize) {
        let h = &mut self.hosts[host];
        (h.fresh, h.unsure) = (true, true);
        h.kept.forgot();
        self.oracle.sayings.forgot(host);
        self.oracle.forgot();
    }

    fn lose_power(&mut self, host: usize, down_us: u64, draw: u64) {
        let mut dice = Dice::new(draw, Domain::Trouble, host as u64);
        if self.hosts[host].is_up() {
            self.undo_applies(host, &mut dice);
        }
        self.bring_down(host, down_us, |world| {
            world.hosts[host].index.power_loss();
            let survives = dice.range(0, 101);
            world.hosts[host].disk.power_loss(|| dice.percent(survives));
            world.index_forgot(host);
        });
    }

    /// Of operations that nobody has heard the end of, the last ones did not become durable.
    fn undo_applies(&mut self, host: usize, dice: &mut Dice) {
        let h = &mut self.hosts[host];
        for job in h.jobs.values_mut() {
            let Job::Apply { done, undo, .. } = job else { continue };
            let mut made = done.iter().filter_map(|d| if let Done::Made(stat) = d { Some(*stat) } else { None });
            let mut stats: Vec<_> = made.by_ref().collect();
            for _ in 0..dice.range(0, undo.len() as u64 + 1) {
                if let (Some((path, before)), Some(stat)) = (undo.pop(), stats.pop()) {
                    h.disk.undo(&path, before, stat.as_ref());
                }
            }
        }
    }

    /// Whether the index of a host knows all that is on its disk, and nothing else.
    fn has_seen_all(&mut self, host: usize) -> bool {
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

    fn restore(&mut self, host: usize, down_us: u64, disk: bool, unnoticed: bool) {
        let Some((index, tree)) = self.hosts[host].backup.clone() else { return };
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
            world.hosts[host].remembers = remembered;
            if let Some(tree) = tree.filter(|_| disk) {
                let otherwise = world.hosts[host].disk.go_back(tree);
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

    pub(super) fn resume_folder(&mut self, host: usize) {
        self.request(host, Command::PauseFolder(FOLDER, false));
    }

    /// Trouble of a disk ends, unless it is there for good.
    pub(super) fn repair(&mut self, host: usize) {
        if self.broken.is_some_and(|(broken, _)| broken == host) {
            return;
        }
        self.hosts[host].disk.lost = false;
        self.hosts[host].disk.faults = DiskFaults::default();
    }

    /// Somebody nobody knows connects and talks at once.
    fn knock(&mut self, host: usize, draw: u64) {
        let link = LinkId(u64::MAX - self.net.knocked());
        let key = PublicKey([draw as u8; 32]);
        self.hosts[host].strangers.insert(link);
        self.tell(host, Input::LinkUp { link, key, addr: "10.0.9.9:4444".into(), dial: None });
        let frame = encode(&Message::Ping(draw));
        self.tell_later(host, 300, Input::Received { link, lane: Lane::Control, frame });
        let reason = "timed out".to_owned();
        self.tell_later(host, 40_000_000, Input::LinkDown { link, code: CloseCode::None, reason });
    }

    fn part_with(&mut self, by: usize, host: usize, standing: Standing) {
        if by == host || !self.hosts[by].is_up() || self.hosts[host].standing != Standing::Member {
            return;
        }
        let device = self.hosts[host].id;
        self.hosts[host].standing = standing;
        if standing == Standing::Retired {
            if self.hosts[host].is_up() {
                self.die(host);
            }
            self.request(by, Command::RetireDevice(device));
        } else {
            self.request(by, Command::RemoveDevice(device));
        }
    }
}

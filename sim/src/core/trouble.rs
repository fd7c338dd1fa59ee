//! What the tape makes happen.

use crate::case::{Deed, Part, Step};
use crate::core::disk::DiskFaults;
use crate::core::host::{Backup, Standing};
use crate::core::index::ModelIndex;
use crate::core::jobs::Job;
use crate::core::net::FOLDER;
use crate::core::user::Doing;
use crate::core::world::{Event, World};
use crate::dice::{Dice, Domain};
use sync_core::id::{LinkId, PublicKey};
use sync_core::input::{Done, Lane};
use sync_core::wire::{Message, encode};
use sync_core::{CloseCode, Command, Input};

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
                let h = &mut self.hosts[host];
                h.backup = Some(Backup { index: h.index.snapshot(), tree, remembers: h.remembers.clone() });
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
    pub(super) fn bring_down(&mut self, host: usize, down_us: u64, meanwhile: impl FnOnce(&mut Self)) {
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

    pub(super) fn index_forgot(&mut self, host: usize) {
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

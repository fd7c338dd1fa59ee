//! What a seed stands for in the turmoil world.

use super::links::Way;
use crate::dice::{Dice, Domain};
use crate::scenario::Knobs;
use io_shell::device::TrashLimits;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;
use sync_core::Limits;

/// A kind of trouble. Each seed draws a subset; some have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// Datagrams are lost one by one.
    Loss,
    /// Datagrams are lost in bursts.
    Burst,
    /// Datagrams come twice.
    Duplicate,
    /// Bits are turned.
    Corrupt,
    /// Datagrams overtake each other.
    Reorder,
    /// Long datagrams do not pass.
    Mtu,
    /// Links are narrow, and their queues short.
    Rate,
    /// Links are slow to answer.
    Latency,
    /// Two hosts do not hear each other for a while.
    Partition,
    /// One host does not hear another one, which hears it.
    OneWay,
    /// Processes die.
    Crash,
    /// Disks fail.
    Disk,
    /// Hints never come.
    Hints,
    /// Wall clocks are wrong, and jump.
    Skew,
    /// Somebody who was never paired tries to get in, and waits where members are expected.
    Stranger,
    /// A folder is moved away for a while.
    Root,
    /// People change files in the very instant between a look and a move.
    Meddling,
    /// Trash is purged as soon as it is some seconds old.
    Purge,
    /// People have files open, and write to them after they were displaced.
    Late,
}

impl Trouble {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::Loss,
        Self::Burst,
        Self::Duplicate,
        Self::Corrupt,
        Self::Reorder,
        Self::Mtu,
        Self::Rate,
        Self::Latency,
        Self::Partition,
        Self::OneWay,
        Self::Crash,
        Self::Disk,
        Self::Hints,
        Self::Skew,
        Self::Stranger,
        Self::Root,
        Self::Meddling,
        Self::Purge,
        Self::Late,
    ];
}

/// Who is paired with whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// All with the first.
    Star,
    /// Each with the one before it.
    Chain,
    /// All with all.
    Mesh,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Number of hosts.
    pub hosts: usize,
    /// Who is paired with whom.
    pub shape: Shape,
    /// Times that everything is disturbed and then left to come to rest.
    pub rounds: u32,
    /// Changes by the person at each host in a round.
    pub edits: u64,
    /// How long a round is disturbed, milliseconds.
    pub unrest_ms: u64,
    /// Faults.
    pub troubles: BTreeSet<Trouble>,
    /// The links while they are disturbed.
    pub way: Way,
    /// Steps of the disk that fail while it is bad, in a hundred.
    pub disk_percent: u64,
    /// Moves that somebody meddles with, in a hundred.
    pub meddled_percent: u64,
    /// Largest file, bytes.
    pub largest: u64,
    /// Limits of every device; those of the product if there are none.
    pub knobs: Option<Knobs>,
}

impl Plan {
    /// The plan of `seed`.
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed, Domain::ShellPlan, 0);
        let hosts = [2, 2, 2, 3, 3, 4][dice.index(6)];
        let shape = [Shape::Star, Shape::Chain, Shape::Mesh][dice.index(3)];
        let rounds = if dice.percent(70) { 1 } else { 2 };
        let edits = dice.range(2, 12);
        let unrest_ms = dice.range(1_000, 12_000);
        let mut troubles = BTreeSet::new();
        if !dice.percent(10) {
            let share = dice.range(10, 70);
            // What came last draws from a stream of its own, so that seeds without it are what they were.
            let mut late = Dice::new(seed, Domain::ShellPlan, 1);
            let mut draw = |trouble| if trouble == Trouble::Late { &mut late } else { &mut dice }.percent(share);
            troubles.extend(Trouble::ALL.into_iter().filter(|trouble| draw(*trouble)));
        }
        let way = way(&mut dice, &troubles);
        let disk_percent = dice.range(2, 30);
        let meddled_percent = dice.range(5, 60);
        let largest = [300, 5_000, 80_000, 600_000][dice.index(4)];
        let knobs = Knobs {
            small_bytes: [64, 4_096, 64 << 10][dice.index(3)],
            request_bytes: [20_000, 200_000, 4 << 20][dice.index(3)],
            request_items: [1, 8, 256][dice.index(3)],
            unsealed_bytes: [20_000, 8 << 20][dice.index(2)],
            apply_ops: [1, 4, 256][dice.index(3)],
            rescan_secs: dice.range(8, 15),
            ..Knobs::plain()
        };
        let knobs = Some(knobs);
        Self { hosts, shape, rounds, edits, unrest_ms, troubles, way, disk_percent, meddled_percent, largest, knobs }
    }

    /// `hosts` hosts with the limits of the product and nothing wrong; nobody does anything by himself.
    pub fn quiet(hosts: usize, shape: Shape) -> Self {
        let (troubles, knobs) = (BTreeSet::new(), None);
        let (rounds, edits, unrest_ms, disk_percent, meddled_percent, largest) = (0, 0, 0, 0, 0, 0);
        let way = Way::CALM;
        Self { hosts, shape, rounds, edits, unrest_ms, troubles, way, disk_percent, meddled_percent, largest, knobs }
    }

    /// Limits of every device.
    pub fn limits(&self) -> Limits {
        let Some(knobs) = &self.knobs else { return Limits::default() };
        // What failed while the disk was bad is to be tried again within the time that hosts have to come to rest.
        Limits { retry: (Duration::from_secs(1), Duration::from_secs(8)), ..knobs.limits() }
    }

    /// How much trash every device keeps. Where processes die all of it stays: it may be all there is of a version then.
    pub fn trash(&self) -> TrashLimits {
        let purges = self.has(Trouble::Purge) && !self.has(Trouble::Crash);
        let max_age = Duration::from_secs(if purges { 3 } else { 86_400 });
        TrashLimits { max_age, max_bytes: 1 << 30, every: max_age }
    }

    /// Whether there is this kind of trouble.
    pub fn has(&self, trouble: Trouble) -> bool {
        self.troubles.contains(&trouble)
    }
}

fn way(dice: &mut Dice, troubles: &BTreeSet<Trouble>) -> Way {
    let mut way = Way { latency_us: dice.range(0, 20) * 1_000, ..Way::CALM };
    for trouble in troubles {
        match trouble {
            Trouble::Loss => way.loss_ppm = dice.range(1_000, 100_000),
            Trouble::Burst => (way.burst_ppm, way.burst_us) = (dice.range(500, 5_000), dice.range(5, 300) * 1_000),
            Trouble::Duplicate => way.duplicate_ppm = dice.range(1_000, 100_000),
            Trouble::Corrupt => way.corrupt_ppm = dice.range(1_000, 50_000),
            Trouble::Reorder => {
                (way.reorder_ppm, way.reorder_us) = (dice.range(1_000, 50_000), dice.range(1, 100) * 1_000)
            }
            Trouble::Mtu => way.mtu = usize::try_from(dice.range(1_200, 1_500)).unwrap_or(1_200),
            Trouble::Rate => {
                way.rate = dice.range(20_000, 2_000_000);
                way.queue = way.rate / dice.range(5, 50) + 3_000;
                way.mark = if dice.percent(50) { way.queue / 2 } else { 0 };
            }
            Trouble::Latency => way.latency_us = dice.range(50, 400) * 1_000,
            Trouble::Partition
            | Trouble::OneWay
            | Trouble::Crash
            | Trouble::Disk
            | Trouble::Hints
            | Trouble::Skew
            | Trouble::Stranger
            | Trouble::Root
            | Trouble::Meddling
            | Trouble::Purge
            | Trouble::Late => {}
        }
    }
    way
}

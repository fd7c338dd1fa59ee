//! What kind of world a run has: how many devices, which limits, and what strikes by chance.

use crate::dice::{Dice, Domain};
use core::time::Duration;
use serde::{Deserialize, Serialize};
use sync_core::Limits;

/// How many names people like.
pub const NAMES: usize = 6;
/// Time between periodic scans that are to make up for nothing, seconds: longer than all may take to come to rest.
const SELDOM_SECS: u64 = 3_600;

/// What strikes by chance, each with how often it does, in percent of its occasions. Zero is never.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Chances {
    /// A connection breaks some time.
    pub drops: u8,
    /// A request's answer breaks off.
    pub cuts: u8,
    /// A way is slow.
    pub delays: u8,
    /// A lane is overtaken by the other one.
    pub reorder: u8,
    /// Bytes of a content arrive other than they were.
    pub corrupt: u8,
    /// The watcher misses a change.
    pub hints: u8,
    /// The watcher names a change twice.
    pub doubles: u8,
    /// A file is written to while it is read.
    pub busy: u8,
    /// A job of the disk takes long.
    pub slow: u8,
    /// A person acts on a path that is just being changed.
    pub meddling: u8,
}

impl Chances {
    /// Each by its name.
    pub fn each(&mut self) -> [(&'static str, &mut u8); 10] {
        [
            ("drops", &mut self.drops),
            ("cuts", &mut self.cuts),
            ("delays", &mut self.delays),
            ("reorder", &mut self.reorder),
            ("corrupt", &mut self.corrupt),
            ("hints", &mut self.hints),
            ("doubles", &mut self.doubles),
            ("busy", &mut self.busy),
            ("slow", &mut self.slow),
            ("meddling", &mut self.meddling),
        ]
    }
}

/// Limits of every node that a run varies. Units are in the names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // They are the core's, which explains them.
pub struct Knobs {
    pub batch_rows: usize,
    pub batch_bytes: usize,
    pub probe_paths: usize,
    pub probes: usize,
    pub apply_ops: usize,
    pub applies: usize,
    pub plan_paths: usize,
    pub transfers: usize,
    pub small_bytes: u64,
    pub request_bytes: u64,
    pub request_items: usize,
    pub peer_window_bytes: u64,
    pub unsealed_bytes: u64,
    pub asks: usize,
    pub rescan_secs: u64,
}

impl Knobs {
    fn draw(dice: &mut Dice, largest: u64) -> Self {
        let mut knobs = Self {
            batch_rows: [3, 20, 1_000][dice.index(3)],
            batch_bytes: [200, 1 << 20][dice.index(2)],
            probe_paths: [1, 4, 128][dice.index(3)],
            probes: [1, 4][dice.index(2)],
            apply_ops: [1, 4, 256][dice.index(3)],
            applies: [1, 2][dice.index(2)],
            plan_paths: [2, 16, 512][dice.index(3)],
            transfers: [2, 4_096][dice.index(2)],
            small_bytes: [0, 64, 4_096][dice.index(3)],
            request_bytes: [64, 1_000, 4 << 20][dice.index(3)],
            request_items: [1, 8, 256][dice.index(3)],
            peer_window_bytes: [100, 16 << 20][dice.index(2)],
            unsealed_bytes: [64, 8 << 20][dice.index(2)],
            asks: [2, 64][dice.index(2)],
            rescan_secs: dice.range(20, 60),
        };
        // Many small requests for large files would only take time.
        if largest > 2_000 {
            knobs.request_bytes = knobs.request_bytes.max(20_000);
            knobs.peer_window_bytes = 16 << 20;
        }
        knobs
    }

    /// Takes one limit over from others: one function for each.
    pub const TAKES: [fn(&mut Self, &Self); 15] = [
        |to, from| to.batch_rows = from.batch_rows,
        |to, from| to.batch_bytes = from.batch_bytes,
        |to, from| to.probe_paths = from.probe_paths,
        |to, from| to.probes = from.probes,
        |to, from| to.apply_ops = from.apply_ops,
        |to, from| to.applies = from.applies,
        |to, from| to.plan_paths = from.plan_paths,
        |to, from| to.transfers = from.transfers,
        |to, from| to.small_bytes = from.small_bytes,
        |to, from| to.request_bytes = from.request_bytes,
        |to, from| to.request_items = from.request_items,
        |to, from| to.peer_window_bytes = from.peer_window_bytes,
        |to, from| to.unsealed_bytes = from.unsealed_bytes,
        |to, from| to.asks = from.asks,
        |to, from| to.rescan_secs = from.rescan_secs,
    ];

    /// Those of a run in which they matter least.
    pub fn plain() -> Self {
        Self {
            batch_rows: 1_000,
            batch_bytes: 1 << 20,
            probe_paths: 128,
            probes: 4,
            apply_ops: 256,
            applies: 2,
            plan_paths: 512,
            transfers: 4_096,
            small_bytes: 4_096,
            request_bytes: 4 << 20,
            request_items: 256,
            peer_window_bytes: 16 << 20,
            unsealed_bytes: 8 << 20,
            asks: 64,
            rescan_secs: 30,
        }
    }

    /// The limits they stand for.
    pub fn limits(&self) -> Limits {
        let Self { batch_rows, batch_bytes, probe_paths, probes, apply_ops, applies, plan_paths, transfers, .. } =
            *self;
        let Self { small_bytes, request_bytes, request_items, peer_window_bytes, unsealed_bytes, asks, .. } = *self;
        let rescan = Duration::from_secs(self.rescan_secs);
        Limits {
            batch_rows,
            batch_bytes,
            probe_paths,
            probes,
            apply_ops,
            applies,
            plan_paths,
            transfers,
            small_bytes,
            request_bytes,
            request_items,
            peer_window_bytes,
            unsealed_bytes,
            asks,
            rescan,
            ..Limits::default()
        }
    }
}

/// The kind of world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Number of devices.
    pub hosts: usize,
    /// Whether every two devices are paired, rather than all with the first.
    pub mesh: bool,
    /// Largest file, bytes.
    pub largest: u64,
    /// How many of the names that people like they use in a directory: with few of them the same paths see much.
    #[serde(default = "names")]
    pub names: usize,
    /// How many of a hundred files may be as large as the largest; others are small.
    #[serde(default = "usual_bulk")]
    pub bulky: u64,
    /// What strikes by chance.
    pub chances: Chances,
    /// Limits of every node.
    pub knobs: Knobs,
}

/// All the names people like.
fn names() -> usize {
    NAMES
}

/// As in a run that is not about large files.
fn usual_bulk() -> u64 {
    10
}

impl Scenario {
    /// Whether it is about large files.
    pub fn is_bulky(&self) -> bool {
        self.bulky > usual_bulk()
    }

    /// The scenario of `seed`; without any chances if it is a quiet one.
    pub fn of(seed: u64, quiet: bool) -> Self {
        let mut dice = Dice::new(seed, Domain::Scenario, 0);
        let hosts = [2, 2, 2, 2, 2, 3, 3, 3, 3, 4][dice.index(10)];
        let mesh = dice.percent(50);
        // Some runs are about few paths, some about large files.
        let names = if dice.percent(35) { 1 + dice.index(2) } else { NAMES };
        let bulky = if dice.percent(20) { 60 } else { usual_bulk() };
        let largest = if bulky > usual_bulk() { 300_000 } else { [200, 2_000, 20_000, 300_000][dice.index(4)] };
        let mut knobs = Knobs::draw(&mut dice, largest);
        // One request at a time takes long enough for much to happen in between.
        if bulky > usual_bulk() && dice.percent(60) {
            knobs.peer_window_bytes = 20_000;
        }
        let mut chances = Chances::default();
        let share = dice.range(10, 70);
        if !quiet {
            for (_, weight) in chances.each() {
                // Most of the time rare: what strikes always hides what comes after it.
                let most = if dice.percent(70) { 30 } else { 100 };
                let drawn = u8::try_from(dice.range(1, most)).unwrap_or(1);
                *weight = if dice.percent(share) { drawn } else { 0 };
            }
        }
        // Where the watcher misses nothing, nothing waits for a periodic scan: half of those runs end before there is one.
        if chances.hints == 0 && Dice::new(seed, Domain::Scenario, 1).percent(50) {
            knobs.rescan_secs = SELDOM_SECS;
        }
        Self { hosts, mesh, largest, names, bulky, chances, knobs }
    }
}

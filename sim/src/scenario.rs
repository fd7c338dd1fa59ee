//! What a seed stands for: how many devices, which limits, which faults, which people.

use crate::dice::Dice;
use core::time::Duration;
use sync_core::Limits;

/// Which kinds of trouble a run has. Each seed draws a subset; some have none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Connections that break.
    pub drops: bool,
    /// Pairs of devices that cannot reach each other for a while.
    pub partitions: bool,
    /// Slow and uneven ways.
    pub delays: bool,
    /// Lanes that overtake each other by far.
    pub reorder: bool,
    /// Processes that die.
    pub crashes: bool,
    /// Machines that lose power.
    pub power: bool,
    /// Reads and writes that fail.
    pub disk: bool,
    /// Roots that are gone for a while.
    pub root: bool,
    /// Wall clocks that are wrong, and jump.
    pub skew: bool,
    /// Bytes that arrive other than they were.
    pub corrupt: bool,
    /// Hints that never come.
    pub hints: bool,
    /// Commits of the index that fail.
    pub index: bool,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Number of devices.
    pub hosts: usize,
    /// Whether every two devices are paired, rather than all with the first.
    pub mesh: bool,
    /// Times that everything is disturbed and then left to come to rest.
    pub rounds: u32,
    /// Changes by people on each device in a round.
    pub edits: u64,
    /// How long a round is disturbed, microseconds.
    pub unrest: u64,
    /// Faults.
    pub faults: Faults,
    /// Limits of every node.
    pub limits: Limits,
    /// Whether people like to act on paths that are just being changed.
    pub meddling: bool,
    /// Largest file, bytes.
    pub largest: u64,
    /// Whether the largest version wins, rather than the newest.
    pub by_size: bool,
}

impl Scenario {
    /// The scenario of `seed`.
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed, 1, 0);
        let hosts = if dice.percent(70) { 2 } else { 3 };
        let mesh = dice.percent(50);
        let rounds = u32::try_from(dice.range(1, 4)).unwrap_or(1);
        let edits = dice.range(2, 24);
        let unrest = dice.range(2, 40) * 1_000_000;
        let mut faults = Faults::default();
        if !dice.percent(10) {
            let share = dice.range(10, 70);
            for fault in [
                &mut faults.drops,
                &mut faults.partitions,
                &mut faults.delays,
                &mut faults.reorder,
                &mut faults.crashes,
                &mut faults.power,
                &mut faults.disk,
                &mut faults.root,
                &mut faults.skew,
                &mut faults.corrupt,
                &mut faults.hints,
                &mut faults.index,
            ] {
                *fault = dice.percent(share);
            }
        }
        let largest = [200, 2_000, 20_000, 300_000][dice.index(4)];
        let limits = Limits {
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
            rescan: Duration::from_secs(dice.range(20, 60)),
            ..Limits::default()
        };
        // Many small requests for large files would only take time.
        let limits = if largest > 2_000 {
            Limits { request_bytes: limits.request_bytes.max(20_000), peer_window_bytes: 16 << 20, ..limits }
        } else {
            limits
        };
        let meddling = dice.percent(50);
        let by_size = dice.percent(20);
        Self { hosts, mesh, rounds, edits, unrest, faults, limits, meddling, largest, by_size }
    }
}

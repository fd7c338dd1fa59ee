//! The five conditions of a network under which scenarios run, each a set of link parameters with a name.

use crate::shell::links::Way;
use serde::Serialize;

/// What the network is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// A wire: 1 ms each way, nothing lost, no limit.
    Perfect,
    /// A house: 10 ms each way, 0.1 % lost, 100 Mbit/s.
    Normal,
    /// A bad mobile line: 75 ms each way, 2 % lost, 0.5 % out of order, 10 Mbit/s.
    Poor,
    /// A full line: 20 ms each way, 5 Mbit/s, a queue of 100 ms that drops what does not fit.
    Congested,
    /// As normal, but dead for 1.5 of every 6 seconds, soon after the start for the first time.
    Intermittent,
}

impl Condition {
    /// All of them, from good to bad.
    pub const ALL: [Self; 5] = [Self::Perfect, Self::Normal, Self::Poor, Self::Congested, Self::Intermittent];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Perfect => "perfect",
            Self::Normal => "normal",
            Self::Poor => "poor",
            Self::Congested => "congested",
            Self::Intermittent => "intermittent",
        }
    }

    /// The links under it.
    pub fn way(self) -> Way {
        let ethernet = 1_472;
        let perfect = Way { latency_us: 1_000, ..Way::CALM };
        let normal =
            Way { latency_us: 10_000, loss_ppm: 1_000, rate: 12_500_000, queue: 1_250_000, mtu: ethernet, ..Way::CALM };
        match self {
            Self::Perfect => perfect,
            Self::Normal | Self::Intermittent => normal,
            Self::Poor => Way {
                latency_us: 75_000,
                loss_ppm: 20_000,
                reorder_ppm: 5_000,
                reorder_us: 30_000,
                rate: 1_250_000,
                queue: 250_000,
                mtu: ethernet,
                ..Way::CALM
            },
            Self::Congested => Way { latency_us: 20_000, rate: 625_000, queue: 62_500, mtu: ethernet, ..Way::CALM },
        }
    }

    /// Whether links are cut in this millisecond.
    pub fn is_cut(self, at_ms: u64) -> bool {
        match self {
            Self::Intermittent => (50..1_550).contains(&(at_ms % 6_000)),
            Self::Perfect | Self::Normal | Self::Poor | Self::Congested => false,
        }
    }

    /// How many times longer than under perfect conditions a scenario may take.
    pub fn patience(self) -> u64 {
        match self {
            Self::Perfect => 1,
            Self::Normal => 2,
            Self::Intermittent => 4,
            Self::Poor | Self::Congested => 20,
        }
    }
}

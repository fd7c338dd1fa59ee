//! What can go from a plan of the turmoil world: rounds, devices, troubles, edits, time, and what is wrong with the links.

use super::{Search, Tape};
use crate::outcome::Outcome;
use crate::scenario::Knobs;
use crate::shell::case::Case;
use crate::shell::links::Way;
use crate::shell::plan::{Plan, Shape, Trouble};

/// Changes that make a plan smaller, or nothing of it.
const SIMPLER: [fn(&mut Plan); 18] = [
    |plan| plan.rounds = 1,
    |plan| plan.hosts = 2,
    |plan| plan.hosts = plan.hosts.min(3),
    |plan| plan.shape = Shape::Star,
    |plan| plan.way = Way::CALM,
    |plan| plan.way = Way { rate: 0, ..plan.way },
    |plan| plan.way = Way { mtu: Way::CALM.mtu, ..plan.way },
    |plan| plan.way = Way { latency_us: Way::CALM.latency_us, ..plan.way },
    |plan| plan.way = Way { loss_ppm: 0, burst_ppm: 0, ..plan.way },
    |plan| plan.way = Way { duplicate_ppm: 0, corrupt_ppm: 0, reorder_ppm: 0, ..plan.way },
    |plan| plan.knobs = Some(Knobs::plain()),
    |plan| plan.largest = plan.largest.min(300),
    |plan| plan.edits /= 2,
    |plan| plan.edits -= plan.edits.min(1),
    |plan| plan.unrest_ms = plan.unrest_ms.min(1_000),
    |plan| plan.unrest_ms /= 2,
    |plan| plan.disk_percent /= 2,
    |plan| plan.meddled_percent /= 2,
];

impl Tape for Case {
    fn live(&self) -> Outcome {
        Self::live(self)
    }

    fn pass(search: &mut Search<Self>) -> bool {
        let mut any = false;
        for trouble in Trouble::ALL {
            any |= search.with(|case| case.plan.troubles.retain(|t| *t != trouble));
        }
        for simpler in SIMPLER {
            any |= search.with(|case| simpler(&mut case.plan));
        }
        any
    }
}

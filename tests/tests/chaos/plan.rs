//! What happens when: a function of the seed.

use sim::dice::{Dice, Domain};

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// The person at a host does something.
    Act(usize),
    /// A process is killed, and started again.
    Kill(usize),
    /// It starts.
    Up(usize),
    /// A process stands still.
    Stop(usize),
    /// It goes on.
    Go(usize),
    /// The wire of this number is cut.
    Cut(usize),
    /// It is mended.
    Mend(usize),
    /// The small disk is filled.
    Fill,
    /// There is room again.
    Empty,
}

/// Everything a run depends on, besides the processes and their pace.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// How many devices.
    pub(crate) hosts: usize,
    /// What happens in each round, with the milliseconds after its beginning.
    pub(crate) rounds: Vec<Vec<(u64, Deed)>>,
}

/// Rounds of each run.
const ROUNDS: u64 = 4;

impl Plan {
    /// What `seed` stands for.
    pub(crate) fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed, Domain::ShellPlan, 0);
        let hosts = dice.index(2) + 2;
        // A part of all faults only, since one may hide what another shows.
        let kinds: [bool; 4] = std::array::from_fn(|_| dice.percent(70));
        let rounds = (0..ROUNDS).map(|number| round(&mut Dice::new(seed, Domain::ShellPlan, 1 + number), hosts, kinds));
        Self { hosts, rounds: rounds.collect() }
    }
}

fn round(dice: &mut Dice, hosts: usize, [kills, stops, cuts, fills]: [bool; 4]) -> Vec<(u64, Deed)> {
    let span = dice.range(800, 2_500);
    let mut steps = Vec::new();
    for host in 0..hosts {
        let busy = if dice.percent(20) { 0 } else { dice.range(3, 20) };
        steps.extend((0..busy).map(|_| (dice.range(0, span), Deed::Act(host))));
        let mut strike = |is_on: bool, begins: Deed, ends: Deed| {
            for _ in 0..if is_on { dice.range(0, 3) } else { 0 } {
                let at = dice.range(0, span);
                steps.extend([(at, begins), (at + dice.range(1, 1_500), ends)]);
            }
        };
        strike(kills, Deed::Kill(host), Deed::Up(host));
        strike(stops, Deed::Stop(host), Deed::Go(host));
        // The first device has a wire to each of the others, and the last one has the small disk.
        if host > 0 {
            strike(cuts, Deed::Cut(host - 1), Deed::Mend(host - 1));
        }
        if host + 1 == hosts {
            strike(fills, Deed::Fill, Deed::Empty);
        }
    }
    steps.sort_by_key(|(at, _)| *at);
    steps
}

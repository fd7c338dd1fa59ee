//! What can go from a tape of the core world: rounds, devices, faults, steps, values.

use super::{Search, Tape};
use crate::case::{Case, Deed, Round, Step};
use crate::outcome::Outcome;
use crate::run::run_case;
use crate::scenario::Knobs;

impl Tape for Case {
    fn live(&self) -> Outcome {
        run_case(self.clone(), false)
    }

    fn pass(search: &mut Search<Self>) -> bool {
        let passes = [
            Search::rounds,
            Search::devices,
            Search::faults,
            Search::steps,
            Search::knobs,
            Search::values,
            Search::times,
            Search::seeds,
        ];
        let mut any = false;
        for pass in passes {
            any |= pass(search);
        }
        any
    }
}

impl Search<Case> {
    fn rounds(&mut self) -> bool {
        let mut any = false;
        for n in (0..self.best.rounds.len()).rev() {
            any |= self.best.rounds.len() > 1 && self.with(|case| drop(case.rounds.remove(n)));
        }
        any
    }

    fn devices(&mut self) -> bool {
        let mut any = false;
        for host in (0..self.best.scenario.hosts).rev() {
            any |= self.best.scenario.hosts > 1 && self.with(|case| without_host(case, host));
        }
        any
    }

    fn faults(&mut self) -> bool {
        let mut any = false;
        for n in 0..self.best.scenario.chances.each().len() {
            any |= self.with(|case| *case.scenario.chances.each()[n].1 = 0);
        }
        for n in 0..self.best.rounds.len() {
            any |= self.with(|case| case.rounds[n].broken = None);
            any |= self.with(|case| case.rounds[n].apart = None);
            any |= self.with(|case| case.rounds[n].nudge = true);
        }
        any | self.with(|case| case.scenario.mesh = false)
    }

    /// Takes steps away: half of them, a quarter, and so on down to single ones.
    fn steps(&mut self) -> bool {
        let mut any = false;
        for round in (0..self.best.rounds.len()).map(Some).chain([None]) {
            let mut size = steps_of(&mut self.best, round).len().next_power_of_two();
            while size > 0 {
                let mut at = 0;
                while at < steps_of(&mut self.best, round).len() {
                    let gone = self.with(|case| {
                        let steps = steps_of(case, round);
                        steps.drain(at..(at + size).min(steps.len()));
                    });
                    any |= gone;
                    at += if gone { 0 } else { size };
                }
                size /= 2;
            }
        }
        any
    }

    fn knobs(&mut self) -> bool {
        let plain = Knobs::plain();
        let mut any = self.with(|case| case.scenario.knobs = plain.clone());
        for take in Knobs::TAKES {
            any |= self.with(|case| take(&mut case.scenario.knobs, &plain));
        }
        any | self.with(|case| case.scenario.largest = case.scenario.largest.min(200))
    }

    /// Makes draws and spans small.
    fn values(&mut self) -> bool {
        let mut any = false;
        for round in (0..self.best.rounds.len()).map(Some).chain([None]) {
            for at in 0..steps_of(&mut self.best, round).len() {
                for simpler in simpler(&steps_of(&mut self.best, round)[at].deed.clone()) {
                    any |= self.with(|case| steps_of(case, round)[at].deed = simpler);
                }
            }
        }
        any
    }

    /// Makes rounds short, and times round.
    fn times(&mut self) -> bool {
        let mut any = false;
        for n in 0..self.best.rounds.len() {
            any |= self.with(|case| case.rounds[n].unrest_us /= 2);
            let last = self.best.rounds[n].steps.last().map_or(0, |step| step.at_us);
            any |= self.with(|case| case.rounds[n].unrest_us = last + 1_000_000);
            for at in 0..self.best.rounds[n].steps.len() {
                for unit in [1_000_000, 100_000, 1_000] {
                    if self.with(|case| round_time(&mut case.rounds[n], at, unit)) {
                        any = true;
                        break;
                    }
                }
            }
        }
        any
    }

    /// Another seed may do: a small one is easier to remember.
    fn seeds(&mut self) -> bool {
        (0..4).any(|seed| seed < self.best.seed && self.with(|case| case.seed = seed))
    }
}

fn steps_of(case: &mut Case, round: Option<usize>) -> &mut Vec<Step> {
    match round {
        Some(round) => &mut case.rounds[round].steps,
        None => &mut case.before,
    }
}

fn round_time(round: &mut Round, at: usize, unit: u64) {
    let step = &mut round.steps[at];
    step.at_us = step.at_us / unit * unit;
    round.steps.sort_by_key(|step| step.at_us);
}

/// The case without one device: those behind it move up.
fn without_host(case: &mut Case, gone: usize) {
    case.scenario.hosts -= 1;
    let keeps = |step: &mut Step| {
        let named = step.deed.hosts();
        step.deed.move_hosts(|host| if host > gone { host - 1 } else { host });
        let [a, b] = step.deed.hosts();
        // What happened between two devices cannot happen between one.
        !named.contains(&gone) && (named[0] == named[1] || a != b)
    };
    case.before.retain_mut(keeps);
    // Of two devices that never meet, with nobody between them, nothing is to be expected.
    let relays = case.scenario.hosts > 2;
    for round in &mut case.rounds {
        round.steps.retain_mut(keeps);
        let moved = |host: usize| host - usize::from(host > gone);
        round.apart = round.apart.filter(|(a, b)| *a != gone && *b != gone && relays);
        round.apart = round.apart.map(|(a, b)| (moved(a), moved(b)));
        round.broken = round.broken.filter(|(host, _)| *host != gone).map(|(host, how)| (moved(host), how));
    }
}

/// Simpler variants of a deed, the simplest first.
fn simpler(deed: &Deed) -> Vec<Deed> {
    let numbers = |was: u64| [0, 1, 2, 3, was / 10, was / 2].into_iter().filter(move |n| *n < was);
    let spans = |was: u64| [10_000, 1_000_000].into_iter().filter(move |n| *n < was);
    let variant = |change: &dyn Fn(&mut Deed)| {
        let mut out = deed.clone();
        change(&mut out);
        out
    };
    let mut out = Vec::new();
    let mut probe = deed.clone();
    if let Some(draw) = probe.draw_mut() {
        out.extend(numbers(*draw).map(|n| variant(&|d| d.draw_mut().into_iter().for_each(|draw| *draw = n))));
    }
    if let Some(span) = probe.span_mut() {
        out.extend(spans(*span).map(|n| variant(&|d| d.span_mut().into_iter().for_each(|span| *span = n))));
    }
    out
}

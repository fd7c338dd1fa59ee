//! The core world on a tape that bytes stand for: whatever comes on it, everything that must hold does.

use crate::case::{Act, Breakage, Case, Deed, Part, Round, Rule, Step, Trouble};
use crate::run::run_case;
use crate::scenario::Scenario;
use arbitrary::{Result, Unstructured};

/// Steps of one tape.
const STEPS: u32 = 60;
/// What people do.
const ACTS: [Act; 13] = [
    Act::Save,
    Act::AtomicSave,
    Act::QuietSave,
    Act::SaveAgain,
    Act::Delete,
    Act::DeleteAll,
    Act::Touch,
    Act::Rename,
    Act::Swap,
    Act::MakeDir,
    Act::Link,
    Act::ChangeType,
    Act::SettleCopy,
];

/// Lives through the case that the bytes stand for. Its text is told where it does not hold: it is a case file.
pub fn scenario_tape(bytes: &[u8]) {
    let mut u = Unstructured::new(bytes);
    // Reading never fails: bytes that have run out are zeros.
    let Ok(case) = case(&mut u) else { return };
    let outcome = run_case(case.clone(), false);
    assert!(outcome.violations.is_empty(), "{:?}\n{}", outcome.violations, case.to_text());
}

/// The case of these bytes: the world of a small seed, and a tape of their own.
fn case(u: &mut Unstructured<'_>) -> Result<Case> {
    let seed = u64::from(u.arbitrary::<u16>()?);
    let template = Case::of(seed);
    let mut tape = Tape { hosts: template.scenario.hosts, next: 0, leaves: false };
    let before = tape.before(u)?;
    let count = u.int_in_range(1..=2_u8)?;
    let rounds = (0..count).map(|n| tape.round(u, n + 1 == count, &template.scenario)).collect::<Result<_>>()?;
    Ok(Case { before, rounds, ..template })
}

struct Tape {
    hosts: usize,
    next: u32,
    /// Whether a device leaves for good: once is enough.
    leaves: bool,
}

impl Tape {
    fn step(&mut self, at_us: u64, deed: Deed) -> Step {
        self.next += 1;
        Step { id: self.next, at_us, deed }
    }

    fn host(&self, u: &mut Unstructured<'_>) -> Result<usize> {
        u.int_in_range(0..=self.hosts - 1)
    }

    fn act(&self, u: &mut Unstructured<'_>) -> Result<Deed> {
        Ok(Deed::Act { host: self.host(u)?, act: *u.choose(&ACTS)?, draw: u64::from(u.arbitrary::<u8>()?) })
    }

    fn before(&mut self, u: &mut Unstructured<'_>) -> Result<Vec<Step>> {
        let count = u.int_in_range(0..=6_u8)?;
        let acts: Vec<Deed> = (0..count).map(|_| self.act(u)).collect::<Result<_>>()?;
        Ok(acts.into_iter().map(|act| self.step(0, act)).collect())
    }

    fn round(&mut self, u: &mut Unstructured<'_>, is_last: bool, scenario: &Scenario) -> Result<Round> {
        let flags: u8 = u.arbitrary()?;
        let mut steps = Vec::new();
        let mut at_us = 0;
        while !u.is_empty() && self.next < STEPS && u.arbitrary::<u8>()? != 0xff {
            at_us += 1 << u.int_in_range(8..=22_u8)?;
            let deed = self.deed(u, is_last, scenario)?;
            steps.push(self.step(at_us, deed));
        }
        let mut broken = None;
        // The first device holds the others together, unless all are paired.
        if is_last && flags & 2 != 0 && self.hosts > 2 && !self.leaves {
            let ways = [Breakage::Down, Breakage::Disk, Breakage::Root, Breakage::Cut];
            broken = Some((u.int_in_range(usize::from(!scenario.mesh)..=self.hosts - 1)?, *u.choose(&ways)?));
        }
        let is_apart = flags & 4 != 0 && broken.is_none() && !self.leaves && scenario.mesh && self.hosts > 2;
        let one = usize::from(flags >> 3) % self.hosts;
        let apart = is_apart.then_some((one, (one + 1) % self.hosts));
        Ok(Round { unrest_us: at_us + 2_000_000, nudge: flags & 1 != 0, broken, apart, steps })
    }

    fn deed(&mut self, u: &mut Unstructured<'_>, is_last: bool, scenario: &Scenario) -> Result<Deed> {
        let kind = u.int_in_range(0..=39_u8)?;
        if kind < 16 {
            return self.act(u);
        }
        let host = self.host(u)?;
        let other = (host + 1 + u.int_in_range(0..=self.hosts - 2)?) % self.hosts;
        let span = 1_000 << u.int_in_range(0..=13_u8)?;
        let draw = u64::from(u.arbitrary::<u8>()?);
        let first = usize::from(!scenario.mesh);
        Ok(match kind {
            16 => Deed::Crash { host, down_us: span },
            17 => Deed::DieAmid { host, parts: draw % 40, loses_power: draw & 64 != 0, down_us: span },
            18 | 19 => Deed::PowerLoss { host, down_us: span, draw },
            20 | 21 => Deed::Stop { host, down_us: span },
            22 => Deed::Pause { host, for_us: span },
            23 => Deed::Stall { host, for_us: span },
            24 => {
                let part = *u.choose(&[Part::Tree, Part::Staging, Part::Reading])?;
                let error = *u.choose(&[Trouble::Io, Trouble::Full, Trouble::Denied])?;
                Deed::DiskError { host, part, error, for_us: span }
            }
            25 => Deed::LoseRoot { host, for_us: span },
            26 => Deed::Rot { host, draw },
            27 => {
                let skew_ns = (i64::from(u.arbitrary::<i8>()?)) << u.int_in_range(0..=50_u8)?;
                Deed::SetClock { host, skew_ns, drift_ppm: i64::from(u.arbitrary::<i8>()?) * 1_000 }
            }
            28 => Deed::Cut { a: host, b: other, for_us: span },
            29 => Deed::OneWay { from: host, to: other, for_us: span },
            30 => Deed::Break { a: host, b: other },
            31 => Deed::IndexError { host, calls: draw % 50 },
            32 => Deed::BackUp { host },
            33 => Deed::Restore { host, down_us: span, disk: false, unnoticed: false },
            34 => Deed::Policy { host, policy: *u.choose(&[Rule::Newest, Rule::Largest, Rule::FirstHost])? },
            35 => Deed::Verify { host },
            36 => Deed::PauseFolder { host, for_us: span },
            37 => Deed::Stranger { host, draw },
            38 if is_last && !self.leaves && host >= first && host != 0 => {
                self.leaves = true;
                if draw & 1 == 0 { Deed::Remove { by: 0, host } } else { Deed::Retire { by: 0, host } }
            }
            _ => Deed::LoseIndex { host, down_us: span },
        })
    }
}

//! A case: everything that a run of the core world depends on, written out. A seed stands for one; the shrinker makes
//! smaller ones; those that once found a bug are kept in `sim/cases` and outlive every change of the generator.

use crate::dice::{Dice, Domain};
use crate::scenario::Scenario;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use sync_core::ItemErrorKind;
use sync_core::index::PolicyChoice;

/// The format of case files.
const FORMAT: u32 = 1;

/// Everything a run depends on, besides the code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The format of this file.
    pub format: u32,
    /// Decides what the tape leaves open: delays, and what strikes by chance.
    pub seed: u64,
    /// What was found with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The seeded fault of our own code that it finds; the code as it is must hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mutant: Option<String>,
    /// The kind of world.
    pub scenario: Scenario,
    /// What people have on their disks before anything starts.
    pub before: Vec<Step>,
    /// Times of unrest, each followed by rest.
    pub rounds: Vec<Round>,
}

/// A time of unrest, and how it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Round {
    /// How long it is, microseconds.
    pub unrest_us: u64,
    /// Whether people tell their devices to dial when it is over.
    pub nudge: bool,
    /// The device that stays broken after it, and how: the others must come to rest without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<(usize, Breakage)>,
    /// Two devices that do not reach each other all the while, nor in the rest that follows: others carry things over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apart: Option<(usize, usize)>,
    /// What happens.
    pub steps: Vec<Step>,
}

/// How a device stays broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Breakage {
    /// It is off.
    Down,
    /// Its disk takes no writes.
    Disk,
    /// Its root is gone.
    Root,
    /// Nobody reaches it.
    Cut,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its number: what it writes bears it, whatever else is on the tape.
    pub id: u32,
    /// When, microseconds after the round began.
    pub at_us: u64,
    /// What.
    #[serde(flatten)]
    pub deed: Deed,
}

/// What people do to their folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // They say it.
pub enum Act {
    Save,
    AtomicSave,
    QuietSave,
    SaveAgain,
    Delete,
    DeleteAll,
    Touch,
    Rename,
    Swap,
    MakeDir,
    Link,
    ChangeType,
    SettleCopy,
}

/// What happens. `draw` decides what the disk must be looked at for: which of the paths that are there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
#[allow(missing_docs)] // Hosts are numbers; times are in the names.
pub enum Deed {
    /// A person acts.
    Act { host: usize, act: Act, draw: u64 },
    /// The process is killed.
    Crash { host: usize, down_us: u64 },
    /// The process is killed, or the machine loses power, after so many more parts of large files have been written, or,
    /// where there are no large files, changes of the tree been made that nobody has heard of yet.
    DieAmid { host: usize, parts: u64, loses_power: bool, down_us: u64 },
    /// The machine loses power: what was not durable may be gone, in part.
    PowerLoss { host: usize, down_us: u64, draw: u64 },
    /// A person stops the daemon.
    Stop { host: usize, down_us: u64 },
    /// The process stands still.
    Pause { host: usize, for_us: u64 },
    /// The disk stands still.
    Stall { host: usize, for_us: u64 },
    /// A part of the disk fails.
    DiskError { host: usize, part: Part, error: Trouble, for_us: u64 },
    /// The root is not there.
    LoseRoot { host: usize, for_us: u64 },
    /// A bit of a staged file flips.
    Rot { host: usize, draw: u64 },
    /// The wall clock jumps: wrong by `skew_ns` from now on, and drifting by `drift_ppm`.
    SetClock { host: usize, skew_ns: i64, drift_ppm: i64 },
    /// Two devices do not reach each other.
    Cut { a: usize, b: usize, for_us: u64 },
    /// Nothing gets from one device to another; the other way is open.
    OneWay { from: usize, to: usize, for_us: u64 },
    /// Every connection between two devices breaks.
    Break { a: usize, b: usize },
    /// The index fails after so many calls.
    IndexError { host: usize, calls: u64 },
    /// The index is kept as a backup.
    BackUp { host: usize },
    /// The index is set back to its backup, and with `disk` the whole machine. Such a machine may be `unnoticed`, as where
    /// a snapshot of it is put back that was made while it was off: file, machine and boot are those of then.
    Restore {
        host: usize,
        down_us: u64,
        #[serde(default)]
        disk: bool,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unnoticed: bool,
    },
    /// The index is gone. Its person shares the folder and pairs again.
    LoseIndex { host: usize, down_us: u64 },
    /// The folder gets another policy.
    Policy { host: usize, policy: Rule },
    /// Everything is read again and compared.
    Verify { host: usize },
    /// The folder is paused.
    PauseFolder { host: usize, for_us: u64 },
    /// A device that was never paired connects and talks.
    Stranger { host: usize, draw: u64 },
    /// A member says what it should not, in the middle of what it should.
    Hostile { host: usize, for_us: u64 },
    /// A device removes another for good.
    Remove { by: usize, host: usize },
    /// A device is off for the rest of the round, and another does not wait for it any more; then it comes back.
    Retire { by: usize, host: usize },
}

/// A part of the disk that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // They say it.
pub enum Part {
    Tree,
    Staging,
    Reading,
}

/// How it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // They say it.
pub enum Trouble {
    Io,
    Full,
    Denied,
}

impl Trouble {
    /// What the core is told.
    pub fn kind(self) -> ItemErrorKind {
        match self {
            Self::Io => ItemErrorKind::Io,
            Self::Full => ItemErrorKind::DiskFull,
            Self::Denied => ItemErrorKind::PermissionDenied,
        }
    }
}

/// Who wins conflicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // They say it.
pub enum Rule {
    Newest,
    Largest,
    FirstHost,
}

impl Rule {
    /// What the core is told, where `first` is the first device.
    pub fn choice(self, first: sync_core::DeviceId) -> PolicyChoice {
        match self {
            Self::Newest => PolicyChoice::Newest,
            Self::Largest => PolicyChoice::Largest,
            Self::FirstHost => PolicyChoice::Prefer(vec![first]),
        }
    }
}

impl Deed {
    /// Its name, as the tally of faults has it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Act { .. } => "act",
            Self::Crash { .. } => "crash",
            Self::DieAmid { .. } => "die-amid",
            Self::PowerLoss { .. } => "power-loss",
            Self::Stop { .. } => "stop",
            Self::Pause { .. } => "pause",
            Self::Stall { .. } => "stall",
            Self::DiskError { .. } => "disk-error",
            Self::LoseRoot { .. } => "lose-root",
            Self::Rot { .. } => "rot",
            Self::SetClock { .. } => "set-clock",
            Self::Cut { .. } => "cut",
            Self::OneWay { .. } => "one-way",
            Self::Break { .. } => "break",
            Self::IndexError { .. } => "index-error",
            Self::BackUp { .. } => "back-up",
            Self::Restore { .. } => "restore",
            Self::LoseIndex { .. } => "lose-index",
            Self::Policy { .. } => "policy",
            Self::Verify { .. } => "verify",
            Self::PauseFolder { .. } => "pause-folder",
            Self::Stranger { .. } => "stranger",
            Self::Hostile { .. } => "hostile",
            Self::Remove { .. } => "remove",
            Self::Retire { .. } => "retire",
        }
    }

    /// The devices it names; twice the same if it is about one.
    pub fn hosts(&self) -> [usize; 2] {
        let mut named = Vec::new();
        self.clone().move_hosts(|host| {
            named.push(host);
            host
        });
        [named[0], *named.last().unwrap_or(&named[0])]
    }

    /// Makes it about other devices.
    pub fn move_hosts(&mut self, mut to: impl FnMut(usize) -> usize) {
        match self {
            Self::Act { host, .. }
            | Self::Crash { host, .. }
            | Self::DieAmid { host, .. }
            | Self::PowerLoss { host, .. }
            | Self::Stop { host, .. }
            | Self::Pause { host, .. }
            | Self::Stall { host, .. }
            | Self::DiskError { host, .. }
            | Self::LoseRoot { host, .. }
            | Self::Rot { host, .. }
            | Self::SetClock { host, .. }
            | Self::IndexError { host, .. }
            | Self::BackUp { host }
            | Self::Restore { host, .. }
            | Self::LoseIndex { host, .. }
            | Self::Policy { host, .. }
            | Self::Verify { host }
            | Self::PauseFolder { host, .. }
            | Self::Stranger { host, .. }
            | Self::Hostile { host, .. } => *host = to(*host),
            Self::Cut { a, b, .. } | Self::Break { a, b } => (*a, *b) = (to(*a), to(*b)),
            Self::OneWay { from, to: other, .. } => (*from, *other) = (to(*from), to(*other)),
            Self::Remove { by, host } | Self::Retire { by, host } => (*by, *host) = (to(*by), to(*host)),
        }
    }

    /// What decides which of the paths that are there it is about.
    #[allow(clippy::wildcard_enum_match_arm)] // Most have none.
    pub fn draw_mut(&mut self) -> Option<&mut u64> {
        match self {
            Self::Act { draw, .. }
            | Self::PowerLoss { draw, .. }
            | Self::Rot { draw, .. }
            | Self::Stranger { draw, .. }
            | Self::DieAmid { parts: draw, .. }
            | Self::IndexError { calls: draw, .. } => Some(draw),
            _ => None,
        }
    }

    /// How long it lasts, microseconds.
    #[allow(clippy::wildcard_enum_match_arm)] // Many happen at once.
    pub fn span_mut(&mut self) -> Option<&mut u64> {
        match self {
            Self::Crash { down_us: span, .. }
            | Self::DieAmid { down_us: span, .. }
            | Self::PowerLoss { down_us: span, .. }
            | Self::Stop { down_us: span, .. }
            | Self::Restore { down_us: span, .. }
            | Self::LoseIndex { down_us: span, .. }
            | Self::Pause { for_us: span, .. }
            | Self::Stall { for_us: span, .. }
            | Self::DiskError { for_us: span, .. }
            | Self::LoseRoot { for_us: span, .. }
            | Self::Cut { for_us: span, .. }
            | Self::OneWay { for_us: span, .. }
            | Self::PauseFolder { for_us: span, .. }
            | Self::Hostile { for_us: span, .. } => Some(span),
            _ => None,
        }
    }
}

impl Case {
    /// The case that `seed` stands for.
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed, Domain::Tape, 0);
        let quiet = dice.percent(10);
        let scenario = Scenario::of(seed, quiet);
        let mut tape = Tape::new(seed, &scenario, quiet, &mut dice);
        let before = (0..scenario.hosts).flat_map(|host| tape.before(host)).collect();
        let count = dice.range(1, 4).max(1 + u64::from(tape.spared.is_some()));
        let rounds = (0..count).map(|n| tape.round(n, n + 1 == count, &mut dice)).collect();
        Self { format: FORMAT, seed, note: None, mutant: None, scenario, before, rounds }
    }

    /// Reads a case file.
    ///
    /// # Errors
    /// What is wrong with the text, and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let case: Self = serde_json::from_str(text).map_err(|e| format!("not a case file: {e}"))?;
        if case.format != FORMAT {
            return Err(format!("a case file of format {}, where {FORMAT} is known", case.format));
        }
        let hosts = case.scenario.hosts;
        let known = |step: &&Step| step.deed.hosts().iter().any(|host| *host >= hosts);
        let apart = case.rounds.iter().filter_map(|round| round.apart);
        if let Some((a, b)) = apart.into_iter().find(|(a, b)| *a >= hosts || *b >= hosts || a == b) {
            return Err(format!("devices {a} and {b} cannot be apart where there are {hosts}"));
        }
        match case.before.iter().chain(case.rounds.iter().flat_map(|r| &r.steps)).find(known) {
            Some(step) => Err(format!("step {} names a device beyond the {hosts} that there are", step.id)),
            None if !(1..=16).contains(&hosts) => Err("a case has 1 to 16 devices".into()),
            None => Ok(case),
        }
    }

    /// The case file: one step a line.
    pub fn to_text(&self) -> String {
        let mut out = format!("{{\n  \"format\": {},\n  \"seed\": {},\n", self.format, self.seed);
        for (name, text) in [("note", &self.note), ("mutant", &self.mutant)] {
            if let Some(text) = text {
                out += &format!("  \"{name}\": {},\n", line(text));
            }
        }
        out += &format!("  \"scenario\": {},\n", line(&self.scenario));
        let steps = |steps: &[Step], indent: &str| {
            let lines: Vec<String> = steps.iter().map(|step| format!("\n{indent}  {}", line(step))).collect();
            if lines.is_empty() { "[]".to_owned() } else { format!("[{}\n{indent}]", lines.join(",")) }
        };
        out += &format!("  \"before\": {},\n  \"rounds\": [", steps(&self.before, "  "));
        for (i, round) in self.rounds.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            out += &format!("{comma}\n    {{\n      \"unrest_us\": {}, \"nudge\": {},", round.unrest_us, round.nudge);
            if let Some(broken) = &round.broken {
                out += &format!(" \"broken\": {},", line(broken));
            }
            if let Some(apart) = &round.apart {
                out += &format!(" \"apart\": {},", line(apart));
            }
            out += &format!("\n      \"steps\": {}\n    }}", steps(&round.steps, "      "));
        }
        out + "\n  ]\n}\n"
    }

    /// How many steps it has.
    pub fn steps(&self) -> usize {
        self.before.len() + self.rounds.iter().map(|r| r.steps.len()).sum::<usize>()
    }
}

/// A value as one line of JSON.
fn line<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// What a seed draws its tape with.
struct Tape {
    seed: u64,
    hosts: usize,
    mesh: bool,
    next_id: u32,
    /// Changes by each person in a round.
    acts: u64,
    /// Which kinds of trouble this run has.
    kinds: Vec<Kind>,
    /// Whether a device is removed or retired in the last round, and whether one stays broken.
    leaves: bool,
    breaks: bool,
    /// Whether one is retired in an earlier round, and comes back in the next.
    returns: bool,
    /// Whether a member says what it should not for a while.
    hostile: bool,
    /// The pair that does not meet in some of the rounds.
    apart: Option<(usize, usize)>,
    /// The device that is spared where all others are set back to backups of the first round.
    spared: Option<usize>,
}

/// Kinds of trouble: what makes one strike a device.
type Kind = fn(&mut Dice, usize, usize) -> Deed;

/// Every kind, and how likely a seed that has trouble is to have it, in percent of the others.
const KINDS: [(u64, Kind); 20] = [
    (100, |d, host, _| Deed::Crash { host, down_us: down(d) }),
    (100, |d, host, _| Deed::Stop { host, down_us: down(d) }),
    (100, |d, host, _| Deed::PowerLoss { host, down_us: down(d), draw: small(d) }),
    (50, die_amid),
    (50, |d, host, _| Deed::Pause { host, for_us: d.range(10_000, 20_000_000) }),
    (50, |d, host, _| Deed::Stall { host, for_us: d.range(10_000, 8_000_000) }),
    (100, |d, host, _| Deed::DiskError { host, part: part(d), error: trouble(d), for_us: d.range(10_000, 8_000_000) }),
    (100, |d, host, _| Deed::LoseRoot { host, for_us: d.range(10_000, 8_000_000) }),
    (50, |d, host, _| Deed::Rot { host, draw: small(d) }),
    (100, |d, host, _| set_clock(d, host)),
    (100, |d, host, hosts| Deed::Cut { a: host, b: other(d, host, hosts), for_us: d.range(10_000, 20_000_000) }),
    (50, |d, host, hosts| Deed::OneWay { from: host, to: other(d, host, hosts), for_us: d.range(10_000, 20_000_000) }),
    (50, |d, host, hosts| Deed::Break { a: host, b: other(d, host, hosts) }),
    (100, |d, host, _| Deed::IndexError { host, calls: d.range(0, 50) }),
    (40, backup),
    (15, |d, host, _| Deed::LoseIndex { host, down_us: down(d) }),
    (20, |d, host, _| Deed::Policy { host, policy: [Rule::Newest, Rule::Largest, Rule::FirstHost][d.index(3)] }),
    (30, |_, host, _| Deed::Verify { host }),
    (30, |d, host, _| Deed::PauseFolder { host, for_us: d.range(10_000, 20_000_000) }),
    (30, |d, host, _| Deed::Stranger { host, draw: small(d) }),
];

fn die_amid(dice: &mut Dice, host: usize, _: usize) -> Deed {
    Deed::DieAmid { host, parts: dice.range(0, 30), loses_power: dice.percent(25), down_us: down(dice) }
}

/// A backup is nothing without the day on which it is needed.
fn backup(dice: &mut Dice, host: usize, _: usize) -> Deed {
    match dice.percent(50) {
        true => Deed::BackUp { host },
        false => restore(dice, host, 10_000_000, 50),
    }
}

fn restore(dice: &mut Dice, host: usize, longest_us: u64, disk: u64) -> Deed {
    let (down_us, disk) = (dice.range(1_000, longest_us), dice.percent(disk));
    Deed::Restore { host, down_us, disk, unnoticed: disk && dice.percent(60) }
}

fn down(dice: &mut Dice) -> u64 {
    dice.range(1_000, 10_000_000)
}

/// A draw that is easy to read.
fn small(dice: &mut Dice) -> u64 {
    dice.range(0, 10_000)
}

fn part(dice: &mut Dice) -> Part {
    [Part::Tree, Part::Staging, Part::Reading][dice.index(3)]
}

fn trouble(dice: &mut Dice) -> Trouble {
    [Trouble::Io, Trouble::Full, Trouble::Denied][dice.index(3)]
}

fn set_clock(dice: &mut Dice, host: usize) -> Deed {
    let span = [1_000_000_000, 3_600_000_000_000, 100_000_000_000_000_000][dice.index(3)];
    let skew_ns = i64::try_from(dice.range(0, 2 * span)).unwrap_or(0) - i64::try_from(span).unwrap_or(0);
    let drift_ppm = if dice.percent(50) { 0 } else { i64::try_from(dice.range(0, 400_000)).unwrap_or(0) - 200_000 };
    Deed::SetClock { host, skew_ns, drift_ppm }
}

fn other(dice: &mut Dice, host: usize, hosts: usize) -> usize {
    (host + 1 + dice.index(hosts - 1)) % hosts
}

/// What people do, by how often they do it.
const ACTS: [(u64, Act); 13] = [
    (24, Act::Save),
    (8, Act::AtomicSave),
    (3, Act::QuietSave),
    (9, Act::SaveAgain),
    (14, Act::Delete),
    (1, Act::DeleteAll),
    (8, Act::Touch),
    (12, Act::Rename),
    (2, Act::Swap),
    (9, Act::MakeDir),
    (5, Act::Link),
    (7, Act::ChangeType),
    (4, Act::SettleCopy),
];

fn act(dice: &mut Dice) -> Act {
    let mut at = dice.range(0, ACTS.iter().map(|(weight, _)| weight).sum());
    for (weight, act) in ACTS {
        match at.checked_sub(weight) {
            Some(rest) => at = rest,
            None => return act,
        }
    }
    Act::Save
}

impl Tape {
    fn new(seed: u64, scenario: &Scenario, quiet: bool, dice: &mut Dice) -> Self {
        let share = dice.range(5, 60);
        let kinds = KINDS.iter().filter(|(weight, _)| dice.percent(share * weight / 100)).map(|(_, kind)| *kind);
        let mut kinds: Vec<Kind> = if quiet { Vec::new() } else { kinds.collect() };
        // What large files are there for.
        if scenario.is_bulky() && !quiet {
            kinds.push(die_amid);
        }
        let Scenario { hosts, mesh, .. } = *scenario;
        let mut rare = |percent: u64, is_on: bool| dice.percent(percent) && is_on && !quiet;
        let (leaves, breaks, hostile) = (rare(4, true), rare(15, hosts > 2), rare(4, true));
        let (returns, sets_back) = (rare(20, true), rare(12, true));
        let acts = dice.range(2, 24);
        let one = dice.index(hosts);
        let apart = Some((one, other(dice, one, hosts))).filter(|_| mesh && hosts > 2 && dice.percent(50));
        let spared = Some(one).filter(|_| sets_back);
        // As often as not nothing else strikes.
        if sets_back && dice.percent(50) {
            kinds.clear();
        }
        Self { seed, hosts, mesh, next_id: 0, acts, kinds, leaves, breaks, returns, hostile, apart, spared }
    }

    /// What sets a device back: a backup that is made while much is still to come, and its return in every later round,
    /// when whoever was spared may die of its index in the middle of the answers.
    fn set_back(&mut self, host: usize, spared: usize, round: u64, unrest_us: u64) -> Vec<Step> {
        // No kind of trouble has this number.
        let mut dice = Dice::new(self.seed, Domain::Tape, 1 + (31 * 8 + host as u64) * 8 + round);
        if round == 0 {
            let (at, for_us) = (dice.range(0, unrest_us / 4), dice.range(unrest_us / 8, unrest_us / 2));
            let later = at + dice.range(for_us / 2, for_us);
            let full = Deed::DiskError { host, part: Part::Tree, error: Trouble::Full, for_us };
            return vec![self.step(at, full), self.step(later, Deed::BackUp { host })];
        }
        let (at, mut deed) = (dice.range(0, unrest_us / 2), restore(&mut dice, host, 3_000_000, 40));
        let back = (at + deed.span_mut().map_or(0, |down_us| *down_us)).min(unrest_us) - 1;
        let fails = Deed::IndexError { host: spared, calls: dice.range(0, 60) };
        vec![self.step(at, deed), self.step(back, fails)]
    }

    fn step(&mut self, at_us: u64, deed: Deed) -> Step {
        self.next_id += 1;
        Step { id: self.next_id, at_us, deed }
    }

    fn acts(&mut self, host: usize, round: u64, count: u64, span: Range<u64>) -> Vec<Step> {
        let mut dice = Dice::new(self.seed, Domain::Acts, host as u64 * 8 + round);
        let deed = |dice: &mut Dice| Deed::Act { host, act: act(dice), draw: small(dice) };
        (0..count)
            .map(|_| (dice.range(span.start, span.end), deed(&mut dice)))
            .map(|(at, d)| self.step(at, d))
            .collect()
    }

    fn before(&mut self, host: usize) -> Vec<Step> {
        let count = Dice::new(self.seed, Domain::Acts, host as u64 * 8 + 6).range(0, 6);
        self.acts(host, 7, count, 0..1)
    }

    fn round(&mut self, number: u64, is_last: bool, dice: &mut Dice) -> Round {
        let unrest_us = dice.range(2, 40) * 1_000_000;
        let mut steps = Vec::new();
        for host in 0..self.hosts {
            // Now and then only one person works.
            let count = if number > 0 && dice.percent(30) { 0 } else { self.acts };
            steps.extend(self.acts(host, number, count, 0..unrest_us));
            for (n, kind) in self.kinds.clone().into_iter().enumerate() {
                let entity = 1 + (n as u64 * 8 + host as u64) * 8 + number;
                let mut dice = Dice::new(self.seed, Domain::Tape, entity);
                for _ in 0..dice.range(0, 4) {
                    let (at, deed) = (dice.range(0, unrest_us), kind(&mut dice, host, self.hosts));
                    steps.push(self.step(at, deed));
                }
            }
        }
        if let Some(spared) = self.spared {
            for host in (0..self.hosts).filter(|host| *host != spared) {
                steps.extend(self.set_back(host, spared, number, unrest_us));
            }
        }
        // The first device holds the others together, unless all are paired.
        let first = usize::from(!self.mesh);
        let one = first + dice.index(self.hosts - first);
        let mut broken = None;
        if self.hostile && dice.percent(50) {
            let (at, for_us) = (dice.range(0, unrest_us), dice.range(100_000, 10_000_000));
            steps.push(self.step(at, Deed::Hostile { host: dice.index(self.hosts), for_us }));
        }
        if is_last && self.leaves {
            let (at, by) = (dice.range(0, unrest_us), if one == 0 { 1 } else { 0 });
            let deed = if dice.percent(50) { Deed::Remove { by, host: one } } else { Deed::Retire { by, host: one } };
            steps.push(self.step(at, deed));
        } else if is_last && self.breaks {
            let ways = [Breakage::Down, Breakage::Disk, Breakage::Root, Breakage::Cut];
            broken = Some((one, ways[dice.index(4)]));
        }
        let retires = !is_last && self.returns && dice.percent(60);
        if retires {
            // Nobody comes back twice.
            self.returns = false;
            let (at, by) = (dice.range(0, unrest_us), if one == 0 { 1 } else { 0 });
            steps.push(self.step(at, Deed::Retire { by, host: one }));
        }
        // Whoever stays broken or leaves may be the only one to carry things over.
        let meets = is_last && (self.leaves || self.breaks) || retires || number == 0 || dice.percent(40);
        let apart = self.apart.filter(|_| !meets);
        steps.sort_by_key(|step| (step.at_us, step.id));
        Round { unrest_us, nudge: dice.percent(50), broken, apart, steps }
    }
}

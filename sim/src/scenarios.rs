//! The scenarios people ask for by name: real bytes between the shipping shells of two to four hosts, judged by the equality
//! of hashes, within a deadline of virtual time.

use crate::conditions::Condition;
use crate::shell::links::Way;
use crate::shell::plan::{Plan, Shape};
use crate::shell::world::World;
use serde::Serialize;
use std::collections::BTreeMap;
use std::process::ExitCode;
use sync_core::rng::Rng;

/// How often the state of transfers is looked at, milliseconds.
const SAMPLE_MS: u64 = 20;
/// How long something that died stays dead, milliseconds.
const DEAD_MS: u64 = 3_000;
/// Bytes in a KiB and a MiB.
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// What is special about a scenario, beside its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Twist {
    /// Nothing.
    None,
    /// The host of this number dies when half of the bytes are there, and is started again.
    Death(usize),
    /// Both hosts save the same file while they do not hear each other.
    Conflict,
}

/// A scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What it shows.
    pub about: &'static str,
    /// How long it may take under perfect conditions, seconds.
    pub deadline_secs: u64,
    hosts: usize,
    /// The sizes of the files that each of the first so many hosts saves.
    savers: usize,
    files: fn() -> Vec<usize>,
    twist: Twist,
    /// What it does to the links of any condition.
    links: fn(Way) -> Way,
}

fn small(count: usize) -> Vec<usize> {
    (0..count).map(|i| (4 + 12 * i / count.max(2)) * KIB).collect()
}

/// All scenarios.
pub const ALL: [Scenario; 10] = [
    Scenario {
        name: "basic-connection",
        about: "two devices pair and share one small file",
        deadline_secs: 5,
        hosts: 2,
        savers: 1,
        files: || vec![KIB],
        twist: Twist::None,
        links: |way| way,
    },
    Scenario {
        name: "small-files",
        about: "200 files of 4 to 16 KiB",
        deadline_secs: 10,
        hosts: 2,
        savers: 1,
        files: || small(200),
        twist: Twist::None,
        links: |way| way,
    },
    Scenario {
        name: "large-file",
        about: "one file of 12 MiB",
        deadline_secs: 30,
        hosts: 2,
        savers: 1,
        files: || vec![12 * MIB],
        twist: Twist::None,
        links: |way| way,
    },
    Scenario {
        name: "four-peers",
        about: "four devices, all paired, each with files of its own",
        deadline_secs: 45,
        hosts: 4,
        savers: 4,
        files: || vec![KIB, 10 * KIB, 100 * KIB, 400 * KIB],
        twist: Twist::None,
        links: |way| way,
    },
    Scenario {
        name: "recovery-after-failure",
        about: "the receiver of 40 MiB is killed half-way and goes on where it was",
        deadline_secs: 60,
        hosts: 2,
        savers: 1,
        files: || vec![40 * MIB],
        twist: Twist::Death(1),
        links: narrow,
    },
    Scenario {
        name: "sender-killed",
        about: "the sender of 40 MiB is killed half-way and started again",
        deadline_secs: 60,
        hosts: 2,
        savers: 1,
        files: || vec![40 * MIB],
        twist: Twist::Death(0),
        links: narrow,
    },
    Scenario {
        name: "high-latency",
        about: "200 ms each way: 20 small files and 1 MiB",
        deadline_secs: 90,
        hosts: 2,
        savers: 1,
        files: || [small(20), vec![MIB]].concat(),
        twist: Twist::None,
        links: |way| Way { latency_us: way.latency_us.max(200_000), ..way },
    },
    Scenario {
        name: "loss-5",
        about: "5 % of the datagrams are lost: 20 small files and 2 MiB",
        deadline_secs: 120,
        hosts: 2,
        savers: 1,
        files: || [small(20), vec![2 * MIB]].concat(),
        twist: Twist::None,
        links: |way| Way { loss_ppm: way.loss_ppm.max(50_000), ..way },
    },
    Scenario {
        name: "adaptive-profile",
        about: "1 KiB, 1 MiB and 50 MiB at once",
        deadline_secs: 60,
        hosts: 2,
        savers: 1,
        files: || vec![KIB, MIB, 50 * MIB],
        twist: Twist::None,
        links: |way| way,
    },
    Scenario {
        name: "conflicting-shared-file",
        about: "both devices save the same file out of touch, and unique files: one wins, the other shows beside it",
        deadline_secs: 30,
        hosts: 2,
        savers: 2,
        files: || vec![KIB, 20 * KIB],
        twist: Twist::Conflict,
        links: |way| way,
    },
];

/// So that there is a half-way: 64 Mbit/s at most.
fn narrow(way: Way) -> Way {
    let rate = 8_000_000;
    if way.rate > 0 && way.rate < rate { way } else { Way { rate, queue: rate / 10, ..way } }
}

/// What came of a scenario under a condition.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Which scenario.
    pub scenario: &'static str,
    /// Under which condition.
    pub condition: Condition,
    /// Number of devices.
    pub hosts: usize,
    /// Whether every device came to show the same in time, and all that had to hold did.
    pub success: bool,
    /// What did not.
    pub failures: Vec<String>,
    /// Virtual seconds from the last save to the moment when all show the same and say so.
    pub convergence_secs: f64,
    /// How many were allowed.
    pub deadline_secs: u64,
    /// Content bytes that had to be moved.
    pub content_bytes: u64,
    /// Content bytes a second that were.
    pub throughput: f64,
    /// Datagrams sent.
    pub datagrams: u64,
    /// Their bytes.
    pub wire_bytes: u64,
    /// Share of datagrams that did not arrive, 0 to 1.
    pub loss: f64,
    /// How long a datagram was under way on average, queues included, milliseconds.
    pub delay_ms: f64,
    /// Bytes of files that were there before a death and not fetched again.
    pub resumed_bytes: u64,
    /// Content bytes that came more than once.
    pub refetched_bytes: u64,
    /// How often each fault struck.
    pub faults: BTreeMap<&'static str, u64>,
    /// The digest of every datagram, in hexadecimal.
    pub digest: String,
}

/// The state of a run while it lasts.
struct Stage {
    world: World,
    scenario: Scenario,
    condition: Condition,
    resumed: u64,
    /// Bytes fetched by devices that have died.
    fetched_before: u64,
    killed_at: Option<u64>,
}

/// Runs a scenario under a condition. The same arguments give the same result, to the last bit.
pub fn run(scenario: &Scenario, condition: Condition) -> Run {
    let shape = if scenario.hosts > 2 { Shape::Mesh } else { Shape::Star };
    let seed = scenario.name.bytes().fold(condition as u64 + 1, |sum, byte| sum.wrapping_mul(31) + u64::from(byte));
    let world = World::new(seed, Plan::quiet(scenario.hosts, shape));
    let (scenario, killed_at) = (*scenario, None);
    let mut stage = Stage { world, scenario, condition, resumed: 0, fetched_before: 0, killed_at };
    let mut failures = Vec::new();
    let content_bytes = match stage.save(seed) {
        Ok(bytes) => bytes,
        Err(what) => {
            failures.push(what);
            0
        }
    };
    let before = stage.world.links.total();
    let from_ms = stage.world.now_ms();
    let deadline_secs = scenario.deadline_secs * condition.patience();
    if failures.is_empty() {
        failures.extend(stage.converge(from_ms + deadline_secs * 1_000));
        failures.extend(stage.check(content_bytes));
    }
    let (after, took_ms) = (stage.world.links.total(), stage.world.now_ms() - from_ms);
    let datagrams = after.datagrams - before.datagrams;
    let convergence_secs = took_ms as f64 / 1e3;
    let fetched = stage.fetched_before + stage.fetched();
    let (resumed_bytes, lost) = (stage.resumed, after.lost - before.lost);
    let under_way_ms = (after.under_way_us - before.under_way_us) as f64 / 1e3;
    let outcome = stage.world.outcome();
    failures.extend(outcome.violations.iter().map(ToString::to_string));
    Run {
        scenario: scenario.name,
        condition,
        hosts: scenario.hosts,
        success: failures.is_empty(),
        failures,
        convergence_secs,
        deadline_secs,
        content_bytes,
        throughput: content_bytes as f64 / convergence_secs.max(1e-3),
        datagrams,
        wire_bytes: after.bytes - before.bytes,
        loss: lost as f64 / datagrams.max(1) as f64,
        delay_ms: under_way_ms / (datagrams - lost).max(1) as f64,
        resumed_bytes,
        refetched_bytes: fetched.saturating_sub(content_bytes),
        faults: outcome.faults,
        digest: format!("{:016x}", outcome.digest),
    }
}

impl Stage {
    /// Pairs the hosts, puts the condition in force and saves the files. Returns the bytes that are to be moved.
    fn save(&mut self, seed: u64) -> Result<u64, String> {
        self.world.meet()?;
        self.world.set_ways((self.scenario.links)(self.condition.way()));
        if self.scenario.twist == Twist::Conflict {
            self.cut_all(true);
        }
        let mut random = Rng::new(seed);
        let mut total = 0;
        for host in 0..self.scenario.savers {
            for (i, size) in (self.scenario.files)().into_iter().enumerate() {
                let bytes = bytes(&mut random, size);
                total += size as u64 * (self.scenario.hosts as u64 - 1);
                self.world.save(host, &format!("dir/of-h{host}-{i}.bin"), &bytes).map_err(|e| e.to_string())?;
            }
            if self.scenario.twist == Twist::Conflict {
                let bytes = bytes(&mut random, 3 * KIB);
                total += bytes.len() as u64;
                self.world.save(host, "shared.bin", &bytes).map_err(|e| e.to_string())?;
            }
        }
        if self.scenario.twist == Twist::Conflict {
            // Long enough for each to have taken its own for the only one.
            (0..1_000).for_each(|_| self.world.step());
            self.cut_all(false);
        }
        Ok(total)
    }

    fn cut_all(&mut self, cut: bool) {
        for a in 0..self.scenario.hosts {
            for b in (0..self.scenario.hosts).filter(|b| *b != a) {
                self.world.cut(a, b, cut);
            }
        }
    }

    /// Moves on until every device says that it is in sync and all show the same. Returns why that did not happen.
    fn converge(&mut self, deadline_ms: u64) -> Option<String> {
        let begun = self.world.now_ms();
        let mut is_cut = false;
        while self.world.now_ms() < deadline_ms && !self.world.is_over() {
            let now = self.world.now_ms();
            let cut = self.condition.is_cut(now - begun);
            if cut != is_cut {
                self.cut_all(cut);
                is_cut = cut;
            }
            self.world.step();
            if !now.is_multiple_of(SAMPLE_MS) {
                continue;
            }
            self.sample();
            self.twist(now);
            let is_pending = matches!(self.scenario.twist, Twist::Death(_)) && self.killed_at.is_none();
            if !is_pending && self.world.says_synced() && self.world.difference().is_none() {
                self.world.judge_rest();
                return None;
            }
        }
        let (difference, missing) = (self.world.difference(), self.world.what_is_missing());
        Some(format!("not in sync in time: {missing}; {}", difference.unwrap_or_default()))
    }

    fn sample(&mut self) {
        for status in self.world.hosts.iter().filter_map(|host| host.status()) {
            let resumed = status.transfers.iter().map(|t| t.resumed_bytes).max();
            self.resumed = self.resumed.max(resumed.unwrap_or_default());
        }
    }

    /// Content bytes that the devices which run have fetched since their start.
    fn fetched(&self) -> u64 {
        self.world.hosts.iter().filter_map(|host| host.status()).map(|status| status.counters.fetched_bytes).sum()
    }

    fn twist(&mut self, now: u64) {
        let Twist::Death(victim) = self.scenario.twist else { return };
        match self.killed_at {
            None => {
                let half = (self.scenario.files)().iter().sum::<usize>() as u64 / 2;
                if self.fetched() >= half {
                    if let Some(status) = self.world.hosts[victim].status() {
                        self.fetched_before += status.counters.fetched_bytes;
                    }
                    self.world.crash(victim);
                    self.killed_at = Some(now);
                }
            }
            Some(at) if now >= at + DEAD_MS => self.world.start(victim),
            Some(_) => {}
        }
    }

    /// What else must hold in the end.
    fn check(&mut self, content_bytes: u64) -> Vec<String> {
        let mut failures = Vec::new();
        let fetched = self.fetched_before + self.fetched();
        let again = fetched.saturating_sub(content_bytes);
        let limits = sync_core::Limits::default();
        match self.scenario.twist {
            Twist::None => {
                if again > 0 {
                    failures.push(format!("{again} bytes came more than once"));
                }
            }
            Twist::Death(victim) => {
                if again > limits.exposed_bytes {
                    failures.push(format!("{again} bytes came again, though {} is the bound", limits.exposed_bytes));
                }
                if victim == 1 && self.resumed == 0 {
                    failures.push("nothing was there when the receiver came back".into());
                }
            }
            Twist::Conflict => {
                let shown: Vec<String> = self.world.shown(0).filter(|name| name.starts_with("shared")).collect();
                let copies = shown.iter().filter(|name| name.starts_with("shared.conflict-")).count();
                if shown.len() != 2 || copies != 1 {
                    failures.push(format!("one winner and one copy should show, not {shown:?}"));
                }
            }
        }
        failures
    }
}

fn bytes(random: &mut Rng, size: usize) -> Vec<u8> {
    let mut out = vec![0; size];
    crate::shell::crypto::fill(random, &mut out);
    out
}

/// Runs scenarios under conditions, and prints a line for each, or one JSON document a line. Fails if one of them does.
#[allow(clippy::print_stdout)]
pub fn show(scenarios: &[&Scenario], conditions: &[Condition], as_json: bool) -> ExitCode {
    let mut is_good = true;
    for (scenario, condition) in scenarios.iter().flat_map(|s| conditions.iter().map(move |c| (s, c))) {
        let run = run(scenario, *condition);
        is_good &= run.success;
        if as_json {
            println!("{}", serde_json::to_string(&run).unwrap_or_default());
        } else {
            println!("{}", line(&run));
            run.failures.iter().for_each(|failure| println!("    {failure}"));
        }
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl std::str::FromStr for &'static Scenario {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = || ALL.iter().map(|s| format!("  {:24} {}", s.name, s.about)).collect::<Vec<_>>().join("\n");
        ALL.iter()
            .find(|scenario| scenario.name == name)
            .ok_or_else(|| format!("no such scenario. There are:\n{}", names()))
    }
}

fn line(run: &Run) -> String {
    format!(
        "{:4} {:24} {:12} {:8.2} s of {:4} s  {:8.2} MiB/s  {:7} datagrams  {:5.2} % lost  {:6.1} ms under way  resumed {:5.1} MiB",
        if run.success { "ok" } else { "FAIL" },
        run.scenario,
        run.condition.name(),
        run.convergence_secs,
        run.deadline_secs,
        run.throughput / MIB as f64,
        run.datagrams,
        run.loss * 100.0,
        run.delay_ms,
        run.resumed_bytes as f64 / MIB as f64,
    )
}

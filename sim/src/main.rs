//! The simulator's command line.
#![allow(clippy::print_stdout)]

use clap::{Parser, Subcommand};
use sim::cli::{self, RunOptions, Seeds, WorldKind};
use sim::conditions::Condition;
use sim::mutants;
use sim::report;
use sim::run::AnyCase;
use sim::scenarios::{self, Scenario};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use sync_core::proving::{Mutant, mutate};

/// Runs landropic in worlds where everything goes wrong that can, and judges what becomes of people's files.
#[derive(Parser)]
#[command(name = "sim", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs seeds, and reports those that break an invariant.
    Run {
        /// The world to run in.
        #[arg(long, value_enum, default_value_t = WorldKind::Core)]
        world: WorldKind,
        /// Which seeds: A..B, or A.. to go on until told to stop.
        #[arg(long, default_value = "0..1000")]
        seeds: Seeds,
        /// Stop after so many seconds.
        #[arg(long)]
        budget: Option<u64>,
        /// Print one JSON document at the end.
        #[arg(long)]
        json: bool,
        /// Fail, too, if a point of the code that runs of this world must reach was not reached.
        #[arg(long)]
        complete: bool,
        /// Seeds at the same time; as many as there are cores by default.
        #[arg(long)]
        threads: Option<usize>,
    },
    /// Runs one seed or case file again.
    Replay {
        /// A case file.
        #[arg(required_unless_present = "seed", conflicts_with = "seed")]
        case: Option<PathBuf>,
        /// A seed.
        #[arg(long)]
        seed: Option<u64>,
        /// The world of the seed.
        #[arg(long, value_enum, default_value_t = WorldKind::Core)]
        world: WorldKind,
        /// Show everything that happens, with a column for each device.
        #[arg(long)]
        trace: bool,
        /// With this fault of our own code, as `mutants` names it.
        #[arg(long, value_parser = mutants::named)]
        mutant: Option<Mutant>,
    },
    /// Makes a small case file of a seed that breaks an invariant.
    Shrink {
        /// The seed.
        #[arg(long, required_unless_present = "case", conflicts_with = "case")]
        seed: Option<u64>,
        /// A case file to make smaller.
        #[arg(long)]
        case: Option<PathBuf>,
        /// The world of the seed.
        #[arg(long, value_enum, default_value_t = WorldKind::Core)]
        world: WorldKind,
        /// Where to write the case.
        #[arg(long)]
        out: PathBuf,
        /// Seconds to spend.
        #[arg(long, default_value_t = 60)]
        budget: u64,
        /// With this fault of our own code, as `mutants` names it.
        #[arg(long, value_parser = mutants::named)]
        mutant: Option<Mutant>,
    },
    /// Runs the scenarios people ask for by name, on real bytes.
    Scenarios {
        /// Which; all of them if none is named.
        names: Vec<String>,
        /// The network they run on; all conditions with `--all`.
        #[arg(long, value_enum, default_value_t = Condition::Perfect)]
        condition: Condition,
        /// Under every condition.
        #[arg(long, conflicts_with = "condition")]
        all: bool,
        /// Print one JSON document a line.
        #[arg(long)]
        json: bool,
    },
    /// Runs every scenario under every condition, and writes a report with plots.
    Report {
        /// The directory to write to.
        #[arg(long)]
        out: PathBuf,
    },
    /// Hunts seeded faults of our own code, each until some seed shows it.
    Mutants {
        /// Only those whose names hold this.
        #[arg(long)]
        only: Option<String>,
        /// Hunts for each.
        #[arg(long, default_value_t = 3)]
        hunts: u64,
        /// Seeds in one hunt at most.
        #[arg(long, default_value_t = 3_000)]
        seeds: u64,
        /// Seconds for one hunt at most.
        #[arg(long, default_value_t = 60)]
        budget: u64,
        /// Seeds at the same time; as many as there are cores by default.
        #[arg(long)]
        threads: Option<usize>,
        /// How many of a hundred must be found.
        #[arg(long, default_value_t = 100)]
        least: usize,
        /// Print one JSON document at the end.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    match perform(Args::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn perform(command: Command) -> Result<ExitCode, String> {
    match command {
        Command::Scenarios { names, condition, all, json } => {
            let conditions = if all { Condition::ALL.to_vec() } else { vec![condition] };
            let named: Vec<&Scenario> = names.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
            let scenarios = if named.is_empty() { scenarios::ALL.iter().collect() } else { named };
            Ok(scenarios::show(&scenarios, &conditions, json))
        }
        Command::Report { out } => Ok(report::show(&out)),
        Command::Run { world, seeds, budget, json, complete, threads } => {
            let budget = budget.map(Duration::from_secs);
            Ok(cli::run(&RunOptions { world, seeds, budget, json, complete, threads }))
        }
        Command::Replay { case, seed, world, trace, mutant } => {
            mutate(mutant);
            Ok(cli::replay(&case_of(case, seed, world)?, trace))
        }
        Command::Mutants { only, hunts, seeds, budget, threads, least, json } => {
            let threads = threads.unwrap_or_else(mutants::cores);
            let time = Duration::from_secs(budget);
            let options = mutants::Options { only, cases: AnyCase::committed()?, hunts, seeds, time, threads, least };
            Ok(mutants::show(&options, json))
        }
        Command::Shrink { seed, case, world, out, budget, mutant } => {
            mutate(mutant);
            cli::shrink(case_of(case, seed, world)?, &out, Duration::from_secs(budget))
        }
    }
}

/// What a person asks for by file or by seed.
fn case_of(file: Option<PathBuf>, seed: Option<u64>, world: WorldKind) -> Result<AnyCase, String> {
    match file {
        Some(path) => AnyCase::read(&path),
        None => Ok(AnyCase::of(world, seed.unwrap_or(0))),
    }
}

//! Runs and replays seeds of the simulator.
#![allow(clippy::print_stdout)]

use sim::run::{replay_command, run};
use std::ops::Range;
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "usage: sim run --seeds A..B | sim replay --seed N [--trace]";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["run", "--seeds", seeds] => match range(seeds) {
            Some(seeds) => run_all(seeds),
            None => usage(),
        },
        ["replay", "--seed", seed] => seed.parse().map_or_else(|_| usage(), |seed| replay(seed, false)),
        ["replay", "--seed", seed, "--trace"] => seed.parse().map_or_else(|_| usage(), |seed| replay(seed, true)),
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    println!("{USAGE}");
    ExitCode::from(2)
}

fn range(text: &str) -> Option<Range<u64>> {
    let (from, to) = text.split_once("..")?;
    Some(from.parse().ok()?..to.parse().ok()?)
}

fn run_all(seeds: Range<u64>) -> ExitCode {
    let (begun, count) = (Instant::now(), seeds.end.saturating_sub(seeds.start));
    let (mut failed, mut steps, mut virtual_us) = (0_u64, 0, 0);
    for seed in seeds {
        let report = run(seed, false);
        steps += report.steps;
        virtual_us += report.virtual_us;
        if !report.violations.is_empty() {
            failed += 1;
            println!("seed {seed}: {}", replay_command(seed));
            report.violations.iter().for_each(|v| println!("  {v}"));
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{count} seeds, {failed} failed, {steps} steps, {:.1} seeds/s, {:.0} virtual seconds in {seconds:.1} s",
        count as f64 / seconds,
        virtual_us as f64 / 1e6
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn replay(seed: u64, trace: bool) -> ExitCode {
    let report = run(seed, trace);
    println!("seed {seed}: digest {:016x}, {} steps", report.digest, report.steps);
    report.violations.iter().for_each(|v| println!("  {v}"));
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

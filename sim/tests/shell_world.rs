//! Seeds of the turmoil world hold, and the same seed is the same run to the last byte of every datagram, in this process
//! and in another one.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use sim::shell::plan::{Plan, Shape};
use sim::shell::run;
use sim::shell::world::World;
use std::collections::BTreeSet;
use std::process::Command;

/// Seeds that every test runs. The ones that once failed are among them.
const SEEDS: u64 = 60;
/// Seeds that are run again.
const AGAIN: std::ops::Range<u64> = 0..6;

#[test]
fn every_seed_holds() {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let holds = |first: u64| {
        for seed in (first..SEEDS).step_by(usize::try_from(threads).unwrap()) {
            let outcome = run(seed, false);
            let said: Vec<String> = outcome.violations.iter().map(ToString::to_string).collect();
            assert!(said.is_empty(), "seed {seed}:\n{}", said.join("\n"));
        }
    };
    std::thread::scope(|scope| (0..threads).for_each(|first| drop(scope.spawn(move || holds(first)))));
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in AGAIN {
        let (once, again) = (run(seed, false), run(seed, false));
        assert_eq!((once.digest, once.events), (again.digest, again.events), "seed {seed}");
    }
}

/// One line a seed, for the test below to compare.
#[test]
fn digests() {
    for seed in AGAIN {
        println!("digest of {seed}: {:016x}", run(seed, false).digest);
    }
}

#[test]
fn another_process_has_the_same_digests() {
    let own: Vec<String> = AGAIN.map(|seed| format!("digest of {seed}: {:016x}", run(seed, false).digest)).collect();
    let mut other = Command::new(std::env::current_exe().unwrap());
    let output = other.args(["--exact", "digests", "--nocapture"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let told: Vec<&str> = text.lines().filter_map(|line| line.find("digest of ").map(|at| &line[at..])).collect();
    assert_eq!(told, own, "{text}");
}

/// Two hosts that share a folder, with nothing wrong.
fn pair() -> World {
    let mut plan = Plan::of(0);
    (plan.hosts, plan.shape, plan.troubles) = (2, Shape::Star, BTreeSet::new());
    let mut world = World::new(0, plan);
    world.meet().unwrap();
    world
}

#[test]
fn an_empty_file_that_could_not_be_staged_is_tried_again() {
    let mut world = pair();
    world.hosts[1].disk.set_bad(100);
    world.save(0, "empty", b"").unwrap();
    (0..1_500).for_each(|_| world.step());
    assert!(!world.hosts[1].root.join("empty").exists());
    world.hosts[1].disk.set_bad(0);
    world.rest();
    assert_eq!(world.oracle.violations, []);
    assert!(world.hosts[1].root.join("empty").exists());
}

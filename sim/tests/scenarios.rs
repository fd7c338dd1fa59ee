//! The named scenarios succeed in time, and the conditions they run under are what they are said to be.
#![allow(clippy::unwrap_used, missing_docs)]

use sim::conditions::Condition;
use sim::scenarios::{ALL, Run, Scenario, run};

fn named(name: &str) -> &'static Scenario {
    ALL.iter().find(|scenario| scenario.name == name).unwrap()
}

fn good(scenario: &Scenario, condition: Condition) -> Run {
    let run = run(scenario, condition);
    assert!(run.success, "{} under {}: {:?}", run.scenario, condition.name(), run.failures);
    run
}

#[test]
fn every_scenario_succeeds_on_a_wire() {
    ALL.iter().for_each(|scenario| drop(good(scenario, Condition::Perfect)));
}

#[test]
fn every_condition_is_enforced_and_lived_with() {
    for condition in Condition::ALL {
        let (run, way) = (good(named("large-file"), condition), condition.way());
        let (latency, loss) = (way.latency_us as f64 / 1e3, way.loss_ppm as f64 / 1e6);
        assert!(run.delay_ms >= latency, "{}: {} ms", condition.name(), run.delay_ms);
        // What queues and the search for the longest datagram lose comes on top.
        assert!(run.loss >= loss * 0.7, "{}: {}", condition.name(), run.loss);
        if way.rate > 0 {
            assert!(run.throughput <= way.rate as f64, "{}: {}", condition.name(), run.throughput);
        }
        if condition == Condition::Intermittent {
            assert!(run.faults["cut"] > 0);
        }
    }
}

#[test]
fn what_was_here_before_a_kill_is_not_fetched_again() {
    let run = good(named("recovery-after-failure"), Condition::Perfect);
    assert!(run.resumed_bytes > 8 << 20, "{}", run.resumed_bytes);
}

#[test]
fn the_same_scenario_is_the_same_run() {
    let digest = || good(named("small-files"), Condition::Poor).digest;
    assert_eq!(digest(), digest());
}

//! Every committed case holds, and where it names a seeded fault of our own code, finds it.
#![allow(clippy::unwrap_used, missing_docs)]

use sim::case::Case;
use sim::mutants::{self, Sign, expected};
use sim::outcome::Violation;
use sim::run::AnyCase;
use sim::shell;
use std::fs;
use std::path::Path;
use sync_core::proving::mutate;

/// One test, as the switch to a mutant is one for the whole process.
#[test]
fn committed_cases_hold_and_find_what_they_name() {
    let cases = AnyCase::committed().unwrap();
    assert!(!cases.is_empty());
    for (name, case) in cases {
        let outcome = case.live(false);
        assert!(outcome.violations.is_empty(), "{name}: {:?}", outcome.violations);
        let Some(mutant) = case.mutant() else { continue };
        mutate(Some(mutants::named(mutant).unwrap()));
        let outcome = case.live(false);
        mutate(None);
        let is_sign =
            |v: &Violation| expected(mutants::named(mutant).unwrap()).signs.contains(&Sign::Broken(v.invariant));
        assert!(
            outcome.violations.iter().any(is_sign),
            "{name} does not find {mutant} any more: {:?}",
            outcome.violations
        );
    }
}

#[test]
fn case_files_are_written_as_the_simulator_writes_them() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    for (name, case) in AnyCase::committed().unwrap() {
        let file = dir.join(format!("{name}.json"));
        if std::env::var_os("LANDROPIC_REWRITE").is_some() {
            fs::write(&file, case.to_text()).unwrap();
        }
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            case.to_text(),
            "{name}: set LANDROPIC_REWRITE to write it anew"
        );
    }
}

#[test]
fn a_case_file_says_what_it_was_written_from() {
    for seed in 0..50 {
        let case = Case::of(seed);
        assert_eq!(AnyCase::parse(&case.to_text()), Ok(AnyCase::Core(case)));
        let case = shell::case::Case::of(seed);
        assert_eq!(AnyCase::parse(&case.to_text()), Ok(AnyCase::Turmoil(case)));
    }
}

#[test]
fn what_is_no_case_is_refused_with_a_reason() {
    let good = Case::of(1).to_text();
    let named = |from: &str, to: &str| Case::parse(&good.replacen(from, to, 1)).unwrap_err();
    assert!(named("\"format\": 1", "\"format\": 9").contains("format 9"));
    assert!(named("\"host\":0", "\"host\":77").contains("beyond"));
    assert!(named("\"seed\"", "\"sead\"").contains("sead"));
    assert!(Case::parse("").is_err());
}

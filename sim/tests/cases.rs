//! Every committed case holds, and where it names a seeded fault of our own code, finds it.
#![allow(clippy::unwrap_used, missing_docs)]

use sim::case::Case;
use sim::run::AnyCase;
use sim::shell;
use std::fs;
use std::path::{Path, PathBuf};
use sync_core::proving::{Mutant, mutate};

fn files() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// One test, as the switch to a mutant is one for the whole process.
#[test]
fn committed_cases_hold_and_find_what_they_name() {
    let files = files();
    assert!(!files.is_empty());
    for file in files {
        let case = AnyCase::parse(&fs::read_to_string(&file).unwrap()).unwrap();
        let outcome = case.live(false);
        assert!(outcome.violations.is_empty(), "{}: {:?}", file.display(), outcome.violations);
        let Some(name) = case.mutant() else { continue };
        let mutant = *Mutant::ALL.iter().find(|mutant| mutant.name() == name).unwrap();
        mutate(Some(mutant));
        let outcome = case.live(false);
        mutate(None);
        assert!(!outcome.violations.is_empty(), "{} does not find {name} any more", file.display());
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

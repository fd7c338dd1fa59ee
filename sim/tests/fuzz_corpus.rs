//! Every input that a fuzzer has kept runs through its body once more, and no target is without body or inputs.
#![allow(clippy::unwrap_used)]

use sim::fuzz::TARGETS;
use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

fn room() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// Names of what is in a directory of the room, without their extensions.
fn names(dir: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(room().join(dir)).unwrap().map(Result::unwrap);
    entries.map(|e| e.path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

/// The inputs of a target's corpus, by file name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(room().join("corpus").join(target)).unwrap().map(|e| e.unwrap().path());
    let mut inputs: Vec<(String, Vec<u8>)> =
        files.map(|file| (file.display().to_string(), fs::read(&file).unwrap())).collect();
    inputs.sort();
    inputs
}

/// The inputs of a corpus on which `body` panics.
fn failures(target: &str, body: fn(&[u8])) -> Vec<String> {
    let fails = |input: &[u8]| catch_unwind(|| body(input)).is_err();
    corpus(target).into_iter().filter(|(_, input)| fails(input)).map(|(name, _)| name).collect()
}

#[test]
fn every_kept_input_holds() {
    for (target, body) in TARGETS {
        assert_eq!(failures(target, body), [""; 0], "run it with: cargo fuzz run {target} -s none FILE");
    }
}

#[test]
fn every_target_has_a_body_and_inputs() {
    let bodies: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names("fuzz_targets"), bodies);
    assert_eq!(names("corpus"), bodies);
    for target in &bodies {
        let count = corpus(target).len();
        assert!(count >= 12, "{target} has {count} inputs only");
    }
}

/// Every kind of message has an input on which a body that breaks for it alone is caught.
#[test]
fn a_body_that_breaks_is_noticed() {
    fn planted(frame: &[u8]) {
        let message = sync_core::wire::decode(frame);
        assert!(!matches!(message, Ok(sync_core::wire::Message::Gone { .. })), "planted");
    }
    assert!(!failures("wire_decode", planted).is_empty());
}

//! The core world holds what must hold, whatever is on the tape.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sim::fuzz::scenario_tape(bytes));

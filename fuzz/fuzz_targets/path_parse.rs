//! Paths are what the contract says, and keep the laws of paths.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sim::fuzz::path_parse(bytes));

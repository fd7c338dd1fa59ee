//! Two nodes with somebody in the middle come to show the same once nobody is.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sim::fuzz::two_nodes(bytes));

//! Whatever a peer sends is a message or an error, and a message says the same when it is said again.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sim::fuzz::wire_decode(bytes));

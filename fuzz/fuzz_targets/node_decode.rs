//! A node in any state that legal inputs lead to puts up with whatever peers send.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sim::fuzz::node_decode(bytes));

//! Rows merge to the same in every order, and purging brings nothing back.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sim::fuzz::row_merge(bytes));

//! Whatever a peer sends is a message or an error, and a message says the same when it is said again.
//!
//! On stable: `cargo fuzz run wire_decode -s none`. The corpus also replays in the tests of `sync-core`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sync_core::wire::{decode, encode};

fuzz_target!(|frame: &[u8]| {
    if let Ok(message) = decode(frame) {
        let again = encode(&message);
        assert_eq!(decode(&again).as_ref(), Ok(&message), "{} changed on its second way", message.name());
    }
});

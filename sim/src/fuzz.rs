//! What fuzzers throw bytes at: each body is an ordinary function that panics where something does not hold.
//!
//! The targets in `fuzz/` call them, and the tests replay every corpus through them. Bytes are read with `arbitrary`, by
//! hand: one byte a choice, zeros when they run out, so that inputs stay small and a cut input is a shorter story.

mod host;
mod merge;
mod message;
mod node;
mod pair;
mod path;
mod tape;
mod wire;

pub use merge::row_merge;
pub use node::node_decode;
pub use pair::two_nodes;
pub use path::path_parse;
pub use tape::scenario_tape;
pub use wire::wire_decode;

/// Takes bytes, and panics where something does not hold.
pub type Body = fn(&[u8]);

/// Every body, by the name of its target and of its corpus.
pub const TARGETS: [(&str, Body); 6] = [
    ("node_decode", node_decode),
    ("path_parse", path_parse),
    ("row_merge", row_merge),
    ("scenario_tape", scenario_tape),
    ("two_nodes", two_nodes),
    ("wire_decode", wire_decode),
];

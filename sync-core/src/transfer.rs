//! Getting contents onto this disk: from a file that is here already, else from peers, resuming what was begun.

mod bits;
mod list;
mod ranges;
mod scheduler;

pub use bits::Bits;
pub use list::{ChunkList, ListError, SCHEME, scheme_sizes};
pub use ranges::Ranges;
pub use scheduler::{Action, Attempt, Slot, State, Transfer, Transfers, Verdict};

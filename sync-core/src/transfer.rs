//! Getting contents onto this disk: from a file that is here already, else from peers, resuming what was begun.

mod list;

pub use list::{ChunkList, ListError, SCHEME, scheme_sizes};

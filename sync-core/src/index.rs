//! State: rows of dotted siblings, knowledge, base, and the port behind which they are stored.
//!
//! Dots decide what is superseded; clocks only rank what is not. The rules are those of dotted version vector sets
//! (Almeida et al., "Scalable and Accurate Causality Tracking for Eventually Consistent Stores", 2014) with a
//! per-replica knowledge vector that stands in for absent rows.

mod merge;
mod policy;
mod project;
mod purge;
mod row;
mod state;
mod store;
mod vector;

pub use merge::{Merged, merge};
pub use policy::{Policy, PolicyChoice};
pub use project::{ConflictKind, Loser, Projection, conflict_kind, copy_name, project, winner};
pub(crate) use project::{MAX_AGAIN, unnumbered};
pub use purge::{may_purge, reissue};
pub(crate) use row::MAX_MISSES;
pub use row::{Body, Key, MAX_SIBLINGS, Member, MemberState, Row, Value};
pub use state::{Base, FolderState, PeerFolder, PeerRecord, Staged, Stat, StatKind};
pub use store::{Index, Versioned};
pub use vector::{Dot, Vector};

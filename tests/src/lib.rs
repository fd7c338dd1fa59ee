//! What the end-to-end tests are made of: real daemons in processes of their own, real QUIC on loopback, real trees.
//!
//! A test makes a [`Lab`], which bounds its time and holds its files, and [`Daemon`]s in it. Whatever fails does so by
//! panicking; then every daemon prints its log, and nothing outlives the test: no process, no mount, no file.

#![allow(clippy::unwrap_used)]

pub mod change;
pub mod daemon;
pub mod lab;
pub mod mount;
pub mod pair;
pub mod program;
pub mod rng;
pub mod source;
pub mod stranger;
pub mod tree;

pub use daemon::Daemon;
pub use lab::Lab;
pub use pair::Pair;
pub use program::Outcome;
pub use rng::Rng;
pub use tree::Tree;

//! The turmoil world: hosts that run the shipping shell — its driver, network, data lane, index and file system — with
//! the real quinn and rustls, on simulated time and simulated UDP, so that one seed is one run to the last byte of every
//! datagram.
//!
//! What is real: everything of `io-shell` but the control socket and the watcher; SQLite; files in a temporary directory.
//! What is made up: clocks, randomness, the ways between hosts, hints, and the errors of disks.

pub mod case;
pub mod clock;
pub mod crypto;
pub mod disk;
pub mod host;
mod ledger;
pub mod links;
pub mod meddler;
mod meeting;
pub mod net;
pub mod people;
pub mod plan;
mod rest;
pub mod socket;
pub mod stranger;
pub mod tree;
mod unrest;
pub mod world;

use crate::outcome::Outcome;
use crate::run::AnyCase;
use case::Case;

/// Lives through one seed. With `trace`, what hosts log goes to standard error, with virtual times.
pub fn run(seed: u64, trace: bool) -> Outcome {
    AnyCase::Turmoil(Case::of(seed)).live(trace)
}

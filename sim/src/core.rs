//! The core world: nodes of the shipping core on one queue of events, with model disks, indexes, links and people.

mod account;
pub mod disk;
mod host;
mod hostile;
pub mod index;
mod jobs;
mod net;
mod rest;
mod restore;
mod trace;
mod trouble;
mod user;
pub mod world;

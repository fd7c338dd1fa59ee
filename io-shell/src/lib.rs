//! The shell around `sync-core`: it performs what the core asks for and tells it what happened.
//!
//! `main.rs` is the command line's door; everything it uses is here, so that tests, benches and the simulator can
//! drive the shipping code.

pub mod api;
pub mod cli;
pub mod daemon;
pub mod data;
pub mod device;
pub mod driver;
pub mod folders;
pub mod fs;
pub mod identity;
pub mod net;
pub mod perform;
pub mod settings;
pub mod store;
pub mod telemetry;
pub mod world;

//! The daemon.

use crate::cli::up::UpConfig;
use std::process::ExitCode;

/// Runs the daemon of a home until it is told to stop.
///
/// # Errors
/// Whatever keeps it from running.
pub fn run(config: UpConfig) -> anyhow::Result<ExitCode> {
    anyhow::bail!("home {}: the driver is not linked", config.home.display())
}

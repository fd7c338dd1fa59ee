//! A network namespace of one's own, in which every byte on the loopback is ours.

use anyhow::{Context, Result, ensure};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Set where this program runs inside.
const MARK: &str = "LANDROPIC_VERSUS_NAMESPACE";

/// Whether the loopback is ours alone.
pub fn is_own() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Becomes this program inside a namespace, where that is possible. Inside, and where it is not possible, it returns.
///
/// # Errors
/// It cannot be run, or the loopback does not come up.
pub fn enter(binary: &Path) -> Result<()> {
    if is_own() {
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().context("cannot run ip")?;
        ensure!(up.success(), "the loopback does not come up");
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() || !can_run("unshare", &["-n", "true"]) || !can_run("ip", &["-V"]) {
        return Ok(());
    }
    let me = std::env::current_exe().context("cannot tell where this program is")?;
    let mut command = Command::new("unshare");
    command.arg("-n").arg("--").arg(me).args(std::env::args_os().skip(1));
    if !std::env::args_os().any(|arg| arg.to_string_lossy().starts_with("--bin")) {
        command.arg("--bin").arg(binary);
    }
    Err(command.env(MARK, "1").exec()).context("cannot run unshare")
}

fn can_run(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

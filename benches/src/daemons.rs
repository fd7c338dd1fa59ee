//! Real daemons as processes of their own, each in its own home, on 127.0.0.1.

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a daemon may take until it answers.
const START: Duration = Duration::from_secs(30);
/// How often something that has no event is looked at.
const POLL: Duration = Duration::from_millis(5);
/// Exit code of a command that finds no daemon.
const NO_DAEMON: i32 = 3;
/// How much of a log is shown when a daemon fails, bytes.
const LOG_TAIL: usize = 4_000;

/// Builds the release binary beside the running one, unless it is there and current, and returns where it is.
///
/// # Errors
/// It does not compile.
pub fn build() -> Result<PathBuf> {
    let me = std::env::current_exe().context("cannot tell where this program is")?;
    let target = me.ancestors().nth(2).context("this program is not in a target directory")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--locked", "--package", "io-shell", "--bin", "landropic", "--target-dir"])
        .arg(target)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "landropic does not build; name a binary with --bin");
    Ok(target.join("release/landropic"))
}

/// A daemon. It is killed, by its id, when this is dropped.
pub struct Daemon {
    binary: PathBuf,
    name: OsString,
    folder: PathBuf,
    home: PathBuf,
    log: PathBuf,
    listen: String,
    child: Child,
}

impl Daemon {
    /// Starts `up FOLDER` with a home of its own, `dir`, which must be new, and returns at once.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(binary: &Path, dir: &Path, folder: &Path, join: Option<(&str, &Self)>) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let name = dir.file_name().unwrap_or(dir.as_os_str()).to_owned();
        let (home, log) = (dir.join("home"), dir.join("log"));
        let listen = format!("127.0.0.1:{}", free_port()?);
        let mut args = Vec::new();
        if let Some((code, inviter)) = join {
            args.extend(["--join", code, "--at", &inviter.listen]);
        }
        let mut command = up(binary, &home, folder, &name, &listen);
        let child = launch(command.args(args), &log)?;
        Ok(Self { binary: binary.into(), name, folder: folder.into(), home, log, listen, child })
    }

    /// Starts it again with what it knows, after it was stopped or killed, and returns at once.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn respawn(&mut self) -> Result<()> {
        self.kill();
        self.child = launch(&mut up(&self.binary, &self.home, &self.folder, &self.name, &self.listen), &self.log)?;
        Ok(())
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Errors
    /// It cannot be asked, or ends badly.
    pub fn stop(&mut self) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("this is no process id")?;
        kill_process(pid, Signal::TERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the daemon ended with {status}\n{}", self.log_tail());
        Ok(())
    }

    /// Ends it at once, as `kill -9` does. One that has ended already stays so.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The id of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it answers HTTP.
    pub fn socket(&self) -> PathBuf {
        self.home.join("control.sock")
    }

    /// Waits until the daemon answers, and has seen every file that is in its folder.
    ///
    /// # Errors
    /// It ended, or does not get ready in time.
    pub fn ready(&mut self, files: u64) -> Result<()> {
        let seen = |status: &serde_json::Value| {
            status["folders"].as_array().is_some_and(|f| !f.is_empty() && f.iter().all(|f| f["files"] == files))
        };
        let deadline = Instant::now() + START;
        loop {
            let output = self.ask(&["status", "--json"])?;
            let status: Option<serde_json::Value> = serde_json::from_slice(&output.stdout).ok();
            if output.status.success() && status.as_ref().is_some_and(seen) {
                return Ok(());
            }
            self.still_runs()?;
            if Instant::now() > deadline {
                bail!("the daemon does not get ready: {}\n{}", describe(&output), self.log_tail());
            }
            std::thread::sleep(POLL);
        }
    }

    /// A fresh code for the only folder.
    ///
    /// # Errors
    /// The daemon's.
    pub fn invite(&self) -> Result<String> {
        let output = self.ask(&["invite"])?;
        let code = String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned);
        match code.filter(|_| output.status.success()) {
            Some(code) => Ok(code),
            None => bail!("no code: {}\n{}", describe(&output), self.log_tail()),
        }
    }

    /// Waits until everything is in sync with every connected device, from a daemon that may still be starting.
    ///
    /// # Errors
    /// It ended, or is not in sync after `timeout`; it says what is missing.
    pub fn wait(&mut self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).as_secs_f64().max(0.1).to_string();
            let output = self.ask(&["wait", "--timeout", &left])?;
            if output.status.success() {
                return Ok(());
            }
            self.still_runs()?;
            if output.status.code() != Some(NO_DAEMON) || Instant::now() > deadline {
                bail!("not in sync: {}\n{}", describe(&output), self.log_tail());
            }
            std::thread::sleep(POLL);
        }
    }

    fn ask(&self, args: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.binary);
        command.arg("--home").arg(&self.home).args(args).stdin(Stdio::null());
        command.output().with_context(|| format!("cannot run {}", self.binary.display()))
    }

    /// Checks that it runs.
    ///
    /// # Errors
    /// It has ended.
    pub fn still_runs(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the daemon ended with {status}\n{}", self.log_tail()),
        }
    }

    fn log_tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let tail = &log[log.len().saturating_sub(LOG_TAIL)..];
        format!("its log ends with:\n{}", String::from_utf8_lossy(tail))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

fn up(binary: &Path, home: &Path, folder: &Path, name: &OsString, listen: &str) -> Command {
    let mut command = Command::new(binary);
    command.arg("--home").arg(home).arg("up").arg(folder);
    command.args(["--listen", listen, "--no-discovery", "--device-name"]).arg(name);
    command
}

/// Starts a daemon that appends to a log whatever it says.
fn launch(command: &mut Command, log: &Path) -> Result<Child> {
    let open = OpenOptions::new().create(true).append(true).open(log);
    let output = open.with_context(|| format!("cannot write {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    command.spawn().with_context(|| format!("cannot run {}", command.get_program().display()))
}

fn describe(output: &Output) -> String {
    format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())
}

/// A UDP port that nobody has at the moment.
fn free_port() -> Result<u16> {
    let socket = UdpSocket::bind("127.0.0.1:0").context("cannot find a free port")?;
    Ok(socket.local_addr()?.port())
}

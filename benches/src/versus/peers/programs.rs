//! Programs: where they are, running them, and ending those that were started.

use crate::versus::peers::{Done, GLANCE, TIMEOUT};
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Bytes of a log that are shown.
const TAIL: usize = 600;
/// Share of the time that looking through a tree may take, as a divisor.
const SPARING: u32 = 10;

/// Where a program is; those for administrators are not in everybody's path.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    dirs.map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// A process that ends when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts one that writes what it says to `log`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let output = File::create(log).with_context(|| format!("cannot make {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("cannot run {}", command.get_program().display()))?;
        Ok(Self { child, log: log.into() })
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has ended well.
    ///
    /// # Errors
    /// It ended badly.
    pub fn succeed(&mut self) -> Result<()> {
        let status = self.child.wait()?;
        ensure!(status.success(), "it ended with {status}: {}", self.tail());
        Ok(())
    }

    /// Waits until it has ended, however.
    ///
    /// # Errors
    /// The system's.
    pub fn end(&mut self) -> Result<()> {
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Errors
    /// It cannot be asked.
    pub fn stop(&mut self) -> Result<()> {
        signal(self.pid(), Signal::TERM)?;
        self.end()
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        // One that has ended already needs neither.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// The end of what it said.
    pub fn tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(TAIL)..]).trim().to_owned()
    }

    /// Looks every `pause` until there is something.
    ///
    /// # Errors
    /// The process has ended, the look fails, or it takes too long.
    pub fn until<T>(&mut self, pause: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        let started = Instant::now();
        loop {
            if let Some(found) = look()? {
                return Ok(found);
            }
            if self.has_ended() || started.elapsed() > TIMEOUT {
                bail!("in vain: {}", self.tail());
            }
            std::thread::sleep(pause);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Ends one process at once, by its id.
///
/// # Errors
/// It is not there, or not ours.
pub fn kill(pid: u32) -> Result<()> {
    signal(pid, Signal::KILL)
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    let id = i32::try_from(pid).ok().and_then(Pid::from_raw).context("this is no process id")?;
    kill_process(id, signal).with_context(|| format!("process {pid}"))
}

/// A TCP port that nobody has at the moment.
///
/// # Errors
/// There is none.
pub fn free_port() -> Result<u16> {
    let socket = TcpListener::bind("127.0.0.1:0").context("cannot find a free port")?;
    Ok(socket.local_addr()?.port())
}

/// Waits until a change shows, by looking at the disk.
///
/// # Errors
/// It takes too long.
pub fn until_shown(done: &Done<'_>) -> Result<()> {
    let started = Instant::now();
    while started.elapsed() < TIMEOUT {
        let looked = Instant::now();
        let pause = match done {
            Done::Shows(shows) if shows() => return Ok(()),
            Done::Shows(_) => GLANCE,
            Done::Files(dir, count) if files_below(dir) == *count => return Ok(()),
            Done::Files(..) => (looked.elapsed() * SPARING).max(GLANCE),
        };
        std::thread::sleep(pause);
    }
    bail!("it does not show")
}

/// How many files there are below a directory, those that syncthing is still writing apart.
pub fn files_below(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let count = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => files_below(&entry.path()),
        Ok(_) if !entry.file_name().to_string_lossy().starts_with(".syncthing.") => 1,
        _ => 0,
    };
    entries.map(count).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn programs_are_found_where_they_are() {
        assert!(find("sh").is_some_and(|path| path.ends_with("sh")));
        assert_eq!(find("no-program-has-this-name"), None);
    }

    #[test]
    fn files_count_once_they_have_their_names() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        for name in ["a", "sub/b", "sub/.syncthing.c.tmp"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(files_below(dir.path()), 2);
        until_shown(&Done::Files(dir.path(), 2)).unwrap();
        let looks = std::cell::Cell::new(0);
        let at_the_third_look = || looks.replace(looks.get() + 1) == 2;
        until_shown(&Done::Shows(&at_the_third_look)).unwrap();
        assert_eq!(looks.get(), 3);
    }

    #[test]
    fn a_process_that_fails_shows_what_it_said() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        let mut process = Process::start(command.args(["-c", "echo alas; exit 3"]), &dir.path().join("log")).unwrap();
        let error = process.succeed().unwrap_err().to_string();
        assert!(error.contains("alas") && error.contains('3'), "{error}");
    }
}

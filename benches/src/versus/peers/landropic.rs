//! Ourselves: two daemons over QUIC.

use crate::daemons::Daemon;
use crate::versus::control;
use crate::versus::peers::programs::until_shown;
use crate::versus::peers::{Done, Pair, Peer, TIMEOUT};
use crate::versus::site::Site;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often a daemon is asked how far it is.
const POLL: Duration = Duration::from_millis(5);

/// Landropic.
pub struct Landropic {
    binary: PathBuf,
}

impl Landropic {
    /// The one at `binary`.
    pub fn new(binary: &Path) -> Self {
        Self { binary: binary.into() }
    }
}

/// What it is called in results.
pub const NAME: &str = "landropic";

impl Peer for Landropic {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_daemon(&self) -> bool {
        true
    }

    fn open(&self, site: &Site) -> Result<Box<dyn Pair>> {
        let mut left = Daemon::spawn(&self.binary, &site.dir.join("l"), &site.left, None)?;
        left.ready(0)?;
        Ok(Box::new(Daemons { binary: self.binary.clone(), site: site.clone(), left, right: None }))
    }
}

struct Daemons {
    binary: PathBuf,
    site: Site,
    left: Daemon,
    right: Option<Daemon>,
}

impl Daemons {
    fn right(&mut self) -> Result<&mut Daemon> {
        self.right.as_mut().context("the right end does not run")
    }
}

impl Pair for Daemons {
    fn join(&mut self) -> Result<()> {
        let code = self.left.invite()?;
        let join = Some((code.as_str(), &self.left));
        let right = Daemon::spawn(&self.binary, &self.site.dir.join("r"), &self.site.right, join)?;
        self.right.insert(right).wait(TIMEOUT)
    }

    fn index(&mut self, files: u64) -> Result<()> {
        until_has(&mut self.left, files)
    }

    fn begin(&mut self) -> Result<()> {
        Ok(())
    }

    fn finish(&mut self, done: &Done<'_>) -> Result<()> {
        match done {
            Done::Files(_, files) => until_has(self.right()?, *files)?,
            Done::Shows(_) => until_shown(done)?,
        }
        self.right()?.wait(TIMEOUT)
    }

    fn kill_receiver(&mut self) -> Result<()> {
        self.right()?.kill();
        Ok(())
    }

    fn revive(&mut self) -> Result<()> {
        self.right()?.respawn()
    }

    fn rest(&mut self) -> Result<()> {
        self.left.stop()?;
        self.right()?.stop()
    }

    fn rouse(&mut self) -> Result<()> {
        self.left.respawn()?;
        self.right()?.respawn()?;
        self.right()?.wait(TIMEOUT)?;
        self.left.wait(TIMEOUT)
    }

    fn ends(&self) -> [Option<u32>; 2] {
        [Some(self.left.pid()), self.right.as_ref().map(Daemon::pid)]
    }
}

/// Waits until a daemon has so many files on its disk, and nothing to do.
fn until_has(daemon: &mut Daemon, files: u64) -> Result<()> {
    let started = Instant::now();
    let has = |status: &Value| {
        let folders = status["folders"].as_array().into_iter().flatten();
        folders.clone().count() == 1 && folders.clone().all(|f| f["files"] == files && f["state"] == "idle")
    };
    while !control::ask(&daemon.socket(), "GET", "/v1/status", "").is_ok_and(|status| has(&status)) {
        daemon.still_runs()?;
        ensure!(started.elapsed() < TIMEOUT, "there are never {files} files");
        std::thread::sleep(POLL);
    }
    Ok(())
}

//! Syncthing: two instances that know nobody but each other.

use crate::versus::control;
use crate::versus::peers::programs::{Process, free_port, until_shown};
use crate::versus::peers::{Done, Pair, Peer};
use crate::versus::site::Site;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The key of its REST interface.
const KEY: &str = "versus";
/// How often it is asked how far it is.
const POLL: Duration = Duration::from_millis(10);
/// It notes the time of a scan in whole seconds.
const CLOCK: Duration = Duration::from_millis(1_100);

/// Syncthing.
pub struct Syncthing {
    /// The program.
    pub binary: PathBuf,
    /// What its watcher's delay is.
    pub delay: Cell<Delay>,
}

/// How long its watcher waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    /// Ten seconds
    Default,
    /// As little as 0.01 s
    Forced,
    /// One second, where no fraction is understood
    Whole,
}

impl Delay {
    fn seconds(self) -> &'static str {
        match self {
            Self::Default => "10",
            Self::Forced => "0.01",
            Self::Whole => "1",
        }
    }
}

impl Peer for Syncthing {
    fn name(&self) -> &'static str {
        match self.delay.get() {
            Delay::Default => "syncthing",
            Delay::Forced => "syncthing-fast",
            Delay::Whole => "syncthing-1s",
        }
    }

    fn is_daemon(&self) -> bool {
        true
    }

    fn is_for_latency(&self) -> bool {
        self.delay.get() != Delay::Default
    }

    fn open(&self, site: &Site) -> Result<Box<dyn Pair>> {
        let mut left = End::make(&self.binary, &site.dir.join("l"), &site.left)?;
        let right = End::make(&self.binary, &site.dir.join("r"), &site.right)?;
        left.configure(&right, self.delay.get())?;
        let started = left.start();
        if started.is_err() && self.delay.get() == Delay::Forced {
            self.delay.set(Delay::Whole);
            left.configure(&right, Delay::Whole)?;
            left.start()?;
        } else {
            started?;
        }
        right.configure(&left, self.delay.get())?;
        left.until(|end| Ok((end.ask("GET", "/rest/db/status?folder=versus")?["state"] == "idle").then_some(())))?;
        Ok(Box::new(Instances { left, right }))
    }
}

struct Instances {
    left: End,
    right: End,
}

impl Instances {
    fn until_connected(&mut self) -> Result<()> {
        let other = self.right.device.clone();
        let target = "/rest/system/connections";
        self.left.until(|end| Ok((end.ask("GET", target)?["connections"][&other]["connected"] == true).then_some(())))
    }

    /// Waits until nothing is to be brought to the right, as the left sees it.
    fn until_complete(&mut self) -> Result<()> {
        let target = format!("/rest/db/completion?folder=versus&device={}", self.right.device);
        self.left.until(|end| Ok((end.ask("GET", &target)?["completion"] == 100).then_some(())))
    }
}

impl Pair for Instances {
    fn join(&mut self) -> Result<()> {
        self.right.start()?;
        self.until_connected()
    }

    fn index(&mut self, files: u64) -> Result<()> {
        self.begin()?;
        let found = self.left.ask("GET", "/rest/db/status?folder=versus")?["localFiles"].clone();
        ensure!(found == files, "it has found {found} files instead of {files}");
        Ok(())
    }

    /// Has it look at once, and waits until it has.
    fn begin(&mut self) -> Result<()> {
        self.left.ask("POST", "/rest/db/scan?folder=versus").map(drop)
    }

    fn finish(&mut self, done: &Done<'_>) -> Result<()> {
        until_shown(done)
    }

    fn kill_receiver(&mut self) -> Result<()> {
        self.right.process.take().context("the right end does not run")?.kill();
        Ok(())
    }

    fn revive(&mut self) -> Result<()> {
        self.right.start()
    }

    fn rest(&mut self) -> Result<()> {
        // What has appeared may not have been written down yet.
        self.until_complete()?;
        std::thread::sleep(CLOCK);
        for end in [&mut self.left, &mut self.right] {
            end.scanned = end.last_scan()?;
            end.process.take().context("it does not run")?.stop()?;
        }
        Ok(())
    }

    fn rouse(&mut self) -> Result<()> {
        self.left.start()?;
        self.right.start()?;
        for end in [&mut self.left, &mut self.right] {
            let before = end.scanned.clone();
            end.until(|end| Ok((end.last_scan()? != before).then_some(())))?;
        }
        self.until_connected()?;
        self.until_complete()
    }

    fn ends(&self) -> [Option<u32>; 2] {
        [&self.left, &self.right].map(|end| end.process.as_ref().map(Process::pid))
    }
}

/// One instance.
struct End {
    binary: PathBuf,
    home: PathBuf,
    folder: PathBuf,
    /// The version of the configuration that it writes itself.
    version: String,
    device: String,
    port: u16,
    process: Option<Process>,
    scanned: Value,
}

impl End {
    /// Makes keys, and learns from what else is made how this version does things.
    fn make(binary: &Path, home: &Path, folder: &Path) -> Result<Self> {
        fs::create_dir_all(home)?;
        fs::create_dir_all(folder.join(".stfolder"))?;
        let mut command = Command::new(binary);
        command.arg("generate").arg(format!("--home={}", home.display())).env("HOME", home);
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        ensure!(status.context("cannot run syncthing")?.success(), "syncthing makes no keys");
        let config = fs::read_to_string(home.join("config.xml"))?;
        let value = |before: &str| {
            let rest = config.split_once(before).map(|(_, rest)| rest);
            let value = rest.and_then(|rest| rest.split('"').next()).map(str::to_owned);
            value.with_context(|| format!("no {before} in {}", home.join("config.xml").display()))
        };
        // A folder that was made by default refers to the same device.
        let (version, device) = (value("<configuration version=\"")?, value("<device id=\"")?);
        let (home, folder, port) = (home.into(), folder.into(), free_port()?);
        Ok(Self { binary: binary.into(), home, folder, version, device, port, process: None, scanned: Value::Null })
    }

    fn configure(&self, other: &Self, delay: Delay) -> Result<()> {
        Ok(fs::write(self.home.join("config.xml"), config(self, other, delay))?)
    }

    fn socket(&self) -> PathBuf {
        self.home.join("gui")
    }

    fn start(&mut self) -> Result<()> {
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg(format!("--home={}", self.home.display())).env("HOME", &self.home);
        // Marked so, it runs in this very process: the one that would else watch over it would survive it, or it that one.
        command.args(["--no-browser", "--no-restart", "--no-upgrade"]).env("STMONITORED", "1");
        self.process = Some(Process::start(&mut command, &self.home.join("log"))?);
        self.until(|end| Ok(end.ask("GET", "/rest/system/status").ok()))?;
        Ok(())
    }

    fn ask(&self, method: &str, target: &str) -> Result<Value> {
        control::ask(&self.socket(), method, target, KEY)
    }

    fn last_scan(&self) -> Result<Value> {
        Ok(self.ask("GET", "/rest/stats/folder")?["versus"]["lastScan"].clone())
    }

    fn until<T>(&mut self, mut look: impl FnMut(&Self) -> Result<Option<T>>) -> Result<T> {
        let mut process = self.process.take().context("it does not run")?;
        let found = process.until(POLL, || look(self));
        self.process = Some(process);
        found
    }
}

/// The whole configuration: nothing goes anywhere but to the other instance. A reconnection does not wait for a minute,
/// and the priority stays what everybody's is, for a fair comparison.
fn config(end: &End, other: &End, delay: Delay) -> String {
    let device = |end: &End| {
        let End { device, port, .. } = end;
        format!("<device id=\"{device}\" compression=\"metadata\"><address>tcp://127.0.0.1:{port}</address></device>\n")
    };
    let delay = delay.seconds();
    let off = ["globalAnnounceEnabled", "localAnnounceEnabled", "relaysEnabled", "natEnabled", "startBrowser"];
    let off = off.iter().chain(&["crashReportingEnabled", "setLowPriority", "restartOnWakeup"]);
    let off: String = off.map(|option| format!("<{option}>false</{option}>\n")).collect();
    format!(
        "<configuration version=\"{}\">\n\
         <folder id=\"versus\" path=\"{}\" type=\"sendreceive\" rescanIntervalS=\"3600\" fsWatcherEnabled=\"true\" \
         fsWatcherDelayS=\"{delay}\">\n<filesystemType>basic</filesystemType>\n\
         <device id=\"{}\"></device>\n<device id=\"{}\"></device>\n</folder>\n{}{}\
         <gui enabled=\"true\" tls=\"false\"><address>{}</address><apikey>{KEY}</apikey></gui>\n\
         <options>\n<listenAddress>tcp://127.0.0.1:{}</listenAddress>\n{off}<urAccepted>-1</urAccepted>\n\
         <autoUpgradeIntervalH>0</autoUpgradeIntervalH>\n<reconnectionIntervalS>1</reconnectionIntervalS>\n\
         </options>\n</configuration>\n",
        end.version,
        end.folder.display(),
        end.device,
        other.device,
        device(end),
        device(other),
        end.socket().display(),
        end.port,
    )
}

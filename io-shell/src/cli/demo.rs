//! `demo`: two devices on this machine, each a daemon of its own, over real QUIC on loopback and real directories.

use crate::api::Client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::human;
use crate::cli::out::Out;
use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Show it on a copy of this directory [default: a tree made for the demo]
    dir: Option<PathBuf>,
}

/// Longest that any step may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a condition is looked at.
const TICK: Duration = Duration::from_millis(1);
/// How often a daemon is asked where it stands.
const ASK: Duration = Duration::from_millis(10);
/// Files of the tree that is made.
const FILES: usize = 2_000;
/// Edits timed.
const EDITS: usize = 20;
/// Size of the file whose transfer is killed, bytes.
const LARGE: u64 = 256 << 20;

/// Runs the demo and prints its table.
///
/// # Errors
/// Whatever goes wrong; the daemons are ended and their directories removed all the same.
pub async fn run(args: DemoArgs, out: &mut Out<'_>) -> Result<Exit, Failure> {
    let place = tempfile::Builder::new().prefix("landropic-demo-").tempdir().context("cannot make a directory")?;
    let mut stage = Stage::set(place.path(), args.dir.as_deref(), out)?;
    let mut rows = Vec::new();
    for (what, step) in STEPS {
        out.note(&format!("{what} …"))?;
        let result = match step {
            Step::First => stage.first_sync().await,
            Step::Edit => stage.edits().await,
            Step::Conflict => stage.conflict().await,
            Step::Resume => stage.kill_and_resume().await,
        };
        rows.push((*what, result.with_context(|| format!("the step '{what}' failed"))?));
    }
    drop(stage);
    out.line("")?;
    for (what, result) in rows {
        out.line(&format!("{what:<22}{result}"))?;
    }
    Ok(Exit::Yes)
}

/// What is shown.
enum Step {
    First,
    Edit,
    Conflict,
    Resume,
}

const STEPS: &[(&str, Step)] = &[
    ("First sync", Step::First),
    ("New files", Step::Edit),
    ("Edited on both sides", Step::Conflict),
    ("Killed half way", Step::Resume),
];

/// Two devices and the folder they share.
struct Stage {
    alice: Device,
    bob: Device,
    files: u64,
    bytes: u64,
}

impl Stage {
    fn set(place: &Path, dir: Option<&Path>, out: &mut Out<'_>) -> anyhow::Result<Self> {
        let (alice, bob) = (Device::new(place, "alice"), Device::new(place, "bob"));
        fs::create_dir_all(&alice.folder)?;
        let (files, bytes) = match dir {
            Some(dir) => {
                out.note(&format!("copying {} …", dir.display()))?;
                copy_tree(dir, &alice.folder).with_context(|| format!("cannot copy {}", dir.display()))?
            }
            None => make_tree(&alice.folder).context("cannot make a tree")?,
        };
        Ok(Self { alice, bob, files, bytes })
    }

    async fn first_sync(&mut self) -> anyhow::Result<String> {
        self.alice.start(&[])?;
        let alice = self.alice.status_once(|s| s["folders"][0]["state"] == "idle").await?;
        let at = alice["device"]["listen"].as_str().unwrap_or_default().to_owned();
        let invitation: Value = self.alice.client().send("POST".parse()?, "/v1/invite", &serde_json::json!({})).await?;
        let code = invitation["code"].as_str().context("no code came")?.to_owned();
        let begun = Instant::now();
        self.bob.start(&["--join", &code, "--at", &at])?;
        self.in_sync().await?;
        let took = begun.elapsed();
        let rate = self.bytes as f64 / took.as_secs_f64();
        Ok(format!(
            "{} and {} in {:.2} s: {}/s, paired, encrypted and durable",
            human::count(self.files, "file"),
            human::bytes(self.bytes),
            took.as_secs_f64(),
            human::bytes(rate as u64)
        ))
    }

    async fn edits(&mut self) -> anyhow::Result<String> {
        let mut took = Vec::new();
        for i in 0..EDITS {
            let name = format!("note-{i}.txt");
            let begun = Instant::now();
            fs::write(self.alice.folder.join(&name), format!("note {i}\n"))?;
            let there = self.bob.folder.join(&name);
            until(TICK, || there.exists()).await?;
            took.push(begun.elapsed());
        }
        took.sort();
        let ms = |d: Duration| d.as_secs_f64() * 1_000.0;
        let (median, p95) = (took[EDITS / 2], took[EDITS * 95 / 100]);
        Ok(format!("on the other side after {:.0} ms (median of {EDITS}; {:.0} ms at p95)", ms(median), ms(p95)))
    }

    async fn conflict(&mut self) -> anyhow::Result<String> {
        let name = "note-0.txt";
        self.in_sync().await?;
        self.bob.stop()?;
        fs::write(self.alice.folder.join(name), "what alice wrote\n")?;
        fs::write(self.bob.folder.join(name), "what bob wrote\n")?;
        self.bob.start(&[])?;
        let copies = |d: &Device| copies_in(&d.folder);
        until(ASK, || copies(&self.alice).len() == 1 && copies(&self.bob).len() == 1).await?;
        self.in_sync().await?;
        let [a, b] = [&self.alice, &self.bob].map(|d| (fs::read(d.folder.join(name)), copies(d)));
        ensure!(a.0? == b.0? && a.1 == b.1, "the two sides differ");
        let copy = a.1.first().context("no copy was kept")?;
        let both = [name, copy].map(|n| fs::read_to_string(self.bob.folder.join(n)).unwrap_or_default());
        ensure!(
            both.iter().any(|t| t.contains("alice")) && both.iter().any(|t| t.contains("bob")),
            "a version is lost"
        );
        Ok(format!("both versions kept, the same on both: {name} and {copy}"))
    }

    async fn kill_and_resume(&mut self) -> anyhow::Result<String> {
        let served = |s: &Value| s["counters"]["served_bytes"].as_u64().unwrap_or(0);
        let before = served(&self.alice.status().await?);
        write_random(&self.alice.folder.join("large.bin"), LARGE)?;
        let half = |s: &Value| s["transfers"][0]["done_bytes"].as_u64().unwrap_or(0) >= LARGE / 2;
        self.bob.status_once(half).await.context("the transfer never got half way")?;
        self.bob.kill()?;
        let partial = self.bob.folder.join("large.bin").exists();
        ensure!(!partial, "a partial file was visible");
        self.bob.start(&[])?;
        let there = self.bob.folder.join("large.bin");
        until(ASK, || there.exists()).await?;
        self.in_sync().await?;
        let whole = fs::read(&there)? == fs::read(self.alice.folder.join("large.bin"))?;
        ensure!(whole, "the file differs");
        let again = (served(&self.alice.status().await?) - before).saturating_sub(LARGE);
        Ok(format!(
            "{} resumed after SIGKILL: {} sent again, nothing partial ever visible",
            human::bytes(LARGE),
            human::bytes(again)
        ))
    }

    async fn in_sync(&self) -> anyhow::Result<()> {
        self.alice.status_once(|s| s["synced"] == true).await?;
        self.bob.status_once(|s| s["synced"] == true).await?;
        Ok(())
    }
}

/// One daemon.
struct Device {
    name: &'static str,
    home: PathBuf,
    folder: PathBuf,
    daemon: Option<Child>,
}

impl Device {
    fn new(place: &Path, name: &'static str) -> Self {
        let folder = place.join(name).join("shared");
        Self { name, home: place.join(name).join("home"), folder, daemon: None }
    }

    fn start(&mut self, more: &[&str]) -> anyhow::Result<()> {
        let program = std::env::current_exe().context("cannot find this program")?;
        fs::create_dir_all(&self.home)?;
        let log = fs::File::options().append(true).create(true).open(self.home.join("log"))?;
        let daemon = Command::new(program)
            .args(["--home".as_ref(), self.home.as_os_str(), "up".as_ref(), self.folder.as_os_str()])
            .args(["--device-name", self.name, "--listen", "127.0.0.1:0", "--no-discovery"])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot start a daemon")?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// Ends the daemon without warning.
    fn kill(&mut self) -> std::io::Result<()> {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill()?;
            daemon.wait()?;
        }
        Ok(())
    }

    /// Asks the daemon to end, and waits until it has.
    fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(mut daemon) = self.daemon.take() {
            let pid = rustix::process::Pid::from_child(&daemon);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
            daemon.wait()?;
        }
        Ok(())
    }

    fn client(&self) -> Client {
        Client::new(&self.home)
    }

    async fn status(&self) -> anyhow::Result<Value> {
        Ok(self.client().get("/v1/status").await?)
    }

    /// Waits until the daemon's status is as wished.
    async fn status_once(&self, wished: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let begun = Instant::now();
        loop {
            let status = self.status().await;
            match status {
                Ok(status) if wished(&status) => return Ok(status),
                // A daemon that has just been started does not answer yet.
                Ok(_) | Err(_) if begun.elapsed() < PATIENCE => tokio::time::sleep(ASK).await,
                Ok(status) => anyhow::bail!("{} is not there yet: {}", self.name, status["missing"]),
                Err(error) => return Err(error.context(self.log())),
            }
        }
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.home.join("log")).unwrap_or_default();
        format!("{} does not answer; it said:\n{log}", self.name)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            tracing::warn!(name = self.name, %error, "a daemon of the demo could not be ended");
        }
    }
}

async fn until(pause: Duration, condition: impl Fn() -> bool) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !condition() {
        ensure!(begun.elapsed() < PATIENCE, "it did not happen within {} s", PATIENCE.as_secs());
        tokio::time::sleep(pause).await;
    }
    Ok(())
}

/// Names of conflict copies directly in a folder.
fn copies_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
    names.filter(|n| n.contains(".conflict-")).collect()
}

/// A tree like a small project's: directories, files of 1 to 16 KiB, links, a program, empty things.
fn make_tree(root: &Path) -> std::io::Result<(u64, u64)> {
    let mut bytes = 0;
    for i in 0..FILES {
        let dir = root.join(format!("part-{}", i % 20)).join(format!("section-{}", i % 7));
        fs::create_dir_all(&dir)?;
        let text = format!("line of file {i}\n").repeat(50 + i * 37 % 800);
        fs::write(dir.join(format!("file {i}.txt")), &text)?;
        bytes += text.len() as u64;
    }
    fs::create_dir_all(root.join("empty directory"))?;
    fs::write(root.join("empty file"), "")?;
    symlink("empty file", root.join("link"))?;
    Ok((FILES as u64 + 1, bytes))
}

/// Copies a tree without following links; what is neither file, directory nor link is left out.
fn copy_tree(from: &Path, to: &Path) -> std::io::Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            symlink(fs::read_link(entry.path())?, target)?;
        } else if kind.is_dir() && entry.file_name() != sync_core::path::PRIVATE_DIR {
            fs::create_dir(&target)?;
            let (more_files, more_bytes) = copy_tree(&entry.path(), &target)?;
            (files, bytes) = (files + more_files, bytes + more_bytes);
        } else if kind.is_file() {
            bytes += fs::copy(entry.path(), target)?;
            files += 1;
        }
    }
    Ok((files, bytes))
}

/// Bytes that do not compress, moved into place whole.
fn write_random(path: &Path, bytes: u64) -> std::io::Result<()> {
    let aside = path.with_file_name(".landropic").join("demo");
    let mut file = fs::File::create(&aside)?;
    std::io::copy(&mut fs::File::open("/dev/urandom")?.take(bytes), &mut file)?;
    file.flush()?;
    fs::rename(aside, path)
}

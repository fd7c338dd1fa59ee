//! What two real daemons on one machine do: latency of a new file, one large file, many small ones.
//!
//! Other means of copying take turns with it, so that what the machine does meanwhile happens to all of them.

use anyhow::{Context, Result, ensure};
use benches::daemons::{Daemon, build};
use benches::{Numbers, percentile, trees};
use clap::Parser;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often the receiving side is looked at: what a latency can be wrong by.
const GLANCE: Duration = Duration::from_micros(100);
/// How long the daemons rest between two files.
const REST: Duration = Duration::from_millis(150);
/// Bytes of a new file.
const NEW_FILE: usize = 4 << 10;
/// How long one file may take.
const FILE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a whole tree may take.
const TREE_TIMEOUT: Duration = Duration::from_secs(600);

/// Measures landropic between two daemons on this machine, over real QUIC on 127.0.0.1.
#[derive(Parser)]
struct Args {
    /// What to measure [default: all]
    #[arg(value_enum)]
    what: Vec<What>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// New files to measure
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..))]
    trials: u32,
    /// Rounds over the trees, each with every way of copying
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Bytes of the large file
    #[arg(long, default_value_t = 1 << 30)]
    bytes: u64,
    /// Number of small files
    #[arg(long, default_value_t = 20_000)]
    files: u64,
    /// The binary to measure [default: the release build of this checkout]
    #[arg(long)]
    bin: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// From the write of a new file to its appearance
    Latency,
    /// One large file, to a device that has nothing
    Large,
    /// Many small files, to a device that has nothing
    Small,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let binary = match &args.bin {
        Some(binary) => binary.canonicalize().with_context(|| format!("no binary at {}", binary.display()))?,
        None => build()?,
    };
    let scratch = tempfile::Builder::new().prefix("landropic-bench-").tempdir().context("no temporary directory")?;
    let bench = Bench { args, binary, scratch: scratch.path().into() };
    let all = [What::Latency, What::Large, What::Small];
    let mut report = serde_json::Map::new();
    let mut lines = Vec::new();
    for what in all.into_iter().filter(|what| bench.args.what.is_empty() || bench.args.what.contains(what)) {
        let (name, value) = match what {
            What::Latency => ("latency", bench.latency(&mut lines)?),
            What::Large => ("large", bench.large(&mut lines)?),
            What::Small => ("small", bench.small(&mut lines)?),
        };
        report.insert(name.into(), value);
    }
    let mut out = std::io::stdout().lock();
    if bench.args.json {
        writeln!(out, "{:#}", Value::Object(report))?;
    } else {
        lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    }
    note("removing what was made")?;
    drop(bench);
    scratch.close().context("the temporary directory is left behind")
}

/// Says on stderr what takes its time.
fn note(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stderr(), "{text} …")?)
}

struct Bench {
    args: Args,
    binary: PathBuf,
    scratch: PathBuf,
}

/// Seconds that each way of copying took, round by round.
#[derive(Default)]
struct Times(Vec<(&'static str, Vec<f64>)>);

impl Times {
    fn push(&mut self, way: &'static str, took: Duration) {
        match self.0.iter_mut().find(|(other, _)| *other == way) {
            Some((_, times)) => times.push(took.as_secs_f64()),
            None => self.0.push((way, vec![took.as_secs_f64()])),
        }
    }

    fn report(&self, title: &str, bytes: u64, files: u64, lines: &mut Vec<String>) -> Value {
        let median = |times: &[f64]| percentile(times, 50.0);
        let base = self.0.iter().find(|(way, _)| *way == "cp -r").map_or(f64::NAN, |(_, times)| median(times));
        lines.push(format!("\n{title}: {files} files, {:.1} MiB", bytes as f64 / f64::from(1 << 20)));
        lines.push(format!(
            "  {:<10} {:>9} {:>9} {:>9} {:>10} {:>8}",
            "", "median s", "min s", "max s", "MiB/s", "x cp -r"
        ));
        let mut ways = serde_json::Map::new();
        for (way, times) in &self.0 {
            let (mid, min, max) = (median(times), percentile(times, 0.0), percentile(times, 100.0));
            let rate = bytes as f64 / f64::from(1 << 20) / mid;
            lines.push(format!("  {way:<10} {mid:>9.3} {min:>9.3} {max:>9.3} {rate:>10.1} {:>8.2}", mid / base));
            let value = json!({ "seconds": times, "median_s": mid, "mib_per_s": rate, "ratio_to_cp": mid / base });
            ways.insert((*way).into(), value);
        }
        json!({ "files": files, "bytes": bytes, "ways": ways })
    }
}

impl Bench {
    fn latency(&self, lines: &mut Vec<String>) -> Result<Value> {
        let dir = self.scratch.join("latency");
        let (left, right) = (dir.join("left"), dir.join("right"));
        fs::create_dir_all(&left)?;
        let mut a = Daemon::spawn(&self.binary, &dir.join("a"), &left, None)?;
        a.ready(0)?;
        let code = a.invite()?;
        let mut b = Daemon::spawn(&self.binary, &dir.join("b"), &right, Some((&code, &a)))?;
        b.wait(FILE_TIMEOUT)?;
        a.wait(FILE_TIMEOUT)?;
        note(&format!("{} new files", self.args.trials))?;
        let mut times = Vec::new();
        for n in 0..self.args.trials {
            std::thread::sleep(REST);
            let (from, to) = if n % 2 == 0 { (&left, &right) } else { (&right, &left) };
            times.push(new_file(from, to, n)?.as_secs_f64() * 1_000.0);
        }
        b.wait(FILE_TIMEOUT)?;
        trees::check_equal(&left, &right)?;
        let [min, p50, p95, max] = [0.0, 50.0, 95.0, 100.0].map(|p| percentile(&times, p));
        lines.push(format!("\nnew file of {NEW_FILE} bytes, {} trials, both directions in turn", times.len()));
        lines.push(format!("  {:>8} {:>8} {:>8} {:>8}", "min ms", "p50 ms", "p95 ms", "max ms"));
        lines.push(format!("  {min:>8.2} {p50:>8.2} {p95:>8.2} {max:>8.2}"));
        Ok(json!({ "trials_ms": times, "min_ms": min, "p50_ms": p50, "p95_ms": p95, "max_ms": max }))
    }

    fn large(&self, lines: &mut Vec<String>) -> Result<Value> {
        let tree = self.scratch.join("large/source");
        note("making a large file")?;
        trees::large(&tree, self.args.bytes)?;
        let times = self.rounds(&tree, 1)?;
        Ok(times.report("one large file, cold", self.args.bytes, 1, lines))
    }

    fn small(&self, lines: &mut Vec<String>) -> Result<Value> {
        let tree = self.scratch.join("small/source");
        note("making small files")?;
        let bytes = trees::small(&tree, self.args.files)?;
        let times = self.rounds(&tree, self.args.files)?;
        Ok(times.report("small files, cold", bytes, self.args.files, lines))
    }

    /// Copies `tree` by every way in turn. What a round has made stays until the end: deleting it would still be going
    /// on in the file system during the next one.
    fn rounds(&self, tree: &Path, files: u64) -> Result<Times> {
        let mut times = Times::default();
        let rsync = Command::new("rsync").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        let has_rsync = rsync.is_ok_and(|status| status.success());
        for round in 0..self.args.rounds {
            let dir = tree.with_file_name(format!("round-{round}"));
            fs::create_dir_all(&dir)?;
            note(&format!("{files} files, round {} of {}", round + 1, self.args.rounds))?;
            times.push("cp -r", copy(Command::new("cp").arg("-r"), tree, &dir.join("cp"))?);
            if has_rsync {
                let mut slashed = tree.as_os_str().to_owned();
                slashed.push("/");
                times.push("rsync -a", copy(Command::new("rsync").arg("-a"), Path::new(&slashed), &dir.join("rsync"))?);
            }
            times.push("landropic", self.cold(tree, files, &dir)?);
        }
        Ok(times)
    }

    /// From the start of a device that has nothing, with a code in hand, until it says that it has all of `tree`.
    fn cold(&self, tree: &Path, files: u64, dir: &Path) -> Result<Duration> {
        let copy = dir.join("landropic");
        let mut a = Daemon::spawn(&self.binary, &dir.join("a"), tree, None)?;
        a.ready(files)?;
        let code = a.invite()?;
        let started = Instant::now();
        let mut b = Daemon::spawn(&self.binary, &dir.join("b"), &copy, Some((&code, &a)))?;
        b.wait(TREE_TIMEOUT)?;
        let took = started.elapsed();
        drop((a, b));
        trees::check_equal(tree, &copy)?;
        // The next round begins with a folder that no device has seen.
        let own = tree.join(".landropic");
        if own.exists() {
            fs::rename(own, dir.join("landropic-of-source"))?;
        }
        Ok(took)
    }
}

/// How long a new file takes from the beginning of its write to its appearance.
fn new_file(from: &Path, to: &Path, n: u32) -> Result<Duration> {
    let name = format!("new-{n:04}");
    let mut bytes = vec![0; NEW_FILE];
    Numbers(u64::from(n)).fill(&mut bytes);
    let expected = to.join(&name);
    let started = Instant::now();
    fs::write(from.join(&name), &bytes)?;
    while fs::symlink_metadata(&expected).is_err() {
        ensure!(started.elapsed() < FILE_TIMEOUT, "{} does not appear", expected.display());
        std::thread::sleep(GLANCE);
    }
    let took = started.elapsed();
    ensure!(fs::read(&expected)? == bytes, "{} appeared with other bytes", expected.display());
    Ok(took)
}

/// How long another program takes to copy a tree.
fn copy(command: &mut Command, from: &Path, to: &Path) -> Result<Duration> {
    let started = Instant::now();
    let status = command.arg(from).arg(to).stdin(Stdio::null()).status().context("cannot run a copying program")?;
    ensure!(status.success(), "copying {} failed: {status}", from.display());
    Ok(started.elapsed())
}

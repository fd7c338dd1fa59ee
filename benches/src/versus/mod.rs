//! landropic beside what people would use instead of it.
//!
//! Every workload is tried by landropic and its peers in turn, round by round, so that what the machine does meanwhile
//! happens to all of them. Both ends are on this machine. Where the rights are there, all runs in a network namespace of
//! its own: the bytes on its loopback are those that the two ends exchanged.
//!
//! A trial begins with two empty directories and, where the peer is a pair of daemons, with both of them running and
//! connected. The clock starts when the tree is renamed into the left one, and stops when the right one has all of it: a
//! program that is run has ended, landropic says that all is applied (which it says of durable files only), syncthing's
//! files have appeared. Syncthing is told at once to scan; only W6 leaves it to its watcher.

pub mod args;
pub mod control;
pub mod measure;
pub mod namespace;
pub mod peers;
pub mod processes;
pub mod report;
pub mod site;
pub mod work;

use crate::daemons;
use anyhow::{Context, Result};
use args::Args;
use peers::Peer;
use report::Report;
use site::Site;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use work::Work;

/// Does what the command line asks for.
///
/// # Errors
/// A tree cannot be made, or the results cannot be written. A peer that fails is part of the results.
pub fn main(mut args: Args) -> Result<()> {
    let binary = match args.bin.take() {
        Some(binary) => binary.canonicalize().with_context(|| format!("no binary at {}", binary.display()))?,
        None => daemons::build()?,
    };
    namespace::enter(&binary)?;
    let mut builder = tempfile::Builder::new();
    let place = args.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let place = place.canonicalize().with_context(|| format!("no directory at {}", place.display()))?;
    let made = builder.prefix("versus-").tempdir_in(place);
    let scratch = made.context("no directory to work in")?;
    let report = measure_all(&args, &binary, scratch.path())?;
    let mut out = std::io::stdout().lock();
    match args.json {
        true => writeln!(out, "{:#}", report.json())?,
        false => write!(out, "{}", report.table())?,
    }
    if let Some(path) = &args.plot {
        fs::write(path, report.plot()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    // Only now: on some disks this takes longer than all that came before.
    out.flush()?;
    note("removing what was made")?;
    if let Err(error) = scratch.close() {
        note(&format!("something is left behind: {error}"))?;
    }
    Ok(())
}

fn measure_all(args: &Args, binary: &Path, scratch: &Path) -> Result<Report> {
    let (peers, absent) = peers::find(args, binary);
    for absent in &absent {
        note(&format!("left out: {absent}"))?;
    }
    let mut report = Report::new(args, absent);
    for workload in args.workloads() {
        let dir = scratch.join(workload.name());
        note(&format!("{}: preparing", workload.name()))?;
        let work = workload.prepare(&dir.join("made"), args)?;
        report.begin(&*work);
        let fitting: Vec<&dyn Peer> = peers.iter().map(|peer| &**peer).filter(|peer| work.fits(*peer)).collect();
        let mut bench = Bench { name: workload.name(), work: &*work, dir, report: &mut report };
        for round in 0..args.rounds as usize {
            for turn in 0..fitting.len() {
                bench.turn(fitting[(turn + round) % fitting.len()], round)?;
            }
        }
    }
    Ok(report)
}

/// One workload under way.
struct Bench<'a> {
    name: &'static str,
    work: &'a dyn Work,
    dir: PathBuf,
    report: &'a mut Report,
}

impl Bench<'_> {
    /// One trial of one peer. Its directories stay where deleting them would slow down whoever comes next.
    fn turn(&mut self, peer: &dyn Peer, round: usize) -> Result<()> {
        let dir = self.dir.join(format!("{round}-{}", peer.name()));
        let site = Site::make(&dir)?;
        settle_disk()?;
        note(&format!("{}: round {}, {}", self.name, round + 1, peer.name()))?;
        match self.work.trial(peer, &site) {
            Ok(samples) => {
                samples.iter().try_for_each(|sample| note(&format!("  {sample}")))?;
                samples.into_iter().for_each(|sample| self.report.add(peer.name(), sample));
            }
            Err(error) => {
                note(&format!("{} failed: {error:#}", peer.name()))?;
                self.report.failed(self.name, peer.name(), &error);
            }
        }
        if let Some(tree) = self.work.tree() {
            tree.reclaim(&site)?;
        }
        if self.work.is_few_files() {
            fs::remove_dir_all(&dir)?;
        }
        Ok(())
    }
}

/// Has the disk done with what came before.
fn settle_disk() -> Result<()> {
    Command::new("sync").status().context("cannot run sync")?;
    Ok(())
}

/// Says on stderr what takes its time.
fn note(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stderr(), "{text} …")?)
}

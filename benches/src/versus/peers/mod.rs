//! Landropic and whom it is measured beside, behind one trait.

pub mod landropic;
pub mod oneshot;
pub mod programs;
pub mod ssh;
pub mod syncthing;

use crate::versus::args::{Args, Rival};
use crate::versus::site::Site;
use anyhow::Result;
use std::cell::Cell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use syncthing::Delay;

/// How long anything may take.
pub const TIMEOUT: Duration = Duration::from_secs(900);
/// How often something that costs little to look at is looked at.
pub const GLANCE: Duration = Duration::from_micros(500);

/// A way of keeping two directories the same.
pub trait Peer {
    /// What it is called.
    fn name(&self) -> &'static str;
    /// Whether it runs all the time and takes note of changes by itself.
    fn is_daemon(&self) -> bool;
    /// Whether it is a variant for latencies only.
    fn is_for_latency(&self) -> bool {
        false
    }
    /// Whether anything goes over the network.
    fn has_wire(&self) -> bool {
        true
    }
    /// Starts the left end.
    ///
    /// # Errors
    /// It does not start.
    fn open(&self, site: &Site) -> Result<Box<dyn Pair>>;
}

/// Two directories, and whatever runs to keep them the same. All of it ends when this is dropped.
pub trait Pair {
    /// Starts the right end, and waits until both are connected. What runs only when it is told to has nothing to do.
    ///
    /// # Errors
    /// The peer's.
    fn join(&mut self) -> Result<()> {
        Ok(())
    }
    /// Waits until the left end has taken note of `files` files.
    ///
    /// # Errors
    /// The peer's.
    fn index(&mut self, _files: u64) -> Result<()> {
        Ok(())
    }
    /// Starts to bring what has changed on the left to the right.
    ///
    /// # Errors
    /// The peer's.
    fn begin(&mut self) -> Result<()>;
    /// Waits until it is there.
    ///
    /// # Errors
    /// The peer's.
    fn finish(&mut self, done: &Done<'_>) -> Result<()>;
    /// Ends what receives, as `kill -9` does, in the middle of it.
    ///
    /// # Errors
    /// It cannot be found.
    fn kill_receiver(&mut self) -> Result<()>;
    /// Starts the receiver again, if it is one that runs all the time.
    ///
    /// # Errors
    /// It does not start.
    fn revive(&mut self) -> Result<()> {
        Ok(())
    }
    /// Stops both ends in good order.
    ///
    /// # Errors
    /// They do not stop.
    fn rest(&mut self) -> Result<()> {
        Ok(())
    }
    /// Starts both ends after that, and waits until each has looked at all of its files and they know they are the same.
    ///
    /// # Errors
    /// The peer's.
    fn rouse(&mut self) -> Result<()>;
    /// The processes of the left and of the right end, where they run all the time.
    fn ends(&self) -> [Option<u32>; 2] {
        [None, None]
    }
}

/// When a change counts as carried over, for who does not say so itself.
pub enum Done<'a> {
    /// There are so many files below this directory.
    Files(&'a Path, u64),
    /// This says so.
    Shows(&'a dyn Fn() -> bool),
}

/// A peer that is not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absent {
    /// Its name.
    pub peer: String,
    /// The program that is missing.
    pub program: &'static str,
    /// The Debian package that has it.
    pub package: &'static str,
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} needs {}: apt install {}", self.peer, self.program, self.package)
    }
}

/// Landropic and all those asked for that are here; and those that are not.
pub fn find(args: &Args, binary: &Path) -> (Vec<Box<dyn Peer>>, Vec<Absent>) {
    let mut peers: Vec<Box<dyn Peer>> = vec![Box::new(landropic::Landropic::new(binary))];
    let mut absent = Vec::new();
    for rival in args.rivals() {
        match missing(rival, args) {
            Some(missing) => absent.push(missing),
            None => peers.extend(variants(rival, args)),
        }
    }
    (peers, absent)
}

fn variants(rival: Rival, args: &Args) -> Vec<Box<dyn Peer>> {
    let syncthing = |delay| -> Box<dyn Peer> {
        let binary = args.syncthing.clone().unwrap_or_else(|| "syncthing".into());
        Box::new(syncthing::Syncthing { binary, delay: Cell::new(delay) })
    };
    match rival {
        Rival::Cp => vec![Box::new(oneshot::Cp)],
        Rival::RsyncDaemon => vec![Box::new(oneshot::RsyncDaemon)],
        Rival::RsyncSsh => vec![Box::new(oneshot::RsyncSsh { is_durable: false })],
        Rival::RsyncSshFsync => vec![Box::new(oneshot::RsyncSsh { is_durable: true })],
        Rival::Unison => vec![Box::new(oneshot::Unison)],
        Rival::Syncthing => vec![syncthing(Delay::Default), syncthing(Delay::Forced)],
    }
}

fn missing(rival: Rival, args: &Args) -> Option<Absent> {
    let is_given = |program: &str| program == "syncthing" && args.syncthing.is_some();
    let lacks = |program: &str| !is_given(program) && programs::find(program).is_none();
    let (program, package) = *rival.needs().iter().find(|(program, _)| lacks(program))?;
    Some(Absent { peer: rival.name(), program, package })
}

impl Rival {
    /// Its name on the command line.
    pub fn name(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self);
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// A path of a directory's content, as rsync wants it.
pub fn slashed(path: &Path) -> PathBuf {
    path.join("")
}

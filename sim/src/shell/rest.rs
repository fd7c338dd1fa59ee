//! Coming to rest, and what must hold then.

use super::host::Host;
use super::tree::Tree;
use super::world::World;
use crate::oracle::Oracle;
use crate::outcome::Invariant;
use io_shell::api::handle::DaemonRequest;
use std::collections::BTreeSet;
use sync_core::{Command, RelPath};

/// How long healed hosts may take to come to rest, milliseconds.
const REST_MS: u64 = 180_000;
/// How often it is looked whether they have.
const LOOK_MS: u64 = 20;
/// How often somebody asks hosts that are not connected to dial, milliseconds.
const NUDGE_MS: u64 = 3_000;

impl World {
    /// Waits until all hosts say that they are in sync and show the same, and judges.
    pub fn rest(&mut self) {
        let deadline = self.now_ms + REST_MS;
        while self.now_ms < deadline && !self.is_over() {
            self.step();
            if self.now_ms.is_multiple_of(NUDGE_MS) {
                self.nudge();
            }
            if self.now_ms.is_multiple_of(LOOK_MS) && self.says_synced() && self.difference().is_none() {
                return self.judge_rest();
            }
        }
        if !self.is_over() {
            let difference = self.difference();
            let says = format!("{}; {}", self.what_is_missing(), self.why(difference.as_deref()));
            let invariant = if self.says_synced() { Invariant::HealthTruth } else { Invariant::Convergence };
            self.fail(invariant, format!("no rest after {REST_MS} ms: {difference:?}; {says}"));
        }
    }

    /// All is at rest: judges what has to hold then.
    pub fn judge_rest(&mut self) {
        self.oracle.now = (self.now_ms * 1_000, self.events());
        for host in 0..self.trees.len() {
            if let Err(error) = self.trees[host].look_into_trash() {
                self.fail(Invariant::Containment, format!("the trash of h{host} cannot be read: {error}"));
            }
            let strange = self.trees[host].strange().next().map(RelPath::display);
            if let Some(path) = strange {
                let what =
                    format!("h{host}: {path} is neither directory nor file nor link, and nobody made such a thing");
                self.fail(Invariant::Containment, what);
            }
        }
        let disks: Vec<(usize, &Tree)> = self.trees.iter().enumerate().collect();
        self.oracle.at_rest(&disks, &disks, |_| false);
        let stranger = self.knocks.borrow().id;
        let known = |id| {
            let statuses = self.hosts.iter().filter_map(Host::status);
            statuses
                .into_iter()
                .any(|s| s.peers.iter().any(|p| p.id == id) || s.folders.iter().any(|f| f.members.contains(&id)))
        };
        let is_known = stranger.is_some_and(known);
        if is_known {
            self.fail(Invariant::NoUnauthenticatedEffect, "a stranger has become known".into());
        }
    }

    /// Whether every host is up and says that all is in sync.
    pub fn says_synced(&self) -> bool {
        self.hosts.iter().all(|host| host.status().is_some_and(|status| status.synced))
    }

    /// How the trees differ, looked at now.
    pub fn difference(&mut self) -> Option<String> {
        for host in 0..self.hosts.len() {
            self.notice(host);
        }
        let disks: Vec<(usize, &Tree)> = self.trees.iter().enumerate().collect();
        Oracle::difference(&disks, |_| false)
    }

    /// What hosts say is missing.
    pub fn what_is_missing(&self) -> String {
        let say = |host: &Host| match host.status() {
            Some(status) => {
                format!("{}: {}", host.name, if status.synced { "in sync".into() } else { status.missing.join(", ") })
            }
            None => format!("{}: not up", host.name),
        };
        self.hosts.iter().map(say).collect::<Vec<_>>().join("; ")
    }

    /// What hosts say about the path of a difference.
    fn why(&mut self, difference: Option<&str>) -> String {
        let path =
            difference.and_then(|text| text.split(": ").next()).and_then(|path| RelPath::new(path.as_bytes()).ok());
        let folder = self.hosts[0].status().and_then(|status| Some(status.folders.first()?.id));
        let (Some(path), Some(folder)) = (path, folder) else { return String::new() };
        let mut said = Vec::new();
        for host in 0..self.hosts.len() {
            let command = Command::Why(folder, path.clone());
            let answer = self.ask(host, |reply| DaemonRequest::Core { command, reply });
            said.push(format!("h{host} says of it: {answer:?}"));
        }
        said.join("; ")
    }

    /// A person asks every host to dial those it is not connected to.
    pub(super) fn nudge(&self) {
        for host in &self.hosts {
            let Some(status) = host.status() else { continue };
            let lonely: BTreeSet<_> = status.peers.iter().filter(|p| p.state != "connected").map(|p| p.id).collect();
            for device in lonely {
                // Nobody waits for the answer.
                drop(host.ask(|reply| DaemonRequest::Core { command: Command::DialNow(device), reply }));
            }
        }
    }
}

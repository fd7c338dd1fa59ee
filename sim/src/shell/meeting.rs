//! How hosts come to know each other, and somebody whom nobody knows.

use super::host::Host;
use super::net::HostNet;
use super::people::CANARY;
use super::plan::Shape;
use super::stranger::{self, knock};
use super::world::{ANSWER_MS, World};
use crate::dice::{Dice, Domain};
use crate::outcome::Invariant;
use io_shell::api::handle::DaemonRequest;
use std::net::SocketAddr;
use sync_core::{Command, FolderId};

impl World {
    /// The first host shares its folder, and the others join it in the plan's shape, with codes as people do.
    ///
    /// # Errors
    /// What a host says about it.
    pub fn meet(&mut self) -> Result<(), String> {
        for _ in 0..ANSWER_MS {
            if self.hosts.iter().all(Host::is_up) || self.broken {
                break;
            }
            self.step();
        }
        let path = self.hosts[0].root.clone();
        let name = Some(format!("{CANARY} folder"));
        let folder = self.ask(0, |reply| DaemonRequest::ShareFolder { path, name, reply })?;
        for host in 1..self.hosts.len() {
            let by = if self.plan.shape == Shape::Chain { host - 1 } else { 0 };
            let invitation = self.ask(by, |reply| DaemonRequest::Invite { folder: None, reply })?;
            let (path, at) = (self.hosts[host].root.clone(), self.hosts[by].addr());
            self.ask(host, |reply| DaemonRequest::Join { code: invitation.code, path, at, reply })?;
        }
        if self.plan.shape == Shape::Mesh {
            // Somebody mistypes the other one's address, and the first host answers in its place.
            let mut is_mistyped = self.dice.percent(50);
            for (a, b) in self.pairs().into_iter().filter(|(a, _)| *a > 0) {
                let at = if std::mem::take(&mut is_mistyped) { 0 } else { b };
                self.introduce(a, b, self.hosts[at].addr(), folder)?;
                self.introduce(b, a, self.hosts[a].addr(), folder)?;
            }
            self.connect()?;
        }
        Ok(())
    }

    /// Host `a` learns of host `b`, as if they had paired, and that it can be reached at `addr`.
    fn introduce(&mut self, a: usize, b: usize, addr: String, folder: FolderId) -> Result<(), String> {
        let Some((device, key)) = self.hosts[b].device() else { return Err(format!("h{b} is not up")) };
        let (name, addr) = (self.hosts[b].name.clone(), Some(addr));
        let folder_name = format!("{CANARY} folder");
        let command = Command::Pair { device, key, name, addr, folder, folder_name, root: None };
        self.ask(a, |reply| DaemonRequest::Core { command, reply }).map(drop)
    }

    /// Waits until every host is connected to all it knows. Who was dialled before it knew the dialler has refused it.
    fn connect(&mut self) -> Result<(), String> {
        let is_connected =
            |host: &Host| host.status().is_some_and(|status| status.peers.iter().all(|peer| peer.state == "connected"));
        for ms in 0..ANSWER_MS {
            if self.hosts.iter().all(is_connected) {
                return Ok(());
            }
            if ms % 200 == 100 {
                self.nudge();
            }
            self.step();
        }
        Err("not all hosts connect".into())
    }

    /// Every two hosts.
    pub(super) fn pairs(&self) -> Vec<(usize, usize)> {
        let count = self.hosts.len();
        (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b))).collect()
    }

    pub(super) fn let_stranger_in(&mut self) {
        let Some((_, key)) = self.hosts[0].device() else { return };
        let ip = self.sim.lookup("stranger");
        let random = Dice::new(self.seed, Domain::ShellWorld, 1).draw();
        let (links, addr, knocks) = (self.links.clone(), self.hosts[0].addr(), self.knocks.clone());
        self.sim.host("stranger", move || {
            knock(HostNet::new(ip, links.clone(), random), key, addr.clone(), knocks.clone())
        });
        if let Err(what) = self.mislead(SocketAddr::new(ip, stranger::PORT)) {
            self.fail(Invariant::Convergence, format!("the hosts could not be misled: {what}"));
        }
    }

    /// Everybody is told that those it knows can be reached at `addr`, as if they had been once. Whoever connects anew
    /// tries that first.
    fn mislead(&mut self, addr: SocketAddr) -> Result<(), String> {
        let Some(folder) = self.hosts[0].status().and_then(|status| Some(status.folders.first()?.id)) else {
            return Err("no folder is shared".into());
        };
        for (a, b) in self.pairs().into_iter().flat_map(|(a, b)| [(a, b), (b, a)]) {
            let Some((device, _)) = self.hosts[b].device() else { continue };
            if self.hosts[a].status().is_some_and(|status| status.peers.iter().any(|peer| peer.id == device)) {
                self.introduce(a, b, addr.to_string(), folder)?;
            }
        }
        Ok(())
    }

    /// Notes whatever a stranger has got.
    pub(super) fn watch_stranger(&mut self) {
        let got = std::mem::take(&mut self.knocks.borrow_mut().got);
        if !got.is_empty() {
            self.fail(Invariant::NoUnauthenticatedEffect, format!("a stranger was given {got:?}"));
        }
    }
}

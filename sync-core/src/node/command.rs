//! What people and programs ask for.

use super::{Node, Peer};
use crate::error::CloseCode;
use crate::folder::Folder;
use crate::id::{Actor, DeviceId, FolderId, LinkId, RequestId};
use crate::index::{FolderState, Index, Member, MemberState, PeerRecord, Policy, Vector};
use crate::input::Command;
use crate::output::{Answer, Output, Refusal};
use crate::proving::{Mutant, is_mutant};
use alloc::{boxed::Box, collections::BTreeMap, collections::BTreeSet, format, string::String, vec::Vec};

/// How long the inviter of a new device leaves dialling to it.
const JOINER_DIALS: core::time::Duration = core::time::Duration::from_secs(5);

/// What a command comes to: an answer or a refusal, unless the index fails.
type Outcome<E> = Result<Result<Answer, Refusal>, E>;

fn refused<E>(reason: &str) -> Outcome<E> {
    Ok(Err(Refusal { reason: reason.into() }))
}

/// A folder that nobody has written to here.
fn begin(id: FolderId, name: String, root: Box<[u8]>, actor: Actor, epoch: u64) -> FolderState {
    FolderState {
        id,
        name,
        root,
        policy: Policy::default(),
        paused: false,
        actor,
        seq: 0,
        rev: 0,
        epoch,
        knowledge: Vector::default(),
        applied: Vector::default(),
        purge_rev: 0,
        acked: 0,
        peers: BTreeMap::new(),
        paused_contents: BTreeSet::new(),
    }
}

impl Node {
    pub(super) fn command<I: Index>(
        &mut self,
        request: RequestId,
        command: Command,
        index: &mut I,
    ) -> Result<(), I::Error> {
        let stops = matches!(command, Command::Shutdown);
        let is_change = !matches!(
            command,
            Command::Audit { .. } | Command::Audits(_) | Command::Why(..) | Command::Conflicts(_) | Command::Shutdown
        );
        let answer = self.carry_out(command, index)?;
        if is_change && !is_mutant(Mutant::PromiseUndurable) {
            index.make_durable()?;
        }
        self.cx.emit(Output::Reply { request, answer });
        if stops {
            self.say_goodbye();
            self.cx.emit(Output::Stop);
        }
        Ok(())
    }

    fn carry_out<I: Index>(&mut self, command: Command, index: &mut I) -> Outcome<I::Error> {
        match command {
            Command::ShareFolder { folder, name, root } => {
                if self.folders.contains_key(&folder) {
                    return refused("this folder is shared already");
                }
                self.add_folder(folder, name, root, index)?;
            }
            Command::Pair { device, key, name, addr, folder, folder_name, root } => {
                let joins = root.is_some();
                if !self.folders.contains_key(&folder) {
                    let Some(root) = root else { return refused("the folder is not shared here any more") };
                    self.add_folder(folder, folder_name, root, index)?;
                }
                let addrs = addr.into_iter().collect();
                self.pair(PeerRecord { id: device, key, name, addrs, removed: false }, folder, joins, index)?;
            }
            Command::Audit { kind, detail } => self.cx.audit(index, &kind, detail)?,
            Command::RemoveFolder(folder) => {
                if self.folders.remove(&folder).is_none() {
                    return refused("no such folder");
                }
                index.remove_folder(folder)?;
                self.cx.forget_effects(folder);
                self.cx.emit(Output::CloseFolder { folder });
                self.drop_exchanges(folder);
            }
            Command::PauseFolder(folder, paused) => match self.folders.get_mut(&folder) {
                Some(f) => {
                    f.state.paused = paused;
                    f.touch();
                }
                None => return refused("no such folder"),
            },
            Command::PauseTransfer(folder, content, paused) => match self.folders.get_mut(&folder) {
                Some(f) => return Ok(f.pause_transfer(content, paused).map(|()| Answer::Ok)),
                None => return refused("no such folder"),
            },
            Command::CancelTransfer(folder, content) => match self.folders.get_mut(&folder) {
                Some(f) => return Ok(f.cancel_transfer(content, &mut self.cx, index)?.map(|()| Answer::Ok)),
                None => return refused("no such folder"),
            },
            Command::SetPolicy(folder, choice) => match self.folders.get_mut(&folder) {
                Some(f) => f.choose_policy(choice, &self.cx, index)?,
                None => return refused("no such folder"),
            },
            Command::VerifyFolder(folder) => match self.folders.get_mut(&folder) {
                Some(f) => f.verify(),
                None => return refused("no such folder"),
            },
            Command::RemoveDevice(device) => return self.remove_device(device, index),
            Command::RetireDevice(device) => {
                if !self.peers.contains_key(&device) {
                    return refused("no such device");
                }
                self.change_member(device, index, |m, _| m.state = MemberState::Retired)?;
                self.cx.audit(index, "device-retired", format!("{device}"))?;
            }
            Command::RenameDevice(device, name) if device == self.cx.config.device => {
                self.cx.config.name = name;
                let ids: Vec<FolderId> = self.folders.keys().copied().collect();
                ids.into_iter().try_for_each(|id| self.write_own_record(id, index))?;
            }
            Command::RenameDevice(device, name) => {
                let Some(peer) = self.peers.get_mut(&device) else { return refused("no such device") };
                peer.record.name.clone_from(&name);
                index.put_peer(&peer.record)?;
                self.change_member(device, index, |m, _| m.name.clone_from(&name))?;
            }
            Command::DialNow(device) => match self.peers.get_mut(&device) {
                Some(peer) => peer.dialer.nudge(self.cx.at.now),
                None => return refused("no such device"),
            },
            Command::Why(folder, path) => match self.folders.get(&folder) {
                Some(f) => return Ok(Ok(Answer::Why(f.why(&path, index)?))),
                None => return refused("no such folder"),
            },
            Command::Conflicts(folder) => {
                let Some(f) = self.folders.get(&folder) else { return refused("no such folder") };
                let names = |actor| self.name_of(f, actor);
                return Ok(Ok(Answer::Conflicts(f.conflicts(index, names)?)));
            }
            Command::Audits(limit) => return Ok(Ok(Answer::Audits(index.audits(limit)?))),
            Command::Shutdown => {}
        }
        Ok(Ok(Answer::Ok))
    }

    fn add_folder<I: Index>(
        &mut self,
        id: FolderId,
        name: String,
        root: Box<[u8]>,
        index: &mut I,
    ) -> Result<(), I::Error> {
        let (actor, epoch) = (self.cx.draw_actor(), self.cx.rng.next_u64());
        let state = begin(id, name, root, actor, epoch);
        index.put_folder(&state)?;
        let folder = Folder::load(state, &mut self.cx, index)?;
        self.folders.insert(id, folder);
        self.write_own_record(id, index)
    }

    /// This device's own record in a folder names every actor it writes as.
    pub(super) fn write_own_record<I: Index>(&mut self, id: FolderId, index: &mut I) -> Result<(), I::Error> {
        let Some(f) = self.folders.get_mut(&id) else { return Ok(()) };
        let config = &self.cx.config;
        let known = f.members.get(&config.device).cloned();
        let mut member = known.unwrap_or_else(|| Member::new(config.key, config.name.clone()));
        member.actors.insert(f.state.actor);
        member.name.clone_from(&config.name);
        f.write_member(config.device, member, &self.cx, index)
    }

    fn pair<I: Index>(
        &mut self,
        mut record: PeerRecord,
        folder: FolderId,
        joins: bool,
        index: &mut I,
    ) -> Result<(), I::Error> {
        let (device, key, name) = (record.id, record.key, record.name.clone());
        let known = self.peers.get(&device).map(|p| p.record.addrs.clone()).unwrap_or_default();
        let others: Vec<String> = known.into_iter().filter(|a| !record.addrs.contains(a)).collect();
        record.addrs.extend(others);
        index.put_peer(&record)?;
        let peer = self.peers.entry(device).or_insert_with(|| Peer::new(record.clone()));
        peer.record = record;
        // The joiner dials. The inviter, whose part ends first, would come before the joiner knows it.
        let pause = if joins { core::time::Duration::ZERO } else { JOINER_DIALS };
        peer.dialer.nudge(self.cx.at.now + pause);
        let link = peer.link;
        if let Some(f) = self.folders.get_mut(&folder) {
            let mut member = f.members.get(&device).cloned().unwrap_or_else(|| Member::new(key, name));
            member.state = MemberState::Active;
            f.write_member(device, member, &self.cx, index)?;
            let detail = format!("{} ({device}) in folder {}", self.peers[&device].record.name, f.state.name);
            self.cx.audit(index, "paired", detail)?;
        }
        if let Some(link) = link {
            self.offer(link, folder);
        }
        Ok(())
    }

    fn remove_device<I: Index>(&mut self, device: DeviceId, index: &mut I) -> Outcome<I::Error> {
        let Some(peer) = self.peers.get_mut(&device) else { return refused("no such device") };
        peer.record.removed = true;
        index.put_peer(&peer.record)?;
        self.change_member(device, index, |m, knowledge| {
            let limit = m.actors.iter().map(|a| (*a, knowledge.seq(*a))).collect();
            m.state = MemberState::Removed { limit };
        })?;
        self.cx.audit(index, "device-removed", format!("{device}"))?;
        let links: Vec<LinkId> = self.links.iter().filter(|(_, l)| l.device == device).map(|(id, _)| *id).collect();
        for link in links {
            self.hang_up(link, CloseCode::NotAuthorised, "this device was removed");
        }
        Ok(Ok(Answer::Ok))
    }

    /// Changes a device's record in every folder it is in.
    fn change_member<I: Index>(
        &mut self,
        device: DeviceId,
        index: &mut I,
        change: impl Fn(&mut Member, &Vector),
    ) -> Result<(), I::Error> {
        for f in self.folders.values_mut() {
            if let Some(mut member) = f.members.get(&device).cloned() {
                change(&mut member, &f.state.knowledge);
                f.write_member(device, member, &self.cx, index)?;
            }
        }
        Ok(())
    }

    fn drop_exchanges(&mut self, folder: FolderId) {
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for link in links {
            let held = self.links.get_mut(&link).and_then(|l| l.exchanges.remove(&folder)).is_some();
            if held {
                self.say(link, crate::input::Lane::Control, &crate::wire::Message::FolderGone(folder));
            }
        }
    }

    /// Whose actor it is.
    fn name_of(&self, folder: &Folder, actor: Actor) -> String {
        let member = folder.members.values().find(|m| m.actors.contains(&actor));
        member.map_or_else(|| format!("{actor}"), |m| m.name.clone())
    }
}

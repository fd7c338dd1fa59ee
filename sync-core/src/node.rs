//! The only dispatcher: every input comes in here, every sub-machine is owned here, and what they ask for goes out
//! through one outbox.

mod command;
mod exchange;
mod serve;
mod session;

use crate::config::Config;
use crate::context::{Context, Effect, Fetching};
use crate::error::CloseCode;
use crate::folder::Folder;
use crate::id::{AskId, DeviceId, EffectId, FolderId, LinkId};
use crate::index::{Index, PeerRecord};
use crate::input::Input;
use crate::link::{BackoffPolicy, DialState, Dialer};
use crate::output::{Event, Output};
use crate::proving::{Mutant, Point, is_mutant, sometimes};
use crate::status::{DeviceStatus, PeerStatus, Status};
use crate::time::{Instant, Moment, Timer};
use crate::transfer::Slot;
use alloc::{collections::BTreeMap, string::String, vec::Vec};
use session::Link;

/// The whole program as a state machine.
///
/// Call [`handle`](Self::handle) with each input, then drain [`poll_output`](Self::poll_output) until `None`, commit the
/// index, and only then perform the outputs. Call `handle` with [`Input::Wake`] when the time of
/// [`poll_timeout`](Self::poll_timeout) has come; too early is harmless. The first input is [`Input::Start`].
pub struct Node {
    cx: Context,
    folders: BTreeMap<FolderId, Folder>,
    peers: BTreeMap<DeviceId, Peer>,
    links: BTreeMap<LinkId, Link>,
    /// Requests of peers that are being answered.
    asks: BTreeMap<AskId, LinkId>,
}

/// Another device, whether or not it is there.
struct Peer {
    record: PeerRecord,
    dialer: Dialer,
    /// The link whose session stands.
    link: Option<LinkId>,
    /// Wire bytes of links that are gone.
    past_bytes: (u64, u64),
    /// Why it is not connected.
    reason: String,
}

impl Peer {
    fn new(record: PeerRecord) -> Self {
        let dialer = Dialer::new(BackoffPolicy::default());
        Self { record, dialer, link: None, past_bytes: (0, 0), reason: String::new() }
    }
}

impl Node {
    /// A node that has not started. `seed` decides jitter and actor numbers.
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            cx: Context::new(config, seed),
            folders: BTreeMap::new(),
            peers: BTreeMap::new(),
            links: BTreeMap::new(),
            asks: BTreeMap::new(),
        }
    }

    /// Takes in what happened, and goes as far as it can without further input, in bounded steps.
    ///
    /// # Errors
    /// Only the index's own. Then nothing of the batch may be committed or performed, and this node is void: drop it
    /// and start another from what is committed.
    pub fn handle<I: Index>(&mut self, input: Input, at: Moment, index: &mut I) -> Result<(), I::Error> {
        self.cx.at = at;
        self.cx.more = false;
        self.dispatch(input, index)?;
        self.beat();
        self.dial();
        let ids: Vec<FolderId> = self.folders.keys().copied().collect();
        for id in ids {
            self.work(id, index)?;
        }
        Ok(())
    }

    /// The next thing to do, in order. `None` when everything has been said.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.cx.take_output()
    }

    /// When to wake the node at the latest, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        let more = self.cx.more.then(|| (self.cx.now(), Timer::More));
        let folders = self.folders.values().filter_map(|f| f.deadline(&self.cx));
        let links = self.links.values().filter_map(|l| l.deadline(&self.cx.config.limits));
        let dials = self.peers.values().filter(|p| Self::may_dial(p)).filter_map(|p| p.dialer.deadline());
        more.into_iter().chain(folders).chain(links).chain(dials.map(|at| (at, Timer::Dial))).min()
    }

    fn dispatch<I: Index>(&mut self, input: Input, index: &mut I) -> Result<(), I::Error> {
        match input {
            Input::Start { fresh_actor } => self.start(fresh_actor, index),
            Input::Wake => Ok(()),
            Input::Request { request, command } => self.command(request, command, index),
            Input::LinkUp { link, key, addr, dial } => self.link_up(link, &key, addr, dial, index),
            Input::DialFailed { dial, reason } => {
                self.dial_failed(dial, reason);
                Ok(())
            }
            Input::LinkDown { link, code, reason } => {
                self.link_down(link, code, &reason);
                Ok(())
            }
            Input::Received { link, lane, frame } => self.received(link, lane, &frame, index),
            Input::Sent { link } => {
                self.sent(link);
                Ok(())
            }
            Input::Misbehaved { link, reason } => self.misbehaved(link, &reason, index),
            Input::LinkStats { link, stats } => {
                self.link_stats(link, stats);
                Ok(())
            }
            Input::Asked { link, ask, frame } => self.asked(link, ask, &frame, index),
            Input::Answered { ask, bytes } => {
                self.answered(ask, bytes);
                Ok(())
            }
            Input::Hint { folder, hint } => {
                if let Some(f) = self.folders.get_mut(&folder) {
                    f.hint(hint, &self.cx);
                }
                Ok(())
            }
            Input::Listed { scan, dir, after, entries, last } => match self.scanning(scan) {
                Some((f, cx)) => f.listed(&dir, after, &entries, last, cx, index),
                None => Ok(()),
            },
            Input::Unlisted { scan, dir, error } => {
                if let Some((f, cx)) = self.scanning(scan) {
                    f.unlisted(&dir, error, cx);
                }
                Ok(())
            }
            Input::Scanned { scan, outcome } => {
                if let Some((f, cx)) = self.scanning(scan) {
                    f.scanned(scan, outcome, cx);
                    cx.finish(scan);
                }
                Ok(())
            }
            Input::Probed { probe, outcome } => match self.cx.finish(probe) {
                Some(Effect::Probe(folder, paths)) => match self.folders.get_mut(&folder) {
                    Some(f) => f.probed(paths, outcome, &mut self.cx, index),
                    None => Ok(()),
                },
                _ => Ok(()),
            },
            Input::Applied { apply, outcome } => match self.cx.finish(apply) {
                Some(Effect::Apply(folder, planned)) => match self.folders.get_mut(&folder) {
                    Some(f) => f.applied(planned, outcome, &mut self.cx, index),
                    None => Ok(()),
                },
                _ => Ok(()),
            },
            Input::Copied { copy, outcome } => {
                if let Some(Effect::Copy(folder, attempt, from)) = self.cx.finish(copy)
                    && let Some(f) = self.folders.get_mut(&folder)
                {
                    f.copied(attempt, from, outcome, &mut self.cx, index)?;
                }
                Ok(())
            }
            Input::Reused { reuse, outcome } => {
                if let Some(Effect::Reuse(folder, attempt, basis)) = self.cx.finish(reuse)
                    && let Some(f) = self.folders.get_mut(&folder)
                {
                    f.reused(attempt, basis, outcome, &mut self.cx);
                }
                Ok(())
            }
            Input::Salvaged { salvage, outcome } => match self.cx.finish(salvage) {
                Some(Effect::Salvage(folder, attempts)) => match self.folders.get_mut(&folder) {
                    Some(f) => f.salvaged(attempts, outcome, &mut self.cx, index),
                    None => Ok(()),
                },
                _ => Ok(()),
            },
            Input::ListFetched { fetch, outcome } => match self.fetched(fetch) {
                Some((f, cx, device, Fetching::List(attempt))) => f.list_fetched(attempt, outcome, device, cx, index),
                _ => Ok(()),
            },
            Input::BatchFetched { fetch, outcomes } => {
                if let Some((f, cx, device, Fetching::Batch(items))) = self.fetched(fetch) {
                    f.batch_fetched(items, outcomes, device, cx);
                }
                Ok(())
            }
            Input::RangeFetched { fetch, chunks, error } => {
                if let Some((f, cx, device, Fetching::Range(attempt, range))) = self.fetched(fetch) {
                    f.range_fetched(attempt, range, chunks, error, device, cx);
                }
                Ok(())
            }
            Input::Sealed { seal, outcome } => match self.cx.finish(seal) {
                Some(Effect::Seal(folder, attempt)) => match self.folders.get_mut(&folder) {
                    Some(f) => f.sealed(attempt, outcome, &mut self.cx, index),
                    None => Ok(()),
                },
                _ => Ok(()),
            },
            Input::Finished { finish, outcome } => match self.cx.finish(finish) {
                Some(Effect::Finish(folder, attempt)) => match self.folders.get_mut(&folder) {
                    Some(f) => f.finished(attempt, outcome, &mut self.cx, index),
                    None => Ok(()),
                },
                _ => Ok(()),
            },
        }
    }

    /// The folder that a walk belongs to.
    fn scanning(&mut self, scan: EffectId) -> Option<(&mut Folder, &mut Context)> {
        let Some(Effect::Scan(folder)) = self.cx.under_way(scan) else { return None };
        let folder = *folder;
        self.folders.get_mut(&folder).map(|f| (f, &mut self.cx))
    }

    /// Takes a request to a peer off the books.
    fn fetched(&mut self, fetch: EffectId) -> Option<(&mut Folder, &mut Context, DeviceId, Fetching)> {
        let Some(Effect::Fetch(fetch)) = self.cx.finish(fetch) else { return None };
        if let Some(link) = self.links.get_mut(&fetch.link) {
            link.outstanding = link.outstanding.saturating_sub(fetch.bytes);
        }
        let folder = self.folders.get_mut(&fetch.folder)?;
        Some((folder, &mut self.cx, fetch.device, fetch.what))
    }

    fn start<I: Index>(&mut self, fresh_actor: bool, index: &mut I) -> Result<(), I::Error> {
        for record in index.peers()? {
            self.peers.insert(record.id, Peer::new(record));
        }
        for state in index.folders()? {
            let mut folder = Folder::load(state, &mut self.cx, index)?;
            if fresh_actor && !is_mutant(Mutant::ActorReused) {
                folder.renew(&mut self.cx);
                folder.tell_actor(&mut self.cx, index)?;
            }
            self.folders.insert(folder.id(), folder);
        }
        let ids: Vec<FolderId> = self.folders.keys().copied().collect();
        ids.into_iter().try_for_each(|id| self.write_own_record(id, index))?;
        for peer in self.peers.values_mut() {
            peer.dialer.nudge(self.cx.at.now);
        }
        Ok(())
    }

    /// One step of a folder, with the devices that can be asked for its contents, then the rows that follow.
    fn work<I: Index>(&mut self, id: FolderId, index: &mut I) -> Result<(), I::Error> {
        let Some(folder) = self.folders.get_mut(&id) else { return Ok(()) };
        let able = self.links.iter().filter(|(_, l)| l.is_ready() && l.exchanges.contains_key(&id));
        let mut slots: Vec<Slot> =
            able.map(|(link, l)| Slot { device: l.device, link: *link, outstanding: l.outstanding }).collect();
        // Whoever has not heard every row yet would never hear of one that is forgotten now, nor would he who goes by an
        // offer that was made before it was.
        let is_shared = |l: &&Link| l.is_ready() && folder.has_member(l.device) && !l.declined.contains(&id);
        let mut sharing = self.links.values().filter(is_shared);
        let all_heard = sharing.all(|l| l.exchanges.get(&id).is_some_and(|e| e.has_said(folder.state.rev)));
        let was_open = folder.is_open;
        folder.work(&mut slots, all_heard, &mut self.cx, index)?;
        let opens = folder.is_open && !was_open;
        for slot in slots {
            if let Some(link) = self.links.get_mut(&slot.link) {
                link.outstanding = slot.outstanding;
            }
        }
        if opens {
            self.open(id, index)?;
            // What offers that had to wait have changed belongs to this batch.
            self.folders.get_mut(&id).map_or(Ok(()), |f| f.store(index))?;
        }
        self.announce(id);
        self.pump(id, index)
    }

    /// Whether a peer is one to dial.
    fn may_dial(peer: &Peer) -> bool {
        !peer.record.removed && !peer.record.addrs.is_empty()
    }

    /// Dials whom it is time to dial.
    fn dial(&mut self) {
        for (id, peer) in &mut self.peers {
            if Self::may_dial(peer) && peer.dialer.is_due(self.cx.at.now) {
                let dial = self.cx.start(Effect::Dial(*id));
                peer.dialer.begin(dial);
                let (key, addrs) = (peer.record.key, peer.record.addrs.clone());
                self.cx.emit(Output::Dial { dial, peer: *id, key, addrs });
            }
        }
    }

    fn dial_failed(&mut self, dial: EffectId, reason: String) {
        let Some(Effect::Dial(device)) = self.cx.finish(dial) else { return };
        let Some(peer) = self.peers.get_mut(&device) else { return };
        if !peer.dialer.failed(dial, self.cx.at.now, &mut self.cx.rng) {
            return;
        }
        peer.reason.clone_from(&reason);
        let attempt = peer.dialer.failures();
        self.cx.event(Event::DialFailed { peer: device, attempt, reason });
    }

    /// The snapshot for the command line and the web.
    ///
    /// # Errors
    /// The index's.
    pub fn status<I: Index>(&self, index: &mut I) -> Result<Status, I::Error> {
        let config = &self.cx.config;
        let mut status = Status {
            device: Some(DeviceStatus { id: config.device, name: config.name.clone(), listen: config.listen.clone() }),
            counters: self.cx.counters,
            ..Status::default()
        };
        for folder in self.folders.values() {
            status.folders.push(folder.status(index.base_totals(folder.id())?));
            status.transfers.extend(folder.transfer_status(config.limits.small_bytes));
            status.completed.extend(folder.completed.iter().cloned());
            status.missing.extend(folder.missing_for(&self.connected(folder.id())));
        }
        status.folders.sort_by(|a, b| a.name.cmp(&b.name));
        status.peers = self.peers.values().map(|p| self.peer_status(p)).collect();
        status.peers.sort_by(|a, b| a.name.cmp(&b.name));
        if !self.peers.values().any(|p| p.link.is_some()) {
            status.missing.push("no device is connected".into());
        }
        status.synced = status.missing.is_empty();
        Ok(status)
    }

    /// Devices with a session, and whether each has said every row of `folder` and heard every row of ours.
    fn connected(&self, folder: FolderId) -> Vec<(DeviceId, String, bool)> {
        let live = self.peers.iter().filter_map(|(d, p)| Some((d, p, self.links.get(&p.link?)?)));
        live.map(|(device, peer, link)| {
            let caught = link.exchanges.get(&folder).is_some_and(|e| e.is_caught());
            (*device, peer.record.name.clone(), caught)
        })
        .collect()
    }

    fn peer_status(&self, peer: &Peer) -> PeerStatus {
        let link = peer.link.and_then(|l| self.links.get(&l));
        let greeting = self.links.values().any(|l| l.device == peer.record.id);
        let state = match peer.dialer.state() {
            _ if peer.record.removed => "removed",
            _ if link.is_some() => "connected",
            _ if greeting => "handshake",
            DialState::Dialing(_) => "dialing",
            DialState::Backoff(_) if !peer.record.addrs.is_empty() => "backoff",
            DialState::Dormant(_) => "dormant",
            DialState::Idle | DialState::Backoff(_) | DialState::Connected(_) => "idle",
        };
        let stats = link.map(|l| l.stats).unwrap_or_default();
        let loss = if stats.packets_sent == 0 { 0.0 } else { stats.packets_lost as f64 / stats.packets_sent as f64 };
        PeerStatus {
            id: peer.record.id,
            name: peer.record.name.clone(),
            state,
            health: link.map_or("unknown", |l| l.health.name()),
            rtt_ms: stats.rtt_us as f64 / 1_000.0,
            loss,
            connections: u32::from(link.is_some()),
            sent_bytes: peer.past_bytes.0 + stats.bytes_sent,
            received_bytes: peer.past_bytes.1 + stats.bytes_received,
            reason: if link.is_some() { String::new() } else { peer.reason.clone() },
        }
    }

    fn hang_up(&mut self, link: LinkId, code: CloseCode, reason: &str) {
        // Its end may be on its way: it is told once, with the reason that came first.
        let Some(l) = self.links.get_mut(&link).filter(|l| !l.closing) else { return };
        l.closing = true;
        sometimes(Point::closed(code));
        self.cx.emit(Output::HangUp { link, code, reason: reason.into() });
    }
}

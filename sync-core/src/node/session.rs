//! Sessions: who is at the other end, and what both say to each other about folders.

use super::{Node, Peer};
use crate::config::Limits;
use crate::error::CloseCode;
use crate::exchange::{Outgoing, Position};
use crate::id::{DeviceId, EffectId, FolderId, LinkId, PublicKey};
use crate::index::{FolderState, Index, Key, PeerRecord, PolicyChoice, Vector};
use crate::input::{Lane, LinkStats};
use crate::link::{Health, health};
use crate::output::{Event, Output};
use crate::time::{Instant, Timer};
use crate::wire::{
    Caught, Flow, FolderOffer, Have, Hello, Message, PROTOCOL_VERSION, Rows, SyncStart, WireRow, decode, encode,
};
use alloc::{collections::BTreeMap, collections::BTreeSet, format, string::String, vec::Vec};
use core::time::Duration;

/// Frames on the index lane that may wait for the transport.
const MAX_IN_FLIGHT: u32 = 2;
/// Offers kept until the hello, or until the disk has been looked at.
const MAX_EARLY: usize = 1_024;
/// Addresses remembered for a device.
const MAX_ADDRS: usize = 4;
/// How long a doubted link has to show that its peer is there.
const PROOF: Duration = Duration::from_millis(500);
/// Contents named in one `Have`.
const MAX_HAVE: usize = 1_000;
/// Longest device name taken over from a peer, bytes.
const MAX_NAME: usize = 128;

/// One connection and the session on it.
pub(super) struct Link {
    pub(super) device: DeviceId,
    addr: String,
    outbound: bool,
    /// Until when the peer must have said hello; `None` once it has.
    greeting_until: Option<Instant>,
    heard_at: Instant,
    said_at: Instant,
    /// Until when the peer must be heard, since it may be gone: it has another link to offer.
    doubted_until: Option<Instant>,
    /// Bytes asked of the peer and not yet here.
    pub(super) outstanding: u64,
    pub(super) stats: LinkStats,
    pub(super) health: Health,
    pub(super) exchanges: BTreeMap<FolderId, Exchange>,
    /// Offers that came before the hello, or before the disk had been looked at.
    early: BTreeMap<FolderId, FolderOffer>,
    /// Folders that the peer did not share when they were offered to it: offered again when it does.
    declined: BTreeSet<FolderId>,
    /// Requests of the peer being answered.
    pub(super) asks: usize,
    /// Whether it has been hung up: nothing more is heard.
    pub(super) closing: bool,
}

/// What is said about one folder on one link.
#[derive(Default)]
pub(super) struct Exchange {
    outgoing: Option<Outgoing>,
    incoming: Option<Incoming>,
}

/// The peer's rows.
struct Incoming {
    /// What it knows, as far as it has said: every row it sends reflects that and maybe more.
    known: Vector,
    /// Whether rows come by change number from here on, so that they move the cursor.
    by_rev: bool,
    /// Whether it has been through every key, so that everything it still holds of what is gone here was answered.
    listed: bool,
    /// Whether it has said every row at least once.
    caught: bool,
}

impl Exchange {
    /// Whether every row up to `rev` has been said.
    pub(super) fn has_said(&self, rev: u64) -> bool {
        self.outgoing.as_ref().is_none_or(|o| o.position == Position::ByRev(rev))
    }
    /// Whether both directions have caught up at least once.
    pub(super) fn is_caught(&self) -> bool {
        let said = self.outgoing.as_ref().is_some_and(|o| matches!(o.position, Position::ByRev(_)));
        said && self.incoming.as_ref().is_some_and(|i| i.caught)
    }
}

impl Link {
    /// Whether the session stands.
    pub(super) fn is_ready(&self) -> bool {
        self.greeting_until.is_none() && !self.closing
    }

    /// When the peer counts as gone unless it is heard.
    fn mute_at(&self, limits: &Limits) -> Instant {
        let mute = self.heard_at + limits.mute;
        self.doubted_until.map_or(mute, |until| until.min(mute))
    }

    /// When this link wants attention: never again once it is hung up.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<(Instant, Timer)> {
        if self.closing {
            return None;
        }
        Some(match self.greeting_until {
            Some(until) => (until, Timer::Handshake),
            None => ((self.said_at + limits.heartbeat).min(self.mute_at(limits)), Timer::Heartbeat),
        })
    }
}

impl Node {
    pub(super) fn link_up<I: Index>(
        &mut self,
        link: LinkId,
        key: &PublicKey,
        addr: String,
        dial: Option<EffectId>,
        index: &mut I,
    ) -> Result<(), I::Error> {
        let device = DeviceId::of_key(key);
        let outbound = dial.is_some();
        if let Some(dial) = dial {
            // The dialler waits for the hello; until then the attempt is still under way.
            self.cx.finish(dial);
        }
        let (now, limits) = (self.cx.now(), self.cx.config.limits.clone());
        let entry = Link {
            device,
            addr: addr.clone(),
            outbound,
            greeting_until: Some(now + limits.handshake),
            heard_at: now,
            said_at: now,
            doubted_until: None,
            outstanding: 0,
            stats: LinkStats::default(),
            health: Health::default(),
            exchanges: BTreeMap::new(),
            early: BTreeMap::new(),
            declined: BTreeSet::new(),
            asks: 0,
            closing: false,
        };
        self.links.insert(link, entry);
        if !self.peers.get(&device).is_some_and(|p| !p.record.removed && p.record.key == *key) {
            let reason = "this device is not paired: pair it with 'landropic invite'";
            return self.refuse(link, CloseCode::NotAuthorised, reason, index);
        }
        self.cx.emit(Output::Admit { link });
        let config = &self.cx.config;
        let hello = Hello {
            version: PROTOCOL_VERSION,
            device: config.device,
            name: config.name.clone(),
            listen_port: config.listen_port,
            features: Vec::new(),
        };
        self.say(link, Lane::Control, &Message::Hello(hello));
        Ok(())
    }

    /// Closes a link for cause: one event, one line in the audit.
    fn refuse<I: Index>(&mut self, link: LinkId, code: CloseCode, reason: &str, index: &mut I) -> Result<(), I::Error> {
        let Some(l) = self.links.get(&link).filter(|l| !l.closing) else { return Ok(()) };
        let (peer, addr) = (l.device, l.addr.clone());
        self.cx.counters.refused += 1;
        self.cx.event(Event::Refused { peer: Some(peer), code, reason: reason.into() });
        self.cx.audit(index, "refused", format!("{} at {addr}: {reason} (code {})", peer.short(), code as u8))?;
        self.hang_up(link, code, reason);
        Ok(())
    }

    pub(super) fn misbehaved<I: Index>(&mut self, link: LinkId, reason: &str, index: &mut I) -> Result<(), I::Error> {
        self.refuse(link, CloseCode::ProtocolError, reason, index)
    }

    pub(super) fn link_down(&mut self, link: LinkId, code: CloseCode, reason: &str) {
        let Some(gone) = self.links.remove(&link) else { return };
        let Some(peer) = self.peers.get_mut(&gone.device) else { return };
        peer.past_bytes.0 += gone.stats.bytes_sent;
        peer.past_bytes.1 += gone.stats.bytes_received;
        let reason = if code == CloseCode::None { reason.into() } else { format!("{reason} (code {})", code as u8) };
        if peer.link == Some(link) {
            peer.link = None;
            peer.dialer.disconnected(self.cx.at.now, &mut self.cx.rng);
            peer.reason.clone_from(&reason);
            self.cx.event(Event::PeerDisconnected { peer: gone.device, reason });
        } else if gone.outbound && peer.link.is_none() {
            peer.dialer.failed(self.cx.at.now, &mut self.cx.rng);
            peer.reason = reason;
        }
    }

    pub(super) fn link_stats(&mut self, link: LinkId, stats: LinkStats) {
        if let Some(l) = self.links.get_mut(&link) {
            l.health = health(&l.stats, &stats);
            l.stats = stats;
        }
    }

    pub(super) fn sent(&mut self, link: LinkId) {
        let Some(l) = self.links.get_mut(&link) else { return };
        // Frames of all folders share the lane in order; which one left does not matter for the bound.
        if let Some(out) = l.exchanges.values_mut().filter_map(|e| e.outgoing.as_mut()).find(|o| o.in_flight > 0) {
            out.in_flight -= 1;
        }
    }

    /// Pings silent links and closes mute ones.
    pub(super) fn beat(&mut self) {
        let (now, limits) = (self.cx.now(), self.cx.config.limits.clone());
        let due: Vec<(LinkId, bool, bool)> = self
            .links
            .iter()
            .filter(|(_, l)| !l.closing)
            .map(|(id, l)| {
                let late = l.greeting_until.is_some_and(|until| until <= now);
                (*id, late, l.mute_at(&limits) <= now)
            })
            .collect();
        for (link, late, mute) in due {
            let silent =
                self.links.get(&link).is_some_and(|l| l.is_ready() && now.since(l.said_at) >= limits.heartbeat);
            if late {
                self.hang_up(link, CloseCode::HandshakeTimeout, "no hello within ten seconds");
            } else if mute {
                self.hang_up(link, CloseCode::None, "nothing was heard for ten seconds");
            } else if silent {
                self.say(link, Lane::Control, &Message::Ping(now.0));
            }
        }
    }

    pub(super) fn say(&mut self, link: LinkId, lane: Lane, message: &Message) {
        let Some(l) = self.links.get_mut(&link).filter(|l| !l.closing) else { return };
        if lane == Lane::Control {
            l.said_at = self.cx.at.now;
        }
        self.cx.emit(Output::Send { link, lane, frame: encode(message) });
    }

    pub(super) fn received<I: Index>(
        &mut self,
        link: LinkId,
        lane: Lane,
        frame: &[u8],
        index: &mut I,
    ) -> Result<(), I::Error> {
        let Some(l) = self.links.get_mut(&link).filter(|l| !l.closing) else { return Ok(()) };
        l.heard_at = self.cx.at.now;
        l.doubted_until = None;
        let (ready, device) = (l.is_ready(), l.device);
        let message = match decode(frame) {
            Ok(message) => message,
            Err(error) => return self.misbehaved(link, &format!("{error}"), index),
        };
        match (lane, ready, message) {
            (Lane::Control, false, Message::Hello(hello)) => self.hello(link, device, hello, index),
            (Lane::Control, true, Message::FolderGone(folder)) => {
                if let Some(l) = self.links.get_mut(&link) {
                    l.exchanges.remove(&folder);
                    l.declined.insert(folder);
                }
                Ok(())
            }
            (Lane::Control, true, Message::Have(have)) => {
                self.have(device, &have);
                Ok(())
            }
            (Lane::Control, true, Message::Ping(n)) => {
                self.say(link, Lane::Control, &Message::Pong(n));
                Ok(())
            }
            (Lane::Control, _, Message::Pong(_) | Message::Goodbye) => Ok(()),
            (Lane::Control, _, Message::Notice { code, text }) => {
                let detail = format!("{} says: {text} ({code})", device.short());
                self.cx.event(Event::Audit { kind: "notice".into(), detail });
                Ok(())
            }
            (Lane::Index, true, Message::FolderOffer(offer)) => self.offered(link, device, &offer, index),
            // The hello is still on its way on the control lane.
            (Lane::Index, false, Message::FolderOffer(offer)) => self.early(link, offer, index),
            (Lane::Index, true, Message::SyncStart(start)) => {
                self.sync_start(link, device, start);
                Ok(())
            }
            (Lane::Index, true, Message::Rows(rows)) => self.rows(link, device, rows, index),
            (Lane::Index, true, Message::Gone { folder, keys }) => self.gone(link, folder, keys, index),
            (Lane::Index, true, Message::Caught(caught)) => self.caught(link, device, &caught, index),
            (lane, _, message) => {
                let name = message.name();
                self.misbehaved(link, &format!("{name} is out of place on the {lane:?} lane in this state"), index)
            }
        }
    }

    fn hello<I: Index>(&mut self, link: LinkId, device: DeviceId, hello: Hello, index: &mut I) -> Result<(), I::Error> {
        if hello.version != PROTOCOL_VERSION {
            let reason = format!("this device speaks version {PROTOCOL_VERSION}, not {}", hello.version);
            return self.refuse(link, CloseCode::HandshakeFailed, &reason, index);
        }
        if hello.device != device {
            let reason = "the hello names another device than the key";
            return self.refuse(link, CloseCode::NotAuthorised, reason, index);
        }
        let old = self.peers.get(&device).and_then(|p| p.link);
        if let Some(old) = old
            && !self.takes_over(link, old)
        {
            self.hang_up(link, CloseCode::Superseded, "another link to this device stands");
            self.doubt(old);
            return Ok(());
        }
        let Some(l) = self.links.get_mut(&link) else { return Ok(()) };
        l.greeting_until = None;
        let addr = if l.outbound { l.addr.clone() } else { at_port(&l.addr, hello.listen_port) };
        let Some(peer) = self.peers.get_mut(&device) else { return Ok(()) };
        peer.link = Some(link);
        peer.dialer.connected(self.cx.at.now);
        let mut record = peer.record.clone();
        if record.name.is_empty() {
            record.name = hello.name.chars().take(MAX_NAME).collect();
        }
        record.addrs.retain(|a| *a != addr);
        record.addrs.insert(0, addr.clone());
        record.addrs.truncate(MAX_ADDRS);
        if record != peer.record {
            index.put_peer(&record)?;
            peer.record = record;
        }
        self.cx.event(Event::PeerConnected { peer: device, addr });
        if let Some(old) = old {
            self.hang_up(old, CloseCode::Superseded, "a newer link to this device took over");
        }
        let ids: Vec<FolderId> = self.folders.keys().copied().collect();
        for id in ids {
            if let Some(f) = self.folders.get_mut(&id) {
                f.transfers.reconnected(device);
            }
            self.offer(link, id);
        }
        let early = self.links.get_mut(&link).map(|l| core::mem::take(&mut l.early)).unwrap_or_default();
        early.values().try_for_each(|offer| self.offered(link, device, offer, index))
    }

    /// Keeps an offer for later.
    fn early<I: Index>(&mut self, link: LinkId, offer: FolderOffer, index: &mut I) -> Result<(), I::Error> {
        let Some(l) = self.links.get_mut(&link) else { return Ok(()) };
        if l.early.len() >= MAX_EARLY {
            return self.misbehaved(link, "too many offers before the hello", index);
        }
        l.early.insert(offer.folder, offer);
        Ok(())
    }

    /// A peer that offers another link may have been restarted: the old one is not waited for as long as usual.
    fn doubt(&mut self, link: LinkId) {
        let until = self.cx.at.now + PROOF;
        if let Some(l) = self.links.get_mut(&link) {
            l.doubted_until.get_or_insert(until);
        }
        self.say(link, Lane::Control, &Message::Ping(self.cx.at.now.0));
    }

    /// Whether a new link replaces an old one to the same device: both sides decide alike, by who dialled.
    fn takes_over(&self, new: LinkId, old: LinkId) -> bool {
        let me = self.cx.config.device;
        let initiator = |link: LinkId| self.links.get(&link).map(|l| if l.outbound { me } else { l.device });
        match (initiator(new), initiator(old)) {
            (Some(new), Some(old)) => new <= old,
            _ => true,
        }
    }

    /// Says where this device stands in a folder, if the peer takes part in it.
    pub(super) fn offer(&mut self, link: LinkId, folder: FolderId) {
        let Some(l) = self.links.get(&link).filter(|l| l.is_ready()) else { return };
        let Some(f) = self.folders.get(&folder).filter(|f| f.is_open && f.has_member(l.device)) else { return };
        let offer = offer_of(&f.state, l.device);
        self.say(link, Lane::Index, &Message::FolderOffer(offer));
    }

    /// A folder's disk has been looked at: say where it stands, and hear where others do.
    pub(super) fn open<I: Index>(&mut self, folder: FolderId, index: &mut I) -> Result<(), I::Error> {
        let ready: Vec<(LinkId, DeviceId)> =
            self.links.iter().filter(|(_, l)| l.is_ready()).map(|(id, l)| (*id, l.device)).collect();
        for (link, device) in ready {
            self.offer(link, folder);
            if let Some(offer) = self.links.get_mut(&link).and_then(|l| l.early.remove(&folder)) {
                self.offered(link, device, &offer, index)?;
            }
        }
        Ok(())
    }

    fn offered<I: Index>(
        &mut self,
        link: LinkId,
        device: DeviceId,
        offer: &FolderOffer,
        index: &mut I,
    ) -> Result<(), I::Error> {
        let Some(f) = self.folders.get_mut(&offer.folder).filter(|f| f.has_member(device)) else {
            self.say(link, Lane::Control, &Message::FolderGone(offer.folder));
            return Ok(());
        };
        if !f.is_open {
            return self.early(link, offer.clone(), index);
        }
        let confirmed = offer.knowledge.seq(f.state.actor);
        if confirmed > f.state.seq {
            return self.begin_again(offer.folder, index);
        }
        f.state.acked = f.state.acked.max(confirmed);
        let peer = f.peer_mut(device);
        peer.knowledge.clone_from(&offer.knowledge);
        peer.applied.clone_from(&offer.applied);
        let outgoing = Outgoing::new(&f.state, &offer_of(&f.state, device), offer);
        let start = SyncStart {
            folder: offer.folder,
            flow: outgoing.flow(),
            epoch: f.state.epoch,
            knowledge: f.state.knowledge.clone(),
        };
        let declined = match self.links.get_mut(&link) {
            Some(l) => {
                l.exchanges.entry(offer.folder).or_default().outgoing = Some(outgoing);
                l.declined.remove(&offer.folder)
            }
            None => false,
        };
        if declined {
            self.offer(link, offer.folder);
        }
        self.say_rows(link, offer.folder, &Message::SyncStart(start));
        Ok(())
    }

    /// A peer knows writes of ours that we do not: this database is older than what it once said.
    fn begin_again<I: Index>(&mut self, folder: FolderId, index: &mut I) -> Result<(), I::Error> {
        if let Some(f) = self.folders.get_mut(&folder) {
            f.renew_late(&mut self.cx, index)?;
            f.tell_actor(&mut self.cx, index)?;
        }
        self.write_own_record(folder, index)?;
        let sharing: Vec<LinkId> = self.links.iter().filter(|(_, l)| l.is_ready()).map(|(id, _)| *id).collect();
        for link in sharing {
            self.hang_up(link, CloseCode::None, "this device begins a new epoch");
        }
        Ok(())
    }

    fn sync_start(&mut self, link: LinkId, device: DeviceId, start: SyncStart) {
        let Some(f) = self.folders.get_mut(&start.folder).filter(|f| f.has_member(device)) else { return };
        let Some(l) = self.links.get_mut(&link) else { return };
        let peer = f.peer_mut(device);
        let by_rev = match start.flow {
            Flow::Since(rev) => rev == peer.cursor && start.epoch == peer.epoch,
            Flow::All => false,
        };
        if !by_rev {
            (peer.epoch, peer.cursor) = (start.epoch, 0);
        }
        let incoming = Incoming { known: start.knowledge, by_rev, listed: by_rev, caught: false };
        l.exchanges.entry(start.folder).or_default().incoming = Some(incoming);
    }

    fn rows<I: Index>(&mut self, link: LinkId, device: DeviceId, rows: Rows, index: &mut I) -> Result<(), I::Error> {
        if rows.rows.len() > self.cx.config.limits.batch_rows {
            return self.misbehaved(link, "a batch of too many rows", index);
        }
        let Some(exchange) = self.links.get_mut(&link).and_then(|l| l.exchanges.get_mut(&rows.folder)) else {
            return Ok(());
        };
        let Some(f) = self.folders.get_mut(&rows.folder).filter(|f| f.has_member(device)) else { return Ok(()) };
        let Some(incoming) = &mut exchange.incoming else { return Ok(()) };
        let nothing = Vector::default();
        let claimed = exchange.outgoing.as_ref().map_or(&nothing, |o| &o.claimed);
        let arrival = f.arrive(rows.rows, &incoming.known, claimed, &mut self.cx, index)?;
        incoming.listed |= rows.upto.is_some();
        if let (Some(upto), true) = (rows.upto, incoming.by_rev) {
            let peer = f.peer_mut(device);
            peer.cursor = peer.cursor.max(upto);
        }
        if let Some(outgoing) = &mut exchange.outgoing {
            arrival.echoes.into_iter().for_each(|rev| outgoing.note_echo(rev));
        }
        if !arrival.gone.is_empty() {
            self.say_rows(link, rows.folder, &Message::Gone { folder: rows.folder, keys: arrival.gone });
        }
        if arrival.members {
            self.enforce_members(rows.folder, index)?;
        }
        Ok(())
    }

    fn gone<I: Index>(
        &mut self,
        link: LinkId,
        folder: FolderId,
        keys: Vec<Key>,
        index: &mut I,
    ) -> Result<(), I::Error> {
        let exchange = self.links.get(&link).and_then(|l| l.exchanges.get(&folder));
        let Some(incoming) = exchange.and_then(|e| e.incoming.as_ref()) else { return Ok(()) };
        match self.folders.get_mut(&folder) {
            Some(f) => f.gone(keys, &incoming.known, &mut self.cx, index),
            None => Ok(()),
        }
    }

    fn caught<I: Index>(
        &mut self,
        link: LinkId,
        device: DeviceId,
        caught: &Caught,
        index: &mut I,
    ) -> Result<(), I::Error> {
        let Some(exchange) = self.links.get_mut(&link).and_then(|l| l.exchanges.get_mut(&caught.folder)) else {
            return Ok(());
        };
        let Some(f) = self.folders.get_mut(&caught.folder).filter(|f| f.has_member(device)) else { return Ok(()) };
        let Some(incoming) = &mut exchange.incoming else { return Ok(()) };
        if caught.knowledge.seq(f.state.actor) > f.state.seq {
            return self.begin_again(caught.folder, index);
        }
        (incoming.caught, incoming.by_rev) = (true, true);

        if let Some(outgoing) = &mut exchange.outgoing {
            outgoing.receiver_knows.join(&caught.knowledge);
        }
        f.state.acked = f.state.acked.max(caught.knowledge.seq(f.state.actor));
        f.state.knowledge.join(&caught.knowledge);
        let peer = f.peer_mut(device);
        peer.cursor = peer.cursor.max(caught.rev);
        peer.knowledge.clone_from(&caught.knowledge);
        if peer.applied != caught.applied {
            peer.applied.clone_from(&caught.applied);
            f.purge_again();
        }
        Ok(())
    }

    fn have(&mut self, device: DeviceId, have: &Have) {
        if let Some(f) = self.folders.get_mut(&have.folder) {
            have.contents.iter().for_each(|content| f.transfers.offered(*content, device));
        }
    }

    /// Tells peers which contents can be asked for here by now.
    pub(super) fn announce(&mut self, folder: FolderId) {
        let Some(f) = self.folders.get_mut(&folder) else { return };
        let contents = core::mem::take(&mut f.arrivals);
        if contents.is_empty() {
            return;
        }
        let links: Vec<LinkId> =
            self.links.iter().filter(|(_, l)| l.exchanges.contains_key(&folder)).map(|(id, _)| *id).collect();
        for link in links {
            for part in contents.chunks(MAX_HAVE) {
                self.say(link, Lane::Control, &Message::Have(Have { folder, contents: part.into() }));
            }
        }
    }

    /// Streams rows of a folder to everybody who has not heard them.
    pub(super) fn pump<I: Index>(&mut self, folder: FolderId, index: &mut I) -> Result<(), I::Error> {
        let links: Vec<LinkId> = self.links.iter().filter(|(_, l)| l.is_ready()).map(|(id, _)| *id).collect();
        links.into_iter().try_for_each(|link| self.pump_link(link, folder, index))
    }

    fn pump_link<I: Index>(&mut self, link: LinkId, folder: FolderId, index: &mut I) -> Result<(), I::Error> {
        let limits = self.cx.config.limits.clone();
        loop {
            let exchange = self.links.get_mut(&link).and_then(|l| l.exchanges.get_mut(&folder));
            let Some(exchange) = exchange else { return Ok(()) };
            // Until everything the peer holds was answered, it would take our knowledge for rows that are gone here.
            let answered = exchange.incoming.as_ref().is_some_and(|i| i.listed);
            let Some(outgoing) = exchange.outgoing.as_mut() else { return Ok(()) };
            let Some(f) = self.folders.get(&folder) else { return Ok(()) };
            if outgoing.in_flight >= MAX_IN_FLIGHT {
                return Ok(());
            }
            let message = match next_rows(outgoing, f, &limits, index)? {
                Some(rows) => {
                    self.cx.counters.rows_sent += rows.rows.len() as u64;
                    Message::Rows(rows)
                }
                None if answered && outgoing.caught_due(&f.state) => Message::Caught(Caught {
                    folder,
                    rev: f.state.rev,
                    knowledge: f.state.knowledge.clone(),
                    applied: f.state.applied.clone(),
                }),
                None => return Ok(()),
            };
            self.say_rows(link, folder, &message);
        }
    }

    /// Says something on the index lane, which is bounded.
    fn say_rows(&mut self, link: LinkId, folder: FolderId, message: &Message) {
        let exchange = self.links.get_mut(&link).and_then(|l| l.exchanges.get_mut(&folder));
        if let Some(outgoing) = exchange.and_then(|e| e.outgoing.as_mut()) {
            outgoing.in_flight += 1;
        }
        self.say(link, Lane::Index, message);
    }

    /// What changed membership means for links and records.
    pub(super) fn enforce_members<I: Index>(&mut self, folder: FolderId, index: &mut I) -> Result<(), I::Error> {
        let Some(f) = self.folders.get(&folder) else { return Ok(()) };
        let me = self.cx.config.device;
        let fresh: Vec<PeerRecord> = f
            .members
            .iter()
            .filter(|(d, _)| {
                **d != me && f.has_member(**d) && self.peers.get(*d).is_none_or(|p| p.record.name.is_empty())
            })
            .map(|(d, m)| PeerRecord { id: *d, key: m.key, name: m.name.clone(), addrs: Vec::new(), removed: false })
            .collect();
        for mut record in fresh {
            if let Some(peer) = self.peers.get_mut(&record.id) {
                record.addrs.clone_from(&peer.record.addrs);
                index.put_peer(&record)?;
                peer.record = record;
            } else {
                index.put_peer(&record)?;
                self.peers.insert(record.id, Peer::new(record));
            }
        }
        let sharing = |device| self.folders.values().any(|f| f.has_member(device));
        let unwelcome: Vec<LinkId> = self.links.iter().filter(|(_, l)| !sharing(l.device)).map(|(id, _)| *id).collect();
        for link in unwelcome {
            self.refuse(link, CloseCode::NotAuthorised, "this device was removed from every shared folder", index)?;
        }
        for l in self.links.values_mut() {
            if !self.folders.get(&folder).is_some_and(|f| f.has_member(l.device)) {
                l.exchanges.remove(&folder);
            }
        }
        Ok(())
    }

    /// Says hello to nobody any more.
    pub(super) fn say_goodbye(&mut self) {
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for link in links {
            self.say(link, Lane::Control, &Message::Goodbye);
            self.hang_up(link, CloseCode::ShuttingDown, "the daemon is stopping");
        }
    }
}

/// Where a folder stands, as `device` is told.
fn offer_of(state: &FolderState, device: DeviceId) -> FolderOffer {
    let known = state.peers.get(&device);
    FolderOffer {
        folder: state.id,
        epoch: state.epoch,
        max_rev: state.rev,
        cursor_epoch: known.map_or(0, |p| p.epoch),
        cursor: known.map_or(0, |p| p.cursor),
        knowledge: state.knowledge.clone(),
        applied: state.applied.clone(),
        purge_rev: state.purge_rev,
    }
}

/// The next batch of a stream, or `None` when it stands where the folder stands.
fn next_rows<I: Index>(
    outgoing: &mut Outgoing,
    folder: &crate::folder::Folder,
    limits: &Limits,
    index: &mut I,
) -> Result<Option<Rows>, I::Error> {
    let id = folder.id();
    let mut rows = Vec::new();
    let mut bytes = 0;
    while rows.len() < limits.batch_rows && bytes < limits.batch_bytes {
        let room = limits.batch_rows - rows.len();
        let page = match &outgoing.position {
            Position::ByKey { after, .. } => index.rows_after(id, after.as_ref(), room)?,
            Position::ByRev(rev) if *rev >= folder.state.rev => break,
            Position::ByRev(rev) => index.rows_since(id, *rev, room)?,
        };
        if page.is_empty() {
            match &outgoing.position {
                Position::ByKey { from, .. } => {
                    let from = *from;
                    outgoing.position = Position::ByRev(from);
                    // Said even without a row: the receiver waits for the end of the list.
                    return Ok(Some(Rows { folder: id, rows, upto: Some(from) }));
                }
                Position::ByRev(_) => {
                    outgoing.position = Position::ByRev(folder.state.rev);
                    continue;
                }
            }
        }
        for v in page {
            if bytes >= limits.batch_bytes {
                break;
            }
            if !outgoing.may_skip(&v.row, v.rev) {
                bytes += weight(&v.key, &v.row);
                rows.push(WireRow { key: v.key.clone(), row: v.row });
            }
            match &mut outgoing.position {
                Position::ByKey { after, .. } => *after = Some(v.key),
                Position::ByRev(rev) => *rev = v.rev,
            }
        }
    }
    if rows.is_empty() {
        return Ok(None);
    }
    let upto = match outgoing.position {
        Position::ByKey { .. } => None,
        Position::ByRev(rev) => Some(rev),
    };
    Ok(Some(Rows { folder: id, rows, upto }))
}

/// About how many bytes a row takes on the wire.
fn weight(key: &Key, row: &crate::index::Row) -> usize {
    let bodies: usize = row
        .siblings
        .values()
        .map(|v| match &v.body {
            crate::index::Body::Symlink { target } => 64 + target.len(),
            crate::index::Body::Member(m) => 192 + m.name.len() + 16 * m.actors.len(),
            crate::index::Body::Policy(PolicyChoice::Prefer(order)) => 64 + 36 * order.len(),
            crate::index::Body::Dir { .. }
            | crate::index::Body::File { .. }
            | crate::index::Body::Tomb
            | crate::index::Body::Policy(_) => 128,
        })
        .sum();
    16 + key.to_bytes().len() + 20 * row.ctx.len() + bodies
}

/// `host:port` with another port.
fn at_port(addr: &str, port: u16) -> String {
    let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host);
    format!("{host}:{port}")
}

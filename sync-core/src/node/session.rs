//! Sessions: who is at the other end of a link, and whether it is still there.

use super::exchange::Exchange;
use super::{Node, Peer};
use crate::config::Limits;
use crate::error::CloseCode;
use crate::id::{DeviceId, EffectId, FolderId, LinkId, PublicKey};
use crate::index::{Index, PeerRecord};
use crate::input::{Lane, LinkStats};
use crate::link::{Health, health};
use crate::output::{Event, Output};
use crate::proving::{Mutant, Point, is_mutant, sometimes};
use crate::time::{Instant, Timer};
use crate::wire::{FolderOffer, Hello, Message, PROTOCOL_VERSION, decode, encode};
use alloc::{collections::BTreeMap, collections::BTreeSet, format, string::String, vec::Vec};
use core::time::Duration;

/// Addresses remembered for a device.
const MAX_ADDRS: usize = 4;
/// How long a doubted link has to show that its peer is there.
const PROOF: Duration = Duration::from_millis(500);
/// Longest device name taken over from a peer, characters.
const MAX_NAME: usize = 128;

/// One connection and the session on it.
pub(super) struct Link {
    pub(super) device: DeviceId,
    addr: String,
    /// The attempt that it came of, if this device dialled.
    dial: Option<EffectId>,
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
    pub(super) early: BTreeMap<FolderId, FolderOffer>,
    /// Folders that the peer did not share when they were offered to it: offered again when it does.
    pub(super) declined: BTreeSet<FolderId>,
    /// Requests of the peer being answered.
    pub(super) asks: usize,
    /// Whether it has been hung up: nothing more is heard.
    pub(super) closing: bool,
}

impl Link {
    /// Whether the session stands.
    pub(super) fn is_ready(&self) -> bool {
        self.greeting_until.is_none() && !self.closing
    }

    /// When the peer counts as gone unless it is heard.
    fn mute_at(&self, limits: &Limits) -> Instant {
        let mute = if is_mutant(Mutant::MuteForEver) {
            self.heard_at + limits.mute * 1_000
        } else {
            self.heard_at + limits.mute
        };
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
        if let Some(dial) = dial {
            // The dialler waits for the hello; until then the attempt is still under way.
            self.cx.finish(dial);
        }
        let (now, limits) = (self.cx.now(), self.cx.config.limits.clone());
        let entry = Link {
            device,
            addr: addr.clone(),
            dial,
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
        let is_paired = self.peers.get(&device).is_some_and(|p| !p.record.removed && p.record.key == *key);
        if !is_paired && !is_mutant(Mutant::PinUnchecked) {
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
        } else if let Some(dial) = gone.dial.filter(|_| peer.link.is_none()) {
            peer.dialer.failed(dial, self.cx.at.now, &mut self.cx.rng);
            peer.reason = reason;
        }
    }

    pub(super) fn link_stats(&mut self, link: LinkId, stats: LinkStats) {
        if let Some(l) = self.links.get_mut(&link) {
            let (before, now) = (l.health, health(&l.stats, &stats));
            if before != now {
                sometimes(Point::turned(now));
            }
            l.health = now;
            l.stats = stats;
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
                sometimes(Point::Pinged);
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
            (Lane::Index, true, Message::FolderGone(folder)) => {
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
        let addr = if l.dial.is_some() { l.addr.clone() } else { at_port(&l.addr, hello.listen_port) };
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
            sometimes(Point::LinkTakenOver);
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
        if is_mutant(Mutant::EarlyOfferLost) {
            return Ok(());
        }
        early.values().try_for_each(|offer| self.offered(link, device, offer, index))
    }

    /// A peer that offers another link may have been restarted: the old one is not waited for as long as usual.
    fn doubt(&mut self, link: LinkId) {
        sometimes(Point::LinkDoubted);
        let until = self.cx.at.now + PROOF;
        if let Some(l) = self.links.get_mut(&link) {
            l.doubted_until.get_or_insert(until);
        }
        self.say(link, Lane::Control, &Message::Ping(self.cx.at.now.0));
    }

    /// Whether a new link replaces an old one to the same device: both sides decide alike, by who dialled.
    fn takes_over(&self, new: LinkId, old: LinkId) -> bool {
        let me = self.cx.config.device;
        let initiator = |link: LinkId| self.links.get(&link).map(|l| if l.dial.is_some() { me } else { l.device });
        match (initiator(new), initiator(old)) {
            (Some(new), Some(old)) => new <= old,
            _ => true,
        }
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

/// `host:port` with another port.
fn at_port(addr: &str, port: u16) -> String {
    let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host);
    format!("{host}:{port}")
}

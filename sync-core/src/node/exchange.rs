//! What is said about a folder's rows on a link: offers, the streams of both directions, and what has arrived.

use super::Node;
use crate::config::Limits;
use crate::error::CloseCode;
use crate::exchange::{Outgoing, Position};
use crate::folder::Said;
use crate::id::{DeviceId, FolderId, LinkId};
use crate::index::{FolderState, Index, Key, PolicyChoice, Vector};
use crate::input::Lane;
use crate::proving::{Mutant, Point, is_mutant, sometimes};
use crate::wire::{Caught, Flow, FolderOffer, Have, Message, Rows, SyncStart, WireRow};
use alloc::vec::Vec;

/// Frames on the index lane that may wait for the transport.
const MAX_IN_FLIGHT: u32 = 2;
/// Offers kept until the hello, or until the disk has been looked at.
const MAX_EARLY: usize = 1_024;
/// Contents named in one `Have`.
const MAX_HAVE: usize = 1_000;

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
    /// Whether every row up to `rev` has been said: none is before the peer has made its offer.
    pub(super) fn has_said(&self, rev: u64) -> bool {
        self.outgoing.as_ref().is_some_and(|o| o.position == Position::ByRev(rev))
    }

    /// Whether both directions have caught up at least once.
    pub(super) fn is_caught(&self) -> bool {
        let said = self.outgoing.as_ref().is_some_and(|o| matches!(o.position, Position::ByRev(_)));
        said && self.incoming.as_ref().is_some_and(|i| i.caught)
    }
}

impl Node {
    /// Keeps an offer for later.
    pub(super) fn early<I: Index>(&mut self, link: LinkId, offer: FolderOffer, index: &mut I) -> Result<(), I::Error> {
        sometimes(Point::OfferEarly);
        let Some(l) = self.links.get_mut(&link) else { return Ok(()) };
        if l.early.len() >= MAX_EARLY {
            return self.misbehaved(link, "too many offers before the hello", index);
        }
        // Of a folder that is not here only the name is kept: it is declined after the hello.
        let is_shared = self.folders.get(&offer.folder).is_some_and(|f| f.has_member(l.device));
        let nothing = || FolderOffer { knowledge: Vector::default(), applied: Vector::default(), ..offer };
        l.early.insert(offer.folder, if is_shared { offer } else { nothing() });
        Ok(())
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

    pub(super) fn offered<I: Index>(
        &mut self,
        link: LinkId,
        device: DeviceId,
        offer: &FolderOffer,
        index: &mut I,
    ) -> Result<(), I::Error> {
        let Some(f) = self.folders.get_mut(&offer.folder).filter(|f| f.has_member(device)) else {
            sometimes(Point::FolderDeclined);
            self.say(link, Lane::Index, &Message::FolderGone(offer.folder));
            return Ok(());
        };
        if !f.is_open {
            return self.early(link, offer.clone(), index);
        }
        let confirmed = offer.knowledge.seq(f.state.actor);
        let counts_further = offer.cursor_epoch == f.state.epoch && offer.cursor > f.said.rev;
        if (confirmed > f.said.seq || counts_further) && !is_mutant(Mutant::RollbackUnnoticed) {
            return self.begin_again(offer.folder, index);
        }
        f.state.acked = f.state.acked.max(confirmed);
        let peer = f.peer_mut(device);
        if is_mutant(Mutant::CursorAhead) && peer.epoch == offer.epoch {
            peer.cursor = offer.max_rev;
        }
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

    /// A peer knows writes or changes of ours that it cannot have from here: this database is older than what it once said.
    fn begin_again<I: Index>(&mut self, folder: FolderId, index: &mut I) -> Result<(), I::Error> {
        sometimes(Point::RollbackNoticed);
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

    pub(super) fn sync_start(&mut self, link: LinkId, device: DeviceId, start: SyncStart) {
        let Some(f) = self.folders.get_mut(&start.folder).filter(|f| f.has_member(device)) else { return };
        let Some(l) = self.links.get_mut(&link) else { return };
        if is_mutant(Mutant::KnownAtStart) {
            f.state.knowledge.join(&start.knowledge);
        }
        let peer = f.peer_mut(device);
        let by_rev = match start.flow {
            Flow::Since(rev) => {
                sometimes(Point::FlowByCursor);
                rev == peer.cursor && start.epoch == peer.epoch
            }
            Flow::All => {
                sometimes(Point::FlowInFull);
                false
            }
        };
        if peer.epoch != 0 && peer.epoch != start.epoch {
            sometimes(Point::EpochChanged);
        }
        if !by_rev {
            (peer.epoch, peer.cursor) = (start.epoch, 0);
        }
        let incoming = Incoming { known: start.knowledge, by_rev, listed: by_rev, caught: false };
        l.exchanges.entry(start.folder).or_default().incoming = Some(incoming);
    }

    pub(super) fn rows<I: Index>(
        &mut self,
        link: LinkId,
        device: DeviceId,
        rows: Rows,
        index: &mut I,
    ) -> Result<(), I::Error> {
        if rows.rows.len() > self.cx.config.limits.batch_rows {
            return self.misbehaved(link, "a batch of too many rows", index);
        }
        let Some(exchange) = self.links.get_mut(&link).and_then(|l| l.exchanges.get_mut(&rows.folder)) else {
            return Ok(());
        };
        let Some(f) = self.folders.get_mut(&rows.folder).filter(|f| f.has_member(device)) else { return Ok(()) };
        let Some(incoming) = &mut exchange.incoming else { return Ok(()) };
        // A peer that hears of them from a third one sends them before it says that it knows them.
        if rows.rows.iter().any(|r| r.row.ctx.seq(f.state.actor) > f.said.seq) {
            return self.begin_again(rows.folder, index);
        }
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

    pub(super) fn gone<I: Index>(
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

    pub(super) fn caught<I: Index>(
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
        if caught.knowledge.seq(f.state.actor) > f.said.seq {
            return self.begin_again(caught.folder, index);
        }
        (incoming.caught, incoming.by_rev, incoming.listed) = (true, true, true);

        if let Some(outgoing) = &mut exchange.outgoing {
            outgoing.receiver_knows.join(&caught.knowledge);
            outgoing.heard(f.state.rev);
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

    pub(super) fn have(&mut self, device: DeviceId, have: &Have) {
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
            let Some(f) = self.folders.get_mut(&folder) else { return Ok(()) };
            if outgoing.in_flight >= MAX_IN_FLIGHT {
                sometimes(Point::LaneFull);
                return Ok(());
            }
            let message = match next_rows(outgoing, f, &limits, index)? {
                Some(rows) => {
                    self.cx.counters.rows_sent += rows.rows.len() as u64;
                    Message::Rows(rows)
                }
                None if (answered || is_mutant(Mutant::CaughtUnanswered)) && outgoing.caught_due(&f.state) => {
                    Message::Caught(Caught {
                        folder,
                        rev: f.state.rev,
                        knowledge: f.state.knowledge.clone(),
                        applied: f.state.applied.clone(),
                    })
                }
                None => return Ok(()),
            };
            f.said = Said { seq: f.state.seq, rev: f.state.rev };
            self.say_rows(link, folder, &message);
        }
    }

    /// A frame of the index lane has left.
    pub(super) fn sent(&mut self, link: LinkId) {
        let Some(l) = self.links.get_mut(&link) else { return };
        // Frames of all folders share the lane in order; which one left does not matter for the bound.
        if let Some(out) = l.exchanges.values_mut().filter_map(|e| e.outgoing.as_mut()).find(|o| o.in_flight > 0) {
            out.in_flight -= 1;
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
                    let from = if is_mutant(Mutant::WalkMissesChanges) { folder.state.rev } else { *from };
                    if from < folder.state.rev {
                        sometimes(Point::ChangedDuringWalk);
                    }
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
    if rows.len() >= limits.batch_rows || bytes >= limits.batch_bytes {
        sometimes(Point::BatchSplit);
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

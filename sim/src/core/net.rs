//! The network: connections whose lanes keep their own order and no other, requests on streams of their own, and all
//! the ways in which both end.

use crate::case::Breakage;
use crate::core::disk::chunk;
use crate::core::hostile;
use crate::core::world::{Event, World};
use crate::dice::{Dice, Domain};
use crate::outcome::Invariant;
use std::collections::BTreeMap;
use std::ops::Range;
use sync_core::id::{AskId, EffectId, LinkId, PublicKey};
use sync_core::input::{FetchFailure, Lane, LinkStats};
use sync_core::output::{Serve, Source};
use sync_core::proving::{Mutant, is_mutant};
use sync_core::transfer::{ChunkList, SCHEME};
use sync_core::wire::{ListWant, Message, Want, WantItem, encode};
use sync_core::{CloseCode, ContentId, DeviceId, FetchError, FolderId, Input, Output};

/// One end of a connection.
#[derive(Debug)]
struct End {
    host: usize,
    link: LinkId,
    /// Whether the node has been told of it and not yet of its end.
    up: bool,
    admitted: bool,
    /// What has arrived before it was admitted.
    waiting: Vec<Arrival>,
    /// When the node is told of it.
    since: u64,
    /// When the last frame of each lane arrives here.
    last: [u64; 2],
    /// What the transport has measured so far.
    stats: LinkStats,
}

#[derive(Debug)]
enum Arrival {
    Frame(Lane, Vec<u8>),
    Ask(AskId, Vec<u8>),
}

/// A connection.
#[derive(Debug)]
pub(super) struct Conn {
    ends: [End; 2],
    /// Whether nothing comes through any more.
    dead: bool,
    /// Whether nothing gets to each end any more, and nobody has noticed.
    mute: [bool; 2],
}

/// A request under way.
#[derive(Debug)]
struct Ask {
    conn: u64,
    /// The end that asks.
    side: usize,
    fetch: EffectId,
    want: FetchKind,
    answered: bool,
    /// Whether the other side has taken it on.
    served: bool,
}

#[derive(Clone, Debug)]
enum FetchKind {
    List(ContentId, u64),
    Batch(Vec<(ContentId, u64)>),
    Range { content: ContentId, size: u64, offset: u64, chunks: ChunkList },
}

impl FetchKind {
    /// Bytes of contents asked for.
    fn bytes(&self) -> u64 {
        match self {
            Self::List(..) => 0,
            Self::Batch(items) => items.iter().map(|(_, size)| size).sum(),
            Self::Range { chunks, .. } => chunks.bytes(),
        }
    }
}

/// What comes back on a request's stream.
#[derive(Clone, Debug)]
pub(super) enum Payload {
    /// A code.
    Refused(FetchError),
    /// A chunk list.
    List(ChunkList),
    /// Bytes or a code for each item.
    Items(Vec<Result<Vec<u8>, FetchError>>),
}

/// Every connection and request.
#[derive(Debug, Default)]
pub(super) struct Net {
    conns: BTreeMap<u64, Conn>,
    by_link: BTreeMap<(usize, LinkId), (u64, usize)>,
    asks: BTreeMap<AskId, Ask>,
    next: u64,
    knocks: u64,
    /// From whom nothing gets to whom.
    pub(super) cut: Vec<(usize, usize)>,
    /// The choices of the way from one device to another.
    ways: BTreeMap<(usize, usize), Dice>,
}

impl Net {
    /// Counts those whom nobody knows.
    pub(super) fn knocked(&mut self) -> u64 {
        self.knocks += 1;
        self.knocks
    }
}

/// Where a host listens.
pub(super) fn address(host: usize) -> String {
    format!("10.0.0.{host}:22000")
}

fn host_of(addr: &str) -> Option<usize> {
    addr.strip_prefix("10.0.0.")?.strip_suffix(":22000")?.parse().ok()
}

impl World {
    fn is_cut(&self, a: usize, b: usize) -> bool {
        let is_for_good = self.broken.is_some_and(|(host, how)| how == Breakage::Cut && (host == a || host == b));
        let is_apart = self.apart.is_some_and(|apart| apart == (a, b) || apart == (b, a));
        is_for_good || is_apart || self.net.cut.iter().any(|cut| *cut == (a, b) || *cut == (b, a))
    }

    /// The choices of the way from one device to another.
    pub(super) fn way(&mut self, from: usize, to: usize) -> &mut Dice {
        let seed = self.case.seed;
        let entity = from as u64 * 64 + to as u64;
        self.net.ways.entry((from, to)).or_insert_with(|| Dice::new(seed, Domain::Ways, entity))
    }

    fn latency(&mut self, from: usize, to: usize) -> u64 {
        let slow = self.chance(|c| c.delays);
        let way = self.way(from, to);
        let base = 200 + way.range(0, 2_000);
        if slow == 0 || !way.percent(slow) {
            return base;
        }
        let late = if way.percent(30) { way.range(10_000, 3_000_000) } else { way.range(0, 100_000) };
        self.strike("delay");
        base + late
    }

    pub(super) fn dial(&mut self, host: usize, dial: EffectId, peer: DeviceId, addrs: &[String]) {
        let target = addrs.iter().filter_map(|a| host_of(a)).find(|h| self.hosts.get(*h).is_some_and(|t| t.id == peer));
        let at = self.now + self.latency(host, target.unwrap_or(host)) * 3;
        let life = self.hosts[host].life;
        self.push(at, Event::Dialled { host, life, dial, target });
    }

    pub(super) fn dialled(&mut self, host: usize, dial: EffectId, target: Option<usize>) {
        let reached = target.filter(|t| !self.is_cut(host, *t) && self.hosts[*t].is_up());
        let Some(other) = reached else {
            let after = self.way(host, host).range(1_000, 4_000_000);
            return self.tell_later(host, after, Input::DialFailed { dial, reason: "no answer".into() });
        };
        self.net.next += 1;
        let conn = self.net.next;
        let links = [LinkId(conn * 2), LinkId(conn * 2 + 1)];
        let addrs = [address(other), format!("10.0.0.{host}:{}", 40_000 + conn % 20_000)];
        let keys: [PublicKey; 2] = [self.hosts[other].key, self.hosts[host].key];
        let delays = [self.latency(other, host), self.latency(host, other)];
        let end = |host, side: usize, now: u64| End {
            host,
            link: links[side],
            up: true,
            admitted: false,
            waiting: Vec::new(),
            since: now + delays[side],
            last: [now + delays[side]; 2],
            stats: LinkStats::default(),
        };
        let ends = [end(host, 0, self.now), end(other, 1, self.now)];
        self.net.conns.insert(conn, Conn { ends, dead: false, mute: [false; 2] });
        for (side, host) in [host, other].into_iter().enumerate() {
            self.net.by_link.insert((host, links[side]), (conn, side));
            let dial = (side == 0).then_some(dial);
            let up = Input::LinkUp { link: links[side], key: keys[side], addr: addrs[side].clone(), dial };
            self.tell_later(host, delays[side], up);
        }
        let (drops, now) = (self.chance(|c| c.drops), self.now);
        let way = self.way(host, other);
        if way.percent(drops) {
            let at = now + way.range(0, 8_000_000);
            self.push(at, Event::Drop { conn });
        }
        self.push(now + MEASURE_US, Event::Measure { conn });
    }

    /// The transport tells both ends what it has measured.
    pub(super) fn measure(&mut self, conn: u64) {
        let Some(hosts) = self.net.conns.get(&conn).filter(|c| !c.dead).map(|c| [c.ends[0].host, c.ends[1].host])
        else {
            return;
        };
        let rough = self.chance(|c| c.delays.max(c.drops));
        let way = self.way(hosts[0], hosts[1]);
        let is_bad = way.percent(rough);
        let (rtt_us, lost) =
            if is_bad { (way.range(1, 900_000), way.range(0, 25)) } else { (way.range(300, 9_000), 0) };
        for side in 0..2 {
            let Some(c) = self.net.conns.get_mut(&conn) else { return };
            let end = &mut c.ends[side];
            let (stats, link, host) = (&mut end.stats, end.link, end.host);
            stats.rtt_us = rtt_us;
            (stats.packets_sent, stats.packets_lost) = (stats.packets_sent + 100, stats.packets_lost + lost);
            (stats.bytes_sent, stats.bytes_received) = (stats.bytes_sent + 1_000, stats.bytes_received + 1_000);
            let (stats, up) = (*stats, end.up && end.admitted);
            if up {
                self.tell(host, Input::LinkStats { link, stats });
            }
        }
        self.push(self.now + MEASURE_US, Event::Measure { conn });
    }

    pub(super) fn admit(&mut self, host: usize, link: LinkId) {
        let Some((conn, side)) = self.net.by_link.get(&(host, link)).copied() else { return };
        let Some(c) = self.net.conns.get_mut(&conn) else { return };
        c.ends[side].admitted = true;
        for arrival in std::mem::take(&mut c.ends[side].waiting) {
            self.arrive(host, link, arrival);
        }
    }

    fn arrive(&mut self, host: usize, link: LinkId, arrival: Arrival) {
        let input = match arrival {
            Arrival::Frame(lane, frame) => Input::Received { link, lane, frame },
            Arrival::Ask(ask, frame) => Input::Asked { link, ask, frame },
        };
        self.tell(host, input);
    }

    pub(super) fn send(&mut self, host: usize, link: LinkId, lane: Lane, frame: Vec<u8>) {
        let Some((conn, side)) = self.net.by_link.get(&(host, link)).copied() else { return };
        if self.hosts[host].hostile_until > self.now {
            let (now, h) = (self.now, &mut self.hosts[host]);
            let (lane, frames) = hostile::twist(&mut h.hostility, lane, &frame, now);
            self.strike("hostile-frame");
            return frames.into_iter().for_each(|frame| self.send_on(conn, side, lane, frame));
        }
        self.send_on(conn, side, lane, frame);
    }

    fn send_on(&mut self, conn: u64, side: usize, lane: Lane, frame: Vec<u8>) {
        let Some(hosts) = self.net.conns.get(&conn).map(|c| [c.ends[side].host, c.ends[1 - side].host]) else { return };
        let mut delay = self.latency(hosts[0], hosts[1]);
        let reorder = self.chance(|c| c.reorder);
        if self.way(hosts[0], hosts[1]).percent(reorder) {
            delay += self.way(hosts[0], hosts[1]).range(0, 1_000_000);
            self.strike("reorder");
        }
        let Some(c) = self.net.conns.get_mut(&conn) else { return };
        if !c.ends[side].up {
            return;
        }
        let last = &mut c.ends[1 - side].last[usize::from(lane == Lane::Index)];
        *last = (self.now + delay).max(*last + 1);
        let at = *last;
        self.push(at, Event::Frame { conn, to: 1 - side, lane, frame });
    }

    pub(super) fn frame(&mut self, conn: u64, to: usize, lane: Lane, frame: Vec<u8>) {
        let Some(c) = self.net.conns.get_mut(&conn).filter(|c| !c.dead && !c.mute[to]) else { return };
        let (host, link) = (c.ends[to].host, c.ends[to].link);
        let (from, from_link, from_up) = (c.ends[1 - to].host, c.ends[1 - to].link, c.ends[1 - to].up);
        if lane == Lane::Index && from_up {
            self.tell(from, Input::Sent { link: from_link });
        }
        self.reach(conn, to, host, link, Arrival::Frame(lane, frame));
    }

    fn reach(&mut self, conn: u64, to: usize, host: usize, link: LinkId, arrival: Arrival) {
        let Some(c) = self.net.conns.get_mut(&conn) else { return };
        let end = &mut c.ends[to];
        if !end.up {
            return;
        }
        if end.admitted {
            self.arrive(host, link, arrival);
        } else {
            end.waiting.push(arrival);
        }
    }

    pub(super) fn hang_up(&mut self, host: usize, link: LinkId, code: CloseCode, reason: String) {
        let Some((conn, side)) = self.net.by_link.get(&(host, link)).copied() else { return };
        let Some(other) = self.net.conns.get(&conn).map(|c| c.ends[1 - side].host) else { return };
        let after = self.latency(host, other);
        let Some(c) = self.net.conns.get(&conn) else { return };
        let at = c.ends[1 - side].last.iter().copied().max().unwrap_or(0).max(self.now + after);
        if !c.dead {
            self.push(at, Event::Closed { conn, side: 1 - side, code, reason });
        }
        let (side, reason) = (side, "closed by this device".into());
        self.push(self.now + 500, Event::Closed { conn, side, code: CloseCode::None, reason });
    }

    /// A connection breaks: each end learns of it in its own time.
    pub(super) fn drop_conn(&mut self, conn: u64) {
        let Some(c) = self.net.conns.get_mut(&conn) else { return };
        if std::mem::replace(&mut c.dead, true) {
            return;
        }
        let hosts = [c.ends[0].host, c.ends[1].host];
        self.strike("drop");
        for side in 0..2 {
            let (now, way) = (self.now, self.way(hosts[side], hosts[1 - side]));
            let longest = if way.percent(20) { 40_000_000 } else { 3_000_000 };
            let at = now + way.range(0, longest);
            let since = self.net.conns.get(&conn).map_or(0, |c| c.ends[side].since);
            let (at, reason) = (at.max(since + 1), "timed out".into());
            self.push(at, Event::Closed { conn, side, code: CloseCode::None, reason });
        }
    }

    pub(super) fn closed(&mut self, conn: u64, side: usize, code: CloseCode, reason: String) {
        let Some(c) = self.net.conns.get_mut(&conn) else { return };
        if !std::mem::replace(&mut c.ends[side].up, false) {
            return;
        }
        let (host, link) = (c.ends[side].host, c.ends[side].link);
        self.net.by_link.remove(&(host, link));
        let mine: Vec<AskId> = self.net.asks.iter().filter(|(_, a)| a.conn == conn).map(|(id, _)| *id).collect();
        let early = self.hosts[host].pace.percent(50);
        if !early {
            self.tell(host, Input::LinkDown { link, code, reason: reason.clone() });
        }
        for id in mine {
            let asks = self.net.asks.get(&id).is_some_and(|a| a.side == side);
            if asks {
                self.complete(id, &Payload::Refused(FetchError::Broken));
            } else if let Some(ask) = self.net.asks.get_mut(&id)
                && !std::mem::replace(&mut ask.answered, true)
            {
                self.tell(host, Input::Answered { ask: id, bytes: 0 });
            }
        }
        if early {
            self.tell(host, Input::LinkDown { link, code, reason });
        }
        if self.net.conns.get(&conn).is_some_and(|c| c.ends.iter().all(|e| !e.up)) {
            self.net.conns.remove(&conn);
        }
    }

    /// A host is gone: the other ends find out.
    pub(super) fn vanish(&mut self, host: usize) {
        let conns: Vec<u64> =
            self.net.conns.iter().filter(|(_, c)| c.ends.iter().any(|e| e.host == host)).map(|(id, _)| *id).collect();
        for conn in conns {
            self.drop_conn(conn);
            if let Some(c) = self.net.conns.get_mut(&conn) {
                c.ends.iter_mut().filter(|e| e.host == host).for_each(|e| e.up = false);
            }
        }
        self.net.by_link.retain(|(h, _), _| *h != host);
    }

    fn between(&self, a: usize, b: usize) -> Vec<u64> {
        let between = |c: &Conn| c.ends.iter().all(|e| e.host == a || e.host == b);
        self.net.conns.iter().filter(|(_, c)| between(c)).map(|(id, _)| *id).collect()
    }

    /// Every connection between two hosts breaks.
    pub(super) fn break_between(&mut self, a: usize, b: usize) {
        self.between(a, b).into_iter().for_each(|conn| self.drop_conn(conn));
    }

    /// Nothing gets from one host to another on what connects them; after a while they notice.
    pub(super) fn mute(&mut self, from: usize, to: usize) {
        for conn in self.between(from, to) {
            let at = self.now + self.way(from, to).range(100_000, 10_000_000);
            let Some(c) = self.net.conns.get_mut(&conn) else { continue };
            for side in 0..2 {
                c.mute[side] |= c.ends[side].host == to;
            }
            // Or never, unless somebody notices that nothing is heard any more.
            if self.way(from, to).percent(50) {
                self.push(at, Event::Drop { conn });
            }
        }
    }

    #[allow(clippy::wildcard_enum_match_arm)] // Only fetches come here.
    pub(super) fn fetch(&mut self, host: usize, output: Output) {
        let (fetch, link, message, want) = match output {
            Output::FetchList { fetch, link, folder, content, size, basis: _ } => {
                let want = Message::ListWant(ListWant { folder, content, scheme: SCHEME, known: None });
                (fetch, link, want, FetchKind::List(content, size))
            }
            Output::FetchBatch { fetch, link, folder, items } => {
                let wants = items.iter().map(|(content, len)| WantItem { content: *content, offset: 0, len: *len });
                let want = Message::Want(Want { folder, items: wants.collect() });
                (fetch, link, want, FetchKind::Batch(items))
            }
            Output::FetchRange { fetch, link, folder, content, size, offset, chunks } => {
                let item = WantItem { content, offset, len: chunks.bytes() };
                let want = Message::Want(Want { folder, items: vec![item] });
                (fetch, link, want, FetchKind::Range { content, size, offset, chunks })
            }
            other => unreachable!("not a fetch: {other:?}"),
        };
        self.net.next += 1;
        let ask = AskId(self.net.next);
        let (conn, side) = self.net.by_link.get(&(host, link)).copied().unwrap_or((0, 0));
        self.keeps_to_window(host, conn, side);
        self.net.asks.insert(ask, Ask { conn, side, fetch, want, answered: false, served: false });
        self.hosts[host].fetches.insert(ask);
        if conn == 0 {
            return self.complete_at(host, ask, &Payload::Refused(FetchError::Broken));
        }
        let Some(other) = self.net.conns.get(&conn).map(|c| c.ends[1 - side].host) else { return };
        let at = self.now + self.latency(host, other);
        self.push(at, Event::Ask { conn, to: 1 - side, ask, frame: encode(&message) });
    }

    /// No more is asked of a peer than its window, but for the last request.
    fn keeps_to_window(&mut self, host: usize, conn: u64, side: usize) {
        let open = self.net.asks.values().filter(|a| conn != 0 && (a.conn, a.side) == (conn, side));
        let (bytes, window) = (open.map(|a| a.want.bytes()).sum::<u64>(), self.case.scenario.knobs.peer_window_bytes);
        if bytes >= window {
            let what = format!("host {host} asks for more with {bytes} bytes on their way: its window is {window}");
            self.oracle.fail(Invariant::ResourceBounds, what);
        }
    }

    /// A device takes on no more requests than it may.
    pub(super) fn takes_on(&mut self, host: usize, ask: AskId, answer: &Serve) {
        let Some(a) = self.net.asks.get_mut(&ask).filter(|_| *answer != Serve::Refuse(FetchError::Busy)) else {
            return;
        };
        a.served = true;
        let (conn, side) = (a.conn, a.side);
        let open = self.net.asks.values().filter(|a| (a.conn, a.side) == (conn, side) && a.served && !a.answered);
        let (count, most) = (open.count(), self.case.scenario.knobs.asks);
        if count > most {
            let what = format!("host {host} has taken on {count} requests of one peer, and {most} is the most");
            self.oracle.fail(Invariant::ResourceBounds, what);
        }
    }

    pub(super) fn asked(&mut self, conn: u64, to: usize, ask: AskId, frame: Vec<u8>) {
        let Some(c) = self.net.conns.get(&conn).filter(|c| !c.dead && !c.mute[to]) else { return };
        let (host, link) = (c.ends[to].host, c.ends[to].link);
        self.reach(conn, to, host, link, Arrival::Ask(ask, frame));
    }

    /// The serving side reads its disk.
    pub(super) fn serve(&mut self, host: usize, ask: AskId, answer: Serve) {
        let mut payload = match answer {
            Serve::Refuse(error) => Payload::Refused(error),
            Serve::List(source, _) => match self.read(host, &source) {
                Some(bytes) => Payload::List(chunk(&bytes)),
                None => Payload::Refused(FetchError::Changed),
            },
            Serve::Ranges(ranges) => {
                let read = |(source, range): (Result<Source, FetchError>, Range<u64>)| {
                    let bytes = self.read(host, &source?).ok_or(FetchError::Changed)?;
                    let range = usize::try_from(range.start).unwrap_or(0)..usize::try_from(range.end).unwrap_or(0);
                    bytes.get(range).map(<[u8]>::to_vec).ok_or(FetchError::Refused)
                };
                Payload::Items(ranges.into_iter().map(read).collect())
            }
        };
        if self.hosts[host].hostile_until > self.now && self.hosts[host].hostility.percent(50) {
            self.strike("hostile-answer");
            spoil(&mut payload, self.hosts[host].hostility.draw());
        }
        let bytes = match &payload {
            Payload::Items(items) => items.iter().flatten().map(|b| b.len() as u64).sum(),
            Payload::Refused(_) | Payload::List(_) => 0,
        };
        if let Some(a) = self.net.asks.get_mut(&ask)
            && !std::mem::replace(&mut a.answered, true)
        {
            let after = self.latency(host, host);
            self.tell_later(host, after, Input::Answered { ask, bytes });
        }
        let at = self.now + self.latency(host, host) + bytes / 100;
        self.push(at, Event::Answer { ask, payload });
    }

    fn read(&self, host: usize, source: &Source) -> Option<std::rc::Rc<Vec<u8>>> {
        self.hosts[host].disk.read(&source.path, &source.expect)
    }

    /// An answer has come through, or not.
    pub(super) fn answer(&mut self, ask: AskId, mut payload: Payload) {
        let Some(a) = self.net.asks.get(&ask) else { return };
        let Some(c) = self.net.conns.get(&a.conn).filter(|c| !c.dead && !c.mute[a.side] && c.ends[a.side].up) else {
            return;
        };
        let (from, to) = (c.ends[1 - a.side].host, c.ends[a.side].host);
        let (corrupt, cuts) = (self.chance(|c| c.corrupt), self.chance(|c| c.cuts));
        let way = self.way(from, to);
        if way.percent(corrupt) {
            spoil(&mut payload, way.draw());
            self.strike("corrupt");
        }
        if self.way(from, to).percent(cuts) {
            payload = Payload::Refused(FetchError::Broken);
            self.strike("cut-answer");
        }
        self.complete(ask, &payload);
    }

    fn complete(&mut self, ask: AskId, payload: &Payload) {
        let Some(a) = self.net.asks.get(&ask) else { return };
        let host = self.net.conns.get(&a.conn).map(|c| c.ends[a.side].host);
        if let Some(host) = host {
            self.complete_at(host, ask, payload);
        }
    }

    fn complete_at(&mut self, host: usize, ask: AskId, payload: &Payload) {
        let Some(a) = self.net.asks.remove(&ask) else { return };
        if !self.hosts[host].fetches.remove(&ask) {
            return;
        }
        let fetch = a.fetch;
        let input = match a.want {
            FetchKind::List(content, size) => {
                let outcome = list_of(payload, size);
                outcome.iter().for_each(|list| self.hosts[host].kept.listed(content, list));
                Input::ListFetched { fetch, outcome }
            }
            FetchKind::Batch(items) => {
                let outcomes = items.iter().enumerate().map(|(i, (content, size))| {
                    let bytes = item_of(payload, i)?;
                    let is_right = bytes.len() as u64 == *size && ContentId::of(&bytes) == *content;
                    if !is_right && !is_mutant(Mutant::SmallUnverified) {
                        return Err(FetchFailure::Peer(FetchError::BadHash));
                    }
                    self.hosts[host].kept.replaced(*content);
                    self.hosts[host].disk.stage_whole(*content, bytes).map_err(FetchFailure::Disk)
                });
                Input::BatchFetched { fetch, outcomes: outcomes.collect() }
            }
            FetchKind::Range { content, size, offset, chunks } => {
                let (chunks, error) = self.stage_range(host, content, size, offset, &chunks, payload);
                Input::RangeFetched { fetch, chunks, error }
            }
        };
        let after = self.hosts[host].pace.range(10, 2_000);
        self.tell_later(host, after, input);
    }

    fn stage_range(
        &mut self,
        host: usize,
        content: ContentId,
        size: u64,
        offset: u64,
        chunks: &ChunkList,
        payload: &Payload,
    ) -> (u32, Option<FetchFailure>) {
        let mut bytes = match item_of(payload, 0) {
            Ok(bytes) => bytes,
            Err(error) => return (0, Some(error)),
        };
        let mut end = None;
        let cuts = self.chance(|c| c.cuts);
        if self.hosts[host].pace.percent(cuts) {
            bytes.truncate(self.hosts[host].pace.index(bytes.len() + 1));
            self.strike("cut-range");
            end = Some(FetchFailure::Peer(FetchError::Broken));
        }
        let (mut at, mut done) = (0, 0);
        for (len, hash) in chunks.iter() {
            let len = len as usize;
            let Some(part) = bytes.get(at..at + len) else { return (done, end) };
            if *blake3::hash(part).as_bytes() != hash && !is_mutant(Mutant::ChunkUnverified) {
                return (done, Some(FetchFailure::Peer(FetchError::BadHash)));
            }
            if let Err(error) = self.hosts[host].disk.stage_part(content, size, offset + at as u64, part) {
                return (done, Some(FetchFailure::Disk(error)));
            }
            self.one_more_part(host);
            at += len;
            done += 1;
        }
        (done, None)
    }
}

fn item_of(payload: &Payload, index: usize) -> Result<Vec<u8>, FetchFailure> {
    let item = match payload {
        Payload::Refused(error) => Err(*error),
        Payload::List(_) => Err(FetchError::BadHash),
        Payload::Items(items) => items.get(index).cloned().unwrap_or(Err(FetchError::Broken)),
    };
    item.map_err(FetchFailure::Peer)
}

fn list_of(payload: &Payload, size: u64) -> Result<ChunkList, FetchFailure> {
    match payload {
        Payload::Refused(error) => Err(FetchFailure::Peer(*error)),
        Payload::Items(_) => Err(FetchFailure::Peer(FetchError::BadHash)),
        Payload::List(list) if list.bytes() == size => Ok(list.clone()),
        Payload::List(_) => Err(FetchFailure::Peer(FetchError::BadHash)),
    }
}

/// Changes one bit of what comes back.
fn spoil(payload: &mut Payload, at: u64) {
    match payload {
        Payload::Refused(_) => {}
        Payload::List(list) => {
            let picked = usize::try_from(at >> 8).unwrap_or(0) % list.len().max(1);
            let mut spoiled = ChunkList::default();
            for (i, (len, mut hash)) in list.iter().enumerate() {
                hash[0] ^= u8::from(i == picked);
                spoiled.push(len, hash);
            }
            *list = spoiled;
        }
        Payload::Items(items) => {
            let picked = usize::try_from(at % items.len().max(1) as u64).unwrap_or(0);
            if let Some(Ok(bytes)) = items.get_mut(picked)
                && !bytes.is_empty()
            {
                let place = usize::try_from(at >> 8).unwrap_or(0) % bytes.len();
                bytes[place] ^= 1;
            }
        }
    }
}

/// How often the transport tells what it has measured, microseconds.
const MEASURE_US: u64 = 7_000_000;
/// The one folder of every run.
pub(super) const FOLDER: FolderId = FolderId([7; 16]);

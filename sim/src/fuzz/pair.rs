//! Two nodes with somebody in the middle, and then nobody.
//!
//! What the transport may do is *fair*: it delays lanes against each other, breaks off anywhere, and hands over a frame
//! twice; processes and machines die. After that, once nobody interferes, both come to show the same and nothing that
//! was indexed is lost. What the transport never does is *foul*: a frame left out, exchanged, said again much later or
//! changed into another one tells lies in a member's name, deletions among them. Then both go on and come to rest.

use crate::core::disk::{Node as Entry, content_of};
use crate::fuzz::host::{Host, Payload, Void, request_of};
use crate::fuzz::message::{bytes_of, path};
use crate::oracle::{Face, Shows};
use arbitrary::{Result, Unstructured};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use sync_core::id::{AskId, EffectId, LinkId, RequestId};
use sync_core::index::Index;
use sync_core::input::{Hint, Lane};
use sync_core::wire::decode;
use sync_core::{CloseCode, Command, ContentId, Event, FetchError, FolderId, Input, Output, RelPath};

/// Steps of the one in the middle.
const STEPS: usize = 160;
/// Frames remembered for saying them again.
const REMEMBERED: usize = 64;
/// The folder.
const FOLDER: FolderId = FolderId([7; 16]);
/// How long coming to rest may take, microseconds: longer than every pause between attempts together.
const REST: u64 = 900_000_000;
/// How long all is left alone, so that what no hint told of is found: more than two full scans.
const LEFT_ALONE: u64 = 130_000_000;
/// Things that may happen at one instant.
const BUSY: usize = 3_000;

/// Lets two nodes meet, interferes as the bytes say, and waits for peace.
pub fn two_nodes(bytes: &[u8]) {
    let mut u = Unstructured::new(bytes);
    let mut pair = Pair::new();
    pair.begin();
    // Reading never fails: bytes that have run out are zeros.
    let _ = pair.interfere(&mut u);
    pair.make_peace();
}

/// A connection: side 0 dialled.
#[derive(Default)]
struct Conn {
    /// The host on each side, and its link.
    ends: [(usize, u64); 2],
    up: [bool; 2],
    admitted: [bool; 2],
    /// Frames on their way to each side, by lane.
    lanes: [[VecDeque<Vec<u8>>; 2]; 2],
    /// Lanes to each side on which nothing comes through any more.
    stuck: [[bool; 2]; 2],
    /// Set where a side is told of the end once everything said before has arrived.
    closing: [Option<CloseCode>; 2],
}

/// A request under way.
struct Ask {
    conn: u64,
    side: usize,
    fetch: Output,
    /// The frame, until it is handed over.
    frame: Option<Vec<u8>>,
}

/// What became of a content.
#[derive(Default)]
struct Fate {
    indexed: bool,
    /// A person who had it before his eyes replaced or deleted it.
    ended: bool,
}

struct Pair {
    hosts: [Host; 2],
    inbox: VecDeque<(usize, Input)>,
    jobs: VecDeque<(usize, Output)>,
    conns: BTreeMap<u64, Conn>,
    asks: BTreeMap<AskId, Ask>,
    past: VecDeque<(Lane, Vec<u8>)>,
    fates: BTreeMap<ContentId, Fate>,
    now: u64,
    next: u64,
    /// Whether lies were told.
    foul: bool,
    /// Whether a device may have forgotten what it did.
    forgetful: bool,
    /// Whether nobody interferes any more.
    calm: bool,
}

const LANES: [Lane; 2] = [Lane::Control, Lane::Index];

fn lane_number(lane: Lane) -> usize {
    usize::from(lane == Lane::Index)
}

impl Pair {
    fn new() -> Self {
        Self {
            hosts: [Host::new(1), Host::new(2)],
            inbox: VecDeque::new(),
            jobs: VecDeque::new(),
            conns: BTreeMap::new(),
            asks: BTreeMap::new(),
            past: VecDeque::new(),
            fates: BTreeMap::new(),
            now: 1_000_000,
            next: 0,
            foul: false,
            forgetful: false,
            calm: false,
        }
    }

    /// Both start, one shares the folder, and they are paired.
    fn begin(&mut self) {
        (0..2).for_each(|h| self.feed(h, Input::Start { fresh_actor: false }));
        let root = || Box::from(&b"/root"[..]);
        self.request(0, Command::ShareFolder { folder: FOLDER, name: "folder".into(), root: root() });
        for me in 0..2 {
            let other = &self.hosts[1 - me];
            let command = Command::Pair {
                device: other.id,
                key: other.key,
                name: "the other".into(),
                addr: (me == 1).then(|| "10.0.0.1:22000".into()),
                folder: FOLDER,
                folder_name: "folder".into(),
                root: Some(root()),
            };
            self.request(me, command);
        }
    }

    fn request(&mut self, host: usize, command: Command) {
        self.feed(host, Input::Request { request: RequestId(1), command });
    }

    fn feed(&mut self, host: usize, input: Input) {
        let said = self.hosts[host].feed(input, self.now);
        self.take(host, said);
        let went_on = self.hosts[host].go_on(self.now);
        self.take(host, went_on);
    }

    fn take(&mut self, host: usize, said: std::result::Result<Vec<Output>, Void>) {
        // The index of this world never fails.
        let outputs = said.unwrap_or_default();
        outputs.into_iter().for_each(|output| self.perform(host, output));
    }

    fn place(&self, host: usize, link: LinkId) -> Option<(u64, usize)> {
        let is_end = |c: &Conn, side: usize| c.ends[side] == (host, link.0) && c.up[side];
        self.conns.iter().find_map(|(id, c)| (0..2).find(|side| is_end(c, *side)).map(|side| (*id, side)))
    }

    fn perform(&mut self, host: usize, output: Output) {
        match &output {
            Output::Admit { link } => {
                if let Some((conn, side)) = self.place(host, *link) {
                    self.conn(conn).admitted[side] = true;
                }
            }
            Output::Send { link, lane, frame } => {
                assert!(decode(frame).is_ok(), "what is said here is refused elsewhere: {:?}", decode(frame));
                if let Some((conn, side)) = self.place(host, *link) {
                    self.conn(conn).lanes[1 - side][lane_number(*lane)].push_back(frame.clone());
                }
                if *lane == Lane::Index {
                    self.inbox.push_back((host, Input::Sent { link: *link }));
                }
            }
            Output::HangUp { link, code, .. } => {
                if let Some((conn, side)) = self.place(host, *link) {
                    self.conn(conn).closing[1 - side].get_or_insert(*code);
                    self.close(conn, side, CloseCode::None);
                }
            }
            Output::Event(Event::LocalChange { path, .. }) => self.note(host, path),
            Output::FetchList { .. } | Output::FetchBatch { .. } | Output::FetchRange { .. } => {
                self.fetch(host, output)
            }
            Output::OpenFolder { .. } | Output::Unstage { .. } => drop(self.hosts[host].work(&output)),
            Output::Reply { .. } | Output::Event(_) | Output::CloseFolder { .. } | Output::Stop => {}
            Output::Dial { .. }
            | Output::Serve { .. }
            | Output::Scan { .. }
            | Output::Probe { .. }
            | Output::Apply { .. }
            | Output::Copy { .. }
            | Output::Reuse { .. }
            | Output::Salvage { .. }
            | Output::Seal { .. }
            | Output::Finish { .. } => self.jobs.push_back((host, output)),
        }
    }

    fn conn(&mut self, conn: u64) -> &mut Conn {
        self.conns.entry(conn).or_default()
    }

    /// A version of a person's was taken from a disk.
    fn note(&mut self, host: usize, path: &RelPath) {
        let index = &mut self.hosts[host].index;
        if index.begin().is_err() {
            return;
        }
        let base = index.base(FOLDER, path).ok().flatten();
        index.rollback();
        if let Some(fate) = base.and_then(|b| b.content()).and_then(|content| self.fates.get_mut(&content)) {
            fate.indexed = true;
        }
    }

    fn fetch(&mut self, host: usize, fetch: Output) {
        let Some((link, frame)) = request_of(&fetch) else { return };
        let Some((conn, side)) = self.place(host, link) else { return self.fetched(host, &fetch, FetchError::Broken) };
        self.next += 1;
        self.asks.insert(AskId(self.next), Ask { conn, side, fetch, frame: Some(frame) });
    }

    fn fetched(&mut self, host: usize, fetch: &Output, error: FetchError) {
        let ended = self.hosts[host].receive(fetch, &Payload::Refused(error));
        self.inbox.extend(ended.map(|input| (host, input)));
    }

    fn dialled(&mut self, host: usize, dial: EffectId) {
        self.next += 1;
        let (conn, links) = (self.next, [self.next * 2, self.next * 2 + 1]);
        let ends = [(host, links[0]), (1 - host, links[1])];
        self.conns.insert(conn, Conn { ends, up: [true; 2], ..Conn::default() });
        for (side, (at, link)) in ends.into_iter().enumerate() {
            let key = self.hosts[1 - at].key;
            let addr = if side == 0 { format!("10.0.0.{}:22000", 2 - host) } else { "10.0.0.9:40000".into() };
            let dial = (side == 0).then_some(dial);
            self.inbox.push_back((at, Input::LinkUp { link: LinkId(link), key, addr, dial }));
        }
    }

    /// One side of a connection is gone, and what it had asked for with it.
    fn close(&mut self, conn: u64, side: usize, code: CloseCode) {
        let c = self.conn(conn);
        if !std::mem::replace(&mut c.up[side], false) {
            return;
        }
        let ((host, link), is_over) = (c.ends[side], !c.up[1 - side]);
        c.lanes[side].iter_mut().for_each(VecDeque::clear);
        self.inbox.push_back((host, Input::LinkDown { link: LinkId(link), code, reason: "gone".into() }));
        let ids: Vec<AskId> = self.asks.iter().filter(|(_, a)| a.conn == conn).map(|(id, _)| *id).collect();
        for id in ids {
            if self.asks.get(&id).is_some_and(|a| a.side == side)
                && let Some(ask) = self.asks.remove(&id)
            {
                self.fetched(host, &ask.fetch, FetchError::Broken);
            }
        }
        if is_over {
            self.conns.remove(&conn);
        }
    }

    /// Hands the next frame of a lane over. Whether there was anything to do.
    fn deliver(&mut self, conn: u64, side: usize, lane: usize) -> bool {
        let Some(c) = self.conns.get_mut(&conn).filter(|c| c.up[side] && c.admitted[side]) else { return false };
        if c.stuck[side][lane] {
            return false;
        }
        let Some(frame) = c.lanes[side][lane].pop_front() else { return false };
        let (host, link) = c.ends[side];
        if !self.calm {
            self.past.push_back((LANES[lane], frame.clone()));
            if self.past.len() > REMEMBERED {
                self.past.pop_front();
            }
        }
        self.feed(host, Input::Received { link: LinkId(link), lane: LANES[lane], frame });
        true
    }

    /// Tells a side of the end that the other side has made. Whether there was anything to do.
    fn deliver_end(&mut self, conn: u64, side: usize) -> bool {
        let Some(c) = self.conns.get(&conn).filter(|c| c.up[side]) else { return false };
        let is_done = !c.admitted[side] || (0..2).all(|l| c.lanes[side][l].is_empty() || c.stuck[side][l]);
        match c.closing[side].filter(|_| is_done) {
            Some(code) => {
                self.close(conn, side, code);
                true
            }
            None => false,
        }
    }

    /// Hands a request over. Whether there was anything to do.
    fn deliver_ask(&mut self, id: AskId) -> bool {
        let Some(ask) = self.asks.get_mut(&id) else { return false };
        let (conn, side) = (ask.conn, 1 - ask.side);
        let Some(c) = self.conns.get(&conn).filter(|c| c.up[side] && c.admitted[side]) else { return false };
        let Some(frame) = ask.frame.take() else { return false };
        let (host, link) = c.ends[side];
        self.feed(host, Input::Asked { link: LinkId(link), ask: id, frame });
        true
    }

    #[allow(clippy::wildcard_enum_match_arm)] // The rest is done on the disk.
    fn do_job(&mut self, host: usize, job: &Output) {
        match job {
            Output::Dial { dial, .. } => self.dialled(host, *dial),
            Output::Serve { ask, answer } => {
                let payload = self.hosts[host].serve(answer);
                self.inbox.push_back((host, Input::Answered { ask: *ask, bytes: 1 }));
                if let Some(asked) = self.asks.remove(ask)
                    && let Some(asker) = self.conns.get(&asked.conn).map(|c| c.ends[asked.side].0)
                {
                    let ended = self.hosts[asker].receive(&asked.fetch, &payload);
                    self.inbox.extend(ended.map(|input| (asker, input)));
                }
            }
            other => {
                let ended = self.hosts[host].work(other);
                self.inbox.extend(ended.into_iter().map(|input| (host, input)));
            }
        }
    }

    /// Everything that is ready happens, in order. How much that was.
    fn flow(&mut self) -> usize {
        let mut happened = 0;
        while let Some((host, input)) = self.inbox.pop_front() {
            self.feed(host, input);
            happened += 1;
        }
        for (host, job) in std::mem::take(&mut self.jobs) {
            self.do_job(host, &job);
            happened += 1;
        }
        let conns: Vec<u64> = self.conns.keys().copied().collect();
        for conn in conns {
            for (side, lane) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                while self.deliver(conn, side, lane) {
                    happened += 1;
                }
            }
            happened += (0..2).filter(|side| self.deliver_end(conn, *side)).count();
        }
        let asks: Vec<AskId> = self.asks.keys().copied().collect();
        happened + asks.into_iter().filter(|ask| self.deliver_ask(*ask)).count()
    }

    fn interfere(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let prelude: u8 = u.arbitrary()?;
        for _ in 0..prelude & 15 {
            self.flow();
            self.pass(20_000);
        }
        for _ in 0..STEPS {
            if u.is_empty() {
                break;
            }
            self.step(u)?;
            self.hosts.iter_mut().for_each(Host::check);
        }
        Ok(())
    }

    fn pass(&mut self, micros: u64) {
        self.now += micros;
        (0..2).for_each(|h| self.feed(h, Input::Wake));
    }

    fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        match u.int_in_range(0..=23_u8)? {
            0..=4 => {
                if let Some((conn, side, lane)) = self.some_lane(u)? {
                    self.deliver(conn, side, lane);
                    self.deliver_end(conn, side);
                }
            }
            5 | 6 => {
                let asks: Vec<AskId> = self.asks.keys().copied().collect();
                if !asks.is_empty() {
                    self.deliver_ask(*u.choose(&asks)?);
                }
            }
            7..=9 => {
                if !self.jobs.is_empty() {
                    let at = u.int_in_range(0..=self.jobs.len() - 1)?;
                    if let Some((host, job)) = self.jobs.remove(at) {
                        self.do_job(host, &job);
                    }
                }
            }
            10 | 11 => {
                while let Some((host, input)) = self.inbox.pop_front() {
                    self.feed(host, input);
                }
            }
            12 => {
                for _ in 0..=u.int_in_range(0..=15_u8)? {
                    self.flow();
                    self.pass(5_000);
                }
            }
            13 => {
                let power = u.int_in_range(0..=26_u8)?;
                self.pass(1 << power);
            }
            14..=16 => self.edit(u)?,
            17 => self.cut(),
            18 => self.die(u)?,
            19 => {
                if let Some((conn, side, lane)) = self.some_lane(u)? {
                    self.conn(conn).stuck[side][lane] = true;
                }
            }
            20 => {
                if let Some((conn, side, lane)) = self.some_lane(u)? {
                    let queue = &mut self.conn(conn).lanes[side][lane];
                    queue.front().cloned().into_iter().for_each(|frame| queue.push_front(frame));
                }
            }
            21 => self.flip(u)?,
            _ => self.lie(u)?,
        }
        Ok(())
    }

    /// A lane on which something is under way.
    fn some_lane(&self, u: &mut Unstructured<'_>) -> Result<Option<(u64, usize, usize)>> {
        let mut busy = Vec::new();
        for (conn, c) in &self.conns {
            let lanes = [(0, 0), (1, 0), (0, 1), (1, 1)].into_iter();
            let open = lanes.filter(|(side, lane)| !c.lanes[*side][*lane].is_empty() || c.closing[*side].is_some());
            busy.extend(open.map(|(side, lane)| (*conn, side, lane)));
        }
        if busy.is_empty() { Ok(None) } else { u.choose(&busy).map(|at| Some(*at)) }
    }

    /// Changes a frame. Where the change is noticed, or changes nothing, no lie was told.
    fn flip(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let Some((conn, side, lane)) = self.some_lane(u)? else { return Ok(()) };
        let (at, bit) = (usize::from(u.arbitrary::<u16>()?), u.int_in_range(0..=7_u8)?);
        let Some(frame) = self.conn(conn).lanes[side][lane].front_mut().filter(|f| !f.is_empty()) else {
            return Ok(());
        };
        let before = decode(frame);
        let at = at % frame.len();
        frame[at] ^= 1 << bit;
        let after = decode(frame);
        self.foul |= after.is_ok() && after != before;
        Ok(())
    }

    /// Leaves a frame out, exchanges two, or says one again that was said on whatever link.
    fn lie(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let Some((conn, side, lane)) = self.some_lane(u)? else { return Ok(()) };
        let which: u8 = u.arbitrary()?;
        let old: Vec<Vec<u8>> =
            self.past.iter().filter(|(l, _)| *l == LANES[lane]).map(|(_, frame)| frame.clone()).collect();
        let queue = &mut self.conn(conn).lanes[side][lane];
        match which & 3 {
            0 => drop(queue.pop_front()),
            1 if queue.len() > 1 => queue.swap(0, 1),
            _ => match old.get(usize::from(which >> 2) % old.len().max(1)) {
                Some(frame) => queue.push_front(frame.clone()),
                None => return Ok(()),
            },
        }
        self.foul = true;
        Ok(())
    }

    /// A person changes something, and the watcher says so or not.
    fn edit(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let (host, at, number) = (usize::from(u.arbitrary::<bool>()?), path(u)?, u.arbitrary::<u8>()?);
        self.hosts[host].disk.wall += 1;
        let disk = &mut self.hosts[host].disk;
        let may_make = disk.is_dir(&at.parent()) && !disk.has_below(&at);
        let gone: Vec<RelPath> = disk.tree(&at);
        let mut ended: Vec<ContentId> = gone.iter().filter_map(|p| disk.get(p)).filter_map(content_of).collect();
        match number & 7 {
            0 => gone.iter().for_each(|p| drop(disk.take(p))),
            1 if may_make => {
                disk.put(&at, Entry::Dir, 0o755, None, false);
            }
            2..=5 if may_make => {
                // A content of its own each time, small or of several chunks: so that what becomes of it can be told.
                self.next += 1;
                let len = if number & 8 == 0 { 8 } else { 700 };
                let bytes: Vec<u8> = self.next.to_le_bytes().into_iter().cycle().take(len).collect();
                self.fates.entry(ContentId::of(&bytes)).or_default();
                disk.put(&at, Entry::File(Rc::new(bytes)), 0o644, None, number & 16 != 0);
            }
            6 if may_make => {
                // The same as the other person may have, too.
                disk.put(&at, Entry::File(Rc::new(bytes_of(number >> 3 & 3))), 0o644, None, false);
            }
            7 if disk.get(&at).is_some() => {
                disk.touch(&at, Some(if number & 8 == 0 { 0o600 } else { 0o755 }), None);
                ended.clear();
            }
            _ => ended.clear(),
        }
        for content in ended {
            self.fates.entry(content).or_default().ended = true;
        }
        if number & 0x80 == 0 {
            self.inbox.push_back((host, Input::Hint { folder: FOLDER, hint: Hint::Path(at) }));
        }
        Ok(())
    }

    /// Every connection breaks.
    fn cut(&mut self) {
        let conns: Vec<u64> = self.conns.keys().copied().collect();
        for conn in conns {
            (0..2).for_each(|side| self.close(conn, side, CloseCode::None));
        }
    }

    /// A process dies, or its machine with it.
    fn die(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let (host, power) = (usize::from(u.arbitrary::<bool>()?), u.arbitrary::<u8>()? & 3 == 0);
        self.forgetful = true;
        self.cut();
        self.inbox.retain(|(at, _)| *at != host);
        self.jobs.retain(|(at, _)| *at != host);
        if power {
            self.hosts[host].index.power_loss();
            self.hosts[host].disk.power_loss(|| false);
        }
        self.hosts[host].revive();
        self.feed(host, Input::Start { fresh_actor: power });
        Ok(())
    }

    /// Nobody interferes any more.
    fn make_peace(&mut self) {
        self.calm = true;
        self.cut();
        self.come_to_rest();
        let until = self.now + LEFT_ALONE;
        while self.now < until {
            self.pass_to_next();
            self.settle();
        }
        self.come_to_rest();
        self.hosts.iter_mut().for_each(Host::check);
        if !self.foul {
            self.check_losses();
        }
    }

    /// Everything happens that needs no time.
    fn settle(&mut self) {
        let mut happened = 0;
        loop {
            match self.flow() {
                0 => return,
                n => happened += n,
            }
            assert!(happened < BUSY, "{BUSY} things happen at one instant");
        }
    }

    fn pass_to_next(&mut self) {
        let due = self.hosts.iter().filter_map(Host::deadline).min().unwrap_or(u64::MAX);
        let at = due.clamp(self.now + 100, self.now + 1_000_000);
        self.pass(at - self.now);
    }

    fn come_to_rest(&mut self) {
        let until = self.now + if self.foul { LEFT_ALONE } else { REST };
        loop {
            self.settle();
            let Some(why) = self.unrest() else { return };
            if self.now >= until {
                assert!(self.foul, "no rest within {} s: {why}", REST / 1_000_000);
                return;
            }
            self.pass_to_next();
        }
    }

    fn faces(&self, host: usize) -> BTreeMap<RelPath, Face> {
        self.hosts[host].disk.entries().iter().map(|(p, e)| (p.clone(), e.face())).collect()
    }

    /// Why all is not at rest, if so.
    fn unrest(&mut self) -> Option<String> {
        let missing: Vec<String> = self.hosts.iter_mut().flat_map(Host::missing).collect();
        let (one, two) = (self.faces(0), self.faces(1));
        let differ: Vec<&RelPath> = one.keys().chain(two.keys()).filter(|p| one.get(*p) != two.get(*p)).collect();
        (!missing.is_empty() || !differ.is_empty()).then(|| format!("{missing:?}, disks differ at {differ:?}"))
    }

    /// Both show every content that was indexed and that nobody did away with.
    fn check_losses(&self) {
        let held: BTreeSet<ContentId> = self.hosts.iter().flat_map(|h| h.disk.holds()).collect();
        let shown: BTreeSet<ContentId> = self.hosts[0].disk.entries().values().filter_map(content_of).collect();
        for (content, _) in self.fates.iter().filter(|(_, fate)| fate.indexed && !fate.ended) {
            assert!(held.contains(content), "content {} was indexed and is nowhere", content.short());
            assert!(self.forgetful || shown.contains(content), "content {} is in the trash only", content.short());
        }
    }
}

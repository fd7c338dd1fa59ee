//! A node in whatever state legal inputs lead to, and peers that send it anything: it never panics, never goes on without
//! end, closes on whoever breaks the protocol, says nothing that others would refuse, and keeps an index that makes sense.

use crate::core::disk::{Node as Entry, chunk};
use crate::fuzz::host::{Host, Payload, Void};
use crate::fuzz::message::{Cast, bytes_of, path};
use arbitrary::{Result, Unstructured};
use std::collections::BTreeMap;
use std::rc::Rc;
use sync_core::id::{AskId, EffectId, LinkId, PublicKey, RequestId};
use sync_core::index::{Index, PolicyChoice};
use sync_core::input::{CopyError, Done, FetchFailure, Hint, Lane, LinkStats};
use sync_core::output::{Serve, Source};
use sync_core::transfer::{Bits, ChunkList};
use sync_core::wire::{MAX_CONTROL_FRAME, MAX_INDEX_FRAME, Message, decode, encode};
use sync_core::{
    CloseCode, Command, ContentId, DeviceId, DirPath, FetchError, FolderId, Input, ItemError, ItemErrorKind, Output,
};

/// Steps of one input.
const STEPS: usize = 128;
/// The folder that the node shares, and one it hears of.
const FOLDERS: [FolderId; 2] = [FolderId([7; 16]), FolderId([8; 16])];

/// Lives through the steps that the bytes stand for.
pub fn node_decode(bytes: &[u8]) {
    let mut u = Unstructured::new(bytes);
    let mut stage = Stage::new();
    stage.feed(Input::Start { fresh_actor: false });
    // Reading never fails: bytes that have run out are zeros.
    let _ = stage.live(&mut u);
}

/// The other end of a link, as far as the shell would know it.
struct Wire {
    key: PublicKey,
    admitted: bool,
    hung_up: bool,
}

/// The node and what surrounds it.
struct Stage {
    host: Host,
    cast: Cast,
    now: u64,
    links: BTreeMap<LinkId, Wire>,
    /// Effects under way.
    jobs: Vec<Output>,
    next: u64,
    /// Calls of the index in the next batch until one fails.
    fail_after: Option<u64>,
}

impl Stage {
    fn new() -> Self {
        let host = Host::new(1);
        let keys = vec![host.key, PublicKey([2; 32]), PublicKey([3; 32]), PublicKey([4; 32])];
        let cast = Cast { keys, folders: FOLDERS, own: None };
        Self { host, cast, now: 1_000_000, links: BTreeMap::new(), jobs: Vec::new(), next: 0, fail_after: None }
    }

    fn live(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        // Most that can go wrong comes after this: it is to cost no more than one byte.
        let prelude: u8 = u.arbitrary()?;
        if prelude & 1 == 0 {
            self.share(FOLDERS[0]);
            (1..3).for_each(|k| self.pair(k, prelude & 2 == 0));
        }
        if prelude & 4 == 0 {
            self.do_jobs();
        }
        if prelude & 8 == 0 {
            for k in 1..3 {
                let link = self.link_up(self.cast.keys[k], None);
                self.receive(link, Lane::Control, encode(&Cast::hello(&self.cast.keys[k])));
            }
        }
        for _ in 0..STEPS {
            if u.is_empty() {
                break;
            }
            self.step(u)?;
        }
        self.now += 120_000_000;
        self.feed(Input::Wake);
        self.do_jobs();
        Ok(())
    }

    /// One input, whatever the node then does by itself, and a look at what it keeps.
    fn feed(&mut self, input: Input) {
        if let Some(calls) = self.fail_after.take() {
            self.host.index.fail_after(calls);
        }
        let said = self.host.feed(input, self.now);
        self.host.index.fail_no_more();
        self.take(said);
        let went_on = self.host.go_on(self.now);
        self.take(went_on);
        self.host.check();
        let folders = self.host.index.begin().ok().map(|()| self.host.index.folders());
        if let Some(folders) = folders {
            self.host.index.rollback();
            self.cast.own = folders.ok().and_then(|f| f.first().map(|f| f.actor));
        }
    }

    fn take(&mut self, said: std::result::Result<Vec<Output>, Void>) {
        match said {
            Ok(outputs) => outputs.into_iter().for_each(|output| self.perform(output)),
            Err(Void) => self.start_again(false),
        }
    }

    /// The process begins anew on what is committed.
    fn start_again(&mut self, fresh_actor: bool) {
        self.links.clear();
        self.jobs.clear();
        self.host.revive();
        self.feed(Input::Start { fresh_actor });
    }

    fn perform(&mut self, output: Output) {
        match &output {
            Output::Admit { link } => {
                if let Some(wire) = self.links.get_mut(link) {
                    wire.admitted = true;
                }
            }
            Output::Send { link, lane, frame } => {
                let wire = self.links.get(link);
                assert!(
                    wire.is_some_and(|w| w.admitted && !w.hung_up),
                    "something is said on {link:?}, which is closed"
                );
                let limit = if *lane == Lane::Control { MAX_CONTROL_FRAME } else { MAX_INDEX_FRAME };
                assert!(frame.len() <= limit, "a frame of {} bytes on the {lane:?} lane", frame.len());
                let message = decode(frame);
                assert!(message.is_ok(), "what is said here is refused elsewhere: {message:?}");
            }
            Output::HangUp { link, .. } => {
                if let Some(wire) = self.links.get_mut(link) {
                    assert!(!std::mem::replace(&mut wire.hung_up, true), "{link:?} is hung up twice");
                }
            }
            Output::Serve { answer, .. } => {
                self.check_answer(answer);
                self.jobs.push(output);
            }
            Output::Stop => self.start_again(false),
            Output::Reply { .. } | Output::Event(_) | Output::CloseFolder { .. } => {}
            Output::OpenFolder { .. } | Output::Unstage { .. } => drop(self.host.work(&output)),
            Output::Dial { .. }
            | Output::Scan { .. }
            | Output::Probe { .. }
            | Output::Apply { .. }
            | Output::Copy { .. }
            | Output::Reuse { .. }
            | Output::Salvage { .. }
            | Output::FetchList { .. }
            | Output::FetchBatch { .. }
            | Output::FetchRange { .. }
            | Output::Seal { .. }
            | Output::Finish { .. } => self.jobs.push(output),
        }
    }

    /// Only files of shared folders that hold what was asked for are sent.
    fn check_answer(&mut self, answer: &Serve) {
        let sources: Vec<(Source, u64)> = match answer {
            Serve::Refuse(_) => Vec::new(),
            Serve::List(source, _) => vec![(source.clone(), 0)],
            Serve::Ranges(ranges) => ranges.iter().filter_map(|(s, r)| Some((s.clone().ok()?, r.end))).collect(),
        };
        if self.host.index.begin().is_err() {
            return;
        }
        for (source, end) in sources {
            let base = self.host.index.base(source.folder, &source.path).ok().flatten();
            assert_eq!(base.as_ref().and_then(|b| b.content()), Some(source.content), "{source:?}");
            assert!(end <= source.expect.size, "bytes up to {end} of {source:?}");
        }
        self.host.index.rollback();
    }

    fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        match u.int_in_range(0..=23_u8)? {
            0..=5 => self.say(u),
            6 => self.say_garbled(u),
            7 => self.say_noise(u),
            8 => self.ask(u),
            9 => self.hello(u),
            10 => {
                let key = *u.choose(&self.cast.keys)?;
                self.link_up(key, None);
                Ok(())
            }
            11 => self.link_down(u),
            12 => {
                let number: u8 = u.arbitrary()?;
                self.pair(usize::from(number & 3), number & 4 == 0);
                Ok(())
            }
            13 => self.transport(u),
            14 => self.complete_unknown(u),
            15 => self.complete_one(u),
            16 => self.fail_one(u),
            17 => {
                self.do_jobs();
                Ok(())
            }
            18 => {
                // From nothing to some hours.
                self.now += 1 << u.int_in_range(0..=34_u8)?;
                self.feed(Input::Wake);
                Ok(())
            }
            19 | 20 => self.edit(u),
            21 => self.command(u),
            22 => {
                self.fail_after = Some(u64::from(u.arbitrary::<u8>()?));
                Ok(())
            }
            _ => {
                let fresh: bool = u.arbitrary()?;
                if fresh {
                    self.host.index.power_loss();
                } else {
                    self.host.index.sync();
                }
                self.start_again(fresh);
                Ok(())
            }
        }
    }

    fn link(&self, u: &mut Unstructured<'_>) -> Result<Option<LinkId>> {
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        if links.is_empty() { Ok(None) } else { u.choose(&links).map(|l| Some(*l)) }
    }

    fn say(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let Some(link) = self.link(u)? else { return Ok(()) };
        let message = self.cast.message(u)?;
        let lane = if u.arbitrary::<u8>()? >= 0xf0 { other(natural(&message)) } else { natural(&message) };
        self.receive(link, lane, encode(&message));
        Ok(())
    }

    fn say_garbled(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let Some(link) = self.link(u)? else { return Ok(()) };
        let message = self.cast.message(u)?;
        let mut frame = encode(&message);
        for _ in 0..=u.int_in_range(0..=3_u8)? {
            let (at, byte) = (usize::from(u.arbitrary::<u16>()?) % frame.len().max(1), u.arbitrary::<u8>()?);
            match (u.int_in_range(0..=3_u8)?, frame.get_mut(at)) {
                (0, Some(place)) => *place = byte,
                (1, Some(place)) => *place ^= 1 << (byte & 7),
                (2, _) => frame.insert(at, byte),
                _ => frame.truncate(at),
            }
        }
        self.receive(link, natural(&message), frame);
        Ok(())
    }

    fn say_noise(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let Some(link) = self.link(u)? else { return Ok(()) };
        let lane = if u.arbitrary()? { Lane::Control } else { Lane::Index };
        let len = u.int_in_range(0..=255_usize)?.min(u.len());
        let frame = u.bytes(len)?.to_vec();
        self.receive(link, lane, frame);
        Ok(())
    }

    fn hello(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let Some(link) = self.link(u)? else { return Ok(()) };
        let frame = encode(&Cast::hello(&self.links[&link].key));
        self.receive(link, Lane::Control, frame);
        Ok(())
    }

    /// A frame arrives. Whoever sends what is no message, or what has no place on its lane, is hung up.
    fn receive(&mut self, link: LinkId, lane: Lane, frame: Vec<u8>) {
        let Some(wire) = self.links.get(&link).filter(|w| w.admitted) else { return };
        let is_bad = decode(&frame).map_or(true, |message| natural(&message) != lane || is_request(&message));
        let expected = is_bad && !wire.hung_up;
        let shown = if expected { frame.clone() } else { Vec::new() };
        self.feed(Input::Received { link, lane, frame });
        if expected {
            assert!(
                self.links.get(&link).is_none_or(|w| w.hung_up),
                "{shown:02x?} on the {lane:?} lane is put up with"
            );
        }
    }

    fn ask(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let Some(link) = self.link(u)? else { return Ok(()) };
        let message = if u.arbitrary::<u8>()? >= 0xe0 { self.cast.message(u)? } else { self.cast.request(u)? };
        let mut frame = encode(&message);
        if u.arbitrary::<u8>()? >= 0xe0 {
            frame.truncate(usize::from(u.arbitrary::<u8>()?));
        }
        let Some(wire) = self.links.get(&link).filter(|w| w.admitted) else { return Ok(()) };
        let is_bad = decode(&frame).map_or(true, |message| !is_request(&message));
        let expected = is_bad && !wire.hung_up;
        self.next += 1;
        self.feed(Input::Asked { link, ask: AskId(self.next), frame });
        if expected {
            assert!(self.links.get(&link).is_none_or(|w| w.hung_up), "{message:?} is no request, and is put up with");
        }
        Ok(())
    }

    /// A connection stands. Whoever is not paired is turned away unheard.
    fn link_up(&mut self, key: PublicKey, dial: Option<EffectId>) -> LinkId {
        self.next += 1;
        let link = LinkId(self.next);
        let is_paired = self.host.index.begin().is_ok() && {
            let peers = self.host.index.peers().unwrap_or_default();
            self.host.index.rollback();
            peers.iter().any(|p| p.key == key && !p.removed)
        };
        self.links.insert(link, Wire { key, admitted: false, hung_up: false });
        self.feed(Input::LinkUp { link, key, addr: format!("10.0.0.{}:22000", key.0[0]), dial });
        if let Some(wire) = self.links.get(&link) {
            assert_eq!((wire.admitted, wire.hung_up), (is_paired, !is_paired), "whether {key:?} is let in");
        }
        link
    }

    fn link_down(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let Some(link) = self.link(u)? else { return Ok(()) };
        self.links.remove(&link);
        self.feed(Input::LinkDown { link, code: CloseCode::from_wire(u.arbitrary::<u8>()?.into()), reason: "".into() });
        Ok(())
    }

    /// What the transport says of a link.
    fn transport(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let Some(link) = self.link(u)? else { return Ok(()) };
        match u.int_in_range(0..=5_u8)? {
            0 if self.links[&link].admitted => {
                self.feed(Input::Misbehaved { link, reason: "a stream too many".into() });
                assert!(self.links.get(&link).is_none_or(|w| w.hung_up));
            }
            1 => {
                let (sent, lost) = (u64::from(u.arbitrary::<u8>()?), u64::from(u.arbitrary::<u8>()?));
                let stats =
                    LinkStats { packets_sent: sent, packets_lost: lost, rtt_us: sent << 12, ..LinkStats::default() };
                self.feed(Input::LinkStats { link, stats });
            }
            _ => self.feed(Input::Sent { link }),
        }
        Ok(())
    }

    fn share(&mut self, folder: FolderId) {
        let root = Box::from(&b"/root"[..]);
        self.request(Command::ShareFolder { folder, name: "folder".into(), root });
    }

    fn pair(&mut self, number: usize, joins: bool) {
        let key = self.cast.keys[number % self.cast.keys.len()];
        // Nobody pairs with himself: the shell refuses its own key.
        if key == self.host.key {
            return;
        }
        self.request(Command::Pair {
            device: DeviceId::of_key(&key),
            key,
            name: format!("peer {number}"),
            addr: joins.then(|| format!("10.0.0.{number}:22000")),
            folder: FOLDERS[0],
            folder_name: "folder".into(),
            root: joins.then(|| Box::from(&b"/root"[..])),
        });
    }

    fn request(&mut self, command: Command) {
        self.feed(Input::Request { request: RequestId(1), command });
    }

    fn command(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let (folder, device) = (self.cast.folder(u)?, self.cast.device(u)?);
        let command = match u.int_in_range(0..=15_u8)? {
            0 => {
                self.share(folder);
                return Ok(());
            }
            1 => Command::RemoveFolder(folder),
            2 => Command::PauseFolder(folder, u.arbitrary()?),
            3 => Command::SetPolicy(folder, PolicyChoice::Largest),
            4 => Command::SetPolicy(folder, PolicyChoice::Prefer(vec![device])),
            5 => Command::VerifyFolder(folder),
            6 => Command::RemoveDevice(device),
            7 => Command::RetireDevice(device),
            8 => Command::RenameDevice(device, "another".into()),
            9 => Command::DialNow(device),
            10 => Command::Why(folder, path(u)?),
            11 => Command::Conflicts(folder),
            12 => Command::Audits(usize::from(u.arbitrary::<u8>()?)),
            13 => Command::Audit { kind: "pairing".into(), detail: "failed".into() },
            14 => Command::Shutdown,
            _ => {
                self.host.missing();
                return Ok(());
            }
        };
        self.request(command);
        Ok(())
    }

    /// A person changes something on disk, and the watcher says so or not.
    fn edit(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let at = path(u)?;
        let number: u8 = u.arbitrary()?;
        let disk = &mut self.host.disk;
        match u.int_in_range(0..=3_u8)? {
            0 => disk.tree(&at).iter().for_each(|p| drop(disk.take(p))),
            1 if disk.is_dir(&at.parent()) && !disk.has_below(&at) => {
                disk.put(&at, Entry::Dir, 0o755, None, false);
            }
            _ if disk.is_dir(&at.parent()) && !disk.has_below(&at) => {
                disk.put(&at, Entry::File(Rc::new(bytes_of(number & 0x3f))), 0o644, None, number & 0x40 != 0);
            }
            _ => {}
        }
        let hint = if number & 0x80 == 0 { Hint::Path(at) } else { Hint::Everything };
        self.feed(Input::Hint { folder: FOLDERS[0], hint });
        Ok(())
    }

    /// Everything under way ends, and what follows from it.
    fn do_jobs(&mut self) {
        for _ in 0..STEPS {
            // Hinted paths are looked at once they are quiet.
            self.now += 10_000;
            self.feed(Input::Wake);
            let jobs = std::mem::take(&mut self.jobs);
            if jobs.is_empty() {
                return;
            }
            for job in jobs {
                self.complete(&job, &Payload::Refused(FetchError::NotFound));
            }
        }
    }

    #[allow(clippy::wildcard_enum_match_arm)] // The rest is fetched or done on the disk.
    fn complete(&mut self, job: &Output, payload: &Payload) {
        let ended = match job {
            Output::Dial { dial, .. } => vec![Input::DialFailed { dial: *dial, reason: "no answer".into() }],
            Output::Serve { ask, .. } => vec![Input::Answered { ask: *ask, bytes: 1 }],
            fetch => match self.host.receive(fetch, payload) {
                Some(input) => vec![input],
                None => self.host.work(job),
            },
        };
        ended.into_iter().for_each(|input| self.feed(input));
    }

    /// One effect ends well.
    #[allow(clippy::wildcard_enum_match_arm)] // Only fetches bring something.
    fn complete_one(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        if self.jobs.is_empty() {
            return Ok(());
        }
        let job = self.jobs.swap_remove(u.int_in_range(0..=self.jobs.len() - 1)?);
        if let Output::Dial { dial, key, .. } = &job {
            self.link_up(*key, Some(*dial));
            return Ok(());
        }
        let bytes = |content: &ContentId| (0..64).map(bytes_of).find(|b| ContentId::of(b) == *content);
        let payload = match &job {
            Output::FetchList { content, size, .. } => match bytes(content) {
                Some(bytes) if u.arbitrary()? => Payload::List(chunk(&bytes)),
                _ => Payload::List(some_list(u, *size)?),
            },
            Output::FetchBatch { items, .. } => {
                Payload::Items(items.iter().map(|(c, _)| bytes(c).ok_or(FetchError::NotFound)).collect())
            }
            Output::FetchRange { content, offset, chunks, .. } => {
                let part = bytes(content).and_then(|bytes| {
                    let (from, len) = (usize::try_from(*offset).ok()?, usize::try_from(chunks.bytes()).ok()?);
                    bytes.get(from..from.checked_add(len)?).map(<[u8]>::to_vec)
                });
                Payload::Items(vec![part.ok_or(FetchError::Changed)])
            }
            _ => Payload::Refused(FetchError::NotFound),
        };
        self.complete(&job, &payload);
        Ok(())
    }

    /// One effect comes to nothing.
    #[allow(clippy::wildcard_enum_match_arm)] // The rest fails by what comes back.
    fn fail_one(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        if self.jobs.is_empty() {
            return Ok(());
        }
        let job = self.jobs.swap_remove(u.int_in_range(0..=self.jobs.len() - 1)?);
        let kinds = [ItemErrorKind::Io, ItemErrorKind::DiskFull, ItemErrorKind::RootLost, ItemErrorKind::Busy];
        let trouble = ItemError { kind: *u.choose(&kinds)?, reason: "the disk says no".into() };
        let codes =
            [FetchError::NotFound, FetchError::Busy, FetchError::Refused, FetchError::BadHash, FetchError::Broken];
        let code = *u.choose(&codes)?;
        let input = match &job {
            Output::Scan { scan, .. } if u.arbitrary()? => {
                Input::Unlisted { scan: *scan, dir: DirPath::ROOT, error: trouble }
            }
            Output::Scan { scan, .. } => Input::Scanned { scan: *scan, outcome: Err(trouble) },
            Output::Probe { probe, paths, .. } => {
                let all = if u.arbitrary()? { Ok(vec![Err(trouble.clone()); paths.len()]) } else { Err(trouble) };
                Input::Probed { probe: *probe, outcome: all }
            }
            Output::Apply { apply, ops, .. } => {
                let each = [Done::Unexpected, Done::NotStaged, Done::Failed(trouble)];
                Input::Applied { apply: *apply, outcome: Ok(vec![u.choose(&each)?.clone(); ops.len()]) }
            }
            Output::Copy { copy, .. } => Input::Copied { copy: *copy, outcome: Err(CopyError::Disk(trouble)) },
            Output::Reuse { reuse, .. } => Input::Reused { reuse: *reuse, outcome: Err(CopyError::Source) },
            Output::Salvage { salvage, .. } => Input::Salvaged { salvage: *salvage, outcome: Err(trouble) },
            Output::Seal { seal, .. } => Input::Sealed { seal: *seal, outcome: Err(trouble) },
            Output::Finish { finish, .. } => Input::Finished { finish: *finish, outcome: Ok(false) },
            _ => {
                self.complete(&job, &Payload::Refused(code));
                return Ok(());
            }
        };
        self.feed(input);
        if let Output::Scan { scan, .. } = &job {
            // A walk ends once, whatever it could not read.
            self.feed(Input::Scanned { scan: *scan, outcome: Ok(()) });
        }
        Ok(())
    }

    /// The end of an effect that nobody asked for: that of a node before this one, say.
    fn complete_unknown(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let id = EffectId(u64::MAX - u64::from(u.arbitrary::<u8>()?));
        let many = u.int_in_range(0..=2_usize)?;
        let refused = || FetchFailure::Peer(FetchError::Refused);
        let input = match u.int_in_range(0..=13_u8)? {
            0 => Input::DialFailed { dial: id, reason: "no answer".into() },
            1 => Input::Listed { scan: id, dir: DirPath::ROOT, after: None, entries: Vec::new(), last: true },
            2 => Input::Scanned { scan: id, outcome: Ok(()) },
            3 => Input::Probed { probe: id, outcome: Ok(vec![Ok(sync_core::input::Seen::Absent); many]) },
            4 => Input::Applied { apply: id, outcome: Ok(vec![Done::Made(None); many]) },
            5 => Input::Copied { copy: id, outcome: Ok(()) },
            6 => Input::Salvaged { salvage: id, outcome: Ok(vec![ContentId([1; 32]); many]) },
            7 => Input::ListFetched { fetch: id, outcome: Ok(ChunkList::default()) },
            8 => Input::BatchFetched { fetch: id, outcomes: vec![Err(refused()); many] },
            9 => Input::RangeFetched { fetch: id, chunks: 1, error: Some(refused()) },
            10 => Input::Sealed { seal: id, outcome: Ok(()) },
            11 => Input::Finished { finish: id, outcome: Ok(true) },
            13 => Input::Reused { reuse: id, outcome: Ok(Bits::new(many)) },
            _ => Input::Answered { ask: AskId(id.0), bytes: 1 },
        };
        self.feed(input);
        Ok(())
    }
}

/// A list that adds up to what was asked for, of chunks that nobody has.
fn some_list(u: &mut Unstructured<'_>, size: u64) -> Result<ChunkList> {
    let mut list = ChunkList::default();
    let step = u64::from(u.arbitrary::<u8>()?).max(1) << 8;
    let mut left = size;
    // What is larger than this is one that does not add up: the shell refuses it.
    while left > 0 && list.len() < 512 {
        let len = left.min(step);
        list.push(u32::try_from(len).unwrap_or(u32::MAX), [0xee; 32]);
        left -= len;
    }
    Ok(list)
}

/// The lane a message belongs on. Requests have a lane of their own.
fn natural(message: &Message) -> Lane {
    match message {
        Message::FolderOffer(_)
        | Message::FolderGone(_)
        | Message::SyncStart(_)
        | Message::Rows(_)
        | Message::Caught(_)
        | Message::Gone { .. } => Lane::Index,
        Message::Hello(_)
        | Message::Have(_)
        | Message::Ping(_)
        | Message::Pong(_)
        | Message::Notice { .. }
        | Message::Goodbye
        | Message::Want(_)
        | Message::ListWant(_) => Lane::Control,
    }
}

fn other(lane: Lane) -> Lane {
    if lane == Lane::Control { Lane::Index } else { Lane::Control }
}

fn is_request(message: &Message) -> bool {
    matches!(message, Message::Want(_) | Message::ListWant(_))
}

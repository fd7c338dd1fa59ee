//! One device for the bodies that drive nodes: a node of the shipping core, a model index and a model disk, with no queue
//! of events around them. Whoever drives it decides what happens when.

use crate::core::disk::{Disk, chunk};
use crate::core::index::ModelIndex;
use core::time::Duration;
use std::ops::Range;
use sync_core::id::{EffectId, LinkId, PublicKey};
use sync_core::index::{Index, StatKind};
use sync_core::input::{CopyError, Done, FetchFailure};
use sync_core::output::{Serve, Source};
use sync_core::transfer::{ChunkList, SCHEME};
use sync_core::wire::{ListWant, Message, Want, WantItem, encode};
use sync_core::{
    Config, ContentId, DeviceId, DirPath, FetchError, Input, Instant, Limits, Moment, Node, Output, RelPath, WallTime,
};

/// The year 2026.
const EPOCH: i64 = 1_790_000_000_000_000_000;
/// More than one input may ever lead to.
const MAX_OUTPUTS: usize = 20_000;
/// Steps at one instant above which a node is busy with nothing.
const MAX_STEPS: u32 = 400;

/// The index has failed: the node is void, and what it last said was not meant.
#[derive(Debug)]
pub(super) struct Void;

/// What comes back for a request of the data lane.
#[derive(Clone, Debug)]
pub(super) enum Payload {
    /// A code.
    Refused(FetchError),
    /// A chunk list.
    List(ChunkList),
    /// Bytes or a code for each item.
    Items(Vec<Result<Vec<u8>, FetchError>>),
}

/// One device.
pub(super) struct Host {
    pub(super) id: DeviceId,
    pub(super) key: PublicKey,
    pub(super) index: ModelIndex,
    pub(super) disk: Disk,
    node: Node,
    config: Config,
    lives: u64,
}

impl Host {
    /// The device of this number, which has not started. Its limits are small, so that they are met.
    pub(super) fn new(number: u8) -> Self {
        let key = PublicKey([number; 32]);
        let id = DeviceId::of_key(&key);
        let limits = Limits {
            batch_rows: 16,
            batch_bytes: 4_000,
            probe_paths: 4,
            plan_paths: 64,
            small_bytes: 64,
            request_bytes: 200,
            request_items: 8,
            asks: 4,
            rescan: Duration::from_secs(60),
            ..Limits::default()
        };
        let name = format!("host {number}");
        let config = Config { device: id, key, name, listen_port: 22_000, listen: String::new(), limits };
        let node = Node::new(config.clone(), u64::from(number));
        Self { id, key, index: ModelIndex::default(), disk: Disk::default(), node, config, lives: 0 }
    }

    /// A new node on what is committed, not started yet.
    pub(super) fn revive(&mut self) {
        self.lives += 1;
        self.index.crash();
        self.node = Node::new(self.config.clone(), self.lives << 8 | u64::from(self.key.0[0]));
    }

    /// One input in a batch of its own: what it leads to, once that is committed.
    pub(super) fn feed(&mut self, input: Input, now: u64) -> Result<Vec<Output>, Void> {
        let wall = EPOCH + i64::try_from(now).unwrap_or(0) * 1_000;
        self.disk.wall = wall;
        self.index.begin().map_err(|_| Void)?;
        let outcome = self.node.handle(input, Moment { now: Instant(now), wall: WallTime(wall) }, &mut self.index);
        let outputs: Vec<Output> = std::iter::from_fn(|| self.node.poll_output()).take(MAX_OUTPUTS).collect();
        assert!(outputs.len() < MAX_OUTPUTS, "one input leads to {MAX_OUTPUTS} outputs");
        if outcome.is_err() {
            self.index.rollback();
            return Err(Void);
        }
        self.index.commit().map_err(|_| Void)?;
        Ok(outputs)
    }

    /// Everything the node goes on to do by itself at this instant.
    pub(super) fn go_on(&mut self, now: u64) -> Result<Vec<Output>, Void> {
        let mut outputs = Vec::new();
        let mut steps = 0;
        while let Some((at, timer)) = self.node.poll_timeout().filter(|(at, _)| at.0 <= now) {
            steps += 1;
            assert!(steps < MAX_STEPS, "{MAX_STEPS} steps at one instant: {timer:?} at {at:?}, now {now}");
            outputs.extend(self.feed(Input::Wake, now)?);
        }
        Ok(outputs)
    }

    /// When the node wants to be woken.
    pub(super) fn deadline(&self) -> Option<u64> {
        self.node.poll_timeout().map(|(at, _)| at.0)
    }

    /// What the node says is missing. It must not contradict itself.
    pub(super) fn missing(&mut self) -> Vec<String> {
        let Ok(()) = self.index.begin() else { return vec!["the index fails".into()] };
        let status = self.node.status(&mut self.index);
        self.index.rollback();
        let Ok(status) = status else { return vec!["the index fails".into()] };
        assert_eq!(status.synced, status.missing.is_empty(), "{:?}", status.missing);
        let errors = status.folders.iter().flat_map(|f| &f.errors).map(|e| format!("{}: {}", e.path, e.error.reason));
        status.missing.iter().cloned().chain(errors).collect()
    }

    /// What is stored makes sense, whatever anybody sent.
    pub(super) fn check(&mut self) {
        if self.index.begin().is_err() {
            return;
        }
        for state in self.index.folders().unwrap_or_default() {
            assert!(state.knowledge.covers(&state.applied), "more is applied than known: {state:?}");
            assert!(
                state.knowledge.seq(state.actor) <= state.seq,
                "own writes are known that were not made: {state:?}"
            );
            assert!(state.acked <= state.seq && state.purge_rev <= state.rev, "{state:?}");
            for v in self.index.rows_after(state.id, None, usize::MAX).unwrap_or_default() {
                assert!(v.rev <= state.rev, "row {:?} is of a later change than any: {} > {}", v.key, v.rev, state.rev);
                assert!(v.row.fits(&v.key), "row {:?} holds what it is not about", v.key);
                assert!(v.row.siblings.keys().all(|d| v.row.ctx.contains(*d)), "row {:?} is not whole", v.key);
                let own = v.row.ctx.seq(state.actor);
                assert!(own <= state.seq, "row {:?} knows own write {own}, but {} is the last", v.key, state.seq);
            }
        }
        self.index.rollback();
    }

    /// Carries an effect on the disk out at once, and says how it ended. Nothing for what is no such effect.
    pub(super) fn work(&mut self, output: &Output) -> Vec<Input> {
        match output {
            Output::Scan { scan, within, .. } => self.scan(*scan, within.as_ref()),
            Output::Probe { probe, paths, .. } => {
                let outcome = Ok(paths.iter().map(|(path, known)| self.disk.probe(path, known.as_ref())).collect());
                vec![Input::Probed { probe: *probe, outcome }]
            }
            Output::Apply { apply, ops, .. } => {
                let done: Vec<_> = ops.iter().map(|op| self.disk.carry_out(op)).collect();
                let made = |d: &Done| matches!(d, Done::Made(_));
                let used = ops.iter().zip(&done).filter(|(_, d)| made(d)).filter_map(|(op, _)| op.make.content());
                used.for_each(|content| self.disk.use_up(content));
                vec![Input::Applied { apply: *apply, outcome: Ok(done) }]
            }
            Output::Copy { copy, content, from, expect, .. } => {
                let outcome = self.disk.copy(from, expect, *content);
                let outcome = outcome.map_or(Err(CopyError::Source), |done| done.map_err(CopyError::Disk));
                vec![Input::Copied { copy: *copy, outcome }]
            }
            Output::Reuse { reuse, content, chunks, kept, basis, .. } => {
                let outcome = self.disk.reuse(*content, chunks, kept, basis);
                let outcome = outcome.map_or(Err(CopyError::Source), |found| found.map_err(CopyError::Disk));
                vec![Input::Reused { reuse: *reuse, outcome }]
            }
            Output::Salvage { salvage, contents, .. } => {
                vec![Input::Salvaged { salvage: *salvage, outcome: self.disk.salvage(contents) }]
            }
            Output::Seal { seal, content, .. } => {
                vec![Input::Sealed { seal: *seal, outcome: self.disk.seal(*content) }]
            }
            Output::Finish { finish, content, size, .. } => {
                vec![Input::Finished { finish: *finish, outcome: self.disk.finish(*content, *size) }]
            }
            Output::OpenFolder { staged, .. } => {
                self.disk.sweep(staged);
                Vec::new()
            }
            Output::Unstage { content, .. } => {
                self.disk.unstage(*content);
                Vec::new()
            }
            Output::Reply { .. }
            | Output::Event(_)
            | Output::Dial { .. }
            | Output::Admit { .. }
            | Output::Send { .. }
            | Output::HangUp { .. }
            | Output::CloseFolder { .. }
            | Output::FetchList { .. }
            | Output::FetchBatch { .. }
            | Output::FetchRange { .. }
            | Output::Serve { .. }
            | Output::Stop => Vec::new(),
        }
    }

    fn scan(&self, scan: EffectId, within: Option<&RelPath>) -> Vec<Input> {
        let mut inputs = Vec::new();
        let mut left = vec![within.map_or(DirPath::ROOT, |p| DirPath::from(p.clone()))];
        while let Some(dir) = left.pop().filter(|_| inputs.len() < MAX_OUTPUTS) {
            if !self.disk.is_dir(&dir) {
                continue;
            }
            let entries = self.disk.children(&dir);
            let below = entries.iter().filter(|(_, stat)| stat.kind == StatKind::Dir);
            left.extend(below.filter_map(|(name, _)| dir.join(name).ok()).map(DirPath::from));
            inputs.push(Input::Listed { scan, dir, after: None, entries, last: true });
        }
        inputs.push(Input::Scanned { scan, outcome: Ok(()) });
        inputs
    }

    /// What this device sends for a request.
    pub(super) fn serve(&self, answer: &Serve) -> Payload {
        let read = |source: &Source| self.disk.read(&source.path, &source.expect).ok_or(FetchError::Changed);
        match answer {
            Serve::Refuse(error) => Payload::Refused(*error),
            Serve::List(source, _) => read(source).map_or_else(Payload::Refused, |bytes| Payload::List(chunk(&bytes))),
            Serve::Ranges(ranges) => {
                let part = |(source, range): &(Result<Source, FetchError>, Range<u64>)| {
                    let bytes = read(source.as_ref().map_err(|e| *e)?)?;
                    let end = |at: u64| usize::try_from(at).map_err(|_| FetchError::Refused);
                    bytes.get(end(range.start)?..end(range.end)?).map(<[u8]>::to_vec).ok_or(FetchError::Refused)
                };
                Payload::Items(ranges.iter().map(part).collect())
            }
        }
    }

    /// Takes in what came for a fetch, verified as the shell does it. `None` for what is no fetch.
    #[allow(clippy::wildcard_enum_match_arm)] // Only fetches bring something.
    pub(super) fn receive(&mut self, fetch: &Output, payload: &Payload) -> Option<Input> {
        match fetch {
            Output::FetchList { fetch, size, .. } => {
                let outcome = match payload {
                    Payload::Refused(error) => Err(FetchFailure::Peer(*error)),
                    Payload::List(list) if list.bytes() == *size => Ok(list.clone()),
                    Payload::List(_) | Payload::Items(_) => Err(FetchFailure::Peer(FetchError::BadHash)),
                };
                Some(Input::ListFetched { fetch: *fetch, outcome })
            }
            Output::FetchBatch { fetch, items, .. } => {
                let take = |(at, (content, size)): (usize, &(ContentId, u64))| {
                    let bytes = item(payload, at)?;
                    if bytes.len() as u64 != *size || ContentId::of(&bytes) != *content {
                        return Err(FetchFailure::Peer(FetchError::BadHash));
                    }
                    self.disk.stage_whole(*content, bytes).map_err(FetchFailure::Disk)
                };
                Some(Input::BatchFetched { fetch: *fetch, outcomes: items.iter().enumerate().map(take).collect() })
            }
            Output::FetchRange { fetch, content, size, offset, chunks, .. } => {
                let (chunks, error) = self.receive_range(*content, *size, *offset, chunks, payload);
                Some(Input::RangeFetched { fetch: *fetch, chunks, error })
            }
            _ => None,
        }
    }

    fn receive_range(
        &mut self,
        content: ContentId,
        size: u64,
        offset: u64,
        chunks: &ChunkList,
        payload: &Payload,
    ) -> (u32, Option<FetchFailure>) {
        let bytes = match item(payload, 0) {
            Ok(bytes) => bytes,
            Err(error) => return (0, Some(error)),
        };
        let (mut at, mut done) = (0, 0);
        for (len, hash) in chunks.iter() {
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            let Some(part) = bytes[at..].get(..len) else {
                return (done, Some(FetchFailure::Peer(FetchError::Broken)));
            };
            if *blake3::hash(part).as_bytes() != hash {
                return (done, Some(FetchFailure::Peer(FetchError::BadHash)));
            }
            if let Err(error) = self.disk.stage_part(content, size, offset + at as u64, part) {
                return (done, Some(FetchFailure::Disk(error)));
            }
            (at, done) = (at + len, done + 1);
        }
        (done, None)
    }
}

fn item(payload: &Payload, at: usize) -> Result<Vec<u8>, FetchFailure> {
    let found = match payload {
        Payload::Refused(error) => Err(*error),
        Payload::List(_) => Err(FetchError::BadHash),
        Payload::Items(items) => items.get(at).cloned().unwrap_or(Err(FetchError::Broken)),
    };
    found.map_err(FetchFailure::Peer)
}

/// The request that a fetch sends, and on which link. `None` for what is no fetch.
#[allow(clippy::wildcard_enum_match_arm)] // Only fetches ask for something.
pub(super) fn request_of(fetch: &Output) -> Option<(LinkId, Vec<u8>)> {
    let (link, message) = match fetch {
        Output::FetchList { link, folder, content, .. } => {
            (link, Message::ListWant(ListWant { folder: *folder, content: *content, scheme: SCHEME, known: None }))
        }
        Output::FetchBatch { link, folder, items, .. } => {
            let items = items.iter().map(|(content, len)| WantItem { content: *content, offset: 0, len: *len });
            (link, Message::Want(Want { folder: *folder, items: items.collect() }))
        }
        Output::FetchRange { link, folder, content, offset, chunks, .. } => {
            let item = WantItem { content: *content, offset: *offset, len: chunks.bytes() };
            (link, Message::Want(Want { folder: *folder, items: vec![item] }))
        }
        _ => return None,
    };
    Some((*link, encode(&message)))
}

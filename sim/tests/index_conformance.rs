//! The SQLite store and the model give the same answers to the same calls, whatever is committed, rolled back, lost in
//! a crash or read by a later process.
#![allow(clippy::unwrap_used, missing_docs)]

use io_shell::store::Store;
use sim::core::index::ModelIndex;
use std::collections::BTreeMap;
use std::path::Path;
use sync_core::id::{DeviceId, PublicKey};
use sync_core::index::{
    Base, Body, Dot, FolderState, Index, Key, Member, MemberState, PeerFolder, PeerRecord, Policy, Row, Staged, Stat,
    StatKind, Value,
};
use sync_core::rng::Rng;
use sync_core::transfer::ChunkList;
use sync_core::{Actor, ContentId, DirPath, FolderId, Name, RelPath, WallTime};

/// Calls of one history.
const STEPS: u64 = 2_500;
/// Histories.
const SEEDS: u64 = 8;

/// Names that sort around the slash, and bytes that are no text.
const NAMES: [&[u8]; 7] = [b"a", b"a-b", b"a.c", b"a0", b"b", b"\x01", b"\xff\xfe"];

struct Pair {
    rng: Rng,
    store: Option<Store>,
    model: ModelIndex,
    rev: u64,
}

/// Makes one call on both and compares what they say.
macro_rules! both {
    ($pair:ident, $call:ident($($arg:expr),*)) => {{
        let store = Index::$call($pair.store.as_mut().unwrap(), $($arg),*);
        let model = Index::$call(&mut $pair.model, $($arg),*);
        assert_eq!(store.unwrap(), model.unwrap(), "store and model disagree on {}", stringify!($call($($arg),*)));
    }};
}

impl Pair {
    fn new(seed: u64, file: &Path) -> Self {
        Self { rng: Rng::new(seed), store: Some(Store::open(file).unwrap()), model: ModelIndex::default(), rev: 0 }
    }

    fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[usize::try_from(self.rng.below(items.len() as u64)).unwrap()]
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.rng.below(100) < percent
    }

    fn folder(&mut self) -> FolderId {
        // Descending, so that the order of ids is not the order of first use.
        FolderId([3 - u8::try_from(self.rng.below(3)).unwrap(); 16])
    }

    fn path(&mut self) -> RelPath {
        let depth = 1 + self.rng.below(3);
        let names: Vec<_> = (0..depth).map(|_| self.one_of(&NAMES)).collect();
        RelPath::new(&names.join(&b'/')).unwrap()
    }

    fn device(&mut self) -> DeviceId {
        DeviceId([u8::try_from(self.rng.below(4)).unwrap() * 85; 32])
    }

    fn key(&mut self) -> Key {
        if self.chance(10) { Key::Member(self.device()) } else { Key::Path(self.path()) }
    }

    fn limit(&mut self) -> usize {
        self.one_of(&[0, 1, 2, 3, 10, 1_000, usize::MAX])
    }

    fn content(&mut self) -> ContentId {
        let mut content = ContentId([u8::try_from(self.rng.below(3)).unwrap(); 32]);
        // Contents that agree in the bytes an index may go by.
        content.0[31] = u8::try_from(self.rng.below(2)).unwrap();
        content
    }

    fn dot(&mut self) -> Dot {
        Dot { actor: Actor(self.one_of(&[1, 2, u64::MAX])), seq: 1 + self.rng.below(90_000) }
    }

    fn body(&mut self) -> Body {
        let mode = self.one_of(&[0o644, 0o755, 0o600]);
        match self.rng.below(7) {
            0 => Body::Dir { mode },
            1 => Body::Symlink { target: Box::from(&b"to\xff"[..]) },
            2 | 3 => Body::Tomb,
            _ => Body::File { content: self.content(), size: self.rng.below(1 << 33), mtime_ns: self.time(), mode },
        }
    }

    fn time(&mut self) -> i64 {
        self.one_of(&[-1, 0, 1_700_000_000_000_000_000])
    }

    fn row(&mut self, key: &Key) -> Row {
        let mut row = Row { noskip: self.chance(10), ..Row::default() };
        for _ in 0..self.one_of(&[0, 1, 1, 1, 1, 2, 3]) {
            let dot = self.dot();
            let member = || Member {
                key: PublicKey([5; 32]),
                name: "desk".into(),
                state: MemberState::Active,
                actors: [Actor(1)].into(),
                misses: [ContentId([7; 32])].into(),
            };
            let body = if key.as_path().is_some() { self.body() } else { Body::Member(member()) };
            let prev = self.one_of(&[[0; 8], [0; 8], [9; 8]]);
            row.siblings.insert(dot, Value { body, prev, stamp: WallTime(self.time()) });
            row.ctx.insert(dot);
        }
        if self.chance(20) {
            let dot = self.dot();
            row.ctx.insert(dot);
        }
        row
    }

    fn stat(&mut self) -> Stat {
        let kind = self.one_of(&[StatKind::Dir, StatKind::File, StatKind::Symlink, StatKind::Other]);
        let inode = self.one_of(&[1, 2, 3, 1 << 40, u64::MAX]);
        let (size, mode) = (self.rng.below(1 << 33), self.one_of(&[0o644, 0o600]));
        Stat { kind, inode, size, mtime_ns: self.time(), ctime_ns: self.time(), mode }
    }

    /// Often the version of the row at the path, as after a scan or an apply; sometimes anything.
    fn base(&mut self, folder: FolderId, path: &RelPath) -> Base {
        let row = self.model.row(folder, &Key::Path(path.clone())).unwrap();
        let version = row.and_then(|row| row.siblings.into_iter().next()).filter(|(_, v)| v.body.is_live());
        let stat = self.stat();
        match version.filter(|_| self.chance(80)) {
            Some((dot, value)) => {
                let stat = match &value.body {
                    Body::File { size, mtime_ns, mode, .. } if self.chance(80) => {
                        Stat { kind: StatKind::File, size: *size, mtime_ns: *mtime_ns, mode: *mode, ..stat }
                    }
                    Body::File { .. }
                    | Body::Dir { .. }
                    | Body::Symlink { .. }
                    | Body::Tomb
                    | Body::Member(_)
                    | Body::Policy(_) => stat,
                };
                Base { dot: Some(dot), body: value.body, stat }
            }
            None => Base { dot: Some(self.dot()).filter(|d| d.seq % 3 > 0), body: self.body(), stat },
        }
    }

    fn folder_state(&mut self) -> FolderState {
        let peers =
            BTreeMap::from([(self.device(), PeerFolder { cursor: self.rng.below(9), ..PeerFolder::default() })]);
        FolderState {
            id: self.folder(),
            name: "photos".into(),
            root: Box::from(&b"/home/a\xff"[..]),
            policy: Policy::Newest,
            paused: self.chance(50),
            actor: Actor(self.rng.next_u64()),
            seq: self.rng.below(100),
            rev: self.rev,
            epoch: self.rng.next_u64(),
            knowledge: [self.dot(), self.dot()].into_iter().collect(),
            applied: [self.dot()].into_iter().collect(),
            purge_rev: 0,
            acked: 0,
            peers,
            paused_contents: [self.content()].into(),
        }
    }

    fn staged(&mut self) -> Staged {
        let mut list = ChunkList::default();
        (0..self.rng.below(4)).for_each(|n| list.push(u32::try_from(n).unwrap() + 1, [7; 32]));
        let sealed = vec![u8::try_from(self.rng.below(256)).unwrap(); 3];
        Staged { content: self.content(), size: self.one_of(&[1, u64::MAX]), list, sealed }
    }

    fn write(&mut self) {
        let (folder, path, key) = (self.folder(), self.path(), self.key());
        match self.rng.below(100) {
            0..28 => {
                self.rev += 1 + self.rng.below(3);
                let (row, rev) = (self.row(&key), self.rev);
                both!(self, put_row(folder, &key, &row, rev));
            }
            28..35 => both!(self, remove_row(folder, &key)),
            35..60 => {
                let base = self.base(folder, &path);
                both!(self, put_base(folder, &path, &base));
            }
            60..67 => both!(self, remove_base(folder, &path)),
            67..77 => both!(self, mark_pending(folder, &path)),
            77..80 => {
                both!(self, is_pending(folder, &path));
                both!(self, clear_pending(folder, &path));
            }
            80..83 => {
                let copied = self.chance(60);
                both!(self, note_copied(folder, &path, copied));
            }
            83..86 => {
                let state = self.folder_state();
                both!(self, put_folder(&state));
            }
            86 if self.chance(30) => both!(self, remove_folder(folder)),
            86..90 => {
                let (id, removed) = (self.device(), self.chance(50));
                let peer = PeerRecord { id, key: PublicKey([1; 32]), name: "lap".into(), addrs: vec![], removed };
                both!(self, put_peer(&peer));
            }
            90..92 => {
                let device = self.device();
                both!(self, remove_peer(device));
            }
            92..96 => {
                let staged = self.staged();
                both!(self, put_staged(folder, &staged));
            }
            96..98 => {
                let content = self.content();
                both!(self, remove_staged(folder, content));
            }
            _ => {
                let at = WallTime(self.time());
                both!(self, audit(at, "kind", "detail"));
            }
        }
    }

    /// One read of each kind, at places drawn at random.
    fn read(&mut self) {
        let (folder, path, key, limit) = (self.folder(), self.path(), self.key(), self.limit());
        let after_key = Some(self.key()).filter(|_| self.chance(60));
        let after_path = Some(self.path()).filter(|_| self.chance(60));
        let after_name = Some(self.path().name()).filter(|_: &Name| self.chance(50));
        let dir = if self.chance(30) { DirPath::ROOT } else { path.parent() };
        let (content, since) = (self.content(), self.rng.below(self.rev + 2));
        both!(self, row(folder, &key));
        both!(self, rows_since(folder, since, limit));
        both!(self, rows_after(folder, after_key.as_ref(), limit));
        both!(self, live_below(folder, &path));
        both!(self, conflicted(folder));
        both!(self, copied(folder));
        both!(self, tombs_after(folder, after_key.as_ref(), limit));
        both!(self, base(folder, &path));
        both!(self, base_children(folder, &dir, after_name.as_ref(), limit));
        both!(self, holders(content, limit));
        both!(self, base_totals(folder));
        both!(self, pending(folder, after_path.as_ref(), limit));
        both!(self, staged(folder));
    }

    /// Everything there is.
    fn read_all(&mut self) {
        let all = usize::MAX;
        both!(self, folders());
        both!(self, peers());
        for folder in [1, 2, 3].map(|n| FolderId([n; 16])) {
            both!(self, rows_since(folder, 0, all));
            both!(self, rows_after(folder, None, all));
            both!(self, conflicted(folder));
            both!(self, copied(folder));
            both!(self, tombs_after(folder, None, all));
            both!(self, base_totals(folder));
            both!(self, pending(folder, None, all));
            both!(self, pending_count(folder));
            both!(self, staged(folder));
            let bases: Vec<_> = self.model.rows_after(folder, None, all).unwrap();
            for path in bases.iter().filter_map(|row| row.key.as_path()) {
                both!(self, base(folder, path));
                both!(self, base_children(folder, &DirPath::from(path.clone()), None, all));
            }
        }
        assert_eq!(self.store.as_ref().unwrap().audits(all).unwrap(), self.model.audits(all));
    }

    fn begin(&mut self) {
        self.store.as_mut().unwrap().begin().unwrap();
        self.model.begin().unwrap();
    }

    /// Ends the batch: mostly kept, sometimes taken back, sometimes lost with the process.
    fn end(&mut self, file: &Path) {
        match self.rng.below(10) {
            0 | 1 => {
                self.store.as_mut().unwrap().rollback().unwrap();
                self.model.rollback();
            }
            2 => {
                self.store = None;
                self.model.crash();
                self.store = Some(Store::open(file).unwrap());
            }
            _ => {
                self.store.as_mut().unwrap().commit().unwrap();
                self.model.commit().unwrap();
            }
        }
    }
}

fn run(seed: u64) {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("index.db");
    let mut pair = Pair::new(seed, &file);
    pair.begin();
    for step in 0..STEPS {
        pair.write();
        if pair.chance(25) {
            pair.read();
        }
        if pair.chance(2) {
            pair.end(&file);
            pair.begin();
            pair.read_all();
        }
        if step == STEPS / 2 {
            pair.store.as_mut().unwrap().commit().unwrap();
            pair.model.commit().unwrap();
            pair.store = None;
            pair.store = Some(Store::open(&file).unwrap());
            pair.begin();
            pair.read_all();
        }
    }
    pair.read_all();
}

/// Names the seed of a history that fails.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {0}: replay with LANDROPIC_SEED={0}", self.0);
        }
    }
}

#[test]
fn store_and_model_answer_alike_over_random_histories() {
    let given = std::env::var("LANDROPIC_SEED").ok().map(|seed| seed.parse().unwrap());
    for seed in given.map_or(0..SEEDS, |seed: u64| seed..seed + 1) {
        let _named = Named(seed);
        run(seed);
    }
}

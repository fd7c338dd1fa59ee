//! Messages that could be meant: of folders, devices, actors and paths that the node knows, so that they get far.

use arbitrary::{Result, Unstructured};
use sync_core::id::{Actor, PageId, PublicKey};
use sync_core::index::{Body, Dot, Key, Member, MemberState, PolicyChoice, Row, Value, Vector};
use sync_core::transfer::SCHEME;
use sync_core::wire::{
    Caught, Flow, FolderOffer, Have, Hello, KnownPages, ListWant, MAX_WANT_ITEMS, Message, PROTOCOL_VERSION, Rows,
    SyncStart, Want, WantItem, WireRow,
};
use sync_core::{ContentId, DeviceId, FolderId, RelPath, WallTime};

/// Paths that rows are about: beside and below each other, and near the names of copies.
const PATHS: [&str; 10] = [
    "a",
    "b.txt",
    "d",
    "d/a",
    "d/e",
    "d/e/f.txt",
    "z",
    "a.conflict-19700101-000000-0000000-2d3adedf",
    "a.conflict-19700101-000000-0000000-2d3adedf~2",
    ".conflict-x",
];

/// Who and what there is.
pub(super) struct Cast {
    /// Keys of devices, the node's own first.
    pub(super) keys: Vec<PublicKey>,
    /// Folders, known ones and others.
    pub(super) folders: [FolderId; 2],
    /// The actor the node writes as, as far as it has one.
    pub(super) own: Option<Actor>,
}

/// The bytes of a small content. There are a few only, so that devices come to have the same.
pub(super) fn bytes_of(number: u8) -> Vec<u8> {
    let len = [0, 1, 40, 400][usize::from(number & 3)];
    (0..len).map(|i: usize| number.wrapping_mul(31).wrapping_add(u8::try_from(i & 0xff).unwrap_or(0))).collect()
}

/// One of the paths.
pub(super) fn path(u: &mut Unstructured<'_>) -> Result<RelPath> {
    let text = u.choose(&PATHS)?;
    RelPath::new(text.as_bytes()).map_err(|_| arbitrary::Error::IncorrectFormat)
}

impl Cast {
    pub(super) fn device(&self, u: &mut Unstructured<'_>) -> Result<DeviceId> {
        Ok(DeviceId::of_key(u.choose(&self.keys)?))
    }

    pub(super) fn folder(&self, u: &mut Unstructured<'_>) -> Result<FolderId> {
        let number: u8 = u.arbitrary()?;
        Ok(self.folders[usize::from(number % 8 == 7)])
    }

    /// A number as counters have them: small, or at the end of what there is.
    fn number(u: &mut Unstructured<'_>) -> Result<u64> {
        let byte: u8 = u.arbitrary()?;
        Ok(match byte {
            0..0xf0 => u64::from(byte),
            0xf0..0xfc => 1 << (byte & 0x0f) << 20,
            _ => u64::MAX - u64::from(byte & 1),
        })
    }

    fn dot(&self, u: &mut Unstructured<'_>) -> Result<Dot> {
        let byte: u8 = u.arbitrary()?;
        let actor = match byte & 3 {
            3 => self.own.unwrap_or(Actor(3)),
            n => Actor(u64::from(n) + 1),
        };
        let seq = if byte >= 0xf0 { Self::number(u)?.max(1) } else { u64::from(byte >> 2 & 15) + 1 };
        Ok(Dot { actor, seq })
    }

    fn vector(&self, u: &mut Unstructured<'_>) -> Result<Vector> {
        (0..u.int_in_range(0..=3_u8)?).map(|_| self.dot(u)).collect()
    }

    fn key(&self, u: &mut Unstructured<'_>) -> Result<Key> {
        Ok(match u.int_in_range(0..=7_u8)? {
            0 => Key::Member(self.device(u)?),
            1 => Key::Policy,
            _ => Key::Path(path(u)?),
        })
    }

    fn content(u: &mut Unstructured<'_>) -> Result<(ContentId, u64)> {
        let number: u8 = u.arbitrary()?;
        let bytes = bytes_of(number & 0x3f);
        // Now and then a size that the content does not have.
        let size = if number >= 0xe0 { Self::number(u)? } else { bytes.len() as u64 };
        Ok((ContentId::of(&bytes), size))
    }

    fn member(&self, u: &mut Unstructured<'_>) -> Result<Member> {
        let mut member = Member::new(*u.choose(&self.keys)?, "somebody".into());
        member.state = match u.int_in_range(0..=3_u8)? {
            0 | 1 => MemberState::Active,
            2 => MemberState::Retired,
            _ => MemberState::Removed { limit: self.vector(u)?.iter().map(|d| (d.actor, d.seq)).collect() },
        };
        member.actors = self.vector(u)?.iter().map(|d| d.actor).collect();
        for _ in 0..u.int_in_range(0..=2_u8)? {
            member.misses.insert(Self::content(u)?.0);
        }
        Ok(member)
    }

    fn body(&self, u: &mut Unstructured<'_>, key: &Key) -> Result<Body> {
        Ok(match (u.int_in_range(0..=7_u8)?, key) {
            (0, _) => Body::Tomb,
            (1..=5, Key::Member(_)) => Body::Member(self.member(u)?),
            (1..=2, Key::Policy) => Body::Policy(PolicyChoice::Largest),
            (3..=5, Key::Policy) => Body::Policy(PolicyChoice::Prefer(vec![self.device(u)?, self.device(u)?])),
            (1, Key::Path(_)) => Body::Dir { mode: 0o755 },
            (2, Key::Path(_)) => Body::Symlink { target: bytes_of(u.arbitrary()?).into() },
            _ => {
                let (content, size) = Self::content(u)?;
                Body::File { content, size, mtime_ns: Self::number(u)? as i64, mode: 0o644 }
            }
        })
    }

    fn row(&self, u: &mut Unstructured<'_>, key: &Key) -> Result<Row> {
        let mut row = Row { ctx: self.vector(u)?, ..Row::default() };
        for _ in 0..u.int_in_range(0..=3_u8)? {
            let dot = self.dot(u)?;
            let prev = Self::content(u)?.0.prefix();
            let value = Value { body: self.body(u, key)?, prev, stamp: WallTime(Self::number(u)? as i64) };
            // A crowd is many versions for few bytes.
            let crowd = if u.arbitrary::<u8>()? >= 0xf8 { u.int_in_range(1..=1_024_u64)? } else { 1 };
            for n in 0..crowd {
                let dot = Dot { seq: dot.seq.saturating_add(n), ..dot };
                row.ctx.insert(dot);
                row.siblings.insert(dot, value.clone());
            }
        }
        row.noskip = u.arbitrary()?;
        Ok(row)
    }

    fn rows(&self, u: &mut Unstructured<'_>) -> Result<Rows> {
        let mut rows = Vec::new();
        for _ in 0..u.int_in_range(0..=3_u8)? {
            let key = self.key(u)?;
            rows.push(WireRow { row: self.row(u, &key)?, key });
        }
        let upto = if u.arbitrary()? { Some(Self::number(u)?) } else { None };
        Ok(Rows { folder: self.folder(u)?, rows, upto })
    }

    fn want(&self, u: &mut Unstructured<'_>) -> Result<Want> {
        let (content, offset, len) = (Self::content(u)?.0, Self::number(u)?, Self::number(u)?);
        // As many as there may be, and one more, for few bytes.
        let many = [1, 2, MAX_WANT_ITEMS, MAX_WANT_ITEMS + 1][usize::from(u.arbitrary::<u8>()? & 3)];
        Ok(Want { folder: self.folder(u)?, items: vec![WantItem { content, offset, len }; many] })
    }

    /// The hello of the device `from`.
    pub(super) fn hello(from: &PublicKey) -> Message {
        Message::Hello(Hello {
            version: PROTOCOL_VERSION,
            device: DeviceId::of_key(from),
            name: "peer".into(),
            listen_port: 22_000,
            features: Vec::new(),
        })
    }

    /// Any message but a hello that is in order.
    pub(super) fn message(&self, u: &mut Unstructured<'_>) -> Result<Message> {
        let folder = self.folder(u)?;
        Ok(match u.int_in_range(0..=15_u8)? {
            0 => {
                let Message::Hello(hello) = Self::hello(u.choose(&self.keys)?) else { return Ok(Message::Goodbye) };
                Message::Hello(Hello { version: u32::from(u.arbitrary::<u8>()? & 3), ..hello })
            }
            1 => Message::FolderOffer(FolderOffer {
                folder,
                epoch: Self::number(u)?,
                max_rev: Self::number(u)?,
                cursor_epoch: Self::number(u)?,
                cursor: Self::number(u)?,
                knowledge: self.vector(u)?,
                applied: self.vector(u)?,
                purge_rev: Self::number(u)?,
            }),
            2 => Message::FolderGone(folder),
            3 | 4 => {
                let flow = if u.arbitrary()? { Flow::Since(Self::number(u)?) } else { Flow::All };
                Message::SyncStart(SyncStart { folder, flow, epoch: Self::number(u)?, knowledge: self.vector(u)? })
            }
            5..=7 => Message::Rows(self.rows(u)?),
            8 => {
                let (rev, knowledge, applied) = (Self::number(u)?, self.vector(u)?, self.vector(u)?);
                Message::Caught(Caught { folder, rev, knowledge, applied })
            }
            9 => Message::Gone { folder, keys: vec![self.key(u)?, self.key(u)?] },
            10 => Message::Have(Have { folder, contents: vec![Self::content(u)?.0, Self::content(u)?.0] }),
            11 => Message::Ping(Self::number(u)?),
            12 => Message::Pong(Self::number(u)?),
            13 => Message::Notice { code: 1, text: "a notice".into() },
            14 => Message::Goodbye,
            _ => self.request(u)?,
        })
    }

    /// A request as the data lane has them.
    pub(super) fn request(&self, u: &mut Unstructured<'_>) -> Result<Message> {
        if u.arbitrary()? {
            return Ok(Message::Want(self.want(u)?));
        }
        let (folder, content) = (self.folder(u)?, Self::content(u)?.0);
        let known = u.arbitrary::<Option<[u8; 16]>>()?.map(|page| KnownPages(vec![PageId(page); 2]));
        Ok(Message::ListWant(ListWant { folder, content, scheme: SCHEME ^ (u.arbitrary::<u8>()? >> 7), known }))
    }
}

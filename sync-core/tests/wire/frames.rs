//! Messages to test with: one of each by hand, any by chance, and any as a later version may send it.

use minicbor::{Decoder, Encoder};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use std::collections::BTreeMap;
use sync_core::id::{PageId, PublicKey};
use sync_core::index::{Body, Dot, Key, Member, MemberState, PolicyChoice, Row, Value, Vector};
use sync_core::path::RelPath;
use sync_core::time::WallTime;
use sync_core::wire::{
    Caught, Flow, FolderOffer, Have, Hello, KnownPages, ListWant, Message, Rows, SyncStart, Want, WantItem, WireRow,
};
use sync_core::{Actor, ContentId, DeviceId, FolderId};

/// The folder of the samples.
pub(crate) fn folder() -> FolderId {
    FolderId(core::array::from_fn(|i| 0xf0 + i as u8))
}

/// A row with one version of one file.
pub(crate) fn one_file() -> Row {
    let body =
        Body::File { content: ContentId([0xc0; 32]), size: 1_234, mtime_ns: 1_795_219_449_000_000_001, mode: 0o644 };
    row([(5, 3, body)], [])
}

fn dot(actor: u64, seq: u64) -> Dot {
    Dot { actor: Actor(actor), seq }
}

fn row<const N: usize, const M: usize>(siblings: [(u64, u64, Body); N], replaced: [(u64, u64); M]) -> Row {
    let value = |body, seq| Value { body, prev: [0xee; 8], stamp: WallTime(1_795_219_449_000_000_000 + seq) };
    let siblings: BTreeMap<Dot, Value> =
        siblings.into_iter().map(|(actor, seq, body)| (dot(actor, seq), value(body, seq as i64))).collect();
    let ctx = siblings.keys().copied().chain(replaced.map(|(actor, seq)| dot(actor, seq))).collect();
    Row { ctx, siblings, noskip: M > 1 }
}

fn vector<const N: usize>(dots: [(u64, u64); N]) -> Vector {
    dots.into_iter().map(|(actor, seq)| dot(actor, seq)).collect()
}

fn path(bytes: &[u8]) -> Key {
    Key::Path(RelPath::new(bytes).unwrap())
}

/// Rows of every kind there is.
fn rows() -> Vec<WireRow> {
    let file = |content, mode| Body::File { content: ContentId([content; 32]), size: 1 << 40, mtime_ns: -1, mode };
    let member = |state| {
        let actors = [Actor(1), Actor(u64::MAX)].into();
        let misses = [ContentId([0xc1; 32])].into();
        Body::Member(Member { key: PublicKey([0x4b; 32]), name: "Büro".into(), state, actors, misses })
    };
    let limit = BTreeMap::from([(Actor(1), 9), (Actor(2), 1 << 33)]);
    let of = |key, row| WireRow { key, row };
    vec![
        of(path(b"docs"), row([(1, 1, Body::Dir { mode: 0o755 })], [])),
        of(path(b"docs/a b\n\xff"), row([(1, 2, file(1, 0o644)), (2, 7, file(2, 0o755))], [(3, 300), (4, 1)])),
        of(path(b"docs/link"), row([(1, 3, Body::Symlink { target: b"../../etc/passwd".as_slice().into() })], [])),
        of(path(b"gone"), row([(u64::MAX, u64::MAX, Body::Tomb)], [(1, 4)])),
        of(Key::Member(DeviceId([0xd1; 32])), row([(1, 5, member(MemberState::Active))], [])),
        of(Key::Member(DeviceId([0xd2; 32])), row([(1, 6, member(MemberState::Retired))], [])),
        of(Key::Member(DeviceId([0xd3; 32])), row([(1, 7, member(MemberState::Removed { limit }))], [])),
    ]
}

/// A row for every choice of policy.
fn policies() -> Vec<WireRow> {
    let prefer = PolicyChoice::Prefer(vec![DeviceId([0xd1; 32]), DeviceId([0xd2; 32])]);
    let of = |(n, choice)| WireRow { key: Key::Policy, row: row([(1, n, Body::Policy(choice))], []) };
    [(8, PolicyChoice::Newest), (9, PolicyChoice::Largest), (10, prefer)].map(of).into()
}

/// One of each message, under the name of its golden file.
pub(crate) fn samples() -> Vec<(&'static str, Message)> {
    let (knowledge, applied) = (vector([(1, 24), (0xffff_ffff_0000_0001, 1 << 40)]), vector([(1, 20)]));
    let hello = Hello {
        version: 1,
        device: DeviceId(core::array::from_fn(|i| i as u8)),
        name: "Anna's laptop ✓".into(),
        listen_port: 9_876,
        features: vec!["ranges".into(), "records".into()],
    };
    let offer = FolderOffer {
        folder: folder(),
        epoch: 0x0123_4567_89ab_cdef,
        max_rev: 70_000,
        cursor_epoch: 2,
        cursor: 23,
        knowledge: knowledge.clone(),
        applied: applied.clone(),
        purge_rev: 500,
    };
    let since = SyncStart { folder: folder(), flow: Flow::Since(65_536), epoch: 3, knowledge: knowledge.clone() };
    let all = SyncStart { folder: folder(), flow: Flow::All, epoch: 3, knowledge: Vector::default() };
    let caught = Caught { folder: folder(), rev: 70_001, knowledge, applied };
    let items = vec![
        WantItem { content: ContentId([0xc1; 32]), offset: 0, len: 1 },
        WantItem { content: ContentId([0xc2; 32]), offset: 1 << 32, len: 4 << 20 },
    ];
    vec![
        ("hello", Message::Hello(hello)),
        ("folder_offer", Message::FolderOffer(offer)),
        ("folder_gone", Message::FolderGone(folder())),
        ("sync_start", Message::SyncStart(since)),
        ("sync_start_all", Message::SyncStart(all)),
        ("rows", Message::Rows(Rows { folder: folder(), rows: rows(), upto: Some(24) })),
        ("rows_by_key", Message::Rows(Rows { folder: folder(), rows: vec![], upto: None })),
        ("rows_policy", Message::Rows(Rows { folder: folder(), rows: policies(), upto: Some(25) })),
        ("caught", Message::Caught(caught)),
        ("gone", Message::Gone { folder: folder(), keys: vec![path(b"a/b"), Key::Member(DeviceId([9; 32]))] }),
        ("have", Message::Have(Have { folder: folder(), contents: vec![ContentId([1; 32]), ContentId([2; 32])] })),
        ("ping", Message::Ping(0)),
        ("pong", Message::Pong(u64::MAX)),
        ("notice", Message::Notice { code: 70_000, text: "the disk is full\n".into() }),
        ("goodbye", Message::Goodbye),
        ("want", Message::Want(Want { folder: folder(), items })),
        ("list_want_known", Message::ListWant(list_want(Some(vec![PageId([4; 16]), PageId([5; 16])])))),
        ("list_want", Message::ListWant(list_want(None))),
    ]
}

fn list_want(known: Option<Vec<PageId>>) -> ListWant {
    ListWant { folder: folder(), content: ContentId([3; 32]), scheme: 1, known: known.map(KnownPages) }
}

/// Any message.
pub(crate) fn message() -> impl Strategy<Value = Message> {
    let number = any::<u64>;
    let hello = (any::<u32>(), id32(), text(), any::<u16>(), vec(text(), 0..4)).prop_map(
        |(version, device, name, listen_port, features)| {
            Message::Hello(Hello { version, device: DeviceId(device), name, listen_port, features })
        },
    );
    let offer = (any_folder(), any::<[u64; 5]>(), any_vector(), any_vector()).prop_map(
        |(folder, numbers, knowledge, applied)| {
            let [epoch, max_rev, cursor_epoch, cursor, purge_rev] = numbers;
            let offer = FolderOffer { folder, epoch, max_rev, cursor_epoch, cursor, knowledge, applied, purge_rev };
            Message::FolderOffer(offer)
        },
    );
    let flow = prop_oneof![number().prop_map(Flow::Since), Just(Flow::All)];
    let start = (any_folder(), flow, number(), any_vector())
        .prop_map(|(folder, flow, epoch, knowledge)| Message::SyncStart(SyncStart { folder, flow, epoch, knowledge }));
    let wire_row = (any_key(), any_row()).prop_map(|(key, row)| WireRow { key, row });
    let rows = (any_folder(), vec(wire_row, 0..6), prop::option::of(number()))
        .prop_map(|(folder, rows, upto)| Message::Rows(Rows { folder, rows, upto }));
    let caught = (any_folder(), number(), any_vector(), any_vector())
        .prop_map(|(folder, rev, knowledge, applied)| Message::Caught(Caught { folder, rev, knowledge, applied }));
    let gone = (any_folder(), vec(any_key(), 0..6)).prop_map(|(folder, keys)| Message::Gone { folder, keys });
    let have = (any_folder(), vec(id32().prop_map(ContentId), 0..6))
        .prop_map(|(folder, contents)| Message::Have(Have { folder, contents }));
    let item = (id32(), number(), number()).prop_map(|(content, offset, len)| WantItem {
        content: ContentId(content),
        offset,
        len,
    });
    let want = (any_folder(), vec(item, 0..6)).prop_map(|(folder, items)| Message::Want(Want { folder, items }));
    let pages = prop::option::of(vec(any::<[u8; 16]>().prop_map(PageId), 0..4).prop_map(KnownPages));
    let list = (any_folder(), id32(), any::<u8>(), pages).prop_map(|(folder, content, scheme, known)| {
        Message::ListWant(ListWant { folder, content: ContentId(content), scheme, known })
    });
    let small = prop_oneof![
        any_folder().prop_map(Message::FolderGone),
        number().prop_map(Message::Ping),
        number().prop_map(Message::Pong),
        (any::<u32>(), text()).prop_map(|(code, text)| Message::Notice { code, text }),
        Just(Message::Goodbye),
    ];
    prop_oneof![1 => hello, 1 => offer, 1 => start, 4 => rows, 1 => caught, 1 => gone, 1 => have, 1 => want, 1 => list, 3 => small]
}

fn id32() -> impl Strategy<Value = [u8; 32]> {
    any::<[u8; 32]>()
}

fn text() -> impl Strategy<Value = String> {
    any::<String>()
}

fn any_folder() -> impl Strategy<Value = FolderId> {
    any::<[u8; 16]>().prop_map(FolderId)
}

fn any_dot() -> impl Strategy<Value = Dot> {
    (any::<u64>(), 1..=u64::MAX).prop_map(|(actor, seq)| dot(actor, seq))
}

fn any_vector() -> impl Strategy<Value = Vector> {
    vec(any_dot(), 0..6).prop_map(|dots| dots.into_iter().collect())
}

fn any_key() -> impl Strategy<Value = Key> {
    let component = prop_oneof!["[a-z.]{1,6}", "[^/\0]{1,8}"].prop_map(String::into_bytes);
    let bytes = prop_oneof![
        8 => vec(component, 1..4).prop_map(|components| components.join(&b'/')),
        1 => vec(any::<u8>(), 1..64),
    ];
    let path = bytes.prop_filter_map("bytes that are no path", |bytes| RelPath::new(&bytes).ok());
    prop_oneof![4 => path.prop_map(Key::Path), 1 => id32().prop_map(|id| Key::Member(DeviceId(id)))]
}

fn any_body() -> impl Strategy<Value = Body> {
    let file = (id32(), 0..=1_u64 << 53, any::<i64>(), any::<u32>())
        .prop_map(|(content, size, mtime_ns, mode)| Body::File { content: ContentId(content), size, mtime_ns, mode });
    let limit = btree_map(any::<u64>().prop_map(Actor), any::<u64>(), 0..3);
    let state = prop_oneof![
        Just(MemberState::Active),
        Just(MemberState::Retired),
        limit.prop_map(|limit| MemberState::Removed { limit }),
    ];
    let actors = btree_set(any::<u64>().prop_map(Actor), 0..3);
    let misses = btree_set(id32().prop_map(ContentId), 0..3);
    let member = (id32(), text(), state, actors, misses).prop_map(|(key, name, state, actors, misses)| {
        Body::Member(Member { key: PublicKey(key), name, state, actors, misses })
    });
    prop_oneof![
        1 => any::<u32>().prop_map(|mode| Body::Dir { mode }),
        3 => file,
        1 => vec(any::<u8>(), 0..64).prop_map(|target| Body::Symlink { target: target.into() }),
        1 => Just(Body::Tomb),
        1 => member,
        1 => vec(id32().prop_map(DeviceId), 0..3).prop_map(|order| Body::Policy(PolicyChoice::Prefer(order))),
        1 => prop_oneof![Just(PolicyChoice::Newest), Just(PolicyChoice::Largest)].prop_map(Body::Policy),
    ]
}

fn any_row() -> impl Strategy<Value = Row> {
    let value = (any_body(), any::<[u8; 8]>(), any::<i64>()).prop_map(|(body, prev, stamp)| Value {
        body,
        prev,
        stamp: WallTime(stamp),
    });
    (btree_map(any_dot(), value, 0..4), vec(any_dot(), 0..4), any::<bool>()).prop_map(|(siblings, replaced, noskip)| {
        Row { ctx: siblings.keys().copied().chain(replaced).collect(), siblings, noskip }
    })
}

/// What a frame is made of, as far as a later version may add to it.
pub(crate) enum Shape {
    /// Nothing can be added.
    Leaf,
    /// Fields by number: more may follow.
    Fields(&'static [Self]),
    /// Any number of one thing.
    Many(&'static Self),
    /// Any number of pairs.
    Pairs(&'static Self, &'static Self),
    /// A number, then fields, for each number.
    OneOf(&'static [&'static [Self]]),
}

use Shape::{Fields, Leaf, Many, OneOf, Pairs};

const DOT: Shape = Fields(&[Leaf, Leaf]);
const MEMBER_STATE: Shape = OneOf(&[&[], &[], &[Leaf]]);
const MEMBER: Shape = Fields(&[Leaf, Leaf, MEMBER_STATE, Leaf, Leaf]);
const POLICY: Shape = OneOf(&[&[], &[], &[Leaf]]);
const BODY: Shape = OneOf(&[&[Leaf], &[Leaf, Leaf, Leaf, Leaf], &[Leaf], &[], &[MEMBER], &[POLICY]]);
const VALUE: Shape = Fields(&[BODY, Leaf, Leaf]);
const ROW: Shape = Fields(&[Leaf, Pairs(&DOT, &VALUE), Leaf]);
const FLOW: Shape = OneOf(&[&[Leaf], &[]]);
const MESSAGE: Shape = OneOf(&[
    &[Fields(&[Leaf, Leaf, Leaf, Leaf, Leaf])],
    &[Fields(&[Leaf, Leaf, Leaf, Leaf, Leaf, Leaf, Leaf, Leaf])],
    &[Leaf],
    &[Fields(&[Leaf, FLOW, Leaf, Leaf])],
    &[Fields(&[Leaf, Many(&Fields(&[Leaf, ROW])), Leaf])],
    &[Fields(&[Leaf, Leaf, Leaf, Leaf])],
    &[Leaf, Leaf],
    &[Fields(&[Leaf, Leaf])],
    &[Leaf],
    &[Leaf],
    &[Leaf, Leaf],
    &[],
    &[Fields(&[Leaf, Many(&Fields(&[Leaf, Leaf, Leaf]))])],
    &[Fields(&[Leaf, Leaf, Leaf, Leaf])],
]);

/// The shape of a message.
pub(crate) const fn shape() -> Shape {
    MESSAGE
}

/// The frame of a later version: the same, with two unknown fields at the end of everything that has fields.
pub(crate) fn grow(frame: &[u8]) -> Vec<u8> {
    let (mut from, mut to) = (Decoder::new(frame), Encoder::new(Vec::new()));
    grow_item(&MESSAGE, &mut from, &mut to);
    assert_eq!(from.position(), frame.len(), "the shape is that of the frame");
    to.into_writer()
}

fn grow_item(shape: &Shape, from: &mut Decoder<'_>, to: &mut Encoder<Vec<u8>>) {
    match shape {
        Leaf => {
            let start = from.position();
            from.skip().unwrap();
            to.writer_mut().extend_from_slice(&from.input()[start..from.position()]);
        }
        Fields(fields) => grow_fields(fields, from, to),
        Many(item) => {
            let count = from.array().unwrap().unwrap();
            to.array(count).unwrap();
            (0..count).for_each(|_| grow_item(item, from, to));
        }
        Pairs(key, value) => {
            let count = from.map().unwrap().unwrap();
            to.map(count).unwrap();
            for _ in 0..count {
                grow_item(key, from, to);
                grow_item(value, from, to);
            }
        }
        OneOf(variants) => {
            assert_eq!(from.array().unwrap(), Some(2));
            let number = from.u32().unwrap();
            to.array(2).unwrap().u32(number).unwrap();
            grow_fields(variants[number as usize], from, to);
        }
    }
}

fn grow_fields(fields: &[Shape], from: &mut Decoder<'_>, to: &mut Encoder<Vec<u8>>) {
    let present = from.array().unwrap().unwrap();
    to.array(fields.len() as u64 + 2).unwrap();
    for (number, field) in fields.iter().enumerate() {
        // Missing options at the end are left out; a later version that has more to say writes them as null.
        if (number as u64) < present { grow_item(field, from, to) } else { to.null().map(drop).unwrap() }
    }
    to.str("new").unwrap().map(1).unwrap().u8(1).unwrap().array(2).unwrap().bool(true).unwrap().bytes(&[9]).unwrap();
}

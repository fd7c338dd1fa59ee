//! Rows and bases as stored: CBOR behind one byte that names the form.
//!
//! Nearly every row is one version that replaced nothing anybody remembers, and nearly every base is that version: the
//! short forms leave out what follows from the rest, which halves the database.

use super::StoreError;
use minicbor::{Decode, Encode};
use sync_core::WallTime;
use sync_core::index::{Base, Body, Dot, Row, Stat, StatKind, Value};

/// First byte: what follows is the record itself.
const WHOLE: u8 = 0;
/// First byte: what follows is the short form.
const SHORT: u8 = 1;

/// A row of one version whose context is its dot alone.
#[derive(Encode, Decode)]
struct ShortRow {
    #[n(0)]
    dot: Dot,
    #[n(1)]
    body: Body,
    /// Missing if zero.
    #[cbor(n(2), with = "minicbor::bytes")]
    prev: Option<[u8; 8]>,
    /// Missing if it is the file's modification time.
    #[n(3)]
    stamp: Option<WallTime>,
}

/// A base that holds the only version of its row. Numbers are missing where the version's body gives them.
#[derive(Encode, Decode)]
struct ShortBase {
    #[n(0)]
    inode: u64,
    #[n(1)]
    ctime_ns: i64,
    #[n(2)]
    size: Option<u64>,
    #[n(3)]
    mtime_ns: Option<i64>,
    #[n(4)]
    mode: Option<u32>,
}

/// The CBOR of `record` behind `form`.
fn pack<T: Encode<()>>(form: Option<u8>, record: &T) -> Vec<u8> {
    let mut out: Vec<u8> = form.into_iter().collect();
    let result = minicbor::encode(record, &mut out);
    assert!(result.is_ok(), "writing to memory does not fail");
    out
}

/// The CBOR of a record that has one form.
pub(super) fn encode<T: Encode<()>>(record: &T) -> Vec<u8> {
    pack(None, record)
}

/// Reads back what [`encode`] wrote.
pub(super) fn decode<T: for<'b> Decode<'b, ()>>(what: &'static str, bytes: &[u8]) -> Result<T, StoreError> {
    minicbor::decode(bytes).map_err(|e| StoreError::Record { what, detail: e.to_string() })
}

/// The stored form of a row.
pub(super) fn encode_row(row: &Row) -> Vec<u8> {
    let sole = sole(row).filter(|(dot, _)| !row.noskip && row.ctx.len() == 1 && row.ctx.seq(dot.actor) == dot.seq);
    let Some((dot, value)) = sole else { return pack(Some(WHOLE), row) };
    let short = ShortRow {
        dot,
        prev: Some(value.prev).filter(|prev| *prev != [0; 8]),
        stamp: Some(value.stamp).filter(|stamp| Some(*stamp) != own_stamp(&value.body)),
        body: value.body.clone(),
    };
    pack(Some(SHORT), &short)
}

/// Reads back what [`encode_row`] wrote.
pub(super) fn decode_row(bytes: &[u8]) -> Result<Row, StoreError> {
    match bytes {
        [WHOLE, rest @ ..] => decode("row", rest),
        [SHORT, rest @ ..] => {
            let ShortRow { dot, body, prev, stamp } = decode("row", rest)?;
            let stamp = stamp
                .or_else(|| own_stamp(&body))
                .ok_or_else(|| StoreError::Record { what: "row", detail: "it has no stamp".into() })?;
            let value = Value { body, prev: prev.unwrap_or_default(), stamp };
            Ok(Row { ctx: [dot].into_iter().collect(), siblings: [(dot, value)].into(), noskip: false })
        }
        _ => Err(StoreError::Record { what: "row", detail: "its form is unknown".into() }),
    }
}

/// The stored form of a base beside `row`. Only valid beside a row with the same sole version: storing another row
/// means storing the base again.
pub(super) fn encode_base(base: &Base, row: Option<&Row>) -> Vec<u8> {
    let given = row
        .and_then(sole)
        .filter(|(dot, value)| base.dot == Some(*dot) && value.body == base.body)
        .and_then(|(_, value)| own_stat(&value.body))
        .filter(|given| given.kind == base.stat.kind);
    let Some(given) = given else { return pack(Some(WHOLE), base) };
    let stat = base.stat;
    let short = ShortBase {
        inode: stat.inode,
        ctime_ns: stat.ctime_ns,
        size: Some(stat.size).filter(|size| *size != given.size),
        mtime_ns: Some(stat.mtime_ns).filter(|mtime| *mtime != given.mtime_ns),
        mode: Some(stat.mode).filter(|mode| *mode != given.mode),
    };
    pack(Some(SHORT), &short)
}

/// Reads back what [`encode_base`] wrote beside `row`, given as stored.
pub(super) fn decode_base(bytes: &[u8], row: Option<&[u8]>) -> Result<Base, StoreError> {
    let lost = |detail: &str| StoreError::Record { what: "base", detail: detail.into() };
    match bytes {
        [WHOLE, rest @ ..] => decode("base", rest),
        [SHORT, rest @ ..] => {
            let short: ShortBase = decode("base", rest)?;
            let row = decode_row(row.ok_or_else(|| lost("its row is missing"))?)?;
            let (dot, value) = sole(&row).ok_or_else(|| lost("its row has several versions"))?;
            let given = own_stat(&value.body).ok_or_else(|| lost("its version is no entry"))?;
            let stat = Stat {
                kind: given.kind,
                inode: short.inode,
                size: short.size.unwrap_or(given.size),
                mtime_ns: short.mtime_ns.unwrap_or(given.mtime_ns),
                ctime_ns: short.ctime_ns,
                mode: short.mode.unwrap_or(given.mode),
            };
            Ok(Base { dot: Some(dot), body: value.body.clone(), stat })
        }
        _ => Err(lost("its form is unknown")),
    }
}

/// Whether a stored base can be read without its row.
pub(super) fn stands_alone(base: &[u8]) -> bool {
    base.first() == Some(&WHOLE)
}

/// The version of a row that has exactly one.
fn sole(row: &Row) -> Option<(Dot, &Value)> {
    let (dot, value) = row.siblings.first_key_value()?;
    (row.siblings.len() == 1).then_some((*dot, value))
}

/// The stamp that a first write of this body gets.
fn own_stamp(body: &Body) -> Option<WallTime> {
    match body {
        Body::File { mtime_ns, .. } => Some(WallTime(*mtime_ns)),
        Body::Dir { .. } | Body::Symlink { .. } | Body::Tomb | Body::Member(_) | Body::Policy(_) => None,
    }
}

/// The fingerprint that an entry made from this body has, as far as the body says.
fn own_stat(body: &Body) -> Option<Stat> {
    let (kind, size, mtime_ns, mode) = match body {
        Body::Dir { mode } => (StatKind::Dir, 0, 0, *mode),
        Body::File { size, mtime_ns, mode, .. } => (StatKind::File, *size, *mtime_ns, *mode),
        Body::Symlink { target } => (StatKind::Symlink, u64::try_from(target.len()).ok()?, 0, 0o777),
        Body::Tomb | Body::Member(_) | Body::Policy(_) => return None,
    };
    Some(Stat { kind, inode: 0, size, mtime_ns, ctime_ns: 0, mode })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use sync_core::index::Vector;
    use sync_core::{Actor, ContentId};

    const DOT: Dot = Dot { actor: Actor(u64::MAX - 5), seq: 70_000 };

    fn file(mtime_ns: i64) -> Body {
        Body::File { content: ContentId([7; 32]), size: 5_000, mtime_ns, mode: 0o644 }
    }

    fn row_of(body: Body, prev: [u8; 8], stamp: i64) -> Row {
        let value = Value { body, prev, stamp: WallTime(stamp) };
        Row { ctx: [DOT].into_iter().collect(), siblings: [(DOT, value)].into(), noskip: false }
    }

    fn stat() -> Stat {
        Stat { kind: StatKind::File, inode: 1 << 40, size: 5_000, mtime_ns: 9, ctime_ns: 10, mode: 0o644 }
    }

    #[test]
    fn rows_read_back_in_either_form() {
        let other = Dot { actor: Actor(3), seq: 1 };
        let check = |row: Row, form| {
            let bytes = encode_row(&row);
            assert_eq!(bytes[0], form, "{row:?}");
            assert_eq!(decode_row(&bytes).unwrap(), row);
        };
        check(row_of(file(9), [0; 8], 9), SHORT);
        check(row_of(file(9), [1; 8], 12), SHORT);
        check(row_of(Body::Tomb, [0; 8], 0), SHORT);
        check(Row { noskip: true, ..row_of(file(9), [0; 8], 9) }, WHOLE);
        check(Row { ctx: [DOT, other].into_iter().collect(), ..row_of(file(9), [0; 8], 9) }, WHOLE);
        check(Row::default(), WHOLE);
        let later = Dot { seq: DOT.seq + 1, ..DOT };
        check(Row { ctx: Vector::from_iter([later]), ..row_of(file(9), [0; 8], 9) }, WHOLE);
    }

    #[test]
    fn bases_read_back_in_either_form() {
        let row = row_of(file(9), [0; 8], 9);
        let base = Base { dot: Some(DOT), body: file(9), stat: stat() };
        let check = |base: &Base, row: Option<&Row>, form| {
            let bytes = encode_base(base, row);
            assert_eq!(bytes[0], form, "{base:?}");
            assert_eq!(&decode_base(&bytes, row.map(encode_row).as_deref()).unwrap(), base);
        };
        check(&base, Some(&row), SHORT);
        check(&Base { stat: Stat { mode: 0o600, size: 1, mtime_ns: -1, ..stat() }, ..base.clone() }, Some(&row), SHORT);
        check(&base, None, WHOLE);
        check(&Base { dot: None, ..base.clone() }, Some(&row), WHOLE);
        check(&Base { body: file(8), ..base.clone() }, Some(&row), WHOLE);
        check(&Base { stat: Stat { kind: StatKind::Other, ..stat() }, ..base }, Some(&row), WHOLE);
    }

    #[test]
    fn a_row_of_one_file_takes_less_than_seventy_bytes() {
        assert!(encode_row(&row_of(file(1_700_000_000_000_000_000), [0; 8], 1_700_000_000_000_000_000)).len() < 70);
    }

    #[test]
    fn broken_records_are_errors() {
        assert!(decode_row(&[]).is_err());
        assert!(decode_row(&[9, 0]).is_err());
        assert!(decode_base(&[SHORT, 0x82, 1, 1], None).is_err(), "a short base without its row");
    }
}

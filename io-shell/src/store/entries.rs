//! Entries: the row and the base of one key, found by key.

use super::codec::{decode_base, decode_row, encode_base, encode_row, stands_alone};
use super::{StoreError, count};
use rusqlite::{CachedStatement, Connection};
use sync_core::ContentId;
use sync_core::index::{Base, Row};

/// Which part of the index by key an entry is in. The numbers are those of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// A row without a live sibling.
    Dead = 0,
    /// A row with a live sibling.
    Live = 1,
    /// No row.
    Rowless = 2,
}

impl Class {
    /// The likeliest first.
    pub(super) const ALL: [Self; 3] = [Self::Live, Self::Dead, Self::Rowless];
    /// Those with a row.
    pub(super) const ROWS: [Self; 2] = [Self::Live, Self::Dead];

    fn of(row: &Row) -> Self {
        if row.is_live() { Self::Live } else { Self::Dead }
    }
}

/// An entry as stored.
pub(super) struct Entry {
    id: i64,
    class: Class,
    conflicted: bool,
    row: Option<Vec<u8>>,
    base: Option<Vec<u8>>,
}

impl Entry {
    /// The entry of `key`.
    pub(super) fn find(conn: &Connection, folder: i64, key: &[u8]) -> Result<Option<Self>, StoreError> {
        let mut statement = conn.prepare_cached(
            "SELECT e.id, e.conflicted, e.row, b.base FROM entries e LEFT JOIN bases b ON b.id = e.id
             WHERE e.folder = ?1 AND e.class = ?2 AND e.key = ?3",
        )?;
        for class in Class::ALL {
            let mut rows = statement.query((folder, class as i64, key))?;
            if let Some(r) = rows.next()? {
                let (id, conflicted, row, base) = (r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?);
                return Ok(Some(Self { id, class, conflicted, row, base }));
            }
        }
        Ok(None)
    }

    /// Its row.
    pub(super) fn row(&self) -> Result<Option<Row>, StoreError> {
        self.row.as_deref().map(decode_row).transpose()
    }

    /// Its base.
    pub(super) fn base(&self) -> Result<Option<Base>, StoreError> {
        self.base.as_deref().map(|base| decode_base(base, self.row.as_deref())).transpose()
    }
}

/// Stores the row of `key`.
pub(super) fn put_row(conn: &Connection, folder: i64, key: &[u8], row: &Row, rev: i64) -> Result<(), StoreError> {
    let class = Class::of(row);
    let Some(entry) = Entry::find(conn, folder, key)? else {
        let mut insert = conn.prepare_cached(
            "INSERT INTO entries (folder, class, conflicted, rev, key, row) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        insert.execute((folder, class as i64, row.is_conflicted(), rev, key, encode_row(row)))?;
        return Ok(());
    };
    keep_base_beside(conn, &entry, Some(row))?;
    let mut update = conn.prepare_cached("UPDATE entries SET rev = ?2, row = ?3 WHERE id = ?1")?;
    update.execute((entry.id, rev, encode_row(row)))?;
    if entry.class != class || entry.conflicted != row.is_conflicted() {
        let mut update = conn.prepare_cached("UPDATE entries SET class = ?2, conflicted = ?3 WHERE id = ?1")?;
        update.execute((entry.id, class as i64, row.is_conflicted()))?;
    }
    Ok(())
}

/// Forgets the row of `key`; its base, if there is one, stays.
pub(super) fn remove_row(conn: &Connection, folder: i64, key: &[u8]) -> Result<(), StoreError> {
    let Some(entry) = Entry::find(conn, folder, key)? else { return Ok(()) };
    if entry.base.is_none() {
        return remove(conn, entry.id);
    }
    keep_base_beside(conn, &entry, None)?;
    let mut update =
        conn.prepare_cached("UPDATE entries SET class = ?2, conflicted = 0, rev = NULL, row = NULL WHERE id = ?1")?;
    update.execute((entry.id, Class::Rowless as i64))?;
    Ok(())
}

/// Stores the base of `key`, and returns the one it replaces.
pub(super) fn put_base(conn: &Connection, folder: i64, key: &[u8], base: &Base) -> Result<Option<Base>, StoreError> {
    let found = Entry::find(conn, folder, key)?;
    let (id, row, old) = match &found {
        Some(entry) => (entry.id, entry.row()?, entry.base()?),
        None => {
            let mut insert = conn.prepare_cached("INSERT INTO entries (folder, class, key) VALUES (?1, ?2, ?3)")?;
            (insert.insert((folder, Class::Rowless as i64, key))?, None, None)
        }
    };
    write_base(conn, id, &encode_base(base, row.as_ref()))?;
    let (from, to) = (old.as_ref().and_then(place), place(base));
    if from != to {
        from.map_or(Ok(()), |place| remove_holder(conn, &place, id))?;
        to.map_or(Ok(()), |place| put_holder(conn, &place, id))?;
    }
    Ok(old)
}

/// Forgets the base of `key`, and returns it.
pub(super) fn remove_base(conn: &Connection, folder: i64, key: &[u8]) -> Result<Option<Base>, StoreError> {
    let Some(entry) = Entry::find(conn, folder, key)? else { return Ok(None) };
    let Some(base) = entry.base()? else { return Ok(None) };
    conn.prepare_cached("DELETE FROM bases WHERE id = ?1")?.execute([entry.id])?;
    place(&base).map_or(Ok(()), |place| remove_holder(conn, &place, entry.id))?;
    if entry.class == Class::Rowless {
        remove(conn, entry.id)?;
    }
    Ok(Some(base))
}

/// Forgets every entry of a folder.
pub(super) fn remove_all(conn: &Connection, folder: i64) -> Result<(), StoreError> {
    let of_folder = "(SELECT id FROM entries WHERE folder = ?1)";
    conn.execute(&format!("DELETE FROM holders WHERE id IN {of_folder}"), [folder])?;
    conn.execute(&format!("DELETE FROM bases WHERE id IN {of_folder}"), [folder])?;
    conn.execute("DELETE FROM entries WHERE folder = ?1", [folder])?;
    Ok(())
}

/// Up to `limit` bases of entries directly in the directory with this prefix (empty, or ending in a slash), from the
/// name `from` on, each with its name. Whole subtrees are stepped over, one look-up each.
pub(super) fn base_children(
    conn: &Connection,
    folder: i64,
    class: Class,
    prefix: &[u8],
    from: &[u8],
    limit: usize,
) -> Result<Vec<(Vec<u8>, Base)>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT e.key, e.row, b.base FROM entries e LEFT JOIN bases b ON b.id = e.id
         WHERE e.folder = ?1 AND e.class = ?2 AND e.key >= ?3 ORDER BY e.key",
    )?;
    let mut out = Vec::new();
    let mut start = Some([prefix, from].concat());
    while let Some(from) = start.take().filter(|_| out.len() < limit) {
        start = children_until_subtree(&mut statement, (folder, class as i64, &from), prefix, limit, &mut out)?;
    }
    Ok(out)
}

/// Takes bases in until `limit`, the end of the directory (`None`), or a subtree: where to go on behind it.
fn children_until_subtree(
    statement: &mut CachedStatement<'_>,
    parameters: (i64, i64, &[u8]),
    prefix: &[u8],
    limit: usize,
    out: &mut Vec<(Vec<u8>, Base)>,
) -> Result<Option<Vec<u8>>, StoreError> {
    let mut rows = statement.query(parameters)?;
    while let Some(r) = rows.next()? {
        let key: &[u8] = r.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
        let Some(rest) = key.strip_prefix(prefix) else { return Ok(None) };
        if let Some(slash) = rest.iter().position(|b| *b == b'/') {
            return Ok(Some([prefix, &rest[..slash], &[b'/' + 1]].concat()));
        }
        let Some(base) = r.get_ref(2)?.as_blob_or_null().map_err(rusqlite::Error::from)? else { continue };
        let row = r.get_ref(1)?.as_blob_or_null().map_err(rusqlite::Error::from)?;
        out.push((rest.into(), decode_base(base, row)?));
        if out.len() == limit {
            return Ok(None);
        }
    }
    Ok(None)
}

/// A row as stored: key, row, change number.
pub(super) type StoredRow = (Vec<u8>, Vec<u8>, i64);

/// Rows of a class with keys after `after`, by key.
pub(super) fn rows_after(
    conn: &Connection,
    folder: i64,
    class: Class,
    after: &[u8],
    limit: usize,
) -> Result<Vec<StoredRow>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT key, row, rev FROM entries WHERE folder = ?1 AND class = ?2 AND key > ?3 ORDER BY key LIMIT ?4",
    )?;
    let rows =
        statement.query_map((folder, class as i64, after, count(limit)), |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Bytes of a content that bases are found by. Others that share them are told apart by the base itself.
const PLACE_CONTENT: usize = 6;

/// What bases that hold a content are found and ordered by: the first bytes of the content, then the inode number as
/// the count of its bytes and those, high first.
fn place(base: &Base) -> Option<Vec<u8>> {
    base.content().map(|content| place_of(content, base.stat.inode))
}

/// The place of a content at an inode.
fn place_of(content: ContentId, inode: u64) -> Vec<u8> {
    let bytes = inode.to_be_bytes();
    let used = bytes.iter().position(|b| *b != 0).map_or(&[][..], |first| &bytes[first..]);
    let count = u8::try_from(used.len()).unwrap_or(u8::MAX);
    [&content.0[..PLACE_CONTENT], &[count], used].concat()
}

/// The first and the last place of a content.
pub(super) fn places(content: ContentId) -> (Vec<u8>, Vec<u8>) {
    (place_of(content, 0), place_of(content, u64::MAX))
}

fn put_holder(conn: &Connection, place: &[u8], id: i64) -> Result<(), StoreError> {
    conn.prepare_cached("INSERT INTO holders (place, id) VALUES (?1, ?2)")?.execute((place, id))?;
    Ok(())
}

fn remove_holder(conn: &Connection, place: &[u8], id: i64) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM holders WHERE place = ?1 AND id = ?2")?.execute((place, id))?;
    Ok(())
}

/// Stores the base of an entry again where its form leans on the row that is about to go.
fn keep_base_beside(conn: &Connection, entry: &Entry, row: Option<&Row>) -> Result<(), StoreError> {
    match &entry.base {
        Some(stored) if !stands_alone(stored) => {
            let base = decode_base(stored, entry.row.as_deref())?;
            write_base(conn, entry.id, &encode_base(&base, row))
        }
        Some(_) | None => Ok(()),
    }
}

fn write_base(conn: &Connection, id: i64, base: &[u8]) -> Result<(), StoreError> {
    conn.prepare_cached("INSERT OR REPLACE INTO bases (id, base) VALUES (?1, ?2)")?.execute((id, base))?;
    Ok(())
}

fn remove(conn: &Connection, id: i64) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM entries WHERE id = ?1")?.execute([id])?;
    Ok(())
}

//! The core's port on the tables.

use super::codec::{decode, decode_base, decode_row, encode};
use super::entries::{self, Class, Entry};
use super::{Slot, Store, StoreError, count};
use rusqlite::{Connection, OptionalExtension};
use sync_core::index::{Base, Body, FolderState, Index, Key, PeerRecord, Row, Staged, Versioned};
use sync_core::{ContentId, DirPath, FolderId, Name, RelPath, WallTime, id::DeviceId};

/// Every path comes after this: paths have no NUL, and reserved keys begin with one.
const BEFORE_PATHS: &[u8] = &[0, 0xff];

impl Store {
    /// The connection, for use inside a batch.
    fn batch(&self) -> &Connection {
        assert!(self.in_batch, "state is used inside a batch");
        &self.conn
    }

    /// The number of a folder, if anything was ever stored for it.
    fn num(&self, folder: FolderId) -> Option<i64> {
        assert!(self.in_batch, "state is used inside a batch");
        self.folders.get(&folder).map(|slot| slot.num)
    }

    /// The folder's slot, made at the first use: a folder's rows may be stored before its state.
    fn slot(&mut self, folder: FolderId) -> Result<&mut Slot, StoreError> {
        assert!(self.in_batch, "state is used inside a batch");
        match self.folders.entry(folder) {
            std::collections::btree_map::Entry::Occupied(slot) => Ok(slot.into_mut()),
            std::collections::btree_map::Entry::Vacant(vacant) => {
                let num = self.conn.prepare_cached("INSERT INTO folders (id) VALUES (?1)")?.insert([folder.0])?;
                Ok(vacant.insert(Slot { num, files: 0, bytes: 0, dirty: false }))
            }
        }
    }

    /// Takes `old` out of a folder's totals and `new` in. Both wrap, so that one undoes the other.
    fn count_base(&mut self, folder: FolderId, old: Option<&Base>, new: Option<&Base>) -> Result<(), StoreError> {
        let size = |base: Option<&Base>| base.and_then(|base| file_size(&base.body));
        let (old, new) = (size(old), size(new));
        if old != new {
            let slot = self.slot(folder)?;
            slot.files = slot.files.wrapping_sub(old.is_some().into()).wrapping_add(new.is_some().into());
            slot.bytes = slot.bytes.wrapping_sub(old.unwrap_or(0)).wrapping_add(new.unwrap_or(0));
            slot.dirty = true;
        }
        Ok(())
    }

    /// Keys of one folder by a statement that takes its number, a key to come after, and a limit.
    fn keys<T>(
        &self,
        sql: &str,
        (folder, after, limit): (i64, &[u8], usize),
        parse: impl Fn(&[u8]) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = self.batch().prepare_cached(sql)?;
        let mut rows = statement.query((folder, after, count(limit)))?;
        let mut out = Vec::new();
        while let Some(r) = rows.next()? {
            out.push(parse(r.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)?);
        }
        Ok(out)
    }
}

impl Index for Store {
    type Error = StoreError;

    fn make_durable(&mut self) -> Result<(), StoreError> {
        assert!(self.in_batch, "state is used inside a batch");
        self.durable = true;
        Ok(())
    }

    fn folders(&mut self) -> Result<Vec<FolderState>, StoreError> {
        let mut statement =
            self.batch().prepare_cached("SELECT state FROM folders WHERE state IS NOT NULL ORDER BY id")?;
        let states = statement.query_map([], |r| r.get::<_, Vec<u8>>(0))?;
        states.map(|state| decode("folder", &state?)).collect()
    }

    fn put_folder(&mut self, state: &FolderState) -> Result<(), StoreError> {
        let num = self.slot(state.id)?.num;
        let mut update = self.batch().prepare_cached("UPDATE folders SET state = ?2 WHERE num = ?1")?;
        update.execute((num, encode(state)))?;
        Ok(())
    }

    fn remove_folder(&mut self, folder: FolderId) -> Result<(), StoreError> {
        let Some(num) = self.num(folder) else { return Ok(()) };
        let conn = self.batch();
        entries::remove_all(conn, num)?;
        conn.execute("DELETE FROM staged_lists WHERE id IN (SELECT id FROM staged WHERE folder = ?1)", [num])?;
        conn.execute("DELETE FROM staged WHERE folder = ?1", [num])?;
        conn.execute("DELETE FROM pending WHERE folder = ?1", [num])?;
        conn.execute("DELETE FROM copied WHERE folder = ?1", [num])?;
        conn.execute("DELETE FROM folders WHERE num = ?1", [num])?;
        self.folders.remove(&folder);
        Ok(())
    }

    fn peers(&mut self) -> Result<Vec<PeerRecord>, StoreError> {
        let mut statement = self.batch().prepare_cached("SELECT record FROM peers ORDER BY id")?;
        let records = statement.query_map([], |r| r.get::<_, Vec<u8>>(0))?;
        records.map(|record| decode("device", &record?)).collect()
    }

    fn put_peer(&mut self, peer: &PeerRecord) -> Result<(), StoreError> {
        let mut put = self.batch().prepare_cached("INSERT OR REPLACE INTO peers (id, record) VALUES (?1, ?2)")?;
        put.execute((peer.id.0, encode(peer)))?;
        Ok(())
    }

    fn remove_peer(&mut self, device: DeviceId) -> Result<(), StoreError> {
        self.batch().prepare_cached("DELETE FROM peers WHERE id = ?1")?.execute([device.0])?;
        Ok(())
    }

    fn row(&mut self, folder: FolderId, key: &Key) -> Result<Option<Row>, StoreError> {
        let Some(num) = self.num(folder) else { return Ok(None) };
        let entry = Entry::find(self.batch(), num, &key.to_bytes())?;
        entry.map_or(Ok(None), |entry| entry.row())
    }

    fn put_row(&mut self, folder: FolderId, key: &Key, row: &Row, rev: u64) -> Result<(), StoreError> {
        let num = self.slot(folder)?.num;
        let rev = i64::try_from(rev).unwrap_or(i64::MAX);
        assert!(rev < i64::MAX, "change numbers count up from one");
        entries::put_row(self.batch(), num, &key.to_bytes(), row, rev)
    }

    fn remove_row(&mut self, folder: FolderId, key: &Key) -> Result<(), StoreError> {
        let Some(num) = self.num(folder) else { return Ok(()) };
        entries::remove_row(self.batch(), num, &key.to_bytes())
    }

    fn rows_since(&mut self, folder: FolderId, rev: u64, limit: usize) -> Result<Vec<Versioned>, StoreError> {
        let Some(num) = self.num(folder) else { return Ok(Vec::new()) };
        let mut statement = self
            .batch()
            .prepare_cached("SELECT key, row, rev FROM entries WHERE folder = ?1 AND rev > ?2 ORDER BY rev LIMIT ?3")?;
        let mut rows = statement.query((num, i64::try_from(rev).unwrap_or(i64::MAX), count(limit)))?;
        let mut out = Vec::new();
        while let Some(r) = rows.next()? {
            let blob = |at| Ok::<_, rusqlite::Error>(r.get_ref(at)?.as_blob()?);
            out.push(versioned(blob(0)?, blob(1)?, r.get(2)?)?);
        }
        Ok(out)
    }

    fn rows_after(
        &mut self,
        folder: FolderId,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Versioned>, StoreError> {
        let Some(num) = self.num(folder) else { return Ok(Vec::new()) };
        let after = after.map(Key::to_bytes).unwrap_or_default();
        let mut found = Vec::new();
        for class in Class::ROWS {
            found.extend(entries::rows_after(self.batch(), num, class, &after, limit)?);
        }
        found.sort_unstable();
        found.truncate(limit);
        found.iter().map(|(key, row, rev)| versioned(key, row, *rev)).collect()
    }

    fn live_below(&mut self, folder: FolderId, path: &RelPath) -> Result<bool, StoreError> {
        let Some(num) = self.num(folder) else { return Ok(false) };
        let (from, to) = path.below_bounds();
        let mut statement = self.batch().prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM entries WHERE folder = ?1 AND class = ?2 AND key >= ?3 AND key < ?4)",
        )?;
        Ok(statement.query_row((num, Class::Live as i64, from, to), |r| r.get(0))?)
    }

    fn conflicted(&mut self, folder: FolderId) -> Result<Vec<RelPath>, StoreError> {
        let Some(num) = self.num(folder) else { return Ok(Vec::new()) };
        let sql = "SELECT key FROM entries WHERE folder = ?1 AND conflicted = 1 AND key > ?2 ORDER BY key LIMIT ?3";
        self.keys(sql, (num, BEFORE_PATHS, usize::MAX), parse_path)
    }

    fn note_copied(&mut self, folder: FolderId, path: &RelPath, copied: bool) -> Result<(), StoreError> {
        let num = self.slot(folder)?.num;
        let sql = if copied {
            "INSERT OR IGNORE INTO copied (folder, path) VALUES (?1, ?2)"
        } else {
            "DELETE FROM copied WHERE folder = ?1 AND path = ?2"
        };
        self.batch().prepare_cached(sql)?.execute((num, path.as_bytes()))?;
        Ok(())
    }

    fn copied(&mut self, folder: FolderId) -> Result<Vec<RelPath>, StoreError> {
        let Some(num) = self.num(folder) else { return Ok(Vec::new()) };
        let sql = "SELECT path FROM copied WHERE folder = ?1 AND path > ?2 ORDER BY path LIMIT ?3";
        self.keys(sql, (num, BEFORE_PATHS, usize::MAX), parse_path)
    }

    fn tombs_after(&mut self, folder: FolderId, after: Option<&Key>, limit: usize) -> Result<Vec<Key>, StoreError> {
        let Some(num) = self.num(folder) else { return Ok(Vec::new()) };
        let after = after.and_then(Key::as_path).map_or(BEFORE_PATHS, RelPath::as_bytes);
        let sql = "SELECT key FROM entries WHERE folder = ?1 AND class = 0 AND key > ?2 ORDER BY key LIMIT ?3";
        self.keys(sql, (num, after, limit), parse_key)
    }

    fn base(&mut self, folder: FolderId, path: &RelPath) -> Result<Option<Base>, StoreError> {
        let Some(num) = self.num(folder) else { return Ok(None) };
        let entry = Entry::find(self.batch(), num, path.as_bytes())?;
        entry.map_or(Ok(None), |entry| entry.base())
    }

    fn put_base(&mut self, folder: FolderId, path: &RelPath, base: &Base) -> Result<(), StoreError> {
        let num = self.slot(folder)?.num;
        let old = entries::put_base(self.batch(), num, path.as_bytes(), base)?;
        self.count_base(folder, old.as_ref(), Some(base))
    }

    fn remove_base(&mut self, folder: FolderId, path: &RelPath) -> Result<(), StoreError> {
        let Some(num) = self.num(folder) else { return Ok(()) };
        let old = entries::remove_base(self.batch(), num, path.as_bytes())?;
        self.count_base(folder, old.as_ref(), None)
    }

    fn base_children(
        &mut self,
        folder: FolderId,
        dir: &DirPath,
        after: Option<&Name>,
        limit: usize,
    ) -> Result<Vec<(Name, Base)>, StoreError> {
        let Some(num) = self.num(folder) else { return Ok(Vec::new()) };
        let prefix = dir.as_path().map_or_else(Vec::new, |dir| dir.below_bounds().0);
        // A name cannot hold NUL, so the least bytes after a name, or after the reserved keys, end or begin with one.
        let from = after.map_or_else(|| vec![1], |name| [name.as_bytes(), &[0]].concat());
        let mut found = Vec::new();
        for class in Class::ALL {
            found.extend(entries::base_children(self.batch(), num, class, &prefix, &from, limit)?);
        }
        found.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        found.truncate(limit);
        found.into_iter().map(|(name, base)| Ok((Name::new(&name).map_err(|e| bad("name", e))?, base))).collect()
    }

    fn holders(&mut self, content: ContentId, limit: usize) -> Result<Vec<(FolderId, RelPath, Base)>, StoreError> {
        let mut statement = self.batch().prepare_cached(
            "SELECT f.id, e.key, e.row, b.base FROM holders h JOIN entries e ON e.id = h.id JOIN bases b ON b.id = h.id
             JOIN folders f ON f.num = e.folder WHERE h.place >= ?1 AND h.place <= ?2 ORDER BY h.place",
        )?;
        let mut rows = statement.query(entries::places(content))?;
        let mut out: Vec<(FolderId, RelPath, Base)> = Vec::new();
        while let Some(r) = rows.next()? {
            let base: Vec<u8> = r.get(3)?;
            let base = decode_base(&base, r.get::<_, Option<Vec<u8>>>(2)?.as_deref())?;
            // Entries of one inode are ordered below, so they are all needed.
            let inode = base.stat.inode;
            if out.len() >= limit && out.last().is_none_or(|(.., last)| last.stat.inode != inode) {
                break;
            }
            // The index knows the first bytes only.
            if base.content() == Some(content) {
                out.push((FolderId(r.get(0)?), parse_path(&r.get::<_, Vec<u8>>(1)?)?, base));
            }
        }
        out.sort_by(|(f, p, b), (g, q, c)| (b.stat.inode, f, p).cmp(&(c.stat.inode, g, q)));
        out.truncate(limit);
        Ok(out)
    }

    fn base_totals(&mut self, folder: FolderId) -> Result<(u64, u64), StoreError> {
        assert!(self.in_batch, "state is used inside a batch");
        Ok(self.folders.get(&folder).map_or((0, 0), |slot| (slot.files, slot.bytes)))
    }

    fn mark_pending(&mut self, folder: FolderId, path: &RelPath) -> Result<bool, StoreError> {
        let num = self.slot(folder)?.num;
        let mut put = self.batch().prepare_cached("INSERT OR IGNORE INTO pending (folder, path) VALUES (?1, ?2)")?;
        Ok(put.execute((num, path.as_bytes()))? > 0)
    }

    fn clear_pending(&mut self, folder: FolderId, path: &RelPath) -> Result<bool, StoreError> {
        let Some(num) = self.num(folder) else { return Ok(false) };
        let mut delete = self.batch().prepare_cached("DELETE FROM pending WHERE folder = ?1 AND path = ?2")?;
        Ok(delete.execute((num, path.as_bytes()))? > 0)
    }

    fn is_pending(&mut self, folder: FolderId, path: &RelPath) -> Result<bool, StoreError> {
        let Some(num) = self.num(folder) else { return Ok(false) };
        let mut find = self.batch().prepare_cached("SELECT 1 FROM pending WHERE folder = ?1 AND path = ?2")?;
        Ok(find.exists((num, path.as_bytes()))?)
    }

    fn pending_count(&mut self, folder: FolderId) -> Result<u64, StoreError> {
        let Some(num) = self.num(folder) else { return Ok(0) };
        let mut count = self.batch().prepare_cached("SELECT count(*) FROM pending WHERE folder = ?1")?;
        let rows: i64 = count.query_row([num], |row| row.get(0))?;
        Ok(u64::try_from(rows).unwrap_or(0))
    }

    fn pending(&mut self, folder: FolderId, after: Option<&RelPath>, limit: usize) -> Result<Vec<RelPath>, StoreError> {
        let Some(num) = self.num(folder) else { return Ok(Vec::new()) };
        let after = after.map_or(BEFORE_PATHS, RelPath::as_bytes);
        let sql = "SELECT path FROM pending WHERE folder = ?1 AND path > ?2 ORDER BY path LIMIT ?3";
        self.keys(sql, (num, after, limit), parse_path)
    }

    fn staged(&mut self, folder: FolderId) -> Result<Vec<Staged>, StoreError> {
        let Some(num) = self.num(folder) else { return Ok(Vec::new()) };
        let mut statement = self.batch().prepare_cached(
            "SELECT content, size, list, sealed FROM staged JOIN staged_lists USING (id)
             WHERE folder = ?1 ORDER BY content",
        )?;
        let mut rows = statement.query([num])?;
        let mut out = Vec::new();
        while let Some(r) = rows.next()? {
            let list = decode("chunk list", &r.get::<_, Vec<u8>>(2)?)?;
            let size = r.get::<_, i64>(1)?.cast_unsigned();
            out.push(Staged { content: ContentId(r.get(0)?), size, list, sealed: r.get(3)? });
        }
        Ok(out)
    }

    /// The list of a large file is megabytes and never changes while its bitmap grows: it is written once.
    fn put_staged(&mut self, folder: FolderId, staged: &Staged) -> Result<(), StoreError> {
        let num = self.slot(folder)?.num;
        let conn = self.batch();
        let mut put = conn.prepare_cached(
            "INSERT INTO staged (folder, content, size, sealed) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (folder, content) DO UPDATE SET size = excluded.size, sealed = excluded.sealed RETURNING id",
        )?;
        let id: i64 =
            put.query_row((num, staged.content.0, staged.size.cast_signed(), &staged.sealed), |r| r.get(0))?;
        let mut put = conn.prepare_cached(
            "INSERT INTO staged_lists (id, list) VALUES (?1, ?2)
             ON CONFLICT (id) DO UPDATE SET list = excluded.list WHERE list <> excluded.list",
        )?;
        put.execute((id, encode(&staged.list)))?;
        Ok(())
    }

    fn remove_staged(&mut self, folder: FolderId, content: ContentId) -> Result<(), StoreError> {
        let Some(num) = self.num(folder) else { return Ok(()) };
        let conn = self.batch();
        let mut delete = conn.prepare_cached("DELETE FROM staged WHERE folder = ?1 AND content = ?2 RETURNING id")?;
        let removed: Option<i64> = delete.query_row((num, content.0), |r| r.get(0)).optional()?;
        if let Some(id) = removed {
            conn.prepare_cached("DELETE FROM staged_lists WHERE id = ?1")?.execute([id])?;
        }
        Ok(())
    }

    fn audit(&mut self, at: WallTime, kind: &str, detail: &str) -> Result<(), StoreError> {
        let mut insert = self.batch().prepare_cached("INSERT INTO audit (at, kind, detail) VALUES (?1, ?2, ?3)")?;
        insert.execute((at.0, kind, detail))?;
        Ok(())
    }

    fn audits(&mut self, limit: usize) -> Result<Vec<(WallTime, String, String)>, StoreError> {
        Self::audits(self, limit)
    }
}

/// The size that a body counts with in the totals: files only.
fn file_size(body: &Body) -> Option<u64> {
    match body {
        Body::File { size, .. } => Some(*size),
        Body::Dir { .. } | Body::Symlink { .. } | Body::Tomb | Body::Member(_) | Body::Policy(_) => None,
    }
}

fn versioned(key: &[u8], row: &[u8], rev: i64) -> Result<Versioned, StoreError> {
    Ok(Versioned { key: parse_key(key)?, row: decode_row(row)?, rev: rev.cast_unsigned() })
}

fn parse_key(bytes: &[u8]) -> Result<Key, StoreError> {
    Key::from_bytes(bytes).ok_or_else(|| bad("key", "neither a path nor a reserved key"))
}

fn parse_path(bytes: &[u8]) -> Result<RelPath, StoreError> {
    RelPath::new(bytes).map_err(|e| bad("path", e))
}

fn bad(what: &'static str, why: impl std::fmt::Display) -> StoreError {
    StoreError::Record { what, detail: why.to_string() }
}

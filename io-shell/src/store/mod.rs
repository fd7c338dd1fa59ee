//! State on disk: one SQLite database behind the core's [`Index`](sync_core::index::Index).
//!
//! One connection, owned by the driver's thread, in WAL mode with `synchronous=NORMAL`: a commit survives the death of
//! the process, and a power loss may undo the last ones, which [`Store::recovery`] notices at the next start. A batch that
//! asks for it survives that too.

mod codec;
mod entries;
mod error;
mod index;
mod recovery;
mod schema;

pub use error::StoreError;
pub use recovery::{Cause, Recovery};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeMap;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use sync_core::proving::{Mutant, Point, is_mutant, sometimes};
use sync_core::{FolderId, WallTime};

/// Prepared statements kept: more than there are different ones.
const STATEMENTS: usize = 128;
/// Pages written to the log before it is copied into the database: 16 MiB.
const CHECKPOINT_PAGES: i64 = 4_096;
/// Page cache in KiB; SQLite takes it negative.
const CACHE_KIB: i64 = 32 << 10;
/// Size in bytes to which the log is cut back after a large batch.
const LOG_BYTES: i64 = 64 << 20;

/// The database of one home.
#[derive(Debug)]
pub struct Store {
    conn: Connection,
    file: PathBuf,
    folders: BTreeMap<FolderId, Slot>,
    in_batch: bool,
    /// Whether the open batch is to survive a power loss.
    durable: bool,
}

/// What is kept in memory of a folder: its number in the tables, and its totals, written at the commit.
#[derive(Clone, Copy, Debug)]
struct Slot {
    num: i64,
    files: u64,
    bytes: u64,
    dirty: bool,
}

impl Store {
    /// Opens the database at `file`, makes it if it is missing, and brings it up to this version's format. It is
    /// readable by its owner alone, and locked against other processes as long as it is open.
    ///
    /// # Errors
    /// A database that is newer, damaged, in use or not one of these; what the file system says.
    pub fn open(file: &Path) -> Result<Self, StoreError> {
        make_private(file).map_err(|source| StoreError::File { file: file.into(), source })?;
        let of_file = |e| StoreError::of_file(file, e);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut conn = Connection::open_with_flags(file, flags).map_err(of_file)?;
        configure(&conn).map_err(of_file)?;
        schema::migrate(&mut conn, file)?;
        let folders = load_slots(&conn).map_err(of_file)?;
        Ok(Self { conn, file: file.into(), folders, in_batch: false, durable: false })
    }

    /// Begins a batch: everything up to `commit` holds together or not at all.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn begin(&mut self) -> Result<(), StoreError> {
        assert!(!self.in_batch, "batches do not nest");
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        (self.in_batch, self.durable) = (true, false);
        Ok(())
    }

    /// Ends the batch and keeps it. After an error there is no batch, and nothing of it is kept.
    ///
    /// # Errors
    /// What SQLite says, such as a full disk.
    pub fn commit(&mut self) -> Result<(), StoreError> {
        assert!(self.in_batch, "a commit ends a batch");
        match self.write_totals().and_then(|()| self.conn.prepare_cached("COMMIT")?.execute([])) {
            Ok(_) => {
                self.in_batch = false;
                // A checkpoint begins by making the log durable.
                let sync = |_: &rusqlite::Row<'_>| Ok(());
                if self.durable && !is_mutant(Mutant::CommitNotDurable) {
                    self.conn.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?.query_row([], sync)?;
                }
                Ok(())
            }
            Err(error) => {
                self.rollback()?;
                Err(error.into())
            }
        }
    }

    /// Ends the batch and forgets it, if there is one.
    ///
    /// # Errors
    /// What SQLite says; there is no batch in that case either, and the store is to be opened anew.
    pub fn rollback(&mut self) -> Result<(), StoreError> {
        self.in_batch = false;
        sometimes(Point::ShellRolledBack);
        // SQLite has rolled back by itself after some errors.
        if !self.conn.is_autocommit() {
            self.conn.prepare_cached("ROLLBACK")?.execute([])?;
        }
        self.folders = load_slots(&self.conn)?;
        Ok(())
    }

    /// The last `limit` records of the audit, newest first: when, kind, detail.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn audits(&self, limit: usize) -> Result<Vec<(WallTime, String, String)>, StoreError> {
        let mut statement = self.conn.prepare_cached("SELECT at, kind, detail FROM audit ORDER BY id DESC LIMIT ?1")?;
        let records = statement.query_map([count(limit)], |r| Ok((WallTime(r.get(0)?), r.get(1)?, r.get(2)?)))?;
        Ok(records.collect::<Result<_, _>>()?)
    }

    fn write_totals(&mut self) -> rusqlite::Result<()> {
        for slot in self.folders.values_mut().filter(|slot| slot.dirty) {
            let mut update = self.conn.prepare_cached("UPDATE folders SET files = ?2, bytes = ?3 WHERE num = ?1")?;
            update.execute((slot.num, slot.files.cast_signed(), slot.bytes.cast_signed()))?;
            slot.dirty = false;
        }
        Ok(())
    }
}

/// Makes the file with its mode before SQLite sees it: the log and the shared memory get the same one. A file that is
/// there already loses what others may do with it.
fn make_private(file: &Path) -> std::io::Result<()> {
    let made =
        std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(file)?;
    if made.metadata()?.permissions().mode() & 0o777 == 0o600 {
        return Ok(());
    }
    made.set_permissions(std::fs::Permissions::from_mode(0o600))
}

fn configure(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    // Plans that depend on no parameter's value: without this SQLite parses a cached statement again at new values.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // Another process that has it open will not let go of it soon.
    conn.busy_timeout(Duration::ZERO)?;
    conn.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "NORMAL")?;
    conn.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    conn.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    conn.pragma_update(None, "temp_store", "MEMORY")
}

fn load_slots(conn: &Connection) -> rusqlite::Result<BTreeMap<FolderId, Slot>> {
    let mut statement = conn.prepare_cached("SELECT id, num, files, bytes FROM folders")?;
    let slots = statement.query_map([], |r| {
        let (files, bytes) = (r.get::<_, i64>(2)?.cast_unsigned(), r.get::<_, i64>(3)?.cast_unsigned());
        Ok((FolderId(r.get(0)?), Slot { num: r.get(1)?, files, bytes, dirty: false }))
    })?;
    slots.collect()
}

/// A limit as SQLite takes it.
fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use sync_core::index::Index;

    #[test]
    fn the_files_are_for_their_owner_alone() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("index.db");
        std::fs::write(&file, b"").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let mut store = Store::open(&file).unwrap();
        store.begin().unwrap();
        store.audit(WallTime(1), "a", "b").unwrap();
        store.commit().unwrap();
        let found: Vec<_> = std::fs::read_dir(home.path()).unwrap().map(Result::unwrap).collect();
        assert!(found.len() >= 2, "the log exists while the store is open");
        for entry in found {
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
        }
    }

    #[test]
    fn a_second_process_is_told_that_the_file_is_in_use() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("index.db");
        let _first = Store::open(&file).unwrap();
        let error = Store::open(&file).unwrap_err();
        assert!(matches!(error, StoreError::InUse { .. }), "{error:?}");
    }

    #[test]
    fn what_is_no_database_is_refused_by_name_with_a_remedy() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("index.db");
        std::fs::write(&file, [b'x'; 8192]).unwrap();
        let error = Store::open(&file).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
        assert!(error.to_string().contains("index.db") && error.to_string().contains("backup"), "{error}");
        assert_eq!(std::fs::read(&file).unwrap(), [b'x'; 8192], "it is left as it was");
    }

    #[test]
    fn a_newer_database_is_refused_and_still_opens_with_its_own_version() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("index.db");
        let store = Store::open(&file).unwrap();
        store.conn.pragma_update(None, "user_version", 7).unwrap();
        drop(store);
        assert!(matches!(Store::open(&file), Err(StoreError::Newer { found: 7, .. })));
        let conn = Connection::open(&file).unwrap();
        assert_eq!(conn.pragma_query_value(None, "user_version", |r| r.get::<_, i64>(0)).unwrap(), 7);
    }

    #[test]
    fn a_batch_that_is_to_survive_a_power_loss_is_in_the_database_when_it_is_committed() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("index.db");
        let mut store = Store::open(&file).unwrap();
        let bytes = || std::fs::read(&file).unwrap();
        let holds = |word: &[u8]| bytes().windows(word.len()).any(|w| w == word);
        for (word, durable) in [("transient", false), ("confirmed", true)] {
            store.begin().unwrap();
            store.audit(WallTime(1), word, "").unwrap();
            if durable {
                store.make_durable().unwrap();
            }
            store.commit().unwrap();
            assert_eq!(holds(word.as_bytes()), durable, "{word}");
        }
    }

    #[test]
    fn the_audit_outlives_the_process_and_cannot_be_rewritten() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("index.db");
        let mut store = Store::open(&file).unwrap();
        store.begin().unwrap();
        store.audit(WallTime(1), "pair", "first").unwrap();
        store.audit(WallTime(2), "pair", "second").unwrap();
        store.commit().unwrap();
        store.begin().unwrap();
        store.audit(WallTime(3), "pair", "rolled back").unwrap();
        store.rollback().unwrap();
        drop(store);
        let store = Store::open(&file).unwrap();
        let newest = (WallTime(2), "pair".to_string(), "second".to_string());
        assert_eq!(store.audits(1).unwrap(), std::slice::from_ref(&newest));
        assert_eq!(store.audits(9).unwrap(), [newest, (WallTime(1), "pair".into(), "first".into())]);
        assert!(store.conn.execute("UPDATE audit SET detail = ''", []).is_err());
        assert!(store.conn.execute("DELETE FROM audit", []).is_err());
    }

    #[test]
    #[should_panic(expected = "inside a batch")]
    fn reading_outside_a_batch_is_a_bug() {
        let home = tempfile::tempdir().unwrap();
        let _ = Store::open(&home.path().join("index.db")).unwrap().folders();
    }
}

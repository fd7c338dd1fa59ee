//! Tables, and the steps from one format to the next.
//!
//! The format is SQLite's `user_version`: the number of steps that have been taken. A step is never edited once it has
//! shipped; a change is a further step.

use super::StoreError;
use rusqlite::Connection;
use std::path::Path;

/// `application_id`: "ldrp", so that the database of another program is not taken for one of these.
pub(super) const APPLICATION_ID: i64 = 0x6c64_7270;

/// An entry is a row, a base, or both, of one key; other tables name it by number, so that its path is stored twice
/// only: in the entry and in the index by key.
///
/// `class` is part of that index so that live rows and tombstones are each one range of it: 0 is a row with no live
/// sibling, 1 a row with one, 2 no row at all (a base alone). Zero and one take no space in SQLite. `holders` orders
/// bases by the first bytes of the content and the inode number.
const FORMAT_1: &str = "
    CREATE TABLE meta (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        boot_id TEXT NOT NULL,
        machine_id TEXT NOT NULL,
        inode BLOB NOT NULL,
        clean INTEGER NOT NULL,
        due INTEGER NOT NULL
    );
    CREATE TABLE folders (
        num INTEGER PRIMARY KEY,
        id BLOB NOT NULL UNIQUE,
        state BLOB,
        files INTEGER NOT NULL DEFAULT 0,
        bytes INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE peers (id BLOB PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE entries (
        id INTEGER PRIMARY KEY,
        folder INTEGER NOT NULL,
        class INTEGER NOT NULL,
        conflicted INTEGER NOT NULL DEFAULT 0,
        rev INTEGER,
        key BLOB NOT NULL,
        row BLOB
    );
    CREATE UNIQUE INDEX entries_by_key ON entries (folder, class, key);
    CREATE UNIQUE INDEX entries_by_rev ON entries (folder, rev) WHERE rev IS NOT NULL;
    CREATE INDEX entries_conflicted ON entries (folder, key) WHERE conflicted = 1;
    CREATE TABLE bases (id INTEGER PRIMARY KEY, base BLOB NOT NULL);
    CREATE TABLE holders (place BLOB, id INTEGER, PRIMARY KEY (place, id)) WITHOUT ROWID;
    CREATE TABLE pending (folder INTEGER, path BLOB, PRIMARY KEY (folder, path)) WITHOUT ROWID;
    CREATE TABLE staged (
        id INTEGER PRIMARY KEY,
        folder INTEGER NOT NULL,
        content BLOB NOT NULL,
        size INTEGER NOT NULL,
        sealed BLOB NOT NULL,
        UNIQUE (folder, content)
    );
    CREATE TABLE staged_lists (id INTEGER PRIMARY KEY, list BLOB NOT NULL);
    CREATE TABLE audit (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        kind TEXT NOT NULL,
        detail TEXT NOT NULL
    );
    CREATE TRIGGER audit_keeps BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
    CREATE TRIGGER audit_holds BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
";

/// Paths whose versions show as conflict copies: rows with several versions, and files that something below hides.
const FORMAT_2: &str = "
    CREATE TABLE copied (folder INTEGER, path BLOB, PRIMARY KEY (folder, path)) WITHOUT ROWID;
    INSERT INTO copied SELECT folder, key FROM entries WHERE conflicted = 1;
";

/// Every step, first to last.
const STEPS: &[&str] = &[FORMAT_1, FORMAT_2];

/// Brings the database up to the last format, each step in a transaction of its own.
///
/// # Errors
/// A format of a later landropic, a database of another program, or what SQLite says.
pub(super) fn migrate(conn: &mut Connection, file: &Path) -> Result<(), StoreError> {
    migrate_through(conn, file, STEPS)
}

fn migrate_through(conn: &mut Connection, file: &Path, steps: &[&str]) -> Result<(), StoreError> {
    let of_file = |e| StoreError::of_file(file, e);
    let pragma = |conn: &Connection, name| conn.pragma_query_value(None, name, |r| r.get::<_, i64>(0)).map_err(of_file);
    let found = pragma(conn, "user_version")?;
    let application = pragma(conn, "application_id")?;
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0)).map_err(of_file)?;
    if application != APPLICATION_ID && (tables > 0 || found != 0 || application != 0) {
        return Err(StoreError::Foreign { file: file.into() });
    }
    let known = i64::try_from(steps.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreError::Newer { file: file.into(), found, known });
    }
    let done = usize::try_from(found)
        .map_err(|_| StoreError::Damaged { file: file.into(), detail: format!("its format is {found}") })?;
    for (step, format) in steps[done..].iter().zip(found + 1..) {
        let tx = conn.transaction().map_err(of_file)?;
        tx.execute_batch(step).map_err(of_file)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID).map_err(of_file)?;
        tx.pragma_update(None, "user_version", format).map_err(of_file)?;
        tx.commit().map_err(of_file)?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ONE: &str = "CREATE TABLE a (x);";
    const TWO: &str = "INSERT INTO a VALUES (7);";

    fn version(conn: &Connection) -> i64 {
        conn.pragma_query_value(None, "user_version", |r| r.get(0)).unwrap()
    }

    #[test]
    fn steps_are_taken_once_and_in_order() {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate_through(&mut conn, Path::new("x"), &[ONE]).unwrap();
        assert_eq!(version(&conn), 1);
        migrate_through(&mut conn, Path::new("x"), &[ONE, TWO]).unwrap();
        migrate_through(&mut conn, Path::new("x"), &[ONE, TWO]).unwrap();
        assert_eq!(version(&conn), 2);
        assert_eq!(conn.query_row("SELECT count(*) FROM a", [], |r| r.get::<_, i64>(0)).unwrap(), 1);
    }

    #[test]
    fn the_second_format_takes_over_the_conflicts_of_the_first() {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate_through(&mut conn, Path::new("x"), &STEPS[..1]).unwrap();
        for (key, conflicted) in [("a", 0), ("b", 1)] {
            let sql = "INSERT INTO entries (folder, class, conflicted, key) VALUES (1, 1, ?2, CAST(?1 AS BLOB))";
            conn.execute(sql, (key, conflicted)).unwrap();
        }
        migrate(&mut conn, Path::new("x")).unwrap();
        let copied: Vec<u8> = conn.query_row("SELECT path FROM copied WHERE folder = 1", [], |r| r.get(0)).unwrap();
        assert_eq!(copied, b"b");
    }

    #[test]
    fn a_step_that_fails_leaves_the_format_before_it() {
        let mut conn = Connection::open_in_memory().unwrap();
        let broken = "CREATE TABLE b (x); INSERT INTO missing VALUES (1);";
        assert!(migrate_through(&mut conn, Path::new("x"), &[ONE, broken]).is_err());
        assert_eq!(version(&conn), 1);
        assert!(conn.prepare("SELECT * FROM b").is_err(), "half a step must not stay");
    }

    #[test]
    fn a_later_format_is_refused_by_name_with_a_remedy() {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate(&mut conn, Path::new("x")).unwrap();
        conn.pragma_update(None, "user_version", 99).unwrap();
        let error = migrate(&mut conn, Path::new("/home/a/index.db")).unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("/home/a/index.db") && text.contains("install"), "{text}");
    }

    #[test]
    fn a_database_of_another_program_is_refused_untouched() {
        let mut conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE theirs (x);").unwrap();
        assert!(matches!(migrate(&mut conn, Path::new("x")), Err(StoreError::Foreign { .. })));
        assert_eq!(version(&conn), 0);
    }
}

//! Whether the database may have lost writes that peers have seen, in which case this device goes on as a new actor.
//!
//! With `synchronous=NORMAL` a killed process loses nothing, a power loss may lose the last commits, and a restored
//! copy has lost everything since it was taken. What is recorded here is made durable before anything else happens:
//! otherwise a power loss could take the note that the daemon was running along with what it wrote.

use super::{Store, StoreError};
use rusqlite::{Connection, OptionalExtension};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Why a new actor is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The last run did not stop cleanly, and the machine has been started anew since.
    PowerLoss,
    /// The database is not the file it was: a restored or moved copy.
    Restored,
    /// The machine is not the one that wrote it.
    OtherMachine,
}

/// What a start found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Why every folder needs a new actor and epoch; `None` if the ones stored go on.
    pub fresh_actor: Option<Cause>,
}

/// What the last start recorded.
struct Meta {
    boot_id: String,
    machine_id: String,
    inode: [u8; 8],
    clean: bool,
    due: Option<Cause>,
}

impl Cause {
    fn number(cause: Option<Self>) -> i64 {
        match cause {
            None => 0,
            Some(Self::PowerLoss) => 1,
            Some(Self::Restored) => 2,
            Some(Self::OtherMachine) => 3,
        }
    }

    fn of_number(number: i64) -> Result<Option<Self>, StoreError> {
        match number {
            0 => Ok(None),
            1 => Ok(Some(Self::PowerLoss)),
            2 => Ok(Some(Self::Restored)),
            3 => Ok(Some(Self::OtherMachine)),
            other => Err(StoreError::Record { what: "start", detail: format!("cause {other} is unknown") }),
        }
    }
}

impl Store {
    /// Compares this start with the last and records it, durably. The answer stays the same at every start until
    /// [`Store::recovered`] is committed: a daemon killed before it has stored new actors must not go on as the old.
    ///
    /// # Errors
    /// What SQLite or the file system says.
    pub fn recovery(&mut self, boot_id: &str, machine_id: &str) -> Result<Recovery, StoreError> {
        assert!(!self.in_batch, "a start is recorded before the first batch");
        let inode = inode_of(&self.file)?;
        let fresh_actor = match self.meta()? {
            None => None,
            Some(last) if last.due.is_some() => last.due,
            Some(last) if last.machine_id != machine_id => Some(Cause::OtherMachine),
            Some(last) if last.inode != inode => Some(Cause::Restored),
            Some(last) if !last.clean && last.boot_id != boot_id => Some(Cause::PowerLoss),
            Some(_) => None,
        };
        durably(&self.conn, |conn| {
            conn.execute(
                "INSERT OR REPLACE INTO meta (only, boot_id, machine_id, inode, clean, due)
                 VALUES (1, ?1, ?2, ?3, 0, ?4)",
                (boot_id, machine_id, inode, Cause::number(fresh_actor)),
            )
        })?;
        Ok(Recovery { fresh_actor })
    }

    /// Notes that new actors are stored. Belongs into the batch that stores them.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn recovered(&mut self) -> Result<(), StoreError> {
        assert!(self.in_batch, "new actors and the note of them are one transaction");
        self.conn.execute("UPDATE meta SET due = 0", [])?;
        Ok(())
    }

    /// Notes that everything is committed and the daemon stops: durable on return, with all that was committed before.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn mark_clean_stop(&mut self) -> Result<(), StoreError> {
        assert!(!self.in_batch, "a clean stop comes after the last batch");
        durably(&self.conn, |conn| conn.execute("UPDATE meta SET clean = 1", []))
    }

    fn meta(&self) -> Result<Option<Meta>, StoreError> {
        let found = self
            .conn
            .query_row("SELECT boot_id, machine_id, inode, clean, due FROM meta", [], |r| {
                Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?))
            })
            .optional()?;
        let Some((boot_id, machine_id, inode, clean, due)) = found else { return Ok(None) };
        Ok(Some(Meta { boot_id, machine_id, inode, clean, due: Cause::of_number(due)? }))
    }
}

/// Runs one statement, and returns when it and every commit before it are on disk.
fn durably(
    conn: &Connection,
    statement: impl FnOnce(&Connection) -> rusqlite::Result<usize>,
) -> Result<(), StoreError> {
    conn.pragma_update(None, "synchronous", "FULL")?;
    let done = statement(conn);
    conn.pragma_update(None, "synchronous", "NORMAL")?;
    done?;
    Ok(())
}

/// The inode number, big-endian: SQLite's integers are signed.
fn inode_of(file: &Path) -> Result<[u8; 8], StoreError> {
    let found = std::fs::metadata(file).map_err(|source| StoreError::File { file: file.into(), source })?;
    Ok(found.ino().to_be_bytes())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Starts once as ("boot 1", "machine 1"), stops as told, and says what the next start finds.
    fn check(clean: bool, boot: &str, machine: &str, replace_file: bool) -> Option<Cause> {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("index.db");
        let mut store = Store::open(&file).unwrap();
        assert_eq!(store.recovery("boot 1", "machine 1").unwrap().fresh_actor, None, "a new database owes nothing");
        if clean {
            store.mark_clean_stop().unwrap();
        }
        drop(store);
        if replace_file {
            let copy = home.path().join("copy");
            std::fs::copy(&file, &copy).unwrap();
            std::fs::rename(&copy, &file).unwrap();
        }
        Store::open(&file).unwrap().recovery(boot, machine).unwrap().fresh_actor
    }

    #[test]
    fn a_killed_process_loses_nothing() {
        assert_eq!(check(false, "boot 1", "machine 1", false), None);
    }

    #[test]
    fn a_clean_stop_and_a_reboot_lose_nothing() {
        assert_eq!(check(true, "boot 2", "machine 1", false), None);
    }

    #[test]
    fn an_unclean_stop_and_a_reboot_call_for_a_new_actor() {
        assert_eq!(check(false, "boot 2", "machine 1", false), Some(Cause::PowerLoss));
    }

    #[test]
    fn a_replaced_file_calls_for_a_new_actor_even_after_a_clean_stop() {
        assert_eq!(check(true, "boot 1", "machine 1", true), Some(Cause::Restored));
    }

    #[test]
    fn another_machine_calls_for_a_new_actor_even_after_a_clean_stop() {
        assert_eq!(check(true, "boot 1", "machine 2", false), Some(Cause::OtherMachine));
    }

    #[test]
    fn the_debt_stands_until_new_actors_are_committed() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("index.db");
        let start = |boot: &str, commit: bool| {
            let mut store = Store::open(&file).unwrap();
            let found = store.recovery(boot, "m").unwrap().fresh_actor;
            store.begin().unwrap();
            store.recovered().unwrap();
            if commit {
                store.commit().unwrap();
            }
            found
        };
        assert_eq!(start("boot 1", true), None);
        assert_eq!(start("boot 2", false), Some(Cause::PowerLoss));
        assert_eq!(start("boot 2", true), Some(Cause::PowerLoss), "killed before the new actors were stored");
        assert_eq!(start("boot 2", true), None);
    }
}

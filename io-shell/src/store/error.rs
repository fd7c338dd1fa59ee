//! What can be wrong with the database, said to the person who has to act.

use std::path::PathBuf;

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A later landropic wrote it.
    #[error(
        "{} has format {found}, and this landropic knows formats up to {known}: install the version that wrote it, \
         or a later one", file.display()
    )]
    Newer {
        /// The database.
        file: PathBuf,
        /// Its format.
        found: i64,
        /// The last format known here.
        known: i64,
    },
    /// It is not a database, or a broken one.
    #[error(
        "{} is damaged ({detail}): restore it from a backup, or move it away with its -wal and -shm files and add the \
         folders again; synced files are not touched either way", file.display()
    )]
    Damaged {
        /// The database.
        file: PathBuf,
        /// What SQLite says.
        detail: String,
    },
    /// It is a database of some other program.
    #[error("{} is a database of another program: move it away, or choose another home", file.display())]
    Foreign {
        /// The database.
        file: PathBuf,
    },
    /// Another process has it open.
    #[error("{} is in use by another process: stop the other landropic, or choose another home", file.display())]
    InUse {
        /// The database.
        file: PathBuf,
    },
    /// The file could not be made or looked at.
    #[error("{} cannot be opened ({source}): check that its directory exists and is writable", file.display())]
    File {
        /// The database.
        file: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A stored record does not decode: damage that SQLite cannot see.
    #[error(
        "a stored {what} does not decode ({detail}): restore the index database from a backup, or move it away and \
         add the folders again"
    )]
    Record {
        /// What kind of record.
        what: &'static str,
        /// What the decoder says.
        detail: String,
    },
    /// Anything else SQLite reports, such as a full disk.
    #[error("the index database failed ({0}): check the space and health of its disk")]
    Sqlite(#[from] rusqlite::Error),
}

impl StoreError {
    /// Sorts what SQLite says of `file` by what a person can do about it.
    pub(super) fn of_file(file: &std::path::Path, error: rusqlite::Error) -> Self {
        let file = file.to_path_buf();
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
                Self::Damaged { file, detail: error.to_string() }
            }
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => Self::InUse { file },
            _ => Self::Sqlite(error),
        }
    }
}

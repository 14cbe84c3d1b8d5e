//! The embedded store: SQLite with a write-ahead log, one connection that writes, a few that read,
//! one that checkpoints.

pub(super) mod alerts;
pub(super) mod apply;
pub(super) mod checkpoint;
pub(super) mod dead_letters;
mod marzban;
pub(super) mod outbox;
mod overview;
pub(super) mod queue;
mod reader;
pub(super) mod recovery;
mod rows;
pub(super) mod writer;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

pub(super) use reader::Readers;

use super::OpenError;

/// The first version whose write-ahead log is safe when it is reset during a checkpoint.
const MIN_SQLITE: i32 = 3_051_003;

/// Schema changes in order; the database's `user_version` says how many it has seen.
const MIGRATIONS: [&str; 3] = [
    include_str!("../migrations/0001_tasks.sql"),
    include_str!("../migrations/0002_alerts.sql"),
    include_str!("../migrations/0003_recovery.sql"),
];

/// How long a connection waits for a lock that a stranger holds, such as `sqlite3` on the same file.
/// Longer, and pingbacks time out instead of going to the spill folder.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);

/// Holds the store for this process until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Makes the folder and takes the lock: the file is never shared between processes.
///
/// Returns the real path too: two names of one file meet at one lock, and a path that begins with `/`
/// is never a URI, which SQLite would take apart.
pub(super) fn lock(path: &Path) -> Result<(Lock, PathBuf), OpenError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error| OpenError::File { path, error }
    };
    let folder = folder_of(path);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(at(&folder))?;
    // Created here and not by SQLite, so that nobody else can read the solutions in it.
    let open_private = |path: &Path| OpenOptions::new().mode(0o600).create(true).append(true).open(path);
    drop(open_private(path).map_err(at(path))?);
    let real = fs::canonicalize(path).map_err(at(path))?;
    let mut lock_name = real.clone().into_os_string();
    lock_name.push(".lock");
    let lock_path = PathBuf::from(lock_name);
    let file = open_private(&lock_path).map_err(at(&lock_path))?;
    match file.try_lock() {
        Ok(()) => Ok((Lock { _file: file }, real)),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(OpenError::File { path: lock_path, error }),
    }
}

/// Which file it is, however it is named; `None` when it is not there.
pub(super) fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// The folder of a file, `.` for a bare name.
pub(super) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Refuses a library with the bug, then brings the schema up to date.
pub(super) fn prepare(path: &Path) -> Result<(), OpenError> {
    if rusqlite::version_number() < MIN_SQLITE {
        return Err(OpenError::OldSqlite(rusqlite::version()));
    }
    let failed = |error| OpenError::Sqlite { path: path.to_owned(), error };
    let mut connection = open_writer(path).map_err(failed)?;
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    let known = MIGRATIONS.len();
    let done = usize::try_from(found).ok().filter(|&done| done <= known);
    let Some(done) = done else {
        return Err(OpenError::TooNew {
            path: path.to_owned(),
            found,
            known: i64::try_from(known).unwrap_or(i64::MAX),
        });
    };
    for (number, migration) in MIGRATIONS.iter().enumerate().skip(done) {
        let transaction = connection.transaction().map_err(failed)?;
        transaction.execute_batch(migration).map_err(failed)?;
        let version = i64::try_from(number + 1).unwrap_or(i64::MAX);
        transaction.pragma_update(None, "user_version", version).map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    // The lock is ours, so whoever held a lease is gone.
    let release = "UPDATE deliveries SET state = 'ready', due_at = 0 WHERE state = 'leased'";
    connection.execute(release, []).map_err(failed)?;
    Ok(())
}

fn open_writer(path: &Path) -> rusqlite::Result<Connection> {
    let connection = open(path)?;
    // FULL: a commit is on disk when it returns. The log is emptied by `checkpoint`, not in a commit.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA journal_size_limit = 16777216;
         PRAGMA cache_size = -12288;",
    )?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = open(path)?;
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -1024;")?;
    Ok(connection)
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    // Without CREATE: a file that went away is an error and not an empty store.
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// The write-ahead log beside the database.
pub(super) fn log_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

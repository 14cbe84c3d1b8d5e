//! Keeps the write-ahead log short without making a commit wait for it.
//!
//! A thread with a connection of its own copies the log into the database while the writer goes on.
//! Under load it never meets the end of the log; then the writer copies the little that is left
//! between two commits, so that the log starts again from its beginning.

use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tracing::debug;

/// Records after which the log is copied, about 8 MiB of it.
const RECORDS: usize = 8192;
/// Commits after which it is copied, for records that come one by one.
const COMMITS: usize = 512;

/// Held by everybody who reads, and by the writer while it copies the rest of the log.
pub(in crate::store) type Reading = Arc<RwLock<()>>;

/// Whose turn it is. Both never copy at once: then neither would come to the end of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Turn {
    /// Nobody copies; the writer may wake the thread.
    Nobody,
    /// The thread copies.
    Thread,
    /// The thread has copied what was there; the writer copies the rest.
    Writer,
}

/// The writer's side: decides when, and does the rest.
#[derive(Debug)]
pub(super) struct Checkpoints {
    wake: Sender<()>,
    turn: Arc<AtomicU8>,
    reading: Reading,
    records: usize,
    commits: usize,
}

impl Checkpoints {
    /// Starts the thread; it ends when the returned value is dropped.
    pub(super) fn start(path: &Path, reading: Reading) -> rusqlite::Result<(Self, std::io::Result<JoinHandle<()>>)> {
        let connection = super::open_writer(path)?;
        let (wake, woken) = channel();
        let turn = Arc::new(AtomicU8::new(Turn::Nobody as u8));
        let thread_turn = Arc::clone(&turn);
        let thread = std::thread::Builder::new().name("checkpoint".to_owned());
        let thread = thread.spawn(move || copy_when_woken(&connection, &woken, &thread_turn));
        Ok((Self { wake, turn, reading, records: 0, commits: 0 }, thread))
    }

    /// After each commit. `idle` means that nobody waits: a good moment for what is left.
    pub(super) fn committed(&mut self, connection: &Connection, records: usize, idle: bool) {
        self.records += records;
        self.commits += usize::from(records > 0);
        if self.is_turn(Turn::Writer) {
            // Short: the thread has just copied all but the newest commits. Whoever reads holds the log, so
            // they wait for this moment; from then on they read the database alone.
            let _nobody_reads = self.reading.write().unwrap_or_else(PoisonError::into_inner);
            copy(connection);
            self.turn.store(Turn::Nobody as u8, Ordering::Release);
        }
        let due = self.records >= RECORDS || self.commits >= COMMITS || (idle && self.records > 0);
        if !due || !self.is_turn(Turn::Nobody) {
            return;
        }
        self.turn.store(Turn::Thread as u8, Ordering::Release);
        if self.wake.send(()).is_err() {
            // The thread is gone; without it commits take longer, and the log stays short.
            self.turn.store(Turn::Writer as u8, Ordering::Release);
        }
        self.records = 0;
        self.commits = 0;
    }

    fn is_turn(&self, turn: Turn) -> bool {
        self.turn.load(Ordering::Acquire) == turn as u8
    }
}

fn copy_when_woken(connection: &Connection, woken: &Receiver<()>, turn: &AtomicU8) {
    while woken.recv().is_ok() {
        copy(connection);
        // What SQLite reports is the end of the log as it was at the beginning: only the writer knows
        // whether there is more.
        turn.store(Turn::Writer as u8, Ordering::Release);
    }
}

/// Copies what it can without waiting for anybody. A failure is no loss: the log stays, and the commits
/// that need the space report it.
pub(super) fn copy(connection: &Connection) {
    let copied = connection
        .prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")
        .and_then(|mut pragma| pragma.query_row([], |_| Ok(())));
    if let Err(error) = copied {
        debug!(%error, "checkpoint failed");
    }
}

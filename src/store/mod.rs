//! Keeps what must not be lost: tasks, their results and the last balances.
//!
//! One writer thread commits whatever waits for it in one transaction ([`sqlite`]); what it cannot
//! commit goes to the spill folder ([`spill`]). After a commit, [`committed`] counts what happened and
//! wakes who waits for it. Nothing is acknowledged before it is on disk.

mod committed;
mod dead_letters;
mod outbox;
mod spill;
mod sqlite;
#[cfg(test)]
mod tests;
mod waiters;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use outbox::{Backlog, Firing, FiringGroup};
pub use sqlite::alerts::{Heard, WatchdogState};
pub use sqlite::apply::Rules;
pub use sqlite::dead_letters::Letters;
pub use sqlite::recovery::{DuePoll, Polled};

use committed::Committed;
use spill::Spill;
use sqlite::Readers;
use sqlite::checkpoint::Reading;
use sqlite::queue::{Done, Operation};
use sqlite::writer::{SharedRules, WriteFailure, Writer};

use crate::domain::balance::Balance;
use crate::domain::clock::SharedClock;
use crate::domain::task::{Pingback, PollDecision, Registration, Task, TaskId};
use crate::metrics::Metrics;

/// How the store is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// The database file.
    pub path: PathBuf,
    /// Where pingbacks go while the database cannot be written.
    pub spill_dir: PathBuf,
    /// What it needs to know of the rest of the configuration.
    pub rules: Rules,
}

/// Why the store does not open; told to whoever starts the program.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{0} is in use by another process; each needs a storage.url of its own")]
    InUse(PathBuf),
    /// Written by a newer version of the program.
    #[error("{path} has schema version {found}, and this program knows up to {known}; run the newer version")]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// SQLite before 3.51.3 can lose data of a write-ahead log that is reset (its bug of 2026-03).
    #[error("SQLite {0} is too old: at least 3.51.3 is needed")]
    OldSqlite(&'static str),
    /// A folder or file.
    #[error("{path}: {error}")]
    File {
        /// Which one.
        path: PathBuf,
        /// What the operating system says.
        error: std::io::Error,
    },
    /// SQLite itself.
    #[error("{path}: {error}; is its disk full, or not writable?")]
    Sqlite {
        /// The database file.
        path: PathBuf,
        /// What SQLite says.
        error: rusqlite::Error,
    },
}

/// Why an operation failed, by what the caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Too much waits already: answer 503 at once.
    #[error("too many writes are waiting")]
    Full,
    /// The store cannot be used now: answer 503; it may heal.
    #[error("the store cannot be used now")]
    Unavailable,
}

/// An account's pending tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// The account.
    pub account: String,
    /// How many tasks wait for their result.
    pub pending: u64,
    /// When the oldest of them was submitted.
    pub oldest_submitted_at: Option<Timestamp>,
}

/// What happened lately in an account.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Activity {
    /// Solve ratio per window of `activity::RATIO_WINDOWS`, in its order.
    pub solve_ratio: Vec<Option<f64>>,
    /// Distinct workers of the last five minutes.
    pub workers: usize,
}

/// The store. A clone is another handle of the same one.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    queue: sqlite::queue::Queue,
    readers: Arc<Readers>,
    committed: Arc<Committed>,
    failure: WriteFailure,
    rules: SharedRules,
    path: PathBuf,
    died: watch::Receiver<Option<String>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    _lock: sqlite::Lock,
}

impl Store {
    /// Opens or creates the store and starts its threads.
    pub fn open(options: &Options, metrics: Metrics, clock: SharedClock) -> Result<Self, OpenError> {
        let at_spill = |error| OpenError::File { path: options.spill_dir.clone(), error };
        let in_sqlite = |error| OpenError::Sqlite { path: options.path.clone(), error };
        let (lock, path) = sqlite::lock(&options.path)?;
        let options = &Options { path, ..options.clone() };
        sqlite::prepare(&options.path)?;
        let spill = Spill::open(&options.spill_dir, clock.now()).map_err(at_spill)?;
        let reading = Reading::default();
        let readers = Readers::open(&options.path, metrics.clone(), Arc::clone(&reading)).map_err(in_sqlite)?;
        let committed = Arc::new(Committed::new(metrics, Arc::clone(&clock)));
        let (writer, queue, checkpoint_thread) =
            Writer::new(options, spill, Arc::clone(&committed), clock, reading).map_err(in_sqlite)?;
        let (failure, rules) = (writer.failure(), writer.rules());
        let (death, died) = watch::channel(None);
        let writer_thread = std::thread::Builder::new().name("store".to_owned()).spawn(move || {
            if catch_unwind(AssertUnwindSafe(|| writer.run())).is_err() {
                death.send_replace(Some("the store's writer thread panicked".to_owned()));
            }
        });
        let threads = [checkpoint_thread, writer_thread].into_iter().collect::<io::Result<Vec<_>>>();
        let threads = threads.map_err(|error| OpenError::File { path: options.path.clone(), error })?;
        let inner = Inner {
            queue,
            readers: Arc::new(readers),
            committed,
            failure,
            rules,
            path: options.path.clone(),
            died,
            threads: Mutex::new(threads),
            _lock: lock,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Lets what is written from now on follow another configuration.
    pub fn set_rules(&self, rules: Rules) {
        *self.inner.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    /// Leases tasks of an account, or of none, that the API has to be asked for, at most `limit`.
    pub async fn claim_polls(&self, account: Option<Arc<str>>, limit: usize) -> Result<Vec<DuePoll>, StoreError> {
        match self.inner.queue.write(Operation::ClaimPolls { account, limit }).await? {
            Done::Polls(due) => Ok(due),
            _ => Ok(Vec::new()),
        }
    }

    /// Keeps what the API said of a task; returns what it meant.
    pub async fn polled(&self, id: TaskId, polled: Polled) -> Result<PollDecision, StoreError> {
        match self.inner.queue.write(Operation::Polled(id, polled)).await? {
            Done::Decided(decision) => Ok(decision),
            _ => Ok(PollDecision::Late),
        }
    }

    /// Resolves with the reason when one of the store's threads died; never else.
    pub async fn failed(&self) -> String {
        let mut died = self.inner.died.clone();
        if let Ok(reason) = died.wait_for(Option::is_some).await
            && let Some(reason) = &*reason
        {
            return reason.clone();
        }
        std::future::pending().await
    }

    /// Commits what waits, and closes the files. Later calls answer `Unavailable`.
    pub async fn close(&self) {
        // A full queue empties itself within a few commits.
        while self.inner.queue.write(Operation::Close).await == Err(StoreError::Full) {
            tokio::task::yield_now().await;
        }
        let threads = std::mem::take(&mut *self.inner.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join())));
        // They cannot panic any more.
        let _ = joined.await;
    }

    /// Keeps tasks that clients submitted, all or none.
    pub async fn register(&self, tasks: Vec<Registration>) -> Result<(), StoreError> {
        self.inner.queue.write(Operation::Register(tasks)).await.map(drop)
    }

    /// Keeps a pingback: in the store or, while that cannot be written, in the spill folder.
    /// `arrived` is when its request came in.
    pub async fn keep_pingback(&self, pingback: Pingback, arrived: Instant) -> Result<(), StoreError> {
        self.inner.queue.write(Operation::Pingback(Box::new(pingback), arrived)).await.map(drop)
    }

    /// The task with this id, if it is known.
    pub async fn task(&self, id: &TaskId) -> Result<Option<Task>, StoreError> {
        self.inner.readers.task(id).await
    }

    /// The task with this id as soon as it has ended, or as it is after `wait` or when `stop` is
    /// cancelled; `None` at once when it is not known.
    pub async fn wait_for_end(
        &self,
        id: &TaskId,
        wait: Duration,
        stop: &CancellationToken,
    ) -> Result<Option<Task>, StoreError> {
        let mut waiter = self.inner.committed.waiters.wait(id)?;
        let task = self.task(id).await?;
        if task.as_ref().is_none_or(|task| task.finish.is_some()) {
            return Ok(task);
        }
        tokio::select! {
            ended = &mut waiter.ended => Ok(ended.map(Arc::unwrap_or_clone).ok().or(task)),
            () = tokio::time::sleep(wait) => Ok(task),
            () = stop.cancelled() => Ok(task),
        }
    }

    /// Keeps the balance of an account.
    pub async fn save_balance(&self, account: &str, balance: Balance) -> Result<(), StoreError> {
        self.inner.queue.write(Operation::SaveBalance(account.to_owned(), balance)).await.map(drop)
    }

    /// The last kept balance of every account that has one.
    pub async fn balances(&self) -> Result<Vec<(String, Balance)>, StoreError> {
        self.inner.readers.balances().await
    }

    /// The pending tasks of every account that ever had one. The cost does not depend on how many.
    pub async fn queues(&self) -> Result<Vec<Queue>, StoreError> {
        self.inner.readers.queues().await
    }

    /// What happened lately in an account, from memory.
    pub fn activity(&self, account: &str) -> Activity {
        self.inner.committed.activity(account)
    }

    /// Size of the files on disk, in bytes.
    pub fn size_bytes(&self) -> u64 {
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        size(&self.inner.path) + size(&sqlite::log_path(&self.inner.path))
    }

    /// Why the store cannot be written, while that is so.
    pub fn write_failure(&self) -> Option<String> {
        self.inner.failure.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts overdue pingbacks, at most `limit`; returns how many there were.
    pub async fn pass_deadlines(&self, limit: usize) -> Result<usize, StoreError> {
        match self.inner.queue.write(Operation::PassDeadlines { limit }).await? {
            Done::Count(count) => Ok(count),
            _ => Ok(0),
        }
    }

    /// One small step of removing tasks older than `retention`; `true` when nothing is left to do now.
    pub async fn remove_old(&self, retention: Duration) -> Result<bool, StoreError> {
        Ok(self.inner.queue.write(Operation::RemoveOld { retention }).await? != Done::End(false))
    }
}

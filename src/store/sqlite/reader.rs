//! Reading, on connections of its own, so that nobody who reads waits for a commit.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::Semaphore;
use tracing::warn;

use super::checkpoint::Reading;
use super::rows::{find, optional_time};
use crate::domain::balance::Balance;
use crate::domain::task::{Task, TaskId};
use crate::metrics::Metrics;
use crate::store::{Queue, StoreError};

/// Connections that read at one time.
const READERS: usize = 2;
/// How long a reader waits for its turn.
const TURN: Duration = Duration::from_secs(2);

/// A few connections that read.
#[derive(Debug)]
pub(in crate::store) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    turns: Arc<Semaphore>,
    reading: Reading,
    metrics: Metrics,
}

impl Readers {
    pub(in crate::store) fn open(path: &Path, metrics: Metrics, reading: Reading) -> rusqlite::Result<Self> {
        let idle = (0..READERS).map(|_| super::open_reader(path)).collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(Self {
            path: path.to_owned(),
            idle: Mutex::new(idle),
            turns: Arc::new(Semaphore::new(READERS)),
            reading,
            metrics,
        })
    }

    /// The task with this id.
    pub(in crate::store) async fn task(self: &Arc<Self>, id: &TaskId) -> Result<Option<Task>, StoreError> {
        let id = id.clone();
        self.read(move |connection| Ok(find(connection, &id)?.map(|stored| stored.task))).await
    }

    /// Pending tasks by account; each account costs one look into an index.
    pub(in crate::store) async fn queues(self: &Arc<Self>) -> Result<Vec<Queue>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT name, pending,
                        (SELECT min(submitted_at) FROM tasks WHERE account = name AND status = 'pending')
                 FROM accounts ORDER BY name",
            )?;
            let rows = statement.query_map([], |row| {
                Ok(Queue {
                    account: row.get(0)?,
                    pending: u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0),
                    oldest_submitted_at: optional_time(row, 2)?,
                })
            })?;
            rows.collect()
        })
        .await
    }

    /// The last kept balances.
    pub(in crate::store) async fn balances(self: &Arc<Self>) -> Result<Vec<(String, Balance)>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT name, usd, spend_usd, topups_usd, read_at FROM accounts WHERE read_at IS NOT NULL",
            )?;
            let rows = statement.query_map([], |row| {
                let read_at = optional_time(row, 4)?.unwrap_or_default();
                let balance = Balance { usd: row.get(1)?, spend_usd: row.get(2)?, topups_usd: row.get(3)?, read_at };
                Ok((row.get(0)?, balance))
            })?;
            rows.collect()
        })
        .await
    }

    /// Runs a query on one of the connections when its turn has come.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = tokio::time::timeout(TURN, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(StoreError::Full) };
        let readers = Arc::clone(self);
        let reading = tokio::task::spawn_blocking(move || {
            let answer = readers.run(query);
            // The turn ends with the reading, even when the client went away before.
            drop(turn);
            answer
        });
        let answer = reading.await;
        answer.unwrap_or(Err(StoreError::Unavailable))
    }

    fn run<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let _reading = self.reading.read().unwrap_or_else(PoisonError::into_inner);
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let answer = idle.map_or_else(|| super::open_reader(&self.path), Ok).and_then(|connection| {
            let answer = query(&connection)?;
            // After an error the connection is not used again: the next read opens a fresh one.
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            Ok(answer)
        });
        answer.map_err(|error| {
            self.metrics.store_errors.inc();
            warn!(%error, "reading the store failed");
            StoreError::Unavailable
        })
    }
}

//! What the rest of the program asks of the outbox and of the alerts in the store.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use super::sqlite::alerts::Heard;
use super::sqlite::outbox::ClaimRequest;
use super::sqlite::queue::{Alerts, Done, Operation};
use super::{Store, StoreError, WatchdogState};
use crate::domain::delivery::{Claim, Consequences, DestinationState, NewDelivery, Settlement};
use crate::domain::marzban::Received;

/// A destination's part of the outbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backlog {
    /// The destination.
    pub destination: String,
    /// Rows that wait.
    pub pending: u64,
    /// Since when the oldest of them waits.
    pub oldest_queued_at: Option<Timestamp>,
    /// Why that one waits, without secrets; nothing before its first attempt.
    pub last_error: Option<String>,
    /// Its dead letters.
    pub dead: u64,
    /// When the oldest of them was added.
    pub oldest_dead_at: Option<Timestamp>,
    /// What is known of it.
    pub state: DestinationState,
}

/// What fires at a receiver, as last heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firing {
    /// The receiver.
    pub receiver: String,
    /// Alerts that fire, in the order of `alert::RANKS`.
    pub by_rank: [u64; 3],
}

/// An alert group that fires, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FiringGroup {
    /// The receiver.
    pub receiver: String,
    /// Its name.
    pub title: String,
    /// Alerts that fire, in the order of `alert::RANKS`.
    pub by_rank: [u64; 3],
    /// When it was last heard.
    pub heard_at: Timestamp,
}

impl Store {
    /// Keeps a notification; returns how many destinations have to be told of it.
    pub async fn hear(&self, heard: Heard) -> Result<usize, StoreError> {
        match self.alerts(Alerts::Hear(heard)).await? {
            Done::Count(count) => Ok(count),
            _ => Ok(0),
        }
    }

    /// Adds messages to the outbox.
    pub async fn queue(&self, new: Vec<NewDelivery>) -> Result<(), StoreError> {
        self.alerts(Alerts::Queue(new)).await.map(drop)
    }

    /// Leases what is due for a destination: one row or, when more than `storm` are due, up to `most`.
    pub async fn claim(
        &self,
        destination: &str,
        most: usize,
        storm: Option<usize>,
        lease: Duration,
    ) -> Result<Claim, StoreError> {
        let request = ClaimRequest { destination: destination.to_owned(), most, storm, lease };
        match self.alerts(Alerts::Claim(request)).await? {
            Done::Claimed(claim) => Ok(*claim),
            _ => Ok(Claim::default()),
        }
    }

    /// Writes down what became of claimed rows, all or none; says for each whether the lease still held.
    pub async fn settle(
        &self,
        settlements: Vec<(Settlement, Consequences)>,
        lease: Duration,
    ) -> Result<Vec<bool>, StoreError> {
        match self.alerts(Alerts::Settle { settlements, lease }).await? {
            Done::Settled(written) => Ok(written),
            _ => Ok(Vec::new()),
        }
    }

    /// Keeps what is known of a destination.
    pub async fn save_destination(&self, name: &str, state: DestinationState) -> Result<(), StoreError> {
        self.alerts(Alerts::SaveDestination(name.to_owned(), state)).await.map(drop)
    }

    /// Buries what waits for destinations that are not in `configured`, at most `limit` rows; returns
    /// their destinations, one a row.
    pub async fn retire(&self, configured: Vec<String>, limit: usize) -> Result<Vec<String>, StoreError> {
        match self.alerts(Alerts::Retire { configured, limit }).await? {
            Done::Buried(sources) => Ok(sources),
            _ => Ok(Vec::new()),
        }
    }

    /// Keeps that the watchdog was heard.
    pub async fn hear_watchdog(&self) -> Result<(), StoreError> {
        self.alerts(Alerts::HearWatchdog).await?;
        self.inner.committed.watchdog.notify_one();
        Ok(())
    }

    /// Rings when the watchdog was heard. One listener hears it.
    pub fn watchdog_heard(&self) -> Arc<Notify> {
        Arc::clone(&self.inner.committed.watchdog)
    }

    /// Keeps what is known of the watchdog together with what people have to be told of it.
    pub async fn save_watchdog(&self, state: WatchdogState, new: Vec<NewDelivery>) -> Result<(), StoreError> {
        self.alerts(Alerts::SaveWatchdog(state, new)).await.map(drop)
    }

    /// Keeps events of a Marzban panel, and lets these destinations know of what is new; says for each
    /// event whether it is.
    pub async fn keep_events(&self, events: Vec<Received>, destinations: Vec<String>) -> Result<Vec<bool>, StoreError> {
        match self.alerts(Alerts::KeepEvents(events, destinations)).await? {
            Done::Settled(are_new) => Ok(are_new),
            _ => Ok(Vec::new()),
        }
    }

    /// Forgets groups and calls that nobody needs any more, at most `limit` groups; returns how many.
    pub async fn forget_alerts(&self, limit: usize) -> Result<usize, StoreError> {
        match self.alerts(Alerts::Forget { limit }).await? {
            Done::Count(count) => Ok(count),
            _ => Ok(0),
        }
    }

    /// Rings when there is something new for a destination.
    pub fn waker(&self, destination: &str) -> Arc<Notify> {
        self.inner.committed.waker(destination)
    }

    /// What waits for each destination and what is known of it; the cost does not depend on how much.
    pub async fn backlogs(&self) -> Result<Vec<Backlog>, StoreError> {
        self.inner.readers.backlogs().await
    }

    /// What fires at each receiver.
    pub async fn firing(&self) -> Result<Vec<Firing>, StoreError> {
        self.inner.readers.firing().await
    }

    /// Groups that fire, those of the highest rank first, at most `limit`.
    pub async fn firing_groups(&self, limit: usize) -> Result<Vec<FiringGroup>, StoreError> {
        self.inner.readers.firing_groups(limit).await
    }

    /// What is known of the watchdog.
    pub async fn watchdog(&self) -> Result<WatchdogState, StoreError> {
        self.inner.readers.watchdog().await
    }

    /// Groups with critical alerts of which none of these destinations could be told since `before`.
    pub async fn unreached(&self, destinations: Vec<String>, before: Timestamp) -> Result<Vec<i64>, StoreError> {
        self.inner.readers.unreached(destinations, before).await
    }

    pub(super) async fn alerts(&self, alerts: Alerts) -> Result<Done, StoreError> {
        self.inner.queue.write(Operation::Alerts(Box::new(alerts))).await
    }
}

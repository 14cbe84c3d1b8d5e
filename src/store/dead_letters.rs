//! What the rest of the program asks of the dead letters.

use super::sqlite::queue::{Alerts, Done};
use super::{Letters, Store, StoreError};
use crate::domain::dead_letter::{DeadLetter, Retried};

/// Letters in one transaction.
const STEP: usize = 500;

impl Store {
    /// Letters behind `after`, oldest first, at most `limit`.
    pub async fn dead_letters(&self, after: i64, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        self.inner.readers.dead_letters(after, limit, false).await
    }

    /// The newest letters, newest first, at most `limit`.
    pub async fn newest_dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        self.inner.readers.dead_letters(0, limit, true).await
    }

    /// Tries a letter again, if its destination is among these. Of an unknown letter nothing is said at all.
    pub async fn retry_dead_letter(&self, id: i64, configured: Vec<String>) -> Result<Retried, StoreError> {
        self.retry(Letters::One(id), configured).await
    }

    /// Tries all letters again that can be, in small steps; `healing` only those that heal by themselves.
    pub async fn retry_dead_letters(&self, configured: Vec<String>, healing: bool) -> Result<Retried, StoreError> {
        let mut all = Retried::default();
        let mut last = 0;
        loop {
            let which = if healing { Letters::HealingAfter(last) } else { Letters::After(last) };
            let step = self.retry(which, configured.clone()).await?;
            all.sources.extend(step.sources);
            all.refused.extend(step.refused);
            match step.last {
                Some(seq) => last = seq,
                None => return Ok(all),
            }
        }
    }

    async fn retry(&self, which: Letters, configured: Vec<String>) -> Result<Retried, StoreError> {
        match self.alerts(Alerts::RetryLetters { which, configured, limit: STEP }).await? {
            Done::Retried(retried) => Ok(*retried),
            _ => Ok(Retried::default()),
        }
    }

    /// Discards a letter; returns its source, or nothing when there is none.
    pub async fn discard_dead_letter(&self, id: i64) -> Result<Option<String>, StoreError> {
        match self.alerts(Alerts::DiscardLetter(id)).await? {
            Done::Buried(sources) => Ok(sources.into_iter().next()),
            _ => Ok(None),
        }
    }

    /// Discards the oldest letters where there are too many; returns their sources.
    pub async fn trim_dead_letters(&self) -> Result<Vec<String>, StoreError> {
        match self.alerts(Alerts::TrimLetters { limit: STEP }).await? {
            Done::Buried(sources) => Ok(sources),
            _ => Ok(Vec::new()),
        }
    }
}

//! What happens in the writer's transaction to tasks whose pingback did not come, and to pingbacks whose
//! task nobody registered.

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::params;

use super::apply::{Transaction, columns, milliseconds};
use super::outbox::Enqueue;
use super::rows::{find, optional_time};
use crate::domain::delivery::{FORGED, Kind, PINGBACK_SOURCE};
use crate::domain::error_code::TIMEOUT;
use crate::domain::task::{Outcome, Pingback, PollDecision, Source, Task, TaskId, decide_poll};
use crate::domain::time::format_timestamp;

/// A task that the API has to be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuePoll {
    /// The task.
    pub id: TaskId,
    /// When it was submitted, or when its pingback came.
    pub since: Timestamp,
    /// How often it was asked for, this time included.
    pub polls: u32,
    /// Whether a pingback waits to be confirmed, and not a registered task for its result.
    pub is_claim: bool,
}

/// What asking the API for a task brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Polled {
    /// It has ended.
    Ended(Outcome),
    /// It is given up.
    GivenUp,
}

/// What an answer of the API did to the store.
#[derive(Debug)]
pub(in crate::store) struct PollEffect {
    pub(in crate::store) decision: PollDecision,
    /// The task as it was.
    pub(in crate::store) stored: Option<Task>,
    /// How it ended, if it did.
    pub(in crate::store) outcome: Outcome,
    /// Whether a pingback became a dead letter: not one that is there already.
    pub(in crate::store) buried: bool,
}

impl Transaction<'_> {
    /// Keeps a result until the API confirms it.
    pub(super) fn insert_unconfirmed(&self, pingback: &Pingback) -> rusqlite::Result<()> {
        let (_, code, error) = columns(&pingback.outcome);
        let mut insert = self.connection().prepare_cached(
            "INSERT INTO tasks (id, status, registered, created_at, account, captcha, submitted_at, error, code, poll_at)
             VALUES (?1, 'pending', 0, ?2, ?3, ?4, ?5, ?6, ?7, ?2)",
        )?;
        let received_at = pingback.received_at.as_millisecond();
        let submitted_at = pingback.submitted_at.map(Timestamp::as_millisecond);
        let id = pingback.id.as_str();
        insert.execute(params![id, received_at, pingback.account, pingback.captcha, submitted_at, error, code])?;
        Ok(())
    }

    /// Tasks of an account that are due, at most `limit`; each is due again after its gap, whatever becomes
    /// of the question.
    pub(super) fn claim_polls(&self, account: Option<&str>, limit: usize) -> rusqlite::Result<Vec<DuePoll>> {
        let now = self.now().as_millisecond();
        let mut due = self.select_polls("poll_at <= ?2", account, now, limit)?;
        if due.is_empty() {
            // Written by a clock that has since gone back: no wait is as long.
            let farthest = now.saturating_add(milliseconds(self.rules().fallback.longest_wait()));
            due = self.select_polls("poll_at > ?2", account, farthest, limit)?;
        }
        let mut next = self.connection().prepare_cached("UPDATE tasks SET poll_at = ?2, polls = ?3 WHERE seq = ?1")?;
        for (seq, due) in &due {
            let gap = self.rules().fallback.gap(due.polls);
            next.execute(params![seq, now.saturating_add(milliseconds(gap)), due.polls])?;
        }
        Ok(due.into_iter().map(|(_, due)| due).collect())
    }

    fn select_polls(
        &self,
        due: &str,
        account: Option<&str>,
        at: i64,
        limit: usize,
    ) -> rusqlite::Result<Vec<(i64, DuePoll)>> {
        let mut select = self.connection().prepare_cached(&format!(
            "SELECT seq, id, coalesce(submitted_at, created_at), polls, registered FROM tasks
             WHERE account IS ?1 AND {due} ORDER BY poll_at LIMIT ?3"
        ))?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = select.query_map(params![account, at, limit], |row| {
            let id = TaskId::parse(row.get_ref(1)?.as_str()?);
            let id = id.ok_or_else(|| rusqlite::Error::InvalidColumnName("tasks.id".to_owned()))?;
            let since = optional_time(row, 2)?.unwrap_or_default();
            let (polls, registered) = (row.get::<_, u32>(3)?, row.get::<_, bool>(4)?);
            Ok((row.get(0)?, DuePoll { id, since, polls: polls.saturating_add(1), is_claim: !registered }))
        })?;
        rows.collect()
    }

    /// Writes down what the API said of a task.
    pub(super) fn poll_result(&mut self, id: &TaskId, polled: &Polled) -> rusqlite::Result<PollEffect> {
        let stored = find(self.connection(), id)?;
        let outcome = match polled {
            Polled::Ended(outcome) => outcome.clone(),
            Polled::GivenUp => Outcome::Failed(TIMEOUT.into()),
        };
        let decision = decide_poll(stored.as_ref().map(|stored| &stored.task), &outcome);
        let mut buried = false;
        if let Some(stored) = &stored {
            let (seq, task) = (stored.seq, &stored.task);
            match (decision, &task.claim) {
                (PollDecision::Finish, _) => self.finish(seq, task, (&outcome, self.now(), Source::Poll))?,
                (PollDecision::Confirm, Some(claim)) => {
                    self.finish(seq, task, (&claim.outcome, claim.at, claim.source))?;
                }
                (PollDecision::Contradict, Some(claim)) => {
                    buried = self.bury_pingback(FORGED, &said(task, &claim.outcome))?;
                    self.finish(seq, task, (&outcome, self.now(), Source::Poll))?;
                }
                (PollDecision::Forged, Some(claim)) => {
                    buried = self.bury_pingback(FORGED, &said(task, &claim.outcome))?;
                    self.connection().prepare_cached("DELETE FROM tasks WHERE seq = ?1")?.execute([seq])?;
                }
                _ => {}
            }
        }
        Ok(PollEffect { decision, stored: stored.map(|stored| stored.task), outcome, buried })
    }

    /// Adds a row for each subscriber to a task that has ended, `at` a time that may be long ago: a code that was
    /// confirmed late is as stale as if it had been told late.
    pub(super) fn enqueue_results(&mut self, id: &TaskId, seq: i64, at: Timestamp) -> rusqlite::Result<()> {
        for destination in &self.rules().subscribers {
            self.enqueue(&Enqueue {
                destination,
                kind: Kind::Result,
                subject: id.as_str(),
                group_seq: None,
                task_seq: Some(seq),
                version: 1,
                payload: None,
                state_at: at,
            })?;
        }
        Ok(())
    }

    /// Whether somebody has yet to get the result of a task.
    pub(super) fn is_result_owed(&self, task: i64) -> rusqlite::Result<bool> {
        self.connection().prepare_cached("SELECT 1 FROM deliveries WHERE task_seq = ?1")?.exists([task])
    }

    /// Keeps a pingback that is not believed, once for all that it says; `false` when it is there already.
    pub(super) fn bury_pingback(&mut self, reason: &str, said: &Said<'_>) -> rusqlite::Result<bool> {
        let Said { id, outcome, account, captcha, submitted_at } = said;
        let (_, code, error) = columns(outcome);
        let payload = serde_json::json!({
            "id": id.as_str(), "code": code, "error": error, "account": account, "captcha": captcha,
            "submitted_at": submitted_at.map(format_timestamp),
        });
        let payload = payload.to_string();
        let mut bury = self.connection().prepare_cached(
            "INSERT OR IGNORE INTO dead_letters (source, reason, added_at, attempts, kind, subject, payload)
             VALUES (?1, ?2, ?3, 0, 'pingback', ?4, ?5)",
        )?;
        let now = self.now().as_millisecond();
        let buried = bury.execute(params![PINGBACK_SOURCE, reason, now, id.as_str(), payload])? > 0;
        if buried {
            self.add_dead(PINGBACK_SOURCE, 1);
        }
        Ok(buried)
    }
}

/// What a pingback says of a task.
pub(super) struct Said<'a> {
    pub(super) id: &'a TaskId,
    pub(super) outcome: &'a Outcome,
    pub(super) account: Option<&'a str>,
    pub(super) captcha: &'a str,
    pub(super) submitted_at: Option<Timestamp>,
}

fn said<'a>(task: &'a Task, outcome: &'a Outcome) -> Said<'a> {
    let Task { id, account, captcha, submitted_at, .. } = task;
    Said { id, outcome, account: account.as_deref(), captcha, submitted_at: *submitted_at }
}

impl<'a> From<&'a Pingback> for Said<'a> {
    fn from(pingback: &'a Pingback) -> Self {
        let Pingback { id, outcome, account, captcha, submitted_at, .. } = pingback;
        Said { id, outcome, account: account.as_deref(), captcha, submitted_at: *submitted_at }
    }
}

/// An account as the poller names it.
pub(in crate::store) type AccountName = Option<Arc<str>>;

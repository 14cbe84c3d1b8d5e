//! What each operation does inside the writer's transaction. Nothing here commits, counts or answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::recovery::{PollEffect, Polled};
use super::rows::find;
use crate::domain::balance::Balance;
use crate::domain::delivery::CONFLICT;
use crate::domain::fallback::Fallback;
use crate::domain::task::{
    Outcome, Pingback, Registration, RegistrationDecision, ResultDecision, Source, Task, TaskId, decide_registration,
    decide_result,
};
use crate::store::committed::{RegistrationEffect, ResultEffect};

/// A pending task that is this old ends as `TIMEOUT`: its captcha went stale long ago.
const GIVE_UP_PENDING: Duration = Duration::from_hours(24);

/// What the store needs to know of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// How long after submission a pingback is overdue.
    pub pingback_deadline: Duration,
    /// When the API is asked instead.
    pub fallback: Fallback,
    /// The destinations that get each result, such as `subscriber/workers`.
    pub subscribers: Vec<String>,
}

impl Rules {
    /// Nobody gets results.
    pub fn new(pingback_deadline: Duration) -> Self {
        Self { pingback_deadline, fallback: Fallback::default(), subscribers: Vec::new() }
    }
}

/// One transaction: the connection, and what is written once at its end.
pub(super) struct Transaction<'a> {
    connection: &'a Connection,
    now: Timestamp,
    rules: &'a Rules,
    /// Changes of the number of pending tasks by account.
    pending: HashMap<Arc<str>, i64>,
    /// Changes of what waits for each destination, and of its dead letters.
    outbox: HashMap<String, (i64, i64)>,
}

impl<'a> Transaction<'a> {
    pub(super) fn begin(connection: &'a Connection, now: Timestamp, rules: &'a Rules) -> rusqlite::Result<Self> {
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(Self { connection, now, rules, pending: HashMap::new(), outbox: HashMap::new() })
    }

    /// Commits; on disk when this returns.
    pub(super) fn commit(self) -> rusqlite::Result<()> {
        for (account, change) in self.pending.iter().filter(|(_, change)| **change != 0) {
            self.connection
                .prepare_cached(
                    "INSERT INTO accounts (name, pending) VALUES (?1, ?2)
                     ON CONFLICT (name) DO UPDATE SET pending = pending + excluded.pending",
                )?
                .execute(params![account, change])?;
        }
        for (destination, (waiting, dead)) in &self.outbox {
            self.connection
                .prepare_cached(
                    "INSERT INTO destinations (name, pending, dead) VALUES (?1, ?2, ?3)
                     ON CONFLICT (name) DO UPDATE SET pending = pending + excluded.pending,
                                                      dead = dead + excluded.dead",
                )?
                .execute(params![destination, waiting, dead])?;
        }
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    /// The connection, for the statements of other files.
    pub(super) fn connection(&self) -> &'a Connection {
        self.connection
    }

    /// The date of this transaction.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// What was configured when it began.
    pub(super) fn rules(&self) -> &'a Rules {
        self.rules
    }

    /// More or fewer rows wait for a destination.
    pub(super) fn add_waiting(&mut self, destination: &str, change: i64) {
        self.outbox.entry(destination.to_owned()).or_default().0 += change;
    }

    /// A destination has more or fewer dead letters.
    pub(super) fn add_dead(&mut self, source: &str, change: i64) {
        self.outbox.entry(source.to_owned()).or_default().1 += change;
    }

    /// Keeps a result.
    pub(super) fn pingback(&mut self, pingback: &Pingback) -> rusqlite::Result<ResultEffect> {
        let stored = find(self.connection, &pingback.id)?;
        let task = stored.as_ref().map(|stored| &stored.task);
        let decision = decide_result(task, &pingback.outcome, pingback.verify);
        let (mut was_expected, mut buried) = (false, false);
        match (decision, &stored) {
            (ResultDecision::Finish, Some(stored)) => {
                was_expected = stored.pingback_due;
                let end = (&pingback.outcome, pingback.received_at, Source::Pingback);
                self.finish(stored.seq, &stored.task, end)?;
            }
            (ResultDecision::KeepEarly, _) => self.insert_early(pingback)?,
            (ResultDecision::KeepUnconfirmed, _) => self.insert_unconfirmed(pingback)?,
            (ResultDecision::Conflict, _) => buried = self.bury_pingback(CONFLICT, &pingback.into())?,
            _ => {}
        }
        if let (ResultDecision::Conflict | ResultDecision::Duplicate, Some(stored)) = (decision, &stored) {
            was_expected = stored.pingback_due;
            if was_expected {
                self.pingback_is_counted(stored.seq)?;
            }
        }
        Ok(ResultEffect { decision, stored: stored.map(|stored| stored.task), was_expected, buried })
    }

    fn insert_early(&mut self, pingback: &Pingback) -> rusqlite::Result<()> {
        let (status, code, error) = columns(&pingback.outcome);
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO tasks (id, status, registered, created_at, account, captcha, submitted_at,
                                finished_at, source, error, code)
             VALUES (?1, ?2, 0, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?;
        insert.execute(params![
            pingback.id.as_str(),
            status,
            self.now.as_millisecond(),
            pingback.account,
            pingback.captcha,
            pingback.submitted_at.map(Timestamp::as_millisecond),
            pingback.received_at.as_millisecond(),
            Source::Pingback.as_str(),
            error,
            code,
        ])?;
        let seq = self.connection.last_insert_rowid();
        self.enqueue_results(&pingback.id, seq, pingback.received_at)
    }

    /// Ends a task, and lets its subscribers know.
    pub(super) fn finish(
        &mut self,
        seq: i64,
        task: &Task,
        (outcome, at, source): (&Outcome, Timestamp, Source),
    ) -> rusqlite::Result<()> {
        let (status, code, error) = columns(outcome);
        let mut update = self.connection.prepare_cached(
            "UPDATE tasks SET status = ?2, finished_at = ?3, source = ?4, error = ?5, code = ?6,
                              pingback_due_at = CASE WHEN ?4 = 'poll' THEN pingback_due_at END, poll_at = NULL
             WHERE seq = ?1",
        )?;
        update.execute(params![seq, status, at.as_millisecond(), source.as_str(), error, code])?;
        self.enqueue_results(&task.id, seq, at)?;
        // What nobody registered was never counted as pending.
        if let Some(account) = task.account.as_ref().filter(|_| task.registered) {
            *self.pending.entry(Arc::clone(account)).or_default() -= 1;
        }
        Ok(())
    }

    /// Keeps a task that a client submitted.
    pub(super) fn register(&mut self, new: &Registration) -> rusqlite::Result<RegistrationEffect> {
        let stored = find(self.connection, &new.id)?;
        let decision = decide_registration(stored.as_ref().map(|stored| &stored.task));
        let submitted_at = new.submitted_at.as_millisecond();
        match (decision, &stored) {
            (RegistrationDecision::Join, Some(stored)) => {
                let mut join = self.connection.prepare_cached(
                    "UPDATE tasks SET registered = 1, account = ?2, captcha = ?3, submitted_at = ?4 WHERE seq = ?1",
                )?;
                join.execute(params![stored.seq, new.account, new.captcha, submitted_at])?;
                if let Some(claim) = &stored.task.claim {
                    // Whoever registers the task vouches for it.
                    self.finish(stored.seq, &stored.task, (&claim.outcome, claim.at, claim.source))?;
                }
            }
            (RegistrationDecision::Insert, _) => {
                let mut insert = self.connection.prepare_cached(
                    "INSERT INTO tasks (id, status, registered, created_at, account, captcha, submitted_at,
                                        pingback_due_at, poll_at)
                     VALUES (?1, 'pending', 1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?;
                let after = |wait: Duration| submitted_at.saturating_add(milliseconds(wait));
                let (due_at, poll_at) = (after(self.rules.pingback_deadline), after(self.rules.fallback.after));
                let created_at = self.now.as_millisecond();
                let id = new.id.as_str();
                insert.execute(params![id, created_at, new.account, new.captcha, submitted_at, due_at, poll_at])?;
                *self.pending.entry(Arc::clone(&new.account)).or_default() += 1;
            }
            _ => {}
        }
        let joined = stored.filter(|_| decision == RegistrationDecision::Join).map(|stored| stored.task);
        let duration_known = joined.as_ref().is_some_and(|task| task.submitted_at.is_some());
        let (early, claim) = joined.map_or((None, None), |task| (task.finish, task.claim));
        Ok(RegistrationEffect { decision, early, duration_known, claim })
    }

    /// Keeps the balance of an account.
    pub(super) fn save_balance(&self, account: &str, balance: &Balance) -> rusqlite::Result<()> {
        let mut save = self.connection.prepare_cached(
            "INSERT INTO accounts (name, usd, spend_usd, topups_usd, read_at) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (name) DO UPDATE SET usd = excluded.usd, spend_usd = excluded.spend_usd,
                                              topups_usd = excluded.topups_usd, read_at = excluded.read_at",
        )?;
        let read_at = balance.read_at.as_millisecond();
        save.execute(params![account, balance.usd, balance.spend_usd, balance.topups_usd, read_at])?;
        Ok(())
    }

    /// Marks overdue pingbacks as counted; returns their accounts.
    pub(super) fn pass_deadlines(&self, limit: usize) -> rusqlite::Result<Vec<Arc<str>>> {
        let mut due = self.connection.prepare_cached(
            "SELECT seq, account FROM tasks WHERE pingback_due_at <= ?1 ORDER BY pingback_due_at LIMIT ?2",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = due.query_map(params![self.now.as_millisecond(), limit], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Arc<str>>(1)?))
        })?;
        let rows: Vec<_> = rows.collect::<rusqlite::Result<_>>()?;
        for (seq, _) in &rows {
            self.pingback_is_counted(*seq)?;
        }
        Ok(rows.into_iter().map(|(_, account)| account).collect())
    }

    /// It came or is overdue, which is counted once.
    fn pingback_is_counted(&self, seq: i64) -> rusqlite::Result<()> {
        let mut mark = self.connection.prepare_cached("UPDATE tasks SET pingback_due_at = NULL WHERE seq = ?1")?;
        mark.execute([seq])?;
        Ok(())
    }

    /// Looks at the `limit` tasks after `cursor` in the order they came: finished ones older than
    /// `retention` go, pending ones of a day and more are given up.
    pub(super) fn remove_old(&mut self, cursor: i64, retention: Duration, limit: usize) -> rusqlite::Result<Removal> {
        let before = |age: Duration| {
            let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            self.now.as_millisecond().saturating_sub(age)
        };
        let (cutoff, given_up) = (before(retention), before(retention.max(GIVE_UP_PENDING)));
        let (mut seen, mut removal) = (0, Removal { cursor, removed: 0, ended: Vec::new(), end: false });
        for row in self.rows_after(cursor, limit)? {
            seen += 1;
            if row.created_at >= cutoff {
                removal.end = true;
                break;
            }
            removal.cursor = row.seq;
            match row.finished_at {
                // Whoever has yet to get the result gets it.
                Some(finished_at) if finished_at < cutoff && !self.is_result_owed(row.seq)? => {
                    self.connection.prepare_cached("DELETE FROM tasks WHERE seq = ?1")?.execute([row.seq])?;
                    removal.removed += 1;
                }
                None if row.created_at < given_up => removal.ended.push(self.give_up(&row)?),
                _ => {}
            }
        }
        removal.end |= seen < limit;
        Ok(removal)
    }

    fn give_up(&mut self, row: &OldRow) -> rusqlite::Result<PollEffect> {
        let id = TaskId::parse(&row.id);
        let id = id.ok_or_else(|| rusqlite::Error::InvalidColumnName(format!("tasks.id of row {}", row.seq)))?;
        // As if the API had been asked to no avail: also a pingback that it never confirmed must not vanish.
        self.poll_result(&id, &Polled::GivenUp)
    }

    fn rows_after(&self, cursor: i64, limit: usize) -> rusqlite::Result<Vec<OldRow>> {
        let mut select = self.connection.prepare_cached(
            "SELECT seq, id, created_at, finished_at FROM tasks WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        )?;
        let rows = select.query_map(params![cursor, i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
            Ok(OldRow { seq: row.get(0)?, id: row.get(1)?, created_at: row.get(2)?, finished_at: row.get(3)? })
        })?;
        rows.collect()
    }

    /// Writes something, to learn whether that works.
    pub(super) fn probe(&self) -> rusqlite::Result<()> {
        self.connection.execute(
            "INSERT INTO probe (only_row, written_at) VALUES (1, ?1)
             ON CONFLICT (only_row) DO UPDATE SET written_at = excluded.written_at",
            [self.now.as_millisecond()],
        )?;
        Ok(())
    }
}

/// What one step of removal did.
#[derive(Debug)]
pub(super) struct Removal {
    /// Where the next step begins.
    pub(super) cursor: i64,
    /// Tasks that are gone.
    pub(super) removed: usize,
    /// What became of tasks that waited too long.
    pub(super) ended: Vec<PollEffect>,
    /// Nothing older is left behind the cursor.
    pub(super) end: bool,
}

struct OldRow {
    seq: i64,
    id: String,
    created_at: i64,
    finished_at: Option<i64>,
}

/// In the store's unit.
pub(super) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// `status`, `code` and `error` of an end.
pub(super) fn columns(outcome: &Outcome) -> (&'static str, Option<&str>, Option<&str>) {
    let status = if outcome.code().is_some() { "solved" } else { "failed" };
    (status, outcome.code(), outcome.error())
}

//! The outbox inside the writer's transaction: what has to be told, to whom, and what became of it.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::apply::Transaction;
use super::rows::{column, optional_time};
use crate::domain::delivery::{
    Call, Claim, Claimed, Consequences, DestinationState, EXPIRED, Kind, NewContent, NewDelivery, Outcome, REMOVED,
    Settlement,
};

/// A row that is due later than this was written by a clock that has since gone back: no destination may ask
/// for more than an hour.
const FARTHEST_DUE: Duration = Duration::from_mins(65);
/// How long calls are remembered; the caps look back a day.
const CALLS_KEPT: Duration = Duration::from_hours(25);
/// Content in one claim, so that a storm of large groups does not fill the memory.
const CLAIM_BYTES: usize = 8 * 1024 * 1024;

/// The content of a row: its own, or that of what it is about.
const CONTENT: &str = "coalesce(d.payload, g.state,
    CASE d.kind WHEN 'result' THEN
        (SELECT json_object('id', k.id, 'account', k.account, 'captcha', k.captcha, 'code', k.code, 'error', k.error,
                            'submitted_at', k.submitted_at, 'received_at', k.finished_at)
         FROM tasks k WHERE k.seq = d.task_seq) END)";

/// What a claim asks for.
#[derive(Debug, Clone)]
pub(in crate::store) struct ClaimRequest {
    pub(in crate::store) destination: String,
    /// Rows at most, when more than `storm` are due; else one.
    pub(in crate::store) most: usize,
    pub(in crate::store) storm: Option<usize>,
    pub(in crate::store) lease: Duration,
}

/// What has to be told about a group or besides groups, as a row.
pub(super) struct Enqueue<'a> {
    pub(super) destination: &'a str,
    pub(super) kind: Kind,
    pub(super) subject: &'a str,
    pub(super) group_seq: Option<i64>,
    pub(super) task_seq: Option<i64>,
    pub(super) version: i64,
    pub(super) payload: Option<&'a str>,
    /// How old what it tells is: too old, and it is not told.
    pub(super) state_at: Timestamp,
}

impl Transaction<'_> {
    /// Adds a row, or lets the one that waits already tell the newer content.
    pub(super) fn enqueue(&mut self, new: &Enqueue<'_>) -> rusqlite::Result<()> {
        let now = self.now().as_millisecond();
        let mut newer = self.connection().prepare_cached(
            "UPDATE deliveries SET version = ?4, state_at = ?5, payload = ?6
             WHERE destination = ?1 AND kind = ?2 AND subject = ?3",
        )?;
        let kind = new.kind.as_str();
        let state_at = new.state_at.as_millisecond();
        if newer.execute(params![new.destination, kind, new.subject, new.version, state_at, new.payload])? > 0 {
            return Ok(());
        }
        let mut insert = self.connection().prepare_cached(
            "INSERT INTO deliveries (destination, kind, subject, group_seq, task_seq, state, queued_at, state_at,
                                     due_at, version, payload)
             VALUES (?1, ?2, ?3, ?4, ?8, 'ready', ?5, ?9, ?5, ?6, ?7)",
        )?;
        let Enqueue { destination, subject, group_seq, task_seq, version, payload, .. } = new;
        insert.execute(params![destination, kind, subject, group_seq, now, version, payload, task_seq, state_at])?;
        self.add_waiting(new.destination, 1);
        Ok(())
    }

    /// Adds what is no state of a group.
    pub(super) fn enqueue_new(&mut self, new: &NewDelivery) -> rusqlite::Result<()> {
        match &new.content {
            NewContent::Escalation(group) => {
                self.connection()
                    .prepare_cached("UPDATE deliveries SET escalated = 1 WHERE group_seq = ?1 AND kind = 'group'")?
                    .execute([group])?;
                self.enqueue(&Enqueue {
                    destination: &new.destination,
                    kind: Kind::Escalation,
                    subject: &group.to_string(),
                    group_seq: Some(*group),
                    task_seq: None,
                    version: 1,
                    payload: None,
                    state_at: self.now(),
                })
            }
            NewContent::Notice(notice) => {
                let payload = serde_json::to_string(notice).map_err(|error| not_json(&error))?;
                // Each is news of its own.
                let next: i64 = self
                    .connection()
                    .prepare_cached("SELECT coalesce(max(seq), 0) + 1 FROM deliveries")?
                    .query_row([], |row| row.get(0))?;
                self.enqueue(&Enqueue {
                    destination: &new.destination,
                    kind: Kind::Notice,
                    subject: &format!("{}/{next}/{}", notice.name(), self.now().as_millisecond()),
                    group_seq: None,
                    task_seq: None,
                    version: 1,
                    payload: Some(&payload),
                    state_at: self.now(),
                })
            }
        }
    }

    /// Leases what is due.
    pub(super) fn claim(&self, request: &ClaimRequest) -> rusqlite::Result<Claim> {
        let now = self.now().as_millisecond();
        let destination = &*request.destination;
        let due = "due_at <= ?2";
        let mut count = self.connection().prepare_cached(
            "SELECT count(*) FROM (SELECT 1 FROM deliveries WHERE destination = ?1 AND due_at <= ?2 LIMIT ?3)",
        )?;
        let most = match request.storm {
            Some(storm) => {
                let enough = i64::try_from(storm).unwrap_or(i64::MAX).saturating_add(1);
                let waiting: i64 = count.query_row(params![destination, now, enough], |row| row.get(0))?;
                if waiting >= enough { request.most } else { 1 }
            }
            None => request.most,
        };
        let mut claim = Claim { deliveries: self.select(destination, due, now, most)?, ..Claim::default() };
        if claim.deliveries.is_empty() {
            claim.deliveries = self.select(destination, "due_at > ?2", now.saturating_add(millis(FARTHEST_DUE)), 1)?;
        }
        let until = now.saturating_add(millis(request.lease));
        let mut lease = self
            .connection()
            .prepare_cached("UPDATE deliveries SET state = 'leased', lease = lease + 1, due_at = ?2 WHERE seq = ?1")?;
        for claimed in &claim.deliveries {
            lease.execute(params![claimed.seq, until])?;
        }
        if claim.deliveries.is_empty() {
            claim.next_due_at = self
                .connection()
                .prepare_cached("SELECT min(due_at) FROM deliveries WHERE destination = ?1")?
                .query_row([destination], |row| optional_time(row, 0))?;
        } else {
            claim.calls = calls_since(self.connection(), destination, now.saturating_sub(millis(CALLS_KEPT)))?;
        }
        Ok(claim)
    }

    fn select(&self, destination: &str, due: &str, at: i64, most: usize) -> rusqlite::Result<Vec<Claimed>> {
        let mut select = self.connection().prepare_cached(&format!(
            "SELECT d.seq, d.lease, d.version, d.kind, d.queued_at, d.state_at, d.attempts, d.ambiguous,
                    {CONTENT}, t.told, d.subject
             FROM deliveries d
             LEFT JOIN alert_groups g ON g.seq = d.group_seq
             LEFT JOIN told t ON t.destination = d.destination AND t.group_seq = d.group_seq
             WHERE d.destination = ?1 AND d.{due} ORDER BY d.due_at, d.seq LIMIT ?3"
        ))?;
        let mut rows = select.query(params![destination, at, i64::try_from(most).unwrap_or(i64::MAX)])?;
        let (mut claimed, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let next = read_claimed(row)?;
            bytes += next.content.len();
            if bytes > CLAIM_BYTES && !claimed.is_empty() {
                break;
            }
            claimed.push(next);
        }
        Ok(claimed)
    }

    /// Writes down what became of a row; `false` when somebody else has the lease.
    pub(super) fn settle(
        &mut self,
        settlement: &Settlement,
        lease: Duration,
        consequences: &Consequences,
    ) -> rusqlite::Result<bool> {
        let Settlement { seq, lease: number, version, outcome } = settlement;
        let row = self
            .connection()
            .prepare_cached("SELECT destination, group_seq, version FROM deliveries WHERE seq = ?1 AND lease = ?2")?
            .query_row(params![seq, number], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, Option<i64>>(1)?, row.get::<_, i64>(2)?))
            })
            .optional()?;
        let Some((destination, group, newest)) = row else { return Ok(false) };
        if let (Some(told), Some(group)) = (&consequences.told, group) {
            self.remember(&destination, group, told.as_deref())?;
        }
        for call in &consequences.calls {
            self.connection()
                .prepare_cached("INSERT INTO calls (destination, subject, number, at) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![destination, call.subject, call.number, call.at.as_millisecond()])?;
        }
        if let Some(state) = &consequences.state {
            self.save_destination(&destination, state)?;
        }
        for new in &consequences.new {
            self.enqueue_new(new)?;
        }
        match outcome {
            Outcome::Progress => {
                let until = self.now().as_millisecond().saturating_add(millis(lease));
                self.connection()
                    .prepare_cached("UPDATE deliveries SET due_at = ?2 WHERE seq = ?1")?
                    .execute(params![seq, until])?;
            }
            Outcome::Done if newest > *version => self.behind_again(*seq)?,
            Outcome::Done => self.remove_waiting(*seq, &destination)?,
            Outcome::Again { due_at, attempted, ambiguous, error } => {
                let mut again = self.connection().prepare_cached(
                    "UPDATE deliveries SET state = 'ready', due_at = ?2, attempts = attempts + ?3,
                                           ambiguous = ambiguous + ?4, last_error = ?5 WHERE seq = ?1",
                )?;
                again.execute(params![seq, due_at.as_millisecond(), attempted, ambiguous, error])?;
            }
            Outcome::Dead { reason, error } => {
                self.bury(*seq, &destination, reason, error)?;
                if newest > *version {
                    self.behind_again(*seq)?;
                } else {
                    self.remove_waiting(*seq, &destination)?;
                }
            }
        }
        Ok(true)
    }

    /// Newer content came while the older was told.
    fn behind_again(&self, seq: i64) -> rusqlite::Result<()> {
        let mut again = self.connection().prepare_cached(
            "UPDATE deliveries SET state = 'ready', due_at = ?2, queued_at = state_at, attempts = 0, ambiguous = 0,
                                   escalated = 0, last_error = NULL WHERE seq = ?1",
        )?;
        again.execute(params![seq, self.now().as_millisecond()])?;
        Ok(())
    }

    fn remove_waiting(&mut self, seq: i64, destination: &str) -> rusqlite::Result<()> {
        self.connection().prepare_cached("DELETE FROM deliveries WHERE seq = ?1")?.execute([seq])?;
        self.add_waiting(destination, -1);
        Ok(())
    }

    /// Copies a row to the dead letters.
    fn bury(&mut self, seq: i64, destination: &str, reason: &str, error: &str) -> rusqlite::Result<()> {
        // The same again, such as a later state of a group that nobody takes, takes the place of the first.
        let mut bury = self.connection().prepare_cached(&format!(
            "INSERT INTO dead_letters (source, reason, added_at, attempts, last_error, kind, subject, group_seq, payload)
             SELECT d.destination, ?2, ?3, d.attempts + ?5,
                    ?4 || CASE WHEN ?5 = 0 AND d.last_error IS NOT NULL THEN ': ' || d.last_error ELSE '' END,
                    d.kind, d.subject, d.group_seq, coalesce({CONTENT}, '{{}}')
             FROM deliveries d LEFT JOIN alert_groups g ON g.seq = d.group_seq WHERE d.seq = ?1
             ON CONFLICT (source, reason, subject) WHERE kind <> 'pingback' DO UPDATE SET
                 added_at = excluded.added_at, attempts = excluded.attempts, last_error = excluded.last_error,
                 kind = excluded.kind, group_seq = excluded.group_seq, payload = excluded.payload"
        ))?;
        let before = self.has_dead(destination, reason, seq)?;
        // What is only too old was not tried again for it: the attempt before says why.
        let attempted = i64::from(reason != EXPIRED);
        bury.execute(params![seq, reason, self.now().as_millisecond(), error, attempted])?;
        self.add_dead(destination, i64::from(!before));
        Ok(())
    }

    fn has_dead(&self, destination: &str, reason: &str, seq: i64) -> rusqlite::Result<bool> {
        let mut dead = self.connection().prepare_cached(
            "SELECT 1 FROM dead_letters WHERE source = ?1 AND reason = ?2
             AND kind <> 'pingback' AND subject = (SELECT subject FROM deliveries WHERE seq = ?3)",
        )?;
        dead.exists(params![destination, reason, seq])
    }

    fn remember(&self, destination: &str, group: i64, told: Option<&str>) -> rusqlite::Result<()> {
        match told {
            Some(told) => self
                .connection()
                .prepare_cached(
                    "INSERT INTO told (destination, group_seq, told) VALUES (?1, ?2, ?3)
                     ON CONFLICT (destination, group_seq) DO UPDATE SET told = excluded.told",
                )?
                .execute(params![destination, group, told])?,
            None => self
                .connection()
                .prepare_cached("DELETE FROM told WHERE destination = ?1 AND group_seq = ?2")?
                .execute(params![destination, group])?,
        };
        Ok(())
    }

    /// Keeps what is known of a destination. What waits is tried at once under a new configuration.
    pub(super) fn save_destination(&self, name: &str, state: &DestinationState) -> rusqlite::Result<()> {
        let mut is_same =
            self.connection().prepare_cached("SELECT 1 FROM destinations WHERE name = ?1 AND fingerprint = ?2")?;
        if !is_same.exists(params![name, state.fingerprint])? {
            self.connection()
                .prepare_cached("UPDATE deliveries SET due_at = ?2 WHERE destination = ?1 AND state = 'ready'")?
                .execute(params![name, self.now().as_millisecond()])?;
        }
        let mut save = self.connection().prepare_cached(
            "INSERT INTO destinations (name, fingerprint, unusable, no_credit_until) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (name) DO UPDATE SET fingerprint = excluded.fingerprint, unusable = excluded.unusable,
                                              no_credit_until = excluded.no_credit_until",
        )?;
        let until = state.no_credit_until.map(Timestamp::as_millisecond);
        save.execute(params![name, state.fingerprint, state.unusable, until])?;
        Ok(())
    }

    /// What waits for destinations that are not configured any more becomes dead letters, at most `limit`
    /// rows; returns theirs.
    pub(super) fn retire(&mut self, configured: &[String], limit: usize) -> rusqlite::Result<Vec<String>> {
        let mut waiting = self.connection().prepare_cached("SELECT name FROM destinations WHERE pending > 0")?;
        let names = waiting.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
        let mut retired = Vec::new();
        for name in names.into_iter().filter(|name| !configured.contains(name)) {
            let mut orphans =
                self.connection().prepare_cached("SELECT seq FROM deliveries WHERE destination = ?1 LIMIT ?2")?;
            let room = i64::try_from(limit.saturating_sub(retired.len())).unwrap_or(i64::MAX);
            let rows = orphans.query_map(params![name, room], |row| row.get(0))?;
            for seq in rows.collect::<rusqlite::Result<Vec<i64>>>()? {
                self.bury(seq, &name, REMOVED, "its destination is not configured any more")?;
                self.remove_waiting(seq, &name)?;
                retired.push(name.clone());
            }
        }
        Ok(retired)
    }

    /// Forgets calls that no cap looks at any more.
    pub(super) fn forget_calls(&self) -> rusqlite::Result<()> {
        let before = self.now().as_millisecond().saturating_sub(millis(CALLS_KEPT));
        self.connection().prepare_cached("DELETE FROM calls WHERE at < ?1")?.execute([before])?;
        Ok(())
    }
}

fn read_claimed(row: &Row<'_>) -> rusqlite::Result<Claimed> {
    Ok(Claimed {
        seq: row.get(0)?,
        // As it is after the lease that follows.
        lease: row.get::<_, i64>(1)? + 1,
        version: row.get(2)?,
        kind: column(row, 3, Kind::parse)?,
        queued_at: optional_time(row, 4)?.unwrap_or_default(),
        state_at: optional_time(row, 5)?.unwrap_or_default(),
        attempts: row.get(6)?,
        ambiguous: row.get(7)?,
        content: row.get::<_, Option<String>>(8)?.unwrap_or_default(),
        told: row.get(9)?,
        subject: row.get(10)?,
    })
}

fn calls_since(connection: &Connection, destination: &str, since: i64) -> rusqlite::Result<Vec<Call>> {
    let mut select = connection
        .prepare_cached("SELECT subject, number, at FROM calls WHERE destination = ?1 AND at >= ?2 ORDER BY at")?;
    let rows = select.query_map(params![destination, since], |row| {
        let at = optional_time(row, 2)?.unwrap_or_default();
        Ok(Call { subject: row.get(0)?, number: row.get(1)?, at })
    })?;
    rows.collect()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// What cannot be written as JSON cannot be stored; none of our types is like that.
pub(super) fn not_json(error: &serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(error.to_string().into())
}

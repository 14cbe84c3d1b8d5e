//! Dead letters: listed on the readers' connections, tried again and discarded in the writer's transaction.

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};
use serde_json::Value;

use super::Readers;
use super::apply::Transaction;
use super::outbox::Enqueue;
use super::rows::{column, find, optional_time};
use crate::domain::dead_letter::{
    DeadLetter, HAS_ENDED, IN_A_FILE, IS_PENDING, NOT_CONFIGURED, Retried, without_codes,
};
use crate::domain::delivery::{FORGED, Kind, PINGBACK_SOURCE, REMOVED, UNREADABLE};
use crate::domain::task::{Outcome, Pingback, TaskId};
use crate::store::StoreError;

/// Dead letters of one source that are kept; the oldest make room for the newest.
const KEPT: i64 = 100_000;

/// Which dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Letters {
    /// This one.
    One(i64),
    /// All behind this one.
    After(i64),
    /// Those behind this one that heal by themselves.
    HealingAfter(i64),
}

struct Letter {
    seq: i64,
    source: String,
    reason: String,
    kind: String,
    subject: String,
    group: Option<i64>,
    payload: String,
}

impl Transaction<'_> {
    /// Puts what letters hold back to where it came from, at most `limit` of them.
    pub(super) fn retry_letters(
        &mut self,
        which: Letters,
        configured: &[String],
        limit: usize,
    ) -> rusqlite::Result<Retried> {
        let mut retried = Retried::default();
        for letter in self.select_letters(which, limit)? {
            retried.last = Some(letter.seq);
            match self.retry_letter(&letter, configured)? {
                Ok(()) => {
                    self.remove_letter(letter.seq, &letter.source)?;
                    retried.sources.push(letter.source);
                }
                Err(why) => retried.refused.push(why),
            }
        }
        Ok(retried)
    }

    fn select_letters(&self, which: Letters, limit: usize) -> rusqlite::Result<Vec<Letter>> {
        let (condition, seq) = match which {
            Letters::One(seq) => ("seq = ?1", seq),
            Letters::After(seq) => ("seq > ?1", seq),
            Letters::HealingAfter(seq) => ("seq > ?1 AND reason = ?3", seq),
        };
        let mut select = self.connection().prepare_cached(&format!(
            "SELECT seq, source, reason, kind, subject, group_seq, payload FROM dead_letters
             WHERE {condition} AND ?3 IS NOT NULL ORDER BY seq LIMIT ?2"
        ))?;
        let rows = select.query_map(params![seq, i64::try_from(limit).unwrap_or(i64::MAX), REMOVED], |row| {
            Ok(Letter {
                seq: row.get(0)?,
                source: row.get(1)?,
                reason: row.get(2)?,
                kind: row.get(3)?,
                subject: row.get(4)?,
                group: row.get(5)?,
                payload: row.get(6)?,
            })
        })?;
        rows.collect()
    }

    fn retry_letter(&mut self, letter: &Letter, configured: &[String]) -> rusqlite::Result<Result<(), &'static str>> {
        let Some(kind) = Kind::parse(&letter.kind) else { return self.retry_pingback(letter) };
        if !configured.contains(&letter.source) {
            return Ok(Err(NOT_CONFIGURED));
        }
        // Of a group that is still known, the state of now is told.
        let mut version = self.connection().prepare_cached("SELECT version FROM alert_groups WHERE seq = ?1")?;
        let version: Option<i64> = version.query_row([letter.group], |row| row.get(0)).optional()?;
        let payload = if version.is_some() { None } else { Some(letter.payload.as_str()) };
        self.enqueue(&Enqueue {
            destination: &letter.source,
            kind,
            subject: &letter.subject,
            group_seq: letter.group.filter(|_| version.is_some()),
            task_seq: None,
            version: version.unwrap_or(1),
            payload,
            state_at: self.now(),
        })?;
        Ok(Ok(()))
    }

    /// What was not confirmed is asked for anew.
    fn retry_pingback(&self, letter: &Letter) -> rusqlite::Result<Result<(), &'static str>> {
        let payload: Value = serde_json::from_str(&letter.payload).unwrap_or_default();
        let outcome = match (payload["code"].as_str(), payload["error"].as_str()) {
            (Some(code), _) => Some(Outcome::Solved(code.into())),
            (None, error) => error.map(|error| Outcome::Failed(error.into())),
        };
        let (Some(id), Some(outcome)) = (TaskId::parse(&letter.subject), outcome) else { return Ok(Err(IN_A_FILE)) };
        match find(self.connection(), &id)? {
            Some(stored) if stored.task.finish.is_none() => return Ok(Err(IS_PENDING)),
            Some(_) => return Ok(Err(HAS_ENDED)),
            None if letter.reason != FORGED => return Ok(Err(HAS_ENDED)),
            None => {}
        }
        let received_at = self.now();
        let submitted_at = payload["submitted_at"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
        self.insert_unconfirmed(&Pingback {
            id,
            outcome,
            received_at,
            account: payload["account"].as_str().map(Into::into),
            captcha: payload["captcha"].as_str().unwrap_or("other").into(),
            submitted_at,
            verify: true,
        })?;
        Ok(Ok(()))
    }

    /// Discards a letter; returns its source, or nothing when there is none.
    pub(super) fn discard_letter(&mut self, seq: i64) -> rusqlite::Result<Option<String>> {
        let mut source = self.connection().prepare_cached("SELECT source FROM dead_letters WHERE seq = ?1")?;
        let source: Option<String> = source.query_row([seq], |row| row.get(0)).optional()?;
        if let Some(source) = &source {
            self.remove_letter(seq, source)?;
        }
        Ok(source)
    }

    /// Discards the oldest letters of sources that have too many, at most `limit` of each; returns their
    /// sources.
    pub(super) fn trim_letters(&mut self, limit: usize) -> rusqlite::Result<Vec<String>> {
        let mut crowded =
            self.connection().prepare_cached("SELECT name, dead - ?1 FROM destinations WHERE dead > ?1")?;
        let crowded = crowded.query_map([KEPT], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
        let crowded: Vec<_> = crowded.collect::<rusqlite::Result<_>>()?;
        let mut discarded = Vec::new();
        for (source, too_many) in crowded {
            let mut oldest = self
                .connection()
                .prepare_cached("SELECT seq FROM dead_letters WHERE source = ?1 ORDER BY added_at LIMIT ?2")?;
            let most = too_many.min(i64::try_from(limit).unwrap_or(i64::MAX));
            let rows = oldest.query_map(params![source, most], |row| row.get(0))?;
            for seq in rows.collect::<rusqlite::Result<Vec<i64>>>()? {
                self.remove_letter(seq, &source)?;
                discarded.push(source.clone());
            }
        }
        Ok(discarded)
    }

    fn remove_letter(&mut self, seq: i64, source: &str) -> rusqlite::Result<()> {
        self.connection().prepare_cached("DELETE FROM dead_letters WHERE seq = ?1")?.execute([seq])?;
        self.add_dead(source, -1);
        Ok(())
    }

    /// Keeps that lines of the spill folder cannot be imported; they are in this file.
    pub(super) fn bury_file(&mut self, file: &str) -> rusqlite::Result<()> {
        let payload = serde_json::json!({ "file": file }).to_string();
        let mut bury = self.connection().prepare_cached(
            "INSERT OR IGNORE INTO dead_letters (source, reason, added_at, attempts, kind, subject, payload)
             VALUES (?1, ?2, ?3, 0, 'file', ?4, ?5)",
        )?;
        let now = self.now().as_millisecond();
        if bury.execute(params![PINGBACK_SOURCE, UNREADABLE, now, file, payload])? > 0 {
            self.add_dead(PINGBACK_SOURCE, 1);
        }
        Ok(())
    }
}

impl Readers {
    /// Letters behind `after`, oldest first; the newest first where `newest` is set.
    pub(in crate::store) async fn dead_letters(
        self: &Arc<Self>,
        after: i64,
        limit: usize,
        newest: bool,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        self.read(move |connection| {
            let order = if newest { "DESC" } else { "ASC" };
            let mut select = connection.prepare_cached(&format!(
                "SELECT seq, source, reason, added_at, attempts, last_error, payload FROM dead_letters
                 WHERE seq > ?1 ORDER BY seq {order} LIMIT ?2"
            ))?;
            let rows = select.query_map(params![after, i64::try_from(limit).unwrap_or(i64::MAX)], read_letter)?;
            rows.collect()
        })
        .await
    }
}

fn read_letter(row: &Row<'_>) -> rusqlite::Result<DeadLetter> {
    let payload = column(row, 6, |text| Some(serde_json::from_str(text).unwrap_or(Value::Null)))?;
    Ok(DeadLetter {
        id: row.get(0)?,
        source: row.get(1)?,
        reason: row.get(2)?,
        added_at: optional_time(row, 3)?.unwrap_or_default(),
        attempts: row.get(4)?,
        last_error: row.get(5)?,
        payload: without_codes(payload),
    })
}

//! Alert groups and the watchdog inside the writer's transaction.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::apply::Transaction;
use super::outbox::{Enqueue, not_json};
use super::rows::optional_time;
use crate::domain::alert::{Group, RANKS};
use crate::domain::delivery::{Kind, Route};
use crate::domain::time::elapsed;

/// The same notification within this time is Alertmanager's retry, or its twin's.
const REPEATED_WITHIN: Duration = Duration::from_mins(1);
/// A group that is over is forgotten after this.
const OVER_KEPT: Duration = Duration::from_hours(24);
/// A group that fires and is not heard of is forgotten after this: its Alertmanager is gone. The longest
/// repeat interval that makes sense is a day.
const SILENT_KEPT: Duration = Duration::from_hours(24 * 7);

/// By way of the destinations, since the key begins with theirs: without them, each group that is forgotten
/// would cost a look at what is known of all others.
const FORGET_TOLD: &str = "DELETE FROM told WHERE destination IN (SELECT name FROM destinations) AND group_seq = ?1";

/// How many alerts fire, by rank. Where those that may fire were all left out, one stands for them.
fn fires(group: &Group) -> [u64; 3] {
    let firing = group.firing_by_rank();
    if firing == [0; 3] && !group.is_over() { RANKS.map(|rank| u64::from(rank == group.rank())) } else { firing }
}

/// A notification and where it goes, made ready off the writer's thread: it may be long.
#[derive(Debug, Clone)]
pub struct Heard {
    group: Group,
    routes: Vec<Route>,
    digest: [u8; 32],
    /// The group in JSON; an error has no text, and is told by the writer.
    state: Option<String>,
}

impl Heard {
    /// A group as it was heard, and the destinations that may want to be told.
    pub fn new(group: Group, routes: Vec<Route>) -> Self {
        let state = serde_json::to_string(&group).ok();
        Self { digest: group.digest(), state, group, routes }
    }

    /// About what it takes in memory, in bytes.
    pub(in crate::store) fn bytes(&self) -> usize {
        1024 + 3 * self.state.as_ref().map_or(0, String::len)
    }
}

/// What is known of the watchdog.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WatchdogState {
    /// When it was last heard.
    pub last_heard_at: Option<Timestamp>,
    /// Since when people know that it is silent.
    pub alarmed_at: Option<Timestamp>,
}

struct Stored {
    seq: i64,
    version: i64,
    digest: Vec<u8>,
    heard_at: Timestamp,
    state: String,
}

impl Transaction<'_> {
    /// Keeps the state of a group and a row for each destination that has to be told; returns those.
    pub(super) fn hear(&mut self, heard: &Heard) -> rusqlite::Result<Vec<String>> {
        let Heard { group, routes, digest, .. } = heard;
        let stored = self.stored_group(group)?;
        let repeated = |stored: &Stored| {
            let came_before = stored.heard_at <= self.now();
            stored.digest == *digest && came_before && elapsed(stored.heard_at, self.now()) < REPEATED_WITHIN
        };
        if stored.as_ref().is_some_and(repeated) {
            return Ok(Vec::new());
        }
        let seq = self.save_group(stored.as_ref(), heard)?;
        let subject = seq.0.to_string();
        let mut told = Vec::new();
        for route in routes {
            if !route.wants(group, self.was_told(&route.destination, seq.0)?) {
                continue;
            }
            self.enqueue(&Enqueue {
                destination: &route.destination,
                kind: Kind::Group,
                subject: &subject,
                group_seq: Some(seq.0),
                task_seq: None,
                version: seq.1,
                payload: None,
                state_at: self.now(),
            })?;
            told.push(route.destination.clone());
        }
        Ok(told)
    }

    fn stored_group(&self, group: &Group) -> rusqlite::Result<Option<Stored>> {
        self.connection()
            .prepare_cached(
                "SELECT seq, version, digest, heard_at, state FROM alert_groups WHERE receiver = ?1 AND key = ?2",
            )?
            .query_row(params![group.receiver, group.key], |row| {
                Ok(Stored {
                    seq: row.get(0)?,
                    version: row.get(1)?,
                    digest: row.get(2)?,
                    heard_at: optional_time(row, 3)?.unwrap_or_default(),
                    state: row.get(4)?,
                })
            })
            .optional()
    }

    /// Returns the place of the group and its version.
    fn save_group(&self, stored: Option<&Stored>, heard: &Heard) -> rusqlite::Result<(i64, i64)> {
        let group = &heard.group;
        let merged = match stored {
            Some(stored) if self.is_owed(stored.seq)? => {
                // A state that cannot be read, of another version of the program, carries nothing over.
                let older: Option<Group> = serde_json::from_str(&stored.state).ok();
                older.map(|older| older.succeeded_by(group.clone(), true))
            }
            _ => None,
        };
        let state = match &merged {
            Some(merged) => Some(serde_json::to_string(merged).map_err(|error| not_json(&error))?),
            None => heard.state.clone(),
        };
        let version = stored.map_or(1, |stored| stored.version + 1);
        let [info, warning, critical] =
            fires(merged.as_ref().unwrap_or(group)).map(|count| i64::try_from(count).unwrap_or(i64::MAX));
        let mut save = self.connection().prepare_cached(
            "INSERT INTO alert_groups (receiver, key, version, digest, heard_at, firing_info, firing_warning,
                                       firing_critical, title, state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
             ON CONFLICT (receiver, key) DO UPDATE SET
                 version = excluded.version, digest = excluded.digest, heard_at = excluded.heard_at,
                 firing_info = excluded.firing_info, firing_warning = excluded.firing_warning,
                 firing_critical = excluded.firing_critical, title = excluded.title, state = excluded.state
             RETURNING seq",
        )?;
        let now = self.now().as_millisecond();
        let title = group.title();
        let seq = save.query_row(
            params![group.receiver, group.key, version, heard.digest, now, info, warning, critical, title, state],
            |row| row.get(0),
        )?;
        Ok((seq, version))
    }

    /// Whether somebody waits to be told of the group.
    fn is_owed(&self, group: i64) -> rusqlite::Result<bool> {
        self.connection().prepare_cached("SELECT 1 FROM deliveries WHERE group_seq = ?1")?.exists([group])
    }

    fn was_told(&self, destination: &str, group: i64) -> rusqlite::Result<bool> {
        let mut told = self.connection().prepare_cached(
            "SELECT 1 FROM told WHERE destination = ?1 AND group_seq = ?2
             UNION ALL
             SELECT 1 FROM deliveries WHERE destination = ?1 AND kind = 'group' AND subject = ?3",
        )?;
        told.exists(params![destination, group, group.to_string()])
    }

    /// Forgets groups that are over or that nobody speaks of any more, at most `limit`.
    pub(super) fn forget_groups(&self, limit: usize) -> rusqlite::Result<usize> {
        let before = |age: Duration| {
            let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            self.now().as_millisecond().saturating_sub(age)
        };
        let mut select = self.connection().prepare_cached(
            "SELECT seq FROM alert_groups
             WHERE heard_at < ?1 AND (firing_info + firing_warning + firing_critical = 0 OR heard_at < ?2)
                   AND NOT EXISTS (SELECT 1 FROM deliveries WHERE group_seq = alert_groups.seq)
             ORDER BY heard_at LIMIT ?3",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = select.query_map(params![before(OVER_KEPT), before(SILENT_KEPT), limit], |row| row.get(0))?;
        let groups: Vec<i64> = rows.collect::<rusqlite::Result<_>>()?;
        for group in &groups {
            self.connection().prepare_cached(FORGET_TOLD)?.execute([group])?;
            self.connection().prepare_cached("DELETE FROM alert_groups WHERE seq = ?1")?.execute([group])?;
        }
        Ok(groups.len())
    }

    /// Keeps what is known of the watchdog.
    pub(super) fn save_watchdog(&self, state: WatchdogState) -> rusqlite::Result<()> {
        let mut save = self.connection().prepare_cached(
            "INSERT INTO watchdog (only_row, last_heard_at, alarmed_at) VALUES (1, ?1, ?2)
             ON CONFLICT (only_row) DO UPDATE SET last_heard_at = excluded.last_heard_at,
                                                  alarmed_at = excluded.alarmed_at",
        )?;
        let milliseconds = |time: Option<Timestamp>| time.map(Timestamp::as_millisecond);
        save.execute(params![milliseconds(state.last_heard_at), milliseconds(state.alarmed_at)])?;
        Ok(())
    }

    /// The watchdog was heard.
    pub(super) fn hear_watchdog(&self) -> rusqlite::Result<()> {
        let mut save = self.connection().prepare_cached(
            "INSERT INTO watchdog (only_row, last_heard_at) VALUES (1, ?1)
             ON CONFLICT (only_row) DO UPDATE SET last_heard_at = excluded.last_heard_at",
        )?;
        save.execute([self.now().as_millisecond()])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgetting_a_group_looks_at_no_other() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("../migrations/0002_alerts.sql")).unwrap();
        let plan = connection.query_row(&format!("EXPLAIN QUERY PLAN {FORGET_TOLD}"), [1], |row| row.get(3));
        let plan: String = plan.unwrap();
        assert!(plan.starts_with("SEARCH told "), "{plan}");
    }
}

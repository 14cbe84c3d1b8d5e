//! Reads what the outbox and the alerts look like, for metrics, pages and the watch over both.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};

use super::Readers;
use super::alerts::WatchdogState;
use super::rows::optional_time;
use crate::domain::delivery::DestinationState;
use crate::store::StoreError;
use crate::store::outbox::{Backlog, Firing, FiringGroup};

/// Groups that one step calls people about; the caps of the calls let no more through anyway.
const UNREACHED_STEP: usize = 100;

impl Readers {
    /// What waits for each destination; each costs three looks into an index.
    pub(in crate::store) async fn backlogs(self: &Arc<Self>) -> Result<Vec<Backlog>, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT name, pending, dead, fingerprint, unusable, no_credit_until,
                        (SELECT min(queued_at) FROM deliveries WHERE destination = name),
                        (SELECT min(added_at) FROM dead_letters WHERE source = name),
                        (SELECT last_error FROM deliveries WHERE destination = name ORDER BY queued_at LIMIT 1)
                 FROM destinations ORDER BY name",
            )?;
            let rows = select.query_map([], |row| {
                let state = DestinationState {
                    fingerprint: row.get(3)?,
                    unusable: row.get(4)?,
                    no_credit_until: optional_time(row, 5)?,
                };
                Ok(Backlog {
                    destination: row.get(0)?,
                    pending: count(row, 1)?,
                    dead: count(row, 2)?,
                    oldest_queued_at: optional_time(row, 6)?,
                    oldest_dead_at: optional_time(row, 7)?,
                    last_error: row.get(8)?,
                    state,
                })
            })?;
            rows.collect()
        })
        .await
    }

    /// What fires at each receiver that was ever heard of.
    pub(in crate::store) async fn firing(self: &Arc<Self>) -> Result<Vec<Firing>, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT receiver, sum(firing_info), sum(firing_warning), sum(firing_critical)
                 FROM alert_groups GROUP BY receiver",
            )?;
            let rows = select.query_map([], |row| Ok(Firing { receiver: row.get(0)?, by_rank: ranks(row, 1)? }))?;
            rows.collect()
        })
        .await
    }

    /// The groups that fire, worst first.
    pub(in crate::store) async fn firing_groups(
        self: &Arc<Self>,
        limit: usize,
    ) -> Result<Vec<FiringGroup>, StoreError> {
        self.read(move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT receiver, firing_info, firing_warning, firing_critical, title, heard_at
                 FROM alert_groups WHERE firing_info + firing_warning + firing_critical > 0
                 ORDER BY firing_critical > 0 DESC, firing_warning > 0 DESC, heard_at DESC LIMIT ?1",
            )?;
            let rows = select.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
                Ok(FiringGroup {
                    receiver: row.get(0)?,
                    by_rank: ranks(row, 1)?,
                    title: row.get(4)?,
                    heard_at: optional_time(row, 5)?.unwrap_or_default(),
                })
            })?;
            rows.collect()
        })
        .await
    }

    /// What is known of the watchdog.
    pub(in crate::store) async fn watchdog(self: &Arc<Self>) -> Result<WatchdogState, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached("SELECT last_heard_at, alarmed_at FROM watchdog")?;
            let state = select.query_row([], |row| {
                Ok(WatchdogState { last_heard_at: optional_time(row, 0)?, alarmed_at: optional_time(row, 1)? })
            });
            Ok(state.optional()?.unwrap_or_default())
        })
        .await
    }

    /// Groups with critical alerts that wait at every one of these destinations since `before`, and that
    /// nobody was called about yet.
    pub(in crate::store) async fn unreached(
        self: &Arc<Self>,
        destinations: Vec<String>,
        before: Timestamp,
    ) -> Result<Vec<i64>, StoreError> {
        self.read(move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT d.group_seq FROM deliveries d JOIN alert_groups g ON g.seq = d.group_seq
                 WHERE d.destination = ?1 AND d.queued_at <= ?2 AND d.kind = 'group' AND d.escalated = 0
                       AND g.firing_critical > 0",
            )?;
            let mut common: Option<HashSet<i64>> = None;
            for destination in &destinations {
                let rows = select.query_map(params![destination, before.as_millisecond()], |row| row.get(0))?;
                let waiting = rows.collect::<rusqlite::Result<HashSet<i64>>>()?;
                common = Some(match common {
                    None => waiting,
                    Some(common) => common.intersection(&waiting).copied().collect(),
                });
            }
            let mut groups: Vec<_> = common.unwrap_or_default().into_iter().collect();
            groups.sort_unstable();
            groups.truncate(UNREACHED_STEP);
            Ok(groups)
        })
        .await
    }
}

fn count(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(index)?).unwrap_or(0))
}

fn ranks(row: &Row<'_>, index: usize) -> rusqlite::Result<[u64; 3]> {
    Ok([count(row, index)?, count(row, index + 1)?, count(row, index + 2)?])
}

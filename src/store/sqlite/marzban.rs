//! Events of a Marzban panel inside the writer's transaction.

use std::time::Duration;

use rusqlite::params;

use super::apply::{Transaction, milliseconds};
use crate::domain::delivery::{NewContent, NewDelivery};
use crate::domain::marzban::Received;
use crate::domain::notice::Notice;

/// The panel repeats an event for nine minutes.
const REMEMBERED: Duration = Duration::from_hours(1);

impl Transaction<'_> {
    /// Keeps what is new among events, and lets these destinations know; says for each whether it is new.
    pub(super) fn keep_events(&mut self, events: &[Received], destinations: &[String]) -> rusqlite::Result<Vec<bool>> {
        let mut known = self.connection().prepare_cached("SELECT 1 FROM marzban_events WHERE digest = ?1")?;
        let mut keep =
            self.connection().prepare_cached("INSERT INTO marzban_events (digest, received_at) VALUES (?1, ?2)")?;
        let now = self.now().as_millisecond();
        let mut are_new = Vec::with_capacity(events.len());
        for received in events {
            // One that was not sent before is new, whatever it equals: a name may be deleted twice.
            let is_new = !received.repeated || !known.exists([received.digest])?;
            if is_new {
                keep.execute(params![received.digest, now])?;
            }
            are_new.push(is_new);
        }
        let news = events.iter().zip(&are_new).filter(|(_, is_new)| **is_new);
        let news: Vec<_> = news.map(|(received, _)| received.event.clone()).collect();
        if !news.is_empty() {
            let notice = Notice::of_events(news);
            for destination in destinations {
                let content = NewContent::Notice(notice.clone());
                self.enqueue_new(&NewDelivery { destination: destination.clone(), content })?;
            }
        }
        Ok(are_new)
    }

    /// Forgets events that are not repeated any more, at most `limit`.
    pub(super) fn forget_events(&self, limit: usize) -> rusqlite::Result<()> {
        let before = self.now().as_millisecond().saturating_sub(milliseconds(REMEMBERED));
        // They were kept in the order of their places.
        let mut forget = self.connection().prepare_cached(
            "DELETE FROM marzban_events WHERE seq IN
                 (SELECT seq FROM (SELECT seq, received_at FROM marzban_events ORDER BY seq LIMIT ?2)
                  WHERE received_at < ?1)",
        )?;
        forget.execute(params![before, i64::try_from(limit).unwrap_or(i64::MAX)])?;
        Ok(())
    }
}

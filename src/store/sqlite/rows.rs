//! Tasks as rows.

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::domain::task::{Finish, Outcome, Source, Task, TaskId};

/// A task with its place in the table.
#[derive(Debug)]
pub(super) struct StoredTask {
    pub(super) seq: i64,
    pub(super) task: Task,
    /// Whether its pingback is not yet counted as expected.
    pub(super) pingback_due: bool,
}

/// Finds a task by its id.
pub(super) fn find(connection: &Connection, id: &TaskId) -> rusqlite::Result<Option<StoredTask>> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, registered, account, captcha, submitted_at, finished_at, source, pingback_due_at, error, code,
                created_at
         FROM tasks WHERE id = ?1",
    )?;
    statement.query_row([id.as_str()], |row| read(row, id)).optional()
}

fn read(row: &Row<'_>, id: &TaskId) -> rusqlite::Result<StoredTask> {
    let optional_text = |index: usize| row.get_ref(index)?.as_str_or_null().map_err(rusqlite::Error::from);
    let outcome = match (optional_text(9)?, optional_text(8)?) {
        (Some(code), _) => Some(Outcome::Solved(code.into())),
        (None, error) => error.map(|error| Outcome::Failed(error.into())),
    };
    let mut claim = None;
    let finish = match optional_time(row, 5)? {
        None => {
            let at = optional_time(row, 10)?.unwrap_or_default();
            claim = outcome.map(|outcome| Finish { outcome, at, source: Source::Pingback });
            None
        }
        Some(at) => {
            let outcome = outcome.unwrap_or_else(|| Outcome::Failed("".into()));
            let source = optional_text(6)?.and_then(Source::parse);
            let source = source.ok_or_else(|| rusqlite::Error::InvalidColumnType(6, "source".into(), Type::Text))?;
            Some(Finish { outcome, at, source })
        }
    };
    let task = Task {
        id: id.clone(),
        account: optional_text(2)?.map(Arc::from),
        captcha: Arc::from(row.get_ref(3)?.as_str()?),
        submitted_at: optional_time(row, 4)?,
        registered: row.get(1)?,
        finish,
        claim,
    };
    Ok(StoredTask { seq: row.get(0)?, task, pingback_due: optional_time(row, 7)?.is_some() })
}

/// Reads a time that may be absent.
pub(super) fn optional_time(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Timestamp>> {
    let Some(milliseconds) = row.get::<_, Option<i64>>(index)? else { return Ok(None) };
    let time = Timestamp::from_millisecond(milliseconds);
    time.map(Some).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(index, milliseconds))
}

/// Reads a text of a closed set.
pub(super) fn column<T>(row: &Row<'_>, index: usize, parse: impl FnOnce(&str) -> Option<T>) -> rusqlite::Result<T> {
    let parsed = parse(row.get_ref(index)?.as_str()?);
    parsed.ok_or_else(|| rusqlite::Error::InvalidColumnType(index, "a closed set".into(), Type::Text))
}

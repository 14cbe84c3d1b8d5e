//! `/api/v1/dead-letters`: what was given up is listed, tried again and discarded.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::error::{Failure, not_found};
use super::state::Shared;
use crate::domain::dead_letter::{DeadLetter, Retried};
use crate::domain::time::format_timestamp;

const DEFAULT_LIMIT: usize = 100;
const MOST: usize = 1000;

/// Lists letters, oldest first.
pub(super) async fn list(State(state): State<Shared>, RawQuery(query): RawQuery) -> Result<Response, Failure> {
    let (limit, after) = page(query.as_deref().unwrap_or_default()).map_err(Failure::bad_request)?;
    // One more than asked for tells whether there are more.
    let mut letters = state.store.dead_letters(after, limit + 1).await?;
    let has_more = letters.len() > limit;
    letters.truncate(limit);
    let next = letters.last().filter(|_| has_more).map(|letter| letter.id.to_string());
    Ok(answer(&json!({ "dead_letters": letters.iter().map(show).collect::<Vec<_>>(), "next": next })))
}

/// Tries one again.
pub(super) async fn retry(
    State(state): State<Shared>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    let retried = retry_one(&state, number(id)?).await?;
    Ok(answer(&json!({ "retried": retried })))
}

/// Tries all again that can be.
pub(super) async fn retry_all(State(state): State<Shared>) -> Result<Response, Failure> {
    let Retried { sources, refused, .. } = retry_everything(&state).await?;
    Ok(answer(&json!({ "retried": sources.len(), "refused": refused.len() })))
}

/// Discards one.
pub(super) async fn discard(
    State(state): State<Shared>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    discard_one(&state, number(id)?).await?;
    Ok(answer(&json!({ "deleted": 1 })))
}

/// Tries one again; returns how many that were.
pub(super) async fn retry_one(state: &Shared, id: i64) -> Result<usize, Failure> {
    let retried = state.store.retry_dead_letter(id, state.config().destinations()).await?;
    if let Some(why) = retried.refused.first() {
        return Err(Failure::new(StatusCode::CONFLICT, *why));
    }
    if retried.sources.is_empty() {
        return Err(not_found());
    }
    count(state, &retried.sources, "replayed");
    Ok(retried.sources.len())
}

/// Tries all again.
pub(super) async fn retry_everything(state: &Shared) -> Result<Retried, Failure> {
    let retried = state.store.retry_dead_letters(state.config().destinations(), false).await?;
    count(state, &retried.sources, "replayed");
    Ok(retried)
}

/// Discards one.
pub(super) async fn discard_one(state: &Shared, id: i64) -> Result<(), Failure> {
    let source = state.store.discard_dead_letter(id).await?.ok_or_else(not_found)?;
    count(state, &[source], "discarded");
    Ok(())
}

fn count(state: &Shared, sources: &[String], how: &str) {
    for source in sources {
        state.metrics.dead_letters_removed.with_label_values(&[source.as_str(), how]).inc();
    }
}

/// An id that no letter can have is unknown, too.
fn number(id: Result<Path<String>, PathRejection>) -> Result<i64, Failure> {
    id.ok().and_then(|Path(id)| id.parse().ok()).ok_or_else(not_found)
}

fn page(query: &str) -> Result<(usize, i64), String> {
    let value = |wanted: &str| form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == wanted).last();
    let limit = match value("limit") {
        None => DEFAULT_LIMIT,
        Some((_, text)) => {
            let limit = text.parse().ok().filter(|limit| (1..=MOST).contains(limit));
            limit.ok_or_else(|| format!("limit: expected a number from 1 to {MOST}"))?
        }
    };
    let after = match value("after") {
        None => 0,
        Some((_, text)) => text.parse().map_err(|_| "after: expected the value of next of the page before")?,
    };
    Ok((limit, after))
}

fn show(letter: &DeadLetter) -> Value {
    json!({
        "id": letter.id.to_string(),
        "source": letter.source,
        "reason": letter.reason,
        "added_at": format_timestamp(letter.added_at),
        "attempts": letter.attempts,
        "last_error": letter.last_error,
        "payload": letter.payload,
    })
}

fn answer(body: &Value) -> Response {
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body.to_string()).into_response()
}

#[cfg(test)]
pub(in crate::http) mod tests;

//! `POST /api/v1/tasks` and `GET /api/v1/tasks/ID`.

use std::borrow::Cow;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use serde::Serialize;

use super::body::{self, MAX_BODY};
use super::error::{Failure, not_found};
use super::registrations::{Parsed, parse_tasks};
use super::state::Shared;
use crate::domain::task::{Finish, Task, TaskId};
use crate::domain::time::{format_timestamp, parse_duration};

/// The longest that a request is held.
const MAX_WAIT: Duration = Duration::from_mins(1);

/// Characters of a value that an error message repeats at most.
const MAX_SHOWN: usize = 100;

/// Keeps the tasks that a client submitted, and counts the submissions that CaptchaAI refused.
pub(super) async fn register(State(state): State<Shared>, request: Request) -> Result<impl IntoResponse, Failure> {
    let received = body::read(&state, request.into_body(), MAX_BODY).await?;
    let parsed = parse_tasks(&received.bytes, &state.config(), state.clock.now());
    let Parsed { registrations, refused } = parsed.map_err(|fault| Failure::bad_request(fault.0))?;
    let accepted = registrations.len() + refused.len();
    if !registrations.is_empty() {
        state.store.register(registrations).await?;
    }
    for (account, code) in refused {
        state.metrics.submit_errors.with_label_values(&[&*account, code]).inc();
    }
    Ok(([(CONTENT_TYPE, "application/json")], format!("{{\"accepted\":{accepted}}}")))
}

/// Shows a task, at once or as soon as it has ended.
pub(super) async fn show(
    State(state): State<Shared>,
    id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<impl IntoResponse, Failure> {
    let wait = wait(query.as_deref().unwrap_or_default()).map_err(Failure::bad_request)?;
    // An id that no task can have is unknown, too.
    let id = id.ok().and_then(|Path(id)| TaskId::parse(&id)).ok_or_else(not_found)?;
    let task = match wait {
        Duration::ZERO => state.store.task(&id).await?,
        wait => state.store.wait_for_end(&id, wait, &state.stop).await?,
    };
    let task = task.ok_or_else(not_found)?;
    let body = serde_json::to_vec(&View::of(&task)).map_err(|_| Failure::internal())?;
    // A solution is of no use to a cache, and nobody else's.
    Ok(([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body))
}

/// Reads `wait` from a query: a duration or a bare number of seconds.
fn wait(query: &str) -> Result<Duration, String> {
    let Some((_, text)) = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "wait").last() else {
        return Ok(Duration::ZERO);
    };
    let is_number = text.starts_with(|first: char| first.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let wait = match text.parse::<f64>() {
        Ok(seconds) if is_number => Duration::from_secs_f64(seconds.min(MAX_WAIT.as_secs_f64())),
        // The error repeats the text. Nobody writes a duration that long, and what is cut is none.
        _ => parse_duration(&shortened(&text)).map_err(|error| format!("wait: {error}"))?,
    };
    Ok(wait.min(MAX_WAIT))
}

/// The text, or its first [`MAX_SHOWN`] characters and a mark that something is missing.
fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => Cow::Owned(text.split_at(end).0.to_owned() + "…"),
        None => Cow::Borrowed(text),
    }
}

/// A task as the API shows it: every key is there, whatever is known.
#[derive(Debug, Serialize)]
struct View<'a> {
    id: &'a str,
    account: Option<&'a str>,
    captcha: &'a str,
    status: &'static str,
    code: Option<&'a str>,
    error: Option<&'a str>,
    submitted_at: Option<String>,
    finished_at: Option<String>,
    source: Option<&'static str>,
}

impl<'a> View<'a> {
    fn of(task: &'a Task) -> Self {
        let finish = task.finish.as_ref();
        let code = finish.and_then(|finish| finish.outcome.code());
        let error = finish.and_then(|finish| finish.outcome.error());
        Self {
            id: task.id.as_str(),
            account: task.account.as_deref(),
            captcha: &task.captcha,
            status: match (code, error) {
                (Some(_), _) => "solved",
                (None, Some(_)) => "failed",
                (None, None) => "pending",
            },
            code,
            error,
            submitted_at: task.submitted_at.map(format_timestamp),
            finished_at: finish.map(|finish| format_timestamp(finish.at)),
            source: finish.map(|Finish { source, .. }| source.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::{Fixture, config};
    use serde_json::json;

    #[test]
    fn the_wait_is_a_duration_of_a_minute_at_most() {
        let ms = Duration::from_millis;
        for (query, expected) in [
            ("", Some(ms(0))),
            ("other=1", Some(ms(0))),
            ("wait=0", Some(ms(0))),
            ("wait=30s", Some(ms(30_000))),
            ("wait=500ms", Some(ms(500))),
            ("wait=2", Some(ms(2000))),
            ("wait=1.5", Some(ms(1500))),
            ("wait=60s", Some(MAX_WAIT)),
            ("wait=61s", Some(MAX_WAIT)),
            ("wait=24h", Some(MAX_WAIT)),
            ("wait=99999999999999999999999", Some(MAX_WAIT)),
            ("wait=1&wait=2s", Some(ms(2000))),
            ("wait=%32s", Some(ms(2000))),
            ("wait=", None),
            ("wait", None),
            ("wait=soon", None),
            ("wait=-1", None),
            ("wait=-1s", None),
            ("wait=1.2.3", None),
            ("wait=.", None),
            ("wait=inf", None),
            ("wait=NaN", None),
            ("wait=1e3", None),
        ] {
            assert_eq!(wait(query).ok(), expected, "{query}");
        }
    }

    #[tokio::test]
    async fn a_task_is_shown_with_every_key() {
        let fixture = Fixture::new(config());
        let answer = fixture.post("/api/v1/tasks", r#"{"id":"1","captcha":"bls","worker":"w"}"#).await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, r#"{"accepted":1}"#));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let answer = fixture.get("/api/v1/tasks/1").await;
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let mut expected = json!({"id": "1", "account": "main", "captcha": "bls", "status": "pending", "code": null,
            "error": null, "submitted_at": "2026-01-31T08:30:00.000Z", "finished_at": null, "source": null});
        assert_eq!(answer.json(), expected);
        fixture.clock.advance(jiff::SignedDuration::from_secs(5));
        fixture.get("/pingback?id=1&code=ERROR_CAPTCHA_UNSOLVABLE").await.expect_ok();
        expected["status"] = json!("failed");
        expected["error"] = json!("ERROR_CAPTCHA_UNSOLVABLE");
        expected["finished_at"] = json!("2026-01-31T08:30:05.000Z");
        expected["source"] = json!("pingback");
        assert_eq!(fixture.get("/api/v1/tasks/1").await.json(), expected);
    }

    #[tokio::test]
    async fn what_no_task_can_be_is_not_found() {
        let fixture = Fixture::new(config());
        for id in ["unknown", "not%20an%20id", "%ff", &"1".repeat(65)] {
            for wait in ["", "?wait=60s"] {
                let error = fixture.get(&format!("/api/v1/tasks/{id}{wait}")).await.error(404);
                assert_eq!(error, "not found", "{id}{wait}");
            }
        }
        let error = fixture.get("/api/v1/tasks/1?wait=soon").await.error(400);
        assert!(error.starts_with("wait: \"soon\" is no duration"), "{error}");
    }

    #[test]
    fn a_bad_wait_is_repeated_in_part() {
        for (text, shown) in [
            ("x".repeat(100), "x".repeat(100)),
            ("é".repeat(101), "é".repeat(100) + "…"),
            ("1s".to_owned() + &" ".repeat(60_000) + "x", "1s".to_owned() + &" ".repeat(98) + "…"),
            ("1.".repeat(200), "1.".repeat(50) + "…"),
        ] {
            let error = wait(&format!("wait={text}")).unwrap_err();
            assert!(error.starts_with(&format!("wait: \"{shown}\" is no duration;")), "{error}");
        }
    }

    #[tokio::test]
    async fn a_long_poll_ends_with_the_task_or_with_the_program() {
        let fixture = Fixture::new(config());
        fixture.post("/api/v1/tasks", r#"[{"id":"1"},{"id":"2"}]"#).await;
        let finish = fixture.get("/pingback?id=1&code=x");
        let (answer, _) = tokio::join!(fixture.get("/api/v1/tasks/1?wait=60s"), finish);
        assert_eq!(answer.json()["code"], "x");
        let stop = async { fixture.stop.cancel() };
        let (answer, ()) = tokio::join!(fixture.get("/api/v1/tasks/2?wait=60s"), stop);
        assert_eq!(answer.json()["status"], "pending");
    }

    #[tokio::test]
    async fn refusals_are_counted_when_the_tasks_are_kept() {
        let fixture = Fixture::new(config());
        let body = r#"[{"id":"1"},{"error":"ERROR_ZERO_BALANCE"}]"#;
        assert_eq!(fixture.post("/api/v1/tasks", body).await.text(), r#"{"accepted":2}"#);
        assert_eq!(fixture.post("/api/v1/tasks", "[]").await.text(), r#"{"accepted":0}"#);
        fixture.post("/api/v1/tasks", r#"[{"error":"ERROR_ZERO_BALANCE"},{}]"#).await.error(400);
        let series = r#"captchaai_submit_errors_total{account="main",code="ERROR_ZERO_BALANCE"}"#;
        assert_eq!(fixture.sample(series).await, Some(1.0));
        fixture.store.close().await;
        let answer = fixture.post("/api/v1/tasks", body).await;
        assert_eq!(
            (answer.error(503).as_str(), answer.header("retry-after")),
            ("the store cannot be used now", Some("1"))
        );
        assert_eq!(fixture.sample(series).await, Some(1.0));
    }

    #[tokio::test]
    async fn a_body_is_four_mebibytes_at_most() {
        let fixture = Fixture::new(config());
        let body = |length: usize| format!("[]{}", " ".repeat(length - 2));
        assert_eq!(fixture.post("/api/v1/tasks", body(MAX_BODY)).await.status, 200);
        fixture.post("/api/v1/tasks", body(MAX_BODY + 1)).await.error(413);
    }
}

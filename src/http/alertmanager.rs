//! `POST /alertmanager[/RECEIVER]` and `POST /alertmanager/watchdog`: takes Alertmanager's notifications.
//! It repeats only what is answered with a 5xx, so a 4xx is for what is no use to anybody.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::body::{self, MAX_BODY};
use super::error::{Failure, not_found};
use super::state::Shared;
use crate::config::{Config, Receiver};
use crate::domain::notification::{self, Parsed, Rubbish};
use crate::store::Heard;

/// The receiver of `/alertmanager` without a name.
const DEFAULT_RECEIVER: &str = "default";

/// Longer bodies are read on a thread for such work, not between other requests.
const LONG_BODY: usize = 64 << 10;

/// Takes a notification at `/alertmanager`.
pub(super) async fn plain(State(state): State<Shared>, request: Request) -> Result<Response, Failure> {
    take(&state, None, request).await
}

/// Takes a notification at `/alertmanager/RECEIVER`.
pub(super) async fn with_receiver(
    State(state): State<Shared>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Failure> {
    // A name that is no text is none of ours.
    let name = name.map(|Path(name)| name).unwrap_or_default();
    take(&state, Some(&name), request).await
}

/// Keeps that the alerting pipeline is alive. What the notification says does not matter.
pub(super) async fn watchdog(State(state): State<Shared>, request: Request) -> Result<Response, Failure> {
    // Read all the same, so that the connection can be used again.
    body::read(&state, request.into_body(), MAX_BODY).await?;
    state.store.hear_watchdog().await?;
    Ok(accepted(0))
}

async fn take(state: &Shared, name: Option<&str>, request: Request) -> Result<Response, Failure> {
    let refuse = |reason| refused(state, reason, name);
    let config = state.config();
    let Some(receiver) = receiver(&config, name) else {
        refuse("receiver");
        return Err(not_found());
    };
    let body = match body::read(state, request.into_body(), MAX_BODY).await {
        Ok(body) => body,
        Err(failure) => {
            refuse(reason_of(&failure));
            return Err(failure);
        }
    };
    let (parsed, _turn) = read(state, body.bytes.clone(), receiver).await?;
    let (heard, odd) = match parsed {
        Ok(heard) => heard,
        Err(rubbish) => {
            refuse("unreadable");
            return Err(Failure::bad_request(rubbish.to_string()));
        }
    };
    if odd > 0 {
        tracing::warn!(receiver = receiver.name, alerts = odd, "a notification has alerts that cannot be read whole");
    }
    match state.store.hear(heard).await {
        Ok(deliveries) => {
            state.metrics.alert_notifications.with_label_values(&[&receiver.name]).inc();
            Ok(accepted(deliveries))
        }
        Err(error) => {
            refuse("unavailable");
            Err(error.into())
        }
    }
}

/// Counts a notification that is refused. Alertmanager does not repeat it, unless the store was the reason.
pub(super) fn refused(state: &Shared, reason: &'static str, receiver: Option<&str>) {
    state.metrics.alert_notifications_rejected.with_label_values(&[reason]).inc();
    tracing::warn!(reason, receiver, "refused a notification of Alertmanager");
}

/// The receiver with this name; without one the default, or the only one there is.
fn receiver<'c>(config: &'c Config, name: Option<&str>) -> Option<&'c Receiver> {
    let named = |name: &str| config.receivers.iter().find(|receiver| receiver.name == name);
    match (name, config.receivers.as_slice()) {
        (Some(name), _) => named(name),
        (None, [only]) => Some(only),
        (None, _) => named(DEFAULT_RECEIVER),
    }
}

type Read = Result<(Heard, usize), Rubbish>;

/// Long bodies take turns until they are kept: what is made of one takes many times its length.
async fn read(
    state: &Shared,
    bytes: Bytes,
    receiver: &Receiver,
) -> Result<(Read, Option<OwnedSemaphorePermit>), Failure> {
    let (name, routes, now) = (receiver.name.clone(), receiver.routes(), state.clock.now());
    let is_long = bytes.len() > LONG_BODY;
    let read = move || {
        let Parsed { group, odd } = notification::parse(&bytes, &name, now)?;
        Ok((Heard::new(group, routes), odd))
    };
    if !is_long {
        return Ok((read(), None));
    }
    let turn = Arc::clone(state.notifications()).acquire_owned().await.map_err(|_| Failure::internal())?;
    // It goes along, because the client may leave while its body is still being read.
    let reading = tokio::task::spawn_blocking(move || (read(), Some(turn)));
    reading.await.map_err(|_| Failure::internal())
}

fn reason_of(failure: &Failure) -> &'static str {
    match failure.status() {
        StatusCode::PAYLOAD_TOO_LARGE => "too_large",
        StatusCode::REQUEST_TIMEOUT => "timeout",
        status if status.is_server_error() => "unavailable",
        _ => "unreadable",
    }
}

fn accepted(deliveries: usize) -> Response {
    ([(CONTENT_TYPE, "application/json")], format!("{{\"deliveries\":{deliveries}}}")).into_response()
}

#[cfg(test)]
mod tests;

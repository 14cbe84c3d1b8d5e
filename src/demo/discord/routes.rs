//! The HTTP side of the simulated Discord.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::service::{Call, Reply};
use super::state::Action;
use super::{Shared, page};
use crate::demo::{fault, page as frame};

pub(super) fn router(shared: Arc<Shared>, stop: CancellationToken) -> Router {
    Router::new().route("/", get(show).fallback(respond)).fallback(respond).with_state((shared, stop))
}

/// Shows people the channel. It is none of Discord's requests, and is not counted.
async fn show(State((shared, _)): State<(Arc<Shared>, CancellationToken)>) -> Response {
    let now = shared.clock.now();
    frame::respond(page::TITLE, page::STYLE, &shared.state.read(|state| page::render(state, now)))
}

async fn respond(
    State((shared, stop)): State<(Arc<Shared>, CancellationToken)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let call = read(&method, &uri, &headers, &body);
    let now = shared.clock.now();
    let (number, fault) = shared.state.change(|state| state.arrived(&call, now));
    let right_answer = || {
        let now = shared.clock.now();
        write(shared.state.change(|state| state.answer(number, &call, now)))
    };
    fault::meet(fault, &stop, right_answer).await
}

fn read(method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Call {
    let mut parts = uri.path().trim_start_matches('/').split('/').peekable();
    let is_api = parts.next() == Some("api");
    parts.next_if(|part| part.strip_prefix('v').is_some_and(|version| version.parse::<u8>().is_ok()));
    let parts: Vec<&str> = parts.collect();
    let (webhook_id, token, message_id) = match parts.as_slice() {
        ["webhooks", id, token] if is_api => (*id, *token, None),
        ["webhooks", id, token, "messages", message] if is_api => (*id, *token, Some((*message).to_owned())),
        _ => ("", "", None),
    };
    let action = match (method.as_str(), message_id.is_some(), webhook_id) {
        (_, _, "") => Action::Other,
        ("POST", false, _) => Action::Post,
        ("PATCH", true, _) => Action::Edit,
        ("GET", true, _) => Action::Get,
        ("DELETE", true, _) => Action::Delete,
        _ => Action::Other,
    };
    let path = match &message_id {
        _ if webhook_id.is_empty() => uri.path().to_owned(),
        None => format!("/api/webhooks/{webhook_id}/TOKEN"),
        Some(message) => format!("/api/webhooks/{webhook_id}/TOKEN/messages/{message}"),
    };
    let query = uri.query().unwrap_or_default();
    let wait = form_urlencoded::parse(query.as_bytes()).any(|(name, value)| name == "wait" && value == "true");
    Call {
        action,
        line: format!("{method} {path}"),
        webhook_id: webhook_id.to_owned(),
        token: token.to_owned(),
        message_id,
        wait,
        body: read_body(action, headers, body),
    }
}

/// The body as JSON. What is sent as something else is read as a form without fields, as Discord does.
fn read_body(action: Action, headers: &HeaderMap, body: &Bytes) -> Option<Value> {
    if !matches!(action, Action::Post | Action::Edit) {
        return Some(Value::Null);
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if content_type.starts_with("application/json") { serde_json::from_slice(body).ok() } else { Some(json!({})) }
}

fn write(reply: Reply) -> Response {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = match reply.body {
        Some(body) => ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    };
    *response.status_mut() = status;
    for (name, value) in reply.headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

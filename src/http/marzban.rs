//! `POST /marzban`: takes user events of a Marzban panel. It has no time-out of its own and repeats what is
//! not answered with a status below 400, so it is answered at once, and never sent elsewhere.

use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::ExposeSecret;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::auth::same;
use super::body::{self, MAX_BODY};
use super::error::{Failure, not_found};
use super::state::Shared;
use crate::config::{Config, Marzban, Receiver, Signature};
use crate::domain::marzban::parse;

const HEADER: &str = "x-webhook-secret";

/// Takes events.
pub(super) async fn events(State(state): State<Shared>, request: Request) -> Result<Response, Failure> {
    let config = state.config();
    let marzban = config.marzban.as_ref().ok_or_else(not_found)?;
    let (parts, body) = request.into_parts();
    let body = body::read(&state, body, MAX_BODY).await?;
    if !is_known(marzban, &parts.headers, &body.bytes) {
        return Err(Failure::new(StatusCode::FORBIDDEN, "missing or wrong x-webhook-secret"));
    }
    let events = parse(&body.bytes).map_err(Failure::bad_request)?;
    let actions: Vec<_> = events.iter().map(|received| received.event.action.clone()).collect();
    let are_new = state.store.keep_events(events, destinations(&config, marzban)).await?;
    let mut accepted = 0;
    for (action, _) in actions.iter().zip(&are_new).filter(|(_, is_new)| **is_new) {
        accepted += 1;
        state.metrics.marzban_events.with_label_values(&[action]).inc();
    }
    let answer = format!("{{\"accepted\":{accepted},\"duplicates\":{}}}", are_new.len() - accepted);
    Ok(([(CONTENT_TYPE, "application/json")], answer).into_response())
}

/// Whose messages tell of events.
fn destinations(config: &Config, marzban: &Marzban) -> Vec<String> {
    let receiver = config.receivers.iter().find(|receiver| Some(&receiver.name) == marzban.receiver.as_ref());
    receiver.map(Receiver::messages).unwrap_or_default()
}

/// Whether the sender knows the secret. Panels send it in the clear; a signature is accepted where it is
/// asked for, and the secret itself then too.
fn is_known(marzban: &Marzban, headers: &HeaderMap, body: &[u8]) -> bool {
    let Some(secret) = &marzban.secret else { return true };
    let Some(given) = headers.get(HEADER) else { return false };
    let is_secret = same(given.as_bytes(), secret);
    let is_signature =
        marzban.signature == Signature::Hmac && is_signed(given.as_bytes(), secret.expose_secret(), body);
    is_secret || is_signature
}

fn is_signed(given: &[u8], secret: &str, body: &[u8]) -> bool {
    // A key of any length will do.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return false };
    mac.update(body);
    let expected = format!("{:x}", Bytes::copy_from_slice(&mac.finalize().into_bytes()));
    given.to_ascii_lowercase().ct_eq(expected.as_bytes()).into()
}

#[cfg(test)]
mod tests;

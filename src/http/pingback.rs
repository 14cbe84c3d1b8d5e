//! `GET` and `POST /pingback[/TOKEN]`: takes a result from CaptchaAI. A failed delivery may never be
//! repeated, so whatever can be used is kept.

use std::net::IpAddr;
use std::time::Instant;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;
use secrecy::SecretString;

use super::auth::same;
use super::body::{self, MAX_PINGBACK_BODY};
use super::client::{self, Peer};
use super::error::{Failure, not_found};
use super::parameters::{Fields, parse_body, parse_query};
use super::state::Shared;
use crate::config::{self, Config, UnknownPingback};
use crate::domain::captcha;
use crate::domain::error_code::NOT_READY;
use crate::domain::task::{MAX_CODE_BYTES, Outcome, Pingback, TaskId};
use crate::domain::time::parse_timestamp;

/// Takes a result at `/pingback`.
pub(super) async fn plain(State(state): State<Shared>, request: Request) -> Result<&'static str, Failure> {
    take(&state, None, request).await
}

/// Takes a result at `/pingback/TOKEN`.
pub(super) async fn with_token(
    State(state): State<Shared>,
    token: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<&'static str, Failure> {
    // A token that is no text is none of ours; no configured token is empty.
    let token = token.map(|Path(token)| token).unwrap_or_default();
    take(&state, Some(&token), request).await
}

async fn take(state: &Shared, token: Option<&str>, request: Request) -> Result<&'static str, Failure> {
    let arrived = Instant::now();
    state.metrics.pingbacks.inc();
    let config = state.config();
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip());
    let refuse = |rejection: Rejection| {
        state.metrics.pingbacks_rejected.with_label_values(&[rejection.label()]).inc();
        // A flood of them must not fill the disk.
        tracing::debug!(reason = rejection.label(), peer = ?peer, "refused a pingback");
        rejection.answer()
    };

    check_sender(&config, peer, request.headers(), token).map_err(refuse)?;
    let (parts, body) = request.into_parts();
    let query = parse_query(parts.uri.query().unwrap_or_default().as_bytes());
    let pingback = if parts.method == Method::POST {
        match body::read(state, body, MAX_PINGBACK_BODY).await {
            Ok(received) => understand(&config, &parse_body(&received.bytes).or(query), state.clock.now()),
            // A body that cannot be had costs nothing when the query says it all.
            Err(failure) => {
                let pingback = understand(&config, &query, state.clock.now());
                if pingback.is_err() {
                    if failure.is_clients_fault() {
                        refuse(Rejection::NoCode);
                    }
                    return Err(failure);
                }
                pingback
            }
        }
    } else {
        understand(&config, &query, state.clock.now())
    };
    state.store.keep_pingback(pingback.map_err(refuse)?, arrived).await?;
    Ok("OK")
}

/// Why a pingback is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rejection {
    Address,
    Token,
    BadId,
    NoCode,
}

impl Rejection {
    /// One of `metrics::PINGBACK_REJECTIONS`.
    fn label(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Token => "token",
            Self::BadId => "bad_id",
            Self::NoCode => "no_code",
        }
    }

    fn answer(self) -> Failure {
        match self {
            Self::Address => Failure::new(StatusCode::FORBIDDEN, "address not allowed"),
            // Tells no more than an unknown path does.
            Self::Token => not_found(),
            Self::BadId => Failure::bad_request("id: expected 1 to 64 of A-Z a-z 0-9 _ -"),
            Self::NoCode => Failure::bad_request(format!("code: expected a result of 1 to {MAX_CODE_BYTES} bytes")),
        }
    }
}

fn check_sender(
    config: &Config,
    peer: Option<IpAddr>,
    headers: &HeaderMap,
    token: Option<&str>,
) -> Result<(), Rejection> {
    let allowed = &config.pingback.allow_from;
    if !allowed.is_empty() {
        let client = peer.and_then(|peer| client::address(peer, headers, &config.web.trusted_proxies));
        if !client.is_some_and(|client| client::contains(allowed, client)) {
            return Err(Rejection::Address);
        }
    }
    if token_fits(config.pingback.token.as_ref(), token) { Ok(()) } else { Err(Rejection::Token) }
}

/// Where no token is configured, any is accepted: URLs that were handed out under an earlier
/// configuration must not lose their results.
fn token_fits(configured: Option<&SecretString>, given: Option<&str>) -> bool {
    configured.is_none_or(|configured| given.is_some_and(|given| same(given.as_bytes(), configured)))
}

/// What the fields mean. Only the id and the code are needed: what else cannot be used is ignored.
fn understand(config: &Config, fields: &Fields<'_>, now: Timestamp) -> Result<Pingback, Rejection> {
    let id = fields.id.as_deref().unwrap_or_default();
    let id = TaskId::parse(id.trim_ascii()).ok_or(Rejection::BadId)?;
    let code = fields.code.as_deref().unwrap_or_default();
    // The first result wins, so what is none must not be kept: the real one may still come.
    if code.is_empty() || code.len() > MAX_CODE_BYTES || code.trim_ascii() == NOT_READY {
        return Err(Rejection::NoCode);
    }
    let captcha = fields.captcha.as_deref().map_or(captcha::OTHER, |name| config.captchas.label(name));
    let account = match (&fields.account, config.accounts.as_slice()) {
        (_, [only]) => Some(only),
        (Some(name), accounts) => accounts.iter().find(|account| *account.name == **name),
        (None, _) => None,
    };
    Ok(Pingback {
        id,
        outcome: Outcome::from_code(code),
        received_at: now,
        account: account.map(|account: &config::Account| account.name.clone()),
        captcha: captcha.into(),
        submitted_at: fields.ts.as_deref().and_then(|ts| parse_timestamp(ts).ok()),
        // Without an account there is nobody to ask.
        verify: config.pingback.unknown == UnknownPingback::Verify && !config.accounts.is_empty(),
    })
}

#[cfg(test)]
mod tests;

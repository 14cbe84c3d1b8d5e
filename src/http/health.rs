//! `GET /-/healthy` and `GET /-/ready`.

use axum::extract::State;

use super::error::Failure;
use super::state::Shared;

/// The process answers.
pub(super) async fn healthy() -> &'static str {
    "OK"
}

/// The store can be written.
pub(super) async fn ready(State(state): State<Shared>) -> Result<&'static str, Failure> {
    match state.store.write_failure() {
        None => Ok("OK"),
        Some(reason) => Err(Failure::unavailable(reason)),
    }
}

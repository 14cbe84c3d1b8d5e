//! `POST /-/reload`.

use axum::extract::State;
use tokio::sync::oneshot;

use super::error::Failure;
use super::state::Shared;

/// Asks for the configuration to be read again and waits for what came of it.
pub(super) async fn reload(State(state): State<Shared>) -> Result<&'static str, Failure> {
    let stopping = || Failure::unavailable("the program is stopping");
    let (answer, answered) = oneshot::channel();
    state.reload.send(answer).await.map_err(|_| stopping())?;
    match answered.await {
        Ok(Ok(())) => Ok("OK"),
        Ok(Err(faults)) => Err(Failure::bad_request(faults.join("\n"))),
        Err(_) => Err(stopping()),
    }
}

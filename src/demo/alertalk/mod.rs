//! An Alertalk on this machine, which calls nobody: for the demonstration, for tests and for benchmarks.

mod page;
mod rules;
mod state;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State as Extracted;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::serving::{Serving, StartError, Watched};
use super::{fault, page as frame};
use crate::domain::clock::{SharedClock, SystemClock};

pub use rules::Violation;
pub use state::{Call, Counts, State};

pub use crate::demo::fault::Fault;

/// What the simulated Alertalk is like.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens; port 0 is any free port.
    pub listen: SocketAddr,
    /// The key that it accepts.
    pub key: String,
    /// The credits at first; a call to one number costs one.
    pub credits: u64,
    /// How many calls and how many violations are remembered.
    pub keep: usize,
    /// Where the time comes from.
    pub clock: SharedClock,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            key: "simulated-alertalk-key".to_owned(),
            credits: 100,
            keep: 10_000,
            clock: Arc::new(SystemClock),
        }
    }
}

/// What was waited for did not happen in time.
#[derive(Debug, thiserror::Error)]
#[error("waited in vain; what happened: {0:?}")]
pub struct WaitedInVain(Counts);

#[derive(Debug)]
struct Shared {
    state: Watched<State>,
    clock: SharedClock,
}

/// A running simulated Alertalk. It stops when this is dropped.
#[derive(Debug)]
pub struct SimulatedAlertalk {
    serving: Serving,
    shared: Arc<Shared>,
}

impl SimulatedAlertalk {
    /// Starts it.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let shared = Arc::new(Shared { state: Watched::new(State::new(&options)), clock: options.clock });
        let serving = Serving::start("Alertalk", options.listen, |stop| router(Arc::clone(&shared), stop)).await?;
        Ok(Self { serving, shared })
    }

    /// Where calls are asked for.
    pub fn url(&self) -> String {
        format!("http://{}/webhook/receive", self.serving.address())
    }

    /// Where people see the calls.
    pub fn page_url(&self) -> String {
        format!("http://{}/", self.serving.address())
    }

    /// Accepts another key from now on.
    pub fn set_key(&self, key: &str) {
        self.shared.state.change(|state| key.clone_into(&mut state.key));
    }

    /// Sets the credits that are left.
    pub fn set_credits(&self, credits: u64) {
        self.shared.state.change(|state| state.credits = credits);
    }

    /// The credits that are left.
    pub fn credits(&self) -> u64 {
        self.shared.state.read(|state| state.credits)
    }

    /// Lets the next `times` requests meet this fault, after those scripted before.
    pub fn script(&self, fault: &Fault, times: usize) {
        self.shared.state.change(|state| state.script(fault, times));
    }

    /// The last requests that were taken, oldest first.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.state.read(|state| state.calls.iter().cloned().collect())
    }

    /// What a careful client would not have asked for, oldest first.
    pub fn violations(&self) -> Vec<Violation> {
        self.shared.state.read(|state| state.violations.iter().cloned().collect())
    }

    /// How often things have happened.
    pub fn counts(&self) -> Counts {
        self.shared.state.read(|state| state.counts)
    }

    /// Waits until `condition` holds for what has happened, for 20 seconds at most.
    pub async fn wait_until(&self, condition: impl FnMut(&State) -> bool) -> Result<Counts, WaitedInVain> {
        let happened = self.shared.state.wait_until(condition).await;
        if happened { Ok(self.counts()) } else { Err(WaitedInVain(self.counts())) }
    }

    /// Stops it, and waits until nothing of it runs any more.
    pub async fn stop(self) {
        self.serving.stop().await;
    }
}

fn router(shared: Arc<Shared>, stop: CancellationToken) -> Router {
    Router::new()
        .route("/", get(show).fallback(other))
        .route("/webhook/receive", post(receive))
        .fallback(other)
        .with_state((shared, stop))
}

/// Shows people the calls. It is none of Alertalk's requests, and is not counted.
async fn show(Extracted((shared, _)): Extracted<(Arc<Shared>, CancellationToken)>) -> Response {
    let now = shared.clock.now();
    frame::respond(page::TITLE, page::STYLE, &shared.state.read(|state| page::render(state, now)))
}

async fn receive(
    Extracted((shared, stop)): Extracted<(Arc<Shared>, CancellationToken)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let fault = shared.state.change(State::arrived);
    let key = headers.get("x-webhook-key").and_then(|key| key.to_str().ok());
    let right_answer = || {
        let now = shared.clock.now();
        let (status, body) = shared.state.change(|state| state.answer(key, &body, now));
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
    };
    fault::meet(fault, &stop, right_answer).await
}

async fn other(Extracted((shared, _)): Extracted<(Arc<Shared>, CancellationToken)>) -> StatusCode {
    shared.state.change(|state| state.counts.other_requests += 1);
    StatusCode::NOT_FOUND
}

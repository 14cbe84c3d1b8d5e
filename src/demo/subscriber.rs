//! A program of a user's on this machine that gets results: for the demonstration and for tests.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State as Extracted;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::fault::{self, Script};
use super::serving::{Serving, StartError, Watched};

pub use super::fault::Fault;

/// Times in which it does not work, again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outages {
    /// How long it works.
    pub up: Duration,
    /// How long it does not.
    pub down: Duration,
}

impl Outages {
    /// Whether it is down, so long after the start.
    fn is_down(self, since_start: Duration) -> bool {
        let round = (self.up + self.down).as_millis().max(1);
        since_start.as_millis() % round >= self.up.as_millis()
    }
}

/// How often things have happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that arrived, faults included.
    pub requests: u64,
    /// Results that were taken.
    pub taken: u64,
    /// Of these, how many had been taken before.
    pub repeated: u64,
    /// Requests that were refused during an outage.
    pub refused: u64,
    /// Requests that are no result.
    pub malformed: u64,
}

#[derive(Debug)]
struct State {
    counts: Counts,
    ids: BTreeSet<String>,
    script: Script<()>,
    outages: Option<Outages>,
    started: Instant,
}

/// What was waited for did not happen in time.
#[derive(Debug, thiserror::Error)]
#[error("waited in vain; what happened: {0:?}")]
pub struct WaitedInVain(Counts);

/// Ids that are remembered.
const MAX_IDS: usize = 100_000;

/// A running subscriber. It stops when this is dropped.
#[derive(Debug)]
pub struct SimulatedSubscriber {
    serving: Serving,
    state: Arc<Watched<State>>,
}

impl SimulatedSubscriber {
    /// Starts it on a free port.
    pub async fn start(outages: Option<Outages>) -> Result<Self, StartError> {
        let state = State {
            counts: Counts::default(),
            ids: BTreeSet::new(),
            script: Script::default(),
            outages,
            started: Instant::now(),
        };
        let state = Arc::new(Watched::new(state));
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let shared = Arc::clone(&state);
        let serving = Serving::start("subscriber", listen, |stop| {
            Router::new().route("/results", post(take)).with_state((shared, stop))
        });
        Ok(Self { serving: serving.await?, state })
    }

    /// Where results are posted.
    pub fn url(&self) -> String {
        format!("http://{}/results", self.serving.address())
    }

    /// Lets the next `times` requests meet this fault, after those scripted before.
    pub fn script(&self, fault: &Fault, times: usize) {
        self.state.change(|state| state.script.add((), fault, times));
    }

    /// How often things have happened.
    pub fn counts(&self) -> Counts {
        self.state.read(|state| state.counts)
    }

    /// Waits until `condition` holds for what has happened, for 20 seconds at most.
    pub async fn wait_until(&self, mut condition: impl FnMut(Counts) -> bool) -> Result<Counts, WaitedInVain> {
        let happened = self.state.wait_until(|state| condition(state.counts)).await;
        if happened { Ok(self.counts()) } else { Err(WaitedInVain(self.counts())) }
    }

    /// Stops it, and waits until nothing of it runs any more.
    pub async fn stop(self) {
        self.serving.stop().await;
    }
}

async fn take(Extracted((state, stop)): Extracted<(Arc<Watched<State>>, CancellationToken)>, body: String) -> Response {
    let fault = state.change(|state| {
        state.counts.requests += 1;
        state.script.take(&())
    });
    fault::meet(fault, &stop, || state.change(|state| state.take(&body)).into_response()).await
}

impl State {
    fn take(&mut self, body: &str) -> StatusCode {
        let since_start = self.started.elapsed();
        if self.outages.is_some_and(|outages| outages.is_down(since_start)) {
            self.counts.refused += 1;
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        let result: Value = serde_json::from_str(body).unwrap_or_default();
        let Some(id) = result["id"].as_str() else {
            self.counts.malformed += 1;
            return StatusCode::BAD_REQUEST;
        };
        self.counts.taken += 1;
        if !self.ids.insert(id.to_owned()) {
            self.counts.repeated += 1;
        }
        if self.ids.len() > MAX_IDS {
            self.ids.pop_first();
        }
        StatusCode::OK
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::client::http_client;

    async fn post(subscriber: &SimulatedSubscriber, body: &str) -> u16 {
        let client = http_client(Duration::from_secs(20)).unwrap();
        client.post(subscriber.url()).body(body.to_owned()).send().await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn results_are_taken_and_faults_met() {
        let subscriber = SimulatedSubscriber::start(None).await.unwrap();
        subscriber.script(&Fault::Status(502), 1);
        let mut statuses = Vec::new();
        for body in [r#"{"id":"1"}"#, r#"{"id":"1"}"#, r#"{"id":"1"}"#, "{}"] {
            statuses.push(post(&subscriber, body).await);
        }
        assert_eq!(statuses, [502, 200, 200, 400]);
        let counts = subscriber.wait_until(|counts| counts.malformed == 1).await.unwrap();
        assert_eq!(counts, Counts { requests: 4, taken: 2, repeated: 1, refused: 0, malformed: 1 });
        subscriber.stop().await;
    }

    #[tokio::test]
    async fn it_may_be_down_for_good() {
        let down = Outages { up: Duration::ZERO, down: Duration::from_hours(1) };
        let subscriber = SimulatedSubscriber::start(Some(down)).await.unwrap();
        assert_eq!((post(&subscriber, r#"{"id":"1"}"#).await, subscriber.counts().refused), (503, 1));
    }

    #[test]
    fn outages_come_again_and_again() {
        let outages = Outages { up: Duration::from_secs(20), down: Duration::from_secs(10) };
        for (second, down) in [(0, false), (19, false), (20, true), (29, true), (30, false), (50, true)] {
            assert_eq!(outages.is_down(Duration::from_secs(second)), down, "{second}");
        }
    }
}

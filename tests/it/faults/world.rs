//! The world around the program in a round of faults: a CaptchaAI that answers in every way, and a
//! subscriber that is now there and now not.

use std::collections::BTreeMap;
use std::future::ready;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Life;
use axum::Router;
use axum::body::Body;
use axum::extract::RawQuery;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// How often, in per cent, things go wrong.
#[derive(Debug, Clone, Copy)]
pub(super) struct Troubles {
    pub(super) api: u8,
    pub(super) subscriber: u8,
}

/// What both servers share.
#[derive(Debug)]
pub(super) struct State {
    pub(super) rng: fastrand::Rng,
    pub(super) troubles: Troubles,
    /// How often things went wrong so far: at the API, at the subscriber.
    pub(super) went_wrong: [usize; 2],
    /// What the API says of each task.
    pub(super) results: BTreeMap<String, String>,
    /// What the subscriber took, in order.
    pub(super) delivered: Vec<(String, String)>,
}

/// Runs until it is dropped.
pub(super) struct World {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) api: String,
    pub(super) subscriber: String,
    _servers: JoinSet<()>,
}

impl World {
    pub(super) async fn start(rng: fastrand::Rng, troubles: Troubles) -> Self {
        let state = State { rng, troubles, went_wrong: [0; 2], results: BTreeMap::new(), delivered: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let mut servers = JoinSet::new();
        let (asked, told) = (Arc::clone(&state), Arc::clone(&state));
        let api = Router::new().route("/res.php", get(move |query| ready(answer(&asked, query))));
        let subscriber = Router::new().route("/results", post(move |body: String| ready(take(&told, &body))));
        let api = serve(&mut servers, api).await;
        let subscriber = format!("{}/results", serve(&mut servers, subscriber).await);
        Self { state, api, subscriber, _servers: servers }
    }

    /// The API knows from now on how a task ends.
    pub(super) fn produces(&self, life: &Life) {
        if !life.is_forged {
            self.state.lock().unwrap().results.insert(life.id.clone(), life.code.clone());
        }
    }

    /// From now on nothing goes wrong.
    pub(super) fn calm_down(&self) {
        self.state.lock().unwrap().troubles = Troubles { api: 0, subscriber: 0 };
    }
}

async fn serve(servers: &mut JoinSet<()>, router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    servers.spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

fn answer(state: &Mutex<State>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let field = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    if field("action") != Some("get") {
        return r#"{"status":1,"request":"142.30"}"#.into_response();
    }
    let (trouble, result) = {
        let mut state = state.lock().unwrap();
        let trouble = (state.rng.u8(..100) < state.troubles.api).then(|| state.rng.u8(..9));
        state.went_wrong[0] += usize::from(trouble.is_some());
        (trouble, state.results.get(field("id").unwrap_or_default()).cloned())
    };
    match trouble {
        Some(0) => StatusCode::BAD_GATEWAY.into_response(),
        Some(1) => "<html>".into_response(),
        Some(2 | 6 | 7) => "CAPCHA_NOT_READY".into_response(),
        Some(3) => Body::from(vec![0xff; 1000]).into_response(),
        Some(4) => gzip_bomb(),
        // Longer than the program waits, and one byte after the other.
        Some(5) => {
            let drip = slow_drip();
            Body::from_stream(drip).into_response()
        }
        Some(_) => "ERROR_SERVER_ERROR".into_response(),
        None => match result {
            Some(code) => format!("OK|{code}").into_response(),
            None => "ERROR_WRONG_CAPTCHA_ID".into_response(),
        },
    }
}

/// Ten megabytes of nothing in a few kilobytes.
fn gzip_bomb() -> Response {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![b' '; 10 << 20]).unwrap();
    ([("content-encoding", "gzip")], encoder.finish().unwrap()).into_response()
}

fn slow_drip() -> impl futures_util::Stream<Item = Result<&'static str, std::io::Error>> {
    let ticks = tokio::time::interval(Duration::from_millis(100));
    futures_util::stream::unfold((ticks, 0), |(mut ticks, sent)| async move {
        ticks.tick().await;
        (sent < 150).then_some((Ok(" "), (ticks, sent + 1)))
    })
}

fn take(state: &Mutex<State>, body: &str) -> StatusCode {
    let mut state = state.lock().unwrap();
    if state.rng.u8(..100) < state.troubles.subscriber {
        state.went_wrong[1] += 1;
        // Some of what is refused has been heard all the same.
        if state.rng.bool() {
            note(&mut state, body);
        }
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    note(&mut state, body);
    StatusCode::OK
}

fn note(state: &mut State, body: &str) {
    let result: Value = serde_json::from_str(body).unwrap();
    let text = |name: &str| result[name].as_str().map(str::to_owned);
    let ended = text("code").or_else(|| text("error")).unwrap();
    state.delivered.push((text("id").unwrap(), ended));
}

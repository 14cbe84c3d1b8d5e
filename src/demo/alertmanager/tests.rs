use std::sync::Arc;
use std::sync::Mutex;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::routing::post;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::*;
use crate::demo::serving::Serving;
use crate::domain::clock::ManualClock;

/// An exporter that answers what it is told to, and 200 after that.
#[derive(Debug, Default)]
struct Exporter {
    heard: Vec<(String, Value)>,
    answers: Vec<StatusCode>,
}

type Shared = Arc<Mutex<Exporter>>;

async fn take(State(exporter): State<Shared>, uri: Uri, body: String) -> StatusCode {
    let mut exporter = exporter.lock().unwrap();
    exporter.heard.push((uri.path().to_owned(), serde_json::from_str(&body).unwrap()));
    exporter.answers.pop().unwrap_or(StatusCode::OK)
}

struct Bench {
    clock: Arc<ManualClock>,
    exporter: Shared,
    serving: Serving,
    alertmanager: Alertmanager,
}

impl Bench {
    async fn start() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_second(1_769_848_200).unwrap()));
        let exporter = Shared::default();
        let router = Router::new().route("/alertmanager/{receiver}", post(take)).with_state(Arc::clone(&exporter));
        let serving = Serving::start("exporter", "127.0.0.1:0".parse().unwrap(), |_| router).await.unwrap();
        let url = format!("http://{}", serving.address());
        let alertmanager = Alertmanager::new(url, &["main", "backup"], clock.clone()).unwrap();
        Self { clock, exporter, serving, alertmanager }
    }

    /// What is posted with these balances, after this pause: path, alert, account and status.
    async fn step(&mut self, seconds: i64, balances: [f64; 2], answers: &[StatusCode]) -> Vec<String> {
        self.clock.advance(SignedDuration::from_secs(seconds));
        self.exporter.lock().unwrap().answers = answers.iter().rev().copied().collect();
        self.alertmanager.step(&balances).await;
        let heard = std::mem::take(&mut self.exporter.lock().unwrap().heard);
        let line = |(path, body): (String, Value)| {
            let labels = &body["groupLabels"];
            let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            format!("{path} {} {} {}", text(&labels["alertname"]), text(&labels["account"]), text(&body["status"]))
        };
        heard.into_iter().map(line).collect()
    }
}

const WATCHDOG: &str = "/alertmanager/watchdog CaptchaAIWatchdog - firing";

#[tokio::test]
async fn alerts_fire_are_repeated_and_resolved_and_the_watchdog_goes_on() {
    let mut bench = Bench::start().await;
    let low = |status| format!("/alertmanager/default CaptchaAIBalanceLow backup {status}");
    let critical = |status| format!("/alertmanager/default CaptchaAIBalanceCritical backup {status}");
    assert_eq!(bench.step(0, [24.6, 2.02], &[]).await, [WATCHDOG]);
    assert_eq!(bench.step(10, [24.6, 2.015], &[]).await, [low("firing")]);
    assert_eq!(bench.step(20, [24.6, 2.009], &[]).await, [critical("firing")]);
    assert_eq!(bench.step(29, [24.6, 2.001], &[]).await, Vec::<String>::new());
    assert_eq!(bench.step(1, [24.6, 2.0], &[]).await, [WATCHDOG]);
    assert_eq!(bench.step(1, [24.6, 11.999], &[]).await, [low("resolved"), critical("resolved")]);
    assert_eq!(bench.step(1, [24.6, 11.998], &[]).await, Vec::<String>::new());
    bench.serving.stop().await;
}

#[tokio::test]
async fn only_a_5xx_is_worth_another_try() {
    let mut bench = Bench::start().await;
    let balances = [24.6, 24.6];
    for (status, tried_again) in [
        (StatusCode::SERVICE_UNAVAILABLE, true),
        (StatusCode::INTERNAL_SERVER_ERROR, true),
        (StatusCode::NOT_FOUND, false),
        (StatusCode::TOO_MANY_REQUESTS, false),
    ] {
        assert_eq!(bench.step(60, balances, &[status]).await, [WATCHDOG], "{status}");
        let expected: &[&str] = if tried_again { &[WATCHDOG] } else { &[] };
        assert_eq!(bench.step(1, balances, &[]).await, expected, "{status}");
    }
    let exporter = std::mem::take(&mut bench.alertmanager.exporter);
    bench.alertmanager.exporter = "http://127.0.0.1:1".to_owned();
    assert_eq!(bench.step(60, balances, &[]).await, Vec::<String>::new());
    bench.alertmanager.exporter = exporter;
    assert_eq!(bench.step(1, balances, &[]).await, [WATCHDOG], "no answer is like a 5xx");
    bench.serving.stop().await;
}

#[tokio::test]
async fn it_runs_until_it_is_stopped() {
    let bench = Bench::start().await;
    let stop = CancellationToken::new();
    let asked = CancellationToken::new();
    let balances = || {
        asked.cancel();
        vec![24.6, 24.6]
    };
    let stopping = async {
        asked.cancelled().await;
        stop.cancel();
    };
    let run = async { tokio::join!(bench.alertmanager.run(balances, &stop), stopping) };
    assert!(tokio::time::timeout(Duration::from_secs(20), run).await.is_ok());
    bench.serving.stop().await;
}

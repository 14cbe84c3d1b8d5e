//! Simulated workers: they submit captchas to CaptchaAI with the exporter's pingback URL, tell the
//! exporter about them, and wait there for the results. When either is slow or down they go on as
//! soon as it is back.

use std::time::Duration;

use form_urlencoded::Serializer;
use serde::Deserialize;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::kinds::{self, Kind};
use super::speed::Speed;
use crate::domain::clock::SharedClock;
use crate::domain::time::format_timestamp;
use crate::notify::client::{BuildError, http_client};

/// How long a worker asks the exporter to hold a long poll.
const WAIT: Duration = Duration::from_secs(30);
/// Longer than a long poll, so that only a server that hangs runs into it.
const TIMEOUT: Duration = Duration::from_secs(40);
/// A worker gives a captcha up after this, at the real service's speed: tokens go stale.
const GIVE_UP_AFTER: Duration = Duration::from_mins(5);
/// The rest between two captchas, at the real service's speed, is at most this.
const LONGEST_REST: Duration = Duration::from_secs(10);
/// After a failure a worker waits this long, and longer each time, at the real service's speed.
const FIRST_RETRY: Duration = Duration::from_secs(2);
/// A registration is tried this often.
const REGISTRATION_ATTEMPTS: u32 = 6;

/// Where the workers work, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The account's name in the exporter's configuration.
    pub account: String,
    /// The URL of CaptchaAI.
    pub captchaai: String,
    /// The API key.
    pub key: String,
    /// The URL of the exporter.
    pub exporter: String,
    /// The secret part of its pingback URL.
    pub pingback_token: String,
    /// How many workers there are.
    pub workers: usize,
    /// How much faster than with the real service they work.
    pub speed: Speed,
    /// Tells them when they submit.
    pub clock: SharedClock,
    /// Where their randomness begins.
    pub seed: u64,
}

/// Lets the workers work until `stop` is cancelled.
pub async fn run(options: Options, stop: CancellationToken) -> Result<(), BuildError> {
    let http = http_client(TIMEOUT)?;
    let mut rng = fastrand::Rng::with_seed(options.seed);
    let mut workers = JoinSet::new();
    for number in 1..=options.workers {
        let name = format!("{}-w{number}", options.account);
        let mut worker = Worker { name, options: options.clone(), http: http.clone(), rng: rng.fork() };
        let stop = stop.clone();
        workers.spawn(async move { stop.run_until_cancelled(worker.work()).await });
    }
    workers.join_all().await;
    Ok(())
}

struct Worker {
    name: String,
    options: Options,
    http: reqwest::Client,
    rng: fastrand::Rng,
}

/// What came of a request; what went wrong is for whoever waits and tries again.
type Attempt<T> = Result<T, Failure>;

#[derive(Debug)]
enum Failure {
    /// No answer or one that says later: worth another try.
    Later,
    /// An answer that will not change.
    Final,
}

#[derive(Deserialize)]
struct Submitted {
    status: u8,
    request: String,
}

#[derive(Deserialize)]
struct TaskState {
    status: String,
}

impl Worker {
    async fn work(&mut self) {
        let mut failures = 0;
        loop {
            let kind = kinds::pick(&mut self.rng);
            let worked = self.solve(kind).await;
            failures = if worked.is_ok() { 0 } else { failures + 1 };
            let rest = if failures == 0 { LONGEST_REST.mul_f64(self.rng.f64()) } else { backoff(failures) };
            self.pause(rest).await;
        }
    }

    /// One captcha from its submission to its result.
    async fn solve(&self, kind: &Kind) -> Attempt<()> {
        let submitted_at = format_timestamp(self.options.clock.now());
        let submitted = self.submit(kind).await?;
        if submitted.status != 1 {
            return self
                .register(&json!({
                    "error": submitted.request, "account": self.options.account,
                    "captcha": kind.captcha, "worker": self.name,
                }))
                .await;
        }
        self.register(&json!({
            "id": submitted.request, "account": self.options.account,
            "captcha": kind.captcha, "worker": self.name, "submitted_at": submitted_at,
        }))
        .await?;
        self.wait_for_result(&submitted.request).await
    }

    async fn submit(&self, kind: &Kind) -> Attempt<Submitted> {
        let Options { account, captchaai, key, exporter, pingback_token, .. } = &self.options;
        let known = Serializer::new(String::new())
            .append_pair("captcha", kind.captcha)
            .append_pair("worker", &self.name)
            .append_pair("account", account)
            .finish();
        let pingback = format!("{exporter}/pingback/{pingback_token}?{known}");
        let form = Serializer::new(String::new())
            .append_pair("key", key)
            .append_pair("json", "1")
            .append_pair("pageurl", "https://shop.example/login")
            .append_pair("pingback", &pingback)
            .extend_pairs(kind.parameters)
            .finish();
        let request = self.http.post(format!("{captchaai}/in.php"));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
        read(request).await
    }

    /// Tells the exporter, again and again while it is not there.
    async fn register(&self, task: &serde_json::Value) -> Attempt<()> {
        let mut attempts = 0;
        loop {
            let request = self.http.post(format!("{}/api/v1/tasks", self.options.exporter));
            let request = request.header("content-type", "application/json").body(task.to_string());
            attempts += 1;
            match send(request).await {
                Ok(_) => return Ok(()),
                Err(Failure::Later) if attempts < REGISTRATION_ATTEMPTS => self.pause(backoff(attempts)).await,
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Long polls until the task has ended, or it has taken too long.
    async fn wait_for_result(&self, id: &str) -> Attempt<()> {
        let url = format!("{}/api/v1/tasks/{id}?wait={}s", self.options.exporter, WAIT.as_secs());
        let poll = async {
            loop {
                let attempt = read::<TaskState>(self.http.get(&url)).await;
                match attempt {
                    Ok(task) if task.status != "pending" => return Ok(()),
                    Err(Failure::Final) => return Err(Failure::Final),
                    // An exporter that stops answers at once: that must not become a busy loop.
                    Ok(_) | Err(Failure::Later) => self.pause(FIRST_RETRY).await,
                }
            }
        };
        let give_up_after = self.options.speed.scale(GIVE_UP_AFTER);
        // A captcha that was given up is no reason to slow down.
        tokio::time::timeout(give_up_after, poll).await.unwrap_or(Ok(()))
    }

    async fn pause(&self, pause: Duration) {
        tokio::time::sleep(self.options.speed.scale(pause)).await;
    }
}

fn backoff(failures: u32) -> Duration {
    FIRST_RETRY * 2_u32.pow(failures.saturating_sub(1).min(5))
}

async fn send(request: reqwest::RequestBuilder) -> Attempt<reqwest::Response> {
    let response = request.send().await.map_err(|_| Failure::Later)?;
    match response.status() {
        status if status.is_success() => Ok(response),
        status if status.is_server_error() => Err(Failure::Later),
        _ => Err(Failure::Final),
    }
}

async fn read<T: for<'a> Deserialize<'a>>(request: reqwest::RequestBuilder) -> Attempt<T> {
    let body = send(request).await?.bytes().await.map_err(|_| Failure::Later)?;
    serde_json::from_slice(&body).map_err(|_| Failure::Final)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::extract::{Path, RawQuery, State};
    use axum::http::StatusCode;
    use axum::routing::{get, post};
    use jiff::Timestamp;
    use tokio::net::TcpListener;
    use tokio::sync::watch;

    use super::*;
    use crate::demo::captchaai::{Action, Fault, Odds, Options as ServiceOptions, SimulatedCaptchaAi};
    use crate::domain::clock::ManualClock;

    /// What an exporter was told.
    #[derive(Debug, Default)]
    struct Told {
        registered: Vec<serde_json::Value>,
        pingbacks: Vec<(String, String)>,
        polled: Vec<(String, String)>,
    }

    #[derive(Debug, Default)]
    struct Exporter {
        told: watch::Sender<Told>,
        /// How many requests are refused before it works.
        down: AtomicUsize,
    }

    type Shared = State<Arc<Exporter>>;

    impl Exporter {
        fn is_down(&self) -> bool {
            self.down.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
        }
    }

    async fn register(State(exporter): Shared, body: String) -> (StatusCode, &'static str) {
        if exporter.is_down() {
            return (StatusCode::SERVICE_UNAVAILABLE, "");
        }
        exporter.told.send_modify(|told| told.registered.push(serde_json::from_str(&body).unwrap()));
        (StatusCode::OK, r#"{"accepted":1}"#)
    }

    async fn poll(State(exporter): Shared, Path(id): Path<String>, RawQuery(query): RawQuery) -> (StatusCode, String) {
        if exporter.is_down() {
            return (StatusCode::BAD_GATEWAY, "<html>".to_owned());
        }
        exporter.told.send_modify(|told| told.polled.push((id, query.unwrap_or_default())));
        (StatusCode::OK, r#"{"status":"solved","code":"x"}"#.to_owned())
    }

    async fn pingback(State(exporter): Shared, Path(token): Path<String>, RawQuery(query): RawQuery) {
        exporter.told.send_modify(|told| told.pingbacks.push((token, query.unwrap_or_default())));
    }

    struct Bench {
        service: SimulatedCaptchaAi,
        exporter: Arc<Exporter>,
        stop: CancellationToken,
        tasks: JoinSet<()>,
    }

    impl Bench {
        async fn start(down: usize, odds: Odds) -> Self {
            let speed = Speed::new(2000.0);
            let service = ServiceOptions { speed, odds, ..ServiceOptions::default() };
            let service = SimulatedCaptchaAi::start(service).await.unwrap();
            let exporter = Arc::new(Exporter { down: down.into(), ..Exporter::default() });
            let router = Router::new()
                .route("/api/v1/tasks", post(register))
                .route("/api/v1/tasks/{id}", get(poll))
                .route("/pingback/{token}", get(pingback))
                .with_state(Arc::clone(&exporter));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let options = Options {
                account: "main".to_owned(),
                captchaai: service.base_url(),
                key: ServiceOptions::default().key,
                exporter: format!("http://{}", listener.local_addr().unwrap()),
                pingback_token: "secret".to_owned(),
                workers: 2,
                speed,
                clock: Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH)),
                seed: 1,
            };
            let stop = CancellationToken::new();
            let mut tasks = JoinSet::new();
            let serve = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
            tasks.spawn(async { serve.await.unwrap() });
            let workers = run(options, stop.clone());
            tasks.spawn(async { workers.await.unwrap() });
            Self { service, exporter, stop, tasks }
        }

        async fn wait_until(&self, condition: impl FnMut(&Told) -> bool) {
            let mut told = self.exporter.told.subscribe();
            let happened = tokio::time::timeout(Duration::from_secs(20), told.wait_for(condition)).await;
            assert!(happened.is_ok_and(|told| told.is_ok()), "{:?}", self.exporter.told.borrow());
        }

        async fn stop(self) {
            self.stop.cancel();
            self.tasks.join_all().await;
            self.service.stop().await;
        }
    }

    #[tokio::test]
    async fn workers_submit_register_and_wait_for_the_result() {
        let bench = Bench::start(0, Odds::NONE).await;
        bench.wait_until(|told| told.polled.len() > 10 && told.pingbacks.len() > 10).await;
        {
            let told = bench.exporter.told.borrow();
            let task = &told.registered[0];
            assert!(task["id"].as_str().unwrap().starts_with("7258"), "{task}");
            assert_eq!(task["account"], "main");
            assert_eq!(task["submitted_at"], "1970-01-01T00:00:00.000Z");
            assert!(kinds::KINDS.iter().any(|kind| task["captcha"] == kind.captcha), "{task}");
            let workers = ["main-w1", "main-w2"];
            assert!(workers.iter().all(|name| told.registered.iter().any(|task| task["worker"] == *name)));
            assert!(told.polled.iter().all(|(_, query)| query == "wait=30s"));
            assert!(told.registered.iter().any(|task| task["id"] == told.polled[0].0));
            let (token, query) = &told.pingbacks[0];
            assert_eq!(token, "secret");
            for part in ["captcha=", "worker=main-w", "account=main", "id=7258", "code="] {
                assert!(query.contains(part), "{query}");
            }
        }
        bench.stop().await;
    }

    #[tokio::test]
    async fn refused_submissions_are_reported() {
        let bench = Bench::start(0, Odds { no_slot: 1.0, ..Odds::NONE }).await;
        bench.wait_until(|told| told.registered.len() > 3).await;
        let expected = "ERROR_NO_SLOT_AVAILABLE";
        assert!(bench.exporter.told.borrow().registered.iter().all(|task| task["error"] == expected));
        bench.stop().await;
    }

    #[tokio::test]
    async fn workers_go_on_when_what_was_down_is_back() {
        let bench = Bench::start(25, Odds::NONE).await;
        bench.service.script(Action::Submit, &Fault::Status(502), 4);
        bench.service.script(Action::Submit, &Fault::Answer("what?".to_owned()), 4);
        bench.wait_until(|told| told.polled.len() > 10).await;
        bench.stop().await;
    }
}

//! No result is lost: lost pingbacks are asked for, made-up ones are found out, and every result reaches
//! its subscribers or is a dead letter.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use captchaai_exporter::demo::captchaai::{Action, Fault, Odds, Options, SimulatedCaptchaAi};
use captchaai_exporter::demo::speed::Speed;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::harness::{Exporter, KEY, Setup, eventually, run};

/// What a subscriber got, by the id of the task, and how it answers.
#[derive(Default)]
struct Inbox {
    results: BTreeMap<String, Vec<(Value, HeaderMap)>>,
    status: Option<u16>,
}

/// A program of the user's that gets results.
struct Subscriber {
    url: String,
    inbox: Arc<Mutex<Inbox>>,
    _server: JoinSet<()>,
}

impl Subscriber {
    async fn start() -> Self {
        let inbox = Arc::<Mutex<Inbox>>::default();
        let taken = Arc::clone(&inbox);
        let take = move |headers: HeaderMap, body: String| {
            let mut inbox = taken.lock().unwrap();
            let status = inbox.status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::OK);
            if status.is_success() {
                let body: Value = serde_json::from_str(&body).unwrap();
                let id = body["id"].as_str().unwrap().to_owned();
                inbox.results.entry(id).or_default().push((body, headers));
            }
            async move { status }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/results", listener.local_addr().unwrap());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, Router::new().route("/results", post(take))).await.unwrap() });
        Self { url, inbox, _server: server }
    }

    fn answer(&self, status: u16) {
        self.inbox.lock().unwrap().status = Some(status);
    }

    fn got(&self, id: &str) -> Vec<Value> {
        let inbox = self.inbox.lock().unwrap();
        inbox.results.get(id).into_iter().flatten().map(|(body, _)| body.clone()).collect()
    }

    async fn await_result(&self, id: &str) -> Value {
        eventually(id, async || self.got(id).first().cloned()).await
    }
}

struct Stage {
    captchaai: SimulatedCaptchaAi,
    subscriber: Subscriber,
    setup: Setup,
}

impl Stage {
    async fn new() -> Self {
        let options =
            Options { key: KEY.to_owned(), speed: Speed::new(2000.0), odds: Odds::NONE, ..Options::default() };
        let captchaai = SimulatedCaptchaAi::start(options).await.unwrap();
        let subscriber = Subscriber::start().await;
        let mut setup = Setup::new();
        setup.accounts = String::new();
        setup.account("main", &captchaai.base_url());
        setup.config = format!(
            "pingback: {{ unknown: verify }}\nfallback: {{ after: 1s, interval: 1s, give_up_after: 20s }}\n\
             subscribers:\n- {{ name: workers, url: \"{}\", secret: hunter2, max_age: 5s }}\n",
            subscriber.url
        );
        Self { captchaai, subscriber, setup }
    }

    fn answers(&self, texts: &[&str]) {
        for text in texts {
            self.captchaai.script(Action::Get, &Fault::Answer((*text).to_owned()), 1);
        }
    }
}

async fn source(exporter: &Exporter, id: &str) -> (String, String) {
    let task = exporter.task(id).await;
    let text = |name: &str| task[name].as_str().unwrap_or_default().to_owned();
    (text("status"), text("source"))
}

const NOT_READY: &str = "CAPCHA_NOT_READY";

#[tokio::test]
async fn a_lost_pingback_is_recovered_and_reaches_the_subscriber() {
    let stage = Stage::new().await;
    let exporter = stage.setup.start();
    stage.answers(&[NOT_READY, r#"{"status":1,"request":"03AGdBq25"}"#]);
    exporter.register(json!({"id": "1", "captcha": "turnstile"})).await;
    let result = stage.subscriber.await_result("1").await;
    for (name, expected) in
        [("action", "task_solved"), ("code", "03AGdBq25"), ("captcha", "turnstile"), ("account", "main")]
    {
        assert_eq!(result[name], expected, "{result}");
    }
    assert_eq!((&result["tries"], source(&exporter, "1").await), (&json!(0), ("solved".to_owned(), "poll".to_owned())));
    assert_eq!(exporter.metric(r#"captchaai_fallback_recovered_total{account="main"}"#).await, Some(1.0));
    // Late, and no news.
    exporter.pingback("id=1&code=03AGdBq25").await;
    exporter.await_metric(r#"captchaai_deliveries_pending{destination="subscriber/workers"}"#, 0.0).await;
    assert_eq!(stage.subscriber.got("1").len(), 1);
    let headers = stage.subscriber.inbox.lock().unwrap().results["1"][0].1.clone();
    assert_eq!(
        (&headers["x-webhook-secret"], &headers["webhook-id"]),
        (&"hunter2".parse().unwrap(), &"workers-1".parse().unwrap())
    );
    assert!(headers["webhook-signature"].to_str().unwrap().starts_with("v1,"));
    assert!(!exporter.log().contains("03AGdBq25") && !exporter.log().contains("hunter2"), "{}", exporter.log());
}

#[tokio::test]
async fn what_nobody_registered_is_confirmed_or_found_out() {
    let stage = Stage::new().await;
    let exporter = stage.setup.start();
    stage.answers(&["OK|real"]);
    exporter.pingback("id=1&code=real").await;
    assert_eq!(stage.subscriber.await_result("1").await["code"], "real");
    assert_eq!(source(&exporter, "1").await, ("solved".to_owned(), "pingback".to_owned()));
    stage.answers(&["ERROR_WRONG_CAPTCHA_ID"]);
    exporter.pingback("id=2&code=made-up").await;
    exporter.await_metric(r#"captchaai_dead_letters{source="pingback"}"#, 1.0).await;
    assert_eq!(exporter.metric(r#"captchaai_pingbacks_rejected_total{reason="forged"}"#).await, Some(1.0));
    assert_eq!((stage.subscriber.got("2").len(), exporter.get("/api/v1/tasks/2").await.0.as_u16()), (0, 404));
    let (_, letters) = exporter.get("/api/v1/dead-letters").await;
    assert!(letters.contains("forged") && !letters.contains("made-up"), "{letters}");
}

#[tokio::test]
async fn a_subscriber_that_is_down_gets_what_is_fresh_when_it_is_back() {
    let stage = Stage::new().await;
    let exporter = stage.setup.start();
    stage.subscriber.answer(503);
    exporter.register(json!({"id": "stale"})).await;
    exporter.pingback("id=stale&code=x").await;
    exporter.await_metric(r#"captchaai_dead_letters{source="subscriber/workers"}"#, 1.0).await;
    let reason = r#"captchaai_dead_letters_added_total{reason="expired",source="subscriber/workers"}"#;
    assert_eq!(exporter.metric(reason).await, Some(1.0));
    exporter.register(json!({"id": "fresh"})).await;
    exporter.pingback("id=fresh&code=y").await;
    stage.subscriber.answer(200);
    let result = stage.subscriber.await_result("fresh").await;
    assert_eq!((result["code"].as_str(), stage.subscriber.got("stale").len()), (Some("y"), 0));
    // Somebody tries the stale one again.
    assert_eq!(exporter.post("/api/v1/dead-letters/retry", "").await.1, r#"{"refused":0,"retried":1}"#);
    assert_eq!(stage.subscriber.await_result("stale").await["code"], "x");
}

#[tokio::test]
async fn results_survive_sigkill() {
    let stage = Stage::new().await;
    for round in 0..4 {
        let exporter = stage.setup.start();
        // Answers later than the process lives.
        stage.subscriber.answer(503);
        for number in 0..5 {
            let id = format!("{round}-{number}");
            exporter.register(json!({"id": id})).await;
            exporter.pingback(&format!("id={id}&code=code-{id}")).await;
        }
        exporter.kill();
        stage.subscriber.answer(200);
        let exporter = stage.setup.start();
        for number in 0..5 {
            let id = format!("{round}-{number}");
            assert_eq!(stage.subscriber.await_result(&id).await["code"], format!("code-{id}"));
        }
        exporter.kill();
    }
}

#[tokio::test]
async fn a_task_that_never_ends_is_given_up() {
    let mut stage = Stage::new().await;
    stage.setup.config = stage.setup.config.replace("give_up_after: 20s", "give_up_after: 2s");
    let exporter = stage.setup.start();
    stage.captchaai.script(Action::Get, &Fault::Answer(NOT_READY.to_owned()), 50);
    exporter.register(json!({"id": "1"})).await;
    let result = stage.subscriber.await_result("1").await;
    assert_eq!((&result["action"], &result["error"]), (&json!("task_failed"), &json!("TIMEOUT")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_handled_from_the_command_line() {
    let stage = Stage::new().await;
    let exporter = stage.setup.start();
    stage.subscriber.answer(503);
    exporter.register(json!({"id": "1"})).await;
    exporter.pingback("id=1&code=secret-code").await;
    exporter.await_metric(r#"captchaai_dead_letters{source="subscriber/workers"}"#, 1.0).await;
    let url = exporter.url("");
    let letters = |arguments: &[&str]| {
        run(env!("CARGO_BIN_EXE_captchaai-exporter"), &[&["dead-letters", "--url", &url], arguments].concat())
    };
    let (success, table) = letters(&["list"]);
    assert!(success && table.contains("subscriber/workers") && table.contains("expired"), "{table}");
    let (success, json) = letters(&["list", "--json"]);
    let letter: Value = serde_json::from_str(json.trim()).unwrap();
    assert!(success && letter["payload"]["id"] == "1" && !json.contains("secret-code"), "{json}");
    let id = letter["id"].as_str().unwrap();
    assert!(!letters(&["retry", "99999"]).0);
    assert_eq!(letters(&["delete", id]), (true, format!("dead letter {id} is discarded\n")));
    assert_eq!(letters(&["list"]), (true, "there are no dead letters\n".to_owned()));
    let (success, said) =
        run(env!("CARGO_BIN_EXE_captchaai-exporter"), &["dead-letters", "list", "--url", "http://127.0.0.1:9"]);
    assert!(!success && said.contains("is the exporter running there?"), "{said}");
}

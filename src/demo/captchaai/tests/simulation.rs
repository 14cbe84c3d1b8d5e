use std::collections::HashMap;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::routing::get;
use tokio::sync::mpsc;

use super::*;

/// Receives pingbacks, and refuses them when they are marked so.
struct Receiver {
    url: String,
    queries: mpsc::UnboundedReceiver<String>,
    tasks: tokio::task::JoinSet<()>,
}

impl Receiver {
    async fn start() -> Self {
        let (sender, queries) = mpsc::unbounded_channel();
        let receive = async |State(sender): State<mpsc::UnboundedSender<String>>, RawQuery(query): RawQuery| {
            let query = query.unwrap_or_default();
            let status = if query.contains("refuse") { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
            sender.send(query).unwrap();
            status
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/pingback", listener.local_addr().unwrap());
        let router = Router::new().route("/pingback", get(receive)).with_state(sender);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async { axum::serve(listener, router).await.unwrap() });
        Self { url, queries, tasks }
    }

    /// The codes that came for each id, in their order.
    fn received(&mut self) -> HashMap<String, Vec<String>> {
        let mut received: HashMap<String, Vec<String>> = HashMap::new();
        while let Ok(query) = self.queries.try_recv() {
            let query = query.replace('?', "&");
            let pairs: HashMap<_, _> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
            received.entry(pairs["id"].clone()).or_default().push(pairs["code"].clone());
        }
        received
    }
}

struct Caller {
    http: reqwest::Client,
    base_url: String,
}

impl Caller {
    fn new(service: &SimulatedCaptchaAi) -> Self {
        Self { http: http_client(Duration::from_secs(5)).unwrap(), base_url: service.base_url() }
    }

    async fn call(&self, path: &str, parameters: &[(&str, &str)]) -> String {
        let url = format!("{}/{path}", self.base_url);
        let response = self.http.get(url).query(&[("key", Options::default().key)]).query(parameters).send().await;
        response.unwrap().text().await.unwrap()
    }

    async fn post(&self, body: String) -> String {
        let request = self.http.post(format!("{}/in.php", self.base_url));
        let form = ("content-type", "application/x-www-form-urlencoded");
        request.header(form.0, form.1).body(body).send().await.unwrap().text().await.unwrap()
    }
}

#[tokio::test]
async fn it_speaks_json_and_plain_text() {
    let service = start(Odds::NONE).await;
    let caller = Caller::new(&service);
    let turnstile = [("method", "turnstile")];
    assert_eq!(caller.call("in.php", &turnstile).await, "OK|72580000001");
    let as_json = [("method", "turnstile"), ("json", "1")];
    assert_eq!(caller.call("in.php", &as_json).await, r#"{"request":"72580000002","status":1}"#);
    let body = format!("key={}&method=base64&body=AAAA", Options::default().key);
    assert_eq!(caller.post(body).await, "OK|72580000003");
    assert_eq!(
        caller.post("key=wrong&method=base64&json=1".to_owned()).await,
        r#"{"request":"ERROR_WRONG_USER_KEY","status":0}"#
    );
    service.wait_until(|counts| counts.settled == 3).await.unwrap();

    let plain = caller.call("res.php", &[("action", "get"), ("id", "72580000001")]).await;
    assert!(plain.starts_with("OK|0."), "{plain}");
    let json = caller.call("res.php", &[("action", "get"), ("id", "72580000001"), ("json", "1")]).await;
    assert_eq!(json, format!(r#"{{"request":"{}","status":1}}"#, plain.trim_start_matches("OK|")));
    assert_eq!(caller.call("res.php", &[("action", "getbalance")]).await, "24.99670");
    assert_eq!(caller.call("res.php", &[("action", "get"), ("id", "5")]).await, "ERROR_WRONG_CAPTCHA_ID");
    assert_eq!(caller.call("res.php", &[("action", "dance")]).await, "ERROR_BAD_PARAMETERS");
    service.set_balance(0.0);
    assert_eq!(caller.call("in.php", &turnstile).await, "ERROR_ZERO_BALANCE");
    let counts = service.counts();
    assert_eq!((counts.submits, counts.result_requests, counts.balance_requests), (5, 3, 1));
}

#[tokio::test]
async fn a_task_is_not_ready_before_it_is_solved() {
    let service = SimulatedCaptchaAi::start(Options { speed: Speed::new(0.01), ..Options::default() }).await.unwrap();
    let caller = Caller::new(&service);
    caller.call("in.php", &[("method", "base64")]).await;
    let result = caller.call("res.php", &[("action", "get"), ("id", "72580000001")]).await;
    assert_eq!(result, "CAPCHA_NOT_READY");
    // Neither an open connection nor a running task holds it up.
    service.stop().await;
}

#[tokio::test]
async fn pingbacks_go_wrong_as_often_as_they_should() {
    const TASKS: usize = 300;
    let odds = Odds {
        failure: 0.2,
        no_slot: 0.0,
        lost: 0.2,
        late: 0.1,
        duplicate: 0.3,
        conflicting: 0.2,
        second_question_mark: 0.5,
    };
    let service = start(odds).await;
    let mut receiver = Receiver::start().await;
    let caller = Caller::new(&service);
    let url = format!("{}?captcha=image&worker=w1", receiver.url);
    for _ in 0..TASKS {
        caller.call("in.php", &[("method", "base64"), ("pingback", &url)]).await;
    }
    let counts = service.wait_until(|counts| counts.settled == TASKS as u64).await.unwrap();
    let codes = receiver.received();
    let lost = usize::try_from(counts.pingbacks_lost).unwrap();
    assert_eq!(codes.len() + lost, TASKS);
    let sent: usize = codes.values().map(Vec::len).sum();
    assert_eq!(counts.pingbacks_accepted, sent as u64);
    assert_eq!(counts.solved + counts.failed, TASKS as u64);
    let repeats = codes.values().filter(|of_one| of_one.len() > 1 && of_one[0] == of_one[1]).count();
    let contradictions = codes.values().filter(|of_one| of_one.first() != of_one.last()).count();
    assert_eq!((repeats as u64, contradictions as u64), (counts.pingbacks_duplicate, counts.pingbacks_conflicting));
    let pinged = TASKS as u64 - counts.pingbacks_lost;
    for (name, happened, of, expected) in [
        ("failed", counts.failed, TASKS as u64, odds.failure),
        ("lost", counts.pingbacks_lost, TASKS as u64, odds.lost),
        ("late", counts.pingbacks_late, pinged, odds.late),
        ("duplicate", counts.pingbacks_duplicate, pinged, odds.duplicate),
        ("conflicting", counts.pingbacks_conflicting, pinged, odds.conflicting),
    ] {
        let share = happened as f64 / of as f64;
        assert!((share - expected).abs() < 0.05, "{name}: {share} for {expected}");
    }
    receiver.tasks.shutdown().await;
}

#[tokio::test]
async fn a_refused_pingback_is_not_repeated() {
    let service = start(Odds::NONE).await;
    let mut receiver = Receiver::start().await;
    let caller = Caller::new(&service);
    let url = format!("{}?refuse=1", receiver.url);
    caller.call("in.php", &[("method", "turnstile"), ("pingback", &url)]).await;
    caller.call("in.php", &[("method", "turnstile"), ("pingback", "http://127.0.0.1:1/pingback")]).await;
    caller.call("in.php", &[("method", "turnstile"), ("pingback", &receiver.url)]).await;
    let counts = service.wait_until(|counts| counts.settled == 3).await.unwrap();
    assert_eq!((counts.pingbacks_accepted, counts.pingbacks_refused), (1, 2));
    assert_eq!(receiver.received().values().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
    receiver.tasks.shutdown().await;
}

#[tokio::test]
async fn faults_meet_their_action_in_order_and_then_it_is_well() {
    let service = start(Odds::NONE).await;
    let caller = Caller::new(&service);
    service.script(Action::Submit, &Fault::Answer("first".to_owned()), 2);
    service.script(Action::Submit, &Fault::Answer("second".to_owned()), 1);
    assert_eq!(caller.call("res.php", &[("action", "getbalance")]).await, "25.00000");
    for expected in ["first", "first", "second", "OK|72580000001"] {
        assert_eq!(caller.call("in.php", &[("method", "turnstile")]).await, expected);
    }
}

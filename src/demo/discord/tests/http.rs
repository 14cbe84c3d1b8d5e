use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::demo::discord::{Action, Fault, Options, SimulatedDiscord};
use crate::domain::clock::ManualClock;
use crate::notify::client::http_client;

struct Client(reqwest::Client);

impl Client {
    fn new() -> Self {
        Self(http_client(Duration::from_secs(10)).unwrap())
    }

    async fn call(&self, method: Method, url: &str, body: &Value) -> (StatusCode, Value) {
        let response = self.0.request(method, url).json(body).send().await.unwrap();
        let status = response.status();
        let body = response.bytes().await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn post(&self, url: &str, body: &Value) -> (StatusCode, Value) {
        self.call(Method::POST, url, body).await
    }
}

#[tokio::test]
async fn messages_are_posted_changed_shown_and_removed() {
    let discord = SimulatedDiscord::start(Options::unlimited()).await.unwrap();
    let client = Client::new();
    let url = discord.webhook_url();
    assert_eq!(client.post(&url, &json!({ "content": "a" })).await, (StatusCode::NO_CONTENT, Value::Null));
    let (status, message) = client.post(&format!("{url}?wait=true"), &json!({ "content": "<@&7>" })).await;
    assert_eq!((status, &message["mention_roles"]), (StatusCode::OK, &json!(["7"])));
    let message_url = format!("{url}/messages/{}", message["id"].as_str().unwrap());
    let (status, message) = client.call(Method::PATCH, &message_url, &json!({ "content": "c" })).await;
    assert_eq!((status, &message["content"]), (StatusCode::OK, &json!("c")));
    assert_eq!(client.call(Method::GET, &message_url, &Value::Null).await.0, StatusCode::OK);
    let contents: Vec<_> = discord.messages().iter().map(|message| message.content["content"].clone()).collect();
    assert_eq!(contents, ["a", "c"]);
    assert_eq!(client.call(Method::DELETE, &message_url, &Value::Null).await.0, StatusCode::NO_CONTENT);
    assert_eq!(client.call(Method::GET, &message_url, &Value::Null).await.0, StatusCode::NOT_FOUND);
    assert_eq!(client.call(Method::DELETE, &url, &Value::Null).await.0, StatusCode::NOT_FOUND);

    let requests = discord.requests();
    let lines: Vec<_> = requests.iter().map(|request| (request.action, request.status.unwrap())).collect();
    assert_eq!(
        lines,
        [
            (Action::Post, 204),
            (Action::Post, 200),
            (Action::Edit, 200),
            (Action::Get, 200),
            (Action::Delete, 204),
            (Action::Get, 404),
            (Action::Other, 404),
        ]
    );
    let (token, second) = (url.rsplit('/').next().unwrap(), &requests[1]);
    assert!(requests.iter().all(|request| !request.line.contains(token)));
    assert_eq!((&second.body, second.webhook.as_deref()), (&json!({ "content": "<@&7>" }), Some("alerts")));
    assert_eq!((second.pings.as_slice(), &requests[2].pings), (&["role:7".to_owned()][..], &Vec::new()));
    discord.stop().await;
}

#[tokio::test]
async fn what_is_no_message_is_a_400_without_wait_too() {
    let discord = SimulatedDiscord::start(Options::unlimited()).await.unwrap();
    let client = Client::new();
    let url = discord.webhook_url();
    let (status, body) = client.post(&url, &json!({ "content": "x".repeat(2001) })).await;
    assert_eq!(
        (status, &body["errors"]["content"]["_errors"][0]["code"]),
        (StatusCode::BAD_REQUEST, &json!("BASE_TYPE_MAX_LENGTH"))
    );
    for (content_type, sent, code) in [
        ("application/json", "{", 50109),
        ("application/json", "{}", 50006),
        ("application/json; charset=utf-8", r#"{"content":""}"#, 50006),
        ("text/plain", r#"{"content":"not read"}"#, 50006),
    ] {
        let request = client.0.post(&url).header("content-type", content_type).body(sent);
        let response = request.send().await.unwrap();
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["code"], code, "{content_type} {sent}");
    }
    assert_eq!((discord.counts().bad_requests, discord.messages().len()), (5, 0));
}

#[tokio::test]
async fn limits_and_webhooks_are_set_from_outside() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_second(1_769_848_200).unwrap()));
    let discord = SimulatedDiscord::start(Options { clock: clock.clone(), ..Options::default() }).await.unwrap();
    let client = Client::new();
    let (url, other) = (discord.webhook_url(), discord.add_webhook("other"));
    let content = json!({ "content": "a" });
    for _ in 0..5 {
        assert_eq!(client.post(&url, &content).await.0, StatusCode::NO_CONTENT);
    }
    let limited = client.0.post(&url).json(&content).send().await.unwrap();
    assert_eq!(limited.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(
        (&limited.headers()["retry-after"], &limited.headers()["x-ratelimit-remaining"]),
        (&"2".parse().unwrap(), &"0".parse().unwrap())
    );
    assert_eq!(limited.json::<Value>().await.unwrap()["retry_after"], 2.0);
    clock.advance(SignedDuration::from_secs(2));
    assert_eq!(client.post(&url, &content).await.0, StatusCode::NO_CONTENT);

    discord.limit_globally(Duration::from_secs(3));
    let (status, body) = client.post(&other, &content).await;
    assert_eq!((status, &body["global"]), (StatusCode::TOO_MANY_REQUESTS, &json!(true)));
    clock.advance(SignedDuration::from_secs(3));

    discord.delete_webhook();
    assert_eq!(
        client.post(&url, &content).await,
        (StatusCode::NOT_FOUND, json!({ "message": "Unknown Webhook", "code": 10015 }))
    );
    let (status, message) = client.post(&format!("{}?wait=true", other.replace("/api/", "/api/v10/")), &content).await;
    assert_eq!(status, StatusCode::OK);
    let id = message["id"].as_str().unwrap();
    assert!(discord.delete_message(id) && !discord.delete_message(id));
    let edited = client.call(Method::PATCH, &format!("{other}/messages/{id}"), &content).await;
    assert_eq!(edited, (StatusCode::NOT_FOUND, json!({ "message": "Unknown Message", "code": 10008 })));
    discord.delete_webhook_named("other");
    assert_eq!(client.post(&other, &content).await.0, StatusCode::NOT_FOUND);
    assert_eq!(discord.counts().violations(), 0);
}

#[tokio::test]
async fn faults_are_met_in_their_order() {
    let discord = SimulatedDiscord::start(Options::unlimited()).await.unwrap();
    let client = Client::new();
    let url = discord.webhook_url();
    let content = json!({ "content": "a" });
    discord.script(Action::Post, &Fault::Status(502), 1);
    discord.script(Action::Post, &Fault::Answer("what?".to_owned()), 1);
    discord.script(Action::Edit, &Fault::Status(500), 1);
    assert_eq!(client.post(&url, &content).await.0, StatusCode::BAD_GATEWAY);
    assert_eq!(client.post(&url, &content).await, (StatusCode::OK, Value::Null));
    assert_eq!(discord.messages().len(), 0);
    discord.script(Action::Post, &Fault::Delay(Duration::from_millis(1)), 1);
    assert_eq!(client.post(&url, &content).await.0, StatusCode::NO_CONTENT);
    let statuses: Vec<_> = discord.requests().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [None, None, Some(204)]);
}

#[tokio::test]
async fn what_is_not_answered_may_have_happened() {
    let discord = SimulatedDiscord::start(Options::unlimited()).await.unwrap();
    let url = discord.webhook_url();
    let content = json!({ "content": "a" });
    let client = Client::new();
    for (fault, posted) in [(Fault::Hang, 0), (Fault::Drip(Duration::from_millis(20)), 0), (Fault::Unanswered, 1)] {
        discord.script(Action::Post, &fault, 1);
        let before = discord.counts();
        let answered = async { client.0.post(&url).json(&content).send().await?.bytes().await };
        let arrived = discord.wait_until(|state| state.counts.requests > before.requests);
        let counts = tokio::select! {
            answer = answered => panic!("{answer:?} to {fault:?}"),
            arrived = arrived => arrived.unwrap(),
        };
        assert_eq!(counts.posted - before.posted, posted, "{fault:?}");
    }
    // A request that hangs does not hold it up.
    discord.script(Action::Post, &Fault::Hang, 1);
    let stopping = async {
        discord.wait_until(|state| state.counts.requests == 4).await.unwrap();
        discord.stop().await;
    };
    let (hung, ()) = tokio::join!(client.0.post(&url).json(&content).send(), stopping);
    assert!(hung.is_err() || hung.is_ok_and(|response| response.status() == StatusCode::SERVICE_UNAVAILABLE));
}

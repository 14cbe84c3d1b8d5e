use std::time::{Duration, Instant};

use axum::http::Method;
use serde_json::json;

use crate::domain::clock::Clock;
use crate::domain::delivery::{Consequences, Outcome as Delivered, Settlement};
use crate::domain::task::{Outcome, Pingback, TaskId};
use crate::http::testing::{Answer, Fixture, config, receiver, request};
use crate::store::Polled;

fn fixture() -> Fixture {
    let mut config = config();
    config.receivers = vec![receiver("default")];
    Fixture::new(config)
}

/// An alert that Discord refuses, and a pingback that was made up.
pub(in crate::http) async fn bury(fixture: &Fixture) {
    let body = r#"{"status":"firing","groupKey":"k","alerts":[{"labels":{"alertname":"A"}}]}"#;
    assert_eq!(fixture.post("/alertmanager", body).await.status, 200);
    let lease = Duration::from_mins(1);
    let claimed = fixture.store.claim("discord/default", 1, None, lease).await.unwrap().deliveries.remove(0);
    let outcome = Delivered::Dead { reason: "refused", error: "status 400".to_owned() };
    let (seq, lease_number, version) = (claimed.seq, claimed.lease, claimed.version);
    let settlement = Settlement { seq, lease: lease_number, version, outcome };
    fixture.store.settle(vec![(settlement, Consequences::default())], lease).await.unwrap();
    bury_pingback(fixture).await;
}

/// A pingback that was made up.
pub(in crate::http) async fn bury_pingback(fixture: &Fixture) {
    let id = TaskId::parse("7").unwrap();
    let pingback = Pingback {
        id: id.clone(),
        outcome: Outcome::from_code("03AGdBq25"),
        received_at: fixture.clock.now(),
        account: None,
        captcha: "other".into(),
        submitted_at: None,
        verify: true,
    };
    fixture.store.keep_pingback(pingback, Instant::now()).await.unwrap();
    fixture.store.polled(id, Polled::GivenUp).await.unwrap();
}

async fn delete(fixture: &Fixture, path: &str) -> Answer {
    fixture.send(request(Method::DELETE, path, "")).await
}

async fn ids(fixture: &Fixture) -> Vec<String> {
    let list = fixture.get("/api/v1/dead-letters").await.json();
    let letters = list["dead_letters"].as_array().unwrap().iter();
    letters.map(|letter| letter["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn letters_are_listed_in_pages_without_solutions() {
    let fixture = fixture();
    assert_eq!(fixture.get("/api/v1/dead-letters").await.json(), json!({"dead_letters": [], "next": null}));
    bury(&fixture).await;
    let answer = fixture.get("/api/v1/dead-letters?limit=1").await;
    let first = answer.json();
    assert_eq!((first["next"].as_str(), first["dead_letters"].as_array().unwrap().len()), (Some("1"), 1));
    let letter = &first["dead_letters"][0];
    assert_eq!(
        (
            letter["source"].as_str(),
            letter["reason"].as_str(),
            letter["last_error"].as_str(),
            letter["attempts"].as_u64()
        ),
        (Some("discord/default"), Some("refused"), Some("status 400"), Some(1))
    );
    assert_eq!(
        (letter["added_at"].as_str(), letter["payload"]["alerts"][0]["labels"]["alertname"].as_str()),
        (Some("2026-01-31T08:30:00.000Z"), Some("A"))
    );
    let second = fixture.get("/api/v1/dead-letters?limit=1&after=1").await;
    assert_eq!(
        (second.json()["next"].as_str(), second.json()["dead_letters"][0]["reason"].as_str()),
        (None, Some("forged"))
    );
    assert!(!second.text().contains("03AGdBq25"), "{}", second.text());
    for query in ["limit=0", "limit=1001", "limit=x", "after=x"] {
        fixture.get(&format!("/api/v1/dead-letters?{query}")).await.error(400);
    }
    assert_eq!(fixture.sample(r#"captchaai_dead_letters{source="discord/default"}"#).await, Some(1.0));
    assert_eq!(fixture.sample(r#"captchaai_dead_letters{source="pingback"}"#).await, Some(1.0));
}

#[tokio::test]
async fn a_letter_is_tried_again_once() {
    let fixture = fixture();
    bury(&fixture).await;
    assert_eq!(fixture.post("/api/v1/dead-letters/1/retry", "").await.json(), json!({"retried": 1}));
    fixture.post("/api/v1/dead-letters/1/retry", "").await.error(404);
    fixture.post("/api/v1/dead-letters/x/retry", "").await.error(404);
    assert_eq!(fixture.post("/api/v1/dead-letters/2/retry", "").await.json(), json!({"retried": 1}));
    assert_eq!(ids(&fixture).await, Vec::<String>::new());
    let claim = fixture.store.claim("discord/default", 10, None, Duration::from_mins(1)).await.unwrap();
    assert_eq!(claim.deliveries.len(), 1);
    assert_eq!(fixture.store.claim_polls(None, 10).await.unwrap().len(), 1, "asked for anew");
    let removed =
        |source: &str, how: &str| fixture.metrics.dead_letters_removed.with_label_values(&[source, how]).get();
    assert_eq!((removed("discord/default", "replayed"), removed("pingback", "replayed")), (1, 1));
    assert_eq!(fixture.sample(r#"captchaai_dead_letters{source="discord/default"}"#).await, Some(0.0));
}

#[tokio::test]
async fn all_are_tried_again_that_can_be() {
    let fixture = fixture();
    bury(&fixture).await;
    let mut without = config();
    without.receivers.clear();
    fixture.config.send_replace(std::sync::Arc::new(without));
    assert_eq!(
        fixture.post("/api/v1/dead-letters/1/retry", "").await.error(409),
        crate::domain::dead_letter::NOT_CONFIGURED
    );
    assert_eq!(fixture.post("/api/v1/dead-letters/retry", "").await.json(), json!({"retried": 1, "refused": 1}));
    assert_eq!(ids(&fixture).await, ["1"]);
}

#[tokio::test]
async fn a_letter_is_discarded_once() {
    let fixture = fixture();
    bury(&fixture).await;
    assert_eq!(delete(&fixture, "/api/v1/dead-letters/1").await.json(), json!({"deleted": 1}));
    delete(&fixture, "/api/v1/dead-letters/1").await.error(404);
    assert_eq!(ids(&fixture).await, ["2"]);
    assert_eq!(fixture.metrics.dead_letters_removed.with_label_values(&["discord/default", "discarded"]).get(), 1);
}

#[tokio::test]
async fn the_token_is_asked_for() {
    let mut config = config();
    config.web.auth_token = Some("token".into());
    let fixture = Fixture::new(config);
    fixture.get("/api/v1/dead-letters").await.error(401);
    fixture.post("/api/v1/dead-letters/retry", "").await.error(401);
    delete(&fixture, "/api/v1/dead-letters/1").await.error(401);
}

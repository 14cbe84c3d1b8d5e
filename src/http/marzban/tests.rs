use std::time::{Duration, Instant};

use axum::http::Method;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::*;
use crate::http::testing::{Answer, Fixture, config, receiver, request};

fn fixture(secret: Option<&str>, signature: Signature) -> Fixture {
    let mut config = config();
    config.receivers = vec![receiver("default")];
    let (secret, receiver) = (secret.map(SecretString::from), Some("default".to_owned()));
    config.marzban = Some(Marzban { secret, signature, receiver });
    Fixture::new(config)
}

async fn post(fixture: &Fixture, secret: Option<&str>, body: &Value) -> Answer {
    let mut request = request(Method::POST, "/marzban", body.to_string());
    if let Some(secret) = secret {
        request.headers_mut().insert(HEADER, secret.parse().unwrap());
    }
    fixture.send(request).await
}

fn event(action: &str, tries: u64) -> Value {
    json!({"username": "ada", "action": action, "enqueued_at": 1.0, "send_at": 60 * tries, "tries": tries,
           "user": {"subscription_url": "https://panel/sub/hunter2"}, "by": {"username": "root", "password": "hunter2"}})
}

async fn waiting(fixture: &Fixture) -> Vec<String> {
    let claim = fixture.store.claim("discord/default", 10, None, Duration::from_mins(1)).await.unwrap();
    claim.deliveries.into_iter().map(|claimed| claimed.content).collect()
}

#[tokio::test]
async fn events_are_counted_and_told_in_one_message_without_credentials() {
    let fixture = fixture(None, Signature::Plain);
    let body = json!([event("user_created", 0), event("user_limited", 0), event("something_new", 0), 7]);
    let answer = post(&fixture, None, &body).await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, r#"{"accepted":4,"duplicates":0}"#));
    for (action, count) in [("user_created", 1.0), ("user_limited", 1.0), ("other", 2.0)] {
        let series = format!("captchaai_marzban_events_total{{action=\"{action}\"}}");
        assert_eq!(fixture.sample(&series).await, Some(count), "{action}");
    }
    let told = waiting(&fixture).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("user_limited") && told[0].contains("root") && !told[0].contains("hunter2"), "{told:?}");
}

#[tokio::test]
async fn repetitions_are_recognized_and_equal_events_are_not_taken_for_them() {
    let fixture = fixture(None, Signature::Plain);
    for (body, expected) in [
        (event("user_deleted", 0), r#"{"accepted":1,"duplicates":0}"#),
        (event("user_deleted", 0), r#"{"accepted":1,"duplicates":0}"#),
        (event("user_deleted", 1), r#"{"accepted":0,"duplicates":1}"#),
        (json!([event("user_deleted", 2), event("user_updated", 1)]), r#"{"accepted":1,"duplicates":1}"#),
    ] {
        assert_eq!(post(&fixture, None, &body).await.text(), expected, "{body}");
    }
    assert_eq!(waiting(&fixture).await.len(), 3);
    fixture.clock.advance(jiff::SignedDuration::from_hours(2));
    fixture.store.forget_alerts(10).await.unwrap();
    assert_eq!(post(&fixture, None, &event("user_deleted", 3)).await.text(), r#"{"accepted":1,"duplicates":0}"#);
}

#[tokio::test]
async fn the_secret_is_asked_for_in_the_clear_or_as_a_signature() {
    let body = event("user_created", 0);
    let mut mac = Hmac::<Sha256>::new_from_slice(b"secret").unwrap();
    mac.update(body.to_string().as_bytes());
    let signed = format!("{:x}", Bytes::copy_from_slice(&mac.finalize().into_bytes()));
    for (signature, given, status) in [
        (Signature::Plain, Some("secret"), 200),
        (Signature::Plain, Some("wrong"), 403),
        (Signature::Plain, None, 403),
        (Signature::Plain, Some(signed.as_str()), 403),
        (Signature::Hmac, Some(signed.as_str()), 200),
        (Signature::Hmac, Some(&signed.to_uppercase()), 200),
        (Signature::Hmac, Some("secret"), 200),
        (Signature::Hmac, Some("wrong"), 403),
    ] {
        let fixture = fixture(Some("secret"), signature);
        assert_eq!(post(&fixture, given, &body).await.status, status, "{signature:?} {given:?}");
    }
}

#[tokio::test]
async fn what_is_no_use_is_refused_and_what_cannot_be_kept_is_asked_for_again() {
    let fixture = fixture(None, Signature::Plain);
    fixture.post("/marzban", "<html>").await.error(400);
    fixture.post("/marzban", "7").await.error(400);
    assert_eq!(fixture.post("/marzban", "[]").await.text(), r#"{"accepted":0,"duplicates":0}"#);
    assert_eq!(waiting(&fixture).await, Vec::<String>::new());
    fixture.store.close().await;
    fixture.post("/marzban", event("user_created", 0).to_string()).await.error(503);
    Fixture::new(config()).post("/marzban", "[]").await.error(404);
}

#[tokio::test]
async fn a_storm_is_one_message() {
    let fixture = fixture(None, Signature::Plain);
    let storm: Value = (0..5000)
        .map(|number| json!({"username": format!("u{number}"), "action": "user_expired", "tries": 0}))
        .collect();
    let started = Instant::now();
    assert_eq!(post(&fixture, None, &storm).await.text(), r#"{"accepted":5000,"duplicates":0}"#);
    assert!(started.elapsed() < Duration::from_secs(20));
    let told = waiting(&fixture).await;
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("u19") && !told[0].contains("u20") && told[0].contains("4980"), "{told:?}");
}

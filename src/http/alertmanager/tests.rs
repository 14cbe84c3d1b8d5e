use std::time::Duration;

use axum::http::Method;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::*;
use crate::domain::alert::Rank;
use crate::http::testing::{Fixture, config, receiver, request};

fn fixture(names: &[&str]) -> Fixture {
    let mut config = config();
    config.receivers = names.iter().map(|name| receiver(name)).collect();
    Fixture::new(config)
}

fn firing() -> Value {
    json!({
        "version": "4",
        "groupKey": "{}:{alertname=\"A\"}",
        "status": "firing",
        "receiver": "web\\.hook",
        "alerts": [
            {"status": "firing", "labels": {"alertname": "A", "severity": "critical"}, "fingerprint": "1"},
            "no alert at all",
            {"status": "firing", "labels": {"alertname": "B", "severity": "warning"}, "fingerprint": "2"},
        ],
    })
}

async fn pending(fixture: &Fixture) -> Vec<(String, u64)> {
    let backlogs = fixture.store.backlogs().await.unwrap();
    backlogs.into_iter().map(|backlog| (backlog.destination, backlog.pending)).collect()
}

#[tokio::test]
async fn a_notification_is_kept_and_counted() {
    let fixture = fixture(&["default", "other"]);
    let answer = fixture.post("/alertmanager", firing().to_string()).await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, r#"{"deliveries":1}"#));
    assert_eq!(pending(&fixture).await, [("discord/default".to_owned(), 1)]);
    assert_eq!(fixture.post("/alertmanager/default", firing().to_string()).await.text(), r#"{"deliveries":0}"#);
    assert_eq!(fixture.post("/alertmanager/other", firing().to_string()).await.text(), r#"{"deliveries":1}"#);
    let sample = async |series: &str| fixture.sample(series).await;
    assert_eq!(sample(r#"captchaai_alert_notifications_total{receiver="default"}"#).await, Some(2.0));
    for (severity, count) in [("critical", 1.0), ("warning", 1.0), ("info", 0.0)] {
        let series = format!("captchaai_alerts_firing{{receiver=\"default\",severity=\"{severity}\"}}");
        assert_eq!(sample(&series).await, Some(count), "{severity}");
    }
    assert_eq!(sample(r#"captchaai_deliveries_pending{destination="discord/default"}"#).await, Some(1.0));
    fixture.clock.advance(jiff::SignedDuration::from_secs(90));
    let age = sample(r#"captchaai_delivery_oldest_pending_age_seconds{destination="discord/default"}"#).await;
    assert_eq!(age, Some(90.0));
}

#[tokio::test]
async fn what_is_refused_is_counted_by_reason() {
    let fixture = fixture(&["default"]);
    for (path, body, status, reason) in [
        ("/alertmanager/nobody", firing().to_string(), 404, "receiver"),
        ("/alertmanager", "<html>".to_owned(), 400, "unreadable"),
        ("/alertmanager", "[]".to_owned(), 400, "unreadable"),
        ("/alertmanager", " ".repeat(MAX_BODY + 1), 413, "too_large"),
    ] {
        let before = fixture.metrics.alert_notifications_rejected.with_label_values(&[reason]).get();
        fixture.post(path, body).await.error(status);
        let after = fixture.metrics.alert_notifications_rejected.with_label_values(&[reason]).get();
        assert_eq!(after, before + 1, "{path} {reason}");
    }
    assert_eq!(pending(&fixture).await, []);
}

#[tokio::test]
async fn what_cannot_be_kept_is_asked_for_again() {
    let fixture = fixture(&["default"]);
    fixture.store.close().await;
    fixture.post("/alertmanager", firing().to_string()).await.error(503);
    fixture.post("/alertmanager/watchdog", "{}").await.error(503);
    assert_eq!(fixture.metrics.alert_notifications_rejected.with_label_values(&["unavailable"]).get(), 1);
}

#[tokio::test]
async fn the_token_is_asked_for() {
    let mut config = config();
    config.receivers = vec![receiver("default")];
    config.web.auth_token = Some(SecretString::from("token"));
    let fixture = Fixture::new(config);
    for path in ["/alertmanager", "/alertmanager/default", "/alertmanager/watchdog"] {
        let answer = fixture.post(path, firing().to_string()).await;
        answer.error(401);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        let mut request = request(Method::POST, path, firing().to_string());
        request.headers_mut().insert("authorization", "Bearer token".parse().unwrap());
        assert_eq!(fixture.send(request).await.status, 200, "{path}");
    }
    fixture.post("/api/v1/tasks", "{}").await.error(401);
    assert_eq!(fixture.metrics.alert_notifications_rejected.with_label_values(&["token"]).get(), 3);
}

#[tokio::test]
async fn the_watchdog_is_heard() {
    let fixture = fixture(&[]);
    assert_eq!(fixture.sample("captchaai_watchdog_last_received_timestamp_seconds").await, Some(0.0));
    let answer = fixture.post("/alertmanager/watchdog", firing().to_string()).await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, r#"{"deliveries":0}"#));
    let heard = fixture.sample("captchaai_watchdog_last_received_timestamp_seconds").await;
    assert_eq!(heard, Some(1_769_848_200.0));
    tokio::time::timeout(Duration::from_secs(20), fixture.store.watchdog_heard().notified()).await.unwrap();
}

#[test]
fn without_a_name_it_is_the_default_or_the_only_one() {
    for (names, name, expected) in [
        (vec!["default", "b"], None, Some("default")),
        (vec!["b"], None, Some("b")),
        (vec!["a", "b"], None, None),
        (vec![], None, None),
        (vec!["a", "b"], Some("b"), Some("b")),
        (vec!["b"], Some("a"), None),
    ] {
        let mut config = config();
        config.receivers = names.iter().map(|name| receiver(name)).collect();
        let found = super::receiver(&config, name).map(|receiver| receiver.name.as_str());
        assert_eq!(found, expected, "{names:?} {name:?}");
    }
}

#[tokio::test]
async fn a_long_notification_is_read_aside_and_kept_whole() {
    let fixture = fixture(&["default"]);
    let mut body = firing();
    let alert = |number: usize| json!({"labels": {"alertname": "A", "n": number.to_string(), "x": "y".repeat(100)}});
    body["alerts"] = (0..2000).map(alert).collect();
    assert!(body.to_string().len() > LONG_BODY);
    assert_eq!(fixture.post("/alertmanager", body.to_string()).await.status, 200);
    let claim = fixture.store.claim("discord/default", 1, None, Duration::from_mins(1)).await.unwrap();
    let group: crate::domain::alert::Group = serde_json::from_str(&claim.deliveries[0].content).unwrap();
    assert_eq!((group.alerts.len(), group.rank()), (2000, Rank::Info));
}

#[tokio::test]
async fn long_notifications_take_turns_and_short_ones_pass() {
    let fixture = fixture(&["default"]);
    let state = fixture.shared();
    let turns = u32::try_from(state.notifications().available_permits()).unwrap();
    let all = state.notifications().acquire_many(turns).await.unwrap();
    let mut body = firing();
    body["filler"] = "x".repeat(LONG_BODY).into();
    let long = request(Method::POST, "/alertmanager", body.to_string());
    let mut long = std::pin::pin!(take(&state, None, long));
    let short = request(Method::POST, "/alertmanager", firing().to_string());
    tokio::select! {
        biased;
        _ = &mut long => panic!("it is not its turn"),
        answer = take(&state, None, short) => assert_eq!(answer.unwrap().status(), 200),
    }
    drop(all);
    assert_eq!(long.await.unwrap().status(), 200);
}

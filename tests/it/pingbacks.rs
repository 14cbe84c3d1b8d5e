//! `GET|POST /pingback[/TOKEN]`, as the contract promises it.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Setup, text};

#[tokio::test]
async fn a_pingback_is_kept_in_every_form() {
    let exporter = Setup::new().start();
    let long = "x".repeat(16 * 1024);
    for (number, (query, code)) in [
        ("id=ID&code=plain", "plain"),
        ("captcha=turnstile&worker=w1?id=ID&code=second-question-mark", "second-question-mark"),
        ("code=a%2Bb%26c%3D%3F&id=ID", "a+b&c=?"),
        ("code=one+two&id=ID", "one two"),
        ("id=ID&code=100%", "100%"),
        ("id=other&id=ID&code=", ""),
        (&format!("id=ID&code={long}"), &long),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("form-{number}");
        let (status, body) = exporter.get(&format!("/pingback?{}", query.replace("ID", &id))).await;
        if code.is_empty() {
            assert_eq!(status, 400, "{body}");
            continue;
        }
        assert_eq!((status.as_u16(), body.as_str()), (200, "OK"), "{query}");
        let task = exporter.task(&id).await;
        assert_eq!(task["code"], code, "{query}");
        assert_eq!((&task["status"], &task["source"]), (&json!("solved"), &json!("pingback")));
    }
    for (number, (content_type, body)) in [
        ("application/x-www-form-urlencoded", "id=ID&code=from+a+body"),
        ("application/json", r#"{"id":"ID","code":"from a body"}"#),
        ("text/plain", "id=ID&code=from+a+body"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("body-{number}");
        let request = exporter.request(Method::POST, "/pingback").header("content-type", content_type);
        let (status, answer) = text(request.body(body.replace("ID", &id)).send().await.unwrap()).await;
        assert_eq!((status.as_u16(), answer.as_str()), (200, "OK"), "{content_type}");
        assert_eq!(exporter.task(&id).await["code"], "from a body", "{content_type}");
    }
}

#[tokio::test]
async fn what_is_refused_is_counted_once_by_reason() {
    let exporter = Setup::new().start();
    for (query, expected, reason) in [
        ("", 400, "bad_id"),
        ("?code=x", 400, "bad_id"),
        ("?id=a%20b&code=x", 400, "bad_id"),
        ("?id=1", 400, "no_code"),
        ("?id=1&code=", 400, "no_code"),
        (&format!("?id=1&code={}", "x".repeat(16 * 1024 + 1)), 400, "no_code"),
    ] {
        let series = format!("captchaai_pingbacks_rejected_total{{reason=\"{reason}\"}}");
        let before = exporter.metric(&series).await.unwrap();
        let (status, body) = exporter.get(&format!("/pingback{query}")).await;
        assert_eq!(status.as_u16(), expected, "{query}");
        assert!(body.starts_with("{\"error\":\""), "{body}");
        assert_eq!(exporter.metric(&series).await, Some(before + 1.0), "{query}");
    }
    assert_eq!(exporter.metric("captchaai_pingbacks_total").await, Some(6.0));
    assert_eq!(exporter.get("/api/v1/tasks/1").await.0, 404);
}

#[tokio::test]
async fn a_token_in_the_path_is_asked_for_and_never_told() {
    let mut setup = Setup::new();
    setup.config = "pingback: { token: correct-horse, unknown: accept }".to_owned();
    let exporter = setup.start();
    let unknown = exporter.get("/no/such/path").await;
    for path in ["/pingback", "/pingback/", "/pingback/wrong", "/pingback/correct-hors", "/pingback/correct-horse/more"]
    {
        let (status, body) = exporter.get(&format!("{path}?id=1&code=x")).await;
        assert_eq!(status, 404, "{path}");
        assert_eq!(body, unknown.1, "{path} tells something");
    }
    assert_eq!(exporter.metric(r#"captchaai_pingbacks_rejected_total{reason="token"}"#).await, Some(5.0));
    let (status, _) = exporter.get("/pingback/correct-horse?id=1&code=solution").await;
    assert_eq!(status, 200);
    assert_eq!(exporter.task("1").await["code"], "solution");
    let log = exporter.log();
    assert!(!log.contains("correct-horse") && !log.contains("solution"), "{log}");
}

#[tokio::test]
async fn without_a_token_every_form_of_the_path_is_taken() {
    let exporter = Setup::new().start();
    for (id, path) in [("a", "/pingback"), ("b", "/pingback/"), ("c", "/pingback/old-token"), ("d", "/pingback/old/")] {
        let (status, body) = exporter.get(&format!("{path}?id={id}&code=x")).await;
        assert_eq!((status.as_u16(), body.as_str()), (200, "OK"), "{path}");
        assert_eq!(exporter.task(id).await["code"], "x");
    }
}

#[tokio::test]
async fn a_body_that_is_refused_does_not_cost_what_the_query_says() {
    let exporter = Setup::new().start();
    let request = exporter.request(Method::POST, "/pingback?id=1&code=x").body("y".repeat(70_000));
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert_eq!(exporter.task("1").await["code"], "x");
    let request = exporter.request(Method::POST, "/pingback?id=2").body("y".repeat(70_000));
    assert_eq!(request.send().await.unwrap().status(), 413);
}

#[tokio::test]
async fn addresses_that_are_not_allowed_are_refused() {
    let mut setup = Setup::new();
    setup.config = "web: { trusted_proxies: [127.0.0.0/8] }\npingback: { allow_from: [192.0.2.0/24] }".to_owned();
    let exporter = setup.start();
    assert_eq!(exporter.get("/pingback?id=1&code=x").await.0, 403);
    for (forwarded, expected) in
        [("192.0.2.7", 200), ("198.51.100.1", 403), ("192.0.2.7, 198.51.100.1", 403), ("198.51.100.1, 192.0.2.7", 200)]
    {
        let request = exporter.request(Method::GET, "/pingback?id=1&code=x").header("x-forwarded-for", forwarded);
        assert_eq!(request.send().await.unwrap().status(), expected, "{forwarded}");
    }
    let refused = exporter.metric(r#"captchaai_pingbacks_rejected_total{reason="address"}"#).await;
    assert_eq!(refused, Some(3.0));
}

#[tokio::test]
async fn what_a_pingback_says_besides_never_costs_the_result() {
    let mut setup = Setup::new();
    setup.account("second", "http://127.0.0.1:9");
    let exporter = setup.start();
    exporter.pingback("id=1&code=x&captcha=nonsense&ts=yesterday&worker=%00&account=nobody").await;
    let task = exporter.task("1").await;
    assert_eq!(
        task,
        json!({"id": "1", "account": null, "captcha": "other", "status": "solved", "code": "x",
        "error": null, "submitted_at": null, "finished_at": task["finished_at"], "source": "pingback"})
    );
    exporter.pingback("id=2&code=x&captcha=turnstile&ts=1769848200&account=second").await;
    let task = exporter.task("2").await;
    assert_eq!(task["account"], "second");
    assert_eq!(task["captcha"], "turnstile");
    assert_eq!(task["submitted_at"], "2026-01-31T08:30:00.000Z");
}

#[tokio::test]
async fn repetitions_and_contradictions_are_counted_and_the_first_result_stays() {
    let exporter = Setup::new().start();
    exporter.register(json!({"id": "1", "captcha": "turnstile"})).await;
    for code in ["first", "first", "second", "ERROR_CAPTCHA_UNSOLVABLE"] {
        exporter.pingback(&format!("id=1&code={code}")).await;
    }
    assert_eq!(exporter.task("1").await["code"], "first");
    assert_eq!(exporter.metric("captchaai_pingbacks_total").await, Some(4.0));
    assert_eq!(exporter.metric("captchaai_pingback_duplicates_total").await, Some(1.0));
    assert_eq!(exporter.metric("captchaai_pingback_conflicts_total").await, Some(2.0));
    let finished = exporter.metric(r#"captchaai_tasks_finished_total{account="main",captcha="turnstile"}"#).await;
    assert_eq!(finished, Some(1.0));
}

#[tokio::test]
async fn a_code_that_begins_with_error_is_a_failure() {
    let exporter = Setup::new().start();
    exporter.register(json!({"id": "1", "captcha": "image"})).await;
    exporter.pingback("id=1&code=ERROR_CAPTCHA_UNSOLVABLE").await;
    let task = exporter.task("1").await;
    assert_eq!(task["status"], "failed");
    assert_eq!(task["error"], "ERROR_CAPTCHA_UNSOLVABLE");
    assert_eq!(task["code"], json!(null));
    let errors = r#"captchaai_task_errors_total{account="main",code="ERROR_CAPTCHA_UNSOLVABLE"}"#;
    assert_eq!(exporter.metric(errors).await, Some(1.0));
    let failed = exporter.metric(r#"captchaai_tasks_failed_total{account="main",captcha="image"}"#).await;
    assert_eq!(failed, Some(1.0));
}

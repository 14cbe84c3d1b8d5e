//! `POST /api/v1/tasks` and `GET /api/v1/tasks/ID`, as the contract promises them.

use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Setup, eventually, text};

#[tokio::test]
async fn a_task_goes_from_registration_to_result() {
    let exporter = Setup::new().start();
    exporter
        .register(json!({"id": "7", "account": "main", "captcha": "recaptcha_v2",
            "submitted_at": "2026-01-31T10:30:00.5+02:00", "worker": "w1"}))
        .await;
    let mut expected = json!({"id": "7", "account": "main", "captcha": "recaptcha_v2", "status": "pending",
        "code": null, "error": null, "submitted_at": "2026-01-31T08:30:00.500Z", "finished_at": null, "source": null});
    assert_eq!(exporter.task("7").await, expected);
    exporter.pingback("id=7&code=03AGdBq25").await;
    let solved = exporter.task("7").await;
    expected["status"] = json!("solved");
    expected["code"] = json!("03AGdBq25");
    expected["source"] = json!("pingback");
    expected["finished_at"] = solved["finished_at"].clone();
    assert_eq!(solved, expected);
    assert!(solved["finished_at"].as_str().is_some_and(|time| time.ends_with('Z')));
    assert_eq!(exporter.get("/api/v1/tasks/8").await.0, 404);
    assert_eq!(exporter.get("/api/v1/tasks/not%20an%20id").await.0, 404);
}

#[tokio::test]
async fn a_pingback_may_come_before_its_registration() {
    let exporter = Setup::new().start();
    exporter.pingback("id=early&code=code").await;
    exporter.register(json!({"id": "early", "captcha": "hcaptcha", "submitted_at": 1_769_848_200})).await;
    let task = exporter.task("early").await;
    assert_eq!((&task["captcha"], &task["code"]), (&json!("hcaptcha"), &json!("code")));
    assert_eq!(task["submitted_at"], "2026-01-31T08:30:00.000Z");
    let submitted = exporter.metric(r#"captchaai_tasks_submitted_total{account="main",captcha="hcaptcha"}"#).await;
    assert_eq!(submitted, Some(1.0));
    assert_eq!(exporter.metric(r#"captchaai_pingbacks_expected_total{account="main"}"#).await, Some(1.0));
}

#[tokio::test]
async fn many_are_all_kept_or_none() {
    let mut setup = Setup::new();
    setup.account("second", "http://127.0.0.1:9");
    let exporter = setup.start();
    let tasks: Vec<_> = (0..1000).map(|number| json!({"id": format!("m{number}"), "account": "main"})).collect();
    assert_eq!(exporter.post("/api/v1/tasks", json!(tasks)).await.1, r#"{"accepted":1000}"#);
    assert_eq!(exporter.metric(r#"captchaai_queue_tasks{account="main"}"#).await, Some(1000.0));
    assert_eq!(exporter.metric(r#"captchaai_queue_tasks{account="second"}"#).await, Some(0.0));
    // Retries of a client change nothing.
    assert_eq!(exporter.post("/api/v1/tasks", json!(tasks)).await.1, r#"{"accepted":1000}"#);
    let submitted = r#"captchaai_tasks_submitted_total{account="main",captcha="other"}"#;
    assert_eq!(exporter.metric(submitted).await, Some(1000.0));

    let with = |fault: Value| json!([{"id": "fine", "account": "main"}, fault]);
    for (body, words) in [
        (with(json!({"id": "a b", "account": "main"})), "id"),
        (with(json!({"account": "main"})), "id"),
        (with(json!({"id": "x"})), "account"),
        (with(json!({"id": "x", "account": "nobody"})), "account"),
        (with(json!({"id": "x", "account": "main", "submitted_at": "yesterday"})), "submitted_at"),
        (with(json!({"id": "x", "account": "main", "submitted_at": 1_769_848_200_000_u64})), "submitted_at"),
        (with(json!("x")), "object"),
    ] {
        let (status, answer) = exporter.post("/api/v1/tasks", &body).await;
        assert_eq!(status, 400, "{body}");
        let error: Value = serde_json::from_str(&answer).unwrap();
        let error = error["error"].as_str().unwrap();
        assert!(error.contains('1') && error.contains(words), "{body}: {error}");
        assert_eq!(exporter.get("/api/v1/tasks/fine").await.0, 404, "{body} stored something");
    }
    let too_many: Vec<_> = (0..1001).map(|number| json!({"id": format!("t{number}"), "account": "main"})).collect();
    for body in [json!(too_many).to_string(), "{".to_owned(), "7".to_owned(), String::new()] {
        assert_eq!(exporter.post("/api/v1/tasks", body).await.0, 400);
    }
    assert_eq!(exporter.post("/api/v1/tasks", " ".repeat(4 * 1024 * 1024 + 1)).await.0, 413);
}

#[tokio::test]
async fn refused_submissions_are_counted_by_code() {
    let exporter = Setup::new().start();
    let body =
        json!([{"error": "ERROR_ZERO_BALANCE"}, {"error": "ERROR_NEW_AND_STRANGE", "account": "main"}, {"id": "1"}]);
    assert_eq!(exporter.post("/api/v1/tasks", body).await.1, r#"{"accepted":3}"#);
    for (code, count) in [("ERROR_ZERO_BALANCE", 1.0), ("other", 1.0), ("ERROR_PAGEURL", 0.0)] {
        let series = format!("captchaai_submit_errors_total{{account=\"main\",code=\"{code}\"}}");
        assert_eq!(exporter.metric(&series).await, Some(count), "{code}");
    }
    assert_eq!(exporter.metric(r#"captchaai_queue_tasks{account="main"}"#).await, Some(1.0));
}

#[tokio::test]
async fn a_long_poll_is_answered_by_the_result() {
    let exporter = Setup::new().start();
    exporter.register(json!({"id": "1"})).await;
    let asked = Instant::now();
    let waiting = exporter.get("/api/v1/tasks/1?wait=60s");
    let solving = async {
        // Only when the question is there.
        eventually("the question", async || {
            let answered = exporter.metric(r#"captchaai_http_requests_total{code="200",handler="/metrics"}"#).await;
            (answered >= Some(3.0)).then_some(())
        })
        .await;
        exporter.pingback("id=1&code=solution").await;
    };
    let ((status, body), ()) = tokio::join!(waiting, solving);
    assert_eq!(status, 200);
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["code"], "solution");
    assert!(asked.elapsed().as_secs() < 30, "woken by the result and not by the time");

    exporter.register(json!({"id": "2"})).await;
    let (status, body) = exporter.get("/api/v1/tasks/2?wait=10ms").await;
    assert_eq!(status, 200);
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["status"], "pending");
    assert_eq!(exporter.get("/api/v1/tasks/2?wait=soon").await.0, 400);
}

#[tokio::test]
async fn the_api_asks_for_its_token() {
    let mut setup = Setup::new();
    setup.config = "web: { auth_token: s3cret-token }".to_owned();
    let exporter = setup.start();
    let ask = async |method: Method, path: &str, authorization: Option<&str>| {
        let mut request = exporter.request(method, path).body(r#"{"id":"1"}"#);
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        request.send().await.unwrap()
    };
    for authorization in [None, Some("Bearer wrong"), Some("Bearer "), Some("Basic s3cret-token"), Some("s3cret-token")]
    {
        for (method, path) in
            [(Method::POST, "/api/v1/tasks"), (Method::GET, "/api/v1/tasks/1"), (Method::POST, "/-/reload")]
        {
            let answer = ask(method, path, authorization).await;
            assert_eq!(answer.headers().get("www-authenticate").unwrap(), "Bearer", "{path}");
            let (status, body) = text(answer).await;
            assert_eq!(status, 401, "{authorization:?}");
            assert!(body.starts_with("{\"error\":\""), "{body}");
        }
    }
    assert_eq!(ask(Method::POST, "/api/v1/tasks", Some("Bearer s3cret-token")).await.status(), 200);
    assert_eq!(ask(Method::GET, "/api/v1/tasks/1", Some("bearer s3cret-token")).await.status(), 200);
    for open in ["/metrics", "/-/healthy", "/-/ready", "/", "/pingback?id=1&code=x"] {
        assert_eq!(ask(Method::GET, open, None).await.status(), 200, "{open}");
    }
    assert!(!exporter.log().contains("s3cret-token"));
}

#[tokio::test]
async fn without_a_token_other_sites_in_a_browser_may_not_ask() {
    let exporter = Setup::new().start();
    for (site, status) in [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)] {
        let request = exporter.request(Method::POST, "/api/v1/tasks").header("sec-fetch-site", site);
        let answer = request.body(r#"{"id":"1"}"#).send().await.unwrap();
        assert_eq!(answer.status(), status, "{site}");
    }
}

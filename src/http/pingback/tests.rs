use axum::body::Body;
use axum::http::Method;
use serde_json::json;

use super::*;
use crate::config::Config;
use crate::domain::time::format_timestamp;
use crate::http::testing::{Answer, Fixture, account, config, now, request, send};

fn read(config: &Config, query: &str) -> Result<Pingback, Rejection> {
    understand(config, &parse_query(query.as_bytes()), now())
}

#[test]
fn only_the_id_and_the_code_are_needed() {
    let long = "x".repeat(MAX_CODE_BYTES);
    let too_long = format!("{long}x");
    for (query, expected) in [
        ("id=1&code=x".to_owned(), Ok("x")),
        ("id=+1%0a&code=x".to_owned(), Ok("x")),
        ("id=1&code=+x+".to_owned(), Ok(" x ")),
        (format!("id=1&code={long}"), Ok(long.as_str())),
        (format!("id=1&code={too_long}"), Err(Rejection::NoCode)),
        ("id=1".to_owned(), Err(Rejection::NoCode)),
        ("id=1&code=".to_owned(), Err(Rejection::NoCode)),
        ("id=1&code=CAPCHA_NOT_READY".to_owned(), Err(Rejection::NoCode)),
        ("id=1&code=+CAPCHA_NOT_READY%0A".to_owned(), Err(Rejection::NoCode)),
        ("id=1&code=CAPCHA_NOT_READY_1".to_owned(), Ok("CAPCHA_NOT_READY_1")),
        ("code=x".to_owned(), Err(Rejection::BadId)),
        ("id=%20&code=x".to_owned(), Err(Rejection::BadId)),
        ("id=a+b&code=x".to_owned(), Err(Rejection::BadId)),
        (format!("id={}&code=x", "1".repeat(65)), Err(Rejection::BadId)),
        (String::new(), Err(Rejection::BadId)),
    ] {
        let pingback = read(&config(), &query);
        let code = pingback.as_ref().map(|pingback| pingback.outcome.code().unwrap()).map_err(|error| *error);
        assert_eq!(code, expected, "{query}");
    }
}

#[test]
fn what_else_cannot_be_used_is_ignored() {
    let mut two = config();
    two.accounts.push(account("second"));
    for (config, query, account, captcha, submitted_at) in [
        (&config(), "", Some("main"), "other", None),
        (&config(), "&account=nobody&captcha=new&ts=soon&worker=%00", Some("main"), "other", None),
        (&two, "", None, "other", None),
        (&two, "&account=nobody&captcha=", None, "other", None),
        (&two, "&account=second&captcha=bls&ts=1769848100.5", Some("second"), "bls", Some("2026-01-31T08:28:20.500Z")),
        (&two, "&ts=2026-01-31T08:28:20Z", None, "other", Some("2026-01-31T08:28:20.000Z")),
    ] {
        let pingback = read(config, &format!("id=1&code=x{query}")).unwrap();
        assert_eq!(pingback.account.as_deref(), account, "{query}");
        assert_eq!(&*pingback.captcha, captcha, "{query}");
        assert_eq!(pingback.submitted_at.map(format_timestamp).as_deref(), submitted_at, "{query}");
        assert_eq!(pingback.received_at, now());
    }
}

/// The first result wins, and this is none.
#[tokio::test]
async fn a_task_that_is_not_ready_still_gets_its_result() {
    let fixture = Fixture::new(config());
    fixture.post("/api/v1/tasks", r#"{"id":"1"}"#).await;
    fixture.get("/pingback?id=1&code=CAPCHA_NOT_READY").await.error(400);
    assert_eq!(fixture.get("/api/v1/tasks/1").await.json()["status"], "pending");
    fixture.get("/pingback?id=1&code=x").await.expect_ok();
    assert_eq!(fixture.get("/api/v1/tasks/1").await.json()["code"], "x");
    assert_eq!(rejections(&fixture).await, [Some(0.0), Some(0.0), Some(0.0), Some(1.0), Some(2.0)]);
}

async fn rejections(fixture: &Fixture) -> [Option<f64>; 5] {
    let mut counts = [None; 5];
    for (count, reason) in counts.iter_mut().zip(["address", "token", "bad_id", "no_code"]) {
        *count = fixture.sample(&format!("captchaai_pingbacks_rejected_total{{reason=\"{reason}\"}}")).await;
    }
    counts[4] = fixture.sample("captchaai_pingbacks_total").await;
    counts
}

/// Each check comes before the next, and a pingback that fails several is counted for the first.
#[tokio::test]
async fn refusals_come_in_order_and_are_counted_once() {
    let mut config = config();
    config.pingback.token = Some("right".into());
    config.pingback.allow_from = vec!["192.0.2.0/24".parse().unwrap()];
    config.web.trusted_proxies = vec!["192.0.2.9/32".parse().unwrap()];
    let fixture = Fixture::new(config);
    let ask = async |peer: &str, path: &str| -> Answer {
        let mut request = request(Method::GET, path, "");
        request.extensions_mut().insert(Peer(format!("{peer}:1").parse().unwrap()));
        request.headers_mut().insert("x-forwarded-for", "203.0.113.5".parse().unwrap());
        send(fixture.router(), request).await
    };
    ask("203.0.113.5", "/pingback/wrong").await.error(403);
    ask("192.0.2.9", "/pingback/right?id=1&code=x").await.error(403);
    assert_eq!(rejections(&fixture).await, [Some(2.0), Some(0.0), Some(0.0), Some(0.0), Some(2.0)]);
    for path in ["/pingback", "/pingback/wrong?id=1&code=x", "/pingback/Right", "/pingback/%ff", "/pingback/right1"] {
        let refused = ask("192.0.2.1", path).await;
        let unknown = ask("192.0.2.1", "/nothing").await;
        assert_eq!((refused.status, &refused.body), (unknown.status, &unknown.body), "{path}");
        assert_eq!(refused.headers, unknown.headers, "{path}");
    }
    assert_eq!(rejections(&fixture).await, [Some(2.0), Some(5.0), Some(0.0), Some(0.0), Some(7.0)]);
    ask("192.0.2.1", "/pingback/right").await.error(400);
    ask("192.0.2.1", "/pingback/right?id=1").await.error(400);
    assert_eq!(rejections(&fixture).await, [Some(2.0), Some(5.0), Some(1.0), Some(1.0), Some(9.0)]);
    ask("192.0.2.1", "/pingback/%72ight?id=1&code=x").await.expect_ok();
    assert_eq!(rejections(&fixture).await, [Some(2.0), Some(5.0), Some(1.0), Some(1.0), Some(10.0)]);
}

#[tokio::test]
async fn without_a_configured_token_any_is_accepted() {
    let fixture = Fixture::new(config());
    for path in ["/pingback?id=1&code=x", "/pingback/old-token?id=1&code=x", "/pingback/%ff?id=1&code=x"] {
        fixture.get(path).await.expect_ok();
    }
}

#[tokio::test]
async fn an_unknown_peer_is_not_an_allowed_one() {
    let mut config = config();
    config.pingback.allow_from = vec!["0.0.0.0/0".parse().unwrap()];
    let fixture = Fixture::new(config);
    let mut request = request(Method::GET, "/pingback?id=1&code=x", "");
    request.extensions_mut().remove::<Peer>();
    fixture.send(request).await.error(403);
}

#[tokio::test]
async fn a_body_goes_before_the_query_and_is_bounded() {
    let fixture = Fixture::new(config());
    for (id, query, body) in [
        ("b1", "id=b1&code=query", "code=body"),
        ("b2", "id=other&code=query", r#"{"id":"b2","code":"body"}"#),
        ("b3", "", "id=b3&code=body"),
    ] {
        fixture.post(&format!("/pingback?{query}"), body).await.expect_ok();
        let task = fixture.get(&format!("/api/v1/tasks/{id}")).await.json();
        assert_eq!(task["code"], "body", "{query}");
    }
    fixture.post("/pingback?id=b4&code=query", "nonsense").await.expect_ok();
    let most = format!("id=1&code=x&padding={}", "x".repeat(MAX_PINGBACK_BODY - 20));
    assert_eq!(most.len(), MAX_PINGBACK_BODY);
    fixture.post("/pingback", most.clone()).await.expect_ok();
    fixture.post("/pingback", Body::from(most + "x")).await.error(413);
    assert_eq!(rejections(&fixture).await, [Some(0.0), Some(0.0), Some(0.0), Some(1.0), Some(6.0)]);
}

#[tokio::test]
async fn the_result_is_there_when_it_is_acknowledged() {
    let fixture = Fixture::new(config());
    fixture.get("/pingback/t?captcha=turnstile?id=7&code=03AGdBq25").await.expect_ok();
    let task = fixture.get("/api/v1/tasks/7").await.json();
    assert_eq!(
        task,
        json!({"id": "7", "account": "main", "captcha": "turnstile", "status": "solved", "code": "03AGdBq25",
            "error": null, "submitted_at": null, "finished_at": "2026-01-31T08:30:00.000Z", "source": "pingback"})
    );
    fixture.store.close().await;
    let answer = fixture.get("/pingback?id=8&code=x").await;
    assert_eq!(answer.header("retry-after"), Some("1"));
    answer.error(503);
}

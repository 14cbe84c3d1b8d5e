use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::tests::settings;
use super::*;
use crate::notify::client::http_client;

fn request() -> Request {
    let numbers = settings(&["5321234567", "5321234568"]).phone_numbers;
    Request::new(Callees { numbers, left_out: None }, "Bakiye \"düşük\".".to_owned())
}

/// The outcome of a call that is answered with these bytes, and the request as it arrived.
async fn answered_with(bytes: &[u8]) -> (Result<Receipt, SendError>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = settings(&[]);
    settings.url = format!("http://{}/webhook/receive", listener.local_addr().unwrap());
    let (http, request) = (http_client(Duration::from_secs(5)).unwrap(), request());
    let server = async {
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut arrived = Vec::new();
        while !arrived.ends_with(b"}") {
            assert_ne!(connection.read_buf(&mut arrived).await.unwrap(), 0, "the request was cut off");
        }
        let _ = connection.write_all(bytes).await;
        String::from_utf8(arrived).unwrap()
    };
    tokio::join!(request.send(&settings, &http), server)
}

async fn outcome(status: &str, body: &str) -> Result<Receipt, SendError> {
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    answered_with(answer.as_bytes()).await.0
}

fn called() -> Receipt {
    Receipt { message_id: None, called: vec!["5321234567".to_owned(), "5321234568".to_owned()] }
}

#[tokio::test]
async fn a_request_is_what_alertalk_expects() {
    let (outcome, arrived) = answered_with(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await;
    assert_eq!(outcome, Ok(called()));
    let (head, body) = arrived.split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("post /webhook/receive http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nx-webhook-key: hunter2\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-type: application/json"), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let expected = serde_json::json!({"phone_number": "5321234567,5321234568", "error_message": "Bakiye \"düşük\"."});
    assert_eq!(body, expected);
}

#[tokio::test]
async fn a_success_is_one_whatever_it_says() {
    for body in [
        r#"{"message":"1 call(s) queued","status":"success"}"#,
        r#"{"message":"whatever","status":"error"}"#,
        "<html>",
        "",
    ] {
        assert_eq!(outcome("200 OK", body).await, Ok(called()), "{body}");
    }
    assert_eq!(outcome("202 Accepted", "").await, Ok(called()));
    let cut_off = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{";
    assert_eq!(answered_with(cut_off).await.0, Ok(called()));
}

#[tokio::test]
async fn every_failure_says_what_comes_next() {
    for (status, reason) in [
        ("400 Bad Request", "permanent"),
        ("401 Unauthorized", "unusable"),
        ("402 Payment Required", "no_credit"),
        ("403 Forbidden", "unusable"),
        ("404 Not Found", "unusable"),
        ("410 Gone", "unusable"),
        ("422 Unprocessable Entity", "permanent"),
        ("429 Too Many Requests", "rate_limited"),
        ("302 Found\r\nLocation: http://127.0.0.1:1/", "retry"),
        ("500 Internal Server Error", "retry"),
        ("503 Service Unavailable", "retry"),
    ] {
        let error = outcome(status, "").await.unwrap_err();
        assert_eq!(error.reason(), reason, "{status}");
    }
    let later = outcome("503 Service Unavailable\r\nRetry-After: 7", "").await;
    assert!(matches!(later, Err(SendError::Retry { after: Some(after), .. }) if after.as_secs() == 7), "{later:?}");
}

#[tokio::test]
async fn what_alertalk_says_is_told_without_numbers_and_key() {
    let why = |error: SendError| error.to_string();
    let body = r#"{"message":"message missing\nfor 0532 123 45 67, key hunter2","status":"error"}"#;
    let error = outcome("400 Bad Request", body).await.unwrap_err();
    assert_eq!(why(error), "status 400 Bad Request: message missing for … , key …");
    let error = outcome("403 Forbidden", r#"{"error":"wrong key"}"#).await.unwrap_err();
    assert_eq!(why(error), "status 403 Forbidden: wrong key");
    let error = outcome("400 Bad Request", "<html>5321234567</html>").await.unwrap_err();
    assert_eq!(why(error), "status 400 Bad Request");
}

#[tokio::test]
async fn without_an_answer_a_call_may_have_been_made() {
    let hung_up = answered_with(b"").await.0.unwrap_err();
    assert_eq!(hung_up.reason(), "ambiguous", "{hung_up}");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = settings(&[]);
    settings.url = format!("http://{}/hunter2", listener.local_addr().unwrap());
    let timeout = request().send(&settings, &http_client(Duration::from_millis(50)).unwrap()).await.unwrap_err();
    assert_eq!(timeout.reason(), "ambiguous", "{timeout}");
    drop(listener);
    let refused = request().send(&settings, &http_client(Duration::from_secs(5)).unwrap()).await.unwrap_err();
    assert_eq!(refused.reason(), "retry", "{refused}");
    settings.webhook_key = "hunter2\n".into();
    let impossible = request().send(&settings, &http_client(Duration::from_secs(5)).unwrap()).await.unwrap_err();
    assert_eq!(impossible.reason(), "unusable");
    for error in [hung_up, timeout, refused, impossible] {
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("5321234567") && !shown.contains("http:"), "{shown}");
    }
}

#[test]
fn long_numbers_are_not_shown() {
    for (text, expected) in [
        ("", ""),
        ("status 400 at 12:30", "status 400 at 12:30"),
        ("5321234567", " … "),
        ("no +90 (532) 123-45-67!", "no … !"),
        ("a 123456 b", "a 123456 b"),
        ("ş 1234567 ş", "ş … ş"),
    ] {
        assert_eq!(without_numbers(text), expected);
    }
}

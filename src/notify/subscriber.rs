//! The user's own programs that get each result, as `POST` with JSON: shaped as Marzban's receivers know
//! it, and signed as Standard Webhooks says.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use reqwest::header::CONTENT_TYPE;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::client::{Answer, exchange, rate_limited, retry_after};
use super::{Content, Context, Job, Notifier, Receipt, SendError, Step};
use crate::domain::task::TaskResult;
use crate::domain::time::format_timestamp;

/// Results on their way at one time.
const CONCURRENT: usize = 64;

/// A subscriber, as the configuration describes it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name: the label `destination` is `subscriber/NAME`.
    pub name: String,
    /// Where results are posted. It may hold a secret.
    pub url: SecretString,
    /// What it knows us by, and what signs requests.
    pub secret: Option<SecretString>,
    /// How old a result may be: codes go stale.
    pub max_age: Duration,
}

impl Settings {
    /// Tells its configuration from another one, without revealing it.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.url.expose_secret());
        hash.update([0xff]);
        hash.update(self.secret.as_ref().map_or("", ExposeSecret::expose_secret));
        let digest = hash.finalize();
        digest.iter().take(12).fold(String::new(), |mut hex, byte| {
            // Writing to a string does not fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }

    /// Whether it is the same subscriber, told in the same way.
    pub fn is_same(&self, other: &Self) -> bool {
        self.name == other.name && self.max_age == other.max_age && self.fingerprint() == other.fingerprint()
    }
}

/// A subscriber.
#[derive(Debug)]
pub struct Subscriber {
    settings: Settings,
    http: reqwest::Client,
}

/// One result for one subscriber.
#[derive(Debug)]
pub struct Request {
    id: String,
    at: Timestamp,
    body: Value,
}

impl Subscriber {
    /// A subscriber with these settings.
    pub fn new(settings: Settings, http: reqwest::Client) -> Self {
        Self { settings, http }
    }
}

impl Notifier for Subscriber {
    type Request = Request;
    const CONCURRENT: usize = CONCURRENT;

    fn next(&self, job: &Job, context: &Context<'_>) -> Step<Request> {
        match (&job.content, &job.told) {
            (Content::Result(result), None) => Step::Send(Request {
                id: format!("{}-{}", self.settings.name, result.id),
                at: context.now,
                body: body(result, job),
            }),
            _ => Step::Done(None),
        }
    }

    /// A result is told in one request.
    fn told(&self, _: &Job, _: &Request, _: &Receipt, _: Timestamp) -> Option<String> {
        Some("told".to_owned())
    }

    fn body(&self, request: &Request) -> Value {
        request.body.clone()
    }

    async fn send(&self, request: &Request) -> Result<Receipt, SendError> {
        let body = request.body.to_string();
        let mut post = self.http.post(self.settings.url.expose_secret()).header(CONTENT_TYPE, "application/json");
        if let Some(secret) = &self.settings.secret {
            let timestamp = request.at.as_second().to_string();
            let signature = signature(secret.expose_secret(), &request.id, &timestamp, &body);
            post = post.header("x-webhook-secret", secret.expose_secret());
            post = post.header("webhook-timestamp", timestamp).header("webhook-signature", signature);
        }
        post = post.header("webhook-id", &request.id);
        let answer = exchange(post.body(body)).await.map_err(certain)?;
        classify(&answer).map(|()| Receipt::default())
    }
}

/// A result may come twice, and its id says so: what may have been heard is simply told again.
fn certain(error: SendError) -> SendError {
    match error {
        SendError::Ambiguous { why } => SendError::Retry { after: None, why },
        other => other,
    }
}

/// Only 410 is final. Everything else may be a deployment that goes wrong, and heals: a result that grows
/// too old meanwhile is a dead letter.
fn classify(answer: &Answer) -> Result<(), SendError> {
    let (status, after) = (answer.status, retry_after(&answer.headers));
    let why = format!("status {status}");
    match status.as_u16() {
        200..=299 => Ok(()),
        410 => Err(SendError::Unusable { why }),
        429 => Err(rate_limited(after, false)),
        _ => Err(SendError::Retry { after, why }),
    }
}

fn body(result: &TaskResult, job: &Job) -> Value {
    let time = |milliseconds: Option<i64>| {
        let time = milliseconds.and_then(|milliseconds| Timestamp::from_millisecond(milliseconds).ok());
        time.map(format_timestamp)
    };
    let TaskResult { id, account, captcha, code, error, submitted_at, received_at } = result;
    let action = if code.is_some() { "task_solved" } else { "task_failed" };
    json!({
        "id": id,
        "account": account,
        "captcha": captcha,
        "action": action,
        "code": code,
        "error": error,
        "submitted_at": time(*submitted_at),
        "received_at": time(*received_at),
        "enqueued_at": job.queued_at.as_millisecond() as f64 / 1000.0,
        "tries": job.attempts,
    })
}

/// `webhook-signature` of Standard Webhooks. A secret that is written as theirs, `whsec_` and base64, is
/// decoded; any other is taken as it is.
fn signature(secret: &str, id: &str, timestamp: &str, body: &str) -> String {
    let decoded = secret.strip_prefix("whsec_").and_then(|encoded| STANDARD.decode(encoded).ok());
    let key = decoded.unwrap_or_else(|| secret.as_bytes().to_vec());
    // A key of any length will do.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key) else { return String::new() };
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::notify::client::http_client;

    fn job(code: Option<&str>, error: Option<&str>) -> Job {
        let at = Timestamp::from_millisecond(1_769_848_200_250).unwrap();
        let result = TaskResult {
            id: "1".to_owned(),
            account: Some("main".to_owned()),
            captcha: "turnstile".to_owned(),
            code: code.map(str::to_owned),
            error: error.map(str::to_owned),
            submitted_at: Some(1_769_848_180_000),
            received_at: Some(1_769_848_200_000),
        };
        let content = Content::Result(Box::new(result));
        Job { content, told: None, queued_at: at, state_at: at, attempts: 2 }
    }

    fn subscriber(url: &str) -> Subscriber {
        let settings = Settings {
            name: "workers".to_owned(),
            url: SecretString::from(url),
            secret: Some(SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")),
            max_age: Duration::from_mins(2),
        };
        Subscriber::new(settings, http_client(Duration::from_secs(5)).unwrap())
    }

    fn request(job: &Job) -> Request {
        let context =
            Context { now: Timestamp::from_second(1_769_848_201).unwrap(), calls: &[], no_credit_until: None };
        match subscriber("http://127.0.0.1:9/").next(job, &context) {
            Step::Send(request) => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_result_has_the_form_that_was_promised() {
        let solved = request(&job(Some("03AGdBq25"), None));
        let expected = json!({
            "id": "1", "account": "main", "captcha": "turnstile", "action": "task_solved", "code": "03AGdBq25",
            "error": null, "submitted_at": "2026-01-31T08:29:40.000Z", "received_at": "2026-01-31T08:30:00.000Z",
            "enqueued_at": 1_769_848_200.25, "tries": 2,
        });
        assert_eq!((solved.id.as_str(), &solved.body), ("workers-1", &expected));
        let failed = request(&job(None, Some("ERROR_CAPTCHA_UNSOLVABLE")));
        assert_eq!(failed.body["action"], "task_failed");
        assert!(!format!("{:?}", job(Some("03AGdBq25"), None)).contains("03AGdBq25"));
    }

    /// The example of the Standard Webhooks libraries.
    #[test]
    fn signatures_are_those_of_standard_webhooks() {
        let body = r#"{"test": 2432232314}"#;
        let signed =
            signature("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_ne!(signed, signature("other", "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body));
    }

    async fn answered_with(answer: &str) -> (Result<Receipt, SendError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let subscriber = subscriber(&format!("http://{}/results", listener.local_addr().unwrap()));
        let server = async {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut received = Vec::new();
            while !received.ends_with(b"}") {
                assert_ne!(connection.read_buf(&mut received).await.unwrap(), 0);
            }
            let _ = connection.write_all(answer.as_bytes()).await;
            String::from_utf8(received).unwrap()
        };
        let request = request(&job(Some("x"), None));
        tokio::join!(subscriber.send(&request), server)
    }

    #[tokio::test]
    async fn every_status_has_its_meaning() {
        for (status, headers, expected) in [
            ("200 OK", "", "ok"),
            ("204 No Content", "", "ok"),
            ("302 Found", "Location: http://127.0.0.1:1/\r\n", "retry None"),
            ("400 Bad Request", "", "retry None"),
            ("401 Unauthorized", "", "retry None"),
            ("404 Not Found", "", "retry None"),
            ("410 Gone", "", "unusable"),
            ("429 Too Many Requests", "Retry-After: 7\r\n", "rate_limited 7s"),
            ("429 Too Many Requests", "Retry-After: 0\r\n", "rate_limited 250ms"),
            ("500 Internal Server Error", "", "retry None"),
            ("503 Service Unavailable", "Retry-After: 9\r\n", "retry Some(9s)"),
        ] {
            let answer = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\n\r\n");
            let found = match answered_with(&answer).await.0 {
                Ok(_) => "ok".to_owned(),
                Err(SendError::Retry { after, .. }) => format!("retry {after:?}"),
                Err(SendError::RateLimited { after, .. }) => format!("rate_limited {after:?}"),
                Err(error) => error.reason().to_owned(),
            };
            assert_eq!(found, expected, "{status}");
        }
    }

    #[tokio::test]
    async fn a_request_carries_both_kinds_of_proof() {
        let (sent, received) = answered_with("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        assert!(sent.is_ok());
        let (head, body) = received.split_once("\r\n\r\n").unwrap();
        let signed = signature("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "workers-1", "1769848201", body);
        for line in [
            "POST /results HTTP/1.1",
            "content-type: application/json",
            "x-webhook-secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "webhook-id: workers-1",
            "webhook-timestamp: 1769848201",
            &format!("webhook-signature: {signed}"),
        ] {
            assert!(head.lines().any(|found| found == line), "{line} in {head}");
        }
    }
}

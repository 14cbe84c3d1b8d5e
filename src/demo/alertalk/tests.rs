use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::notify::client::http_client;

struct Caller {
    alertalk: SimulatedAlertalk,
    http: reqwest::Client,
}

impl Caller {
    async fn new(credits: u64) -> Self {
        let alertalk = SimulatedAlertalk::start(Options { credits, ..Options::default() }).await.unwrap();
        Self { alertalk, http: http_client(Duration::from_secs(10)).unwrap() }
    }

    async fn send(&self, key: &str, body: &Value) -> (u16, Value) {
        let request = self.http.post(self.alertalk.url()).header("X-Webhook-Key", key).json(body);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap_or_default())
    }

    async fn call(&self, numbers: &str, text: &str) -> (u16, Value) {
        self.send(&Options::default().key, &json!({ "phone_number": numbers, "error_message": text })).await
    }
}

const ONE: &str = "5321234567";
const TWO: &str = "5321234567,5337654321";

#[tokio::test]
async fn calls_are_queued_as_long_as_there_is_credit() {
    let caller = Caller::new(3).await;
    let queued = |number: u64| (200, json!({ "message": format!("{number} call(s) queued"), "status": "success" }));
    assert_eq!(caller.call(TWO, "Bakiye bitti.").await, queued(2));
    let (status, body) = caller.call(TWO, "Bakiye bitti.").await;
    assert_eq!((status, &body["status"]), (402, &json!("error")));
    assert_eq!(caller.alertalk.credits(), 1, "a refused request costs nothing");
    assert_eq!(caller.call(ONE, "Bakiye bitti.").await, queued(1));
    assert_eq!(caller.call(ONE, "Bakiye bitti.").await.0, 402);
    caller.alertalk.set_credits(10);
    assert_eq!(caller.call(ONE, "Yine.").await, queued(1));

    let counts = caller.alertalk.counts();
    assert_eq!(counts, Counts { requests: 5, queued: 3, calls: 4, no_credit: 2, ..Counts::default() });
    let calls = caller.alertalk.calls();
    assert_eq!(calls[0].numbers, ["5321234567", "5337654321"]);
    assert_eq!((&*calls[2].text, caller.alertalk.credits()), ("Yine.", 9));
    caller.alertalk.stop().await;
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_again_is_a_violation() {
    let caller = Caller::new(3).await;
    let body = json!({ "phone_number": ONE, "error_message": "a" });
    for (key, violations) in [("wrong", 0), ("other", 0), ("other", 1)] {
        let (status, answer) = caller.send(key, &body).await;
        assert_eq!((status, &answer["status"]), (403, &json!("error")));
        assert_eq!(caller.alertalk.violations().len(), violations, "{key}");
    }
    caller.alertalk.set_key("other");
    assert_eq!(caller.send("other", &body).await.0, 200);
    let without_key = caller.http.post(caller.alertalk.url()).json(&body).send().await.unwrap();
    assert_eq!((without_key.status().as_u16(), caller.alertalk.counts().forbidden), (403, 4));
}

#[tokio::test]
async fn what_cannot_be_called_is_a_400_and_what_cannot_be_read_a_violation() {
    let caller = Caller::new(10).await;
    for (numbers, text, status, violations) in [
        ("", "a", 400, 0),
        (ONE, "  ", 400, 0),
        ("905321234567", "a", 400, 1),
        (ONE, "http://a.example", 200, 2),
        (ONE, "tamam", 200, 2),
    ] {
        assert_eq!(caller.call(numbers, text).await.0, status, "{numbers} {text}");
        assert_eq!(caller.alertalk.counts().violations, violations, "{numbers} {text}");
    }
    let expected = [Violation::BadNumber("905321234567".to_owned()), Violation::Url];
    assert_eq!(caller.alertalk.violations(), expected);
    assert_eq!((caller.alertalk.credits(), caller.alertalk.counts().bad_requests), (8, 3));
}

#[tokio::test]
async fn anything_else_is_not_there() {
    let caller = Caller::new(10).await;
    let url = caller.alertalk.url();
    assert_eq!(caller.http.get(&url).send().await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(caller.http.post(format!("{url}/x")).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(caller.alertalk.counts(), Counts { other_requests: 1, ..Counts::default() });
}

#[tokio::test]
async fn faults_are_met_and_an_unanswered_call_was_made() {
    let caller = Caller::new(10).await;
    caller.alertalk.script(&Fault::Status(503), 1);
    assert_eq!(caller.call(ONE, "a").await.0, 503);
    assert_eq!(caller.alertalk.calls().len(), 0);
    for (fault, calls) in [(Fault::Hang, 0), (Fault::Unanswered, 1)] {
        caller.alertalk.script(&fault, 1);
        let counts = tokio::select! {
            answer = caller.call(ONE, "a") => panic!("{answer:?} to {fault:?}"),
            arrived = caller.alertalk.wait_until(|state| state.counts.requests == 2 + calls) => arrived.unwrap(),
        };
        assert_eq!(counts.calls, calls, "{fault:?}");
    }
}

#[test]
fn only_the_last_calls_are_remembered() {
    let mut state = State::new(&Options { keep: 2, ..Options::default() });
    for text in ["a", "b", "c"] {
        let body = json!({ "phone_number": ONE, "error_message": text }).to_string();
        let (status, _) = state.answer(Some(&Options::default().key), body.as_bytes(), jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(status, 200);
    }
    let texts: Vec<_> = state.calls.iter().map(|call| &*call.text).collect();
    assert_eq!(texts, ["b", "c"]);
}

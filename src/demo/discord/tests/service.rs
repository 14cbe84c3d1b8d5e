use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::demo::discord::service::{Call, Reply};
use crate::demo::discord::state::{Action, Counts, Message, State};
use crate::demo::discord::{Options, RateLimit};

/// The simulated Discord without HTTP, at a time that the test moves.
struct Bench {
    state: State,
    webhook: (String, String),
    now: Timestamp,
}

impl Bench {
    fn new(options: Options) -> Self {
        let mut state = State::new(options);
        let webhook = split(&state.add_webhook("alerts"));
        Self { state, webhook, now: "2026-01-31T08:30:00Z".parse().unwrap() }
    }

    fn unlimited() -> Self {
        Self::new(Options::unlimited())
    }

    fn call(&mut self, action: Action, message_id: Option<&str>, body: &Value) -> Reply {
        let (webhook_id, token) = self.webhook.clone();
        let message_id = message_id.map(str::to_owned);
        let body = Some(body.clone());
        let call = Call { action, line: "POST /".to_owned(), webhook_id, token, message_id, wait: true, body };
        let (number, fault) = self.state.arrived(&call, self.now);
        assert!(fault.is_none());
        self.state.answer(number, &call, self.now)
    }

    fn post(&mut self, body: &Value) -> Reply {
        self.call(Action::Post, None, body)
    }

    /// Posts a message, and tells its id.
    fn posted(&mut self, body: &Value) -> String {
        let reply = self.post(body);
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.body.unwrap()["id"].as_str().unwrap().to_owned()
    }

    fn pass(&mut self, milliseconds: i64) {
        self.now += SignedDuration::from_millis(milliseconds);
    }

    fn message(&self, id: &str) -> &Message {
        self.state.visible().find(|message| message.id == id).unwrap()
    }
}

fn split(path: &str) -> (String, String) {
    let (id, token) = path.strip_prefix("/api/webhooks/").unwrap().split_once('/').unwrap();
    assert_eq!((id.len(), token.len()), (19, 68));
    (id.to_owned(), token.to_owned())
}

fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    reply.headers.iter().find(|(given, _)| *given == name).map(|(_, value)| value.as_str())
}

#[track_caller]
fn check_error(reply: &Reply, status: u16, code: u32) {
    assert_eq!((reply.status, &reply.body.as_ref().unwrap()["code"]), (status, &json!(code)), "{reply:?}");
}

#[test]
fn a_message_is_kept_with_its_history() {
    let mut bench = Bench::unlimited();
    let body = json!({ "content": "<@1> <@2> @everyone", "allowed_mentions": { "users": ["2"] }, "embeds": [{ "title": "a" }] });
    let id = bench.posted(&body);
    let posted_at = bench.now;
    let other = bench.posted(&json!({ "content": "b" }));
    assert_ne!(id, other);
    bench.pass(1500);
    let edit = json!({ "content": "<@3>", "embeds": [{ "title": "c" }], "allowed_mentions": { "parse": [] } });
    let reply = bench.call(Action::Edit, Some(&id), &edit);
    let shown = reply.body.unwrap();
    assert_eq!((reply.status, &shown["id"], &shown["embeds"][0]["title"]), (200, &json!(id), &json!("c")));
    assert_eq!(shown["edited_timestamp"], "2026-01-31T08:30:01.500Z");
    assert_eq!(shown["timestamp"], "2026-01-31T08:30:00.000Z");

    let message = bench.message(&id);
    assert_eq!((message.posted_at, message.edited_at, &*message.webhook), (posted_at, Some(bench.now), "alerts"));
    assert_eq!(message.pings, ["user:2"], "edits ping nobody");
    assert_eq!(message.content, edit);
    assert_eq!(message.edits, [edit]);
    assert_eq!(bench.state.messages.len(), 2);
    assert_eq!(bench.state.counts.violations(), 0);
}

#[test]
fn an_edit_leaves_what_it_does_not_name() {
    let mut bench = Bench::unlimited();
    let id = bench.posted(&json!({ "content": "a", "embeds": [{ "title": "b" }] }));
    assert_eq!(bench.call(Action::Edit, Some(&id), &json!({ "content": "c" })).status, 200);
    assert_eq!(bench.message(&id).content, json!({ "content": "c", "embeds": [{ "title": "b" }] }));
    assert_eq!(bench.call(Action::Edit, Some(&id), &json!({ "content": null })).status, 200);
    check_error(&bench.call(Action::Edit, Some(&id), &json!({ "embeds": [] })), 400, 50006);
    check_error(&bench.call(Action::Edit, Some(&id), &json!({ "embeds": 1 })), 400, 50035);
    assert_eq!(bench.message(&id).edits.len(), 2);
    assert_eq!(bench.state.counts.edited, 2);
}

#[test]
fn messages_are_shown_and_removed_by_their_webhook_only() {
    let mut bench = Bench::unlimited();
    let id = bench.posted(&json!({ "content": "a" }));
    let shown = bench.call(Action::Get, Some(&id), &Value::Null);
    assert_eq!((shown.status, &shown.body.unwrap()["content"]), (200, &json!("a")));

    let first = bench.webhook.clone();
    bench.webhook = split(&bench.state.add_webhook("other"));
    for action in [Action::Get, Action::Edit, Action::Delete] {
        check_error(&bench.call(action, Some(&id), &json!({ "content": "b" })), 404, 10008);
    }
    bench.webhook = first;
    assert_eq!(bench.call(Action::Delete, Some(&id), &Value::Null), Reply { status: 204, ..Reply::default() });
    for action in [Action::Get, Action::Edit, Action::Delete] {
        check_error(&bench.call(action, Some(&id), &json!({ "content": "b" })), 404, 10008);
    }
    check_error(&bench.call(Action::Edit, Some("abc"), &json!({ "content": "b" })), 400, 50035);
    assert_eq!((bench.state.visible().count(), bench.state.messages.len()), (0, 1));
    assert_eq!(bench.state.counts.deleted, 1);
}

#[test]
fn bodies_that_are_no_message_are_refused_and_counted() {
    let mut bench = Bench::unlimited();
    check_error(&bench.post(&json!({})), 400, 50006);
    check_error(&bench.post(&json!({ "content": "  " })), 400, 50006);
    check_error(&bench.post(&json!({ "content": "x".repeat(2001) })), 400, 50035);
    assert_eq!(
        bench
            .post(&json!({ "embeds": [{ "title": "a", "url": "http://a" }, { "title": "b", "url": "http://a" }] }))
            .status,
        200
    );
    let counts = bench.state.counts;
    assert_eq!((counts.bad_requests, counts.merged_embeds, counts.posted, counts.violations()), (3, 1, 1, 4));
    let statuses: Vec<_> = bench.state.requests.iter().map(|request| request.status.unwrap()).collect();
    assert_eq!(statuses, [400, 400, 400, 200]);
}

#[test]
fn who_knows_not_the_webhook_is_refused() {
    let mut bench = Bench::unlimited();
    let (id, token) = bench.webhook.clone();
    bench.webhook = (id.clone(), "wrong".to_owned());
    check_error(&bench.post(&json!({ "content": "a" })), 401, 50027);
    bench.webhook = ("17".to_owned(), token.clone());
    check_error(&bench.post(&json!({ "content": "a" })), 404, 10015);
    bench.webhook = (id, token);
    bench.state.webhooks[0].deleted = true;
    check_error(&bench.post(&json!({ "content": "a" })), 404, 10015);
    assert_eq!(bench.state.counts.violations(), 0);
    check_error(&bench.post(&json!({ "content": "a" })), 404, 10015);
    assert_eq!(bench.state.counts, Counts { requests: 4, unknown: 4, sent_to_the_gone: 1, ..Counts::default() });
}

#[test]
fn five_requests_in_two_seconds_are_enough() {
    let mut bench = Bench::new(Options::default());
    let id = bench.posted(&json!({ "content": "a" }));
    for remaining in ["3", "2", "1", "0"] {
        bench.pass(100);
        let reply = bench.call(Action::Edit, Some(&id), &json!({ "content": "b" }));
        assert_eq!((reply.status, header(&reply, "X-RateLimit-Remaining")), (200, Some(remaining)));
        assert_eq!(header(&reply, "X-RateLimit-Limit"), Some("5"));
        assert_eq!(header(&reply, "X-RateLimit-Bucket").map(str::len), Some(32));
    }
    bench.pass(1088);
    let limited = bench.post(&json!({ "content": "b" }));
    let body = json!({ "message": "You are being rate limited.", "retry_after": 0.512, "global": false });
    assert_eq!((limited.status, limited.body.as_ref()), (429, Some(&body)));
    for (name, expected) in [
        ("Retry-After", Some("1")),
        ("X-RateLimit-Scope", Some("user")),
        ("X-RateLimit-Remaining", Some("0")),
        ("X-RateLimit-Reset-After", Some("0.512")),
        ("X-RateLimit-Reset", Some("1769848202.000")),
        ("X-RateLimit-Global", None),
    ] {
        assert_eq!(header(&limited, name), expected, "{name}");
    }
    assert_eq!((bench.state.counts.rate_limited, bench.state.counts.sent_while_limited), (1, 0));
    bench.pass(511);
    assert_eq!(bench.post(&json!({ "content": "b" })).status, 429);
    assert_eq!((bench.state.counts.rate_limited, bench.state.counts.sent_while_limited), (2, 1));
    bench.pass(1);
    assert_eq!(bench.post(&json!({ "content": "b" })).status, 200);
    assert_eq!(bench.state.counts.violations(), 1);
    assert_eq!(bench.state.counts.posted, 2);
}

#[test]
fn thirty_messages_a_minute_are_enough_but_edits_go_on() {
    let mut bench = Bench::new(Options { burst: None, ..Options::default() });
    let id = bench.posted(&json!({ "content": "a" }));
    for _ in 1..30 {
        bench.pass(1000);
        bench.posted(&json!({ "content": "a" }));
    }
    let limited = bench.post(&json!({ "content": "a" }));
    assert_eq!((limited.status, header(&limited, "Retry-After")), (429, Some("31")));
    assert_eq!(header(&limited, "X-RateLimit-Scope"), Some("shared"));
    assert_eq!(bench.call(Action::Edit, Some(&id), &json!({ "content": "b" })).status, 200);
    bench.webhook = split(&bench.state.add_webhook("other"));
    bench.posted(&json!({ "content": "another webhook has limits of its own" }));
    bench.webhook = (bench.state.webhooks[0].id.to_string(), bench.state.webhooks[0].token.clone());
    bench.pass(31_000);
    bench.posted(&json!({ "content": "a" }));
    assert_eq!(bench.state.counts.violations(), 0);
}

#[test]
fn the_longer_of_two_pauses_is_told() {
    let limit = |requests, seconds| Some(RateLimit { requests, per: Duration::from_secs(seconds) });
    for (burst, sustained, seconds, scope) in
        [(limit(1, 2), limit(1, 60), "60", "shared"), (limit(1, 90), limit(1, 60), "90", "user")]
    {
        let mut bench = Bench::new(Options { burst, sustained, ..Options::default() });
        bench.posted(&json!({ "content": "a" }));
        let limited = bench.post(&json!({ "content": "a" }));
        let told = (header(&limited, "Retry-After"), header(&limited, "X-RateLimit-Scope"));
        assert_eq!(told, (Some(seconds), Some(scope)));
    }
}

#[test]
fn a_global_limit_is_for_every_webhook() {
    let mut bench = Bench::unlimited();
    bench.state.globally_limited_until = bench.now.checked_add(SignedDuration::from_millis(1500)).ok();
    let limited = bench.post(&json!({ "content": "a" }));
    let body = limited.body.as_ref().unwrap();
    assert_eq!((limited.status, &body["global"], &body["retry_after"]), (429, &json!(true), &json!(1.5)));
    for (name, expected) in [("Retry-After", "2"), ("X-RateLimit-Global", "true"), ("X-RateLimit-Scope", "global")] {
        assert_eq!(header(&limited, name), Some(expected), "{name}");
    }
    assert_eq!(bench.state.counts.sent_while_limited, 0);
    bench.webhook = split(&bench.state.add_webhook("other"));
    assert_eq!(bench.post(&json!({ "content": "a" })).status, 429);
    assert_eq!((bench.state.counts.sent_while_limited, bench.state.counts.rate_limited), (1, 2));
    bench.pass(1500);
    bench.posted(&json!({ "content": "a" }));
}

#[test]
fn only_the_last_are_remembered() {
    let mut bench = Bench::new(Options { keep: 3, ..Options::unlimited() });
    let ids: Vec<_> = (0..5).map(|number| bench.posted(&json!({ "content": number.to_string() }))).collect();
    let kept: Vec<_> = bench.state.messages.iter().map(|message| message.id.clone()).collect();
    assert_eq!(kept, ids[2..]);
    assert_eq!((bench.state.requests.len(), bench.state.counts.posted), (3, 5));
    check_error(&bench.call(Action::Edit, Some(&ids[0]), &json!({ "content": "x" })), 404, 10008);
}

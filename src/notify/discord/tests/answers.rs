//! Requests over real connections, and what their answers mean.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const SECRET: &str = "s3cr3t-t0ken";

fn discord_at(url: String, shared: Arc<GlobalPause>) -> Discord {
    let settings = Settings { webhook_url: url.into(), ..settings(Resolved::EditAndPost, Language::English) };
    Discord::new(settings, client::http_client(Duration::from_secs(10)).unwrap(), shared)
}

fn post() -> Request {
    let group = group(vec![alert("A", "critical", true)]);
    let Step::Send(request) = discord(Resolved::EditAndPost).next(&group_job(&group, None), &context()) else {
        panic!()
    };
    request
}

fn edit() -> Request {
    let mut request = post();
    request.replaces = Some("777".to_owned());
    request
}

struct Exchange {
    outcome: Result<Receipt, SendError>,
    /// What came: the head in small letters, and the body.
    head: String,
    body: Value,
    discord: Discord,
    shared: Arc<GlobalPause>,
}

/// Sends a request that is answered with these bytes.
async fn exchange(request: &Request, query: &str, answer: &str) -> Exchange {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api/webhooks/123/{SECRET}{query}", listener.local_addr().unwrap());
    let shared = Arc::new(GlobalPause::default());
    let discord = discord_at(url, Arc::clone(&shared));
    let server = async {
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        let (head, body) = loop {
            assert_ne!(connection.read_buf(&mut bytes).await.unwrap(), 0, "the request was cut off");
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            if let Ok(body) = serde_json::from_str(body) {
                break (head.to_ascii_lowercase(), body);
            }
        };
        // The client may hang up before it has read everything.
        let _ = connection.write_all(answer.as_bytes()).await;
        (head, body)
    };
    let (outcome, (head, body)) = tokio::join!(discord.send(request), server);
    Exchange { outcome, head, body, discord, shared }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}

#[tokio::test]
async fn a_request_names_the_webhook_its_thread_and_the_message() {
    let created = answer("200 OK", "", r#"{"id":"1234567890123456789"}"#);
    for (request, query, expected) in [
        (post(), "", format!("post /api/webhooks/123/{SECRET}?wait=true http/1.1")),
        (
            post(),
            "?thread_id=42&wait=false",
            format!("post /api/webhooks/123/{SECRET}?thread_id=42&wait=true http/1.1"),
        ),
        (post(), "/", format!("post /api/webhooks/123/{SECRET}?wait=true http/1.1")),
        (edit(), "", format!("patch /api/webhooks/123/{SECRET}/messages/777 http/1.1")),
        (
            edit(),
            "?thread_id=42&wait=true",
            format!("patch /api/webhooks/123/{SECRET}/messages/777?thread_id=42 http/1.1"),
        ),
    ] {
        let exchange = exchange(&request, query, &created).await;
        assert_eq!(exchange.head.lines().next().unwrap(), expected);
        assert!(exchange.head.contains("content-type: application/json"), "{}", exchange.head);
        assert_eq!(exchange.body, serde_json::to_value(&request.message).unwrap());
        let id = Some("1234567890123456789".to_owned());
        assert_eq!(exchange.outcome, Ok(Receipt { message_id: id, called: vec![] }));
        assert_eq!(exchange.discord.pause(), None);
    }
}

#[tokio::test]
async fn every_status_has_one_meaning() {
    let missing = r#"{"message":"Unknown Message","code":10008}"#;
    let unknown = r#"{"message":"Unknown Webhook","code":10015}"#;
    for (status, body, of_post, of_edit) in [
        (200, r#"{"id":"1"}"#, None, None),
        (204, "", None, None),
        (301, "", Some("retry"), Some("retry")),
        (400, "{}", Some("permanent"), Some("missing")),
        (401, r#"{"message":"Invalid Webhook Token","code":50027}"#, Some("unusable"), Some("unusable")),
        (403, r#"{"message":"Missing Access","code":50001}"#, Some("unusable"), Some("unusable")),
        (403, "error code: 1006", Some("retry"), Some("retry")),
        (404, missing, Some("unusable"), Some("missing")),
        (404, unknown, Some("unusable"), Some("unusable")),
        (404, r#"{"message":"404: Not Found","code":0}"#, Some("unusable"), Some("unusable")),
        (404, "<html>", Some("unusable"), Some("unusable")),
        (410, "{}", Some("unusable"), Some("unusable")),
        (405, "", Some("permanent"), Some("permanent")),
        (408, "", Some("retry"), Some("retry")),
        (413, "", Some("permanent"), Some("permanent")),
        (429, "", Some("rate_limited"), Some("rate_limited")),
        (500, "", Some("retry"), Some("retry")),
        (503, "<html>", Some("retry"), Some("retry")),
    ] {
        for (request, expected) in [(post(), of_post), (edit(), of_edit)] {
            let exchange = exchange(&request, "", &answer(&format!("{status} X"), "", body)).await;
            let reason = exchange.outcome.as_ref().err().map(SendError::reason);
            assert_eq!(reason, expected, "{status} {body} {:?}", exchange.outcome);
        }
    }
}

#[tokio::test]
async fn an_answer_without_a_usable_id_is_a_success_all_the_same() {
    for (body, id) in [
        (r#"{"id":"12"}"#, Some("12")),
        (r#"{"id":12}"#, Some("12")),
        (r#"{"id":"../../12"}"#, None),
        (r#"{"id":""}"#, None),
        (r#"{"id":null}"#, None),
        ("[]", None),
        ("<html>", None),
        ("", None),
    ] {
        let outcome = exchange(&post(), "", &answer("200 OK", "", body)).await.outcome;
        assert_eq!(outcome.map(|receipt| receipt.message_id), Ok(id.map(str::to_owned)), "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn too_fast_is_a_pause_for_this_webhook_or_for_all() {
    for (headers, body, seconds, global) in [
        ("", r#"{"message":"You are being rate limited.","retry_after":0.75,"global":false}"#, 0.75, false),
        ("Retry-After: 9\r\n", r#"{"retry_after":2.5}"#, 2.5, false),
        ("Retry-After: 9\r\n", "", 9.0, false),
        ("", "", 1.0, false),
        ("", r#"{"retry_after":3.5,"global":true}"#, 3.5, true),
        ("Retry-After: 4\r\nX-RateLimit-Global: true\r\n", "error code: 1015", 4.0, true),
        ("", r#"{"retry_after":1e12}"#, 3600.0, false),
        ("", r#"{"retry_after":"soon"}"#, 1.0, false),
        // Asking again and again for nothing would end in a ban.
        ("Retry-After: 0\r\n", r#"{"retry_after":0.0}"#, 0.25, false),
    ] {
        let exchange = exchange(&post(), "", &answer("429 Too Many Requests", headers, body)).await;
        let after = Duration::from_secs_f64(seconds);
        assert_eq!(exchange.outcome, Err(SendError::RateLimited { after, global }), "{body}");
        let other = discord_at(URL.to_owned(), exchange.shared);
        assert_eq!(exchange.discord.pause(), Some(after), "{body}");
        assert_eq!(other.pause(), global.then_some(after), "{body}");
        tokio::time::advance(after).await;
        assert_eq!((exchange.discord.pause(), other.pause()), (None, None), "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_used_up_is_waited_for() {
    for (headers, seconds) in [
        ("X-RateLimit-Remaining: 0\r\nX-RateLimit-Reset-After: 1.5\r\n", Some(1.5)),
        ("X-RateLimit-Remaining: 1\r\nX-RateLimit-Reset-After: 1.5\r\n", None),
        ("X-RateLimit-Remaining: 0\r\n", None),
        ("X-RateLimit-Remaining: 0\r\nX-RateLimit-Reset-After: soon\r\n", None),
        ("X-RateLimit-Remaining: 0\r\nX-RateLimit-Reset-After: 1e9\r\n", Some(3600.0)),
    ] {
        let exchange = exchange(&post(), "", &answer("200 OK", headers, r#"{"id":"1"}"#)).await;
        assert_eq!(exchange.discord.pause(), seconds.map(Duration::from_secs_f64), "{headers}");
    }
}

#[tokio::test]
async fn a_refusal_is_explained_in_discords_words_without_a_url() {
    let tree = r#"{"message":"Invalid Form Body","code":50035,"errors":{"embeds":{"0":{"title":{"_errors":[{"code":"BASE_TYPE_MAX_LENGTH","message":"Must be 256 or fewer in length."}]},"url":{"_errors":[{"code":"URL","message":"Not a well formed URL: https://discord.com/api/webhooks/1/x."}]}}}}}"#;
    let long = format!(r#"{{"message":"{}"}}"#, "ş".repeat(5000));
    for (body, expected) in [
        (
            tree,
            "status 400 Bad Request: embeds.0.title: Must be 256 or fewer in length. embeds.0.url: Not a well formed URL: (URL)".to_owned(),
        ),
        (r#"{"message":"Cannot send an empty message","code":50006}"#, "status 400 Bad Request: Cannot send an empty message".to_owned()),
        (r#"{"embeds":["0"]}"#, "status 400 Bad Request: embeds: 0".to_owned()),
        (r#"{"errors":{"_errors":[{"message":"no"}]}}"#, "status 400 Bad Request: no".to_owned()),
        ("<html>", "status 400 Bad Request".to_owned()),
        (long.as_str(), format!("status 400 Bad Request: {}…", "ş".repeat(300))),
    ] {
        let outcome = exchange(&post(), "", &answer("400 Bad Request", "", body)).await.outcome;
        assert_eq!(outcome, Err(SendError::Permanent { why: expected }), "{body}");
    }
}

#[tokio::test]
async fn a_broken_connection_is_tried_again_and_told_without_the_url() {
    let hung_up = exchange(&post(), "", "").await.outcome;
    let garbled = exchange(&edit(), "", "SSH-2.0-OpenSSH_9.9\r\n").await.outcome;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api/webhooks/123/{SECRET}", listener.local_addr().unwrap());
    drop(listener);
    let refused = discord_at(url, Arc::default()).send(&post()).await;
    for outcome in [hung_up, garbled, refused] {
        let Err(SendError::Retry { after: None, why }) = &outcome else { panic!("{outcome:?}") };
        assert!(!why.contains(SECRET) && !why.contains("http:"), "{why}");
    }
    let nonsense = discord_at(format!("nonsense {SECRET}"), Arc::default()).send(&post()).await;
    let Err(SendError::Unusable { why }) = &nonsense else { panic!("{nonsense:?}") };
    assert!(!why.contains(SECRET), "{why}");
}

#[tokio::test(start_paused = true)]
async fn no_answer_in_time_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let discord = discord_at(format!("http://{}/{SECRET}", listener.local_addr().unwrap()), Arc::default());
    let request = post();
    // The connection is kept open without a word.
    let (outcome, _connection) = tokio::join!(discord.send(&request), listener.accept());
    assert_eq!(outcome, Err(SendError::Retry { after: None, why: "no answer in time".to_owned() }));
}

#[test]
fn the_url_is_never_printed() {
    let discord = discord_at(URL.to_owned(), Arc::default());
    let printed = format!("{discord:?} {:?} {:?}", discord.settings, post());
    assert!(!printed.contains(SECRET), "{printed}");
}

#[test]
fn a_fingerprint_tells_webhooks_apart() {
    let of = |url: &str| {
        Settings { webhook_url: url.into(), ..settings(Resolved::EditAndPost, Language::English) }.fingerprint()
    };
    assert_eq!(of(URL), of(URL));
    assert_ne!(of(URL), of("https://discord.example/api/webhooks/123/other"));
    assert_eq!(of(URL).len(), 16);
    assert!(of(URL).bytes().all(|byte| byte.is_ascii_hexdigit()));
}

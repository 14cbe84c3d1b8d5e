use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::domain::task::TaskId;
use crate::http::testing::{Fixture, config};
use crate::http::{OTHER, bind};

/// Nothing waits that long but a test that fails.
const PATIENCE: Duration = Duration::from_secs(20);
/// A limit that a test reaches on purpose.
const SHORT: Duration = Duration::from_millis(50);
/// How long a young connection is spared in tests that crowd the server: enough for its first request
/// on a machine that has other things to do.
const GRACE: Duration = Duration::from_secs(1);

/// A server on a free port.
struct Running {
    address: SocketAddr,
    fixture: Fixture,
    server: JoinSet<Result<(), ServeError>>,
}

impl Running {
    async fn start(fixture: Fixture) -> Self {
        let listeners = bind(&["127.0.0.1:0".parse().unwrap()]).await.unwrap();
        let address = listeners[0].1;
        let mut server = JoinSet::new();
        server.spawn(serve_within(listeners, fixture.state(), fixture.stop.clone(), fixture.limits));
        Self { address, fixture, server }
    }

    async fn with(limits: Limits) -> Self {
        let mut fixture = Fixture::new(config());
        fixture.limits = limits;
        Self::start(fixture).await
    }

    async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// Stops, and expects that the server ends by itself.
    async fn stop(mut self) {
        self.fixture.stop.cancel();
        soon(self.server.join_next()).await.unwrap().unwrap().unwrap();
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("waited in vain")
}

struct Client(TcpStream);

impl Client {
    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    async fn get(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    }

    /// Reads one answer: its head and its body.
    async fn answer(&mut self) -> (String, String) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon(self.0.read_u8()).await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or("0", str::trim);
        let mut body = vec![0; length.parse().unwrap()];
        soon(self.0.read_exact(&mut body)).await.unwrap();
        (head, String::from_utf8(body).unwrap())
    }

    async fn expect(&mut self, status: u16) -> (String, String) {
        let (head, body) = self.answer().await;
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{head}{body}");
        (head, body)
    }

    /// Expects that the server closes without another byte; a reset will do.
    async fn expect_end(&mut self) {
        let mut rest = Vec::new();
        let _ = soon(self.0.read_to_end(&mut rest)).await;
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }
}

fn limits() -> Limits {
    crate::http::testing::limits()
}

fn post(path: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n")
}

#[tokio::test]
async fn a_connection_serves_many_requests_and_knows_its_peer() {
    let mut config = config();
    config.pingback.allow_from = vec!["127.0.0.0/8".parse().unwrap()];
    let running = Running::start(Fixture::new(config)).await;
    let mut client = running.connect().await;
    for _ in 0..3 {
        client.get("/pingback?id=1&code=x").await;
        assert_eq!(client.expect(200).await.1, "OK");
    }
    client.get("/nothing").await;
    client.expect(404).await;
    client.send("HEAD /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    let mut head = String::new();
    soon(client.0.read_to_string(&mut head)).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    running.stop().await;
}

/// Whoever sends a solution without encoding it does so for every one.
#[tokio::test]
async fn a_query_that_nobody_encoded_is_taken_on_every_request() {
    const CODE: &str = r#"{"geetest_challenge": "a<b>c", "x": "1#2"}"#;
    let running = Running::with(limits()).await;
    let mut client = running.connect().await;
    for id in ["1", "2", "3"] {
        client.get(&format!("/pingback/token?captcha=geetest_v3?id={id}&code={CODE}")).await;
        assert_eq!(client.expect(200).await.1, "OK");
        client.get(&format!("/api/v1/tasks/{id}")).await;
        let task: serde_json::Value = serde_json::from_str(&client.expect(200).await.1).unwrap();
        assert_eq!((&task["code"], &task["captcha"]), (&CODE.into(), &"geetest_v3".into()));
    }
    let line = format!("GET /pingback?id=4&code={CODE} HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut client = running.connect().await;
    for byte in line.as_bytes() {
        client.send([*byte]).await;
    }
    client.expect(200).await;
    running.stop().await;
}

/// What is in a body stays as it is, even if it looks like a request; and no line hides another.
#[tokio::test]
async fn nothing_but_a_request_line_is_encoded() {
    let running = Running::with(limits()).await;
    let mut client = running.connect().await;
    let code = "GET /?\"a b\" HTTP/1.1\r\n\r\n";
    for id in ["1", "2"] {
        let body = format!("{code}&id={id}").replace("GET", "code=GET");
        client.send(post("/pingback", body.len())).await;
        client.send(body).await;
        client.expect(200).await;
        client.get(&format!("/api/v1/tasks/{id}")).await;
        let task: serde_json::Value = serde_json::from_str(&client.expect(200).await.1).unwrap();
        assert_eq!(task["code"], code);
    }
    for line in ["/pingback?id=3&code=\"\rX: y", "/pingback?id=3&code=x HTTP/1.1\r", "/pingback\"?id=3&code=x\r"] {
        let mut client = running.connect().await;
        client.get(line).await;
        client.expect(400).await;
        client.expect_end().await;
    }
    let mut client = running.connect().await;
    client.get("/api/v1/tasks/3").await;
    client.expect(404).await;
    running.stop().await;
}

#[tokio::test]
async fn long_urls_work_and_too_long_ones_are_told() {
    let running = Running::with(limits()).await;
    let code = "%41".repeat(16 * 1024);
    let mut client = running.connect().await;
    client.get(&format!("/pingback?id=long&code={code}&padding={}", "x".repeat(65_000 - code.len()))).await;
    client.expect(200).await;
    client.get(&format!("/{}", "x".repeat(66_000))).await;
    client.expect(414).await;
    client.expect_end().await;
    let mut client = running.connect().await;
    client.send(format!("GET / HTTP/1.1\r\nx: {}", "x".repeat(6 << 20))).await;
    client.expect(431).await;
    running.stop().await;
}

/// hyper answers these by itself, and without a body.
#[tokio::test]
async fn what_is_no_request_is_counted_by_its_answer() {
    let running = Running::with(limits()).await;
    let long = "x".repeat(66_000);
    for (request, status) in [
        ("GET /\"<> HTTP/1.1\r\n\r\n", 400),
        ("nonsense\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nno header\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (&format!("GET /{long} HTTP/1.1\r\n\r\n"), 414),
        (&format!("GET / HTTP/1.1\r\nx: {long}{long}\r\n\r\n"), 431),
    ] {
        let count = || running.fixture.metrics.http_requests.with_label_values(&[OTHER, &status.to_string()]).get();
        let before = count();
        // What was answered before is counted as what it was.
        let mut client = running.connect().await;
        client.get("/-/healthy").await;
        client.expect(200).await;
        client.send(request).await;
        client.expect(status).await;
        client.expect_end().await;
        assert_eq!(count(), before + 1, "{status} {request:.40}");
    }
    let mut client = running.connect().await;
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    client.expect_end().await;
    running.stop().await;
}

#[tokio::test]
async fn half_a_request_does_not_keep_a_connection() {
    let running = Running::with(Limits { head: SHORT, body: SHORT, ..limits() }).await;
    for head in ["", "G", "GET /-/healthy HTTP/1.1\r\nHost: x\r\n"] {
        let mut client = running.connect().await;
        client.send(head).await;
        client.expect_end().await;
    }
    let mut idle = running.connect().await;
    idle.get("/-/healthy").await;
    idle.expect(200).await;
    idle.expect_end().await;
    for path in ["/pingback", "/api/v1/tasks"] {
        let mut client = running.connect().await;
        client.send(post(path, 10) + "id=1").await;
        client.expect(408).await;
        client.expect_end().await;
    }
    running.stop().await;
}

/// The client has its answer to read, although it sent more than anybody wants.
#[tokio::test]
async fn a_refused_body_does_not_destroy_the_answer() {
    let mut fixture = Fixture::new({
        let mut config = config();
        config.web.auth_token = Some("token".into());
        config
    });
    fixture.limits = limits();
    let running = Running::start(fixture).await;
    let body = vec![b' '; 6 << 20];
    for (path, authorization, status) in
        [("/api/v1/tasks", "Bearer token", 413), ("/api/v1/tasks", "", 401), ("/pingback", "", 413), ("/no", "", 404)]
    {
        let mut client = running.connect().await;
        let head = post(path, body.len());
        client.send(head.replace("\r\n\r\n", &format!("\r\nAuthorization: {authorization}\r\n\r\n"))).await;
        client.send(&body).await;
        client.expect(status).await;
        client.expect_end().await;
    }
    let mut client = running.connect().await;
    client.send(post("/pingback", body.len()).replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n")).await;
    client.expect(413).await;
    running.stop().await;
}

#[tokio::test]
async fn who_does_not_wait_for_the_answer_is_heard_all_the_same() {
    let running = Running::with(limits()).await;
    running.fixture.post("/api/v1/tasks", r#"[{"id":"1"},{"id":"2"},{"id":"3"}]"#).await;
    let get = "GET /pingback?id=1&code=x HTTP/1.1\r\nHost: x\r\n\r\n".to_owned();
    for (id, request) in [("1", get), ("2", post("/pingback", 11) + "id=2&code=x")] {
        let mut client = running.connect().await;
        client.send(request).await;
        drop(client);
        let id = TaskId::parse(id).unwrap();
        let task = running.fixture.store.wait_for_end(&id, PATIENCE, &running.fixture.stop).await.unwrap().unwrap();
        assert_eq!(task.finish.unwrap().outcome.code(), Some("x"));
    }
    let mut client = running.connect().await;
    client.get("/api/v1/tasks/3?wait=200ms").await;
    client.0.shutdown().await.unwrap();
    client.expect(200).await;
    client.expect_end().await;
    running.stop().await;
}

#[tokio::test]
async fn who_reads_no_answer_is_cut_off() {
    let running = Running::with(Limits { write_stall: SHORT, ..limits() }).await;
    let mut client = running.connect().await;
    let requests = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    let cut_off = async { while client.0.write_all(requests.as_bytes()).await.is_ok() {} };
    soon(cut_off).await;
    running.stop().await;
}

#[tokio::test]
async fn idle_connections_make_room_for_new_ones() {
    let crowded = Limits { connections: 2, crowded_check: SHORT, crowded_grace: GRACE, ..limits() };
    let running = Running::with(crowded).await;
    let mut idle = Vec::new();
    for fresh in [true, false] {
        let mut client = running.connect().await;
        if !fresh {
            client.get("/-/healthy").await;
            client.expect(200).await;
        }
        idle.push(client);
    }
    let mut third = running.connect().await;
    third.get("/-/healthy").await;
    third.expect(200).await;
    for mut client in idle {
        client.expect_end().await;
    }
    running.stop().await;
}

#[tokio::test]
async fn young_connections_may_send_their_first_request() {
    let crowded = Limits { connections: 1, crowded_check: SHORT, crowded_grace: PATIENCE, ..limits() };
    let running = Running::with(crowded).await;
    let mut young = running.connect().await;
    let mut second = running.connect().await;
    second.get("/-/healthy").await;
    assert!(timeout(4 * SHORT, second.0.read_u8()).await.is_err(), "accepted too many");
    young.get("/-/healthy").await;
    young.expect(200).await;
    drop(young);
    second.expect(200).await;
    running.stop().await;
}

#[tokio::test]
async fn busy_connections_are_not_cut_off_and_no_more_are_accepted() {
    let crowded = Limits { connections: 2, crowded_check: SHORT, crowded_grace: GRACE, ..limits() };
    let running = Running::with(crowded).await;
    running.fixture.post("/api/v1/tasks", r#"[{"id":"1"},{"id":"2"}]"#).await;
    let mut polls = Vec::new();
    for id in ["1", "2"] {
        let mut client = running.connect().await;
        client.get(&format!("/api/v1/tasks/{id}?wait=60s")).await;
        polls.push(client);
    }
    let mut third = running.connect().await;
    third.get("/-/healthy").await;
    assert!(timeout(2 * GRACE, third.0.read_u8()).await.is_err(), "accepted too many");
    running.fixture.get("/pingback?id=1&code=x").await.expect_ok();
    assert!(polls[0].expect(200).await.0.contains("connection: close"));
    third.expect(200).await;
    running.fixture.get("/pingback?id=2&code=x").await.expect_ok();
    polls[1].expect(200).await;
    running.stop().await;
}

#[tokio::test]
async fn a_stop_lets_requests_end_and_closes_what_is_idle() {
    let running = Running::with(limits()).await;
    running.fixture.post("/api/v1/tasks", r#"{"id":"1"}"#).await;
    let mut idle = running.connect().await;
    idle.get("/-/healthy").await;
    idle.expect(200).await;
    let fresh = running.connect().await;
    let mut poll = running.connect().await;
    poll.get("/api/v1/tasks/1?wait=60s").await;
    let mut upload = running.connect().await;
    upload.send(post("/pingback", 11) + "id=7&").await;
    // All four have been accepted when a fifth, accepted after them, was answered.
    let mut last = running.connect().await;
    last.get("/-/healthy").await;
    last.expect(200).await;

    let address = running.address;
    let Running { fixture, mut server, .. } = running;
    fixture.stop.cancel();
    for mut client in [idle, fresh, last] {
        client.expect_end().await;
    }
    let (head, body) = poll.expect(200).await;
    assert!(body.contains("\"pending\""), "{head}{body}");
    poll.expect_end().await;
    assert!(TcpStream::connect(address).await.is_err());
    upload.send("code=x").await;
    upload.expect(200).await;
    soon(server.join_next()).await.unwrap().unwrap().unwrap();
}

/// What was sent before the stop is answered, although nobody looked at it yet; so is what comes at
/// once after it.
#[tokio::test]
async fn a_stop_does_not_forget_what_is_on_its_way() {
    const REQUEST: &[u8] = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n";
    let running = Running::with(Limits { stop_grace: 10 * SHORT, ..limits() }).await;
    let mut idle = running.connect().await;
    idle.get("/-/healthy").await;
    idle.expect(200).await;
    let mut late = running.connect().await;
    // Nothing else runs until the next await.
    let mut waiting = std::net::TcpStream::connect(running.address).unwrap();
    std::io::Write::write_all(&mut waiting, REQUEST).unwrap();
    assert_eq!(idle.0.try_write(REQUEST).unwrap(), REQUEST.len());
    running.fixture.stop.cancel();
    waiting.set_nonblocking(true).unwrap();
    soon(async { while TcpStream::connect(running.address).await.is_ok() {} }).await;
    late.send(REQUEST).await;
    for mut client in [idle, late, Client(TcpStream::from_std(waiting).unwrap())] {
        client.expect(200).await;
        client.expect_end().await;
    }
    running.stop().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let running = Running::with(Limits { shutdown: SHORT, ..limits() }).await;
    let mut upload = running.connect().await;
    upload.send(post("/pingback", 11) + "id=7&").await;
    let mut last = running.connect().await;
    last.get("/-/healthy").await;
    last.expect(200).await;
    running.stop().await;
    upload.expect_end().await;
}

#[tokio::test]
async fn every_listener_is_served() {
    let fixture = Fixture::new(config());
    let listeners = bind(&["127.0.0.1:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()]).await.unwrap();
    let addresses: Vec<_> = listeners.iter().map(|(_, address)| *address).collect();
    let mut server = JoinSet::new();
    server.spawn(serve(listeners, fixture.state(), fixture.stop.clone()));
    for address in addresses.iter().cycle().take(5) {
        let mut client = Client(TcpStream::connect(address).await.unwrap());
        client.get("/-/healthy").await;
        client.expect(200).await;
    }
    fixture.stop.cancel();
    soon(server.join_next()).await.unwrap().unwrap().unwrap();
}

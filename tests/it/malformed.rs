//! Rubbish from the network: two hundred thousand malformed requests leave the program healthy and its
//! memory as it was.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::harness::{PATIENCE, Setup, eventually};

const REQUESTS: u64 = 200_000;
const CLIENTS: u64 = 8;
const MIB: u64 = 1024 * 1024;

/// Every request is another one, and every one of them is refused. Those that hyper cannot read end
/// their connection.
fn malformed(random: &mut fastrand::Rng) -> Vec<u8> {
    let noise = |random: &mut fastrand::Rng, length: usize, bytes: &[u8]| -> String {
        (0..random.usize(0..length)).map(|_| char::from(bytes[random.usize(0..bytes.len())])).collect()
    };
    let query = b"abcidcode=&?%+#ERO_-.~0129/;:@!$'(),*[]|";
    let json = b"{}[]\",:0123456789.eE+-truefalsn \\u/id";
    let with_body = |path: &str, content_type: &str, body: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let noisy_query = noise(random, 300, query).replace('#', "");
    let noisy_json = noise(random, 300, json);
    let request = match random.u32(0..10) {
        0 => format!("GET /pingback?id=bad%20id&{noisy_query} HTTP/1.1\r\nHost: x\r\n\r\n"),
        1 => format!("GET /pingback?code=&id=1 HTTP/1.1\r\nHost: x\r\nX-Noise: {noisy_query}\r\n\r\n"),
        2 => format!("GET /{noisy_query} HTTP/1.1\r\nHost: x\r\n\r\n"),
        3 => with_body("/pingback", "application/json", &format!("[{noisy_json}")),
        4 => with_body("/api/v1/tasks", "application/json", &format!("{{\"id\":\"no good\",{noisy_json}")),
        5 => with_body("/pingback", "application/x-www-form-urlencoded", &format!("id=%00&{noisy_query}")),
        6 => format!("DELETE /pingback?{noisy_query} HTTP/1.1\r\nHost: x\r\n\r\n"),
        7 => format!("GET /api/v1/tasks/{}?wait={noisy_query} HTTP/1.1\r\nHost: x\r\n\r\n", random.u64(..)),
        8 => format!("GET /pingback?id={}&code={} HTTP/1.1\r\nHost: x\r\n\r\n", "i".repeat(65), "c".repeat(17_000)),
        _ => return (0..random.usize(1..400)).map(|_| random.u8(..)).chain(*b"\r\n\r\n").collect(),
    };
    request.into_bytes()
}

/// Sends malformed requests one after the other; a new connection whenever the last one was closed.
async fn abuse(address: SocketAddr, seed: u64, count: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut stream = None;
    let mut answer = vec![0; 64 * 1024];
    for _ in 0..count {
        let mut connection = match stream.take() {
            Some(connection) => connection,
            None => TcpStream::connect(address).await.unwrap(),
        };
        let request = malformed(&mut random);
        if connection.write_all(&request).await.is_err() {
            continue;
        }
        let read = tokio::time::timeout(PATIENCE, connection.read(&mut answer)).await;
        let read = read.unwrap_or_else(|_| panic!("no answer to {}", String::from_utf8_lossy(&request))).unwrap_or(0);
        let head = String::from_utf8_lossy(&answer[..read.min(16)]).into_owned();
        if read == 0 {
            continue;
        }
        let code = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).unwrap_or("???");
        let expected = code.starts_with('4') || (code == "200" && is_page(&request));
        assert!(expected, "{head} to {}", String::from_utf8_lossy(&request));
        if code != "400" || request.starts_with(b"GET /pingback") || request.starts_with(b"POST") {
            stream = Some(connection);
        }
    }
}

/// Noise may name the status page by chance.
fn is_page(request: &[u8]) -> bool {
    request.starts_with(b"GET / ") || request.starts_with(b"GET /?")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_thousand_malformed_requests_change_nothing() {
    let setup = Setup::new();
    let exporter = setup.start();
    let mut memory = Vec::new();
    for quarter in 0..4 {
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let seed = quarter * CLIENTS + client;
            clients.spawn(abuse(exporter.address, seed, REQUESTS / 4 / CLIENTS));
        }
        while let Some(done) = clients.join_next().await {
            done.unwrap();
        }
        memory.push(exporter.resident_bytes() / MIB);
    }
    assert_eq!(exporter.get("/-/healthy").await.0, 200);
    assert_eq!(exporter.get("/-/ready").await.0, 200);
    exporter.register(serde_json::json!({"id": "1"})).await;
    exporter.pingback("id=1&code=still+works").await;
    assert_eq!(exporter.metric(r#"captchaai_http_requests_total{code="500",handler="/pingback"}"#).await, Some(0.0));
    assert!(!exporter.log().contains("panic"), "{}", exporter.log());
    assert!(memory[3] <= memory[0] + 8, "resident MiB after each quarter: {memory:?}");
    assert!(memory[3] < 64, "{memory:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_request_does_not_keep_a_connection() {
    let exporter = Setup::new().start();
    let mut streams = Vec::new();
    for head in ["", "GET /pingback?id=1", "POST /pingback HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nid=1"] {
        let mut stream = TcpStream::connect(exporter.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    // The promise is thirty seconds.
    for mut stream in streams {
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(40), stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "still open");
    }
    eventually("closed connections", async || (exporter.metric("process_open_fds").await < Some(40.0)).then_some(()))
        .await;
}

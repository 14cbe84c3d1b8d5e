//! Pingbacks per second and their latency: this program, which answers when the result is on disk,
//! against an axum handler that does nothing. Both in turn, in one run, from the same load generator.
//!
//! `cargo bench --bench pingbacks [-- --seconds 5 --rounds 3 --connections 1,32,256]`

#![allow(missing_docs, clippy::pedantic, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

#[allow(dead_code, reason = "it serves more than this benchmark")]
mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use support::{Server, median, percentile};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Length of a solution: a usual Turnstile or reCAPTCHA token.
const CODE_BYTES: usize = 600;
/// Tasks registered at once, the most that one request takes.
const REGISTER: u64 = 1000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if arguments.first().is_some_and(|argument| argument == "serve-nothing") {
        return runtime.block_on(serve_nothing());
    }
    let option = |name: &str, default: &str| {
        let position = arguments.iter().position(|argument| argument == name);
        position.and_then(|position| arguments.get(position + 1)).map_or(default, String::as_str).to_owned()
    };
    let seconds = Duration::from_secs_f64(option("--seconds", "5").parse().unwrap());
    let rounds: usize = option("--rounds", "3").parse().unwrap();
    println!("{CODE_BYTES}-byte solutions, {seconds:?} a run, {rounds} rounds, every answer a 200 or the run fails");
    for connections in option("--connections", "1,32,256").split(',') {
        runtime.block_on(compare(connections.parse().unwrap(), seconds, rounds));
    }
}

/// The server to compare with: the same framework, the same answer, nothing kept.
async fn serve_nothing() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    axum::serve(listener, Router::new().route("/pingback", get(|| async { "OK" }))).await.unwrap();
}

async fn compare(connections: usize, seconds: Duration, rounds: usize) {
    let mut ratios = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        let nothing = Server::own("serve-nothing");
        let base = measure("do-nothing axum", &nothing, connections, seconds).await;
        drop(nothing);
        for (kind, ratios) in ["new ids", "registered"].into_iter().zip(&mut ratios) {
            let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            let exporter = Server::exporter(folder.path());
            if kind == "registered" {
                let expected = (base * seconds.as_secs_f64()) as u64;
                register(exporter.address, expected).await;
            }
            ratios.push(measure(kind, &exporter, connections, seconds).await / base);
        }
    }
    let [new, registered] = ratios.map(median);
    println!(
        "=> {connections} connections: {new:.2} of do-nothing with new ids, {registered:.2} with registered tasks\n"
    );
}

async fn measure(name: &str, server: &Server, connections: usize, seconds: Duration) -> f64 {
    let next_id = Arc::new(AtomicU64::new(FIRST_ID));
    let cpu_before = server.cpu();
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..connections {
        tasks.spawn(load(server.address, Arc::clone(&next_id), started + seconds));
    }
    let mut latencies = Vec::new();
    while let Some(of_one) = tasks.join_next().await {
        latencies.extend(of_one.unwrap());
    }
    let per_second = latencies.len() as f64 / started.elapsed().as_secs_f64();
    let cpu = (server.cpu() - cpu_before).as_secs_f64() * 1000.0 / (latencies.len() as f64 / 1000.0);
    latencies.sort_unstable();
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| percentile(&latencies, share) as f64 / 1000.0);
    println!(
        "{connections:4} connections  {name:16} {per_second:8.0}/s  p50 {p50:6.2} ms  p99 {p99:6.2} ms  max {max:7.2} ms  \
         {cpu:5.1} ms CPU per 1000  {:5.1} MiB",
        server.resident_mib()
    );
    per_second
}

const FIRST_ID: u64 = 2_122_988_149;

/// One connection that sends the next pingback as soon as the last one is answered.
async fn load(address: SocketAddr, next_id: Arc<AtomicU64>, until: Instant) -> Vec<u64> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let code: String = "0.AbCdEf-".chars().cycle().take(CODE_BYTES).collect();
    let mut latencies = Vec::new();
    let mut request = String::new();
    let mut answer = [0_u8; 1024];
    while Instant::now() < until {
        let id = next_id.fetch_add(1, Ordering::Relaxed);
        request.clear();
        request.push_str("GET /pingback?captcha=turnstile&id=");
        request.push_str(&id.to_string());
        request.push_str("&code=");
        request.push_str(&code);
        request.push_str(" HTTP/1.1\r\nHost: bench\r\n\r\n");
        let sent = Instant::now();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut length = 0;
        while !answer[..length].ends_with(b"\r\n\r\nOK") {
            let read = stream.read(&mut answer[length..]).await.unwrap();
            length += read;
            assert!(read > 0 && length < answer.len(), "{}", String::from_utf8_lossy(&answer[..length]));
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
        latencies.push(sent.elapsed().as_micros() as u64);
    }
    latencies
}

/// Registers the ids that the run is going to use.
async fn register(address: SocketAddr, count: u64) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut answer = [0_u8; 1024];
    for first in (FIRST_ID..FIRST_ID + count).step_by(REGISTER as usize) {
        let tasks: Vec<_> =
            (first..first + REGISTER).map(|id| format!(r#"{{"id":"{id}","captcha":"turnstile"}}"#)).collect();
        let body = format!("[{}]", tasks.join(","));
        let head = format!(
            "POST /api/v1/tasks HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).await.unwrap();
        let length = stream.read(&mut answer).await.unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..length]));
    }
}

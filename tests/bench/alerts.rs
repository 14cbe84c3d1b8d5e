//! Alerts from Alertmanager's post to Discord's request, against a bridge that keeps nothing: the same
//! work without a disk, in the same run. Then one group of many alerts, and a storm of groups.
//!
//! `cargo bench --bench alerts [-- --posts 500 --groups 1000]`

#![allow(missing_docs, clippy::pedantic, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

#[allow(dead_code, reason = "it serves more than this benchmark")]
mod support;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use captchaai_exporter::demo::alertalk::{self, SimulatedAlertalk};
use captchaai_exporter::demo::discord::{self, SimulatedDiscord};
use captchaai_exporter::notify::client::http_client;
use serde_json::{Value, json};
use support::{Server, percentile};
use tokio::net::TcpListener;
use tokio::sync::Notify;

const TIMEOUT: Duration = Duration::from_secs(30);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let option = |name: &str, default: usize| {
        let position = arguments.iter().position(|argument| argument == name);
        position.and_then(|position| arguments.get(position + 1)).map_or(default, |value| value.parse().unwrap())
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if let Some(target) = arguments.iter().find_map(|argument| argument.strip_prefix("bridge=")) {
        return runtime.block_on(bridge(target.to_owned()));
    }
    let (posts, groups) = (option("--posts", 500), option("--groups", 1000));
    runtime.block_on(async {
        latency(posts).await;
        one_large_group(500).await;
        one_large_group(10_000).await;
        storm(groups).await;
    });
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn receivers(discord: &str, alertalk: &str) -> String {
    format!(
        "receivers:\n- name: default\n  discord: [{{ name: ops, webhook_url: \"{discord}\" }}]\n  alertalk: \
         [{{ name: oncall, url: \"{alertalk}\", webhook_key: simulated-alertalk-key, phone_numbers: [\"5321234567\"] }}]\n"
    )
}

fn alert(name: &str, number: usize) -> Value {
    json!({
        "status": "firing",
        "labels": {"alertname": name, "severity": "warning", "account": format!("account{number}"), "job": "captchaai"},
        "annotations": {"summary": format!("Balance of account{number} is low: 8.42 USD")},
        "startsAt": "2026-01-31T08:30:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
    })
}

fn notification(name: &str, alerts: usize) -> Value {
    let alerts: Vec<_> = (0..alerts).map(|number| alert(name, number)).collect();
    json!({
        "version": "4", "groupKey": name, "status": "firing", "receiver": "captchaai", "truncatedAlerts": 0,
        "externalURL": "http://127.0.0.1:9093", "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {},
        "alerts": alerts,
    })
}

/// What a Discord that takes everything has seen, and when.
#[derive(Default)]
struct Seen {
    at: Mutex<HashMap<String, Instant>>,
    news: Notify,
}

async fn discord(seen: Arc<Seen>) -> SocketAddr {
    async fn take(State(seen): State<Arc<Seen>>, body: String) -> String {
        let now = Instant::now();
        let name = body.split("Group").nth(1).unwrap_or_default();
        let name = "Group".chars().chain(name.chars()).take_while(|c| c.is_ascii_alphanumeric()).collect();
        seen.at.lock().unwrap().entry(name).or_insert(now);
        seen.news.notify_one();
        r#"{"id":"1"}"#.to_owned()
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/api/webhooks/{id}/{token}", post(take)).with_state(seen);
    #[expect(clippy::disallowed_methods, reason = "it lives as long as the benchmark")]
    tokio::task::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// Posts to Discord whatever is posted to it, and keeps nothing.
async fn bridge(target: String) {
    let client = http_client(TIMEOUT).unwrap();
    let forward = move |body: String| {
        let body: Value = serde_json::from_str(&body).unwrap();
        let (client, target) = (client.clone(), target.clone());
        async move {
            let embeds: Vec<_> = body["alerts"].as_array().unwrap().iter().take(10).map(|alert| {
                json!({"title": alert["labels"]["alertname"], "description": alert["annotations"]["summary"]})
            }).collect();
            let message = json!({"embeds": embeds}).to_string();
            let request = client.post(target).header("content-type", "application/json").body(message);
            request.send().await.unwrap();
            "ok"
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    axum::serve(listener, Router::new().route("/alertmanager", post(forward))).await.unwrap();
}

/// From the post to the request at Discord, one group after the other.
async fn latency(posts: usize) {
    let seen = Arc::new(Seen::default());
    let address = discord(Arc::clone(&seen)).await;
    let webhook = format!("http://{address}/api/webhooks/1/token");
    let folder = folder();
    let exporter = Server::exporter_with(folder.path(), &receivers(&webhook, "http://127.0.0.1:9/"));
    let bridge = Server::own(&format!("bridge={webhook}"));
    let client = http_client(TIMEOUT).unwrap();
    let mut p50 = [Vec::new(), Vec::new()];
    for round in 0..3 {
        for (position, (name, server)) in [("bridge", &bridge), ("exporter", &exporter)].into_iter().enumerate() {
            let mut took = Vec::new();
            for number in 0..posts {
                let group = format!("Group{round}{name}{number}");
                let body = notification(&group, 1).to_string();
                let request = client.post(format!("http://{}/alertmanager", server.address));
                let started = Instant::now();
                let answer = request.header("content-type", "application/json").body(body).send().await.unwrap();
                assert_eq!(answer.status(), 200);
                let arrived = arrival(&seen, &group).await;
                took.push(u64::try_from(arrived.duration_since(started).as_micros()).unwrap());
            }
            took.sort_unstable();
            let ms = |share| percentile(&took, share) as f64 / 1000.0;
            println!(
                "{name:9} post to Discord  p50 {:6.2} ms  p99 {:6.2} ms  max {:6.2} ms  {:5.1} MiB",
                ms(0.5),
                ms(0.99),
                ms(1.0),
                server.resident_mib()
            );
            p50[position].push(ms(0.5));
        }
    }
    let [bridge, exporter] = p50.map(support::median);
    println!("=> post to Discord, p50: {exporter:.2} ms, {:.1} times a bridge that keeps nothing\n", exporter / bridge);
}

async fn arrival(seen: &Seen, group: &str) -> Instant {
    let wait = async {
        loop {
            if let Some(at) = seen.at.lock().unwrap().get(group) {
                return *at;
            }
            seen.news.notified().await;
        }
    };
    tokio::time::timeout(TIMEOUT, wait).await.expect("waited in vain")
}

/// How long many alerts in one body take to be acknowledged, and what becomes of them.
async fn one_large_group(alerts: usize) {
    let discord = SimulatedDiscord::start(discord::Options::default()).await.unwrap();
    let alertalk = SimulatedAlertalk::start(alertalk::Options::default()).await.unwrap();
    let folder = folder();
    let exporter = Server::exporter_with(folder.path(), &receivers(&discord.webhook_url(), &alertalk.url()));
    let mut body = notification("GroupLarge", alerts);
    for alert in body["alerts"].as_array_mut().unwrap() {
        alert["labels"]["severity"] = json!("critical");
    }
    let body = body.to_string();
    let bytes = body.len();
    let client = http_client(TIMEOUT).unwrap();
    let started = Instant::now();
    let answer = client.post(format!("http://{}/alertmanager", exporter.address)).body(body).send().await.unwrap();
    let took = started.elapsed();
    assert_eq!(answer.status(), 200);
    settled(&exporter).await;
    let counts = discord.counts();
    println!(
        "{alerts} alerts in {:.1} MB: acknowledged after {:.0} ms; {} messages, {} calls, {} violations, {:.1} MiB",
        bytes as f64 / 1e6,
        took.as_secs_f64() * 1000.0,
        counts.posted,
        alertalk.counts().queued,
        counts.violations(),
        exporter.resident_mib()
    );
    let messages = discord.messages();
    let last = messages.iter().map(|message| message.content["embeds"].to_string()).collect::<String>();
    let shown = (0..alerts).filter(|number| last.contains(&format!("account{number}"))).count();
    let more = last.split("and ").filter_map(|rest| rest.split(" more").next()?.replace(',', "").parse::<usize>().ok());
    println!("   {shown} shown by name, {} more in words\n", more.sum::<usize>());
}

/// Many groups within seconds, against Discord's rate limits.
async fn storm(groups: usize) {
    let discord = SimulatedDiscord::start(discord::Options::default()).await.unwrap();
    let alertalk = SimulatedAlertalk::start(alertalk::Options::default()).await.unwrap();
    let folder = folder();
    let exporter = Server::exporter_with(folder.path(), &receivers(&discord.webhook_url(), &alertalk.url()));
    let client = http_client(TIMEOUT).unwrap();
    let started = Instant::now();
    let mut most = 0.0_f64;
    for number in 0..groups {
        let body = notification(&format!("Group{number}x"), 5).to_string();
        let answer = client.post(format!("http://{}/alertmanager", exporter.address)).body(body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        most = most.max(exporter.resident_mib());
    }
    let posted = started.elapsed();
    settled(&exporter).await;
    most = most.max(exporter.resident_mib());
    let counts = discord.counts();
    println!(
        "{groups} groups posted in {:.1} s, told after {:.1} s: {} messages, {} times rate limited, {} violations, \
         at most {most:.1} MiB",
        posted.as_secs_f64(),
        started.elapsed().as_secs_f64(),
        counts.posted,
        counts.rate_limited,
        counts.violations()
    );
}

/// Waits until nothing waits any more.
async fn settled(exporter: &Server) {
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    let started = Instant::now();
    loop {
        ticks.tick().await;
        let metrics = support::curl(exporter.address, "/metrics");
        let mut waiting = metrics.lines().filter(|line| line.starts_with("captchaai_deliveries_pending{"));
        if waiting.all(|line| line.ends_with(" 0")) {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(300), "waited in vain");
    }
}

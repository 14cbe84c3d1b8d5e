//! A store with a million tasks: how long until the program is ready, what memory it takes, and what a
//! scrape costs, against an empty store in the same run.
//!
//! `cargo bench --bench million [-- --tasks 1000000 --scrapes 2000]`

#![allow(missing_docs, clippy::pedantic, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

#[allow(dead_code, reason = "it serves more than this benchmark")]
mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use captchaai_exporter::domain::clock::{Clock, SystemClock};
use captchaai_exporter::domain::task::{Outcome, Pingback, Registration, TaskId};
use captchaai_exporter::metrics::{LabelSets, Metrics};
use captchaai_exporter::store::{Options, Store};
use support::{Server, curl, percentile};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let option = |name: &str, default: usize| {
        let position = arguments.iter().position(|argument| argument == name);
        position.and_then(|position| arguments.get(position + 1)).map_or(default, |value| value.parse().unwrap())
    };
    let (tasks, scrapes) = (option("--tasks", 1_000_000), option("--scrapes", 2000));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let empty = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let full = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    runtime.block_on(fill(full.path(), tasks));
    // In turn, several times: the machine's speed drifts.
    let mut p99 = [Vec::new(), Vec::new()];
    for _ in 0..3 {
        for ((name, folder), p99) in [("empty", &empty), ("full", &full)].into_iter().zip(&mut p99) {
            p99.push(measure(name, folder.path(), scrapes));
        }
    }
    let [empty, full] = p99.map(support::median);
    println!("=> {tasks} tasks, half of them pending: scrape p99 {:.2} of an empty store's", full / empty);
}

async fn fill(folder: &Path, tasks: usize) {
    let options = Options {
        path: folder.join("bench.db"),
        spill_dir: folder.join("spill"),
        rules: captchaai_exporter::store::Rules::new(Duration::from_secs(120)),
    };
    let clock = Arc::new(SystemClock);
    let metrics = Metrics::new(&LabelSets::default()).unwrap();
    let store = Store::open(&options, metrics, clock.clone()).unwrap();
    let id = |number: usize| TaskId::parse(&(2_122_988_149 + number).to_string()).unwrap();
    for first in (0..tasks).step_by(1000) {
        let registrations = (first..first + 1000).map(|number| Registration {
            id: id(number),
            account: "main".into(),
            captcha: "turnstile".into(),
            submitted_at: clock.now(),
            worker: None,
        });
        store.register(registrations.collect()).await.unwrap();
        let mut kept = tokio::task::JoinSet::new();
        for number in (first..first + 1000).step_by(2) {
            let store = store.clone();
            let pingback = Pingback {
                id: id(number),
                outcome: Outcome::from_code(&"0.AbCdEf-".repeat(66)),
                received_at: clock.now(),
                account: None,
                captcha: "other".into(),
                submitted_at: None,
                verify: false,
            };
            kept.spawn(async move { store.keep_pingback(pingback, Instant::now()).await });
        }
        while let Some(result) = kept.join_next().await {
            result.unwrap().unwrap();
        }
    }
    println!("{} MB on disk", store.size_bytes() / 1_000_000);
    store.close().await;
}

fn measure(name: &str, folder: &Path, scrapes: usize) -> f64 {
    let server = Server::exporter(folder);
    let mut latencies: Vec<u64> = (0..scrapes)
        .map(|_| {
            let started = Instant::now();
            let answer = curl(server.address, "/metrics");
            assert!(answer.starts_with("HTTP/1.1 200"));
            started.elapsed().as_micros() as u64
        })
        .collect();
    latencies.sort_unstable();
    let [p50, p99] = [0.5, 0.99].map(|share| percentile(&latencies, share) as f64 / 1000.0);
    println!(
        "{name:6} ready after {:4} ms  {:5.1} MiB  scrape p50 {p50:5.2} ms  p99 {p99:5.2} ms",
        server.ready_after.as_millis(),
        server.resident_mib()
    );
    p99
}

//! Recovering and handing on results: what a step of the fallback poller costs with a million pending
//! tasks, and how fast results reach a subscriber that answers at once, alone and beside one that is dead.
//!
//! `cargo bench --bench results [-- --tasks 1000000 --results 50000]`

#![allow(missing_docs, clippy::pedantic, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

#[allow(dead_code, reason = "it serves more than this benchmark")]
mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::post;
use captchaai_exporter::delivery::{Peers, Shared, deliver};
use captchaai_exporter::domain::clock::{Clock, ManualClock, SystemClock};
use captchaai_exporter::domain::fallback::Fallback;
use captchaai_exporter::domain::task::{Outcome, Pingback, Registration, TaskId};
use captchaai_exporter::metrics::{LabelSets, Metrics};
use captchaai_exporter::notify::{Settings, subscriber};
use captchaai_exporter::store::{Options, Rules, Store};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let option = |name: &str, default: usize| {
        let position = arguments.iter().position(|argument| argument == name);
        position.and_then(|position| arguments.get(position + 1)).map_or(default, |value| value.parse().unwrap())
    };
    let (tasks, results) = (option("--tasks", 1_000_000), option("--results", 50_000));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        polling(tasks).await;
        let mut alone = Vec::new();
        let mut beside = Vec::new();
        for _ in 0..3 {
            alone.push(handing_on(results, false).await);
            beside.push(handing_on(results, true).await);
        }
        let (alone, beside) = (support::median(alone), support::median(beside));
        println!("=> {alone:.0} results/s to one subscriber; beside a dead one {:.2} of that", beside / alone);
    });
}

fn store(folder: &Path, rules: Rules, clock: Arc<dyn Clock>) -> (Store, Metrics) {
    let options = Options { path: folder.join("bench.db"), spill_dir: folder.join("spill"), rules };
    let metrics = Metrics::new(&LabelSets::default()).unwrap();
    (Store::open(&options, metrics.clone(), clock).unwrap(), metrics)
}

fn id(number: usize) -> TaskId {
    TaskId::parse(&(2_122_988_149 + number).to_string()).unwrap()
}

/// CPU time that all threads of this process used so far.
fn cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let nanoseconds = tasks.filter_map(|task| {
        let stat = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        stat.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

/// A million tasks wait, and a thousand of them are due, again and again.
async fn polling(tasks: usize) {
    const DUE: usize = 1000;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let (store, _) = store(folder.path(), Rules::new(Duration::from_secs(120)), clock.clone());
    for first in (0..tasks).step_by(1000) {
        let registrations = (first..first + 1000).map(|number| Registration {
            id: id(number),
            account: "main".into(),
            captcha: "turnstile".into(),
            submitted_at: clock.now(),
            worker: None,
        });
        store.register(registrations.collect()).await.unwrap();
        // The first thousand are due long before the others.
        if first == 0 {
            clock.advance(jiff::SignedDuration::from_secs(119));
        }
    }
    clock.advance(jiff::SignedDuration::from_secs(1));
    let before = resident_mib();
    let (mut wall, mut used) = (Vec::new(), Vec::new());
    // Six gaps end before the other tasks are due.
    for polls in 1..=6 {
        let (started, started_cpu) = (Instant::now(), cpu());
        let due = store.claim_polls(Some("main".into()), DUE).await.unwrap();
        assert_eq!(due.len(), DUE);
        wall.push(started.elapsed().as_secs_f64() * 1000.0);
        used.push((cpu() - started_cpu).as_secs_f64() * 1000.0);
        let gap = Fallback::default().gap(polls);
        clock.advance(jiff::SignedDuration::try_from(gap).unwrap());
    }
    let (wall, used) = (support::median(wall), support::median(used));
    println!(
        "{tasks} tasks pending, {DUE} due: a step takes {:.1} ms of CPU, {:.1} ms, {before:.1} MiB before and {:.1} after",
        used,
        wall,
        resident_mib()
    );
    store.close().await;
}

/// A server that takes every result at once; returns its URL and how many it took.
async fn sink(servers: &mut JoinSet<()>) -> (String, Arc<std::sync::atomic::AtomicUsize>) {
    let taken = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    let take = move |_: String| {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        async { "" }
    };
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let url = format!("http://{}/results", listener.local_addr().unwrap());
    servers.spawn(async move { axum::serve(listener, Router::new().route("/results", post(take))).await.unwrap() });
    (url, taken)
}

fn subscriber(name: &str, url: &str) -> Settings {
    let (name, url) = (name.to_owned(), url.to_owned().into());
    Settings::Subscriber(subscriber::Settings { name, url, secret: None, max_age: Duration::from_secs(120) })
}

/// Results a second, from the store to the last answer.
async fn handing_on(results: usize, beside_a_dead_one: bool) -> f64 {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut servers = JoinSet::new();
    let (url, taken) = sink(&mut servers).await;
    let mut subscribers = vec![subscriber("live", &url)];
    if beside_a_dead_one {
        subscribers.push(subscriber("dead", "http://127.0.0.1:9/"));
    }
    let names = subscribers.iter().map(Settings::destination).collect();
    let rules = Rules { subscribers: names, ..Rules::new(Duration::from_secs(120)) };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (store, metrics) = store(folder.path(), rules, Arc::clone(&clock));
    let mut kept = JoinSet::new();
    for number in 0..results {
        let pingback = Pingback {
            id: id(number),
            outcome: Outcome::from_code(&"0.AbCdEf-".repeat(66)),
            received_at: clock.now(),
            account: None,
            captcha: "other".into(),
            submitted_at: None,
            verify: false,
        };
        let store = store.clone();
        kept.spawn(async move { store.keep_pingback(pingback, Instant::now()).await.unwrap() });
        if kept.len() >= 1000 {
            kept.join_next().await;
        }
    }
    while kept.join_next().await.is_some() {}
    let shared = Shared::new(store.clone(), metrics, clock).unwrap();
    let stop = CancellationToken::new();
    let (started, started_cpu) = (Instant::now(), cpu());
    let mut workers = JoinSet::new();
    for settings in subscribers {
        workers.spawn(deliver(settings, Peers::default(), shared.clone(), fastrand::Rng::with_seed(1), stop.clone()));
    }
    let mut ticks = tokio::time::interval(Duration::from_millis(2));
    while taken.load(std::sync::atomic::Ordering::Relaxed) < results {
        ticks.tick().await;
        assert!(started.elapsed() < Duration::from_secs(120), "waited in vain");
    }
    let (took, used) = (started.elapsed().as_secs_f64(), (cpu() - started_cpu).as_secs_f64());
    let rate = results as f64 / took;
    println!(
        "{results} results, {}: {rate:.0}/s, {:.0} ms of CPU per 1000, sink included, {:.1} MiB",
        if beside_a_dead_one { "beside a dead subscriber" } else { "one subscriber" },
        used * 1e6 / results as f64,
        resident_mib()
    );
    stop.cancel();
    while workers.join_next().await.is_some() {}
    store.close().await;
    rate
}

//! `GET /metrics`: what cannot be counted when it happens is read before each scrape.

use std::io::Write;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use procfs::process::{LimitValue, Process};
use prometheus::TextEncoder;

use super::error::Failure;
use super::state::Shared;
use crate::domain::activity::RATIO_WINDOWS;
use crate::domain::alert::RANKS;
use crate::domain::time::{elapsed, unix_seconds};
use crate::metrics::{Metrics, UNKNOWN_ACCOUNT};
use crate::store::{Queue, StoreError};

/// How long a scrape waits for the store before it shows the values that it knows.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);

/// Shows all metrics.
pub(super) async fn metrics(State(state): State<Shared>, headers: HeaderMap) -> Result<Response, Failure> {
    const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    let _turn = state.renderings().acquire().await.map_err(|_| Failure::internal())?;
    refresh(&state).await;
    let gzip = accepts_gzip(&headers);
    let metrics = state.metrics.clone();
    let render = tokio::task::spawn_blocking(move || {
        refresh_process(&metrics);
        let text = TextEncoder::new().encode_to_string(&metrics.registry().gather()).ok()?;
        compressed(text.into_bytes(), gzip)
    });
    let body = render.await.ok().flatten().ok_or_else(Failure::internal)?;
    Ok(answer(TEXT, body, gzip))
}

/// An answer that may be compressed.
pub(super) fn answer(content_type: HeaderValue, body: Vec<u8>, gzip: bool) -> Response {
    let mut response = Bytes::from(body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// The body as it is, or compressed.
pub(super) fn compressed(body: Vec<u8>, gzip: bool) -> Option<Vec<u8>> {
    if !gzip {
        return Some(body);
    }
    // Metrics are so repetitive that the fastest level gets most of it.
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::fast());
    encoder.write_all(&body).ok()?;
    encoder.finish().ok()
}

/// Whether the client takes gzip: named, or by `*`, and not with `q=0`.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let mut any = false;
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    for coding in values.flat_map(|value| value.split(',')) {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let wanted = quality.is_none_or(|quality| quality.trim().parse::<f32>().is_ok_and(|quality| quality > 0.0));
        match name {
            _ if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => return wanted,
            "*" => any = wanted,
            _ => {}
        }
    }
    any
}

/// Sets the gauges that show the store. What it does not say in time keeps its last value.
pub(super) async fn refresh(state: &Shared) {
    let config = state.config();
    let accounts: Vec<&str> = config.accounts.iter().map(|account| &*account.name).collect();
    if let Ok(Ok(queues)) = tokio::time::timeout(STORE_TIMEOUT, state.store.queues()).await {
        set_queues(&state.metrics, &accounts, &queues, state.clock.now());
    }
    for account in accounts.iter().copied().chain([UNKNOWN_ACCOUNT]) {
        let activity = state.store.activity(account);
        set_ratios(&state.metrics, account, &activity.solve_ratio);
        if account != UNKNOWN_ACCOUNT {
            state.metrics.workers_active.with_label_values(&[account]).set(gauge(activity.workers));
        }
    }
    state.metrics.store_size.set(gauge(state.store.size_bytes()));
    // An error means that it took too long, or that the store says itself what is wrong with it.
    let _ = tokio::time::timeout(STORE_TIMEOUT, refresh_alerts(state)).await;
}

/// Sets the gauges of alerts and of the outbox.
async fn refresh_alerts(state: &Shared) -> Result<(), StoreError> {
    let (metrics, now) = (&state.metrics, state.clock.now());
    for backlog in state.store.backlogs().await? {
        let age = |since: Option<Timestamp>| since.map_or(0.0, |since| elapsed(since, now).as_secs_f64());
        let labels = [&*backlog.destination];
        metrics.deliveries_pending.with_label_values(&labels).set(gauge(backlog.pending));
        metrics.delivery_oldest_pending_age.with_label_values(&labels).set(age(backlog.oldest_queued_at));
        metrics.dead_letters.with_label_values(&labels).set(gauge(backlog.dead));
        metrics.dead_letter_oldest_age.with_label_values(&labels).set(age(backlog.oldest_dead_at));
    }
    let firing = state.store.firing().await?;
    let config = state.config();
    for receiver in &config.receivers {
        let heard = firing.iter().find(|firing| firing.receiver == receiver.name);
        for (position, rank) in RANKS.iter().enumerate() {
            let count = heard.and_then(|heard| heard.by_rank.get(position)).copied().unwrap_or_default();
            metrics.alerts_firing.with_label_values(&[&*receiver.name, rank.as_str()]).set(gauge(count));
        }
    }
    if let Some(last_heard_at) = state.store.watchdog().await?.last_heard_at {
        metrics.watchdog_last_received.set(unix_seconds(last_heard_at));
    }
    Ok(())
}

fn set_queues(metrics: &Metrics, accounts: &[&str], queues: &[Queue], now: Timestamp) {
    let empty = accounts.iter().filter(|account| queues.iter().all(|queue| queue.account != **account));
    let empty = empty.map(|account| (*account, 0, None));
    let filled = queues.iter().map(|queue| (&*queue.account, queue.pending, queue.oldest_submitted_at));
    for (account, pending, oldest) in filled.chain(empty) {
        let age = oldest.map_or(Duration::ZERO, |oldest| elapsed(oldest, now));
        metrics.queue_tasks.with_label_values(&[account]).set(gauge(pending));
        metrics.queue_oldest_task_age.with_label_values(&[account]).set(age.as_secs_f64());
    }
}

/// A ratio of nothing is not shown at all.
fn set_ratios(metrics: &Metrics, account: &str, ratios: &[Option<f64>]) {
    for (position, (window, _)) in RATIO_WINDOWS.iter().enumerate() {
        match ratios.get(position).copied().flatten() {
            Some(ratio) => metrics.solve_ratio.with_label_values(&[account, window]).set(ratio),
            // Fails when there was none, which is what is wanted.
            None => drop(metrics.solve_ratio.remove_label_values(&[account, window])),
        }
    }
}

/// Sets `process_*`. What the system does not tell keeps its last value.
fn refresh_process(metrics: &Metrics) {
    let Ok(process) = Process::myself() else { return };
    if let Ok(stat) = process.stat() {
        let ticks = procfs::ticks_per_second() as f64;
        let cpu = (stat.utime + stat.stime) as f64 / ticks;
        // Two scrapes at once may both see the same rise; the next one is then short by as much.
        metrics.process_cpu.inc_by((cpu - metrics.process_cpu.get()).max(0.0));
        metrics.process_virtual_memory.set(gauge(stat.vsize));
        metrics.process_resident_memory.set(gauge(stat.rss.saturating_mul(procfs::page_size())));
        metrics.process_threads.set(stat.num_threads);
        if let Ok(boot) = procfs::boot_time_secs() {
            metrics.process_start_time.set(boot as f64 + stat.starttime as f64 / ticks);
        }
    }
    if let Ok(open) = process.fd_count() {
        metrics.process_open_fds.set(gauge(open));
    }
    if let Ok(limits) = process.limits() {
        metrics.process_max_fds.set(match limits.max_open_files.soft_limit {
            LimitValue::Value(limit) => gauge(limit),
            LimitValue::Unlimited => i64::MAX,
        });
    }
}

fn gauge(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use axum::http::Method;
    use flate2::read::GzDecoder;

    use super::*;
    use crate::http::testing::{Fixture, account, config, now, request, send};

    #[test]
    fn gzip_is_for_those_who_take_it() {
        for (values, expected) in [
            (vec![], false),
            (vec![""], false),
            (vec!["gzip"], true),
            (vec!["GZIP"], true),
            (vec!["x-gzip"], true),
            (vec!["br, gzip;q=0.5"], true),
            (vec!["gzip;q=0"], false),
            (vec!["gzip; q=0.000"], false),
            (vec!["gzip;Q=0"], false),
            (vec!["gzip;q=0, *"], false),
            (vec!["*, gzip;q=0"], false),
            (vec!["*"], true),
            (vec!["*;q=0"], false),
            (vec!["br", "gzip"], true),
            (vec!["identity", "br"], false),
            (vec!["gzip;q=much"], false),
            (vec!["gzipped"], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in &values {
                headers.append(ACCEPT_ENCODING, value.parse().unwrap());
            }
            assert_eq!(accepts_gzip(&headers), expected, "{values:?}");
        }
    }

    #[tokio::test]
    async fn the_text_is_the_same_compressed() {
        let fixture = Fixture::new(config());
        for encoding in [None, Some("gzip")] {
            let mut request = request(Method::GET, "/metrics", "");
            if let Some(encoding) = encoding {
                request.headers_mut().insert(ACCEPT_ENCODING, encoding.parse().unwrap());
            }
            let answer = send(fixture.router(), request).await;
            assert_eq!(answer.header("content-encoding"), encoding);
            assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
            assert_eq!(answer.header("vary"), Some("accept-encoding"));
            let mut text = String::new();
            match encoding {
                None => text = answer.text(),
                Some(_) => drop(GzDecoder::new(&*answer.body).read_to_string(&mut text).unwrap()),
            }
            assert!(text.contains("\ncaptchaai_up{account=\"main\"} 0\n"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_scrape_shows_the_store() {
        let mut config = config();
        config.accounts.push(account("second"));
        let fixture = Fixture::new(config);
        let pending = r#"[{"id":"1","account":"main","worker":"a"},{"id":"2","account":"main","worker":"b"}]"#;
        fixture.post("/api/v1/tasks", pending).await;
        fixture.clock.advance(jiff::SignedDuration::from_secs(90));
        let check = async |expected: [(&str, Option<f64>); 9]| {
            for (series, value) in expected {
                assert_eq!(fixture.sample(series).await, value, "{series}");
            }
        };
        check([
            (r#"captchaai_queue_tasks{account="main"}"#, Some(2.0)),
            (r#"captchaai_queue_tasks{account="second"}"#, Some(0.0)),
            (r#"captchaai_queue_oldest_task_age_seconds{account="main"}"#, Some(90.0)),
            (r#"captchaai_queue_oldest_task_age_seconds{account="second"}"#, Some(0.0)),
            (r#"captchaai_workers_active{account="main"}"#, Some(2.0)),
            (r#"captchaai_workers_active{account="second"}"#, Some(0.0)),
            (r#"captchaai_workers_active{account="unknown"}"#, None),
            (r#"captchaai_solve_ratio{account="main",window="5m"}"#, None),
            (r#"captchaai_solve_ratio{account="unknown",window="5m"}"#, None),
        ])
        .await;
        for query in ["id=1&account=main&code=x", "id=2&account=main&code=ERROR_UPLOAD", "id=3&code=x"] {
            fixture.get(&format!("/pingback?{query}")).await.expect_ok();
        }
        check([
            (r#"captchaai_queue_tasks{account="main"}"#, Some(0.0)),
            (r#"captchaai_queue_tasks{account="second"}"#, Some(0.0)),
            (r#"captchaai_queue_oldest_task_age_seconds{account="main"}"#, Some(0.0)),
            (r#"captchaai_queue_oldest_task_age_seconds{account="second"}"#, Some(0.0)),
            (r#"captchaai_workers_active{account="main"}"#, Some(2.0)),
            (r#"captchaai_workers_active{account="second"}"#, Some(0.0)),
            (r#"captchaai_solve_ratio{account="main",window="5m"}"#, Some(0.5)),
            (r#"captchaai_solve_ratio{account="main",window="1h"}"#, Some(0.5)),
            (r#"captchaai_solve_ratio{account="second",window="5m"}"#, None),
        ])
        .await;
        // The window empties: the ratio goes away, and is not 0.
        fixture.clock.advance(jiff::SignedDuration::from_mins(10));
        assert_eq!(fixture.sample(r#"captchaai_solve_ratio{account="main",window="5m"}"#).await, None);
        assert_eq!(fixture.sample(r#"captchaai_solve_ratio{account="main",window="1h"}"#).await, Some(0.5));
        assert!(fixture.sample("captchaai_store_size_bytes").await > Some(0.0));
    }

    #[tokio::test]
    async fn a_store_that_fails_leaves_the_last_values() {
        let fixture = Fixture::new(config());
        fixture.post("/api/v1/tasks", r#"{"id":"1"}"#).await;
        let series = r#"captchaai_queue_tasks{account="main"}"#;
        assert_eq!(fixture.sample(series).await, Some(1.0));
        fixture.store.close().await;
        assert_eq!(fixture.sample(series).await, Some(1.0));
    }

    #[test]
    fn a_queue_that_is_not_told_is_empty() {
        let fixture = Fixture::new(config());
        let queue = |pending, oldest_submitted_at| Queue { account: "main".to_owned(), pending, oldest_submitted_at };
        let read = || {
            let tasks = fixture.metrics.queue_tasks.with_label_values(&["main"]).get();
            (tasks, fixture.metrics.queue_oldest_task_age.with_label_values(&["main"]).get())
        };
        set_queues(&fixture.metrics, &["main"], &[queue(3, Some(now()))], now() + Duration::from_secs(7));
        assert_eq!(read(), (3, 7.0));
        set_queues(&fixture.metrics, &["main"], &[queue(3, Some(now()))], now() - Duration::from_secs(7));
        assert_eq!(read(), (3, 0.0));
        set_queues(&fixture.metrics, &["main"], &[], now());
        assert_eq!(read(), (0, 0.0));
    }

    #[test]
    fn the_process_is_shown_with_fractions_of_seconds() {
        let fixture = Fixture::new(config());
        let metrics = &fixture.metrics;
        refresh_process(metrics);
        let before = metrics.process_cpu.get();
        let mut sum = 0_u64;
        // Some tens of milliseconds of work, a bounded number of times.
        for round in 0..1000 {
            sum = (0..1_000_000_u64).fold(sum, |sum, number| sum.wrapping_mul(31).wrapping_add(number ^ round));
            refresh_process(metrics);
            if metrics.process_cpu.get() > before {
                break;
            }
        }
        let rise = metrics.process_cpu.get() - before;
        assert!(rise > 0.0 && rise.fract() > 0.0, "{rise} ({sum})");
        assert!(metrics.process_resident_memory.get() > 1 << 20);
        assert!(metrics.process_virtual_memory.get() >= metrics.process_resident_memory.get());
        assert!(metrics.process_open_fds.get() > 2 && metrics.process_max_fds.get() > metrics.process_open_fds.get());
        assert!(metrics.process_threads.get() > 0);
        assert!(metrics.process_start_time.get() > 1.6e9);
    }
}

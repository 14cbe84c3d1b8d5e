//! `GET /`: the state of things for people, without a script and without anything from elsewhere.

mod alerts;
pub(super) mod letters;

use std::time::Duration;

use axum::extract::State;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use prometheus::core::Collector;
use prometheus::proto::{LabelPair, MetricFamily};

use crate::http::error::Failure;
use crate::http::metrics::{accepts_gzip, answer, compressed, refresh};
use crate::http::state::{BuildInfo, Shared};
use alerts::AlertsView;
use letters::LettersView;

use crate::domain::activity::RATIO_WINDOWS;
use crate::domain::time::{format_duration, unix_seconds};
use crate::metrics::Metrics;

/// Shows the page.
pub(super) async fn page(State(state): State<Shared>, headers: HeaderMap) -> Result<Response, Failure> {
    let _turn = state.renderings().acquire().await.map_err(|_| Failure::internal())?;
    refresh(&state).await;
    let gzip = accepts_gzip(&headers);
    let alerts = alerts::view(&state, &state.config()).await;
    let letters = letters::view(&state).await;
    let page = render(&View { alerts, letters, ..view(&state) }).into_string().into_bytes();
    let body = compressed(page, gzip).ok_or_else(Failure::internal)?;
    let mut response = answer(HeaderValue::from_static("text/html; charset=utf-8"), body, gzip);
    for (name, value) in [
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
        ),
        // Who sees the page in a frame of another page does not know what is clicked.
        (X_FRAME_OPTIONS, "DENY"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// What the page shows.
#[derive(Debug)]
struct View {
    build: BuildInfo,
    /// The external URL, or nothing: then links begin at the root.
    base: String,
    accounts: Vec<AccountView>,
    /// Why the store cannot be written.
    store_failure: Option<String>,
    store_bytes: i64,
    alerts: AlertsView,
    letters: LettersView,
}

#[derive(Debug)]
struct AccountView {
    name: String,
    up: bool,
    /// The last known balance in USD and its age; none before the first reading.
    balance: Option<(f64, Duration)>,
    /// Failed polls by reason, those that happened.
    failures: Vec<(String, u64)>,
    spend_usd: f64,
    topups_usd: f64,
    /// By window, in the order of `RATIO_WINDOWS`.
    solve_ratios: Vec<Option<f64>>,
    pending: i64,
    oldest: Duration,
    workers: i64,
}

fn view(state: &Shared) -> View {
    let now = unix_seconds(state.clock.now());
    let config = state.config();
    let accounts = config.accounts.iter().map(|account| {
        let solve_ratios = state.store.activity(&account.name).solve_ratio;
        view_account(&state.metrics, &account.name, solve_ratios, now)
    });
    View {
        build: state.build,
        base: state.listen.external_url.clone().unwrap_or_default(),
        accounts: accounts.collect(),
        store_failure: state.store.write_failure(),
        store_bytes: state.metrics.store_size.get(),
        alerts: AlertsView::default(),
        letters: LettersView::default(),
    }
}

/// `now` in Unix seconds.
fn view_account(metrics: &Metrics, name: &str, solve_ratios: Vec<Option<f64>>, now: f64) -> AccountView {
    let labels = &[name];
    let read_at = metrics.balance_last_success.with_label_values(labels).get();
    // Asking for the balance would create the series, and 0 USD is not the same as nothing known.
    let balance =
        (read_at > 0.0).then(|| (metrics.account_balance.with_label_values(labels).get(), seconds(now - read_at)));
    AccountView {
        name: name.to_owned(),
        up: metrics.up.with_label_values(labels).get() == 1,
        balance,
        failures: failures(metrics, name),
        spend_usd: metrics.account_spend.with_label_values(labels).get(),
        topups_usd: metrics.account_topups.with_label_values(labels).get(),
        solve_ratios,
        pending: metrics.queue_tasks.with_label_values(labels).get(),
        oldest: seconds(metrics.queue_oldest_task_age.with_label_values(labels).get()),
        workers: metrics.workers_active.with_label_values(labels).get(),
    }
}

/// Failed requests of an account by reason, without those that never happened.
fn failures(metrics: &Metrics, account: &str) -> Vec<(String, u64)> {
    let families = metrics.api_request_failures.collect();
    let mut failures = Vec::new();
    for metric in families.iter().flat_map(MetricFamily::get_metric) {
        let label = |name| metric.get_label().iter().find(|label| label.name() == name).map(LabelPair::value);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count, made of whole steps")]
        let count = metric.get_counter().get_value() as u64;
        if label("account") == Some(account) && count > 0 {
            failures.push((label("reason").unwrap_or_default().to_owned(), count));
        }
    }
    failures
}

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8884; --good: #1a7f37; --bad: #cf222e; }
@media (prefers-color-scheme: dark) { :root { --good: #3fb950; --bad: #ff7b72; } }
* { box-sizing: border-box; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.4rem; margin: 0; }
h2 { font-size: 1.1rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
section { border: 1px solid var(--line); border-radius: .5rem; padding: 1rem; margin: 1rem 0; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .75rem; margin: 0; }
dt { font-size: .85rem; opacity: .75; }
dd { margin: 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
nav a { margin-right: 1rem; }
.good { color: var(--good); }
.bad { color: var(--bad); }
small { opacity: .75; }
table { border-collapse: collapse; width: 100%; overflow-wrap: anywhere; }
th, td { text-align: left; vertical-align: top; padding: .25rem .5rem .25rem 0; border-top: 1px solid var(--line); }
form { display: inline-block; margin: 0 .25rem .25rem 0; }
";

fn render(view: &View) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "CaptchaAI exporter" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "CaptchaAI exporter" }
                p { small { "version " (view.build.version) ", revision " (view.build.revision) ", rustc " (view.build.rustc) } }
                @for account in &view.accounts { (render_account(account)) }
                (alerts::render(&view.alerts))
                (letters::render(&view.letters))
                (render_store(view))
                nav {
                    @for path in ["/metrics", "/-/healthy", "/-/ready"] { a href={ (view.base) (path) } { (path) } }
                }
            }
        }
    }
}

fn render_account(account: &AccountView) -> Markup {
    let queue = match account.pending {
        0 => "empty".to_owned(),
        pending => format!("{pending} pending, oldest {}", age(account.oldest)),
    };
    html! {
        section {
            h2 { "Account " (account.name) }
            dl {
                (fact("Status", &render_status(account)))
                @match account.balance {
                    Some((usd, read)) => (fact("Balance", &html! {
                        (format!("{usd:.2} USD")) br; small { "read " (age(read)) " ago" }
                    })),
                    None => (fact("Balance", &html! { "not read yet" })),
                }
                (fact("Spend", &html! { (format!("{:.2} USD", account.spend_usd)) }))
                (fact("Top-ups", &html! { (format!("{:.2} USD", account.topups_usd)) }))
                @for (position, (window, _)) in RATIO_WINDOWS.iter().enumerate() {
                    @let ratio = account.solve_ratios.get(position).copied().flatten();
                    (fact(&format!("Solved, last {window}"), &html! {
                        @match ratio {
                            Some(ratio) => (format!("{:.1} %", ratio * 100.0)),
                            None => "no task finished",
                        }
                    }))
                }
                (fact("Queue", &html! { (queue) }))
                (fact("Active workers", &html! { (account.workers) }))
            }
        }
    }
}

fn render_status(account: &AccountView) -> Markup {
    let failures = || {
        html! {
            @for (reason, count) in &account.failures { br; small { (reason) ": " (count) " failed" } }
        }
    };
    match (account.up, account.balance, account.failures.is_empty()) {
        (true, ..) => html! { span.good { "up" } },
        (false, None, true) => html! { "not asked yet" },
        (false, ..) => html! { span.bad { "down" } (failures()) },
    }
}

fn render_store(view: &View) -> Markup {
    html! {
        section {
            h2 { "Store" }
            dl {
                (fact("Status", &html! {
                    @match &view.store_failure {
                        None => span.good { "ready" },
                        Some(reason) => { span.bad { "cannot be written" } br; small { (reason) } },
                    }
                }))
                (fact("Size", &html! { (format!("{:.1} MiB", view.store_bytes as f64 / f64::from(1 << 20))) }))
            }
        }
    }
}

fn fact(name: &str, value: &Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

/// A duration from a gauge; a clock that went back makes it nothing.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// A duration for people: nobody counts the milliseconds.
fn age(duration: Duration) -> String {
    format_duration(Duration::from_secs(duration.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::{Fixture, account, config};

    #[tokio::test]
    async fn an_account_that_was_never_read_has_no_balance() {
        let fixture = Fixture::new(config());
        let answer = fixture.get("/").await;
        let page = answer.text();
        for part in
            ["1.2.3", "abcdef", "rustc 1.95.0", "Account main", "not read yet", "not asked yet", "no task finished"]
        {
            assert!(page.contains(part), "{part} in {page}");
        }
        assert!(!page.contains(".00 USD<br>"), "{page}");
        assert!(page.contains("<a href=\"/metrics\">") && page.contains("<a href=\"/-/ready\">"), "{page}");
        for (name, value) in [
            ("content-type", "text/html; charset=utf-8"),
            (
                "content-security-policy",
                "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
            ),
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name}");
        }
        assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("url("));
        // To look is not to create.
        assert_eq!(fixture.sample(r#"captchaai_account_balance_usd{account="main"}"#).await, None);
    }

    #[tokio::test]
    async fn the_page_shows_what_is_known() {
        let mut config = config();
        config.accounts.push(account("second"));
        let mut fixture = Fixture::new(config);
        fixture.listen.external_url = Some("https://example.com/exporter".to_owned());
        let metrics = &fixture.metrics;
        metrics.up.with_label_values(&["main"]).set(1);
        metrics.account_balance.with_label_values(&["main"]).set(142.3);
        metrics.balance_last_success.with_label_values(&["main"]).set(unix_seconds(crate::http::testing::now()) - 75.5);
        metrics.account_spend.with_label_values(&["main"]).inc_by(12.345);
        metrics.account_topups.with_label_values(&["main"]).inc_by(50.0);
        metrics.api_request_failures.with_label_values(&["second", "getbalance", "auth"]).inc_by(3);
        let tasks = r#"[{"id":"1","account":"main","worker":"w"},{"id":"2","account":"main"}]"#;
        fixture.post("/api/v1/tasks", tasks).await;
        fixture.get("/pingback?id=1&code=x").await.expect_ok();
        fixture.clock.advance(jiff::SignedDuration::from_secs(61));
        let page = fixture.get("/").await.text();
        for part in [
            "<span class=\"good\">up</span>",
            "142.30 USD<br><small>read 2m16s ago</small>",
            "12.35 USD",
            "50.00 USD",
            "100.0 %",
            "1 pending, oldest 1m1s",
            "<dt>Active workers</dt><dd>1</dd>",
            "<span class=\"bad\">down</span><br><small>auth: 3 failed</small>",
            "<span class=\"good\">ready</span>",
            "<a href=\"https://example.com/exporter/metrics\">",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
    }

    #[test]
    fn everything_is_escaped() {
        const EVIL: &str = "<b>&\"'";
        let account = AccountView {
            name: EVIL.to_owned(),
            up: false,
            balance: None,
            failures: vec![(EVIL.to_owned(), 1)],
            spend_usd: 0.0,
            topups_usd: 0.0,
            solve_ratios: Vec::new(),
            pending: 0,
            oldest: Duration::ZERO,
            workers: 0,
        };
        let view = View {
            build: BuildInfo { version: EVIL, revision: EVIL, rustc: EVIL },
            base: format!("https://x/{EVIL}"),
            accounts: vec![account],
            store_failure: Some(EVIL.to_owned()),
            store_bytes: 3 << 19,
            alerts: AlertsView::default(),
            letters: LettersView::default(),
        };
        let page = render(&view).into_string();
        assert!(!page.contains("<b>") && !page.contains("&\"") && page.contains("&lt;b&gt;&amp;&quot;"), "{page}");
        assert!(page.contains("cannot be written") && page.contains("1.5 MiB"), "{page}");
    }
}

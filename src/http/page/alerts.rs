//! The part of the page about alerts: what fires, who is told, and what waits.

use std::time::Duration;

use jiff::Timestamp;
use maud::{Markup, html};

use super::{age, fact};
use crate::config::Config;
use crate::domain::alert::RANKS;
use crate::domain::time::elapsed;
use crate::http::state::Shared;
use crate::store::{Backlog, FiringGroup, StoreError, WatchdogState};

/// Groups that are shown; the rest is counted.
const GROUPS: usize = 20;

/// What the page shows of alerts, and of all that something is delivered to, subscribers included. It is empty where
/// nothing of it is configured.
#[derive(Debug, Default)]
pub(super) struct AlertsView {
    /// Whether there is anything to configure alerts with.
    is_configured: bool,
    /// Whether the store could be read; if not, nobody knows what fires.
    is_known: bool,
    now: Timestamp,
    /// One more than is shown, where there are more.
    firing: Vec<FiringGroup>,
    destinations: Vec<Backlog>,
    watchdog: WatchdogState,
    /// Whether a silent watchdog is told.
    is_watched: bool,
}

/// Reads what to show.
pub(super) async fn view(state: &Shared, config: &Config) -> AlertsView {
    let is_configured = config.receivers.iter().any(|receiver| !receiver.destinations.is_empty());
    let unknown = AlertsView { is_configured, is_known: config.destinations().is_empty(), ..AlertsView::default() };
    if unknown.is_known { unknown } else { known(state, config, is_configured).await.unwrap_or(unknown) }
}

async fn known(state: &Shared, config: &Config, is_configured: bool) -> Result<AlertsView, StoreError> {
    let firing = state.store.firing_groups(GROUPS + 1).await?;
    let backlogs = state.store.backlogs().await?;
    let backlog = |name: &String| {
        let known = backlogs.iter().find(|backlog| backlog.destination == *name).cloned();
        known.unwrap_or_else(|| Backlog { destination: name.clone(), ..Backlog::default() })
    };
    Ok(AlertsView {
        is_configured,
        is_known: true,
        now: state.clock.now(),
        firing,
        destinations: config.destinations().iter().map(backlog).collect(),
        watchdog: state.store.watchdog().await?,
        is_watched: config.watchdog.is_some(),
    })
}

/// Shows it.
pub(super) fn render(view: &AlertsView) -> Markup {
    html! {
        @if view.is_configured || !view.is_known {
            section {
                h2 { @if view.is_configured { "Alerts" } @else { "Subscribers" } }
                @if view.is_known {
                    (render_firing(view))
                    (render_watchdog(view))
                } @else {
                    p { span.bad { "not known: the store cannot be read" } }
                }
            }
        }
        @for destination in &view.destinations { (render_destination(destination, view.now)) }
    }
}

fn render_firing(view: &AlertsView) -> Markup {
    html! {
        @if view.firing.is_empty() {
            p { span.good { "nothing fires" } }
        } @else {
            ul {
                @for group in view.firing.iter().take(GROUPS) {
                    li {
                        span.bad { (group.title) } " " (counts(group.by_rank))
                        small { " at " (group.receiver) ", heard " (ago(group.heard_at, view.now)) " ago" }
                    }
                }
                @if view.firing.len() > GROUPS { li { "and more" } }
            }
        }
    }
}

fn render_watchdog(view: &AlertsView) -> Markup {
    let heard = view.watchdog.last_heard_at.map(|at| format!("heard {} ago", ago(at, view.now)));
    let heard = heard.unwrap_or_else(|| "never heard".to_owned());
    html! {
        dl {
            (fact("Watchdog of Alertmanager", &html! {
                @match (view.watchdog.alarmed_at, view.is_watched) {
                    (Some(_), true) => { span.bad { "silent" } br; small { (heard) } },
                    (_, true) => (heard),
                    (_, false) => { (heard) br; small { "not watched: no watchdog is configured" } },
                }
            }))
        }
    }
}

fn render_destination(destination: &Backlog, now: Timestamp) -> Markup {
    let no_credit = destination.state.no_credit_until.filter(|until| *until > now);
    html! {
        section {
            h2 { (destination.destination) }
            dl {
                (fact("Status", &html! {
                    @if let Some(why) = &destination.state.unusable {
                        span.bad { "refuses us" } br; small { (why) "; not used until its configuration changes" }
                    } @else if let Some(until) = no_credit {
                        span.bad { "no credit" } br; small { "nobody is called for " (age(elapsed(now, until))) }
                    } @else {
                        span.good { "in use" }
                    }
                }))
                (fact("Waiting", &html! {
                    (destination.pending)
                    @if let Some(since) = destination.oldest_queued_at { br; small { "oldest " (ago(since, now)) } }
                    @if let Some(why) = &destination.last_error { br; small { (why) } }
                }))
                (fact("Dead letters", &html! {
                    @if destination.dead > 0 { span.bad { (destination.dead) } } @else { "0" }
                    @if let Some(since) = destination.oldest_dead_at { br; small { "oldest " (ago(since, now)) } }
                }))
            }
        }
    }
}

/// `2 critical, 1 warning`.
fn counts(by_rank: [u64; 3]) -> String {
    let ranks = RANKS.iter().zip(by_rank).rev().filter(|(_, count)| *count > 0);
    ranks.map(|(rank, count)| format!("{count} {}", rank.as_str())).collect::<Vec<_>>().join(", ")
}

fn ago(since: Timestamp, now: Timestamp) -> String {
    age(elapsed(since, now).max(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::DestinationState;
    use crate::http::testing::{Fixture, config, receiver, subscriber};

    #[tokio::test]
    async fn what_fires_and_what_waits_is_shown() {
        let mut config = config();
        config.receivers = vec![receiver("default")];
        let fixture = Fixture::new(config);
        assert!(fixture.get("/").await.text().contains("nothing fires"));
        let body = r#"{"status":"firing","groupKey":"k","alerts":[
            {"labels":{"alertname":"<b>","severity":"critical"}},{"labels":{"alertname":"<b>","a":"b"}}]}"#;
        assert_eq!(fixture.post("/alertmanager", body).await.status, 200);
        fixture.post("/alertmanager/watchdog", "{}").await;
        fixture.clock.advance(jiff::SignedDuration::from_secs(75));
        let page = fixture.get("/").await.text();
        for part in [
            "<span class=\"bad\">&lt;b&gt;</span> 1 critical, 1 info",
            "heard 1m15s ago",
            "not watched",
            "<h2>discord/default</h2>",
            "1<br><small>oldest 1m15s</small>",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
    }

    /// Without them nobody sees why results do not arrive.
    #[tokio::test]
    async fn subscribers_are_shown_with_what_waits_for_them() {
        let mut config = config();
        config.subscribers = vec![subscriber("workers")];
        let fixture = Fixture::new(config);
        let gone = DestinationState { unusable: Some("status 410".to_owned()), ..DestinationState::default() };
        fixture.store.save_destination("subscriber/workers", gone).await.unwrap();
        let page = fixture.get("/").await.text();
        for part in ["<h2>subscriber/workers</h2>", "refuses us", "status 410"] {
            assert!(page.contains(part), "{part} in {page}");
        }
        assert!(!page.contains("nothing fires") && !page.contains("not known"), "{page}");
    }

    #[tokio::test]
    async fn what_cannot_be_read_does_not_look_well() {
        let mut config = config();
        config.receivers = vec![receiver("default")];
        config.subscribers = vec![subscriber("workers")];
        let fixture = Fixture::new(config);
        let other = rusqlite::Connection::open(fixture.folder.path().join("store.db")).unwrap();
        other.execute_batch("ALTER TABLE alert_groups RENAME TO elsewhere").unwrap();
        let page = fixture.get("/").await.text();
        assert!(page.contains("not known: the store cannot be read"), "{page}");
        for part in ["nothing fires", "in use", "never heard"] {
            assert!(!page.contains(part), "{part} in {page}");
        }
    }

    #[test]
    fn it_is_said_why_something_waits() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let why = Some("status 503 <b>".to_owned());
        let destination = Backlog { pending: 3, oldest_queued_at: Some(now), last_error: why, ..Backlog::default() };
        let text = render_destination(&destination, now).into_string();
        assert!(text.contains("status 503 &lt;b&gt;"), "{text}");
    }

    #[test]
    fn troubles_are_named() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let state = |unusable: Option<&str>, until: Option<i64>| DestinationState {
            fingerprint: String::new(),
            unusable: unusable.map(str::to_owned),
            no_credit_until: until.map(|seconds| Timestamp::from_second(1_800_000_000 + seconds).unwrap()),
        };
        for (state, expected) in [
            (state(None, None), "in use"),
            (state(None, Some(-1)), "in use"),
            (state(None, Some(90)), "nobody is called for 1m30s"),
            (state(Some("status 404"), Some(90)), "status 404; not used until its configuration changes"),
        ] {
            let destination = Backlog { destination: "discord/ops".to_owned(), state, ..Backlog::default() };
            let text = render_destination(&destination, now).into_string();
            assert!(text.contains(expected), "{expected} in {text}");
        }
    }
}

//! What the pages of simulated services share: the frame around what people see, and how times are told.

use std::time::Duration;

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::domain::time::elapsed;

/// Entries that a page shows; older ones are counted.
pub(super) const SHOWN: usize = 50;

/// Seconds after which a browser loads a page again.
const REFRESH: u8 = 5;

const STYLE: &str = "
:root { color-scheme: light dark; --back: #fff; --text: #313338; --quiet: #5c5e66; --box: #f2f3f5; --line: #e3e5e8;
  --link: #0068e0; --pill: #dee0fc; --pill-text: #3f48c9; }
@media (prefers-color-scheme: dark) { :root { --back: #313338; --text: #dbdee1; --quiet: #a3a6ad; --box: #2b2d31;
  --line: #1f2023; --link: #36a8ff; --pill: #3c4270; --pill-text: #d3d8ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); font: 1rem/1.4 system-ui, sans-serif;
  overflow-wrap: anywhere; }
header { position: sticky; top: 0; padding: .6rem 1rem; background: var(--back); border-bottom: 1px solid var(--line); }
header h1 { display: inline; margin: 0 .5rem 0 0; font-size: 1.05rem; }
main { max-width: 46rem; padding: .5rem 1rem 2rem; }
small, .quiet { color: var(--quiet); font-size: .8rem; }
a { color: var(--link); text-decoration: none; }
a:hover { text-decoration: underline; }
";

/// A page that a browser loads again and again. Like the exporter's own, it has no script and nothing
/// from elsewhere.
pub(super) fn respond(title: &str, style: &str, content: &Markup) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="refresh" content=(REFRESH);
                title { (title) }
                style { (PreEscaped(STYLE)) (PreEscaped(style)) }
            }
            body { (content) }
        }
    };
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ];
    (headers, page.into_string()).into_response()
}

/// How many entries are not shown.
pub(super) fn older(entries: usize) -> Markup {
    let count = entries.saturating_sub(SHOWN);
    html! { @if count > 0 { p.quiet { "and " (count) " older" } } }
}

/// A time, as `words` tell it. Without a script nobody knows the reader's time zone, so it is UTC.
pub(super) fn time(time: Timestamp, words: &str) -> Markup {
    html! { time datetime=(time) title=(full(time)) { (words) } }
}

/// The date and the time of day, to the minute.
pub(super) fn minute(time: Timestamp) -> String {
    time.strftime("%-d %b %Y %H:%M UTC").to_string()
}

/// The date and the time of day.
pub(super) fn full(time: Timestamp) -> String {
    time.strftime("%-d %b %Y %H:%M:%S UTC").to_string()
}

/// The time of day, and the date where it is another one than today.
pub(super) fn short(time: Timestamp, now: Timestamp) -> String {
    let is_today = time.strftime("%F").to_string() == now.strftime("%F").to_string();
    if is_today { time.strftime("%H:%M:%S UTC").to_string() } else { full(time) }
}

/// How long ago, or in how long.
pub(super) fn relative(time: Timestamp, now: Timestamp) -> String {
    if time > now { format!("in {}", rough(elapsed(now, time))) } else { format!("{} ago", rough(elapsed(time, now))) }
}

/// The largest unit of a duration.
fn rough(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [("day", 86_400), ("hour", 3600), ("minute", 60)];
    let unit = units.into_iter().find(|&(_, length)| seconds >= length);
    let (unit, length) = unit.unwrap_or(("second", 1));
    let count = seconds / length;
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_people_do() {
        let now = Timestamp::from_second(1_769_848_200).unwrap();
        for (seconds, expected_short, expected_relative) in [
            (0, "08:30:00 UTC", "0 seconds ago"),
            (-1, "08:29:59 UTC", "1 second ago"),
            (-119, "08:28:01 UTC", "1 minute ago"),
            (120, "08:32:00 UTC", "in 2 minutes"),
            (-7200, "06:30:00 UTC", "2 hours ago"),
            (-86_400, "30 Jan 2026 08:30:00 UTC", "1 day ago"),
        ] {
            let time = now.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
            assert_eq!((short(time, now).as_str(), relative(time, now).as_str()), (expected_short, expected_relative));
        }
    }

    #[test]
    fn a_page_reloads_itself_and_loads_nothing_else() {
        let response = respond("<b>", "", &html! { "&" });
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        for (name, value) in [
            ("content-type", "text/html; charset=utf-8"),
            ("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(header(name), Some(value), "{name}");
        }
    }

    #[test]
    fn what_is_not_shown_is_counted() {
        for (entries, expected) in [(0, ""), (SHOWN, ""), (SHOWN + 3, r#"<p class="quiet">and 3 older</p>"#)] {
            assert_eq!(older(entries).into_string(), expected);
        }
    }
}

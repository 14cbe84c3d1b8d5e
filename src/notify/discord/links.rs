//! Links: to the graph, the runbook and the dashboard of an alert, and to a new silence.

use std::fmt::Write as _;

use url::{Url, form_urlencoded};

use super::message::{EMBEDS, Embed, FIELD_VALUE, Field, URL};
use super::phrases::Phrases;
use super::text::count;
use crate::domain::alert::Alert;

/// A link to a silence that is longer than this would leave no room for the others. One with fewer labels
/// would silence more than the alert, so it is left out instead.
const LONGEST_SILENCE: usize = 600;

/// The links of one alert, where it has them.
#[derive(Debug, Default)]
pub(super) struct Links {
    runbook: Option<String>,
    dashboard: Option<String>,
    graph: Option<String>,
    silence: Option<String>,
}

impl Links {
    /// `alertmanager` is where people reach Alertmanager.
    pub(super) fn of(alert: &Alert, alertmanager: Option<&str>) -> Self {
        let annotation = |name: &str| alert.annotations.get(name).and_then(|text| usable(text));
        Self {
            runbook: annotation("runbook_url"),
            dashboard: annotation("dashboard_url"),
            graph: alert.generator_url.as_deref().and_then(usable),
            silence: alertmanager
                .filter(|_| alert.firing)
                .and_then(|base| silence(alert, base))
                .filter(|url| url.len() <= LONGEST_SILENCE),
        }
    }

    /// Where the title leads.
    pub(super) fn title(&self) -> Option<String> {
        self.runbook.clone().or_else(|| self.dashboard.clone()).or_else(|| self.graph.clone())
    }

    /// A field with all links for which there is room.
    pub(super) fn field(&self, phrases: &Phrases) -> Option<Field> {
        let links = [
            (&phrases.runbook, &self.runbook),
            (&phrases.dashboard, &self.dashboard),
            (&phrases.silence, &self.silence),
            // An expression can make the last one very long.
            (&phrases.graph, &self.graph),
        ];
        let mut value = String::new();
        for (name, url) in links {
            let Some(url) = url else { continue };
            let between = if value.is_empty() { "" } else { " · " };
            let link = format!("{between}[{name}]({url})");
            if count(&value) + link.chars().count() <= FIELD_VALUE {
                value.push_str(&link);
            }
        }
        Field::whole(&phrases.links, &value, false)
    }
}

/// A URL that Discord takes, in a form that may stand in a Markdown link.
pub(super) fn usable(text: &str) -> Option<String> {
    // An expression has few characters that a URL writes in more than three.
    if text.len() > URL {
        return None;
    }
    let url = Url::parse(text.trim()).ok()?;
    let reaches_somebody = matches!(url.scheme(), "http" | "https") && url.host_str().is_some();
    let written = url.as_str().replace('(', "%28").replace(')', "%29");
    (reaches_somebody && written.chars().count() <= URL).then_some(written)
}

/// The page for a new silence of exactly this alert.
fn silence(alert: &Alert, alertmanager: &str) -> Option<String> {
    let base = usable(alertmanager)?;
    let mut filter = String::from("{");
    for (name, value) in &alert.labels {
        if filter.len() > LONGEST_SILENCE {
            return None;
        }
        let between = if filter.len() > 1 { "," } else { "" };
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(filter, "{between}{name}=\"{value}\"");
    }
    filter.push('}');
    let encoded: String = form_urlencoded::byte_serialize(filter.as_bytes()).collect();
    // The page reads percent signs only, and no plus for a space.
    let encoded = encoded.replace('+', "%20").replace('*', "%2A");
    Some(format!("{}/#/silences/new?filter={encoded}", base.trim_end_matches('/')))
}

/// Discord merges embeds that share a URL into one: makes each differ from those before it.
pub(super) fn make_distinct(embeds: &mut [Embed]) {
    let mut seen: Vec<String> = Vec::new();
    for embed in embeds {
        let Some(url) = embed.url.take() else { continue };
        let distinct = (1..=EMBEDS * EMBEDS).map(|number| numbered(&url, number)).find(|url| !seen.contains(url));
        embed.url = distinct.filter(|url| url.chars().count() <= URL);
        seen.extend(embed.url.clone());
    }
}

/// The same page under another URL. A fragment that leads to a part of the page stays.
fn numbered(url: &str, number: usize) -> String {
    match (number, url.split_once('#')) {
        (1, _) => url.to_owned(),
        (_, None) => format!("{url}#{number}"),
        (_, Some((page, fragment))) => {
            let separator = if page.contains('?') { '&' } else { '?' };
            format!("{page}{separator}alert={number}#{fragment}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::tests::alert;
    use crate::notify::words::Language;

    #[test]
    fn a_url_is_used_whole_or_not_at_all() {
        let long = |length: usize| format!("http://x/{}", "a".repeat(length - 9));
        for (text, expected) in [
            ("https://a.example/b?c=d#e", Some("https://a.example/b?c=d#e")),
            (" http://127.0.0.1:9090/graph?g0.expr=up(a) ", Some("http://127.0.0.1:9090/graph?g0.expr=up%28a%29")),
            ("https://a.example/ı ş", Some("https://a.example/%C4%B1%20%C5%9F")),
            ("ftp://a.example/", None),
            ("javascript:alert(1)", None),
            ("/graph", None),
            ("a.example", None),
            ("http://", None),
            ("", None),
        ] {
            assert_eq!(usable(text).as_deref(), expected, "{text}");
        }
        for length in [2047, 2048, 2049] {
            assert_eq!(usable(&long(length)).is_some(), length <= 2048, "{length}");
        }
        assert_eq!(usable(&format!("http://x/{}", "ş".repeat(500))), None);
    }

    #[test]
    fn a_silence_is_of_exactly_this_alert() {
        let mut load = alert("HighLoad", "critical", true);
        load.labels.insert("path".to_owned(), "C:\\ \"x\"".to_owned());
        let url = silence(&load, "http://127.0.0.1:9093/").unwrap();
        let expected = "http://127.0.0.1:9093/#/silences/new?filter=%7Balertname%3D%22HighLoad%22%2Cpath%3D%22C%3A%5C%5C%20%5C%22x%5C%22%22%2Cseverity%3D%22critical%22%7D";
        assert_eq!(url, expected);
        load.labels.insert("path".to_owned(), "x".repeat(700));
        assert!(Links::of(&load, Some("http://127.0.0.1:9093")).silence.is_none());
        assert!(Links::of(&load, Some("alertmanager")).silence.is_none());
    }

    #[test]
    fn links_that_do_not_fit_are_left_out_and_the_others_stay() {
        let phrases = Phrases::new(&super::super::words(Language::English));
        let mut load = alert("HighLoad", "critical", true);
        load.annotations.insert("runbook_url".to_owned(), "https://r.example/".to_owned());
        load.generator_url = Some(format!("https://g.example/{}", "x".repeat(960)));
        let links = Links::of(&load, None);
        assert_eq!(links.title().as_deref(), Some("https://r.example/"));
        assert_eq!(links.field(&phrases).unwrap().value.chars().count(), 29 + 3 + 8 + 18 + 960 + 1);
        load.generator_url = Some(format!("https://g.example/{}", "x".repeat(966)));
        let links = Links::of(&load, None);
        assert_eq!(links.field(&phrases).unwrap().value, "[Runbook](https://r.example/)");
        assert_eq!(Links::default().field(&phrases), None);
    }

    #[test]
    fn no_two_embeds_share_a_url() {
        let mut embeds: Vec<_> = ["http://a/", "http://b/", "http://a/", "http://a/#2", "http://a/#x", "http://a/#x"]
            .map(|url| Embed { url: Some(url.to_owned()), ..Embed::default() })
            .into();
        make_distinct(&mut embeds);
        let urls: Vec<_> = embeds.iter().filter_map(|embed| embed.url.as_deref()).collect();
        let expected =
            ["http://a/", "http://b/", "http://a/#2", "http://a/?alert=2#2", "http://a/#x", "http://a/?alert=2#x"];
        assert_eq!(urls, expected);
    }
}

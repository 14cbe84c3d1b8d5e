//! What the tests of this notifier have in common.

mod answers;
mod limits;
mod pictures;
mod simulation;
mod wording;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::*;
use crate::domain::alert::tests::alert;
use crate::domain::alert::{Alert, Group};
use crate::domain::notice::Notice;
use crate::notify::words::Language;
use crate::notify::{Content, client};

const URL: &str = "https://discord.example/api/webhooks/123/s3cr3t-t0ken?thread_id=42";

/// Half past eight and a bit.
fn now() -> Timestamp {
    Timestamp::from_second(1_769_848_600).unwrap()
}

fn context() -> Context<'static> {
    Context { now: now(), calls: &[], no_credit_until: None }
}

fn settings(resolved: Resolved, language: Language) -> Settings {
    let mentions = BTreeMap::from([
        (Rank::Critical, vec![Mention::Role("900".to_owned()), Mention::User("901".to_owned())]),
        (Rank::Warning, vec![Mention::User("902".to_owned())]),
    ]);
    Settings {
        name: "ops".to_owned(),
        webhook_url: URL.into(),
        min_severity: Rank::Info,
        resolved,
        mentions,
        words: words(language),
        max_age: Duration::from_hours(24),
        external_url: Some("https://exporter.example".to_owned()),
    }
}

fn discord_for(settings: Settings) -> Discord {
    let http = client::http_client(Duration::from_secs(10)).unwrap();
    Discord::new(settings, http, Arc::default())
}

fn discord(resolved: Resolved) -> Discord {
    discord_for(settings(resolved, Language::English))
}

fn group(alerts: Vec<Alert>) -> Group {
    let mut group = crate::domain::alert::tests::group(alerts);
    group.group_labels.insert("cluster".to_owned(), "istanbul".to_owned());
    group.common_labels.insert("alertname".to_owned(), "HighLoad".to_owned());
    group
}

fn job(content: Content, told: Option<String>) -> Job {
    Job { content, told, queued_at: now(), state_at: now(), attempts: 0 }
}

fn group_job(group: &Group, told: Option<String>) -> Job {
    job(Content::Group(Box::new(group.clone())), told)
}

/// The body of the first request about a group that nobody was told of.
fn first_message(discord: &Discord, group: &Group) -> Value {
    let Step::Send(request) = discord.next(&group_job(group, None), &context()) else { panic!("nothing to send") };
    serde_json::to_value(&request.message).unwrap()
}

/// What Discord would not take of a message, counted by itself.
fn faults(message: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let mut total = 0;
    let mut check = |what: &str, text: &Value, least: usize, most: usize, counts: bool| {
        let Some(text) = text.as_str() else { return };
        let length = text.trim().chars().count();
        total += if counts { length } else { 0 };
        if !(least..=most).contains(&length) {
            faults.push(format!("{what} has {length} characters"));
        }
        let hidden = |c: char| c.is_control() && c != '\n';
        let turning = |c: char| matches!(u32::from(c), 0x200e | 0x200f | 0x202a..=0x202e | 0x2066..=0x2069);
        if text.contains(hidden) || text.contains(turning) {
            faults.push(format!("{what} has characters that are not seen"));
        }
    };
    check("content", &message["content"], 1, 2000, false);
    let nothing = Vec::new();
    let embeds = message["embeds"].as_array().unwrap_or(&nothing);
    let mut urls = Vec::new();
    let mut shapes = Vec::new();
    for embed in embeds {
        check("title", &embed["title"], 1, 256, true);
        check("description", &embed["description"], 1, 4096, true);
        check("footer", &embed["footer"]["text"], 1, 2048, true);
        let fields = embed["fields"].as_array().unwrap_or(&nothing);
        for field in fields {
            check("name", &field["name"], 1, 256, true);
            check("value", &field["value"], 1, 1024, true);
        }
        if fields.len() > 25 || fields.iter().any(|field| !field["name"].is_string() || !field["value"].is_string()) {
            shapes.push("fields".to_owned());
        }
        urls.extend(embed["url"].as_str());
        shapes.extend((embed["color"].as_u64() > Some(0xff_ffff)).then(|| "color".to_owned()));
    }
    if total > 6000 {
        faults.push(format!("{total} characters"));
    }
    faults.extend(shapes);
    if embeds.len() > 10 || embeds.is_empty() && message["content"].as_str().is_none_or(str::is_empty) {
        faults.push(format!("{} embeds", embeds.len()));
    }
    let usable = |url: &&str| url.len() <= 2048 && (url.starts_with("http://") || url.starts_with("https://"));
    faults.extend(urls.iter().filter(|url| !usable(url)).map(|url| format!("URL {url}")));
    let distinct: std::collections::HashSet<_> = urls.iter().collect();
    if distinct.len() < urls.len() {
        faults.push("embeds share a URL".to_owned());
    }
    if message["allowed_mentions"]["parse"] != serde_json::json!([]) {
        faults.push("anything may be mentioned".to_owned());
    }
    faults
}

fn assert_taken(message: &Value) {
    assert_eq!(faults(message), Vec::<String>::new(), "{message:#}");
}

//! Requests to a webhook, what its answers mean, and when it takes the next one. The URL is a secret:
//! nothing that names it leaves this file.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::message::Message;
use crate::notify::client::{Answer, bounded_pause, exchange, presentable, rate_limited, retry_after};
use crate::notify::{Receipt, SendError};

/// The message that should be changed was deleted.
const UNKNOWN_MESSAGE: u64 = 10_008;
/// The longest explanation of a refusal that is shown.
const LONGEST_WHY: usize = 300;

/// A moment until which nothing is sent.
#[derive(Debug, Default)]
struct Until(Mutex<Option<Instant>>);

impl Until {
    /// Never shorter than what was asked for before.
    fn extend(&self, pause: Duration) {
        let mut until = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *until = (*until).max(Instant::now().checked_add(pause));
    }

    fn left(&self) -> Option<Duration> {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until.map(|until| until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }
}

/// The pause that Discord asks of everything that comes from this address: one for all destinations.
#[derive(Debug, Default)]
pub struct GlobalPause(Until);

/// A webhook.
#[derive(Debug)]
pub(super) struct Wire {
    url: SecretString,
    http: reqwest::Client,
    own: Until,
    shared: Arc<GlobalPause>,
}

impl Wire {
    pub(super) fn new(url: SecretString, http: reqwest::Client, shared: Arc<GlobalPause>) -> Self {
        Self { url, http, own: Until::default(), shared }
    }

    /// How long Discord wants to be left alone.
    pub(super) fn pause(&self) -> Option<Duration> {
        self.own.left().max(self.shared.0.left())
    }

    /// Posts a message, or puts it in the place of another one.
    pub(super) async fn send(&self, message: &Message, replaces: Option<&str>) -> Result<Receipt, SendError> {
        let url = address(self.url.expose_secret(), replaces)
            .ok_or_else(|| SendError::Unusable { why: "the webhook's URL is none".to_owned() })?;
        let request = if replaces.is_some() { self.http.patch(url) } else { self.http.post(url) };
        let answer = exchange(request.json(message)).await.map_err(once_more)?;
        self.observe(&answer.headers);
        let outcome = read(&answer, replaces.is_some());
        if let Err(SendError::RateLimited { after, global }) = &outcome {
            if *global { self.shared.0.extend(*after) } else { self.own.extend(*after) }
        }
        outcome
    }

    /// Keeps the limits that an answer tells of, whatever they are.
    fn observe(&self, headers: &HeaderMap) {
        let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
        let used_up = number("x-ratelimit-remaining").is_some_and(|remaining| remaining < 1.0);
        if let Some(pause) = number("x-ratelimit-reset-after").filter(|_| used_up).and_then(bounded_pause) {
            self.own.extend(pause);
        }
    }
}

/// Where a request goes. The query stays: it may name a thread.
fn address(webhook: &str, message: Option<&str>) -> Option<Url> {
    let mut url = Url::parse(webhook.trim()).ok()?;
    let query: Vec<(String, String)> =
        url.query_pairs().filter(|(name, _)| name != "wait").map(|(name, value)| (name.into(), value.into())).collect();
    url.set_query(None);
    url.set_fragment(None);
    {
        let mut path = url.path_segments_mut().ok()?;
        path.pop_if_empty();
        if let Some(message) = message {
            path.push("messages").push(message);
        }
    }
    if !query.is_empty() || message.is_none() {
        let mut pairs = url.query_pairs_mut();
        pairs.extend_pairs(query);
        if message.is_none() {
            // Else the answer has no id, and a message that is not kept is no error.
            pairs.append_pair("wait", "true");
        }
    }
    Some(url)
}

/// A second message is cheaper than none, and a change may happen twice.
fn once_more(error: SendError) -> SendError {
    match error {
        SendError::Ambiguous { why } => SendError::Retry { after: None, why },
        other => other,
    }
}

/// What an answer means.
fn read(answer: &Answer, is_change: bool) -> Result<Receipt, SendError> {
    let json = answer.json();
    match answer.status.as_u16() {
        429 => return Err(too_fast(&answer.headers, &json)),
        404 if is_change && json["code"].as_u64() == Some(UNKNOWN_MESSAGE) => return Err(SendError::Missing),
        // A card that cannot be changed must not stand in the way of what comes after it.
        400 if is_change => {
            tracing::warn!(said = said(&json), "Discord does not take a change of a message: it stays as it is");
            return Err(SendError::Missing);
        }
        _ => {}
    }
    let is_foreign = matches!(answer.status.as_u16(), 401 | 403) && !json["code"].is_u64();
    answer.classify(&said(&json)).map_err(|error| if is_foreign { not_by_discord(error) } else { error })?;
    Ok(Receipt { message_id: message_id(&json), called: Vec::new() })
}

/// Discord says with a code why it lets nobody in. Without one it was somebody in between, such as a proxy or a
/// block of this address, and that passes: the webhook must not be given up for it. A 404 is one in any form.
fn not_by_discord(error: SendError) -> SendError {
    match error {
        SendError::Unusable { why } => SendError::Retry { after: None, why },
        other => other,
    }
}

fn too_fast(headers: &HeaderMap, json: &Value) -> SendError {
    let asked = json["retry_after"].as_f64().and_then(bounded_pause).or_else(|| retry_after(headers));
    let header = headers.get("x-ratelimit-global").and_then(|value| value.to_str().ok());
    let global = json["global"].as_bool() == Some(true) || header.is_some_and(|text| text.eq_ignore_ascii_case("true"));
    rate_limited(asked, global)
}

/// The id of a message, where it is one that may stand in a path.
fn message_id(json: &Value) -> Option<String> {
    let id = match &json["id"] {
        Value::String(id) => id.clone(),
        Value::Number(id) => id.to_string(),
        _ => return None,
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    ((1..=64).contains(&id.len()) && id.bytes().all(allowed)).then_some(id)
}

/// Discord's own words on a refusal, such as `embeds.0.title: Must be 256 or fewer in length.`
fn said(json: &Value) -> String {
    let mut faults = Vec::new();
    collect(json.get("errors").unwrap_or(&Value::Null), "", &mut faults);
    if faults.is_empty() {
        match json["message"].as_str() {
            Some(message) => faults.push(message.to_owned()),
            // An older form has the faults at the top.
            None => collect(json, "", &mut faults),
        }
    }
    let words: Vec<&str> = faults.iter().flat_map(|fault| fault.split_whitespace()).collect();
    let words: Vec<&str> = words.into_iter().map(|word| if names_url(word) { "(URL)" } else { word }).collect();
    presentable(&words.join(" "), LONGEST_WHY)
}

fn names_url(word: &str) -> bool {
    word.contains("://") || word.contains("/webhooks/") || word.contains("discord.com/")
}

/// Walks the tree of faults: names lead to more of it, `_errors` to messages.
fn collect(tree: &Value, path: &str, faults: &mut Vec<String>) {
    const MOST: usize = 10;
    if faults.len() >= MOST {
        return;
    }
    let below = |name: &str| match (name, path) {
        ("_errors", _) => path.to_owned(),
        (_, "") => name.to_owned(),
        _ => format!("{path}.{name}"),
    };
    match tree {
        Value::Object(branches) if branches.get("message").is_some_and(Value::is_string) => {
            collect(branches.get("message").unwrap_or(&Value::Null), path, faults);
        }
        Value::Object(branches) => branches.iter().for_each(|(name, branch)| collect(branch, &below(name), faults)),
        Value::Array(branches) => branches.iter().for_each(|branch| collect(branch, path, faults)),
        Value::String(message) => {
            let fault = if path.is_empty() { message.clone() } else { format!("{path}: {message}") };
            faults.push(fault);
        }
        _ => {}
    }
}

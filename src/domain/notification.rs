//! Reading of Alertmanager's webhook, version 4, and of what is close to it. A 4xx loses the alert for
//! good, so whatever is of use to anybody is kept, and one odd alert never costs its neighbours.

mod alerts;
mod json;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jiff::Timestamp;
use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};

use self::alerts::{AlertReader, Alerts};
use self::json::{Fields, Items, Kind, Raw};
use self::values::{MAX_NAME, count, cut, status, texts, url};
use super::alert::{Alert, Group, Texts};

/// Alerts of one notification that are kept.
const MAX_ALERTS: usize = 20_000;

/// Labels of one alert that are kept.
const MAX_LABELS: usize = 128;

/// Annotations of one alert that are kept.
const MAX_ANNOTATIONS: usize = 64;

/// What the count of alerts that were left out is cut to: sums with it must not overflow.
const MAX_TRUNCATED: u64 = 1_000_000_000;

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The group with its alerts.
    pub group: Group,
    /// How many alerts could not be read whole: they were kept as far as possible, or dropped where
    /// nothing in them was of use.
    pub odd: usize,
}

/// Why a body is no use to anybody, in words for whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rubbish {
    /// Nothing was sent.
    #[error("the body is empty; an Alertmanager notification is a JSON object")]
    Empty,
    /// It cannot be read.
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    /// It is JSON of another form.
    #[error("the body is {0}; an Alertmanager notification is a JSON object")]
    NotAnObject(&'static str),
    /// Nobody could tell what has happened.
    #[error("the notification has no status, \"firing\" or \"resolved\", and no alert that can be read")]
    Meaningless,
}

/// Reads a notification for a receiver of ours, which counts instead of the one that the body names.
pub fn parse(body: &[u8], receiver: &str, now: Timestamp) -> Result<Parsed, Rubbish> {
    let text = json::mended(body);
    let notification = Notification::read(&text)?;
    let (mut odd, mut dropped) = (notification.odd, 0);
    let mut alerts = Alerts::default();
    for raw in &notification.alerts {
        let mut reader = AlertReader::default();
        let read = reader.read(raw, notification.status, now);
        odd += usize::from(reader.odd || read.is_none());
        dropped += u64::from(read.is_none());
        if let Some(alert) = read {
            alerts.add(alert);
        }
    }
    let alerts = alerts.list;
    if notification.status.is_none() && alerts.is_empty() {
        return Err(Rubbish::Meaningless);
    }
    // Nobody knows whether what was dropped fires, unless the notification as a whole says so.
    let unknown = if notification.status.is_none() { dropped } else { 0 };
    let firing = notification.status.unwrap_or_else(|| alerts.iter().any(|alert| alert.firing));
    let key = notification
        .key
        .unwrap_or_else(|| made_key(receiver, &notification.group_labels, &notification.common_labels, &alerts));
    let group = Group {
        receiver: receiver.to_owned(),
        key,
        firing,
        truncated: notification.truncated.saturating_add(unknown).min(MAX_TRUNCATED),
        group_labels: notification.group_labels,
        common_labels: notification.common_labels,
        common_annotations: notification.common_annotations,
        external_url: notification.external_url,
        alerts,
        heard_at: now,
    };
    Ok(Parsed { group, odd })
}

/// The outermost object.
#[derive(Debug, Default)]
struct Notification<'a> {
    /// Whether it says that it fires.
    status: Option<bool>,
    key: Option<String>,
    truncated: u64,
    group_labels: Texts,
    common_labels: Texts,
    common_annotations: Texts,
    external_url: Option<String>,
    alerts: Vec<Raw<'a>>,
    odd: usize,
}

impl<'a> Notification<'a> {
    fn read(text: &'a str) -> Result<Self, Rubbish> {
        if text.trim().is_empty() {
            return Err(Rubbish::Empty);
        }
        let not_json = |error: serde_json::Error| Rubbish::NotJson(cut(&error.to_string(), 100).into_owned());
        let kind = Kind::of(text);
        if kind != Kind::Object {
            let _: IgnoredAny = serde_json::from_str(text).map_err(not_json)?;
            return Err(Rubbish::NotAnObject(kind.name()));
        }
        let fields: Fields<'a> = serde_json::from_str(text).map_err(not_json)?;
        let mut read = Self::default();
        let mut cut_out = 0;
        // What is odd here is nobody's alert, and is not counted.
        for (name, value) in fields.known {
            match &*name {
                "status" => read.status = status(value),
                "groupKey" => read.key = json::text(value).filter(|key| !key.is_empty()).map(|key| bounded_key(&key)),
                "truncatedAlerts" => read.truncated = count(value),
                "groupLabels" => read.group_labels = texts(value, MAX_LABELS).0,
                "commonLabels" => read.common_labels = texts(value, MAX_LABELS).0,
                "commonAnnotations" => read.common_annotations = texts(value, MAX_ANNOTATIONS).0,
                "externalURL" => read.external_url = url(value),
                "alerts" => (read.alerts, cut_out, read.odd) = items(value),
                _ => {}
            }
        }
        read.truncated = read.truncated.saturating_add(cut_out);
        Ok(read)
    }
}

/// The alerts of a notification, how many are too many, and how many things stood in their place.
fn items(value: Raw<'_>) -> (Vec<Raw<'_>>, u64, usize) {
    match Kind::of(value.get()) {
        Kind::Null => (Vec::new(), 0, 0),
        Kind::Array => match serde_json::from_str::<Items<'_, MAX_ALERTS>>(value.get()) {
            Ok(items) => (items.first, items.left_out, 0),
            Err(_) => (Vec::new(), 0, 1),
        },
        Kind::Text | Kind::Scalar | Kind::Object => (Vec::new(), 0, 1),
    }
}

/// What tells labels apart from others, the same after every start.
fn hash(texts: &Texts) -> String {
    let mut hash = Sha256::new();
    for (name, value) in texts {
        // Each part ends with a byte that no UTF-8 text holds.
        for part in [name, value] {
            hash.update(part);
            hash.update([0xff]);
        }
    }
    hex(&hash.finalize())
}

/// The first eight bytes: as long as Alertmanager's fingerprints are.
fn hex(hash: &[u8]) -> String {
    hash.iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A group's key, with a hash in place of what is too much: long keys must not become one.
fn bounded_key(key: &str) -> String {
    if key.len() <= MAX_NAME {
        return key.to_owned();
    }
    format!("{}{}", cut(key, MAX_NAME), hex(&Sha256::digest(key)))
}

/// A key for a group that was sent without one: the same for the same group next time.
fn made_key(receiver: &str, group_labels: &Texts, common_labels: &Texts, alerts: &[Alert]) -> String {
    let labels = [group_labels, common_labels].into_iter().find(|labels| !labels.is_empty());
    let parts: Vec<String> = match labels {
        Some(labels) => labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect(),
        None => alerts.iter().map(Alert::name).collect::<BTreeSet<_>>().into_iter().map(str::to_owned).collect(),
    };
    bounded_key(&format!("{receiver}:{{{}}}", parts.join(", ")))
}

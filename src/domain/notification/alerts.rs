//! The alerts of a notification, one by one.

use std::collections::HashMap;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::json::{self, Fields, Kind, Raw};
use super::values::{is_absent, status, texts, url};
use super::{MAX_ANNOTATIONS, MAX_LABELS, hash, hex};
use crate::domain::alert::{Alert, Texts};
use crate::domain::time::parse_timestamp;

/// Reads one alert.
#[derive(Debug, Default)]
pub(super) struct AlertReader {
    /// Whether something of it was lost.
    pub(super) odd: bool,
}

impl AlertReader {
    /// The alert, unless there is nothing in it.
    pub(super) fn read(&mut self, raw: Raw<'_>, group_status: Option<bool>, now: Timestamp) -> Option<Alert> {
        if Kind::of(raw.get()) != Kind::Object {
            return None;
        }
        let fields: Fields<'_> = serde_json::from_str(raw.get()).ok()?;
        self.odd |= fields.cut;
        let mut own_status = None;
        let mut fingerprint = None;
        let (mut labels, mut annotations) = (Texts::new(), Texts::new());
        let (mut starts_at, mut ends_at, mut generator_url) = (None, None, None);
        for (name, value) in fields.known {
            match &*name {
                "status" => own_status = self.status(value),
                "labels" => labels = self.texts(value, MAX_LABELS),
                "annotations" => annotations = self.texts(value, MAX_ANNOTATIONS),
                "startsAt" => starts_at = self.time(value),
                "endsAt" => ends_at = self.time(value),
                "generatorURL" => generator_url = url(value),
                "fingerprint" => fingerprint = json::text(value).filter(|text| !text.is_empty()),
                _ => {}
            }
        }
        if labels.is_empty() && annotations.is_empty() && own_status.is_none() && fingerprint.is_none() {
            return None;
        }
        let firing = own_status.unwrap_or_else(|| {
            let ended = ends_at.is_some_and(|end| end <= now);
            !ended && group_status.unwrap_or(true)
        });
        let fingerprint = match fingerprint {
            Some(given) => plain_fingerprint(&given),
            // Without labels, only the annotations tell alerts apart.
            None => hash(if labels.is_empty() { &annotations } else { &labels }),
        };
        let ends_at = if firing { None } else { ends_at };
        Some(Alert { fingerprint, firing, labels, annotations, starts_at, ends_at, generator_url })
    }

    fn status(&mut self, value: Raw<'_>) -> Option<bool> {
        let read = status(value);
        self.odd |= read.is_none() && !is_absent(value);
        read
    }

    fn texts(&mut self, value: Raw<'_>, most: usize) -> Texts {
        let (texts, whole) = texts(value, most);
        self.odd |= !whole;
        texts
    }

    /// A time; nothing for what Alertmanager writes when there is none.
    fn time(&mut self, value: Raw<'_>) -> Option<Timestamp> {
        const ZERO: &str = "0001-01-01T00:00:00";
        if is_absent(value) {
            return None;
        }
        let text = json::text(value)?;
        let time = parse_timestamp(&text).ok();
        self.odd |= time.is_none() && !text.starts_with(ZERO);
        time
    }
}

/// The alerts that were read, each with a fingerprint of its own.
#[derive(Debug, Default)]
pub(super) struct Alerts {
    pub(super) list: Vec<Alert>,
    positions: HashMap<String, usize>,
}

impl Alerts {
    pub(super) fn add(&mut self, mut alert: Alert) {
        if let Some(earlier) = self.earlier(&alert)
            && earlier.labels != alert.labels
        {
            // No fingerprint that was sent holds a tilde, so this one is free, or this alert's own.
            alert.fingerprint = format!("{}~{}", alert.fingerprint, hash(&alert.labels));
        }
        if let Some(earlier) = self.earlier(&alert) {
            *earlier = alert;
            return;
        }
        self.positions.insert(alert.fingerprint.clone(), self.list.len());
        self.list.push(alert);
    }

    fn earlier(&mut self, alert: &Alert) -> Option<&mut Alert> {
        self.positions.get(&alert.fingerprint).and_then(|&position| self.list.get_mut(position))
    }
}

/// A fingerprint as it was sent, if it looks like one.
fn plain_fingerprint(given: &str) -> String {
    let plain = given.len() <= 64 && given.chars().all(|c| c.is_ascii_graphic() && c != '~');
    if plain { given.to_owned() } else { hex(&Sha256::digest(given)) }
}

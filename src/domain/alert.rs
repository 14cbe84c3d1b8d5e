//! Alerts and their groups as Alertmanager tells them, and what one notification means for what is
//! known of its group.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Names and values of labels or annotations, in the order of the names.
pub type Texts = BTreeMap<String, String>;

/// How much an alert matters. Any other `severity` than these three ranks as `Info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rank {
    /// Worth knowing.
    #[default]
    Info,
    /// Worth a look today.
    Warning,
    /// Worth waking somebody.
    Critical,
}

/// All ranks, lowest first: the closed set of the `severity` label.
pub const RANKS: [Rank; 3] = [Rank::Info, Rank::Warning, Rank::Critical];

impl Rank {
    /// The rank of a `severity` label.
    pub fn of(severity: &str) -> Self {
        Self::parse(severity).unwrap_or_default()
    }

    /// Reads one of the three names.
    pub fn parse(name: &str) -> Option<Self> {
        RANKS.into_iter().find(|rank| rank.as_str() == name)
    }

    /// As it stands in labels and in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// One alert of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// What tells it from the others of its group; made of its labels where none was sent.
    pub fingerprint: String,
    /// Whether it fires; if not, it is resolved.
    pub firing: bool,
    /// Its labels.
    pub labels: Texts,
    /// Its annotations.
    pub annotations: Texts,
    /// Since when it fires.
    pub starts_at: Option<Timestamp>,
    /// When it was resolved; nothing while it fires, and when nobody knows.
    pub ends_at: Option<Timestamp>,
    /// The graph of its expression.
    pub generator_url: Option<String>,
}

impl Alert {
    /// Its `alertname`.
    pub fn name(&self) -> &str {
        self.labels.get("alertname").map_or("", String::as_str)
    }

    /// Its `severity` as it is written.
    pub fn severity(&self) -> &str {
        self.labels.get("severity").map_or("", String::as_str)
    }

    /// How much it matters.
    pub fn rank(&self) -> Rank {
        Rank::of(self.severity())
    }

    /// Whether it reports something that has happened, such as a summary of a day: its annotation `resolved` is
    /// `silent`. It is told once, and its end means nothing.
    pub fn is_report(&self) -> bool {
        self.annotations.get("resolved").is_some_and(|text| text.trim() == "silent")
    }
}

/// An alert group as a receiver last heard of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The receiver of ours that heard it.
    pub receiver: String,
    /// Alertmanager's `groupKey`.
    pub key: String,
    /// Whether the notification as a whole says that it fires.
    pub firing: bool,
    /// How many alerts Alertmanager left out; then nobody knows whether those fire.
    pub truncated: u64,
    /// The labels that make the group.
    pub group_labels: Texts,
    /// The labels that all alerts share.
    pub common_labels: Texts,
    /// The annotations that all alerts share.
    pub common_annotations: Texts,
    /// Where people reach Alertmanager.
    pub external_url: Option<String>,
    /// Its alerts, in the order in which they were sent.
    pub alerts: Vec<Alert>,
    /// When it was heard.
    pub heard_at: Timestamp,
}

impl Group {
    /// The alerts that fire.
    pub fn firing_alerts(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.iter().filter(|alert| alert.firing)
    }

    /// Whether all is well again, for sure: nothing fires and nothing was left out.
    pub fn is_over(&self) -> bool {
        !self.firing && self.truncated == 0 && self.firing_alerts().next().is_none()
    }

    /// Whether all of it are reports, so that there is nothing to say when it is over.
    pub fn is_report(&self) -> bool {
        !self.alerts.is_empty() && self.alerts.iter().all(Alert::is_report)
    }

    /// The highest rank that fires; where nothing does, the highest of all.
    pub fn rank(&self) -> Rank {
        let highest = |alerts: &mut dyn Iterator<Item = &Alert>| alerts.map(Alert::rank).max();
        highest(&mut self.firing_alerts()).or_else(|| highest(&mut self.alerts.iter())).unwrap_or_default()
    }

    /// How many alerts of each rank fire, in the order of `RANKS`.
    pub fn firing_by_rank(&self) -> [u64; 3] {
        RANKS.map(|rank| self.firing_alerts().filter(|alert| alert.rank() == rank).count() as u64)
    }

    /// The name for people: that which all alerts share, or else that of the first.
    pub fn title(&self) -> String {
        let named = |texts: &Texts| texts.get("alertname").cloned();
        let name = named(&self.common_labels).or_else(|| named(&self.group_labels));
        let name = name.or_else(|| self.alerts.first().map(|alert| alert.name().to_owned()));
        name.filter(|name| !name.is_empty()).unwrap_or_else(|| "alert".to_owned())
    }

    /// What is the same when the same notification comes again, from Alertmanager itself or from its
    /// twin: the alerts with their states and texts, but no URL, which differ between twins.
    pub fn digest(&self) -> [u8; 32] {
        let mut alerts: Vec<_> = self.alerts.iter().collect();
        alerts.sort_by(|one, other| one.fingerprint.cmp(&other.fingerprint));
        let mut hash = Sha256::new();
        // Each part ends with a byte that no UTF-8 text holds.
        let mut add = |text: &str| {
            hash.update(text);
            hash.update([0xff]);
        };
        for text in [&self.receiver, &self.key, &self.truncated.to_string(), &self.firing.to_string()] {
            add(text);
        }
        for alert in alerts {
            add(&alert.fingerprint);
            add(if alert.firing { "firing" } else { "resolved" });
            for time in [alert.starts_at, alert.ends_at] {
                add(&time.map(|time| time.to_string()).unwrap_or_default());
            }
            for (name, value) in alert.labels.iter().chain(&alert.annotations) {
                add(name);
                add(value);
            }
        }
        hash.finalize().into()
    }

    /// The state after a newer notification. While somebody has not been told of the old state
    /// (`owed`), alerts that the new one no longer mentions stay, as resolved: what fired and went
    /// away in the meantime is still told. Where alerts were left out of the new one, what fired may still
    /// do so, and a call about it must not be dropped.
    #[must_use]
    pub fn succeeded_by(&self, mut newer: Self, owed: bool) -> Self {
        if !owed {
            return newer;
        }
        let mentioned: HashSet<&str> = newer.alerts.iter().map(|alert| alert.fingerprint.as_str()).collect();
        let gone = self.alerts.iter().filter(|alert| !mentioned.contains(alert.fingerprint.as_str()));
        let room = MAX_CARRIED.saturating_sub(newer.alerts.len());
        let doubtful = newer.truncated > 0;
        let ended = |alert: &Alert| Alert { firing: alert.firing && doubtful, ..alert.clone() };
        let gone: Vec<_> = gone.take(room).map(ended).collect();
        newer.alerts.extend(gone);
        newer
    }

    /// Whether a destination wants this state: something of its rank or above fires (or did, where all
    /// is over), or it was told of this group before and has to hear the end.
    pub fn concerns(&self, least: Rank, was_told: bool) -> bool {
        was_told || self.rank() >= least
    }
}

/// Alerts that a group grows to by what is carried over from older notifications.
const MAX_CARRIED: usize = 1000;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An alert with a name, a severity and a state.
    pub(crate) fn alert(name: &str, severity: &str, firing: bool) -> Alert {
        let labels = [("alertname", name), ("severity", severity)];
        Alert {
            fingerprint: name.to_lowercase(),
            firing,
            labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            annotations: Texts::new(),
            starts_at: Timestamp::from_second(1_769_848_200).ok(),
            ends_at: if firing { None } else { Timestamp::from_second(1_769_848_500).ok() },
            generator_url: None,
        }
    }

    /// A group of these alerts.
    pub(crate) fn group(alerts: Vec<Alert>) -> Group {
        Group {
            receiver: "default".to_owned(),
            key: "{}:{alertname=\"A\"}".to_owned(),
            firing: alerts.iter().any(|alert| alert.firing),
            truncated: 0,
            group_labels: Texts::new(),
            common_labels: Texts::new(),
            common_annotations: Texts::new(),
            external_url: Some("http://127.0.0.1:9093".to_owned()),
            alerts,
            heard_at: Timestamp::from_second(1_769_848_500).unwrap(),
        }
    }

    #[test]
    fn a_rank_is_what_fires_or_what_did() {
        for (alerts, rank, over) in [
            (vec![], Rank::Info, true),
            (vec![alert("A", "warning", true)], Rank::Warning, false),
            (vec![alert("A", "warning", true), alert("B", "critical", false)], Rank::Warning, false),
            (vec![alert("A", "info", true), alert("B", "critical", true)], Rank::Critical, false),
            (vec![alert("A", "page", true)], Rank::Info, false),
            (vec![alert("A", "warning", false), alert("B", "critical", false)], Rank::Critical, true),
        ] {
            let group = group(alerts);
            assert_eq!((group.rank(), group.is_over()), (rank, over), "{group:?}");
        }
    }

    #[test]
    fn what_is_truncated_is_never_over() {
        let resolved = group(vec![alert("A", "critical", false)]);
        assert!(resolved.is_over());
        assert!(!Group { truncated: 1, ..resolved.clone() }.is_over());
        assert!(!Group { firing: true, ..resolved }.is_over());
    }

    #[test]
    fn twins_send_the_same_and_changes_do_not() {
        let one = group(vec![alert("A", "critical", true), alert("B", "info", true)]);
        let mut twin = one.clone();
        twin.alerts.reverse();
        twin.external_url = Some("http://other:9093".to_owned());
        twin.heard_at = Timestamp::UNIX_EPOCH;
        twin.alerts[0].generator_url = Some("http://other:9090/graph".to_owned());
        assert_eq!(one.digest(), twin.digest());
        let changes: [fn(&mut Group); 7] = [
            |group| group.receiver.push('x'),
            |group| group.key.push('x'),
            |group| group.truncated = 1,
            |group| group.alerts[0].firing = false,
            |group| group.alerts[0].starts_at = None,
            |group| drop(group.alerts[0].annotations.insert("summary".to_owned(), "x".to_owned())),
            |group| drop(group.alerts.pop()),
        ];
        for (position, change) in changes.iter().enumerate() {
            let mut other = one.clone();
            change(&mut other);
            assert_ne!(one.digest(), other.digest(), "{position}");
        }
    }

    #[test]
    fn what_nobody_was_told_of_is_not_forgotten() {
        let old = group(vec![alert("A", "critical", true), alert("B", "critical", true)]);
        let new = group(vec![alert("B", "critical", true), alert("C", "critical", true)]);
        let states = |group: &Group| -> Vec<(String, bool)> {
            group.alerts.iter().map(|alert| (alert.name().to_owned(), alert.firing)).collect()
        };
        let told = old.succeeded_by(new.clone(), false);
        assert_eq!(states(&told), [("B".to_owned(), true), ("C".to_owned(), true)]);
        let owed = old.succeeded_by(new, true);
        assert_eq!(states(&owed), [("B".to_owned(), true), ("C".to_owned(), true), ("A".to_owned(), false)]);
    }

    #[test]
    fn what_was_left_out_may_still_fire() {
        let old = group(vec![alert("A", "critical", true), alert("B", "critical", false)]);
        let new = Group { truncated: 1, ..group(vec![alert("C", "warning", true)]) };
        let merged = old.succeeded_by(new, true);
        let firing: Vec<_> = merged.firing_alerts().map(Alert::name).collect();
        assert_eq!((firing, merged.rank()), (vec!["C", "A"], Rank::Critical));
    }

    #[test]
    fn carrying_over_is_bounded() {
        let many = (0..MAX_CARRIED).map(|number| alert(&format!("N{number}"), "info", true)).collect();
        let merged = group(many).succeeded_by(group(vec![alert("A", "info", true)]), true);
        assert_eq!(merged.alerts.len(), MAX_CARRIED);
    }

    #[test]
    fn a_destination_hears_what_matters_and_every_end() {
        let firing = |severity| group(vec![alert("A", severity, true)]);
        for (group, least, was_told, expected) in [
            (firing("critical"), Rank::Critical, false, true),
            (firing("warning"), Rank::Critical, false, false),
            (firing("warning"), Rank::Critical, true, true),
            (firing("whatever"), Rank::Info, false, true),
            (group(vec![alert("A", "critical", false)]), Rank::Critical, false, true),
        ] {
            assert_eq!(group.concerns(least, was_told), expected, "{group:?} {least:?}");
        }
    }
}

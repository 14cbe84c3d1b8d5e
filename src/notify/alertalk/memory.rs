//! What a destination knows of a group between two decisions.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::policy::is_from_the_future;
use crate::domain::alert::{Alert, Group};
use crate::domain::time::elapsed;

/// More alerts than this are not remembered beyond those that the group still mentions. More than twice
/// what one notification holds.
const MOST_HANDLED: usize = 50_000;

/// Kept as JSON between two decisions about a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Memory {
    /// The fingerprints of alerts that were called for, or deliberately not called for.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    handled: BTreeSet<String>,
    /// When that was last.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
    /// When it was last dealt with that the group could not be told in writing.
    #[serde(skip_serializing_if = "Option::is_none")]
    escalated_at: Option<Timestamp>,
}

impl Memory {
    /// Reads what [`Memory::write`] wrote. What cannot be read is forgotten: one call too many is better
    /// than none.
    pub(super) fn read(told: Option<&str>) -> Self {
        told.and_then(|told| serde_json::from_str(told).ok()).unwrap_or_default()
    }

    pub(super) fn write(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }

    pub(super) fn has_handled(&self, alert: &Alert) -> bool {
        self.handled.contains(&alert.fingerprint)
    }

    /// Whether this was called for before, or deliberately not.
    pub(super) fn is_done(&self) -> bool {
        self.at.is_some()
    }

    /// Whether it is time to call again about what is handled and was heard again at `heard_at`.
    pub(super) fn is_due_again(&self, cooldown: Duration, heard_at: Timestamp, now: Timestamp) -> bool {
        self.at.is_some_and(|at| has_passed(at, cooldown, heard_at, now))
    }

    /// Whether nobody has been called lately about the group not being told in writing.
    pub(super) fn is_escalation_due(&self, cooldown: Duration, heard_at: Timestamp, now: Timestamp) -> bool {
        self.escalated_at.is_none_or(|at| has_passed(at, cooldown, heard_at, now))
    }

    /// After a decision about these alerts of a group, which fire. Those that a truncated group no longer
    /// mentions may come back, so they stay. `at` stays as it is where there was no time for a call yet.
    #[must_use]
    pub(super) fn after(mut self, group: &Group, firing: &[&Alert], at: Option<Timestamp>) -> Self {
        self.handled.extend(firing.iter().map(|alert| alert.fingerprint.clone()));
        if group.truncated == 0 || self.handled.len() > MOST_HANDLED {
            let mentioned: BTreeSet<&str> = group.alerts.iter().map(|alert| alert.fingerprint.as_str()).collect();
            self.handled.retain(|fingerprint| mentioned.contains(fingerprint.as_str()));
        }
        self.at = at.or(self.at);
        self
    }

    /// After a call that says that the group could not be told in writing, or the decision against it.
    #[must_use]
    pub(super) fn after_escalation(self, now: Timestamp) -> Self {
        Self { escalated_at: Some(now), ..self }
    }

    /// After a call about something that is told once, or the decision against it.
    pub(super) fn of_one_call(now: Timestamp) -> Self {
        Self { at: Some(now), ..Self::default() }
    }
}

/// Whether `cooldown` has passed since `at`, and something was heard in that time. After the clock went
/// back, nobody knows.
fn has_passed(at: Timestamp, cooldown: Duration, heard_at: Timestamp, now: Timestamp) -> bool {
    is_from_the_future(at, now) || (elapsed(at, now) >= cooldown && heard_at > at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::tests::{alert, group};

    #[test]
    fn what_is_remembered_of_truncated_groups_is_bounded() {
        let mut memory = Memory::default();
        for round in 0..4 {
            let alerts = (0..20_000).map(|number| alert(&format!("{round}-{number}"), "critical", true)).collect();
            let group = Group { truncated: 1, ..group(alerts) };
            memory = memory.after(&group, &group.firing_alerts().collect::<Vec<_>>(), None);
            assert!(group.alerts.iter().all(|alert| memory.has_handled(alert)), "{round}");
        }
        assert!(memory.handled.len() <= MOST_HANDLED);
    }
}

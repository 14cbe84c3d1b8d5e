//! What is known of one alert, and what of it there is to post.

use std::time::Duration;

use jiff::Timestamp;

use super::rules::{Reading, Rule};
use crate::domain::time::elapsed;

/// What is known of one alert.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Known {
    /// Since when the condition of the rule holds.
    holds_since: Option<Timestamp>,
    alert: Option<Alert>,
    told: Option<Told>,
}

/// An alert that fires, or did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Alert {
    pub(super) started_at: Timestamp,
    pub(super) ended_at: Option<Timestamp>,
    /// What it is about, as it was when it last fired.
    pub(super) reading: Reading,
}

/// The last notification that was taken.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Told {
    firing: bool,
    at: Timestamp,
}

impl Known {
    /// After an evaluation of the rule: Prometheus' part.
    pub(super) fn evaluated(self, rule: &Rule, reading: Reading, now: Timestamp) -> Self {
        if !rule.holds(reading) {
            let ended = self.alert.map(|alert| Alert { ended_at: alert.ended_at.or(Some(now)), ..alert });
            // What nobody was told of, nobody has to be told the end of.
            let alert = ended.filter(|_| self.told.is_some_and(|told| told.firing));
            return Self { holds_since: None, alert, told: self.told };
        }
        let holds_since = self.holds_since.unwrap_or(now);
        let fires = elapsed(holds_since, now) >= rule.hold;
        let firing = self.alert.filter(|alert| alert.ended_at.is_none());
        let started_at = firing.map_or(now, |alert| alert.started_at);
        let alert = if fires { Some(Alert { started_at, ended_at: None, reading }) } else { self.alert };
        Self { holds_since: Some(holds_since), alert, told: self.told }
    }

    /// The alert, if there is something to post of it: Alertmanager's part. What still fires is repeated.
    pub(super) fn due(self, repeat: Duration, now: Timestamp) -> Option<Alert> {
        let told_firing = self.told.filter(|told| told.firing);
        self.alert.filter(|alert| match (alert.ended_at, told_firing) {
            (None, Some(told)) => elapsed(told.at, now) >= repeat,
            (None, None) | (Some(_), Some(_)) => true,
            (Some(_), None) => false,
        })
    }

    /// After the exporter has taken what was due.
    pub(super) fn told(self, now: Timestamp) -> Self {
        let firing = self.alert.is_some_and(|alert| alert.ended_at.is_none());
        Self { told: Some(Told { firing, at: now }), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::rules_of_accounts;
    use super::*;

    /// A warning below 10 USD that has to hold for 10 seconds.
    fn rule() -> &'static Rule {
        let rule = rules_of_accounts().next().unwrap();
        assert_eq!((rule.below_usd, rule.hold.as_secs(), rule.repeat.as_secs()), (Some(10.0), 10, 240));
        rule
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_769_848_200 + second).unwrap()
    }

    /// What is posted: since when the alert fires, and until when it did.
    type Posted = Option<(i64, Option<i64>)>;

    /// Each row is the second of an evaluation, the balance, whether the exporter takes what is posted, and
    /// what that is.
    fn check(name: &str, rows: &[(i64, f64, bool, Posted)]) {
        let mut known = Known::default();
        for &(second, balance_usd, taken, expected) in rows {
            known = known.evaluated(rule(), Reading { balance_usd, runway: None }, at(second));
            let due = known.due(rule().repeat, at(second));
            let posted = due.map(|alert| (alert.started_at, alert.ended_at));
            let expected = expected.map(|(start, end)| (at(start), end.map(at)));
            assert_eq!(posted, expected, "{name}: second {second}");
            if taken && due.is_some() {
                known = known.told(at(second));
            }
        }
    }

    #[test]
    fn what_is_posted_depends_on_the_balance_and_on_what_was_posted() {
        check("a rich account", &[(0, 25.0, true, None), (300, 10.0, true, None)]);
        check(
            "it fires once it has held for a while, and ends at once",
            &[
                (0, 9.9, true, None),
                (9, 9.9, true, None),
                (10, 9.8, true, Some((10, None))),
                (11, 9.7, true, None),
                (12, 12.0, true, Some((10, Some(12)))),
                (13, 12.0, true, None),
            ],
        );
        check("a short dip is nothing", &[(0, 9.0, true, None), (5, 10.0, true, None), (10, 9.0, true, None)]);
        check(
            "what fires is repeated",
            &[
                (0, 9.0, true, None),
                (10, 9.0, true, Some((10, None))),
                (249, 9.0, true, None),
                (250, 9.0, true, Some((10, None))),
                (489, 9.0, true, None),
                (490, 9.0, true, Some((10, None))),
            ],
        );
        check(
            "what is not taken is posted again",
            &[
                (0, 9.0, true, None),
                (10, 9.0, false, Some((10, None))),
                (11, 9.0, true, Some((10, None))),
                (12, 12.0, false, Some((10, Some(12)))),
                (15, 12.0, true, Some((10, Some(12)))),
                (16, 12.0, true, None),
            ],
        );
        check(
            "an alert that nobody was told of has no end",
            &[(0, 9.0, true, None), (10, 9.0, false, Some((10, None))), (11, 12.0, true, None)],
        );
        check(
            "it fires again after its end",
            &[
                (0, 9.0, true, None),
                (10, 9.0, true, Some((10, None))),
                (20, 12.0, true, Some((10, Some(20)))),
                (30, 9.0, true, None),
                (40, 9.0, true, Some((40, None))),
                (41, 12.0, true, Some((40, Some(41)))),
            ],
        );
        check(
            "an end that was not taken is posted while the next alert is pending",
            &[
                (0, 9.0, true, None),
                (10, 9.0, true, Some((10, None))),
                (20, 12.0, false, Some((10, Some(20)))),
                (21, 9.0, true, Some((10, Some(20)))),
                (31, 9.0, true, Some((31, None))),
            ],
        );
    }
}

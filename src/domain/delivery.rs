//! The outbox: everything that leaves is a row first, goes to one destination, and is retried by age.

use std::time::Duration;

use jiff::Timestamp;

use super::alert::{Group, Rank};
use super::notice::Notice;

/// What a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The state of an alert group.
    Group,
    /// An alert group that another destination could not be told of.
    Escalation,
    /// A message of our own.
    Notice,
    /// The result of a task.
    Result,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Group, Self::Escalation, Self::Notice, Self::Result];

    /// As it stands in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::Escalation => "escalation",
            Self::Notice => "notice",
            Self::Result => "result",
        }
    }

    /// Reads what `as_str` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Where the notifications of a receiver go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The destination, such as `discord/ops`.
    pub destination: String,
    /// The lowest rank that it is told of.
    pub least: Rank,
    /// Whether it is a phone, which is not called about an end.
    pub calls: bool,
}

impl Route {
    /// Whether a state has to be told there. `was_told` says whether the destination knows of the group,
    /// or waits to be told.
    pub fn wants(&self, group: &Group, was_told: bool) -> bool {
        let fires = group.firing_alerts().next().is_some();
        group.concerns(self.least, was_told) && (was_told || fires || !self.calls)
    }
}

/// Something to tell that is no alert group's state.
#[derive(Debug, Clone, PartialEq)]
pub struct NewDelivery {
    /// The destination.
    pub destination: String,
    /// What is told.
    pub content: NewContent,
}

/// What is told.
#[derive(Debug, Clone, PartialEq)]
pub enum NewContent {
    /// The state of this stored group, to people whom another destination does not reach.
    Escalation(i64),
    /// A message of our own.
    Notice(Notice),
}

/// A row that this process works on, for as long as its lease lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Its place in the outbox.
    pub seq: i64,
    /// The number of the lease: whoever has another one may not write.
    pub lease: i64,
    /// Which state of its content was claimed.
    pub version: i64,
    /// What kind of thing it is about.
    pub kind: Kind,
    /// Which one.
    pub subject: String,
    /// Since when the destination is behind.
    pub queued_at: Timestamp,
    /// When the newest of its content came.
    pub state_at: Timestamp,
    /// Failed attempts so far.
    pub attempts: u32,
    /// How many of them may have been heard all the same.
    pub ambiguous: u32,
    /// The content, in JSON.
    pub content: String,
    /// What the destination was told of the group before.
    pub told: Option<String>,
}

/// What a claim found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    /// The rows, oldest first.
    pub deliveries: Vec<Claimed>,
    /// When the next row is due, where none was.
    pub next_due_at: Option<Timestamp>,
    /// Calls of the destination in the last day.
    pub calls: Vec<Call>,
}

/// A phone call that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What it was about.
    pub subject: String,
    /// The number.
    pub number: String,
    /// When.
    pub at: Timestamp,
}

/// What became of a claimed row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The row.
    pub seq: i64,
    /// The lease under which it was worked on.
    pub lease: i64,
    /// The state that was told.
    pub version: i64,
    /// What happened.
    pub outcome: Outcome,
}

/// What happened to a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A part of it is told; the lease goes on.
    Progress,
    /// All of it is told.
    Done,
    /// It is tried again.
    Again {
        /// When.
        due_at: Timestamp,
        /// Whether this was a failed attempt.
        attempted: bool,
        /// Whether it may have been heard.
        ambiguous: bool,
        /// What the destination answered, without secrets.
        error: String,
    },
    /// It is given up.
    Dead {
        /// A reason code, one of [`DEAD_REASONS`].
        reason: &'static str,
        /// What the destination last answered, without secrets.
        error: String,
    },
}

/// Why something becomes a dead letter.
pub const DEAD_REASONS: [&str; 4] = [REFUSED, EXPIRED, AMBIGUOUS, REMOVED];

/// How the names of destinations begin that get results.
pub const SUBSCRIBER_PREFIX: &str = "subscriber/";

/// Why a pingback becomes a dead letter.
pub const PINGBACK_DEAD_REASONS: [&str; 3] = [FORGED, CONFLICT, UNREADABLE];

/// The source of dead letters that are pingbacks.
pub const PINGBACK_SOURCE: &str = "pingback";
/// The API does not confirm it.
pub const FORGED: &str = "forged";
/// Another result for a task that has ended.
pub const CONFLICT: &str = "conflict";
/// It was spilled, and cannot be imported.
pub const UNREADABLE: &str = "unreadable";

/// The destination will never take it.
pub const REFUSED: &str = "refused";
/// It could not be told for too long.
pub const EXPIRED: &str = "expired";
/// It may have been heard, twice.
pub const AMBIGUOUS: &str = "ambiguous";
/// Its destination is not configured any more.
pub const REMOVED: &str = "destination_removed";

/// What a settlement changes besides the row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Consequences {
    /// What the destination knows of the group from now on: nothing, if that is `None` inside.
    pub told: Option<Option<String>>,
    /// Calls that were made.
    pub calls: Vec<Call>,
    /// What others have to be told.
    pub new: Vec<NewDelivery>,
    /// What is known of the destination from now on, kept together with who has to be told of it.
    pub state: Option<Box<DestinationState>>,
}

/// What is known of a destination across restarts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DestinationState {
    /// The configuration that the rest is about; another one begins anew.
    pub fingerprint: String,
    /// Why it takes nothing until its configuration changes.
    pub unusable: Option<String>,
    /// Until when it has no credit.
    pub no_credit_until: Option<Timestamp>,
}

/// The wait after failed attempts: a second, doubling up to five minutes, a fifth less to a fifth more.
/// `fraction` is a random number in `0.0..1.0`.
pub fn backoff(attempts: u32, fraction: f64) -> Duration {
    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_mins(5);
    let doublings = attempts.saturating_sub(1).min(16);
    (FIRST * 2_u32.pow(doublings)).min(LONGEST).mul_f64(0.8 + 0.4 * fraction)
}

/// A moment after `now`.
pub fn after(now: Timestamp, wait: Duration) -> Timestamp {
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::alert::tests::{alert, group};
    use super::*;

    #[test]
    fn waits_grow_and_end_at_five_minutes() {
        for (attempts, fraction, seconds) in [
            (0, 0.5, 1.0),
            (1, 0.5, 1.0),
            (1, 0.0, 0.8),
            (2, 0.5, 2.0),
            (5, 0.5, 16.0),
            (9, 0.5, 256.0),
            (10, 0.5, 300.0),
            (u32::MAX, 0.5, 300.0),
        ] {
            assert!((backoff(attempts, fraction).as_secs_f64() - seconds).abs() < 1e-9, "{attempts} {fraction}");
        }
    }

    #[test]
    fn a_phone_hears_what_fires_and_knows_what_ended() {
        let firing = |severity| group(vec![alert("A", severity, true)]);
        let over = || group(vec![alert("A", "critical", false)]);
        for (group, calls, was_told, expected) in [
            (firing("critical"), true, false, true),
            (firing("warning"), true, false, false),
            (over(), true, false, false),
            (over(), true, true, true),
            (over(), false, false, true),
            (firing("critical"), false, false, true),
            (firing("warning"), false, true, true),
        ] {
            let route = Route { destination: "x".to_owned(), least: Rank::Critical, calls };
            assert_eq!(route.wants(&group, was_told), expected, "{group:?} {calls} {was_told}");
        }
    }

    #[test]
    fn kinds_are_read_as_they_are_written() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(Kind::parse("other"), None);
    }
}

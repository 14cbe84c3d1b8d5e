//! What becomes of a row after an attempt: pure decisions.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::delivery::{AMBIGUOUS, EXPIRED, Outcome, REFUSED, after, backoff};
use crate::notify::SendError;

/// A call that may have been made is tried once more after this.
const AFTER_AMBIGUITY: Duration = Duration::from_secs(15);
/// A failing destination, or whatever stands before it, may ask for a pause of an hour; a call is too old after
/// a quarter of one. No more than this is granted.
const LONGEST_RETRY: Duration = Duration::from_mins(5);
/// What an unusable destination waits for is looked at this often, for its age.
pub(super) const UNUSABLE_LOOK: Duration = Duration::from_mins(1);

/// What is known of the attempt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    /// Failed attempts before this one.
    pub(super) attempts: u32,
    /// How many of those may have been heard.
    pub(super) ambiguous: u32,
    /// The date.
    pub(super) now: Timestamp,
    /// A random number in `0.0..1.0`.
    pub(super) fraction: f64,
}

/// What happens to the row. A destination that has no credit or takes nothing at all is more than that:
/// the row itself waits.
pub(super) fn outcome(error: &SendError, attempt: Attempt) -> Outcome {
    let Attempt { attempts, ambiguous, now, fraction } = attempt;
    let again = |wait: Duration, attempted: bool, ambiguous: bool| Outcome::Again {
        due_at: after(now, wait),
        attempted,
        ambiguous,
        error: error.to_string(),
    };
    match error {
        SendError::Retry { after, .. } => {
            let wait = backoff(attempts.saturating_add(1), fraction);
            again(wait.max(after.unwrap_or_default().min(LONGEST_RETRY)), true, false)
        }
        SendError::RateLimited { after, .. } => again(*after, false, false),
        SendError::Ambiguous { .. } if ambiguous == 0 => again(AFTER_AMBIGUITY, true, true),
        SendError::Ambiguous { .. } => Outcome::Dead { reason: AMBIGUOUS, error: error.to_string() },
        SendError::Permanent { .. } => Outcome::Dead { reason: REFUSED, error: error.to_string() },
        SendError::Missing => again(Duration::ZERO, false, false),
        SendError::Unusable { .. } | SendError::NoCredit => again(UNUSABLE_LOOK, false, false),
    }
}

/// Whether something is too old to be told. A clock that went back makes nothing old.
pub(super) fn is_expired(state_at: Timestamp, now: Timestamp, max_age: Duration) -> bool {
    crate::domain::time::elapsed(state_at, now) > max_age
}

/// What becomes of a row that is too old.
pub(super) fn expired() -> Outcome {
    Outcome::Dead { reason: EXPIRED, error: "it was too old before it could be told".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn check(error: &SendError, attempts: u32, ambiguous: u32, expected: &str) {
        let attempt = Attempt { attempts, ambiguous, now: NOW, fraction: 0.5 };
        let found = match outcome(error, attempt) {
            Outcome::Again { due_at, attempted, ambiguous, .. } => {
                format!("again in {} {attempted} {ambiguous}", due_at.as_second())
            }
            Outcome::Dead { reason, .. } => format!("dead {reason}"),
            other => format!("{other:?}"),
        };
        assert_eq!(found, expected, "{error:?} {attempts} {ambiguous}");
    }

    #[test]
    fn what_comes_next_follows_from_the_error() {
        let retry = |after| SendError::Retry { after, why: "x".to_owned() };
        let seconds = Duration::from_secs;
        check(&retry(None), 0, 0, "again in 1 true false");
        check(&retry(None), 3, 0, "again in 8 true false");
        check(&retry(None), u32::MAX, 0, "again in 300 true false");
        check(&retry(Some(seconds(60))), 0, 0, "again in 60 true false");
        check(&retry(Some(seconds(60))), 9, 0, "again in 300 true false");
        check(&retry(Some(seconds(3600))), 0, 0, "again in 300 true false");
        check(&SendError::RateLimited { after: seconds(7), global: false }, 5, 0, "again in 7 false false");
        let ambiguous = SendError::Ambiguous { why: "x".to_owned() };
        check(&ambiguous, 0, 0, "again in 15 true true");
        check(&ambiguous, 1, 1, "dead ambiguous");
        check(&SendError::Permanent { why: "x".to_owned() }, 0, 0, "dead refused");
        check(&SendError::Missing, 0, 0, "again in 0 false false");
        check(&SendError::Unusable { why: "x".to_owned() }, 0, 0, "again in 60 false false");
        check(&SendError::NoCredit, 0, 0, "again in 60 false false");
    }

    #[test]
    fn age_counts_from_the_newest_content() {
        let at = |second| Timestamp::from_second(second).unwrap();
        for (state_at, now, expired) in [(0, 60, false), (0, 61, true), (100, 0, false)] {
            assert_eq!(is_expired(at(state_at), at(now), Duration::from_mins(1)), expired, "{state_at} {now}");
        }
    }
}

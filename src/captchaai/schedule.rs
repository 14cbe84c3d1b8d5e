//! When to ask again: a pure decision.

use std::time::Duration;

use super::error::ApiError;
use crate::domain::error_code::label;

/// A refused key is not tried again before this: repeated bad authorization bans the address.
const AFTER_REFUSED_KEY: Duration = Duration::from_hours(1);
/// A refused address: bans last about five minutes.
const AFTER_REFUSED_ADDRESS: Duration = Duration::from_mins(10);
/// The wait after the first failure of any other kind; it doubles with each that follows.
const FIRST_RETRY: Duration = Duration::from_secs(10);
/// Waits grow to this, or to the interval if that is longer.
const LONGEST_RETRY: Duration = Duration::from_mins(5);
/// Nothing is asked more often than this.
const SHORTEST: Duration = Duration::from_secs(1);

/// When to ask next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// How long to wait.
    pub delay: Duration,
    /// Whether that is a stop until somebody corrects the configuration, and no retry.
    pub stopped: bool,
}

/// Decides after an attempt, which may have been a `failure`. `failures` counts those in a row, this one included; `fraction` is a
/// random number in `0.0..1.0` that spreads the requests of many accounts.
pub fn next(failure: Option<&ApiError>, failures: u32, interval: Duration, fraction: f64) -> Next {
    match failure {
        None => Next { delay: spread(interval, fraction).max(SHORTEST), stopped: false },
        Some(error) if error.is_auth() => Next { delay: after_refusal(error), stopped: true },
        Some(_) => {
            let doublings = failures.saturating_sub(1).min(16);
            let longest = interval.max(LONGEST_RETRY);
            let delay = spread(FIRST_RETRY * 2_u32.pow(doublings), fraction).min(longest);
            Next { delay, stopped: false }
        }
    }
}

/// How long nobody asks after the key or the address was refused.
pub(super) fn after_refusal(error: &ApiError) -> Duration {
    let refuses_key = |code: &str| matches!(label(code), "ERROR_WRONG_USER_KEY" | "ERROR_KEY_DOES_NOT_EXIST");
    match error {
        ApiError::Refused(code) if refuses_key(code) => AFTER_REFUSED_KEY,
        _ => AFTER_REFUSED_ADDRESS,
    }
}

/// Ten per cent less to ten per cent more.
fn spread(duration: Duration, fraction: f64) -> Duration {
    duration.mul_f64(0.9 + 0.2 * fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(failure: Option<&ApiError>, failures: u32, interval: u64, fraction: f64, seconds: f64, stopped: bool) {
        let next = next(failure, failures, Duration::from_secs(interval), fraction);
        let expected = Next { delay: Duration::from_secs_f64(seconds), stopped };
        assert_eq!(next, expected, "{failure:?} {failures} {interval} {fraction}");
    }

    #[test]
    fn a_success_is_followed_by_the_interval() {
        for (interval, fraction, seconds) in
            [(60, 0.0, 54.0), (60, 0.5, 60.0), (60, 0.75, 63.0), (1, 0.0, 1.0), (1, 0.75, 1.05), (3600, 0.0, 3240.0)]
        {
            check(None, 0, interval, fraction, seconds, false);
        }
    }

    #[test]
    fn failures_are_retried_ever_more_slowly() {
        let refused = |code: &str| ApiError::Refused(code.into());
        for error in [
            ApiError::Http(502),
            ApiError::Timeout,
            ApiError::Connect("refused".into()),
            ApiError::Malformed("empty"),
            refused("ERROR_SERVER_ERROR"),
            refused("ERROR_TOO_MUCH_REQUESTS"),
            refused("ERROR_ZERO_BALANCE"),
            refused("ERROR_NEVER_HEARD_OF"),
        ] {
            for (failures, interval, fraction, seconds) in [
                (1, 60, 0.5, 10.0),
                (1, 60, 0.0, 9.0),
                (1, 60, 0.75, 10.5),
                (1, 1, 0.5, 10.0),
                (2, 60, 0.5, 20.0),
                (3, 60, 0.5, 40.0),
                (5, 60, 0.5, 160.0),
                (6, 60, 0.5, 300.0),
                (6, 60, 0.99, 300.0),
                (u32::MAX, 60, 0.5, 300.0),
                (9, 3600, 0.5, 2560.0),
                (u32::MAX, 3600, 0.5, 3600.0),
            ] {
                check(Some(&error), failures, interval, fraction, seconds, false);
            }
        }
    }

    #[test]
    fn bad_authorization_is_not_repeated_soon() {
        for (code, seconds) in [
            ("ERROR_WRONG_USER_KEY", 3600.0),
            ("ERROR_KEY_DOES_NOT_EXIST", 3600.0),
            ("ERROR_KEY_DOES_NOT_EXIST: 12", 3600.0),
            ("ERROR_IP_NOT_ALLOWED", 600.0),
            ("IP_BANNED", 600.0),
            ("ERROR_IP_BANNED", 600.0),
        ] {
            for failures in [1, 2, 50] {
                check(Some(&ApiError::Refused(code.into())), failures, 60, 0.0, seconds, true);
            }
        }
    }
}

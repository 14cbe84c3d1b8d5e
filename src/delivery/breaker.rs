//! Leaves a destination alone that fails again and again, and finds out with one request whether it is
//! well again.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::delivery::after;
use crate::domain::time::elapsed;

/// Failures in a row that open it.
const FAILURES: u32 = 5;
/// The first pause; it doubles with each probe that fails.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// A circuit breaker. Time is passed in.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    /// Nothing is sent before this.
    until: Option<Timestamp>,
}

impl Breaker {
    /// A request was taken: it is closed.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// A request failed. Those that were on their way when it opened say nothing new: many at one time must
    /// not make the first pause a long one.
    pub(super) fn failed(&mut self, now: Timestamp) {
        if self.failures >= FAILURES && self.pause(now).is_some() {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let Some(probes) = self.failures.checked_sub(FAILURES) else { return };
        let pause = (FIRST_PAUSE * 2_u32.pow(probes.min(16))).min(LONGEST_PAUSE);
        self.until = Some(after(now, pause));
    }

    /// The destination asks for a pause.
    pub(super) fn rest(&mut self, now: Timestamp, pause: Duration) {
        self.until = Some(after(now, pause));
    }

    /// How long nothing is sent. A clock that went back does not make it longer.
    pub(super) fn pause(&self, now: Timestamp) -> Option<Duration> {
        let left = elapsed(now, self.until?);
        (!left.is_zero() && left <= LONGEST_PAUSE.max(FIRST_PAUSE) * 60).then_some(left)
    }

    /// Whether the next request is to find out if the destination is well again, and goes alone.
    pub(super) fn is_probing(&self) -> bool {
        self.failures >= FAILURES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn it_opens_after_five_failures_and_probes_ever_more_rarely() {
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            breaker.failed(at(0));
        }
        assert_eq!((breaker.pause(at(0)), breaker.is_probing()), (None, false));
        for (second, pause) in [(0, 2), (2, 4), (6, 8), (14, 16), (30, 32), (62, 60), (122, 60)] {
            breaker.failed(at(second));
            assert_eq!(breaker.pause(at(second)), Some(Duration::from_secs(pause)), "{second}");
            let over = second + i64::try_from(pause).unwrap();
            assert_eq!((breaker.pause(at(over)), breaker.is_probing()), (None, true), "{second}");
        }
        breaker.succeeded();
        assert_eq!((breaker.pause(at(0)), breaker.is_probing()), (None, false));
    }

    #[test]
    fn many_failures_at_one_time_open_it_once() {
        let mut breaker = Breaker::default();
        for _ in 0..64 {
            breaker.failed(at(0));
        }
        assert_eq!(breaker.pause(at(0)), Some(Duration::from_secs(2)));
        breaker.failed(at(2));
        assert_eq!(breaker.pause(at(2)), Some(Duration::from_secs(4)));
    }

    #[test]
    fn a_wish_for_a_pause_is_no_failure() {
        let mut breaker = Breaker::default();
        breaker.rest(at(0), Duration::from_secs(7));
        assert_eq!((breaker.pause(at(1)), breaker.is_probing()), (Some(Duration::from_secs(6)), false));
        assert_eq!(breaker.pause(at(-100_000)), None, "the clock went back");
    }
}

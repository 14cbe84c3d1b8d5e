//! Rate limits: so many requests in each span of time, which begins with the first of them.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::time::elapsed;

/// So many requests in a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// The requests.
    pub requests: u32,
    /// The time.
    pub per: Duration,
}

/// The requests of the current span.
#[derive(Debug, Clone)]
pub(super) struct Window {
    limit: RateLimit,
    started_at: Timestamp,
    used: u32,
}

impl Window {
    pub(super) fn new(limit: RateLimit) -> Self {
        Self { limit, started_at: Timestamp::MIN, used: 0 }
    }

    /// How long to wait before the next request; nothing if it may come now.
    pub(super) fn wait(&self, now: Timestamp) -> Option<Duration> {
        (self.used >= self.limit.requests).then(|| self.resets_in(now)).filter(|wait| !wait.is_zero())
    }

    /// Counts a request.
    pub(super) fn take(&mut self, now: Timestamp) {
        if self.resets_in(now).is_zero() {
            (self.started_at, self.used) = (now, 0);
        }
        self.used += 1;
    }

    /// Requests in each span.
    pub(super) fn limit(&self) -> u32 {
        self.limit.requests
    }

    /// Requests that may still come in this span.
    pub(super) fn remaining(&self) -> u32 {
        self.limit.requests.saturating_sub(self.used)
    }

    /// Until the end of this span.
    pub(super) fn resets_in(&self, now: Timestamp) -> Duration {
        self.limit.per.saturating_sub(elapsed(self.started_at, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_begins_with_its_first_request() {
        let at = |milliseconds| Timestamp::from_millisecond(milliseconds).unwrap();
        let mut window = Window::new(RateLimit { requests: 2, per: Duration::from_secs(2) });
        // When a request comes, how long it has to wait, and what remains after it.
        for (now, wait, remaining) in [
            (10_000, 0, 1),
            (11_500, 0, 0),
            (11_500, 500, 0),
            (11_999, 1, 0),
            (12_000, 0, 1),
            (13_999, 0, 0),
            (13_999, 1, 0),
            (20_000, 0, 1),
        ] {
            let expected = (wait > 0).then(|| Duration::from_millis(wait));
            assert_eq!(window.wait(at(now)), expected, "{now}");
            if expected.is_none() {
                window.take(at(now));
            }
            assert_eq!(window.remaining(), remaining, "{now}");
        }
        assert_eq!(window.resets_in(at(21_000)), Duration::from_secs(1));
    }
}

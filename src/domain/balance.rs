//! The money of an account, and what a new reading of it means.

use jiff::Timestamp;

/// The last good reading of an account and the sums of its changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Balance {
    /// Last known balance in USD.
    pub usd: f64,
    /// Sum of the observed falls in USD.
    pub spend_usd: f64,
    /// Sum of the observed rises in USD.
    pub topups_usd: f64,
    /// When it was read.
    pub read_at: Timestamp,
}

/// The balance after a new reading. The first one is neither spend nor top-up: nobody knows what was
/// there before.
pub fn observe(previous: Option<Balance>, usd: f64, now: Timestamp) -> Balance {
    let Some(previous) = previous else {
        return Balance { usd, spend_usd: 0.0, topups_usd: 0.0, read_at: now };
    };
    let change = usd - previous.usd;
    Balance {
        usd,
        spend_usd: to_micros(previous.spend_usd + (-change).max(0.0)),
        topups_usd: to_micros(previous.topups_usd + change.max(0.0)),
        read_at: now,
    }
}

/// Sums of differences of decimals gather binary noise; nobody pays less than a millionth.
fn to_micros(usd: f64) -> f64 {
    (usd * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn falls_are_spend_and_rises_are_topups() {
        let now = Timestamp::UNIX_EPOCH;
        let mut balance = None;
        let mut seen = Vec::new();
        for reading in [10.1, 7.6, 7.6, 17.6, 0.1, -0.4] {
            let next = observe(balance, reading, now);
            seen.push((next.usd, next.spend_usd, next.topups_usd));
            balance = Some(next);
        }
        assert_eq!(
            seen,
            [
                (10.1, 0.0, 0.0),
                (7.6, 2.5, 0.0),
                (7.6, 2.5, 0.0),
                (17.6, 2.5, 10.0),
                (0.1, 20.0, 10.0),
                (-0.4, 20.5, 10.0)
            ]
        );
    }
}

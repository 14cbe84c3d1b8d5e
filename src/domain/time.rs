//! Times and durations as people and programs write them.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;

/// Reads an RFC 3339 time or Unix seconds with an optional fraction.
///
/// The error says what is wrong, in words for whoever sent it.
pub fn parse_timestamp(text: &str) -> Result<Timestamp, String> {
    let text = text.trim();
    if text.starts_with(|first: char| first.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is no number of seconds"))?;
        return from_unix_seconds(seconds);
    }
    let time: Timestamp =
        text.parse().map_err(|_| format!("{text:?} is neither RFC 3339 (2026-01-31T08:30:00Z) nor Unix seconds"))?;
    within_reason(time)
}

/// Reads Unix seconds.
pub fn from_unix_seconds(seconds: f64) -> Result<Timestamp, String> {
    let milliseconds = (seconds * 1000.0).round();
    if !(0.0..=253_402_207_200_000.0).contains(&milliseconds) {
        return Err(format!("{seconds} is no time in Unix seconds; are these milliseconds?"));
    }
    #[expect(clippy::cast_possible_truncation, reason = "the range was checked on the line above")]
    let time = Timestamp::from_millisecond(milliseconds as i64).map_err(|error| error.to_string())?;
    within_reason(time)
}

/// Captchas are solved in minutes: a time outside these decades is a unit mistaken for another.
fn within_reason(time: Timestamp) -> Result<Timestamp, String> {
    const YEAR_2000: i64 = 946_684_800;
    const YEAR_2200: i64 = 7_258_118_400;
    if (YEAR_2000..YEAR_2200).contains(&time.as_second()) {
        return Timestamp::from_millisecond(time.as_millisecond()).map_err(|error| error.to_string());
    }
    Err(format!("{} lies outside the years 2000 to 2199; times are RFC 3339 or Unix seconds", format_timestamp(time)))
}

/// Writes RFC 3339 in UTC with milliseconds.
pub fn format_timestamp(time: Timestamp) -> String {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
    PRINTER.timestamp_to_string(&time)
}

/// Seconds since 1970, as Prometheus writes times.
pub fn unix_seconds(time: Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1000.0
}

/// From `earlier` to `later`; nothing when the clock went back.
pub fn elapsed(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}

/// Reads a duration in the form of Prometheus' configuration: `500ms`, `30s`, `10m`, `1h30m`, `24h`.
/// Units go from large to small (`d h m s ms`), each at most once.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    let wrong = || format!("{text:?} is no duration; write it as 500ms, 30s, 10m, 1h30m or 24h");
    let mut rest = text.trim();
    let mut next_unit = 0;
    let mut total: u64 = 0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let position = UNITS.iter().position(|&(name, _)| name == unit).ok_or_else(wrong)?;
        if position < next_unit {
            return Err(wrong());
        }
        next_unit = position + 1;
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let milliseconds = UNITS.get(position).map_or(0, |&(_, milliseconds)| milliseconds);
        total = number.checked_mul(milliseconds).and_then(|n| total.checked_add(n)).ok_or_else(wrong)?;
        rest = after;
    }
    Ok(Duration::from_millis(total))
}

/// Writes a duration as `parse_duration` reads it.
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, milliseconds) in [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        let count = rest / milliseconds;
        rest %= milliseconds;
        if count > 0 {
            text.push_str(&count.to_string());
            text.push_str(unit);
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_prometheus_writes_them() {
        let ms = Duration::from_millis;
        for (text, expected) in [
            ("500ms", Some(ms(500))),
            ("30s", Some(ms(30_000))),
            ("10m", Some(ms(600_000))),
            ("1h30m", Some(ms(5_400_000))),
            ("24h", Some(ms(86_400_000))),
            ("1d", Some(ms(86_400_000))),
            ("1m500ms", Some(ms(60_500))),
            ("0s", Some(ms(0))),
            ("", None),
            ("30", None),
            ("s", None),
            ("1.5h", None),
            ("-1s", None),
            ("30m1h", None),
            ("1s1s", None),
            ("1 h", None),
            ("1w", None),
            ("99999999999999999999h", None),
            ("18446744073709551615h", None),
        ] {
            assert_eq!(parse_duration(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        for text in ["500ms", "30s", "10m", "1h30m", "24h", "1m500ms", "0s"] {
            assert_eq!(parse_duration(text).map(format_duration).as_deref(), Ok(text));
        }
    }

    #[test]
    fn times_are_rfc_3339_or_unix_seconds() {
        for (text, expected) in [
            ("2026-01-31T08:30:00Z", Some("2026-01-31T08:30:00.000Z")),
            ("2026-01-31T10:30:00+02:00", Some("2026-01-31T08:30:00.000Z")),
            ("2026-01-31T08:30:00.123456789Z", Some("2026-01-31T08:30:00.123Z")),
            ("1769848200", Some("2026-01-31T08:30:00.000Z")),
            (" 1769848200.25 ", Some("2026-01-31T08:30:00.250Z")),
            ("1769848200250", None),
            ("12", None),
            ("0001-01-01T00:00:00Z", None),
            ("-5", None),
            ("1.2.3", None),
            ("1e300", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(parse_timestamp(text).ok().map(format_timestamp).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_clock_that_went_back_elapses_nothing() {
        let at = |second| Timestamp::from_second(second).unwrap_or_default();
        assert_eq!(elapsed(at(10), at(25)), Duration::from_secs(15));
        assert_eq!(elapsed(at(25), at(10)), Duration::ZERO);
    }
}

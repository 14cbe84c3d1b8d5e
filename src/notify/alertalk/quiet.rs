//! The part of the day in which nobody is called.

use jiff::Timestamp;

const MINUTES_OF_A_DAY: u16 = 24 * 60;

/// The offsets that clocks have somewhere are all closer to UTC than this.
const LARGEST_OFFSET: u16 = 14 * 60;

/// A daily span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuietHours {
    /// Minutes after midnight when it begins.
    pub from: u16,
    /// Minutes after midnight when it ends; before `from` when it goes past midnight.
    pub to: u16,
    /// Minutes east of UTC.
    pub offset: i16,
}

impl QuietHours {
    /// Reads `23:00-07:00`, in UTC, or `23:00-07:00+03:00`.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::read(text).ok_or_else(|| {
            format!(
                "{text:?} is no part of a day; expected HH:MM-HH:MM in UTC, as in 23:00-07:00, or with the offset of \
                 another time, as in 23:00-07:00+03:00"
            )
        })
    }

    fn read(text: &str) -> Option<Self> {
        let (from, rest) = text.split_once('-')?;
        let (to, offset) = rest.split_at_checked(5)?;
        let from = time_of_day(from).filter(|&minutes| minutes < MINUTES_OF_A_DAY)?;
        let to = time_of_day(to).filter(|&minutes| minutes <= MINUTES_OF_A_DAY)? % MINUTES_OF_A_DAY;
        let offset = if offset.is_empty() { 0 } else { offset_from_utc(offset)? };
        (from != to).then_some(Self { from, to, offset })
    }

    /// Whether nobody is called at this time. The first minute belongs to it, the last does not.
    pub fn contains(&self, time: Timestamp) -> bool {
        let minutes = time.as_second().div_euclid(60) + i64::from(self.offset);
        let now = minutes.rem_euclid(i64::from(MINUTES_OF_A_DAY));
        let (from, to) = (i64::from(self.from), i64::from(self.to));
        if from < to { (from..to).contains(&now) } else { now >= from || now < to }
    }
}

/// Minutes after midnight; 24:00 is allowed.
fn time_of_day(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let (hours, minutes) = (two_digits(hours)?, two_digits(minutes)?);
    let total = hours * 60 + minutes;
    (minutes < 60 && total <= MINUTES_OF_A_DAY).then_some(total)
}

fn offset_from_utc(text: &str) -> Option<i16> {
    let (sign, size) = match text.split_at_checked(1)? {
        ("+", size) => (1, size),
        ("-", size) => (-1, size),
        _ => return None,
    };
    let minutes = time_of_day(size).filter(|&minutes| minutes <= LARGEST_OFFSET)?;
    i16::try_from(minutes).ok().map(|minutes| sign * minutes)
}

fn two_digits(text: &str) -> Option<u16> {
    let plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_day_has_two_ends_and_an_offset() {
        let hours = |from, to, offset| Some(QuietHours { from, to, offset });
        for (text, expected) in [
            ("23:00-07:00", hours(1380, 420, 0)),
            ("00:00-00:01", hours(0, 1, 0)),
            ("12:30-13:45", hours(750, 825, 0)),
            ("23:00-07:00+03:00", hours(1380, 420, 180)),
            ("23:00-07:00-05:30", hours(1380, 420, -330)),
            ("23:00-07:00+00:00", hours(1380, 420, 0)),
            ("22:00-24:00", hours(1320, 0, 0)),
            ("00:00-23:59+14:00", hours(0, 1439, 840)),
            ("07:00-07:00", None),
            ("00:00-24:00", None),
            ("24:00-07:00", None),
            ("23:60-07:00", None),
            ("23:00-24:01", None),
            ("25:00-07:00", None),
            ("23:00-7:00", None),
            ("2300-0700", None),
            ("23:00", None),
            ("23:00-", None),
            ("23:00-07:00Z", None),
            ("23:00-07:00+3", None),
            ("23:00-07:00+15:00", None),
            ("23:00-07:00 +03:00", None),
            ("23:00 - 07:00", None),
            ("+2:00-07:00", None),
            ("23:00-07:0ş", None),
            ("", None),
        ] {
            assert_eq!(QuietHours::parse(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn the_first_minute_is_quiet_and_the_last_is_not() {
        for (hours, time, expected) in [
            ("23:00-07:00", "2026-01-31T22:59:59Z", false),
            ("23:00-07:00", "2026-01-31T23:00:00Z", true),
            ("23:00-07:00", "2026-02-01T00:00:00Z", true),
            ("23:00-07:00", "2026-02-01T06:59:59Z", true),
            ("23:00-07:00", "2026-02-01T07:00:00Z", false),
            ("23:00-07:00", "2026-02-01T12:00:00Z", false),
            ("12:00-13:00", "2026-02-01T11:59:59Z", false),
            ("12:00-13:00", "2026-02-01T12:00:00Z", true),
            ("12:00-13:00", "2026-02-01T13:00:00Z", false),
            // In Istanbul it is three hours later.
            ("23:00-07:00+03:00", "2026-01-31T19:59:59Z", false),
            ("23:00-07:00+03:00", "2026-01-31T20:00:00Z", true),
            ("23:00-07:00+03:00", "2026-02-01T03:59:59Z", true),
            ("23:00-07:00+03:00", "2026-02-01T04:00:00Z", false),
            ("23:00-07:00-05:00", "2026-02-01T03:59:59Z", false),
            ("23:00-07:00-05:00", "2026-02-01T04:00:00Z", true),
            ("22:00-24:00", "2026-02-01T23:59:59Z", true),
            ("22:00-24:00", "2026-02-02T00:00:00Z", false),
            ("23:00-07:00", "1969-12-31T23:30:00Z", true),
        ] {
            let hours = QuietHours::parse(hours).unwrap();
            assert_eq!(hours.contains(time.parse().unwrap()), expected, "{hours:?} {time}");
        }
    }
}

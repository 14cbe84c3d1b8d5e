use super::super::QuietHours;
use super::super::tests::settings;
use super::*;

const ONE: &str = "5321234567";
const TWO: &str = "5321234568";
const SUBJECT: &str = "default/{}";

fn now() -> Timestamp {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    now() - jiff::SignedDuration::from_secs(seconds)
}

/// Calls of a number so many seconds ago, each about something else.
fn calls(number: &str, seconds: &[i64]) -> Vec<PastCall> {
    let call = |&seconds: &i64| PastCall { subject: seconds.to_string(), number: number.to_owned(), at: ago(seconds) };
    seconds.iter().map(call).collect()
}

/// The last digits of who is called with the reason why others are not, or the reason why nobody is.
fn check(settings: &Settings, calls: &[PastCall], expected: Result<(&str, Option<&'static str>), &'static str>) {
    let context = Context { now: now(), calls, no_credit_until: None };
    let found = callees(settings, SUBJECT, now(), &context).map(|callees| {
        let ends: String = callees.numbers.iter().filter_map(|number| number.as_str().chars().last()).collect();
        (ends, callees.left_out)
    });
    assert_eq!(found, expected.map(|(ends, reason)| (ends.to_owned(), reason)), "{calls:?}");
}

#[test]
fn each_number_is_called_only_so_often() {
    let settings = settings(&[ONE, TWO]);
    let spread = |count: i64, first: i64, step: i64| (0..count).map(|n| first + n * step).collect::<Vec<_>>();
    for (seconds, capped) in [
        (vec![], false),
        (vec![0, 1], false),
        (vec![0, 0, 0], true),
        (vec![0, 1, 899], true),
        (vec![0, 1, 900], false),
        (vec![0, 1, 2, 3], true),
        // Seven within an hour, of which none three are within a quarter.
        (vec![0, 1, 900, 901, 1800, 1801], false),
        (vec![0, 1, 900, 901, 1800, 1801, 3599], true),
        (vec![0, 1, 900, 901, 1800, 1801, 3600], false),
        // Fifteen within three hours, of which none seven are within one.
        (spread(14, 0, 700), false),
        (spread(15, 0, 700), true),
        ([spread(14, 0, 700), vec![10_799]].concat(), true),
        ([spread(14, 0, 700), vec![10_800]].concat(), false),
        // Another minute is granted to a clock that went back; what is later does not count.
        (vec![-60, -60, -60], true),
        (vec![-61, -61, -61], false),
        (vec![-61, -100_000, -1_000_000, 0, 0], false),
    ] {
        let expected = if capped { Ok(("8", Some(CAP))) } else { Ok(("78", None)) };
        check(&settings, &calls(ONE, &seconds), expected);
    }
}

#[test]
fn a_number_is_not_called_again_about_the_same() {
    let settings = settings(&[ONE, TWO]);
    for (seconds, cools) in [(0, true), (3599, true), (3600, false), (-60, true), (-61, false)] {
        let call = PastCall { subject: SUBJECT.to_owned(), number: ONE.to_owned(), at: ago(seconds) };
        let expected = if cools { Ok(("8", Some(COOLDOWN))) } else { Ok(("78", None)) };
        check(&settings, std::slice::from_ref(&call), expected);
        let other = PastCall { subject: "default/other".to_owned(), ..call };
        check(&settings, &[other], Ok(("78", None)));
    }
}

#[test]
fn nobody_left_is_the_graver_of_the_reasons() {
    let settings = settings(&[ONE, TWO]);
    let cools = |number: &str| PastCall { subject: SUBJECT.to_owned(), number: number.to_owned(), at: ago(1000) };
    let capped = |number| calls(number, &[0, 1, 2]);
    check(&settings, &[cools(ONE), cools(TWO)], Err(COOLDOWN));
    check(&settings, &[capped(ONE), capped(TWO)].concat(), Err(CAP));
    check(&settings, &[vec![cools(ONE)], capped(TWO)].concat(), Err(CAP));
    check(&settings, &[vec![cools(TWO)], capped(ONE)].concat(), Err(CAP));
}

#[test]
fn a_day_has_only_so_many_requests() {
    let settings = Settings { max_calls_per_day: 3, ..settings(&[ONE, TWO]) };
    let request = |seconds: i64| [calls(ONE, &[seconds]), calls(TWO, &[seconds])].concat();
    let (first, second, edge) = (request(10_000), request(20_000), request(86_399));
    check(&settings, &[first.clone(), second.clone()].concat(), Ok(("78", None)));
    check(&settings, &[first.clone(), second.clone(), edge].concat(), Err(CAP));
    check(&settings, &[first.clone(), second.clone(), request(86_400)].concat(), Ok(("78", None)));
    check(&settings, &[first, second, request(-61)].concat(), Ok(("78", None)));
    check(&Settings { max_calls_per_day: 0, ..settings }, &[], Err(CAP));
}

#[test]
fn what_concerns_everybody_comes_first() {
    let plain = settings(&[ONE]);
    let quiet = Settings { quiet_hours: QuietHours::parse("12:00-12:01").ok(), ..plain.clone() };
    let context = |no_credit_until| Context { now: now(), calls: &[], no_credit_until };
    for (settings, heard, no_credit_until, expected) in [
        (&plain, 0, None, None),
        (&plain, 900, None, None),
        (&plain, 901, None, Some(TOO_OLD)),
        (&plain, -10_000, None, None),
        (&quiet, 0, None, Some(QUIET_HOURS)),
        (&quiet, 901, None, Some(TOO_OLD)),
        (&quiet, 0, Some(-60), Some(QUIET_HOURS)),
        (&plain, 0, Some(-1), Some(NO_CREDIT)),
        (&plain, 0, Some(0), None),
        (&plain, 0, Some(1), None),
    ] {
        let context = context(no_credit_until.map(ago));
        assert_eq!(callees(settings, SUBJECT, ago(heard), &context).err(), expected, "{heard} {no_credit_until:?}");
    }
}

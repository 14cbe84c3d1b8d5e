use crate::domain::alert::tests::{alert, group};
use crate::notify::PastCall;
use crate::notify::client::http_client;

use super::*;

/// When the tests take place.
fn now() -> Timestamp {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

fn ago(minutes: i64) -> Timestamp {
    now() - jiff::SignedDuration::from_mins(minutes)
}

pub(super) fn settings(numbers: &[&str]) -> Settings {
    Settings {
        name: "oncall".to_owned(),
        url: DEFAULT_URL.to_owned(),
        webhook_key: SecretString::from("hunter2"),
        phone_numbers: numbers.iter().map(|number| PhoneNumber::parse(number).unwrap()).collect(),
        min_severity: Rank::Critical,
        cooldown: Duration::from_hours(1),
        max_calls_per_day: 20,
        quiet_hours: None,
        max_age: Duration::from_mins(15),
        language: Language::Turkish,
        words: words(Language::Turkish),
    }
}

const FIRST: &str = "5321234567";
const SECOND: &str = "5321234568";

fn alertalk(change: impl FnOnce(&mut Settings)) -> Alertalk {
    let mut settings = settings(&[FIRST, SECOND]);
    change(&mut settings);
    Alertalk::new(settings, http_client(Duration::from_secs(1)).unwrap())
}

fn job(content: Content, told: Option<&str>) -> Job {
    Job { content, told: told.map(str::to_owned), queued_at: now(), state_at: now(), attempts: 0 }
}

fn about(alerts: Vec<Alert>, told: Option<&str>) -> Job {
    job(Content::Group(Box::new(group(alerts))), told)
}

fn context(calls: &[PastCall]) -> Context<'_> {
    Context { now: now(), calls, no_credit_until: None }
}

/// A call about the groups of these tests.
fn call(number: &str, at: Timestamp) -> PastCall {
    PastCall { subject: about(vec![], None).subject(), number: number.to_owned(), at }
}

/// A step in a few words, with what is told of it.
fn shown(step: &Step<Request>) -> (String, Option<&str>) {
    match step {
        Step::Send(request) => {
            let numbers: Vec<_> = request.numbers().iter().map(PhoneNumber::as_str).collect();
            (format!("call {} {}", numbers.join(","), request.left_out().unwrap_or("")).trim_end().to_owned(), None)
        }
        Step::Done(told) => ("done".to_owned(), told.as_deref()),
        Step::Suppress { reason, noted, told } => {
            (format!("{reason}{}", if *noted { " noted" } else { "" }), told.as_deref())
        }
    }
}

const BOTH: &str = "call 5321234567,5321234568";
const A: &str = r#"{"handled":["a"],"at":"2026-01-31T12:00:00Z"}"#;
const A_59_MINUTES_AGO: &str = r#"{"handled":["a"],"at":"2026-01-31T11:01:00Z"}"#;
const A_AN_HOUR_AGO: &str = r#"{"handled":["a"],"at":"2026-01-31T11:00:00Z"}"#;
const A_TOMORROW: &str = r#"{"handled":["a"],"at":"2026-02-01T12:00:00Z"}"#;

#[test]
fn a_group_is_called_for_when_something_new_is_grave_enough() {
    let critical = |name| alert(name, "critical", true);
    for (alerts, told, expected) in [
        (vec![critical("A")], None, (BOTH, None)),
        (vec![critical("A")], Some("what is this?"), (BOTH, None)),
        (vec![critical("A")], Some(A), ("done", Some(A))),
        (vec![critical("A")], Some(A_59_MINUTES_AGO), ("done", Some(A_59_MINUTES_AGO))),
        (vec![critical("A")], Some(A_AN_HOUR_AGO), (BOTH, None)),
        (vec![critical("A")], Some(A_TOMORROW), (BOTH, None)),
        (vec![critical("A"), critical("B")], Some(A), (BOTH, None)),
        (vec![critical("A"), alert("B", "warning", true)], Some(A), ("done", Some(A))),
        (vec![alert("A", "warning", true)], None, ("done", None)),
        (vec![alert("A", "page", true)], None, ("done", None)),
        (vec![alert("A", "critical", false), alert("B", "warning", true)], None, ("done", None)),
        (vec![alert("A", "critical", false), alert("B", "warning", true)], Some(A), ("done", Some(A))),
        // It is over.
        (vec![alert("A", "critical", false)], None, ("resolved_first", None)),
        (vec![alert("A", "critical", false)], Some(A), ("done", None)),
        (vec![alert("A", "critical", false), alert("B", "critical", false)], Some(A), ("resolved_first", None)),
        (vec![alert("A", "critical", false), alert("B", "warning", false)], Some(A), ("done", None)),
        (vec![alert("A", "warning", false)], None, ("done", None)),
        (vec![], None, ("done", None)),
    ] {
        let job = about(alerts, told);
        let step = alertalk(|_| {}).next(&job, &context(&[]));
        let (what, told) = shown(&step);
        assert_eq!((what.as_str(), told), expected, "{job:?}");
    }
}

#[test]
fn what_was_cut_off_is_neither_over_nor_fires() {
    let mut cut = group(vec![alert("A", "critical", false)]);
    cut.truncated = 3;
    let job = job(Content::Group(Box::new(cut)), Some(A));
    assert_eq!(alertalk(|_| {}).next(&job, &context(&[])), Step::Done(Some(A.to_owned())));
}

#[test]
fn after_a_call_there_is_nothing_more_to_tell() {
    let alertalk = alertalk(|settings| settings.min_severity = Rank::Warning);
    let alerts = || vec![alert("A", "critical", true), alert("B", "warning", true), alert("C", "info", true)];
    let contents = [
        (Content::Group(Box::new(group(alerts()))), r#"{"handled":["a","b"],"at":"2026-01-31T12:00:00Z"}"#),
        (Content::Escalation(Box::new(group(alerts()))), r#"{"escalated_at":"2026-01-31T12:00:00Z"}"#),
        (Content::Notice(watchdog_silent()), r#"{"at":"2026-01-31T12:00:00Z"}"#),
        (Content::Notice(unusable()), r#"{"at":"2026-01-31T12:00:00Z"}"#),
    ];
    for (content, expected) in contents {
        let mut job = job(content, None);
        let Step::Send(request) = alertalk.next(&job, &context(&[])) else { panic!("{job:?}") };
        job.told = alertalk.told(&job, &request, &Receipt::default(), now());
        assert_eq!(job.told.as_deref(), Some(expected));
        let calls: Vec<_> = request.numbers().iter().map(|number| call(number.as_str(), now())).collect();
        let step = alertalk.next(&job, &context(&calls));
        assert!(matches!(step, Step::Done(_)), "{step:?}");
    }
}

#[test]
fn a_repetition_is_heard_after_the_call() {
    // A call was made an hour and more ago; what waits is still what it was about.
    let mut job = about(vec![alert("A", "critical", true)], Some(A_AN_HOUR_AGO));
    job.state_at = ago(60);
    assert_eq!(shown(&alertalk(|_| {}).next(&job, &context(&[]))).0, "done");
    job.state_at = ago(1);
    assert_eq!(shown(&alertalk(|_| {}).next(&job, &context(&[]))).0, BOTH);
}

#[test]
fn alerts_that_came_and_went_are_forgotten_unless_they_were_cut_off() {
    let alertalk = alertalk(|_| {});
    let told = r#"{"handled":["a","b","c"],"at":"2026-01-31T11:00:00Z"}"#;
    let alerts = vec![alert("A", "critical", false), alert("D", "critical", true)];
    for (truncated, expected) in [(0, r#"["a","d"]"#), (1, r#"["a","b","c","d"]"#)] {
        let state = Group { truncated, ..group(alerts.clone()) };
        let job = job(Content::Group(Box::new(state)), Some(told));
        let Step::Send(request) = alertalk.next(&job, &context(&[])) else { panic!("{job:?}") };
        let told = alertalk.told(&job, &request, &Receipt::default(), now());
        assert_eq!(told, Some(format!(r#"{{"handled":{expected},"at":"2026-01-31T12:00:00Z"}}"#)));
    }
}

#[test]
fn a_call_that_is_not_made_counts_as_handled() {
    let night = |settings: &mut Settings| settings.quiet_hours = QuietHours::parse("11:00-13:00").ok();
    let job = about(vec![alert("A", "critical", true)], None);
    assert_eq!(shown(&alertalk(night).next(&job, &context(&[]))), ("quiet_hours noted".to_owned(), Some(A)));
    let broke = Context { no_credit_until: Some(now() + jiff::SignedDuration::from_secs(1)), ..context(&[]) };
    assert_eq!(shown(&alertalk(|_| {}).next(&job, &broke)), ("no_credit noted".to_owned(), Some(A)));
    let late = Job { state_at: ago(16), ..job.clone() };
    assert_eq!(shown(&alertalk(|_| {}).next(&late, &context(&[]))), ("too_old noted".to_owned(), Some(A)));
    let calls = [call(FIRST, ago(10)), call(SECOND, ago(10))];
    assert_eq!(shown(&alertalk(|_| {}).next(&job, &context(&calls))), ("cooldown noted".to_owned(), Some(A)));
}

#[test]
fn the_cooldown_is_counted_from_the_call_that_began_it() {
    let job = about(vec![alert("A", "critical", true), alert("B", "critical", true)], Some(A_59_MINUTES_AGO));
    let calls = [call(FIRST, ago(59)), call(SECOND, ago(59))];
    let told = r#"{"handled":["a","b"],"at":"2026-01-31T11:01:00Z"}"#;
    let step = alertalk(|_| {}).next(&job, &context(&calls));
    assert_eq!(shown(&step), ("cooldown noted".to_owned(), Some(told)));
}

#[test]
fn some_may_be_called_although_others_may_not() {
    let job = about(vec![alert("A", "critical", true)], None);
    let calls = [call(SECOND, ago(10))];
    let step = alertalk(|_| {}).next(&job, &context(&calls));
    assert_eq!(shown(&step).0, "call 5321234567 cooldown");
    let Step::Send(request) = step else { panic!("{step:?}") };
    assert_eq!(alertalk(|_| {}).left_out(&request), Some("cooldown"));
}

fn watchdog_silent() -> Notice {
    Notice::WatchdogSilent { last_heard_at: None, silent_seconds: 600 }
}

fn unusable() -> Notice {
    Notice::Unusable { destination: "discord/ops".to_owned(), why: "status 404 Not Found".to_owned() }
}

#[test]
fn some_notices_are_worth_a_call() {
    let destination = || "discord/ops".to_owned();
    for (notice, expected) in [
        (watchdog_silent(), BOTH),
        (unusable(), BOTH),
        (Notice::WatchdogBack { silent_seconds: 600 }, "done"),
        (Notice::NoCredit { destination: destination() }, "done"),
        (
            Notice::CallSuppressed { destination: destination(), reason: "cap".to_owned(), group: "A".to_owned() },
            "done",
        ),
        (
            Notice::GivenUp {
                destination: destination(),
                reason: "too_old".to_owned(),
                group: "A".to_owned(),
                why: String::new(),
            },
            "done",
        ),
    ] {
        let job = job(Content::Notice(notice), None);
        assert_eq!(shown(&alertalk(|_| {}).next(&job, &context(&[]))), (expected.to_owned(), None), "{job:?}");
    }
}

#[test]
fn a_notice_keeps_the_rules_of_calls() {
    let job = job(Content::Notice(watchdog_silent()), None);
    let night = |settings: &mut Settings| settings.quiet_hours = QuietHours::parse("11:00-13:00").ok();
    assert_eq!(shown(&alertalk(night).next(&job, &context(&[]))), ("quiet_hours noted".to_owned(), None));
    let calls = [FIRST, SECOND].map(|number| PastCall {
        subject: "watchdog_silent".to_owned(),
        number: number.to_owned(),
        at: ago(59),
    });
    assert_eq!(shown(&alertalk(|_| {}).next(&job, &context(&calls))), ("cooldown noted".to_owned(), None));
}

#[test]
fn an_escalation_is_called_for_once_and_changes_nothing_else() {
    let escalation = |alerts, told| job(Content::Escalation(Box::new(group(alerts))), told);
    let firing = || vec![alert("A", "warning", true)];
    let long_ago = r#"{"handled":["a"],"at":"2026-01-31T12:00:00Z","escalated_at":"2026-01-31T11:00:00Z"}"#;
    let lately = r#"{"handled":["a"],"at":"2026-01-31T12:00:00Z","escalated_at":"2026-01-31T11:00:01Z"}"#;
    for (job, expected) in [
        (escalation(firing(), None), (BOTH, None)),
        (escalation(firing(), Some(A)), (BOTH, None)),
        (escalation(firing(), Some(long_ago)), (BOTH, None)),
        (escalation(firing(), Some(lately)), ("done", Some(lately))),
        (escalation(vec![alert("A", "critical", false)], Some(A)), ("resolved_first", Some(A))),
        (escalation(vec![alert("A", "critical", false)], None), ("resolved_first", None)),
    ] {
        let step = alertalk(|_| {}).next(&job, &context(&[]));
        let (what, told) = shown(&step);
        assert_eq!((what.as_str(), told), expected, "{job:?}");
    }
    let night = |settings: &mut Settings| settings.quiet_hours = QuietHours::parse("11:00-13:00").ok();
    let step = alertalk(night).next(&escalation(firing(), Some(A)), &context(&[]));
    let told = r#"{"handled":["a"],"at":"2026-01-31T12:00:00Z","escalated_at":"2026-01-31T12:00:00Z"}"#;
    assert_eq!(shown(&step), ("quiet_hours noted".to_owned(), Some(told)));
}

#[test]
fn the_call_is_about_the_gravest_and_the_newest() {
    let alertalk = alertalk(|settings| settings.min_severity = Rank::Info);
    let alerts = vec![
        alert("Minor", "info", true),
        alert("A", "critical", true),
        alert("NewOne", "critical", true),
        alert("NewTwo", "critical", true),
        alert("Resolved", "critical", false),
    ];
    for (told, expected) in
        [(None, "Kritik alarm: A, ve 3 tane daha."), (Some(A), "Kritik alarm: New One, ve 3 tane daha.")]
    {
        let Step::Send(request) = alertalk.next(&about(alerts.clone(), told), &context(&[])) else {
            panic!("{told:?}")
        };
        assert_eq!(request.text(), expected);
    }
}

#[test]
fn a_huge_group_takes_no_time() {
    let alertalk = alertalk(|_| {});
    let mut state = group((0..10_000).map(|number| alert(&format!("N{number}"), "critical", true)).collect());
    state.truncated = 7;
    let mut job = job(Content::Group(Box::new(state)), None);
    let Step::Send(request) = alertalk.next(&job, &context(&[])) else { panic!("{job:?}") };
    assert_eq!(request.text(), "Kritik alarm: N0, ve 10006 tane daha.");
    job.told = alertalk.told(&job, &request, &Receipt::default(), now());
    assert_eq!(shown(&alertalk.next(&job, &context(&[]))).0, "done");
}

#[test]
fn a_fingerprint_tells_accounts_apart_and_tells_nothing_of_the_key() {
    let one = settings(&[FIRST]);
    let fingerprint = one.fingerprint();
    assert!(fingerprint.len() == 24 && fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit()), "{fingerprint}");
    let changed = |change: fn(&mut Settings)| {
        let mut other = settings(&[FIRST]);
        change(&mut other);
        other.fingerprint()
    };
    assert_eq!(changed(|other| other.cooldown = Duration::ZERO), fingerprint);
    assert_eq!(changed(|other| other.phone_numbers.clear()), fingerprint);
    assert_ne!(changed(|other| other.webhook_key = SecretString::from("hunter3")), fingerprint);
    assert_ne!(changed(|other| other.url.push('x')), fingerprint);
}

#[test]
fn neither_key_nor_numbers_show_themselves() {
    let alertalk = alertalk(|_| {});
    let step = alertalk.next(&about(vec![alert("A", "critical", true)], None), &context(&[]));
    for shown in [format!("{alertalk:?}"), format!("{step:?}"), format!("{:?}", alertalk.settings)] {
        assert!(!shown.contains("53212345") && !shown.contains("hunter2"), "{shown}");
    }
}

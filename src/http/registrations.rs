//! Reads the body of `POST /api/v1/tasks`: all of it is good, or nothing is taken.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::config::Config;
use crate::domain::captcha;
use crate::domain::error_code;
use crate::domain::task::{Registration, TaskId};
use crate::domain::time::{elapsed, from_unix_seconds, parse_timestamp};

/// Tasks in one request at most.
pub(super) const MAX_TASKS: usize = 1000;

/// How far a client's clock may be ahead.
const MAX_AHEAD: Duration = Duration::from_hours(1);

const MAX_WORKER_CHARACTERS: usize = 128;

/// Characters of a value that an error message repeats at most.
const MAX_SHOWN: usize = 80;

/// What a request reports.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    /// Submitted tasks.
    pub(super) registrations: Vec<Registration>,
    /// Submissions that CaptchaAI refused: the account and the label of the error code.
    pub(super) refused: Vec<(Arc<str>, &'static str)>,
}

/// What is wrong with the body, in words for its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault(pub(super) String);

/// Reads one task or an array of them.
pub(super) fn parse_tasks(body: &[u8], config: &Config, now: Timestamp) -> Result<Parsed, Fault> {
    let Items(items) = serde_json::from_slice(body).map_err(|error| Fault(error.to_string()))?;
    let mut parsed = Parsed::default();
    for (index, item) in items.into_iter().enumerate() {
        let at = |what: String| Fault(format!("task {index}: {what}"));
        if !item.get().starts_with('{') {
            return Err(at(format!("expected an object, got {}", shown(item))));
        }
        let task: Wire<'_> = serde_json::from_str(item.get()).map_err(|error| at(without_place(&error)))?;
        let account = account(task.account, config).map_err(at)?;
        match refusal(task.error).map_err(at)? {
            Some(code) => parsed.refused.push((account, code)),
            None => parsed.registrations.push(registration(&task, account, config, now).map_err(at)?),
        }
    }
    Ok(parsed)
}

/// One task as it is sent. Unknown keys are skipped; null is as good as absent.
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    account: Option<&'a RawValue>,
    #[serde(borrow)]
    captcha: Option<&'a RawValue>,
    #[serde(borrow)]
    submitted_at: Option<&'a RawValue>,
    #[serde(borrow)]
    worker: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

fn account(value: Option<&RawValue>, config: &Config) -> Result<Arc<str>, String> {
    let Some(value) = value else {
        return match config.accounts.as_slice() {
            [only] => Ok(Arc::clone(&only.name)),
            accounts => Err(format!("account: expected one, because {} are configured", accounts.len())),
        };
    };
    let name = text(value).unwrap_or_default();
    let known = config.accounts.iter().find(|account| *account.name == *name);
    known.map(|account| Arc::clone(&account.name)).ok_or_else(|| format!("account: {} is not configured", shown(value)))
}

fn refusal(value: Option<&RawValue>) -> Result<Option<&'static str>, String> {
    let Some(value) = value else { return Ok(None) };
    let code = text(value).ok_or_else(|| format!("error: expected a code in a string, got {}", shown(value)))?;
    Ok((!code.is_empty()).then(|| error_code::label(&code)))
}

fn registration(task: &Wire<'_>, account: Arc<str>, config: &Config, now: Timestamp) -> Result<Registration, String> {
    let captcha = task.captcha.and_then(text);
    Ok(Registration {
        id: id(task.id)?,
        account,
        captcha: captcha.as_deref().map_or(captcha::OTHER, |name| config.captchas.label(name)).into(),
        submitted_at: submitted_at(task.submitted_at, now)?,
        worker: worker(task.worker)?,
    })
}

fn id(value: Option<&RawValue>) -> Result<TaskId, String> {
    const EXPECTED: &str = "id: expected 1 to 64 of A-Z a-z 0-9 _ -";
    let value = value.ok_or_else(|| format!("{EXPECTED}, got none"))?;
    let is_integer = value.get().bytes().all(|byte| byte.is_ascii_digit());
    let id = if is_integer { Some(Cow::Borrowed(value.get())) } else { text(value) };
    id.and_then(|id| TaskId::parse(&id)).ok_or_else(|| format!("{EXPECTED}, got {}", shown(value)))
}

fn submitted_at(value: Option<&RawValue>, now: Timestamp) -> Result<Timestamp, String> {
    let Some(value) = value else { return Ok(now) };
    let unreadable = || Err(format!("expected RFC 3339 or Unix seconds, got {}", shown(value)));
    let time = match (text(value), value.get().parse()) {
        // No time is that long, and the message of the parser would repeat all of it.
        (Some(_), _) if value.get().len() > MAX_SHOWN => unreadable(),
        (Some(text), _) => parse_timestamp(&text),
        (None, Ok(seconds)) => from_unix_seconds(seconds),
        (None, Err(_)) => unreadable(),
    };
    let time = time.map_err(|error| format!("submitted_at: {error}"))?;
    if elapsed(now, time) > MAX_AHEAD {
        return Err(format!("submitted_at: {} is more than an hour in the future", shown(value)));
    }
    Ok(time)
}

fn worker(value: Option<&RawValue>) -> Result<Option<Box<str>>, String> {
    let Some(value) = value else { return Ok(None) };
    let name = text_or_number(value).ok_or_else(|| format!("worker: expected a string, got {}", shown(value)))?;
    if name.chars().count() > MAX_WORKER_CHARACTERS {
        return Err(format!("worker: longer than {MAX_WORKER_CHARACTERS} characters"));
    }
    Ok((!name.is_empty()).then(|| name.into()))
}

/// The text of a JSON string.
fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    let raw = value.get();
    // Most strings have nothing escaped in them.
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(raw).ok() } else { Some(Cow::Borrowed(inner)) }
}

/// The text of a JSON string, or a number as it is written.
fn text_or_number(value: &RawValue) -> Option<Cow<'_, str>> {
    let is_number = value.get().starts_with(|first: char| first == '-' || first.is_ascii_digit());
    if is_number { Some(Cow::Borrowed(value.get())) } else { text(value) }
}

/// A value in an error message, shortened.
fn shown(value: &RawValue) -> impl Display {
    let raw = value.get();
    let start: String = raw.chars().take(MAX_SHOWN).collect();
    if start.len() < raw.len() { start + "…" } else { start }
}

/// The message of an error inside of one task. Its line and column would be those within the task.
fn without_place(error: &serde_json::Error) -> String {
    let message = error.to_string();
    message.split_once(" at line ").map_or(message.clone(), |(what, _)| what.to_owned())
}

/// The tasks as they were sent, at most `MAX_TASKS`, so that a body takes no more memory than itself.
struct Items<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Items<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        match raw.get().bytes().next() {
            Some(b'{') => Ok(Self(vec![raw])),
            Some(b'[') => serde_json::Deserializer::from_str(raw.get())
                .deserialize_seq(ItemsVisitor)
                .map_err(|error| de::Error::custom(without_place(&error))),
            _ => Err(de::Error::custom("expected an object or an array of objects")),
        }
    }
}

struct ItemsVisitor;

impl<'de> Visitor<'de> for ItemsVisitor {
    type Value = Items<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Items<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            if items.len() == MAX_TASKS {
                return Err(de::Error::custom(format!("more than {MAX_TASKS} tasks in one request")));
            }
            items.push(item);
        }
        Ok(Items(items))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::{account, config, now};

    fn parse(body: &str) -> Result<Parsed, String> {
        parse_tasks(body.as_bytes(), &config(), now()).map_err(|Fault(fault)| fault)
    }

    fn one(body: &str) -> Registration {
        let parsed = parse(body).unwrap();
        assert_eq!((parsed.registrations.len(), parsed.refused.len()), (1, 0), "{body}");
        parsed.registrations.into_iter().next().unwrap()
    }

    #[test]
    fn one_task_or_several() {
        for (body, ids) in [
            (r#"{"id":"a"}"#, vec!["a"]),
            (r#" [ {"id":"a"} , {"id":7} ] "#, vec!["a", "7"]),
            (r#"[{"id":"\u0061","more":{"nested":[1]},"status":null}]"#, vec!["a"]),
            ("[]", vec![]),
        ] {
            let parsed = parse(body).unwrap();
            let found: Vec<_> = parsed.registrations.iter().map(|registration| registration.id.as_str()).collect();
            assert_eq!(found, ids, "{body}");
        }
    }

    #[test]
    fn what_is_left_out_has_a_meaning() {
        let expected = Registration {
            id: TaskId::parse("1").unwrap(),
            account: "main".into(),
            captcha: "other".into(),
            submitted_at: now(),
            worker: None,
        };
        for body in [
            r#"{"id":1}"#,
            r#"{"id":"1","account":"main","captcha":"other","worker":""}"#,
            r#"{"id":"1","account":null,"captcha":null,"submitted_at":null,"worker":null,"error":null}"#,
            r#"{"id":"1","captcha":"never heard of","error":""}"#,
            r#"{"id":"1","captcha":["turnstile"]}"#,
            r#"{"id":"1","submitted_at":"2026-01-31T08:30:00Z"}"#,
        ] {
            assert_eq!(one(body), expected, "{body}");
        }
        let full = one(r#"{"id":"1","captcha":"bls","submitted_at":1769848100.25,"worker":17}"#);
        assert_eq!((&*full.captcha, full.worker.as_deref()), ("bls", Some("17")));
        assert_eq!(full.submitted_at.as_millisecond(), 1_769_848_100_250);
        let longest = "é".repeat(MAX_WORKER_CHARACTERS);
        assert_eq!(one(&format!(r#"{{"id":"1","worker":"{longest}"}}"#)).worker.as_deref(), Some(&*longest));
    }

    #[test]
    fn times_are_read_in_every_form_and_may_be_an_hour_ahead() {
        for (value, second) in [
            ("1769848200", 0),
            ("\"1769848200\"", 0),
            ("1.7698482e9", 0),
            ("\"2026-01-31T10:30:00+02:00\"", 0),
            ("1769851800", 3600),
        ] {
            let task = one(&format!(r#"{{"id":1,"submitted_at":{value}}}"#));
            assert_eq!(task.submitted_at.as_second() - now().as_second(), second, "{value}");
        }
    }

    #[test]
    fn faults_name_the_task_and_the_field() {
        const ID: &str = "id: expected 1 to 64 of A-Z a-z 0-9 _ -, got ";
        for (task, fault) in [
            (r#"{"id":"a b"}"#, format!("{ID}\"a b\"")),
            (r#"{"id":""}"#, format!("{ID}\"\"")),
            (r#"{"id":1.5}"#, format!("{ID}1.5")),
            (r#"{"id":-1}"#, format!("{ID}-1")),
            (r#"{"id":true}"#, format!("{ID}true")),
            (r#"{"id":null}"#, format!("{ID}none")),
            ("{}", format!("{ID}none")),
            (&format!(r#"{{"id":"{}"}}"#, "1".repeat(99)), format!("{ID}\"{}…", "1".repeat(79))),
            (r#"{"id":1,"account":"other"}"#, "account: \"other\" is not configured".to_owned()),
            (r#"{"id":1,"account":7}"#, "account: 7 is not configured".to_owned()),
            (r#"{"id":1,"worker":[]}"#, "worker: expected a string, got []".to_owned()),
            (&format!(r#"{{"id":1,"worker":"{}"}}"#, "w".repeat(129)), "worker: longer than 128 characters".to_owned()),
            (r#"{"error":7}"#, "error: expected a code in a string, got 7".to_owned()),
            (r#"{"error":"ERROR_UPLOAD","account":"x"}"#, "account: \"x\" is not configured".to_owned()),
            (
                r#"{"id":1,"submitted_at":"soon"}"#,
                "submitted_at: \"soon\" is neither RFC 3339 (2026-01-31T08:30:00Z) nor Unix seconds".to_owned(),
            ),
            (
                &format!(r#"{{"id":1,"submitted_at":"{}"}}"#, "1".repeat(99)),
                format!("submitted_at: expected RFC 3339 or Unix seconds, got \"{}…", "1".repeat(79)),
            ),
            (
                r#"{"id":1,"submitted_at":1769848200000}"#,
                "submitted_at: 1769848200000 is no time in Unix seconds; are these milliseconds?".to_owned(),
            ),
            (r#"{"id":1,"submitted_at":{}}"#, "submitted_at: expected RFC 3339 or Unix seconds, got {}".to_owned()),
            (
                r#"{"id":1,"submitted_at":1769851801}"#,
                "submitted_at: 1769851801 is more than an hour in the future".to_owned(),
            ),
            (r#"{"id":1,"id":2}"#, "duplicate field `id`".to_owned()),
            ("7", "expected an object, got 7".to_owned()),
            ("[]", "expected an object, got []".to_owned()),
        ] {
            let body = format!(r#"[{{"id":1}}, {task}, {{"id":"never looked at"}}]"#);
            assert_eq!(parse(&body), Err(format!("task 1: {fault}")), "{task}");
        }
    }

    #[test]
    fn faults_of_the_whole_body_say_where() {
        for (body, fault) in [
            ("", "EOF while parsing a value at line 1 column 0"),
            ("7", "expected an object or an array of objects"),
            ("[{\"id\":1},\n{\"id\" 2}]", "expected `:` at line 2 column 7"),
            ("{\"id\":1}{\"id\":2}", "trailing characters at line 1 column 9"),
        ] {
            assert_eq!(parse(body), Err(fault.to_owned()), "{body}");
        }
    }

    #[test]
    fn a_thousand_are_taken_and_no_more() {
        let body = |count| format!("[{}]", vec![r#"{"id":1}"#; count].join(","));
        assert_eq!(parse(&body(MAX_TASKS)).unwrap().registrations.len(), MAX_TASKS);
        assert_eq!(parse(&body(MAX_TASKS + 1)), Err("more than 1000 tasks in one request".to_owned()));
    }

    #[test]
    fn refused_submissions_are_told_apart_by_their_code() {
        let body =
            r#"[{"error":"ERROR_ZERO_BALANCE"},{"id":1},{"error":"ERROR_NEW: no idea","id":null,"account":"main"}]"#;
        let parsed = parse(body).unwrap();
        assert_eq!(parsed.registrations.len(), 1);
        assert_eq!(parsed.refused, [("main".into(), "ERROR_ZERO_BALANCE"), ("main".into(), "other")]);
    }

    #[test]
    fn the_account_may_be_left_out_only_where_there_is_one() {
        let mut two = config();
        two.accounts.push(account("second"));
        let parse = |body: &str| parse_tasks(body.as_bytes(), &two, now());
        let fault = "task 0: account: expected one, because 2 are configured";
        assert_eq!(parse(r#"{"id":1}"#), Err(Fault(fault.to_owned())));
        assert_eq!(parse(r#"{"error":"ERROR_UPLOAD"}"#), Err(Fault(fault.to_owned())));
        assert_eq!(&*parse(r#"{"id":1,"account":"second"}"#).unwrap().registrations[0].account, "second");
    }
}

//! A captcha-solving task from registration to result, and what each message means for it.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error_code;

/// The longest solution that is kept, in bytes. Real ones are tokens of up to about 2 kB.
pub const MAX_CODE_BYTES: usize = 16 * 1024;

/// CaptchaAI's id of a task: 1 to 64 of `A-Z a-z 0-9 _ -`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(Box<str>);

impl TaskId {
    /// Reads an id; `None` when it has another form.
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let valid = (1..=64).contains(&text.len()) && text.bytes().all(allowed);
        valid.then(|| Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a task ended. The solution is worth money, so it does not print itself.
#[derive(Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The solution.
    Solved(Box<str>),
    /// CaptchaAI's error code, as it was sent.
    Failed(Box<str>),
}

impl Outcome {
    /// What a pingback's `code` means.
    pub fn from_code(code: &str) -> Self {
        if error_code::is_failure(code) { Self::Failed(code.into()) } else { Self::Solved(code.into()) }
    }

    /// The solution, if there is one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Solved(code) => Some(code),
            Self::Failed(_) => None,
        }
    }

    /// The error code, if it failed.
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Solved(_) => None,
            Self::Failed(error) => Some(error),
        }
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Solved(_) => f.write_str("Solved(…)"),
            Self::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
        }
    }
}

/// Who brought a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// CaptchaAI called us.
    Pingback,
    /// We asked, or gave up asking.
    Poll,
}

impl Source {
    /// As it stands in the API and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pingback => "pingback",
            Self::Poll => "poll",
        }
    }

    /// Reads what `as_str` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pingback, Self::Poll].into_iter().find(|source| source.as_str() == text)
    }
}

/// The end of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finish {
    /// Solved or failed.
    pub outcome: Outcome,
    /// When we learned of it.
    pub at: Timestamp,
    /// From whom.
    pub source: Source,
}

/// A task as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// CaptchaAI's id.
    pub id: TaskId,
    /// The account, when it is known: a pingback need not say it.
    pub account: Option<Arc<str>>,
    /// The kind of captcha, already a label value.
    pub captcha: Arc<str>,
    /// When it was submitted to CaptchaAI, by the client's word.
    pub submitted_at: Option<Timestamp>,
    /// Whether a client registered it; if not, it is here because its pingback came first.
    pub registered: bool,
    /// Its end, once it came.
    pub finish: Option<Finish>,
    /// An end that a pingback brought and that the API has to confirm, since nobody registered the task.
    pub claim: Option<Finish>,
}

/// The end of a task, as subscribers are told of it. The solution is worth money, so it does not print
/// itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskResult {
    /// CaptchaAI's id.
    pub id: String,
    /// The account, when it is known.
    pub account: Option<String>,
    /// The kind of captcha.
    pub captcha: String,
    /// The solution, if there is one.
    pub code: Option<String>,
    /// The error code, if it failed.
    pub error: Option<String>,
    /// When it was submitted, in Unix milliseconds.
    pub submitted_at: Option<i64>,
    /// When its end was learned of, in Unix milliseconds.
    pub received_at: Option<i64>,
}

impl fmt::Debug for TaskResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskResult").field("id", &self.id).field("error", &self.error).finish_non_exhaustive()
    }
}

/// A task that a client submitted and tells us about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// CaptchaAI's id.
    pub id: TaskId,
    /// One of the configured accounts.
    pub account: Arc<str>,
    /// The kind of captcha, already a label value.
    pub captcha: Arc<str>,
    /// When it was submitted to CaptchaAI.
    pub submitted_at: Timestamp,
    /// Who submitted it, if the client says.
    pub worker: Option<Box<str>>,
}

/// A result that CaptchaAI sent, with what its URL said about the task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pingback {
    /// CaptchaAI's id.
    pub id: TaskId,
    /// Solved or failed.
    pub outcome: Outcome,
    /// When we received it.
    pub received_at: Timestamp,
    /// The account that the URL names, or the only one there is.
    pub account: Option<Arc<str>>,
    /// The kind that the URL names, already a label value.
    pub captcha: Arc<str>,
    /// The time of submission that the URL names.
    pub submitted_at: Option<Timestamp>,
    /// Whether it has to be confirmed by the API if nobody registered its task.
    pub verify: bool,
}

/// What a result means for what is stored under its id. The first writer wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultDecision {
    /// Nothing is known of the task: keep the result until somebody registers it.
    KeepEarly,
    /// Nothing is known of the task: keep the result until the API confirms it, or somebody registers it.
    KeepUnconfirmed,
    /// The task was waiting for it.
    Finish,
    /// The same result again.
    Duplicate,
    /// Another result for a task that has ended: the first one stays.
    Conflict,
}

/// Decides on a pingback's result. `verify` says whether one for a task that nobody registered needs to be
/// confirmed.
pub fn decide_result(stored: Option<&Task>, outcome: &Outcome, verify: bool) -> ResultDecision {
    let Some(task) = stored else {
        return if verify { ResultDecision::KeepUnconfirmed } else { ResultDecision::KeepEarly };
    };
    match task.finish.as_ref().or(task.claim.as_ref()) {
        None => ResultDecision::Finish,
        Some(known) if known.outcome == *outcome => ResultDecision::Duplicate,
        Some(_) => ResultDecision::Conflict,
    }
}

/// What the API's answer means for a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollDecision {
    /// The task was waiting for it.
    Finish,
    /// It is what the pingback said: the task ends by that pingback.
    Confirm,
    /// It is not what the pingback said, which was made up; the task ends by the API's word.
    Contradict,
    /// There is no such task: the pingback was made up.
    Forged,
    /// The task has ended in the meantime.
    Late,
}

/// Decides on what the API said: an outcome, or nothing at all until the task was given up.
pub fn decide_poll(stored: Option<&Task>, outcome: &Outcome) -> PollDecision {
    let Some(task) = stored else { return PollDecision::Late };
    match (&task.finish, &task.claim) {
        (Some(_), _) => PollDecision::Late,
        (None, None) => PollDecision::Finish,
        (None, Some(claim)) if claim.outcome == *outcome => PollDecision::Confirm,
        (None, Some(_)) if outcome.error().is_some_and(says_nothing) => PollDecision::Forged,
        (None, Some(_)) => PollDecision::Contradict,
    }
}

/// Whether nobody knows of a task: there is none, or nobody said so in time.
fn says_nothing(code: &str) -> bool {
    code == error_code::TIMEOUT || error_code::is_unknown_task(code)
}

/// What a registration means for what is stored under its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistrationDecision {
    /// A new task that waits for its result.
    Insert,
    /// Its pingback was faster: join the two.
    Join,
    /// Registered before: a client's retry.
    AlreadyKnown,
}

/// Decides on a registration.
pub fn decide_registration(stored: Option<&Task>) -> RegistrationDecision {
    match stored {
        None => RegistrationDecision::Insert,
        Some(task) if task.registered => RegistrationDecision::AlreadyKnown,
        Some(_) => RegistrationDecision::Join,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(registered: bool, outcome: Option<&str>) -> Task {
        Task {
            id: TaskId("1".into()),
            account: None,
            captcha: "other".into(),
            submitted_at: None,
            registered,
            finish: outcome.map(finish),
            claim: None,
        }
    }

    fn finish(code: &str) -> Finish {
        Finish { outcome: Outcome::from_code(code), at: Timestamp::UNIX_EPOCH, source: Source::Pingback }
    }

    fn unconfirmed(code: &str) -> Task {
        Task { claim: Some(finish(code)), ..task(false, None) }
    }

    #[test]
    fn ids_have_the_form_that_captchaai_uses() {
        let long = "a".repeat(64);
        let too_long = "a".repeat(65);
        for (text, valid) in [
            ("2122988149", true),
            ("a-B_9", true),
            (long.as_str(), true),
            (too_long.as_str(), false),
            ("", false),
            ("a b", false),
            ("a/b", false),
            ("é", false),
            ("1\n", false),
        ] {
            assert_eq!(TaskId::parse(text).is_some(), valid, "{text:?}");
        }
    }

    #[test]
    fn the_first_result_wins() {
        use ResultDecision::{Conflict, Duplicate, Finish, KeepEarly};
        for (stored, code, expected) in [
            (None, "A", KeepEarly),
            (Some(task(true, None)), "A", Finish),
            (Some(task(true, Some("A"))), "A", Duplicate),
            (Some(task(false, Some("A"))), "A", Duplicate),
            (Some(task(true, Some("A"))), "B", Conflict),
            (Some(task(true, Some("A"))), "ERROR_CAPTCHA_UNSOLVABLE", Conflict),
            (Some(task(true, Some("ERROR_CAPTCHA_UNSOLVABLE"))), "ERROR_CAPTCHA_UNSOLVABLE", Duplicate),
            (Some(task(true, Some("ERROR_CAPTCHA_UNSOLVABLE"))), "A", Conflict),
        ] {
            let outcome = Outcome::from_code(code);
            assert_eq!(decide_result(stored.as_ref(), &outcome, false), expected, "{stored:?} {code}");
            // Only what is not known at all has to be confirmed.
            let expected = if expected == KeepEarly { ResultDecision::KeepUnconfirmed } else { expected };
            assert_eq!(decide_result(stored.as_ref(), &outcome, true), expected, "{stored:?} {code}");
        }
        for (code, expected) in [("A", Duplicate), ("B", Conflict)] {
            assert_eq!(decide_result(Some(&unconfirmed("A")), &Outcome::from_code(code), true), expected, "{code}");
        }
    }

    #[test]
    fn the_api_confirms_or_contradicts_what_nobody_registered() {
        use PollDecision::{Confirm, Contradict, Finish, Forged, Late};
        for (stored, code, expected) in [
            (None, "A", Late),
            (Some(task(true, None)), "A", Finish),
            (Some(task(true, None)), "ERROR_CAPTCHA_UNSOLVABLE", Finish),
            (Some(task(true, Some("A"))), "A", Late),
            (Some(unconfirmed("A")), "A", Confirm),
            (Some(unconfirmed("A")), "B", Contradict),
            (Some(unconfirmed("A")), "ERROR_WRONG_CAPTCHA_ID", Forged),
            // The task is real, and failed.
            (Some(unconfirmed("A")), "ERROR_CAPTCHA_UNSOLVABLE", Contradict),
            (Some(unconfirmed("ERROR_CAPTCHA_UNSOLVABLE")), "ERROR_CAPTCHA_UNSOLVABLE", Confirm),
            (Some(unconfirmed("ERROR_CAPTCHA_UNSOLVABLE")), "B", Contradict),
        ] {
            assert_eq!(decide_poll(stored.as_ref(), &Outcome::from_code(code)), expected, "{stored:?} {code}");
        }
        let given_up = Outcome::Failed(error_code::TIMEOUT.into());
        assert_eq!(decide_poll(Some(&unconfirmed("A")), &given_up), Forged);
    }

    #[test]
    fn a_registration_joins_an_early_pingback_once() {
        use RegistrationDecision::{AlreadyKnown, Insert, Join};
        for (stored, expected) in [
            (None, Insert),
            (Some(task(false, Some("A"))), Join),
            (Some(task(true, Some("A"))), AlreadyKnown),
            (Some(task(true, None)), AlreadyKnown),
        ] {
            assert_eq!(decide_registration(stored.as_ref()), expected, "{stored:?}");
        }
    }

    #[test]
    fn a_solution_does_not_print_itself() {
        assert_eq!(format!("{:?}", Outcome::from_code("03AGdBq25")), "Solved(…)");
    }
}

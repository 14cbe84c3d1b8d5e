//! A captcha-solving task from registration to result, and what each message means for it.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

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
}

/// What a result means for what is stored under its id. The first writer wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultDecision {
    /// Nothing is known of the task: keep the result until somebody registers it.
    KeepEarly,
    /// The task was waiting for it.
    Finish,
    /// The same result again.
    Duplicate,
    /// Another result for a task that has ended: the first one stays.
    Conflict,
}

/// Decides on a result.
pub fn decide_result(stored: Option<&Task>, outcome: &Outcome) -> ResultDecision {
    match stored.map(|task| &task.finish) {
        None => ResultDecision::KeepEarly,
        Some(None) => ResultDecision::Finish,
        Some(Some(finish)) if finish.outcome == *outcome => ResultDecision::Duplicate,
        Some(Some(_)) => ResultDecision::Conflict,
    }
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
            finish: outcome.map(|code| Finish {
                outcome: Outcome::from_code(code),
                at: Timestamp::UNIX_EPOCH,
                source: Source::Pingback,
            }),
        }
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
            assert_eq!(decide_result(stored.as_ref(), &Outcome::from_code(code)), expected, "{stored:?} {code}");
        }
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

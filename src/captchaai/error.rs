//! Why CaptchaAI's API gave no usable answer.

use crate::domain::error_code::{self, ErrorClass};

/// Why a request failed, by what the caller does next. Its text holds neither a URL nor the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// CaptchaAI answered with this error code: its class says who has to act.
    #[error("CaptchaAI answered {0}")]
    Refused(Box<str>),
    /// Another status than success, and no error code with it: ask again later.
    #[error("CaptchaAI answered with HTTP status {0}")]
    Http(u16),
    /// No whole answer in time: ask again later.
    #[error("CaptchaAI did not answer in time")]
    Timeout,
    /// No connection, or it broke: ask again later.
    #[error("no connection to CaptchaAI: {0}")]
    Connect(Box<str>),
    /// An answer that makes no sense, and why: ask again later.
    #[error("CaptchaAI's answer makes no sense: {0}")]
    Malformed(&'static str),
}

/// Every value of the `reason` label: the classes of codes that CaptchaAI answers, and our own.
pub const REASONS: [&str; 11] =
    ["auth", "funds", "capacity", "request", "unsolvable", "upstream", "other", HTTP, TIMEOUT, CONNECT, MALFORMED];

const HTTP: &str = "http";
const TIMEOUT: &str = "timeout";
const CONNECT: &str = "connect";
const MALFORMED: &str = "malformed";

impl ApiError {
    /// The value of the `reason` label, one of `REASONS`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Refused(code) => answered_class(code).as_str(),
            Self::Http(_) => HTTP,
            Self::Timeout => TIMEOUT,
            Self::Connect(_) => CONNECT,
            Self::Malformed(_) => MALFORMED,
        }
    }

    /// Whether the service fails or is asked too much, so that it should be asked less.
    pub fn slows_down(&self) -> bool {
        match self {
            Self::Refused(code) => matches!(answered_class(code), ErrorClass::Capacity | ErrorClass::Upstream),
            Self::Http(status) => *status >= 500 || *status == 429,
            Self::Timeout | Self::Connect(_) => true,
            Self::Malformed(_) => false,
        }
    }

    /// Whether the key or our address is refused, so that asking again makes it worse.
    pub fn is_auth(&self) -> bool {
        matches!(self, Self::Refused(code) if answered_class(code) == ErrorClass::Auth)
    }
}

/// A code that only this program gives is none of CaptchaAI's.
fn answered_class(code: &str) -> ErrorClass {
    match error_code::class(code) {
        ErrorClass::Ours => ErrorClass::Other,
        class => class,
    }
}

/// The name at the beginning of an error code, which is all that is needed of it and all that is sure
/// to hold no key, however much of one the answer repeats.
pub(super) fn code_name(code: &str, key: &str) -> Box<str> {
    const LONGEST: usize = 40;
    let name: String = code.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').take(LONGEST).collect();
    let is_part_of_key = !name.is_empty() && key.to_ascii_uppercase().contains(&name);
    if is_part_of_key || name.is_empty() { "an unknown code".into() } else { name.into() }
}

/// Foreign text as it may be shown: one short line without the key.
pub(super) fn presentable(text: &str, key: &str) -> Box<str> {
    const LONGEST: usize = 80;
    let text = if key.is_empty() { text.to_owned() } else { text.replace(key, "[key]") };
    let line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = line.clone().take(LONGEST).collect();
    if line.count() > LONGEST {
        short.push('…');
    }
    short.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_one_of_the_closed_set() {
        let refused = |code: &str| ApiError::Refused(code.into());
        for (error, reason) in [
            (refused("ERROR_WRONG_USER_KEY"), "auth"),
            (refused("ERROR_ZERO_BALANCE"), "funds"),
            (refused("ERROR_TOO_MUCH_REQUESTS"), "capacity"),
            (refused("ERROR_BAD_PARAMETERS"), "request"),
            (refused("ERROR_CAPTCHA_UNSOLVABLE"), "unsolvable"),
            (refused("ERROR_SERVER_ERROR"), "upstream"),
            (refused("ERROR_NEVER_HEARD_OF"), "other"),
            (refused("CAPCHA_NOT_READY"), "other"),
            (refused("TIMEOUT"), "other"),
            (ApiError::Http(502), "http"),
            (ApiError::Timeout, "timeout"),
            (ApiError::Connect("refused".into()), "connect"),
            (ApiError::Malformed("empty"), "malformed"),
        ] {
            assert_eq!(error.reason(), reason, "{error}");
            assert!(REASONS.contains(&reason), "{reason}");
            assert_eq!(error.is_auth(), reason == "auth", "{error}");
        }
    }

    #[test]
    fn every_class_that_can_be_answered_is_a_reason() {
        let own = [HTTP, TIMEOUT, CONNECT, MALFORMED];
        let expected: Vec<_> = ErrorClass::ANSWERED.map(ErrorClass::as_str).into_iter().chain(own).collect();
        assert_eq!(REASONS.to_vec(), expected);
    }

    #[test]
    fn foreign_text_is_short_and_without_the_key() {
        let long = "é".repeat(100);
        let cut = format!("{}…", "é".repeat(80));
        for (text, key, expected) in [
            ("refused", "abc", "refused"),
            ("key abc is abc", "abc", "key [key] is [key]"),
            ("no key", "", "no key"),
            ("two\r\nlines\u{1b}[1m", "abc", "two  lines [1m"),
            (long.as_str(), "abc", cut.as_str()),
        ] {
            assert_eq!(&*presentable(text, key), expected);
        }
    }

    #[test]
    fn a_code_is_shown_by_its_name_only() {
        const KEY: &str = "abcdefabcdefabcdefabcdefabcdef01";
        let long = "X".repeat(50);
        let cut = "X".repeat(40);
        for (code, expected) in [
            ("ERROR_WRONG_USER_KEY", "ERROR_WRONG_USER_KEY"),
            ("ERROR_BAD_PROXY: 10.0.0.1 refused", "ERROR_BAD_PROXY"),
            ("ABCDEFABCDEFABCDEFABCDEFABCDEF01", "an unknown code"),
            ("ABCDEFABCDEF", "an unknown code"),
            ("\u{202e}ERROR", "an unknown code"),
            ("something else", "an unknown code"),
            (long.as_str(), cut.as_str()),
        ] {
            assert_eq!(&*code_name(code, KEY), expected, "{code}");
        }
    }

    #[test]
    fn a_key_at_the_cut_is_removed_whole() {
        let text = format!("{}SECRETSECRET", "x".repeat(74));
        assert!(!presentable(&text, "SECRETSECRET").contains("SECR"));
    }
}

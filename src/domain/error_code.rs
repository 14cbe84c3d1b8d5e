//! CaptchaAI's error codes, and who has to act on each.

use std::collections::HashMap;

use once_cell::sync::Lazy;

/// Who has to act, and so what the program does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The key or the address is refused: asking again makes it worse.
    Auth,
    /// No money, or no free thread in the plan.
    Funds,
    /// Too many requests or no worker: later.
    Capacity,
    /// The submission was wrong.
    Request,
    /// Nobody could solve it.
    Unsolvable,
    /// CaptchaAI itself failed.
    Upstream,
    /// Given up by this program.
    Ours,
    /// A code that is not in the closed set.
    Other,
}

impl ErrorClass {
    /// The label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Funds => "funds",
            Self::Capacity => "capacity",
            Self::Request => "request",
            Self::Unsolvable => "unsolvable",
            Self::Upstream => "upstream",
            Self::Ours => "ours",
            Self::Other => "other",
        }
    }

    /// The classes that CaptchaAI's API can answer with: all but our own.
    pub const ANSWERED: [Self; 7] =
        [Self::Auth, Self::Funds, Self::Capacity, Self::Request, Self::Unsolvable, Self::Upstream, Self::Other];
}

/// What CaptchaAI says of a task that is still being solved, in its own spelling. It is no error, and no
/// result either.
pub const NOT_READY: &str = "CAPCHA_NOT_READY";

/// The code of a task that never got a result.
pub const TIMEOUT: &str = "TIMEOUT";

/// The label value of every code outside the closed set.
pub const OTHER: &str = "other";

/// The closed set of codes with their classes.
pub const CODES: [(&str, ErrorClass); 30] = [
    ("ERROR_WRONG_USER_KEY", ErrorClass::Auth),
    ("ERROR_KEY_DOES_NOT_EXIST", ErrorClass::Auth),
    ("ERROR_IP_NOT_ALLOWED", ErrorClass::Auth),
    ("IP_BANNED", ErrorClass::Auth),
    ("ERROR_IP_BANNED", ErrorClass::Auth),
    ("ERROR_ZERO_BALANCE", ErrorClass::Funds),
    ("ERROR_NO_SLOT_AVAILABLE", ErrorClass::Capacity),
    ("ERROR_TOO_MUCH_REQUESTS", ErrorClass::Capacity),
    ("MAX_USER_TURN", ErrorClass::Capacity),
    ("ERROR_PAGEURL", ErrorClass::Request),
    ("ERROR_GOOGLEKEY", ErrorClass::Request),
    ("ERROR_BAD_PARAMETERS", ErrorClass::Request),
    ("ERROR_BAD_TOKEN_OR_PAGEURL", ErrorClass::Request),
    ("ERROR_WRONG_ID_FORMAT", ErrorClass::Request),
    ("ERROR_WRONG_CAPTCHA_ID", ErrorClass::Request),
    ("ERROR_NO_SUCH_CAPCHA_ID", ErrorClass::Request),
    ("ERROR_BAD_DUPLICATES", ErrorClass::Request),
    ("ERROR_TOO_BIG_CAPTCHA_FILESIZE", ErrorClass::Request),
    ("ERROR_ZERO_CAPTCHA_FILESIZE", ErrorClass::Request),
    ("ERROR_WRONG_FILE_EXTENSION", ErrorClass::Request),
    ("ERROR_IMAGE_TYPE_NOT_SUPPORTED", ErrorClass::Request),
    ("ERROR_UPLOAD", ErrorClass::Request),
    ("ERROR_CAPTCHAIMAGE_BLOCKED", ErrorClass::Request),
    ("ERROR_BAD_PROXY", ErrorClass::Request),
    ("ERROR_PROXY_CONNECTION_FAILED", ErrorClass::Request),
    ("ERROR_CAPTCHA_UNSOLVABLE", ErrorClass::Unsolvable),
    ("ERROR_SERVER_ERROR", ErrorClass::Upstream),
    ("ERROR_INTERNAL_SERVER_ERROR", ErrorClass::Upstream),
    (TIMEOUT, ErrorClass::Ours),
    (OTHER, ErrorClass::Other),
];

static BY_NAME: Lazy<HashMap<&'static str, (&'static str, ErrorClass)>> =
    Lazy::new(|| CODES.iter().map(|&(name, class)| (name, (name, class))).collect());

/// The label value of a code: itself when it is in the closed set, else `other`. Text after a colon
/// or a space is an explanation and not part of the code.
pub fn label(code: &str) -> &'static str {
    lookup(code).0
}

/// Whether a code says that the account has no such task.
pub fn is_unknown_task(code: &str) -> bool {
    matches!(code, "ERROR_WRONG_CAPTCHA_ID" | "ERROR_NO_SUCH_CAPCHA_ID" | "ERROR_WRONG_ID_FORMAT")
}

/// The class of a code.
pub fn class(code: &str) -> ErrorClass {
    lookup(code).1
}

/// Whether a pingback's `code` reports a failed solve. The two codes without the prefix are part of
/// the closed set, and no solution looks like them.
pub fn is_failure(code: &str) -> bool {
    code.starts_with("ERROR_") || matches!(lookup(code).1, ErrorClass::Auth | ErrorClass::Capacity)
}

fn lookup(code: &str) -> (&'static str, ErrorClass) {
    // Only what may be a name is looked up: solutions are long, and most end here at their first byte.
    let end = code.bytes().position(|byte| !byte.is_ascii_uppercase() && byte != b'_').unwrap_or(code.len());
    let (name, rest) = code.split_at(end);
    if !rest.is_empty() && !rest.starts_with([':', ' ']) {
        return (OTHER, ErrorClass::Other);
    }
    BY_NAME.get(name).copied().unwrap_or((OTHER, ErrorClass::Other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_class_of_who_has_to_act() {
        let cases = [
            ("ERROR_WRONG_USER_KEY", "ERROR_WRONG_USER_KEY", ErrorClass::Auth),
            ("IP_BANNED", "IP_BANNED", ErrorClass::Auth),
            ("ERROR_ZERO_BALANCE", "ERROR_ZERO_BALANCE", ErrorClass::Funds),
            ("MAX_USER_TURN", "MAX_USER_TURN", ErrorClass::Capacity),
            ("ERROR_GOOGLEKEY", "ERROR_GOOGLEKEY", ErrorClass::Request),
            ("ERROR_CAPTCHA_UNSOLVABLE", "ERROR_CAPTCHA_UNSOLVABLE", ErrorClass::Unsolvable),
            ("ERROR_SERVER_ERROR", "ERROR_SERVER_ERROR", ErrorClass::Upstream),
            ("ERROR_BAD_PROXY: refused", "ERROR_BAD_PROXY", ErrorClass::Request),
            ("TIMEOUT", "TIMEOUT", ErrorClass::Ours),
            ("ERROR_NEVER_HEARD_OF", OTHER, ErrorClass::Other),
            ("error_googlekey", OTHER, ErrorClass::Other),
            ("", OTHER, ErrorClass::Other),
        ];
        for (code, expected_label, expected_class) in cases {
            assert_eq!((label(code), class(code)), (expected_label, expected_class), "{code}");
        }
    }

    #[test]
    fn a_code_that_begins_with_error_is_a_failure() {
        for (code, failed) in [
            ("ERROR_CAPTCHA_UNSOLVABLE", true),
            ("ERROR_", true),
            ("IP_BANNED", true),
            ("03AGdBq25", false),
            ("error_looking but solved", false),
            ("TIMEOUT", false),
            ("other", false),
        ] {
            assert_eq!(is_failure(code), failed, "{code}");
        }
    }

    #[test]
    fn no_code_is_listed_twice() {
        assert_eq!(BY_NAME.len(), CODES.len());
    }
}

//! What was given up, where a person can see it and try it again.

use jiff::Timestamp;
use serde_json::Value;

/// Something that was given up.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// Its number.
    pub id: i64,
    /// Where it comes from: `pingback`, or the destination that did not get it.
    pub source: String,
    /// A reason code.
    pub reason: String,
    /// When it was given up.
    pub added_at: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// What the destination last answered, without secrets.
    pub last_error: Option<String>,
    /// What it holds, without solutions.
    pub payload: Value,
}

/// What becomes of a wish to try dead letters again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retried {
    /// The sources of those that are tried again.
    pub sources: Vec<String>,
    /// Why the others are not.
    pub refused: Vec<&'static str>,
    /// The last one that was looked at; nothing when none is left.
    pub last: Option<i64>,
}

/// Why a letter is not tried again: its destination is gone.
pub const NOT_CONFIGURED: &str = "its destination is not configured; configure it again, or discard the letter";
/// The first result stays.
pub const HAS_ENDED: &str = "its task has another result already, which stays; discard the letter";
/// The API is asked, which says more than the letter.
pub const IS_PENDING: &str = "its task is pending, and what CaptchaAI says of it counts; discard the letter";
/// Its content is in a file.
pub const IN_A_FILE: &str = "it could not be read; look at the file that its payload names, then discard the letter";

/// A payload without solutions, at whatever depth they are.
pub fn without_codes(mut payload: Value) -> Value {
    match &mut payload {
        Value::Object(fields) => {
            fields.remove("code");
            for value in fields.values_mut() {
                *value = without_codes(value.take());
            }
        }
        Value::Array(items) => {
            for item in items {
                *item = without_codes(item.take());
            }
        }
        _ => {}
    }
    payload
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn solutions_are_not_shown() {
        let payload = json!({"id": "1", "code": "x", "deep": [{"code": "y", "error": "E"}], "text": "code"});
        assert_eq!(without_codes(payload), json!({"id": "1", "deep": [{"error": "E"}], "text": "code"}));
    }
}

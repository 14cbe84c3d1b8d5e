//! What an answer of CaptchaAI's API means. Whatever was asked for, it may come as JSON, as plain text
//! or as the HTML page of some proxy.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::{ApiError, code_name};
use crate::domain::error_code::{self, ErrorClass, NOT_READY};
use crate::domain::task::{MAX_CODE_BYTES, Outcome};

/// More money than this, in USD, is a mistake of somebody's.
const MOST_USD: f64 = 1e9;

/// Reads the answer to `getbalance`: the balance in USD. An error code counts with every HTTP status.
/// `key` is kept out of the error.
pub fn parse_balance(status: u16, body: &[u8], key: &str) -> Result<f64, ApiError> {
    match read(body) {
        Reading::Code(code) => Err(ApiError::Refused(code_name(&code, key))),
        Reading::Usd(usd) => answered(status, Ok(usd)),
        Reading::Senseless(why) => answered(status, Err(why)),
    }
}

/// What the API says of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskAnswer {
    /// It is still being solved.
    NotReady,
    /// It has ended, solved or not.
    Ended(Outcome),
}

/// Reads the answer to `get`. A code that says something about the task ends it; one that says something
/// about the account or the service is an error, and so is whatever makes no sense. `key` is kept out of
/// the error.
pub fn parse_result(status: u16, body: &[u8], key: &str) -> Result<TaskAnswer, ApiError> {
    let senseless = |why| if is_success(status) { ApiError::Malformed(why) } else { ApiError::Http(status) };
    let said = said(body).map_err(senseless)?;
    match said {
        Said::Code(code) if code == NOT_READY => Ok(TaskAnswer::NotReady),
        Said::Code(code) if is_final(&code) => Ok(TaskAnswer::Ended(Outcome::Failed(code.into()))),
        Said::Code(code) => Err(ApiError::Refused(code_name(&code, key))),
        Said::Solution(_) if !is_success(status) => Err(ApiError::Http(status)),
        Said::Solution(solution) if solution.is_empty() => Err(ApiError::Malformed("its solution is empty")),
        Said::Solution(solution) if solution.len() > MAX_CODE_BYTES => {
            Err(ApiError::Malformed("its solution is longer than 16 KiB"))
        }
        Said::Solution(solution) => Ok(TaskAnswer::Ended(Outcome::Solved(solution.into()))),
    }
}

/// Whether a code is the end of the task, and not a trouble of the account or of the service.
fn is_final(code: &str) -> bool {
    matches!(error_code::class(code), ErrorClass::Request | ErrorClass::Unsolvable)
}

enum Said {
    Code(String),
    Solution(String),
}

#[derive(Deserialize)]
struct Wrapped<'b> {
    status: Scalar,
    #[serde(borrow)]
    request: &'b RawValue,
}

fn said(body: &[u8]) -> Result<Said, &'static str> {
    let text = std::str::from_utf8(body).map_err(|_| "it is not UTF-8")?;
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    match text.chars().next() {
        None => Err("it is empty"),
        Some('<') => Err("it is an HTML page"),
        Some('{') => said_in_json(text),
        Some(_) => match text.strip_prefix("OK|") {
            Some(solution) => Ok(said_of(solution)),
            None if is_code(text) => Ok(Said::Code(text.to_owned())),
            None => Err("it is neither a solution nor an error code"),
        },
    }
}

fn said_in_json(text: &str) -> Result<Said, &'static str> {
    let json: Wrapped<'_> = serde_json::from_str(text).map_err(|_| "it is JSON of another shape")?;
    // A solution may be an object, which is kept as it was sent.
    let request = serde_json::from_str::<String>(json.request.get()).unwrap_or_else(|_| json.request.get().to_owned());
    let request = request.trim();
    match json.status.text().trim() {
        "1" => Ok(said_of(request)),
        "0" if is_code(request) => Ok(Said::Code(request.to_owned())),
        "0" => Err("it is a failure without an error code"),
        _ => Err("its status is neither 0 nor 1"),
    }
}

fn said_of(text: &str) -> Said {
    if is_code(text) { Said::Code(text.to_owned()) } else { Said::Solution(text.to_owned()) }
}

/// The error for an answer too long to be one.
pub(super) fn too_long(status: u16) -> ApiError {
    if is_success(status) { ApiError::Malformed("it is longer than 64 KiB") } else { ApiError::Http(status) }
}

/// Without an error code, a status other than success is what went wrong.
fn answered(status: u16, reading: Result<f64, &'static str>) -> Result<f64, ApiError> {
    if is_success(status) { reading.map_err(ApiError::Malformed) } else { Err(ApiError::Http(status)) }
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

enum Reading {
    Usd(f64),
    Code(String),
    Senseless(&'static str),
}

#[derive(Deserialize)]
struct Json {
    status: Scalar,
    request: Scalar,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Number(f64),
    Text(String),
}

impl Scalar {
    fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

fn read(body: &[u8]) -> Reading {
    let Ok(text) = std::str::from_utf8(body) else { return Reading::Senseless("it is not UTF-8") };
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    match text.chars().next() {
        None => Reading::Senseless("it is empty"),
        Some('<') => Reading::Senseless("it is an HTML page"),
        Some('{') => read_json(text),
        Some(_) => read_text(text.strip_prefix("OK|").unwrap_or(text)),
    }
}

fn read_json(text: &str) -> Reading {
    let Ok(json) = serde_json::from_str::<Json>(text) else {
        return Reading::Senseless("it is JSON of another shape");
    };
    match (json.status.text().trim(), json.request) {
        ("1", Scalar::Number(usd)) => within_reason(usd),
        ("1", Scalar::Text(text)) => read_text(text.trim()),
        ("0", Scalar::Text(code)) if !code.trim().is_empty() => Reading::Code(code.trim().to_owned()),
        ("0", _) => Reading::Senseless("it is a failure without an error code"),
        _ => Reading::Senseless("its status is neither 0 nor 1"),
    }
}

fn read_text(text: &str) -> Reading {
    if is_code(text) {
        return Reading::Code(text.to_owned());
    }
    // The standard parser also takes `inf`, `NaN` and the like.
    let has_digits_only = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    match text.parse() {
        Ok(usd) if has_digits_only => within_reason(usd),
        _ => Reading::Senseless("it is neither a number nor an error code"),
    }
}

fn is_code(text: &str) -> bool {
    text.starts_with("ERROR_") || text == NOT_READY || error_code::label(text) != error_code::OTHER
}

fn within_reason(usd: f64) -> Reading {
    if usd.abs() <= MOST_USD { Reading::Usd(usd) } else { Reading::Senseless("its balance is beyond reason") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    fn check(status: u16, body: &str, expected: &Result<f64, ApiError>) {
        assert_eq!(parse_balance(status, body.as_bytes(), KEY), *expected, "{status} {body:?}");
    }

    #[test]
    fn a_result_is_read_in_every_form() {
        let solved = |code: &str| Ok(TaskAnswer::Ended(Outcome::Solved(code.into())));
        let failed = |code: &str| Ok(TaskAnswer::Ended(Outcome::Failed(code.into())));
        let refused = |code: &str| Err(ApiError::Refused(code.into()));
        let long = format!(r#"{{"status":1,"request":"{}"}}"#, "x".repeat(MAX_CODE_BYTES + 1));
        for (status, body, expected) in [
            (200, r#"{"status":1,"request":"03AGdBq25"}"#, solved("03AGdBq25")),
            (200, r#"{"status":"1","request":" 03AGdBq25 "}"#, solved("03AGdBq25")),
            (200, r#"{"status":1,"request":{"a":"b"}}"#, solved(r#"{"a":"b"}"#)),
            (200, r#"{"status":1,"request":12345}"#, solved("12345")),
            (200, "OK|03AGdBq25\n", solved("03AGdBq25")),
            (200, r#"{"status":0,"request":"CAPCHA_NOT_READY"}"#, Ok(TaskAnswer::NotReady)),
            (200, "CAPCHA_NOT_READY", Ok(TaskAnswer::NotReady)),
            (200, r#"{"status":0,"request":"ERROR_CAPTCHA_UNSOLVABLE"}"#, failed("ERROR_CAPTCHA_UNSOLVABLE")),
            (200, "ERROR_WRONG_CAPTCHA_ID", failed("ERROR_WRONG_CAPTCHA_ID")),
            (500, "ERROR_WRONG_CAPTCHA_ID", failed("ERROR_WRONG_CAPTCHA_ID")),
            (200, "ERROR_TOO_MUCH_REQUESTS", refused("ERROR_TOO_MUCH_REQUESTS")),
            (200, r#"{"status":0,"request":"ERROR_WRONG_USER_KEY"}"#, refused("ERROR_WRONG_USER_KEY")),
            (200, "ERROR_SERVER_ERROR", refused("ERROR_SERVER_ERROR")),
            (200, "ERROR_NEVER_HEARD_OF", refused("ERROR_NEVER_HEARD_OF")),
            (502, "<html>", Err(ApiError::Http(502))),
            (502, r#"{"status":1,"request":"x"}"#, Err(ApiError::Http(502))),
            (200, "<html>", Err(ApiError::Malformed("it is an HTML page"))),
            (200, "", Err(ApiError::Malformed("it is empty"))),
            (200, "hello", Err(ApiError::Malformed("it is neither a solution nor an error code"))),
            (200, r#"{"status":1,"request":""}"#, Err(ApiError::Malformed("its solution is empty"))),
            (200, r#"{"status":0,"request":""}"#, Err(ApiError::Malformed("it is a failure without an error code"))),
            (200, r#"{"status":2,"request":"x"}"#, Err(ApiError::Malformed("its status is neither 0 nor 1"))),
            (200, r#"{"status":1}"#, Err(ApiError::Malformed("it is JSON of another shape"))),
            (200, &long, Err(ApiError::Malformed("its solution is longer than 16 KiB"))),
        ] {
            assert_eq!(parse_result(status, body.as_bytes(), KEY), expected, "{status} {body}");
        }
    }

    #[test]
    fn a_balance_is_read_in_every_form() {
        for (body, usd) in [
            (r#"{"status":1,"request":"142.30"}"#, 142.3),
            (r#"{"status":1,"request":142.30}"#, 142.3),
            (r#"{"status":"1","request":" 7 "}"#, 7.0),
            (r#"{"request":0,"status":1,"currency":"USD"}"#, 0.0),
            ("\u{feff}\r\n {\"status\": 1, \"request\": \"1.5\"} \n", 1.5),
            ("1.234", 1.234),
            (" 1.234\r\n", 1.234),
            ("OK|1.234", 1.234),
            ("-0.5", -0.5),
            ("1e2", 100.0),
            ("1000000000", 1e9),
        ] {
            check(200, body, &Ok(usd));
        }
    }

    #[test]
    fn an_error_code_counts_with_every_status() {
        for (body, code) in [
            (r#"{"status":0,"request":"ERROR_WRONG_USER_KEY"}"#, "ERROR_WRONG_USER_KEY"),
            (r#"{"status":"0","request":" IP_BANNED "}"#, "IP_BANNED"),
            (r#"{"status":0,"request":"SOMETHING_NEW","error_text":"…"}"#, "SOMETHING_NEW"),
            (r#"{"status":1,"request":"ERROR_ZERO_BALANCE"}"#, "ERROR_ZERO_BALANCE"),
            (r#"{"status":0,"request":"CAPCHA_NOT_READY"}"#, "CAPCHA_NOT_READY"),
            ("ERROR_NEVER_HEARD_OF", "ERROR_NEVER_HEARD_OF"),
            ("\u{feff}ERROR_KEY_DOES_NOT_EXIST\n", "ERROR_KEY_DOES_NOT_EXIST"),
            ("IP_BANNED", "IP_BANNED"),
            ("MAX_USER_TURN: slower", "MAX_USER_TURN"),
            ("CAPCHA_NOT_READY", "CAPCHA_NOT_READY"),
            ("OK|ERROR_BAD_PARAMETERS", "ERROR_BAD_PARAMETERS"),
        ] {
            for status in [200, 302, 403, 500] {
                check(status, body, &Err(ApiError::Refused(code.into())));
            }
        }
    }

    #[test]
    fn anything_else_makes_no_sense_or_is_a_failed_request() {
        for body in [
            "",
            " \r\n",
            "\u{feff}",
            "<html><body>busy</body></html>",
            "<!DOCTYPE html>",
            "hello",
            "other",
            "OK",
            "OK|",
            "1,234",
            "1.2.3",
            "$12",
            "inf",
            "-Infinity",
            "NaN",
            "1e400",
            "1000000001",
            "-1e12",
            "0x10",
            "{}",
            "[]",
            "null",
            "{\"status\":1}",
            r#"{"status":1,"request":null}"#,
            r#"{"status":1,"request":["1"]}"#,
            r#"{"status":1,"request":"NaN"}"#,
            r#"{"status":1,"request":1e300}"#,
            r#"{"status":1,"request":"1,5"}"#,
            r#"{"status":1,"request":"OK|2"}"#,
            r#"{"status":1,"request":""}"#,
            r#"{"status":0,"request":""}"#,
            r#"{"status":0,"request":12.5}"#,
            r#"{"status":2,"request":"1"}"#,
            r#"{"status":true,"request":"1"}"#,
            r#"{"status":1,"request":"1"#,
        ] {
            let malformed = parse_balance(200, body.as_bytes(), KEY);
            assert!(matches!(malformed, Err(ApiError::Malformed(_))), "{body:?}: {malformed:?}");
            check(502, body, &Err(ApiError::Http(502)));
            check(301, body, &Err(ApiError::Http(301)));
        }
        assert!(matches!(parse_balance(200, b"\xff\xfe1\x00", KEY), Err(ApiError::Malformed(_))));
        check(503, "12.5", &Err(ApiError::Http(503)));
        assert_eq!(too_long(200).reason(), "malformed");
        assert_eq!(too_long(503), ApiError::Http(503));
    }

    #[test]
    fn the_text_of_an_error_is_short_and_without_the_key() {
        let echo = format!(r#"{{"status":0,"request":"ERROR_WRONG_USER_KEY: {KEY}"}}"#);
        let long = format!("ERROR_{}", "X".repeat(10_000));
        for body in [echo, long, KEY.to_owned(), format!("<p>{KEY}</p>")] {
            let Err(error) = parse_balance(200, body.as_bytes(), KEY) else { panic!("{body} is no balance") };
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains(KEY), "{shown}");
            assert!(shown.len() < 300, "{shown}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_result_or_an_error(status in 100_u16..600, body in any::<Vec<u8>>()) {
            let _ = parse_result(status, &body, KEY);
        }


        #[test]
        fn no_answer_breaks_it(status in 100_u16..600, body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_balance(status, &body, KEY);
        }

        #[test]
        fn no_json_breaks_it(status in "[\"a-z0-9.-]{0,5}", request in "[\"a-zA-Z0-9.|_-]{0,9}") {
            let body = format!(r#"{{"status":{status},"request":{request}}}"#);
            let read = parse_balance(200, body.as_bytes(), KEY);
            if let Ok(usd) = read {
                prop_assert!(usd.abs() <= MOST_USD);
            }
        }

        #[test]
        fn every_decimal_in_reason_is_read_back(usd in -1e9..1e9_f64) {
            prop_assert_eq!(parse_balance(200, usd.to_string().as_bytes(), KEY), Ok(usd));
            let quoted = format!(r#"{{"status":1,"request":"{usd}"}}"#);
            prop_assert_eq!(parse_balance(200, quoted.as_bytes(), KEY), Ok(usd));
            // The JSON parser may round the last bit of a long number the other way.
            let number = parse_balance(200, format!(r#"{{"status":1,"request":{usd}}}"#).as_bytes(), KEY);
            prop_assert!(number.is_ok_and(|read| (read - usd).abs() <= usd.abs() * f64::EPSILON));
        }
    }
}

//! The form of single values: pure functions from text to what it means, whatever brought the text.
//!
//! An error says what is wrong and what was expected. Those of secrets are fixed texts, so that no
//! secret can be in them; a URL is not shown where it may hold a password.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

use super::UnknownPingback;
use crate::domain::time::{format_duration, parse_duration};

/// The label of results that belong to no known account.
const UNKNOWN_ACCOUNT: &str = "unknown";

/// The path below `/alertmanager` that is no receiver.
const WATCHDOG: &str = "watchdog";

/// The length of CaptchaAI's API keys.
const API_KEY_LENGTH: usize = 32;

/// The name of an account, which is a label value and part of a URL.
pub(super) fn account_name(text: &str) -> Result<String, String> {
    plain_name(text, "account name")?;
    if text == UNKNOWN_ACCOUNT {
        return Err(format!("{text:?} stands for results of no known account; expected another name"));
    }
    Ok(text.to_owned())
}

/// The name of a receiver, which is part of a URL.
pub(super) fn receiver_name(text: &str) -> Result<String, String> {
    plain_name(text, "receiver name")?;
    if text == WATCHDOG {
        return Err(format!("{text:?} stands for the watchdog in /alertmanager/watchdog; expected another name"));
    }
    Ok(text.to_owned())
}

/// The name of a destination, which is part of a label value.
pub(super) fn destination_name(text: &str) -> Result<String, String> {
    plain_name(text, "name").map(|()| text.to_owned())
}

fn plain_name(text: &str, kind: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    if !(1..=32).contains(&text.len()) || !text.bytes().all(allowed) {
        return Err(format!("{text:?} is no {kind}; expected 1 to 32 of a-z, 0-9, _ and -"));
    }
    Ok(())
}

/// A kind of captcha, which is a label value.
pub(super) fn captcha(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if !(1..=32).contains(&text.len()) || !text.bytes().all(allowed) {
        return Err(format!("{text:?} is no kind of captcha; expected 1 to 32 of a-z, 0-9 and _"));
    }
    Ok(text.to_owned())
}

/// A duration between two bounds.
pub(super) fn duration_within(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let duration = parse_duration(text)?;
    if (least..=most).contains(&duration) {
        return Ok(duration);
    }
    let side = if duration < least { "short" } else { "long" };
    let (least, most) = (format_duration(least), format_duration(most));
    Err(format!("{text:?} is too {side}; expected at least {least} and at most {most}"))
}

/// An address or a range of addresses, without the bits that the range ignores.
pub(super) fn ip_range(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    let range = text.parse::<IpNet>();
    range.map(|range| range.trunc()).map_err(|_| {
        format!(
            "{text:?} is neither an IP address nor a range; expected one as in 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32"
        )
    })
}

/// What becomes of pingbacks for unknown tasks.
pub(super) fn unknown_pingback(text: &str) -> Result<UnknownPingback, String> {
    match text {
        "verify" => Ok(UnknownPingback::Verify),
        "accept" => Ok(UnknownPingback::Accept),
        _ => Err(format!("{text:?} is not known; expected verify or accept")),
    }
}

/// The URL of a server, to which paths are added; without a slash at the end.
pub(crate) fn base_url(text: &str) -> Result<String, String> {
    url(text).map(|url| url.trim_end_matches('/').to_owned())
}

/// A URL to which requests are sent as it is.
pub(super) fn url(text: &str) -> Result<String, String> {
    const EXPECTED: &str = "expected http://HOST[:PORT][/PATH] or https://…";
    let secretive = text.contains(['@', '?', '#']);
    let shown = if secretive { "the value".to_owned() } else { format!("{text:?}") };
    let Some(url) = web_url(text) else {
        return Err(format!("{shown} is no URL of a web server; {EXPECTED}"));
    };
    if secretive {
        return Err(format!("the value holds a user name, a query or a fragment (@, ?, #); {EXPECTED}"));
    }
    Ok(url.as_str().to_owned())
}

/// Any URL that requests can be sent to.
pub(super) fn web_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.filter(|_| !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\'))
}

/// The database file of `sqlite:PATH`. `sqlite://PATH` means the same, as other programs write it.
pub(crate) fn storage_path(text: &str) -> Result<PathBuf, String> {
    const EXPECTED: &str = "expected sqlite:PATH, as in sqlite:data/captchaai-exporter.db";
    let (scheme, rest) = text.split_once(':').unwrap_or(("", text));
    match scheme.to_ascii_lowercase().as_str() {
        "sqlite" => {}
        "postgres" | "postgresql" => return Err(format!("PostgreSQL is not supported yet; {EXPECTED}")),
        _ if text.contains(['@', '?']) => return Err(format!("the value is no storage; {EXPECTED}")),
        _ => return Err(format!("{text:?} is no storage; {EXPECTED}")),
    }
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.contains(['?', '\0']) {
        return Err(format!("a path with parameters is not supported; {EXPECTED}"));
    }
    if path.starts_with(":memory:") {
        return Err(format!("{text:?} would keep nothing; {EXPECTED}"));
    }
    let path_buf = PathBuf::from(path);
    if path.trim().is_empty() || path.ends_with('/') || path_buf.file_name().is_none() {
        return Err(format!("{text:?} names no file; {EXPECTED}"));
    }
    Ok(path_buf)
}

/// The path of a file or folder.
pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    if text.trim().is_empty() || text.contains('\0') {
        return Err("is empty; expected a path".to_owned());
    }
    Ok(PathBuf::from(text))
}

/// An API key: sent in a URL, where it is encoded, so only slips of the hand are refused.
pub(super) fn check_api_key(secret: &str) -> Result<(), &'static str> {
    if secret.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("has white space or control characters inside; expected an API key of CaptchaAI");
    }
    Ok(())
}

/// What is odd about an API key that may be right all the same.
pub(super) fn odd_api_key(secret: &str) -> Option<&'static str> {
    let odd = secret.chars().count() != API_KEY_LENGTH;
    odd.then_some("does not have the 32 characters of CaptchaAI's API keys; is it whole?")
}

/// A token that is part of a path.
pub(super) fn check_path_token(secret: &str) -> Result<(), &'static str> {
    const EXPECTED: &str =
        "has characters that a path cannot hold, or too many; expected 1 to 256 of A-Z, a-z, 0-9, ., _, ~ and -";
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
    // Clients take a path of one or two dots away.
    if secret.len() > 256 || !secret.bytes().all(allowed) || matches!(secret, "." | "..") {
        return Err(EXPECTED);
    }
    Ok(())
}

/// A token that stands in an `Authorization: Bearer` header.
pub(super) fn check_bearer_token(secret: &str) -> Result<(), &'static str> {
    let allowed = |byte: u8| byte.is_ascii_graphic();
    if !secret.bytes().all(allowed) {
        return Err(
            "has characters that a header cannot hold; expected ASCII letters, digits and signs without spaces",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_have_a_host_and_nothing_after_the_path() {
        for (text, expected) in [
            ("https://ocr.captchaai.com", Some("https://ocr.captchaai.com")),
            ("https://ocr.captchaai.com/", Some("https://ocr.captchaai.com")),
            ("HTTP://Example.com:80/a//", Some("http://example.com/a")),
            ("http://127.0.0.1:9000", Some("http://127.0.0.1:9000")),
            ("http://[::1]:9000/x", Some("http://[::1]:9000/x")),
            ("ocr.captchaai.com", None),
            ("ocr.captchaai.com:443", None),
            ("ftp://example.com", None),
            ("https://", None),
            ("https://example.com/?a=b", None),
            ("https://example.com/?", None),
            ("https://example.com/#a", None),
            ("https://user@example.com", None),
            ("https://user:password@example.com", None),
            ("https://exa mple.com", None),
            ("https:\\\\example.com", None),
            (" https://example.com", None),
            ("https://example.com:99999", None),
            ("", None),
        ] {
            assert_eq!(base_url(text).ok().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_url_with_a_password_is_not_shown() {
        for text in [
            "https://user:hunter2@example.com",
            "ftp://hunter2@example.com",
            "https://example.com/?key=hunter2",
            "https://example.com/#hunter2",
        ] {
            let message = base_url(text).unwrap_err();
            assert!(!message.contains("hunter2"), "{message}");
        }
        for text in ["postgres://user:hunter2@db/x", "mysql://user:hunter2@db/x", "sqlite:x.db?key=hunter2", "?hunter2"]
        {
            let message = storage_path(text).unwrap_err();
            assert!(!message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn storage_is_a_sqlite_file() {
        for (text, expected) in [
            ("sqlite:data/x.db", Some("data/x.db")),
            ("sqlite:x.db", Some("x.db")),
            ("sqlite:/var/lib/x.db", Some("/var/lib/x.db")),
            ("sqlite://data/x.db", Some("data/x.db")),
            ("sqlite:///var/lib/x.db", Some("/var/lib/x.db")),
            ("SQLite:x.db", Some("x.db")),
            ("sqlite:", None),
            ("sqlite:  ", None),
            ("sqlite://", None),
            ("sqlite::memory:", None),
            ("sqlite://:memory:", None),
            ("sqlite:data/", None),
            ("sqlite:..", None),
            ("sqlite:x.db?mode=ro", None),
            ("postgres://localhost/x", None),
            ("data/x.db", None),
            ("", None),
        ] {
            assert_eq!(storage_path(text).ok(), expected.map(PathBuf::from), "{text}");
        }
    }

    #[test]
    fn ranges_are_addresses_too() {
        for (text, expected) in [
            ("192.0.2.7", Some("192.0.2.7/32")),
            ("10.1.2.3/8", Some("10.0.0.0/8")),
            ("::1", Some("::1/128")),
            ("::ffff:192.0.2.7", Some("192.0.2.7/32")),
            ("2001:db8::/32", Some("2001:db8::/32")),
            ("0.0.0.0/0", Some("0.0.0.0/0")),
            ("10.0.0.0/33", None),
            ("localhost", None),
            ("10.0.0", None),
            ("", None),
        ] {
            assert_eq!(ip_range(text).ok().map(|range| range.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn label_values_are_short_and_plain() {
        let (longest, long) = ("a".repeat(32), "a".repeat(33));
        for (text, is_account, is_captcha) in [
            ("main", true, true),
            ("a-b", true, false),
            ("a_1", true, true),
            ("unknown", false, true),
            ("Main", false, false),
            ("a b", false, false),
            ("ş", false, false),
            ("", false, false),
            (&longest, true, true),
            (&long, false, false),
        ] {
            assert_eq!(account_name(text).is_ok(), is_account, "{text}");
            assert_eq!(captcha(text).is_ok(), is_captcha, "{text}");
        }
    }

    #[test]
    fn names_of_receivers_leave_room_for_the_watchdog() {
        for (text, is_receiver, is_destination) in [
            ("ops", true, true),
            ("watchdog", false, true),
            ("unknown", true, true),
            ("Ops", false, false),
            ("", false, false),
        ] {
            assert_eq!(receiver_name(text).is_ok(), is_receiver, "{text}");
            assert_eq!(destination_name(text).is_ok(), is_destination, "{text}");
        }
    }

    #[test]
    fn a_url_keeps_the_slash_at_its_end() {
        assert_eq!(url("http://127.0.0.1:9000/call/").as_deref(), Ok("http://127.0.0.1:9000/call/"));
        assert_eq!(url("http://127.0.0.1:9000").as_deref(), Ok("http://127.0.0.1:9000/"));
        assert!(url("http://127.0.0.1:9000/?x=1").is_err());
    }

    #[test]
    fn durations_have_bounds() {
        let check = |text| duration_within(text, Duration::from_secs(1), Duration::from_mins(1));
        for (text, expected) in [
            ("999ms", Err("\"999ms\" is too short; expected at least 1s and at most 1m")),
            ("1s", Ok(Duration::from_secs(1))),
            ("1m", Ok(Duration::from_mins(1))),
            ("60001ms", Err("\"60001ms\" is too long; expected at least 1s and at most 1m")),
        ] {
            assert_eq!(check(text), expected.map_err(str::to_owned));
        }
    }

    #[test]
    fn tokens_fit_where_they_are_sent() {
        let (long, longest) = ("a".repeat(257), "a".repeat(256));
        for (text, in_path, in_header, as_key) in [
            ("0123456789abcdef0123456789abcdef", true, true, true),
            ("a.b_c~d-E9", true, true, true),
            ("a/b", false, true, true),
            ("a+b=", false, true, true),
            ("a b", false, false, false),
            ("a\nb", false, false, false),
            ("a\u{7f}b", false, false, false),
            ("ş", false, false, true),
            (".", false, true, true),
            ("..", false, true, true),
            ("...", true, true, true),
            (&longest, true, true, true),
            (&long, false, true, true),
        ] {
            assert_eq!(check_path_token(text).is_ok(), in_path, "{text:?}");
            assert_eq!(check_bearer_token(text).is_ok(), in_header, "{text:?}");
            assert_eq!(check_api_key(text).is_ok(), as_key, "{text:?}");
        }
    }
}

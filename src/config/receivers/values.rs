//! The form of single values of receivers.

use super::super::values::web_url;
use crate::domain::alert::Rank;
use crate::notify::discord::{Mention, Resolved};
use crate::notify::words::Language;

/// A webhook's URL: whoever has it can post there. It may be one of a proxy in between.
pub(in crate::config) fn check_webhook_url(secret: &str) -> Result<(), &'static str> {
    let Some(url) = web_url(secret) else {
        return Err("is no URL; expected one as Discord shows it, https://discord.com/api/webhooks/ID/TOKEN");
    };
    if url.fragment().is_some() {
        return Err("has a fragment (#); expected https://discord.com/api/webhooks/ID/TOKEN");
    }
    Ok(())
}

/// What is odd about a webhook's URL that may be right all the same.
pub(in crate::config) fn odd_webhook_url(secret: &str) -> Option<&'static str> {
    let url = web_url(secret)?;
    let host = url.host_str()?;
    let is_discord = ["discord.com", "discordapp.com"].iter().any(|name| {
        let rest = host.strip_suffix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    });
    let mut segments: Vec<&str> = url.path_segments()?.collect();
    segments.retain(|segment| !(segment.starts_with('v') && segment.len() <= 3));
    let whole = matches!(segments.as_slice(), ["api", "webhooks", id, token] if !id.is_empty() && !token.is_empty());
    (is_discord && !whole).then_some("does not look like https://discord.com/api/webhooks/ID/TOKEN; is it whole?")
}

/// How much an alert matters.
pub(super) fn severity(text: &str) -> Result<Rank, String> {
    Rank::parse(text).ok_or_else(|| format!("{text:?} is no severity; expected info, warning or critical"))
}

/// What happens when a group is resolved.
pub(super) fn resolved(text: &str) -> Result<Resolved, String> {
    match text {
        "edit_and_post" => Ok(Resolved::EditAndPost),
        "edit" => Ok(Resolved::Edit),
        "post" => Ok(Resolved::Post),
        _ => Err(format!("{text:?} is not known; expected edit_and_post, edit or post")),
    }
}

/// The language of built-in words.
pub(super) fn language(text: &str) -> Result<Language, String> {
    Language::parse(text).ok_or_else(|| format!("{text:?} is no language that is known; expected en or tr"))
}

/// Who is mentioned.
pub(super) fn mention(text: &str) -> Result<Mention, String> {
    let (kind, id) = text.split_once(':').unwrap_or(("", ""));
    let plain = (1..=20).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_digit());
    match kind {
        "role" if plain => Ok(Mention::Role(id.to_owned())),
        "user" if plain => Ok(Mention::User(id.to_owned())),
        _ => {
            Err(format!("{text:?} is nobody who can be mentioned; expected role:ID or user:ID, with the ID in digits"))
        }
    }
}

/// How many calls a day has at most.
pub(super) fn calls_per_day(text: &str) -> Result<u32, String> {
    const MOST: u32 = 1000;
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| plain && (1..=MOST).contains(number));
    number.ok_or_else(|| format!("{text:?} is no number of calls; expected 1 to {MOST}"))
}

/// One of several names.
pub(super) fn one_of(text: &str, names: &[String], kind: &str) -> Result<String, String> {
    let found = names.iter().find(|name| *name == text).cloned();
    found.ok_or_else(|| format!("{text:?} is no {kind}; expected one of {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhooks_are_urls_of_discord_or_of_something_before_it() {
        const ODD: bool = true;
        for (text, expected) in [
            ("https://discord.com/api/webhooks/123/abc-DEF_456", Some(!ODD)),
            ("https://discord.com/api/v10/webhooks/123/abc", Some(!ODD)),
            ("https://canary.discord.com/api/webhooks/123/abc?thread_id=5", Some(!ODD)),
            ("https://discordapp.com:443/api/webhooks/123/abc", Some(!ODD)),
            ("https://discord.com/api/webhooks/123", Some(ODD)),
            ("https://discord.com/api/webhooks/123/", Some(ODD)),
            ("https://discord.com/api/webhooks/123/abc/slack", Some(ODD)),
            ("https://discord.com/channels/1/2", Some(ODD)),
            ("https://notdiscord.com/x", Some(!ODD)),
            ("http://127.0.0.1:9000/proxy?to=discord", Some(!ODD)),
            ("https://user:password@proxy.example.com/", Some(!ODD)),
            ("https://discord.com/api/webhooks/123/abc#x", None),
            ("discord.com/api/webhooks/123/abc", None),
            ("https://discord.com/api/webhooks/123/a bc", None),
            ("ftp://discord.com/api/webhooks/123/abc", None),
            ("https://", None),
            ("123", None),
        ] {
            let found = check_webhook_url(text).ok().map(|()| odd_webhook_url(text).is_some());
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn mentions_are_roles_and_users() {
        for (text, expected) in [
            ("role:123", Some(Mention::Role("123".to_owned()))),
            ("user:18446744073709551615", Some(Mention::User("18446744073709551615".to_owned()))),
            ("user:184467440737095516150", None),
            ("role:", None),
            ("role:ops", None),
            ("role: 1", None),
            ("Role:1", None),
            ("everyone", None),
            ("channel:1", None),
            ("123", None),
            ("", None),
        ] {
            assert_eq!(mention(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_day_has_a_whole_number_of_calls() {
        for (text, expected) in [
            ("1", Some(1)),
            ("1000", Some(1000)),
            ("0", None),
            ("1001", None),
            ("+5", None),
            ("-1", None),
            ("1.5", None),
            ("", None),
        ] {
            assert_eq!(calls_per_day(text).ok(), expected, "{text}");
        }
    }
}

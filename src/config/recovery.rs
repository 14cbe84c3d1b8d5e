//! `fallback` and `subscribers` of the configuration file: how no result is lost, and who gets it.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use secrecy::SecretString;

use super::decode::{Decoder, Keys, Section};
use super::file::{first_use, section};
use super::secret::{Names, secret};
use super::values::{check_bearer_token, destination_name, duration_within, web_url};
use crate::domain::fallback::Fallback;
use crate::notify;
use crate::notify::subscriber;

const FALLBACK: Keys = Keys::new(&["after", "interval", "give_up_after", "max_concurrent"]);
const SUBSCRIBER: Keys = Keys::new(&["name", "url", "secret", "secret_file", "max_age"]);

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);

/// CaptchaAI wants at most one question for a task in this time.
const POLITE: Duration = Duration::from_secs(5);
const INTERVALS: [Duration; 2] = [SECOND, Duration::from_hours(1)];
const TIMES: [Duration; 2] = [SECOND, DAY];
const AGES: [Duration; 2] = [SECOND, Duration::from_hours(24 * 30)];
const MOST_CONCURRENT: usize = 256;

/// Codes go stale within minutes.
const SUBSCRIBER_MAX_AGE: Duration = Duration::from_mins(2);

/// The section, or what is so without it.
pub(super) fn fallback(decoder: &mut Decoder<'_>, top: &Section<'_>) -> Fallback {
    let default = Fallback::default();
    let Some(section) = section(decoder, top, "fallback", &FALLBACK) else { return default };
    let mut duration = |key, [least, most]: [Duration; 2]| {
        decoder.value(section.get(key).as_ref(), |text| duration_within(text, least, most))
    };
    let after = duration("after", TIMES).unwrap_or(default.after);
    let interval = duration("interval", INTERVALS).unwrap_or(default.interval);
    let give_up_after = duration("give_up_after", TIMES);
    let max_concurrent = decoder.value(section.get("max_concurrent").as_ref(), concurrent);
    if let Some(field) = section.get("interval").filter(|_| interval < POLITE) {
        decoder.warn(&field, "is shorter than the 5s between two questions for a task that CaptchaAI asks for");
    }
    if let Some(field) = section.get("give_up_after").filter(|_| give_up_after.is_some_and(|give_up| give_up <= after))
    {
        decoder.wrong(&field, "is not longer than fallback.after; expected time to ask in between");
    }
    Fallback {
        after,
        interval,
        give_up_after: give_up_after.unwrap_or(default.give_up_after.max(after * 2)),
        max_concurrent: max_concurrent.unwrap_or(default.max_concurrent),
    }
}

fn concurrent(text: &str) -> Result<usize, String> {
    let number = text.parse::<usize>().ok().filter(|number| (1..=MOST_CONCURRENT).contains(number));
    number.ok_or_else(|| format!("{text:?} is no number of questions; expected 1 to {MOST_CONCURRENT}"))
}

/// Those who get each result.
pub(super) fn subscribers(decoder: &mut Decoder<'_>, top: &Section<'_>, folder: &Path) -> Vec<notify::Settings> {
    let mut taken = HashMap::new();
    let mut subscribers = Vec::new();
    for item in decoder.items(top.get("subscribers")) {
        let Some(section) = decoder.section(&item, &SUBSCRIBER) else { continue };
        let name = first_use(decoder, &section, &mut taken, destination_name);
        let url = section.get("url");
        if url.is_none() {
            decoder.fault(section.position, format!("{}: url is missing; expected url: URL", section.path));
        }
        let url = decoder.value(url.as_ref(), subscriber_url);
        let names = Names { inline: "secret", file: "secret_file" };
        let secret = secret(decoder, &section, names, folder, check_bearer_token).map(|(secret, _)| secret);
        let [least, most] = AGES;
        let max_age = decoder.value(section.get("max_age").as_ref(), |text| duration_within(text, least, most));
        let (Some(name), Some(url)) = (name, url) else { continue };
        subscribers.push(notify::Settings::Subscriber(subscriber::Settings {
            name,
            url: SecretString::from(url),
            secret,
            max_age: max_age.unwrap_or(SUBSCRIBER_MAX_AGE),
        }));
    }
    subscribers
}

/// A subscriber of the environment: `default`, `default-2`, …
pub(super) fn plain_subscriber(position: usize, url: String, secret: Option<SecretString>) -> notify::Settings {
    let name = if position == 0 { "default".to_owned() } else { format!("default-{}", position + 1) };
    let url = SecretString::from(url);
    notify::Settings::Subscriber(subscriber::Settings { name, url, secret, max_age: SUBSCRIBER_MAX_AGE })
}

/// A URL may have a query, which is why it is not shown.
pub(super) fn subscriber_url(text: &str) -> Result<String, String> {
    let url = web_url(text).map(|url| url.as_str().to_owned());
    url.ok_or_else(|| "is no URL of a web server; expected http://HOST[:PORT][/PATH] or https://…".to_owned())
}

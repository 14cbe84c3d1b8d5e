//! `receivers` and `watchdog` of the configuration file: whom alerts are told, and how.

mod values;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::decode::{Decoder, Field, Keys, Section};
use super::file::{first_use, section};
use super::secret::{Check, Names, secret};
use super::values::{check_bearer_token, destination_name, duration_within, path, receiver_name, url};
use super::{Receiver, Watchdog, read};
use crate::domain::alert::{RANKS, Rank};
use crate::notify;
use crate::notify::alertalk::{self, PhoneNumber, QuietHours};
use crate::notify::discord::{self, Mention};
use crate::notify::words::{Language, TemplateError, Words};

pub(super) use values::{check_webhook_url, odd_webhook_url};

const RECEIVER: Keys = Keys::new(&["name", "discord", "alertalk"]);
const DISCORD: Keys = Keys::new(&[
    "name",
    "webhook_url",
    "webhook_url_file",
    "min_severity",
    "resolved",
    "mentions",
    "language",
    "max_age",
    "templates",
]);
const ALERTALK: Keys = Keys::new(&[
    "name",
    "url",
    "webhook_key",
    "webhook_key_file",
    "phone_numbers",
    "min_severity",
    "cooldown",
    "max_calls_per_day",
    "quiet_hours",
    "max_age",
    "language",
    "templates",
]);
const MENTIONS: Keys = Keys::new(&["info", "warning", "critical"]);
const WATCHDOG: Keys = Keys::new(&["timeout", "receiver"]);

/// The receiver that is meant where none is named.
pub(super) const DEFAULT_RECEIVER: &str = "default";

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);

/// How long a message to Discord may wait.
const DISCORD_AGES: [Duration; 2] = [SECOND, Duration::from_hours(24 * 30)];
/// How long a call may wait, and for how long the next one does. Calls are remembered for a day.
const CALL_TIMES: [Duration; 2] = [SECOND, DAY];
const TIMEOUTS: [Duration; 2] = [SECOND, DAY];

/// A message of Discord has no room for more.
const MOST_MENTIONS: usize = 50;

const WATCHDOG_TIMEOUT: Duration = Duration::from_mins(5);

/// A webhook as it is when nothing else is said.
pub(super) fn plain_discord(name: String, webhook_url: SecretString) -> discord::Settings {
    discord::Settings {
        name,
        webhook_url,
        min_severity: Rank::Info,
        resolved: discord::Resolved::default(),
        mentions: BTreeMap::new(),
        words: discord::words(Language::English),
        max_age: DAY,
        external_url: None,
    }
}

/// Phones as they are when nothing else is said.
pub(super) fn plain_alertalk(
    name: String,
    webhook_key: SecretString,
    phone_numbers: Vec<PhoneNumber>,
) -> alertalk::Settings {
    alertalk::Settings {
        name,
        url: alertalk::DEFAULT_URL.to_owned(),
        webhook_key,
        phone_numbers,
        min_severity: Rank::Critical,
        cooldown: Duration::from_hours(1),
        max_calls_per_day: 20,
        quiet_hours: None,
        max_age: Duration::from_mins(15),
        language: Language::Turkish,
        words: alertalk::words(Language::Turkish),
    }
}

/// Names that are taken, with the paths of those that have them.
#[derive(Default)]
struct Taken {
    receivers: HashMap<String, String>,
    discord: HashMap<String, String>,
    alertalk: HashMap<String, String>,
}

/// Both sections. The watchdog may name a receiver only if there is one of that name.
pub(super) fn receivers(
    decoder: &mut Decoder<'_>,
    top: &Section<'_>,
    folder: &Path,
) -> (Vec<Receiver>, Option<Watchdog>) {
    let mut taken = Taken::default();
    let mut names = Vec::new();
    let mut receivers = Vec::new();
    for item in decoder.items(top.get("receivers")) {
        let Some(section) = decoder.section(&item, &RECEIVER) else { continue };
        let name = first_use(decoder, &section, &mut taken.receivers, receiver_name);
        names.extend(name.clone());
        let destinations = destinations(decoder, &section, folder, &mut taken);
        receivers.extend(name.map(|name| Receiver { name, destinations }));
    }
    let watchdog = section(decoder, top, "watchdog", &WATCHDOG);
    let watchdog = watchdog.and_then(|section| watchdog_of(decoder, &section, &names));
    (receivers, watchdog)
}

fn watchdog_of(decoder: &mut Decoder<'_>, section: &Section<'_>, names: &[String]) -> Option<Watchdog> {
    let timeout = duration(decoder, section, "timeout", TIMEOUTS).unwrap_or(WATCHDOG_TIMEOUT);
    let receiver = match (section.get("receiver"), names) {
        (_, []) => {
            let message = format!("{}: there is nobody to tell; expected a receiver in receivers", section.path);
            decoder.fault(section.position, message);
            None
        }
        (Some(field), _) => decoder.value(Some(&field), |text| values::one_of(text, names, "receiver")),
        (None, [only]) => Some(only.clone()),
        (None, _) if names.iter().any(|name| name == DEFAULT_RECEIVER) => Some(DEFAULT_RECEIVER.to_owned()),
        (None, _) => {
            let names = names.join(", ");
            decoder.fault(section.position, format!("{}: receiver is missing; expected one of {names}", section.path));
            None
        }
    };
    receiver.map(|receiver| Watchdog { timeout, receiver })
}

fn destinations(
    decoder: &mut Decoder<'_>,
    section: &Section<'_>,
    folder: &Path,
    taken: &mut Taken,
) -> Vec<notify::Settings> {
    let kinds = ["discord", "alertalk"].map(|kind| section.get(kind));
    if kinds.iter().flatten().all(Field::is_nothing) {
        let message = format!("{}: nobody is told; expected discord or alertalk with at least one item", section.path);
        decoder.fault(section.position, message);
    }
    let [webhooks, phones] = kinds;
    let mut destinations = Vec::new();
    for item in decoder.items(webhooks) {
        let Some(section) = decoder.section(&item, &DISCORD) else { continue };
        destinations.extend(discord(decoder, &section, folder, &mut taken.discord).map(notify::Settings::Discord));
    }
    for item in decoder.items(phones) {
        let Some(section) = decoder.section(&item, &ALERTALK) else { continue };
        destinations.extend(alertalk(decoder, &section, folder, &mut taken.alertalk).map(notify::Settings::Alertalk));
    }
    destinations
}

fn discord(
    decoder: &mut Decoder<'_>,
    section: &Section<'_>,
    folder: &Path,
    taken: &mut HashMap<String, String>,
) -> Option<discord::Settings> {
    let name = first_use(decoder, section, taken, destination_name);
    let names = Names { inline: "webhook_url", file: "webhook_url_file" };
    let webhook_url = required_secret(decoder, section, names, folder, check_webhook_url);
    if let Some((url, field)) = &webhook_url
        && let Some(warning) = odd_webhook_url(url.expose_secret())
    {
        decoder.warn(field, warning);
    }
    let min_severity = decoder.value(section.get("min_severity").as_ref(), values::severity);
    let resolved = decoder.value(section.get("resolved").as_ref(), values::resolved);
    let mentions = mentions(decoder, section);
    let language = decoder.value(section.get("language").as_ref(), values::language).unwrap_or(Language::English);
    let words = words(decoder, section, folder, |name, text| discord::words_with_file(language, name, text));
    let max_age = duration(decoder, section, "max_age", DISCORD_AGES);
    let default = plain_discord(name?, webhook_url?.0);
    Some(discord::Settings {
        min_severity: min_severity.unwrap_or(default.min_severity),
        resolved: resolved.unwrap_or(default.resolved),
        mentions,
        words: words.unwrap_or_else(|| discord::words(language)),
        max_age: max_age.unwrap_or(default.max_age),
        ..default
    })
}

fn alertalk(
    decoder: &mut Decoder<'_>,
    section: &Section<'_>,
    folder: &Path,
    taken: &mut HashMap<String, String>,
) -> Option<alertalk::Settings> {
    let name = first_use(decoder, section, taken, destination_name);
    let url = decoder.value(section.get("url").as_ref(), url);
    let names = Names { inline: "webhook_key", file: "webhook_key_file" };
    let webhook_key = required_secret(decoder, section, names, folder, check_bearer_token);
    let phone_numbers = phone_numbers(decoder, section);
    let min_severity = decoder.value(section.get("min_severity").as_ref(), values::severity);
    let cooldown = duration(decoder, section, "cooldown", CALL_TIMES);
    let max_calls_per_day = decoder.value(section.get("max_calls_per_day").as_ref(), values::calls_per_day);
    let quiet_hours = decoder.value(section.get("quiet_hours").as_ref(), QuietHours::parse);
    let max_age = duration(decoder, section, "max_age", CALL_TIMES);
    let language = decoder.value(section.get("language").as_ref(), values::language).unwrap_or(Language::Turkish);
    let words = words(decoder, section, folder, |name, text| alertalk::words_with_file(language, name, text));
    let default = plain_alertalk(name?, webhook_key?.0, phone_numbers);
    Some(alertalk::Settings {
        url: url.unwrap_or(default.url),
        min_severity: min_severity.unwrap_or(default.min_severity),
        cooldown: cooldown.unwrap_or(default.cooldown),
        max_calls_per_day: max_calls_per_day.unwrap_or(default.max_calls_per_day),
        quiet_hours,
        max_age: max_age.unwrap_or(default.max_age),
        language,
        words: words.unwrap_or_else(|| alertalk::words(language)),
        ..default
    })
}

fn duration(decoder: &mut Decoder<'_>, section: &Section<'_>, key: &str, bounds: [Duration; 2]) -> Option<Duration> {
    let [least, most] = bounds;
    decoder.value(section.get(key).as_ref(), |text| duration_within(text, least, most))
}

fn required_secret<'n>(
    decoder: &mut Decoder<'_>,
    section: &Section<'n>,
    names: Names,
    folder: &Path,
    check: Check,
) -> Option<(SecretString, Field<'n>)> {
    let Names { inline, file } = names;
    if section.get_or_null(inline).or(section.get_or_null(file)).is_none() {
        let message = format!("{}: {inline} is missing; expected {inline} or {file}", section.path);
        decoder.fault(section.position, message);
        return None;
    }
    secret(decoder, section, names, folder, check)
}

fn phone_numbers(decoder: &mut Decoder<'_>, section: &Section<'_>) -> Vec<PhoneNumber> {
    const KEY: &str = "phone_numbers";
    let field = section.get(KEY);
    if field.as_ref().is_none_or(Field::is_nothing) {
        let message = format!("{}: {KEY} is missing; expected at least one number", section.path);
        decoder.fault(field.map_or(section.position, |field| field.node.position), message);
        return Vec::new();
    }
    let mut numbers = Vec::new();
    for item in decoder.items(field) {
        let Some(number) = decoder.value(Some(&item), PhoneNumber::parse) else { continue };
        if numbers.contains(&number) {
            decoder.wrong(&item, "is in the list already; expected each number only once");
        } else {
            numbers.push(number);
        }
    }
    numbers
}

/// Who is mentioned, by severity. Whoever is mentioned at all is so once.
fn mentions(decoder: &mut Decoder<'_>, section: &Section<'_>) -> BTreeMap<Rank, Vec<Mention>> {
    let Some(section) = section.get("mentions").and_then(|field| decoder.section(&field, &MENTIONS)) else {
        return BTreeMap::new();
    };
    let mut mentions = BTreeMap::new();
    for rank in RANKS {
        let field = section.get(rank.as_str());
        let mut listed = Vec::new();
        for item in decoder.items(field.clone()) {
            let Some(mention) = decoder.value(Some(&item), values::mention) else { continue };
            if listed.contains(&mention) {
                decoder.wrong(&item, "is in the list already; expected each only once");
            } else {
                listed.push(mention);
            }
        }
        if let Some(field) = field.filter(|_| listed.len() > MOST_MENTIONS) {
            decoder.wrong(&field, "has more than 50 items, for which a message has no room; expected a role instead");
        }
        if !listed.is_empty() {
            mentions.insert(rank, listed);
        }
    }
    mentions
}

/// The words of the file in `templates`, where it is given. What is wrong in that file is told of it.
fn words(
    decoder: &mut Decoder<'_>,
    section: &Section<'_>,
    folder: &Path,
    make: impl FnOnce(&str, &str) -> Result<Words, TemplateError>,
) -> Option<Words> {
    let field = section.get("templates")?;
    let path = folder.join(decoder.value(Some(&field), path)?);
    let text = match read::template(&path) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("cannot read {}: {error}; expected a file of templates", read::quoted(&path));
            decoder.wrong(&field, &message);
            return None;
        }
    };
    match make(&path.to_string_lossy(), &text) {
        Ok(words) => Some(words),
        Err(TemplateError { line, message, .. }) => {
            decoder.wrong_elsewhere(&path, line, &field, &message);
            None
        }
    }
}

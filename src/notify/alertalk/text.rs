//! What a call says: the words of the templates, made speakable and as short as Alertalk wants them.

use std::collections::BTreeMap;

use minijinja::value::Value;
use serde::Serialize;

use super::speech::{LONGEST, cut, spaced, speakable};
use super::{Settings, sayings};
use crate::domain::alert::{Alert, Group, Texts};
use crate::domain::notice::Notice;
use crate::domain::time::format_duration;
use crate::notify::words::{Language, TemplateError, Words, value};

const ENGLISH: &str = include_str!("../words/voice.en.j2");
const TURKISH: &str = include_str!("../words/voice.tr.j2");

/// No label or annotation is said that is longer; what is longer is cut before a template sees it.
const LONGEST_PART: usize = 2000;

/// The most characters of the words that count what is left out.
const LONGEST_ENDING: usize = 100;

/// The most characters of the words before an alert that could not be told in writing.
const LONGEST_PREFACE: usize = 200;

/// The built-in words of a language.
pub fn words(language: Language) -> Words {
    Words::built_in(source(language))
}

/// The built-in words with those of the macros that a file of the user's defines: `alert(alert)`,
/// `more(count)`, `unreachable()`, `watchdog_silent(notice)` and `unusable(notice)`.
pub fn words_with_file(language: Language, file_name: &str, text: &str) -> Result<Words, TemplateError> {
    let samples = [
        ("alert", vec![value(View::sample("critical"))]),
        ("alert", vec![value(View { summary: String::new(), description: String::new(), ..View::sample("") })]),
        ("more", vec![value(1)]),
        ("unreachable", vec![]),
        ("watchdog_silent", vec![watchdog_silent(600)]),
        ("unusable", vec![unusable("discord/ops", "status 404 Not Found")]),
    ];
    Words::with_file(source(language), file_name, text, &samples)
}

fn source(language: Language) -> &'static str {
    match language {
        Language::English => ENGLISH,
        Language::Turkish => TURKISH,
    }
}

/// An alert as templates see it.
#[derive(Debug, Serialize)]
struct View {
    /// The name of the alert with spaces between its words.
    name: String,
    /// Its name as it is.
    alertname: String,
    severity: String,
    summary: String,
    description: String,
    /// The receiver of ours that heard of it.
    receiver: String,
    labels: Texts,
    annotations: Texts,
}

impl View {
    fn new(alert: &Alert, group: &Group) -> Self {
        let annotation = |name| short(annotation(alert, group, name).unwrap_or_default());
        let all_short = |texts: &Texts| texts.iter().map(|(name, text)| (name.clone(), short(text))).collect();
        let (summary, description) = (annotation("summary"), annotation("description"));
        let alertname = if alert.name().is_empty() { group.title() } else { alert.name().to_owned() };
        Self {
            name: short(&spaced(&short(&alertname))),
            alertname: short(&alertname),
            severity: short(alert.severity()),
            summary,
            description,
            receiver: group.receiver.clone(),
            labels: all_short(&alert.labels),
            annotations: all_short(&alert.annotations),
        }
    }

    fn sample(severity: &str) -> Self {
        let labels = [("alertname", "BalanceLow"), ("severity", severity)];
        let annotations = [("summary", "Balance is low"), ("description", "1.85 USD are left")];
        let texts = |pairs: [(&str, &str); 2]| pairs.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
        Self {
            name: "Balance Low".to_owned(),
            alertname: "BalanceLow".to_owned(),
            severity: severity.to_owned(),
            summary: "Balance is low".to_owned(),
            description: "1.85 USD are left".to_owned(),
            receiver: "default".to_owned(),
            labels: texts(labels),
            annotations: texts(annotations),
        }
    }
}

/// What a call about alerts of a group says: what the foremost of them is, and how many others there are.
/// `unreachable` is for alerts that could not be told in writing.
pub(super) fn of_alerts(
    settings: &Settings,
    group: &Group,
    foremost: &Alert,
    others: u64,
    unreachable: bool,
) -> String {
    let Settings { language, words, .. } = settings;
    let say = |name: &str, arguments: &[Value]| speakable(&words.say(name, arguments), *language);
    let mut said = speakable(annotation(foremost, group, "voice").unwrap_or_default(), *language);
    if said.is_empty() {
        said = say("alert", &[value(View::new(foremost, group))]);
    }
    let preface = if unreachable { cut(&say("unreachable", &[]), LONGEST_PREFACE) } else { String::new() };
    let more = if others > 0 { cut(&say("more", &[value(others)]), LONGEST_ENDING) } else { String::new() };
    assemble(&preface, &said, &more, *language)
}

/// What a call about a notice says.
pub(super) fn of_notice(settings: &Settings, notice: &Notice) -> String {
    let argument = match notice {
        Notice::WatchdogSilent { silent_seconds, .. } => watchdog_silent(*silent_seconds),
        Notice::Unusable { destination, why } => unusable(destination, why),
        // No call is made of these.
        Notice::WatchdogBack { .. }
        | Notice::CallSuppressed { .. }
        | Notice::NoCredit { .. }
        | Notice::Marzban { .. }
        | Notice::GivenUp { .. } => Value::UNDEFINED,
    };
    let said = speakable(&settings.words.say(notice.name(), &[argument]), settings.language);
    assemble("", &said, "", settings.language)
}

/// At most as much as can be said, of which the words in the middle are cut. Never nothing.
fn assemble(preface: &str, said: &str, ending: &str, language: Language) -> String {
    let said = if said.is_empty() { sayings::something(language) } else { said };
    let body = if preface.is_empty() { said.to_owned() } else { format!("{preface} {said}") };
    if ending.is_empty() {
        return cut(&body, LONGEST);
    }
    let ending = format!(", {}.", ending.trim_end_matches(['.', '!', '?']));
    let body = cut(&body, LONGEST.saturating_sub(ending.chars().count()));
    format!("{}{ending}", body.trim_end_matches(['.', '!', '?', ' ']))
}

/// The text of an annotation of an alert, or of its group.
fn annotation<'a>(alert: &'a Alert, group: &'a Group, name: &str) -> Option<&'a str> {
    let text = |texts: &'a Texts| texts.get(name).map(String::as_str).filter(|text| !text.trim().is_empty());
    text(&alert.annotations).or_else(|| text(&group.common_annotations))
}

fn short(text: &str) -> String {
    text.chars().take(LONGEST_PART).collect()
}

fn watchdog_silent(seconds: u64) -> Value {
    let silent_for = format_duration(std::time::Duration::from_secs(seconds));
    value(BTreeMap::from([("silent_for", silent_for), ("silent_seconds", seconds.to_string())]))
}

fn unusable(destination: &str, why: &str) -> Value {
    value(BTreeMap::from([("destination", destination), ("why", why)]))
}

#[cfg(test)]
mod tests;

//! One alert as one box of a message.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;

use super::links::Links;
use super::message::{
    DESCRIPTION, ERROR, Embed, FIELD_NAME, FIELD_VALUE, FIELDS, Field, INFO, SUCCESS, TITLE, WARNING,
};
use super::phrases::{AlertWords, Phrases};
use super::text::{code, gather, line, paragraph};
use crate::domain::alert::{Alert, Group, Rank};
use crate::domain::time::{elapsed, format_timestamp};

/// Annotations that are shown in their own way, or not at all; any other becomes a field.
const SHOWN_ELSEWHERE: [&str; 10] = [
    "summary",
    "description",
    "title",
    "fields",
    "color",
    "voice",
    "runbook_url",
    "dashboard_url",
    "message",
    "resolved",
];

/// The longest value that stands beside others.
const SHORT: usize = 40;
/// The longest label that is shown whole.
const LABEL: usize = 100;

/// What embeds of one group have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) phrases: &'a Phrases,
    /// Where people reach Alertmanager.
    alertmanager: Option<&'a str>,
    /// Whether alerts were left out, so that nothing counts as over.
    doubtful: bool,
}

impl<'a> Scene<'a> {
    pub(super) fn new(phrases: &'a Phrases, group: &'a Group) -> Self {
        Self { phrases, alertmanager: group.external_url.as_deref(), doubtful: group.truncated > 0 }
    }

    /// The sign for the state of an alert.
    pub(super) fn mark(&self, firing: bool, rank: Rank) -> &'static str {
        match (firing, rank) {
            (false, _) if self.doubtful => "⚠️",
            (false, _) => "✅",
            (true, rank) => firing_mark(rank),
        }
    }

    /// The colour for the state of an alert.
    pub(super) fn color(&self, firing: bool, rank: Rank) -> u32 {
        match (firing, rank) {
            (false, _) if self.doubtful => WARNING,
            (false, _) => SUCCESS,
            (true, rank) => rank_color(rank),
        }
    }

    /// The alert as an embed, within all limits of one.
    pub(super) fn embed(&self, alert: &Alert) -> Embed {
        let alert = &*without_end(alert);
        let phrases = self.phrases;
        let lasted = lasted(alert).map(|lasted| phrases.duration(lasted));
        let (title, description) = self.texts(alert, lasted.as_deref());
        let links = Links::of(alert, self.alertmanager);
        let mut own = Vec::new();
        if !names_severity(alert, phrases) {
            own.extend(Field::new(&phrases.severity, &line(alert.severity(), FIELD_VALUE), true));
        }
        own.extend(times(alert, lasted, phrases));
        own.extend(labels(alert, phrases));
        own.extend(links.field(phrases));
        let mut fields = foreign_fields(alert, FIELDS - own.len(), phrases);
        fields.extend(own);
        let color = if alert.firing { alert.annotations.get("color").and_then(|text| read_color(text)) } else { None };
        let color = color.unwrap_or_else(|| self.color(alert.firing, alert.rank()));
        let time = if alert.firing { alert.starts_at } else { alert.ends_at };
        Embed {
            url: links.title(),
            fields,
            timestamp: time.map(format_timestamp),
            ..Embed::new(title, description, color)
        }
    }

    /// Its title and the text under it.
    fn texts(&self, alert: &Alert, lasted: Option<&str>) -> (String, String) {
        let annotation = |name: &str| alert.annotations.get(name).filter(|text| !text.trim().is_empty());
        let title = annotation("title").map(|text| line(text, TITLE)).filter(|title| !title.is_empty());
        let text = annotation("description").or_else(|| annotation("summary")).or_else(|| annotation("message"));
        let text = text.map(|text| paragraph(text, DESCRIPTION));
        let (name, severity) = (line(alert.name(), TITLE), line(alert.severity(), FIELD_VALUE));
        let alert = AlertWords {
            name: &name,
            title: title.as_deref(),
            plain_title: title.as_deref().map(without_mark),
            text: text.as_deref(),
            mark: self.mark(alert.firing, alert.rank()),
            severity: &severity,
            rank: alert.rank().as_str(),
            firing: alert.firing,
            labels: &alert.labels,
            annotations: &alert.annotations,
            started: alert.starts_at.map(Timestamp::as_second),
            ended: alert.ends_at.map(Timestamp::as_second),
            lasted,
        };
        let (title, description) = self.phrases.alert(&alert);
        (line(&title, TITLE), paragraph(&description, DESCRIPTION))
    }
}

/// The sign of something that fires.
pub(super) fn firing_mark(rank: Rank) -> &'static str {
    match rank {
        Rank::Critical => "🔴",
        Rank::Warning => "🟠",
        Rank::Info => "🔵",
    }
}

/// The colour of something that fires.
pub(super) fn rank_color(rank: Rank) -> u32 {
    match rank {
        Rank::Critical => ERROR,
        Rank::Warning => WARNING,
        Rank::Info => INFO,
    }
}

/// Reads the annotation `color`: one of the house's names, or a number as `0xE74C3C` or `#E74C3C`.
fn read_color(text: &str) -> Option<u32> {
    match text.trim() {
        "success" => Some(SUCCESS),
        "warning" => Some(WARNING),
        "error" => Some(ERROR),
        "info" => Some(INFO),
        number => {
            let digits = ["0x", "0X", "#"].iter().find_map(|prefix| number.strip_prefix(prefix))?;
            // The parser would take a sign too.
            let hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            u32::from_str_radix(digits, 16).ok().filter(|&color| hexadecimal && color <= 0x00FF_FFFF)
        }
    }
}

/// A title without the emoji at its front, which is that of an alert that fires.
fn without_mark(title: &str) -> &str {
    let plain = title.trim_start_matches(|c: char| c.is_whitespace() || !c.is_ascii() && !c.is_alphanumeric());
    if plain.is_empty() { title } else { plain }
}

/// A report stays as it was told.
fn without_end(alert: &Alert) -> Cow<'_, Alert> {
    if alert.firing || !alert.is_report() {
        return Cow::Borrowed(alert);
    }
    Cow::Owned(Alert { firing: true, ends_at: None, ..alert.clone() })
}

/// Whether the annotation `fields` has a place of its own for the severity.
fn names_severity(alert: &Alert, phrases: &Phrases) -> bool {
    let is_it = |field: &Field| field.name.eq_ignore_ascii_case("severity") || field.name == phrases.severity;
    alert.annotations.get("fields").is_some_and(|text| read_fields(text).iter().any(is_it))
}

/// How long an alert fired.
fn lasted(alert: &Alert) -> Option<Duration> {
    let end = alert.ends_at.filter(|_| !alert.firing)?;
    Some(elapsed(alert.starts_at?, end))
}

/// When it began, and when it ended and how long it lasted, if it did. Discord shows times in the zone of
/// whoever reads.
fn times(alert: &Alert, lasted: Option<String>, phrases: &Phrases) -> impl Iterator<Item = Field> {
    let shown = |time: Option<Timestamp>, form: char| time.map(|time| format!("<t:{}:{form}>", time.as_second()));
    let field = |name: &str, value: Option<String>| value.and_then(|value| Field::whole(name, &value, true));
    let started = shown(alert.starts_at, if alert.firing { 'R' } else { 'f' });
    let ended = shown(alert.ends_at.filter(|_| !alert.firing), 'f');
    let fields = [field(&phrases.started, started), field(&phrases.ended, ended), field(&phrases.lasted, lasted)];
    fields.into_iter().flatten()
}

/// Its labels in one field, apart from those that are shown elsewhere.
fn labels(alert: &Alert, phrases: &Phrases) -> Option<Field> {
    let shown = || alert.labels.iter().filter(|(name, _)| !matches!(name.as_str(), "alertname" | "severity"));
    let parts = shown().map(|(name, value)| code(name, value, LABEL));
    let (value, _) = gather(parts, shown().count(), " ", FIELD_VALUE, |rest| phrases.more(rest));
    Field::new(&phrases.labels, &value, false)
}

/// What the annotations make fields of, at most so many; where there are more, the last says how many.
fn foreign_fields(alert: &Alert, most: usize, phrases: &Phrases) -> Vec<Field> {
    let listed = alert.annotations.get("fields").map(|text| read_fields(text)).unwrap_or_default();
    let others = alert.annotations.iter().filter(|(name, _)| !SHOWN_ELSEWHERE.contains(&name.as_str()));
    let others = others.filter_map(|(name, value)| {
        let value = paragraph(value, FIELD_VALUE);
        let inline = value.chars().count() <= SHORT && !value.contains('\n');
        Field::new(&line(name, FIELD_NAME), &value, inline)
    });
    let mut fields: Vec<_> = listed.into_iter().chain(others).collect();
    if fields.len() > most {
        let rest = fields.len() - most + 1;
        fields.truncate(most.saturating_sub(1));
        fields.extend(Field::new("…", &phrases.more(rest), true));
    }
    fields
}

/// Reads the annotation `fields`: one `Name: value` a line becomes an inline field; indented lines under a
/// name become one long field. Any other line goes on with the field before it.
fn read_fields(text: &str) -> Vec<Field> {
    let mut fields: Vec<(&str, Vec<&str>, bool)> = Vec::new();
    for row in text.lines() {
        let indented = row.starts_with([' ', '\t']) && !fields.is_empty();
        match (row.split_once(": ").or_else(|| row.split_once(':')), fields.last_mut()) {
            (Some((name, value)), _) if !indented => fields.push((name, vec![value], true)),
            (_, Some((_, rows, inline))) => {
                *inline = *inline && row.trim().is_empty();
                rows.push(row);
            }
            _ => {}
        }
    }
    let field = |(name, rows, inline): (&str, Vec<&str>, bool)| {
        let rows: Vec<_> = rows.into_iter().map(str::trim).filter(|row| !row.is_empty()).collect();
        Field::new(&line(name, FIELD_NAME), &paragraph(&rows.join("\n"), FIELD_VALUE), inline)
    };
    fields.into_iter().filter_map(field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::tests::{alert, group};
    use crate::notify::words::Language;

    fn rendered(alert: &Alert) -> Embed {
        let phrases = Phrases::new(&super::super::words(Language::English));
        Scene::new(&phrases, &group(vec![alert.clone()])).embed(alert)
    }

    fn annotated(annotations: &[(&str, &str)], firing: bool) -> Embed {
        let mut alert = alert("HighLoad", "critical", firing);
        alert.annotations = annotations.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        rendered(&alert)
    }

    #[test]
    fn colours_are_names_or_numbers() {
        for (text, color) in [
            ("success", Some(0x2E_CC71)),
            (" warning ", Some(0xF3_9C12)),
            ("error", Some(0xE7_4C3C)),
            ("info", Some(0x34_98DB)),
            ("0x00ff00", Some(0xFF00)),
            ("#FFFFFF", Some(0xFF_FFFF)),
            ("#1000000", None),
            ("0x+1", None),
            ("#", None),
            ("red", None),
            ("12345", None),
            ("", None),
        ] {
            assert_eq!(read_color(text), color, "{text}");
        }
        assert_eq!(annotated(&[("color", "#123456")], true).color, 0x12_3456);
        assert_eq!(annotated(&[("color", "#123456")], false).color, SUCCESS);
        for (severity, color) in [("critical", ERROR), ("warning", WARNING), ("info", INFO), ("page", INFO)] {
            assert_eq!(rendered(&alert("A", severity, true)).color, color, "{severity}");
        }
    }

    #[test]
    fn a_title_is_the_annotation_or_the_name() {
        for (title, firing, expected) in [
            ("", true, "🔴 HighLoad"),
            ("", false, "✅ HighLoad"),
            ("🔥 Yük yüksek", true, "🔥 Yük yüksek"),
            ("🔥 Yük yüksek", false, "✅ Yük yüksek"),
            ("Şimdi\nbak", false, "✅ Şimdi bak"),
            ("[prod] 5xx", false, "✅ [prod] 5xx"),
            ("🔥🔥", false, "✅ 🔥🔥"),
            (" \u{202e} ", true, "🔴 HighLoad"),
        ] {
            assert_eq!(annotated(&[("title", title)], firing).title, expected);
        }
        assert_eq!(rendered(&alert("", "warning", true)).title, "🟠 Alert");
        for (length, shown) in [(255, 255), (256, 256), (257, 256)] {
            for character in ["ş", "🔥", "İ"] {
                let title = annotated(&[("title", &character.repeat(length))], true).title;
                assert_eq!((title.chars().count(), title.ends_with('…')), (shown, length > 256), "{length}");
            }
        }
    }

    #[test]
    fn a_description_is_the_first_that_is_there() {
        for (annotations, expected) in [
            (vec![("description", "d"), ("summary", "s"), ("message", "m")], "d"),
            (vec![("description", " "), ("summary", "s"), ("message", "m")], "s"),
            (vec![("message", "m\nn")], "m\nn"),
            (vec![], ""),
        ] {
            assert_eq!(annotated(&annotations, true).description, expected);
        }
        for (length, shown) in [(4095, 4095), (4096, 4096), (4097, 4096)] {
            let description = annotated(&[("description", &"🔥".repeat(length))], true).description;
            assert_eq!(description.chars().count(), shown, "{length}");
        }
    }

    #[test]
    fn fields_come_in_the_order_of_their_lines() {
        let field =
            |name: &str, value: &str, inline| Field { name: name.into(), value: value.into(), inline, whole: false };
        for (text, expected) in [
            ("Balance: 1.8 USD\nRunway: 2 h", vec![field("Balance", "1.8 USD", true), field("Runway", "2 h", true)]),
            ("Errors:\n  a: 1\n  b: 2\nLast: x", vec![field("Errors", "a: 1\nb: 2", false), field("Last", "x", true)]),
            ("Errors: 2\n\ta\n\nz", vec![field("Errors", "2\na\nz", false)]),
            ("At: 12:30\nURL:http://x", vec![field("At", "12:30", true), field("URL", "http://x", true)]),
            ("Empty:\n: nameless\nA: b\n\n", vec![field("A", "b", true)]),
            ("no colon\nA: b", vec![field("A", "b", true)]),
            ("  A: b\r\n", vec![field("A", "b", true)]),
            ("", vec![]),
        ] {
            assert_eq!(read_fields(text), expected, "{text:?}");
        }
    }

    #[test]
    fn there_are_never_more_fields_than_discord_takes() {
        for count in [21, 22, 23, 500] {
            let text = (0..count).map(|number| format!("F{number}: ş")).collect::<Vec<_>>().join("\n");
            let fields = annotated(&[("fields", &text)], true).fields;
            assert!(fields.len() <= FIELDS, "{count}");
            let shown = fields.iter().filter(|field| field.name.starts_with('F')).count();
            let rest = fields.iter().find(|field| field.name == "…").map(|field| field.value.clone());
            assert_eq!(rest, (shown < count).then(|| format!("and {} more", count - shown)), "{count}");
        }
    }

    #[test]
    fn other_annotations_and_labels_are_fields() {
        let mut load = alert("HighLoad", "page", true);
        load.annotations.insert("team".to_owned(), "ops".to_owned());
        load.annotations.insert("notes".to_owned(), "long ".repeat(20));
        load.annotations.insert("voice".to_owned(), "sesli".to_owned());
        load.labels.insert("instance".to_owned(), "a:9100".to_owned());
        let fields = rendered(&load).fields;
        let shown: Vec<_> = fields.iter().map(|field| (field.name.as_str(), field.inline)).collect();
        let expected = [
            ("notes", false),
            ("team", true),
            ("Severity", true),
            ("Started", true),
            ("Labels", false),
            ("Links", false),
        ];
        assert_eq!(shown, expected);
        assert_eq!((fields[2].value.as_str(), fields[4].value.as_str()), ("page", "`instance=a:9100`"));
        for number in 0..200 {
            load.labels.insert(format!("n{number}"), "🔥".repeat(number));
        }
        let labels = rendered(&load).fields.into_iter().find(|field| field.name == "Labels").unwrap();
        assert!(labels.value.chars().count() <= FIELD_VALUE && labels.value.ends_with(" more"), "{}", labels.value);
    }
}

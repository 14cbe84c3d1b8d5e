//! The words of messages: the macros of `words/discord.*.j2`, with the types of their arguments.

use jiff::Timestamp;
use minijinja::value::Value;
use serde::Serialize;

use super::text;
use crate::domain::alert::Texts;
use crate::domain::marzban::Event;
use crate::domain::notice::Notice;
use crate::notify::words::{Language, TemplateError, Words, value};

const ENGLISH: &str = include_str!("../words/discord.en.j2");
const TURKISH: &str = include_str!("../words/discord.tr.j2");

fn source(language: Language) -> &'static str {
    match language {
        Language::English => ENGLISH,
        Language::Turkish => TURKISH,
    }
}

/// The built-in words.
pub fn words(language: Language) -> Words {
    Words::built_in(source(language))
}

/// The built-in words, apart from those that a file of the user's has others for. Each macro is tried
/// with samples of what it may be given.
pub fn words_with_file(language: Language, file_name: &str, text: &str) -> Result<Words, TemplateError> {
    Words::with_file(source(language), file_name, text, &samples())
}

/// Each macro with arguments as it gets them, some several times.
pub(super) fn samples() -> Vec<(&'static str, Vec<Value>)> {
    let label = Texts::from([("instance".to_owned(), "a:9100".to_owned())]);
    let nothing = Texts::new();
    let alerts = [AlertWords::sample(true, &label), AlertWords::sample(false, &label), AlertWords::unknown(&nothing)];
    let notices = [NoticeWords::sample(), NoticeWords::default()];
    let mut samples = Vec::new();
    for alert in &alerts {
        samples.extend(ABOUT_ALERTS.map(|name| (name, vec![value(alert)])));
    }
    for notice in &notices {
        samples.extend(ABOUT_NOTICES.map(|name| (name, vec![value(notice)])));
    }
    samples.extend(CONSTANT.map(|name| (name, vec![])));
    samples.extend(COUNTING.map(|name| (name, vec![value(2)])));
    for seconds in [7, 77, 7777, 777_777] {
        samples.push(("duration", vec![value(seconds)]));
    }
    for (one, other) in [(0, 3), (3, 0), (1, 2)] {
        samples.push(("counts", vec![value(one), value(other)]));
        samples.push(("digest_title", vec![value(one), value(other)]));
    }
    samples.push(("list_title", vec![value("3 firing")]));
    samples.push(("recovery_title", vec![value("HighLoad")]));
    samples.push(("recovery_text", vec![value(1), value(None::<&str>)]));
    samples.push(("recovery_text", vec![value(2), value("5 min")]));
    samples
}

const ABOUT_ALERTS: [&str; 2] = ["title", "description"];
const ABOUT_NOTICES: [&str; 14] = [
    "marzban_title",
    "marzban_text",
    "watchdog_silent_title",
    "watchdog_silent_text",
    "watchdog_back_title",
    "watchdog_back_text",
    "call_suppressed_title",
    "call_suppressed_text",
    "no_credit_title",
    "no_credit_text",
    "unusable_title",
    "unusable_text",
    "given_up_title",
    "given_up_text",
];
const COUNTING: [&str; 4] = ["more", "truncated", "truncated_short", "late"];
const CONSTANT: [&str; 10] = [
    "field_severity",
    "field_started",
    "field_ended",
    "field_lasted",
    "field_labels",
    "field_links",
    "link_graph",
    "link_runbook",
    "link_dashboard",
    "link_silence",
];

/// What macros see of an alert.
#[derive(Debug, Serialize)]
pub(super) struct AlertWords<'a> {
    pub(super) name: &'a str,
    pub(super) title: Option<&'a str>,
    pub(super) plain_title: Option<&'a str>,
    pub(super) text: Option<&'a str>,
    pub(super) mark: &'a str,
    pub(super) severity: &'a str,
    pub(super) rank: &'a str,
    pub(super) firing: bool,
    pub(super) labels: &'a Texts,
    pub(super) annotations: &'a Texts,
    pub(super) started: Option<i64>,
    pub(super) ended: Option<i64>,
    pub(super) lasted: Option<&'a str>,
}

impl<'a> AlertWords<'a> {
    fn sample(firing: bool, labels: &'a Texts) -> Self {
        Self {
            name: "HighLoad",
            title: Some("🔥 High load"),
            plain_title: Some("High load"),
            text: Some("The load is high."),
            started: Some(1_769_848_200),
            ended: (!firing).then_some(1_769_848_500),
            lasted: (!firing).then_some("5 min"),
            firing,
            ..Self::unknown(labels)
        }
    }

    fn unknown(labels: &'a Texts) -> Self {
        Self {
            name: "",
            title: None,
            plain_title: None,
            text: None,
            mark: "🔴",
            severity: "critical",
            rank: "critical",
            firing: false,
            labels,
            annotations: labels,
            started: None,
            ended: None,
            lasted: None,
        }
    }
}

/// What macros see of a notice.
#[derive(Debug, Default, Serialize)]
struct NoticeWords {
    destination: Option<String>,
    reason: Option<String>,
    group: Option<String>,
    why: Option<String>,
    silent: Option<String>,
    last_heard: Option<i64>,
    events: Vec<EventWords>,
    more: u64,
}

/// What macros see of an event of a Marzban panel.
#[derive(Debug, Default, Serialize)]
struct EventWords {
    action: String,
    user: String,
    by: Option<String>,
    reason: Option<String>,
    percent: Option<f64>,
    days: Option<i64>,
}

impl NoticeWords {
    fn sample() -> Self {
        let text = |text: &str| Some(text.to_owned());
        Self {
            destination: text("alertalk/oncall"),
            reason: text("cooldown"),
            group: text("HighLoad"),
            why: text("status 403"),
            silent: text("5 min"),
            last_heard: Some(1_769_848_200),
            events: vec![
                EventWords {
                    action: "user_limited".to_owned(),
                    user: "ada".to_owned(),
                    by: text("root"),
                    reason: text("used up"),
                    percent: Some(100.0),
                    days: Some(3),
                },
                EventWords::default(),
            ],
            more: 2,
        }
    }
}

/// The longest text of others in a notice.
const LONGEST_WHY: usize = 500;

/// The words of one destination. What is the same in every message is asked for once.
#[derive(Debug)]
pub(super) struct Phrases {
    words: Words,
    pub(super) severity: String,
    pub(super) started: String,
    pub(super) ended: String,
    pub(super) lasted: String,
    pub(super) labels: String,
    pub(super) links: String,
    pub(super) graph: String,
    pub(super) runbook: String,
    pub(super) dashboard: String,
    pub(super) silence: String,
}

impl Phrases {
    pub(super) fn new(words: &Words) -> Self {
        let constant = |name| text::line(&words.say(name, &[]), 100);
        Self {
            severity: constant("field_severity"),
            started: constant("field_started"),
            ended: constant("field_ended"),
            lasted: constant("field_lasted"),
            labels: constant("field_labels"),
            links: constant("field_links"),
            graph: constant("link_graph"),
            runbook: constant("link_runbook"),
            dashboard: constant("link_dashboard"),
            silence: constant("link_silence"),
            words: words.clone(),
        }
    }

    /// The title of an alert, and the text under it.
    pub(super) fn alert(&self, alert: &AlertWords<'_>) -> (String, String) {
        let argument = [value(alert)];
        (self.words.say("title", &argument), self.words.say("description", &argument))
    }

    pub(super) fn duration(&self, duration: std::time::Duration) -> String {
        self.words.say("duration", &[value(duration.as_secs())])
    }

    pub(super) fn more(&self, count: usize) -> String {
        self.words.say("more", &[value(count)])
    }

    pub(super) fn counts(&self, firing: usize, resolved: usize) -> String {
        self.words.say("counts", &[value(firing), value(resolved)])
    }

    pub(super) fn list_title(&self, firing: usize, resolved: usize) -> String {
        self.words.say("list_title", &[value(self.counts(firing, resolved))])
    }

    pub(super) fn truncated(&self, count: u64) -> String {
        self.words.say("truncated", &[value(count)])
    }

    pub(super) fn truncated_short(&self, count: u64) -> String {
        self.words.say("truncated_short", &[value(count)])
    }

    pub(super) fn late(&self, count: usize) -> String {
        self.words.say("late", &[value(count)])
    }

    pub(super) fn recovery_title(&self, name: &str) -> String {
        self.words.say("recovery_title", &[value(name)])
    }

    pub(super) fn recovery_text(&self, count: usize, lasted: Option<&str>) -> String {
        self.words.say("recovery_text", &[value(count), value(lasted)])
    }

    pub(super) fn digest_title(&self, groups: usize, notices: usize) -> String {
        self.words.say("digest_title", &[value(groups), value(notices)])
    }

    /// The title of a notice, and its text.
    pub(super) fn notice(&self, notice: &Notice) -> (String, String) {
        let argument = [value(self.notice_words(notice))];
        let part = |part: &str| self.words.say(&format!("{}_{part}", notice.name()), &argument);
        (part("title"), part("text"))
    }

    /// The name of a group; of a notice, which is called by a code, the title.
    fn name(&self, name: &str) -> String {
        let title = format!("{name}_title");
        if !ABOUT_NOTICES.contains(&title.as_str()) {
            return name.to_owned();
        }
        self.words.say(&title, &[value(NoticeWords::default())])
    }

    fn notice_words(&self, notice: &Notice) -> NoticeWords {
        let name = |name: &str| Some(text::plain(&text::line(name, 100)).into_owned());
        let group = |group: &str| name(&self.name(group));
        // These stand in code, where a backslash would be seen.
        let code = |name: &str| Some(text::line(name, 100).replace('`', "'"));
        let why = |why: &str| Some(text::plain(&text::line(why, LONGEST_WHY)).into_owned());
        let silent = |seconds: u64| Some(self.duration(std::time::Duration::from_secs(seconds)));
        let nothing = NoticeWords::default();
        match notice {
            Notice::WatchdogSilent { last_heard_at, silent_seconds } => NoticeWords {
                silent: silent(*silent_seconds),
                last_heard: last_heard_at.map(Timestamp::as_second),
                ..nothing
            },
            Notice::WatchdogBack { silent_seconds } => NoticeWords { silent: silent(*silent_seconds), ..nothing },
            Notice::CallSuppressed { destination, reason, group: about } => {
                NoticeWords { destination: code(destination), reason: code(reason), group: group(about), ..nothing }
            }
            Notice::NoCredit { destination } => NoticeWords { destination: code(destination), ..nothing },
            Notice::Marzban { events, more } => {
                let event = |event: &Event| EventWords {
                    action: event.action.clone(),
                    user: name(&event.username).unwrap_or_default(),
                    by: event.by.as_deref().and_then(name),
                    reason: event.reason.as_deref().and_then(why),
                    percent: event.percent,
                    days: event.days_left,
                };
                NoticeWords { events: events.iter().map(event).collect(), more: *more, ..nothing }
            }
            Notice::Unusable { destination, why: said } => {
                NoticeWords { destination: code(destination), why: why(said), ..nothing }
            }
            Notice::GivenUp { destination, reason, group: about, why: said } => NoticeWords {
                destination: code(destination),
                reason: code(reason),
                group: group(about),
                why: why(said),
                ..nothing
            },
        }
    }
}

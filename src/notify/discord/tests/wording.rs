//! The words in each language, and words of the user's own.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::*;
use crate::domain::delivery::DEAD_REASONS;
use crate::metrics::SUPPRESSIONS;

fn notices() -> Vec<Notice> {
    let (destination, group) = ("alertalk/oncall".to_owned(), "HighLoad_*".to_owned());
    let why = "status 403 Forbidden: <@123> `no`".to_owned();
    let last_heard_at = Timestamp::from_second(1_769_848_200).ok();
    vec![
        Notice::WatchdogSilent { last_heard_at, silent_seconds: 400 },
        Notice::WatchdogSilent { last_heard_at: None, silent_seconds: 300 },
        Notice::WatchdogBack { silent_seconds: 5400 },
        Notice::CallSuppressed {
            destination: destination.clone(),
            reason: "cooldown".to_owned(),
            group: group.clone(),
        },
        Notice::CallSuppressed { destination: destination.clone(), reason: "new`one".to_owned(), group: group.clone() },
        Notice::NoCredit { destination: destination.clone() },
        Notice::Unusable { destination: destination.clone(), why: why.clone() },
        Notice::CallSuppressed {
            destination: destination.clone(),
            reason: "cap".to_owned(),
            group: "watchdog_silent".to_owned(),
        },
        Notice::GivenUp { destination, reason: "refused".to_owned(), group, why },
    ]
}

/// Each notice as it is told, one after another.
fn told(language: Language) -> String {
    let discord = discord_for(settings(Resolved::EditAndPost, language));
    let mut text = String::new();
    for notice in notices() {
        let Step::Send(request) = discord.next(&job(Content::Notice(notice), None), &context()) else { panic!() };
        let message = serde_json::to_value(&request.message).unwrap();
        assert_taken(&message);
        let embed = &message["embeds"][0];
        assert_eq!(embed["url"], "https://exporter.example/");
        let (title, words) = (embed["title"].as_str().unwrap(), embed["description"].as_str().unwrap());
        let _ = write!(text, "{title} #{:06X}\n{words}\n\n", embed["color"].as_u64().unwrap());
    }
    text
}

#[test]
fn each_notice_has_words_in_both_languages() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| {
        insta::assert_snapshot!("notices_english", told(Language::English));
        insta::assert_snapshot!("notices_turkish", told(Language::Turkish));
    });
}

/// Whoever reads it at night knows no codes.
#[test]
fn each_reason_has_words() {
    for language in [Language::English, Language::Turkish] {
        let phrases = Phrases::new(&words(language));
        let (destination, group) = ("alertalk/oncall".to_owned(), "HighLoad".to_owned());
        // A call about what is resolved is missed by nobody, so that nothing is said of it.
        for reason in SUPPRESSIONS.into_iter().filter(|reason| *reason != "resolved_first") {
            let (destination, group, reason) = (destination.clone(), group.clone(), reason.to_owned());
            let (_, text) = phrases.notice(&Notice::CallSuppressed { destination, group, reason: reason.clone() });
            assert!(!text.contains(&format!(": {reason}")) && text.contains(": "), "{reason}: {text}");
        }
        for reason in DEAD_REASONS {
            let (destination, group, why) = (destination.clone(), group.clone(), String::new());
            let (_, text) = phrases.notice(&Notice::GivenUp { destination, group, why, reason: reason.to_owned() });
            assert!(!text.contains(&format!(": {reason}")) && text.contains(": "), "{reason}: {text}");
        }
    }
}

#[test]
fn a_notice_is_told_once() {
    let discord = discord(Resolved::EditAndPost);
    for notice in notices() {
        let mut job = job(Content::Notice(notice), None);
        let Step::Send(request) = discord.next(&job, &context()) else { panic!() };
        job.told = discord.told(&job, &request, &Receipt::default(), now());
        assert_eq!(discord.next(&job, &context()), Step::Done(None));
    }
}

#[test]
fn durations_and_numbers_have_words() {
    let phrases = |language| Phrases::new(&words(language));
    for (seconds, english, turkish) in [
        (0, "0 s", "0 sn"),
        (59, "59 s", "59 sn"),
        (60, "1 min", "1 dk"),
        (61, "1 min 1 s", "1 dk 1 sn"),
        (3600, "1 h", "1 sa"),
        (5400, "1 h 30 min", "1 sa 30 dk"),
        (86_400, "1 d", "1 gün"),
        (90_000, "1 d 1 h", "1 gün 1 sa"),
    ] {
        let duration = Duration::from_secs(seconds);
        assert_eq!(phrases(Language::English).duration(duration), english);
        assert_eq!(phrases(Language::Turkish).duration(duration), turkish);
    }
    assert_eq!(phrases(Language::English).more(12), "and 12 more");
    assert_eq!(phrases(Language::Turkish).more(12), "ve 12 tane daha");
    for (firing, resolved, english, turkish) in [
        (2, 0, "2 firing", "2 aktif"),
        (0, 2, "2 resolved", "2 çözüldü"),
        (3, 1, "3 firing, 1 resolved", "3 aktif, 1 çözüldü"),
        (0, 0, "0 firing", "0 aktif"),
    ] {
        assert_eq!(phrases(Language::English).counts(firing, resolved), english);
        assert_eq!(phrases(Language::Turkish).counts(firing, resolved), turkish);
    }
    for (groups, notices, expected) in [
        (1, 0, "1 alert group changed"),
        (12, 0, "12 alert groups changed"),
        (2, 1, "2 alert groups changed, 1 notice"),
        (0, 2, "2 notices"),
    ] {
        assert_eq!(phrases(Language::English).digest_title(groups, notices), expected);
    }
}

#[test]
fn words_of_the_users_own_replace_some() {
    let text = "{% macro title(alert) %}{{ alert.labels.team | default('nobody') }}: {{ alert.name }}{% endmacro %}";
    let words = words_with_file(Language::English, "own.j2", text).unwrap();
    let discord = discord_for(Settings { words, ..settings(Resolved::EditAndPost, Language::English) });
    let message = first_message(&discord, &group(vec![alert("HighLoad", "critical", true)]));
    assert_eq!(message["embeds"][0]["title"], "nobody: HighLoad");
    assert_eq!(message["embeds"][0]["fields"][0]["name"], "Severity");
}

#[test]
fn faulty_words_are_found_at_once() {
    for name in ["title", "description"] {
        let text = format!("{{% macro {name}(alert) %}}\n{{{{ alert.nonsense }}}}{{% endmacro %}}");
        let error = words_with_file(Language::Turkish, "own.j2", &text).unwrap_err();
        assert!(error.to_string().starts_with("own.j2:2: "), "{error}");
    }
    for (name, arguments) in phrases::samples() {
        let arguments: Vec<String> = (0..arguments.len()).map(|number| format!("a{number}")).collect();
        let text = format!("{{% macro {name}({}) %}}{{{{ nobody }}}}{{% endmacro %}}", arguments.join(", "));
        let error = words_with_file(Language::English, "own.j2", &text).unwrap_err();
        assert!(error.to_string().starts_with("own.j2:1: "), "{name}: {error}");
    }
}

#[test]
fn both_languages_have_the_same_macros_and_samples_for_each() {
    let defined = |source: &str| -> Vec<String> {
        let starts = source.split("{% macro ").skip(1);
        starts.map(|text| text.split('(').next().unwrap_or_default().to_owned()).collect()
    };
    let english = defined(include_str!("../../words/discord.en.j2"));
    assert_eq!(english, defined(include_str!("../../words/discord.tr.j2")));
    let mut sampled: BTreeSet<_> = phrases::samples().into_iter().map(|(name, _)| name).collect();
    // Called by another macro only.
    sampled.insert("units");
    assert_eq!(english.iter().map(String::as_str).collect::<BTreeSet<_>>(), sampled);
}

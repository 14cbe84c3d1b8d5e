use super::super::tests::settings;
use super::*;
use crate::domain::alert::tests::{alert, group};

fn english() -> Settings {
    Settings { language: Language::English, words: words(Language::English), ..settings(&[]) }
}

fn turkish() -> Settings {
    settings(&[])
}

fn annotated(annotations: &[(&str, &str)]) -> Alert {
    let annotations = annotations.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    Alert { annotations: annotations.collect(), ..alert("CaptchaAIBalanceLow", "critical", true) }
}

fn said(settings: &Settings, alert: &Alert, others: u64) -> String {
    of_alerts(settings, &group(vec![alert.clone()]), alert, others, false)
}

#[test]
fn an_alert_is_told_in_both_languages() {
    let texts = [("summary", "Balance is *low*"), ("description", "Only $1.85 left (https://example.com).")];
    for (alert, others, in_english, in_turkish) in [
        (annotated(&[]), 0, "Critical alert: CaptchaAI Balance Low.", "Kritik alarm: CaptchaAI Balance Low."),
        (
            annotated(&texts),
            0,
            "Critical alert: CaptchaAI Balance Low. Balance is low. Only 1.85 dollars left.",
            "Kritik alarm: CaptchaAI Balance Low. Balance is low. Only 1,85 dolar left.",
        ),
        (
            annotated(&[("summary", "Low"), ("description", "Low")]),
            1,
            "Critical alert: CaptchaAI Balance Low. Low, and 1 more.",
            "Kritik alarm: CaptchaAI Balance Low. Low, ve 1 tane daha.",
        ),
        (
            annotated(&[("voice", "Bakiye %10'un altında! 🔴"), ("summary", "Low")]),
            3,
            "Bakiye 10 percent'un altında, and 3 more.",
            "Bakiye yüzde 10'un altında, ve 3 tane daha.",
        ),
        (
            annotated(&[("voice", "🔴 https://a.b"), ("summary", "Low")]),
            0,
            "Critical alert: CaptchaAI Balance Low. Low.",
            "Kritik alarm: CaptchaAI Balance Low. Low.",
        ),
        (alert("DiskFull", "warning", true), 0, "Warning: Disk Full.", "Uyarı: Disk Full."),
        (alert("DiskFull", "info", true), 0, "Notice: Disk Full.", "Bilgi: Disk Full."),
        (alert("DiskFull", "page", true), 0, "page alert: Disk Full.", "page alarmı: Disk Full."),
        (alert("DiskFull", "", true), 0, "Alert: Disk Full.", "Alarm: Disk Full."),
        (alert("", "", true), 0, "Alert: alert.", "Alarm: alert."),
        (alert("🔴", "🔴", true), 0, "alert.", "alarmı."),
    ] {
        assert_eq!(said(&english(), &alert, others), in_english);
        assert_eq!(said(&turkish(), &alert, others), in_turkish);
    }
}

#[test]
fn whoever_is_woken_up_hears_which_account_it_is() {
    let mut alert = annotated(&[("summary", "Low")]);
    alert.labels.insert("account".to_owned(), "main".to_owned());
    assert_eq!(said(&english(), &alert, 0), "Critical alert: CaptchaAI Balance Low, account main. Low.");
    assert_eq!(said(&turkish(), &alert, 0), "Kritik alarm: CaptchaAI Balance Low, hesap main. Low.");
}

#[test]
fn the_voice_of_the_group_counts_where_the_alert_has_none() {
    let mut group = group(vec![alert("A", "critical", true)]);
    group.common_annotations.insert("voice".to_owned(), "Ortak söz.".to_owned());
    let with = |voice: &str| annotated(&[("voice", voice)]);
    for (alert, expected) in
        [(annotated(&[]), "Ortak söz."), (with(" \n"), "Ortak söz."), (with("Kendi sözü."), "Kendi sözü.")]
    {
        assert_eq!(of_alerts(&turkish(), &group, &alert, 0, false), expected);
    }
}

#[test]
fn discord_is_named_where_it_cannot_be_reached() {
    let alert = annotated(&[("voice", "Bakiye düşük.")]);
    let group = group(vec![alert.clone()]);
    let (turkish, english) = (turkish(), english());
    assert_eq!(of_alerts(&english, &group, &alert, 0, true), "Discord cannot be reached. Bakiye düşük.");
    let expected = "Discord'a ulaşılamıyor. Bakiye düşük, ve 2 tane daha.";
    assert_eq!(of_alerts(&turkish, &group, &alert, 2, true), expected);
}

#[test]
fn notices_are_told_in_both_languages() {
    let silent = Notice::WatchdogSilent { last_heard_at: None, silent_seconds: 630 };
    let unusable = Notice::Unusable { destination: "discord/ops".to_owned(), why: "status 404".to_owned() };
    for (notice, in_english, in_turkish) in [
        (
            silent,
            "Nothing has been heard from Alertmanager for 10 minutes 30 seconds. Alerts may be getting lost.",
            "Alertmanager'dan haber alınamıyor. Sessizlik süresi: 10 dakika 30 saniye. Alarmlar ulaşmıyor olabilir.",
        ),
        (
            unusable,
            "discord ops refuses all messages, so nobody is told of alerts there until its configuration is corrected.",
            "discord ops hiçbir mesajı kabul etmiyor. Ayarı düzeltilene kadar alarmlar oraya ulaşmayacak.",
        ),
    ] {
        assert_eq!(of_notice(&english(), &notice), in_english);
        assert_eq!(of_notice(&turkish(), &notice), in_turkish);
    }
}

#[test]
fn a_call_never_says_more_than_is_read_nor_half_a_word() {
    let voice = |letters: usize| annotated(&[("voice", &format!("{} son", "ş".repeat(letters)))]);
    for (letters, length, last_word) in
        [(494, 498, true), (495, 499, true), (496, 500, true), (497, 497, false), (600, 500, false)]
    {
        let said = said(&turkish(), &voice(letters), 0);
        assert_eq!((said.chars().count(), said.ends_with(" son")), (length, last_word), "{letters}");
    }
}

#[test]
fn the_count_of_what_is_left_out_is_kept_whole() {
    let ending = ", ve 12 tane daha.";
    let words = "sözcük ".repeat(200);
    let said_words = said(&turkish(), &annotated(&[("voice", &words)]), 12);
    assert!(said_words.ends_with(&format!("sözcük{ending}")), "{said_words}");
    assert!((490..=500).contains(&said_words.chars().count()), "{said_words}");
    for (letters, length) in [(481, 499), (482, 500), (483, 500), (9999, 500)] {
        let said = said(&turkish(), &annotated(&[("voice", &"ş".repeat(letters))]), 12);
        assert!(said.chars().count() == length && said.ends_with(ending), "{letters} {said}");
    }
    let endless = annotated(&[("voice", &"a".repeat(5_000_000))]);
    assert!(said(&turkish(), &endless, u64::MAX).ends_with(", ve 18446744073709551615 tane daha."));
}

#[test]
fn a_file_changes_words_and_its_faults_are_found() {
    let own = |text: &str| words_with_file(Language::Turkish, "own.j2", text);
    let words = own("{% macro alert(alert) %}Uyan! {{ alert.labels.alertname }}{% endmacro %}").unwrap();
    let settings = Settings { words, ..turkish() };
    assert_eq!(said(&settings, &alert("Disk", "critical", true), 2), "Uyan! Disk, ve 2 tane daha.");
    let words = own(
        "{% macro more(count) %}{{ 'x ' * 300 }}{% endmacro %}{% macro unreachable() %}{{ 'y ' * 300 }}{% endmacro %}",
    );
    let settings = Settings { words: words.unwrap(), ..turkish() };
    let alert = alert("Disk", "critical", true);
    let long = of_alerts(&settings, &group(vec![alert.clone()]), &alert, 2, true);
    assert!(long.chars().count() <= LONGEST && long.contains("Kritik alarm: Disk, x"), "{long}");
    for (text, line) in [
        ("{% macro alert(alert) %}\n{{ alert.nothing }}{% endmacro %}", 2),
        ("\n\n{% macro more(count) %}{{ count.x.y }}{% endmacro %}", 3),
        ("{% macro unreachable() %}{{ name }}{% endmacro %}", 1),
        ("{% macro watchdog_silent(notice) %}{{ notice.destination }}{% endmacro %}", 1),
        ("{% macro unusable(notice) %}{{ notice.silent_for }}{% endmacro %}", 1),
        ("{% macro", 1),
    ] {
        assert_eq!(own(text).unwrap_err().line, line, "{text}");
    }
}

#[test]
fn silence_is_not_a_call() {
    // Whatever words a file has, and whatever an alert says, something is said.
    let words = words_with_file(Language::Turkish, "own.j2", "{% macro alert(alert) %}🔴{% endmacro %}").unwrap();
    let settings = Settings { words, ..turkish() };
    assert_eq!(said(&settings, &annotated(&[("voice", "🔴")]), 0), "Alarm");
    let words = words_with_file(Language::English, "own.j2", "{% macro unusable(notice) %}🔴{% endmacro %}").unwrap();
    let notice = Notice::Unusable { destination: String::new(), why: String::new() };
    assert_eq!(of_notice(&Settings { words, ..english() }, &notice), "Alert");
}

use proptest::prelude::*;

use super::*;

fn check(language: Language, cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(speakable(text, language), *expected, "{text:?}");
    }
}

#[test]
fn what_only_eyes_can_read_is_left_out() {
    for language in [Language::English, Language::Turkish] {
        check(
            language,
            &[
                ("Balance is low.", "Balance is low."),
                ("🔴 Balance   is\tlow 🚨🚨", "Balance is low"),
                ("Şüpheli çözüm ĞÜŞİÖÇ ğüşıöç", "Şüpheli çözüm ĞÜŞİÖÇ ğüşıöç"),
                ("👩‍💻 ⚠️ 1️⃣ ℹ️ Ⓜ️ 🅰 🇹🇷 ok", "1 ok"),
                ("**Bold** *and* `code` and __more__", "Bold and code and more"),
                ("half*way* through", "halfway through"),
                ("See https://example.com/a?b=c#d.", "See."),
                ("See [the runbook](https://example.com/x) now", "See the runbook now"),
                ("# Title\nfirst line\n- item one\n- item two", "Title. first line. item one. item two"),
                ("bell\u{7} \u{1b}[31mred\u{0}", "bell 31mred"),
                ("zero\u{200b}width\u{feff} soft\u{ad}hyphen", "zerowidth softhyphen"),
                ("captcha_type of job_name", "captcha type of job name"),
                ("\"quoted\" «text»", "quoted text"),
                ("wait... what?! no…", "wait. what? no."),
                (" , : . Start", "Start"),
                ("The end,", "The end"),
                ("balance (main), low", "balance, main, low"),
                ("alert(s) fire", "alert s fire"),
                ("one — two - three–four", "one, two, three-four"),
                ("us-east-1 at 10:30", "us-east-1 at 10:30"),
                ("it's 15'i ' x", "it's 15'i x"),
                ("CaptchaAI", "CaptchaAI"),
                ("s\u{327}u\u{308}phe", "s\u{327}u\u{308}phe"),
                ("🔥🔥🔥", ""),
                ("https://example.com", ""),
                ("", ""),
                ("...", ""),
                ("p95 of v2 node-3", "p95 of v2 node-3"),
            ],
        );
    }
}

#[test]
fn numbers_units_and_signs_are_english_words() {
    check(
        Language::English,
        &[
            ("15%", "15 percent"),
            ("15.5 %, then 1%", "15.5 percent, then 1 percent"),
            ("%15", "15 percent"),
            ("percent: %", "percent: percent"),
            ("$2.40", "2.40 dollars"),
            ("$ 1 left", "1 dollar left"),
            ("USD 12.345", "12.35 dollars"),
            ("2.40 USD", "2.40 dollars"),
            ("$5 USD", "5 dollars"),
            ("$5M and 1.5k tasks", "5 million dollars and 1.5 thousand tasks"),
            ("10€ or 10 TL or ₺10", "10 euros or 10 lira or 10 lira"),
            ("-5 °C and 20°", "minus 5 degrees and 20 degrees"),
            ("1h30m", "1 hour 30 minutes"),
            ("1d 2h 3m 4s 500ms", "1 day 2 hours 3 minutes 4 seconds 500 milliseconds"),
            ("12 s", "12 seconds"),
            ("5 sheep", "5 sheep"),
            ("120s.", "120 seconds."),
            ("512MiB of 2 GB, 10KB", "512 megabytes of 2 gigabytes, 10 kilobytes"),
            ("7.2x", "7.2 times"),
            ("3/5 workers", "3 of 5 workers"),
            ("31/01/2026", "31 01 2026"),
            ("5/s, 3 req/s, 2 MB/s, and/or", "5 per second, 3 req per second, 2 megabytes per second, and or"),
            ("a < 5, b > 6, c <= 7, d >= 8", "a less than 5, b greater than 6, c at most 7, d at least 8"),
            ("a = b == c != d", "a equals b equals c is not equal to d"),
            ("up → down -> up", "up, down, up"),
            ("A & B + C", "A and B plus C"),
            ("~5 ≈6", "about 5 about 6"),
            ("10.0.0.1:9877", "10 dot 0 dot 0 dot 1:9877"),
            ("v1.2.3", "v1 dot 2 dot 3"),
            ("0.15384615384615385", "0.15"),
            ("2026-01-31", "2026-01-31"),
            ("> 5 now", "greater than 5 now"),
            ("> quoted", "quoted"),
        ],
    );
}

#[test]
fn numbers_units_and_signs_are_turkish_words() {
    check(
        Language::Turkish,
        &[
            ("Hata oranı %15.5", "Hata oranı yüzde 15,5"),
            ("Hata oranı 15,5 %.", "Hata oranı yüzde 15,5."),
            ("%15'i geçti", "yüzde 15'i geçti"),
            ("15%'i geçti", "yüzde 15'i geçti"),
            ("-5%", "eksi yüzde 5"),
            ("Bakiye $1.85", "Bakiye 1,85 dolar"),
            ("Bakiye 1.85$, 2 USD", "Bakiye 1,85 dolar, 2 dolar"),
            ("₺250 ya da 250 TL", "250 lira ya da 250 lira"),
            ("3€", "3 avro"),
            ("42 °C", "42 derece"),
            ("1h30m", "1 saat 30 dakika"),
            ("5 dk 10 sn 3d", "5 dakika 10 saniye 3 gün"),
            ("250ms'den uzun", "250 milisaniye'den uzun"),
            ("1.5k görev, 2M", "1,5 bin görev, 2 milyon"),
            ("512MB 2GiB", "512 megabayt 2 gigabayt"),
            ("3/5", "3 bölü 5"),
            ("20 istek/s", "20 istek saniyede"),
            ("a < 10 ve b >= 3", "a küçüktür 10 ve b büyük eşittir 3"),
            ("A & B + C = D", "A ve B artı C eşittir D"),
            ("~5 dakika", "yaklaşık 5 dakika"),
            ("10.0.0.1", "10 nokta 0 nokta 0 nokta 1"),
            ("1.234,56 TL", "1234,56 lira"),
            ("7.2x", "7,2 kat"),
        ],
    );
}

#[test]
fn names_come_apart_at_their_capitals() {
    for (name, expected) in [
        ("CaptchaAIBalanceCritical", "CaptchaAI Balance Critical"),
        ("CaptchaAISolveSLOFastBurn", "CaptchaAI Solve SLO Fast Burn"),
        ("CaptchaAI", "CaptchaAI"),
        ("InstanceDown", "Instance Down"),
        ("P95High", "P95 High"),
        ("lower_case", "lower_case"),
        ("already apart", "already apart"),
        ("ŞüpheliÇözüm", "Şüpheli Çözüm"),
        ("HTTPServer", "HTTP Server"),
        ("", ""),
    ] {
        assert_eq!(spaced(name), expected, "{name}");
    }
}

#[test]
fn a_cut_is_after_a_word_and_counts_characters() {
    for (text, most, expected) in [
        ("one two three", 13, "one two three"),
        ("one two three", 100, "one two three"),
        ("one two three", 12, "one two"),
        ("one two three", 7, "one two"),
        ("one two three", 6, "one"),
        ("one, two", 5, "one"),
        ("şşş şşş", 4, "şşş"),
        ("ŞŞŞŞŞŞ", 3, "ŞŞŞ"),
        ("a", 0, ""),
        ("", 0, ""),
    ] {
        assert_eq!(cut(text, most), expected, "{text} {most}");
    }
}

#[test]
fn endless_text_is_quick() {
    for part in ["a", "1", "1.", "5 %", "$", "-", "/1", "(", "s/", "\u{301}", "[a](b)", "1e", "😀", "'"] {
        speakable(&part.repeat(1_000_000), Language::Turkish);
    }
}

/// Whether a text is only what [`speakable`] lets through.
fn is_speakable(text: &str) -> bool {
    let allowed = |c: char| is_letter(c) || is_accent(c) || c.is_ascii_digit() || " .,:!?'-".contains(c);
    let neat = !text.contains("  ") && text.trim() == text && !text.contains("://");
    let begins = text.chars().next().is_none_or(char::is_alphanumeric);
    neat && begins && text.chars().all(allowed)
}

const FRAGMENTS: [&str; 40] = [
    "word",
    "CaptchaAI",
    "5",
    "0.25",
    "1e",
    "%",
    "$",
    "USD ",
    "ms",
    "s",
    "/",
    "/s",
    "http",
    "://",
    "www.",
    "example.com",
    " ",
    "\n",
    ".",
    ",",
    "-",
    "(",
    ")",
    "[",
    "](",
    "*",
    "`",
    "_",
    "'",
    "’",
    "🔴",
    "\u{fe0f}",
    "\u{7}",
    "ş",
    "<",
    ">=",
    "°",
    "C",
    "~",
    "\u{327}",
];

proptest! {
    #[test]
    fn any_text_becomes_speakable(text in any::<String>()) {
        for language in [Language::English, Language::Turkish] {
            let said = speakable(&text, language);
            prop_assert!(is_speakable(&said), "{:?}", said);
        }
    }

    #[test]
    fn anything_like_a_text_becomes_speakable(parts in prop::collection::vec(prop::sample::select(&FRAGMENTS[..]), 0..40)) {
        for language in [Language::English, Language::Turkish] {
            let said = speakable(&parts.concat(), language);
            prop_assert!(is_speakable(&said), "{:?}", said);
            // Said words are words already, so that nothing is changed twice.
            prop_assert!(is_speakable(&speakable(&said, language)));
        }
    }
}

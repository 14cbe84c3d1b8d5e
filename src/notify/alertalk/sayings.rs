//! Units and signs as they are said, in each language.

use crate::notify::words::Language;

/// A unit behind a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unit {
    one: &'static str,
    many: &'static str,
    turkish: &'static str,
    /// Whether it may stand only right behind the number: elsewhere it may well be a word.
    adjacent: bool,
}

const fn unit(one: &'static str, many: &'static str, turkish: &'static str) -> Unit {
    Unit { one, many, turkish, adjacent: false }
}

const fn adjacent(one: &'static str, many: &'static str, turkish: &'static str) -> Unit {
    Unit { one, many, turkish, adjacent: true }
}

const MICROSECONDS: Unit = unit("microsecond", "microseconds", "mikrosaniye");
const MILLISECONDS: Unit = unit("millisecond", "milliseconds", "milisaniye");
const SECONDS: Unit = unit("second", "seconds", "saniye");
const MINUTES: Unit = unit("minute", "minutes", "dakika");
const HOURS: Unit = unit("hour", "hours", "saat");
const DAYS: Unit = unit("day", "days", "gün");
const KILOBYTES: Unit = unit("kilobyte", "kilobytes", "kilobayt");
const MEGABYTES: Unit = unit("megabyte", "megabytes", "megabayt");
const GIGABYTES: Unit = unit("gigabyte", "gigabytes", "gigabayt");
const TERABYTES: Unit = unit("terabyte", "terabytes", "terabayt");
const DOLLARS: Unit = unit("dollar", "dollars", "dolar");
const EUROS: Unit = unit("euro", "euros", "avro");
const LIRA: Unit = unit("lira", "lira", "lira");
const POUNDS: Unit = unit("pound", "pounds", "sterlin");
const DEGREES: Unit = unit("degree", "degrees", "derece");
const PERCENT: Unit = unit("percent", "percent", "yüzde");

/// As units are written.
const UNITS: [(&str, Unit); 43] = [
    ("%", PERCENT),
    ("µs", MICROSECONDS),
    ("μs", MICROSECONDS),
    ("us", adjacent("microsecond", "microseconds", "mikrosaniye")),
    ("ms", MILLISECONDS),
    ("s", SECONDS),
    ("sec", SECONDS),
    ("secs", SECONDS),
    ("sn", SECONDS),
    ("m", MINUTES),
    ("min", MINUTES),
    ("mins", MINUTES),
    ("dk", MINUTES),
    ("h", HOURS),
    ("hr", HOURS),
    ("hrs", HOURS),
    ("d", DAYS),
    ("B", adjacent("byte", "bytes", "bayt")),
    ("kB", KILOBYTES),
    ("KB", KILOBYTES),
    ("KiB", KILOBYTES),
    ("MB", MEGABYTES),
    ("MiB", MEGABYTES),
    ("GB", GIGABYTES),
    ("GiB", GIGABYTES),
    ("TB", TERABYTES),
    ("TiB", TERABYTES),
    ("$", DOLLARS),
    ("USD", DOLLARS),
    ("usd", DOLLARS),
    ("€", EUROS),
    ("EUR", EUROS),
    ("₺", LIRA),
    ("TL", LIRA),
    ("TRY", LIRA),
    ("£", POUNDS),
    ("GBP", POUNDS),
    ("°", DEGREES),
    ("º", DEGREES),
    ("°C", DEGREES),
    ("ºC", DEGREES),
    ("°F", DEGREES),
    ("x", adjacent("time", "times", "kat")),
];

/// How Prometheus abbreviates large numbers.
const MAGNITUDES: [(char, &str, &str); 3] =
    [('k', "thousand", "bin"), ('M', "million", "milyon"), ('G', "billion", "milyar")];

/// Units that people write before the number as well.
const PREFIXES: [&str; 9] = ["%", "$", "USD", "€", "EUR", "₺", "TRY", "£", "GBP"];

/// What stands behind a slash in a rate.
const RATES: [(&str, &str, &str); 8] = [
    ("s", "per second", "saniyede"),
    ("sec", "per second", "saniyede"),
    ("m", "per minute", "dakikada"),
    ("min", "per minute", "dakikada"),
    ("h", "per hour", "saatte"),
    ("hour", "per hour", "saatte"),
    ("d", "per day", "günde"),
    ("day", "per day", "günde"),
];

/// Signs between words, the longer of two that begin alike first.
const SIGNS: [(&str, &str, &str); 20] = [
    ("<=", "at most", "küçük eşittir"),
    (">=", "at least", "büyük eşittir"),
    ("!=", "is not equal to", "eşit değildir"),
    ("=>", ",", ","),
    ("->", ",", ","),
    ("==", "equals", "eşittir"),
    ("≤", "at most", "küçük eşittir"),
    ("≥", "at least", "büyük eşittir"),
    ("≠", "is not equal to", "eşit değildir"),
    ("<", "less than", "küçüktür"),
    (">", "greater than", "büyüktür"),
    ("=", "equals", "eşittir"),
    ("+", "plus", "artı"),
    ("&", "and", "ve"),
    ("%", "percent", "yüzde"),
    ("$", "dollars", "dolar"),
    ("€", "euros", "avro"),
    ("₺", "lira", "lira"),
    ("£", "pounds", "sterlin"),
    ("°", "degrees", "derece"),
];

impl Unit {
    /// The unit that is written like this behind a number, with or without a space in between.
    pub(super) fn behind(written: &str, spaced: bool) -> Option<Self> {
        let found = UNITS.iter().find(|(name, _)| *name == written).map(|&(_, unit)| unit);
        found.filter(|unit| !(spaced && unit.adjacent))
    }

    /// The unit that is written like this before a number.
    pub(super) fn before(written: &str) -> Option<Self> {
        PREFIXES.contains(&written).then(|| Self::behind(written, false)).flatten()
    }

    /// A number with its unit.
    pub(super) fn said_with(self, number: &str, language: Language) -> String {
        match language {
            Language::Turkish if self == PERCENT => format!("{} {number}", self.turkish),
            Language::Turkish => format!("{number} {}", self.turkish),
            Language::English if number == "1" => format!("{number} {}", self.one),
            Language::English => format!("{number} {}", self.many),
        }
    }
}

/// How the letter right behind a number is said that makes it a thousand times as much, or more.
pub(super) fn magnitude(letter: char, language: Language) -> Option<&'static str> {
    let (_, english, turkish) = MAGNITUDES.iter().find(|(name, _, _)| *name == letter)?;
    Some(choose(language, english, turkish))
}

/// How a rate is said whose unit of time is written like this.
pub(super) fn rate(written: &str, language: Language) -> Option<&'static str> {
    let (_, english, turkish) = RATES.iter().find(|(name, _, _)| *name == written)?;
    Some(choose(language, english, turkish))
}

/// The sign that `text` begins with: how many characters it has, and how it is said.
pub(super) fn sign(text: &[char], language: Language) -> Option<(usize, &'static str)> {
    let begins = |sign: &str| sign.chars().enumerate().all(|(index, c)| text.get(index) == Some(&c));
    let (written, english, turkish) = SIGNS.iter().find(|(written, _, _)| begins(written))?;
    Some((written.chars().count(), choose(language, english, turkish)))
}

/// What is said before a number below zero.
pub(super) fn minus(language: Language) -> &'static str {
    choose(language, "minus", "eksi")
}

/// What is said before a number that is not exact.
pub(super) fn about(language: Language) -> &'static str {
    choose(language, "about", "yaklaşık")
}

/// What is said between the numbers of `3/5`.
pub(super) fn of(language: Language) -> &'static str {
    choose(language, "of", "bölü")
}

/// What is said for the dots of an address or a version.
pub(super) fn dot(language: Language) -> &'static str {
    choose(language, "dot", "nokta")
}

/// What stands between the whole part of a number and its fraction.
pub(super) fn decimal_mark(language: Language) -> char {
    match language {
        Language::English => '.',
        Language::Turkish => ',',
    }
}

/// What is said where there are no other words.
pub(super) fn something(language: Language) -> &'static str {
    choose(language, "Alert", "Alarm")
}

fn choose(language: Language, english: &'static str, turkish: &'static str) -> &'static str {
    match language {
        Language::English => english,
        Language::Turkish => turkish,
    }
}

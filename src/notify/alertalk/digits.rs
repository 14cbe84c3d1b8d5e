//! Numbers as people say them.

use super::sayings;
use crate::notify::words::Language;

/// The number that `text` begins with, as it is written: digits with single dots and commas between
/// them, and an exponent. `text` begins with a digit.
pub(super) fn literal(text: &[char]) -> &[char] {
    let digit = |at: usize| text.get(at).is_some_and(char::is_ascii_digit);
    let mut end = 0;
    while digit(end) || (matches!(text.get(end), Some('.' | ',')) && digit(end + 1)) {
        end += 1;
    }
    if matches!(text.get(end), Some('e' | 'E')) {
        let signed = usize::from(matches!(text.get(end + 1), Some('+' | '-')));
        let first = end + 1 + signed;
        let digits = text.iter().skip(first).take_while(|c| c.is_ascii_digit()).count();
        if digits > 0 && !text.get(first + digits).is_some_and(|c| c.is_alphanumeric()) {
            end = first + digits;
        }
    }
    text.get(..end).unwrap_or_default()
}

/// A number for a voice: without what separates thousands, with few decimals, and with the decimal mark
/// of the language. Addresses and versions are said with their dots.
pub(super) fn said(literal: &str, language: Language) -> String {
    if literal.contains(['e', 'E']) {
        let value = literal.replace(',', ".").parse::<f64>();
        return value.map_or_else(|_| literal.to_owned(), |value| rounded(value, language));
    }
    let (dots, commas) = (literal.matches('.').count(), literal.matches(',').count());
    match (dots, commas) {
        (0, 0) => literal.to_owned(),
        (1, 0) => decimal(literal, '.', language),
        (0, 1) if language == Language::English && is_grouped(literal, ',') => literal.replace(',', ""),
        (0, 1) => decimal(literal, ',', language),
        (_, 0) if is_grouped(literal, '.') && !is_address(literal) => literal.replace('.', ""),
        (_, 0) => literal.replace('.', &format!(" {} ", sayings::dot(language))),
        (0, _) if is_grouped(literal, ',') => literal.replace(',', ""),
        (1, _) if literal.rfind('.') > literal.rfind(',') => decimal(&literal.replace(',', ""), '.', language),
        (_, 1) if literal.rfind(',') > literal.rfind('.') => decimal(&literal.replace('.', ""), ',', language),
        _ => literal.replace(['.', ','], " "),
    }
}

/// Whether all separators set off thousands.
fn is_grouped(literal: &str, separator: char) -> bool {
    let mut groups = literal.split(separator);
    let first = groups.next().unwrap_or_default();
    (1..=3).contains(&first.len()) && !first.starts_with('0') && groups.all(|group| group.len() == 3)
}

/// Whether it may be an IPv4 address.
fn is_address(literal: &str) -> bool {
    literal.split('.').count() == 4 && literal.split('.').all(|part| part.parse::<u8>().is_ok())
}

fn decimal(literal: &str, mark: char, language: Language) -> String {
    let (whole, fraction) = literal.split_once(mark).unwrap_or((literal, ""));
    if fraction.bytes().all(|digit| digit == b'0') {
        return whole.to_owned();
    }
    if fraction.len() <= 2 {
        return format!("{whole}{}{fraction}", sayings::decimal_mark(language));
    }
    let value = format!("{whole}.{fraction}").parse::<f64>();
    value.map_or_else(|_| whole.to_owned(), |value| rounded(value, language))
}

/// Two decimals, or two digits that are not zero where the number is smaller than that. `value` is not
/// negative.
fn rounded(value: f64, language: Language) -> String {
    /// Smaller is nothing, to whoever hears it.
    const SMALLEST: f64 = 1e-9;
    /// A voice would read out every digit of more.
    const LARGEST: f64 = 1e18;
    if value < SMALLEST || value.is_nan() {
        return "0".to_owned();
    }
    let mut decimals = 2;
    let mut small = value;
    while small < 0.1 {
        small *= 10.0;
        decimals += 1;
    }
    let text = format!("{:.decimals$}", value.min(LARGEST));
    let text = text.trim_end_matches('0').trim_end_matches('.');
    text.replace('.', &sayings::decimal_mark(language).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_ends_where_its_digits_do() {
        for (text, expected) in [
            ("5", "5"),
            ("5.", "5"),
            ("5. Next", "5"),
            ("5.25,", "5.25"),
            ("1,234.5x", "1,234.5"),
            ("5..6", "5"),
            ("10.0.0.1:80", "10.0.0.1"),
            ("1e3", "1e3"),
            ("1.5e-05 s", "1.5e-05"),
            ("1e+06", "1e+06"),
            ("5e", "5"),
            ("5e+", "5"),
            ("5e3x", "5"),
            ("5ex", "5"),
        ] {
            let chars: Vec<char> = text.chars().collect();
            assert_eq!(literal(&chars).iter().collect::<String>(), expected, "{text}");
        }
    }

    #[test]
    fn numbers_are_said_as_people_say_them() {
        for (text, english, turkish) in [
            ("0", "0", "0"),
            ("15", "15", "15"),
            ("007", "007", "007"),
            ("2.5", "2.5", "2,5"),
            ("2,5", "2.5", "2,5"),
            ("2.40", "2.40", "2,40"),
            ("10.00", "10", "10"),
            ("0.1538461538", "0.15", "0,15"),
            ("12.999", "13", "13"),
            ("0.05384", "0.054", "0,054"),
            ("0.00000000000001", "0", "0"),
            ("1,234", "1234", "1,23"),
            ("0,250", "0.25", "0,25"),
            ("1,234,567", "1234567", "1234567"),
            ("1,234.56", "1234.56", "1234,56"),
            ("1.234,56", "1234.56", "1234,56"),
            ("1.234.567", "1234567", "1234567"),
            ("1,2,3", "1 2 3", "1 2 3"),
            ("10.0.0.1", "10 dot 0 dot 0 dot 1", "10 nokta 0 nokta 0 nokta 1"),
            ("192.168.100.200", "192 dot 168 dot 100 dot 200", "192 nokta 168 nokta 100 nokta 200"),
            ("1.5e-05", "0.000015", "0,000015"),
            ("1e+06", "1000000", "1000000"),
            ("1e999", "1000000000000000000", "1000000000000000000"),
            ("1.2,3.4,5", "1 2 3 4 5", "1 2 3 4 5"),
        ] {
            assert_eq!(said(text, Language::English), english, "{text}");
            assert_eq!(said(text, Language::Turkish), turkish, "{text}");
        }
    }
}

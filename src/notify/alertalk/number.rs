//! Phone numbers that can be called. They are private: nothing that is logged, shown as a label or told
//! as an error holds one.

use std::fmt;

/// A Turkish mobile number: ten digits, the first a 5.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PhoneNumber(String);

/// What is wrong with a text that is no such number; the text is not in it.
const EXPECTED: &str = "is no Turkish mobile number; expected ten digits of which the first is a 5, as in 5XX XXX XX XX, \
                        with or without +90 or 0 before them";

impl PhoneNumber {
    /// Reads a number as people write it: with or without the code of the country, with spaces, dashes,
    /// dots and parentheses.
    pub fn parse(text: &str) -> Result<Self, String> {
        let written = |c: &char| !matches!(c, ' ' | '\u{a0}' | '-' | '.' | '(' | ')');
        let compact: String = text.chars().filter(written).collect();
        let prefix = ["+90", "0090", "90", "0", ""].into_iter().find(|prefix| {
            let rest = compact.strip_prefix(prefix);
            rest.is_some_and(|rest| rest.len() == 10 && rest.starts_with('5'))
        });
        let digits = prefix.and_then(|prefix| compact.strip_prefix(prefix));
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        digits.map(|digits| Self(digits.to_owned())).ok_or_else(|| EXPECTED.to_owned())
    }

    /// Its ten digits: for Alertalk and for the record of calls, and for nothing else.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As people may see it.
    pub fn masked(&self) -> String {
        format!("5** *** ** {}", self.end())
    }

    fn end(&self) -> String {
        self.0.chars().skip(8).collect()
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PhoneNumber(…{})", self.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_as_people_write_them() {
        for text in [
            "5321234567",
            "532 123 45 67",
            "0532 123 45 67",
            "05321234567",
            "905321234567",
            "+905321234567",
            "+90 532 123 45 67",
            "+90 (532) 123-45-67",
            "(+90) 532.123.45.67",
            "00905321234567",
            "\u{a0}0 (532) 123 45 67 ",
        ] {
            assert_eq!(PhoneNumber::parse(text).unwrap().as_str(), "5321234567", "{text}");
        }
    }

    #[test]
    fn what_cannot_be_called_is_refused_without_showing_it() {
        for text in [
            "",
            " ",
            "532123456",
            "53212345678",
            "4321234567",
            "02121234567",
            "+1 532 123 45 67",
            "+05321234567",
            "+5321234567",
            "90905321234567",
            "532+1234567",
            "532123456a",
            "532/123/45/67",
            "٥٣٢١٢٣٤٥٦٧",
            "5ş2123456",
            "5321234567,5321234568",
            "905321234",
        ] {
            let error = PhoneNumber::parse(text).unwrap_err();
            assert_eq!(error, EXPECTED, "{text}");
        }
    }

    #[test]
    fn a_number_does_not_show_itself() {
        let number = PhoneNumber::parse("+90 532 123 45 67").unwrap();
        assert_eq!(number.masked(), "5** *** ** 67");
        assert_eq!(format!("{number:?}"), "PhoneNumber(…67)");
    }
}

//! What Alertalk is asked to do, and what is wrong with it.

use serde_json::Value;

/// Characters that are read aloud.
const MAX_TEXT: usize = 500;

/// What a careful client never asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The end of the text would not be read.
    #[error("the text has {0} characters; 500 are read at most")]
    TooLong(usize),
    /// Nobody understands a URL that is read aloud.
    #[error("the text has a URL")]
    Url,
    /// A voice cannot read it.
    #[error("the text has {0:?}, which is no letter, digit or punctuation")]
    Emoji(char),
    /// A voice cannot read it.
    #[error("the text has the control character {0:?}")]
    Control(char),
    /// A voice reads its signs, or leaves them out.
    #[error("the text has Markdown: {0:?}")]
    Markdown(&'static str),
    /// It cannot be called.
    #[error("{0:?} is no number of ten digits that begins with 5")]
    BadNumber(String),
    /// It is called and paid for twice.
    #[error("the number {0} is given twice")]
    RepeatedNumber(String),
    /// The service has said that it does not want this key.
    #[error("another request with a key that was refused before")]
    RefusedKeyAgain,
}

/// A call that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) numbers: Vec<String>,
    pub(super) text: String,
}

/// Reads a body: what is wanted, or why that is a 400.
pub(super) fn read(body: &[u8]) -> Result<Wanted, &'static str> {
    let body: Value = serde_json::from_slice(body).map_err(|_| "invalid JSON")?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    let numbers = text("phone_number").ok_or("phone_number is required")?;
    let text = text("error_message").ok_or("error_message is required")?;
    let numbers = numbers.split(',').map(|number| number.trim().to_owned()).collect();
    Ok(Wanted { numbers, text: text.to_owned() })
}

/// Whether a number can be called.
pub(super) fn is_mobile(number: &str) -> bool {
    number.len() == 10 && number.starts_with('5') && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// What a careful client would not have asked for.
pub(super) fn violations(wanted: &Wanted) -> Vec<Violation> {
    let mut found = Vec::new();
    let length = wanted.text.chars().count();
    if length > MAX_TEXT {
        found.push(Violation::TooLong(length));
    }
    let lower = wanted.text.to_lowercase();
    if ["://", "www."].iter().any(|sign| lower.contains(sign)) {
        found.push(Violation::Url);
    }
    found.extend(wanted.text.chars().find(|&c| is_pictorial(c)).map(Violation::Emoji));
    found.extend(wanted.text.chars().find(|c| c.is_control()).map(Violation::Control));
    let markdown = ["**", "__", "~~", "||", "`", "](", "# "].into_iter().find(|sign| wanted.text.contains(sign));
    found.extend(markdown.map(Violation::Markdown));
    for (position, number) in wanted.numbers.iter().enumerate() {
        if !is_mobile(number) {
            found.push(Violation::BadNumber(number.clone()));
        } else if wanted.numbers.iter().take(position).any(|earlier| earlier == number) {
            found.push(Violation::RepeatedNumber(number.clone()));
        }
    }
    found
}

/// Emoji, arrows, dingbats, and what joins and varies them.
fn is_pictorial(character: char) -> bool {
    matches!(u32::from(character),
        0x00A9 | 0x00AE | 0x200D | 0x203C | 0x2049 | 0x20E3 | 0x2122 | 0x2139
        | 0x2190..=0x21FF | 0x2300..=0x23FF | 0x2460..=0x27BF | 0x2900..=0x297F | 0x2B00..=0x2BFF
        | 0x3030 | 0x303D | 0x3297 | 0x3299 | 0xFE00..=0xFE0F | 0x1F000..=0x1FAFF | 0xE0020..=0xE007F)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_read_or_refused_with_the_reason() {
        let wanted = |numbers: &[&str], text: &str| {
            Ok(Wanted { numbers: numbers.iter().map(|&number| number.to_owned()).collect(), text: text.to_owned() })
        };
        let (no_number, no_text) = (Err("phone_number is required"), Err("error_message is required"));
        for (body, expected) in [
            (r#"{"phone_number":"5321234567","error_message":" a "}"#, wanted(&["5321234567"], "a")),
            (
                r#"{"phone_number":"5321234567, 5331234567","error_message":"a"}"#,
                wanted(&["5321234567", "5331234567"], "a"),
            ),
            (r#"{"phone_number":"5321234567,","error_message":"a"}"#, wanted(&["5321234567", ""], "a")),
            (r#"{"error_message":"a"}"#, no_number.clone()),
            (r#"{"phone_number":"","error_message":"a"}"#, no_number.clone()),
            (r#"{"phone_number":5321234567,"error_message":"a"}"#, no_number.clone()),
            (r#"{"phone_number":"5321234567"}"#, no_text.clone()),
            (r#"{"phone_number":"5321234567","error_message":" \n"}"#, no_text),
            ("[]", no_number),
            ("phone_number=5321234567", Err("invalid JSON")),
        ] {
            assert_eq!(read(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn texts_are_held_to_what_a_voice_can_read() {
        for (text, expected) in [
            ("Kritik: ana hesapta bakiye 4,5 dolar. Süre: on dakika (tahmini)!", None),
            ("Şu anda %20 doğru; \"ana\" hesap - 3/5 #2", None),
            (&"ş".repeat(500), None),
            (&"ş".repeat(501), Some(Violation::TooLong(501))),
            ("bak: HTTPS://a.example", Some(Violation::Url)),
            ("www.example.com", Some(Violation::Url)),
            ("🔥 yangın", Some(Violation::Emoji('🔥'))),
            ("⚠ dikkat", Some(Violation::Emoji('⚠'))),
            ("✅", Some(Violation::Emoji('✅'))),
            ("a → b", Some(Violation::Emoji('→'))),
            ("a\nb", Some(Violation::Control('\n'))),
            ("a\u{0}", Some(Violation::Control('\u{0}'))),
            ("**kritik**", Some(Violation::Markdown("**"))),
            ("`up == 0`", Some(Violation::Markdown("`"))),
            ("# Başlık", Some(Violation::Markdown("# "))),
        ] {
            let wanted = Wanted { numbers: vec!["5321234567".to_owned()], text: text.to_owned() };
            assert_eq!(violations(&wanted), Vec::from_iter(expected), "{text}");
        }
    }

    #[test]
    fn numbers_are_turkish_mobiles_each_once() {
        let bad = |number: &str| vec![Violation::BadNumber(number.to_owned())];
        for (numbers, expected) in [
            (&["5321234567", "5331234567"][..], vec![]),
            (&["5321234567", "5321234567"], vec![Violation::RepeatedNumber("5321234567".to_owned())]),
            (&["05321234567"], bad("05321234567")),
            (&["+905321234567"], bad("+905321234567")),
            (&["4321234567"], bad("4321234567")),
            (&["532123456"], bad("532123456")),
            (&["532 123 45 67"], bad("532 123 45 67")),
            (&["5321234567", ""], bad("")),
            (&["５３２１２３４５６７"], bad("５３２１２３４５６７")),
        ] {
            let numbers = numbers.iter().map(|&number| number.to_owned()).collect();
            assert_eq!(violations(&Wanted { numbers, text: "a".to_owned() }), expected);
        }
    }
}

//! JSON that is read one level at a time, so that what is odd in one place costs nothing in another.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Fields of one object that are looked at; nobody sends as many.
const MAX_FIELDS: usize = 1024;

/// Any JSON value, not yet read.
pub(super) type Raw<'a> = &'a RawValue;

/// The fields of an object, in the order in which they were sent. A name may come twice; the last counts.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    /// Names and values.
    pub(super) known: Vec<(Cow<'a, str>, Raw<'a>)>,
    /// Whether there were more than anybody sends.
    pub(super) cut: bool,
}

/// The first items of an array.
#[derive(Debug)]
pub(super) struct Items<'a, const MOST: usize> {
    /// The items.
    pub(super) first: Vec<Raw<'a>>,
    /// How many more there were.
    pub(super) left_out: u64,
}

/// A text that is copied only where it has escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Text,
    /// A number, `true` or `false`.
    Scalar,
    Array,
    Object,
}

impl Kind {
    /// The kind of a JSON text, by how it begins.
    pub(super) fn of(json: &str) -> Self {
        match json.trim_start().bytes().next() {
            Some(b'n') => Self::Null,
            Some(b'"') => Self::Text,
            Some(b'[') => Self::Array,
            Some(b'{') => Self::Object,
            _ => Self::Scalar,
        }
    }

    /// In words.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Text => "a text",
            Self::Scalar => "a number or a truth value",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

/// The text of a value: numbers and truth values as they are written, and nothing for the rest.
pub(super) fn text(raw: Raw<'_>) -> Option<Cow<'_, str>> {
    match Kind::of(raw.get()) {
        Kind::Text => serde_json::from_str(raw.get()).ok().map(|Text(text)| text),
        Kind::Scalar => Some(Cow::Borrowed(raw.get())),
        Kind::Null | Kind::Array | Kind::Object => None,
    }
}

/// A body as text that JSON can be read from: what is no UTF-8, and halves of surrogate pairs, which some
/// languages write for it, become `U+FFFD`. Either would cost the whole body otherwise.
pub(super) fn mended(body: &[u8]) -> Cow<'_, str> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let text = String::from_utf8_lossy(body);
    if text.contains(r"\ud") || text.contains(r"\uD") {
        return Cow::Owned(without_lone_surrogates(text.into_owned()));
    }
    text
}

fn without_lone_surrogates(text: String) -> String {
    const REPLACEMENT: &[u8] = br"\ufffd";
    let mut bytes = text.into_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes.get(at) == Some(&b'\\');
        let surrogates = (surrogate(&bytes, at), surrogate(&bytes, at + REPLACEMENT.len()));
        at += match surrogates {
            (Some(Half::Leading), Some(Half::Trailing)) => 2 * REPLACEMENT.len(),
            (Some(_), _) => {
                if let Some(place) = bytes.get_mut(at..at + REPLACEMENT.len()) {
                    place.copy_from_slice(REPLACEMENT);
                }
                REPLACEMENT.len()
            }
            (None, _) => 1 + usize::from(escape),
        };
    }
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Half of a surrogate pair.
#[derive(Debug, Clone, Copy)]
enum Half {
    Leading,
    Trailing,
}

/// The half of a pair that is escaped at a position.
fn surrogate(bytes: &[u8], at: usize) -> Option<Half> {
    let [b'\\', b'u', b'd' | b'D', half, _, _] = bytes.get(at..at + 6)? else { return None };
    match half {
        b'8' | b'9' | b'a' | b'b' | b'A' | b'B' => Some(Half::Leading),
        b'c'..=b'f' | b'C'..=b'F' => Some(Half::Trailing),
        _ => None,
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields::default();
        while fields.known.len() < MAX_FIELDS {
            let Some((Text(name), value)) = map.next_entry()? else { return Ok(fields) };
            fields.known.push((name, value));
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            fields.cut = true;
        }
        Ok(fields)
    }
}

impl<'de, const MOST: usize> Deserialize<'de> for Items<'de, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ItemsVisitor)
    }
}

struct ItemsVisitor<const MOST: usize>;

impl<'de, const MOST: usize> Visitor<'de> for ItemsVisitor<MOST> {
    type Value = Items<'de, MOST>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut items = Items { first: Vec::new(), left_out: 0 };
        while items.first.len() < MOST {
            let Some(item) = sequence.next_element()? else { return Ok(items) };
            items.first.push(item);
        }
        while sequence.next_element::<IgnoredAny>()?.is_some() {
            items.left_out += 1;
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_cost_the_whole_body_is_mended() {
        for (body, expected) in [
            (&b"\xef\xbb\xbf{}"[..], "{}"),
            (b"\"a\xffb\"", "\"a\u{fffd}b\""),
            (br#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (br#""\ud83d""#, r#""\ufffd""#),
            (br#""\uDE00\uD83D""#, r#""\ufffd\ufffd""#),
            (br#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (br#""\\ud83d""#, r#""\\ud83d""#),
            (br#""\ud7ff\ud8""#, r#""\ud7ff\ud8""#),
            (br"\", r"\"),
        ] {
            assert_eq!(mended(body), expected, "{expected}");
        }
    }

    #[test]
    fn scalars_are_texts_as_they_are_written() {
        for (json, expected) in [
            (r#""a\u0000\nb""#, Some("a\u{0}\nb")),
            ("1.50", Some("1.50")),
            ("1e999", Some("1e999")),
            ("123456789012345678901234567890", Some("123456789012345678901234567890")),
            ("true", Some("true")),
            ("null", None),
            ("[1]", None),
            (r#"{"a":1}"#, None),
        ] {
            let raw: Raw<'_> = serde_json::from_str(json).unwrap();
            assert_eq!(text(raw).as_deref(), expected, "{json}");
        }
    }

    #[test]
    fn numbers_of_fields_and_items_are_bounded() {
        let many = MAX_FIELDS + 3;
        let object = format!("{{{}}}", vec![r#""a":1"#; many].join(","));
        let fields: Fields<'_> = serde_json::from_str(&object).unwrap();
        assert_eq!((fields.known.len(), fields.cut), (MAX_FIELDS, true));
        let items: Items<'_, 2> = serde_json::from_str("[1,[2],{},4]").unwrap();
        assert_eq!((items.first.len(), items.left_out), (2, 2));
    }
}

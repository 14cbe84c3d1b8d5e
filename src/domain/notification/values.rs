//! Single values, as leniently as they can be read, and cut to their bounds.

use std::borrow::Cow;

use super::json::{self, Fields, Kind, Raw};
use crate::domain::alert::Texts;

/// Bytes of a value of a label or an annotation.
pub(super) const MAX_VALUE: usize = 16 * 1024;

/// Bytes of a name of a label or an annotation, and of a group's key.
pub(super) const MAX_NAME: usize = 1024;

/// Bytes of a URL, less one: no browser and no Discord takes more.
const URL_BOUND: usize = 2048;

/// Labels that are kept however many others there are.
const INDISPENSABLE: [&str; 2] = ["alertname", "severity"];

/// Null or an empty text: as good as not sent.
pub(super) fn is_absent(value: Raw<'_>) -> bool {
    matches!(value.get(), "null" | "\"\"")
}

/// Whether a status says that something fires.
pub(super) fn status(value: Raw<'_>) -> Option<bool> {
    let text = json::text(value)?;
    let text = text.trim();
    if text.eq_ignore_ascii_case("firing") {
        return Some(true);
    }
    text.eq_ignore_ascii_case("resolved").then_some(false)
}

/// Labels or annotations, and whether they are whole. Values that are null count as not sent.
pub(super) fn texts(value: Raw<'_>, most: usize) -> (Texts, bool) {
    match Kind::of(value.get()) {
        Kind::Null => return (Texts::new(), true),
        Kind::Object => {}
        Kind::Text | Kind::Scalar | Kind::Array => return (Texts::new(), is_absent(value)),
    }
    let Ok(fields) = serde_json::from_str::<Fields<'_>>(value.get()) else { return (Texts::new(), false) };
    let mut whole = !fields.cut;
    let mut read = Texts::new();
    for (name, value) in fields.known {
        let Some(text) = json::text(value) else {
            whole &= Kind::of(value.get()) == Kind::Null;
            continue;
        };
        let (short_name, short) = (cut(&name, MAX_NAME), cut(&text, MAX_VALUE));
        whole &= short_name.len() == name.len() && short.len() == text.len();
        read.insert(short_name.into_owned(), short.into_owned());
    }
    whole &= read.len() <= most;
    drop_dispensable(&mut read, most);
    (read, whole)
}

/// Leaves at most so many, without those that decisions depend on.
fn drop_dispensable(texts: &mut Texts, most: usize) {
    let mut excess = texts.len().saturating_sub(most);
    if excess == 0 {
        return;
    }
    let names: Vec<String> = texts.keys().rev().cloned().collect();
    for name in names.iter().filter(|name| !INDISPENSABLE.contains(&name.as_str())) {
        if excess == 0 {
            return;
        }
        texts.remove(name);
        excess -= 1;
    }
}

/// Text of at most so many bytes, cut between characters and marked.
pub(super) fn cut(text: &str, most: usize) -> Cow<'_, str> {
    const MARK: char = '…';
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let (kept, _) = text.split_at(text.floor_char_boundary(most.saturating_sub(MARK.len_utf8())));
    Cow::Owned(format!("{kept}{MARK}"))
}

/// A number of alerts, be it a number or a text.
pub(super) fn count(value: Raw<'_>) -> u64 {
    let Some(text) = json::text(value) else { return 0 };
    let text = text.trim();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and NaN is 0")]
    let rounded = || text.parse().map_or(0, |number: f64| number.ceil() as u64);
    text.parse().unwrap_or_else(|_| rounded())
}

/// A URL that people can follow.
pub(super) fn url(value: Raw<'_>) -> Option<String> {
    let text = json::text(value)?;
    let (scheme, rest) = text.split_once("://")?;
    let known = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let has_host = rest.starts_with(|first: char| first.is_alphanumeric() || first == '[');
    let one_word = !text.contains(|c: char| c.is_whitespace() || c.is_control());
    (known && has_host && one_word && text.len() < URL_BOUND).then(|| text.into_owned())
}

//! What Discord takes as a message. Lengths are in characters, without the white space around.

use std::collections::HashSet;

use serde_json::Value;

use super::faults::Faults;
use super::mentions::is_snowflake;

/// Characters over all embeds of one message.
const MAX_EMBED_TEXT: usize = 6000;

/// Characters of a URL.
const LONGEST_URL: usize = 2048;

/// The body of the 400 for a message that breaks a rule.
pub(super) fn check(message: &Value) -> Result<(), Value> {
    let mut faults = Faults::default();
    if message.is_object() {
        check_message(message, &mut faults);
    } else {
        faults.add("MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType");
    }
    faults.into_answer().map_or(Ok(()), Err)
}

/// Whether nothing of a message would be seen.
pub(super) fn is_empty(message: &Value) -> bool {
    let no_content = message.get("content").and_then(Value::as_str).is_none_or(|content| content.trim().is_empty());
    no_content && embeds(message).is_empty()
}

/// Whether embeds share a URL: then Discord shows only the first of them.
pub(super) fn has_merged_embeds(message: &Value) -> bool {
    let mut seen = HashSet::new();
    let urls = embeds(message).iter().filter_map(|embed| embed.get("url")?.as_str());
    urls.filter(|url| !url.is_empty()).any(|url| !seen.insert(url))
}

fn embeds(message: &Value) -> &[Value] {
    message.get("embeds").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn check_message(message: &Value, faults: &mut Faults) {
    text(message, "content", false, 2000, faults);
    check_username(message, faults);
    url(message, "avatar_url", faults);
    boolean(message, "tts", faults);
    let mut total = 0;
    list(message, "embeds", 10, faults, |embed, faults| total += check_embed(embed, faults));
    if total > MAX_EMBED_TEXT {
        let what = "Embed size exceeds maximum size of 6000";
        faults.within("embeds", |faults| faults.add("MAX_EMBED_SIZE_EXCEEDED", what));
    }
    if let Some(allowed) = message.get("allowed_mentions").filter(|allowed| !allowed.is_null()) {
        faults.within("allowed_mentions", |faults| check_allowed_mentions(allowed, faults));
    }
}

fn check_username(message: &Value, faults: &mut Faults) {
    let Some(name) = message.get("username").filter(|name| !name.is_null()) else { return };
    text(message, "username", false, usize::MAX, faults);
    let name = name.as_str().unwrap_or("?").trim().to_lowercase();
    faults.within("username", |faults| {
        if !(1..=80).contains(&name.chars().count()) {
            faults.add("BASE_TYPE_BAD_LENGTH", "Must be between 1 and 80 in length.");
        }
        for part in ["discord", "clyde"] {
            if name.contains(part) {
                faults.add("USERNAME_INVALID_CONTAINS", format!("Username cannot contain \"{part}\""));
            }
        }
    });
}

/// Checks an embed. How many characters count.
fn check_embed(embed: &Value, faults: &mut Faults) -> usize {
    if !embed.is_object() {
        faults.add("MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType");
        return 0;
    }
    let mut total = text(embed, "title", false, 256, faults) + text(embed, "description", false, 4096, faults);
    url(embed, "url", faults);
    check_timestamp(embed, faults);
    check_color(embed, faults);
    let mut shown = total > 0;
    for (part, name, most) in [("footer", "text", 2048), ("author", "name", 256)] {
        model(embed, part, faults, |model, faults| {
            total += text(model, name, true, most, faults);
            url(model, "url", faults);
            url(model, "icon_url", faults);
            shown = true;
        });
    }
    for part in ["image", "thumbnail"] {
        model(embed, part, faults, |model, faults| {
            url(model, "url", faults);
            shown = true;
        });
    }
    list(embed, "fields", 25, faults, |field, faults| {
        shown = true;
        if !field.is_object() {
            return faults.add("MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType");
        }
        total += text(field, "name", true, 256, faults) + text(field, "value", true, 1024, faults);
        boolean(field, "inline", faults);
    });
    if !shown {
        faults.within("description", |faults| faults.add("BASE_TYPE_REQUIRED", "This field is required"));
    }
    total
}

fn check_timestamp(embed: &Value, faults: &mut Faults) {
    let Some(value) = embed.get("timestamp").filter(|value| !value.is_null()) else { return };
    let text = value.as_str().unwrap_or_default();
    if text.parse::<jiff::Timestamp>().is_err() && text.parse::<jiff::civil::DateTime>().is_err() {
        let what = format!("Could not parse {text}. Should be ISO8601.");
        faults.within("timestamp", |faults| faults.add("DATE_TIME_TYPE_PARSE", what));
    }
}

fn check_color(embed: &Value, faults: &mut Faults) {
    let Some(value) = embed.get("color").filter(|value| !value.is_null()) else { return };
    faults.within("color", |faults| match value.as_i64() {
        Some(0..=0x00FF_FFFF) => {}
        Some(..0) => faults.add("NUMBER_TYPE_MIN", "int value should be greater than or equal to 0."),
        Some(_) => faults.add("NUMBER_TYPE_MAX", "int value should be less than or equal to 16777215."),
        None => faults.add("NUMBER_TYPE_COERCE", format!("Value \"{value}\" is not int.")),
    });
}

fn check_allowed_mentions(allowed: &Value, faults: &mut Faults) {
    if !allowed.is_object() {
        return faults.add("MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType");
    }
    let mut parsed = HashSet::new();
    list(allowed, "parse", 100, faults, |item, faults| match item.as_str() {
        Some(kind @ ("users" | "roles" | "everyone")) => drop(parsed.insert(kind)),
        _ => faults.add("BASE_TYPE_CHOICES", "Value must be one of ('roles', 'users', 'everyone')."),
    });
    for kind in ["users", "roles"] {
        let mut seen = HashSet::new();
        list(allowed, kind, 100, faults, |item, faults| match item.as_str().filter(|id| is_snowflake(id)) {
            Some(id) if seen.insert(id) => {}
            Some(_) => faults.add("SET_TYPE_ALREADY_CONTAINS_VALUE", "The set already contains this value"),
            None => faults.add("NUMBER_TYPE_COERCE", format!("Value {item} is not snowflake.")),
        });
        if parsed.contains(kind) && !seen.is_empty() {
            let what = format!("parse:[\"{kind}\"] and {kind}: [ids...] are mutually exclusive.");
            faults.add("MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE", what);
        }
    }
    boolean(allowed, "replied_user", faults);
}

/// Checks a text. How many characters it has.
fn text(object: &Value, name: &str, required: bool, most: usize, faults: &mut Faults) -> usize {
    let value = object.get(name).unwrap_or(&Value::Null);
    let length = value.as_str().map_or(0, |text| text.trim().chars().count());
    faults.within(name, |faults| match value {
        Value::Null | Value::String(_) if required && length == 0 => {
            faults.add("BASE_TYPE_REQUIRED", "This field is required");
        }
        Value::String(_) if length > most => too_long(most, faults),
        Value::Null | Value::String(_) => {}
        other => faults.add("STRING_TYPE_CONVERT", format!("Could not interpret \"{other}\" as string.")),
    });
    length
}

fn too_long(most: usize, faults: &mut Faults) {
    faults.add("BASE_TYPE_MAX_LENGTH", format!("Must be {most} or fewer in length."));
}

fn url(object: &Value, name: &str, faults: &mut Faults) {
    let Some(value) = object.get(name).filter(|value| !value.is_null()) else { return };
    let length = text(object, name, false, LONGEST_URL, faults);
    let Some(given) = value.as_str() else { return };
    if length == 0 {
        return;
    }
    faults.within(name, |faults| match url::Url::parse(given.trim()) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => {}
        Ok(url) => {
            let what =
                format!("Scheme \"{}\" is not supported. Scheme must be one of ('http', 'https').", url.scheme());
            faults.add("URL_TYPE_INVALID_SCHEME", what);
        }
        Err(_) => faults.add("URL_TYPE_INVALID_URL", "Not a well formed URL."),
    });
}

fn boolean(object: &Value, name: &str, faults: &mut Faults) {
    if !matches!(object.get(name), None | Some(Value::Null | Value::Bool(_))) {
        faults.within(name, |faults| faults.add("BOOLEAN_TYPE_CONVERT", "Must be either true or false."));
    }
}

fn model(object: &Value, name: &str, faults: &mut Faults, look: impl FnOnce(&Value, &mut Faults)) {
    let Some(value) = object.get(name).filter(|value| !value.is_null()) else { return };
    faults.within(name, |faults| {
        if value.is_object() {
            look(value, faults);
        } else {
            faults.add("MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType");
        }
    });
}

fn list<'v>(
    object: &'v Value,
    name: &str,
    most: usize,
    faults: &mut Faults,
    mut look: impl FnMut(&'v Value, &mut Faults),
) {
    let Some(value) = object.get(name).filter(|value| !value.is_null()) else { return };
    faults.within(name, |faults| {
        let Some(items) = value.as_array() else {
            return faults.add("LIST_TYPE_CONVERT", "Only iterables may be used in a ListType");
        };
        if items.len() > most {
            too_long(most, faults);
        }
        for (position, item) in items.iter().enumerate() {
            faults.within(&position.to_string(), |faults| look(item, faults));
        }
    });
}

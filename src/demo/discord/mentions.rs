//! Who is pinged by a message.

use serde_json::Value;

/// Who is pinged, each once: `user:ID`, `role:ID`, `@everyone`, `@here`. Only the text of a message
/// pings, never an embed; what stands in code does not. Without `allowed_mentions` everybody is pinged.
pub(super) fn pings(message: &Value) -> Vec<String> {
    let content = message.get("content").and_then(Value::as_str).unwrap_or_default();
    let allowed = message.get("allowed_mentions").filter(|allowed| !allowed.is_null());
    let mut found: Vec<String> = Vec::new();
    for mention in mentions(&without_code(content)) {
        if allowed.is_none_or(|allowed| mention.is_allowed(allowed)) {
            let name = mention.name();
            if !found.contains(&name) {
                found.push(name);
            }
        }
    }
    found
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mention<'a> {
    User(&'a str),
    Role(&'a str),
    Everyone(&'static str),
}

impl Mention<'_> {
    fn name(self) -> String {
        match self {
            Self::User(id) => format!("user:{id}"),
            Self::Role(id) => format!("role:{id}"),
            Self::Everyone(name) => name.to_owned(),
        }
    }

    fn is_allowed(self, allowed: &Value) -> bool {
        let listed = |list: &str, wanted: &str| {
            let list = allowed.get(list).and_then(Value::as_array);
            list.is_some_and(|list| list.iter().any(|item| item.as_str() == Some(wanted)))
        };
        match self {
            Self::User(id) => listed("parse", "users") || listed("users", id),
            Self::Role(id) => listed("parse", "roles") || listed("roles", id),
            Self::Everyone(_) => listed("parse", "everyone"),
        }
    }
}

/// All mentions in a text, in their order.
fn mentions(text: &str) -> Vec<Mention<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(position) = rest.find(['<', '@']) {
        let (_, from_here) = rest.split_at(position);
        let (mention, after) = mention_at(from_here);
        found.extend(mention);
        rest = after;
    }
    found
}

/// The mention with which a text begins, and what comes after it, or after its first character.
fn mention_at(text: &str) -> (Option<Mention<'_>>, &str) {
    for name in ["@everyone", "@here"] {
        if let Some(after) = text.strip_prefix(name) {
            return (Some(Mention::Everyone(name)), after);
        }
    }
    for prefix in ["<@&", "<@!", "<@"] {
        if let Some((id, after)) = text.strip_prefix(prefix).and_then(|rest| rest.split_once('>'))
            && is_snowflake(id)
        {
            let mention = if prefix == "<@&" { Mention::Role(id) } else { Mention::User(id) };
            return (Some(mention), after);
        }
    }
    let mut characters = text.chars();
    characters.next();
    (None, characters.as_str())
}

/// Whether a text is an id of Discord's.
pub(super) fn is_snowflake(text: &str) -> bool {
    (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A text without what stands between backticks, any number of them and as many again.
fn without_code(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('`') {
        let (before, from_here) = rest.split_at(start);
        kept.push_str(before);
        let inside = from_here.trim_start_matches('`');
        let (fence, _) = from_here.split_at(from_here.len() - inside.len());
        rest = closed(inside, fence).unwrap_or(inside);
        kept.push(' ');
    }
    kept + rest
}

/// What follows the fence that closes a piece of code.
fn closed<'a>(inside: &'a str, fence: &str) -> Option<&'a str> {
    let mut rest = inside;
    while let Some(position) = rest.find('`') {
        let (_, from_here) = rest.split_at(position);
        let after = from_here.trim_start_matches('`');
        if from_here.len() - after.len() == fence.len() {
            return Some(after);
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn pings_are_what_is_mentioned_and_allowed() {
        let everybody = &["user:1", "user:2", "role:3", "@everyone", "@here"][..];
        for (allowed, expected) in [
            (json!(null), everybody),
            (json!({ "parse": ["users", "roles", "everyone"] }), everybody),
            (json!({ "parse": ["everyone"] }), &["@everyone", "@here"]),
            (json!({ "parse": ["users"] }), &["user:1", "user:2"]),
            (json!({ "parse": [], "roles": ["3"], "users": ["2", "9"] }), &["user:2", "role:3"]),
            (json!({ "users": ["3"], "roles": ["1"] }), &[]),
            (json!({ "parse": [] }), &[]),
            (json!({}), &[]),
        ] {
            let content = "<@1> and <@!2>, <@&3>: @everyone @here <@1>";
            let message = json!({ "content": content, "allowed_mentions": allowed });
            assert_eq!(pings(&message), expected, "{message}");
        }
    }

    #[test]
    fn not_all_that_looks_like_a_mention_is_one() {
        for (content, expected) in [
            ("", &[][..]),
            ("<@abc> <@> <@&> <@1 <#1>", &[]),
            ("mail@example.com", &[]),
            ("`@everyone` ```\n<@1>``` ``a ` <@2>``", &[]),
            ("` @everyone", &["@everyone"]),
            ("``` <@1> `` <@2>", &["user:1", "user:2"]),
            ("`a` <@&3> `b`", &["role:3"]),
            ("<<@1>>", &["user:1"]),
            ("ş<@1>ş@herebefore", &["user:1", "@here"]),
        ] {
            assert_eq!(pings(&json!({ "content": content })), expected, "{content}");
        }
        let embeds = json!({ "embeds": [{ "description": "@everyone <@1>" }] });
        assert_eq!(pings(&embeds), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn any_text_pings_nobody_who_is_not_allowed(content in "[<>@&!`0-9aş]{0,40}", other in any::<String>()) {
            let message = json!({ "content": content + &other, "allowed_mentions": { "parse": [] } });
            prop_assert!(pings(&message).is_empty());
        }
    }
}

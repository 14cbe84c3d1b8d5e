//! Messages as Discord takes them, and their limits.

use serde::{Deserialize, Serialize};

use super::Mention;
use super::text::{count, cut};

/// Limits, in characters.
pub(super) const CONTENT: usize = 2000;
pub(super) const TITLE: usize = 256;
pub(super) const DESCRIPTION: usize = 4096;
pub(super) const FIELD_NAME: usize = 256;
pub(super) const FIELD_VALUE: usize = 1024;
/// Over all embeds of one message.
pub(super) const ALL: usize = 6000;
/// Embeds of one message.
pub(super) const EMBEDS: usize = 10;
/// Fields of one embed.
pub(super) const FIELDS: usize = 25;
/// A URL; one that is longer is left out, since it cannot be cut.
pub(super) const URL: usize = 2048;

/// The house style.
pub(super) const FOOTER: &str = "CaptchaAI Pipeline Monitor";
pub(super) const SUCCESS: u32 = 0x002E_CC71;
pub(super) const WARNING: u32 = 0x00F3_9C12;
pub(super) const ERROR: u32 = 0x00E7_4C3C;
pub(super) const INFO: u32 = 0x0034_98DB;

/// The body of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Message {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) content: String,
    pub(super) embeds: Vec<Embed>,
    pub(super) allowed_mentions: AllowedMentions,
}

/// Whom a message may ping, whatever its texts say. Without it, `@everyone` in a label would ping all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct AllowedMentions {
    parse: [&'static str; 0],
    users: Vec<String>,
    roles: Vec<String>,
}

/// One box of a message. Its fields are those of Discord.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Embed {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) title: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) description: String,
    pub(super) color: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) fields: Vec<Field>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) footer: Option<Footer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) timestamp: Option<String>,
}

/// A name with a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) value: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) inline: bool,
    /// Whether a part of the value would be of no use, as with links.
    #[serde(skip)]
    pub(super) whole: bool,
}

/// The line at the bottom of an embed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Footer {
    pub(super) text: String,
}

impl Message {
    /// A message that mentions these, and says a text after that.
    pub(super) fn new(mentions: &[Mention], text: &str, embeds: Vec<Embed>) -> Self {
        let mut allowed_mentions = AllowedMentions::default();
        let mut words: Vec<String> = Vec::new();
        let mut used = 0;
        for mention in mentions {
            let word = mention.to_string();
            used += count(&word) + 1;
            if used > CONTENT {
                break;
            }
            words.push(word);
            let (ids, id) = match mention {
                Mention::Role(id) => (&mut allowed_mentions.roles, id),
                Mention::User(id) => (&mut allowed_mentions.users, id),
            };
            // Discord refuses an id that stands there twice.
            if !ids.contains(id) {
                ids.push(id.clone());
            }
        }
        words.extend((!text.is_empty()).then(|| text.to_owned()));
        Self { content: cut(&words.join(" "), CONTENT), embeds, allowed_mentions }
    }
}

impl std::fmt::Display for Mention {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Role(id) => write!(f, "<@&{id}>"),
            Self::User(id) => write!(f, "<@{id}>"),
        }
    }
}

impl Embed {
    /// An embed in the house style.
    pub(super) fn new(title: String, description: String, color: u32) -> Self {
        let footer = Some(Footer { text: FOOTER.to_owned() });
        Self { title, description, color, footer, ..Self::default() }
    }

    /// What it takes of the room of the message, in characters.
    pub(super) fn size(&self) -> usize {
        let fields: usize = self.fields.iter().map(|field| count(&field.name) + count(&field.value)).sum();
        let footer = self.footer.as_ref().map_or(0, |footer| count(&footer.text));
        count(&self.title) + count(&self.description) + fields + footer
    }

    /// Makes it fit into the room. The longest texts are cut first, all to one length, so that short facts
    /// stay as they are.
    pub(super) fn shrink(&mut self, room: usize) {
        if self.size() <= room {
            return;
        }
        let lengths: Vec<usize> = self.texts().map(|text| count(text)).collect();
        let fixed = self.size() - lengths.iter().sum::<usize>();
        let size = |most: usize| fixed + lengths.iter().map(|&length| length.min(most)).sum::<usize>();
        // The greatest length that fits lies between these.
        let (mut fits, mut too_long) = (1, DESCRIPTION + 1);
        while too_long - fits > 1 {
            let middle = fits.midpoint(too_long);
            if size(middle) <= room { fits = middle } else { too_long = middle }
        }
        self.texts().for_each(|text| *text = cut(text, fits));
        while self.size() > room && self.fields.pop().is_some() {}
    }

    /// The texts of which a part is of use.
    fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        let fields = self.fields.iter_mut().flat_map(|field| {
            let value = (!field.whole).then_some(&mut field.value);
            std::iter::once(&mut field.name).chain(value)
        });
        [&mut self.title, &mut self.description].into_iter().chain(fields)
    }
}

impl Field {
    /// A field; nothing where its name or its value is empty, which Discord refuses.
    pub(super) fn new(name: &str, value: &str, inline: bool) -> Option<Self> {
        let name = cut(name.trim(), FIELD_NAME);
        let value = cut(value.trim(), FIELD_VALUE);
        (!name.is_empty() && !value.is_empty()).then_some(Self { name, value, inline, whole: false })
    }

    /// The same, never cut to make room.
    pub(super) fn whole(name: &str, value: &str, inline: bool) -> Option<Self> {
        Self::new(name, value, inline).map(|field| Self { whole: true, ..field })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embed(title: usize, description: usize, fields: &[(usize, usize)]) -> Embed {
        let text = |length: usize| "🔥".repeat(length);
        let field = |&(name, value): &(usize, usize)| Field::new(&text(name), &text(value), true);
        Embed {
            fields: fields.iter().filter_map(field).collect(),
            ..Embed::new(text(title), text(description), SUCCESS)
        }
    }

    #[test]
    fn sizes_count_characters_of_everything_that_is_shown() {
        let footer = FOOTER.len();
        assert_eq!(embed(3, 5, &[(1, 2), (4, 8)]).size(), 3 + 5 + 1 + 2 + 4 + 8 + footer);
        assert_eq!(Embed { url: Some("http://x".to_owned()), ..embed(1, 0, &[]) }.size(), 1 + footer);
        assert_eq!(embed(1, 0, &[(0, 5), (5, 0)]).size(), 1 + footer);
    }

    #[test]
    fn fields_have_limits_and_are_never_empty() {
        for (name, value, expected) in [
            (255, 1023, Some((255, 1023))),
            (256, 1024, Some((256, 1024))),
            (257, 1025, Some((256, 1024))),
            (0, 1, None),
            (1, 0, None),
        ] {
            let field = Field::new(&"ş".repeat(name), &"🔥".repeat(value), true);
            let lengths = field.map(|field| (field.name.chars().count(), field.value.chars().count()));
            assert_eq!(lengths, expected);
        }
        assert_eq!(Field::new(" \n", "x", true), None);
    }

    #[test]
    fn room_is_used_to_the_last_character_and_short_texts_stay() {
        let footer = FOOTER.len();
        for (title, description, fields, room, sizes) in [
            (10, 100, vec![(5, 50)], 165 + footer, [10, 100, 5, 50]),
            (10, 100, vec![(5, 50)], 164 + footer, [10, 99, 5, 50]),
            (10, 100, vec![(5, 50)], 115 + footer, [10, 50, 5, 50]),
            (10, 100, vec![(5, 50)], 113 + footer, [10, 49, 5, 49]),
            (10, 100, vec![(5, 50)], 35 + footer, [10, 10, 5, 10]),
            (256, 4096, vec![(256, 1024)], 4 + footer, [1, 1, 1, 1]),
        ] {
            let mut embed = embed(title, description, &fields);
            embed.shrink(room);
            let count = |text: &String| text.chars().count();
            let field = &embed.fields[0];
            let found = [count(&embed.title), count(&embed.description), count(&field.name), count(&field.value)];
            assert_eq!(found, sizes, "{room}");
        }
    }

    #[test]
    fn what_cannot_be_cut_is_left_out_as_a_last_resort() {
        let mut embed = embed(10, 100, &[(5, 50)]);
        embed.fields.extend(Field::whole("Links", &"x".repeat(500), false));
        let mut other = embed.clone();
        embed.shrink(550);
        assert_eq!((embed.fields.len(), embed.fields[1].value.len()), (2, 500));
        assert!(embed.size() <= 550);
        other.shrink(300);
        assert_eq!(other.fields.len(), 1);
    }

    #[test]
    fn mentions_fit_and_are_the_only_ones_allowed() {
        let mentions = [Mention::Role("1".to_owned()), Mention::User("2".to_owned()), Mention::Role("1".to_owned())];
        let message = serde_json::to_value(Message::new(&mentions, "hello @everyone", vec![])).unwrap();
        assert_eq!(message["content"], "<@&1> <@2> <@&1> hello @everyone");
        let allowed = serde_json::json!({"parse": [], "users": ["2"], "roles": ["1"]});
        assert_eq!(message["allowed_mentions"], allowed);
        let many: Vec<_> = (0..500).map(|id| Mention::User(format!("{id:020}"))).collect();
        let message = Message::new(&many, &"ş".repeat(3000), vec![]);
        assert_eq!(message.content.chars().count(), CONTENT);
        assert_eq!(message.content.matches('@').count(), message.allowed_mentions.users.len());
        let silent = serde_json::to_value(Message::new(&[], "", vec![])).unwrap();
        assert_eq!(
            silent,
            serde_json::json!({"embeds": [], "allowed_mentions": {"parse": [], "users": [], "roles": []}})
        );
    }
}

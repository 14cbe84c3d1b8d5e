//! Whether two configurations of a destination are the same, so that a reload disturbs only what has
//! changed.

use secrecy::ExposeSecret;

use super::{Settings, alertalk, discord};

impl Settings {
    /// Whether it is the same destination, told the same things in the same way.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Discord(one), Self::Discord(other)) => is_same_discord(one, other),
            (Self::Alertalk(one), Self::Alertalk(other)) => is_same_alertalk(one, other),
            (Self::Subscriber(one), Self::Subscriber(other)) => one.is_same(other),
            (Self::Discord(_) | Self::Alertalk(_) | Self::Subscriber(_), _) => false,
        }
    }
}

// Both take the settings apart by name, so that a new field cannot be forgotten here.

fn is_same_discord(one: &discord::Settings, other: &discord::Settings) -> bool {
    let discord::Settings { name, webhook_url, min_severity, resolved, mentions, words, max_age, external_url } = one;
    *name == other.name
        && webhook_url.expose_secret() == other.webhook_url.expose_secret()
        && *min_severity == other.min_severity
        && *resolved == other.resolved
        && *mentions == other.mentions
        && words.is_same(&other.words)
        && *max_age == other.max_age
        && *external_url == other.external_url
}

fn is_same_alertalk(one: &alertalk::Settings, other: &alertalk::Settings) -> bool {
    let alertalk::Settings {
        name,
        url,
        webhook_key,
        phone_numbers,
        min_severity,
        cooldown,
        max_calls_per_day,
        quiet_hours,
        max_age,
        language,
        words,
    } = one;
    *name == other.name
        && *url == other.url
        && webhook_key.expose_secret() == other.webhook_key.expose_secret()
        && *phone_numbers == other.phone_numbers
        && *min_severity == other.min_severity
        && *cooldown == other.cooldown
        && *max_calls_per_day == other.max_calls_per_day
        && *quiet_hours == other.quiet_hours
        && *max_age == other.max_age
        && *language == other.language
        && words.is_same(&other.words)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::domain::alert::Rank;
    use crate::notify::words::{Language, Words};

    fn discord() -> discord::Settings {
        discord::Settings {
            name: "ops".to_owned(),
            webhook_url: "https://discord.com/api/webhooks/1/x".into(),
            min_severity: Rank::Info,
            resolved: discord::Resolved::Edit,
            mentions: BTreeMap::new(),
            words: Words::built_in(""),
            max_age: Duration::from_hours(24),
            external_url: None,
        }
    }

    fn alertalk() -> alertalk::Settings {
        alertalk::Settings {
            name: "ops".to_owned(),
            url: alertalk::DEFAULT_URL.to_owned(),
            webhook_key: "x".into(),
            phone_numbers: Vec::new(),
            min_severity: Rank::Critical,
            cooldown: Duration::from_hours(1),
            max_calls_per_day: 20,
            quiet_hours: None,
            max_age: Duration::from_mins(15),
            language: Language::Turkish,
            words: alertalk::words(Language::Turkish),
        }
    }

    #[test]
    fn any_change_of_a_webhook_is_seen() {
        let same = |other: discord::Settings| Settings::Discord(discord()).is_same(&Settings::Discord(other));
        assert!(same(discord()));
        let changes: [fn(&mut discord::Settings); 8] = [
            |settings| settings.name.push('x'),
            |settings| settings.webhook_url = "https://discord.com/api/webhooks/1/y".into(),
            |settings| settings.min_severity = Rank::Warning,
            |settings| settings.resolved = discord::Resolved::Post,
            |settings| drop(settings.mentions.insert(Rank::Critical, Vec::new())),
            |settings| settings.words = Words::built_in("{% macro x() %}{% endmacro %}"),
            |settings| settings.max_age = Duration::ZERO,
            |settings| settings.external_url = Some("https://example.com".to_owned()),
        ];
        for (position, change) in changes.iter().enumerate() {
            let mut other = discord();
            change(&mut other);
            assert!(!same(other), "{position}");
        }
    }

    #[test]
    fn any_change_of_phones_is_seen() {
        let same = |other: alertalk::Settings| Settings::Alertalk(alertalk()).is_same(&Settings::Alertalk(other));
        assert!(same(alertalk()));
        let changes: [fn(&mut alertalk::Settings); 11] = [
            |settings| settings.name.push('x'),
            |settings| settings.url.push('x'),
            |settings| settings.webhook_key = "y".into(),
            |settings| settings.phone_numbers.extend(alertalk::PhoneNumber::parse("5321234567").ok()),
            |settings| settings.min_severity = Rank::Warning,
            |settings| settings.cooldown = Duration::ZERO,
            |settings| settings.max_calls_per_day = 1,
            |settings| settings.quiet_hours = alertalk::QuietHours::parse("23:00-07:00").ok(),
            |settings| settings.max_age = Duration::ZERO,
            |settings| settings.language = Language::English,
            |settings| settings.words = alertalk::words(Language::English),
        ];
        for (position, change) in changes.iter().enumerate() {
            let mut other = alertalk();
            change(&mut other);
            assert!(!same(other), "{position}");
        }
    }

    #[test]
    fn kinds_are_never_the_same() {
        let (discord, alertalk) = (Settings::Discord(discord()), Settings::Alertalk(alertalk()));
        assert!(!discord.is_same(&alertalk) && !alertalk.is_same(&discord));
    }
}

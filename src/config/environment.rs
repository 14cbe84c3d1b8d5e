//! Configuration from the environment, for those who run without a file.

use std::collections::HashMap;

use secrecy::{ExposeSecret, SecretString};

use super::fault::Fault;
use super::receivers::{DEFAULT_RECEIVER, check_webhook_url, odd_webhook_url, plain_alertalk, plain_discord};
use super::secret::{Check, usable};
use super::{
    Account, Config, DEFAULT_BALANCE_INTERVAL, DEFAULT_BASE_URL, Marzban, Pingback, Receiver, Storage, Web, recovery,
    values,
};
use crate::domain::captcha::CaptchaKinds;
use crate::domain::fallback::Fallback;
use crate::notify::alertalk::{self, PhoneNumber};
use crate::notify::{self, discord};

const API_KEY: &str = "CAPTCHAAI_API_KEY";
const BASE_URL: &str = "CAPTCHAAI_BASE_URL";
const PINGBACK_TOKEN: &str = "PINGBACK_TOKEN";
const AUTH_TOKEN: &str = "WEB_AUTH_TOKEN";
const DISCORD_URL: &str = "DISCORD_WEBHOOK_URL";
const ALERTALK_KEY: &str = "ALERTALK_WEBHOOK_KEY";
const ALERTALK_NUMBERS: &str = "ALERTALK_PHONE_NUMBERS";
const ALERTALK_URL: &str = "ALERTALK_URL";
const WEBHOOK_ADDRESS: &str = "WEBHOOK_ADDRESS";
const WEBHOOK_SECRET: &str = "WEBHOOK_SECRET";
const MARZBAN_SECRET: &str = "MARZBAN_WEBHOOK_SECRET";

/// The account that the environment describes.
const ACCOUNT_NAME: &str = "main";

/// The destinations that it describes, one of each kind.
const DESTINATION_NAME: &str = "default";

fn names() -> impl Iterator<Item = &'static str> {
    let known = [
        API_KEY,
        BASE_URL,
        DISCORD_URL,
        ALERTALK_KEY,
        ALERTALK_NUMBERS,
        ALERTALK_URL,
        WEBHOOK_ADDRESS,
        WEBHOOK_SECRET,
        MARZBAN_SECRET,
        PINGBACK_TOKEN,
        AUTH_TOKEN,
    ];
    known.into_iter()
}

/// The variables that configure this program, as they were when the process started. An empty one
/// counts as not set.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    values: HashMap<&'static str, Variable>,
}

#[derive(Debug, Clone)]
enum Variable {
    Text(SecretString),
    NotUnicode,
}

impl Environment {
    /// Reads the variables of this process.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    pub fn from_process() -> Self {
        let read = |name| {
            let variable = match std::env::var_os(name)?.into_string() {
                Ok(text) => Variable::text(&text)?,
                Err(_) => Variable::NotUnicode,
            };
            Some((name, variable))
        };
        Self { values: names().filter_map(read).collect() }
    }

    /// An environment of these variables; others than those that are read are left out.
    pub fn new(variables: &[(&str, &str)]) -> Self {
        let read = |name| {
            let (_, text) = variables.iter().find(|(given, _)| *given == name)?;
            Some((name, Variable::text(text)?))
        };
        Self { values: names().filter_map(read).collect() }
    }

    /// A warning that names the variables that a file makes void.
    pub(super) fn ignored(&self) -> Option<String> {
        let set: Vec<_> = names().filter(|name| self.values.contains_key(name)).collect();
        (!set.is_empty()).then(|| format!("environment: ignored because of --config.file: {}", set.join(", ")))
    }
}

impl Variable {
    fn text(text: &str) -> Option<Self> {
        (!text.trim().is_empty()).then(|| Self::Text(SecretString::from(text)))
    }
}

/// Makes a configuration of the environment; the second value are warnings.
pub(super) fn load(environment: &Environment) -> Result<(Config, Vec<Fault>), Vec<Fault>> {
    let mut reader = Reader { environment, faults: Vec::new(), warnings: Vec::new() };
    let mut config = Config {
        web: Web { auth_token: reader.secret(AUTH_TOKEN, values::check_bearer_token), ..Web::default() },
        accounts: reader.account().into_iter().collect(),
        captchas: CaptchaKinds::new(&[]),
        fallback: Fallback::default(),
        subscribers: reader.subscribers(),
        pingback: Pingback { token: reader.secret(PINGBACK_TOKEN, values::check_path_token), ..Pingback::default() },
        receivers: reader.receiver().into_iter().collect(),
        watchdog: None,
        marzban: None,
        storage: Storage::default(),
    };
    if let Some(secret) = reader.secret(MARZBAN_SECRET, values::check_bearer_token) {
        let receiver = config.receivers.first().map(|receiver| receiver.name.clone());
        config.marzban = Some(Marzban { secret: Some(secret), receiver, ..Marzban::default() });
    }
    if reader.faults.is_empty() { Ok((config, reader.warnings)) } else { Err(reader.faults) }
}

struct Reader<'e> {
    environment: &'e Environment,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

impl<'e> Reader<'e> {
    /// One subscriber a URL, `default` and then `default-2`, `default-3`, …, which share the secret.
    fn subscribers(&mut self) -> Vec<notify::Settings> {
        let secret = self.secret(WEBHOOK_SECRET, values::check_bearer_token);
        let Some(list) = self.text(WEBHOOK_ADDRESS) else {
            if secret.is_some() {
                let message = format!("is of no use without {WEBHOOK_ADDRESS}");
                self.warnings.push(Fault::in_environment(WEBHOOK_SECRET, message));
            }
            return Vec::new();
        };
        let addresses: Vec<_> = list.split(',').map(str::trim).filter(|address| !address.is_empty()).collect();
        let mut subscribers = Vec::new();
        for (position, address) in addresses.iter().enumerate() {
            match recovery::subscriber_url(address) {
                Ok(url) => subscribers.push(recovery::plain_subscriber(position, url, secret.clone())),
                Err(message) => self.fault(WEBHOOK_ADDRESS, message),
            }
        }
        subscribers
    }

    fn account(&mut self) -> Option<Account> {
        let base_url = self.url(BASE_URL, values::base_url);
        if !self.environment.values.contains_key(API_KEY) {
            self.warn_if_useless(BASE_URL, base_url.is_some(), API_KEY);
            return None;
        }
        let api_key = self.secret(API_KEY, values::check_api_key)?;
        if let Some(warning) = values::odd_api_key(api_key.expose_secret()) {
            self.warnings.push(Fault::in_environment(API_KEY, warning.to_owned()));
        }
        Some(Account {
            name: ACCOUNT_NAME.into(),
            api_key,
            base_url: base_url.unwrap_or_else(|| DEFAULT_BASE_URL.to_owned()),
            balance_interval: DEFAULT_BALANCE_INTERVAL,
        })
    }

    /// The one receiver, with whatever destinations there are.
    fn receiver(&mut self) -> Option<Receiver> {
        let discord = self.discord().map(notify::Settings::Discord);
        let alertalk = self.alertalk().map(notify::Settings::Alertalk);
        let destinations: Vec<_> = discord.into_iter().chain(alertalk).collect();
        (!destinations.is_empty()).then(|| Receiver { name: DEFAULT_RECEIVER.to_owned(), destinations })
    }

    fn discord(&mut self) -> Option<discord::Settings> {
        let url = self.secret(DISCORD_URL, check_webhook_url)?;
        if let Some(warning) = odd_webhook_url(url.expose_secret()) {
            self.warnings.push(Fault::in_environment(DISCORD_URL, warning.to_owned()));
        }
        Some(plain_discord(DESTINATION_NAME.to_owned(), url))
    }

    fn alertalk(&mut self) -> Option<alertalk::Settings> {
        let url = self.url(ALERTALK_URL, values::url);
        let is_set = |name| self.environment.values.contains_key(name);
        match (is_set(ALERTALK_KEY), is_set(ALERTALK_NUMBERS)) {
            (true, true) => {}
            (true, false) => self.fault(ALERTALK_KEY, without(ALERTALK_NUMBERS)),
            (false, true) => self.fault(ALERTALK_NUMBERS, without(ALERTALK_KEY)),
            (false, false) => {
                self.warn_if_useless(ALERTALK_URL, url.is_some(), ALERTALK_KEY);
                return None;
            }
        }
        let key = self.secret(ALERTALK_KEY, values::check_bearer_token);
        let numbers = self.phone_numbers();
        let plain = plain_alertalk(DESTINATION_NAME.to_owned(), key?, numbers?);
        Some(match url {
            Some(url) => alertalk::Settings { url, ..plain },
            None => plain,
        })
    }

    /// The message for a wrong number names its place in the list, as the number is private.
    fn phone_numbers(&mut self) -> Option<Vec<PhoneNumber>> {
        let text = self.text(ALERTALK_NUMBERS)?;
        let mut numbers = Vec::new();
        for (index, item) in text.split(',').map(str::trim).enumerate() {
            match PhoneNumber::parse(item) {
                Ok(number) if numbers.contains(&number) => {
                    let message = format!("item {} is in the list already; expected each number only once", index + 1);
                    self.fault(ALERTALK_NUMBERS, message);
                }
                Ok(number) => numbers.push(number),
                Err(message) => self.fault(ALERTALK_NUMBERS, format!("item {} {message}", index + 1)),
            }
        }
        Some(numbers)
    }

    fn warn_if_useless(&mut self, name: &'static str, is_set: bool, needed: &str) {
        if is_set {
            self.warnings.push(Fault::in_environment(name, format!("is of no use without {needed}")));
        }
    }

    fn url(&mut self, name: &'static str, parse: fn(&str) -> Result<String, String>) -> Option<String> {
        let text = self.text(name)?;
        match parse(text.trim()) {
            Ok(url) => Some(url),
            Err(message) => {
                self.fault(name, message);
                None
            }
        }
    }

    fn secret(&mut self, name: &'static str, check: Check) -> Option<SecretString> {
        match usable(self.text(name)?, check) {
            Ok(secret) => Some(secret),
            Err(message) => {
                self.fault(name, message.to_owned());
                None
            }
        }
    }

    fn text(&mut self, name: &'static str) -> Option<&'e str> {
        match self.environment.values.get(name)? {
            Variable::Text(text) => Some(text.expose_secret()),
            Variable::NotUnicode => {
                self.fault(name, "is not UTF-8; expected text".to_owned());
                None
            }
        }
    }

    fn fault(&mut self, name: &'static str, message: String) {
        self.faults.push(Fault::in_environment(name, message));
    }
}

fn without(other: &str) -> String {
    format!("is of no use without {other}; expected both or neither")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    /// Loads an environment: the account and the warnings, or all that is wrong.
    fn check(variables: &[(&str, &str)], expected: &[&str]) {
        let found = match load(&Environment::new(variables)) {
            Ok((config, warnings)) => {
                let accounts =
                    config.accounts.iter().map(|account| format!("{} at {}", account.name, account.base_url));
                let told = |receiver: &Receiver| {
                    let destinations: Vec<_> =
                        receiver.destinations.iter().map(notify::Settings::destination).collect();
                    format!("{}: {}", receiver.name, destinations.join(", "))
                };
                accounts
                    .chain(config.receivers.iter().map(told))
                    .chain(warnings.iter().map(ToString::to_string))
                    .collect()
            }
            Err(faults) => faults.iter().map(ToString::to_string).collect::<Vec<_>>(),
        };
        assert_eq!(found, expected, "{variables:?}");
    }

    #[test]
    fn the_environment_describes_one_account() {
        let default = "main at https://ocr.captchaai.com";
        check(&[], &[]);
        check(&[(API_KEY, KEY)], &[default]);
        check(&[(API_KEY, KEY), (BASE_URL, "http://127.0.0.1:9000/")], &["main at http://127.0.0.1:9000"]);
        check(&[(API_KEY, KEY), (BASE_URL, "")], &[default]);
        check(&[(API_KEY, " \n"), ("WEBHOOK_SECRET", "")], &[]);
        check(&[(API_KEY, &format!("{KEY}\n"))], &[default]);
    }

    #[test]
    fn the_environment_describes_one_receiver() {
        let discord = (DISCORD_URL, "https://discord.com/api/webhooks/1/x");
        let (key, numbers) = ((ALERTALK_KEY, "key"), (ALERTALK_NUMBERS, "532 123 45 67, +905321234568"));
        check(&[discord], &["default: discord/default"]);
        check(&[key, numbers], &["default: alertalk/default"]);
        check(&[key, numbers, discord], &["default: discord/default, alertalk/default"]);
        check(&[key], &[&format!("environment: {ALERTALK_KEY}: {}", without(ALERTALK_NUMBERS))]);
        check(&[numbers], &[&format!("environment: {ALERTALK_NUMBERS}: {}", without(ALERTALK_KEY))]);
        let url = (ALERTALK_URL, "http://127.0.0.1:9000/call/");
        let (config, warnings) = load(&Environment::new(&[key, numbers, url])).unwrap();
        assert_eq!(warnings, []);
        let [Receiver { destinations, .. }] = config.receivers.as_slice() else { panic!("{config:?}") };
        let [notify::Settings::Alertalk(settings)] = destinations.as_slice() else { panic!("{destinations:?}") };
        let called: Vec<_> = settings.phone_numbers.iter().map(PhoneNumber::as_str).collect();
        assert_eq!((settings.url.as_str(), called), (url.1, vec!["5321234567", "5321234568"]));
    }

    #[test]
    fn what_is_odd_is_a_warning() {
        let short =
            "environment: CAPTCHAAI_API_KEY: does not have the 32 characters of CaptchaAI's API keys; is it whole?";
        check(&[(API_KEY, "hunter2")], &["main at https://ocr.captchaai.com", short]);
        let useless = "environment: CAPTCHAAI_BASE_URL: is of no use without CAPTCHAAI_API_KEY";
        check(&[(BASE_URL, "http://127.0.0.1:9000/")], &[useless]);
        let useless = "environment: ALERTALK_URL: is of no use without ALERTALK_WEBHOOK_KEY";
        check(&[(ALERTALK_URL, "http://127.0.0.1:9000/")], &[useless]);
        let odd = "environment: DISCORD_WEBHOOK_URL: does not look like https://discord.com/api/webhooks/ID/TOKEN; is \
                   it whole?";
        check(&[(DISCORD_URL, "https://discord.com/api/webhooks/hunter2")], &["default: discord/default", odd]);
    }

    #[test]
    fn what_is_wrong_is_reported_together() {
        let variables = [
            (API_KEY, "hunter2 hunter2"),
            (BASE_URL, "https://hunter2@example.com"),
            (PINGBACK_TOKEN, "hunter2/"),
            (AUTH_TOKEN, "hunter2 hunter2"),
            ("WEBHOOK_ADDRESS", "hunter2"),
            (DISCORD_URL, "hunter2"),
            (ALERTALK_KEY, "hunter2 hunter2"),
            (ALERTALK_NUMBERS, "5321234567, 05321234567,5550hunter2"),
            (ALERTALK_URL, "hunter2@example.com"),
        ];
        check(
            &variables,
            &[
                "environment: WEB_AUTH_TOKEN: has characters that a header cannot hold; expected ASCII letters, digits \
                 and signs without spaces",
                "environment: CAPTCHAAI_BASE_URL: the value holds a user name, a query or a fragment (@, ?, #); \
                 expected http://HOST[:PORT][/PATH] or https://…",
                "environment: CAPTCHAAI_API_KEY: has white space or control characters inside; expected an API key of \
                 CaptchaAI",
                "environment: WEBHOOK_ADDRESS: is no URL of a web server; expected http://HOST[:PORT][/PATH] or https://…",
                "environment: PINGBACK_TOKEN: has characters that a path cannot hold, or too many; expected 1 to 256 \
                 of A-Z, a-z, 0-9, ., _, ~ and -",
                "environment: DISCORD_WEBHOOK_URL: is no URL; expected one as Discord shows it, \
                 https://discord.com/api/webhooks/ID/TOKEN",
                "environment: ALERTALK_URL: the value is no URL of a web server; expected http://HOST[:PORT][/PATH] \
                 or https://…",
                "environment: ALERTALK_WEBHOOK_KEY: has characters that a header cannot hold; expected ASCII letters, \
                 digits and signs without spaces",
                "environment: ALERTALK_PHONE_NUMBERS: item 2 is in the list already; expected each number only once",
                "environment: ALERTALK_PHONE_NUMBERS: item 3 is no Turkish mobile number; expected ten digits of \
                 which the first is a 5, as in 5XX XXX XX XX, with or without +90 or 0 before them",
            ],
        );
    }

    #[test]
    fn addresses_make_subscribers_that_share_a_secret() {
        let variables =
            [("WEBHOOK_ADDRESS", "http://127.0.0.1:1/a, http://127.0.0.1:2/?b=c,"), ("WEBHOOK_SECRET", "hunter2")];
        let (config, _) = load(&Environment::new(&variables)).unwrap();
        assert_eq!(config.subscriber_names(), ["subscriber/default", "subscriber/default-2"]);
        let with_secret = |settings: &notify::Settings| match settings {
            notify::Settings::Subscriber(settings) => settings.secret.is_some(),
            _ => false,
        };
        assert!(config.subscribers.iter().all(with_secret));
        check(&[("WEBHOOK_SECRET", "hunter2")], &["environment: WEBHOOK_SECRET: is of no use without WEBHOOK_ADDRESS"]);
    }

    #[test]
    fn events_of_a_panel_are_told_where_alerts_are() {
        let told = |variables: &[(&str, &str)]| {
            let marzban = load(&Environment::new(variables)).unwrap().0.marzban;
            marzban.map(|marzban| (marzban.secret.is_some(), marzban.receiver))
        };
        let discord = ("DISCORD_WEBHOOK_URL", "https://discord.com/api/webhooks/1/token");
        assert_eq!(told(&[]), None);
        assert_eq!(told(&[("MARZBAN_WEBHOOK_SECRET", "hunter2")]), Some((true, None)));
        let with_discord = told(&[("MARZBAN_WEBHOOK_SECRET", "hunter2"), discord]);
        assert_eq!(with_discord, Some((true, Some("default".to_owned()))));
    }

    #[test]
    fn text_that_is_not_utf_8_is_wrong() {
        let environment = Environment { values: HashMap::from([(API_KEY, Variable::NotUnicode)]) };
        let faults = load(&environment).unwrap_err();
        assert_eq!(faults, [Fault::in_environment(API_KEY, "is not UTF-8; expected text".to_owned())]);
    }

    #[test]
    fn a_file_makes_all_variables_void() {
        assert_eq!(Environment::new(&[("PATH", "/bin"), (API_KEY, "")]).ignored(), None);
        let set = Environment::new(&[("WEBHOOK_SECRET", "x"), ("PATH", "/bin"), (API_KEY, "x")]);
        let expected = "environment: ignored because of --config.file: CAPTCHAAI_API_KEY, WEBHOOK_SECRET";
        assert_eq!(set.ignored().as_deref(), Some(expected));
    }
}

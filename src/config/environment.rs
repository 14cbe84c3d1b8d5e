//! Configuration from the environment, for those who run without a file.

use std::collections::HashMap;

use secrecy::{ExposeSecret, SecretString};

use super::fault::Fault;
use super::secret::{Check, usable};
use super::{Account, Config, DEFAULT_BALANCE_INTERVAL, DEFAULT_BASE_URL, Pingback, Storage, Web, values};
use crate::domain::captcha::CaptchaKinds;

const API_KEY: &str = "CAPTCHAAI_API_KEY";
const BASE_URL: &str = "CAPTCHAAI_BASE_URL";
const PINGBACK_TOKEN: &str = "PINGBACK_TOKEN";
const AUTH_TOKEN: &str = "WEB_AUTH_TOKEN";

/// The account that the environment describes.
const ACCOUNT_NAME: &str = "main";

/// Variables of functions that do not exist yet.
const LATER: [&str; 7] = [
    "DISCORD_WEBHOOK_URL",
    "ALERTALK_WEBHOOK_KEY",
    "ALERTALK_PHONE_NUMBERS",
    "ALERTALK_URL",
    "WEBHOOK_ADDRESS",
    "WEBHOOK_SECRET",
    "MARZBAN_WEBHOOK_SECRET",
];

fn names() -> impl Iterator<Item = &'static str> {
    [API_KEY, BASE_URL, PINGBACK_TOKEN, AUTH_TOKEN].into_iter().chain(LATER)
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
    for name in LATER {
        if environment.values.contains_key(name) {
            reader.fault(name, "is not supported yet; expected it to be unset".to_owned());
        }
    }
    let config = Config {
        web: Web { auth_token: reader.secret(AUTH_TOKEN, values::check_bearer_token), ..Web::default() },
        accounts: reader.account().into_iter().collect(),
        captchas: CaptchaKinds::new(&[]),
        pingback: Pingback { token: reader.secret(PINGBACK_TOKEN, values::check_path_token), ..Pingback::default() },
        storage: Storage::default(),
    };
    if reader.faults.is_empty() { Ok((config, reader.warnings)) } else { Err(reader.faults) }
}

struct Reader<'e> {
    environment: &'e Environment,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

impl<'e> Reader<'e> {
    fn account(&mut self) -> Option<Account> {
        let base_url = self.base_url();
        if !self.environment.values.contains_key(API_KEY) {
            if base_url.is_some() {
                let message = format!("is of no use without {API_KEY}");
                self.warnings.push(Fault::in_environment(BASE_URL, message));
            }
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

    fn base_url(&mut self) -> Option<String> {
        let text = self.text(BASE_URL)?;
        match values::base_url(text.trim()) {
            Ok(url) => Some(url),
            Err(message) => {
                self.fault(BASE_URL, message);
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
                accounts.chain(warnings.iter().map(ToString::to_string)).collect()
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
    fn what_is_odd_is_a_warning() {
        let short =
            "environment: CAPTCHAAI_API_KEY: does not have the 32 characters of CaptchaAI's API keys; is it whole?";
        check(&[(API_KEY, "hunter2")], &["main at https://ocr.captchaai.com", short]);
        let useless = "environment: CAPTCHAAI_BASE_URL: is of no use without CAPTCHAAI_API_KEY";
        check(&[(BASE_URL, "http://127.0.0.1:9000/")], &[useless]);
    }

    #[test]
    fn what_is_wrong_is_reported_together() {
        let variables = [
            (API_KEY, "hunter2 hunter2"),
            (BASE_URL, "https://hunter2@example.com"),
            (PINGBACK_TOKEN, "hunter2/"),
            (AUTH_TOKEN, "hunter2 hunter2"),
            ("WEBHOOK_ADDRESS", "hunter2"),
            ("DISCORD_WEBHOOK_URL", "hunter2"),
        ];
        check(
            &variables,
            &[
                "environment: DISCORD_WEBHOOK_URL: is not supported yet; expected it to be unset",
                "environment: WEBHOOK_ADDRESS: is not supported yet; expected it to be unset",
                "environment: WEB_AUTH_TOKEN: has characters that a header cannot hold; expected ASCII letters, digits \
                 and signs without spaces",
                "environment: CAPTCHAAI_BASE_URL: the value holds a user name, a query or a fragment (@, ?, #); \
                 expected http://HOST[:PORT][/PATH] or https://…",
                "environment: CAPTCHAAI_API_KEY: has white space or control characters inside; expected an API key of \
                 CaptchaAI",
                "environment: PINGBACK_TOKEN: has characters that a path cannot hold, or too many; expected 1 to 256 \
                 of A-Z, a-z, 0-9, ., _, ~ and -",
            ],
        );
    }

    #[test]
    fn every_variable_of_a_later_version_is_refused() {
        for name in LATER {
            let expected = format!("environment: {name}: is not supported yet; expected it to be unset");
            check(&[(name, "x")], &[&expected]);
        }
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

//! From flags, environment and YAML to a validated `Config`. The only reader of the environment and
//! of configuration and secret files; nothing below it sees a raw value.

mod decode;
mod environment;
mod fault;
mod file;
mod marzban;
mod read;
mod receivers;
mod recovery;
mod secret;
#[cfg(test)]
mod tests;
mod values;
mod web;
mod yaml;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};

use crate::domain::captcha::CaptchaKinds;
use crate::domain::delivery::Route;
use crate::domain::fallback::Fallback;
use crate::notify;

pub use environment::Environment;
pub use fault::Fault;
pub(crate) use values::{base_url, storage_path};

/// CaptchaAI's API, where `base_url` is not given.
pub const DEFAULT_BASE_URL: &str = "https://ocr.captchaai.com";

/// How often the balance is asked for, where `balance_interval` is not given.
pub const DEFAULT_BALANCE_INTERVAL: Duration = Duration::from_mins(1);

/// A configuration that can be used, and what is odd about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What whoever configures the program should know, one line each.
    pub warnings: Vec<String>,
    /// Whether `storage.spill_dir` was given. Where it was not, it moves with the database.
    spill_dir_given: bool,
}

/// Reads a configuration file with the secrets that it refers to. The environment is only looked at to
/// warn about what is ignored.
pub fn load_file(path: &Path, environment: &Environment) -> Result<Loaded, Vec<Fault>> {
    let (file, warnings) = file::load(path)?;
    let mut warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    warnings.extend(environment.ignored());
    Ok(Loaded::new(file.config, warnings, file.spill_dir_given))
}

/// Makes a configuration of the environment.
pub fn load_environment(environment: &Environment) -> Result<Loaded, Vec<Fault>> {
    let (config, warnings) = environment::load(environment)?;
    let warnings = warnings.iter().map(ToString::to_string).collect();
    Ok(Loaded::new(config, warnings, false))
}

/// Reads the file of `--web.config.file`.
pub fn load_web_config(path: &Path) -> Result<WebConfig, Vec<Fault>> {
    web::load(path)
}

impl Loaded {
    fn new(config: Config, mut warnings: Vec<String>, spill_dir_given: bool) -> Self {
        if config.accounts.is_empty() {
            warnings.push(
                "no account is configured, so no balance is read; set CAPTCHAAI_API_KEY, or list accounts in a file \
                 for --config.file; `captchaai-exporter demo` shows everything without an account"
                    .to_owned(),
            );
        }
        Self { config, warnings, spill_dir_given }
    }

    /// The same with another database.
    pub(crate) fn with_database(mut self, path: PathBuf) -> Self {
        if !self.spill_dir_given {
            self.config.storage.spill_dir = Storage::default_spill_dir(&path);
        }
        self.config.storage.path = path;
        self
    }
}

/// What may change while the program runs: everything that the YAML file or the environment says.
#[derive(Debug, Clone)]
pub struct Config {
    /// Access to our own endpoints.
    pub web: Web,
    /// The accounts to watch, in the order of the file.
    pub accounts: Vec<Account>,
    /// The kinds of captcha that are told apart.
    pub captchas: CaptchaKinds,
    /// How pingbacks are taken.
    pub pingback: Pingback,
    /// How the API is asked for results whose pingbacks did not come.
    pub fallback: Fallback,
    /// Who gets each result, in the order of the file: `notify::Settings::Subscriber` all of them.
    pub subscribers: Vec<notify::Settings>,
    /// Whom alerts are told, in the order of the file.
    pub receivers: Vec<Receiver>,
    /// What happens when Alertmanager falls silent; nothing when `watchdog` is not given.
    pub watchdog: Option<Watchdog>,
    /// How a Marzban panel's events are taken; not at all when `marzban` is not given.
    pub marzban: Option<Marzban>,
    /// Where results are kept, and how long.
    pub storage: Storage,
}

impl Config {
    /// All destinations, such as `discord/ops`.
    pub fn destinations(&self) -> Vec<String> {
        let receivers = self.receivers.iter().flat_map(Receiver::names);
        receivers.chain(self.subscriber_names()).collect()
    }

    /// The destinations that get each result.
    pub fn subscriber_names(&self) -> Vec<String> {
        self.subscribers.iter().map(notify::Settings::destination).collect()
    }

    /// How people reach this program, for links in messages: known from the flags only.
    pub fn set_external_url(&mut self, url: Option<&str>) {
        for destination in self.receivers.iter_mut().flat_map(|receiver| &mut receiver.destinations) {
            if let notify::Settings::Discord(settings) = destination {
                settings.external_url = url.map(|url| url.trim_end_matches('/').to_owned());
            }
        }
    }
}

/// Those who are told what is posted to one URL, `/alertmanager/NAME`.
#[derive(Debug, Clone)]
pub struct Receiver {
    /// Its name, `[a-z0-9_-]{1,32}`, of which `watchdog` is reserved.
    pub name: String,
    /// At least one: first the Discord webhooks, then the phones, each in the order of the file.
    pub destinations: Vec<notify::Settings>,
}

impl Receiver {
    /// Its destinations, such as `discord/ops`.
    pub fn names(&self) -> Vec<String> {
        self.destinations.iter().map(notify::Settings::destination).collect()
    }

    /// Those that get messages.
    pub fn messages(&self) -> Vec<String> {
        let messages = self.destinations.iter().filter(|settings| !settings.calls());
        messages.map(notify::Settings::destination).collect()
    }

    /// Those that call people.
    pub fn phones(&self) -> Vec<String> {
        let phones = self.destinations.iter().filter(|settings| settings.calls());
        phones.map(notify::Settings::destination).collect()
    }

    /// Where its notifications go.
    pub fn routes(&self) -> Vec<Route> {
        let route = |settings: &notify::Settings| Route {
            destination: settings.destination(),
            least: settings.min_severity(),
            calls: settings.calls(),
        };
        self.destinations.iter().map(route).collect()
    }
}

/// A dead man's switch: an alert that always fires has to be posted to `/alertmanager/watchdog`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watchdog {
    /// How long it may be silent.
    pub timeout: Duration,
    /// The name of the receiver that is told when it is silent for longer. There is such a receiver.
    pub receiver: String,
}

/// How a Marzban panel's events are taken.
#[derive(Debug, Clone, Default)]
pub struct Marzban {
    /// What the panel knows us by.
    pub secret: Option<SecretString>,
    /// How it shows that it knows the secret.
    pub signature: Signature,
    /// The receiver whose messages tell of events.
    pub receiver: Option<String>,
}

/// How a panel shows that it knows the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Signature {
    /// `x-webhook-secret` is the secret, as panels really send it.
    #[default]
    Plain,
    /// It may also be a signature of the body, as the panel's documentation has it.
    Hmac,
}

/// Access to our own endpoints.
#[derive(Debug, Clone, Default)]
pub struct Web {
    /// Bearer token for `/api` and `POST /-/reload`.
    pub auth_token: Option<SecretString>,
    /// Proxies whose `X-Forwarded-For`, or else `Forwarded`, is believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// One CaptchaAI account.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its label value, `[a-z0-9_-]{1,32}`.
    pub name: Arc<str>,
    /// The API key.
    pub api_key: SecretString,
    /// Where the API is, without a slash at the end.
    pub base_url: String,
    /// How often the balance is asked for.
    pub balance_interval: Duration,
}

impl Account {
    /// Whether it is the same account, asked in the same way.
    pub fn is_same(&self, other: &Self) -> bool {
        self.name == other.name
            && self.api_key.expose_secret() == other.api_key.expose_secret()
            && self.base_url == other.base_url
            && self.balance_interval == other.balance_interval
    }
}

/// How pingbacks are taken.
#[derive(Debug, Clone, Default)]
pub struct Pingback {
    /// The secret part of the pingback URL.
    pub token: Option<SecretString>,
    /// What becomes of a pingback for a task that nobody registered.
    pub unknown: UnknownPingback,
    /// The peers that may send pingbacks; empty means all.
    pub allow_from: Vec<IpNet>,
}

/// What becomes of a pingback for a task that nobody registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownPingback {
    /// Confirm it with CaptchaAI before it counts.
    #[default]
    Verify,
    /// Take it as it is.
    Accept,
}

/// Where results are kept, and how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// The database file, from `sqlite:PATH`.
    pub path: PathBuf,
    /// How long a finished task is kept.
    pub retention: Duration,
    /// Where pingbacks go while the database cannot be written.
    pub spill_dir: PathBuf,
}

impl Default for Storage {
    fn default() -> Self {
        let path = PathBuf::from("data/captchaai-exporter.db");
        Self { spill_dir: Self::default_spill_dir(&path), path, retention: Duration::from_hours(24) }
    }
}

impl Storage {
    /// Where pingbacks go when nobody says so: into the folder of the database.
    pub(crate) fn default_spill_dir(database: &Path) -> PathBuf {
        database.parent().unwrap_or(Path::new("")).join("spill")
    }
}

/// How the program is reached: from the flags only, fixed while it runs.
#[derive(Debug, Clone)]
pub struct Listen {
    /// The addresses to listen on.
    pub addresses: Vec<SocketAddr>,
    /// How people reach it, for links; without a slash at the end.
    pub external_url: Option<String>,
    /// TLS and basic auth, from `--web.config.file`.
    pub web_config: Option<WebConfig>,
}

impl Listen {
    /// Whether TLS and basic auth are the same. The contents of certificate files may differ.
    pub fn is_same_web_config(&self, other: &Self) -> bool {
        let users = |listen: &Self| -> Vec<(String, String)> {
            let users = listen.web_config.iter().flat_map(|web_config| &web_config.basic_auth_users);
            users.map(|(user, hash)| (user.clone(), hash.expose_secret().to_owned())).collect()
        };
        let tls = |listen: &Self| listen.web_config.as_ref().and_then(|web_config| web_config.tls.clone());
        users(self) == users(other) && tls(self) == tls(other)
    }
}

/// `--web.config.file`: TLS and basic auth in the format of Prometheus' exporter-toolkit.
#[derive(Debug, Clone, Default)]
pub struct WebConfig {
    /// TLS, if the file has `tls_server_config`.
    pub tls: Option<Tls>,
    /// Users with their bcrypt hashes, if the file has `basic_auth_users`.
    pub basic_auth_users: Vec<(String, SecretString)>,
}

/// `tls_server_config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// PEM chain.
    pub cert_file: PathBuf,
    /// PEM key.
    pub key_file: PathBuf,
    /// What is asked of clients.
    pub client_auth: ClientAuth,
    /// Refuse TLS 1.2.
    pub min_version_13: bool,
}

/// `client_auth_type` with its `client_ca_file`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientAuth {
    /// `NoClientCert`.
    None,
    /// `VerifyClientCertIfGiven`.
    VerifyIfGiven(PathBuf),
    /// `RequireAndVerifyClientCert`.
    Require(PathBuf),
}

//! Flags and subcommands, and what they make of the configuration.

use std::ffi::OsString;
use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum};
use tracing::level_filters::LevelFilter;

use crate::config::{self, Config, Environment, Fault, Listen, Loaded, WebConfig};
use crate::domain::alert::Rank;

/// Version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that it was built from, or `unknown`.
pub const REVISION: &str = env!("CAPTCHAAI_EXPORTER_REVISION");

/// The compiler that built it.
pub const RUSTC: &str = env!("CAPTCHAAI_EXPORTER_RUSTC");

const VERSION_TEXT: &str = concat!(
    "version ",
    env!("CARGO_PKG_VERSION"),
    " (revision: ",
    env!("CAPTCHAAI_EXPORTER_REVISION"),
    ")\n  rustc: ",
    env!("CAPTCHAAI_EXPORTER_RUSTC"),
);

const ENVIRONMENT_HELP: &str = "\
Environment (only without --config.file):
  CAPTCHAAI_API_KEY       API key of the account, which is then named \"main\"
  CAPTCHAAI_BASE_URL      its API [default: https://ocr.captchaai.com]
  DISCORD_WEBHOOK_URL     channel that alerts are posted to; the receiver is then named \"default\"
  ALERTALK_WEBHOOK_KEY    key for phone calls by Alertalk
  ALERTALK_PHONE_NUMBERS  whom it calls: Turkish mobile numbers with commas between them
  ALERTALK_URL            its API [default: https://tr.alertalk.net/webhook/receive]
  PINGBACK_TOKEN          secret part of the pingback URL, /pingback/TOKEN
  WEB_AUTH_TOKEN          bearer token for /api and POST /-/reload";

/// Prometheus exporter for CaptchaAI that keeps every result.
///
/// Without a subcommand it serves: it reads the balance of each account, takes pingbacks and task
/// registrations, keeps them on disk, and shows metrics at /metrics and a status page at /.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "captchaai-exporter",
    // Only --version shows this name: "captchaai-exporter, version …", as Prometheus does.
    display_name = "captchaai-exporter,",
    version = VERSION_TEXT,
    disable_version_flag = true,
    disable_help_subcommand = true,
    after_help = ENVIRONMENT_HELP
)]
pub struct Arguments {
    /// Configuration in YAML; without it, the environment is used.
    #[arg(long = "config.file", value_name = "FILE", global = true)]
    pub config_file: Option<PathBuf>,

    /// Check the configuration, say what is wrong and where, and exit with 0 or 1.
    #[arg(long = "config.check")]
    pub config_check: bool,

    /// Address to listen on: HOST:PORT, or :PORT for every interface, IPv4 and IPv6. Repeatable.
    #[arg(long = "web.listen-address", value_name = "ADDRESS", default_value = "127.0.0.1:9877", global = true)]
    pub listen_addresses: Vec<String>,

    /// URL at which people reach this server, for links.
    #[arg(long = "web.external-url", value_name = "URL", global = true)]
    pub external_url: Option<String>,

    /// TLS and basic auth, in the format of Prometheus' exporter-toolkit.
    #[arg(long = "web.config.file", value_name = "FILE", global = true)]
    pub web_config_file: Option<PathBuf>,

    /// Listen beyond the loopback interface although no bearer token is configured.
    #[arg(long = "web.allow-anonymous", global = true)]
    pub allow_anonymous: bool,

    /// Database [default: storage.url of the file, or sqlite:data/captchaai-exporter.db].
    #[arg(long = "storage.url", value_name = "URL")]
    pub storage_url: Option<String>,

    /// Least important level that is logged.
    #[arg(long = "log.level", value_name = "LEVEL", value_enum, default_value_t, global = true)]
    pub log_level: LogLevel,

    /// Form of the log.
    #[arg(long = "log.format", value_name = "FORMAT", value_enum, default_value_t, global = true)]
    pub log_format: LogFormat,

    /// Print version, revision and compiler.
    #[arg(long = "version", action = ArgAction::Version)]
    version: Option<bool>,

    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What can be done instead of serving.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Show everything in one process against a simulated CaptchaAI; no API key needed.
    Demo {
        /// Let more go wrong: lost and made-up pingbacks, a subscriber that is down now and then.
        #[arg(long)]
        faults: bool,
    },
    /// Send a sample alert through a receiver, or show what would be sent.
    TestAlert(TestAlert),
    /// List, try again or discard what the running exporter has given up.
    DeadLetters(DeadLetters),
}

/// `dead-letters`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct DeadLetters {
    /// What to do.
    #[command(subcommand)]
    pub action: LetterAction,

    /// Where the exporter runs.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9877", global = true)]
    pub url: String,

    /// A file with its bearer token, in place of the configured one.
    #[arg(long, value_name = "FILE", global = true)]
    pub token_file: Option<PathBuf>,
}

/// What to do with dead letters.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum LetterAction {
    /// Show them, oldest first.
    List {
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Try one again, or all.
    Retry {
        /// Its number.
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        id: Option<String>,
        /// All that can be tried again.
        #[arg(long)]
        all: bool,
    },
    /// Discard one.
    Delete {
        /// Its number.
        id: String,
    },
}

/// `test-alert`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct TestAlert {
    /// The receiver [default: the one named default, or the only one].
    #[arg(long, value_name = "NAME")]
    pub receiver: Option<String>,

    /// Severity of the sample.
    #[arg(long, value_name = "SEVERITY", value_parser = severity, default_value = "critical")]
    pub severity: Rank,

    /// A notification of Alertmanager, in JSON, in place of the sample.
    #[arg(long, value_name = "PAYLOAD.json")]
    pub file: Option<PathBuf>,

    /// Show what would be sent, and send nothing.
    #[arg(long)]
    pub dry_run: bool,
}

fn severity(text: &str) -> Result<Rank, String> {
    Rank::parse(text).ok_or_else(|| "expected info, warning or critical".to_owned())
}

/// `--log.level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogLevel {
    /// What does not work.
    Error,
    /// And what is odd.
    Warn,
    /// And what happens seldom.
    #[default]
    Info,
    /// And what happens often.
    Debug,
    /// And everything else.
    Trace,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// `--log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What serving needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What may change while the program runs.
    pub config: Config,
    /// What may not.
    pub listen: Listen,
    /// What whoever configures the program should know, one line each.
    pub warnings: Vec<String>,
}

/// The arguments of this process. Ends it where they ask for help or the version, or are wrong.
pub fn parse() -> Arguments {
    parse_from(std::env::args_os()).unwrap_or_else(|error| error.exit())
}

/// Reads arguments, of which the first is the name of the program.
pub fn parse_from<A: Into<OsString> + Clone>(
    arguments: impl IntoIterator<Item = A>,
) -> Result<Arguments, Box<clap::Error>> {
    let arguments = Arguments::try_parse_from(arguments)?;
    if matches!(arguments.command, Some(Command::Demo { .. })) {
        let flags = [
            ("--config.file", arguments.config_file.is_some()),
            ("--config.check", arguments.config_check),
            ("--storage.url", arguments.storage_url.is_some()),
        ];
        if let Some((flag, _)) = flags.iter().find(|(_, given)| *given) {
            let message = format!("{flag} cannot be used with demo, which brings its own configuration and storage");
            return Err(Box::new(Arguments::command().error(ErrorKind::ArgumentConflict, message)));
        }
    }
    Ok(arguments)
}

/// Everything that the flags, the files and the environment say, checked; or all that is wrong.
/// Resolves host names and reads files, so it may block. It can be called again to reload.
pub fn settings(arguments: &Arguments, environment: &Environment) -> Result<Settings, Vec<Fault>> {
    let loaded = load(arguments, environment);
    // While the configuration is wrong, nobody knows whether it has a token.
    let has_auth_token = loaded.as_ref().map_or(true, |loaded| loaded.config.web.auth_token.is_some());
    match (loaded, listen(arguments, has_auth_token)) {
        (Ok(Loaded { mut config, mut warnings, .. }), Ok(listen)) => {
            config.set_external_url(listen.external_url.as_deref());
            warnings.extend(warn_of_open_pingbacks(&config, &listen));
            warnings.extend(warn_of_open_events(&config, &listen));
            Ok(Settings { config, listen, warnings })
        }
        (loaded, listen) => {
            let mut faults = loaded.err().unwrap_or_default();
            faults.extend(listen.err().unwrap_or_default());
            Err(faults)
        }
    }
}

/// Pingbacks are not signed: whoever can send one can make up a result.
fn warn_of_open_pingbacks(config: &Config, listen: &Listen) -> Option<String> {
    let open = config.pingback.token.is_none() && config.pingback.allow_from.is_empty();
    let warning = "pingback: whoever reaches this server can make up results and fill its disk; set pingback.token \
                   (PINGBACK_TOKEN) or pingback.allow_from";
    (is_reachable(listen) && open).then(|| warning.to_owned())
}

/// Events of a panel make messages.
fn warn_of_open_events(config: &Config, listen: &Listen) -> Option<String> {
    let open = config.marzban.as_ref().is_some_and(|marzban| marzban.secret.is_none());
    let warning = "marzban: whoever reaches this server can send events; set marzban.secret (MARZBAN_WEBHOOK_SECRET)";
    (is_reachable(listen) && open).then(|| warning.to_owned())
}

fn is_reachable(listen: &Listen) -> bool {
    listen.addresses.iter().any(|address| !address.ip().to_canonical().is_loopback())
}

/// How the program is reached. `has_auth_token` says whether `web.auth_token` is set.
pub fn listen(arguments: &Arguments, has_auth_token: bool) -> Result<Listen, Vec<Fault>> {
    const ADDRESS: &str = "--web.listen-address";
    let mut faults = Vec::new();
    let mut addresses: Vec<SocketAddr> = Vec::new();
    let expected = if matches!(arguments.command, Some(Command::Demo { .. })) {
        // Its configuration is its own, so nobody can give it a token.
        "--web.allow-anonymous"
    } else {
        "web.auth_token (or WEB_AUTH_TOKEN), or --web.allow-anonymous"
    };
    let missing = (!has_auth_token && !arguments.allow_anonymous).then_some(expected);
    for text in &arguments.listen_addresses {
        match resolve(text).and_then(|address| usable(text, address, &addresses, missing)) {
            Ok(address) => addresses.push(address),
            Err(message) => faults.push(Fault::in_flag(ADDRESS, message)),
        }
    }
    let external_url = arguments.external_url.as_deref().map(config::base_url).transpose();
    let external_url = external_url.unwrap_or_else(|message| {
        faults.push(Fault::in_flag("--web.external-url", message));
        None
    });
    let web_config = arguments.web_config_file.as_deref().map(config::load_web_config).transpose();
    let web_config = web_config.unwrap_or_else(|wrong: Vec<Fault>| {
        faults.extend(wrong);
        None::<WebConfig>
    });
    if faults.is_empty() { Ok(Listen { addresses, external_url, web_config }) } else { Err(faults) }
}

/// Checks the configuration for `--config.check`: what to print to stdout, or what is wrong, for stderr
/// and exit code 1. Neither ends with a line break.
pub fn check(arguments: &Arguments, environment: &Environment) -> Result<String, String> {
    let subject = match &arguments.config_file {
        Some(file) => file.display().to_string(),
        None => "environment".to_owned(),
    };
    match settings(arguments, environment) {
        Ok(settings) => {
            let warnings = settings.warnings.iter().map(|warning| format!("\nwarning: {warning}"));
            Ok(format!("{subject}: configuration is valid{}", warnings.collect::<String>()))
        }
        Err(faults) => Err(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

fn load(arguments: &Arguments, environment: &Environment) -> Result<Loaded, Vec<Fault>> {
    let loaded = match &arguments.config_file {
        Some(file) => config::load_file(file, environment),
        None => config::load_environment(environment),
    };
    let Some(url) = &arguments.storage_url else { return loaded };
    match config::storage_path(url) {
        Ok(path) => loaded.map(|loaded| loaded.with_database(path)),
        Err(message) => {
            let mut faults = loaded.err().unwrap_or_default();
            faults.push(Fault::in_flag("--storage.url", message));
            Err(faults)
        }
    }
}

/// The address that a text means. Without a host it is the IPv6 address of every interface; the
/// listener takes IPv4 on it too.
fn resolve(text: &str) -> Result<SocketAddr, String> {
    const EXPECTED: &str = "expected HOST:PORT, as in 127.0.0.1:9877 or [::1]:9877, or :PORT for every interface";
    let port = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let Some((host, port)) = port else {
        return Err(format!("{text:?} is no address; {EXPECTED}"));
    };
    if host.is_empty() {
        return Ok(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    }
    let resolved = text.to_socket_addrs().map_err(|error| format!("{text:?}: {error}; {EXPECTED}"))?;
    // A name such as localhost often has an IPv6 address that nobody can listen on.
    let resolved: Vec<_> = resolved.collect();
    let first = resolved.iter().find(|address| address.is_ipv4()).or(resolved.first());
    first.copied().ok_or_else(|| format!("{text:?} has no address; {EXPECTED}"))
}

/// Checks one address. `missing` says what other machines have to be let in with, where it is not given.
fn usable(text: &str, address: SocketAddr, others: &[SocketAddr], missing: Option<&str>) -> Result<SocketAddr, String> {
    if address.port() != 0 && others.contains(&address) {
        return Err(format!("{text:?} is given twice; expected each address once"));
    }
    if let Some(expected) = missing
        && !address.ip().to_canonical().is_loopback()
    {
        return Err(format!(
            "{text:?} can be reached by other machines and web.auth_token is not set, but /api shows solutions; \
             expected {expected}"
        ));
    }
    Ok(address)
}

#[cfg(test)]
mod tests;

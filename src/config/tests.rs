//! Every rule of the configuration has a file that breaks it, with the exact messages beside it.

use std::fs;

use proptest::prelude::*;
use secrecy::ExposeSecret;

use super::*;
use crate::domain::alert::Rank;
use crate::notify::alertalk::{self, QuietHours};
use crate::notify::discord;

const DATA: &str = "tests/data/config";

/// Every secret in the bad files holds it, so no message may.
const SECRET: &str = "hunter2";

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let folder = Path::new(DATA).join(folder);
    let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    files.sort();
    assert!(!files.is_empty(), "{}", folder.display());
    files
}

fn lines(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n") + "\n"
}

fn good(name: &str) -> Loaded {
    let file = Path::new(DATA).join("good").join(name);
    load_file(&file, &Environment::default()).unwrap_or_else(|faults| panic!("{}", lines(&faults)))
}

fn good_web(name: &str) -> WebConfig {
    let file = Path::new(DATA).join("good_web").join(name);
    load_web_config(&file).unwrap_or_else(|faults| panic!("{}", lines(&faults)))
}

/// Compares what is wrong with each file of a folder with the .txt file of the same name, in which the
/// paths are relative to that folder.
fn check_bad(folder: &str, load: fn(&Path) -> Result<(), Vec<Fault>>) {
    let prefix = format!("{DATA}/{folder}/");
    let mut differences = Vec::new();
    for file in files(folder, "yml") {
        let Err(faults) = load(&file) else { panic!("{} is accepted", file.display()) };
        let all = lines(&faults);
        assert!(!all.contains(SECRET), "{all}");
        assert_eq!(all.lines().count(), faults.len(), "{all}");
        let found = all.replace(&prefix, "");
        let expectation = file.with_extension("txt");
        let expected = fs::read_to_string(&expectation).unwrap_or_default();
        if found != expected {
            differences.push(format!("{}\n--- found\n{found}--- expected\n{expected}", file.display()));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert_eq!(files(folder, "yml").len(), files(folder, "txt").len(), "an expectation has no file");
}

#[test]
fn bad_files_have_their_messages() {
    check_bad("bad", |file| load_file(file, &Environment::default()).map(|_| ()));
}

#[test]
fn bad_web_files_have_their_messages() {
    check_bad("bad_web", |file| load_web_config(file).map(|_| ()));
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    for (file, expected) in [
        (
            "tests/missing.yml",
            "tests/missing.yml:1:1: cannot be read: No such file or directory (os error 2); expected a YAML file\n",
        ),
        ("tests", "tests:1:1: cannot be read: Is a directory (os error 21); expected a YAML file\n"),
        ("/dev/zero", "/dev/zero:1:1: cannot be read: it has more than 1048576 bytes; expected a YAML file\n"),
    ] {
        let file = Path::new(file);
        assert_eq!(lines(&load_file(file, &Environment::default()).unwrap_err()), expected);
        assert_eq!(lines(&load_web_config(file).unwrap_err()), expected);
    }
}

#[test]
fn the_example_says_what_it_seems_to_say() {
    let Loaded { config, warnings, .. } = good("example.yml");
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(config.web.auth_token.unwrap().expose_secret(), "another-made-up-token");
    assert_eq!(config.web.trusted_proxies, ["127.0.0.1/32".parse().unwrap(), "::1/128".parse().unwrap()]);
    let names: Vec<_> = config.accounts.iter().map(|account| &*account.name).collect();
    assert_eq!(names, ["main", "second-shop"]);
    let main = config.accounts.first().unwrap();
    assert_eq!(main.api_key.expose_secret(), "0123456789abcdef0123456789abcdef");
    assert_eq!((main.base_url.as_str(), main.balance_interval), (DEFAULT_BASE_URL, Duration::from_mins(1)));
    assert_eq!(config.captchas.label("mtcaptcha"), "mtcaptcha");
    assert_eq!(config.pingback.token.unwrap().expose_secret(), "not-a-real-token");
    assert_eq!(config.pingback.unknown, UnknownPingback::Verify);
    assert_eq!(config.storage, Storage::default());
    assert_eq!(config.watchdog, Some(Watchdog { timeout: Duration::from_mins(5), receiver: "default".to_owned() }));
}

/// The settings of the only receiver of a configuration.
fn destinations(config: &Config) -> (&discord::Settings, &alertalk::Settings) {
    let [Receiver { name, destinations }] = config.receivers.as_slice() else { panic!("{config:?}") };
    assert_eq!(name, "default");
    match destinations.as_slice() {
        [notify::Settings::Discord(discord), notify::Settings::Alertalk(alertalk)] => (discord, alertalk),
        _ => panic!("{destinations:?}"),
    }
}

#[test]
fn the_receiver_of_the_example_has_the_defaults_that_it_says() {
    let Loaded { config, .. } = good("example.yml");
    let (discord, alertalk) = destinations(&config);
    let mentions = vec![
        discord::Mention::Role("123456789012345678".to_owned()),
        discord::Mention::User("234567890123456789".to_owned()),
    ];
    assert_eq!(discord.mentions, [(Rank::Critical, mentions)].into());
    assert_eq!(alertalk.quiet_hours, Some(QuietHours { from: 1380, to: 420, offset: 180 }));
    assert_eq!(alertalk.words.say("unreachable", &[]), "Discord şu anda çalışmıyor.");
    let url = "https://discord.com/api/webhooks/1234567890/made-up-token";
    let variables = [
        ("DISCORD_WEBHOOK_URL", url),
        ("ALERTALK_WEBHOOK_KEY", "made-up-alertalk-key"),
        ("ALERTALK_PHONE_NUMBERS", "5321234567,5321234568"),
    ];
    let plain = load_environment(&Environment::new(&variables)).unwrap().config;
    let (plain_discord, plain_alertalk) = destinations(&plain);
    let discord =
        discord::Settings { name: "default".to_owned(), mentions: plain_discord.mentions.clone(), ..discord.clone() };
    let alertalk = alertalk::Settings {
        name: "default".to_owned(),
        quiet_hours: None,
        words: plain_alertalk.words.clone(),
        ..alertalk.clone()
    };
    let pair = |discord: &discord::Settings, alertalk: &alertalk::Settings| {
        [notify::Settings::Discord(discord.clone()), notify::Settings::Alertalk(alertalk.clone())]
    };
    for (said, plain) in pair(&discord, &alertalk).iter().zip(&pair(plain_discord, plain_alertalk)) {
        assert!(said.is_same(plain), "{said:?} {plain:?}");
    }
}

#[test]
fn receivers_have_their_destinations_in_order() {
    let Loaded { config, warnings, .. } = good("receivers.yml");
    let shown = config.receivers.iter().map(|receiver| {
        let destinations: Vec<_> = receiver.destinations.iter().map(notify::Settings::destination).collect();
        format!("{}: {}", receiver.name, destinations.join(" "))
    });
    let shown: Vec<_> = shown.collect();
    assert_eq!(
        shown,
        ["phones: alertalk/ops", "both: discord/ops discord/proxy alertalk/night", "default: discord/odd"]
    );
    assert_eq!(config.watchdog, None);
    let odd = "receivers[2].discord[0].webhook_url: does not look like https://discord.com/api/webhooks/ID/TOKEN; is it \
               whole?";
    assert!(warnings.iter().any(|warning| warning.ends_with(odd)), "{warnings:?}");
}

#[test]
fn the_watchdog_finds_its_receiver() {
    for (name, receiver, seconds) in [("watchdog.yml", "only", 300), ("watchdog_default.yml", "default", 90)] {
        let expected = Watchdog { timeout: Duration::from_secs(seconds), receiver: receiver.to_owned() };
        assert_eq!(good(name).config.watchdog, Some(expected));
    }
}

#[test]
fn links_are_those_of_the_flag() {
    let Loaded { mut config, .. } = good("example.yml");
    assert_eq!(destinations(&config).0.external_url, None);
    config.set_external_url(Some("https://example.com/exporter/"));
    assert_eq!(destinations(&config).0.external_url.as_deref(), Some("https://example.com/exporter"));
    config.set_external_url(None);
    assert_eq!(destinations(&config).0.external_url, None);
}

#[test]
fn an_empty_file_is_all_defaults() {
    for name in ["empty.yml", "nothing.yml"] {
        let Loaded { config, warnings, .. } = good(name);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings.iter().all(|warning| warning.contains("captchaai-exporter demo")), "{warnings:?}");
        assert!(config.accounts.is_empty() && config.web.auth_token.is_none() && config.pingback.token.is_none());
        assert_eq!(config.pingback.unknown, UnknownPingback::Verify);
        assert_eq!(config.storage.path, Path::new("data/captchaai-exporter.db"));
        assert_eq!(config.storage.spill_dir, Path::new("data/spill"));
        assert_eq!(config.storage.retention, Duration::from_hours(24));
    }
}

#[test]
fn text_that_looks_like_a_number_is_kept() {
    let Loaded { config, warnings, .. } = good("numbers.yml");
    let accounts: Vec<_> =
        config.accounts.iter().map(|account| (&*account.name, account.api_key.expose_secret())).collect();
    let zeros = "00000000000000000000000000000012";
    let expected = [
        ("leading_zeros", zeros),
        ("float", "1234567890123456789012345678e999"),
        ("big", "12345678901234567890123456789012"),
        ("quoted", zeros),
        ("underscores", "1_000_000_000_000_000_000_000_00"),
        ("block", zeros),
        ("tagged", zeros),
        ("123", ".inf"),
        ("1e3", "true"),
        ("null_text", "null"),
    ];
    assert_eq!(accounts, expected);
    assert_eq!(config.web.auth_token.unwrap().expose_secret(), "0x1F");
    assert_eq!(config.pingback.token.unwrap().expose_secret(), "0777");
    let short = |line: usize, column: usize, account: usize| {
        format!(
            "{DATA}/good/numbers.yml:{line}:{column}: accounts[{account}].api_key: does not have the 32 characters of \
             CaptchaAI's API keys; is it whole?"
        )
    };
    assert_eq!(warnings, [short(13, 29, 7), short(14, 27, 8), short(15, 33, 9)]);
}

#[test]
fn anchors_and_aliases_work() {
    let Loaded { config, .. } = good("anchors.yml");
    let [a, b] = config.accounts.as_slice() else { panic!("{:?}", config.accounts) };
    assert_eq!(a.api_key.expose_secret(), b.api_key.expose_secret());
    assert_eq!((a.base_url.as_str(), b.base_url.as_str()), ("http://127.0.0.1:9000", "http://127.0.0.1:9000"));
    assert_eq!(config.web.trusted_proxies, config.pingback.allow_from);
}

#[test]
fn web_files_say_what_they_seem_to_say() {
    let pem = |name: &str| PathBuf::from(format!("{DATA}/good_web/../pem/{name}"));
    let tls = good_web("tls.yml").tls.unwrap();
    assert_eq!((tls.cert_file, tls.key_file), (pem("certificate.pem"), pem("key.pem")));
    assert!(tls.min_version_13);
    assert_eq!(tls.client_auth, ClientAuth::Require(pem("certificate.pem")));
    let tls = good_web("if_given.yml").tls.unwrap();
    assert_eq!((tls.client_auth, tls.min_version_13), (ClientAuth::VerifyIfGiven(pem("certificate.pem")), false));
    let web = good_web("basic_auth.yml");
    assert_eq!(web.tls.unwrap().client_auth, ClientAuth::None);
    let users: Vec<_> = web.basic_auth_users.iter().map(|(name, hash)| (name.as_str(), hash.expose_secret())).collect();
    let hash = "$10$abcdefghijklmnopqrstuuWlSm6zBWnbxWMSBy0CIKm0dN9cKEh4G";
    let expected = [("admin", format!("$2y{hash}")), ("42", format!("$2b{}", hash.replace("$10$", "$04$")))];
    assert_eq!(users, expected.each_ref().map(|(name, hash)| (*name, hash.as_str())));
    let empty = good_web("empty.yml");
    assert!(empty.tls.is_none() && empty.basic_auth_users.is_empty());
}

#[test]
fn good_files_are_accepted() {
    for file in files("good", "yml") {
        let loaded = load_file(&file, &Environment::default());
        assert!(loaded.is_ok(), "{}: {loaded:?}", file.display());
    }
    for file in files("good_web", "yml") {
        let loaded = load_web_config(&file);
        assert!(loaded.is_ok(), "{}: {loaded:?}", file.display());
    }
}

#[test]
fn secrets_do_not_print_themselves() {
    let text = "
web: { auth_token: hunter2 }
accounts: [{ name: main, api_key: hunter2 }]
pingback: { token: hunter2 }
receivers:
  - name: default
    discord: [{ name: ops, webhook_url: 'https://discord.com/api/webhooks/1/hunter2' }]
    alertalk: [{ name: ops, webhook_key: hunter2, phone_numbers: [5321234567] }]
";
    let (decoded, warnings) = file::decode(Path::new("x.yml"), text).map_err(|faults| lines(&faults)).unwrap();
    assert_eq!(decoded.config.accounts.first().unwrap().api_key.expose_secret(), SECRET);
    let variables = [
        ("CAPTCHAAI_API_KEY", SECRET),
        ("PINGBACK_TOKEN", SECRET),
        ("WEB_AUTH_TOKEN", SECRET),
        ("DISCORD_WEBHOOK_URL", "https://discord.com/api/webhooks/1/hunter2"),
        ("ALERTALK_WEBHOOK_KEY", SECRET),
        ("ALERTALK_PHONE_NUMBERS", "5321234567"),
    ];
    let environment = Environment::new(&variables);
    let loaded = load_environment(&environment).unwrap();
    assert_eq!(loaded.config.pingback.token.as_ref().unwrap().expose_secret(), SECRET);
    let web = WebConfig { basic_auth_users: vec![("admin".to_owned(), SECRET.into())], ..WebConfig::default() };
    for shown in [
        format!("{:?}", decoded.config),
        format!("{warnings:?}"),
        format!("{environment:?}"),
        format!("{loaded:?}"),
        format!("{web:?}"),
    ] {
        assert!(!shown.contains(SECRET) && !shown.contains("53212345"), "{shown}");
    }
}

#[test]
fn a_file_warns_of_the_environment_that_it_replaces() {
    let file = Path::new(DATA).join("good/example.yml");
    let environment = Environment::new(&[("PINGBACK_TOKEN", SECRET), ("WEBHOOK_SECRET", SECRET)]);
    let warnings = load_file(&file, &environment).unwrap().warnings;
    assert_eq!(warnings, ["environment: ignored because of --config.file: WEBHOOK_SECRET, PINGBACK_TOKEN"]);
}

/// Loads a text as either file: it never panics, and every fault takes one line at a place in order.
fn check_any(text: &str) {
    let file = Path::new("x.yml");
    let results = [file::decode(file, text).map(|_| ()), web::decode(file, text).map(|_| ())];
    for faults in results.into_iter().filter_map(Result::err) {
        assert!(!faults.is_empty());
        assert!(faults.is_sorted_by_key(Fault::position), "{faults:?}");
        for fault in faults {
            let line = fault.to_string();
            assert!(line.starts_with("x.yml:") && !line.contains(['\n', '\r']), "{line:?}");
        }
    }
}

const FRAGMENTS: [&str; 53] = [
    "web",
    "accounts",
    "name",
    "api_key",
    "api_key_file",
    "pingback",
    "token",
    "storage",
    "url",
    "captchas",
    "allow_from",
    "tls_server_config",
    "cert_file",
    "basic_auth_users",
    "balance_interval",
    "receivers",
    "discord",
    "alertalk",
    "webhook_url",
    "webhook_key",
    "phone_numbers",
    "mentions",
    "quiet_hours",
    "templates",
    "watchdog",
    "receiver",
    "5321234567",
    "https://discord.com/api/webhooks/1/x",
    "sqlite:x.db",
    "10.0.0.0/8",
    "1h",
    "~",
    ": ",
    ":",
    "\n",
    "\n  ",
    "\n    ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "\"",
    "'",
    "&a ",
    "*a",
    "!!str ",
    "!",
    "|\n",
    "#",
    "\t",
    "<<",
];

proptest! {
    #[test]
    fn any_text_is_loaded_or_refused(text in any::<String>()) {
        check_any(&text);
    }

    #[test]
    fn anything_like_yaml_is_loaded_or_refused(parts in prop::collection::vec(prop::sample::select(&FRAGMENTS[..]), 0..40)) {
        check_any(&parts.concat());
    }
}

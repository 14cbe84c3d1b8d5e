//! The keys of the configuration file.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};

use super::decode::{Decoder, Field, Keys, Section};
use super::fault::Fault;
use super::secret::{Check, Names, secret};
use super::{
    Account, Config, DEFAULT_BALANCE_INTERVAL, DEFAULT_BASE_URL, Pingback, Storage, Web, marzban, read, receivers,
    recovery, values, yaml,
};
use crate::domain::captcha::CaptchaKinds;

const TOP: Keys = Keys {
    known: &[
        "web",
        "accounts",
        "captchas",
        "pingback",
        "fallback",
        "subscribers",
        "receivers",
        "watchdog",
        "marzban",
        "storage",
    ],
    unsupported: &[],
};

const WEB: Keys = Keys::new(&["auth_token", "auth_token_file", "trusted_proxies"]);
const ACCOUNT: Keys = Keys::new(&["name", "api_key", "api_key_file", "base_url", "balance_interval"]);
const PINGBACK: Keys = Keys::new(&["token", "token_file", "unknown", "allow_from"]);
const STORAGE: Keys = Keys::new(&["url", "retention", "spill_dir"]);

const BALANCE_INTERVALS: [Duration; 2] = [Duration::from_secs(1), Duration::from_hours(24)];
const RETENTIONS: [Duration; 2] = [Duration::from_secs(1), Duration::from_hours(24 * 3650)];

/// What a file says, and whether it names the spill folder itself.
pub(super) struct FileConfig {
    pub(super) config: Config,
    pub(super) spill_dir_given: bool,
}

/// Reads and checks a file; the second value are its warnings.
pub(super) fn load(file: &Path) -> Result<(FileConfig, Vec<Fault>), Vec<Fault>> {
    let text = read::yaml(file).map_err(|fault| vec![fault])?;
    decode(file, &text)
}

/// Checks the text of a file. Secrets are read from the folder that `file` is in.
pub(super) fn decode(file: &Path, text: &str) -> Result<(FileConfig, Vec<Fault>), Vec<Fault>> {
    let mut decoder = Decoder::new(file);
    let root = yaml::parse(text).map_err(|error| vec![Fault::in_file(file, error.position, error.message)])?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let config = decoder.section(&Field::root(&root), &TOP).map(|top| config(&mut decoder, &top, folder));
    decoder.finish(config)
}

fn config(decoder: &mut Decoder<'_>, top: &Section<'_>, folder: &Path) -> FileConfig {
    let web = section(decoder, top, "web", &WEB).map(|section| web(decoder, &section, folder));
    let accounts = accounts(decoder, top, folder);
    let captchas = captchas(decoder, top);
    let pingback = section(decoder, top, "pingback", &PINGBACK).map(|section| pingback(decoder, &section, folder));
    let fallback = recovery::fallback(decoder, top);
    let subscribers = recovery::subscribers(decoder, top, folder);
    let (receivers, watchdog) = receivers::receivers(decoder, top, folder);
    let marzban = marzban::marzban(decoder, top, folder, &receivers);
    let storage = section(decoder, top, "storage", &STORAGE).map(|section| storage(decoder, &section));
    let (storage, spill_dir_given) = storage.unwrap_or_default();
    let config = Config {
        web: web.unwrap_or_default(),
        accounts,
        captchas,
        pingback: pingback.unwrap_or_default(),
        fallback,
        subscribers,
        receivers,
        watchdog,
        marzban,
        storage,
    };
    FileConfig { config, spill_dir_given }
}

/// A section of the file, where it is given and not null.
pub(super) fn section<'n>(decoder: &mut Decoder<'_>, top: &Section<'n>, key: &str, keys: &Keys) -> Option<Section<'n>> {
    decoder.section(&top.get(key)?, keys)
}

fn web(decoder: &mut Decoder<'_>, section: &Section<'_>, folder: &Path) -> Web {
    let names = Names { inline: "auth_token", file: "auth_token_file" };
    Web {
        auth_token: token(decoder, section, names, folder, values::check_bearer_token),
        trusted_proxies: ranges(decoder, section, "trusted_proxies"),
    }
}

fn pingback(decoder: &mut Decoder<'_>, section: &Section<'_>, folder: &Path) -> Pingback {
    let names = Names { inline: "token", file: "token_file" };
    Pingback {
        token: token(decoder, section, names, folder, values::check_path_token),
        unknown: decoder.value(section.get("unknown").as_ref(), values::unknown_pingback).unwrap_or_default(),
        allow_from: ranges(decoder, section, "allow_from"),
    }
}

fn storage(decoder: &mut Decoder<'_>, section: &Section<'_>) -> (Storage, bool) {
    let default = Storage::default();
    let [least, most] = RETENTIONS;
    let path = decoder.value(section.get("url").as_ref(), values::storage_path).unwrap_or(default.path);
    let retention = decoder.value(section.get("retention").as_ref(), |text| values::duration_within(text, least, most));
    let spill_dir = decoder.value(section.get("spill_dir").as_ref(), values::path);
    let given = spill_dir.is_some();
    let storage = Storage {
        spill_dir: spill_dir.unwrap_or_else(|| Storage::default_spill_dir(&path)),
        retention: retention.unwrap_or(default.retention),
        path,
    };
    (storage, given)
}

fn accounts(decoder: &mut Decoder<'_>, top: &Section<'_>, folder: &Path) -> Vec<Account> {
    let mut first_uses: HashMap<String, String> = HashMap::new();
    let mut accounts = Vec::new();
    for item in decoder.items(top.get("accounts")) {
        let Some(section) = decoder.section(&item, &ACCOUNT) else { continue };
        let name = first_use(decoder, &section, &mut first_uses, values::account_name);
        let api_key = api_key(decoder, &section, folder);
        let base_url = decoder.value(section.get("base_url").as_ref(), values::base_url);
        let [least, most] = BALANCE_INTERVALS;
        let balance_interval =
            decoder.value(section.get("balance_interval").as_ref(), |text| values::duration_within(text, least, most));
        let (Some(name), Some(api_key)) = (name, api_key) else { continue };
        accounts.push(Account {
            name: name.into(),
            api_key,
            base_url: base_url.unwrap_or_else(|| DEFAULT_BASE_URL.to_owned()),
            balance_interval: balance_interval.unwrap_or(DEFAULT_BALANCE_INTERVAL),
        });
    }
    accounts
}

/// The `name` of a section, which no section of its kind before has.
pub(super) fn first_use(
    decoder: &mut Decoder<'_>,
    section: &Section<'_>,
    first_uses: &mut HashMap<String, String>,
    parse: fn(&str) -> Result<String, String>,
) -> Option<String> {
    let Some(field) = section.get("name") else {
        decoder.fault(section.position, format!("{}: name is missing; expected name: NAME", section.path));
        return None;
    };
    let name = decoder.value(Some(&field), parse)?;
    if let Some(other) = first_uses.get(&name) {
        decoder.wrong(&field, &format!("{name:?} is the name of {other} already; expected a name of its own"));
        return None;
    }
    first_uses.insert(name.clone(), section.path.clone());
    Some(name)
}

fn api_key(decoder: &mut Decoder<'_>, section: &Section<'_>, folder: &Path) -> Option<SecretString> {
    let names = Names { inline: "api_key", file: "api_key_file" };
    if section.get_or_null(names.inline).or(section.get_or_null(names.file)).is_none() {
        let message = format!("{}: the API key is missing; expected api_key or api_key_file", section.path);
        decoder.fault(section.position, message);
        return None;
    }
    let (key, field) = secret(decoder, section, names, folder, values::check_api_key)?;
    if let Some(warning) = values::odd_api_key(key.expose_secret()) {
        decoder.warn(&field, warning);
    }
    Some(key)
}

fn token(
    decoder: &mut Decoder<'_>,
    section: &Section<'_>,
    names: Names,
    folder: &Path,
    check: Check,
) -> Option<SecretString> {
    secret(decoder, section, names, folder, check).map(|(token, _)| token)
}

fn captchas(decoder: &mut Decoder<'_>, top: &Section<'_>) -> CaptchaKinds {
    let mut seen = HashSet::new();
    let mut extra = Vec::new();
    for item in decoder.items(top.get("captchas")) {
        let Some(name) = decoder.value(Some(&item), values::captcha) else { continue };
        if seen.insert(name.clone()) {
            extra.push(name);
        } else {
            decoder.wrong(&item, &format!("{name:?} is in the list already; expected each only once"));
        }
    }
    CaptchaKinds::new(&extra)
}

fn ranges(decoder: &mut Decoder<'_>, section: &Section<'_>, key: &str) -> Vec<IpNet> {
    // Nothing behind `allow_from:` must not mean everybody by accident.
    let field = section.get_or_null(key);
    if let Some(field) = field.as_ref().filter(|field| field.is_null()) {
        decoder.wrong(field, "is empty; expected a list of addresses and ranges, or [] for none");
    }
    let items = decoder.items(field.filter(|field| !field.is_null()));
    items.iter().filter_map(|item| decoder.value(Some(item), values::ip_range)).collect()
}

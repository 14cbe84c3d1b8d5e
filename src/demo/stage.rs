//! The stage of the demonstration: two simulated accounts, workers for both, a simulated Discord and a
//! simulated Alertalk to which alerts go, and a temporary folder with the configuration and the storage of
//! the exporter that is shown.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::alertalk::{Options as AlertalkOptions, SimulatedAlertalk};
use super::alertmanager::Alertmanager;
use super::captchaai::{Odds, Options as ServiceOptions, SimulatedCaptchaAi, StartError, TopUp};
use super::discord::{Options as DiscordOptions, SimulatedDiscord};
use super::speed::Speed;
use super::subscriber::{Outages, SimulatedSubscriber};
use super::{serving, workers};
use crate::domain::clock::SystemClock;
use crate::domain::time::format_duration;
use crate::notify::client::{BuildError, http_client};

/// Solves in a few seconds, so that something happens every second.
const SPEED: f64 = 5.0;

const BALANCE_INTERVAL: Duration = Duration::from_secs(5);

/// An account of the demonstration.
struct Cast {
    account: &'static str,
    workers: usize,
    balance_usd: f64,
    /// The accounts share one exporter, so their ids must differ.
    first_id: u64,
}

const CAST: [Cast; 2] = [
    Cast { account: "main", workers: 6, balance_usd: 24.6, first_id: 72_580_000_001 },
    Cast { account: "backup", workers: 2, balance_usd: 2.02, first_id: 91_370_000_001 },
];

/// As short as a notification can be.
const TEST_ALERT: &str = r#"{"status":"firing","alerts":[{"labels":{"alertname":"Test","severity":"critical"}}]}"#;

/// Who is mentioned and who is called: nobody's numbers.
const MENTION: &str = "user:234567890123456789";
const PHONE_NUMBER: &str = "5320000000";

const TOP_UP: TopUp = TopUp { below_usd: 2.0, amount_usd: 10.0 };

/// With faults, more pingbacks are lost than usual.
const FAULTY: Odds = Odds {
    failure: 0.08,
    no_slot: 0.05,
    lost: 0.3,
    late: 0.05,
    duplicate: 0.1,
    conflicting: 0.05,
    second_question_mark: 0.1,
};

/// With faults, the subscriber is down now and then, for longer than results stay fresh.
const OUTAGES: Outages = Outages { up: Duration::from_secs(30), down: Duration::from_secs(20) };

/// With faults, results are made up this often.
const FORGE_INTERVAL: Duration = Duration::from_secs(20);
const FIRST_FORGED: u64 = 10_000_000_001;

const FAULTS_TEXT: &str = "\
Three pingbacks in ten are lost: watch captchaai_fallback_recovered_total. The subscriber is down for 20 of 50 seconds, \
and results are made up: what goes stale and what is forged are dead letters on the status page, with buttons to try \
them again.\n\n";

/// Why there is no demonstration.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A folder or file for the exporter cannot be made.
    #[error("the temporary folder of the demonstration: {0}")]
    Folder(io::Error),
    /// The simulation does not start.
    #[error(transparent)]
    Service(#[from] StartError),
    /// Nor does that of Discord or Alertalk.
    #[error(transparent)]
    Destination(#[from] serving::StartError),
    /// The workers or the simulated Alertmanager have no HTTP.
    #[error(transparent)]
    Client(#[from] BuildError),
}

/// What the exporter is shown with. The folder is removed when this is dropped.
pub(super) struct Stage {
    folder: TempDir,
    services: Vec<SimulatedCaptchaAi>,
    keys: Vec<String>,
    pingback_token: String,
    discord: SimulatedDiscord,
    alertalk: SimulatedAlertalk,
    alertalk_key: String,
    subscriber: SimulatedSubscriber,
    faults: bool,
    rng: fastrand::Rng,
}

impl Stage {
    /// Starts what is simulated and writes the configuration; `faults` lets more go wrong than usual.
    pub(super) async fn set(mut rng: fastrand::Rng, faults: bool) -> Result<Self, StageError> {
        let folder = tempfile::Builder::new().prefix("captchaai-exporter-demo-").tempdir();
        let folder = folder.map_err(StageError::Folder)?;
        let mut secret = || std::iter::repeat_with(|| rng.alphanumeric()).take(32).collect::<String>();
        let keys: Vec<_> = CAST.iter().map(|_| secret()).collect();
        let (pingback_token, alertalk_key) = (secret(), secret());
        let mut services = Vec::new();
        for (cast, key) in CAST.iter().zip(&keys) {
            let options = ServiceOptions {
                key: key.clone(),
                balance_usd: cast.balance_usd,
                top_up: Some(TOP_UP),
                speed: Speed::new(SPEED),
                seed: rng.u64(..),
                first_id: cast.first_id,
                odds: if faults { FAULTY } else { Odds::default() },
                ..ServiceOptions::default()
            };
            services.push(SimulatedCaptchaAi::start(options).await?);
        }
        let discord = SimulatedDiscord::start(DiscordOptions::default()).await?;
        let options = AlertalkOptions { key: alertalk_key.clone(), ..AlertalkOptions::default() };
        let alertalk = SimulatedAlertalk::start(options).await?;
        let subscriber = SimulatedSubscriber::start(faults.then_some(OUTAGES)).await?;
        let stage =
            Self { folder, services, keys, pingback_token, discord, alertalk, alertalk_key, subscriber, faults, rng };
        std::fs::write(stage.config_file(), stage.config()).map_err(StageError::Folder)?;
        Ok(stage)
    }

    /// The configuration of the exporter.
    pub(super) fn config_file(&self) -> PathBuf {
        self.folder.path().join("captchaai-exporter.yml")
    }

    fn config(&self) -> String {
        let interval = format_duration(BALANCE_INTERVAL);
        let mut yaml = "accounts:\n".to_owned();
        for ((cast, key), service) in CAST.iter().zip(&self.keys).zip(&self.services) {
            let (name, url) = (cast.account, service.base_url());
            let account = format!(
                "  - {{ name: {name}, api_key: \"{key}\", base_url: \"{url}\", balance_interval: {interval} }}\n"
            );
            yaml.push_str(&account);
        }
        let database = self.folder.path().join("demo.db");
        let spill = self.folder.path().join("spill");
        // Writing to a string does not fail.
        let _ = write!(
            yaml,
            "pingback: {{ token: \"{}\" }}\nfallback: {{ after: 20s, give_up_after: 3m }}\n\
             subscribers: [{{ name: workers, url: \"{}\", max_age: 15s }}]\nstorage: {{ url: {:?}, spill_dir: {:?} }}\n",
            self.pingback_token,
            self.subscriber.url(),
            format!("sqlite:{}", database.display()),
            spill.display().to_string(),
        );
        yaml + &self.receivers()
    }

    /// The part of the configuration about alerts.
    fn receivers(&self) -> String {
        let (webhook_url, url, key) = (self.discord.webhook_url(), self.alertalk.url(), &self.alertalk_key);
        format!(
            "receivers:\n  \
               - name: default\n    \
                 discord: [{{ name: ops, webhook_url: \"{webhook_url}\", mentions: {{ critical: [\"{MENTION}\"] }} }}]\n    \
                 alertalk: [{{ name: oncall, url: \"{url}\", webhook_key: \"{key}\", \
                              phone_numbers: [\"{PHONE_NUMBER}\"] }}]\n\
             watchdog: {{ timeout: 2m, receiver: default }}\n"
        )
    }

    /// What to look at, for whoever started it; the exporter listens on `addresses`.
    pub(super) fn greeting(&self, addresses: &[SocketAddr]) -> String {
        let workers: usize = CAST.iter().map(|cast| cast.workers).sum();
        let exporter = exporter_url(addresses);
        let [first, second] = &CAST;
        let mut text = format!(
            "Demonstration: {} simulated accounts and {workers} simulated workers, {SPEED} times as fast as real \
             ones.\n\n  Status page  {exporter}/\n  Metrics      {exporter}/metrics\n",
            CAST.len(),
        );
        for (cast, service) in CAST.iter().zip(&self.services) {
            // Writing to a string does not fail.
            let _ = writeln!(text, "  CaptchaAI    {} (account {})", service.base_url(), cast.account);
        }
        let _ = writeln!(
            text,
            "  Discord      {} (what people read)\n  Alertalk     {} (who is called)\n\n\
             A worker waits for its result like this:\n  curl '{exporter}/api/v1/tasks/{}?wait=30s'\n\n\
             The account {} runs low, is told of and topped up within two minutes. An alert of your own, over with \
             \"resolved\":\n  curl -d '{TEST_ALERT}' {exporter}/alertmanager\n\n\
             {}\
             Ctrl-C stops it and removes {}.",
            self.discord.page_url(),
            self.alertalk.page_url(),
            first.first_id,
            second.account,
            if self.faults { FAULTS_TEXT } else { "" },
            self.folder.path().display(),
        );
        text
    }

    /// Lets the workers work with the exporter at `addresses` and the simulated Alertmanager post to it,
    /// until `stop` is cancelled.
    pub(super) async fn play(&mut self, addresses: &[SocketAddr], stop: &CancellationToken) -> Result<(), StageError> {
        let accounts = CAST.each_ref().map(|cast| cast.account);
        let alertmanager = Alertmanager::new(exporter_url(addresses), &accounts, Arc::new(SystemClock))?;
        let mut teams = JoinSet::new();
        for ((cast, key), service) in CAST.iter().zip(&self.keys).zip(&self.services) {
            let options = workers::Options {
                account: cast.account.to_owned(),
                captchaai: service.base_url(),
                key: key.clone(),
                exporter: exporter_url(addresses),
                pingback_token: self.pingback_token.clone(),
                workers: cast.workers,
                speed: Speed::new(SPEED),
                clock: Arc::new(SystemClock),
                seed: self.rng.u64(..),
            };
            teams.spawn(workers::run(options, stop.clone()));
        }
        let made_up = forge(exporter_url(addresses), self.pingback_token.clone(), self.faults, stop);
        let balances = || self.services.iter().map(SimulatedCaptchaAi::balance_usd).collect();
        let (teams, (), ended) = tokio::join!(teams.join_all(), alertmanager.run(balances, stop), made_up);
        ended.map_err(StageError::Client)?;
        teams.into_iter().collect::<Result<_, _>>().map_err(StageError::Client)
    }

    /// Stops what is simulated and removes the folder.
    pub(super) async fn clear(self) -> Result<(), StageError> {
        for service in self.services {
            service.stop().await;
        }
        self.discord.stop().await;
        self.alertalk.stop().await;
        self.subscriber.stop().await;
        self.folder.close().map_err(StageError::Folder)
    }
}

/// Sends a result now and then that nobody has solved.
async fn forge(exporter: String, token: String, faults: bool, stop: &CancellationToken) -> Result<(), BuildError> {
    if !faults {
        return Ok(());
    }
    let http = http_client(FORGE_INTERVAL)?;
    let forging = async {
        for number in FIRST_FORGED.. {
            tokio::time::sleep(FORGE_INTERVAL).await;
            // How it is answered shows on the exporter's page.
            let _ = http.get(format!("{exporter}/pingback/{token}?id={number}&code=made-up")).send().await;
        }
    };
    stop.run_until_cancelled(forging).await;
    Ok(())
}

/// How the exporter is reached from this machine.
fn exporter_url(addresses: &[SocketAddr]) -> String {
    let address = addresses.first().map_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 9877)), |&address| {
        let ip = match address.ip() {
            // Where every interface is listened on over IPv6, IPv4 is taken as well.
            ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            ip => ip,
        };
        SocketAddr::new(ip, address.port())
    });
    format!("http://{address}")
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use crate::config::{Environment, load_file};
    use crate::domain::notification;
    use crate::notify::Settings;

    #[test]
    fn the_exporter_is_reached_from_this_machine() {
        for (listens, url) in [
            (vec!["127.0.0.1:9877"], "http://127.0.0.1:9877"),
            (vec!["0.0.0.0:80"], "http://127.0.0.1:80"),
            (vec!["[::]:9877"], "http://127.0.0.1:9877"),
            (vec!["[::1]:9877"], "http://[::1]:9877"),
            (vec!["192.0.2.7:1", "127.0.0.1:2"], "http://192.0.2.7:1"),
        ] {
            let addresses: Vec<_> = listens.iter().map(|address| address.parse().unwrap()).collect();
            assert_eq!(exporter_url(&addresses), url);
        }
    }

    #[tokio::test]
    async fn the_configuration_fits_the_simulated_accounts() {
        let stage = Stage::set(fastrand::Rng::with_seed(1), false).await.unwrap();
        let loaded = load_file(&stage.config_file(), &Environment::default()).unwrap();
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        let config = loaded.config;
        let client = crate::captchaai::client::Client::new().unwrap();
        let mut balances = Vec::new();
        for account in &config.accounts {
            balances.push((account.name.to_string(), client.get_balance(account).await));
        }
        assert_eq!(balances, [("main".to_owned(), Ok(24.6)), ("backup".to_owned(), Ok(2.02))]);
        assert!(config.storage.path.starts_with(stage.folder.path()));
        assert!(config.storage.spill_dir.starts_with(stage.folder.path()));
        assert!(config.pingback.token.is_some_and(|token| token.expose_secret() == stage.pingback_token));
        let destinations = config.receivers.iter().flat_map(|receiver| &receiver.destinations);
        let names: Vec<_> = destinations.map(Settings::destination).collect();
        assert_eq!(names, ["discord/ops", "alertalk/oncall"]);
        assert!(config.watchdog.is_some_and(|watchdog| watchdog.receiver == "default"));
    }

    #[tokio::test]
    async fn the_greeting_says_where_to_look_and_nothing_secret_and_the_folder_goes() {
        let stage = Stage::set(fastrand::Rng::with_seed(1), false).await.unwrap();
        let greeting = stage.greeting(&["[::]:9999".parse().unwrap()]);
        let folder = stage.folder.path().to_owned();
        let api = stage.services.first().map(SimulatedCaptchaAi::base_url).unwrap();
        let test_alert = format!("curl -d '{TEST_ALERT}' http://127.0.0.1:9999/alertmanager\n");
        for part in [
            "http://127.0.0.1:9999/metrics",
            "/api/v1/tasks/72580000001?wait=30s",
            &api,
            &format!("Discord      {}", stage.discord.page_url()),
            &format!("Alertalk     {}", stage.alertalk.page_url()),
            &test_alert,
            "Ctrl-C",
        ] {
            assert!(greeting.contains(part), "{part} in {greeting}");
        }
        assert!(greeting.contains(&folder.display().to_string()), "{greeting}");
        let secrets = [&stage.pingback_token, &stage.alertalk_key, &stage.discord.webhook_url()];
        assert!(stage.keys.iter().chain(secrets).all(|secret| !greeting.contains(secret)));
        assert!(folder.exists());
        stage.clear().await.unwrap();
        assert!(!folder.exists());
    }

    #[test]
    fn the_test_alert_is_read_and_ends_with_one_word() {
        let resolved = TEST_ALERT.replace("firing", "resolved");
        for (body, firing) in [(TEST_ALERT, true), (&resolved, false)] {
            let parsed = notification::parse(body.as_bytes(), "default", jiff::Timestamp::UNIX_EPOCH).unwrap();
            let alerts: Vec<_> = parsed.group.alerts.iter().map(|alert| (alert.name(), alert.firing)).collect();
            assert_eq!((parsed.odd, alerts.as_slice()), (0, &[("Test", firing)][..]));
        }
    }
}

//! The stage of the demonstration: two simulated accounts, workers for both, and a temporary folder
//! with the configuration and the storage of the exporter that is shown.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::captchaai::{Options as ServiceOptions, SimulatedCaptchaAi, StartError, TopUp};
use super::speed::Speed;
use super::workers;
use crate::captchaai::client::BuildError;
use crate::domain::clock::SystemClock;
use crate::domain::time::format_duration;

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

const TOP_UP: TopUp = TopUp { below_usd: 2.0, amount_usd: 10.0 };

/// Why there is no demonstration.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A folder or file for the exporter cannot be made.
    #[error("the temporary folder of the demonstration: {0}")]
    Folder(io::Error),
    /// The simulation does not start.
    #[error(transparent)]
    Service(#[from] StartError),
    /// The workers have no HTTP.
    #[error(transparent)]
    Workers(#[from] BuildError),
}

/// What the exporter is shown with. The folder is removed when this is dropped.
pub(super) struct Stage {
    folder: TempDir,
    services: Vec<SimulatedCaptchaAi>,
    keys: Vec<String>,
    pingback_token: String,
    rng: fastrand::Rng,
}

impl Stage {
    /// Starts the simulated accounts and writes the configuration.
    pub(super) async fn set(mut rng: fastrand::Rng) -> Result<Self, StageError> {
        let folder = tempfile::Builder::new().prefix("captchaai-exporter-demo-").tempdir();
        let folder = folder.map_err(StageError::Folder)?;
        let mut secret = || std::iter::repeat_with(|| rng.alphanumeric()).take(32).collect::<String>();
        let keys: Vec<_> = CAST.iter().map(|_| secret()).collect();
        let pingback_token = secret();
        let mut services = Vec::new();
        for (cast, key) in CAST.iter().zip(&keys) {
            let options = ServiceOptions {
                key: key.clone(),
                balance_usd: cast.balance_usd,
                top_up: Some(TOP_UP),
                speed: Speed::new(SPEED),
                seed: rng.u64(..),
                first_id: cast.first_id,
                ..ServiceOptions::default()
            };
            services.push(SimulatedCaptchaAi::start(options).await?);
        }
        let stage = Self { folder, services, keys, pingback_token, rng };
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
            "pingback: {{ token: \"{}\", unknown: accept }}\nstorage: {{ url: {:?}, spill_dir: {:?} }}\n",
            self.pingback_token,
            format!("sqlite:{}", database.display()),
            spill.display().to_string(),
        );
        yaml
    }

    /// What to look at, for whoever started it; the exporter listens on `addresses`.
    pub(super) fn greeting(&self, addresses: &[SocketAddr]) -> String {
        let workers: usize = CAST.iter().map(|cast| cast.workers).sum();
        let exporter = exporter_url(addresses);
        let [first, ..] = &CAST;
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
            "\nA worker waits for its result like this:\n  curl '{exporter}/api/v1/tasks/{}?wait=30s'\n\n\
             Ctrl-C stops it and removes {}.",
            first.first_id,
            self.folder.path().display(),
        );
        text
    }

    /// Lets the workers work with the exporter at `addresses`, until `stop` is cancelled.
    pub(super) async fn play(&mut self, addresses: &[SocketAddr], stop: &CancellationToken) -> Result<(), StageError> {
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
        teams.join_all().await.into_iter().collect::<Result<_, _>>().map_err(StageError::Workers)
    }

    /// Stops the simulated accounts and removes the folder.
    pub(super) async fn clear(self) -> Result<(), StageError> {
        for service in self.services {
            service.stop().await;
        }
        self.folder.close().map_err(StageError::Folder)
    }
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
        let stage = Stage::set(fastrand::Rng::with_seed(1)).await.unwrap();
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
    }

    #[tokio::test]
    async fn the_greeting_says_where_to_look_and_nothing_secret_and_the_folder_goes() {
        let stage = Stage::set(fastrand::Rng::with_seed(1)).await.unwrap();
        let greeting = stage.greeting(&["[::]:9999".parse().unwrap()]);
        let folder = stage.folder.path().to_owned();
        let api = stage.services.first().map(SimulatedCaptchaAi::base_url).unwrap();
        for part in ["http://127.0.0.1:9999/metrics", "/api/v1/tasks/72580000001?wait=30s", &api, "Ctrl-C"] {
            assert!(greeting.contains(part), "{part} in {greeting}");
        }
        assert!(greeting.contains(&folder.display().to_string()), "{greeting}");
        assert!(stage.keys.iter().chain([&stage.pingback_token]).all(|secret| !greeting.contains(secret)));
        assert!(folder.exists());
        stage.clear().await.unwrap();
        assert!(!folder.exists());
    }
}

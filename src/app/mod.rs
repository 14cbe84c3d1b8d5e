//! Puts the parts together, watches over them, and takes them down in order. Nobody imports this but
//! `main` and `demo`.

mod accounts;
pub mod dead_letters;
mod destinations;
pub mod test_alert;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::captchaai::client::Client;
use crate::captchaai::error::REASONS;
use crate::cli::{REVISION, RUSTC, Settings, VERSION};
use crate::config::{Config, Fault, Listen, Receiver, UnknownPingback};
use crate::delivery;
use crate::domain::alert::RANKS;
use crate::domain::clock::{SharedClock, SystemClock};
use crate::domain::delivery::{DEAD_REASONS, PINGBACK_DEAD_REASONS};
use crate::domain::error_code::CODES;
use crate::domain::marzban::ACTIONS;
use crate::domain::time::unix_seconds;
use crate::http::{self, AppState, BuildInfo, ReloadRequest};
use crate::metrics::{LabelSets, Metrics};
use crate::notify::SendError;
use crate::store::{OpenError, Options, Rules, Store, StoreError};

/// No pingback within this time of the submission means that it is missed.
const PINGBACK_DEADLINE: Duration = Duration::from_mins(2);
/// How often overdue pingbacks are looked for.
const DEADLINE_INTERVAL: Duration = Duration::from_secs(1);
/// Overdue pingbacks in one step.
const DEADLINE_STEP: usize = 500;
/// How often old tasks are looked for.
const REMOVE_INTERVAL: Duration = Duration::from_secs(10);
const MIN_REMOVE_INTERVAL: Duration = Duration::from_secs(1);
/// How often dead letters that may heal are tried again.
const HEAL_INTERVAL: Duration = Duration::from_mins(5);
/// Alert groups that one step forgets.
const FORGET_STEP: usize = 100;
/// How long reading the configuration again may take.
const REREAD_TIMEOUT: Duration = Duration::from_secs(10);
/// What is left of the ten seconds of a shutdown for the store, after the server has taken its part.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(1500);

/// Why the program ends with an error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot listen.
    #[error("{0}")]
    Listen(std::io::Error),
    /// It cannot keep anything.
    #[error("{0}")]
    Store(#[from] OpenError),
    /// A part of it could not be set up.
    #[error("{0}")]
    Setup(String),
    /// A part that must run for ever has ended.
    #[error("{0}")]
    Died(String),
}

/// Reads the settings again, for a reload.
pub type Reread = Arc<dyn Fn() -> Result<Settings, Vec<Fault>> + Send + Sync>;

/// Runs until `stop` is cancelled, or until a part dies. `ready` gets the addresses once all is up.
pub async fn run(
    settings: Settings,
    reread: Reread,
    stop: CancellationToken,
    ready: Option<oneshot::Sender<Vec<SocketAddr>>>,
) -> Result<(), Error> {
    let Settings { config, listen, warnings } = settings;
    log_warnings(&warnings);
    log_start(&config);
    let clock: SharedClock = Arc::new(SystemClock);
    let metrics = Metrics::new(&label_sets(&config)).map_err(|error| Error::Setup(error.to_string()))?;
    let build = BuildInfo { version: VERSION, revision: REVISION, rustc: RUSTC };
    metrics.build_info.with_label_values(&[build.version, build.revision, build.rustc]).set(1);
    record_load(&metrics, &clock);
    let listeners = http::bind(&listen.addresses).await.map_err(Error::Listen)?;
    let store = Store::open(&store_options(&config), metrics.clone(), Arc::clone(&clock))?;
    let client = Client::new().map_err(|error| Error::Setup(error.to_string()))?;

    let telling = delivery::Shared::new(store.clone(), metrics.clone(), Arc::clone(&clock))
        .map_err(|error| Error::Setup(error.to_string()))?;

    let (config_sender, config) = watch::channel(Arc::new(config));
    let (reload, reloads) = mpsc::channel(1);
    let listen = Arc::new(listen);
    let parts = Parts {
        store: store.clone(),
        metrics: metrics.clone(),
        clock: Arc::clone(&clock),
        client,
        listen: Arc::clone(&listen),
    };
    let addresses: Vec<_> = listeners.iter().map(|(_, address)| *address).collect();
    let state = AppState {
        config: config.clone(),
        store: store.clone(),
        metrics,
        clock,
        listen,
        stop: stop.clone(),
        reload,
        build,
    };

    let mut running = JoinSet::new();
    let server = http::serve(listeners, state, stop.clone());
    running.spawn(async move { server.await.map_err(|error| format!("the HTTP server ended: {error}")) });
    running.spawn(accounts::ask(parts.clone(), config.clone(), stop.clone()));
    running.spawn(destinations::tell(telling, config.clone(), stop.clone()));
    running.spawn(heal(parts.clone(), config.clone(), stop.clone()));
    running.spawn(pass_deadlines(store.clone(), stop.clone()));
    running.spawn(remove_old(store.clone(), config, stop.clone()));
    running.spawn(reload_when_asked(parts, reread, config_sender, reloads, stop.clone()));
    for address in &addresses {
        info!(%address, "listening");
    }
    if let Some(ready) = ready {
        // An error means that nobody wants to know.
        let _ = ready.send(addresses);
    }
    let result = supervise(&mut running, &store, &stop).await;
    shut_down(running, &store).await;
    result
}

/// Waits for the wish to stop, or for the first part that ends without it.
async fn supervise(
    running: &mut JoinSet<Result<(), String>>,
    store: &Store,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let died = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        reason = store.failed() => reason,
        ended = running.join_next() => match ended {
            Some(Ok(Ok(()))) | None if stop.is_cancelled() => return Ok(()),
            Some(Ok(Ok(()))) | None => "a background task ended by itself".to_owned(),
            Some(Ok(Err(reason))) => reason,
            Some(Err(error)) => format!("a background task died: {error}"),
        },
    };
    stop.cancel();
    Err(Error::Died(died))
}

/// In order: no more requests, then no more background work, then the store.
async fn shut_down(mut running: JoinSet<Result<(), String>>, store: &Store) {
    info!("stopping");
    while let Some(ended) = running.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => error!(reason, "while stopping"),
            Err(error) => error!(%error, "while stopping"),
        }
    }
    if tokio::time::timeout(CLOSE_TIMEOUT, store.close()).await.is_err() {
        warn!("the store takes too long to close; what was acknowledged is on disk already");
    }
    info!("stopped");
}

#[derive(Debug, Clone)]
struct Parts {
    store: Store,
    metrics: Metrics,
    clock: SharedClock,
    client: Client,
    listen: Arc<Listen>,
}

/// Resolves when a task ends that nobody asked to.
async fn first_failure(tasks: &mut JoinSet<bool>, what: &str) -> String {
    loop {
        match tasks.join_next().await {
            Some(Ok(asked_to)) if asked_to => {}
            Some(Ok(_)) => return format!("{what} ended by itself"),
            Some(Err(error)) => return format!("{what} died: {error}"),
            None => std::future::pending().await,
        }
    }
}

/// Tries dead letters again whose reason is gone, and discards the oldest where there are too many.
async fn heal(parts: Parts, config: watch::Receiver<Arc<Config>>, stop: CancellationToken) -> Result<(), String> {
    let Parts { store, metrics, .. } = parts;
    let count = |sources: &[String], how: &str| {
        for source in sources {
            metrics.dead_letters_removed.with_label_values(&[source.as_str(), how]).inc();
        }
    };
    let work = async {
        loop {
            let configured = config.borrow().destinations();
            // The store says itself what is wrong with it.
            if let Ok(retried) = store.retry_dead_letters(configured, true).await {
                count(&retried.sources, "replayed");
            }
            // In steps, between which others write.
            while let Ok(discarded) = store.trim_dead_letters().await
                && !discarded.is_empty()
            {
                count(&discarded, "discarded");
            }
            tokio::time::sleep(HEAL_INTERVAL).await;
        }
    };
    stop.run_until_cancelled(work).await;
    Ok(())
}

/// Counts the pingbacks that are overdue.
async fn pass_deadlines(store: Store, stop: CancellationToken) -> Result<(), String> {
    let work = async {
        loop {
            let passed = store.pass_deadlines(DEADLINE_STEP).await;
            rest_unless_more(passed.map(|count| count < DEADLINE_STEP), DEADLINE_INTERVAL).await;
        }
    };
    stop.run_until_cancelled(work).await;
    Ok(())
}

/// Removes old tasks, and alert groups that are over.
async fn remove_old(store: Store, config: watch::Receiver<Arc<Config>>, stop: CancellationToken) -> Result<(), String> {
    let work = async {
        loop {
            let retention = config.borrow().storage.retention;
            // The store says itself what is wrong with it.
            let _ = store.forget_alerts(FORGET_STEP).await;
            rest_unless_more(store.remove_old(retention).await, retention.clamp(MIN_REMOVE_INTERVAL, REMOVE_INTERVAL))
                .await;
        }
    };
    stop.run_until_cancelled(work).await;
    Ok(())
}

/// Small steps follow each other without a pause while there is more to do. A store that cannot be
/// written says so itself, so an error only waits.
async fn rest_unless_more(nothing_left: Result<bool, StoreError>, interval: Duration) {
    if nothing_left != Ok(false) {
        tokio::time::sleep(interval).await;
    }
}

/// Reads the configuration again upon SIGHUP and `POST /-/reload`. A faulty one changes nothing.
async fn reload_when_asked(
    parts: Parts,
    reread: Reread,
    config: watch::Sender<Arc<Config>>,
    mut requests: mpsc::Receiver<ReloadRequest>,
    stop: CancellationToken,
) -> Result<(), String> {
    let mut hangups = signal(SignalKind::hangup()).map_err(|error| format!("SIGHUP cannot be handled: {error}"))?;
    loop {
        let reply = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = hangups.recv() => None,
            Some(reply) = requests.recv() => Some(reply),
        };
        let result = reload(&parts, &reread, &config).await;
        if let Err(faults) = &result {
            parts.metrics.config_last_reload_successful.set(0);
            error!(faults = faults.join("; "), "the configuration is not reloaded; the old one stays");
        }
        if let Some(reply) = reply {
            // An error means that the client went away.
            let _ = reply.send(result);
        }
    }
}

async fn reload(parts: &Parts, reread: &Reread, config: &watch::Sender<Arc<Config>>) -> Result<(), Vec<String>> {
    let fault = |text: &str| vec![text.to_owned()];
    let reread = Arc::clone(reread);
    // Files and names may hang; requests must not hang with them.
    let reading = tokio::time::timeout(REREAD_TIMEOUT, tokio::task::spawn_blocking(move || reread())).await;
    let Ok(Ok(settings)) = reading else { return Err(fault("the configuration cannot be read in time")) };
    let settings = settings.map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    if !settings.listen.is_same_web_config(&parts.listen) {
        return Err(fault("--web.config.file takes effect at a restart, not at a reload"));
    }
    let old = Arc::clone(&config.borrow());
    let (old, new) = (&old.storage, &settings.config.storage);
    if (&old.path, &old.spill_dir) != (&new.path, &new.spill_dir) {
        return Err(fault("storage.url and storage.spill_dir take effect at a restart, not at a reload"));
    }
    log_warnings(&settings.warnings);
    parts.metrics.create_series(&label_sets(&settings.config));
    parts.store.set_rules(rules(&settings.config));
    config.send_replace(Arc::new(settings.config));
    record_load(&parts.metrics, &parts.clock);
    info!("the configuration is reloaded");
    Ok(())
}

fn record_load(metrics: &Metrics, clock: &SharedClock) {
    metrics.config_last_reload_successful.set(1);
    metrics.config_last_reload_success.set(unix_seconds(clock.now()));
}

fn log_warnings(warnings: &[String]) {
    for warning in warnings {
        warn!("{warning}");
    }
}

fn log_start(config: &Config) {
    let (accounts, database) = (config.accounts.len(), config.storage.path.display());
    info!(version = VERSION, revision = REVISION, accounts, %database, "starting");
    if config.pingback.unknown == UnknownPingback::Verify && config.accounts.is_empty() {
        info!("pingback.unknown: without an account there is nobody to verify with, so it behaves as accept");
    }
}

fn store_options(config: &Config) -> Options {
    let storage = &config.storage;
    Options { path: storage.path.clone(), spill_dir: storage.spill_dir.clone(), rules: rules(config) }
}

fn rules(config: &Config) -> Rules {
    Rules { pingback_deadline: PINGBACK_DEADLINE, fallback: config.fallback, subscribers: config.subscriber_names() }
}

fn label_sets(config: &Config) -> LabelSets {
    LabelSets {
        accounts: config.accounts.iter().map(|account| account.name.to_string()).collect(),
        captchas: config.captchas.names().to_vec(),
        codes: CODES.iter().map(|&(code, _)| code).collect(),
        api_failure_reasons: REASONS.to_vec(),
        marzban_actions: ACTIONS.to_vec(),
        severities: RANKS.iter().map(|rank| rank.as_str()).collect(),
        delivery_failure_reasons: SendError::REASONS.to_vec(),
        dead_reasons: DEAD_REASONS.to_vec(),
        pingback_dead_reasons: PINGBACK_DEAD_REASONS.to_vec(),
        receivers: config.receivers.iter().map(|receiver| receiver.name.clone()).collect(),
        destinations: config.destinations(),
        phones: config.receivers.iter().flat_map(Receiver::phones).collect(),
    }
}

//! Tells destinations what waits for them in the outbox: claim, send, record. Each destination has a
//! worker of its own, so that none holds up another, and each is a [`worker::Worker::step`] that tests
//! drive.

mod breaker;
mod decision;
mod escalation;
#[cfg(test)]
mod tests;
mod watchdog;
mod worker;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::domain::clock::SharedClock;
use crate::metrics::Metrics;
use crate::notify::alertalk::Alertalk;
use crate::notify::discord::{Discord, GlobalPause};
use crate::notify::subscriber::Subscriber;
use crate::notify::{Settings, client};
use crate::store::Store;

pub use escalation::{Escalation, escalate};
pub use watchdog::{Watchdog, watch};
pub use worker::{Peers, REQUESTS_PER_CLAIM, Worker};

/// What all workers share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Where the outbox is.
    pub store: Store,
    /// What is counted.
    pub metrics: Metrics,
    /// The date.
    pub clock: SharedClock,
    /// Speaks HTTP.
    pub http: reqwest::Client,
    /// The pause that Discord asks of all webhooks together.
    pub discord_pause: Arc<GlobalPause>,
}

impl Shared {
    /// With an HTTP client of its own.
    pub fn new(store: Store, metrics: Metrics, clock: SharedClock) -> Result<Self, client::BuildError> {
        let http = client::http_client(client::TIMEOUT)?;
        Ok(Self { store, metrics, clock, http, discord_pause: Arc::default() })
    }
}

/// Tells one destination what waits for it, until `stop` is cancelled. `peers` are who hears of its
/// troubles.
pub async fn deliver(settings: Settings, peers: Peers, shared: Shared, rng: fastrand::Rng, stop: CancellationToken) {
    let (destination, max_age) = (settings.destination(), settings.max_age());
    let fingerprint = settings.fingerprint();
    match settings {
        Settings::Discord(settings) => {
            let pause = Arc::clone(&shared.discord_pause);
            let notifier = Discord::new(settings, shared.http.clone(), pause);
            Worker::new(notifier, destination, fingerprint, max_age, peers, shared, rng).run(stop).await;
        }
        Settings::Alertalk(settings) => {
            let notifier = Alertalk::new(settings, shared.http.clone());
            Worker::new(notifier, destination, fingerprint, max_age, peers, shared, rng).run(stop).await;
        }
        Settings::Subscriber(settings) => {
            let notifier = Subscriber::new(settings, shared.http.clone());
            Worker::new(notifier, destination, fingerprint, max_age, peers, shared, rng).run(stop).await;
        }
    }
}

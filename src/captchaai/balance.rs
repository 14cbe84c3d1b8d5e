//! Watches the balance of one account.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::error::ApiError;
use super::gate::KeyGate;
use super::schedule::{self, Next};
use crate::config::Account;
use crate::domain::balance::{Balance, observe};
use crate::domain::clock::SharedClock;
use crate::domain::time::{format_timestamp, unix_seconds};
use crate::metrics::Metrics;
use crate::store::Store;

const ACTION: &str = "getbalance";

/// At start the accounts are asked within this time, not all at once.
const FIRST_SPREAD: Duration = Duration::from_secs(1);

/// What all pollers share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Asks CaptchaAI.
    pub client: Client,
    /// Keeps the balances.
    pub store: Store,
    /// Shows them.
    pub metrics: Metrics,
    /// Says when they were read.
    pub clock: SharedClock,
    /// Whose keys are refused.
    pub keys: KeyGate,
}

/// Asks for the balance of one account, again and again. What it holds in memory is the truth; the
/// store keeps it for the next start.
#[derive(Debug)]
pub struct BalancePoller {
    account: Account,
    shared: Shared,
    rng: fastrand::Rng,
    balance: Option<Balance>,
    failures: u32,
}

impl BalancePoller {
    /// A poller that goes on from the `kept` balance and shows it at once.
    pub fn new(account: Account, kept: Option<Balance>, shared: Shared, rng: fastrand::Rng) -> Self {
        // A new poller means another key, or a new start.
        shared.keys.clear(&account.name);
        if let Some(balance) = kept {
            show(&shared.metrics, &account.name, balance);
        }
        Self { account, shared, rng, balance: kept, failures: 0 }
    }

    /// Asks until `stop` is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        let poll = async {
            let mut delay = FIRST_SPREAD.mul_f64(self.rng.f64());
            loop {
                tokio::time::sleep(delay).await;
                delay = self.step().await;
            }
        };
        stop.run_until_cancelled(poll).await;
    }

    /// Asks once, and returns how long to wait before the next time.
    pub async fn step(&mut self) -> Duration {
        let outcome = self.ask().await;
        let failures = if outcome.is_ok() { 0 } else { self.failures.saturating_add(1) };
        let next = schedule::next(outcome.as_ref().err(), failures, self.account.balance_interval, self.rng.f64());
        match outcome {
            Ok(usd) => self.succeeded(usd).await,
            Err(error) => self.failed(&error, next),
        }
        self.failures = failures;
        next.delay
    }

    async fn ask(&self) -> Result<f64, ApiError> {
        let metrics = &self.shared.metrics;
        let started = Instant::now();
        let outcome = self.shared.client.get_balance(&self.account).await;
        metrics.api_request_duration.with_label_values(&[ACTION]).observe(started.elapsed().as_secs_f64());
        metrics.api_requests.with_label_values(&[&self.account.name, ACTION]).inc();
        if let Err(error) = &outcome {
            let labels = [&*self.account.name, ACTION, error.reason()];
            metrics.api_request_failures.with_label_values(&labels).inc();
        }
        outcome
    }

    async fn succeeded(&mut self, usd: f64) {
        let Shared { store, metrics, clock, keys, .. } = &self.shared;
        let account = &*self.account.name;
        keys.clear(account);
        let balance = observe(self.balance, usd, clock.now());
        self.balance = Some(balance);
        show(metrics, account, balance);
        metrics.up.with_label_values(&[account]).set(1);
        if self.failures > 0 {
            tracing::info!(account, failures = self.failures, "the balance can be read again");
        }
        if let Err(error) = store.save_balance(account, balance).await {
            // The store says itself what is wrong with it, once.
            tracing::debug!(account, %error, "the balance is not kept; the next one will be tried again");
        }
    }

    fn failed(&self, error: &ApiError, next: Next) {
        let account = &*self.account.name;
        self.shared.metrics.up.with_label_values(&[account]).set(0);
        let reason = error.reason();
        if next.stopped {
            self.shared.keys.refuse(&self.account.name, next.delay);
            let now = self.shared.clock.now();
            let until = format_timestamp(now.checked_add(next.delay).unwrap_or(now));
            tracing::error!(
                account,
                reason,
                %error,
                until,
                "CaptchaAI refuses this key or address: correct the configuration and reload it; not asking until then"
            );
        } else {
            let seconds = next.delay.as_secs_f64();
            tracing::warn!(account, reason, %error, retry_in_seconds = seconds, "the balance cannot be read");
        }
    }
}

/// Brings the metrics up to a balance. The sums only ever rise, so that a poller that starts again
/// within one process does not count twice.
fn show(metrics: &Metrics, account: &str, balance: Balance) {
    metrics.account_balance.with_label_values(&[account]).set(balance.usd);
    metrics.balance_last_success.with_label_values(&[account]).set(unix_seconds(balance.read_at));
    for (counter, sum) in [(&metrics.account_spend, balance.spend_usd), (&metrics.account_topups, balance.topups_usd)] {
        let counter = counter.with_label_values(&[account]);
        counter.inc_by((sum - counter.get()).max(0.0));
    }
}

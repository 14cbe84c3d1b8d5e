//! Stands for Prometheus and Alertmanager in the demonstration, so that there are alerts to see. The real
//! program decides no thresholds and knows no rules: those are Prometheus' rules, and Alertmanager posts what
//! comes of them to the exporter, as this does. Nothing but `demo` uses it.
//!
//! What is decided is pure: [`rules`] about the balances, [`known`] about what is posted. This file asks
//! for it once a second and posts it.

mod known;
mod notification;
mod rules;

use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use self::known::Known;
use self::notification::notification;
use self::rules::{Reading, Rule, Spending, rules_of_accounts, watchdog};
use crate::domain::clock::SharedClock;
use crate::notify::client::{BuildError, http_client};

/// How often the rules are evaluated, and what was not taken is posted again.
const EVALUATION: Duration = Duration::from_secs(1);

/// An exporter that takes longer is asked again.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A rule for one account, or for none, and what is known of its alert.
#[derive(Debug)]
struct Group {
    rule: &'static Rule,
    /// The position of the account and its name.
    account: Option<(usize, &'static str)>,
    known: Known,
}

/// Rules, their alerts, and who is told.
#[derive(Debug)]
pub(super) struct Alertmanager {
    exporter: String,
    http: reqwest::Client,
    clock: SharedClock,
    groups: Vec<Group>,
    spending: Vec<Spending>,
}

impl Alertmanager {
    /// One that tells the exporter of these accounts.
    pub(super) fn new(exporter: String, accounts: &[&'static str], clock: SharedClock) -> Result<Self, BuildError> {
        let group = |rule, account| Group { rule, account, known: Known::default() };
        let accounts: Vec<_> = accounts.iter().copied().enumerate().collect();
        let of_account =
            |&account: &(usize, &'static str)| rules_of_accounts().map(move |rule| group(rule, Some(account)));
        let groups = accounts.iter().flat_map(of_account).chain([group(watchdog(), None)]).collect();
        let spending = accounts.iter().map(|_| Spending::default()).collect();
        Ok(Self { exporter, http: http_client(TIMEOUT)?, clock, groups, spending })
    }

    /// Evaluates and posts until `stop` is cancelled. `balances` reads those of the accounts, in USD.
    pub(super) async fn run(mut self, balances: impl Fn() -> Vec<f64>, stop: &CancellationToken) {
        let mut ticks = interval(EVALUATION);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            stop.run_until_cancelled(self.step(&balances())).await;
        }
    }

    /// Evaluates all rules once, and posts what there is to post.
    async fn step(&mut self, balances: &[f64]) {
        let now = self.clock.now();
        let readings = self.spending.iter_mut().zip(balances).map(|(spending, &usd)| spending.read(usd, now));
        let readings: Vec<Reading> = readings.collect();
        for position in 0..self.groups.len() {
            let Some(Group { rule, account, known }) = self.groups.get_mut(position) else { continue };
            let reading = account.and_then(|(position, _)| readings.get(position)).copied().unwrap_or_default();
            *known = known.evaluated(rule, reading, now);
            let Some(alert) = known.due(rule.repeat, now) else { continue };
            let (rule, account) = (*rule, account.map(|(_, name)| name));
            let body = notification(rule, account, &alert).to_string();
            if self.post(rule.path, body).await
                && let Some(group) = self.groups.get_mut(position)
            {
                group.known = group.known.told(now);
            }
        }
    }

    /// Whether that is settled. As with the real one, only a 5xx and no answer are worth another try.
    async fn post(&self, path: &str, body: String) -> bool {
        let request = self.http.post(format!("{}{path}", self.exporter)).header(CONTENT_TYPE, "application/json");
        match request.body(body).send().await {
            Ok(response) => !response.status().is_server_error(),
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests;

//! Asks CaptchaAI for the results whose pingbacks did not come, and about pingbacks that nobody
//! registered.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::answer::TaskAnswer;
use super::balance::Shared;
use super::error::ApiError;
use super::schedule;
use crate::config::Account;
use crate::domain::error_code::{self, TIMEOUT};
use crate::domain::fallback::{Fallback, Pace};
use crate::domain::task::Outcome;
use crate::metrics::UNKNOWN_ACCOUNT;
use crate::store::{DuePoll, Polled, StoreError};

const ACTION: &str = "get";

/// How often due tasks are looked for.
const LOOK: Duration = Duration::from_secs(1);

/// Asks for the tasks of one account; or for those of no known account, at all of them.
#[derive(Debug)]
pub struct FallbackPoller {
    /// The account whose tasks these are; `None` for those of no known one.
    owner: Option<Arc<str>>,
    /// Whom to ask, in this order.
    accounts: Vec<Account>,
    fallback: Fallback,
    /// Questions at one time, shared with the other pollers.
    turns: Arc<Semaphore>,
    shared: Shared,
    pace: Pace,
}

/// What became of one question.
#[derive(Debug)]
enum Answered {
    /// The task goes on.
    Waits,
    Ended(Outcome),
    Failed(ApiError),
    /// Nobody knows the task, and an account whose key is refused was not asked.
    Unknown,
}

impl FallbackPoller {
    /// Asks for the tasks of one account.
    pub fn of(account: Account, fallback: Fallback, turns: Arc<Semaphore>, shared: Shared) -> Self {
        let owner = Some(Arc::clone(&account.name));
        Self::new(owner, vec![account], fallback, turns, shared)
    }

    /// Asks for the tasks of no known account, at each of these until one knows the task.
    pub fn of_unknown(accounts: Vec<Account>, fallback: Fallback, turns: Arc<Semaphore>, shared: Shared) -> Self {
        Self::new(None, accounts, fallback, turns, shared)
    }

    fn new(
        owner: Option<Arc<str>>,
        accounts: Vec<Account>,
        fallback: Fallback,
        turns: Arc<Semaphore>,
        shared: Shared,
    ) -> Self {
        Self { owner, accounts, fallback, turns, shared, pace: Pace::new(fallback.max_concurrent) }
    }

    /// Asks until `stop` is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        let poll = async {
            loop {
                let wait = self.step().await.unwrap_or(LOOK);
                tokio::time::sleep(wait).await;
            }
        };
        stop.run_until_cancelled(poll).await;
    }

    /// Asks for what is due, as much as is allowed now; returns how long to wait before the next time.
    pub async fn step(&mut self) -> Result<Duration, StoreError> {
        // Whose key is refused may work again at any time: the balance tells.
        let usable: Vec<_> =
            self.accounts.iter().filter(|account| self.shared.keys.wait(&account.name).is_none()).collect();
        if usable.is_empty() {
            return Ok(LOOK);
        }
        let limit = self.pace.allowed();
        let due = self.shared.store.claim_polls(self.owner.clone(), limit).await?;
        let answers = join_all(due.iter().map(|due| self.ask(&usable, due))).await;
        let mut wait = if due.len() < limit { LOOK } else { Duration::ZERO };
        let (mut failures, mut successes) = (Vec::new(), 0);
        for (due, answered) in due.iter().zip(answers) {
            match answered {
                Answered::Ended(outcome) => {
                    successes += 1;
                    self.shared.store.polled(due.id.clone(), Polled::Ended(outcome)).await?;
                }
                Answered::Waits => {
                    successes += 1;
                    self.give_up_if_old(due).await?;
                }
                Answered::Failed(error) => {
                    self.give_up_unheard(due).await?;
                    failures.push(error);
                }
                Answered::Unknown => self.give_up_unheard(due).await?,
            }
        }
        match failures.iter().find(|error| error.slows_down()) {
            Some(_) => wait = wait.max(self.pace.slow_down()),
            None if successes > 0 => self.pace.speed_up(),
            None => {}
        }
        Ok(wait)
    }

    /// A result that waits to be confirmed is not made up because nobody answers; it is asked for until
    /// somebody does, or until it is as old as the store keeps what waits.
    async fn give_up_unheard(&self, due: &DuePoll) -> Result<(), StoreError> {
        if due.is_claim { Ok(()) } else { self.give_up_if_old(due).await }
    }

    async fn give_up_if_old(&self, due: &DuePoll) -> Result<(), StoreError> {
        if self.fallback.gives_up(due.since, self.shared.clock.now(), due.polls) {
            tracing::info!(task = %due.id, code = TIMEOUT, "no result came, and the task is given up");
            self.shared.store.polled(due.id.clone(), Polled::GivenUp).await?;
        }
        Ok(())
    }

    /// Asks one account after the other until one knows the task.
    async fn ask(&self, accounts: &[&Account], due: &DuePoll) -> Answered {
        let (mut unknown, mut failed) = (Answered::Waits, None);
        for account in accounts {
            match self.ask_one(account, due).await {
                Ok(TaskAnswer::NotReady) => return Answered::Waits,
                Ok(TaskAnswer::Ended(Outcome::Failed(code))) if error_code::is_unknown_task(&code) => {
                    unknown = Answered::Ended(Outcome::Failed(code));
                }
                Ok(TaskAnswer::Ended(outcome)) => return Answered::Ended(outcome),
                Err(error) => failed = Some(error),
            }
        }
        // Whoever did not answer, or was not asked, may be the one who knows it.
        match failed {
            Some(error) => Answered::Failed(error),
            None if accounts.len() < self.accounts.len() => Answered::Unknown,
            None => unknown,
        }
    }

    async fn ask_one(&self, account: &Account, due: &DuePoll) -> Result<TaskAnswer, ApiError> {
        // An error means that the semaphore was closed, which nobody does.
        let _turn = self.turns.acquire().await;
        let metrics = &self.shared.metrics;
        let name = &*account.name;
        let owner = self.owner.as_deref().unwrap_or(UNKNOWN_ACCOUNT);
        metrics.fallback_polls.with_label_values(&[owner]).inc();
        let started = Instant::now();
        let answer = self.shared.client.get_result(account, &due.id).await;
        metrics.api_request_duration.with_label_values(&[ACTION]).observe(started.elapsed().as_secs_f64());
        metrics.api_requests.with_label_values(&[name, ACTION]).inc();
        if let Err(error) = &answer {
            metrics.api_request_failures.with_label_values(&[name, ACTION, error.reason()]).inc();
            if error.is_auth() && self.shared.keys.wait(name).is_none() {
                let wait = schedule::after_refusal(error);
                self.shared.keys.refuse(&account.name, wait);
                tracing::error!(account = name, %error, "CaptchaAI refuses this key or address: no results are asked for");
            }
        }
        answer
    }
}

//! What follows from a commit: counting it, once, and waking who waits for it. Nothing here runs
//! before the record is on disk.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Notify;

use super::Activity;
use super::sqlite::recovery::PollEffect;
use super::waiters::Waiters;
use crate::domain::activity::{ActiveWorkers, RATIO_WINDOWS, SolveRatio};
use crate::domain::clock::SharedClock;
use crate::domain::delivery::{CONFLICT, FORGED, PINGBACK_SOURCE, SUBSCRIBER_PREFIX};
use crate::domain::error_code;
use crate::domain::task::{
    Finish, Outcome, Pingback, PollDecision, Registration, RegistrationDecision, ResultDecision, Source, Task,
};
use crate::domain::time::elapsed;
use crate::metrics::{Metrics, UNKNOWN_ACCOUNT};

/// A time of submission that is longer ago is somebody's mistake, and would spoil the sum for good.
const LONGEST_SOLVE: Duration = Duration::from_hours(24);

/// What a result did to the store.
#[derive(Debug)]
pub(super) struct ResultEffect {
    /// What it meant.
    pub(super) decision: ResultDecision,
    /// The task that was waiting, if there was one.
    pub(super) stored: Option<Task>,
    /// Whether the pingback had not been counted as expected yet.
    pub(super) was_expected: bool,
    /// Whether it became a dead letter: not one that is there already.
    pub(super) buried: bool,
}

/// What a registration did to the store.
#[derive(Debug)]
pub(super) struct RegistrationEffect {
    /// What it meant.
    pub(super) decision: RegistrationDecision,
    /// The end that was there already, if its pingback was faster.
    pub(super) early: Option<Finish>,
    /// Whether that pingback had named the time of submission, so that its duration is counted.
    pub(super) duration_known: bool,
    /// The end that waited for a confirmation, and is believed now.
    pub(super) claim: Option<Finish>,
}

/// The end of a task, as far as it is counted.
#[derive(Clone, Copy)]
struct End<'a> {
    account: Option<&'a str>,
    captcha: &'a str,
    submitted_at: Option<Timestamp>,
    outcome: &'a Outcome,
    at: Timestamp,
}

/// Counts and wakes.
#[derive(Debug)]
pub(super) struct Committed {
    pub(super) metrics: Metrics,
    pub(super) waiters: Arc<Waiters>,
    clock: SharedClock,
    recent: Mutex<HashMap<Box<str>, Recent>>,
    wakers: Mutex<HashMap<String, Arc<Notify>>>,
    /// Rings when the watchdog was heard.
    pub(super) watchdog: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Recent {
    ratio: SolveRatio,
    workers: ActiveWorkers,
}

impl Committed {
    pub(super) fn new(metrics: Metrics, clock: SharedClock) -> Self {
        Self {
            metrics,
            waiters: Arc::default(),
            clock,
            recent: Mutex::default(),
            wakers: Mutex::default(),
            watchdog: Arc::default(),
        }
    }

    /// Rings when there is something new for a destination.
    pub(super) fn waker(&self, destination: &str) -> Arc<Notify> {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(wakers.entry(destination.to_owned()).or_default())
    }

    /// There is a new result. Whoever has nothing waiting finds that out in no time.
    pub(super) fn wake_subscribers(&self) {
        let wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, waker) in wakers.iter().filter(|(destination, _)| destination.starts_with(SUBSCRIBER_PREFIX)) {
            waker.notify_one();
        }
    }

    /// There is something new for these destinations.
    pub(super) fn wake(&self, destinations: &[String]) {
        let wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        for waker in destinations.iter().filter_map(|destination| wakers.get(destination)) {
            waker.notify_one();
        }
    }

    /// A pingback that a client sent is on disk.
    pub(super) fn pingback(&self, pingback: &Pingback, effect: ResultEffect, arrived: Instant) {
        self.metrics.pingback_ack_duration.observe(arrived.elapsed().as_secs_f64());
        if effect.decision == ResultDecision::Duplicate {
            self.metrics.pingback_duplicates.inc();
        }
        self.result(pingback, effect);
    }

    /// A pingback from the spill folder is in the store. A repetition is not counted: the import may
    /// have been interrupted and begun again.
    pub(super) fn result(&self, pingback: &Pingback, effect: ResultEffect) {
        let mut end = End {
            account: pingback.account.as_deref(),
            captcha: &pingback.captcha,
            submitted_at: pingback.submitted_at,
            outcome: &pingback.outcome,
            at: pingback.received_at,
        };
        match (effect.decision, effect.stored) {
            (ResultDecision::Finish, Some(stored)) => {
                end.account = stored.account.as_deref();
                end.captcha = &stored.captcha;
                end.submitted_at = stored.submitted_at;
                if effect.was_expected {
                    self.pingback_expected(end.account.unwrap_or(UNKNOWN_ACCOUNT));
                }
                self.count_end(end);
                self.wake_subscribers();
                // Nobody waits for a task that was not known.
                if self.waiters.any() {
                    let (outcome, source) = (pingback.outcome.clone(), Source::Pingback);
                    let finish = Finish { outcome, at: pingback.received_at, source };
                    self.waiters.wake(&Arc::new(Task { finish: Some(finish), ..stored }));
                }
            }
            (ResultDecision::Finish | ResultDecision::KeepEarly, _) => {
                self.count_end(end);
                self.wake_subscribers();
            }
            // An unconfirmed one counts when it is confirmed.
            (ResultDecision::KeepUnconfirmed, _) => {}
            (ResultDecision::Conflict | ResultDecision::Duplicate, stored) => {
                // Where a poll has ended its task before it was overdue.
                if let Some(stored) = stored.filter(|_| effect.was_expected) {
                    self.pingback_expected(stored.account.as_deref().unwrap_or(UNKNOWN_ACCOUNT));
                }
                if effect.decision == ResultDecision::Conflict {
                    self.metrics.pingback_conflicts.inc();
                    self.buried(CONFLICT, effect.buried);
                }
            }
        }
    }

    /// A registration is on disk.
    pub(super) fn registered(&self, registration: &Registration, effect: &RegistrationEffect) {
        if effect.decision == RegistrationDecision::AlreadyKnown {
            return;
        }
        let account = &*registration.account;
        self.metrics.tasks_submitted.with_label_values(&[account, &*registration.captcha]).inc();
        if let Some(worker) = &registration.worker {
            self.recently(account, |recent| recent.workers.record(self.clock.now(), worker));
        }
        if let Some(claim) = &effect.claim {
            self.pingback_expected(account);
            self.count_end(End {
                account: Some(account),
                captcha: &registration.captcha,
                submitted_at: Some(registration.submitted_at),
                outcome: &claim.outcome,
                at: claim.at,
            });
            self.waiters.wake(&Arc::new(Task {
                id: registration.id.clone(),
                account: Some(Arc::clone(&registration.account)),
                captcha: Arc::clone(&registration.captcha),
                submitted_at: Some(registration.submitted_at),
                registered: true,
                finish: Some(claim.clone()),
                claim: None,
            }));
            self.wake_subscribers();
        }
        let Some(early) = &effect.early else { return };
        if early.source == Source::Pingback {
            self.pingback_expected(account);
        }
        if early.outcome.code().is_some() && !effect.duration_known {
            self.solved_in([account, &*registration.captcha], registration.submitted_at, early.at);
        }
    }

    /// What the API said of a task is on disk.
    pub(super) fn polled(&self, effect: PollEffect) {
        let PollEffect { decision, stored, outcome, buried } = effect;
        let Some(task) = stored else { return };
        let account = task.account.as_deref().unwrap_or(UNKNOWN_ACCOUNT);
        let (outcome, source, at) = match (decision, &task.claim) {
            (PollDecision::Confirm, Some(claim)) => (claim.outcome.clone(), claim.source, claim.at),
            (PollDecision::Finish | PollDecision::Contradict, _) => (outcome, Source::Poll, self.clock.now()),
            _ => {
                if decision == PollDecision::Forged {
                    self.forged(buried);
                }
                return;
            }
        };
        if decision == PollDecision::Contradict {
            self.forged(buried);
        }
        if decision != PollDecision::Confirm && outcome.error() != Some(error_code::TIMEOUT) {
            self.metrics.fallback_recovered.with_label_values(&[account]).inc();
        }
        let finish = Finish { outcome, at, source };
        self.count_end(End {
            account: task.account.as_deref(),
            captcha: &task.captcha,
            submitted_at: task.submitted_at,
            outcome: &finish.outcome,
            at,
        });
        self.waiters.wake(&Arc::new(Task { finish: Some(finish), claim: None, ..task }));
        self.wake_subscribers();
    }

    /// A pingback was made up.
    fn forged(&self, buried: bool) {
        self.metrics.pingbacks_rejected.with_label_values(&["forged"]).inc();
        self.buried(FORGED, buried);
    }

    /// The same said twice of a task is one dead letter.
    fn buried(&self, reason: &str, buried: bool) {
        self.metrics.dead_letters_added.with_label_values(&[PINGBACK_SOURCE, reason]).inc_by(u64::from(buried));
    }

    fn count_end(&self, end: End<'_>) {
        let account = end.account.unwrap_or(UNKNOWN_ACCOUNT);
        let labels = [account, end.captcha];
        self.metrics.tasks_finished.with_label_values(&labels).inc();
        match (end.outcome, end.submitted_at) {
            (Outcome::Failed(error), _) => {
                self.metrics.tasks_failed.with_label_values(&labels).inc();
                self.metrics.task_errors.with_label_values(&[account, error_code::label(error)]).inc();
            }
            (Outcome::Solved(_), Some(submitted_at)) => self.solved_in(labels, submitted_at, end.at),
            (Outcome::Solved(_), None) => {}
        }
        let solved = end.outcome.code().is_some();
        self.recently(account, |recent| recent.ratio.record(end.at, solved));
    }

    fn solved_in(&self, labels: [&str; 2], submitted_at: Timestamp, at: Timestamp) {
        let took = elapsed(submitted_at, at);
        if took < LONGEST_SOLVE {
            self.metrics.solve_duration.with_label_values(&labels).observe(took.as_secs_f64());
        }
    }

    /// A pingback is overdue, and that is on disk.
    pub(super) fn pingback_missed(&self, account: &str) {
        self.pingback_expected(account);
        self.metrics.pingbacks_missed.with_label_values(&[account]).inc();
    }

    fn pingback_expected(&self, account: &str) {
        self.metrics.pingbacks_expected.with_label_values(&[account]).inc();
    }

    /// What happened lately in an account.
    pub(super) fn activity(&self, account: &str) -> Activity {
        let now = self.clock.now();
        self.recently(account, |recent| Activity {
            solve_ratio: RATIO_WINDOWS.iter().map(|&(_, window)| recent.ratio.ratio(now, window)).collect(),
            workers: recent.workers.count(now),
        })
    }

    fn recently<T>(&self, account: &str, act: impl FnOnce(&mut Recent) -> T) -> T {
        let mut all = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(recent) = all.get_mut(account) {
            return act(recent);
        }
        act(all.entry(account.into()).or_default())
    }
}

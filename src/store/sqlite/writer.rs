//! The one thread that writes: it takes whatever waits, commits it in one transaction, and answers.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};
use tracing::{error, info, warn};

use super::apply::{Removal, Rules, Transaction};
use super::checkpoint::{self, Checkpoints, Reading};
use super::queue::{Alerts, Batch, Done, Operation, Queue, Request, Requests, queue};
use super::recovery::{DuePoll, PollEffect};
use crate::domain::clock::SharedClock;
use crate::domain::delivery::{NewDelivery, PINGBACK_SOURCE, UNREADABLE};
use crate::domain::task::Pingback;
use crate::store::committed::{Committed, RegistrationEffect, ResultEffect};
use crate::store::spill::{Imported, Spill};
use crate::store::{Options, StoreError};

/// Operations in one transaction.
const BATCH_OPERATIONS: usize = 1024;
/// Spilled pingbacks that one transaction imports.
const IMPORT_PINGBACKS: usize = 512;
/// Tasks that one step of removal looks at.
const REMOVE_TASKS: usize = 256;
/// How often a store that failed is tried again.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// How often the log says that pingbacks are refused.
const LOST_LOG_INTERVAL: Duration = Duration::from_mins(1);

#[derive(Debug)]
enum Effect {
    Registered(Vec<RegistrationEffect>),
    Result(ResultEffect),
    Missed(Vec<Arc<str>>),
    Removed(Removal),
    /// Who has to be told of a notification.
    Heard(Vec<String>),
    /// What the caller gets; somebody may have to be told.
    Outbox(Done, Vec<String>),
    Polls(Vec<DuePoll>),
    Polled(Box<PollEffect>),
    None,
}

/// Why the store cannot be written, while that is so.
pub(in crate::store) type WriteFailure = Arc<RwLock<Option<String>>>;

/// What the writer knows of the configuration.
pub(in crate::store) type SharedRules = Arc<RwLock<Arc<Rules>>>;

/// The writer's state. `run` is its thread.
#[derive(Debug)]
pub(in crate::store) struct Writer {
    path: PathBuf,
    connection: Connection,
    checkpoints: Checkpoints,
    requests: Requests,
    rules: SharedRules,
    clock: SharedClock,
    committed: Arc<Committed>,
    spill: Spill,
    remove_cursor: i64,
    failure: WriteFailure,
    /// Set while the store cannot be written.
    broken: Option<Broken>,
    lost: Lost,
    /// The file that was opened, and when it was last seen in its place.
    identity: Option<(u64, u64)>,
    seen_at: Instant,
}

#[derive(Debug)]
struct Broken {
    next_probe: Instant,
    /// A full disk heals by itself; after other errors the connection is opened anew.
    reopen: bool,
}

impl Writer {
    /// The writer and its queue. The schema is up to date and the lock is taken.
    pub(in crate::store) fn new(
        options: &Options,
        spill: Spill,
        committed: Arc<Committed>,
        clock: SharedClock,
        reading: Reading,
    ) -> rusqlite::Result<(Self, Queue, std::io::Result<std::thread::JoinHandle<()>>)> {
        let connection = super::open_writer(&options.path)?;
        let (checkpoints, checkpoint_thread) = Checkpoints::start(&options.path, reading)?;
        let (queue, requests) = queue();
        let writer = Self {
            path: options.path.clone(),
            connection,
            checkpoints,
            requests,
            rules: SharedRules::new(RwLock::new(Arc::new(options.rules.clone()))),
            clock,
            committed,
            spill,
            remove_cursor: 0,
            failure: WriteFailure::default(),
            broken: None,
            lost: Lost::default(),
            identity: super::identity(&options.path),
            seen_at: Instant::now(),
        };
        Ok((writer, queue, checkpoint_thread))
    }

    /// Where the reason stands while the store cannot be written.
    pub(in crate::store) fn failure(&self) -> WriteFailure {
        Arc::clone(&self.failure)
    }

    /// What is known of the configuration; may change at any time.
    pub(in crate::store) fn rules(&self) -> SharedRules {
        Arc::clone(&self.rules)
    }

    /// Works until it is told to close or nobody is left to ask.
    pub(in crate::store) fn run(mut self) {
        loop {
            let busy = self.spill.has_waiting() && self.broken.is_none();
            let wait = if busy { Duration::ZERO } else { PROBE_INTERVAL };
            let Some(Batch { requests, close }) = self.requests.next_batch(wait, BATCH_OPERATIONS) else { return };
            let idle = requests.is_empty();
            self.write(requests);
            if self.broken.is_none() && self.is_in_place() && self.import_step() {
                self.checkpoints.committed(&self.connection, 0, idle);
            } else if idle && self.broken.is_some() {
                self.probe();
            }
            if let Some(close) = close {
                checkpoint::copy(&self.connection);
                drop(self);
                close.answer(Ok(Done::Kept));
                return;
            }
        }
    }

    fn write(&mut self, batch: Vec<Request>) {
        if batch.is_empty() {
            return;
        }
        let waits = self.broken.as_ref().is_some_and(|broken| Instant::now() < broken.next_probe);
        if waits || !self.is_in_place() || !self.reopen() {
            return self.refuse(batch);
        }
        match self.commit(&batch) {
            Ok(effects) => {
                self.works();
                for (request, effect) in batch.into_iter().zip(effects) {
                    self.publish(request, effect);
                }
            }
            Err(error) if is_about_the_store(&error) => {
                self.fails(&error);
                self.refuse(batch);
            }
            Err(error) if batch.len() == 1 => self.reject(batch, &error),
            // One record that SQLite does not take must not cost its neighbours.
            Err(_) => {
                for request in batch {
                    self.write(vec![request]);
                }
            }
        }
    }

    fn commit(&mut self, batch: &[Request]) -> rusqlite::Result<Vec<Effect>> {
        let started = Instant::now();
        let is_broken = self.broken.is_some();
        // What waits in the spill folder has come, and is not missed.
        let deadlines_pass = !self.spill.has_waiting();
        let effects = self.transaction(|transaction, cursor| {
            // Some operations find nothing to write, and would prove nothing.
            if is_broken {
                transaction.probe()?;
            }
            batch
                .iter()
                .map(|request| apply(transaction, &request.operation, cursor, deadlines_pass))
                .collect::<Result<Vec<_>, _>>()
        })?;
        let records = batch.iter().zip(&effects).map(|(request, effect)| effect.records(&request.operation)).sum();
        self.record_commit(started, records);
        Ok(effects)
    }

    /// Runs `act` in a transaction that ends with it: committed, or as if it never was.
    fn transaction<T>(
        &self,
        act: impl FnOnce(&mut Transaction<'_>, i64) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let rules = Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner));
        let result = Transaction::begin(&self.connection, self.clock.now(), &rules).and_then(|mut transaction| {
            let value = act(&mut transaction, self.remove_cursor)?;
            transaction.commit()?;
            Ok(value)
        });
        if result.is_err() && !self.connection.is_autocommit() {
            // If even this fails, the next transaction reports it.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        result
    }

    #[expect(clippy::cast_precision_loss, reason = "a batch has at most a million records")]
    fn record_commit(&mut self, started: Instant, records: usize) {
        if records == 0 {
            return;
        }
        self.committed.metrics.store_commit_duration.observe(started.elapsed().as_secs_f64());
        self.committed.metrics.store_batch_rows.observe(records as f64);
        self.checkpoints.committed(&self.connection, records, false);
    }

    fn publish(&mut self, request: Request, effect: Effect) {
        let done = match (&request.operation, effect) {
            (Operation::Pingback(pingback, arrived), Effect::Result(effect)) => {
                self.committed.pingback(pingback, effect, *arrived);
                Done::Kept
            }
            (Operation::Register(tasks), Effect::Registered(effects)) => {
                for (task, effect) in tasks.iter().zip(&effects) {
                    self.committed.registered(task, effect);
                }
                Done::Kept
            }
            (_, Effect::Missed(accounts)) => {
                for account in &accounts {
                    self.committed.pingback_missed(account);
                }
                Done::Count(accounts.len())
            }
            (_, Effect::Removed(removal)) => {
                self.remove_cursor = if removal.end { 0 } else { removal.cursor };
                for effect in removal.ended {
                    self.committed.polled(effect);
                }
                Done::End(removal.end)
            }
            (_, Effect::Heard(destinations)) => {
                self.committed.wake(&destinations);
                Done::Count(destinations.len())
            }
            (_, Effect::Polls(due)) => Done::Polls(due),
            (_, Effect::Polled(effect)) => {
                let decision = effect.decision;
                self.committed.polled(*effect);
                Done::Decided(decision)
            }
            (_, Effect::Outbox(done, destinations)) => {
                self.committed.wake(&destinations);
                done
            }
            _ => Done::Kept,
        };
        request.answer(Ok(done));
    }

    /// The store cannot be written: pingbacks go to the spill folder, the rest is told so.
    fn refuse(&mut self, batch: Vec<Request>) {
        let pingbacks: Vec<_> = batch.iter().filter_map(|request| request.operation.pingback()).collect();
        let mut spilled = Ok(());
        if !pingbacks.is_empty() {
            spilled = self.spill.append(pingbacks.iter().map(|(pingback, _)| *pingback));
        }
        match &spilled {
            Ok(()) => {
                self.committed.metrics.pingbacks_spilled.inc_by(pingbacks.len() as u64);
                for (_, arrived) in &pingbacks {
                    let took = arrived.elapsed().as_secs_f64();
                    self.committed.metrics.pingback_ack_duration.observe(took);
                }
            }
            Err(error) => {
                self.committed.metrics.store_errors.inc();
                self.lost.add(pingbacks.len(), error, &self.failure);
            }
        }
        for request in batch {
            let kept = spilled.is_ok() && request.operation.pingback().is_some();
            request.answer(if kept { Ok(Done::Kept) } else { Err(StoreError::Unavailable) });
        }
    }

    /// SQLite does not take this record, whatever the state of the store: a fault of ours.
    fn reject(&self, batch: Vec<Request>, error: &rusqlite::Error) {
        self.committed.metrics.store_errors.inc();
        error!(%error, "the store does not take a record");
        for request in batch {
            request.answer(Err(StoreError::Unavailable));
        }
    }

    /// Imports some spilled pingbacks, if there are any; `false` when the store did not take them.
    fn import_step(&mut self) -> bool {
        let step = match self.spill.next_step(IMPORT_PINGBACKS) {
            Ok(Some(step)) => step,
            Ok(None) => return true,
            Err(error) => return self.import_failed(&error),
        };
        if step.unreadable > 0 {
            self.committed.metrics.store_errors.inc();
            error!(lines = step.unreadable, "spilled lines that are no pingbacks are kept beside the imported file");
        }
        let started = Instant::now();
        let effects = self.transaction(|transaction, _| {
            step.pingbacks.iter().map(|pingback| transaction.pingback(pingback)).collect::<Result<Vec<_>, _>>()
        });
        match effects {
            Ok(effects) => {
                self.record_commit(started, effects.len());
                for (pingback, effect) in step.pingbacks.iter().zip(effects) {
                    self.committed.result(pingback, effect);
                }
            }
            Err(error) if is_about_the_store(&error) => {
                self.fails(&error);
                return false;
            }
            Err(_) => {
                for pingback in &step.pingbacks {
                    self.import_alone(pingback);
                }
            }
        }
        if step.end {
            match self.spill.finish_import() {
                Ok(Imported { pingbacks: 0, rejected: None }) => {}
                Ok(Imported { pingbacks, rejected: None }) => info!(pingbacks, "imported spilled pingbacks"),
                Ok(Imported { pingbacks, rejected: Some(kept) }) => {
                    self.bury_file(&kept);
                    warn!(pingbacks, kept = %kept.display(), "imported spilled pingbacks but for some lines");
                }
                Err(error) => return self.import_failed(&error),
            }
        }
        true
    }

    /// A dead letter says that somebody has to look at a file.
    fn bury_file(&self, file: &Path) {
        match self.transaction(|transaction, _| transaction.bury_file(&file.display().to_string())) {
            Ok(()) => {
                let labels = [PINGBACK_SOURCE, UNREADABLE];
                self.committed.metrics.dead_letters_added.with_label_values(&labels).inc();
            }
            Err(error) => warn!(%error, "there is no dead letter for spilled lines that cannot be read"),
        }
    }

    /// Among spilled pingbacks is one that SQLite does not take: it must not hold up the others.
    fn import_alone(&mut self, pingback: &Pingback) {
        match self.transaction(|transaction, _| transaction.pingback(pingback)) {
            Ok(effect) => self.committed.result(pingback, effect),
            Err(error) => {
                self.committed.metrics.store_errors.inc();
                error!(%error, "the store does not take a spilled pingback, which is kept beside the imported file");
                self.spill.reject(pingback);
            }
        }
    }

    /// The spill folder itself fails: try it again later, and meanwhile take what comes.
    fn import_failed(&mut self, error: &std::io::Error) -> bool {
        self.committed.metrics.store_errors.inc();
        warn!(%error, folder = %self.spill.folder().display(), "spilled pingbacks cannot be imported now");
        self.spill.postpone();
        true
    }

    fn probe(&mut self) {
        if self.is_in_place() && self.reopen() {
            match self.transaction(|transaction, _| transaction.probe()) {
                Ok(()) => self.works(),
                Err(error) => self.fails(&error),
            }
        }
    }

    /// Whether the database file is still where it was. SQLite would go on writing to a file that was
    /// deleted, and nobody would find what it acknowledged. Looked at once a second.
    fn is_in_place(&mut self) -> bool {
        if self.broken.is_none() && self.seen_at.elapsed() < PROBE_INTERVAL {
            return true;
        }
        self.seen_at = Instant::now();
        if super::identity(&self.path) == self.identity {
            return true;
        }
        self.cannot_write("the database file was removed or replaced; put it back or restart", true);
        false
    }

    /// Opens the connection anew when the last error asks for it; `false` when that fails.
    fn reopen(&mut self) -> bool {
        if !self.broken.as_ref().is_some_and(|broken| broken.reopen) {
            return true;
        }
        match super::open_writer(&self.path) {
            Ok(connection) => {
                self.connection = connection;
                true
            }
            Err(error) => {
                self.fails(&error);
                false
            }
        }
    }

    fn works(&mut self) {
        // A small write may find room where the spilled pingbacks do not.
        if self.broken.is_some() && self.import_step() {
            self.broken = None;
            info!(refused = self.lost.take(), "the store can be written again");
            *self.failure.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    fn fails(&mut self, error: &rusqlite::Error) {
        let passing = matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
        );
        self.cannot_write(&error.to_string(), !passing);
    }

    /// `reopen` says whether the connection is of no more use.
    fn cannot_write(&mut self, reason: &str, reopen: bool) {
        self.committed.metrics.store_errors.inc();
        self.spill.restart_import();
        if self.broken.is_none() {
            let (database, spill_dir) = (self.path.display(), self.spill.folder().display());
            error!(reason, %database, %spill_dir, "the store cannot be written; pingbacks go to the spill folder");
        }
        self.broken = Some(Broken { next_probe: Instant::now() + PROBE_INTERVAL, reopen });
        *self.failure.write().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }
}

/// Pingbacks that could be kept nowhere, and were refused.
#[derive(Debug, Default)]
struct Lost {
    pingbacks: usize,
    logged_at: Option<Instant>,
}

impl Lost {
    /// Says so where people look; in the log once a minute, which may be on the full disk itself.
    fn add(&mut self, pingbacks: usize, error: &std::io::Error, failure: &WriteFailure) {
        self.pingbacks += pingbacks;
        let mut failure = failure.write().unwrap_or_else(PoisonError::into_inner);
        let reason = failure.take().unwrap_or_default();
        let nowhere = "the spill folder cannot be written either: pingbacks are refused";
        *failure = Some(if reason.contains(nowhere) { reason } else { format!("{reason}; {nowhere}") });
        if self.logged_at.is_none_or(|at| at.elapsed() > LOST_LOG_INTERVAL) {
            error!(%error, refused = self.pingbacks, "the spill folder cannot be written either: pingbacks are refused");
            self.logged_at = Some(Instant::now());
        }
    }

    fn take(&mut self) -> usize {
        std::mem::take(self).pingbacks
    }
}

impl Effect {
    /// How many records were written.
    fn records(&self, operation: &Operation) -> usize {
        match self {
            Self::Missed(accounts) => accounts.len(),
            Self::Removed(removal) => removal.removed + removal.ended.len(),
            Self::Polls(due) => due.len(),
            Self::Registered(_)
            | Self::Result(_)
            | Self::Heard(_)
            | Self::Outbox(..)
            | Self::Polled(_)
            | Self::None => operation.records(),
        }
    }
}

fn apply(
    transaction: &mut Transaction<'_>,
    operation: &Operation,
    cursor: i64,
    deadlines_pass: bool,
) -> rusqlite::Result<Effect> {
    Ok(match operation {
        Operation::Pingback(pingback, _) => Effect::Result(transaction.pingback(pingback)?),
        Operation::Register(tasks) => {
            let effects = tasks.iter().map(|task| transaction.register(task)).collect::<rusqlite::Result<_>>()?;
            Effect::Registered(effects)
        }
        Operation::SaveBalance(account, balance) => {
            transaction.save_balance(account, balance)?;
            Effect::None
        }
        Operation::PassDeadlines { .. } if !deadlines_pass => Effect::Missed(Vec::new()),
        Operation::PassDeadlines { limit } => Effect::Missed(transaction.pass_deadlines(*limit)?),
        Operation::RemoveOld { retention } => {
            Effect::Removed(transaction.remove_old(cursor, *retention, REMOVE_TASKS)?)
        }
        Operation::ClaimPolls { account, limit } => Effect::Polls(transaction.claim_polls(account.as_deref(), *limit)?),
        Operation::Polled(id, polled) => Effect::Polled(Box::new(transaction.poll_result(id, polled)?)),
        Operation::Alerts(alerts) => apply_alerts(transaction, alerts)?,
        Operation::Close => Effect::None,
    })
}

fn apply_alerts(transaction: &mut Transaction<'_>, alerts: &Alerts) -> rusqlite::Result<Effect> {
    let kept = |new: &[NewDelivery]| Effect::Outbox(Done::Kept, destinations(new));
    Ok(match alerts {
        Alerts::Hear(heard) => Effect::Heard(transaction.hear(heard)?),
        Alerts::Queue(new) => {
            new.iter().try_for_each(|new| transaction.enqueue_new(new))?;
            kept(new)
        }
        Alerts::Claim(request) => Effect::Outbox(Done::Claimed(Box::new(transaction.claim(request)?)), Vec::new()),
        Alerts::Settle { settlements, lease } => {
            let mut written = Vec::new();
            for (settlement, consequences) in settlements {
                written.push(transaction.settle(settlement, *lease, consequences)?);
            }
            let woken = settlements.iter().flat_map(|(_, consequences)| destinations(&consequences.new)).collect();
            Effect::Outbox(Done::Settled(written), woken)
        }
        Alerts::SaveDestination(name, state) => {
            transaction.save_destination(name, state)?;
            Effect::None
        }
        Alerts::Retire { configured, limit } => {
            Effect::Outbox(Done::Buried(transaction.retire(configured, *limit)?), Vec::new())
        }
        Alerts::HearWatchdog => {
            transaction.hear_watchdog()?;
            Effect::None
        }
        Alerts::SaveWatchdog(state, new) => {
            transaction.save_watchdog(*state)?;
            new.iter().try_for_each(|new| transaction.enqueue_new(new))?;
            kept(new)
        }
        Alerts::KeepEvents(events, destinations) => {
            let are_new = transaction.keep_events(events, destinations)?;
            Effect::Outbox(Done::Settled(are_new), destinations.clone())
        }
        Alerts::RetryLetters { which, configured, limit } => {
            let retried = transaction.retry_letters(*which, configured, *limit)?;
            let woken = retried.sources.clone();
            Effect::Outbox(Done::Retried(Box::new(retried)), woken)
        }
        Alerts::DiscardLetter(seq) => {
            Effect::Outbox(Done::Buried(transaction.discard_letter(*seq)?.into_iter().collect()), Vec::new())
        }
        Alerts::TrimLetters { limit } => Effect::Outbox(Done::Buried(transaction.trim_letters(*limit)?), Vec::new()),
        Alerts::Forget { limit } => {
            transaction.forget_calls()?;
            transaction.forget_events(10 * limit)?;
            Effect::Outbox(Done::Count(transaction.forget_groups(*limit)?), Vec::new())
        }
    })
}

fn destinations(new: &[NewDelivery]) -> Vec<String> {
    new.iter().map(|new| new.destination.clone()).collect()
}

/// Whether an error says something about the store, and not about the one record.
fn is_about_the_store(error: &rusqlite::Error) -> bool {
    !matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::ConstraintViolation
                | ErrorCode::TooBig
                | ErrorCode::TypeMismatch
                | ErrorCode::ParameterOutOfRange
        ) | None
    )
}

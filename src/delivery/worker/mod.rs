//! The worker of one destination: claims, tells, writes down. What its troubles mean is in [`trouble`].

mod each;
mod trouble;

use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::delivery::Shared;
use crate::delivery::breaker::Breaker;
use crate::delivery::decision::{Attempt, UNUSABLE_LOOK, expired, is_expired, outcome};
use crate::domain::delivery::{Call, Claimed, Consequences, DestinationState, Kind, Outcome, Settlement, after};
use crate::domain::time::elapsed;
use crate::notify::{Content, Context, Job, Notifier, PastCall, Receipt, SendError, Step};
use crate::store::StoreError;

/// How long a claim holds. A request takes ten seconds at most, and each renews it.
const LEASE: Duration = Duration::from_mins(2);
/// Rows that are told together in a storm.
const DIGEST_ROWS: usize = 500;
/// Requests for one row in one claim; a group that needs more is claimed again.
pub const REQUESTS_PER_CLAIM: usize = 50;
/// No wait is longer: clocks jump.
const LONGEST_REST: Duration = Duration::from_secs(30);
/// The wait after the store failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// How long a request may go on after the stop.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// Why nothing is sent to an unusable destination.
const UNUSED: &str = "not used until its configuration changes";
/// Without credit nobody is called for this long.
const NO_CREDIT: Duration = Duration::from_hours(1);

/// Who hears of a destination's troubles: the other destinations of its receiver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peers {
    /// Messages.
    pub messages: Vec<String>,
    /// Phones, which are used where nobody gets messages.
    pub phones: Vec<String>,
}

/// When to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// At once: there may be more.
    Now,
    /// After this, or when there is something new.
    After(Duration),
    /// After this, whatever comes: the destination asks for a pause.
    Pause(Duration),
}

/// Tells one destination what waits for it.
#[derive(Debug)]
pub struct Worker<N> {
    notifier: N,
    destination: String,
    max_age: Duration,
    peers: Peers,
    shared: Shared,
    rng: fastrand::Rng,
    /// `None` until it has been read.
    state: Option<DestinationState>,
    fingerprint: String,
    /// Failed attempts in a row, over all rows: said once.
    failing: bool,
    breaker: Breaker,
}

/// A claimed row as it is worked on.
struct Work {
    claimed: Claimed,
    job: Job,
}

/// How working on a row ended.
type Ended = (Outcome, Consequences);

impl<N: Notifier> Worker<N> {
    /// A worker. `fingerprint` tells the destination's configuration from another one.
    pub fn new(
        notifier: N,
        destination: String,
        fingerprint: String,
        max_age: Duration,
        peers: Peers,
        shared: Shared,
        rng: fastrand::Rng,
    ) -> Self {
        Self {
            notifier,
            destination,
            max_age,
            peers,
            shared,
            rng,
            state: None,
            fingerprint,
            failing: false,
            breaker: Breaker::default(),
        }
    }

    /// Works until `stop` is cancelled. What is under way then may end within a few seconds.
    pub async fn run(mut self, stop: CancellationToken) {
        let waker = self.shared.store.waker(&self.destination);
        let too_late = async {
            stop.cancelled().await;
            tokio::time::sleep(STOP_GRACE).await;
        };
        tokio::pin!(too_late);
        while !stop.is_cancelled() {
            let next = tokio::select! {
                next = self.step() => next.unwrap_or(Next::Pause(STORE_PAUSE)),
                () = &mut too_late => return,
            };
            let (pause, may_wake) = match next {
                Next::Now => continue,
                Next::After(pause) => (pause, true),
                Next::Pause(pause) => (pause, false),
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause.min(LONGEST_REST)) => {}
                () = waker.notified(), if may_wake => {}
            }
        }
    }

    /// Claims what is due, tells it, and writes down what became of it.
    pub async fn step(&mut self) -> Result<Next, StoreError> {
        let rest = self.breaker.pause(self.shared.clock.now());
        if let Some(pause) = self.notifier.pause().or(rest) {
            return Ok(Next::Pause(pause));
        }
        self.read_state().await?;
        let most = if N::STORM.is_some() { DIGEST_ROWS } else { N::CONCURRENT };
        let claim = self.shared.store.claim(&self.destination, most, N::STORM, LEASE).await?;
        if claim.deliveries.is_empty() {
            let now = self.shared.clock.now();
            let rest = claim.next_due_at.map_or(LONGEST_REST, |due_at| elapsed(now, due_at));
            return Ok(Next::After(rest.max(Duration::from_millis(10))));
        }
        let calls: Vec<_> = claim.calls.into_iter().map(past_call).collect();
        let mut works = Vec::new();
        for claimed in claim.deliveries {
            match job(&claimed) {
                Some(job) => works.push(Work { claimed, job }),
                None => self.bury_unreadable(&claimed).await?,
            }
        }
        if N::CONCURRENT > 1 {
            self.tell_each(works).await
        } else if works.len() > 1 {
            self.tell_together(works, &calls).await
        } else if let Some(work) = works.pop() {
            self.tell(work, &calls).await
        } else {
            Ok(Next::Now)
        }
    }

    /// What was known before a restart holds for the same configuration only.
    async fn read_state(&mut self) -> Result<(), StoreError> {
        if self.state.is_some() {
            return Ok(());
        }
        let backlogs = self.shared.store.backlogs().await?;
        let kept = backlogs.into_iter().find(|backlog| backlog.destination == self.destination);
        let kept = kept.map(|backlog| backlog.state).filter(|state| state.fingerprint == self.fingerprint);
        match kept {
            Some(state) => {
                if let Some(why) = &state.unusable {
                    warn!(destination = self.destination, why, "still not used: its configuration has not changed");
                }
                self.state = Some(state);
            }
            None => self.save_state(DestinationState::default()).await?,
        }
        Ok(())
    }

    async fn save_state(&mut self, state: DestinationState) -> Result<(), StoreError> {
        let state = DestinationState { fingerprint: self.fingerprint.clone(), ..state };
        self.shared.store.save_destination(&self.destination, state.clone()).await?;
        self.state = Some(state);
        Ok(())
    }

    /// What is known of the destination, to be changed.
    fn known(&self) -> DestinationState {
        let known = self.state.clone().unwrap_or_default();
        DestinationState { fingerprint: self.fingerprint.clone(), ..known }
    }

    fn is_unusable(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.unusable.is_some())
    }

    /// Tells one row, request by request, until there is nothing left to tell.
    async fn tell(&mut self, mut work: Work, calls: &[PastCall]) -> Result<Next, StoreError> {
        let mut calls = calls.to_vec();
        let mut consequences = Consequences::default();
        for _ in 0..REQUESTS_PER_CLAIM {
            let now = self.shared.clock.now();
            let no_credit_until = self.state.as_ref().and_then(|state| state.no_credit_until);
            let context = Context { now, calls: &calls, no_credit_until };
            let request = match self.notifier.next(&work.job, &context) {
                Step::Done(told) => {
                    consequences.told = Some(told);
                    return self.end(&work, Outcome::Done, consequences).await;
                }
                Step::Suppress { reason, noted, told } => {
                    self.suppressed(reason, noted, &work.job, &mut consequences);
                    consequences.told = Some(told);
                    return self.end(&work, Outcome::Done, consequences).await;
                }
                Step::Send(request) => request,
            };
            if is_expired(work.job.state_at, now, self.max_age) {
                let (outcome, more) = self.give_up(&work, expired());
                merge(&mut consequences, more);
                return self.end(&work, outcome, consequences).await;
            }
            if self.is_unusable() {
                return self.end(&work, later(now, UNUSABLE_LOOK, UNUSED), consequences).await;
            }
            if consequences != Consequences::default() {
                // What the last request did must be on disk before the next one.
                self.progress(&work, std::mem::take(&mut consequences)).await?;
            }
            if let Some(pause) = self.notifier.pause() {
                return self.end(&work, later(now, pause, "waits for the destination's limits"), consequences).await;
            }
            match self.send(&request).await {
                Ok(receipt) => {
                    self.told(&mut work.job, &request, &receipt, &mut calls, &mut consequences);
                }
                Err(SendError::Missing) => {
                    work.job.told = self.notifier.forgotten(&work.job, &request);
                    consequences.told = Some(work.job.told.clone());
                }
                Err(error) => {
                    let (outcome, more) = self.failed(&error, &work);
                    merge(&mut consequences, more);
                    if matches!(error, SendError::Ambiguous { .. }) {
                        consequences.calls.extend(self.doubtful_calls(&work, &request, &outcome));
                    }
                    return self.end(&work, outcome, consequences).await;
                }
            }
        }
        let now = self.shared.clock.now();
        self.end(&work, later(now, Duration::ZERO, "has more to tell"), consequences).await
    }

    /// Tells many rows in one request.
    async fn tell_together(&mut self, works: Vec<Work>, calls: &[PastCall]) -> Result<Next, StoreError> {
        let now = self.shared.clock.now();
        let (old, works): (Vec<_>, Vec<_>) =
            works.into_iter().partition(|work| is_expired(work.job.state_at, now, self.max_age));
        let mut settlements: Vec<_> = old.iter().map(|work| settled(work, self.give_up(work, expired()))).collect();
        let context = Context { now, calls, no_credit_until: None };
        let (works, known): (Vec<_>, Vec<_>) =
            works.into_iter().partition(|work| matches!(self.notifier.next(&work.job, &context), Step::Send(_)));
        for work in &known {
            if let Step::Done(told) = self.notifier.next(&work.job, &context) {
                let consequences = Consequences { told: Some(told), ..Consequences::default() };
                settlements.push(settled(work, (Outcome::Done, consequences)));
            }
        }
        if works.len() <= N::STORM.unwrap_or_default() {
            // Fewer than it seemed: one by one after all.
            let again = later(now, Duration::ZERO, "told by itself");
            settlements.extend(works.iter().map(|work| settled(work, (again.clone(), Consequences::default()))));
            self.settle(settlements).await?;
            return Ok(Next::Now);
        }
        let jobs: Vec<_> = works.iter().map(|work| work.job.clone()).collect();
        let request = if self.is_unusable() { None } else { self.notifier.digest(&jobs, &context) };
        match request {
            None => {
                let wait = later(now, UNUSABLE_LOOK, UNUSED);
                settlements.extend(works.iter().map(|work| settled(work, (wait.clone(), Consequences::default()))));
            }
            Some(request) => match self.send(&request).await {
                Ok(receipt) => {
                    self.recovered();
                    for work in &works {
                        let told = self.notifier.told(&work.job, &request, &receipt, now);
                        let consequences = Consequences { told: Some(told), ..Consequences::default() };
                        self.observe_delivered(work);
                        settlements.push(settled(work, (Outcome::Done, consequences)));
                    }
                }
                Err(SendError::Permanent { why }) => {
                    warn!(destination = self.destination, why, "a summary is refused: telling one by one");
                    self.settle(settlements).await?;
                    // What is refused in one of them must not cost the others.
                    for work in works {
                        self.tell(work, calls).await?;
                    }
                    return Ok(Next::Now);
                }
                Err(error) => {
                    for (position, work) in works.iter().enumerate() {
                        // The first tells of the trouble for all of them.
                        let ended = if position == 0 {
                            self.failed(&error, work)
                        } else {
                            (outcome(&error, self.attempt(work)), Consequences::default())
                        };
                        settlements.push(settled(work, ended));
                    }
                }
            },
        }
        self.settle(settlements).await?;
        Ok(Next::Now)
    }

    async fn send(&self, request: &N::Request) -> Result<Receipt, SendError> {
        let sent = self.notifier.send(request).await;
        let metrics = &self.shared.metrics;
        metrics.deliveries.with_label_values(&[&self.destination]).inc();
        if let Err(error) = &sent {
            metrics.delivery_failures.with_label_values(&[&*self.destination, error.reason()]).inc();
        }
        sent
    }

    /// A request was taken.
    fn told(
        &mut self,
        job: &mut Job,
        request: &N::Request,
        receipt: &Receipt,
        calls: &mut Vec<PastCall>,
        consequences: &mut Consequences,
    ) {
        self.recovered();
        let now = self.shared.clock.now();
        let metrics = &self.shared.metrics;
        if !receipt.called.is_empty() {
            info!(destination = self.destination, alert = job.title(), numbers = receipt.called.len(), "called");
            metrics.calls.with_label_values(&[&self.destination]).inc();
            let credits = metrics.call_credits_spent.with_label_values(&[&self.destination]);
            credits.inc_by(receipt.called.len() as u64);
            if let Some(reason) = self.notifier.left_out(request) {
                self.suppressed(reason, true, job, consequences);
            }
        }
        for number in &receipt.called {
            let call = Call { subject: job.subject(), number: number.clone(), at: now };
            calls.push(past_call(call.clone()));
            consequences.calls.push(call);
        }
        job.told = self.notifier.told(job, request, receipt, now);
        consequences.told = Some(job.told.clone());
    }

    async fn bury_unreadable(&mut self, claimed: &Claimed) -> Result<(), StoreError> {
        error!(destination = self.destination, row = claimed.seq, "the outbox holds something that cannot be read");
        let outcome = Outcome::Dead {
            reason: crate::domain::delivery::REFUSED,
            error: "it cannot be read; was it written by another version?".to_owned(),
        };
        let settlement = settlement(claimed, outcome);
        self.settle(vec![(settlement, Consequences::default())]).await
    }

    async fn progress(&mut self, work: &Work, consequences: Consequences) -> Result<(), StoreError> {
        self.settle(vec![settled(work, (Outcome::Progress, consequences))]).await
    }

    async fn end(&mut self, work: &Work, outcome: Outcome, consequences: Consequences) -> Result<Next, StoreError> {
        if outcome == Outcome::Done {
            self.observe_delivered(work);
        }
        self.settle(vec![settled(work, (outcome, consequences))]).await?;
        Ok(Next::Now)
    }

    /// Writes down what became of rows. While the store fails this is tried again: what was sent must not
    /// be sent twice if that can be helped.
    async fn settle(&mut self, settlements: Vec<(Settlement, Consequences)>) -> Result<(), StoreError> {
        const TRIES: usize = 5;
        let buried: Vec<_> = settlements.iter().map(|(settlement, _)| dead_reason(&settlement.outcome)).collect();
        let mut tries = 0;
        let written = loop {
            match self.shared.store.settle(settlements.clone(), LEASE).await {
                Ok(written) => break written,
                Err(error) if tries >= TRIES => return Err(error),
                Err(_) => tries += 1,
            }
            tokio::time::sleep(STORE_PAUSE).await;
        };
        // Believed only now: what is not on disk was told to nobody.
        let states = written.iter().zip(settlements).filter(|(written, _)| **written);
        if let Some(state) = states.filter_map(|(_, (_, consequences))| consequences.state).next_back() {
            self.state = Some(*state);
        }
        for reason in written.iter().zip(buried).filter(|(written, _)| **written).filter_map(|(_, reason)| reason) {
            self.shared.metrics.dead_letters_added.with_label_values(&[&*self.destination, reason]).inc();
        }
        Ok(())
    }

    fn attempt(&mut self, work: &Work) -> Attempt {
        let fraction = self.rng.f64();
        let Claimed { attempts, ambiguous, .. } = work.claimed;
        Attempt { attempts, ambiguous, now: self.shared.clock.now(), fraction }
    }

    fn observe_delivered(&self, work: &Work) {
        let took = elapsed(work.job.queued_at, self.shared.clock.now());
        self.shared.metrics.delivery_duration.with_label_values(&[&self.destination]).observe(took.as_secs_f64());
    }

    fn recovered(&mut self) {
        if std::mem::take(&mut self.failing) {
            info!(destination = self.destination, "can be told again");
        }
    }
}

fn settlement(claimed: &Claimed, outcome: Outcome) -> Settlement {
    Settlement { seq: claimed.seq, lease: claimed.lease, version: claimed.version, outcome }
}

fn settled(work: &Work, (outcome, consequences): Ended) -> (Settlement, Consequences) {
    (settlement(&work.claimed, outcome), consequences)
}

/// Not now, and not for a fault of this row.
fn later(now: Timestamp, wait: Duration, why: &str) -> Outcome {
    Outcome::Again { due_at: after(now, wait), attempted: false, ambiguous: false, error: why.to_owned() }
}

/// The job of a row; `None` where its content cannot be read.
fn job(claimed: &Claimed) -> Option<Job> {
    let content = match claimed.kind {
        Kind::Group => Content::Group(serde_json::from_str(&claimed.content).ok()?),
        Kind::Escalation => Content::Escalation(serde_json::from_str(&claimed.content).ok()?),
        Kind::Notice => Content::Notice(serde_json::from_str(&claimed.content).ok()?),
        Kind::Result => Content::Result(serde_json::from_str(&claimed.content).ok()?),
    };
    let Claimed { told, queued_at, state_at, attempts, .. } = claimed;
    Some(Job { content, told: told.clone(), queued_at: *queued_at, state_at: *state_at, attempts: *attempts })
}

fn past_call(call: Call) -> PastCall {
    PastCall { subject: call.subject, number: call.number, at: call.at }
}

fn merge(consequences: &mut Consequences, more: Consequences) {
    if more.told.is_some() {
        consequences.told = more.told;
    }
    consequences.calls.extend(more.calls);
    consequences.new.extend(more.new);
    consequences.state = more.state.or(consequences.state.take());
}

fn dead_reason(outcome: &Outcome) -> Option<&'static str> {
    if let Outcome::Dead { reason, .. } = outcome { Some(reason) } else { None }
}

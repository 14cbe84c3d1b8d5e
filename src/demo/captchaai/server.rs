//! What the requests and the running tasks of the simulated service share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::fate::{Fate, Oddity, PlannedPingback};
use super::pingback;
use super::service::{Answer, Service};
use crate::demo::fault::{Fault, Script};
use crate::demo::speed::Speed;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// `in.php`: a submission.
    Submit,
    /// `res.php` with `action=getbalance`.
    GetBalance,
    /// `res.php` with `action=get`: the result of a task.
    Get,
    /// Anything else.
    Other,
}

/// What has happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests to `in.php` that arrived.
    pub submits: u64,
    /// Requests for the balance that arrived.
    pub balance_requests: u64,
    /// Requests for a result that arrived.
    pub result_requests: u64,
    /// Any other requests to `res.php`.
    pub other_requests: u64,
    /// Tasks that ended with a solution.
    pub solved: u64,
    /// Tasks that ended with an error code.
    pub failed: u64,
    /// Pingbacks that were answered with success, repeated ones included.
    pub pingbacks_accepted: u64,
    /// Pingbacks that were answered otherwise, or not at all.
    pub pingbacks_refused: u64,
    /// Tasks whose pingback was lost on purpose.
    pub pingbacks_lost: u64,
    /// Pingbacks sent late on purpose.
    pub pingbacks_late: u64,
    /// Pingbacks repeated on purpose.
    pub pingbacks_duplicate: u64,
    /// Pingbacks contradicted on purpose.
    pub pingbacks_conflicting: u64,
    /// Tasks that have ended and whose pingbacks, if any, have all been sent.
    pub settled: u64,
}

impl Counts {
    /// Requests for an action that arrived.
    pub fn requests(mut self, action: Action) -> u64 {
        *self.requests_mut(action)
    }

    fn requests_mut(&mut self, action: Action) -> &mut u64 {
        match action {
            Action::Submit => &mut self.submits,
            Action::GetBalance => &mut self.balance_requests,
            Action::Get => &mut self.result_requests,
            Action::Other => &mut self.other_requests,
        }
    }
}

#[derive(Debug)]
pub(super) struct Server {
    service: Mutex<Service>,
    script: Mutex<Script<Action>>,
    counts: watch::Sender<Counts>,
    http: reqwest::Client,
    speed: Speed,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Server {
    pub(super) fn new(service: Service, http: reqwest::Client, speed: Speed, stop: CancellationToken) -> Self {
        Self {
            service: Mutex::new(service),
            script: Mutex::default(),
            counts: watch::Sender::default(),
            http,
            speed,
            tasks: TaskTracker::new(),
            stop,
        }
    }

    /// The service, for as long as one statement.
    pub(super) fn service(&self) -> MutexGuard<'_, Service> {
        self.service.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The faults that wait.
    pub(super) fn script(&self) -> MutexGuard<'_, Script<Action>> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tasks that must end before the service has stopped.
    pub(super) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    pub(super) fn counts(&self) -> watch::Receiver<Counts> {
        self.counts.subscribe()
    }

    /// Counts a request, and takes the fault that waits for it.
    pub(super) fn arrived(&self, action: Action) -> Option<Fault> {
        self.count(|counts| *counts.requests_mut(action) += 1);
        self.script().take(&action)
    }

    /// Cancelled when the service stops.
    pub(super) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Takes a task, and lets it live until its last pingback.
    pub(super) fn submit(self: &Arc<Self>, parameters: &[(String, String)], pingback: Option<&str>) -> Answer<u64> {
        let (id, fate) = self.service().submit(parameters)?;
        let server = Arc::clone(self);
        let pingback = pingback.map(str::to_owned);
        self.tasks.spawn(async move {
            server.stop.run_until_cancelled(server.live(id, fate, pingback)).await;
        });
        Ok(id)
    }

    async fn live(&self, id: u64, fate: Fate, pingback: Option<String>) {
        tokio::time::sleep(self.speed.scale(fate.solve_time)).await;
        self.service().finish(id, &fate);
        self.count(|counts| if fate.solved { counts.solved += 1 } else { counts.failed += 1 });
        if let Some(base) = pingback {
            self.count(|counts| counts.pingbacks_lost += u64::from(fate.lost));
            for planned in &fate.pingbacks {
                self.ping(&base, id, planned).await;
            }
        }
        self.count(|counts| counts.settled += 1);
    }

    async fn ping(&self, base: &str, id: u64, planned: &PlannedPingback) {
        tokio::time::sleep(self.speed.scale(planned.after)).await;
        let url = pingback::url(base, id, &planned.code, planned.second_question_mark);
        let accepted = pingback::send(&self.http, &url).await;
        self.count(|counts| {
            if accepted {
                counts.pingbacks_accepted += 1;
            } else {
                counts.pingbacks_refused += 1;
            }
            match planned.oddity {
                None => {}
                Some(Oddity::Late) => counts.pingbacks_late += 1,
                Some(Oddity::Duplicate) => counts.pingbacks_duplicate += 1,
                Some(Oddity::Conflicting) => counts.pingbacks_conflicting += 1,
            }
        });
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        self.counts.send_modify(change);
    }
}

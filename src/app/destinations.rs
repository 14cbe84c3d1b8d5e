//! Who is told what: a worker for each destination of the configuration, and the watches over them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::first_failure;
use crate::config::{Config, Receiver};
use crate::delivery::{Escalation, Peers, Shared, Watchdog, deliver, escalate, watch as watch_pipeline};
use crate::domain::delivery::{DestinationState, REMOVED};
use crate::notify::Settings;
use crate::store::{Backlog, StoreError};

/// Rows of destinations that are gone, in one step.
const RETIRE_STEP: usize = 500;

/// How often rows of destinations that are gone are looked for.
const RETIRE_INTERVAL: Duration = Duration::from_mins(1);

/// A worker that runs, and what it works for.
struct Running<S> {
    spec: S,
    stop: CancellationToken,
    task: AbortHandle,
}

/// A destination and who hears of its troubles.
struct Destination {
    settings: Settings,
    peers: Peers,
}

/// What is watched besides single destinations.
#[derive(PartialEq, Eq)]
struct Watches {
    watchdog: Option<Watchdog>,
    escalations: Vec<Escalation>,
}

/// Runs a worker for every destination. When the configuration changes, those of unchanged destinations
/// go on, and a changed one begins when the old one has ended: two would tell out of order.
pub(super) async fn tell(
    shared: Shared,
    mut config: watch::Receiver<Arc<Config>>,
    stop: CancellationToken,
) -> Result<(), String> {
    let mut rng = fastrand::Rng::new();
    let mut workers: Vec<Running<Destination>> = Vec::new();
    let mut watches: Vec<Running<Watches>> = Vec::new();
    let mut tasks = JoinSet::new();
    let mut is_reloaded = false;
    loop {
        let now = config.borrow_and_update().clone();
        let subscribers = now.subscribers.iter().map(subscriber);
        let wanted: Vec<_> = now.receivers.iter().flat_map(destinations).chain(subscribers).collect();
        let without_credit = if is_reloaded { without_credit(&shared).await } else { Vec::new() };
        let begins_anew = |name: &str| without_credit.iter().any(|backlog| backlog.destination == name);
        stop_others(&mut workers, &mut tasks, |spec| {
            wanted.iter().any(|wanted| wanted.is_same(spec)) && !begins_anew(&spec.settings.destination())
        })
        .await;
        forget_missing_credit(&shared, without_credit).await;
        retire(&shared, &wanted).await;
        let new = wanted.into_iter().filter(|wanted| workers.iter().all(|running| !wanted.is_same(&running.spec)));
        for spec in new.collect::<Vec<_>>() {
            let stop = stop.child_token();
            let work = deliver(spec.settings.clone(), spec.peers.clone(), shared.clone(), rng.fork(), stop.clone());
            let task = start(&mut tasks, work, stop.clone());
            workers.push(Running { spec, stop, task });
        }
        let wanted = Watches::of(&now);
        stop_others(&mut watches, &mut tasks, |spec| *spec == wanted).await;
        if watches.is_empty() {
            let stop = stop.child_token();
            let task = start(&mut tasks, wanted.clone().run(shared.clone(), stop.clone()), stop.clone());
            watches.push(Running { spec: wanted, stop, task });
        }
        is_reloaded = false;
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            reason = first_failure(&mut tasks, "a worker of a destination") => return Err(reason),
            changed = config.changed() => {
                changed.map_err(|_| "nobody reads the configuration any more".to_owned())?;
                is_reloaded = true;
            }
            // A notification that was on its way during a reload may wait for a destination that is gone.
            () = tokio::time::sleep(RETIRE_INTERVAL) => {}
        }
    }
    while tasks.join_next().await.is_some() {}
    Ok(())
}

fn start(
    tasks: &mut JoinSet<bool>,
    work: impl Future<Output = ()> + Send + 'static,
    stop: CancellationToken,
) -> AbortHandle {
    tasks.spawn(async move {
        work.await;
        stop.is_cancelled()
    })
}

/// Stops those that are not wanted any more, and waits until they have ended.
async fn stop_others<S>(running: &mut Vec<Running<S>>, tasks: &mut JoinSet<bool>, is_wanted: impl Fn(&S) -> bool) {
    let mut ending = Vec::new();
    running.retain(|running| {
        let stays = is_wanted(&running.spec);
        if !stays {
            running.stop.cancel();
            ending.push(running.task.clone());
        }
        stays
    });
    while !ending.iter().all(AbortHandle::is_finished) {
        if tasks.join_next().await.is_none() {
            return;
        }
    }
}

fn destinations(receiver: &Receiver) -> Vec<Destination> {
    let destination = |settings: &Settings| {
        let own = settings.destination();
        let others = |names: Vec<String>| names.into_iter().filter(|name| *name != own).collect();
        let peers = Peers { messages: others(receiver.messages()), phones: others(receiver.phones()) };
        Destination { settings: settings.clone(), peers }
    };
    receiver.destinations.iter().map(destination).collect()
}

/// Nobody else is told what a subscriber does not take: the metrics and the alerts made of them tell it.
fn subscriber(settings: &Settings) -> Destination {
    Destination { settings: settings.clone(), peers: Peers::default() }
}

impl Destination {
    fn is_same(&self, other: &Self) -> bool {
        self.settings.is_same(&other.settings) && self.peers == other.peers
    }
}

impl Watches {
    fn of(config: &Config) -> Self {
        let watchdog = config.watchdog.as_ref().and_then(|watchdog| {
            let receiver = config.receivers.iter().find(|receiver| receiver.name == watchdog.receiver)?;
            let (messages, phones) = (receiver.messages(), receiver.phones());
            Some(Watchdog { timeout: watchdog.timeout, messages, phones })
        });
        let escalation = |receiver: &Receiver| Escalation { messages: receiver.messages(), phones: receiver.phones() };
        Self { watchdog, escalations: config.receivers.iter().map(escalation).collect() }
    }

    async fn run(self, shared: Shared, stop: CancellationToken) {
        let watch = async {
            match self.watchdog {
                Some(watchdog) => watch_pipeline(watchdog, shared.clone(), stop.clone()).await,
                None => stop.cancelled().await,
            }
        };
        tokio::join!(watch, escalate(self.escalations, shared.clone(), stop.clone()));
    }
}

impl Clone for Watches {
    fn clone(&self) -> Self {
        Self { watchdog: self.watchdog.clone(), escalations: self.escalations.clone() }
    }
}

/// The destinations that call nobody for want of credit. Whoever reloads the configuration may have bought
/// some, so they are tried again.
async fn without_credit(shared: &Shared) -> Vec<Backlog> {
    // The store says itself what is wrong with it. They are tried again within the hour anyway.
    let backlogs = shared.store.backlogs().await.unwrap_or_default();
    backlogs.into_iter().filter(|backlog| backlog.state.no_credit_until.is_some()).collect()
}

async fn forget_missing_credit(shared: &Shared, without_credit: Vec<Backlog>) {
    for Backlog { destination, state, .. } in without_credit {
        let state = DestinationState { no_credit_until: None, ..state };
        let _ = shared.store.save_destination(&destination, state).await;
    }
}

/// What waits for destinations that are gone becomes dead letters.
async fn retire(shared: &Shared, wanted: &[Destination]) {
    let configured: Vec<_> = wanted.iter().map(|wanted| wanted.settings.destination()).collect();
    loop {
        match shared.store.retire(configured.clone(), RETIRE_STEP).await {
            Ok(sources) if sources.is_empty() => return,
            Ok(sources) => {
                for source in &sources {
                    shared.metrics.dead_letters_added.with_label_values(&[&**source, REMOVED]).inc();
                }
                error!(
                    count = sources.len(),
                    "what waited for destinations that are not configured is dead letters now"
                );
            }
            // The store says itself what is wrong with it. They wait for the next start.
            Err(StoreError::Full | StoreError::Unavailable) => return,
        }
    }
}

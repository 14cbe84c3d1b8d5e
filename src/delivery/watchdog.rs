//! Watches over the alerting pipeline itself: a watchdog alert that always fires must keep coming.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::Shared;
use crate::domain::delivery::{NewContent, NewDelivery};
use crate::domain::notice::Notice;
use crate::domain::time::elapsed;
use crate::store::{StoreError, WatchdogState};

/// How often the silence is measured, and the wait after the store failed.
const LOOK: Duration = Duration::from_secs(1);

/// What is watched, and who hears of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watchdog {
    /// A silence longer than this is told.
    pub timeout: Duration,
    /// Destinations that get messages.
    pub messages: Vec<String>,
    /// Destinations that call people, which happens about the silence and not about its end.
    pub phones: Vec<String>,
}

/// What the length of the silence means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Nothing,
    Alarm,
    Recovered,
}

fn decide(silent: Duration, heard: bool, timeout: Duration, alarmed: bool) -> Decision {
    match (silent > timeout, alarmed) {
        (true, false) => Decision::Alarm,
        // At a start nothing has been heard yet, so that nothing is over.
        (false, true) if heard => Decision::Recovered,
        _ => Decision::Nothing,
    }
}

/// Watches until `stop` is cancelled. The silence is counted from now on at the earliest, and by a clock
/// that nobody sets: a machine whose date jumps must not call anybody.
pub async fn watch(watchdog: Watchdog, shared: Shared, stop: CancellationToken) {
    let heard = shared.store.watchdog_heard();
    let mut watch = Watch::new(watchdog, shared);
    while !stop.is_cancelled() {
        if watch.step(watch.last.elapsed()).await.is_err() {
            // The store says itself what is wrong with it.
            tokio::time::sleep(LOOK).await;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(LOOK) => {}
            () = heard.notified() => watch.hear(),
        }
    }
}

struct Watch {
    watchdog: Watchdog,
    shared: Shared,
    /// When it was last heard, or when the watch began.
    last: Instant,
    /// Whether it was heard since then.
    heard: bool,
}

impl Watch {
    fn new(watchdog: Watchdog, shared: Shared) -> Self {
        Self { watchdog, shared, last: Instant::now(), heard: false }
    }

    fn hear(&mut self) {
        self.last = Instant::now();
        self.heard = true;
    }

    /// Tells what a silence of this length means, if that is news.
    async fn step(&self, silent: Duration) -> Result<(), StoreError> {
        let state = self.shared.store.watchdog().await?;
        let now = self.shared.clock.now();
        match decide(silent, self.heard, self.watchdog.timeout, state.alarmed_at.is_some()) {
            Decision::Nothing => Ok(()),
            Decision::Alarm => {
                error!(silent_seconds = silent.as_secs(), "nothing is heard of the alerting pipeline");
                let notice =
                    Notice::WatchdogSilent { last_heard_at: state.last_heard_at, silent_seconds: silent.as_secs() };
                let told = self.watchdog.messages.iter().chain(&self.watchdog.phones);
                let state = WatchdogState { alarmed_at: Some(now), ..state };
                self.shared.store.save_watchdog(state, new(told, &notice)).await
            }
            Decision::Recovered => {
                let silent_seconds = silence(&state, now, self.watchdog.timeout).as_secs();
                info!(silent_seconds, "the alerting pipeline is heard again");
                let notice = Notice::WatchdogBack { silent_seconds };
                let state = WatchdogState { alarmed_at: None, ..state };
                self.shared.store.save_watchdog(state, new(self.watchdog.messages.iter(), &notice)).await
            }
        }
    }
}

/// How long it had been silent, when it is heard again: the alarm came after the time-out.
fn silence(state: &WatchdogState, now: Timestamp, timeout: Duration) -> Duration {
    state.alarmed_at.map_or(Duration::ZERO, |alarmed_at| elapsed(alarmed_at, now)) + timeout
}

fn new<'a>(destinations: impl Iterator<Item = &'a String>, notice: &Notice) -> Vec<NewDelivery> {
    let one = |destination: &String| NewDelivery {
        destination: destination.clone(),
        content: NewContent::Notice(notice.clone()),
    };
    destinations.map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::delivery::tests::Fixture;

    async fn told(fixture: &Fixture) -> [u64; 2] {
        [fixture.left("discord/ops").await.0, fixture.left("alertalk/oncall").await.0]
    }

    #[tokio::test]
    async fn a_silent_pipeline_is_told_once_across_restarts_and_so_is_its_return() {
        let mut fixture = Fixture::new();
        let watchdog = Watchdog {
            timeout: Duration::from_mins(5),
            messages: vec!["discord/ops".to_owned()],
            phones: vec!["alertalk/oncall".to_owned()],
        };
        let long = Duration::from_mins(6);
        let watch = Watch::new(watchdog.clone(), fixture.shared.clone());
        watch.step(Duration::from_mins(5)).await.unwrap();
        assert_eq!(told(&fixture).await, [0, 0]);
        watch.step(long).await.unwrap();
        watch.step(long * 2).await.unwrap();
        assert_eq!(told(&fixture).await, [1, 1]);

        drop(watch);
        fixture.restart().await;
        let mut watch = Watch::new(watchdog, fixture.shared.clone());
        watch.step(Duration::ZERO).await.unwrap();
        watch.step(long).await.unwrap();
        assert_eq!(told(&fixture).await, [1, 1]);
        fixture.shared.store.hear_watchdog().await.unwrap();
        watch.hear();
        watch.step(Duration::ZERO).await.unwrap();
        watch.step(Duration::ZERO).await.unwrap();
        assert_eq!(told(&fixture).await, [2, 1]);
        watch.step(long).await.unwrap();
        assert_eq!(told(&fixture).await, [3, 2]);
    }

    #[test]
    fn a_silence_is_told_once_and_so_is_its_end() {
        use Decision::{Alarm, Nothing, Recovered};
        let timeout = Duration::from_mins(5);
        for (seconds, heard, alarmed, expected) in [
            (300, false, false, Nothing),
            (301, false, false, Alarm),
            (301, true, false, Alarm),
            (9999, true, true, Nothing),
            (0, true, true, Recovered),
            (0, false, true, Nothing),
            (0, true, false, Nothing),
        ] {
            assert_eq!(
                decide(Duration::from_secs(seconds), heard, timeout, alarmed),
                expected,
                "{seconds} {heard} {alarmed}"
            );
        }
    }
}

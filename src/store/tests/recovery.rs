//! Tasks whose pingback did not come, pingbacks that nobody registered, and who gets the results.

use super::*;
use crate::domain::dead_letter::{HAS_ENDED, IS_PENDING};
use crate::domain::delivery::{Consequences, Kind, Outcome as Delivered, Settlement};
use crate::domain::fallback::Fallback;
use crate::domain::task::{PollDecision, TaskResult};

const WORKERS: &str = "subscriber/workers";
const LEASE: Duration = Duration::from_mins(2);

fn id(text: &str) -> TaskId {
    TaskId::parse(text).unwrap()
}

fn solved(code: &str) -> Polled {
    Polled::Ended(Outcome::from_code(code))
}

fn subscribed(fixture: &Fixture) -> Store {
    let store = fixture.open();
    store.set_rules(Rules { subscribers: vec![WORKERS.to_owned()], ..Rules::new(DEADLINE) });
    store
}

async fn register(fixture: &Fixture, store: &Store, ids: &[&str]) {
    store.register(ids.iter().map(|id| fixture.registration(id)).collect()).await.unwrap();
}

async fn due(store: &Store) -> Vec<(String, u32)> {
    let due = store.claim_polls(Some("main".into()), 10).await.unwrap();
    due.into_iter().map(|due| (due.id.to_string(), due.polls)).collect()
}

async fn unconfirmed(fixture: &Fixture, store: &Store, id: &str, code: &str) {
    let pingback = Pingback { account: Some("main".into()), verify: true, ..fixture.pingback(id, code) };
    keep(store, pingback).await;
}

async fn results(store: &Store) -> Vec<TaskResult> {
    let claim = store.claim(WORKERS, 10, None, LEASE).await.unwrap();
    let mut results = Vec::new();
    for claimed in claim.deliveries {
        assert_eq!(claimed.kind, Kind::Result);
        results.push(serde_json::from_str(&claimed.content).unwrap());
        let (seq, lease, version) = (claimed.seq, claimed.lease, claimed.version);
        let settlement = Settlement { seq, lease, version, outcome: Delivered::Done };
        store.settle(vec![(settlement, Consequences::default())], LEASE).await.unwrap();
    }
    results
}

async fn finish(store: &Store, text: &str) -> Option<(Option<String>, Source)> {
    let finish = store.task(&id(text)).await.unwrap()?.finish?;
    Some((finish.outcome.code().map(str::to_owned), finish.source))
}

#[tokio::test]
async fn a_task_is_asked_for_when_it_is_due_and_then_after_growing_gaps() {
    let fixture = Fixture::new();
    let store = fixture.open();
    register(&fixture, &store, &["1", "2"]).await;
    fixture.pass(Duration::from_secs(119));
    assert_eq!(due(&store).await, []);
    fixture.pass(Duration::from_secs(1));
    assert_eq!(due(&store).await, [("1".to_owned(), 1), ("2".to_owned(), 1)]);
    assert_eq!(due(&store).await, []);
    keep(&store, fixture.pingback("2", "code")).await;
    for (seconds, polls) in [(5, 2), (8, 3), (12, 4)] {
        fixture.pass(Duration::from_secs(seconds - 1));
        assert_eq!(due(&store).await, [], "{seconds}");
        fixture.pass(Duration::from_secs(1));
        assert_eq!(due(&store).await, [("1".to_owned(), polls)]);
    }
    assert_eq!(store.claim_polls(Some("other".into()), 10).await.unwrap(), []);
}

#[tokio::test]
async fn deadlines_survive_restarts_and_a_clock_that_goes_back() {
    let fixture = Fixture::new();
    let store = fixture.open();
    register(&fixture, &store, &["1"]).await;
    fixture.pass(DEADLINE);
    assert_eq!(due(&store).await.len(), 1);
    store.close().await;
    drop(store);
    let store = fixture.open();
    fixture.pass(Duration::from_secs(5));
    assert_eq!(due(&store).await, [("1".to_owned(), 2)]);
    fixture.clock.advance(SignedDuration::from_hours(-48));
    assert_eq!(due(&store).await, [("1".to_owned(), 3)], "nobody starves");
}

#[tokio::test]
async fn the_first_of_pingback_and_poll_wins_and_the_end_is_counted_once() {
    let fixture = Fixture::new();
    let store = subscribed(&fixture);
    register(&fixture, &store, &["1", "2"]).await;
    assert_eq!(store.polled(id("1"), solved("code")).await, Ok(PollDecision::Finish));
    keep(&store, fixture.pingback("1", "code")).await;
    keep(&store, fixture.pingback("2", "code")).await;
    assert_eq!(store.polled(id("2"), solved("code")).await, Ok(PollDecision::Late));
    assert_eq!(finish(&store, "1").await, Some((Some("code".to_owned()), Source::Poll)));
    assert_eq!(finish(&store, "2").await, Some((Some("code".to_owned()), Source::Pingback)));
    assert_eq!(Fixture::count(&fixture.metrics.tasks_finished, &["main", "turnstile"]), 2);
    assert_eq!(Fixture::count(&fixture.metrics.fallback_recovered, &["main"]), 1);
    assert_eq!(fixture.metrics.pingback_duplicates.get(), 1);
    let told: Vec<_> = results(&store).await.into_iter().map(|result| result.id).collect();
    assert_eq!(told, ["1", "2"]);
    assert_eq!(store.queues().await.unwrap()[0].pending, 0);
}

#[tokio::test]
async fn what_is_given_up_ends_as_a_timeout() {
    let fixture = Fixture::new();
    let store = subscribed(&fixture);
    register(&fixture, &store, &["1"]).await;
    assert_eq!(store.polled(id("1"), Polled::GivenUp).await, Ok(PollDecision::Finish));
    let told = results(&store).await;
    assert_eq!((told[0].error.as_deref(), told[0].code.as_deref()), (Some(TIMEOUT), None));
    assert_eq!(Fixture::count(&fixture.metrics.task_errors, &["main", TIMEOUT]), 1);
    assert_eq!(Fixture::count(&fixture.metrics.fallback_recovered, &["main"]), 0);
}

#[tokio::test]
async fn what_nobody_registered_counts_when_the_api_confirms_it() {
    let fixture = Fixture::new();
    let store = subscribed(&fixture);
    unconfirmed(&fixture, &store, "1", "code").await;
    assert_eq!(finish(&store, "1").await, None);
    assert_eq!(
        (results(&store).await, Fixture::count(&fixture.metrics.tasks_finished, &["main", "other"])),
        (vec![], 0)
    );
    assert_eq!(store.queues().await.unwrap().iter().map(|queue| queue.pending).sum::<u64>(), 0, "nobody waits for it");
    assert_eq!(due(&store).await, [("1".to_owned(), 1)], "at once");
    assert_eq!(store.polled(id("1"), solved("code")).await, Ok(PollDecision::Confirm));
    assert_eq!(finish(&store, "1").await, Some((Some("code".to_owned()), Source::Pingback)));
    assert_eq!(results(&store).await.len(), 1);
    assert_eq!(Fixture::count(&fixture.metrics.tasks_finished, &["main", "other"]), 1);
}

#[tokio::test]
async fn what_was_made_up_reaches_nobody_and_is_a_dead_letter() {
    let fixture = Fixture::new();
    let store = subscribed(&fixture);
    unconfirmed(&fixture, &store, "1", "forged").await;
    unconfirmed(&fixture, &store, "2", "forged").await;
    assert_eq!(store.polled(id("1"), solved("ERROR_WRONG_CAPTCHA_ID")).await, Ok(PollDecision::Forged));
    assert_eq!(store.polled(id("2"), solved("real")).await, Ok(PollDecision::Contradict));
    assert_eq!(store.task(&id("1")).await, Ok(None));
    assert_eq!(finish(&store, "2").await, Some((Some("real".to_owned()), Source::Poll)));
    let told: Vec<_> = results(&store).await.into_iter().map(|result| result.code).collect();
    assert_eq!(told, [Some("real".to_owned())]);
    assert_eq!(Fixture::count(&fixture.metrics.pingbacks_rejected, &["forged"]), 2);
    let backlogs = store.backlogs().await.unwrap();
    let dead = backlogs.iter().find(|backlog| backlog.destination == "pingback").map(|backlog| backlog.dead);
    assert_eq!(dead, Some(2));
}

#[tokio::test]
async fn whoever_registers_the_task_vouches_for_its_result() {
    let fixture = Fixture::new();
    let store = subscribed(&fixture);
    unconfirmed(&fixture, &store, "1", "code").await;
    fixture.pass(Duration::from_secs(3));
    register(&fixture, &store, &["1"]).await;
    assert_eq!(finish(&store, "1").await, Some((Some("code".to_owned()), Source::Pingback)));
    assert_eq!((results(&store).await.len(), due(&store).await), (1, vec![]));
    assert_eq!(Fixture::count(&fixture.metrics.tasks_finished, &["main", "turnstile"]), 1);
    assert_eq!(store.queues().await.unwrap().iter().map(|queue| queue.pending).sum::<u64>(), 0);
}

#[tokio::test]
async fn a_result_stays_until_everybody_has_it() {
    let fixture = Fixture::new();
    let store = subscribed(&fixture);
    register(&fixture, &store, &["1"]).await;
    keep(&store, fixture.pingback("1", "code")).await;
    fixture.pass(Duration::from_mins(10));
    let retention = Duration::from_mins(1);
    while !store.remove_old(retention).await.unwrap() {}
    assert!(finish(&store, "1").await.is_some());
    let told = results(&store).await;
    assert_eq!((told[0].code.as_deref(), told[0].captcha.as_str()), (Some("code"), "turnstile"));
    while !store.remove_old(retention).await.unwrap() {}
    assert_eq!(store.task(&id("1")).await, Ok(None));
}

#[tokio::test]
async fn other_rules_hold_from_now_on() {
    let fixture = Fixture::new();
    let store = subscribed(&fixture);
    let soon = Fallback { after: Duration::from_secs(1), ..Fallback::default() };
    store.set_rules(Rules { fallback: soon, ..Rules::new(DEADLINE) });
    register(&fixture, &store, &["1"]).await;
    fixture.pass(Duration::from_secs(1));
    assert_eq!(due(&store).await.len(), 1);
    keep(&store, fixture.pingback("1", "code")).await;
    assert_eq!(results(&store).await, []);
}

#[tokio::test]
async fn a_pingback_that_is_tried_again_is_what_it_was() {
    let fixture = Fixture::new();
    let store = subscribed(&fixture);
    let submitted_at = fixture.clock.now();
    fixture.pass(Duration::from_secs(3));
    let said = Pingback {
        account: Some("main".into()),
        captcha: "turnstile".into(),
        submitted_at: Some(submitted_at),
        verify: true,
        ..fixture.pingback("1", "code")
    };
    keep(&store, said).await;
    store.polled(id("1"), Polled::GivenUp).await.unwrap();
    let letter = store.dead_letters(0, 1).await.unwrap().remove(0);
    assert_eq!(store.retry_dead_letter(letter.id, vec![]).await.unwrap().sources, ["pingback"]);
    let task = store.task(&id("1")).await.unwrap().unwrap();
    assert_eq!(
        (task.account.as_deref(), &*task.captcha, task.submitted_at),
        (Some("main"), "turnstile", Some(submitted_at))
    );
    assert_eq!(task.claim.unwrap().outcome.code(), Some("code"));
}

#[tokio::test]
async fn a_pingback_is_not_tried_again_while_its_task_is_asked_for() {
    let fixture = Fixture::new();
    let store = subscribed(&fixture);
    unconfirmed(&fixture, &store, "1", "code").await;
    store.polled(id("1"), Polled::GivenUp).await.unwrap();
    let letter = store.dead_letters(0, 1).await.unwrap().remove(0).id;
    let retry = async || store.retry_dead_letter(letter, vec![]).await.unwrap().refused;
    register(&fixture, &store, &["1"]).await;
    assert_eq!(retry().await, [IS_PENDING]);
    store.polled(id("1"), solved("other")).await.unwrap();
    assert_eq!(retry().await, [HAS_ENDED]);
    assert_eq!(store.dead_letters(0, 1).await.unwrap().len(), 1, "and it is kept");
}

/// A code that was confirmed hours later is as stale as one that was told hours later.
#[tokio::test]
async fn a_result_is_as_old_as_its_pingback_however_late_it_is_confirmed() {
    let fixture = Fixture::new();
    let store = subscribed(&fixture);
    let received_at = fixture.clock.now();
    unconfirmed(&fixture, &store, "late", "code").await;
    fixture.pass(Duration::from_hours(5));
    store.polled(id("late"), solved("code")).await.unwrap();
    let claim = store.claim(WORKERS, 10, None, LEASE).await.unwrap();
    assert_eq!(claim.deliveries[0].state_at, received_at);
}

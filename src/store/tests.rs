//! What every store must do, whatever is behind it.

#![expect(clippy::float_cmp, reason = "the values are whole numbers of seconds and records")]

mod faults;
mod outbox;
mod recovery;

use jiff::SignedDuration;
use tempfile::TempDir;

use super::*;
use crate::domain::clock::{Clock, ManualClock};
use crate::domain::error_code::TIMEOUT;
use crate::domain::task::{Outcome, Source};
use crate::metrics::LabelSets;

const DEADLINE: Duration = Duration::from_mins(2);

struct Fixture {
    folder: TempDir,
    clock: Arc<ManualClock>,
    metrics: Metrics,
}

impl Fixture {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_second(1_800_000_000).unwrap()));
        let metrics = Metrics::new(&LabelSets::default()).unwrap();
        Self { folder: tempfile::tempdir().unwrap(), clock, metrics }
    }

    fn options(&self) -> Options {
        Options {
            path: self.folder.path().join("data/store.db"),
            spill_dir: self.folder.path().join("spill"),
            rules: Rules::new(DEADLINE),
        }
    }

    fn open(&self) -> Store {
        Store::open(&self.options(), self.metrics.clone(), self.clock.clone()).unwrap()
    }

    fn registration(&self, id: &str) -> Registration {
        Registration {
            id: TaskId::parse(id).unwrap(),
            account: "main".into(),
            captcha: "turnstile".into(),
            submitted_at: self.clock.now(),
            worker: Some("w1".into()),
        }
    }

    fn pingback(&self, id: &str, code: &str) -> Pingback {
        Pingback {
            id: TaskId::parse(id).unwrap(),
            outcome: Outcome::from_code(code),
            received_at: self.clock.now(),
            account: None,
            captcha: "other".into(),
            submitted_at: None,
            verify: false,
        }
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(SignedDuration::try_from(time).unwrap());
    }

    fn count(counter: &prometheus::IntCounterVec, labels: &[&str]) -> u64 {
        counter.with_label_values(labels).get()
    }
}

async fn keep(store: &Store, pingback: Pingback) {
    store.keep_pingback(pingback, Instant::now()).await.unwrap();
}

/// Looks again every few milliseconds until it is so.
async fn eventually(mut is_so: impl FnMut() -> bool) {
    let look = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        while !is_so() {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), look).await.unwrap();
}

async fn task(store: &Store, id: &str) -> Option<Task> {
    store.task(&TaskId::parse(id).unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_task_ends_once_and_survives_a_restart() {
    let fixture = Fixture::new();
    let store = fixture.open();
    store.register(vec![fixture.registration("1"), fixture.registration("2")]).await.unwrap();
    let pending = task(&store, "1").await.unwrap();
    assert_eq!((pending.registered, pending.finish), (true, None));
    fixture.pass(Duration::from_secs(20));
    keep(&store, fixture.pingback("1", "first")).await;
    keep(&store, fixture.pingback("1", "first")).await;
    keep(&store, fixture.pingback("1", "another")).await;
    keep(&store, fixture.pingback("2", "ERROR_CAPTCHA_UNSOLVABLE")).await;
    store.close().await;
    drop(store);

    let metrics = &fixture.metrics;
    assert_eq!(metrics.pingback_duplicates.get(), 1);
    assert_eq!(metrics.pingback_conflicts.get(), 1);
    assert_eq!(Fixture::count(&metrics.tasks_submitted, &["main", "turnstile"]), 2);
    assert_eq!(Fixture::count(&metrics.tasks_finished, &["main", "turnstile"]), 2);
    assert_eq!(Fixture::count(&metrics.tasks_failed, &["main", "turnstile"]), 1);
    assert_eq!(Fixture::count(&metrics.task_errors, &["main", "ERROR_CAPTCHA_UNSOLVABLE"]), 1);
    assert_eq!(Fixture::count(&metrics.pingbacks_expected, &["main"]), 2);
    assert_eq!(Fixture::count(&metrics.pingbacks_missed, &["main"]), 0);
    let duration = metrics.solve_duration.with_label_values(&["main", "turnstile"]);
    assert_eq!((duration.get_sample_count(), duration.get_sample_sum()), (1, 20.0));

    let store = fixture.open();
    let solved = task(&store, "1").await.unwrap().finish.unwrap();
    assert_eq!((solved.outcome.code(), solved.source), (Some("first"), Source::Pingback));
    assert_eq!(solved.at, fixture.clock.now());
    let failed = task(&store, "2").await.unwrap().finish.unwrap();
    assert_eq!(failed.outcome.error(), Some("ERROR_CAPTCHA_UNSOLVABLE"));
    assert_eq!(task(&store, "3").await, None);
}

#[tokio::test]
async fn a_pingback_that_is_faster_than_its_registration_is_joined() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let submitted = fixture.registration("1");
    fixture.pass(Duration::from_secs(7));
    keep(&store, fixture.pingback("1", "code")).await;
    assert_eq!(Fixture::count(&fixture.metrics.tasks_finished, &["unknown", "other"]), 1);
    assert_eq!(Fixture::count(&fixture.metrics.pingbacks_expected, &["main"]), 0);

    store.register(vec![submitted.clone(), submitted.clone()]).await.unwrap();
    store.register(vec![submitted]).await.unwrap();
    let joined = task(&store, "1").await.unwrap();
    assert_eq!((joined.account.as_deref(), &*joined.captcha), (Some("main"), "turnstile"));
    assert_eq!(joined.finish.unwrap().outcome.code(), Some("code"));
    assert_eq!(Fixture::count(&fixture.metrics.tasks_submitted, &["main", "turnstile"]), 1);
    assert_eq!(Fixture::count(&fixture.metrics.tasks_finished, &["main", "turnstile"]), 0);
    assert_eq!(Fixture::count(&fixture.metrics.pingbacks_expected, &["main"]), 1);
    let duration = fixture.metrics.solve_duration.with_label_values(&["main", "turnstile"]);
    assert_eq!(duration.get_sample_sum(), 7.0);
    assert_eq!(store.queues().await.unwrap(), []);
}

#[tokio::test]
async fn the_queue_is_counted_without_a_scan_and_across_restarts() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let oldest = fixture.clock.now();
    store.register(vec![fixture.registration("1")]).await.unwrap();
    fixture.pass(Duration::from_secs(5));
    let second = fixture.clock.now();
    store.register(vec![fixture.registration("2"), fixture.registration("3")]).await.unwrap();
    let queue =
        |pending, oldest_submitted_at| vec![super::Queue { account: "main".to_owned(), pending, oldest_submitted_at }];
    assert_eq!(store.queues().await.unwrap(), queue(3, Some(oldest)));
    keep(&store, fixture.pingback("1", "code")).await;
    store.close().await;
    drop(store);
    let store = fixture.open();
    assert_eq!(store.queues().await.unwrap(), queue(2, Some(second)));
    keep(&store, fixture.pingback("2", "code")).await;
    keep(&store, fixture.pingback("3", "ERROR_X")).await;
    assert_eq!(store.queues().await.unwrap(), queue(0, None));
}

#[tokio::test]
async fn a_pingback_is_expected_at_its_arrival_or_missed_at_its_deadline_never_both() {
    let fixture = Fixture::new();
    let store = fixture.open();
    store
        .register(vec![fixture.registration("1"), fixture.registration("2"), fixture.registration("3")])
        .await
        .unwrap();
    keep(&store, fixture.pingback("1", "code")).await;
    fixture.pass(DEADLINE.saturating_sub(Duration::from_millis(1)));
    assert_eq!(store.pass_deadlines(10).await, Ok(0));
    fixture.pass(Duration::from_millis(1));
    assert_eq!(store.pass_deadlines(1).await, Ok(1));
    assert_eq!(store.pass_deadlines(10).await, Ok(1));
    assert_eq!(store.pass_deadlines(10).await, Ok(0));
    keep(&store, fixture.pingback("2", "late")).await;
    assert_eq!(Fixture::count(&fixture.metrics.pingbacks_expected, &["main"]), 3);
    assert_eq!(Fixture::count(&fixture.metrics.pingbacks_missed, &["main"]), 2);
    assert_eq!(task(&store, "2").await.unwrap().finish.unwrap().outcome.code(), Some("late"));
}

/// Who asks early must not hide that pingbacks get lost.
#[tokio::test]
async fn a_poll_that_is_first_leaves_the_pingback_expected() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let ids = ["same", "other", "lost"];
    store.register(ids.iter().map(|id| fixture.registration(id)).collect()).await.unwrap();
    for id in ids {
        let polled = crate::store::Polled::Ended(Outcome::from_code("code"));
        store.polled(TaskId::parse(id).unwrap(), polled).await.unwrap();
    }
    for _ in 0..2 {
        keep(&store, fixture.pingback("same", "code")).await;
        keep(&store, fixture.pingback("other", "another")).await;
    }
    fixture.pass(DEADLINE);
    assert_eq!(store.pass_deadlines(10).await, Ok(1));
    assert_eq!(Fixture::count(&fixture.metrics.pingbacks_expected, &["main"]), 3);
    assert_eq!(Fixture::count(&fixture.metrics.pingbacks_missed, &["main"]), 1);
}

#[tokio::test]
async fn a_long_poll_is_woken_by_the_result() {
    let fixture = Fixture::new();
    let store = fixture.open();
    store.register(vec![fixture.registration("1")]).await.unwrap();
    let stop = CancellationToken::new();
    let id = TaskId::parse("1").unwrap();
    let wait = store.wait_for_end(&id, Duration::from_mins(1), &stop);
    let (ended, ()) = tokio::join!(wait, keep(&store, fixture.pingback("1", "code")));
    assert_eq!(ended.unwrap().unwrap().finish.unwrap().outcome.code(), Some("code"));
    // It has ended, so nobody waits; and what is unknown is not waited for.
    let again = store.wait_for_end(&id, Duration::from_mins(1), &stop).await.unwrap().unwrap();
    assert!(again.finish.is_some());
    let unknown = TaskId::parse("2").unwrap();
    assert_eq!(store.wait_for_end(&unknown, Duration::from_mins(1), &stop).await, Ok(None));
}

#[tokio::test]
async fn a_long_poll_ends_with_its_time_or_the_program() {
    let fixture = Fixture::new();
    let store = fixture.open();
    store.register(vec![fixture.registration("1")]).await.unwrap();
    let id = TaskId::parse("1").unwrap();
    let stop = CancellationToken::new();
    let pending = store.wait_for_end(&id, Duration::from_millis(1), &stop).await.unwrap().unwrap();
    assert_eq!(pending.finish, None);
    stop.cancel();
    let pending = store.wait_for_end(&id, Duration::from_hours(1), &stop).await.unwrap().unwrap();
    assert_eq!(pending.finish, None);
}

#[tokio::test]
async fn old_tasks_are_removed_in_small_steps() {
    let fixture = Fixture::new();
    let retention = Duration::from_hours(24);
    let store = fixture.open();
    store.register(vec![fixture.registration("stuck")]).await.unwrap();
    for number in 0..600 {
        keep(&store, fixture.pingback(&format!("old-{number}"), "code")).await;
    }
    fixture.pass(Duration::from_hours(20));
    keep(&store, fixture.pingback("young", "code")).await;
    assert_eq!(store.remove_old(retention).await, Ok(true), "nothing is old yet");
    assert!(task(&store, "old-0").await.is_some());
    fixture.pass(Duration::from_hours(4) + Duration::from_millis(1));
    let mut steps = 1;
    while !store.remove_old(retention).await.unwrap() {
        steps += 1;
        assert!(steps < 10);
    }
    assert!(steps > 1, "256 at a time");
    for number in 0..600 {
        assert_eq!(task(&store, &format!("old-{number}")).await, None);
    }
    assert!(task(&store, "young").await.is_some());
    let given_up = task(&store, "stuck").await.unwrap().finish.unwrap();
    assert_eq!((given_up.outcome.error(), given_up.source), (Some(TIMEOUT), Source::Poll));
    assert_eq!(Fixture::count(&fixture.metrics.task_errors, &["main", TIMEOUT]), 1);
    assert_eq!(store.queues().await.unwrap()[0].pending, 0);
}

#[tokio::test]
async fn each_contradiction_is_one_dead_letter_however_often_it_is_repeated() {
    let fixture = Fixture::new();
    let store = fixture.open();
    store.register(vec![fixture.registration("1")]).await.unwrap();
    for code in ["first", "another", "another", "a third"] {
        keep(&store, fixture.pingback("1", code)).await;
    }
    let dead: Vec<_> = store.backlogs().await.unwrap().iter().map(|backlog| backlog.dead).collect();
    let added = Fixture::count(&fixture.metrics.dead_letters_added, &["pingback", "conflict"]);
    assert_eq!((dead, added, fixture.metrics.pingback_conflicts.get()), (vec![2], 2, 3), "each that differs is kept");
}

#[tokio::test]
async fn a_pingback_that_was_never_confirmed_does_not_vanish() {
    let fixture = Fixture::new();
    let mut options = fixture.options();
    options.rules.subscribers = vec!["subscriber/workers".to_owned()];
    let store = Store::open(&options, fixture.metrics.clone(), fixture.clock.clone()).unwrap();
    keep(&store, Pingback { verify: true, ..fixture.pingback("1", "solution") }).await;
    fixture.pass(Duration::from_hours(25));
    remove_all_old(&store, Duration::from_hours(24)).await;
    assert_eq!(task(&store, "1").await, None);
    let backlogs = store.backlogs().await.unwrap();
    let dead: Vec<_> = backlogs.iter().map(|backlog| (&*backlog.destination, backlog.pending, backlog.dead)).collect();
    assert_eq!(dead, [("pingback", 0, 1)], "nobody is told, and somebody can look it up");
    assert_eq!(Fixture::count(&fixture.metrics.pingbacks_rejected, &["forged"]), 1);
    assert_eq!(Fixture::count(&fixture.metrics.tasks_finished, &["unknown", "other"]), 0);
}

async fn remove_all_old(store: &Store, retention: Duration) {
    for _ in 0..10 {
        if store.remove_old(retention).await.unwrap() {
            return;
        }
    }
    panic!("ten steps and no end");
}

#[tokio::test]
async fn removal_goes_by_the_end_of_a_task_and_comes_back_to_those_it_left() {
    let fixture = Fixture::new();
    let retention = Duration::from_hours(24);
    let store = fixture.open();
    let long: Vec<_> = (0..300).map(|number| format!("long-{number}")).collect();
    store.register(long.iter().map(|id| fixture.registration(id)).collect()).await.unwrap();
    for number in 0..300 {
        keep(&store, fixture.pingback(&format!("short-{number}"), "code")).await;
    }
    fixture.pass(Duration::from_hours(23));
    for id in &long {
        keep(&store, fixture.pingback(id, "code")).await;
    }
    fixture.pass(Duration::from_hours(1) + Duration::from_millis(1));
    remove_all_old(&store, retention).await;
    assert_eq!(task(&store, "short-299").await, None);
    assert!(task(&store, "long-0").await.is_some(), "it ended an hour ago");
    fixture.pass(Duration::from_hours(23));
    remove_all_old(&store, retention).await;
    assert_eq!(task(&store, "long-0").await, None);
    assert_eq!(task(&store, "long-299").await, None);
}

#[tokio::test]
async fn who_waits_for_a_task_that_is_given_up_is_told() {
    let fixture = Fixture::new();
    let store = fixture.open();
    store.register(vec![fixture.registration("1")]).await.unwrap();
    fixture.pass(Duration::from_hours(25));
    let (id, stop) = (TaskId::parse("1").unwrap(), CancellationToken::new());
    let wait = store.wait_for_end(&id, Duration::from_mins(1), &stop);
    let (ended, removed) = tokio::join!(wait, store.remove_old(Duration::from_hours(24)));
    assert_eq!(removed, Ok(true));
    assert_eq!(ended.unwrap().unwrap().finish.unwrap().outcome.error(), Some(TIMEOUT));
}

#[tokio::test]
async fn codes_outside_the_closed_set_are_other() {
    let fixture = Fixture::new();
    let store = fixture.open();
    keep(&store, fixture.pingback("1", "ERROR_INVENTED_BY_SOMEBODY")).await;
    assert_eq!(Fixture::count(&fixture.metrics.task_errors, &["unknown", "other"]), 1);
    assert_eq!(task(&store, "1").await.unwrap().finish.unwrap().outcome.error(), Some("ERROR_INVENTED_BY_SOMEBODY"));
}

#[tokio::test]
async fn balances_survive_a_restart() {
    let fixture = Fixture::new();
    let store = fixture.open();
    assert_eq!(store.balances().await.unwrap(), []);
    let balance = Balance { usd: 1.5, spend_usd: 8.5, topups_usd: 10.0, read_at: fixture.clock.now() };
    store.save_balance("main", balance).await.unwrap();
    store.register(vec![fixture.registration("1")]).await.unwrap();
    store.close().await;
    drop(store);
    assert_eq!(fixture.open().balances().await.unwrap(), [("main".to_owned(), balance)]);
}

#[tokio::test]
async fn a_solve_of_a_day_is_a_mistake_and_not_a_duration() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let early = Timestamp::from_second(946_684_800).unwrap();
    keep(&store, Pingback { submitted_at: Some(early), ..fixture.pingback("1", "code") }).await;
    let duration = fixture.metrics.solve_duration.with_label_values(&["unknown", "other"]);
    assert_eq!(duration.get_sample_count(), 0);
    assert_eq!(Fixture::count(&fixture.metrics.tasks_finished, &["unknown", "other"]), 1);
}

#[tokio::test]
async fn a_duration_is_counted_once_whoever_names_the_submission() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let submitted = fixture.registration("1");
    fixture.pass(Duration::from_secs(7));
    let early = Pingback {
        submitted_at: Some(submitted.submitted_at),
        account: Some("main".into()),
        captcha: "turnstile".into(),
        ..fixture.pingback("1", "code")
    };
    keep(&store, early).await;
    store.register(vec![submitted]).await.unwrap();
    let duration = fixture.metrics.solve_duration.with_label_values(&["main", "turnstile"]);
    assert_eq!((duration.get_sample_count(), duration.get_sample_sum()), (1, 7.0));
}

#[tokio::test]
async fn a_short_retention_removes_results_and_not_those_who_wait() {
    let fixture = Fixture::new();
    let retention = Duration::from_secs(1);
    let store = fixture.open();
    store.register(vec![fixture.registration("waits"), fixture.registration("ends")]).await.unwrap();
    keep(&store, fixture.pingback("ends", "code")).await;
    fixture.pass(Duration::from_secs(2));
    assert_eq!(store.remove_old(retention).await, Ok(true));
    assert_eq!(task(&store, "ends").await, None);
    assert_eq!(task(&store, "waits").await.unwrap().finish, None);
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let fixture = Fixture::new();
    let store = fixture.open();
    store.close().await;
    assert_eq!(store.register(vec![fixture.registration("1")]).await, Err(StoreError::Unavailable));
}

#[tokio::test]
async fn activity_names_ratio_and_workers() {
    let fixture = Fixture::new();
    let store = fixture.open();
    assert_eq!(store.activity("main"), Activity { solve_ratio: vec![None, None], workers: 0 });
    store.register(vec![fixture.registration("1"), fixture.registration("2")]).await.unwrap();
    keep(&store, fixture.pingback("1", "code")).await;
    keep(&store, fixture.pingback("2", "ERROR_X")).await;
    assert_eq!(store.activity("main"), Activity { solve_ratio: vec![Some(0.5), Some(0.5)], workers: 1 });
}

#[tokio::test]
async fn many_writers_share_a_commit() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let pingbacks = (0..2000).map(|number| fixture.pingback(&number.to_string(), "code"));
    let mut tasks = tokio::task::JoinSet::new();
    for pingback in pingbacks {
        let store = store.clone();
        tasks.spawn(async move { store.keep_pingback(pingback, Instant::now()).await });
    }
    while let Some(kept) = tasks.join_next().await {
        assert_eq!(kept.unwrap(), Ok(()));
    }
    let commits = fixture.metrics.store_batch_rows.get_sample_count();
    assert!(commits < 2000, "{commits} commits");
    assert_eq!(fixture.metrics.store_batch_rows.get_sample_sum(), 2000.0);
}

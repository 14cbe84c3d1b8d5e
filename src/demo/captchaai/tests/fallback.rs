use super::balance::{Bench, at};
use super::*;
use crate::captchaai::fallback::FallbackPoller;
use crate::domain::error_code::TIMEOUT;
use crate::domain::fallback::Fallback;
use crate::domain::task::{Finish, Outcome, Pingback, Registration, Source, TaskId};
use std::time::Instant;
use tokio::sync::Semaphore;

const NOT_READY: &str = r#"{"status":0,"request":"CAPCHA_NOT_READY"}"#;
const SOLVED: &str = r#"{"status":1,"request":"code"}"#;

fn id(text: &str) -> TaskId {
    TaskId::parse(text).unwrap()
}

fn poller(bench: &Bench) -> FallbackPoller {
    let turns = Arc::new(Semaphore::new(16));
    FallbackPoller::of(account(&bench.service), Fallback::default(), turns, bench.shared.clone())
}

async fn register(bench: &Bench, ids: &[&str]) {
    let task = |text: &&str| Registration {
        id: id(text),
        account: "main".into(),
        captcha: "turnstile".into(),
        submitted_at: bench.shared.clock.now(),
        worker: None,
    };
    bench.shared.store.register(ids.iter().map(task).collect()).await.unwrap();
}

fn answers(bench: &Bench, texts: &[&str]) {
    for text in texts {
        bench.service.script(Action::Get, &Fault::Answer((*text).to_owned()), 1);
    }
}

async fn finish(bench: &Bench, text: &str) -> Option<Finish> {
    bench.shared.store.task(&id(text)).await.unwrap().and_then(|task| task.finish)
}

fn asked(bench: &Bench) -> u64 {
    bench.service.counts().result_requests
}

#[tokio::test]
async fn a_result_whose_pingback_was_lost_is_asked_for_until_it_is_there() {
    let bench = Bench::new().await;
    register(&bench, &["1"]).await;
    let mut poller = poller(&bench);
    poller.step().await.unwrap();
    assert_eq!(asked(&bench), 0, "not yet");
    answers(&bench, &[NOT_READY, SOLVED]);
    for (seconds, questions) in [(120, 1), (4, 1), (1, 2)] {
        bench.pass(seconds);
        poller.step().await.unwrap();
        assert_eq!(asked(&bench), questions, "{seconds}");
    }
    let expected = Finish { outcome: Outcome::from_code("code"), at: at(125), source: Source::Poll };
    assert_eq!(finish(&bench, "1").await, Some(expected));
    let metrics = &bench.shared.metrics;
    assert_eq!(metrics.fallback_polls.with_label_values(&["main"]).get(), 2);
    assert_eq!(metrics.fallback_recovered.with_label_values(&["main"]).get(), 1);
    assert_eq!(metrics.api_requests.with_label_values(&["main", "get"]).get(), 2);
}

#[tokio::test]
async fn what_fails_for_good_ends_the_task_and_what_may_heal_does_not() {
    let bench = Bench::new().await;
    register(&bench, &["1", "2", "3"]).await;
    answers(&bench, &["ERROR_CAPTCHA_UNSOLVABLE", "ERROR_ZERO_BALANCE", "<html>"]);
    bench.pass(120);
    poller(&bench).step().await.unwrap();
    let mut ended = Vec::new();
    for text in ["1", "2", "3"] {
        ended.extend(finish(&bench, text).await.and_then(|finish| finish.outcome.error().map(str::to_owned)));
    }
    assert_eq!(ended, ["ERROR_CAPTCHA_UNSOLVABLE"]);
}

#[tokio::test]
async fn a_service_that_is_asked_too_much_is_asked_less() {
    for trouble in ["ERROR_TOO_MUCH_REQUESTS", "ERROR_SERVER_ERROR"] {
        let bench = Bench::new().await;
        register(&bench, &["1"]).await;
        bench.pass(120);
        answers(&bench, &[trouble, trouble, SOLVED]);
        let mut poller = poller(&bench);
        assert_eq!(poller.step().await, Ok(Duration::from_secs(10)), "{trouble}");
        bench.pass(10);
        assert_eq!(poller.step().await, Ok(Duration::from_secs(20)), "{trouble}");
        bench.pass(20);
        assert_eq!(poller.step().await, Ok(Duration::from_secs(1)), "{trouble}");
        assert!(finish(&bench, "1").await.is_some());
    }
    let bench = Bench::new().await;
    register(&bench, &["1"]).await;
    bench.pass(120);
    bench.service.script(Action::Get, &Fault::Status(502), 1);
    assert_eq!(poller(&bench).step().await, Ok(Duration::from_secs(10)));
}

#[tokio::test]
async fn a_refused_key_is_not_used_until_it_works() {
    let bench = Bench::new().await;
    register(&bench, &["1"]).await;
    bench.pass(120);
    answers(&bench, &["ERROR_WRONG_USER_KEY", SOLVED]);
    let mut poller = poller(&bench);
    for _ in 0..5 {
        poller.step().await.unwrap();
        bench.pass(60);
    }
    assert_eq!((asked(&bench), finish(&bench, "1").await), (1, None));
    // As the balance poller does when it succeeds.
    bench.shared.keys.clear("main");
    poller.step().await.unwrap();
    assert!(finish(&bench, "1").await.is_some());
}

#[tokio::test]
async fn what_never_comes_is_given_up_by_age_and_not_because_the_date_jumps() {
    let bench = Bench::new().await;
    register(&bench, &["1"]).await;
    bench.service.script(Action::Get, &Fault::Answer(NOT_READY.to_owned()), 100);
    let mut poller = poller(&bench);
    // The clock jumps a day ahead: the task is asked for a few times before it is given up.
    bench.pass(86_400);
    for question in 1..=3 {
        assert_eq!(finish(&bench, "1").await, None, "{question}");
        poller.step().await.unwrap();
        bench.pass(60);
    }
    assert_eq!(finish(&bench, "1").await.unwrap().outcome.error(), Some(TIMEOUT));
    assert_eq!(asked(&bench), 3);
}

/// A pingback that is not confirmed yet.
async fn claim(bench: &Bench, account: Option<&str>) {
    let pingback = Pingback {
        id: id("1"),
        outcome: Outcome::from_code("code"),
        received_at: at(0),
        account: account.map(Into::into),
        captcha: "other".into(),
        submitted_at: None,
        verify: true,
    };
    bench.shared.store.keep_pingback(pingback, Instant::now()).await.unwrap();
}

async fn second_account(bench: &Bench) -> (SimulatedCaptchaAi, FallbackPoller) {
    let other = start(Odds::NONE).await;
    let second = Account { name: "second".into(), ..account(&other) };
    let accounts = vec![account(&bench.service), second];
    let turns = Arc::new(Semaphore::new(16));
    let poller = FallbackPoller::of_unknown(accounts, Fallback::default(), turns, bench.shared.clone());
    (other, poller)
}

#[tokio::test]
async fn a_task_of_no_known_account_is_looked_for_in_all() {
    let bench = Bench::new().await;
    claim(&bench, None).await;
    let (other, mut poller) = second_account(&bench).await;
    answers(&bench, &["ERROR_WRONG_CAPTCHA_ID"]);
    other.script(Action::Get, &Fault::Answer(SOLVED.to_owned()), 1);
    poller.step().await.unwrap();
    assert_eq!((asked(&bench), other.counts().result_requests), (1, 1));
    assert_eq!(finish(&bench, "1").await.unwrap().source, Source::Pingback);
}

#[tokio::test]
async fn nothing_is_made_up_because_the_account_that_knows_it_does_not_answer() {
    for silent in ["<html>", "ERROR_WRONG_USER_KEY"] {
        let bench = Bench::new().await;
        claim(&bench, None).await;
        let (other, mut poller) = second_account(&bench).await;
        other.script(Action::Get, &Fault::Answer("ERROR_WRONG_CAPTCHA_ID".to_owned()), 100);
        bench.service.script(Action::Get, &Fault::Answer(silent.to_owned()), 100);
        for _ in 0..20 {
            bench.pass(60);
            poller.step().await.unwrap();
        }
        let kept = bench.shared.store.task(&id("1")).await.unwrap();
        assert!(kept.is_some_and(|task| task.claim.is_some()), "{silent}");
        assert!(other.counts().result_requests >= 10, "{silent}: {:?}", other.counts());
    }
}

#[tokio::test]
async fn nothing_is_made_up_because_the_api_is_down_and_what_waits_for_a_result_is_given_up() {
    let bench = Bench::new().await;
    register(&bench, &["2"]).await;
    claim(&bench, Some("main")).await;
    let mut poller = poller(&bench);
    bench.service.script(Action::Get, &Fault::Answer("<html>".to_owned()), 40);
    for _ in 0..20 {
        bench.pass(60);
        poller.step().await.unwrap();
    }
    assert_eq!(finish(&bench, "2").await.unwrap().outcome.error(), Some(TIMEOUT));
    assert!(bench.shared.store.task(&id("1")).await.unwrap().is_some_and(|task| task.claim.is_some()));
    bench.service.script(Action::Get, &Fault::Answer(SOLVED.to_owned()), 100);
    for _ in 0..40 {
        bench.pass(60);
        poller.step().await.unwrap();
    }
    assert_eq!(finish(&bench, "1").await.unwrap().source, Source::Pingback);
}

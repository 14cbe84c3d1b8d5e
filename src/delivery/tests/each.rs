//! Rows that are told at one time, as results are.

use std::time::Instant;

use super::*;
use crate::domain::task::{Outcome, Pingback, TaskId};

const WORKERS: &str = "subscriber/workers";

/// The same notifier, told of four rows at one time.
#[derive(Debug)]
struct Many(Fake);

impl Notifier for Many {
    type Request = String;
    const CONCURRENT: usize = 4;

    fn next(&self, job: &Job, context: &Context<'_>) -> Step<String> {
        self.0.next(job, context)
    }

    fn told(&self, job: &Job, request: &String, receipt: &Receipt, now: Timestamp) -> Option<String> {
        self.0.told(job, request, receipt, now)
    }

    fn body(&self, request: &String) -> serde_json::Value {
        self.0.body(request)
    }

    async fn send(&self, request: &String) -> Result<Receipt, SendError> {
        self.0.send(request).await
    }
}

fn worker(fixture: &Fixture) -> Worker<Many> {
    let rules = Rules { subscribers: vec![WORKERS.to_owned()], ..Rules::new(Duration::from_mins(2)) };
    fixture.shared.store.set_rules(rules);
    let (rng, shared) = (fastrand::Rng::with_seed(7), fixture.shared.clone());
    let age = Duration::from_mins(2);
    let peers = fixture.peers.clone();
    Worker::new(Many(fixture.fake.clone()), WORKERS.to_owned(), "f".to_owned(), age, peers, shared, rng)
}

async fn results(fixture: &Fixture, ids: std::ops::Range<usize>) {
    for id in ids {
        let pingback = Pingback {
            id: TaskId::parse(&id.to_string()).unwrap(),
            outcome: Outcome::from_code("code"),
            received_at: fixture.clock.now(),
            account: None,
            captcha: "other".into(),
            submitted_at: None,
            verify: false,
        };
        fixture.shared.store.keep_pingback(pingback, Instant::now()).await.unwrap();
    }
}

/// Steps until there is nothing to do now; how long it would rest then.
async fn work(worker: &mut Worker<Many>) -> Duration {
    for _ in 0..100 {
        match worker.step().await.unwrap() {
            Next::Now => {}
            Next::After(rest) | Next::Pause(rest) => return rest,
        }
    }
    panic!("does not come to rest");
}

#[tokio::test]
async fn one_that_fails_does_not_hold_up_the_others() {
    let fixture = Fixture::new();
    let mut worker = worker(&fixture);
    results(&fixture, 0..6).await;
    fixture.fake.answers([retry()]);
    work(&mut worker).await;
    assert_eq!(fixture.fake.requests().len(), 6);
    assert_eq!(fixture.left(WORKERS).await, (1, 0));
    fixture.pass(Duration::from_secs(2));
    work(&mut worker).await;
    assert_eq!(fixture.fake.requests(), ["result 0"]);
    assert_eq!(fixture.left(WORKERS).await, (0, 0));
}

#[tokio::test]
async fn a_subscriber_that_is_down_is_left_alone_and_probed() {
    let fixture = Fixture::new();
    let mut worker = worker(&fixture);
    results(&fixture, 0..12).await;
    fixture.fake.answers((0..9).map(|_| retry()));
    assert_eq!(work(&mut worker).await, Duration::from_secs(2), "what failed at one time is one sign");
    assert_eq!(fixture.fake.requests().len(), 8);
    fixture.pass(Duration::from_secs(2));
    assert_eq!(work(&mut worker).await, Duration::from_secs(4));
    assert_eq!(fixture.fake.requests().len(), 1, "a probe goes alone");
    fixture.pass(Duration::from_secs(4));
    work(&mut worker).await;
    fixture.pass(Duration::from_mins(1));
    work(&mut worker).await;
    assert_eq!(fixture.left(WORKERS).await, (0, 0));
    assert_eq!(fixture.fake.requests().len(), 12);
}

#[tokio::test]
async fn stale_results_are_dead_letters_and_nobody_is_woken_for_them() {
    let mut fixture = Fixture::new();
    fixture.peers.messages = vec!["discord/other".to_owned()];
    let mut worker = worker(&fixture);
    results(&fixture, 0..5).await;
    fixture.pass(Duration::from_secs(121));
    work(&mut worker).await;
    assert_eq!(fixture.fake.requests(), Vec::<String>::new());
    assert_eq!((fixture.left(WORKERS).await, fixture.left("discord/other").await), ((0, 5), (0, 0)));
    assert_eq!(fixture.shared.metrics.dead_letters_added.with_label_values(&[WORKERS, "expired"]).get(), 5);
}

#[tokio::test]
async fn a_letter_says_why_it_was_not_told_in_time() {
    let fixture = Fixture::new();
    let mut worker = worker(&fixture);
    results(&fixture, 0..1).await;
    fixture.fake.answers([retry()]);
    work(&mut worker).await;
    fixture.pass(Duration::from_secs(121));
    work(&mut worker).await;
    let letters = fixture.shared.store.dead_letters(0, 10).await.unwrap();
    let told: Vec<_> = letters.iter().map(|letter| (letter.attempts, letter.last_error.clone().unwrap())).collect();
    assert_eq!(told, [(1, "it was too old before it could be told: status 503".to_owned())]);
}

#[tokio::test]
async fn one_that_is_gone_is_told_nothing_more() {
    let mut fixture = Fixture::new();
    fixture.peers.messages = vec!["discord/other".to_owned()];
    let mut worker = worker(&fixture);
    results(&fixture, 0..4).await;
    let gone = || SendError::Unusable { why: "status 410 Gone".to_owned() };
    fixture.fake.answers([gone(), gone(), gone(), gone()]);
    work(&mut worker).await;
    fixture.pass(Duration::from_mins(1));
    work(&mut worker).await;
    assert_eq!(fixture.fake.requests().len(), 4);
    assert_eq!(fixture.left(WORKERS).await, (4, 0));
    assert_eq!(fixture.left("discord/other").await, (1, 0), "said once");
}

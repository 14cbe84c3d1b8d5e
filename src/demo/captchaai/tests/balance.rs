use std::io;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tracing::Level;

use super::*;
use crate::captchaai::balance::{BalancePoller, Shared};
use crate::captchaai::balance_pollers;
use crate::captchaai::client::Client;
use crate::captchaai::error::REASONS;
use crate::captchaai::gate::KeyGate;
use crate::domain::balance::Balance;
use crate::domain::clock::ManualClock;
use crate::metrics::{LabelSets, Metrics};
use crate::store::{self, Store};

/// The second at which the clock stands at first.
const START: i64 = 1_700_000_000;

pub(super) struct Bench {
    pub(super) service: SimulatedCaptchaAi,
    pub(super) shared: Shared,
    clock: Arc<ManualClock>,
    _folder: TempDir,
}

impl Bench {
    pub(super) async fn new() -> Self {
        let labels = LabelSets {
            accounts: vec!["main".to_owned()],
            api_failure_reasons: REASONS.to_vec(),
            ..LabelSets::default()
        };
        let metrics = Metrics::new(&labels).unwrap();
        let clock = Arc::new(ManualClock::new(at(0)));
        let folder = tempfile::tempdir().unwrap();
        let options = store::Options {
            path: folder.path().join("test.db"),
            spill_dir: folder.path().join("spill"),
            rules: crate::store::Rules::new(Duration::from_mins(2)),
        };
        let store = Store::open(&options, metrics.clone(), clock.clone()).unwrap();
        // Short enough to wait for, and long enough for a busy machine.
        let client = Client::with_timeout(Duration::from_secs(1)).unwrap();
        let shared = Shared { client, store, metrics, clock: clock.clone(), keys: KeyGate::default() };
        Self { service: start(Odds::NONE).await, shared, clock, _folder: folder }
    }

    fn poller(&self, kept: Option<Balance>) -> BalancePoller {
        BalancePoller::new(account(&self.service), kept, self.shared.clone(), fastrand::Rng::with_seed(1))
    }

    /// `up`, balance, spend, top-ups and the second of the last success since the start.
    #[track_caller]
    fn check(&self, up: i64, balance: f64, spend: f64, topups: f64, last_success: Option<f64>) {
        let metrics = &self.shared.metrics;
        let main = &["main"];
        let shown = (
            metrics.up.with_label_values(main).get(),
            metrics.account_balance.with_label_values(main).get(),
            metrics.account_spend.with_label_values(main).get(),
            metrics.account_topups.with_label_values(main).get(),
            metrics.balance_last_success.with_label_values(main).get(),
        );
        let last_success = last_success.map_or(0.0, |second| START as f64 + second);
        assert_eq!(shown, (up, balance, spend, topups, last_success));
    }

    fn failures(&self, reason: &str) -> u64 {
        self.shared.metrics.api_request_failures.with_label_values(&["main", "getbalance", reason]).get()
    }

    pub(super) fn pass(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
    }
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(START + second).unwrap()
}

fn between(delay: Duration, low: u64, high: u64) {
    assert!((Duration::from_secs(low)..=Duration::from_secs(high)).contains(&delay), "{delay:?}");
}

#[tokio::test]
async fn the_balance_is_shown_and_kept_and_its_changes_are_summed() {
    let bench = Bench::new().await;
    let mut poller = bench.poller(None);
    bench.check(0, 0.0, 0.0, 0.0, None);
    bench.pass(1);
    between(poller.step().await, 54, 66);
    bench.check(1, 25.0, 0.0, 0.0, Some(1.0));
    bench.service.set_balance(22.5);
    bench.pass(60);
    poller.step().await;
    bench.service.set_balance(32.5);
    bench.pass(60);
    poller.step().await;
    bench.check(1, 32.5, 2.5, 10.0, Some(121.0));
    let read_at = at(121);
    let kept = Balance { usd: 32.5, spend_usd: 2.5, topups_usd: 10.0, read_at };
    assert_eq!(bench.shared.store.balances().await, Ok(vec![("main".to_owned(), kept)]));
    let metrics = &bench.shared.metrics;
    assert_eq!(metrics.api_requests.with_label_values(&["main", "getbalance"]).get(), 3);
    assert_eq!(metrics.api_request_duration.with_label_values(&["getbalance"]).get_sample_count(), 3);
}

#[tokio::test]
async fn a_failed_poll_leaves_the_balance_and_is_counted_by_its_reason() {
    let bench = Bench::new().await;
    let mut poller = bench.poller(None);
    bench.pass(1);
    poller.step().await;
    for (number, (fault, reason)) in [
        (Fault::Status(503), "http"),
        (Fault::Hang, "timeout"),
        (Fault::Answer("0,5".to_owned()), "malformed"),
        (Fault::Answer("ERROR_ZERO_BALANCE".to_owned()), "funds"),
        (Fault::Answer("ERROR_NO_SLOT_AVAILABLE".to_owned()), "capacity"),
    ]
    .into_iter()
    .enumerate()
    {
        bench.service.script(Action::GetBalance, &fault, 1);
        bench.pass(10);
        let delay = poller.step().await;
        between(delay, 9 << number, 11 << number);
        bench.check(0, 25.0, 0.0, 0.0, Some(1.0));
        assert_eq!(bench.failures(reason), 1, "{reason}");
    }
    bench.pass(10);
    between(poller.step().await, 54, 66);
    bench.check(1, 25.0, 0.0, 0.0, Some(61.0));
    bench.service.script(Action::GetBalance, &Fault::Status(503), 1);
    between(poller.step().await, 9, 11);
    let metrics = &bench.shared.metrics;
    assert_eq!(metrics.api_requests.with_label_values(&["main", "getbalance"]).get(), 8);
    assert_eq!(metrics.api_request_duration.with_label_values(&["getbalance"]).get_sample_count(), 8);
}

#[tokio::test]
async fn a_refused_key_is_not_tried_again_within_the_hour() {
    let bench = Bench::new().await;
    bench.service.set_key("another");
    let mut poller = bench.poller(None);
    assert_eq!(poller.step().await, Duration::from_hours(1));
    assert_eq!(bench.failures("auth"), 1);
    bench.service.set_key(&Options::default().key);
    between(poller.step().await, 54, 66);
}

#[tokio::test]
async fn a_poller_goes_on_from_what_was_kept_and_counts_nothing_twice() {
    let bench = Bench::new().await;
    let read_at = at(-100);
    let kept = Balance { usd: 30.0, spend_usd: 70.0, topups_usd: 100.0, read_at };
    let mut poller = bench.poller(Some(kept));
    bench.check(0, 30.0, 70.0, 100.0, Some(-100.0));
    bench.pass(1);
    poller.step().await;
    bench.check(1, 25.0, 75.0, 100.0, Some(1.0));
    let [(_, kept)] = bench.shared.store.balances().await.unwrap()[..] else { panic!("one account") };
    let mut next = bench.poller(Some(kept));
    bench.check(1, 25.0, 75.0, 100.0, Some(1.0));
    bench.service.set_balance(24.0);
    next.step().await;
    bench.check(1, 24.0, 76.0, 100.0, Some(1.0));
}

#[tokio::test]
async fn a_balance_that_cannot_be_kept_is_not_lost() {
    let bench = Bench::new().await;
    let mut poller = bench.poller(None);
    bench.pass(1);
    poller.step().await;
    bench.shared.store.close().await;
    for (usd, spend) in [(20.0, 5.0), (19.0, 6.0)] {
        bench.service.set_balance(usd);
        between(poller.step().await, 54, 66);
        bench.check(1, usd, spend, 0.0, Some(1.0));
    }
}

#[tokio::test]
async fn each_account_is_asked_until_it_is_stopped() {
    let bench = Bench::new().await;
    let read_at = at(0);
    let kept = |usd| Balance { usd, spend_usd: 0.0, topups_usd: 0.0, read_at };
    let second = Account { name: "second".into(), ..account(&bench.service) };
    let accounts = [account(&bench.service), second];
    let kept = [("second".to_owned(), kept(3.0)), ("gone".to_owned(), kept(4.0))];
    let pollers = balance_pollers(&accounts, &kept, &bench.shared, &mut fastrand::Rng::with_seed(1));
    let balance = |account: &str| bench.shared.metrics.account_balance.with_label_values(&[account]).get();
    assert_eq!((balance("main"), balance("second")), (0.0, 3.0));
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    for poller in pollers {
        tasks.spawn(poller.run(stop.clone()));
    }
    bench.service.wait_for_requests(Action::GetBalance, 2).await.unwrap();
    stop.cancel();
    tasks.join_all().await;
    assert_eq!(bench.service.counts().balance_requests, 2);
}

/// What was logged, as JSON lines.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn each_failure_is_logged_once_and_so_is_the_recovery_and_never_the_key() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().json().with_max_level(Level::TRACE).with_writer(move || writer.clone()).finish();
    let bench = Bench::new().await;
    let key = Options::default().key;
    let mut poller = bench.poller(None);
    let echo = Fault::Answer(format!("ERROR_BAD_PARAMETERS: key={key}"));
    bench.service.script(Action::GetBalance, &echo, 1);
    bench.service.script(Action::GetBalance, &Fault::Answer("ERROR_WRONG_USER_KEY".to_owned()), 1);
    let nowhere = Account { base_url: "http://127.0.0.1:1".to_owned(), ..account(&bench.service) };
    let mut lost = BalancePoller::new(nowhere, None, bench.shared.clone(), fastrand::Rng::with_seed(1));
    {
        let _guard = tracing::subscriber::set_default(subscriber);
        for _ in 0..4 {
            poller.step().await;
        }
        lost.step().await;
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(!log.contains(&key), "{log}");
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ours: Vec<_> = lines.iter().filter(|line| line["fields"]["account"] == "main").collect();
    let levels: Vec<_> = ours.iter().map(|line| line["level"].as_str().unwrap()).collect();
    assert_eq!(levels, ["WARN", "ERROR", "INFO", "WARN"], "{log}");
    assert_eq!(ours[1]["fields"]["until"], "2023-11-14T23:13:20.000Z");
    assert_eq!(ours[2]["fields"]["failures"], 2);
    assert_eq!(ours[3]["fields"]["reason"], "connect");
}

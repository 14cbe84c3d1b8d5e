//! What every destination gets, whatever is behind it: a notifier that does as it is told stands for all.

mod each;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use super::escalation::look;
use super::worker::{Next, Peers, Worker};
use super::{Escalation, Shared};
use crate::domain::alert::tests::{alert, group};
use crate::domain::alert::{Group, Rank};
use crate::domain::clock::{Clock, ManualClock};
use crate::domain::delivery::Route;
use crate::metrics::{LabelSets, Metrics};
use crate::notify::{Content, Context, Job, Notifier, Receipt, SendError, Step};
use crate::store::{Backlog, Heard, Options, Rules, Store};

pub(super) const OWN: &str = "discord/ops";
const MAX_AGE: Duration = Duration::from_hours(24);

/// What the fake destination has seen, and what it will answer.
#[derive(Debug, Default)]
struct Script {
    requests: Vec<String>,
    answers: VecDeque<Result<Receipt, SendError>>,
    /// Whether each group takes two requests.
    in_two_parts: bool,
    /// Requests that begin so are never answered.
    hangs_at: Option<&'static str>,
}

#[derive(Debug, Clone, Default)]
struct Fake(Arc<Mutex<Script>>);

impl Fake {
    fn answers(&self, answers: impl IntoIterator<Item = SendError>) {
        self.0.lock().unwrap().answers.extend(answers.into_iter().map(Err));
    }

    fn takes(&self, receipt: Receipt) {
        self.0.lock().unwrap().answers.push_back(Ok(receipt));
    }

    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().requests)
    }
}

fn line(job: &Job) -> String {
    match &job.content {
        Content::Group(group) => {
            let state = |alert: &crate::domain::alert::Alert| {
                format!("{}{}", if alert.firing { "+" } else { "-" }, alert.name())
            };
            group.alerts.iter().map(state).collect::<Vec<_>>().join(" ")
        }
        Content::Escalation(group) => format!("escalation {}", group.title()),
        Content::Notice(notice) => format!("notice {}", notice.name()),
        Content::Result(result) => format!("result {}", result.id),
    }
}

impl Notifier for Fake {
    type Request = String;
    const STORM: Option<usize> = Some(3);
    const TAKES_NOTICES: bool = true;

    fn next(&self, job: &Job, context: &Context<'_>) -> Step<String> {
        if context.no_credit_until.is_some_and(|until| until > context.now) {
            return Step::Suppress { reason: "no_credit", noted: true, told: job.told.clone() };
        }
        let line = line(job);
        let told = job.told.clone().unwrap_or_default();
        if told == line {
            return Step::Done(job.told.clone());
        }
        let in_two_parts = self.0.lock().unwrap().in_two_parts;
        let part = if told == format!("1/2 {line}") { "2/2 " } else { "1/2 " };
        Step::Send(if in_two_parts { format!("{part}{line}") } else { line })
    }

    fn digest(&self, jobs: &[Job], _: &Context<'_>) -> Option<String> {
        Some(format!("digest of {}", jobs.len()))
    }

    fn may_have_called(&self, _: &String) -> Vec<String> {
        vec!["1".to_owned()]
    }

    fn told(&self, job: &Job, request: &String, _: &Receipt, _: Timestamp) -> Option<String> {
        Some(if request.starts_with("1/2") { request.clone() } else { line(job) })
    }

    fn body(&self, request: &String) -> serde_json::Value {
        request.as_str().into()
    }

    async fn send(&self, request: &String) -> Result<Receipt, SendError> {
        let (answer, hangs) = {
            let mut script = self.0.lock().unwrap();
            script.requests.push(request.clone());
            let hangs = script.hangs_at.is_some_and(|start| request.starts_with(start));
            (script.answers.pop_front().unwrap_or_else(|| Ok(Receipt::default())), hangs)
        };
        if hangs {
            std::future::pending::<()>().await;
        }
        answer
    }
}

pub(super) struct Fixture {
    _folder: TempDir,
    options: Options,
    clock: Arc<ManualClock>,
    pub(super) shared: Shared,
    fake: Fake,
    peers: Peers,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_second(1_800_000_000).unwrap()));
        let options = Options {
            path: folder.path().join("store.db"),
            spill_dir: folder.path().join("spill"),
            rules: Rules::new(Duration::from_mins(2)),
        };
        let metrics = Metrics::new(&LabelSets::default()).unwrap();
        let store = Store::open(&options, metrics.clone(), clock.clone()).unwrap();
        let shared = Shared::new(store, metrics, clock.clone()).unwrap();
        let peers = Peers { messages: vec!["discord/other".to_owned()], phones: vec!["alertalk/oncall".to_owned()] };
        Self { _folder: folder, options, clock, shared, fake: Fake::default(), peers }
    }

    fn worker(&self) -> Worker<Fake> {
        self.worker_of("fingerprint")
    }

    fn worker_of(&self, fingerprint: &str) -> Worker<Fake> {
        let rng = fastrand::Rng::with_seed(7);
        let (own, fingerprint) = (OWN.to_owned(), fingerprint.to_owned());
        Worker::new(self.fake.clone(), own, fingerprint, MAX_AGE, self.peers.clone(), self.shared.clone(), rng)
    }

    /// As after a SIGKILL: whatever the process knew is gone, and its leases with it.
    pub(super) async fn restart(&mut self) {
        self.shared.store.close().await;
        let Shared { metrics, clock, .. } = self.shared.clone();
        // The old handle holds the file until it is dropped.
        let placeholder = tempfile::tempdir().unwrap();
        let elsewhere = Options { path: placeholder.path().join("x.db"), ..self.options.clone() };
        self.shared.store = Store::open(&elsewhere, metrics.clone(), clock.clone()).unwrap();
        self.shared.store = Store::open(&self.options, metrics, clock).unwrap();
    }

    async fn hear(&self, group: Group) {
        let route = Route { destination: OWN.to_owned(), least: Rank::Info, calls: false };
        self.shared.store.hear(Heard::new(group, vec![route])).await.unwrap();
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(SignedDuration::try_from(time).unwrap());
    }

    async fn backlog(&self, destination: &str) -> Option<Backlog> {
        let backlogs = self.shared.store.backlogs().await.unwrap();
        backlogs.into_iter().find(|backlog| backlog.destination == destination)
    }

    /// What waits and what is dead.
    pub(super) async fn left(&self, destination: &str) -> (u64, u64) {
        self.backlog(destination).await.map_or((0, 0), |backlog| (backlog.pending, backlog.dead))
    }
}

fn firing(key: &str) -> Group {
    Group { key: key.to_owned(), ..group(vec![alert("A", "critical", true)]) }
}

fn resolved(key: &str) -> Group {
    Group { key: key.to_owned(), ..group(vec![alert("A", "critical", false)]) }
}

fn retry() -> SendError {
    SendError::Retry { after: None, why: "status 503".to_owned() }
}

/// Steps until there is nothing to do now; how long it would rest then.
async fn work(worker: &mut Worker<Fake>) -> Duration {
    for _ in 0..100 {
        match worker.step().await.unwrap() {
            Next::Now => {}
            Next::After(rest) | Next::Pause(rest) => return rest,
        }
    }
    panic!("does not come to rest");
}

#[tokio::test]
async fn what_waits_is_told_once() {
    let fixture = Fixture::new();
    let mut worker = fixture.worker();
    fixture.hear(firing("k")).await;
    work(&mut worker).await;
    assert_eq!(fixture.fake.requests(), ["+A"]);
    fixture.pass(Duration::from_hours(1));
    fixture.hear(firing("k")).await;
    work(&mut worker).await;
    assert_eq!(fixture.fake.requests(), Vec::<String>::new(), "a repetition is no news");
    fixture.hear(resolved("k")).await;
    work(&mut worker).await;
    assert_eq!(fixture.fake.requests(), ["-A"]);
    assert_eq!(fixture.left(OWN).await, (0, 0));
    assert_eq!(fixture.shared.metrics.deliveries.with_label_values(&[OWN]).get(), 2);
}

#[tokio::test]
async fn an_outage_of_twenty_hours_ends_with_the_newest_state() {
    let fixture = Fixture::new();
    let mut worker = fixture.worker();
    fixture.hear(firing("k")).await;
    let started = fixture.clock.now();
    let hours = |fixture: &Fixture| fixture.clock.now().duration_since(started).as_hours();
    let mut attempts = 0;
    let mut is_resolved = false;
    while hours(&fixture) < 20 {
        fixture.fake.answers([retry()]);
        let rest = work(&mut worker).await;
        attempts += fixture.fake.requests().len();
        fixture.pass(rest);
        if hours(&fixture) >= 3 && !is_resolved {
            is_resolved = true;
            fixture.hear(resolved("k")).await;
        }
    }
    // Five minutes apart, a fifth less to a fifth more.
    assert!((190..320).contains(&attempts), "{attempts}");
    fixture.fake.0.lock().unwrap().answers.clear();
    fixture.pass(Duration::from_mins(6));
    work(&mut worker).await;
    assert_eq!(fixture.fake.requests(), ["-A"]);
    assert_eq!(fixture.left(OWN).await, (0, 0));
}

#[tokio::test]
async fn what_is_too_old_is_given_up_and_people_hear_of_it() {
    let fixture = Fixture::new();
    let mut worker = fixture.worker();
    fixture.hear(firing("k")).await;
    fixture.fake.answers([retry()]);
    work(&mut worker).await;
    fixture.pass(MAX_AGE + Duration::from_secs(1));
    work(&mut worker).await;
    assert_eq!(fixture.fake.requests(), ["+A", "notice given_up"]);
    assert_eq!((fixture.left(OWN).await, fixture.left("discord/other").await), ((0, 1), (1, 0)));
    assert_eq!(fixture.shared.metrics.dead_letters_added.with_label_values(&[OWN, "expired"]).get(), 1);
}

#[tokio::test]
async fn what_is_refused_is_given_up_and_a_refused_message_about_that_is_not_told_again() {
    let fixture = Fixture::new();
    let mut worker = fixture.worker();
    let refused = || SendError::Permanent { why: "status 400: embeds.0: wrong".to_owned() };
    fixture.hear(firing("k")).await;
    fixture.fake.answers([refused(), refused()]);
    work(&mut worker).await;
    assert_eq!(fixture.fake.requests(), ["+A", "notice given_up"]);
    assert_eq!((fixture.left(OWN).await, fixture.left("discord/other").await), ((0, 2), (1, 0)));
    assert_eq!(fixture.shared.metrics.delivery_failures.with_label_values(&[OWN, "permanent"]).get(), 2);
}

#[tokio::test]
async fn a_rate_limit_is_waited_for_and_is_no_attempt() {
    let fixture = Fixture::new();
    let mut worker = fixture.worker();
    fixture.hear(firing("k")).await;
    let limited = || SendError::RateLimited { after: Duration::from_secs(7), global: false };
    for _ in 0..20 {
        fixture.fake.answers([limited()]);
        assert_eq!(work(&mut worker).await, Duration::from_secs(7));
        fixture.pass(Duration::from_secs(7));
    }
    work(&mut worker).await;
    assert_eq!(fixture.fake.requests().len(), 21);
    assert_eq!(fixture.left(OWN).await, (0, 0));
}

#[tokio::test]
async fn a_destination_that_refuses_us_is_left_alone_until_it_is_configured_anew() {
    let mut fixture = Fixture::new();
    let mut worker = fixture.worker();
    fixture.hear(firing("k")).await;
    fixture.fake.answers([SendError::Unusable { why: "status 404".to_owned() }]);
    work(&mut worker).await;
    fixture.hear(firing("other")).await;
    for _ in 0..10 {
        fixture.pass(Duration::from_mins(2));
        work(&mut worker).await;
    }
    assert_eq!(fixture.fake.requests(), ["+A"]);
    assert_eq!((fixture.left(OWN).await, fixture.left("discord/other").await), ((2, 0), (1, 0)));
    assert_eq!(fixture.left("alertalk/oncall").await, (0, 0), "messages reach somebody");

    drop(worker);
    fixture.restart().await;
    let mut worker = fixture.worker();
    fixture.pass(Duration::from_mins(2));
    work(&mut worker).await;
    assert_eq!(fixture.fake.requests(), Vec::<String>::new(), "a restart is no new configuration");
    work(&mut fixture.worker_of("another")).await;
    assert_eq!(fixture.fake.requests(), ["+A", "+A"], "at once");
    assert_eq!(fixture.left(OWN).await, (0, 0));
}

#[tokio::test]
async fn where_nobody_else_gets_messages_somebody_is_called() {
    let mut fixture = Fixture::new();
    fixture.peers.messages.clear();
    let mut worker = fixture.worker();
    fixture.hear(firing("k")).await;
    fixture.fake.answers([SendError::Unusable { why: "status 404".to_owned() }]);
    work(&mut worker).await;
    assert_eq!(fixture.left("alertalk/oncall").await, (1, 0));
}

#[tokio::test]
async fn what_waits_for_an_unusable_destination_grows_old_all_the_same() {
    let fixture = Fixture::new();
    let mut worker = fixture.worker();
    fixture.hear(firing("k")).await;
    fixture.fake.answers([SendError::Unusable { why: "status 404".to_owned() }]);
    work(&mut worker).await;
    fixture.pass(MAX_AGE + Duration::from_secs(1));
    work(&mut worker).await;
    assert_eq!(fixture.fake.requests(), ["+A"]);
    assert_eq!(fixture.left(OWN).await.1, 1);
}

#[tokio::test]
async fn without_credit_nobody_is_called_for_an_hour() {
    let fixture = Fixture::new();
    let mut worker = fixture.worker();
    let suppressed =
        |fixture: &Fixture| fixture.shared.metrics.calls_suppressed.with_label_values(&[OWN, "no_credit"]).get();
    fixture.hear(firing("k")).await;
    fixture.fake.answers([SendError::NoCredit]);
    work(&mut worker).await;
    fixture.hear(firing("other")).await;
    work(&mut worker).await;
    assert_eq!((fixture.fake.requests().len(), suppressed(&fixture)), (1, 2));
    // No credit, and two calls that were not made.
    assert_eq!(fixture.left("discord/other").await, (3, 0));
    assert_eq!(fixture.left(OWN).await, (0, 0));
    fixture.pass(Duration::from_mins(61));
    fixture.hear(firing("other")).await;
    work(&mut worker).await;
    assert_eq!(fixture.fake.requests(), ["+A"]);
}

#[tokio::test]
async fn what_may_have_been_heard_is_told_once_more() {
    let fixture = Fixture::new();
    let mut worker = fixture.worker();
    let ambiguous = || SendError::Ambiguous { why: "no answer in time".to_owned() };
    fixture.hear(firing("k")).await;
    fixture.fake.answers([ambiguous(), ambiguous()]);
    work(&mut worker).await;
    fixture.pass(Duration::from_secs(15));
    work(&mut worker).await;
    fixture.pass(Duration::from_hours(1));
    work(&mut worker).await;
    assert_eq!(fixture.fake.requests(), ["+A", "+A", "notice given_up"]);
    assert_eq!(fixture.shared.metrics.dead_letters_added.with_label_values(&[OWN, "ambiguous"]).get(), 1);
}

#[tokio::test]
async fn a_call_that_may_have_been_made_counts_for_the_next_one() {
    let fixture = Fixture::new();
    let mut worker = fixture.worker();
    let ambiguous = || SendError::Ambiguous { why: "no answer in time".to_owned() };
    fixture.hear(firing("k")).await;
    fixture.fake.answers([ambiguous(), ambiguous()]);
    work(&mut worker).await;
    fixture.pass(Duration::from_secs(15));
    work(&mut worker).await;
    fixture.hear(firing("other")).await;
    let claim = fixture.shared.store.claim(OWN, 1, None, Duration::from_mins(1)).await.unwrap();
    let calls: Vec<_> = claim.calls.iter().map(|call| (&*call.subject, &*call.number)).collect();
    // The first has no subject, so that no cooldown forbids the second.
    assert_eq!(calls, [("", "1"), ("default/k", "1")]);
}

#[tokio::test]
async fn calls_are_counted_and_remembered() {
    let fixture = Fixture::new();
    let mut worker = fixture.worker();
    fixture.hear(firing("k")).await;
    fixture.fake.takes(Receipt { message_id: None, called: vec!["1".to_owned(), "2".to_owned()] });
    work(&mut worker).await;
    let metrics = &fixture.shared.metrics;
    assert_eq!(metrics.calls.with_label_values(&[OWN]).get(), 1);
    assert_eq!(metrics.call_credits_spent.with_label_values(&[OWN]).get(), 2);
    fixture.hear(firing("other")).await;
    let claim = fixture.shared.store.claim(OWN, 1, None, Duration::from_mins(1)).await.unwrap();
    let numbers: Vec<_> = claim.calls.iter().map(|call| &*call.number).collect();
    assert_eq!(numbers, ["1", "2"]);
    assert_eq!(claim.calls[0].subject, "default/k");
}

#[tokio::test]
async fn a_crash_repeats_one_message_at_most() {
    let mut fixture = Fixture::new();
    fixture.hear(firing("k")).await;
    // Between commit and send.
    fixture.restart().await;
    // Between send and record: the worker is gone while the answer is on its way.
    let claim = fixture.shared.store.claim(OWN, 1, None, Duration::from_mins(1)).await.unwrap();
    assert_eq!(claim.deliveries.len(), 1);
    fixture.fake.send(&"+A".to_owned()).await.unwrap();
    fixture.restart().await;
    work(&mut fixture.worker()).await;
    assert_eq!(fixture.fake.requests(), ["+A", "+A"]);
    fixture.restart().await;
    work(&mut fixture.worker()).await;
    assert_eq!(fixture.fake.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_told_in_parts_goes_on_where_it_was_cut_off() {
    let mut fixture = Fixture::new();
    {
        let mut script = fixture.fake.0.lock().unwrap();
        (script.in_two_parts, script.hangs_at) = (true, Some("2/2"));
    }
    fixture.hear(firing("k")).await;
    let mut worker = fixture.worker();
    let second = async {
        while fixture.fake.0.lock().unwrap().requests.len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = worker.step() => panic!("the second part is never answered"),
        () = second => {}
    }
    drop(worker);
    fixture.restart().await;
    fixture.fake.0.lock().unwrap().hangs_at = None;
    work(&mut fixture.worker()).await;
    assert_eq!(fixture.fake.requests(), ["1/2 +A", "2/2 +A", "2/2 +A"]);
}

#[tokio::test]
async fn news_wakes_a_worker_at_once() {
    let fixture = Fixture::new();
    let stop = tokio_util::sync::CancellationToken::new();
    let mut running = tokio::task::JoinSet::new();
    running.spawn(fixture.worker().run(stop.clone()));
    for key in ["1", "2"] {
        fixture.hear(firing(key)).await;
        // Shorter than any rest of a worker.
        let told = async {
            while fixture.fake.requests().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), told).await.unwrap();
    }
    stop.cancel();
    running.join_next().await.unwrap().unwrap();
}

#[tokio::test]
async fn a_storm_is_one_message_and_a_few_are_told_one_by_one() {
    let fixture = Fixture::new();
    let mut worker = fixture.worker();
    for key in ["1", "2", "3"] {
        fixture.hear(firing(key)).await;
    }
    work(&mut worker).await;
    assert_eq!(fixture.fake.requests(), ["+A", "+A", "+A"]);
    for key in ["1", "2", "3", "4", "5", "6", "7"] {
        fixture.pass(Duration::from_mins(2));
        // The first three are repetitions, and no news in a digest either.
        fixture.hear(firing(key)).await;
    }
    work(&mut worker).await;
    assert_eq!(fixture.fake.requests(), ["digest of 4"]);
    for key in ["4", "5"] {
        fixture.hear(resolved(key)).await;
    }
    // Of these four only two are news.
    for key in ["1", "2"] {
        fixture.pass(Duration::from_mins(2));
        fixture.hear(firing(key)).await;
    }
    work(&mut worker).await;
    assert_eq!(fixture.fake.requests(), ["-A", "-A"]);
    assert_eq!(fixture.left(OWN).await, (0, 0));
}

#[tokio::test]
async fn a_storm_that_cannot_be_told_waits_as_a_whole() {
    let fixture = Fixture::new();
    let mut worker = fixture.worker();
    for key in ["1", "2", "3", "4"] {
        fixture.hear(firing(key)).await;
    }
    fixture.fake.answers([retry()]);
    let rest = work(&mut worker).await;
    assert_eq!(fixture.left(OWN).await, (4, 0));
    fixture.pass(rest + Duration::from_secs(1));
    work(&mut worker).await;
    assert_eq!(fixture.fake.requests(), ["digest of 4", "digest of 4"]);
    assert_eq!(fixture.left(OWN).await, (0, 0));
}

#[tokio::test]
async fn a_refused_summary_costs_only_what_is_refused_by_itself() {
    let fixture = Fixture::new();
    let mut worker = fixture.worker();
    for key in ["1", "2", "3", "4"] {
        fixture.hear(firing(key)).await;
    }
    let refused = || SendError::Permanent { why: "status 400".to_owned() };
    fixture.fake.answers([refused(), refused()]);
    work(&mut worker).await;
    let expected = ["digest of 4", "+A", "+A", "+A", "+A", "notice given_up"];
    assert_eq!((fixture.fake.requests(), fixture.left(OWN).await), (expected.map(str::to_owned).to_vec(), (0, 1)));
}

#[tokio::test]
async fn critical_alerts_that_reach_nobody_make_the_phone_ring_once() {
    let fixture = Fixture::new();
    let mut worker = fixture.worker();
    let receiver = Escalation { messages: vec![OWN.to_owned()], phones: vec!["alertalk/oncall".to_owned()] };
    fixture.hear(firing("k")).await;
    let warning = Group { key: "w".to_owned(), ..group(vec![alert("W", "warning", true)]) };
    fixture.hear(warning).await;
    for minute in 0..12 {
        fixture.fake.answers([retry(), retry()]);
        work(&mut worker).await;
        let called = look(&receiver, &fixture.shared).await.unwrap();
        assert_eq!(called, usize::from(minute == 10), "{minute}");
        fixture.pass(Duration::from_mins(1));
    }
    assert_eq!(fixture.left("alertalk/oncall").await, (1, 0));
    let nobody = Escalation { phones: Vec::new(), ..receiver };
    assert_eq!(look(&nobody, &fixture.shared).await.unwrap(), 0);
}

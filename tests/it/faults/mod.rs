//! The real program in a world where everything goes wrong, for some rounds: whatever happens, what was
//! acknowledged is not lost, and nothing is delivered that nobody said.
//!
//! `FAULT_ROUNDS=50 FAULT_SEED=7 cargo test --test it -- faults` runs longer, or one round again.

mod clock;
mod ledger;
mod world;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use self::clock::FakeClock;
use self::ledger::{Found, Ledger, check};
use self::world::{Troubles, World};
use crate::disk::SmallDisk;
use crate::harness::{Exporter, Setup, eventually_within, sample};

const ROUNDS: u64 = 3;
const TASKS: usize = 40;
/// The poller leaves an API that fails alone for up to two minutes, the delivery a subscriber for one.
const PATIENCE: Duration = Duration::from_mins(4);

/// A number from the environment, for whoever runs the tests longer or again.
#[expect(clippy::disallowed_methods, reason = "how long it runs is for whoever runs the tests to say")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_nothing_is_lost_and_nothing_made_up() {
    let first = number("FAULT_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    let rounds = number("FAULT_ROUNDS").unwrap_or(if number("FAULT_SEED").is_some() { 1 } else { ROUNDS });
    for seed in first..first + rounds {
        println!("FAULT_SEED={seed}");
        let faults = round(seed).await;
        assert!(faults.is_empty(), "FAULT_SEED={seed}: {faults:#?}");
    }
}

/// One round; what is not as it was promised.
async fn round(seed: u64) -> Vec<String> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let troubles = Troubles { api: rng.u8(10..60), subscriber: rng.u8(0..70) };
    let world = World::start(rng.fork(), troubles).await;
    // Some rounds are so short of time that results grow old.
    let mut setup = setup(&world, [2, 60][rng.usize(..2)]);
    let disk = rng.bool().then(|| SmallDisk::mount(setup.folder.path().join("disk")));
    if let Some(disk) = &disk {
        let spill = setup.folder.path().join("spill");
        setup.storage =
            format!("{{ url: \"sqlite:{}/store.db\", spill_dir: \"{}\" }}", disk.path.display(), spill.display());
    }
    let mut clock = rng.bool().then(|| FakeClock::of(&mut setup));
    let mut ledger = Ledger::default();
    let mut exporter = setup.start();
    let mut ballast = None;
    for task in 0..TASKS {
        if let Some(disk) = disk.as_ref().filter(|_| rng.u8(..100) < 10) {
            ballast = match ballast {
                None => Some(disk.fill()),
                Some(ballast) => emptied(ballast),
            };
        }
        if let Some(clock) = clock.as_mut().filter(|_| rng.u8(..100) < 10) {
            clock.jump(&mut rng);
        }
        let life = Life::new(&mut rng, &format!("{seed}-{task}"), disk.is_some());
        world.produces(&life);
        if rng.u8(..100) < 12 {
            // In the middle of it: what was not answered was not promised.
            let mut kill = rng.fork();
            tokio::join!(life.live(&exporter, &mut ledger), async {
                for _ in 0..kill.u8(..8) {
                    tokio::task::yield_now().await;
                }
                exporter.signal("KILL");
            });
            exporter.kill();
            ballast = ballast.and_then(emptied);
            exporter = setup.start();
        } else {
            life.live(&exporter, &mut ledger).await;
        }
    }
    ballast.and_then(emptied);
    enough_has_gone_wrong(&exporter, &world).await;
    world.calm_down();
    at_rest(&exporter, &ledger).await;
    let found = look(&exporter, &world, &ledger).await;
    check(&ledger, &found)
}

fn setup(world: &World, max_age: u32) -> Setup {
    let mut setup = Setup::new();
    setup.accounts = String::new();
    setup.account("main", &world.api);
    setup.config = format!(
        "pingback: {{ unknown: verify }}\nfallback: {{ after: 1s, interval: 1s, give_up_after: 60s }}\n\
         subscribers: [{{ name: workers, url: \"{}\", max_age: {max_age}s }}]\n",
        world.subscriber
    );
    setup
}

/// There is room on the disk again.
fn emptied(ballast: PathBuf) -> Option<PathBuf> {
    std::fs::remove_file(ballast).unwrap();
    None
}

/// What happens to one task.
struct Life {
    id: String,
    code: String,
    is_forged: bool,
    is_registered: bool,
    /// The codes of its pingbacks, in order: none where they get lost.
    pingbacks: Vec<String>,
}

impl Life {
    fn new(rng: &mut fastrand::Rng, id: &str, is_long: bool) -> Self {
        let is_forged = rng.u8(..100) < 10;
        let padding = if is_long { "c".repeat(2000) } else { String::new() };
        let code =
            if rng.u8(..100) < 15 { "ERROR_CAPTCHA_UNSOLVABLE".to_owned() } else { format!("code-{id}{padding}") };
        // Lost, once, or a storm of the same.
        let copies = if is_forged { 1 } else { [0, 0, 1, 1, 1, 20][rng.usize(..6)] };
        let mut pingbacks = vec![code.clone(); copies];
        if !is_forged && copies > 0 && rng.u8(..100) < 10 {
            pingbacks.extend([format!("other-{id}"), format!("third-{id}")]);
        }
        Self { id: id.to_owned(), code, is_forged, is_registered: !is_forged && rng.u8(..100) < 85, pingbacks }
    }

    async fn live(&self, exporter: &Exporter, ledger: &mut Ledger) {
        let Self { id, pingbacks, .. } = self;
        if !self.is_forged {
            let said = ledger.produced.entry(id.clone()).or_default();
            said.insert(self.code.clone());
            said.extend(pingbacks.iter().cloned());
        }
        if self.is_registered {
            let task = json!({"id": id, "captcha": "turnstile"}).to_string();
            if is_taken(exporter.request(Method::POST, "/api/v1/tasks").body(task)).await {
                ledger.registered.insert(id.clone());
            }
        }
        for code in pingbacks {
            if is_taken(exporter.request(Method::GET, &format!("/pingback?id={id}&code={code}"))).await {
                ledger.acknowledged.insert((id.clone(), code.clone()));
            }
        }
    }
}

/// Whether it was answered 200.
async fn is_taken(request: RequestBuilder) -> bool {
    request.send().await.is_ok_and(|answer| answer.status() == 200)
}

const WAITING: [&str; 2] =
    [r#"captchaai_queue_tasks{account="main"}"#, r#"captchaai_deliveries_pending{destination="subscriber/workers"}"#];

/// Troubles that are met, at the API and at the subscriber, unless nothing is left that could meet them.
const ENOUGH: usize = 8;

async fn enough_has_gone_wrong(exporter: &Exporter, world: &World) {
    eventually_within(PATIENCE, "troubles", async || {
        let (_, metrics) = exporter.get("/metrics").await;
        let went_wrong = world.state.lock().unwrap().went_wrong;
        let is_enough = |(series, count): (&&str, usize)| count >= ENOUGH || sample(&metrics, series) == Some(0.0);
        WAITING.iter().zip(went_wrong).all(is_enough).then_some(())
    })
    .await;
}

/// Nothing is pending any more: no task, nothing that has to be confirmed, no delivery.
async fn at_rest(exporter: &Exporter, ledger: &Ledger) {
    let mut calm = 0;
    eventually_within(PATIENCE, "rest", async || {
        let (_, metrics) = exporter.get("/metrics").await;
        let is_calm = WAITING.iter().all(|series| sample(&metrics, series) == Some(0.0));
        calm = if is_calm && !is_any_pending(exporter, ledger).await { calm + 1 } else { 0 };
        // What comes back from the spill folder comes a little later.
        (calm > 40).then_some(())
    })
    .await;
}

/// What has to be confirmed is pending for whoever asks, and counted nowhere.
async fn is_any_pending(exporter: &Exporter, ledger: &Ledger) -> bool {
    let ids: BTreeSet<_> = ledger.acknowledged.iter().map(|(id, _)| id).collect();
    for id in ids {
        if exporter.get(&format!("/api/v1/tasks/{id}")).await.1.contains(r#""status":"pending""#) {
            return true;
        }
    }
    false
}

async fn look(exporter: &Exporter, world: &World, ledger: &Ledger) -> Found {
    let mut found = Found { delivered: world.state.lock().unwrap().delivered.clone(), ..Found::default() };
    // Also what was kept and not acknowledged, because of a kill.
    let ids: BTreeSet<_> = ledger.produced.keys().chain(ledger.acknowledged.iter().map(|(id, _)| id)).collect();
    for id in ids {
        let (status, body) = exporter.get(&format!("/api/v1/tasks/{id}")).await;
        if status == 200 {
            let task: Value = serde_json::from_str(&body).unwrap();
            let ended = task["code"].as_str().or(task["error"].as_str()).map(str::to_owned);
            found.tasks.insert(id.clone(), ended);
        }
    }
    let (_, letters) = exporter.get("/api/v1/dead-letters?limit=1000").await;
    let letters: Value = serde_json::from_str(&letters).unwrap();
    for letter in letters["dead_letters"].as_array().unwrap() {
        let id = letter["payload"]["id"].as_str().unwrap().to_owned();
        if letter["source"] == "pingback" {
            *found.disbelieved.entry(id).or_default() += 1;
        } else {
            found.dead.insert(id);
        }
    }
    let (_, metrics) = exporter.get("/metrics").await;
    let count = |series: &str| sample(&metrics, series);
    found.counted = [count(WAITING[0]), count(r#"captchaai_dead_letters{source="subscriber/workers"}"#)];
    found
}

//! From a cause to a person, on the whole way: a simulated CaptchaAI with faults, workers, the program that is
//! watched, the real Prometheus with the rules that ship, the real Alertmanager with the configuration that
//! ships, a second process of the program as receiver, and simulated Discord and Alertalk.
//!
//! A minute of the rules is a second here, and nothing else of them is changed.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use captchaai_exporter::demo::alertalk::{self, SimulatedAlertalk};
use captchaai_exporter::demo::captchaai::{self, Odds, SimulatedCaptchaAi};
use captchaai_exporter::demo::discord::{self, SimulatedDiscord};
use captchaai_exporter::demo::speed::Speed;
use captchaai_exporter::demo::workers;
use captchaai_exporter::domain::clock::SystemClock;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::alertmanager::{Alertmanager, TOKEN, client};
use crate::harness::{Exporter, PATIENCE, Setup, eventually_within, repository, versions};
use crate::prometheus::Prometheus;

/// Two cores share all of it with other tests.
const LONGEST_STEP: Duration = Duration::from_secs(90);
const KEY: &str = "simulated-key-simulated-key-0001";
/// Pingbacks get lost, come twice and contradict each other, but every captcha is solved.
const FAULTS: Odds = Odds { lost: 0.05, duplicate: 0.05, conflicting: 0.02, ..Odds::NONE };
const GREEN: u64 = 0x2E_CC71;
const ORANGE: u64 = 0xF3_9C12;
const RED: u64 = 0xE7_4C3C;

/// Minutes become seconds where they are durations of the rules. Three minutes and a quarter of an hour stay where
/// they are ranges: so long what was scraped last is believed.
fn hurried(rules: &str) -> String {
    let mut hurried = String::new();
    let mut rest = rules;
    while let Some(at) = ["[", "for: ", "interval: ", "offset "].iter().filter_map(|before| after(rest, before)).min() {
        let (before, duration) = rest.split_at(at);
        let digits = duration.chars().take_while(char::is_ascii_digit).count();
        let (number, unit) = duration.split_at(digits);
        hurried.push_str(before);
        hurried.push_str(number);
        let stays = digits == 0 || before.ends_with('[') && matches!(number, "3" | "15");
        rest = unit.strip_prefix('m').filter(|_| !stays).map_or(unit, |rest| {
            hurried.push('s');
            rest
        });
    }
    hurried.push_str(rest);
    hurried
}

fn after(text: &str, before: &str) -> Option<usize> {
    text.find(before).map(|at| at + before.len())
}

#[test]
fn minutes_of_rules_become_seconds() {
    let rules = "for: 10m\nkeep_firing_for: 3m\ninterval: 1m\nx[5m] y[6h] z[15m] v[3m] offset 75m m[name] [1h]";
    let expected = "for: 10s\nkeep_firing_for: 3s\ninterval: 1s\nx[5s] y[6h] z[15m] v[3m] offset 75s m[name] [1h]";
    assert_eq!(hurried(rules), expected);
}

/// What happened and how long it took until somebody knew.
#[derive(Default)]
struct Timeline {
    lines: Vec<String>,
}

impl Timeline {
    /// Looks again until there is an answer, and notes the delay.
    async fn until<T>(&mut self, cause: (&str, Instant), what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
        let found = eventually_within(LONGEST_STEP, what, look).await;
        self.lines.push(format!("{:>6.1} s from {} to {what}\n", cause.1.elapsed().as_secs_f64(), cause.0));
        found
    }
}

struct Stage {
    captchaai: SimulatedCaptchaAi,
    discord: SimulatedDiscord,
    alertalk: SimulatedAlertalk,
    watched: Exporter,
    receiver: Exporter,
    alertmanager: Alertmanager,
    _prometheus: Prometheus,
    _folders: [Setup; 2],
}

impl Stage {
    async fn set(prometheus: &Path, alertmanager: &Path) -> Self {
        let options =
            captchaai::Options { speed: Speed::new(60.0), odds: FAULTS, key: KEY.to_owned(), ..Default::default() };
        let captchaai = SimulatedCaptchaAi::start(options).await.unwrap();
        let discord = SimulatedDiscord::start(discord::Options::unlimited()).await.unwrap();
        let alertalk = SimulatedAlertalk::start(alertalk::Options::default()).await.unwrap();
        let watched_setup = watched(&captchaai);
        let receiver_setup = receiver(&discord, &alertalk);
        let (watched, receiver) = (watched_setup.start(), receiver_setup.start());
        let folder = receiver_setup.folder.path();
        let direct = discord.add_webhook("direct");
        let alertmanager = Alertmanager::start(alertmanager, folder, &receiver.address.to_string(), &direct).await;
        let yaml = prometheus_config(folder, &alertmanager, &watched);
        let prometheus = Prometheus::start(prometheus, folder, &yaml);
        let folders = [watched_setup, receiver_setup];
        Self {
            captchaai,
            discord,
            alertalk,
            watched,
            receiver,
            alertmanager,
            _prometheus: prometheus,
            _folders: folders,
        }
    }

    fn workers(&self) -> workers::Options {
        workers::Options {
            account: "main".to_owned(),
            captchaai: self.captchaai.base_url(),
            key: KEY.to_owned(),
            exporter: self.watched.url(""),
            pingback_token: "pingback-token".to_owned(),
            workers: 12,
            speed: Speed::new(60.0),
            clock: Arc::new(SystemClock),
            seed: 7,
        }
    }

    /// The newest box on Discord whose title ends with this.
    fn told(&self, title: &str) -> Option<Value> {
        newest(&self.discord, title)
    }

    /// The same, once it has this colour.
    fn colored(&self, title: &str, color: u64) -> Option<Value> {
        self.told(title).filter(|embed| embed["color"] == color)
    }

    fn calls(&self) -> Vec<String> {
        self.alertalk.calls().into_iter().map(|call| call.text).collect()
    }

    /// Whether Alertmanager keeps an alert to itself because of another one.
    async fn is_inhibited(&self, alertname: &str) -> bool {
        let request = client().get(format!("{}/api/v2/alerts", self.alertmanager.url));
        let answer = request.query(&[("filter", format!("alertname=\"{alertname}\""))]).timeout(PATIENCE);
        let Ok(answer) = answer.send().await else { return false };
        let alerts: Value = serde_json::from_str(&answer.text().await.unwrap_or_default()).unwrap_or_default();
        let inhibitors = &alerts[0]["status"]["inhibitedBy"];
        inhibitors.as_array().is_some_and(|inhibitors| !inhibitors.is_empty())
    }
}

fn newest(discord: &SimulatedDiscord, title: &str) -> Option<Value> {
    let messages = discord.messages();
    let boxes = messages.iter().rev().flat_map(|message| message.content["embeds"].as_array().unwrap().clone());
    boxes.into_iter().find(|embed| embed["title"].as_str().is_some_and(|found| found.ends_with(title)))
}

fn watched(captchaai: &SimulatedCaptchaAi) -> Setup {
    let mut setup = Setup::new();
    setup.accounts =
        format!("  - {{ name: main, api_key: {KEY}, base_url: \"{}\", balance_interval: 1s }}\n", captchaai.base_url());
    setup.config.push_str("pingback: { token: pingback-token }\nfallback: { after: 2s, interval: 1s }\n");
    setup
}

fn receiver(discord: &SimulatedDiscord, alertalk: &SimulatedAlertalk) -> Setup {
    let mut setup = Setup::new();
    setup.config = format!(
        "web: {{ auth_token: {TOKEN} }}\nreceivers:\n- name: default\n  \
         discord: [{{ name: ops, webhook_url: \"{}\" }}]\n  \
         alertalk: [{{ name: oncall, url: \"{}\", webhook_key: simulated-alertalk-key, phone_numbers: [\"5321234567\"] }}]\n\
         watchdog: {{ timeout: 20s, receiver: default }}\n",
        discord.webhook_url(),
        alertalk.url()
    );
    setup
}

/// The configuration that ships and its rules, with other addresses and in a hurry.
fn prometheus_config(folder: &Path, alertmanager: &Alertmanager, watched: &Exporter) -> String {
    fs::create_dir(folder.join("rules")).unwrap();
    for entry in fs::read_dir(repository("alertmanager/rules")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let mut rules = hurried(&fs::read_to_string(&path).unwrap());
            // Money that is taken at once is no spending that goes on like that: its hours are hurried, too.
            rules = rules.replace("vector(24 * 3600)", "vector(24 * 60)").replace("vector(4 * 3600)", "vector(4 * 60)");
            if path.ends_with("exporter.yml") {
                // Two seconds without an answer mean nothing on a machine that has other things to do.
                rules = rules.replace("for: 2s", "for: 8s");
            }
            fs::write(folder.join("rules").join(path.file_name().unwrap()), rules).unwrap();
        }
    }
    let mut yaml = fs::read_to_string(repository("alertmanager/prometheus.yml")).unwrap();
    for (from, to) in [
        ("127.0.0.1:9093", alertmanager.url.trim_start_matches("http://")),
        ("127.0.0.1:9877", &watched.address.to_string()),
        ("scrape_interval: 15s", "scrape_interval: 1s"),
        ("evaluation_interval: 15s", "evaluation_interval: 1s"),
    ] {
        assert!(yaml.contains(from), "{from}");
        yaml = yaml.replace(from, to);
    }
    yaml
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_the_right_people_are_told() {
    for (prometheus, alertmanager) in versions("prometheus").iter().zip(versions("prometheus-alertmanager")) {
        let stage = Stage::set(prometheus, &alertmanager).await;
        let stop = CancellationToken::new();
        let mut timeline = Timeline::default();
        let (worked, ()) = tokio::join!(workers::run(stage.workers(), stop.clone()), async {
            story(stage, &mut timeline).await;
            stop.cancel();
        });
        worked.unwrap();
        // Past the test runner, which would keep it to itself.
        let timeline =
            format!("\n{} and {}:\n{}", prometheus.display(), alertmanager.display(), timeline.lines.concat());
        std::io::stderr().write_all(timeline.as_bytes()).unwrap();
    }
}

async fn story(stage: Stage, timeline: &mut Timeline) {
    let start = ("the start", Instant::now());
    let finished = r#"captchaai_tasks_finished_total{account="main",captcha="turnstile"}"#;
    let solves = async || stage.watched.metric(finished).await.filter(|count| *count > 5.0);
    timeline.until(start, "solved captchas", solves).await;
    money(&stage, timeline).await;
    assert_eq!(stage.calls().len(), 1, "{:?}, {}", stage.calls(), stage.receiver.log());
    errors(&stage, timeline).await;
    assert_eq!(stage.calls().len(), 2, "{:?}", stage.calls());
    stage.captchaai.set_balance(5.0);
    let low = || stage.colored("Low balance: main", ORANGE);
    timeline.until(("the second fall", Instant::now()), "a warning", async || low()).await;
    down(stage, timeline).await;
}

/// The balance falls, is almost gone, and comes back.
async fn money(stage: &Stage, timeline: &mut Timeline) {
    stage.captchaai.set_balance(8.0);
    let fall = ("8 USD left", Instant::now());
    let low = timeline.until(fall, "a warning on Discord", async || stage.told("Low balance: main")).await;
    assert_eq!(low["color"], ORANGE);
    assert!(low["fields"].to_string().contains(r#""name":"Threshold","value":"10.00 USD""#), "{low}");
    assert!(stage.calls().is_empty(), "nobody is woken for a warning");

    stage.captchaai.set_balance(1.5);
    let fall = ("1.50 USD left", Instant::now());
    let critical = async || stage.told("Balance almost gone: main");
    let critical = timeline.until(fall, "a critical alert on Discord", critical).await;
    assert_eq!(critical["color"], RED);
    let call = timeline.until(fall, "a call in Turkish", async || stage.calls().first().cloned()).await;
    assert!(call.contains("hesabında yalnızca") && call.contains("dolar kaldı"), "{call}");

    stage.captchaai.set_balance(200.0);
    let top_up = ("the top-up", Instant::now());
    let green = async || {
        stage.colored("Low balance: main", GREEN)?;
        stage.colored("Balance almost gone: main", GREEN)
    };
    timeline.until(top_up, "green on Discord", green).await;
}

/// Most captchas fail, and are solved again.
async fn errors(stage: &Stage, timeline: &mut Timeline) {
    stage.captchaai.set_odds(Odds { failure: 0.8, ..FAULTS });
    let broken = ("captchas that fail", Instant::now());
    let spike = timeline.until(broken, "the spike on Discord", async || stage.colored("Solve errors: main", RED)).await;
    assert!(spike["fields"].to_string().contains("ERROR_CAPTCHA_UNSOLVABLE"), "{spike}");
    let call = timeline.until(broken, "a call in Turkish", async || stage.calls().get(1).cloned()).await;
    assert!(call.contains("çözülemedi"), "{call}");

    stage.captchaai.set_odds(FAULTS);
    let mended = ("captchas that are solved", Instant::now());
    let green = async || stage.colored("Solve errors: main", GREEN);
    timeline.until(mended, "green on Discord", green).await;
    let report = async || stage.colored("Solving again: main", GREEN);
    let report = timeline.until(mended, "the report of it", report).await;
    let rates: Vec<_> =
        report["fields"].as_array().unwrap().iter().filter_map(|field| field["value"].as_str()).collect();
    let percent = |text: &str| text.strip_suffix("% solved").and_then(|number| number.parse::<f64>().ok());
    let (before, after) = (percent(rates[0]).unwrap(), percent(rates[1]).unwrap());
    assert!(before < 85.0 && after >= 85.0, "{report}");
}

/// The exporter is gone, and then Alertmanager.
async fn down(stage: Stage, timeline: &mut Timeline) {
    stage.watched.signal("KILL");
    let death = ("the exporter's death", Instant::now());
    timeline.until(death, "an alert on Discord", async || stage.colored("Exporter down: captchaai", RED)).await;
    timeline
        .until(death, "Alertmanager's own word", async || {
            stage.told("exporter of CaptchaAI metrics cannot be scraped.")
        })
        .await;
    let call = timeline.until(death, "a call in Turkish", async || stage.calls().get(2).cloned()).await;
    assert!(call.contains("izleme programı çalışmıyor"), "{call}");
    let hides = async || stage.is_inhibited("CaptchaAIBalanceLow").await.then_some(());
    timeline.until(death, "silence about everything else", hides).await;
    let Stage { discord, alertmanager, receiver, .. } = stage;
    drop(alertmanager);
    let end = ("Alertmanager's end", Instant::now());
    let speaks = async || {
        let messages = discord.messages();
        messages.iter().find(|message| message.content.to_string().contains("Alerting is silent")).cloned()
    };
    timeline.until(end, "the watchdog's word", speaks).await;
    let low = newest(&discord, "Low balance: main").unwrap();
    assert_eq!(low["color"], ORANGE, "nobody knows whether it is over: {low}");
    assert_eq!(discord.counts().violations(), 0);
    drop(receiver);
}

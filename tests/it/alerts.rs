//! Alerts reach people: the running program between notifications and a simulated Discord and Alertalk.

use captchaai_exporter::demo::alertalk::SimulatedAlertalk;
use captchaai_exporter::demo::discord::{Action, Fault, Message, Options, SimulatedDiscord};
use serde_json::{Value, json};

use crate::harness::{Exporter, Setup, eventually, run};

const RED: u64 = 0xE7_4C3C;
const GREEN: u64 = 0x2E_CC71;

/// A program whose alerts go to a simulated Discord and a simulated Alertalk.
struct Stage {
    discord: SimulatedDiscord,
    alertalk: SimulatedAlertalk,
    setup: Setup,
}

impl Stage {
    async fn new(options: Options) -> Self {
        let discord = SimulatedDiscord::start(options).await.unwrap();
        let alertalk = SimulatedAlertalk::start(captchaai_exporter::demo::alertalk::Options::default()).await.unwrap();
        let mut setup = Setup::new();
        setup.config = receivers(&discord.webhook_url(), &alertalk.url(), "");
        Self { discord, alertalk, setup }
    }

    /// Messages that people see, oldest first.
    fn messages(&self) -> Vec<Message> {
        self.discord.messages().into_iter().filter(|message| !message.deleted).collect()
    }

    async fn await_messages(&self, count: usize) -> Vec<Message> {
        self.discord.wait_until(|state| state.visible().count() >= count).await.unwrap();
        self.messages()
    }

    /// What nobody who is careful does to these services.
    fn expect_no_violations(&self) {
        assert_eq!(self.discord.counts().violations(), 0, "{:?}", self.discord.counts());
        assert_eq!(self.alertalk.violations(), []);
    }
}

fn receivers(webhook_url: &str, alertalk_url: &str, more: &str) -> String {
    format!(
        "receivers:\n\
         - name: default\n  \
           discord:\n  \
           - {{ name: ops, webhook_url: \"{webhook_url}\", mentions: {{ critical: [\"user:42\"] }} }}\n{more}  \
           alertalk:\n  \
           - {{ name: oncall, url: \"{alertalk_url}\", webhook_key: simulated-alertalk-key, \
                phone_numbers: [\"+90 532 123 45 67\"] }}\n"
    )
}

fn alert(name: &str, severity: &str, status: &str) -> Value {
    json!({
        "status": status,
        "labels": {"alertname": name, "severity": severity, "account": "main"},
        "annotations": {"summary": format!("{name} needs a look")},
        "startsAt": "2026-01-31T08:30:00Z",
        "endsAt": if status == "resolved" { "2026-01-31T08:42:00Z" } else { "0001-01-01T00:00:00Z" },
        "fingerprint": name,
    })
}

fn notification(key: &str, alerts: &[Value]) -> Value {
    let fires = alerts.iter().any(|alert| alert["status"] == "firing");
    json!({
        "version": "4",
        "groupKey": key,
        "truncatedAlerts": 0,
        "status": if fires { "firing" } else { "resolved" },
        "receiver": "captchaai",
        "externalURL": "http://127.0.0.1:9093",
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {},
        "alerts": alerts,
    })
}

async fn notify(exporter: &Exporter, key: &str, alerts: &[Value]) {
    let (status, body) = exporter.post("/alertmanager", notification(key, alerts)).await;
    assert_eq!(status, 200, "{body}");
}

fn colors(message: &Message) -> Vec<u64> {
    let embeds = message.content["embeds"].as_array().cloned().unwrap_or_default();
    embeds.iter().filter_map(|embed| embed["color"].as_u64()).collect()
}

fn text(message: &Message) -> String {
    message.content.to_string()
}

/// Nothing waits any more.
async fn settled(exporter: &Exporter) {
    for destination in ["discord/ops", "alertalk/oncall"] {
        exporter.await_metric(&format!("captchaai_deliveries_pending{{destination=\"{destination}\"}}"), 0.0).await;
    }
}

#[tokio::test]
async fn an_alert_is_told_once_kept_up_to_date_and_its_end_too() {
    let stage = Stage::new(Options::default()).await;
    let exporter = stage.setup.start();
    notify(&exporter, "k", &[alert("BalanceCritical", "critical", "firing")]).await;
    let messages = stage.await_messages(1).await;
    assert_eq!((colors(&messages[0]), &messages[0].pings[..]), (vec![RED], &["user:42".to_owned()][..]));
    assert!(text(&messages[0]).contains("BalanceCritical needs a look"), "{}", text(&messages[0]));
    stage.alertalk.wait_until(|state| !state.calls.is_empty()).await.unwrap();
    assert_eq!(stage.alertalk.calls()[0].numbers, ["5321234567"]);
    settled(&exporter).await;

    // Alertmanager's retry, and its twin.
    notify(&exporter, "k", &[alert("BalanceCritical", "critical", "firing")]).await;
    // One alert more is a message more.
    let both = [alert("BalanceCritical", "critical", "firing"), alert("Second", "warning", "firing")];
    notify(&exporter, "k", &both).await;
    let messages = stage.await_messages(2).await;
    assert!(text(&messages[1]).contains("Second") && !text(&messages[1]).contains("BalanceCritical"));
    settled(&exporter).await;

    let over = [alert("BalanceCritical", "critical", "resolved"), alert("Second", "warning", "resolved")];
    notify(&exporter, "k", &over).await;
    let messages = stage.await_messages(3).await;
    settled(&exporter).await;
    let all: Vec<_> = stage.messages().iter().flat_map(colors).collect();
    assert_eq!((messages.len(), all), (3, vec![GREEN, GREEN, GREEN]));
    assert_eq!(stage.messages()[2].pings, Vec::<String>::new());
    assert_eq!(stage.alertalk.calls().len(), 1, "nobody is called about an end");
    assert_eq!(exporter.metric(r#"captchaai_calls_total{destination="alertalk/oncall"}"#).await, Some(1.0));
    assert_eq!(exporter.metric(r#"captchaai_dead_letters{source="discord/ops"}"#).await, Some(0.0));
    stage.expect_no_violations();
    assert!(!exporter.log().contains("webhooks/") && !exporter.log().contains("5321234567"), "{}", exporter.log());
}

#[tokio::test]
async fn what_fired_and_ended_during_an_outage_is_one_message() {
    let stage = Stage::new(Options::unlimited()).await;
    let exporter = stage.setup.start();
    stage.discord.script(Action::Post, &Fault::Status(502), 1);
    notify(&exporter, "k", &[alert("Backlog", "warning", "firing")]).await;
    stage.discord.wait_until(|state| state.counts.requests >= 1).await.unwrap();
    notify(&exporter, "k", &[alert("Backlog", "warning", "resolved")]).await;
    let messages = stage.await_messages(1).await;
    settled(&exporter).await;
    assert_eq!((stage.messages().len(), colors(&messages[0])), (1, vec![GREEN]));
    let text = text(&messages[0]);
    // 08:30 and 08:42.
    assert!(text.contains("1769848200") && text.contains("1769848920"), "{text}");
    stage.expect_no_violations();
}

/// The messages about each group.
fn by_group(messages: &[Message], groups: usize) -> Vec<usize> {
    let told = |name: String| messages.iter().filter(|message| text(message).contains(&name)).count();
    (0..groups).map(|number| told(format!("Group{number:02}x"))).collect()
}

/// The messages of which a later one tells some group again. One may tell of many groups, when much has been waiting,
/// and each of those has a message of its own when it is told again.
fn repeated(messages: &[Message], groups: usize) -> usize {
    let mut told = vec![false; groups];
    let mut repeats = |message: &&Message| {
        let here: Vec<_> = by_group(std::slice::from_ref(*message), groups).iter().map(|&count| count > 0).collect();
        let again = told.iter().zip(&here).any(|(told, here)| *told && *here);
        told.iter_mut().zip(here).for_each(|(told, here)| *told |= here);
        again
    };
    messages.iter().rev().filter(|message| repeats(message)).count()
}

#[tokio::test]
async fn alerts_survive_sigkill_with_one_repeated_message_at_most() {
    const KILLS: usize = 8;
    let stage = Stage::new(Options::unlimited()).await;
    let mut groups = 0;
    for round in 0..KILLS {
        let exporter = stage.setup.start();
        let before = stage.discord.counts().requests;
        // The first is in the middle of its request when the process dies, or has just been answered.
        let fault = if round % 2 == 0 { Fault::Hang } else { Fault::Delay(std::time::Duration::from_millis(30)) };
        stage.discord.script(Action::Post, &fault, 1);
        for _ in 0..3 {
            let name = format!("Group{groups:02}x");
            notify(&exporter, &name, &[alert(&name, "critical", "firing")]).await;
            groups += 1;
        }
        stage.discord.wait_until(|state| state.counts.requests > before).await.unwrap();
        exporter.kill();
    }
    let exporter = stage.setup.start();
    settled(&exporter).await;
    let told = by_group(&stage.messages(), groups);
    assert!(told.iter().all(|&count| count >= 1), "lost: {told:?}");
    let repeated = repeated(&stage.messages(), groups);
    assert!(repeated <= KILLS, "{repeated}: {told:?}");
}

#[tokio::test]
async fn a_storm_is_told_within_the_limits_and_nothing_is_left_out() {
    const GROUPS: usize = 40;
    let stage = Stage::new(Options::default()).await;
    let exporter = stage.setup.start();
    for number in 0..GROUPS {
        let name = format!("Group{number:02}x");
        notify(&exporter, &name, &[alert(&name, "warning", "firing")]).await;
    }
    settled(&exporter).await;
    let messages = stage.messages();
    assert!(messages.len() <= 15, "{}", messages.len());
    assert_eq!(by_group(&messages, GROUPS), [1; GROUPS]);
    stage.expect_no_violations();
}

#[tokio::test]
async fn a_deleted_webhook_is_said_elsewhere_and_a_corrected_one_is_used_again() {
    let mut stage = Stage::new(Options::unlimited()).await;
    let other = stage.discord.add_webhook("second");
    let more = format!("  - {{ name: second, webhook_url: \"{other}\", min_severity: critical }}\n");
    stage.setup.config = receivers(&stage.discord.webhook_url(), &stage.alertalk.url(), &more);
    let exporter = stage.setup.start();
    stage.discord.delete_webhook();
    notify(&exporter, "k", &[alert("Backlog", "warning", "firing")]).await;
    let messages = stage.await_messages(1).await;
    assert_eq!(messages[0].webhook, "second");
    assert!(text(&messages[0]).contains("discord/ops"), "{}", text(&messages[0]));
    assert!(exporter.get("/").await.1.contains("refuses us"));
    // Said once, and not that it is tried again.
    let log = exporter.log();
    assert!(log.contains("refuses us: not used") && !log.contains("trying again"), "{log}");

    let third = stage.discord.add_webhook("third");
    stage.setup.config = receivers(&third, &stage.alertalk.url(), &more);
    stage.setup.write();
    assert_eq!(exporter.post("/-/reload", "").await.0, 200);
    stage.discord.wait_until(|state| state.visible().any(|message| message.webhook == "third")).await.unwrap();
    settled(&exporter).await;
    assert_eq!(stage.alertalk.calls(), [], "messages reach somebody");
}

#[tokio::test]
async fn without_credit_that_is_said_and_counted() {
    let stage = Stage::new(Options::unlimited()).await;
    stage.alertalk.set_credits(0);
    let exporter = stage.setup.start();
    notify(&exporter, "k", &[alert("NoSolves", "critical", "firing")]).await;
    // The alert, that there is no credit, and that nobody was called.
    let messages = stage.await_messages(3).await;
    settled(&exporter).await;
    assert_eq!((messages.len(), stage.alertalk.counts().requests), (3, 1));
    let series = r#"captchaai_calls_suppressed_total{destination="alertalk/oncall",reason="no_credit"}"#;
    assert_eq!(exporter.metric(series).await, Some(1.0));

    // A reload says that there may be credit again.
    stage.alertalk.set_credits(10);
    assert!(exporter.get("/").await.1.contains("no credit"));
    assert_eq!(exporter.post("/-/reload", "").await.0, 200);
    let used_again = async || (!exporter.get("/").await.1.contains("no credit")).then_some(());
    eventually("an end of the pause", used_again).await;
    notify(&exporter, "other", &[alert("QueueStuck", "critical", "firing")]).await;
    stage.alertalk.wait_until(|state| !state.calls.is_empty()).await.unwrap();
}

#[tokio::test]
async fn a_silent_pipeline_is_told_and_its_return_too() {
    let mut stage = Stage::new(Options::unlimited()).await;
    stage.setup.config.push_str("watchdog: { timeout: 1s }\n");
    let exporter = stage.setup.start();
    let messages = stage.await_messages(1).await;
    stage.alertalk.wait_until(|state| !state.calls.is_empty()).await.unwrap();
    assert_eq!(colors(&messages[0]), [RED]);
    exporter.post("/alertmanager/watchdog", notification("w", &[alert("Watchdog", "none", "firing")])).await;
    let messages = stage.await_messages(2).await;
    assert_eq!(colors(&messages[1]), [GREEN]);
    assert_eq!(stage.alertalk.calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_alert_is_shown_or_sent() {
    let stage = Stage::new(Options::unlimited()).await;
    let config = stage.setup.write();
    let program = env!("CARGO_BIN_EXE_captchaai-exporter");
    let base = ["--config.file", config.to_str().unwrap(), "test-alert"];
    let (success, shown) = run(program, &[&base[..], &["--dry-run", "--severity", "critical"]].concat());
    assert!(success, "{shown}");
    for part in ["discord/ops", "\"embeds\"", "\"allowed_mentions\"", "alertalk/oncall", "\"error_message\""] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert!(!shown.contains("webhooks/") && !shown.contains("simulated-alertalk-key"), "{shown}");
    assert_eq!((stage.messages().len(), stage.alertalk.calls().len()), (0, 0));

    let payload = stage.setup.folder.path().join("payload.json");
    std::fs::write(&payload, notification("k", &[alert("FromFile", "warning", "firing")]).to_string()).unwrap();
    let (success, said) = run(program, &[&base[..], &["--file", payload.to_str().unwrap()]].concat());
    assert!(success && said.contains("discord/ops"), "{said}");
    assert!(text(&stage.messages()[0]).contains("FromFile"));
    assert_eq!(stage.alertalk.calls(), [], "a warning is not for the phone");

    stage.discord.delete_webhook();
    let (success, said) = run(program, &[&base[..], &["--receiver", "default"]].concat());
    assert!(!success && said.contains("discord/ops") && said.contains("404"), "{said}");
    let (success, said) = run(program, &[&base[..], &["--receiver", "nobody"]].concat());
    assert!(!success && said.contains("nobody") && said.contains("default"), "{said}");
}

//! The real Alertmanager with the configuration that ships, posting to the running program.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use captchaai_exporter::demo::alertalk::{self, SimulatedAlertalk};
use captchaai_exporter::demo::discord::{self, SimulatedDiscord};
use serde_json::json;

use crate::harness::{Exporter, PATIENCE, Setup, eventually, repository, versions};

pub(crate) const TOKEN: &str = "token-of-the-test";

/// A real Alertmanager on a free port; killed when dropped.
pub(crate) struct Alertmanager {
    child: Child,
    pub(crate) url: String,
}

/// What stands in the configuration that ships, and what the tests put there.
const EXPORTER: &str = "127.0.0.1:9877";
const WAITS: [(&str, &str); 6] = [
    ("group_wait: 10s", "group_wait: 200ms"),
    ("group_interval: 1m", "group_interval: 1s"),
    ("repeat_interval: 2h", "repeat_interval: 2s"),
    ("repeat_interval: 24h", "repeat_interval: 1h"),
    ("repeat_interval: 1m", "repeat_interval: 1s"),
    ("/etc/alertmanager/captchaai-exporter-token", "token"),
];

impl Alertmanager {
    /// With the configuration of the repository: other addresses and shorter waits, and nothing else.
    pub(crate) async fn start(program: &Path, folder: &Path, exporter: &str, webhook_url: &str) -> Self {
        fs::write(folder.join("token"), TOKEN).unwrap();
        let mut yaml = fs::read_to_string(repository("alertmanager/alertmanager.yml")).unwrap();
        let addresses = [(EXPORTER, exporter), ("https://discord.com/api/webhooks/ID/TOKEN", webhook_url)];
        for (from, to) in WAITS.into_iter().chain(addresses) {
            assert!(yaml.contains(from), "{from}");
            yaml = yaml.replace(from, to);
        }
        let config = folder.join("alertmanager.yml");
        fs::write(&config, yaml).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", folder.join("alertmanager").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let alertmanager = Self { child, url: format!("http://127.0.0.1:{port}") };
        let client = client();
        let ready = format!("{}/-/ready", alertmanager.url);
        eventually("Alertmanager", async || client.get(&ready).send().await.ok()?.error_for_status().ok()).await;
        alertmanager
    }

    /// Sends an alert as Prometheus does; with an end in the past it is resolved.
    async fn alert(&self, name: &str, severity: &str, ends_at: Option<&str>) {
        let mut alert = json!({
            // A family for each, or the critical one would hide the warning.
            "labels": {"alertname": name, "severity": severity, "family": name, "account": "main"},
            "annotations": {"summary": format!("{name} in words")},
        });
        if let Some(ends_at) = ends_at {
            alert["startsAt"] = json!("2026-01-31T08:30:00Z");
            alert["endsAt"] = json!(ends_at);
        }
        let body = json!([alert]).to_string();
        let request = client().post(format!("{}/api/v2/alerts", self.url)).header("content-type", "application/json");
        let answer = request.body(body).timeout(PATIENCE).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{:?}", answer.text().await);
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().tls_backend_preconfigured(crate::harness::tls()).no_proxy().build().unwrap()
}

fn start_exporter(setup: &Setup, address: &str) -> Exporter {
    let mut command = Command::new(env!("CARGO_BIN_EXE_captchaai-exporter"));
    command.arg("--config.file").arg(setup.write()).args(["--web.listen-address", address]);
    Exporter::spawn(command)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_alertmanager_is_understood_from_the_first_notification_to_the_last() {
    for program in versions("prometheus-alertmanager") {
        story(&program).await;
    }
}

async fn story(program: &Path) {
    let discord = SimulatedDiscord::start(discord::Options::unlimited()).await.unwrap();
    let alertalk = SimulatedAlertalk::start(alertalk::Options::default()).await.unwrap();
    let mut setup = Setup::new();
    setup.config = format!(
        "web: {{ auth_token: {TOKEN} }}\nreceivers:\n- name: default\n  \
         discord: [{{ name: ops, webhook_url: \"{}\" }}]\n  \
         alertalk: [{{ name: oncall, url: \"{}\", webhook_key: simulated-alertalk-key, phone_numbers: [\"5321234567\"] }}]\n",
        discord.webhook_url(),
        alertalk.url()
    );
    let exporter = start_exporter(&setup, "127.0.0.1:0");
    let address = exporter.address.to_string();
    let alertmanager = Alertmanager::start(program, setup.folder.path(), &address, &discord.webhook_url()).await;

    // The first notification: one message, one call.
    alertmanager.alert("CaptchaAINoSolves", "critical", None).await;
    discord.wait_until(|state| state.visible().count() == 1).await.unwrap();
    alertalk.wait_until(|state| state.calls.len() == 1).await.unwrap();
    let message = &discord.messages()[0];
    assert!(message.content.to_string().contains("CaptchaAINoSolves in words"), "{}", message.content);

    // Repetitions say nothing new.
    let received = r#"captchaai_alert_notifications_total{receiver="default"}"#;
    let authorized = async |exporter: &Exporter| exporter.metric(received).await.unwrap_or_default();
    let before = authorized(&exporter).await;
    eventually("two repetitions", async || (authorized(&exporter).await >= before + 2.0).then_some(())).await;
    assert_eq!((discord.counts().posted, discord.counts().edited, alertalk.counts().requests), (1, 0, 1));

    // The watchdog has its own way.
    alertmanager.alert("CaptchaAIWatchdog", "none", None).await;
    let heard = "captchaai_watchdog_last_received_timestamp_seconds";
    eventually("the watchdog", async || exporter.metric(heard).await.filter(|at| *at > 0.0)).await;

    // While the program is away Alertmanager tries again, and nothing is lost.
    let (status, _) = exporter.terminate().await;
    assert!(status.success());
    alertmanager.alert("CaptchaAIBalanceLow", "warning", None).await;
    let exporter = start_exporter(&setup, &address);
    discord.wait_until(|state| state.visible().count() == 2).await.unwrap();
    assert!(discord.messages()[1].content.to_string().contains("CaptchaAIBalanceLow"));

    // Both end: two edits to green, and a short message for each.
    alertmanager.alert("CaptchaAINoSolves", "critical", Some("2026-01-31T08:42:00Z")).await;
    alertmanager.alert("CaptchaAIBalanceLow", "warning", Some("2026-01-31T08:42:00Z")).await;
    discord.wait_until(|state| state.visible().count() == 4 && state.counts.edited >= 2).await.unwrap();
    let green = json!(0x2E_CC71);
    for message in discord.messages() {
        assert_eq!(message.content["embeds"][0]["color"], green, "{}", message.content);
    }
    assert_eq!((alertalk.counts().requests, discord.counts().violations()), (1, 0));
    drop(exporter);
}

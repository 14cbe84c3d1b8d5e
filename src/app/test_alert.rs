//! `test-alert`: shows what a receiver's destinations would be told of an alert, or tells them. It goes
//! past the outbox, so that it works beside a running program, and says at once what each answered.

use std::fmt::Write as _;
use std::sync::Arc;

use jiff::Timestamp;

use crate::cli::TestAlert;
use crate::config::{Config, Receiver};
use crate::delivery::REQUESTS_PER_CLAIM;
use crate::domain::alert::Group;
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::notification;
use crate::notify::alertalk::Alertalk;
use crate::notify::discord::Discord;
use crate::notify::{Content, Context, Job, Notifier, Settings, Step, client};

/// What is told where no file is given; `SEVERITY` is replaced.
const SAMPLE: &str = r#"{
  "version": "4", "groupKey": "test-alert", "status": "firing", "externalURL": "http://127.0.0.1:9093",
  "alerts": [{
    "status": "firing",
    "labels": {"alertname": "CaptchaAITestAlert", "severity": "SEVERITY", "account": "main"},
    "annotations": {
      "summary": "This is a test. Nothing is wrong.",
      "description": "Sent by `captchaai-exporter test-alert` to show what alerts look like.",
      "fields": "Balance: 8.42 USD\nThreshold: 10 USD\nAction: none, this is a test"
    }
  }]
}"#;

/// What happened, for whoever asked; the error says that something could not be told.
pub async fn run(config: &Config, options: &TestAlert) -> Result<String, String> {
    let receiver = receiver(config, options.receiver.as_deref())?;
    let now = SystemClock.now();
    let group = group(options, &receiver.name, now)?;
    let http = client::http_client(client::TIMEOUT).map_err(|error| error.to_string())?;
    let mut report = Report { text: String::new(), failed: false };
    for (settings, route) in receiver.destinations.iter().zip(receiver.routes()) {
        let name = settings.destination();
        if !route.wants(&group, false) {
            let least = route.least.as_str();
            report.line(&format!("{name}: is not told: min_severity is {least}, or nothing fires"));
            continue;
        }
        let content = Content::Group(Box::new(group.clone()));
        let job = Job { content, told: None, queued_at: now, state_at: now, attempts: 0 };
        match settings.clone() {
            Settings::Discord(settings) => {
                let discord = Discord::new(settings, http.clone(), Arc::default());
                report.tell(&name, &discord, job, options.dry_run, now).await;
            }
            Settings::Alertalk(settings) => {
                let alertalk = Alertalk::new(settings, http.clone());
                report.tell(&name, &alertalk, job, options.dry_run, now).await;
            }
            // None of a receiver's.
            Settings::Subscriber(_) => {}
        }
    }
    if report.failed { Err(report.text) } else { Ok(report.text) }
}

fn receiver<'c>(config: &'c Config, name: Option<&str>) -> Result<&'c Receiver, String> {
    let names: Vec<_> = config.receivers.iter().map(|receiver| receiver.name.as_str()).collect();
    let found = match (name, config.receivers.as_slice()) {
        (None, []) => return Err("no receiver is configured; expected receivers in the configuration".to_owned()),
        (None, [only]) => Some(only),
        (name, receivers) => receivers.iter().find(|receiver| receiver.name == name.unwrap_or("default")),
    };
    found.ok_or_else(|| {
        let wanted = name.unwrap_or("default");
        format!("no receiver is named {wanted:?}; expected --receiver with one of {}", names.join(", "))
    })
}

fn group(options: &TestAlert, receiver: &str, now: Timestamp) -> Result<Group, String> {
    let body = match &options.file {
        None => SAMPLE.replace("SEVERITY", options.severity.as_str()).into_bytes(),
        Some(file) => std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?,
    };
    let parsed = notification::parse(&body, receiver, now).map_err(|rubbish| rubbish.to_string())?;
    let mut group = parsed.group;
    for alert in group.alerts.iter_mut().filter(|alert| alert.starts_at.is_none()) {
        alert.starts_at = Some(now);
    }
    Ok(group)
}

struct Report {
    text: String,
    failed: bool,
}

impl Report {
    fn line(&mut self, line: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "{line}");
    }

    async fn tell<N: Notifier>(&mut self, name: &str, notifier: &N, mut job: Job, dry_run: bool, now: Timestamp) {
        let context = Context { now, calls: &[], no_credit_until: None };
        for _ in 0..REQUESTS_PER_CLAIM {
            let request = match notifier.next(&job, &context) {
                Step::Send(request) => request,
                Step::Done(_) => return,
                Step::Suppress { reason, .. } => return self.line(&format!("{name}: is not told: {reason}")),
            };
            if dry_run {
                let body = serde_json::to_string_pretty(&notifier.body(&request)).unwrap_or_default();
                return self.line(&format!("{name}:\n{body}"));
            }
            match notifier.send(&request).await {
                Ok(receipt) => {
                    let id = receipt.message_id.as_ref().map(|id| format!(" as message {id}")).unwrap_or_default();
                    self.line(&format!("{name}: took it{id}"));
                    job.told = notifier.told(&job, &request, &receipt, now);
                }
                Err(error) => {
                    self.failed = true;
                    return self.line(&format!("{name}: failed: {error}"));
                }
            }
        }
    }
}

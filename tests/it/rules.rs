//! The rules, configurations and runbooks that ship: complete, in one style, and taken by the real tools.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{Setup, repository, run, versions};

/// Every alert with its severities, the families that route it and the receiver that gets it.
const ALERTS: [(&str, &[&str], &str, &str); 20] = [
    ("CaptchaAIBalanceLow", &["warning"], "balance", "captchaai"),
    ("CaptchaAIBalanceCritical", &["critical"], "balance", "captchaai"),
    ("CaptchaAIBalanceRunway", &["warning", "critical"], "balance", "captchaai"),
    ("CaptchaAIBalanceStale", &["warning"], "api", "captchaai"),
    ("CaptchaAISolveErrorSpike", &["critical"], "solves", "captchaai"),
    ("CaptchaAIPipelineRecovered", &["info"], "report", "captchaai"),
    ("CaptchaAISolveLatencyHigh", &["info"], "solves", "captchaai"),
    ("CaptchaAISolveSLOFastBurn", &["critical"], "solves", "captchaai"),
    ("CaptchaAISolveSLOSlowBurn", &["warning"], "solves", "captchaai"),
    ("CaptchaAIQueueBacklog", &["warning"], "solves", "captchaai"),
    ("CaptchaAINoSolves", &["critical"], "solves", "captchaai"),
    ("CaptchaAIPingbackDeliveryLow", &["warning"], "delivery", "captchaai"),
    ("CaptchaAIPingbacksRejected", &["warning"], "delivery", "captchaai"),
    ("CaptchaAIDeadLettersGrowing", &["warning"], "delivery", "captchaai"),
    ("CaptchaAIDeliveryFailing", &["critical"], "delivery", "captchaai"),
    ("CaptchaAICallCreditExhausted", &["critical"], "delivery", "captchaai"),
    ("CaptchaAIUpstreamAuth", &["critical"], "api", "captchaai"),
    ("CaptchaAIExporterDown", &["critical"], "exporter", "direct"),
    ("CaptchaAIStoreFailing", &["critical"], "exporter", "direct"),
    ("CaptchaAIDailySummary", &["info"], "report", "captchaai"),
];
const WATCHDOG: &str = "CaptchaAIWatchdog";

/// Values that may stand for a threshold: they are made of the objective or of a clock.
const NUMBERS_IN_EXPRESSIONS: [&str; 4] = ["0", "1", "0.5", "15"];

fn yaml(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(repository(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    files.sort();
    assert!(!files.is_empty(), "{folder}");
    files
}

/// Every rule, with its file.
fn rules() -> Vec<(PathBuf, Value)> {
    let mut rules = Vec::new();
    for file in files("alertmanager/rules", "yml") {
        let read = yaml(&file);
        for group in read["groups"].as_array().unwrap() {
            rules.extend(group["rules"].as_array().unwrap().iter().map(|rule| (file.clone(), rule.clone())));
        }
    }
    rules
}

fn alerts() -> Vec<Value> {
    rules().into_iter().map(|(_, rule)| rule).filter(|rule| rule["alert"].is_string()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// The words of an expression or a template that can be names of metrics.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).filter(|word| !word.is_empty())
}

#[test]
fn every_alert_is_there_with_its_severities_and_no_other() {
    let mut found: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    for alert in alerts() {
        let labels = &alert["labels"];
        let pair = (text(&labels["severity"]).to_owned(), text(&labels["family"]).to_owned());
        assert!(found.entry(text(&alert["alert"]).to_owned()).or_default().insert(pair), "{alert} is there twice");
        assert_eq!(labels.as_object().unwrap().len(), 2, "{alert}");
    }
    let expected = ALERTS.iter().map(|(name, severities, family, _)| {
        let pairs = severities.iter().map(|severity| ((*severity).to_owned(), (*family).to_owned()));
        ((*name).to_owned(), pairs.collect())
    });
    let watchdog = (WATCHDOG.to_owned(), BTreeSet::from([("none".to_owned(), "watchdog".to_owned())]));
    assert_eq!(found, expected.chain([watchdog]).collect());
}

#[test]
fn every_alert_is_told_in_the_house_style() {
    for alert in alerts() {
        let name = text(&alert["alert"]);
        let annotations = alert["annotations"].as_object().unwrap();
        let has = |key: &str| annotations.contains_key(key);
        let summary = text(&annotations["summary"]);
        assert!(!summary.contains("{{") && summary.ends_with('.'), "{name}: the summary never changes: {summary}");
        assert!(text(&annotations["description"]).len() > 20, "{name}");
        assert_eq!(text(&annotations["runbook_url"]), format!("https://runbooks.example/{name}.md"));
        if name == WATCHDOG {
            continue;
        }
        let title = text(&annotations["title"]);
        assert!(title.starts_with(|c: char| !c.is_ascii()), "{name}: {title} has no emoji");
        assert!(has("fields"), "{name}");
        let critical = alert["labels"]["severity"] == "critical";
        assert_eq!(has("voice"), critical, "{name}: phones ring for critical alerts, and only then");
        if critical {
            assert!(text(&annotations["voice"]).starts_with("Kritik uyarı. "), "{name}");
        }
        let report = alert["labels"]["family"] == "report";
        assert_eq!(annotations.get("resolved"), report.then_some(&json!("silent")), "{name}");
        let known = ["summary", "description", "title", "fields", "voice", "runbook_url", "color", "resolved"];
        assert!(annotations.keys().all(|key| known.contains(&key.as_str())), "{name}");
        for (key, value) in annotations {
            assert_eq!(text(value).matches("{{").count(), text(value).matches("}}").count(), "{name}: {key}");
        }
        let labels = alert["labels"].as_object().unwrap();
        assert!(labels.values().all(|value| !text(value).contains("{{")), "{name}: a label that changes is new alerts");
    }
}

/// Prometheus remembers over a restart what was pending for ten minutes and more, and Alertmanager forgets after four
/// what is not sent again: between the two a restart would end an alert and call again for it.
#[test]
fn no_alert_ends_by_a_restart_of_prometheus() {
    for alert in alerts() {
        let Some(pending) = alert["for"].as_str() else { continue };
        let minutes: u64 = pending.strip_suffix('m').unwrap().parse().unwrap();
        assert!(minutes <= 3 || minutes >= 10, "{}: {pending}", alert["alert"]);
    }
}

/// The names at the start of the lines of an alert's fields.
fn field_names(name: &str, severity: &str) -> Vec<String> {
    let is_it = |alert: &&Value| alert["alert"] == name && alert["labels"]["severity"] == severity;
    let alerts = alerts();
    let fields = text(&alerts.iter().find(is_it).unwrap()["annotations"]["fields"]).to_owned();
    let lines = fields.lines().filter(|line| !line.starts_with(' ') && !line.starts_with("{{"));
    lines.filter_map(|line| line.split_once(':')).map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn fields_come_in_the_order_of_the_house() {
    for (alert, severity, expected) in [
        ("CaptchaAIBalanceLow", "warning", &["Threshold", "Severity", "Runway", "Action"][..]),
        ("CaptchaAIBalanceCritical", "critical", &["Threshold", "Severity", "Runway", "Action"]),
        ("CaptchaAISolveErrorSpike", "critical", &["Error rate", "Failed", "By code", "Window"]),
        ("CaptchaAIQueueBacklog", "warning", &["Depth", "Active workers", "Estimated drain time"]),
        ("CaptchaAIPipelineRecovered", "info", &["Before", "After"]),
        (
            "CaptchaAIDailySummary",
            "info",
            &["Total", "Success rate", "Average latency", "Cost", "Errors", "Balance", "Peak queue"],
        ),
    ] {
        let found = field_names(alert, severity);
        assert_eq!(found.get(..expected.len()).unwrap(), expected, "{alert}");
    }
}

#[test]
fn thresholds_stand_at_the_top_of_their_file_and_nowhere_else() {
    let mut defined = BTreeMap::new();
    let mut used = BTreeSet::new();
    let mut others = BTreeSet::new();
    for (file, rule) in rules() {
        let expression = text(&rule["expr"]);
        if rule["record"] == "captchaai:threshold" {
            assert!(!others.contains(&file), "{}: {rule} is not at the top", file.display());
            let name = text(&rule["labels"]["name"]).to_owned();
            assert!(defined.insert(name.clone(), file).is_none(), "{name} is there twice");
            continue;
        }
        if rule["alert"].is_string() {
            let compared =
                expression.split(['<', '>', '=']).skip(1).map(|rest| rest.trim_start_matches("bool ").trim());
            let numbers = compared.filter_map(|rest| rest.split([' ', ')', '\n']).next());
            for number in numbers.filter(|word| word.starts_with(|c: char| c.is_ascii_digit())) {
                assert!(NUMBERS_IN_EXPRESSIONS.contains(&number), "{}: {number} is a threshold", rule["alert"]);
            }
        }
        others.insert(file);
        let templates = rule["annotations"].as_object().into_iter().flat_map(|annotations| annotations.values());
        for text in std::iter::once(&rule["expr"]).chain(templates).map(text) {
            let names =
                text.split("captchaai:threshold{name=").skip(1).filter_map(|rest| rest.split(['"', '\'']).nth(1));
            used.extend(names.map(str::to_owned));
        }
    }
    assert_eq!(defined.into_keys().collect::<BTreeSet<_>>(), used);
}

/// A rule about a metric that is called otherwise never fires, and nobody notices.
#[tokio::test]
async fn every_metric_of_the_rules_is_in_a_scrape() {
    let mut setup = Setup::new();
    setup.config = "subscribers: [{ name: workers, url: \"http://127.0.0.1:9/\" }]\nreceivers:\n- name: default\n  \
                    alertalk: [{ name: oncall, url: \"http://127.0.0.1:9/\", webhook_key: k, phone_numbers: [\"5321234567\"] }]\n"
        .to_owned();
    // Only what is solved and polled makes these.
    let exporter = setup.start();
    exporter.register(json!({"id": "1", "captcha": "turnstile", "worker": "w1"})).await;
    exporter.pingback("id=1&code=x").await;
    let (_, metrics) = exporter.get("/metrics").await;
    let declared: BTreeSet<&str> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        // Without an API that answers no balance is known.
        .chain(["captchaai_account_balance_usd"])
        .collect();
    let recorded: BTreeSet<String> =
        rules().iter().filter_map(|(_, rule)| rule["record"].as_str().map(str::to_owned)).collect();
    let mut seen = BTreeSet::new();
    for (_, rule) in rules() {
        let templates = rule["annotations"].as_object().into_iter().flat_map(|annotations| annotations.values());
        for text in std::iter::once(&rule["expr"]).chain(templates).map(text) {
            for name in names(text) {
                if name.contains(':') && name.contains("captchaai") {
                    assert!(recorded.contains(name), "{name} is recorded by no rule");
                }
                if !name.starts_with("captchaai_") && !name.starts_with("process_") {
                    continue;
                }
                let plain = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
                let plain = plain.filter(|plain| declared.contains(plain)).unwrap_or(name);
                assert!(declared.contains(plain), "{name} of {rule}");
                seen.insert(plain.to_owned());
            }
        }
    }
    assert!(seen.len() > 20, "{seen:?}");
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let alerts: BTreeSet<String> = alerts().iter().map(|alert| text(&alert["alert"]).to_owned()).collect();
    let index = fs::read_to_string(repository("alertmanager/runbooks/README.md")).unwrap();
    let mut runbooks = BTreeSet::new();
    for file in files("alertmanager/runbooks", "md") {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        if name == "README" {
            continue;
        }
        let runbook = fs::read_to_string(&file).unwrap();
        assert!(runbook.starts_with(&format!("# {name}\n")), "{name}");
        assert!(index.contains(&format!("({name}.md)")), "{name} is not in the index");
        let mut rest = runbook.as_str();
        for part in ["What it means", "What users notice", "How to check", "What to do", "How to prevent it"] {
            rest = rest.split_once(&format!("\n## {part}\n")).unwrap_or_else(|| panic!("{name}: {part}")).1;
        }
        runbooks.insert(name);
    }
    assert_eq!(alerts, runbooks);
}

fn succeeds(program: &Path, arguments: &[&str]) -> String {
    let (success, output) = run(program.to_str().unwrap(), arguments);
    assert!(success, "{} {arguments:?}: {output}", program.display());
    output
}

#[test]
fn promtool_takes_the_rules_and_their_tests_pass() {
    let config = repository("alertmanager/prometheus.yml");
    let tests: Vec<_> =
        files("alertmanager/rules/tests", "yml").into_iter().map(|path| path.to_str().unwrap().to_owned()).collect();
    for promtool in versions("promtool") {
        succeeds(&promtool, &["check", "config", config.to_str().unwrap()]);
        let rules = files("alertmanager/rules", "yml");
        for rules in &rules {
            succeeds(&promtool, &["check", "rules", "--lint=all", "--lint-fatal", rules.to_str().unwrap()]);
        }
        let mut arguments = vec!["test", "rules"];
        arguments.extend(tests.iter().map(String::as_str));
        succeeds(&promtool, &arguments);
    }
}

/// A test that nobody runs tests nothing: each alert of each severity is seen firing, and each silent.
#[test]
fn every_alert_is_tested_firing_and_silent() {
    let (mut fires, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for file in files("alertmanager/rules/tests", "yml") {
        for test in yaml(&file)["tests"].as_array().unwrap() {
            for case in test["alert_rule_test"].as_array().into_iter().flatten() {
                let name = text(&case["alertname"]).to_owned();
                let expected: Vec<_> = case["exp_alerts"].as_array().into_iter().flatten().collect();
                if expected.is_empty() {
                    silent.insert(name.clone());
                }
                let severities = expected.iter().map(|alert| text(&alert["exp_labels"]["severity"]).to_owned());
                fires.extend(severities.map(|severity| (name.clone(), severity)));
            }
        }
    }
    for (name, severities, ..) in ALERTS {
        assert!(silent.contains(name), "{name} is never silent");
        for severity in severities {
            assert!(fires.contains(&(name.to_owned(), (*severity).to_owned())), "{name} never fires as {severity}");
        }
    }
    assert!(fires.contains(&(WATCHDOG.to_owned(), "none".to_owned())));
}

#[test]
fn amtool_takes_the_configuration_and_routes_every_alert() {
    let config = repository("alertmanager/alertmanager.yml");
    let file = format!("--config.file={}", config.display());
    for amtool in versions("amtool") {
        succeeds(&amtool, &["check-config", config.to_str().unwrap()]);
        for (name, severities, family, receiver) in ALERTS {
            for severity in severities {
                let labels = [("alertname", name), ("severity", severity), ("family", family), ("job", "captchaai")];
                let labels = labels.map(|(name, value)| format!("{name}={value}"));
                let verify = format!("--verify.receivers={receiver}");
                let mut arguments = vec!["config", "routes", "test", &file, &verify];
                arguments.extend(labels.iter().map(String::as_str));
                succeeds(&amtool, &arguments);
            }
        }
        let watchdog = format!("alertname={WATCHDOG}");
        succeeds(
            &amtool,
            &["config", "routes", "test", &file, "--verify.receivers=watchdog", &watchdog, "severity=none"],
        );
    }
}

//! The body of Alertmanager's webhook, version 4, for a group of one alert.

use serde_json::{Map, Value, json};

use super::known::Alert;
use super::rules::Rule;
use crate::domain::time::format_timestamp;

/// As Go writes no time at all.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The notification of an alert. An account makes a group of its own, as `alertmanager.yml` has it.
pub(super) fn notification(rule: &Rule, account: Option<&'static str>, alert: &Alert) -> Value {
    let status = if alert.ended_at.is_none() { "firing" } else { "resolved" };
    let group: Vec<_> =
        account.map(|name| ("account", name)).into_iter().chain([("alertname", rule.alertname)]).collect();
    let mut labels = group.clone();
    labels.extend([("family", if account.is_some() { "balance" } else { "meta" }), ("severity", rule.severity)]);
    let annotations: Map<String, Value> = rule
        .annotations(account.unwrap_or_default(), alert.reading)
        .into_iter()
        .map(|(name, text)| (name.to_owned(), Value::String(text)))
        .collect();
    let expression: String = form_urlencoded::byte_serialize(rule.expression().as_bytes()).collect();
    json!({
        "version": "4",
        "groupKey": group_key(rule, &group),
        "truncatedAlerts": 0,
        "status": status,
        "receiver": rule.receiver,
        "groupLabels": object(&group),
        "commonLabels": object(&labels),
        "commonAnnotations": annotations,
        "externalURL": "http://alertmanager.example:9093",
        "alerts": [{
            "status": status,
            "labels": object(&labels),
            "annotations": annotations,
            "startsAt": format_timestamp(alert.started_at),
            "endsAt": alert.ended_at.map_or_else(|| NEVER.to_owned(), format_timestamp),
            "generatorURL": format!("http://prometheus.example:9090/graph?g0.expr={expression}&g0.tab=1"),
            "fingerprint": fingerprint(&labels),
        }],
    })
}

/// The route to the receiver and the labels of the group, as Alertmanager writes them.
fn group_key(rule: &Rule, group: &[(&str, &str)]) -> String {
    let labels: Vec<_> = group.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    let route =
        if rule.receiver == "watchdog" { format!("/{{alertname={:?}}}", rule.alertname) } else { String::new() };
    format!("{{}}{route}:{{{}}}", labels.join(", "))
}

fn object(labels: &[(&str, &str)]) -> Value {
    labels.iter().map(|&(name, value)| (name.to_owned(), Value::from(value))).collect::<Map<_, _>>().into()
}

/// FNV-1a over the labels in the order of their names, as Prometheus has it.
fn fingerprint(labels: &[(&str, &str)]) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in labels.iter().flat_map(|&(name, value)| [name, value]).flat_map(|text| text.bytes().chain([0xff])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::rules::{Reading, rules_of_accounts, watchdog};
    use super::*;
    use crate::domain::notification::parse;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_769_848_200 + second).unwrap()
    }

    fn alert(ended_at: Option<Timestamp>) -> Alert {
        Alert { started_at: at(0), ended_at, reading: Reading { balance_usd: 2.01, runway: None } }
    }

    #[test]
    fn a_group_is_one_alert_of_one_account() {
        let rule = rules_of_accounts().next().unwrap();
        let firing = notification(rule, Some("backup"), &alert(None));
        assert_eq!(firing["groupKey"], r#"{}:{account="backup", alertname="CaptchaAIBalanceLow"}"#);
        assert_eq!((&firing["status"], &firing["alerts"][0]["endsAt"]), (&json!("firing"), &json!(NEVER)));
        assert_eq!(firing["alerts"][0]["startsAt"], "2026-01-31T08:30:00.000Z");
        let labels = json!({
            "account": "backup", "alertname": "CaptchaAIBalanceLow", "family": "balance", "severity": "warning",
        });
        assert_eq!((&firing["commonLabels"], &firing["alerts"][0]["labels"]), (&labels, &labels));
        let resolved = notification(rule, Some("backup"), &alert(Some(at(90))));
        assert_eq!((&resolved["status"], &resolved["alerts"][0]["status"]), (&json!("resolved"), &json!("resolved")));
        assert_eq!(resolved["alerts"][0]["endsAt"], "2026-01-31T08:31:30.000Z");
        for same in ["groupKey", "groupLabels", "receiver"] {
            assert_eq!(firing[same], resolved[same], "{same}");
        }
        assert_eq!(firing["alerts"][0]["fingerprint"], resolved["alerts"][0]["fingerprint"]);
        let other = notification(rule, Some("main"), &alert(None));
        assert_ne!(firing["alerts"][0]["fingerprint"], other["alerts"][0]["fingerprint"]);
        let watchdog = notification(watchdog(), None, &alert(None));
        let key = r#"{}/{alertname="CaptchaAIWatchdog"}:{alertname="CaptchaAIWatchdog"}"#;
        assert_eq!((&watchdog["groupKey"], &watchdog["receiver"]), (&json!(key), &json!("watchdog")));
    }

    #[test]
    fn the_exporter_reads_it_whole() {
        for rule in rules_of_accounts() {
            for ended_at in [None, Some(at(90))] {
                let body = notification(rule, Some("main"), &alert(ended_at)).to_string();
                let parsed = parse(body.as_bytes(), "default", at(91)).unwrap();
                assert_eq!((parsed.odd, parsed.group.firing, parsed.group.alerts.len()), (0, ended_at.is_none(), 1));
                let read = &parsed.group.alerts[0];
                assert_eq!((read.name(), read.severity()), (rule.alertname, rule.severity));
                assert_eq!((read.starts_at, read.ends_at), (Some(at(0)), ended_at));
            }
        }
    }

    #[test]
    fn fingerprints_are_those_of_prometheus() {
        let labels = [("fear", "love is not enough"), ("name", "garland, briggs")];
        // Both are values of Prometheus' own tests.
        for (labels, expected) in [(&[][..], 14_695_981_039_346_656_037_u64), (&labels, 5_799_056_148_416_392_346)] {
            assert_eq!(fingerprint(labels), format!("{expected:016x}"));
        }
    }
}

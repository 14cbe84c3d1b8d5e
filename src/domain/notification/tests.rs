use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::values::MAX_VALUE;
use super::*;
use crate::domain::alert::Rank;
use crate::domain::time::format_timestamp;

const NOW: &str = "2026-01-31T09:00:00Z";

fn read(body: &[u8]) -> Result<Parsed, Rubbish> {
    parse(body, "default", NOW.parse().unwrap())
}

fn read_json(body: &Value) -> Parsed {
    read(body.to_string().as_bytes()).unwrap()
}

/// The only alert of a notification that holds this one, and whether it was odd.
fn read_alert(alert: &Value) -> (Alert, bool) {
    let Parsed { mut group, odd } = read_json(&json!({ "status": "firing", "alerts": [alert] }));
    (group.alerts.pop().unwrap(), odd == 1)
}

fn data(folder: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/alertmanager").join(folder)
}

fn good(name: &str) -> Parsed {
    read(&fs::read(data("good").join(name).with_extension("json")).unwrap()).unwrap()
}

fn named(name: &str, more: &Value) -> Value {
    let mut alert = json!({ "labels": { "alertname": name } });
    alert.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    alert
}

#[test]
fn each_good_file_is_read() {
    let balance = r#"{}:{alertname="CaptchaAIBalanceLow"}"#;
    // Its key, whether it fires, how many are truncated and odd, and which alerts fire.
    for (name, key, firing, truncated, odd, alerts) in [
        ("firing", balance, true, 0, 0, &[true, true][..]),
        ("resolved", balance, false, 0, 0, &[false, false]),
        ("mixed", balance, true, 0, 0, &[true, false]),
        ("v3", "10234567890123456789", true, 0, 0, &[true]),
        ("minimal", "default:{CaptchaAIBalanceLow}", true, 0, 0, &[true]),
        ("no_alerts", balance, false, 0, 0, &[]),
        ("truncated", balance, false, 7, 0, &[false]),
        ("odd_alert", balance, true, 0, 3, &[true, true, true]),
        ("unknown_fields", balance, true, 0, 0, &[true]),
    ] {
        let Parsed { group, odd: was_odd } = good(name);
        let states: Vec<bool> = group.alerts.iter().map(|alert| alert.firing).collect();
        let found = (&*group.key, group.firing, group.truncated, was_odd, &*states);
        assert_eq!(found, (key, firing, truncated, odd, alerts), "{name}");
        assert_eq!(group.receiver, "default", "{name}");
        assert_eq!(group.title(), "CaptchaAIBalanceLow", "{name}");
    }
    let files = fs::read_dir(data("good")).unwrap().count();
    assert_eq!(files, 9, "each file has its line in the table");
}

#[test]
fn each_bad_file_is_refused_in_words() {
    let mut files = 0;
    for entry in fs::read_dir(data("bad")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        files += 1;
        let expected = fs::read_to_string(path.with_extension("txt")).unwrap();
        let rubbish = read(&fs::read(&path).unwrap()).unwrap_err().to_string();
        assert_eq!(rubbish, expected.trim_end(), "{}", path.display());
    }
    assert_eq!(files, 13);
}

#[test]
fn a_notification_is_read_whole() {
    let Parsed { group, .. } = good("firing");
    let text = |texts: &Texts, name: &str| texts.get(name).cloned().unwrap();
    assert_eq!(text(&group.group_labels, "alertname"), "CaptchaAIBalanceLow");
    assert_eq!(text(&group.common_labels, "alertname"), "CaptchaAIBalanceLow");
    assert_eq!(group.external_url.as_deref(), Some("http://alertmanager:9093"));
    assert_eq!(group.heard_at, NOW.parse().unwrap());
    assert_eq!(group.rank(), Rank::Critical);
    let [first, second] = group.alerts.as_slice() else { panic!("{group:?}") };
    assert_eq!(first.fingerprint, "3b15fd163d36582e");
    assert_eq!(text(&first.labels, "account"), "main");
    assert_eq!(text(&first.annotations, "summary"), "Balance of main is low");
    assert_eq!(first.starts_at.map(format_timestamp).as_deref(), Some("2026-01-31T08:30:00.123Z"));
    assert_eq!(second.starts_at.map(format_timestamp).as_deref(), Some("2026-01-31T08:31:00.500Z"));
    assert_eq!((first.ends_at, second.ends_at), (None, None));
    assert!(first.generator_url.as_deref().unwrap().starts_with("http://prometheus:9090/graph?"));
    let ended = good("resolved").group.alerts.pop().and_then(|alert| alert.ends_at);
    assert_eq!(ended.map(format_timestamp).as_deref(), Some("2026-01-31T08:36:00.250Z"));
}

#[test]
fn what_is_odd_in_an_alert_is_left_out_and_the_rest_kept() {
    let Parsed { group, .. } = good("odd_alert");
    let [_, odd, _] = group.alerts.as_slice() else { panic!("{group:?}") };
    let labels: Vec<_> = odd.labels.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(
        labels,
        [("account", "7"), ("alertname", "CaptchaAIBalanceLow"), ("paused", "false"), ("severity", "critical")]
    );
    assert!(odd.annotations.is_empty());
    assert_eq!((odd.starts_at, odd.ends_at, odd.fingerprint.len()), (None, None, 16));
}

#[test]
fn the_state_of_an_alert_without_one_is_deduced() {
    let (past, future, zero) = ("2026-01-31T08:59:59Z", "2026-01-31T09:00:01Z", "0001-01-01T00:00:00Z");
    let none = Value::Null;
    for (group, own, ends_at, firing) in [
        (json!("firing"), json!("resolved"), json!(past), false),
        (json!("firing"), json!("firing"), json!(past), true),
        (json!("resolved"), json!("firing"), json!(zero), true),
        (json!("firing"), json!("RESOLVED "), json!(past), false),
        (json!("firing"), none.clone(), json!(past), false),
        (json!("firing"), json!(""), json!(future), true),
        (json!("firing"), none.clone(), json!(zero), true),
        (json!("resolved"), none.clone(), json!(zero), false),
        (json!("resolved"), json!("suppressed"), json!(""), false),
        (none.clone(), none.clone(), json!(future), true),
        (none.clone(), none.clone(), json!(past), false),
        (none.clone(), none.clone(), none.clone(), true),
        (json!("whatever"), none.clone(), json!(zero), true),
    ] {
        let alert = named("A", &json!({ "status": own, "endsAt": ends_at }));
        let Parsed { group: read, .. } = read_json(&json!({ "status": group, "alerts": [alert] }));
        let [alert] = read.alerts.as_slice() else { panic!("{read:?}") };
        assert_eq!(alert.firing, firing, "{group} {own} {ends_at}");
        assert!(alert.ends_at.is_none() || !firing, "{group} {own} {ends_at}");
    }
}

#[test]
fn a_group_without_a_state_fires_if_an_alert_does() {
    for (statuses, truncated, firing) in
        [(&["resolved", "firing"][..], 0, true), (&["resolved", "resolved"], 0, false), (&["resolved", "{}"], 1, false)]
    {
        let alert =
            |status: &&str| if *status == "{}" { json!(1) } else { json!({ "status": status, "fingerprint": status }) };
        let alerts: Vec<Value> = statuses.iter().map(alert).collect();
        let group = read_json(&json!({ "alerts": alerts })).group;
        assert_eq!((group.firing, group.truncated), (firing, truncated), "{statuses:?}");
        assert_eq!(group.is_over(), !firing && truncated == 0, "nobody knows of what cannot be read");
    }
}

#[test]
fn times_that_say_nothing_are_none() {
    let shown = |time: Option<Timestamp>| time.map(format_timestamp);
    for (written, expected, odd) in [
        (json!("2026-01-31T08:30:00Z"), Some("2026-01-31T08:30:00.000Z"), false),
        (json!("2026-01-31T10:30:00.999999999+02:00"), Some("2026-01-31T08:30:00.999Z"), false),
        (json!(1_769_848_200), Some("2026-01-31T08:30:00.000Z"), false),
        (json!("0001-01-01T00:00:00Z"), None, false),
        (json!("0001-01-01T00:00:00.000Z"), None, false),
        (json!("0001-01-01T00:00:00+00:00"), None, false),
        (json!(""), None, false),
        (json!(null), None, false),
        (json!("soon"), None, true),
        (json!(-1), None, true),
    ] {
        let (alert, was_odd) =
            read_alert(&named("A", &json!({ "status": "resolved", "startsAt": written, "endsAt": written })));
        assert_eq!((shown(alert.starts_at).as_deref(), was_odd), (expected, odd), "{written}");
        assert_eq!(shown(alert.ends_at).as_deref(), expected, "{written}");
    }
}

#[test]
fn labels_and_annotations_need_not_be_there() {
    for (alert, odd) in [
        (json!({ "status": "firing" }), false),
        (json!({ "status": "firing", "labels": null, "annotations": null }), false),
        (json!({ "status": "firing", "labels": {}, "annotations": {} }), false),
        (json!({ "status": "firing", "labels": { "a": null } }), false),
        (json!({ "status": "firing", "labels": [], "annotations": {} }), true),
        (json!({ "status": "firing", "labels": { "a": {} } }), true),
        (json!({ "status": "gone", "fingerprint": "x" }), true),
    ] {
        let (read, was_odd) = read_alert(&alert);
        assert_eq!((read.labels.len(), read.annotations.len(), was_odd), (0, 0, odd), "{alert}");
    }
    let (alert, odd) =
        read_alert(&json!({ "labels": { "a": "x\u{0}\u{7}\n", "b": 1.50, "c": true }, "annotations": { "d": "" } }));
    let values: Vec<_> = alert.labels.values().map(String::as_str).collect();
    assert_eq!(
        (values, alert.annotations.get("d").map(String::as_str), odd),
        (vec!["x\u{0}\u{7}\n", "1.5", "true"], Some(""), false)
    );
}

#[test]
fn broken_text_costs_a_character_and_not_the_body() {
    let body = b"{\"alerts\":[{\"labels\":{\"alertname\":\"A\xff\\ud800\",\"big\":1e999}},{\"labels\":{\"alertname\":\"\\ud83d\\ude00\"}}]}";
    let Parsed { group, odd } = read(body).unwrap();
    let names: Vec<_> = group.alerts.iter().map(Alert::name).collect();
    assert_eq!((names, odd), (vec!["A\u{fffd}\u{fffd}", "😀"], 0));
    assert_eq!(group.alerts[0].labels.get("big").map(String::as_str), Some("1e999"));
}

#[test]
fn every_alert_has_a_fingerprint_of_its_own() {
    let alert = |fingerprint: Value, labels: Value, more: &str| json!({ "fingerprint": fingerprint, "labels": labels, "annotations": { "more": more } });
    let fingerprints = |alerts: &[Value]| -> Vec<(String, String)> {
        let read = read_json(&json!({ "alerts": alerts }));
        assert_eq!(read.odd, 0);
        let pair = |alert: Alert| (alert.fingerprint, alert.annotations.into_values().next().unwrap());
        read.group.alerts.into_iter().map(pair).collect()
    };
    let made =
        fingerprints(&[alert(json!(null), json!({ "a": "1" }), "x"), alert(json!(""), json!({ "a": "2" }), "y")]);
    assert_eq!(made[0].0, "a1025bd6bea1689c", "it must be the same after every start");
    assert_ne!(made[0].0, made[1].0);

    let (one, two) = (json!({ "a": "1" }), json!({ "a": "2" }));
    let shared =
        [alert(json!("f"), one.clone(), "x"), alert(json!("f"), two.clone(), "y"), alert(json!("f"), two, "z")];
    let told_apart = fingerprints(&shared);
    assert_eq!(told_apart.len(), 2);
    assert_eq!(told_apart[0], ("f".to_owned(), "x".to_owned()));
    assert!(told_apart[1].0.starts_with("f~"), "{told_apart:?}");
    assert_eq!(told_apart[1].1, "z", "the last of the same labels wins");
    let again = fingerprints(&[shared[0].clone(), alert(json!("f"), one, "w")]);
    assert_eq!(again, [("f".to_owned(), "w".to_owned())]);

    let without_labels = [alert(json!(null), json!({}), "x"), alert(json!(null), json!({}), "y")];
    assert_eq!(fingerprints(&without_labels).len(), 2);
    for odd in [json!("f~1"), json!("a b"), json!("f".repeat(65)), json!("ş")] {
        let [(fingerprint, _)] = fingerprints(&[alert(odd.clone(), json!({}), "x")]).try_into().unwrap();
        assert!(fingerprint.len() == 16 && fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit()), "{odd}");
    }
    let [(number, _)] = fingerprints(&[alert(json!(42), json!({}), "x")]).try_into().unwrap();
    assert_eq!(number, "42");
}

#[test]
fn a_group_without_a_key_gets_the_same_one_every_time() {
    let alerts = json!([named("B", &json!({})), named("A", &json!({})), named("A", &json!({ "fingerprint": "x" }))]);
    let long = "k".repeat(2000);
    for (body, expected) in [
        (json!({ "groupKey": "k", "alerts": alerts }), "k"),
        (json!({ "groupKey": 12, "alerts": alerts }), "12"),
        (json!({ "groupKey": "", "groupLabels": { "b": "2", "a": "\"" } }), r#"default:{a="\"", b="2"}"#),
        (json!({ "groupLabels": {}, "commonLabels": { "a": "1" } }), r#"default:{a="1"}"#),
        (json!({ "groupKey": null, "alerts": alerts }), "default:{A, B}"),
        (json!({}), "default:{}"),
    ] {
        let mut body = body;
        body["status"] = json!("firing");
        assert_eq!(read_json(&body).group.key, expected, "{body}");
    }
    let key = |end: &str| read_json(&json!({ "status": "firing", "groupKey": format!("{long}{end}") })).group.key;
    assert!(key("x").len() <= MAX_NAME + 16);
    assert_ne!(key("x"), key("y"));
}

#[test]
fn counts_of_truncated_alerts_are_numbers_or_texts() {
    for (written, expected) in [
        (json!(3), 3),
        (json!("3"), 3),
        (json!(" 3 "), 3),
        (json!(2.5), 3),
        (json!(null), 0),
        (json!("many"), 0),
        (json!(-1), 0),
        (json!(u64::MAX), MAX_TRUNCATED),
        (json!(1e30), MAX_TRUNCATED),
    ] {
        let group = read_json(&json!({ "status": "resolved", "truncatedAlerts": written })).group;
        assert_eq!(group.truncated, expected, "{written}");
    }
}

#[test]
fn only_urls_that_people_can_follow_are_kept() {
    let long = |length: usize| format!("http://a/{}", "x".repeat(length - 9));
    for (written, kept) in [
        (json!("http://127.0.0.1:9093"), true),
        (json!("HTTPS://alerts.example/am"), true),
        (json!("http://[::1]:9093"), true),
        (json!(long(2047)), true),
        (json!(long(2048)), false),
        (json!("http://"), false),
        (json!("http:///path"), false),
        (json!("javascript:alert(1)"), false),
        (json!("file:///etc/passwd"), false),
        (json!("http://a/ b"), false),
        (json!("http://a/\u{0}"), false),
        (json!(""), false),
        (json!(null), false),
        (json!({}), false),
    ] {
        let body = json!({ "status": "firing", "externalURL": written, "alerts": [named("A", &json!({ "generatorURL": written }))] });
        let Parsed { group, odd } = read_json(&body);
        assert_eq!((group.external_url.is_some(), odd), (kept, 0), "{written}");
        assert_eq!(group.alerts[0].generator_url, group.external_url, "{written}");
    }
}

#[test]
fn sizes_are_bounded_and_what_decides_is_kept() {
    let mut labels: serde_json::Map<String, Value> = (0..200).map(|n| (format!("a{n:03}"), json!("x"))).collect();
    labels.insert("severity".to_owned(), json!("critical"));
    labels.insert("alertname".to_owned(), json!("A"));
    let annotations: serde_json::Map<String, Value> = (0..100).map(|n| (format!("b{n:03}"), json!("x"))).collect();
    let (alert, odd) = read_alert(&json!({ "labels": labels, "annotations": annotations }));
    assert_eq!((alert.labels.len(), alert.annotations.len(), odd), (MAX_LABELS, MAX_ANNOTATIONS, true));
    assert_eq!((alert.name(), alert.rank()), ("A", Rank::Critical));

    let (alert, odd) = read_alert(&named(
        "A",
        &json!({ "annotations": { "exact": "x".repeat(MAX_VALUE), "long": "ş".repeat(MAX_VALUE) } }),
    ));
    let length = |name: &str| alert.annotations.get(name).map(String::len);
    assert_eq!((length("exact"), odd), (Some(MAX_VALUE), true));
    assert!(length("long").is_some_and(|bytes| (MAX_VALUE - 1..=MAX_VALUE).contains(&bytes)), "{:?}", length("long"));
    assert!(alert.annotations.get("long").is_some_and(|text| text.ends_with("ş…")));
}

#[test]
fn alerts_that_are_too_many_count_as_truncated() {
    let alerts: Vec<_> = (0..MAX_ALERTS + 5).map(|n| json!({ "fingerprint": n.to_string() })).collect();
    let Parsed { group, odd } = read_json(&json!({ "status": "resolved", "truncatedAlerts": 2, "alerts": alerts }));
    assert_eq!((group.alerts.len(), group.truncated, odd), (MAX_ALERTS, 7, 0));
    assert!(!group.is_over());
}

#[test]
fn the_last_of_two_fields_of_one_name_counts() {
    let group = read(br#"{"status":"resolved","status":"firing","alerts":[],"alerts":[{"labels":{"a":"1","a":"2"}}]}"#)
        .unwrap()
        .group;
    assert!(group.firing);
    assert_eq!(group.alerts[0].labels.get("a").map(String::as_str), Some("2"));
}

fn any_json() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        prop::sample::select(vec![
            "status",
            "alerts",
            "labels",
            "annotations",
            "startsAt",
            "endsAt",
            "fingerprint",
            "groupKey",
            "truncatedAlerts",
            "groupLabels",
            "commonLabels",
            "externalURL",
            "generatorURL",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::sample::select(vec!["firing", "resolved", "0001-01-01T00:00:00Z", "http://a"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused_in_few_words(body in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(rubbish) = read(&body) {
            prop_assert!(rubbish.to_string().chars().count() <= 140);
        }
    }

    #[test]
    fn any_json_is_read_or_refused_and_every_fingerprint_is_unique(body in any_json()) {
        if let Ok(Parsed { group, .. }) = read(body.to_string().as_bytes()) {
            let unique: BTreeSet<_> = group.alerts.iter().map(|alert| &alert.fingerprint).collect();
            prop_assert_eq!(unique.len(), group.alerts.len());
            prop_assert!(group.firing_alerts().all(|alert| alert.ends_at.is_none()));
        }
    }

    #[test]
    fn an_odd_alert_costs_its_neighbours_nothing(junk in any_json(), place in 0..5_usize) {
        let mut alerts: Vec<Value> = (0..5).map(|n| named("A", &json!({ "fingerprint": format!("good-{n}"), "status": "firing" }))).collect();
        let whole = read_json(&json!({ "status": "firing", "alerts": alerts })).group.alerts;
        alerts[place] = junk;
        let read = read_json(&json!({ "status": "firing", "alerts": alerts })).group.alerts;
        for (position, neighbour) in whole.iter().enumerate().filter(|(position, _)| *position != place) {
            prop_assert!(read.contains(neighbour), "{} of {:?}", position, read);
        }
    }
}

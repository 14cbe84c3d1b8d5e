//! No message is ever refused for its size or its texts, and every alert counts.

use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::domain::alert::Texts;

fn hostile_text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-zA-Z0-9 _.:/-]{0,30}",
        2 => prop::collection::vec(any::<char>(), 0..40).prop_map(String::from_iter),
        1 => "[\\s\u{202e}\u{200f}\u{0}\u{7}\u{85}]{0,8}",
        1 => "[ğüşiöçİ🔥👩\u{200d}🔧`*_~|\\[\\]()#>@<&\\\\\"\n]{0,60}",
        1 => ("[aş🔥 \n`]", 200_usize..6000).prop_map(|(text, times)| text.repeat(times)),
        1 => Just("@everyone <@123> <@&456>".to_owned()),
    ]
}

fn url() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("https://runbooks.example/a".to_owned()),
        Just("https://runbooks.example/a#b".to_owned()),
        (1_usize..3000).prop_map(|length| format!("https://x.example/?q={}", "a(".repeat(length))),
        hostile_text(),
    ]
}

fn labels() -> impl Strategy<Value = Texts> {
    let names = prop_oneof!["[a-d]", Just("alertname".to_owned()), Just("severity".to_owned()), hostile_text()];
    let values = prop_oneof![hostile_text(), Just("critical".to_owned()), Just("warning".to_owned())];
    prop::collection::btree_map(names, values, 0..6)
}

fn annotations() -> impl Strategy<Value = Texts> {
    let names = prop::sample::select(vec![
        "title",
        "description",
        "summary",
        "message",
        "fields",
        "color",
        "runbook_url",
        "dashboard_url",
        "other",
        "x",
    ]);
    let name = ("[a-zğ🔥]{0,8}", prop::sample::select(vec![1, 1, 1, 60])).prop_map(|(text, times)| text.repeat(times));
    let fields = prop::collection::vec((name, hostile_text()), 0..40).prop_map(|fields| {
        fields.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join("\n")
    });
    let values = prop_oneof![2 => hostile_text(), 1 => url(), 1 => fields];
    prop::collection::btree_map(names.prop_map(str::to_owned), values, 0..10)
}

fn any_alert() -> impl Strategy<Value = Alert> {
    let time = || prop::option::of((0_i64..4_000_000_000).prop_map(|second| Timestamp::from_second(second).unwrap()));
    let fingerprint = prop_oneof![9 => "[0-9a-f]{16}", 1 => Just("same".to_owned())];
    (fingerprint, any::<bool>(), labels(), annotations(), time(), time(), prop::option::of(url())).prop_map(
        |(fingerprint, firing, labels, annotations, starts_at, ends_at, generator_url)| Alert {
            fingerprint,
            firing,
            labels,
            annotations,
            starts_at,
            ends_at,
            generator_url,
        },
    )
}

fn any_group() -> impl Strategy<Value = Group> {
    let alerts = prop::collection::vec(any_alert(), 0..16);
    let truncated = prop_oneof![3 => Just(0_u64), 1 => any::<u64>()];
    (alerts, truncated, labels(), labels(), prop::option::of(url())).prop_map(
        |(alerts, truncated, group_labels, common_labels, external_url)| Group {
            truncated,
            group_labels,
            common_labels,
            external_url,
            ..group(alerts)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_group_becomes_a_message_that_discord_takes(before in any_group(), after in any_group(), turkish in any::<bool>()) {
        let language = if turkish { Language::Turkish } else { Language::English };
        let discord = discord_for(settings(Resolved::EditAndPost, language));
        let mut told = None;
        let mut ids = 0..;
        let mut everybody = before.clone();
        everybody.alerts.extend(after.alerts.clone());
        let resolved = Group { truncated: 0, ..group(everybody.alerts.iter().map(|alert| Alert { firing: false, ..alert.clone() }).collect()) };
        for group in [&before, &after, &everybody, &resolved] {
            for round in 0.. {
                prop_assert!(round < 20, "it never ends");
                let job = group_job(group, told.clone());
                match discord.next(&job, &context()) {
                    Step::Send(request) => {
                        let message = serde_json::to_value(&request.message).unwrap();
                        prop_assert_eq!(faults(&message), Vec::<String>::new(), "{:#}", message);
                        let receipt = Receipt { message_id: ids.next().map(|id: u32| id.to_string()), ..Receipt::default() };
                        told = discord.told(&job, &request, &receipt, now());
                    }
                    Step::Done(now_told) => { told = now_told; break }
                    Step::Suppress { .. } => prop_assert!(false, "nothing is suppressed"),
                }
            }
        }
        prop_assert_eq!(told, None);
        let jobs: Vec<_> = [before, after, resolved].iter().map(|group| group_job(group, None)).collect();
        let message = serde_json::to_value(&discord.digest(&jobs, &context()).unwrap().message).unwrap();
        prop_assert_eq!(faults(&message), Vec::<String>::new(), "{:#}", message);
    }
}

/// How many alerts a message accounts for: boxes, lines and "and N more".
fn accounted(message: &Value) -> usize {
    let embeds = message["embeds"].as_array().unwrap();
    let (boxes, lists): (Vec<_>, Vec<_>) =
        embeds.iter().partition(|embed| !embed["title"].as_str().unwrap_or_default().starts_with("More alerts"));
    let lines = lists.iter().flat_map(|list| list["description"].as_str().unwrap().lines());
    let counted = lines.map(|line| {
        let rest = line.strip_prefix("and ").and_then(|line| line.strip_suffix(" more"));
        rest.map_or(1, |rest| rest.parse().unwrap())
    });
    boxes.len() + counted.sum::<usize>()
}

#[test]
fn every_alert_is_accounted_for_in_one_message() {
    let discord = discord(Resolved::EditAndPost);
    for count in [1, 2, 5, 9, 10, 11, 12, 50, 100, 500, 10_000] {
        for length in [0, 100, 700, 5000] {
            let numbered = |number: usize| {
                let mut alert = alert("HighLoad", ["critical", "warning"][number % 2], true);
                alert.fingerprint = number.to_string();
                alert.labels.insert("instance".to_owned(), format!("düğüm{number}"));
                alert.annotations.insert("description".to_owned(), "ş".repeat(length));
                alert
            };
            let group = group((0..count).map(numbered).collect());
            let mut job = group_job(&group, None);
            let Step::Send(request) = discord.next(&job, &context()) else { panic!() };
            let message = serde_json::to_value(&request.message).unwrap();
            assert_taken(&message);
            assert_eq!(accounted(&message), count, "{count} {length}");
            let receipt = Receipt { message_id: Some("1".to_owned()), ..Receipt::default() };
            job.told = discord.told(&job, &request, &receipt, now());
            assert_eq!(discord.next(&job, &context()), Step::Done(job.told.clone()), "{count} {length}");
        }
    }
}

#[test]
fn room_is_used_to_the_last_character() {
    let discord = discord(Resolved::EditAndPost);
    let sized = |length: usize| {
        let mut alert = alert("HighLoad", "critical", true);
        alert.annotations.insert("description".to_owned(), "🔥".repeat(length));
        alert.annotations.insert("x".to_owned(), "ğ".repeat(1024));
        alert.annotations.insert("y".to_owned(), "ğ".repeat(1024));
        let message = first_message(&discord, &group(vec![alert]));
        assert_taken(&message);
        let total: usize = texts(&message["embeds"][0]).iter().map(|text| text.chars().count()).sum();
        let cut = texts(&message["embeds"][0]).iter().any(|text| text.ends_with('…'));
        (total, cut)
    };
    let fits = 6000 - (sized(1).0 - 1);
    assert_eq!(sized(fits - 1), (5999, false));
    assert_eq!(sized(fits), (6000, false));
    assert_eq!(sized(fits + 1), (6000, true));
    assert_eq!(sized(4096), (6000, true));
}

/// What counts for the 6000 characters.
fn texts(embed: &Value) -> Vec<String> {
    let fields = embed["fields"].as_array().unwrap().iter().flat_map(|field| [&field["name"], &field["value"]]);
    let own = [&embed["title"], &embed["description"], &embed["footer"]["text"]];
    own.into_iter().chain(fields).filter_map(Value::as_str).map(str::to_owned).collect()
}

#[test]
fn ten_thousand_alerts_are_quick() {
    let numbered = |number: usize| {
        let mut alert = alert("HighLoad", "critical", true);
        alert.fingerprint = format!("{number:016x}");
        alert.labels.insert("instance".to_owned(), format!("node{number}:9100"));
        alert
    };
    let discord = discord(Resolved::EditAndPost);
    let mut job = group_job(&group((0..10_000).map(numbered).collect()), None);
    let began = Instant::now();
    let Step::Send(request) = discord.next(&job, &context()) else { panic!() };
    let receipt = Receipt { message_id: Some("1".to_owned()), ..Receipt::default() };
    job.told = discord.told(&job, &request, &receipt, now());
    assert!(matches!(discord.next(&job, &context()), Step::Done(_)));
    // Milliseconds in truth; this only finds what grows with the square.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

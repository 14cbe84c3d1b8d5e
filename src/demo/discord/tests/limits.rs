use serde_json::{Value, json};

use crate::demo::discord::limits::{check, has_merged_embeds, is_empty};

/// Compares where a message breaks rules, and which, as `PLACE: CODE`, with what is expected.
#[track_caller]
fn check_faults(message: &Value, expected: &[&str]) {
    let mut found = Vec::new();
    if let Err(answer) = check(message) {
        assert_eq!(answer["message"], "Invalid Form Body");
        assert_eq!(answer["code"], 50035);
        collect(&answer["errors"], "", &mut found);
    }
    assert_eq!(found, expected, "{:.300}", message.to_string());
}

fn collect(errors: &Value, path: &str, found: &mut Vec<String>) {
    for (name, value) in errors.as_object().unwrap() {
        if name == "_errors" {
            for fault in value.as_array().unwrap() {
                assert!(fault["message"].as_str().is_some_and(|message| message.len() > 5), "{fault}");
                found.push(format!("{path}: {}", fault["code"].as_str().unwrap()));
            }
        } else {
            let separator = if path.is_empty() { "" } else { "." };
            collect(value, &format!("{path}{separator}{name}"), found);
        }
    }
}

fn embed(embed: &Value) -> Value {
    json!({ "embeds": [embed] })
}

fn long(length: usize) -> String {
    "ş".repeat(length)
}

#[test]
fn lengths_are_counted_in_characters_without_the_space_around() {
    let at_most = |most: usize, place: &str, message: &dyn Fn(String) -> Value| {
        check_faults(&message(long(most)), &[]);
        check_faults(&message(format!(" \n{}\u{a0} ", long(most))), &[]);
        check_faults(&message(long(most + 1)), &[&format!("{place}: BASE_TYPE_MAX_LENGTH")]);
        check_faults(&message("😀".repeat(most)), &[]);
    };
    at_most(2000, "content", &|text| json!({ "content": text }));
    at_most(256, "embeds.0.title", &|text| embed(&json!({ "title": text })));
    at_most(4096, "embeds.0.description", &|text| embed(&json!({ "description": text })));
    at_most(2048, "embeds.0.footer.text", &|text| embed(&json!({ "footer": { "text": text } })));
    at_most(256, "embeds.0.author.name", &|text| embed(&json!({ "author": { "name": text } })));
    at_most(256, "embeds.0.fields.0.name", &|text| embed(&json!({ "fields": [{ "name": text, "value": "x" }] })));
    at_most(1024, "embeds.0.fields.0.value", &|text| embed(&json!({ "fields": [{ "name": "x", "value": text }] })));
}

#[test]
fn the_answer_has_the_form_of_the_real_one() {
    let answer = check(&embed(&json!({ "title": long(257) }))).unwrap_err();
    let expected = json!({
        "message": "Invalid Form Body",
        "code": 50035,
        "errors": { "embeds": { "0": { "title": { "_errors": [
            { "code": "BASE_TYPE_MAX_LENGTH", "message": "Must be 256 or fewer in length." },
        ] } } } },
    });
    assert_eq!(answer, expected);
}

#[test]
fn all_embeds_together_have_a_limit() {
    let fields: Vec<Value> = (0..4).map(|_| json!({ "name": long(100), "value": long(400) })).collect();
    let whole = |last: usize| {
        json!({ "content": long(2000), "embeds": [
            { "title": long(200), "description": format!("  {} ", long(2300)), "url": "http://a.example/1" },
            { "author": { "name": long(200) }, "footer": { "text": long(300) }, "fields": fields },
            { "description": long(last) },
        ] })
    };
    check_faults(&whole(1000), &[]);
    check_faults(&whole(1001), &["embeds: MAX_EMBED_SIZE_EXCEEDED"]);
}

#[test]
fn numbers_of_embeds_and_fields_are_limited() {
    let embeds = |number: usize| json!({ "embeds": vec![json!({ "title": "x" }); number] });
    check_faults(&embeds(10), &[]);
    check_faults(&embeds(11), &["embeds: BASE_TYPE_MAX_LENGTH"]);
    let fields = |number: usize| embed(&json!({ "fields": vec![json!({ "name": "x", "value": "y" }); number] }));
    check_faults(&fields(25), &[]);
    check_faults(&fields(26), &["embeds.0.fields: BASE_TYPE_MAX_LENGTH"]);
}

#[test]
fn what_must_be_there_is_missed() {
    let required = |place: &str| format!("embeds.0.{place}: BASE_TYPE_REQUIRED");
    for (given, missing) in [
        (json!({ "fields": [{ "name": " \n ", "value": "x" }] }), "fields.0.name"),
        (json!({ "fields": [{ "name": "x", "value": "" }] }), "fields.0.value"),
        (json!({ "fields": [{ "name": "x" }] }), "fields.0.value"),
        (json!({ "fields": [{ "name": null, "value": "x" }] }), "fields.0.name"),
        (json!({ "title": "x", "footer": {} }), "footer.text"),
        (json!({ "title": "x", "author": { "name": "  " } }), "author.name"),
        (json!({}), "description"),
        (json!({ "color": 1, "timestamp": "2026-01-31T08:30:00Z", "title": " " }), "description"),
    ] {
        check_faults(&embed(&given), &[&required(missing)]);
    }
}

#[test]
fn values_have_their_types() {
    for (message, faults) in [
        (json!([]), &[": MODEL_TYPE_CONVERT"][..]),
        (json!("text"), &[": MODEL_TYPE_CONVERT"]),
        (json!({ "content": 5 }), &["content: STRING_TYPE_CONVERT"]),
        (json!({ "content": "x", "tts": "no" }), &["tts: BOOLEAN_TYPE_CONVERT"]),
        (json!({ "embeds": {} }), &["embeds: LIST_TYPE_CONVERT"]),
        (json!({ "embeds": ["x"] }), &["embeds.0: MODEL_TYPE_CONVERT"]),
        (
            embed(&json!({ "title": ["x"] })),
            &["embeds.0.description: BASE_TYPE_REQUIRED", "embeds.0.title: STRING_TYPE_CONVERT"],
        ),
        (embed(&json!({ "title": "x", "footer": "y" })), &["embeds.0.footer: MODEL_TYPE_CONVERT"]),
        (embed(&json!({ "fields": ["x"] })), &["embeds.0.fields.0: MODEL_TYPE_CONVERT"]),
        (
            embed(&json!({ "fields": [{ "name": "x", "value": 5, "inline": 1 }] })),
            &["embeds.0.fields.0.inline: BOOLEAN_TYPE_CONVERT", "embeds.0.fields.0.value: STRING_TYPE_CONVERT"],
        ),
        (json!({ "content": "x", "embeds": null, "tts": null, "username": null, "unknown": [1] }), &[]),
        (embed(&json!({ "title": "x", "description": null, "url": null, "color": null, "fields": null })), &[]),
    ] {
        check_faults(&message, faults);
    }
}

#[test]
fn urls_are_http_times_iso_and_colours_24_bits() {
    let (scheme, malformed) = ("URL_TYPE_INVALID_SCHEME", "URL_TYPE_INVALID_URL");
    for (name, value, fault) in [
        ("url", json!("https://alerts.example/#/alerts?a=b"), None),
        ("url", json!("http://127.0.0.1:9093"), None),
        ("url", json!(""), None),
        ("url", json!("ftp://a.example"), Some(scheme)),
        ("url", json!("javascript:alert(1)"), Some(scheme)),
        ("url", json!("/graph"), Some(malformed)),
        ("url", json!("http://"), Some(malformed)),
        ("url", json!(format!("http://a.example/{}", long(2100))), Some("BASE_TYPE_MAX_LENGTH")),
        ("timestamp", json!("2026-01-31T08:30:00.000Z"), None),
        ("timestamp", json!("2026-01-31T08:30:00+03:00"), None),
        ("timestamp", json!("2026-01-31T08:30:00"), None),
        ("timestamp", json!("31.01.2026"), Some("DATE_TIME_TYPE_PARSE")),
        ("timestamp", json!(""), Some("DATE_TIME_TYPE_PARSE")),
        ("timestamp", json!(1_769_848_200), Some("DATE_TIME_TYPE_PARSE")),
        ("color", json!(0), None),
        ("color", json!(0x00FF_FFFF), None),
        ("color", json!(0x0100_0000), Some("NUMBER_TYPE_MAX")),
        ("color", json!(-1), Some("NUMBER_TYPE_MIN")),
        ("color", json!("#ff0000"), Some("NUMBER_TYPE_COERCE")),
    ] {
        let message = embed(&json!({ "title": "x", name: value }));
        let fault = fault.map(|code| format!("embeds.0.{name}: {code}"));
        check_faults(&message, &fault.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let parts = json!({ "title": "x", "image": { "url": "x" }, "author": { "name": "y", "icon_url": "file:///a" } });
    check_faults(
        &embed(&parts),
        &[&format!("embeds.0.author.icon_url: {scheme}"), &format!("embeds.0.image.url: {malformed}")],
    );
}

#[test]
fn names_of_senders_must_not_contain_discord() {
    for (name, fault) in [
        ("CaptchaAI", None),
        ("My DiScOrd bot", Some("USERNAME_INVALID_CONTAINS")),
        ("Clyde", Some("USERNAME_INVALID_CONTAINS")),
        ("  ", Some("BASE_TYPE_BAD_LENGTH")),
        (&long(80), None),
        (&long(81), Some("BASE_TYPE_BAD_LENGTH")),
    ] {
        let fault = fault.map(|code| format!("username: {code}"));
        let message = json!({ "content": "x", "username": name });
        check_faults(&message, &fault.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

#[test]
fn allowed_mentions_are_ids_and_do_not_contradict_themselves() {
    let many: Vec<_> = (1..=101).map(|id: u64| id.to_string()).collect();
    for (allowed, faults) in [
        (json!(null), &[][..]),
        (json!({ "parse": [] }), &[]),
        (json!({ "parse": ["everyone"], "users": ["1"], "roles": ["2"] }), &[]),
        (json!({ "parse": ["users"], "users": [] }), &[]),
        (json!({ "users": &many[1..] }), &[]),
        (json!({ "users": many }), &["allowed_mentions.users: BASE_TYPE_MAX_LENGTH"]),
        (json!({ "parse": ["user"] }), &["allowed_mentions.parse.0: BASE_TYPE_CHOICES"]),
        (json!({ "roles": ["1", "1"] }), &["allowed_mentions.roles.1: SET_TYPE_ALREADY_CONTAINS_VALUE"]),
        (json!({ "users": [1] }), &["allowed_mentions.users.0: NUMBER_TYPE_COERCE"]),
        (json!({ "users": ["@me"] }), &["allowed_mentions.users.0: NUMBER_TYPE_COERCE"]),
        (
            json!({ "parse": ["users"], "users": ["1"] }),
            &["allowed_mentions: MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE"],
        ),
        (json!([]), &["allowed_mentions: MODEL_TYPE_CONVERT"]),
    ] {
        check_faults(&json!({ "content": "x", "allowed_mentions": allowed }), faults);
    }
}

#[test]
fn a_message_without_text_and_embeds_is_empty() {
    for (message, expected) in [
        (json!({}), true),
        (json!({ "content": " \n\u{a0}", "embeds": [] }), true),
        (json!({ "content": null, "embeds": null }), true),
        (json!({ "content": "x" }), false),
        (json!({ "embeds": [{ "title": "x" }] }), false),
    ] {
        assert_eq!(is_empty(&message), expected, "{message}");
    }
}

#[test]
fn embeds_that_share_a_url_are_noticed() {
    for (urls, expected) in [
        (&["http://a.example", "http://b.example"][..], false),
        (&["http://a.example", "http://b.example", "http://a.example"], true),
        (&["", ""], false),
        (&["http://a.example"], false),
    ] {
        let embeds: Vec<_> = urls.iter().map(|url| json!({ "title": "x", "url": url })).collect();
        assert_eq!(has_merged_embeds(&json!({ "embeds": embeds })), expected, "{urls:?}");
    }
}

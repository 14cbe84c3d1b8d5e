//! What messages look like.

use super::*;

fn settled(name: &str, message: &Value) {
    assert_taken(message);
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| insta::assert_json_snapshot!(name, message));
}

fn check(name: &str, group: &Group) {
    settled(name, &first_message(&discord(Resolved::EditAndPost), group));
}

/// An alert as the rules of this project write them.
fn balance(firing: bool) -> Alert {
    let mut alert = alert("CaptchaAIBalanceLow", "warning", firing);
    let annotations = [
        ("title", "💸 Balance is low"),
        ("summary", "Balance below 10 USD"),
        ("description", "Account `main` has **8.20 USD** left."),
        ("fields", "Balance: 8.20 USD\nRunway: 4 h\nSpend by hour:\n  08:00 1.90 USD\n  07:00 2.10 USD"),
        ("voice", "Bakiye düşük"),
        ("runbook_url", "https://runbooks.example/balance#low"),
        ("dashboard_url", "https://grafana.example/d/captcha"),
        ("owner", "ops"),
    ];
    alert.annotations = annotations.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    alert.labels.extend([("account".to_owned(), "main".to_owned()), ("family".to_owned(), "balance".to_owned())]);
    alert.generator_url = Some("http://prometheus:9090/graph?g0.expr=captchaai_balance+%3C+10&g0.tab=1".to_owned());
    alert
}

fn loads(count: usize) -> Vec<Alert> {
    let load = |number: usize| {
        let severity = ["info", "warning", "critical"][number % 3];
        let mut alert = alert("HighLoad", severity, number % 4 != 3);
        alert.fingerprint = format!("{number:016x}");
        alert.labels.insert("instance".to_owned(), format!("node{number}:9100"));
        alert.labels.insert("cluster".to_owned(), "istanbul".to_owned());
        alert
    };
    (0..count).map(load).collect()
}

fn group_of_loads(count: usize) -> Group {
    let mut group = group(loads(count));
    group.common_labels.insert("cluster".to_owned(), "istanbul".to_owned());
    group
}

#[test]
fn one_alert() {
    check("one_firing", &group(vec![balance(true)]));
    check("fired_and_resolved", &group(vec![balance(false)]));
    let mut bare = alert("Bare", "", true);
    bare.labels.remove("severity");
    bare.starts_at = None;
    let mut bare = group(vec![bare]);
    bare.external_url = None;
    check("no_annotations", &bare);
}

#[test]
fn several_alerts() {
    check("mixed", &group(vec![balance(false), balance_of("worker"), alert("NoSolves", "critical", true)]));
    let mut resolved = group(vec![balance(false), alert("NoSolves", "critical", false)]);
    resolved.truncated = 7;
    check("resolved_but_truncated", &resolved);
}

/// The same alert of another account: both have the same runbook.
fn balance_of(account: &str) -> Alert {
    let mut alert = balance(true);
    account.clone_into(&mut alert.fingerprint);
    alert.labels.insert("account".to_owned(), account.to_owned());
    alert
}

#[test]
fn many_alerts() {
    check("eleven", &group_of_loads(11));
    check("five_hundred", &group_of_loads(500));
    let mut truncated = group_of_loads(30);
    truncated.truncated = 470;
    check("truncated", &truncated);
}

#[test]
fn turkish_alerts() {
    let discord = discord_for(settings(Resolved::EditAndPost, Language::Turkish));
    let mut group = group_of_loads(100);
    group.alerts.splice(0..80, [balance(false), balance_of("worker")]);
    group.truncated = 3;
    settled("turkish", &first_message(&discord, &group));
}

#[test]
fn hostile_alerts() {
    let mut hostile = alert("@everyone `**__x__**` \u{202e}gpj.exe\u{202c}\u{7}", "<@&1>", true);
    for (name, value) in [
        ("long", "ş".repeat(4096)),
        ("fire", "🔥".repeat(300)),
        ("ping", "@here <@123> [x](http://evil.example)".to_owned()),
        ("code", "```\n# a\n> b\n```".to_owned()),
        ("empty", " \u{200f} ".to_owned()),
    ] {
        hostile.labels.insert(name.to_owned(), value.clone());
        hostile.annotations.insert(name.to_owned(), value);
    }
    hostile.annotations.insert("runbook_url".to_owned(), "javascript:alert(1)".to_owned());
    hostile.annotations.insert("color".to_owned(), "#ffffffffff".to_owned());
    hostile.generator_url = Some(format!("https://g.example/{}", "x".repeat(3000)));
    check("hostile", &group(vec![hostile]));
}

#[test]
fn the_end_of_a_group() {
    let discord = discord(Resolved::Post);
    let firing = group(vec![balance(true), alert("NoSolves", "critical", true)]);
    let first = group_job(&firing, None);
    let Step::Send(request) = discord.next(&first, &context()) else { panic!() };
    let receipt = Receipt { message_id: Some("1".to_owned()), ..Receipt::default() };
    let told = discord.told(&first, &request, &receipt, now());
    let over = group(vec![balance(false), alert("NoSolves", "critical", false), alert("Brief", "info", false)]);
    let Step::Send(request) = discord.next(&group_job(&over, told), &context()) else { panic!() };
    settled("recovery", &serde_json::to_value(&request.message).unwrap());
}

#[test]
fn many_changes() {
    let named = |name: &str, severity: &str, firing: bool, truncated: u64| {
        let mut group = group(vec![alert(name, severity, firing), alert("Other", "info", false)]);
        group.common_labels.insert("alertname".to_owned(), name.to_owned());
        group_job(&Group { truncated, ..group }, None)
    };
    let notice = Notice::NoCredit { destination: "alertalk/oncall".to_owned() };
    let jobs = [
        named("Info", "info", true, 0),
        named("Over", "critical", false, 0),
        named("Cut_off*", "warning", false, 12),
        named("Bad", "critical", true, 3),
        job(Content::Notice(notice), None),
        job(Content::Notice(Notice::WatchdogBack { silent_seconds: 61 }), None),
        named("Worse", "warning", true, 0),
        job(Content::Escalation(Box::new(group(vec![alert("Called", "critical", true)]))), None),
    ];
    let request = discord(Resolved::EditAndPost).digest(&jobs, &context()).unwrap();
    settled("digest", &serde_json::to_value(&request.message).unwrap());
    let many: Vec<_> = (0..3000).map(|number| named(&format!("Alert{number}"), "info", true, 0)).collect();
    let request = discord(Resolved::EditAndPost).digest(&many, &context()).unwrap();
    let message = serde_json::to_value(&request.message).unwrap();
    assert_taken(&message);
    let list = message["embeds"][0]["description"].as_str().unwrap();
    let (lines, rest) = list.rsplit_once("\nand ").unwrap();
    assert_eq!(rest, format!("{} more", 3000 - lines.lines().count()));
    assert_eq!(discord(Resolved::EditAndPost).digest(&jobs[7..], &context()), None);
}

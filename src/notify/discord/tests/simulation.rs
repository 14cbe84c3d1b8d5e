//! Sequences of what a group is, and what Discord is told at each step.

use super::*;

/// A destination with Discord at the other end: messages with ids, some of which are deleted.
struct Simulation {
    discord: Discord,
    told: Option<String>,
    posted: usize,
    deleted: Vec<String>,
    /// Whether answers name no id.
    anonymous: bool,
}

impl Simulation {
    fn new(resolved: Resolved) -> Self {
        let discord = discord(resolved);
        Self { discord, told: None, posted: 0, deleted: Vec::new(), anonymous: false }
    }

    /// What is sent until the destination is up to date, in short: `post 1 @900 red:A,B`, and a description
    /// of the state after it.
    fn deliver(&mut self, group: &Group) -> Vec<String> {
        let mut sent = Vec::new();
        loop {
            let job = group_job(group, self.told.clone());
            match self.discord.next(&job, &context()) {
                Step::Send(request) => sent.push(self.send(&job, &request)),
                Step::Done(told) => {
                    self.told = told;
                    break;
                }
                Step::Suppress { .. } => panic!("nothing is suppressed"),
            }
            assert!(sent.len() < 20, "it never ends: {sent:?}");
        }
        // What is up to date stays so.
        if self.told.is_some() {
            let step = self.discord.next(&group_job(group, self.told.clone()), &context());
            assert_eq!(step, Step::Done(self.told.clone()));
        }
        sent
    }

    fn send(&mut self, job: &Job, request: &Request) -> String {
        let message = serde_json::to_value(&request.message).unwrap();
        assert_taken(&message);
        if let Some(id) = &request.replaces {
            assert_eq!(message["content"], Value::Null, "a change mentions nobody");
            if self.deleted.contains(id) {
                self.told = self.discord.forgotten(job, request);
                return format!("edit {id} missing");
            }
        } else {
            self.posted += 1;
        }
        let id = self.posted.to_string();
        let message_id = if request.replaces.is_some() { request.replaces.clone() } else { Some(id.clone()) };
        let receipt = Receipt { message_id: message_id.filter(|_| !self.anonymous), ..Receipt::default() };
        self.told = self.discord.told(job, request, &receipt, now());
        let verb = request.replaces.as_ref().map_or(format!("post {id}"), |id| format!("edit {id}"));
        let content = message["content"].as_str().map(|text| format!(" ({text})")).unwrap_or_default();
        format!("{verb}{content}{}", shown(&message))
    }
}

/// The boxes of a message by colour and title.
fn shown(message: &Value) -> String {
    let embeds = message["embeds"].as_array().unwrap();
    let boxes = embeds.iter().map(|embed| {
        let color = match embed["color"].as_u64().unwrap() {
            0x2E_CC71 => "green",
            0xE7_4C3C => "red",
            0xF3_9C12 => "orange",
            _ => "blue",
        };
        let title = embed["title"].as_str().unwrap_or("note");
        let title = title.trim_start_matches(|c: char| !c.is_alphanumeric());
        format!(" {color}:{title}")
    });
    boxes.collect()
}

/// `A` fires and is critical, `a` is resolved; `W` and `w` are warnings.
fn state(letters: &str) -> Group {
    let alerts = letters.chars().map(|letter| {
        let name = letter.to_ascii_uppercase().to_string();
        let severity = if name == "W" { "warning" } else { "critical" };
        alert(&name, severity, letter.is_ascii_uppercase())
    });
    group(alerts.collect())
}

/// The same, where each alert fires since a later time.
fn later(letters: &str) -> Group {
    let mut group = state(letters);
    for alert in &mut group.alerts {
        alert.starts_at = Timestamp::from_second(1_769_848_400).ok();
    }
    group
}

const LATE: &str = "(Fired and was resolved before this could be sent.)";
const PING: &str = "(<@&900> <@901>)";

fn check(simulation: &mut Simulation, steps: &[(Group, &[&str])]) {
    for (number, (group, expected)) in steps.iter().enumerate() {
        let expected: Vec<_> = expected.iter().map(|text| text.replace("LATE", LATE).replace("PING", PING)).collect();
        assert_eq!(simulation.deliver(group), expected, "step {number} of {:?}", simulation.discord.settings.resolved);
    }
}

fn run(resolved: Resolved, steps: &[(Group, &[&str])]) -> Simulation {
    let mut simulation = Simulation::new(resolved);
    check(&mut simulation, steps);
    simulation
}

#[test]
fn a_group_from_its_first_alert_to_its_last() {
    let steps: [(Group, &[&str]); 8] = [
        (state("A"), &["post 1 PING red:A"]),
        (state("A"), &[]),
        (state("AB"), &["post 2 PING red:B"]),
        (state("AB"), &[]),
        (state("aB"), &["edit 1 green:A"]),
        // Alertmanager forgets what is resolved.
        (state("B"), &[]),
        (state("b"), &["edit 2 green:B", "post 3 green:Resolved: HighLoad"]),
        (later("A"), &["post 4 PING red:A"]),
    ];
    run(Resolved::EditAndPost, &steps);
}

#[test]
fn one_message_for_all_that_is_new() {
    let steps: [(Group, &[&str]); 5] = [
        (state("AWb"), &["post 1 PING red:A orange:W green:B"]),
        (state("aW"), &["edit 1 orange:W green:A green:B"]),
        (state("W"), &[]),
        (later("AW"), &["post 2 PING red:A orange:W"]),
        (later("aw"), &["edit 1 green:A green:B green:W", "edit 2 green:A green:W", "post 3 green:Resolved: HighLoad"]),
    ];
    run(Resolved::EditAndPost, &steps);
}

#[test]
fn each_mode_ends_in_its_way() {
    let told = |mode, end: &[&str]| {
        let steps: [(Group, &[&str]); 3] =
            [(state("A"), &["post 1 PING red:A"]), (state("AW"), &["post 2 (<@902>) orange:W"]), (state("aw"), end)];
        let simulation = run(mode, &steps);
        assert_eq!(simulation.told, None);
    };
    told(Resolved::EditAndPost, &["edit 1 green:A", "edit 2 green:W", "post 3 green:Resolved: HighLoad"]);
    told(Resolved::Edit, &["edit 1 green:A", "edit 2 green:W"]);
    told(Resolved::Post, &["post 3 green:Resolved: HighLoad"]);
}

#[test]
fn what_was_over_before_it_was_told_takes_one_message() {
    for mode in [Resolved::EditAndPost, Resolved::Edit, Resolved::Post] {
        let simulation = run(mode, &[(state("ab"), &["post 1 LATE green:A green:B"])]);
        assert_eq!(simulation.told, None);
    }
    // What came and went while another fires.
    let steps: [(Group, &[&str]); 3] = [
        (state("A"), &["post 1 PING red:A"]),
        (state("Ab"), &["post 2 LATE green:B"]),
        (state("ac"), &["edit 1 green:A", "post 3 green:Resolved: HighLoad"]),
    ];
    run(Resolved::EditAndPost, &steps);
    run(
        Resolved::Edit,
        &[(state("A"), &["post 1 PING red:A"]), (state("ac"), &["post 2 LATE green:C", "edit 1 green:A"])],
    );
}

#[test]
fn what_fires_again_is_told_again() {
    let steps: [(Group, &[&str]); 4] = [
        (state("AB"), &["post 1 PING red:A red:B"]),
        (state("Ab"), &["edit 1 red:A green:B"]),
        (state("AB"), &["post 2 PING red:B"]),
        (state("aB"), &["edit 1 green:A green:B"]),
    ];
    run(Resolved::EditAndPost, &steps);
    // The end between two times was never heard of.
    run(Resolved::EditAndPost, &[(state("A"), &["post 1 PING red:A"]), (later("A"), &["post 2 PING red:A"])]);
}

#[test]
fn a_text_that_changes_changes_the_message() {
    let mut simulation = run(Resolved::EditAndPost, &[(state("A"), &["post 1 PING red:A"])]);
    let mut changed = state("A");
    changed.alerts[0].annotations.insert("description".to_owned(), "more of it".to_owned());
    check(&mut simulation, &[(changed.clone(), &["edit 1 red:A"]), (changed, &[])]);
}

#[test]
fn a_deleted_message_is_told_anew_if_there_is_anything_to_tell() {
    let mut simulation = run(Resolved::EditAndPost, &[(state("AB"), &["post 1 PING red:A red:B"])]);
    simulation.deleted.push("1".to_owned());
    check(
        &mut simulation,
        &[
            (state("AB"), &[]),
            (state("Ab"), &["edit 1 missing", "post 2 PING red:A"]),
            (state("a"), &["edit 2 green:A", "post 3 green:Resolved: HighLoad"]),
        ],
    );
    for mode in [Resolved::Edit, Resolved::EditAndPost] {
        let mut simulation = run(mode, &[(state("A"), &["post 1 PING red:A"])]);
        simulation.deleted.push("1".to_owned());
        check(&mut simulation, &[(state("a"), &["edit 1 missing", "post 2 green:Resolved: HighLoad"])]);
    }
}

#[test]
fn what_is_truncated_is_never_over() {
    let truncated = |letters, truncated| Group { truncated, ..state(letters) };
    for mode in [Resolved::EditAndPost, Resolved::Edit] {
        let steps: [(Group, &[&str]); 5] = [
            (truncated("A", 5), &["post 1 PING red:A orange:note"]),
            (truncated("A", 6), &["edit 1 red:A orange:note"]),
            (truncated("a", 6), &["edit 1 orange:A orange:note"]),
            (truncated("a", 6), &[]),
            (truncated("AW", 1), &["post 2 PING red:A orange:W orange:note", "edit 1 orange:A"]),
        ];
        let mut simulation = run(mode, &steps);
        assert!(simulation.told.is_some());
        let end: &[&str] = &["edit 1 green:A", "edit 2 green:A green:W", "post 3 green:Resolved: HighLoad"];
        check(&mut simulation, &[(state("aw"), end.split_at(if mode == Resolved::Edit { 2 } else { 3 }).0)]);
    }
    run(Resolved::EditAndPost, &[(truncated("a", 3), &["post 1 orange:A orange:note"]), (truncated("a", 3), &[])]);
    run(Resolved::Post, &[(truncated("A", 3), &["post 1 PING red:A orange:note"]), (truncated("a", 3), &[])]);
    run(Resolved::EditAndPost, &[(truncated("", 3), &["post 1 orange:note"]), (truncated("", 3), &[])]);
}

#[test]
fn a_digest_counts_as_told() {
    for (mode, end) in [
        (Resolved::EditAndPost, "post 1 green:Resolved: HighLoad"),
        (Resolved::Edit, "post 1 green:Resolved: HighLoad"),
        (Resolved::Post, "post 1 green:Resolved: HighLoad"),
    ] {
        let mut simulation = Simulation::new(mode);
        let job = group_job(&state("AB"), None);
        let digest = simulation.discord.digest(std::slice::from_ref(&job), &context()).unwrap();
        assert!(digest.message.content.contains("<@&900>"), "{digest:?}");
        let receipt = Receipt { message_id: Some("d".to_owned()), ..Receipt::default() };
        simulation.told = simulation.discord.told(&job, &digest, &receipt, now());
        check(&mut simulation, &[(state("AB"), &[]), (state("aB"), &[]), (state("b"), &[end])]);
        let over = group_job(&state("ab"), None);
        assert_eq!(simulation.discord.told(&over, &digest, &receipt, now()), None);
    }
}

#[test]
fn a_digest_leaves_messages_as_they_are() {
    let mut simulation = run(Resolved::EditAndPost, &[(state("A"), &["post 1 PING red:A"])]);
    let job = group_job(&state("ABa"), simulation.told.clone());
    let digest = simulation.discord.digest(std::slice::from_ref(&job), &context()).unwrap();
    simulation.told = simulation.discord.told(&job, &digest, &Receipt::default(), now());
    check(
        &mut simulation,
        &[
            (state("AB"), &[]),
            (state("ABC"), &["post 2 PING red:C"]),
            (state("abC"), &["edit 1 green:A"]),
            (state("c"), &["edit 2 green:C", "post 3 green:Resolved: HighLoad"]),
        ],
    );
}

#[test]
fn a_message_without_an_id_counts_as_told() {
    let mut simulation = Simulation::new(Resolved::Edit);
    simulation.anonymous = true;
    check(
        &mut simulation,
        &[(state("A"), &["post 1 PING red:A"]), (state("A"), &[]), (state("a"), &["post 2 green:Resolved: HighLoad"])],
    );
}

#[test]
fn an_id_that_comes_twice_is_none() {
    let mut simulation = run(Resolved::EditAndPost, &[(state("A"), &["post 1 PING red:A"])]);
    simulation.posted = 0;
    check(&mut simulation, &[(state("AB"), &["post 1 PING red:B"]), (state("Ab"), &[])]);
}

#[test]
fn a_crash_repeats_at_most_one_message() {
    let discord = discord(Resolved::EditAndPost);
    let mut simulation = run(Resolved::EditAndPost, &[(state("AB"), &["post 1 PING red:A red:B"])]);
    let before = simulation.told.clone();
    let job = group_job(&state("ab"), before);
    let Step::Send(first) = discord.next(&job, &context()) else { panic!() };
    // It was sent, and nobody noted it: the same again.
    assert_eq!(discord.next(&job, &context()), Step::Send(first));
    check(&mut simulation, &[(state("ab"), &["edit 1 green:A green:B", "post 2 green:Resolved: HighLoad"])]);
}

#[test]
fn many_messages_of_one_group_are_bounded() {
    let mut simulation = Simulation::new(Resolved::EditAndPost);
    let mut group = state("");
    for number in 0..120 {
        group.alerts.push(alert(&format!("N{number}"), "critical", true));
        group.firing = true;
        assert_eq!(simulation.deliver(&group).len(), 1, "{number}");
    }
    let end = group.alerts.iter().map(|alert| Alert { firing: false, ..alert.clone() }).collect();
    assert!(simulation.told.as_ref().is_some_and(|told| told.len() < 100_000));
    let over = Group { alerts: end, firing: false, ..group };
    let mut requests = 0;
    while let Step::Send(request) = simulation.discord.next(&group_job(&over, simulation.told.clone()), &context()) {
        simulation.send(&group_job(&over, simulation.told.clone()), &request);
        requests += 1;
    }
    // The messages that are still followed, and the recovery.
    assert_eq!(requests, 50 + 1);
}

#[test]
fn what_cannot_be_read_counts_as_nothing() {
    let mut simulation = Simulation::new(Resolved::EditAndPost);
    simulation.told = Some("{not json".to_owned());
    check(&mut simulation, &[(state("A"), &["post 1 PING red:A"])]);
}

#[test]
fn an_escalation_is_no_business_of_discords() {
    let told = Some("{}".to_owned());
    let job = job(Content::Escalation(Box::new(state("A"))), told.clone());
    assert_eq!(discord(Resolved::EditAndPost).next(&job, &context()), Step::Done(told));
}

/// A report fires and is over, or fires again on another day.
fn report(firing: bool, day: i64) -> Group {
    let mut report = alert("Summary", "info", firing);
    report.starts_at = Timestamp::from_second(1_769_848_200 + day * 86_400).ok();
    report.annotations.insert("resolved".to_owned(), "silent".to_owned());
    report.annotations.insert("fields".to_owned(), "Severity: quite low".to_owned());
    group(vec![report])
}

#[test]
fn a_report_is_told_once_and_its_end_is_not() {
    for resolved in [Resolved::Edit, Resolved::EditAndPost, Resolved::Post] {
        let mut simulation = Simulation::new(resolved);
        let steps: &[(Group, &[&str])] = &[
            (report(true, 0), &["post 1 blue:Summary"]),
            (report(true, 0), &[]),
            (report(false, 0), &[]),
            (report(true, 1), &["post 2 blue:Summary"]),
            // Also where its end was never heard.
            (report(true, 2), &["post 3 blue:Summary"]),
            (report(false, 2), &[]),
            // And where Discord was away while it fired.
            (report(false, 3), &["post 4 blue:Summary"]),
        ];
        check(&mut simulation, steps);
    }
}

#[test]
fn beside_an_alert_a_report_stays_as_it_was_told() {
    let both = |firing, report_fires| {
        let mut group = report(report_fires, 0);
        group.alerts.push(alert("W", "warning", firing));
        group.firing = firing || report_fires;
        group
    };
    let steps: &[(Group, &[&str])] = &[
        (both(true, true), &["post 1 (<@902>) orange:W blue:Summary"]),
        (both(true, false), &[]),
        (both(false, false), &["edit 1 green:W blue:Summary", "post 2 green:Resolved: HighLoad"]),
    ];
    check(&mut Simulation::new(Resolved::EditAndPost), steps);
}

#[test]
fn a_severity_among_the_fields_is_not_repeated() {
    let message = first_message(&discord(Resolved::Edit), &report(true, 0));
    let fields = message["embeds"][0]["fields"].as_array().unwrap();
    let severities: Vec<_> = fields.iter().filter(|field| field["name"] == "Severity").collect();
    assert_eq!(severities.len(), 1);
    assert_eq!(severities[0]["value"], "quite low");
}

#[test]
fn a_report_that_was_not_told_is_not_lost_with_the_end_of_another() {
    let both = |firing| {
        let mut group = report(firing, 0);
        let mut other = report(firing, 0).alerts.remove(0);
        other.fingerprint = "other".to_owned();
        other.labels.insert("alertname".to_owned(), "Other".to_owned());
        group.alerts.push(other);
        group
    };
    for resolved in [Resolved::Edit, Resolved::EditAndPost, Resolved::Post] {
        let steps: &[(Group, &[&str])] =
            &[(report(true, 0), &["post 1 blue:Summary"]), (both(false), &["post 2 blue:Other"])];
        check(&mut Simulation::new(resolved), steps);
    }
}

/// Alertmanager says nothing of the end of an alert that another one hides.
#[test]
fn what_is_not_heard_of_any_more_is_over_with_its_group() {
    let steps: [(Group, &[&str]); 4] = [
        (state("W"), &["post 1 (<@902>) orange:W"]),
        (state("A"), &["post 2 PING red:A"]),
        (state("A"), &[]),
        (state("a"), &["edit 1 green:W", "edit 2 green:A", "post 3 green:Resolved: HighLoad"]),
    ];
    run(Resolved::EditAndPost, &steps);
}

//! The outbox: nothing is told twice on purpose, nothing is forgotten, and newer replaces older.

use super::*;
use crate::domain::alert::tests::{alert, group};
use crate::domain::alert::{Group, Rank};
use crate::domain::delivery::{
    Call, Claim, Claimed, Consequences, DestinationState, Kind, NewContent, NewDelivery, Outcome, Route, Settlement,
};
use crate::domain::notice::Notice;

const LEASE: Duration = Duration::from_mins(2);

fn routes() -> Vec<Route> {
    let route = |destination: &str, least, calls| Route { destination: destination.to_owned(), least, calls };
    vec![route("discord/ops", Rank::Info, false), route("alertalk/oncall", Rank::Critical, true)]
}

fn firing(names: &[&str]) -> Group {
    group(names.iter().map(|name| alert(name, "critical", true)).collect())
}

fn resolved(names: &[&str]) -> Group {
    group(names.iter().map(|name| alert(name, "critical", false)).collect())
}

async fn hear(store: &Store, group: Group) -> usize {
    store.hear(Heard::new(group, routes())).await.unwrap()
}

async fn claim(store: &Store, destination: &str) -> Claim {
    store.claim(destination, 10, None, LEASE).await.unwrap()
}

async fn claim_one(store: &Store, destination: &str) -> Claimed {
    let mut claim = claim(store, destination).await;
    assert_eq!(claim.deliveries.len(), 1, "{claim:?}");
    claim.deliveries.remove(0)
}

async fn settle_with(store: &Store, claimed: &Claimed, outcome: Outcome, consequences: Consequences) -> bool {
    let Claimed { seq, lease, version, .. } = *claimed;
    let settlement = Settlement { seq, lease, version, outcome };
    store.settle(vec![(settlement, consequences)], LEASE).await.unwrap() == [true]
}

async fn settle(store: &Store, claimed: &Claimed, outcome: Outcome) -> bool {
    settle_with(store, claimed, outcome, Consequences::default()).await
}

fn told(text: Option<&str>) -> Consequences {
    Consequences { told: Some(text.map(str::to_owned)), ..Consequences::default() }
}

fn names(claimed: &Claimed) -> Vec<(String, bool)> {
    let group: Group = serde_json::from_str(&claimed.content).unwrap();
    group.alerts.iter().map(|alert| (alert.name().to_owned(), alert.firing)).collect()
}

async fn pending(store: &Store, destination: &str) -> (u64, u64) {
    let backlogs = store.backlogs().await.unwrap();
    let backlog = backlogs.into_iter().find(|backlog| backlog.destination == destination);
    backlog.map_or((0, 0), |backlog| (backlog.pending, backlog.dead))
}

#[tokio::test]
async fn a_notification_is_a_row_for_each_destination_that_wants_it() {
    let fixture = Fixture::new();
    let store = fixture.open();
    assert_eq!(hear(&store, firing(&["A"])).await, 2);
    let mut warning = group(vec![alert("B", "warning", true)]);
    warning.key.push_str("/b");
    assert_eq!(hear(&store, warning).await, 1);
    assert_eq!((pending(&store, "discord/ops").await, pending(&store, "alertalk/oncall").await), ((2, 0), (1, 0)));
    let claimed = claim_one(&store, "alertalk/oncall").await;
    assert_eq!((claimed.kind, names(&claimed)), (Kind::Group, vec![("A".to_owned(), true)]));
    assert_eq!(claim(&store, "alertalk/oncall").await.deliveries, []);
    assert!(settle(&store, &claimed, Outcome::Done).await);
    assert_eq!(pending(&store, "alertalk/oncall").await, (0, 0));
}

#[tokio::test]
async fn the_same_within_a_minute_is_nothing_new() {
    let fixture = Fixture::new();
    let store = fixture.open();
    assert_eq!(hear(&store, firing(&["A"])).await, 2);
    fixture.pass(Duration::from_secs(59));
    assert_eq!(hear(&store, firing(&["A"])).await, 0);
    assert_eq!(hear(&store, firing(&["A", "B"])).await, 2);
    fixture.pass(Duration::from_mins(1));
    assert_eq!(hear(&store, firing(&["A", "B"])).await, 2);
    assert_eq!(pending(&store, "discord/ops").await, (1, 0));
}

#[tokio::test]
async fn newer_replaces_what_waits_and_forgets_nothing() {
    let fixture = Fixture::new();
    let store = fixture.open();
    hear(&store, firing(&["A", "B"])).await;
    fixture.pass(Duration::from_mins(5));
    let mut newer = firing(&["B"]);
    newer.alerts.push(alert("C", "critical", false));
    hear(&store, newer).await;
    let claimed = claim_one(&store, "discord/ops").await;
    let expected = [("B".to_owned(), true), ("C".to_owned(), false), ("A".to_owned(), false)];
    assert_eq!(names(&claimed), expected);
    assert_eq!(claimed.state_at.duration_since(claimed.queued_at), SignedDuration::from_mins(5));
}

#[tokio::test]
async fn what_comes_while_the_older_is_told_is_told_next() {
    let fixture = Fixture::new();
    let store = fixture.open();
    hear(&store, firing(&["A"])).await;
    let claimed = claim_one(&store, "discord/ops").await;
    fixture.pass(Duration::from_secs(30));
    hear(&store, resolved(&["A"])).await;
    assert_eq!(claim(&store, "discord/ops").await.deliveries, []);
    assert!(settle_with(&store, &claimed, Outcome::Done, told(Some("first"))).await);
    let next = claim_one(&store, "discord/ops").await;
    assert_eq!((names(&next), next.told.as_deref()), (vec![("A".to_owned(), false)], Some("first")));
    assert_eq!((next.queued_at, next.attempts), (fixture.clock.now(), 0), "behind since the newer came");
    assert!(settle_with(&store, &next, Outcome::Done, told(None)).await);
    assert_eq!(pending(&store, "discord/ops").await, (0, 0));
    fixture.pass(Duration::from_mins(2));
    hear(&store, firing(&["A"])).await;
    assert_eq!(claim_one(&store, "discord/ops").await.told, None);
}

#[tokio::test]
async fn a_phone_is_not_bothered_with_an_end_it_knows_nothing_of() {
    let fixture = Fixture::new();
    let store = fixture.open();
    assert_eq!(hear(&store, resolved(&["A"])).await, 1);
    assert_eq!(hear(&store, firing(&["A"])).await, 2);
    assert_eq!(hear(&store, resolved(&["A"])).await, 2);
}

#[tokio::test]
async fn whoever_lost_the_lease_may_not_write() {
    let fixture = Fixture::new();
    let store = fixture.open();
    hear(&store, firing(&["A"])).await;
    let first = claim_one(&store, "discord/ops").await;
    fixture.pass(LEASE);
    let second = claim_one(&store, "discord/ops").await;
    assert!(!settle(&store, &first, Outcome::Done).await);
    assert!(settle(&store, &second, Outcome::Progress).await);
    fixture.pass(Duration::from_secs(119));
    assert_eq!(claim(&store, "discord/ops").await.deliveries, []);
    assert!(settle(&store, &second, Outcome::Done).await);
}

#[tokio::test]
async fn a_restart_takes_leases_back_and_keeps_what_was_told() {
    let fixture = Fixture::new();
    let store = fixture.open();
    hear(&store, firing(&["A"])).await;
    let claimed = claim_one(&store, "discord/ops").await;
    assert!(settle_with(&store, &claimed, Outcome::Progress, told(Some("half"))).await);
    store.close().await;
    drop(store);
    let store = fixture.open();
    let again = claim_one(&store, "discord/ops").await;
    assert_eq!(again.told.as_deref(), Some("half"));
    assert_eq!(pending(&store, "discord/ops").await, (1, 0));
}

#[tokio::test]
async fn what_failed_comes_back_when_it_is_due() {
    let fixture = Fixture::new();
    let store = fixture.open();
    hear(&store, firing(&["A"])).await;
    let claimed = claim_one(&store, "discord/ops").await;
    let due_at = crate::domain::delivery::after(fixture.clock.now(), Duration::from_secs(30));
    let again = |attempted, ambiguous| Outcome::Again { due_at, attempted, ambiguous, error: "status 500".to_owned() };
    assert!(settle(&store, &claimed, again(true, false)).await);
    let backlogs = store.backlogs().await.unwrap();
    let ops = backlogs.iter().find(|backlog| backlog.destination == "discord/ops").unwrap();
    assert_eq!(ops.last_error.as_deref(), Some("status 500"));
    let claim = claim(&store, "discord/ops").await;
    assert_eq!((claim.deliveries, claim.next_due_at), (vec![], Some(due_at)));
    fixture.pass(Duration::from_secs(30));
    let claimed = claim_one(&store, "discord/ops").await;
    assert_eq!((claimed.attempts, claimed.ambiguous), (1, 0));
    assert!(settle(&store, &claimed, again(false, true)).await);
    let claimed = claim_one(&store, "discord/ops").await;
    assert_eq!((claimed.attempts, claimed.ambiguous), (1, 1));
}

#[tokio::test]
async fn a_clock_that_went_back_does_not_hide_what_waits() {
    let fixture = Fixture::new();
    fixture.pass(Duration::from_hours(100));
    let store = fixture.open();
    hear(&store, firing(&["A"])).await;
    fixture.clock.advance(SignedDuration::from_hours(-100));
    claim_one(&store, "discord/ops").await;
}

#[tokio::test]
async fn what_is_given_up_is_a_dead_letter() {
    let fixture = Fixture::new();
    let store = fixture.open();
    hear(&store, firing(&["A"])).await;
    let claimed = claim_one(&store, "discord/ops").await;
    let dead = Outcome::Dead { reason: "refused", error: "status 400".to_owned() };
    let new = vec![NewDelivery {
        destination: "alertalk/oncall".to_owned(),
        content: NewContent::Notice(Notice::NoCredit { destination: "x".to_owned() }),
    }];
    assert!(settle_with(&store, &claimed, dead, Consequences { new, ..Consequences::default() }).await);
    assert_eq!((pending(&store, "discord/ops").await, pending(&store, "alertalk/oncall").await), ((0, 1), (2, 0)));
    let waiting = claim(&store, "alertalk/oncall").await.deliveries;
    let kinds: Vec<_> = waiting.iter().map(|claimed| claimed.kind).collect();
    assert_eq!(kinds, [Kind::Group, Kind::Notice]);
    assert!(waiting[1].content.contains("no_credit"), "{waiting:?}");
}

#[tokio::test]
async fn what_a_destination_refuses_is_known_together_with_who_is_told_of_it() {
    let fixture = Fixture::new();
    let store = fixture.open();
    hear(&store, firing(&["A"])).await;
    let claimed = claim_one(&store, "discord/ops").await;
    let notice = Notice::Unusable { destination: "discord/ops".to_owned(), why: "status 404".to_owned() };
    let refused = || Consequences {
        new: vec![NewDelivery {
            destination: "alertalk/oncall".to_owned(),
            content: NewContent::Notice(notice.clone()),
        }],
        state: Some(Box::new(DestinationState { unusable: Some("status 404".to_owned()), ..Default::default() })),
        ..Consequences::default()
    };
    let stale = Claimed { lease: claimed.lease - 1, ..claimed.clone() };
    let unusable = async || {
        let backlogs = store.backlogs().await.unwrap();
        backlogs.into_iter().find(|backlog| backlog.destination == "discord/ops").unwrap().state.unusable
    };
    assert!(!settle_with(&store, &stale, Outcome::Done, refused()).await);
    assert_eq!((unusable().await, pending(&store, "alertalk/oncall").await), (None, (1, 0)));
    assert!(settle_with(&store, &claimed, Outcome::Done, refused()).await);
    assert_eq!((unusable().await.as_deref(), pending(&store, "alertalk/oncall").await), (Some("status 404"), (2, 0)));
}

#[tokio::test]
async fn a_number_is_not_used_again() {
    let fixture = Fixture::new();
    let store = fixture.open();
    hear(&store, firing(&["A"])).await;
    let discord = claim_one(&store, "discord/ops").await;
    assert!(settle(&store, &discord, Outcome::Done).await);
    let first = claim_one(&store, "alertalk/oncall").await;
    assert!(settle(&store, &first, Outcome::Done).await);
    let mut other = firing(&["B"]);
    other.key.push_str("/b");
    hear(&store, other).await;
    let second = claim_one(&store, "alertalk/oncall").await;
    assert!(!settle(&store, &first, Outcome::Done).await, "who settles twice must not settle another's row");
    let dead = Outcome::Dead { reason: "refused", error: "status 400".to_owned() };
    assert!(settle(&store, &second, dead.clone()).await);
    let letter = async || store.dead_letters(0, 10).await.unwrap().pop().unwrap().id;
    let buried = letter().await;
    store.retry_dead_letter(buried, vec!["alertalk/oncall".to_owned()]).await.unwrap();
    let again = claim_one(&store, "alertalk/oncall").await;
    assert_eq!(names(&again), [("B".to_owned(), true)]);
    assert!(settle(&store, &again, dead).await);
    assert_ne!(letter().await, buried, "a second click must not hit another letter");
}

#[tokio::test]
async fn notices_do_not_replace_each_other() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let notice = |seconds| NewDelivery {
        destination: "discord/ops".to_owned(),
        content: NewContent::Notice(Notice::WatchdogBack { silent_seconds: seconds }),
    };
    store.queue(vec![notice(1), notice(2)]).await.unwrap();
    store.queue(vec![notice(3)]).await.unwrap();
    assert_eq!(claim(&store, "discord/ops").await.deliveries.len(), 3);
}

#[tokio::test]
async fn a_storm_is_claimed_together_and_a_few_one_by_one() {
    let fixture = Fixture::new();
    let store = fixture.open();
    for number in 0..12 {
        let mut group = firing(&["A"]);
        group.key = number.to_string();
        hear(&store, group).await;
    }
    let mut claimed = Vec::new();
    for (storm, expected) in [(Some(12), 1), (Some(10), 11)] {
        let claim = store.claim("discord/ops", 100, storm, LEASE).await.unwrap();
        assert_eq!(claim.deliveries.len(), expected, "{storm:?}");
        claimed.extend(claim.deliveries);
    }
    let places: Vec<_> = claimed.iter().map(|claimed| claimed.seq).collect();
    assert!(places.is_sorted(), "{places:?}");
}

#[tokio::test]
async fn calls_are_remembered_for_a_day() {
    let fixture = Fixture::new();
    let store = fixture.open();
    hear(&store, firing(&["A"])).await;
    let claimed = claim_one(&store, "alertalk/oncall").await;
    let call = Call { subject: "s".to_owned(), number: "5321234567".to_owned(), at: fixture.clock.now() };
    let consequences = Consequences { calls: vec![call.clone()], ..told(Some("x")) };
    assert!(settle_with(&store, &claimed, Outcome::Done, consequences).await);
    fixture.pass(Duration::from_hours(24));
    hear(&store, firing(&["A"])).await;
    let later = claim(&store, "alertalk/oncall").await;
    assert_eq!(later.calls, [call]);
    assert!(settle(&store, &later.deliveries[0], Outcome::Done).await);
    fixture.pass(Duration::from_hours(2));
    store.forget_alerts(10).await.unwrap();
    hear(&store, firing(&["A"])).await;
    assert_eq!(claim(&store, "alertalk/oncall").await.calls, []);
}

#[tokio::test]
async fn what_is_known_of_destinations_and_the_watchdog_survives() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let state = DestinationState {
        fingerprint: "abc".to_owned(),
        unusable: Some("gone".to_owned()),
        no_credit_until: Some(fixture.clock.now()),
    };
    store.save_destination("discord/ops", state.clone()).await.unwrap();
    store.hear_watchdog().await.unwrap();
    let heard = WatchdogState { last_heard_at: Some(fixture.clock.now()), alarmed_at: None };
    assert_eq!(store.watchdog().await.unwrap(), heard);
    let alarmed = WatchdogState { alarmed_at: Some(fixture.clock.now()), ..heard };
    store.save_watchdog(alarmed, Vec::new()).await.unwrap();
    store.close().await;
    drop(store);
    let store = fixture.open();
    assert_eq!(store.backlogs().await.unwrap()[0].state, state);
    fixture.pass(Duration::from_secs(5));
    store.hear_watchdog().await.unwrap();
    let heard_again = WatchdogState { last_heard_at: Some(fixture.clock.now()), ..alarmed };
    assert_eq!(store.watchdog().await.unwrap(), heard_again);
}

#[tokio::test]
async fn what_waits_for_nobody_is_buried() {
    let fixture = Fixture::new();
    let store = fixture.open();
    hear(&store, firing(&["A"])).await;
    assert_eq!(store.retire(vec!["discord/ops".to_owned()], 10).await.unwrap(), ["alertalk/oncall"]);
    assert_eq!((pending(&store, "discord/ops").await, pending(&store, "alertalk/oncall").await), ((1, 0), (0, 1)));
    assert_eq!(store.retire(vec!["discord/ops".to_owned()], 10).await.unwrap(), Vec::<String>::new());
}

/// Somebody takes a destination out and puts it back; what it refused itself is for a person to look at.
#[tokio::test]
async fn what_waited_for_a_destination_that_is_there_again_goes_out_by_itself() {
    let fixture = Fixture::new();
    let store = fixture.open();
    hear(&store, firing(&["A"])).await;
    let claimed = claim_one(&store, "discord/ops").await;
    let dead = Outcome::Dead { reason: "refused", error: "status 400".to_owned() };
    assert!(settle_with(&store, &claimed, dead, Consequences::default()).await);
    store.retire(vec!["discord/ops".to_owned()], 10).await.unwrap();
    let ops = vec!["discord/ops".to_owned()];
    assert_eq!(store.retry_dead_letters(ops.clone(), true).await.unwrap().sources, Vec::<String>::new());
    let both = [ops, vec!["alertalk/oncall".to_owned()]].concat();
    assert_eq!(store.retry_dead_letters(both, true).await.unwrap().sources, ["alertalk/oncall"]);
    assert_eq!((pending(&store, "discord/ops").await, pending(&store, "alertalk/oncall").await), ((0, 1), (1, 0)));
}

#[tokio::test]
async fn what_reaches_nobody_for_long_is_found_once() {
    let fixture = Fixture::new();
    let store = fixture.open();
    hear(&store, firing(&["A"])).await;
    let both = || vec!["discord/ops".to_owned(), "discord/other".to_owned()];
    let before = fixture.clock.now();
    let ops = || vec!["discord/ops".to_owned()];
    let found = store.unreached(ops(), before).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(store.unreached(both(), before).await.unwrap(), Vec::<i64>::new());
    let earlier = before.checked_sub(Duration::from_secs(1)).unwrap();
    assert_eq!(store.unreached(ops(), earlier).await.unwrap(), Vec::<i64>::new());
    let call = NewDelivery { destination: "alertalk/oncall".to_owned(), content: NewContent::Escalation(found[0]) };
    store.queue(vec![call]).await.unwrap();
    assert_eq!(store.unreached(ops(), before).await.unwrap(), Vec::<i64>::new());
    let kinds: Vec<_> = claim(&store, "alertalk/oncall").await.deliveries.iter().map(|claimed| claimed.kind).collect();
    assert_eq!(kinds, [Kind::Group, Kind::Escalation]);
}

#[tokio::test]
async fn groups_that_are_over_are_forgotten_and_those_that_fire_are_shown() {
    let fixture = Fixture::new();
    let store = fixture.open();
    hear(&store, firing(&["A", "B"])).await;
    let mut over = resolved(&["C"]);
    over.key = "over".to_owned();
    hear(&store, over).await;
    let firing = store.firing().await.unwrap();
    assert_eq!((firing.len(), firing[0].by_rank), (1, [0, 0, 2]));
    assert_eq!(store.firing_groups(10).await.unwrap()[0].title, "A");
    fixture.pass(Duration::from_hours(25));
    assert_eq!(store.forget_alerts(10).await.unwrap(), 0, "somebody has yet to be told");
    for destination in ["discord/ops", "alertalk/oncall"] {
        for claimed in claim(&store, destination).await.deliveries {
            assert!(settle(&store, &claimed, Outcome::Done).await);
        }
    }
    assert_eq!(store.forget_alerts(10).await.unwrap(), 1);
    fixture.pass(Duration::from_hours(24 * 7));
    assert_eq!(store.forget_alerts(10).await.unwrap(), 1);
    assert_eq!(store.firing().await.unwrap(), []);
}

#[tokio::test]
async fn a_group_whose_alerts_were_left_out_still_fires() {
    let fixture = Fixture::new();
    let store = fixture.open();
    hear(&store, Group { truncated: 3, ..resolved(&["A"]) }).await;
    assert_eq!(store.firing().await.unwrap()[0].by_rank, [0, 0, 1]);
    assert_eq!(store.firing_groups(10).await.unwrap().len(), 1);
}

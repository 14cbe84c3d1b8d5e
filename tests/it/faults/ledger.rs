//! What happened in a round of faults, and what must be true of it afterwards: a pure check.

use std::collections::{BTreeMap, BTreeSet};

/// What the world knows: what it said to the program, and what the program promised.
#[derive(Debug, Default, Clone)]
pub(super) struct Ledger {
    /// Tasks whose registration was acknowledged.
    pub(super) registered: BTreeSet<String>,
    /// Results whose pingback was acknowledged: the task and the code.
    pub(super) acknowledged: BTreeSet<(String, String)>,
    /// Every code that CaptchaAI said of a task, by pingback or in an answer.
    pub(super) produced: BTreeMap<String, BTreeSet<String>>,
}

/// What was found when everything had come to rest.
#[derive(Debug, Default, Clone)]
pub(super) struct Found {
    /// How each task ended: its code or error; nothing while it is pending.
    pub(super) tasks: BTreeMap<String, Option<String>>,
    /// What the subscriber got, in order.
    pub(super) delivered: Vec<(String, String)>,
    /// Tasks whose result is a dead letter of the subscriber.
    pub(super) dead: BTreeSet<String>,
    /// How many pingbacks of each task are dead letters, conflicting or made up.
    pub(super) disbelieved: BTreeMap<String, usize>,
    /// Pending tasks and the subscriber's dead letters, as the metrics count them.
    pub(super) counted: [Option<f64>; 2],
}

/// The code of a task that was given up.
const TIMEOUT: &str = "TIMEOUT";

/// Everything that is not as it was promised.
pub(super) fn check(ledger: &Ledger, found: &Found) -> Vec<String> {
    let mut faults = Vec::new();
    let mut got: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (id, code) in &found.delivered {
        got.entry(id).or_default().insert(code);
    }
    for id in &ledger.registered {
        match found.tasks.get(id) {
            None => faults.push(format!("{id}: registered and unknown")),
            Some(None) => faults.push(format!("{id}: never ended")),
            Some(Some(_)) => {}
        }
    }
    for (id, codes) in &got {
        if codes.len() > 1 {
            faults.push(format!("{id}: ended more than once: {codes:?}"));
        }
        let ended = found.tasks.get(*id).cloned().flatten();
        for code in codes {
            let said = ledger.produced.get(*id).is_some_and(|produced| produced.contains(*code));
            if !said && *code != TIMEOUT {
                faults.push(format!("{id}: delivered {code}, which nobody said"));
            }
            if ended.as_deref() != Some(*code) {
                faults.push(format!("{id}: delivered {code}, and kept {ended:?}"));
            }
        }
    }
    // Whatever was acknowledged is how its task ended, which the next loop follows, or a dead letter.
    let mut others: BTreeMap<&str, usize> = BTreeMap::new();
    for (id, code) in &ledger.acknowledged {
        let has_ended_so = found.tasks.get(id).cloned().flatten().as_deref() == Some(code);
        *others.entry(id).or_default() += usize::from(!has_ended_so);
    }
    for (id, others) in others {
        let kept = found.disbelieved.get(id).copied().unwrap_or_default();
        if kept < others {
            faults.push(format!("{id}: acknowledged {others} other results, and kept {kept}"));
        }
    }
    for (id, ended) in &found.tasks {
        if ended.is_some() && !got.contains_key(id.as_str()) && !found.dead.contains(id) {
            faults.push(format!("{id}: ended, neither delivered nor a dead letter"));
        }
    }
    let pending = found.tasks.values().filter(|ended| ended.is_none()).count();
    let expected = [pending, found.dead.len()].map(|count| u32::try_from(count).ok().map(f64::from));
    if found.counted != expected {
        faults.push(format!("the metrics count {:?} and not {expected:?}", found.counted));
    }
    faults
}

/// A round in which all is well: one result delivered, one given up by the subscriber, one disbelieved.
fn good() -> (Ledger, Found) {
    let text = |text: &str| text.to_owned();
    let ledger = Ledger {
        registered: [text("1"), text("2")].into(),
        acknowledged: [(text("1"), text("a")), (text("3"), text("made-up"))].into(),
        produced: [(text("1"), [text("a")].into()), (text("2"), [text("b")].into())].into(),
    };
    let found = Found {
        tasks: [(text("1"), Some(text("a"))), (text("2"), Some(text("b")))].into(),
        delivered: vec![(text("1"), text("a")), (text("1"), text("a"))],
        dead: [text("2")].into(),
        disbelieved: [(text("3"), 1)].into(),
        counted: [Some(0.0), Some(1.0)],
    };
    (ledger, found)
}

#[test]
fn a_good_round_has_no_faults() {
    let (ledger, found) = good();
    assert_eq!(check(&ledger, &found), Vec::<String>::new());
}

#[test]
fn planted_bugs_are_found() {
    type Bug = (&'static str, fn(&mut Ledger, &mut Found));
    let bugs: [Bug; 10] = [
        ("acknowledged before it is kept", |_, found| found.disbelieved.clear()),
        ("a contradiction is dropped", |ledger, _| {
            ledger.acknowledged.insert(("1".into(), "c".into()));
        }),
        ("a result is dropped after a 5xx", |_, found| found.dead.clear()),
        ("a delivery is lost", |_, found| found.delivered.clear()),
        ("something made up is delivered", |_, found| found.delivered.push(("1".into(), "made-up".into()))),
        ("a task ends twice", |ledger, found| {
            ledger.produced.get_mut("1").unwrap().insert("c".into());
            found.delivered.push(("1".into(), "c".into()));
        }),
        ("a task is forgotten", |_, found| {
            found.tasks.remove("2");
        }),
        ("a task never ends", |_, found| {
            found.tasks.insert("2".into(), None);
        }),
        ("pending tasks are miscounted", |_, found| found.counted[0] = Some(1.0)),
        ("dead letters are miscounted", |_, found| found.counted[1] = Some(0.0)),
    ];
    for (name, plant) in bugs {
        let (mut ledger, mut found) = good();
        plant(&mut ledger, &mut found);
        assert!(!check(&ledger, &found).is_empty(), "not found: {name}");
    }
}

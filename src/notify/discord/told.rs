//! What Discord was told of a group, as it is kept between deliveries, and how that compares with what
//! the group is now.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::message::Embed;
use crate::domain::alert::{Alert, Group, Rank};

/// Of more messages than this, the oldest is not followed any longer.
const MOST_CARDS: usize = 50;
/// Nor is it when the messages show more alerts than this together, and of announced alerts that no message
/// shows, no more are remembered: what is kept of a group is written whole after every request. More than
/// twice what one notification holds.
const MOST_ENTRIES: usize = 50_000;

/// Everything that Discord was told of one group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Told {
    /// The messages that show alerts, oldest first.
    pub(super) cards: Vec<Card>,
    /// The alerts that were announced, but that no message shows.
    pub(super) loose: Vec<Entry>,
    /// Whether people were told that something fires, so that they wait for the end of it.
    pub(super) alarmed: bool,
    /// Whether they were told of that end, or of all there was to tell.
    pub(super) closed: bool,
}

/// A message that shows alerts, and changes with them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Card {
    /// Discord's id of it.
    pub(super) id: String,
    /// A hash of what it shows.
    pub(super) hash: String,
    /// When it was posted.
    pub(super) posted_at: Timestamp,
    /// Its alerts.
    pub(super) entries: Vec<Entry>,
}

/// An alert as people were told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Row", into = "Row")]
pub(super) struct Entry {
    pub(super) fingerprint: String,
    pub(super) firing: bool,
    pub(super) rank: Rank,
    /// Since when it fires, in Unix milliseconds: tells one time that it fires from the next.
    pub(super) since: Option<i64>,
    /// How the message shows it; nothing where it is one of the "N more".
    pub(super) look: Option<Look>,
}

/// The form in which entries are kept: a group may have 10,000.
type Row = (String, bool, Rank, Option<i64>, Option<Look>);

/// How a message shows an alert. It is kept because Alertmanager forgets what is resolved, and a message
/// is replaced as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Look {
    /// As a line of the list.
    Line(String),
    /// As a box of its own.
    Embed(Box<Embed>),
}

impl From<Row> for Entry {
    fn from((fingerprint, firing, rank, since, look): Row) -> Self {
        Self { fingerprint, firing, rank, since, look }
    }
}

impl From<Entry> for Row {
    fn from(Entry { fingerprint, firing, rank, since, look }: Entry) -> Self {
        (fingerprint, firing, rank, since, look)
    }
}

impl Entry {
    /// The alert as it is now.
    pub(super) fn of(alert: &Alert) -> Self {
        Self {
            fingerprint: alert.fingerprint.clone(),
            firing: alert.firing,
            rank: alert.rank(),
            since: alert.starts_at.map(Timestamp::as_millisecond),
            look: None,
        }
    }

    /// Whether the alert fires and people believe that it does not, or that it is still the time before.
    fn is_outdated_by(&self, alert: &Alert) -> bool {
        let since = alert.starts_at.map(Timestamp::as_millisecond);
        let again = since.zip(self.since).is_some_and(|(now, before)| now > before);
        alert.firing && (!self.firing || again)
    }
}

impl Told {
    /// Reads what `write` wrote. What cannot be read counts as nothing: telling twice is better than not
    /// at all.
    pub(super) fn read(text: Option<&str>) -> Self {
        let read = text.map(serde_json::from_str).transpose();
        read.inspect_err(|error| tracing::warn!(%error, "what Discord was told cannot be read"))
            .ok()
            .flatten()
            .unwrap_or_default()
    }

    /// As it is kept.
    pub(super) fn write(&self) -> Option<String> {
        serde_json::to_string(self)
            .inspect_err(|error| tracing::error!(%error, "what Discord was told cannot be written"))
            .ok()
    }

    /// There is nothing more to tell.
    pub(super) fn closed() -> Self {
        Self { closed: true, ..Self::default() }
    }

    /// What counts when there is something to tell again.
    #[must_use]
    pub(super) fn reopened(self) -> Self {
        if self.closed { Self::default() } else { self }
    }

    /// Whether nothing was ever told.
    pub(super) fn is_nothing(&self) -> bool {
        self.cards.is_empty() && self.loose.is_empty() && !self.alarmed
    }

    /// These alerts were announced: by a message with this id, or by one that cannot be changed.
    pub(super) fn announce(&mut self, id: Option<&str>, hash: &str, entries: &[Entry], now: Timestamp) {
        let announced: HashSet<&str> = entries.iter().map(|entry| entry.fingerprint.as_str()).collect();
        self.loose.retain(|entry| !announced.contains(entry.fingerprint.as_str()));
        // An id that is known already is none: a change of one message would undo that of the other.
        let Some(id) = id.filter(|&id| self.cards.iter().all(|card| card.id != id)) else {
            self.loosen(entries.iter().map(|entry| Entry { look: None, ..entry.clone() }));
            return;
        };
        self.cards.push(Card { id: id.to_owned(), hash: hash.to_owned(), posted_at: now, entries: entries.to_vec() });
        while self.cards.len() > MOST_CARDS || self.cards.len() > 1 && self.in_cards() > MOST_ENTRIES {
            let card = self.cards.remove(0);
            self.let_go(card, |entry| entry.firing);
        }
    }

    /// How many alerts the messages show, repetitions included.
    fn in_cards(&self) -> usize {
        self.cards.iter().map(|card| card.entries.len()).sum()
    }

    /// Remembers alerts that no message shows. The oldest are forgotten: if they still fire, they are told
    /// again.
    fn loosen(&mut self, entries: impl Iterator<Item = Entry>) {
        self.loose.extend(entries);
        let excess = self.loose.len().saturating_sub(MOST_ENTRIES);
        self.loose.drain(..excess);
    }

    /// A message shows this now.
    pub(super) fn show(&mut self, id: &str, hash: &str, entries: &[Entry]) {
        if let Some(card) = self.cards.iter_mut().find(|card| card.id == id) {
            hash.clone_into(&mut card.hash);
            card.entries = entries.to_vec();
        }
    }

    /// A message is gone. Of its alerts, those that fire are announced anew, the others count as told.
    pub(super) fn forget(&mut self, id: &str, group: &Group) {
        let Some(position) = self.cards.iter().position(|card| card.id == id) else { return };
        let firing: HashSet<&str> = group.firing_alerts().map(|alert| alert.fingerprint.as_str()).collect();
        let card = self.cards.remove(position);
        self.let_go(card, |entry| !firing.contains(entry.fingerprint.as_str()));
    }

    /// Keeps some alerts of a message that is not followed any longer.
    fn let_go(&mut self, card: Card, keep: impl Fn(&Entry) -> bool) {
        let elsewhere: HashSet<String> = self.entries().map(|entry| entry.fingerprint.clone()).collect();
        let kept = card.entries.into_iter().filter(|entry| keep(entry) && !elsewhere.contains(&entry.fingerprint));
        self.loosen(kept.map(|entry| Entry { look: None, ..entry }));
    }

    /// A message without room for details told of the group: what is new in it counts as announced.
    pub(super) fn mention(&mut self, group: &Group) {
        let news: Vec<Entry> = Comparison::new(self, group).news().into_iter().map(Entry::of).collect();
        self.alarmed |= group.truncated > 0 || news.iter().any(|entry| entry.firing);
        let mentioned: HashSet<&str> = news.iter().map(|entry| entry.fingerprint.as_str()).collect();
        self.loose.retain(|entry| !mentioned.contains(entry.fingerprint.as_str()));
        self.loosen(news.into_iter());
    }

    /// All alerts that people were told of; one of them may be there several times.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.cards.iter().flat_map(|card| &card.entries).chain(&self.loose)
    }
}

/// Where an alert was announced last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Card(usize),
    Loose,
}

/// What was told of a group beside what it is now.
#[derive(Debug)]
pub(super) struct Comparison<'a> {
    /// The alerts by their fingerprints. Of several with one fingerprint, one that fires.
    alerts: HashMap<&'a str, &'a Alert>,
    /// The alerts in their order, each once.
    order: Vec<&'a Alert>,
    /// Where each was announced last, and as what.
    announced: HashMap<&'a str, (Place, &'a Entry)>,
}

impl<'a> Comparison<'a> {
    pub(super) fn new(told: &'a Told, group: &'a Group) -> Self {
        let mut alerts: HashMap<&str, &Alert> = HashMap::with_capacity(group.alerts.len());
        for alert in &group.alerts {
            let known = alerts.entry(&alert.fingerprint).or_insert(alert);
            if alert.firing && !known.firing {
                *known = alert;
            }
        }
        let is_chosen =
            |alert: &&Alert| alerts.get(alert.fingerprint.as_str()).is_some_and(|&one| std::ptr::eq(one, *alert));
        let order = group.alerts.iter().filter(is_chosen).collect();
        let cards = told.cards.iter().enumerate();
        let in_cards =
            cards.flat_map(|(position, card)| card.entries.iter().map(move |entry| (Place::Card(position), entry)));
        // Later ones replace earlier ones.
        let all = in_cards.chain(told.loose.iter().map(|entry| (Place::Loose, entry)));
        let announced = all.map(|(place, entry)| (entry.fingerprint.as_str(), (place, entry))).collect();
        Self { alerts, order, announced }
    }

    /// The alerts that people have to be told of: those that they know nothing of, and those that fire
    /// again.
    pub(super) fn news(&self) -> Vec<&'a Alert> {
        let is_new = |alert: &&Alert| match self.announced.get(alert.fingerprint.as_str()) {
            Some((_, entry)) => entry.is_outdated_by(alert),
            None => true,
        };
        self.order.iter().copied().filter(is_new).collect()
    }

    /// The alert behind an entry of a card, as it is now; nothing where the group does not have it any
    /// more, or where it was announced anew since: then the card keeps what it shows.
    pub(super) fn behind(&self, card: usize, entry: &Entry) -> Option<&'a Alert> {
        let (place, _) = self.announced.get(entry.fingerprint.as_str())?;
        let alert = self.alerts.get(entry.fingerprint.as_str())?;
        (*place == Place::Card(card)).then_some(*alert)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::tests::{alert, group};

    /// 20,000 alerts that fire, others each time.
    fn storm(round: usize) -> Group {
        group((0..20_000).map(|number| alert(&format!("{round}-{number}"), "info", true)).collect())
    }

    #[test]
    fn what_is_kept_of_a_group_is_bounded() {
        let (mut shown, mut mentioned) = (Told::default(), Told::default());
        for round in 0..4 {
            let group = storm(round);
            let entries: Vec<_> = group.alerts.iter().map(Entry::of).collect();
            shown.announce(Some(&round.to_string()), "", &entries, Timestamp::UNIX_EPOCH);
            mentioned.mention(&group);
            assert!(Comparison::new(&shown, &group).news().is_empty(), "{round}");
            assert!(Comparison::new(&mentioned, &group).news().is_empty(), "{round}");
        }
        assert!(shown.in_cards() <= MOST_ENTRIES && shown.loose.len() <= MOST_ENTRIES);
        assert_eq!(mentioned.entries().count(), MOST_ENTRIES);
    }

    /// What an older version wrote must be read by a newer one, or people are told everything again.
    #[test]
    fn it_is_kept_in_this_form() {
        let text = concat!(
            r#"{"cards":[{"id":"12","hash":"00ff","posted_at":"2026-01-31T08:30:00Z","entries":["#,
            r#"["a1",true,"critical",1769848200000,{"title":"A","color":15158332}],"#,
            r#"["b2",false,"info",null,"✅ B"],"#,
            r#"["c3",true,"warning",null,null]]}],"#,
            r#""loose":[["d4",true,"info",null,null]],"alarmed":true,"closed":false}"#,
        );
        let told = Told::read(Some(text));
        assert_eq!(told.write().as_deref(), Some(text));
        assert_eq!(told.entries().count(), 4);
        assert_eq!(told.cards[0].entries[1].look, Some(Look::Line("✅ B".to_owned())));
        for text in [None, Some("{}"), Some("null"), Some("[]"), Some("{"), Some(r#"{"cards":[{}]}"#)] {
            assert!(Told::read(text).is_nothing(), "{text:?}");
        }
    }
}

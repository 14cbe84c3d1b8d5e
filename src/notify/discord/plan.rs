//! What to tell next: a pure decision on what the group is, and what Discord was told of it.

use jiff::Timestamp;

use super::card::{Artist, Face};
use super::embed::Scene;
use super::links::usable;
use super::message::Message;
use super::posts;
use super::told::{Comparison, Entry, Told};
use super::{Discord, Resolved};
use crate::domain::alert::{Alert, Group};
use crate::notify::{Content, Job, Receipt, Step};

/// A message to post, or to put in the place of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub(super) message: Message,
    /// The id of the message that it replaces.
    pub(super) replaces: Option<String>,
    effect: Effect,
}

/// What people know after a request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Effect {
    /// These alerts. `alarms`: that something fires.
    Announce { entries: Vec<Entry>, hash: String, alarms: bool },
    /// How these alerts are now.
    Show { entries: Vec<Entry>, hash: String },
    /// All there is to know.
    Close,
    /// Something of each of many jobs.
    Mention,
}

impl Discord {
    /// The next request of a job.
    pub(super) fn plan(&self, job: &Job, now: Timestamp) -> Step<Request> {
        match &job.content {
            Content::Group(group) => self.plan_group(group, job.told.as_deref()),
            Content::Notice(_) if job.told.is_some() => Step::Done(None),
            Content::Notice(notice) => {
                let url = self.settings.external_url.as_deref().and_then(usable);
                let embed = posts::notice(notice, url, now, &self.phrases);
                Step::Send(Request::post(Message::new(&[], "", vec![embed]), Effect::Close))
            }
            // For phones and for subscribers.
            Content::Escalation(_) | Content::Result(_) => Step::Done(job.told.clone()),
        }
    }

    /// One request that tells of all jobs.
    pub(super) fn summarize(&self, jobs: &[Job], now: Timestamp) -> Option<Request> {
        let (embed, firing) = posts::digest(jobs, now, &self.phrases)?;
        let message = Message::new(self.settings.mentions(firing), "", vec![embed]);
        Some(Request::post(message, Effect::Mention))
    }

    fn plan_group(&self, group: &Group, known: Option<&str>) -> Step<Request> {
        let told = Told::read(known);
        let over = group.is_over();
        if told.closed && over {
            return Step::Done(None);
        }
        let told = told.reopened();
        let comparison = Comparison::new(&told, group);
        let artist = Artist::new(Scene::new(&self.phrases, group), group);
        let owes_recovery = over && !group.is_report() && self.owes_recovery(&told);
        let news = comparison.news();
        // What fires comes first: changes of older messages can wait for the rate limit. What was resolved
        // before it was told has its place in the recovery, if there is one.
        let unsaid = !news.is_empty() || told.is_nothing() && group.truncated > 0;
        if unsaid && !owes_recovery {
            return Step::Send(self.announce(group, &news, &artist));
        }
        if over && group.is_report() {
            return Step::Done(None);
        }
        if self.settings.resolved != Resolved::Post
            && let Some(change) = change(&told, &artist, &comparison)
        {
            return Step::Send(change);
        }
        if owes_recovery {
            let embed = posts::recovery(group, &told, &self.phrases);
            return Step::Send(Request::post(Message::new(&[], "", vec![embed]), Effect::Close));
        }
        Step::Done(if over || told.is_nothing() { None } else { known.map(str::to_owned) })
    }

    /// Whether a message of its own says that the group is over.
    fn owes_recovery(&self, told: &Told) -> bool {
        let shown_by_cards = !told.cards.is_empty() && told.loose.is_empty();
        told.alarmed && !(self.settings.resolved == Resolved::Edit && shown_by_cards)
    }

    fn announce<'a>(&self, group: &'a Group, news: &[&'a Alert], artist: &Artist<'a>) -> Request {
        let highest = news.iter().filter(|alert| alert.firing).map(|alert| alert.rank()).max();
        let alarms = highest.is_some() || group.truncated > 0 || group.is_report();
        // Nobody was told while it fired, so one message has to say both.
        let text = if alarms { String::new() } else { self.phrases.late(news.len()) };
        let Face { embeds, entries, hash } = artist.draw(news);
        let message = Message::new(self.settings.mentions(highest), &text, embeds);
        Request::post(message, Effect::Announce { entries, hash, alarms })
    }
}

/// The first message that does not show what it should.
fn change<'a>(told: &Told, artist: &Artist<'a>, comparison: &Comparison<'a>) -> Option<Request> {
    let last = told.cards.len().saturating_sub(1);
    told.cards.iter().enumerate().find_map(|(position, card)| {
        let Face { embeds, entries, hash } = artist.redraw(card, position, position == last, comparison);
        // Discord takes no message without anything in it.
        let changed = hash != card.hash && !embeds.is_empty();
        changed.then(|| Request {
            message: Message::new(&[], "", embeds),
            replaces: Some(card.id.clone()),
            effect: Effect::Show { entries, hash },
        })
    })
}

impl Request {
    fn post(message: Message, effect: Effect) -> Self {
        Self { message, replaces: None, effect }
    }
}

/// What is known of a job after a request.
pub(super) fn told(job: &Job, request: &Request, receipt: &Receipt, now: Timestamp) -> Option<String> {
    let mut told = Told::read(job.told.as_deref()).reopened();
    match (&request.effect, &job.content) {
        (Effect::Announce { entries, hash, alarms }, _) => {
            told.announce(receipt.message_id.as_deref(), hash, entries, now);
            told.alarmed |= alarms;
        }
        (Effect::Show { entries, hash }, _) => told.show(request.replaces.as_deref()?, hash, entries),
        (Effect::Mention, Content::Group(group)) if group.is_over() => return None,
        (Effect::Mention, Content::Group(group)) => told.mention(group),
        (Effect::Mention, Content::Escalation(_) | Content::Result(_)) => return job.told.clone(),
        (Effect::Close, _) | (Effect::Mention, Content::Notice(_)) => told = Told::closed(),
    }
    told.write()
}

/// What is known of a job when the message that a request should change is gone.
pub(super) fn forgotten(job: &Job, request: &Request) -> Option<String> {
    let (Some(id), Content::Group(group)) = (&request.replaces, &job.content) else { return job.told.clone() };
    let mut told = Told::read(job.told.as_deref()).reopened();
    told.forget(id, group);
    told.write()
}

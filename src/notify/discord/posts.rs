//! Messages that are posted once and never change: that a group is over, a notice, and many changes at
//! once.

use std::cmp::Reverse;
use std::collections::HashSet;

use jiff::Timestamp;

use super::card::Artist;
use super::embed::{Scene, firing_mark, rank_color};
use super::message::{DESCRIPTION, Embed, SUCCESS, TITLE, WARNING};
use super::phrases::Phrases;
use super::text::{code, gather, line, paragraph, plain};
use super::told::{Comparison, Told};
use crate::domain::alert::{Group, Rank, Texts};
use crate::domain::notice::Notice;
use crate::domain::time::{elapsed, format_timestamp};
use crate::notify::{Content, Job};

/// The longest name of a group, and its labels after that.
const NAME: usize = 100;
const LABELS: usize = 200;
/// The longest sentence of a message.
const SENTENCE: usize = 500;
/// A list of what was not told before.
const LIST: usize = 1500;
/// A notice among many.
const SHORT_NOTICE: usize = 160;

/// All alerts of a group are resolved.
pub(super) fn recovery(group: &Group, told: &Told, phrases: &Phrases) -> Embed {
    let known = told.entries().map(|entry| entry.fingerprint.as_str());
    let now = group.alerts.iter().map(|alert| alert.fingerprint.as_str());
    let count = known.chain(now).collect::<HashSet<_>>().len();
    let since = told.entries().filter_map(|entry| entry.since);
    let began = since.filter_map(|since| Timestamp::from_millisecond(since).ok());
    let began = began.chain(group.alerts.iter().filter_map(|alert| alert.starts_at)).min();
    let ended = group.alerts.iter().filter_map(|alert| alert.ends_at).max();
    let lasted = began.zip(ended).map(|(began, ended)| phrases.duration(elapsed(began, ended)));
    let untold = Comparison::new(told, group).news();
    let parts = [
        paragraph(&phrases.recovery_text(count.max(1), lasted.as_deref()), SENTENCE),
        group_labels(&group.group_labels, phrases),
        Artist::new(Scene::new(phrases, group), group).list(&untold, LIST),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let title = line(&phrases.recovery_title(&line(&group.title(), NAME)), TITLE);
    Embed { timestamp: ended.map(format_timestamp), ..Embed::new(title, parts.join("\n"), SUCCESS) }
}

/// What tells the group from others of the same name.
fn group_labels(labels: &Texts, phrases: &Phrases) -> String {
    let shown = || labels.iter().filter(|(name, _)| !matches!(name.as_str(), "alertname" | "severity"));
    let parts = shown().map(|(name, value)| code(name, value, NAME));
    gather(parts, shown().count(), " ", LABELS, |rest| phrases.more(rest)).0
}

/// A message of our own. `url` is where its title leads.
pub(super) fn notice(notice: &Notice, url: Option<String>, now: Timestamp, phrases: &Phrases) -> Embed {
    let (title, text) = phrases.notice(notice);
    let color = if matches!(notice, Notice::WatchdogBack { .. }) { SUCCESS } else { rank_color(notice.rank()) };
    let embed = Embed::new(line(&title, TITLE), paragraph(&text, DESCRIPTION), color);
    Embed { url, timestamp: Some(format_timestamp(now)), ..embed }
}

/// Many changes, a line each, and the highest rank that fires among them.
pub(super) fn digest(jobs: &[Job], now: Timestamp, phrases: &Phrases) -> Option<(Embed, Option<Rank>)> {
    let mut changes: Vec<_> = jobs.iter().filter_map(Change::of).collect();
    if changes.is_empty() {
        return None;
    }
    changes.sort_by_key(|change| Reverse((change.urgent(), change.is_doubtful(), change.rank())));
    let notices = changes.iter().filter(|change| matches!(change, Change::Notice(_))).count();
    let urgent = changes.iter().filter(|change| change.urgent()).map(Change::rank).max();
    let lines = changes.iter().map(|change| change.line(phrases));
    let (list, _) = gather(lines, changes.len(), "\n", DESCRIPTION, |rest| line(&phrases.more(rest), NAME));
    let title = line(&phrases.digest_title(changes.len() - notices, notices), TITLE);
    let doubtful = changes.iter().any(Change::is_doubtful);
    let color = urgent.map_or(if doubtful { WARNING } else { SUCCESS }, rank_color);
    let firing = changes.iter().filter_map(Change::firing).max();
    Some((Embed { timestamp: Some(format_timestamp(now)), ..Embed::new(title, list, color) }, firing))
}

/// A line of a digest.
enum Change<'a> {
    Group(&'a Group),
    Notice(&'a Notice),
}

impl<'a> Change<'a> {
    fn of(job: &'a Job) -> Option<Self> {
        match &job.content {
            Content::Group(group) => Some(Self::Group(group)),
            Content::Notice(notice) => Some(Self::Notice(notice)),
            // Somebody is called about it.
            Content::Escalation(_) | Content::Result(_) => None,
        }
    }

    /// The highest rank that fires.
    fn firing(&self) -> Option<Rank> {
        match self {
            Self::Group(group) => group.firing_alerts().next().map(|_| group.rank()),
            Self::Notice(_) => None,
        }
    }

    fn urgent(&self) -> bool {
        match self {
            Self::Group(_) => self.firing().is_some(),
            Self::Notice(notice) => !matches!(notice, Notice::WatchdogBack { .. } | Notice::Marzban { .. }),
        }
    }

    fn rank(&self) -> Rank {
        match self {
            Self::Group(group) => group.rank(),
            Self::Notice(notice) => notice.rank(),
        }
    }

    /// Whether nobody knows if something fires.
    fn is_doubtful(&self) -> bool {
        matches!(self, Self::Group(group) if !group.is_over() && self.firing().is_none())
    }

    fn line(&self, phrases: &Phrases) -> String {
        match self {
            Self::Group(group) => self.group_line(group, phrases),
            Self::Notice(notice) => {
                let (title, text) = phrases.notice(notice);
                format!("{}: {}", line(&title, NAME), line(&text, SHORT_NOTICE))
            }
        }
    }

    fn group_line(&self, group: &Group, phrases: &Phrases) -> String {
        let mark = match self.firing() {
            Some(rank) => firing_mark(rank),
            None if self.is_doubtful() => "⚠️",
            None => "✅",
        };
        let name = line(&group.title(), NAME);
        let labels = group_labels(&group.group_labels, phrases);
        let labels = if labels.is_empty() { labels } else { format!(" {labels}") };
        let firing = group.firing_alerts().count();
        let mut states = line(&phrases.counts(firing, group.alerts.len() - firing), NAME);
        if group.truncated > 0 {
            states = format!("{states}, {}", line(&phrases.truncated_short(group.truncated), NAME));
        }
        format!("{mark} **{}**{labels}: {states} · {}", plain(&name), group.rank().as_str())
    }
}

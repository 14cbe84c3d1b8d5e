//! A message that shows alerts: a box for each of the most important ones, a list of further ones, and
//! the number of those for which there is no room.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::embed::Scene;
use super::links::make_distinct;
use super::message::{ALL, DESCRIPTION, EMBEDS, Embed, TITLE, WARNING};
use super::text::{code, count, gather, line, paragraph, plain};
use super::told::{Card, Comparison, Entry, Look};
use crate::domain::alert::{Alert, Group, Texts};

/// The room for one alert among several, so that one cannot take all.
const AMONG_SEVERAL: usize = 2000;
/// Room that the list has at least, if it needs as much: a list of all is worth more than another box.
const LIST: usize = 1500;
/// The longest name, label and line of the list.
const NAME: usize = 64;
const LABEL: usize = 48;
const LABELS: usize = 120;

/// What a card shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Face {
    pub(super) embeds: Vec<Embed>,
    /// Its alerts, in the order in which they are shown.
    pub(super) entries: Vec<Entry>,
    /// Tells one face from another.
    pub(super) hash: String,
}

/// An alert of a card: as it is, or as it was shown.
#[derive(Debug)]
struct Item<'a> {
    entry: Entry,
    alert: Option<&'a Alert>,
}

/// Draws cards of one group.
#[derive(Debug)]
pub(super) struct Artist<'a> {
    scene: Scene<'a>,
    /// The labels that all have, which tell none from another.
    shared: Cow<'a, Texts>,
    truncated: u64,
    /// Whether nothing of the group fires, for sure.
    is_over: bool,
}

impl<'a> Artist<'a> {
    pub(super) fn new(scene: Scene<'a>, group: &'a Group) -> Self {
        Self { scene, shared: shared_labels(group), truncated: group.truncated, is_over: group.is_over() }
    }

    /// A new card.
    pub(super) fn draw(&self, alerts: &[&'a Alert]) -> Face {
        let items = alerts.iter().map(|&alert| Item { entry: Entry::of(alert), alert: Some(alert) });
        self.arrange(items.collect(), true)
    }

    /// A short list of alerts.
    pub(super) fn list(&self, alerts: &[&'a Alert], room: usize) -> String {
        let items = alerts.iter().map(|&alert| Item { entry: Entry::of(alert), alert: Some(alert) });
        let lines = items.filter_map(|item| self.line(&item));
        gather(lines, alerts.len(), "\n", room, |rest| line(&self.scene.phrases.more(rest), LABELS)).0
    }

    /// A card that was posted, as it should be now. Only the last one tells of alerts that were left out.
    pub(super) fn redraw(&self, card: &Card, position: usize, is_last: bool, comparison: &Comparison<'a>) -> Face {
        let items = card.entries.iter().map(|entry| match comparison.behind(position, entry) {
            Some(alert) => Item { entry: Entry::of(alert), alert: Some(alert) },
            // What Alertmanager held back or forgot is over when the group is.
            None => Item { entry: Entry { firing: entry.firing && !self.is_over, ..entry.clone() }, alert: None },
        });
        self.arrange(items.collect(), is_last)
    }

    fn arrange(&self, mut items: Vec<Item<'a>>, tells_of_truncation: bool) -> Face {
        items.sort_by_key(|item| Reverse((item.entry.firing, item.entry.rank)));
        let truncated = if tells_of_truncation { self.truncated } else { 0 };
        let note = if truncated > 0 { self.scene.phrases.truncated(truncated) } else { String::new() };
        let firing = items.iter().filter(|item| item.entry.firing).count();
        let mut lines = Lines { artist: self, items: &items, firing, made: HashMap::new() };
        let mut boxes = self.boxes(&items, &note);
        while !boxes.is_empty() && !lines.allow(&boxes, &note) {
            boxes.pop();
        }
        let (tail, listed) = lines.tail(&boxes, &note);
        let made = lines.made;
        let (positions, mut embeds): (Vec<usize>, Vec<Embed>) = boxes.into_iter().unzip();
        make_distinct(&mut embeds);
        let mut looks: HashMap<usize, Look> = positions
            .into_iter()
            .zip(&embeds)
            .map(|(position, embed)| (position, Look::Embed(Box::new(embed.clone()))))
            .collect();
        looks.extend(
            listed
                .into_iter()
                .filter_map(|position| made.get(&position).cloned().flatten().map(|line| (position, Look::Line(line)))),
        );
        embeds.extend(tail);
        let entries = items.into_iter().enumerate();
        let entries = entries.map(|(position, item)| Entry { look: looks.remove(&position), ..item.entry }).collect();
        Face { hash: hash(&embeds), embeds, entries }
    }

    /// The first alerts as boxes, with their positions: as many as a message has room for at most.
    fn boxes(&self, items: &[Item<'a>], note: &str) -> Vec<(usize, Embed)> {
        let end = if note.is_empty() { 0 } else { tail(note).size() };
        let room = ((ALL - end) / items.len().max(1)).max(AMONG_SEVERAL);
        let embed = |item: &Item<'a>| match (item.alert, &item.entry.look) {
            (Some(alert), _) => {
                let mut embed = self.scene.embed(alert);
                embed.shrink(room);
                Some(embed)
            }
            (None, Some(Look::Embed(embed))) if item.entry.firing => Some((**embed).clone()),
            (None, Some(Look::Embed(embed))) => {
                Some(Embed { color: self.scene.color(false, item.entry.rank), ..(**embed).clone() })
            }
            (None, _) => None,
        };
        let numbered = items.iter().enumerate();
        numbered.filter_map(|(position, item)| Some((position, embed(item)?))).take(EMBEDS).collect()
    }

    /// An alert as a line: the sign of its state, its name, and the labels that tell it apart.
    fn line(&self, item: &Item<'a>) -> Option<String> {
        let mark = self.scene.mark(item.entry.firing, item.entry.rank);
        let Some(alert) = item.alert else {
            return match &item.entry.look {
                Some(Look::Line(line)) => Some(line.clone()),
                Some(Look::Embed(embed)) => Some(plain(&line(&embed.title, LABELS)).into_owned()),
                None => None,
            };
        };
        let name = line(alert.name(), NAME);
        let own = || alert.labels.iter().filter(|(name, value)| self.tells_apart(name, value));
        let labels = own().map(|(name, value)| code(name, value, LABEL));
        let (labels, _) = gather(labels, own().count(), " ", LABELS, |_| "…".to_owned());
        Some(format!("{mark} {} {labels}", plain(&name)).trim_end().to_owned())
    }

    fn tells_apart(&self, name: &str, value: &str) -> bool {
        !matches!(name, "alertname" | "severity") && self.shared.get(name).is_none_or(|shared| shared != value)
    }
}

/// The lines of a list, each made when it is asked for: of 10,000 a message shows a hundred.
struct Lines<'a, 'b> {
    artist: &'b Artist<'a>,
    items: &'b [Item<'a>],
    /// How many of them fire.
    firing: usize,
    made: HashMap<usize, Option<String>>,
}

impl Lines<'_, '_> {
    fn get(&mut self, position: usize) -> Option<String> {
        let item = self.items.get(position)?;
        self.made.entry(position).or_insert_with(|| self.artist.line(item)).clone()
    }

    /// Whether these boxes leave enough room for everything else.
    fn allow(&mut self, boxes: &[(usize, Embed)], note: &str) -> bool {
        let rest = self.items.len() - boxes.len();
        if rest == 0 && note.is_empty() {
            return boxes.len() <= EMBEDS && sum(boxes) <= ALL;
        }
        let mut size = sum(boxes) + self.empty_tail(boxes, note).size() + BEFORE_NOTE.len();
        let most = size + if rest > 0 { LIST } else { 0 };
        let mut positions = unboxed(self.items.len(), boxes);
        while size < most
            && let Some(position) = positions.next()
        {
            // What cannot be listed is a number at the end.
            let length = self.get(position).map_or_else(|| self.more(rest).chars().count(), |line| count(&line));
            size += length + 1;
        }
        boxes.len() < EMBEDS && size.min(most) <= ALL
    }

    fn more(&self, rest: usize) -> String {
        line(&self.artist.scene.phrases.more(rest), LABELS)
    }

    /// The box after all others, without its list.
    fn empty_tail(&self, boxes: &[(usize, Embed)], note: &str) -> Embed {
        let mut tail = tail(note);
        let scene = &self.artist.scene;
        // They are sorted: the first is the most important.
        let first = unboxed(self.items.len(), boxes).next().and_then(|position| self.items.get(position));
        let Some(first) = first else { return tail };
        let elsewhere = boxes.iter().filter_map(|&(position, _)| self.items.get(position));
        let firing = self.firing - elsewhere.filter(|item| item.entry.firing).count();
        tail.title = line(&scene.phrases.list_title(firing, self.items.len() - boxes.len() - firing), TITLE);
        tail.color = scene.color(first.entry.firing, first.entry.rank);
        tail
    }

    /// The box after all others, if there is anything to say in it, and the positions of those that it
    /// lists.
    fn tail(&mut self, boxes: &[(usize, Embed)], note: &str) -> (Option<Embed>, Vec<usize>) {
        let rest = self.items.len() - boxes.len();
        if rest == 0 {
            return ((!note.is_empty()).then(|| tail(note)), Vec::new());
        }
        let mut tail = self.empty_tail(boxes, note);
        let end = if note.is_empty() { String::new() } else { format!("{BEFORE_NOTE}{}", tail.description) };
        tail.description.clear();
        let room = DESCRIPTION.min(ALL.saturating_sub(sum(boxes) + tail.size()));
        let room = room.saturating_sub(end.chars().count());
        let phrases = self.artist.scene.phrases;
        let mut listed = Vec::new();
        let lines = unboxed(self.items.len(), boxes).filter_map(|position| {
            let line = self.get(position)?;
            listed.push(position);
            Some(line)
        });
        let (list, fitting) = gather(lines, rest, "\n", room, |rest| line(&phrases.more(rest), LABELS));
        listed.truncate(fitting);
        tail.description = format!("{list}{end}");
        (Some(tail), listed)
    }
}

/// Between the list and the note on alerts that were left out.
const BEFORE_NOTE: &str = "\n\n";

/// The box that says what was left out.
fn tail(note: &str) -> Embed {
    Embed::new(String::new(), paragraph(note, LIST / 2), WARNING)
}

/// The positions that have no box.
fn unboxed(items: usize, boxes: &[(usize, Embed)]) -> impl Iterator<Item = usize> {
    let taken: Vec<usize> = boxes.iter().map(|&(position, _)| position).collect();
    (0..items).filter(move |position| !taken.contains(position))
}

fn sum(boxes: &[(usize, Embed)]) -> usize {
    boxes.iter().map(|(_, embed)| embed.size()).sum()
}

/// The labels that all alerts of a group have. An Alertmanager that leaves them out is tolerated.
fn shared_labels(group: &Group) -> Cow<'_, Texts> {
    let (Some((first, others)), true) = (group.alerts.split_first(), group.common_labels.is_empty()) else {
        return Cow::Borrowed(&group.common_labels);
    };
    let mut shared = first.labels.clone();
    for alert in others {
        shared.retain(|name, value| alert.labels.get(name) == Some(value));
    }
    Cow::Owned(shared)
}

fn hash(embeds: &[Embed]) -> String {
    let digest = Sha256::digest(serde_json::to_vec(embeds).unwrap_or_default());
    super::hexadecimal(&digest, 8)
}

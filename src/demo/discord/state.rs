//! What has happened at the simulated Discord.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde_json::Value;

use super::Options;
use super::rate::Window;
use crate::demo::fault::Script;

/// Edits of one message that are remembered.
const MAX_EDITS: usize = 1000;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Post a message.
    Post,
    /// Change a message.
    Edit,
    /// Show a message.
    Get,
    /// Remove a message.
    Delete,
    /// Anything else.
    Other,
}

/// How often things have happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that arrived, faults included.
    pub requests: u64,
    /// Messages that were posted.
    pub posted: u64,
    /// Changes of messages.
    pub edited: u64,
    /// Messages that were removed by a request.
    pub deleted: u64,
    /// 400s: bodies that break a rule.
    pub bad_requests: u64,
    /// 401s and 404s: webhooks, tokens and messages that do not exist.
    pub unknown: u64,
    /// 429s.
    pub rate_limited: u64,
    /// 429s for requests that came before the pause was over that an earlier 429 had asked for. Requests
    /// of one webhook that are sent at the same time cannot know of it, and count all the same.
    pub sent_while_limited: u64,
    /// 404s for webhooks of which an earlier 404 had told that they are gone.
    pub sent_to_the_gone: u64,
    /// Posts and edits with embeds that share a URL, of which people see only one.
    pub merged_embeds: u64,
}

impl Counts {
    /// What a careful client never does: bodies that break a rule, embeds that nobody sees, and requests
    /// that it was told not to send, or not yet. A 429 alone is none: others may use the same channel.
    pub fn violations(self) -> u64 {
        self.bad_requests + self.merged_embeds + self.sent_while_limited + self.sent_to_the_gone
    }
}

/// A message.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// The name of the webhook that posted it.
    pub webhook: String,
    /// What it says now: the body with which it was posted, changed by those of its edits.
    pub content: Value,
    /// The bodies of its edits, oldest first.
    pub edits: Vec<Value>,
    /// When it was posted.
    pub posted_at: Timestamp,
    /// When it was last changed.
    pub edited_at: Option<Timestamp>,
    /// Who was pinged when it was posted: `user:ID`, `role:ID`, `@everyone`, `@here`. Edits ping nobody.
    pub pings: Vec<String>,
    /// Whether it was removed.
    pub deleted: bool,
}

impl Message {
    pub(super) fn edit(&mut self, body: &Value, now: Timestamp) {
        self.content = merged(&self.content, body);
        if self.edits.len() == MAX_EDITS {
            self.edits.remove(0);
        }
        self.edits.push(body.clone());
        self.edited_at = Some(now);
    }
}

/// A message as an edit leaves it: what the edit does not name stays.
pub(super) fn merged(content: &Value, body: &Value) -> Value {
    let mut content = content.clone();
    if let (Some(old), Some(new)) = (content.as_object_mut(), body.as_object()) {
        old.extend(new.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    content
}

/// A request that arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// When it came.
    pub at: Timestamp,
    /// What it asks for.
    pub action: Action,
    /// Its method and its path, with the token left out.
    pub line: String,
    /// The name of its webhook, if there is such a webhook.
    pub webhook: Option<String>,
    /// The message it is about.
    pub message_id: Option<String>,
    /// Its body; null where there is none and where it is no JSON.
    pub body: Value,
    /// Whom its content would ping, if it is posted.
    pub pings: Vec<String>,
    /// What was answered; nothing where it met a fault, or has not been answered yet.
    pub status: Option<u16>,
    pub(super) number: u64,
}

/// A webhook.
#[derive(Debug)]
pub(super) struct Webhook {
    pub(super) id: u64,
    pub(super) token: String,
    pub(super) name: String,
    pub(super) deleted: bool,
    /// Whether anybody has been told that it is deleted.
    pub(super) told_deleted: bool,
    /// All its requests.
    pub(super) burst: Option<Window>,
    /// The messages that it posts.
    pub(super) sustained: Option<Window>,
    /// The end of the pause that it was told to make.
    pub(super) limited_until: Option<Timestamp>,
}

/// All that is known of the simulated Discord.
#[derive(Debug)]
pub struct State {
    /// How often things have happened.
    pub counts: Counts,
    /// The last messages, oldest first, removed ones included.
    pub messages: VecDeque<Message>,
    /// The last requests, oldest first.
    pub requests: VecDeque<Request>,
    pub(super) options: Options,
    pub(super) webhooks: Vec<Webhook>,
    pub(super) script: Script<Action>,
    /// Until when nobody may send anything.
    pub(super) globally_limited_until: Option<Timestamp>,
    /// Whether anybody has been told so.
    pub(super) told_globally: bool,
}

impl State {
    pub(super) fn new(options: Options) -> Self {
        Self {
            counts: Counts::default(),
            messages: VecDeque::new(),
            requests: VecDeque::new(),
            options,
            webhooks: Vec::new(),
            script: Script::default(),
            globally_limited_until: None,
            told_globally: false,
        }
    }

    /// The messages that people see, oldest first.
    pub fn visible(&self) -> impl Iterator<Item = &Message> {
        self.messages.iter().filter(|message| !message.deleted)
    }

    /// Adds a webhook, and tells the path of its URL.
    pub(super) fn add_webhook(&mut self, name: &str) -> String {
        let number = self.webhooks.len() as u64;
        let id = 1_334_000_000_000_000_001 + number;
        // As long as real ones, and as hard to mistake for something else.
        let token = format!("simulated-{number:04}-{}", "wEbHoOk_".repeat(7).split_at(53).0);
        let window = |limit: Option<_>| limit.map(Window::new);
        let path = format!("/api/webhooks/{id}/{token}");
        self.webhooks.push(Webhook {
            id,
            token,
            name: name.to_owned(),
            deleted: false,
            told_deleted: false,
            burst: window(self.options.burst),
            sustained: window(self.options.sustained),
            limited_until: None,
        });
        path
    }

    /// A message that is still there.
    pub(super) fn message_mut(&mut self, id: &str) -> Option<&mut Message> {
        self.messages.iter_mut().rev().find(|message| message.id == id && !message.deleted)
    }

    /// Remembers a message, and forgets the oldest one that is too many.
    pub(super) fn keep_message(&mut self, message: Message) {
        keep(&mut self.messages, message, self.options.keep);
    }

    /// Remembers a request, and forgets the oldest one that is too many.
    pub(super) fn keep_request(&mut self, request: Request) {
        keep(&mut self.requests, request, self.options.keep);
    }
}

fn keep<T>(list: &mut VecDeque<T>, item: T, most: usize) {
    list.push_back(item);
    while list.len() > most {
        list.pop_front();
    }
}

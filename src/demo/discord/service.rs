//! The simulated Discord itself: its answers, without HTTP.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::limits;
use super::mentions::{is_snowflake, pings};
use super::state::{Action, Message, Request, State, Webhook, merged};
use crate::demo::fault::Fault;
use crate::domain::time::{format_timestamp, unix_seconds};

/// A request, as far as it matters.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) action: Action,
    pub(super) line: String,
    pub(super) webhook_id: String,
    pub(super) token: String,
    pub(super) message_id: Option<String>,
    /// Whether the message is wanted as the answer to its post.
    pub(super) wait: bool,
    /// The body; nothing if it is no JSON.
    pub(super) body: Option<Value>,
}

/// An answer.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<Value>,
}

impl Reply {
    fn new(status: u16, body: Value) -> Self {
        Self { status, body: Some(body), ..Self::default() }
    }

    fn error(status: u16, code: u32, message: &str) -> Self {
        Self::new(status, json!({ "message": message, "code": code }))
    }
}

/// The start of the ids of Discord: 2015 in Unix milliseconds.
const EPOCH: i64 = 1_420_070_400_000;

impl State {
    /// Notes a request, and takes the fault that waits for it.
    pub(super) fn arrived(&mut self, call: &Call, now: Timestamp) -> (u64, Option<Fault>) {
        self.counts.requests += 1;
        let number = self.counts.requests;
        let webhook = self.webhooks.iter().find(|webhook| webhook.id.to_string() == call.webhook_id);
        let body = call.body.clone().unwrap_or_default();
        let pings = if call.action == Action::Post { pings(&body) } else { Vec::new() };
        let webhook = webhook.map(|webhook| webhook.name.clone());
        let (line, message_id) = (call.line.clone(), call.message_id.clone());
        let request =
            Request { at: now, action: call.action, line, webhook, message_id, body, pings, status: None, number };
        self.keep_request(request);
        (number, self.script.take(&call.action))
    }

    /// Answers the request of that number.
    pub(super) fn answer(&mut self, number: u64, call: &Call, now: Timestamp) -> Reply {
        let reply = self.reply(call, now);
        match reply.status {
            400 => self.counts.bad_requests += 1,
            401 | 404 => self.counts.unknown += 1,
            429 => self.counts.rate_limited += 1,
            _ => {}
        }
        if let Some(request) = self.requests.iter_mut().rev().find(|request| request.number == number) {
            request.status = Some(reply.status);
        }
        reply
    }

    fn reply(&mut self, call: &Call, now: Timestamp) -> Reply {
        if call.action == Action::Other {
            return Reply::error(404, 0, "404: Not Found");
        }
        if let Some(limited) = self.global_limit(now) {
            return limited;
        }
        let position = self.webhooks.iter().position(|webhook| webhook.id.to_string() == call.webhook_id);
        let Some(webhook) = position.and_then(|position| self.webhooks.get_mut(position)) else {
            return unknown_webhook();
        };
        if webhook.deleted {
            self.counts.sent_to_the_gone += u64::from(webhook.told_deleted);
            webhook.told_deleted = true;
            return unknown_webhook();
        }
        if webhook.token != call.token {
            return Reply::error(401, 50027, "Invalid Webhook Token");
        }
        let too_early = webhook.limited_until.is_some_and(|until| now < until);
        let (limits, limited) = webhook.limit(call.action, now);
        let name = webhook.name.clone();
        let mut reply = limited.unwrap_or_else(|| self.carry_out(call, &name, now));
        if reply.status == 429 {
            self.counts.sent_while_limited += u64::from(too_early);
        }
        reply.headers.extend(limits);
        reply
    }

    fn global_limit(&mut self, now: Timestamp) -> Option<Reply> {
        let wait = self.globally_limited_until.map(|until| until.duration_since(now))?;
        let wait = Duration::try_from(wait).ok().filter(|wait| !wait.is_zero())?;
        self.counts.sent_while_limited += u64::from(self.told_globally);
        self.told_globally = true;
        let mut reply = rate_limited(wait, true, "global");
        reply.headers.push(("X-RateLimit-Global", "true".to_owned()));
        Some(reply)
    }

    fn carry_out(&mut self, call: &Call, webhook: &str, now: Timestamp) -> Reply {
        if let Some(id) = call.message_id.as_deref().filter(|id| !is_snowflake(id)) {
            let mut faults = super::faults::Faults::default();
            let what = format!("Value \"{id}\" is not snowflake.");
            faults.within("message_id", |faults| faults.add("NUMBER_TYPE_COERCE", what));
            return Reply::new(400, faults.into_answer().unwrap_or_default());
        }
        let id = call.message_id.as_deref().unwrap_or_default();
        match call.action {
            Action::Post => self.post(call, webhook, now),
            Action::Edit => self.edit(call, id, webhook, now),
            Action::Get => self.own_message(id, webhook).map_or_else(unknown_message, |message| shown(message)),
            Action::Delete => self.delete(id, webhook),
            Action::Other => Reply::error(404, 0, "404: Not Found"),
        }
    }

    fn post(&mut self, call: &Call, webhook: &str, now: Timestamp) -> Reply {
        let body = match checked(call, &Value::Null) {
            Ok(body) => body,
            Err(refused) => return refused,
        };
        self.counts.posted += 1;
        self.counts.merged_embeds += u64::from(limits::has_merged_embeds(&body));
        let message = Message {
            id: snowflake(now, self.counts.posted),
            webhook: webhook.to_owned(),
            pings: pings(&body),
            content: body,
            edits: Vec::new(),
            posted_at: now,
            edited_at: None,
            deleted: false,
        };
        let reply = if call.wait { shown(&message) } else { Reply { status: 204, ..Reply::default() } };
        self.keep_message(message);
        reply
    }

    fn edit(&mut self, call: &Call, id: &str, webhook: &str, now: Timestamp) -> Reply {
        let Some(message) = self.own_message(id, webhook) else { return unknown_message() };
        let body = match checked(call, &message.content) {
            Ok(body) => body,
            Err(refused) => return refused,
        };
        message.edit(&body, now);
        let reply = shown(message);
        self.counts.edited += 1;
        self.counts.merged_embeds += u64::from(limits::has_merged_embeds(&body));
        reply
    }

    fn delete(&mut self, id: &str, webhook: &str) -> Reply {
        let Some(message) = self.own_message(id, webhook) else { return unknown_message() };
        message.deleted = true;
        self.counts.deleted += 1;
        Reply { status: 204, ..Reply::default() }
    }

    /// A webhook sees only what it has posted itself.
    fn own_message(&mut self, id: &str, webhook: &str) -> Option<&mut Message> {
        self.message_mut(id).filter(|message| message.webhook == webhook)
    }
}

impl Webhook {
    /// Counts a request against the limits: the headers that tell of them, and the answer if it is one
    /// too many.
    fn limit(&mut self, action: Action, now: Timestamp) -> (Vec<(&'static str, String)>, Option<Reply>) {
        let sustained = self.sustained.as_mut().filter(|_| action == Action::Post);
        let burst_wait = self.burst.as_ref().and_then(|burst| burst.wait(now));
        let sustained_wait = sustained.as_ref().and_then(|sustained| sustained.wait(now));
        // The longer pause is told, so that whoever keeps to it need not be told twice.
        let limited = match (burst_wait, sustained_wait) {
            (None, None) => None,
            (Some(burst), Some(sustained)) if burst > sustained => Some((burst, "user")),
            (_, Some(wait)) => Some((wait, "shared")),
            (Some(wait), None) => Some((wait, "user")),
        };
        if limited.is_none() {
            self.burst.iter_mut().chain(sustained).for_each(|window| window.take(now));
        }
        let limited = limited.map(|(wait, scope)| {
            self.limited_until = now.checked_add(wait).ok();
            rate_limited(wait, false, scope)
        });
        (self.limit_headers(now), limited)
    }

    fn limit_headers(&self, now: Timestamp) -> Vec<(&'static str, String)> {
        let Some(burst) = &self.burst else { return Vec::new() };
        let resets_in = burst.resets_in(now).as_secs_f64();
        vec![
            ("X-RateLimit-Limit", burst.limit().to_string()),
            ("X-RateLimit-Remaining", burst.remaining().to_string()),
            ("X-RateLimit-Reset", format!("{:.3}", unix_seconds(now) + resets_in)),
            ("X-RateLimit-Reset-After", format!("{resets_in:.3}")),
            ("X-RateLimit-Bucket", format!("{:032x}", self.id)),
        ]
    }
}

/// The body of a post or an edit, if the message that comes of it is one.
fn checked(call: &Call, old: &Value) -> Result<Value, Reply> {
    let Some(body) = &call.body else {
        return Err(Reply::error(400, 50109, "The request body contains invalid JSON."));
    };
    limits::check(body).map_err(|faults| Reply::new(400, faults))?;
    let whole = if old.is_null() { body.clone() } else { merged(old, body) };
    if limits::is_empty(&whole) {
        return Err(Reply::error(400, 50006, "Cannot send an empty message"));
    }
    Ok(body.clone())
}

fn unknown_webhook() -> Reply {
    Reply::error(404, 10015, "Unknown Webhook")
}

fn unknown_message() -> Reply {
    Reply::error(404, 10008, "Unknown Message")
}

fn rate_limited(wait: Duration, global: bool, scope: &str) -> Reply {
    let seconds = wait.as_secs_f64();
    let body = json!({ "message": "You are being rate limited.", "retry_after": seconds, "global": global });
    let mut reply = Reply::new(429, body);
    reply.headers.push(("Retry-After", format!("{:.0}", seconds.ceil())));
    reply.headers.push(("X-RateLimit-Scope", scope.to_owned()));
    reply
}

/// An id that says when it was made, as all ids of Discord do.
fn snowflake(now: Timestamp, number: u64) -> String {
    let milliseconds = u64::try_from(now.as_millisecond() - EPOCH).unwrap_or_default();
    ((milliseconds << 22) | (number & 0x3f_ffff)).to_string()
}

/// A message as Discord shows it.
fn shown(message: &Message) -> Reply {
    let of = |name: &str, default: Value| {
        message.content.get(name).filter(|value| !value.is_null()).cloned().unwrap_or(default)
    };
    let everyone = message.pings.iter().any(|ping| ping.starts_with('@'));
    let roles: Vec<_> = message.pings.iter().filter_map(|ping| ping.strip_prefix("role:")).collect();
    let users = message.pings.iter().filter_map(|ping| ping.strip_prefix("user:"));
    let users: Vec<_> = users.map(|id| json!({ "id": id, "username": "somebody" })).collect();
    let body = json!({
        "id": message.id,
        "type": 0,
        "channel_id": "1334000000000000000",
        "author": { "bot": true, "username": of("username", json!(message.webhook)), "avatar": null },
        "content": of("content", json!("")),
        "embeds": of("embeds", json!([])),
        "mentions": users,
        "mention_roles": roles,
        "mention_everyone": everyone,
        "attachments": [],
        "components": [],
        "pinned": false,
        "tts": of("tts", json!(false)),
        "flags": 0,
        "timestamp": format_timestamp(message.posted_at),
        "edited_timestamp": message.edited_at.map(format_timestamp),
    });
    Reply::new(200, body)
}

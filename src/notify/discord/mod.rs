//! Discord webhooks. A group is a message that changes with it (`card`), and what was told of it is kept
//! (`told`); each delivery brings the one in line with the other, a request at a time (`plan`).

mod card;
mod embed;
mod links;
mod message;
mod phrases;
mod plan;
mod posts;
#[cfg(test)]
mod tests;
mod text;
mod told;
mod wire;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

pub use phrases::{words, words_with_file};
pub use plan::Request;
pub use wire::GlobalPause;

use super::words::Words;
use super::{Context, Job, Notifier, Receipt, SendError, Step};
use crate::domain::alert::Rank;
use phrases::Phrases;
use wire::Wire;

/// A Discord webhook, as the configuration describes it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name: the label `destination` is `discord/NAME`.
    pub name: String,
    /// Its URL, which is all that it takes to post there.
    pub webhook_url: SecretString,
    /// The lowest severity that it is told of.
    pub min_severity: Rank,
    /// What happens when a group is resolved.
    pub resolved: Resolved,
    /// Who is mentioned, by severity.
    pub mentions: BTreeMap<Rank, Vec<Mention>>,
    /// Its words.
    pub words: Words,
    /// How old something may be when it is sent.
    pub max_age: Duration,
    /// The URL of `--web.external-url`, for links; without a slash at the end.
    pub external_url: Option<String>,
}

/// What happens when a group is resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resolved {
    /// The message turns green, and a short one says so too.
    #[default]
    EditAndPost,
    /// The message turns green.
    Edit,
    /// A new message says so.
    Post,
}

/// Who is mentioned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mention {
    /// A role, by its id.
    Role(String),
    /// A user, by its id.
    User(String),
}

impl Settings {
    /// Tells one webhook from another without revealing either.
    pub fn fingerprint(&self) -> String {
        hexadecimal(&Sha256::digest(self.webhook_url.expose_secret()), 8)
    }

    fn mentions(&self, rank: Option<Rank>) -> &[Mention] {
        rank.and_then(|rank| self.mentions.get(&rank)).map_or(&[], Vec::as_slice)
    }
}

/// The first bytes of a hash, in hexadecimal.
fn hexadecimal(hash: &[u8], bytes: usize) -> String {
    let mut text = String::with_capacity(2 * bytes);
    for byte in hash.iter().take(bytes) {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A Discord webhook.
#[derive(Debug)]
pub struct Discord {
    settings: Settings,
    phrases: Phrases,
    wire: Wire,
}

impl Discord {
    /// A webhook. `shared` is the one pause of all Discord destinations.
    pub fn new(settings: Settings, http: reqwest::Client, shared: Arc<GlobalPause>) -> Self {
        let phrases = Phrases::new(&settings.words);
        let wire = Wire::new(settings.webhook_url.clone(), http, shared);
        Self { settings, phrases, wire }
    }
}

impl Notifier for Discord {
    type Request = Request;

    const STORM: Option<usize> = Some(10);
    const TAKES_NOTICES: bool = true;

    fn next(&self, job: &Job, context: &Context<'_>) -> Step<Request> {
        self.plan(job, context.now)
    }

    fn digest(&self, jobs: &[Job], context: &Context<'_>) -> Option<Request> {
        self.summarize(jobs, context.now)
    }

    fn told(&self, job: &Job, request: &Request, receipt: &Receipt, now: Timestamp) -> Option<String> {
        plan::told(job, request, receipt, now)
    }

    fn forgotten(&self, job: &Job, request: &Request) -> Option<String> {
        plan::forgotten(job, request)
    }

    fn pause(&self) -> Option<Duration> {
        self.wire.pause()
    }

    fn body(&self, request: &Request) -> serde_json::Value {
        // A message holds texts and numbers only, so that it has a JSON.
        serde_json::to_value(&request.message).unwrap_or_default()
    }

    async fn send(&self, request: &Request) -> Result<Receipt, SendError> {
        self.wire.send(&request.message, request.replaces.as_deref()).await
    }
}

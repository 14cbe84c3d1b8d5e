//! Destinations: each says what it has to be told next ([`Notifier::next`], pure) and how that is sent
//! ([`Notifier::send`], I/O). What becomes of a failure is decided in `delivery`.
//!
//! A new notifier is a module with its settings, wire types and tests, a variant of [`Settings`], and an
//! arm in `delivery::deliver`.

pub mod alertalk;
pub mod client;
pub mod discord;
mod same;
pub mod subscriber;
pub mod words;

use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::alert::{Group, Rank};
use crate::domain::notice::Notice;
use crate::domain::task::TaskResult;

/// A destination, as the configuration describes it.
#[derive(Debug, Clone)]
pub enum Settings {
    /// A Discord webhook.
    Discord(discord::Settings),
    /// Phone numbers that Alertalk calls.
    Alertalk(alertalk::Settings),
    /// A program of the user's that gets each result.
    Subscriber(subscriber::Settings),
}

impl Settings {
    /// `kind/name`: the value of the `destination` label.
    pub fn destination(&self) -> String {
        match self {
            Self::Discord(settings) => format!("discord/{}", settings.name),
            Self::Alertalk(settings) => format!("alertalk/{}", settings.name),
            Self::Subscriber(settings) => format!("subscriber/{}", settings.name),
        }
    }

    /// The lowest severity that it is told of.
    pub fn min_severity(&self) -> Rank {
        match self {
            Self::Discord(settings) => settings.min_severity,
            Self::Alertalk(settings) => settings.min_severity,
            // Alerts are not for it.
            Self::Subscriber(_) => Rank::Critical,
        }
    }

    /// Whether it calls people, which is for what fires and for emergencies.
    pub fn calls(&self) -> bool {
        matches!(self, Self::Alertalk(_))
    }

    /// Tells its configuration from another one, without revealing it.
    pub fn fingerprint(&self) -> String {
        match self {
            Self::Discord(settings) => settings.fingerprint(),
            Self::Alertalk(settings) => settings.fingerprint(),
            Self::Subscriber(settings) => settings.fingerprint(),
        }
    }

    /// How old something may be when it is sent.
    pub fn max_age(&self) -> Duration {
        match self {
            Self::Discord(settings) => settings.max_age,
            Self::Alertalk(settings) => settings.max_age,
            Self::Subscriber(settings) => settings.max_age,
        }
    }
}

/// What there is to tell, as it is when its turn has come.
#[derive(Debug, Clone)]
pub struct Job {
    /// The content.
    pub content: Content,
    /// What the destination was told of it before, as [`Notifier::told`] wrote it.
    pub told: Option<String>,
    /// Since when the destination is behind.
    pub queued_at: Timestamp,
    /// When the newest of the content came.
    pub state_at: Timestamp,
    /// Failed attempts so far.
    pub attempts: u32,
}

/// What a job is about.
#[derive(Debug, Clone)]
pub enum Content {
    /// The state of an alert group.
    Group(Box<Group>),
    /// An alert group that people could not be told of through another destination: call them.
    Escalation(Box<Group>),
    /// A message of our own.
    Notice(Notice),
    /// The end of a task.
    Result(Box<TaskResult>),
}

/// What a decision depends on besides the job.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The date.
    pub now: Timestamp,
    /// The calls of this destination in the last 24 hours.
    pub calls: &'a [PastCall],
    /// Until when the destination has no credit.
    pub no_credit_until: Option<Timestamp>,
}

/// A call that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastCall {
    /// What it was about: [`Job::subject`].
    pub subject: String,
    /// The number that was called.
    pub number: String,
    /// When.
    pub at: Timestamp,
}

impl Job {
    /// What it is about, the same for every state of one group: what `cooldown` is counted by.
    pub fn subject(&self) -> String {
        match &self.content {
            Content::Group(group) | Content::Escalation(group) => format!("{}/{}", group.receiver, group.key),
            Content::Notice(notice) => notice.name().to_owned(),
            Content::Result(result) => result.id.clone(),
        }
    }

    /// Its name for people.
    pub fn title(&self) -> String {
        match &self.content {
            Content::Group(group) | Content::Escalation(group) => group.title(),
            Content::Notice(notice) => notice.name().to_owned(),
            Content::Result(result) => format!("task {}", result.id),
        }
    }
}

/// What to do next about a job.
#[derive(Debug, Clone, PartialEq)]
pub enum Step<R> {
    /// Send this; when that has succeeded, ask again.
    Send(R),
    /// There is nothing (more) to tell. What the destination knows of it from now on; `None` forgets it.
    Done(Option<String>),
    /// It is not told, on purpose.
    Suppress {
        /// A value of `metrics::SUPPRESSIONS`.
        reason: &'static str,
        /// Whether people are told so elsewhere.
        noted: bool,
        /// What the destination counts as told.
        told: Option<String>,
    },
}

/// What a destination answered to what it took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The id of the message that it made.
    pub message_id: Option<String>,
    /// The numbers that are called.
    pub called: Vec<String>,
}

/// Why something was not sent, by what has to happen next. `why` is for people: it holds neither a URL
/// nor any other secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It did not happen, or may happen twice without harm: again, later.
    #[error("{why}")]
    Retry {
        /// What the destination asks for.
        after: Option<Duration>,
        /// What happened.
        why: String,
    },
    /// Too fast: again after this, and it was no attempt. `global` is for all destinations of the kind.
    #[error("rate limited for {after:?}")]
    RateLimited {
        /// The pause.
        after: Duration,
        /// Whether it is for all destinations of this kind.
        global: bool,
    },
    /// It may have happened.
    #[error("{why}")]
    Ambiguous {
        /// What happened.
        why: String,
    },
    /// This one will never be taken.
    #[error("{why}")]
    Permanent {
        /// What the destination said.
        why: String,
    },
    /// The message that should be changed is gone: tell it anew.
    #[error("the message is gone")]
    Missing,
    /// The destination takes nothing until its configuration changes.
    #[error("{why}")]
    Unusable {
        /// What the destination said.
        why: String,
    },
    /// Calls cost credits, and there are none.
    #[error("no credit is left")]
    NoCredit,
}

impl SendError {
    /// The value of the `reason` label.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Retry { .. } => "retry",
            Self::RateLimited { .. } => "rate_limited",
            Self::Ambiguous { .. } => "ambiguous",
            Self::Permanent { .. } => "permanent",
            Self::Missing => "missing",
            Self::Unusable { .. } => "unusable",
            Self::NoCredit => "no_credit",
        }
    }

    /// All values of the `reason` label.
    pub const REASONS: [&str; 7] =
        ["retry", "rate_limited", "ambiguous", "permanent", "missing", "unusable", "no_credit"];
}

/// A destination of one kind.
pub trait Notifier: std::fmt::Debug + Send + Sync + 'static {
    /// One request to it.
    type Request: std::fmt::Debug + Send + Sync;

    /// When more jobs than this wait, they are told together.
    const STORM: Option<usize> = None;

    /// Rows that are told at one time, each in a request of its own.
    const CONCURRENT: usize = 1;

    /// Whether it takes messages about what it did not take.
    const TAKES_NOTICES: bool = false;

    /// What to tell next about a job. Pure: the same answer for the same job.
    fn next(&self, job: &Job, context: &Context<'_>) -> Step<Self::Request>;

    /// One request that tells of many jobs, where the kind has such a thing.
    fn digest(&self, jobs: &[Job], context: &Context<'_>) -> Option<Self::Request> {
        let _ = (jobs, context);
        None
    }

    /// Why some of those who should be told are left out of a request: a value of `metrics::SUPPRESSIONS`.
    fn left_out(&self, request: &Self::Request) -> Option<&'static str> {
        let _ = request;
        None
    }

    /// The numbers that are called if a request was heard of which nobody knows whether it was.
    fn may_have_called(&self, request: &Self::Request) -> Vec<String> {
        let _ = request;
        Vec::new()
    }

    /// What the destination knows of a job after a request that it took.
    fn told(&self, job: &Job, request: &Self::Request, receipt: &Receipt, now: Timestamp) -> Option<String>;

    /// What the destination knows of a job after a request for a message that is gone.
    fn forgotten(&self, job: &Job, request: &Self::Request) -> Option<String> {
        let _ = request;
        job.told.clone()
    }

    /// How long to wait before the next request, so that the destination's limits are kept.
    fn pause(&self) -> Option<Duration> {
        None
    }

    /// The body of a request, exactly as it is sent.
    fn body(&self, request: &Self::Request) -> serde_json::Value;

    /// Sends a request.
    fn send(&self, request: &Self::Request) -> impl Future<Output = Result<Receipt, SendError>> + Send;
}

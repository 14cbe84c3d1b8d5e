//! What the program itself has to tell people, besides alerts.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::alert::Rank;
use super::marzban::Event;

/// A message of our own. Words for it are in `notify::words`, in each language.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "notice", rename_all = "snake_case")]
pub enum Notice {
    /// Nothing has been heard of Alertmanager's watchdog for too long.
    WatchdogSilent {
        /// When it was last heard, if ever.
        last_heard_at: Option<Timestamp>,
        /// How long it has been silent, in seconds.
        silent_seconds: u64,
    },
    /// The watchdog is heard again.
    WatchdogBack {
        /// How long it was silent, in seconds.
        silent_seconds: u64,
    },
    /// A phone call that an alert asked for was not made.
    CallSuppressed {
        /// The destination, such as `alertalk/oncall`.
        destination: String,
        /// A value of `metrics::SUPPRESSIONS`.
        reason: String,
        /// The name of the alert group.
        group: String,
    },
    /// The phone service has no credit left.
    NoCredit {
        /// The destination.
        destination: String,
    },
    /// A destination refuses us until its configuration changes.
    Unusable {
        /// The destination.
        destination: String,
        /// What it answered, without secrets.
        why: String,
    },
    /// What happened to users of a Marzban panel.
    Marzban {
        /// The first of them.
        events: Vec<Event>,
        /// How many more there are.
        more: u64,
    },
    /// Something was given up and is a dead letter now.
    GivenUp {
        /// The destination that did not get it.
        destination: String,
        /// A reason code.
        reason: String,
        /// The name of what was given up.
        group: String,
        /// What the destination last answered, without secrets.
        why: String,
    },
}

/// Events that one message lists; the rest is counted.
const LISTED_EVENTS: usize = 20;

impl Notice {
    /// A message about events of a Marzban panel, of which there is at least one.
    pub fn of_events(mut events: Vec<Event>) -> Self {
        let more = events.len().saturating_sub(LISTED_EVENTS) as u64;
        events.truncate(LISTED_EVENTS);
        Self::Marzban { events, more }
    }

    /// How much it matters.
    pub fn rank(&self) -> Rank {
        match self {
            Self::WatchdogBack { .. } | Self::Marzban { .. } => Rank::Info,
            Self::CallSuppressed { .. } => Rank::Warning,
            Self::WatchdogSilent { .. } | Self::NoCredit { .. } | Self::Unusable { .. } | Self::GivenUp { .. } => {
                Rank::Critical
            }
        }
    }

    /// Its name in templates: that of the variant in `snake_case`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::WatchdogSilent { .. } => "watchdog_silent",
            Self::WatchdogBack { .. } => "watchdog_back",
            Self::CallSuppressed { .. } => "call_suppressed",
            Self::NoCredit { .. } => "no_credit",
            Self::Unusable { .. } => "unusable",
            Self::Marzban { .. } => "marzban",
            Self::GivenUp { .. } => "given_up",
        }
    }
}

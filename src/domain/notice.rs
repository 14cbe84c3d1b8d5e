//! What the program itself has to tell people, besides alerts.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::alert::Rank;

/// A message of our own. Words for it are in `notify::words`, in each language.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

impl Notice {
    /// How much it matters.
    pub fn rank(&self) -> Rank {
        match self {
            Self::WatchdogBack { .. } => Rank::Info,
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
            Self::GivenUp { .. } => "given_up",
        }
    }
}

//! Alertalk voice calls: when somebody is called ([`policy`]), what a call says ([`text`], [`speech`]), and
//! the request for it.

mod digits;
mod markup;
mod memory;
mod number;
mod policy;
mod quiet;
mod request;
mod sayings;
mod speech;
mod text;

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use self::memory::Memory;
pub use self::number::PhoneNumber;
use self::policy::Callees;
pub use self::quiet::QuietHours;
pub use self::request::Request;
pub use self::text::{words, words_with_file};
use super::words::{Language, Words};
use super::{Content, Context, Job, Notifier, Receipt, SendError, Step};
use crate::domain::alert::{Alert, Group, Rank};
use crate::domain::notice::Notice;

/// Alertalk's address, where `url` is not given.
pub const DEFAULT_URL: &str = "https://tr.alertalk.net/webhook/receive";

/// Phone numbers that Alertalk calls, as the configuration describes them.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name: the label `destination` is `alertalk/NAME`.
    pub name: String,
    /// Where calls are asked for.
    pub url: String,
    /// `X-Webhook-Key`.
    pub webhook_key: SecretString,
    /// Whom to call.
    pub phone_numbers: Vec<PhoneNumber>,
    /// The lowest severity that it is told of.
    pub min_severity: Rank,
    /// How soon a number is called again about the same group.
    pub cooldown: Duration,
    /// Calls within 24 hours, one a request.
    pub max_calls_per_day: u32,
    /// When nobody is called.
    pub quiet_hours: Option<QuietHours>,
    /// How old something may be when it is sent.
    pub max_age: Duration,
    /// The language in which numbers, units and signs are said.
    pub language: Language,
    /// Its words.
    pub words: Words,
}

impl Settings {
    /// What changes when it becomes another account or another service: whether it is out of credit, or
    /// refuses us, is known of this one only.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for part in [self.url.as_str(), self.webhook_key.expose_secret()] {
            hash.update(part);
            // No UTF-8 text holds this byte.
            hash.update([0xff]);
        }
        hash.finalize().iter().take(12).fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

/// A destination that calls people.
#[derive(Debug)]
pub struct Alertalk {
    settings: Settings,
    http: reqwest::Client,
}

impl Alertalk {
    /// A destination of these settings, which sends with `http`.
    pub fn new(settings: Settings, http: reqwest::Client) -> Self {
        Self { settings, http }
    }

    /// A group is called for once while its alerts stay the same, and again when Alertmanager repeats it
    /// after the cooldown.
    fn next_of_group(&self, job: &Job, group: &Group, context: &Context<'_>) -> Step<Request> {
        let memory = Memory::read(job.told.as_deref());
        if group.is_over() {
            let mut grave = group.alerts.iter().filter(|alert| self.concerns(alert));
            if grave.any(|alert| !memory.has_handled(alert)) {
                return Step::Suppress { reason: policy::RESOLVED_FIRST, noted: false, told: None };
            }
            return Step::Done(None);
        }
        let firing = self.firing(group);
        let news = firing.iter().any(|alert| !memory.has_handled(alert));
        let again = || memory.is_due_again(self.settings.cooldown, job.state_at, context.now);
        // Where several are as grave, the one that is new is what the call is about.
        let Some(foremost) = foremost(&firing, |alert| !memory.has_handled(alert)).filter(|_| news || again()) else {
            return Step::Done(job.told.clone());
        };
        match self.callees(job, context) {
            Ok(callees) => {
                let others = others(group, &firing);
                Step::Send(Request::new(callees, text::of_alerts(&self.settings, group, foremost, others, false)))
            }
            Err(reason) => {
                // The cooldown goes on from the call that began it.
                let keeps_time = reason == policy::COOLDOWN && memory.is_done();
                let at = (!keeps_time).then_some(context.now);
                Step::Suppress { reason, noted: true, told: memory.after(group, &firing, at).write() }
            }
        }
    }

    /// What could not be told in writing is called for, whatever its severity: whoever asks for it has
    /// decided that.
    fn next_of_escalation(&self, job: &Job, group: &Group, context: &Context<'_>) -> Step<Request> {
        if group.is_over() {
            return Step::Suppress { reason: policy::RESOLVED_FIRST, noted: false, told: job.told.clone() };
        }
        let memory = Memory::read(job.told.as_deref());
        let due = memory.is_escalation_due(self.settings.cooldown, job.state_at, context.now);
        let firing: Vec<&Alert> = group.firing_alerts().collect();
        let Some(foremost) = foremost(&firing, |_| true).filter(|_| due) else {
            return Step::Done(job.told.clone());
        };
        match self.callees(job, context) {
            Ok(callees) => {
                let others = others(group, &firing);
                Step::Send(Request::new(callees, text::of_alerts(&self.settings, group, foremost, others, true)))
            }
            Err(reason) => Step::Suppress { reason, noted: true, told: memory.after_escalation(context.now).write() },
        }
    }

    fn next_of_notice(&self, job: &Job, notice: &Notice, context: &Context<'_>) -> Step<Request> {
        let calls = matches!(notice, Notice::WatchdogSilent { .. } | Notice::Unusable { .. });
        if !calls || Memory::read(job.told.as_deref()).is_done() {
            return Step::Done(None);
        }
        match self.callees(job, context) {
            Ok(callees) => Step::Send(Request::new(callees, text::of_notice(&self.settings, notice))),
            Err(reason) => Step::Suppress { reason, noted: true, told: None },
        }
    }

    fn callees(&self, job: &Job, context: &Context<'_>) -> Result<Callees, &'static str> {
        policy::callees(&self.settings, &job.subject(), job.state_at, context)
    }

    fn concerns(&self, alert: &Alert) -> bool {
        alert.rank() >= self.settings.min_severity
    }

    /// The alerts that fire and are grave enough for a call.
    fn firing<'g>(&self, group: &'g Group) -> Vec<&'g Alert> {
        group.firing_alerts().filter(|alert| self.concerns(alert)).collect()
    }
}

/// The gravest alert, of these one that is preferred, of these the first.
fn foremost<'g>(firing: &[&'g Alert], is_preferred: impl Fn(&Alert) -> bool) -> Option<&'g Alert> {
    firing.iter().rev().max_by_key(|alert| (alert.rank(), is_preferred(alert))).copied()
}

/// How many alerts a call about one of these does not tell of. What was cut off may fire as well.
fn others(group: &Group, firing: &[&Alert]) -> u64 {
    (firing.len() as u64).saturating_sub(1).saturating_add(group.truncated)
}

impl Notifier for Alertalk {
    type Request = Request;

    fn next(&self, job: &Job, context: &Context<'_>) -> Step<Request> {
        match &job.content {
            Content::Group(group) => self.next_of_group(job, group, context),
            Content::Escalation(group) => self.next_of_escalation(job, group, context),
            Content::Notice(notice) => self.next_of_notice(job, notice, context),
            Content::Result(_) => Step::Done(None),
        }
    }

    fn left_out(&self, request: &Request) -> Option<&'static str> {
        request.left_out()
    }

    fn may_have_called(&self, request: &Request) -> Vec<String> {
        request.numbers().iter().map(|number| number.as_str().to_owned()).collect()
    }

    fn told(&self, job: &Job, _request: &Request, _receipt: &Receipt, now: Timestamp) -> Option<String> {
        let memory = Memory::read(job.told.as_deref());
        match &job.content {
            Content::Group(group) => memory.after(group, &self.firing(group), Some(now)).write(),
            Content::Escalation(_) => memory.after_escalation(now).write(),
            Content::Notice(_) => Memory::of_one_call(now).write(),
            Content::Result(_) => None,
        }
    }

    fn body(&self, request: &Request) -> serde_json::Value {
        request.body()
    }

    async fn send(&self, request: &Request) -> Result<Receipt, SendError> {
        request.send(&self.settings, &self.http).await
    }
}

#[cfg(test)]
mod tests;

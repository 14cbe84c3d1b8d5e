//! What troubles of a destination mean for others: who hears of them.

use tracing::{debug, error, info, warn};

use super::{Ended, NO_CREDIT, Work, Worker};
use crate::delivery::decision::outcome;
use crate::domain::delivery::{Call, Consequences, DestinationState, Kind, NewContent, NewDelivery, Outcome, after};
use crate::domain::notice::Notice;
use crate::notify::{Job, Notifier, SendError};

impl<N: Notifier> Worker<N> {
    /// Counts a call that is not made, and lets people know.
    pub(super) fn suppressed(&self, reason: &'static str, noted: bool, job: &Job, consequences: &mut Consequences) {
        self.shared.metrics.calls_suppressed.with_label_values(&[&*self.destination, reason]).inc();
        info!(destination = self.destination, reason, alert = job.title(), "a call is not made");
        if noted {
            let notice = Notice::CallSuppressed {
                destination: self.destination.clone(),
                reason: reason.to_owned(),
                group: job.title(),
            };
            consequences.new.extend(messages(&self.peers.messages, &notice));
        }
    }

    /// A request failed: what that means for the row, for the destination and for others.
    pub(super) fn failed(&mut self, error: &SendError, work: &Work) -> Ended {
        let outcome = outcome(error, self.attempt(work));
        // Whatever is not simply tried again is told below, each in its own words.
        let is_tried_again = matches!(error, SendError::Retry { .. } | SendError::Ambiguous { .. })
            && matches!(outcome, Outcome::Again { .. });
        if is_tried_again && !self.failing {
            self.failing = true;
            warn!(destination = self.destination, %error, "cannot be told now; trying again");
        }
        match error {
            SendError::Unusable { why } => {
                let state = DestinationState { unusable: Some(why.clone()), ..self.known() };
                error!(destination = self.destination, why, "refuses us: not used until its configuration changes");
                let notice = Notice::Unusable { destination: self.destination.clone(), why: why.clone() };
                let told = if self.peers.messages.is_empty() { &self.peers.phones } else { &self.peers.messages };
                let new = messages(told, &notice);
                (outcome, Consequences { new, state: Some(Box::new(state)), ..Consequences::default() })
            }
            SendError::NoCredit => {
                let until = after(self.shared.clock.now(), NO_CREDIT);
                let state = DestinationState { no_credit_until: Some(until), ..self.known() };
                error!(destination = self.destination, "no credit is left: nobody is called for an hour");
                let notice = Notice::NoCredit { destination: self.destination.clone() };
                let new = messages(&self.peers.messages, &notice);
                let mut consequences = Consequences { new, state: Some(Box::new(state)), ..Consequences::default() };
                // Nobody was called, so that the next repetition of the group asks for a call again.
                self.suppressed("no_credit", true, &work.job, &mut consequences);
                consequences.told = Some(work.job.told.clone());
                (Outcome::Done, consequences)
            }
            _ if matches!(outcome, Outcome::Dead { .. }) => self.give_up(work, outcome),
            _ => (outcome, Consequences::default()),
        }
    }

    /// Calls that may have been made. They count for the caps, or a service that answers late would call
    /// without end; for the cooldown they count after the last attempt, which the first must not forbid.
    pub(super) fn doubtful_calls(&self, work: &Work, request: &N::Request, outcome: &Outcome) -> Vec<Call> {
        let is_last = matches!(outcome, Outcome::Dead { .. });
        let subject = if is_last { work.job.subject() } else { String::new() };
        let at = self.shared.clock.now();
        let call = |number: String| Call { subject: subject.clone(), number, at };
        self.notifier.may_have_called(request).into_iter().map(call).collect()
    }

    /// The row becomes a dead letter, and people hear of it: also where it should have gone, since a short
    /// message may be taken where a long one was not. A message about messages is not followed by another.
    pub(super) fn give_up(&self, work: &Work, outcome: Outcome) -> Ended {
        let mut consequences = Consequences::default();
        let Outcome::Dead { reason, error } = &outcome else { return (outcome, consequences) };
        let what = work.job.title();
        if work.claimed.kind == Kind::Result {
            // There may be thousands; the metric counts them.
            debug!(destination = self.destination, reason, error, what, "given up; now a dead letter");
        } else {
            error!(destination = self.destination, reason, error, what, "given up; now a dead letter");
        }
        if !matches!(work.claimed.kind, Kind::Notice | Kind::Result) {
            let notice = Notice::GivenUp {
                destination: self.destination.clone(),
                reason: (*reason).to_owned(),
                group: work.job.title(),
                why: error.clone(),
            };
            let own = N::TAKES_NOTICES.then(|| self.destination.clone());
            let told: Vec<_> = self.peers.messages.iter().cloned().chain(own).collect();
            consequences.new = messages(&told, &notice);
        }
        (outcome, consequences)
    }
}

/// The same message for several destinations.
fn messages(destinations: &[String], notice: &Notice) -> Vec<NewDelivery> {
    let new = |destination: &String| NewDelivery {
        destination: destination.clone(),
        content: NewContent::Notice(notice.clone()),
    };
    destinations.iter().map(new).collect()
}

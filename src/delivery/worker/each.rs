//! Tells many rows at one time, each in a request of its own.

use futures_util::future::join_all;

use super::{Duration, Ended, Next, UNUSED, Work, Worker, later, settled};
use crate::delivery::decision::{UNUSABLE_LOOK, expired, is_expired};
use crate::domain::delivery::{Consequences, Outcome};
use crate::notify::{Context, Notifier, Receipt, SendError, Step};
use crate::store::StoreError;

impl<N: Notifier> Worker<N> {
    /// Tells all of these rows at once. Each takes one request.
    pub(super) async fn tell_each(&mut self, works: Vec<Work>) -> Result<Next, StoreError> {
        let now = self.shared.clock.now();
        let mut settlements = Vec::with_capacity(works.len());
        let mut requests = Vec::with_capacity(works.len());
        for work in works {
            match self.request(&work) {
                Ok(request) => requests.push((work, request)),
                Err(ended) => settlements.push(settled(&work, *ended)),
            }
        }
        if self.breaker.is_probing() && requests.len() > 1 {
            for (work, _) in requests.split_off(1) {
                settlements
                    .push(settled(&work, (later(now, Duration::ZERO, "waits for a probe"), Consequences::default())));
            }
        }
        let sent = join_all(requests.iter().map(|(_, request)| self.send(request))).await;
        let mut is_said = self.is_unusable();
        for ((work, _), sent) in requests.iter().zip(sent) {
            let ended = self.ended(work, sent, is_said);
            is_said |= ended.1.state.is_some();
            settlements.push(settled(work, ended));
        }
        self.settle(settlements).await?;
        Ok(Next::Now)
    }

    /// The request of a row, or how it ends without one.
    fn request(&self, work: &Work) -> Result<N::Request, Box<Ended>> {
        let now = self.shared.clock.now();
        let context = Context { now, calls: &[], no_credit_until: None };
        let Step::Send(request) = self.notifier.next(&work.job, &context) else {
            return Err(Box::new((Outcome::Done, Consequences::default())));
        };
        if is_expired(work.job.state_at, now, self.max_age) {
            return Err(Box::new(self.give_up(work, expired())));
        }
        if self.is_unusable() {
            return Err(Box::new((later(now, UNUSABLE_LOOK, UNUSED), Consequences::default())));
        }
        Ok(request)
    }

    /// `is_said` says whether people hear already that the destination refuses us.
    fn ended(&mut self, work: &Work, sent: Result<Receipt, SendError>, is_said: bool) -> Ended {
        let now = self.shared.clock.now();
        match sent {
            Ok(_) => {
                self.breaker.succeeded();
                self.recovered();
                self.observe_delivered(work);
                (Outcome::Done, Consequences::default())
            }
            Err(error) => {
                match &error {
                    SendError::RateLimited { after, .. } => self.breaker.rest(now, *after),
                    _ => self.breaker.failed(now),
                }
                // Said once, not for each of many rows.
                if matches!(error, SendError::Unusable { .. }) && is_said {
                    return (later(now, UNUSABLE_LOOK, UNUSED), Consequences::default());
                }
                self.failed(&error, work)
            }
        }
    }
}

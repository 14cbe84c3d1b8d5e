//! The simulated service itself: its money and its tasks, without HTTP.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::Options;
use super::fate::{Fate, Odds, chance, fate};
use crate::demo::kinds::{self, Kind};

/// Tasks that are remembered at most; the oldest are forgotten, as the real service does.
const MAX_TASKS: usize = 100_000;

/// What CaptchaAI answers: what was asked for, or a code.
pub(super) type Answer<T> = Result<T, Cow<'static, str>>;

#[derive(Debug)]
pub(super) struct Service {
    options: Options,
    balance_usd: f64,
    rng: fastrand::Rng,
    /// The tasks with consecutive ids, of which this is the first.
    first_id: u64,
    tasks: VecDeque<SimulatedTask>,
}

#[derive(Debug)]
struct SimulatedTask {
    kind: &'static Kind,
    finished: bool,
}

impl Service {
    pub(super) fn new(options: Options) -> Self {
        Self {
            balance_usd: options.balance_usd,
            rng: fastrand::Rng::with_seed(options.seed),
            first_id: options.first_id,
            tasks: VecDeque::new(),
            options,
        }
    }

    pub(super) fn set_key(&mut self, key: String) {
        self.options.key = key;
    }

    pub(super) fn set_balance(&mut self, usd: f64) {
        self.balance_usd = usd;
    }

    pub(super) fn balance_usd(&self) -> f64 {
        self.balance_usd
    }

    pub(super) fn set_odds(&mut self, odds: Odds) {
        self.options.odds = odds;
    }

    /// Checks the key of a request.
    pub(super) fn authorize(&self, key: Option<&str>) -> Answer<()> {
        if key == Some(&*self.options.key) { Ok(()) } else { Err("ERROR_WRONG_USER_KEY".into()) }
    }

    /// Takes a task: its id, and what will become of it.
    pub(super) fn submit(&mut self, parameters: &[(String, String)]) -> Answer<(u64, Fate)> {
        let kind = kinds::asked_for(parameters).ok_or("ERROR_BAD_PARAMETERS")?;
        if self.balance_usd < kind.price_usd {
            return Err("ERROR_ZERO_BALANCE".into());
        }
        if chance(&mut self.rng, self.options.odds.no_slot) {
            return Err("ERROR_NO_SLOT_AVAILABLE".into());
        }
        let id = self.first_id + self.tasks.len() as u64;
        self.tasks.push_back(SimulatedTask { kind, finished: false });
        if self.tasks.len() > MAX_TASKS {
            self.tasks.pop_front();
            self.first_id += 1;
        }
        Ok((id, self.fate(id, kind)))
    }

    /// Ends a task; a solution costs money.
    pub(super) fn finish(&mut self, id: u64, fate: &Fate) {
        let Some(task) = self.position(id).and_then(|position| self.tasks.get_mut(position)) else { return };
        task.finished = true;
        if !fate.solved {
            return;
        }
        self.balance_usd -= task.kind.price_usd;
        if let Some(top_up) = self.options.top_up
            && self.balance_usd < top_up.below_usd
        {
            self.balance_usd += top_up.amount_usd;
        }
    }

    /// The solution of a task, or the code that stands for the lack of one.
    pub(super) fn result(&self, id: Option<&str>) -> Answer<String> {
        let id: u64 = id.and_then(|id| id.parse().ok()).ok_or("ERROR_WRONG_ID_FORMAT")?;
        let task = self.position(id).and_then(|position| self.tasks.get(position)).ok_or("ERROR_WRONG_CAPTCHA_ID")?;
        if !task.finished {
            return Err("CAPCHA_NOT_READY".into());
        }
        let fate = self.fate(id, task.kind);
        if fate.solved { Ok(fate.code) } else { Err(fate.code.into()) }
    }

    fn fate(&self, id: u64, kind: &Kind) -> Fate {
        fate(self.options.seed, id, kind, &self.options.odds)
    }

    fn position(&self, id: u64) -> Option<usize> {
        usize::try_from(id.checked_sub(self.first_id)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::TopUp;
    use super::super::fate::Odds;
    use super::*;

    fn service(balance_usd: f64, odds: Odds) -> Service {
        Service::new(Options { balance_usd, odds, top_up: None, first_id: 100, ..Options::default() })
    }

    fn turnstile() -> Vec<(String, String)> {
        vec![("method".to_owned(), "turnstile".to_owned())]
    }

    #[test]
    fn ids_follow_each_other_and_a_solve_costs_its_price() {
        let mut service = service(1.0, Odds::NONE);
        for expected in 100..103 {
            let Ok((id, fate)) = service.submit(&turnstile()) else { panic!("refused") };
            assert_eq!(id, expected);
            assert_eq!(service.result(Some(&id.to_string())), Err("CAPCHA_NOT_READY".into()));
            service.finish(id, &fate);
            assert_eq!(service.result(Some(&id.to_string())), Ok(fate.code));
        }
        assert!((service.balance_usd() - (1.0 - 3.0 * 0.0014)).abs() < 1e-9);
    }

    #[test]
    fn a_failed_task_costs_nothing() {
        let mut service = service(1.0, Odds { failure: 1.0, ..Odds::NONE });
        let Ok((id, fate)) = service.submit(&turnstile()) else { panic!("refused") };
        service.finish(id, &fate);
        assert_eq!(service.result(Some("100")), Err(fate.code.into()));
        assert!((service.balance_usd() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn requests_are_refused_with_the_codes_of_the_real_service() {
        let mut poor = service(0.0001, Odds::NONE);
        assert_eq!(poor.submit(&turnstile()).err(), Some("ERROR_ZERO_BALANCE".into()));
        assert_eq!(poor.submit(&[]).err(), Some("ERROR_BAD_PARAMETERS".into()));
        let mut busy = service(1.0, Odds { no_slot: 1.0, ..Odds::NONE });
        assert_eq!(busy.submit(&turnstile()).err(), Some("ERROR_NO_SLOT_AVAILABLE".into()));
        assert_eq!(busy.authorize(Some("wrong")), Err("ERROR_WRONG_USER_KEY".into()));
        assert_eq!(busy.authorize(None), Err("ERROR_WRONG_USER_KEY".into()));
        assert_eq!(busy.authorize(Some(&Options::default().key)), Ok(()));
        for (id, code) in [
            (None, "ERROR_WRONG_ID_FORMAT"),
            (Some("x"), "ERROR_WRONG_ID_FORMAT"),
            (Some("99"), "ERROR_WRONG_CAPTCHA_ID"),
            (Some("100"), "ERROR_WRONG_CAPTCHA_ID"),
        ] {
            assert_eq!(busy.result(id), Err(code.into()), "{id:?}");
        }
    }

    #[test]
    fn a_low_balance_is_topped_up() {
        let mut service = service(1.001, Odds::NONE);
        service.options.top_up = Some(TopUp { below_usd: 1.0, amount_usd: 5.0 });
        let Ok((id, fate)) = service.submit(&turnstile()) else { panic!("refused") };
        service.finish(id, &fate);
        assert!((service.balance_usd() - 5.9996).abs() < 1e-9);
    }

    #[test]
    fn old_tasks_are_forgotten() {
        let mut service = service(1e6, Odds::NONE);
        for _ in 0..=MAX_TASKS {
            assert!(service.submit(&turnstile()).is_ok());
        }
        assert_eq!(service.tasks.len(), MAX_TASKS);
        assert_eq!(service.result(Some("100")), Err("ERROR_WRONG_CAPTCHA_ID".into()));
        assert_eq!(service.result(Some("101")), Err("CAPCHA_NOT_READY".into()));
        assert_eq!(service.submit(&turnstile()).map(|(id, _)| id), Ok(100 + MAX_TASKS as u64 + 1));
    }
}

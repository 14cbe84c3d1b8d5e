//! What happened lately, held in memory: the solve ratio that people look at, and who is at work.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;

use super::time::elapsed;

/// The windows of `captchaai_solve_ratio`, with their label values.
pub const RATIO_WINDOWS: [(&str, Duration); 2] = [("5m", Duration::from_mins(5)), ("1h", Duration::from_hours(1))];

/// How long a worker counts as active after its last registration.
pub const WORKER_ACTIVE: Duration = Duration::from_mins(5);

/// Workers that are told apart at most; a client that invents names cannot take more memory.
pub const MAX_WORKERS: usize = 10_000;

const BUCKET_SECONDS: i64 = 10;
const HOUR_BUCKETS: i64 = 3600 / BUCKET_SECONDS;
const BUCKETS: usize = 3600 / 10 + 1;

/// Finished tasks of the last hour in steps of ten seconds.
#[derive(Debug, Default)]
pub struct SolveRatio {
    buckets: VecDeque<Bucket>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    step: i64,
    solved: u64,
    failed: u64,
}

impl SolveRatio {
    /// Counts one finished task.
    pub fn record(&mut self, now: Timestamp, solved: bool) {
        let step = now.as_second().div_euclid(BUCKET_SECONDS);
        // After a great jump back, what is in the future would never be forgotten.
        if self.buckets.back().is_some_and(|last| last.step - step > HOUR_BUCKETS) {
            self.buckets.clear();
        }
        // A clock that went back adds to the newest step instead of breaking the order.
        if self.buckets.back().is_none_or(|last| last.step < step) {
            self.buckets.push_back(Bucket { step, solved: 0, failed: 0 });
            if self.buckets.len() > BUCKETS {
                self.buckets.pop_front();
            }
        }
        if let Some(last) = self.buckets.back_mut() {
            if solved {
                last.solved += 1;
            } else {
                last.failed += 1;
            }
        }
    }

    /// Solved among finished within `window`; `None` when nothing finished.
    pub fn ratio(&self, now: Timestamp, window: Duration) -> Option<f64> {
        let now_step = now.as_second().div_euclid(BUCKET_SECONDS);
        let steps = i64::try_from(window.as_secs()).unwrap_or(i64::MAX) / BUCKET_SECONDS;
        let recent = self.buckets.iter().rev().take_while(|bucket| bucket.step > now_step - steps);
        let (solved, failed) =
            recent.fold((0, 0), |(solved, failed), bucket| (solved + bucket.solved, failed + bucket.failed));
        (solved + failed > 0).then(|| solved as f64 / (solved + failed) as f64)
    }
}

/// Names seen lately.
#[derive(Debug, Default)]
pub struct ActiveWorkers {
    last_seen: HashMap<Box<str>, Timestamp>,
}

impl ActiveWorkers {
    /// Notes that a worker registered a task. A new name is dropped while there are too many.
    pub fn record(&mut self, now: Timestamp, worker: &str) {
        if let Some(seen) = self.last_seen.get_mut(worker) {
            *seen = now;
        } else if self.last_seen.len() < MAX_WORKERS {
            self.last_seen.insert(worker.into(), now);
        }
    }

    /// How many registered within `WORKER_ACTIVE`; forgets the others.
    pub fn count(&mut self, now: Timestamp) -> usize {
        self.last_seen.retain(|_, seen| elapsed(*seen, now) < WORKER_ACTIVE);
        self.last_seen.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap_or_default()
    }

    #[test]
    fn the_ratio_forgets_what_left_its_window() {
        let [(_, five_minutes), (_, hour)] = RATIO_WINDOWS;
        let mut ratio = SolveRatio::default();
        assert_eq!(ratio.ratio(at(0), hour), None);
        ratio.record(at(0), false);
        ratio.record(at(600), true);
        assert_eq!(ratio.ratio(at(600), five_minutes), Some(1.0));
        assert_eq!(ratio.ratio(at(600), hour), Some(0.5));
        assert_eq!(ratio.ratio(at(1000), five_minutes), None);
        assert_eq!(ratio.ratio(at(600 + 3599), hour), Some(1.0));
        assert_eq!(ratio.ratio(at(600 + 3600), hour), None);
    }

    #[test]
    fn the_ratio_takes_no_more_memory_than_an_hour() {
        let mut ratio = SolveRatio::default();
        for second in 0..100_000 {
            ratio.record(at(second), true);
        }
        assert_eq!(ratio.buckets.len(), BUCKETS);
        ratio.record(at(100_000 - 60), true);
        assert_eq!(ratio.buckets.len(), BUCKETS);
        ratio.record(at(0), true);
        assert_eq!(ratio.buckets.len(), 1);
    }

    #[test]
    fn a_worker_is_active_for_five_minutes() {
        let mut workers = ActiveWorkers::default();
        workers.record(at(0), "a");
        workers.record(at(0), "b");
        workers.record(at(200), "a");
        assert_eq!(workers.count(at(299)), 2);
        assert_eq!(workers.count(at(300)), 1);
        assert_eq!(workers.count(at(500)), 0);
    }

    #[test]
    fn invented_workers_are_bounded() {
        let mut workers = ActiveWorkers::default();
        for number in 0..=MAX_WORKERS {
            workers.record(at(0), &number.to_string());
        }
        assert_eq!(workers.count(at(1)), MAX_WORKERS);
        assert_eq!(workers.count(at(400)), 0);
        workers.record(at(400), "late");
        assert_eq!(workers.count(at(400)), 1);
    }
}

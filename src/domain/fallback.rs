//! When to ask the API for a result whose pingback did not come.

use std::time::Duration;

use jiff::Timestamp;

use super::time::elapsed;

/// Waits between two questions for one task grow to this.
const LONGEST_GAP: Duration = Duration::from_mins(1);
/// A task is not given up before it was asked for so often: a date that jumps is no reason.
pub const LEAST_POLLS: u32 = 3;

/// How the API is asked for results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fallback {
    /// How long after its submission a task is first asked for.
    pub after: Duration,
    /// The shortest wait between two questions for one task.
    pub interval: Duration,
    /// How long after its submission a task ends as `TIMEOUT`.
    pub give_up_after: Duration,
    /// Questions at one time, over all accounts.
    pub max_concurrent: usize,
}

impl Default for Fallback {
    fn default() -> Self {
        Self {
            after: Duration::from_mins(2),
            interval: Duration::from_secs(5),
            give_up_after: Duration::from_mins(10),
            max_concurrent: 16,
        }
    }
}

impl Fallback {
    /// The wait after a question; `polls` counts those so far, this one included. Half as long again each
    /// time, up to a minute, and never shorter than `interval`.
    pub fn gap(&self, polls: u32) -> Duration {
        let growth = 1.5_f64.powi(i32::try_from(polls.saturating_sub(1).min(32)).unwrap_or(32));
        self.interval.mul_f64(growth).min(LONGEST_GAP.max(self.interval))
    }

    /// Longer than any task waits for its next question, also one whose client's clock is ahead of ours.
    pub fn longest_wait(&self) -> Duration {
        const SLACK: Duration = Duration::from_mins(10);
        self.after.max(self.gap(u32::MAX)) + SLACK
    }

    /// Whether a task without a result is given up after this many questions.
    pub fn gives_up(&self, submitted_at: Timestamp, now: Timestamp, polls: u32) -> bool {
        polls >= LEAST_POLLS && elapsed(submitted_at, now) >= self.give_up_after
    }
}

/// How many questions are asked at one time: half as many after each trouble, one more after each step
/// that went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    most: usize,
    allowed: usize,
    /// Troubles in a row.
    troubles: u32,
}

impl Pace {
    /// At most so many at one time.
    pub fn new(most: usize) -> Self {
        Self { most, allowed: most, troubles: 0 }
    }

    /// How many are asked at one time now.
    pub fn allowed(self) -> usize {
        self.allowed.max(1)
    }

    /// The service fails or is asked too much; returns how long to leave it alone.
    pub fn slow_down(&mut self) -> Duration {
        const FIRST: Duration = Duration::from_secs(10);
        const LONGEST: Duration = Duration::from_mins(2);
        self.allowed = (self.allowed / 2).max(1);
        let wait = (FIRST * 2_u32.pow(self.troubles.min(8))).min(LONGEST);
        self.troubles = self.troubles.saturating_add(1);
        wait
    }

    /// It answers.
    pub fn speed_up(&mut self) {
        self.troubles = 0;
        self.allowed = (self.allowed + 1).min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troubles_slow_down_and_answers_speed_up() {
        let mut pace = Pace::new(16);
        let slowed: Vec<_> = (0..6).map(|_| (pace.slow_down().as_secs(), pace.allowed())).collect();
        assert_eq!(slowed, [(10, 8), (20, 4), (40, 2), (80, 1), (120, 1), (120, 1)]);
        pace.speed_up();
        assert_eq!((pace.allowed(), pace.slow_down().as_secs()), (2, 10));
        for _ in 0..100 {
            pace.speed_up();
        }
        assert_eq!(pace.allowed(), 16);
    }

    #[test]
    fn questions_become_rarer() {
        let fallback = Fallback::default();
        for (polls, seconds) in [(0, 5.0), (1, 5.0), (2, 7.5), (3, 11.25), (7, 56.953_125), (8, 60.0), (u32::MAX, 60.0)]
        {
            assert!((fallback.gap(polls).as_secs_f64() - seconds).abs() < 1e-9, "{polls}");
        }
        let slow = Fallback { interval: Duration::from_mins(5), ..fallback };
        assert_eq!(slow.gap(4), Duration::from_mins(5));
        assert_eq!((fallback.longest_wait(), slow.longest_wait()), (Duration::from_mins(12), Duration::from_mins(15)));
    }

    #[test]
    fn a_task_is_given_up_by_age_and_not_without_asking() {
        let fallback = Fallback::default();
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        for (age, polls, expected) in
            [(599, 9, false), (600, 9, true), (600, 3, true), (1_000_000, 2, false), (-5, 9, false)]
        {
            assert_eq!(fallback.gives_up(at(0), at(age), polls), expected, "{age} {polls}");
        }
    }
}

//! What becomes of a simulated task: decided when it is submitted, by the seed and its id alone, so
//! that a run can be repeated whatever the order of requests.

use std::time::Duration;

use crate::demo::kinds::Kind;

/// How often things happen, as shares from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Odds {
    /// A task ends with an error code.
    pub failure: f64,
    /// A submission is refused because every worker is busy.
    pub no_slot: f64,
    /// A pingback is never sent.
    pub lost: f64,
    /// A pingback comes more than two minutes after the solve.
    pub late: f64,
    /// A pingback is sent a second time.
    pub duplicate: f64,
    /// A pingback is followed by one with another solution.
    pub conflicting: f64,
    /// The parameters are appended with a second `?`, though the URL has a query.
    pub second_question_mark: f64,
}

impl Odds {
    /// Every task is solved and pinged once, at once.
    pub const NONE: Self = Self {
        failure: 0.0,
        no_slot: 0.0,
        lost: 0.0,
        late: 0.0,
        duplicate: 0.0,
        conflicting: 0.0,
        second_question_mark: 0.0,
    };
}

impl Default for Odds {
    fn default() -> Self {
        Self {
            failure: 0.05,
            no_slot: 0.02,
            lost: 0.005,
            late: 0.01,
            duplicate: 0.02,
            conflicting: 0.005,
            second_question_mark: 0.1,
        }
    }
}

/// What becomes of a task.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fate {
    /// From its submission to its end.
    pub(super) solve_time: Duration,
    /// Whether it ends with a solution, which costs money.
    pub(super) solved: bool,
    /// The solution or the error code.
    pub(super) code: String,
    /// The pingbacks that follow, each after the one before it.
    pub(super) pingbacks: Vec<PlannedPingback>,
    /// Whether there is none because it was lost.
    pub(super) lost: bool,
}

/// A pingback that will be sent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PlannedPingback {
    /// From the end of the task, or from the pingback before.
    pub(super) after: Duration,
    /// What it says.
    pub(super) code: String,
    /// Whether it is appended with a second `?`.
    pub(super) second_question_mark: bool,
    /// What is odd about it.
    pub(super) oddity: Option<Oddity>,
}

/// What is odd about a pingback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Oddity {
    /// It comes very late.
    Late,
    /// It repeats the one before.
    Duplicate,
    /// It contradicts the one before.
    Conflicting,
}

/// Decides what becomes of a task.
pub(super) fn fate(seed: u64, id: u64, kind: &Kind, odds: &Odds) -> Fate {
    // Neighbouring ids must not get related random numbers.
    let mut rng = fastrand::Rng::with_seed(seed ^ id.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let solve_time = solve_time(kind, &mut rng);
    let solved = !chance(&mut rng, odds.failure);
    let code = if solved { solution(kind, &mut rng) } else { error_code(&mut rng).to_owned() };
    let second_question_mark = chance(&mut rng, odds.second_question_mark);
    let lost = chance(&mut rng, odds.lost);
    let late = chance(&mut rng, odds.late);
    let duplicate = chance(&mut rng, odds.duplicate);
    let conflicting = chance(&mut rng, odds.conflicting);
    let between = |rng: &mut fastrand::Rng, seconds: std::ops::Range<u64>| Duration::from_secs(rng.u64(seconds));

    let mut pingbacks = Vec::new();
    let planned = |after, code, oddity| PlannedPingback { after, code, second_question_mark, oddity };
    if !lost {
        let after = if late { between(&mut rng, 125..180) } else { Duration::ZERO };
        pingbacks.push(planned(after, code.clone(), late.then_some(Oddity::Late)));
        if duplicate {
            pingbacks.push(planned(between(&mut rng, 1..6), code.clone(), Some(Oddity::Duplicate)));
        }
        if conflicting {
            let other = solution(kind, &mut rng);
            pingbacks.push(planned(between(&mut rng, 1..6), other, Some(Oddity::Conflicting)));
        }
    }
    Fate { solve_time, solved, code, pingbacks, lost }
}

pub(super) fn chance(rng: &mut fastrand::Rng, share: f64) -> bool {
    rng.f64() < share
}

/// Around the median of the kind, with the long tail of a log-normal distribution.
fn solve_time(kind: &Kind, rng: &mut fastrand::Rng) -> Duration {
    // The sum of twelve uniform numbers is close to a normal distribution of variance 1.
    let normal = (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0;
    kind.median.mul_f64((0.55 * normal).exp()).clamp(Duration::from_secs(3), Duration::from_mins(5))
}

fn error_code(rng: &mut fastrand::Rng) -> &'static str {
    match rng.u32(0..100) {
        0..6 => "ERROR_BAD_PROXY",
        6..11 => "ERROR_PROXY_CONNECTION_FAILED",
        11..14 => "ERROR_BAD_TOKEN_OR_PAGEURL",
        14..16 => "ERROR_SERVER_ERROR",
        _ => "ERROR_CAPTCHA_UNSOLVABLE",
    }
}

/// Something that looks like a solution of the kind.
fn solution(kind: &Kind, rng: &mut fastrand::Rng) -> String {
    let mut token = |length| std::iter::repeat_with(|| rng.alphanumeric()).take(length).collect::<String>();
    match kind.captcha {
        "image" | "bls" => token(6),
        "geetest_v3" | "geetest_v4" => {
            format!(r#"{{"challenge":"{}","validate":"{}","seccode":"{}|jordan"}}"#, token(32), token(32), token(32))
        }
        "turnstile" => format!("0.{}.{}", token(300), token(64)),
        "hcaptcha" => format!("P1_{}", token(900)),
        _ => format!("03AFcWeA{}_-{}", token(400), token(80)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::kinds::KINDS;

    fn fates(odds: &Odds) -> Vec<Fate> {
        let kinds = KINDS.iter().cycle();
        (1..=5000).zip(kinds).map(|(id, kind)| fate(7, id, kind, odds)).collect()
    }

    #[test]
    fn the_same_seed_and_id_have_the_same_fate() {
        let odds = Odds::default();
        assert_eq!(fates(&odds), fates(&odds));
        let [kind, ..] = &KINDS;
        assert_ne!(fate(7, 1, kind, &odds).code, fate(8, 1, kind, &odds).code);
        assert_ne!(fate(7, 1, kind, &odds).code, fate(7, 2, kind, &odds).code);
    }

    #[test]
    fn what_happens_has_its_share() {
        let odds = Odds {
            failure: 0.1,
            no_slot: 0.0,
            lost: 0.2,
            late: 0.3,
            duplicate: 0.4,
            conflicting: 0.5,
            second_question_mark: 0.6,
        };
        let fates = fates(&odds);
        let pinged: Vec<_> = fates.iter().filter(|fate| !fate.lost).collect();
        let with = |oddity| {
            let has = |fate: &&&Fate| fate.pingbacks.iter().any(|pingback| pingback.oddity == Some(oddity));
            pinged.iter().filter(has).count() as f64 / pinged.len() as f64
        };
        let marked = |fate: &&&Fate| fate.pingbacks.iter().all(|pingback| pingback.second_question_mark);
        let share = |count: usize, all: usize| count as f64 / all as f64;
        for (name, measured, expected) in [
            ("failure", share(fates.iter().filter(|fate| !fate.solved).count(), fates.len()), odds.failure),
            ("lost", share(fates.iter().filter(|fate| fate.lost).count(), fates.len()), odds.lost),
            ("late", with(Oddity::Late), odds.late),
            ("duplicate", with(Oddity::Duplicate), odds.duplicate),
            ("conflicting", with(Oddity::Conflicting), odds.conflicting),
            ("?", share(pinged.iter().filter(marked).count(), pinged.len()), odds.second_question_mark),
        ] {
            assert!((measured - expected).abs() < 0.03, "{name}: {measured} for {expected}");
        }
    }

    #[test]
    fn without_odds_every_task_is_solved_and_pinged_once() {
        for fate in fates(&Odds::NONE) {
            assert!(fate.solved && !fate.lost);
            let [pingback] = fate.pingbacks.as_slice() else { panic!("{fate:?}") };
            assert_eq!((pingback.after, &pingback.code, pingback.oddity), (Duration::ZERO, &fate.code, None));
        }
    }

    #[test]
    fn a_conflicting_pingback_says_something_else_and_a_duplicate_the_same() {
        for fate in fates(&Odds { duplicate: 1.0, conflicting: 1.0, late: 1.0, failure: 0.5, ..Odds::NONE }) {
            let [first, second, third] = fate.pingbacks.as_slice() else { panic!("{fate:?}") };
            assert!(first.after > Duration::from_mins(2));
            assert_eq!((&first.code, &second.code), (&fate.code, &fate.code));
            assert_ne!(third.code, fate.code);
            assert_eq!(fate.solved, !fate.code.starts_with("ERROR_"));
        }
    }

    #[test]
    fn most_solves_take_ten_seconds_to_a_minute() {
        let mut times: Vec<_> = fates(&Odds::NONE).into_iter().map(|fate| fate.solve_time.as_secs_f64()).collect();
        times.sort_by(f64::total_cmp);
        let usual = times.iter().filter(|time| (10.0..60.0).contains(*time)).count();
        assert!(usual > times.len() * 6 / 10, "{usual} of {}", times.len());
        assert!(times.last().is_some_and(|&slowest| slowest > 90.0), "{:?}", times.last());
    }
}

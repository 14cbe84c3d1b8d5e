//! Who may be called, and why somebody may not. Calls cost money and wake people.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;

use super::{PhoneNumber, Settings};
use crate::domain::time::elapsed;
use crate::notify::{Context, PastCall};

/// The most calls of one number within a time, whatever they are about.
const CAPS: [(Duration, usize); 3] =
    [(Duration::from_mins(15), 3), (Duration::from_hours(1), 7), (Duration::from_hours(3), 15)];

const DAY: Duration = Duration::from_hours(24);

/// Clocks of one machine differ by less; what is later than this was written before the clock went back.
const TOLERANCE: Duration = Duration::from_mins(1);

// Values of `metrics::SUPPRESSIONS`.
pub(super) const RESOLVED_FIRST: &str = "resolved_first";
pub(super) const TOO_OLD: &str = "too_old";
pub(super) const QUIET_HOURS: &str = "quiet_hours";
pub(super) const NO_CREDIT: &str = "no_credit";
pub(super) const CAP: &str = "cap";
pub(super) const COOLDOWN: &str = "cooldown";

/// Who is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Callees {
    /// At least one.
    pub(super) numbers: Vec<PhoneNumber>,
    /// Why the others are not.
    pub(super) left_out: Option<&'static str>,
}

/// Who may be called about a subject that was last heard of at `heard_at`; or why nobody may.
pub(super) fn callees(
    settings: &Settings,
    subject: &str,
    heard_at: Timestamp,
    context: &Context<'_>,
) -> Result<Callees, &'static str> {
    let now = context.now;
    if elapsed(heard_at, now) > settings.max_age {
        return Err(TOO_OLD);
    }
    if settings.quiet_hours.is_some_and(|quiet_hours| quiet_hours.contains(now)) {
        return Err(QUIET_HOURS);
    }
    if context.no_credit_until.is_some_and(|until| until > now) {
        return Err(NO_CREDIT);
    }
    let calls: Vec<&PastCall> = context.calls.iter().filter(|call| !is_from_the_future(call.at, now)).collect();
    if requests_of_a_day(&calls, now) >= settings.max_calls_per_day as usize {
        return Err(CAP);
    }
    let mut numbers = Vec::new();
    let mut reasons = Vec::new();
    for number in &settings.phone_numbers {
        match obstacle(settings, subject, number, &calls, now) {
            None => numbers.push(number.clone()),
            Some(reason) => reasons.push(reason),
        }
    }
    // The cap is what people should know of: that there is a cooldown is as it should be.
    let left_out = reasons.iter().copied().find(|&reason| reason == CAP).or(reasons.first().copied());
    if numbers.is_empty() { Err(left_out.unwrap_or(CAP)) } else { Ok(Callees { numbers, left_out }) }
}

/// The numbers of one request are called at the same time.
fn requests_of_a_day(calls: &[&PastCall], now: Timestamp) -> usize {
    let times = calls.iter().filter(|call| elapsed(call.at, now) < DAY).map(|call| call.at);
    times.collect::<HashSet<_>>().len()
}

/// Why a number is not called.
fn obstacle(
    settings: &Settings,
    subject: &str,
    number: &PhoneNumber,
    calls: &[&PastCall],
    now: Timestamp,
) -> Option<&'static str> {
    let own = || calls.iter().filter(|call| call.number == number.as_str());
    let within = |time: Duration| own().filter(|call| elapsed(call.at, now) < time).count();
    if CAPS.iter().any(|&(time, most)| within(time) >= most) {
        return Some(CAP);
    }
    let cools = own().any(|call| call.subject == subject && elapsed(call.at, now) < settings.cooldown);
    cools.then_some(COOLDOWN)
}

/// Whether something that has happened has a date that is still to come: the clock went back since.
pub(super) fn is_from_the_future(at: Timestamp, now: Timestamp) -> bool {
    elapsed(now, at) > TOLERANCE
}

#[cfg(test)]
mod tests;

//! What has happened at the simulated Alertalk, and its answers, without HTTP.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Options;
use super::rules::{self, Violation, Wanted, is_mobile};
use crate::demo::fault::{Fault, Script};

/// How often things have happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that arrived, faults included.
    pub requests: u64,
    /// Requests that were taken.
    pub queued: u64,
    /// Calls that were queued: one for each number of each request.
    pub calls: u64,
    /// 400s.
    pub bad_requests: u64,
    /// 402s.
    pub no_credit: u64,
    /// 403s.
    pub forbidden: u64,
    /// Requests for anything else.
    pub other_requests: u64,
    /// What a careful client never asks for.
    pub violations: u64,
}

/// A request that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Who is called.
    pub numbers: Vec<String>,
    /// What they hear.
    pub text: String,
    /// When it came.
    pub at: Timestamp,
}

/// All that is known of the simulated Alertalk.
#[derive(Debug)]
pub struct State {
    /// How often things have happened.
    pub counts: Counts,
    /// The last requests that were taken, oldest first.
    pub calls: VecDeque<Call>,
    /// The last violations, oldest first.
    pub violations: VecDeque<Violation>,
    /// The credits that are left.
    pub credits: u64,
    pub(super) key: String,
    refused_key: Option<String>,
    keep: usize,
    script: Script<()>,
}

/// An answer: its status and its body.
pub(super) type Reply = (u16, Value);

impl State {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            counts: Counts::default(),
            calls: VecDeque::new(),
            violations: VecDeque::new(),
            credits: options.credits,
            key: options.key.clone(),
            refused_key: None,
            keep: options.keep,
            script: Script::default(),
        }
    }

    pub(super) fn script(&mut self, fault: &Fault, times: usize) {
        self.script.add((), fault, times);
    }

    /// Counts a request, and takes the fault that waits for it.
    pub(super) fn arrived(&mut self) -> Option<Fault> {
        self.counts.requests += 1;
        self.script.take(&())
    }

    /// Answers a request.
    pub(super) fn answer(&mut self, key: Option<&str>, body: &[u8], now: Timestamp) -> Reply {
        if key != Some(&*self.key) {
            return self.refuse_key(key.unwrap_or_default());
        }
        let wanted = match rules::read(body) {
            Ok(wanted) => wanted,
            Err(why) => return self.refuse_body(why),
        };
        for violation in rules::violations(&wanted) {
            self.note(violation);
        }
        if !wanted.numbers.iter().all(|number| is_mobile(number)) {
            return self.refuse_body("phone_number is invalid");
        }
        self.queue(wanted, now)
    }

    fn queue(&mut self, wanted: Wanted, now: Timestamp) -> Reply {
        let price = wanted.numbers.len() as u64;
        let Some(credits) = self.credits.checked_sub(price) else {
            self.counts.no_credit += 1;
            return error(402, "Insufficient credits");
        };
        self.credits = credits;
        self.counts.queued += 1;
        self.counts.calls += price;
        keep(&mut self.calls, Call { numbers: wanted.numbers, text: wanted.text, at: now }, self.keep);
        (200, json!({ "message": format!("{price} call(s) queued"), "status": "success" }))
    }

    fn refuse_key(&mut self, key: &str) -> Reply {
        self.counts.forbidden += 1;
        if self.refused_key.as_deref() == Some(key) {
            self.note(Violation::RefusedKeyAgain);
        }
        self.refused_key = Some(key.to_owned());
        error(403, "Invalid webhook key")
    }

    fn refuse_body(&mut self, why: &str) -> Reply {
        self.counts.bad_requests += 1;
        error(400, why)
    }

    fn note(&mut self, violation: Violation) {
        self.counts.violations += 1;
        keep(&mut self.violations, violation, self.keep);
    }
}

fn error(status: u16, message: &str) -> Reply {
    (status, json!({ "message": message, "status": "error" }))
}

fn keep<T>(list: &mut VecDeque<T>, item: T, most: usize) {
    list.push_back(item);
    while list.len() > most {
        list.pop_front();
    }
}

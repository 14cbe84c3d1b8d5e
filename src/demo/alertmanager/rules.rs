//! The rules of the demonstration, as Prometheus would evaluate them, and the words of their alerts.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::time::elapsed;

/// When an alert fires, and how it is told.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) alertname: &'static str,
    pub(super) severity: &'static str,
    /// It holds while the balance is below this; always, if nothing is given.
    pub(super) below_usd: Option<f64>,
    /// How long it has to hold before it fires.
    pub(super) hold: Duration,
    /// How soon it is told again.
    pub(super) repeat: Duration,
    /// The receiver of Alertmanager's that is told, and where that posts to.
    pub(super) receiver: &'static str,
    pub(super) path: &'static str,
    words: fn(&'static str, Reading) -> Vec<(&'static str, String)>,
}

/// Four hours with a real Alertmanager: nobody looks at a demonstration for so long.
const REPEAT: Duration = Duration::from_mins(4);

/// The thresholds fit the simulated accounts: the one that is named backup starts a little above the second
/// and is topped up a little below it, so that all that happens to an alert is seen in two minutes.
static RULES: [Rule; 2] = [
    Rule {
        alertname: "CaptchaAIBalanceLow",
        severity: "warning",
        below_usd: Some(10.0),
        hold: Duration::from_secs(10),
        repeat: REPEAT,
        receiver: "captchaai",
        path: "/alertmanager/default",
        words: low,
    },
    Rule {
        alertname: "CaptchaAIBalanceCritical",
        severity: "critical",
        below_usd: Some(2.01),
        hold: Duration::ZERO,
        repeat: REPEAT,
        receiver: "captchaai",
        path: "/alertmanager/default",
        words: critical,
    },
];

static WATCHDOG: Rule = Rule {
    alertname: "CaptchaAIWatchdog",
    severity: "info",
    below_usd: None,
    hold: Duration::ZERO,
    repeat: Duration::from_mins(1),
    receiver: "watchdog",
    path: "/alertmanager/watchdog",
    words: alive,
};

/// The rules that are evaluated for each account.
pub(super) fn rules_of_accounts() -> impl Iterator<Item = &'static Rule> {
    RULES.iter()
}

/// The rule that always fires.
pub(super) fn watchdog() -> &'static Rule {
    &WATCHDOG
}

impl Rule {
    pub(super) fn holds(&self, reading: Reading) -> bool {
        self.below_usd.is_none_or(|threshold| reading.balance_usd < threshold)
    }

    /// Its expression, for the link to a graph.
    pub(super) fn expression(&self) -> String {
        match self.below_usd {
            Some(threshold) => format!("captchaai_account_balance_usd < {threshold}"),
            None => "vector(1)".to_owned(),
        }
    }

    /// The annotations of its alert.
    pub(super) fn annotations(&self, account: &'static str, reading: Reading) -> Vec<(&'static str, String)> {
        let mut annotations = (self.words)(account, reading);
        annotations.push(("runbook_url", format!("https://runbooks.example/{}", self.alertname)));
        if let Some(threshold) = self.below_usd {
            annotations.push(("fields", fields(threshold, reading)));
        }
        annotations
    }
}

fn low(account: &'static str, reading: Reading) -> Vec<(&'static str, String)> {
    let description = format!("Account `{account}` has **{:.2} USD** left.", reading.balance_usd);
    vec![
        ("title", format!("⚠️ Low balance: {account}")),
        ("summary", "The balance of a CaptchaAI account is low.".to_owned()),
        ("description", description),
    ]
}

fn critical(account: &'static str, reading: Reading) -> Vec<(&'static str, String)> {
    let usd = format!("{:.2}", reading.balance_usd);
    let description =
        format!("Account `{account}` has **{usd} USD** left. When nothing is left, no captcha is solved.");
    let voice = format!(
        "Kritik uyarı. CaptchaAI {account} hesabında yalnızca {} dolar kaldı. Hesaba hemen bakiye yükleyin.",
        usd.replace('.', ",")
    );
    vec![
        ("title", format!("🚨 Balance almost gone: {account}")),
        ("summary", "The balance of a CaptchaAI account is almost gone.".to_owned()),
        ("description", description),
        ("voice", voice),
    ]
}

fn alive(_: &'static str, _: Reading) -> Vec<(&'static str, String)> {
    vec![("summary", "Always fires: the alerting is alive.".to_owned())]
}

fn fields(threshold: f64, Reading { balance_usd, runway }: Reading) -> String {
    let runway = runway.map(|runway| format!("Runway: {}\n", rough(runway))).unwrap_or_default();
    format!("Balance: {balance_usd:.2} USD\nThreshold: {threshold} USD\n{runway}Action: Top up the account")
}

/// A duration for people.
fn rough(duration: Duration) -> String {
    let minutes = duration.as_secs() / 60;
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours @ 1..48, minutes) => format!("{hours} h {minutes} min"),
        (hours, _) => format!("{} days", hours / 24),
    }
}

/// What an account's balance is, and how long it will last.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Reading {
    pub(super) balance_usd: f64,
    /// Nothing as long as nothing was spent.
    pub(super) runway: Option<Duration>,
}

/// How fast an account spends.
#[derive(Debug, Default)]
pub(super) struct Spending {
    /// When the balance was first read.
    since: Option<Timestamp>,
    last_usd: Option<f64>,
    spent_usd: f64,
}

impl Spending {
    /// Takes note of a balance.
    pub(super) fn read(&mut self, balance_usd: f64, now: Timestamp) -> Reading {
        // A rise is a top-up, during which nobody knows what was spent.
        self.spent_usd += self.last_usd.map_or(0.0, |last| (last - balance_usd).max(0.0));
        self.last_usd = Some(balance_usd);
        let taken = elapsed(*self.since.get_or_insert(now), now);
        let seconds = balance_usd / self.spent_usd * taken.as_secs_f64();
        Reading { balance_usd, runway: Duration::try_from_secs_f64(seconds).ok().filter(|_| !taken.is_zero()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runway_is_what_is_left_at_the_speed_so_far() {
        let mut spending = Spending::default();
        for (second, balance_usd, expected) in [
            (0, 2.0, None),
            (10, 2.0, None),
            (20, 1.5, Some(60)),
            // The top-up is no spending.
            (40, 11.5, Some(920)),
            (40, 11.0, Some(440)),
            (50, 0.0, Some(0)),
        ] {
            let reading = spending.read(balance_usd, Timestamp::from_second(second).unwrap());
            let expected = Reading { balance_usd, runway: expected.map(Duration::from_secs) };
            assert_eq!(reading, expected, "{second}");
        }
    }

    #[test]
    fn annotations_are_in_the_house_style() {
        let reading = Reading { balance_usd: 2.0093, runway: Some(Duration::from_mins(68)) };
        let [low, critical] = &RULES;
        for (rule, name, expected) in [
            (low, "title", "⚠️ Low balance: backup"),
            (low, "description", "Account `backup` has **2.01 USD** left."),
            (low, "fields", "Balance: 2.01 USD\nThreshold: 10 USD\nRunway: 1 h 8 min\nAction: Top up the account"),
            (low, "runbook_url", "https://runbooks.example/CaptchaAIBalanceLow"),
            (
                critical,
                "voice",
                "Kritik uyarı. CaptchaAI backup hesabında yalnızca 2,01 dolar kaldı. Hesaba hemen bakiye yükleyin.",
            ),
            (
                critical,
                "fields",
                "Balance: 2.01 USD\nThreshold: 2.01 USD\nRunway: 1 h 8 min\nAction: Top up the account",
            ),
        ] {
            let annotations = rule.annotations("backup", reading);
            let found = annotations.iter().find(|(other, _)| *other == name).map(|(_, text)| text.as_str());
            assert_eq!(found, Some(expected), "{} {name}", rule.alertname);
        }
        let annotations = low.annotations("backup", Reading { runway: None, ..reading });
        assert!(!annotations.iter().any(|(name, text)| *name == "voice" || text.contains("Runway")), "{annotations:?}");
    }

    #[test]
    fn runways_are_rough() {
        for (seconds, expected) in [(59, "0 min"), (3599, "59 min"), (3600, "1 h 0 min"), (172_800, "2 days")] {
            assert_eq!(rough(Duration::from_secs(seconds)), expected);
        }
    }
}

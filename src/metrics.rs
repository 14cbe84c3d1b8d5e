//! Every metric of the program. A field's doc comment is its HELP text.
//!
//! Closed sets of label values are created at start, so that the first failure is an increase and not
//! a new series.

use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

/// Declares the struct and registers each field under its name, its doc comment as HELP.
macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ident($name:literal $(, [$($label:literal),+])? $(, buckets $buckets:expr)?),)+) => {
        /// All metrics, registered.
        #[derive(Debug, Clone)]
        pub struct Metrics {
            registry: Registry,
            $($(#[doc = $help])+ pub $field: $kind,)+
        }

        impl Metrics {
            fn register() -> Result<Self, prometheus::Error> {
                let registry = Registry::new();
                $(
                    let help = concat!($($help),+).trim();
                    let $field = metrics!(@make $kind, $name, help $(, [$($label),+])? $(, buckets $buckets)?)?;
                    registry.register(Box::new($field.clone()))?;
                )+
                Ok(Self { registry, $($field,)+ })
            }
        }
    };
    (@make $kind:ident, $name:literal, $help:ident, [$($label:literal),+], buckets $buckets:expr) => {
        $kind::new(HistogramOpts::new($name, $help).buckets($buckets.to_vec()), &[$($label),+])
    };
    (@make $kind:ident, $name:literal, $help:ident, buckets $buckets:expr) => {
        $kind::with_opts(HistogramOpts::new($name, $help).buckets($buckets.to_vec()))
    };
    (@make $kind:ident, $name:literal, $help:ident, [$($label:literal),+]) => {
        $kind::new(Opts::new($name, $help), &[$($label),+])
    };
    (@make $kind:ident, $name:literal, $help:ident) => {
        $kind::new($name, $help)
    };
}

/// Submission to result: most solves take 10 to 60 seconds, and all of it ends at ten minutes.
const SOLVE_SECONDS: [f64; 15] =
    [1.0, 2.5, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0];
/// A request to CaptchaAI, up to its time-out.
const API_SECONDS: [f64; 8] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// A commit to disk and what waits for one.
const DISK_SECONDS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
/// An answer of ours; long polls end at a minute.
const HTTP_SECONDS: [f64; 10] = [0.0005, 0.001, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0];
/// Queued to delivered: at once, or hours later when the destination was down.
const DELIVERY_SECONDS: [f64; 10] = [0.01, 0.05, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0, 21600.0];
/// Rows in one transaction, which takes at most 1024.
const BATCH_ROWS: [f64; 6] = [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0];

metrics! {
    /// Whether the last balance poll of the account succeeded (1) or not (0).
    up: IntGaugeVec("captchaai_up", ["account"]),
    /// Last known balance in USD.
    account_balance: GaugeVec("captchaai_account_balance_usd", ["account"]),
    /// Sum of the observed falls of the balance in USD.
    account_spend: CounterVec("captchaai_account_spend_usd_total", ["account"]),
    /// Sum of the observed rises of the balance in USD.
    account_topups: CounterVec("captchaai_account_topups_usd_total", ["account"]),
    /// When the balance was last polled with success; 0 before the first time.
    balance_last_success: GaugeVec("captchaai_balance_last_success_timestamp_seconds", ["account"]),
    /// Requests to CaptchaAI's API.
    api_requests: IntCounterVec("captchaai_api_requests_total", ["account", "action"]),
    /// Requests to CaptchaAI's API that failed, by the class of the error.
    api_request_failures: IntCounterVec("captchaai_api_request_failures_total", ["account", "action", "reason"]),
    /// Duration of requests to CaptchaAI's API.
    api_request_duration: HistogramVec("captchaai_api_request_duration_seconds", ["action"], buckets API_SECONDS),

    /// Tasks that clients registered.
    tasks_submitted: IntCounterVec("captchaai_tasks_submitted_total", ["account", "captcha"]),
    /// Submissions that CaptchaAI refused, as clients reported them.
    submit_errors: IntCounterVec("captchaai_submit_errors_total", ["account", "code"]),
    /// Tasks that ended, solved or failed.
    tasks_finished: IntCounterVec("captchaai_tasks_finished_total", ["account", "captcha"]),
    /// Tasks that ended without a solution.
    tasks_failed: IntCounterVec("captchaai_tasks_failed_total", ["account", "captcha"]),
    /// Tasks that ended without a solution, by error code.
    task_errors: IntCounterVec("captchaai_task_errors_total", ["account", "code"]),
    /// Submission to result of solved tasks.
    solve_duration: HistogramVec("captchaai_solve_duration_seconds", ["account", "captcha"], buckets SOLVE_SECONDS),
    /// Solved among finished tasks of the window, for people; absent when none finished.
    solve_ratio: GaugeVec("captchaai_solve_ratio", ["account", "window"]),
    /// Registered tasks that wait for their result.
    queue_tasks: IntGaugeVec("captchaai_queue_tasks", ["account"]),
    /// Time since the submission of the oldest task that waits for its result; 0 when none waits.
    queue_oldest_task_age: GaugeVec("captchaai_queue_oldest_task_age_seconds", ["account"]),
    /// Distinct workers that registered a task within five minutes.
    workers_active: IntGaugeVec("captchaai_workers_active", ["account"]),

    /// Pingbacks received, refused ones included.
    pingbacks: IntCounter("captchaai_pingbacks_total"),
    /// Pingbacks refused, by reason.
    pingbacks_rejected: IntCounterVec("captchaai_pingbacks_rejected_total", ["reason"]),
    /// Pingbacks that repeat a result that is already known.
    pingback_duplicates: IntCounter("captchaai_pingback_duplicates_total"),
    /// Pingbacks with another result than the one that is already known; the first is kept.
    pingback_conflicts: IntCounter("captchaai_pingback_conflicts_total"),
    /// Registered tasks whose pingback came or is overdue.
    pingbacks_expected: IntCounterVec("captchaai_pingbacks_expected_total", ["account"]),
    /// Registered tasks whose pingback did not come in time.
    pingbacks_missed: IntCounterVec("captchaai_pingbacks_missed_total", ["account"]),
    /// Questions to the API for tasks whose pingback did not come.
    fallback_polls: IntCounterVec("captchaai_fallback_polls_total", ["account"]),
    /// Tasks that ended by such a question.
    fallback_recovered: IntCounterVec("captchaai_fallback_recovered_total", ["account"]),
    /// Arrival of a pingback to its record on disk.
    pingback_ack_duration: Histogram("captchaai_pingback_ack_duration_seconds", buckets DISK_SECONDS),
    /// Pingbacks written to the spill folder because the store could not be written.
    pingbacks_spilled: IntCounter("captchaai_pingbacks_spilled_total"),

    /// Attempts to deliver something.
    deliveries: IntCounterVec("captchaai_deliveries_total", ["destination"]),
    /// Attempts to deliver something that failed, by what follows from it.
    delivery_failures: IntCounterVec("captchaai_delivery_failures_total", ["destination", "reason"]),
    /// What waits to be delivered.
    deliveries_pending: IntGaugeVec("captchaai_deliveries_pending", ["destination"]),
    /// How long the oldest of what waits to be delivered has waited; 0 when nothing waits.
    delivery_oldest_pending_age: GaugeVec("captchaai_delivery_oldest_pending_age_seconds", ["destination"]),
    /// Queued to delivered.
    delivery_duration: HistogramVec("captchaai_delivery_duration_seconds", ["destination"], buckets DELIVERY_SECONDS),
    /// What is in the dead-letter queue now.
    dead_letters: IntGaugeVec("captchaai_dead_letters", ["source"]),
    /// What was given up and went to the dead-letter queue.
    dead_letters_added: IntCounterVec("captchaai_dead_letters_added_total", ["source", "reason"]),
    /// What left the dead-letter queue, tried again or discarded.
    dead_letters_removed: IntCounterVec("captchaai_dead_letters_removed_total", ["source", "how"]),
    /// How long the oldest dead letter has been there; 0 when there is none.
    dead_letter_oldest_age: GaugeVec("captchaai_dead_letter_oldest_age_seconds", ["source"]),

    /// Alertmanager's notifications that were accepted.
    alert_notifications: IntCounterVec("captchaai_alert_notifications_total", ["receiver"]),
    /// Alertmanager's notifications that were refused, by reason.
    alert_notifications_rejected: IntCounterVec("captchaai_alert_notifications_rejected_total", ["reason"]),
    /// Alerts that fire, as last heard; a severity that is none of the three counts as info.
    alerts_firing: IntGaugeVec("captchaai_alerts_firing", ["receiver", "severity"]),
    /// When Alertmanager's watchdog was last heard; 0 before the first time.
    watchdog_last_received: Gauge("captchaai_watchdog_last_received_timestamp_seconds"),
    /// Calls that Alertalk took, one a request.
    calls: IntCounterVec("captchaai_calls_total", ["destination"]),
    /// Credits spent on calls, one a number.
    call_credits_spent: IntCounterVec("captchaai_call_credits_spent_total", ["destination"]),
    /// Calls that were not made, by reason.
    calls_suppressed: IntCounterVec("captchaai_calls_suppressed_total", ["destination", "reason"]),

    /// User events of a Marzban panel, repetitions left out.
    marzban_events: IntCounterVec("captchaai_marzban_events_total", ["action"]),

    /// Duration of the store's commits.
    store_commit_duration: Histogram("captchaai_store_commit_duration_seconds", buckets DISK_SECONDS),
    /// Records per commit.
    store_batch_rows: Histogram("captchaai_store_batch_rows", buckets BATCH_ROWS),
    /// Failed operations of the store.
    store_errors: IntCounter("captchaai_store_errors_total"),
    /// Size of the store on disk, its write-ahead log included.
    store_size: IntGauge("captchaai_store_size_bytes"),

    /// Answered HTTP requests, by route and status.
    http_requests: IntCounterVec("captchaai_http_requests_total", ["handler", "code"]),
    /// Duration of HTTP requests, by route.
    http_request_duration: HistogramVec("captchaai_http_request_duration_seconds", ["handler"], buckets HTTP_SECONDS),

    /// Version, revision and compiler of the program; always 1.
    build_info: IntGaugeVec("captchaai_exporter_build_info", ["version", "revision", "rustc"]),
    /// Whether the last reading of the configuration succeeded.
    config_last_reload_successful: IntGauge("captchaai_config_last_reload_successful"),
    /// When the configuration was last read with success.
    config_last_reload_success: Gauge("captchaai_config_last_reload_success_timestamp_seconds"),

    /// CPU time that the process used, user and system.
    process_cpu: Counter("process_cpu_seconds_total"),
    /// Resident memory of the process.
    process_resident_memory: IntGauge("process_resident_memory_bytes"),
    /// Virtual memory of the process.
    process_virtual_memory: IntGauge("process_virtual_memory_bytes"),
    /// Open file descriptors of the process.
    process_open_fds: IntGauge("process_open_fds"),
    /// Limit of open file descriptors of the process.
    process_max_fds: IntGauge("process_max_fds"),
    /// Threads of the process.
    process_threads: IntGauge("process_threads"),
    /// When the process started.
    process_start_time: Gauge("process_start_time_seconds"),
}

/// The closed sets of label values that depend on the configuration or live in `domain`.
#[derive(Debug, Clone, Default)]
pub struct LabelSets {
    /// Names of the configured accounts.
    pub accounts: Vec<String>,
    /// Kinds of captcha.
    pub captchas: Vec<String>,
    /// Error codes.
    pub codes: Vec<&'static str>,
    /// Why a request to CaptchaAI's API fails.
    pub api_failure_reasons: Vec<&'static str>,
    /// Receivers of alerts.
    pub receivers: Vec<String>,
    /// Destinations, such as `discord/ops`.
    pub destinations: Vec<String>,
    /// Those of them that call people.
    pub phones: Vec<String>,
    /// Actions of a Marzban panel's events.
    pub marzban_actions: Vec<&'static str>,
    /// Severities of alerts.
    pub severities: Vec<&'static str>,
    /// Why a delivery fails.
    pub delivery_failure_reasons: Vec<&'static str>,
    /// Why something becomes a dead letter.
    pub dead_reasons: Vec<&'static str>,
    /// Why a pingback becomes one.
    pub pingback_dead_reasons: Vec<&'static str>,
}

/// Actions of CaptchaAI's API that the program uses.
pub const API_ACTIONS: [&str; 2] = ["getbalance", "get"];

/// Why a pingback is refused.
pub const PINGBACK_REJECTIONS: [&str; 5] = ["token", "address", "bad_id", "no_code", "forged"];

/// Why a notification of Alertmanager is refused: it has no token or a wrong one, it cannot be read, its
/// receiver is not configured, it is too long or too slow, or it cannot be kept now.
pub const NOTIFICATION_REJECTIONS: [&str; 6] =
    ["token", "unreadable", "receiver", "too_large", "timeout", "unavailable"];

/// How a dead letter leaves the queue: somebody or something tries it again, or it is discarded.
pub const REMOVALS: [&str; 2] = ["replayed", "discarded"];

/// Why a call is not made.
pub const SUPPRESSIONS: [&str; 6] = ["cooldown", "cap", "quiet_hours", "resolved_first", "too_old", "no_credit"];

/// The account of results that cannot be told to belong to one.
pub const UNKNOWN_ACCOUNT: &str = "unknown";

impl Metrics {
    /// All metrics with their closed sets of series.
    pub fn new(labels: &LabelSets) -> Result<Self, prometheus::Error> {
        let metrics = Self::register()?;
        for reason in PINGBACK_REJECTIONS {
            metrics.pingbacks_rejected.with_label_values(&[reason]);
        }
        for reason in NOTIFICATION_REJECTIONS {
            metrics.alert_notifications_rejected.with_label_values(&[reason]);
        }
        for action in API_ACTIONS {
            metrics.api_request_duration.with_label_values(&[action]);
        }
        metrics.create_series(labels);
        Ok(metrics)
    }

    /// Creates the series of accounts and captchas, when the configuration is read and read again.
    pub fn create_series(&self, labels: &LabelSets) {
        for account in &labels.accounts {
            self.create_account(account, labels);
        }
        // With one account every result belongs to it; else some may come without a name.
        if labels.accounts.len() != 1 {
            self.create_task_series(UNKNOWN_ACCOUNT, labels);
        }
        self.create_destinations(labels);
    }

    fn create_dead_letters(&self, source: &str, reasons: &[&'static str]) {
        self.dead_letters.with_label_values(&[source]);
        self.dead_letter_oldest_age.with_label_values(&[source]);
        for reason in reasons {
            self.dead_letters_added.with_label_values(&[source, reason]);
        }
        for how in REMOVALS {
            self.dead_letters_removed.with_label_values(&[source, how]);
        }
    }

    fn create_destinations(&self, labels: &LabelSets) {
        for action in &labels.marzban_actions {
            self.marzban_events.with_label_values(&[action]);
        }
        for receiver in labels.receivers.iter().map(String::as_str) {
            self.alert_notifications.with_label_values(&[receiver]);
            for severity in &labels.severities {
                self.alerts_firing.with_label_values(&[receiver, severity]);
            }
        }
        for destination in labels.destinations.iter().map(String::as_str) {
            self.deliveries.with_label_values(&[destination]);
            self.deliveries_pending.with_label_values(&[destination]);
            self.delivery_oldest_pending_age.with_label_values(&[destination]);
            self.delivery_duration.with_label_values(&[destination]);
            for reason in &labels.delivery_failure_reasons {
                self.delivery_failures.with_label_values(&[destination, reason]);
            }
            self.create_dead_letters(destination, &labels.dead_reasons);
        }
        self.create_dead_letters("pingback", &labels.pingback_dead_reasons);
        for phone in labels.phones.iter().map(String::as_str) {
            self.calls.with_label_values(&[phone]);
            self.call_credits_spent.with_label_values(&[phone]);
            for reason in SUPPRESSIONS {
                self.calls_suppressed.with_label_values(&[phone, reason]);
            }
        }
    }

    fn create_account(&self, account: &str, labels: &LabelSets) {
        self.up.with_label_values(&[account]);
        self.account_spend.with_label_values(&[account]);
        self.account_topups.with_label_values(&[account]);
        self.balance_last_success.with_label_values(&[account]);
        for action in API_ACTIONS {
            self.api_requests.with_label_values(&[account, action]);
            for reason in &labels.api_failure_reasons {
                self.api_request_failures.with_label_values(&[account, action, reason]);
            }
        }
        for captcha in &labels.captchas {
            self.tasks_submitted.with_label_values(&[account, captcha]);
        }
        for code in &labels.codes {
            self.submit_errors.with_label_values(&[account, code]);
        }
        self.queue_tasks.with_label_values(&[account]);
        self.queue_oldest_task_age.with_label_values(&[account]);
        self.workers_active.with_label_values(&[account]);
        self.pingbacks_expected.with_label_values(&[account]);
        self.pingbacks_missed.with_label_values(&[account]);
        self.fallback_polls.with_label_values(&[account]);
        self.fallback_recovered.with_label_values(&[account]);
        self.create_task_series(account, labels);
    }

    fn create_task_series(&self, account: &str, labels: &LabelSets) {
        for captcha in &labels.captchas {
            self.tasks_finished.with_label_values(&[account, captcha]);
            self.tasks_failed.with_label_values(&[account, captcha]);
            self.solve_duration.with_label_values(&[account, captcha]);
        }
        for code in &labels.codes {
            self.task_errors.with_label_values(&[account, code]);
        }
    }

    /// Removes what is only true of an account that is watched. Its counters stay: they may still rise.
    pub fn forget_account(&self, account: &str, windows: &[&str]) {
        // An error means that there was no such series.
        let _ = self.up.remove_label_values(&[account]);
        let _ = self.account_balance.remove_label_values(&[account]);
        let _ = self.balance_last_success.remove_label_values(&[account]);
        let _ = self.workers_active.remove_label_values(&[account]);
        for window in windows {
            let _ = self.solve_ratio.remove_label_values(&[account, window]);
        }
    }

    /// The registry, for gathering.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }
}

//! Grafana's dashboards: rules that hold for all of them, and what a real Prometheus that scrapes the real
//! program answers to each of their queries.

mod promql;
mod rules;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::alertmanager::client;
use crate::harness::{Exporter, eventually, eventually_within, repository, versions};
use crate::prometheus::{Prometheus, scraping};
use promql::selectors;

const NAMES: [&str; 4] = ["overview", "solves", "delivery", "exporter"];

/// What is shown nowhere: a ratio that the program computes for its own page, and memory that is not used.
const NOT_SHOWN: [&str; 2] = ["captchaai_solve_ratio", "process_virtual_memory_bytes"];

/// What Prometheus adds to a scrape.
const OF_PROMETHEUS: [&str; 1] = ["up"];

/// How long a demonstration may take until each query has an answer.
const UNTIL_EACH_ANSWERS: Duration = Duration::from_secs(100);

/// A dashboard and its file, for messages.
struct Board {
    file: String,
    json: Value,
}

impl Board {
    fn read(name: &str) -> Self {
        let file = format!("grafana/dashboards/{name}.json");
        let text = fs::read_to_string(repository(&file)).unwrap();
        let json = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        Self { file, json }
    }

    fn all() -> Vec<Self> {
        NAMES.into_iter().map(Self::read).collect()
    }

    /// What shows data, rows left out.
    fn panels(&self) -> impl Iterator<Item = Panel<'_>> {
        let panels = self.json["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row");
        panels.map(|json| Panel { file: &self.file, json })
    }
}

#[derive(Clone, Copy)]
struct Panel<'b> {
    file: &'b str,
    json: &'b Value,
}

impl<'b> Panel<'b> {
    /// For messages: the file and what a reader of the dashboard sees.
    fn name(&self) -> String {
        format!("{}: panel {} {}", self.file, self.json["id"], self.json["title"])
    }

    fn queries(self) -> impl Iterator<Item = &'b str> {
        self.json["targets"].as_array().into_iter().flatten().filter_map(|target| target["expr"].as_str())
    }
}

/// A query as Grafana sends it when all is chosen.
fn substituted(query: &str) -> String {
    let values = [
        ("$__rate_interval", "20s"),
        ("$__range", "5m"),
        ("$__interval", "5s"),
        ("$job", ".+"),
        ("$instance", ".+"),
        ("$account", ".+"),
    ];
    values.iter().fold(query.to_owned(), |query, (variable, value)| query.replace(variable, value))
}

fn demonstration(arguments: &[&str]) -> (Exporter, TempDir) {
    let temporary = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_captchaai-exporter"));
    command.arg("demo").args(arguments).args(["--web.listen-address", "127.0.0.1:0"]);
    command.env("TMPDIR", temporary.path());
    (Exporter::spawn(command), temporary)
}

#[test]
fn the_rules_hold() {
    let complaints: Vec<_> = Board::all().iter().flat_map(rules::complaints).collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
    let uids: BTreeSet<_> = Board::all().iter().map(|board| board.json["uid"].to_string()).collect();
    assert_eq!(uids.len(), NAMES.len(), "{uids:?}");
}

/// What each rule is there for; without this one that has stopped to look would not be missed.
#[test]
fn the_rules_notice_what_they_forbid() {
    let whole = || Board::read("overview");
    let balance = whole().json["panels"].as_array().unwrap().iter().position(|panel| panel["type"] == "timeseries");
    let at = |path: &str| format!("/panels/{}{path}", balance.unwrap());
    let query = at("/targets/0/expr");
    let selector = r#"{job=~"$job", instance=~"$instance", account=~"$account"}"#;
    for (path, value, expected) in [
        ("/editable".to_owned(), json!(true), "editable"),
        ("/uid".to_owned(), json!("other"), "uid"),
        ("/schemaVersion".to_owned(), json!(38), "schemaVersion"),
        ("/tags".to_owned(), json!([]), "tags"),
        ("/links/0/keepTime".to_owned(), json!(false), "keepTime"),
        ("/annotations/list".to_owned(), json!([]), "annotation"),
        ("/templating/list/0/name".to_owned(), json!("prometheus"), "named datasource"),
        ("/templating/list/1/allValue".to_owned(), json!(".*"), "variable job"),
        ("/templating/list/2/multi".to_owned(), json!(false), "variable instance"),
        ("/templating/list/3/query/query".to_owned(), json!("label_values(up, account)"), "variable account"),
        (at("/title"), json!(""), "title"),
        (at("/description"), json!("Short."), "description"),
        (at("/fieldConfig/defaults/unit"), json!("suffix: tasks"), "unit"),
        (at("/fieldConfig/defaults/noValue"), json!(""), "noValue"),
        (at("/datasource/uid"), json!("captchaai-prometheus"), "data source"),
        (at("/targets/0/datasource/uid"), json!("$prometheus"), "data source"),
        (at("/targets"), json!([]), "query"),
        (at("/id"), json!(null), "id"),
        (at("/id"), json!(1), "id"),
        (at("/gridPos/w"), json!(3), "narrow"),
        (at("/gridPos/x"), json!(20), "wide"),
        (at("/gridPos/y"), json!(0), "overlaps"),
        (query.clone(), json!("captchaai_account_balance_usd"), "does not select"),
        (query.clone(), json!(format!("captchaai_up{selector} / process_max_fds{{job=~\"$job\"}}")), "does not select"),
        (query.clone(), json!("{__name__=~\"captchaai_.+\"}"), "without a metric"),
        (query.clone(), json!(format!("captchaai:up:min{selector}")), "recorded"),
        (query.clone(), json!(format!("rate(sum(captchaai_pingbacks_total{selector})[1h:])")), "rated"),
        (query.clone(), json!(format!("sum(captchaai_pingbacks_total{selector})")), "rated"),
        (query.clone(), json!(format!("rate(captchaai_pingbacks_total{selector}[2m])")), "window"),
        (query.clone(), json!(format!("rate(captchaai_pingbacks_total{selector}[30d])")), "window"),
        (query.clone(), json!(format!("predict_linear(captchaai_account_balance_usd{selector}[6h], 1)")), "predict"),
    ] {
        let mut board = whole();
        let place = board.json.pointer_mut(&path).unwrap_or_else(|| panic!("{path}"));
        *place = value.clone();
        let complaints = rules::complaints(&board);
        assert!(complaints.iter().any(|it| it.contains(expected)), "{path} = {value}: {complaints:#?}");
    }
}

#[tokio::test]
async fn every_metric_exists_and_every_one_is_shown() {
    let (exporter, _temporary) = demonstration(&[]);
    let metrics = eventually("a balance of each account and a solve", async || {
        let (_, metrics) = exporter.get("/metrics").await;
        let known = ["captchaai_account_balance_usd{account=\"backup\"", "captchaai_solve_ratio{"];
        known.iter().all(|series| metrics.contains(series)).then_some(metrics)
    })
    .await;
    let mut unseen: BTreeSet<&str> =
        metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let with_account: BTreeSet<&str> = metrics
        .lines()
        .filter_map(|line| line.split_once('{'))
        .filter(|(_, labels)| labels.starts_with("account=") || labels.contains(",account="))
        .map(|(name, _)| name)
        .collect();
    let known = unseen.clone();
    let boards = Board::all();
    for panel in boards.iter().flat_map(Board::panels) {
        for selector in panel.queries().flat_map(selectors) {
            let parts = ["_bucket", "_sum", "_count"];
            let histogram = parts.iter().find_map(|part| selector.metric.strip_suffix(part));
            let metric = histogram.filter(|name| known.contains(name)).unwrap_or(selector.metric);
            let exists = known.contains(metric) || OF_PROMETHEUS.contains(&metric);
            assert!(exists, "{}: there is no {}", panel.name(), selector.metric);
            let filtered = selector.matchers.contains(r#"account=~"$account""#);
            let filterable = with_account.contains(selector.metric);
            assert_eq!(filtered, filterable, "{}: account of {}", panel.name(), selector.metric);
            unseen.remove(metric);
        }
    }
    assert_eq!(unseen, BTreeSet::from(NOT_SHOWN));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_is_answered_by_a_real_prometheus() {
    for program in versions("prometheus") {
        every_query_is_answered(&program).await;
    }
}

async fn every_query_is_answered(program: &Path) {
    let (exporter, folder) = demonstration(&["--faults"]);
    let prometheus = Prometheus::start(program, folder.path(), &scraping(exporter.address));
    let client = client();
    let boards = Board::all();
    for board in &boards {
        let annotation = substituted(board.json["annotations"]["list"][0]["expr"].as_str().unwrap());
        let answer = eventually("an answer", async || prometheus.answer(&client, &annotation).await).await;
        assert_eq!(answer["status"], "success", "{}: annotations: {answer}", board.file);
    }
    let mut open: Vec<(Panel<'_>, String)> = boards
        .iter()
        .flat_map(Board::panels)
        .flat_map(|panel| panel.queries().map(move |query| (panel, substituted(query))))
        .collect();
    let started = Instant::now();
    let mut last_scrape = Vec::new();
    // Longer than it looks, so that what is left is named.
    let left = eventually_within(UNTIL_EACH_ANSWERS * 2, "answers to all queries", async || {
        let scrape = prometheus.query(&client, "timestamp(up)").await?;
        // Nothing new can be known before the next scrape.
        if std::mem::replace(&mut last_scrape, scrape.clone()) == scrape {
            return None;
        }
        let mut left = Vec::new();
        for (panel, query) in open.drain(..) {
            let answer = prometheus.answer(&client, &query).await.unwrap_or_default();
            assert_ne!(answer["status"], "error", "{}: {query}: {answer}", panel.name());
            if !has_number(&answer) {
                left.push((panel, query));
            }
        }
        open = left;
        (open.is_empty() || started.elapsed() > UNTIL_EACH_ANSWERS).then(|| std::mem::take(&mut open))
    })
    .await;
    let left: Vec<_> = left.iter().map(|(panel, query)| format!("{}: {query}", panel.name())).collect();
    assert!(left.is_empty(), "no data:\n{}", left.join("\n"));
}

/// Whether there is a series, and none of nothing divided by nothing.
fn has_number(answer: &Value) -> bool {
    let series = answer["data"]["result"].as_array().into_iter().flatten();
    let values: Vec<f64> = series.filter_map(|series| series["value"][1].as_str()?.parse().ok()).collect();
    !values.is_empty() && values.iter().all(|value| value.is_finite())
}

#[test]
fn provisioning_files_fit_the_dashboards() {
    let read = |kind: &str| -> Value {
        let file = format!("grafana/provisioning/{kind}/captchaai.yml");
        let text = fs::read_to_string(repository(&file)).unwrap();
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
    };
    let (sources, providers) = (read("datasources"), read("dashboards"));
    assert_eq!((&sources["apiVersion"], &providers["apiVersion"]), (&json!(1), &json!(1)));
    let source = &sources["datasources"][0];
    assert_eq!((&source["type"], &source["access"]), (&json!("prometheus"), &json!("proxy")));
    let provider = &providers["providers"][0];
    assert_eq!((&provider["type"], &provider["allowUiUpdates"]), (&json!("file"), &json!(false)));
    assert!(provider["options"]["path"].as_str().is_some_and(|path| path.starts_with('/')), "{provider}");
}

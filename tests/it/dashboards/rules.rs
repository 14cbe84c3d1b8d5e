//! What every dashboard keeps to, one function a rule. Most of it is what Grafana's own linter wants.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Board;
use super::promql::selectors;

/// How a panel names the data source that is chosen above.
const CHOSEN: &str = "${datasource}";

/// Those of Grafana's units that are used: one that it does not know would be shown as it is written.
const UNITS: [&str; 8] = ["none", "short", "percentunit", "s", "currencyUSD", "bytes", "reqps", "ops"];

/// Windows that mean something by themselves, and the words for them, one of which the panel has to use.
const WINDOWS: [(&str, &[&str]); 8] = [
    ("5m", &["5 minutes"]),
    ("30m", &["30 minutes"]),
    ("1h", &["last hour", "1 hour"]),
    ("6h", &["6 hours"]),
    ("24h", &["24 hours"]),
    ("1d", &["1 day"]),
    ("3d", &["3 days"]),
    ("30d", &["30 days"]),
];

const RULES: [fn(&Board) -> Vec<String>; 9] = [
    head,
    one_data_source_variable,
    variables,
    panels_say_what_they_show,
    panels_use_the_chosen_data_source,
    places_and_ids,
    queries_select_what_is_chosen,
    counters_are_rated_first,
    windows_are_said,
];

/// What is wrong with a dashboard, each with its file and place.
pub(super) fn complaints(board: &Board) -> Vec<String> {
    RULES.iter().flat_map(|rule| rule(board)).collect()
}

/// Complains in this form unless it is so.
fn unless(holds: bool, complaint: impl FnOnce() -> String) -> Option<String> {
    (!holds).then(complaint)
}

fn head(board: &Board) -> Vec<String> {
    let (file, json) = (&board.file, &board.json);
    let name = file.rsplit('/').next().and_then(|name| name.strip_suffix(".json")).unwrap();
    let (link, annotation) = (&json["links"][0], &json["annotations"]["list"][0]);
    let alerts = annotation["expr"].as_str().unwrap_or_default();
    let found = [
        unless(json["editable"] == json!(false), || format!("{file}: editable is not false")),
        unless(json["uid"] == format!("captchaai-{name}"), || format!("{file}: uid is not captchaai-{name}")),
        unless(json["schemaVersion"].as_u64() >= Some(39), || format!("{file}: schemaVersion is under 39")),
        unless(json["tags"] == json!(["captchaai"]), || format!("{file}: tags are not captchaai")),
        unless(json["graphTooltip"] == 1, || format!("{file}: graphTooltip is not 1")),
        unless(json["id"].is_null(), || format!("{file}: an id of somebody's database")),
        unless(json["refresh"].is_string() && json["time"]["from"].is_string(), || {
            format!("{file}: no refresh or time")
        }),
        unless(link["type"] == "dashboards" && link["tags"] == json["tags"], || format!("{file}: no links by tags")),
        unless(link["keepTime"] == json!(true) && link["includeVars"] == json!(true), || {
            format!("{file}: links without keepTime and includeVars")
        }),
        unless(
            alerts.starts_with("ALERTS{alertname=~\"CaptchaAI") && annotation["datasource"]["uid"] == CHOSEN,
            || format!("{file}: no annotation of firing alerts"),
        ),
    ];
    found.into_iter().flatten().collect()
}

fn variable_list(board: &Board) -> &[Value] {
    board.json["templating"]["list"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn one_data_source_variable(board: &Board) -> Vec<String> {
    let sources: Vec<_> = variable_list(board).iter().filter(|variable| variable["type"] == "datasource").collect();
    let holds = matches!(sources.as_slice(), [one] if one["name"] == "datasource" && one["query"] == "prometheus"
        && one["label"] == "Data source");
    let complaint = || format!("{}: not exactly one variable of a Prometheus named datasource", board.file);
    unless(holds, complaint).into_iter().collect()
}

fn variables(board: &Board) -> Vec<String> {
    let named = |name: &str| variable_list(board).iter().find(|variable| variable["name"] == name);
    let fits = |variable: &Value, name: &str| {
        let query = variable["query"]["query"].as_str().unwrap_or_default();
        variable["type"] == "query"
            && variable["datasource"] == json!({"type": "prometheus", "uid": CHOSEN})
            && query.starts_with("label_values(captchaai_")
            && query.ends_with(&format!(", {name})"))
            && variable["definition"] == query
            && variable["multi"] == json!(true)
            && variable["includeAll"] == json!(true)
            && variable["allValue"] == ".+"
            // 2 asks again when the time range changes.
            && variable["refresh"] == 2
            && variable["label"].is_string()
    };
    let wrong = ["job", "instance", "account"].into_iter().filter(|name| match named(name) {
        Some(variable) => !fits(variable, name),
        None => *name != "account",
    });
    wrong.map(|name| format!("{}: variable {name} is missing or not as it should be", board.file)).collect()
}

fn panels_say_what_they_show(board: &Board) -> Vec<String> {
    let check = |panel: super::Panel<'_>| {
        let text = |key: &str| panel.json[key].as_str().unwrap_or_default().trim();
        let defaults = &panel.json["fieldConfig"]["defaults"];
        let says_nothing = panel.json["type"] == "heatmap";
        [
            unless(!text("title").is_empty(), || format!("{}: no title", panel.name())),
            // What is good and what to do does not fit in less.
            unless(text("description").len() > 40, || format!("{}: no description, or a short one", panel.name())),
            unless(UNITS.iter().any(|unit| defaults["unit"] == *unit), || {
                format!("{}: unit {} is none of {UNITS:?}", panel.name(), defaults["unit"])
            }),
            unless(says_nothing || defaults["noValue"].as_str().is_some_and(|text| !text.is_empty()), || {
                format!("{}: noValue is missing", panel.name())
            }),
        ]
    };
    board.panels().flat_map(check).flatten().collect()
}

fn panels_use_the_chosen_data_source(board: &Board) -> Vec<String> {
    let chosen = |json: &Value| json["datasource"] == json!({"type": "prometheus", "uid": CHOSEN});
    let check = |panel: super::Panel<'_>| {
        let targets = panel.json["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
        [
            unless(chosen(panel.json) && targets.iter().all(chosen), || {
                format!("{}: not the data source {CHOSEN}", panel.name())
            }),
            unless(panel.queries().count() > 0 && panel.queries().count() == targets.len(), || {
                format!("{}: no query, or one without expr", panel.name())
            }),
        ]
    };
    board.panels().flat_map(check).flatten().collect()
}

fn places_and_ids(board: &Board) -> Vec<String> {
    let mut taken: BTreeMap<(u64, u64), String> = BTreeMap::new();
    let mut ids: BTreeMap<u64, String> = BTreeMap::new();
    let mut complaints = Vec::new();
    for panel in board.json["panels"].as_array().into_iter().flatten() {
        let name = super::Panel { file: &board.file, json: panel }.name();
        match panel["id"].as_u64() {
            None => complaints.push(format!("{name}: no id")),
            Some(id) => {
                let before = ids.insert(id, name.clone());
                complaints.extend(before.map(|other| format!("{name}: the id of {other}")));
            }
        }
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap_or_default());
        complaints.extend(unless(x + w <= 24 && h > 0, || format!("{name}: too wide or no place")));
        complaints.extend(unless(w >= 6, || format!("{name}: too narrow for a small screen")));
        let cells = (x..x + w).flat_map(|column| (y..y + h).map(move |line| (column, line)));
        let over: Vec<_> = cells.filter_map(|cell| taken.insert(cell, name.clone())).collect();
        complaints.extend(over.first().map(|other| format!("{name}: overlaps {other}")));
    }
    complaints
}

fn queries_select_what_is_chosen(board: &Board) -> Vec<String> {
    let mut complaints = Vec::new();
    for panel in board.panels() {
        for query in panel.queries() {
            let name = panel.name();
            complaints.extend(unless(!query.contains("predict_linear"), || {
                format!("{name}: predict_linear, which each top-up deceives")
            }));
            for selector in selectors(query) {
                let metric = selector.metric;
                let chosen = [r#"job=~"$job""#, r#"instance=~"$instance""#];
                complaints.extend(unless(chosen.iter().all(|matcher| selector.matchers.contains(matcher)), || {
                    format!("{name}: {metric} does not select the chosen job and instance")
                }));
                complaints.extend(unless(!metric.is_empty(), || format!("{name}: a selector without a metric")));
                complaints.extend(unless(!metric.contains(':'), || format!("{name}: {metric} is a recorded series")));
            }
        }
    }
    complaints
}

/// A sum of counters that is rated afterwards takes the restart of one instance for an increase of all.
fn counters_are_rated_first(board: &Board) -> Vec<String> {
    let is_counter = |metric: &str| ["_total", "_bucket", "_sum", "_count"].iter().any(|end| metric.ends_with(end));
    let mut complaints = Vec::new();
    for panel in board.panels() {
        for selector in panel.queries().flat_map(selectors).filter(|selector| is_counter(selector.metric)) {
            let rated = matches!(selector.function, "rate" | "increase") && selector.window.is_some();
            complaints.extend(unless(rated, || format!("{}: {} is not rated first", panel.name(), selector.metric)));
        }
    }
    complaints
}

fn windows_are_said(board: &Board) -> Vec<String> {
    let mut complaints = Vec::new();
    for panel in board.panels() {
        let words = format!("{} {}", panel.json["title"], panel.json["description"]);
        for window in panel.queries().flat_map(selectors).filter_map(|selector| selector.window) {
            let fixed = WINDOWS.iter().find(|(fixed, _)| *fixed == window);
            let said = fixed.is_some_and(|(_, says)| says.iter().any(|say| words.contains(say)));
            let follows = ["$__rate_interval", "$__range"].contains(&window);
            complaints.extend(unless(follows || said, || {
                format!("{}: the window {window} is neither Grafana's nor said", panel.name())
            }));
        }
    }
    complaints
}
